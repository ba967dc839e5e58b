//! What this machine does at best: operations per second in matrix products, and bytes per second from memory.
//!
//! Both are measured here and now, on the CPU with as many threads as the graphs get, on a device in the precision of the
//! graphs, because a data sheet says little of a rented core and of a throttled card. A graph can be no faster than its
//! operations and its weights' bytes allow; how near it comes is for the reader of a benchmark to judge.

use std::{
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use ort::{
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::{RunOptions, Session as OrtSession},
    value::{DynTensor, Tensor, TensorElementType},
};
use tactus_bundle::Precision;

use crate::{
    device::{Laps, Stream},
    error::OnnxError,
    library::OnnxRuntime,
    session::{Provider, builder, register},
    trial::square,
};

/// Side of the matrices. Large enough that what is not arithmetic vanishes, small enough for a cache.
const SIDE: usize = 512;
/// Products; the fastest counts.
const PRODUCTS: usize = 20;
/// Memory that is read, bytes: more than any cache holds.
const READ_BYTES: usize = 256 << 20;
/// Times that it is read; the fastest counts.
const READS: usize = 4;
/// Sides of the matrices that a device multiplies, and of those that it adds: 256 MB each.
const DEVICE_SIDES: [usize; 2] = [4096, 8192];
/// Times that either is put into the stream at once, and how often that is done; the fastest counts.
const DEVICE_RUNS: [usize; 2] = [10, 5];

/// What this machine does at best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceiling {
    /// Additions and multiplications per second, single precision, through ONNX Runtime.
    pub operations_per_s: f64,
    /// Bytes per second read from memory.
    pub bytes_per_s: f64,
}

impl Ceiling {
    /// Measures the CPU with `threads` threads, or the device in `precision`; takes about a second.
    ///
    /// # Errors
    /// [`OnnxError`] when ONNX Runtime cannot multiply matrices.
    pub fn measure(
        runtime: &OnnxRuntime,
        provider: Provider,
        threads: usize,
        precision: Precision,
    ) -> Result<Self, OnnxError> {
        match provider {
            Provider::Cpu => Ok(Self {
                operations_per_s: operations(runtime, threads)?,
                bytes_per_s: bandwidth(threads),
            }),
            Provider::Cuda | Provider::TensorRt => on_device(runtime, precision),
        }
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
        .commit_from_memory(&square("MatMul", 1, SIDE))
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

/// Products in `precision`, and sums of single numbers, of which two are read and one is written.
fn on_device(runtime: &OnnxRuntime, precision: Precision) -> Result<Ceiling, OnnxError> {
    let (number, element) = match precision {
        Precision::Fp32 => (1, TensorElementType::Float32),
        Precision::Fp16 => (10, TensorElementType::Float16),
        Precision::Bf16 => (16, TensorElementType::Bfloat16),
    };
    let [products, sums] = DEVICE_SIDES;
    let failed = |reason: String| OnnxError::Run {
        graph: "matrix product",
        reason,
    };
    let stream = Stream::new(runtime).map_err(failed)?;
    let seconds = |op: &str, (number, element), side| {
        let mut builder = builder(runtime, 1)?;
        register(&mut builder, Provider::Cuda, stream, (runtime, false))?;
        let session = builder.commit_from_memory(&square(op, number, side));
        let mut session = session.map_err(|e| e.to_string())?;
        repeated(&mut session, stream, (element, side))
    };
    let product = seconds("MatMul", (number, element), products).map_err(failed)?;
    let sum = seconds("Add", (1, TensorElementType::Float32), sums).map_err(failed)?;
    Ok(Ceiling {
        operations_per_s: 2.0 * (products as f64).powi(3) / product,
        bytes_per_s: 3.0 * 4.0 * (sums as f64).powi(2) / sum,
    })
}

/// Seconds of one run over matrices on the device, by the device's own clock.
fn repeated(
    session: &mut OrtSession,
    stream: &'static Stream,
    (element, side): (TensorElementType, usize),
) -> Result<f64, String> {
    let laps = Laps::new(stream, 2)?;
    let mut options = RunOptions::new().map_err(|e| e.to_string())?;
    let mut run = || -> ort::Result<Option<Duration>> {
        options.disable_device_sync()?;
        let memory = MemoryInfo::new(
            AllocationDevice::CUDA,
            0,
            AllocatorType::Device,
            MemoryType::Default,
        )?;
        let allocator = Allocator::new(session, memory)?;
        let make = || DynTensor::new(&allocator, element, [side, side]);
        let (x, y, mut z) = (make()?, make()?, make()?);
        let mut binding = session.create_binding()?;
        binding.bind_input("x", &x)?;
        binding.bind_input("y", &y)?;
        binding.bind_output("z", &mut z)?;
        let [runs, times] = DEVICE_RUNS;
        let mut fastest = None;
        for _ in 0..times {
            laps.mark(0);
            for _ in 0..runs {
                session.run_binding_with_options(&binding, &options)?;
            }
            laps.mark(1);
            stream.wait().map_err(ort::Error::new)?;
            let took = laps.between(0, 1);
            fastest = [fastest, took].into_iter().flatten().min();
        }
        Ok(fastest)
    };
    let fastest = run().map_err(|e| e.to_string())?;
    let fastest = fastest.ok_or("the device's clock says nothing")?;
    Ok(fastest.as_secs_f64().max(1e-9) / DEVICE_RUNS[0] as f64)
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
