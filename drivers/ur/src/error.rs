//! Why an arm cannot be used: one sentence each, with the host's name and what to do.

use std::io;

use tactus_drivers_api::lock::Holder;

use crate::dashboard::DashboardError;
use crate::rtde::{ControllerVersion, RtdeError};

/// Why an arm cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UrError {
    /// Nobody knows the host.
    #[error("host `{host}`: {reason}: is the name right? an IP address does too")]
    Resolve {
        /// What was asked for.
        host: String,
        /// What the system said.
        reason: io::Error,
    },
    /// Nobody is there.
    #[error(
        "host {host}, port {port} ({what}): {reason}: is the controller on, and this its address?"
    )]
    Connect {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// What should be there.
        what: &'static str,
        /// What the system said.
        reason: io::Error,
    },
    /// The connection broke.
    #[error("host {host}: RTDE: {reason}")]
    Link {
        /// The host.
        host: String,
        /// What the system said.
        reason: io::Error,
    },
    /// The controller does not do what is asked of it.
    #[error("host {host}: RTDE: {reason}")]
    Rtde {
        /// The host.
        host: String,
        /// Why.
        reason: RtdeError,
    },
    /// Another generation of controllers.
    #[error(
        "host {host}: the controller runs software {version}, and device.model = \"{model}\" needs {expected}"
    )]
    Version {
        /// The host.
        host: String,
        /// Its software.
        version: ControllerVersion,
        /// The model that was expected.
        model: &'static str,
        /// The software that it needs.
        expected: &'static str,
    },
    /// Another arm.
    #[error(
        "host {host}: the arm is a {actual}, expected a {expected}: device.model or device.host is wrong"
    )]
    Model {
        /// The host.
        host: String,
        /// The cell's.
        expected: &'static str,
        /// The controller's word.
        actual: String,
    },
    /// The dashboard server does not do what is asked of it.
    #[error("host {host}: {reason}")]
    Dashboard {
        /// The host.
        host: String,
        /// Why.
        reason: DashboardError,
    },
    /// It has an owner.
    #[error("host {host}: robot {serial} is in use by {holder}: an arm has one owner")]
    Busy {
        /// The host.
        host: String,
        /// Its serial number, or its address where it does not tell.
        serial: String,
        /// Its owner.
        holder: Holder,
    },
    /// A thread cannot be started.
    #[error("cannot start thread `{thread}`: {reason}")]
    Thread {
        /// Its name.
        thread: &'static str,
        /// What the system said.
        reason: io::Error,
    },
}
