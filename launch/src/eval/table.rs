//! Figures of an analysis as tables for the terminal.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use tactus_eval::Interval;
use tactus_eval::analysis::{Analysis, PairFigures, PolicyFigures};

/// Policies, then pairs of policies.
pub fn tables(analysis: &Analysis) -> String {
    let percent = (100.0 * analysis.settings.level).round();
    let mut policies = Table::new();
    policies
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header([
            "task".to_owned(),
            "policy".into(),
            "successes".into(),
            "rate".into(),
            format!("exact {percent} %"),
            format!("Wilson {percent} %"),
            format!("posterior {percent} %"),
            "progress".into(),
            "median s".into(),
        ]);
    for figures in &analysis.figures {
        policies.add_row(policy(figures));
    }
    right(&mut policies, 2);
    let mut text = policies.to_string();
    if !analysis.pairs.is_empty() {
        let mut pairs = Table::new();
        pairs.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
            "task",
            "policies",
            "difference",
            "Barnard p",
            "p, Holm",
            "P(first better)",
            "won alone",
            "McNemar p",
            "log-rank p",
        ]);
        for figures in &analysis.pairs {
            pairs.add_row(pair(figures));
        }
        right(&mut pairs, 2);
        let _ = write!(text, "\n{pairs}");
    }
    let _ = write!(
        text,
        "\nprior: {}; exact: Clopper-Pearson; Barnard, McNemar and log-rank two-sided; Holm over {}; won alone: start \
         conditions in which only the first, only the second succeeded",
        analysis.settings.prior.name(),
        if analysis.tasks.len() > 1 {
            "all pairs of all tasks, and over all pairs of the pooled trials"
        } else {
            "all pairs"
        },
    );
    text
}

fn right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn scope(task: Option<&String>) -> String {
    task.cloned().unwrap_or_else(|| "all tasks".into())
}

fn policy(figures: &PolicyFigures) -> Vec<String> {
    let range =
        |Interval { low, high }: Interval| format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high);
    let or_blank = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.1}"));
    vec![
        scope(figures.task.as_ref()),
        figures.policy.clone(),
        figures.tally.to_string(),
        or_blank(figures.rate.map(|r| 100.0 * r)),
        range(figures.exact),
        range(figures.wilson),
        range(figures.credible),
        or_blank(figures.progress),
        or_blank(figures.median_secs),
    ]
}

fn pair(figures: &PairFigures) -> Vec<String> {
    let won = |p: tactus_eval::paired::Pairs| format!("{} : {}", p.only_first, p.only_second);
    vec![
        scope(figures.task.as_ref()),
        format!("{} - {}", figures.first, figures.second),
        format!("{:+.1}", 100.0 * figures.difference),
        p_value(figures.barnard_p),
        p_value(figures.barnard_p_holm),
        format!("{:.4}", figures.first_better),
        figures.pairs.map_or(String::new(), won),
        figures.mc_nemar_p.map_or(String::new(), p_value),
        figures.log_rank_p.map_or(String::new(), p_value),
    ]
}

fn p_value(p: f64) -> String {
    if p < 1e-4 {
        format!("{p:.1e}")
    } else {
        format!("{p:.4}")
    }
}
