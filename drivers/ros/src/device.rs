//! A ROS 2 arm as a device: its `JointState` in, `JointTrajectory` (or `Float64MultiArray`) out, by the names of topics.
//!
//! Decides which states count: those that name every joint of the cell exactly once, in finite numbers, with a stamp that moves
//! on; their time is when they came. A state that grows old is told as it is, with its age, so that the arm host holds; nothing
//! is commanded meanwhile, and when states come again a new epoch has begun, in which no old command counts. Decides, too, that
//! nothing is commanded before the first goal that is not where the arm was found, and nothing over and over: every trajectory
//! ends at rest, so that a controller which hears no more brakes and stays.
//!
//! Whether the arm has torque, and its emergency stop, are its own ROS 2 controllers'.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tactus_drivers_api::device::first_epoch;
use tactus_drivers_api::lock::{self, OwnedName};
use tactus_drivers_api::wire::Sparse;
use tactus_drivers_api::{Device, DeviceError, Goal};
use tactus_types::{ArmInfo, Clock, JointLimits, JointState, JointVec, Time};

use crate::attachment::Attachment;
use crate::error::RosError;
use crate::keys::{Qos, RosName};
use crate::messages::{self, Float64MultiArray, Header, JointTrajectory, Layout, TrajectoryPoint};
use crate::node::{NodeOptions, RosNode, RosPublisher, RosSubscriber};

/// The first state has to come within this time.
const FIRST_STATE: Duration = Duration::from_secs(5);
/// A goal that does not change is said this often: what is lost is said again, and then a controller is left alone.
const REPEATS: u32 = 10;
/// A stamp this far behind the last is of another clock.
const SET_BACK_NANOS: u64 = 1_000_000_000;
/// A trajectory is sent every so many periods.
const PERIODS_PER_TRAJECTORY: u32 = 3;
/// Goals nearer to each other than this are the same, rad.
const SAME_RAD: f64 = 1e-9;
/// Without a command for this long the device holds by itself, seconds.
const COMMAND_DEADLINE_SECS: f64 = 0.1;

/// Where goals go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandTopic {
    /// `trajectory_msgs/msg/JointTrajectory`, as a `joint_trajectory_controller` takes it.
    Trajectory(RosName),
    /// `std_msgs/msg/Float64MultiArray`, as a `forward_command_controller` takes it, in the order of the joints.
    Positions(RosName),
}

/// Which arm.
#[derive(Debug, Clone, PartialEq)]
pub struct RosArmSpec {
    /// What it is called in recordings.
    pub model: String,
    /// The network, and the node that this process is there.
    pub node: NodeOptions,
    /// Where it says its joints.
    pub states: RosName,
    /// Where it takes goals.
    pub commands: CommandTopic,
    /// Names of its joints, in the cell's order.
    pub joints: Vec<String>,
    /// Limits, one per joint.
    pub limits: Vec<JointLimits>,
    /// States and goals a second.
    pub rate_hz: f64,
    /// A state older than this is a fault.
    pub stale: Duration,
}

impl RosArmSpec {
    /// What the arm says of itself.
    pub fn info(&self) -> ArmInfo {
        ArmInfo {
            model: self.model.clone(),
            joints: self.joints.clone(),
            limits: self.limits.clone(),
            gripper: false,
            state_rate_hz: self.rate_hz,
            brakes: true,
            torque_switch: false,
            command_deadline_secs: COMMAND_DEADLINE_SECS,
            geometry: None,
        }
    }
}

/// A state that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// rad.
    pub q: JointVec,
    /// rad/s; zero where the arm says none.
    pub dq: JointVec,
    /// The arm's own stamp, nanoseconds since 1970.
    pub stamp: u64,
}

/// Why a state does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCounted {
    /// A joint is missing or named twice.
    #[error("joint `{0}` is missing, or there twice")]
    Joint(String),
    /// A list is shorter than the names.
    #[error("positions: expected {expected} numbers, got {actual}")]
    Length {
        /// Names.
        expected: usize,
        /// Positions.
        actual: usize,
    },
    /// NaN or infinity.
    #[error("a number that is not finite")]
    NotFinite,
    /// Its stamp is not later than that of the one before.
    #[error("its stamp does not move on")]
    Frozen,
}

/// What `message` says of `joints`, after a state stamped `last`. Joints of others beside them do no harm.
///
/// # Errors
/// [`NotCounted`].
pub fn sample(
    message: &messages::JointState,
    joints: &[String],
    last: Option<u64>,
) -> Result<Sample, NotCounted> {
    let names = &message.name;
    if message.position.len() != names.len() {
        return Err(NotCounted::Length {
            expected: names.len(),
            actual: message.position.len(),
        });
    }
    let at = |joint: &String| {
        let mut found = (0..names.len()).filter(|i| names[*i] == *joint);
        let index = found.next().filter(|_| found.next().is_none());
        index.ok_or_else(|| NotCounted::Joint(joint.clone()))
    };
    let order = joints.iter().map(at).collect::<Result<Vec<usize>, _>>()?;
    let of = |list: &[f64]| JointVec::from_fn(order.len(), |i| list[order[i]]);
    let q = of(&message.position);
    let dq = match message.velocity.len() == names.len() {
        true => of(&message.velocity),
        false => JointVec::zeros(order.len()),
    };
    if !(q.is_finite() && dq.is_finite()) {
        return Err(NotCounted::NotFinite);
    }
    let stamp = message.header.stamp.unix_nanos();
    // A stamp of zero says nothing, and is taken from those who never say more; one that is far behind is of a clock that was
    // set back, or of a simulation begun again.
    let behind = last.and_then(|last| last.checked_sub(stamp));
    if stamp != 0 && behind.is_some_and(|behind| behind < SET_BACK_NANOS) {
        return Err(NotCounted::Frozen);
    }
    Ok(Sample { q, dq, stamp })
}

/// The trajectory to `goal`, which goes on at its speed: where it will be a `lead` from now; then to rest, no harder than the
/// limits.
pub fn trajectory(
    joints: &[String],
    limits: &[JointLimits],
    goal: &Goal,
    lead: Duration,
) -> JointTrajectory {
    let n = joints.len();
    let speed = |i: usize| goal.dq.as_slice().get(i).copied().unwrap_or(0.0);
    let within = |i: usize, q: f64| limits.get(i).map_or(q, |l| q.clamp(l.lower, l.upper));
    let braking = |(i, l): (usize, &JointLimits)| speed(i).abs() / l.acceleration;
    let stop = limits.iter().enumerate().map(braking).fold(0.0, f64::max);
    let stop = Duration::try_from_secs_f64(stop).unwrap_or(lead).max(lead);
    let ahead = |i: usize| goal.q[i] + speed(i) * lead.as_secs_f64();
    let rest = |i: usize| within(i, ahead(i) + 0.5 * speed(i) * stop.as_secs_f64());
    let point = |positions: Vec<f64>, velocities: Vec<f64>, at: Duration| TrajectoryPoint {
        positions,
        velocities,
        time_from_start: messages::Duration::from_std(at),
        ..TrajectoryPoint::default()
    };
    JointTrajectory {
        // Zero: from now, on the controller's clock.
        header: Header::default(),
        joint_names: joints.to_vec(),
        points: vec![
            point(
                (0..n).map(|i| within(i, ahead(i))).collect(),
                (0..n).map(speed).collect(),
                lead,
            ),
            point((0..n).map(rest).collect(), vec![0.0; n], lead + stop),
        ],
    }
}

/// Which goals are worth saying: those that differ, and those a few times more.
#[derive(Debug, Clone, Copy, Default)]
struct Worth {
    last: Option<JointVec>,
    repeats: u32,
}

impl Worth {
    fn saying(&mut self, q: &JointVec) -> bool {
        match &self.last {
            // Where the arm was found: nobody has commanded yet.
            None => {
                self.last = Some(*q);
                self.repeats = REPEATS;
                false
            }
            Some(last) if last.zip(q, |a, b| a - b).max_abs() <= SAME_RAD => {
                self.repeats += 1;
                self.repeats <= REPEATS
            }
            Some(_) => {
                self.last = Some(*q);
                self.repeats = 0;
                true
            }
        }
    }
}

enum Out {
    Trajectory(RosPublisher<JointTrajectory>),
    Positions(RosPublisher<Float64MultiArray>),
}

#[derive(Default)]
struct Shared {
    newest: Mutex<Option<(Sample, Time)>>,
    /// Of the last state that did not count.
    unfit: Mutex<Option<NotCounted>>,
    uncounted: Sparse,
    goal: Mutex<Option<Goal>>,
    said: Condvar,
    sent: AtomicU64,
    done: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was heard and said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// States that did not count: not this arm's, or frozen.
    pub uncounted: u64,
    /// Messages with a wrong attachment or payload.
    pub refused: u64,
    /// Goals that were sent.
    pub sent: u64,
}

/// An arm in service.
pub struct RosArm {
    spec: RosArmSpec,
    shared: Arc<Shared>,
    node: RosNode,
    _states: RosSubscriber,
    _own: OwnedName,
    thread: Option<JoinHandle<()>>,
    epoch: u64,
    last: (Sample, Time),
    stale: bool,
    worth: Worth,
}

impl RosArm {
    /// Puts the arm into service, once it has said where all its joints are. Moves nothing.
    ///
    /// # Errors
    /// [`RosError::Silent`], [`RosError::Joints`], or why the network cannot be used.
    pub fn start(spec: RosArmSpec, clock: Arc<dyn Clock>) -> Result<Self, RosError> {
        let domain = spec.node.domain;
        let own = lock::own_name(&format!(
            "ros-{domain}{}",
            spec.states.as_str().replace('/', "-")
        ));
        let own = own.map_err(|holder| RosError::Busy {
            topic: spec.states.to_string(),
            holder,
        })?;
        let node = RosNode::start(spec.node.clone())?;
        let shared = Arc::<Shared>::default();
        let (to, joints, stamps) = (shared.clone(), spec.joints.clone(), clock.clone());
        let topic = spec.states.to_string();
        let states = node.subscribe(&spec.states, Qos::USUAL, move |message, _: &Attachment| {
            let last = locked(&to.newest).map(|(sample, _)| sample.stamp);
            match sample(&message, &joints, last) {
                Ok(sample) => *locked(&to.newest) = Some((sample, stamps.now())),
                Err(why) => {
                    if let Some(times) = to.uncounted.told() {
                        tracing::warn!(times, "`{topic}`: a state does not count: {why}");
                    }
                    *locked(&to.unfit) = Some(why);
                }
            }
        })?;
        let out = match &spec.commands {
            CommandTopic::Trajectory(topic) => Out::Trajectory(node.publisher(topic, Qos::USUAL)?),
            CommandTopic::Positions(topic) => Out::Positions(node.publisher(topic, Qos::USUAL)?),
        };
        let last = first(&spec, &shared)?;
        let (at, of) = (shared.clone(), spec.clone());
        let thread = std::thread::Builder::new()
            .name("ros-arm".into())
            .spawn(move || say(&at, &of, &out))
            .map_err(|e| RosError::Thread {
                thread: "ros-arm",
                reason: e.to_string(),
            })?;
        Ok(Self {
            epoch: first_epoch(clock.now()),
            spec,
            shared,
            node,
            _states: states,
            _own: own,
            thread: Some(thread),
            last,
            stale: false,
            worth: Worth::default(),
        })
    }

    /// What was heard and said so far.
    pub fn counts(&self) -> Counts {
        let refused = self.node.refused();
        Counts {
            uncounted: self.shared.uncounted.count(),
            refused: refused.attachments() + refused.bytes(),
            sent: self.shared.sent.load(Ordering::Relaxed),
        }
    }
}

/// Waits for the first state that counts.
fn first(spec: &RosArmSpec, shared: &Shared) -> Result<(Sample, Time), RosError> {
    let until = Instant::now() + FIRST_STATE;
    loop {
        if let Some(first) = *locked(&shared.newest) {
            return Ok(first);
        }
        if Instant::now() > until {
            let topic = spec.states.to_string();
            return Err(match locked(&shared.unfit).take() {
                Some(why) => RosError::Joints {
                    topic,
                    expected: spec.joints.join(", "),
                    actual: why.to_string(),
                },
                None => RosError::Silent {
                    topic,
                    domain: spec.node.domain,
                    within_millis: FIRST_STATE.as_millis(),
                },
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends each new goal: on its own thread, since sending may take milliseconds.
fn say(shared: &Shared, spec: &RosArmSpec, out: &Out) {
    let period = Duration::try_from_secs_f64(1.0 / spec.rate_hz).unwrap_or(FIRST_STATE);
    // A controller begins each trajectory at one of its own updates: one that is given a new one at each of them never moves.
    let pause = match out {
        Out::Trajectory(_) => PERIODS_PER_TRAJECTORY * period,
        Out::Positions(_) => Duration::ZERO,
    };
    let lead = 2 * pause;
    let failed = Sparse::default();
    while !shared.done.load(Ordering::Relaxed) {
        let goal = locked(&shared.goal);
        let waited = shared
            .said
            .wait_timeout_while(goal, 2 * period, |goal| goal.is_none());
        let Some(goal) = waited.unwrap_or_else(PoisonError::into_inner).0.take() else {
            continue;
        };
        let sent = match out {
            Out::Trajectory(to) => to.put(&trajectory(&spec.joints, &spec.limits, &goal, lead)),
            Out::Positions(to) => to.put(&Float64MultiArray {
                layout: Layout::default(),
                data: goal.q.as_slice().to_vec(),
            }),
        };
        match sent {
            Ok(()) => _ = shared.sent.fetch_add(1, Ordering::Relaxed),
            Err(e) => {
                if let Some(times) = failed.told() {
                    tracing::error!(times, "a goal is not sent: {e}");
                }
            }
        }
        // The newest goal waits meanwhile.
        std::thread::sleep(pause);
    }
}

impl Device for RosArm {
    fn info(&self) -> ArmInfo {
        self.spec.info()
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        if let Some(newest) = *locked(&self.shared.newest) {
            self.last = newest;
        }
        let (sample, at) = self.last;
        let age = now.since(at);
        match (age > self.spec.stale, self.stale) {
            (true, false) => {
                self.stale = true;
                tracing::error!(
                    "`{}` has said nothing that counts for {} ms: nothing is commanded",
                    self.spec.states,
                    age.as_millis()
                );
            }
            (false, true) => {
                self.stale = false;
                self.epoch += 1;
                self.worth = Worth::default();
                tracing::warn!("`{}` speaks again", self.spec.states);
            }
            (true, true) | (false, false) => {}
        }
        Ok(JointState {
            captured_at: at,
            seq: 0,
            epoch: self.epoch,
            q: sample.q,
            dq: sample.dq,
            opening: 0.0,
            torque: true,
        })
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        if !self.stale && self.worth.saying(&goal.q) {
            *locked(&self.shared.goal) = Some(*goal);
            self.shared.said.notify_one();
        }
        Ok(())
    }

    fn step(&mut self, _now: Time) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Drop for RosArm {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        self.shared.said.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread `ros-arm` panicked");
        }
    }
}
