//! `tactus foxglove`: the messages of a cell, live, to Foxglove and whatever else speaks its websocket.
//!
//! ```text
//!   wire --a key, while somebody wants it--> hub --bounded, the oldest go--> each client
//! ```
//! Decides who is let in: on loopback whoever is on this machine and no web page but Foxglove's, elsewhere who has the token.
//! A client only looks; there is nothing that it could ask of the arm. A process and a peer of its own, at a low priority:
//! nothing waits for it.
//!
//! - [`protocol`]: what is said over the websocket. Pure. [`hub`]: who wants what.

mod hub;
mod protocol;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::extract::ws::{
    Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection,
};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::cli::{FoxgloveArgs, RoleArgs};
use crate::panel::{Asking, Gate, Tokens};
use crate::{cell, result, roles};

use hub::{Hub, Outbox};
use protocol::{Asked, advertise, server_info, topics, warning};

/// Niceness of the process.
const NICE: i32 = 15;
/// Threads that serve.
const THREADS: usize = 2;
/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// Clients that are served at once.
const CLIENTS: usize = 8;
/// Longest message of a client, bytes.
const ASKED_BYTES: usize = 64 << 10;
/// A client that takes nothing for this long is dropped.
const STUCK: Duration = Duration::from_secs(10);

/// Serves until it is told to end.
pub fn foxglove(args: &FoxgloveArgs) -> anyhow::Result<()> {
    let cell = cell::load(&args.cell)?;
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("--listen {}: cannot listen", args.listen))?;
    let address = listener.local_addr()?;
    let tokens = match address.ip().is_loopback() && !args.token {
        true => None,
        false => Some(Tokens::draw()?),
    };
    // Inherited by every thread that is started from here on, Zenoh's too.
    if let Err(e) = rustix::process::nice(NICE) {
        tracing::warn!("foxglove is served at the usual priority: {e}");
    }
    let role = RoleArgs {
        cell: args.cell.clone(),
        connect: args.connect.clone(),
        listen: vec![],
        host: None,
        supervised: args.supervised,
    };
    let joined = roles::join(&role, "foxglove")?;
    let topics = topics(&cell);
    let at = match address.ip().is_unspecified() {
        true => format!("THIS-HOST:{}", address.port()),
        false => address.to_string(),
    };
    match &tokens {
        None => result::line(format_args!("foxglove: ws://{at}"))?,
        Some(tokens) => {
            result::line(format_args!("foxglove: ws://{at}/?token={}", tokens.see))?;
            result::line(
                "The token is not shown again. Nothing is encrypted: on a network that others use, go through ssh -L.",
            )?;
        }
    }
    let serving = Arc::new(Serving {
        gate: Gate::new(tokens, address.port(), true).and_foxglove(),
        greeting: [
            server_info(cell.name.as_str(), &joined.session.id()),
            advertise(&cell.wire, &topics),
        ],
        hub: Hub::new(
            joined.session.clone(),
            joined.clock.clone(),
            &cell.wire,
            &topics,
        ),
        clients: Arc::new(Semaphore::new(CLIENTS)),
        numbers: AtomicU64::new(0),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(CLIENTS)
        .thread_name("foxglove-serve")
        .enable_all()
        .build()
        .context("threads that serve")?;
    let serving = runtime.spawn(serve(serving, listener));
    while !joined.stop.load(Ordering::Relaxed) && !serving.is_finished() {
        std::thread::sleep(LOOK);
    }
    let ended = serving.is_finished();
    runtime.shutdown_timeout(Duration::from_millis(500));
    anyhow::ensure!(!ended, "foxglove is not served any more");
    Ok(())
}

/// What all clients share.
struct Serving {
    gate: Gate,
    greeting: [String; 2],
    hub: Hub,
    clients: Arc<Semaphore>,
    numbers: AtomicU64,
}

async fn serve(serving: Arc<Serving>, listener: TcpListener) -> anyhow::Result<()> {
    listener.set_nonblocking(true).context("the listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("the listener")?;
    let app = Router::new().route("/", get(come)).with_state(serving);
    axum::serve(listener, app).await.context("serving")
}

/// A client comes: past the gate, to its own task.
async fn come(
    State(serving): State<Arc<Serving>>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let said = |name: header::HeaderName| headers.get(name)?.to_str().ok();
    let asking = Asking {
        host: said(header::HOST),
        origin: said(header::ORIGIN),
        authorization: said(header::AUTHORIZATION),
        cookie: None,
        query: uri.query(),
    };
    if let Err(refused) = serving.gate.access(&asking) {
        return (StatusCode::FORBIDDEN, format!("{refused}\n")).into_response();
    }
    let Ok(upgrade) = upgrade else {
        let text = "open this address in Foxglove: Open connection, Foxglove WebSocket\n";
        return (StatusCode::UPGRADE_REQUIRED, text).into_response();
    };
    let Ok(turn) = serving.clients.clone().try_acquire_owned() else {
        let text = "too many clients: close some\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let upgrade = upgrade.protocols(protocol::NAMES);
    if upgrade.selected_protocol().is_none() {
        let text = format!(
            "expected one of the protocols {}\n",
            protocol::NAMES.join(", ")
        );
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    upgrade
        .max_message_size(ASKED_BYTES)
        .max_frame_size(ASKED_BYTES)
        .on_upgrade(async move |socket| {
            let client = serving.numbers.fetch_add(1, Ordering::Relaxed);
            talk(&serving, socket, client).await;
            // Undeclaring a key may take its time.
            let left = tokio::task::spawn_blocking(move || serving.hub.unsubscribe(client, None));
            let _ = left.await;
            drop(turn);
        })
}

/// What the client wants to it, what it asks for from it, until either ends.
async fn talk(serving: &Arc<Serving>, mut socket: WebSocket, client: u64) {
    for text in &serving.greeting {
        if !sent(&mut socket, Message::text(text.clone())).await {
            return;
        }
    }
    let outbox = Arc::new(Outbox::default());
    loop {
        tokio::select! {
            frame = outbox.next() => {
                if !sent(&mut socket, Message::Binary(frame)).await {
                    return;
                }
                let lost = outbox.lost();
                if lost > 0 {
                    let text = warning(&format!("{lost} messages were left out: this client is slower than the cell"));
                    if !sent(&mut socket, Message::text(text)).await {
                        return;
                    }
                }
            }
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(text))) => {
                    let (serving, to) = (serving.clone(), outbox.clone());
                    let asked = text.as_str().to_owned();
                    let done = tokio::task::spawn_blocking(move || {
                        carry_out(&serving.hub, client, &asked, &to)
                    });
                    for why in done.await.unwrap_or_default() {
                        if !sent(&mut socket, Message::text(warning(&why))).await {
                            return;
                        }
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            }
        }
    }
}

/// Does what `client` asks for; what of it could not be done.
fn carry_out(hub: &Hub, client: u64, asked: &str, to: &Arc<Outbox>) -> Vec<String> {
    match Asked::parse(asked) {
        Ok(Asked::Subscribe { subscriptions }) => subscriptions
            .into_iter()
            .filter_map(|s| hub.subscribe(client, s.id, s.channel_id, to).err())
            .collect(),
        Ok(Asked::Unsubscribe { subscription_ids }) => {
            for id in subscription_ids {
                hub.unsubscribe(client, Some(id));
            }
            vec![]
        }
        Ok(Asked::Other) => vec!["this server only shows what is published".into()],
        Err(why) => vec![why],
    }
}

/// Whether `message` went within [`STUCK`].
async fn sent(socket: &mut WebSocket, message: Message) -> bool {
    matches!(
        tokio::time::timeout(STUCK, socket.send(message)).await,
        Ok(Ok(()))
    )
}
