//! One connection to a controller: made within a time, to the robot that is expected.
//!
//! Decides what a failure to connect means. A controller serves one client, and one that is served elsewhere accepts a
//! connection and then says nothing, for which `franka-rs` (as libfranka) waits for ever: so connecting has a thread of its own,
//! which is waited for [`WITHIN`], and at most one per session is under way.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use franka::{FciVersion, RealtimeConfig, Robot, RobotOptions, VersionPolicy};

use crate::error::FrankaError;
use crate::model;
use crate::modes::sentence;

/// FCI's port.
pub const PORT: u16 = 1337;
/// Connecting takes no longer.
pub const WITHIN: Duration = Duration::from_secs(3);

/// Where a controller is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    address: SocketAddr,
}

impl Host {
    /// `text` is an address or a name, with `:port` where that is not [`PORT`].
    ///
    /// # Errors
    /// [`FrankaError::Resolve`].
    pub fn resolve(text: &str) -> Result<Self, FrankaError> {
        Self::resolve_at(text, PORT)
    }

    /// The same, with another port where none is written.
    ///
    /// # Errors
    /// [`FrankaError::Resolve`].
    pub fn resolve_at(text: &str, usual: u16) -> Result<Self, FrankaError> {
        let error = |reason| FrankaError::Resolve {
            host: text.to_owned(),
            reason,
        };
        let with_port = text.rsplit_once(':').and_then(|(name, port)| {
            let port: u16 = port.parse().ok()?;
            Some((name, port))
        });
        let (name, port) = with_port.unwrap_or((text, usual));
        let mut found = (name, port).to_socket_addrs().map_err(error)?;
        // FCI is IPv4.
        let address = found.find(SocketAddr::is_ipv4).ok_or_else(|| {
            error(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "no IPv4 address",
            ))
        })?;
        Ok(Self {
            name: text.to_owned(),
            address,
        })
    }

    /// As it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Its address, and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// A name for it on this machine, by address.
    pub fn key(&self) -> String {
        format!("franka-{}-{}", self.address.ip(), self.address.port())
    }
}

/// A connection that is being made.
#[derive(Debug)]
pub struct Attempt {
    host: Host,
    result: Receiver<franka::FrankaResult<Robot>>,
}

impl Attempt {
    /// Begins to connect to `host`.
    ///
    /// # Errors
    /// [`FrankaError::Thread`].
    pub fn begin(host: &Host) -> Result<Self, FrankaError> {
        let (done, result) = sync_channel(1);
        let address = host.address.to_string();
        let connect = move || {
            // Threads and their priorities are the caller's, and a kernel without PREEMPT_RT is not refused. No log: it
            // would be kept in the control thread.
            let options = RobotOptions::new(RealtimeConfig::Ignore)
                .with_version(VersionPolicy::Exact(FciVersion::V10))
                .with_log_size(0);
            // Nobody listens any more when it took too long: then the connection is closed again.
            let _ = done.send(Robot::with_options(&address, options));
        };
        std::thread::Builder::new()
            .name("franka-connect".into())
            .spawn(connect)
            .map_err(|reason| FrankaError::Thread {
                thread: "franka-connect",
                reason,
            })?;
        Ok(Self {
            host: host.clone(),
            result,
        })
    }

    /// The connection, if it is there within `within`; None, if it is still being made.
    ///
    /// # Errors
    /// [`FrankaError`], and the attempt is over.
    pub fn wait(&self, within: Duration) -> Option<Result<Robot, FrankaError>> {
        match self.result.recv_timeout(within) {
            Ok(result) => Some(result.map_err(|e| explain(&self.host, e))),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err(FrankaError::Fci {
                host: self.host.name.clone(),
                reason: "the connecting thread ended".into(),
            })),
        }
    }
}

/// A connection to the FR3 at `host`.
///
/// # Errors
/// [`FrankaError`].
pub fn open(host: &Host) -> Result<Robot, FrankaError> {
    let robot = Attempt::begin(host)?.wait(WITHIN);
    let robot = robot.ok_or_else(|| FrankaError::Occupied {
        host: host.name.clone(),
        secs: WITHIN.as_secs(),
    })??;
    check(host, &robot)?;
    Ok(robot)
}

/// Whether the robot is an FR3 with the limits that are known here.
///
/// # Errors
/// [`FrankaError::Model`], [`FrankaError::Limits`].
pub fn check(host: &Host, robot: &Robot) -> Result<(), FrankaError> {
    let host = host.name.clone();
    let urdf = robot.robot_model().map_err(|e| FrankaError::Fci {
        host: host.clone(),
        reason: sentence(&e.to_string()),
    })?;
    let name = model::robot_name(&urdf).unwrap_or_default();
    if !name.starts_with(model::MODEL) {
        return Err(FrankaError::Model {
            host,
            expected: model::MODEL,
            actual: name.chars().filter(|c| !c.is_control()).take(64).collect(),
        });
    }
    model::fits(
        |q| robot.upper_joint_velocity_limits(q),
        |q| robot.lower_joint_velocity_limits(q),
    )
    .map_err(|reason| FrankaError::Limits { host, reason })
}

/// What libfranka's words mean for who connects.
fn explain(host: &Host, error: franka::FrankaError) -> FrankaError {
    let host = host.name.clone();
    match error {
        franka::FrankaError::IncompatibleVersion {
            server_version,
            library_version,
        } => FrankaError::Version {
            host,
            expected: library_version,
            actual: server_version,
        },
        franka::FrankaError::Network(words) if words.contains("refused") => {
            FrankaError::Inactive { host }
        }
        franka::FrankaError::Network(words) => FrankaError::Unreachable {
            host,
            reason: sentence(&words).trim_end_matches('.').to_owned(),
        },
        other => FrankaError::Fci {
            host,
            reason: sentence(&other.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn hosts_have_a_port_where_it_is_said() {
        let host = Host::resolve("127.0.0.1").expect("an address");
        assert_eq!(host.address.port(), PORT);
        assert_eq!(host.key(), "franka-127.0.0.1-1337");
        let host = Host::resolve("127.0.0.1:4000").expect("an address");
        assert_eq!((host.address.port(), host.name()), (4000, "127.0.0.1:4000"));
        let error = Host::resolve("no-such-robot.invalid").expect_err("unknown");
        assert!(error.to_string().contains("host `no-such-robot.invalid`"));
    }

    #[test]
    fn nobody_there_and_nobody_who_answers_are_said_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let host = Host::resolve(&format!("127.0.0.1:{port}")).expect("an address");
        // Accepted by the system, answered by nobody.
        let attempt = Attempt::begin(&host).expect("a thread");
        assert!(attempt.wait(Duration::from_millis(200)).is_none());
        drop(listener);
        let error = open(&host).expect_err("refused").to_string();
        assert!(error.contains("FCI activated in Desk"), "{error}");
    }

    #[test]
    fn another_version_is_named() {
        let host = Host::resolve("127.0.0.1").expect("an address");
        let error = franka::FrankaError::IncompatibleVersion {
            server_version: 5,
            library_version: 10,
        };
        let text = explain(&host, error).to_string();
        assert!(text.contains("version 5, expected 10"), "{text}");
    }
}
