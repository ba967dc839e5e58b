//! [`RemotePolicy`]: a policy whose chunks a remote OpenPI server makes.
//!
//! Decides what is sent of an observation, and that an answer counts only when it has as many finite numbers as the cell
//! declares. The server says nothing about time, joints or units, so the cell does. An answer that is late, malformed, of
//! another shape or not finite is a [`PolicyError`], and what becomes of the arm is the arm host's ladder; `infer` returns by
//! the request's deadline in any case. Of the round trip the server's own time (`server_timing.infer_ms`, as far as it fits)
//! is [`Stage::Backbone`], the rest [`Stage::Context`].

mod agree;
mod ask;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tactus_types::{
    Action, ActionChunk, CameraFrame, Clock, Conditioning, Encoding, FrameRef, Generation,
    InferenceRequest, JointState, JointVec, Leftover, Observation, Policy, PolicyError, Stage,
    StageTimes, Time, TimedAction,
};

use crate::endpoint::Endpoint;
use crate::link::{Link, LinkError};
use crate::mapping::{Mapping, Reads};
use crate::pack::Packer;
use crate::pixels::Pixels;
use crate::value::{self, Value};

use self::agree::agrees;
use self::ask::{Entry, pack};

/// Longest time that one answer is waited for, whatever the request says.
const LONGEST: Duration = Duration::from_secs(30);
/// How long a starting engine waits for the server.
const OPEN_WITHIN: Duration = Duration::from_secs(15);
/// Actions in the longest chunk.
pub const MAX_HORIZON: usize = 1024;
/// Picture of a camera whose size nobody knows, for probes.
const PROBE_SIZE: (usize, usize) = (224, 224);

/// Where relative actions count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anchor {
    /// The measured joints.
    #[default]
    Measured,
    /// The joints that were commanded.
    Command,
}

/// What a cell declares of a remote policy.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteSpec {
    /// The server.
    pub endpoint: Endpoint,
    /// Keys, columns and what they mean.
    pub mapping: Mapping,
    /// Cameras, joints and period that the mapping is for.
    pub reads: Reads,
    /// Actions per chunk.
    pub horizon: usize,
    /// From the observation to the due time of action 0.
    pub first_action_offset: Duration,
    /// Where relative actions count from.
    pub anchor: Anchor,
}

/// Why a server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It is not there.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// What it says first is no message.
    #[error("{endpoint}: metadata: {reason}")]
    Malformed {
        /// The server.
        endpoint: String,
        /// What is wrong.
        reason: value::Malformed,
    },
    /// It is Tactus, and serves another policy than the cell declares.
    #[error(
        "{endpoint}: metadata `{field}`: expected {expected}, as the cell file says, got {actual}"
    )]
    Other {
        /// The server.
        endpoint: String,
        /// Field of its metadata.
        field: &'static str,
        /// What the cell declares.
        expected: String,
        /// What the server says.
        actual: String,
    },
}

/// A policy elsewhere.
pub struct RemotePolicy {
    spec: RemoteSpec,
    cameras: Vec<Arc<str>>,
    pixels: Vec<Pixels>,
    link: Link,
    clock: Option<Arc<dyn Clock>>,
    id: Arc<str>,
    provider: String,
}

impl RemotePolicy {
    /// Connects to the server of `spec`; `clock` is the clock of requests' deadlines. Without one, where time is not real, an
    /// answer may take as long as lies between a request's observation and its deadline.
    ///
    /// # Errors
    /// [`RemoteError`] when it does not answer within 15 s, or says that it is another policy.
    pub fn open(spec: RemoteSpec, clock: Option<Arc<dyn Clock>>) -> Result<Self, RemoteError> {
        let (link, metadata) = Link::open(spec.endpoint.clone(), OPEN_WITHIN)?;
        let endpoint = || spec.endpoint.to_string();
        let metadata = value::read(&metadata).map_err(|reason| RemoteError::Malformed {
            endpoint: endpoint(),
            reason,
        })?;
        if let Some(said) = metadata.get("tactus") {
            agrees(said, &spec)?;
        }
        tracing::info!(endpoint = endpoint(), metadata = ?metadata.keys(), "openpi metadata");
        let images = &spec.mapping.images;
        Ok(Self {
            cameras: images.iter().map(|i| i.camera.as_str().into()).collect(),
            pixels: images.iter().map(|i| Pixels::new(i.size)).collect(),
            id: id(&spec).into(),
            provider: endpoint(),
            link,
            clock,
            spec,
        })
    }

    /// What the cell declares.
    pub fn spec(&self) -> &RemoteSpec {
        &self.spec
    }

    /// Asks for at most `chunks` chunks on grey pictures of an arm at rest, for at most `within` but one at least; what each
    /// stage of each took. `on_chunk` is called after each.
    ///
    /// # Errors
    /// [`PolicyError`] as [`Policy::infer`].
    pub fn probe(
        &mut self,
        chunks: usize,
        within: Duration,
        mut on_chunk: impl FnMut(),
    ) -> Result<Vec<StageTimes>, PolicyError> {
        const WARM_UP: usize = 2;
        let begun = Instant::now();
        let mut all = Vec::with_capacity(chunks);
        for i in 0..WARM_UP + chunks.max(1) {
            let now = self.now().unwrap_or(Time::from_millis(1000));
            let (observation, request) = self.at_rest(now, i as u64);
            let chunk = self.infer(&observation, &request)?;
            // Where a chunk takes seconds, the first counts.
            if i < WARM_UP && begun.elapsed() < within / 4 {
                continue;
            }
            all.push(chunk.stages);
            on_chunk();
            if begun.elapsed() > within {
                break;
            }
        }
        Ok(all)
    }

    fn now(&self) -> Option<Time> {
        Some(self.clock.as_ref()?.now())
    }

    fn at_rest(&self, now: Time, seq: u64) -> (Observation, InferenceRequest) {
        let frame = |camera: &Arc<str>| {
            let known = self.spec.reads.cameras.iter().find(|c| *c.name == **camera);
            let (width, height) = known.and_then(|c| c.size).unwrap_or(PROBE_SIZE);
            CameraFrame {
                camera: Arc::clone(camera),
                captured_at: now,
                received_at: now,
                seq,
                width: width as u32,
                height: height as u32,
                encoding: Encoding::Rgb8,
                data: vec![128; width * height * 3].into(),
            }
        };
        let q = JointVec::zeros(self.spec.reads.joints.len());
        let state = JointState {
            captured_at: now,
            seq,
            epoch: 0,
            q,
            dq: q,
            opening: 1.0,
            torque: true,
        };
        let observation = Observation {
            observed_at: now,
            frames: self.cameras.iter().map(frame).collect(),
            state,
        };
        let rest = TimedAction {
            due: now,
            action: Action { q, opening: 1.0 },
        };
        let request = InferenceRequest {
            id: seq,
            generation: Generation::default(),
            instruction: "do nothing".into(),
            observe_after: now,
            deadline: now + LONGEST,
            expected_delay: Duration::ZERO,
            leftover: Leftover::from_iter([rest]),
            conditioning: Conditioning::None,
            seed: seq,
        };
        (observation, request)
    }

    /// The message of an observation; the pixels are ready.
    fn message(&self, observation: &Observation, instruction: &str) -> Vec<u8> {
        let Mapping {
            prompt,
            images,
            state,
            ..
        } = &self.spec.mapping;
        let JointState { q, opening, .. } = observation.state;
        let at = Action { q, opening };
        let mut entries: Vec<(&str, Entry<'_>)> = vec![(prompt, Entry::Text(instruction))];
        for vector in state {
            let mut row = Vec::with_capacity(vector.columns.len());
            vector.columns.write(&at, &mut row);
            let key = vector.keys.first().map_or("", String::as_str);
            entries.push((key, Entry::Vector(row)));
        }
        let mut bytes = 1024;
        for (image, pixels) in images.iter().zip(&self.pixels) {
            let key = image.keys.first().map_or("", String::as_str);
            entries.push((key, Entry::Picture(pixels, image.layout)));
            bytes += pixels.rgb().len() + 256;
        }
        let mut packer = Packer::with_capacity(bytes);
        pack(&mut packer, &entries);
        packer.into_bytes()
    }

    /// The numbers of an answer, and the server's own time where it says it.
    fn numbers(&self, answer: &[u8]) -> Result<(Vec<f64>, Option<Duration>), String> {
        let answer = value::read(answer).map_err(|e| format!("answer: {e}"))?;
        let expected = || {
            let columns = self.spec.mapping.actions.columns.len();
            format!("float32 or float64 [{}, {columns}]", self.spec.horizon)
        };
        let wrong = |actual: String| {
            format!(
                "answer, key `actions`: expected {}, got {actual}",
                expected()
            )
        };
        let actions = answer
            .get("actions")
            .ok_or_else(|| wrong(format!("the keys {}", answer.keys().join(", "))))?;
        let Value::Array(array) = actions else {
            return Err(wrong(actions.describe()));
        };
        let shape = [self.spec.horizon, self.spec.mapping.actions.columns.len()];
        let numbers = array.floats().filter(|_| array.shape == shape);
        let numbers = numbers.ok_or_else(|| wrong(array.describe()))?;
        if let Some(i) = numbers.iter().position(|number| !number.is_finite()) {
            let (row, column) = (i / shape[1], i % shape[1]);
            return Err(format!(
                "answer, key `actions`: expected finite numbers, got {} in action {row}, column {column}",
                numbers[i]
            ));
        }
        let timing = answer
            .get("server_timing.infer_ms")
            .and_then(Value::numbers);
        let millis = timing.and_then(|numbers| numbers.first().copied());
        let took = millis.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
        Ok((numbers, took))
    }

    fn anchor(&self, observation: &Observation, request: &InferenceRequest) -> Option<Action> {
        let JointState { q, opening, .. } = observation.state;
        let commanded = commanded_at(request.leftover.as_slice(), observation.observed_at);
        match self.spec.anchor {
            // A server that says nothing of the gripper leaves it as it was told; where it is measured, it would press no more.
            Anchor::Measured => Some(Action {
                q,
                opening: commanded.map_or(opening, |command| command.opening),
            }),
            Anchor::Command => commanded.filter(|command| command.q.len() == q.len()),
        }
    }
}

/// What is commanded at `at`; `None` when nothing is planned.
fn commanded_at(planned: &[TimedAction], at: Time) -> Option<Action> {
    let after = planned.partition_point(|timed| timed.due < at);
    match (
        after.checked_sub(1).and_then(|i| planned.get(i)),
        planned.get(after),
    ) {
        (None, next) => next.map(|next| next.action),
        (Some(last), None) => Some(last.action),
        (Some(last), Some(next)) => {
            let t = at.secs_from(last.due) / next.due.secs_from(last.due);
            let (from, to) = (last.action, next.action);
            Some(Action {
                q: from.q.lerp(&to.q, t),
                opening: from.opening + t * (to.opening - from.opening),
            })
        }
    }
}

/// Who made a chunk: the server's address and everything that is declared of it, as a hash.
fn id(spec: &RemoteSpec) -> String {
    let digest = Sha256::digest(format!("{spec:?}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn error(stage: &'static str, reason: impl ToString) -> PolicyError {
    PolicyError {
        stage,
        reason: reason.to_string(),
    }
}

/// The stage of what the server did or said.
const SERVER: &str = "openpi";

impl Policy for RemotePolicy {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        let began = Instant::now();
        let now = self.now().unwrap_or(observation.observed_at);
        let left = request.deadline.since(now).min(LONGEST);
        let until = began + left;
        if request.conditioning != Conditioning::None {
            return Err(error(
                SERVER,
                "a remote policy makes every chunk from the observation alone",
            ));
        }
        let seen = observation.frames.iter().map(|frame| &frame.camera);
        if !seen.eq(self.cameras.iter()) {
            let names = self.cameras.join(", ");
            return Err(error("assemble", format!("expected frames of {names}")));
        }
        let joints = self.spec.reads.joints.len();
        let JointState { q, opening, .. } = &observation.state;
        if q.len() != joints || !(q.is_finite() && opening.is_finite()) {
            return Err(error(
                "assemble",
                format!("expected {joints} finite joints"),
            ));
        }
        let anchor = self.anchor(observation, request).ok_or_else(|| {
            error(
                "assemble",
                "nothing is commanded that actions could count from",
            )
        })?;
        let mut stages = StageTimes::default();
        let mut decode = Duration::ZERO;
        for (pixels, frame) in self.pixels.iter_mut().zip(&observation.frames) {
            decode += pixels.prepare(frame).map_err(|e| error("decode", e))?;
        }
        stages.set(Stage::Decode, decode);
        let started = Instant::now();
        let message = self.message(observation, &request.instruction);
        let packed = Instant::now();
        let answer = self
            .link
            .exchange(message, until)
            .map_err(|e| error(SERVER, e))?;
        let trip = packed.elapsed();
        let (numbers, took) = self.numbers(&answer).map_err(|e| error(SERVER, e))?;
        let took = took.map_or(trip, |took| took.min(trip));
        stages.set(Stage::Preprocess, packed - started);
        stages.set(Stage::Backbone, took);
        stages.set(Stage::Context, trip - took);
        let frame = |frame: &CameraFrame| FrameRef {
            camera: Arc::clone(&frame.camera),
            seq: frame.seq,
            captured_at: frame.captured_at,
        };
        Ok(ActionChunk {
            request_id: request.id,
            generation: request.generation,
            observed_at: observation.observed_at,
            first_due: observation.observed_at + self.spec.first_action_offset,
            period: self.spec.mapping.actions.period,
            actions: self.spec.mapping.actions.read(&numbers, &anchor),
            bundle_id: Arc::clone(&self.id),
            states: None,
            frames: observation.frames.iter().map(frame).collect(),
            stages,
        })
    }

    fn prepare(&mut self, frame: &CameraFrame) {
        let camera = self.cameras.iter().position(|name| *name == frame.camera);
        if let Some(pixels) = camera.and_then(|i| self.pixels.get_mut(i)) {
            // What is wrong with it is said when it is asked for.
            drop(pixels.prepare(frame));
        }
    }

    fn cameras(&self) -> &[Arc<str>] {
        &self.cameras
    }

    fn bundle_id(&self) -> &Arc<str> {
        &self.id
    }

    fn provider(&self) -> &str {
        &self.provider
    }
}
