//! The picture of `tactus bench fleet`: arms that are served against arms that ask, what is left of their time then, and what
//! more engines behind a router bring.

use std::path::Path;

use anyhow::{Context, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::fleet::{Curve, Point};

const SIZE: (u32, u32) = (900, 1080);
/// Colours that stay apart for colour-blind readers (Wong 2011, Nature Methods 8:441).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
];

/// Writes the plot as SVG.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(path: &Path, curves: &[Curve], hop_ms: f64) -> anyhow::Result<()> {
    paint(path, curves, hop_ms).with_context(|| format!("plot {}", path.display()))
}

fn wrong(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{e}")
}

fn paint(path: &Path, curves: &[Curve], hop_ms: f64) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(wrong)?;
    let rows = area.split_evenly((3, 1));
    let [upper, middle, lower] = &rows[..] else {
        return Err(wrong("three panels"));
    };
    let one = |curve: &Curve, of: fn(&Point) -> Option<f64>| {
        let point = |point: &Point| Some((point.arms as f64, of(point)?));
        curve.one.iter().filter_map(point).collect::<Vec<_>>()
    };
    let served = |point: &Point| Some(point.result.served() as f64);
    let slack = |point: &Point| point.result.quantile(|arm| &arm.slack, 0.0);
    let points = || curves.iter().flat_map(|curve| &curve.one);
    let missed: u64 = points().map(|point| point.result.missed()).sum();
    Panel {
        caption: &format!(
            "One engine: arms that are served ({missed} deadlines missed by all of them)"
        ),
        across: "arms that ask",
        up: "arms served",
        legend: true,
        lines: curves.iter().map(|curve| one(curve, served)).collect(),
    }
    .paint(upper, curves)?;
    Panel {
        caption: "What is left of a request's time when its chunk comes, at least",
        across: "arms that ask",
        up: "ms",
        legend: false,
        lines: curves.iter().map(|curve| one(curve, slack)).collect(),
    }
    .paint(middle, curves)?;
    let routed = |curve: &Curve| {
        let point = |point: &Point| (point.engines as f64, point.result.served() as f64);
        curve.routed.iter().map(point).collect::<Vec<_>>()
    };
    Panel {
        caption: &format!("More engines behind a router that adds {hop_ms} ms to every way"),
        across: "engines",
        up: "arms served",
        legend: true,
        lines: curves.iter().map(routed).collect(),
    }
    .paint(lower, curves)?;
    area.present().map_err(wrong)
}

struct Panel<'a> {
    caption: &'a str,
    across: &'static str,
    up: &'static str,
    legend: bool,
    lines: Vec<Vec<(f64, f64)>>,
}

impl Panel<'_> {
    fn paint(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        curves: &[Curve],
    ) -> anyhow::Result<()> {
        let all = || self.lines.iter().flatten();
        let right = all().map(|(x, _)| *x).fold(1.0, f64::max);
        let top = all().map(|(_, y)| *y).fold(1.0, f64::max);
        let mut chart = ChartBuilder::on(area)
            .caption(self.caption, ("sans-serif", 20))
            .margin(16)
            .x_label_area_size(44)
            .y_label_area_size(60)
            .build_cartesian_2d(0.5..right + 0.5, 0.0..1.12 * top)
            .map_err(wrong)?;
        chart
            .configure_mesh()
            .x_desc(self.across)
            .y_desc(self.up)
            .x_labels(right as usize + 1)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"))
            .light_line_style(WHITE)
            .label_style(("sans-serif", 15))
            .draw()
            .map_err(wrong)?;
        for (i, (line, curve)) in self.lines.iter().zip(curves).enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            // Beside each other, so that equal lines do not hide each other.
            let shift = (i as f64 - 0.5 * (curves.len() as f64 - 1.0)) * 0.06;
            let points = || line.iter().map(move |(x, y)| (x + shift, *y));
            chart
                .draw_series(LineSeries::new(points(), colour.stroke_width(2)))
                .map_err(wrong)?
                .label(curve.times.name.clone())
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(2))
                });
            chart
                .draw_series(points().map(|at| Circle::new(at, 3, colour.filled())))
                .map_err(wrong)?;
        }
        if !self.legend {
            return Ok(());
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 15))
            .draw()
            .map_err(wrong)?;
        Ok(())
    }
}
