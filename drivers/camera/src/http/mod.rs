//! MJPEG over HTTP (`multipart/x-mixed-replace`), as IP cameras, mjpg-streamer and ESP32 cameras serve it.
//!
//! One GET, no redirects, no TLS. The HTTP clients that could wait for a byte with a limit, which a stream needs, bring far
//! more than this; what the bytes of a reply mean is decided in [`reply`], without IO.
//!
//! Decides which image counts: the newest that is there. Older ones have waited in the socket, for how long nobody knows.

pub mod reply;
mod url;

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tactus_drivers_api::wire::CaptureClock;
use tactus_types::Clock;

use crate::CameraError;
use crate::source::{Pixels, Shot, Source};

pub use reply::{NoStream, Reply};
pub use url::{NoUrl, Url};

/// How long the server may take to accept, and to take the request.
const CONNECT_WITHIN: Duration = Duration::from_millis(1500);
/// How long a stream that never pauses is read before what it brought counts.
const READ_WITHIN: Duration = Duration::from_millis(50);
/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// A stream of images from a server.
pub struct HttpSource {
    url: String,
    stream: TcpStream,
    reply: Reply,
    buffer: Vec<u8>,
    clock: Arc<dyn Clock>,
}

impl HttpSource {
    /// Connects to `url` and asks for its stream.
    ///
    /// # Errors
    /// [`CameraError::Lost`] when nobody is there.
    pub fn connect(url: &Url, clock: Arc<dyn Clock>) -> Result<Self, CameraError> {
        let what = url.to_string();
        let lost = |e: io::Error| CameraError::lost(&what, &e);
        let mut stream = connect(url).map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        stream
            .set_write_timeout(Some(CONNECT_WITHIN))
            .map_err(lost)?;
        stream.write_all(url.request().as_bytes()).map_err(lost)?;
        stream.set_nonblocking(true).map_err(lost)?;
        Ok(Self {
            url: what,
            stream,
            reply: Reply::new(),
            buffer: vec![0; CHUNK],
            clock,
        })
    }

    fn image(&mut self) -> Result<Option<Shot>, CameraError> {
        let image = self.reply.image().map_err(|e| self.refused(&e))?;
        Ok(image.map(|(data, captured_at)| Shot {
            data,
            pixels: Pixels::Jpeg,
            size: (0, 0),
            captured_at,
            clock: CaptureClock::Arrival,
            number: None,
            passed_over: 0,
            damaged: false,
        }))
    }

    /// Waits until bytes are there, for `within` at most.
    fn wait(&self, within: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: within.as_secs() as _,
            tv_nsec: within.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::new(&self.stream, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    fn lost(&self, reason: &io::Error) -> CameraError {
        CameraError::lost(&self.url, reason)
    }

    fn refused(&self, e: &NoStream) -> CameraError {
        CameraError::Reply {
            url: self.url.clone(),
            expected: e.expected.into(),
            actual: e.actual.clone(),
            wrong: e.wrong,
        }
    }
}

fn connect(url: &Url) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "its host has no address");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

impl Source for HttpSource {
    fn next(&mut self, within: Duration) -> Result<Option<Shot>, CameraError> {
        use io::ErrorKind::{Interrupted, WouldBlock};
        let mut newest: Option<Shot> = None;
        let mut waited = false;
        let until = self.clock.now() + within + READ_WITHIN;
        loop {
            while let Some(image) = self.image()? {
                let passed_over = newest.map_or(0, |older| older.passed_over.saturating_add(1));
                newest = Some(Shot {
                    passed_over,
                    ..image
                });
            }
            if self.clock.now() >= until {
                return Ok(newest);
            }
            match self.stream.read(&mut self.buffer) {
                // The end is there the next time too.
                Ok(0) if newest.is_some() => return Ok(newest),
                Ok(0) => return Err(self.lost(&io::Error::other("the server closed the stream"))),
                Ok(n) => {
                    let pushed = self.reply.push(&self.buffer[..n], self.clock.now());
                    pushed.map_err(|e| self.refused(&e))?;
                }
                Err(e) if e.kind() == Interrupted => {}
                Err(e) if e.kind() == WouldBlock && (waited || newest.is_some()) => {
                    return Ok(newest);
                }
                Err(e) if e.kind() == WouldBlock => {
                    self.wait(within).map_err(|e| self.lost(&e))?;
                    waited = true;
                }
                Err(e) => return Err(self.lost(&e)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
