//! The faults that can be injected in real time: into processes, by signals, and into links, by a bridge between the two
//! ends. What must follow is the lock-step catalogue's, where it has the same fault.

use std::time::Duration;

use tactus_types::FaultKind;

use crate::drill::catalogue::{Expect, FaultError, duration, split};
use crate::drill::trial::In;

/// What a fault does to a running cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Doing {
    /// SIGKILL; the role is started again when the fault is over.
    Kill(&'static str),
    /// SIGSTOP, and SIGCONT when the fault is over.
    Stop(&'static str),
    /// The engine is killed and comes back with another bundle; with its own when the fault is over.
    Bundle,
    /// Something happens to what passes on a link.
    Link(Link),
    /// No process of the cell can write to a file, and the engine is killed, which the black box would write down.
    DiskFull,
    /// Someone asks, orders and sends without end.
    Flood,
    /// The human who commands falls silent.
    Silence,
}

/// A link that is broken, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// The messages that it is about.
    pub traffic: Traffic,
    /// What happens to them.
    pub how: How,
}

/// Messages that pass between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Frames to the engine.
    Frames,
    /// Requests to the engine.
    Requests,
    /// Joint states to the engine.
    ArmStates,
    /// Chunks to the arm host.
    Chunks,
    /// The engine's signs of life.
    Status,
    /// Joint states to the arm host.
    States,
    /// Commands to the device.
    Commands,
    /// Everything to and from the engine's host.
    Net,
    /// What no fault is about.
    Spared,
}

impl Traffic {
    /// Whether a fault of `self` is about a message of `lane`.
    pub fn covers(self, lane: Self) -> bool {
        let net = [
            Self::Frames,
            Self::Requests,
            Self::ArmStates,
            Self::Chunks,
            Self::Status,
        ];
        self == lane || (self == Self::Net && net.contains(&lane))
    }
}

/// What happens to messages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum How {
    /// None arrives.
    Cut,
    /// They take longer: by this, more or less.
    Delay(Duration, Duration),
    /// This share of them is lost.
    Drop(f64),
    /// Each arrives twice.
    Duplicate,
    /// Every other one is late by this, so that others overtake it.
    Reorder(Duration),
    /// Their payloads are random bytes.
    Corrupt,
}

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// What the arm host does.
    Arm(Expect),
    /// What the device does when its arm host is gone or stands still.
    Device,
}

/// A fault that can be injected into a running cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiveFault {
    /// Name: `<where>:<what>`.
    pub name: &'static str,
    /// What it does, in a few words.
    pub does: &'static str,
    /// What it does.
    pub doing: Doing,
    /// What must follow.
    pub judged: Judged,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn link(traffic: Traffic, how: How) -> Doing {
    Doing::Link(Link { traffic, how })
}

/// Every fault, in the order of the matrix. A link's delay stays below what joint states may be old at the engine, which
/// lock-step does not delay: `arm.proprio_limit_ms`, and at least 20 ms.
pub const LIVE: &[LiveFault] = {
    use Doing::{Bundle, DiskFull, Flood, Kill, Silence, Stop};
    use Expect::{Either, Hold, Through};
    use FaultKind as F;
    use How::{Corrupt, Cut, Delay, Drop, Duplicate, Reorder};
    use Judged::{Arm, Device};
    use Traffic as T;
    macro_rules! faults {
        ($($name:literal $doing:expr, $judged:expr, $does:literal;)*) => {
            &[$(LiveFault { name: $name, does: $does, doing: $doing, judged: $judged }),*]
        };
    }
    faults! {
        "engine:kill" Kill("engine"), Arm(Hold(&[F::EngineDead])), "the engine process is killed";
        "engine:stop" Stop("engine"), Arm(Hold(&[F::LinkLost, F::EngineLate])), "the engine process stands still";
        "engine:bundle" Bundle, Arm(Hold(&[F::EngineDead, F::BadChunk])), "the engine is killed and comes back with another bundle";
        "camera:kill" Kill("camera"), Arm(Hold(&[F::CameraDead, F::StreamStale])), "the camera process is killed";
        "camera:stop" Stop("camera"), Arm(Hold(&[F::StreamStale])), "the camera process stands still";
        "device:kill" Kill("sim"), Arm(Hold(&[F::ProprioStale])), "the device process is killed";
        "device:hang" Stop("sim"), Arm(Hold(&[F::ProprioStale])), "the device process stands still";
        "arm:kill" Kill("arm"), Device, "the arm host is killed";
        "arm:stop" Stop("arm"), Device, "the arm host stands still";
        "record:kill" Kill("record"), Arm(Through), "the recorder is killed";
        "disk:full" DiskFull, Arm(Hold(&[F::EngineDead])), "no process of the cell can write to a file, and the engine is killed";
        "panel:flood" Flood, Arm(Through), "someone asks, orders and sends thousands of times a second";
        "operator:silent" Silence, Arm(Through), "a human's setpoints stop";
        "net:cut" link(T::Net, Cut), Arm(Hold(&[F::LinkLost, F::StreamStale])), "nothing gets to or from the engine's host";
        "net:delay" link(T::Net, Delay(ms(5), ms(3))), Arm(Through), "everything to and from the engine's host takes 5 +- 3 ms longer";
        "net:drop" link(T::Net, Drop(0.2)), Arm(Either(&[F::EngineLate, F::LinkLost, F::StreamStale])), "a fifth of what passes to and from the engine's host is lost";
        "net:duplicate" link(T::Net, Duplicate), Arm(Through), "everything to and from the engine's host arrives twice";
        "net:reorder" link(T::Net, Reorder(ms(60))), Arm(Either(&[F::EngineLate, F::StreamStale])), "every other message to and from the engine's host is 60 ms late";
        "net:corrupt" link(T::Net, Corrupt), Arm(Hold(&[F::LinkLost, F::EngineLate, F::StreamStale])), "messages to and from the engine's host are random bytes";
        "chunk:drop" link(T::Chunks, Drop(0.5)), Arm(Either(&[F::EngineLate])), "half of the chunks are lost";
        "chunk:delay" link(T::Chunks, Delay(ms(400), ms(0))), Arm(Either(&[F::EngineLate])), "chunks take 400 ms longer";
        "chunk:corrupt" link(T::Chunks, Corrupt), Arm(Hold(&[F::EngineLate])), "chunks are random bytes";
        "camera:delay" link(T::Frames, Delay(ms(200), ms(0))), Arm(Hold(&[F::StreamStale])), "frames take 200 ms longer";
        "camera:drop" link(T::Frames, Drop(0.3)), Arm(Either(&[F::StreamStale, F::EngineLate])), "a third of the frames is lost";
        "camera:corrupt" link(T::Frames, Corrupt), Arm(Hold(&[F::StreamStale])), "frames are random bytes";
        "state:stop" link(T::States, Cut), Arm(Hold(&[F::ProprioStale])), "joint states are lost";
        "state:delay" link(T::States, Delay(ms(50), ms(0))), Arm(Hold(&[F::ProprioStale])), "joint states take 50 ms longer";
        "state:reorder" link(T::States, Reorder(ms(5))), Arm(Through), "joint states overtake each other";
        "state:corrupt" link(T::States, Corrupt), Arm(Hold(&[F::ProprioStale])), "joint states are random bytes";
        "device:stuck" link(T::Commands, Cut), Arm(Either(&[F::Tracking])), "commands do not reach the device";
        "device:corrupt" link(T::Commands, Corrupt), Arm(Either(&[F::Tracking])), "commands are random bytes";
    }
};

/// A fault as a user wrote it: `engine:kill`, `net:delay=200ms+-80ms@3s~2s`.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveWish {
    /// The fault, with the durations that were asked for.
    pub fault: LiveFault,
    /// From the first command of the policy, or of the mode, to the fault; `None`: drawn from the seed.
    pub at: Option<Duration>,
    /// How long it acts; `None`: a second, or as long as another bundle needs.
    pub lasts: Option<Duration>,
}

impl LiveWish {
    /// `fault` as it stands.
    pub fn plain(fault: LiveFault) -> Self {
        Self {
            fault,
            at: None,
            lasts: None,
        }
    }

    /// Whether the engine has to be behind a bridge.
    pub fn far_engine(&self) -> bool {
        matches!(self.fault.doing, Doing::Link(l) if Traffic::Net.covers(l.traffic))
    }

    /// Whether the device has to be behind a bridge.
    pub fn far_device(&self) -> bool {
        let Doing::Link(link) = self.fault.doing else {
            return false;
        };
        matches!(link.traffic, Traffic::States | Traffic::Commands)
    }

    /// The role that it kills or stops.
    pub fn role(&self) -> Option<&'static str> {
        match self.fault.doing {
            Doing::Kill(role) | Doing::Stop(role) => Some(role),
            Doing::Bundle | Doing::DiskFull => Some("engine"),
            Doing::Link(_) | Doing::Flood | Doing::Silence => None,
        }
    }

    /// Whether, in a cell with keys, it takes those of others: to pass on what they say, to ask without end, to be a human who
    /// commands.
    pub fn needs_keys(&self) -> bool {
        matches!(
            self.fault.doing,
            Doing::Link(_) | Doing::Flood | Doing::Silence
        )
    }

    /// Whether there has to be a recorder.
    pub fn recorder(&self) -> bool {
        self.role() == Some("record") || self.fault.doing == Doing::DiskFull
    }

    /// What must follow in `mode`.
    pub fn judged(&self, mode: In) -> Judged {
        let Judged::Arm(expect) = self.fault.judged else {
            return self.fault.judged;
        };
        Judged::Arm(match (mode, expect) {
            (In::Teleop, _) if self.fault.doing == Doing::Silence => {
                Expect::Hold(&[FaultKind::OperatorLost])
            }
            (In::Goto | In::Teleop, expect) => expect.without_a_policy(),
            (In::Boot | In::Ready | In::Policy | In::Hold, expect) => expect,
        })
    }
}

impl std::str::FromStr for LiveWish {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = |expected: &str| FaultError {
            actual: text.into(),
            expected: expected.into(),
        };
        const GRAMMAR: &str = "<where>:<what>[=<time>[+-<time>]][@<start>][~<duration>], for example net:delay=80ms+-40ms; \
                               `tactus drill --real-time --list` names those that can be injected in real time";
        let duration =
            |words: &str| duration(words).ok_or_else(|| error("a time such as 200ms or 1.5s"));
        let (rest, lasts) = split(text, "~");
        let (rest, at) = split(rest, "@");
        let (name, value) = split(rest, "=");
        let mut fault = *LIVE
            .iter()
            .find(|fault| fault.name == name)
            .ok_or_else(|| error(GRAMMAR))?;
        if let Some(value) = value {
            let Doing::Link(Link {
                traffic,
                how: How::Delay(..),
            }) = fault.doing
            else {
                return Err(error("a value after delays only"));
            };
            let (value, spread) = split(value, "+-");
            let spread = spread.map(duration).transpose()?.unwrap_or_default();
            fault.doing = link(traffic, How::Delay(duration(value)?, spread));
            // What follows depends on the value now: whatever the ladder allows.
            fault.judged = Judged::Arm(Expect::Either(&FaultKind::ALL));
        }
        Ok(Self {
            fault,
            at: at.map(duration).transpose()?,
            lasts: lasts.map(duration).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drill::catalogue::CATALOGUE;

    #[test]
    fn names_are_unique_and_can_be_written() {
        let mut names: Vec<_> = LIVE.iter().map(|fault| fault.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), LIVE.len());
        for fault in LIVE {
            let wish: LiveWish = fault.name.parse().expect("legal");
            assert_eq!(wish, LiveWish::plain(*fault));
        }
    }

    /// Where both drills know a fault, the reasons that lock-step allows are those of real time.
    #[test]
    fn what_must_follow_is_what_the_catalogue_says() {
        let mut shared = 0;
        for fault in LIVE {
            let Some(entry) = CATALOGUE.iter().find(|entry| entry.name == fault.name) else {
                continue;
            };
            shared += 1;
            match (fault.judged, entry.expect) {
                // It loses by chance, and so what follows is left to chance.
                (Judged::Arm(Expect::Either(_)), Expect::Through)
                    if fault.name == "camera:drop" => {}
                // A killed process is slower to end than its frames are; another bundle needs a process that ends.
                (Judged::Arm(expect), _)
                    if ["engine:bundle", "camera:kill"].contains(&fault.name) =>
                {
                    assert!(matches!(expect, Expect::Hold(_)));
                }
                (judged, expect) => assert_eq!(judged, Judged::Arm(expect), "{}", fault.name),
            }
        }
        assert!(shared >= 12, "{shared}");
    }

    #[test]
    fn values_are_for_delays() {
        let wish: LiveWish = "net:delay=200ms+-80ms@1s~2s".parse().expect("legal");
        let delay = How::Delay(ms(200), ms(80));
        assert_eq!(wish.fault.doing, link(Traffic::Net, delay));
        assert_eq!((wish.at, wish.lasts), (Some(ms(1000)), Some(ms(2000))));
        for (text, expected) in [
            ("chunk:nan", "--real-time --list"),
            ("engine:kill=3s", "a value after delays"),
            ("net:delay=soon", "a time such as"),
        ] {
            let error = text.parse::<LiveWish>().expect_err(text).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
