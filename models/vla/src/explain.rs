//! [`Explainer`]: a language model that thinks aloud about what the policy sees, for whoever drives it at a low rate.
//!
//! Decides what it is asked (the arm's own instruction, as the policy's prompt has it) and how long it may go on. Does not
//! decide when it may run; each step is one run of a graph, and between two the machine is free.

use std::time::Duration;

use tactus_bundle::Bundle;
use tactus_types::{Explain, Observation, PolicyError, Thought};

use crate::{
    error::VlaError,
    reason::{Reasoner, ReasonerOptions, Step, Stop, TalkState},
    sample::Choice,
};

/// Tokens of the prompt in one run: a control inference waits for no more than that.
pub const PIECE: usize = 16;
/// Most tokens of one explanation.
pub const MAX_TOKENS: usize = 256;

/// A reasoner at work.
pub struct Explainer {
    reasoner: Reasoner,
    talk: Option<TalkState>,
    stop: Stop,
}

impl Explainer {
    /// Opens the language model of `bundle` with sessions of its own; `options.piece` is [`PIECE`] whatever it says.
    ///
    /// # Errors
    /// [`VlaError`] as [`Reasoner::open`].
    pub fn open(bundle: &Bundle, options: ReasonerOptions) -> Result<Self, VlaError> {
        let options = ReasonerOptions {
            piece: PIECE,
            ..options
        };
        let reasoner = Reasoner::open(bundle, &options)?;
        // What comes after the answer is of no interest, and an answer in action tokens is not for people.
        let texts = match &reasoner.spec().think {
            Some([_, end]) => vec![end.clone()],
            None => Vec::new(),
        };
        Ok(Self {
            reasoner,
            talk: None,
            stop: Stop {
                texts,
                tokens: MAX_TOKENS,
                within: None,
            },
        })
    }
}

impl Explain for Explainer {
    fn begin(&mut self, observation: &Observation, instruction: &str) -> Result<(), PolicyError> {
        self.talk = None;
        let stop = self.stop.clone();
        let talk = self
            .reasoner
            .prepare(&observation.frames, instruction, Choice::Greedy, stop)
            .map_err(|e| e.at("decoder"))?;
        self.talk = Some(talk);
        Ok(())
    }

    fn step(&mut self, elapsed: Duration) -> Result<Thought, PolicyError> {
        let Some(talk) = &mut self.talk else {
            return Ok(Thought::Done("ended"));
        };
        match self.reasoner.step(talk, elapsed) {
            Ok(Step::Read) => Ok(Thought::Reading),
            Ok(Step::Said { text, .. }) => Ok(Thought::Said(text)),
            Ok(Step::Done(finish)) => {
                self.talk = None;
                Ok(Thought::Done(finish.name()))
            }
            Err(error) => {
                self.talk = None;
                Err(error.at("decoder"))
            }
        }
    }
}
