//! Scheduling by due time: which setpoint of which chunk counts now.
//!
//! Decides whether a chunk may enter (generation, order in time, finite, in range) and what is due at `now`: linear
//! interpolation between the two actions around it. An index never decides, only due times; a late chunk therefore
//! takes over in the middle. Does not decide whether the policy may move the arm at all (`supervise`), nor limit
//! (`limit`). Holds its actions in place, so that accepting never allocates.

use std::time::Duration;

use tactus_types::{
    Action, ActionChunk, ArmInfo, ChunkFlaw, Generation, JointVec, Setpoint, Source, Time,
};

/// Longest chunk a scheduler holds.
pub const MAX_HORIZON: usize = 128;

/// How far outside a joint's limits an action may lie before the chunk is refused, rad. Learned actions overshoot a
/// limit by rounding and noise; the limiter clamps those. Beyond this the chunk is wrong.
pub const RANGE_TOLERANCE: f64 = 0.2;

/// Why a chunk did not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// It belongs to another generation.
    Generation,
    /// It was observed earlier than the chunk in force.
    OutOfOrder,
    /// All its actions were due before now.
    Late,
    /// It may not be executed: a fault, not a race.
    Flaw(ChunkFlaw),
}

/// What is due now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Due {
    /// A setpoint.
    Setpoint(Setpoint),
    /// There has been no chunk in this generation.
    Empty,
    /// The last action is past.
    Exhausted,
}

/// The chunk in force.
#[derive(Debug)]
struct Plan {
    request_id: u64,
    observed_at: Time,
    first_due: Time,
    period: Duration,
    len: usize,
    /// Where the command was when the chunk entered, and when: the start of the way to action 0 while that is ahead.
    entered_at: Time,
    entered_from: Action,
}

/// Holds the chunk in force.
#[derive(Debug)]
pub struct Scheduler {
    generation: Generation,
    plan: Option<Plan>,
    actions: [Action; MAX_HORIZON],
}

impl Scheduler {
    /// An empty scheduler for `generation`.
    pub fn new(generation: Generation) -> Self {
        let nothing = Action {
            q: JointVec::zeros(0),
            opening: 0.0,
        };
        Self {
            generation,
            plan: None,
            actions: [nothing; MAX_HORIZON],
        }
    }

    /// Forgets the chunk in force; from now on only chunks of `generation` enter.
    pub fn restart(&mut self, generation: Generation) {
        self.generation = generation;
        self.plan = None;
    }

    /// Generation whose chunks enter.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes `chunk` over at `now` if it may be executed; `commanded` is the last command.
    ///
    /// # Errors
    /// [`Discard`]; the chunk in force stays.
    pub fn accept(
        &mut self,
        chunk: &ActionChunk,
        info: &ArmInfo,
        commanded: Action,
        now: Time,
    ) -> Result<(), Discard> {
        if chunk.generation != self.generation {
            return Err(Discard::Generation);
        }
        check(chunk, info).map_err(Discard::Flaw)?;
        if chunk.observed_at > now {
            return Err(Discard::Flaw(ChunkFlaw::Future));
        }
        if self
            .plan
            .as_ref()
            .is_some_and(|p| chunk.observed_at < p.observed_at)
        {
            return Err(Discard::OutOfOrder);
        }
        if chunk.last_due() <= now {
            return Err(Discard::Late);
        }
        for (slot, action) in self.actions.iter_mut().zip(&chunk.actions) {
            *slot = *action;
        }
        self.plan = Some(Plan {
            request_id: chunk.request_id,
            observed_at: chunk.observed_at,
            first_due: chunk.first_due,
            period: chunk.period,
            len: chunk.actions.len(),
            entered_at: now,
            entered_from: commanded,
        });
        Ok(())
    }

    /// Instant of the observation behind the chunk in force.
    pub fn observed_at(&self) -> Option<Time> {
        self.plan.as_ref().map(|p| p.observed_at)
    }

    /// What is due at `now`.
    pub fn setpoint(&self, now: Time) -> Due {
        let Some(plan) = &self.plan else {
            return Due::Empty;
        };
        let actions = self.actions.get(..plan.len).unwrap_or_default();
        let period = plan.period.as_secs_f64();
        let place = now.secs_from(plan.first_due) / period;
        let (from, to, t, span, index) = if place < 0.0 {
            // The way from where the command was to action 0, in the time that is left for it.
            let span = plan.first_due.secs_from(plan.entered_at);
            let Some(first) = actions.first() else {
                return Due::Exhausted;
            };
            if span <= 0.0 {
                (first, first, 0.0, period, 0)
            } else {
                let t = now.secs_from(plan.entered_at) / span;
                (&plan.entered_from, first, t.clamp(0.0, 1.0), span, 0)
            }
        } else {
            let i = place as usize;
            match (actions.get(i), actions.get(i + 1)) {
                (Some(from), Some(to)) => (from, to, place - i as f64, period, i + 1),
                (Some(last), None) if place - i as f64 <= f64::EPSILON => {
                    (last, last, 0.0, period, i)
                }
                _ => return Due::Exhausted,
            }
        };
        Due::Setpoint(Setpoint {
            source: Source::Policy,
            q: from.q.lerp(&to.q, t),
            dq: from.q.zip(&to.q, |a, b| (b - a) / span),
            opening: from.opening + t * (to.opening - from.opening),
            request_id: plan.request_id,
            action_index: index as u32,
            observed_at: Some(plan.observed_at),
        })
    }
}

/// Whether an arm of `info` may execute `chunk` at all.
fn check(chunk: &ActionChunk, info: &ArmInfo) -> Result<(), ChunkFlaw> {
    let actual = chunk.actions.len();
    if actual == 0 || actual > MAX_HORIZON {
        return Err(ChunkFlaw::Length { actual });
    }
    if chunk.period.is_zero() {
        return Err(ChunkFlaw::Period);
    }
    for action in &chunk.actions {
        if action.q.len() != info.joints.len() {
            let (expected, actual) = (info.joints.len(), action.q.len());
            return Err(ChunkFlaw::Joints { expected, actual });
        }
        if !(action.q.is_finite() && action.opening.is_finite()) {
            return Err(ChunkFlaw::NotFinite);
        }
        for (joint, (q, l)) in action.q.iter().zip(&info.limits).enumerate() {
            if *q < l.lower - RANGE_TOLERANCE || *q > l.upper + RANGE_TOLERANCE {
                return Err(ChunkFlaw::OutOfRange { joint });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use tactus_types::{JointLimits, StageTimes};

    pub(crate) fn info(joints: usize) -> ArmInfo {
        let limits = JointLimits {
            lower: -2.0,
            upper: 2.0,
            velocity: 3.0,
            acceleration: 30.0,
        };
        ArmInfo {
            model: "test".into(),
            joints: (0..joints).map(|i| format!("j{i}")).collect(),
            limits: vec![limits; joints],
            gripper: true,
            state_rate_hz: 500.0,
            brakes: false,
            command_deadline_secs: 0.1,
        }
    }

    pub(crate) fn chunk(observed_millis: u64, values: &[f64]) -> ActionChunk {
        let observed_at = Time::from_millis(observed_millis);
        ActionChunk {
            request_id: observed_millis,
            generation: Generation::default(),
            observed_at,
            first_due: observed_at + Duration::from_millis(50),
            period: Duration::from_millis(50),
            actions: values.iter().map(|v| action(*v)).collect(),
            bundle_id: "b".into(),
            frames: vec![],
            stages: StageTimes::default(),
        }
    }

    pub(crate) fn action(v: f64) -> Action {
        Action {
            q: JointVec::from_fn(1, |_| v),
            opening: 1.0,
        }
    }

    fn q(due: Due) -> f64 {
        match due {
            Due::Setpoint(s) => s.q[0],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn setpoints_go_by_due_time_and_a_late_chunk_takes_over_in_the_middle() {
        let mut s = Scheduler::new(Generation::default());
        // Observed at 0, actions due at 50, 100, 150; accepted only at 110.
        s.accept(
            &chunk(0, &[0.0, 1.0, 2.0]),
            &info(1),
            action(0.3),
            Time::from_millis(110),
        )
        .expect("enters");
        assert!((q(s.setpoint(Time::from_millis(125))) - 1.5).abs() < 1e-9);
        assert!((q(s.setpoint(Time::from_millis(150))) - 2.0).abs() < 1e-9);
        assert_eq!(s.setpoint(Time::from_millis(151)), Due::Exhausted);
    }

    #[test]
    fn before_the_first_action_the_way_starts_at_the_command() {
        let mut s = Scheduler::new(Generation::default());
        s.accept(
            &chunk(0, &[1.0, 1.0]),
            &info(1),
            action(0.0),
            Time::from_millis(10),
        )
        .expect("enters");
        assert!((q(s.setpoint(Time::from_millis(10)))).abs() < 1e-9);
        assert!((q(s.setpoint(Time::from_millis(30))) - 0.5).abs() < 1e-9);
        assert!((q(s.setpoint(Time::from_millis(50))) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn what_may_not_enter_does_not() {
        let mut s = Scheduler::new(Generation::default());
        let now = Time::from_millis(60);
        let mut try_it = |c: &ActionChunk, arm: usize| s.accept(c, &info(arm), action(0.0), now);
        let good = chunk(10, &[0.0, 0.1]);
        let mut foreign = good.clone();
        foreign.generation.count = 9;
        assert_eq!(try_it(&foreign, 1), Err(Discard::Generation));
        assert_eq!(
            try_it(&chunk(10, &[0.0, f64::NAN]), 1),
            Err(Discard::Flaw(ChunkFlaw::NotFinite))
        );
        assert_eq!(
            try_it(&chunk(10, &[2.3]), 1),
            Err(Discard::Flaw(ChunkFlaw::OutOfRange { joint: 0 }))
        );
        assert_eq!(
            try_it(&chunk(10, &[]), 1),
            Err(Discard::Flaw(ChunkFlaw::Length { actual: 0 }))
        );
        assert!(matches!(
            try_it(&good, 2),
            Err(Discard::Flaw(ChunkFlaw::Joints { .. }))
        ));
        assert_eq!(try_it(&chunk(0, &[0.0]), 1), Err(Discard::Late));
        assert_eq!(
            try_it(&chunk(61, &[0.0]), 1),
            Err(Discard::Flaw(ChunkFlaw::Future))
        );
        assert_eq!(try_it(&good, 1), Ok(()));
        assert_eq!(try_it(&chunk(9, &[0.0, 0.1]), 1), Err(Discard::OutOfOrder));
    }

    proptest! {
        /// A chunk is never applied late: what comes out at `now` lies between the two actions whose due times
        /// surround `now`, whenever the chunk arrived.
        #[test]
        fn never_an_action_that_is_not_due(
            values in prop::collection::vec(-1.9f64..1.9, 2..16),
            arrive in 0u64..400, after in 0u64..900,
        ) {
            let c = chunk(0, &values);
            let mut s = Scheduler::new(Generation::default());
            let entered = s.accept(&c, &info(1), action(0.0), Time::from_millis(arrive));
            prop_assert_eq!(entered.is_ok(), c.last_due() > Time::from_millis(arrive));
            let now = Time::from_millis(arrive + after);
            if let (Ok(()), Due::Setpoint(sp)) = (entered, s.setpoint(now)) {
                if now >= c.first_due {
                    let i = (0..values.len()).rfind(|i| c.due(*i) <= now).expect("due");
                    let next = values[(i + 1).min(values.len() - 1)];
                    let (lo, hi) = (values[i].min(next), values[i].max(next));
                    prop_assert!(sp.q[0] >= lo - 1e-9 && sp.q[0] <= hi + 1e-9);
                } else {
                    prop_assert!(sp.q[0].abs() <= values[0].abs() + 1e-9);
                }
                prop_assert!(now <= c.last_due());
            }
        }
    }
}
