"""Closed loop in Python, in lock-step: a quick judgement of a checkpoint before it goes to the runtime.

    python evaluate.py CHECKPOINT PREPARED --episodes 45 [--task pick] [--delay 2] [--prefix] [--seed 1]

The cell's own MuJoCo scene; cubes placed at random, the arm started from recorded start poses with open fingers, the
three colours in turn, a random phrasing each. The policy is asked every `delay` periods and its chunk takes over
`delay` periods after the observation (100 ms by default; 0: at once, asked every 8). With --prefix the actions that
play meanwhile are given as committed. The runtime's evaluation is the reference; this one shares no code with it.
"""

import argparse
import io
import os
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import mujoco
import numpy as np
import torch
from PIL import Image

import checkpoint
import prompt
import tokens
from data import Dataset, Prompts
from model import normalise, patchify
from pictures import CAMERAS
from prepare import HORIZON, decode
from train import denoise

SCENE = Path(__file__).resolve().parents[2] / "drivers/sim/assets/cell.xml"
JOINTS = ("base_yaw", "shoulder_pitch", "elbow_pitch", "forearm_roll", "wrist_pitch", "wrist_roll")
CUBE_AREA = ((0.20, 0.38), (-0.17, 0.17))
REST_Z, LIFT, DONE_PERIODS = 0.02, 0.05, 5
# Inside the bowl: distance from its axis, and height. The bowl's place is read from the scene.
BOWL_RADIUS, BOWL_RIM_Z = 0.059, 0.043
# Longest episode of each task, policy periods.
MOST_PERIODS = {"pick": 150, "place": 300}


def absolute(x: np.ndarray, q: np.ndarray, stats: dict) -> np.ndarray:
    """Normalised chunk [16, 7] -> joint targets (rad) and gripper opening (0..1)."""
    a = stats["action"]
    actions = np.array(a["mean"]) + np.array(a["std"]) * x.astype(np.float64)
    actions[:, :6] += q[:6].astype(np.float64)
    actions[:, 6] = np.clip(actions[:, 6], 0.0, 1.0)
    return actions.astype(np.float32)


class Cell:
    """One simulated episode."""

    def __init__(self, model, task: str, target: int, start_q, ids, rng):
        self.model, self.data, self.ids = model, mujoco.MjData(model), ids
        self.task, self.target = task, target
        joint = lambda name: model.joint(name)
        fingers = [n for n in (model.joint(i).name for i in range(model.njnt)) if "finger" in n]
        self.arm, self.fingers = ([joint(n).qposadr[0] for n in names] for names in (JOINTS, fingers))
        self.arm_motor, self.finger_motor = ([model.actuator(n).id for n in names] for names in (JOINTS, fingers))
        self.travel = joint(fingers[0]).range[1]
        self.cubes = [joint(c).qposadr[0] for c in prompt.COLOURS]
        self.data.qpos[self.arm], self.data.qpos[self.fingers] = start_q, self.travel
        for at, (x, y) in zip(self.cubes, place(rng)):
            half = rng.uniform(-0.125, 0.125)
            self.data.qpos[at : at + 7] = [x, y, REST_Z, np.cos(half), 0, 0, np.sin(half)]
        self.command = np.append(start_q, 1.0)
        self._drive(self.command)
        mujoco.mj_forward(model, self.data)
        self.pads = [model.geom(name).id for name in ("pad_left", "pad_right")]
        self.cube_geoms = [model.geom(c).id for c in prompt.COLOURS]
        self.bowl = model.body("bowl").pos[:2]
        # Periods in a row for which each cube has been up or in the bowl; the first cube that counted; since when ours.
        self.held, self.first, self.done, self.chunk, self.next = np.zeros(3, int), None, None, None, None

    def _drive(self, command):
        self.data.ctrl[self.arm_motor], self.data.ctrl[self.finger_motor] = command[:6], command[6] * self.travel

    def observe(self, renderer):
        """(pictures uint8 [2, 112, 112, 3], joints and opening [7])."""
        pictures = []
        for camera in CAMERAS:
            renderer.update_scene(self.data, camera=camera)
            jpeg = io.BytesIO()
            Image.fromarray(renderer.render()).save(jpeg, "JPEG", quality=90, subsampling=0)
            pictures.append(decode(jpeg.getvalue()))
        opening = self.data.qpos[self.fingers].sum() / 2 / self.travel
        return np.stack(pictures), np.append(self.data.qpos[self.arm], opening)

    def period(self, k: int) -> None:
        """50 ms: the command moves linearly to the action that is due."""
        goal = self.command if self.chunk is None else self.chunk[1][min(HORIZON - 1, k - self.chunk[0])]
        for i in range(1, 26):
            self._drive(self.command + (goal - self.command) * i / 25)
            mujoco.mj_step(self.model, self.data)
        self.command = goal.copy()
        self.held = np.where(self._as_asked(), self.held + 1, 0)
        counted = np.flatnonzero(self.held >= DONE_PERIODS)
        if self.first is None and len(counted):
            self.first = int(counted[0])
        if self.held[self.target] >= DONE_PERIODS:
            self.done = k

    def _as_asked(self) -> np.ndarray:
        """Per cube, whether it is now where the task wants the named one: up, or in the bowl and not pinched."""
        at = np.stack([self.data.qpos[at : at + 3] for at in self.cubes])
        if self.task == "pick":
            return at[:, 2] >= REST_Z + LIFT
        inside = np.hypot(*(at[:, :2] - self.bowl).T) < BOWL_RADIUS
        return inside & (at[:, 2] < BOWL_RIM_Z) & ~self._pinched()

    def _pinched(self) -> np.ndarray:
        """Per cube, whether both pads touch it."""
        pairs = {frozenset(map(int, c.geom)) for c in self.data.contact if c.dist < 0}
        return np.array([all(frozenset((pad, cube)) in pairs for pad in self.pads) for cube in self.cube_geoms])


def place(rng) -> np.ndarray:
    """Three cube centres at least 90 mm apart, [3, 2]."""
    while True:
        xy = np.stack([rng.uniform(*CUBE_AREA[0], 3), rng.uniform(*CUBE_AREA[1], 3)], axis=1)
        if min(np.linalg.norm(xy[i] - xy[j]) for i, j in ((0, 1), (1, 2), (0, 2))) > 0.09:
            return xy


class Policy:
    """The checkpoint on many cells at once."""

    def __init__(self, folder: Path, rng):
        self.mllm, self.head, raw = checkpoint.load(folder)
        self.stats, self.rng = raw["stats"], rng
        self.tokenizer = tokens.load(folder)
        self.prompts = Prompts(self.tokenizer)

    def ids(self, task: str, target: int) -> np.ndarray:
        phrasings = prompt.PHRASINGS[prompt.TASKS.index(task)]
        phrasing = phrasings[self.rng.integers(len(phrasings))]
        text = prompt.render(phrasing.format(c=prompt.COLOURS[target]))
        return np.array(tokens.encode(self.tokenizer, text), np.int64)

    @torch.no_grad()
    def act(self, cells, renderer, k: int, committed: int) -> list[np.ndarray]:
        """One absolute chunk [16, 7] per cell."""
        seen = [c.observe(renderer) for c in cells]
        pixels = torch.from_numpy(np.stack([p for p, _ in seen])).permute(0, 1, 4, 2, 3)
        embeds = self.mllm.model.visual.images(patchify(normalise(pixels).flatten(0, 1)))
        embeds = embeds.reshape(len(cells), -1, embeds.shape[-1])
        chunks: list = [None] * len(cells)
        for length in {len(c.ids) for c in cells}:
            group = [i for i, c in enumerate(cells) if len(c.ids) == length]
            ids = np.stack([cells[i].ids for i in group])
            positions = torch.from_numpy(self.prompts.positions(ids[0]))[:, None].expand(3, len(group), length)
            rows = torch.from_numpy(self.prompts.rows(ids[0])).expand(len(group), -1)
            features = self.mllm.features(torch.from_numpy(ids), embeds[group], rows, positions)
            s, a = self.stats["state"], self.stats["action"]
            q = np.stack([seen[i][1] for i in group])
            state = torch.from_numpy(((q - s["mean"]) / s["std"]).astype(np.float32))
            prefix, mask = np.zeros((len(group), HORIZON, 7), np.float32), torch.zeros(len(group), HORIZON)
            for row, i in enumerate(group):
                if committed and cells[i].chunk is not None:
                    begin, chunk = cells[i].chunk
                    n = max(0, min(committed, HORIZON - (k - begin)))
                    held = chunk[k - begin :][:n] - np.append(q[row, :6], 0.0)
                    prefix[row, :n], mask[row, :n] = (held - a["mean"]) / a["std"], 1.0
            noise = torch.from_numpy(self.rng.standard_normal(prefix.shape, np.float32))
            x = denoise(self.head, features, state, noise, torch.from_numpy(prefix), mask).numpy()
            for row, i in enumerate(group):
                chunks[i] = absolute(x[row], q[row], self.stats)
        return chunks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("--episodes", type=int, default=45)
    parser.add_argument("--task", choices=(*prompt.TASKS, "both"), default="both", help="both: in turn")
    parser.add_argument("--delay", type=int, default=2, help="periods from observation to use, 0..6")
    parser.add_argument("--prefix", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    data = Dataset(args.prepared)
    tip = data.rows[:, data.columns.index("tip_x") :][:, :3]
    first = np.array([e["first_row"] for e in data.episodes])
    starts = first[(data.state[first, 6] * data.stats["state"]["std"][6] + data.stats["state"]["mean"][6] > 0.98)
                   & (tip[first, 2] > 0.12) & (tip[first, 2] < 0.22) & (tip[first, 0] > 0.18) & (tip[first, 0] < 0.38)]
    policy = Policy(args.checkpoint, rng)
    model = mujoco.MjModel.from_xml_path(str(SCENE))
    renderer = mujoco.Renderer(model, 224, 224)
    tasks = prompt.TASKS if args.task == "both" else (args.task,)
    asked = [(tasks[i % len(tasks)], i % 3) for i in range(args.episodes)]
    cells = [Cell(model, task, target, data.joints[starts[rng.integers(len(starts))]], policy.ids(task, target), rng)
             for task, target in asked]
    every = args.delay or 8
    for k in range(max(MOST_PERIODS[t] for t in tasks)):
        live = [c for c in cells if c.done is None and k < MOST_PERIODS[c.task]]
        if not live:
            break
        for c in live:
            if c.next is not None and k - c.next[0] >= args.delay:
                c.chunk, c.next = c.next, None
        if k % every == 0:
            for c, chunk in zip(live, policy.act(live, renderer, k, args.delay if args.prefix else 0)):
                c.next = (k, chunk)
                if args.delay == 0:
                    c.chunk = c.next
        for c in live:
            c.period(k)
    print(f"delay {args.delay} periods, prefix {'on' if args.prefix else 'off'}")
    for task in tasks:
        own = [c for c in cells if c.task == task]
        table = np.zeros((3, 4), int)
        for c in own:
            table[c.target, 3 if c.first is None else c.first] += 1
        done = [c.done for c in own if c.done is not None]
        print(f"{task}: {len(done)}/{len(own)} done, median {np.median(done) if done else float('nan'):.0f} periods; "
              f"named (rows) and done first with (columns: red green blue none): {table.tolist()}")


if __name__ == "__main__":
    main()
