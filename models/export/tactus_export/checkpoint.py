"""A Hugging Face folder of the multimodal language model: what it is and whether it is complete.

Decides: which architectures can be exported, their dimensions, the names of their weights, what the tokenizer must
know. Does not decide: how many layers are kept, nor anything else the folder does not say (`policy.py`).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from tactus_export.error import ExportError
from tactus_export.weights import Weights

FAMILIES = ("qwen2_5_vl", "qwen3_vl")


@dataclass(frozen=True)
class VisionConfig:
    """Dimensions of a vision tower. `window` 0: no windows; `position_table`, `deepstack` empty: none."""

    depth: int
    hidden: int
    intermediate: int
    heads: int
    out: int
    patch: int
    temporal_patch: int
    merge: int
    window: int
    full_attention: tuple[int, ...]
    position_table: int
    deepstack: tuple[int, ...]

    @property
    def windows(self) -> bool:
        """Whether it is Qwen2.5-VL's tower."""
        return self.window > 0

    @property
    def row(self) -> int:
        """Numbers in one row of `pixel_values`: one frame, see `source.PATCH`."""
        return 3 * self.patch**2


@dataclass(frozen=True)
class TextConfig:
    """Dimensions of a language model."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    rope_theta: float
    mrope_sections: tuple[int, ...]
    interleaved: bool
    qkv_bias: bool
    out_bias: bool
    qk_norm: bool
    tied: bool
    positions: int


@dataclass(frozen=True)
class Checkpoint:
    """A folder that was found complete."""

    folder: Path
    family: str
    vision: VisionConfig
    text: TextConfig
    weights: Weights
    prefixes: dict[str, str]
    image_token_id: int


def read_json(path: Path) -> dict:
    """A JSON object."""
    if not path.is_file():
        raise ExportError(path, "a JSON file", "no such file")
    try:
        out = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExportError(path, "JSON", str(error)) from error
    if not isinstance(out, dict):
        raise ExportError(path, "a JSON object", type(out).__name__)
    return out


def load(folder: Path) -> Checkpoint:
    """Reads `config.json` and the headers of the weight files."""
    raw = read_json(folder / "config.json")
    family = raw.get("model_type")
    if family not in FAMILIES:
        raise ExportError(
            folder / "config.json", " or ".join(f"`{f}`" for f in FAMILIES), f"`{family}`", key="model_type"
        )
    # transformers knows the older spellings of the same fields.
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        vision, text = _vision(family, config.vision_config), _text(family, config.text_config, _tied(config))
    except (AttributeError, KeyError, TypeError, ValueError, StrictDataclassError) as error:
        raise ExportError(folder / "config.json", f"the configuration of a {family}", error) from error
    _refuse(folder, config, vision, text)
    weights = Weights.from_folder(folder)
    # Qwen2.5-VL on the hub has the names of before transformers 4.52.
    new = "model.language_model.embed_tokens.weight" in weights or "model.visual.patch_embed.proj.weight" in weights
    prefixes = (
        {"tower": "model.visual", "decoder": "model.language_model"} if new else {"tower": "visual", "decoder": "model"}
    )
    if "lm_head.weight" not in weights:
        text = replace(text, tied=True)
    prefixes["decoder.lm_head"] = "lm_head"
    return Checkpoint(folder, family, vision, text, weights, prefixes, int(config.image_token_id))


def _vision(family: str, c) -> VisionConfig:
    windows = family == "qwen2_5_vl"
    return VisionConfig(
        depth=c.depth, hidden=c.hidden_size, intermediate=c.intermediate_size, heads=c.num_heads,
        out=c.out_hidden_size, patch=c.patch_size, temporal_patch=c.temporal_patch_size, merge=c.spatial_merge_size,
        window=c.window_size if windows else 0,
        full_attention=tuple(c.fullatt_block_indexes) if windows else (),
        position_table=0 if windows else round(c.num_position_embeddings**0.5),
        deepstack=() if windows else tuple(c.deepstack_visual_indexes),
    )  # fmt: skip


def _text(family: str, c, tied: bool) -> TextConfig:
    qwen3 = family == "qwen3_vl"
    rope = c.rope_parameters
    if rope["rope_type"] != "default":
        raise ValueError(f"rope_type `{rope['rope_type']}` is not supported")
    if getattr(c, "use_sliding_window", False):
        raise ValueError("use_sliding_window is not supported")
    bias = bool(getattr(c, "attention_bias", False))
    return TextConfig(
        vocabulary=c.vocab_size, hidden=c.hidden_size, intermediate=c.intermediate_size, layers=c.num_hidden_layers,
        heads=c.num_attention_heads, kv_heads=c.num_key_value_heads,
        head_dim=getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads,
        eps=c.rms_norm_eps, rope_theta=float(rope["rope_theta"]),
        mrope_sections=tuple(rope.get("mrope_section", (24, 20, 20) if qwen3 else (16, 24, 24))),
        interleaved=qwen3, qkv_bias=bias if qwen3 else True, out_bias=bias if qwen3 else False, qk_norm=qwen3,
        tied=tied, positions=c.max_position_embeddings,
    )  # fmt: skip


def _tied(config) -> bool:
    """Whether the scores of tokens are made with the embedding table."""
    return bool(getattr(config, "tie_word_embeddings", False))


def _refuse(folder: Path, config, vision: VisionConfig, text: TextConfig) -> None:
    """What the export modules do not implement."""
    file = folder / "config.json"
    act = {"qwen2_5_vl": "silu", "qwen3_vl": "gelu_pytorch_tanh"}[config.model_type]
    for key, actual, expected in (
        ("text_config.hidden_act", config.text_config.hidden_act, "silu"),
        ("vision_config.hidden_act", config.vision_config.hidden_act, act),
        ("vision_config.out_hidden_size", vision.out, text.hidden),
        ("text_config.rope_parameters.mrope_section", sum(text.mrope_sections), text.head_dim // 2),
    ):
        if actual != expected:
            raise ExportError(file, str(expected), actual, key=key)
    if vision.windows and vision.window % (vision.patch * vision.merge):
        raise ExportError(
            file, f"a multiple of {vision.patch * vision.merge}", vision.window, key="vision_config.window_size"
        )


def check_tokenizer(checkpoint: Checkpoint, tokens: dict[str, str]):
    """The tokenizer of the folder. `tokens`: what is needed as one token -> what for. -> tokenizers.Tokenizer."""
    from tokenizers import Tokenizer

    path = checkpoint.folder / "tokenizer.json"
    if not path.is_file():
        raise ExportError(path, "the tokenizer in the file format of `tokenizers`", "no such file")
    try:
        out = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise ExportError(path, "a tokenizer", error) from error
    for token, purpose in tokens.items():
        number = out.token_to_id(token)
        if number is None:
            raise ExportError(path, f"the token `{token}` ({purpose})", "no such token")
        if number >= checkpoint.text.vocabulary:
            raise ExportError(
                path, f"an id below the vocabulary's {checkpoint.text.vocabulary} rows", number, key=token
            )
    image = next(iter(tokens))
    if out.token_to_id(image) != checkpoint.image_token_id:
        raise ExportError(
            path,
            f"id {checkpoint.image_token_id}, the `image_token_id` of config.json",
            out.token_to_id(image),
            key=image,
        )
    return out
