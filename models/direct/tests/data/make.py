"""Makes past.onnx: a graph whose output shows what came in, for `direct_past.rs`.

Two observations of bytes and state, of any picture size, and noise. Rows of the output: state of the older observation, of the
newer; mean colours (0..1) of the older picture, of the newer; then the noise's.
"""

from pathlib import Path

from onnx import TensorProto, checker, helper, save

node, value = helper.make_node, helper.make_tensor_value_info


def main() -> None:
    inputs = [
        value("observation.images.top", TensorProto.UINT8, ["batch", 2, 3, "height", "width"]),
        value("observation.state", TensorProto.FLOAT, ["batch", 2, 3]),
        value("noise", TensorProto.FLOAT, ["batch", 8, 3]),
    ]
    weights = [
        helper.make_tensor("bytes", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("sides", TensorProto.INT64, [2], [3, 4]),
        helper.make_tensor("from", TensorProto.INT64, [1], [4]),
        helper.make_tensor("to", TensorProto.INT64, [1], [8]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        node("Cast", ["observation.images.top"], ["float"], to=TensorProto.FLOAT),
        node("Div", ["float", "bytes"], ["unit"]),
        node("ReduceMean", ["unit", "sides"], ["colours"], keepdims=0),
        node("Slice", ["noise", "from", "to", "axis"], ["drawn"]),
        node("Concat", ["observation.state", "colours", "drawn"], ["action"], axis=1),
    ]
    graph = helper.make_graph(nodes, "past", inputs, [value("action", TensorProto.FLOAT, ["batch", "rows", 3])], weights)
    model = helper.make_model(graph, producer_name="make.py", ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    checker.check_model(model)
    save(model, Path(__file__).with_name("past.onnx"))


if __name__ == "__main__":
    main()
