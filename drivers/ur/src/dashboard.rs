//! The dashboard server, port 29999: one line asks, one line answers. What the operator does at the pendant, by words.
//!
//! A connection is made for each errand: after the pendant was switched between local and remote control, an old one is
//! refused. Decides which answers are refusals; never retries. PolyScope X (software 10) has no dashboard server.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::connection::Host;
use crate::error::UrError;
use crate::rtde::ControllerVersion;

/// Port of every controller before PolyScope X.
pub const PORT: u16 = 29999;
/// How long an answer may take: `power on` and `stop` answer late.
const WITHIN: Duration = Duration::from_secs(3);
/// No answer is longer.
const LINE: usize = 1024;

/// Why the dashboard server did not do it.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// The connection broke, or nothing came.
    #[error("dashboard server: `{command}`: {reason}")]
    Io {
        /// What was asked.
        command: String,
        /// What the system said.
        reason: io::Error,
    },
    /// Something else answers there.
    #[error("dashboard server: it greets with `{0}`, which no dashboard server does")]
    Greeting(String),
    /// It refused.
    #[error("dashboard server: `{command}`: {answer}")]
    Refused {
        /// What was asked.
        command: String,
        /// Its words.
        answer: String,
    },
}

/// What a controller says of the arm it is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// Its word for the model, where it tells: most do.
    pub model: Option<String>,
    /// The arm's serial number, where it tells: from 5.6 on.
    pub serial: Option<String>,
    /// Whether it takes orders over the network, where it tells: from 5.6 on; older ones always do.
    pub remote: Option<bool>,
}

/// One errand.
#[derive(Debug)]
pub struct Dashboard {
    stream: TcpStream,
    host: String,
}

impl Dashboard {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`UrError::Connect`], [`UrError::Dashboard`].
    pub fn open(host: &Host) -> Result<Self, UrError> {
        let stream = host.connect(PORT, "dashboard server")?;
        let mut dashboard = Self {
            stream,
            host: host.name().to_owned(),
        };
        let greeting = dashboard.line("greeting")?;
        if greeting.contains("Dashboard Server") {
            Ok(dashboard)
        } else {
            Err(dashboard.error(DashboardError::Greeting(greeting)))
        }
    }

    fn error(&self, reason: DashboardError) -> UrError {
        UrError::Dashboard {
            host: self.host.clone(),
            reason,
        }
    }

    fn line(&mut self, command: &str) -> Result<String, UrError> {
        let fail = |me: &Self, reason| {
            let command = command.to_owned();
            me.error(DashboardError::Io { command, reason })
        };
        let mut line = Vec::new();
        let mut byte = [0];
        if let Err(e) = self.stream.set_read_timeout(Some(WITHIN)) {
            return Err(fail(self, e));
        }
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => return Err(fail(self, io::ErrorKind::UnexpectedEof.into())),
                Ok(_) if byte[0] == b'\n' => break,
                Ok(_) if line.len() >= LINE => {
                    let reason = io::Error::other(format!("an answer of more than {LINE} bytes"));
                    return Err(fail(self, reason));
                }
                Ok(_) => line.push(byte[0]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(fail(self, e)),
            }
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }

    /// Asks, whatever the answer.
    ///
    /// # Errors
    /// [`UrError::Dashboard`] when none comes.
    pub fn ask(&mut self, command: &str) -> Result<String, UrError> {
        let sent = self.stream.write_all(format!("{command}\n").as_bytes());
        if let Err(reason) = sent {
            let command = command.to_owned();
            return Err(self.error(DashboardError::Io { command, reason }));
        }
        self.line(command)
    }

    /// Tells it to do something; the answer of one that does starts with `done`.
    ///
    /// # Errors
    /// [`UrError::Dashboard`] with its words, when it does not.
    pub fn tell(&mut self, command: &str, done: &str) -> Result<String, UrError> {
        let answer = self.ask(command)?;
        if answer
            .to_ascii_lowercase()
            .starts_with(&done.to_ascii_lowercase())
        {
            return Ok(answer);
        }
        let command = command.to_owned();
        Err(self.error(DashboardError::Refused { command, answer }))
    }

    /// What the controller says of the arm it is for, as far as its `version` tells.
    ///
    /// # Errors
    /// [`UrError::Dashboard`] when no answer comes.
    pub fn identity(&mut self, version: &ControllerVersion) -> Result<Identity, UrError> {
        let tells = version.major > 5 || (version.major == 5 && version.minor >= 6);
        let model = self.ask("get robot model")?;
        let known = |answer: &str| {
            !answer.is_empty() && !answer.to_ascii_lowercase().contains("could not understand")
        };
        Ok(Identity {
            model: known(&model).then_some(model),
            serial: match tells {
                true => Some(self.ask("get serial number")?).filter(|answer| known(answer)),
                false => None,
            },
            remote: match tells {
                true => Some(
                    self.ask("is in remote control")?
                        .eq_ignore_ascii_case("true"),
                ),
                false => None,
            },
        })
    }
}
