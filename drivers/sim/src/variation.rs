//! How the cell looks in one episode: light, colours and the cameras' poses, drawn from a seed.
//!
//! Decides the distributions and their bounds. Off unless it is asked for; nothing that moves depends on it. A seed says
//! everything, so that it is all that travels to who draws: every number there is names one look within the bounds.

use mujoco_rs::prelude::*;
use nalgebra::{Quaternion, Unit, UnitQuaternion, Vector3};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::error::SimError;
use crate::scene::CAMERA_NAMES;

/// The light comes from at most this far off its nominal direction, rad.
pub const LIGHT_TILT_RAD: f64 = 0.30;
/// All light is dimmed or raised by a factor in this range.
pub const LIGHT_GAIN: [f64; 2] = [0.80, 1.15];
/// A camera is shifted by at most this along each axis of the body it sits on, m.
pub const CAMERA_SHIFT_M: f64 = 0.004;
/// A camera is turned by at most this about some axis, rad (0.5 degrees).
pub const CAMERA_TURN_RAD: f64 = 0.5 * std::f64::consts::PI / 180.0;

/// Materials whose colour varies, with the largest change of their hue (rad) and the range of the factor of their
/// brightness. The hues of the three cubes stay more than 70 degrees from each other, and from the bowl's by 20 degrees.
pub const COLOURS: [(&str, f64, [f64; 2]); 5] = [
    ("table", 0.26, [0.82, 1.12]),
    ("bowl", 0.20, [0.80, 1.25]),
    ("red", 0.16, [0.85, 1.15]),
    ("green", 0.16, [0.85, 1.25]),
    ("blue", 0.16, [0.85, 1.15]),
];

/// Where a camera is, against its nominal pose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CameraMove {
    /// In the frame of the body it sits on, m.
    pub shift_m: Vector3<f64>,
    /// About the camera's own axes.
    pub turn: UnitQuaternion<f64>,
}

/// A change of a material's colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tint {
    /// Added to the hue, rad.
    pub hue_rad: f64,
    /// Factor of the brightness; a channel that would leave 0..1 stops there.
    pub gain: f64,
}

/// How the cell looks.
#[derive(Debug, Clone, PartialEq)]
pub struct Variation {
    /// Turns the direction of the light, in the base frame.
    pub light_turn: UnitQuaternion<f64>,
    /// Factor of all light.
    pub light_gain: f64,
    /// Of the materials in [`COLOURS`].
    pub tints: [Tint; COLOURS.len()],
    /// Of the cameras in [`CAMERA_NAMES`].
    pub cameras: [CameraMove; CAMERA_NAMES.len()],
}

impl Variation {
    /// The variation that a seed names.
    pub fn sample(seed: u64) -> Self {
        // A stream of its own: streams 0 and 1 draw the scenario and the disturbance of the same seed.
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(2);
        let [low, high] = LIGHT_GAIN;
        Self {
            light_turn: turn(&mut rng, LIGHT_TILT_RAD),
            light_gain: rng.random_range(low..=high),
            tints: COLOURS.map(|(_, hue, [low, high])| Tint {
                hue_rad: rng.random_range(-hue..=hue),
                gain: rng.random_range(low..=high),
            }),
            cameras: CAMERA_NAMES.map(|_| CameraMove {
                shift_m: Vector3::from_fn(|_, _| {
                    rng.random_range(-CAMERA_SHIFT_M..=CAMERA_SHIFT_M)
                }),
                turn: turn(&mut rng, CAMERA_TURN_RAD),
            }),
        }
    }

    /// Changes a model that is as the scene file says; only what is looked at, nothing that moves.
    ///
    /// # Errors
    /// [`SimError::MissingName`] if the scene lacks a material or a camera.
    pub fn apply(&self, model: &mut MjModel) -> Result<(), SimError> {
        let id = |model: &MjModel, kind: &'static str, object: MjtObjBase, name: &str| {
            model
                .name_to_id(object, name)
                .ok_or_else(|| SimError::MissingName {
                    kind,
                    name: name.to_owned(),
                })
        };
        for ((name, ..), tint) in COLOURS.iter().zip(&self.tints) {
            let at = id(model, "material", MjtObjBase::mjOBJ_MATERIAL, name)?;
            let [r, g, b, a] = model.mat_rgba()[at];
            let [r, g, b] = tint.of([r, g, b]);
            model.mat_rgba_mut()[at] = [r, g, b, a];
        }
        for (name, moved) in CAMERA_NAMES.iter().zip(&self.cameras) {
            let at = id(model, "camera", MjtObjBase::mjOBJ_CAMERA, name)?;
            let [w, i, j, k] = model.cam_quat()[at];
            let turned = UnitQuaternion::from_quaternion(Quaternion::new(w, i, j, k)) * moved.turn;
            model.cam_quat_mut()[at] = [turned.w, turned.i, turned.j, turned.k];
            model.cam_pos_mut()[at] = (Vector3::from(model.cam_pos()[at]) + moved.shift_m).into();
        }
        for direction in model.light_dir_mut() {
            *direction = (self.light_turn * Vector3::from(*direction)).into();
        }
        let gain = self.light_gain as f32;
        for channel in model.light_diffuse_mut().iter_mut().flatten() {
            *channel *= gain;
        }
        let headlight = &mut model.vis_mut().headlight;
        for channel in headlight.ambient.iter_mut().chain(&mut headlight.diffuse) {
            *channel *= gain;
        }
        Ok(())
    }
}

impl Tint {
    /// The colour changed: red, green, blue, each 0..1.
    ///
    /// Source: Smith, "Color Gamut Transform Pairs", SIGGRAPH 1978 (hue, saturation, value).
    pub fn of(&self, rgb: [f32; 3]) -> [f32; 3] {
        let [r, g, b] = rgb.map(f64::from);
        let value = r.max(g).max(b);
        let chroma = value - r.min(g).min(b);
        if chroma <= 0.0 {
            return rgb.map(|channel| (f64::from(channel) * self.gain).min(1.0) as f32);
        }
        // In sixths of the circle, red at 0.
        let hue = if value == r {
            (g - b) / chroma
        } else if value == g {
            2.0 + (b - r) / chroma
        } else {
            4.0 + (r - g) / chroma
        } + self.hue_rad.to_degrees() / 60.0;
        [5.0, 3.0, 1.0].map(|offset| {
            let k = (offset + hue).rem_euclid(6.0);
            let channel = value - chroma * k.min(4.0 - k).clamp(0.0, 1.0);
            (channel * self.gain).clamp(0.0, 1.0) as f32
        })
    }
}

/// A turn by at most `most_rad` about an axis of any direction.
fn turn(rng: &mut ChaCha8Rng, most_rad: f64) -> UnitQuaternion<f64> {
    // The axis is uniform on the sphere: height and azimuth are (Archimedes).
    let z: f64 = rng.random_range(-1.0..=1.0);
    let azimuth_rad: f64 = rng.random_range(0.0..std::f64::consts::TAU);
    let across = (1.0 - z * z).max(0.0).sqrt();
    let axis = Vector3::new(across * azimuth_rad.cos(), across * azimuth_rad.sin(), z);
    UnitQuaternion::from_axis_angle(
        &Unit::new_normalize(axis),
        rng.random_range(-most_rad..=most_rad),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene;
    use proptest::prelude::*;

    /// Hue of a colour, degrees, red at 0.
    fn hue([r, g, b]: [f32; 3]) -> f64 {
        let [r, g, b] = [r, g, b].map(f64::from);
        (3f64.sqrt() * (g - b))
            .atan2(2.0 * r - g - b)
            .to_degrees()
            .rem_euclid(360.0)
    }

    fn apart(a: f64, b: f64) -> f64 {
        let d = (a - b).rem_euclid(360.0);
        d.min(360.0 - d)
    }

    fn colours(model: &MjModel) -> [[f32; 3]; 5] {
        COLOURS.map(|(name, ..)| {
            let at = model.name_to_id(MjtObjBase::mjOBJ_MATERIAL, name).unwrap();
            let [r, g, b, _] = model.mat_rgba()[at];
            [r, g, b]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Every number names a look within the bounds, always the same one, in which the cubes are told apart by hue.
        #[test]
        fn every_seed_stays_within_the_bounds(seed: u64) {
            let variation = Variation::sample(seed);
            prop_assert_eq!(&variation, &Variation::sample(seed));
            prop_assert!(variation.light_turn.angle() <= LIGHT_TILT_RAD + 1e-9);
            prop_assert!((LIGHT_GAIN[0]..=LIGHT_GAIN[1]).contains(&variation.light_gain));
            for moved in &variation.cameras {
                prop_assert!(moved.shift_m.amax() <= CAMERA_SHIFT_M);
                prop_assert!(moved.turn.angle() <= CAMERA_TURN_RAD + 1e-9);
            }
            let nominal = scene::load_owned().unwrap();
            let mut model = nominal.clone();
            variation.apply(&mut model).unwrap();
            let [table, bowl, red, green, blue] = colours(&model);
            for colour in [table, bowl, red, green, blue].iter().flatten() {
                prop_assert!((0.0..=1.0).contains(colour));
            }
            for (a, b) in [(red, green), (green, blue), (blue, red)] {
                prop_assert!(apart(hue(a), hue(b)) > 70.0, "{a:?} {b:?}");
            }
            for cube in [red, green, blue] {
                prop_assert!(apart(hue(bowl), hue(cube)) > 20.0, "{bowl:?} {cube:?}");
            }
            for (at, (a, b)) in nominal.cam_pos().iter().zip(model.cam_pos()).enumerate() {
                let off = (Vector3::from(*a) - Vector3::from(*b)).amax();
                prop_assert!(off <= CAMERA_SHIFT_M + 1e-12, "camera {at} by {off} m");
            }
            prop_assert_eq!(nominal.geom_size(), model.geom_size());
            prop_assert_eq!(nominal.body_pos(), model.body_pos());
        }
    }

    #[test]
    fn a_tint_of_nothing_changes_nothing_and_a_third_of_a_turn_changes_channels() {
        let colour = [0.86, 0.10, 0.30];
        let none = Tint {
            hue_rad: 0.0,
            gain: 1.0,
        };
        let third = Tint {
            hue_rad: std::f64::consts::TAU / 3.0,
            gain: 1.0,
        };
        let close = |a: [f32; 3], b: [f32; 3]| a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close(none.of(colour), colour), "{:?}", none.of(colour));
        assert!(
            close(third.of(colour), [0.30, 0.86, 0.10]),
            "{:?}",
            third.of(colour)
        );
        assert_eq!(
            Tint {
                hue_rad: 1.0,
                gain: 3.0
            }
            .of([0.5; 3]),
            [1.0; 3]
        );
    }
}
