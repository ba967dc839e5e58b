//! What of a cell has to fit an arm, and a policy's bundle.
//!
//! Decides whether they do (sizes and names of cameras, calibrations of another arm), and puts together what the arm host, the
//! assembler and the timing are configured with. Reads no file.

use std::sync::Arc;
use std::time::Duration;

use tactus_bundle::Outline;
use tactus_control::{ArmSpec, AssemblySpec, ChunkShape, RequestSpec, Timing};
use tactus_types::{ArmInfo, Stage, StageTimes};

use super::{Cell, CellError, Check, period};

impl Cell {
    /// What the arm host of the arm of `info` is configured with; `boot` is drawn once per start of it.
    ///
    /// # Errors
    /// [`CellError`] when the arm does not describe its links well enough for the limits in space.
    pub fn arm_spec(&self, boot: u64, info: &ArmInfo) -> Result<ArmSpec, CellError> {
        if let Some((file, latency, _)) = &self.latency {
            let check = Check { file: &self.file };
            latency
                .check_model(file, &info.model)
                .map_err(|e| check.error("arm.latency", "a measured latency of this arm", e))?;
        }
        let guard = self.space.guard(info).map_err(|e| CellError::Space {
            file: self.file.clone(),
            model: info.model.clone(),
            reason: e,
        })?;
        Ok(ArmSpec {
            request: RequestSpec {
                overlap: self.schedule.strategy.overlaps(),
                ..self.request
            },
            schedule: self.schedule,
            ladder: self.ladder,
            resume: self.resume,
            limit: self.limit,
            guard,
            enable: self.enable,
            teleop: self.teleop,
            start: self.poses.start(),
            bundle: self.vouched.id.clone(),
            period_secs: 1.0 / self.control_rate_hz,
            boot,
        })
    }

    /// Everything of the cell that has to fit together with the chunks of the policy of `outline`, were the stages to take `stages`.
    pub fn timing(&self, outline: &Outline, stages: StageTimes) -> Timing {
        let rates = self.cameras.iter().map(|camera| camera.rate_hz);
        let action = &outline.action;
        Timing {
            stages,
            budget: self.budget,
            control_period: period(self.control_rate_hz),
            chunk: ChunkShape {
                horizon: action.horizon,
                period: action.period,
                first_action_offset: action.first_action_offset,
                max_prefix: action.max_prefix,
            },
            request: RequestSpec {
                overlap: self.schedule.strategy.overlaps(),
                ..self.request
            },
            schedule: self.schedule,
            frame_period: period(rates.fold(1000.0, f64::min)),
            frame_limit: self.frame_limit,
            proprio_limit: self.ladder.proprio_limit,
        }
    }

    /// Whether the cameras of the cell take the pictures that the policy of `outline` wants.
    ///
    /// # Errors
    /// [`CellError`] with the camera whose pictures have another size.
    pub fn check_sizes(&self, outline: &Outline) -> Result<(), CellError> {
        for wanted in &outline.cameras {
            let camera = self.cameras.iter().find(|c| c.name.as_str() == wanted.name);
            let Some(spec) = camera.and_then(|c| c.real.as_ref()) else {
                continue;
            };
            let (width, height) = spec.published_size();
            if (width as usize, height as usize) != (wanted.width, wanted.height) {
                let expected = format!(
                    "`{}` to take {}x{} after crop and rotate, as the bundle wants",
                    wanted.name, wanted.width, wanted.height
                );
                let actual = format!("{width}x{height}");
                return Err(Check { file: &self.file }.error("camera", &expected, actual));
            }
        }
        Ok(())
    }

    /// Refuses calibrations of cameras that were measured on another arm than that of `info`.
    ///
    /// # Errors
    /// With the camera's file.
    pub fn check_places(&self, info: &ArmInfo) -> Result<(), CellError> {
        for camera in &self.cameras {
            let checked = camera.calibration.check_arm(camera.name.as_str(), info);
            checked.map_err(|e| {
                let expected = format!("the place of `{}` on this arm", camera.name);
                Check { file: &self.file }.error("camera.hand_eye", &expected, e)
            })?;
        }
        Ok(())
    }

    /// What the engine's assembler is configured with, for the cameras of a bundle in its order.
    ///
    /// # Errors
    /// [`CellError`] when the bundle wants a camera that the cell does not have.
    pub fn assembly(&self, cameras: &[Arc<str>]) -> Result<AssemblySpec, CellError> {
        for camera in cameras {
            if !self.cameras.iter().any(|c| c.name.as_str() == &**camera) {
                let expected = format!("a [[camera]] named `{camera}`, which the bundle wants");
                let names: Vec<&str> = self.cameras.iter().map(|c| c.name.as_str()).collect();
                return Err(Check { file: &self.file }.error(
                    "camera",
                    &expected,
                    names.join(", "),
                ));
            }
        }
        Ok(AssemblySpec {
            cameras: cameras.to_vec(),
            frame_limit: self.frame_limit,
            // The arm host's own bound, and the way to the engine's host.
            proprio_limit: self.ladder.proprio_limit.max(Duration::from_millis(20))
                + self.budget.get(Stage::Transport),
            max_skew: self.max_skew,
        })
    }
}
