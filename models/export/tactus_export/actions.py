"""What the columns of an action are, and what they mean.

Decides: the words of `action.representation` and of rotations, the columns they have, which fields go with which word, the
golden actions that a denoised chunk means. Does not decide: how the runtime seeks joints for a tool pose: golden actions of
tool poses are the poses as the policy says them.
"""

from pathlib import Path

import numpy as np

from tactus_export.error import ExportError

# Whether actions count from the anchor, where the arm is at the observation.
ANCHORED = {
    "relative_joints": True, "absolute_joints": False, "joint_steps": True, "joint_velocities": True,
    "tool_poses": False, "relative_tool_poses": True, "tool_steps": True,
}  # fmt: skip
TOOLS = ("tool_poses", "relative_tool_poses", "tool_steps")
# The numbers of no rotation.
IDENTITY = {
    "quaternion_xyzw": (0, 0, 0, 1), "quaternion_wxyz": (1, 0, 0, 0), "rotation_vector": (0, 0, 0),
    "six_columns": (1, 0, 0, 0, 1, 0), "six_rows": (1, 0, 0, 0, 1, 0), "euler_xyz_intrinsic": (0, 0, 0),
    "euler_xyz_extrinsic": (0, 0, 0),
}  # fmt: skip
TOOL_FIELDS = ("base_link", "tool_link", "rotation", "frame")
THRESHOLDS = ("close_below", "open_above")
# Openings from here on count as open.
HALF_OPEN = 0.5


def pose_columns(values: dict) -> tuple[str, ...]:
    """Names of a tool pose's columns; none where the columns are joints."""
    if values["action.representation"] not in TOOLS:
        return ()
    return ("x", "y", "z", *(f"rotation_{i}" for i in range(len(IDENTITY[values["action.tool.rotation"]]))))


def check(path: Path, values: dict) -> None:
    """Refuses fields that contradict each other, as the runtime would."""
    word = values["action.representation"]
    tool, anchored = word in TOOLS, ANCHORED[word]
    if values["action.anchor"] is not None and not anchored:
        raise ExportError(path, f"none, since `{word}` counts from nothing", values["action.anchor"], key="action.anchor")
    for name in TOOL_FIELDS:
        key = f"action.tool.{name}"
        wanted = tool and (name != "frame" or anchored)
        given = values[key]
        if wanted and not given:
            raise ExportError(path, f"what `{word}` go by", "nothing", key=key)
        if given is not None and not wanted:
            reason = "are in the base frame" if tool else "are no tool poses"
            raise ExportError(path, f"none, since `{word}` {reason}", given, key=key)
    low, high = (values[f"action.binary_gripper.{name}"] for name in THRESHOLDS)
    if low is None and high is None:
        return
    if not values["action.gripper"]:
        raise ExportError(path, "none, since `action.gripper` is false", "thresholds", key="action.binary_gripper")
    if low is None or high is None or not 0 <= low < high <= 1:
        raise ExportError(
            path, "0 <= close_below < open_above <= 1", f"{low} and {high}", key="action.binary_gripper"
        )  # fmt: skip


def meant(x: np.ndarray, raw_state: np.ndarray, policy, stats) -> np.ndarray:
    """Normalised chunk [H, A] -> joint targets (rad) or tool poses as they are, and opening (0..1), [H, columns]. Padded
    columns are dropped."""
    names = policy.action.names()
    actions = stats.action.restore(x[:, : len(names)])
    word = policy["action.representation"]
    at = {name: float(value) for name, value in zip(policy.state.names(), raw_state)}
    if ANCHORED[word] and word not in TOOLS:
        joints = actions[:, : len(policy.action.joints)]
        if word == "joint_velocities":
            joints *= policy["action.period_s"]
        if word != "relative_joints":
            np.cumsum(joints, axis=0, out=joints)
        joints += [at[joint] for joint in policy.action.joints]
    if policy.action.gripper:
        opening = actions[:, -1]
        low, high = (policy[f"action.binary_gripper.{name}"] for name in THRESHOLDS)
        if low is None:
            np.clip(opening, 0.0, 1.0, out=opening)
        else:
            is_open = at.get("gripper", 0.0) >= HALF_OPEN
            for i, value in enumerate(opening):
                is_open = bool(value >= high or (is_open and value > low))
                opening[i] = is_open
    return actions.astype(np.float32)


def toml(policy, quoted) -> tuple[str, str]:
    """Lines of `[action]` beside its representation, and the table `[action.tool]`, as they stand in `bundle.toml`;
    `quoted` writes a text."""
    lines, table = "", ""
    if policy["action.anchor"] is not None:
        lines += f'anchor = "{policy["action.anchor"]}"\n'
    low, high = (policy[f"action.binary_gripper.{name}"] for name in THRESHOLDS)
    if low is not None:
        lines += f"binary_gripper = {{ open_above = {float(high)}, close_below = {float(low)} }}\n"
    if policy["action.representation"] in TOOLS:
        given = {name: policy[f"action.tool.{name}"] for name in TOOL_FIELDS}
        table = "\n[action.tool]\n" + "".join(f"{k} = {quoted(v)}\n" for k, v in given.items() if v is not None)
    return lines, table
