//! Files as others see them: read back with the MCAP library's own reader, and the payloads with nothing but the schemas
//! that the file carries; whole, cut anywhere, and with bytes changed.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::time::Duration;

use mcap::McapError;
use mcap::io::MessageReader;
use mcap::sans_io::LinearReaderOptions;
use proptest::prelude::*;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use tactus_record::inbox::Arrived;
use tactus_record::intake::Intake;
use tactus_record::write::{ABOUT, COUNTS, Words};
use tactus_record::{About, Entry, McapFile, RecordError, inspect};
use tactus_types::{CameraFrame, ClockId, Encoding, JointState, JointVec, Time};
use tactus_wire::{Cell, Counters, Header, Message, ModeReport, ModeWord, Name, Topic};

const CLOCK: ClockId = ClockId(0xabcd);
/// Ten minutes after boot.
const BOOT: u64 = 600_000;

fn name(name: &str) -> Name {
    Name::new(name).expect("legal")
}

fn about() -> Words {
    let about = About {
        cell: name("demo"),
        version: "0.1.0".into(),
        clock: CLOCK,
        unix_offset: Duration::from_secs(1_795_000_000),
    };
    about.words("hold: a test", Some("b0b"), Time::from_millis(BOOT))
}

fn jpeg() -> Vec<u8> {
    let mut bytes = Vec::new();
    jpeg_encoder::Encoder::new(&mut bytes, 80)
        .encode(&[120; 32 * 16 * 3], 32, 16, jpeg_encoder::ColorType::Rgb)
        .expect("encodes");
    bytes
}

/// A second of a cell: states at 100 Hz, images at 20 Hz, a mode report, and a message that no one would take.
fn entries() -> Vec<Entry> {
    let cell = Cell::new("demo").expect("legal");
    let mut intake = Intake::new(cell.clone(), CLOCK);
    let mut entries = Vec::new();
    let mut take = |topic: Topic, seq: u64, millis: u64, payload: Vec<u8>, sound: bool| {
        let at = Time::from_millis(BOOT + millis);
        let header = Header {
            clock: CLOCK,
            captured_at: at,
            published_at: at + Duration::from_micros(100),
            seq,
            source: "test/source".into(),
            followed: None,
        };
        let arrived = Arrived {
            key: cell.key(&topic).to_string(),
            attachment: sound.then(|| header.encode()),
            payload: payload.into(),
            received_at: at + Duration::from_micros(300),
        };
        entries.push(intake.take(arrived).expect("kept").0);
    };
    let image = jpeg();
    for i in 0..100u64 {
        let state = JointState {
            captured_at: Time::ZERO,
            seq: i,
            epoch: 1,
            q: JointVec::from_fn(6, |joint| joint as f64 + i as f64 / 100.0),
            dq: JointVec::zeros(6),
            opening: 0.25,
            torque: true,
        };
        // Every number but 40 to 44.
        if !(40..45).contains(&i) {
            take(
                Topic::DeviceState(name("sim")),
                i,
                i * 10,
                state.encode(),
                true,
            );
        }
        if i.is_multiple_of(5) {
            let frame = CameraFrame {
                camera: "scene".into(),
                captured_at: Time::from_millis(BOOT + i * 10),
                received_at: Time::ZERO,
                seq: i / 5,
                width: 32,
                height: 16,
                encoding: Encoding::Jpeg,
                data: image.as_slice().into(),
            };
            take(
                Topic::CameraImage(name("scene")),
                i / 5,
                i * 10,
                frame.encode(),
                true,
            );
        }
    }
    let report = ModeReport {
        mode: ModeWord::Hold,
        reason: "a test".into(),
        fault: None,
        generation: tactus_types::Generation::default(),
        since: Time::from_millis(BOOT),
        instruction: "pick".into(),
        counters: Counters::default(),
        lease: None,
    };
    take(Topic::ArmMode(name("arm")), 0, 999, report.encode(), true);
    take(Topic::ArmMode(name("arm")), 0, 999, vec![0xff; 30], false);
    entries
}

fn write_to<W: std::io::Write>(
    sink: W,
    entries: &[Entry],
    flush_every: usize,
) -> Result<W, RecordError> {
    let mut file = McapFile::begin(sink, Path::new("x.mcap"), CLOCK, "0.1.0", about())?;
    for (i, entry) in entries.iter().enumerate() {
        if i % flush_every == flush_every - 1 {
            file.flush()?;
        }
        file.write(entry)?;
    }
    let counts = BTreeMap::from([("late".to_owned(), "0".to_owned())]);
    file.note(COUNTS, counts)?;
    file.finish()
}

fn write(entries: &[Entry], flush_every: usize) -> Vec<u8> {
    write_to(Vec::new(), entries, flush_every).expect("written")
}

fn report(bytes: &[u8]) -> Option<tactus_record::Report> {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("x.mcap");
    std::fs::write(&file, bytes).expect("written");
    inspect(&file).ok()
}

#[test]
fn every_byte_and_time_comes_back_and_explains_itself() {
    let entries = entries();
    let bytes = write(&entries, 1000);
    let summary = mcap::Summary::read(&bytes)
        .expect("readable")
        .expect("an index");
    assert_eq!(
        summary.stats.expect("statistics").message_count,
        entries.len() as u64
    );
    let messages: Vec<_> = MessageReader::new(Cursor::new(&bytes))
        .collect::<Result<_, McapError>>()
        .expect("whole");
    assert_eq!(messages.len(), entries.len());
    for (message, entry) in messages.iter().zip(&entries) {
        assert_eq!(message.data[..], entry.payload[..]);
        assert_eq!(message.log_time, entry.captured_at.as_nanos());
        assert_eq!(message.publish_time, entry.published_at.as_nanos());
        assert_eq!(u64::from(message.sequence), entry.seq);
    }
    let mut seen = BTreeMap::new();
    for message in &messages {
        let channel = &message.channel;
        *seen.entry(channel.topic.as_str()).or_insert(0) += 1;
        let Some(schema) = &channel.schema else {
            assert_eq!(channel.topic, "unreadable/tactus/demo/arm/arm/mode");
            continue;
        };
        assert_eq!(
            (channel.message_encoding.as_str(), schema.encoding.as_str()),
            ("protobuf", "protobuf")
        );
        let pool = DescriptorPool::decode(&schema.data[..]).expect("descriptors");
        let descriptor = pool
            .get_message_by_name(&schema.name)
            .expect("its own message");
        let decoded = DynamicMessage::decode(descriptor, &message.data[..]).expect("decodes");
        match schema.name.as_str() {
            "tactus.v1.JointState" => {
                let q = decoded.get_field_by_name("q").expect("a field");
                let q0 = q.as_list().expect("a list")[0].as_f64().expect("a number");
                assert!((q0 - f64::from(message.sequence) / 100.0).abs() < 1e-12);
            }
            "foxglove.CompressedImage" => {
                let field = |name| {
                    decoded
                        .get_field_by_name(name)
                        .expect("a field")
                        .into_owned()
                };
                assert_eq!(field("format"), Value::String("jpeg".into()));
                assert_eq!(field("frame_id"), Value::String("scene".into()));
                assert_eq!(field("data"), Value::Bytes(jpeg().into()));
                let timestamp = field("timestamp");
                let timestamp = timestamp.as_message().expect("a message");
                let of = |name| {
                    timestamp
                        .get_field_by_name(name)
                        .expect("a field")
                        .into_owned()
                };
                let nanos = of("seconds").as_i64().expect("seconds") as u64 * 1_000_000_000
                    + of("nanos").as_i32().expect("nanos") as u64;
                assert_eq!(nanos, message.log_time);
            }
            "tactus.v1.ModeReport" => {
                let reason = decoded
                    .get_field_by_name("reason")
                    .expect("a field")
                    .into_owned();
                assert_eq!(reason, Value::String("a test".into()));
            }
            other => panic!("{other}"),
        }
    }
    let wanted = [
        ("tactus/demo/arm/arm/mode", 1),
        ("tactus/demo/camera/scene/image", 20),
        ("tactus/demo/device/sim/state", 95),
        ("unreadable/tactus/demo/arm/arm/mode", 1),
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn the_report_says_what_is_there_and_what_is_missing() {
    let report = report(&write(&entries(), 7)).expect("a file");
    assert_eq!(report.cut, None);
    assert_eq!(report.messages(), 117);
    let (first, last) = report.times().expect("times");
    assert_eq!(first, Time::from_millis(BOOT));
    assert!(last >= Time::from_millis(BOOT + 999));
    assert_eq!(
        report.unix_offset(),
        Some(Duration::from_secs(1_795_000_000))
    );
    let words = |name: &str| {
        &report
            .metadata
            .iter()
            .find(|(n, _)| n == name)
            .expect(name)
            .1
    };
    assert_eq!(words(ABOUT)["why"], "hold: a test");
    assert_eq!(words(ABOUT)["bundle_id"], "b0b");
    assert_eq!(words(COUNTS)["late"], "0");
    let channel = |topic: &str| {
        let found = report.channels.iter().find(|c| c.topic == topic);
        found.expect(topic).clone()
    };
    let states = channel("tactus/demo/device/sim/state");
    let continuity = states.continuity.expect("counts");
    assert_eq!((continuity.missing, continuity.gaps), (5, 1));
    assert_eq!(states.longest_pause, Duration::from_millis(60));
    assert_eq!(
        channel("unreadable/tactus/demo/arm/arm/mode").continuity,
        None
    );
}

/// Takes so many bytes and then has no room.
struct Disk {
    room: usize,
}

impl std::io::Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        if taken == 0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_that_says_so_wherever_it_comes() {
    let entries = entries();
    let whole = write(&entries, 30).len();
    for room in (0..whole).step_by(97) {
        let error = write_to(Disk { room }, &entries, 30)
            .err()
            .expect("full")
            .to_string();
        assert!(
            error.starts_with("x.mcap: ") && error.contains("storage"),
            "{room}: {error}"
        );
    }
}

#[test]
fn what_is_no_recording_is_refused() {
    for bytes in [&b""[..], b"\x89MCA", b"not a recording at all"] {
        assert_eq!(report(bytes), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// A writer that dies leaves the file as long as it got: what lies before the cut is there, and it is a prefix.
    #[test]
    fn a_file_cut_anywhere_gives_all_that_came_before(cut in 0.0f64..1.0, flush_every in 1usize..40) {
        let entries = entries();
        let bytes = write(&entries, flush_every);
        let cut = (bytes.len() as f64 * cut) as usize;
        let options = LinearReaderOptions::default().with_skip_end_magic(true);
        let read: Vec<_> = MessageReader::new_with_options(Cursor::new(&bytes[..cut]), options)
            .map_while(Result::ok)
            .collect();
        for (message, entry) in read.iter().zip(&entries) {
            prop_assert_eq!(&message.data[..], &entry.payload[..]);
        }
        // Everything whose bytes lie wholly before the cut: a message is followed by at most one chunk's header.
        let mut whole = 0;
        let mut at = 0;
        for entry in &entries {
            let needle = &entry.payload[..];
            match bytes[at..cut].windows(needle.len()).position(|w| w == needle) {
                Some(found) => at += found + needle.len(),
                None => break,
            }
            whole += 1;
        }
        prop_assert!(read.len() >= whole, "{} of {whole}", read.len());
        if let Some(report) = report(&bytes[..cut]) {
            prop_assert!(report.cut.is_some());
            prop_assert_eq!(report.messages(), read.len() as u64);
        } else {
            prop_assert!(read.is_empty());
        }
    }

    #[test]
    fn no_damage_makes_the_reader_panic(
        damage in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 1..20),
    ) {
        let mut bytes = write(&entries(), 9);
        for (place, byte) in damage {
            let place = (bytes.len() as f64 * place) as usize;
            bytes[place] = byte;
        }
        report(&bytes);
    }
}
