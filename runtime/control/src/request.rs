//! Arm side: when to ask for the next chunk.
//!
//! One request is out at a time. The next is armed as soon as the last was answered, for an observation captured at
//! least one trigger period after the last one's, so that the engine starts on the very frame and no age is lost.
//! Decides also when the engine counts as late. Does not send anything.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{Generation, InferenceRequest, Time};

/// How chunks are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestSpec {
    /// Least time between the observations of two chunks.
    pub trigger_period: Duration,
    /// From the instant an observation may be captured to the deadline of the answer.
    pub answer_within: Duration,
    /// After a refusal: least time until the next request.
    pub retry_after: Duration,
}

/// The request that is out.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Out {
    id: u64,
    sent_at: Time,
    deadline: Time,
}

/// Keeps the request that is out and when the next is due.
#[derive(Debug)]
pub struct Requester {
    spec: RequestSpec,
    next_id: u64,
    out: Option<Out>,
    observe_after: Time,
    not_before: Time,
    seed: u64,
}

impl Requester {
    /// A requester that has asked for nothing.
    pub fn new(spec: RequestSpec) -> Self {
        Self {
            spec,
            next_id: 1,
            out: None,
            observe_after: Time::ZERO,
            not_before: Time::ZERO,
            seed: 0,
        }
    }

    /// Forgets the request that is out and asks for a fresh observation: captured at or after `now`.
    pub fn restart(&mut self, now: Time, seed: u64) {
        self.out = None;
        self.observe_after = now;
        self.not_before = now;
        self.seed = seed;
    }

    /// The request to send at `now`, if one is due.
    pub fn poll(
        &mut self,
        generation: Generation,
        instruction: &Arc<str>,
        now: Time,
    ) -> Option<InferenceRequest> {
        if self.out.is_some() || now < self.not_before {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        let deadline = now.max(self.observe_after) + self.spec.answer_within;
        self.out = Some(Out {
            id,
            sent_at: now,
            deadline,
        });
        Some(InferenceRequest {
            id,
            generation,
            instruction: instruction.clone(),
            observe_after: self.observe_after,
            deadline,
            expected_delay: self.spec.answer_within / 2,
            prefix: Vec::new(),
            seed: self.seed.wrapping_add(id),
        })
    }

    /// A chunk answered request `id`, observed at `observed_at`.
    pub fn answered(&mut self, id: u64, observed_at: Time) {
        if self.out.is_some_and(|out| out.id == id) {
            self.out = None;
        }
        self.observe_after = self
            .observe_after
            .max(observed_at + self.spec.trigger_period);
    }

    /// The engine refused request `id` at `now`, or its deadline passed: asks again for a fresh observation, not at once.
    pub fn failed(&mut self, id: u64, now: Time) {
        if self.out.is_some_and(|out| out.id == id) {
            self.out = None;
            self.observe_after = now;
            self.not_before = now + self.spec.retry_after;
        }
    }

    /// How long the request that is out has waited, when its deadline has passed at `now`; and its id.
    pub fn overdue(&self, now: Time) -> Option<(u64, Duration)> {
        self.out
            .filter(|out| now > out.deadline)
            .map(|out| (out.id, now.since(out.sent_at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requester() -> Requester {
        Requester::new(RequestSpec {
            trigger_period: Duration::from_millis(100),
            answer_within: Duration::from_millis(200),
            retry_after: Duration::from_millis(50),
        })
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn one_request_is_out_and_the_next_is_armed_ahead_of_its_frame() {
        let (mut r, g, text) = (requester(), Generation::default(), Arc::from("pick"));
        r.restart(at(10), 7);
        let first = r.poll(g, &text, at(10)).expect("due");
        assert_eq!(first.observe_after, at(10));
        assert_eq!(r.poll(g, &text, at(20)), None, "one out at a time");
        r.answered(first.id, at(15));
        let second = r.poll(g, &text, at(40)).expect("armed at once");
        assert_eq!(second.observe_after, at(115));
        assert_eq!(second.deadline, at(315));
        assert_ne!(first.seed, second.seed);
    }

    #[test]
    fn overdue_counts_from_the_instant_a_frame_may_exist() {
        let (mut r, g, text) = (requester(), Generation::default(), Arc::from("pick"));
        r.restart(at(0), 0);
        let id = r.poll(g, &text, at(0)).expect("due").id;
        assert_eq!(r.overdue(at(200)), None);
        assert_eq!(r.overdue(at(201)), Some((id, Duration::from_millis(201))));
        r.failed(id, at(201));
        assert_eq!(r.poll(g, &text, at(250)), None);
        assert_eq!(
            r.poll(g, &text, at(251)).map(|q| q.observe_after),
            Some(at(201))
        );
    }
}
