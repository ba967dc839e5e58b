"""Normalisation statistics.

Decides: which numbers a normalisation needs, and what they do to a value. Does not decide: which normalisation a
policy uses (`policy.py`). Every normalisation is affine: `value = offset + scale * normalised`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tactus_export.checkpoint import read_json
from tactus_export.error import ExportError

KEYS = {"mean_std": ("mean", "std"), "min_max": ("min", "max"), "quantile": ("q01", "q99")}


@dataclass(frozen=True)
class Affine:
    """`value = offset + scale * normalised`, per column; rad, or opening 0..1 for the gripper."""

    offset: np.ndarray
    scale: np.ndarray

    def normalise(self, value: np.ndarray) -> np.ndarray:
        return (np.asarray(value, np.float64) - self.offset) / self.scale

    def restore(self, normalised: np.ndarray) -> np.ndarray:
        return self.offset + self.scale * np.asarray(normalised, np.float64)


@dataclass(frozen=True)
class Stats:
    """Statistics of state and action, and the file's content."""

    state: Affine
    action: Affine
    raw: dict


def load(path: Path, policy) -> Stats:
    """Reads `path` for the columns and normalisations that `policy` declares. Other keys are refused."""
    raw = read_json(path)
    if set(raw) != {"state", "action"}:
        raise ExportError(path, "the keys `state` and `action`", ", ".join(f"`{key}`" for key in raw) or "none")
    columns = {"state": policy.state.names(), "action": policy.action.names()}
    words = {"state": policy.state.normalisation, "action": policy.action.normalisation}
    out = {of: _affine(path, of, raw[of], words[of], columns[of]) for of in ("state", "action")}
    if policy.action.gripper:
        offset, scale = out["action"].offset[-1], out["action"].scale[-1]
        if abs(offset - 0.5) > 1e-6 or abs(scale - 0.5) > 1e-6:
            low, high = offset - scale, offset + scale
            raise ExportError(
                path, "0..1 for a normalised -1..1 of the gripper column", f"{low:g}..{high:g}", key="action"
            )
    return Stats(out["state"], out["action"], raw)


def _affine(path: Path, of: str, raw: object, word: str, columns: list[str]) -> Affine:
    keys = KEYS[word]
    if not isinstance(raw, dict) or set(raw) != set(keys):
        found = ", ".join(f"`{key}`" for key in raw) if isinstance(raw, dict) else type(raw).__name__
        raise ExportError(path, f"the keys `{keys[0]}` and `{keys[1]}` of `{word}`", found or "none", key=of)
    pair = []
    for key in keys:
        values = raw[key]
        if not isinstance(values, list) or len(values) != len(columns):
            actual = len(values) if isinstance(values, list) else type(values).__name__
            raise ExportError(path, f"{len(columns)} numbers (one per column)", actual, key=f"{of}.{key}")
        for name, value in zip(columns, values):
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise ExportError(path, "a finite number", value, key=f"{of}.{key} of {name}")
        pair.append(np.array(values, np.float64))
    first, second = pair
    offset, scale = (first, second) if word == "mean_std" else ((first + second) / 2, (second - first) / 2)
    for name, value, low, high in zip(columns, scale, first, second):
        if value <= 0:
            least = "> 0" if word == "mean_std" else f"> {keys[0]} = {low:g} (a constant column has no scale)"
            raise ExportError(path, f"a number {least}", f"{high:g}", key=f"{of}.{keys[1]} of {name}")
    return Affine(offset, scale)
