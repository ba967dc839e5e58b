//! The remote policy: a server that is late, lies, closes or comes back costs one chunk, and never serves a later request.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tactus_openpi::pack::Packer;
use tactus_openpi::value::{Value, read};
use tactus_openpi::{
    Anchor, CameraShape, Endpoint, MappingFile, Reads, RemotePolicy, RemoteSpec, Side,
};
use tactus_types::{
    Action, ActionChunk, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest,
    JointState, JointVec, Leftover, Observation, Policy, Stage, Time, TimedAction,
};
use tungstenite::{Message, WebSocket};

type Socket = WebSocket<TcpStream>;

/// A server on loopback whose `n`th connection is `talk`'s, after the metadata.
struct Server {
    endpoint: Endpoint,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(
        metadata: impl Fn(usize) -> Vec<u8> + Send + 'static,
        talk: impl Fn(usize, &mut Socket) -> Option<()> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let endpoint = Endpoint {
            host: "127.0.0.1".into(),
            port: listener.local_addr().expect("an address").port(),
        };
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let serve = move || {
            for tcp in listener.incoming().map_while(Result::ok) {
                let Ok(mut socket) = tungstenite::accept(tcp) else {
                    continue;
                };
                let n = count.fetch_add(1, Ordering::SeqCst);
                if socket.send(Message::Binary(metadata(n).into())).is_ok() {
                    while talk(n, &mut socket).is_some() {}
                }
            }
        };
        let named = std::thread::Builder::new().name("server".into());
        named.spawn(serve).expect("a thread");
        Self {
            endpoint,
            connections,
        }
    }
}

fn nothing(_: usize) -> Vec<u8> {
    vec![0x80]
}

/// The next observation; `None` when the client has gone.
fn heard(socket: &mut Socket) -> Option<Vec<u8>> {
    loop {
        match socket.read().ok()? {
            Message::Binary(message) => return Some(message.to_vec()),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

fn chunk(shape: &[usize], rows: &[f64]) -> Message {
    let mut packer = Packer::default();
    packer.map(2).text("actions").float_array(shape, rows);
    packer
        .text("server_timing")
        .map(1)
        .text("infer_ms")
        .float(0.001);
    Message::Binary(packer.into_bytes().into())
}

/// Rows `[i, 10, opening]` for `i` from 1.
fn good(opening: f64) -> Message {
    chunk(
        &[3, 3],
        &[1.0, 10.0, opening, 2.0, 10.0, opening, 3.0, 10.0, opening],
    )
}

fn spec(endpoint: &Endpoint, file: &str, anchor: Anchor) -> RemoteSpec {
    let reads = Reads {
        cameras: vec![CameraShape {
            name: "scene".into(),
            size: Some((8, 4)),
        }],
        joints: vec!["a".into(), "b".into()],
        gripper: true,
        period: Duration::from_millis(50),
    };
    let file = MappingFile::parse(file).expect("a mapping");
    RemoteSpec {
        endpoint: endpoint.clone(),
        mapping: file.resolve(Side::Client, &reads).expect("legal"),
        reads,
        horizon: 3,
        first_action_offset: Duration::from_millis(40),
        anchor,
    }
}

fn open(server: &Server, file: &str, anchor: Anchor) -> RemotePolicy {
    RemotePolicy::open(spec(&server.endpoint, file, anchor), None).expect("opens")
}

fn asked(policy: &mut RemotePolicy, id: u64, within: Duration) -> Result<ActionChunk, String> {
    let now = Time::from_millis(1000);
    let frame = CameraFrame {
        camera: "scene".into(),
        captured_at: now,
        received_at: now,
        seq: id,
        width: 8,
        height: 4,
        encoding: Encoding::Rgb8,
        data: (0..96).collect::<Vec<u8>>().into(),
    };
    let state = JointState {
        captured_at: now,
        seq: id,
        epoch: 0,
        q: JointVec::from_fn(2, |i| 0.25 * (i + 1) as f64),
        dq: JointVec::zeros(2),
        opening: 1.0,
        torque: true,
    };
    let commanded = TimedAction {
        due: now,
        action: Action {
            q: JointVec::from_fn(2, |_| 5.0),
            opening: 0.0,
        },
    };
    let request = InferenceRequest {
        id,
        generation: Generation { boot: 1, count: id },
        instruction: "pick".into(),
        observe_after: now,
        deadline: now + within,
        expected_delay: Duration::ZERO,
        leftover: Leftover::from_iter([commanded]),
        conditioning: Conditioning::None,
        seed: id,
    };
    let observation = Observation {
        observed_at: now,
        frames: vec![frame],
        state,
    };
    policy
        .infer(&observation, &request)
        .map_err(|e| e.to_string())
}

const LONG: Duration = Duration::from_secs(20);

/// Asks until there is an answer, for the server that has to be connected again.
fn until_asked(policy: &mut RemotePolicy, id: u64) -> ActionChunk {
    let begun = Instant::now();
    loop {
        match asked(policy, id, LONG) {
            Ok(chunk) => return chunk,
            Err(e) => assert!(begun.elapsed() < LONG, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_observation_goes_out_as_the_cell_says_and_a_chunk_comes_back() {
    let server = Server::start(nothing, |_, socket| {
        let message = heard(socket)?;
        let value = read(&message).expect("legal");
        let Some(Value::Array(picture)) = value.get("images.cam") else {
            panic!("{value:?}");
        };
        assert_eq!(picture.describe(), "uint8 [3, 4, 8]");
        let planes = picture.bytes().expect("uint8");
        assert_eq!(
            (planes[0], planes[1], planes[32]),
            (0, 3, 1),
            "reds, then greens"
        );
        assert_eq!(
            value.get("state").and_then(Value::numbers),
            Some(vec![0.5, 0.0, 0.25])
        );
        assert_eq!(
            value.get("gripper").and_then(Value::numbers),
            Some(vec![0.0])
        );
        assert_eq!(value.get("task"), Some(&Value::Text("pick")));
        assert_eq!(value.keys(), ["task", "state", "gripper", "images.cam"]);
        socket.send(good(1.0)).ok()
    });
    let file = "prompt = \"task\"\ngripper = { open = 0.0, closed = 1.0 }\n\
                [[image]]\ncamera = \"scene\"\nkey = \"images.cam\"\nlayout = \"chw\"\n\
                [[state]]\nkey = \"state\"\ncolumns = [\"b\", \"-\", \"a\"]\n\
                [[state]]\nkey = \"gripper\"\ncolumns = [\"gripper\"]\n\
                [actions]\nrepresentation = \"relative_joints\"\n";
    let mut policy = open(&server, file, Anchor::Measured);
    assert_eq!(policy.bundle_id().len(), 64);
    let made = asked(&mut policy, 7, LONG).expect("answers");
    let q: Vec<&[f64]> = made.actions.iter().map(|a| a.q.as_slice()).collect();
    assert_eq!(q, [[1.25, 10.5], [2.25, 10.5], [3.25, 10.5]]);
    assert_eq!(made.actions[0].opening, 0.0, "1 is closed");
    assert_eq!((made.request_id, made.generation.count), (7, 7));
    assert_eq!(made.first_due, Time::from_millis(1040));
    assert_eq!(made.frames[0].seq, 7);
    assert_eq!(made.stages.get(Stage::Backbone), Duration::from_micros(1));
    assert!(made.stages.get(Stage::Context) > Duration::ZERO);

    // The server talks to one client at a time.
    drop(policy);
    let mut policy = open(&server, file, Anchor::Command);
    let made = asked(&mut policy, 8, LONG).expect("answers");
    assert_eq!(
        made.actions[0].q.as_slice(),
        [6.0, 15.0],
        "from the command"
    );
}

#[test]
fn a_server_without_a_gripper_leaves_it_as_it_was_commanded() {
    let server = Server::start(nothing, |_, socket| {
        heard(socket)?;
        socket.send(chunk(&[3, 2], &[0.5; 6])).ok()
    });
    let file = "[actions]\ncolumns = [\"a\", \"b\"]\n";
    let mut policy = open(&server, file, Anchor::Measured);
    let made = asked(&mut policy, 1, LONG).expect("answers");
    assert_eq!(made.actions[0].q.as_slice(), [0.5, 0.5]);
    assert_eq!(
        made.actions[2].opening, 0.0,
        "measured at 1, commanded to 0"
    );
}

#[test]
fn what_is_no_chunk_is_an_error_in_one_sentence_and_the_next_is_asked() {
    let bad: Vec<(Message, &str)> = vec![
        (
            chunk(&[2, 3], &[0.0; 6]),
            "answer, key `actions`: expected float32 or float64 [3, 3], got float64 [2, 3]",
        ),
        (chunk(&[9], &[0.0; 9]), "got float64 [9]"),
        (
            chunk(&[3, 3], &[0.0, 0.0, 0.0, 0.0, f64::NAN, 0.0, 0.0, 0.0, 0.0]),
            "answer, key `actions`: expected finite numbers, got NaN in action 1, column 1",
        ),
        (
            chunk(&[3, 3], &[f64::INFINITY; 9]),
            "got inf in action 0, column 0",
        ),
        (Message::Binary(vec![0x80].into()), "got the keys "),
        (
            Message::Binary(vec![0xdf, 0xff].into()),
            "answer: msgpack, byte 0",
        ),
        (
            Message::text("Traceback (most recent call last):\nKeyError: 'state'\n"),
            "says: KeyError: 'state'",
        ),
    ];
    let cases = bad.clone();
    let asked_for = AtomicUsize::new(0);
    let server = Server::start(nothing, move |_, socket| {
        heard(socket)?;
        let n = asked_for.fetch_add(1, Ordering::SeqCst);
        let answer = cases.get(n / 2).filter(|_| n.is_multiple_of(2));
        socket
            .send(answer.map_or_else(|| good(1.0), |(bad, _)| bad.clone()))
            .ok()
    });
    let mut policy = open(&server, "", Anchor::Measured);
    for (i, (_, says)) in bad.iter().enumerate() {
        let error = asked(&mut policy, i as u64, LONG).expect_err(says);
        assert!(
            error.starts_with("policy stage `openpi`: ") && error.contains(says),
            "{error}"
        );
        asked(&mut policy, 100 + i as u64, LONG).expect("the next is answered");
    }
    assert_eq!(
        server.connections.load(Ordering::SeqCst),
        1,
        "none of it costs the connection"
    );
}

#[test]
fn a_late_answer_is_given_up_in_time_and_never_serves_a_later_request() {
    let server = Server::start(nothing, |n, socket| {
        heard(socket)?;
        if n == 0 {
            std::thread::sleep(Duration::from_millis(300));
            // The answer to the first request, after its deadline: opening 0.
            return socket.send(good(0.0)).ok();
        }
        socket.send(good(1.0)).ok()
    });
    let mut policy = open(&server, "", Anchor::Measured);
    let begun = Instant::now();
    let error = asked(&mut policy, 1, Duration::from_millis(60)).expect_err("late");
    assert!(
        error.ends_with("did not answer within 60 ms") || error.ends_with("within 59 ms"),
        "{error}"
    );
    assert!(
        begun.elapsed() < Duration::from_millis(280),
        "{:?}",
        begun.elapsed()
    );
    let made = until_asked(&mut policy, 2);
    assert_eq!(made.actions[0].opening, 1.0, "an answer of its own");
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[test]
fn a_request_whose_time_is_over_waits_for_nothing() {
    let server = Server::start(nothing, |_, socket| {
        heard(socket)?;
        socket.send(good(1.0)).ok()
    });
    let mut policy = open(&server, "", Anchor::Measured);
    let begun = Instant::now();
    asked(&mut policy, 1, Duration::ZERO).expect_err("over");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_that_closes_or_speaks_unasked_is_left_and_found_again() {
    let server = Server::start(nothing, |n, socket| match n {
        // Ends in the middle of a request.
        0 => {
            heard(socket)?;
            None
        }
        // Says something that nobody asked for.
        1 => {
            socket.send(good(0.0)).ok()?;
            heard(socket)?;
            socket.send(good(0.0)).ok()
        }
        _ => {
            heard(socket)?;
            socket.send(good(1.0)).ok()
        }
    });
    let mut policy = open(&server, "", Anchor::Measured);
    asked(&mut policy, 1, LONG).expect_err("closed");
    // The message that nobody asked for has to have come.
    let begun = Instant::now();
    while server.connections.load(Ordering::SeqCst) < 2 {
        assert!(begun.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(100));
    let made = until_asked(&mut policy, 2);
    assert_eq!(
        made.actions[0].opening, 1.0,
        "not the one that came unasked"
    );
}

#[test]
fn a_server_that_comes_back_as_another_policy_is_not_used() {
    let metadata = |n: usize| {
        let mut packer = Packer::default();
        packer.map(1).text("checkpoint").int(n as i64);
        packer.into_bytes()
    };
    let server = Server::start(metadata, |_, socket| {
        heard(socket)?;
        None
    });
    let mut policy = open(&server, "", Anchor::Measured);
    asked(&mut policy, 1, LONG).expect_err("closed");
    let begun = Instant::now();
    loop {
        let error = asked(&mut policy, 2, LONG).expect_err("another");
        if error.contains("other metadata than before") {
            break;
        }
        assert!(begun.elapsed() < LONG, "{error}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_server_of_ours_that_serves_something_else_is_refused_at_the_start() {
    let metadata = |_: usize| {
        let mut packer = Packer::default();
        packer.map(1).text("tactus").map(2);
        packer.text("horizon").int(3).text("period_s").float(0.1);
        packer.into_bytes()
    };
    let server = Server::start(metadata, |_, socket| heard(socket).map(drop));
    let refused = RemotePolicy::open(spec(&server.endpoint, "", Anchor::Measured), None);
    let error = refused.err().expect("refused").to_string();
    let says = "metadata `period_s`: expected 0.05, as the cell file says, got 0.1";
    assert!(error.contains(says), "{error}");
}

#[test]
fn a_server_of_ours_with_the_other_sense_of_the_gripper_is_refused_at_the_start() {
    for (key, field) in [("actions", "actions.gripper"), ("", "state_gripper")] {
        let metadata = move |_: usize| {
            let mut packer = Packer::default();
            packer.map(1).text("tactus").map(1);
            match key {
                "" => packer.text("state_gripper"),
                key => packer.text(key).map(1).text("gripper"),
            };
            packer.map(2).text("open").float(0.0);
            packer.text("closed").float(1.0);
            packer.into_bytes()
        };
        let server = Server::start(metadata, |_, socket| heard(socket).map(drop));
        let refused = RemotePolicy::open(spec(&server.endpoint, "", Anchor::Measured), None);
        let error = refused.err().expect("refused").to_string();
        let says = format!("metadata `{field}.open`: expected 1, as the cell file says, got 0");
        assert!(error.contains(&says), "{error}");
        // The same sense is no other policy.
        let same = "gripper = { open = 0.0, closed = 1.0 }";
        RemotePolicy::open(spec(&server.endpoint, same, Anchor::Measured), None).expect("opens");
    }
}
