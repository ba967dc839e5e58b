//! Whether a cell's latency budget holds: as declared, and as its policy takes on this machine.
//!
//! Decides which times are judged: those declared, then those with each probed stage in place of what was declared, once
//! by the median (what cannot work on a median chunk never works: refused) and once by the 99th percentile (what fails
//! there fails now and then: a warning). The judgement itself is `tactus-control`'s `feasible`.

use std::fmt::Write;

use anyhow::bail;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use tactus_bundle::Outline;
use tactus_control::{Feasible, Infeasible, feasible};
use tactus_policies::{Probe, StageCost};
use tactus_types::{Budget, Stage, StageTimes};

use crate::cell::Cell;

/// A budget, what was probed, and what follows.
#[derive(Debug)]
pub struct Judgement {
    budget: Budget,
    probed: Vec<(Stage, StageCost)>,
    /// By the declared times.
    pub declared: Result<Feasible, Infeasible>,
    /// By the median of what was probed; `None` without a probe.
    pub median: Option<Result<Feasible, Infeasible>>,
    /// By the 99th percentile of what was probed; `None` without a probe.
    pub tail: Option<Result<Feasible, Infeasible>>,
}

/// Judges the budget of `cell` for the chunks of the policy of `outline`.
pub fn judge(cell: &Cell, outline: &Outline, probe: Option<&Probe>) -> Judgement {
    let budget = cell.budget;
    let mut declared = StageTimes::default();
    for stage in Stage::ALL {
        declared.set(stage, budget.get(stage));
    }
    let with = |quantile: fn(&StageCost) -> std::time::Duration| {
        probe.map(|probe| {
            let mut stages = declared;
            for (stage, cost) in &probe.stages {
                stages.set(*stage, quantile(cost));
            }
            feasible(&cell.timing(outline, stages))
        })
    };
    Judgement {
        budget,
        probed: probe.map_or_else(Vec::new, |probe| probe.stages.clone()),
        declared: feasible(&cell.timing(outline, declared)),
        median: with(|cost| cost.p50),
        tail: with(|cost| cost.p99),
    }
}

impl Judgement {
    /// Fails where the cell cannot work; what can, but not as one would wish, goes to `warn`.
    ///
    /// # Errors
    /// With the stage or field at fault, and what was probed and declared.
    pub fn enforce(&self, cell: &Cell, mut warn: impl FnMut(String)) -> anyhow::Result<()> {
        if let Some(reason) = self.refusal() {
            bail!("cell file {}: {reason}", cell.file.display());
        }
        self.cautions().into_iter().for_each(&mut warn);
        Ok(())
    }

    /// Why the cell cannot work, if it cannot.
    pub fn refusal(&self) -> Option<String> {
        if let Err(e) = &self.declared {
            return Some(format!("the latency budget cannot work: {e}"));
        }
        let Some(Err(e)) = &self.median else {
            return None;
        };
        let over = self.over_words(|cost| cost.p50);
        Some(format!(
            "the latency budget cannot work on this machine: {e}{over}"
        ))
    }

    /// What works, but not as one would wish.
    pub fn cautions(&self) -> Vec<String> {
        let mut cautions: Vec<String> = match self.median.as_ref().unwrap_or(&self.declared) {
            Ok(Feasible { cautions, .. }) => cautions.iter().map(ToString::to_string).collect(),
            Err(_) => vec![],
        };
        if let Some(Err(e)) = &self.tail {
            let over = self.over_words(|cost| cost.p99);
            cautions.push(format!("one chunk in a hundred does not fit: {e}{over}"));
        }
        cautions
    }

    /// The probed stages that are over their budget.
    fn over_words(&self, quantile: fn(&StageCost) -> std::time::Duration) -> String {
        let mut words = String::new();
        for (stage, cost) in &self.probed {
            let declared = self.budget.get(*stage);
            if quantile(cost) > declared {
                let StageCost { p50, p99, .. } = cost;
                // Writing to a string cannot fail.
                let _ = write!(
                    words,
                    "; `{}` probed at {p50:.1?} (p99 {p99:.1?}), budgeted {declared:.1?}",
                    stage.name()
                );
            }
        }
        words
    }

    /// One row per stage: declared, probed.
    pub fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
            "stage, ms",
            "declared",
            "probed p50",
            "p99",
            "",
        ]);
        let millis = |time: std::time::Duration| format!("{:.2}", 1e3 * time.as_secs_f64());
        for stage in Stage::ALL {
            let declared = self.budget.get(stage);
            let cost = self.cost(stage);
            let over = cost.is_some_and(|cost| cost.p50 > declared);
            table.add_row([
                stage.name().to_owned(),
                millis(declared),
                cost.map(|cost| millis(cost.p50)).unwrap_or_default(),
                cost.map(|cost| millis(cost.p99)).unwrap_or_default(),
                if over { "over" } else { "" }.to_owned(),
            ]);
        }
        table.add_row(["margin".to_owned(), millis(self.budget.margin)]);
        table.add_row(["sum".to_owned(), millis(self.budget.total())]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn cost(&self, stage: Stage) -> Option<&StageCost> {
        let (_, cost) = self.probed.iter().find(|(probed, _)| *probed == stage)?;
        Some(cost)
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let millis = |time: std::time::Duration| (1e6 * time.as_secs_f64()).round() / 1e3;
        let stage = |stage: Stage| {
            let cost = self.cost(stage);
            let figures = json!({
                "declared": millis(self.budget.get(stage)),
                "p50": cost.map(|cost| millis(cost.p50)),
                "p99": cost.map(|cost| millis(cost.p99)),
            });
            (stage.name().to_owned(), figures)
        };
        let stages: serde_json::Map<String, Value> = Stage::ALL.into_iter().map(stage).collect();
        json!({
            "stages_ms": stages,
            "margin_ms": millis(self.budget.margin),
            "feasible": self.refusal().is_none(),
            "refusal": self.refusal(),
            "cautions": self.cautions(),
        })
    }

    /// The worst case that the budget allows, in one sentence, where it works.
    pub fn worst(&self) -> Option<String> {
        let fits = self.declared.as_ref().ok()?;
        let millis = |time: std::time::Duration| 1e3 * time.as_secs_f64();
        Some(format!(
            "within the budget a chunk is at most {:.0} ms old when it comes, and the next is there {:.0} ms after its observation; it \
             lasts {:.0} ms",
            millis(fits.latency),
            millis(fits.next_after),
            millis(fits.span)
        ))
    }
}
