"""Makes golden.json: poses, Jacobians and distances of three arms as Pinocchio and Coal have them.

Run: `pip install pin==4.1.0 && python make.py`. Joint values follow `joints`, which is not the order along the chain.
Poses `tip` are of the tip in the base frame, [x, y, z, qx, qy, qz, qw]; Jacobians six rows, linear first, in the base frame
at the tip; `distances` of pairs of links, less than 0 where they overlap.
"""

import json
import random
from pathlib import Path

import coal
import numpy as np
import pinocchio as pin

HERE = Path(__file__).parent
ARMS = [
    ("odd_arm", HERE / "odd_arm.urdf", "pedestal", "tool", ["f", "c", "a", "d", "b", "e"], ["finger"]),
    ("seven_arm", HERE / "seven_arm.urdf", "base", "tip", [f"j{i}" for i in range(1, 8)], []),
    ("sim_arm", HERE / "../../../../drivers/sim/assets/arm.urdf", "base", "tip",
     ["base_yaw", "shoulder_pitch", "elbow_pitch", "forearm_roll", "wrist_pitch", "wrist_roll"], []),
]


def arm(name, urdf, base, tip, joints, skip):
    model = pin.buildModelFromUrdf(str(urdf))
    geometry = pin.buildGeomFromUrdf(model, str(urdf), pin.GeometryType.COLLISION)
    data, shapes = model.createData(), geometry.createData()
    body = pin.FrameType.BODY
    base_frame, tip_frame = model.getFrameId(base, body), model.getFrameId(tip, body)
    columns = [model.joints[model.getJointId(j)].idx_v for j in joints]
    links = {}
    for shape in geometry.geometryObjects:
        link = model.frames[shape.parentFrame].name
        if link not in skip:
            links.setdefault(link, []).append(geometry.getGeometryId(shape.name))
    draw, poses = random.Random(7), []
    for _ in range(12):
        q, values = pin.neutral(model), []
        for j in joints:
            joint = model.joints[model.getJointId(j)]
            if joint.nq == 2:  # continuous: cosine and sine
                v = draw.uniform(-6, 6)
                q[joint.idx_q:joint.idx_q + 2] = [np.cos(v), np.sin(v)]
            else:
                v = draw.uniform(model.lowerPositionLimit[joint.idx_q], model.upperPositionLimit[joint.idx_q])
                q[joint.idx_q] = v
            values.append(v)
        pin.framesForwardKinematics(model, data, q)
        pin.updateGeometryPlacements(model, data, geometry, shapes)
        x_bw = data.oMf[base_frame].inverse()
        jacobian = pin.computeFrameJacobian(model, data, q, tip_frame, pin.LOCAL_WORLD_ALIGNED)[:, columns]
        turn = np.kron(np.eye(2), x_bw.rotation)
        distances = []
        for one in links:
            for other in links:
                if one < other:
                    least = min(
                        coal.distance(geometry.geometryObjects[a].geometry, shapes.oMg[a],
                                      geometry.geometryObjects[b].geometry, shapes.oMg[b],
                                      coal.DistanceRequest(), coal.DistanceResult())
                        for a in links[one] for b in links[other])
                    distances.append([one, other, least])
        poses.append({
            "q": values,
            "tip": pin.SE3ToXYZQUAT(x_bw * data.oMf[tip_frame]).tolist(),
            "jacobian": (turn @ jacobian).tolist(),
            "distances": distances,
        })
    return {"name": name, "base": base, "tip": tip, "joints": joints, "skip": skip, "poses": poses}


(HERE / "golden.json").write_text(json.dumps([arm(*a) for a in ARMS], indent=None, separators=(",", ":")) + "\n")
