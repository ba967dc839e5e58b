//! Inference again: every recorded chunk from its recorded request and observation, through the live assembler and policy.
//!
//! A chunk names its frames and the joint states that its proprioception was made of: an engine may have inferred before
//! the first state after the observation had reached it. In a file that does not name them, they are those around
//! `observed_at`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tactus_control::{Assembled, Assembler, AssemblySpec};
use tactus_record::read::Recorded;
use tactus_types::{
    ActionChunk, CameraFrame, InferenceRequest, JointState, Observation, Policy, Time,
};
use tactus_wire::{ChunkReply, Topic};

/// How far back frames, states and requests are kept.
const WINDOW: Duration = Duration::from_secs(4);

/// States captured longer after an observation than this do not belong to it.
const AFTER: Duration = Duration::from_millis(200);

/// Why a chunk is left out.
const NO_STATES: &str = "the joint states behind its observation are not in the file";

/// One chunk that was inferred again.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkReport {
    /// Its request.
    pub request_id: u64,
    /// When it was observed.
    pub observed_at: Time,
    /// Largest difference of a joint target over all actions that both have, rad; 0 and `equal`: bit for bit.
    pub joint_rad: f64,
    /// Largest difference of an opening.
    pub opening: f64,
    /// The same number of actions at the same times, and every bit of them the same.
    pub equal: bool,
    /// What each stage took, now.
    pub inference: Duration,
}

/// What the replay of a file's chunks found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InferenceReport {
    /// Chunks that were inferred again.
    pub chunks: Vec<ChunkReport>,
    /// Chunks that could not be, and why: the first of each reason, and how many.
    pub left_out: BTreeMap<String, u64>,
    /// Bundles behind the recorded chunks.
    pub bundles: Vec<Arc<str>>,
}

impl InferenceReport {
    /// Chunks equal bit for bit.
    pub fn equal(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.equal).count()
    }

    /// Chunks that differ by no more than `tolerance`, rad for joints and 1 for openings.
    pub fn within(&self, tolerance: f64) -> usize {
        let near = |c: &&ChunkReport| c.equal || c.joint_rad.max(c.opening) <= tolerance;
        self.chunks.iter().filter(near).count()
    }
}

/// Takes the messages of one cell in a file's order.
pub struct Inference {
    policy: Box<dyn Policy>,
    frames: BTreeMap<String, VecDeque<CameraFrame>>,
    states: VecDeque<JointState>,
    requests: VecDeque<(Time, InferenceRequest)>,
    report: InferenceReport,
}

impl Inference {
    /// Nothing has been taken yet.
    pub fn new(policy: Box<dyn Policy>) -> Self {
        Self {
            policy,
            frames: BTreeMap::new(),
            states: VecDeque::new(),
            requests: VecDeque::new(),
            report: InferenceReport::default(),
        }
    }

    /// Takes a message on `topic` of the cell, and infers when it is a chunk.
    pub fn take(&mut self, topic: &Topic, message: &Recorded<'_>) {
        match topic {
            Topic::CameraImage(name) => {
                if let Ok(delivery) = message.decode::<CameraFrame>() {
                    let frames = self.frames.entry(name.to_string()).or_default();
                    frames.push_back(delivery.message);
                    forget(frames, |frame| frame.captured_at);
                }
            }
            Topic::ArmState(_) => {
                if let Ok(delivery) = message.decode::<JointState>() {
                    self.states.push_back(delivery.message);
                    forget(&mut self.states, |state| state.captured_at);
                }
            }
            Topic::ArmRequest(_) => {
                if let Ok(delivery) = message.decode::<InferenceRequest>() {
                    self.requests
                        .push_back((message.published_at, delivery.message));
                    forget(&mut self.requests, |(at, _)| *at);
                }
            }
            Topic::ArmChunk(_) => {
                if let Ok(delivery) = message.decode::<ChunkReply>()
                    && let ChunkReply::Chunk(chunk) = delivery.message
                {
                    self.chunk(&chunk);
                }
            }
            _ => {}
        }
    }

    /// What was found.
    pub fn finish(self) -> InferenceReport {
        self.report
    }

    /// Chunks so far.
    pub fn done(&self) -> usize {
        self.report.chunks.len()
    }

    fn chunk(&mut self, recorded: &ActionChunk) {
        if !self.report.bundles.contains(&recorded.bundle_id) {
            self.report.bundles.push(recorded.bundle_id.clone());
        }
        match self.again(recorded) {
            Ok(report) => self.report.chunks.push(report),
            Err(why) => *self.report.left_out.entry(why).or_default() += 1,
        }
    }

    fn again(&mut self, recorded: &ActionChunk) -> Result<ChunkReport, String> {
        let asked = |(_, r): &&(Time, InferenceRequest)| {
            r.id == recorded.request_id && r.generation == recorded.generation
        };
        let request = self.requests.iter().find(asked);
        let request = request.ok_or("its request is not in the file")?.1.clone();
        let frames = self.frames_of(recorded)?;
        let observation = self.observe(&frames, recorded)?;
        let again = self.policy.infer(&observation, &request);
        let again = again.map_err(|e| format!("the policy failed: {}: {}", e.stage, e.reason))?;
        Ok(compare(recorded, &again))
    }

    /// The frames behind `chunk`, in the policy's order.
    fn frames_of(&self, chunk: &ActionChunk) -> Result<Vec<CameraFrame>, String> {
        let wanted = self.policy.cameras().iter().map(|camera| {
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
            cameras: self.policy.cameras().to_vec(),
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

fn compare(recorded: &ActionChunk, again: &ActionChunk) -> ChunkReport {
    let pairs = recorded.actions.iter().zip(&again.actions);
    let (mut joint_rad, mut opening) = (0.0f64, 0.0f64);
    let mut equal = recorded.actions.len() == again.actions.len()
        && recorded.first_due == again.first_due
        && recorded.period == again.period;
    for (a, b) in pairs {
        let numbers = a.q.iter().zip(b.q.iter());
        for (a, b) in numbers {
            joint_rad = joint_rad.max((a - b).abs());
            equal &= a.to_bits() == b.to_bits();
        }
        opening = opening.max((a.opening - b.opening).abs());
        equal &= a.opening.to_bits() == b.opening.to_bits() && a.q.len() == b.q.len();
    }
    ChunkReport {
        request_id: recorded.request_id,
        observed_at: recorded.observed_at,
        joint_rad,
        opening,
        equal,
        inference: again.stages.inference(),
    }
}
