//! Images and what a camera says of itself.

use prost::Message as _;
use tactus_types::{CameraFrame, Encoding, Time};
use zune_core::bytestream::ZCursor;

use crate::{
    Message, Qos, WireError,
    check::{MAX_IMAGE_BYTES, MAX_PIXELS},
    message::{Envelope, parse},
    proto::{foxglove, tactus as pb},
};

/// `foxglove.CompressedImage`. Width and height are those of the JPEG itself; the camera's name is the key's.
///
/// Raw frames do not travel yet: encoding one gives format `rgb8`, which every receiver refuses.
impl Message for CameraFrame {
    const SCHEMA: &'static str = "foxglove.CompressedImage";
    const QOS: Qos = Qos::Data;
    const MAX_BYTES: usize = MAX_IMAGE_BYTES + 1024;

    fn captured_at(&self) -> Option<Time> {
        Some(self.captured_at)
    }

    fn seq(&self) -> Option<u64> {
        Some(self.seq)
    }

    fn encode(&self) -> Vec<u8> {
        let nanos = self.captured_at.as_nanos();
        foxglove::CompressedImage {
            timestamp: Some(prost_types::Timestamp {
                seconds: (nanos / 1_000_000_000) as i64,
                nanos: (nanos % 1_000_000_000) as i32,
            }),
            frame_id: self.camera.to_string(),
            data: self.data.to_vec(),
            format: match self.encoding {
                Encoding::Jpeg => "jpeg".into(),
                Encoding::Rgb8 => "rgb8".into(),
            },
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let image: foxglove::CompressedImage = parse(Self::SCHEMA, payload, envelope)?;
        if image.format != "jpeg" {
            return Err(envelope.wrong("format", "`jpeg`", format_args!("`{}`", image.format)));
        }
        envelope.at_most("data", &image.data, MAX_IMAGE_BYTES)?;
        let mut decoder = zune_jpeg::JpegDecoder::new(ZCursor::new(&image.data));
        let (width, height) = decoder
            .decode_headers()
            .ok()
            .and_then(|()| decoder.dimensions())
            .ok_or_else(|| envelope.wrong("data", "a JPEG file", "something else"))?;
        let side = |field: &str, pixels: usize| match u32::try_from(pixels) {
            Ok(pixels) if (1..=MAX_PIXELS).contains(&pixels) => Ok(pixels),
            _ => Err(envelope.wrong(field, format!("1 to {MAX_PIXELS} pixels"), pixels)),
        };
        let camera = match envelope.key.rsplit('/').nth(1) {
            Some(name) => name.into(),
            None => return Err(envelope.wrong("(key)", "camera/<name>/image", envelope.key)),
        };
        Ok(Self {
            camera,
            captured_at: envelope.header.captured_at,
            received_at: envelope.received_at,
            seq: envelope.header.seq,
            width: side("data.width", width)?,
            height: side("data.height", height)?,
            encoding: Encoding::Jpeg,
            data: image.data.into(),
        })
    }
}

/// What a camera says of itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraInfo {
    /// Width of its images, pixels.
    pub width: u32,
    /// Height of its images, pixels.
    pub height: u32,
    /// Images per second.
    pub rate_hz: f64,
}

impl Message for CameraInfo {
    const SCHEMA: &'static str = "tactus.v1.CameraInfo";
    const QOS: Qos = Qos::Data;

    fn encode(&self) -> Vec<u8> {
        pb::CameraInfo {
            width: self.width,
            height: self.height,
            rate_hz: self.rate_hz,
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let info: pb::CameraInfo = parse(Self::SCHEMA, payload, envelope)?;
        for (field, pixels) in [("width", info.width), ("height", info.height)] {
            if !(1..=MAX_PIXELS).contains(&pixels) {
                let expected = format!("1 to {MAX_PIXELS} pixels");
                return Err(envelope.wrong(field, expected, pixels));
            }
        }
        if !(info.rate_hz > 0.0 && info.rate_hz.is_finite()) {
            return Err(envelope.wrong("rate_hz", "a finite number > 0", info.rate_hz));
        }
        Ok(Self {
            width: info.width,
            height: info.height,
            rate_hz: info.rate_hz,
        })
    }
}
