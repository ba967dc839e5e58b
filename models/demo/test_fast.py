"""FAST tokens: a chunk survives the round trip within the rounding bound; malformed ids are refused."""

import numpy as np
import pytest

from fast import CLAMP, FastTokenizer, MalformedActionTokens


@pytest.fixture(scope="module")
def chunks():
    rng = np.random.default_rng(0)
    time = np.linspace(0, 1, 16)[None, :, None]
    a, b, c = rng.normal(0, 0.2, (3, 3000, 1, 7))
    return a + b * time + c * np.sin(3 * time)


@pytest.fixture(scope="module")
def fast(chunks):
    return FastTokenizer.train(chunks)


def test_round_trip_error_is_bounded_by_the_rounding(fast, chunks):
    half = (fast.high - fast.low) / 2
    for chunk in chunks[:200]:
        normalised = (chunk - fast.low) / half - 1
        inside = half * (np.clip(normalised, -CLAMP, CLAMP) + 1) + fast.low
        error = (fast.decode(fast.encode(chunk)) - inside) / half
        # Each coefficient is off by at most 0.05; the orthonormal transform keeps the 2-norm.
        assert np.sqrt((error**2).mean(axis=0)).max() <= 0.05 + 1e-9


def test_ids_are_stable_under_decode_and_encode(fast, chunks):
    for chunk in chunks[:50]:
        once = fast.decode(fast.encode(chunk))
        np.testing.assert_allclose(fast.decode(fast.encode(once)), once, atol=1e-9)


def test_it_compresses(fast, chunks):
    assert np.mean([len(fast.encode(c)) for c in chunks[:200]]) < 0.6 * 16 * 7


def test_saved_and_loaded_is_the_same(fast, chunks, tmp_path):
    fast.save(tmp_path)
    assert FastTokenizer.load(tmp_path).encode(chunks[3]) == fast.encode(chunks[3])


@pytest.mark.parametrize("spoil", [lambda i: i[:-1], lambda i: i + i[:1], lambda i: [], lambda i: [-1] + i[1:],
                                   lambda i: [2048] + i[1:]])
def test_malformed_ids_raise(fast, chunks, spoil):
    with pytest.raises(MalformedActionTokens):
        fast.decode(spoil(fast.encode(chunks[0])))


def test_wrong_shape_is_refused(fast):
    with pytest.raises(ValueError):
        fast.encode(np.zeros((15, 7)))
