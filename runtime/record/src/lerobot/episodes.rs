//! Where the episodes of a recording begin and end.
//!
//! Decides by the events on the key `episode`; in a recording without any, by the arm's modes: an episode is what lies
//! between *ready* and *ready* and was in policy mode. What the events say ends no later than by the modes: a human says how it
//! went when it is over, and nobody is to learn from the arm's idling meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tactus_types::{ArmInfo, Time};
use tactus_wire::{Cell, EpisodeEvent, EpisodePhase, ModeReport, ModeWord, Name, Topic};

use super::ExportError;
use crate::read::{Told, read};

/// One episode of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// The recording.
    pub file: PathBuf,
    /// Number of it in its recording.
    pub number: u64,
    /// When it began.
    pub from: Time,
    /// When it ended.
    pub until: Time,
    /// The task in words.
    pub task: String,
    /// Whether the task was done; `None`: nobody said.
    pub success: Option<bool>,
}

/// What a recording is of.
#[derive(Debug, Clone, PartialEq)]
pub struct Content {
    /// Its episodes, in order.
    pub episodes: Vec<Episode>,
    /// Episodes that were still under way at its end; they are not exported.
    pub open: usize,
    /// The cell.
    pub cell: Cell,
    /// The arm.
    pub arm: Name,
    /// What the arm is.
    pub info: ArmInfo,
    /// Cameras and how many frames of each there are; in order of their names.
    pub cameras: BTreeMap<String, u64>,
}

/// The episodes that are being found.
#[derive(Default)]
struct Finder {
    events: bool,
    by_event: Vec<Episode>,
    by_mode: Vec<Episode>,
    begun: Option<Episode>,
    moded: Option<Episode>,
    /// When the arm left the one that is begun.
    left: Option<Time>,
    open: usize,
}

/// Finds the episodes of `file`.
///
/// # Errors
/// [`ExportError`] when it cannot be read, or is not the recording of a cell with an arm.
pub fn episodes(file: &Path) -> Result<Content, ExportError> {
    let mut finder = Finder::default();
    let mut of: Option<(Cell, Name, ArmInfo)> = None;
    let mut second = None;
    let mut cameras = BTreeMap::new();
    read(file, |told| {
        let Told::Message(message) = told else {
            return true;
        };
        let cell = message.topic.split('/').nth(1);
        let Some(cell) = cell.and_then(|name| Cell::new(name).ok()) else {
            return true;
        };
        let at = message.published_at;
        match cell.topic(message.topic) {
            Ok(Topic::ArmInfo(arm)) => {
                if let Ok(delivery) = message.decode::<ArmInfo>() {
                    let (_, first, _) = of.get_or_insert((cell, arm.clone(), delivery.message));
                    if arm != *first {
                        second = Some(arm);
                    }
                }
            }
            Ok(Topic::CameraImage(camera)) => {
                *cameras.entry(camera.to_string()).or_default() += 1;
            }
            Ok(Topic::Episode) => {
                if let Ok(delivery) = message.decode::<EpisodeEvent>() {
                    finder.event(file, delivery.message, at);
                }
            }
            Ok(Topic::ArmMode(_)) => {
                if let Ok(delivery) = message.decode::<ModeReport>() {
                    finder.mode(file, &delivery.message, at);
                }
            }
            _ => {}
        }
        true
    })?;
    let lacks = |what: &str| ExportError::Lacks {
        file: file.into(),
        what: what.into(),
    };
    let (cell, arm, info) = of.ok_or_else(|| lacks("no arm is described in it"))?;
    if let Some(second) = second {
        return Err(lacks(&format!(
            "expected one arm, got two, `{arm}` and `{second}`: an episode of two is not exported yet"
        )));
    }
    let Finder {
        events,
        by_event,
        by_mode,
        begun,
        moded,
        left: _,
        open,
    } = finder;
    let (episodes, open) = if events {
        (by_event, open + usize::from(begun.is_some()))
    } else {
        (by_mode, usize::from(moded.is_some()))
    };
    Ok(Content {
        episodes,
        open,
        cell,
        arm,
        info,
        cameras,
    })
}

impl Finder {
    fn event(&mut self, file: &Path, event: EpisodeEvent, at: Time) {
        self.events = true;
        let left = self.left.take();
        match event.phase {
            EpisodePhase::Started { instruction, .. } => {
                // One that was never ended was interrupted.
                self.open += usize::from(self.begun.is_some());
                self.begun = Some(Episode {
                    file: file.into(),
                    number: event.episode,
                    from: at,
                    until: at,
                    task: instruction,
                    success: None,
                });
            }
            EpisodePhase::Stopped {
                success, excluded, ..
            } => {
                // One that says nothing of the policy teaches none.
                if let Some(begun) = self.begun.take().filter(|_| !excluded) {
                    self.by_event.push(Episode {
                        until: left.map_or(at, |left| left.min(at)),
                        success: Some(success),
                        ..begun
                    });
                }
            }
        }
    }

    fn mode(&mut self, file: &Path, report: &ModeReport, at: Time) {
        match report.mode {
            ModeWord::Policy if self.moded.is_none() => {
                self.moded = Some(Episode {
                    file: file.into(),
                    number: self.by_mode.len() as u64,
                    from: report.since,
                    until: at,
                    task: report.instruction.clone(),
                    success: None,
                });
            }
            ModeWord::Policy | ModeWord::Hold | ModeWord::Align | ModeWord::Teleop => {}
            ModeWord::Ready | ModeWord::Boot | ModeWord::Goto | ModeWord::Stopped => {
                if let Some(episode) = self.moded.take() {
                    let begun = self.begun.as_ref();
                    if self.left.is_none() && begun.is_some_and(|begun| begun.from < report.since) {
                        self.left = Some(report.since);
                    }
                    self.by_mode.push(Episode {
                        until: report.since,
                        ..episode
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tactus_types::Generation;
    use tactus_wire::Counters;

    use super::*;

    enum Said {
        Started,
        Mode(ModeWord),
        Stopped(bool),
        Excluded,
    }
    use ModeWord::{Hold, Policy, Ready, Stopped};
    use Said::Mode;

    fn found(said: Vec<(u64, Said)>) -> Vec<(u64, u64, Option<bool>)> {
        let (file, mut finder) = (Path::new("f.mcap"), Finder::default());
        for (millis, said) in said {
            let at = Time::from_millis(millis);
            let event = |phase| EpisodeEvent { episode: 1, phase };
            match said {
                Said::Started => {
                    let (instruction, seed) = ("lift".into(), 0);
                    finder.event(file, event(EpisodePhase::Started { instruction, seed }), at);
                }
                Said::Stopped(_) | Said::Excluded => {
                    let excluded = matches!(said, Said::Excluded);
                    let success = matches!(said, Said::Stopped(true));
                    let reason = String::new();
                    let stopped = EpisodePhase::Stopped {
                        success,
                        reason,
                        excluded,
                    };
                    finder.event(file, event(stopped), at);
                }
                Mode(mode) => {
                    let report = ModeReport {
                        mode,
                        reason: String::new(),
                        fault: None,
                        generation: Generation::default(),
                        since: at,
                        instruction: "lift".into(),
                        counters: Counters::default(),
                        lease: None,
                    };
                    finder.mode(file, &report, at + std::time::Duration::from_millis(5));
                }
            }
        }
        let millis = |at: Time| at.as_nanos() / 1_000_000;
        let all = finder.by_event.iter();
        all.map(|e| (millis(e.from), millis(e.until), e.success))
            .collect()
    }

    #[test]
    fn an_episode_ends_when_the_arm_leaves_it_and_is_scored_whenever_that_is_said() {
        let scored = found(vec![
            (0, Mode(Ready)),
            (1000, Said::Started),
            (1010, Mode(Policy)),
            (4000, Mode(Hold)),
            (5000, Mode(Policy)),
            (9000, Mode(Stopped)),
            (9500, Mode(Ready)),
            (90_000, Said::Stopped(true)),
            // The panel says so after the order; nobody scores before the next begins.
            (100_000, Mode(Policy)),
            (100_010, Said::Started),
            (104_000, Mode(Ready)),
            (200_000, Said::Stopped(false)),
            (200_000, Said::Started),
            (200_010, Mode(Policy)),
            // Judged while the policy still runs.
            (203_000, Said::Stopped(true)),
            (203_100, Mode(Ready)),
            // The arm never went.
            (300_000, Said::Started),
            (301_000, Said::Stopped(false)),
            // A cable came off.
            (400_000, Said::Started),
            (401_000, Said::Excluded),
        ]);
        assert_eq!(
            scored,
            [
                (1000, 9000, Some(true)),
                (100_010, 104_000, Some(false)),
                (200_000, 203_000, Some(true)),
                (300_000, 301_000, Some(false)),
            ]
        );
    }
}
