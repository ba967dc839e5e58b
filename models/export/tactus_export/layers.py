"""Building blocks that several graphs share.

Decides: how a matrix, a norm, a rotary embedding and attention are written so that ONNX Runtime can fuse them. Norms
and rotary angles are computed in single precision whatever the graph's precision.

Graphs of half precision are for devices, where starting a kernel is what a small one costs: there a sum with its norm, and a
bias with its GELU, are an operator of ONNX Runtime (`com.microsoft`). Those of single precision have ONNX's operators only,
which are quicker on a CPU. In PyTorch the same modules are spelled out, and compilers fuse them as they like.
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

    def pending(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The product, and the bias that is still to be added: a norm that follows, or an activation, does."""
        return x @ self.weight, self.bias


def for_device(x: torch.Tensor) -> bool:
    """Whether what is made of `x` is exported to run on a device."""
    return torch.compiler.is_exporting() and x.dtype != torch.float32


def together(x: torch.Tensor, *parts: Dense) -> tuple[torch.Tensor, ...]:
    """What each of several matrices makes of `x`, in one product. The joined weights are constants, which ONNX Runtime joins
    once, when it opens the graph; in PyTorch it would be every time."""
    if not torch.compiler.is_exporting():
        return tuple(part(x) for part in parts)
    y = x @ torch.cat([part.weight for part in parts], dim=-1)
    if parts[0].bias is not None:
        y = y + torch.cat([part.bias for part in parts])
    return apart(y, [part.weight.shape[-1] for part in parts])


# Parts that ONNX Runtime splits without a list of them, which it would copy to the device in every run, out of memory of
# the host that a captured run does not keep.
PARTS = 32


def apart(y: torch.Tensor, widths: list[int]) -> tuple[torch.Tensor, ...]:
    """The columns of `y`, so many each."""
    if len(widths) <= PARTS:
        return y.split(widths, dim=-1)
    half = len(widths) // 2
    first, second = y.split([sum(widths[:half]), sum(widths[half:])], dim=-1)
    return *apart(first, widths[:half]), *apart(second, widths[half:])


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

    def after(self, x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor | None = None):
        """-> the norm of `x + y + bias`, and that sum."""
        if for_device(x):
            return _sum_and_norm("SkipSimplifiedLayerNormalization", (y, x, self.weight, bias), self.eps)
        x = x + (y if bias is None else y + bias)
        return self(x), x


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

    def after(self, x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor | None = None):
        """-> the norm of `x + y + bias`, and that sum."""
        return layer_norm_after(x, y, bias, self.weight, self.bias, self.eps)


def layer_norm_after(x, y, bias, weight, shift, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """-> layer norm of `x + y + bias` with `weight` and `shift` [width], and that sum."""
    if for_device(x):
        return _sum_and_norm("SkipLayerNormalization", (y, x, weight, shift, bias), eps)
    x = x + (y if bias is None else y + bias)
    if torch.compiler.is_exporting():
        return F.layer_norm(x, weight.shape, weight, shift, eps), x
    return F.layer_norm(x.float(), weight.shape, weight.float(), shift.float(), eps).to(x.dtype), x


def _sum_and_norm(operator: str, inputs: tuple, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """An operator of ONNX Runtime that adds and norms. Its second and third output are for training."""
    while inputs[-1] is None:
        inputs = inputs[:-1]
    like, few = inputs[0], (*inputs[0].shape[:-1], 1)
    normed, _, _, added = torch.onnx.ops.symbolic_multi_out(
        f"com.microsoft::{operator}", inputs, {"epsilon": eps}, version=1,
        dtypes=(like.dtype, torch.float32, torch.float32, like.dtype), shapes=(like.shape, few, few, like.shape),
    )  # fmt: skip
    return _traced(normed, like), _traced(added, like)


def _traced(made: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Symbolic operators are traced as if they were made on the CPU, whatever they read."""
    return made.to(like.device)


def gelu(y: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """GELU of `y + bias`, tanh form."""
    if for_device(y):
        made = torch.onnx.ops.symbolic("com.microsoft::FastGelu", (y, bias), version=1, dtype=y.dtype, shape=y.shape)
        return _traced(made, y)
    return F.gelu(y + bias, approximate="tanh")


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
