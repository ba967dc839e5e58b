//! A cell with keys under attack, as processes over loopback: whoever has no certificate, one of another authority, one of
//! another role, or somebody else's lease moves nothing, stops nothing, and is counted.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tactus_types::{Applied, Clock, ClockId, LeaseId, Rank, Time, Under};
use tactus_wire::{
    Authority, Key, LeaseReply, LeaseRequest, LeasedOrder, Member, ModeOrder, ModeOrderReply,
    ModeReport, ModeWord, MonotonicClock, Name, Qos, QueryError, Session, SessionOptions, Topic,
};

mod cell;
use cell::{Cell, arm, cell_file, operator, options_as, tactus};

const WAIT: Duration = Duration::from_secs(3);

fn with_keys(text: String) -> String {
    // What is tested is who is heard, not how punctual this machine is.
    let text = text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ");
    text + "\n[security]\nkeys = \"keys\"\noperators = [\"anna\", \"ben\"]\n"
}

fn name(text: &str) -> Name {
    Name::new(text).expect("legal")
}

/// A session of this cell as `member`, with the keys of its own folder.
fn enters(cell: &Cell, member: Member) -> Session {
    let mut security = operator(&cell.file, "ben").expect("a cell with keys");
    security.member = member;
    let options = SessionOptions {
        connect: vec![cell.endpoint.clone()],
        ..options_as(Some(security))
    };
    let clock = Arc::new(MonotonicClock::new().expect("a clock"));
    let session = Session::open(&options, "attacker", clock).expect("it is a member");
    // Everyone has met everyone: the seed and the four roles.
    let until = Instant::now() + WAIT;
    while session.peers().len() < 5 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    session
}

/// What is said to who trusts the authority of `keys`, and shows the certificate of `who` or none.
fn at_the_door(keys: &Path, address: &str, who: Option<&str>) -> String {
    let certificates = |file: &str| -> Vec<CertificateDer<'static>> {
        let read = CertificateDer::pem_file_iter(keys.join(file)).expect("certificates");
        read.collect::<Result<_, _>>().expect("certificates")
    };
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates("ca.pem"));
    assert_eq!(added, 1);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match who {
        None => config.with_no_client_auth(),
        Some(who) => {
            let key = PrivateKeyDer::from_pem_file(keys.join(format!("{who}.key")));
            let shown = certificates(&format!("{who}.pem"));
            let config = config.with_client_auth_cert(shown, key.expect("a key"));
            config.expect("a pair")
        }
    };
    // Members' certificates are made out to it.
    let name = "localhost".try_into().expect("a name");
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut tcp = std::net::TcpStream::connect(address).expect("it listens");
    tcp.set_read_timeout(Some(Duration::from_millis(500)))
        .expect("set");
    let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
    let sent = stream.write_all(b"anybody there?");
    match sent.and_then(|()| stream.read(&mut [0; 64])) {
        Ok(bytes) => format!("{bytes} bytes"),
        Err(e) => e.to_string(),
    }
}

fn floods(session: &Session, key: &Key, bytes: &[u8], times: usize) {
    let publisher = session.publisher_raw(key, Qos::RealTime).expect("declared");
    for _ in 0..times {
        let _ = publisher.put(Some(bytes), bytes);
    }
}

/// What the arm was commanded so far, and the newest report.
fn seen(cell: &Cell) -> (Vec<Applied>, ModeReport) {
    let applied = cell.applied.lock().expect("unpoisoned").clone();
    (applied, cell.mode().expect("a report"))
}

fn still(cell: &Cell, after: &str) {
    let (applied, report) = seen(cell);
    let first = applied.first().expect("it is commanded").command.q;
    let moved = applied.iter().find(|a| a.command.q != first);
    assert!(moved.is_none(), "after {after}: {moved:?}");
    assert_eq!(
        report.mode,
        ModeWord::Ready,
        "after {after}: {}",
        report.reason
    );
}

/// Waits until `count` of the reports has reached `least`.
fn counted(cell: &Cell, what: &str, least: u64, count: impl Fn(&ModeReport) -> u64) {
    cell.wait(what, WAIT, || {
        cell.mode().is_some_and(|m| count(&m) >= least)
    });
}

/// A clock that lies.
struct Forged;

impl Clock for Forged {
    fn id(&self) -> ClockId {
        ClockId(0x0bad)
    }

    fn now(&self) -> Time {
        Time::from_nanos(1)
    }
}

#[test]
fn nobody_moves_or_stops_the_arm_who_may_not_and_each_is_counted() {
    // As `tactus` does in a cell with keys: Zenoh's TLS link wants one thread to read and write.
    // SAFETY: no other thread of this test reads the environment.
    unsafe {
        std::env::set_var(
            "ZENOH_RUNTIME",
            "(rx: (handover: app), tx: (handover: app))",
        )
    };
    let cell = Cell::start(with_keys);
    let ttl = Duration::from_secs(20);
    let anna = Authority::acquire(&cell.session, &cell.wire, &arm(), "anna", Rank::Teleop, ttl);
    let anna = anna.expect("the lease is free");
    let enabled = anna
        .order(&ModeOrder::Enable, false, WAIT)
        .expect("an answer");
    assert!(enabled.accepted, "{enabled:?}");
    cell.wait("it is ready", WAIT, || {
        cell.mode().is_some_and(|m| m.mode == ModeWord::Ready)
            && !cell.applied.lock().expect("unpoisoned").is_empty()
    });
    cell.applied.lock().expect("unpoisoned").clear();
    std::thread::sleep(Duration::from_millis(200));
    still(&cell, "nothing");

    // Another cell's authority, for the same names.
    let dir = tempfile::tempdir().expect("a folder");
    let others = operator(&cell_file(dir.path(), with_keys), "anna");
    let options = SessionOptions {
        connect: vec![cell.endpoint.clone()],
        connect_timeout: Duration::from_millis(500),
        ..options_as(others)
    };
    let clock = Arc::new(MonotonicClock::new().expect("a clock"));
    match Session::open(&options, "stranger", clock) {
        Err(_) => {}
        Ok(stranger) => {
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(stranger.peers(), Vec::<String>::new(), "nobody talks to it");
        }
    }
    // No certificate, of one who knows the cell's authority.
    let address = cell.endpoint.strip_prefix("tls/").expect("encrypted");
    let keys = cell.file.parent().expect("a folder").join("keys");
    let said = at_the_door(&keys, address, None);
    assert!(said.contains("CertificateRequired"), "{said}");
    let said = at_the_door(&keys, address, Some("operator-anna"));
    assert!(!said.contains("Certificate"), "a member is heard: {said}");
    // No TLS.
    for bytes in [
        vec![0u8; 4096],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0x16, 3, 1, 0xff, 0xff],
    ] {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .expect("set");
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 64]);
    }
    still(&cell, "strangers");

    // A member, but of another role: what it may not say reaches nobody.
    let camera = enters(&cell, Member::Camera);
    let key = |topic: Topic| cell.wire.key(&topic);
    let who = name("operator-anna");
    floods(
        &camera,
        &key(Topic::DeviceCommand(name("sim"))),
        &[1; 40],
        20,
    );
    floods(&camera, &key(Topic::ArmChunk(arm())), &[1; 40], 20);
    floods(
        &camera,
        &key(Topic::ArmSetpoint(arm(), who.clone())),
        &[1; 40],
        20,
    );
    let acquire = LeaseRequest::Acquire {
        holder: "anna".into(),
        rank: Rank::Teleop,
        ttl,
    };
    let lease_key = key(Topic::ArmLease(arm(), who.clone()));
    let asked = camera.query::<_, LeaseReply>(&lease_key, &acquire, Duration::from_millis(500));
    assert!(
        matches!(asked, Err(QueryError::NoAnswer { .. })),
        "{asked:?}"
    );
    counted(&cell, "what the camera said was dropped", 41, |m| {
        m.counters.denied
    });
    still(&cell, "a camera that commands");

    // Another operator, in anna's name, and under anna's lease in its own.
    let ben = enters(&cell, Member::Operator(name("ben")));
    let order = |sequence| LeasedOrder {
        order: ModeOrder::HandBack,
        under: Some(Under {
            lease: anna.lease(),
            sequence,
            bound: false,
        }),
    };
    let in_annas_name = key(Topic::ArmOrder(arm(), who.clone()));
    let asked =
        ben.query::<_, ModeOrderReply>(&in_annas_name, &order(1000), Duration::from_millis(500));
    assert!(
        matches!(asked, Err(QueryError::NoAnswer { .. })),
        "{asked:?}"
    );
    let stolen = |asked: Result<String, QueryError>| match asked {
        Err(QueryError::Refused { reason, .. }) => {
            assert!(reason.contains("`operator-anna`'s"), "{reason}");
        }
        other => panic!("{other:?}"),
    };
    let own = ben.order_key(&cell.wire, &arm());
    stolen(
        ben.query::<_, ModeOrderReply>(&own, &order(1000), WAIT)
            .map(|d| format!("{d:?}")),
    );
    let own = ben.lease_key(&cell.wire, &arm());
    for request in [
        LeaseRequest::Renew {
            lease: anna.lease(),
        },
        LeaseRequest::Release {
            lease: anna.lease(),
        },
    ] {
        stolen(
            ben.query::<_, LeaseReply>(&own, &request, WAIT)
                .map(|d| format!("{d:?}")),
        );
    }
    // A member that asks for more than its rank, and anna's own order once more.
    let launch = enters(&cell, Member::Launch);
    let own = launch.lease_key(&cell.wire, &arm());
    match launch.query::<_, LeaseReply>(&own, &acquire, WAIT) {
        Err(QueryError::Refused { reason, .. }) => {
            assert!(reason.contains("rank teleop"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    let replayed = cell.session.query::<_, ModeOrderReply>(
        &cell.session.order_key(&cell.wire, &arm()),
        &order(1),
        WAIT,
    );
    let replayed = replayed.expect("an answer").message;
    assert!(
        !replayed.accepted && replayed.message.contains("sequence 1"),
        "{replayed:?}"
    );
    counted(&cell, "who was turned away", 4, |m| m.counters.turned_away);
    counted(&cell, "the replay", 1, |m| m.counters.orders_refused);
    still(&cell, "leases that are others'");

    // Somebody else's clock.
    let forger = {
        let mut security = operator(&cell.file, "ben").expect("keys");
        security.member = Member::Camera;
        let options = SessionOptions {
            connect: vec![cell.endpoint.clone()],
            ..options_as(Some(security))
        };
        Session::open(&options, "forger", Arc::new(Forged)).expect("a member")
    };
    let clock_key = key(Topic::Clock(name("arm-arm")));
    forger.answer_pings(&clock_key).expect("declared");
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..20 {
        let answered = cell.session.ping(&clock_key, WAIT);
        let clock = answered.expect("the arm host answers").clock;
        assert_ne!(clock, ClockId(0x0bad));
    }

    still(&cell, "forged clocks");
    // A flood: ten thousand a second of what is nothing, too much, or under no lease, and questions without end.
    let (_, before) = seen(&cell);
    let (done, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let setpoints = ben.setpoint_key(&cell.wire, &arm());
    let publisher = ben
        .publisher_raw(&setpoints, Qos::RealTime)
        .expect("declared");
    let flood = {
        let (done, sent) = (done.clone(), sent.clone());
        let oversized = vec![7; 4 << 20];
        std::thread::Builder::new().spawn(move || {
            let begun = Instant::now();
            let mut next = 0;
            while !done.load(Ordering::Relaxed) {
                let due = (begun.elapsed().as_secs_f64() * 10_000.0) as u64;
                while next < due {
                    next += 1;
                    let _ = publisher.put(Some(&[9; 30]), &[9; 100]);
                }
                if next % 5000 < 20 {
                    let _ = publisher.put(Some(&[9; 30]), &oversized);
                }
                sent.store(next, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            }
        })
    };
    let until = Instant::now() + Duration::from_secs(3);
    let own = ben.lease_key(&cell.wire, &arm());
    while Instant::now() < until {
        let renew = LeaseRequest::Renew { lease: LeaseId(1) };
        let _ = ben.query::<_, LeaseReply>(&own, &renew, Duration::from_millis(50));
    }
    done.store(true, Ordering::Relaxed);
    flood.expect("a thread").join().expect("it ends");
    assert!(sent.load(Ordering::Relaxed) > 10_000, "{sent:?} sent");
    counted(&cell, "ticks go on", before.counters.ticks + 1000, |m| {
        m.counters.ticks
    });
    still(&cell, "a flood");

    // Nobody was kept from anything: anna still commands, and anyone of the cell may stop the arm.
    let state = *cell
        .states
        .lock()
        .expect("unpoisoned")
        .last()
        .expect("a state");
    let mut q = state.q;
    q[0] += if q[0] > 0.0 { -0.1 } else { 0.1 };
    let goto = ModeOrder::Goto {
        q,
        opening: None,
        speed: 0.5,
    };
    let reply = anna.order(&goto, false, WAIT).expect("an answer");
    assert!(reply.accepted, "{reply:?}");
    cell.wait("it gets there", 3 * WAIT, || {
        let state = cell.states.lock().expect("unpoisoned").last().copied();
        state.is_some_and(|s| (s.q[0] - q[0]).abs() < 0.02)
    });
    let stop = key(Topic::ArmStop(arm()));
    let stopped = camera.query::<_, ModeOrderReply>(&stop, &tactus_wire::Nothing, WAIT);
    assert_eq!(stopped.expect("an answer").message.mode, ModeWord::Stopped);
}

#[test]
fn keys_are_made_once_kept_secret_and_asked_for_by_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let plain = cell_file(dir.path(), |text| text);
    let said = |args: &[&str]| {
        let output = tactus(args);
        assert!(!output.status.success(), "{args:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let file = plain.display().to_string();
    let none = said(&["keys", "init", &file]);
    assert!(
        none.contains("[security]") && none.contains("keys = "),
        "{none}"
    );
    // In the clear, beyond this host: only where it is asked for.
    let open = said(&["arm", "--cell", &file, "--listen", "tcp/0.0.0.0:0"]);
    assert!(
        open.contains("--plain-network") && open.contains("tactus keys init"),
        "{open}"
    );

    let file = cell_file(dir.path(), with_keys).display().to_string();
    let missing = said(&["arm", "--cell", &file]);
    assert!(
        missing.contains("ca.pem") && missing.contains("tactus keys init"),
        "{missing}"
    );
    assert!(tactus(&["keys", "init", &file]).status.success());
    let keys = dir.path().join("keys");
    let read = |name: &str| std::fs::read(keys.join(name)).expect("there");
    let (ca, key) = (read("ca.pem"), read("operator-ben.key"));
    assert!(tactus(&["keys", "init", &file]).status.success());
    assert_eq!(
        (ca, key),
        (read("ca.pem"), read("operator-ben.key")),
        "nothing is made twice"
    );
    // Half of a pair is no pair.
    std::fs::remove_file(keys.join("record.pem")).expect("removed");
    let half = said(&["keys", "init", &file]);
    assert!(half.contains("record.pem"), "{half}");

    let order = [
        "order",
        "--cell",
        &file,
        "--connect",
        "tls/127.0.0.1:9",
        "status",
    ];
    let which = said(&order);
    assert!(which.contains("anna, ben are here"), "{which}");
    let eve = said(&[&order[..], &["--operator", "eve"]].concat());
    assert!(eve.contains("got `eve`"), "{eve}");
    let clear = said(&[
        "order",
        "--cell",
        &file,
        "--connect",
        "tcp/127.0.0.1:9",
        "--operator",
        "anna",
        "status",
    ]);
    assert!(
        clear.contains("tls/") && clear.contains("tcp/127.0.0.1:9"),
        "{clear}"
    );
    use std::os::unix::fs::PermissionsExt;
    let loose = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(keys.join("arm-arm.key"), loose).expect("set");
    let loose = said(&["arm", "--cell", &file]);
    assert!(
        loose.contains("arm-arm.key") && loose.contains("600"),
        "{loose}"
    );
}
