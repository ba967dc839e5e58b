//! Faults at the boundaries of a cell: what a broken process, link, clock or device does to the messages that pass.
//!
//! Decides, for every message on its way, whether it arrives, when, how often and as what. A function of the faults, the
//! seed and the messages; reads no clock. The code that is being tested knows nothing of it. What should follow from
//! each fault is in the drill's catalogue, and what does follow is found out by the drill.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{
    Action, ActionChunk, ArmInfo, CameraFrame, Command, JointState, JointVec, LeaseId,
    OperatorSetpoint, Refusal, RefusalReason, Time,
};

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(
    missing_docs,
    reason = "the drill's catalogue says what each does, in words for users"
)]
pub enum Act {
    EngineKill,
    EngineHang,
    EngineRefuse,
    EngineBundle,
    LinkCut,
    LinkDelay(Duration, Duration),
    LinkDuplicate,
    ChunkNan,
    ChunkInfinite,
    ChunkRange,
    ChunkEmpty,
    ChunkLong,
    ChunkJoints,
    ChunkPeriod,
    ChunkFuture,
    ChunkOld,
    ChunkForeign,
    ChunkDuplicate,
    ChunkReorder,
    ChunkDrop,
    ChunkDelay(Duration),
    ChunkStorm,
    CameraKill,
    CameraStop,
    CameraFreeze,
    CameraDelay(Duration),
    CameraDrop,
    CameraClock(Duration),
    StateStop,
    StateNan,
    StateJoints,
    StateDelay(Duration),
    StateReorder,
    StateClock(Duration),
    DeviceRestart,
    DeviceStuck,
    DeviceError,
    DeviceLimp,
    OperatorSilent,
    OperatorOld(Duration),
    OperatorNan,
    OperatorJoints,
    OperatorLeap,
    OperatorForeign,
    /// An operator's order, which passes no boundary of messages: whoever runs the cell gives it.
    OrderHold,
    /// The holder of the lease dies: likewise.
    LeaseLost,
    /// A higher rank takes the lease over: likewise.
    LeaseTakeOver,
}

/// A fault that acts from an instant on for a while.
#[derive(Debug, Clone, PartialEq)]
pub struct Injection {
    /// What it does.
    pub act: Act,
    /// The camera that it is about; `None` for every camera.
    pub camera: Option<Arc<str>>,
    /// When it begins.
    pub from: Time,
    /// When it is over.
    pub until: Time,
}

/// A reply of the engine on its way to the arm host.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A chunk.
    Chunk(Box<ActionChunk>),
    /// A refusal.
    Refusal(Refusal),
}

impl Reply {
    /// The request that it answers.
    pub fn id(&self) -> u64 {
        match self {
            Self::Chunk(chunk) => chunk.request_id,
            Self::Refusal(refusal) => refusal.request_id,
        }
    }
}

/// What is left to chance, by a seed: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug, Clone, Default)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Injections and what they remember of the messages that passed.
#[derive(Debug, Clone)]
pub struct Tamper {
    injections: Vec<Injection>,
    info: ArmInfo,
    random: Random,
    frozen: Vec<(Arc<str>, Arc<[u8]>)>,
    held_state: Option<JointState>,
    epochs: u64,
    restarting: bool,
    acted: Option<Time>,
}

impl Tamper {
    /// Injections into a cell with the arm of `info`; `seed` decides what is left to chance.
    pub fn new(injections: Vec<Injection>, info: ArmInfo, seed: u64) -> Self {
        Self {
            injections,
            info,
            random: Random(seed),
            frozen: Vec::new(),
            held_state: None,
            epochs: 0,
            restarting: false,
            acted: None,
        }
    }

    /// Lets `injection` act as well; those that were over at `now` are forgotten.
    pub fn inject(&mut self, injection: Injection, now: Time) {
        self.injections.retain(|i| now < i.until);
        self.injections.push(injection);
    }

    /// How far ahead of the device's own its epoch is told.
    pub fn epochs(&self) -> u64 {
        self.epochs
    }

    /// Whether the device says at `now` that its motors do not hold the arm.
    pub fn is_limp(&self, now: Time) -> bool {
        self.acts(None, now).contains(&Act::DeviceLimp)
    }

    /// Whether it has said so by `now`.
    pub fn was_limp(&self, now: Time) -> bool {
        let limp = |i: &Injection| i.act == Act::DeviceLimp && i.from <= now;
        self.injections.iter().any(limp)
    }

    /// When the first message was touched, or was missed.
    pub fn acted(&self) -> Option<Time> {
        self.acted
    }

    fn chance(&mut self) -> f64 {
        self.random.share()
    }

    /// The acts in force at `now` on `camera`, or on anything but cameras.
    fn acts(&self, camera: Option<&Arc<str>>, now: Time) -> Vec<Act> {
        let here = |i: &&Injection| {
            let about = i.camera.is_none() || camera.is_none() || i.camera.as_ref() == camera;
            about && i.from <= now && now < i.until
        };
        self.injections.iter().filter(here).map(|i| i.act).collect()
    }

    fn touch(&mut self, now: Time) {
        self.acted.get_or_insert(now);
    }

    fn jitter(&mut self, mean: Duration, spread: Duration) -> Duration {
        let spread = spread.mul_f64(2.0 * self.chance());
        (mean + spread).saturating_sub(spread / 2)
    }

    /// A frame that reaches the engine's host at `now`: how much later it arrives, once for each copy.
    pub fn frame(&mut self, frame: CameraFrame, now: Time) -> Vec<(Duration, CameraFrame)> {
        let mut out = vec![(Duration::ZERO, frame)];
        for act in self.acts(out.first().map(|(_, f)| f.camera.clone()).as_ref(), now) {
            let odd = out
                .first()
                .is_some_and(|(_, frame)| !frame.seq.is_multiple_of(2));
            match act {
                Act::CameraKill | Act::CameraStop | Act::LinkCut => out.clear(),
                Act::CameraDrop if odd => out.clear(),
                Act::CameraFreeze => {
                    let mut repeated = false;
                    for (_, frame) in &mut out {
                        let held = self.frozen.iter().find(|(name, _)| *name == frame.camera);
                        repeated |= held.is_some();
                        match held {
                            Some((_, data)) => frame.data = data.clone(),
                            None => self.frozen.push((frame.camera.clone(), frame.data.clone())),
                        }
                    }
                    // The first is as it should be.
                    if !repeated {
                        continue;
                    }
                }
                Act::CameraDelay(by) => out.iter_mut().for_each(|(delay, _)| *delay += by),
                Act::CameraClock(by) => out
                    .iter_mut()
                    .for_each(|(_, f)| f.captured_at = f.captured_at + by),
                Act::LinkDelay(mean, spread) => {
                    let by = self.jitter(mean, spread);
                    out.iter_mut().for_each(|(delay, _)| *delay += by);
                }
                Act::LinkDuplicate => out.extend(out.clone()),
                _ => continue,
            }
            self.touch(now);
        }
        out
    }

    /// A joint state that reaches the arm host at `now`; `None` when it is lost, or another one arrives in its place.
    pub fn state(&mut self, state: JointState, now: Time) -> Option<JointState> {
        let mut out = Some(JointState {
            epoch: state.epoch + self.epochs,
            ..state
        });
        let acts = self.acts(None, now);
        let restart = acts.contains(&Act::DeviceRestart);
        if restart && !self.restarting {
            self.epochs += 1;
            self.touch(now);
        }
        self.restarting = restart;
        for act in acts {
            let Some(state) = &mut out else { break };
            match act {
                Act::StateStop => out = None,
                Act::StateNan => state.q = JointVec::from_fn(state.q.len(), |_| f64::NAN),
                Act::StateJoints => state.q = JointVec::zeros(state.q.len() + 1),
                Act::StateDelay(by) => state.captured_at = state.captured_at.before(by),
                // Every other state arrives after the one that was measured after it.
                Act::StateReorder => {
                    if state.seq.is_multiple_of(2) {
                        std::mem::swap(&mut self.held_state, &mut out);
                    } else {
                        self.held_state = out;
                    }
                }
                Act::StateClock(by) => state.captured_at = state.captured_at + by,
                Act::DeviceLimp => state.torque = false,
                _ => continue,
            }
            self.touch(now);
        }
        out
    }

    /// An answer that reaches the arm host at `now`: how much later it arrives, once for each copy.
    pub fn reply(&mut self, reply: Reply, now: Time) -> Vec<(Duration, Reply)> {
        let mut out = vec![(Duration::ZERO, reply)];
        for act in self.acts(None, now) {
            let even = out
                .first()
                .is_some_and(|(_, reply)| reply.id().is_multiple_of(2));
            match act {
                Act::EngineKill | Act::EngineHang | Act::LinkCut => out.clear(),
                Act::ChunkDrop if even => out.clear(),
                Act::EngineRefuse => out.iter_mut().for_each(|(_, reply)| refuse(reply)),
                Act::ChunkDelay(by) => out.iter_mut().for_each(|(delay, _)| *delay += by),
                Act::ChunkReorder if even => out
                    .iter_mut()
                    .for_each(|(delay, _)| *delay += Duration::from_millis(150)),
                Act::LinkDelay(mean, spread) => {
                    let by = self.jitter(mean, spread);
                    out.iter_mut().for_each(|(delay, _)| *delay += by);
                }
                Act::ChunkDuplicate | Act::LinkDuplicate => {
                    let copies = out.clone();
                    out.extend(copies.into_iter().map(|(delay, reply)| (delay * 2, reply)));
                }
                Act::ChunkForeign => {
                    let mut copies = out.clone();
                    for (_, reply) in &mut copies {
                        if let Reply::Chunk(chunk) = reply {
                            chunk.generation.boot ^= 1;
                        }
                    }
                    out.extend(copies);
                }
                act => {
                    let mut spoilt = false;
                    for (_, reply) in &mut out {
                        spoilt |= spoil(reply, act, &self.info);
                    }
                    if !spoilt {
                        continue;
                    }
                }
            }
            self.touch(now);
        }
        out
    }

    /// A human's setpoint that reaches the arm host at `now`; `None` when it is lost.
    pub fn operator(&mut self, setpoint: OperatorSetpoint, now: Time) -> Option<OperatorSetpoint> {
        let mut out = setpoint;
        for act in self.acts(None, now) {
            match act {
                Act::OperatorSilent => {
                    self.touch(now);
                    return None;
                }
                Act::OperatorOld(by) => out.captured_at = out.captured_at.before(by),
                Act::OperatorNan => out.q = JointVec::from_fn(out.q.len(), |_| f64::NAN),
                Act::OperatorJoints => out.q = JointVec::zeros(out.q.len() + 1),
                Act::OperatorLeap => out.q = JointVec::from_fn(out.q.len(), |i| out.q[i] + 1.0),
                // Every other one comes from someone who has no lease.
                Act::OperatorForeign if out.sequence.is_multiple_of(2) => {
                    out.lease = LeaseId(out.lease.0 ^ 1);
                    out.q = JointVec::from_fn(out.q.len(), |i| out.q[i] - 1.0);
                }
                _ => continue,
            }
            self.touch(now);
        }
        Some(out)
    }

    /// A command on its way to the device at `now`; `None` when the device does not get it.
    pub fn command(&mut self, command: Command, now: Time) -> Option<Command> {
        for act in self.acts(None, now) {
            match act {
                Act::DeviceStuck | Act::DeviceError | Act::DeviceLimp => {
                    self.touch(now);
                    return None;
                }
                _ => {}
            }
        }
        let epoch = command.epoch.saturating_sub(self.epochs);
        Some(Command { epoch, ..command })
    }

    /// What the arm host can see of the others at `now`.
    pub fn seen(&mut self, now: Time) -> Seen {
        let mut seen = Seen::default();
        let injections = self.injections.clone();
        for Injection {
            act, camera, from, ..
        } in injections.iter().filter(|i| i.from <= now && now < i.until)
        {
            match act {
                Act::EngineKill => seen.engine_dead = true,
                Act::LinkCut => seen.engine_silent = now.since(*from),
                Act::CameraKill => seen.dead_camera = camera.clone().or(Some("scene".into())),
                Act::DeviceError => seen.driver_error = Some("injected".into()),
                _ => continue,
            }
            self.touch(*from);
        }
        seen
    }
}

/// What is to be seen besides messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The engine's token is gone.
    pub engine_dead: bool,
    /// Nothing has come from the engine's host for this long.
    pub engine_silent: Duration,
    /// This camera's token is gone.
    pub dead_camera: Option<Arc<str>>,
    /// The driver says this.
    pub driver_error: Option<Arc<str>>,
}

fn refuse(reply: &mut Reply) {
    if let Reply::Chunk(chunk) = reply {
        *reply = Reply::Refusal(Refusal {
            request_id: chunk.request_id,
            generation: chunk.generation,
            reason: RefusalReason::Policy {
                message: "denoise: out of memory".into(),
            },
        });
    }
}

/// Spoils a chunk; false when `act` is not about chunks.
fn spoil(reply: &mut Reply, act: Act, info: &ArmInfo) -> bool {
    let Reply::Chunk(chunk) = reply else {
        return false;
    };
    let middle = chunk.actions.len() / 2;
    let last = chunk.actions.last().copied();
    match (act, chunk.actions.get_mut(middle)) {
        (Act::ChunkNan, Some(action)) => set(&mut action.q, 0, f64::NAN),
        (Act::ChunkInfinite, Some(action)) => action.opening = f64::INFINITY,
        (Act::ChunkRange, Some(action)) => {
            let upper = info.limits.first().map_or(10.0, |l| l.upper);
            set(&mut action.q, 0, upper + 3.0);
        }
        (Act::ChunkJoints, Some(action)) => action.q = JointVec::zeros(action.q.len() - 1),
        (Act::ChunkEmpty, _) => chunk.actions.clear(),
        (Act::ChunkLong, _) => chunk.actions.extend(last.into_iter().cycle().take(4096)),
        (Act::ChunkPeriod, _) => chunk.period = Duration::ZERO,
        (Act::ChunkFuture, _) => shift(chunk, |t| t + Duration::from_secs(1)),
        (Act::ChunkOld, _) => shift(chunk, |t| t.before(Duration::from_secs(5))),
        (Act::EngineBundle, _) => chunk.bundle_id = "another bundle".into(),
        (Act::ChunkStorm, _) => {
            for (i, Action { q, .. }) in chunk.actions.iter_mut().enumerate() {
                let share = if i.is_multiple_of(2) { 0.1 } else { 0.9 };
                *q = JointVec::from_fn(q.len(), |j| {
                    info.limits
                        .get(j)
                        .map_or(0.0, |l| l.lower + share * (l.upper - l.lower))
                });
            }
        }
        _ => return false,
    }
    true
}

fn set(q: &mut JointVec, joint: usize, value: f64) {
    *q = JointVec::from_fn(q.len(), |j| if j == joint { value } else { q[j] });
}

fn shift(chunk: &mut ActionChunk, by: impl Fn(Time) -> Time) {
    chunk.observed_at = by(chunk.observed_at);
    chunk.first_due = by(chunk.first_due);
}
