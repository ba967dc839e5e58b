"""Batches for both training stages, from what prepare.py wrote.

Decides: which rows are drawn, which phrasing a row gets, image jitter, the texts a row is supervised on. A batch is
a pure function of (seed, step), so that a resumed run sees what an uninterrupted one would have seen.
"""

import json
from pathlib import Path

import numpy as np
import torch

import prompt
import tokens
from fast import FastTokenizer
from model import normalise, patchify
from prepare import SIZE, chunks, pictured

FAR_M = 0.03
FAR_WEIGHT = 3.0
HELD_OUT = 40


class Prompts:
    """Ids of every (task, phrasing, colour), and M-RoPE positions. `lengths` are [task][phrasing], tokens."""

    def __init__(self, tokenizer):
        self.ids, self.lengths = {}, []
        for t, phrasings in enumerate(prompt.PHRASINGS):
            for p, phrasing in enumerate(phrasings):
                for c, colour in enumerate(prompt.COLOURS):
                    text = prompt.render(phrasing.format(c=colour))
                    self.ids[t, p, c] = np.array(tokens.encode(tokenizer, text), np.int64)
            self.lengths.append([len(self.ids[t, p, 0]) for p in range(len(phrasings))])
        self.image_token = tokens.encode(tokenizer, prompt.IMAGE_TOKEN)[0]

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Where the image tokens stand."""
        return np.flatnonzero(ids == self.image_token)

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """[3, S]: text counts on in all three axes; an image at p has time p, rows p.., columns p..; the text after
        it goes on from the largest number so far plus one."""
        side = int(prompt.TOKENS_PER_IMAGE**0.5)
        out, at, i = np.zeros((3, len(ids)), np.int64), 0, 0
        while i < len(ids):
            if ids[i] == self.image_token:
                r, c = np.divmod(np.arange(prompt.TOKENS_PER_IMAGE), side)
                out[:, i : i + len(r)] = at + np.stack((np.zeros_like(r), r, c))
                i, at = i + len(r), at + side
            else:
                out[:, i] = at
                i, at = i + 1, at + 1
        return out


class Dataset:
    """Rows that have pictures, their images and labels, in memory or mapped into it."""

    def __init__(self, folder: Path):
        folder = Path(folder)
        meta = json.loads((folder / "meta.json").read_text())
        self.columns = meta["columns"]
        rows = np.fromfile(folder / "rows.f32", np.float32).reshape(meta["rows"], -1)
        kept, self.episodes = pictured(meta["episodes"], meta["stride"])
        self.rows, self.chunks = rows[kept], chunks(rows, self.columns, meta["episodes"])[kept]
        self.images = np.memmap(folder / "images.u8", np.uint8, "r", shape=(len(kept), 2, SIZE, SIZE, 3))
        self.stats = json.loads((folder / "stats.json").read_text())
        self.tokenizer = tokens.load(folder / "tokenizer")
        self.fast = FastTokenizer.load(folder / "tokenizer")
        self.prompts = Prompts(self.tokenizer)

        column = lambda name, n: self.rows[:, self.columns.index(name) :][:, :n]
        self.joints = column("q0", 6)
        self.xyz = column("red_x", 9).reshape(-1, 3, 3)
        self.uv = column("red_u", 6).reshape(-1, 3, 2)
        self.bowl_uv = column("bowl_u", 2)
        self.target = column("target", 1)[:, 0].astype(np.int64)
        self.task = column("task", 1)[:, 0].astype(np.int64)
        s, a = self.stats["state"], self.stats["action"]
        self.state = ((column("q0", 7) - s["mean"]) / s["std"]).astype(np.float32)
        self.actions = ((self.chunks - a["mean"]) / a["std"]).astype(np.float32)

        held = max(1, min(HELD_OUT, len(self.episodes) // 10))
        self.held_out = self.episodes[-held:]
        self.train_rows = self.held_out[0]["first_row"]
        own = self.xyz[np.arange(len(self.rows)), self.target]
        distance = np.linalg.norm(own[:, :2] - column("tip_x", 2), axis=1)[: self.train_rows]
        weight = np.where(distance > FAR_M, FAR_WEIGHT, 1.0)
        self._cumulative = np.cumsum(weight / weight.sum())
        self._of_task = []
        for task in range(len(prompt.TASKS)):
            rows = np.flatnonzero(self.task[: self.train_rows] == task)
            self._of_task.append((rows, np.cumsum(weight[rows] / weight[rows].sum())))

    def draw(self, rng, n: int) -> np.ndarray:
        """Training rows; those farther than 30 mm from the named cube three times as often."""
        return np.minimum(np.searchsorted(self._cumulative, rng.random(n)), self.train_rows - 1)

    def draw_one_task(self, rng, n: int) -> np.ndarray:
        """As `draw`, but all rows of one task, drawn as often as `draw` meets it: their prompts can be of one length."""
        rows, cumulative = self._of_task[self.task[self.draw(rng, 1)[0]]]
        return rows[np.minimum(np.searchsorted(cumulative, rng.random(n)), len(rows) - 1)]

    def phrasing(self, rng, task: int) -> int:
        """One of a task's phrasings."""
        return int(rng.integers(len(prompt.PHRASINGS[task])))

    def pixels(self, rows, rng=None) -> torch.Tensor:
        """[n, 2, 64, 588] patches of both cameras; with `rng`, brightness and contrast jitter per picture."""
        x = torch.from_numpy(self.images[np.asarray(rows)]).permute(0, 1, 4, 2, 3).float()
        if rng is not None:
            gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(rows), 2, 1, 1, 1)).astype(np.float32))
            bias = torch.from_numpy(rng.uniform(-16, 16, (len(rows), 2, 1, 1, 1)).astype(np.float32))
            x = ((x - 128.0) * gain + 128.0 + bias).clamp_(0, 255)
        return patchify(normalise(x).flatten(0, 1)).unflatten(0, (len(rows), 2))

    def bins(self, row: int, colour: int) -> tuple[int, int]:
        """Bins of a cube's centre in the scene picture."""
        u, v = self.uv[row, colour]
        return prompt.bin_of(u), prompt.bin_of(v)

    def bowl_bins(self, row: int) -> tuple[int, int]:
        """Bins of the bowl's middle in the scene picture."""
        u, v = self.bowl_uv[row]
        return prompt.bin_of(u), prompt.bin_of(v)

    def sequence(self, row: int, task: int, colour: int, phrasing: int, actions: bool):
        """(ids, loss weight of each id, prompt length). Weights are 0 on the prompt, 4 on position numbers (two, to
        place a cube four), 1 on other reasoning text, 0.5 on action tokens."""
        ids = self.prompts.ids[task, phrasing, colour]
        thought = prompt.reasoning(task, prompt.COLOURS[colour], self.bins(row, colour), self.bowl_bins(row))
        text = tokens.encode(self.tokenizer, thought)
        weight = [4.0 if self.tokenizer.decode([i]).strip().isdigit() else 1.0 for i in text]
        if actions:
            more = tokens.encode(self.tokenizer, prompt.answer(self.fast.encode(self.chunks[row])))
            text, weight = text + more, weight + [0.5] * len(more)
        return np.concatenate((ids, text)), np.array([0.0] * len(ids) + weight, np.float32), len(ids)

    def text_batch(self, sequences) -> dict:
        """Right-padded tensors of `sequence` results: ids, positions, image_rows, prompt lengths, loss weights."""
        longest = max(len(ids) for ids, _, _ in sequences)
        n = len(sequences)
        ids, weight = np.zeros((n, longest), np.int64), np.zeros((n, longest), np.float32)
        positions = np.zeros((3, n, longest), np.int64)
        image_rows = np.zeros((n, prompt.IMAGES * prompt.TOKENS_PER_IMAGE), np.int64)
        for i, (own, w, _) in enumerate(sequences):
            ids[i, : len(own)], weight[i, : len(own)] = own, w
            positions[:, i, : len(own)] = self.prompts.positions(own)
            image_rows[i] = self.prompts.rows(own)
        return {
            "ids": torch.from_numpy(ids), "weight": torch.from_numpy(weight),
            "positions": torch.from_numpy(positions), "image_rows": torch.from_numpy(image_rows),
            "prompt": torch.tensor([p for _, _, p in sequences]),
        }

    def prompt_batch(self, rng, task: int, colours) -> dict:
        """Prompts of one task and one common length (so that no mask is needed), phrasing drawn at random."""
        lengths = self.prompts.lengths[task]
        length = lengths[self.phrasing(rng, task)]
        choice = [p for p, n in enumerate(lengths) if n == length]
        ids = [self.prompts.ids[task, choice[rng.integers(len(choice))], c] for c in colours]
        return self.text_batch([(i, np.zeros(len(i), np.float32), len(i)) for i in ids])
