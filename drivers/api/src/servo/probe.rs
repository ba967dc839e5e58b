//! What hangs on a port that nobody has described yet: who answers, and at which rate. Only asks; writes nothing.

use std::path::Path;

use super::arm::Family;
use super::bus::{Bus, BusError};
use crate::{Line, PortError, SerialLine};

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

/// Servos of `family` on `port`: those that answer at the first rate at which any does, the usual one first.
///
/// # Errors
/// [`PortError`] when the port cannot be had.
pub fn probe(family: &'static Family, port: &Path) -> Result<Vec<Found>, PortError> {
    let baud = family.bauds[0];
    let line = SerialLine::open(port, baud)?;
    probe_on(family, Box::new(line)).map_err(|e| PortError::Io {
        path: port.into(),
        baud,
        reason: match e {
            BusError::Line { reason } => reason,
            other => std::io::Error::other(other.to_string()),
        },
    })
}

fn probe_on(family: &'static Family, line: Box<dyn Line>) -> Result<Vec<Found>, BusError> {
    let mut bus = Bus::new(family, line, family.bauds[0]);
    for baud in family.bauds.iter().copied() {
        if let Err(BusError::Line { reason }) = bus.set_baud(baud) {
            // Not every adapter has every rate.
            tracing::debug!("{baud} baud: {reason}");
            continue;
        }
        let mut found = Vec::new();
        for id in IDS {
            match bus.ping(id) {
                Ok(()) => found.push(Found {
                    baud,
                    id,
                    model: bus.read(id, family.model).ok(),
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
