"""Modules without memory -> ONNX graphs whose weights are places in one file.

Decides: how `torch.export` and the ONNX exporter are used, which constants stay inside a graph. Does not decide: what
a graph computes (`graphs.py`), when weights are written (`data_file.py`).
"""

import logging
import warnings
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnxscript import optimizer
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from tactus_export import data_file
from tactus_export.data_file import DataFile
from tactus_export.graphs import PRECISIONS, Graph

# The first with attention and rotary embedding as operators.
OPSET = 23
# Folding may not make constants larger than this: weights stay where they are.
FOLD_VALUES = 1024
ONNX_TYPES = {"fp32": ir.DataType.FLOAT, "fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}


def lower(graph: Graph, inputs: list[torch.Tensor], dynamic: tuple, data: DataFile, folder: Path) -> ir.Model:
    """Exports one graph, traced with `inputs` whose dimensions `dynamic` stay open; its weights are planned in `data`. The
    model is complete once that file is written."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            _traceable(graph, inputs), tuple(inputs),
            dynamic_shapes=(dynamic,), strict=False,
        )  # fmt: skip
        onnx_program = torch.onnx.export(
            program, dynamo=True, optimize=False, verbose=False, opset_version=OPSET,
            input_names=list(graph.inputs), output_names=list(graph.outputs),
        )  # fmt: skip
    model = onnx_program.model
    constants = graph.module.constants()
    for name, value in list(model.graph.initializers.items()):
        if name in constants:
            value.const_value = ir.tensor(constants[name].numpy(), name=name)
        elif name in graph.sources:
            source = graph.sources[name]
            offset, length = data.place(source, PRECISIONS[graph.precision])
            value.const_value = ir.ExternalTensor(
                data_file.FILE, offset, length, ONNX_TYPES[graph.precision],
                shape=ir.Shape(source.shape), name=name, base_dir=folder,
            )  # fmt: skip
        else:
            assert not isinstance(value.const_value.raw, torch.Tensor) or value.const_value.raw.device.type != "meta", (
                name
            )
    return model


def finish(model: ir.Model, path: Path) -> None:
    """Folds small constants, removes what only the exporter needs, writes the file and checks it. The weights must be
    in place."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    optimizer.optimize_ir(
        model, input_size_limit=FOLD_VALUES, output_size_limit=FOLD_VALUES, onnx_shape_inference=False
    )
    proto = ir.serde.serialize_model(model)
    proto.ClearField("metadata_props")
    proto.graph.ClearField("metadata_props")
    # Shapes of intermediate values help nobody; ONNX Runtime infers its own.
    proto.graph.ClearField("value_info")
    for node in proto.graph.node:
        if node.op_type in ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"):
            # What only training reads is not made.
            node.output[1:3] = ["", ""]
    for part in (*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    path.write_bytes(proto.SerializeToString())
    onnx.checker.check_model(str(path))


class _Traced(torch.nn.Module):
    """The operators of a module's forward pass, derivatives written out, with the module's own parameters."""

    def __init__(self, module: torch.nn.Module, inputs: list[torch.Tensor]):
        super().__init__()
        for name, child in module.named_children():
            self.add_module(name, child)
        self.names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
        call = lambda values, given: torch.func.functional_call(module, dict(zip(self.names, values)), tuple(given))
        # Symbolic sizes: the dynamic dimensions stay dynamic.
        trace = make_fx(call, tracing_mode="symbolic", decomposition_table=core_aten_decompositions())
        self.graph_module = trace(self._values(), list(inputs))

    def _values(self) -> list[torch.Tensor]:
        known = dict((*self.named_parameters(), *self.named_buffers()))
        return [known[name] for name in self.names]

    def forward(self, *inputs):
        return self.graph_module(self._values(), list(inputs))


def _traceable(graph: Graph, inputs: list[torch.Tensor]) -> torch.nn.Module:
    """`torch.export` does not look into `torch.func.vjp`; `make_fx` does."""
    return _Traced(graph.module, inputs) if graph.name == "denoise_vjp" else graph.module
