//! The file with a camera's place: `X_EC`, in the frame of the arm's hand that carries it, or `X_BC`, in the arm's base.
//!
//! Decides the format, and when such a file does not hold any more: made for another camera or arm, or with another lens.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::seal::{self, Seal};
use crate::{CalibrationError, Pose};

/// Version of these files.
const SCHEMA: u32 = 1;

/// Where the camera is, and so what its pose is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mount {
    /// The hand carries the camera; the board stands still. The result is `X_EC`.
    EyeInHand,
    /// The camera stands still; the hand carries the board. The result is `X_BC`.
    EyeToHand,
}

/// How good it is, as the fit found it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandEyeQuality {
    /// Poses that were used.
    pub poses: usize,
    /// Largest angle between the hand's orientations at two of them, degrees.
    pub span_deg: f64,
    /// How far the results of Park, Horaud and Daniilidis are apart at most, mm ..
    pub agreement_mm: f64,
    /// .. and degrees.
    pub agreement_deg: f64,
    /// Of poses that the fit had not seen: how far from its place the board then seems to be, root mean square, mm.
    pub held_out_mm: f64,
    /// Standard deviation of the camera's position, all three axes together, mm: that of the lens too, where its file says how
    /// sure it is.
    pub std_mm: f64,
    /// Standard deviation of its orientation, likewise, degrees.
    pub std_deg: f64,
}

/// A camera's place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandEye {
    schema: u32,
    /// Name of the camera.
    pub camera: String,
    /// Where it is.
    pub mount: Mount,
    /// The link whose frame its pose is in: E, the tool link of the arm's description, or B, its base link.
    pub link: String,
    /// SHA-256 of the description (URDF) of that arm; empty for poses from a file.
    pub arm_sha256: String,
    /// SHA-256 of the file of the lens.
    pub lens_sha256: String,
    /// Of a camera in the hand.
    #[serde(rename = "X_EC", default, skip_serializing_if = "Option::is_none")]
    x_ec: Option<Pose>,
    /// Of a camera that stands still.
    #[serde(rename = "X_BC", default, skip_serializing_if = "Option::is_none")]
    x_bc: Option<Pose>,
    /// How good it is.
    pub quality: HandEyeQuality,
}

/// What a result belongs to.
#[derive(Debug, Clone)]
pub struct Belongs {
    /// Name of the camera.
    pub camera: String,
    /// See [`HandEye::link`].
    pub link: String,
    /// See [`HandEye::arm_sha256`].
    pub arm_sha256: String,
    /// See [`HandEye::lens_sha256`].
    pub lens_sha256: String,
}

impl HandEye {
    /// `x` is `X_EC` or `X_BC`, as `mount` says.
    pub fn new(belongs: Belongs, mount: Mount, x: Pose, quality: HandEyeQuality) -> Self {
        let Belongs {
            camera,
            link,
            arm_sha256,
            lens_sha256,
        } = belongs;
        Self {
            schema: SCHEMA,
            camera,
            mount,
            link,
            arm_sha256,
            lens_sha256,
            x_ec: (mount == Mount::EyeInHand).then_some(x),
            x_bc: (mount == Mount::EyeToHand).then_some(x),
            quality,
        }
    }

    /// `X_EC` of a camera in the hand, `X_BC` of one that stands still.
    pub fn pose(&self) -> Option<Pose> {
        match self.mount {
            Mount::EyeInHand => self.x_ec,
            Mount::EyeToHand => self.x_bc,
        }
    }

    /// Reads a file; its seal is what says where it came from, and it has to be there.
    ///
    /// # Errors
    /// [`CalibrationError`]: not readable, edited, or no such file.
    pub fn read(file: &Path) -> Result<(Self, Seal), CalibrationError> {
        let failed = |reason: String| CalibrationError::File {
            path: file.into(),
            reason,
        };
        let text = std::fs::read_to_string(file).map_err(|e| failed(e.to_string()))?;
        let seal = seal::open(file, &text)?;
        let read: Self = toml::from_str(&text).map_err(|e| failed(e.to_string()))?;
        let field = |field: &str, expected: &str, actual: String| {
            Err(CalibrationError::Field {
                what: file.display().to_string(),
                field: field.into(),
                expected: expected.into(),
                actual,
            })
        };
        if read.schema != SCHEMA {
            return field("schema", &SCHEMA.to_string(), read.schema.to_string());
        }
        let name = match read.mount {
            Mount::EyeInHand => "X_EC",
            Mount::EyeToHand => "X_BC",
        };
        match read.pose() {
            Some(pose) if pose.is_legal() => {}
            Some(pose) => {
                return field(
                    name,
                    "finite numbers, a quaternion of length 1",
                    format!("{pose:?}"),
                );
            }
            None => return field(name, "a pose, as `mount` says", "nothing".into()),
        }
        match seal {
            Some(seal) => Ok((read, seal)),
            None => Err(failed("expected a seal in its last line, got none".into())),
        }
    }

    /// The text of the file, without a seal.
    ///
    /// # Errors
    /// [`CalibrationError::File`] when a number cannot be written.
    pub fn write(&self) -> Result<String, CalibrationError> {
        let text = toml::to_string(self).map_err(|e| CalibrationError::File {
            path: "hand-eye".into(),
            reason: e.to_string(),
        })?;
        let what = match self.mount {
            Mount::EyeInHand => {
                "X_EC: pose of the camera (x right, y down, z forward) in the frame of the link that carries it"
            }
            Mount::EyeToHand => {
                "X_BC: pose of the camera (x right, y down, z forward) in the frame of the arm's base link"
            }
        };
        Ok(format!("# {what}.\n{text}"))
    }

    /// Refuses a file of another camera or arm, and one that was made with another file of its lens. Empty hashes are not
    /// compared.
    ///
    /// # Errors
    /// [`CalibrationError::Foreign`] and [`CalibrationError::Stale`].
    pub fn check(
        &self,
        file: &Path,
        camera: &str,
        arm_sha256: &str,
        lens_sha256: &str,
    ) -> Result<(), CalibrationError> {
        let path = file.to_path_buf();
        if self.camera != camera {
            return Err(CalibrationError::Foreign {
                path,
                expected: format!("the place of camera `{camera}`"),
                actual: format!("that of `{}`", self.camera),
            });
        }
        let differ = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && a != b;
        if differ(&self.arm_sha256, arm_sha256) {
            return Err(CalibrationError::Foreign {
                path,
                expected: format!("a place on the arm of this cell, {arm_sha256:.12}"),
                actual: format!("one on another, {:.12}", self.arm_sha256),
            });
        }
        if differ(&self.lens_sha256, lens_sha256) {
            return Err(CalibrationError::Stale {
                path,
                expected: format!(
                    "one that was made with the lens as it is now, {lens_sha256:.12}"
                ),
                actual: format!("one of before, {:.12}", self.lens_sha256),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(mount: Mount) -> HandEye {
        let belongs = Belongs {
            camera: "wrist".into(),
            link: "tip".into(),
            arm_sha256: "a".into(),
            lens_sha256: "b".into(),
        };
        let pose = Pose {
            xyz_m: [0.1, -0.2, 0.3],
            quaternion_wxyz: [1.0, 0.0, 0.0, 0.0],
        };
        let quality = HandEyeQuality {
            poses: 20,
            span_deg: 61.0,
            agreement_mm: 0.3,
            agreement_deg: 0.1,
            held_out_mm: 1.0,
            std_mm: 0.5,
            std_deg: 0.05,
        };
        HandEye::new(belongs, mount, pose, quality)
    }

    #[test]
    fn a_place_is_written_and_read_and_refused_where_it_does_not_belong() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("wrist.toml");
        for (mount, name) in [(Mount::EyeInHand, "[X_EC]"), (Mount::EyeToHand, "[X_BC]")] {
            let place = result(mount);
            let text = seal::sealed(&place.write().expect("written"), 7, "1970");
            assert!(text.contains(name), "{text}");
            std::fs::write(&file, &text).expect("written");
            let (read, seal) = HandEye::read(&file).expect("legal");
            assert_eq!((read, seal.made_unix_secs), (place.clone(), 7));
            assert!(place.check(&file, "wrist", "a", "b").is_ok());
            for (camera, arm, lens, wanted) in [
                (
                    "front",
                    "a",
                    "b",
                    "foreign: expected the place of camera `front`",
                ),
                (
                    "wrist",
                    "x",
                    "b",
                    "foreign: expected a place on the arm of this cell",
                ),
                (
                    "wrist",
                    "a",
                    "x",
                    "stale: expected one that was made with the lens",
                ),
            ] {
                let said = place.check(&file, camera, arm, lens).expect_err(wanted);
                assert!(said.to_string().contains(wanted), "{said}");
            }
            std::fs::write(&file, text.replace(name, "[X_XX]")).expect("written");
            assert!(HandEye::read(&file).is_err());
            std::fs::write(&file, place.write().expect("written")).expect("written");
            let said = HandEye::read(&file).expect_err("no seal").to_string();
            assert!(said.contains("seal"), "{said}");
        }
    }
}
