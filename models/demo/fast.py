"""FAST-style action tokens (after Pertsch et al., arXiv 2501.09747): an action chunk as a short list of ids.

encode: values -> quantile-normalise each dimension to [-1, 1] (1st..99th percentile) -> DCT-II (ortho) along time
-> round(scale c), scale 10 -> flatten [horizon, dims] row by row, lowest frequency first -> BPE over coefficients -> ids 0..2047.
decode: the reverse. Malformed ids raise `MalformedActionTokens`: a controller must treat them as a fault, never as
an action (the published tokenizer substitutes zeros, which is a mid-range pose for absolute actions).

Lossy twice: rounding (root-mean-square error at most 0.5 / scale of the half quantile range per value) and clamping to
1.5 half quantile ranges.
"""

import json
from pathlib import Path

import numpy as np
from scipy.fft import dct, idct
from tokenizers import Tokenizer, models, trainers

VOCABULARY = 2048
SCALE = 10.0
LOWEST, HIGHEST = -64, 63
CLAMP = 1.5
_FIRST_CHARACTER = 0x4E00


class MalformedActionTokens(ValueError):
    """The ids do not spell exactly one action chunk."""


class FastTokenizer:
    """Converts chunks [horizon, dims] of one fixed shape to ids and back."""

    def __init__(self, bpe: Tokenizer, low, high, horizon: int, scale: float = SCALE):
        self.bpe, self.horizon, self.scale = bpe, horizon, scale
        self.low, self.high = np.asarray(low, np.float64), np.asarray(high, np.float64)

    @property
    def dims(self) -> int:
        return len(self.low)

    @classmethod
    def train(cls, chunks: np.ndarray, seed: int = 0, sample: int = 20000, scale: float = SCALE,
              vocabulary: int = VOCABULARY) -> "FastTokenizer":
        """`chunks` [n, horizon, dims], in the units to be encoded. The BPE learns from at most `sample` of them. A smaller
        `scale` makes shorter texts and coarser actions, a smaller `vocabulary` longer texts of tokens that are seen oftener."""
        flat = chunks.reshape(-1, chunks.shape[-1])
        low, high = np.quantile(flat, 0.01, axis=0), np.quantile(flat, 0.99, axis=0)
        high = np.maximum(high, low + 1e-3)
        self = cls(Tokenizer(models.BPE()), low, high, chunks.shape[1], scale)
        rng = np.random.default_rng(seed)
        if len(chunks) > sample:
            chunks = chunks[rng.choice(len(chunks), sample, replace=False)]
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary, min_frequency=2, show_progress=False,
            initial_alphabet=[chr(_FIRST_CHARACTER + i) for i in range(HIGHEST - LOWEST + 1)],
        )
        self.bpe.train_from_iterator((self._spell(self._coefficients(c)) for c in chunks), trainer)
        return self

    def encode(self, chunk: np.ndarray) -> list[int]:
        """[horizon, dims] -> ids."""
        if chunk.shape != (self.horizon, self.dims):
            raise ValueError(f"chunk: expected shape {(self.horizon, self.dims)}, got {chunk.shape}")
        return self.bpe.encode(self._spell(self._coefficients(chunk))).ids

    def decode(self, ids) -> np.ndarray:
        """ids -> [horizon, dims]. Raises `MalformedActionTokens`."""
        size = self.bpe.get_vocab_size()
        text = ""
        for i in ids:
            if not 0 <= i < size:
                raise MalformedActionTokens(f"action token {i}: expected 0..{size - 1}")
            text += self.bpe.id_to_token(int(i))
        expected = self.horizon * self.dims
        if len(text) != expected:
            raise MalformedActionTokens(f"expected {expected} coefficients, got {len(text)}")
        values = np.array([ord(c) - _FIRST_CHARACTER + LOWEST for c in text], np.float64)
        normalised = idct(values.reshape(self.horizon, self.dims) / self.scale, axis=0, norm="ortho")
        return self.low + (normalised + 1.0) / 2.0 * (self.high - self.low)

    def _coefficients(self, chunk: np.ndarray) -> np.ndarray:
        normalised = (np.asarray(chunk, np.float64) - self.low) / (self.high - self.low) * 2.0 - 1.0
        spectrum = dct(np.clip(normalised, -CLAMP, CLAMP), axis=0, norm="ortho")
        return np.clip(np.rint(spectrum * self.scale), LOWEST, HIGHEST).astype(np.int64).ravel()

    @staticmethod
    def _spell(coefficients: np.ndarray) -> str:
        return "".join(chr(_FIRST_CHARACTER + int(c) - LOWEST) for c in coefficients)

    def save(self, folder: Path) -> None:
        """Writes fast_tokenizer.json (the BPE) and fast_config.json (ranges and shape)."""
        (folder / "fast_tokenizer.json").write_text(self.bpe.to_str(pretty=False), encoding="utf-8")
        config = {
            "horizon": self.horizon, "dims": self.dims, "scale": self.scale, "lowest": LOWEST, "highest": HIGHEST,
            "clamp": CLAMP, "first_character": _FIRST_CHARACTER, "low": self.low.tolist(), "high": self.high.tolist(),
            "units": "joints: target minus position at the observation, rad; gripper: opening 0..1",
        }
        (folder / "fast_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> "FastTokenizer":
        config = json.loads((folder / "fast_config.json").read_text(encoding="utf-8"))
        bpe = Tokenizer.from_file(str(folder / "fast_tokenizer.json"))
        return cls(bpe, config["low"], config["high"], config["horizon"], config["scale"])
