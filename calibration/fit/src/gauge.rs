//! How a board was seen: sharp, exposed, tilted, near. Decides the measures; what is too blurred to be used, too
//! ([`refusal`]).

use tactus_calibration::exchange::{Seen, View};
use tactus_calibration::{Board, Lens, LensModel, Pattern};

use crate::find::{Grey, Homography};
use crate::{Refused, pnp};

/// An edge that is wider is blurred, pixels.
pub const BLURRED_PX: f64 = 6.0;
/// More of the white of the board beyond measure is overexposed.
pub const SATURATED: f64 = 0.5;
/// Less between white and black is too dark or flat, grey levels.
pub const CONTRAST: f64 = 40.0;
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
            let (low, high) = profile.iter().fold((255.0, 0.0), |(l, h): (f64, f64), v| (l.min(*v), h.max(*v)));
            whites.push(high);
            blacks.push(low);
            clipped += usize::from(high > WHITEST);
            let (from, to) = (low + 0.1 * (high - low), low + 0.9 * (high - low));
            let between = profile.iter().filter(|v| (from..=to).contains(*v)).count();
            widths.push((between + 1) as f64 * per_step);
        }
    }
    let middle = |values: &mut Vec<f64>, share: f64| {
        values.sort_by(f64::total_cmp);
        values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0)
    };
    let edges = widths.len();
    Ok(Seen {
        blur_px: middle(&mut widths, 0.75),
        saturated: clipped as f64 / edges.max(1) as f64,
        contrast: middle(&mut whites, 0.5) - middle(&mut blacks, 0.5),
        tilt_deg: normal.z.clamp(-1.0, 1.0).acos().to_degrees(),
        towards_deg: (-normal.y).atan2(-normal.x).to_degrees(),
        extent: span(0, w).max(span(1, h)),
    })
}

/// Grey levels across the edges that meet in the corner, from black to white or back, and pixels per step.
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
    // As far as both sides are of one colour.
    let reach = match board.pattern {
        Pattern::Charuco => 0.5 * (1.0 - board.marker_m / board.square_m),
        Pattern::Chessboard => 0.3,
    };
    let profile = |way: &dyn Fn(f64) -> [f64; 2]| {
        let at = |k: usize| way(reach * (2.0 * k as f64 / (PROFILE - 1) as f64 - 1.0));
        let levels: Option<Vec<f64>> = (0..PROFILE).map(|k| picture.at(map.map(at(k)))).collect();
        let (a, b) = (map.map(at(0)), map.map(at(PROFILE - 1)));
        let per_step = (a[0] - b[0]).hypot(a[1] - b[1]) / (PROFILE - 1) as f64;
        levels.map(|levels| (levels, per_step))
    };
    let sides: [Option<_>; 2] = [profile(&|t| [0.5, t]), profile(&|t| [t, 0.5])];
    sides.into_iter().flatten().collect()
}

/// Why a view cannot be used, if it cannot.
pub fn refusal(name: &str, seen: &Seen) -> Option<Refused> {
    let Seen {
        blur_px,
        saturated,
        contrast,
        ..
    } = seen;
    if *saturated > SATURATED {
        return Some(format!(
            "{name}: overexposed: expected at most {:.0} % of the board's white at the end of the scale, got {:.0} %: less light, or a shorter exposure",
            SATURATED * 100.0,
            saturated * 100.0
        ));
    }
    if *contrast < CONTRAST {
        return Some(format!(
            "{name}: flat: expected at least {CONTRAST:.0} grey levels between white and black, got {contrast:.0}: more light"
        ));
    }
    if *blur_px > BLURRED_PX {
        return Some(format!(
            "{name}: blurred: expected edges of at most {BLURRED_PX:.0} px, got {blur_px:.1}: hold still, and check the focus"
        ));
    }
    None
}
