//! `[budget]`: milliseconds that each stage may take.

use serde::Deserialize;
use tactus_types::{Budget, Stage, StageTimes};

use super::{CellError, Check};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBudget {
    capture: f64,
    transport: f64,
    queue: f64,
    assemble: f64,
    decode: f64,
    preprocess: f64,
    vision: f64,
    backbone: f64,
    context: f64,
    denoise: f64,
    deliver: f64,
    limit: f64,
    actuate: f64,
    margin: f64,
}

impl RawBudget {
    pub(super) fn read(&self, check: &Check<'_>) -> Result<Budget, CellError> {
        let mut stages = StageTimes::default();
        for stage in Stage::ALL {
            let value = match stage {
                Stage::Capture => self.capture,
                Stage::Transport => self.transport,
                Stage::Queue => self.queue,
                Stage::Assemble => self.assemble,
                Stage::Decode => self.decode,
                Stage::Preprocess => self.preprocess,
                Stage::Vision => self.vision,
                Stage::Backbone => self.backbone,
                Stage::Context => self.context,
                Stage::Denoise => self.denoise,
                Stage::Deliver => self.deliver,
                Stage::Limit => self.limit,
                Stage::Actuate => self.actuate,
            };
            stages.set(
                stage,
                check.millis(&format!("budget.{}", stage.name()), value)?,
            );
        }
        Ok(Budget::new(
            stages,
            check.millis("budget.margin", self.margin)?,
        ))
    }
}
