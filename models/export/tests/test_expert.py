"""pi0, pi0.5 and SmolVLA: graphs against the second implementation, that against LeRobot's own modules, what is refused."""

import json
import shutil
import tomllib

import lerobot_modules
import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file

from tactus_export import cli, expert_bundle, tiny_expert, verify
from tactus_export.error import ExportError
from tactus_export.reference_expert import ReferenceExpert

FAMILIES = ("pi0", "pi05", "smolvla")
BUNDLES = REPOSITORY / "models/export/tests/bundles"


def request(folder, **more) -> expert_bundle.Request:
    given = {
        "lerobot": folder / "policy", "vlm": folder / "vlm", "stats": folder / "stats.json", "cell": folder / "cell.toml",
        "policy": folder / "policy/policy.toml", "out": folder / "bundle", "precision": {},
    } | more  # fmt: skip
    return expert_bundle.Request(**given)


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    root = tmp_path_factory.mktemp("experts")
    return {family: tiny_expert.make(family, root / family) for family in FAMILIES}


@pytest.fixture
def copied(policies, tmp_path):
    return lambda family: shutil.copytree(policies[family], tmp_path / "policy", ignore=shutil.ignore_patterns("bundle"))


@pytest.mark.parametrize("family", FAMILIES)
def test_committed_bundles(family):
    """Their golden cases against their graphs."""
    folder = BUNDLES / family
    manifest = tomllib.loads((folder / "bundle.toml").read_text())
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 3_000_000
    for name in manifest["graphs"]:
        run = verify.session(folder / f"graphs/{name}.onnx")
        for case in manifest["golden"]["cases"]:
            g = load_file(folder / case)
            for row in (verify.row(case, *pair, 1e-5) for pair in verify.boundaries(run, name, g, 10)):
                assert row.ok, row


def test_an_export_for_any_number_of_cameras(policies, tmp_path):
    """One camera where the graph was traced with three, and the names of openpi's own port: no `model.` before them."""
    folder = shutil.copytree(policies["pi0"], tmp_path / "pi0")
    weights = folder / "policy/model.safetensors"
    save_file({name.removeprefix("model."): value for name, value in load_tensors(weights).items()}, weights)
    (folder / "cell.toml").write_text('[[camera]]\nname = "only"\nwidth = 56\nheight = 56\n')
    out = tmp_path / "bundle"
    given = ["--lerobot", folder / "policy", "--vlm", folder / "vlm", "--stats", folder / "stats.json", "--cell", folder / "cell.toml"]
    assert cli.main([str(word) for word in (*given, "--out", out, "--no-vjp")]) == 0
    assert load_file(out / "golden/case-0.safetensors")["image_embeds"].shape == (16, 64)


def test_actions_with_times_of_their_own(copied, tmp_path):
    """Committed actions are at time 1 also in AdaRMS, where the policy was trained so, and nowhere else."""
    folder, chunks = copied("pi05"), []
    for word in ("global", "per_action"):
        text = (folder / "policy/policy.toml").read_text()
        (folder / "policy/policy.toml").write_text(text.split("\n[head]")[0] + f'\n[head]\nadaln_time = "{word}"\n')
        out = tmp_path / word
        expert_bundle.export(request(folder, out=out, vjp=False))
        chunks.append([load_file(out / f"golden/case-{i}.safetensors")["x.10"] for i in range(2)])
    # Nothing is committed in the first case.
    assert np.abs(chunks[0][0] - chunks[1][0]).max() < 1e-5
    assert np.abs(chunks[0][1] - chunks[1][1]).max() > 1e-3


@pytest.mark.skipif(lerobot_modules.SOURCE is None, reason="LEROBOT_SOURCE names no folder")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_is_lerobots(policies, family):
    """A whole chunk by LeRobot's own code: its pixels, its padded and masked prompt, its steps."""
    folder = policies[family]
    job = expert_bundle.prepare(request(folder))
    reference, c = ReferenceExpert(job.expert), job.expert.config
    theirs = lerobot_modules.model(family, folder, load_tensors(folder / "policy/model.safetensors"))
    rng = np.random.default_rng(3)
    pictures = [rng.integers(0, 256, (camera.height, camera.width, 3), dtype=np.uint8) for camera in job.cell.cameras]
    state = torch.from_numpy(rng.uniform(-1, 1, (1, c.state_columns)).astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal((1, c.horizon, c.max_action)).astype(np.float32))

    seen = [lerobot_modules.resized(family, torch.from_numpy(p), c.image) for p in pictures]
    words = reference.words(job.template, "pick up the red cube", "", state, job.said_columns)
    said = job.tokenizer.encode(words, add_special_tokens=False).ids
    length = len(said) + 7
    tokens = torch.zeros(1, length, dtype=torch.long)
    tokens[0, : len(said)] = torch.tensor(said)
    mask = torch.arange(length)[None] < len(said)
    masks = [torch.ones(1, dtype=torch.bool) for _ in seen]
    padded = torch.nn.functional.pad(state, (0, c.max_state - c.state_columns))
    given = (seen, masks, tokens, mask) + (() if family == "pi05" else (padded,))
    with torch.no_grad():
        want = theirs.sample_actions(*given, noise=noise.clone())
        image = job.tokenizer.token_to_id("<image>")
        ids = [image] * (c.tokens * len(seen)) + said
        ours = [reference.picture(p, job.bars) for p in pictures]
        assert max(float((a - b[0]).abs().max()) for a, b in zip(ours, seen)) < 1e-6
        features = reference.run(ours, ids, image)["features"]
        x, nothing = noise, torch.zeros(1, c.horizon)
        for k in range(c.steps):
            time = torch.full((1, c.horizon), k / c.steps)
            x = reference.step(x, time, 1.0 / c.steps, torch.zeros_like(x), nothing, features, state)
    error = float((x - want).abs().max() / want.abs().max())
    print(f"{family}: {error:.1e} of the chunk's scale")
    assert error < 1e-5


def edit(folder, change) -> None:
    path = folder / "policy/config.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


REFUSED = {
    "type": (lambda raw: raw.update(type="act"), "`type`: expected `pi0` or"),
    "cameras": (lambda raw: raw.update(empty_cameras=1), "`empty_cameras`: expected 0, got 1"),
    "prefix": (lambda raw: raw.update(prefix_length=64), "`prefix_length`: expected -1, got 64"),
    "normalisation": (
        lambda raw: raw["normalization_mapping"].update(STATE="QUANTILES"), "`state.normalisation`: expected `quantile`",
    ),
    "image": (lambda raw: raw.update(resize_imgs_with_padding=[128, 128]), "expected 64 positions"),
    "width": (lambda raw: raw.update(max_action_dim=4), "expected at most the policy's 4 columns, got 7"),
    "steps": (lambda raw: raw.pop("num_steps"), "`num_steps`: expected an integer >= 1"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_configuration_that_is_not_implemented_is_refused(copied, what):
    folder, (change, said) = copied("smolvla"), REFUSED[what]
    edit(folder, change)
    with pytest.raises(ExportError) as error:
        expert_bundle.prepare(request(folder))
    assert said in str(error.value)


def test_what_a_family_fixes_cannot_be_declared(copied):
    folder = copied("pi0")
    path = folder / "policy/policy.toml"
    text = path.read_text()
    for lines, said in (
        ('[prompt]\nlowercase = true\n', "`prompt.lowercase`: expected `False`, as of every policy of this family"),
        ('[prompt]\nstate_columns = 32\n', "none, since `pi0` says no state"),
        ('[head]\nadaln_time = "global"\n', "none, since `pi0` has no AdaRMS"),
    ):
        path.write_text(text + "\n" + lines)
        with pytest.raises(ExportError) as error:
            expert_bundle.prepare(request(folder))
        assert said in str(error.value)


@pytest.mark.parametrize("missing", ("flow.action_time_mlp_in.bias", "expert.layers.2.self_attn.o_proj.weight", "connector.weight"))
def test_a_missing_tensor_is_named(copied, missing):
    folder = copied("pi0")
    job = expert_bundle.prepare(request(folder))
    module, name = missing.split(".", 1)
    stored = f"{job.expert.prefixes[module]}.{name}"
    weights = folder / "policy/model.safetensors"
    tensors = load_tensors(weights)
    del tensors[stored]
    save_file(tensors, weights)
    with pytest.raises(ExportError) as error:
        expert_bundle.prepare(request(folder))
    assert stored in str(error.value)


def test_options_go_together(capsys):
    for words in (["--lerobot", "a"], ["--mllm", "a", "--head", "b", "--lerobot", "c", "--vlm", "d"], []):
        with pytest.raises(SystemExit) as error:
            cli.main([*words, "--stats", "s", "--cell", "c", "--out", "o"])
        assert error.value.code == 2
        assert "expected --mllm and --head, or --lerobot and --vlm" in capsys.readouterr().err
