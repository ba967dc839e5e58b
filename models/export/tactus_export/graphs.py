"""The graphs of a bundle: which there are, their inputs and outputs, and the modules that become them.

Decides: names, order and dynamic dimensions of the tensors; one Euler step, guided or not. This is the contract with
the runtime. Does not decide: how a module becomes ONNX (`lower.py`).

P patches of all images, N image tokens, S prompt tokens, L places of a cache, H horizon, A action width. Float tensors are single
precision at every edge, whatever a graph's own precision is, but for the cache of `decoder`, which has the graph's; ids
and indices are int64.
"""

from dataclasses import dataclass

import torch
from torch import nn

from tactus_export.checkpoint import Checkpoint
from tactus_export.generate import Generator, cache_names
from tactus_export.head import Context, Denoiser
from tactus_export.head_config import Head, HeadConfig
from tactus_export.source import Source, sources
from tactus_export.text import Decoder
from tactus_export.vision import tower

NAMES = ("vision", "backbone", "context", "denoise", "denoise_vjp", "decoder")
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
LONGEST = 65536


class Vision(nn.Module):
    """pixel_values and index tensors -> image_embeds (and deepstack)."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.tower = tower(checkpoint.vision)

    def forward(self, *inputs):
        return self.tower(*inputs)


class Backbone(nn.Module):
    """Token ids and image tokens -> features; with `sorted_`, those of image tokens first, as N1.7's head wants them."""

    def __init__(self, checkpoint: Checkpoint, layers: int, post_norm: bool, padded: bool, sorted_: bool):
        super().__init__()
        self.sorted = sorted_
        levels = min(len(checkpoint.vision.deepstack), layers)
        self.decoder = Decoder(checkpoint.text, layers, post_norm, levels, padded)

    def forward(self, *inputs):
        features = self.decoder(*inputs)
        return images_first(features, inputs[2]) if self.sorted else features


def images_first(features: torch.Tensor, image_rows: torch.Tensor) -> torch.Tensor:
    """[1, S, hidden] with the rows `image_rows` [N], which are in order, before the others."""
    x = features[0]
    image = torch.zeros_like(x[:, 0], dtype=torch.long).index_put((image_rows,), torch.ones_like(image_rows))
    other = 1 - image
    # The sum and not the length of `image_rows`: a graph that computes with a shape cannot be captured on a GPU.
    place = torch.where(image > 0, image.cumsum(0) - 1, image.sum() + other.cumsum(0) - 1)
    return torch.zeros_like(x).index_put((place,), x)[None]


class HeadContext(nn.Module):
    """Features and state -> what the steps need of them."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.head = Context(config)

    def forward(self, *inputs):
        return self.head(*inputs)


class Denoise(nn.Module):
    """One Euler step with committed actions held at their value and at time 1."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.head = Denoiser(config)

    def forward(self, *inputs):
        x, time, dt, prefix, prefix_mask, *context = inputs
        held = prefix_mask[..., None] > 0.5
        x = torch.where(held, prefix, x)
        time = torch.where(prefix_mask > 0.5, torch.ones_like(time), time)
        v = self.head.velocity(x, time, context)
        return torch.where(held, prefix, x + dt * v)


class DenoiseVjp(nn.Module):
    """One guided Euler step (real-time chunking, arXiv 2506.07339, eq. 2-4): the velocity is corrected by the gradient
    that draws the chunk to which it leads towards `target`, as far as `weight` [1, H] says. `guidance` [1] comes from
    the runtime."""

    def __init__(self, config: HeadConfig):
        super().__init__()
        self.head = Denoiser(config, plain=True)

    def forward(self, *inputs):
        x, time, dt, prefix, prefix_mask, target, weight, guidance, *context = inputs
        held = prefix_mask[..., None] > 0.5
        x = torch.where(held, prefix, x)
        time = torch.where(prefix_mask > 0.5, torch.ones_like(time), time)

        def lead(start):
            v = self.head.velocity(start, time, context)
            return start + (1.0 - time)[..., None] * v, v

        end, back, v = torch.func.vjp(lead, x, has_aux=True)
        (correction,) = back(weight[..., None] * (target - end))
        return torch.where(held, prefix, x + dt * (v + guidance * correction))


class Generate(nn.Module):
    """Token ids, image tokens and what came before -> scores of the next token."""

    def __init__(self, checkpoint: Checkpoint):
        super().__init__()
        self.decoder = Generator(checkpoint.text, len(checkpoint.vision.deepstack))

    def forward(self, *inputs):
        return self.decoder(*inputs)


@dataclass(frozen=True)
class Graph:
    """One graph. `axes`: for each input its dynamic dimensions, by the name of the dimension."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: tuple[dict[int, str], ...]
    module: nn.Module
    sources: dict[str, Source]
    precision: str


def context_names(config: HeadConfig) -> tuple[str, ...]:
    """Names of what `context` makes: the state token, then keys and values of each cross-attention block."""
    return ("ctx.state", *(f"ctx.{part}{n}" for n in range(len(config.cross)) for part in "kv"))


def _seen(config: HeadConfig) -> list[str]:
    """What each of `context_names` but the first is of, as `HeadConfig.sees` says it."""
    return [config.sees(i) for i in config.cross for _ in "kv"]


def build(name: str, checkpoint: Checkpoint, head: Head, policy, layers: int, precision: str) -> Graph:
    """The graph `name`. Its module has no memory: parameters are on the meta device, in the graph's precision."""
    with torch.device("meta"):
        module, inputs, outputs = _module(name, checkpoint, head, policy, layers)
        parameters = PRECISIONS[precision]
        for parameter in module.parameters():
            parameter.data = parameter.data.to(parameters)
            parameter.requires_grad_(False)
    inner = next(iter(module.children()))
    stem = next(iter(dict(module.named_children())))
    weights, prefixes, row = checkpoint.weights, checkpoint.prefixes, 0
    if stem == "head":
        weights, prefixes, row = head.weights, {"head": head.prefix.rstrip(".")}, head.embodiment
    table = sources(module, weights, prefixes, row)
    constants = {f"{stem}.{key}": value for key, value in getattr(inner, "constants", dict)().items()}
    module.constants = lambda: constants
    return Graph(name, tuple(inputs), tuple(outputs), tuple(inputs.values()), module.eval(), table, precision)


def _module(name: str, checkpoint: Checkpoint, head: Head, policy, layers: int) -> tuple[nn.Module, dict, tuple]:
    """-> module, inputs with their dynamic dimensions, outputs."""
    config, vision = head.config, checkpoint.vision
    patches, units, length = {0: "patches"}, {0: "units"}, {1: "length"}
    levels = {"deepstack": {1: "units"}} if vision.deepstack else {}
    context = context_names(config)
    # Of N1.7's head, keys of image tokens have a fixed number; features are longer than that.
    length_of = {"all": length, "image": {}, "text": length}
    cached = {"ctx.state": {}} | {key: length_of[sees] for key, sees in zip(context[1:], _seen(config))}
    whole = {1: f"over_{config.image_tokens}"} if config.text_every else length
    step = {"x": {}, "time": {}, "dt": {}, "prefix": {}, "prefix_mask": {}}
    match name:
        case "vision":
            index = (
                {"window_index": units, "seg_full": patches, "seg_window": patches}
                if vision.windows
                else {"interp_index": patches, "interp_weight": patches, "seg_full": patches}
            )
            inputs = {"pixel_values": patches, "pos_ids": patches} | index
            return Vision(checkpoint), inputs, ("image_embeds", *levels)
        case "backbone":
            padded = policy["backbone.padding"] != "none"
            inputs = {"input_ids": length, "image_embeds": units, "image_rows": units, "position_ids": {2: "length"}}
            inputs |= levels | ({"attention_mask": length} if padded else {})
            post, sorted_ = policy["backbone.norm"] == "post", config.text_every > 0
            return Backbone(checkpoint, layers, post, padded, sorted_), inputs, ("features",)
        case "context":
            return HeadContext(config), {"features": whole, "state": {}}, context
        case "denoise":
            return Denoise(config), step | cached, ("x_next",)
        case "denoise_vjp":
            guided = {"target": {}, "weight": {}, "guidance": {}}
            return DenoiseVjp(config), step | guided | cached, ("x_next",)
        case "decoder":
            names = cache_names(checkpoint.text)
            inputs = {"input_ids": length, "image_embeds": units, "image_rows": units, "position_ids": {2: "length"}}
            inputs |= levels | {"start": {}} | {f"past.{name}": {1: "cache"} for name in names}
            return Generate(checkpoint), inputs, ("logits", *(f"present.{name}" for name in names))
    raise AssertionError(name)


def example(graph: Graph, checkpoint: Checkpoint, head: Head) -> list[torch.Tensor]:
    """Inputs without memory, of shapes that no dimension shares by accident with another."""
    c, vision = head.config, checkpoint.vision
    units, length = 24, 37
    merge = vision.merge**2
    patches = units * merge
    hidden = checkpoint.text.hidden
    chunk = (1, c.horizon, c.max_action)
    keys = lambda sees: (1, c.image_tokens if sees == "image" else length, c.width)
    whole = c.image_tokens + length if c.text_every else length
    text = checkpoint.text
    cache = ((text.kv_heads, 64, text.head_dim), PRECISIONS[graph.precision])
    ids, real = torch.long, torch.float
    known = {
        "pixel_values": ((patches, vision.row), real), "pos_ids": ((patches, 2), ids),
        "window_index": ((units,), ids), "seg_full": ((patches,), ids), "seg_window": ((patches,), ids),
        "interp_index": ((patches, 4), ids), "interp_weight": ((patches, 4), real),
        "input_ids": ((1, length), ids), "image_embeds": ((units, hidden), real), "image_rows": ((units,), ids),
        "position_ids": ((3, 1, length), ids), "deepstack": ((len(vision.deepstack), units, hidden), real),
        "attention_mask": ((1, length), ids), "features": ((1, whole, hidden), real),
        "state": ((1, c.state_columns), real), "x": (chunk, real), "time": (chunk[:2], real), "dt": ((1,), real),
        "prefix": (chunk, real), "prefix_mask": (chunk[:2], real), "target": (chunk, real),
        "weight": (chunk[:2], real), "guidance": ((1,), real), "ctx.state": ((1, 1, c.width), real),
    }  # fmt: skip
    known |= {name: (keys(sees), real) for name, sees in zip(context_names(c)[1:], _seen(c))}
    known |= {"start": ((1,), ids)} | {f"past.{name}": cache for name in cache_names(text)}
    return [torch.empty(known[name][0], dtype=known[name][1], device="meta") for name in graph.inputs]


def dimensions(graph: Graph, merge: int) -> tuple[dict[int, object], ...]:
    """Dynamic dimensions for `torch.export`; patches are merge^2 times the units."""
    unit = torch.export.Dim("units", min=2, max=LONGEST)
    known = {"units": unit, "patches": merge**2 * unit}
    known |= {name: torch.export.Dim(name, min=2, max=LONGEST) for name in ("length", "cache")}
    over = lambda name: torch.export.Dim("length", min=int(name.removeprefix("over_")) + 2, max=LONGEST)
    dim = lambda name: known[name] if name in known else over(name)
    return tuple({axis: dim(name) for axis, name in axes.items()} for axes in graph.axes)
