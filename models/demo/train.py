"""Training, in two stages that each resume from their last checkpoint.

    python train.py mllm PREPARED WORK --steps N      (a) the MLLM: reasoning text, action tokens, cube position
    python train.py head PREPARED WORK --steps N      (b) the action head on the frozen MLLM

Batches are shared out over --procs processes of one thread each (faster and steadier on a small machine than one
process of many threads); their gradients are averaged.

Run a stage again with a larger --steps to continue it. WORK/mllm.pt and WORK/head.pt hold weights, their moving
average (which is what gets exported), optimiser and step. With --init FOLDER a stage that has not begun starts from the
weights of a checkpoint folder instead of random ones; embeddings are matched by the token's text, so the tokenizer may
have other words.

Losses of stage (a), per batch of 32 pictures pairs:
  text    next-token cross-entropy of reasoning and action tokens, weights per token in data.py
  xyz     smooth-L1 of the named cube's base-frame position / 0.1 m, read by a linear layer from the hidden state of
          the last prompt token after layer 3. An auxiliary loss: without it this small model did not ground at all
  both also on a counterfactual prompt naming another cube, for either task, in the same pictures (no action tokens
  there)
Loss of stage (b): flow matching, mean squared error of the velocity over the actions that are not committed.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from tqdm import tqdm

import prompt
import tokens
from data import Dataset
from head import ActionHead, HeadConfig
from model import Mllm, MllmConfig, TextConfig

BATCH = 32
LEARNING_RATE = 8e-4
WARM_UP = 150
DECAY = 0.35
EMA = 0.998
XYZ_WEIGHT = 2.0
XYZ_SCALE_M = 0.1
DRAWS = 4
STATE_JITTER = 0.03
SAVE_EVERY_S = 120.0


class Grounding(nn.Module):
    """The MLLM and the auxiliary reader of the cube's position, which is not exported."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.mllm = Mllm(MllmConfig(text=TextConfig(vocab_size=vocabulary)))
        width = self.mllm.config.text.hidden_size
        self.xyz = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3))


def learning_rate(step: int, steps: int) -> float:
    """Warm-up, constant, then linear to zero over the last 35 %."""
    left = (steps - step) / (DECAY * steps)
    return LEARNING_RATE * min(1.0, (step + 1) / WARM_UP, max(left, 0.02))


def take_mllm(net: Grounding, data: Dataset, folder: Path) -> None:
    """The MLLM of a checkpoint folder. A token that its tokenizer lacks keeps its random embedding."""
    weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    name = "model.language_model.embed_tokens.weight"
    old, own = tokens.load(folder).get_vocab(), net.mllm.state_dict()[name].clone()
    for token, i in data.tokenizer.get_vocab().items():
        if token in old:
            own[i] = weights[name][old[token]]
    net.mllm.load_state_dict(weights | {name: own})


class Run:
    """One stage's state: module, moving average, optimiser, step, and the file that holds them."""

    def __init__(self, module: nn.Module, path: Path, extra: dict):
        self.module, self.path, self.extra, self.step = module, path, extra, 0
        matrices = [p for p in module.parameters() if p.ndim >= 2]
        vectors = [p for p in module.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)
        self.average = {k: v.detach().clone() for k, v in module.state_dict().items()}
        if path.exists():
            saved = torch.load(path, weights_only=True)
            for key, value in extra.items():
                if saved[key] != value:
                    raise SystemExit(f"{path}: {key}: expected {value}, found {saved[key]}; delete it to start over")
            module.load_state_dict(saved["model"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.average, self.step = saved["average"], saved["step"]
        self._saved_at = time.monotonic()

    def update(self, loss: torch.Tensor, steps: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self._average_gradients()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        if dist.get_rank() != 0:
            return
        keep = min(EMA, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            now = self.module.state_dict()
            names = list(self.average)
            torch._foreach_lerp_([self.average[n] for n in names], [now[n] for n in names], 1 - keep)
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self.save()

    def _average_gradients(self) -> None:
        if dist.get_world_size() == 1:
            return
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients])):
            g.copy_(part.view_as(g))

    def save(self) -> None:
        if dist.get_rank() != 0:
            return
        state = {"model": self.module.state_dict(), "average": self.average, "step": self.step,
                 "optimiser": self.optimiser.state_dict(), **self.extra}
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)
        self._saved_at = time.monotonic()

    def averaged(self):
        """Runs the body of a `with` on the moving average."""
        return _Swapped(self.module, self.average)


class _Swapped:
    def __init__(self, module, weights):
        self.module, self.weights = module, weights

    def __enter__(self):
        self.own = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        self.module.load_state_dict(self.weights)

    def __exit__(self, *_):
        self.module.load_state_dict(self.own)


def text_losses(net: Grounding, batch: dict, images: torch.Tensor, xyz: torch.Tensor):
    """(text loss sum, text weight sum, xyz loss per row). `images` [B, 32, hidden]."""
    features = net.mllm.features(batch["ids"], images, batch["image_rows"], batch["positions"])
    last = features[torch.arange(len(xyz)), batch["prompt"] - 1]
    xyz_loss = F.smooth_l1_loss(net.xyz(last), xyz / XYZ_SCALE_M, reduction="none").mean(-1)
    weight = batch["weight"][:, 1:]
    at = weight > 0
    hidden = net.mllm.hidden(features, batch["positions"])[:, :-1][at]
    loss = F.cross_entropy(net.mllm.logits(hidden), batch["ids"][:, 1:][at], reduction="none")
    return (loss * weight[at]).sum(), weight.sum(), xyz_loss


def see(net: Grounding, data: Dataset, rows, rng=None) -> torch.Tensor:
    """Image tokens of both cameras, [n, 32, hidden]."""
    pixels = data.pixels(rows, rng)
    return net.mllm.model.visual.images(pixels.flatten(0, 1)).reshape(len(rows), -1, net.mllm.config.text.hidden_size)


class Progress:
    """Progress bar and log lines, on the first process only."""

    def __init__(self, name: str, run: Run, steps: int, parameters: int, note: str = ""):
        self.name, self.run, self.chief = name, run, dist.get_rank() == 0
        self.bar = tqdm(total=steps, initial=run.step, desc=name, mininterval=5, disable=not self.chief)
        self.say(f"{parameters:,} parameters{note}")
        self._restart()

    def _restart(self):
        self.seen, self.began, self.sums = 0, time.monotonic(), {}

    def say(self, text: str) -> None:
        if self.chief:
            tqdm.write(f"{self.name} {self.run.step}: {text}")

    def step(self, **losses: float) -> None:
        self.bar.update()
        self.seen += 1
        for key, value in losses.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        if self.run.step % 50 == 0:
            means = ", ".join(f"{k} {v / self.seen:.4f}" for k, v in self.sums.items())
            self.say(f"{means}, {(time.monotonic() - self.began) / self.seen * 1e3:.0f} ms/step")
            self._restart()

    def figures(self, compute) -> None:
        """Says held-out figures of the moving average; the other processes wait at the next gradient."""
        if self.chief:
            with self.run.averaged():
                self.say("held out: " + ", ".join(f"{k} {v:.3g}" for k, v in compute().items()))
        self._restart()


def train_mllm(
    data: Dataset, work: Path, steps: int, seed: int, every: int, init: Path | None, action_rows: int,
    text_weight: float
) -> None:
    torch.manual_seed(seed)
    net = Grounding(data.tokenizer.get_vocab_size())
    if init:
        take_mllm(net, data, init)
    run = Run(net, work / "mllm.pt", {"stage": "mllm"})
    progress = Progress("mllm", run, steps, sum(p.numel() for p in net.mllm.parameters()))
    ranks, rank = dist.get_world_size(), dist.get_rank()
    n, long_rows = BATCH // ranks, action_rows // ranks
    while run.step < steps:
        rng = np.random.default_rng([seed, 1, run.step, rank])
        rows = data.draw(rng, n)
        own = data.target[rows]
        other = (own + rng.integers(1, 3, n)) % 3
        task, other_task = data.task[rows], rng.integers(0, len(prompt.TASKS), n)
        sequence = lambda r, t, c, actions: data.sequence(r, t, c, data.phrasing(rng, t), actions)
        asked = [sequence(r, t, c, i < long_rows) for i, (r, t, c) in enumerate(zip(rows, task, own))]
        long, short = asked[:long_rows], asked[long_rows:]
        short += [sequence(r, t, c, False) for r, t, c in zip(rows, other_task, other)]
        xyz = torch.from_numpy(np.concatenate((data.xyz[rows, own], data.xyz[rows, other])))
        images = see(net, data, rows, rng)
        a = text_losses(net, data.text_batch(long), images[:long_rows], xyz[:long_rows])
        b = text_losses(net, data.text_batch(short), torch.cat((images[long_rows:], images)), xyz[long_rows:])
        text = (a[0] + b[0]) / (a[1] + b[1])
        own_xyz, other_xyz = torch.cat((a[2], b[2])).split(n)
        run.update(XYZ_WEIGHT * (own_xyz.mean() + other_xyz.mean()) / 2 + text_weight * text, steps)
        progress.step(text=text.item(), xyz=own_xyz.mean().item(), other_xyz=other_xyz.mean().item())
        if run.step % every == 0 or run.step == steps:
            progress.figures(lambda: mllm_figures(net, data))
    run.save()


@torch.no_grad()
def mllm_figures(net: Grounding, data: Dataset) -> dict:
    """On the first rows of held-out episodes: position error (cm) of the named and of the other cubes; how often the
    text's position number is right, and right within one bin; loss of action tokens per token, and their accuracy."""
    rows = np.array([e["first_row"] for e in data.held_out])
    images = see(net, data, rows)
    errors, exact, near = {"own": [], "other": []}, [], []
    for shift in range(3):
        colour = (data.target[rows] + shift) % 3
        sequences = [data.sequence(r, t, c, i % len(prompt.PHRASINGS[t]), False)
                     for i, (r, t, c) in enumerate(zip(rows, data.task[rows], colour))]
        batch = data.text_batch(sequences)
        features = net.mllm.features(batch["ids"], images, batch["image_rows"], batch["positions"])
        guess = net.xyz(features[torch.arange(len(rows)), batch["prompt"] - 1]) * XYZ_SCALE_M
        error = (guess - torch.from_numpy(data.xyz[rows, colour])).norm(dim=-1) * 100
        errors["own" if shift == 0 else "other"] += error.tolist()
        hidden = net.mllm.hidden(features, batch["positions"])[:, :-1]
        at = batch["weight"][:, 1:] == 4.0
        words = net.mllm.logits(hidden[at]).argmax(-1).tolist()
        truth = batch["ids"][:, 1:][at].tolist()
        for guessed, right in zip(words, truth):
            number = data.tokenizer.decode([guessed]).strip()
            expected = int(data.tokenizer.decode([right]))
            exact.append(number == str(expected))
            near.append(number.isdigit() and abs(int(number) - expected) <= 1)
    middle = np.array([e["first_row"] + e["rows"] // 3 for e in data.held_out])
    sequences = [data.sequence(r, data.task[r], data.target[r], 0, True) for r in middle]
    batch = data.text_batch(sequences)
    features = net.mllm.features(batch["ids"], see(net, data, middle), batch["image_rows"], batch["positions"])
    at = batch["weight"][:, 1:] == 0.5
    logits = net.mllm.logits(net.mllm.hidden(features, batch["positions"])[:, :-1][at])
    truth = batch["ids"][:, 1:][at]
    return {
        "xyz own t=0 cm": float(np.mean(errors["own"])), "xyz other t=0 cm": float(np.mean(errors["other"])),
        "number exact": float(np.mean(exact)), "number within 1": float(np.mean(near)),
        "action token loss": F.cross_entropy(logits, truth).item(),
        "action token accuracy": (logits.argmax(-1) == truth).float().mean().item(),
    }


def half_rounded(weights: dict) -> dict:
    """Weights as they will be shipped: rounded to half precision, kept in single."""
    return {k: v.half().float() for k, v in weights.items()}


def load_mllm(path: Path) -> tuple[Mllm, int]:
    """The moving average of stage (a), rounded to half precision, and its step."""
    saved = torch.load(path, weights_only=True)
    weights = half_rounded({k[5:]: v for k, v in saved["average"].items() if k.startswith("mllm.")})
    vocabulary = weights["model.language_model.embed_tokens.weight"].shape[0]
    mllm = Mllm(MllmConfig(text=TextConfig(vocab_size=vocabulary)))
    mllm.load_state_dict(weights)
    return mllm.eval().requires_grad_(False), saved["step"]


def read_features(mllm: Mllm, data: Dataset, rows, rng, jitter: bool) -> torch.Tensor:
    """What the head reads: layer-3 features of prompts of one length, [n, S, hidden]. All rows are of one task."""
    with torch.no_grad():
        pixels = data.pixels(rows, rng if jitter else None)
        images = mllm.model.visual.images(pixels.flatten(0, 1)).reshape(len(rows), -1, mllm.config.text.hidden_size)
        batch = data.prompt_batch(rng, data.task[rows[0]], data.target[rows])
        return mllm.features(batch["ids"], images, batch["image_rows"], batch["positions"])


def flow_loss(head: ActionHead, features, state, actions, rng) -> torch.Tensor:
    """DRAWS noises and times per feature row; half of the draws have 1..6 committed actions."""
    c = head.config
    state_token, cross = head.context(features, state)
    repeat = lambda x: x.repeat_interleave(DRAWS, dim=0)
    state_token, cross = repeat(state_token), [(repeat(k), repeat(v)) for k, v in cross]
    target = repeat(actions)
    n = len(target)
    noise = torch.from_numpy(rng.standard_normal(target.shape, np.float32))
    u = torch.from_numpy(rng.beta(c.noise_beta_alpha, c.noise_beta_beta, n).astype(np.float32))
    time_of = ((c.noise_s - u) / c.noise_s).clamp(min=0.0)[:, None].expand(n, c.action_horizon)
    held = np.where(rng.random(n) < 0.5, 0, rng.integers(1, c.max_prefix + 1, n))
    committed = torch.arange(c.action_horizon)[None] < torch.from_numpy(held)[:, None]
    t = torch.where(committed, torch.ones_like(time_of), time_of)
    x = (1 - t[..., None]) * noise + t[..., None] * target
    error = (head.velocity(x, t, state_token, cross) - (target - noise)).pow(2).mean(-1)
    free = (~committed).float()
    return (error * free).sum() / free.sum()


@torch.no_grad()
def denoise(head: ActionHead, features, state, noise, prefix=None, mask=None) -> torch.Tensor:
    """The 4-step Euler loop of the runtime; all normalised."""
    steps = head.config.num_inference_timesteps
    state_token, cross = head.context(features, state)
    prefix = torch.zeros_like(noise) if prefix is None else prefix
    mask = torch.zeros(noise.shape[:2]) if mask is None else mask
    x = noise
    for k in range(steps):
        at = torch.full(noise.shape[:2], k / steps)
        x = head.step(x, at, torch.tensor([1.0 / steps]), prefix, mask, state_token, cross)
    return x


def train_head(data: Dataset, work: Path, steps: int, seed: int, every: int, init: Path | None) -> None:
    mllm, mllm_step = load_mllm(work / "mllm.pt")
    torch.manual_seed(seed + 1)
    head = ActionHead(HeadConfig())
    if init:
        head.load_state_dict({k: v.float() for k, v in load_file(init / "action_head.safetensors").items()})
    run = Run(head, work / "head.pt", {"stage": "head", "mllm_step": mllm_step})
    count = sum(p.numel() for p in head.parameters())
    progress = Progress("head", run, steps, count, f", MLLM of step {mllm_step}")
    n, rank = BATCH // dist.get_world_size(), dist.get_rank()
    while run.step < steps:
        rng = np.random.default_rng([seed, 2, run.step, rank])
        rows = data.draw_one_task(rng, n)
        features = read_features(mllm, data, rows, rng, True)
        state = torch.from_numpy(data.state[rows] + rng.normal(0, STATE_JITTER, (n, 7)).astype(np.float32))
        loss = flow_loss(head, features, state, torch.from_numpy(data.actions[rows]), rng)
        run.update(loss, steps)
        progress.step(flow=loss.item())
        if run.step % every == 0 or run.step == steps:
            progress.figures(lambda: head_figures(mllm, head, data))
    run.save()


@torch.no_grad()
def head_figures(mllm: Mllm, head: ActionHead, data: Dataset) -> dict:
    """`task_figures` of every task that was held out."""
    rng = np.random.default_rng(7)
    out = {}
    for task, name in enumerate(prompt.TASKS):
        rows = data.train_rows + np.flatnonzero(data.task[data.train_rows :] == task)
        if len(rows):
            figures = task_figures(mllm, head, data, rng.choice(rows, 128), rng)
            out |= {f"{name} {key}": value for key, value in figures.items()}
    return out


def task_figures(mllm: Mllm, head: ActionHead, data: Dataset, rows, rng) -> dict:
    """Open loop on rows of one task: error of the joints over the chunk (mrad, mean absolute) after 4 steps, without
    and with 3 committed actions (over the others), and how often the gripper's sense is right."""
    features = read_features(mllm, data, rows, rng, False)
    state, actions = torch.from_numpy(data.state[rows]), torch.from_numpy(data.actions[rows])
    noise = torch.from_numpy(rng.standard_normal(actions.shape, np.float32))
    std = torch.tensor(data.stats["action"]["std"])
    free = denoise(head, features, state, noise)
    mask = (torch.arange(16) < 3).float().expand(len(rows), -1)
    held = denoise(head, features, state, noise, actions, mask)
    joints = lambda x, a: ((x - a) * std)[..., :6].abs().mean().item() * 1e3
    return {
        "joints mrad": joints(free, actions), "with prefix mrad": joints(held[:, 3:], actions[:, 3:]),
        "gripper right": ((free[..., 6] > 0) == (actions[..., 6] > 0)).float().mean().item(),
    }


def process(rank: int, args) -> None:
    """One training process."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    meeting = (args.work / f".{args.stage}.meeting").resolve()
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=args.procs)
    about = (Dataset(args.prepared), args.work, args.steps, args.seed, args.figures_every, args.init)
    if args.stage == "mllm":
        train_mllm(*about, args.action_rows, args.text_weight)
    else:
        train_head(*about)
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("mllm", "head"))
    parser.add_argument("prepared", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--procs", type=int, default=2, help="must divide 8")
    parser.add_argument("--action-rows", type=int, default=8, metavar="N",
                        help="of a batch's 32 picture pairs, those that are supervised on action tokens too")
    parser.add_argument("--text-weight", type=float, default=0.3, metavar="W", help="of the text losses beside xyz's 2")
    parser.add_argument("--init", type=Path, metavar="FOLDER", help="checkpoint to start from")
    parser.add_argument("--figures-every", type=int, default=250)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / f".{args.stage}.meeting").unlink(missing_ok=True)
    mp.spawn(process, (args,), nprocs=args.procs)


if __name__ == "__main__":
    main()
