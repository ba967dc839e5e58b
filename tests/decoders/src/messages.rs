//! What comes in messages: Zenoh's, with their headers and keys, and those of OpenPI's clients.

use std::sync::Arc;
use std::time::Duration;

use tactus_openpi::value;
use tactus_openpi::{CameraShape, Front, FrontSpec, MappingFile, Reads, Side};
use tactus_types::{
    Action, ActionChunk, ArmInfo, CameraFrame, ClockId, InferenceRequest, JointState, JointVec,
    Observation, OperatorSetpoint, Policy, PolicyError, StageTimes, Time,
};
use tactus_wire::{
    AppliedBatch, CameraInfo, CameraStatus, Cell, ChunkReply, ClockedFrame, DeviceCommand,
    EngineStatus, EpisodeEvent, EvalAnswer, EvalPicture, EvalReply, EvalReport, LeaseReply,
    LeaseRequest, LeasedOrder, Message, ModeOrder, ModeOrderReply, ModeReport, Name, Nothing, Raw,
    Reasoning, SimReset, SimResetReply, SimWorld, Telemetry, TickBatch, decode,
};

/// Kinds of messages.
pub const KINDS: u8 = 30;

/// A message: a byte for its kind, one for the length of its header, the header, the payload.
pub fn wire(data: &[u8]) -> bool {
    let [kind, length, rest @ ..] = data else {
        return false;
    };
    let (header, payload) = rest.split_at(usize::from(*length).min(rest.len()));
    if let Ok(key) = std::str::from_utf8(payload)
        && let Ok(cell) = Cell::new("cell")
    {
        let _ = cell.topic(key);
        let _ = Name::new(key);
    }
    let raw = Raw {
        key: "tactus/cell/any",
        attachment: Some(header.into()),
        payload: payload.into(),
        received_at: Time::from_millis(1_000_000),
    };
    match kind % KINDS {
        0 => message::<TickBatch>(&raw),
        1 => message::<EpisodeEvent>(&raw),
        2 => message::<ModeReport>(&raw),
        3 => message::<ModeOrder>(&raw),
        4 => message::<LeasedOrder>(&raw),
        5 => message::<ModeOrderReply>(&raw),
        6 => message::<EngineStatus>(&raw),
        7 => message::<AppliedBatch>(&raw),
        8 => message::<EvalReport>(&raw),
        9 => message::<EvalAnswer>(&raw),
        10 => message::<EvalReply>(&raw),
        11 => message::<EvalPicture>(&raw),
        12 => message::<CameraFrame>(&raw),
        13 => message::<ClockedFrame>(&raw),
        14 => message::<CameraInfo>(&raw),
        15 => message::<CameraStatus>(&raw),
        16 => message::<SimWorld>(&raw),
        17 => message::<SimReset>(&raw),
        18 => message::<SimResetReply>(&raw),
        19 => message::<InferenceRequest>(&raw),
        20 => message::<ChunkReply>(&raw),
        21 => message::<OperatorSetpoint>(&raw),
        22 => message::<Reasoning>(&raw),
        23 => message::<Telemetry>(&raw),
        24 => message::<LeaseRequest>(&raw),
        25 => message::<LeaseReply>(&raw),
        26 => message::<JointState>(&raw),
        27 => message::<DeviceCommand>(&raw),
        28 => message::<ArmInfo>(&raw),
        29 => message::<Nothing>(&raw),
        _ => false,
    }
}

/// What is accepted is written, and then accepted again.
fn message<M: Message>(raw: &Raw<'_>) -> bool {
    let Ok(delivery) = decode::<M>(raw, ClockId(7)) else {
        return false;
    };
    let again = Raw {
        key: raw.key,
        attachment: Some(delivery.header.encode().into()),
        payload: delivery.message.encode().into(),
        received_at: raw.received_at,
    };
    let again = decode::<M>(&again, ClockId(7));
    assert!(again.is_ok(), "what was accepted: {:?}", again.err());
    true
}

/// A message of an OpenPI client, to a policy that rests.
pub fn openpi(data: &[u8]) -> bool {
    if let Ok(value) = value::read(data) {
        let _ = (value.describe(), value.numbers(), value.keys());
    }
    let camera = |name: &str| CameraShape {
        name: name.into(),
        size: Some((4, 2)),
    };
    let reads = Reads {
        cameras: vec![camera("scene"), camera("wrist")],
        joints: vec!["a".into(), "b".into()],
        gripper: true,
        period: Duration::from_millis(50),
    };
    let mapping = MappingFile::parse("").ok();
    let Some(Ok(mapping)) = mapping.map(|file| file.resolve(Side::Server, &reads)) else {
        unreachable!("the mapping of a cell that says nothing")
    };
    let spec = FrontSpec {
        name: "resting".into(),
        mapping,
        reads,
        horizon: 1,
        first_action_offset: Duration::ZERO,
    };
    let mut front = Front::new(Box::new(Resting::new()), spec);
    front.answer(data, Time::from_millis(1_000), None).is_ok()
}

/// Stays where it is seen to be.
struct Resting {
    cameras: Vec<Arc<str>>,
    id: Arc<str>,
}

impl Resting {
    fn new() -> Self {
        Self {
            cameras: vec!["scene".into(), "wrist".into()],
            id: "resting".into(),
        }
    }
}

impl Policy for Resting {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        assert_eq!(observation.frames.len(), 2, "the cameras that it needs");
        for frame in &observation.frames {
            assert_eq!(frame.data.len(), 4 * 2 * 3, "of the size that it needs");
        }
        assert!(observation.state.q.is_finite(), "{:?}", observation.state);
        let q = JointVec::from_fn(2, |j| observation.state.q[j]);
        Ok(ActionChunk {
            request_id: request.id,
            generation: request.generation,
            observed_at: observation.observed_at,
            first_due: observation.observed_at,
            period: Duration::from_millis(50),
            actions: vec![Action {
                q,
                opening: observation.state.opening,
            }],
            bundle_id: Arc::clone(&self.id),
            states: None,
            frames: vec![],
            stages: StageTimes::default(),
        })
    }

    fn cameras(&self) -> &[Arc<str>] {
        &self.cameras
    }

    fn bundle_id(&self) -> &Arc<str> {
        &self.id
    }

    fn provider(&self) -> &str {
        "resting"
    }
}
