//! Frames to mp4, by `ffmpeg` as a program of its own: its encoders are under licences that do not suit ours, a process is
//! none of our code, and an encoder that dies takes nothing with it.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tactus_types::{CameraFrame, Encoding};

use super::ExportError;

/// How pictures are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// H.264, by libx264.
    H264,
    /// AV1, by SVT-AV1.
    Av1,
}

impl Codec {
    /// Its name in a set.
    pub fn word(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::Av1 => "av1",
        }
    }

    /// The codec of a name; H.264 for any that is not known.
    pub fn of(word: &str) -> Self {
        if word == Self::Av1.word() {
            Self::Av1
        } else {
            Self::H264
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            // Good enough that learning sees no difference; every second picture can be decoded by itself, as in LeRobot's own.
            Self::H264 => &[
                "-c:v", "libx264", "-preset", "medium", "-crf", "18", "-g", "2",
            ],
            Self::Av1 => &["-c:v", "libsvtav1", "-preset", "8", "-crf", "24", "-g", "2"],
        }
    }
}

/// Whether there is an encoder.
///
/// # Errors
/// [`ExportError::Video`] with how to get one.
pub fn check(codec: Codec) -> Result<(), ExportError> {
    let error = |reason: String| ExportError::Video {
        camera: "any".into(),
        reason,
    };
    let asked = Command::new("ffmpeg")
        .args(["-hide_banner", "-encoders"])
        .output();
    let asked =
        asked.map_err(|e| error(format!("ffmpeg: {e}; install it: apt-get install ffmpeg")))?;
    let wanted = codec.arguments()[1];
    if String::from_utf8_lossy(&asked.stdout).contains(wanted) {
        Ok(())
    } else {
        Err(error(format!(
            "this machine's ffmpeg has no encoder {wanted}"
        )))
    }
}

/// Encodes `frames`, all of one size, at `fps` to `file`.
///
/// # Errors
/// [`ExportError::Video`].
pub fn encode(
    frames: &[CameraFrame],
    fps: u32,
    codec: Codec,
    file: &Path,
) -> Result<(), ExportError> {
    let camera = frames.first().map_or("", |frame| &frame.camera).to_owned();
    let error = |reason: String| ExportError::Video {
        camera: camera.clone(),
        reason,
    };
    let first = frames.first().ok_or_else(|| error("no frames".into()))?;
    let (width, height) = (first.width, first.height);
    if width % 2 == 1 || height % 2 == 1 {
        return Err(error(format!(
            "expected an even width and height, got {width}x{height}"
        )));
    }
    let size = format!("{width}x{height}");
    let rate = fps.to_string();
    let input: Vec<&str> = match first.encoding {
        Encoding::Jpeg => vec!["-f", "image2pipe", "-c:v", "mjpeg"],
        Encoding::Rgb8 => vec!["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size],
    };
    let mut child = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-y"])
        .args(&input)
        .args(["-framerate", &rate, "-i", "pipe:0", "-an"])
        .args(codec.arguments())
        .args([
            "-pix_fmt",
            "yuv420p",
            "-movflags",
            "+faststart",
            "-f",
            "mp4",
        ])
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| error(format!("ffmpeg: {e}")))?;
    let mut sent = Ok(());
    if let Some(mut stdin) = child.stdin.take() {
        for frame in frames {
            let same =
                (frame.width, frame.height, frame.encoding) == (width, height, first.encoding);
            if !same {
                sent = Err(format!("its frames are not all of {size}"));
                break;
            }
            if let Err(e) = stdin.write_all(&frame.data) {
                sent = Err(format!("ffmpeg: {e}"));
                break;
            }
        }
    }
    let ended = child
        .wait_with_output()
        .map_err(|e| error(format!("ffmpeg: {e}")))?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        let said = said.lines().next().unwrap_or("it said nothing").to_owned();
        return Err(error(format!("ffmpeg: {said}")));
    }
    sent.map_err(error)
}
