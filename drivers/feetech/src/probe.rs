//! What hangs on a port that nobody has described yet: who answers, and at which rate. Only asks; writes nothing.

use std::path::Path;

use tactus_drivers_api::{Line, PortError, SerialLine};

use crate::bus::{Bus, BusError};
use crate::registers as reg;

/// Ids that are asked for: makers and LeRobot number an arm's servos from 1.
pub const IDS: std::ops::RangeInclusive<u8> = 0..=20;

/// A servo that answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Bits per second.
    pub baud: u32,
    /// Its id.
    pub id: u8,
    /// Its model number; `None` when it answered and then would not say.
    pub model: Option<i32>,
}

impl Found {
    /// Whether SO-100 and SO-101 are made of such servos.
    pub fn is_sts3215(&self) -> bool {
        self.model == Some(i32::from(reg::STS3215))
    }
}

/// Servos on `port`: those that answer at the first rate at which any does, the usual one first.
///
/// # Errors
/// [`PortError`] when the port cannot be had.
pub fn probe(port: &Path) -> Result<Vec<Found>, PortError> {
    let line = SerialLine::open(port, reg::BAUDS[0])?;
    probe_on(Box::new(line)).map_err(|e| PortError::Io {
        path: port.into(),
        baud: reg::BAUDS[0],
        reason: match e {
            BusError::Line { reason } => reason,
            other => std::io::Error::other(other.to_string()),
        },
    })
}

fn probe_on(line: Box<dyn Line>) -> Result<Vec<Found>, BusError> {
    let mut bus = Bus::new(line, reg::BAUDS[0]);
    for baud in reg::BAUDS {
        bus.set_baud(baud)?;
        let mut found = Vec::new();
        for id in IDS {
            match bus.ping(id) {
                Ok(_) => found.push(Found {
                    baud,
                    id,
                    model: bus.read(id, reg::MODEL).ok(),
                }),
                Err(reason @ BusError::Line { .. }) => return Err(reason),
                Err(_) => {}
            }
        }
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}
