//! `tactus eval` and `tactus report`: plans, trials, figures.
//!
//! Decides nothing about order, blinding, statistics or what counts: `tactus-eval` does. Here files are opened, trials run,
//! and figures shown.

mod operator;
mod run;
mod setting;
mod stage;
mod store;
mod table;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;
use tactus_eval::analysis::{Analysis, Settings};
use tactus_eval::posterior::Prior;
use tactus_eval::power::{Power, Question};
use tactus_eval::report::Report;

use crate::cli::{EvalAnalyzeArgs, EvalArgs, EvalPowerArgs, EvalVerb, PriorWord, ReportArgs};
use crate::result;

/// Pairs at most for which the chances of a sequential evaluation are computed; more would take minutes.
const MOST_PAIRS: u64 = 120;

/// `tactus eval`.
pub fn eval(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        EvalVerb::Run(args) => run::run(args),
        EvalVerb::Resume {
            dir,
            listen,
            despite_preflight,
        } => run::resume(dir, listen.as_deref(), *despite_preflight),
        EvalVerb::Power(args) => power(args).map(|()| ExitCode::SUCCESS),
        EvalVerb::Analyze(args) => analyze(args).map(|()| ExitCode::SUCCESS),
    }
}

/// `tactus report`.
pub fn report(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let files = write_report(&args.dir)?;
    result::line(files)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the report of the evaluation in `dir`; says where.
pub fn write_report(dir: &Path) -> anyhow::Result<String> {
    let report = Report::read(dir)?;
    let mut written = Vec::new();
    for (name, text) in [
        ("report.html", report.html()),
        ("report.json", report.json()?),
        ("report.csv", report.csv()),
    ] {
        let file = dir.join(name);
        std::fs::write(&file, text).with_context(|| format!("report {}", file.display()))?;
        written.push(file.display().to_string());
    }
    Ok(format!("report: {}", written.join(", ")))
}

fn power(args: &EvalPowerArgs) -> anyhow::Result<()> {
    let question = Question {
        baseline: args.baseline,
        better: args.better,
        alpha: args.alpha,
        power: args.power,
    };
    question.check()?;
    let power = match args.trials {
        Some(trials) => Power {
            trials,
            power: question.power_of(trials),
        },
        None => question.trials()?,
    };
    let most = power.trials.min(MOST_PAIRS);
    let sequential = question.sequential(most);
    write_json(
        args.json.as_deref(),
        &serde_json::json!({
            "baseline": args.baseline, "better": args.better, "alpha": args.alpha,
            "barnard": power, "sequential": sequential,
        }),
    )?;
    let asked = match args.trials {
        Some(_) => String::new(),
        None => format!(" (asked for: {:.0} %)", 100.0 * args.power),
    };
    result::line(format_args!(
        "{} trials per policy: Barnard's exact test tells {:.0} % from {:.0} % at level {} with a probability of {:.1} %{asked}.",
        power.trials,
        100.0 * args.baseline,
        100.0 * args.better,
        args.alpha,
        100.0 * power.power,
    ))?;
    let outlook = sequential.outlook;
    result::line(format_args!(
        "Looked at after every pair, stop rule \"sequential\": within {most} pairs it names the better policy with a \
         probability of {:.1} %, after {:.1} pairs on average.",
        100.0 * outlook.first,
        outlook.mean_pairs,
    ))
}

fn analyze(args: &EvalAnalyzeArgs) -> anyhow::Result<()> {
    if !(0.5..=0.999).contains(&args.level) {
        anyhow::bail!("--level is {}; expected 0.5 to 0.999", args.level);
    }
    let outcomes = tactus_eval::table::read(&args.file)?;
    let prior = match args.prior {
        PriorWord::Jeffreys => Prior::Jeffreys,
        PriorWord::Uniform => Prior::Uniform,
    };
    let settings = Settings {
        level: args.level,
        prior,
    };
    let analysis = Analysis::new(&outcomes, settings);
    write_json(args.json.as_deref(), &analysis)?;
    result::line(table::tables(&analysis))
}

fn write_json(file: Option<&Path>, value: &impl Serialize) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    let text = serde_json::to_string_pretty(value).context("figures as JSON")?;
    std::fs::write(file, text + "\n").with_context(|| format!("result file {}", file.display()))
}
