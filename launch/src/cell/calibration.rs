//! What is known of a camera: the files of its lens and of its place, as `tactus calibrate` wrote them.
//!
//! Decides which such files a cell may name: whole, of this camera, of the lens as it is, and no older than the cell file permits.
//! They change no picture; recordings carry their ids. Whether the place is on this arm is asked when the arm is there.

use std::path::{Path, PathBuf};

use tactus_calibration::{CalibrationError, CameraInfo, HandEye, Seal, seal};
use tactus_types::{ArmInfo, Clock, Time};
use tactus_wire::MonotonicClock;

use super::{CellError, Check};

/// What is known of a camera.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CellCalibration {
    /// Its lens.
    pub intrinsics: Option<(PathBuf, CameraInfo)>,
    /// Its place.
    pub hand_eye: Option<(PathBuf, HandEye, Seal)>,
}

const DAY_SECS: u64 = 86_400;

/// The files as the cell file names them.
#[derive(Debug)]
pub(super) struct Named<'a> {
    pub intrinsics: Option<&'a Path>,
    pub hand_eye: Option<&'a Path>,
    pub days: Option<f64>,
}

impl Named<'_> {
    /// Reads them for `camera`, relative to `directory`.
    pub fn read(
        &self,
        camera: &str,
        check: &Check<'_>,
        directory: &Path,
    ) -> Result<CellCalibration, CellError> {
        let days = match self.days {
            None => None,
            Some(days) => Some(check.bounded("camera.calibration_days", days)?),
        };
        let refused = |field: &str, e: CalibrationError| {
            check.error(field, "a calibration that holds for this camera", e)
        };
        let mut read = CellCalibration::default();
        if let Some(file) = self.intrinsics {
            let field = "camera.intrinsics";
            let file = directory.join(file);
            let info = CameraInfo::read(&file)
                .and_then(|info| info.check_camera(&file, camera).map(|()| info))
                .map_err(|e| refused(field, e))?;
            fresh(&file, info.seal.as_ref(), days).map_err(|e| refused(field, e))?;
            read.intrinsics = Some((file, info));
        }
        if let Some(file) = self.hand_eye {
            let field = "camera.hand_eye";
            let file = directory.join(file);
            let lens = read.intrinsics.as_ref();
            let lens = lens.map_or("", |(_, info)| info.sha256.as_str());
            let (place, seal) = HandEye::read(&file)
                .and_then(|(place, seal)| {
                    place.check(&file, camera, "", lens)?;
                    Ok((place, seal))
                })
                .map_err(|e| refused(field, e))?;
            fresh(&file, Some(&seal), days).map_err(|e| refused(field, e))?;
            read.hand_eye = Some((file, place, seal));
        }
        Ok(read)
    }
}

/// Refuses a file that is older than `days`; one without a seal does not say how old it is.
fn fresh(file: &Path, seal: Option<&Seal>, days: Option<f64>) -> Result<(), CalibrationError> {
    let (Some(seal), Some(days)) = (seal, days) else {
        return Ok(());
    };
    let Ok(clock) = MonotonicClock::new() else {
        return Ok(());
    };
    let now = (clock.unix_offset() + clock.now().since(Time::ZERO)).as_secs();
    let age = now.saturating_sub(seal.made_unix_secs) as f64 / DAY_SECS as f64;
    if age > days {
        return Err(CalibrationError::Stale {
            path: file.into(),
            expected: format!("one of the last {days} days (camera.calibration_days)"),
            actual: format!("one that is {age:.0} days old"),
        });
    }
    Ok(())
}

impl CellCalibration {
    /// Refuses a place that was measured on another arm than that of `info`.
    ///
    /// # Errors
    /// [`CalibrationError::Foreign`].
    pub fn check_arm(&self, camera: &str, info: &ArmInfo) -> Result<(), CalibrationError> {
        let (Some((file, place, _)), Some(geometry)) = (&self.hand_eye, &info.geometry) else {
            return Ok(());
        };
        place.check(file, camera, &seal::sha256(geometry.urdf.as_bytes()), "")
    }

    /// Kind of file and what identifies it, for recordings.
    pub fn words(&self) -> Vec<(&'static str, String)> {
        let mut words = Vec::new();
        if let Some((_, info)) = &self.intrinsics {
            let id = info.seal.as_ref().map_or("", |seal| seal.id.as_str());
            words.push(("intrinsics", format!("{id} {}", info.sha256).trim().into()));
        }
        if let Some((_, _, seal)) = &self.hand_eye {
            words.push(("hand_eye", format!("{} {}", seal.id, seal.sha256)));
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_calibration::{HandEyeQuality, IntrinsicsQuality, Lens, LensModel, Mount, Pose};
    use tactus_calibration::{camera_info, hand_eye::Belongs};

    /// A cell's folder with a lens and a place, made `days` ago; the lens' file has one `more` line.
    fn folder(days: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let camera = [500.0, 500.0, 320.0, 240.0];
        let lens = Lens {
            size: (640, 480),
            camera,
            model: LensModel::PlumbBob,
            distortion: vec![0.0; 5],
            straight: camera,
        };
        let quality = IntrinsicsQuality {
            views: 25,
            rejected: 0,
            corners: 500,
            rms_px: 0.1,
            held_out_rms_px: 0.1,
            std_px: [0.1; 4],
            coverage: 0.9,
        };
        let clock = MonotonicClock::new().expect("a clock");
        let now = (clock.unix_offset() + clock.now().since(Time::ZERO)).as_secs();
        let made = now - days * DAY_SECS;
        let text = seal::sealed(&camera_info::write("wrist", &lens, &quality), made, "then");
        std::fs::write(dir.path().join("wrist.yaml"), &text).expect("written");
        let belongs = Belongs {
            camera: "wrist".into(),
            link: "tip".into(),
            arm_sha256: seal::sha256(tactus_sim::ARM_URDF.as_bytes()),
            lens_sha256: seal::sha256(text.as_bytes()),
        };
        let pose = Pose {
            xyz_m: [0.0; 3],
            quaternion_wxyz: [1.0, 0.0, 0.0, 0.0],
        };
        let quality = HandEyeQuality {
            poses: 20,
            span_deg: 60.0,
            agreement_mm: 0.1,
            agreement_deg: 0.1,
            held_out_mm: 0.1,
            std_mm: 0.1,
            std_deg: 0.1,
        };
        let place = HandEye::new(belongs, Mount::EyeInHand, pose, quality);
        let text = seal::sealed(&place.write().expect("written"), made, "then");
        std::fs::write(dir.path().join("wrist.toml"), text).expect("written");
        dir
    }

    #[test]
    fn files_of_this_camera_count_and_stale_or_foreign_ones_are_refused() {
        let dir = folder(10);
        let check = Check {
            file: Path::new("cell.toml"),
        };
        let named = |days| Named {
            intrinsics: Some(Path::new("wrist.yaml")),
            hand_eye: Some(Path::new("wrist.toml")),
            days,
        };
        let read = named(Some(30.0))
            .read("wrist", &check, dir.path())
            .expect("legal");
        let words = read.words();
        assert!(
            words.len() == 2 && words.iter().all(|(_, word)| word.starts_with("cal-")),
            "{words:?}"
        );
        let mut info = tactus_sim::arm_info();
        read.check_arm("wrist", &info).expect("this arm");
        if let Some(geometry) = &mut info.geometry {
            geometry.urdf += "<!-- another -->";
        }
        let said = read
            .check_arm("wrist", &info)
            .expect_err("another arm")
            .to_string();
        assert!(said.contains("foreign"), "{said}");
        for (days, camera, wanted) in [
            (
                Some(5.0),
                "wrist",
                "it is stale: expected one of the last 5 days (camera.calibration_days), got one that is 10 days old",
            ),
            (
                None,
                "scene",
                "it is foreign: expected the lens of camera `scene`",
            ),
        ] {
            let said = named(days)
                .read(camera, &check, dir.path())
                .expect_err(wanted)
                .to_string();
            assert!(said.contains(wanted), "{said}");
        }
        // The lens was measured again.
        let file = dir.path().join("wrist.yaml");
        let text = std::fs::read_to_string(&file).expect("there");
        let (body, _) = text.split_once("# tactus").expect("sealed");
        std::fs::write(
            &file,
            seal::sealed(&body.replace("500.0", "501.0"), 7, "then"),
        )
        .expect("written");
        let said = named(None)
            .read("wrist", &check, dir.path())
            .expect_err("stale")
            .to_string();
        assert!(
            said.contains("it is stale: expected one that was made with the lens as it is now"),
            "{said}"
        );
    }
}
