"""Bad input: one sentence on stderr that names what is wrong, exit code 1 (2 for usage), nothing left behind."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import arguments, declare, request
from PIL import Image
from safetensors.torch import load_file, save_file

from tactus_export import bundle, cli, tiny


def refused(capsys, folder: Path, *more: str, says: tuple[str, ...], code: int = 1) -> None:
    """The export fails with one line that holds all of `says`, and leaves the folder as it was."""
    before = sorted(folder.parent.rglob("*"))
    assert cli.main(arguments(folder, *more)) == code
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tactus-export: ")]
    assert len(lines) == 1, lines
    for text in says:
        assert text in lines[0], lines[0]
    assert sorted(folder.parent.rglob("*")) == before


def edit(path: Path, **changes) -> None:
    """Changes a JSON file; `a__b` is `b` within `a`, `None` removes."""
    raw = json.loads(path.read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        table = raw
        for parent in parents:
            table = table[parent]
        if value is None:
            del table[last]
        else:
            table[last] = value
    path.write_text(json.dumps(raw))


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "mllm").glob("model-*.safetensors"))


def test_truncated_shard(copied, capsys):
    folder = copied()
    shard = shards(folder)[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(capsys, folder, says=(shard.name, "cut off"))


def test_not_a_safetensors_file(copied, capsys):
    folder = copied()
    shards(folder)[0].write_bytes(b"\xff" * 64)
    refused(capsys, folder, says=(shards(folder)[0].name, "header"))


def test_missing_shard(copied, capsys):
    folder = copied()
    shards(folder)[2].unlink()
    refused(capsys, folder, says=("model-00003-of", "no such file"))


def test_missing_tensor(copied, capsys):
    folder = copied()
    name = "model.layers.1.mlp.up_proj.weight"
    index = folder / "mllm/model.safetensors.index.json"
    table = json.loads(index.read_text())
    del table["weight_map"][name]
    index.write_text(json.dumps(table))
    for shard in shards(folder):
        tensors = load_file(shard)
        if tensors.pop(name, None) is not None:
            save_file(tensors, shard)
    refused(capsys, folder, says=(name, "got none"))


def test_wrong_shape(copied, capsys):
    folder = copied()
    edit(folder / "mllm/config.json", text_config__intermediate_size=80)
    refused(capsys, folder, says=("mlp.gate_proj.weight", "expected shape [80, 64], got [96, 64]"))


def test_unknown_architecture(copied, capsys):
    folder = copied()
    edit(folder / "mllm/config.json", model_type="llava")
    refused(capsys, folder, says=("config.json", "`model_type`", "`qwen2_5_vl` or `qwen3_vl`", "`llava`"))


@pytest.mark.parametrize("change", [{"text_config__hidden_size": "wide"}, {"text_config__hidden_act": "relu"}])
def test_bad_configuration(copied, capsys, change):
    folder = copied()
    edit(folder / "mllm/config.json", **change)
    refused(capsys, folder, says=("config.json",))


def test_not_json(copied, capsys):
    folder = copied()
    (folder / "stats.json").write_text("{")
    refused(capsys, folder, says=("stats.json", "expected JSON"))


def test_other_statistics(copied, capsys):
    folder = copied()
    declare(folder, tiny.Options(normalisation="mean_std", policy={"action.normalisation": "min_max"}), "qwen2_5_vl")
    refused(capsys, folder, says=("stats.json", "`action`", "`min` and `max` of `min_max`", "`mean`, `std`"))


def test_statistics_of_other_columns(copied, capsys):
    folder = copied()
    edit(folder / "stats.json", state__min=[0.0, 1.0])
    refused(capsys, folder, says=("`state.min`", "7 numbers", "got 2"))


def test_constant_column(copied, capsys):
    folder = copied()
    low = json.loads((folder / "stats.json").read_text())["state"]["min"]
    edit(folder / "stats.json", state__max=low)
    refused(capsys, folder, says=("`state.max of base_yaw`", "constant"))


def test_gripper_statistics(copied, capsys):
    folder = copied()
    high = json.loads((folder / "stats.json").read_text())["action"]["max"]
    edit(folder / "stats.json", action__max=[*high[:-1], 100.0])
    refused(capsys, folder, says=("`action`", "0..1", "gripper"))


def test_tokenizer_without_image_token(copied, capsys):
    folder = copied()
    path = folder / "mllm/tokenizer.json"
    path.write_text(path.read_text().replace("<|image_pad|>", "<|nothing|>"))
    refused(capsys, folder, says=("tokenizer.json", "`<|image_pad|>`", "prompt.image_token"))


def test_tokenizer_without_padding_token(copied, capsys):
    folder = copied()
    declare(folder, tiny.Options(policy={
        "backbone.padding": "right", "backbone.padded_length": 90, "prompt.pad_token": "<|filler|>",
    }), "qwen2_5_vl")  # fmt: skip
    refused(capsys, folder, says=("tokenizer.json", "`<|filler|>`", "prompt.pad_token"))


def test_tokenizer_without_action_tokens(copied, capsys):
    folder = copied()
    wanted = {"prompt.action_tokens": ["<ACTION_START>", "<ACTION_END>", "<robot_action_0>"]}
    declare(folder, tiny.Options(policy=wanted), "qwen2_5_vl")
    refused(capsys, folder, says=("tokenizer.json", "`<ACTION_START>`", "prompt.action_tokens", "no such token"))
    path = folder / "mllm/tokenizer.json"
    raw = json.loads(path.read_text())
    last = max(token["id"] for token in raw["added_tokens"])
    for i, token in enumerate(wanted["prompt.action_tokens"]):
        raw["added_tokens"].append(raw["added_tokens"][-1] | {"id": last + 1 + i, "content": token})
    path.write_text(json.dumps(raw))
    # It passes with them; what stops it now is looked at later.
    path = folder / "mllm/tokenizer_config.json"
    path.write_text(path.read_text().replace("helpful assistant", "robot"))
    refused(capsys, folder, says=("`prompt.template`", "chat template", "robot"))


def test_tokenizer_without_a_marker_of_the_prompt(copied, capsys):
    folder = copied()
    for changes, says in (
        ({"prompt.template": "<|act_start|>{images}{instruction}", "prompt.order": None}, ("`<|act_start|>`", "prompt.template")),
        ({"prompt.image": "<|image_start|>{pads}", "prompt.template": "{images}{instruction}", "prompt.order": None},
         ("`<|image_start|>`", "prompt.image")),
    ):  # fmt: skip
        declare(folder, tiny.Options(policy=changes), "qwen2_5_vl")
        refused(capsys, folder, says=("tokenizer.json", *says, "no such token"))


def test_padded_length_too_short(copied, capsys):
    folder = copied()
    declare(folder, tiny.Options(policy={"backbone.padding": "right", "backbone.padded_length": 20}), "qwen2_5_vl")
    refused(capsys, folder, says=("`backbone.padded_length`", "got 20"))


def test_fp16_of_the_overflowing_tower(copied, capsys):
    folder = copied()
    for precision in ("fp16", "vision=fp16", "backbone=fp32,vision=fp16"):
        refused(capsys, folder, "--precision", precision, says=("`vision`", "Qwen2.5-VL", "fp16"))


def test_precision_of_an_unknown_graph(copied, capsys):
    refused(capsys, copied(), "--precision", "visoin=fp32", says=("--precision", "`visoin`"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[action]\nhorizn = 8\n', ("`action.horizn`", "no such field")),
        ('colour = "red"\n', ("`colour`", "no such field")),
        ("[heads]\nx = 1\n", ("`heads`",)),
        ("x = \n", ("expected TOML",)),
    ],
)  # fmt: skip
def test_unknown_policy_field(copied, capsys, text, says):
    folder = copied()
    (folder / "policy.toml").write_text(text)
    refused(capsys, folder, says=("policy.toml", *says))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": None}, ("`name`", "nothing")),
        ({"action.period_s": None}, ("`action.period_s`", "nothing")),
        ({"backbone.norm": "both"}, ("`backbone.norm`", "`pre` or `post`", "both")),
        ({"action.max_prefix": 8}, ("`action.max_prefix`", "horizon 8")),
        ({"action.horizon": 16}, ("`action.horizon`", "expected 8", "got 16")),
        ({"backbone.layers": 9}, ("1..=4", "got 9")),
        ({"state.joints": ["a", "a"]}, ("`state.joints`", "each joint once")),
        ({"state.joints": ["a"], "state.gripper": False}, ("`state.joints`", "`base_yaw`")),
        ({"prompt.order": None}, ("`prompt.order`", "`prompt.template`")),
        ({"prompt.template": "{images}", "prompt.order": None}, ("`prompt.template`", "`{instruction}`")),
        ({"embodiment": 7}, ("--embodiment", "0..1", "got 7")),
        ({"embodiment": None}, ("--embodiment", "none")),
    ],
)
def test_bad_policy_field(copied, capsys, changes, says):
    folder = declare(copied(), tiny.Options(normalisation="min_max", policy=changes), "qwen2_5_vl")
    refused(capsys, folder, says=says)


def test_another_chat_template(copied, capsys):
    folder = copied()
    path = folder / "mllm/tokenizer_config.json"
    path.write_text(path.read_text().replace("helpful assistant", "robot"))
    refused(capsys, folder, says=("`prompt.template`", "chat template", "robot"))


def test_head_without_configuration(copied, capsys):
    folder = copied()
    (folder / "head_config.json").unlink()
    refused(capsys, folder, says=("head.safetensors", "head_config.json"))


def test_head_without_a_tensor(copied, capsys):
    folder = copied()
    tensors = load_file(folder / "head.safetensors")
    del tensors["action_head.model.proj_out_2.bias"]
    save_file(tensors, folder / "head.safetensors")
    refused(capsys, folder, says=("head.safetensors", "`action_head.model.proj_out_2.bias`"))


def test_head_of_another_model(copied, capsys):
    folder = copied()
    tiny.make_head("qwen2_5_vl", folder / "head.safetensors", tiny.Options(hidden=48))
    refused(capsys, folder, says=("head.safetensors", "64 features", "got 48"))


def test_weights_that_are_not_finite(copied, capsys):
    folder = copied()
    tensors = load_file(folder / "head.safetensors")
    tensors["action_head.model.proj_out_2.bias"][0] = torch.nan
    save_file(tensors, folder / "head.safetensors")
    refused(capsys, folder, says=("finite numbers", "NaN"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ("`camera`", "none")),
        ('[[camera]]\nname = "a"\nwidth = 10\n', ("`camera[0].height`", "policy file")),
        ('[[camera]]\nname = "a"\nwidth = 0\nheight = 5\n', ("`camera[0].width`", "got 0")),
        ('[[camera]]\nname = "a"\nwidth = 4000\nheight = 4\n', ("camera a", "200 times")),
        ('[arm]\njoints = ["x"]\n[[camera]]\nname = "a"\nwidth = 9\nheight = 9\n', ("joints of the cell", "base_yaw")),
    ],
)
def test_bad_cell(copied, capsys, text, says):
    folder = copied()
    (folder / "cell.toml").write_text(text)
    refused(capsys, folder, says=says)


def test_bad_images(copied, capsys):
    folder = copied()
    refused(capsys, folder, "--images", str(folder / "none"), says=("--images", "a folder"))
    (folder / "pictures").mkdir()
    refused(capsys, folder, "--images", str(folder / "pictures"), says=("pictures", "0-scene.jpg"))
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(folder / "pictures/scene.png")
    refused(capsys, folder, "--images", str(folder / "pictures"), says=("scene.png", "154x70", "20x10"))
    (folder / "pictures/scene.png").write_bytes(b"no image")
    refused(capsys, folder, "--images", str(folder / "pictures"), says=("scene.png", "an image"))


def test_existing_bundle(copied, capsys):
    folder = copied()
    (folder / "bundle").mkdir()
    refused(capsys, folder, says=("--out", "--force"))


def test_out_in_a_missing_folder(copied, capsys):
    folder = copied()
    refused(capsys, folder, "--out", str(folder / "a/b"), says=("--out", "existing folder"))


def test_interrupted(copied, capsys, monkeypatch):
    """A termination in the midst of the work: code 130, nothing left behind, an existing bundle untouched."""
    folder = copied()
    (folder / "bundle").mkdir()
    (folder / "bundle/kept").write_text("x")
    monkeypatch.setattr("tactus_export.bundle.write_graphs", lambda *_: signal.raise_signal(signal.SIGTERM))
    refused(capsys, folder, "--force", says=("interrupted",), code=130)


def test_usage(capsys):
    for wrong in ([], ["--precision", "int4"]):
        with pytest.raises(SystemExit) as exit_:
            cli.main(wrong)
        assert exit_.value.code == 2
    assert "usage: tactus-export" in capsys.readouterr().err


@pytest.mark.parametrize("table, key, value", [
    ("diffusion_model_cfg", "positional_embeddings", "sinusoidal"), ("diffusion_model_cfg", "norm_type", "layer_norm"),
    ("diffusion_model_cfg", "norm_elementwise_affine", True), ("diffusion_model_cfg", "norm_eps", 1e-6),
    ("diffusion_model_cfg", "activation_fn", "geglu"), ("vl_self_attention_cfg", "positional_embeddings", "sinusoidal"),
    ("vl_self_attention_cfg", "activation_fn", "gelu"), (None, "add_pos_embed", False), (None, "use_vlln", False),
    (None, "exclude_state", True),
])  # fmt: skip
def test_other_mathematics_of_the_head(copied, capsys, table, key, value):
    folder = copied()
    name = f"{table}__{key}" if table else key
    edit(folder / "head_config.json", **{f"action_head_cfg__{name}": value})
    refused(capsys, folder, says=("head_config.json", f"`{name.replace('__', '.')}`", f"got {json.dumps(value)}"))


def stored(folder: Path, name: str, value: torch.Tensor) -> None:
    """Another tensor in the head's file."""
    head = folder / "head.safetensors"
    save_file(load_file(head) | {name: value}, head)


@pytest.mark.parametrize("name", ["model.transformer_blocks.0.pos_embed.pe", "model.transformer_blocks.1.norm3.weight"])
def test_tensor_that_no_graph_reads(copied, capsys, name):
    """Also where the configuration does not say what it is for."""
    folder = copied()
    edit(folder / "head_config.json", action_head_cfg__diffusion_model_cfg__positional_embeddings=None)
    stored(folder, f"action_head.{name}", torch.ones(32))
    refused(capsys, folder, says=("head.safetensors", f"`action_head.{name}`", "reads"))


def test_tensors_that_are_not_the_heads_or_only_trained_with(copied):
    folder = copied()
    edit(folder / "head_config.json", action_head_cfg__diffusion_model_cfg__positional_embeddings=None)
    stored(folder, "backbone.anything", torch.ones(3))
    stored(folder, "action_head.mask_token", torch.ones(1, 1, 32))
    bundle.prepare(request(folder))
