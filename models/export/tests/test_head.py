"""The exported action head against the independent one, and the guided step against autograd."""

import pytest
import torch
from conftest import FAMILIES, request

from tactus_export import bundle, graphs, head_config, tiny
from tactus_export.policy import load as load_policy
from tactus_export.reference_head import ReferenceHead
from tactus_export.source import materialise


def build(folder, name, layers=3):
    job = bundle.prepare(request(folder))
    graph = graphs.build(name, job.checkpoint, job.head, job.policy, layers, "fp32")
    return job, graph, materialise(graph.module, graph.sources)


def inputs(c, seed=0):
    """Random features, state, chunk; different times per action; two actions committed."""
    g = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(shape, generator=g)
    mask = (torch.arange(c.horizon)[None] < 2).float()
    return {
        "features": normal(1, 19, c.features), "state": normal(1, c.state_columns),
        "x": normal(1, c.horizon, c.max_action), "time": torch.rand(1, c.horizon, generator=g),
        "dt": torch.tensor([0.25]), "prefix": normal(1, c.horizon, c.max_action) * mask[..., None], "prefix_mask": mask,
        "target": normal(1, c.horizon, c.max_action), "weight": torch.rand(1, c.horizon, generator=g),
        "guidance": torch.tensor([2.5]),
    }  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_context_and_step(checkpoints, family):
    job, _, context = build(checkpoints[family], "context")
    reference, g = ReferenceHead(job.head), inputs(job.head.config)
    made = context(g["features"], g["state"])
    for ours, theirs in zip(made, reference.context(g["features"], g["state"]), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    _, graph, step = build(checkpoints[family], "denoise")
    got = step(*(g[name] for name in graph.inputs if name in g), *made)
    want = reference.step(*(g[n] for n in ("x", "time", "dt", "prefix", "prefix_mask", "features", "state")))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    assert torch.equal(got[:, :2], g["prefix"][:, :2])


@pytest.mark.parametrize("family", FAMILIES)
def test_guided_step_is_the_gradient(checkpoints, family):
    job, _, context = build(checkpoints[family], "context")
    reference, g = ReferenceHead(job.head), inputs(job.head.config)
    made = context(g["features"], g["state"])
    _, graph, step = build(checkpoints[family], "denoise_vjp")
    got = step(*(g[name] for name in graph.inputs if name in g), *made)
    names = ("x", "time", "dt", "prefix", "prefix_mask", "features", "state", "target", "weight", "guidance")
    want = reference.guided_step(*(g[name] for name in names))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    # It is neither the unguided step nor the one whose Jacobian is the identity.
    held = (g["prefix_mask"] > 0.5)[..., None]
    x, time = torch.where(held, g["prefix"], g["x"]), torch.where(held[..., 0], 1.0, g["time"])
    v = reference.velocity(x, time, g["features"], g["state"])
    error = g["weight"][..., None] * (g["target"] - x - (1 - time)[..., None] * v)
    for other in (x + g["dt"] * v, x + g["dt"] * (v + g["guidance"] * error)):
        assert (torch.where(held, g["prefix"], other) - want).abs().max() > 0.01


def test_time_of_adaln(checkpoints):
    """Per action and global differ where times differ, and only there."""
    job, _, _ = build(checkpoints["qwen3_vl"], "context")
    assert job.head.config.per_action
    g = inputs(job.head.config)
    reference = ReferenceHead(job.head)
    per_action = reference.velocity(g["x"], g["time"], g["features"], g["state"])
    same = torch.full_like(g["time"], 0.5)
    uniform = reference.velocity(g["x"], same, g["features"], g["state"])
    reference.config = head_config.replace(reference.config, per_action=False)
    assert (reference.velocity(g["x"], g["time"], g["features"], g["state"]) - per_action).abs().max() > 1e-3
    torch.testing.assert_close(reference.velocity(g["x"], same, g["features"], g["state"]), uniform)


def test_embodiment_is_chosen(copied):
    folder = copied()
    policy = load_policy(folder / "policy.toml")
    first, second = (head_config.load(folder / "head.safetensors", policy, number) for number in (0, 1))
    g = inputs(first.config)
    a, b = (ReferenceHead(head).velocity(g["x"], g["time"], g["features"], g["state"]) for head in (first, second))
    assert (a - b).abs().max() > 0.01


def test_prefix_of_names_is_optional(checkpoints):
    prefixes = {family: bundle.prepare(request(checkpoints[family])).head.prefix for family in FAMILIES}
    assert prefixes == {"qwen2_5_vl": "action_head.", "qwen3_vl": ""}
    assert tiny.CAMERAS.keys() == prefixes.keys()


def test_alternating_head(tmp_path):
    """GR00T N1.7: even blocks read what is no image, and images, in turn; a whole export agrees with the reference."""
    folder = tiny.make("qwen3_vl", tmp_path, tiny.ALTERNATING)
    job, _, context = build(folder, "context")
    c = job.head.config
    assert [c.sees(i) for i in c.cross] == ["text", "image", "text", "image"]
    g = inputs(c)
    g["features"] = torch.randn(1, c.image_tokens + 19, c.features, generator=torch.Generator().manual_seed(3))
    reference = ReferenceHead(job.head)
    made = context(g["features"], g["state"])
    for ours, theirs in zip(made, reference.context(g["features"], g["state"]), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    _, graph, step = build(folder, "denoise")
    got = step(*(g[name] for name in graph.inputs if name in g), *made)
    want = reference.step(*(g[n] for n in ("x", "time", "dt", "prefix", "prefix_mask", "features", "state")))
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    # It is not the head that reads everything.
    reference.config = head_config.replace(c, text_every=0)
    other = reference.step(*(g[n] for n in ("x", "time", "dt", "prefix", "prefix_mask", "features", "state")))
    assert (other - want).abs().max() > 1e-3
    rows = bundle.export(request(folder))
    assert rows and all(row.ok for row in rows)
    text = (folder / "bundle/bundle.toml").read_text()
    assert 'family = "qwen3_vl+gr00t_n1_7"' in text


def test_alternating_head_is_refused_where_it_cannot_be(tmp_path):
    options = tiny.replace(tiny.ALTERNATING, policy={**tiny.ALTERNATING.policy, "backbone.padding": "left", "backbone.padded_length": 80})
    folder = tiny.make("qwen3_vl", tmp_path / "padded", options)
    with pytest.raises(Exception, match="reads tokens only"):
        bundle.prepare(request(folder))
    folder = tiny.make("qwen2_5_vl", tmp_path / "other", tiny.ALTERNATING)
    with pytest.raises(Exception, match="qwen3_vl"):
        bundle.prepare(request(folder))
