"""Cameras and joint names of a cell file.

Decides: which cameras the policy sees, in which order, and how large their images are. Does not decide: anything
else of the cell; its other fields are the runtime's and are not looked at. Image sizes that the cell does not state
come from the policy's own `[[camera]]`.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from tactus_export.error import ExportError

MAX_SIDE = 8192


@dataclass(frozen=True)
class Camera:
    """One camera, in prompt order; pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class Cell:
    """Cameras of the cell; the joints of its arm, `None` where the file does not name them."""

    cameras: tuple[Camera, ...]
    joints: tuple[str, ...] | None


def read_toml(path: Path) -> dict:
    """A TOML file."""
    if not path.is_file():
        raise ExportError(path, "a TOML file", "no such file")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExportError(path, "TOML", error) from error


def load(path: Path, sizes: dict[str, tuple[int, int]]) -> Cell:
    """Reads a cell; `sizes` are widths and heights by camera name, for cameras whose size the cell does not state."""
    raw = read_toml(path)
    table = raw.get("camera")
    if not isinstance(table, list) or not table:
        raise ExportError(path, "at least one [[camera]]", "none", key="camera")
    cameras: list[Camera] = []
    for i, entry in enumerate(table):
        key = f"camera[{i}]"
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or name in [camera.name for camera in cameras]:
            raise ExportError(path, "a name used once", name, key=f"{key}.name")
        sides = []
        for side, given in zip(("width", "height"), sizes.get(name, (None, None))):
            value = entry.get(side, given)
            if value is None:
                raise ExportError(
                    path, f"the {side} in pixels, here or in a [[camera]] `{name}` of the policy file", "none",
                    key=f"{key}.{side}",
                )  # fmt: skip
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SIDE:
                raise ExportError(path, f"an integer in 1..={MAX_SIDE}", value, key=f"{key}.{side}")
            if given is not None and value != given:
                raise ExportError(path, f"{given}, as in the policy file", value, key=f"{key}.{side}")
            sides.append(value)
        cameras.append(Camera(name, *sides))
    for name in sizes:
        if name not in [camera.name for camera in cameras]:
            raise ExportError(path, f"a [[camera]] `{name}`, as in the policy file", "none", key="camera")
    arm = raw.get("arm")
    joints = arm.get("joints") if isinstance(arm, dict) else None
    if joints is not None and not (isinstance(joints, list) and all(isinstance(joint, str) for joint in joints)):
        raise ExportError(path, "a list of names", joints, key="arm.joints")
    return Cell(tuple(cameras), tuple(joints) if joints is not None else None)
