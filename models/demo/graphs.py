"""The four ONNX graphs: wrappers around the modules, their export, and the one weights file they share.

Names, shapes and order of the tensors are the contract with the runtime; see `SPECS` and the README.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, external_data_helper, numpy_helper
from torch import nn

from head import ActionHead
from model import Mllm

OPSET = 18
WEIGHTS = "weights.bin"
# Initializers smaller than this stay inside the graph (shapes, scalars, axes).
INLINE_BYTES = 1024
ALIGN = 64


class Vision(nn.Module):
    def __init__(self, mllm: Mllm):
        super().__init__()
        self.tower = mllm.model.visual

    def forward(self, pixel_values, pos_ids, window_index, seg_full, seg_window):
        return self.tower.packed(pixel_values, pos_ids, window_index, seg_full, seg_window)


class Backbone(nn.Module):
    def __init__(self, mllm: Mllm):
        super().__init__()
        self.mllm = mllm

    def forward(self, input_ids, image_embeds, image_rows, position_ids):
        return self.mllm.features(input_ids, image_embeds[None], image_rows[None], position_ids)


class Context(nn.Module):
    def __init__(self, head: ActionHead):
        super().__init__()
        self.head = head

    def forward(self, features, state):
        token, cross = self.head.context(features, state)
        return (token, *(tensor for pair in cross for tensor in pair))


class Denoise(nn.Module):
    def __init__(self, head: ActionHead):
        super().__init__()
        self.head = head

    def forward(self, x, time, dt, prefix, prefix_mask, token, k0, v0, k1, v1):
        return self.head.step(x, time, dt, prefix, prefix_mask, token, [(k0, v0), (k1, v1)])


CONTEXT = ("ctx.state", "ctx.k0", "ctx.v0", "ctx.k1", "ctx.v1")
# name -> (inputs, outputs, dynamic axes)
SPECS = {
    "vision": (
        ("pixel_values", "pos_ids", "window_index", "seg_full", "seg_window"), ("image_embeds",),
        ({0: "patches"}, {0: "patches"}, {0: "units"}, {0: "patches"}, {0: "patches"}),
    ),
    "backbone": (
        ("input_ids", "image_embeds", "image_rows", "position_ids"), ("features",),
        ({1: "length"}, {0: "units"}, {0: "units"}, {2: "length"}),
    ),
    "context": (("features", "state"), CONTEXT, ({1: "length"}, None)),
    "denoise": (
        ("x", "time", "dt", "prefix", "prefix_mask", *CONTEXT), ("x_next",),
        (None,) * 6 + ({2: "length"},) * 4,
    ),
}


def wrappers(mllm: Mllm, head: ActionHead) -> dict[str, nn.Module]:
    if len(head.model.transformer_blocks) != 4:
        raise ValueError(f"head: expected 4 blocks, got {len(head.model.transformer_blocks)}")
    return {"vision": Vision(mllm), "backbone": Backbone(mllm), "context": Context(head), "denoise": Denoise(head)}


def export(name: str, module: nn.Module, example: dict[str, torch.Tensor]) -> onnx.ModelProto:
    """Exports one graph with the dynamo exporter; example tensors by name."""
    inputs, outputs, axes = SPECS[name]
    dims: dict[str, object] = {}
    dynamic = []
    for axis in axes:
        if axis is None:
            dynamic.append(None)
            continue
        dynamic.append({i: dims.setdefault(d, _dim(d, dims)) for i, d in axis.items()})
    program = torch.onnx.export(
        module.eval(), tuple(example[i] for i in inputs), dynamo=True, opset_version=OPSET, verbose=False,
        input_names=list(inputs), output_names=list(outputs), dynamic_shapes=tuple(dynamic),
    )
    model = program.model_proto
    model.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


def _dim(name: str, dims: dict) -> object:
    if name == "patches":
        unit = dims.setdefault("units", torch.export.Dim("units", min=4, max=4096))
        return 4 * unit
    return torch.export.Dim(name, min=2, max=4096)


def share_weights(models: dict[str, onnx.ModelProto], folder: Path) -> int:
    """Moves every larger initializer into one file, equal ones stored once, and writes the graphs. -> bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    blob, known = bytearray(), {}
    for model in models.values():
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.nbytes < INLINE_BYTES:
                tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
                continue
            data = np.ascontiguousarray(array).tobytes()
            key = (data, str(array.dtype), array.shape)
            if key not in known:
                blob += b"\0" * (-len(blob) % ALIGN)
                known[key] = len(blob)
                blob += data
            name, shape, kind = tensor.name, list(array.shape), tensor.data_type
            tensor.Clear()
            tensor.name, tensor.data_type = name, kind
            tensor.dims.extend(shape)
            tensor.raw_data = b""
            external_data_helper.set_external_data(tensor, WEIGHTS, known[key], len(data))
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
    (folder / WEIGHTS).write_bytes(bytes(blob))
    for name, model in models.items():
        path = folder / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(path))
    return len(blob)
