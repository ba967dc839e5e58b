"""Makes represent.json: the numbers of a chunk's actions in every representation, as Pinocchio and scipy have them.

Run: `pip install pin==4.1.0 scipy==1.17.1 && python make.py`. The arm is the simulated one. `rows` are joints in its order and
the tip's pose in the base frame, [x, y, z, qx, qy, qz, qw]; `numbers` of a case are one list per row.
"""

import json
from pathlib import Path

import numpy as np
import pinocchio as pin
from scipy.spatial.transform import Rotation

HERE = Path(__file__).parent
URDF = HERE / "../../../../drivers/sim/assets/arm.urdf"
PERIOD_S = 0.05
ANCHOR = [0.4, 0.35, 1.5, 0.6, 0.9, -0.7]
ROWS = [[0.42, 0.33, 1.53, 0.55, 0.96, -0.62], [0.47, 0.36, 1.49, 0.48, 1.01, -0.5], [0.5, 0.42, 1.4, 0.5, 1.0, -0.55]]

ROTATIONS = {
    "quaternion_xyzw": lambda r: r.as_quat(canonical=True),
    "quaternion_wxyz": lambda r: r.as_quat(canonical=True, scalar_first=True),
    "rotation_vector": lambda r: r.as_rotvec(),
    "six_columns": lambda r: r.as_matrix()[:, :2].T.ravel(),
    "six_rows": lambda r: r.as_matrix()[:2].ravel(),
    "euler_xyz_intrinsic": lambda r: r.as_euler("XYZ"),
    "euler_xyz_extrinsic": lambda r: r.as_euler("xyz"),
}

model = pin.buildModelFromUrdf(str(URDF))
data = model.createData()


def tip(q):
    """Place and rotation of the tip; joints 1..6 of the file are in the arm's order."""
    pin.framesForwardKinematics(model, data, np.array(q))
    x = data.oMf[model.getFrameId("tip", pin.FrameType.BODY)]
    return x.translation.copy(), Rotation.from_matrix(x.rotation.copy())


def way(start, end, frame):
    """From one pose to another in the base frame's axes or in the first pose's own."""
    (p0, r0), (p, r) = start, end
    if frame == "tool":
        return r0.inv().apply(p - p0), r0.inv() * r
    return p - p0, r * r0.inv()


def joints(representation):
    before, out = np.array(ANCHOR), []
    for row in map(np.array, ROWS):
        origin = {"absolute_joints": 0.0, "relative_joints": np.array(ANCHOR)}.get(representation, before)
        out.append((row - origin) / (PERIOD_S if representation == "joint_velocities" else 1.0))
        before = row
    return out


def tools(representation, rotation, frame):
    anchor = before = tip(ANCHOR)
    out = []
    for row in ROWS:
        pose = tip(row)
        place, turn = {
            "tool_poses": lambda: pose,
            "relative_tool_poses": lambda: way(anchor, pose, frame),
            "tool_steps": lambda: way(before, pose, frame),
        }[representation]()
        out.append(np.concatenate([place, ROTATIONS[rotation](turn)]))
        before = pose
    return out


def plain(rows):
    return [[round(float(v), 13) for v in row] for row in rows]


cases = [
    {"representation": word, "numbers": plain(joints(word))}
    for word in ("absolute_joints", "relative_joints", "joint_steps", "joint_velocities")
]
for word, frames in (("tool_poses", [None]), ("relative_tool_poses", ["base", "tool"]), ("tool_steps", ["base", "tool"])):
    for frame in frames:
        for rotation in ROTATIONS:
            numbers = plain(tools(word, rotation, frame))
            cases.append({"representation": word, "rotation": rotation, "frame": frame, "numbers": numbers})
rows = [{"q": row, "tip": plain([np.concatenate([tip(row)[0], tip(row)[1].as_quat(canonical=True)])])[0]} for row in ROWS]
content = {"period_s": PERIOD_S, "anchor": ANCHOR, "rows": rows, "cases": cases}
(HERE / "represent.json").write_text(json.dumps(content).replace('{"representation"', '\n{"representation"') + "\n")
