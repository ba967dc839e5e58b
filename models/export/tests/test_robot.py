"""From checkpoint folder to a moving simulated arm, by the commands a user would give.

Needs the runtime's program: the environment variable TACTUS, or the checkout's build. Without one the test is skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import FAMILIES, REPOSITORY

CELL = REPOSITORY / "launch/cells/demo.toml"


@pytest.fixture
def tactus() -> Path:
    """The runtime's program."""
    program = Path(os.environ.get("TACTUS", REPOSITORY / "target/debug/tactus"))
    if not program.is_file():
        pytest.skip(f"{program} is not built")
    return program


def run(*command: object, folder: Path) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(REPOSITORY / "models/export"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [str(part) for part in command], cwd=folder, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_checkpoint_moves_the_simulated_arm(family: str, tactus: Path, tmp_path: Path) -> None:
    made = run(sys.executable, "-m", "tactus_export.tiny", family, "tiny", "--cell", CELL, folder=tmp_path)
    assert made.returncode == 0, made.stderr
    words = made.stdout.split()
    exported = run(sys.executable, "-m", "tactus_export", *words[words.index("tactus-export") + 1 :], folder=tmp_path)
    assert exported.returncode == 0, exported.stderr
    bundle = tmp_path / "tiny/bundle"

    verified = run(tactus, "bundle", "verify", bundle, folder=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "all within tolerance" in verified.stdout

    demo = run(
        tactus, "demo", "--headless", "--lockstep", "--episodes", "1", "--bundle", bundle, "--json", "out.json",
        folder=tmp_path,
    )  # fmt: skip
    assert demo.returncode == 0, demo.stdout + demo.stderr
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    # Random weights lift nothing, but their chunks are played to the end: the arm's limits have to slow them down.
    assert row["chunks"] > 20, row
    assert json.loads((tmp_path / "out.json").read_text())["limited_ticks"] > 100
