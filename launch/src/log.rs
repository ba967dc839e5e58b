//! Where this process logs to: stderr, or a file while the live view has the terminal.
//!
//! Decides nothing about what is logged; `--log` does.

use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use anyhow::Context;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context as Of, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// The file that replaces stderr, while there is one.
static ASIDE: Mutex<Option<File>> = Mutex::new(None);

/// Libraries are heard from `warn` on. Zenoh's orchestrator warns when a peer that gossip told of is gone by the time it
/// is called, as every short-lived process (`tactus order`) soon is; what a user can mend comes back as an error. Its TLS
/// warns that names of machines are not checked, which is as it is meant.
const LIBRARIES: &str = "zenoh=warn,zenoh::net::runtime::orchestrator=error,\
     zenoh_link_tls::utils=error,ort=warn";

/// Where Zenoh says what became of a message by its access rules; for whoever wants to know, at the level `trace`.
const ACCESS: &str = "zenoh::net::routing::interceptor::access_control";

/// Whether denials are counted: only in processes that report them, since each message that passes then costs an event.
static COUNTED: AtomicBool = AtomicBool::new(false);
static DENIED: LazyLock<Arc<AtomicU64>> = LazyLock::new(Arc::default);

/// Starts logging at `level`, a `tracing` filter.
pub fn start(level: &str) {
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(Lines)
        .with_target(false)
        // It would tell on stderr, and panic where that is what could not be written.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(EnvFilter::new(format!("{level},{LIBRARIES}")));
    let of_access = |event: &Metadata<'_>| event.target() == ACCESS;
    tracing_subscriber::registry()
        .with(lines)
        .with(Denials.with_filter(filter_fn(of_access)))
        .init();
}

/// Messages that Zenoh drops from now on because their sender may not say them; in every session of this process.
pub fn count_denials() -> Arc<AtomicU64> {
    COUNTED.store(true, Ordering::Relaxed);
    DENIED.clone()
}

/// Counts what Zenoh says it denies.
struct Denials;

impl<S: Subscriber> Layer<S> for Denials {
    fn on_event(&self, event: &Event<'_>, _: Of<'_, S>) {
        if !COUNTED.load(Ordering::Relaxed) {
            return;
        }
        let mut denied = Denied(false);
        event.record(&mut denied);
        if denied.0 {
            DENIED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether an event says that something that came in was denied.
struct Denied(bool);

impl Visit for Denied {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let text = format!("{value:?}");
            self.0 = text.contains(" is unauthorized to ") && text.contains("(ingress)");
        }
    }
}

/// Logging goes to `file` until this is dropped.
#[must_use = "dropping it turns logging back to stderr"]
pub struct Aside;

/// Turns logging to `file`, which is created or appended to.
///
/// # Errors
/// When the file cannot be opened.
pub fn aside(file: &Path) -> anyhow::Result<Aside> {
    let opened = File::options().create(true).append(true).open(file);
    let opened = opened.with_context(|| format!("log {}", file.display()))?;
    *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
    Ok(Aside)
}

impl Drop for Aside {
    fn drop(&mut self) {
        *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

struct Lines;

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write(bytes),
            None => std::io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut *ASIDE.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.flush(),
            None => std::io::stderr().flush(),
        }
    }
}
