//! Traces to a collector: OTLP over HTTP with protobuf payloads, as collectors take them on port 4318.
//!
//! One thread, one `POST` a second at most, a bounded queue before it: where no collector answers, traces are dropped, and
//! that is said once. Nothing waits for it. Written down here are the few messages that a trace needs, with the numbers of
//! opentelemetry-proto 1; the crates of OpenTelemetry bring no HTTP client that fits here, and would have to be told the times
//! of spans that others measured. Without TLS: a collector on this machine, or one behind `ssh -L`, forwards to anywhere.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use prost::Message as _;
use tactus_types::{Clock, Time};
use tactus_wire::{ChunkReply, Delivery, Subscriber, Telemetry, Topic};

use super::trace::{Span, Trace, Tracer, Value};
use crate::cell::Cell;
use crate::roles::Joined;

/// Between two posts.
const EVERY: Duration = Duration::from_secs(1);
/// Traces that wait for one at most.
const TRACES: usize = 256;
/// Messages that wait for the thread at most: four seconds of them.
const MESSAGES: usize = 256;
/// How long a collector may take to accept a connection, and to answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Longest head of an answer, bytes.
const MAX_HEAD: usize = 16 << 10;

/// Where a collector listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    authority: String,
    path: String,
}

impl FromStr for Collector {
    type Err = String;

    /// `http://HOST[:PORT][/PATH]`; as `OTEL_EXPORTER_OTLP_ENDPOINT` it is the base of `/v1/traces`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || format!("expected http://HOST[:PORT] (not https), got `{text}`");
        let rest = text.strip_prefix("http://").ok_or_else(expected)?;
        if !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(expected());
        }
        let (authority, base) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let bare = authority.rsplit(']').next().unwrap_or_default();
        let authority = match bare.contains(':') {
            true => authority.to_owned(),
            false => format!("{authority}:4318"),
        };
        let port = authority
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if authority.starts_with(':') || !matches!(port, Some(Ok(1..))) || base.contains(['?', '#'])
        {
            return Err(expected());
        }
        let base = base.trim_end_matches('/');
        let path = match base.ends_with("/v1/traces") {
            true => base.to_owned(),
            false => format!("{base}/v1/traces"),
        };
        Ok(Self { authority, path })
    }
}

impl std::fmt::Display for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

impl Collector {
    /// Posts an encoded request.
    fn post(&self, body: &[u8]) -> anyhow::Result<()> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its host has no address");
        for address in self.authority.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_WITHIN) {
                Ok(stream) => return self.talk(stream, body),
                Err(e) => last = e,
            }
        }
        Err(last.into())
    }

    fn talk(&self, mut stream: TcpStream, body: &[u8]) -> anyhow::Result<()> {
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: tactus/{}\r\nContent-Type: application/x-protobuf\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.path,
            self.authority,
            env!("CARGO_PKG_VERSION"),
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let until = Instant::now() + ANSWER_WITHIN;
        let (mut answer, mut part) = (Vec::new(), [0; 1024]);
        while !answer.contains(&b'\n') && answer.len() < MAX_HEAD && Instant::now() < until {
            match stream.read(&mut part)? {
                0 => break,
                n => answer.extend_from_slice(&part[..n]),
            }
        }
        let line = String::from_utf8_lossy(answer.split(|b| *b == b'\r').next().unwrap_or(&[]));
        let code = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse::<u16>().ok());
        ensure!(matches!(code, Some(200..=299)), "it answers `{line}`");
        Ok(())
    }
}

/// What was heard.
enum Heard {
    Reply(Box<Delivery<ChunkReply>>),
    Telemetry(Box<Telemetry>),
}

/// Keeps the subscriptions, and the thread that posts.
pub struct Exporting {
    _subscriptions: [Subscriber; 2],
    done: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Exporting {
    /// Exports the chunks of `cell` to `collector`, until this is dropped.
    ///
    /// # Errors
    /// When a key cannot be subscribed or the thread cannot be started; never because no collector answers.
    pub fn start(cell: &Cell, joined: &Joined, collector: Collector) -> anyhow::Result<Self> {
        let (to, heard) = sync_channel(MESSAGES);
        let also_to = to.clone();
        // What does not fit is dropped: this is a thread of Zenoh's.
        let reply = move |m: Result<Delivery<ChunkReply>, _>| {
            if let Ok(delivery) = m {
                let _: Result<(), TrySendError<_>> = to.try_send(Heard::Reply(Box::new(delivery)));
            }
        };
        let telemetry = move |m: Result<Delivery<Telemetry>, _>| {
            if let Ok(delivery) = m {
                let _ = also_to.try_send(Heard::Telemetry(Box::new(delivery.message)));
            }
        };
        let key = |topic: fn(tactus_wire::Name) -> Topic| cell.wire.key(&topic(cell.arm.clone()));
        let subscriptions = [
            joined.session.subscribe(&key(Topic::ArmChunk), reply)?,
            joined
                .session
                .subscribe(&key(Topic::ArmTelemetry), telemetry)?,
        ];
        let done = Arc::new(AtomicBool::new(false));
        let mut exporter = Exporter {
            tracer: Tracer::new(cell.budget),
            resource: resource(cell),
            unix_offset: joined.clock.unix_offset(),
            clock: joined.clock.clone(),
            collector,
            failed: false,
        };
        let until = done.clone();
        let thread = std::thread::Builder::new()
            .name("panel-otlp".into())
            .spawn(move || exporter.run(&heard, &until))
            .context("thread `panel-otlp`")?;
        Ok(Self {
            _subscriptions: subscriptions,
            done,
            thread: Some(thread),
        })
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Exporter {
    tracer: Tracer,
    resource: pb::Resource,
    unix_offset: Duration,
    clock: Arc<dyn Clock>,
    collector: Collector,
    failed: bool,
}

impl Exporter {
    fn run(&mut self, heard: &Receiver<Heard>, done: &AtomicBool) {
        let (mut traces, mut at) = (Vec::new(), Instant::now() + EVERY);
        loop {
            let trace = match heard.recv_timeout(Duration::from_millis(100)) {
                Ok(Heard::Reply(delivery)) => self.tracer.reply(*delivery),
                Ok(Heard::Telemetry(telemetry)) => self.tracer.telemetry(&telemetry),
                Err(RecvTimeoutError::Timeout) => self.tracer.expired(self.clock.now()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            traces.extend(trace);
            let ending = done.load(Ordering::Relaxed);
            if ending || Instant::now() >= at || traces.len() >= TRACES {
                while let Some(trace) = self.tracer.expired(self.clock.now()) {
                    traces.push(trace);
                }
                self.post(&std::mem::take(&mut traces));
                at = Instant::now() + EVERY;
            }
            if ending {
                return;
            }
        }
    }

    fn post(&mut self, traces: &[Trace]) {
        if traces.is_empty() {
            return;
        }
        let request = request(traces, &self.resource, self.unix_offset);
        let failed = self.collector.post(&request.encode_to_vec()).err();
        match &failed {
            Some(e) if !self.failed => tracing::warn!(
                "traces are dropped until {} takes them: {e:#}",
                self.collector
            ),
            None if self.failed => tracing::info!("{} takes traces again", self.collector),
            Some(_) | None => {}
        }
        self.failed = failed.is_some();
    }
}

fn resource(cell: &Cell) -> pb::Resource {
    let text = |key: &str, value: &str| attribute(key, Value::Text(value.to_owned()));
    pb::Resource {
        attributes: vec![
            text("service.name", "tactus"),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", cell.name.as_str()),
            text("tactus.cell", cell.name.as_str()),
            text("tactus.arm", cell.arm.as_str()),
        ],
    }
}

fn request(
    traces: &[Trace],
    resource: &pb::Resource,
    unix_offset: Duration,
) -> pb::ExportTraceServiceRequest {
    let nanos = |at: Time| {
        let unix = unix_offset + at.since(Time::ZERO);
        u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)
    };
    let span = |trace: &Trace, span: &Span| pb::Span {
        trace_id: trace.id.to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map_or(vec![], |id| id.to_be_bytes().to_vec()),
        name: span.name.to_owned(),
        kind: pb::INTERNAL,
        start_time_unix_nano: nanos(span.begin),
        end_time_unix_nano: nanos(span.end),
        attributes: span
            .attributes
            .iter()
            .map(|(key, value)| attribute(key, value.clone()))
            .collect(),
        status: span.error.as_ref().map(|message| pb::Status {
            message: message.clone(),
            code: pb::ERROR,
        }),
    };
    let spans = traces
        .iter()
        .flat_map(|t| t.spans.iter().map(move |s| span(t, s)));
    pb::ExportTraceServiceRequest {
        resource_spans: vec![pb::ResourceSpans {
            resource: Some(resource.clone()),
            scope_spans: vec![pb::ScopeSpans {
                scope: Some(pb::InstrumentationScope {
                    name: "tactus.chunk".into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                }),
                spans: spans.collect(),
            }],
        }],
    }
}

fn attribute(key: &str, value: Value) -> pb::KeyValue {
    let value = match value {
        Value::Text(text) => pb::Any::Text(text),
        Value::Flag(flag) => pb::Any::Flag(flag),
        Value::Count(n) => pb::Any::Int(i64::try_from(n).unwrap_or(i64::MAX)),
        Value::Number(x) => pb::Any::Number(x),
    };
    pb::KeyValue {
        key: key.to_owned(),
        value: Some(pb::AnyValue { value: Some(value) }),
    }
}

/// What of opentelemetry-proto 1 (trace, common, resource, collector/trace) is said here.
mod pb {
    #![allow(missing_docs, reason = "opentelemetry-proto documents them")]

    pub const INTERNAL: i32 = 1;
    pub const ERROR: i32 = 2;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ExportTraceServiceRequest {
        #[prost(message, repeated, tag = "1")]
        pub resource_spans: Vec<ResourceSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ResourceSpans {
        #[prost(message, optional, tag = "1")]
        pub resource: Option<Resource>,
        #[prost(message, repeated, tag = "2")]
        pub scope_spans: Vec<ScopeSpans>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "1")]
        pub attributes: Vec<KeyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct ScopeSpans {
        #[prost(message, optional, tag = "1")]
        pub scope: Option<InstrumentationScope>,
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct InstrumentationScope {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub version: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Span {
        #[prost(bytes = "vec", tag = "1")]
        pub trace_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "2")]
        pub span_id: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub parent_span_id: Vec<u8>,
        #[prost(string, tag = "5")]
        pub name: String,
        #[prost(int32, tag = "6")]
        pub kind: i32,
        #[prost(fixed64, tag = "7")]
        pub start_time_unix_nano: u64,
        #[prost(fixed64, tag = "8")]
        pub end_time_unix_nano: u64,
        #[prost(message, repeated, tag = "9")]
        pub attributes: Vec<KeyValue>,
        #[prost(message, optional, tag = "15")]
        pub status: Option<Status>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Status {
        #[prost(string, tag = "2")]
        pub message: String,
        #[prost(int32, tag = "3")]
        pub code: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct KeyValue {
        #[prost(string, tag = "1")]
        pub key: String,
        #[prost(message, optional, tag = "2")]
        pub value: Option<AnyValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct AnyValue {
        #[prost(oneof = "Any", tags = "1, 2, 3, 4")]
        pub value: Option<Any>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Any {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Flag(bool),
        #[prost(int64, tag = "3")]
        Int(i64),
        #[prost(double, tag = "4")]
        Number(f64),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_collector_is_named_as_its_base_or_in_full() {
        for (text, full) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://otel", "http://otel:4318/v1/traces"),
            ("http://[::1]", "http://[::1]:4318/v1/traces"),
            ("http://[::1]:9/", "http://[::1]:9/v1/traces"),
            ("http://otel:80/in/", "http://otel:80/in/v1/traces"),
            ("http://otel:80/v1/traces", "http://otel:80/v1/traces"),
        ] {
            let parsed = text.parse::<Collector>().map(|c| c.to_string());
            assert_eq!(parsed.as_deref(), Ok(full), "{text}");
        }
        for wrong in [
            "https://otel",
            "otel:4318",
            "http://",
            "http://:4318",
            "http://otel:0",
            "http://a b",
            "http://otel:x",
        ] {
            assert!(wrong.parse::<Collector>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_counts_only_when_it_says_so_and_a_silent_collector_is_left() {
        let answers: [(&[u8], bool); 4] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            (b"HTTP/1.1 415 Unsupported Media Type\r\n\r\n", false),
            (b"SSH-2.0-OpenSSH\r\n", false),
            (b"", false),
        ];
        for (answer, taken) in answers {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let at = listener.local_addr().expect("an address");
            let serve = move || {
                let (mut stream, _) = listener.accept().expect("a post");
                let mut seen = Vec::new();
                let mut part = [0; 256];
                while !seen.ends_with(b"body") {
                    let n = stream.read(&mut part).expect("read");
                    seen.extend_from_slice(&part[..n]);
                }
                stream.write_all(answer).expect("answered");
                String::from_utf8(seen).expect("text")
            };
            let serving = std::thread::Builder::new().name("collector".into());
            let serving = serving.spawn(serve).expect("a thread");
            let collector: Collector = format!("http://{at}").parse().expect("an address");
            assert_eq!(collector.post(b"body").is_ok(), taken, "{answer:?}");
            let seen = serving.join().expect("served");
            assert!(seen.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{seen}");
            assert!(seen.contains("\r\nContent-Length: 4\r\n"), "{seen}");
        }
    }
}
