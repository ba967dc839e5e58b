//! Buffers whose shape depends on the length of the prompt, and the bindings over them.
//!
//! They are made anew when that length changes, which is when the instruction does. Where prompts say the state, that is with
//! every other chunk: those of some lengths are kept. So they are on a device.

use tactus_bundle::Manifest;
use tactus_onnx::{Binding, Buffer, OnnxError, Place, Provider};

use super::Sequence;
use crate::graphs::Dims;

/// Buffers and bindings for prompts of one length.
pub(super) struct PromptBuffers {
    pub(super) length: usize,
    pub(super) input_ids: Buffer<i64>,
    pub(super) image_rows: Buffer<i64>,
    pub(super) position_ids: Buffer<i64>,
    pub(super) attention_mask: Option<Buffer<i64>>,
    pub(super) features: Buffer<f32>,
    /// What the context graph makes, by name.
    pub(super) context_values: Vec<(String, Buffer<f32>)>,
    pub(super) backbone: Binding,
    pub(super) context: Binding,
    pub(super) denoise: Vec<Binding>,
    /// The guided steps; none where the policy is not guided.
    pub(super) guided: Vec<Binding>,
}

/// Lengths of prompts, beside the present one, whose buffers are kept where prompts say the state.
const KEPT: usize = 3;

/// Likewise on a device, whatever prompts say: runs over new buffers are captured anew.
const KEPT_ON_DEVICE: usize = 15;

/// Lengths that are kept beside the present one.
pub(super) fn lengths_kept(provider: Provider, manifest: &Manifest) -> usize {
    match (provider, manifest.prompt.state) {
        (Provider::Cpu, None) => 0,
        (Provider::Cpu, Some(_)) => KEPT,
        (Provider::Cuda | Provider::TensorRt, _) => KEPT_ON_DEVICE,
    }
}

/// The integers of a prompt.
#[derive(Debug, Clone, Copy)]
pub struct PromptTensors<'a> {
    /// Token ids, `[S]`.
    pub input_ids: &'a [i64],
    /// Positions of image tokens, `[N]`.
    pub image_rows: &'a [i64],
    /// M-RoPE ids, `[3, 1, S]`.
    pub position_ids: &'a [i64],
    /// 1 for tokens and 0 for filling, `[S]`; only looked at where prompts are filled up.
    pub attention_mask: &'a [i64],
}

impl Sequence {
    /// Sets the prompt. Makes buffers anew when its length is another than the last one's.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn set_prompt(&mut self, prompt: PromptTensors<'_>) -> Result<(), OnnxError> {
        let length = prompt.input_ids.len();
        let mut buffers = match self.prompt.take() {
            Some(buffers) if buffers.length == length => buffers,
            other => {
                let (kept, most) = &mut self.kept;
                kept.extend(other);
                let known = kept.iter().position(|buffers| buffers.length == length);
                let known = known.map(|i| kept.remove(i));
                if kept.len() > *most {
                    kept.remove(0);
                }
                match known {
                    Some(buffers) => buffers,
                    None => self.prompt_buffers(length)?,
                }
            }
        };
        if let Some(mask) = &mut buffers.attention_mask {
            fill(mask, prompt.attention_mask)?;
        }
        fill(&mut buffers.input_ids, prompt.input_ids)?;
        fill(&mut buffers.image_rows, prompt.image_rows)?;
        fill(&mut buffers.position_ids, prompt.position_ids)?;
        self.prompt = Some(buffers);
        Ok(())
    }

    fn prompt_buffers(&mut self, length: usize) -> Result<PromptBuffers, OnnxError> {
        let Dims {
            image_tokens,
            features: width,
            padded,
            ..
        } = self.dims;
        let [_, backbone_session, context_session, denoise_session] = &mut self.sessions;
        let host = |name, shape: &[usize]| backbone_session.buffer::<i64>(name, Place::Host, shape);
        let input_ids = host("input_ids", &[1, length])?;
        let image_rows = host("image_rows", &[image_tokens])?;
        let position_ids = host("position_ids", &[3, 1, length])?;
        let mut features = backbone_session.buffer("features", self.links, &[1, length, width])?;
        let mut backbone = backbone_session.binding()?;
        backbone.input("input_ids", &input_ids)?;
        backbone.input("image_embeds", &self.vision.image_embeds)?;
        backbone.input("image_rows", &image_rows)?;
        backbone.input("position_ids", &position_ids)?;
        if let Some(deepstack) = &self.vision.deepstack {
            backbone.input("deepstack", deepstack)?;
        }
        let mut attention_mask = None;
        if padded {
            let mask = host("attention_mask", &[1, length])?;
            backbone.input("attention_mask", &mask)?;
            attention_mask = Some(mask);
        }
        backbone.output("features", &mut features)?;

        // Only the context graph knows the shapes of what it makes.
        let mut context = context_session.binding()?;
        context.input("features", &features)?;
        context.input("state", &self.state)?;
        let shapes = context_session.output_shapes(&mut context)?;
        let names: Vec<String> = context_session
            .outputs()
            .iter()
            .map(|output| output.name.clone())
            .collect();
        let mut context_values = Vec::with_capacity(names.len());
        for (name, shape) in names.into_iter().zip(shapes) {
            let mut buffer = context_session.buffer(&name, self.links, &shape)?;
            context.output(&name, &mut buffer)?;
            context_values.push((name, buffer));
        }

        let mut denoise = Vec::with_capacity(self.trajectory.steps());
        for (step, time) in self.times.iter().enumerate() {
            let mut binding = denoise_session.binding()?;
            self.trajectory.bind(step, &mut binding)?;
            binding.input("time", time)?;
            binding.input("dt", &self.dt)?;
            binding.input("prefix", &self.prefix)?;
            binding.input("prefix_mask", &self.prefix_mask)?;
            for (name, buffer) in &context_values {
                binding.input(name, buffer)?;
            }
            denoise.push(binding);
        }
        let mut guided = Vec::new();
        if let Some(own) = &self.guided {
            for (step, (time, guidance)) in self.times.iter().zip(&own.guidance).enumerate() {
                let mut binding = own.session.binding()?;
                self.trajectory.bind(step, &mut binding)?;
                binding.input("time", time)?;
                binding.input("dt", &self.dt)?;
                binding.input("prefix", &self.prefix)?;
                binding.input("prefix_mask", &self.prefix_mask)?;
                binding.input("target", &own.target)?;
                binding.input("weight", &own.weight)?;
                binding.input("guidance", guidance)?;
                for (name, buffer) in &context_values {
                    binding.input(name, buffer)?;
                }
                guided.push(binding);
            }
        }
        Ok(PromptBuffers {
            length,
            input_ids,
            image_rows,
            position_ids,
            attention_mask,
            features,
            context_values,
            backbone,
            context,
            denoise,
            guided,
        })
    }
}

/// As many of `values` as there is room for.
pub(crate) fn fill(buffer: &mut Buffer<i64>, values: &[i64]) -> Result<(), OnnxError> {
    let all = buffer.write()?;
    let length = all.len().min(values.len());
    all[..length].copy_from_slice(&values[..length]);
    Ok(())
}
