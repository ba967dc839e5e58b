"""One export of pi0, pi0.5 or SmolVLA, from LeRobot's folder to a finished bundle.

Decides: which inputs are checked before anything heavy begins, what of a policy's declaration its family fixes, the words of
the manifest. Does not decide: how a bundle appears and is verified (`bundle.py`), what any graph computes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers

from tactus_export import actions, cell, cost, expert_config, expert_graphs, images, manifest, policy, prompt, stats, weights
from tactus_export.bundle import _stats_text, appearing, verified, write_graphs
from tactus_export.error import ExportError
from tactus_export.expert_config import PROCESSORS, STATE_BINS, TEMPLATES, Expert
from tactus_export.golden import Maker
from tactus_export.graphs import Graph
from tactus_export.reference_expert import ReferenceExpert
from tactus_export.verify import Row

IMAGE_TOKEN, BOS = "<image>", "<bos>"
# Fields of a declaration that a family fixes.
FIXED = {
    "variant": "joint", "backbone.layers": None, "backbone.norm": "pre", "backbone.padding": "none",
    "backbone.padded_length": 0, "vision.min_pixels": None, "vision.max_pixels": None, "prompt.order": None,
    "prompt.image": "{pads}", "prompt.image_token": IMAGE_TOKEN, "prompt.pad_token": "<pad>",
    "prompt.lowercase": False, "prompt.strip_punctuation": False, "prompt.action_tokens": None,
    "embodiment": None, "decoder.max_length": None,
}  # fmt: skip
# Black, after normalisation: of openpi and of LeRobot from 0.5 on.
BLACK = -1.0


@dataclass(frozen=True)
class Request:
    """What the command line said. `lerobot` is the policy's folder, `vlm` that of the model it was made of."""

    lerobot: Path
    vlm: Path
    stats: Path
    cell: Path
    out: Path
    policy: Path
    precision: dict[str, str]
    vjp: bool = True
    images: Path | None = None
    force: bool = False


@dataclass(frozen=True)
class Job:
    """All inputs, read and found to agree."""

    expert: Expert
    policy: policy.Policy
    cell: cell.Cell
    stats: stats.Stats
    tokenizer: object
    bars: float
    said_columns: int
    precisions: dict[str, str]

    @property
    def steps(self) -> int:
        """Euler steps."""
        return self.expert.config.steps

    @property
    def template(self) -> str:
        """Of the prompt."""
        return self.policy["prompt.template"]

    def graph(self, name: str, precision: str) -> Graph:
        """The graph `name`."""
        return expert_graphs.build(name, self.expert, precision)

    def traced(self, graph: Graph) -> tuple[list, tuple]:
        """Inputs to trace a graph with, and which of their dimensions stay open."""
        c = self.expert.config
        return expert_graphs.example(graph, c), expert_graphs.dimensions(graph, c)


def prepare(request: Request) -> Job:
    """Reads and checks every input; nothing is written and no weight is loaded."""
    if request.out.exists() and not request.force:
        raise ExportError("--out", "a folder that does not exist yet (or --force)", request.out)
    if not request.out.absolute().parent.is_dir():
        raise ExportError("--out", "a folder in an existing folder", request.out)
    if request.images is not None and not request.images.is_dir():
        raise ExportError("--images", "a folder", request.images)
    family = expert_config.kind(request.lerobot)
    cell_ = cell.load(request.cell, policy.camera_sizes(request.policy))
    fixed = FIXED | {"vision.processor": PROCESSORS[family], "prompt.template": TEMPLATES[family]}
    policy_ = policy.load(request.policy, cell_.joints, fixed)
    expert = expert_config.load(request.lerobot, request.vlm, policy_)
    if actions.ANCHORED[policy_["action.representation"]]:
        for joint in policy_.action.joints:
            if joint not in policy_.state.joints:
                expected = f"`{joint}`, which the actions are relative to"
                raise ExportError(policy_.path, expected, "no such joint", key="state.joints")
    given = request.precision
    names = [name for name in expert_graphs.NAMES if request.vjp or name != "denoise_vjp"]
    for name in given:
        if name != "*" and name not in names:
            raise ExportError("--precision", " or ".join(f"`{n}`" for n in names), f"`{name}`")
    precisions = {name: given.get(name, given.get("*", "fp32")) for name in names}
    columns = policy_["prompt.state_columns"]
    if columns is not None and (family != "pi05" or columns < expert.config.state_columns):
        expected = f"at least {expert.config.state_columns}" if family == "pi05" else f"none, since `{family}` says no state"
        raise ExportError(policy_.path, expected, columns, key="prompt.state_columns")
    bars = policy_["vision.bars"]
    job = Job(
        expert, policy_, cell_, stats.load(request.stats, policy_), _tokenizer(request.vlm, expert),
        BLACK if bars is None else float(bars), columns or expert.config.state_columns, precisions,
    )  # fmt: skip
    # Building a graph's module costs nothing and finds missing names and wrong shapes now.
    for name, precision in precisions.items():
        job.graph(name, precision)
    return job


def _tokenizer(vlm: Path, expert: Expert):
    """The tokenizer of the model's folder; it must know what prompts are spelt with."""
    from tokenizers import Tokenizer

    path = vlm / "tokenizer.json"
    if not path.is_file():
        raise ExportError(path, "the tokenizer in the file format of `tokenizers`", "no such file")
    try:
        out = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception
        raise ExportError(path, "a tokenizer", error) from error
    out.no_padding()
    out.no_truncation()
    for token in (IMAGE_TOKEN, BOS) if expert.config.gemma else (IMAGE_TOKEN,):
        if out.token_to_id(token) is None:
            raise ExportError(path, f"the token `{token}`", "no such token")
    for token, number in out.get_vocab().items():
        if number >= expert.config.vocabulary and token in expert_config.TEMPLATES[expert.config.family]:
            raise ExportError(path, f"an id below the {expert.config.vocabulary} rows of the table", number, key=token)
    return out


@dataclass
class ExpertMaker(Maker):
    """Makes golden cases. The noise and the steps are as of every head."""

    job: Job | None = None

    def case(self, number: int, instruction: str, committed: int) -> dict[str, np.ndarray]:
        job, c = self.job, self.head.config
        rng = np.random.default_rng(number)
        out: dict[str, np.ndarray] = {}
        pictures = []
        for camera in self.cameras:
            jpeg = images.from_folder(self.folder, camera, number) if self.folder else images.drawn(camera, rng)
            rgb = images.decode(jpeg)
            pictures.append(self.head.picture(rgb, job.bars))
            out[f"jpeg.{camera.name}"] = np.frombuffer(jpeg, np.uint8)
            out[f"rgb.{camera.name}"] = rgb
        # The state is part of a prompt that says it: drawn here as `_head` draws it, from a generator of the same seed.
        again = np.random.default_rng([number, 1])
        state = again.uniform(-0.8, 0.8, c.state_columns)
        raw = self.stats.state.restore(state).astype(np.float32)
        state = torch.from_numpy(self.stats.state.normalise(raw).astype(np.float32))[None]
        words = prompt.clean(instruction, False, False, c.family in expert_config.BLANKS)
        image = IMAGE_TOKEN * (c.tokens * len(pictures))
        text = self.head.words(job.template, words, image, state, job.said_columns)
        ids = job.tokenizer.encode(text, add_special_tokens=False).ids
        with torch.no_grad():
            boundaries = self.head.run(pictures, ids, job.tokenizer.token_to_id(IMAGE_TOKEN))
        boundaries |= self._head(boundaries["features"], np.random.default_rng([number, 1]), committed, out)
        out |= {name: value.detach().numpy() for name, value in boundaries.items()}
        return {name: np.ascontiguousarray(value) for name, value in out.items()}


def export(request: Request) -> list[Row]:
    """Runs a whole export. -> the rows of the verification, all of them good."""
    job = prepare(request)
    revision = weights.revision(job.expert.weights.files)
    with appearing(request.out, request.force) as folder:
        (folder / "golden").mkdir()
        (folder / "graphs").mkdir()
        shutil.copyfile(request.vlm / "tokenizer.json", folder / "tokenizer.json")
        (folder / "stats.json").write_text(_stats_text(job.stats.raw), encoding="utf-8")
        ExpertMaker(
            None, ReferenceExpert(job.expert), job.policy, job.cell.cameras, job.stats, job.template, request.images,
            "denoise_vjp" in job.precisions, job=job,
        ).write(folder / "golden")  # fmt: skip
        costs = write_graphs(job, folder / "graphs", cost.shapes(folder / "golden/case-0.safetensors"))
        (folder / manifest.NAME).write_text(text(folder, job, costs, revision), encoding="utf-8")
        return verified(folder, job)


def text(folder: Path, job: Job, costs: dict, revision: str) -> str:
    """The manifest of the finished bundle in `folder`; `costs` by graph."""
    j = lambda value: json.dumps(value, ensure_ascii=False)
    c, declared = job.expert.config, job.policy
    blanks = "\nblanks = true" if c.family in expert_config.BLANKS else ""
    said = f"\nstate = {{ bins = {STATE_BINS}, columns = {job.said_columns} }}" if "{state}" in job.template else ""
    return f"""schema = 1
name = {j(declared["name"])}
family = "{expert_config.FAMILIES[c.family]}"
variant = "{declared["variant"]}"
min_ort = "1.24"

[source]
backbone = {j(declared["source"] or job.expert.folder.resolve().name)}
revision = "{revision}"
exporter = "models/export"
torch = "{torch.__version__.split("+")[0]}"
transformers = "{transformers.__version__}"

[backbone]
layers = {c.text.layers}
norm = "pre"
hidden = {c.text.width}
features = {c.features}
position_ids = "sequential"
padding = "none"
padded_length = 0
encoder_mask = "none"

[vision]
patch = {c.vision.patch}
temporal_patch = 1
merge = {c.vision.merge}
window = 0
position_table = 0
deepstack = 0
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
min_pixels = {c.image**2}
max_pixels = {c.image**2}
resample = "bilinear"
processor = "{declared["vision.processor"]}"
bars = {job.bars}

{manifest.cameras(job.cell.cameras)}
[prompt]
tokenizer = "tokenizer.json"
template = {j(job.template)}
image = "{{pads}}"
image_token = "{IMAGE_TOKEN}"
pad_token = "<pad>"
lowercase = false
strip_punctuation = false{blanks}{said}

{manifest.moves(declared, c.horizon, c.max_action)}
[denoise]
steps = {c.steps}
time_from = 0.0
time_to = 1.0
buckets = 0
noise = "normal"

{manifest.contents(folder, job, costs)}"""
