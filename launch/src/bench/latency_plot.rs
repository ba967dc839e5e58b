//! The picture of `tactus bench latency`: success against added latency, one line per strategy, with 95 % intervals.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::prelude::*;

use super::latency::{Trial, counts};
use crate::summary::wilson;

const SIZE: (u32, u32) = (900, 560);
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
    let wrong = |e: &dyn std::fmt::Display| anyhow!("{e}");
    let counts = counts(trials);
    let most = latencies.iter().copied().max().unwrap_or(1).max(1) as f64;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|e| wrong(&e))?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Success against added latency", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(60)
        .build_cartesian_2d(-0.03 * most..1.03 * most, 0.0..1.02)
        .map_err(|e| wrong(&e))?;
    chart
        .configure_mesh()
        .x_desc("latency added between observation and chunk, ms")
        .y_desc("episodes done as told")
        .y_label_formatter(&|v| format!("{:.0} %", 100.0 * v))
        .x_labels(9)
        .light_line_style(WHITE)
        .label_style(("sans-serif", 15))
        .draw()
        .map_err(|e| wrong(&e))?;
    for (i, name) in names.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        // Side by side, so that intervals at one latency do not hide each other.
        let shift = (i as f64 - names.len() as f64 / 2.0) * most * 0.004;
        let points: Vec<(f64, f64, f64, f64)> = latencies
            .iter()
            .filter_map(|ms| {
                let (won, all) = *counts.get(&(*name, *ms))?;
                let (low, high) = wilson(won, all);
                Some((*ms as f64 + shift, won as f64 / all as f64, low, high))
            })
            .collect();
        chart
            .draw_series(LineSeries::new(
                points.iter().map(|(x, y, ..)| (*x, *y)),
                colour.stroke_width(2),
            ))
            .map_err(|e| wrong(&e))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(2)));
        chart
            .draw_series(points.iter().map(|(x, y, low, high)| {
                ErrorBar::new_vertical(*x, *low, *y, *high, colour.filled(), 6)
            }))
            .map_err(|e| wrong(&e))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 15))
        .draw()
        .map_err(|e| wrong(&e))?;
    area.present().map_err(|e| wrong(&e))
}
