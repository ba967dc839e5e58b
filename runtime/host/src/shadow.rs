//! A candidate policy in the shadow of the engine's: the same observations and requests, and no way to the arm.
//!
//! Nothing here holds a publisher: what the candidate makes is compared with what the engine made of the same request,
//! told to the caller, and dropped. Decides when the candidate may infer ([`Turn`]): between the engine's answer and the
//! next request, when what it usually takes fits in there, so that two inferences never share a processor; or always,
//! where the caller permits that they overlap. What scheduling class this process has is the caller's.

mod disagreement;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tactus_control::{Assembler, AssemblySpec, Dispatcher, Job};
use tactus_types::{ActionChunk, Clock, InferenceRequest, Observation, Policy, Time};
use tactus_wire::{Cell, ChunkReply, Name, Session, SessionError};

use crate::intake::{Inbound, Intake};

pub use disagreement::Disagreement;

/// Inferences whose longest is what the next may take.
const LAST: usize = 10;
/// Answers of either side that wait for the other's.
const KEPT: usize = 8;

/// How a shadow is configured.
#[derive(Debug, Clone)]
pub struct ShadowOptions {
    /// The cell.
    pub cell: Cell,
    /// Arm whose requests it listens to.
    pub arm: Name,
    /// What an observation needs; its cameras are the candidate's.
    pub assembly: AssemblySpec,
    /// Whether the candidate may infer while the engine does.
    pub overlap: bool,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Shadowed {
    /// The candidate made a chunk.
    Chunk(Comparison),
    /// It was not asked, and why.
    Skipped(Skip),
    /// It was asked and made none, for this reason.
    Failed(String),
}

/// Why the candidate was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The next request came before the engine had answered this one.
    Unanswered,
    /// It would not be done before the next request.
    NoTime,
    /// No observation in time.
    Unfit,
}

/// A chunk of the candidate beside the engine's.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The request.
    pub request_id: u64,
    /// Instant of the candidate's observation.
    pub observed_at: Time,
    /// What the candidate took, from observation to chunk.
    pub took: Duration,
    /// The part of it inside ONNX Runtime.
    pub inference: Duration,
    /// Whether its chunk would have come after the request's deadline, had it begun when its observation was complete.
    pub late: bool,
    /// The engine's bundle, and its time inside ONNX Runtime; `None` when it made no chunk of this request.
    pub engine: Option<(Arc<str>, Duration)>,
    /// Whether both saw the same frames.
    pub same_frames: bool,
    /// How far apart they are; `None` when they have no due time in common, or the engine made none.
    pub disagreement: Option<Disagreement>,
}

/// Runs `policy` in the shadow until `stop` is set or `tell` says that it has heard enough.
///
/// # Errors
/// [`SessionError`] when a key cannot be listened to.
pub fn run_shadow(
    policy: &mut dyn Policy,
    options: &ShadowOptions,
    session: &Session,
    clock: &dyn Clock,
    stop: &AtomicBool,
    mut tell: impl FnMut(Shadowed) -> bool,
) -> Result<(), SessionError> {
    let ShadowOptions { cell, arm, .. } = options;
    let intake =
        Intake::open(session, cell, arm, policy.cameras())?.and_answers(session, cell, arm)?;
    let mut shadow = Shadow::new(options);
    let mut batch = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        intake.take_into(&mut batch, false);
        for (_, message) in batch.drain(..) {
            shadow.take(message, clock.now());
        }
        if let Some((job, took, made)) = shadow.turn(policy, clock) {
            shadow.made(job, took, made);
        }
        while let Some(news) = shadow.news.pop_front() {
            if !tell(news) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// An observation that waits for its turn.
#[derive(Debug, Clone, PartialEq)]
struct Waiting {
    request: InferenceRequest,
    observation: Observation,
    complete_at: Time,
}

/// What a candidate made of a job: a chunk, or why not.
type Made = Result<ActionChunk, String>;

struct Shadow {
    assembler: Assembler,
    dispatcher: Dispatcher,
    turn: Turn,
    waiting: Option<Waiting>,
    /// The engine's answers, oldest first: to which request, and the chunk unless it refused.
    theirs: VecDeque<(u64, Option<ActionChunk>)>,
    /// Chunks of the candidate that wait for the engine's.
    mine: VecDeque<(ActionChunk, Comparison)>,
    news: VecDeque<Shadowed>,
}

impl Shadow {
    fn new(options: &ShadowOptions) -> Self {
        Self {
            assembler: Assembler::new(options.assembly.clone()),
            dispatcher: Dispatcher::new(),
            turn: Turn::new(options.overlap),
            waiting: None,
            theirs: VecDeque::new(),
            mine: VecDeque::new(),
            news: VecDeque::new(),
        }
    }

    fn take(&mut self, message: Inbound, now: Time) {
        match message {
            Inbound::Frame(frame, _) => self.assembler.frame(frame),
            Inbound::State(state) => self.assembler.state(state),
            Inbound::Request(request) => {
                self.turn.request(now);
                if self.dispatcher.is_pending() {
                    self.news.push_back(Shadowed::Skipped(Skip::Unfit));
                }
                self.dispatcher.request(request);
            }
            Inbound::Answer(reply) => {
                let answer = match reply {
                    ChunkReply::Chunk(chunk) => (chunk.request_id, Some(chunk)),
                    ChunkReply::Refusal(refusal) => (refusal.request_id, None),
                };
                if self.theirs.len() == KEPT {
                    self.theirs.pop_front();
                }
                self.theirs.push_back(answer);
                self.compare();
            }
            Inbound::Gone => {}
        }
    }

    /// Runs the candidate, if it is its turn.
    fn turn(
        &mut self,
        policy: &mut dyn Policy,
        clock: &dyn Clock,
    ) -> Option<(Waiting, Duration, Made)> {
        match self.dispatcher.poll(&self.assembler, clock.now()) {
            Some(Job::Infer {
                request,
                observation,
                ..
            }) => {
                let next = Waiting {
                    request,
                    observation,
                    complete_at: clock.now(),
                };
                if self.waiting.replace(next).is_some() {
                    self.news.push_back(Shadowed::Skipped(Skip::Unanswered));
                }
            }
            Some(Job::Refuse(_)) => self.news.push_back(Shadowed::Skipped(Skip::Unfit)),
            None => {}
        }
        let id = self.waiting.as_ref()?.request.id;
        let answered = self.theirs.iter().any(|(theirs, _)| *theirs >= id);
        let begun = clock.now();
        match self.turn.next(begun, answered) {
            Next::Wait => None,
            Next::Skip => {
                self.waiting = None;
                self.news.push_back(Shadowed::Skipped(Skip::NoTime));
                None
            }
            Next::Infer => {
                let job = self.waiting.take()?;
                let made = policy.infer(&job.observation, &job.request);
                let took = clock.now().since(begun);
                Some((job, took, made.map_err(|e| e.to_string())))
            }
        }
    }

    fn made(&mut self, job: Waiting, took: Duration, made: Made) {
        self.turn.took(took);
        match made {
            Err(reason) => self.news.push_back(Shadowed::Failed(reason)),
            Ok(chunk) => {
                let comparison = Comparison {
                    request_id: job.request.id,
                    observed_at: chunk.observed_at,
                    took,
                    inference: chunk.stages.inference(),
                    late: job.complete_at + took > job.request.deadline,
                    engine: None,
                    same_frames: false,
                    disagreement: None,
                };
                if self.mine.len() == KEPT
                    && let Some((_, alone)) = self.mine.pop_front()
                {
                    self.news.push_back(Shadowed::Chunk(alone));
                }
                self.mine.push_back((chunk, comparison));
                self.compare();
            }
        }
    }

    /// Tells of every chunk of the candidate whose request the engine has answered, or answered a later one instead.
    fn compare(&mut self) {
        let newest = self.theirs.iter().map(|(id, _)| *id).max();
        while let Some((mine, _)) = self.mine.front()
            && newest.is_some_and(|newest| newest >= mine.request_id)
        {
            let id = mine.request_id;
            let theirs = self.theirs.iter().find(|(theirs, _)| *theirs == id);
            let theirs = theirs.and_then(|(_, chunk)| chunk.as_ref());
            let Some((mine, mut comparison)) = self.mine.pop_front() else {
                return;
            };
            if let Some(theirs) = theirs {
                comparison.engine = Some((theirs.bundle_id.clone(), theirs.stages.inference()));
                comparison.same_frames = theirs.frames == mine.frames;
                comparison.disagreement = Disagreement::of(theirs, &mine);
            }
            self.news.push_back(Shadowed::Chunk(comparison));
        }
    }
}

/// What a waiting observation has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Wait,
    Skip,
    Infer,
}

/// Whose turn it is. A function of what was told and of `now`.
#[derive(Debug)]
struct Turn {
    overlap: bool,
    requested_at: Option<Time>,
    /// Time between the last two requests.
    beat: Option<Duration>,
    took: VecDeque<Duration>,
}

impl Turn {
    fn new(overlap: bool) -> Self {
        Self {
            overlap,
            requested_at: None,
            beat: None,
            took: VecDeque::new(),
        }
    }

    fn request(&mut self, now: Time) {
        self.beat = self.requested_at.map(|at| now.since(at));
        self.requested_at = Some(now);
    }

    fn took(&mut self, took: Duration) {
        if self.took.len() == LAST {
            self.took.pop_front();
        }
        self.took.push_back(took);
    }

    fn next(&mut self, now: Time, answered: bool) -> Next {
        if self.overlap {
            return Next::Infer;
        }
        if !answered {
            return Next::Wait;
        }
        let (Some(requested_at), Some(beat)) = (self.requested_at, self.beat) else {
            // Until it is known how much time there is, none is taken.
            return Next::Skip;
        };
        let longest = self.took.iter().max().copied().unwrap_or_default();
        if now + longest <= requested_at + beat {
            return Next::Infer;
        }
        // One that was slow once is tried again some time: what keeps it from its turn is forgotten turn by turn.
        self.took.pop_front();
        Next::Skip
    }
}

#[cfg(test)]
mod tests;
