//! Several arms on one engine: who is served, whose request is next, and what is rejected instead of answered late.
//!
//! ```text
//! request of an arm --admitted?--> its dispatcher (one waits, a newer replaces it) --earliest deadline--> job
//!                      no |                              too late to be met |
//!                         +--> rejected at once, with the reason <----------+
//! ```
//! An arm is admitted with its first request, if every deadline of all admitted arms and its own can be met by what answers
//! have taken lately ([`admit`](crate::admit)); then its place is kept until its arm host is gone, whether it asks or not. Who is
//! not admitted is rejected with every request, which asks for admission again. Where answers come to take so long that not
//! even half of them leave time for all, who was admitted last is put off, and so on.
//!
//! A single arm is always admitted, and none of its requests is rejected: whether its cell can work is decided before it starts
//! ([`feasible`](fn@crate::feasible)). Runs nothing, reads no clock, and knows arms by number only.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{InferenceRequest, Refusal, RefusalReason, Time};

use crate::admit::{Demand, Load, Overload, share, sustainable};
use crate::assemble::Assembler;
use crate::dispatch::{Dispatcher, Job};
use crate::service::{ServiceTimes, Slack, Slacks};

#[cfg(test)]
mod tests;

/// Whether an arm has a place on the engine.
#[derive(Debug, Clone, PartialEq)]
enum Place {
    /// It has never asked, or is gone.
    None,
    /// Admitted as the `order`th.
    Kept { order: u64 },
    /// It has asked in vain.
    Refused { why: Arc<str> },
}

#[derive(Debug)]
struct Seat {
    demand: Demand,
    place: Place,
    dispatcher: Dispatcher,
    answered: u64,
    late: u64,
    rejected: u64,
    slacks: Slacks,
}

impl Seat {
    fn order(&self) -> Option<u64> {
        match self.place {
            Place::Kept { order } => Some(order),
            Place::None | Place::Refused { .. } => None,
        }
    }

    /// When the answer to a request has to leave.
    fn leave_by(&self, request: &InferenceRequest) -> Time {
        request.deadline.before(self.demand.deliver)
    }

    fn reject(&mut self, request: &InferenceRequest, message: Arc<str>) -> Refusal {
        self.rejected += 1;
        Refusal {
            request_id: request.id,
            generation: request.generation,
            reason: RefusalReason::Overloaded { message },
        }
    }
}

/// How an arm stands with the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// Arms that the engine is there for.
    pub arms: usize,
    /// How many of them are admitted.
    pub admitted_arms: usize,
    /// Share of the engine's time that those take at most; 1 is all of it.
    pub share: f64,
    /// What an answer takes at most.
    pub cost: Duration,
    /// Whether this arm is admitted.
    pub admitted: bool,
    /// Why not, where it has asked in vain.
    pub refused_for: Option<Arc<str>>,
    /// Answers that it got.
    pub answered: u64,
    /// Those that left after their time.
    pub late: u64,
    /// Requests that were rejected for want of time.
    pub rejected: u64,
    /// Slack of its answers.
    pub slack: Option<Slack>,
}

/// The arms of an engine.
#[derive(Debug)]
pub struct Fleet {
    seats: Vec<Seat>,
    times: ServiceTimes,
    admitted_ever: u64,
}

impl Fleet {
    /// Arms that have not asked yet; an answer was probed to take at most `probed`.
    pub fn new(demands: impl IntoIterator<Item = Demand>, probed: Duration) -> Self {
        let seat = |demand| Seat {
            demand,
            place: Place::None,
            dispatcher: Dispatcher::new(),
            answered: 0,
            late: 0,
            rejected: 0,
            slacks: Slacks::default(),
        };
        Self {
            seats: demands.into_iter().map(seat).collect(),
            times: ServiceTimes::new(probed),
            admitted_ever: 0,
        }
    }

    /// Takes a request of arm `arm`; what to answer at once, if it is not admitted.
    pub fn request(&mut self, arm: usize, request: InferenceRequest) -> Option<Refusal> {
        let admitted = self.admit(arm);
        let seat = self.seats.get_mut(arm)?;
        match admitted {
            Ok(()) => {
                seat.dispatcher.request(request);
                None
            }
            Err(why) => Some(seat.reject(&request, why)),
        }
    }

    /// Gives arm `arm` a place, if it has none and there is one.
    fn admit(&mut self, arm: usize) -> Result<(), Arc<str>> {
        let Some(seat) = self.seats.get(arm) else {
            return Ok(());
        };
        if seat.order().is_some() {
            return Ok(());
        }
        let mut loads = self.loads(self.times.upper());
        if !loads.is_empty() {
            let cost = self.times.upper();
            loads.push(Load {
                demand: seat.demand,
                cost,
            });
            if let Err(overload) = sustainable(&loads) {
                let why: Arc<str> = overload.to_string().into();
                if let Some(seat) = self.seats.get_mut(arm) {
                    seat.place = Place::Refused { why: why.clone() };
                }
                return Err(why);
            }
        }
        self.admitted_ever += 1;
        let order = self.admitted_ever;
        if let Some(seat) = self.seats.get_mut(arm) {
            seat.place = Place::Kept { order };
        }
        Ok(())
    }

    /// The arm host of arm `arm` is gone: so is what it asked, and its place is free.
    pub fn gone(&mut self, arm: usize) {
        if let Some(seat) = self.seats.get_mut(arm) {
            seat.place = Place::None;
            seat.dispatcher.withdraw();
        }
    }

    /// Whether any request waits.
    pub fn is_pending(&self) -> bool {
        self.seats.iter().any(|seat| seat.dispatcher.is_pending())
    }

    /// Whether a frame captured at `captured_at` may be part of what arm `arm` waits for.
    pub fn wants(&self, arm: usize, captured_at: Time) -> bool {
        let seat = self.seats.get(arm);
        seat.is_some_and(|seat| seat.dispatcher.wants(captured_at))
    }

    /// What has to be done at `now`, and for which arm: of what can start the one whose answer has to leave first, or a
    /// rejection of what could only be late. `assemblers`: one per arm.
    pub fn poll(&mut self, assemblers: &[Assembler], now: Time) -> Option<(usize, Job)> {
        if !self.is_pending() {
            return None;
        }
        // One arm is alone, and late is better than never: it knows its deadline itself.
        let done_by = (self.admitted() > 1).then(|| now + self.times.upper());
        let mut order: Vec<(Time, usize)> = Vec::with_capacity(self.seats.len());
        for (arm, seat) in self.seats.iter_mut().enumerate() {
            let Some(request) = seat.dispatcher.pending() else {
                continue;
            };
            let leave_by = seat.leave_by(request);
            let message: Arc<str> = match (&seat.place, done_by) {
                (Place::Refused { why }, _) => why.clone(),
                (_, Some(done_by)) if done_by > leave_by => late(done_by.since(leave_by)),
                _ => {
                    order.push((leave_by, arm));
                    continue;
                }
            };
            let request = seat.dispatcher.withdraw()?;
            return Some((arm, Job::Refuse(seat.reject(&request, message))));
        }
        order.sort_unstable();
        order.into_iter().find_map(|(_, arm)| {
            let dispatcher = &mut self.seats.get_mut(arm)?.dispatcher;
            let job = dispatcher.poll(assemblers.get(arm)?, now)?;
            Some((arm, job))
        })
    }

    /// An inference for `request` of arm `arm` ran from `started` to `finished`, and its chunk left.
    pub fn served(
        &mut self,
        arm: usize,
        request: &InferenceRequest,
        (started, finished): (Time, Time),
    ) {
        if let Some(seat) = self.seats.get_mut(arm) {
            let by = seat.leave_by(request).as_nanos();
            let left = i128::from(by) - i128::from(finished.as_nanos());
            seat.answered += 1;
            seat.late += u64::from(left < 0);
            seat.slacks
                .record(left.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
        }
        self.times.record(finished.since(started));
        self.put_off();
    }

    /// Puts off who was admitted last for as long as not even answers of median length leave time for all.
    fn put_off(&mut self) {
        while self.times.is_measured() && self.admitted() > 1 {
            let Err(overload) = sustainable(&self.loads(self.times.median())) else {
                return;
            };
            let Some(last) = self.seats.iter_mut().max_by_key(|seat| seat.order()) else {
                return;
            };
            last.place = Place::Refused {
                why: slower(&overload),
            };
        }
    }

    fn admitted(&self) -> usize {
        let kept = self.seats.iter().filter(|seat| seat.order().is_some());
        kept.count()
    }

    /// What the admitted arms are, were every answer to take `cost`.
    fn loads(&self, cost: Duration) -> Vec<Load> {
        let kept = self.seats.iter().filter(|seat| seat.order().is_some());
        kept.map(|seat| Load {
            demand: seat.demand,
            cost,
        })
        .collect()
    }

    /// How arm `arm` stands.
    pub fn standing(&self, arm: usize) -> Option<Standing> {
        let seat = self.seats.get(arm)?;
        let cost = self.times.upper();
        Some(Standing {
            arms: self.seats.len(),
            admitted_arms: self.admitted(),
            share: share(&self.loads(cost)),
            cost,
            admitted: seat.order().is_some(),
            refused_for: match &seat.place {
                Place::Refused { why } => Some(why.clone()),
                Place::None | Place::Kept { .. } => None,
            },
            answered: seat.answered,
            late: seat.late,
            rejected: seat.rejected,
            slack: seat.slacks.figures(),
        })
    }
}

fn late(by: Duration) -> Arc<str> {
    format!(
        "its answer would leave {:.0} ms after its time",
        1e3 * by.as_secs_f64()
    )
    .into()
}

fn slower(overload: &Overload) -> Arc<str> {
    format!("inference has become slower: {overload}").into()
}
