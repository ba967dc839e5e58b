//! Bars of the latency stages of the last chunk against the declared budget.
//!
//! Every bar has its own scale, on which the stage's budget lies at two thirds of the width: what is over its mark is
//! over its budget, whichever stage it is.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tactus_types::{Budget, Stage, StageTimes};

use super::Shown;
use super::draw::{millis, panel};

/// Rows of the whole panel: a title, the stages, the sum without and with the margin.
pub const ROWS: u16 = 1 + Stage::ALL.len() as u16 + 2;
/// Columns beside the bar: name, time, budget.
const BESIDE: u16 = 11 + 9 + 9;
/// The filled part of a cell, in eighths.
const EIGHTHS: [char; 9] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// Draws the panel.
pub fn render(frame: &mut Frame, area: Rect, shown: &Shown) {
    let taken = shown
        .telemetry
        .filter(|t| t.request_id != 0)
        .map(|t| t.stages);
    let mut block = panel("last chunk, ms");
    let guilty = taken
        .zip(shown.budget)
        .and_then(|(taken, budget)| taken.guilty(&budget));
    if let Some((stage, over)) = guilty {
        let text = format!(" {} {} over ", stage.name(), millis(over));
        block = block.title_top(Line::from(text.red()).right_aligned());
    } else if taken.is_none() {
        block = block.title_top(Line::from(" none yet ".dim()).right_aligned());
    }
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let bar = usize::from(inner.width.saturating_sub(BESIDE));
    let lines: Vec<Line> = rows(taken.as_ref(), shown.budget.as_ref())
        .into_iter()
        .map(|row| row.line(bar))
        .collect();
    frame.render_widget(Paragraph::new(lines), inner);
}

/// One bar.
struct Bar {
    name: &'static str,
    taken: Option<Duration>,
    budget: Option<Duration>,
    within: Color,
}

/// The stages, their sum against the sum of their budgets, and against that plus the margin.
fn rows(taken: Option<&StageTimes>, budget: Option<&Budget>) -> Vec<Bar> {
    let stages = Stage::ALL.iter().map(|&stage| Bar {
        name: stage.name(),
        taken: taken.map(|t| t.get(stage)),
        budget: budget.map(|b| b.get(stage)),
        within: if stage.is_inference() {
            Color::Cyan
        } else {
            Color::Green
        },
    });
    let sum = taken.map(|t| Stage::ALL.iter().map(|s| t.get(*s)).sum());
    let total = Bar {
        name: "sum",
        taken: sum,
        budget: budget.map(|b| b.total().saturating_sub(b.margin)),
        within: Color::Green,
    };
    let budget = budget.map(Budget::total);
    stages
        .chain([
            total,
            Bar {
                name: "and margin",
                taken: sum,
                budget,
                within: Color::Green,
            },
        ])
        .collect()
}

impl Bar {
    fn over(&self) -> bool {
        self.taken
            .zip(self.budget)
            .is_some_and(|(taken, budget)| taken > budget)
    }

    fn line(&self, width: usize) -> Line<'static> {
        let style = Style::new().fg(if self.over() { Color::Red } else { self.within });
        let text = |d: Option<Duration>| d.map_or_else(|| "-".to_owned(), millis);
        let taken = format!(" {:>8}", text(self.taken));
        Line::from(vec![
            Span::raw(format!("{:<11}", self.name)),
            Span::styled(self.blocks(width), style),
            if self.over() {
                taken.red().bold()
            } else {
                taken.into()
            },
            format!(" /{:>7}", text(self.budget)).dim(),
        ])
    }

    /// The bar in eighths of a cell, with a mark at the budget where the bar does not reach it.
    fn blocks(&self, width: usize) -> String {
        let mark = width * 2 / 3;
        let ratio = match self.taken.zip(self.budget) {
            None => 0.0,
            Some((taken, _)) if taken.is_zero() => 0.0,
            Some((taken, budget)) => taken.as_secs_f64() / budget.as_secs_f64(),
        };
        // A ratio to a budget of zero is infinite and saturates.
        let filled = ((ratio * (mark * 8) as f64).round() as usize).min(width * 8);
        (0..width)
            .map(|column| match filled.saturating_sub(column * 8).min(8) {
                0 if column == mark => '│',
                eighths => EIGHTHS[eighths],
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(taken: u64, budget: u64) -> Bar {
        let ms = |n| Some(Duration::from_millis(n));
        Bar {
            name: "x",
            taken: ms(taken),
            budget: ms(budget),
            within: Color::Green,
        }
    }

    #[test]
    fn a_bar_reaches_its_mark_at_its_budget_and_passes_it_above() {
        assert_eq!(bar(0, 10).blocks(9), "      │  ");
        assert_eq!(bar(5, 10).blocks(9), "███   │  ");
        assert_eq!(bar(10, 10).blocks(9), "██████│  ");
        assert_eq!(bar(12, 10).blocks(9), "███████▎ ");
        assert_eq!(bar(90, 10).blocks(9), "█████████");
        assert_eq!(bar(1, 0).blocks(9), "█████████");
        assert_eq!(bar(0, 0).blocks(9), "      │  ");
        assert_eq!(bar(5, 10).blocks(0), "");
    }

    #[test]
    fn only_more_than_the_budget_is_over() {
        assert!(!bar(10, 10).over());
        assert!(bar(11, 10).over());
    }

    #[test]
    fn the_sum_is_judged_without_and_with_the_margin() {
        let ms = Duration::from_millis;
        let mut declared = StageTimes::default();
        Stage::ALL.iter().for_each(|s| declared.set(*s, ms(2)));
        let mut taken = declared;
        taken.set(Stage::Denoise, ms(5));
        let rows = rows(Some(&taken), Some(&Budget::new(declared, ms(4))));
        let over: Vec<&str> = rows.iter().filter(|r| r.over()).map(|r| r.name).collect();
        assert_eq!(over, ["denoise", "sum"]);
        assert_eq!(rows.len() + 1, usize::from(ROWS));
    }
}
