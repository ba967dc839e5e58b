"""Representations of actions: what the golden actions mean, what is refused, and that the runtime finds them equal."""

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conftest import declare, request
from safetensors.numpy import load_file

from tactus_export import actions, bundle, policy, stats, tiny
from test_inputs import refused
from test_robot import run, tactus  # noqa: F401  (a fixture)

X = np.random.default_rng(3).normal(0, 0.7, (8, 32)).astype(np.float32)


def loaded(folder: Path, **fields) -> tuple[policy.Policy, stats.Stats]:
    """The tiny policy with other fields; `a__b` is `a.b`."""
    changes = {name.replace("__", "."): value for name, value in fields.items()}
    declare(folder, tiny.Options(normalisation="min_max", policy=changes), "qwen2_5_vl")
    out = policy.load(folder / "policy.toml")
    return out, stats.load(folder / "stats.json", out)


def meant(folder: Path, raw: np.ndarray, **fields) -> np.ndarray:
    declared, numbers = loaded(folder, **fields)
    return actions.meant(X, raw, declared, numbers)


def test_joints_by_their_definitions(tmp_path):
    """Row by row, in the words of the table in the runtime's `represent.rs`."""
    raw = np.array([0.1, -0.2, 0.3, 0.4, -0.5, 0.6, 0.7], np.float32)
    _, numbers = loaded(tmp_path)
    v = numbers.action.restore(X[:, :7])[:, :6]
    anchor = raw[:6].astype(np.float64)
    targets = {"relative_joints": anchor + v, "absolute_joints": v, "joint_steps": [], "joint_velocities": []}
    for word, scale in (("joint_steps", 1.0), ("joint_velocities", 0.05)):
        before = anchor
        for row in v:
            before = before + row * scale
            targets[word].append(before)
    for word, want in targets.items():
        got = meant(tmp_path, raw, action__representation=word)
        np.testing.assert_allclose(got[:, :6], np.array(want), atol=1e-6, err_msg=word)
        np.testing.assert_allclose(got[:, 6], np.clip(0.5 + 0.5 * X[:, 6], 0, 1), atol=1e-6)


@pytest.mark.parametrize("rotation", actions.IDENTITY)
def test_tool_poses_stay_as_they_are(tmp_path, rotation):
    fields = {k.replace(".", "__"): v for k, v in tiny.declared("tool_steps", rotation).items()}
    got = meant(tmp_path, np.zeros(7, np.float32), **fields)
    columns = 3 + len(actions.IDENTITY[rotation])
    middle = np.array([0, 0, 0, *actions.IDENTITY[rotation]])
    assert got.shape == (8, columns + 1)
    np.testing.assert_allclose(got[:, :columns], middle + 0.01 * X[:, :columns], atol=1e-6)


@pytest.mark.parametrize("before", [0.2, 0.8])
def test_a_binary_gripper_stays_between_its_thresholds(tmp_path, before):
    raw = np.array([0, 0, 0, 0, 0, 0, before], np.float32)
    fields = {"action__binary_gripper__open_above": 0.6, "action__binary_gripper__close_below": 0.4}
    got = meant(tmp_path, raw, **fields)[:, 6]
    state, want = before >= 0.5, []
    for value in 0.5 + 0.5 * X[:, 6]:
        state = True if value >= 0.6 else False if value <= 0.4 else state
        want.append(float(state))
    assert got.tolist() == want


JOINTS, STEPS, POSES = (tiny.declared(word) for word in ("relative_joints", "tool_steps", "tool_poses"))


@pytest.mark.parametrize(
    ("good", "changes", "says"),
    [
        (JOINTS, {"representation": "joints"}, ("`action.representation`", "`joint_steps`", "joints")),
        (JOINTS, {"representation": "absolute_joints", "anchor": "command"}, ("`action.anchor`", "counts from nothing")),
        (JOINTS, {"anchor": "desired"}, ("`action.anchor`", "`measured` or `command`", "desired")),
        (JOINTS, {"tool.rotation": "six_rows"}, ("`action.tool.rotation`", "are no tool poses")),
        (JOINTS, {"representation": "tool_poses"}, ("`action.tool.base_link`", "nothing")),
        (STEPS, {"tool.rotation": None}, ("`action.tool.rotation`", "nothing")),
        (STEPS, {"tool.rotation": "matrix"}, ("`action.tool.rotation`", "`six_rows`", "matrix")),
        (STEPS, {"tool.tool_link": ""}, ("`action.tool.tool_link`", "nothing")),
        (STEPS, {"tool.frame": None}, ("`action.tool.frame`", "nothing")),
        (POSES, {"tool.frame": "base"}, ("`action.tool.frame`", "in the base frame")),
        (STEPS, {"tool.hand": "left"}, ("`action.tool.hand`", "no such field")),
        (JOINTS, {"binary_gripper.open_above": 0.6}, ("`action.binary_gripper`", "close_below < open_above")),
        (
            JOINTS, {"binary_gripper.open_above": 0.4, "binary_gripper.close_below": 0.6},
            ("`action.binary_gripper`", "0.6 and 0.4"),
        ),
        (
            JOINTS, {"gripper": False, "binary_gripper.open_above": 0.6, "binary_gripper.close_below": 0.4},
            ("`action.binary_gripper`", "`action.gripper` is false"),
        ),
    ],
)  # fmt: skip
def test_fields_that_contradict_each_other(copied, capsys, good, changes, says):
    folder = declare(copied(), tiny.Options(normalisation="min_max", policy=good), "qwen2_5_vl")
    path = folder / "policy.toml"
    before, lines = path.read_text().split("[action]\n")
    lines, *rest = lines.split("\n\n")
    kept = [line for line in lines.splitlines() if line.split(" = ")[0] not in changes]
    kept += [f"{key} = {json.dumps(value)}" for key, value in changes.items() if value is not None]
    path.write_text("\n\n".join([before + "[action]\n" + "\n".join(kept), *rest]))
    refused(capsys, folder, says=("policy.toml", *says))


def test_what_actions_count_from_is_in_the_state(copied, capsys):
    folder = copied()
    state = {"state.joints": ["base_yaw"], "state.gripper": False}
    declare(folder, tiny.Options(normalisation="min_max", policy=tiny.declared("joint_steps") | state), "qwen2_5_vl")
    refused(capsys, folder, says=("`state.joints`", "`shoulder_pitch`", "relative to"))


EXPORTED = {
    "relative_joints": tiny.declared("relative_joints") | {"action.anchor": "command"},
    "absolute_joints": tiny.declared("absolute_joints"),
    "joint_steps": tiny.declared("joint_steps")
    | {"action.binary_gripper.open_above": 0.6, "action.binary_gripper.close_below": 0.4},
    "joint_velocities": tiny.declared("joint_velocities"),
    "tool_poses": tiny.declared("tool_poses", "euler_xyz_extrinsic"),
    "six": tiny.declared("relative_tool_poses", "six_rows", "base"),
    "quaternion": tiny.declared("tool_steps", "quaternion_wxyz")
    | {"action.binary_gripper.open_above": 0.6, "action.binary_gripper.close_below": 0.4},
}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory) -> dict:
    """By family: the folder of the first export's graphs, and what they cost. They do not depend on what actions mean."""
    return {"folder": tmp_path_factory.mktemp("graphs")}


def export(folder: Path, family: str, graphs: dict, monkeypatch) -> None:
    """An export that takes the graphs of an earlier one of the family."""
    write, kept = bundle.write_graphs, graphs["folder"] / family

    def once(job, into, shapes):
        if family not in graphs:
            graphs[family] = write(job, into, shapes)
            shutil.copytree(into, kept)
        shutil.copytree(kept, into, dirs_exist_ok=True)
        return graphs[family]

    monkeypatch.setattr(bundle, "write_graphs", once)
    bundle.export(request(folder, vjp=False))


@pytest.mark.parametrize("name", EXPORTED)
def test_the_runtime_finds_the_golden_actions_equal(copied, tactus, graphs, monkeypatch, name: str) -> None:  # noqa: F811
    """Exported with every declaration, verified, spoilt, and found."""
    # Of the two only the second has committed rows.
    family = "qwen3_vl" if name in ("absolute_joints", "six") else "qwen2_5_vl"
    folder = copied(family)
    declare(folder, tiny.Options(normalisation="quantile", policy=EXPORTED[name]), family)
    export(folder, family, graphs, monkeypatch)
    out = folder / "bundle"
    action = tomllib.loads((out / "bundle.toml").read_text())["action"]
    for key, value in EXPORTED[name].items():
        table = action
        for part in key.split(".")[1:]:
            table = table[part]
        assert table == value, key
    verified = run(tactus, "bundle", "verify", out, folder=folder)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    rows = [line for line in verified.stdout.splitlines() if "actions" in line]
    # A case of tool poses that were decided before is not run from its pictures.
    committed = [bool(load_file(path)["prefix_mask"].any()) for path in sorted((out / "golden").iterdir())]
    tool = action["representation"] in actions.TOOLS
    assert len(rows) == sum(1 if tool and some else 3 for some in committed), verified.stdout
    # The same goldens of another meaning are found.
    manifest = out / "bundle.toml"
    other = {"relative_joints": "joint_steps", "absolute_joints": "relative_joints", "joint_steps": "relative_joints",
             "joint_velocities": "joint_steps"}  # fmt: skip
    if tool:
        return
    word = action["representation"]
    manifest.write_text(manifest.read_text().replace(f'"{word}"', f'"{other[word]}"'))
    spoilt = run(tactus, "bundle", "verify", out, folder=folder)
    assert spoilt.returncode != 0 and "actions" in spoilt.stdout, spoilt.stdout + spoilt.stderr
