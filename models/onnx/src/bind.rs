//! Buffers that are allocated once and bound by name, and the run over them.
//!
//! A buffer on the CPU is bound by address: what the host writes into it is seen by the next run, and one graph's
//! output buffer can be the next graph's input. On a device it is the same, with two places for a buffer:
//! - a [`Place::Device`] buffer lies in the device's memory, where the host can neither read nor write it, so what
//!   passes from graph to graph never visits the host;
//! - a [`Place::Host`] buffer lies there too, and has a copy in page-locked memory that the host reads and writes. After
//!   writing the host says [`Binding::refresh`], and before reading [`Buffer::fetch`]; on the CPU both do nothing.
//!
//! Addresses never change, so that a captured run finds everything where it was. On a device [`Session::run`] returns
//! when the run is in the stream; [`Buffer::fetch`] waits for all of it.

use std::{
    cell::Cell,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use ort::{
    memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType},
    session::{IoBinding, NoSelectedOutputs, RunOptions},
    value::{PrimitiveTensorElementType, Tensor},
};

use crate::{
    device::{Stream, calm, capturing},
    error::OnnxError,
    session::Session,
};

/// Bindings of a session whose runs are captured. ONNX Runtime keeps a capture for the life of its session, so there must
/// be an end to them; what is bound later runs node by node.
const MOST_CAPTURES: u32 = 512;

/// Element types of buffers.
pub trait Scalar: PrimitiveTensorElementType + std::fmt::Debug + Copy + Default + 'static {}
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

/// A tensor that is allocated once, row-major; zero at first where the host can read it.
#[derive(Debug)]
pub struct Buffer<T: Scalar> {
    graph: &'static str,
    name: String,
    /// What is bound.
    tensor: Tensor<T>,
    /// The host's copy of a tensor on a device.
    copy: Option<HostCopy<T>>,
}

/// Page-locked memory of the host, and what became of it.
#[derive(Debug)]
struct HostCopy<T: Scalar> {
    tensor: Tensor<T>,
    bytes: usize,
    stream: &'static Stream,
    /// Whether the host wrote since it was put into the stream.
    changed: bool,
    /// How often the host had waited when it was put into the stream: until it waits again, the copy may be under way.
    sent_after: Option<u64>,
}

impl<T: Scalar> Buffer<T> {
    /// The values; on a device, as [`Buffer::fetch`] or the host left them.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`] when they are not in the host's memory.
    pub fn read(&self) -> Result<&[T], OnnxError> {
        let host = self.copy.as_ref().map_or(&self.tensor, |copy| &copy.tensor);
        let values = host.try_extract_tensor::<T>();
        values
            .map(|(_, values)| values)
            .map_err(|e| buffer_error(self.graph, &self.name, &e))
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
            copy,
        } = self;
        let host = match copy {
            None => tensor,
            Some(copy) => {
                if copy.sent_after == Some(copy.stream.waits()) {
                    copy.stream.wait().map_err(|e| failed(graph, name, e))?;
                }
                (copy.changed, copy.sent_after) = (true, None);
                &mut copy.tensor
            }
        };
        let values = host.try_extract_tensor_mut::<T>();
        values
            .map(|(_, values)| values)
            .map_err(|e| buffer_error(graph, name, &e))
    }

    /// Waits for everything that was put into the stream and takes what this buffer then holds to the host. Nothing on the
    /// CPU, and for a [`Place::Device`] buffer.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`], also when something failed that was in the stream.
    pub fn fetch(&mut self) -> Result<(), OnnxError> {
        let Some(copy) = &mut self.copy else {
            return Ok(());
        };
        let (to, from) = (copy.tensor.data_ptr_mut(), self.tensor.data_ptr());
        // SAFETY: both have the shape of this buffer and live as long as it does; nobody uses them before the wait is over,
        // since this buffer is borrowed mutably.
        let queued = unsafe { copy.stream.download(to, from, copy.bytes) };
        let waited = copy.stream.wait();
        (copy.changed, copy.sent_after) = (false, None);
        let outcome = queued.and(waited);
        outcome.map_err(|e| failed(self.graph, &self.name, e))
    }

    /// Puts what the host wrote into the stream.
    fn send(&mut self) -> Result<(), OnnxError> {
        let Some(copy) = self.copy.as_mut().filter(|copy| copy.changed) else {
            return Ok(());
        };
        let (to, from) = (self.tensor.data_ptr_mut(), copy.tensor.data_ptr());
        // SAFETY: both have the shape of this buffer. The host writes again only through `write`, which waits first, and
        // dropping waits too.
        let queued = unsafe { copy.stream.upload(to, from, copy.bytes) };
        queued.map_err(|e| failed(self.graph, &self.name, e))?;
        (copy.changed, copy.sent_after) = (false, Some(copy.stream.waits()));
        Ok(())
    }
}

impl<T: Scalar> Drop for HostCopy<T> {
    fn drop(&mut self) {
        if self.sent_after == Some(self.stream.waits()) {
            // Whatever it says, the copy is not under way any more.
            let _ = self.stream.wait();
        }
    }
}

/// Which buffers a run reads and writes.
pub struct Binding {
    pub(crate) graph: &'static str,
    stream: Option<&'static Stream>,
    captures: bool,
    /// How to run on a device.
    options: Option<RunOptions<NoSelectedOutputs>>,
    /// Whether the next run on a device is captured.
    uncaptured: Cell<bool>,
    pub(crate) io: IoBinding,
}

impl std::fmt::Debug for Binding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Binding")
            .field("graph", &self.graph)
            .field("captures", &self.captures)
            .finish_non_exhaustive()
    }
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

    /// Brings `buffer`, which is bound as input `name`, up to date before a run: with what the host wrote into it, and on
    /// a device that runs node by node with what another graph did.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`].
    pub fn refresh<T: Scalar>(
        &mut self,
        name: &str,
        buffer: &mut Buffer<T>,
    ) -> Result<(), OnnxError> {
        let Some(stream) = self.stream else {
            return Ok(());
        };
        buffer.send()?;
        if self.captures {
            return Ok(());
        }
        // A node on the CPU reads a copy that is made when its input is bound.
        stream.wait().map_err(|e| failed(self.graph, name, e))?;
        self.input(name, buffer)
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
        let dims: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
        let error = |e: ort::Error| buffer_error(graph, name, &e);
        let tensor = |memory| self.allocate::<T>(memory, &dims).map_err(error);
        let (tensor, copy) = match self.stream {
            None => (tensor(Memory::Host)?, None),
            Some(stream) => {
                let mut copy = None;
                if place == Place::Host {
                    let mut locked = tensor(Memory::PageLocked)?;
                    let (_, values) = locked.try_extract_tensor_mut::<T>().map_err(error)?;
                    values.fill(T::default());
                    let bytes = size_of_val(values);
                    copy = Some(HostCopy {
                        tensor: locked,
                        bytes,
                        stream,
                        changed: true,
                        sent_after: None,
                    });
                }
                (tensor(Memory::Device)?, copy)
            }
        };
        Ok(Buffer {
            graph,
            name: name.into(),
            tensor,
            copy,
        })
    }

    /// A tensor in `memory`.
    pub(crate) fn allocate<T: Scalar>(
        &self,
        memory: Memory,
        dims: &[i64],
    ) -> ort::Result<Tensor<T>> {
        let (device, kind) = match memory {
            Memory::Host => return Tensor::new(&Allocator::default(), dims),
            Memory::Device => (AllocationDevice::CUDA, MemoryType::Default),
            Memory::PageLocked => (AllocationDevice::CUDA_PINNED, MemoryType::CPUOutput),
        };
        let info = MemoryInfo::new(device, 0, AllocatorType::Device, kind)?;
        let _calm = calm();
        Tensor::new(&Allocator::new(&self.session, info)?, dims)
    }

    /// A binding without buffers.
    ///
    /// # Errors
    /// [`OnnxError::Run`].
    pub fn binding(&self) -> Result<Binding, OnnxError> {
        let make = || -> ort::Result<Binding> {
            let mut captures = self.captures;
            let mut options = None;
            if self.stream.is_some() {
                let number = self.bindings.fetch_add(1, Ordering::Relaxed);
                captures &= number < MOST_CAPTURES;
                let mut run = RunOptions::new()?;
                // Returns when the run is in the stream.
                run.disable_device_sync()?;
                let graph = match captures {
                    true => (number + 1).to_string(),
                    false => NO_CAPTURE.to_owned(),
                };
                run.set(CAPTURE, graph)?;
                options = Some(run);
            }
            Ok(Binding {
                graph: self.graph().name(),
                stream: self.stream,
                captures: self.captures,
                options,
                uncaptured: Cell::new(captures),
                io: self.session.create_binding()?,
            })
        };
        make().map_err(|e| self.run_error(&e))
    }

    /// Runs the graph once over `binding` and says how long it took inside ONNX Runtime; on a device, how long it took to
    /// put it into the stream.
    ///
    /// # Errors
    /// [`OnnxError::Run`].
    pub fn run(&mut self, binding: &Binding) -> Result<Duration, OnnxError> {
        let started = Instant::now();
        let outcome = match &binding.options {
            None => self.session.run_binding(&binding.io).map(drop),
            Some(options) => {
                let uncaptured = binding.uncaptured.get();
                let _alone = uncaptured.then(capturing);
                let _calm = (!uncaptured).then(calm);
                let outcome = self.session.run_binding_with_options(&binding.io, options);
                binding.uncaptured.set(uncaptured && outcome.is_err());
                outcome.map(drop)
            }
        };
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
        let mut options = RunOptions::new().map_err(|e| self.run_error(&e))?;
        let plain = options.set(CAPTURE, NO_CAPTURE);
        plain.map_err(|e| self.run_error(&e))?;
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
            let _calm = self.stream.map(|_| calm());
            let values = self
                .session
                .run_binding_with_options(&binding.io, &options)?;
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

/// The run option that says which capture a run is, and its value for none.
const CAPTURE: &str = "gpu_graph_id";
const NO_CAPTURE: &str = "-1";

/// Where a tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// In the host's memory.
    Host,
    /// In the host's, where the device reads and writes it without the host's help.
    PageLocked,
    /// In the device's.
    Device,
}

fn failed(graph: &'static str, name: &str, reason: String) -> OnnxError {
    OnnxError::Buffer {
        graph,
        tensor: name.into(),
        reason,
    }
}

pub(crate) fn buffer_error(graph: &'static str, name: &str, error: &ort::Error) -> OnnxError {
    OnnxError::Buffer {
        graph,
        tensor: name.into(),
        reason: error.to_string(),
    }
}
