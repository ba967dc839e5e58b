"""PyTorch's side: a bundle's graphs as the modules that they were exported of, run eagerly, compiled, or as one CUDA graph.

Decides: what a chunk is in PyTorch (vision, language model and context once, then all denoising steps), how its times are taken,
and what its error is: that of one denoising step from golden inputs, as `tactus bundle verify` has it for the engine.
"""

import copy
import math
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from tactus_export import bundle, graphs
from tactus_export.source import materialise

WARM_UP = 5
STAGES = ("vision", "backbone", "context", "denoise")


class Chain:
    """The graphs of a bundle as PyTorch modules."""

    def __init__(self, job: bundle.Job, device: str):
        names = {n: graphs.build(n, job.checkpoint, job.head, job.policy, job.layers, job.precisions[n]) for n in STAGES}
        self.graphs = names
        self.modules = {n: materialise(g.module, g.sources).to(device) for n, g in names.items()}
        self.steps = job.head.config.steps
        self.device = device

    def compiled(self) -> "Chain":
        """The same modules, compiled; the weights are shared."""
        out = copy.copy(self)
        out.modules = {name: torch.compile(module) for name, module in self.modules.items()}
        return out

    def run(self, known: dict[str, torch.Tensor]) -> torch.Tensor:
        """All graphs over a golden case's inputs. -> the last x [1, H, A]."""
        known = dict(known)
        with torch.inference_mode():
            for name in STAGES[:3]:
                graph = self.graphs[name]
                made = self.modules[name](*(known[i] for i in graph.inputs))
                known |= zip(graph.outputs, made if isinstance(made, tuple) else (made,))
            x = known["noise"]
            for k in range(self.steps):
                x = self.step(known, k, x)
        return x

    def step(self, known: dict[str, torch.Tensor], k: int, x: torch.Tensor) -> torch.Tensor:
        """Denoising step `k` of `x`."""
        known = known | {"x": x, "time": known[f"time.{k}"]}
        with torch.inference_mode():
            return self.modules["denoise"](*(known[i] for i in self.graphs["denoise"].inputs))

    def step_error(self, cases: list[dict[str, torch.Tensor]]) -> float:
        """Largest error of one denoising step from golden inputs, over all steps and cases, of the golden output's scale."""
        errors = [
            relative(self.step(known, k, known[f"x.{k}" if k else "noise"]), known[f"x.{k + 1}"])
            for known in cases
            for k in range(self.steps)
        ]
        return float(torch.stack(errors).max())


class Captured:
    """A chain's whole chunk as one CUDA graph, captured at the first call. Not `reduce-overhead`, which captures each module by
    itself and may overwrite the context between two steps."""

    def __init__(self, chain: Chain, known: dict[str, torch.Tensor]):
        self.chain, self.known, self.graph, self.x = chain, known, None, None

    def __call__(self) -> torch.Tensor:
        """-> the last x, which the next call overwrites."""
        if self.graph is None:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self.chain.run(self.known)
            torch.cuda.current_stream().wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.x = self.chain.run(self.known)
            self.graph = graph
        self.graph.replay()
        return self.x


def relative(made: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Largest error, of the largest magnitude that is wanted."""
    return (made.float() - wanted.float()).abs().max() / wanted.float().abs().max()


def cases(golden: Path, chain: Chain) -> list[dict[str, torch.Tensor]]:
    """Each golden case's tensors, and what the runtime computes beside them."""
    out = []
    for path in sorted(golden.glob("case-*.safetensors")):
        known = {name: value.to(chain.device) for name, value in load_file(path).items()}
        known["dt"] = torch.tensor([1.0 / chain.steps], device=chain.device)
        for k in range(chain.steps):
            known[f"time.{k}"] = torch.full(known["prefix_mask"].shape, k / chain.steps, device=chain.device)
        out.append(known)
    return out


def timed(run, device: str, chunks: int) -> dict[str, float]:
    """Milliseconds of a chunk, which `run` makes."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for i in range(WARM_UP + chunks):
        wait()
        begun = time.perf_counter()
        run()
        wait()
        if i >= WARM_UP:
            times.append(1e3 * (time.perf_counter() - begun))
    return quantiles(times)


def quantiles(times: list[float]) -> dict[str, float]:
    """Median, 99 % and largest: the smallest time that so large a share of all is no longer than."""
    ordered = sorted(times)
    at = lambda share: ordered[math.ceil(share * len(ordered)) - 1]
    return {"p50": at(0.5), "p99": at(0.99), "max": ordered[-1]}
