//! From what a cell names to an open policy.

use std::{path::Path, sync::Arc, time::Duration};

use tactus_bundle::{AnyBundle, BundleError};
use tactus_direct::DirectPolicy;
use tactus_openpi::RemoteError;
use tactus_types::{Clock, PolicyError};
use tactus_vla::{FastPolicy, VlaError, VlaOptions, VlaPolicy};

use crate::{
    remote::{Declared, Remote},
    served::Served,
};

/// How a policy is opened, whatever its family: what a family has not (denoising steps, features that serve longer) it
/// refuses where it is asked for.
pub type Options<'a> = VlaOptions<'a>;

/// Where a policy comes from.
#[derive(Clone)]
pub enum Source<'a> {
    /// A bundle directory; its manifest says which family it is.
    Bundle(&'a Path),
    /// A remote OpenPI server, and the clock of requests' deadlines; `None` where time is not real.
    Openpi(&'a Declared, Option<Arc<dyn Clock>>),
    /// A bundle directory whose language model acts, in FAST tokens, instead of its head.
    Fast {
        /// The directory.
        bundle: &'a Path,
        /// Time that a chunk may take; `None` where time is not real.
        within: Option<Duration>,
    },
}

/// Why a policy cannot be opened or probed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The bundle is unusable.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Its family says why.
    #[error(transparent)]
    Vla(#[from] VlaError),
    /// The server cannot be used.
    #[error(transparent)]
    Openpi(#[from] RemoteError),
    /// The cell declares what does not fit the arm.
    #[error("cell file: [openpi.keys]: {0}")]
    Mapping(#[from] tactus_openpi::MappingError),
    /// A chunk could not be made that should.
    #[error("the policy cannot infer: {0}")]
    Inference(#[from] PolicyError),
    /// The policy cannot do what the cell wants of it.
    #[error("{policy}: expected {expected}, got {actual}")]
    Option {
        /// The policy.
        policy: String,
        /// What it offers.
        expected: &'static str,
        /// What is asked for.
        actual: String,
    },
}

/// Opens the policy, which has then made its first chunk, so that the first real one is not the slow one.
///
/// # Errors
/// [`OpenError`] for the first thing that is wrong.
pub fn open(source: Source<'_>, options: Options<'_>) -> Result<Box<dyn Served>, OpenError> {
    match source {
        Source::Bundle(dir) => match AnyBundle::open(dir)? {
            AnyBundle::Vla(bundle) => Ok(Box::new(VlaPolicy::open_bundle(*bundle, options)?)),
            AnyBundle::Direct(bundle) => Ok(Box::new(DirectPolicy::open(*bundle, options)?)),
        },
        Source::Fast { bundle, within } => match AnyBundle::open(bundle)? {
            AnyBundle::Vla(bundle) => Ok(Box::new(FastPolicy::open(*bundle, &options, within)?)),
            AnyBundle::Direct(_) => Err(OpenError::Option {
                policy: bundle.display().to_string(),
                expected: "a bundle with a language model that acts (--control head)",
                actual: "one of the direct family".into(),
            }),
        },
        Source::Openpi(declared, clock) => Ok(Box::new(Remote::open(declared, clock, &options)?)),
    }
}
