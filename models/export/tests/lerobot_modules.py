"""LeRobot's own modules of pi0, pi0.5 and SmolVLA at tiny sizes, from its source alone.

`LEROBOT_SOURCE` names a folder that holds the package `lerobot` (0.6.1: `pip download --no-deps`, unpacked). What the modules
do not need for inference (configurations, training, robots) stays out: LeRobot wants another Python and transformers than
the exporter.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch

SOURCE = os.environ.get("LEROBOT_SOURCE")


def _stub(name: str, **content) -> None:
    module = ModuleType(name)
    module.__dict__.update(content)
    sys.modules[name] = module


def _modules() -> None:
    """Packages without what their `__init__` imports."""
    root = Path(SOURCE) / "lerobot"
    if "lerobot" in sys.modules:
        return
    for name in ("", ".policies", ".policies.common", ".policies.pi0", ".policies.pi05", ".policies.smolvla", ".utils"):
        module = ModuleType("lerobot" + name)
        module.__path__ = [str(root / name.strip(".").replace(".", "/"))]
        sys.modules["lerobot" + name] = module
    nothing = type("Nothing", (), {})
    _stub("lerobot.configs", PreTrainedConfig=nothing)
    _stub("lerobot.policies.pretrained", PreTrainedPolicy=torch.nn.Module, T=nothing)
    _stub("lerobot.policies.rtc")
    _stub("lerobot.policies.rtc.modeling_rtc", RTCProcessor=nothing)
    _stub("lerobot.policies.utils", populate_queues=None)
    _stub("lerobot.utils.device_utils", get_safe_dtype=lambda dtype, _device: dtype)
    _stub("lerobot.utils.import_utils", _transformers_available=True, require_package=lambda *_, **__: None)
    for name, word in (("pi0", "PI0Config"), ("pi05", "PI05Config"), ("smolvla", "SmolVLAConfig")):
        _stub(f"lerobot.policies.{name}.configuration_{name}", DEFAULT_IMAGE_SIZE=224, **{word: nothing})


def resized(family: str, rgb: torch.Tensor, side: int) -> torch.Tensor:
    """[h, w, 3] bytes as the policy prepares them, by LeRobot's functions -> [1, 3, side, side]."""
    _modules()
    utils = importlib.import_module("lerobot.policies.common.vla_utils")
    x = rgb.permute(2, 0, 1)[None].float() / 255
    if family == "smolvla":
        x = utils.resize_with_pad(x, side, side, pad_value=0)
    else:
        x = utils.resize_with_pad_torch(x.permute(0, 2, 3, 1), side, side).permute(0, 3, 1, 2)
    return x * 2.0 - 1.0


def model(family: str, folder: Path, tensors: dict[str, torch.Tensor]) -> torch.nn.Module:
    """The module whose `sample_actions` makes a chunk, with these weights."""
    _modules()
    raw = json.loads((folder / "policy/config.json").read_text())
    given = SimpleNamespace(
        **raw, rtc_config=None, compile_model=False, gradient_checkpointing=False, freeze_vision_encoder=False,
        train_expert_only=False, train_state_proj=True, load_vlm_weights=False, device="cpu", dtype="float32",
        action_expert_variant="gemma_300m", vlm_model_name=str(folder / "vlm"), use_cache=True,
    )  # fmt: skip
    if family == "pi05":
        given.paligemma_variant = "gemma_2b"
    out = (_smolvla if family == "smolvla" else _pi)(family, given, tensors).eval()
    names = {name.removeprefix("model."): value for name, value in tensors.items()}
    stem = "paligemma_with_expert.paligemma"
    wanted = out.state_dict()
    if family != "smolvla":
        names[f"{stem}.model.language_model.embed_tokens.weight"] = names[f"{stem}.lm_head.weight"]
        # transformers 5.23 spells the tower without a level of its own.
        names = {k if k in wanted else k.replace(".vision_tower.vision_model.", ".vision_tower."): v for k, v in names.items()}
    out.load_state_dict(names, strict=True)
    return out


def _smolvla(_family: str, given, _tensors):
    with_expert = importlib.import_module("lerobot.policies.smolvla.smolvlm_with_expert")
    tokens = SimpleNamespace(tokenizer=SimpleNamespace(fake_image_token_id=0, global_image_token_id=0))
    with_expert.AutoProcessor = SimpleNamespace(from_pretrained=lambda _: tokens)
    flow = importlib.import_module("lerobot.policies.smolvla.modeling_smolvla")
    return flow.VLAFlowMatching(given)


def _pi(family: str, given, tensors):
    module = importlib.import_module(f"lerobot.policies.{family}.modeling_{family}")
    rows, wide = tensors["model.paligemma_with_expert.paligemma.lm_head.weight"].shape
    sizes = {"gemma_2b": (wide, 3, 96, 8, 1, 8), "gemma_300m": (32, 3, 48, 8, 1, 8)}
    kind = module.GemmaConfig
    module.get_gemma_config = lambda variant: kind(*sizes[variant])
    whole, expert = module.PaliGemmaForConditionalGenerationWithPiGemma, module.PiGemmaForCausalLM

    def vlm(config):
        vision = config.vision_config
        vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, vision.projection_dim = 32, 40, 2, wide
        vision.num_attention_heads, vision.patch_size = 16, 14
        config.text_config.vocab_size = config._vocab_size = rows
        return whole(config)

    def action(config):
        config.vocab_size = rows
        return expert(config)

    module.PaliGemmaForConditionalGenerationWithPiGemma, module.PiGemmaForCausalLM = vlm, action
    try:
        return getattr(module, "PI0Pytorch" if family == "pi0" else "PI05Pytorch")(given)
    finally:
        module.PaliGemmaForConditionalGenerationWithPiGemma, module.PiGemmaForCausalLM = whole, expert
