"""Tiny random policies with the names and architectures of pi0, pi0.5 and SmolVLA: for tests, and to try the exporter.

    python -m tactus_export.tiny_expert pi0|pi05|smolvla OUT [--cell FILE]

Writes OUT/policy (LeRobot's folder: config.json, model.safetensors), OUT/vlm (tokenizer.json, config.json), OUT/stats.json,
OUT/cell.toml and OUT/policy/policy.toml, and prints the export command. With `--cell` the policy is one for that cell's
cameras, 224x224 pixels each, and can move the demo's arm. Nothing in them is trained.
"""

import argparse
import tomllib
from pathlib import Path

import torch
from safetensors.torch import save_file

from tactus_export import tiny
from tactus_export.expert_config import FAMILIES
from tactus_export.tiny import write_json

ROWS = 300
ACTIONS = {"max_state_dim": 32, "max_action_dim": 32, "chunk_size": 10, "n_action_steps": 10, "n_obs_steps": 1}
# Neither camera has the shape that the policy sees; one is enlarged, one shrunk.
CAMERAS = (("scene", 96, 64), ("wrist", 40, 50))
SMOLVLM = {
    "model_type": "smolvlm", "scale_factor": 2,
    "text_config": {
        "model_type": "llama", "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 6, "num_attention_heads": 6,
        "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5, "hidden_act": "silu", "vocab_size": ROWS + 4,
        "attention_bias": False,
    },
    "vision_config": {
        "model_type": "smolvlm_vision", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 64, "patch_size": 16,
    },
}  # fmt: skip


def shapes_of(family: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors."""
    out: dict[str, tuple[int, ...]] = {}

    def dense(name: str, inputs: int, outputs: int, bias: bool = True) -> None:
        out[f"{name}.weight"] = (outputs, inputs)
        if bias:
            out[f"{name}.bias"] = (outputs,)

    def norm(name: str, width: int, adaptive: bool = False) -> None:
        dense(f"{name}.dense", width, 3 * width) if adaptive else out.update({f"{name}.weight": (width,)})

    def layers(stem: str, count: int, width: int, inner: int, rows: int, shared: int, adaptive=False, cross=()) -> None:
        for i in range(count):
            name = f"{stem}.{i}"
            dense(f"{name}.self_attn.q_proj", width, rows, False)
            for part in "kv":
                dense(f"{name}.self_attn.{part}_proj", shared if i in cross else width, shared, False)
            dense(f"{name}.self_attn.o_proj", rows, width, False)
            for part, a, b in (("gate", width, inner), ("up", width, inner), ("down", inner, width)):
                dense(f"{name}.mlp.{part}_proj", a, b, False)
            for part in ("input_layernorm", "post_attention_layernorm"):
                norm(f"{name}.{part}", width, adaptive)

    def tower(stem: str, width: int, inner: int, depth: int, patch: int, places: int) -> None:
        out.update({
            f"{stem}.embeddings.patch_embedding.weight": (width, 3, patch, patch),
            f"{stem}.embeddings.patch_embedding.bias": (width,),
            f"{stem}.embeddings.position_embedding.weight": (places, width),
        })  # fmt: skip
        for name in [f"{stem}.encoder.layers.{i}.layer_norm{n}" for i in range(depth) for n in "12"] + [f"{stem}.post_layernorm"]:
            out.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})
        for i in range(depth):
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                dense(f"{stem}.encoder.layers.{i}.self_attn.{part}", width, width)
            dense(f"{stem}.encoder.layers.{i}.mlp.fc1", width, inner)
            dense(f"{stem}.encoder.layers.{i}.mlp.fc2", inner, width)

    if family == "smolvla":
        root, width, text, seen = "model.vlm_with_expert", 36, SMOLVLM["text_config"], SMOLVLM["vision_config"]
        vlm, wide = f"{root}.vlm.model", text["hidden_size"]
        tower(f"{vlm}.vision_model", seen["hidden_size"], seen["intermediate_size"], 2, 16, 16)
        dense(f"{vlm}.connector.modality_projection.proj", seen["hidden_size"] * 4, wide, False)
        out[f"{vlm}.text_model.embed_tokens.weight"] = (text["vocab_size"], wide)
        layers(f"{vlm}.text_model.layers", 4, wide, text["intermediate_size"], 48, 16)
        norm(f"{vlm}.text_model.norm", wide)
        out[f"{root}.vlm.lm_head.weight"] = (text["vocab_size"], wide)
        # LeRobot rounds the inner width up to a multiple of 256.
        layers(f"{root}.lm_expert.layers", 4, width, 256, 48, 16, cross=(1, 3))
        norm(f"{root}.lm_expert.norm", width)
        dense("model.state_proj", 32, wide)
    else:
        root, width, wide, adaptive = "model.paligemma_with_expert", 32, 64, family == "pi05"
        stem = f"{root}.paligemma.model"
        tower(f"{stem}.vision_tower.vision_model", 32, 40, 2, 14, 16)
        dense(f"{stem}.multi_modal_projector.linear", 32, wide)
        layers(f"{stem}.language_model.layers", 3, wide, 96, 64, 8)
        norm(f"{stem}.language_model.norm", wide)
        out[f"{root}.paligemma.lm_head.weight"] = (ROWS, wide)
        layers(f"{root}.gemma_expert.model.layers", 3, width, 48, 64, 8, adaptive)
        norm(f"{root}.gemma_expert.model.norm", width, adaptive)
        out[f"{root}.gemma_expert.lm_head.weight"] = (ROWS, width)
        if not adaptive:
            dense("model.state_proj", 32, width)
    dense("model.action_in_proj", 32, width)
    dense("model.action_out_proj", width, 32)
    name = "time_mlp" if family == "pi05" else "action_time_mlp"
    dense(f"model.{name}_in", width if family == "pi05" else 2 * width, width)
    dense(f"model.{name}_out", width, width)
    return out


def tensors(family: str, seed: int) -> dict[str, torch.Tensor]:
    """Matrices of gain one, norms about what leaves a vector as it is, the rest small but not zero."""
    generator, out = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes_of(family).items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            llama = name.endswith("weight") and ("layer_norm" in name or "post_layernorm" in name or family == "smolvla")
            out[name] = 0.1 * noise + (1.0 if llama else 0.0)
        elif "position_embedding" in name:
            out[name] = 0.5 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            # It is multiplied with the root of the width.
            out[name] = noise * shape[1] ** -0.5
        elif ".dense." in name:
            out[name] = 0.3 * noise * shape[1] ** -0.5
        else:
            out[name] = noise * torch.Size(shape[1:]).numel() ** -0.5
    return out


def tokenizer(family: str):
    """A small one of the model's kind: Gemma's (blanks spelt, bytes where a letter is unknown) or SmolLM2's (byte level)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    corpus = ["pick up the red cube", "Task: put the cube in the bowl, State: 128 3 255;\nAction: "] * 8
    if family == "smolvla":
        out = Tokenizer(models.BPE())
        out.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        out.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        out.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=ROWS, show_progress=False, initial_alphabet=alphabet))
        specials = ["<|im_start|>", "<|im_end|>", "<image>"]
    else:
        bytes_ = [f"<0x{n:02X}>" for n in range(256)]
        first = ["<pad>", "<eos>", "<bos>", "<unk>"]
        letters = sorted(set("".join(corpus).replace(" ", "\u2581")))
        names = [*first, *letters, *bytes_]
        out = Tokenizer(models.BPE(vocab={n: i for i, n in enumerate(names)}, merges=[], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
        out.normalizer = normalizers.Replace(" ", "\u2581")
        out.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
        # As in PaliGemma, the image's token has no row in the table.
        specials = [*first, "<image>"]
    out.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return out


def config(family: str) -> dict:
    """LeRobot's `config.json`."""
    words = {"pi05": "QUANTILES"}.get(family, "MEAN_STD")
    shared = ACTIONS | {
        "type": family, "empty_cameras": 0, "min_period": 0.004, "max_period": 4.0,
        "normalization_mapping": {"VISUAL": "IDENTITY", "STATE": words, "ACTION": words},
    }  # fmt: skip
    if family == "smolvla":
        return shared | {
            "num_steps": 10, "resize_imgs_with_padding": [64, 64], "num_vlm_layers": 4, "num_expert_layers": -1,
            "self_attn_every_n_layers": 2, "expert_width_multiplier": 0.75, "attention_mode": "cross_attn",
            "add_image_special_tokens": False, "prefix_length": -1, "adapt_to_pi_aloha": False,
        }  # fmt: skip
    return shared | {"num_inference_steps": 10, "image_resolution": [56, 56], "paligemma_variant": "gemma_2b"}


def make(family: str, out: Path, cameras=None, seed: int = 0, declared: dict | None = None) -> Path:
    """All files of a tiny policy in the folder `out`. Its actions are small steps about where the arm is: chunks that leave
    the arm's range by far are refused."""
    for name in ("policy", "vlm"):
        (out / name).mkdir(parents=True, exist_ok=True)
    save_file(tensors(family, seed), out / "policy/model.safetensors")
    write_json(out / "policy/config.json", config(family))
    write_json(out / "vlm/config.json", SMOLVLM if family == "smolvla" else {"model_type": "paligemma"})
    tokenizer(family).save(str(out / "vlm/tokenizer.json"), pretty=False)
    # What is fixed for these families is not declared.
    nothing = (
        "variant", "embodiment", "backbone.layers", "backbone.norm", "backbone.padding", "backbone.padded_length",
        "vision.processor", "prompt.order", "prompt.lowercase", "prompt.strip_punctuation", "action.horizon",
        "decoder.max_length",
    )  # fmt: skip
    fields = dict.fromkeys(nothing) | {"name": f"tiny-{family}", "source": f"tiny random {family}"}
    fields |= {"action.representation": "relative_joints"} | (declared or {})
    word = "quantile" if family == "pi05" else "mean_std"
    options = tiny.Options(normalisation=word, seed=seed, cameras=cameras or CAMERAS, spread=0.05, policy=fields)
    tiny.make_declarations(family, out, options)
    (out / "policy.toml").rename(out / "policy/policy.toml")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=sorted(FAMILIES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--cell", type=Path, help="cell file whose cameras the policy is for")
    args = parser.parse_args()
    if args.cell:
        with open(args.cell, "rb") as file:
            cameras = tuple((camera["name"], 224, 224) for camera in tomllib.load(file)["camera"])
        out = make(args.family, args.out, cameras)
        tables = "".join(f'\n[[camera]]\nname = "{n}"\nwidth = {w}\nheight = {h}\n' for n, w, h in cameras)
        with open(out / "policy/policy.toml", "a", encoding="utf-8") as file:
            file.write(tables)
    else:
        out = make(args.family, args.out)
    print(
        f"tactus-export --lerobot {out}/policy --vlm {out}/vlm --stats {out}/stats.json "
        f"--cell {args.cell or out / 'cell.toml'} --out {out}/bundle"
    )


if __name__ == "__main__":
    main()
