"""`bundle.toml`: every choice that could silently differ between the exporter and the runtime.

Decides: the fields and their order. Does not decide: their values, which come from the inputs.
"""

import hashlib
import json
from pathlib import Path

import torch
import transformers

from tactus_export import actions

FAMILY = {"qwen2_5_vl": "qwen2_5_vl+gr00t_n1_5", "qwen3_vl": "qwen3_vl+gr00t_n1_5"}
ALTERNATING = {"qwen3_vl": "qwen3_vl+gr00t_n1_7"}
POSITIONS = {"qwen2_5_vl": "mrope_chunked", "qwen3_vl": "mrope_interleaved"}
NAME = "bundle.toml"
EOS = ("<|im_end|>", "<|endoftext|>")
FAST = ("fast_tokenizer.json", "fast_config.json")


def sha256(path: Path) -> str:
    """Of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text(folder: Path, job, costs: dict, revision: str) -> str:
    """The manifest of the finished bundle in `folder`; `costs` by graph. JSON strings, numbers and arrays are valid
    TOML."""
    j = lambda value: json.dumps(value, ensure_ascii=False)
    checkpoint, policy, c, processor = job.checkpoint, job.policy, job.head.config, job.processor
    vision = checkpoint.vision
    decoder = _decoder(job, j) if "decoder" in job.precisions else ""
    return f"""schema = 1
name = {j(policy["name"])}
family = "{(ALTERNATING if c.text_every else FAMILY)[checkpoint.family]}"
variant = "{policy["variant"]}"
min_ort = "1.24"

[source]
backbone = {j(policy["source"] or checkpoint.folder.resolve().name)}
revision = "{revision}"
exporter = "models/export"
torch = "{torch.__version__.split("+")[0]}"
transformers = "{transformers.__version__}"

[backbone]
layers = {job.layers}
norm = "{policy["backbone.norm"]}"
hidden = {checkpoint.text.hidden}
position_ids = "{POSITIONS[checkpoint.family]}"
padding = "{policy["backbone.padding"]}"
padded_length = {policy["backbone.padded_length"]}
encoder_mask = "none"

[vision]
patch = {vision.patch}
temporal_patch = 1
merge = {vision.merge}
window = {vision.window}
position_table = {vision.position_table}
deepstack = {len(vision.deepstack)}
mean = {j(list(processor.mean))}
std = {j(list(processor.std))}
min_pixels = {processor.min_pixels}
max_pixels = {processor.max_pixels}
resample = "bicubic"
processor = "{processor.kind}"

{cameras(job.cell.cameras)}
[prompt]
tokenizer = "tokenizer.json"
template = {j(job.template)}
image = {j(policy["prompt.image"])}
image_token = {j(policy["prompt.image_token"])}
pad_token = {j(policy["prompt.pad_token"])}
lowercase = {j(policy["prompt.lowercase"])}
strip_punctuation = {j(policy["prompt.strip_punctuation"])}

{moves(policy, c.horizon, c.max_action)}
[denoise]
steps = {c.steps}
time_from = 0.0
time_to = 1.0
buckets = {c.buckets}
noise = "normal"

{decoder}{contents(folder, job, costs)}"""


def cameras(all_cameras) -> str:
    """The tables of cameras."""
    return "\n".join(
        f"[[camera]]\nname = {json.dumps(camera.name, ensure_ascii=False)}\nwidth = {camera.width}\nheight = {camera.height}\n"
        for camera in all_cameras
    )


def moves(policy, horizon: int, width: int) -> str:
    """The tables of state and action."""
    j = lambda value: json.dumps(value, ensure_ascii=False)
    lines, tool = actions.toml(policy, j)
    age = policy["action.max_feature_age_s"]
    feature_age = f"max_feature_age_s = {float(age)}\n" if age else ""
    return f"""[state]
joints = {j(list(policy.state.joints))}
gripper = {j(policy.state.gripper)}
normalisation = "{policy.state.normalisation}"

[action]
joints = {j(list(policy.action.joints))}
gripper = {j(policy.action.gripper)}
representation = "{policy["action.representation"]}"
{lines}normalisation = "{policy.action.normalisation}"
horizon = {horizon}
period_s = {float(policy["action.period_s"])}
first_action_offset_s = {float(policy["action.first_action_offset_s"])}
alignment = "{policy["action.alignment"]}"
max_prefix = {policy["action.max_prefix"]}
{feature_age}width = {width}
{tool}"""


def contents(folder: Path, job, costs: dict) -> str:
    """The tables of graphs, golden cases and files."""
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != NAME)
    cases = [name for name in files if name.startswith("golden/")]
    graph = lambda name, precision, cost: f'{name} = {{ file = "graphs/{name}.onnx", precision = "{precision}"' + (
        f", cost = {{ weight_bytes = {cost.weight_bytes}, operations = {cost.operations} }} }}" if cost else " }"
    )
    graphs = "\n".join(graph(name, precision, costs[name]) for name, precision in job.precisions.items())
    hashes = "\n".join(f'"{name}" = "{sha256(folder / name)}"' for name in files)
    return f"""[graphs]
{graphs}

[golden]
cases = {json.dumps(cases)}

[files]
{hashes}
"""


def _decoder(job, j) -> str:
    """The table of the decoder: what it says its words with."""
    policy, text = job.policy, job.checkpoint.text
    lines = [
        "[decoder]",
        f"max_length = {policy['decoder.max_length']}",
        f"vocabulary = {text.vocabulary}",
        f"eos = {j(list(policy['decoder.eos'] or EOS))}",
    ]
    lines += [f"{name} = {j(policy[f'decoder.{name}'])}" for name in ("think", "answer") if policy[f"decoder.{name}"]]
    if policy["decoder.fast.marks"] is not None:
        lines += [
            "", "[decoder.fast]", f'tokenizer = "{FAST[0]}"', f'config = "{FAST[1]}"',
            f"marks = {j(policy['decoder.fast.marks'])}", f"token = {j(policy['decoder.fast.token'])}",
        ]  # fmt: skip
    return "\n".join(lines) + "\n\n"
