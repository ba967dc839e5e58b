//! Evaluation of policies: what is tried, in which order, what came of it, and what that says.
//!
//! Decides the order and blinding of trials, which of them count, when an evaluation is over, and every figure of its
//! report. Does not run a trial: the launcher does, in real time or in lock-step, and hands the outcome in.
//!
//! Statistics, of numbers alone:
//! - [`error`]: every way that numbers, plans and results can be refused.
//! - [`distribution`]: normal, beta, chi-squared, binomial.
//! - [`tally`]: successes among trials; Clopper-Pearson and Wilson intervals.
//! - [`posterior`]: the Bayesian reading; which policy is better, how probably.
//! - [`barnard`]: are two success probabilities equal?
//! - [`paired`]: the same question from the same start conditions; several pairs at once.
//! - [`sequential`]: a test that may be looked at after every pair of trials.
//! - [`survival`]: time to success.
//! - [`power`]: how many trials are needed.
//! - [`analysis`]: every policy and every pair of policies, of the outcomes handed in.
//! - [`table`]: outcomes from elsewhere, as CSV.
//!
//! An evaluation, from its plan to its report:
//! - [`plan`]: what is fixed before the first trial.
//! - [`order`]: which trial comes when, and who is called what.
//! - [`trial`]: what is written of it, and which trials count.
//! - [`journal`]: the results file, a chain of hashes.
//! - [`progress`]: where it stands, what comes next, when it is over.
//! - [`report`]: a page with every figure.
#![forbid(unsafe_code)]

pub mod analysis;
pub mod barnard;
pub mod distribution;
pub mod error;
pub mod journal;
pub mod order;
pub mod paired;
pub mod plan;
pub mod posterior;
pub mod power;
pub mod progress;
pub mod report;
pub mod sequential;
pub mod survival;
pub mod table;
pub mod tally;
pub mod trial;

pub use error::{JournalError, PlanError, ReportError, StatisticsError, TableError};
pub use tally::{Interval, Tally};
