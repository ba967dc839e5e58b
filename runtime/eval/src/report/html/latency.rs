//! What the runtime measured: stages of a chunk, age, lateness, shares of ticks that were starved, held or limited.

use std::collections::BTreeMap;
use std::fmt::Write;

use tactus_types::Stage;

use super::super::Report;
use super::super::svg::{Axes, Line, Part, escape, lines, waterfall};
use super::{close, counted, row, series, table};
use crate::trial::{AGE_BIN_MS, AGE_BINS, Figures};

/// Mean over trials of what each of them measured.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// All of it.
pub(super) fn latency(page: &mut String, report: &Report) {
    page.push_str("<h2>Latency</h2>\n");
    for policy in &report.analysis.policies {
        let mut stages: BTreeMap<&str, Vec<[f64; 2]>> = BTreeMap::new();
        for attempt in counted(report, policy) {
            for (name, millis) in &attempt.ended.figures.stages_ms {
                stages.entry(name).or_default().push(*millis);
            }
        }
        // In the order in which a chunk passes them; what is not among these comes last.
        let place = |name: &str| {
            Stage::ALL
                .iter()
                .position(|s| s.name() == name)
                .unwrap_or(Stage::ALL.len())
        };
        let mut stages: Vec<_> = stages
            .into_iter()
            .filter(|(_, ms)| ms.iter().any(|m| m[1] > 0.0))
            .collect();
        stages.sort_by_key(|(name, _)| place(name));
        let parts: Vec<Part> = stages
            .into_iter()
            .map(|(name, ms)| Part {
                name: name.to_owned(),
                millis: [0, 1].map(|i| mean(ms.iter().map(|m| m[i])).unwrap_or(0.0)),
            })
            .collect();
        if !parts.is_empty() {
            let _ = write!(
                page,
                "<h3>Stages of a chunk, {}: median / 99th percentile, means over trials</h3>",
                escape(policy)
            );
            page.push_str(&waterfall(series(report, policy), &parts));
        }
    }
    ages(page, report);
    lateness(page, report);
    let columns = [
        "<policy",
        "starved, %",
        "held, %",
        "limited, %",
        "holds per trial",
        "chunks per trial",
        "deadlines missed per trial",
        "inference p50 / p99, ms",
        "smoothness (SPARC)",
    ];
    table(page, &columns);
    for policy in &report.analysis.policies {
        let figures: Vec<&Figures> = counted(report, policy).map(|a| &a.ended.figures).collect();
        let ticks: u64 = figures.iter().map(|f| f.ticks).sum();
        let share = |of: fn(&Figures) -> u64| {
            let sum: u64 = figures.iter().map(|f| of(f)).sum();
            if ticks == 0 {
                "-".into()
            } else {
                format!("{:.2}", 100.0 * sum as f64 / ticks as f64)
            }
        };
        let per_trial = |of: fn(&Figures) -> f64| {
            mean(figures.iter().map(|f| of(f))).map_or("-".into(), |v| format!("{v:.2}"))
        };
        let inference = [0, 1].map(|i| {
            mean(figures.iter().filter_map(|f| Some(f.inference_ms?[i])))
                .map_or("-".into(), |v| format!("{v:.1}"))
        });
        let cells = [
            escape(policy),
            share(|f| f.starved_ticks),
            share(|f| f.held_ticks),
            share(|f| f.limited_ticks),
            per_trial(|f| f.holds as f64),
            per_trial(|f| f.chunks as f64),
            per_trial(|f| f.misses.values().sum::<u64>() as f64),
            inference.join(" / "),
            mean(figures.iter().filter_map(|f| f.sparc)).map_or("-".into(), |v| format!("{v:.2}")),
        ];
        row(page, &columns, &cells);
    }
    close(page);
    page.push_str("<p><small>Shares of the control ticks of all trials that count.</small></p>\n");
}

fn ages(page: &mut String, report: &Report) {
    let mut histograms = Vec::new();
    let (mut most, mut last) = (0.0_f64, 0);
    for policy in &report.analysis.policies {
        let mut bins = vec![0_u64; AGE_BINS];
        for attempt in counted(report, policy) {
            for (bin, count) in bins.iter_mut().zip(&attempt.ended.figures.age_histogram) {
                *bin += count;
            }
        }
        let all: u64 = bins.iter().sum();
        if all == 0 {
            continue;
        }
        let shares: Vec<f64> = bins.iter().map(|b| *b as f64 / all as f64).collect();
        most = shares.iter().copied().fold(most, f64::max);
        last = last.max(bins.iter().rposition(|b| *b > 0).unwrap_or(0));
        histograms.push((policy, shares));
    }
    if histograms.is_empty() {
        return;
    }
    let width = AGE_BIN_MS as f64;
    let steps = histograms.into_iter().map(|(policy, shares)| Line {
        name: policy.clone(),
        series: series(report, policy),
        points: shares
            .iter()
            .take(last + 1)
            .enumerate()
            .flat_map(|(i, share)| [(i as f64 * width, *share), ((i + 1) as f64 * width, *share)])
            .collect(),
        band: vec![],
    });
    let axes = Axes {
        x: "age of the observation behind a command when it was applied, ms",
        y: "share of commands",
        x_range: (0.0, (last + 1) as f64 * width),
        y_most: most * 1.05,
        percent: true,
    };
    page.push_str("<h3>Age</h3>");
    page.push_str(&lines(&axes, &steps.collect::<Vec<_>>()));
    if last + 1 == AGE_BINS {
        page.push_str("<p><small>The last bin holds all that were older.</small></p>");
    }
}

fn lateness(page: &mut String, report: &Report) {
    let mut curves = Vec::new();
    let mut most = 0.0_f64;
    for policy in &report.analysis.policies {
        for (which, name) in [(1, "p99"), (3, "largest")] {
            let mut values: Vec<f64> = counted(report, policy)
                .filter_map(|a| Some(a.ended.figures.lateness_us?[which] * 1e-3))
                .collect();
            if values.is_empty() {
                continue;
            }
            values.sort_by(f64::total_cmp);
            most = most.max(values[values.len() - 1]);
            let n = values.len() as f64;
            let points = values
                .iter()
                .enumerate()
                .flat_map(|(i, v)| [(*v, i as f64 / n), (*v, (i + 1) as f64 / n)]);
            curves.push(Line {
                name: format!("{policy}, {name}"),
                series: curves.len(),
                points: points.collect(),
                band: vec![],
            });
        }
    }
    if curves.is_empty() {
        page.push_str("<p><small>Lateness of control ticks: none, on a virtual clock.</small></p>");
        return;
    }
    page.push_str("<h3>Lateness of control ticks, trial by trial</h3>");
    let axes = Axes {
        x: "ms",
        y: "share of trials below",
        x_range: (0.0, most * 1.02),
        y_most: 1.0,
        percent: true,
    };
    page.push_str(&lines(&axes, &curves));
}
