//! What was done: every trial, every excluded attempt, the protocol.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::svg::escape;
use super::super::{Attempt, Report};
use super::{close, row, table};
use crate::plan::Stop;
use crate::trial::Kept;

/// Every trial that counts.
pub(super) fn trials(page: &mut String, report: &Report) {
    page.push_str("<h2>Trials</h2>\n");
    let columns = [
        "trial",
        "<policy",
        "<task",
        "<start",
        "<told",
        "<outcome",
        "progress",
        "<milestones",
        "s",
        "holds",
        "<note",
        "<before, after",
        "<commands, recording",
    ];
    table(page, &columns);
    for Attempt { policy, ended, .. } in report.attempts.iter().filter(|a| a.counts) {
        let outcome = match ended.abort {
            None => "success".to_owned(),
            Some(abort) => format!("<span class=\"no\">no: {}</span>", abort.words()),
        };
        let commands = ended.figures.commands_sha256.as_ref();
        let commands = commands.map(|hash| format!("<code>{}</code>", short(hash)));
        let recording = ended.figures.recording.as_ref().map(|kept| {
            let file = escape(&kept.file);
            format!(
                "<a href=\"{file}\">{file}</a> <code>{}</code>",
                short(&kept.sha256)
            )
        });
        let either: Vec<String> = commands.into_iter().chain(recording).collect();
        let pictures: Vec<String> = [&ended.figures.first, &ended.figures.last]
            .into_iter()
            .flatten()
            .map(|kept| picture(report, kept))
            .collect();
        let cells = [
            (ended.trial + 1).to_string(),
            escape(policy),
            escape(&ended.task),
            escape(&ended.condition),
            escape(&ended.instruction),
            outcome,
            format!("{:.0}", ended.progress),
            escape(&ended.milestones.join(", ")),
            format!("{:.2}", ended.secs),
            ended.figures.holds.to_string(),
            escape(&ended.note),
            format!("<span class=\"pair\">{}</span>", pictures.concat()),
            either.join("<br>"),
        ];
        row(page, &columns, &cells);
    }
    close(page);
}

fn short(hash: &str) -> String {
    escape(hash).chars().take(12).collect()
}

/// The picture itself, in the page; of one that is gone or was changed, which.
fn picture(report: &Report, kept: &Kept) -> String {
    let file = escape(&kept.file);
    match report.pictures.get(&kept.file) {
        Some(jpeg) => {
            let data = STANDARD.encode(jpeg);
            format!("<img alt=\"{file}\" loading=\"lazy\" src=\"data:image/jpeg;base64,{data}\">")
        }
        None => format!("<span class=\"no\">{file} is gone or was changed</span> "),
    }
}

/// Every attempt that does not, and why.
pub(super) fn exclusions(page: &mut String, report: &Report) {
    page.push_str("<h2>Excluded attempts</h2>\n");
    let excluded: Vec<&Attempt> = report.attempts.iter().filter(|a| !a.counts).collect();
    if excluded.is_empty() {
        page.push_str("<p>None.</p>");
        return;
    }
    let columns = [
        "trial", "attempt", "<policy", "<task", "<start", "<reason", "<note", "<when",
    ];
    table(page, &columns);
    for Attempt { policy, ended, .. } in excluded {
        let cells = [
            (ended.trial + 1).to_string(),
            ended.attempt.to_string(),
            escape(policy),
            escape(&ended.task),
            escape(&ended.condition),
            ended.abort.map_or(String::new(), |a| a.words().into()),
            escape(&ended.note),
            escape(&ended.at),
        ];
        row(page, &columns, &cells);
    }
    close(page);
    page.push_str("<p><small>Each was run again. Only faults of the set-up and the hardware, and the death of the evaluation's own process, are.</small></p>");
}

/// How it was done, with all hashes.
pub(super) fn protocol(page: &mut String, report: &Report) {
    page.push_str("<h2>Protocol</h2>\n");
    let begun = &report.begun;
    let plan = &report.plan;
    let columns = ["<", "<"];
    page.push_str("<div class=\"wide\"><table>");
    let stop = match plan.stop {
        Stop::Fixed => "after all trials, fixed beforehand".to_owned(),
        Stop::Sequential { alpha } => format!(
            "when the sequential test names the better policy, looked at after every complete pair, or after all trials; chance of naming one \
             where there is none at most {alpha} (test supermartingale of Turner, Ly and Gr&uuml;nwald 2024)"
        ),
    };
    let code = |text: &str| format!("<code>{}</code>", escape(text));
    let mut rows = vec![
        ("Trials", format!("{} of each policy for each task", plan.trials)),
        ("Order", format!("interleaved, counterbalanced and randomised from seed {}; hash {}", plan.seed, code(&begun.order_sha256))),
        ("Blinding", if plan.blind { "policies went by their labels until the end".into() } else { "none".into() }),
        ("Stop rule", stop),
        ("Run again", "set-up errors, hardware faults, death of the evaluation's process; everything else counts".into()),
        ("Begun", escape(&begun.at)),
        ("Ended", report.finished_at.as_deref().map_or("not yet".into(), escape)),
        ("Mode", escape(&begun.mode)),
        ("tactus", escape(&begun.tactus)),
        ("Cell", format!("{}, {}, hash {}", escape(&begun.cell), code(&begun.cell_file), code(&begun.cell_sha256))),
        ("Plan", format!("hash {}", code(&begun.plan_sha256))),
        ("Results", format!("{} lines, last hash {}", report.lines, code(&report.last_hash))),
    ];
    if report.policies.is_empty() {
        rows.push((
            "Bundles",
            begun
                .bundles
                .iter()
                .map(|id| code(id))
                .collect::<Vec<_>>()
                .join("<br>"),
        ));
    }
    for policy in &report.policies {
        rows.push((
            "Policy",
            format!(
                "{} was called {}: bundle {}",
                escape(&policy.name),
                escape(&policy.label),
                code(&policy.bundle_id)
            ),
        ));
    }
    for (name, value) in rows {
        row(page, &columns, &[name.to_owned(), value]);
    }
    for (name, value) in &begun.facts {
        row(page, &columns, &[escape(name), escape(value)]);
    }
    close(page);
    if !report.plan_text.is_empty() {
        let _ = write!(
            page,
            "<h3>The plan as it was written</h3><pre>{}</pre>",
            escape(&report.plan_text)
        );
    }
}
