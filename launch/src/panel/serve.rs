//! Routes of the panel. Every request passes the gate first; what is on the page is in this program, and the page may load
//! nothing from anywhere else.
//!
//! | route | |
//! |---|---|
//! | `/`, `/panel.css`, `/panel.js`, `/operator.js`, `/drawing.js` | the page |
//! | `/live` | websocket: [`Lately`] as JSON ten times a second; keys and signs of life of the page the other way |
//! | `/camera/NAME?after=N` | the newest picture that is not number N, as soon as there is one |
//! | `/reference` | the reference picture of the trial that runs |
//! | `POST /act` | an [`Ask`] |
//! | `/snapshot`, `/metrics` | the JSON once; the figures for Prometheus |
//!
//! A reader that is slow gets the newest when it is ready and never what it missed: per page there is at most one text on
//! its way, and one that takes none for [`STUCK`] is dropped.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use tactus_types::Clock;
use tactus_wire::CellClock;
use tokio::sync::{Semaphore, watch};

use super::ask::Ask;
use super::desk::Desk;
use super::gate::{Access, Asking, Gate, Refused};
use super::metrics;
use super::pictures::Pictures;
use super::snapshot::{Facts, Lately};

/// Between two snapshots: 10 Hz.
const PERIOD: Duration = Duration::from_millis(100);
/// Pages that are served at once.
const PAGES: usize = 64;
/// Requests that are served at once, besides orders.
const REQUESTS: usize = 192;
/// A page that takes nothing for this long is dropped.
const STUCK: Duration = Duration::from_secs(10);
/// How long a page waits for a picture before it is told that there is none.
const PICTURE_WITHIN: Duration = Duration::from_secs(2);
/// Longest ask, bytes.
const ASK_BYTES: usize = 16 << 10;
/// Longest message of a page, bytes.
const SAID_BYTES: usize = 256;

const HTML: &str = include_str!("../../panel/index.html");
const CSS: &str = include_str!("../../panel/panel.css");
const JS: &str = include_str!("../../panel/panel.js");
const OPERATOR: &str = include_str!("../../panel/operator.js");
const DRAWING: &str = include_str!("../../panel/drawing.js");

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Nothing but what this panel serves itself; pictures come as blobs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Everything that requests share.
pub struct Panel {
    gate: Gate,
    facts: Facts,
    lately: Arc<Mutex<Lately>>,
    pictures: Arc<Pictures>,
    desk: Desk,
    clock: Arc<CellClock>,
    newest: watch::Sender<Utf8Bytes>,
    pages: Arc<Semaphore>,
    requests: Semaphore,
    page: AtomicU64,
    /// Reference picture of a trial, so that many pages ask once.
    reference: tokio::sync::Mutex<Option<(u64, Bytes)>>,
}

impl Panel {
    pub fn new(
        gate: Gate,
        facts: Facts,
        lately: Arc<Mutex<Lately>>,
        pictures: Arc<Pictures>,
        desk: Desk,
        clock: Arc<CellClock>,
    ) -> Self {
        Self {
            gate,
            facts,
            lately,
            pictures,
            desk,
            clock,
            newest: watch::Sender::new(Utf8Bytes::default()),
            pages: Arc::new(Semaphore::new(PAGES)),
            requests: Semaphore::new(REQUESTS),
            page: AtomicU64::new(0),
            reference: tokio::sync::Mutex::new(None),
        }
    }

    fn json(&self) -> String {
        let ages = self.pictures.ages(Instant::now());
        let lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        lately.json(&self.facts, &ages, self.clock.now())
    }
}

/// Makes a snapshot ten times a second while anybody looks.
pub async fn tick(panel: Arc<Panel>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if panel.newest.receiver_count() > 0 {
            let text = panel.json().into();
            panel.newest.send_replace(text);
        }
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(panel: Arc<Panel>, listener: TcpListener) -> anyhow::Result<()> {
    listener.set_nonblocking(true).context("the listener")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("the listener")?;
    let text = |media: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, media)], text) })
    };
    let app = Router::new()
        .route("/", get(index))
        .route("/panel.css", text("text/css; charset=utf-8", CSS))
        .route("/panel.js", text(SCRIPT, JS))
        .route("/operator.js", text(SCRIPT, OPERATOR))
        .route("/drawing.js", text(SCRIPT, DRAWING))
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .route("/live", get(live))
        .route("/camera/{name}", get(camera))
        .route("/reference", get(reference))
        .route("/snapshot", get(snapshot))
        .route("/metrics", get(figures))
        .route("/act", post(act).layer(DefaultBodyLimit::max(ASK_BYTES)))
        .layer(from_fn_with_state(panel.clone(), guard))
        .with_state(panel);
    axum::serve(listener, app).await.context("serving pages")
}

fn said(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The gate, before every route; and what every answer carries.
async fn guard(State(panel): State<Arc<Panel>>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let asking = Asking {
        host: said(headers, header::HOST),
        origin: said(headers, header::ORIGIN),
        authorization: said(headers, header::AUTHORIZATION),
        cookie: said(headers, header::COOKIE),
        query: request.uri().query(),
    };
    let mut response = match panel.gate.access(&asking) {
        Err(refused) => {
            let status = match refused {
                Refused::Token => StatusCode::UNAUTHORIZED,
                Refused::Host | Refused::Origin => StatusCode::FORBIDDEN,
            };
            (status, format!("{refused}\n")).into_response()
        }
        Ok(access) => match panel.gate.cookie_for(&asking) {
            // The token leaves the address bar, and the history with it.
            Some(cookie) if request.uri().path() == "/" => (
                StatusCode::SEE_OTHER,
                [(header::SET_COOKIE, cookie), (header::LOCATION, "/".into())],
            )
                .into_response(),
            _ => {
                let turn = panel.requests.try_acquire();
                // Whoever watches never keeps an order waiting.
                if turn.is_err() && request.uri().path() != "/act" {
                    busy()
                } else {
                    request.extensions_mut().insert(access);
                    next.run(request).await
                }
            }
        },
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn busy() -> Response {
    let text = "too many pages are open: close some\n";
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn index(Extension(access): Extension<Access>) -> Response {
    let html = match access {
        Access::Act => HTML.to_owned(),
        Access::See => HTML.replacen("<body>", "<body class=\"see\">", 1),
    };
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}

async fn snapshot(State(panel): State<Arc<Panel>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], panel.json()).into_response()
}

async fn figures(State(panel): State<Arc<Panel>>) -> Response {
    let ages = panel.pictures.ages(Instant::now());
    let text = {
        let lately = panel.lately.lock().unwrap_or_else(PoisonError::into_inner);
        metrics::text(&lately, &panel.facts, &ages, panel.clock.now())
    };
    ([(header::CONTENT_TYPE, metrics::MEDIA)], text).into_response()
}

async fn act(
    State(panel): State<Arc<Panel>>,
    Extension(access): Extension<Access>,
    body: Bytes,
) -> Response {
    let answer = |status: StatusCode, ok: bool, said: String| {
        let text = serde_json::json!({ "ok": ok, "said": said }).to_string();
        (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
    };
    if access < Access::Act {
        let why = "this page may only watch".to_owned();
        return answer(StatusCode::FORBIDDEN, false, why);
    }
    let ask = match Ask::parse(&body) {
        Ok(ask) => ask,
        Err(why) => return answer(StatusCode::BAD_REQUEST, false, why),
    };
    let desk = panel.desk.clone();
    match tokio::task::spawn_blocking(move || desk.carry_out(ask)).await {
        Ok(Ok(said)) => answer(StatusCode::OK, true, said),
        Ok(Err(e)) => answer(StatusCode::CONFLICT, false, format!("{e:#}")),
        Err(e) => answer(StatusCode::INTERNAL_SERVER_ERROR, false, e.to_string()),
    }
}

async fn camera(State(panel): State<Arc<Panel>>, Path(name): Path<String>, uri: Uri) -> Response {
    let query = uri.query().unwrap_or_default();
    let after = query.split('&').find_map(|p| p.strip_prefix("after="));
    let after = after.and_then(|n| n.parse().ok()).unwrap_or(0);
    let newer = panel.pictures.newer(&name, after);
    let picture = match tokio::time::timeout(PICTURE_WITHIN, newer).await {
        Err(_) => return StatusCode::NO_CONTENT.into_response(),
        Ok(None) => return (StatusCode::NOT_FOUND, "no such camera\n").into_response(),
        Ok(Some(picture)) => picture,
    };
    let n = picture.n;
    match tokio::task::spawn_blocking(move || picture.file()).await {
        Ok(Ok(file)) => image("image/jpeg", file, n),
        Ok(Err(why)) => (StatusCode::BAD_GATEWAY, why).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn image(media: &'static str, file: Bytes, n: u64) -> Response {
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(media))];
    let mut response = (headers, Body::from(file)).into_response();
    response.headers_mut().insert("x-picture", n.into());
    response
}

/// The picture came from the wire: only what begins as a JPEG or PNG file is handed on, as that.
async fn reference(State(panel): State<Arc<Panel>>) -> Response {
    let trial = {
        let lately = panel.lately.lock().unwrap_or_else(PoisonError::into_inner);
        let running = lately.running_eval(panel.clock.now());
        running.filter(|report| report.picture).map(|r| r.trial)
    };
    let none = || (StatusCode::NOT_FOUND, "no reference picture\n").into_response();
    let Some(trial) = trial else { return none() };
    // One asks, and all others wait for it without a thread: orders need those.
    let mut kept = panel.reference.lock().await;
    let file = match kept.as_ref().filter(|(of, _)| *of == trial) {
        Some((_, file)) => file.clone(),
        None => {
            let desk = panel.desk.clone();
            let asked = tokio::task::spawn_blocking(move || desk.picture()).await;
            let Ok(Ok(picture)) = asked else {
                return none();
            };
            let file = Bytes::from(picture.data);
            *kept = Some((picture.trial, file.clone()));
            file
        }
    };
    drop(kept);
    match file.as_ref() {
        [0xff, 0xd8, 0xff, ..] => image("image/jpeg", file, trial),
        [0x89, b'P', b'N', b'G', ..] => image("image/png", file, trial),
        _ => none(),
    }
}

async fn live(
    State(panel): State<Arc<Panel>>,
    Extension(access): Extension<Access>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(turn) = panel.pages.clone().try_acquire_owned() else {
        return busy();
    };
    upgrade
        .max_message_size(SAID_BYTES)
        .max_frame_size(SAID_BYTES)
        .on_upgrade(async move |socket| {
            let page = panel.page.fetch_add(1, Ordering::Relaxed) + 1;
            talk(&panel, socket, page, access).await;
            let desk = panel.desk.clone();
            // It may have to wait for a lock that an order holds.
            let _ = tokio::task::spawn_blocking(move || desk.gone(page)).await;
            drop(turn);
        })
}

/// What a page says over `/live`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// A key that moves the arm; without it, a sign of life.
    key: Option<char>,
}

/// The newest to the page, keys from it, until either ends.
async fn talk(panel: &Panel, mut socket: WebSocket, page: u64, access: Access) {
    let mut newest = panel.newest.subscribe();
    let greeting = serde_json::json!({ "page": page, "act": access == Access::Act }).to_string();
    if !sent(&mut socket, greeting.into()).await {
        return;
    }
    loop {
        tokio::select! {
            changed = newest.changed() => {
                let text = newest.borrow_and_update().clone();
                if changed.is_err() || !sent(&mut socket, text).await {
                    return;
                }
            }
            heard = socket.recv() => match heard {
                Some(Ok(Message::Text(text))) if access == Access::Act => {
                    let Ok(said) = serde_json::from_str::<Said>(text.as_str()) else {
                        return;
                    };
                    match said.key {
                        Some(key) => panel.desk.press(page, key),
                        None => panel.desk.beat(page),
                    }
                }
                Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_) | Message::Close(_)) | Err(_)) | None => return,
            }
        }
    }
}

/// Whether `text` went within [`STUCK`].
async fn sent(socket: &mut WebSocket, text: Utf8Bytes) -> bool {
    let sending = socket.send(Message::Text(text));
    matches!(tokio::time::timeout(STUCK, sending).await, Ok(Ok(())))
}
