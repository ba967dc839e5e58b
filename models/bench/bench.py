"""One chunk of the same policy in PyTorch and in the engine, in one run, with parity.

    python models/bench/bench.py                          # a tiny random Qwen2.5-VL, made and exported for it
    python models/bench/bench.py --checkpoint FOLDER      # mllm/, head.safetensors, stats.json, cell.toml, policy.toml
    python models/bench/bench.py --demo                   # the demo's checkpoint
    python models/bench/bench.py --full --precision bf16 --device cuda --work FOLDER     # random weights of RoboAlign's dimensions

Decides: what is timed, in which order, and how it is shown. A chunk is one pass of vision tower, language model and context, and
all denoising steps, on the first golden case of the exported bundle. The PyTorch side is the exporter's own modules run
eagerly (keys and values of the cross-attention once per chunk, as in the engine), then compiled, and on a GPU also
compiled and captured as one CUDA graph (`chain.py`). The engine's side is `tactus bundle bench`, whose `inference` row is the
same work, and whose `chunk` row adds JPEG files and words.

Every row is timed twice, and the better run counts, by its median: the engine first and last, PyTorch's rows in turn between.
Errors are those of one denoising step from golden inputs, over all cases, on both sides.

What can be missing is looked for before anything heavy is done. With `--work` a finished checkpoint and a finished bundle are used
again, so that a run that was cut off goes on with the next; figures are written to `figures.json` and `figures.md` there (or to
`--json`) as they arrive. An engine that is out of tolerance is a result, not the end of the run.
"""

import argparse
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "models" / "export"), str(ROOT / "models" / "bench")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from chain import Captured, Chain, cases, relative, timed  # noqa: E402

import tactus_export  # noqa: E402
from tactus_export import bundle, graphs, manifest, tiny  # noqa: E402

EAGER, COMPILED, CAPTURED = "PyTorch eager", "torch.compile", "torch.compile, one CUDA graph"
ENGINE, WHOLE = "engine", "engine, from JPEG files and words"
ROWS = (EAGER, COMPILED, CAPTURED, ENGINE, WHOLE)
# `tactus`: finished, with comparisons out of tolerance.
VIOLATIONS = 3


def attempt(measure) -> dict:
    """What `measure` returns, or why it failed: a compiler has many ways to, and the others still count."""
    try:
        return measure()
    except Exception as reason:  # noqa: BLE001
        return {"failed": (str(reason).splitlines() or [type(reason).__name__])[0]}


def better(one: dict | None, other: dict) -> dict:
    """The run with the lower median; one that failed is the worst."""
    runs = [run for run in (one, other) if run is not None]
    return min(runs, key=lambda run: run.get("p50", float("inf")))


def engine(verb: str, bundle_dir: Path, args, out: Path, *more: str) -> dict:
    """`tactus bundle VERB`, whose JSON is kept at `out`. -> that JSON, also where comparisons are out of tolerance."""
    command = [str(args.tactus), "--log", "warn", "bundle", verb, str(bundle_dir), "--threads", str(args.threads)]
    command += ["--require-cuda"] if args.device == "cuda" else []
    # As launch/paths does, for a program that was built outside of the checkout.
    libraries = [str(ROOT / "third_party/mujoco"), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    run = subprocess.run(
        [*command, *more, "--json", str(out)], stdout=subprocess.DEVNULL,
        env=os.environ | {"LD_LIBRARY_PATH": ":".join(libraries)},
    )  # fmt: skip
    if run.returncode not in (0, VIOLATIONS):
        raise RuntimeError(f"`tactus bundle {verb}` ended with {run.returncode}")
    return json.loads(out.read_text())


def error(row: dict) -> float:
    """Of a row of `verify`, of its scale; what was no number is larger than any."""
    return float("inf") if row["max_rel_to_scale"] is None else row["max_rel_to_scale"]


def check(args, folder: Path) -> None:
    """Ends the run where something is missing that would be noticed only after all the work."""
    if not args.tactus.is_file():
        sys.exit(f"bench.py: expected the engine's program at {args.tactus}, got none: ./launch/tactus --help builds it")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"bench.py: expected a GPU that torch {torch.__version__} can use, got none: see models/export/make venv, nvidia-smi")
    try:
        engine("bench", ROOT / "models/demo/bundle", args, folder / "check.json", "--chunks", "1")
    except (RuntimeError, OSError) as reason:
        hint = "; CUDA's libraries come with ./launch/setup --cuda" if args.device == "cuda" else ""
        sys.exit(f"bench.py: expected the demo's bundle to run here, got: {reason}{hint}")


def request(args, folder: Path) -> bundle.Request:
    """What is exported, and where to; the checkpoint is made if it is a random one and not there yet."""
    if args.demo:
        demo, name = ROOT / "models/demo", "demo"
        checkpoint = demo / "checkpoint"
        files = dict(
            mllm=checkpoint, head=checkpoint / "action_head.safetensors", stats=checkpoint / "stats.json",
            cell=ROOT / "launch/cells/demo.toml", policy=demo / "policy.toml",
        )  # fmt: skip
    else:
        source = args.checkpoint
        if source is None:
            options = tiny.FULL if args.full else tiny.Options(cameras=(("scene", 224, 224), ("wrist", 224, 224)))
            source = folder / ("full" if args.full else args.family)
            # The last file of a checkpoint that is written.
            if not (source / "policy.toml").exists():
                tiny.make("qwen2_5_vl" if args.full else args.family, source, options)
        name = source.resolve().name
        files = dict(
            mllm=source / "mllm", head=source / "head.safetensors", stats=source / "stats.json",
            cell=source / "cell.toml", policy=source / "policy.toml",
        )  # fmt: skip
    out = folder / f"bundle-{name}-{args.precision}"
    return bundle.Request(out=out, precision={"*": args.precision}, force=True, **files)


def exported(wanted: bundle.Request) -> None:
    """Exports, unless the bundle is there (it appears complete or not at all) and newer than all that it is made of."""
    for left in wanted.out.parent.glob(f".{wanted.out.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    made = wanted.out / manifest.NAME
    folders = (wanted.mllm, wanted.head.parent, Path(tactus_export.__file__).parent)
    of = [wanted.stats, wanted.cell, wanted.policy, *(file for folder in folders for file in folder.iterdir() if file.is_file())]
    if not made.exists() or made.stat().st_mtime < max(file.stat().st_mtime for file in of):
        bundle.export(wanted)


def hardware(args) -> str:
    """What it ran on."""
    if args.device == "cuda":
        return torch.cuda.get_device_name()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores visible, {args.threads} thread(s) used"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="folder of a checkpoint as `python -m tactus_export.tiny` makes it")
    parser.add_argument("--demo", action="store_true", help="the demo's checkpoint")
    parser.add_argument("--full", action="store_true", help="random weights of true dimensions; needs a GPU and time")
    parser.add_argument("--family", choices=sorted(tiny.CAMERAS), default="qwen2_5_vl", help="of the tiny checkpoint")
    parser.add_argument("--precision", choices=sorted(graphs.PRECISIONS), default="fp32")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="of one operator, in PyTorch and in the engine")
    parser.add_argument("--chunks", type=int, default=100)
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--work", type=Path, help="folder for checkpoint, bundle and figures; default: a temporary one")
    parser.add_argument("--tactus", type=Path, default=target / "debug/tactus", help="the engine's program")
    parser.add_argument("--json", type=Path, help="write the figures to this file, and as a table beside it")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        check(args, folder)
        report = {
            "policy": "", "hardware": hardware(args), "precision": args.precision, "chunks": args.chunks,
            "torch": torch.__version__, "rows": {}, "step_error": {},
        }  # fmt: skip
        figures = args.json or (args.work / "figures.json" if args.work else None)
        try:
            measure(args, folder, report, lambda: write(report, figures))
        finally:
            print(table(report))


def write(report: dict, figures: Path | None) -> None:
    """What is known by now, as JSON and as a table."""
    if figures is not None:
        figures.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        figures.with_suffix(".md").write_text(table(report) + "\n", encoding="utf-8")


def measure(args, folder: Path, report: dict, arrived) -> None:
    """Exports, then times both sides, the engine before and after PyTorch. What it finds goes into `report`; `arrived` is called
    whenever that is more."""
    wanted = request(args, folder)
    exported(wanted)
    measure_engine(args, folder, wanted.out, report)
    arrived()
    verified = engine("verify", wanted.out, args, folder / "verify.json")
    compared = verified["rows"]
    report |= {
        "policy": verified["name"], "engine_verified": verified["passed"], "compared": len(compared),
        "engine_failed": [row for row in compared if not row["passed"]],
    }  # fmt: skip
    report["step_error"][ENGINE] = max(error(row) for row in compared if row["boundary"].startswith("x."))
    arrived()
    measure_pytorch(args, wanted, report, arrived)
    # What PyTorch holds of the device is the engine's now.
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()
    measure_engine(args, folder, wanted.out, report)
    arrived()


def measure_engine(args, folder: Path, bundle_dir: Path, report: dict) -> None:
    """One run of the engine."""
    run = engine("bench", bundle_dir, args, folder / "engine.json", "--chunks", str(args.chunks))
    rows = report["rows"]
    if better(rows.get(ENGINE), run["inference_ms"]) is run["inference_ms"]:
        report |= {"stages_ms": run["stages_ms"], "rest_ms": run["rest_ms"], "floor_ms": run["inference_ms"]["floor"]}
    for name, key in ((ENGINE, "inference_ms"), (WHOLE, "chunk_ms")):
        rows[name] = better(rows.get(name), {part: run[key][part] for part in ("p50", "p99", "max")})


def measure_pytorch(args, wanted: bundle.Request, report: dict, arrived) -> None:
    """Two runs of each of PyTorch's rows, in turn; then their errors, whose other lengths of prompts would compile once more."""
    # The bundle is there now, which `prepare` would refuse for another one.
    chain = Chain(bundle.prepare(wanted), args.device)
    golden = cases(wanted.out / "golden", chain)
    known, rows, errors = golden[0], report["rows"], report["step_error"]
    runs = {EAGER: lambda: chain.run(known)}
    if not args.no_compile:
        compiled = chain.compiled()
        runs[COMPILED] = lambda: compiled.run(known)
        if args.device == "cuda":
            runs[CAPTURED] = Captured(compiled, known)
    for _ in range(2):
        for name, run in runs.items():
            if "failed" not in rows.get(name, {}):
                rows[name] = better(rows.get(name), attempt(lambda: timed(run, args.device, args.chunks)))
                arrived()
    if CAPTURED in runs and "failed" not in rows[CAPTURED]:
        report["captured_differs"] = float(relative(runs[CAPTURED](), compiled.run(known)))
    errors[EAGER] = chain.step_error(golden)
    arrived()
    if COMPILED in runs and "failed" not in rows[COMPILED]:
        found = attempt(lambda: {COMPILED: compiled.step_error(golden)})
        report |= {"compiled_error_failed": found["failed"]} if "failed" in found else {}
        errors |= {} if "failed" in found else found
        arrived()


def table(report: dict) -> str:
    """Markdown, of what there is."""
    rows, errors = report["rows"], report["step_error"]
    eager = rows.get(EAGER, {}).get("p50", float("nan"))
    lines = [
        f"{report['policy']}, {report['precision']}, the better of two runs of {report['chunks']} chunks; {report['hardware']}; "
        f"torch {report['torch']}", "", "| one chunk, ms | p50 | p99 | max | eager / this |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name in (name for name in ROWS if name in rows):
        row = rows[name]
        if "failed" in row:
            lines.append(f"| {name} | did not run: {row['failed']} | | | |")
        else:
            lines.append(f"| {name} | {row['p50']:.2f} | {row['p99']:.2f} | {row['max']:.2f} | {eager / row['p50']:.2f} |")
    text = []
    if "rest_ms" in report:
        floor = f"{report['floor_ms']:.2f} ms" if report["floor_ms"] else "not counted in this bundle"
        rest = report["rest_ms"]["p50"]
        text.append(f"Floor of the engine's graphs: {floor}. Everything but ONNX Runtime and JPEG decoding: {rest:.2f} ms p50.")
    if errors:
        said = ", ".join(f"{name} {errors[name]:.1e}" for name in ROWS if name in errors)
        text.append(f"Largest error of one denoising step from golden inputs, over all golden cases, of its scale: {said}.")
    if "captured_differs" in report:
        text.append(f"The CUDA graph's chunk differs from the compiled modules' by {report['captured_differs']:.1e}.")
    if report.get("engine_failed"):
        failed = report["engine_failed"]
        said = "; ".join(f"{row['case']} {row['boundary']} {error(row):.1e} (at most {row['tolerance']:g})" for row in failed)
        text.append(f"**Out of tolerance in the engine: {len(failed)} of {report['compared']} comparisons**: {said}.")
    return "\n".join([*lines, "", " ".join(text)])


if __name__ == "__main__":
    main()
