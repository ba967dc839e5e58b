//! A gripper that is a device of its own, beside an arm that has none: its line is slow, and the arm may not wait for it.
//!
//! Decides when such a gripper is told what, and what its trouble means for the arm; which bytes say it is the gripper's
//! driver ([`Gripper`]). [`WithGripper`] makes one device of an arm and a gripper: the gripper has a thread, the newest goal
//! wins, and each side finds the other's last word in an atomic. So the arm's cycle takes no lock and never waits.
//!
//! - Starting moves no finger, and neither does a goal that is where the fingers were found: pressing is part of a grip, so
//!   only a goal that changes is sent. Until then the gripper keeps what it was told before. So it is also after every
//!   enabling, and in a new epoch of the arm.
//! - Activation moves fingers through their whole stroke, so it happens only when an operator enables the arm
//!   ([`Device::set_torque`]) and the arm then says that it has torque: where it refuses to be enabled, no finger moves. Goals
//!   wait until it is done. An arm whose torque cannot be switched is never enabled in this sense: there the gripper has to be
//!   active at the start.
//! - Releasing the arm's torque leaves the gripper as it is: it keeps what it holds.
//! - A gripper that has a fault, or is silent for [`SILENCE`], ends the service with its name, and the arm host holds; the
//!   fingers keep their last goal by themselves.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tactus_types::{ArmInfo, JointState, Time};

use crate::{Device, DeviceError, Goal};

/// A gripper whose last good exchange is older has left.
pub const SILENCE: Duration = Duration::from_millis(500);
/// Longest that an activation may take.
const ACTIVATION: Duration = Duration::from_secs(10);
/// Pause between two exchanges.
const PAUSE: Duration = Duration::from_millis(5);

/// What a gripper says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GripperState {
    /// Measured opening, 0 closed to 1 open.
    pub opening: f64,
    /// It is activated and follows goals.
    pub active: bool,
    /// Its fingers were stopped by an object before they reached their goal.
    pub object: bool,
    /// It does not do what it is told, and why.
    pub fault: Option<String>,
}

/// A gripper on a line of its own.
pub trait Gripper: Send {
    /// Model and port, for messages.
    fn name(&self) -> String;

    /// One exchange: sends `opening` (0 closed to 1 open) as the goal where one is given and it is active, and asks how it
    /// is. May take as long as its line does.
    ///
    /// # Errors
    /// [`DeviceError`] when it did not answer, its own retries included. The next exchange may succeed.
    fn exchange(&mut self, opening: Option<f64>) -> Result<GripperState, DeviceError>;

    /// Begins its activation: its fingers move through their whole stroke. Returns at once; [`Gripper::exchange`] says when
    /// it is done.
    ///
    /// # Errors
    /// [`DeviceError`], as for [`Gripper::exchange`].
    fn activate(&mut self) -> Result<(), DeviceError>;
}

impl Gripper for Box<dyn Gripper> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn exchange(&mut self, opening: Option<f64>) -> Result<GripperState, DeviceError> {
        (**self).exchange(opening)
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        (**self).activate()
    }
}

/// The last words of both sides.
#[derive(Debug, Default)]
struct Shared {
    /// Bits of the newest goal; it counts once `follow` is set.
    goal: AtomicU64,
    follow: AtomicBool,
    /// The arm was enabled.
    activate: AtomicBool,
    /// Bits of the measured opening.
    opening: AtomicU64,
    done: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<DeviceError>>,
}

/// An arm and a gripper as one device.
pub struct WithGripper<D> {
    device: D,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// The arm's motors hold it.
    enabled: bool,
    epoch: u64,
    /// They were told to.
    asked: bool,
    /// The goal's opening when they began to, or when the arm's present epoch began. [`crate::gate`] keeps it until somebody
    /// asks for another.
    rest: Option<f64>,
}

impl<D: Device> WithGripper<D> {
    /// Joins `gripper` to `device`. Asks the gripper how it is; moves nothing.
    ///
    /// # Errors
    /// [`DeviceError`]: the arm has a gripper of its own, the gripper does not answer or has a fault, or it would never be
    /// activated.
    pub fn start(device: D, mut gripper: impl Gripper + 'static) -> Result<Self, DeviceError> {
        let info = device.info();
        let name = gripper.name();
        let refusal = |reason: String| DeviceError {
            device: name.clone(),
            reason,
        };
        if info.gripper {
            return Err(refusal(format!(
                "the arm `{}` has a gripper of its own",
                info.model
            )));
        }
        let state = gripper.exchange(None)?;
        match (state.active, state.fault) {
            (true, Some(fault)) => return Err(refusal(fault)),
            (false, _) if !info.torque_switch => {
                let reason = "it is not activated, and enabling this arm does not switch its torque, which would activate \
                              it: say `tactus device gripper activate` first";
                return Err(refusal(reason.into()));
            }
            _ => {}
        }
        let shared = Arc::new(Shared::default());
        shared
            .opening
            .store(state.opening.to_bits(), Ordering::Relaxed);
        let (ours, active) = (shared.clone(), state.active);
        let thread = std::thread::Builder::new()
            .name("gripper".into())
            .spawn(move || attend(&mut gripper, active, &ours))
            .map_err(|e| refusal(format!("cannot start its thread: {e}")))?;
        Ok(Self {
            device,
            shared,
            thread: Some(thread),
            enabled: false,
            epoch: 0,
            asked: false,
            rest: None,
        })
    }

    /// The arm.
    pub fn device(&self) -> &D {
        &self.device
    }
}

/// The gripper's thread: what is newest goes out, what comes back is told, until the device ends or the gripper fails.
fn attend(gripper: &mut impl Gripper, active: bool, shared: &Shared) {
    let mut watch = Attending {
        active,
        activating: None,
        object: false,
        heard: Instant::now(),
    };
    while !shared.done.load(Ordering::Relaxed) {
        if let Err(reason) = watch.exchange(gripper, shared) {
            let device = gripper.name();
            let mut failure = shared
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *failure = Some(DeviceError { device, reason });
            drop(failure);
            shared.failed.store(true, Ordering::Release);
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// What the gripper's thread remembers.
struct Attending {
    active: bool,
    activating: Option<Instant>,
    object: bool,
    heard: Instant,
}

impl Attending {
    /// One exchange; the error is why the service ends.
    fn exchange(&mut self, gripper: &mut impl Gripper, shared: &Shared) -> Result<(), String> {
        // An enabled arm asks once: a gripper that loses its activation later is not activated behind anybody's back.
        if shared.activate.swap(false, Ordering::Relaxed)
            && !self.active
            && self.activating.is_none()
        {
            tracing::warn!("{}: its activation moves its fingers", gripper.name());
            match gripper.activate() {
                Ok(()) => self.activating = Some(Instant::now()),
                Err(e) if self.heard.elapsed() > SILENCE => return Err(e.reason),
                Err(_) => {
                    shared.activate.store(true, Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
        let follow = shared.follow.load(Ordering::Relaxed);
        let goal = (follow && self.activating.is_none())
            .then(|| f64::from_bits(shared.goal.load(Ordering::Relaxed)));
        let state = match gripper.exchange(goal) {
            Ok(state) => state,
            Err(e) if self.heard.elapsed() > SILENCE => return Err(e.reason),
            Err(_) => return Ok(()),
        };
        self.heard = Instant::now();
        let opening = state.opening.to_bits();
        shared.opening.store(opening, Ordering::Relaxed);
        if state.object != self.object {
            self.object = state.object;
            match state.object {
                true => tracing::info!("{}: its fingers met an object", gripper.name()),
                false => tracing::info!("{}: its fingers are free", gripper.name()),
            }
        }
        self.active = state.active;
        match (self.activating, state.active, state.fault) {
            (Some(_), true, None) => {
                tracing::info!("{}: active", gripper.name());
                self.activating = None;
                Ok(())
            }
            (Some(since), false, fault) if since.elapsed() > ACTIVATION => {
                Err(fault.unwrap_or("it does not become active".into()))
            }
            (Some(_), false, _) => Ok(()),
            (_, true, Some(fault)) => Err(fault),
            // Until it is told to move it may be what it likes.
            (None, false, fault) if follow => Err(fault.unwrap_or(
                "it is not active: was it never activated, or was its power interrupted?".into(),
            )),
            (None, _, _) => Ok(()),
        }
    }
}

impl<D: Device> Device for WithGripper<D> {
    fn info(&self) -> ArmInfo {
        ArmInfo {
            gripper: true,
            ..self.device.info()
        }
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        if self.shared.failed.load(Ordering::Acquire) {
            let failure = self.shared.failure.lock();
            let failure = failure.unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        let state = self.device.state(now)?;
        if (state.torque, state.epoch) != (self.enabled, self.epoch) {
            (self.enabled, self.epoch) = (state.torque, state.epoch);
            self.rest = None;
            self.shared.follow.store(false, Ordering::Relaxed);
            let activate = self.enabled && std::mem::take(&mut self.asked);
            self.shared.activate.store(activate, Ordering::Relaxed);
        }
        let opening = f64::from_bits(self.shared.opening.load(Ordering::Relaxed));
        Ok(JointState { opening, ..state })
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        self.shared
            .goal
            .store(goal.opening.to_bits(), Ordering::Relaxed);
        if self.enabled && *self.rest.get_or_insert(goal.opening) != goal.opening {
            self.shared.follow.store(true, Ordering::Relaxed);
        }
        self.device.apply(goal)
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        self.device.set_torque(on)?;
        self.asked = on;
        Ok(())
    }

    fn step(&mut self, now: Time) -> Result<(), DeviceError> {
        self.device.step(now)
    }
}

impl<D> Drop for WithGripper<D> {
    fn drop(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread `gripper` panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use tactus_types::{JointLimits, JointVec};

    use super::*;

    struct Arm {
        epoch: u64,
    }

    impl Device for Arm {
        fn info(&self) -> ArmInfo {
            ArmInfo {
                model: "one".into(),
                joints: vec!["a".into()],
                limits: vec![JointLimits {
                    lower: -1.0,
                    upper: 1.0,
                    velocity: 1.0,
                    acceleration: 1.0,
                    jerk: 1.0,
                }],
                gripper: false,
                state_rate_hz: 500.0,
                brakes: true,
                torque_switch: false,
                command_deadline_secs: 0.1,
                geometry: None,
            }
        }

        fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
            Ok(JointState {
                captured_at: now,
                seq: 0,
                epoch: self.epoch,
                q: JointVec::zeros(1),
                dq: JointVec::zeros(1),
                opening: 0.0,
                torque: true,
            })
        }

        fn apply(&mut self, _: &Goal) -> Result<(), DeviceError> {
            Ok(())
        }

        fn step(&mut self, _: Time) -> Result<(), DeviceError> {
            Ok(())
        }
    }

    /// A gripper whose exchanges take their time, and which writes down what it was told.
    struct Slow {
        takes: Duration,
        told: Arc<Mutex<Vec<Option<f64>>>>,
    }

    impl Gripper for Slow {
        fn name(&self) -> String {
            "slow".into()
        }

        fn exchange(&mut self, opening: Option<f64>) -> Result<GripperState, DeviceError> {
            std::thread::sleep(self.takes);
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.push(opening);
            Ok(GripperState {
                opening: 0.7,
                active: true,
                ..GripperState::default()
            })
        }

        fn activate(&mut self) -> Result<(), DeviceError> {
            Ok(())
        }
    }

    type Told = Arc<Mutex<Vec<Option<f64>>>>;

    /// An arm with a gripper whose exchanges take so long, and what that is told.
    fn both(takes: Duration) -> (WithGripper<Arm>, Told) {
        let told = Told::default();
        let slow = Slow {
            takes,
            told: told.clone(),
        };
        let both = WithGripper::start(Arm { epoch: 1 }, slow).expect("both");
        (both, told)
    }

    fn goal(opening: f64) -> Goal {
        Goal {
            q: JointVec::zeros(1),
            dq: JointVec::zeros(1),
            opening,
        }
    }

    #[test]
    fn an_arm_never_waits_for_its_gripper_and_the_newest_goal_wins() {
        let (mut both, told) = both(Duration::from_millis(200));
        let mut busy = Duration::ZERO;
        for tick in 0..200 {
            let at = Instant::now();
            let opening = if tick < 50 {
                0.7
            } else {
                f64::from(tick) / 200.0
            };
            both.apply(&goal(opening)).expect("applied");
            let state = both.state(Time::from_millis(tick as u64)).expect("said");
            assert_eq!(state.opening, 0.7);
            busy += at.elapsed();
            std::thread::sleep(Duration::from_millis(4));
        }
        // Five exchanges or so passed meanwhile.
        assert!(busy < Duration::from_millis(200), "{busy:?}");
        std::thread::sleep(Duration::from_millis(450));
        drop(both);
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(told.len() < 12, "{told:?}");
        assert_eq!(told[1], None, "a goal that does not change is not sent");
        assert_eq!(told.last(), Some(&Some(199.0 / 200.0)));
    }
    #[test]
    fn a_new_epoch_of_the_arm_leaves_the_grip_as_it_is() {
        let (mut both, told) = both(Duration::ZERO);
        let told = || told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut until = |epoch: u64, opening: f64, wanted: Option<f64>| {
            both.device.epoch = epoch;
            let begun = told().len();
            for _ in 0..1000 {
                both.state(Time::ZERO).expect("said");
                both.apply(&goal(opening)).expect("applied");
                let told = told();
                // The exchange that was under way is over.
                if told.len() > begun + 2 && told.last() == Some(&wanted) {
                    return told;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            panic!("{wanted:?} is not told: {:?}", told())
        };
        until(1, 0.7, None);
        until(1, 0.0, Some(0.0));
        // The arm's connection was lost and is back: the goal is what is measured.
        let all = until(2, 0.25, None);
        assert!(!all.contains(&Some(0.25)), "{all:?}");
        until(2, 0.5, Some(0.5));
    }
}
