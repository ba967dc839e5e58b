//! Why a camera cannot be used: one sentence each, and what to do.

use std::io;
use std::path::PathBuf;

use tactus_drivers_api::lock::{self, Holder};

/// Why a camera cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// There is no such video device.
    #[error("video device {}: there is none; {}", path.display(), devices(there))]
    Missing {
        /// What was asked for.
        path: PathBuf,
        /// Video devices that there are.
        there: Vec<PathBuf>,
    },
    /// The system does not let us.
    #[error("video device {}: permission denied; {}", path.display(), lock::remedy(group.as_deref()))]
    Permission {
        /// The device.
        path: PathBuf,
        /// Group that may use it.
        group: Option<String>,
    },
    /// It has an owner.
    #[error("video device {}: in use by {holder}: a camera has one owner", path.display())]
    Busy {
        /// The device.
        path: PathBuf,
        /// Its owner.
        holder: Holder,
    },
    /// It is a video device, but takes no pictures (an encoder, metadata of another camera).
    #[error(
        "{what}: `{card}` captures no video: a camera has several nodes, take the one that `tactus camera probe` lists"
    )]
    NoCapture {
        /// The device.
        what: String,
        /// What it calls itself.
        card: String,
    },
    /// It does not offer the format.
    #[error(
        "{what}: field `camera.format`: expected one that the camera offers ({}), got {wanted}",
        list(offered)
    )]
    Format {
        /// The device.
        what: String,
        /// What the cell asks for.
        wanted: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// Its frames have another size.
    #[error(
        "{what}: camera.width x camera.height: expected {expected}, got {actual}{}",
        offers(offered)
    )]
    Size {
        /// The device, stream or file.
        what: String,
        /// What the cell says.
        expected: String,
        /// What it is.
        actual: String,
        /// Sizes that the camera offers, where it says so.
        offered: Vec<String>,
    },
    /// It does not run at the rate.
    #[error(
        "{what}: field `camera.rate_hz`: expected a rate that the camera offers at this size, got {expected}, for which it takes {actual:.3}"
    )]
    Rate {
        /// The device.
        what: String,
        /// What the cell says, Hz.
        expected: f64,
        /// What the driver made of it, Hz.
        actual: f64,
    },
    /// A control is not there, or not in that range.
    #[error("{what}: field `camera.{field}`: expected {expected}, got {actual}")]
    Control {
        /// The device.
        what: String,
        /// The cell's field.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// A server answers something that is no stream of images.
    #[error("{url}: expected {expected}, got {actual}")]
    Reply {
        /// The stream, without a password.
        url: String,
        /// What it should answer.
        expected: String,
        /// What it did.
        actual: String,
        /// Asking again cannot help.
        wrong: bool,
    },
    /// A file cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What frames come from is gone.
    #[error("{what}: {reason}")]
    Lost {
        /// The device, stream or file.
        what: String,
        /// What happened.
        reason: String,
    },
    /// The last image was played.
    #[error("{}: every image was played", path.display())]
    Ended {
        /// The file or folder.
        path: PathBuf,
    },
    /// The program that decodes videos was not built.
    #[error("{what}: decoding needs the program {}, which is not there: `./launch/setup --cv` gets OpenCV, with which it is built", program.display())]
    NoOpenCv {
        /// The stream or file.
        what: String,
        /// Where the program should be.
        program: PathBuf,
    },
    /// An image cannot be changed as the cell asks.
    #[error("image: {reason}")]
    Image {
        /// Why.
        reason: String,
    },
}

impl CameraError {
    /// Whether somebody has to change something: waiting cannot help. Not so of a camera that is not plugged in, that is
    /// another's for the moment, or whose server does not answer.
    pub fn is_wrong(&self) -> bool {
        match self {
            Self::Permission { .. }
            | Self::NoCapture { .. }
            | Self::Format { .. }
            | Self::Size { .. }
            | Self::Rate { .. }
            | Self::Control { .. }
            | Self::File { .. }
            | Self::NoOpenCv { .. } => true,
            Self::Reply { wrong, .. } => *wrong,
            Self::Missing { .. }
            | Self::Busy { .. }
            | Self::Lost { .. }
            | Self::Ended { .. }
            | Self::Image { .. } => false,
        }
    }

    /// A device that an IO error ended.
    pub(crate) fn lost(what: &str, reason: &io::Error) -> Self {
        Self::Lost {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}

fn devices(there: &[PathBuf]) -> String {
    if there.is_empty() {
        return "this machine has no video device: is the camera plugged in?".into();
    }
    let names: Vec<String> = there.iter().map(|p| p.display().to_string()).collect();
    format!("there are {}", names.join(", "))
}

fn list(offered: &[String]) -> String {
    match offered {
        [] => "none".into(),
        some => some.join(", "),
    }
}

fn offers(offered: &[String]) -> String {
    match offered {
        [] => String::new(),
        some => format!(" (the camera offers {})", some.join(", ")),
    }
}
