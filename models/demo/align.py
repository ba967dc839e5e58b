"""Alignment of the token policy by GRPO, after RoboAlign (arXiv 2603.21341): the MLLM answers with reasoning and action
tokens, and is rewarded for form and for the tokens of the expert's chunk.

    python align.py grpo PREPARED WORK --from SFT_WORK --steps N      a policy aligned, into WORK/mllm.pt
    python align.py figures PREPARED WORK [--rows 256]                how its answers agree with held-out chunks

`SFT_WORK/mllm.pt` is what `train.py mllm` wrote, with all its rows supervised on action tokens (--action-rows 32).

Decides: how answers are drawn, the reward, the update. Reward (RoboAlign's): (format + prefix) / 2, where format is 1 for
`<think>..</think><answer><ACTION_START>..<ACTION_END></answer>` and the end of the turn, else 0, and prefix the longest
matching prefix of the target's action tokens over their number, 0 without the form. Update (GRPO, arXiv 2402.03300, without
its KL term): SAMPLES answers to each prompt at temperature 1; an answer's advantage is its reward less the mean of its
prompt's, over their deviation; every token of an answer has it; each rollout is used once. All parameters learn, at a
constant rate. What is exported is the moving average.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

import tokens
import train
from data import Dataset
from fast import MalformedActionTokens
from model import rotate

SAMPLES = 5
PROMPTS = 64
EMA = 0.98
MOST_TOKENS = 96


class Answers:
    """The ids of the answer format, and what an answer's ids mean."""

    def __init__(self, data: Dataset):
        one = lambda text: tokens.encode(data.tokenizer, text)[0]
        self.think, self.answer, self.action = (
            (one(f"<{a}>"), one(f"<{b}>")) for a, b in (("think", "/think"), ("answer", "/answer"), ("ACTION_START", "ACTION_END"))
        )
        self.end, self.first = one("<|im_end|>"), one("<action_0>")
        self.count = tokens.ACTIONS

    def read(self, ids: list[int]) -> list[int] | None:
        """Action tokens (counted from the first) of an answer that has the form, with the end of the turn; else None."""
        at = ids.index(self.think[1]) + 1 if self.think[1] in ids else 0
        head, tail = [self.answer[0], self.action[0]], [self.action[1], self.answer[1], self.end]
        if ids[:1] != [self.think[0]] or at == 0 or ids[at : at + 2] != head or ids[-3:] != tail:
            return None
        actions = [i - self.first for i in ids[at + 2 : -3]]
        return actions if all(0 <= a < self.count for a in actions) else None

    def reward(self, ids: list[int], target: list[int]) -> tuple[float, float]:
        """(format, prefix)."""
        actions = self.read(ids)
        if actions is None:
            return 0.0, 0.0
        same = 0
        while same < min(len(actions), len(target)) and actions[same] == target[same]:
            same += 1
        return 1.0, same / max(1, len(target))


def layer_step(layer, x, cos, sin, cache):
    """A decoder layer on new tokens `x` [B, n, hidden]; `cache` holds what came before and grows. With n > 1 there may be
    none yet."""
    a, h = layer.self_attn, layer.input_layernorm(x)
    b, n, width = h.shape
    split = lambda y, heads: y.view(b, n, heads, -1).transpose(1, 2)
    q = rotate(split(a.q_proj(h), a.heads), cos, sin)
    k, v = rotate(split(a.k_proj(h), a.kv_heads), cos, sin), split(a.v_proj(h), a.kv_heads)
    if cache:
        k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
    cache[:] = k, v
    groups = a.heads // a.kv_heads
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=n > 1)
    x = x + a.o_proj(y.transpose(1, 2).reshape(b, n, width))
    return x + layer.mlp(layer.post_attention_layernorm(x))


@torch.no_grad()
def answer(mllm, batch: dict, images, end: int, generator=None, copies: int = 1) -> list[list[int]]:
    """Answers to prompts of one length, `copies` of each in a row: drawn at temperature 1, greedy without `generator`."""
    lm = mllm.model.language_model
    x = mllm.embed(batch["ids"], images, batch["image_rows"])
    caches = [[] for _ in lm.layers]

    def forward(x, positions):
        cos, sin = lm.rope(positions)
        for layer, cache in zip(lm.layers, caches):
            x = layer_step(layer, x, cos, sin, cache)
        return mllm.logits(lm.norm(x[:, -1]))

    logits = forward(x, batch["positions"]).repeat_interleave(copies, 0)
    for cache in caches:
        cache[:] = [t.repeat_interleave(copies, 0) for t in cache]
    at = (batch["positions"].amax((0, 2)) + 1).repeat_interleave(copies)
    out, running = [[] for _ in range(len(logits))], torch.ones(len(logits), dtype=torch.bool)
    for _ in range(MOST_TOKENS):
        if generator is None:
            ids = logits.argmax(-1)
        else:
            ids = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
        for i in torch.nonzero(running)[:, 0].tolist():
            out[i].append(int(ids[i]))
        running &= ids != end
        if not running.any():
            break
        logits = forward(lm.embed_tokens(ids)[:, None], at[None, :, None].expand(3, -1, 1))
        at = at + 1
    return out


def own_prompts(data: Dataset, rng, rows) -> dict:
    """Prompts of rows of one task, for the episode's own cube, of one length."""
    return data.prompt_batch(rng, data.task[rows[0]], data.target[rows])


def log_probability(net, data: Dataset, prompts: dict, images, answers: list[list[int]], copies: int):
    """Log-probability of every answer's tokens, [n, longest], and which of them are there."""
    n, length, longest = len(answers), prompts["ids"].shape[1], max(map(len, answers))
    ids = torch.zeros((n, longest), dtype=torch.int64)
    there = torch.zeros((n, longest), dtype=torch.bool)
    for i, own in enumerate(answers):
        ids[i, : len(own)], there[i, : len(own)] = torch.tensor(own), True
    grown = lambda t, axis=0: t.repeat_interleave(copies, axis)
    whole = torch.cat((grown(prompts["ids"]), ids), 1)
    first = grown(prompts["positions"].amax((0, 2)) + 1)
    more = (first[:, None] + torch.arange(longest)).expand(3, -1, -1)
    positions = torch.cat((grown(prompts["positions"], 1), more), 2)
    features = net.mllm.features(whole, grown(images), grown(prompts["image_rows"]), positions)
    hidden = net.mllm.hidden(features, positions)[:, length - 1 : -1]
    chosen = -F.cross_entropy(net.mllm.logits(hidden[there]), ids[there], reduction="none")
    return torch.zeros((n, longest)).masked_scatter(there, chosen), there


def advantages(rewards: np.ndarray) -> np.ndarray:
    """[prompts, samples] -> the same, centred and scaled in each prompt; 0 where all samples fared alike."""
    deviation = rewards.std(1, keepdims=True)
    return np.where(deviation > 1e-6, (rewards - rewards.mean(1, keepdims=True)) / (deviation + 1e-6), 0.0)


def grpo(data: Dataset, work: Path, begin: Path, steps: int, seed: int, every: int, rate: float) -> None:
    saved = torch.load(begin / "mllm.pt", weights_only=True)
    net = train.Grounding(data.tokenizer.get_vocab_size())
    net.load_state_dict(saved["average"])
    train.learning_rate, train.EMA = lambda step, steps: rate, EMA
    run = train.Run(net, work / "mllm.pt", {"stage": "mllm", "supervised": saved["step"]})
    meaning, ranks, rank = Answers(data), dist.get_world_size(), dist.get_rank()
    progress = train.Progress("grpo", run, steps, sum(p.numel() for p in net.mllm.parameters()))
    if run.step == 0:
        progress.figures(lambda: figures(net.mllm, data, 256))
    n = PROMPTS // ranks
    while run.step < steps:
        rng = np.random.default_rng([seed, 3, run.step, rank])
        rows = data.draw_one_task(rng, n)
        prompts = own_prompts(data, rng, rows)
        images = train.see(net, data, rows, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        answers = answer(net.mllm, prompts, images.detach(), meaning.end, generator, SAMPLES)
        targets = [data.fast.encode(data.chunks[row]) for row in rows]
        parts = np.array([meaning.reward(a, targets[i // SAMPLES]) for i, a in enumerate(answers)])
        rewards = parts.mean(1).reshape(n, SAMPLES)
        gain = torch.from_numpy(advantages(rewards).ravel().astype(np.float32))
        logp, there = log_probability(net, data, prompts, images, answers, SAMPLES)
        run.update(-(gain * logp.sum(1) / there.sum(1)).mean(), steps)
        progress.step(reward=rewards.mean(), format=parts[:, 0].mean(), prefix=parts[:, 1].mean(),
                      tokens=float(np.mean([len(a) for a in answers])))
        if run.step % every == 0 or run.step == steps:
            progress.figures(lambda: figures(net.mllm, data, 256))
    run.save()


@torch.no_grad()
def figures(mllm, data: Dataset, count: int) -> dict:
    """Greedy answers to held-out rows: reward and its parts, how many spell a chunk, and of those the joints' error over
    the chunk (mrad, mean absolute)."""
    rng, meaning = np.random.default_rng(11), Answers(data)
    parts, chunks = [], []
    for task in np.unique(data.task[data.train_rows :]):
        rows = data.train_rows + np.flatnonzero(data.task[data.train_rows :] == task)
        rows = rng.choice(rows, min(count, len(rows)), replace=False)
        pixels = data.pixels(rows)
        images = mllm.model.visual.images(pixels.flatten(0, 1)).reshape(len(rows), -1, mllm.config.text.hidden_size)
        for row, ids in zip(rows, answer(mllm, own_prompts(data, rng, rows), images, meaning.end)):
            parts.append(meaning.reward(ids, data.fast.encode(data.chunks[row])))
            try:
                chunks.append(np.abs(data.fast.decode(meaning.read(ids) or []) - data.chunks[row])[:, :6].mean() * 1e3)
            except MalformedActionTokens:
                pass
    parts = np.array(parts)
    return {"reward": parts.mean(), "format": parts[:, 0].mean(), "prefix": parts[:, 1].mean(),
            "spell a chunk": len(chunks) / len(parts), "joints mrad": float(np.mean(chunks)) if chunks else float("nan")}


def process(rank: int, args) -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    meeting = (args.work / ".grpo.meeting").resolve()
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=args.procs)
    grpo(Dataset(args.prepared), args.work, args.begin, args.steps, args.seed, args.figures_every, args.learning_rate)
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    learn, show = verbs.add_parser("grpo"), verbs.add_parser("figures")
    for verb in (learn, show):
        verb.add_argument("prepared", type=Path)
        verb.add_argument("work", type=Path)
    learn.add_argument("--from", dest="begin", type=Path, required=True, metavar="SFT_WORK")
    learn.add_argument("--steps", type=int, required=True)
    learn.add_argument("--seed", type=int, default=0)
    learn.add_argument("--procs", type=int, default=2)
    learn.add_argument("--learning-rate", type=float, default=2e-4, metavar="RATE")
    learn.add_argument("--figures-every", type=int, default=50)
    show.add_argument("--rows", type=int, default=256)
    args = parser.parse_args()
    if args.verb == "figures":
        mllm, step = train.load_mllm(args.work / "mllm.pt")
        found = figures(mllm, Dataset(args.prepared), args.rows)
        print(f"step {step}: " + ", ".join(f"{k} {v:.3g}" for k, v in found.items()))
        return
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / ".grpo.meeting").unlink(missing_ok=True)
    mp.spawn(process, (args,), nprocs=args.procs)


if __name__ == "__main__":
    main()
