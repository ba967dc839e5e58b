//! Pictures of a board with a known truth: drawn flat, seen through a known lens from known poses, blurred, with noise.
#![allow(dead_code, reason = "each test file uses its own part")]

use nalgebra::{Isometry3, Point3, Translation3, UnitQuaternion, Vector3};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use tactus_calibration::{Board, Lens, LensModel, drawing};
use tactus_fit::find::Grey;

/// How a picture is spoilt.
#[derive(Debug, Clone, Copy)]
pub struct Spoilt {
    /// Blur of the optics: standard deviation, pixels.
    pub blur_px: f64,
    /// Noise of the sensor: standard deviation, grey levels.
    pub noise: f64,
    /// Grey level of white; beyond 255 it is clipped.
    pub white: f64,
}

/// A usual camera.
pub const USUAL: Spoilt = Spoilt {
    blur_px: 0.7,
    noise: 3.0,
    white: 215.0,
};

pub fn lens(model: LensModel) -> Lens {
    let (camera, distortion) = match model {
        LensModel::PlumbBob => (
            [610.0, 605.0, 331.0, 236.0],
            vec![-0.22, 0.07, 0.001, -0.0015, 0.0],
        ),
        LensModel::RationalPolynomial => (
            [520.0, 521.0, 312.0, 247.0],
            vec![0.12, 0.02, 0.0008, 0.0005, 0.002, 0.35, 0.05, 0.003],
        ),
        LensModel::Equidistant => (
            [305.0, 306.0, 327.0, 233.0],
            vec![-0.02, 0.006, -0.002, 0.0003],
        ),
    };
    Lens {
        size: (640, 480),
        camera,
        model,
        distortion,
        straight: camera,
    }
}

/// The ray (x, y, 1) that a pixel sees.
fn ray(lens: &Lens, pixel: [f64; 2]) -> Option<[f64; 2]> {
    let [fx, fy, cx, cy] = lens.camera;
    let mut at = [(pixel[0] - cx) / fx, (pixel[1] - cy) / fy];
    if lens.model == LensModel::Equidistant {
        let r = at[0].hypot(at[1]);
        let k = r.min(1.45).tan() / r.max(1e-9);
        at = [at[0] * k, at[1] * k];
    }
    for _ in 0..60 {
        let [u, v] = lens.pixel([at[0], at[1], 1.0])?;
        let off = [pixel[0] - u, pixel[1] - v];
        if off[0].hypot(off[1]) < 1e-7 {
            return Some(at);
        }
        // Newton, by differences.
        let h = 1e-6;
        let a = lens.pixel([at[0] + h, at[1], 1.0])?;
        let b = lens.pixel([at[0], at[1] + h, 1.0])?;
        let j = [
            (a[0] - u) / h,
            (b[0] - u) / h,
            (a[1] - v) / h,
            (b[1] - v) / h,
        ];
        let d = j[0] * j[3] - j[1] * j[2];
        at[0] += (j[3] * off[0] - j[1] * off[1]) / d;
        at[1] += (j[0] * off[1] - j[2] * off[0]) / d;
        if !at.iter().all(|v| v.is_finite() && v.abs() < 20.0) {
            return None;
        }
    }
    None
}

const PER_PIXEL: usize = 3;

/// Draws a board through one lens.
pub struct Studio {
    board: Board,
    pub lens: Lens,
    rays: Vec<Option<[f64; 2]>>,
    flat: (usize, usize, Vec<u8>),
    scale: f64,
    rng: ChaCha8Rng,
}

impl Studio {
    pub fn new(board: Board, lens: Lens, seed: u64) -> Self {
        let (w, h) = (
            lens.size.0 as usize * PER_PIXEL,
            lens.size.1 as usize * PER_PIXEL,
        );
        let at = |i: usize| (i as f64 + 0.5) / PER_PIXEL as f64 - 0.5;
        let rays = (0..h).flat_map(|y| (0..w).map(move |x| [x, y]));
        let rays = rays.map(|[x, y]| ray(&lens, [at(x), at(y)])).collect();
        let scale = 10_000.0;
        Self {
            flat: drawing::raster(&board, scale, 120),
            board,
            lens,
            rays,
            scale,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// What the camera sees of a board at `x_cw`, before a grey wall.
    pub fn shot(&mut self, x_cw: &Isometry3<f64>, spoilt: Spoilt) -> Grey {
        let (w, h) = (self.lens.size.0 as usize, self.lens.size.1 as usize);
        let (fw, fh, flat) = &self.flat;
        let x_wc = x_cw.inverse();
        let origin = x_wc.translation.vector;
        let mut picture = vec![0.0; w * h];
        for (i, ray) in self.rays.iter().enumerate() {
            let mut level = 0.4;
            if let Some([x, y]) = ray {
                let way = x_wc.rotation * Vector3::new(*x, *y, 1.0);
                let t = -origin.z / way.z;
                if t > 0.0 {
                    let at = |p: f64| (p * self.scale + 120.0).floor();
                    let (u, v) = (at(origin.x + t * way.x), at(origin.y + t * way.y));
                    if u >= 0.0 && v >= 0.0 && u < *fw as f64 && v < *fh as f64 {
                        level = f64::from(flat[v as usize * fw + u as usize]) / 255.0;
                    }
                }
            }
            let (column, row) = (
                i % (w * PER_PIXEL) / PER_PIXEL,
                i / (w * PER_PIXEL) / PER_PIXEL,
            );
            picture[row * w + column] +=
                (25.0 + level * (spoilt.white - 25.0)) / (PER_PIXEL * PER_PIXEL) as f64;
        }
        let picture = blurred(&picture, w, h, spoilt.blur_px);
        let noise = Normal::new(0.0, spoilt.noise.max(1e-9)).expect("legal");
        let level =
            |v: f64, rng: &mut ChaCha8Rng| (v + noise.sample(rng)).round().clamp(0.0, 255.0) as u8;
        let bytes = picture
            .into_iter()
            .map(|v| level(v, &mut self.rng))
            .collect();
        Grey::new(self.lens.size, bytes).expect("a picture")
    }

    /// A pose with the board's middle in the picture: tilted by up to `tilt_deg`, at some distance, anywhere.
    pub fn pose(&mut self, tilt_deg: f64) -> Isometry3<f64> {
        let rng = &mut self.rng;
        let [bw, bh] = self.board.size_m();
        let (w, h) = (f64::from(self.lens.size.0), f64::from(self.lens.size.1));
        let share = rng.random_range(0.45..0.9);
        let depth = self.lens.camera[0] * bw / (share * w);
        let tilt = rng.random_range(0.3..1.0) * tilt_deg.to_radians();
        let towards = rng.random_range(0.0..std::f64::consts::TAU);
        let turn = UnitQuaternion::from_scaled_axis(
            Vector3::new(towards.cos(), towards.sin(), 0.0) * tilt,
        ) * UnitQuaternion::from_scaled_axis(Vector3::z() * rng.random_range(-0.5..0.5));
        let off = |room: f64, rng: &mut ChaCha8Rng| {
            room * rng.random_range(-0.5..0.5) * (1.0 - 0.6 * share)
        };
        let middle = Vector3::new(
            off(w, rng) / self.lens.camera[0] * depth,
            off(h, rng) / self.lens.camera[1] * depth,
            depth,
        );
        let corner = middle - turn * Vector3::new(bw / 2.0, bh / 2.0, 0.0);
        Isometry3::from_parts(Translation3::from(corner), turn)
    }
}

fn blurred(picture: &[f64], w: usize, h: usize, sigma: f64) -> Vec<f64> {
    if sigma <= 0.0 {
        return picture.to_vec();
    }
    let reach = (3.0 * sigma).ceil() as i64;
    let weights: Vec<f64> = (-reach..=reach)
        .map(|k| (-0.5 * (k as f64 / sigma).powi(2)).exp())
        .collect();
    let sum: f64 = weights.iter().sum();
    let pass = |from: &[f64], step: &dyn Fn(usize, usize, i64) -> usize| -> Vec<f64> {
        let mut to = vec![0.0; w * h];
        for y in 0..h {
            for x in 0..w {
                let terms = (-reach..=reach).zip(&weights);
                to[y * w + x] = terms
                    .map(|(k, weight)| weight / sum * from[step(x, y, k)])
                    .sum();
            }
        }
        to
    };
    let near = |v: usize, k: i64, n: usize| (v as i64 + k).clamp(0, n as i64 - 1) as usize;
    let across = pass(picture, &|x, y, k| y * w + near(x, k, w));
    pass(&across, &|x, y, k| near(y, k, h) * w + x)
}

/// Where the corner `id` really is in a picture taken at `x_cw`.
pub fn truth(board: &Board, lens: &Lens, x_cw: &Isometry3<f64>, id: usize) -> [f64; 2] {
    let [x, y] = board.corner_m(id);
    let at = x_cw * Point3::new(x, y, 0.0);
    lens.pixel([at.x, at.y, at.z]).expect("before the camera")
}

/// `x` with normal noise of each axis: m and rad.
pub fn shaken(x: &Isometry3<f64>, m: f64, rad: f64, rng: &mut ChaCha8Rng) -> Isometry3<f64> {
    let normal = Normal::new(0.0, 1.0).expect("legal");
    let mut three = |s: f64| Vector3::from_fn(|_, _| s * normal.sample(rng));
    let (way, turn) = (three(m), three(rad));
    x * Isometry3::from_parts(
        Translation3::from(way),
        UnitQuaternion::from_scaled_axis(turn),
    )
}
