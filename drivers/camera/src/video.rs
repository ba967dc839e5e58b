//! Video files and RTSP streams, which the program `tactus-cv` receives and decodes (with FFmpeg, in OpenCV).
//!
//! It is a program of its own, one for each camera: its libraries are some 300 MB that an arm host or engine would load and
//! lock into memory with every start, they may wait for seconds whatever they are asked, and when a stream breaks one of
//! them, only this camera is lost.
//!
//! What travels through its pipes: a line with what to do goes in (`stream URL` or `play PATH`); [`Record`]s come out. A
//! file's frames come one for each line `next` or `rewind` that goes in; a stream's come by themselves, the newest whenever
//! the pipe has room. The program ends when its pipes do.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tactus_drivers_api::wire::CaptureClock;
use tactus_types::{Clock, Time};

use crate::CameraError;
use crate::playback::{Image, Images, Playback, unusable};
use crate::source::{Pixels, Shot, Source};
use crate::spec::PlaybackSpec;

/// Name of the program, which lies beside this one.
pub const PROGRAM: &str = "tactus-cv";
/// How long a file or stream may take to open, and a file's frame to be decoded.
const OPEN_WITHIN: Duration = Duration::from_secs(8);
const FRAME_WITHIN: Duration = Duration::from_secs(5);
/// How long a stream that never pauses is read before what it brought counts.
const READ_WITHIN: Duration = Duration::from_millis(50);
/// Largest side of a picture, pixels: the wire's.
const MAX_SIDE: u32 = 1 << 14;

/// What the program says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// It is open.
    Ready,
    /// A picture, received at nanoseconds of `CLOCK_MONOTONIC`: `height * width * 3` bytes, red first.
    Frame {
        /// Width, pixels.
        width: u32,
        /// Height, pixels.
        height: u32,
        /// When it was received.
        at_nanos: u64,
        /// Pictures of a stream since the last record that were left out for this newer one.
        passed_over: u32,
        /// The bytes.
        rgb: Vec<u8>,
    },
    /// There is no further picture.
    End,
    /// It cannot be opened or read.
    Failed(String),
}

impl Record {
    /// Writes the record.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Ready => out.write_all(b"R")?,
            Self::End => out.write_all(b"E")?,
            Self::Failed(reason) => {
                out.write_all(b"X")?;
                out.write_all(&(reason.len() as u32).to_le_bytes())?;
                out.write_all(reason.as_bytes())?;
            }
            Self::Frame {
                width,
                height,
                at_nanos,
                passed_over,
                rgb,
            } => {
                out.write_all(b"F")?;
                out.write_all(&width.to_le_bytes())?;
                out.write_all(&height.to_le_bytes())?;
                out.write_all(&at_nanos.to_le_bytes())?;
                out.write_all(&passed_over.to_le_bytes())?;
                out.write_all(rgb)?;
            }
        }
        out.flush()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// What the system says; invalid data for what is no record.
    pub fn read(from: &mut impl Read) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut kind = [0];
        from.read_exact(&mut kind)?;
        let word = |from: &mut dyn Read| {
            let mut bytes = [0; 4];
            from.read_exact(&mut bytes)
                .map(|()| u32::from_le_bytes(bytes))
        };
        Ok(match kind {
            [b'R'] => Self::Ready,
            [b'E'] => Self::End,
            [b'X'] => {
                let length = word(from)?;
                let mut reason = String::new();
                from.take(length.min(4096).into())
                    .read_to_string(&mut reason)?;
                Self::Failed(reason)
            }
            [b'F'] => {
                let (width, height) = (word(from)?, word(from)?);
                if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
                    return Err(invalid());
                }
                let mut at = [0; 8];
                from.read_exact(&mut at)?;
                let passed_over = word(from)?;
                let mut rgb = vec![0; width as usize * height as usize * 3];
                from.read_exact(&mut rgb)?;
                Self::Frame {
                    width,
                    height,
                    at_nanos: u64::from_le_bytes(at),
                    passed_over,
                    rgb,
                }
            }
            _ => return Err(invalid()),
        })
    }
}

/// The program at work. It ends with this.
struct Decoder {
    child: Child,
    orders: ChildStdin,
    records: ChildStdout,
}

impl Drop for Decoder {
    fn drop(&mut self) {
        if let Err(e) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::debug!("{PROGRAM}: {e}");
        }
    }
}

impl Decoder {
    /// Starts the program with the line `order`, and waits until it is open; `what` is opened.
    fn start(what: &str, order: &[&OsStr]) -> Result<Self, CameraError> {
        let lost = |e: io::Error| CameraError::lost(what, &e);
        let program = program(PROGRAM).map_err(lost)?;
        let child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = child.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => CameraError::NoOpenCv {
                what: what.into(),
                program,
            },
            _ => lost(e),
        })?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(records)) = pipes else {
            return Err(lost(io::ErrorKind::BrokenPipe.into()));
        };
        let mut decoder = Self {
            child,
            orders,
            records,
        };
        decoder.order(order).map_err(lost)?;
        match decoder.record(OPEN_WITHIN).map_err(lost)? {
            Some(Record::Ready) => Ok(decoder),
            Some(Record::Failed(reason)) => Err(lost(io::Error::other(reason))),
            Some(_) => Err(lost(io::ErrorKind::InvalidData.into())),
            None => Err(lost(io::ErrorKind::TimedOut.into())),
        }
    }

    fn order(&mut self, words: &[&OsStr]) -> io::Result<()> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_encoded_bytes()).collect();
        let mut line = words.join(&b' ');
        line.push(b'\n');
        self.orders.write_all(&line)?;
        self.orders.flush()
    }

    /// The next record, which has to begin within `within`.
    fn record(&mut self, within: Duration) -> io::Result<Option<Record>> {
        let until = Instant::now() + within;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs() as _,
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(
                &mut [PollFd::new(&self.records, PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(0) => return Ok(None),
                Ok(_) => return Record::read(&mut self.records).map(Some),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Where the program `name`, which uses OpenCV, lies: beside this one, or one folder up (a test lies in `deps`).
///
/// # Errors
/// When it is not known where this one lies.
pub fn program(name: &str) -> io::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let beside = |folder: &std::path::Path| folder.join(name);
    let folders = me.ancestors().skip(1).take(2);
    let there = folders.map(beside).find(|file| file.is_file());
    Ok(there.unwrap_or_else(|| beside(me.parent().unwrap_or(&me))))
}

/// Plays the video file of `spec`.
///
/// # Errors
/// [`CameraError::File`] when it cannot be read as a video; [`CameraError::NoOpenCv`].
pub fn play(
    spec: &PlaybackSpec,
    rate_hz: f64,
    clock: Arc<dyn Clock>,
) -> Result<Playback<Video>, CameraError> {
    Ok(Playback::new(Video::open(spec)?, spec, rate_hz, clock))
}

/// The pictures of a video file.
pub struct Video {
    path: PathBuf,
    decoder: Decoder,
    rewind: bool,
}

impl Video {
    fn open(spec: &PlaybackSpec) -> Result<Self, CameraError> {
        let path = &spec.path;
        std::fs::File::open(path).map_err(|e| unusable(path, e))?;
        if path.as_os_str().as_encoded_bytes().contains(&b'\n') {
            return Err(unusable(path, "a line break in its name"));
        }
        let started = Decoder::start(
            &path.display().to_string(),
            &["play".as_ref(), path.as_os_str()],
        );
        let decoder = started.map_err(|e| match e {
            CameraError::Lost { reason, .. } => unusable(path, reason),
            other => other,
        })?;
        Ok(Self {
            path: path.clone(),
            decoder,
            rewind: false,
        })
    }
}

impl Images for Video {
    fn read(&mut self) -> Result<Option<Image>, CameraError> {
        let order = if self.rewind { "rewind" } else { "next" };
        self.rewind = false;
        let asked = self.decoder.order(&[order.as_ref()]);
        let record = asked.and_then(|()| self.decoder.record(FRAME_WITHIN));
        match record.map_err(|e| unusable(&self.path, e))? {
            Some(Record::Frame {
                width, height, rgb, ..
            }) => Ok(Some(Image {
                data: rgb,
                pixels: Pixels::Rgb8,
                size: (width, height),
            })),
            Some(Record::End) => Ok(None),
            Some(Record::Failed(reason)) => Err(unusable(&self.path, reason)),
            Some(Record::Ready) | None => Err(unusable(&self.path, "no picture came")),
        }
    }

    fn rewind(&mut self) -> Result<(), CameraError> {
        self.rewind = true;
        Ok(())
    }
}

/// An RTSP stream.
pub struct Stream {
    what: String,
    decoder: Decoder,
    /// The end, where it came right behind a picture.
    end: Option<Record>,
    clock: Arc<dyn Clock>,
}

impl Stream {
    /// Opens the stream at `url`; blocks for some seconds.
    ///
    /// # Errors
    /// [`CameraError::Lost`]; [`CameraError::NoOpenCv`].
    pub fn connect(url: &str, clock: Arc<dyn Clock>) -> Result<Self, CameraError> {
        let what = shown(url);
        let decoder = Decoder::start(&what, &["stream".as_ref(), url.as_ref()])?;
        Ok(Self {
            what,
            decoder,
            end: None,
            clock,
        })
    }

    /// The next record; what waited in the pipe gives way to the pictures that came after it.
    fn newest(&mut self, within: Duration) -> io::Result<Option<Record>> {
        let until = Instant::now() + within + READ_WITHIN;
        let mut record = match self.end.take() {
            Some(end) => Some(end),
            None => self.decoder.record(within)?,
        };
        while let Some(Record::Frame { passed_over, .. }) = &record
            && Instant::now() < until
        {
            let older = passed_over.saturating_add(1);
            match self.decoder.record(Duration::ZERO)? {
                Some(mut newer @ Record::Frame { .. }) => {
                    if let Record::Frame { passed_over, .. } = &mut newer {
                        *passed_over = passed_over.saturating_add(older);
                    }
                    record = Some(newer);
                }
                Some(end) => {
                    self.end = Some(end);
                    break;
                }
                None => break,
            }
        }
        Ok(record)
    }
}

impl Source for Stream {
    fn next(&mut self, within: Duration) -> Result<Option<Shot>, CameraError> {
        let record = self.newest(within);
        let lost = |reason: String| CameraError::Lost {
            what: self.what.clone(),
            reason,
        };
        match record.map_err(|e| lost(e.to_string()))? {
            None => Ok(None),
            Some(Record::Frame {
                width,
                height,
                at_nanos,
                passed_over,
                rgb,
            }) => Ok(Some(Shot {
                data: rgb,
                pixels: Pixels::Rgb8,
                size: (width, height),
                // The decoder's process knows this host's clock only.
                captured_at: self.clock.of_host(Time::from_nanos(at_nanos)),
                clock: CaptureClock::Arrival,
                number: None,
                passed_over,
                damaged: false,
            })),
            Some(Record::Failed(reason)) => Err(lost(reason)),
            Some(Record::End | Record::Ready) => Err(lost("no further image came".into())),
        }
    }
}

/// `url` without user and password.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_arrive_and_hostile_ones_are_refused(
            (width, height) in (1u32..20, 1u32..20),
            at_nanos in any::<u64>(),
            passed_over in any::<u32>(),
            reason in "[ -~]{0,60}",
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let rgb = vec![7; (width * height * 3) as usize];
            for record in [
                Record::Ready,
                Record::End,
                Record::Failed(reason),
                Record::Frame { width, height, at_nanos, passed_over, rgb },
            ] {
                let mut line = Vec::new();
                record.write(&mut line).expect("written");
                prop_assert_eq!(Record::read(&mut &line[..]).expect("read"), record);
                line.pop();
                prop_assert!(Record::read(&mut &line[..]).is_err() || line.starts_with(b"X"));
            }
            let _ = Record::read(&mut &bytes[..]);
            let large = [b"F".to_vec(), u32::MAX.to_le_bytes().repeat(4)].concat();
            prop_assert!(Record::read(&mut &large[..]).is_err());
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(
            shown("rtsp://lab:se@cret@cam:554/live"),
            "rtsp://cam:554/live"
        );
        assert_eq!(shown("rtsp://cam/live"), "rtsp://cam/live");
    }
}
