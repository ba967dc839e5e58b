"""The vision towers of Qwen2.5-VL and Qwen3-VL, written for export.

Decides: patches to image tokens. One graph serves any number and size of images: everything that depends on the sizes
comes in as index tensors, and attention is masked by segment numbers. Does not decide: how those indices are made
(`reference.py` takes them from transformers; the runtime computes its own).

P patches of all images, N = P / merge^2 image tokens.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tactus_export.checkpoint import VisionConfig
from tactus_export.layers import (
    Dense, LayerNorm, PatchDense, RmsNorm, Table, attend, gelu, inverse_frequencies, same_segment, together, turn
)  # fmt: skip

ROPE_THETA = 10000.0
EPS = 1e-6


class Attention(nn.Module):
    """Self-attention with rotary positions; q, k, v in one matrix."""

    def __init__(self, c: VisionConfig):
        super().__init__()
        self.heads = c.heads
        self.qkv = Dense(c.hidden, 3 * c.hidden)
        self.proj = Dense(c.hidden, c.hidden)

    def forward(self, x, cos, sin, mask):
        width = x.shape[-1]
        qk, v = self.qkv(x)[None].split((2 * width, width), dim=-1)
        # Angles stay in single precision, as in transformers. Queries and keys are turned at once, as if they were heads.
        q, k = turn(qk.float(), cos, sin, 2 * self.heads).to(x.dtype).chunk(2, dim=-1)
        return self.proj.pending(attend(q, k, v, self.heads, self.heads, mask).flatten(0, 1))


class GatedMlp(nn.Module):
    """SwiGLU with biases (Qwen2.5-VL)."""

    def __init__(self, c: VisionConfig):
        super().__init__()
        self.gate_proj = Dense(c.hidden, c.intermediate)
        self.up_proj = Dense(c.hidden, c.intermediate)
        self.down_proj = Dense(c.intermediate, c.hidden)

    def forward(self, x):
        gate, up = together(x, self.gate_proj, self.up_proj)
        return self.down_proj.pending(F.silu(gate) * up)


class PlainMlp(nn.Module):
    """GELU, tanh form (Qwen3-VL)."""

    def __init__(self, c: VisionConfig):
        super().__init__()
        self.linear_fc1 = Dense(c.hidden, c.intermediate)
        self.linear_fc2 = Dense(c.intermediate, c.hidden)

    def forward(self, x):
        return self.linear_fc2.pending(gelu(*self.linear_fc1.pending(x)))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, c: VisionConfig):
        super().__init__()
        norm, mlp = (RmsNorm, GatedMlp) if c.windows else (LayerNorm, PlainMlp)
        self.norm1, self.norm2 = norm(c.hidden, EPS), norm(c.hidden, EPS)
        self.attn = Attention(c)
        self.mlp = mlp(c)

    def forward(self, x, h, cos, sin, mask):
        """`h`: the first norm of `x`. -> what the block makes of `x` in two parts, and a bias, whose sum it is."""
        h, x = self.norm2.after(x, *self.attn(h, cos, sin, mask))
        return x, *self.mlp(h)


class Qwen25Merger(nn.Module):
    """merge^2 patches -> one image token."""

    def __init__(self, c: VisionConfig):
        super().__init__()
        self.inner = c.hidden * c.merge**2
        self.ln_q = RmsNorm(c.hidden, EPS)
        self.mlp = nn.ModuleList([Dense(self.inner, self.inner), nn.Identity(), Dense(self.inner, c.out)])

    def forward(self, x):
        return self.mlp[2](F.gelu(self.mlp[0](self.ln_q(x).reshape(-1, self.inner))))


class Qwen3Merger(nn.Module):
    """merge^2 patches -> one image token; DeepStack's mergers norm the merged row."""

    def __init__(self, c: VisionConfig, norm_merged: bool):
        super().__init__()
        self.inner = c.hidden * c.merge**2
        self.norm_merged = norm_merged
        self.norm = LayerNorm(self.inner if norm_merged else c.hidden, EPS)
        self.linear_fc1 = Dense(self.inner, self.inner)
        self.linear_fc2 = Dense(self.inner, c.out)

    def forward(self, x):
        rows = lambda t: t.reshape(-1, self.inner)
        x = self.norm(rows(x)) if self.norm_merged else rows(self.norm(x))
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class Tower(nn.Module):
    """What both towers share."""

    def __init__(self, c: VisionConfig):
        super().__init__()
        self.config = c
        self.patch_embed = nn.Module()
        self.patch_embed.proj = PatchDense(c.row, c.hidden, bias=not c.windows)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        self.register_buffer("inv_freq", torch.empty(c.hidden // c.heads // 4), persistent=False)

    def constants(self) -> dict[str, torch.Tensor]:
        """Values of the buffers."""
        return {"inv_freq": inverse_frequencies(self.config.hidden // self.config.heads // 2, ROPE_THETA)}

    def stack(self, x: torch.Tensor, run) -> torch.Tensor:
        """All blocks, `run(number, block, x, its first norm)` each."""
        h = self.blocks[0].norm1(x)
        for i, block in enumerate(self.blocks):
            x, y, bias = run(i, block, x, h)
            if i + 1 < len(self.blocks):
                h, x = self.blocks[i + 1].norm1.after(x, y, bias)
        return x + (y + bias)

    @property
    def dtype(self) -> torch.dtype:
        return self.patch_embed.proj.weight.dtype

    def rope(self, positions: torch.Tensor):
        """[P, 2] (row, column) -> cos, sin [P, d / 2], single precision."""
        angles = (positions[..., None].float() * self.inv_freq).flatten(1)
        return angles.cos(), angles.sin()


class Qwen25Tower(Tower):
    """Qwen2.5-VL: windowed attention but for some blocks."""

    def __init__(self, c: VisionConfig):
        super().__init__(c)
        self.merger = Qwen25Merger(c)

    def forward(self, pixel_values, pos_ids, window_index, seg_full, seg_window):
        """`pixel_values` [P, row], `pos_ids` [P, 2], `window_index` [N]: merge units in windowed order; `seg_full`,
        `seg_window` [P]: image and window of each patch in windowed order. -> image_embeds [N, out]."""
        unit = self.config.merge**2
        reorder = lambda t: t.reshape(-1, unit * t.shape[-1])[window_index].reshape(-1, t.shape[-1])
        x = reorder(self.patch_embed.proj(pixel_values.to(self.dtype)))
        cos, sin = (reorder(t)[None] for t in self.rope(pos_ids))
        masks = [same_segment(s, self.dtype) for s in (seg_window, seg_full)]
        x = self.stack(x, lambda i, block, x, h: block(x, h, cos, sin, masks[i in self.config.full_attention]))
        merged = self.merger(x)
        # The inverse permutation, without a sort.
        return torch.zeros_like(merged).index_put((window_index,), merged).float()


class Qwen3Tower(Tower):
    """Qwen3-VL: learned positions beside the rotary ones; some layers feed DeepStack."""

    def __init__(self, c: VisionConfig):
        super().__init__(c)
        self.pos_embed = Table(c.position_table**2, c.hidden)
        self.merger = Qwen3Merger(c, norm_merged=False)
        self.deepstack_merger_list = nn.ModuleList(Qwen3Merger(c, norm_merged=True) for _ in c.deepstack)

    def forward(self, pixel_values, pos_ids, interp_index, interp_weight, seg_full):
        """`interp_index`, `interp_weight` [P, 4]: rows of the position table and their weights; all rows in the order
        of `pixel_values`. -> image_embeds [N, out], deepstack [D, N, out]."""
        x = self.patch_embed.proj(pixel_values.to(self.dtype))
        x = x + (self.pos_embed(interp_index).float() * interp_weight[..., None]).sum(1).to(self.dtype)
        cos, sin = (t[None] for t in self.rope(pos_ids))
        mask = same_segment(seg_full, self.dtype)
        levels = {}

        def run(i, block, x, h):
            if i - 1 in self.config.deepstack:
                levels[i - 1] = x
            return block(x, h, cos, sin, mask)

        x = self.stack(x, run)
        levels[len(self.blocks) - 1] = x
        mergers = zip(self.deepstack_merger_list, self.config.deepstack)
        return self.merger(x).float(), torch.stack([merger(levels[i]) for merger, i in mergers]).float()


def tower(c: VisionConfig) -> Tower:
    """The tower of a configuration."""
    return Qwen25Tower(c) if c.windows else Qwen3Tower(c)
