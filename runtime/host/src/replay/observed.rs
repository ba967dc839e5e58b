//! What was observed: the frames, joint states and request behind every chunk of a recording.
//!
//! A chunk names its frames and the joint states that its proprioception was made of: an engine may have inferred before
//! the first state after the observation had reached it. In a file that does not name them, they are those around
//! `observed_at`. The observation is put together by the live assembler. Decides nothing about a policy.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tactus_control::{Assembled, Assembler, AssemblySpec};
use tactus_record::read::Recorded;
use tactus_types::{ActionChunk, CameraFrame, InferenceRequest, JointState, Observation, Time};
use tactus_wire::{ChunkReply, Topic};

/// How far back frames, states and requests are kept.
const WINDOW: Duration = Duration::from_secs(4);

/// States captured longer after an observation than this do not belong to it.
const AFTER: Duration = Duration::from_millis(200);

/// Why a chunk is left out.
const NO_STATES: &str = "the joint states behind its observation are not in the file";

/// What is behind a chunk, or why that cannot be said.
pub type Behind = Result<(Observation, InferenceRequest), String>;

/// Takes the messages of one cell in a file's order.
#[derive(Debug)]
pub struct Observed {
    cameras: Vec<Arc<str>>,
    frames: BTreeMap<String, VecDeque<CameraFrame>>,
    states: VecDeque<JointState>,
    requests: VecDeque<(Time, InferenceRequest)>,
}

impl Observed {
    /// Nothing has been taken yet. `cameras`: those of the policy, in its order.
    pub fn new(cameras: &[Arc<str>]) -> Self {
        Self {
            cameras: cameras.to_vec(),
            frames: BTreeMap::new(),
            states: VecDeque::new(),
            requests: VecDeque::new(),
        }
    }

    /// Takes a message on `topic` of the cell. Where it is a chunk: that, and what it was made of.
    pub fn take(&mut self, topic: &Topic, message: &Recorded<'_>) -> Option<(ActionChunk, Behind)> {
        match topic {
            Topic::CameraImage(name) => {
                let frame = message.decode::<CameraFrame>().ok()?.message;
                let frames = self.frames.entry(name.to_string()).or_default();
                frames.push_back(frame);
                forget(frames, |frame| frame.captured_at);
            }
            Topic::ArmState(_) => {
                self.states
                    .push_back(message.decode::<JointState>().ok()?.message);
                forget(&mut self.states, |state| state.captured_at);
            }
            Topic::ArmRequest(_) => {
                let request = message.decode::<InferenceRequest>().ok()?.message;
                self.requests.push_back((message.published_at, request));
                forget(&mut self.requests, |(at, _)| *at);
            }
            Topic::ArmChunk(_) => {
                if let ChunkReply::Chunk(chunk) = message.decode::<ChunkReply>().ok()?.message {
                    let behind = self.behind(&chunk);
                    return Some((chunk, behind));
                }
            }
            _ => {}
        }
        None
    }

    fn behind(&self, chunk: &ActionChunk) -> Behind {
        let asked = |(_, r): &&(Time, InferenceRequest)| {
            r.id == chunk.request_id && r.generation == chunk.generation
        };
        let request = self.requests.iter().find(asked);
        let request = request.ok_or("its request is not in the file")?.1.clone();
        let frames = self.frames_of(chunk)?;
        Ok((self.observe(&frames, chunk)?, request))
    }

    /// The frames behind `chunk`, in the policy's order.
    fn frames_of(&self, chunk: &ActionChunk) -> Result<Vec<CameraFrame>, String> {
        let wanted = self.cameras.iter().map(|camera| {
            let of = chunk.frames.iter().find(|f| f.camera == *camera);
            let of = of.ok_or(format!("it was made without camera `{camera}`"))?;
            let kept = self.frames.get(&**camera).into_iter().flatten();
            let frame = kept.into_iter().find(|f| f.captured_at == of.captured_at);
            frame
                .cloned()
                .ok_or(format!("its frame of camera `{camera}` is not in the file"))
        });
        wanted.collect()
    }

    /// The observation that the live assembler makes of `frames` and the states behind `chunk`.
    fn observe(&self, frames: &[CameraFrame], chunk: &ActionChunk) -> Result<Observation, String> {
        let until = chunk.observed_at + AFTER;
        let behind = |state: &&JointState| match &chunk.states {
            Some(both) => both.contains(&state.captured_at),
            None => state.captured_at <= until,
        };
        let forever = Duration::from_secs(3600);
        let mut assembler = Assembler::new(AssemblySpec {
            cameras: self.cameras.clone(),
            frame_limit: forever,
            proprio_limit: forever,
            max_skew: forever,
        });
        let mut given = 0;
        for state in self.states.iter().filter(behind) {
            assembler.state(*state);
            given += 1;
        }
        if chunk
            .states
            .is_some_and(|[a, b]| given < if a == b { 1 } else { 2 })
        {
            return Err(NO_STATES.into());
        }
        for frame in frames {
            assembler.frame(CameraFrame {
                received_at: frame.captured_at,
                ..frame.clone()
            });
        }
        let now = frames.iter().map(|f| f.captured_at).max();
        let now = now.unwrap_or(until).max(until);
        match assembler.assemble(now, Time::ZERO) {
            Assembled::Ready { observation, .. } => Ok(observation),
            Assembled::NotYet | Assembled::Unfit(_) => Err(NO_STATES.into()),
        }
    }
}

/// Lets go of what lies further back than [`WINDOW`] from the newest.
fn forget<T>(kept: &mut VecDeque<T>, at: impl Fn(&T) -> Time) {
    let newest = kept.back().map(&at).unwrap_or_default();
    while kept.front().is_some_and(|t| newest.since(at(t)) > WINDOW) {
        kept.pop_front();
    }
}
