//! What one run of a graph leaves to its next: a tensor that is input and output at the same place.
//!
//! ONNX Runtime scatters into an input in place where the output is the same memory, so a run costs what it adds and not
//! a copy of what is there. A test on the tiny bundles holds this to PyTorch's numbers.

use ort::value::Tensor;

use crate::{
    bind::{Binding, Memory, Scalar, buffer_error},
    error::OnnxError,
    session::Session,
    signature::Element,
};

impl Scalar for half::f16 {}
impl Scalar for half::bf16 {}

/// A tensor in the provider's memory, row-major, zero at first.
#[derive(Debug)]
pub enum Cache {
    /// Single precision.
    F32(Tensor<f32>),
    /// Half precision.
    F16(Tensor<half::f16>),
    /// bfloat16.
    Bf16(Tensor<half::bf16>),
}

impl Session {
    /// Allocates a cache for tensor `name` of this graph: zeros, since what is not seen yet is multiplied by zero, and
    /// that of what happens to lie in memory may be NaN.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`] when the memory is not to be had, or `element` is no float.
    pub fn cache(
        &self,
        name: &str,
        element: &Element,
        shape: &[usize],
    ) -> Result<Cache, OnnxError> {
        let error = |e: ort::Error| buffer_error(self.graph().name(), name, &e);
        match element {
            Element::F32 => zeros(self, shape).map(Cache::F32).map_err(error),
            Element::F16 => zeros(self, shape).map(Cache::F16).map_err(error),
            Element::Bf16 => zeros(self, shape).map(Cache::Bf16).map_err(error),
            Element::I64 | Element::U8 | Element::Other(_) => Err(OnnxError::Buffer {
                graph: self.graph().name(),
                tensor: name.into(),
                reason: format!("expected a float type, got {element}"),
            }),
        }
    }
}

fn zeros<T: Scalar>(session: &Session, shape: &[usize]) -> ort::Result<Tensor<T>> {
    let dims: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
    let mut host = session.allocate::<T>(Memory::Host, &dims)?;
    let bytes = {
        let (_, values) = host.try_extract_tensor_mut::<T>()?;
        values.fill(T::default());
        size_of_val(values)
    };
    let Some(stream) = session.stream else {
        return Ok(host);
    };
    let mut tensor = session.allocate::<T>(Memory::Device, &dims)?;
    // SAFETY: both have the same shape and live to the end of this function.
    let queued = unsafe { stream.upload(tensor.data_ptr_mut(), host.data_ptr(), bytes) };
    queued.and(stream.wait()).map_err(ort::Error::new)?;
    Ok(tensor)
}

impl Binding {
    /// Reads input `past` from `cache` and writes output `present` into it.
    ///
    /// # Errors
    /// [`OnnxError::Buffer`].
    pub fn keep(&mut self, past: &str, present: &str, cache: &mut Cache) -> Result<(), OnnxError> {
        let bound = match cache {
            Cache::F32(tensor) => keep(self, past, present, tensor),
            Cache::F16(tensor) => keep(self, past, present, tensor),
            Cache::Bf16(tensor) => keep(self, past, present, tensor),
        };
        bound.map_err(|e| buffer_error(self.graph, past, &e))
    }
}

fn keep<T: Scalar>(
    binding: &mut Binding,
    past: &str,
    present: &str,
    tensor: &mut Tensor<T>,
) -> ort::Result<()> {
    binding.io.bind_input(past, tensor)?;
    binding.io.bind_output(present, tensor)
}
