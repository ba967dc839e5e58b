"""How an instruction is cleaned, as the runtime cleans it (`models/vla/src/prompt.rs`)."""

import pytest

from tactus_export import prompt


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("Pick up the RED cube!", "pick up the red cube"),
        ("don’t take “it” … 拿起 4 ½", "dont take it  拿起 4 ½"),
        ("Héb den Würfel – bitte.", "héb den würfel  bitte"),
        ("""!"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~x""", "_x"),
        (" a  b\n", " a  b\n"),
    ],
)
def test_formalize_language(said, heard):
    assert prompt.clean(said, True, True) == heard


def test_blanks_of_pi05():
    said = "  Pick_up\nthe “RED” cube. \n"
    assert prompt.clean(said, False, False, True) == "Pick up the “RED” cube."
    assert prompt.clean(said, False, False) == said
