//! A serial line that somebody passes on over TCP: the tool connector of an arm's controller, or a serial device server.
//!
//! Bytes go through as they are; rate and parity are the other end's, and so is the line's own timing. One owner on this machine
//! (`lock`), as a port has. A connection that breaks is not made again: whoever stands on the line says so.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::lock::{self, OwnedName};
use crate::{Line, PortError};

/// Connecting takes no longer.
const CONNECT: Duration = Duration::from_secs(2);
/// A peer that takes nothing for so long is gone.
const SEND: Duration = Duration::from_millis(500);

/// A serial line behind a TCP port, owned by this process.
#[derive(Debug)]
pub struct NetworkLine {
    stream: TcpStream,
    _own: OwnedName,
}

impl NetworkLine {
    /// Connects to `address`, a host with its port.
    ///
    /// # Errors
    /// [`PortError`].
    pub fn open(address: &str) -> Result<Self, PortError> {
        let fail = |reason: io::Error| PortError::Network {
            address: address.to_owned(),
            reason,
        };
        let mut found = address.to_socket_addrs().map_err(fail)?;
        let to = found.next();
        let to = to.ok_or_else(|| fail(ErrorKind::NotFound.into()))?;
        let own = lock::own_name(&format!("line-{to}")).map_err(|holder| PortError::Busy {
            path: address.into(),
            holder,
        })?;
        let stream = TcpStream::connect_timeout(&to, CONNECT).map_err(fail)?;
        // Frames are small, and each waits for its answer.
        stream.set_nodelay(true).map_err(fail)?;
        stream.set_write_timeout(Some(SEND)).map_err(fail)?;
        Ok(Self { stream, _own: own })
    }
}

impl Line for NetworkLine {
    fn discard(&mut self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut late = [0; 256];
        let outcome = loop {
            match self.stream.read(&mut late) {
                Ok(0) => break Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        self.stream.set_nonblocking(false)?;
        outcome
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    fn receive(&mut self, into: &mut [u8], within: Duration) -> io::Result<usize> {
        self.stream
            .set_read_timeout(Some(within.max(Duration::from_millis(1))))?;
        match self.stream.read(into) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => Ok(n),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(0)
            }
            Err(e) => Err(e),
        }
    }

    /// The other end's rate is its own.
    fn set_baud(&mut self, _: u32) -> io::Result<()> {
        Ok(())
    }
}
