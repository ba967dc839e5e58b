//! Whether a device computes at all: a product and a sum of matrices on it, before any graph is opened there. The product is
//! cuBLAS's, the sum a kernel of ONNX Runtime's.
//!
//! A driver, libraries and a device can all be there, sessions open, and still nothing runs: the GPU is older than the kernels
//! in ONNX Runtime's build, a library of CUDA does not load, others have taken the memory. All of that shows in a run.
//! Decides whether there was one. Does not decide what happens where there was none (`session` does), nor look at the numbers, which
//! `bundle verify` is for.

use std::sync::OnceLock;

use ort::value::Tensor;

use crate::{
    device::{Stream, calm},
    library::OnnxRuntime,
    session::{Provider, builder, register},
};

/// Side of the matrices.
const SIDE: usize = 64;

/// Why a product or a sum cannot be made on the device; found out once in a process, which has one ONNX Runtime and one
/// device.
pub(crate) fn computes(runtime: &OnnxRuntime, stream: &'static Stream) -> Result<(), String> {
    static OUTCOME: OnceLock<Result<(), String>> = OnceLock::new();
    let outcome = OUTCOME.get_or_init(|| {
        run(runtime, stream, "MatMul")?;
        run(runtime, stream, "Add")
    });
    outcome.clone()
}

fn run(runtime: &OnnxRuntime, stream: &'static Stream, op: &str) -> Result<(), String> {
    let mut builder = builder(runtime, 1)?;
    register(&mut builder, Provider::Cuda, stream, (runtime, false))?;
    let _calm = calm();
    let mut run = || -> ort::Result<()> {
        let mut session = builder.commit_from_memory(&square(op, 1, SIDE))?;
        let matrix = || Tensor::from_array(([SIDE, SIDE], vec![1.0_f32; SIDE * SIDE]));
        let (x, y) = (matrix()?, matrix()?);
        session.run(ort::inputs!["x" => &x, "y" => &y]).map(drop)
    };
    run().map_err(|e| e.to_string())
}

/// An ONNX file of the graph `z = op(x, y)` for square matrices of `side` (at most 16383) with elements of type `element`; the
/// numbers are those of onnx.proto.
pub(crate) fn square(op: &str, element: usize, side: usize) -> Vec<u8> {
    let text = |number: u8, value: &[u8]| [&[number << 3 | 2, value.len() as u8], value].concat();
    let number = |number: u8, value: usize| match value {
        0..128 => vec![number << 3, value as u8],
        _ => vec![number << 3, (value % 128) as u8 | 128, (value / 128) as u8],
    };
    let side = text(1, &number(1, side));
    let shape = [side.clone(), side].concat();
    let tensor = [number(1, element), text(2, &shape)].concat();
    let value = |name: &str| [text(1, name.as_bytes()), text(2, &text(1, &tensor))].concat();
    let node = [
        text(1, b"x"),
        text(1, b"y"),
        text(2, b"z"),
        text(4, op.as_bytes()),
    ]
    .concat();
    let graph = [
        text(1, &node),
        text(2, b"square"),
        text(11, &value("x")),
        text(11, &value("y")),
        text(12, &value("z")),
    ]
    .concat();
    // A length above 127 takes two bytes.
    let length = match graph.len() {
        short @ 0..128 => vec![short as u8],
        long => vec![(long % 128) as u8 | 128, (long / 128) as u8],
    };
    let opset = text(8, &number(2, 17));
    [number(1, 8), opset, vec![7 << 3 | 2], length, graph].concat()
}
