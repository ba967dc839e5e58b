"""One chunk of the same policy in PyTorch and in the engine, in one run, with parity.

    python models/bench/bench.py                          # a tiny random Qwen2.5-VL, made and exported for it
    python models/bench/bench.py --checkpoint FOLDER      # mllm/, head.safetensors, stats.json, cell.toml, policy.toml
    python models/bench/bench.py --demo                   # the demo's checkpoint
    python models/bench/bench.py --full --precision bf16 --device cuda     # random weights of RoboAlign's dimensions

Decides: what is timed and how it is shown. A chunk is one pass of vision tower, language model and context, and all
denoising steps, on the first golden case of the exported bundle. The PyTorch side is the exporter's own modules run
eagerly (keys and values of the cross-attention once per chunk, as in the engine), then compiled, and on a GPU also
compiled and captured as one CUDA graph. The engine's side is
`tactus bundle bench`, whose `inference` row is the same work, and whose `chunk` row adds JPEG files and words.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "models" / "export"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from tactus_export import bundle, graphs, tiny  # noqa: E402
from tactus_export.source import materialise  # noqa: E402

WARM_UP = 5
STAGES = ("vision", "backbone", "context", "denoise")


class Chain:
    """The graphs of a bundle as PyTorch modules."""

    def __init__(self, job: bundle.Job, device: str):
        names = {n: graphs.build(n, job.checkpoint, job.head, job.policy, job.layers, job.precisions[n]) for n in STAGES}
        self.graphs = names
        self.modules = {n: materialise(g.module, g.sources).to(device) for n, g in names.items()}
        self.steps = job.head.config.steps
        self.device = device

    def compile(self) -> None:
        """Compiles every module."""
        self.modules = {name: torch.compile(module) for name, module in self.modules.items()}

    def captured(self, known: dict[str, torch.Tensor]):
        """The whole chunk as one CUDA graph. -> what runs it again. Not `reduce-overhead`, which captures each module by
        itself and may overwrite the context between two steps."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.run(known)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.run(known)
        return graph.replay

    def run(self, known: dict[str, torch.Tensor]) -> torch.Tensor:
        """All graphs over a golden case's inputs. -> the last x [1, H, A]."""
        known = dict(known)
        with torch.inference_mode():
            for name in STAGES[:3]:
                graph = self.graphs[name]
                made = self.modules[name](*(known[i] for i in graph.inputs))
                known |= zip(graph.outputs, made if isinstance(made, tuple) else (made,))
            x = known["noise"]
            for k in range(self.steps):
                known |= {"x": x, "time": known[f"time.{k}"]}
                x = self.modules["denoise"](*(known[i] for i in self.graphs["denoise"].inputs))
        return x


def timed(run, device: str, chunks: int) -> dict[str, float]:
    """Milliseconds of a chunk, which `run` makes."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for i in range(WARM_UP + chunks):
        wait()
        begun = time.perf_counter()
        run()
        wait()
        if i >= WARM_UP:
            times.append(1e3 * (time.perf_counter() - begun))
    times.sort()
    return {"p50": times[len(times) // 2], "p99": times[min(len(times) - 1, int(0.99 * len(times)))], "max": times[-1]}


def attempt(measure) -> dict:
    """What `measure` returns, or why it failed: a compiler has many ways to, and the others still count."""
    try:
        return measure()
    except Exception as reason:  # noqa: BLE001
        return {"failed": (str(reason).splitlines() or [type(reason).__name__])[0]}


def inputs(case: Path, chain: Chain) -> dict[str, torch.Tensor]:
    """The golden case's tensors, and what the runtime computes beside them."""
    known = {name: value.to(chain.device) for name, value in load_file(case).items()}
    known["dt"] = torch.tensor([1.0 / chain.steps], device=chain.device)
    for k in range(chain.steps):
        known[f"time.{k}"] = torch.full(known["prefix_mask"].shape, k / chain.steps, device=chain.device)
    return known


def engine(verb: str, folder: Path, args, *more: str) -> dict:
    """`tactus bundle VERB`. -> its JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.json"
        command = [str(args.tactus), "--log", "warn", "bundle", verb, str(folder), "--threads", str(args.threads)]
        command += ["--require-cuda"] if args.device == "cuda" else []
        subprocess.run([*command, *more, "--json", str(out)], check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())


def request(args, folder: Path) -> bundle.Request:
    """What is exported."""
    if args.demo:
        demo = ROOT / "models/demo"
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
            if not (source / "policy.toml").exists():
                tiny.make("qwen2_5_vl" if args.full else args.family, source, options)
        files = dict(
            mllm=source / "mllm", head=source / "head.safetensors", stats=source / "stats.json",
            cell=source / "cell.toml", policy=source / "policy.toml",
        )  # fmt: skip
    return bundle.Request(out=folder / "bundle", precision={"*": args.precision}, force=True, **files)


def hardware(args) -> str:
    """What it ran on."""
    if args.device == "cuda":
        return torch.cuda.get_device_name()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {len(names)} cores visible, {args.threads} thread(s) used"


def main() -> None:
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
    parser.add_argument("--work", type=Path, help="folder for checkpoint and bundle; default: a temporary one")
    parser.add_argument("--tactus", type=Path, default=ROOT / "target/debug/tactus", help="the engine's program")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        report = measure(args, folder)
    print(table(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measure(args, folder: Path) -> dict:
    """Exports, then times both sides one after the other, the engine before and after PyTorch."""
    wanted = request(args, folder)
    bundle.export(wanted)
    # The bundle is there now, which `prepare` would refuse for another one.
    chain = Chain(bundle.prepare(wanted), args.device)
    known = inputs(folder / "bundle/golden/case-0.safetensors", chain)
    golden = known[f"x.{chain.steps}"]
    chunks = ("--chunks", str(args.chunks))
    first = engine("bench", folder / "bundle", args, *chunks)
    chunk = lambda: chain.run(known)
    rows = {"PyTorch eager": timed(chunk, args.device, args.chunks)}
    error = (chain.run(known) - golden).abs().max() / golden.abs().max()
    if not args.no_compile:
        chain.compile()
        rows["torch.compile"] = attempt(lambda: timed(chunk, args.device, args.chunks))
        if args.device == "cuda":
            captured = lambda: timed(chain.captured(known), args.device, args.chunks)
            rows["torch.compile, one CUDA graph"] = attempt(captured)
    second = engine("bench", folder / "bundle", args, *chunks)
    best = min(first, second, key=lambda figures: figures["inference_ms"]["p50"])
    rows["engine"] = {key: best["inference_ms"][key] for key in ("p50", "p99", "max")}
    rows["engine, from JPEG files and words"] = {key: best["chunk_ms"][key] for key in ("p50", "p99", "max")}
    verified = engine("verify", folder / "bundle", args)
    return {
        "policy": verified["name"], "hardware": hardware(args), "precision": args.precision, "chunks": args.chunks,
        "rows": rows, "eager_error": float(error), "engine_verified": verified["passed"],
        "engine_error": max(row["max_rel_to_scale"] for row in verified["rows"] if row["boundary"].startswith("x.")),
        "stages_ms": best["stages_ms"], "rest_ms": best["rest_ms"], "floor_ms": best["inference_ms"]["floor"],
        "torch": torch.__version__,
    }  # fmt: skip


def table(report: dict) -> str:
    """Markdown."""
    eager = report["rows"]["PyTorch eager"]["p50"]
    lines = [
        f"{report['policy']}, {report['precision']}, {report['chunks']} chunks; {report['hardware']}; "
        f"torch {report['torch']}", "", "| one chunk, ms | p50 | p99 | max | eager / this |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, row in report["rows"].items():
        if "failed" in row:
            lines.append(f"| {name} | did not run: {row['failed']} | | | |")
        else:
            lines.append(f"| {name} | {row['p50']:.2f} | {row['p99']:.2f} | {row['max']:.2f} | {eager / row['p50']:.2f} |")
    floor = f"{report['floor_ms']:.2f} ms" if report["floor_ms"] else "not counted in this bundle"
    lines += [
        "", f"Floor of the engine's graphs: {floor}. Everything but ONNX Runtime and JPEG decoding: "
        f"{report['rest_ms']['p50']:.2f} ms p50. Largest error of a denoising step against the golden tensors, of its "
        f"scale: engine {report['engine_error']:.1e}, eager {report['eager_error']:.1e}.",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
