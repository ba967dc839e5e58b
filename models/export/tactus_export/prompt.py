"""From an instruction to the text of the prompt.

Decides: the families' templates, how an instruction is cleaned. Does not decide: how text becomes ids
(transformers' processor in `reference.py`, the runtime's own code at run time).
"""

import re

from tactus_export.checkpoint import Checkpoint
from tactus_export.error import ExportError

SYSTEM = {"qwen2_5_vl": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", "qwen3_vl": ""}
USER = "<|im_start|>user\n{body}<|im_end|>\n<|im_start|>assistant\n"
BODY = {"images_first": "{images}{instruction}", "instruction_first": "{instruction}{images}"}


def template(checkpoint: Checkpoint, policy, tokenizer) -> str:
    """The declared template, or the family's. The family's is compared with the checkpoint's own chat template, so that
    a checkpoint that was trained with another one is not exported with the wrong one."""
    declared = policy["prompt.template"]
    if declared is not None:
        for placeholder in ("{instruction}", "{images}"):
            if declared.count(placeholder) != 1:
                raise ExportError(
                    policy.path,
                    f"`{placeholder}` exactly once",
                    f"{declared.count(placeholder)} times",
                    key="prompt.template",
                )
    if policy["prompt.image"].count("{pads}") != 1:
        raise ExportError(policy.path, "`{pads}` exactly once", policy["prompt.image"], key="prompt.image")
    if declared is not None:
        return declared
    order = policy["prompt.order"]
    ours = SYSTEM[checkpoint.family] + USER.replace("{body}", BODY[order])
    if getattr(tokenizer, "chat_template", None):
        body = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "words"}]
        body = body if order == "images_first" else body[2:] + body[:2]
        theirs = tokenizer.apply_chat_template(
            [{"role": "user", "content": body}], tokenize=False, add_generation_prompt=True
        )
        image = policy["prompt.image"].replace("{pads}", policy["prompt.image_token"])
        if theirs != fill(ours, image * 2, "words"):
            raise ExportError(
                policy.path,
                "a template, since the checkpoint's chat template is not the family's",
                repr(theirs),
                key="prompt.template",
            )
    return ours


def fill(text: str, images: str, instruction: str) -> str:
    """Puts both parts into a template; what the instruction holds is never read as a placeholder."""
    before, after = text.split("{images}")
    return images.join(part.replace("{instruction}", instruction) for part in (before, after))


def markers(text: str) -> list[str]:
    """What is spelled `<|...|>`: always one token, or it would mean nothing to the policy."""
    return re.findall(r"<\|[^\s<]*?\|>", text)


def clean(instruction: str, lowercase: bool, strip_punctuation: bool, blanks: bool = False) -> str:
    """What GR00T calls `formalize_language`: lower case, nothing but letters, digits, `_` and blanks; with `blanks` what LeRobot's
    pi0.5 and openpi do: no outer blanks, `_` and line ends as blanks; each if the policy says so."""
    instruction = instruction.lower() if lowercase else instruction
    instruction = re.sub(r"[^\w\s]", "", instruction) if strip_punctuation else instruction
    return instruction.strip().replace("_", " ").replace("\n", " ") if blanks else instruction
