"""What is said: every known word is one token, position numbers carry the weight, both tasks are told apart."""

import numpy as np
import pytest

import prompt
import tokens
from data import Dataset, Prompts


@pytest.fixture(scope="module")
def tokenizer():
    return tokens.build()


def test_every_word_of_every_phrasing_is_one_token(tokenizer):
    for phrasings in prompt.PHRASINGS:
        for phrasing in phrasings:
            text = phrasing.format(c="green")
            assert len(tokens.encode(tokenizer, text)) == len(text.split()), text


def test_prompts_of_a_phrasing_have_one_length_whatever_the_colour(tokenizer):
    prompts = Prompts(tokenizer)
    for (t, p, _), ids in prompts.ids.items():
        assert len(ids) == prompts.lengths[t][p]
        assert len(prompts.rows(ids)) == prompt.IMAGES * prompt.TOKENS_PER_IMAGE


def test_both_positions_of_a_place_are_supervised(tokenizer):
    data = Dataset.__new__(Dataset)
    data.tokenizer, data.prompts = tokenizer, Prompts(tokenizer)
    data.uv = np.array([[[0.1, 0.2], [0.5, 0.2], [0.9, 0.9]]])
    data.bowl_uv = np.array([[0.79, 0.32]])
    for task, text, numbers in (
        (0, "<think>the green cube is at 32 12</think>", "32 12"),
        (1, "<think>the green cube is at 32 12, the bowl is at 50 20</think>", "32 12 50 20"),
    ):
        ids, weight, start = data.sequence(0, task, 1, 0, False)
        assert tokenizer.decode(list(ids[start:]), skip_special_tokens=False) == text
        assert tokenizer.decode([int(i) for i in ids[weight == 4.0]]).strip() == numbers
        assert (weight[:start] == 0).all() and (weight[start:] > 0).all()
