"""Dimensions of a GR00T N1.5 or N1.7 action head, from its weights and the JSON beside them.

Decides: what is read off the weights (widths, layers, which optional parts exist) and what must be said by the
configuration (heads, horizon, buckets, steps), and what is refused because it would change the mathematics. Does not
decide: the mathematics (`head.py`).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tactus_export.checkpoint import read_json
from tactus_export.error import ExportError
from tactus_export.weights import Weights

PREFIX = "action_head."
# Keys of NVIDIA's configurations that change the mathematics: table, key, the value that is implemented. A missing key counts as
# this value. Of `positional_embeddings` NVIDIA's own default is another, "sinusoidal", but then each block's table
# (`pos_embed.pe`) is among the weights, which is refused below.
FIXED = (
    ("diffusion_model_cfg", "positional_embeddings", None), ("diffusion_model_cfg", "norm_type", "ada_norm"),
    ("diffusion_model_cfg", "norm_elementwise_affine", False), ("diffusion_model_cfg", "norm_eps", 1e-5),
    ("diffusion_model_cfg", "activation_fn", "gelu-approximate"), ("diffusion_model_cfg", "attention_bias", True),
    ("vl_self_attention_cfg", "positional_embeddings", None), ("vl_self_attention_cfg", "activation_fn", "gelu-approximate"),
    ("vl_self_attention_cfg", "attention_bias", True), (None, "exclude_state", False), (None, "state_history_length", 1),
)  # fmt: skip
# Tensors that only training reads: what stands for a state that is left out.
IDLE = ("mask_token",)


@dataclass(frozen=True)
class HeadConfig:
    """Dimensions. `width`: of the tokens; `out`: of the transformer's output; `features`: of what it attends to."""

    features: int
    width: int
    out: int
    heads: int
    layers: int
    interleaved: bool
    inner: int
    vl_layers: int
    vl_heads: int
    vl_inner: int
    vlln: bool
    future: int
    positions: bool
    horizon: int
    max_action: int
    max_state: int
    state_hidden: int
    decoder_hidden: int
    embodiments: int
    buckets: int
    steps: int
    per_action: bool
    state_columns: int = 0
    # GR00T N1.7's alternating head: every how many cross blocks one reads the other tokens, and not those of images; 0:
    # every block reads all. And how many image tokens there are, which come first among the features then.
    text_every: int = 0
    image_tokens: int = 0

    @property
    def cross(self) -> list[int]:
        """Blocks that attend to the features; the others attend to the tokens themselves."""
        return list(range(0, self.layers, 2 if self.interleaved else 1))

    def sees(self, block: int) -> str:
        """What a cross block reads: `all` features, those of `image` tokens, or those of the others (`text`)."""
        if not self.text_every:
            return "all"
        return "text" if block % (2 * self.text_every) == 0 else "image"


@dataclass(frozen=True)
class Head:
    """An action head that was found complete; `prefix` begins all its names."""

    config: HeadConfig
    weights: Weights
    prefix: str
    path: Path
    embodiment: int


def load(path: Path, policy, embodiment: int | None) -> Head:
    """Reads headers and configuration. `policy` may state what the configuration does not; `embodiment` as chosen on
    the command line, `None` when it was not."""
    weights = Weights([path])
    prefix = PREFIX if any(name.startswith(PREFIX) for name in weights.entries) else ""
    beside = [path.with_name(path.stem + "_config.json"), path.with_name("config.json")]
    file = next((candidate for candidate in beside if candidate.is_file()), None)
    if file is None:
        raise ExportError(path, f"its configuration in `{beside[0].name}` or `{beside[1].name}` beside it", "neither")
    raw = read_json(file)
    raw = raw.get("action_head_cfg", raw)
    config = _config(file, raw, weights, prefix)
    config = _declared(config, policy, raw, file)
    chosen = embodiment if embodiment is not None else policy["embodiment"]
    if chosen is None:
        if config.embodiments > 1:
            raise ExportError("--embodiment", f"a number in 0..{config.embodiments - 1} (the head has several)", "none")
        chosen = 0
    if not 0 <= chosen < config.embodiments:
        raise ExportError("--embodiment", f"a number in 0..{config.embodiments - 1}", chosen)
    return Head(config, weights, prefix, path, chosen)


def refuse(file: Path, raw: dict, vl_layers: int, positions: bool, vlln: bool) -> None:
    """What is not implemented, and what the weights contradict."""
    fixed = [fixed for fixed in FIXED if vl_layers or fixed[0] != "vl_self_attention_cfg"]
    for table, key, expected in (*fixed, (None, "add_pos_embed", positions), (None, "use_vlln", vlln)):
        of = raw if table is None else raw.get(table) or {}
        if (said := of.get(key, expected)) != expected:
            name = key if table is None else f"{table}.{key}"
            raise ExportError(file, json.dumps(expected), json.dumps(said), key=name)


def refuse_unread(head: Head, read: set[str]) -> None:
    """Tensors of the head that are not among those `read` by its graphs belong to mathematics that is not implemented."""
    idle = {head.prefix + name for name in IDLE}
    for name in sorted(head.weights.entries.keys() - read - idle):
        if name.startswith(head.prefix):
            raise ExportError(head.path, "only tensors that an action head of GR00T N1.5 or N1.7 reads", "it", key=name)


def _config(file: Path, raw: dict, weights: Weights, prefix: str) -> HeadConfig:
    shape = lambda name: weights.shape(prefix + name)
    has = lambda name: prefix + name in weights
    count = lambda stem: next(
        i for i in range(10_000) if not any(n.startswith(f"{prefix}{stem}.{i}.") for n in weights.entries)
    )

    def number(*paths: str, default: Any = None) -> int:
        for path in paths:
            value: Any = raw
            for part in path.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                    raise ExportError(file, "an integer >= 1", value, key=path)
                return value
        if default is None:
            raise ExportError(file, "an integer", "nothing", key=" or ".join(paths))
        return default

    vl_stem = "vl_self_attention.transformer_blocks"
    vl_layers = count(vl_stem)
    categories, max_state, state_hidden = _three(weights, prefix + "state_encoder.layer1.W")
    _, max_action, width = _three(weights, prefix + "action_encoder.W1.W")
    _, out, decoder_hidden = _three(weights, prefix + "action_decoder.layer1.W")
    interleaved = raw.get("diffusion_model_cfg", {}).get("interleave_self_attention", True)
    config = HeadConfig(
        features=shape("model.transformer_blocks.0.attn1.to_k.weight")[-1], width=width, out=out,
        heads=number("diffusion_model_cfg.num_attention_heads", "num_heads"),
        layers=count("model.transformer_blocks"), interleaved=bool(interleaved),
        inner=shape("model.transformer_blocks.0.ff.net.0.proj.weight")[0], vl_layers=vl_layers,
        vl_heads=number("vl_self_attention_cfg.num_attention_heads", "num_heads") if vl_layers else 0,
        vl_inner=shape(f"{vl_stem}.0.ff.net.0.proj.weight")[0] if vl_layers else 0, vlln=has("vlln.weight"),
        future=shape("future_tokens.weight")[0] if has("future_tokens.weight") else 0,
        positions=has("position_embedding.weight"), horizon=number("action_horizon"), max_action=max_action,
        max_state=max_state, state_hidden=state_hidden, decoder_hidden=decoder_hidden, embodiments=categories,
        buckets=number("num_timestep_buckets"), steps=number("num_inference_timesteps"),
        per_action=raw.get("adaln_time", "global") == "per_action",
    )  # fmt: skip
    refuse(file, raw, vl_layers, config.positions, config.vlln)
    if raw.get("use_alternate_vl_dit", False):
        if not interleaved:
            raise ExportError(file, "true, as the blocks of the alternating head do", False, key="interleave_self_attention")
        config = replace(config, text_every=number("attend_text_every_n_blocks", default=2))
    if raw.get("adaln_time", "global") not in ("global", "per_action"):
        raise ExportError(file, "`global` or `per_action`", raw["adaln_time"], key="adaln_time")
    for key, actual in (
        ("max_action_dim", max_action),
        ("max_state_dim", max_state),
        ("max_num_embodiments", categories),
    ):
        if (said := number(key, default=actual)) != actual:
            raise ExportError(file, f"{actual}, as in the weights", said, key=key)
    for key, size, heads in (
        ("num_attention_heads", width, config.heads),
        ("vl_self_attention_cfg", config.features, config.vl_heads),
    ):
        if heads and size % heads:
            raise ExportError(file, f"a divisor of the width {size}", heads, key=key)
    return config


def _three(weights: Weights, name: str) -> tuple[int, int, int]:
    shape = weights.shape(name)
    if len(shape) != 3:
        raise ExportError(weights.entry(name).file, "shape [embodiments, in, out]", list(shape), key=name)
    return shape


def _declared(config: HeadConfig, policy, raw: dict, file: Path) -> HeadConfig:
    """What the policy declares must agree with the head, or state what the head leaves open."""
    horizon = policy["action.horizon"]
    if horizon is not None and horizon != config.horizon:
        raise ExportError(policy.path, f"{config.horizon}, the head's action_horizon", horizon, key="action.horizon")
    word = policy["head.adaln_time"]
    if word is not None and raw.get("adaln_time", word) != word:
        raise ExportError(policy.path, f"`{raw['adaln_time']}`, as in {file.name}", word, key="head.adaln_time")
    if policy["action.max_prefix"] >= config.horizon:
        raise ExportError(
            policy.path, f"less than the horizon {config.horizon}", policy["action.max_prefix"], key="action.max_prefix"
        )
    for of, vector, limit in (("state", policy.state, config.max_state), ("action", policy.action, config.max_action)):
        if len(vector.names()) > limit:
            raise ExportError(
                policy.path, f"at most {limit} columns, as the head has", len(vector.names()), key=f"{of}.joints"
            )
    return replace(
        config, steps=policy["denoise.steps"] or config.steps, state_columns=len(policy.state.names()),
        per_action=config.per_action if word is None else word == "per_action",
    )  # fmt: skip
