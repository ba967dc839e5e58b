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
pub(crate) mod tests;
