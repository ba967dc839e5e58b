//! What can go wrong in the simulated cell. Decides no reaction: callers do.

use std::path::PathBuf;

/// An error of the simulated cell.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// MuJoCo refused the built-in scene.
    #[error("MuJoCo did not load the scene assets/cell.xml: {reason}")]
    Scene {
        /// MuJoCo's own words.
        reason: String,
    },
    /// The scene lacks something that this crate refers to by name.
    #[error("the scene assets/cell.xml has no {kind} named {name:?}")]
    MissingName {
        /// Joint, actuator, geom or camera.
        kind: &'static str,
        /// The name looked for.
        name: String,
    },
    /// A snapshot does not belong to this scene.
    #[error("a world snapshot must hold {expected} numbers in qpos, found {actual}")]
    SnapshotLength {
        /// Numbers that the scene has.
        expected: usize,
        /// Numbers that the snapshot has.
        actual: usize,
    },
    /// No offscreen OpenGL context, or drawing failed.
    #[error(
        "offscreen rendering failed: {reason} (it needs EGL; on Debian and Ubuntu: \
         apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri)"
    )]
    Render {
        /// The renderer's own words.
        reason: String,
    },
    /// A picture could not be compressed.
    #[error("JPEG compression of the {camera} camera's picture failed: {reason}")]
    Jpeg {
        /// Name of the camera.
        camera: String,
        /// The encoder's own words.
        reason: String,
    },
    /// A file of a data set could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The directory for a new data set already holds one.
    #[error("{path} already exists; choose a new directory or remove it")]
    OutputExists {
        /// The file in the way.
        path: PathBuf,
    },
    /// An option of the recorder is out of range.
    #[error("recorder option {field} must be {expected}, found {actual}")]
    Option {
        /// Name of the option.
        field: &'static str,
        /// What would be accepted.
        expected: &'static str,
        /// What was given.
        actual: String,
    },
    /// A worker thread died without an error of its own.
    #[error("recorder worker {worker} stopped without a result")]
    WorkerLost {
        /// Number of the worker, from 0.
        worker: usize,
    },
}
