//! The ladder: how soon each fault is noticed, and what follows from it. One table for the code, the documentation
//! (printed by `tactus drill --list`) and the drill that proves it.
//!
//! Detects nothing and changes no mode: faults come from [`crate::cycle`] and the engine, and [`crate::supervise`] keeps
//! the mode.

use std::time::Duration;

use tactus_types::FaultKind;

/// What a fault leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rung {
    /// The chunk in force plays on for at most [`LadderSpec::tail`], then hold.
    Tail,
    /// Hold in this very tick.
    Hold,
}

impl Rung {
    /// Word in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tail => "tail, then hold",
            Self::Hold => "hold",
        }
    }
}

/// The ladder's times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LadderSpec {
    /// Control period.
    pub period: Duration,
    /// How long the chunk in force plays on after a fault.
    pub tail: Duration,
    /// How long everything must be well before a hold may end.
    pub settle: Duration,
    /// A newest joint state older than this is a fault.
    pub proprio_limit: Duration,
    /// A newest frame older than this is a fault, and so is a picture that stays the same for this long.
    pub frame_limit: Duration,
    /// From the instant an observation may be captured to the deadline of the answer.
    pub answer_within: Duration,
    /// Nothing from the engine's host, or from the other arm of a pair, for longer than this is a fault.
    pub link_limit: Duration,
    /// The command may be further from the measured arm than this, rad ..
    pub track_rad: f64,
    /// .. for this long; time in which it is nearer counts down.
    pub track_limit: Duration,
    /// The policy may ask for this much more than the limits allow, rad ..
    pub storm_rad: f64,
    /// .. for this long; time in which it asks for less counts down.
    pub storm_limit: Duration,
    /// Nothing from a human who commands for longer than this is a fault.
    pub operator_limit: Duration,
}

/// The end of a process on the same host, or of its connection, is seen within this time.
pub const DEATH_SEEN: Duration = Duration::from_millis(50);

/// Which of the cell's times bounds how soon a fault is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noticed {
    /// Before it could do anything: in the tick that it reaches.
    AtOnce,
    /// [`DEATH_SEEN`].
    Death,
    /// [`LadderSpec::link_limit`].
    Link,
    /// [`LadderSpec::answer_within`].
    Deadline,
    /// [`LadderSpec::frame_limit`].
    Frames,
    /// [`LadderSpec::proprio_limit`].
    Proprio,
    /// Twice [`LadderSpec::track_limit`]: time beyond counts up, time within counts down.
    Tracking,
    /// Twice [`LadderSpec::storm_limit`]: time beyond counts up, time within counts down.
    Storm,
    /// [`LadderSpec::operator_limit`].
    Operator,
}

impl Noticed {
    /// The bound in a cell.
    pub fn within(self, spec: &LadderSpec) -> Duration {
        match self {
            Self::AtOnce => Duration::ZERO,
            Self::Death => DEATH_SEEN,
            Self::Link => spec.link_limit,
            Self::Deadline => spec.answer_within,
            Self::Frames => spec.frame_limit,
            Self::Proprio => spec.proprio_limit,
            Self::Tracking => 2 * spec.track_limit,
            Self::Storm => 2 * spec.storm_limit,
            Self::Operator => spec.operator_limit,
        }
    }

    /// The cell file's name of the bound.
    pub fn setting(self) -> &'static str {
        match self {
            Self::AtOnce => "-",
            Self::Death => "liveliness",
            Self::Link => "arm.link_limit_ms",
            Self::Deadline => "request.answer_within_ms",
            Self::Frames => "engine.frame_limit_ms",
            Self::Proprio => "arm.proprio_limit_ms",
            Self::Tracking => "arm.track_limit_ms",
            Self::Storm => "arm.storm_limit_ms",
            Self::Operator => "arm.operator_limit_ms",
        }
    }
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The fault.
    pub kind: FaultKind,
    /// How soon it is noticed.
    pub noticed: Noticed,
    /// What follows.
    pub rung: Rung,
    /// What it is, in a few words.
    pub what: &'static str,
}

/// The row of `kind`. Total on purpose: a new fault does not compile until someone has decided.
pub fn rule(kind: FaultKind) -> Rule {
    use Noticed::{AtOnce, Deadline, Death, Frames, Link, Operator, Proprio, Storm, Tracking};
    let (noticed, rung, what) = match kind {
        FaultKind::EngineDead => (Death, Rung::Tail, "the engine process is gone"),
        FaultKind::LinkLost => (Link, Rung::Tail, "the engine's host has fallen silent"),
        FaultKind::EngineLate => (Deadline, Rung::Tail, "no answer before the deadline"),
        FaultKind::EngineRefused => (AtOnce, Rung::Tail, "the engine answers without a chunk"),
        FaultKind::EngineBusy => (
            AtOnce,
            Rung::Tail,
            "the engine has no time left beside its other arms",
        ),
        FaultKind::StreamMissing => (Deadline, Rung::Tail, "a stream has never delivered"),
        FaultKind::CameraDead => (Death, Rung::Tail, "a camera process is gone"),
        FaultKind::StreamStale => (Frames, Rung::Tail, "a camera has stopped, or lags"),
        FaultKind::CameraFrozen => (
            Frames,
            Rung::Tail,
            "a camera repeats itself while the arm moves",
        ),
        FaultKind::ClockStep => (Frames, Rung::Tail, "a time stamp from the future"),
        FaultKind::ProprioStale => (Proprio, Rung::Hold, "joint states have stopped"),
        FaultKind::ProprioBad => (AtOnce, Rung::Hold, "joint states are no positions"),
        FaultKind::Tracking => (Tracking, Rung::Hold, "the arm does not follow its commands"),
        FaultKind::LimitStorm => (
            Storm,
            Rung::Hold,
            "the policy asks for more than the limits allow",
        ),
        FaultKind::Exhausted => (AtOnce, Rung::Hold, "nothing is due any more"),
        FaultKind::BadChunk => (
            AtOnce,
            Rung::Tail,
            "a chunk that may not be executed; it never enters",
        ),
        FaultKind::DeviceRestarted => (AtOnce, Rung::Hold, "the device restarted"),
        FaultKind::Driver => (AtOnce, Rung::Hold, "the driver could not take a command"),
        FaultKind::TorqueLost => (Proprio, Rung::Hold, "the motors lost their torque"),
        FaultKind::Goto => (
            AtOnce,
            Rung::Hold,
            "a motion to a pose cannot be carried out",
        ),
        FaultKind::Held => (AtOnce, Rung::Hold, "an operator asked for a hold"),
        FaultKind::LeaseEnded => (AtOnce, Rung::Hold, "the lease of what moves the arm ended"),
        FaultKind::OperatorLost => (
            Operator,
            Rung::Hold,
            "a human commands, and nothing comes from them any more",
        ),
        FaultKind::HandedBack => (
            AtOnce,
            Rung::Hold,
            "a human handed the arm back; until the policy answers",
        ),
        FaultKind::PartnerHeld => (
            Link,
            Rung::Hold,
            "the other arm of a pair does not run the policy",
        ),
    };
    Rule {
        kind,
        noticed,
        rung,
        what,
    }
}

/// Whether a motion without a policy has to end by it too: the arm's own faults, not those of engine and cameras.
pub fn is_the_arms(kind: FaultKind) -> bool {
    match kind {
        FaultKind::ProprioStale
        | FaultKind::ProprioBad
        | FaultKind::ClockStep
        | FaultKind::Tracking
        | FaultKind::DeviceRestarted
        | FaultKind::Driver
        | FaultKind::TorqueLost
        | FaultKind::Goto
        | FaultKind::Held
        | FaultKind::LeaseEnded
        | FaultKind::OperatorLost
        | FaultKind::HandedBack => true,
        FaultKind::EngineDead
        | FaultKind::LinkLost
        | FaultKind::EngineLate
        | FaultKind::EngineRefused
        | FaultKind::EngineBusy
        | FaultKind::StreamMissing
        | FaultKind::CameraDead
        | FaultKind::StreamStale
        | FaultKind::CameraFrozen
        | FaultKind::LimitStorm
        | FaultKind::BadChunk
        | FaultKind::Exhausted
        | FaultKind::PartnerHeld => false,
    }
}

impl Rule {
    /// From the instant a fault begins to the first command of the hold, at most: what noticing takes, the tail where
    /// there is one, and the tick.
    pub fn hold_within(&self, spec: &LadderSpec) -> Duration {
        let tail = match self.rung {
            Rung::Tail => spec.tail,
            Rung::Hold => Duration::ZERO,
        };
        self.noticed.within(spec) + tail + spec.period
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name_and_row() {
        let mut names: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FaultKind::ALL.len());
        for kind in FaultKind::ALL {
            assert_eq!(rule(kind).kind, kind);
            assert!(!rule(kind).what.is_empty());
        }
    }
}
