//! What the motions of a picture's parts have in common: a shift, a turn and a scale, as a camera that was knocked makes them.
//!
//! Every pair of parts proposes one; the one that most parts agree with is taken, and fitted to all that agree (RANSAC, with all
//! pairs instead of random ones; Fischler and Bolles, 1981). Parts that disagree belong to what moved by itself.

use nalgebra::{Matrix4, Vector4};

use crate::grey::Grey;
use crate::patch::{Found, corners, find};

/// Parts that are needed.
const LEAST_CORNERS: usize = 12;
const LEAST_AGREEING: usize = 8;
/// Share of the parts that were found again that must agree.
const AGREE: f64 = 0.4;
/// How well they agree, pixels of the smaller picture.
const WITHIN: f64 = 1.0;

/// How a camera has moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// By how much a point of the picture moved at most, pixels: at that corner of the picture where it is most.
    pub px: f64,
    /// Shift of the picture's middle, columns and rows, pixels.
    pub shift_px: (f64, f64),
    /// Turn, degrees.
    pub turn_deg: f64,
    /// Scale, of 1.
    pub scale: f64,
    /// Parts that agree, that were found again, and that there were.
    pub parts: (usize, usize, usize),
}

/// Why nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriftError {
    /// Not the same camera.
    #[error("pictures of {then} and {now} pixels; expected the same size")]
    Size {
        /// Of the picture that was kept.
        then: String,
        /// Of the new one.
        now: String,
    },
    /// A picture without corners.
    #[error(
        "the picture that was kept shows {actual} parts that can be found again; expected at least {LEAST_CORNERS}"
    )]
    Plain {
        /// How many.
        actual: usize,
    },
    /// Nothing in common.
    #[error(
        "{agreeing} parts agree on how the camera moved, {found} of {parts} were found again: it moved far, is covered, or sees another scene"
    )]
    Lost {
        /// Parts that agree.
        agreeing: usize,
        /// That were found again.
        found: usize,
        /// That there were.
        parts: usize,
    },
}

/// A similarity: `x' = a x - b y + tx`, `y' = b x + a y + ty`.
#[derive(Debug, Clone, Copy)]
struct Motion([f64; 4]);

impl Motion {
    fn of(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [a, b, tx, ty] = self.0;
        (a * x - b * y + tx, b * x + a * y + ty)
    }

    fn explains(&self, found: &Found) -> bool {
        let (x, y) = self.of(found.from);
        (x - found.to.0).hypot(y - found.to.1) < WITHIN
    }

    /// Least squares over `found`; `None` when they lie in one place.
    fn fit(found: &[Found]) -> Option<Self> {
        let (mut square, mut right) = (Matrix4::zeros(), Vector4::zeros());
        for f in found {
            let ((x, y), (u, v)) = (f.from, f.to);
            for (row, value) in [
                (Vector4::new(x, -y, 1.0, 0.0), u),
                (Vector4::new(y, x, 0.0, 1.0), v),
            ] {
                square += row * row.transpose();
                right += row * value;
            }
        }
        let solved = square.lu().solve(&right)?;
        let all = [solved[0], solved[1], solved[2], solved[3]];
        all.iter().all(|v| v.is_finite()).then_some(Self(all))
    }
}

/// How the camera that took `then` had moved when it took `now`.
///
/// # Errors
/// [`DriftError`].
pub fn drift(then: &Grey, now: &Grey) -> Result<Drift, DriftError> {
    let size = |g: &Grey| (g.width, g.height, g.shrunk.to_bits());
    if size(then) != size(now) {
        let words = |g: &Grey| {
            let pixels = |n: usize| n as f64 * g.shrunk;
            format!("{:.0}x{:.0}", pixels(g.width), pixels(g.height))
        };
        return Err(DriftError::Size {
            then: words(then),
            now: words(now),
        });
    }
    let corners = corners(then);
    if corners.len() < LEAST_CORNERS {
        return Err(DriftError::Plain {
            actual: corners.len(),
        });
    }
    let found: Vec<Found> = corners.iter().filter_map(|c| find(then, now, *c)).collect();
    let agreeing = |motion: &Motion| -> Vec<Found> {
        found
            .iter()
            .filter(|f| motion.explains(f))
            .copied()
            .collect()
    };
    let mut best: Vec<Found> = Vec::new();
    for (i, one) in found.iter().enumerate() {
        for other in found.iter().take(i) {
            let Some(motion) = Motion::fit(&[*one, *other]) else {
                continue;
            };
            let agree = agreeing(&motion);
            if agree.len() > best.len() {
                best = agree;
            }
        }
    }
    let lost = DriftError::Lost {
        agreeing: best.len(),
        found: found.len(),
        parts: corners.len(),
    };
    if best.len() < LEAST_AGREEING || (best.len() as f64) < AGREE * found.len() as f64 {
        return Err(lost);
    }
    let Some(motion) = Motion::fit(&best) else {
        return Err(lost);
    };
    let (width, height) = (then.width as f64, then.height as f64);
    let moved = |at: (f64, f64)| {
        let to = motion.of(at);
        (then.shrunk * (to.0 - at.0), then.shrunk * (to.1 - at.1))
    };
    let corner = [(0.0, 0.0), (width, 0.0), (0.0, height), (width, height)];
    let [a, b, ..] = motion.0;
    Ok(Drift {
        px: corner
            .map(moved)
            .iter()
            .map(|(x, y)| x.hypot(*y))
            .fold(0.0, f64::max),
        shift_px: moved((width / 2.0, height / 2.0)),
        turn_deg: b.atan2(a).to_degrees(),
        scale: a.hypot(b),
        parts: (best.len(), found.len(), corners.len()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const WIDTH: usize = 320;
    const HEIGHT: usize = 240;

    /// Rectangles of many levels, larger than the picture.
    struct Scene(Vec<(f64, f64, f64, f64, f64)>);

    impl Scene {
        fn new(seed: u64) -> Self {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let all = (0..140).map(|_| {
                let (x, y) = (
                    rng.random_range(-60.0..380.0),
                    rng.random_range(-60.0..300.0),
                );
                let (w, h) = (rng.random_range(12.0..60.0), rng.random_range(12.0..60.0));
                (x, y, w, h, rng.random_range(20.0..230.0))
            });
            Self(all.collect())
        }

        fn level(&self, x: f64, y: f64) -> f64 {
            let covers = |(a, b, w, h, _): &&(f64, f64, f64, f64, f64)| {
                x >= *a && x < a + w && y >= *b && y < b + h
            };
            self.0.iter().rev().find(covers).map_or(90.0, |r| r.4)
        }

        /// A picture by a camera turned by `deg` and shifted; a hand of `hand` pixels is in it, somewhere else each time.
        fn seen(&self, deg: f64, (sx, sy): (f64, f64), gain: f64, hand: (f64, f64)) -> Grey {
            let (sin, cos) = deg.to_radians().sin_cos();
            let (mx, my) = (WIDTH as f64 / 2.0, HEIGHT as f64 / 2.0);
            let mut rgb = Vec::new();
            for row in 0..HEIGHT {
                for column in 0..WIDTH {
                    let mut sum = 0.0;
                    // Where the pixel's parts come from: four, so that edges are soft.
                    for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                        let (u, v) = (column as f64 + dx, row as f64 + dy);
                        sum += if (u - hand.0).abs() < 40.0 && (v - hand.1).abs() < 50.0 {
                            200.0
                        } else {
                            let (x, y) = (u - sx - mx, v - sy - my);
                            self.level(cos * x + sin * y + mx, -sin * x + cos * y + my)
                        };
                    }
                    rgb.extend([(gain * sum / 4.0).min(255.0) as u8; 3]);
                }
            }
            Grey::of(&rgb, WIDTH, HEIGHT).expect("large enough")
        }
    }

    const AWAY: (f64, f64) = (-100.0, -100.0);

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn a_shift_and_a_turn_are_found_to_half_a_pixel_whatever_moves_before_the_camera(
            seed in 0u64..1000,
            deg in -2.0..2.0f64,
            x in -8.0..8.0f64,
            y in -8.0..8.0f64,
            gain in 0.7..1.1f64,
        ) {
            let scene = Scene::new(seed);
            let then = scene.seen(0.0, (0.0, 0.0), 1.0, (60.0, 80.0));
            let now = scene.seen(deg, (x, y), gain, (230.0, 150.0));
            let found = drift(&then, &now).expect("seen");
            prop_assert!((found.shift_px.0 - x).abs() < 0.5, "{found:?}");
            prop_assert!((found.shift_px.1 - y).abs() < 0.5, "{found:?}");
            prop_assert!((found.turn_deg - deg).abs() < 0.2, "{found:?}");
        }
    }

    #[test]
    fn a_camera_that_stands_still_has_not_moved() {
        let scene = Scene::new(1);
        let then = scene.seen(0.0, (0.0, 0.0), 1.0, AWAY);
        let now = scene.seen(0.0, (0.0, 0.0), 0.8, (200.0, 100.0));
        let found = drift(&then, &now).expect("seen");
        assert!(found.px < 0.3, "{found:?}");
    }

    #[test]
    fn another_scene_and_a_plain_one_are_said() {
        let then = Scene::new(1).seen(0.0, (0.0, 0.0), 1.0, AWAY);
        let other = Scene::new(2).seen(0.0, (0.0, 0.0), 1.0, AWAY);
        assert!(matches!(drift(&then, &other), Err(DriftError::Lost { .. })));
        let plain = Grey::of(&[77; WIDTH * HEIGHT * 3], WIDTH, HEIGHT).expect("large enough");
        assert_eq!(drift(&plain, &then), Err(DriftError::Plain { actual: 0 }));
        let small = Grey::of(&[77; 64 * 48 * 3], 64, 48).expect("large enough");
        assert!(matches!(drift(&then, &small), Err(DriftError::Size { .. })));
    }
}
