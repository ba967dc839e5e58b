"""One export from inputs to a finished bundle.

Decides: the order of the work, that all inputs are checked before anything heavy begins, and that a bundle appears at
its place complete or not at all. Does not decide: what any step does.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from tactus_export import (
    actions,
    cell,
    checkpoint,
    cost,
    golden,
    graphs,
    head_config,
    images,
    manifest,
    policy,
    prompt,
    stats,
    verify,
    weights,
)
from tactus_export.data_file import DataFile
from tactus_export.error import ExportError
from tactus_export.lower import finish, lower
from tactus_export.reference import Reference, load_tokenizer
from tactus_export.reference_decoder import ReferenceDecoder
from tactus_export.reference_head import ReferenceHead


@dataclass(frozen=True)
class Request:
    """What the command line said."""

    mllm: Path
    head: Path
    stats: Path
    cell: Path
    out: Path
    policy: Path
    precision: dict[str, str]
    layers: int | None = None
    embodiment: int | None = None
    vjp: bool = True
    images: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class Job:
    """All inputs, read and found to agree."""

    checkpoint: checkpoint.Checkpoint
    head: head_config.Head
    policy: policy.Policy
    cell: cell.Cell
    stats: stats.Stats
    processor: images.Processor
    tokenizer: object
    template: str
    layers: int
    precisions: dict[str, str]

    @property
    def steps(self) -> int:
        """Euler steps."""
        return self.head.config.steps

    def graph(self, name: str, precision: str) -> graphs.Graph:
        """The graph `name`."""
        return graphs.build(name, self.checkpoint, self.head, self.policy, self.layers, precision)

    def traced(self, graph: graphs.Graph) -> tuple[list, tuple]:
        """Inputs to trace a graph with, and which of their dimensions stay open."""
        return graphs.example(graph, self.checkpoint, self.head), graphs.dimensions(graph, self.checkpoint.vision.merge)


def prepare(request: Request) -> Job:
    """Reads and checks every input; nothing is written and no weight is loaded."""
    if request.out.exists() and not request.force:
        raise ExportError("--out", "a folder that does not exist yet (or --force)", request.out)
    if not request.out.absolute().parent.is_dir():
        raise ExportError("--out", "a folder in an existing folder", request.out)
    if request.images is not None and not request.images.is_dir():
        raise ExportError("--images", "a folder", request.images)
    cell_ = cell.load(request.cell, policy.camera_sizes(request.policy))
    policy_ = policy.load(request.policy, cell_.joints)
    checkpoint_ = checkpoint.load(request.mllm)
    layers = request.layers if request.layers is not None else policy_["backbone.layers"]
    if layers is None:
        raise ExportError(
            policy_.path, "the number of decoder layers, here or as --layers", "nothing", key="backbone.layers"
        )
    if not 1 <= layers <= checkpoint_.text.layers:
        raise ExportError(
            "--layers or `backbone.layers`", f"1..={checkpoint_.text.layers}, the layers of the checkpoint", layers
        )
    if layers < len(checkpoint_.vision.deepstack):
        raise ExportError(
            "--layers or `backbone.layers`",
            f"at least {len(checkpoint_.vision.deepstack)}, the levels of DeepStack",
            layers,
        )
    decoder = policy_["decoder.max_length"] is not None
    precisions = precision_of_graphs(request.precision, checkpoint_.family, request.vjp, decoder)
    longest = checkpoint_.text.positions
    if decoder and policy_["decoder.max_length"] > longest:
        raise ExportError(
            policy_.path, f"at most {longest}, the positions of the checkpoint", policy_["decoder.max_length"],
            key="decoder.max_length",
        )  # fmt: skip
    head = head_config.load(request.head, policy_, request.embodiment)
    if head.config.features != checkpoint_.text.hidden:
        raise ExportError(
            request.head, f"{checkpoint_.text.hidden} features, the width of the language model", head.config.features,
            key="model.transformer_blocks.0.attn1.to_k.weight",
        )  # fmt: skip
    if actions.ANCHORED[policy_["action.representation"]]:
        for joint in policy_.action.joints:
            if joint not in policy_.state.joints:
                raise ExportError(
                    policy_.path, f"`{joint}`, which the actions are relative to", "no such joint", key="state.joints"
                )
    stats_ = stats.load(request.stats, policy_)
    processor = images.load(request.mllm, checkpoint_.vision, policy_)
    for camera in cell_.cameras:
        processor.grid(camera)
    if head.config.text_every:
        head = alternating(head, checkpoint_, policy_, [processor.grid(camera) for camera in cell_.cameras])
    tokens = {policy_["prompt.image_token"]: "prompt.image_token"}
    if policy_["backbone.padding"] != "none":
        tokens[policy_["prompt.pad_token"]] = "prompt.pad_token"
    # Not part of any prompt, but a tokenizer without them is not the one that the checkpoint was aligned with.
    for name in ("vision.bars", "prompt.state_columns"):
        if policy_[name] is not None:
            raise ExportError(policy_.path, "none for a model of this kind", policy_[name], key=name)
    tokens |= {token: "prompt.action_tokens" for token in policy_["prompt.action_tokens"] or ()}
    if decoder:
        tokens |= spoken(request.mllm, policy_)
    checkpoint.check_tokenizer(checkpoint_, tokens)
    tokenizer = load_tokenizer(checkpoint_)
    template = prompt.template(checkpoint_, policy_, tokenizer)
    marked = {marker: "prompt.template" for marker in prompt.markers(template)}
    marked |= {marker: "prompt.image" for marker in prompt.markers(policy_["prompt.image"])}
    checkpoint.check_tokenizer(checkpoint_, tokens | marked)
    job = Job(checkpoint_, head, policy_, cell_, stats_, processor, tokenizer, template, layers, precisions)
    # Building a graph's module costs nothing and finds missing names and wrong shapes now.
    made = [job.graph(name, precision) for name, precision in precisions.items()]
    read = {source.key for graph in made for source in graph.sources.values() if source.weights is head.weights}
    head_config.refuse_unread(head, read)
    return job


def alternating(head, checkpoint_, policy_, grids: list[tuple[int, int]]) -> head_config.Head:
    """GR00T N1.7's head with the number of image tokens, which has to be fixed, as the number of cameras is."""
    if checkpoint_.family not in manifest.ALTERNATING:
        expected = "a checkpoint of " + " or ".join(manifest.ALTERNATING)
        raise ExportError(head.path, expected, checkpoint_.family, key="use_alternate_vl_dit")
    if policy_["backbone.padding"] != "none":
        expected = "`none`, as the alternating head reads tokens only"
        raise ExportError(policy_.path, expected, policy_["backbone.padding"], key="backbone.padding")
    tokens = sum(rows * columns for rows, columns in grids) // checkpoint_.vision.merge**2
    return replace(head, config=replace(head.config, image_tokens=tokens))


def spoken(mllm: Path, policy_: policy.Policy) -> dict[str, str]:
    """Tokens that the decoder is told by, and what for: each must be one token."""
    out = {token: "decoder.eos" for token in policy_["decoder.eos"] or manifest.EOS}
    marks, token = policy_["decoder.fast.marks"], policy_["decoder.fast.token"]
    if marks is None:
        return out
    config = checkpoint.read_json(mllm / manifest.FAST[1])
    count = len(checkpoint.read_json(mllm / manifest.FAST[0]).get("model", {}).get("vocab", ()))
    if config.get("dims") != len(policy_.action.names()):
        raise ExportError(
            mllm / manifest.FAST[1], f"{len(policy_.action.names())}, the columns of an action", config.get("dims"), key="dims"
        )
    out |= {mark: "decoder.fast.marks" for mark in marks}
    return out | {token.replace("{n}", str(n)): "decoder.fast.token" for n in range(count)}


def precision_of_graphs(given: dict[str, str], family: str, vjp: bool, decoder: bool = False) -> dict[str, str]:
    """Precision of every graph; `given` may hold `*` for those it does not name."""
    left_out = {"denoise_vjp": not vjp, "decoder": not decoder}
    names = [name for name in graphs.NAMES if not left_out.get(name)]
    for name in given:
        if name != "*" and name not in names:
            raise ExportError("--precision", " or ".join(f"`{n}`" for n in names), f"`{name}`")
    out = {name: given.get(name, given.get("*", "fp32")) for name in names}
    if "denoise_vjp" in out and "denoise_vjp" not in given and "denoise" in given:
        out["denoise_vjp"] = given["denoise"]
    if "decoder" in out and "decoder" not in given and "backbone" in given:
        # The layers that both have are stored once.
        out["decoder"] = given["backbone"]
    if family == "qwen2_5_vl" and out["vision"] == "fp16":
        raise ExportError(
            "--precision", "fp32 or bf16 for the vision tower of Qwen2.5-VL (its activations exceed fp16)",
            "fp16", key="vision",
        )  # fmt: skip
    return out


@contextmanager
def appearing(out: Path, force: bool) -> Iterator[Path]:
    """A folder beside `out` that becomes `out` when the block ends well, and is removed when it does not."""
    out = out.absolute()
    folder = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        folder.mkdir()
        yield folder
        if out.exists():
            if not force:
                raise ExportError("--out", "a folder that does not exist yet (or --force)", out)
            old = out.with_name(f".{out.name}.{os.getpid()}.old")
            out.rename(old)
            folder.rename(out)
            shutil.rmtree(old)
        else:
            folder.rename(out)
    except OSError as error:
        raise ExportError("--out", "a folder that can be written", error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def export(request: Request) -> list[verify.Row]:
    """Runs a whole export. -> the rows of the verification, all of them good."""
    job = prepare(request)
    revision = weights.revision([*job.checkpoint.weights.files, request.head])
    with appearing(request.out, request.force) as folder:
        (folder / "golden").mkdir()
        (folder / "graphs").mkdir()
        fast = manifest.FAST if job.policy["decoder.fast.marks"] is not None else ()
        for name in ("tokenizer.json", *fast):
            shutil.copyfile(request.mllm / name, folder / name)
        (folder / "stats.json").write_text(_stats_text(job.stats.raw), encoding="utf-8")
        write_golden(job, request, folder / "golden")
        costs = write_graphs(job, folder / "graphs", cost.shapes(folder / "golden/case-0.safetensors"))
        (folder / manifest.NAME).write_text(manifest.text(folder, job, costs, revision), encoding="utf-8")
        rows = verified(folder, job)
    return rows


def verified(folder: Path, job) -> list[verify.Row]:
    """Verifies the bundle in `folder` and prints the table; one boundary that is wrong is an error."""
    rows = verify.verify(folder, job)
    print(verify.HEADER)
    for row in rows:
        print(row)
    bad = [row for row in rows if not row.ok]
    if bad:
        first = bad[0]
        raise ExportError(
            f"verification: {len(bad)} of {len(rows)} boundaries, first `{first.boundary}` of {first.case}",
            f"an error of at most {first.tolerance:g} of {first.scale:.3g}", f"{first.error:.3g}",
        )  # fmt: skip
    return rows


def write_golden(job: Job, request: Request, folder: Path) -> None:
    """Writes the golden cases."""
    reference = Reference(job.checkpoint, job.processor, job.tokenizer, job.policy, job.layers)
    guided = "denoise_vjp" in job.precisions
    decoder = ReferenceDecoder(reference) if "decoder" in job.precisions else None
    golden.Maker(
        reference,
        ReferenceHead(job.head),
        job.policy,
        job.cell.cameras,
        job.stats,
        job.template,
        request.images,
        guided,
        decoder,
    ).write(folder)


def write_graphs(job, folder: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, cost.Cost | None]:
    """Exports every graph, then streams the weights, then writes the graphs. `shapes` are those of the first golden
    case. -> what a run of each graph costs."""
    data, models, costs = DataFile(), {}, {}
    bar = tqdm(job.precisions.items(), desc="graphs", unit="graph")
    for name, precision in bar:
        bar.set_postfix_str(name)
        graph = job.graph(name, precision)
        inputs, dynamic = job.traced(graph)
        costs[name] = cost.cost(graph, inputs, shapes)
        models[name] = lower(graph, inputs, dynamic, data, folder)
    data.write(folder)
    for name, model in models.items():
        finish(model, folder / f"{name}.onnx")
    return costs


def _stats_text(raw: dict) -> str:
    return json.dumps(raw, indent=2) + "\n"
