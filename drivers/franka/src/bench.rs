//! An arm at rest: who it is, how it stands, and its recovery from a reflex. Sends no command. Only while nobody serves the
//! arm: its controller has one client.

use tactus_drivers_api::lock;

use crate::error::FrankaError;
use crate::link;
use crate::modes::{Sample, sentence};
use crate::operator;
use crate::session::{self, Host};

/// A robot that answered.
#[derive(Debug)]
pub struct Bench {
    host: Host,
    robot: franka::Robot,
    _own: lock::OwnedName,
}

impl Bench {
    /// Connects to the FR3 at `host`.
    ///
    /// # Errors
    /// [`FrankaError`].
    pub fn open(host: &Host) -> Result<Self, FrankaError> {
        let own = own(host)?;
        let robot = session::open(host)?;
        Ok(Self {
            host: host.clone(),
            robot,
            _own: own,
        })
    }

    /// FCI's version.
    pub fn version(&self) -> u16 {
        self.robot.server_version()
    }

    /// A state.
    ///
    /// # Errors
    /// [`FrankaError::Fci`].
    pub fn look(&self) -> Result<Sample, FrankaError> {
        let state = self
            .robot
            .read_once()
            .map_err(|e| self.error(e.to_string()))?;
        let sample = Sample::from(&state);
        match sample.is_finite() {
            true => Ok(sample),
            false => Err(self.error("joint positions that are no numbers".into())),
        }
    }

    fn error(&self, words: String) -> FrankaError {
        FrankaError::Fci {
            host: self.host.name().to_owned(),
            reason: sentence(&words),
        }
    }
}

/// Takes the robot for this process.
///
/// # Errors
/// [`FrankaError::Busy`].
pub fn own(host: &Host) -> Result<lock::OwnedName, FrankaError> {
    lock::own_name(&host.key()).map_err(|holder| FrankaError::Busy {
        host: host.name().to_owned(),
        holder,
    })
}

/// Recovers the robot at `host` from a reflex: through the process that serves it, where one of this machine does. Nothing
/// moves, but for joints that press against something; what was enabled is not any more. Returns what it recovered from.
///
/// # Errors
/// [`FrankaError::Fci`] with the controller's words, when it does not.
pub fn recover(host: &Host) -> Result<String, FrankaError> {
    let error = |reason| FrankaError::Fci {
        host: host.name().to_owned(),
        reason,
    };
    if let Some(answer) = operator::recover(&host.key()) {
        return answer.map_err(error);
    }
    let bench = Bench::open(host)?;
    link::recover(&bench.robot, &bench.look()?).map_err(error)
}
