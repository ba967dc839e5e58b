//! Which parts of a picture can be found again, and where they are in another one.
//!
//! A part is a corner: its levels change in every direction (the smaller eigenvalue of the structure tensor; Shi and Tomasi,
//! "Good features to track", 1994). It is where the other picture is most alike (normalised cross-correlation), if that is
//! alike enough and nothing else there is.

use crate::grey::Grey;

/// Parts are sought one in each cell of a grid of so many columns and rows.
const CELLS: (usize, usize) = (14, 10);
/// Half of a part's side, pixels.
const HALF: isize = 8;
/// How far a part may have moved, pixels of the smaller picture.
pub const REACH: isize = 24;
/// Weakest corner, of the strongest.
const WEAKEST: f64 = 0.01;
/// Least change of levels in every direction, so that noise is no corner.
const LEAST: f64 = 0.02;
/// What must be alike at least, of 1.
const ALIKE: f64 = 0.85;
/// By how much anything else must be less alike ..
const UNIQUE: f64 = 0.05;
/// .. further away than this, pixels.
const APART: isize = 3;

/// A part that was found again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Where it was, column and row.
    pub from: (f64, f64),
    /// Where it is.
    pub to: (f64, f64),
}

/// The corners of `picture`: column and row, one for each cell of a grid at most.
pub fn corners(picture: &Grey) -> Vec<(isize, isize)> {
    let margin = HALF + 2;
    let (width, height) = (picture.width as isize, picture.height as isize);
    let mut best: Vec<(f64, isize, isize)> = Vec::new();
    for cell_row in 0..CELLS.1 as isize {
        for cell_column in 0..CELLS.0 as isize {
            let span = |cell: isize, cells: isize, size: isize| {
                let (from, to) = (cell * size / cells, (cell + 1) * size / cells);
                (from.max(margin), to.min(size - margin))
            };
            let (top, bottom) = span(cell_row, CELLS.1 as isize, height);
            let (left, right) = span(cell_column, CELLS.0 as isize, width);
            let places = (top..bottom)
                .step_by(2)
                .flat_map(|r| (left..right).step_by(2).map(move |c| (r, c)));
            let strongest = places
                .map(|(r, c)| (strength(picture, r, c), r, c))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            best.extend(strongest);
        }
    }
    let most = best.iter().map(|b| b.0).fold(0.0, f64::max);
    let strong = best
        .into_iter()
        .filter(|(s, _, _)| *s > LEAST && *s > WEAKEST * most);
    strong.map(|(_, r, c)| (c, r)).collect()
}

/// Smaller eigenvalue of the structure tensor around a place.
fn strength(picture: &Grey, row: isize, column: isize) -> f64 {
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for r in row - HALF / 2..=row + HALF / 2 {
        for c in column - HALF / 2..=column + HALF / 2 {
            let dx = picture.at(r, c + 1) - picture.at(r, c - 1);
            let dy = picture.at(r + 1, c) - picture.at(r - 1, c);
            xx += dx * dx;
            xy += dx * dy;
            yy += dy * dy;
        }
    }
    let half = f64::midpoint(xx, yy);
    half - (((xx - yy) / 2.0).powi(2) + xy * xy).sqrt()
}

/// The levels around a place, without their mean and over their length; `None` where nothing changes.
fn levels(picture: &Grey, row: isize, column: isize) -> Option<Vec<f64>> {
    let mut all = Vec::with_capacity(((2 * HALF + 1) * (2 * HALF + 1)) as usize);
    for r in row - HALF..=row + HALF {
        all.extend((column - HALF..=column + HALF).map(|c| picture.at(r, c)));
    }
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    all.iter_mut().for_each(|v| *v -= mean);
    let length = all.iter().map(|v| v * v).sum::<f64>().sqrt();
    if length < 1e-3 {
        return None;
    }
    all.iter_mut().for_each(|v| *v /= length);
    Some(all)
}

/// Where the part of `then` around `column`, `row` is in `now`.
pub fn find(then: &Grey, now: &Grey, (column, row): (isize, isize)) -> Option<Found> {
    let wanted = levels(then, row, column)?;
    let side = 2 * REACH + 1;
    let mut alike = vec![-1.0; (side * side) as usize];
    let index = |dy: isize, dx: isize| ((dy + REACH) * side + dx + REACH) as usize;
    let inside = |r: isize, c: isize| {
        r >= HALF && c >= HALF && r + HALF < now.height as isize && c + HALF < now.width as isize
    };
    let mut best = (-1.0, 0, 0);
    for dy in -REACH..=REACH {
        for dx in -REACH..=REACH {
            let (r, c) = (row + dy, column + dx);
            if !inside(r, c) {
                continue;
            }
            let Some(seen) = levels(now, r, c) else {
                continue;
            };
            let score: f64 = wanted.iter().zip(&seen).map(|(a, b)| a * b).sum();
            alike[index(dy, dx)] = score;
            if score > best.0 {
                best = (score, dy, dx);
            }
        }
    }
    let (score, dy, dx) = best;
    if score < ALIKE || dy.abs() == REACH || dx.abs() == REACH {
        return None;
    }
    let rival = (-REACH..=REACH)
        .flat_map(|y| (-REACH..=REACH).map(move |x| (y, x)))
        .filter(|(y, x)| (y - dy).abs() > APART || (x - dx).abs() > APART)
        .map(|(y, x)| alike[index(y, x)])
        .fold(-1.0, f64::max);
    if rival > score - UNIQUE {
        return None;
    }
    let between = |before: f64, after: f64| {
        let bend = before - 2.0 * score + after;
        if bend < 0.0 {
            ((before - after) / (2.0 * bend)).clamp(-0.5, 0.5)
        } else {
            0.0
        }
    };
    let y = dy as f64 + between(alike[index(dy - 1, dx)], alike[index(dy + 1, dx)]);
    let x = dx as f64 + between(alike[index(dy, dx - 1)], alike[index(dy, dx + 1)]);
    Some(Found {
        from: (column as f64, row as f64),
        to: (column as f64 + x, row as f64 + y),
    })
}
