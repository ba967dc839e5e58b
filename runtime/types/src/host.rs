//! What a host was doing while a deadline was missed, and how often which stage missed one.

use crate::{Stage, StageTimes};

/// Load of a host over a short stretch of time. What a machine does not tell is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HostLoad {
    /// Share of its processor time that the hypervisor gave to others, 0..1.
    pub steal: f64,
    /// Share in which it computed, 0..1.
    pub busy: f64,
    /// Threads that ran or waited for a core, at the end.
    pub runnable: u32,
    /// Cores.
    pub cores: u32,
    /// Share of the time in which some thread waited for a core (pressure stall information), 0..1.
    pub pressure: Option<f64>,
    /// Clock of the slowest core, MHz.
    pub mhz: Option<f64>,
    /// Times that a core was slowed down because it was hot.
    pub throttles: Option<u64>,
}

impl std::fmt::Display for HostLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            steal,
            busy,
            runnable,
            cores,
            pressure,
            mhz,
            throttles,
        } = self;
        write!(
            f,
            "steal {:.0} %, busy {:.0} %, {runnable} runnable on {cores} cores",
            100.0 * steal,
            100.0 * busy
        )?;
        if let Some(pressure) = pressure {
            write!(
                f,
                ", waiting for a core {:.0} % of the time",
                100.0 * pressure
            )?;
        }
        if let Some(mhz) = mhz {
            write!(f, ", {mhz:.0} MHz")?;
        }
        match throttles {
            Some(n) if *n > 0 => write!(f, ", throttled {n} times"),
            _ => Ok(()),
        }
    }
}

/// Deadlines missed, by what missed them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Misses {
    /// Chunks over their budget, under the stage that was furthest over it; ticks whose own work was too long, under
    /// `limit` and `actuate`. In the order of [`Stage::ALL`].
    pub stages: [u64; Stage::ALL.len()],
    /// Ticks for which the host did not run the control thread in time.
    pub host: u64,
    /// Requests that were not answered by their deadline.
    pub unanswered: u64,
}

impl Misses {
    /// Of `stage`.
    pub fn of(&self, stage: Stage) -> u64 {
        self.stages[stage as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.stages.iter().sum::<u64>() + self.host + self.unanswered
    }

    /// Counts one.
    pub fn count(&mut self, culprit: Culprit) {
        match culprit {
            Culprit::Stage(stage) => self.stages[stage as usize] += 1,
            Culprit::Host => self.host += 1,
            Culprit::Engine => self.unanswered += 1,
        }
    }
}

impl std::fmt::Display for Misses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.total() == 0 {
            return write!(f, "none");
        }
        let stages = Stage::ALL.into_iter().map(|s| (self.of(s), s.name()));
        let others = [
            (self.host, "ticks by the host"),
            (self.unanswered, "unanswered"),
        ];
        let mut separator = "";
        for (count, what) in stages.chain(others).filter(|(count, _)| *count > 0) {
            write!(f, "{separator}{count} {what}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// What missed a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Culprit {
    /// A stage that took too long.
    Stage(Stage),
    /// The host: it did not run the control thread in time.
    Host,
    /// The engine: it gave no answer.
    Engine,
}

impl Culprit {
    /// What made a tick miss the next deadline: it woke `late`, decided in `decided`, commanded in `applied`.
    ///
    /// The largest of the three; the host's where all of them fit into the `period`, since then the thread was kept from
    /// asking for its next deadline.
    pub fn of_tick(
        work: &StageTimes,
        late: std::time::Duration,
        period: std::time::Duration,
    ) -> Self {
        let (decided, applied) = (work.get(Stage::Limit), work.get(Stage::Actuate));
        if late >= decided.max(applied) || late + decided + applied < period {
            return Self::Host;
        }
        match decided >= applied {
            true => Self::Stage(Stage::Limit),
            false => Self::Stage(Stage::Actuate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_missed_tick_is_its_work_or_the_host() {
        let blame = |late: u64, decided: u64, applied: u64| {
            let mut work = StageTimes::default();
            work.set(Stage::Limit, Duration::from_micros(decided));
            work.set(Stage::Actuate, Duration::from_micros(applied));
            Culprit::of_tick(
                &work,
                Duration::from_micros(late),
                Duration::from_micros(1000),
            )
        };
        assert_eq!(blame(3000, 20, 10), Culprit::Host, "woken late");
        assert_eq!(blame(30, 1500, 10), Culprit::Stage(Stage::Limit));
        assert_eq!(blame(30, 20, 1500), Culprit::Stage(Stage::Actuate));
        assert_eq!(blame(30, 20, 10), Culprit::Host, "kept from asking");
        let mut misses = Misses::default();
        for culprit in [blame(30, 20, 10), blame(30, 1500, 10), Culprit::Engine] {
            misses.count(culprit);
        }
        assert_eq!(
            (misses.host, misses.of(Stage::Limit), misses.total()),
            (1, 1, 3)
        );
        let words = "1 limit, 1 ticks by the host, 1 unanswered";
        assert_eq!(misses.to_string(), words);
        assert_eq!(Misses::default().to_string(), "none");
    }
}
