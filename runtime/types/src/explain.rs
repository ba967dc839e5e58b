//! What thinks aloud beside a policy: words about an observation, never actions.

use std::time::Duration;

use crate::infer::PolicyError;
use crate::observe::Observation;

/// What one step of an explanation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thought {
    /// Looked, or read a part of the prompt.
    Reading,
    /// Said this; empty where a character is not whole yet.
    Said(String),
    /// It is over, for this reason.
    Done(&'static str),
}

/// Thinks aloud, one short step at a time: whoever drives it may leave off between any two.
pub trait Explain: Send {
    /// Begins anew, about `observation`; a talk that was going on is forgotten.
    ///
    /// # Errors
    /// [`PolicyError`] when a picture or the instruction cannot be used.
    fn begin(&mut self, observation: &Observation, instruction: &str) -> Result<(), PolicyError>;

    /// Takes one step, which is one run of a graph at most; `elapsed` is the time since the beginning.
    ///
    /// # Errors
    /// [`PolicyError`] when a graph fails or scores are not finite; the talk is over then.
    fn step(&mut self, elapsed: Duration) -> Result<Thought, PolicyError>;
}
