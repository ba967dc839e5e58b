"""Golden values of the FAST codec: ids and rows as scipy and tokenizers make them, by the published algorithm.

Two tokenizers: the demo policy's, whose characters are its own, and one of the published kind (byte-level BPE over
characters that start at 0, coefficients bounded below only), trained here on smooth chunks. `python golden.py` writes the
files that are committed beside it.
"""

import json
import pathlib

import numpy as np
from scipy.fft import dct, idct
from tokenizers import ByteLevelBPETokenizer, Tokenizer, trainers

HERE = pathlib.Path(__file__).parent
DEMO = HERE.parents[1] / "demo" / "checkpoint"


def smooth(rng, count, horizon, dims, size):
    time = np.linspace(0, 1, horizon)[None, :, None]
    a, b, c = rng.normal(0, size, (3, count, 1, dims))
    return a + b * time + c * np.sin(5 * time)


class Published:
    """The published tokenizer's algorithm."""

    scale, lowest, horizon, dims = 10.0, -60, 10, 3
    low, high = np.array([-0.5, -0.25, 0.0]), np.array([0.5, 0.75, 1.0])

    def __init__(self, bpe):
        self.bpe = bpe

    @classmethod
    def train(cls):
        self = cls(ByteLevelBPETokenizer())
        chunks = smooth(np.random.default_rng(3), 2000, cls.horizon, cls.dims, 0.2)
        texts = [self.spell(c) for c in chunks]
        trainer = trainers.BpeTrainer(
            vocab_size=400, min_frequency=2, show_progress=False, special_tokens=[],
            initial_alphabet=[chr(i) for i in range(128)], max_token_length=10000)
        self.bpe._tokenizer.train_from_iterator(texts, trainer=trainer)
        self.bpe = Tokenizer.from_str(self.bpe.to_str())
        return self

    def coefficients(self, rows):
        normalised = (rows - self.low) / (self.high - self.low) * 2.0 - 1.0
        return np.around(dct(normalised, axis=0, norm="ortho") * self.scale).astype(int).ravel()

    def spell(self, rows):
        return "".join(chr(max(c - self.lowest, 0)) for c in self.coefficients(rows))

    def encode(self, rows):
        return self.bpe.encode(self.spell(rows)).ids

    def decode(self, ids):
        text = self.bpe.decode(ids, skip_special_tokens=False)
        values = np.array([ord(c) + self.lowest for c in text], np.float64).reshape(self.horizon, self.dims)
        return self.low + (idct(values / self.scale, axis=0, norm="ortho") + 1.0) / 2.0 * (self.high - self.low)


class Demo(Published):
    """As the demo policy's training wrote it: characters and clamps of its own, BPE without a decoder."""

    def __init__(self):
        super().__init__(Tokenizer.from_file(str(DEMO / "fast_tokenizer.json")))
        config = json.loads((DEMO / "fast_config.json").read_text())
        self.scale, self.lowest, self.highest = config["scale"], config["lowest"], config["highest"]
        self.clamp, self.first = config["clamp"], config["first_character"]
        self.horizon, self.dims = config["horizon"], config["dims"]
        self.low, self.high = np.array(config["low"]), np.array(config["high"])

    def spell(self, rows):
        normalised = (rows - self.low) / (self.high - self.low) * 2.0 - 1.0
        spectrum = dct(np.clip(normalised, -self.clamp, self.clamp), axis=0, norm="ortho")
        values = np.clip(np.rint(spectrum * self.scale), self.lowest, self.highest).astype(int)
        return "".join(chr(self.first + c - self.lowest) for c in values.ravel())

    def decode(self, ids):
        text = "".join(self.bpe.id_to_token(i) for i in ids)
        values = np.array([ord(c) - self.first + self.lowest for c in text], np.float64)
        normalised = idct(values.reshape(self.horizon, self.dims) / self.scale, axis=0, norm="ortho")
        return self.low + (normalised + 1.0) / 2.0 * (self.high - self.low)


def cases(codec, seed):
    rng = np.random.default_rng(seed)
    middle, half = (codec.low + codec.high) / 2, (codec.high - codec.low) / 2
    shape = (codec.horizon, codec.dims)
    chunks = list(middle + half * smooth(rng, 40, *shape, 0.4))
    chunks += list(middle + half * rng.uniform(-1, 1, (20, *shape)))
    chunks += [np.broadcast_to(middle, shape), np.broadcast_to(codec.high, shape), np.broadcast_to(codec.low, shape)]
    # A gripper that closes; and values outside the ranges.
    step = np.broadcast_to(middle, shape).copy()
    step[codec.horizon // 2:, -1] = codec.high[-1]
    chunks += [step, middle + half * 1.6 * smooth(rng, 1, *shape, 0.6)[0]]
    for rows in chunks:
        rows = np.round(rows, 9)
        ids = codec.encode(rows)
        yield {"rows": rows.ravel().tolist(), "ids": ids, "decoded": codec.decode(ids).ravel().tolist()}


def published():
    return Published(Tokenizer.from_file(str(HERE / "published" / "tokenizer.json")))


def everything():
    return {
        "demo": list(cases(Demo(), 1)),
        "published": list(cases(published(), 2)),
        "low": Published.low.tolist(),
        "high": Published.high.tolist(),
    }


if __name__ == "__main__":
    folder = HERE / "published"
    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(Published.train().bpe.to_str(), encoding="utf-8")
    config = {"action_dim": None, "min_token": Published.lowest, "processor_class": "UniversalActionProcessor",
              "scale": 10, "time_horizon": None, "vocab_size": 400}
    (folder / "processor_config.json").write_text(json.dumps(config, indent=2) + "\n")
    (HERE / "golden.json").write_text(json.dumps(everything()) + "\n")
