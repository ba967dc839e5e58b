//! How a camera is, by what came when: drops, frozen pictures, silence, and when a lost one is tried again.
//!
//! Functions of (state, now); no clock, no IO.

use std::sync::Arc;
use std::time::Duration;

use tactus_drivers_api::wire::{CameraStatus, CaptureClock};
use tactus_types::Time;

/// First pause before a lost camera is tried again; doubles up to [`LONGEST_PAUSE`].
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause before a lost camera is tried again.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A picture that has been frozen for so long is reason enough to open the camera again.
pub const REOPEN_AFTER: Duration = Duration::from_secs(3);
/// Over how long a rate is measured.
const RATE_OVER: Duration = Duration::from_secs(1);

/// Drops, by the driver's numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gaps {
    last: Option<u32>,
}

impl Gaps {
    /// How many frames lie between the last one and `number`. Numbers wrap around; one that goes back is a new count.
    pub fn missed(&mut self, number: u32) -> u64 {
        let missed = match self.last {
            Some(last) => number.wrapping_sub(last.wrapping_add(1)),
            None => 0,
        };
        self.last = Some(number);
        if missed > u32::MAX / 2 {
            return 0;
        }
        u64::from(missed)
    }
}

/// Drops of a source without numbers, by its pace: an estimate, which takes a camera that is slower than its rate for one
/// that drops.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    period: Duration,
    last: Option<Time>,
}

impl Pace {
    /// For frames `period` apart.
    pub fn new(period: Duration) -> Self {
        Self { period, last: None }
    }

    /// How many frames should have come between the last one and that of `at`. A frame may be three quarters of a period
    /// late before one counts as missing.
    pub fn missed(&mut self, at: Time) -> u64 {
        let missed = match self.last {
            Some(last) => {
                let periods = at.since(last).as_secs_f64() / self.period.as_secs_f64();
                ((periods + 0.25) as u64).saturating_sub(1)
            }
            None => 0,
        };
        self.last = Some(at);
        missed
    }
}

/// Whether the picture still changes. A live sensor never delivers the same bytes twice: it has noise.
#[derive(Debug, Clone, Default)]
pub struct Frozen {
    limit: Option<Duration>,
    last: Option<(Arc<[u8]>, Time)>,
}

impl Frozen {
    /// A picture that does not change for longer than `limit` is frozen; `None`: never.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, last: None }
    }

    /// For how long the picture has been frozen with the frame `data` of `at`; `None` when it is not.
    pub fn seen(&mut self, data: &Arc<[u8]>, at: Time) -> Option<Duration> {
        let limit = self.limit?;
        match &self.last {
            Some((last, since)) if last[..] == data[..] => {
                let still = at.since(*since);
                (still > limit).then(|| still.saturating_sub(limit))
            }
            _ => {
                self.last = Some((data.clone(), at));
                None
            }
        }
    }
}

/// When a lost camera is tried again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backoff {
    pause: Duration,
    at: Option<Time>,
}

impl Backoff {
    /// It failed at `now`.
    pub fn failed(&mut self, now: Time) {
        self.pause = match self.pause {
            Duration::ZERO => FIRST_PAUSE,
            pause => (pause * 2).min(LONGEST_PAUSE),
        };
        self.at = Some(now + self.pause);
    }

    /// It works: the next pause is the first one again.
    pub fn works(&mut self) {
        *self = Self::default();
    }

    /// How long to wait at `now` before the next attempt.
    pub fn wait(&self, now: Time) -> Duration {
        self.at.map_or(Duration::ZERO, |at| at.since(now))
    }
}

/// What is known of a shot before its pixels are touched.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The driver's number.
    pub number: Option<u32>,
    /// Images that were passed over for it.
    pub passed_over: u32,
    /// When it was captured.
    pub captured_at: Time,
    /// How that was read.
    pub clock: CaptureClock,
    /// The image, or why it is none.
    pub image: Result<Arc<[u8]>, String>,
}

/// What becomes of a shot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is published.
    Publish,
    /// It is no whole image, and left out.
    Corrupt,
    /// The picture is frozen, and it is left out.
    Frozen,
    /// The picture has been frozen for so long that the camera is opened again.
    Reopen,
}

/// How one camera is.
#[derive(Debug, Clone)]
pub struct Health {
    status: CameraStatus,
    silence: Duration,
    gaps: Gaps,
    /// `None` where no frame can be missed.
    pace: Option<Pace>,
    frozen: Frozen,
    backoff: Backoff,
    /// Last sign of life since the camera was opened.
    heard: Time,
    was_up: bool,
    /// Frames at the time that the rate was measured last.
    measured: Option<(Time, u64)>,
}

impl Health {
    /// A camera that was never open. A `live` one takes frames `period` apart whether anybody receives them or not.
    pub fn new(
        period: Duration,
        silence: Duration,
        frozen_after: Option<Duration>,
        live: bool,
    ) -> Self {
        Self {
            status: CameraStatus::default(),
            silence,
            gaps: Gaps::default(),
            pace: live.then(|| Pace::new(period)),
            frozen: Frozen::new(frozen_after),
            backoff: Backoff::default(),
            heard: Time::ZERO,
            was_up: false,
            measured: None,
        }
    }

    /// How long to wait at `now` before it is opened.
    pub fn wait(&self, now: Time) -> Duration {
        self.backoff.wait(now)
    }

    /// It was opened at `now`; what counts is that frames come.
    pub fn opened(&mut self, now: Time) {
        self.heard = now;
        self.gaps = Gaps::default();
        if let Some(pace) = &mut self.pace {
            pace.last = None;
        }
        self.frozen.last = None;
    }

    /// It cannot be opened, or is gone.
    pub fn failed(&mut self, reason: String, now: Time) {
        self.status.connected = false;
        self.status.fault = reason;
        self.backoff.failed(now);
    }

    /// Whether it has been silent for too long.
    pub fn is_silent(&self, now: Time) -> bool {
        now.since(self.heard) > self.silence
    }

    /// Judges a shot that was received at `now`.
    pub fn judge(&mut self, seen: &Seen, now: Time) -> Verdict {
        self.heard = now;
        self.status.dropped += match seen.number {
            Some(number) => self.gaps.missed(number),
            None => self
                .pace
                .as_mut()
                .map_or(0, |pace| pace.missed(seen.captured_at))
                .max(seen.passed_over.into()),
        };
        let Ok(image) = &seen.image else {
            self.status.corrupt += 1;
            return Verdict::Corrupt;
        };
        if let Some(frozen) = self.frozen.seen(image, seen.captured_at) {
            self.status.frozen += 1;
            return match frozen > REOPEN_AFTER {
                true => Verdict::Reopen,
                false => Verdict::Frozen,
            };
        }
        self.backoff.works();
        if !self.status.connected {
            self.status.reconnections += u64::from(self.was_up);
            self.was_up = true;
            self.status.connected = true;
            self.status.fault.clear();
        }
        self.status.clock = seen.clock;
        Verdict::Publish
    }

    /// Whether frames come in.
    pub fn is_up(&self) -> bool {
        self.status.connected
    }

    /// A frame that looked whole was not.
    pub fn spoilt(&mut self) {
        self.status.corrupt += 1;
    }

    /// A frame was published.
    pub fn published(&mut self) {
        self.status.frames += 1;
    }

    /// How it is at `now`; the rate is measured from the last time that this was asked, at least a second ago.
    pub fn status(&mut self, now: Time) -> &CameraStatus {
        let frames = self.status.frames;
        let (since, before) = *self.measured.get_or_insert((now, frames));
        if now.since(since) >= RATE_OVER {
            self.status.rate_hz = (frames - before) as f64 / now.since(since).as_secs_f64();
            self.measured = Some((now, frames));
        }
        &self.status
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn seen(number: u32, millis: u64, byte: u8) -> Seen {
        Seen {
            number: Some(number),
            passed_over: 0,
            captured_at: at(millis),
            clock: CaptureClock::Exposure,
            image: Ok([byte; 8].into()),
        }
    }

    fn health() -> Health {
        Health::new(ms(33), ms(2000), Some(ms(300)), true)
    }

    proptest! {
        #[test]
        fn every_frame_that_is_left_out_between_two_is_counted(
            start in any::<u32>(),
            kept in prop::collection::vec(any::<bool>(), 1..200),
        ) {
            let mut gaps = Gaps::default();
            let mut counted = 0;
            let mut seen = Vec::new();
            for (k, keep) in kept.iter().enumerate() {
                if *keep {
                    counted += gaps.missed(start.wrapping_add(k as u32));
                    seen.push(k);
                }
            }
            let between = match (seen.first(), seen.last()) {
                (Some(first), Some(last)) => last - first + 1 - seen.len(),
                _ => 0,
            };
            prop_assert_eq!(counted, between as u64);
        }

        #[test]
        fn jitter_below_half_a_period_is_no_drop(jitter in prop::collection::vec(0..12u64, 1..100)) {
            let mut pace = Pace::new(ms(33));
            for (k, late) in jitter.iter().enumerate() {
                prop_assert_eq!(pace.missed(at(1000 + 33 * k as u64 + late)), 0);
            }
        }
    }

    #[test]
    fn numbers_that_start_again_are_no_drops() {
        let mut gaps = Gaps::default();
        assert_eq!([7, 8, 0, 1, 3].map(|n| gaps.missed(n)), [0, 0, 0, 0, 1]);
    }

    #[test]
    fn a_pause_is_so_many_drops() {
        let mut pace = Pace::new(ms(100));
        assert_eq!([0, 100, 400, 500].map(|t| pace.missed(at(t))), [0, 0, 2, 0]);
    }

    #[test]
    fn images_that_were_passed_over_are_drops_whatever_the_pace_says() {
        let mut health = health();
        for (k, passed_over) in [0, 1, 2].into_iter().enumerate() {
            let shot = Seen {
                number: None,
                passed_over,
                ..seen(0, 33 * k as u64, k as u8)
            };
            assert_eq!(health.judge(&shot, at(0)), Verdict::Publish);
        }
        assert_eq!(health.status(at(0)).dropped, 3);
    }

    #[test]
    fn a_picture_that_stands_still_is_left_out_until_it_moves() {
        let mut health = health();
        let verdicts: Vec<Verdict> = (0..20)
            .map(|k| health.judge(&seen(k, 33 * u64::from(k), u8::from(k >= 15)), at(0)))
            .collect();
        // 300 ms are nine periods of 33 ms and a bit.
        assert!(
            verdicts[..10].iter().all(|v| *v == Verdict::Publish),
            "{verdicts:?}"
        );
        assert!(
            verdicts[10..15].iter().all(|v| *v == Verdict::Frozen),
            "{verdicts:?}"
        );
        assert!(
            verdicts[15..].iter().all(|v| *v == Verdict::Publish),
            "{verdicts:?}"
        );
        assert_eq!(health.status(at(0)).frozen, 5);
        let mut health = Health::new(ms(33), ms(2000), None, true);
        assert!(
            (0..200)
                .all(|k| health.judge(&seen(k, 33 * u64::from(k), 0), at(0)) == Verdict::Publish)
        );
    }

    #[test]
    fn a_picture_that_stays_frozen_is_a_reason_to_open_the_camera_again() {
        let mut health = health();
        let first = (0..200)
            .find(|k| health.judge(&seen(*k, 33 * u64::from(*k), 0), at(0)) == Verdict::Reopen);
        assert_eq!(first, Some(101), "300 ms, then 3 s");
    }

    #[test]
    fn a_lost_camera_is_tried_again_with_growing_pauses_and_its_return_is_counted_once() {
        let mut health = health();
        health.opened(at(0));
        assert_eq!(health.judge(&seen(0, 0, 0), at(0)), Verdict::Publish);
        assert_eq!(
            health.status(at(0)).reconnections,
            0,
            "the first time is no return"
        );
        let mut now = at(100);
        let pauses: Vec<u128> = (0..7)
            .map(|_| {
                health.failed("unplugged".into(), now);
                let pause = health.wait(now);
                now = now + pause;
                assert_eq!(health.wait(now), Duration::ZERO);
                pause.as_millis()
            })
            .collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(
            (health.status(now).connected, &*health.status(now).fault),
            (false, "unplugged")
        );
        health.opened(now);
        assert!(!health.status(now).connected, "not before a frame came");
        // Its numbers start again: no drops.
        for k in 0..3 {
            assert_eq!(
                health.judge(&seen(k, 60_000, k as u8), now),
                Verdict::Publish
            );
        }
        let status = health.status(now).clone();
        assert_eq!(
            (status.connected, status.reconnections, status.dropped),
            (true, 1, 0)
        );
        assert!(status.fault.is_empty());
        health.failed("unplugged".into(), now);
        assert_eq!(health.wait(now), FIRST_PAUSE, "it had worked");
    }

    #[test]
    fn silence_counts_from_the_last_sign_of_life() {
        let mut health = health();
        health.opened(at(1000));
        assert!(!health.is_silent(at(3000)) && health.is_silent(at(3001)));
        let broken = Seen {
            image: Err("cut short".into()),
            ..seen(0, 3000, 0)
        };
        assert_eq!(health.judge(&broken, at(3000)), Verdict::Corrupt);
        assert!(
            !health.is_silent(at(4000)),
            "a broken frame is a sign of life"
        );
        assert_eq!(health.status(at(4000)).corrupt, 1);
        assert!(!health.status(at(4000)).connected, "and no picture");
    }

    #[test]
    fn the_rate_is_of_the_last_second() {
        let mut health = health();
        health.status(at(0));
        for _ in 0..30 {
            health.published();
        }
        assert_eq!(health.status(at(500)).rate_hz, 0.0);
        assert!((health.status(at(1000)).rate_hz - 30.0).abs() < 1e-9);
        assert_eq!(health.status(at(2000)).rate_hz, 0.0);
    }
}
