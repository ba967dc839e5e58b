"""The export modules against transformers' own: vision towers, language models, prompts, pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import FAMILIES, REPOSITORY, declare, request, two_frames
from safetensors.numpy import load_file

from tactus_export import bundle, graphs, images, pixels, prompt, tiny
from tactus_export.cell import Camera
from tactus_export.reference import Reference
from tactus_export.source import materialise

# Sides half-way between multiples of the merge unit, a real camera's size, one that is enlarged, several at once.
SIZES = {
    "real": [(848, 480)],
    "unequal": [(154, 70), (70, 42), (210, 126), (80, 240)],
    "square": [(224, 224), (112, 112)],
    "enlarged": [(80, 16), (20, 20)],
}


def near(got: torch.Tensor, want: torch.Tensor, share: float = 1e-5) -> None:
    """Within `share` of the largest magnitude."""
    assert got.shape == want.shape
    assert (got - want).abs().max() <= share * want.abs().max()


def boundaries(job, pictures, instruction="pick up the red cube"):
    """What transformers computes."""
    reference = Reference(job.checkpoint, job.processor, job.tokenizer, job.policy, job.layers)
    text = prompt.fill(job.template, "<|vision_start|><|image_pad|><|vision_end|>" * len(pictures), instruction)
    return reference.run(pictures, text)


def ours(job, name: str):
    """An export module with its weights."""
    graph = graphs.build(name, job.checkpoint, job.head, job.policy, job.layers, "fp32")
    return graph, materialise(graph.module, graph.sources)


def pictures(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [images.decode(images.drawn(Camera("c", *size), rng)) for size in sizes]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sizes", SIZES)
def test_vision_and_features(checkpoints, family, sizes):
    job = bundle.prepare(request(checkpoints[family]))
    values = dict(job.policy.values) | {"backbone.padding": "none", "backbone.padded_length": 0}
    job = replace(job, policy=replace(job.policy, values=values))
    g = boundaries(job, pictures(SIZES[sizes]))
    vision, tower = ours(job, "vision")
    out = tower(*(g[name] for name in vision.inputs))
    for name, value in zip(vision.outputs, out if isinstance(out, tuple) else (out,)):
        near(value, g[name])
    backbone, decoder = ours(job, "backbone")
    near(decoder(*(g[name] for name in backbone.inputs)), g["features"])


def test_windows_matter(checkpoints):
    """Were every block to attend to whole images, the result would be another: the test above is not vacuous."""
    job = bundle.prepare(request(checkpoints["qwen2_5_vl"]))
    g = boundaries(job, pictures([(154, 70), (70, 42)]))
    assert len(g["seg_window"].unique()) > len(g["seg_full"].unique())
    vision, tower = ours(job, "vision")
    wrong = tower(*({**g, "seg_window": g["seg_full"]}[name] for name in vision.inputs))
    assert (wrong - g["image_embeds"]).abs().max() > 0.01


def test_deepstack_matters(checkpoints):
    job = bundle.prepare(request(checkpoints["qwen3_vl"]))
    g = boundaries(job, pictures([(144, 80), (80, 16)]))
    backbone, decoder = ours(job, "backbone")
    wrong = decoder(*({**g, "deepstack": torch.zeros_like(g["deepstack"])}[name] for name in backbone.inputs))
    assert (wrong - g["features"]).abs().max() > 0.01


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_padding_and_norm(copied, family, padding, norm):
    length = 0 if padding == "none" else 90
    chosen = {"backbone.padding": padding, "backbone.padded_length": length, "backbone.norm": norm}
    folder = declare(copied(family), tiny.Options(policy=chosen), family)
    job = bundle.prepare(request(folder))
    g = boundaries(job, pictures([(154, 70), (70, 42)]))
    if length:
        side = slice(0, 5) if padding == "left" else slice(-5, None)
        assert g["attention_mask"][0, side].tolist() == [0] * 5
        assert g["position_ids"][:, 0, side].unique().tolist() == [0]
    backbone, decoder = ours(job, "backbone")
    near(decoder(*(g[name] for name in backbone.inputs)), g["features"])


@pytest.mark.parametrize("family", FAMILIES)
def test_kept_layers_are_the_hidden_state_of_the_whole_model(checkpoints, family):
    """The reference keeps three layers; the whole model, loaded as anyone would, has the same third hidden state."""
    import transformers

    job = bundle.prepare(request(checkpoints[family]))
    values = dict(job.policy.values) | {"backbone.norm": "pre", "backbone.padding": "none", "backbone.padded_length": 0}
    job = replace(job, policy=replace(job.policy, values=values))
    g = boundaries(job, pictures([(154, 70), (70, 42)]))
    kind = {"qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration", "qwen3_vl": "Qwen3VLForConditionalGeneration"}[family]
    model = getattr(transformers, kind).from_pretrained(checkpoints[family] / "mllm", dtype=torch.float32).eval()
    seen = {}
    model.model.language_model.layers[3].register_forward_pre_hook(lambda _, given: seen.update(x=given[0]))
    processor = job.processor.build()
    grid = [[1, *job.processor.grid(Camera("c", *size))] for size in [(154, 70), (70, 42)]]
    assert processor.patch_size == job.checkpoint.vision.patch
    types = (g["input_ids"] == job.checkpoint.image_token_id).int()
    with torch.no_grad():
        model(
            input_ids=g["input_ids"], pixel_values=two_frames(g["pixel_values"]), image_grid_thw=torch.tensor(grid),
            mm_token_type_ids=types, attention_mask=torch.ones_like(types),
        )  # fmt: skip
    near(seen["x"], g["features"])


@pytest.mark.parametrize("kind", ["pil", "torchvision"])
def test_resized_pixels_are_those_of_the_patches(checkpoints, kind):
    """The golden `resized` pixels, normalised and cut, give the golden `pixel_values`."""
    job = bundle.prepare(request(checkpoints["qwen2_5_vl"]))
    processor = replace(job.processor, kind=kind)
    (picture,) = pictures([(848, 480)])
    resized = processor.resized(picture)
    rows, columns = processor.grid(Camera("c", 848, 480))
    assert resized.shape == (rows * 14, columns * 14, 3)
    x = (resized / 255.0 - np.array(processor.mean)) / np.array(processor.std)
    x = x.transpose(2, 0, 1).reshape(3, rows // 2, 2, 14, columns // 2, 2, 14).transpose(1, 4, 2, 5, 0, 3, 6)
    x = np.repeat(x[:, :, :, :, :, None], 2, axis=5).reshape(rows * columns, -1)
    built = processor.build()
    planes = picture.transpose(2, 0, 1)
    given = torch.from_numpy(np.ascontiguousarray(planes)) if kind == "torchvision" else planes
    theirs = np.asarray(built(images=[given], return_tensors="np")["pixel_values"])
    assert np.abs(x - theirs).max() < 1e-5


def test_committed_pixels_are_what_the_processors_make():
    committed = load_file(REPOSITORY / "models/export/tests/bundles/pixels.safetensors")
    made = pixels.tensors()
    assert set(made) == set(committed)
    for name, value in made.items():
        assert np.array_equal(value, committed[name]), name


def test_sides_round_to_the_even_multiple(checkpoints):
    job = bundle.prepare(request(checkpoints["qwen2_5_vl"]))
    # 154 / 28 = 5.5 -> 6, 70 / 28 = 2.5 -> 2.
    assert job.processor.grid(Camera("c", 154, 70)) == (4, 12)
