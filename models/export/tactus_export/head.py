"""The action head of GR00T N1.5 and N1.7 (flow matching with a diffusion transformer), written for export.

Decides: features, state and noisy actions to a velocity, for one embodiment; what is computed once per chunk
(`Context`) and what once per step (`Denoiser`). Time runs from 0 (noise) to 1 (action). Does not decide: the loop
over steps, the noise, committed actions (`graphs.py` and the runtime).

The action encoder takes each action's own time. AdaLN takes the time of the last action, which is never committed,
as GR00T N1.5 does; a head trained with training-time real-time chunking (arXiv 2512.05964) takes each action's own
time there too (`per_action`).

In N1.7 a cross block reads either the image tokens or the others (its `AlternateVLDiT` masks what it does not read). Features
then begin with the image tokens, whose number is fixed, so that either are a slice: attention does not care for order.

With `plain`, attention, norms and activations are spelt out, so that their derivatives are plain ONNX operators too.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tactus_export.head_config import HeadConfig
from tactus_export.layers import Dense, LayerNorm, apart, attend, gelu, layer_norm_after, together
from tactus_export.source import FIRST, PICKED, Leaf

NORM_EPS = 1e-5
OUT_NORM_EPS = 1e-6
TIME_CHANNELS = 256
FREQUENCY_BASE = 10000.0


class CategoryDense(Leaf):
    """`x @ W + b` with the matrix of the one embodiment."""

    layout = {"W": ("W", PICKED), "b": ("b", PICKED)}

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.W = nn.Parameter(torch.empty(inputs, outputs))
        self.b = nn.Parameter(torch.empty(outputs))

    def forward(self, x):
        return x @ self.W + self.b


class CategoryMlp(nn.Module):
    """Two layers with ReLU between."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.layer1 = CategoryDense(inputs, hidden)
        self.layer2 = CategoryDense(hidden, outputs)

    def forward(self, x):
        return self.layer2(F.relu(self.layer1(x)))


class Rows(Leaf):
    """The first rows of a learned table."""

    layout = {"weight": ("weight", FIRST)}

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))


def swish(x: torch.Tensor, plain: bool) -> torch.Tensor:
    return x * torch.sigmoid(x) if plain else F.silu(x)


def norm(x: torch.Tensor, eps: float, plain: bool) -> torch.Tensor:
    """Layer norm without weights, in single precision inside."""
    if torch.compiler.is_exporting() and not plain:
        # The operator of ONNX is.
        return F.layer_norm(x, (x.shape[-1],), eps=eps)
    wide = x.float()
    if not plain:
        return F.layer_norm(wide, (x.shape[-1],), eps=eps).to(x.dtype)
    centred = wide - wide.mean(-1, keepdim=True)
    return (centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)).to(x.dtype)


@dataclass(frozen=True)
class Modulation:
    """What follows a norm: times `factor`, and `shift` added; [1, T or 1, width]."""

    factor: torch.Tensor
    shift: torch.Tensor
    eps: float = NORM_EPS

    def norm(self, x, plain: bool) -> torch.Tensor:
        """-> layer norm of `x`, modulated."""
        if torch.compiler.is_exporting() and self.uniform and not plain:
            return F.layer_norm(x, (x.shape[-1],), self.factor.flatten(), self.shift.flatten(), self.eps)
        return norm(x, self.eps, plain) * self.factor + self.shift

    def after(self, x, y, bias, plain: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """-> layer norm of `x + y + bias`, modulated, and that sum."""
        if torch.compiler.is_exporting() and self.uniform and not plain:
            return layer_norm_after(x, y, bias, self.factor.flatten(), self.shift.flatten(), self.eps)
        h, x = norm_after(x, y, bias, self.eps, plain)
        return h * self.factor + self.shift, x

    @property
    def uniform(self) -> bool:
        """The same for every token: weights of the norm itself."""
        return self.factor.shape[1] == 1


def norm_after(x, y, bias, eps: float, plain: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """-> layer norm of `x + y + bias` without weights, and that sum."""
    if torch.compiler.is_exporting() and not plain:
        return layer_norm_after(x, y, bias, torch.ones_like(bias), torch.zeros_like(bias), eps)
    x = x + (y + bias)
    return norm(x, eps, plain), x


def plain_gelu(x: torch.Tensor) -> torch.Tensor:
    """Tanh form."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


class Attention(nn.Module):
    """Multi-head attention; keys and values can be made beforehand."""

    def __init__(self, width: int, source: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = Dense(width, width), Dense(source, width), Dense(source, width)
        self.to_out = nn.ModuleList([Dense(width, width)])

    def forward(self, x, cross=None, plain: bool = False):
        """`x` [1, T, width] over itself, or over the keys and values `cross` [1, S, heads * d] -> product and bias."""
        if cross is None:
            q, k, v = together(x, self.to_q, self.to_k, self.to_v)
        else:
            q, (k, v) = self.to_q(x), cross
        if not plain:
            return self.to_out[0].pending(attend(q, k, v, self.heads, self.heads))
        q, k, v = (t.view(1, t.shape[1], self.heads, -1).transpose(1, 2) for t in (q, k, v))
        scores = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
        y = torch.softmax(scores.float(), dim=-1).to(x.dtype) @ v
        return self.to_out[0].pending(y.transpose(1, 2).reshape(x.shape))


class FeedForward(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        first = nn.Module()
        first.proj = Dense(width, inner)
        self.net = nn.ModuleList([first, nn.Identity(), Dense(inner, width)])

    def forward(self, x, plain: bool = False):
        """-> product and bias."""
        proj = self.net[0].proj
        return self.net[2].pending(plain_gelu(proj(x)) if plain else gelu(*proj.pending(x)))


class VlBlock(nn.Module):
    """Self-attention over the features, before the transformer reads them."""

    def __init__(self, width: int, heads: int, inner: int):
        super().__init__()
        self.norm1, self.norm3 = LayerNorm(width, NORM_EPS), LayerNorm(width, NORM_EPS)
        self.attn1 = Attention(width, width, heads)
        self.ff = FeedForward(width, inner)

    def forward(self, x, h):
        """`h`: the first norm of `x`. -> what the block makes of `x` in two parts, and a bias, whose sum it is."""
        h, x = self.norm3.after(x, *self.attn1(h))
        return x, *self.ff(h)


class KeysValues(nn.Module):
    """The part of a cross-attention block that depends on the features only."""

    def __init__(self, c: HeadConfig):
        super().__init__()
        self.attn1 = nn.Module()
        self.attn1.to_k, self.attn1.to_v = Dense(c.features, c.width), Dense(c.features, c.width)

    def parts(self) -> tuple[Dense, Dense]:
        return self.attn1.to_k, self.attn1.to_v


class DitBlock(nn.Module):
    """Attention, then feed-forward; the first norm is modulated by time. A cross block gets its keys and values. What the
    modulation is, [`Dit`] computes for all blocks at once."""

    def __init__(self, c: HeadConfig, cross: bool):
        super().__init__()
        self.norm1 = nn.Module()
        self.norm1.linear = Dense(c.width, 2 * c.width)
        self.attn1 = Attention(c.width, c.width, c.heads)
        if cross:
            del self.attn1.to_k, self.attn1.to_v
        self.ff = FeedForward(c.width, c.inner)

    def forward(self, x, h, cross, plain: bool):
        """`h`: the first norm of `x`, modulated. -> what the block makes of `x` in two parts, and a bias, whose sum it is."""
        h, x = norm_after(x, *self.attn1(h, cross, plain), NORM_EPS, plain)
        return x, *self.ff(h, plain)


class Context(nn.Module):
    """What is computed once per chunk."""

    def __init__(self, c: HeadConfig):
        super().__init__()
        self.config = c
        self.state_encoder = CategoryMlp(c.max_state, c.state_hidden, c.width)
        self.vlln = LayerNorm(c.features, NORM_EPS) if c.vlln else None
        if c.vl_layers:
            self.vl_self_attention = nn.Module()
            blocks = (VlBlock(c.features, c.vl_heads, c.vl_inner) for _ in range(c.vl_layers))
            self.vl_self_attention.transformer_blocks = nn.ModuleList(blocks)
        self.model = nn.Module()
        self.model.transformer_blocks = nn.ModuleDict({str(i): KeysValues(c) for i in c.cross})

    def forward(self, features, state):
        """`features` [1, S, features]; `state` [1, columns], normalised -> state token [1, 1, width], then k, v
        [1, S, width] of each cross block."""
        dtype = self.state_encoder.layer1.W.dtype
        x = features.to(dtype)
        if self.vlln is not None:
            x = self.vlln(x)
        if self.config.vl_layers:
            blocks = self.vl_self_attention.transformer_blocks
            h = blocks[0].norm1(x)
            for i, block in enumerate(blocks):
                x, y, bias = block(x, h)
                if i + 1 < len(blocks):
                    h, x = blocks[i + 1].norm1.after(x, y, bias)
            x = x + (y + bias)
        state = F.pad(state, (0, self.config.max_state - state.shape[-1])).to(dtype)
        token = self.state_encoder(state)[:, None]
        n = self.config.image_tokens
        parts = {"all": x, "image": x[:, :n], "text": x[:, n:]}
        blocks = self.model.transformer_blocks
        made = {}
        for seen, part in parts.items():
            reading = [i for i in blocks if self.config.sees(int(i)) == seen]
            if reading:
                tensors = iter(together(part, *(matrix for i in reading for matrix in blocks[i].parts())))
                made |= {i: (next(tensors), next(tensors)) for i in reading}
        return (token.float(), *(tensor.float() for i in blocks for tensor in made[i]))


class ActionEncoder(nn.Module):
    """Noisy actions and their times -> tokens."""

    def __init__(self, c: HeadConfig):
        super().__init__()
        self.W1 = CategoryDense(c.max_action, c.width)
        self.W2 = CategoryDense(2 * c.width, c.width)
        self.W3 = CategoryDense(c.width, c.width)

    def forward(self, x, time, plain: bool):
        return self.W3(swish(self.W2(torch.cat((self.W1(x), time), dim=-1)), plain))


class Dit(nn.Module):
    """The diffusion transformer."""

    def __init__(self, c: HeadConfig):
        super().__init__()
        self.timestep_encoder = nn.Module()
        self.timestep_encoder.timestep_embedder = nn.Module()
        embedder = self.timestep_encoder.timestep_embedder
        embedder.linear_1, embedder.linear_2 = Dense(TIME_CHANNELS, c.width), Dense(c.width, c.width)
        self.transformer_blocks = nn.ModuleList(DitBlock(c, i in c.cross) for i in range(c.layers))
        self.proj_out_1, self.proj_out_2 = Dense(c.width, 2 * c.width), Dense(c.width, c.out)

    def forward(self, x, wave, cross, plain: bool):
        """`x` [1, T, width]; `wave` [1, T or 1, 256]: cosines and sines of the time; `cross`: k, v by block."""
        embedder = self.timestep_encoder.timestep_embedder
        time = embedder.linear_2(swish(embedder.linear_1(wave), plain))
        first, *others = self.modulations(swish(time, plain))
        h = first.norm(x, plain)
        for i, (block, following) in enumerate(zip(self.transformer_blocks, others)):
            x, y, bias = block(x, h, cross.get(i), plain)
            h, x = following.after(x, y, bias, plain)
        return self.proj_out_2(h)

    def modulations(self, time: torch.Tensor) -> list[Modulation]:
        """What follows the first norm of every block, and the norm at the end. `time` [1, T or 1, width]."""
        linear = [block.norm1.linear for block in self.transformer_blocks]
        if torch.compiler.is_exporting():
            # One product for all: it has a row or few, so that starting it costs more than doing it. Side by side, since for a
            # stack of matrices a list of them would be copied to the device in every run, out of memory of the host that a
            # captured run does not keep.
            halves = [[t.chunk(2, dim=-1)[half] for half in (0, 1) for t in kind]
                      for kind in ([m.weight for m in linear], [m.bias for m in linear])]  # fmt: skip
            weight, bias = (torch.cat(parts, dim=-1) for parts in halves)
            scale, shift = (time @ weight + bias).chunk(2, dim=-1)
            widths = [m.bias.shape[0] // 2 for m in linear]
            pairs = zip(apart(1 + scale, widths), apart(shift, widths))
        else:
            pairs = ((1 + scale, shift) for scale, shift in (m(time).chunk(2, dim=-1) for m in linear))
        shift, scale = self.proj_out_1(time).chunk(2, dim=-1)
        return [*(Modulation(factor, shift) for factor, shift in pairs), Modulation(1 + scale, shift, OUT_NORM_EPS)]


class Denoiser(nn.Module):
    """The velocity of noisy actions. Weights in `Context` are not here."""

    def __init__(self, c: HeadConfig, plain: bool = False):
        super().__init__()
        self.config, self.plain = c, plain
        self.action_encoder = ActionEncoder(c)
        self.action_decoder = CategoryMlp(c.out, c.decoder_hidden, c.max_action)
        self.future_tokens = Rows(c.future, c.width) if c.future else None
        self.position_embedding = Rows(c.horizon, c.width) if c.positions else None
        self.model = Dit(c)
        self.register_buffer("action_frequencies", torch.empty(c.width // 2), persistent=False)
        self.register_buffer("time_frequencies", torch.empty(TIME_CHANNELS // 2), persistent=False)

    def constants(self) -> dict[str, torch.Tensor]:
        """Values of the buffers. The second is diffusers' `Timesteps` with downscale_freq_shift = 1."""
        powers = lambda n, by: torch.exp(
            -torch.arange(n, dtype=torch.float, device="cpu") * (math.log(FREQUENCY_BASE) / by)
        )
        half, channels = self.config.width // 2, TIME_CHANNELS // 2
        return {"action_frequencies": powers(half, half), "time_frequencies": powers(channels, channels - 1)}

    def velocity(self, x, time, context):
        """`x` [1, H, A], `time` [1, H], `context`: what `Context` returned -> velocity [1, H, A], single precision."""
        dtype = self.action_encoder.W1.W.dtype
        token, *pairs = (tensor.to(dtype) for tensor in context)
        horizon = self.config.horizon
        bucket = torch.floor(time.clamp(min=0.0) * float(self.config.buckets))
        angles = bucket[..., None] * self.action_frequencies
        wave = torch.cat((angles.sin(), angles.cos()), dim=-1).to(dtype)
        actions = self.action_encoder(x.to(dtype), wave, self.plain)
        if self.position_embedding is not None:
            actions = actions + self.position_embedding.weight
        parts = [token, actions] if self.future_tokens is None else [token, self.future_tokens.weight[None], actions]
        tokens = torch.cat(parts, dim=1)
        others = bucket[:, -1:]
        if self.config.per_action:
            others = torch.cat((others.expand(-1, tokens.shape[1] - horizon), bucket), dim=1)
        angles = others[..., None] * self.time_frequencies
        wave = torch.cat((angles.cos(), angles.sin()), dim=-1).to(dtype)
        cross = {i: (pairs[2 * n], pairs[2 * n + 1]) for n, i in enumerate(self.config.cross)}
        y = self.model(tokens, wave, cross, self.plain)
        return self.action_decoder(y[:, -horizon:]).float()
