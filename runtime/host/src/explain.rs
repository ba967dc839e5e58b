//! Words beside the policy: a thread of its own that lets a language model explain what the policy sees, at a low rate.
//!
//! Decides when it may take a step: never while a request waits or is answered, and not when the next one is expected
//! before the step would be over. The control path only sets flags and never waits for this thread: what it hands over it
//! leaves in a slot that it skips when it is taken. The thread asks to run when nobody else wants to (`SCHED_IDLE`), and
//! publishes through another of ordinary priority, since whoever publishes holds locks of the network.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tactus_types::{Clock, Explain, Observation, Thought, Time};
use tactus_wire::{MAX_REASONING_BYTES, Publisher, Reasoning};

use crate::realtime;

/// How often it looks whether it is its turn.
const LOOK: Duration = Duration::from_millis(1);
/// Least time between two messages of one talk.
const SAY_EVERY: Duration = Duration::from_millis(50);
/// A talk that has had no turn for this long is given up: what it is about is long past.
const GIVE_UP: Duration = Duration::from_secs(20);
/// Without a turn for this long, what a step takes is taken for half of it.
const DOUBT: Duration = Duration::from_millis(500);
/// None, as a number of nanoseconds.
const NEVER: u64 = u64::MAX;

/// What explains, and how often.
pub struct Explaining {
    /// The language model.
    pub explainer: Box<dyn Explain>,
    /// Least time between the beginnings of two talks.
    pub every: Duration,
}

/// What is seen when an explanation begins.
type Seen = (Observation, Arc<str>);

/// Whose turn it is. Written by the inference thread without waiting, read by the explaining one.
#[derive(Debug)]
pub struct Turn {
    /// A request waits or is being answered.
    due: AtomicBool,
    /// When the next request is expected, ns of the cell's clock.
    expected: AtomicU64,
    /// An observation is wanted.
    wanted: AtomicBool,
    slot: Mutex<Option<Seen>>,
    over: AtomicBool,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            due: AtomicBool::new(false),
            expected: AtomicU64::new(NEVER),
            wanted: AtomicBool::new(false),
            slot: Mutex::new(None),
            over: AtomicBool::new(false),
        }
    }
}

impl Turn {
    /// Whether a control inference is due; `expected`: when the next request is.
    pub fn set(&self, due: bool, expected: Option<Time>) {
        let nanos = expected.map_or(NEVER, Time::as_nanos);
        self.expected.store(nanos, Ordering::Relaxed);
        self.due.store(due, Ordering::Release);
    }

    /// Leaves what the policy is about to see, if somebody wants it and nobody holds the slot. Never waits.
    pub fn see(&self, observation: &Observation, instruction: &Arc<str>) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        if let Ok(mut slot) = self.slot.try_lock() {
            *slot = Some((observation.clone(), Arc::clone(instruction)));
            self.wanted.store(false, Ordering::Relaxed);
        }
    }

    /// Ends the explanations.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn take(&self) -> Option<Seen> {
        let slot = self.slot.try_lock();
        slot.ok().and_then(|mut slot| slot.take())
    }

    fn may_step(&self, now: Time, step: Duration) -> bool {
        let expected = match self.expected.load(Ordering::Relaxed) {
            NEVER => None,
            nanos => Some(Time::from_nanos(nanos)),
        };
        !self.due.load(Ordering::Acquire) && fits(now, step, expected)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Whether a step of `step` that begins at `now` is over before the request that is expected at `expected`. A request that
/// did not come when it was expected is not waited for any longer than a step takes.
pub fn fits(now: Time, step: Duration, expected: Option<Time>) -> bool {
    expected.is_none_or(|at| now + step <= at || now > at + step)
}

/// What a step takes when nobody interrupts it, after one that took `took`: falls at once and rises slowly, since a thread that
/// gives way is often interrupted, and that is time that the others had.
pub fn settle(step: Duration, took: Duration) -> Duration {
    match step.is_zero() || took < step {
        true => took,
        false => step + (took.min(4 * step) - step) / 8,
    }
}

/// When requests come: regularly, as long as a policy runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pace {
    last: Option<Time>,
    interval: Option<Duration>,
}

impl Pace {
    /// Takes a request that came at `now`.
    pub fn request(&mut self, now: Time) {
        if let Some(last) = self.last {
            let interval = now.since(last);
            // The shortest lately: to expect a request too early costs words, too late costs time of the policy.
            let kept = self
                .interval
                .map_or(interval, |known| interval.min(known + known / 8));
            self.interval = Some(kept);
        }
        self.last = Some(now);
    }

    /// When the next is expected.
    pub fn expected(&self) -> Option<Time> {
        Some(self.last? + self.interval?)
    }
}

/// The newest of a talk, on its way out.
#[derive(Debug, Default)]
pub struct Outbox {
    slot: Mutex<Option<Reasoning>>,
}

impl Outbox {
    fn put(&self, said: Reasoning) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }

    /// Publishes what is left here until `turn` is over.
    pub fn send(&self, publisher: &Publisher<Reasoning>, turn: &Turn) {
        while !turn.is_over() {
            let said = self
                .slot
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(said) = said
                && let Err(e) = publisher.put(&said)
            {
                tracing::debug!("reasoning not sent: {e}");
            }
            std::thread::sleep(SAY_EVERY);
        }
    }
}

/// Explains what is seen until `turn` is over. Runs on the calling thread, which gives way to all others.
pub fn explain(explaining: Explaining, turn: &Turn, outbox: &Outbox, clock: &dyn Clock) {
    if let Err(e) = realtime::give_way() {
        tracing::warn!("explanations run beside the policy at ordinary priority: {e}");
    }
    let Explaining {
        mut explainer,
        every,
    } = explaining;
    let mut talks = Talks {
        explainer: explainer.as_mut(),
        turn,
        outbox,
        clock,
        step: Duration::ZERO,
        talk: 0,
    };
    while !turn.is_over() {
        let begun = clock.now();
        turn.wanted.store(true, Ordering::Relaxed);
        let seen = loop {
            match turn.take() {
                Some(seen) => break Some(seen),
                None if turn.is_over() => break None,
                None => std::thread::sleep(5 * LOOK),
            }
        };
        let Some((observation, instruction)) = seen else {
            return;
        };
        talks.run(&observation, &instruction);
        while !turn.is_over() && clock.now().since(begun) < every {
            std::thread::sleep((every - clock.now().since(begun).min(every)).min(20 * LOOK));
        }
    }
}

struct Talks<'a> {
    explainer: &'a mut dyn Explain,
    turn: &'a Turn,
    outbox: &'a Outbox,
    clock: &'a dyn Clock,
    /// What a step takes.
    step: Duration,
    talk: u64,
}

impl Talks<'_> {
    /// Waits for a turn; whether there was one. What a step takes is believed less the longer none fits: one that was slow
    /// by chance, on a thread that gives way, must not be the last.
    fn wait(&mut self) -> bool {
        let since = self.clock.now();
        let mut doubted = since;
        loop {
            let now = self.clock.now();
            if self.turn.is_over() || now.since(since) > GIVE_UP {
                return false;
            }
            if self.turn.may_step(now, self.step) {
                return true;
            }
            if now.since(doubted) > DOUBT {
                (doubted, self.step) = (now, self.step / 2);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// One talk, from the first look to the last word.
    fn run(&mut self, observation: &Observation, instruction: &Arc<str>) {
        self.talk += 1;
        let begun = self.clock.now();
        let mut said = Reasoning {
            talk: self.talk,
            observed_at: observation.observed_at,
            instruction: Arc::clone(instruction),
            text: "".into(),
            tokens: 0,
            finish: None,
            elapsed: Duration::ZERO,
        };
        let mut text = String::new();
        let finish = self.steps(observation, instruction, (&mut said, &mut text), begun);
        said.finish = Some(finish.into());
        said.text = text.into();
        said.elapsed = self.clock.now().since(begun);
        self.outbox.put(said);
    }

    fn steps(
        &mut self,
        observation: &Observation,
        instruction: &Arc<str>,
        (said, text): (&mut Reasoning, &mut String),
        begun: Time,
    ) -> String {
        let failed = |e: tactus_types::PolicyError| {
            tracing::warn!("no explanation: {e}");
            format!("failed: {e}").chars().take(200).collect::<String>()
        };
        if !self.wait() {
            return "given up".into();
        }
        if let Err(e) = self.explainer.begin(observation, instruction) {
            return failed(e);
        }
        let mut published = begun;
        loop {
            if !self.wait() {
                return "given up".into();
            }
            let started = self.clock.now();
            let thought = self.explainer.step(started.since(begun));
            let now = self.clock.now();
            self.step = settle(self.step, now.since(started));
            match thought {
                Ok(Thought::Reading) => {}
                Ok(Thought::Said(piece)) => {
                    said.tokens += 1;
                    if text.len() + piece.len() > MAX_REASONING_BYTES {
                        return "length".into();
                    }
                    text.push_str(&piece);
                    if now.since(published) >= SAY_EVERY {
                        published = now;
                        said.text = text.as_str().into();
                        said.elapsed = now.since(begun);
                        self.outbox.put(said.clone());
                    }
                }
                Ok(Thought::Done(finish)) => return finish.into(),
                Err(e) => return failed(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Time = Time::from_millis;

    #[test]
    fn a_step_is_not_begun_that_would_not_be_over_in_time() {
        let step = Duration::from_millis(10);
        assert!(fits(MS(0), step, None));
        assert!(fits(MS(90), step, Some(MS(100))));
        assert!(!fits(MS(91), step, Some(MS(100))));
        assert!(!fits(MS(105), step, Some(MS(100))));
        assert!(fits(MS(111), step, Some(MS(100))));
    }

    #[test]
    fn requests_are_expected_as_soon_as_they_came_lately() {
        let mut pace = Pace::default();
        assert_eq!(pace.expected(), None);
        for at in [0, 100, 200, 260] {
            pace.request(MS(at));
        }
        assert_eq!(pace.expected(), Some(MS(320)));
        // One late request does not make all the others late.
        pace.request(MS(1000));
        assert!(pace.expected() < Some(MS(1070)));
    }

    #[test]
    fn an_interrupted_step_is_not_taken_for_a_long_one_but_long_ones_are() {
        let ms = Duration::from_millis;
        assert_eq!(settle(Duration::ZERO, ms(80)), ms(80));
        assert_eq!(settle(ms(80), ms(1)), ms(1));
        assert!(settle(ms(1), ms(500)) < ms(2));
        let mut step = ms(1);
        for _ in 0..40 {
            step = settle(step, ms(20));
        }
        assert!(step > ms(15), "{step:?}");
    }

    #[test]
    fn a_waiting_request_keeps_every_step_back() {
        let turn = Turn::default();
        assert!(turn.may_step(MS(0), Duration::ZERO));
        turn.set(true, None);
        assert!(!turn.may_step(MS(0), Duration::ZERO));
        turn.set(false, Some(MS(5)));
        assert!(!turn.may_step(MS(0), Duration::from_millis(6)));
        assert!(turn.may_step(MS(0), Duration::from_millis(5)));
    }

    #[test]
    fn what_is_seen_is_left_only_where_it_is_wanted_and_never_waited_for() {
        let turn = Turn::default();
        let observation = Observation {
            observed_at: MS(1),
            frames: vec![],
            state: state(),
        };
        let words: Arc<str> = "lift it".into();
        turn.see(&observation, &words);
        assert!(turn.take().is_none());
        turn.wanted.store(true, Ordering::Relaxed);
        let held = turn.slot.lock();
        turn.see(&observation, &words);
        drop(held);
        assert!(turn.take().is_none());
        turn.see(&observation, &words);
        assert_eq!(turn.take().map(|(seen, _)| seen.observed_at), Some(MS(1)));
        assert!(!turn.wanted.load(Ordering::Relaxed));
    }

    fn state() -> tactus_types::JointState {
        let zero = tactus_types::JointVec::zeros(1);
        tactus_types::JointState {
            captured_at: MS(1),
            seq: 0,
            epoch: 0,
            q: zero,
            dq: zero,
            opening: 0.0,
            torque: true,
        }
    }
}
