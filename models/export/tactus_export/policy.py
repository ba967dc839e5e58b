"""The policy declaration: everything a checkpoint does not say about itself.

Decides: which fields there are, their words and ranges, what is assumed where one is absent (only what the
architecture fixes). An unknown field and a missing one are refused by name. Does not decide: what the fields mean in
the bundle; they have the names they have there.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tactus_export import actions
from tactus_export.cell import read_toml
from tactus_export.error import ExportError
from tactus_export.stats import KEYS

REQUIRED = object()


@dataclass(frozen=True)
class Field:
    """One field: its type, what stands for it when absent, its allowed words or range."""

    kind: type
    default: Any = REQUIRED
    words: tuple[str, ...] = ()
    least: float | None = None


FIELDS: dict[str, Field] = {
    "name": Field(str),
    "variant": Field(str, words=("frozen", "joint")),
    "source": Field(str, ""),
    "embodiment": Field(int, None, least=0),
    "backbone.layers": Field(int, None, least=1),
    "backbone.norm": Field(str, words=("pre", "post")),
    "backbone.padding": Field(str, "none", words=("none", "left", "right")),
    "backbone.padded_length": Field(int, 0, least=0),
    "vision.processor": Field(str, words=("pil", "torchvision")),
    "vision.min_pixels": Field(int, None, least=1),
    "vision.max_pixels": Field(int, None, least=1),
    "vision.bars": Field(float, None),
    "prompt.template": Field(str, None),
    "prompt.order": Field(str, None, words=("images_first", "instruction_first")),
    "prompt.image": Field(str, "<|vision_start|>{pads}<|vision_end|>"),
    "prompt.image_token": Field(str, "<|image_pad|>"),
    "prompt.pad_token": Field(str, "<|endoftext|>"),
    "prompt.action_tokens": Field(list, None),
    "prompt.state_columns": Field(int, None, least=1),
    "prompt.lowercase": Field(bool),
    "prompt.strip_punctuation": Field(bool),
    "state.joints": Field(list, None),
    "state.gripper": Field(bool),
    "state.normalisation": Field(str, words=tuple(KEYS)),
    "action.joints": Field(list, None),
    "action.gripper": Field(bool),
    "action.representation": Field(str, words=tuple(actions.ANCHORED)),
    "action.anchor": Field(str, None, words=("measured", "command")),
    "action.binary_gripper.open_above": Field(float, None, least=0.0),
    "action.binary_gripper.close_below": Field(float, None, least=0.0),
    "action.tool.base_link": Field(str, None),
    "action.tool.tool_link": Field(str, None),
    "action.tool.rotation": Field(str, None, words=tuple(actions.IDENTITY)),
    "action.tool.frame": Field(str, None, words=("base", "tool")),
    "action.normalisation": Field(str, words=tuple(KEYS)),
    "action.horizon": Field(int, None, least=1),
    "action.period_s": Field(float, least=1e-3),
    "action.first_action_offset_s": Field(float, least=0.0),
    "action.alignment": Field(str, words=("state_at_image",)),
    "action.max_prefix": Field(int, least=0),
    "action.max_feature_age_s": Field(float, None, least=0.0),
    "denoise.steps": Field(int, None, least=1),
    "decoder.max_length": Field(int, None, least=2),
    "decoder.eos": Field(list, None),
    "decoder.think": Field(list, None),
    "decoder.answer": Field(list, None),
    "decoder.fast.marks": Field(list, None),
    "decoder.fast.token": Field(str, None),
    "head.adaln_time": Field(str, None, words=("global", "per_action")),
    "golden.instructions": Field(list, None),
    "golden.decoder_steps": Field(int, 64, least=1),
}


@dataclass(frozen=True)
class Vector:
    """Columns of the state or the action: the joints', or where there is one a tool pose's, then the gripper's."""

    joints: tuple[str, ...]
    gripper: bool
    normalisation: str
    pose: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Column names."""
        return [*(self.pose or self.joints), *(["gripper"] if self.gripper else [])]


@dataclass(frozen=True)
class Policy:
    """A declaration, checked. `values` holds the fields by their dotted name; `None`: not declared."""

    path: Path
    values: dict[str, Any]
    state: Vector
    action: Vector
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


def load(path: Path, joints: tuple[str, ...] | None = None, fixed: dict[str, Any] | None = None) -> Policy:
    """Reads a declaration. `joints`: names from the cell, used where the declaration has none. `fixed`: fields that the
    policy's family decides; another value is refused."""
    raw = read_toml(path)
    cameras = raw.pop("camera", [])
    values: dict[str, Any] = {}
    _flatten(path, raw, "", values)
    for name, value in (fixed or {}).items():
        if values.setdefault(name, value) != value:
            raise ExportError(path, f"`{value}`, as of every policy of this family", f"`{values[name]}`", key=name)
    for name, spec in FIELDS.items():
        if name in (fixed or {}):
            continue
        if name in values:
            values[name] = _checked(path, name, spec, values[name])
        elif spec.default is REQUIRED:
            raise ExportError(path, _expected(spec), "nothing", key=name)
        else:
            values[name] = spec.default
    actions.check(path, values)
    _check_decoder(path, values)
    out = Policy(
        path,
        values,
        _vector(path, values, "state", joints),
        _vector(path, values, "action", joints),
        _sizes(path, cameras),
    )
    if out["prompt.template"] is not None and out["prompt.order"] is not None:
        raise ExportError(
            path, "no order beside `prompt.template`, which has its own", out["prompt.order"], key="prompt.order"
        )
    if out["prompt.template"] is None and out["prompt.order"] is None:
        raise ExportError(
            path, "`images_first` or `instruction_first`, or a `prompt.template`", "nothing", key="prompt.order"
        )
    padded = out["backbone.padding"] != "none"
    if padded != (out["backbone.padded_length"] > 0):
        expected = "the fixed number of tokens" if padded else "0 without padding"
        raise ExportError(path, expected, out["backbone.padded_length"], key="backbone.padded_length")
    return out


def _check_decoder(path: Path, values: dict) -> None:
    """What belongs to the decoder is declared with it, and marks come in pairs."""
    declared = [name for name in FIELDS if name.startswith("decoder.") and values[name] is not None]
    if declared and values["decoder.max_length"] is None:
        raise ExportError(path, "the cache's length, since there is a decoder", "nothing", key="decoder.max_length")
    for name in ("decoder.think", "decoder.answer", "decoder.fast.marks"):
        if values[name] is not None and len(values[name]) != 2:
            raise ExportError(path, "two texts: where it begins and where it ends", values[name], key=name)
    fast = [name for name in ("decoder.fast.marks", "decoder.fast.token") if values[name] is not None]
    if len(fast) == 1:
        raise ExportError(path, "`marks` and `token` together", f"`{fast[0]}`", key="decoder.fast")
    token = values["decoder.fast.token"]
    if token is not None and token.count("{n}") != 1:
        raise ExportError(path, "`{n}` exactly once", token, key="decoder.fast.token")


def _flatten(path: Path, table: dict, prefix: str, into: dict) -> None:
    """Nested tables -> dotted names; a name that is no field is refused."""
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and any(known.startswith(name + ".") for known in FIELDS):
            _flatten(path, value, name + ".", into)
        elif name in FIELDS:
            into[name] = value
        else:
            raise ExportError(path, "no such field", "it", key=name)


def _expected(spec: Field) -> str:
    if spec.words:
        return " or ".join(f"`{word}`" for word in spec.words)
    text = {str: "a text", int: "an integer", float: "a number", bool: "true or false", list: "a list of texts"}[
        spec.kind
    ]
    return text if spec.least is None else f"{text} >= {spec.least:g}"


def _checked(path: Path, name: str, spec: Field, value: Any) -> Any:
    kind = (int, float) if spec.kind is float else spec.kind
    ok = isinstance(value, kind) and (spec.kind is bool or not isinstance(value, bool))
    ok = ok and (not spec.words or value in spec.words) and (spec.least is None or value >= spec.least)
    if spec.kind is list:
        ok = ok and len(value) > 0 and all(isinstance(item, str) and item for item in value)
    if spec.kind is str and name == "name":
        ok = ok and bool(value)
    if not ok:
        raise ExportError(path, _expected(spec), value, key=name)
    return value


def _vector(path: Path, values: dict, of: str, joints: tuple[str, ...] | None) -> Vector:
    own = values[f"{of}.joints"]
    names = tuple(own) if own is not None else joints
    if names is None:
        raise ExportError(
            path, "a list of joint names, here or as `arm.joints` of the cell", "nothing", key=f"{of}.joints"
        )
    if len(set(names)) != len(names):
        raise ExportError(path, "each joint once", ", ".join(names), key=f"{of}.joints")
    if joints is not None and not set(names) <= set(joints):
        unknown = ", ".join(sorted(set(names) - set(joints)))
        raise ExportError(path, f"joints of the cell ({', '.join(joints)})", unknown, key=f"{of}.joints")
    pose = actions.pose_columns(values) if of == "action" else ()
    return Vector(names, values[f"{of}.gripper"], values[f"{of}.normalisation"], pose)


def camera_sizes(path: Path) -> dict[str, tuple[int, int]]:
    """Sizes of images that a declaration states, by camera."""
    return _sizes(path, read_toml(path).get("camera", []))


def _sizes(path: Path, cameras: Any) -> dict[str, tuple[int, int]]:
    """`[[camera]]` of the declaration: sizes of images by name."""
    out = {}
    for i, camera in enumerate(cameras if isinstance(cameras, list) else [cameras]):
        if not isinstance(camera, dict) or set(camera) != {"name", "width", "height"}:
            keys = ", ".join(camera) if isinstance(camera, dict) else camera
            raise ExportError(path, "name, width and height", keys, key=f"camera[{i}]")
        out[camera["name"]] = (camera["width"], camera["height"])
    return out
