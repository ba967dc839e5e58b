//! Finding a board in a picture: markers, then the corners between the squares to a fraction of a pixel.
//!
//! Decides which corners count. The markers are looked for here, as OpenCV's `aruco` does it (Garrido-Jurado et al., *Automatic
//! generation and detection of highly reliable fiducial markers under occlusion*, 2014): adaptive threshold, contours with four
//! corners, bits. DIFFERENCE: that module is in another library before OpenCV 4.7 than after, with other names; what is used
//! here is in all of them. A test holds it against pictures of OpenCV's own boards.

use nalgebra::{Matrix3, Point2, SMatrix, SVector};
use opencv::calib3d::{CALIB_CB_ACCURACY, CALIB_CB_NORMALIZE_IMAGE, find_chessboard_corners_sb};
use opencv::core::{Mat, Point, Point2f, Size, TermCriteria, TermCriteria_Type, Vector};
use opencv::imgproc::{
    ADAPTIVE_THRESH_MEAN_C, CHAIN_APPROX_NONE, RETR_LIST, THRESH_BINARY_INV, adaptive_threshold,
    approx_poly_dp, arc_length, corner_sub_pix, find_contours_def, is_contour_convex,
};
use opencv::prelude::*;
use tactus_calibration::exchange::{Corner, View};
use tactus_calibration::{Board, Pattern};

use crate::{Refused, opencv as said};

/// Least number of corners that say anything about a lens.
pub const CORNERS: usize = 6;
/// Sides of the neighbourhoods that a pixel is compared with, pixels: small ones for far boards, large ones for near ones.
const NEIGHBOURHOODS: [i32; 4] = [7, 15, 31, 63];
/// How much darker than its neighbourhood a pixel is to be black, grey levels.
const DARKER: f64 = 7.0;
/// Least side of a marker, pixels: two for each of its cells.
const LEAST_SIDE: f64 = 10.0;
/// Cells of a marker's side, with its border.
const CELLS: usize = 6;
/// Least difference between the squares that meet at a corner, grey levels.
const LEAST_CONTRAST: f64 = 18.0;

/// A picture in grey levels.
pub struct Grey {
    size: (u32, u32),
    bytes: Vec<u8>,
}

impl Grey {
    /// Rows from the top.
    ///
    /// # Errors
    /// When there are not as many bytes as pixels.
    pub fn new(size: (u32, u32), bytes: Vec<u8>) -> Result<Self, Refused> {
        if size.0 < 16 || size.1 < 16 || bytes.len() != size.0 as usize * size.1 as usize {
            let (w, h) = size;
            let n = bytes.len();
            return Err(format!(
                "expected a picture of {w}x{h}, 16 at least, got {n} pixels"
            ));
        }
        Ok(Self { size, bytes })
    }

    /// Width and height, pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The grey level at a place between pixels; `None` outside.
    pub fn at(&self, [u, v]: [f64; 2]) -> Option<f64> {
        let (w, h) = (self.size.0 as usize, self.size.1 as usize);
        let inside = u >= 0.0 && v >= 0.0 && u < (w - 1) as f64 && v < (h - 1) as f64;
        if !inside {
            return None;
        }
        let (x, y) = (u as usize, v as usize);
        let (fx, fy) = (u - x as f64, v - y as f64);
        let p = |x: usize, y: usize| f64::from(self.bytes[y * w + x]);
        let upper = p(x, y) * (1.0 - fx) + p(x + 1, y) * fx;
        let lower = p(x, y + 1) * (1.0 - fx) + p(x + 1, y + 1) * fx;
        Some(upper * (1.0 - fy) + lower * fy)
    }

    fn mat(&self) -> opencv::Result<Mat> {
        let (w, h) = (self.size.0 as i32, self.size.1 as i32);
        Mat::new_rows_cols_with_bytes::<u8>(h, w, &self.bytes)?.try_clone()
    }
}

/// A map between planes.
#[derive(Debug, Clone, Copy)]
pub struct Homography(Matrix3<f64>);

impl Homography {
    /// The one that takes four points to four others; `None` where three are on a line.
    pub fn of(from: [[f64; 2]; 4], to: [[f64; 2]; 4]) -> Option<Self> {
        let (mut a, mut b) = (SMatrix::<f64, 8, 8>::zeros(), SVector::<f64, 8>::zeros());
        for (i, ([x, y], [u, v])) in from.into_iter().zip(to).enumerate() {
            for (row, value, is_v) in [(2 * i, u, 0), (2 * i + 1, v, 3)] {
                a[(row, is_v)] = x;
                a[(row, is_v + 1)] = y;
                a[(row, is_v + 2)] = 1.0;
                a[(row, 6)] = -value * x;
                a[(row, 7)] = -value * y;
                b[row] = value;
            }
        }
        let h = a.lu().solve(&b)?;
        let h = Matrix3::new(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], 1.0);
        h.iter().all(|v| v.is_finite()).then_some(Self(h))
    }

    /// Where a point goes.
    pub fn map(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        self.0.transform_point(&Point2::new(x, y)).into()
    }
}

/// A marker that was found.
struct Marker {
    id: usize,
    /// In pixels, clockwise from the marker's own upper left corner.
    corners: [[f64; 2]; 4],
}

/// The corners of `board` in `picture`, which is called `name`.
///
/// # Errors
/// When there is no such board, or too little of it.
pub fn board(board: &Board, picture: &Grey, name: &str) -> Result<View, Refused> {
    let corners = match board.pattern {
        Pattern::Charuco => charuco(board, picture, name)?,
        Pattern::Chessboard => chessboard(board, picture, name)?,
    };
    if corners.len() < CORNERS {
        let (least, n) = (CORNERS, corners.len());
        return Err(format!(
            "{name}: expected at least {least} corners of {board}, found {n}: bring it nearer, and into sharp focus"
        ));
    }
    let across = board.corners_across();
    let one_of =
        |part: &dyn Fn(usize) -> usize| corners.iter().all(|c| part(c.id) == part(corners[0].id));
    if one_of(&|id| id / across) || one_of(&|id| id % across) {
        return Err(format!(
            "{name}: only one row of corners of {board} found: bring more of it into the picture"
        ));
    }
    Ok(View {
        name: name.into(),
        size: picture.size(),
        corners,
    })
}

fn charuco(board: &Board, picture: &Grey, name: &str) -> Result<Vec<Corner>, Refused> {
    let mat = picture.mat().map_err(said)?;
    let markers = markers(board, picture, &mat).map_err(said)?;
    if markers.is_empty() {
        return Err(format!(
            "{name}: no marker of {board} found: is the board in the picture, sharp, evenly lit and not mirrored?"
        ));
    }
    let squares = board.markers();
    let maps: Vec<(usize, Homography)> = markers
        .iter()
        .filter_map(|m| {
            let from = board.marker_corners_m(squares[m.id]);
            Homography::of(from, m.corners).map(|h| (m.id, h))
        })
        .collect();
    let mut corners = Vec::new();
    let (mut pairs, mut disagree) = (0, 0);
    for id in 0..board.corners() {
        let at = board.corner_m(id);
        let around: Vec<&Homography> = maps
            .iter()
            .filter(|(marker, _)| is_beside(board, squares[*marker], id))
            .map(|(_, h)| h)
            .collect();
        let Some(first) = around.first() else {
            continue;
        };
        let side = apart(first.map(at), first.map([at[0] + board.square_m, at[1]]));
        let mut guess = first.map(at);
        if let Some(second) = around.get(1) {
            let other = second.map(at);
            pairs += 1;
            if apart(guess, other) > 0.2 * side {
                disagree += 1;
                continue;
            }
            guess = [(guess[0] + other[0]) / 2.0, (guess[1] + other[1]) / 2.0];
        }
        if !is_saddle(board, picture, first, id) {
            continue;
        }
        // The nearest thing that would mislead is the corner of a marker.
        let gap = (board.square_m - board.marker_m) / 2.0;
        let free = [1.0, -1.0]
            .into_iter()
            .flat_map(|x| [1.0, -1.0].map(|y| [x, y]));
        let free = free
            .map(|[x, y]| apart(first.map(at), first.map([at[0] + x * gap, at[1] + y * gap])))
            .fold(f64::INFINITY, f64::min);
        let half = (0.65 * free).floor().clamp(2.0, 9.0) as i32;
        if let Some(pixel) = sharpened(&mat, guess, half).map_err(said)? {
            corners.push(Corner { id, pixel });
        }
    }
    if pairs >= 4 && disagree * 2 > pairs {
        return Err(format!(
            "{name}: the markers do not lie as those of {board}: is it a board of other dimensions?"
        ));
    }
    if corners.is_empty() && markers.len() >= 4 {
        return Err(format!(
            "{name}: {} markers are there, but no corners between squares as {board} has them: is it a board of other dimensions, or blurred?",
            markers.len()
        ));
    }
    Ok(corners)
}

/// Whether the square touches the corner.
fn is_beside(board: &Board, (column, row): (usize, usize), id: usize) -> bool {
    let (c, r) = (id % board.corners_across(), id / board.corners_across());
    (c == column || c + 1 == column) && (r == row || r + 1 == row)
}

fn apart(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Whether two dark and two light squares meet there.
fn is_saddle(board: &Board, picture: &Grey, map: &Homography, id: usize) -> bool {
    let [x, y] = board.corner_m(id);
    let (c, r) = (id % board.corners_across(), id / board.corners_across());
    // Inside the white between corner and marker.
    let off = (board.square_m - board.marker_m) / 4.0;
    let at = |dx: f64, dy: f64| picture.at(map.map([x + dx * off, y + dy * off]));
    let (one, other) = (
        [at(-1.0, -1.0), at(1.0, 1.0)],
        [at(1.0, -1.0), at(-1.0, 1.0)],
    );
    let (black, white) = if (c + r) % 2 == 0 {
        (one, other)
    } else {
        (other, one)
    };
    let (Some(black), Some(white)) = (pair(black), pair(white)) else {
        return false;
    };
    white[0].min(white[1]) - black[0].max(black[1]) > LEAST_CONTRAST
}

fn pair([a, b]: [Option<f64>; 2]) -> Option<[f64; 2]> {
    Some([a?, b?])
}

/// The corner near `guess`, in a window of `half` pixels each way.
fn sharpened(mat: &Mat, guess: [f64; 2], half: i32) -> opencv::Result<Option<[f64; 2]>> {
    let room = f64::from(half + 2);
    let (w, h) = (f64::from(mat.cols()), f64::from(mat.rows()));
    let [u, v] = guess;
    if !(u > room && v > room && u < w - room && v < h - room) {
        return Ok(None);
    }
    let mut points = Vector::<Point2f>::from_slice(&[Point2f::new(u as f32, v as f32)]);
    let criteria = TermCriteria {
        typ: TermCriteria_Type::COUNT as i32 + TermCriteria_Type::EPS as i32,
        max_count: 60,
        epsilon: 0.0005,
    };
    corner_sub_pix(
        mat,
        &mut points,
        Size::new(half, half),
        Size::new(-1, -1),
        criteria,
    )?;
    let point = points.get(0)?;
    let found = [f64::from(point.x), f64::from(point.y)];
    Ok((apart(found, guess) <= f64::from(half).max(2.0)).then_some(found))
}

/// All markers of the board, each once.
fn markers(board: &Board, picture: &Grey, mat: &Mat) -> opencv::Result<Vec<Marker>> {
    let mut found: Vec<(f64, Marker)> = Vec::new();
    for neighbourhood in NEIGHBOURHOODS {
        let mut black = Mat::default();
        adaptive_threshold(
            mat,
            &mut black,
            255.0,
            ADAPTIVE_THRESH_MEAN_C,
            THRESH_BINARY_INV,
            neighbourhood,
            DARKER,
        )?;
        let mut contours = Vector::<Vector<Point>>::new();
        find_contours_def(&black, &mut contours, RETR_LIST, CHAIN_APPROX_NONE)?;
        for contour in contours {
            let around = arc_length(&contour, true)?;
            if around < 4.0 * LEAST_SIDE {
                continue;
            }
            let mut polygon = Vector::<Point>::new();
            approx_poly_dp(&contour, &mut polygon, 0.05 * around, true)?;
            if polygon.len() != 4 || !is_contour_convex(&polygon)? {
                continue;
            }
            let Some(quad) = fitted(&contour, &polygon) else {
                continue;
            };
            let side = |i: usize| apart(quad[i], quad[(i + 1) % 4]);
            if (0..4).map(side).fold(f64::INFINITY, f64::min) < LEAST_SIDE {
                continue;
            }
            let Some(marker) = read(board, picture, quad) else {
                continue;
            };
            let known = found.iter().position(|(_, m)| m.id == marker.id);
            match known {
                // The inside of a border is a contour too: the outer one is longer.
                Some(at) if found[at].0 >= around => {}
                Some(at) => found[at] = (around, marker),
                None => found.push((around, marker)),
            }
        }
    }
    Ok(found.into_iter().map(|(_, marker)| marker).collect())
}

/// The four corners of a contour that is nearly a quadrangle, clockwise: where the lines through its sides meet, which is nearer
/// to the truth than any pixel of it.
fn fitted(contour: &Vector<Point>, polygon: &Vector<Point>) -> Option<[[f64; 2]; 4]> {
    let corners: Vec<[f64; 2]> = polygon
        .iter()
        .map(|p| [f64::from(p.x), f64::from(p.y)])
        .collect();
    let points: Vec<[f64; 2]> = contour
        .iter()
        .map(|p| [f64::from(p.x), f64::from(p.y)])
        .collect();
    let at = |corner: [f64; 2]| points.iter().position(|p| *p == corner);
    let mut lines = Vec::new();
    for i in 0..4 {
        let (from, to) = (at(corners[i])?, at(corners[(i + 1) % 4])?);
        // The polygon goes the way of its contour.
        let length = (to + points.len() - from) % points.len();
        if length < 4 {
            return None;
        }
        // Without the rounded ends.
        let skip = (length / 6).max(1);
        let side: Vec<[f64; 2]> = (skip..=length - skip)
            .map(|k| points[(from + k) % points.len()])
            .collect();
        lines.push(line(&side)?);
    }
    let mut quad = [[0.0; 2]; 4];
    for (i, corner) in quad.iter_mut().enumerate() {
        let ([a, b, c], [d, e, f]) = (lines[(i + 3) % 4], lines[i]);
        let determinant = a * e - b * d;
        if determinant.abs() < 0.05 {
            return None;
        }
        *corner = [(c * e - b * f) / determinant, (a * f - c * d) / determinant];
        if apart(*corner, corners[i]) > 4.0 {
            return None;
        }
    }
    let turn: f64 = (0..4)
        .map(|i| {
            let ([a, b], [c, d]) = (quad[i], quad[(i + 1) % 4]);
            a * d - b * c
        })
        .sum();
    if turn < 0.0 {
        quad.reverse();
    }
    Some(quad)
}

/// The line through points by least squares of distances: a x + b y = c, a and b of length 1.
fn line(points: &[[f64; 2]]) -> Option<[f64; 3]> {
    let n = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p[0] / n, y + p[1] / n));
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for p in points {
        let (dx, dy) = (p[0] - x, p[1] - y);
        xx += dx * dx;
        xy += dx * dy;
        yy += dy * dy;
    }
    if xx + yy == 0.0 {
        return None;
    }
    let angle = 0.5 * (2.0 * xy).atan2(xx - yy);
    let (b, a) = (angle.cos(), -angle.sin());
    Some([a, b, a * x + b * y])
}

/// The marker in the quadrangle, if it is one of the board's.
fn read(board: &Board, picture: &Grey, quad: [[f64; 2]; 4]) -> Option<Marker> {
    let n = CELLS as f64;
    let map = Homography::of([[0.0, 0.0], [n, 0.0], [n, n], [0.0, n]], quad)?;
    let mut cells = [[0.0; CELLS]; CELLS];
    for (row, cells) in cells.iter_mut().enumerate() {
        for (column, cell) in cells.iter_mut().enumerate() {
            for (dx, dy) in [
                (0.35, 0.35),
                (0.65, 0.35),
                (0.5, 0.5),
                (0.35, 0.65),
                (0.65, 0.65),
            ] {
                *cell += picture.at(map.map([column as f64 + dx, row as f64 + dy]))? / 5.0;
            }
        }
    }
    let levels = || cells.iter().flatten().copied();
    let (low, high) = (
        levels().fold(f64::INFINITY, f64::min),
        levels().fold(0.0, f64::max),
    );
    if high - low < LEAST_CONTRAST {
        return None;
    }
    let middle = (low + high) / 2.0;
    let (mut bits, mut border) = (0u16, 0);
    for (row, cells) in cells.iter().enumerate() {
        for (column, cell) in cells.iter().enumerate() {
            let white = *cell > middle;
            if (1..CELLS - 1).contains(&row) && (1..CELLS - 1).contains(&column) {
                bits = bits << 1 | u16::from(white);
            } else {
                border += u32::from(white);
            }
        }
    }
    if border > 1 {
        return None;
    }
    let (id, quarters) = board.marker_of(bits)?;
    let corners = std::array::from_fn(|i| quad[(i + quarters) % 4]);
    Some(Marker { id, corners })
}

fn chessboard(board: &Board, picture: &Grey, name: &str) -> Result<Vec<Corner>, Refused> {
    let (across, down) = (board.corners_across(), board.rows - 1);
    let mut points = Vector::<Point2f>::new();
    let mat = picture.mat().map_err(said)?;
    let flags = CALIB_CB_NORMALIZE_IMAGE | CALIB_CB_ACCURACY;
    let size = Size::new(across as i32, down as i32);
    let found = find_chessboard_corners_sb(&mat, size, &mut points, flags).map_err(said)?;
    if !found || points.len() != board.corners() {
        return Err(format!(
            "{name}: no board of {across}x{down} inner corners found: {board} has to be seen whole, sharp and evenly lit; is it one of other dimensions?"
        ));
    }
    let mut pixels: Vec<[f64; 2]> = points
        .iter()
        .map(|p| [f64::from(p.x), f64::from(p.y)])
        .collect();
    // The square before the first inner corner is black; else it was found the other way up.
    let (first, right, below) = (pixels[0], pixels[1], pixels[across]);
    let square = [
        first[0] - (right[0] + below[0] - 2.0 * first[0]) / 2.0,
        first[1] - (right[1] + below[1] - 2.0 * first[1]) / 2.0,
    ];
    let beside = [
        first[0] + (right[0] - below[0]) / 2.0,
        first[1] + (right[1] - below[1]) / 2.0,
    ];
    if let (Some(square), Some(beside)) = (picture.at(square), picture.at(beside))
        && square > beside
    {
        pixels.reverse();
    }
    let corner = |(id, pixel)| Corner { id, pixel };
    Ok(pixels.into_iter().enumerate().map(corner).collect())
}
