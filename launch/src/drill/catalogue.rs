//! The faults that a drill injects: what each does, and what must follow from it.
//!
//! Says what is expected; the runtime never reads it. How soon a hold must be there is not here but in the ladder's
//! table (`tactus_control::ladder`), by the kind of fault that the runtime names as the reason.

use std::sync::Arc;
use std::time::Duration;

use tactus_control::is_the_arms;
use tactus_host::Act;
use tactus_types::FaultKind;

/// What must follow from a fault in the middle of an episode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// A hold, for one of these reasons.
    Hold(&'static [FaultKind]),
    /// The policy goes on.
    Through,
    /// One or the other: a hold for one of these reasons, or the policy goes on.
    Either(&'static [FaultKind]),
}

/// A fault that can be injected.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name: `<where>:<what>`.
    pub name: &'static str,
    /// What it does, in a few words.
    pub does: &'static str,
    /// What it does, for the tamperer; a value in the name of a fault replaces its durations.
    pub act: Act,
    /// What must follow.
    pub expect: Expect,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Entry {
    /// What must follow in the middle of a motion to a pose, which needs neither engine nor cameras.
    pub fn in_goto(&self) -> Expect {
        match self.act {
            Act::CameraClock(_) => Expect::Through,
            _ => self.expect.without_a_policy(),
        }
    }
}

impl Expect {
    /// What must follow in a motion that needs neither engine nor cameras from what must in an episode.
    pub fn without_a_policy(self) -> Self {
        let arms = |kinds: &[FaultKind]| kinds.iter().all(|kind| is_the_arms(*kind));
        match self {
            Self::Hold(kinds) if !arms(kinds) => Self::Through,
            // An arm that does not follow is noticed by the motion itself.
            Self::Either(_) => Self::Either(&FaultKind::ALL),
            other => other,
        }
    }
}

impl Entry {
    /// What must follow while a human commands, who needs neither engine nor cameras and whom no equal rank dislodges.
    pub fn in_teleop(&self) -> Expect {
        match self.act {
            Act::OperatorSilent | Act::OperatorOld(_) | Act::OperatorNan | Act::OperatorJoints => {
                match self.expect {
                    Expect::Through => Expect::Hold(&[FaultKind::OperatorLost]),
                    // Of a strength of the user's own.
                    other => other,
                }
            }
            Act::LeaseTakeOver => Expect::Through,
            Act::LeaseLost => Expect::Hold(&[FaultKind::OperatorLost, FaultKind::LeaseEnded]),
            _ => self.in_goto(),
        }
    }
}

/// Every fault, in the order of the matrix.
pub const CATALOGUE: &[Entry] = {
    use Expect::{Either, Hold, Through};
    use FaultKind as F;
    macro_rules! entries {
        ($($name:literal $act:expr, $expect:expr, $does:literal;)*) => {
            &[$(Entry { name: $name, does: $does, act: $act, expect: $expect }),*]
        };
    }
    entries! {
        "engine:kill" Act::EngineKill, Hold(&[F::EngineDead]), "the engine process dies";
        "engine:hang" Act::EngineHang, Hold(&[F::EngineLate]), "the engine takes requests and never answers";
        "engine:refuse" Act::EngineRefuse, Hold(&[F::EngineRefused]), "the engine answers that it has failed";
        "engine:bundle" Act::EngineBundle, Hold(&[F::BadChunk]), "chunks come from another bundle";
        "net:cut" Act::LinkCut, Hold(&[F::LinkLost, F::StreamStale]), "nothing gets to or from the engine's host";
        "net:delay" Act::LinkDelay(ms(30), ms(20)), Through, "frames and chunks take 30 +- 20 ms longer";
        "net:duplicate" Act::LinkDuplicate, Through, "frames and chunks arrive twice";
        "chunk:nan" Act::ChunkNan, Hold(&[F::BadChunk]), "an action is NaN";
        "chunk:inf" Act::ChunkInfinite, Hold(&[F::BadChunk]), "a gripper target is infinite";
        "chunk:range" Act::ChunkRange, Hold(&[F::BadChunk]), "an action lies 3 rad outside a joint's range";
        "chunk:empty" Act::ChunkEmpty, Hold(&[F::BadChunk]), "chunks hold no action";
        "chunk:long" Act::ChunkLong, Hold(&[F::BadChunk]), "chunks hold 4096 actions too many";
        "chunk:joints" Act::ChunkJoints, Hold(&[F::BadChunk]), "an action lacks a joint";
        "chunk:period" Act::ChunkPeriod, Hold(&[F::BadChunk]), "the time between actions is zero";
        "chunk:future" Act::ChunkFuture, Hold(&[F::BadChunk]), "chunks are stamped a second ahead";
        "chunk:old" Act::ChunkOld, Hold(&[F::Exhausted]), "chunks are stamped five seconds back";
        "chunk:foreign" Act::ChunkForeign, Through, "every chunk comes with one for another arm host";
        "chunk:duplicate" Act::ChunkDuplicate, Through, "every chunk arrives twice";
        "chunk:reorder" Act::ChunkReorder, Through, "every other chunk is overtaken by the next";
        "chunk:drop" Act::ChunkDrop, Either(&[F::EngineLate]), "every other chunk is lost";
        "chunk:delay" Act::ChunkDelay(ms(400)), Either(&[F::EngineLate]), "chunks take 400 ms longer";
        "chunk:storm" Act::ChunkStorm, Hold(&[F::LimitStorm, F::Tracking]), "actions jump between the ends of the joints";
        "camera:kill" Act::CameraKill, Hold(&[F::CameraDead]), "a camera process dies";
        "camera:stop" Act::CameraStop, Hold(&[F::StreamStale]), "frames stop, the process lives";
        "camera:freeze" Act::CameraFreeze, Hold(&[F::CameraFrozen]), "the same picture again and again";
        "camera:delay" Act::CameraDelay(ms(200)), Hold(&[F::StreamStale]), "frames take 200 ms longer";
        "camera:drop" Act::CameraDrop, Through, "every other frame is lost";
        "camera:clock" Act::CameraClock(ms(1000)), Hold(&[F::ClockStep]), "the camera's clock jumps a second ahead";
        "state:stop" Act::StateStop, Hold(&[F::ProprioStale]), "joint states stop";
        "state:nan" Act::StateNan, Hold(&[F::ProprioBad]), "joint states are NaN";
        "state:joints" Act::StateJoints, Hold(&[F::ProprioBad]), "joint states have a joint too many";
        "state:delay" Act::StateDelay(ms(50)), Hold(&[F::ProprioStale]), "joint states are 50 ms old";
        "state:reorder" Act::StateReorder, Through, "joint states overtake each other";
        "state:clock" Act::StateClock(ms(1000)), Hold(&[F::ClockStep]), "the device's clock jumps a second ahead";
        "device:restart" Act::DeviceRestart, Hold(&[F::DeviceRestarted]), "the device restarts";
        "device:stuck" Act::DeviceStuck, Either(&[F::Tracking]), "the device ignores its commands";
        "device:error" Act::DeviceError, Hold(&[F::Driver]), "the driver cannot take commands";
        "device:limp" Act::DeviceLimp, Hold(&[F::TorqueLost]), "the motors lose their torque";
        "operator:silent" Act::OperatorSilent, Through, "a human's setpoints stop";
        "operator:delay" Act::OperatorOld(ms(500)), Through, "a human's setpoints are 500 ms old";
        "operator:nan" Act::OperatorNan, Through, "a human's setpoints are NaN";
        "operator:joints" Act::OperatorJoints, Through, "a human's setpoints have a joint too many";
        "operator:leap" Act::OperatorLeap, Through, "a human's setpoints leap by a radian";
        "operator:foreign" Act::OperatorForeign, Through, "every other setpoint comes from someone without a lease";
        "order:hold" Act::OrderHold, Hold(&[F::Held]), "an operator says hold";
        "lease:lost" Act::LeaseLost, Hold(&[F::LeaseEnded]), "whoever began the motion dies and renews its lease no more";
        "lease:take-over" Act::LeaseTakeOver, Hold(&[F::LeaseEnded]), "a higher rank takes the lease over";
    }
};

/// Why a `--fault` is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault `{actual}`: expected {expected}")]
pub struct FaultError {
    /// What was written.
    pub actual: String,
    /// What it should be.
    pub expected: String,
}

/// A fault as a user wrote it: `camera.wrist:freeze@3s`, `net:delay=200ms+-80ms`, `chunk:nan@500ms~2s`.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The catalogue's entry, with the durations that were asked for.
    pub entry: Entry,
    /// The camera that it is about; `None` for all.
    pub camera: Option<Arc<str>>,
    /// From the start of the episode to the fault; `None`: drawn from the seed.
    pub at: Option<Duration>,
    /// How long it acts; `None`: a second.
    pub lasts: Option<Duration>,
}

impl Wish {
    /// `entry` as it stands.
    pub fn plain(entry: Entry) -> Self {
        Self {
            entry,
            camera: None,
            at: None,
            lasts: None,
        }
    }
}

impl std::str::FromStr for Wish {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = |expected: &str| FaultError {
            actual: text.into(),
            expected: expected.into(),
        };
        const GRAMMAR: &str = "<where>[.<camera>]:<what>[=<time>[+-<time>]][@<start>][~<duration>], for example \
                               camera.wrist:freeze@3s; `tactus drill --list` names them";
        let duration =
            |words: &str| duration(words).ok_or_else(|| error("a time such as 200ms or 1.5s"));
        let (rest, lasts) = split(text, "~");
        let (rest, at) = split(rest, "@");
        let (name, value) = split(rest, "=");
        let (place, what) = name.split_once(':').ok_or_else(|| error(GRAMMAR))?;
        let (place, camera) = split(place, ".");
        if camera.is_some() && place != "camera" {
            return Err(error("a name after `camera.` only"));
        }
        let name = format!("{place}:{what}");
        let entry = CATALOGUE.iter().find(|entry| entry.name == name);
        let mut entry = *entry.ok_or_else(|| error(GRAMMAR))?;
        if let Some(value) = value {
            let (value, spread) = split(value, "+-");
            let value = duration(value)?;
            let spread = spread.map(duration).transpose()?;
            entry.act = match (entry.act, spread) {
                (Act::LinkDelay(..), spread) => Act::LinkDelay(value, spread.unwrap_or_default()),
                (_, Some(_)) => return Err(error("+- after net:delay only")),
                (Act::ChunkDelay(_), _) => Act::ChunkDelay(value),
                (Act::CameraDelay(_), _) => Act::CameraDelay(value),
                (Act::CameraClock(_), _) => Act::CameraClock(value),
                (Act::StateDelay(_), _) => Act::StateDelay(value),
                (Act::StateClock(_), _) => Act::StateClock(value),
                (Act::OperatorOld(_), _) => Act::OperatorOld(value),
                _ => return Err(error("a value after faults that have one only")),
            };
            // What follows depends on the value now: whatever the ladder allows.
            entry.expect = Expect::Either(&FaultKind::ALL);
        }
        Ok(Self {
            entry,
            camera: camera.map(Into::into),
            at: at.map(duration).transpose()?,
            lasts: lasts.map(duration).transpose()?,
        })
    }
}

pub(super) fn split<'a>(text: &'a str, mark: &str) -> (&'a str, Option<&'a str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// `200ms` or `1.5s`, up to a minute.
pub(super) fn duration(words: &str) -> Option<Duration> {
    let (number, scale) = match words.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None => (words.strip_suffix('s')?, 1.0),
    };
    let secs = number.parse::<f64>().ok()? * scale;
    let legal = (0.0..=60.0).contains(&secs);
    Duration::try_from_secs_f64(secs).ok().filter(|_| legal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_there_are_enough() {
        let mut names: Vec<_> = CATALOGUE.iter().map(|entry| entry.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CATALOGUE.len());
        assert!(names.len() >= 25, "{}", names.len());
    }

    #[test]
    fn every_fault_can_be_written_as_it_is_called() {
        for entry in CATALOGUE {
            let wish: Wish = entry.name.parse().expect("legal");
            assert_eq!(wish.entry.act, entry.act);
        }
    }

    #[test]
    fn times_and_cameras_are_read() {
        let wish: Wish = "camera.wrist:freeze@3s~500ms".parse().expect("legal");
        assert_eq!(wish.camera.as_deref(), Some("wrist"));
        assert_eq!((wish.at, wish.lasts), (Some(ms(3000)), Some(ms(500))));
        let wish: Wish = "net:delay=200ms+-80ms".parse().expect("legal");
        assert_eq!(wish.entry.act, Act::LinkDelay(ms(200), ms(80)));
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_grammar() {
        for (text, expected) in [
            ("engine:sing", "tactus drill --list"),
            ("engine", "tactus drill --list"),
            ("chunk:nan=3", "a time such as"),
            ("chunk:nan=3s", "a value after faults"),
            ("chunk:delay=3s+-1s", "+- after net:delay"),
            ("chunk:delay=900s", "a time such as"),
            ("engine.left:kill", "after `camera.` only"),
            ("chunk:nan@soon", "a time such as"),
        ] {
            let error = text.parse::<Wish>().expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
