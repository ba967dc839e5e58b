"""A policy of LeRobot's pi0, pi0.5 or SmolVLA: what it is and whether it is complete.

Decides: which of them can be exported, their dimensions, the names of their weights, how their prompts are spelt, what of a
configuration is refused. Does not decide: what a configuration does not say (`policy.py`).

The folder holds `config.json` and the weights as LeRobot writes them. Names may lack the leading `model.`, as openpi's own
PyTorch port writes them. Sizes come from the weights' shapes where these say them; heads of PaliGemma are those of its
code, heads of SmolVLM2 stand in the configuration of its own folder.
"""

from dataclasses import dataclass
from pathlib import Path

from tactus_export.checkpoint import VisionConfig, read_json
from tactus_export.error import ExportError
from tactus_export.weights import Weights

# `type` of the configuration -> the bundle's family.
FAMILIES = {"pi0": "paligemma+pi0", "pi05": "paligemma+pi0_5", "smolvla": "smolvlm2+smolvla"}
NORMALISATIONS = {"MEAN_STD": "mean_std", "MIN_MAX": "min_max", "QUANTILES": "quantile"}
# What PaliGemma's code fixes and its weights do not say: heads of SigLIP, heads that share keys and values.
SIGLIP_HEADS, GEMMA_KV_HEADS = 16, 1
VISION_EPS, GEMMA_EPS = 1e-6, 1e-6
ROPE_BASE = 10000.0
STATE_BINS = 256
TEMPLATES = {
    "pi0": "{images}<bos>{instruction}\n",
    "pi05": "{images}<bos>Task: {instruction}, State: {state};\nAction: ",
    "smolvla": "{images}{instruction}\n",
}
# Whose instructions lose outer blanks, and have blanks for `_` and line ends.
BLANKS = ("pi05",)
PROCESSORS = {"pi0": "letterbox_centre", "pi05": "letterbox_centre", "smolvla": "letterbox_corner"}


@dataclass(frozen=True)
class Stack:
    """Dimensions of a stack of decoder layers. Keys and values of the language model's and the expert's fit together."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    eps: float


@dataclass(frozen=True)
class ExpertConfig:
    """Dimensions of a policy. `cross`: the expert's layers that read nothing but the prefix."""

    family: str
    vision: VisionConfig
    image: int
    text: Stack
    expert: Stack
    vocabulary: int
    cross: frozenset[int]
    max_state: int
    max_action: int
    horizon: int
    steps: int
    min_period: float
    max_period: float
    state_columns: int
    # Whether AdaRMS takes each action's own time (training-time real-time chunking).
    per_action: bool = False

    @property
    def gemma(self) -> bool:
        """Whether its layers are Gemma's: norms about one, tanh GELU."""
        return self.family != "smolvla"

    @property
    def adaptive(self) -> bool:
        """Whether time enters through the expert's norms."""
        return self.family == "pi05"

    @property
    def causal(self) -> bool:
        """Whether an action reads only those before it."""
        return self.family == "smolvla"

    @property
    def features(self) -> int:
        """Numbers of one token's keys and values in all layers."""
        return 2 * self.text.layers * self.text.kv_heads * self.text.head_dim

    @property
    def side(self) -> int:
        """Patches per side of an image."""
        return self.image // self.vision.patch

    @property
    def tokens(self) -> int:
        """Tokens of an image."""
        return self.side**2 // self.vision.merge**2


@dataclass(frozen=True)
class Expert:
    """A policy that was found complete. `prefixes` maps module paths to the beginnings of stored names."""

    folder: Path
    config: ExpertConfig
    weights: Weights
    prefixes: dict[str, str]
    normalisations: dict[str, str]


def kind(folder: Path) -> str:
    """Which of the families the folder's configuration names."""
    word = read_json(folder / "config.json").get("type")
    if word not in FAMILIES:
        expected = " or ".join(f"`{name}`" for name in FAMILIES)
        raise ExportError(folder / "config.json", expected, f"`{word}`", key="type")
    return word


def load(folder: Path, vlm: Path, policy) -> Expert:
    """Reads the policy's configuration and the headers of its weights; of the model it was made of, the folder `vlm`, the
    configuration (SmolVLM2) and the tokenizer. `policy` is the declaration."""
    family, path = kind(folder), folder / "config.json"
    raw = read_json(path)
    refuse(path, raw)
    weights = Weights.from_folder(folder)
    root = "model." if any(name.startswith("model.") for name in weights.entries) else ""
    names = _names(family, root, weights)
    shape = lambda module, name: _shape(weights, names[module], name)
    text, expert, cross, vision, image = (_smolvla if family == "smolvla" else _gemma)(raw, path, vlm, weights, names)
    patches = shape("vision", "embeddings.position_embedding.weight")[0]
    if patches != (image // vision.patch) ** 2:
        expected = f"{(image // vision.patch) ** 2} positions, those of an image of {image} pixels"
        raise ExportError(weights.files[0], expected, patches, key="position_embedding")
    config = ExpertConfig(
        family=family, vision=vision, image=image, text=text, expert=expert,
        vocabulary=_shape(weights, names.get("text.embed_tokens", names["text"] + ".embed_tokens"), "weight")[0],
        cross=cross, max_state=_count(path, raw, "max_state_dim"), max_action=_count(path, raw, "max_action_dim"),
        horizon=policy["action.horizon"] or _count(path, raw, "chunk_size"),
        steps=policy["denoise.steps"] or _count(path, raw, "num_steps" if family == "smolvla" else "num_inference_steps"),
        min_period=float(raw.get("min_period", 4e-3)), max_period=float(raw.get("max_period", 4.0)),
        state_columns=len(policy.state.names()), per_action=policy["head.adaln_time"] == "per_action",
    )  # fmt: skip
    for of, columns, most in (("state", config.state_columns, config.max_state), ("action", len(policy.action.names()), config.max_action)):
        if columns > most:
            raise ExportError(policy.path, f"at most the policy's {most} columns", columns, key=f"{of}.joints")
    if policy["head.adaln_time"] is not None and not config.adaptive:
        raise ExportError(policy.path, f"none, since `{family}` has no AdaRMS", "it", key="head.adaln_time")
    said = _said(path, raw)
    for of, word in said.items():
        declared = getattr(policy, of).normalisation
        if declared != word:
            raise ExportError(policy.path, f"`{word}`, as {path} has it", f"`{declared}`", key=f"{of}.normalisation")
    return Expert(folder, config, weights, names, said)


def refuse(path: Path, raw: dict) -> None:
    """What is not implemented."""
    for key, expected in (
        ("empty_cameras", 0), ("add_image_special_tokens", False), ("adapt_to_pi_aloha", False),
        ("use_delta_joint_actions_aloha", False), ("prefix_length", -1), ("attention_mode", "cross_attn"),
        ("n_obs_steps", 1), ("use_relative_actions", False),
    ):  # fmt: skip
        if raw.get(key, expected) != expected:
            raise ExportError(path, str(expected), raw[key], key=key)


def _names(family: str, root: str, weights: Weights) -> dict[str, str]:
    """Beginnings of stored names, by module."""
    if family == "smolvla":
        inner = f"{root}vlm_with_expert"
        out = {
            "vision": f"{inner}.vlm.model.vision_model", "connector": f"{inner}.vlm.model.connector.modality_projection.proj",
            "text": f"{inner}.vlm.model.text_model", "expert": f"{inner}.lm_expert",
        }  # fmt: skip
    else:
        inner = f"{root}paligemma_with_expert"
        # openpi's patched transformers, and that before 4.52, spell PaliGemma's parts without `model.`.
        there = lambda begin: any(name.startswith(begin) for name in weights.entries)
        stem = f"{inner}.paligemma.model" if there(f"{inner}.paligemma.model.") else f"{inner}.paligemma"
        text = f"{stem}.language_model"
        text = text if there(f"{text}.layers.") else f"{text}.model"
        tower = f"{stem}.vision_tower.vision_model"
        tower = tower if there(tower + ".") else f"{stem}.vision_tower"
        out = {"vision": tower, "connector": f"{stem}.multi_modal_projector.linear", "text": text, "expert": f"{inner}.gemma_expert.model"}
        # The table is tied to the scores of tokens, and safetensors keeps one name of the two.
        head = f"{inner}.paligemma.lm_head"
        if f"{text}.embed_tokens.weight" not in weights and f"{head}.weight" in weights:
            out["text.embed_tokens"] = head
    return out | {"flow": root.rstrip(".")}


def _shape(weights: Weights, stem: str, name: str) -> tuple[int, ...]:
    return weights.shape(f"{stem}.{name}")


def _count(path: Path, raw: dict, key: str) -> int:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ExportError(path, "an integer >= 1", value, key=key)
    return value


def _depth(weights: Weights, stem: str) -> int:
    """Layers whose names begin with `stem`."""
    numbers = {name[len(stem) + 1 :].split(".")[0] for name in weights.entries if name.startswith(stem + ".")}
    return len(numbers)


def _square(path: Path, raw: dict, key: str, default: int) -> int:
    sides = raw.get(key) or [default, default]
    if not isinstance(sides, list) or len(sides) != 2 or sides[0] != sides[1] or not isinstance(sides[0], int):
        raise ExportError(path, "two equal sides in pixels", sides, key=key)
    return sides[0]


def _tower(weights: Weights, names: dict[str, str], heads: int, merge: int, out: int) -> VisionConfig:
    shape = lambda name: _shape(weights, names["vision"], name)
    patch = shape("embeddings.patch_embedding.weight")
    return VisionConfig(
        depth=_depth(weights, names["vision"] + ".encoder.layers"), hidden=patch[0],
        intermediate=shape("encoder.layers.0.mlp.fc1.weight")[0], heads=heads, out=out, patch=patch[-1],
        temporal_patch=1, merge=merge, window=0, full_attention=(), position_table=0, deepstack=(),
    )  # fmt: skip


def _stack(weights: Weights, stem: str, layers: int, kv_heads: int, head_dim: int, eps: float) -> Stack:
    shape = lambda name: _shape(weights, stem, f"layers.0.{name}.weight")
    rows, width = shape("self_attn.q_proj")
    return Stack(width, layers, rows // head_dim, kv_heads, head_dim, shape("mlp.gate_proj")[0], eps)


def _gemma(raw: dict, path: Path, vlm: Path, weights: Weights, names: dict[str, str]):
    """PaliGemma and its expert. -> text, expert, cross, vision, image."""
    layers = _depth(weights, names["text"] + ".layers")
    head_dim = _shape(weights, names["text"], "layers.0.self_attn.k_proj.weight")[0] // GEMMA_KV_HEADS
    text, expert = (_stack(weights, names[of], layers, GEMMA_KV_HEADS, head_dim, GEMMA_EPS) for of in ("text", "expert"))
    deep = _depth(weights, names["expert"] + ".layers")
    if deep != layers or expert.heads != text.heads:
        expected = f"{layers} layers of {text.heads} heads in the expert, as in the language model"
        raise ExportError(weights.files[0], expected, f"{deep} of {expert.heads}", key=names["expert"])
    vision = _tower(weights, names, SIGLIP_HEADS, 1, text.width)
    return text, expert, frozenset(), vision, _square(path, raw, "image_resolution", 224)


def _smolvla(raw: dict, path: Path, vlm: Path, weights: Weights, names: dict[str, str]):
    """SmolVLM2's first layers and the expert. -> text, expert, cross, vision, image."""
    model = read_json(vlm / "config.json")
    words = model.get("text_config", {})
    for key, expected in (("hidden_act", "silu"), ("attention_bias", False)):
        if words.get(key, expected) != expected:
            raise ExportError(vlm / "config.json", str(expected), words[key], key=f"text_config.{key}")
    heads, kv_heads = (_count(vlm / "config.json", words, f"num_{of}_heads") for of in ("attention", "key_value"))
    layers = _depth(weights, names["text"] + ".layers")
    rows, _ = _shape(weights, names["text"], "layers.0.self_attn.q_proj.weight")
    head_dim, eps = rows // heads, float(words.get("rms_norm_eps", 1e-5))
    text, expert = (_stack(weights, names[of], layers, kv_heads, head_dim, eps) for of in ("text", "expert"))
    deep = _depth(weights, names["expert"] + ".layers")
    if deep != layers:
        raise ExportError(path, f"{layers} layers in the expert, as in the language model", deep, key="num_expert_layers")
    every = raw.get("self_attn_every_n_layers", 2)
    cross = frozenset(i for i in range(layers) if every <= 0 or i % every)
    seen = model.get("vision_config", {})
    image = _square(path, raw, "resize_imgs_with_padding", 512)
    vision = _tower(weights, names, _count(vlm / "config.json", seen, "num_attention_heads"), int(model.get("scale_factor", 4)), text.width)
    return text, expert, cross, vision, image


def _said(path: Path, raw: dict) -> dict[str, str]:
    """Normalisations that the configuration names, of `state` and `action`."""
    out = {}
    for key, word in (raw.get("normalization_mapping") or {}).items():
        of = {"STATE": "state", "ACTION": "action"}.get(key)
        if of is None:
            continue
        if word not in NORMALISATIONS:
            raise ExportError(path, " or ".join(NORMALISATIONS), word, key=f"normalization_mapping.{key}")
        out[of] = NORMALISATIONS[word]
    return out
