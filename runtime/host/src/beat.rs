//! How punctual the control thread is here: its own wait and a real tick, without a cell around them.
//!
//! Runs what [`crate::arm`] runs on its control thread (ticker, permissions, [`ArmCycle::tick`]) against an arm of seven
//! joints that does exactly what it is told and an engine that answers every request after [`ANSWER`]. Decides nothing.

use std::time::Duration;

use tactus_control::{
    ArmCycle, ArmSpec, EnableSpec, LadderSpec, LimitSpec, Order, RequestSpec, Resume, ScheduleSpec,
    Strategy, TeleopSpec, TickInput, Trigger,
};
use tactus_types::{
    Action, ActionChunk, ArmInfo, Clock, Generation, JointLimits, JointState, JointVec, StageTimes,
    Time,
};

use crate::account::Durations;
use crate::arm::ArmHostError;
use crate::realtime::{Realtime, RealtimeSpec};
use crate::tick::Ticker;

/// From a request to its chunk.
const ANSWER: Duration = Duration::from_millis(60);
/// Ticks before those that count: first touches of memory, the way to the first chunk.
const WARM_UP: u64 = 200;
const JOINTS: usize = 7;

/// What was measured of a periodic thread.
#[derive(Debug, Clone, Default)]
pub struct Beat {
    /// Lateness of its ticks against their deadlines.
    pub lateness: Durations,
    /// Time that a tick's decision took; nothing for threads that decide nothing.
    pub work: Durations,
    /// Ticks.
    pub ticks: u64,
    /// Deadlines that had passed before the thread asked for them.
    pub missed: u64,
    /// Chunks that entered.
    pub chunks: u64,
}

impl Beat {
    /// Adds what another round measured.
    pub fn add(&mut self, other: &Self) {
        self.lateness.add(&other.lateness);
        self.work.add(&other.work);
        self.ticks += other.ticks;
        self.missed += other.missed;
        self.chunks += other.chunks;
    }
}

/// Ticks for `secs` every `period` on a thread of its own, as `spec` asks; returns also what was granted.
///
/// # Errors
/// [`ArmHostError::Thread`] when the thread cannot be started.
pub fn measure(
    spec: &RealtimeSpec,
    period: Duration,
    secs: f64,
    clock: &dyn Clock,
) -> Result<(Beat, Realtime), ArmHostError> {
    let error = |reason: String| ArmHostError::Thread {
        name: "control",
        reason,
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("control".into())
            .spawn_scoped(scope, || {
                let granted = Realtime::request(spec);
                (run(spec, period, secs, clock), granted)
            })
            .map_err(|e| error(e.to_string()))?
            .join()
            .map_err(|_| error("it panicked".into()))
    })
}

fn run(spec: &RealtimeSpec, period: Duration, secs: f64, clock: &dyn Clock) -> Beat {
    let mut plant = Plant::new(period);
    let mut beat = Beat::default();
    let ticks = (secs / period.as_secs_f64()).ceil() as u64;
    let mut ticker = Ticker::new(period, clock.now()).spinning(spec.spin);
    let mut done = 0;
    while done < ticks + WARM_UP {
        let tick = ticker.wait(clock);
        plant.tick(tick.instant(period));
        let work = clock.now().since(tick.woke);
        done += 1 + tick.overruns;
        if done > WARM_UP {
            beat.ticks += 1;
            beat.missed += tick.overruns;
            beat.lateness.record(tick.lateness());
            beat.work.record(work);
        }
    }
    beat.chunks = plant.cycle.counters.chunks_accepted;
    beat
}

/// An arm that does exactly what it is told, and chunks that keep it moving.
struct Plant {
    cycle: ArmCycle,
    state: JointState,
    chunk: ActionChunk,
    asked: Option<(u64, Generation, Time, Time)>,
    start: Order,
    ticks: u64,
}

impl Plant {
    fn new(period: Duration) -> Self {
        let ms = Duration::from_millis;
        let limits = JointLimits {
            lower: -2.0,
            upper: 2.0,
            velocity: 3.0,
            acceleration: 30.0,
            jerk: 1500.0,
        };
        let info = ArmInfo {
            model: "seven joints that follow exactly".into(),
            joints: (0..JOINTS).map(|i| format!("j{i}")).collect(),
            limits: vec![limits; JOINTS],
            gripper: true,
            state_rate_hz: 1.0 / period.as_secs_f64(),
            brakes: false,
            command_deadline_secs: 0.1,
            geometry: None,
            torque_switch: false,
        };
        let spec = ArmSpec {
            request: RequestSpec {
                trigger: Trigger::Rate { every: ms(100) },
                answer_within: ms(1000),
                retry_after: ms(100),
                overlap: true,
            },
            schedule: ScheduleSpec {
                strategy: Strategy::Align,
                ease: ms(150),
                lead: Duration::ZERO,
            },
            ladder: LadderSpec {
                period,
                tail: ms(150),
                proprio_limit: ms(500),
                settle: ms(200),
                frame_limit: ms(200),
                answer_within: ms(1000),
                link_limit: ms(1000),
                track_rad: 0.5,
                track_limit: ms(500),
                storm_rad: 0.5,
                storm_limit: ms(500),
                operator_limit: ms(100),
            },
            resume: Resume::Auto,
            limit: LimitSpec {
                max_lead: 0.5,
                max_step: 0.05,
                scale: 1.0,
            },
            guard: None,
            enable: EnableSpec::AT_ONCE,
            teleop: TeleopSpec::default(),
            start: None,
            bundle: None,
            period_secs: period.as_secs_f64(),
            boot: 1,
        };
        let wave = |i: usize| Action {
            q: JointVec::from_fn(JOINTS, |j| 0.3 * (0.4 * i as f64 + j as f64).sin()),
            opening: 0.5,
        };
        Self {
            cycle: ArmCycle::new(spec, info),
            state: JointState {
                captured_at: Time::ZERO,
                seq: 0,
                epoch: 1,
                q: JointVec::zeros(JOINTS),
                dq: JointVec::zeros(JOINTS),
                opening: 0.5,
                torque: true,
            },
            chunk: ActionChunk {
                request_id: 0,
                generation: Generation::default(),
                observed_at: Time::ZERO,
                first_due: Time::ZERO,
                period: ms(50),
                actions: (0..16).map(wave).collect(),
                bundle_id: "wave".into(),
                states: None,
                frames: vec![],
                stages: StageTimes::default(),
            },
            asked: None,
            start: Order::Start {
                instruction: "wave".into(),
                seed: 1,
            },
            ticks: 0,
        }
    }

    fn tick(&mut self, now: Time) {
        self.state.captured_at = now;
        self.state.seq += 1;
        let answered = self.asked.take_if(|(.., at)| *at <= now);
        if let Some((id, generation, observed_at, _)) = answered {
            self.chunk.request_id = id;
            self.chunk.generation = generation;
            self.chunk.observed_at = observed_at;
            self.chunk.first_due = observed_at;
        }
        let input = TickInput {
            state: Some(&self.state),
            chunk: answered.is_some().then_some(&self.chunk),
            engine_alive: true,
            ..TickInput::default()
        };
        self.ticks += 1;
        // Refused only in a mode that the order does not lead out of; the next tick is then as good.
        let _ = match self.ticks {
            10 => self.cycle.order(&Order::Enable, &input, now),
            20 => self.cycle.order(&self.start, &input, now),
            _ => Ok(()),
        };
        let output = self.cycle.tick(&input, now);
        if let Some(command) = output.command {
            self.state.q = command.q;
            self.state.dq = command.dq;
        }
        if let Some(request) = output.request {
            let observed_at = now.max(request.observe_after);
            let at = observed_at + ANSWER;
            self.asked = Some((request.id, request.generation, observed_at, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures are worth something only when the tick that is measured does what ticks do.
    #[test]
    fn the_arm_moves_while_it_is_measured() {
        let period = Duration::from_millis(1);
        let mut plant = Plant::new(period);
        let mut moved = 0;
        for tick in 0..5000 {
            let before = plant.state.q;
            plant.tick(Time::from_millis(1000 + tick));
            moved += u64::from(plant.state.q != before);
        }
        let counters = plant.cycle.counters;
        assert!(counters.chunks_accepted > 40, "{counters:?}");
        assert!(moved > 4500 && counters.holds == 0, "{moved} {counters:?}");
    }
}
