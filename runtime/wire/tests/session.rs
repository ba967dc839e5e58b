//! Laws of the network, over real sessions on the loopback interface.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tactus_types::{Clock, JointState, JointVec};
use tactus_wire::{
    Cell, Delivery, ModeOrder, ModeOrderReply, ModeWord, MonotonicClock, Name, Nothing, QueryError,
    Role, Session, SessionError, SessionOptions, SimReset, SimResetReply, Topic, WireError,
};

const WAIT: Duration = Duration::from_secs(5);

fn clock() -> Arc<dyn Clock> {
    Arc::new(MonotonicClock::new().expect("boot id"))
}

fn open(source: &str, connect: &[String]) -> Session {
    let options = SessionOptions {
        connect: connect.to_vec(),
        ..SessionOptions::default()
    };
    Session::open(&options, source, clock()).expect("session")
}

fn cell() -> Cell {
    Cell::new("test").expect("name")
}

fn name(name: &str) -> Name {
    Name::new(name).expect("name")
}

fn state(seq: u64, session: &Session) -> JointState {
    JointState {
        captured_at: session.clock().now(),
        seq,
        epoch: 1,
        q: JointVec::zeros(6),
        dq: JointVec::zeros(6),
        opening: 0.5,
        torque: true,
    }
}

/// Whether `condition` becomes true in time.
fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < WAIT {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

/// Whether the two are connected to each other, seen from both.
fn met(a: &Session, b: &Session) -> bool {
    a.peers().contains(&b.id()) && b.peers().contains(&a.id())
}

type States = mpsc::Receiver<Result<Delivery<JointState>, WireError>>;

fn states_of(session: &Session, device: &str) -> (tactus_wire::Subscriber, States) {
    let (sender, receiver) = mpsc::sync_channel(1024);
    let key = cell().key(&Topic::DeviceState(name(device)));
    let subscriber = session
        .subscribe(&key, move |delivery| sender.send(delivery).unwrap_or(()))
        .expect("subscriber");
    (subscriber, receiver)
}

#[test]
fn peers_of_one_seed_exchange_directly_and_outlive_it() {
    let seed = open("run", &[]);
    let endpoints = seed.endpoints();
    assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    assert!(endpoints[0].starts_with("tcp/127.0.0.1:"), "{endpoints:?}");
    let b = open("arm/a", &endpoints);
    let c = open("device/d", &endpoints);
    assert!(eventually(|| met(&b, &c)), "no full mesh");

    seed.close();
    assert!(eventually(|| !met(&seed, &b) && !met(&seed, &c)));
    let (_subscriber, states) = states_of(&b, "d");
    let key = cell().key(&Topic::DeviceState(name("d")));
    let publisher = c.publisher(&key).expect("publisher");
    assert!(eventually(|| {
        publisher.put(&state(1, &c)).expect("put");
        states.try_recv().is_ok()
    }));
}

#[test]
fn a_peer_that_comes_later_is_introduced_too() {
    let seed = open("run", &[]);
    let b = open("arm/a", &seed.endpoints());
    drop(open("engine/e", &seed.endpoints()));
    let c = open("engine/e", &seed.endpoints());
    assert!(eventually(|| met(&b, &c)));
}

/// A soak: `cargo test --test session -- --ignored long_`.
#[test]
#[ignore = "half a minute"]
fn long_a_peer_that_restarts_is_introduced_every_time() {
    let seed = open("run", &[]);
    let b = open("arm/a", &seed.endpoints());
    for round in 0..200 {
        let start = Instant::now();
        let c = open("engine/e", &seed.endpoints());
        assert!(eventually(|| met(&b, &c)), "round {round}");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(2), "round {round}: {took:?}");
        if round % 2 == 0 {
            c.close();
        }
    }
}

/// A soak, as above.
#[test]
#[ignore = "half a minute"]
fn long_peers_that_start_together_all_meet() {
    for round in 0..50 {
        let seed = open("run", &[]);
        let endpoints = seed.endpoints();
        let peers: Vec<Session> = std::thread::scope(|scope| {
            let opening: Vec<_> = ["arm/a", "engine/e", "camera/c", "device/d"]
                .map(|source| scope.spawn(|| open(source, &endpoints)))
                .into_iter()
                .collect();
            let opened = opening
                .into_iter()
                .map(|thread| thread.join().expect("no panic"));
            opened.collect()
        });
        for (i, a) in peers.iter().enumerate() {
            for b in &peers[i + 1..] {
                assert!(eventually(|| met(a, b)), "round {round}");
            }
        }
    }
}

#[test]
fn a_burst_arrives_whole() {
    let a = open("device/d", &[]);
    let b = open("arm/a", &a.endpoints());
    let (_subscriber, states) = states_of(&b, "d");
    let key = cell().key(&Topic::DeviceState(name("d")));
    let publisher = a.publisher(&key).expect("publisher");
    assert!(eventually(|| {
        publisher.put(&state(0, &a)).expect("put");
        states.try_recv().is_ok()
    }));
    for round in 1..=20 {
        for seq in 0..16 {
            publisher.put(&state(100 * round + seq, &a)).expect("put");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // On a busy machine the last of them may still be on their way: late is not lost.
    let mut arrived = 0;
    let all = eventually(|| {
        let seqs = states.try_iter().map(|d| d.expect("a state").message.seq);
        arrived += seqs.filter(|seq| *seq >= 100).count();
        arrived == 320
    });
    assert!(all, "{arrived} of 320");
}

#[test]
fn an_unreachable_endpoint_is_named_in_time() {
    // Bound and dropped: nobody listens there now.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port();
    let endpoint = format!("tcp/127.0.0.1:{port}");
    let options = SessionOptions {
        connect: vec![endpoint.clone()],
        connect_timeout: Duration::from_millis(300),
        ..SessionOptions::default()
    };
    let start = Instant::now();
    let error = Session::open(&options, "arm/a", clock())
        .err()
        .expect("an error");
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
    assert!(
        matches!(error, SessionError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(&endpoint), "{error}");
}

#[test]
fn a_wrong_endpoint_is_a_wrong_option() {
    for wrong in ["", "127.0.0.1:7447", "udp/127.0.0.1:1", "tcp"] {
        let options = SessionOptions {
            connect: vec![wrong.into()],
            ..SessionOptions::default()
        };
        let error = Session::open(&options, "arm/a", clock())
            .err()
            .expect("an error");
        assert!(
            matches!(
                error,
                SessionError::Option {
                    field: "connect",
                    ..
                }
            ),
            "{error:?}"
        );
    }
}

#[test]
fn a_taken_listener_is_named() {
    let first = open("run", &[]);
    let options = SessionOptions {
        listen: first.endpoints(),
        ..SessionOptions::default()
    };
    let error = Session::open(&options, "run", clock())
        .err()
        .expect("an error");
    assert!(matches!(error, SessionError::Listen { .. }), "{error:?}");
    assert!(error.to_string().contains(&first.endpoints()[0]), "{error}");
}

#[test]
fn messages_arrive_with_their_header() {
    let a = open("device/d", &[]);
    let b = open("arm/a", &a.endpoints());
    let (_subscriber, states) = states_of(&b, "d");
    let key = cell().key(&Topic::DeviceState(name("d")));
    let publisher = a.publisher(&key).expect("publisher");
    assert!(eventually(|| {
        publisher.put(&state(0, &a)).expect("put");
        states.try_recv().is_ok()
    }));
    for seq in 1..=10 {
        publisher.put(&state(seq, &a)).expect("put");
    }
    let mut expected = 1;
    while expected <= 10 {
        let delivery = states
            .recv_timeout(WAIT)
            .expect("a message")
            .expect("a state");
        let seq = delivery.message.seq;
        if seq == 0 {
            continue;
        }
        assert_eq!(seq, expected);
        expected += 1;
        assert_eq!(delivery.header.seq, seq);
        assert_eq!(delivery.header.source, "device/d");
        assert_eq!(delivery.message.captured_at, delivery.header.captured_at);
        assert!(delivery.header.captured_at <= delivery.header.published_at);
        assert!(delivery.header.published_at <= delivery.received_at);
        assert!(delivery.transport_time() < Duration::from_secs(1));
    }
}

#[test]
fn junk_on_a_key_is_an_error_that_names_it() {
    use zenoh::Wait;
    let a = open("device/d", &[]);
    let (_subscriber, states) = states_of(&a, "d");
    let options = zenoh::Config::from_json5(&format!(
        r#"{{ "mode": "peer", "listen": {{ "endpoints": [] }}, "connect": {{ "endpoints": ["{}"] }},
             "scouting": {{ "multicast": {{ "enabled": false }} }} }}"#,
        a.endpoints()[0]
    ))
    .expect("config");
    let stranger = zenoh::open(options).wait().expect("session");
    let key = cell().key(&Topic::DeviceState(name("d")));
    let mut received = None;
    assert!(eventually(|| {
        stranger.put(key.as_str(), [1, 2, 3]).wait().expect("put");
        received = states.try_recv().ok();
        received.is_some()
    }));
    let error = received.expect("received").expect_err("junk is no state");
    assert_eq!(
        error,
        WireError::NoHeader {
            key: key.to_string()
        }
    );
}

#[test]
fn orders_are_answered_once_or_refused_with_a_reason() {
    let a = open("arm/a", &[]);
    let b = open("run", &a.endpoints());
    let key = b.order_key(&cell(), &name("a"));
    let ask = |order: &ModeOrder| b.query::<_, ModeOrderReply>(&key, order, WAIT);

    let nobody = ask(&ModeOrder::Enable).expect_err("nobody is there");
    assert!(matches!(nobody, QueryError::NoAnswer { .. }), "{nobody:?}");

    let _queryable = a
        .queryable::<ModeOrder, ModeOrderReply>(&key, |order, responder| match order.message {
            ModeOrder::Enable => responder.answer(&ModeOrderReply {
                accepted: true,
                message: "enabled".into(),
                mode: ModeWord::Ready,
            }),
            ModeOrder::Stop => drop(responder),
            _ => responder.refuse("not now"),
        })
        .expect("queryable");
    assert!(eventually(|| ask(&ModeOrder::Enable).is_ok()));
    let reply = ask(&ModeOrder::Enable).expect("an answer");
    assert_eq!(
        (reply.message.accepted, reply.message.mode),
        (true, ModeWord::Ready)
    );
    assert_eq!(reply.header.source, "arm/a");

    let refused = ask(&ModeOrder::StopEpisode).expect_err("refused");
    assert!(refused.to_string().contains("not now"), "{refused}");
    let silent = ask(&ModeOrder::Stop).expect_err("dropped");
    assert!(matches!(silent, QueryError::NoAnswer { .. }), "{silent:?}");

    // A question that is not an order is refused before the handler sees it.
    let junk = b
        .query::<Nothing, ModeOrderReply>(&key, &Nothing, WAIT)
        .expect_err("no order");
    assert!(junk.to_string().contains("field `order`"), "{junk}");
}

#[test]
fn a_session_that_has_just_opened_waits_until_it_knows_who_answers() {
    let seed = open("run", &[]);
    let key = cell().key(&Topic::SimReset);
    let late = seed
        .wait_for_answerer(&key, Duration::from_millis(50))
        .expect("a legal key");
    assert!(!late, "nobody is there");
    let arm = open("arm/a", &seed.endpoints());
    let _queryable = arm
        .queryable::<SimReset, SimResetReply>(&key, |_, responder| {
            responder.answer(&SimResetReply { epoch: 4 });
        })
        .expect("queryable");
    for round in 0..10 {
        let asker = open("order", &seed.endpoints());
        assert!(asker.wait_for_answerer(&key, WAIT).expect("a legal key"));
        let reply = asker.query::<_, SimResetReply>(
            &key,
            &SimReset {
                seed: 1,
                variation: false,
            },
            WAIT,
        );
        assert!(reply.is_ok(), "round {round}: {:?}", reply.err());
    }
}

#[test]
fn a_responder_may_answer_from_another_thread_and_a_slow_one_times_out() {
    let a = open("device/d", &[]);
    let b = open("run", &a.endpoints());
    let key = cell().key(&Topic::SimReset);
    let _queryable = a
        .queryable::<SimReset, SimResetReply>(&key, |order, responder| {
            let answer = move || {
                std::thread::sleep(Duration::from_millis(order.message.seed));
                responder.answer(&SimResetReply { epoch: 4 });
            };
            std::thread::Builder::new().spawn(answer).expect("a thread");
        })
        .expect("queryable");
    let ask = |seed, timeout| {
        b.query::<_, SimResetReply>(
            &key,
            &SimReset {
                seed,
                variation: false,
            },
            timeout,
        )
    };
    assert!(eventually(|| ask(1, WAIT).map(|r| r.message.epoch) == Ok(4)));
    let start = Instant::now();
    let late = ask(1000, Duration::from_millis(100)).expect_err("too slow");
    assert!(
        matches!(
            late,
            QueryError::NoAnswer {
                timeout_millis: 100,
                ..
            }
        ),
        "{late:?}"
    );
    assert!(start.elapsed() < Duration::from_millis(800));
}

#[test]
fn roles_are_seen_when_they_are_there_come_and_go() {
    let a = open("engine/e", &[]);
    let b = open("arm/a", &a.endpoints());
    let there = a.alive(&cell(), Role::Engine, &name("e")).expect("token");
    let (sender, changes) = mpsc::sync_channel(1024);
    let _watch = b
        .watch_alive(&cell(), move |role, name, alive| {
            sender.send((role, name.to_string(), alive)).unwrap_or(());
        })
        .expect("watch");
    let next = || changes.recv_timeout(WAIT).expect("a change");
    assert_eq!(next(), (Role::Engine, "e".into(), true));
    let camera = a
        .alive(&cell(), Role::Camera, &name("scene"))
        .expect("token");
    assert_eq!(next(), (Role::Camera, "scene".into(), true));
    drop(camera);
    assert_eq!(next(), (Role::Camera, "scene".into(), false));
    a.close();
    assert_eq!(next(), (Role::Engine, "e".into(), false));
    drop(there);
}

#[test]
fn two_cells_on_one_network_do_not_meet() {
    let a = open("engine/e", &[]);
    let b = open("arm/a", &a.endpoints());
    let other = Cell::new("other").expect("name");
    let _stranger = a.alive(&other, Role::Engine, &name("x")).expect("token");
    let (sender, changes) = mpsc::sync_channel(1024);
    let _watch = b
        .watch_alive(&cell(), move |_, name, _| {
            sender.send(name.to_string()).unwrap_or(())
        })
        .expect("watch");
    let _own = a.alive(&cell(), Role::Engine, &name("e")).expect("token");
    assert_eq!(changes.recv_timeout(WAIT).as_deref(), Ok("e"));
}
