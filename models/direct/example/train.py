"""Trains the tiny ACT on recorded episodes of the simulated cell, and exports it by `torch.onnx.export` alone.

    python train.py prepare RECORDED WORK       # of `tactus sim record --task pick`: the red cube only
    python train.py train WORK --minutes 12     # goes on where it stopped
    python train.py export WORK OUT             # OUT/act.onnx, OUT/stats.json, OUT/golden.safetensors
"""

import argparse
import io
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from act import COLUMNS, HORIZON, LATENT, Act

RED = 0


def halved(jpeg: bytes) -> np.ndarray:
    """JPEG -> uint8 [112, 112, 3], each pixel the mean of four, as the graph does it."""
    full = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.float32)
    return np.rint(full.reshape(112, 2, 112, 2, 3).mean((1, 3))).astype(np.uint8)


def prepare(args) -> None:
    args.work.mkdir(parents=True, exist_ok=True)
    meta = json.loads((args.recorded / "meta.json").read_text())
    columns = meta["columns"]
    at = lambda name: columns.index(name)
    pictures, states, chunks, cubes, episode_of = [], [], [], [], []
    count = 0
    for shard in sorted(args.recorded.glob("shard-*")):
        table = np.fromfile(shard / "rows.bin", "<f4").reshape(-1, len(columns))
        offsets = np.fromfile(shard / "frames.idx", "<u8")
        frames = np.memmap(shard / "frames.bin", np.uint8, "r")
        for e in json.loads((shard / "episodes.json").read_text()):
            if not e["success"] or e["target"] != RED or e["task"] != "pick":
                continue
            rows = np.arange(e["first_row"], e["first_row"] + e["rows"])
            for row in rows[::2]:
                pictures.append([halved(frames[offsets[2 * row + c]:offsets[2 * row + c + 1]].tobytes()) for c in (0, 1)])
                states.append(table[row, at("q0"):at("q0") + COLUMNS])
                later = np.minimum(row + np.arange(HORIZON), rows[-1])
                chunks.append(table[later, at("a0"):at("a0") + COLUMNS])
                cubes.append(table[row, at(args.cube):at(args.cube) + 2])
                episode_of.append(count)
            count += 1
    states, chunks = np.array(states), np.array(chunks)
    np.save(args.work / "pictures.npy", np.array(pictures))
    np.savez(args.work / "rows.npz", states=states, chunks=chunks, cubes=np.array(cubes), episodes=np.array(episode_of))
    flat = chunks.reshape(-1, COLUMNS)
    of = lambda x: {"mean": x.mean(0).tolist(), "std": np.maximum(x.std(0), 1e-3).tolist()}
    stats = {"observation.state": of(states), "action": of(flat)}
    (args.work / "stats.json").write_text(json.dumps(stats, indent=2) + "\n")
    print(f"{count} episodes, {len(states)} rows")


def load(work: Path):
    stats = json.loads((work / "stats.json").read_text())
    rows = np.load(work / "rows.npz")
    norm = lambda x, s: ((x - np.array(s["mean"])) / np.array(s["std"])).astype(np.float32)
    return (np.load(work / "pictures.npy", mmap_mode="r"), norm(rows["states"], stats["observation.state"]),
            norm(rows["chunks"], stats["action"]), (rows["cubes"] / 0.1).astype(np.float32), rows["episodes"])


def losses(model, batch, jitter: bool):
    pictures, state, chunk, cube = batch
    # A camera's exposure is never quite the same twice.
    light = 1 + 0.1 * (2 * torch.rand(len(state), 1, 1, 1) - 1) if jitter else 1.0
    scene, wrist = (torch.clamp(pictures[:, k].permute(0, 3, 1, 2).float() / 255 * light, 0, 1) for k in (0, 1))
    if jitter:
        state = state + 0.03 * torch.randn_like(state)
    mean, log_var = model.posterior(torch.cat([chunk.flatten(1), state], 1)).chunk(2, 1)
    z = mean + torch.exp(log_var / 2) * torch.randn_like(mean) if jitter else torch.zeros(len(state), LATENT)
    memory, at = model.encode(scene, wrist, state, z)
    made = model.decode(memory, at)
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1).mean()
    where = (model.cube(memory[:, 0]) - cube).abs().mean()
    return (made - chunk).abs().mean(), where, kl


def train(args) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pictures, states, chunks, cubes, episodes = load(args.work)
    held = episodes >= episodes.max() - 15
    rng = np.random.default_rng(0)
    model = Act()
    average = Act()
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), args.rate, weight_decay=1e-3)
    kept, step, spent = args.work / "act.pt", 0, 0.0
    if kept.exists():
        had = torch.load(kept)
        model.load_state_dict(had["model"]); average.load_state_dict(had["average"])
        optimiser.load_state_dict(had["optimiser"]); step, spent = had["step"], had["spent"]
    rows, tests = np.flatnonzero(~held), np.flatnonzero(held)
    began = time.process_time()
    batch = lambda i: (torch.from_numpy(np.ascontiguousarray(pictures[i])), torch.from_numpy(states[i]),
                       torch.from_numpy(chunks[i]), torch.from_numpy(cubes[i]))
    total = 60 * args.minutes
    while (now := spent + time.process_time() - began) < total:
        for group in optimiser.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * min(1, max(0.02, (total - now) / (0.35 * total)))
        picked = np.sort(rng.choice(rows, args.batch, replace=False))
        action, where, kl = losses(model, batch(picked), True)
        optimiser.zero_grad()
        (action + 0.5 * where + 0.02 * kl).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        decay = min(0.995, step / (step + 20))
        with torch.no_grad():
            for a, m in zip(average.parameters(), model.parameters()):
                a.lerp_(m, 1 - decay)
        step += 1
        if step % 100 == 0:
            with torch.no_grad():
                of = losses(average, batch(tests[:: max(1, len(tests) // 128)]), False)
            print(f"step {step} at {now:.0f} s: action {action:.3f}, cube {where * 100:.0f} mm, kl {kl:.1f}; "
                  f"held out action {of[0]:.3f}, cube {of[1] * 100:.0f} mm", flush=True)
            torch.save({"model": model.state_dict(), "average": average.state_dict(),
                        "optimiser": optimiser.state_dict(), "step": step, "spent": now}, kept)
    print(f"{step} steps, {sum(p.numel() for p in model.parameters())} parameters")


def strip(file: Path) -> None:
    """Removes what the exporter notes beside every node: stack traces with this machine's paths. Computes the same."""
    import onnx
    model = onnx.load(file)
    for part in (model, model.graph, *model.functions, *model.graph.node, *(n for f in model.functions for n in f.node),
                 *model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, file)


def export(args) -> None:
    from safetensors.numpy import save_file
    args.out.mkdir(parents=True, exist_ok=True)
    model = Act()
    model.load_state_dict(torch.load(args.work / "act.pt")["average"])
    model.eval()
    stats = json.loads((args.work / "stats.json").read_text())
    (args.out / "stats.json").write_text(json.dumps(stats, indent=2) + "\n")
    names = ["observation.images.scene", "observation.images.wrist", "observation.state"]
    example = (torch.rand(1, 3, 224, 224), torch.rand(1, 3, 224, 224), torch.randn(1, COLUMNS))
    torch.onnx.export(model, example, args.out / "act.onnx", input_names=names, output_names=["action"],
                      dynamo=True, external_data=False)
    strip(args.out / "act.onnx")
    # What PyTorch makes of one observation, for `bundle verify`.
    rng = np.random.default_rng(3)
    blocks = lambda: rng.integers(0, 256, (14, 14, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    rgb = {name: blocks() for name in ("scene", "wrist")}
    mean, std = (np.array(stats["observation.state"][key]) for key in ("mean", "std"))
    raw = (mean + std * [0.7, -0.5, 0.3, 0.2, -0.8, 0.4, 0.6]).astype(np.float32)
    of = lambda picture: torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    state = (raw - mean) / std
    state = torch.from_numpy(state.astype(np.float32))[None]
    with torch.no_grad():
        made = model(of(rgb["scene"]), of(rgb["wrist"]), state)
    actions = made[0].numpy() * np.array(stats["action"]["std"]) + np.array(stats["action"]["mean"])
    actions[:, -1] = actions[:, -1].clip(0, 1)
    case = {f"rgb.{name}": picture for name, picture in rgb.items()} | {
        "state_raw": raw, "input.observation.state": state.numpy(), "output": made.numpy(), "actions": actions.astype(np.float32)}
    save_file(case, args.out / "golden.safetensors", {"instruction": "pick up the red cube"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(required=True)
    one = steps.add_parser("prepare")
    one.add_argument("recorded", type=Path)
    one.add_argument("work", type=Path)
    one.add_argument("--cube", default="red_x", help="column of the recording with the cube's place")
    one.set_defaults(run=prepare)
    one = steps.add_parser("train")
    one.add_argument("work", type=Path)
    one.add_argument("--minutes", type=float, default=12, help="of processor time")
    one.add_argument("--batch", type=int, default=32)
    one.add_argument("--rate", type=float, default=6e-4)
    one.set_defaults(run=train)
    one = steps.add_parser("export")
    one.add_argument("work", type=Path)
    one.add_argument("out", type=Path)
    one.set_defaults(run=export)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
