//! Buffers that are allocated once and bound by name, and the run over them.
//!
//! A buffer on the CPU is bound by address: what the host writes into it is seen by the next run, and one graph's
//! output buffer can be the next graph's input. Two things differ on a device:
//! - a [`Place::Device`] buffer lies in the device's memory, where the host can neither read nor write it, so what
//!   passes from graph to graph never visits the host;
//! - a [`Place::Host`] buffer is copied to the device when it is bound, so after writing to it the host must say
//!   [`Binding::refresh`], which does nothing on the CPU.

use std::time::{Duration, Instant};

use ort::{
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::IoBinding,
    value::{PrimitiveTensorElementType, Tensor},
};

use crate::{
    error::OnnxError,
    session::{Provider, Session},
};

/// Element types of buffers.
pub trait Scalar: PrimitiveTensorElementType + std::fmt::Debug + Copy + 'static {}
impl Scalar for f32 {}
impl Scalar for i64 {}
impl Scalar for u8 {}

/// Where a buffer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the host's memory: readable and writable here.
    Host,
    /// In the provider's memory, which is the host's for [`Provider::Cpu`].
    Device,
}

/// A tensor that is allocated once, row-major, zero at first.
#[derive(Debug)]
pub struct Buffer<T: Scalar> {
    graph: &'static str,
    name: String,
    tensor: Tensor<T>,
}

impl<T: Scalar> Buffer<T> {
    /// The values.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`] when they are not in the host's memory.
    pub fn read(&self) -> Result<&[T], OnnxError> {
        let Self {
            graph,
            name,
            tensor,
        } = self;
        let values = tensor.try_extract_tensor::<T>();
        values
            .map(|(_, values)| values)
            .map_err(|e| buffer_error(graph, name, &e))
    }

    /// The values, to be written in place. Follow with [`Binding::refresh`] on every binding that reads them.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`] when they are not in the host's memory.
    pub fn write(&mut self) -> Result<&mut [T], OnnxError> {
        let Self {
            graph,
            name,
            tensor,
        } = self;
        let values = tensor.try_extract_tensor_mut::<T>();
        values
            .map(|(_, values)| values)
            .map_err(|e| buffer_error(graph, name, &e))
    }
}

/// Which buffers a run reads and writes.
#[derive(Debug)]
pub struct Binding {
    pub(crate) graph: &'static str,
    provider: Provider,
    pub(crate) io: IoBinding,
}

impl Binding {
    /// Reads input `name` from `buffer`, now and in every later run.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`].
    pub fn input<T: Scalar>(&mut self, name: &str, buffer: &Buffer<T>) -> Result<(), OnnxError> {
        self.io
            .bind_input(name, &buffer.tensor)
            .map_err(|e| buffer_error(self.graph, name, &e))
    }

    /// Writes output `name` into `buffer` in every later run. The buffer's shape is the output's shape.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`].
    pub fn output<T: Scalar>(
        &mut self,
        name: &str,
        buffer: &mut Buffer<T>,
    ) -> Result<(), OnnxError> {
        self.io
            .bind_output(name, &mut buffer.tensor)
            .map_err(|e| buffer_error(self.graph, name, &e))
    }

    /// Says that the host wrote into `buffer` since it was bound as input `name`.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`].
    pub fn refresh<T: Scalar>(&mut self, name: &str, buffer: &Buffer<T>) -> Result<(), OnnxError> {
        match self.provider {
            Provider::Cpu => Ok(()),
            Provider::Cuda => self.input(name, buffer),
        }
    }
}

impl Session {
    /// Allocates a buffer for tensor `name` of this graph.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`] when the memory is not to be had.
    pub fn buffer<T: Scalar>(
        &self,
        name: &str,
        place: Place,
        shape: &[usize],
    ) -> Result<Buffer<T>, OnnxError> {
        let graph = self.graph().name();
        let allocate = || {
            let dims: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
            match (place, self.provider()) {
                (Place::Device, Provider::Cuda) => {
                    let memory = MemoryInfo::new(
                        AllocationDevice::CUDA,
                        0,
                        AllocatorType::Device,
                        MemoryType::Default,
                    )?;
                    Tensor::<T>::new(&Allocator::new(&self.session, memory)?, dims)
                }
                (Place::Host, _) | (Place::Device, Provider::Cpu) => {
                    Tensor::<T>::new(&Allocator::default(), dims)
                }
            }
        };
        match allocate() {
            Ok(tensor) => Ok(Buffer {
                graph,
                name: name.into(),
                tensor,
            }),
            Err(error) => Err(buffer_error(graph, name, &error)),
        }
    }

    /// A binding without buffers.
    ///
    /// # Errors
    /// [`OnnxError::Run`].
    pub fn binding(&self) -> Result<Binding, OnnxError> {
        match self.session.create_binding() {
            Ok(io) => Ok(Binding {
                graph: self.graph().name(),
                provider: self.provider(),
                io,
            }),
            Err(error) => Err(self.run_error(&error)),
        }
    }

    /// Runs the graph once over `binding` and says how long it took inside ONNX Runtime.
    ///
    /// # Errors
    /// [`OnnxError::Run`].
    pub fn run(&mut self, binding: &Binding) -> Result<Duration, OnnxError> {
        let started = Instant::now();
        let outcome = self.session.run_binding(&binding.io).map(drop);
        let took = started.elapsed();
        match outcome {
            Ok(()) => Ok(took),
            Err(error) => Err(self.run_error(&error)),
        }
    }

    /// Runs the graph once over the inputs of `binding` to learn the shapes of its outputs, in the order of
    /// [`Session::outputs`]. For graphs whose output shapes follow from input shapes in ways only they know.
    /// Outputs of `binding` are forgotten.
    ///
    /// # Errors
    /// [`OnnxError::Run`].
    pub fn output_shapes(&mut self, binding: &mut Binding) -> Result<Vec<Vec<usize>>, OnnxError> {
        let names: Vec<String> = self
            .outputs()
            .iter()
            .map(|output| output.name.clone())
            .collect();
        let mut probe = || {
            binding.io.clear_outputs();
            let memory = MemoryInfo::default();
            for name in &names {
                binding.io.bind_output_to_device(name, &memory)?;
            }
            let values = self.session.run_binding(&binding.io)?;
            let mut shapes = Vec::with_capacity(names.len());
            for name in &names {
                let shape = values.get(name).map(|value| value.dtype());
                let dims = shape.and_then(|dtype| dtype.tensor_shape());
                let dims = dims.map(|dims| dims.iter().map(|d| usize::try_from(*d).unwrap_or(0)));
                shapes.push(dims.map(Iterator::collect).unwrap_or_default());
            }
            drop(values);
            binding.io.clear_outputs();
            Ok(shapes)
        };
        probe().map_err(|e: ort::Error| OnnxError::Run {
            graph: binding.graph,
            reason: e.to_string(),
        })
    }

    fn run_error(&self, error: &ort::Error) -> OnnxError {
        OnnxError::Run {
            graph: self.graph().name(),
            reason: error.to_string(),
        }
    }
}

pub(crate) fn buffer_error(graph: &'static str, name: &str, error: &ort::Error) -> OnnxError {
    OnnxError::Buffer {
        graph,
        tensor: name.into(),
        reason: error.to_string(),
    }
}
