"""Building blocks that several graphs share.

Decides: how a matrix, a norm, a rotary embedding and attention are written so that ONNX Runtime can fuse them. Norms
and rotary angles are computed in single precision whatever the graph's precision.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tactus_export.source import PATCH, SAME, TRANSPOSED, Leaf


class Dense(Leaf):
    """`x @ weight + bias`; the weight is `[in, out]`."""

    layout = {"weight": ("weight", TRANSPOSED), "bias": ("bias", SAME)}

    def __init__(self, inputs: int, outputs: int, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class PatchDense(Dense):
    """The patch embedding: a Conv3d over exactly one patch of a picture is a matrix."""

    layout = {"weight": ("weight", PATCH), "bias": ("bias", SAME)}


class Table(Leaf):
    """Rows looked up by index."""

    layout = {"weight": ("weight", SAME)}

    def __init__(self, rows: int, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, index: torch.Tensor) -> torch.Tensor:
        return F.embedding(index, self.weight)


class RmsNorm(Leaf):
    """Root-mean-square norm, in single precision inside."""

    layout = {"weight": ("weight", SAME)}

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Not `rsqrt`: as it is, ONNX Runtime knows it as one operator.
        wide = x.float()
        wide = wide / torch.sqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class LayerNorm(Leaf):
    """Layer norm with weight and bias, in single precision inside."""

    layout = {"weight": ("weight", SAME), "bias": ("bias", SAME)}

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.bias = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        width = (x.shape[-1],)
        if torch.compiler.is_exporting():
            # The operator of ONNX is in single precision inside, whatever comes in.
            return F.layer_norm(x, width, self.weight, self.bias, self.eps)
        return F.layer_norm(x.float(), width, self.weight.float(), self.bias.float(), self.eps).to(x.dtype)


def attend(q, k, v, heads: int, kv_heads: int, mask: torch.Tensor | None = None, causal: bool = False) -> torch.Tensor:
    """Attention of `heads` queries over `kv_heads` keys and values, which groups of them share.

    `q` [B, T, heads * d]; `k`, `v` [B, S, kv_heads * d]; `mask` [T, S] is added to the scores -> [B, T, heads * d]. One
    operator of ONNX: what ONNX Runtime has fused kernels for, with heads side by side, so that nothing is transposed."""
    if torch.compiler.is_exporting():
        return torch.onnx.ops.attention(
            q, k, v, mask, is_causal=causal, q_num_heads=heads, kv_num_heads=kv_heads
        )[0]  # fmt: skip
    split = lambda t, n: t.view(t.shape[0], t.shape[1], n, -1).transpose(1, 2)
    q, k, v = split(q, heads), split(k, kv_heads), split(v, kv_heads)
    k, v = (t.repeat_interleave(heads // kv_heads, dim=1) for t in (k, v))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    return y.transpose(1, 2).flatten(2)


def turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int) -> torch.Tensor:
    """Rotary embedding, halves convention, of heads side by side. `x` [1, T, heads * d]; `cos`, `sin` [1, T, d / 2]."""
    if torch.compiler.is_exporting():
        return torch.onnx.ops.rotary_embedding(x, cos, sin, num_heads=heads)
    whole = lambda t: torch.cat((t, t), dim=-1)[:, None]
    y = rotate(x.view(1, x.shape[1], heads, -1).transpose(1, 2), whole(cos), whole(sin))
    return y.transpose(1, 2).flatten(2)


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding, halves convention. `x` [.., T, d]; `cos`, `sin` broadcastable to it, of any type."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), dim=-1)
    return x * cos + turned * sin


def same_segment(segment: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Additive attention mask `[P, P]` from segment numbers `[P]`: 0 within a segment, -infinity across."""
    same = segment[:, None] == segment[None, :]
    zero = torch.zeros((), dtype=dtype, device=segment.device)
    never = torch.full((), float("-inf"), dtype=dtype, device=segment.device)
    return torch.where(same, zero, never)


def inverse_frequencies(width: int, theta: float) -> torch.Tensor:
    """`theta^(-2i / width)` for i in 0..width/2. Single precision, computed as transformers does."""
    return 1.0 / (theta ** (torch.arange(0, width, 2, dtype=torch.float, device="cpu") / width))
