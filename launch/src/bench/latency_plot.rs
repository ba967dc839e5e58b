//! The picture of `tactus bench latency`: success against added latency with 95 % intervals, and below it the median time to
//! success with its quartiles; one line per strategy.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use tactus_eval::{Interval, Tally};

use super::latency::{Trial, counts};
use super::latency_pace::quartiles;

const SIZE: (u32, u32) = (900, 960);
/// Height of the upper panel.
const UPPER: u32 = 540;
/// Colours that stay apart for colour-blind readers (Wong 2011, Nature Methods 8:441).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

/// Writes the plot as SVG.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(
    path: &Path,
    trials: &[Trial],
    names: &[&str],
    latencies: &[u64],
) -> anyhow::Result<()> {
    paint(path, trials, names, latencies).with_context(|| format!("plot {}", path.display()))
}

fn paint(path: &Path, trials: &[Trial], names: &[&str], latencies: &[u64]) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(wrong)?;
    let (upper, lower) = area.split_vertically(UPPER);
    let counts = counts(trials);
    let success = |name: &str, ms: u64| {
        let (won, all) = *counts.get(&(name, ms))?;
        let Interval { low, high } = Tally {
            successes: won,
            trials: all,
        }
        .wilson(0.95);
        Some([won as f64 / all as f64, low, high])
    };
    let panel = Panel {
        caption: "Success against added latency",
        what: "episodes done as told",
        top: 1.02,
        label: |v| format!("{:.0} %", 100.0 * v),
        legend: true,
    };
    panel.paint(&upper, names, latencies, success)?;
    let quartiles = quartiles(trials);
    let pace = |name: &str, ms: u64| {
        let [low, median, high] = *quartiles.get(&(name, ms))?;
        median.is_finite().then_some([median, low, high])
    };
    let slowest = trials.iter().map(|t| t.secs).fold(1.0, f64::max);
    let panel = Panel {
        caption: "Time to success, median and quartiles (an episode that failed never ends)",
        what: "seconds",
        top: slowest,
        label: |v| format!("{v:.0}"),
        legend: false,
    };
    panel.paint(&lower, names, latencies, pace)?;
    area.present().map_err(wrong)
}

fn wrong(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{e}")
}

/// One panel of the picture.
struct Panel {
    caption: &'static str,
    what: &'static str,
    top: f64,
    label: fn(&f64) -> String,
    legend: bool,
}

impl Panel {
    /// `of` gives a strategy's value at a latency, and from where to where it may lie.
    fn paint(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        names: &[&str],
        latencies: &[u64],
        of: impl Fn(&str, u64) -> Option<[f64; 3]>,
    ) -> anyhow::Result<()> {
        let most = latencies.iter().copied().max().unwrap_or(1).max(1) as f64;
        let mut chart = ChartBuilder::on(area)
            .caption(self.caption, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(60)
            .build_cartesian_2d(-0.03 * most..1.03 * most, 0.0..self.top)
            .map_err(wrong)?;
        chart
            .configure_mesh()
            .x_desc("latency added between observation and chunk, ms")
            .y_desc(self.what)
            .y_label_formatter(&self.label)
            .x_labels(9)
            .light_line_style(WHITE)
            .label_style(("sans-serif", 15))
            .draw()
            .map_err(wrong)?;
        for (i, name) in names.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            // Side by side, so that intervals at one latency do not hide each other.
            let shift = (i as f64 - names.len() as f64 / 2.0) * most * 0.004;
            let points: Vec<(f64, [f64; 3])> = latencies
                .iter()
                .filter_map(|ms| Some((*ms as f64 + shift, of(name, *ms)?)))
                .collect();
            chart
                .draw_series(LineSeries::new(
                    points.iter().map(|(x, [y, ..])| (*x, *y)),
                    colour.stroke_width(2),
                ))
                .map_err(wrong)?
                .label(*name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(2))
                });
            chart
                .draw_series(points.iter().map(|(x, [y, low, high])| {
                    let high = high.min(self.top);
                    ErrorBar::new_vertical(*x, *low, *y, high, colour.filled(), 6)
                }))
                .map_err(wrong)?;
        }
        if self.legend {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerLeft)
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.3))
                .label_font(("sans-serif", 15))
                .draw()
                .map_err(wrong)?;
        }
        Ok(())
    }
}
