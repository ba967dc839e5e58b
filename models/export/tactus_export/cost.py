"""What one run of a graph costs at least: bytes of weights and arithmetic, for the floor under a benchmark.

Decides: what is counted. Every weight that takes part in arithmetic once, and of tables that rows are looked up in only
those rows; additions and multiplications of matrix products and attention, for the declared cameras and the prompt of
the first golden case; of `decoder`, for one token after that prompt. Does not decide: how fast a machine is.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch.utils.flop_counter import FlopCounterMode

from tactus_export.graphs import PRECISIONS, Graph

TABLES = ("embed_tokens", "pos_embed")


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    weight_bytes: int
    operations: int


def shapes(case: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a golden case's tensors, by name."""
    with safe_open(case, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}


def cost(graph: Graph, example: list[torch.Tensor], known: dict[str, tuple[int, ...]]) -> Cost | None:
    """Of `graph` on inputs without memory: like `example`, in the shapes that are `known`. None for the guided step:
    PyTorch does not count inside `torch.func.vjp`."""
    if graph.name == "denoise_vjp":
        return None
    known = known | {"x": known["noise"], "time": known["noise"][:2], "dt": (1,)}
    if graph.name == "decoder":
        known |= single_token(known)
    inputs = [torch.empty(known.get(name, t.shape), dtype=t.dtype, device="meta") for name, t in zip(graph.inputs, example)]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        graph.module(*inputs)
    size = PRECISIONS[graph.precision].itemsize
    rows = known["pixel_values"][0] if graph.name == "vision" else known["input_ids"][-1]
    # The table that scores tokens is read whole.
    tables = () if graph.name == "decoder" and graph.module.decoder.config.tied else TABLES
    numbers = 0
    for name, source in graph.sources.items():
        count = torch.Size(source.shape).numel()
        looked_up = any(table in name for table in tables)
        numbers += min(count, rows * source.shape[-1]) if looked_up else count
    return Cost(numbers * size, counter.get_total_flops())


def single_token(known: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shapes of one token that is no image's."""
    hidden = known["image_embeds"][-1]
    out = {"input_ids": (1, 1), "image_embeds": (1, hidden), "image_rows": (1,), "position_ids": (3, 1, 1)}
    return out | ({"deepstack": (known["deepstack"][0], 1, hidden)} if "deepstack" in known else {})
