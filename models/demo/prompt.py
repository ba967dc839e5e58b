"""What is said to the model and what it is taught to say.

Decides: the phrasings of an instruction, how an instruction is cleaned, the prompt, the reasoning text.
Does not decide: how text becomes ids (tokens.py) or which row gets which phrasing (data.py).

The instruction stands BEFORE the images, so that in a causal model the image tokens already know which cube is
asked for.
"""

import string

COLOURS = ("red", "green", "blue")
IMAGES = 2
TOKENS_PER_IMAGE = 16
BINS = 64

PHRASINGS = (
    "pick up the {c} cube",
    "lift the {c} cube",
    "grab the {c} block",
    "please raise the {c} cube",
    "pick up the {c} block",
    "take the {c} cube",
    "take the {c} block",
    "get the {c} block",
    "raise the {c} block",
    "grasp the {c} cube",
    "pick the {c} cube up",
    "lift up the {c} cube please",
    "can you pick up the {c} block",
)

TEMPLATE = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{instruction}{images}<|im_end|>\n<|im_start|>assistant\n"
)
IMAGE = "<|vision_start|>{pads}<|vision_end|>"
IMAGE_TOKEN = "<|image_pad|>"

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def clean(instruction: str) -> str:
    """Lower-cases and removes ASCII punctuation (what GR00T calls `formalize_language`)."""
    return instruction.lower().translate(_PUNCTUATION)


def render(instruction: str) -> str:
    """The whole prompt: system text, instruction, one run of image tokens per camera, start of the answer."""
    images = IMAGE.format(pads=IMAGE_TOKEN * TOKENS_PER_IMAGE) * IMAGES
    return TEMPLATE.format(instruction=clean(instruction), images=images)


def bin_of(fraction: float) -> int:
    """Position 0..1 along an axis of the scene image -> one of 64 bins; positions outside are clamped."""
    return max(0, min(BINS - 1, int(fraction * BINS)))


def reasoning(colour: str, u: int, v: int) -> str:
    """`<think>` text: which cube, and where in the scene image (bins: u to the right, v down)."""
    return f"<think>the {colour} cube is at {u} {v}</think>"


def answer(action_ids) -> str:
    """Action tokens as the text that follows the reasoning."""
    return "<answer><ACTION_START>" + "".join(f"<action_{i}>" for i in action_ids) + "<ACTION_END></answer><|im_end|>"
