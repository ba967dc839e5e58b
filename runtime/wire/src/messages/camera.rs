//! Images, what a camera says of itself, and how it is.

use prost::Message as _;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, skip_field,
};
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
/// Raw frames travel as format `rgb8` with their width and height, which Foxglove does not show. Pixels are copied once on
/// either side.
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
        decode(payload, envelope).map(|clocked| clocked.frame)
    }
}

/// Number of the field `data`.
const DATA: u32 = 2;

/// The message, written around the image instead of through a copy of it.
fn encode(frame: &CameraFrame, clock: CaptureClock) -> Vec<u8> {
    let nanos = frame.captured_at.as_nanos();
    let raw = frame.encoding == Encoding::Rgb8;
    let around = foxglove::CompressedImage {
        timestamp: Some(prost_types::Timestamp {
            seconds: (nanos / 1_000_000_000) as i64,
            nanos: (nanos % 1_000_000_000) as i32,
        }),
        frame_id: frame.camera.to_string(),
        data: vec![],
        format: match frame.encoding {
            Encoding::Jpeg => "jpeg".into(),
            Encoding::Rgb8 => "rgb8".into(),
        },
        capture_clock: clock.word().into(),
        width: if raw { frame.width } else { 0 },
        height: if raw { frame.height } else { 0 },
    };
    // The key and the length of `data` take at most ten bytes each.
    let mut out = Vec::with_capacity(around.encoded_len() + 20 + frame.data.len());
    out.extend_from_slice(&around.encode_to_vec());
    encode_key(DATA, WireType::LengthDelimited, &mut out);
    encode_varint(frame.data.len() as u64, &mut out);
    out.extend_from_slice(&frame.data);
    out
}

/// The image, where it lies, and the message without it; `None` where the message is malformed.
fn split(payload: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let (mut rest, mut data, mut around) = (payload, &payload[..0], Vec::new());
    while !rest.is_empty() {
        let field = rest;
        let (number, kind) = decode_key(&mut rest).ok()?;
        if number == DATA && kind == WireType::LengthDelimited {
            let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
            (data, rest) = rest.split_at_checked(length)?;
        } else {
            skip_field(kind, number, &mut rest, DecodeContext::default()).ok()?;
            around.extend_from_slice(field.get(..field.len() - rest.len())?);
        }
    }
    Some((data, around))
}

fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<ClockedFrame, WireError> {
    let schema = CameraFrame::SCHEMA;
    // What cannot be split is parsed as a whole, for what is wrong with it.
    let (data, around) = split(payload).unwrap_or_else(|| (&payload[..0], payload.to_vec()));
    let image: foxglove::CompressedImage = parse(schema, &around, envelope)?;
    envelope.at_most("data", data, MAX_IMAGE_BYTES)?;
    let (encoding, width, height) = match image.format.as_str() {
        "jpeg" => {
            let mut decoder = zune_jpeg::JpegDecoder::new(ZCursor::new(data));
            let (width, height) = decoder
                .decode_headers()
                .ok()
                .and_then(|()| decoder.dimensions())
                .ok_or_else(|| envelope.wrong("data", "a JPEG file", "something else"))?;
            (Encoding::Jpeg, width, height)
        }
        "rgb8" => (Encoding::Rgb8, image.width as usize, image.height as usize),
        other => {
            return Err(envelope.wrong("format", "`jpeg` or `rgb8`", format_args!("`{other}`")));
        }
    };
    let side = |field: &str, pixels: usize| match u32::try_from(pixels) {
        Ok(pixels) if (1..=MAX_PIXELS).contains(&pixels) => Ok(pixels),
        _ => Err(envelope.wrong(field, format!("1 to {MAX_PIXELS} pixels"), pixels)),
    };
    let named = match encoding {
        Encoding::Jpeg => ("data.width", "data.height"),
        Encoding::Rgb8 => ("width", "height"),
    };
    let sides = (side(named.0, width)?, side(named.1, height)?);
    if encoding == Encoding::Rgb8 && data.len() != width * height * 3 {
        let expected = format!("{} bytes", width * height * 3);
        return Err(envelope.wrong("data", expected, data.len()));
    }
    let camera = match envelope.key.rsplit('/').nth(1) {
        Some(name) => name.into(),
        None => return Err(envelope.wrong("(key)", "camera/<name>/image", envelope.key)),
    };
    Ok(ClockedFrame {
        frame: CameraFrame {
            camera,
            captured_at: envelope.header.captured_at,
            received_at: envelope.received_at,
            seq: envelope.header.seq,
            width: sides.0,
            height: sides.1,
            encoding,
            data: data.into(),
        },
        clock: CaptureClock::of_word(&image.capture_clock),
    })
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
        decode(payload, envelope)
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
