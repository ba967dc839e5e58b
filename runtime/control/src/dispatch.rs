//! Engine side: which request is answered, when, and with what.
//!
//! One request waits at a time; a newer one replaces it. It becomes a job as soon as an observation captured after
//! `observe_after` can be assembled, or a refusal as soon as its streams are unfit. The caller runs one job at a time,
//! so at most one inference is in flight. Does not run anything and reads no clock.

use tactus_types::{InferenceRequest, Observation, Refusal, RefusalReason, Time};

use crate::assemble::{Assembled, Assembler};

/// What the inference thread has to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Job {
    /// Run the policy on this observation.
    Infer {
        /// The request being answered.
        request: InferenceRequest,
        /// What the policy sees.
        observation: Observation,
        /// When the newest frame of the observation reached this process.
        received_at: Time,
    },
    /// Answer without a chunk.
    Refuse(Refusal),
}

/// Holds the pending request.
#[derive(Debug, Default)]
pub struct Dispatcher {
    pending: Option<InferenceRequest>,
    /// Requests that were replaced before they were answered.
    replaced: u64,
}

impl Dispatcher {
    /// A dispatcher without a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a request; a pending one with a lower id is replaced, an older one is dropped.
    pub fn request(&mut self, request: InferenceRequest) {
        if let Some(old) = &self.pending {
            let same_boot = old.generation.boot == request.generation.boot;
            if same_boot && old.id >= request.id {
                return;
            }
            self.replaced += 1;
        }
        self.pending = Some(request);
    }

    /// Requests replaced before they were answered.
    pub fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Whether a request waits.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// The request that waits.
    pub fn pending(&self) -> Option<&InferenceRequest> {
        self.pending.as_ref()
    }

    /// Takes the request that waits; it will not be answered from here.
    pub fn withdraw(&mut self) -> Option<InferenceRequest> {
        self.pending.take()
    }

    /// Whether a frame captured at `captured_at` may be part of the observation that the pending request waits for.
    pub fn wants(&self, captured_at: Time) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|r| captured_at >= r.observe_after)
    }

    /// The job that can start at `now`, if any. A request whose deadline has passed is dropped: its answer is useless.
    ///
    /// A stream that has never delivered is waited for until the deadline; a stale one is refused at once.
    pub fn poll(&mut self, assembler: &Assembler, now: Time) -> Option<Job> {
        let request = self.pending.as_ref()?;
        let late = now > request.deadline;
        let refusal = |reason| {
            let InferenceRequest { id, generation, .. } = *request;
            Some(Job::Refuse(Refusal {
                request_id: id,
                generation,
                reason,
            }))
        };
        let job = match assembler.assemble(now, request.observe_after) {
            Assembled::Unfit(reason @ RefusalReason::Missing { .. }) if late => refusal(reason),
            Assembled::Unfit(RefusalReason::Missing { .. }) => return None,
            Assembled::Unfit(reason) => refusal(reason),
            _ if late => {
                self.pending = None;
                return None;
            }
            Assembled::NotYet => return None,
            Assembled::Ready {
                observation,
                received_at,
            } => Some(Job::Infer {
                request: self.pending.take()?,
                observation,
                received_at,
            }),
        };
        self.pending = None;
        job
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::AssemblySpec;
    use std::time::Duration;
    use tactus_types::{Conditioning, Generation, JointState, JointVec, Leftover};

    fn request(id: u64, observe_after: u64, deadline: u64) -> InferenceRequest {
        InferenceRequest {
            id,
            generation: Generation { boot: 1, count: 1 },
            instruction: "pick up the red cube".into(),
            observe_after: Time::from_millis(observe_after),
            deadline: Time::from_millis(deadline),
            expected_delay: Duration::ZERO,
            leftover: Leftover::none(),
            conditioning: Conditioning::None,
            seed: 0,
        }
    }

    /// An assembler without cameras: its observations are joint states alone.
    fn assembler(state_at: Option<u64>) -> Assembler {
        let mut a = Assembler::new(AssemblySpec {
            cameras: vec![],
            frame_limit: Duration::from_millis(150),
            proprio_limit: Duration::from_millis(20),
            max_skew: Duration::from_millis(25),
        });
        if let Some(millis) = state_at {
            a.state(JointState {
                captured_at: Time::from_millis(millis),
                seq: 0,
                epoch: 0,
                q: JointVec::zeros(1),
                dq: JointVec::zeros(1),
                opening: 0.0,
                torque: true,
            });
        }
        a
    }

    #[test]
    fn a_request_waits_for_an_observation_that_is_new_enough() {
        let mut d = Dispatcher::new();
        d.request(request(1, 10, 100));
        assert_eq!(d.poll(&assembler(Some(9)), Time::from_millis(10)), None);
        let job = d.poll(&assembler(Some(10)), Time::from_millis(11));
        assert!(matches!(job, Some(Job::Infer { request, .. }) if request.id == 1));
        assert_eq!(
            d.poll(&assembler(Some(10)), Time::from_millis(11)),
            None,
            "answered once"
        );
    }

    #[test]
    fn a_newer_request_replaces_the_pending_one_and_an_older_one_does_not() {
        let mut d = Dispatcher::new();
        d.request(request(2, 0, 100));
        d.request(request(1, 0, 100));
        d.request(request(3, 0, 100));
        assert_eq!(d.replaced(), 1);
        let job = d.poll(&assembler(Some(1)), Time::from_millis(2));
        assert!(matches!(job, Some(Job::Infer { request, .. }) if request.id == 3));
    }

    #[test]
    fn stale_is_refused_at_once_missing_at_the_deadline() {
        let mut d = Dispatcher::new();
        d.request(request(1, 0, 100));
        let job = d.poll(&assembler(Some(1)), Time::from_millis(50));
        assert!(matches!(
            job,
            Some(Job::Refuse(Refusal {
                reason: RefusalReason::Stale { .. },
                ..
            }))
        ));
        d.request(request(2, 0, 100));
        assert_eq!(d.poll(&assembler(None), Time::from_millis(99)), None);
        let job = d.poll(&assembler(None), Time::from_millis(101));
        assert!(matches!(
            job,
            Some(Job::Refuse(Refusal {
                reason: RefusalReason::Missing { .. },
                ..
            }))
        ));
    }

    #[test]
    fn a_request_past_its_deadline_is_not_run() {
        let mut d = Dispatcher::new();
        d.request(request(1, 0, 10));
        assert_eq!(d.poll(&assembler(Some(11)), Time::from_millis(11)), None);
        assert!(!d.is_pending());
    }
}
