//! The page of a report: no script, nothing outside it, readable on paper.
//!
//! Figures of success are here; those of latency in `latency`, the trials and the protocol in `record`.

mod latency;
mod record;

use std::fmt::Write;

use super::svg::{Axes, Bar, Line, escape, intervals, lines};
use super::{Attempt, Report};
use crate::Interval;
use crate::analysis::{PairFigures, PolicyFigures};
use crate::trial::Finish;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111}\
table{border-collapse:collapse;margin:.6rem 0;font-size:13px}th,td{border:1px solid #ccc;padding:.25rem .5rem;text-align:right}\
th{background:#f2f2f2}td.l,th.l{text-align:left}svg{width:100%;height:auto;margin:.4rem 0}h2{margin-top:2rem}\
code,pre{font-size:12px;overflow-wrap:anywhere}pre{background:#f6f6f6;padding:.8rem;white-space:pre-wrap}\
.state{padding:.5rem .8rem;background:#eef4fb;border-left:4px solid #0072b2}.no{color:#a33}small{color:#555}\
.wide{overflow-x:auto}.pair{white-space:nowrap}td img{width:4.5rem;height:auto;margin:1px;vertical-align:middle}@media print{body{max-width:none}}";

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
        escape(&report.plan.name)
    );
    if !report.plan.question.is_empty() {
        let _ = write!(page, "<p>{}</p>", escape(&report.plan.question));
    }
    let _ = write!(page, "<p class=\"state\">{}</p>", state(report));
    success(&mut page, report);
    pairs(&mut page, report);
    posterior(&mut page, report);
    milestones(&mut page, report);
    time_to_success(&mut page, report);
    latency::latency(&mut page, report);
    record::trials(&mut page, report);
    record::exclusions(&mut page, report);
    record::protocol(&mut page, report);
    page + "</body></html>\n"
}

fn state(report: &Report) -> String {
    let done = report.plan.slots() as usize - report.left;
    let excluded = report.attempts.iter().filter(|a| !a.counts).count();
    let counts = format!(
        "{done} of {} trials, {excluded} attempts excluded",
        report.plan.slots()
    );
    match report.finished {
        Some(Finish::Complete) => format!(
            "Complete: {counts}. Sealed by hash <code>{}</code>.",
            report.last_hash
        ),
        Some(Finish::Decided) => {
            format!(
                "Ended by its stop rule: {counts}. Sealed by hash <code>{}</code>.",
                report.last_hash
            )
        }
        None if report.blinded() => {
            format!("Not over: {counts}. Policies go by their labels until the end.")
        }
        None => format!("Not over: {counts}."),
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

fn range(Interval { low, high }: Interval) -> String {
    format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high)
}

fn scope(task: Option<&String>) -> String {
    task.map_or("all tasks".into(), |t| escape(t))
}

fn p_value(p: f64) -> String {
    if p < 1e-4 {
        format!("{p:.1e}")
    } else {
        format!("{p:.4}")
    }
}

fn series(report: &Report, policy: &str) -> usize {
    report
        .analysis
        .policies
        .iter()
        .position(|p| p == policy)
        .unwrap_or(0)
}

/// Opens a table with these columns; those that begin with `<` are written at the left.
fn table(page: &mut String, columns: &[&str]) {
    page.push_str("<div class=\"wide\"><table><tr>");
    for column in columns {
        let _ = match column.strip_prefix('<') {
            Some(name) => write!(page, "<th class=\"l\">{name}</th>"),
            None => write!(page, "<th>{column}</th>"),
        };
    }
    page.push_str("</tr>\n");
}

fn row(page: &mut String, columns: &[&str], cells: &[String]) {
    page.push_str("<tr>");
    for (column, cell) in columns.iter().zip(cells) {
        let class = if column.starts_with('<') {
            " class=\"l\""
        } else {
            ""
        };
        let _ = write!(page, "<td{class}>{cell}</td>");
    }
    page.push_str("</tr>\n");
}

fn close(page: &mut String) {
    page.push_str("</table></div>\n");
}

fn success(page: &mut String, report: &Report) {
    let level = 100.0 * report.plan.level;
    page.push_str("<h2>Success</h2>\n");
    let mut before: Option<&Option<String>> = None;
    let bars: Vec<Bar> = report
        .analysis
        .figures
        .iter()
        .map(|f| {
            let gap = before.is_some_and(|task| *task != f.task);
            before = Some(&f.task);
            Bar {
                name: format!("{}, {}", f.task.as_deref().unwrap_or("all tasks"), f.policy),
                series: series(report, &f.policy),
                at: f.rate.unwrap_or(0.0),
                ends: (f.exact.low, f.exact.high),
                note: f.tally.to_string(),
                gap,
            }
        })
        .collect();
    page.push_str(&intervals(&bars));
    let exact = format!("exact {level:.0} %");
    let wilson = format!("Wilson {level:.0} %");
    let credible = format!("credible {level:.0} %");
    let columns = [
        "<task",
        "<policy",
        "successes",
        "rate, %",
        &exact,
        &wilson,
        "posterior mean",
        &credible,
        "progress",
        "median s",
    ];
    table(page, &columns);
    for f in &report.analysis.figures {
        let PolicyFigures {
            tally,
            rate,
            exact,
            wilson,
            credible,
            ..
        } = f;
        let or_none = |value: Option<f64>| value.map_or("-".into(), |v| format!("{v:.1}"));
        let cells = [
            scope(f.task.as_ref()),
            escape(&f.policy),
            tally.to_string(),
            rate.map_or("-".into(), percent),
            range(*exact),
            range(*wilson),
            percent(f.posterior_mean),
            range(*credible),
            or_none(f.progress),
            or_none(f.median_secs),
        ];
        row(page, &columns, &cells);
    }
    close(page);
    let _ = writeln!(
        page,
        "<p><small>Points: share of successes; bars: exact interval (Clopper-Pearson). Prior of the posterior: {}. Progress: mean, \
         0 to 100. Median: time by which half of the trials had succeeded.</small></p>",
        report.plan.prior.name()
    );
}

fn pairs(page: &mut String, report: &Report) {
    if report.analysis.pairs.is_empty() {
        return;
    }
    page.push_str("<h2>Pairs of policies</h2>\n");
    let columns = [
        "<task",
        "<policies",
        "difference, %",
        "Barnard p",
        "p, Holm",
        "P(first better)",
        "won alone",
        "McNemar p",
        "log-rank p",
    ];
    table(page, &columns);
    for p in &report.analysis.pairs {
        let PairFigures {
            first,
            second,
            difference,
            ..
        } = p;
        let cells = [
            scope(p.task.as_ref()),
            format!("{} - {}", escape(first), escape(second)),
            format!("{:+.1}", 100.0 * difference),
            p_value(p.barnard_p),
            p_value(p.barnard_p_holm),
            format!("{:.4}", p.first_better),
            p.pairs.map_or("-".into(), |p| {
                format!("{} : {}", p.only_first, p.only_second)
            }),
            p.mc_nemar_p.map_or("-".into(), p_value),
            p.log_rank_p.map_or("-".into(), p_value),
        ];
        row(page, &columns, &cells);
    }
    close(page);
    page.push_str(
        "<p><small>All tests are two-sided. Barnard: unconditional, statistic of Wald with pooled variance. Holm: corrected for all \
         pairs of all tasks, and for all pairs of the pooled trials. Won alone: start conditions in which only the first, only the \
         second succeeded; McNemar's exact test is on them.</small></p>\n",
    );
    if let Some(standing) = report.sequential {
        let _ = writeln!(
            page,
            "<p>Sequential test after {} complete pairs: evidence (ln e) {:.2} for the first policy, {:.2} for the second; a policy is named at \
             {:.2}.</p>",
            standing.count.pairs,
            standing.evidence.ln_first,
            standing.evidence.ln_second,
            standing.ln_threshold
        );
    }
}

fn posterior(page: &mut String, report: &Report) {
    page.push_str("<h2>Posterior of the success probability</h2>\n");
    const STEPS: u32 = 300;
    let curves: Vec<Line> = report
        .analysis
        .overall()
        .map(|f| Line {
            name: f.policy.clone(),
            series: series(report, &f.policy),
            points: (0..STEPS)
                .map(|i| {
                    let x = (f64::from(i) + 0.5) / f64::from(STEPS);
                    (x, f.posterior.density(x))
                })
                .collect(),
            band: vec![],
        })
        .collect();
    // Jeffreys' prior has no upper end at 0 and 1: what is above the highest inner point is cut.
    let inner = curves
        .iter()
        .flat_map(|c| &c.points)
        .filter(|(x, _)| (0.01..0.99).contains(x));
    let axes = Axes {
        x: "success probability",
        y: "density",
        x_range: (0.0, 1.0),
        y_most: inner.map(|(_, y)| *y).fold(1.0, f64::max) * 1.05,
        percent: false,
    };
    page.push_str(&lines(&axes, &curves));
}

fn milestones(page: &mut String, report: &Report) {
    if report.plan.tasks.iter().all(|t| t.milestones.is_empty()) {
        return;
    }
    page.push_str("<h2>Milestones</h2>\n");
    let mut bars = Vec::new();
    for task in &report.plan.tasks {
        for (m, milestone) in task
            .milestones
            .iter()
            .chain([&"success".to_owned()])
            .enumerate()
        {
            for policy in &report.analysis.policies {
                let of: Vec<&Attempt> = counted(report, policy)
                    .filter(|a| a.ended.task == task.name)
                    .collect();
                let last = m == task.milestones.len();
                let reached = of.iter().filter(|a| {
                    if last {
                        a.ended.success
                    } else {
                        a.ended.milestones.contains(milestone)
                    }
                });
                let tally = crate::Tally {
                    successes: reached.count() as u64,
                    trials: of.len() as u64,
                };
                let Interval { low, high } = tally.clopper_pearson(report.plan.level);
                bars.push(Bar {
                    name: format!("{}: {milestone}, {policy}", task.name),
                    series: series(report, policy),
                    at: tally.rate().unwrap_or(0.0),
                    ends: (low, high),
                    note: tally.to_string(),
                    gap: !bars.is_empty() && policy == &report.analysis.policies[0],
                });
            }
        }
    }
    page.push_str(&intervals(&bars));
}

fn counted<'a>(report: &'a Report, policy: &'a str) -> impl Iterator<Item = &'a Attempt> {
    report
        .attempts
        .iter()
        .filter(move |a| a.counts && a.policy == policy)
}

fn time_to_success(page: &mut String, report: &Report) {
    page.push_str("<h2>Time to success</h2>\n");
    let mut until = 0.0_f64;
    let mut curves = Vec::new();
    for f in report.analysis.overall() {
        let Some(curve) = &f.time_to_success else {
            continue;
        };
        until = until.max(curve.until_secs);
        let (mut points, mut band) = (vec![(0.0, 0.0)], vec![(0.0, 0.0, 0.0)]);
        let (mut done, mut ends) = (0.0, (0.0, 0.0));
        for step in &curve.steps {
            points.extend([(step.secs, done), (step.secs, 1.0 - step.survival)]);
            band.push((step.secs, ends.0, ends.1));
            (done, ends) = (1.0 - step.survival, (1.0 - step.high, 1.0 - step.low));
            band.push((step.secs, ends.0, ends.1));
        }
        points.push((curve.until_secs, done));
        band.push((curve.until_secs, ends.0, ends.1));
        curves.push(Line {
            name: f.policy.clone(),
            series: series(report, &f.policy),
            points,
            band,
        });
    }
    let axes = Axes {
        x: "seconds",
        y: "succeeded by then",
        x_range: (0.0, until.max(1e-3)),
        y_most: 1.0,
        percent: true,
    };
    page.push_str(&lines(&axes, &curves));
    let _ = writeln!(
        page,
        "<p><small>Kaplan-Meier over all tasks, with a pointwise {:.0} % band (Greenwood, log-log). A trial without success is censored at \
         its task's time limit, however it ended.</small></p>",
        100.0 * report.plan.level
    );
}
