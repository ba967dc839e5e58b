//! What every policy says of itself, whatever its family: all that a cell has to fit together with.
//!
//! Decides nothing: it is read out of a family's own manifest, or declared for a policy that has none.

use crate::manifest::{Action, CameraSpec, Manifest, State};

/// A policy as the rest of the runtime sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Name of the policy.
    pub name: String,
    /// Cameras, in the order of an observation's frames.
    pub cameras: Vec<CameraSpec>,
    /// Which proprioception it takes.
    pub state: State,
    /// What its actions are.
    pub action: Action,
    /// Denoising steps that it was made for; 1 where a chunk is made at once.
    pub steps: usize,
}

impl From<&Manifest> for Outline {
    fn from(manifest: &Manifest) -> Self {
        Self {
            name: manifest.name.clone(),
            cameras: manifest.cameras.clone(),
            state: manifest.state.clone(),
            action: manifest.action.clone(),
            steps: manifest.denoise.steps,
        }
    }
}
