//! A half-duplex serial line, as bus drivers see it: bytes out, bytes in until a deadline.
//!
//! [`Line`] is the edge that a protocol stands on; [`SerialLine`] is one behind a port of this machine, with one owner
//! (`lock`) and the reasons why a port cannot be had in words that say what to do. Knows no protocol and never retries.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serial2::SerialPort;

use crate::lock::{self, Holder};

/// Bytes on their way to and from a bus.
pub trait Line: Send {
    /// Forgets what came in and was not received.
    ///
    /// # Errors
    /// What the system says.
    fn discard(&mut self) -> io::Result<()>;

    /// Sends all of `bytes`; they may still be on their way when it returns.
    ///
    /// # Errors
    /// What the system says.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Receives what is there, waiting for the first byte for no longer than `within`. Returns how many bytes of `into`
    /// were filled; none when the time passed.
    ///
    /// # Errors
    /// What the system says.
    fn receive(&mut self, into: &mut [u8], within: Duration) -> io::Result<usize>;

    /// Bits per second from now on.
    ///
    /// # Errors
    /// What the system says.
    fn set_baud(&mut self, baud: u32) -> io::Result<()>;
}

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// There is no such node.
    #[error("port {}: there is none; {}", path.display(), ports(there))]
    Missing {
        /// What was asked for.
        path: PathBuf,
        /// Ports that there are.
        there: Vec<PathBuf>,
    },
    /// The system does not let us.
    #[error("port {}: permission denied; {}", path.display(), lock::remedy(group.as_deref()))]
    Permission {
        /// The port.
        path: PathBuf,
        /// Group that may use it.
        group: Option<String>,
    },
    /// It has an owner.
    #[error("port {}: in use by {holder}: an arm has one owner", path.display())]
    Busy {
        /// The port.
        path: PathBuf,
        /// Its owner.
        holder: Holder,
    },
    /// Nobody passes a line on there.
    #[error(
        "line at {address}: {reason}: does the controller, or the serial server, pass its line on at this port?"
    )]
    Network {
        /// The host and its port.
        address: String,
        /// What the system said.
        reason: io::Error,
    },
    /// Anything else.
    #[error("port {} at {baud} baud: {reason}", path.display())]
    Io {
        /// The port.
        path: PathBuf,
        /// Bits per second asked for.
        baud: u32,
        /// What the system said.
        reason: io::Error,
    },
}

fn ports(there: &[PathBuf]) -> String {
    if there.is_empty() {
        return "this machine has no serial port: is the arm plugged in?".into();
    }
    let names: Vec<String> = there.iter().map(|p| p.display().to_string()).collect();
    format!("there are {}", names.join(", "))
}

/// A serial port of this machine, owned by this process.
#[derive(Debug)]
pub struct SerialLine {
    port: SerialPort,
}

impl SerialLine {
    /// Opens the port at `path` with 8 data bits, no parity, one stop bit, and takes it for this process alone.
    ///
    /// # Errors
    /// [`PortError`].
    pub fn open(path: &Path, baud: u32) -> Result<Self, PortError> {
        let fail = |reason: io::Error| match reason.kind() {
            io::ErrorKind::NotFound => PortError::Missing {
                path: path.into(),
                there: serial_ports(),
            },
            io::ErrorKind::PermissionDenied => PortError::Permission {
                path: path.into(),
                group: lock::group_of(path),
            },
            io::ErrorKind::ResourceBusy => PortError::Busy {
                path: path.into(),
                holder: Holder::default(),
            },
            _ => PortError::Io {
                path: path.into(),
                baud,
                reason,
            },
        };
        let port = SerialPort::open(path, baud).map_err(fail)?;
        lock::own(&port).map_err(|holder| PortError::Busy {
            path: path.into(),
            holder,
        })?;
        if let Some(millis) = latency_timer(path).filter(|millis| *millis > 1) {
            tracing::warn!(
                port = %path.display(),
                "its USB adapter collects bytes for {millis} ms: write 1 to its latency_timer for more cycles per second"
            );
        }
        Ok(Self { port })
    }
}

impl Line for SerialLine {
    fn discard(&mut self) -> io::Result<()> {
        self.port.discard_input_buffer()
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.port.write_all(bytes)
    }

    fn receive(&mut self, into: &mut [u8], within: Duration) -> io::Result<usize> {
        // The system counts in milliseconds.
        let millis = within.as_micros().div_ceil(1000).max(1) as u64;
        self.port.set_read_timeout(Duration::from_millis(millis))?;
        match self.port.read(into) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => Ok(n),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Ok(0),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(e) => Err(e),
        }
    }

    fn set_baud(&mut self, baud: u32) -> io::Result<()> {
        let mut settings = self.port.get_configuration()?;
        settings.set_baud_rate(baud)?;
        self.port.set_configuration(&settings)
    }
}

/// The serial ports of this machine that hang on USB, by their lasting names (`/dev/serial/by-id/...`) where they have one.
pub fn serial_ports() -> Vec<PathBuf> {
    let mut ports: Vec<PathBuf> = std::fs::read_dir("/dev/serial/by-id")
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    let named: Vec<PathBuf> = ports.iter().filter_map(|p| p.canonicalize().ok()).collect();
    let others = SerialPort::available_ports().unwrap_or_default();
    let usb = |p: &PathBuf| {
        let name = p.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        name.starts_with("ttyACM") || name.starts_with("ttyUSB")
    };
    ports.extend(others.into_iter().filter(|p| usb(p) && !named.contains(p)));
    ports.sort();
    ports
}

/// How long the USB adapter behind `path` collects bytes before it hands them over, milliseconds, where it says so (FTDI).
fn latency_timer(path: &Path) -> Option<u32> {
    let node = path.canonicalize().ok()?;
    let name = node.file_name()?.to_str()?;
    let file = format!("/sys/bus/usb-serial/devices/{name}/latency_timer");
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_what_to_do() {
        let path: PathBuf = "/dev/ttyACM0".into();
        let group = Some("dialout".to_owned());
        let refused = PortError::Permission {
            path: path.clone(),
            group,
        }
        .to_string();
        assert_eq!(
            refused,
            "port /dev/ttyACM0: permission denied; join its group `dialout` (sudo usermod -aG dialout $USER) and log in again"
        );
        let group = Some("root".to_owned());
        let refused = PortError::Permission {
            path: path.clone(),
            group,
        }
        .to_string();
        assert!(refused.contains("udev rule"), "{refused}");
        let missing = SerialLine::open(Path::new("/dev/tactus-none"), 1_000_000)
            .expect_err("none")
            .to_string();
        assert!(
            missing.starts_with("port /dev/tactus-none: there is none"),
            "{missing}"
        );
        let there = vec![path.clone()];
        let missing = PortError::Missing {
            path: "/dev/x".into(),
            there,
        }
        .to_string();
        assert!(missing.ends_with("there are /dev/ttyACM0"), "{missing}");
        let holder = Holder {
            pid: Some(7),
            program: Some("python3".into()),
        };
        let busy = PortError::Busy { path, holder }.to_string();
        assert!(busy.contains("process 7 (`python3`)"), "{busy}");
    }
}
