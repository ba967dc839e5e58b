"""The exported graphs in ONNX Runtime, on the golden inputs.

Decides: how closely a boundary must agree (as a share of its largest golden magnitude), and prints the table. Does not
decide: what is golden. A graph in bf16 is skipped, aloud: ONNX Runtime's CPU provider has no kernels for it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from safetensors.numpy import load_file

from tactus_export import actions, data_file
from tactus_export.error import ExportError

TOLERANCE = {"fp32": 1e-4, "fp16": 1e-2}
# Two scores that are as near as this, as a share of the largest, may change places.
TIE = 2e-4
WITHOUT_KERNELS = "bf16"
# From this size on the weights stay in their file: no copies of them in another order or type.
LARGE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class Row:
    """One boundary of one case."""

    case: str
    boundary: str
    error: float
    scale: float
    cosine: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """NaN is not less than anything."""
        return self.error <= self.tolerance * self.scale

    def __str__(self) -> str:
        relative = self.error / self.scale if self.scale else self.error
        mark = "" if self.ok else "  <-- above the bound"
        numbers = f"{self.error:10.2e} {self.scale:9.3f} {relative:9.1e} {self.cosine:11.8f}"
        return f"{self.case:8} {self.boundary:14} {numbers}{mark}"


HEADER = f"{'case':8} {'boundary':14} {'max abs':>10} {'scale':>9} {'max rel':>9} {'cosine':>11}"


def row(case: str, boundary: str, got: np.ndarray, want: np.ndarray, tolerance: float) -> Row:
    """Compares two tensors."""
    if got.shape != want.shape:
        raise ExportError(f"graph output `{boundary}`", f"shape {list(want.shape)}", list(got.shape))
    a, b = got.astype(np.float64).ravel(), want.astype(np.float64).ravel()
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    cosine = float(a @ b / norms) if norms else float(np.array_equal(a, b))
    return Row(case, boundary, float(np.abs(a - b).max()), float(np.abs(b).max()), cosine, tolerance)


def session(path: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime's CPU provider, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    data = path.with_name(data_file.FILE)
    disabled = []
    if data.exists() and data.stat().st_size > LARGE_BYTES:
        options.add_session_config_entry("session.disable_prepacking", "1")
        disabled = ["ConstantFolding"]
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(str(path), options, providers=providers, disabled_optimizers=disabled)


def verify(folder: Path, job) -> list[Row]:
    """Each graph on its own golden inputs, then all in a row. Graphs are opened one at a time, so that only one is in
    memory."""
    cases = {path.stem: load_file(path) for path in sorted((folder / "golden").glob("*.safetensors"))}
    rows: list[Row] = []
    chained = {name: dict(g) for name, g in cases.items()}
    skipped = []
    for name, precision in job.precisions.items():
        if precision == WITHOUT_KERNELS:
            skipped.append(name)
            continue
        tolerance = TOLERANCE[precision]
        run = session(folder / f"graphs/{name}.onnx")
        for case, g in cases.items():
            rows += [row(case, *pair, tolerance) for pair in boundaries(run, name, g, job.steps)]
            if not skipped and name not in ("denoise_vjp", "decoder"):
                _chain(run, name, chained[case], job.steps)
    if skipped:
        print(f"not run: {', '.join(skipped)} (bf16 has no kernels in ONNX Runtime's CPU provider; verify it on a GPU)")
        return rows
    worst = max(TOLERANCE[precision] for precision in job.precisions.values())
    for case, g in cases.items():
        meant = actions.meant(chained[case]["x"][0], g["state_raw"], job.policy, job.stats)
        rows.append(row(case, "actions", meant, g["actions"], worst))
    return rows


def boundaries(run, name: str, g: dict, steps: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Output name, ours, golden, for one graph on one case."""
    inputs = [i.name for i in run.get_inputs()]
    outputs = [o.name for o in run.get_outputs()]
    dt = np.array([1.0 / steps], np.float32)
    if name == "denoise_vjp":
        feed = {i: dt if i == "dt" else g[f"vjp.{i}"] if f"vjp.{i}" in g else g[i] for i in inputs}
        return [("vjp.x_next", run.run(outputs, feed)[0], g["vjp.x_next"])]
    if name == "decoder":
        return decoder(run, g) if "decoder.tokens" in g else []
    if name != "denoise":
        return list(zip(outputs, run.run(outputs, {i: g[i] for i in inputs}), (g[o] for o in outputs)))
    out = []
    for k in range(steps):
        known = g | {"x": g[f"x.{k}"] if k else g["noise"], "dt": dt}
        known["time"] = np.full(g["prefix_mask"].shape, k / steps, np.float32)
        out.append((f"x.{k + 1}", run.run(outputs, {i: known[i] for i in inputs})[0], g[f"x.{k + 1}"]))
    return out


def decoder(run, g: dict) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The prompt at once, then every token by itself, over a cache that is input and output at the same place. What is
    fed are the golden tokens: one that differs does not hide what comes after it."""
    ids, tokens, columns = g["decoder.input_ids"], g["decoder.tokens"], g["decoder.columns"]
    length, hidden = ids.shape[1], g["image_embeds"].shape[1]
    binding, caches = run.io_binding(), []
    for given in run.get_inputs():
        if given.name.startswith("past."):
            heads, _, width = given.shape
            kind = np.float16 if "float16" in given.type else np.float32
            cache = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((heads, length + len(tokens), width), kind))
            binding.bind_ortvalue_input(given.name, cache)
            binding.bind_ortvalue_output(given.name.replace("past.", "present."), cache)
            caches.append(cache)
    nothing = {"image_embeds": np.zeros((1, hidden), np.float32), "image_rows": np.array([1])}
    if "deepstack" in g:
        nothing["deepstack"] = np.zeros((len(g["deepstack"]), 1, hidden), np.float32)
    feed = {"input_ids": ids, "image_rows": g["decoder.image_rows"], "position_ids": g["decoder.position_ids"]}
    feed |= {name: g[name] for name in nothing if name not in feed} | {"start": np.array([0])}
    following, logits = int(g["decoder.position_ids"].max()) + 1, []
    for step, token in enumerate(tokens):
        for name, value in feed.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        binding.bind_output("logits")
        run.run_with_iobinding(binding)
        logits.append(binding.get_outputs()[-1].numpy()[0])
        place = np.full((3, 1, 1), following + step)
        feed = nothing | {"input_ids": token.reshape(1, 1), "position_ids": place, "start": np.array([length + step])}
    logits = np.stack(logits)
    # Compared by the scale of all scores, not of those that are kept.
    wide = lambda values: np.append(values.ravel(), g["decoder.scale"])
    return [
        ("logits", wide(logits[:, columns]), wide(g["decoder.logits"])),
        ("tokens", differing(logits, g), np.zeros(1)),
    ]


def differing(logits: np.ndarray, g: dict) -> np.ndarray:
    """How many greedy tokens are others than the golden ones, where the golden choice is no near tie."""
    best = np.sort(g["decoder.logits"], axis=1)
    clear = best[:, -1] - best[:, -2] > TIE * g["decoder.scale"]
    return np.array([float((clear & (logits.argmax(axis=1) != g["decoder.tokens"])).sum())])


def _chain(run, name: str, known: dict, steps: int) -> None:
    """Runs a graph on what the graphs before it made; `known` collects the outputs."""
    inputs, outputs = [i.name for i in run.get_inputs()], [o.name for o in run.get_outputs()]
    if name != "denoise":
        known |= dict(zip(outputs, run.run(outputs, {i: known[i] for i in inputs})))
        return
    known["x"], known["dt"] = known["noise"], np.array([1.0 / steps], np.float32)
    for k in range(steps):
        known["time"] = np.full(known["prefix_mask"].shape, k / steps, np.float32)
        known["x"] = run.run(outputs, {i: known[i] for i in inputs})[0]
