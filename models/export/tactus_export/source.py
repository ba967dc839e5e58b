"""From which checkpoint tensor each parameter of an export module comes, and how it is laid out.

Decides: names and layouts. A matrix is stored as `[in, out]`, the order in which ONNX's MatMul reads it, so that the
runtime never transposes weights at load; a Conv3d over one patch is a matrix too, and since all frames of a picture that
stands still are equal, the sum of its frames' matrices is enough; of an embodiment axis one row is kept. Does not decide: which modules there are (`vision.py`, `text.py`, `head.py`), where bytes go (`data_file.py`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from tactus_export.error import ExportError
from tactus_export.weights import BLOCK_BYTES, Weights

# How a stored tensor becomes a parameter.
SAME = "same"
TRANSPOSED = "transposed"
PATCH = "patch"  # [out, colour, (frame,) y, x] -> [colour * y * x, out], frames added up
PICKED = "picked"  # [categories, ..] -> [..]
FIRST = "first"  # [more rows, ..] -> [rows, ..]


class Leaf(nn.Module):
    """A module with parameters; `layout` says for each the suffix of its checkpoint name and how it is laid out."""

    layout: dict[str, tuple[str, str]] = {}


@dataclass(frozen=True)
class Source:
    """Where one parameter comes from."""

    weights: Weights
    key: str
    how: str
    shape: tuple[int, ...]
    row: int = 0

    def identity(self) -> tuple:
        """Equal for parameters with equal values."""
        return (id(self.weights), self.key, self.how, self.shape, self.row)

    def check(self) -> None:
        """The stored shape must be the one that the configuration promises."""
        entry = self.weights.entry(self.key)
        stored, want = entry.shape, self.shape
        match self.how:
            case "same":
                ok, expected = stored == want, list(want)
            case "transposed":
                ok, expected = stored == want[::-1], list(want[::-1])
            case "patch":
                still = (stored[1], *stored[-2:]) if len(stored) in (4, 5) else ()
                ok = (torch.Size(still).numel(), stored[0]) == want
                expected = f"[{want[1]}, ..] with {want[0]} numbers in each row of one frame"
            case "picked":
                ok, expected = stored[1:] == want and self.row < stored[0], f"[> {self.row}, {str(list(want))[1:]}"
            case "first":
                ok, expected = (
                    stored[1:] == want[1:] and stored[0] >= want[0],
                    f"[>= {want[0]}, {str(list(want[1:]))[1:]}",
                )
        if not ok:
            raise ExportError(entry.file, f"shape {expected}", list(stored), key=self.key)

    def blocks(self) -> Iterator[torch.Tensor]:
        """The parameter's values in order, flat; large ones in pieces where the layout allows."""
        if self.how == SAME:
            yield from self.weights.blocks(self.key)
            return
        stored = self.weights.get(self.key)
        match self.how:
            case "transposed":
                step = max(1, BLOCK_BYTES // (stored.shape[0] * stored.itemsize))
                for first in range(0, stored.shape[1], step):
                    yield stored[:, first : first + step].T.contiguous().flatten()
            case "patch":
                still = stored.float().sum(2) if stored.dim() == 5 else stored
                yield still.flatten(1).T.contiguous().flatten()
            case "picked":
                yield stored[self.row].flatten()
            case "first":
                yield stored[: self.shape[0]].flatten()

    def tensor(self) -> torch.Tensor:
        """The whole parameter."""
        return torch.cat(list(self.blocks())).reshape(self.shape)


def sources(module: nn.Module, weights: Weights, prefixes: dict[str, str], row: int = 0) -> dict[str, Source]:
    """Source of every parameter of `module`, by its name in the module. `prefixes` maps the beginning of a module
    path to that of the checkpoint's names; `row` is the embodiment. Checks all shapes."""
    out = {}
    for path, leaf in module.named_modules():
        if not isinstance(leaf, Leaf):
            continue
        # The longest beginning counts.
        for begin, replacement in sorted(prefixes.items(), key=lambda pair: -len(pair[0])):
            if path == begin or path.startswith(begin + "."):
                stored = (replacement + path[len(begin) :]).strip(".")
                break
        else:
            raise AssertionError(f"no prefix for {path}")
        for name, parameter in leaf.named_parameters(recurse=False):
            suffix, how = leaf.layout[name]
            key = f"{stored}.{suffix}".strip(".")
            source = Source(weights, key, how, tuple(parameter.shape), row)
            source.check()
            out[f"{path}.{name}"] = source
    return out


def materialise(module: nn.Module, table: dict[str, Source]) -> nn.Module:
    """Gives a module that was built without memory its values, in its own type. For eager use: tests, tiny models."""
    dtypes = {name: parameter.dtype for name, parameter in module.named_parameters()}
    constants = {name: value for name, value in getattr(module, "constants", dict)().items()}
    module.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(table[name].tensor().to(dtypes[name]))
        for name, buffer in module.named_buffers():
            buffer.copy_(constants[name])
    return module.requires_grad_(False).eval()
