//! What this machine does at best: operations per second in matrix products, and bytes per second from memory.
//!
//! Both are measured here and now with as many threads as the graphs get, because a rented core's data sheet says
//! little. A graph can be no faster than its operations and its weights' bytes allow; how near it comes is for the
//! reader of a benchmark to judge.

use std::{
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use ort::value::Tensor;

use crate::{
    error::OnnxError,
    library::OnnxRuntime,
    session::{Provider, builder},
};

/// Side of the matrices. Large enough that what is not arithmetic vanishes, small enough for a cache.
const SIDE: usize = 512;
/// Products; the fastest counts.
const PRODUCTS: usize = 20;
/// Memory that is read, bytes: more than any cache holds.
const READ_BYTES: usize = 256 << 20;
/// Times that it is read; the fastest counts.
const READS: usize = 4;

/// What this machine does at best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    /// Additions and multiplications per second, single precision, through ONNX Runtime.
    pub operations_per_s: f64,
    /// Bytes per second read from memory.
    pub bytes_per_s: f64,
}

impl Ceiling {
    /// Measures the CPU with `threads` threads; takes about a second.
    ///
    /// # Errors
    /// [`OnnxError`] when ONNX Runtime cannot multiply matrices.
    pub fn measure(runtime: &OnnxRuntime, threads: usize) -> Result<Self, OnnxError> {
        Ok(Self {
            operations_per_s: operations(runtime, threads)?,
            bytes_per_s: bandwidth(threads),
        })
    }

    /// Shortest time for so many operations and bytes, whichever takes longer.
    pub fn floor(&self, operations: f64, bytes: f64) -> Duration {
        let secs = (operations / self.operations_per_s).max(bytes / self.bytes_per_s);
        Duration::try_from_secs_f64(secs).unwrap_or(Duration::MAX)
    }
}

fn operations(runtime: &OnnxRuntime, threads: usize) -> Result<f64, OnnxError> {
    const GRAPH: &str = "matrix product";
    let open = |reason: String| OnnxError::Open {
        graph: GRAPH,
        file: PathBuf::from("in memory"),
        provider: Provider::Cpu.name(),
        reason,
    };
    let mut builder = builder(runtime, threads).map_err(open)?;
    let mut session = builder
        .commit_from_memory(&product())
        .map_err(|e| open(e.to_string()))?;
    let mut fastest = f64::INFINITY;
    let mut run = || -> Result<(), ort::Error> {
        let values: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 7) as f32 - 3.0).collect();
        let x = Tensor::from_array(([SIDE, SIDE], values.clone()))?;
        let y = Tensor::from_array(([SIDE, SIDE], values))?;
        for _ in 0..PRODUCTS {
            let started = Instant::now();
            black_box(session.run(ort::inputs!["x" => &x, "y" => &y])?);
            fastest = fastest.min(started.elapsed().as_secs_f64());
        }
        Ok(())
    };
    run().map_err(|e| OnnxError::Run {
        graph: GRAPH,
        reason: e.to_string(),
    })?;
    Ok(2.0 * (SIDE as f64).powi(3) / fastest)
}

fn bandwidth(threads: usize) -> f64 {
    // Written once, so that every page is there.
    let memory: Vec<u64> = (0..(READ_BYTES / 8) as u64).collect();
    let part = memory.len().div_ceil(threads.max(1));
    let mut fastest = f64::INFINITY;
    for _ in 0..READS {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for chunk in memory.chunks(part) {
                scope.spawn(move || {
                    let sum = chunk
                        .iter()
                        .fold(0_u64, |sum, value| sum.wrapping_add(*value));
                    black_box(sum);
                });
            }
        });
        fastest = fastest.min(started.elapsed().as_secs_f64());
    }
    READ_BYTES as f64 / fastest
}

/// An ONNX file of the graph `z = x y` for square matrices; the field numbers are those of onnx.proto.
fn product() -> Vec<u8> {
    let text = |number: u8, value: &[u8]| [&[number << 3 | 2, value.len() as u8], value].concat();
    let number = |number: u8, value: usize| {
        [number << 3, (value % 128) as u8 | 128, (value / 128) as u8].to_vec()
    };
    let side = text(1, &number(1, SIDE));
    let shape = [side.clone(), side].concat();
    let tensor = [number(1, 1), text(2, &shape)].concat();
    let value = |name: &str| [text(1, name.as_bytes()), text(2, &text(1, &tensor))].concat();
    let node = [
        text(1, b"x"),
        text(1, b"y"),
        text(2, b"z"),
        text(4, b"MatMul"),
    ]
    .concat();
    let graph = [
        text(1, &node),
        text(2, b"product"),
        text(11, &value("x")),
        text(11, &value("y")),
        text(12, &value("z")),
    ]
    .concat();
    // Longer than 127 bytes, so its length takes two.
    let length = [(graph.len() % 128) as u8 | 128, (graph.len() / 128) as u8];
    let opset = text(8, &number(2, 17));
    [
        number(1, 8),
        opset,
        [7 << 3 | 2].to_vec(),
        length.to_vec(),
        graph,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slower_of_arithmetic_and_memory_decides() {
        let ceiling = Ceiling {
            operations_per_s: 1e9,
            bytes_per_s: 1e8,
        };
        assert_eq!(ceiling.floor(2e9, 1e8), Duration::from_secs(2));
        assert_eq!(ceiling.floor(1e9, 3e8), Duration::from_secs(3));
    }
}
