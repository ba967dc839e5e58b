//! The buffers that the action being denoised moves through, and one Euler step over them.
//!
//! ```text
//! noise --step 0--> a --step 1--> b --step 2--> a --step 3--> result
//! ```
//!
//! Decides which buffer a step reads and which it writes. Does not decide which graph makes the step, nor its time.

use std::time::{Duration, Instant};

use tactus_bundle::Graph;
use tactus_onnx::{Binding, Buffer, OnnxError, Place, Session};

/// Noise, result, and the two that the action alternates between.
pub(crate) struct Trajectory {
    buffers: [Buffer<f32>; 4],
    steps: usize,
}

impl Trajectory {
    /// Buffers of `session` for actions of `shape`; those between noise and result lie in `between`.
    pub fn new(
        session: &Session,
        shape: &[usize],
        between: Place,
        steps: usize,
    ) -> Result<Self, OnnxError> {
        let x = |name, place| session.buffer(name, place, shape);
        Ok(Self {
            buffers: [
                x("noise", Place::Host)?,
                x("result", Place::Host)?,
                x("x", between)?,
                x("x", between)?,
            ],
            steps,
        })
    }

    /// Number of steps.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Which buffer holds the action after `step` steps; 0 is the noise.
    fn slot(&self, step: usize) -> usize {
        match step {
            0 => 0,
            step if step == self.steps => 1,
            step => 2 + step % 2,
        }
    }

    /// The action after `step` steps.
    pub fn x(&mut self, step: usize) -> Result<&mut [f32], OnnxError> {
        let slot = self.slot(step);
        self.buffers[slot].write()
    }

    /// Binds what step number `step` reads and writes.
    pub fn bind(&mut self, step: usize, binding: &mut Binding) -> Result<(), OnnxError> {
        let (from, to) = (self.slot(step), self.slot(step + 1));
        binding.input("x", &self.buffers[from])?;
        binding.output("x_next", &mut self.buffers[to])
    }

    /// Runs step number `step` over `binding`. What the host may look at after it is there then.
    pub fn run(
        &mut self,
        step: usize,
        session: &mut Session,
        binding: &mut Binding,
    ) -> Result<Duration, OnnxError> {
        let (from, to) = (self.slot(step), self.slot(step + 1));
        binding.refresh("x", &mut self.buffers[from])?;
        let started = Instant::now();
        session.run(binding)?;
        self.buffers[to].fetch()?;
        Ok(started.elapsed())
    }

    /// The actions before and after step number `step`.
    pub fn around(&mut self, step: usize) -> Result<(&[f32], &mut [f32]), OnnxError> {
        let (from, to) = (self.slot(step), self.slot(step + 1));
        let buffers = self.buffers.get_disjoint_mut([from, to]);
        let [a, b] = buffers.map_err(|_| OnnxError::Run {
            graph: Graph::Denoise.name(),
            reason: format!("step {step}: not a step"),
        })?;
        Ok((a.read()?, b.write()?))
    }
}
