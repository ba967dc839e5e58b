"""Makes circles.onnx: the policy of `pair.rs`, which moves two simulated arms.

Of each arm it leads base_yaw and wrist_roll round a circle, from wherever they are, the left one way and the right the other, and
wants all other joints where they rest; the left gripper at 0.3, the right at 0.8. The picture is looked at and changes nothing.
Columns are in an order of their own, so that they have to be found by their names.
"""

from math import cos, sin
from pathlib import Path

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

SIDE, ROWS, PERIOD_S = 32, 20, 0.05
REST = {"base_yaw": 0.0, "shoulder_pitch": -0.13, "elbow_pitch": 1.83, "forearm_roll": 0.0, "wrist_pitch": 1.44, "wrist_roll": 0.0}
# The right arm first, each from its last joint to its first, grippers in between.
COLUMNS = [f"{side}_{name}" for side in ("right", "left") for name in [*reversed(REST), "gripper"]]
RADIUS, RAD_PER_S = 0.25, 1.2

node, value = helper.make_node, helper.make_tensor_value_info


def main() -> None:
    n = len(COLUMNS)
    still = np.zeros((1, 1, n), np.float32)
    for i, name in enumerate(COLUMNS):
        side, joint = name.split("_", 1)
        still[0, 0, i] = REST.get(joint, 0.3 if side == "left" else 0.8)
    pick = {side: np.zeros((n, 2), np.float32) for side in ("left", "right")}
    turn = {side: np.zeros((ROWS, 2, n), np.float32) for side in pick}
    for side, way in (("left", 1.0), ("right", -1.0)):
        at = [COLUMNS.index(f"{side}_{joint}") for joint in ("base_yaw", "wrist_roll")]
        for k, column in enumerate(at):
            pick[side][column, k] = 1.0
        for row in range(ROWS):
            angle = way * RAD_PER_S * PERIOD_S * (row + 1)
            c, s = cos(angle), sin(angle)
            turn[side][row, 0, at[0]], turn[side][row, 0, at[1]] = c, s
            turn[side][row, 1, at[0]], turn[side][row, 1, at[1]] = -s, c
    weights = {
        "sides": np.array([1, 2, 3], np.int64),
        "nothing": np.array(0.0, np.float32),
        "still": still,
        "centre": np.array([[0.1, 0.0]], np.float32),
        "two": np.array(2.0, np.float32),
        "last": np.array([1], np.int64),
        "least": np.array(1e-3, np.float32),
        "radius": np.array(RADIUS, np.float32),
        "middle": np.zeros((1, 1, n), np.float32),
    }
    for side in pick:
        weights[f"pick_{side}"], weights[f"turn_{side}"] = pick[side], turn[side]
        weights["middle"][0, 0, COLUMNS.index(f"{side}_base_yaw")] = 0.1
    nodes = [
        node("Cast", ["observation.images.scene"], ["picture"], to=TensorProto.FLOAT),
        node("ReduceMean", ["picture", "sides"], ["grey"], keepdims=0),
        node("Mul", ["grey", "nothing"], ["zero"]),
        node("Add", ["still", "middle"], ["rest"]),
        node("Add", ["rest", "zero"], ["base"]),
    ]
    total = "base"
    for side in pick:
        nodes += [
            node("MatMul", ["observation.state", f"pick_{side}"], [f"at_{side}"]),
            node("Sub", [f"at_{side}", "centre"], [f"from_{side}"]),
            node("Pow", [f"from_{side}", "two"], [f"squares_{side}"]),
            node("ReduceSum", [f"squares_{side}", "last"], [f"square_{side}"], keepdims=1),
            node("Sqrt", [f"square_{side}"], [f"far_{side}"]),
            node("Max", [f"far_{side}", "least"], [f"length_{side}"]),
            node("Div", [f"from_{side}", f"length_{side}"], [f"unit_{side}"]),
            node("Mul", [f"unit_{side}", "radius"], [f"way_{side}"]),
            # [1, 2] by [rows, 2, columns] is [rows, 1, columns].
            node("MatMul", [f"way_{side}", f"turn_{side}"], [f"turned_{side}"]),
            node("Transpose", [f"turned_{side}"], [f"rows_{side}"], perm=[1, 0, 2]),
            node("Add", [total, f"rows_{side}"], [f"sum_{side}"]),
        ]
        total = f"sum_{side}"
    nodes.append(node("Identity", [total], ["action"]))
    inputs = [
        value("observation.images.scene", TensorProto.UINT8, [1, 3, SIDE, SIDE]),
        value("observation.state", TensorProto.FLOAT, [1, n]),
    ]
    outputs = [value("action", TensorProto.FLOAT, [1, ROWS, n])]
    made = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "circles", inputs, outputs, made)
    model = helper.make_model(graph, producer_name="make.py", ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    checker.check_model(model, full_check=True)
    save(model, Path(__file__).with_name("circles.onnx"))
    joints = ", ".join(f'"{name}"' for name in COLUMNS)
    text = f"""# What `tactus bundle wrap` cannot see in circles.onnx; written by make.py.
task = "go round"
period_s = {PERIOD_S}
first_action_offset_s = {PERIOD_S}
joints = [{joints}]
representation = "absolute_joints"
normalisation = "as_is"
units = "rad"
gripper = [0.0, 1.0]

[input."observation.images.scene"]
range = "bytes"
"""
    Path(__file__).with_name("map.toml").write_text(text)


if __name__ == "__main__":
    main()
