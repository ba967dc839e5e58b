//! What a drill found, as a table, as JSON and as a picture; and what can be drilled.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use comfy_table::{CellAlignment, Table, presets};
use plotters::prelude::*;
use serde::Serialize;
use tactus_control::{LadderSpec, is_the_arms, rule};
use tactus_types::FaultKind;

use super::live::{Judged, LIVE, LiveWish};
use super::{CATALOGUE, Expect, In, Outcome};

/// All repetitions of a fault in a mode.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The fault as it is written.
    pub fault: String,
    /// The mode that it met.
    pub mode: &'static str,
    /// Repetitions, and those of them in which nothing fell short.
    pub repetitions: u64,
    /// Repetitions in which nothing fell short.
    pub passes: u64,
    /// Repetitions that ended in a hold.
    pub holds: u64,
    /// The reasons of the holds.
    pub reasons: Vec<&'static str>,
    /// Longest time from the fault to the hold, ms.
    pub hold_after_ms: Option<f64>,
    /// Its bound in that repetition, ms.
    pub bound_ms: Option<f64>,
    /// In real time: by how much the control thread was late at most in the stretches that were judged, ms.
    pub noise_ms: Option<f64>,
    /// Largest change of a joint's command in one tick, mrad.
    pub largest_step_mrad: f64,
    /// Largest distance of a command from the arm, mrad.
    pub largest_lead_mrad: f64,
    /// Largest jerk of the commands, rad/s^3.
    pub peak_jerk: f64,
    /// Repetitions after which the cell worked again.
    pub recovered: u64,
    /// The first thing that fell short.
    pub short: Option<String>,
}

impl Row {
    /// Whether nothing fell short.
    pub fn passed(&self) -> bool {
        self.passes == self.repetitions
    }

    fn rung(&self) -> String {
        match (self.holds, self.mode) {
            (0, "policy" | "goto" | "teleop") => "goes on".into(),
            (0, _) => "stays".into(),
            (holds, _) if holds == self.repetitions => "hold".into(),
            (holds, _) => format!("hold in {holds} of {}", self.repetitions),
        }
    }
}

/// What `--json` holds.
#[derive(Serialize)]
pub struct Document<'a> {
    /// Seed of the first repetition.
    pub seed: u64,
    /// Repetitions of each fault in each mode.
    pub repetitions: u64,
    /// The bundle whose chunks were played.
    pub bundle_id: String,
    /// The matrix.
    pub rows: &'a [Row],
}

/// What a repetition adds to its row.
pub struct Finding<'a> {
    /// What followed.
    pub outcome: &'a Outcome,
    /// Why the arm held, if it did.
    pub reason: Option<&'static str>,
    /// By how much the control thread was late, in real time.
    pub noise: Option<Duration>,
}

impl<'a> Finding<'a> {
    /// Of a repetition in lock-step, where nothing is late.
    pub fn lockstep(outcome: &'a Outcome) -> Self {
        Self {
            outcome,
            reason: outcome.reason.map(FaultKind::name),
            noise: None,
        }
    }
}

/// One row per fault and mode.
pub fn rows<'a, W>(
    scenes: &[(String, W)],
    jobs: &[(usize, In, u64)],
    findings: impl Iterator<Item = Finding<'a>>,
) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for ((scene, mode, _), finding) in jobs.iter().zip(findings) {
        let fault = scenes.get(*scene).map_or("", |(name, _)| name.as_str());
        let same = |row: &&mut Row| row.fault == fault && row.mode == mode.word();
        if rows.last_mut().filter(same).is_none() {
            rows.push(Row {
                fault: fault.into(),
                mode: mode.word(),
                repetitions: 0,
                passes: 0,
                holds: 0,
                reasons: Vec::new(),
                hold_after_ms: None,
                bound_ms: None,
                noise_ms: None,
                largest_step_mrad: 0.0,
                largest_lead_mrad: 0.0,
                peak_jerk: 0.0,
                recovered: 0,
                short: None,
            });
        }
        if let Some(row) = rows.last_mut() {
            add(row, &finding);
        }
    }
    rows
}

fn add(row: &mut Row, finding: &Finding<'_>) {
    let Finding {
        outcome,
        reason,
        noise,
    } = finding;
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    row.noise_ms = match (row.noise_ms, noise) {
        (Some(most), Some(noise)) => Some(most.max(ms(*noise))),
        (most, noise) => most.or(noise.map(ms)),
    };
    row.repetitions += 1;
    row.passes += u64::from(outcome.short.is_empty());
    row.recovered += u64::from(outcome.recovered);
    row.largest_step_mrad = row.largest_step_mrad.max(outcome.largest_step * 1e3);
    row.largest_lead_mrad = row.largest_lead_mrad.max(outcome.largest_lead * 1e3);
    row.peak_jerk = row.peak_jerk.max(outcome.peak_jerk);
    if row.short.is_none() {
        row.short = outcome.short.first().cloned();
    }
    let Some(reason) = reason else { return };
    row.holds += 1;
    if !row.reasons.contains(reason) {
        row.reasons.push(reason);
    }
    if let (Some(after), Some(bound)) = (outcome.hold_after, outcome.bound)
        && row.hold_after_ms.is_none_or(|longest| longest < ms(after))
    {
        (row.hold_after_ms, row.bound_ms) = (Some(ms(after)), Some(ms(bound)));
    }
}

fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(head);
    table
}

fn whole(value: Option<f64>) -> String {
    value.map_or_else(String::new, |v| format!("{v:.0}"))
}

/// The matrix for a terminal.
pub fn matrix(rows: &[Row]) -> String {
    let live = rows.iter().any(|row| row.noise_ms.is_some());
    let mut head = vec![
        "fault",
        "in",
        "followed",
        "reason",
        "hold, ms",
        "bound, ms",
        "step, mrad",
        "jerk, rad/s3",
        "worked again",
        "",
    ];
    if live {
        head.insert(6, "noise, ms");
    }
    let mut table = table(&head);
    for row in rows {
        let verdict = match &row.short {
            None => "pass".to_owned(),
            Some(short) => format!("FAIL {}/{}: {short}", row.passes, row.repetitions),
        };
        let mut cells = vec![
            row.fault.clone(),
            row.mode.into(),
            row.rung(),
            row.reasons.join(", "),
            whole(row.hold_after_ms),
            whole(row.bound_ms),
            format!("{:.2}", row.largest_step_mrad),
            format!("{:.0}", row.peak_jerk),
            format!("{}/{}", row.recovered, row.repetitions),
            verdict,
        ];
        if live {
            cells.insert(
                6,
                row.noise_ms.map_or_else(String::new, |v| format!("{v:.1}")),
            );
        }
        table.add_row(cells);
    }
    for column in 4..head.len() - 1 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// The matrix in a sentence.
pub fn summary(rows: &[Row]) -> String {
    let trials: u64 = rows.iter().map(|row| row.repetitions).sum();
    let passes: u64 = rows.iter().map(|row| row.passes).sum();
    let short = rows.iter().filter(|row| !row.passed()).count();
    format!(
        "{passes} of {trials} trials passed; {} of {} rows; largest step {:.2} mrad, peak jerk {:.0} rad/s^3",
        rows.len() - short,
        rows.len(),
        rows.iter()
            .map(|row| row.largest_step_mrad)
            .fold(0.0, f64::max),
        rows.iter().map(|row| row.peak_jerk).fold(0.0, f64::max),
    )
}

/// What can be injected, and the ladder's table with the cell's bounds.
pub fn list(ladder: &LadderSpec) -> String {
    let [fault, does, follow] = FAULTS;
    let mut faults = markdown(&[fault, does, follow, "while a human commands"]);
    for entry in CATALOGUE {
        let human = with_human(entry.in_teleop());
        faults.add_row([
            entry.name.to_owned(),
            entry.does.into(),
            follows(entry.expect),
            human,
        ]);
    }
    format!("{faults}\n\n{}", rungs(ladder))
}

/// The same for what can be injected in real time.
pub fn live_list(ladder: &LadderSpec) -> String {
    let [fault, does, follow] = FAULTS;
    let mut faults = markdown(&[fault, does, follow, "while a human commands"]);
    for fault in LIVE {
        let device = "the device holds by itself; a killed arm host comes back in boot";
        let episode = match fault.judged {
            Judged::Arm(expect) => follows(expect),
            Judged::Device => device.into(),
        };
        let human = match LiveWish::plain(*fault).judged(In::Teleop) {
            Judged::Arm(expect) => with_human(expect),
            Judged::Device => "the same".into(),
        };
        faults.add_row([fault.name.to_owned(), fault.does.into(), episode, human]);
    }
    format!("{faults}\n\n{}", rungs(ladder))
}

/// As Markdown, so that launch/DRILLS.md can hold it word for word.
fn markdown(head: &[&str]) -> Table {
    let mut table = table(head);
    table.load_preset(presets::ASCII_MARKDOWN);
    table
}

const FAULTS: [&str; 3] = ["fault", "what it does", "what must follow in an episode"];

fn follows(expect: Expect) -> String {
    let names = |kinds: &[FaultKind]| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        names.join(" or ")
    };
    match expect {
        Expect::Hold(kinds) => format!("hold: {}", names(kinds)),
        Expect::Through => "the policy goes on".into(),
        Expect::Either(kinds) => format!("the policy goes on, or hold: {}", names(kinds)),
    }
}

fn with_human(expect: Expect) -> String {
    match expect {
        // An arm that is stuck is found out by what it is asked to do.
        Expect::Either(_) => "the human goes on, or hold".into(),
        Expect::Through => "the human goes on".into(),
        hold @ Expect::Hold(_) => follows(hold),
    }
}

fn rungs(ladder: &LadderSpec) -> Table {
    let mut rungs = markdown(&[
        "reason",
        "what it is",
        "noticed within, ms",
        "setting",
        "rung",
        "hold within, ms",
        "ends a motion to a pose",
    ]);
    for kind in FaultKind::ALL {
        let rule = rule(kind);
        let ms = |d: Duration| format!("{:.0}", d.as_secs_f64() * 1e3);
        rungs.add_row([
            kind.name().to_owned(),
            rule.what.into(),
            ms(rule.noticed.within(ladder)),
            rule.noticed.setting().into(),
            rule.rung.word().into(),
            ms(rule.hold_within(ladder)),
            if is_the_arms(kind) { "yes" } else { "no" }.into(),
        ]);
    }
    rungs
}

/// Colours of a cell of the picture.
const HELD: RGBColor = RGBColor(200, 225, 245);
const STAYED: RGBColor = RGBColor(222, 240, 222);
const SHORT: RGBColor = RGBColor(245, 190, 180);

/// The matrix as a picture: faults down, modes across.
///
/// # Errors
/// When the file cannot be written.
pub fn picture(rows: &[Row], file: &Path) -> anyhow::Result<()> {
    draw(rows, file)
        .map_err(|e| anyhow!("{e}"))
        .with_context(|| format!("write {}", file.display()))
}

fn draw(rows: &[Row], file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut faults: Vec<&str> = rows.iter().map(|row| row.fault.as_str()).collect();
    faults.dedup();
    let modes: Vec<&str> = In::ALL
        .iter()
        .map(|mode| mode.word())
        .filter(|word| rows.iter().any(|row| row.mode == *word))
        .collect();
    let (left, top, wide, high) = (150, 60, 200, 20);
    let size = (
        left + wide * modes.len() as u32 + 20,
        top + high * faults.len() as u32 + 20,
    );
    let root = SVGBackend::new(file, size).into_drawing_area();
    root.fill(&WHITE)?;
    let text = |size: i32| ("sans-serif", size).into_font();
    root.draw(&Text::new(summary(rows), (10, 8), text(13)))?;
    for (i, mode) in modes.iter().enumerate() {
        let x = (left + wide * i as u32) as i32 + 6;
        root.draw(&Text::new(format!("in {mode}"), (x, 36), text(14)))?;
    }
    for (k, fault) in faults.iter().enumerate() {
        let y = (top + high * k as u32) as i32;
        root.draw(&Text::new((*fault).to_owned(), (10, y + 3), text(13)))?;
        for (i, mode) in modes.iter().enumerate() {
            let Some(row) = rows.iter().find(|r| r.fault == *fault && r.mode == *mode) else {
                continue;
            };
            let x = (left + wide * i as u32) as i32;
            let colour = match (row.passed(), row.holds) {
                (false, _) => SHORT,
                (true, 0) => STAYED,
                (true, _) => HELD,
            };
            let area = [(x, y), (x + wide as i32 - 2, y + high as i32 - 2)];
            root.draw(&Rectangle::new(area, colour.filled()))?;
            let said = match (row.hold_after_ms, row.bound_ms) {
                _ if !row.passed() => format!("{}/{} passed", row.passes, row.repetitions),
                (Some(after), Some(bound)) => format!("hold in {after:.0} of {bound:.0} ms"),
                _ => row.rung(),
            };
            root.draw(&Text::new(said, (x + 6, y + 3), text(12)))?;
        }
    }
    root.present()?;
    Ok(())
}
