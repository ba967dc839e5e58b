"""Tiny random checkpoints with the architectures of the real ones: for tests, and to try the exporter.

    python -m tactus_export.tiny qwen2_5_vl|qwen3_vl OUT [--cell FILE] [--representation WORD]

Writes OUT/mllm (a Hugging Face folder), OUT/head.safetensors with its configuration, OUT/stats.json, OUT/cell.toml
and OUT/policy.toml, and prints the export command. With `--cell` the policy is one for that cell's cameras, 224x224 pixels
each, and can move the demo's arm; `--representation` says what its actions are. Nothing in them is trained: they show that numbers agree, not that
a robot does anything useful. Weights are drawn so that activations keep their size through the layers.
"""

import argparse
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tactus_export import actions

SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
JOINTS = ("base_yaw", "shoulder_pitch", "elbow_pitch", "forearm_roll", "wrist_pitch", "wrist_roll")
SYSTEM_TEMPLATE = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{%- elif 'text' in part %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 288


@dataclass
class Options:
    """What may be varied; the defaults make a bundle of about two megabytes."""

    hidden: int = 64
    intermediate: int = 96
    layers: int = 4
    vocabulary: int = 320
    vision_hidden: int = 24
    vision_intermediate: int = 48
    vision_depth: int = 4
    vision_heads: int = 2
    full_attention: tuple[int, ...] = (2,)
    heads: int = 4
    kv_heads: int = 2
    dtype: torch.dtype = torch.float32
    shard: str = "400KB"
    width: int = 32
    horizon: int = 8
    embodiments: int = 2
    head_layers: int = 4
    head_heads: int = 4
    future: int = 4
    vl_layers: int | None = None
    vl_heads: int = 2
    vl_inner: int = 2
    # A head of GR00T N1.7: its cross blocks read image tokens and the others in turn.
    alternating: bool = False
    min_pixels: int | None = None
    max_pixels: int | None = None
    normalisation: str = "min_max"
    seed: int = 0
    cameras: tuple[tuple[str, int, int], ...] | None = None
    # Actions are this much about zero, rad; drawn for each column where it is None.
    spread: float | None = None
    policy: dict[str, object] = field(default_factory=dict)


# RoboAlign's: Qwen2.5-VL-7B cut after 18 layers, the head of GR00T N1.5 on its width. About twelve gigabytes in bf16;
# making it takes as much memory, and some minutes. Every golden token reads all weights once more, so there are few.
FULL = Options(
    hidden=3584, intermediate=18944, layers=18, vocabulary=152064, heads=28, kv_heads=4, vision_hidden=1280,
    vision_intermediate=3420, vision_depth=32, vision_heads=16, full_attention=(7, 15, 23, 31), dtype=torch.bfloat16,
    shard="4GB", width=1536, horizon=16, embodiments=1, head_layers=16, head_heads=32, future=32, vl_layers=4,
    vl_heads=56, vl_inner=4, max_pixels=12845056, cameras=(("scene", 224, 224), ("wrist", 224, 224)),
    policy={"backbone.layers": 18, "embodiment": 0, "golden.decoder_steps": 2},
)  # fmt: skip


# Sides half-way between two multiples of the merge unit (28 or 32 pixels) round to the even one; 80x16 is enlarged. The
# first camera of each spans more than one attention window of 112 pixels.
CAMERAS = {
    "qwen2_5_vl": (("scene", 154, 70), ("wrist", 70, 42)),
    "qwen3_vl": (("scene", 144, 80), ("wrist", 80, 16)),
}


def config(family: str, o: Options):
    """Configuration of the model."""
    from transformers import Qwen2_5_VLConfig, Qwen3VLConfig

    ids = {f"{name}_token_id": VOCABULARY + SPECIALS.index(f"<|{token}|>") for name, token in (
        ("image", "image_pad"), ("video", "video_pad"), ("vision_start", "vision_start"), ("vision_end", "vision_end")
    )}  # fmt: skip
    text = {
        "vocab_size": o.vocabulary, "hidden_size": o.hidden, "intermediate_size": o.intermediate,
        "num_hidden_layers": o.layers, "num_attention_heads": o.heads, "num_key_value_heads": o.kv_heads, "rms_norm_eps": 1e-6,
        "max_position_embeddings": 4096, "hidden_act": "silu", "bos_token_id": VOCABULARY,
        "eos_token_id": VOCABULARY + 2,
    }  # fmt: skip
    vision = {
        "depth": o.vision_depth, "hidden_size": o.vision_hidden, "intermediate_size": o.vision_intermediate,
        "num_heads": o.vision_heads,
        "out_hidden_size": o.hidden, "spatial_merge_size": 2, "temporal_patch_size": 2, "in_channels": 3,
    }  # fmt: skip
    if family == "qwen2_5_vl":
        half = o.hidden // o.heads // 2
        sections = [half // 4, half * 3 // 8, half - half // 4 - half * 3 // 8]
        rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
        vision |= {"patch_size": 14, "window_size": 112, "fullatt_block_indexes": list(o.full_attention), "tokens_per_second": 2}
        return Qwen2_5_VLConfig(text_config=text | {"rope_parameters": rope}, vision_config=vision, **ids)
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [6, 3, 3], "mrope_interleaved": True}
    # As in the real one, heads * head_dim is not the hidden size.
    text |= {"rope_parameters": rope, "head_dim": 24}
    vision |= {"patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 2]}
    return Qwen3VLConfig(text_config=text, vision_config=vision, **ids)


def tokenizer():
    """A small byte-level BPE with the special tokens of Qwen2.5-VL."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    out = Tokenizer(models.BPE())
    out.normalizer = normalizers.NFC()
    out.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    out.decoder = decoders.ByteLevel()
    corpus = ["system\nYou are a helpful assistant.", "user\n", "assistant\n", "pick up the red cube"] * 8
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    out.train_from_iterator(corpus, trainer)
    out.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    return out


def randomise(parameters: Iterable[tuple[str, torch.Tensor]], generator: torch.Generator) -> None:
    """Matrices of gain one, norms around one, biases and embeddings small but not zero."""
    for name, value in parameters:
        noise = torch.randn(value.shape, generator=generator)
        if "norm" in name.split(".")[-2] or name.endswith("ln_q.weight"):
            value.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))
        elif value.dim() == 1 or name.endswith(".b"):
            value.copy_(0.1 * noise)
        elif "embed_tokens" in name or "pos_embed" in name or "position_embedding" in name:
            value.copy_(0.5 * noise)
        else:
            # [out, in, ..], but for the head's `W` [embodiments, in, out].
            inputs = value.shape[1] if name.endswith(".W") else value[0].numel()
            value.copy_(noise * inputs**-0.5)


def make_mllm(family: str, out: Path, o: Options) -> None:
    """The Hugging Face folder."""
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration

    kind = Qwen2_5_VLForConditionalGeneration if family == "qwen2_5_vl" else Qwen3VLForConditionalGeneration
    with torch.device("meta"):
        model = kind(config(family, o)).to(o.dtype)
    model.to_empty(device="cpu")
    with torch.no_grad():
        randomise(model.named_parameters(), torch.Generator().manual_seed(o.seed))
    model.save_pretrained(out, max_shard_size=o.shard)
    tokenizer().save(str(out / "tokenizer.json"), pretty=False)
    clip = family == "qwen2_5_vl"
    write_json(out / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 4096, "padding_side": "right",
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "clean_up_tokenization_spaces": False,
        "chat_template": (SYSTEM_TEMPLATE if clip else "") + CHAT_TEMPLATE,
    })  # fmt: skip
    default = (3136, 784 * 20) if clip else (1024, 1024 * 18)
    write_json(out / "preprocessor_config.json", {
        "image_processor_type": "Qwen2VLImageProcessor", "do_resize": True, "do_rescale": True, "do_normalize": True,
        "do_convert_rgb": True, "rescale_factor": 1 / 255, "resample": 3, "merge_size": 2, "temporal_patch_size": 2,
        "patch_size": 14 if clip else 16,
        "image_mean": [0.48145466, 0.4578275, 0.40821073] if clip else [0.5] * 3,
        "image_std": [0.26862954, 0.26130258, 0.27577711] if clip else [0.5] * 3,
        "size": {"shortest_edge": o.min_pixels or default[0], "longest_edge": o.max_pixels or default[1]},
    })  # fmt: skip


def make_head(family: str, path: Path, o: Options) -> None:
    """An action head with the names of GR00T N1.5. The two families' differ in what is optional."""
    real = family == "qwen2_5_vl"
    vl_layers = o.vl_layers if o.vl_layers is not None else (1 if real else 0)
    n, width, out, action, state = o.embodiments, o.width, o.width // 2, 32, 64
    shapes: dict[str, tuple[int, ...]] = {}

    def dense(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    def category(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.W": (n, inputs, outputs), f"{name}.b": (n, outputs)})

    def attention(name: str, own: int, source: int) -> None:
        for part, inputs in (("to_q", own), ("to_k", source), ("to_v", source), ("to_out.0", own)):
            dense(f"{name}.{part}", inputs, own)

    category("state_encoder.layer1", state, width)
    category("state_encoder.layer2", width, width)
    category("action_encoder.W1", action, width)
    category("action_encoder.W2", 2 * width, width)
    category("action_encoder.W3", width, width)
    category("action_decoder.layer1", out, width)
    category("action_decoder.layer2", width, action)
    shapes["position_embedding.weight"] = (o.horizon + 4, width)
    if real:
        shapes["future_tokens.weight"] = (o.future, width)
    if real or o.alternating:
        shapes |= {"vlln.weight": (o.hidden,), "vlln.bias": (o.hidden,)}
    for i in range(vl_layers):
        stem = f"vl_self_attention.transformer_blocks.{i}"
        for part in ("norm1", "norm3"):
            shapes |= {f"{stem}.{part}.weight": (o.hidden,), f"{stem}.{part}.bias": (o.hidden,)}
        attention(f"{stem}.attn1", o.hidden, o.hidden)
        dense(f"{stem}.ff.net.0.proj", o.hidden, o.vl_inner * o.hidden)
        dense(f"{stem}.ff.net.2", o.vl_inner * o.hidden, o.hidden)
    dense("model.timestep_encoder.timestep_embedder.linear_1", 256, width)
    dense("model.timestep_encoder.timestep_embedder.linear_2", width, width)
    for i in range(o.head_layers):
        stem = f"model.transformer_blocks.{i}"
        dense(f"{stem}.norm1.linear", width, 2 * width)
        attention(f"{stem}.attn1", width, width if i % 2 else o.hidden)
        dense(f"{stem}.ff.net.0.proj", width, 4 * width)
        dense(f"{stem}.ff.net.2", 4 * width, width)
    dense("model.proj_out_1", width, 2 * width)
    dense("model.proj_out_2", width, out)
    tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    # A modulation of AdaLN is a Dense called `norm1.linear`; its rows count as a matrix, not as a norm.
    with torch.no_grad():
        randomise(tensors.items(), torch.Generator().manual_seed(o.seed + 1))
    prefix = "action_head." if real else ""
    save_file({prefix + name: value.to(o.dtype) for name, value in tensors.items()}, path)
    written = {
        "action_horizon": o.horizon, "max_action_dim": action, "max_state_dim": state, "num_timestep_buckets": 1000,
        "num_inference_timesteps": 4, "max_num_embodiments": n,
        "diffusion_model_cfg": {
            "num_attention_heads": o.head_heads, "num_layers": o.head_layers, "interleave_self_attention": True,
            "norm_type": "ada_norm", "positional_embeddings": None,
        },
        "vl_self_attention_cfg": {"num_attention_heads": o.vl_heads, "num_layers": vl_layers},
    } | ({} if real or o.alternating else {"adaln_time": "per_action"})  # fmt: skip
    if o.alternating:
        written |= {"use_alternate_vl_dit": True, "attend_text_every_n_blocks": 2}
    write_json(path.with_name(path.stem + "_config.json"), {"action_head_cfg": written} if real else written)


def make_declarations(family: str, out: Path, o: Options) -> None:
    """Statistics, cell and policy."""
    rng = np.random.default_rng(o.seed)
    middle, spread = rng.normal(0, 0.3, (2, 6)), rng.uniform(0.2, 0.6, (2, 6))
    if o.spread is not None:
        middle[1], spread[1] = 0.0, o.spread
    pairs = {"state": (middle[0], spread[0]), "action": (middle[1], spread[1])}
    keys = {"mean_std": ("mean", "std"), "min_max": ("min", "max"), "quantile": ("q01", "q99")}[o.normalisation]
    stats = {}
    word, rotation = o.policy.get("action.representation"), o.policy.get("action.tool.rotation")
    if word in actions.TOOLS:
        # Ways of a centimetre and a hundredth of a radian, about none.
        turn = actions.IDENTITY[rotation]
        pairs["action"] = np.array([0.0, 0.0, 0.0, *turn]), np.array([0.01] * (3 + len(turn)))
    for of, (centre, scale) in pairs.items():
        centre, scale = [*centre.round(4), 0.5], [*scale.round(4), 0.5]
        low = centre if o.normalisation == "mean_std" else [c - s for c, s in zip(centre, scale)]
        high = scale if o.normalisation == "mean_std" else [c + s for c, s in zip(centre, scale)]
        stats[of] = {keys[0]: [float(v) for v in low], keys[1]: [float(v) for v in high]}
    write_json(out / "stats.json", stats)
    cameras = o.cameras or CAMERAS[family]
    cell = "\n".join(
        f'[[camera]]\nname = "{name}"\nwidth = {width}\nheight = {height}\n' for name, width, height in cameras
    )
    (out / "cell.toml").write_text(cell, encoding="utf-8")
    real = family == "qwen2_5_vl"
    values: dict[str, object] = {
        "name": f"tiny-{family.replace('_', '-')}", "variant": "frozen", "source": f"tiny random {family}",
        "embodiment": 1 if o.embodiments > 1 else 0, "backbone.layers": 3, "backbone.norm": "pre" if real else "post",
        "vision.processor": "pil" if real else "torchvision",
        "prompt.order": "images_first" if real else "instruction_first", "prompt.lowercase": True,
        "prompt.strip_punctuation": True, "state.joints": list(JOINTS), "state.gripper": True,
        "state.normalisation": o.normalisation, "action.joints": list(JOINTS), "action.gripper": True,
        "action.representation": "relative_joints" if real else "absolute_joints",
        "action.normalisation": o.normalisation, "action.horizon": o.horizon, "action.period_s": 0.05,
        "action.first_action_offset_s": 0.05, "action.alignment": "state_at_image",
        "action.max_prefix": 0 if real else 3, "backbone.padding": "none" if real else "left",
        "backbone.padded_length": 0 if real else 80, "decoder.max_length": 256,
    } | o.policy  # fmt: skip
    values = {key: value for key, value in values.items() if value is not None}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items() if "." not in key]
    for table in sorted({key.split(".")[0] for key in values if "." in key}):
        lines.append(f"\n[{table}]")
        lines += [
            f"{key.split('.', 1)[1]} = {json.dumps(value)}" for key, value in values.items() if key.startswith(table + ".")
        ]
    (out / "policy.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


# GR00T N1.7's: no future tokens, vlln, blocks that alternate, no padding. Its words are Qwen3-VL's, which has the decoder.
ALTERNATING = Options(
    alternating=True, head_layers=8, vl_layers=1, normalisation="min_max",
    policy={"backbone.padding": "none", "backbone.padded_length": 0, "backbone.norm": "pre", "action.max_prefix": 0,
            "decoder.max_length": None, "name": "tiny-qwen3-vl-n1-7"},
)  # fmt: skip


def declared(representation: str, rotation: str = "six_columns", frame: str = "tool") -> dict[str, object]:
    """Fields of a policy whose actions are these; tool poses are of the simulated arm's tip."""
    out: dict[str, object] = {"action.representation": representation}
    if representation in actions.TOOLS:
        out |= {"action.tool.base_link": "base", "action.tool.tool_link": "tip", "action.tool.rotation": rotation}
        out |= {"action.tool.frame": frame} if actions.ANCHORED[representation] else {}
    return out


def make(family: str, out: Path, options: Options | None = None) -> Path:
    """All files of a tiny policy in the folder `out`."""
    o = options or Options(normalisation="min_max" if family == "qwen2_5_vl" else "quantile")
    (out / "mllm").mkdir(parents=True, exist_ok=True)
    make_mllm(family, out / "mllm", o)
    make_head(family, out / "head.safetensors", o)
    make_declarations(family, out, o)
    return out


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", choices=sorted(CAMERAS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--cell", type=Path, help="cell file whose cameras the policy is for")
    parser.add_argument("--alternating", action="store_true", help="with the head of GR00T N1.7 (qwen3_vl)")
    parser.add_argument("--representation", choices=list(actions.ANCHORED), help="what actions are")
    args = parser.parse_args()
    options = Options(normalisation="min_max" if args.family == "qwen2_5_vl" else "quantile")
    if args.alternating:
        options = replace(ALTERNATING, policy=dict(ALTERNATING.policy))
    cell = args.out / "cell.toml"
    if args.cell:
        with open(args.cell, "rb") as file:
            names = [camera["name"] for camera in tomllib.load(file)["camera"]]
        options.cameras, cell = tuple((name, 224, 224) for name in names), args.cell
        # Small steps about where the arm is: chunks that leave its range by far are refused.
        options.spread, options.policy = 0.05, options.policy | {"action.representation": "relative_joints"}
        if args.family == "qwen3_vl" and not args.alternating:
            # More image tokens than the usual cameras make.
            options.policy["backbone.padded_length"] = 200
    if args.representation:
        options.policy |= declared(args.representation)
    out = make(args.family, args.out, options)
    if args.cell:
        # A cell file does not say how large images are; the policy may.
        tables = "".join(
            f'\n[[camera]]\nname = "{name}"\nwidth = {width}\nheight = {height}\n'
            for name, width, height in options.cameras
        )
        with open(out / "policy.toml", "a", encoding="utf-8") as file:
            file.write(tables)
    print(
        f"tactus-export --mllm {out}/mllm --head {out}/head.safetensors --stats {out}/stats.json --cell {cell} "
        f"--out {out}/bundle"
    )


if __name__ == "__main__":
    main()
