"""Checkpoint of a vision-language-action policy -> bundle of ONNX graphs that the runtime loads.

In data order: `cli` reads the command line, `policy`, `cell`, `stats` and `checkpoint` the inputs, `images` and
`prompt` make what the model sees, `reference` and `reference_head` compute golden values, `golden` writes them,
`vision`, `text` and `head` are the modules that become graphs, `graphs` names their inputs and outputs, `lower` turns
them into ONNX, `data_file` streams the weights, `manifest` describes the bundle, `verify` compares it with the golden
values, `bundle` runs all of it.
"""

__version__ = "0.1.0"
