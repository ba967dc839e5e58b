//! An arm at rest: who it is, how it stands, and what an operator does at the pendant, said from here: power, brakes, the
//! unlocking of a protective stop. Works beside a device that serves the arm; sends no command and no program.

use crate::connection::{Connection, Host};
use crate::dashboard::{Dashboard, Identity};
use crate::error::UrError;
use crate::model::Model;
use crate::recipe::Sample;
use crate::rtde::ControllerVersion;

/// States per second while one is looked at.
const LOOK_HZ: u32 = 125;
/// The first comes within this time.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// A controller that answered.
#[derive(Debug, Clone)]
pub struct Bench {
    host: Host,
    /// Its software.
    pub version: ControllerVersion,
    /// What it says of its arm.
    pub identity: Identity,
}

/// What an operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Powers the arm; its brakes stay.
    PowerOn,
    /// Takes its power: its brakes close.
    PowerOff,
    /// Releases its brakes, powering it where it is not; joints give way by a little and make a sound.
    BrakeRelease,
    /// Ends a protective stop, 5 s after it began at the earliest. Nothing moves; what was enabled is not any more.
    UnlockProtectiveStop,
}

impl Act {
    /// The dashboard server's words, and how it begins its answer when it does it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::PowerOn => ("power on", "Powering on"),
            Self::PowerOff => ("power off", "Powering off"),
            Self::BrakeRelease => ("brake release", "Brake releasing"),
            Self::UnlockProtectiveStop => ("unlock protective stop", "Protective stop releasing"),
        }
    }
}

impl Bench {
    /// Asks the controller at `host` who it is.
    ///
    /// # Errors
    /// [`UrError`].
    pub fn open(host: &Host) -> Result<Self, UrError> {
        let version = Connection::version(host)?;
        // Later software has no dashboard server to be asked.
        let identity = match version.major {
            0..=5 => Dashboard::open(host)?.identity(&version)?,
            _ => Identity::default(),
        };
        Ok(Self {
            host: host.clone(),
            version,
            identity,
        })
    }

    /// The arm, where it says which and is one that is known here.
    pub fn model(&self) -> Option<Model> {
        Model::said(self.identity.model.as_deref()?, self.version.major)
    }

    /// Whether the arm is a `model`.
    ///
    /// # Errors
    /// [`UrError::Version`], [`UrError::Model`].
    pub fn check(&self, model: Model) -> Result<(), UrError> {
        let host = self.host.name().to_owned();
        if self.version.major != model.major() {
            return Err(UrError::Version {
                host,
                version: self.version,
                model: model.name(),
                expected: match model.major() {
                    3 => "3 (CB3)",
                    _ => "5 (e-Series, UR20, UR30); PolyScope X (10) is not supported",
                },
            });
        }
        match &self.identity.model {
            Some(_) if self.model() == Some(model) => Ok(()),
            Some(actual) => Err(UrError::Model {
                host,
                expected: model.name(),
                actual: actual.clone(),
            }),
            None => {
                tracing::warn!(
                    "the controller does not say which arm it has; taking it for a {}",
                    model.name()
                );
                Ok(())
            }
        }
    }

    /// A state.
    ///
    /// # Errors
    /// [`UrError`].
    pub fn look(&self) -> Result<Sample, UrError> {
        Connection::open(&self.host, LOOK_HZ, false)?.newest(WITHIN)
    }

    /// Does what an operator does. Returns the controller's words; what it began may take some seconds.
    ///
    /// # Errors
    /// [`UrError::Dashboard`] with its words, when it does not.
    pub fn act(&self, act: Act) -> Result<String, UrError> {
        let (command, done) = act.words();
        let mut dashboard = Dashboard::open(&self.host)?;
        if act == Act::UnlockProtectiveStop {
            // The pop-up that came with the stop covers the pendant otherwise.
            dashboard.ask("close safety popup")?;
        }
        dashboard.tell(command, done)
    }
}
