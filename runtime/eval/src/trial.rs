//! What is written of an evaluation: its header, the beginning and end of every trial, and its own end.
//!
//! Decides which trials count: those that a fault of the set-up or the hardware ended are tried again, everything else
//! counts, however it ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line of the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry {
    /// The first line.
    Begun(Begun),
    /// A trial began. What follows it is its end, unless the process died.
    Started {
        /// Place in the order.
        trial: u64,
        /// How often it was tried, from 1.
        attempt: u32,
        /// UTC.
        at: String,
    },
    /// A trial ended.
    Ended(Box<Ended>),
    /// The last line: the blind is lifted.
    Finished {
        /// Why.
        reason: Finish,
        /// UTC.
        at: String,
        /// Who was called what.
        policies: Vec<Unblinded>,
    },
}

/// What an evaluation began with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// UTC.
    pub at: String,
    /// Version of this program.
    pub tactus: String,
    /// How trials are run: `lockstep`, `real_time` or `operator`.
    pub mode: String,
    /// Folder of the plan file, which the paths in it are relative to.
    pub plan_folder: String,
    /// Hash of the plan file.
    pub plan_sha256: String,
    /// Hash of the order of trials and of the labels.
    pub order_sha256: String,
    /// Name of the cell.
    pub cell: String,
    /// The cell file.
    pub cell_file: String,
    /// Hash of it.
    pub cell_sha256: String,
    /// Bundles, by id: in an order that says nothing about labels.
    pub bundles: Vec<String>,
    /// Whether every trial is recorded.
    #[serde(default)]
    pub recorded: bool,
    /// What else is worth knowing: machine, provider, calibration.
    pub facts: BTreeMap<String, String>,
}

/// How a trial ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Place in the order.
    pub trial: u64,
    /// How often it was tried, from 1.
    pub attempt: u32,
    /// UTC.
    pub at: String,
    /// What the policy is called.
    pub label: String,
    /// Name of the task.
    pub task: String,
    /// Start condition, in words.
    pub condition: String,
    /// What the arm was told.
    pub instruction: String,
    /// Whether it succeeded.
    pub success: bool,
    /// Who says so: `simulator` or `operator`.
    pub judge: String,
    /// How far it came, 0 to 100.
    pub progress: f64,
    /// Milestones that were reached.
    pub milestones: Vec<String>,
    /// Time of success, or of the end, s of the cell's clock.
    pub secs: f64,
    /// Why it ended without success.
    pub abort: Option<Abort>,
    /// Free text.
    pub note: String,
    /// What the runtime measured.
    pub figures: Figures,
}

impl Ended {
    /// Whether it counts. A trial that does not is tried again.
    pub fn counts(&self) -> bool {
        self.abort.is_none_or(Abort::counts)
    }
}

/// Why a trial ended without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Abort {
    /// The task's time was over.
    Timeout,
    /// The operator stopped it: it was of no use, or would have done harm.
    OperatorStop,
    /// A limit stopped it.
    SafetyGate,
    /// Something was late or silent, and the arm held.
    Watchdog,
    /// The policy gave up or gave nothing that could be executed.
    PolicyFailure,
    /// The arm, a camera or a cable failed.
    HardwareFault,
    /// The scene was not set up as planned.
    SetupError,
    /// The process that ran the evaluation died.
    Interrupted,
}

impl Abort {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Timeout,
        Self::OperatorStop,
        Self::SafetyGate,
        Self::Watchdog,
        Self::PolicyFailure,
        Self::HardwareFault,
        Self::SetupError,
        Self::Interrupted,
    ];

    /// Whether a trial that ended so counts, as a failure. What a policy may have caused does.
    pub fn counts(self) -> bool {
        match self {
            Self::Timeout
            | Self::OperatorStop
            | Self::SafetyGate
            | Self::Watchdog
            | Self::PolicyFailure => true,
            Self::HardwareFault | Self::SetupError | Self::Interrupted => false,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Timeout => "time limit",
            Self::OperatorStop => "stopped by the operator",
            Self::SafetyGate => "stopped by a limit",
            Self::Watchdog => "watchdog",
            Self::PolicyFailure => "policy failure",
            Self::HardwareFault => "hardware fault",
            Self::SetupError => "set-up error",
            Self::Interrupted => "the evaluation's process died",
        }
    }
}

/// What the runtime measured during a trial; what was not measured is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Control ticks.
    pub ticks: u64,
    /// Ticks after the first chunk without an action that was due.
    pub starved_ticks: u64,
    /// Ticks in hold.
    pub held_ticks: u64,
    /// Ticks whose setpoint a limit changed.
    pub limited_ticks: u64,
    /// Times a fault led to a hold.
    pub holds: u64,
    /// Chunks that entered.
    pub chunks: u64,
    /// Deadlines missed, by what missed them.
    pub misses: BTreeMap<String, u64>,
    /// Median and 99th percentile of each stage, ms.
    pub stages_ms: BTreeMap<String, [f64; 2]>,
    /// Median and 99th percentile of inference, ms.
    pub inference_ms: Option<[f64; 2]>,
    /// Age of the observation behind each command when it was applied: commands in each 10 ms from 0, the last one and all
    /// older.
    pub age_histogram: Vec<u64>,
    /// Lateness of control ticks, us: p50, p99, p99.9, largest.
    pub lateness_us: Option<[f64; 4]>,
    /// How smooth the motion was: spectral arc length, nearer to 0 is smoother.
    pub sparc: Option<f64>,
    /// In lock-step: SHA-256 over all commands.
    pub commands_sha256: Option<String>,
    /// The scene before the trial, as a camera saw it.
    pub first: Option<Kept>,
    /// And at its end.
    pub last: Option<Kept>,
    /// The recording.
    pub recording: Option<Kept>,
}

/// A file that a trial left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Relative to the evaluation's folder.
    pub file: String,
    /// Of its bytes.
    pub sha256: String,
}

/// Width of a bin of [`Figures::age_histogram`], ms.
pub const AGE_BIN_MS: u64 = 10;
/// Bins of [`Figures::age_histogram`].
pub const AGE_BINS: usize = 40;

impl Figures {
    /// Counts a command whose observation was this old, ms.
    pub fn count_age(&mut self, age_ms: u64) {
        self.age_histogram.resize(AGE_BINS, 0);
        let bin = (age_ms / AGE_BIN_MS).min(AGE_BINS as u64 - 1) as usize;
        self.age_histogram[bin] += 1;
    }
}

/// Why an evaluation is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// All trials were run.
    Complete,
    /// The sequential test named the better policy.
    Decided,
}

/// Who was called what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unblinded {
    /// Until the end.
    pub label: String,
    /// In the plan.
    pub name: String,
    /// Hash of the bundle's manifest.
    pub bundle_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_policy_cannot_cause_is_tried_again() {
        let again: Vec<Abort> = Abort::ALL.into_iter().filter(|a| !a.counts()).collect();
        assert_eq!(
            again,
            [Abort::HardwareFault, Abort::SetupError, Abort::Interrupted]
        );
    }

    #[test]
    fn ages_beyond_the_last_bin_are_counted_there() {
        let mut figures = Figures::default();
        for age in [0, 9, 10, 399, 400, 9999] {
            figures.count_age(age);
        }
        assert_eq!((figures.age_histogram[0], figures.age_histogram[1]), (2, 1));
        assert_eq!(figures.age_histogram[AGE_BINS - 1], 3);
    }
}
