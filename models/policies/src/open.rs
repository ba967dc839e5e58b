//! From what a cell names to an open policy.

use std::{path::Path, time::Duration};

use tactus_bundle::{AnyBundle, BundleError};
use tactus_vla::{FastPolicy, VlaError, VlaOptions, VlaPolicy};

use crate::served::Served;

/// How a policy is opened, whatever its family: what a family has not (denoising steps, features that serve longer) it
/// refuses where it is asked for.
pub type Options<'a> = VlaOptions<'a>;

/// Where a policy comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A bundle directory; its manifest says which family it is.
    Bundle(&'a Path),
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
}

/// Opens the policy, which has then made its first chunk, so that the first real one is not the slow one.
///
/// # Errors
/// [`OpenError`] for the first thing that is wrong.
pub fn open(source: Source<'_>, options: Options<'_>) -> Result<Box<dyn Served>, OpenError> {
    match source {
        Source::Bundle(dir) => match AnyBundle::open(dir)? {
            AnyBundle::Vla(bundle) => Ok(Box::new(VlaPolicy::open_bundle(*bundle, options)?)),
        },
        Source::Fast { bundle, within } => {
            let AnyBundle::Vla(bundle) = AnyBundle::open(bundle)?;
            Ok(Box::new(FastPolicy::open(*bundle, &options, within)?))
        }
    }
}
