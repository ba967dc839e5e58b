//! A connection to an OpenPI server that is there when it is needed: opened, kept alive and opened again by a thread of its own.
//!
//! Decides that a request has one answer, within its time, or no connection any more: one that did not answer in time, closed,
//! or said something nobody asked for is given up, so that a late answer never serves a later request. Between requests pings
//! are answered, and a server that is silent is pinged. Tries again after 0.1 s, then ever later, up to 5 s. A server that comes
//! back with other metadata is another policy, and is not used. Knows nothing of what is asked.

use std::io;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Bytes, Error, Message, WebSocket};

use crate::endpoint::Endpoint;
use crate::timed::Timed;

/// Connecting, handshake and metadata take at most this.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Time between two looks at a connection that nobody uses.
const TEND: Duration = Duration::from_millis(500);
/// A server that is silent for this long is pinged, and gone after twice that.
const PING_AFTER: Duration = Duration::from_secs(10);
/// First and longest time between two attempts to connect.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Largest message of a server: chunks are small.
const MAX_MESSAGE: usize = 8 << 20;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// There is no connection.
    #[error("no connection to {endpoint}: {reason}")]
    Away {
        /// The server.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// The server did not answer in time. The connection is given up.
    #[error("{endpoint} did not answer within {millis} ms")]
    Late {
        /// The server.
        endpoint: String,
        /// Time that it had.
        millis: u64,
    },
    /// The server says that it failed.
    #[error("{endpoint} says: {text}")]
    Said {
        /// The server.
        endpoint: String,
        /// The last line of what it said.
        text: String,
    },
}

/// A connection that is opened again whenever it is gone.
pub struct Link {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    keeper: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connection: Option<WebSocket<Timed>>,
    /// Why there is none.
    why: String,
    /// What the server said first of all.
    metadata: Option<Bytes>,
    stop: bool,
}

impl Shared {
    /// A thread that panicked left at worst a connection that fails when it is used.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Connects to `endpoint` and waits for it for at most `within`; the link, and the server's metadata.
    ///
    /// # Errors
    /// [`LinkError::Away`] when it is not there by then.
    pub fn open(endpoint: Endpoint, within: Duration) -> Result<(Self, Bytes), LinkError> {
        let shared = Arc::new(Shared::default());
        let (kept, to) = (Arc::clone(&shared), endpoint.clone());
        let keeper = std::thread::Builder::new()
            .name("openpi-link".into())
            .spawn(move || keep(&kept, &to))
            .map_err(|e| away(&endpoint, e.to_string()))?;
        let me = Self {
            endpoint,
            shared,
            keeper: Some(keeper),
        };
        let waiting = |state: &mut State| state.metadata.is_none();
        let state = me.shared.lock();
        let (state, _) = me
            .shared
            .changed
            .wait_timeout_while(state, within, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        let Some(metadata) = state.metadata.clone() else {
            let reason = match state.why.as_str() {
                "" => format!("nothing within {within:?}"),
                why => why.to_owned(),
            };
            drop(state);
            return Err(away(&me.endpoint, reason));
        };
        drop(state);
        Ok((me, metadata))
    }

    /// The answer to `message`, no later than `until`.
    ///
    /// # Errors
    /// [`LinkError`]; of a server that is away, at once.
    pub fn exchange(&self, message: Vec<u8>, until: Instant) -> Result<Bytes, LinkError> {
        let begun = Instant::now();
        let mut state = self.shared.lock();
        let lost = match state.connection.as_mut().map(poll) {
            None => return Err(away(&self.endpoint, state.why.clone())),
            Some(Ok(())) => None,
            Some(Err(why)) => Some(Lost::Gone(why)),
        };
        let answer = match (lost, state.connection.as_mut()) {
            (Some(lost), _) => Err(lost),
            (None, None) => Err(Lost::Gone("closed".into())),
            (None, Some(socket)) => ask(socket, message, until),
        };
        let lost = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(text)) => {
                return Err(LinkError::Said {
                    endpoint: self.endpoint.to_string(),
                    text: last_line(&text),
                });
            }
            Err(lost) => lost,
        };
        give_up(&mut state, lost.why());
        self.shared.changed.notify_all();
        Err(match lost {
            Lost::Late => LinkError::Late {
                endpoint: self.endpoint.to_string(),
                millis: u64::try_from((until - begun).as_millis()).unwrap_or(u64::MAX),
            },
            Lost::Gone(why) => away(&self.endpoint, why),
        })
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stop = true;
        give_up(&mut state, "closed here");
        drop(state);
        self.shared.changed.notify_all();
        // While it connects it may take seconds to notice; nobody waits for that.
        drop(self.keeper.take());
    }
}

fn away(endpoint: &Endpoint, reason: String) -> LinkError {
    LinkError::Away {
        endpoint: endpoint.to_string(),
        reason,
    }
}

/// Why a connection is of no more use.
enum Lost {
    Late,
    Gone(String),
}

impl Lost {
    fn why(&self) -> &str {
        match self {
            Self::Late => "given up after a late answer",
            Self::Gone(why) => why,
        }
    }
}

fn give_up(state: &mut State, why: &str) {
    if let Some(socket) = state.connection.take() {
        // A server that still computes learns of it.
        drop(socket.get_ref().tcp.shutdown(Shutdown::Both));
    }
    state.why = why.into();
}

/// Sends, and reads one answer; `Ok(Err)` is the server's words.
fn ask(
    socket: &mut WebSocket<Timed>,
    message: Vec<u8>,
    until: Instant,
) -> Result<Result<Bytes, String>, Lost> {
    socket.get_mut().until = until;
    let lost = |e: Error| match e {
        Error::Io(e) if late(&e) => Lost::Late,
        e => Lost::Gone(e.to_string()),
    };
    socket.send(Message::Binary(message.into())).map_err(lost)?;
    loop {
        match socket.read().map_err(lost)? {
            Message::Binary(answer) => return Ok(Ok(answer)),
            Message::Text(text) => return Ok(Err(text.to_string())),
            Message::Close(_) => return Err(Lost::Gone("closed by the server".into())),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// Answers pings and notices what has gone wrong since the last request, without waiting.
fn poll(socket: &mut WebSocket<Timed>) -> Result<(), String> {
    socket.get_mut().wait = false;
    let outcome = loop {
        match socket.read() {
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(_)) => break Err("closed by the server".into()),
            Ok(Message::Binary(_) | Message::Text(_)) => {
                break Err("an answer that nobody asked for".into());
            }
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => break Ok(()),
            Err(e) => break Err(e.to_string()),
        }
    };
    socket.get_mut().wait = true;
    outcome
}

/// The keeper's thread.
fn keep(shared: &Shared, endpoint: &Endpoint) {
    let mut retry = RETRY.0;
    loop {
        let state = shared.lock();
        if state.stop {
            return;
        }
        let connected = state.connection.is_some();
        if connected {
            let wait = |state: &mut State| !state.stop && state.connection.is_some();
            let (mut state, timeout) = shared
                .changed
                .wait_timeout_while(state, TEND, wait)
                .unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out()
                && let Some(socket) = state.connection.as_mut()
                && let Err(why) = tend(socket)
            {
                tracing::warn!(%endpoint, "openpi server lost: {why}");
                give_up(&mut state, &why);
            }
            continue;
        }
        drop(state);
        let connected = connect(endpoint);
        let mut state = shared.lock();
        let wait = match connected {
            Ok((socket, metadata)) => match &state.metadata {
                Some(first) if *first != metadata => {
                    state.why = "the server has other metadata than before: another policy; start the engine again".into();
                    RETRY.1
                }
                _ => {
                    tracing::info!(%endpoint, "openpi server connected");
                    state.metadata = Some(metadata);
                    state.connection = Some(socket);
                    retry = RETRY.0;
                    Duration::ZERO
                }
            },
            Err(why) => {
                if state.why != why {
                    tracing::warn!(%endpoint, "openpi server not reached: {why}");
                }
                state.why = why;
                let wait = retry;
                retry = (2 * retry).min(RETRY.1);
                wait
            }
        };
        shared.changed.notify_all();
        let stopped = shared
            .changed
            .wait_timeout_while(state, wait, |state| !state.stop);
        drop(stopped);
    }
}

fn tend(socket: &mut WebSocket<Timed>) -> Result<(), String> {
    poll(socket)?;
    let Timed { heard, pinged, .. } = *socket.get_ref();
    let silent = heard.elapsed();
    if silent > 2 * PING_AFTER {
        return Err(format!("silent for {silent:.0?}"));
    }
    if silent > PING_AFTER && pinged < heard {
        socket.get_mut().until = Instant::now() + TEND;
        socket.get_mut().pinged = Instant::now();
        let sent = socket.send(Message::Ping(Bytes::new()));
        sent.map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn connect(endpoint: &Endpoint) -> Result<(WebSocket<Timed>, Bytes), String> {
    let until = Instant::now() + CONNECT_WITHIN;
    let Endpoint { host, port } = endpoint;
    let mut why = "no address".to_owned();
    let named = (host.trim_matches(['[', ']']), *port);
    let addresses = named.to_socket_addrs().map_err(|e| e.to_string())?;
    let mut opened = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
            Ok(tcp) => {
                opened = Some(tcp);
                break;
            }
            Err(e) => why = e.to_string(),
        }
    }
    let Some(tcp) = opened else { return Err(why) };
    tcp.set_nodelay(true).map_err(|e| e.to_string())?;
    let timed = Timed::new(tcp, until);
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let url = format!("ws://{host}:{port}/");
    let (mut socket, _) = tungstenite::client::client_with_config(url, timed, Some(config))
        .map_err(|e| e.to_string())?;
    loop {
        match socket.read().map_err(|e| e.to_string())? {
            Message::Binary(metadata) => return Ok((socket, metadata)),
            Message::Text(text) => return Err(format!("it says: {}", last_line(&text))),
            Message::Close(_) => return Err("closed by the server".into()),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
}

/// The last line with something in it, which is what a traceback is about; at most 300 characters, none of them a control's.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    let plain = line.unwrap_or_default().trim().chars();
    plain.filter(|c| !c.is_control()).take(300).collect()
}

fn late(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::TimedOut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_traceback_the_last_line_is_said() {
        let text = "Traceback (most recent call last):\n  File ..\nKeyError: 'state'\x1b[0m\n\n";
        assert_eq!(last_line(text), "KeyError: 'state'[0m");
        assert_eq!(last_line(&"x".repeat(1000)).len(), 300);
    }
}
