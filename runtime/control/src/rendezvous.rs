//! Engine side: the requests of two arms that one policy moves, answered together.
//!
//! ```text
//!   left  --request--> [newest] --+
//!                                 +-- both there --> one request --> one inference --> a chunk each
//!   right --request--> [newest] --+
//! ```
//! The newest request of each arm waits for one of the other, at most until its own deadline; one arm alone is never answered. The
//! request that both make is for an observation that is new enough for both, and is due when the later of the two is: who asked
//! earlier has a fresher answer to wait for than none. Two that ask for different tasks are refused at once.
//!
//! Decides which requests belong together. When the one of both is answered, and with what, is decided like any other's.

use std::sync::Arc;

use tactus_types::{Generation, InferenceRequest, Leftover, Refusal, RefusalReason, Time};

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Together {
    /// It waits for one of the other arm.
    Wait,
    /// Both are there: this is asked for.
    Ask(Box<InferenceRequest>),
    /// They do not belong together: what each arm is answered.
    Refuse([Refusal; 2]),
}

/// Whom an answer is for: a request of each arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Joined {
    /// [`InferenceRequest::id`] and [`InferenceRequest::generation`] of each.
    pub of: [(u64, Generation); 2],
}

/// The requests of two arms.
#[derive(Debug)]
pub struct Rendezvous {
    names: [Arc<str>; 2],
    waiting: [Option<InferenceRequest>; 2],
    /// What was asked for last, and for whom.
    joined: Option<(u64, Joined)>,
    next_id: u64,
}

impl Rendezvous {
    /// Of arms that have not asked yet.
    pub fn new(names: [Arc<str>; 2]) -> Self {
        Self {
            names,
            waiting: [None, None],
            joined: None,
            next_id: 1,
        }
    }

    /// Takes a request of arm `which` (0 or 1) at `now`; one that is older than the arm's newest is dropped.
    pub fn request(&mut self, which: usize, request: InferenceRequest, now: Time) -> Together {
        let Some(slot) = self.waiting.get_mut(which) else {
            return Together::Wait;
        };
        if let Some(old) = slot
            && old.generation.boot == request.generation.boot
            && old.id >= request.id
        {
            return Together::Wait;
        }
        *slot = Some(request);
        for slot in &mut self.waiting {
            slot.take_if(|request| now > request.deadline);
        }
        let [Some(first), Some(second)] = &self.waiting else {
            return Together::Wait;
        };
        let joined = Joined {
            of: [first, second].map(|request| (request.id, request.generation)),
        };
        if let Some(message) = self.at_odds(first, second) {
            self.waiting = [None, None];
            return Together::Refuse(joined.refused(&RefusalReason::Policy { message }));
        }
        let both = InferenceRequest {
            id: self.next_id,
            generation: together(first.generation, second.generation),
            instruction: first.instruction.clone(),
            observe_after: first.observe_after.max(second.observe_after),
            deadline: first.deadline.max(second.deadline),
            expected_delay: first.expected_delay.max(second.expected_delay),
            leftover: Leftover::none(),
            conditioning: first.conditioning,
            seed: first.seed,
        };
        self.joined = Some((self.next_id, joined));
        self.next_id += 1;
        Together::Ask(Box::new(both))
    }

    /// Why the two cannot be answered by one inference.
    fn at_odds(&self, first: &InferenceRequest, second: &InferenceRequest) -> Option<Arc<str>> {
        let [left, right] = &self.names;
        if first.instruction != second.instruction {
            return Some(
                format!(
                    "the arms of the pair are asked for different tasks: `{left}` for `{}`, `{right}` for `{}`",
                    first.instruction, second.instruction
                )
                .into(),
            );
        }
        (first.conditioning != second.conditioning)
            .then(|| format!("`{left}` and `{right}` ask for different conditioning").into())
    }

    /// Whom the answer to request `id` is for; their requests wait no more. `None` where newer ones have taken its place.
    pub fn answered(&mut self, id: u64) -> Option<Joined> {
        let (_, joined) = self.joined.take_if(|(last, _)| *last == id)?;
        for (slot, (id, generation)) in self.waiting.iter_mut().zip(joined.of) {
            slot.take_if(|request| (request.id, request.generation) == (id, generation));
        }
        Some(joined)
    }

    /// The arm host of arm `which` is gone, and so is what it asked.
    pub fn gone(&mut self, which: usize) {
        if let Some(slot) = self.waiting.get_mut(which) {
            *slot = None;
        }
    }
}

impl Joined {
    /// What each arm is told where there is no chunk.
    pub fn refused(&self, reason: &RefusalReason) -> [Refusal; 2] {
        self.of.map(|(request_id, generation)| Refusal {
            request_id,
            generation,
            reason: reason.clone(),
        })
    }
}

/// Another one whenever that of either arm is.
fn together(first: Generation, second: Generation) -> Generation {
    Generation {
        boot: first.boot.rotate_left(1) ^ second.boot,
        count: first.count.wrapping_add(second.count),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tactus_types::Conditioning;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn request(id: u64, observe_after: u64, deadline: u64) -> InferenceRequest {
        InferenceRequest {
            id,
            generation: Generation { boot: 1, count: 1 },
            instruction: "fold the towel".into(),
            observe_after: at(observe_after),
            deadline: at(deadline),
            expected_delay: Duration::ZERO,
            leftover: Leftover::none(),
            conditioning: Conditioning::None,
            seed: 0,
        }
    }

    fn rendezvous() -> Rendezvous {
        Rendezvous::new(["left".into(), "right".into()])
    }

    fn asked(together: Together) -> InferenceRequest {
        match together {
            Together::Ask(request) => *request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_arm_alone_waits_until_its_deadline_and_no_longer() {
        let mut r = rendezvous();
        assert_eq!(r.request(0, request(1, 0, 100), at(0)), Together::Wait);
        // The deadline of the left arm's has passed.
        assert_eq!(r.request(1, request(7, 90, 190), at(101)), Together::Wait);
        let both = asked(r.request(0, request(2, 120, 220), at(110)));
        assert_eq!((both.observe_after, both.deadline), (at(120), at(220)));
        let joined = r.answered(both.id).expect("theirs");
        assert_eq!(joined.of.map(|(id, _)| id), [2, 7]);
        assert_eq!(r.answered(both.id), None, "answered once");
        assert_eq!(r.request(1, request(8, 200, 300), at(150)), Together::Wait);
    }

    #[test]
    fn different_tasks_are_refused_to_both() {
        let mut r = rendezvous();
        r.request(0, request(1, 0, 100), at(0));
        let mut other = request(9, 0, 100);
        other.instruction = "wave".into();
        let Together::Refuse([left, right]) = r.request(1, other, at(1)) else {
            panic!("not refused")
        };
        assert_eq!((left.request_id, right.request_id), (1, 9));
        assert!(format!("{:?}", left.reason).contains("`right` for `wave`"));
        assert_eq!(r.request(0, request(2, 0, 100), at(2)), Together::Wait);
    }

    #[test]
    fn who_is_gone_asks_for_nothing() {
        let mut r = rendezvous();
        r.request(0, request(1, 0, 100), at(0));
        r.gone(0);
        assert_eq!(r.request(1, request(1, 0, 100), at(1)), Together::Wait);
    }

    proptest! {
        /// Arms that ask at any time, with any deadline, out of order too.
        #[test]
        fn whatever_is_asked_is_for_the_newest_of_both_that_is_not_over(
            asks in prop::collection::vec((0..2usize, 0..20u64, 0..50u64, 0..200u64, any::<bool>()), 1..60),
        ) {
            let mut r = rendezvous();
            let mut newest: [Option<InferenceRequest>; 2] = [None, None];
            let mut now = at(0);
            let mut last = 0;
            for (which, id, later, within, answers) in asks {
                now = now + Duration::from_millis(later);
                let own = request(id, now.as_nanos() / 1_000_000, now.as_nanos() / 1_000_000 + within);
                let counts = newest[which].as_ref().is_none_or(|old| old.id < id);
                let together = r.request(which, own.clone(), now);
                if counts {
                    newest[which] = Some(own);
                    for slot in &mut newest {
                        slot.take_if(|request| now > request.deadline);
                    }
                }
                let Together::Ask(both) = together else {
                    prop_assert!(!counts || newest.iter().any(Option::is_none));
                    continue;
                };
                let [Some(left), Some(right)] = &newest else {
                    return Err(TestCaseError::fail("one arm alone was answered"));
                };
                prop_assert!(both.id > last && both.deadline >= now);
                prop_assert!(both.observe_after == left.observe_after.max(right.observe_after));
                last = both.id;
                if answers {
                    let joined = r.answered(both.id).expect("theirs");
                    prop_assert_eq!(joined.of.map(|(id, _)| id), [left.id, right.id]);
                    newest = [None, None];
                }
            }
        }
    }
}
