//! `tactus doctor`: is this machine fit for this cell, and if not, what to do about it. One line per finding.
//!
//! Looks at the machine ([`host`]), at the arm of `[device]` ([`device`]), at cell, bundle and budget ([`cell`]), without
//! a running cell; at what one shows ([`live`]) and how its processes reach each other ([`network`]), where there is one; at
//! whether this user may open the devices that it names ([`access`]). Decides what is a failure (the cell cannot run, or
//! cannot keep its times: exit code 3) and what a warning
//! (it runs, and could run better).
//! Changes nothing.

mod access;
mod cell;
mod device;
mod host;
pub mod live;
mod network;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tactus_bundle::AnyBundle;
use tactus_drivers_api::wire_driver::ask_info;
use tactus_wire::Session;

use crate::cell::Cell;
use crate::cli::DoctorArgs;
use crate::{checkout, result};

/// How long device and cameras may take to show themselves.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a finding is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    name: &'static str,
    verdict: Verdict,
    /// What is.
    found: String,
    /// What was expected, where that is not said by what is.
    expected: Option<String>,
    /// What to do about it; for findings that are not a pass.
    mend: Option<String>,
    /// Nothing harmless explains it: `tactus run` refuses.
    sure: bool,
}

impl Finding {
    fn pass(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            verdict: Verdict::Pass,
            found: found.into(),
            expected: None,
            mend: None,
            sure: true,
        }
    }

    fn expecting(self, expected: impl Into<String>) -> Self {
        Self {
            expected: Some(expected.into()),
            ..self
        }
    }

    fn warn(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            mend: Some(mend.into()),
            ..Self::pass(name, found)
        }
    }

    fn fail(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            mend: Some(mend.into()),
            ..Self::pass(name, found)
        }
    }

    /// Something harmless may explain it: a machine that is busy, a cell that is being set up.
    fn doubtful(self) -> Self {
        Self {
            sure: false,
            ..self
        }
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "verdict": self.verdict.word(),
            "found": self.found,
            "expected": self.expected,
            "mend": self.mend,
        })
    }
}

/// What was found so far; each line is printed as it is found.
struct Report {
    findings: Vec<Finding>,
    /// More than a line, for the JSON file.
    figures: serde_json::Map<String, Value>,
    coloured: bool,
}

impl Report {
    fn add(&mut self, finding: Finding) -> anyhow::Result<()> {
        let colour = match finding.verdict {
            Verdict::Pass => "\x1b[32m",
            Verdict::Warn => "\x1b[33m",
            Verdict::Fail => "\x1b[1;31m",
        };
        let word = finding.verdict.word();
        let word = match self.coloured {
            true => format!("{colour}{word}\x1b[0m"),
            false => word.to_owned(),
        };
        result::line(format_args!(
            "{word}  {:<22} {}",
            finding.name, finding.found
        ))?;
        if let Some(expected) = &finding.expected {
            result::line(format_args!("        expected: {expected}"))?;
        }
        if let Some(mend) = &finding.mend {
            result::line(format_args!("        -> {mend}"))?;
        }
        self.findings.push(finding);
        Ok(())
    }

    fn worst(&self) -> Verdict {
        let verdicts = self.findings.iter().map(|f| f.verdict);
        verdicts.max().unwrap_or(Verdict::Pass)
    }

    fn count(&self, verdict: Verdict) -> usize {
        let of = |f: &&Finding| f.verdict == verdict;
        self.findings.iter().filter(of).count()
    }
}

/// Says on stderr what takes a while, as long as it does.
fn busy(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(what.to_owned());
    // A template of ours is legal; a broken one would only look plain.
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Looks at everything; exit code 3 when something fails.
pub fn doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let file = match args.file.as_ref().or(args.cell.as_ref()) {
        Some(file) => file.clone(),
        None => checkout::demo_cell()?,
    };
    let mut report = Report {
        findings: Vec::new(),
        figures: serde_json::Map::new(),
        coloured: std::io::stdout().is_terminal(),
    };
    result::line(format_args!("cell {}", file.display()))?;
    let cell = match crate::cell::load(&file) {
        Ok(cell) => {
            let cameras = cell.cameras.len();
            let found = format!("`{}`: arm `{}`, {cameras} cameras", cell.name, cell.arm);
            report.add(Finding::pass("cell file", found))?;
            Some(cell)
        }
        Err(e) => {
            let mend = "launch/cells/README.md explains every field";
            report.add(Finding::fail("cell file", e.to_string(), mend))?;
            None
        }
    };
    if !args.quick {
        host::look(&mut report, cell.as_ref())?;
    }
    if let Some(cell) = &cell {
        if !args.quick {
            access::look(&mut report, cell)?;
        }
        if args.connect.is_none() && !args.running {
            device::look(&mut report, cell)?;
        }
        cell::look(&mut report, cell, args)?;
    }
    if let Some(file) = &args.json {
        let findings: Vec<Value> = report.findings.iter().map(Finding::json).collect();
        let mut value = json!({
            "verdict": report.worst().word(),
            "findings": findings,
        });
        if let Some(object) = value.as_object_mut() {
            object.append(&mut report.figures.clone());
        }
        let text = serde_json::to_string_pretty(&value).context("findings as JSON")?;
        std::fs::write(file, text + "\n")
            .with_context(|| format!("result file {}", file.display()))?;
    }
    let (fails, warns) = (report.count(Verdict::Fail), report.count(Verdict::Warn));
    result::line(format_args!("{fails} failed, {warns} warnings"))?;
    Ok(match report.worst() {
        Verdict::Fail => ExitCode::from(3),
        Verdict::Pass | Verdict::Warn => ExitCode::SUCCESS,
    })
}

/// Whether the arm host of `cell` may start with `bundle`: before it does nobody can switch torque on. Where nothing can be
/// compared, and with `despite` where something does not fit, it may; why is said on stderr.
pub fn may_start(
    session: &Session,
    cell: &Cell,
    bundle: anyhow::Result<AnyBundle>,
    despite: bool,
) -> bool {
    let fits = match bundle {
        Ok(bundle) => preflight(session, cell, &bundle),
        // A human can command an arm without any policy; the engine says the same.
        Err(e) => Err(e.context("nothing is compared")),
    };
    match fits {
        Ok(true) => true,
        Ok(false) if despite => {
            eprintln!("preflight: goes on despite that, as asked (--despite-preflight)");
            true
        }
        Ok(false) => {
            eprintln!(
                "the arm host was not started; --despite-preflight goes on where you know better"
            );
            false
        }
        // Without an answer the arm host says by itself what it lacks.
        Err(e) => {
            eprintln!("preflight: warning: {e:#}");
            true
        }
    }
}

/// What is looked at before the arm host starts: whether what device and cameras show fits the bundle. Says on
/// stderr what does not, and returns whether the cell may go on.
///
/// # Errors
/// When nothing answers, or the bundle cannot be read.
fn preflight(session: &Session, cell: &Cell, bundle: &AnyBundle) -> anyhow::Result<bool> {
    let info = ask_info(session, &cell.wire, &cell.device, PATIENCE)?;
    let began = Instant::now();
    let shown = loop {
        let shown = live::listen(session, cell, live::LISTEN)?;
        if shown.is_complete() || began.elapsed() > PATIENCE {
            break shown;
        }
    };
    let mut fits = true;
    for finding in live::findings(&shown, cell, &info, bundle)? {
        let Finding {
            name,
            verdict,
            found,
            expected,
            mend,
            sure,
        } = finding;
        if verdict == Verdict::Pass {
            continue;
        }
        let refuses = verdict == Verdict::Fail && sure;
        fits &= !refuses;
        let word = if refuses { "refused" } else { "warning" };
        let expected = expected
            .map(|e| format!("; expected {e}"))
            .unwrap_or_default();
        let mend = mend.map(|m| format!(" -> {m}")).unwrap_or_default();
        eprintln!("preflight: {word}: {name}: {found}{expected}{mend}");
    }
    Ok(fits)
}
