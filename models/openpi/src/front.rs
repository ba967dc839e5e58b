//! A policy of ours as an OpenPI server offers it: one observation of a client in, one chunk or one sentence out.
//!
//! Decides which observations count: every camera's picture under its key, `uint8`, of the size that the policy was made for,
//! every state a vector of finite numbers of the declared length, an instruction. What is wrong with one is said with the key,
//! what was expected and what was there, and the next is answered as if nothing had been. Pictures are copied once, out of the
//! message into buffers that are used again. Does no IO and reads no clock but to measure the policy.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tactus_types::{
    Action, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest, JointState,
    JointVec, Leftover, Observation, Policy, Time, TimedAction,
};

use crate::array::Array;
use crate::columns::GripperSense;
use crate::mapping::{ImageKey, Layout, Mapping, Reads};
use crate::pack::Packer;
use crate::value::{self, Value};

/// Time that a policy is told it has.
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest instruction, bytes.
const MAX_PROMPT: usize = 16 * 1024;
/// Room in a message for everything but pictures.
const MESSAGE_SLACK: usize = 1 << 20;
/// Pictures of one camera that may be in use: the one being inferred from, and one that the policy still holds.
const SHELF: usize = 3;

/// What a front needs to know of its policy.
#[derive(Debug, Clone)]
pub struct FrontSpec {
    /// Name of the policy, for the metadata.
    pub name: String,
    /// Cameras, in the policy's order, and joints, in the order of its joint vectors.
    pub reads: Reads,
    /// What clients call them.
    pub mapping: Mapping,
    /// Actions per chunk.
    pub horizon: usize,
    /// From the observation to the due time of the first action.
    pub first_action_offset: Duration,
}

/// Why an observation is not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrontError {
    /// It is no message.
    #[error("observation: {0}")]
    Malformed(#[from] value::Malformed),
    /// A key is missing, or what is there is something else.
    #[error("observation, key `{key}`: expected {expected}, got {actual}")]
    Observation {
        /// The key, or the keys of which one should be there.
        key: String,
        /// What should be there.
        expected: String,
        /// What is there.
        actual: String,
    },
    /// The policy made no chunk.
    #[error("{0}")]
    Policy(String),
}

/// What a client's observation took, apart from the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrontTimes {
    /// Reading the message.
    pub unpack: Duration,
    /// Message to observation.
    pub observe: Duration,
    /// The policy.
    pub infer: Duration,
    /// Chunk to message.
    pub pack: Duration,
}

/// A policy behind its mapping.
pub struct Front {
    policy: Box<dyn Policy>,
    spec: FrontSpec,
    cameras: Vec<Arc<str>>,
    shelves: Vec<Vec<Arc<[u8]>>>,
    answered: u64,
    times: FrontTimes,
}

impl Front {
    /// `policy` as `spec` describes it.
    pub fn new(policy: Box<dyn Policy>, spec: FrontSpec) -> Self {
        let cameras: Vec<Arc<str>> = spec
            .mapping
            .images
            .iter()
            .map(|image| image.camera.as_str().into())
            .collect();
        Self {
            policy,
            shelves: vec![Vec::with_capacity(SHELF); cameras.len()],
            cameras,
            spec,
            answered: 0,
            times: FrontTimes::default(),
        }
    }

    /// Largest message that is read: its pictures twice over (clients send cameras that a policy does not look at), and the rest.
    pub fn max_message(&self) -> usize {
        let bytes = |image: &ImageKey| image.size.map_or(0, |(width, height)| width * height * 3);
        let pictures: usize = self.spec.mapping.images.iter().map(bytes).sum();
        pictures.saturating_mul(2).saturating_add(MESSAGE_SLACK)
    }

    /// What the last observation took.
    pub fn times(&self) -> FrontTimes {
        self.times
    }

    /// The message that every client gets first: what the mapping file adds, and under `tactus` what the policy is.
    pub fn metadata(&self) -> Vec<u8> {
        let FrontSpec {
            name,
            reads,
            mapping,
            horizon,
            first_action_offset,
        } = &self.spec;
        let mut packer = Packer::default();
        packer.map(mapping.metadata.len() + 1);
        for (key, value) in &mapping.metadata {
            packer.text(key).toml(value);
        }
        let sight = mapping.state.iter().find_map(|s| s.columns.sense());
        packer.text("tactus").map(9 + usize::from(sight.is_some()));
        packer.text("policy").text(name);
        packer.text("bundle").text(self.policy.bundle_id());
        packer.text("prompt").text(&mapping.prompt);
        packer.text("images").map(mapping.images.len());
        for image in &mapping.images {
            let (width, height) = image.size.unwrap_or_default();
            let key = image.keys.first().map_or("", String::as_str);
            packer.text(key).list(3);
            for length in [height, width, 3] {
                packer.int(length as i64);
            }
        }
        packer.text("state").map(mapping.state.len());
        for state in &mapping.state {
            let key = state.keys.first().map_or("", String::as_str);
            packer.text(key).int(state.columns.len() as i64);
        }
        if let Some(sense) = sight {
            packer.text("state_gripper");
            pack_sense(&mut packer, sense);
        }
        let actions = &mapping.actions;
        let sense = actions.columns.sense();
        packer.text("horizon").int(*horizon as i64);
        packer.text("period_s").float(reads.period.as_secs_f64());
        packer
            .text("first_action_offset_s")
            .float(first_action_offset.as_secs_f64());
        packer.text("actions").map(3 + usize::from(sense.is_some()));
        if let Some(sense) = sense {
            packer.text("gripper");
            pack_sense(&mut packer, sense);
        }
        packer
            .text("representation")
            .text(actions.representation.word());
        packer.text("unit").text(actions.columns.unit.word());
        packer.text("columns").list(actions.columns.len());
        for column in &actions.columns.columns {
            packer.text(match column {
                crate::columns::Column::Joint(i) => reads.joints.get(*i).map_or("", String::as_str),
                crate::columns::Column::Gripper => "gripper",
                crate::columns::Column::Unused => "-",
            });
        }
        packer.into_bytes()
    }

    /// The answer to `message`, which came at `now`; `before` is what the message before took in all.
    ///
    /// # Errors
    /// [`FrontError`], which is what the client is told.
    pub fn answer(
        &mut self,
        message: &[u8],
        now: Time,
        before: Option<Duration>,
    ) -> Result<Vec<u8>, FrontError> {
        let started = Instant::now();
        let value = value::read(message)?;
        let unpacked = Instant::now();
        let (observation, prompt) = self.observation(&value, now)?;
        let observed = Instant::now();
        let JointState { q, opening, .. } = observation.state;
        let anchor = Action { q, opening };
        self.answered += 1;
        let request = InferenceRequest {
            id: self.answered,
            generation: Generation::default(),
            instruction: prompt,
            observe_after: now,
            deadline: now + DEADLINE,
            expected_delay: Duration::ZERO,
            leftover: Leftover::from_iter([TimedAction {
                due: now,
                action: anchor,
            }]),
            conditioning: Conditioning::None,
            seed: self.answered,
        };
        let chunk = self
            .policy
            .infer(&observation, &request)
            .map_err(|e| FrontError::Policy(e.to_string()))?;
        let inferred = Instant::now();
        let actions = &self.spec.mapping.actions;
        let rows = actions.write(&chunk.actions, &anchor);
        if !rows.iter().all(|number| number.is_finite()) {
            let reason = "the policy's actions are not finite numbers".into();
            return Err(FrontError::Policy(reason));
        }
        let mut packer = Packer::with_capacity(512 + rows.len() * 8);
        let millis = |time: Duration| 1e3 * time.as_secs_f64();
        packer.map(3);
        packer
            .text("actions")
            .float_array(&[chunk.actions.len(), actions.columns.len()], &rows);
        packer.text("policy_timing").map(1);
        packer
            .text("infer_ms")
            .float(millis(chunk.stages.inference()));
        packer.text("server_timing");
        packer.map(1 + usize::from(before.is_some()));
        packer.text("infer_ms").float(millis(inferred - unpacked));
        if let Some(before) = before {
            packer.text("prev_total_ms").float(millis(before));
        }
        let reply = packer.into_bytes();
        self.times = FrontTimes {
            unpack: unpacked - started,
            observe: observed - unpacked,
            infer: inferred - observed,
            pack: inferred.elapsed(),
        };
        Ok(reply)
    }

    /// What a client sees, as the policy sees it, and the instruction.
    fn observation(
        &mut self,
        value: &Value<'_>,
        now: Time,
    ) -> Result<(Observation, Arc<str>), FrontError> {
        if !matches!(value, Value::Map(_)) {
            return Err(wrong("", "a dictionary", value.describe()));
        }
        let mapping = &self.spec.mapping;
        let prompt = prompt(value, mapping)?.into();
        let mut at = Action {
            q: JointVec::zeros(self.spec.reads.joints.len()),
            opening: 0.0,
        };
        for state in &mapping.state {
            let key = state.keys.join("` or `");
            let found = find(value, &state.keys)?;
            let columns = state.columns.len();
            let numbers = found.numbers().filter(|numbers| numbers.len() == columns);
            let Some(numbers) = numbers else {
                return Err(wrong(&key, format!("{columns} numbers"), found.describe()));
            };
            if let Some(i) = numbers.iter().position(|number| !number.is_finite()) {
                let actual = format!("{} at index {i}", numbers[i]);
                return Err(wrong(&key, "finite numbers", actual));
            }
            at = state.columns.read(&numbers, at);
        }
        let mut frames = Vec::with_capacity(mapping.images.len());
        for ((image, camera), shelf) in mapping
            .images
            .iter()
            .zip(&self.cameras)
            .zip(&mut self.shelves)
        {
            let (pixels, chw, (width, height)) = picture(value, image)?;
            let data = shelved(shelf, pixels.len(), |to| match chw {
                false => to.copy_from_slice(pixels),
                true => interleave(pixels, to),
            });
            frames.push(CameraFrame {
                camera: Arc::clone(camera),
                captured_at: now,
                received_at: now,
                seq: self.answered + 1,
                width: width as u32,
                height: height as u32,
                encoding: Encoding::Rgb8,
                data,
            });
        }
        let state = JointState {
            captured_at: now,
            seq: self.answered + 1,
            epoch: 0,
            dq: JointVec::zeros(at.q.len()),
            q: at.q,
            opening: at.opening,
            torque: true,
        };
        let observation = Observation {
            observed_at: now,
            frames,
            state,
        };
        Ok((observation, prompt))
    }
}

fn pack_sense(packer: &mut Packer, GripperSense { open, closed }: GripperSense) {
    packer.map(2).text("open").float(open);
    packer.text("closed").float(closed);
}

fn wrong(key: &str, expected: impl Into<String>, actual: impl Into<String>) -> FrontError {
    FrontError::Observation {
        key: key.into(),
        expected: expected.into(),
        actual: actual.into(),
    }
}

fn find<'v, 'm>(value: &'v Value<'m>, keys: &[String]) -> Result<&'v Value<'m>, FrontError> {
    keys.iter()
        .find_map(|key| value.get(key))
        .ok_or_else(|| missing(value, &keys.join("` or `")))
}

fn missing(value: &Value<'_>, key: &str) -> FrontError {
    let mut keys = value.keys().join(", ");
    if keys.len() > 400 {
        let end = (0..=400).rev().find(|i| keys.is_char_boundary(*i));
        keys.truncate(end.unwrap_or(0));
        keys.push_str(" ..");
    }
    wrong(key, "it to be there", format!("the keys {keys}"))
}

fn prompt<'v>(value: &'v Value<'_>, mapping: &'v Mapping) -> Result<&'v str, FrontError> {
    let key = &mapping.prompt;
    match (value.get(key), &mapping.default_prompt) {
        (Some(Value::Text(text)), _) if text.len() <= MAX_PROMPT => Ok(text),
        (Some(Value::Text(text)), _) => {
            let expected = format!("at most {MAX_PROMPT} bytes of text");
            Err(wrong(key, expected, text.len().to_string()))
        }
        (Some(other), _) => Err(wrong(key, "text", other.describe())),
        (None, Some(default)) => Ok(default),
        (None, None) => Err(missing(value, key)),
    }
}

/// The pixels of a camera, whether colours come one after the other, and width and height.
type Pixels<'m> = (&'m [u8], bool, (usize, usize));

fn picture<'m>(value: &Value<'m>, image: &ImageKey) -> Result<Pixels<'m>, FrontError> {
    let found = find(value, &image.keys)?;
    let (width, height) = image.size.unwrap_or_default();
    let error = || {
        let shape = match image.layout {
            Some(Layout::Hwc) => format!("[{height}, {width}, 3]"),
            Some(Layout::Chw) => format!("[3, {height}, {width}]"),
            None => format!("[{height}, {width}, 3] or [3, {height}, {width}]"),
        };
        let key = image.keys.join("` or `");
        wrong(&key, format!("uint8 {shape}"), found.describe())
    };
    let Value::Array(array) = found else {
        return Err(error());
    };
    let Array { shape, .. } = array;
    let pixels = array.bytes().ok_or_else(error)?;
    let hwc = image.layout != Some(Layout::Chw) && shape[..] == [height, width, 3];
    let chw = image.layout != Some(Layout::Hwc) && shape[..] == [3, height, width];
    match (hwc, chw) {
        (true, _) => Ok((pixels, false, (width, height))),
        (false, true) => Ok((pixels, true, (width, height))),
        (false, false) => Err(error()),
    }
}

/// A buffer of `length` that nobody else holds, written by `write`; one of `shelf` where there is one.
fn shelved(shelf: &mut Vec<Arc<[u8]>>, length: usize, write: impl FnOnce(&mut [u8])) -> Arc<[u8]> {
    let free = |buffer: &Arc<[u8]>| buffer.len() == length && Arc::strong_count(buffer) == 1;
    let free = shelf.iter().position(free);
    let mut buffer = match free {
        Some(i) => shelf.swap_remove(i),
        None => std::iter::repeat_n(0, length).collect(),
    };
    match Arc::get_mut(&mut buffer) {
        Some(to) => write(to),
        // Weak references would be needed for this; nobody has any.
        None => {
            let mut fresh = vec![0; length];
            write(&mut fresh);
            buffer = fresh.into();
        }
    }
    if shelf.len() < SHELF {
        shelf.push(Arc::clone(&buffer));
    }
    buffer
}

/// Colours one after the other to colours side by side.
fn interleave(planes: &[u8], to: &mut [u8]) {
    let plane = planes.len() / 3;
    let (red, rest) = planes.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    let (pixels, _) = to.as_chunks_mut::<3>();
    for (pixel, ((r, g), b)) in pixels.iter_mut().zip(red.iter().zip(green).zip(blue)) {
        *pixel = [*r, *g, *b];
    }
}
