"""Checkpoint folder -> bundle.

    python export.py CHECKPOINT RECORDED BUNDLE

Exports the four graphs with the dynamo exporter (their weights once, in graphs/weights.bin), writes the manifest and
golden cases, then runs everything in onnxruntime against PyTorch and prints the differences. Exits with 1 if one
exceeds 1e-4 of its tensor's scale. RECORDED is a folder of the recorder; it gives the golden pictures.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import transformers
from safetensors.numpy import load_file

import checkpoint
import golden
import graphs
import prompt
import tokens
from model import MEAN, STD

TOLERANCE = 1e-4
# (colour, instruction, committed actions)
CASES = (
    (0, "Pick up the red cube.", 0),
    (1, "grab the green block", 3),
    (2, "Please raise the blue cube!", 0),
)
JOINTS = ["base_yaw", "shoulder_pitch", "elbow_pitch", "forearm_roll", "wrist_pitch", "wrist_roll"]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(folder: Path, config, head, revision: str, variant: str) -> str:
    """bundle.toml; JSON strings, numbers and arrays are valid TOML."""
    j = json.dumps
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "bundle.toml")
    cases = sorted(p.relative_to(folder).as_posix() for p in folder.glob("golden/*.safetensors"))
    graph = "\n".join(
        f'{name} = {{ file = "graphs/{name}.onnx", precision = "fp32" }}' for name in graphs.SPECS
    )
    cameras = "\n".join(f'[[camera]]\nname = "{name}"\nwidth = 224\nheight = 224\n' for name in golden.CAMERAS)
    hashes = "\n".join(f'"{p.relative_to(folder).as_posix()}" = "{sha256(p)}"' for p in files)
    return f"""schema = 1
name = "tactus-demo-pick"
family = "qwen2_5_vl+gr00t_n1_5"
variant = {j(variant)}
min_ort = "1.24"

[source]
backbone = "tiny Qwen2.5-VL, trained from scratch"
revision = "{revision}"
exporter = "models/demo/export.py"
torch = "{torch.__version__.split("+")[0]}"
transformers = "{transformers.__version__}"

[backbone]
layers = {config.select_layer}
norm = "pre"
hidden = {config.text.hidden_size}
position_ids = "mrope_chunked"
padding = "none"
padded_length = 0
encoder_mask = "none"

[vision]
patch = {config.vision.patch_size}
temporal_patch = {config.vision.temporal_patch_size}
merge = {config.vision.spatial_merge_size}
window = {config.vision.window_size}
position_table = 0
deepstack = 0
mean = {j(list(MEAN))}
std = {j(list(STD))}
min_pixels = 3136
max_pixels = 12544
resample = "bicubic"
processor = "pil"

{cameras}
[prompt]
tokenizer = "tokenizer.json"
template = {j(prompt.TEMPLATE)}
image = {j(prompt.IMAGE)}
image_token = {j(prompt.IMAGE_TOKEN)}
pad_token = "<|endoftext|>"
lowercase = true
strip_punctuation = true

[state]
joints = {j(JOINTS)}
gripper = true
normalisation = "mean_std"

[action]
joints = {j(JOINTS)}
gripper = true
representation = "relative_joints"
normalisation = "mean_std"
horizon = {head.action_horizon}
period_s = 0.05
first_action_offset_s = 0.05
alignment = "state_at_image"
max_prefix = {head.max_prefix}
width = {head.action_dim}

[denoise]
steps = {head.num_inference_timesteps}
time_from = 0.0
time_to = 1.0
buckets = {head.num_timestep_buckets}
noise = "normal"

[graphs]
{graph}

[golden]
cases = {j(cases)}

[files]
{hashes}
"""


def session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def chain(runs: dict, g: dict) -> np.ndarray:
    """The runtime's sequence on a case's inputs. -> last x [1, 16, 7]."""
    feed = lambda name, known: {i: known[i] for i in graphs.SPECS[name][0]}
    known = dict(g)
    for name in ("vision", "backbone", "context"):
        known |= dict(zip(graphs.SPECS[name][1], runs[name].run(list(graphs.SPECS[name][1]), feed(name, known))))
    steps = sum(k.startswith("x.") for k in g)
    known["x"], known["dt"] = g["noise"], np.array([1.0 / steps], np.float32)
    for k in range(steps):
        known["time"] = np.full(g["prefix_mask"].shape, k / steps, np.float32)
        known["x"] = runs["denoise"].run(["x_next"], feed("denoise", known))[0]
    return known["x"]


def verify(folder: Path, stats: dict) -> bool:
    """Each graph on its own golden inputs, then the whole chain. Prints a table."""
    runs = {name: session(folder / f"graphs/{name}.onnx") for name in graphs.SPECS}
    ok = True
    print(f"{'case':8} {'boundary':14} {'max error':>10} {'scale':>8} {'relative':>9}")
    for path in sorted(folder.glob("golden/*.safetensors")):
        g = load_file(path)
        steps = sum(k.startswith("x.") for k in g)
        rows = []
        for name in ("vision", "backbone", "context"):
            inputs, outputs, _ = graphs.SPECS[name]
            got = runs[name].run(list(outputs), {i: g[i] for i in inputs})
            rows += [(o, value, g[o]) for o, value in zip(outputs, got)]
        for k in range(steps):
            feed = {i: g[i] for i in graphs.SPECS["denoise"][0] if i in g}
            feed["x"] = g[f"x.{k}"] if k else g["noise"]
            feed["time"] = np.full(g["prefix_mask"].shape, k / steps, np.float32)
            feed["dt"] = np.array([1.0 / steps], np.float32)
            rows.append((f"x.{k + 1}", runs["denoise"].run(["x_next"], feed)[0], g[f"x.{k + 1}"]))
        actions = golden.absolute(chain(runs, g)[0], g["state_raw"], stats)
        rows.append(("actions", actions, g["actions"]))
        for name, got, expected in rows:
            error, scale = np.abs(got - expected).max(), np.abs(expected).max()
            ok &= bool(error <= TOLERANCE * scale)
            print(f"{path.stem:8} {name:14} {error:10.2e} {scale:8.3f} {error / scale:9.1e}")
    return ok


def timings(folder: Path, repeats: int = 200) -> dict:
    """Milliseconds (median) per graph and per chunk, one thread."""
    runs = {name: session(folder / f"graphs/{name}.onnx") for name in graphs.SPECS}
    g = load_file(sorted(folder.glob("golden/*.safetensors"))[0])
    g |= {"x": g["noise"], "time": np.zeros_like(g["prefix_mask"]), "dt": np.array([0.25], np.float32)}
    out = {}
    for name, (inputs, _, _) in graphs.SPECS.items():
        feed = {i: g[i] for i in inputs}
        out[name] = _median(lambda: runs[name].run(None, feed), repeats)
    out["chunk"] = _median(lambda: chain(runs, g), repeats)
    return out


def _median(work, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times) * 1e3)


def size(folder: Path) -> float:
    """Megabytes (10^6)."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("recorded", type=Path)
    parser.add_argument("bundle", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    mllm, head, raw = checkpoint.load(args.checkpoint)
    stats, tokenizer = raw["stats"], tokens.load(args.checkpoint)

    folder = args.bundle.with_name(args.bundle.name + ".new")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    checkpoint.write_json(folder / "stats.json", stats)
    shutil.copyfile(args.checkpoint / "tokenizer.json", folder / "tokenizer.json")
    rows = golden.pick(args.recorded, [c for c, _, _ in CASES], phase=0.6)
    for i, (row, (_, instruction, committed)) in enumerate(zip(rows, CASES)):
        g = golden.case(mllm, head, stats, tokenizer, row, instruction, committed, seed=i)
        golden.save(g, instruction, folder / f"golden/case-{i}.safetensors")
    example = {k: torch.tensor(v) for k, v in g.items()}
    example |= {"x": example["noise"], "time": torch.zeros(1, head.config.action_horizon), "dt": torch.tensor([0.25])}
    models = {name: graphs.export(name, module, example) for name, module in graphs.wrappers(mllm, head).items()}
    graphs.share_weights(models, folder / "graphs")
    revision = sha256(args.checkpoint / "model.safetensors")
    text = manifest(folder, mllm.config, head.config, revision, raw["trained"]["variant"])
    (folder / "bundle.toml").write_text(text, encoding="utf-8")

    ok = verify(folder, stats)
    print("ms, one thread: " + ", ".join(f"{k} {v:.2f}" for k, v in timings(folder).items()))
    shutil.rmtree(args.bundle, ignore_errors=True)
    folder.rename(args.bundle)
    print(f"bundle {sha256(args.bundle / 'bundle.toml')}")
    print(f"checkpoint {size(args.checkpoint):.2f} MB, bundle {size(args.bundle):.2f} MB")
    if not ok:
        sys.exit("a boundary differs by more than 1e-4 of its scale")


if __name__ == "__main__":
    main()
