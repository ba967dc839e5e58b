"""The committed golden values are what scipy and tokenizers make."""

import json
import pathlib

import golden
import numpy as np


def test_golden_values_are_scipys():
    committed = json.loads(pathlib.Path(__file__).with_name("golden.json").read_text())
    made = golden.everything()
    assert committed.keys() == made.keys()
    for name in ("demo", "published"):
        assert len(committed[name]) == len(made[name])
        for a, b in zip(committed[name], made[name]):
            assert a["ids"] == b["ids"]
            np.testing.assert_allclose(a["rows"], b["rows"], atol=1e-12)
            np.testing.assert_allclose(a["decoded"], b["decoded"], atol=1e-12)
