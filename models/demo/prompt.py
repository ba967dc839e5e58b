"""What is said to the model and what it is taught to say.

Decides: the phrasings of an instruction, how an instruction is cleaned, the prompt, the reasoning text.
Does not decide: how text becomes ids (tokens.py) or which row gets which phrasing (data.py).

Tasks and their order are the recorder's (column `task`): 0 pick up the cube, 1 put it in the bowl. The cell's own
phrasings (drivers/sim/src/task.rs) are among these, and the ones of `place` are the same; a test there compares.

The instruction stands BEFORE the images, so that in a causal model the image tokens already know which cube is
asked for.
"""

import string

TASKS = ("pick", "place")
COLOURS = ("red", "green", "blue")
IMAGES = 2
TOKENS_PER_IMAGE = 16
BINS = 64

PICK = (
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
PLACE = (
    "put the {c} cube in the bowl",
    "place the {c} block into the bowl",
    "drop the {c} cube into the bowl",
    "move the {c} block to the bowl",
    "please put the {c} block in the bowl",
    "place the {c} cube in the bowl",
    "bring the {c} cube to the bowl",
)
# In the order of TASKS.
PHRASINGS = (PICK, PLACE)

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


def thought(task: int, colour: str, cube: tuple[int, int], bowl: tuple[int, int]) -> str:
    """Which cube, and where it is in the scene image (bins: u to the right, v down); to place it, also the bowl."""
    text = f"the {colour} cube is at {cube[0]} {cube[1]}"
    return text + f", the bowl is at {bowl[0]} {bowl[1]}" if TASKS[task] == "place" else text


def reasoning(task: int, colour: str, cube: tuple[int, int], bowl: tuple[int, int]) -> str:
    """The `<think>` text."""
    return f"<think>{thought(task, colour, cube, bowl)}</think>"


def answer(action_ids) -> str:
    """Action tokens as the text that follows the reasoning."""
    return "<answer><ACTION_START>" + "".join(f"<action_{i}>" for i in action_ids) + "<ACTION_END></answer><|im_end|>"
