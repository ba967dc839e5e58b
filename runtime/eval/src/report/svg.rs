//! Plots as SVG, drawn by hand: a few lines, bars and areas need no library. Every series has a colour (Wong 2011, Nature
//! Methods 8:441) and a dash pattern, so that none is told by its colour alone.

use std::fmt::Write;

/// Colours that stay apart for colour-blind readers.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d1f",
];
const DASHES: [&str; 8] = [
    "",
    "7 4",
    "2 3",
    "9 3 2 3",
    "4 2",
    "1 4",
    "12 4",
    "6 2 1 2 1 2",
];

/// Colour of series number `i`.
pub fn colour(i: usize) -> &'static str {
    COLOURS[i % COLOURS.len()]
}

fn dash(i: usize) -> &'static str {
    DASHES[i % DASHES.len()]
}

/// Text that may stand in a page.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// One bar of [`intervals`].
pub struct Bar {
    /// What it is of.
    pub name: String,
    /// Series, for its colour.
    pub series: usize,
    /// Estimate, 0 to 1.
    pub at: f64,
    /// Ends of its interval.
    pub ends: (f64, f64),
    /// Written at its right.
    pub note: String,
    /// More space above it: another task begins.
    pub gap: bool,
}

/// Shares of 0 to 100 % with their intervals, one below the other.
pub fn intervals(bars: &[Bar]) -> String {
    let (left, right, row, gap) = (210.0, 130.0, 24.0, 12.0);
    let width = 820.0;
    let gaps = bars.iter().filter(|b| b.gap).count() as f64;
    let height = bars.len() as f64 * row + gaps * gap + 40.0;
    let x = |share: f64| left + share * (width - left - right);
    let mut svg = open(width, height);
    for tick in 0..=5 {
        let share = f64::from(tick) / 5.0;
        let _ = write!(
            svg,
            r##"<line x1="{0:.1}" x2="{0:.1}" y1="4" y2="{1:.1}" stroke="#ddd"/><text x="{0:.1}" y="{2:.1}" text-anchor="middle">{3:.0} %</text>"##,
            x(share),
            height - 30.0,
            height - 14.0,
            100.0 * share
        );
    }
    let mut y = 6.0;
    for bar in bars {
        if bar.gap {
            y += gap;
        }
        let middle = y + row / 2.0;
        let colour = colour(bar.series);
        let _ = write!(
            svg,
            r##"<text x="{0:.1}" y="{1:.1}" text-anchor="end">{2}</text><rect x="{3:.1}" y="{4:.1}" width="{5:.1}" height="{6:.1}" fill="{colour}" fill-opacity="0.25"/><line x1="{7:.1}" x2="{8:.1}" y1="{middle:.1}" y2="{middle:.1}" stroke="{colour}" stroke-width="2"/><path d="M{7:.1} {9:.1}v10M{8:.1} {9:.1}v10" stroke="{colour}" stroke-width="2"/><circle cx="{10:.1}" cy="{middle:.1}" r="4.5" fill="{colour}"/><text x="{11:.1}" y="{1:.1}">{12}</text>"##,
            left - 10.0,
            middle + 4.0,
            escape(&bar.name),
            x(0.0),
            y + 4.0,
            x(bar.at) - x(0.0),
            row - 8.0,
            x(bar.ends.0),
            x(bar.ends.1),
            middle - 5.0,
            x(bar.at),
            width - right + 10.0,
            escape(&bar.note),
        );
        y += row;
    }
    svg + "</svg>"
}

/// One line of [`lines`].
pub struct Line {
    /// In the legend.
    pub name: String,
    /// For its colour and dashes.
    pub series: usize,
    /// Points.
    pub points: Vec<(f64, f64)>,
    /// Area around it, as (x, low, high).
    pub band: Vec<(f64, f64, f64)>,
}

/// Axes of [`lines`].
pub struct Axes<'a> {
    /// Below.
    pub x: &'a str,
    /// Beside.
    pub y: &'a str,
    /// Range of x.
    pub x_range: (f64, f64),
    /// Range of y, from 0.
    pub y_most: f64,
    /// Whether y is written as a percentage.
    pub percent: bool,
}

/// Lines over x, with areas around them.
pub fn lines(axes: &Axes<'_>, lines: &[Line]) -> String {
    let (left, right, top, bottom) = (64.0, 180.0, 12.0, 46.0);
    let (width, height) = (820.0, 300.0);
    let (from, to) = axes.x_range;
    let x = |v: f64| left + (v - from) / (to - from).max(1e-12) * (width - left - right);
    let y = |v: f64| {
        height - bottom - (v / axes.y_most.max(1e-12)).clamp(0.0, 1.0) * (height - top - bottom)
    };
    let mut svg = open(width, height);
    for tick in 0..=5 {
        let part = f64::from(tick) / 5.0;
        let (vx, vy) = (from + part * (to - from), part * axes.y_most);
        let said = if axes.percent {
            format!("{:.0} %", 100.0 * vy)
        } else {
            short(vy)
        };
        let _ = write!(
            svg,
            r##"<line x1="{left}" x2="{0:.1}" y1="{1:.1}" y2="{1:.1}" stroke="#ddd"/><text x="{2:.1}" y="{3:.1}" text-anchor="end">{said}</text><text x="{4:.1}" y="{5:.1}" text-anchor="middle">{6}</text>"##,
            width - right,
            y(vy),
            left - 6.0,
            y(vy) + 4.0,
            x(vx),
            height - bottom + 16.0,
            short(vx)
        );
    }
    let _ = write!(
        svg,
        r##"<text x="{0:.1}" y="{1:.1}" text-anchor="middle">{2}</text><text transform="translate(14 {3:.1}) rotate(-90)" text-anchor="middle">{4}</text>"##,
        (left + width - right) / 2.0,
        height - 8.0,
        escape(axes.x),
        (top + height - bottom) / 2.0,
        escape(axes.y)
    );
    for line in lines.iter().filter(|l| !l.band.is_empty()) {
        let upper = line.band.iter().map(|(at, _, high)| (x(*at), y(*high)));
        let lower = line.band.iter().rev().map(|(at, low, _)| (x(*at), y(*low)));
        let _ = write!(
            svg,
            r##"<polygon points="{}" fill="{}" fill-opacity="0.13"/>"##,
            points(upper.chain(lower)),
            colour(line.series)
        );
    }
    for (i, line) in lines.iter().enumerate() {
        let colour = colour(line.series);
        let dash = dash(line.series);
        let at = points(line.points.iter().map(|(a, b)| (x(*a), y(*b))));
        let legend = top + 10.0 + 22.0 * i as f64;
        let _ = write!(
            svg,
            r##"<polyline points="{at}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/><line x1="{0:.1}" x2="{1:.1}" y1="{legend:.1}" y2="{legend:.1}" stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/><text x="{2:.1}" y="{3:.1}">{4}</text>"##,
            width - right + 14.0,
            width - right + 44.0,
            width - right + 50.0,
            legend + 4.0,
            escape(&line.name)
        );
    }
    svg + "</svg>"
}

/// One stage of [`waterfall`].
pub struct Part {
    /// Its name.
    pub name: String,
    /// Median and 99th percentile, ms.
    pub millis: [f64; 2],
}

/// Stages one after the other, each beginning where the median of the one before ends; a thin line to its 99th percentile.
pub fn waterfall(series: usize, parts: &[Part]) -> String {
    let (left, right, row) = (120.0, 130.0, 20.0);
    let width = 820.0;
    let height = parts.len() as f64 * row + 40.0;
    let total: f64 = parts.iter().map(|p| p.millis[0]).sum();
    let (mut at, mut most) = (0.0, total);
    for part in parts {
        most = f64::max(most, at + part.millis[1]);
        at += part.millis[0];
    }
    let x = |ms: f64| left + ms / most.max(1e-9) * (width - left - right);
    let mut svg = open(width, height);
    let mut start = 0.0;
    for (i, part) in parts.iter().enumerate() {
        let y = 6.0 + i as f64 * row;
        let [p50, p99] = part.millis;
        let _ = write!(
            svg,
            r##"<text x="{0:.1}" y="{1:.1}" text-anchor="end">{2}</text><rect x="{3:.1}" y="{4:.1}" width="{5:.1}" height="{6:.1}" fill="{7}"/><line x1="{3:.1}" x2="{8:.1}" y1="{9:.1}" y2="{9:.1}" stroke="{7}"/><text x="{10:.1}" y="{1:.1}">{p50:.2} / {p99:.2} ms</text>"##,
            left - 8.0,
            y + row / 2.0 + 4.0,
            escape(&part.name),
            x(start),
            y + 3.0,
            (x(start + p50) - x(start)).max(0.8),
            row - 8.0,
            colour(series),
            x(start + p99),
            y + row / 2.0 - 1.0,
            width - right + 8.0,
        );
        start += p50;
    }
    let _ = write!(
        svg,
        r##"<text x="{left}" y="{0:.1}">0</text><text x="{1:.1}" y="{0:.1}" text-anchor="end">{most:.1} ms</text>"##,
        height - 12.0,
        width - right
    );
    svg + "</svg>"
}

fn open(width: f64, height: f64) -> String {
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" font-family="sans-serif" font-size="12">"##
    )
}

fn points(at: impl Iterator<Item = (f64, f64)>) -> String {
    at.map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A number on an axis.
fn short(value: f64) -> String {
    let text = if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
