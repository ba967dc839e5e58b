//! A guest on another system's network, over loopback: heard, asked, seen to live, and back after that system was restarted.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tactus_wire::{Guest, QueryError};
use zenoh::{Wait, sample::SampleKind};

const WAIT: Duration = Duration::from_secs(10);
const LEASE: Duration = Duration::from_secs(1);

/// A port that nobody listens at.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("tcp/{}", listener.local_addr().expect("a port"))
}

/// The other system: it answers a question with its bytes turned around, and knows who lives.
struct Other {
    session: zenoh::Session,
    alive: Arc<AtomicBool>,
    heard: mpsc::Receiver<Vec<u8>>,
}

impl Other {
    fn start(endpoint: &str) -> Self {
        let text = format!(
            r#"{{ mode: "peer", listen: {{ endpoints: ["{endpoint}"] }}, scouting: {{ multicast: {{ enabled: false }} }} }}"#
        );
        let config = zenoh::Config::from_json5(&text).expect("legal");
        let session = zenoh::open(config).wait().expect("listens");
        let alive = Arc::<AtomicBool>::default();
        let (seen, (to, heard)) = (alive.clone(), mpsc::sync_channel(64));
        session
            .liveliness()
            .declare_subscriber("other/lease/*")
            .history(true)
            .callback(move |sample| {
                seen.store(sample.kind() == SampleKind::Put, Ordering::Relaxed);
            })
            .background()
            .wait()
            .expect("declared");
        session
            .declare_subscriber("other/target")
            .callback(move |sample| {
                let _ = to.try_send(sample.payload().to_bytes().into_owned());
            })
            .background()
            .wait()
            .expect("declared");
        session
            .declare_queryable("other/cmd/turn")
            .callback(|query| {
                let mut bytes = query.payload().expect("a question").to_bytes().into_owned();
                bytes.reverse();
                query.reply("other/cmd/turn", bytes).wait().expect("sent");
            })
            .background()
            .wait()
            .expect("declared");
        Self {
            session,
            alive,
            heard,
        }
    }

    fn sees(&self, alive: bool) {
        let until = Instant::now() + WAIT;
        while self.alive.load(Ordering::Relaxed) != alive {
            assert!(Instant::now() < until, "the token: {alive}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_guest_speaks_asks_is_seen_to_live_and_comes_back_by_itself() {
    let endpoint = free();
    let other = Other::start(&endpoint);
    let guest = Guest::open(&endpoint, WAIT, LEASE).expect("connects");
    assert!(guest.is_connected());
    let (to, states) = mpsc::sync_channel(64);
    let _states = guest
        .subscribe("other/state", move |bytes| {
            let _ = to.try_send(bytes.to_vec());
        })
        .expect("subscribed");
    let targets = guest.publisher("other/target").expect("declared");
    let token = guest.token("other/lease/7").expect("declared");
    // Says and hears, as often as it takes until both know of each other.
    let exchanged = |other: &Other| {
        let until = Instant::now() + WAIT;
        let (mut said, mut heard) = (false, false);
        while !(said && heard) {
            assert!(Instant::now() < until, "said {said}, heard {heard}");
            targets.put(None, b"go").expect("sent");
            other
                .session
                .put("other/state", "here")
                .wait()
                .expect("sent");
            said |= other.heard.try_iter().any(|bytes| bytes == b"go");
            heard |= states.try_iter().any(|bytes| bytes == b"here");
            std::thread::sleep(Duration::from_millis(20));
        }
        other.sees(true);
        let turned = guest.ask("other/cmd/turn", b"abc", WAIT);
        assert_eq!(turned.expect("an answer"), b"cba");
    };
    exchanged(&other);
    let nobody = guest.ask("other/cmd/nothing", b"", Duration::from_millis(300));
    assert!(
        matches!(nobody, Err(QueryError::NoAnswer { .. })),
        "{nobody:?}"
    );

    other.session.close().wait().expect("closed");
    let until = Instant::now() + WAIT;
    while guest.is_connected() {
        assert!(Instant::now() < until, "it notices");
        std::thread::sleep(Duration::from_millis(5));
    }
    let other = Other::start(&endpoint);
    exchanged(&other);
    drop(token);
    other.sees(false);
    guest.close();
}

#[test]
fn a_wrong_endpoint_or_nobody_there_is_named_in_time() {
    let error = |endpoint: &str| {
        let began = Instant::now();
        let opened = Guest::open(endpoint, Duration::from_millis(300), LEASE);
        let text = opened.err().expect("refused").to_string();
        assert!(began.elapsed() < WAIT);
        text
    };
    assert!(error("quic/127.0.0.1:1").contains("`connect`: expected an endpoint such as"));
    let nobody = free();
    assert!(error(&nobody).contains(&nobody));
}
