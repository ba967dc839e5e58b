"""Pixels as the policy was trained to see them, by transformers' own image processors.

Decides: which of the two processors (`pil`: 8-bit, lines first; `torchvision`: the "fast" one, 8-bit tensors) and its
settings. Does not decide: the size rule and the resampling, which are transformers'.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from tactus_export.cell import Camera
from tactus_export.checkpoint import VisionConfig, read_json
from tactus_export.error import ExportError

BICUBIC = 3
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Processor:
    """Settings of the image processor."""

    kind: str
    patch: int
    temporal_patch: int
    merge: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    min_pixels: int
    max_pixels: int

    def build(self):
        """The transformers processor."""
        if self.kind == "pil":
            from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil as Kind
        else:
            from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor as Kind
        return Kind(
            size={"shortest_edge": self.min_pixels, "longest_edge": self.max_pixels}, patch_size=self.patch,
            temporal_patch_size=self.temporal_patch, merge_size=self.merge, image_mean=list(self.mean),
            image_std=list(self.std), resample=BICUBIC,
        )  # fmt: skip

    def resized(self, rgb: np.ndarray) -> np.ndarray:
        """[h, w, 3] u8 -> the pixels of which the patches are made, [h', w', 3] u8."""
        processor = self.build()
        planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
        given = planes if self.kind == "pil" else torch.from_numpy(planes)[None]
        out = processor.resize(given, size=processor.size, resample=processor.resample, factor=self.patch * self.merge)
        out = np.asarray(out if self.kind == "pil" else out[0])
        assert out.dtype == np.uint8, out.dtype
        return np.ascontiguousarray(out.transpose(1, 2, 0))

    def grid(self, camera: Camera) -> tuple[int, int]:
        """Rows and columns of patches of a camera's images."""
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        try:
            height, width = smart_resize(
                camera.height, camera.width, self.patch * self.merge, self.min_pixels, self.max_pixels
            )
        except ValueError as error:
            raise ExportError(
                "cell", "an image at most 200 times as long as wide", error, key=f"camera {camera.name}"
            ) from error
        return height // self.patch, width // self.patch


def load(folder: Path, vision: VisionConfig, policy) -> Processor:
    """Reads `preprocessor_config.json`; `policy` names the processor and may override the pixel bounds."""
    path = folder / "preprocessor_config.json"
    raw = read_json(path)
    size = raw.get("size") if isinstance(raw.get("size"), dict) else {}
    given = {
        "min_pixels": policy["vision.min_pixels"]
        or raw.get("min_pixels")
        or size.get("shortest_edge")
        or size.get("min_pixels"),
        "max_pixels": policy["vision.max_pixels"]
        or raw.get("max_pixels")
        or size.get("longest_edge")
        or size.get("max_pixels"),
    }
    for key, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ExportError(path, f"an integer here, or `vision.{key}` in the policy file", value, key=key)
    if given["max_pixels"] < max(given["min_pixels"], (vision.patch * vision.merge) ** 2):
        raise ExportError(
            path,
            f"at least min_pixels = {given['min_pixels']} and one merge unit",
            given["max_pixels"],
            key="max_pixels",
        )
    for key, expected in (
        ("patch_size", vision.patch), ("temporal_patch_size", vision.temporal_patch), ("merge_size", vision.merge),
        ("resample", BICUBIC), ("do_resize", True), ("do_rescale", True), ("do_normalize", True),
    ):  # fmt: skip
        if raw.get(key, expected) != expected:
            raise ExportError(path, str(expected), raw[key], key=key)
    if abs(raw.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        raise ExportError(path, "1/255", raw["rescale_factor"], key="rescale_factor")
    for key in ("image_mean", "image_std"):
        value = raw.get(key)
        if not isinstance(value, list) or len(value) != 3 or not all(isinstance(v, int | float) for v in value):
            raise ExportError(path, "three numbers", value, key=key)
    return Processor(
        policy["vision.processor"], vision.patch, vision.temporal_patch, vision.merge, tuple(raw["image_mean"]),
        tuple(raw["image_std"]), given["min_pixels"], given["max_pixels"],
    )  # fmt: skip


def from_folder(folder: Path, camera: Camera, case: int) -> bytes:
    """A JPEG file of `camera`: `CASE-CAMERA.jpg`, `CAMERA.jpg`, or the same as .png, which is then encoded."""
    names = [f"{stem}{end}" for stem in (f"{case}-{camera.name}", camera.name) for end in (".jpg", ".jpeg", ".png")]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise ExportError(folder, f"an image `{names[0]}` or `{names[3]}` (or .png)", "none")
    try:
        image = Image.open(path)
        image.load()
    except (UnidentifiedImageError, OSError) as error:
        raise ExportError(path, "an image", error) from error
    if image.size != (camera.width, camera.height):
        actual = f"{image.size[0]}x{image.size[1]}"
        raise ExportError(path, f"{camera.width}x{camera.height} pixels, the camera's size", actual)
    return path.read_bytes() if image.format == "JPEG" else encode(np.asarray(image.convert("RGB")))


def drawn(camera: Camera, rng: np.random.Generator) -> bytes:
    """A JPEG file of a made-up scene: a shaded ground and some boxes. Smooth and sharp parts, all grey levels."""
    y, x = np.mgrid[0 : camera.height, 0 : camera.width] / (max(camera.width, camera.height) - 1.0)
    tilt = rng.uniform(-1, 1, (3, 2))
    picture = 128 + 100 * (tilt[:, 0, None, None] * (x - 0.5) + tilt[:, 1, None, None] * (y - 0.5))
    picture = picture.transpose(1, 2, 0)
    for _ in range(6):
        left, top = rng.uniform(0, 0.9) * camera.width, rng.uniform(0, 0.9) * camera.height
        side = rng.uniform(0.05, 0.3) * min(camera.width, camera.height)
        picture[int(top) : int(top + side) + 1, int(left) : int(left + side) + 1] = rng.uniform(0, 255, 3)
    return encode(np.clip(picture, 0, 255).astype(np.uint8))


def encode(rgb: np.ndarray) -> bytes:
    """[h, w, 3] u8 -> JPEG file."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=JPEG_QUALITY)
    return out.getvalue()


def decode(jpeg: bytes) -> np.ndarray:
    """JPEG file -> [h, w, 3] u8."""
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))
