//! How a board was seen: sharp, exposed, tilted, near. Decides the measures; what is too blurred to be used, [`Seen::refusal`]
//! says.

use tactus_calibration::exchange::{Seen, View};
use tactus_calibration::{Board, Lens, LensModel, Pattern};

use crate::find::{Grey, Homography};
use crate::{Refused, pnp};

/// A grey level that may stand for any above it.
const WHITEST: f64 = 253.5;
/// Places along a profile.
const PROFILE: usize = 41;

/// Measures.
///
/// # Errors
/// When the corners are those of no flat board.
pub fn seen(board: &Board, picture: &Grey, view: &View) -> Result<Seen, Refused> {
    let (w, h) = (f64::from(view.size.0), f64::from(view.size.1));
    // Any camera: what is said of tilt need not be exact.
    let focal = 0.9 * w.max(h);
    let lens = Lens {
        size: view.size,
        camera: [focal, focal, w / 2.0, h / 2.0],
        model: LensModel::PlumbBob,
        distortion: vec![0.0; 5],
        straight: [focal, focal, w / 2.0, h / 2.0],
    };
    let pose = pnp::pose(board, &lens, view)?;
    let normal = pose.x_cw.rotation * nalgebra::Vector3::z();
    let map = |[x, y]: [f64; 2]| {
        let at = pose.x_cw * nalgebra::Point3::new(x, y, 0.0);
        lens.pixel([at.x, at.y, at.z])
    };
    let [bw, bh] = board.size_m();
    let outline = [[0.0, 0.0], [bw, 0.0], [bw, bh], [0.0, bh]].map(map);
    let span = |axis: usize, length: f64| {
        let at = outline.iter().flatten().map(|p| p[axis].clamp(0.0, length));
        let (low, high) = at.fold((length, 0.0), |(l, h): (f64, f64), v| (l.min(v), h.max(v)));
        (high - low) / length
    };
    let mut widths = Vec::new();
    let (mut whites, mut blacks, mut clipped) = (Vec::new(), Vec::new(), 0);
    for corner in &view.corners {
        for (profile, per_step) in profiles(board, picture, view, corner.id) {
            let (low, high) = profile
                .iter()
                .fold((255.0, 0.0), |(l, h): (f64, f64), v| (l.min(*v), h.max(*v)));
            whites.push(high);
            blacks.push(low);
            clipped += usize::from(high > WHITEST);
            // The dark half of the edge, twice: the light one may be cut off.
            let (from, to) = (low + 0.1 * (high - low), low + 0.5 * (high - low));
            let between = profile.iter().filter(|v| (from..=to).contains(*v)).count();
            widths.push(2.0 * between as f64 * per_step);
        }
    }
    let middle = |values: &mut Vec<f64>, share: f64| {
        values.sort_by(f64::total_cmp);
        values
            .get(((values.len().max(1) - 1) as f64 * share) as usize)
            .copied()
            .unwrap_or(0.0)
    };
    let edges = widths.len();
    if edges == 0 {
        return Err(format!(
            "{}: corners here and there, but no whole square: blurred, flat, or covered",
            view.name
        ));
    }
    Ok(Seen {
        blur_px: middle(&mut widths, 0.75),
        saturated: clipped as f64 / edges as f64,
        contrast: middle(&mut whites, 0.5) - middle(&mut blacks, 0.5),
        tilt_deg: normal.z.clamp(-1.0, 1.0).acos().to_degrees(),
        towards_deg: (-normal.y).atan2(-normal.x).to_degrees(),
        extent: span(0, w).max(span(1, h)),
    })
}

/// Grey levels across the edges beside the corner, from white to black, and pixels per step.
fn profiles(board: &Board, picture: &Grey, view: &View, id: usize) -> Vec<(Vec<f64>, f64)> {
    let across = board.corners_across();
    let find = |id: usize| view.corners.iter().find(|c| c.id == id).map(|c| c.pixel);
    // The corner, its right and its lower neighbour, and the one across.
    let four = [id, id + 1, id + across + 1, id + across];
    if id % across + 1 == across || id + across >= board.corners() {
        return Vec::new();
    }
    let four: Option<Vec<[f64; 2]>> = four.into_iter().map(find).collect();
    let Some(four) = four else {
        return Vec::new();
    };
    let Some(map) = Homography::of(
        [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]],
        [four[0], four[1], four[2], four[3]],
    ) else {
        return Vec::new();
    };
    // As far as each side is of one colour: in a white square of a ChArUco board the marker begins.
    let white = match board.pattern {
        Pattern::Charuco => 0.35 * (1.0 - board.marker_m / board.square_m),
        Pattern::Chessboard => 0.4,
    };
    let profile = |way: &dyn Fn(f64) -> [f64; 2]| {
        let level = |t: f64| picture.at(map.map(way(t)));
        let darker = if level(-white / 2.0)? < level(white / 2.0)? {
            -1.0
        } else {
            1.0
        };
        let (from, to) = (-darker * white, darker * 0.4);
        let at = |k: usize| from + (to - from) * k as f64 / (PROFILE - 1) as f64;
        let levels: Option<Vec<f64>> = (0..PROFILE).map(|k| level(at(k))).collect();
        let (a, b) = (map.map(way(from)), map.map(way(to)));
        let per_step = (a[0] - b[0]).hypot(a[1] - b[1]) / (PROFILE - 1) as f64;
        levels.map(|levels| (levels, per_step))
    };
    let sides: [Option<_>; 2] = [profile(&|t| [0.5, t]), profile(&|t| [t, 0.5])];
    sides.into_iter().flatten().collect()
}
