"""The language models of Qwen2.5-VL and Qwen3-VL, cut to the layers whose features the action head reads.

Decides: token ids and image tokens to features, M-RoPE in both forms, DeepStack, the causal mask with or without
padding. Does not decide: where tokens are (position ids come in), how many layers (the policy).

S prompt tokens, N image tokens, D levels of DeepStack.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tactus_export.checkpoint import TextConfig
from tactus_export.layers import Dense, RmsNorm, Table, attend, inverse_frequencies, together, turn


class Attention(nn.Module):
    """Grouped-query attention; with norms of q and k in Qwen3."""

    def __init__(self, c: TextConfig):
        super().__init__()
        self.config = c
        self.q_proj = Dense(c.hidden, c.heads * c.head_dim, bias=c.qkv_bias)
        self.k_proj = Dense(c.hidden, c.kv_heads * c.head_dim, bias=c.qkv_bias)
        self.v_proj = Dense(c.hidden, c.kv_heads * c.head_dim, bias=c.qkv_bias)
        self.o_proj = Dense(c.heads * c.head_dim, c.hidden, bias=c.out_bias)
        if c.qk_norm:
            self.q_norm, self.k_norm = RmsNorm(c.head_dim, c.eps), RmsNorm(c.head_dim, c.eps)

    def queries_keys_values(self, x, cos, sin):
        """`x` [1, S, hidden] -> q [1, S, heads * d], k, v [1, S, kv_heads * d]; q and k with norms and turned."""
        c, length = self.config, x.shape[1]
        q, k, v = together(x, self.q_proj, self.k_proj, self.v_proj)
        if c.qk_norm:
            each = lambda norm, t: norm(t.view(1, length, -1, c.head_dim)).view(1, length, -1)
            q, k = each(self.q_norm, q), each(self.k_norm, k)
        return turn(q, cos, sin, c.heads), turn(k, cos, sin, c.kv_heads), v

    def forward(self, x, cos, sin, mask):
        c = self.config
        q, k, v = self.queries_keys_values(x, cos, sin)
        if mask is None:
            y = attend(q, k, v, c.heads, c.kv_heads, causal=True)
        else:
            bias, seeing = mask
            y = attend(q, k, v, c.heads, c.kv_heads, bias) * seeing
        return (self.o_proj(y),)


class Mlp(nn.Module):
    """SwiGLU without biases."""

    def __init__(self, c: TextConfig):
        super().__init__()
        self.gate_proj = Dense(c.hidden, c.intermediate, bias=False)
        self.up_proj = Dense(c.hidden, c.intermediate, bias=False)
        self.down_proj = Dense(c.intermediate, c.hidden, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Pre-norm decoder layer."""

    def __init__(self, c: TextConfig):
        super().__init__()
        self.self_attn = Attention(c)
        self.mlp = Mlp(c)
        self.input_layernorm = RmsNorm(c.hidden, c.eps)
        self.post_attention_layernorm = RmsNorm(c.hidden, c.eps)

    def forward(self, x, h, *more):
        """`h`: the first norm of `x` [1, S, hidden]. -> what the layer makes of `x`, in two parts whose sum it is, so that
        whoever norms it adds them; and what else attention returns."""
        y, *rest = self.self_attn(h, *more)
        h, x = self.post_attention_layernorm.after(x, y)
        return x, self.mlp(h), *rest


class Decoder(nn.Module):
    """The first `layers` layers; with `post_norm` the model's final norm after them."""

    def __init__(self, c: TextConfig, layers: int, post_norm: bool, deepstack: int, padded: bool):
        super().__init__()
        self.config, self.deepstack, self.padded = c, deepstack, padded
        self.embed_tokens = Table(c.vocabulary, c.hidden)
        self.layers = nn.ModuleList(Layer(c) for _ in range(layers))
        self.norm = RmsNorm(c.hidden, c.eps) if post_norm else nn.Identity()
        self.register_buffer("inv_freq", torch.empty(3, c.head_dim // 2), persistent=False)

    def constants(self) -> dict[str, torch.Tensor]:
        """Values of the buffers: each frequency belongs to one axis and is zero on the other two."""
        c = self.config
        frequencies = inverse_frequencies(c.head_dim, c.rope_theta)
        owner = axes(c.mrope_sections, c.interleaved)
        return {"inv_freq": torch.stack([torch.where(owner == axis, frequencies, 0.0) for axis in range(3)])}

    def rope(self, position_ids: torch.Tensor):
        """[3, 1, S] (time, row, column) -> cos, sin [1, S, d / 2], single precision."""
        angles = (position_ids[..., None].float() * self.inv_freq[:, None, None]).sum(0)
        return angles.cos(), angles.sin()

    def mask(self, attention_mask: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """[1, S] of 0 and 1 -> additive mask [S, S]: query i sees key j <= i that is a token; and [1, S, 1]: 1
        where a query sees any key. One that sees none (padding on the left) attends to nothing: transformers gives 0
        there. A row of -infinity alone would be up to the runtime's softmax, so that row is left open instead."""
        order = torch.arange(attention_mask.shape[1], device=attention_mask.device)
        token = attention_mask[0] > 0
        sees = (order[None, :] <= order[:, None]) & token[None, :]
        seeing = (attention_mask[0].cumsum(0) > 0)[:, None]
        zero = torch.zeros((), dtype=dtype, device=attention_mask.device)
        never = torch.full((), float("-inf"), dtype=dtype, device=attention_mask.device)
        bias = torch.where(sees | ~seeing, zero, never)
        return bias, seeing.to(dtype)[None]

    def forward(self, input_ids, image_embeds, image_rows, position_ids, *more):
        """`input_ids` [1, S], `image_embeds` [N, hidden], `image_rows` [N], `position_ids` [3, 1, S]; then, where there
        are any, `deepstack` [D, N, hidden] and `attention_mask` [1, S]. -> features [1, S, hidden]."""
        levels = more[0] if self.deepstack else None
        dtype = self.embed_tokens.weight.dtype
        x = self.embed_tokens(input_ids)[0].index_put((image_rows,), image_embeds.to(dtype))[None]
        cos, sin = (t.to(dtype) for t in self.rope(position_ids))
        mask = self.mask(more[-1], dtype) if self.padded else None
        blank = torch.zeros_like(x[0])
        added = [blank.index_put((image_rows,), levels[i].to(dtype))[None] for i in range(self.deepstack)]
        x, y = self.stack(x, added, lambda i, layer, x, h: layer(x, h, cos, sin, mask))
        return (x + y if isinstance(self.norm, nn.Identity) else self.norm.after(x, y)[0]).float()

    def stack(self, x: torch.Tensor, added: list[torch.Tensor], run) -> tuple[torch.Tensor, torch.Tensor]:
        """All layers, `run(number, layer, x, its first norm)` each. `added` [1, S, hidden]: what the first layers have added
        to them. -> two parts whose sum the last one makes."""
        y = None
        for i, layer in enumerate(self.layers):
            h, x = (layer.input_layernorm(x), x) if y is None else layer.input_layernorm.after(x, y)
            x, y = run(i, layer, x, h)
            if i < len(added):
                x, y = x + y, added[i]
        return x, y


def axes(sections: tuple[int, ...], interleaved: bool) -> torch.Tensor:
    """Axis (0 time, 1 row, 2 column) of each rotary frequency. Chunked (Qwen2.5-VL): one run per axis. Interleaved
    (Qwen3-VL): time, row, column in turn as far as the sections of row and column go, time beyond."""
    if not interleaved:
        return torch.repeat_interleave(torch.arange(3, device="cpu"), torch.tensor(sections, device="cpu"))
    owner = torch.zeros(sum(sections), dtype=torch.long, device="cpu")
    for axis in (1, 2):
        owner[axis : 3 * sections[axis] : 3] = axis
    return owner
