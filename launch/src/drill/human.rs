//! A human in lock-step, as an arm host sees one: setpoints of a leader that is read fifty times a second and swings slowly
//! around where it was taken up. Judges nothing.

use std::time::Duration;

use tactus_types::{JointVec, LeaseId, OperatorSetpoint, Time};

/// Time between two readings of the leader.
const EVERY: Duration = Duration::from_millis(20);
/// How far the leader swings, rad, and how often, Hz: slow enough for every joint.
const SWING_RAD: f64 = 0.1;
const SWING_HZ: f64 = 0.4;

/// A leader in someone's hand.
#[derive(Debug, Clone)]
pub(super) struct Human {
    from: JointVec,
    opening: f64,
    since: Time,
    next: Time,
    sequence: u64,
}

impl Human {
    /// Takes the leader up at `q`, rad.
    pub(super) fn new(q: JointVec, opening: f64, now: Time) -> Self {
        Self {
            from: q,
            // Measured, a gripper may be a little beyond its ends.
            opening: opening.clamp(0.0, 1.0),
            since: now,
            next: now,
            sequence: 0,
        }
    }

    /// The same human takes it up again, elsewhere.
    pub(super) fn moved(&mut self, q: JointVec, now: Time) {
        (self.from, self.since) = (q, now);
    }

    /// What is sent under `lease` at `now`, if the leader is read then.
    pub(super) fn sends(&mut self, lease: LeaseId, now: Time) -> Option<OperatorSetpoint> {
        if now < self.next {
            return None;
        }
        self.next = now + EVERY;
        self.sequence += 1;
        let turn = std::f64::consts::TAU * SWING_HZ * now.since(self.since).as_secs_f64();
        Some(OperatorSetpoint {
            lease,
            sequence: self.sequence,
            captured_at: now,
            q: JointVec::from_fn(self.from.len(), |i| {
                self.from[i] + SWING_RAD * turn.sin() / (1.0 + i as f64)
            }),
            opening: self.opening,
            engaged: true,
        })
    }
}
