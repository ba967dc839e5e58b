//! Goals in, joint positions out: one step of 1 ms after the other, inside what FCI checks. Pure.
//!
//! Goals come at the arm host's rate, a little early or late; positions leave at 1 kHz. Each step
//!
//! 1. carries the goal on with its own velocity, for as long as the next one may reasonably be on its way ([`COAST`]), and
//!    evens out when goals came (first order, [`EVEN`]);
//! 2. asks for the velocity that goes with it, `w + g(e)`, where `e` is the distance to it and `g` is proportional near by
//!    and a square root far away, so that the joint could still brake;
//! 3. asks for the acceleration towards that velocity, and gives as much of it as the limits on jerk and acceleration leave.
//!
//! Near a goal this is a critically damped second order with both poles at `2 * GAIN`; it has no lag behind a goal at constant
//! velocity. The limits hold whatever goals do, exactly as FCI takes differences: positions are sums of velocities, velocities
//! of accelerations (`tests`). Velocity holds because the acceleration asked for falls with the distance to the limit, at a
//! rate that is below the limit on jerk.
//!
//! It was chosen over planning to rest at every goal, as `franka-rs`' `otg` does within the same limits: such a plan stays the
//! braking distance behind a goal that moves, and answers each millisecond that one came early or late with all the jerk there
//! is. On the movement of the test below, 0.6 rad/s: behind by 32 mrad instead of 1, and 1061 rad/s^3 on average instead of 426
//! at most.
//!
//! **When goals stop** the joints brake and stay where they come to rest; a goal that was in motion when it fell silent is not
//! gone back to. **When a packet is lost** the controller goes on with constant acceleration, and says where that led; the
//! stream goes on from there ([`Stream::echoed`]).

use std::time::Duration;

use tactus_types::Time;

use crate::model::{ACCELERATION, JERK, JOINTS, ROWS};

/// The controller's cycle, s.
pub const CYCLE: f64 = 1e-3;
/// A goal is carried on for so long after it came; then the next one is missing.
pub const COAST: Duration = Duration::from_millis(20);
/// Whoever says goals has to have run this lately.
pub const STALE: Duration = Duration::from_millis(30);
/// A goal slower than this is one to rest at, rad/s.
const RESTING: f64 = 0.05;
/// Share of a goal's surprise that is taken over per cycle.
const EVEN: f64 = 0.15;
/// Velocity per distance to the goal, 1/s ..
const GAIN: f64 = 20.0;
/// .. and acceleration per distance to the velocity, 1/s: four times as much, which is critical damping.
const RATE: f64 = 4.0 * GAIN;
/// What braking for a goal far away reckons with, rad/s^2.
const BRAKING: f64 = 0.5 * ACCELERATION;
/// At rest below this, rad/s ..
const REST: f64 = 1e-5;
/// .. and this, rad/s^2.
const CREEP: f64 = 0.1;
/// An echo is taken for what was sent, or for the controller's continuation of it, up to this distance, rad over all joints:
/// FCI's states have single precision.
const ECHO: f64 = 2e-6;
/// Single precision of a position, rad.
const SINGLE: f64 = 2.5e-7;
/// Where both are as near as this, they are the same, rad. Far below single precision of positions: velocities and
/// accelerations, which are small numbers, tell them apart.
const SAME: f64 = 1e-9;
/// The controller stops by itself after so many lost packets.
const LOST_AT_MOST: u32 = 20;

// Without this the limit of velocity would need a brake that is sharper than the limit on jerk.
const _: () = assert!(RATE * ACCELERATION < JERK);

/// Where the arm is to go, as the device was last told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// Joint positions, rad.
    pub q: [f64; JOINTS],
    /// Joint velocities that go with them, rad/s.
    pub dq: [f64; JOINTS],
    /// When the positions were first said.
    pub came: Time,
    /// When whoever said them last ran.
    pub said: Time,
}

impl Wanted {
    /// Where the joints are to be at `now`, rad, and their velocities there, rad/s. None: they are to brake.
    pub fn at(&self, now: Time) -> Option<[(f64, f64); JOINTS]> {
        if now.since(self.said) > STALE {
            return None;
        }
        let age = now.since(self.came);
        let pair = |i: usize, secs: f64| (self.q[i] + secs * self.dq[i], self.dq[i]);
        if age <= COAST {
            return Some(std::array::from_fn(|i| pair(i, age.as_secs_f64())));
        }
        let rests = self.dq.iter().all(|dq| dq.abs() <= RESTING);
        rests.then(|| std::array::from_fn(|i| (self.q[i], 0.0)))
    }
}

/// What the controller made of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It came.
    Heard,
    /// So many positions did not come in time; the controller went on by itself.
    Lost(u32),
    /// Something else, and the stream goes on from there; or an echo that is not up to date, and the stream goes on as it was.
    Elsewhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Axis {
    q: f64,
    dq: f64,
    ddq: f64,
}

impl Axis {
    fn go_on(&mut self, ddq: f64) {
        self.ddq = ddq;
        self.dq += ddq * CYCLE;
        self.q += self.dq * CYCLE;
    }
}

/// What was sent, and how it goes on.
#[derive(Debug, Clone)]
pub struct Stream {
    sent: [Axis; JOINTS],
    /// Before the last step.
    before: [Axis; JOINTS],
    /// The goal, evened out.
    goal: [(f64, f64); JOINTS],
    /// The last echo.
    heard: [Axis; JOINTS],
}

impl Stream {
    /// Begins at rest at `q`, rad: where the controller says that it wants the arm.
    pub fn at(q: [f64; JOINTS]) -> Self {
        let sent = q.map(|q| Axis {
            q,
            ..Axis::default()
        });
        Self {
            sent,
            before: sent,
            goal: q.map(|q| (q, 0.0)),
            heard: sent,
        }
    }

    /// What was sent last, rad.
    pub fn position(&self) -> [f64; JOINTS] {
        self.sent.map(|axis| axis.q)
    }

    /// Velocities that it was sent with, rad/s.
    pub fn velocity(&self) -> [f64; JOINTS] {
        self.sent.map(|axis| axis.dq)
    }

    /// Whether it came to rest: without a goal it does.
    pub fn rests(&self) -> bool {
        self.sent
            .iter()
            .all(|axis| axis.dq == 0.0 && axis.ddq == 0.0)
    }

    /// The next position of each joint, rad. Without a goal they brake.
    pub fn step(&mut self, goal: Option<[(f64, f64); JOINTS]>) -> [f64; JOINTS] {
        self.before = self.sent;
        for i in 0..JOINTS {
            let axis = &mut self.sent[i];
            let highest = ROWS[i].velocity();
            let wanted = match goal {
                Some(goal) => {
                    let [lower, upper] = ROWS[i].range();
                    let (q, dq) = (goal[i].0.clamp(lower, upper), goal[i].1);
                    let (even, along) = &mut self.goal[i];
                    *along += EVEN * (dq - *along);
                    *even += *along * CYCLE;
                    *even += EVEN * (q - *even);
                    *along + approach(*even - axis.q)
                }
                None => {
                    self.goal[i] = (axis.q, axis.dq);
                    0.0
                }
            };
            let missing = wanted.clamp(-highest, highest) - axis.dq;
            let asked = (RATE * missing).clamp(-ACCELERATION, ACCELERATION);
            let most = JERK * CYCLE;
            let ddq = asked.clamp(axis.ddq - most, axis.ddq + most);
            if goal.is_none() && axis.dq.abs() <= REST && axis.ddq.abs() <= CREEP {
                // The end of an exponential: what is left is nothing to any limit.
                (axis.ddq, axis.dq) = (-axis.dq / CYCLE, 0.0);
            } else {
                axis.go_on(ddq);
            }
        }
        self.position()
    }

    /// Hears what the controller was sent, by its own word, `cycles` after the last state: positions, velocities and
    /// accelerations that it wants, rad, rad/s, rad/s^2.
    pub fn echoed(
        &mut self,
        q: &[f64; JOINTS],
        dq: &[f64; JOINTS],
        ddq: &[f64; JOINTS],
        cycles: u32,
    ) -> Echo {
        if ![q, dq, ddq].iter().all(|v| v.iter().all(|x| x.is_finite())) {
            return Echo::Elsewhere;
        }
        let echo: [Axis; JOINTS] = std::array::from_fn(|i| Axis {
            q: q[i],
            dq: dq[i],
            ddq: ddq[i],
        });
        let again = std::mem::replace(&mut self.heard, echo) == echo;
        let off = |axes: &[Axis; JOINTS]| {
            let each = axes.iter().zip(&echo).map(|(axis, echo)| {
                (axis.q - echo.q).abs()
                    + CYCLE * (axis.dq - echo.dq).abs()
                    + CYCLE * CYCLE * (axis.ddq - echo.ddq).abs()
            });
            each.sum::<f64>()
        };
        let later = |mut axes: [Axis; JOINTS], cycles: u32| {
            for axis in &mut axes {
                (0..cycles).for_each(|_| axis.go_on(axis.ddq));
            }
            axes
        };
        let cycles = cycles.clamp(1, LOST_AT_MOST);
        let came = later(self.sent, cycles - 1);
        let missed = later(self.before, cycles);
        let (off_came, off_missed) = (off(&came), off(&missed));
        let (nearer, echo_of_it, off_nearer) = match (off_came <= off_missed + SAME, cycles) {
            (true, 1) => (came, Echo::Heard, off_came),
            (true, _) => (came, Echo::Lost(cycles - 1), off_came),
            (false, _) => (missed, Echo::Lost(cycles), off_missed),
        };
        if off_nearer <= ECHO {
            // Positions are known better than they are echoed; of the rest the controller's word counts, or what the two sides
            // believe drifts apart from one loss to the next.
            self.sent = std::array::from_fn(|i| Axis {
                q: nearer[i].q,
                ..echo[i]
            });
            return echo_of_it;
        }
        // A controller that says once more what it said last has not looked at what was sent since, and one that says the
        // positions that were sent with rates that were not is looking just now: taken for its word, it would be a leap.
        let there = came
            .iter()
            .zip(&echo)
            .all(|(axis, echo)| (axis.q - echo.q).abs() <= SINGLE);
        self.sent = if again || there { came } else { echo };
        Echo::Elsewhere
    }
}

/// Velocity towards a goal at distance `e`, rad/s: proportional near by, and such that it could still be braked far away.
fn approach(e: f64) -> f64 {
    let near = BRAKING / (GAIN * GAIN);
    if e.abs() <= near {
        return GAIN * e;
    }
    e.signum() * (2.0 * BRAKING * (e.abs() - near / 2.0)).sqrt()
}

#[cfg(test)]
mod tests {
    use franka::rate_limiting::{
        MAX_JOINT_ACCELERATION, MAX_JOINT_JERK, compute_lower_limits_joint_velocity,
        compute_upper_limits_joint_velocity, limit_rate_joint_positions,
    };
    use proptest::prelude::*;

    use super::*;

    const HOME: [f64; JOINTS] = [0.0, 0.0, 0.0, -1.57, 0.0, 1.57, 0.785];

    fn at(micros: u64) -> Time {
        Time::ZERO + Duration::from_micros(micros)
    }

    /// libfranka's rate limiter, ported by `franka-rs`, changes nothing of what is sent, given what was sent before.
    struct Judge {
        q: [f64; JOINTS],
        dq: [f64; JOINTS],
        ddq: [f64; JOINTS],
    }

    impl Judge {
        fn at(q: [f64; JOINTS]) -> Self {
            Self {
                q,
                dq: [0.0; JOINTS],
                ddq: [0.0; JOINTS],
            }
        }

        /// Largest change, rad.
        fn judge(&mut self, q: [f64; JOINTS]) -> f64 {
            let limited = limit_rate_joint_positions(
                &compute_upper_limits_joint_velocity(&self.q),
                &compute_lower_limits_joint_velocity(&self.q),
                &MAX_JOINT_ACCELERATION,
                &MAX_JOINT_JERK,
                &q,
                &self.q,
                &self.dq,
                &self.ddq,
            )
            .expect("finite");
            let changed = (0..JOINTS).map(|i| (limited[i] - q[i]).abs());
            let changed = changed.fold(0.0, f64::max);
            let dq: [f64; JOINTS] = std::array::from_fn(|i| (q[i] - self.q[i]) / CYCLE);
            self.ddq = std::array::from_fn(|i| (dq[i] - self.dq[i]) / CYCLE);
            (self.q, self.dq) = (q, dq);
            changed
        }

        /// What the controller does where nothing comes.
        fn lose(&mut self) {
            for i in 0..JOINTS {
                self.dq[i] += self.ddq[i] * CYCLE;
                self.q[i] += self.dq[i] * CYCLE;
            }
        }
    }

    fn goal(shares: &[f64; JOINTS], dq: &[f64; JOINTS]) -> [(f64, f64); JOINTS] {
        std::array::from_fn(|i| {
            let [lower, upper] = ROWS[i].range();
            (lower + shares[i] * (upper - lower), dq[i])
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// Whatever goals are said, for however long, or not at all: FCI has nothing against what is sent.
        #[test]
        fn no_goal_makes_it_break_a_limit(
            goals in proptest::collection::vec((
                proptest::option::weighted(0.8, (
                    proptest::array::uniform7(-0.1..=1.1f64),
                    proptest::array::uniform7(-3.0..=3.0f64),
                )),
                1usize..120,
            ), 1..24),
        ) {
            let mut stream = Stream::at(HOME);
            let mut judge = Judge::at(HOME);
            for (said, cycles) in goals {
                let said = said.map(|(shares, dq)| goal(&shares, &dq));
                for _ in 0..cycles {
                    let changed = judge.judge(stream.step(said));
                    prop_assert!(changed < 1e-9, "{changed}");
                }
            }
            // .. and it always comes to rest.
            for _ in 0..1500 {
                let changed = judge.judge(stream.step(None));
                prop_assert!(changed < 1e-9, "{changed}");
            }
            prop_assert!(stream.rests());
        }

        /// Lost packets, any of them, in motion: what follows is still within the limits, and taken for what it was.
        #[test]
        fn lost_packets_are_gone_on_from(
            losses in proptest::collection::vec((prop_oneof![1usize..4, 30usize..200], 1u32..15), 1..24),
            speed in 0.1..0.6f64,
        ) {
            let mut stream = Stream::at(HOME);
            let mut judge = Judge::at(HOME);
            let mut t = 0.0;
            let single = |v: [f64; JOINTS]| v.map(|x| f64::from(x as f32));
            for (cycles, lost) in losses {
                for _ in 0..cycles {
                    t += CYCLE;
                    let goal = std::array::from_fn(|i| {
                        let w = 2.0 + 0.3 * i as f64;
                        (HOME[i] + speed / w * (1.0 - (w * t).cos()), speed * (w * t).sin())
                    });
                    let changed = judge.judge(stream.step(Some(goal)));
                    prop_assert!(changed < 1e-9, "{changed}");
                    let echo = stream.echoed(&single(judge.q), &single(judge.dq), &single(judge.ddq), 1);
                    prop_assert_eq!(echo, Echo::Heard);
                }
                // One more was computed, and was the first that did not arrive.
                stream.step(Some(std::array::from_fn(|i| (judge.q[i], judge.dq[i]))));
                (0..lost).for_each(|_| judge.lose());
                t += CYCLE * f64::from(lost);
                let echo = stream.echoed(&single(judge.q), &single(judge.dq), &single(judge.ddq), lost);
                // One that would have been the same as the controller's own is not missed.
                let counted = match echo {
                    Echo::Heard => 0,
                    Echo::Lost(n) => n,
                    Echo::Elsewhere => 99,
                };
                prop_assert!((lost - 1..=lost).contains(&counted), "{echo:?} of {lost}");
            }
        }
    }

    /// Goals of a movement at 250 Hz that come 0 to 4 ms late: how far behind, and how rough.
    #[test]
    fn a_moving_goal_is_followed_closely_and_smoothly() {
        let mut stream = Stream::at(HOME);
        let (mut behind, mut roughest) = (0.0f64, 0.0f64);
        let mut wanted = None;
        let movement = |secs: f64| {
            let w = std::f64::consts::TAU / 4.0;
            (0.4 * (1.0 - (w * secs).cos()), 0.4 * w * (w * secs).sin())
        };
        let mut before = [0.0; JOINTS];
        for ms in 0..8000u64 {
            let late = (ms / 4).wrapping_mul(2654435761) % 5;
            if ms % 4 == late {
                let (q, dq) = movement((ms - late) as f64 * CYCLE);
                wanted = Some(Wanted {
                    q: std::array::from_fn(|i| HOME[i] + q),
                    dq: [dq; JOINTS],
                    came: at(1000 * ms),
                    said: at(1000 * ms),
                });
            }
            let goal = wanted.and_then(|w| {
                let w = Wanted {
                    said: at(1000 * ms),
                    ..w
                };
                w.at(at(1000 * ms))
            });
            let q = stream.step(goal);
            let (right, _) = movement(ms as f64 * CYCLE);
            if ms > 500 {
                behind = behind.max((q[0] - HOME[0] - right).abs());
                roughest = roughest.max((stream.sent[0].ddq - before[0]).abs() / CYCLE);
            }
            before = stream.sent.map(|axis| axis.ddq);
        }
        println!("behind <= {behind:.4} rad, jerk <= {roughest:.0} rad/s^3");
        assert!(behind < 0.006 && roughest < 500.0, "{behind} {roughest}");
    }

    #[test]
    fn a_goal_that_falls_silent_in_motion_is_braked_from_and_not_gone_back_to() {
        let mut stream = Stream::at(HOME);
        let speed = [0.5; JOINTS];
        let mut said = at(0);
        let mut wanted = |ms: u64| {
            if ms < 1000 {
                said = at(1000 * ms);
            }
            Wanted {
                q: std::array::from_fn(|i| HOME[i] + 0.5 * said.since(at(0)).as_secs_f64()),
                dq: speed,
                came: said,
                said: at(1000 * ms),
            }
        };
        let mut furthest = 0.0f64;
        for ms in 0..2000 {
            let q = stream.step(wanted(ms).at(at(1000 * ms)));
            furthest = furthest.max(q[0]);
        }
        assert!(stream.rests());
        let rests = stream.position()[0];
        println!("last goal 0.4995, rests at {rests:.4}");
        // 20 ms on its way, then braking.
        assert!((furthest - rests).abs() < 1e-9 && (0.5..0.54).contains(&rests));
    }

    #[test]
    fn a_goal_at_rest_is_reached_whatever_falls_silent_and_one_nobody_vouches_for_is_not() {
        let there = Wanted {
            q: HOME.map(|q| q + 0.1),
            dq: [0.0; JOINTS],
            came: at(0),
            said: at(0),
        };
        let mut stream = Stream::at(HOME);
        for ms in 0..3000 {
            let said = Wanted {
                said: at(1000 * ms),
                ..there
            };
            stream.step(said.at(at(1000 * ms)));
        }
        assert!((stream.position()[2] - HOME[2] - 0.1).abs() < 1e-5);
        assert_eq!(there.at(at(31_000)), None);
    }

    #[test]
    fn a_goal_far_away_is_reached_in_time_and_not_passed() {
        let mut stream = Stream::at(HOME);
        let goal = HOME.map(|q| (q + 0.8, 0.0));
        let mut furthest = 0.0f64;
        let mut there = None;
        for ms in 0..4000 {
            let q = stream.step(Some(goal));
            furthest = furthest.max((0..JOINTS).map(|i| q[i] - goal[i].0).fold(-1.0, f64::max));
            let reached = (0..JOINTS).all(|i| (q[i] - goal[i].0).abs() < 1e-3);
            there = there.or(reached.then_some(ms));
        }
        println!("there after {there:?} ms, passed by {furthest:.5} rad");
        // The slowest joint needs 1.2 s at its full speed.
        assert!(furthest < 1e-3 && there.is_some_and(|ms| ms < 1700));
    }

    #[test]
    fn an_echo_that_is_not_up_to_date_pulls_nothing_back() {
        let (mut told, mut deaf) = (Stream::at(HOME), Stream::at(HOME));
        let goal = HOME.map(|q| (q + 0.5, 0.0));
        let mut said = Stream::at(HOME);
        for cycle in 0..1000 {
            let (a, b) = (told.step(Some(goal)), deaf.step(Some(goal)));
            assert!((0..JOINTS).all(|i| (a[i] - b[i]).abs() < 1e-3));
            // The last one again; rates of the last one, positions of this one.
            let (again, torn) = (cycle % 7 == 0, cycle % 7 == 3);
            if !(again || torn) {
                said = deaf.clone();
            }
            let q = if torn {
                deaf.position()
            } else {
                said.position()
            };
            let ddq = said.sent.map(|axis| axis.ddq);
            told.echoed(&q, &said.velocity(), &ddq, 1);
        }
    }

    #[test]
    fn an_echo_from_elsewhere_is_where_it_goes_on() {
        let mut stream = Stream::at(HOME);
        let goal = HOME.map(|q| (q + 0.2, 0.0));
        (0..100).for_each(|_| _ = stream.step(Some(goal)));
        let elsewhere = stream.position().map(|q| q + 0.05);
        let still = [0.0; JOINTS];
        assert_eq!(
            stream.echoed(&elsewhere, &still, &still, 1),
            Echo::Elsewhere
        );
        assert_eq!(stream.position(), elsewhere);
        let nothing = [f64::NAN; JOINTS];
        assert_eq!(stream.echoed(&nothing, &still, &still, 1), Echo::Elsewhere);
        assert_eq!(
            stream.position(),
            elsewhere,
            "what is no number is not taken over"
        );
    }
}
