"""The decoder: against transformers' own `generate`, over one cache in place, in pieces, and what is declared with it."""

import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import FAMILIES, declare, request, two_frames
from safetensors.numpy import load_file

from tactus_export import bundle, tiny, verify
from tactus_export.cell import Camera
from tactus_export.error import ExportError

BUNDLES = Path(__file__).parent / "bundles"


def golden(family: str) -> dict[str, np.ndarray]:
    return load_file(BUNDLES / family / "golden/case-0.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_golden_tokens_are_what_anyone_would_generate(checkpoints, family):
    """The reference streams its weights and drives its own loop; the model loaded as usual, by `generate`, says the same."""
    import transformers

    g, job = golden(family), bundle.prepare(request(checkpoints[family]))
    kind = {"qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration", "qwen3_vl": "Qwen3VLForConditionalGeneration"}[family]
    model = getattr(transformers, kind).from_pretrained(checkpoints[family] / "mllm", dtype=torch.float32).eval()
    ids = torch.from_numpy(g["decoder.input_ids"])
    types = (ids == job.checkpoint.image_token_id).int()
    grid = [[1, *job.processor.grid(Camera("c", *size))] for _, *size in tiny.CAMERAS[family]]
    out = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types, image_grid_thw=torch.tensor(grid),
        pixel_values=two_frames(torch.from_numpy(g["pixel_values"])), do_sample=False, max_new_tokens=64, min_new_tokens=64,
        output_logits=True, return_dict_in_generate=True, eos_token_id=None,
    )  # fmt: skip
    assert out.sequences[0, ids.shape[1] :].tolist() == g["decoder.tokens"].tolist() and len(g["decoder.tokens"]) == 64
    scores = torch.stack(out.logits)[:, 0, g["decoder.columns"]].numpy()
    assert np.abs(scores - g["decoder.logits"]).max() <= 1e-5 * g["decoder.scale"][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_wrong_place_is_found(family):
    """What the verification of the decoder compares is not vacuous: tokens one place further give other scores."""
    run, g = verify.session(BUNDLES / family / "graphs/decoder.onnx"), golden(family)
    for row in (verify.row("0", *pair, 1e-5) for pair in verify.decoder(run, g)):
        assert row.ok, row
    moved = g | {"decoder.position_ids": g["decoder.position_ids"] * 2}
    assert not all(verify.row("0", *pair, 1e-3).ok for pair in verify.decoder(run, moved))


@pytest.mark.parametrize("family", FAMILIES)
def test_pieces_and_one_memory_are_what_the_whole_is(family):
    """A prompt in overlapping pieces over a cache in place, and at once with a cache that is copied: the same scores."""
    run, g = verify.session(BUNDLES / family / "graphs/decoder.onnx"), golden(family)
    ids, rows, positions = (g[f"decoder.{name}"] for name in ("input_ids", "image_rows", "position_ids"))
    length, room = ids.shape[1], ids.shape[1] + 5
    images = {name: g[name] for name in ("image_embeds", "deepstack") if name in g}
    shapes = {i.name: (i.shape[0], room, i.shape[2]) for i in run.get_inputs() if i.name.startswith("past.")}
    whole = run.run(
        ["logits"],
        {"input_ids": ids, "image_rows": rows, "position_ids": positions, "start": np.array([0])}
        | images | {name: np.zeros(shape, np.float32) for name, shape in shapes.items()},
    )[0]  # fmt: skip
    binding = run.io_binding()
    for name, shape in shapes.items():
        cache = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
        binding.bind_ortvalue_input(name, cache)
        binding.bind_ortvalue_output(name.replace("past.", "present."), cache)
    piece = 16
    for start in [*range(0, length - piece, piece), length - piece]:
        here = rows - start
        feed = {
            "input_ids": ids[:, start : start + piece], "position_ids": positions[..., start : start + piece],
            "image_rows": np.where((here >= 0) & (here < piece), here, piece), "start": np.array([start]), **images,
        }  # fmt: skip
        for name, value in feed.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        binding.bind_output("logits")
        run.run_with_iobinding(binding)
    pieces = binding.get_outputs()[-1].numpy()
    assert np.abs(pieces - whole).max() <= 1e-5 * np.abs(whole).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_those_of_the_backbone(family):
    """Every layer that both have is one place in the file; only the others, the last norm and the scores are added."""
    places = {}
    for name in ("backbone", "decoder"):
        graph = onnx.load(BUNDLES / family / f"graphs/{name}.onnx", load_external_data=False).graph
        entries = [{e.key: e.value for e in i.external_data} for i in graph.initializer if i.external_data]
        places[name] = {int(e["offset"]) for e in entries}
        assert {node.domain for node in graph.node} <= {"", "ai.onnx"}
    # After the last layer both go on differently: with Qwen3's post-norm the last norm is shared as well.
    assert len(places["backbone"] - places["decoder"]) == 0


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"decoder.max_length": 5000}, "at most 4096"),
        ({"decoder.max_length": 30, "backbone.padding": "none", "backbone.padded_length": 0}, None),
        ({"decoder.max_length": None, "decoder.think": ["<a>", "</a>"]}, "the cache's length"),
        ({"decoder.think": ["<a>"]}, "two texts"),
        ({"decoder.fast.marks": ["<a>", "<b>"]}, "together"),
        ({"decoder.fast.marks": ["<a>", "<b>"], "decoder.fast.token": "<n>"}, "exactly once"),
        ({"decoder.eos": ["<no such token>"]}, "<no such token>"),
    ],
)
def test_declarations(copied, changed, says):
    """What does not fit is refused before anything heavy begins; a prompt that does not, by the reference."""
    folder = declare(copied("qwen3_vl"), tiny.Options(policy=changed, normalisation="quantile"), "qwen3_vl")
    if says is None:
        with pytest.raises(ExportError, match="more than the prompt's"):
            bundle.export(request(folder, vjp=False))
        return
    with pytest.raises(ExportError, match=says):
        bundle.prepare(request(folder))


def test_without_a_decoder(copied):
    """A policy that declares none has none, as before."""
    folder = declare(copied("qwen2_5_vl"), tiny.Options(policy={"decoder.max_length": None}), "qwen2_5_vl")
    job = bundle.prepare(request(folder))
    assert "decoder" not in job.precisions


def test_the_demo_has_one():
    manifest = tomllib.loads((BUNDLES.parents[2] / "demo/bundle/bundle.toml").read_text())
    assert manifest["decoder"]["fast"]["marks"] == ["<ACTION_START>", "<ACTION_END>"]
