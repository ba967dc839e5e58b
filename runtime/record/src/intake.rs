//! Bytes become entries: which key it is, whether it passes the checks of the wire, what it says, and what was counted.
//!
//! Decides what is kept and on which terms: everything is, unless a cell has more than [`MAX_KEYS`] keys. Pure; never
//! panics, whatever the bytes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tactus_types::{
    ArmInfo, CameraFrame, ClockId, InferenceRequest, JointState, OperatorSetpoint, Time,
};
use tactus_wire::{
    AppliedBatch, CameraInfo, CameraStatus, Cell, ChunkReply, DeviceCommand, EngineStatus,
    EpisodeEvent, EvalReport, Header, Message, ModeReport, Raw, Reasoning, SimWorld, Telemetry,
    TickBatch, Topic, WireError, decode,
};

use crate::continuity::Continuity;
use crate::inbox::Arrived;
use crate::trigger::Sight;
use crate::{Entry, Kind};

/// Most keys of a cell; messages on more are not kept. An honest cell has twenty.
pub const MAX_KEYS: usize = 1024;
/// Received this long after it was published, a message is late.
const LATE: Duration = Duration::from_millis(100);
/// Captured this long before it was received, or any time after, a message is refused: all times are of one clock.
const FAR: Duration = Duration::from_secs(60);

/// Schemas of everything that is published in a cell.
pub(crate) const SCHEMAS: [&str; 18] = [
    CameraFrame::SCHEMA,
    CameraInfo::SCHEMA,
    CameraStatus::SCHEMA,
    JointState::SCHEMA,
    DeviceCommand::SCHEMA,
    ArmInfo::SCHEMA,
    InferenceRequest::SCHEMA,
    OperatorSetpoint::SCHEMA,
    ChunkReply::SCHEMA,
    AppliedBatch::SCHEMA,
    ModeReport::SCHEMA,
    Telemetry::SCHEMA,
    TickBatch::SCHEMA,
    EngineStatus::SCHEMA,
    Reasoning::SCHEMA,
    EpisodeEvent::SCHEMA,
    EvalReport::SCHEMA,
    SimWorld::SCHEMA,
];

/// What was counted on one key since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Messages.
    pub messages: u64,
    /// Their payloads, bytes.
    pub bytes: u64,
    /// Refused messages among them.
    pub refused: u64,
    /// Late messages among them.
    pub late: u64,
    /// What their numbers say.
    pub continuity: Continuity,
    /// Of another host than the arm's: how far their times were from cell time at most.
    pub time_bound: Duration,
}

#[derive(Debug)]
struct Known {
    key: Arc<str>,
    topic: Option<Topic>,
    source: Arc<str>,
    tally: Tally,
}

/// Makes entries of what arrives at a recorder of one cell.
#[derive(Debug)]
pub struct Intake {
    cell: Cell,
    clock: ClockId,
    keys: BTreeMap<String, Known>,
    infos: BTreeMap<Arc<str>, Entry>,
    bundle_id: Option<Arc<str>>,
    beyond: u64,
}

impl Intake {
    /// Nothing has arrived yet. All times have to be of `clock`.
    pub fn new(cell: Cell, clock: ClockId) -> Self {
        Self {
            cell,
            clock,
            keys: BTreeMap::new(),
            infos: BTreeMap::new(),
            bundle_id: None,
            beyond: 0,
        }
    }

    /// What is kept of a message, and what it says. `None` when its key is one too many.
    pub fn take(&mut self, arrived: Arrived) -> Option<(Entry, Option<Sight>)> {
        let Arrived {
            key,
            attachment,
            payload,
            received_at,
        } = arrived;
        if !self.keys.contains_key(&key) {
            if self.keys.len() >= MAX_KEYS {
                self.beyond += 1;
                return None;
            }
            let known = Known {
                key: key.as_str().into(),
                topic: self.cell.topic(&key).ok(),
                source: "".into(),
                tally: Tally::default(),
            };
            self.keys.insert(key.clone(), known);
        }
        let known = self.keys.get_mut(&key)?;
        let raw = Raw {
            key: &key,
            attachment: attachment.as_deref().map(Into::into),
            payload: (&payload[..]).into(),
            received_at,
        };
        let judged = known
            .topic
            .as_ref()
            .and_then(|t| judge(t, &raw, self.clock));
        let (kind, said, header) = match judged {
            Some(Judged {
                schema,
                result: Ok((header, said)),
            }) if plausible(&header, received_at) => (Kind::Sound(schema), said, Some(header)),
            Some(Judged { schema, result }) => {
                let header = Header::decode(&key, attachment.as_deref(), self.clock).ok();
                let readable = match &result {
                    Ok(_) => true,
                    Err(WireError::Field { field, .. }) => field != "(payload)",
                    Err(_) => false,
                };
                let kind = if readable {
                    Kind::Refused(schema)
                } else {
                    Kind::Unreadable
                };
                (kind, Said::Nothing, header)
            }
            None => (Kind::Unreadable, Said::Nothing, None),
        };
        let header = header.filter(|header| plausible(header, received_at));
        known.count(&kind, payload.len(), header.as_ref(), received_at);
        let entry = Entry {
            key: known.key.clone(),
            kind,
            captured_at: header.as_ref().map_or(received_at, |h| h.captured_at),
            published_at: header.as_ref().map_or(received_at, |h| h.published_at),
            received_at,
            seq: header.as_ref().map_or(0, |h| h.seq),
            source: known.source.clone(),
            payload,
        };
        let info = known.topic.as_ref().is_some_and(is_info);
        if info && matches!(kind, Kind::Sound(_)) {
            self.infos.insert(known.key.clone(), entry.clone());
        }
        match said {
            Said::Nothing => Some((entry, None)),
            Said::Sight(sight) => Some((entry, Some(sight))),
            Said::Bundle(id) => {
                self.bundle_id = Some(id);
                Some((entry, None))
            }
        }
    }

    /// The newest of every info: what the arms, devices, cameras and engines of the cell are.
    pub fn infos(&self) -> impl Iterator<Item = &Entry> {
        self.infos.values()
    }

    /// Bundle behind the newest chunk.
    pub fn bundle_id(&self) -> Option<&Arc<str>> {
        self.bundle_id.as_ref()
    }

    /// What was counted, per key.
    pub fn tallies(&self) -> impl Iterator<Item = (&str, &Tally)> {
        self.keys
            .iter()
            .map(|(key, known)| (key.as_str(), &known.tally))
    }

    /// Everything counted, in words, for a file's metadata. Zeros are left out but for the totals.
    pub fn words(&self) -> BTreeMap<String, String> {
        let mut words = BTreeMap::new();
        let [mut messages, mut refused, mut late, mut missing] = [0u64; 4];
        for (key, tally) in self.tallies() {
            let Continuity {
                missing: lost,
                gaps: _,
                out_of_order,
                restarts,
                ..
            } = tally.continuity;
            let bound = u64::try_from(tally.time_bound.as_micros()).unwrap_or(u64::MAX);
            messages += tally.messages;
            refused += tally.refused;
            late += tally.late;
            missing = missing.saturating_add(lost);
            for (what, count) in [
                ("refused", tally.refused),
                ("late", tally.late),
                ("missing", lost),
                ("out_of_order", out_of_order),
                ("restarts", restarts),
                ("time_bound_us", bound),
            ] {
                if count > 0 {
                    words.insert(format!("{what} {key}"), count.to_string());
                }
            }
        }
        for (what, count) in [
            ("messages", messages),
            ("refused", refused),
            ("late", late),
            ("missing", missing),
            ("on_keys_beyond_the_limit", self.beyond),
        ] {
            words.insert(what.into(), count.to_string());
        }
        words
    }
}

impl Known {
    fn count(&mut self, kind: &Kind, bytes: usize, header: Option<&Header>, received_at: Time) {
        self.tally.messages += 1;
        self.tally.bytes += bytes as u64;
        self.tally.refused += u64::from(!matches!(kind, Kind::Sound(_)));
        let Some(header) = header else { return };
        if let Some(followed) = header.followed {
            self.tally.time_bound = self.tally.time_bound.max(followed.bound);
        }
        self.tally.late += u64::from(received_at.since(header.published_at) > LATE);
        if *self.source != *header.source {
            self.source = header.source.as_str().into();
        }
        if self.topic.as_ref().is_some_and(counts) {
            self.tally.continuity.take(header.seq, header.published_at);
        }
    }
}

/// Whether a topic says what a process is: published once, and an answer to whoever asks.
pub(crate) fn is_info(topic: &Topic) -> bool {
    matches!(
        topic,
        Topic::CameraInfo(_) | Topic::DeviceInfo(_) | Topic::ArmInfo(_) | Topic::EngineStatus(_)
    )
}

/// Whether the numbers of a topic count its messages. Those of the arm host's states do not: it passes on every other of
/// the device's under their own numbers. Answers and publications of an info or of ticks are counted apart.
pub(crate) fn counts(topic: &Topic) -> bool {
    !is_info(topic) && !matches!(topic, Topic::ArmState(_) | Topic::ArmTicks(_))
}

fn plausible(header: &Header, received_at: Time) -> bool {
    [header.captured_at, header.published_at]
        .iter()
        .all(|at| *at <= received_at && received_at.since(*at) <= FAR)
}

/// What a message says, as far as a recorder cares.
enum Said {
    Nothing,
    Sight(Sight),
    Bundle(Arc<str>),
}

struct Judged {
    schema: &'static str,
    result: Result<(Header, Said), WireError>,
}

/// Holds `raw` against what is published on `topic`; `None` where nothing is.
fn judge(topic: &Topic, raw: &Raw<'_>, clock: ClockId) -> Option<Judged> {
    fn of<M: Message>(raw: &Raw<'_>, clock: ClockId, said: fn(M) -> Said) -> Option<Judged> {
        Some(Judged {
            schema: M::SCHEMA,
            result: decode::<M>(raw, clock).map(|d| (d.header, said(d.message))),
        })
    }
    match topic {
        Topic::CameraImage(_) => of::<CameraFrame>(raw, clock, |_| Said::Nothing),
        Topic::CameraInfo(_) => of::<CameraInfo>(raw, clock, |_| Said::Nothing),
        Topic::CameraStatus(_) => of::<CameraStatus>(raw, clock, |_| Said::Nothing),
        Topic::DeviceState(_) | Topic::ArmState(_) => {
            of::<JointState>(raw, clock, |_| Said::Nothing)
        }
        Topic::DeviceCommand(_) => of::<DeviceCommand>(raw, clock, |_| Said::Nothing),
        Topic::DeviceInfo(_) | Topic::ArmInfo(_) => of::<ArmInfo>(raw, clock, |_| Said::Nothing),
        Topic::ArmRequest(_) => of::<InferenceRequest>(raw, clock, |_| Said::Nothing),
        Topic::ArmSetpoint(..) => of::<OperatorSetpoint>(raw, clock, |_| Said::Nothing),
        Topic::ArmChunk(_) => of::<ChunkReply>(raw, clock, |reply| match reply {
            ChunkReply::Chunk(chunk) => Said::Bundle(chunk.bundle_id),
            ChunkReply::Refusal(_) => Said::Nothing,
        }),
        Topic::ArmApplied(_) => of::<AppliedBatch>(raw, clock, |batch| {
            Said::Sight(Sight::Applied(batch.applied))
        }),
        Topic::ArmMode(_) => {
            of::<ModeReport>(raw, clock, |report| Said::Sight(Sight::Mode(report)))
        }
        Topic::ArmTelemetry(_) => of::<Telemetry>(raw, clock, |telemetry| {
            Said::Sight(Sight::Telemetry(telemetry))
        }),
        Topic::ArmTicks(_) => of::<TickBatch>(raw, clock, |_| Said::Nothing),
        Topic::EngineStatus(_) => {
            of::<EngineStatus>(raw, clock, |status| Said::Bundle(status.bundle_id.into()))
        }
        Topic::EngineReasoning(_) => of::<Reasoning>(raw, clock, |_| Said::Nothing),
        Topic::Episode => of::<EpisodeEvent>(raw, clock, |_| Said::Nothing),
        Topic::SimWorld => of::<SimWorld>(raw, clock, |_| Said::Nothing),
        Topic::Eval => of::<EvalReport>(raw, clock, |_| Said::Nothing),
        // Questions only: nothing is published there.
        Topic::CameraStep(_)
        | Topic::ArmOrder(..)
        | Topic::ArmLease(..)
        | Topic::ArmStop(_)
        | Topic::EvalPicture
        | Topic::SimReset
        | Topic::Clock(_)
        | Topic::Alive(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use tactus_types::JointVec;
    use tactus_wire::{Name, Role};

    use super::*;

    const CLOCK: ClockId = ClockId(7);

    fn cell() -> Cell {
        Cell::new("demo").expect("legal")
    }

    fn intake() -> Intake {
        Intake::new(cell(), CLOCK)
    }

    fn state_key() -> String {
        let device = Name::new("sim").expect("legal");
        cell().key(&Topic::DeviceState(device)).to_string()
    }

    /// A joint state of number `seq`, captured, published and received at the given milliseconds.
    fn state(seq: u64, [captured, published, received]: [u64; 3]) -> Arrived {
        let header = Header {
            clock: CLOCK,
            captured_at: Time::from_millis(captured),
            published_at: Time::from_millis(published),
            seq,
            source: "device/sim".into(),
            followed: None,
        };
        let state = JointState {
            captured_at: header.captured_at,
            seq,
            epoch: 1,
            q: JointVec::zeros(6),
            dq: JointVec::zeros(6),
            opening: 0.5,
            torque: true,
        };
        Arrived {
            key: state_key(),
            attachment: Some(header.encode()),
            payload: state.encode().into(),
            received_at: Time::from_millis(received),
        }
    }

    #[test]
    fn what_is_published_on_a_key_is_what_the_wire_says_is() {
        let raw = Raw {
            key: "k",
            attachment: None,
            payload: (&[][..]).into(),
            received_at: Time::ZERO,
        };
        let name = || Name::new("a").expect("legal");
        let topics = [
            Topic::CameraImage(name()),
            Topic::CameraInfo(name()),
            Topic::CameraStatus(name()),
            Topic::CameraStep(name()),
            Topic::DeviceState(name()),
            Topic::DeviceCommand(name()),
            Topic::DeviceInfo(name()),
            Topic::ArmState(name()),
            Topic::ArmInfo(name()),
            Topic::ArmRequest(name()),
            Topic::ArmSetpoint(name(), name()),
            Topic::ArmOrder(name(), name()),
            Topic::ArmLease(name(), name()),
            Topic::ArmStop(name()),
            Topic::ArmChunk(name()),
            Topic::ArmApplied(name()),
            Topic::ArmMode(name()),
            Topic::ArmTelemetry(name()),
            Topic::ArmTicks(name()),
            Topic::EngineStatus(name()),
            Topic::EngineReasoning(name()),
            Topic::Episode,
            Topic::Eval,
            Topic::EvalPicture,
            Topic::SimWorld,
            Topic::SimReset,
            Topic::Clock(name()),
            Topic::Alive(Role::Arm, name()),
        ];
        let mut schemas = BTreeSet::new();
        for topic in topics {
            let judged = judge(&topic, &raw, CLOCK).map(|judged| judged.schema);
            assert_eq!(judged, tactus_wire::schema_of(&topic), "{topic}");
            schemas.extend(judged);
        }
        assert_eq!(schemas, SCHEMAS.into());
    }

    fn tally(intake: &Intake) -> Tally {
        *intake.tallies().next().expect("a key").1
    }

    #[test]
    fn a_sound_message_keeps_its_bytes_and_its_times() {
        let mut intake = intake();
        let arrived = state(3, [1000, 1001, 1002]);
        let (entry, sight) = intake.take(arrived.clone()).expect("kept");
        assert_eq!(entry.kind, Kind::Sound("tactus.v1.JointState"));
        assert_eq!(entry.payload, arrived.payload);
        assert_eq!(entry.captured_at, Time::from_millis(1000));
        assert_eq!(entry.published_at, Time::from_millis(1001));
        assert_eq!((entry.seq, &*entry.source), (3, "device/sim"));
        assert_eq!(sight, None);
        assert_eq!(tally(&intake).refused, 0);
    }

    #[test]
    fn late_missing_and_refused_are_counted() {
        let mut intake = intake();
        intake.take(state(0, [1000, 1000, 1001]));
        intake.take(state(4, [1002, 1002, 1200]));
        let mut headless = state(5, [1003, 1003, 1201]);
        headless.attachment = None;
        let (entry, _) = intake.take(headless).expect("kept all the same");
        assert_eq!(entry.kind, Kind::Unreadable);
        assert_eq!(entry.captured_at, entry.received_at);
        let Tally {
            messages,
            late,
            refused,
            continuity,
            ..
        } = tally(&intake);
        assert_eq!((messages, late, refused, continuity.missing), (3, 1, 1, 3));
        let words = intake.words();
        assert_eq!(words["missing"], "3");
        assert_eq!(words["refused tactus/demo/device/sim/state"], "1");
    }

    #[test]
    fn a_time_that_cannot_be_is_no_time_of_the_file() {
        let mut intake = intake();
        let day = 86_400_000;
        for times in [
            [day, day, 1000 + day / 2],
            [1000, 1000, day],
            [0, 0, u64::MAX / 1_000_000],
        ] {
            let (entry, _) = intake.take(state(1, times)).expect("kept");
            assert_eq!(entry.kind, Kind::Refused("tactus.v1.JointState"));
            assert_eq!(entry.captured_at, entry.received_at);
        }
    }

    #[test]
    fn what_decodes_but_may_not_be_stays_readable() {
        let mut intake = intake();
        let mut arrived = state(1, [1000, 1000, 1000]);
        let bad = JointState {
            captured_at: Time::ZERO,
            seq: 1,
            epoch: 1,
            q: JointVec::from_slice(&[f64::NAN]).expect("one joint"),
            dq: JointVec::zeros(1),
            opening: 0.0,
            torque: true,
        };
        arrived.payload = bad.encode().into();
        let (entry, _) = intake.take(arrived.clone()).expect("kept");
        assert_eq!(entry.kind, Kind::Refused("tactus.v1.JointState"));
        arrived.payload = vec![0xff; 9].into();
        let (entry, _) = intake.take(arrived.clone()).expect("kept");
        assert_eq!(entry.kind, Kind::Unreadable);
        arrived.key = "tactus/demo/somebody/elses".into();
        let (entry, _) = intake.take(arrived).expect("kept");
        assert_eq!(entry.kind, Kind::Unreadable);
    }

    #[test]
    fn the_newest_info_of_each_key_stays_and_status_names_the_bundle() {
        let mut intake = intake();
        let key = cell().key(&Topic::EngineStatus(Name::new("engine").expect("legal")));
        for id in ["a", "b"] {
            let status = EngineStatus {
                provider: "cpu".into(),
                bundle_id: id.repeat(64),
                service: None,
            };
            let mut arrived = state(0, [1000, 1000, 1000]);
            arrived.key = key.to_string();
            arrived.payload = status.encode().into();
            intake.take(arrived);
        }
        intake.take(state(0, [1000, 1000, 1000]));
        assert_eq!(intake.infos().count(), 1);
        assert_eq!(
            intake.bundle_id().map(|id| id.to_string()),
            Some("b".repeat(64))
        );
    }

    #[test]
    fn keys_have_an_end() {
        let mut intake = intake();
        for i in 0..MAX_KEYS + 2 {
            let mut arrived = state(0, [1000, 1000, 1000]);
            arrived.key = format!("tactus/demo/camera/c{i}/image");
            assert_eq!(intake.take(arrived).is_some(), i < MAX_KEYS);
        }
        assert_eq!(intake.words()["on_keys_beyond_the_limit"], "2");
    }

    proptest! {
        #[test]
        fn anything_at_all_is_kept_and_nothing_panics(
            topic in "(camera|device|arm|engine)/[a-z]/(image|info|state|command|chunk|applied|mode|telemetry|status)|episode|sim/world|.{0,20}",
            attachment in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..60)),
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            sound_header in any::<bool>(),
        ) {
            let mut intake = intake();
            let mut arrived = state(1, [1000, 1000, 1000]);
            arrived.key = format!("tactus/demo/{topic}");
            arrived.payload = payload.clone().into();
            if !sound_header {
                arrived.attachment = attachment;
            }
            let (entry, _) = intake.take(arrived).expect("kept");
            prop_assert_eq!(&entry.payload[..], &payload[..]);
        }
    }
}
