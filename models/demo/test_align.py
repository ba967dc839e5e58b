"""The reward of the alignment and what is made of it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import align
import prompt
import tokens

TOKENIZER = tokens.load(Path(__file__).parent / "checkpoint")
ANSWERS = align.Answers(SimpleNamespace(tokenizer=TOKENIZER))
TARGET = [5, 9, 2, 7]


def ids(text: str) -> list[int]:
    return tokens.encode(TOKENIZER, text)


def answered(actions) -> list[int]:
    return ids("<think>the red cube is at 31 12</think>" + prompt.answer(actions))


@pytest.mark.parametrize("actions, prefix", [
    (TARGET, 1.0), ([5, 9, 3, 7], 0.5), ([4, 9, 2, 7], 0.0), ([5], 0.25), ([], 0.0),
    # What follows the whole target costs nothing: the reward asks for a prefix.
    (TARGET + [1, 1, 1], 1.0),
])
def test_an_answer_of_the_form_earns_it_and_its_longest_prefix(actions, prefix):
    assert ANSWERS.reward(answered(actions), TARGET) == (1.0, prefix)
    assert ANSWERS.read(answered(actions)) == actions


@pytest.mark.parametrize("broken", [
    lambda a: a[1:], lambda a: a[:-1], lambda a: a + a[-1:], lambda a: a[:-4] + ids("cube") + a[-3:],
    lambda a: [i for i in a if i != ids("</think>")[0]], lambda a: [i for i in a if i != ids("<answer>")[0]], lambda a: [],
])
def test_without_the_form_nothing_is_earned(broken):
    assert ANSWERS.reward(broken(answered(TARGET)), TARGET) == (0.0, 0.0)


def test_advantages_compare_the_answers_to_one_prompt_with_each_other_only():
    rewards = np.array([[0.5, 0.5, 0.5], [0.0, 0.5, 1.0], [0.5, 0.5, 1.0]])
    gains = align.advantages(rewards)
    assert np.allclose(gains[0], 0)
    assert np.allclose(gains[1:].mean(1), 0) and np.allclose(gains[1:].std(1), 1, atol=1e-4)
    assert np.allclose(align.advantages(rewards + 7), gains, atol=1e-4)
    assert (np.argsort(gains[1]) == [0, 1, 2]).all()
