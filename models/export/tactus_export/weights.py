"""Tensors in safetensors files, found by name and read one at a time.

Decides: where a tensor's bytes are, whether the files are whole, what the checkpoint's revision is. Does not decide:
which tensors a graph needs (`source.py`). Nothing is kept in memory but the files' headers.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from tactus_export.error import ExportError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
BLOCK_BYTES = 1 << 23


@dataclass(frozen=True)
class Entry:
    """One tensor: its file, and its bytes `begin..end` counted from the file's start."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


class Weights:
    """Tensors of one or more safetensors files, by name."""

    def __init__(self, files: list[Path]):
        self.files = sorted(files)
        self.entries: dict[str, Entry] = {}
        for file in self.files:
            self.entries |= _header(file)

    @classmethod
    def from_folder(cls, folder: Path) -> "Weights":
        """A Hugging Face folder: `model.safetensors`, or shards named by `model.safetensors.index.json`."""
        index = folder / INDEX
        if not index.exists():
            if not (folder / SINGLE).exists():
                raise ExportError(folder, f"`{SINGLE}` or `{INDEX}`", "neither")
            return cls([folder / SINGLE])
        try:
            table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            names = sorted(set(table.values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExportError(index, "a JSON object with `weight_map`", f"{type(error).__name__}: {error}") from error
        for name in names:
            if not (folder / name).is_file():
                raise ExportError(index, f"the shard `{name}` beside it", "no such file", key="weight_map")
        out = cls([folder / name for name in names])
        for key, name in table.items():
            if key not in out.entries or out.entries[key].file.name != name:
                raise ExportError(folder / name, "a tensor of this name, as the index says", "none", key=key)
        return out

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def entry(self, name: str) -> Entry:
        """Where the tensor `name` is."""
        if name not in self.entries:
            raise ExportError(self.files[0], "a tensor of this name", "none", key=name)
        return self.entries[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor `name`."""
        return self.entry(name).shape

    def get(self, name: str) -> torch.Tensor:
        """The tensor `name`, in the type it is stored in."""
        entry = self.entry(name)
        out = torch.empty(entry.shape, dtype=entry.dtype)
        with open(entry.file, "rb") as file:
            file.seek(entry.begin)
            if file.readinto(memoryview(out.view(-1).view(torch.uint8).numpy())) != entry.end - entry.begin:
                raise ExportError(entry.file, f"{entry.end} bytes", "fewer (the file is cut off)", key=name)
        return out

    def blocks(self, name: str) -> Iterator[torch.Tensor]:
        """The values of `name` in order, flat, a few megabytes at a time."""
        entry = self.entry(name)
        with open(entry.file, "rb") as file:
            file.seek(entry.begin)
            left = entry.end - entry.begin
            while left > 0:
                data = bytearray(min(left, BLOCK_BYTES))
                if file.readinto(data) != len(data):
                    raise ExportError(entry.file, f"{left} more bytes", "the end of the file", key=name)
                left -= len(data)
                yield torch.frombuffer(data, dtype=entry.dtype)

    def dtype(self) -> torch.dtype:
        """The type of most values."""
        count: dict[torch.dtype, int] = {}
        for entry in self.entries.values():
            count[entry.dtype] = count.get(entry.dtype, 0) + entry.end - entry.begin
        return max(count, key=count.__getitem__)

    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.stat().st_size for file in self.files)


def revision(files: list[Path]) -> str:
    """SHA-256 over each file's name and bytes, files in order of their names. Hexadecimal."""
    digest = hashlib.sha256()
    files = sorted(files, key=lambda file: file.name)
    total = sum(file.stat().st_size for file in files)
    with tqdm(total=total, desc="revision", unit="B", unit_scale=True, leave=False) as bar:
        for path in files:
            digest.update(path.name.encode())
            with open(path, "rb") as file:
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                    bar.update(len(block))
    return digest.hexdigest()


def _header(path: Path) -> dict[str, Entry]:
    """Reads and checks the header of one file."""
    if not path.is_file():
        raise ExportError(path, "a safetensors file", "no such file")
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise ExportError(path, f"a safetensors header within its {size} bytes", f"a header of {length} bytes")
        try:
            table = json.loads(file.read(length))
            table.pop("__metadata__", None)
            out = {}
            for name, raw in table.items():
                begin, end = raw["data_offsets"]
                if raw["dtype"] not in DTYPES:
                    raise ExportError(
                        path, "F32, F16 or BF16 (quantised weights are not exported)", raw["dtype"], key=name
                    )
                out[name] = Entry(path, DTYPES[raw["dtype"]], tuple(raw["shape"]), 8 + length + begin, 8 + length + end)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExportError(path, "a safetensors header", f"{type(error).__name__}: {error}") from error
    for name, entry in out.items():
        if entry.end > size:
            raise ExportError(path, f"{entry.end} bytes", f"{size} (the file is cut off)", key=name)
        if entry.end - entry.begin != torch.Size(entry.shape).numel() * entry.dtype.itemsize:
            raise ExportError(path, f"the bytes of shape {list(entry.shape)}", entry.end - entry.begin, key=name)
    return out
