//! The four graphs over bound buffers, and the Euler steps.
//!
//! Every buffer is allocated once and bound once: patches in, actions out, and what passes from graph to graph stays
//! where the provider keeps it. Each denoising step has a binding of its own, in which the time is already written
//! and the action being denoised moves to the other of two buffers, so between steps the host does nothing.
//!
//! On a device the host puts copies and runs of a whole chunk into one stream and waits once, for the result.
//!
//! With guidance the steps run through the `denoise_vjp` graph instead, over the same buffers; it is opened only when
//! it is asked for, since it holds the head's weights a second time.
//!
//! `lengths` has the buffers whose shape depends on the prompt's length.

mod lengths;

use std::{path::PathBuf, time::Duration};

use tactus_bundle::{Bundle, Graph, Precision};
use tactus_onnx::{
    Binding, Buffer, OnnxError, OnnxRuntime, Place, Provider, Session, SessionOptions, open_all,
};

pub use self::lengths::PromptTensors;
pub(crate) use self::lengths::fill;
use self::lengths::{PromptBuffers, lengths_kept};
use crate::{
    device_time::DeviceTime, graphs, graphs::Dims, position::VisionIndex, tower::Tower,
    trajectory::Trajectory,
};

/// The guided step and what draws it.
struct Guided {
    session: Session,
    target: Buffer<f32>,
    weight: Buffer<f32>,
    /// One number per step.
    guidance: Vec<Buffer<f32>>,
}

/// How the graphs are put together.
#[derive(Debug, Clone, Copy)]
pub struct SequenceSpec {
    /// Where tensors lie that pass between graphs: [`Place::Device`], or [`Place::Host`] when they are to be looked at.
    pub links: Place,
    /// Where the actions between steps lie, likewise: guidance by the host changes them.
    pub steps_in: Place,
    /// Whether the `denoise_vjp` graph is opened too.
    pub guided: bool,
    /// Euler steps, 1 or more.
    pub steps: usize,
}

/// The graphs of a bundle, ready to run.
pub struct Sequence {
    sessions: [Session; 4],
    provider: Provider,
    dims: Dims,
    links: Place,
    clock: DeviceTime,
    vision: Tower,
    state: Buffer<f32>,
    prefix: Buffer<f32>,
    prefix_mask: Buffer<f32>,
    trajectory: Trajectory,
    times: Vec<Buffer<f32>>,
    dt: Buffer<f32>,
    guided: Option<Guided>,
    prompt: Option<PromptBuffers>,
    /// Those of other lengths, the oldest first, and how many there may be.
    kept: (Vec<PromptBuffers>, usize),
}

impl Sequence {
    /// Opens the graphs of `bundle`, checks them, and binds what does not depend on a prompt. `index` is that of the
    /// bundle's cameras.
    ///
    /// # Errors
    /// [`OnnxError`] when a graph cannot be opened, is not what the bundle says, or memory is not to be had.
    pub fn open(
        bundle: &Bundle,
        runtime: &OnnxRuntime,
        options: SessionOptions,
        index: &VisionIndex,
        spec: SequenceSpec,
    ) -> Result<Self, OnnxError> {
        let SequenceSpec {
            links,
            steps_in,
            guided,
            steps,
        } = spec;
        let manifest = bundle.manifest();
        runtime.at_least(manifest.min_ort)?;
        let mut graphs = manifest.graphs();
        let mut options = options;
        if let Some((graph, _)) = graphs.find(|(_, file)| file.precision == Precision::Bf16) {
            let graph = graph.name();
            match options.provider {
                Provider::Cpu => return Err(OnnxError::Precision { graph }),
                // There is nothing to fall back to.
                Provider::Cuda | Provider::TensorRt => options.required = true,
            }
        }
        let mut files: Vec<(Graph, PathBuf)> = bundle.graph_paths();
        files.retain(|(graph, _)| {
            Graph::ALL.contains(graph) || (guided && *graph == Graph::DenoiseVjp)
        });
        let mut opened = open_all(runtime, &files, options)?;
        let guided_session = (opened.sessions.len() > Graph::ALL.len())
            .then(|| opened.sessions.pop())
            .flatten();
        let sessions: [Session; 4] = opened.sessions.try_into().map_err(|_| OnnxError::Run {
            graph: "vision",
            reason: "expected four graphs".into(),
        })?;
        let dims = Dims::new(manifest, index.patches());
        graphs::check(&sessions, guided_session.as_ref(), dims)?;

        let [vision_session, _, context_session, denoise_session] = &sessions;
        let clock = DeviceTime::new(vision_session)?;
        let Dims {
            state,
            horizon,
            action,
            ..
        } = dims;
        let host_f32 = |session: &Session, name: &str, shape: &[usize]| {
            session.buffer::<f32>(name, Place::Host, shape)
        };
        let vision = Tower::bind(vision_session, index, dims, links)?;
        let shape = [1, horizon, action];
        let trajectory = Trajectory::new(denoise_session, &shape, steps_in, steps)?;
        let mut times = Vec::with_capacity(steps);
        for step in 0..steps {
            let mut time = host_f32(denoise_session, "time", &[1, horizon])?;
            time.write()?.fill((step as f64 / steps as f64) as f32);
            times.push(time);
        }
        let mut dt = host_f32(denoise_session, "dt", &[1])?;
        dt.write()?.fill((1.0 / steps as f64) as f32);
        let guided = match guided_session {
            None => None,
            Some(session) => Some(Guided {
                target: host_f32(&session, "target", &[1, horizon, action])?,
                weight: host_f32(&session, "weight", &[1, horizon])?,
                guidance: (0..steps)
                    .map(|_| host_f32(&session, "guidance", &[1]))
                    .collect::<Result<_, _>>()?,
                session,
            }),
        };
        Ok(Self {
            state: host_f32(context_session, "state", &[1, state])?,
            prefix: host_f32(denoise_session, "prefix", &[1, horizon, action])?,
            prefix_mask: host_f32(denoise_session, "prefix_mask", &[1, horizon])?,
            provider: opened.provider,
            sessions,
            dims,
            links,
            clock,
            vision,
            trajectory,
            times,
            dt,
            guided,
            prompt: None,
            kept: (Vec::new(), lengths_kept(opened.provider, manifest)),
        })
    }

    /// Provider that really runs the graphs.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Dimensions of the graphs.
    pub fn dims(&self) -> Dims {
        self.dims
    }

    /// Number of Euler steps.
    pub fn steps(&self) -> usize {
        self.trajectory.steps()
    }

    /// Whether [`Sequence::run_guided`] can run.
    pub fn is_guided(&self) -> bool {
        self.guided.is_some()
    }

    /// What guided steps are drawn to: the target `[H, A]`, normalised, and its weight `[H]`; `guidance` gives the
    /// weight of each step. To be written before the first [`Sequence::run_guided`].
    ///
    /// # Errors
    /// [`OnnxError`], also when the guided graph was not opened.
    pub fn pull(
        &mut self,
        guidance: impl Fn(usize) -> f32,
    ) -> Result<(&mut [f32], &mut [f32]), OnnxError> {
        let guided = guided_of(&mut self.guided)?;
        for (step, buffer) in guided.guidance.iter_mut().enumerate() {
            buffer.write()?.fill(guidance(step));
        }
        Ok((guided.target.write()?, guided.weight.write()?))
    }

    /// `pixel_values` `[P, row]`, to be written before [`Sequence::run_vision`].
    ///
    /// # Errors
    /// [`OnnxError`]; likewise below.
    pub fn pixel_values(&mut self) -> Result<&mut [f32], OnnxError> {
        self.vision.pixel_values.write()
    }

    /// The normalised state `[columns]`, to be written before [`Sequence::run_context`].
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn state(&mut self) -> Result<&mut [f32], OnnxError> {
        self.state.write()
    }

    /// The noise `[H, A]`, to be written before the first [`Sequence::run_denoise`].
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn noise(&mut self) -> Result<&mut [f32], OnnxError> {
        self.x(0)
    }

    /// The committed prefix: normalised actions `[H, A]` and their mask `[H]`, 1.0 for committed rows and 0.0 for
    /// all others. To be written before the first [`Sequence::run_denoise`].
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn prefix(&mut self) -> Result<(&mut [f32], &mut [f32]), OnnxError> {
        Ok((self.prefix.write()?, self.prefix_mask.write()?))
    }

    /// The action `[H, A]` after `step` steps: step 0 is the noise, the last is the normalised result.
    ///
    /// # Errors
    /// [`OnnxError`] when it is a link and links are on a device.
    pub fn x(&mut self, step: usize) -> Result<&mut [f32], OnnxError> {
        self.trajectory.x(step)
    }

    /// Image tokens `[N, hidden]`, a link.
    ///
    /// # Errors
    /// [`OnnxError`] when links are on a device.
    pub fn image_embeds(&mut self) -> Result<&mut [f32], OnnxError> {
        self.vision.image_embeds.write()
    }

    /// DeepStack levels `[D, N, hidden]`, a link; `None` where there are none.
    ///
    /// # Errors
    /// [`OnnxError`] when links are on a device.
    pub fn deepstack(&mut self) -> Result<Option<&mut [f32]>, OnnxError> {
        self.vision
            .deepstack
            .as_mut()
            .map(Buffer::write)
            .transpose()
    }

    /// Features `[1, S, F]`, a link.
    ///
    /// # Errors
    /// [`OnnxError`] when links are on a device or no prompt is set.
    pub fn features(&mut self) -> Result<&mut [f32], OnnxError> {
        prompt_of(&mut self.prompt, Graph::Backbone)?
            .features
            .write()
    }

    /// Names of what the context graph makes; empty before a prompt is set.
    pub fn context_names(&self) -> Vec<String> {
        let values = self.prompt.iter().flat_map(|prompt| &prompt.context_values);
        values.map(|(name, _)| name.clone()).collect()
    }

    /// What the context graph made under `name`, a link.
    ///
    /// # Errors
    /// [`OnnxError`] when links are on a device, no prompt is set, or there is no such name.
    pub fn context_value(&mut self, name: &str) -> Result<&mut [f32], OnnxError> {
        let prompt = prompt_of(&mut self.prompt, Graph::Context)?;
        match prompt.context_values.iter_mut().find(|(of, _)| of == name) {
            Some((_, buffer)) => buffer.write(),
            None => Err(OnnxError::Buffer {
                graph: Graph::Context.name(),
                tensor: name.into(),
                reason: "the graph has no such output".into(),
            }),
        }
    }

    /// Patches to image tokens. Returns the time inside ONNX Runtime, as do the others; on a device, the time to put it
    /// into the stream, and [`Sequence::device_time`] says the rest once the last step is done.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn run_vision(&mut self) -> Result<Duration, OnnxError> {
        let Self {
            sessions: [session, ..],
            vision,
            clock,
            ..
        } = self;
        clock.begin(Graph::Vision);
        let took = vision.run(session)?;
        clock.end(Graph::Vision);
        vision.fetch()?;
        Ok(took)
    }

    /// Tokens and image tokens to features.
    ///
    /// # Errors
    /// [`OnnxError`]; without a prompt too, likewise below.
    pub fn run_backbone(&mut self) -> Result<Duration, OnnxError> {
        let Self {
            sessions: [_, session, ..],
            prompt,
            vision,
            clock,
            ..
        } = self;
        let PromptBuffers {
            backbone: binding,
            input_ids,
            image_rows,
            position_ids,
            attention_mask,
            features,
            ..
        } = prompt_of(prompt, Graph::Backbone)?;
        clock.begin(Graph::Backbone);
        binding.refresh("input_ids", input_ids)?;
        binding.refresh("image_rows", image_rows)?;
        binding.refresh("position_ids", position_ids)?;
        if let Some(mask) = attention_mask {
            binding.refresh("attention_mask", mask)?;
        }
        binding.refresh("image_embeds", &mut vision.image_embeds)?;
        if let Some(deepstack) = &mut vision.deepstack {
            binding.refresh("deepstack", deepstack)?;
        }
        let took = session.run(binding)?;
        clock.end(Graph::Backbone);
        features.fetch()?;
        Ok(took)
    }

    /// Features and state to what the head needs in every step.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn run_context(&mut self) -> Result<Duration, OnnxError> {
        let Self {
            sessions: [_, _, session, _],
            prompt,
            state,
            clock,
            ..
        } = self;
        let PromptBuffers {
            context,
            features,
            context_values,
            ..
        } = prompt_of(prompt, Graph::Context)?;
        clock.begin(Graph::Context);
        context.refresh("state", state)?;
        context.refresh("features", features)?;
        let took = session.run(context)?;
        clock.end(Graph::Context);
        for (_, buffer) in context_values {
            buffer.fetch()?;
        }
        Ok(took)
    }

    /// Bytes of the device's memory that are taken, by whomever; `None` on the CPU.
    pub fn device_memory_used(&self) -> Option<u64> {
        self.sessions[0].device_memory_used()
    }

    /// How long `graph` took on the device in the last chunk; `None` on the CPU, where its run said so, and for steps.
    pub fn device_time(&self, graph: Graph) -> Option<Duration> {
        self.clock.of(graph)
    }

    /// Euler step number `step`, counted from 0. The last waits for the device.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn run_denoise(&mut self, step: usize) -> Result<Duration, OnnxError> {
        let [.., session] = &mut self.sessions;
        let prompt = prompt_of(&mut self.prompt, Graph::Denoise)?;
        let binding = step_of(&mut prompt.denoise, step, Graph::Denoise)?;
        binding.refresh("prefix", &mut self.prefix)?;
        binding.refresh("prefix_mask", &mut self.prefix_mask)?;
        binding.refresh("time", &mut self.times[step])?;
        binding.refresh("dt", &mut self.dt)?;
        for (name, buffer) in &mut prompt.context_values {
            binding.refresh(name, buffer)?;
        }
        self.trajectory.run(step, session, binding)
    }

    /// Guided Euler step number `step`, counted from 0, in place of [`Sequence::run_denoise`].
    ///
    /// # Errors
    /// [`OnnxError`], also when the guided graph was not opened.
    pub fn run_guided(&mut self, step: usize) -> Result<Duration, OnnxError> {
        let own = guided_of(&mut self.guided)?;
        let prompt = prompt_of(&mut self.prompt, Graph::DenoiseVjp)?;
        let binding = step_of(&mut prompt.guided, step, Graph::DenoiseVjp)?;
        binding.refresh("prefix", &mut self.prefix)?;
        binding.refresh("prefix_mask", &mut self.prefix_mask)?;
        binding.refresh("time", &mut self.times[step])?;
        binding.refresh("dt", &mut self.dt)?;
        binding.refresh("target", &mut own.target)?;
        binding.refresh("weight", &mut own.weight)?;
        binding.refresh("guidance", &mut own.guidance[step])?;
        for (name, buffer) in &mut prompt.context_values {
            binding.refresh(name, buffer)?;
        }
        self.trajectory.run(step, &mut own.session, binding)
    }

    /// The actions before and after `step`, `[H, A]` each, for guidance by the host.
    ///
    /// # Errors
    /// [`OnnxError`] when they are links and links are on a device.
    pub fn around(&mut self, step: usize) -> Result<(&[f32], &mut [f32]), OnnxError> {
        self.trajectory.around(step)
    }
}

fn step_of(bindings: &mut [Binding], step: usize, graph: Graph) -> Result<&mut Binding, OnnxError> {
    let steps = bindings.len();
    bindings.get_mut(step).ok_or_else(|| OnnxError::Run {
        graph: graph.name(),
        reason: format!("step {step}: expected less than {steps}"),
    })
}

fn guided_of(guided: &mut Option<Guided>) -> Result<&mut Guided, OnnxError> {
    guided.as_mut().ok_or(OnnxError::Run {
        graph: Graph::DenoiseVjp.name(),
        reason: "the guided graph is not open".into(),
    })
}

fn prompt_of(
    prompt: &mut Option<PromptBuffers>,
    graph: Graph,
) -> Result<&mut PromptBuffers, OnnxError> {
    prompt.as_mut().ok_or(OnnxError::Run {
        graph: graph.name(),
        reason: "no prompt is set".into(),
    })
}
