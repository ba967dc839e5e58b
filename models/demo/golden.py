"""Golden cases: for recorded pictures and states, the value at every boundary of the path, computed by PyTorch.

The runtime must reproduce each boundary from its own golden input; export.py checks the graphs with the same files.
"""

import io
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file

import graphs
import prompt
import tokens
from data import Prompts
from model import normalise, patch_positions, patchify
from prepare import HORIZON, decode, resize

CAMERAS = ("scene", "wrist")


def pick(recorded: Path, colours, phase: float):
    """Recorded rows for golden cases, of the task `pick`: one per colour, from different episodes, `phase` of the way
    through.
    -> list of (jpeg of scene, jpeg of wrist, q and opening [7], clean chunk [16, 7])."""
    meta = json.loads((recorded / "meta.json").read_text())
    columns = meta["columns"]
    q, a = columns.index("q0"), columns.index("a0")
    shard = sorted(p for p in recorded.glob("shard-*") if (p / "episodes.json").exists())[0]
    table = np.fromfile(shard / "rows.bin", "<f4").reshape(-1, len(columns))
    offsets = np.fromfile(shard / "frames.idx", "<u8")
    frames = np.memmap(shard / "frames.bin", np.uint8, "r")
    episodes = json.loads((shard / "episodes.json").read_text())
    episodes = [e for e in episodes if e["success"] and e["task"] == "pick"]
    out, used = [], set()
    for i, colour in enumerate(colours):
        index, e = next((k, e) for k, e in enumerate(episodes) if e["target"] == colour and k not in used)
        used.add(index)
        row = e["first_row"] + int(e["rows"] * phase * i / max(1, len(colours) - 1))
        jpegs = [frames[offsets[2 * row + c] : offsets[2 * row + c + 1]].tobytes() for c in range(2)]
        ahead = np.minimum(row + np.arange(HORIZON), e["first_row"] + e["rows"] - 1)
        out.append((*jpegs, table[row, q : q + 7], table[ahead, a : a + 7]))
    return out


def vision_inputs(pictures: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """uint8 [112, 112, 3] pictures -> the five inputs of the vision graph."""
    rows, positions, full = [], [], []
    for i, picture in enumerate(pictures):
        x = normalise(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])
        patches = patchify(x)[0].view(-1, 3, 1, 196).expand(-1, -1, 2, -1)
        rows.append(patches.reshape(len(patches), -1))
        positions.append(patch_positions(8, 8, 2))
        full.append(torch.full((64,), i))
    n = 16 * len(pictures)
    # A picture of 112x112 is exactly one window: windows and pictures coincide, and nothing is reordered.
    return {"pixel_values": torch.cat(rows).contiguous(), "pos_ids": torch.cat(positions),
            "window_index": torch.arange(n), "seg_full": torch.cat(full), "seg_window": torch.cat(full)}


def case(mllm, head, stats: dict, tokenizer, row, instruction: str, committed: int, seed: int) -> dict:
    """All boundaries of one case, by contract name."""
    scene, wrist, q, chunk = row
    out: dict[str, np.ndarray] = {}
    resized = []
    for name, jpeg in zip(CAMERAS, (scene, wrist)):
        picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
        out[f"jpeg.{name}"] = np.frombuffer(jpeg, np.uint8)
        out[f"rgb.{name}"] = np.asarray(picture)
        out[f"resized.{name}"] = np.asarray(resize(picture))
        assert (out[f"resized.{name}"] == decode(jpeg)).all()
        resized.append(out[f"resized.{name}"])
    seen = vision_inputs(resized)
    prompts = Prompts(tokenizer)
    ids = np.array(tokens.encode(tokenizer, prompt.render(instruction)), np.int64)
    text = {"input_ids": torch.from_numpy(ids)[None], "image_rows": torch.from_numpy(prompts.rows(ids)),
            "position_ids": torch.from_numpy(prompts.positions(ids))[:, None]}
    rng = np.random.default_rng(seed)
    s, a = stats["state"], stats["action"]
    state = torch.from_numpy(((q - np.array(s["mean"])) / s["std"]).astype(np.float32))[None]
    relative = chunk.astype(np.float64).copy()
    relative[:, :6] -= q[:6]
    wanted = torch.from_numpy(((relative - a["mean"]) / a["std"]).astype(np.float32))[None]
    mask = (torch.arange(HORIZON)[None] < committed).float()
    noise = torch.from_numpy(rng.standard_normal((1, HORIZON, 7), np.float32))
    prefix = wanted * mask[..., None]

    run = graphs.wrappers(mllm, head)
    with torch.no_grad():
        embeds = run["vision"](*seen.values())
        features = run["backbone"](text["input_ids"], embeds, text["image_rows"], text["position_ids"])
        context = run["context"](features, state)
        steps = head.config.num_inference_timesteps
        x, states = noise, []
        for k in range(steps):
            time = torch.full((1, HORIZON), k / steps)
            x = run["denoise"](x, time, torch.tensor([1.0 / steps]), prefix, mask, *context)
            states.append(x)
    tensors = {**seen, **text, "image_embeds": embeds, "features": features, "state": state, "noise": noise,
               "prefix": prefix, "prefix_mask": mask, **dict(zip(graphs.CONTEXT, context)),
               **{f"x.{k + 1}": v for k, v in enumerate(states)}}
    out |= {k: v.numpy() for k, v in tensors.items()}
    out["state_raw"] = q.astype(np.float32)
    out["actions"] = absolute(x[0].numpy(), q, stats)
    return {k: np.ascontiguousarray(v) for k, v in out.items()}


def absolute(x: np.ndarray, q: np.ndarray, stats: dict) -> np.ndarray:
    """Normalised chunk [16, 7] -> joint targets (rad) and gripper opening (0..1)."""
    a = stats["action"]
    actions = np.array(a["mean"]) + np.array(a["std"]) * x.astype(np.float64)
    actions[:, :6] += q[:6].astype(np.float64)
    actions[:, 6] = np.clip(actions[:, 6], 0.0, 1.0)
    return actions.astype(np.float32)


def save(tensors: dict, instruction: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, {"instruction": instruction})
    path.chmod(0o644)
