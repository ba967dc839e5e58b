//! One RTDE session: made, set up, read, written. Blocks; whoever keeps one going is [`crate::link`].

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::error::UrError;
use crate::recipe::{INPUTS, OUTPUTS, Sample, Wanted};
use crate::rtde::{self, ControllerVersion, RtdeError, kind};

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// How long the controller may take to answer, and a command to leave.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const SEND_WITHIN: Duration = Duration::from_millis(100);
/// Far more than waits at any time: a state is 137 bytes.
const BUFFER: usize = 64 * 1024;

/// A controller's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    name: String,
    ip: IpAddr,
}

impl Host {
    /// The address of `name`, which may be one already.
    ///
    /// # Errors
    /// [`UrError::Resolve`].
    pub fn resolve(name: &str) -> Result<Self, UrError> {
        let error = |reason| UrError::Resolve {
            host: name.to_owned(),
            reason,
        };
        let mut found = (name, rtde::PORT).to_socket_addrs().map_err(error)?;
        match found.next() {
            Some(address) => Ok(Self {
                name: name.to_owned(),
                ip: address.ip(),
            }),
            None => Err(error(io::ErrorKind::NotFound.into())),
        }
    }

    /// As it was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Connects to `port`, where `what` should be.
    ///
    /// # Errors
    /// [`UrError::Connect`].
    pub fn connect(&self, port: u16, what: &'static str) -> Result<TcpStream, UrError> {
        let connect = || -> io::Result<TcpStream> {
            let stream =
                TcpStream::connect_timeout(&SocketAddr::new(self.ip, port), CONNECT_WITHIN)?;
            stream.set_nodelay(true)?;
            stream.set_write_timeout(Some(SEND_WITHIN))?;
            Ok(stream)
        };
        connect().map_err(|reason| UrError::Connect {
            host: self.name.clone(),
            port,
            what,
            reason,
        })
    }
}

/// An RTDE session.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
    filled: usize,
    timeout: Duration,
    inputs: u8,
}

impl Connection {
    /// Connects and agrees on the protocol; nothing flows yet.
    fn greet(host: &Host) -> Result<Self, UrError> {
        let mut connection = Self {
            stream: host.connect(rtde::PORT, "RTDE")?,
            host: host.name().to_owned(),
            buffer: vec![0; BUFFER],
            filled: 0,
            timeout: Duration::ZERO,
            inputs: 0,
        };
        let spoken = connection.ask(kind::PROTOCOL_VERSION, &rtde::PROTOCOL.to_be_bytes())?;
        match spoken[..] {
            [1] => Ok(connection),
            _ => Err(connection.rtde(RtdeError::Protocol)),
        }
    }

    /// Version of the software of the controller at `host`.
    ///
    /// # Errors
    /// [`UrError`].
    pub fn version(host: &Host) -> Result<ControllerVersion, UrError> {
        let mut connection = Self::greet(host)?;
        let payload = connection.ask(kind::CONTROLLER_VERSION, &[])?;
        ControllerVersion::read(&payload).map_err(|reason| connection.rtde(reason))
    }

    /// A session in which states come `rate_hz` times per second, and commands may go if `command`.
    ///
    /// # Errors
    /// [`UrError`].
    pub fn open(host: &Host, rate_hz: u32, command: bool) -> Result<Self, UrError> {
        let mut me = Self::greet(host)?;
        if command {
            let answer = me.ask(kind::SETUP_INPUTS, &rtde::setup(&INPUTS, None))?;
            let id = rtde::accepted(kind::SETUP_INPUTS, &INPUTS, &answer);
            me.inputs = id.map_err(|reason| me.rtde(reason))?;
        }
        let setup = rtde::setup(&OUTPUTS, Some(f64::from(rate_hz)));
        let answer = me.ask(kind::SETUP_OUTPUTS, &setup)?;
        if let Err(reason) = rtde::accepted(kind::SETUP_OUTPUTS, &OUTPUTS, &answer) {
            return Err(me.rtde(reason));
        }
        match me.ask(kind::START, &[])?[..] {
            [1] => Ok(me),
            _ => Err(me.rtde(RtdeError::Refused)),
        }
    }

    fn rtde(&self, reason: RtdeError) -> UrError {
        UrError::Rtde {
            host: self.host.clone(),
            reason,
        }
    }

    fn link(&self, reason: io::Error) -> UrError {
        UrError::Link {
            host: self.host.clone(),
            reason,
        }
    }

    /// Sends a frame and waits for the answer of its type.
    fn ask(&mut self, kind: u8, payload: &[u8]) -> Result<Vec<u8>, UrError> {
        let mut bytes = Vec::new();
        rtde::frame(kind, payload, &mut bytes);
        self.stream.write_all(&bytes).map_err(|e| self.link(e))?;
        let until = Instant::now() + ANSWER_WITHIN;
        loop {
            while let Some((actual, payload)) = self.take()? {
                match actual {
                    kind::TEXT => self.say(&payload),
                    // One that was sent before the controller heard us.
                    kind::DATA => {}
                    _ if actual == kind => return Ok(payload),
                    _ => {
                        let expected = kind;
                        return Err(self.rtde(RtdeError::Kind { expected, actual }));
                    }
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.fill(left)? {
                return Err(self.link(io::ErrorKind::TimedOut.into()));
            }
        }
    }

    fn say(&self, payload: &[u8]) {
        let (level, message) = rtde::text(payload);
        match level {
            0..=2 => tracing::warn!(host = self.host, "the controller says: {message}"),
            _ => tracing::info!(host = self.host, "the controller says: {message}"),
        }
    }

    /// The first whole frame that is there.
    fn take(&mut self) -> Result<Option<(u8, Vec<u8>)>, UrError> {
        let cut = rtde::cut(&self.buffer[..self.filled]);
        let Some((kind, payload, len)) = cut.map_err(|reason| self.rtde(reason))? else {
            return Ok(None);
        };
        let taken = (kind, payload.to_vec());
        self.drop_front(len);
        Ok(Some(taken))
    }

    fn drop_front(&mut self, len: usize) {
        self.buffer.copy_within(len..self.filled, 0);
        self.filled -= len;
    }

    /// Receives what is there, waiting for `within` at most. False when nothing came.
    fn fill(&mut self, within: Duration) -> Result<bool, UrError> {
        let within = within.max(Duration::from_millis(1));
        if self.timeout != within {
            let set = self.stream.set_read_timeout(Some(within));
            set.map_err(|e| self.link(e))?;
            self.timeout = within;
        }
        match self.stream.read(&mut self.buffer[self.filled..]) {
            Ok(0) => {
                let closed = "the controller closed the connection";
                Err(self.link(io::Error::new(io::ErrorKind::UnexpectedEof, closed)))
            }
            Ok(n) => {
                self.filled += n;
                Ok(true)
            }
            Err(e) => match e.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(self.link(e)),
            },
        }
    }

    /// The newest state, waiting for one for `within`; older ones that waited are skipped. Allocates nothing.
    ///
    /// # Errors
    /// [`UrError`] when none came in time, or something that is no state.
    pub fn newest(&mut self, within: Duration) -> Result<Sample, UrError> {
        let until = Instant::now() + within;
        loop {
            let mut newest = None;
            loop {
                let cut = rtde::cut(&self.buffer[..self.filled]);
                let Some((kind, payload, len)) = cut.map_err(|reason| self.rtde(reason))? else {
                    break;
                };
                match kind {
                    kind::DATA => {
                        let sample = Sample::read(payload).map_err(|reason| self.rtde(reason))?;
                        newest = Some(sample);
                    }
                    kind::TEXT => self.say(payload),
                    _ => {}
                }
                self.drop_front(len);
            }
            if let Some(sample) = newest {
                return Ok(sample);
            }
            // The same wait every time, so that it is set once; a trickle of bytes cannot stretch it for ever.
            if !self.fill(within)? || Instant::now() > until + within {
                let silent = format!("no state for {} ms", within.as_millis());
                return Err(self.link(io::Error::new(io::ErrorKind::TimedOut, silent)));
            }
        }
    }

    /// Sends a command.
    ///
    /// # Errors
    /// [`UrError::Link`].
    pub fn send(&mut self, wanted: &Wanted) -> Result<(), UrError> {
        let sent = self.stream.write_all(&wanted.frame(self.inputs));
        sent.map_err(|e| self.link(e))
    }
}
