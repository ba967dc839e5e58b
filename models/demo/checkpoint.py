"""The checkpoint folder: Hugging Face style files in half precision.

    python checkpoint.py PREPARED WORK FOLDER

model.safetensors + config.json load into transformers' Qwen2_5_VLForConditionalGeneration (test_model.py);
action_head.safetensors + action_head_config.json hold the head, its statistics and what it was trained on.
"""

import argparse
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import tokens
from head import ActionHead, HeadConfig
from model import MEAN, STD, Mllm, MllmConfig
from train import load_mllm

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "fast_tokenizer.json", "fast_config.json")


def mllm_config(config: MllmConfig, token_id) -> dict:
    """config.json. `token_id`: text of a special token -> id."""
    text = asdict(config.text)
    rope = {"rope_type": "default", "rope_theta": text.pop("rope_theta"), "mrope_section": list(text.pop("mrope_section"))}
    vision = asdict(config.vision) | {"fullatt_block_indexes": list(config.vision.fullatt_block_indexes)}
    ids = {"bos_token_id": token_id("<|endoftext|>"), "eos_token_id": token_id("<|im_end|>"),
           "pad_token_id": token_id("<|endoftext|>")}
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "dtype": "float16",
        "tie_word_embeddings": True,
        "select_layer": config.select_layer,
        "image_token_id": token_id("<|image_pad|>"),
        "video_token_id": token_id("<|video_pad|>"),
        "vision_start_token_id": token_id("<|vision_start|>"),
        "vision_end_token_id": token_id("<|vision_end|>"),
        "text_config": {
            **text, **ids, "model_type": "qwen2_5_vl_text", "hidden_act": "silu", "max_position_embeddings": 512,
            "rope_parameters": rope, "tie_word_embeddings": True, "use_sliding_window": False,
        },
        "vision_config": {
            **vision, "model_type": "qwen2_5_vl", "hidden_act": "silu", "in_channels": 3, "tokens_per_second": 2,
        },
    }


def preprocessor_config() -> dict:
    """preprocessor_config.json: 224x224 becomes 112x112."""
    return {
        "image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 12544,
        "size": {"shortest_edge": 3136, "longest_edge": 12544}, "patch_size": 14, "temporal_patch_size": 2,
        "merge_size": 2, "resample": 3, "image_mean": list(MEAN), "image_std": list(STD),
    }


def write_json(path: Path, value) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def save(mllm: Mllm, head: ActionHead, prepared: Path, folder: Path, trained: dict) -> None:
    """Writes the whole folder; weights are rounded to half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copyfile(prepared / "tokenizer" / name, folder / name)
    tokenizer = tokens.load(folder)
    write_json(folder / "config.json", mllm_config(mllm.config, tokenizer.token_to_id))
    write_json(folder / "preprocessor_config.json", preprocessor_config())
    stats = json.loads((prepared / "stats.json").read_text(encoding="utf-8"))
    write_json(folder / "stats.json", {of: {key: stats[of][key] for key in ("mean", "std")} for of in ("state", "action")})
    write_json(folder / "action_head_config.json", head.config.to_dict() | {"stats": stats, "trained": trained})
    half = lambda module: {k: v.half().contiguous() for k, v in module.state_dict().items()}
    save_file(half(mllm), folder / "model.safetensors", {"format": "pt"})
    save_file(half(head), folder / "action_head.safetensors", {"format": "pt"})
    for name in ("model.safetensors", "action_head.safetensors"):
        (folder / name).chmod(0o644)


def load(folder: Path) -> tuple[Mllm, ActionHead, dict]:
    """(MLLM, head, head configuration with statistics), single precision, for inference."""
    folder = Path(folder)
    mllm = Mllm(MllmConfig.from_folder(folder))
    mllm.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
    raw = json.loads((folder / "action_head_config.json").read_text(encoding="utf-8"))
    head = ActionHead(HeadConfig(**{k: raw[k] for k in asdict(HeadConfig())}))
    head.load_state_dict({k: v.float() for k, v in load_file(folder / "action_head.safetensors").items()})
    return mllm.eval().requires_grad_(False), head.eval().requires_grad_(False), raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    mllm, step = load_mllm(args.work / "mllm.pt")
    saved = torch.load(args.work / "head.pt", weights_only=True)
    if saved["mllm_step"] != step:
        raise SystemExit(f"head.pt: trained on the MLLM of step {saved['mllm_step']}, but mllm.pt is at {step}")
    head = ActionHead(HeadConfig())
    head.load_state_dict(saved["average"])
    meta = json.loads((args.prepared / "meta.json").read_text(encoding="utf-8"))
    trained = {"variant": "frozen", "mllm_steps": step, "head_steps": saved["step"], "rows": meta["rows"],
               "episodes": len(meta["episodes"])}
    save(mllm, head, args.prepared, args.folder, trained)
    count = lambda m: sum(p.numel() for p in m.parameters())
    print(f"{args.folder}: MLLM {count(mllm):,} parameters, head {count(head):,}")


if __name__ == "__main__":
    main()
