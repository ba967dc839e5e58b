//! Memory that processes of one host share, for messages too long to be copied through a socket.
//!
//! Decides what is sent that way, and what becomes of bytes that came that way: they are copied before anything looks at them,
//! and are no message where their sender may have written over them meanwhile. Whether a cell shares memory at all is the
//! caller's ([`SessionOptions::shared_memory`](crate::SessionOptions)).
//!
//! Zenoh's sender takes a piece of memory back from a reader that it has not heard of for a tenth of a second; a reader that is
//! held up for longer, on a busy machine, would read what is already the next picture. So the piece is looked at again once it
//! has been copied.

use std::borrow::Cow;

use serde_json::{Value, json};
use zenoh::{bytes::ZBytes, shm::ShmBuf};

use crate::{WireError, session::MAX_MESSAGE_BYTES};

/// Messages of this length and more are shared. Below are coded pictures and everything else, which gain nothing from it; above
/// are raw pictures.
pub(crate) const SHARED_FROM_BYTES: usize = 1 << 18;

/// What a process shares at a time, all of it locked in memory. A message that finds no room goes through the socket.
const SHARED_BYTES: usize = 16 << 20;

/// Zenoh's configuration of it.
pub(crate) fn config(on: bool) -> Value {
    json!({
        "enabled": on,
        "mode": "lazy",
        "transport_optimization": {
            "enabled": on,
            "pool_size": SHARED_BYTES,
            "message_size_threshold": SHARED_FROM_BYTES,
            "messages": ["put"],
        },
    })
}

/// Why processes of this host have no place to share memory in, if they have none: a container may be without it.
pub fn no_shared_memory() -> Option<String> {
    let probe = format!("/dev/shm/tactus-{}", std::process::id());
    let tried = std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe));
    tried.err().map(|e| format!("/dev/shm: {e}"))
}

/// The bytes of a message on `key`: borrowed where they are contiguous and its reader's own, a copy of what is shared.
///
/// # Errors
/// [`WireError::TakenBack`], and [`WireError::Field`] where more is shared than a message may have.
pub(crate) fn bytes<'a>(key: &str, payload: &'a ZBytes) -> Result<Cow<'a, [u8]>, WireError> {
    let Some(shared) = payload.as_shm() else {
        return Ok(payload.to_bytes());
    };
    let there: &[u8] = shared.as_ref();
    if there.len() > MAX_MESSAGE_BYTES {
        return Err(WireError::Field {
            key: key.into(),
            field: "payload".into(),
            expected: format!("at most {MAX_MESSAGE_BYTES} bytes"),
            actual: format!("{} bytes", there.len()),
        });
    }
    let own = there.to_vec();
    match shared.is_valid() {
        true => Ok(Cow::Owned(own)),
        false => Err(WireError::TakenBack { key: key.into() }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Lines};
    use std::process::{Child, ChildStdout, Command, Stdio};
    use std::sync::{Arc, mpsc};
    use std::time::Duration;

    use rustix::process::{Pid, Signal, kill_process};
    use zenoh::{Wait, sample::Sample};

    use super::*;
    use crate::{MonotonicClock, Session, SessionOptions};

    const KEY: &str = "tactus/test/camera/scene/image";
    const WAIT: Duration = Duration::from_secs(10);
    /// In the environment of the process that [`a_reader`] is: where to connect to.
    const CONNECT: &str = "TACTUS_TEST_CONNECT";

    fn open(source: &str, connect: &[String], shared_memory: bool) -> Session {
        let options = SessionOptions {
            connect: connect.to_vec(),
            shared_memory,
            ..SessionOptions::default()
        };
        let clock = Arc::new(MonotonicClock::new().expect("boot id"));
        Session::open(&options, source, clock).expect("session")
    }

    fn samples(session: &Session) -> mpsc::Receiver<Sample> {
        let (to, from) = mpsc::sync_channel(4);
        let keep = move |sample| drop(to.try_send(sample));
        let subscriber = session.zenoh.declare_subscriber(KEY).callback(keep);
        subscriber.background().wait().expect("subscribes");
        from
    }

    /// Whether this process may lock memory, and there is a place for it, without which nothing is shared.
    fn may_share() -> bool {
        let read = |file: &str| std::fs::read_to_string(file).expect("of this process");
        let (limits, status) = (read("/proc/self/limits"), read("/proc/self/status"));
        let line = limits
            .lines()
            .find(|line| line.starts_with("Max locked memory"));
        let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        let caps = caps.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        let lock = line.is_some_and(|line| line.contains("unlimited"))
            || caps.is_some_and(|caps| caps >> 14 & 1 == 1);
        let may = lock && no_shared_memory().is_none();
        if !may {
            eprintln!("left out: no memory may be locked or shared here");
        }
        may
    }

    /// A raw picture in which every byte is `n`.
    fn picture(n: u8) -> Vec<u8> {
        vec![n; 640 * 480 * 3]
    }

    #[test]
    fn a_raw_picture_is_shared_between_those_who_asked_for_it_and_arrives_the_same_everywhere() {
        if !may_share() {
            return;
        }
        let camera = open("camera/scene", &[], true);
        let near = open("engine/e", &camera.endpoints(), true);
        let plain = open("view/v", &camera.endpoints(), false);
        let (to_near, to_plain) = (samples(&near), samples(&plain));
        let mut shared = 0;
        for n in 0..100 {
            std::thread::sleep(Duration::from_millis(20));
            camera.zenoh.put(KEY, picture(n)).wait().expect("puts");
            let (Ok(a), Ok(b)) = (to_near.recv_timeout(WAIT), to_plain.recv_timeout(WAIT)) else {
                panic!("picture {n} did not come");
            };
            assert!(b.payload().as_shm().is_none(), "it did not ask for it");
            shared += u32::from(a.payload().as_shm().is_some());
            for sample in [a, b] {
                assert_eq!(bytes(KEY, sample.payload()).expect("sound"), picture(n));
            }
            if shared == 10 {
                break;
            }
        }
        // The first ones go through the socket, while memory is got ready.
        assert_eq!(shared, 10);
        // What is short is not shared.
        let short = vec![7; SHARED_FROM_BYTES - 1024];
        camera.zenoh.put(KEY, short.clone()).wait().expect("puts");
        let sample = to_near.recv_timeout(WAIT).expect("comes");
        assert!(sample.payload().as_shm().is_none());
        assert_eq!(bytes(KEY, sample.payload()).expect("sound"), short);
    }

    /// Not a test: the process that reads, and is held up while it does.
    #[test]
    fn a_reader() {
        let Ok(connect) = std::env::var(CONNECT) else {
            return;
        };
        let session = open("engine/e", &[connect], true);
        let from = samples(&session);
        println!("ready");
        let mut told = std::io::stdin().lines();
        while let Ok(sample) = from.recv_timeout(WAIT) {
            if sample.payload().as_shm().is_none() {
                println!("socket");
                continue;
            }
            println!("shared");
            // Here it is stopped, and told to go on.
            let _go_on = told.next();
            match bytes(KEY, sample.payload()) {
                Ok(_) => println!("read"),
                Err(e) => println!("{e:?}"),
            }
            return;
        }
    }

    fn said(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
        let words = ["ready", "socket", "shared", "read", "TakenBack"];
        let mut of_reader = lines.map_while(Result::ok);
        let found = of_reader.find(|line| words.iter().any(|word| line.starts_with(word)));
        found.expect("the reader's word")
    }

    /// What a reader says of a picture between whose arrival and reading `meanwhile` passes.
    fn read_after(meanwhile: impl FnOnce(&Child)) -> String {
        let camera = open("camera/scene", &[], true);
        let mut reader = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "shared::tests::a_reader", "--nocapture"])
            .env(CONNECT, camera.endpoints().first().expect("an endpoint"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(reader.stdout.take().expect("piped")).lines();
        assert_eq!(said(&mut lines), "ready");
        loop {
            std::thread::sleep(Duration::from_millis(50));
            camera.zenoh.put(KEY, picture(1)).wait().expect("puts");
            if said(&mut lines) == "shared" {
                break;
            }
        }
        meanwhile(&reader);
        // It reads a line that is empty: the end of its input.
        drop(reader.stdin.take());
        let word = said(&mut lines);
        reader.wait().expect("ends");
        word
    }

    #[test]
    fn a_picture_whose_reader_was_held_up_is_no_picture() {
        if !may_share() {
            return;
        }
        assert_eq!(read_after(|_| ()), "read");
        let held_up = read_after(|reader| {
            let pid = Pid::from_raw(reader.id().cast_signed()).expect("a process");
            kill_process(pid, Signal::STOP).expect("stops");
            // Its sender hears nothing of it for ten times as long as it waits.
            std::thread::sleep(Duration::from_secs(1));
            kill_process(pid, Signal::CONT).expect("goes on");
        });
        assert!(held_up.starts_with("TakenBack"), "{held_up}");
    }
}
