//! A connection whose reads and writes end in time, for whoever has a deadline and a websocket that knows none.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection whose reads and writes end in time.
pub(crate) struct Timed {
    pub(crate) tcp: TcpStream,
    /// When waiting ends.
    pub(crate) until: Instant,
    /// Whether to wait at all.
    pub(crate) wait: bool,
    /// When the last byte came.
    pub(crate) heard: Instant,
    /// When the server was pinged last.
    pub(crate) pinged: Instant,
}

impl Timed {
    /// `tcp`, on which waiting ends at `until`.
    pub(crate) fn new(tcp: TcpStream, until: Instant) -> Self {
        let now = Instant::now();
        Self {
            tcp,
            until,
            wait: true,
            heard: now,
            pinged: now,
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }
}

/// What the system calls a timeout.
fn in_time<T>(done: io::Result<T>) -> io::Result<T> {
    done.map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => e,
    })
}

impl Read for Timed {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = if self.wait {
            self.tcp.set_read_timeout(Some(self.left()?))?;
            in_time(self.tcp.read(to))?
        } else {
            self.tcp.set_nonblocking(true)?;
            let read = self.tcp.read(to);
            self.tcp.set_nonblocking(false)?;
            read?
        };
        if n > 0 {
            self.heard = Instant::now();
        }
        Ok(n)
    }
}

impl Write for Timed {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        // A pong while polling has a moment.
        let left = match self.wait {
            true => self.left()?,
            false => Duration::from_millis(10),
        };
        self.tcp.set_write_timeout(Some(left))?;
        in_time(self.tcp.write(from))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
