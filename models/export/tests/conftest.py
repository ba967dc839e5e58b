"""Tiny checkpoints shared by the tests, and the way an export job is made of one."""

import os
import shutil
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402

from tactus_export import bundle, tiny  # noqa: E402

torch.set_num_threads(1)
FAMILIES = ("qwen2_5_vl", "qwen3_vl")
REPOSITORY = Path(__file__).resolve().parents[3]


def request(folder: Path, **more) -> bundle.Request:
    """A request for the tiny policy in `folder`."""
    given = {
        "mllm": folder / "mllm", "head": folder / "head.safetensors", "stats": folder / "stats.json",
        "cell": folder / "cell.toml", "policy": folder / "policy.toml", "out": folder / "bundle", "precision": {},
    } | more  # fmt: skip
    return bundle.Request(**given)


def arguments(folder: Path, *more: str) -> list[str]:
    """The same on the command line."""
    names = {"mllm": "mllm", "head": "head.safetensors", "stats": "stats.json", "cell": "cell.toml", "out": "bundle"}
    return [part for option, name in names.items() for part in (f"--{option}", str(folder / name))] + list(more)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """A tiny policy of each family."""
    root = tmp_path_factory.mktemp("tiny")
    return {family: tiny.make(family, root / family) for family in FAMILIES}


@pytest.fixture
def copied(checkpoints, tmp_path):
    """A copy of a tiny policy that a test may spoil."""

    def copy(family: str = "qwen2_5_vl") -> Path:
        return Path(shutil.copytree(checkpoints[family], tmp_path / "policy", ignore=shutil.ignore_patterns("bundle")))

    return copy


def declare(folder: Path, options: tiny.Options, family: str) -> Path:
    """Writes statistics, cell and policy anew."""
    tiny.make_declarations(family, folder, options)
    return folder


def two_frames(pixel_values: torch.Tensor) -> torch.Tensor:
    """[P, colour * y * x] of a bundle -> [P, colour * frame * y * x], as the model itself reads a picture that stands still."""
    return pixel_values.unflatten(1, (3, 1, -1)).repeat(1, 1, 2, 1).flatten(1)
