"""The file of all weights, written tensor by tensor.

Decides: where each parameter lies in `weights.bin`; a parameter that several graphs read in the same precision is
stored once. Does not decide: its values and layout (`source.py`). At no time is more than one tensor in memory.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm import tqdm

from tactus_export.error import ExportError
from tactus_export.source import Source

FILE = "weights.bin"
ALIGN = 64


@dataclass
class DataFile:
    """A plan of the file: where each tensor will be."""

    places: dict[tuple, tuple[int, int]] = field(default_factory=dict)
    tensors: list[tuple[Source, torch.dtype]] = field(default_factory=list)
    length: int = 0

    def place(self, source: Source, dtype: torch.dtype) -> tuple[int, int]:
        """Offset and length in bytes of a parameter in `dtype`, which is planned if it was not yet."""
        key = (*source.identity(), dtype)
        if key not in self.places:
            size = torch.Size(source.shape).numel() * dtype.itemsize
            self.length += -self.length % ALIGN
            self.places[key] = (self.length, size)
            self.tensors.append((source, dtype))
            self.length += size
        return self.places[key]

    def write(self, folder: Path) -> None:
        """Streams every planned tensor from its checkpoint into the file."""
        with (
            open(folder / FILE, "wb") as file,
            tqdm(total=self.length, desc="weights", unit="B", unit_scale=True) as bar,
        ):
            for source, dtype in self.tensors:
                offset, _ = self.places[(*source.identity(), dtype)]
                bar.update(offset - file.tell())
                file.write(b"\0" * (offset - file.tell()))
                for block in source.blocks():
                    data = _convert(source, block, dtype)
                    file.write(memoryview(data.view(torch.uint8).numpy()))
                    bar.update(data.numel() * dtype.itemsize)


def _convert(source: Source, block: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Values in `dtype`; a value that is not finite, or would not be, is refused."""
    out = block.to(dtype).contiguous()
    if not bool(torch.isfinite(out).all()):
        worst = block.float().abs().max().item()
        limit = torch.finfo(dtype).max
        raise ExportError(
            source.weights.entry(source.key).file, f"finite numbers of at most {limit:g}", f"{worst:g}", key=source.key
        )
    return out
