//! Evaluations and their reports.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `tactus report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Folder of the evaluation.
    pub dir: PathBuf,
}

/// `tactus eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// What to do.
    #[command(subcommand)]
    pub verb: EvalVerb,
}

/// What `tactus eval` can do.
#[derive(Debug, Subcommand)]
pub enum EvalVerb {
    /// Run the trials of a plan on the simulated cell, in an order drawn from its seed, with the policies' names hidden until
    /// the end. Each trial is on the disk the moment it ends.
    Run(EvalRunArgs),
    /// Go on after a crash, Ctrl-C or a full disk: no trial is lost and none that counts is repeated.
    Resume {
        /// Folder of the evaluation.
        dir: PathBuf,
        /// Where panels of a plan that an operator scores find the trials. Default: a free loopback port.
        #[arg(long, value_name = "ENDPOINT")]
        listen: Option<String>,
        /// On a real arm, go on where joints or pictures are not as a trial's bundle was trained on; as of `run`.
        #[arg(long)]
        despite_preflight: bool,
    },
    /// Say how many trials it takes to tell two success rates apart.
    Power(EvalPowerArgs),
    /// Say what results from elsewhere say: intervals, posteriors, tests of every pair of policies.
    Analyze(EvalAnalyzeArgs),
}

/// `tactus eval run`.
#[derive(Debug, Args)]
pub struct EvalRunArgs {
    /// Plan; see runtime/eval/README.md.
    pub plan: PathBuf,
    /// Folder for plan, results and report; must not hold an evaluation.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Where panels of a plan that an operator scores find the trials, for example tcp/127.0.0.1:7448. Default: a free loopback
    /// port, which is said.
    #[arg(long, value_name = "ENDPOINT")]
    pub listen: Option<String>,
    /// On a real arm, go on where joints or pictures are not as a trial's bundle was trained on. Without it the arm host is not
    /// started then, and the trial is excluded.
    #[arg(long)]
    pub despite_preflight: bool,
    /// Nothing is shown but one line per trial; so it is anyway.
    #[arg(long)]
    pub headless: bool,
    /// Same decisions on a virtual clock in one process, repeatable bit for bit; otherwise each trial brings the cell up in
    /// real time.
    #[arg(long)]
    pub lockstep: bool,
    /// Record every trial, to a file of its own in the evaluation's folder; the report links to it, `tactus replay` decides it
    /// again.
    #[arg(long)]
    pub record: bool,
}

/// `tactus eval power`.
#[derive(Debug, Args)]
pub struct EvalPowerArgs {
    /// Success rate that is expected of the baseline, 0 to 1.
    #[arg(long, value_name = "RATE")]
    pub baseline: f64,
    /// Success rate of the other policy that should be told from it, 0 to 1.
    #[arg(long, value_name = "RATE")]
    pub better: f64,
    /// Chance to call equal policies different.
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub alpha: f64,
    /// Chance to call these different.
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    pub power: f64,
    /// Say what this many trials per policy can tell, instead of how many it takes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=1000))]
    pub trials: Option<u64>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// `tactus eval analyze`.
#[derive(Debug, Args)]
pub struct EvalAnalyzeArgs {
    /// CSV: policy, task, success or successes and trials, and perhaps condition, progress, seconds.
    pub file: PathBuf,
    /// Of every interval.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95)]
    pub level: f64,
    /// What is believed before the first trial.
    #[arg(long, value_enum, default_value_t = PriorWord::Jeffreys)]
    pub prior: PriorWord,
    /// Write all figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Priors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PriorWord {
    /// Beta(1/2, 1/2).
    Jeffreys,
    /// Beta(1, 1).
    Uniform,
}
