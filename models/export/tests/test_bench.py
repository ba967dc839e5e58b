"""models/bench/bench.py, with a stand-in for the engine's program: what it does when something is missing or fails."""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "models/bench"))

import bench  # noqa: E402
import chain  # noqa: E402

# Of the demo's bundle, which is the check at the start: 9 ms; of any other 5 ms in the first run, in the second what `second` says.
ENGINE = """#!{python}
import json, sys
from pathlib import Path
verb, folder = sys.argv[sys.argv.index("bundle") + 1 :][:2]
out = Path(sys.argv[sys.argv.index("--json") + 1])
calls = Path(__file__).with_name("calls")
with calls.open("a") as file:
    file.write(f"{{verb}} {{Path(folder).name}}\\n")
if verb == "verify":
    row = {{"case": "case-0", "boundary": "features", "max_rel_to_scale": 0.06, "tolerance": 0.05, "passed": False}}
    step = row | {{"boundary": "x.1", "max_rel_to_scale": 1e-6, "passed": True}}
    out.write_text(json.dumps({{"name": "a policy", "passed": False, "rows": [row, step]}}))
    sys.exit(3)
ms = 9 if folder.endswith("demo/bundle") else 5
if len(calls.read_text().splitlines()) == 4:
    ms = {second}
    if ms is None:
        sys.exit(1)
cost = {{"p50": ms, "p99": ms, "max": ms, "floor": None}}
out.write_text(json.dumps({{"inference_ms": cost, "chunk_ms": cost, "rest_ms": cost, "stages_ms": {{}}}}))
"""


def program(folder: Path, second: float | None) -> list[str]:
    """The stand-in. -> options of a short run with it, whose figures are in `figures.json` of its work folder."""
    path = folder / "tactus"
    path.write_text(ENGINE.format(python=sys.executable, second=second))
    path.chmod(0o755)
    (folder / "calls").unlink(missing_ok=True)
    return ["--tactus", str(path), "--work", str(folder / "work"), "--chunks", "3", "--no-compile"]


@pytest.fixture(scope="module")
def exported(checkpoints, tmp_path_factory) -> Path:
    """A folder in which a first run has left its bundle."""
    folder = tmp_path_factory.mktemp("bench")
    bench.main([*program(folder, second=4), "--checkpoint", str(checkpoints["qwen2_5_vl"])])
    return folder


def test_an_engine_out_of_tolerance_is_a_result_and_every_row_has_two_runs(exported, checkpoints, capsys, monkeypatch):
    monkeypatch.setattr(bench.bundle, "export", lambda wanted: pytest.fail("the bundle is there"))
    runs = []
    monkeypatch.setattr(bench, "timed", lambda *_: runs.append(0) or dict.fromkeys(("p50", "p99", "max"), 9 - len(runs)))
    bench.main([*program(exported, second=4), "--checkpoint", str(checkpoints["qwen2_5_vl"])])
    name = "bundle-qwen2_5_vl-fp32"
    assert (exported / "calls").read_text().splitlines() == ["bench bundle", f"bench {name}", f"verify {name}", f"bench {name}"]
    report = json.loads((exported / "work/figures.json").read_text())
    assert not report["engine_verified"] and [row["boundary"] for row in report["engine_failed"]] == ["features"]
    assert report["rows"]["engine"]["p50"] == 4 and report["rows"]["PyTorch eager"]["p50"] == 7
    # One step from golden inputs, on either side.
    assert report["step_error"]["engine"] == 1e-6 and 0 < report["step_error"]["PyTorch eager"] < 1e-5
    shown = capsys.readouterr().out
    assert shown.rstrip().endswith((exported / "work/figures.md").read_text().rstrip())
    assert "1 of 2 comparisons**: case-0 features 6.0e-02 (at most 0.05)" in shown


def test_a_later_failure_loses_no_figure(exported, checkpoints, capsys):
    with pytest.raises(RuntimeError, match="ended with 1"):
        bench.main([*program(exported, second=None), "--checkpoint", str(checkpoints["qwen2_5_vl"])])
    report = json.loads((exported / "work/figures.json").read_text())
    assert report["rows"]["engine"]["p50"] == 5 and "PyTorch eager" in report["rows"] and report["step_error"]
    assert "| engine | 5.00 |" in capsys.readouterr().out


def test_a_bundle_older_than_its_checkpoint_is_made_again(exported, checkpoints, monkeypatch):
    wanted = bench.request(bench.arguments(["--checkpoint", str(checkpoints["qwen2_5_vl"])]), exported / "work")
    made, manifest = [], wanted.out / "bundle.toml"
    monkeypatch.setattr(bench.bundle, "export", made.append)
    left = wanted.out.with_name(f".{wanted.out.name}.1.new")
    left.mkdir()
    bench.exported(wanted)
    assert made == [] and not left.exists()
    os.utime(manifest, (0, 0))
    bench.exported(wanted)
    assert made == [wanted]
    os.utime(manifest)


@pytest.mark.parametrize("missing, says", [("program", "./launch/tactus --help"), ("gpu", "nvidia-smi")])
def test_what_is_missing_is_said_before_the_work(tmp_path, monkeypatch, missing, says):
    options = program(tmp_path, second=4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: missing != "gpu")
    monkeypatch.setattr(bench, "request", lambda *_: pytest.fail("nothing heavy"))
    if missing == "program":
        (tmp_path / "tactus").unlink()
    with pytest.raises(SystemExit, match=says):
        bench.main([*options, *(["--device", "cuda"] if missing == "gpu" else [])])


def test_the_program_is_where_cargo_puts_it(monkeypatch):
    monkeypatch.setenv("CARGO_TARGET_DIR", "/elsewhere")
    assert bench.arguments([]).tactus == Path("/elsewhere/debug/tactus")


def test_quantiles():
    found = chain.quantiles([float(i) for i in range(200, 0, -1)])
    assert found == {"p50": 100, "p99": 198, "max": 200}
    assert chain.quantiles([3.0]) == {"p50": 3, "p99": 3, "max": 3}
