//! What the views of a board cover, and what they still lack: regions of the picture, tilts, distances.
//!
//! Decides when a view adds something, when there is enough, and how the guide looks in text and as a picture. A lens that was
//! fitted to views of the middle alone is wrong at the edges, and one without tilted views does not know its focal length,
//! however small the residual.

use crate::exchange::{Seen, View};

/// Regions of the picture, across and down.
pub const REGIONS: (usize, usize) = (8, 6);
/// Corners that a region wants.
const CORNERS: usize = 4;
/// Share of the regions that is enough. The corners of a picture are hard to reach with a whole board.
pub const ENOUGH: f64 = 0.8;
/// A board that is tilted by more counts as tilted, degrees.
const TILTED_DEG: f64 = 18.0;
/// Views wanted of each kind.
const OF_A_KIND: usize = 2;
/// Least number of views.
pub const VIEWS: usize = 20;

/// Parts of the picture, row by row.
const PARTS: [&str; 9] = [
    "upper left",
    "top",
    "upper right",
    "left",
    "middle",
    "right",
    "lower left",
    "bottom",
    "lower right",
];
/// How a board may be held.
const TILTS: [&str; 5] = [
    "straight on",
    "right side away",
    "lower side away",
    "left side away",
    "upper side away",
];
/// How far it may be: names, and the least extent of each.
const DISTANCES: [(&str, f64); 3] = [("near", 0.6), ("middle", 0.4), ("far", 0.0)];

/// What has been seen so far.
#[derive(Debug, Clone)]
pub struct Coverage {
    corners: [usize; REGIONS.0 * REGIONS.1],
    tilts: [usize; TILTS.len()],
    distances: [usize; DISTANCES.len()],
    views: usize,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            corners: [0; REGIONS.0 * REGIONS.1],
            tilts: [0; TILTS.len()],
            distances: [0; DISTANCES.len()],
            views: 0,
        }
    }
}

fn region(view: &View, pixel: [f64; 2]) -> usize {
    let at = |value: f64, length: u32, n: usize| {
        ((value / f64::from(length) * n as f64) as usize).min(n - 1)
    };
    at(pixel[1], view.size.1, REGIONS.1) * REGIONS.0 + at(pixel[0], view.size.0, REGIONS.0)
}

fn tilt(seen: &Seen) -> usize {
    if seen.tilt_deg < TILTED_DEG {
        return 0;
    }
    1 + ((seen.towards_deg / 90.0).round().rem_euclid(4.0)) as usize % 4
}

fn distance(seen: &Seen) -> usize {
    let reaches = |(_, least): &(&str, f64)| seen.extent >= *least;
    DISTANCES.iter().position(reaches).unwrap_or(2)
}

impl Coverage {
    /// How many regions, tilts and distances that still lack something the view would serve.
    pub fn gain(&self, view: &View, seen: &Seen) -> usize {
        let mut now = self.corners;
        for corner in &view.corners {
            now[region(view, corner.pixel)] += 1;
        }
        let regions = self.corners.iter().zip(&now);
        let regions = regions
            .filter(|(old, new)| **old < CORNERS && old < new)
            .count();
        let kinds = [self.tilts[tilt(seen)], self.distances[distance(seen)]];
        // A region more is little, a kind more is much.
        regions + kinds.iter().filter(|have| **have < OF_A_KIND).count() * 2
    }

    /// Counts a view.
    pub fn add(&mut self, view: &View, seen: &Seen) {
        for corner in &view.corners {
            self.corners[region(view, corner.pixel)] += 1;
        }
        self.tilts[tilt(seen)] += 1;
        self.distances[distance(seen)] += 1;
        self.views += 1;
    }

    /// Views so far.
    pub fn views(&self) -> usize {
        self.views
    }

    /// Share of the regions that have enough corners, 0..=1.
    pub fn share(&self) -> f64 {
        let enough = self.corners.iter().filter(|n| **n >= CORNERS).count();
        enough as f64 / self.corners.len() as f64
    }

    /// What is missing, in words for who holds the board; empty when there is enough.
    pub fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        if self.share() < ENOUGH {
            let (across, down) = REGIONS;
            // Of nine parts of the picture those with most holes.
            let mut holes = PARTS.map(|name| (0usize, name));
            for (at, corners) in self.corners.iter().enumerate() {
                let (column, row) = (at % across * 3 / across, at / across * 3 / down);
                holes[row * 3 + column].0 += usize::from(*corners < CORNERS);
            }
            holes.sort_by_key(|(holes, _)| std::cmp::Reverse(*holes));
            let worst = holes.iter().filter(|(holes, _)| *holes > 1).take(3);
            let names: Vec<&str> = worst.map(|(_, name)| *name).collect();
            missing.push(format!("regions: {}", names.join(", ")));
        }
        let lacking = |counts: &[usize], names: &mut dyn Iterator<Item = &'static str>| {
            let lacking: Vec<&str> = counts
                .iter()
                .zip(names)
                .filter(|(n, _)| **n < OF_A_KIND)
                .map(|(_, name)| name)
                .collect();
            lacking.join(", ")
        };
        let tilts = lacking(&self.tilts, &mut TILTS.into_iter());
        if !tilts.is_empty() {
            missing.push(format!("tilts: {tilts}"));
        }
        let distances = lacking(
            &self.distances,
            &mut DISTANCES.into_iter().map(|(name, _)| name),
        );
        if !distances.is_empty() {
            missing.push(format!("distances: {distances}"));
        }
        if self.views < VIEWS {
            missing.push(format!("views: {} of {VIEWS}", self.views));
        }
        missing
    }

    /// The guide for a terminal: a grid of the picture with a sign for how much of each region was seen, and what is missing.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for row in self.corners.chunks(REGIONS.0) {
            for n in row {
                text += match n {
                    0 => " .",
                    n if *n < CORNERS => " o",
                    _ => " #",
                };
            }
            text.push('\n');
        }
        let counts = |names: &mut dyn Iterator<Item = &'static str>, counts: &[usize]| {
            let words: Vec<String> = names
                .zip(counts)
                .map(|(name, n)| format!("{name} {n}"))
                .collect();
            words.join(", ")
        };
        text += &format!("tilts: {}\n", counts(&mut TILTS.into_iter(), &self.tilts));
        text += &format!(
            "distances: {}\n",
            counts(&mut DISTANCES.into_iter().map(|d| d.0), &self.distances)
        );
        match self.missing() {
            missing if missing.is_empty() => text += "nothing is missing\n",
            missing => text += &format!("missing: {}\n", missing.join("; ")),
        }
        text
    }

    /// The guide as an SVG picture: regions by how much was seen of them, corners as dots, beside it tilts and distances.
    pub fn svg(&self, views: &[View]) -> String {
        let (width, height) = views.first().map_or((640, 480), |view| view.size);
        let (w, h) = (f64::from(width), f64::from(height));
        let scale = 640.0 / w;
        let (w, h) = (640.0, h * scale);
        let total = h.max(420.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"900\" height=\"{0:.0}\" viewBox=\"0 0 900 {0:.0}\" \
             font-family=\"sans-serif\" font-size=\"14\">\n<rect width=\"900\" height=\"{0:.0}\" fill=\"#fff\"/>\n",
            total + 40.0
        );
        let (across, down) = (w / REGIONS.0 as f64, h / REGIONS.1 as f64);
        for (at, n) in self.corners.iter().enumerate() {
            let colour = match n {
                0 => "#f3c9c2",
                n if *n < CORNERS => "#f6e6b8",
                _ => "#cfe6cf",
            };
            let (x, y) = (
                (at % REGIONS.0) as f64 * across,
                (at / REGIONS.0) as f64 * down,
            );
            svg += &format!(
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{across:.1}\" height=\"{down:.1}\" fill=\"{colour}\" stroke=\"#fff\"/>\n",
                x + 20.0,
                y + 20.0
            );
        }
        for corner in views.iter().flat_map(|view| &view.corners) {
            let [u, v] = corner.pixel.map(|p| p * scale + 20.0);
            svg += &format!(
                "<circle cx=\"{u:.1}\" cy=\"{v:.1}\" r=\"1.6\" fill=\"#2b5b84\" fill-opacity=\"0.6\"/>\n"
            );
        }
        let mut y = 36.0;
        let mut line = |svg: &mut String, text: &str, colour: &str| {
            *svg += &format!("<text x=\"680\" y=\"{y:.0}\" fill=\"{colour}\">{text}</text>\n");
            y += 22.0;
        };
        let colour = |n: usize| if n < OF_A_KIND { "#b03a2e" } else { "#2e6b34" };
        line(
            &mut svg,
            &format!("views {} of {VIEWS}", self.views),
            if self.views < VIEWS {
                "#b03a2e"
            } else {
                "#2e6b34"
            },
        );
        let share = self.share();
        let enough = if share < ENOUGH { "#b03a2e" } else { "#2e6b34" };
        line(
            &mut svg,
            &format!("regions {:.0} % of {:.0} %", share * 100.0, ENOUGH * 100.0),
            enough,
        );
        line(&mut svg, "", "#000");
        for (name, n) in TILTS.iter().zip(self.tilts) {
            line(&mut svg, &format!("{name}: {n}"), colour(n));
        }
        line(&mut svg, "", "#000");
        for ((name, _), n) in DISTANCES.iter().zip(self.distances) {
            line(&mut svg, &format!("{name}: {n}"), colour(n));
        }
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Corner;

    fn view(from: [f64; 2], to: [f64; 2]) -> View {
        let corners = (0..100).map(|id| Corner {
            id,
            pixel: [
                from[0] + (to[0] - from[0]) * (id % 10) as f64 / 9.0,
                from[1] + (to[1] - from[1]) * (id / 10) as f64 / 9.0,
            ],
        });
        View {
            name: String::new(),
            size: (640, 480),
            corners: corners.collect(),
        }
    }

    fn seen(tilt_deg: f64, towards_deg: f64, extent: f64) -> Seen {
        Seen {
            blur_px: 1.0,
            saturated: 0.0,
            contrast: 200.0,
            tilt_deg,
            towards_deg,
            extent,
        }
    }

    #[test]
    fn what_is_missing_is_said_until_nothing_is() {
        let mut coverage = Coverage::default();
        let middle = view([200.0, 150.0], [440.0, 330.0]);
        for _ in 0..20 {
            coverage.add(&middle, &seen(3.0, 0.0, 0.5));
        }
        let said = coverage.missing().join("; ");
        assert!(
            said.contains("regions: ") && said.contains("upper left"),
            "{said}"
        );
        assert!(
            said.contains(
                "tilts: right side away, lower side away, left side away, upper side away"
            ),
            "{said}"
        );
        assert!(said.contains("distances: near, far"), "{said}");
        assert_eq!(
            coverage.gain(&middle, &seen(3.0, 0.0, 0.5)),
            0,
            "nothing new"
        );
        let whole = view([5.0, 5.0], [635.0, 475.0]);
        assert!(coverage.gain(&whole, &seen(3.0, 0.0, 0.9)) > 20);
        for towards in [0.0, 90.0, 180.0, -90.0] {
            for extent in [0.9, 0.2] {
                coverage.add(&whole, &seen(30.0, towards, extent));
            }
        }
        assert!(coverage.missing().is_empty(), "{}", coverage.text());
        assert!(coverage.text().contains("# #") && coverage.share() == 1.0);
        assert!(coverage.svg(&[whole]).contains("<circle"));
    }
}
