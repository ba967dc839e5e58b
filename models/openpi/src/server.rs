//! The websocket in front of a [`Front`]: connections, their bounds and their times.
//!
//! Decides who is let in and for how long: at most [`MAX_CLIENTS`] at a time, no web page (a browser names its `Origin`), a
//! handshake and each message within seconds of their first byte, a message no larger than pictures can be, and a client that
//! answers no ping for 20 s is gone. Every client has a thread; the policy answers one at a time. What is wrong with a message
//! is said in a text message, as openpi's server does, and the connection stays, unless it cannot be read on.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tactus_types::Clock;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::http::StatusCode;
use tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::front::Front;

/// Clients at a time.
pub const MAX_CLIENTS: usize = 16;
/// How soon a thread that waits notices that it should end.
const TICK: Duration = Duration::from_millis(200);
/// A handshake, and what is left of a message whose first byte is there, has to be complete within this.
const COMPLETE_WITHIN: Duration = Duration::from_secs(10);
/// A client that is silent for this long is pinged, and gone after twice that.
const PING_AFTER: Duration = Duration::from_secs(20);
/// A client that takes nothing for this long is gone.
const WRITE_WITHIN: Duration = Duration::from_secs(5);
/// What is read at once. The websocket zeroes as much before each read, so no more than a read brings.
const READ_BUFFER: usize = 64 * 1024;

/// Where a front listens.
#[derive(Debug, Clone, Copy)]
pub struct ServerSpec {
    /// Address and port; port 0 is any free one.
    pub address: SocketAddr,
}

/// Why nobody can connect.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {reason}")]
pub struct ServerError {
    /// The address.
    pub address: SocketAddr,
    /// What the system said.
    pub reason: io::Error,
}

/// Serves `front` until `stop` is set; `ready` is told where.
///
/// # Errors
/// [`ServerError`] when the address cannot be listened on.
pub fn serve(
    front: Front,
    spec: ServerSpec,
    clock: &dyn Clock,
    stop: &AtomicBool,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServerError> {
    let error = |reason| ServerError {
        address: spec.address,
        reason,
    };
    let listener = TcpListener::bind(spec.address).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    ready(listener.local_addr().map_err(error)?);
    let shared = Shared {
        metadata: front.metadata(),
        max_message: front.max_message(),
        front: Mutex::new(front),
        clients: AtomicUsize::new(0),
        clock,
        stop,
    };
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let (tcp, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(e) => {
                    if e.kind() != io::ErrorKind::WouldBlock {
                        tracing::warn!("connection not accepted: {e}");
                    }
                    std::thread::sleep(TICK / 10);
                    continue;
                }
            };
            let shared = &shared;
            let started = std::thread::Builder::new()
                .name("openpi-client".into())
                .spawn_scoped(scope, move || shared.session(tcp, peer));
            if let Err(e) = started {
                tracing::warn!(%peer, "no thread for a client: {e}");
            }
        }
    });
    Ok(())
}

struct Shared<'a> {
    metadata: Vec<u8>,
    max_message: usize,
    front: Mutex<Front>,
    clients: AtomicUsize,
    clock: &'a dyn Clock,
    stop: &'a AtomicBool,
}

/// Counts a client for as long as it lives.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared<'_> {
    fn session(&self, tcp: TcpStream, peer: SocketAddr) {
        let before = self.clients.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.clients);
        let full = before >= MAX_CLIENTS;
        match self.handshake(tcp, full) {
            Ok(None) => {}
            Ok(Some(socket)) => {
                tracing::info!(%peer, "openpi client connected");
                let why = self.converse(socket);
                tracing::info!(%peer, "openpi client gone: {why}");
            }
            Err(reason) => tracing::warn!(%peer, "openpi client refused: {reason}"),
        }
    }

    /// The websocket, or `None` where somebody only asked how it goes.
    fn handshake(&self, tcp: TcpStream, full: bool) -> Result<Option<WebSocket<Paced>>, String> {
        let said = |e: io::Error| e.to_string();
        tcp.set_nonblocking(false).map_err(said)?;
        tcp.set_nodelay(true).map_err(said)?;
        tcp.set_read_timeout(Some(TICK)).map_err(said)?;
        tcp.set_write_timeout(Some(WRITE_WITHIN)).map_err(said)?;
        let begun = Instant::now();
        let mut tcp = tcp;
        // A line that asks for health is no websocket's.
        const HEALTH: &[u8] = b"GET /healthz ";
        let mut head = [0; HEALTH.len()];
        let asks = loop {
            match tcp.peek(&mut head) {
                Ok(n) if n == HEALTH.len() => break head == *HEALTH,
                Ok(0) => return Ok(None),
                Ok(n) if head.get(..n) != HEALTH.get(..n) => break false,
                Ok(_) => std::thread::sleep(TICK / 20),
                Err(e) if waited(&e) => {}
                Err(e) => return Err(said(e)),
            }
            self.still(begun)?;
        };
        if asks {
            let answer =
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nOK\n";
            tcp.write_all(answer).map_err(said)?;
            drain(&mut tcp);
            return Ok(None);
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_message_size(Some(self.max_message))
            .max_frame_size(Some(self.max_message));
        let admit = |request: &Request, response: Response| {
            let refuse = |status, why: &str| {
                let mut response = ErrorResponse::new(Some(format!("{why}\n")));
                *response.status_mut() = status;
                Err(response)
            };
            if request.headers().contains_key("Origin") {
                return refuse(StatusCode::FORBIDDEN, "no web pages");
            }
            if full {
                return refuse(StatusCode::SERVICE_UNAVAILABLE, "too many clients");
            }
            Ok(response)
        };
        let paced = Paced::new(tcp);
        let mut state = tungstenite::accept_hdr_with_config(paced, admit, Some(config));
        loop {
            match state {
                Ok(mut socket) => {
                    // What came so far was the handshake, and no message.
                    socket.get_mut().begun = None;
                    return Ok(Some(socket));
                }
                Err(HandshakeError::Failure(e)) => return Err(e.to_string()),
                Err(HandshakeError::Interrupted(mid)) => {
                    self.still(begun)?;
                    state = mid.handshake();
                }
            }
        }
    }

    /// Whether what began then may still become something.
    fn still(&self, begun: Instant) -> Result<(), String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("the engine ends".into());
        }
        match begun.elapsed() < COMPLETE_WITHIN {
            true => Ok(()),
            false => Err(format!("not complete within {COMPLETE_WITHIN:?}")),
        }
    }

    /// Answers until the client goes; why it went.
    fn converse(&self, mut socket: WebSocket<Paced>) -> String {
        if let Err(e) = socket.send(Message::Binary(self.metadata.clone().into())) {
            return e.to_string();
        }
        let mut before = None;
        let mut pinged = false;
        loop {
            let message = match socket.read() {
                Ok(message) => message,
                Err(Error::Io(e)) if waited(&e) => match self.waiting(&mut socket, &mut pinged) {
                    Ok(()) => continue,
                    Err(why) => return why,
                },
                Err(Error::Capacity(e)) => {
                    return self.part(socket, &format!("observation: {e}"), CloseCode::Size);
                }
                Err(Error::ConnectionClosed) => return "closed".into(),
                Err(Error::Protocol(e)) => {
                    return self.part(socket, &format!("websocket: {e}"), CloseCode::Protocol);
                }
                Err(e) => return e.to_string(),
            };
            let started = socket.get_ref().begun.unwrap_or_else(Instant::now);
            socket.get_mut().begun = None;
            pinged = false;
            let reply = match &message {
                Message::Binary(bytes) => {
                    let mut front = self.front.lock().unwrap_or_else(PoisonError::into_inner);
                    let reply = front.answer(bytes, self.clock.now(), before);
                    drop(front);
                    match reply {
                        Ok(reply) => Message::Binary(reply.into()),
                        Err(e) => {
                            tracing::warn!("{e}");
                            Message::text(e.to_string())
                        }
                    }
                }
                Message::Text(_) => {
                    Message::text("observation: expected a binary message, got a text message")
                }
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => {
                    continue;
                }
            };
            // Its bytes can be read into again.
            drop(message);
            if let Err(e) = socket.send(reply) {
                return e.to_string();
            }
            before = Some(started.elapsed());
        }
    }

    fn waiting(&self, socket: &mut WebSocket<Paced>, pinged: &mut bool) -> Result<(), String> {
        if self.stop.load(Ordering::Relaxed) {
            let frame = CloseFrame {
                code: CloseCode::Away,
                reason: "the engine ends".into(),
            };
            // It goes either way.
            drop(socket.close(Some(frame)).and_then(|()| socket.flush()));
            return Err("the engine ends".into());
        }
        let Paced { begun, heard, .. } = *socket.get_ref();
        if begun.is_some_and(|begun| begun.elapsed() > COMPLETE_WITHIN) {
            return Err(format!(
                "a message was not complete within {COMPLETE_WITHIN:?}"
            ));
        }
        match heard.elapsed() {
            silent if silent > 2 * PING_AFTER => Err(format!("silent for {:?}", 2 * PING_AFTER)),
            silent if silent > PING_AFTER && !*pinged => {
                *pinged = true;
                let sent = socket.send(Message::Ping(Default::default()));
                sent.map_err(|e| e.to_string())
            }
            _ => Ok(()),
        }
    }

    /// Says why, and closes. What the client still sends is read, since an end in the middle of it would take the words away.
    fn part(&self, mut socket: WebSocket<Paced>, why: &str, code: CloseCode) -> String {
        let frame = CloseFrame {
            code,
            reason: "see the message before".into(),
        };
        let told = socket
            .send(Message::text(why))
            .and_then(|()| socket.close(Some(frame)))
            .and_then(|()| socket.flush());
        if told.is_ok() {
            drain(&mut socket.get_mut().tcp);
        }
        why.into()
    }
}

/// Reads what still comes, for a while.
fn drain(tcp: &mut TcpStream) {
    let begun = Instant::now();
    let mut scrap = vec![0; READ_BUFFER];
    if tcp.shutdown(Shutdown::Write).is_err() {
        return;
    }
    while begun.elapsed() < WRITE_WITHIN {
        match tcp.read(&mut scrap) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if waited(&e) => {}
            Err(_) => return,
        }
    }
}

/// Whether a read ended because nothing came.
fn waited(e: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(e.kind(), WouldBlock | TimedOut | Interrupted)
}

/// A connection that knows when it was last heard of.
pub(crate) struct Paced {
    tcp: TcpStream,
    /// When the first byte of the message that is being read came.
    begun: Option<Instant>,
    /// When the last byte of anything came.
    heard: Instant,
}

impl Paced {
    fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            begun: None,
            heard: Instant::now(),
        }
    }
}

impl Read for Paced {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let n = self.tcp.read(to)?;
        if n > 0 {
            self.heard = Instant::now();
            self.begun.get_or_insert(self.heard);
        }
        Ok(n)
    }
}

impl Write for Paced {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.tcp.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
