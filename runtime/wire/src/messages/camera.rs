//! Images, what a camera says of itself, and how it is.

use prost::Message as _;
use tactus_types::{CameraFrame, Encoding, Time};
use zune_core::bytestream::ZCursor;

use crate::{
    Message, Qos, WireError,
    check::{MAX_IMAGE_BYTES, MAX_PIXELS, MAX_TEXT_BYTES},
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
        encode(self, CaptureClock::Unsaid)
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

fn encode(frame: &CameraFrame, clock: CaptureClock) -> Vec<u8> {
    let nanos = frame.captured_at.as_nanos();
    foxglove::CompressedImage {
        timestamp: Some(prost_types::Timestamp {
            seconds: (nanos / 1_000_000_000) as i64,
            nanos: (nanos % 1_000_000_000) as i32,
        }),
        frame_id: frame.camera.to_string(),
        data: frame.data.to_vec(),
        format: match frame.encoding {
            Encoding::Jpeg => "jpeg".into(),
            Encoding::Rgb8 => "rgb8".into(),
        },
        capture_clock: clock.word().into(),
    }
    .encode_to_vec()
}

/// How a capture time was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CaptureClock {
    /// The camera does not say.
    #[default]
    Unsaid,
    /// By the driver, at the start of the exposure.
    Exposure,
    /// By the driver, at the end of the frame: exposure and reading lie before it.
    EndOfFrame,
    /// By this host, when the first of its bytes arrived: exposure, coding and transport lie before it.
    Arrival,
    /// Of a played-back image: when it was due.
    Playback,
}

impl CaptureClock {
    /// Every one.
    pub const ALL: [Self; 5] = [
        Self::Unsaid,
        Self::Exposure,
        Self::EndOfFrame,
        Self::Arrival,
        Self::Playback,
    ];

    /// Word in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unsaid => "",
            Self::Exposure => "exposure",
            Self::EndOfFrame => "end_of_frame",
            Self::Arrival => "arrival",
            Self::Playback => "playback",
        }
    }

    /// Inverse of [`CaptureClock::word`]; a word that nobody knows says nothing.
    pub fn of_word(word: &str) -> Self {
        let known = Self::ALL.into_iter().find(|clock| clock.word() == word);
        known.unwrap_or_default()
    }
}

/// A frame with how its capture time was read: the same message as a bare [`CameraFrame`], and either is decoded from the
/// other's bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct ClockedFrame {
    /// The frame.
    pub frame: CameraFrame,
    /// How its capture time was read.
    pub clock: CaptureClock,
}

impl Message for ClockedFrame {
    const SCHEMA: &'static str = CameraFrame::SCHEMA;
    const QOS: Qos = CameraFrame::QOS;
    const MAX_BYTES: usize = CameraFrame::MAX_BYTES;

    fn captured_at(&self) -> Option<Time> {
        self.frame.captured_at()
    }

    fn seq(&self) -> Option<u64> {
        self.frame.seq()
    }

    fn encode(&self) -> Vec<u8> {
        encode(&self.frame, self.clock)
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let image: foxglove::CompressedImage = parse(Self::SCHEMA, payload, envelope)?;
        let clock = CaptureClock::of_word(&image.capture_clock);
        let frame = CameraFrame::decode(payload, envelope)?;
        Ok(Self { frame, clock })
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

/// How a camera is; counters are of its process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CameraStatus {
    /// Frames come in.
    pub connected: bool,
    /// How capture times are read.
    pub clock: CaptureClock,
    /// Frames published.
    pub frames: u64,
    /// Frames that the camera took and nobody received.
    pub dropped: u64,
    /// Frames that were no whole image, and were left out.
    pub corrupt: u64,
    /// Frames that were left out because the picture had stopped changing.
    pub frozen: u64,
    /// Times that the camera was lost and came back.
    pub reconnections: u64,
    /// Frames per second published.
    pub rate_hz: f64,
    /// Why no frames come in; empty when they do.
    pub fault: String,
}

impl Message for CameraStatus {
    const SCHEMA: &'static str = "tactus.v1.CameraStatus";
    const QOS: Qos = Qos::Data;
    const MAX_BYTES: usize = MAX_TEXT_BYTES + 1024;

    fn encode(&self) -> Vec<u8> {
        pb::CameraStatus {
            connected: self.connected,
            capture_clock: self.clock.word().into(),
            frames: self.frames,
            dropped: self.dropped,
            corrupt: self.corrupt,
            frozen: self.frozen,
            reconnections: self.reconnections,
            rate_hz: self.rate_hz,
            fault: self.fault.clone(),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let status: pb::CameraStatus = parse(Self::SCHEMA, payload, envelope)?;
        if !(status.rate_hz >= 0.0 && status.rate_hz.is_finite()) {
            return Err(envelope.wrong("rate_hz", "a finite number >= 0", status.rate_hz));
        }
        Ok(Self {
            connected: status.connected,
            clock: CaptureClock::of_word(&status.capture_clock),
            frames: status.frames,
            dropped: status.dropped,
            corrupt: status.corrupt,
            frozen: status.frozen,
            reconnections: status.reconnections,
            rate_hz: status.rate_hz,
            fault: status.fault,
        })
    }
}
