//! Arm side: when to ask for the next chunk.
//!
//! A request is armed as soon as its trigger allows, for an observation captured after the last one's, so that the engine
//! starts on the very frame and no age is lost. Where the way is long, several are out at once: the trigger goes on
//! while answers travel, else a chunk could come only once per round trip and a horizon of twice the latency would run
//! dry. The engine still computes one at a time, and a newer request replaces one that waits there; so an answer settles
//! every older request. With one request out at a time, each is armed when the last was answered.
//!
//! Decides also how long an answer is expected to take, and when the engine counts as late. Does not send anything.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{Conditioning, Generation, InferenceRequest, Leftover, Time};

/// Answers that the expected delay is the longest of. The paper on real-time chunking keeps a queue of this size
/// (arXiv 2506.07339, section 5: b = 10); a single slow answer is forgotten after as many quick ones.
const DELAYS: usize = 10;

/// Requests that may be out at once.
pub(crate) const MOST_OUT: usize = 8;

/// When the next chunk is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trigger {
    /// As soon as the last was answered, for the next frame.
    Continuous,
    /// With at least this time between the observations of two chunks.
    Rate {
        /// Least time between two observations.
        every: Duration,
    },
    /// As soon as the plan in force lasts no longer than this.
    Queue {
        /// Time left in the plan.
        below: Duration,
    },
}

/// How chunks are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RequestSpec {
    /// When.
    pub trigger: Trigger,
    /// From the instant an observation may be captured to the deadline of the answer.
    pub answer_within: Duration,
    /// After a refusal: least time until the next request.
    pub retry_after: Duration,
    /// Whether requests may be sent while others are out. A policy that is told what plays meanwhile must not: it
    /// would be told of a plan that another chunk replaces before its own arrives.
    pub overlap: bool,
}

/// A request that is out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Out {
    id: u64,
    sent_at: Time,
    observe_after: Time,
}

/// Keeps the requests that are out, oldest first, and when the next is due.
#[derive(Debug)]
pub struct Requester {
    spec: RequestSpec,
    next_id: u64,
    out: [Out; MOST_OUT],
    out_len: usize,
    /// When the last answer came.
    answered_at: Time,
    observe_after: Time,
    not_before: Time,
    seed: u64,
    /// Observation to chunk, of the last answers.
    delays: [Duration; DELAYS],
    answers: usize,
}

impl Requester {
    /// A requester that has asked for nothing.
    pub fn new(spec: RequestSpec) -> Self {
        Self {
            spec,
            next_id: 1,
            out: [Out::default(); MOST_OUT],
            out_len: 0,
            answered_at: Time::ZERO,
            observe_after: Time::ZERO,
            not_before: Time::ZERO,
            seed: 0,
            delays: [Duration::ZERO; DELAYS],
            answers: 0,
        }
    }

    /// How long after `observed_at` the next chunk is expected to take over: the longest of the last answers; before
    /// the first, half of the time that an answer may take.
    pub fn expected_delay(&self) -> Duration {
        let longest = self.delays.iter().take(self.answers).max();
        longest.copied().unwrap_or(self.spec.answer_within / 2)
    }

    /// Forgets the requests that are out and asks for a fresh observation: captured at or after `now`.
    pub fn restart(&mut self, now: Time, seed: u64) {
        self.out_len = 0;
        self.observe_after = now;
        self.not_before = now;
        self.seed = seed;
    }

    fn out(&self) -> &[Out] {
        self.out.get(..self.out_len).unwrap_or_default()
    }

    /// The request to send at `now`, if one is due; `lasts` is the time left in the plan in force. Nothing is left over
    /// in it: the scheduler knows that.
    pub fn poll(
        &mut self,
        generation: Generation,
        instruction: &Arc<str>,
        lasts: Duration,
        now: Time,
    ) -> Option<InferenceRequest> {
        if now < self.not_before {
            return None;
        }
        let observe_after = match (self.out().last(), self.spec.trigger) {
            (None, _) => self.observe_after,
            (Some(last), Trigger::Rate { every }) if self.spec.overlap => {
                let next = last.observe_after + every;
                if now < next {
                    return None;
                }
                next
            }
            (Some(_), _) => return None,
        };
        if let Trigger::Queue { below } = self.spec.trigger
            && lasts > below
        {
            return None;
        }
        let id = self.next_id;
        let slot = self.out.get_mut(self.out_len)?;
        *slot = Out {
            id,
            sent_at: now,
            observe_after,
        };
        self.out_len += 1;
        self.next_id += 1;
        Some(InferenceRequest {
            id,
            generation,
            instruction: instruction.clone(),
            observe_after,
            deadline: now.max(observe_after) + self.spec.answer_within,
            expected_delay: self.expected_delay(),
            leftover: Leftover::none(),
            conditioning: Conditioning::None,
            seed: self.seed.wrapping_add(id),
        })
    }

    /// Takes request `id` and every older one off the list. False when `id` is not on it.
    fn settle(&mut self, id: u64) -> bool {
        let Some(at) = self.out().iter().position(|out| out.id == id) else {
            return false;
        };
        self.out.copy_within(at + 1..self.out_len, 0);
        self.out_len -= at + 1;
        true
    }

    /// A chunk, observed at `observed_at`, answered request `id` at `now`.
    pub fn answered(&mut self, id: u64, observed_at: Time, now: Time) {
        if self.settle(id) {
            self.answered_at = now;
            let slot = self.answers % DELAYS;
            if let Some(delay) = self.delays.get_mut(slot) {
                *delay = now.since(observed_at);
            }
            // Counts on round the ring without ever falling below its size again.
            self.answers = if self.answers + 1 == 2 * DELAYS {
                DELAYS
            } else {
                self.answers + 1
            };
        }
        let apart = match self.spec.trigger {
            Trigger::Rate { every } => every,
            // Any newer frame will do.
            Trigger::Continuous | Trigger::Queue { .. } => Duration::from_nanos(1),
        };
        self.observe_after = self.observe_after.max(observed_at + apart);
    }

    /// The engine refused request `id` at `now`, or its deadline passed: asks again for a fresh observation, not at once.
    pub fn failed(&mut self, id: u64, now: Time) {
        if self.settle(id) {
            self.observe_after = now;
            self.not_before = now + self.spec.retry_after;
        }
    }

    /// How long the oldest request that is out has waited, when nothing was answered within the time that it may take;
    /// and the id of the newest, all of which have failed then.
    ///
    /// Counts from the later of the instant its frames may exist and the last answer: a request that waits behind
    /// another for a busy engine is not late.
    pub fn overdue(&self, now: Time) -> Option<(u64, Duration)> {
        let (oldest, newest) = (self.out().first()?, self.out().last()?);
        let begun = oldest
            .sent_at
            .max(oldest.observe_after)
            .max(self.answered_at);
        let late = now > begun + self.spec.answer_within;
        late.then(|| (newest.id, now.since(oldest.sent_at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requester() -> Requester {
        Requester::new(RequestSpec {
            trigger: Trigger::Rate {
                every: Duration::from_millis(100),
            },
            answer_within: Duration::from_millis(200),
            retry_after: Duration::from_millis(50),
            overlap: true,
        })
    }

    const LASTS: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn one_request_is_out_and_the_next_is_armed_ahead_of_its_frame() {
        let (mut r, g, text) = (requester(), Generation::default(), Arc::from("pick"));
        r.restart(at(10), 7);
        let first = r.poll(g, &text, LASTS, at(10)).expect("due");
        assert_eq!(first.observe_after, at(10));
        assert_eq!(r.poll(g, &text, LASTS, at(20)), None, "one out at a time");
        r.answered(first.id, at(15), at(38));
        let second = r.poll(g, &text, LASTS, at(40)).expect("armed at once");
        assert_eq!(second.observe_after, at(115));
        assert_eq!(second.deadline, at(315));
        assert_ne!(first.seed, second.seed);
    }

    #[test]
    fn overdue_counts_from_the_instant_a_frame_may_exist() {
        let (mut r, g, text) = (requester(), Generation::default(), Arc::from("pick"));
        r.restart(at(0), 0);
        let id = r.poll(g, &text, LASTS, at(0)).expect("due").id;
        assert_eq!(r.overdue(at(200)), None);
        assert_eq!(r.overdue(at(201)), Some((id, Duration::from_millis(201))));
        r.failed(id, at(201));
        assert_eq!(r.poll(g, &text, LASTS, at(250)), None);
        assert_eq!(
            r.poll(g, &text, LASTS, at(251)).map(|q| q.observe_after),
            Some(at(201))
        );
    }

    #[test]
    fn a_long_way_does_not_slow_the_beat_and_an_answer_settles_the_older_requests() {
        let (mut r, g, text) = (requester(), Generation::default(), Arc::from("pick"));
        r.restart(at(0), 0);
        let mut sent = Vec::new();
        for millis in 0..=350 {
            let request = r.poll(g, &text, LASTS, at(millis));
            sent.extend(request.map(|q| (millis, q.id, q.observe_after)));
            assert_eq!(r.overdue(at(millis)).is_some(), millis > 200, "{millis} ms");
        }
        let beat = [
            (0, 1, at(0)),
            (100, 2, at(100)),
            (200, 3, at(200)),
            (300, 4, at(300)),
        ];
        assert_eq!(sent, beat);
        // The second answer settles the first request too; the third has waited since then.
        r.answered(2, at(110), at(350));
        assert_eq!(r.overdue(at(550)), None);
        assert_eq!(r.overdue(at(551)), Some((4, Duration::from_millis(351))));
        r.failed(4, at(551));
        assert_eq!(r.poll(g, &text, LASTS, at(600)), None, "not at once");
        assert!(r.poll(g, &text, LASTS, at(601)).is_some());
    }

    #[test]
    fn without_overlap_one_request_is_out_however_long_it_takes() {
        let (mut r, g, text) = (requester(), Generation::default(), Arc::from("pick"));
        r.spec.overlap = false;
        r.restart(at(0), 0);
        let sent = (0..1000).filter_map(|ms| r.poll(g, &text, LASTS, at(ms)));
        assert_eq!(sent.count(), 1);
    }

    #[test]
    fn the_expected_delay_is_the_longest_of_the_last_answers_and_forgets() {
        let (mut r, g, text) = (requester(), Generation::default(), Arc::from("pick"));
        assert_eq!(r.expected_delay(), Duration::from_millis(100));
        let mut now = 0;
        let mut answer = |r: &mut Requester, millis: u64| {
            now += 200;
            let id = r.poll(g, &text, LASTS, at(now)).expect("due").id;
            r.answered(id, at(now), at(now + millis));
            r.expected_delay()
        };
        assert_eq!(answer(&mut r, 70), Duration::from_millis(70));
        assert_eq!(answer(&mut r, 180), Duration::from_millis(180));
        for _ in 0..9 {
            assert_eq!(answer(&mut r, 60), Duration::from_millis(180));
        }
        for _ in 0..30 {
            assert_eq!(answer(&mut r, 60), Duration::from_millis(60));
        }
    }

    #[test]
    fn a_queue_trigger_asks_when_the_plan_runs_low_and_a_continuous_one_at_once() {
        let (g, text) = (Generation::default(), Arc::from("pick"));
        let with = |trigger| {
            Requester::new(RequestSpec {
                trigger,
                answer_within: Duration::from_millis(200),
                retry_after: Duration::from_millis(50),
                overlap: true,
            })
        };
        let mut queue = with(Trigger::Queue {
            below: Duration::from_millis(300),
        });
        assert_eq!(
            queue.poll(g, &text, Duration::from_millis(301), at(0)),
            None
        );
        let asked = queue.poll(g, &text, Duration::from_millis(300), at(0));
        assert!(asked.is_some());
        let mut continuous = with(Trigger::Continuous);
        let first = continuous.poll(g, &text, LASTS, at(0)).expect("due").id;
        continuous.answered(first, at(5), at(60));
        let next = continuous.poll(g, &text, LASTS, at(60)).expect("due");
        assert_eq!(
            next.observe_after,
            at(5) + Duration::from_nanos(1),
            "a newer frame"
        );
    }
}
