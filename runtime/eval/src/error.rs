//! Every way that numbers, plans and results can be refused.

use std::path::PathBuf;

/// Numbers that no statistic can be made of.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    /// More successes than trials.
    #[error("{successes} successes in {trials} trials: impossible")]
    Counts {
        /// Successes given.
        successes: u64,
        /// Trials given.
        trials: u64,
    },
    /// A number outside its range.
    #[error("{what} is {actual}; expected {expected}")]
    Range {
        /// What the number is.
        what: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        actual: f64,
    },
    /// More trials than are searched through.
    #[error(
        "no number of trials per policy up to {most} is enough to tell {baseline} from {better}"
    )]
    TooMany {
        /// The largest number looked at.
        most: u64,
        /// Success rate of one policy.
        baseline: f64,
        /// And of the other.
        better: f64,
    },
}

/// Results from elsewhere that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// A column is missing.
    #[error("{}: no column `{column}`; the header says: {header}", file.display())]
    Column {
        /// The file.
        file: PathBuf,
        /// The column.
        column: &'static str,
        /// All columns.
        header: String,
    },
    /// A field says what it cannot.
    #[error("{} line {line}: `{column}` is `{actual}`; expected {expected}", file.display())]
    Field {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The column.
        column: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
    /// Counts of a row that cannot be.
    #[error("{} line {line}: {source}", file.display())]
    Counts {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong with them.
        source: StatisticsError,
    },
    /// One start condition of one task tried twice with one policy.
    #[error("{} line {line}: policy `{policy}` tries task `{task}` from condition `{condition}` a second time", file.display())]
    Repeated {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The policy.
        policy: String,
        /// The task.
        task: String,
        /// The start condition.
        condition: String,
    },
    /// Nothing in it.
    #[error("{}: no row with results", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
}

/// A plan that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not a plan file.
    #[error("{0}")]
    Syntax(Box<toml::de::Error>),
    /// A value out of its range, or that does not fit the others.
    #[error("`{field}` is {actual}; expected {expected}")]
    Value {
        /// The field.
        field: String,
        /// What it may be.
        expected: String,
        /// What it is.
        actual: String,
    },
}

/// Results of an evaluation that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be written; what was in it before still is.
    #[error("{}: {source}; all trials up to here are saved, go on with `tactus eval resume`", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Someone else writes it.
    #[error("{}: another process runs this evaluation", file.display())]
    Busy {
        /// The file.
        file: PathBuf,
    },
    /// A line is not as it was written.
    #[error("{} line {line} was edited: {what}", file.display())]
    Edited {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What does not fit.
        what: String,
    },
    /// Lines are missing at the end.
    #[error("{}: {actual} lines, but {expected} were written: lines were removed at the end", file.display())]
    Short {
        /// The file.
        file: PathBuf,
        /// Lines that were written.
        expected: usize,
        /// Lines that are there.
        actual: usize,
    },
    /// Lines that are whole, but say together what cannot be.
    #[error("{} line {line}: {what}", file.display())]
    Story {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What cannot be.
        what: String,
    },
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file cannot be read.
    #[error("no evaluation here: {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The plan is none.
    #[error("{}: {source}", file.display())]
    Plan {
        /// The file.
        file: PathBuf,
        /// Why.
        source: PlanError,
    },
    /// The plan is another one.
    #[error("{} was changed since the evaluation began", file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// The results cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Nothing was run.
    #[error("{}: no trial has begun", dir.display())]
    Nothing {
        /// The evaluation's folder.
        dir: PathBuf,
    },
}
