//! Poses for hand-eye calibration: from where the board is in view, turned as far as the result needs.
//!
//! Decides which views of the board are wanted, which of them the arm can take, and in which order: always the one that is
//! turned farthest from all that were taken. A pose counts only when the way there, straight in the joints, keeps inside the
//! limits in space. Pure: the same scene and arm give the same poses.

use nalgebra::{Isometry3, Point3, Translation3, UnitQuaternion, Vector3};
use tactus_calibration::{Board, Lens, Mount, Pattern};
use tactus_control::Guard;
use tactus_kinematics::{Chain, Inverse, InverseSpec, KinematicsError};
use tactus_types::{ArmInfo, JointVec};

/// Tilts of the board against the line of sight, degrees: what spans 60 degrees and more, and something in between.
const TILTS_DEG: [f64; 3] = [34.0, 26.0, 14.0];
/// Directions of the tilt.
const DIRECTIONS: usize = 8;
/// Turns in the picture, degrees.
const ROLLS_DEG: [f64; 3] = [0.0, 35.0, -35.0];
/// Distances, of the one at the start.
const DISTANCES: [f64; 2] = [1.0, 1.2];
/// Where the board's middle is wanted, from the picture's: shares of its width and height.
const OFFSETS: [[f64; 2]; 5] = [
    [0.0, 0.0],
    [-0.2, -0.17],
    [0.2, 0.17],
    [0.2, -0.17],
    [-0.2, 0.17],
];
/// For a lens: tilts in degrees and directions of each; distances, of the one at the start; how much of the board has to show.
const LENS_TILTS_DEG: [(f64, u8); 3] = [(42.0, 4), (32.0, 4), (0.0, 1)];
const LENS_DISTANCES: [f64; 2] = [0.9, 1.25];
const MOST_OF_IT: f64 = 0.6;
/// Share of the picture that is left free at its edges.
const EDGE: f64 = 0.04;
/// How near the tip has to come to a pose: the pose that was reached is what counts.
const NEAR_M: f64 = 0.004;
const NEAR_RAD: f64 = 0.03;
/// Least room on the way, m.
const ROOM_M: f64 = 0.01;
/// Looks at a way.
const LOOKS: usize = 24;
/// Share of a joint's range that is kept from its ends.
const MARGIN: f64 = 0.02;
/// Turns that tell roughly where camera and board are, rad, about the hand's own axes.
pub const EXPLORE_RAD: f64 = 0.14;

/// What is known of the scene.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The board.
    pub board: Board,
    /// The camera's lens.
    pub lens: Lens,
    /// Where the camera is.
    pub mount: Mount,
    /// `X_EC` or `X_BC`.
    pub x: Isometry3<f64>,
    /// `X_BW` or `X_EW`.
    pub z: Isometry3<f64>,
    /// A board of which more than half is in the picture is in view.
    pub partly: bool,
}

impl Scene {
    /// `X_CW` with the hand at `x_be`.
    pub fn board_at(&self, x_be: &Isometry3<f64>) -> Isometry3<f64> {
        match self.mount {
            Mount::EyeInHand => (x_be * self.x).inverse() * self.z,
            Mount::EyeToHand => self.x.inverse() * x_be * self.z,
        }
    }

    /// `X_BE` at which the board is at `x_cw`.
    pub fn hand_for(&self, x_cw: &Isometry3<f64>) -> Isometry3<f64> {
        match self.mount {
            Mount::EyeInHand => self.z * x_cw.inverse() * self.x.inverse(),
            Mount::EyeToHand => self.x * x_cw * self.z.inverse(),
        }
    }

    fn in_view(&self, x_cw: &Isometry3<f64>) -> bool {
        if self.partly {
            return self.shown(x_cw) > MOST_OF_IT;
        }
        let (w, h) = (f64::from(self.lens.size.0), f64::from(self.lens.size.1));
        // Of a ChArUco board the corners between squares are enough.
        let rim = match self.board.pattern {
            Pattern::Charuco => self.board.square_m,
            Pattern::Chessboard => 0.0,
        };
        let [right, low] = self.board.size_m().map(|m| m - rim);
        [[rim, rim], [right, rim], [right, low], [rim, low]]
            .iter()
            .all(|[x, y]| {
                let at = x_cw * Point3::new(*x, *y, 0.0);
                let inside = |v: f64, length: f64| v > EDGE * length && v < (1.0 - EDGE) * length;
                let pixel = self.lens.pixel([at.x, at.y, at.z]);
                pixel.is_some_and(|[u, v]| inside(u, w) && inside(v, h))
            })
    }

    /// Share of the board's corners that the picture shows.
    fn shown(&self, x_cw: &Isometry3<f64>) -> f64 {
        let (w, h) = (f64::from(self.lens.size.0), f64::from(self.lens.size.1));
        let inside = |id: &usize| {
            let [x, y] = self.board.corner_m(*id);
            let at = x_cw * Point3::new(x, y, 0.0);
            let pixel = self.lens.pixel([at.x, at.y, at.z]);
            pixel.is_some_and(|[u, v]| (0.0..w).contains(&u) && (0.0..h).contains(&v))
        };
        let corners = self.board.corners();
        (0..corners).filter(inside).count() as f64 / corners.max(1) as f64
    }

    /// Where the middle of the board is in the picture, in widths of it, and how it is turned: how unlike `view` is to what is
    /// nearest to it of `taken`.
    pub fn unlike(&self, view: &Isometry3<f64>, taken: &[Isometry3<f64>]) -> f64 {
        let [bw, bh] = self.board.size_m();
        let [fx, ..] = self.lens.camera;
        let middle = |x: &Isometry3<f64>| {
            let at = x * Point3::new(bw / 2.0, bh / 2.0, 0.0);
            let widths = fx / f64::from(self.lens.size.0) / at.z.max(1e-3);
            Vector3::new(at.x * widths, at.y * widths, at.z.max(1e-3).ln())
        };
        let unlike = |other: &Isometry3<f64>| {
            (middle(other) - middle(view)).norm() + other.rotation.angle_to(&view.rotation)
        };
        taken.iter().map(unlike).fold(f64::INFINITY, f64::min)
    }

    /// Views of the board for a lens, as `X_CW`: everywhere in the picture, straight on and tilted each way, at two distances.
    pub fn wanted_for_lens(&self, now: &Isometry3<f64>) -> Vec<Isometry3<f64>> {
        let [bw, bh] = self.board.size_m();
        let middle = Vector3::new(bw / 2.0, bh / 2.0, 0.0);
        let depth = (now * Point3::from(middle)).z;
        let right = now.rotation * Vector3::x();
        let upright = UnitQuaternion::from_scaled_axis(Vector3::z() * right.y.atan2(right.x));
        let [fx, fy, ..] = self.lens.camera;
        let (w, h) = (f64::from(self.lens.size.0), f64::from(self.lens.size.1));
        let mut views = Vec::new();
        for distance in LENS_DISTANCES {
            for (tilt, ways) in LENS_TILTS_DEG {
                for way in 0..ways {
                    let towards = f64::from(way) / f64::from(ways) * std::f64::consts::TAU;
                    let axis = Vector3::new(towards.cos(), towards.sin(), 0.0);
                    let turn =
                        UnitQuaternion::from_scaled_axis(axis * f64::to_radians(tilt)) * upright;
                    for across in [-0.33, 0.0, 0.33] {
                        for down in [-0.33, 0.0, 0.33] {
                            let depth = depth * distance;
                            let at = Vector3::new(across * w / fx, down * h / fy, 1.0) * depth;
                            let view =
                                Isometry3::from_parts(Translation3::from(at - turn * middle), turn);
                            views.extend((self.shown(&view) > MOST_OF_IT).then_some(view));
                        }
                    }
                }
            }
        }
        views
    }

    /// Views of the board that are wanted, as `X_CW`, from how it is seen now on.
    pub fn wanted(&self, now: &Isometry3<f64>) -> Vec<Isometry3<f64>> {
        let [bw, bh] = self.board.size_m();
        let middle = Vector3::new(bw / 2.0, bh / 2.0, 0.0);
        let depth = (now * Point3::from(middle)).z;
        // As it is turned in the picture now, but facing the camera.
        let right = now.rotation * Vector3::x();
        let upright = right.y.atan2(right.x);
        let mut views = Vec::new();
        for distance in DISTANCES {
            for tilt in TILTS_DEG {
                for direction in 0..DIRECTIONS {
                    for (k, roll) in ROLLS_DEG.into_iter().enumerate() {
                        let towards = direction as f64 / DIRECTIONS as f64 * std::f64::consts::TAU;
                        let axis = Vector3::new(towards.cos(), towards.sin(), 0.0);
                        let turn = UnitQuaternion::from_scaled_axis(axis * tilt.to_radians())
                            * UnitQuaternion::from_scaled_axis(
                                Vector3::z() * (upright + roll.to_radians()),
                            );
                        let depth = depth * distance;
                        let [fx, fy, ..] = self.lens.camera;
                        let (w, h) = (f64::from(self.lens.size.0), f64::from(self.lens.size.1));
                        // Elsewhere in the picture where it fits, so that the whole lens takes part.
                        let off = OFFSETS[(direction + 2 * k) % OFFSETS.len()];
                        let views_at = [off, OFFSETS[0]].map(|[x, y]| {
                            let at = Vector3::new(x * w / fx * depth, y * h / fy * depth, depth);
                            Isometry3::from_parts(Translation3::from(at - turn * middle), turn)
                        });
                        views.extend(views_at.into_iter().find(|view| self.in_view(view)));
                    }
                }
            }
        }
        views
    }
}

/// What the arm can do.
pub struct Reach {
    inverse: Inverse,
    lower: JointVec,
    upper: JointVec,
    guard: Option<Guard>,
}

/// A pose that can be taken.
#[derive(Debug, Clone)]
pub struct Target {
    /// Joints, rad.
    pub q: JointVec,
    /// Where the hand then is.
    pub x_be: Isometry3<f64>,
}

impl Reach {
    /// Of the arm of `info`, within `guard`.
    ///
    /// # Errors
    /// When the arm does not describe its links.
    pub fn new(info: &ArmInfo, guard: Option<Guard>) -> Result<Self, KinematicsError> {
        let chain = tactus_control::limit::guard::chain(info)?;
        let inside = |k: usize| {
            let limits = &info.limits[k];
            let margin = MARGIN * (limits.upper - limits.lower);
            [limits.lower + margin, limits.upper - margin]
        };
        let limits: Vec<[f64; 2]> = (0..info.limits.len()).map(inside).collect();
        let spec = InverseSpec {
            max_iterations: 60,
            length_m: 0.3,
            ..InverseSpec::default()
        };
        Ok(Self {
            inverse: Inverse::new(chain, &limits, spec)?,
            lower: JointVec::from_fn(limits.len(), |i| limits[i][0]),
            upper: JointVec::from_fn(limits.len(), |i| limits[i][1]),
            guard,
        })
    }

    /// The arm's chain.
    pub fn chain(&self) -> &Chain {
        self.inverse.chain()
    }

    /// Joints whose hand is near `x_be`, on a free way from `from`.
    pub fn target(
        &self,
        x_be: &Isometry3<f64>,
        from: &JointVec,
        seeds: &[JointVec],
    ) -> Option<Target> {
        seeds.iter().find_map(|seed| {
            let found = self.inverse.follow(x_be, seed);
            let there = found.residual_m < NEAR_M && found.residual_rad < NEAR_RAD;
            (there && self.is_free(from, &found.q)).then(|| Target {
                q: found.q,
                x_be: self.chain().forward(&found.q),
            })
        })
    }

    fn is_free(&self, from: &JointVec, to: &JointVec) -> bool {
        let inside = (0..to.len()).all(|i| (self.lower[i]..=self.upper[i]).contains(&to[i]));
        let Some(guard) = &self.guard else {
            return inside;
        };
        // What is near a limit at the start may stay so.
        let least = ROOM_M.min(guard.room_m(from));
        inside
            && (1..=LOOKS).all(|k| {
                let share = k as f64 / LOOKS as f64;
                guard.room_m(&from.zip(to, |a, b| a + share * (b - a))) >= least
            })
    }

    /// The next pose: of those wanted that can be taken from `from`, the one whose hand is turned farthest from all of `taken`;
    /// `None` when nothing is left that adds anything. What was found unreachable is taken out of `wanted`.
    pub fn next(
        &self,
        scene: &Scene,
        wanted: &mut Vec<Isometry3<f64>>,
        taken: &[Isometry3<f64>],
        from: &JointVec,
        seeds: &[JointVec],
    ) -> Option<Target> {
        let apart = |view: &Isometry3<f64>| {
            let hand = scene.hand_for(view);
            let angles = taken.iter().map(|t| t.rotation.angle_to(&hand.rotation));
            angles.fold(f64::INFINITY, f64::min)
        };
        self.next_by(scene, wanted, apart, from, seeds)
    }

    /// As [`Reach::next`], the one of which `apart` says most.
    pub fn next_by(
        &self,
        scene: &Scene,
        wanted: &mut Vec<Isometry3<f64>>,
        apart: impl Fn(&Isometry3<f64>) -> f64,
        from: &JointVec,
        seeds: &[JointVec],
    ) -> Option<Target> {
        while !wanted.is_empty() {
            let ranked = wanted.iter().enumerate().map(|(i, view)| (i, apart(view)));
            let (at, _) = ranked.max_by(|a, b| a.1.total_cmp(&b.1))?;
            let view = wanted.swap_remove(at);
            let target = self.target(&scene.hand_for(&view), from, seeds);
            // What is reached is not quite what was wanted.
            if let Some(target) = target.filter(|t| scene.in_view(&scene.board_at(&t.x_be))) {
                return Some(target);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_calibration::LensModel;

    fn scene(mount: Mount) -> (Scene, Isometry3<f64>, JointVec) {
        let camera = [300.0, 300.0, 320.0, 240.0];
        let lens = Lens {
            size: (640, 480),
            camera,
            model: LensModel::PlumbBob,
            distortion: vec![0.0; 5],
            straight: camera,
        };
        let board: Board = "charuco:7x5:20:15".parse().expect("legal");
        let q = JointVec::from_slice(&[0.0, -0.13, 1.83, 0.0, 1.44, 0.0]).expect("short");
        let info = tactus_sim::arm_info();
        let hand = tactus_control::limit::guard::chain(&info)
            .expect("a chain")
            .forward(&q);
        let [bw, bh] = board.size_m();
        let seen = Isometry3::translation(-bw / 2.0, -bh / 2.0, 0.25);
        let x = Isometry3::translation(-0.08, 0.0, -0.1);
        let z = match mount {
            Mount::EyeInHand => hand * x * seen,
            Mount::EyeToHand => hand.inverse() * x * seen,
        };
        let scene = Scene {
            board,
            lens,
            mount,
            x,
            z,
            partly: false,
        };
        (scene, hand, q)
    }

    #[test]
    fn poses_span_sixty_degrees_in_view_and_inside_the_limits() {
        let info = tactus_sim::arm_info();
        let guard = tactus_control::GuardSpec {
            workspace: info.geometry.as_ref().and_then(|g| g.workspace),
            clearance_m: Some(0.01),
            leave_out: Vec::new(),
        };
        let guard = Guard::new(&info, &guard).expect("legal");
        let reach = Reach::new(&info, guard.clone()).expect("an arm");
        let (scene, hand, q) = scene(Mount::EyeInHand);
        let now = scene.board_at(&hand);
        assert!((scene.hand_for(&now).translation.vector - hand.translation.vector).norm() < 1e-12);
        let mut wanted = scene.wanted(&now);
        let (mut taken, mut from) = (vec![hand], q);
        while let Some(target) = reach.next(&scene, &mut wanted, &taken, &from, &[q, from]) {
            assert!(scene.in_view(&scene.board_at(&target.x_be)));
            let room = guard.as_ref().expect("a guard").room_m(&target.q);
            assert!(room >= ROOM_M - 1e-9, "{room}");
            taken.push(target.x_be);
            from = target.q;
            if taken.len() == 20 {
                break;
            }
        }
        assert_eq!(taken.len(), 20, "poses");
        let span = taken
            .iter()
            .flat_map(|a| taken.iter().map(move |b| a.rotation.angle_to(&b.rotation)));
        let span = span.fold(0.0, f64::max).to_degrees();
        assert!(span > 60.0, "{span}");
    }

    #[test]
    fn a_board_in_the_hand_is_placed_the_other_way_round() {
        let (scene, hand, _) = scene(Mount::EyeToHand);
        let now = scene.board_at(&hand);
        let back = scene.hand_for(&now);
        assert!((back.translation.vector - hand.translation.vector).norm() < 1e-12);
        assert!((now.translation.z - 0.25).abs() < 1e-9);
    }
}
