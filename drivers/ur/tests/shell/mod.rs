//! A device shell without a wire: ticks the arm as `serve_device` does.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tactus_drivers_api::wire::MonotonicClock;
use tactus_drivers_api::{Device, Goal, Pacer};
use tactus_types::{Clock, JointState, JointVec};
use tactus_ur::program::Servo;
use tactus_ur::{Host, Model, UrArm, UrError, UrSpec};

use crate::emulator::{Controller, Options};

/// Asks for `SCHED_FIFO` for this thread and those that it starts, the emulated controller's among them, and for memory that
/// is not paged out: a controller has both, and `tactus device` asks for them. Whether scheduling was granted.
pub fn punctual() -> bool {
    let param = libc::sched_param { sched_priority: 90 };
    // SAFETY: `sched_param` is plain data; pid 0 names the calling thread; the call only reads the struct.
    let scheduled = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) == 0 };
    if scheduled {
        // SAFETY: takes flags only. Where it is refused, pages may be late, and nothing else.
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) };
    }
    scheduled
}

/// A controller whose threads, and those of the driver that the caller starts, are as punctual as this machine lets them be.
pub fn controller(options: Options) -> Controller {
    punctual();
    Controller::start(options)
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(MonotonicClock::new().expect("a clock"))
}

pub fn spec(model: Model) -> UrSpec {
    UrSpec {
        model,
        servo: Servo {
            rate_hz: model.rate_hz(),
            lookahead_secs: 0.1,
            gain: 300,
        },
    }
}

pub fn start(controller: &Controller, model: Model) -> Result<UrArm, UrError> {
    UrArm::start(&Host::resolve(&controller.host())?, spec(model), clock())
}

pub struct Shell {
    pub arm: UrArm,
    pub goal: [f64; 6],
    pub state: JointState,
    pub clock: Arc<dyn Clock>,
    pacer: Pacer,
}

impl Shell {
    pub fn new(arm: UrArm) -> Self {
        let clock = clock();
        let mut arm = arm;
        let period = Duration::from_nanos((1e9 / arm.info().state_rate_hz) as u64);
        let state = arm.state(clock.now()).expect("a state");
        let goal = std::array::from_fn(|i| state.q[i]);
        let pacer = Pacer::new(clock.now(), period, Duration::from_millis(50));
        Self {
            arm,
            goal,
            state,
            clock,
            pacer,
        }
    }

    pub fn of(controller: &Controller, model: Model) -> Self {
        Self::new(start(controller, model).expect("an arm"))
    }

    /// One tick, in time.
    pub fn tick(&mut self) {
        self.pacer.wait(self.clock.as_ref());
        let now = self.clock.now();
        let goal = Goal {
            q: JointVec::from_fn(6, |i| self.goal[i]),
            dq: JointVec::zeros(6),
            opening: 0.0,
        };
        self.arm.apply(&goal).expect("applied");
        self.arm.step(now).expect("stepped");
        self.state = self.arm.state(now).expect("a state");
    }

    /// Ticks until `done`, which must be within `within`.
    pub fn until(
        &mut self,
        what: &str,
        within: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Duration {
        let began = Instant::now();
        while !done(self) {
            assert!(
                began.elapsed() < within,
                "waited in vain until {what}: {:?}",
                self.state
            );
            self.tick();
        }
        began.elapsed()
    }

    pub fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.tick();
        }
    }

    /// Moves the goal of `joint` by `step` rad in each of `ticks`.
    pub fn drive(&mut self, joint: usize, step: f64, ticks: usize) {
        for _ in 0..ticks {
            self.goal[joint] += step;
            self.tick();
        }
    }

    /// Asks for torque in every tick for `time`, as an arm host does, or until it is on.
    pub fn ask(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.state.torque {
            self.arm.set_torque(true).expect("told");
            self.tick();
        }
    }

    /// Enables where the arm is.
    pub fn enable(&mut self) -> Duration {
        self.goal = std::array::from_fn(|i| self.state.q[i]);
        let began = Instant::now();
        self.ask(Duration::from_secs(1));
        assert!(self.state.torque, "not enabled: {:?}", self.state);
        began.elapsed()
    }
}
