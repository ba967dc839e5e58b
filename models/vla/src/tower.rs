//! The vision graph over bound buffers.
//!
//! Decides what is bound to what for a set of images. Does not run it, and does not say when.

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
    /// All of them and the indices, which never change.
    pub binding: Binding,
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
        for (name, columns, values) in index.integers() {
            let shape = match columns {
                Some(columns) => vec![values.len() / columns, columns],
                None => vec![values.len()],
            };
            let mut buffer = session.buffer::<i64>(name, Place::Host, &shape)?;
            fill(&mut buffer, values)?;
            binding.input(name, &buffer)?;
        }
        if let Some(table) = &index.table {
            let mut buffer = session.buffer("interp_weight", Place::Host, &[patches, 4])?;
            buffer.write()?.copy_from_slice(&table.weight);
            binding.input("interp_weight", &buffer)?;
        }
        Ok(Self {
            pixel_values,
            image_embeds,
            deepstack,
            binding,
        })
    }
}
