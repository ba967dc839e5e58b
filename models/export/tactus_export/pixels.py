"""Golden pixels at the sizes of real cameras, for the runtime's tests: what transformers' processors make of an image.

    python -m tactus_export.pixels OUT.safetensors

Decides: the image (a formula, so that nobody has to store it), the cameras, and which numbers are kept: whole images
would be megabytes, so it is every so many-th. Does not decide: what the processors do (`images.py`).
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from tactus_export.cell import Camera
from tactus_export.images import Processor

# 480, 720 and 848 lie half-way between two multiples of 32, 1280x720 and 848x480 are shrunk and enlarged by unequal
# shares, 128x128 is enlarged to the least area.
CAMERAS = ((640, 480), (848, 480), (1280, 720), (128, 128))
# The real checkpoints' settings.
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
FAMILIES = {
    "qwen2_5_vl": {"patch": 14, "mean": CLIP[0], "std": CLIP[1], "min_pixels": 3136, "max_pixels": 12845056},
    "qwen3_vl": {"patch": 16, "mean": (0.5,) * 3, "std": (0.5,) * 3, "min_pixels": 65536, "max_pixels": 16777216},
}
KINDS = ("pil", "torchvision")


@dataclass(frozen=True)
class Kept:
    """Distances between kept numbers; primes, so that they come from all columns, colours and places in a patch."""

    resized: int = 997
    pixel_values: int = 3989


def image(width: int, height: int) -> np.ndarray:
    """[h, w, 3] u8: slopes with steps, and noise."""
    y, x, c = np.meshgrid(*(np.arange(n, dtype=np.uint32) for n in (height, width, 3)), indexing="ij")
    noise = x * np.uint32(0x9E3779B1) ^ y * np.uint32(0x85EBCA77) ^ c * np.uint32(0xC2B2AE3D)
    noise ^= noise >> np.uint32(15)
    return ((3 * x + 5 * y) // 4 % 192 + (noise >> np.uint32(8)) % 64).astype(np.uint8)


def tensors() -> dict[str, np.ndarray]:
    """`FAMILY.KIND.WIDTHxHEIGHT.NAME`: `grid` [rows, columns], and of `resized` and `pixel_values` what is kept."""
    out = {}
    for family, settings in FAMILIES.items():
        for kind in KINDS:
            processor = Processor(kind=kind, temporal_patch=2, merge=2, **settings)
            for width, height in CAMERAS:
                picture = image(width, height)
                planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
                given = planes if kind == "pil" else torch.from_numpy(planes)
                whole = processor.build()(images=[given], return_tensors="np")
                name = f"{family}.{kind}.{width}x{height}"
                grid = np.array(processor.grid(Camera("c", width, height)), np.int64)
                assert whole["image_grid_thw"].tolist() == [[1, *grid]]
                out[f"{name}.grid"] = grid
                out[f"{name}.resized"] = processor.resized(picture).ravel()[:: Kept.resized]
                values = np.asarray(whole["pixel_values"], np.float32)
                out[f"{name}.pixel_values"] = values.ravel()[:: Kept.pixel_values]
    return {name: np.ascontiguousarray(value) for name, value in out.items()}


def main() -> None:
    out = Path(sys.argv[1])
    save_file(tensors(), out)
    out.chmod(0o644)
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
