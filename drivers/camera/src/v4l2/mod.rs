//! Video devices of the kernel (V4L2; webcams speak UVC to it).
//!
//! Decides: what a device is asked for, and that it is refused when it does something else; which controls lock exposure
//! and white balance; when a frame was captured and by which clock. Requests and structures are written down in [`table`]:
//! the crates that have them generate them with libclang at build time, or are not kept any more, and these few do not
//! change. Only [`node`] talks to the kernel.

#[allow(missing_docs, reason = "the kernel's names, and its documentation")]
pub mod table;

mod controls;
pub mod node;
pub mod recorded;

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use tactus_drivers_api::lock;
use tactus_drivers_api::wire::CaptureClock;
use tactus_types::{Clock, Time};

use crate::source::{Pixels, Shot, Source};
use crate::spec::{CameraSpec, PixelFormat, V4l2Spec};
use crate::{CameraError, probe};

pub use node::{Kernel, Node};
use table::*;

/// Buffers that the driver fills in turn.
const BUFFERS: u32 = 4;
/// A capture time that is older than this when its frame comes is not believed.
const BELIEVED: Duration = Duration::from_secs(1);
/// How far a driver's rate may be from the one that was asked for, as a share.
const RATE_TOLERANCE: f64 = 0.05;
/// Most formats, sizes or the like that a device is asked about.
const MOST: u32 = 256;

/// Opens the device of `spec`, takes it for this process alone, and starts it.
///
/// # Errors
/// [`CameraError`].
pub fn open(
    spec: &CameraSpec,
    device: &V4l2Spec,
    clock: Arc<dyn Clock>,
) -> Result<Capture<Kernel>, CameraError> {
    let kernel = take(&device.device)?;
    Capture::start(kernel, spec, device, clock)
}

/// The device at `path`, for this process alone.
///
/// # Errors
/// [`CameraError::Missing`], [`CameraError::Permission`], [`CameraError::Busy`], [`CameraError::Lost`].
pub fn take(path: &Path) -> Result<Kernel, CameraError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(|reason| match reason.kind() {
            io::ErrorKind::NotFound => CameraError::Missing {
                path: path.into(),
                there: probe::nodes(),
            },
            io::ErrorKind::PermissionDenied => CameraError::Permission {
                path: path.into(),
                group: lock::group_of(path),
            },
            io::ErrorKind::ResourceBusy => busy(path),
            _ => CameraError::lost(&what(path), &reason),
        })?;
    lock::own(&file).map_err(|holder| CameraError::Busy {
        path: path.into(),
        holder,
    })?;
    Ok(Kernel::new(file))
}

fn busy(path: &Path) -> CameraError {
    CameraError::Busy {
        path: path.into(),
        holder: lock::Holder::default(),
    }
}

fn what(path: &Path) -> String {
    format!("video device {}", path.display())
}

/// A device that delivers frames.
pub struct Capture<N: Node> {
    node: N,
    what: String,
    pixels: Pixels,
    size: (u32, u32),
    clock: Arc<dyn Clock>,
}

impl<N: Node> Capture<N> {
    /// Makes `node` deliver what `spec` says, and nothing else.
    ///
    /// # Errors
    /// [`CameraError`], for a device that is not of this kind, or does not do as it is told.
    pub fn start(
        mut node: N,
        spec: &CameraSpec,
        device: &V4l2Spec,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, CameraError> {
        let path = &device.device;
        let what = what(path);
        let failed = |reason: io::Error| match reason.kind() {
            io::ErrorKind::ResourceBusy => busy(path),
            _ => CameraError::lost(&what, &reason),
        };
        check_capture(&mut node, &what).map_err(|e| e.unwrap_or_else(failed))?;
        let pix = set_format(&mut node, spec, device.format, &what)
            .map_err(|e| e.unwrap_or_else(failed))?;
        set_rate(&mut node, spec.rate_hz, &what).map_err(|e| e.unwrap_or_else(failed))?;
        controls::apply(&mut node, device, &what).map_err(|e| e.unwrap_or_else(failed))?;
        start_stream(&mut node).map_err(failed)?;
        Ok(Self {
            node,
            pixels: match device.format {
                PixelFormat::Mjpeg => Pixels::Jpeg,
                PixelFormat::Yuyv => Pixels::Yuyv {
                    stride: pix.bytesperline.max(pix.width * 2) as usize,
                },
            },
            size: (pix.width, pix.height),
            what,
            clock,
        })
    }
}

impl<N: Node> Source for Capture<N> {
    fn next(&mut self, within: Duration) -> Result<Option<Shot>, CameraError> {
        let lost = |reason: io::Error| CameraError::lost(&self.what, &reason);
        if !self.node.wait(within).map_err(lost)? {
            return Ok(None);
        }
        let mut buffer = capture_buffer();
        match self.node.dqbuf(&mut buffer) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(e) => return Err(lost(e)),
        }
        // The kernel stamps by this host's clock, whatever the cell's is.
        let now = Time::from_nanos(self.clock.host_now().nanos);
        let (captured_at, clock) = capture_time(&buffer, now);
        let shot = Shot {
            data: self.node.copy(&buffer),
            pixels: self.pixels,
            size: self.size,
            captured_at: self.clock.of_host(captured_at),
            clock,
            number: Some(buffer.sequence),
            passed_over: 0,
            damaged: buffer.flags & BUF_FLAG_ERROR != 0,
        };
        self.node.qbuf(&mut buffer).map_err(lost)?;
        Ok(Some(shot))
    }
}

impl<N: Node> Drop for Capture<N> {
    fn drop(&mut self) {
        if let Err(e) = self.node.streamoff() {
            tracing::debug!("{}: {e}", self.what);
        }
    }
}

/// When the frame in `buffer`, which arrived at `now`, was captured. What is not of the monotonic clock, or cannot be,
/// gives way to its arrival. uvcvideo marks the start of the exposure, other drivers the end of the frame.
pub fn capture_time(buffer: &Buffer, now: Time) -> (Time, CaptureClock) {
    let arrived = (now, CaptureClock::Arrival);
    if buffer.flags & BUF_FLAG_TIMESTAMP_MASK != BUF_FLAG_TIMESTAMP_MONOTONIC {
        return arrived;
    }
    let (Ok(secs), Ok(micros)) = (
        u64::try_from(buffer.timestamp_sec),
        u64::try_from(buffer.timestamp_usec),
    ) else {
        return arrived;
    };
    let nanos = secs
        .saturating_mul(1_000_000_000)
        .saturating_add(micros.saturating_mul(1000));
    let at = Time::from_nanos(nanos);
    if at > now || now.since(at) > BELIEVED {
        return arrived;
    }
    match buffer.flags & BUF_FLAG_TSTAMP_SRC_MASK {
        BUF_FLAG_TSTAMP_SRC_SOE => (at, CaptureClock::Exposure),
        _ => (at, CaptureClock::EndOfFrame),
    }
}

/// What went wrong: a refusal of ours, or what the system said.
type Failed = Result<CameraError, io::Error>;

/// `unwrap_or_else` over [`Failed`] turns what the system said into a refusal.
fn refuse(error: CameraError) -> Failed {
    Ok(error)
}

fn capture_buffer() -> Buffer {
    Buffer {
        type_: BUF_TYPE_VIDEO_CAPTURE,
        memory: MEMORY_MMAP,
        ..Buffer::default()
    }
}

/// Text of the kernel: bytes up to the first zero.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// Whether the device captures video into mapped buffers.
pub(crate) fn captures(capability: &Capability) -> bool {
    let caps = match capability.capabilities & CAP_DEVICE_CAPS {
        0 => capability.capabilities,
        _ => capability.device_caps,
    };
    caps & CAP_VIDEO_CAPTURE != 0 && caps & CAP_STREAMING != 0
}

fn check_capture(node: &mut dyn Node, what: &str) -> Result<(), Failed> {
    let not_video = |e: io::Error| match e.raw_os_error() {
        // ENOTTY: the node is of another kind altogether.
        Some(25) => refuse(CameraError::NoCapture {
            what: what.into(),
            card: "no video device".into(),
        }),
        _ => Err(e),
    };
    let capability = node.querycap().map_err(not_video)?;
    if captures(&capability) {
        return Ok(());
    }
    Err(refuse(CameraError::NoCapture {
        what: what.into(),
        card: text(&capability.card),
    }))
}

/// Formats that the device offers, as their four characters.
pub(crate) fn formats(node: &mut dyn Node) -> Vec<u32> {
    let of = |index| {
        let mut value = FmtDesc {
            index,
            type_: BUF_TYPE_VIDEO_CAPTURE,
            ..FmtDesc::default()
        };
        node.enum_fmt(&mut value).ok().map(|()| value.pixelformat)
    };
    (0..MOST).map_while(of).collect()
}

/// Sizes that the device offers in `format`: `640x480`, or `160x120 to 1920x1080`.
pub(crate) fn sizes(node: &mut dyn Node, format: u32) -> Vec<String> {
    let of = |index| {
        let mut value = FrmSizeEnum {
            index,
            pixel_format: format,
            ..FrmSizeEnum::default()
        };
        node.enum_framesizes(&mut value).ok()?;
        let [w, h, ..] = value.size;
        Some(match value.type_ {
            FRMSIZE_TYPE_DISCRETE => format!("{w}x{h}"),
            _ => {
                let [w0, w1, _, h0, h1, _] = value.size;
                format!("{w0}x{h0} to {w1}x{h1}")
            }
        })
    };
    (0..MOST).map_while(of).collect()
}

/// `MJPG`, and so on.
pub(crate) fn format_name(format: u32) -> String {
    text(&format.to_le_bytes())
}

fn set_format(
    node: &mut dyn Node,
    spec: &CameraSpec,
    format: PixelFormat,
    what: &str,
) -> Result<PixFormat, Failed> {
    let offered = formats(node);
    let wanted: &[u32] = match format {
        PixelFormat::Mjpeg => &[PIX_FMT_MJPEG, PIX_FMT_JPEG],
        PixelFormat::Yuyv => &[PIX_FMT_YUYV],
    };
    let refused = |offered: &[u32]| {
        refuse(CameraError::Format {
            what: what.into(),
            wanted: format.word().into(),
            offered: offered.iter().map(|f| format_name(*f)).collect(),
        })
    };
    let Some(code) = wanted.iter().find(|code| offered.contains(code)) else {
        return Err(refused(&offered));
    };
    let mut value = Format {
        type_: BUF_TYPE_VIDEO_CAPTURE,
        pix: PixFormat {
            width: spec.width,
            height: spec.height,
            pixelformat: *code,
            field: FIELD_NONE,
            ..PixFormat::default()
        },
        ..Format::default()
    };
    node.s_fmt(&mut value).map_err(Err)?;
    // Drivers do not refuse: they do the nearest thing and say so.
    let pix = value.pix;
    if pix.pixelformat != *code {
        return Err(refused(&offered));
    }
    if (pix.width, pix.height) != (spec.width, spec.height) {
        return Err(refuse(CameraError::Size {
            what: what.into(),
            expected: format!("{}x{}", spec.width, spec.height),
            actual: format!("{}x{}", pix.width, pix.height),
            offered: sizes(node, *code),
        }));
    }
    Ok(pix)
}

fn set_rate(node: &mut dyn Node, rate_hz: f64, what: &str) -> Result<(), Failed> {
    let mut value = StreamParm {
        type_: BUF_TYPE_VIDEO_CAPTURE,
        timeperframe: [1000, (rate_hz * 1000.0).round() as u32],
        ..StreamParm::default()
    };
    if let Err(e) = node.s_parm(&mut value) {
        tracing::warn!("{what}: its rate cannot be set ({e}); it runs at its own");
        return Ok(());
    }
    let [numerator, denominator] = value.timeperframe;
    let actual = f64::from(denominator) / f64::from(numerator.max(1));
    if (actual / rate_hz - 1.0).abs() > RATE_TOLERANCE {
        return Err(refuse(CameraError::Rate {
            what: what.into(),
            expected: rate_hz,
            actual,
        }));
    }
    Ok(())
}

fn start_stream(node: &mut dyn Node) -> io::Result<()> {
    let mut request = RequestBuffers {
        count: BUFFERS,
        type_: BUF_TYPE_VIDEO_CAPTURE,
        memory: MEMORY_MMAP,
        ..RequestBuffers::default()
    };
    node.reqbufs(&mut request)?;
    if request.count == 0 {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    for index in 0..request.count {
        let mut buffer = Buffer {
            index,
            ..capture_buffer()
        };
        node.querybuf(&mut buffer)?;
        node.map(&buffer)?;
        node.qbuf(&mut buffer)?;
    }
    node.streamon()
}

#[cfg(test)]
mod tests;
