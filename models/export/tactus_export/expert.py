"""pi0, pi0.5 and SmolVLA, written for export: a language model whose keys and values an expert denoises actions over.

Decides: pixels to image tokens (`Tower`), prompt to keys and values of every layer (`Prefix`), what the state adds and what
is the same in every step (`Context`), noisy actions to a velocity (`Denoiser`). Does not decide: the loop over steps, the
noise, committed actions (`graphs.py` and the runtime).

Time runs from 0 (noise) to 1 (action) as everywhere here; in these policies' own code it runs the other way. Nothing is
padded: a masked token is neither read nor counted there, so that leaving it out is the same. No token of the prefix reads
an action, and the state reads all of it, so that the state's keys and values are made once per chunk, not in every step; so
are SmolVLA's projections of keys and values for layers that read nothing but the prefix.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tactus_export import layers
from tactus_export.expert_config import ROPE_BASE, VISION_EPS, ExpertConfig, Stack
from tactus_export.head import plain_gelu, swish
from tactus_export.layers import Dense, LayerNorm, PatchDense, RmsNorm, Table, inverse_frequencies, rotate
from tactus_export.source import SAME, Leaf


class GemmaNorm(Leaf):
    """Root-mean-square norm whose weight is counted from one, in single precision inside."""

    layout = {"weight": ("weight", SAME)}

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x):
        return (normed(x, self.eps) * (1.0 + self.weight.float())).to(x.dtype)


class AdaNorm(nn.Module):
    """The same, scaled, shifted and gated by a condition (AdaRMS)."""

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.dense = Dense(width, 3 * width)
        self.eps = eps

    def forward(self, x, condition):
        scale, shift, gate = self.dense(condition).chunk(3, dim=-1)
        return (normed(x, self.eps) * (1.0 + scale.float()) + shift.float()).to(x.dtype), gate


def normed(x: torch.Tensor, eps: float) -> torch.Tensor:
    # As it is, ONNX Runtime knows it as one operator.
    wide = x.float()
    return wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + eps)


def there(x: torch.Tensor) -> torch.Tensor:
    """True for each number of `x` [n]. Their sum is how many there are: of the numbers and not of the shape, since ONNX Runtime
    computes with shapes on the CPU, and a graph with a node there cannot be captured on a GPU."""
    return x.abs() >= 0


def attend(q, k, v, plain: bool, mask=None):
    """`q` [1, heads, T, d]; `k`, `v` [1, kv_heads, S, d]; `mask` [T, S], true where read -> [1, T, heads * d]."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        # Spelt out: heads that share keys lie beside each other.
        wide = lambda t: t[:, :, None].expand(-1, -1, groups, -1, -1).reshape(1, q.shape[1], t.shape[2], t.shape[3])
        k, v = wide(k), wide(v)
    if plain or mask is not None:
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        if mask is not None:
            scores = torch.where(mask, scores, torch.full((), float("-inf"), device=scores.device))
        y = torch.softmax(scores, dim=-1).to(v.dtype) @ v
    elif torch.compiler.is_exporting():
        y = torch.onnx.ops.attention(q, k, v)[0]
    else:
        y = F.scaled_dot_product_attention(q, k, v)
    return y.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Projections of a decoder layer; `inner`: what keys and values are made of."""

    def __init__(self, c: Stack, inner: int | None = None):
        super().__init__()
        rows, shared = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self.kv_heads, self.heads = c.kv_heads, c.heads
        self.q_proj = Dense(c.width, rows, bias=False)
        self.k_proj, self.v_proj = (Dense(inner or c.width, shared, bias=False) for _ in "kv")
        self.o_proj = Dense(rows, c.width, bias=False)

    def keys_values(self, x, angles=None):
        """[1, S, inner] -> k, v [1, kv_heads, S, d]; keys are turned where there are angles."""
        k, v = (_split(p(x), self.kv_heads) for p in (self.k_proj, self.v_proj))
        return (k if angles is None else turned(k, angles)), v

    def queries(self, x, angles):
        return turned(_split(self.q_proj(x), self.heads), angles)


def _split(x, heads: int):
    return x.view(1, x.shape[1], heads, -1).transpose(1, 2)


def turned(x, angles):
    """`angles` [T, d / 2], single precision."""
    both = torch.cat((angles, angles), dim=-1)[None, None]
    return rotate(x, both.cos().to(x.dtype), both.sin().to(x.dtype))


class Mlp(nn.Module):
    def __init__(self, c: Stack, gemma: bool):
        super().__init__()
        self.gemma = gemma
        self.gate_proj, self.up_proj = (Dense(c.width, c.intermediate, bias=False) for _ in "gu")
        self.down_proj = Dense(c.intermediate, c.width, bias=False)

    def forward(self, x, plain: bool):
        gate = self.gate_proj(x)
        if self.gemma:
            gate = plain_gelu(gate) if plain else F.gelu(gate, approximate="tanh")
        else:
            gate = swish(gate, plain)
        return self.down_proj(gate * self.up_proj(x))


class Layer(nn.Module):
    """A decoder layer. With `only` "kv" it has what its keys and values need, and nothing that follows; with "q" the
    opposite of the former."""

    def __init__(self, c: Stack, gemma: bool, adaptive: bool = False, only: str = "", inner: int | None = None):
        super().__init__()
        kind = AdaNorm if adaptive else GemmaNorm if gemma else RmsNorm
        self.self_attn = Attention(c, inner)
        if only != "kv inner":
            self.input_layernorm = kind(c.width, c.eps)
        if only.startswith("kv"):
            del self.self_attn.q_proj, self.self_attn.o_proj
            return
        if only == "q":
            del self.self_attn.k_proj, self.self_attn.v_proj
        self.post_attention_layernorm = kind(c.width, c.eps)
        self.mlp = Mlp(c, gemma)

    def forward(self, x, angles, past=None, condition=None, mask=None, cross: bool = False, plain: bool = False):
        """`past`: keys and values that come before its own, or with `cross` stand for them. -> x, own k, v."""
        h, gate = self._normed(self.input_layernorm, x, condition)
        k = v = own = None
        if not cross:
            k, v = own = self.self_attn.keys_values(h, angles)
        if past is not None:
            k, v = past if cross else (torch.cat((past[0], k), dim=2), torch.cat((past[1], v), dim=2))
        y = self.self_attn.o_proj(attend(self.self_attn.queries(h, angles), k, v, plain, mask))
        x = x + (y if gate is None else y * gate)
        h, gate = self._normed(self.post_attention_layernorm, x, condition)
        y = self.mlp(h, plain)
        return x + (y if gate is None else y * gate), own

    @staticmethod
    def _normed(norm, x, condition):
        return norm(x, condition) if condition is not None else (norm(x), None)


class TowerLayer(nn.Module):
    """SigLIP's."""

    def __init__(self, width: int, inner: int, heads: int):
        super().__init__()
        self.heads = heads
        self.layer_norm1, self.layer_norm2 = (LayerNorm(width, VISION_EPS) for _ in "12")
        self.self_attn = nn.Module()
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self.self_attn, part, Dense(width, width))
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = Dense(width, inner), Dense(inner, width)

    def forward(self, x):
        h, a = self.layer_norm1(x), self.self_attn
        x = x + a.out_proj(layers.attend(a.q_proj(h), a.k_proj(h), a.v_proj(h), self.heads, self.heads))
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.layer_norm2(x)), approximate="tanh"))


class Tower(nn.Module):
    """SigLIP and what brings its tokens to the language model's width. All images are squares of the same side, and each is
    attended to by itself."""

    def __init__(self, c: ExpertConfig):
        super().__init__()
        v = c.vision
        self.config = c
        self.vision = nn.Module()
        self.vision.embeddings = nn.Module()
        self.vision.embeddings.patch_embedding = PatchDense(v.row, v.hidden)
        self.vision.embeddings.position_embedding = Table(c.side**2, v.hidden)
        self.vision.encoder = nn.Module()
        self.vision.encoder.layers = nn.ModuleList(TowerLayer(v.hidden, v.intermediate, v.heads) for _ in range(v.depth))
        self.vision.post_layernorm = LayerNorm(v.hidden, VISION_EPS)
        self.connector = Dense(v.hidden * v.merge**2, c.text.width, bias=c.gemma)

    def forward(self, pixel_values, pos_ids, _segments):
        """`pixel_values` [P, row], `pos_ids` [P, 2] (row, column) -> image tokens [N, width]."""
        c, e = self.config, self.vision.embeddings
        places = pos_ids[:, 0] * c.side + pos_ids[:, 1]
        x = e.patch_embedding(pixel_values.to(e.position_embedding.weight.dtype)) + e.position_embedding(places)
        x = x.view(-1, c.side**2, c.vision.hidden)
        for layer in self.vision.encoder.layers:
            x = layer(x)
        # The patches of a merge unit lie beside each other, line by line: SmolVLM's pixel shuffle.
        x = self.vision.post_layernorm(x).view(-1, c.vision.hidden * c.vision.merge**2)
        y = self.connector(x)
        return (y if c.gemma else y * c.text.width**0.5).float()


class Turning(nn.Module):
    """Something with rotary angles."""

    def __init__(self, c: ExpertConfig):
        super().__init__()
        self.config = c
        self.register_buffer("frequencies", torch.empty(c.text.head_dim // 2), persistent=False)

    def constants(self) -> dict[str, torch.Tensor]:
        return {"frequencies": inverse_frequencies(self.config.text.head_dim, ROPE_BASE)}

    def angles(self, positions):
        return positions.float()[:, None] * self.frequencies


class Prefix(Turning):
    """The language model over images and words, which all read each other."""

    def __init__(self, c: ExpertConfig):
        super().__init__(c)
        self.text = nn.Module()
        self.text.embed_tokens = Table(c.vocabulary, c.text.width)
        last = c.text.layers - 1
        self.text.layers = nn.ModuleList(Layer(c.text, c.gemma, only="" if i < last else "kv") for i in range(c.text.layers))

    def forward(self, input_ids, image_embeds, image_rows, position_ids):
        """`input_ids` [1, S], `image_embeds` [N, width], `image_rows` [N], `position_ids` [3, 1, S], three times the same ->
        keys and values of every layer side by side, [1, S, layers * 2 * kv_heads * d]; keys are turned."""
        c, table = self.config, self.text.embed_tokens
        # PaliGemma's image token has no row of its own.
        x = table(input_ids.clamp(max=c.vocabulary - 1))[0] * c.text.width**0.5
        x = x.index_put((image_rows,), image_embeds.to(x.dtype))[None]
        angles, out = self.angles(position_ids[0, 0]), []
        for layer in self.text.layers[:-1]:
            x, own = layer(x, angles)
            out += own
        last = self.text.layers[-1]
        out += last.self_attn.keys_values(last.input_layernorm(x), angles)
        return torch.cat([t.transpose(1, 2).flatten(2) for t in out], dim=-1).float()


class Context(Turning):
    """What is computed once per chunk: keys and values that every step reads, the state's among them."""

    def __init__(self, c: ExpertConfig):
        super().__init__(c)
        if c.family == "pi05":
            # Its state is in the prompt.
            return
        own, last = (c.expert if c.gemma else c.text), c.text.layers - 1
        self.state_proj = Dense(c.max_state, own.width)
        self.layers = nn.ModuleList(Layer(own, c.gemma, only="" if i < last else "kv") for i in range(c.text.layers))
        shared = c.text.kv_heads * c.text.head_dim
        self.cross = nn.ModuleDict({str(i): Layer(c.expert, c.gemma, only="kv inner", inner=shared) for i in sorted(c.cross)})

    def forward(self, features, state):
        """`features` [1, S, ..]; `state` [1, columns], normalised -> k, v [1, kv_heads, S or S + 1, d] of each layer."""
        c, t = self.config, self.config.text
        split = features.view(1, features.shape[1], 2 * t.layers, t.kv_heads, t.head_dim)
        if c.family == "pi05":
            return tuple(split[:, :, i].transpose(1, 2).float() for i in range(2 * t.layers))
        dtype = self.state_proj.weight.dtype
        past = [(split[:, :, 2 * i].transpose(1, 2).to(dtype), split[:, :, 2 * i + 1].transpose(1, 2).to(dtype)) for i in range(t.layers)]
        x = self.state_proj(F.pad(state, (0, c.max_state - state.shape[-1])).to(dtype))[:, None]
        angles = self.angles(there(features[0, :, 0]).sum()[None])
        out = []
        for i, (layer, before) in enumerate(zip(self.layers, past)):
            if i < t.layers - 1:
                x, own = layer(x, angles, before)
            else:
                own = layer.self_attn.keys_values(layer.input_layernorm(x), angles)
            k, v = (torch.cat(pair, dim=2) for pair in zip(before, own))
            if i in c.cross:
                flat = lambda z: z.transpose(1, 2).flatten(2)
                reads = self.cross[str(i)].self_attn
                k, v = (_split(p(flat(z)), t.kv_heads) for p, z in ((reads.k_proj, k), (reads.v_proj, v)))
            out += [k.float(), v.float()]
        return tuple(out)


class Denoiser(Turning):
    """The velocity of noisy actions."""

    def __init__(self, c: ExpertConfig, plain: bool = False):
        super().__init__(c)
        self.plain, width = plain, c.expert.width
        self.action_in_proj, self.action_out_proj = Dense(c.max_action, width), Dense(width, c.max_action)
        stem, inputs = ("time_mlp", width) if c.adaptive else ("action_time_mlp", 2 * width)
        self.names = f"{stem}_in", f"{stem}_out"
        for name, wide in zip(self.names, (inputs, width)):
            setattr(self, name, Dense(wide, width))
        only = lambda i: "q" if i in c.cross else ""
        self.layers = nn.ModuleList(Layer(c.expert, c.gemma, c.adaptive, only(i)) for i in range(c.text.layers))
        self.norm = (AdaNorm if c.adaptive else GemmaNorm if c.gemma else RmsNorm)(width, c.expert.eps)
        self.register_buffer("turns", torch.empty(width // 2, dtype=torch.float64), persistent=False)

    def constants(self) -> dict[str, torch.Tensor]:
        """`turns`: of each wave from time 0 to 1."""
        c = self.config
        share = torch.linspace(0.0, 1.0, c.expert.width // 2, dtype=torch.float64, device="cpu")
        return super().constants() | {"turns": 1.0 / (c.min_period * (c.max_period / c.min_period) ** share)}

    def wave(self, time):
        """[1, T] -> sines and cosines [1, T, width]. Whole turns, hundreds of them, are taken off in double precision."""
        turns = (1.0 - time.double())[..., None] * self.turns
        angles = (turns - torch.floor(turns)).float() * (2.0 * math.pi)
        return torch.cat((angles.sin(), angles.cos()), dim=-1)

    def velocity(self, x, time, context):
        """`x` [1, H, A], `time` [1, H], `context`: what `Context` returned -> velocity [1, H, A], single precision."""
        c, dtype = self.config, self.action_in_proj.weight.dtype
        first, second = (getattr(self, name) for name in self.names)
        h, condition = self.action_in_proj(x.to(dtype)), None
        if c.adaptive:
            wave = self.wave(time if c.per_action else time[:, -1:]).to(dtype)
            condition = swish(second(swish(first(wave), self.plain)), self.plain)
        else:
            h = second(swish(first(torch.cat((h, self.wave(time).to(dtype)), dim=-1)), self.plain))
        rows = torch.arange(c.horizon, device=x.device)
        prompt = there(context[0][0, 0, :, 0])
        for i, layer in enumerate(self.layers):
            past = tuple(t.to(dtype) for t in context[2 * i : 2 * i + 2])
            cross = i in c.cross
            mask = None
            if c.causal and not cross:
                mask = torch.cat((prompt.expand(c.horizon, -1), rows[None, :] <= rows[:, None]), dim=1)
            angles = self.angles(rows if cross else rows + prompt.sum())
            h, _ = layer(h, angles, past, condition, mask, cross, self.plain)
        y = self.norm(h) if condition is None else self.norm(h, condition)[0]
        return -self.action_out_proj(y).float()
