//! Links between hosts: those that come back by themselves, those through a router, and the time of a host that is not the arm's.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use prost::Message as _;
use tactus_types::{Clock, ClockId, JointState, JointVec, Time};
use tactus_wire::{
    Cell, CellClock, Delivery, MonotonicClock, Name, Session, SessionOptions, Subscriber, Topic,
    WireError,
};
use zenoh::Wait;

/// With room: these are processes' sockets on a machine with neighbours.
const WAIT: Duration = Duration::from_secs(20);

/// The arm's host's clock: 4321 s ahead of this one's.
struct Elsewhere(MonotonicClock);

impl Clock for Elsewhere {
    fn id(&self) -> ClockId {
        ClockId(7)
    }

    fn now(&self) -> Time {
        self.0.now() + Duration::from_secs(4321)
    }
}

fn own() -> Arc<dyn Clock> {
    Arc::new(MonotonicClock::new().expect("boot id"))
}

fn arms() -> Arc<dyn Clock> {
    Arc::new(Elsewhere(MonotonicClock::new().expect("boot id")))
}

fn name(name: &str) -> Name {
    Name::new(name).expect("name")
}

fn cell() -> Cell {
    Cell::new("test").expect("name")
}

fn port() -> u16 {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    port.expect("a port").port()
}

fn named(listen: &[String], connect: &[String]) -> SessionOptions {
    SessionOptions {
        listen: listen.to_vec(),
        connect: connect.to_vec(),
        named_links: true,
        ..SessionOptions::default()
    }
}

fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + WAIT;
    while Instant::now() < until {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

type States = mpsc::Receiver<Result<Delivery<JointState>, WireError>>;

fn states(session: &Session) -> (Subscriber, States) {
    let (sender, receiver) = mpsc::sync_channel(1024);
    let key = cell().key(&Topic::DeviceState(name("d")));
    let subscriber = session
        .subscribe(&key, move |delivery| {
            let _ = sender.try_send(delivery);
        })
        .expect("subscriber");
    (subscriber, receiver)
}

/// Says its joint state; whether it could is another matter.
fn says(session: &Session) {
    let key = cell().key(&Topic::DeviceState(name("d")));
    let publisher = session.publisher(&key).expect("publisher");
    let state = JointState {
        captured_at: session.clock().now(),
        seq: 1,
        epoch: 1,
        q: JointVec::zeros(6),
        dq: JointVec::zeros(6),
        opening: 0.5,
        torque: true,
    };
    publisher.put(&state).expect("put");
}

/// Whether what `from` says from now on comes to whoever `states` belongs to.
fn heard(from: &Session, states: &States) -> bool {
    while states.try_recv().is_ok() {}
    eventually(|| {
        says(from);
        states.recv_timeout(Duration::from_millis(50)).is_ok()
    })
}

/// What lies between two hosts: passes on whatever comes at `at` to `to`, until it is cut, when it swallows everything in
/// silence, as a switch does whose cable is out.
struct Cable {
    cut: Arc<AtomicBool>,
    at: String,
}

impl Cable {
    fn lay(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = format!("tcp/{}", listener.local_addr().expect("an address"));
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = cut.clone();
        std::thread::Builder::new()
            .name("cable".into())
            .spawn(move || {
                for near in listener.incoming().flatten() {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", to)) else {
                        continue;
                    };
                    for (from, to) in [(&near, &far), (&far, &near)] {
                        let (from, to) = (from.try_clone().expect("a socket"), to.try_clone());
                        let (to, cut) = (to.expect("a socket"), is_cut.clone());
                        std::thread::Builder::new()
                            .spawn(move || Self::pass(from, to, &cut))
                            .expect("a thread");
                    }
                }
            })
            .expect("a thread");
        Self { cut, at }
    }

    fn pass(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool) {
        let mut bytes = [0; 16_384];
        // A stream of which something was swallowed is of no use any more, but nobody is told.
        let mut lost = false;
        while let Ok(n @ 1..) = from.read(&mut bytes) {
            lost |= cut.load(Ordering::Relaxed);
            if !lost && to.write_all(&bytes[..n]).is_err() {
                return;
            }
        }
    }
}

#[test]
fn a_named_link_comes_by_itself_whoever_is_there_first_and_again_after_a_silent_cut() {
    let port = port();
    let cable = Cable::lay(port);
    // Nobody listens there yet.
    let options = named(
        &[format!("tcp/127.0.0.1:{}", self::port())],
        std::slice::from_ref(&cable.at),
    );
    let engine = Session::open(&options, "engine/e", own()).expect("it need not be there");
    assert_eq!(engine.peers(), Vec::<String>::new());
    let listens = [format!("tcp/127.0.0.1:{port}")];
    let arm = Session::open(&named(&listens, &[]), "arm/a", own()).expect("listens");
    let (_subscriber, from_engine) = states(&arm);
    assert!(heard(&engine, &from_engine), "the first link");

    cable.cut.store(true, Ordering::Relaxed);
    let gone = || arm.peers().is_empty() && engine.peers().is_empty();
    assert!(eventually(gone), "both notice the silence");
    cable.cut.store(false, Ordering::Relaxed);
    let began = Instant::now();
    assert!(heard(&engine, &from_engine), "the cable is back in");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");

    // And after a process has been started again in the other's place.
    arm.close();
    drop(arm);
    assert!(eventually(|| engine.peers().is_empty()));
    let arm = Session::open(&named(&listens, &[]), "arm/a", own()).expect("listens again");
    let (_subscriber, from_engine) = states(&arm);
    assert!(heard(&engine, &from_engine), "the next arm host");
}

#[test]
fn who_connects_and_says_nothing_keeps_nobody_out_for_long() {
    let listens = [format!("tcp/127.0.0.1:{}", port())];
    let arm = Session::open(&named(&listens, &[]), "arm/a", own()).expect("listens");
    let (_subscriber, from_engine) = states(&arm);
    let address = listens[0].trim_start_matches("tcp/");
    // More than may knock at a time.
    let silent: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(address).expect("the port is open"))
        .collect();
    let engine = Session::open(&named(&[], &listens), "engine/e", own()).expect("open");
    assert!(
        heard(&engine, &from_engine),
        "beside {} silent",
        silent.len()
    );
    assert_eq!(arm.peers().len(), 1, "nobody else is a peer");
}

#[test]
fn no_more_than_so_many_peers_are_let_in_and_those_who_are_stay() {
    let listens = [format!("tcp/127.0.0.1:{}", port())];
    let arm = Session::open(&named(&listens, &[]), "arm/a", own()).expect("listens");
    let (_subscriber, from_engine) = states(&arm);
    let engine = Session::open(&named(&[], &listens), "engine/e", own()).expect("open");
    assert!(heard(&engine, &from_engine));
    let crowd: Vec<Session> = (0..260)
        .map(|n| Session::open(&named(&[], &listens), &format!("view/{n}"), own()).expect("open"))
        .collect();
    assert!(
        eventually(|| arm.peers().len() == 256),
        "{} peers",
        arm.peers().len()
    );
    assert!(heard(&engine, &from_engine), "beside {}", crowd.len());
    assert_eq!(arm.peers().len(), 256);
}

#[test]
fn processes_that_cannot_reach_each_other_meet_at_a_router() {
    let at = format!("tcp/127.0.0.1:{}", port());
    let config = format!(
        r#"{{ "mode": "router", "listen": {{ "endpoints": ["{at}"] }}, "scouting": {{ "multicast": {{ "enabled": false }} }} }}"#
    );
    let config = zenoh::Config::from_json5(&config).expect("a configuration");
    // What `zenohd` is besides its plugins.
    let router = zenoh::open(config).wait().expect("a router");
    let beside = SessionOptions {
        connect: vec![at],
        through_router: true,
        ..SessionOptions::default()
    };
    let one = Session::open(&beside, "engine/e", own()).expect("reaches the router");
    let two = Session::open(&beside, "arm/a", own()).expect("reaches the router");
    let (_subscriber, from_engine) = states(&two);
    assert!(heard(&one, &from_engine), "through the router");
    assert_eq!(two.peers(), Vec::<String>::new(), "no other way");
    // Questions and answers too.
    let clock = cell().key(&Topic::Clock(name("engine-e")));
    one.answer_pings(&clock).expect("answers");
    assert!(eventually(|| two.ping(&clock, WAIT).is_ok()));
    drop(router);
}

#[test]
fn what_another_host_says_is_refused_until_its_distance_from_the_arms_time_is_known() {
    let listens = [format!("tcp/127.0.0.1:{}", port())];
    let arm = Session::open(&named(&listens, &[]), "arm/a", arms()).expect("listens");
    let hello = cell().key(&Topic::Clock(name("arm-a")));
    let (_subscriber, from_engine) = states(&arm);
    let clock = Arc::new(CellClock::elsewhere(own()));
    let mut engine = Session::open(&named(&[], &listens), "engine/e", clock.clone()).expect("open");
    let first = |states: &States| states.recv_timeout(Duration::from_millis(50)).ok();
    let mut refused = None;
    assert!(eventually(|| {
        says(&engine);
        refused = first(&from_engine);
        refused.is_some()
    }));
    assert!(
        matches!(refused, Some(Err(WireError::Clock { .. }))),
        "{refused:?}"
    );

    arm.answer_pings(&hello).expect("answers");
    engine
        .follow(clock.clone(), vec![hello.clone()])
        .expect("a thread");
    assert!(eventually(|| clock.is_known()));
    while from_engine.try_recv().is_ok() {}
    says(&engine);
    let delivery = from_engine.recv_timeout(WAIT).expect("it comes");
    let delivery = delivery.expect("it is taken");
    let followed = delivery
        .header
        .followed
        .expect("it says how it knows the time");
    assert_eq!(delivery.header.clock, ClockId(7));
    assert_eq!(followed.host, own().id());
    let ahead = followed.ahead_nanos as f64 * 1e-9;
    let bound = followed.bound.as_secs_f64();
    assert!(
        (ahead - 4321.0).abs() <= bound,
        "{ahead} s, known to {bound} s"
    );
    // Its stamps lie where the arm's host would have put them.
    let age = delivery.received_at.secs_from(delivery.message.captured_at);
    assert!((-bound..1.0).contains(&age), "{age} s old");

    // And it says so itself, to whoever asks.
    let asks = cell().key(&Topic::Clock(name("engine-e")));
    engine.answer_pings(&asks).expect("answers");
    let mut answer = None;
    assert!(eventually(|| {
        answer = arm.ping(&asks, WAIT).ok();
        answer.is_some()
    }));
    let answer = answer.expect("an answer");
    assert_eq!(answer.clock, own().id(), "its host's own clock");
    let (of, _) = answer.follows.expect("it follows");
    assert_eq!(of, ClockId(7));
}

/// As a later version of this program might.
#[derive(Clone, PartialEq, prost::Message)]
struct LaterReading {
    #[prost(fixed64, tag = "1")]
    clock: u64,
    #[prost(string, tag = "4")]
    version: String,
    #[prost(uint32, tag = "5")]
    schema_version: u32,
}

#[test]
fn a_later_version_says_so_in_the_first_exchange() {
    let at = format!("tcp/127.0.0.1:{}", port());
    let config = format!(
        r#"{{ "mode": "peer", "listen": {{ "endpoints": ["{at}"] }}, "scouting": {{ "multicast": {{ "enabled": false }} }} }}"#
    );
    let config = zenoh::Config::from_json5(&config).expect("a configuration");
    let later = zenoh::open(config).wait().expect("a session");
    let key = cell().key(&Topic::Clock(name("arm-a")));
    later
        .declare_queryable(key.as_str().to_owned())
        .complete(true)
        .callback(|query| {
            let reading = LaterReading {
                clock: 9,
                version: "7.8.9".into(),
                schema_version: 2,
            };
            let _ = query
                .reply(query.key_expr(), reading.encode_to_vec())
                .wait();
        })
        .background()
        .wait()
        .expect("declared");
    let session = Session::open(&named(&[], &[at]), "engine/e", own()).expect("open");
    let mut answer = None;
    assert!(eventually(|| {
        answer = session.ping(&key, WAIT).ok();
        answer.is_some()
    }));
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.version.as_str(), answer.schema_version),
        ("7.8.9", 2)
    );
}
