//! The vision graph over bound buffers.
//!
//! Decides what is bound to what for a set of images. Does not say when it runs.

use std::time::Duration;

use tactus_onnx::{Binding, Buffer, OnnxError, Place, Session};

use crate::{graphs::Dims, position::VisionIndex, sequence::fill};

/// Patches in, image tokens out.
pub(crate) struct Tower {
    /// `[P, row]`.
    pub pixel_values: Buffer<f32>,
    /// `[N, hidden]`.
    pub image_embeds: Buffer<f32>,
    /// `[D, N, hidden]`; `None` where there are no levels.
    pub deepstack: Option<Buffer<f32>>,
    /// What never changes: where patches lie.
    indices: Vec<(&'static str, Buffer<i64>)>,
    weight: Option<Buffer<f32>>,
    /// All of them.
    binding: Binding,
}

impl Tower {
    /// Binds `session` for images of `index`; what it makes lies in `links`.
    pub fn bind(
        session: &Session,
        index: &VisionIndex,
        dims: Dims,
        links: Place,
    ) -> Result<Self, OnnxError> {
        let Dims {
            patches,
            row_len,
            image_tokens,
            hidden,
            deepstack: levels,
            ..
        } = dims;
        let pixel_values = session.buffer("pixel_values", Place::Host, &[patches, row_len])?;
        let mut image_embeds = session.buffer("image_embeds", links, &[image_tokens, hidden])?;
        let mut binding = session.binding()?;
        binding.input("pixel_values", &pixel_values)?;
        binding.output("image_embeds", &mut image_embeds)?;
        let mut deepstack = None;
        if levels > 0 {
            let shape = [levels, image_tokens, hidden];
            let mut buffer = session.buffer("deepstack", links, &shape)?;
            binding.output("deepstack", &mut buffer)?;
            deepstack = Some(buffer);
        }
        let mut indices = Vec::new();
        for (name, columns, values) in index.integers() {
            let shape = match columns {
                Some(columns) => vec![values.len() / columns, columns],
                None => vec![values.len()],
            };
            let mut buffer = session.buffer::<i64>(name, Place::Host, &shape)?;
            fill(&mut buffer, values)?;
            binding.input(name, &buffer)?;
            indices.push((name, buffer));
        }
        let mut weight = None;
        if let Some(table) = &index.table {
            let mut buffer = session.buffer("interp_weight", Place::Host, &[patches, 4])?;
            buffer.write()?.copy_from_slice(&table.weight);
            binding.input("interp_weight", &buffer)?;
            weight = Some(buffer);
        }
        Ok(Self {
            pixel_values,
            image_embeds,
            deepstack,
            indices,
            weight,
            binding,
        })
    }

    /// Runs `session`, which it was bound for; as [`Session::run`].
    pub fn run(&mut self, session: &mut Session) -> Result<Duration, OnnxError> {
        let Self {
            pixel_values,
            indices,
            weight,
            binding,
            ..
        } = self;
        binding.refresh("pixel_values", pixel_values)?;
        for (name, buffer) in indices {
            binding.refresh(name, buffer)?;
        }
        if let Some(weight) = weight {
            binding.refresh("interp_weight", weight)?;
        }
        session.run(binding)
    }

    /// Takes image tokens to the host, where their place is there.
    pub fn fetch(&mut self) -> Result<(), OnnxError> {
        self.image_embeds.fetch()?;
        self.deepstack.as_mut().map_or(Ok(()), Buffer::fetch)
    }
}
