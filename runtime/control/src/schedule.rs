//! Scheduling by due time: which setpoint of which chunk counts now.
//!
//! Decides whether a chunk may enter (generation, order in time, finite, in range) and what is due at `now`. An index
//! never decides, only due times; a late chunk therefore takes over in the middle. How chunks become a plan is
//! [`crate::strategy`]'s, what lies between two actions [`crate::plan`]'s. Does not decide whether the policy may move
//! the arm at all (`supervise`), nor limit (`limit`). Holds its plans in place, so that accepting never allocates.

use std::time::Duration;

use tactus_types::{
    ActionChunk, ArmInfo, ChunkFlaw, Generation, JointVec, Leftover, Setpoint, Source, Time,
    TimedAction,
};

use crate::plan::{Grid, MAX_HORIZON, Plan, State};
use crate::strategy::{self, ENSEMBLE, Past, Strategy};

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

/// Where the plan in force comes from.
#[derive(Debug, Clone, Copy)]
struct Origin {
    request_id: u64,
    observed_at: Time,
}

/// How well a new chunk met the plan before it, at the hand-over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seam {
    /// Distance between where the two want the arm, on the joint where it is largest, rad.
    pub jump_rad: f64,
    /// Cosine of the angle between their joint velocities, -1..1; `None` when one of them stands still.
    pub cosine: Option<f64>,
}

impl Seam {
    /// Between `old` and `new`, what both plans want at one instant.
    fn between(old: &State, new: &State) -> Self {
        let dot = |a: &JointVec, b: &JointVec| a.zip(b, |x, y| x * y).iter().sum::<f64>();
        let still = 1e-3;
        let (a, b) = (dot(&old.dq, &old.dq).sqrt(), dot(&new.dq, &new.dq).sqrt());
        Self {
            jump_rad: old.q.zip(&new.q, |x, y| x - y).max_abs(),
            cosine: (a > still && b > still).then(|| dot(&old.dq, &new.dq) / (a * b)),
        }
    }
}

/// How chunks become plans.
#[derive(Clone, Copy, PartialEq)]
pub struct ScheduleSpec {
    /// Which actions a plan is made of.
    pub strategy: Strategy,
    /// Least time from the command as it is to the first action of a new plan that is met.
    pub ease: Duration,
    /// How much later than it is commanded the arm moves: an action is commanded so much before it is due, and is lost where
    /// that is past.
    pub lead: Duration,
}

/// Configurations of recordings are compared by this: without a lead it says what it said before there was one.
impl std::fmt::Debug for ScheduleSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            strategy,
            ease,
            lead,
        } = self;
        let mut spec = f.debug_struct("ScheduleSpec");
        spec.field("strategy", strategy).field("ease", ease);
        if !lead.is_zero() {
            spec.field("lead", lead);
        }
        spec.finish()
    }
}

/// Holds the plan in force.
#[derive(Debug)]
pub struct Scheduler {
    spec: ScheduleSpec,
    generation: Generation,
    origin: Option<Origin>,
    /// The plan in force, and room to make the next while this one is read.
    plan: Box<Plan>,
    next: Box<Plan>,
    /// The last chunks of this generation, for an ensemble; oldest first from `past_len` on, round about.
    past: Box<[Past]>,
    past_len: usize,
    past_next: usize,
    /// Of the last chunk that replaced another.
    seam: Option<Seam>,
    /// Time between two ticks of the controller.
    tick: Duration,
}

impl Scheduler {
    /// An empty scheduler for `generation`.
    pub fn new(spec: ScheduleSpec, generation: Generation) -> Self {
        let plan = Box::new(Plan::empty());
        let slots = match spec.strategy {
            Strategy::Ensemble { .. } => ENSEMBLE,
            _ => 0,
        };
        let nothing = || Past {
            grid: *plan.grid(),
            actions: std::array::from_fn(|_| tactus_types::Action {
                q: JointVec::zeros(0),
                opening: 0.0,
            }),
        };
        Self {
            spec,
            generation,
            origin: None,
            past: (0..slots).map(|_| nothing()).collect(),
            next: plan.clone(),
            plan,
            past_len: 0,
            past_next: 0,
            seam: None,
            tick: Duration::ZERO,
        }
    }

    /// For a controller that commands once per `tick`: the motion it has commanded when a chunk comes is of one `tick` ago.
    #[must_use]
    pub fn ticking(self, tick: Duration) -> Self {
        Self { tick, ..self }
    }

    /// Forgets the plan in force; from now on only chunks of `generation` enter.
    pub fn restart(&mut self, generation: Generation) {
        self.generation = generation;
        self.origin = None;
        self.past_len = 0;
    }

    /// Generation whose chunks enter.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// How chunks become plans.
    pub fn strategy(&self) -> &Strategy {
        &self.spec.strategy
    }

    /// How much earlier than due an action is commanded.
    fn lead(&self) -> Duration {
        match self.spec.strategy {
            Strategy::Naive => Duration::ZERO,
            _ => self.spec.lead,
        }
    }

    /// Takes `chunk` over at `now` if it may be executed; `commanded` is the motion as it was commanded a tick ago. The plan
    /// begins there and then: one that began now would have the arm wait a tick for it, in the middle of its motion.
    ///
    /// # Errors
    /// [`Discard`]; the plan in force stays.
    pub fn accept(
        &mut self,
        chunk: &ActionChunk,
        info: &ArmInfo,
        commanded: State,
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
            .origin
            .is_some_and(|o| chunk.observed_at < o.observed_at)
        {
            return Err(Discard::OutOfOrder);
        }
        let grid = Grid {
            first_due: match self.spec.strategy {
                Strategy::Naive => now,
                // All times of a plan are those at which it is commanded.
                _ => chunk.first_due.before(self.spec.lead),
            },
            period: chunk.period,
            len: chunk.actions.len(),
        };
        if grid.last_due() <= now {
            return Err(Discard::Late);
        }
        self.remember(grid, chunk);
        self.make(grid, chunk, commanded, now);
        let old = self.origin.and_then(|_| self.plan.at(now));
        self.seam = old.map(|(old, _)| Seam::between(&old, &self.next.wanted(now)));
        std::mem::swap(&mut self.plan, &mut self.next);
        self.origin = Some(Origin {
            request_id: chunk.request_id,
            observed_at: chunk.observed_at,
        });
        Ok(())
    }

    /// Makes the plan of `chunk` in `next`.
    fn make(&mut self, grid: Grid, chunk: &ActionChunk, commanded: State, now: Time) {
        let Self {
            plan,
            next,
            past,
            past_len,
            past_next,
            origin,
            spec,
            tick,
            ..
        } = self;
        let actions = &chunk.actions;
        let ScheduleSpec { strategy, ease, .. } = *spec;
        let (from, ease) = (now.before(*tick), ease + *tick);
        match strategy {
            Strategy::Blend { over } if origin.is_some() => {
                let action = |i| strategy::blended(&actions[i], plan, grid.due(i), now, over);
                next.make(grid, action, commanded, from, ease);
            }
            Strategy::Ensemble { decay } => {
                let slots = past.len().max(1);
                let oldest = (*past_next + slots - *past_len) % slots;
                let in_order = || (0..*past_len).filter_map(|k| past.get((oldest + k) % slots));
                let action = |i| strategy::ensembled(in_order(), &actions[i], grid.due(i), decay);
                next.make(grid, action, commanded, from, ease);
            }
            _ => next.make(grid, |i| actions[i], commanded, from, ease),
        }
    }

    fn remember(&mut self, grid: Grid, chunk: &ActionChunk) {
        let slots = self.past.len();
        let Some(slot) = self.past.get_mut(self.past_next) else {
            return;
        };
        slot.grid = grid;
        for (to, from) in slot.actions.iter_mut().zip(&chunk.actions) {
            *to = *from;
        }
        self.past_next = (self.past_next + 1) % slots;
        self.past_len = (self.past_len + 1).min(slots);
    }

    /// Instant of the observation behind the plan in force.
    pub fn observed_at(&self) -> Option<Time> {
        self.origin.map(|o| o.observed_at)
    }

    /// How the last chunk that entered met the plan before it; `None` when there was none.
    pub fn seam(&self) -> Option<Seam> {
        self.seam
    }

    /// How long the plan in force still lasts at `now`; zero without one.
    pub fn lasts(&self, now: Time) -> Duration {
        match self.origin {
            Some(_) => self.plan.grid().last_due().since(now),
            None => Duration::ZERO,
        }
    }

    /// What is planned from `from` on, sampled twice per period of the chunk; nothing without a plan.
    pub fn leftover(&self, from: Time) -> Leftover {
        let mut leftover = Leftover::none();
        if self.origin.is_none() {
            return leftover;
        }
        let step = self.plan.grid().period / 2;
        let mut due = from;
        // The policy's times are those at which the arm is there.
        while let Some((state, _)) = self.plan.at(due.before(self.lead())) {
            let action = tactus_types::Action {
                q: state.q,
                opening: state.opening,
            };
            if step.is_zero() || !leftover.push(TimedAction { due, action }) {
                break;
            }
            due = due + step;
        }
        leftover
    }

    /// What is due at `now`.
    pub fn setpoint(&self, now: Time) -> Due {
        let Some(origin) = self.origin else {
            return Due::Empty;
        };
        let Some((state, index)) = self.plan.at(now) else {
            return Due::Exhausted;
        };
        let State {
            q,
            dq,
            ddq,
            opening,
        } = state;
        Due::Setpoint(Setpoint {
            source: Source::Policy,
            q,
            dq,
            ddq,
            opening,
            request_id: origin.request_id,
            action_index: index as u32,
            observed_at: Some(origin.observed_at),
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
    use super::Strategy;
    use super::*;
    use proptest::prelude::*;
    use tactus_types::{Action, JointLimits, StageTimes};

    pub(crate) fn info(joints: usize) -> ArmInfo {
        let limits = JointLimits {
            lower: -2.0,
            upper: 2.0,
            velocity: 3.0,
            acceleration: 30.0,
            jerk: 1500.0,
        };
        ArmInfo {
            model: "test".into(),
            joints: (0..joints).map(|i| format!("j{i}")).collect(),
            limits: vec![limits; joints],
            gripper: true,
            state_rate_hz: 500.0,
            brakes: false,
            torque_switch: true,
            command_deadline_secs: 0.1,
            geometry: None,
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
            states: None,
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

    fn at_rest(v: f64) -> State {
        State::at_rest(JointVec::from_fn(1, |_| v), 0.5)
    }

    fn with(strategy: Strategy) -> ScheduleSpec {
        ScheduleSpec {
            strategy,
            ease: Duration::from_millis(50),
            lead: Duration::ZERO,
        }
    }

    fn aligned() -> Scheduler {
        Scheduler::new(with(Strategy::Align), Generation::default())
    }

    fn q(due: Due) -> f64 {
        match due {
            Due::Setpoint(s) => s.q[0],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn setpoints_go_by_due_time_and_a_late_chunk_takes_over_in_the_middle() {
        let mut s = aligned();
        // Observed at 0, actions due at 50, 100, 150, 200; accepted only at 110: the first that can be joined is at 200.
        let entered = s.accept(
            &chunk(0, &[0.0, 0.1, 0.2, 0.3]),
            &info(1),
            at_rest(0.05),
            Time::from_millis(110),
        );
        assert_eq!(entered, Ok(()));
        assert!((q(s.setpoint(Time::from_millis(110))) - 0.05).abs() < 1e-9);
        assert!((q(s.setpoint(Time::from_millis(200))) - 0.3).abs() < 1e-9);
        assert_eq!(s.setpoint(Time::from_millis(201)), Due::Exhausted);
    }

    #[test]
    fn an_arm_that_is_late_is_commanded_ahead_and_what_is_left_is_told_in_the_policys_time() {
        let lead = Duration::from_millis(40);
        let mut late = Scheduler::new(
            ScheduleSpec {
                lead,
                ..with(Strategy::Align)
            },
            Generation::default(),
        );
        let mut prompt = aligned();
        let chunk = chunk(0, &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
        let now = Time::from_millis(60);
        for s in [&mut late, &mut prompt] {
            s.accept(&chunk, &info(1), at_rest(0.05), now)
                .expect("enters");
        }
        // Past the way into the plan both follow the same actions, the late arm's commands 40 ms sooner.
        for millis in (200..=300).step_by(10) {
            let due = Time::from_millis(millis);
            let (ahead, at) = (late.setpoint(due.before(lead)), prompt.setpoint(due));
            assert!((q(ahead) - q(at)).abs() < 1e-9, "{millis}");
        }
        assert_eq!(late.setpoint(Time::from_millis(261)), Due::Exhausted);
        assert_eq!(late.lasts(now) + lead, prompt.lasts(now));
        let told = |s: &Scheduler| -> Vec<(Time, f64)> {
            let leftover = s.leftover(Time::from_millis(200));
            leftover
                .as_slice()
                .iter()
                .map(|t| (t.due, t.action.q[0]))
                .collect()
        };
        let (a, b) = (told(&late), told(&prompt));
        assert!(a.len() == b.len() && a.len() > 2);
        for ((due, q), (other, p)) in a.iter().zip(&b) {
            assert!(due == other && (q - p).abs() < 1e-9, "{a:?} {b:?}");
        }
        // What would have had to be commanded already is lost.
        let mut gone = Scheduler::new(
            ScheduleSpec {
                lead: Duration::from_millis(300),
                ..with(Strategy::Align)
            },
            Generation::default(),
        );
        let chunk = self::chunk(1000, &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]);
        let now = Time::from_millis(1060);
        assert_eq!(
            gone.accept(&chunk, &info(1), at_rest(0.0), now),
            Err(Discard::Late)
        );
    }

    #[test]
    fn naive_indexing_plays_old_actions_as_if_they_were_new() {
        let mut s = Scheduler::new(with(Strategy::Naive), Generation::default());
        let now = Time::from_millis(110);
        s.accept(
            &chunk(0, &[0.0, 0.1, 0.2, 0.3]),
            &info(1),
            at_rest(0.0),
            now,
        )
        .expect("enters");
        assert!((q(s.setpoint(now + Duration::from_millis(150))) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn a_blend_begins_on_the_old_plan_and_ends_on_the_new() {
        let over = Duration::from_millis(200);
        let mut s = Scheduler::new(with(Strategy::Blend { over }), Generation::default());
        let flat = |v: f64| [v; 16];
        s.accept(
            &chunk(0, &flat(0.0)),
            &info(1),
            at_rest(0.0),
            Time::from_millis(10),
        )
        .expect("enters");
        let now = Time::from_millis(300);
        s.accept(&chunk(200, &flat(0.1)), &info(1), at_rest(0.0), now)
            .expect("enters");
        let mut last = -1e-9;
        for millis in (300..=500).step_by(50) {
            let v = q(s.setpoint(Time::from_millis(millis)));
            assert!(v >= last - 1e-3, "{millis} ms: {v} after {last}");
            last = v;
        }
        assert!((last - 0.1).abs() < 1e-9);
        let half = q(s.setpoint(Time::from_millis(400)));
        assert!((half - 0.05).abs() < 1e-9, "{half}");
    }

    #[test]
    fn an_ensemble_averages_what_the_chunks_say_for_the_same_instant() {
        let mut s = Scheduler::new(
            with(Strategy::Ensemble { decay: 0.0 }),
            Generation::default(),
        );
        for (k, v) in [0.0, 0.3, 0.6].into_iter().enumerate() {
            let observed = 100 * k as u64;
            s.accept(
                &chunk(observed, &[v; 16]),
                &info(1),
                at_rest(0.3),
                Time::from_millis(observed + 20),
            )
            .expect("enters");
        }
        // 600 ms is covered by all three; 830 ms (the end of the first) .. by the last two only.
        assert!((q(s.setpoint(Time::from_millis(600))) - 0.3).abs() < 1e-3);
        assert!((q(s.setpoint(Time::from_millis(950))) - 0.6).abs() < 0.05);
        s.restart(Generation { boot: 0, count: 1 });
        assert_eq!(s.setpoint(Time::from_millis(600)), Due::Empty);
    }

    #[test]
    fn the_leftover_is_the_plan_from_an_instant_on() {
        let mut s = aligned();
        assert!(s.leftover(Time::from_millis(0)).is_empty());
        let values: Vec<f64> = (0..16).map(|i| 0.01 * f64::from(i)).collect();
        s.accept(
            &chunk(0, &values),
            &info(1),
            at_rest(0.0),
            Time::from_millis(10),
        )
        .expect("enters");
        let leftover = s.leftover(Time::from_millis(200));
        let first = leftover.as_slice()[0];
        assert_eq!(first.due, Time::from_millis(200));
        assert!((first.action.q[0] - 0.03).abs() < 1e-9);
        assert_eq!(leftover.as_slice().len(), (800 - 200) / 25 + 1);
        assert_eq!(s.lasts(Time::from_millis(200)), Duration::from_millis(600));
    }

    #[test]
    fn what_may_not_enter_does_not() {
        let mut s = aligned();
        let now = Time::from_millis(60);
        let mut try_it = |c: &ActionChunk, arm: usize| s.accept(c, &info(arm), at_rest(0.0), now);
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
        /// A chunk is never applied late: an action that was due before the chunk came is not played, and every one
        /// from the joint on comes out at its own due time, whenever the chunk arrived.
        #[test]
        fn never_an_action_that_is_not_due(
            values in prop::collection::vec(-1.9f64..1.9, 2..16),
            arrive in 0u64..400,
        ) {
            let c = chunk(0, &values);
            let mut s = aligned();
            let now = Time::from_millis(arrive);
            let entered = s.accept(&c, &info(1), at_rest(0.0), now);
            prop_assert_eq!(entered.is_ok(), c.last_due() > now);
            if entered.is_ok() {
                for (i, value) in values.iter().enumerate() {
                    let due = c.due(i);
                    if due < now {
                        continue;
                    }
                    let Due::Setpoint(sp) = s.setpoint(due) else { panic!("action {i} is due") };
                    prop_assert!(sp.action_index as usize >= i);
                    if due >= now + c.period {
                        prop_assert!((sp.q[0] - value).abs() < 1e-9);
                    }
                }
            }
        }

        /// Continuity at hand-over, for every strategy: the new plan starts where and when the command was, as fast as it moved.
        #[test]
        fn no_strategy_steps_at_a_hand_over(
            old in prop::collection::vec(-1.0f64..1.0, 16),
            new in prop::collection::vec(-1.0f64..1.0, 16),
            late in 0u64..400, which in 0usize..4, tick in 0u64..11,
        ) {
            let over = Duration::from_millis(150);
            let tick = Duration::from_millis(tick);
            let strategy = [Strategy::Align, Strategy::Blend { over }, Strategy::Ensemble { decay: 0.01 }, Strategy::Naive][which];
            let mut s = Scheduler::new(with(strategy), Generation::default()).ticking(tick);
            s.accept(&chunk(0, &old), &info(1), at_rest(old[0]), Time::from_millis(10)).expect("enters");
            let now = Time::from_millis(100 + late);
            let commanded_at = now.before(tick);
            let Due::Setpoint(before) = s.setpoint(commanded_at) else { panic!("due") };
            let commanded = State { q: before.q, dq: before.dq, ddq: before.ddq, opening: before.opening };
            s.accept(&chunk(100, &new), &info(1), commanded, now).expect("enters");
            let Due::Setpoint(after) = s.setpoint(commanded_at) else { panic!("due") };
            prop_assert!((before.q[0] - after.q[0]).abs() < 1e-9);
            prop_assert!((before.dq[0] - after.dq[0]).abs() < 1e-6);
            prop_assert!((before.ddq[0] - after.ddq[0]).abs() < 1e-3);
        }
    }
}
