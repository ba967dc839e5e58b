//! A role meets an arm's host of another version: what it says, and that it takes no part.

use std::sync::Arc;
use std::time::Duration;

use tactus_wire::message::Envelope;
use tactus_wire::{
    Cell as WireCell, Message, MonotonicClock, Name, Qos, Responder, Session, SessionOptions,
    Topic, WireError,
};

mod cell;
use cell::{cell_file, tactus};

/// `tactus.v1.ClockReading` as a program answers it whose messages are of another version.
#[derive(Debug)]
struct Later(&'static str, u8);

impl Message for Later {
    const SCHEMA: &'static str = "tactus.v1.ClockReading";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        let Self(version, schema) = self;
        let mut bytes = vec![0x09];
        bytes.extend(7u64.to_le_bytes());
        bytes.extend([0x22, version.len() as u8]);
        bytes.extend(version.as_bytes());
        bytes.extend([0x28, *schema]);
        bytes
    }

    fn decode(_: &[u8], _: &Envelope<'_>) -> Result<Self, WireError> {
        Ok(Self("", 0))
    }
}

/// Six free ports in a row, as far as anybody can know.
fn ports() -> u16 {
    let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let from = 20_000 + (std::process::id() % 500) as u16 * 20;
    let found = (from..from + 20_000)
        .step_by(20)
        .find(|first| (*first..first + 6).all(free));
    found.expect("ports")
}

#[test]
fn an_engine_that_meets_another_version_says_both_and_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let (bench, rack) = (ports(), ports() + 10);
    let file = cell_file(dir.path(), |text| {
        format!(
            "{text}\n[[host]]\nname = \"bench\"\naddress = \"127.0.0.1:{bench}\"\nroles = [\"device\", \"arm\", \"camera\"]\n\
             [[host]]\nname = \"rack\"\naddress = \"127.0.0.1:{rack}\"\nroles = [\"engine\"]\n"
        )
    });
    let options = SessionOptions {
        listen: vec![format!("tcp/127.0.0.1:{bench}")],
        named_links: true,
        ..SessionOptions::default()
    };
    let clock = Arc::new(MonotonicClock::new().expect("a clock"));
    let device = Session::open(&options, "device/sim", clock).expect("listens");
    let wire = WireCell::new("demo").expect("legal");
    let key = wire.key(&Topic::Clock(Name::new("device-sim").expect("legal")));
    let _answers = device
        .queryable_unchecked(&key, |responder: Responder<Later>| {
            responder.answer(&Later("9.8.7", 2));
        })
        .expect("declared");
    let file = file.display().to_string();
    let engine = tactus(&["engine", "--cell", &file, "--host", "rack"]);
    let said = String::from_utf8_lossy(&engine.stderr).into_owned();
    assert!(!engine.status.success(), "{said}");
    let last = said.lines().last().unwrap_or_default();
    for part in [
        "`device-sim` (tactus 9.8.7) speaks version 2",
        "this process (tactus ",
        "version 1",
        "one version on every host",
    ] {
        assert!(last.contains(part), "{part}: {said}");
    }
    drop(device);
    // And with nobody there at all it says that.
    let began = std::time::Instant::now();
    let engine = tactus(&["engine", "--cell", &file, "--host", "rack"]);
    let said = String::from_utf8_lossy(&engine.stderr).into_owned();
    assert!(
        !engine.status.success() && said.contains("is the arm's host up"),
        "{said}"
    );
    assert!(began.elapsed() < Duration::from_secs(60));
    // A role is started where it is placed, or not at all.
    let engine = tactus(&["engine", "--cell", &file, "--host", "bench"]);
    let said = String::from_utf8_lossy(&engine.stderr).into_owned();
    assert!(
        said.contains("--host with the host on which `engine` is placed, got bench"),
        "{said}"
    );
}
