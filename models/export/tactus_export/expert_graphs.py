"""The graphs of a policy whose expert reads a language model's keys and values: `graphs.py` for `expert.py`.

Decides: names, order and dynamic dimensions of the tensors. They are those of every other bundle, so that the runtime's path
is the same: `features` are the keys and values of all layers side by side, and what `context` makes of them and the state is
what every step reads. Does not decide: what a graph computes.
"""

import torch
from torch import nn

from tactus_export.expert import Context, Denoiser, Prefix, Tower
from tactus_export.expert_config import Expert, ExpertConfig
from tactus_export.graphs import LONGEST, PRECISIONS, Denoise, DenoiseVjp, Graph
from tactus_export.source import sources

NAMES = ("vision", "backbone", "context", "denoise", "denoise_vjp")


class Inner(nn.Module):
    """A module under a name of its own, which prefixes of weights go by."""

    def __init__(self, name: str, module: nn.Module):
        super().__init__()
        self.add_module(name, module)

    def forward(self, *inputs):
        return next(self.children())(*inputs)


class Step(Denoise):
    """One Euler step."""

    def __init__(self, config: ExpertConfig):
        nn.Module.__init__(self)
        self.head = Denoiser(config)


class GuidedStep(DenoiseVjp):
    """One guided Euler step."""

    def __init__(self, config: ExpertConfig):
        nn.Module.__init__(self)
        self.head = Denoiser(config, plain=True)


def context_names(config: ExpertConfig) -> tuple[str, ...]:
    """Names of what `context` makes: keys and values of each layer."""
    return tuple(f"ctx.{part}{i}" for i in range(config.text.layers) for part in "kv")


def build(name: str, expert: Expert, precision: str) -> Graph:
    """The graph `name`. Its module has no memory: parameters are on the meta device, in the graph's precision."""
    c, names = expert.config, expert.prefixes
    layers = lambda of: names[of] + ".layers"
    patches, images, length = {0: "patches"}, {0: "tokens"}, {1: "length"}
    context = context_names(c)
    cached = {key: {2: "read"} for key in context}
    step = {"x": {}, "time": {}, "dt": {}, "prefix": {}, "prefix_mask": {}}
    with torch.device("meta"):
        match name:
            case "vision":
                module, outputs = Inner("tower", Tower(c)), ("image_embeds",)
                inputs = {"pixel_values": patches, "pos_ids": patches, "seg_full": patches}
                prefixes = {"tower.vision": names["vision"], "tower.connector": names["connector"]}
            case "backbone":
                module, outputs = Inner("prefix", Prefix(c)), ("features",)
                inputs = {"input_ids": length, "image_embeds": images, "image_rows": images, "position_ids": {2: "length"}}
                prefixes = {"prefix.text": names["text"]}
                if "text.embed_tokens" in names:
                    prefixes["prefix.text.embed_tokens"] = names["text.embed_tokens"]
            case "context":
                module, outputs = Inner("context", Context(c)), context
                inputs = {"features": length, "state": {}}
                own = layers("expert" if c.gemma else "text")
                prefixes = {"context": names["flow"], "context.layers": own, "context.cross": layers("expert")}
            case "denoise" | "denoise_vjp":
                guided = {"target": {}, "weight": {}, "guidance": {}} if name == "denoise_vjp" else {}
                module, outputs = (GuidedStep if guided else Step)(c), ("x_next",)
                inputs = step | guided | cached
                prefixes = {"head": names["flow"], "head.layers": layers("expert"), "head.norm": names["expert"] + ".norm"}
        for parameter in module.parameters():
            parameter.data = parameter.data.to(PRECISIONS[precision])
            parameter.requires_grad_(False)
    stem, inner = next(iter(module.named_children()))
    table = sources(module, expert.weights, prefixes)
    constants = {f"{stem}.{key}": value for key, value in getattr(inner, "constants", dict)().items()}
    module.constants = lambda: constants
    return Graph(name, tuple(inputs), tuple(outputs), tuple(inputs.values()), module.eval(), table, precision)


def example(graph: Graph, c: ExpertConfig) -> list[torch.Tensor]:
    """Inputs without memory, of shapes that no dimension shares by accident with another."""
    cameras, length = 3, 41
    units, patches = cameras * c.tokens, cameras * c.side**2
    chunk, ids, real = (1, c.horizon, c.max_action), torch.long, torch.float
    known = {
        "pixel_values": ((patches, c.vision.row), real), "pos_ids": ((patches, 2), ids), "seg_full": ((patches,), ids),
        "input_ids": ((1, length), ids), "image_embeds": ((units, c.text.width), real), "image_rows": ((units,), ids),
        "position_ids": ((3, 1, length), ids), "features": ((1, length, c.features), real),
        "state": ((1, c.state_columns), real), "x": (chunk, real), "time": (chunk[:2], real), "dt": ((1,), real),
        "prefix": (chunk, real), "prefix_mask": (chunk[:2], real), "target": (chunk, real),
        "weight": (chunk[:2], real), "guidance": ((1,), real),
    }  # fmt: skip
    known |= {name: ((1, c.text.kv_heads, length + 1, c.text.head_dim), real) for name in context_names(c)}
    return [torch.empty(known[name][0], dtype=known[name][1], device="meta") for name in graph.inputs]


def dimensions(graph: Graph, c: ExpertConfig) -> tuple[dict[int, object], ...]:
    """Dynamic dimensions for `torch.export`; patches and tokens are those of whole images."""
    dim = lambda name, least=2: torch.export.Dim(name, min=least, max=LONGEST)
    images = torch.export.Dim("images", min=1, max=64)
    known = {"patches": c.side**2 * images, "tokens": c.tokens * images, "length": dim("length"), "read": dim("read", 3)}
    return tuple({axis: known[name] for axis, name in axes.items()} for axes in graph.axes)
