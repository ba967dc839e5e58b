//! Laws of the encodings: what is sent is what arrives, and no bytes make a receiver panic or accept nonsense.

mod refusals;
mod reports;
mod strategies;

use std::{borrow::Cow, time::Duration};

use proptest::{collection::vec, prelude::*};
use tactus_types::{
    ArmInfo, CameraFrame, ClockId, Encoding, InferenceRequest, JointState, LeaseId, MAX_JOINTS,
    OperatorSetpoint, Time,
};
use tactus_wire::{
    AppliedBatch, CameraInfo, CameraStatus, CaptureClock, ChunkReply, ClockedFrame, DeviceCommand,
    EngineStatus, EpisodeEvent, EvalAnswer, EvalPicture, EvalReply, EvalReport, Header, LeaseReply,
    LeaseRequest, LeasedOrder, Message, ModeOrder, ModeOrderReply, ModeReport, Nothing, Raw,
    Reasoning, SimReset, SimResetReply, SimWorld, Telemetry, TickBatch, WireError, decode,
};

use reports::*;
use strategies::*;

const CELL: ClockId = ClockId(7);
const KEY: &str = "tactus/demo/camera/scene/image";
const RECEIVED: Time = Time::from_millis(1_000_000);

/// What the other end makes of `message`.
fn travel<M: Message>(message: &M) -> Result<M, WireError> {
    let header = Header {
        clock: CELL,
        captured_at: message.captured_at().unwrap_or(Time::from_nanos(5)),
        published_at: Time::from_nanos(6),
        seq: message.seq().unwrap_or(3),
        source: "camera/scene".into(),
        followed: None,
    };
    let raw = Raw {
        key: KEY,
        attachment: Some(header.encode().into()),
        payload: message.encode().into(),
        received_at: RECEIVED,
    };
    decode(&raw, CELL).map(|delivery| delivery.message)
}

macro_rules! arrives_as_sent {
    ($($name:ident: $strategy:expr;)*) => {
        proptest! {
            $(
                #[test]
                fn $name(message in $strategy) {
                    prop_assert_eq!(travel(&message), Ok(message));
                }
            )*
        }
    };
}

arrives_as_sent! {
    joint_states_arrive: joint_state();
    device_commands_arrive: device_command();
    arm_infos_arrive: arm_info();
    requests_arrive: request();
    chunks_arrive: chunk();
    refusals_arrive: refusal();
    batches_arrive: vec(applied(), 0..10).prop_map(|applied| AppliedBatch { applied });
    mode_reports_arrive: mode_report();
    mode_orders_arrive: mode_order();
    leased_orders_arrive: leased_order();
    lease_requests_arrive: lease_request();
    lease_replies_arrive: lease_reply();
    operator_setpoints_arrive: (1..=MAX_JOINTS)
        .prop_flat_map(|n| (joints(n), 0.0..=1.0f64, any::<(u64, u64, bool)>(), time()))
        .prop_map(|(q, opening, (lease, sequence, engaged), captured_at)| OperatorSetpoint {
            lease: LeaseId(lease),
            sequence,
            captured_at,
            q,
            opening,
            engaged,
        });
    order_replies_arrive: (any::<bool>(), text(), mode_word())
        .prop_map(|(accepted, message, mode)| ModeOrderReply { accepted, message, mode });
    telemetry_arrives: telemetry();
    ticks_arrive: (any::<(u64, u64, u64)>(), vec(tick_note(), 0..4))
        .prop_map(|((boot, spec, lost), ticks)| TickBatch { boot, spec, lost, ticks });
    episodes_arrive: episode();
    worlds_arrive: world();
    words_arrive: (any::<(u64, u32)>(), time(), ["[ -~]{0,40}", ".{0,200}", "[a-z ]{0,20}"], 0..1_000_000u64)
        .prop_map(|((talk, tokens), observed_at, [instruction, text, finish], millis)| Reasoning {
            talk,
            observed_at,
            instruction: instruction.into(),
            text: text.into(),
            tokens,
            finish: Some(finish).filter(|finish| !finish.is_empty()).map(Into::into),
            elapsed: Duration::from_millis(millis),
        });
    engine_statuses_arrive: ([text(), text()], prop::option::of(service())).prop_map(
        |([provider, bundle_id], service)| EngineStatus { provider, bundle_id, service },
    );
    resets_arrive: any::<(u64, bool)>().prop_map(|(seed, variation)| SimReset { seed, variation });
    reset_replies_arrive: any::<u64>().prop_map(|epoch| SimResetReply { epoch });
    camera_infos_arrive: (1..=16384u32, 1..=16384u32, positive())
        .prop_map(|(width, height, rate_hz)| CameraInfo { width, height, rate_hz });
    camera_statuses_arrive: (
        any::<(bool, u64, u64, u64, u64, u64)>(),
        prop::sample::select(CaptureClock::ALL.to_vec()),
        positive(),
        "[ -~]{0,80}",
    )
        .prop_map(|((connected, frames, dropped, corrupt, frozen, reconnections), clock, rate_hz, fault)| CameraStatus {
            connected, clock, frames, dropped, corrupt, frozen, reconnections, rate_hz, fault,
        });
}

/// The smallest thing that is a JPEG header: start, one quantisation table, frame, scan.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    bytes.extend([1; 64]);
    bytes.extend([0xff, 0xc0, 0, 11, 8]);
    bytes.extend(height.to_be_bytes());
    bytes.extend(width.to_be_bytes());
    bytes.extend([1, 1, 0x11, 0]);
    for class in [0x00, 0x10] {
        bytes.extend([0xff, 0xc4, 0, 20, class]);
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0, 0xff, 0xd9]);
    bytes
}

fn frame(width: u16, height: u16) -> CameraFrame {
    CameraFrame {
        camera: "scene".into(),
        captured_at: Time::from_nanos(1_500_000_000),
        received_at: RECEIVED,
        seq: 9,
        width: width.into(),
        height: height.into(),
        encoding: Encoding::Jpeg,
        data: jpeg(width, height).into(),
    }
}

/// Decodes `payload` and `attachment` as every kind of message; the point is that it returns.
fn decode_all(attachment: Option<&[u8]>, payload: &[u8]) -> Vec<Option<WireError>> {
    let raw = Raw {
        key: KEY,
        attachment: attachment.map(Cow::from),
        payload: payload.into(),
        received_at: RECEIVED,
    };
    fn one<M: Message>(raw: &Raw<'_>) -> Option<WireError> {
        decode::<M>(raw, CELL).err()
    }
    vec![
        one::<JointState>(&raw),
        one::<DeviceCommand>(&raw),
        one::<ArmInfo>(&raw),
        one::<CameraFrame>(&raw),
        one::<CameraInfo>(&raw),
        one::<CameraStatus>(&raw),
        one::<ClockedFrame>(&raw),
        one::<InferenceRequest>(&raw),
        one::<ChunkReply>(&raw),
        one::<AppliedBatch>(&raw),
        one::<ModeReport>(&raw),
        one::<OperatorSetpoint>(&raw),
        one::<ModeOrder>(&raw),
        one::<LeasedOrder>(&raw),
        one::<LeaseRequest>(&raw),
        one::<LeaseReply>(&raw),
        one::<ModeOrderReply>(&raw),
        one::<Telemetry>(&raw),
        one::<TickBatch>(&raw),
        one::<EpisodeEvent>(&raw),
        one::<EvalReport>(&raw),
        one::<EvalAnswer>(&raw),
        one::<EvalReply>(&raw),
        one::<EvalPicture>(&raw),
        one::<Reasoning>(&raw),
        one::<EngineStatus>(&raw),
        one::<SimWorld>(&raw),
        one::<SimReset>(&raw),
        one::<SimResetReply>(&raw),
        one::<Nothing>(&raw),
    ]
}

fn header(clock: ClockId) -> Header {
    Header {
        clock,
        captured_at: Time::from_nanos(1),
        published_at: Time::from_nanos(2),
        seq: 3,
        source: "test".into(),
        followed: None,
    }
}

proptest! {
    #[test]
    fn frames_arrive((width, height) in (1..4000u16, 1..4000u16)) {
        let frame = frame(width, height);
        prop_assert_eq!(travel(&frame), Ok(frame));
    }

    #[test]
    fn random_bytes_never_panic(
        attachment in prop::option::of(vec(any::<u8>(), 0..64)),
        payload in vec(any::<u8>(), 0..400),
    ) {
        decode_all(attachment.as_deref(), &payload);
        decode_all(Some(&header(CELL).encode()), &payload);
    }

    #[test]
    fn damaged_messages_never_panic(
        (mut payload, at, bits) in prop_oneof![
            chunk().prop_map(|m| m.encode()),
            world().prop_map(|m| m.encode()),
            arm_info().prop_map(|m| m.encode()),
            Just(frame(64, 48).encode()),
        ].prop_flat_map(|p| { let n = p.len(); (Just(p), 0..n, any::<u8>()) }),
    ) {
        payload[at] ^= bits;
        decode_all(Some(&header(CELL).encode()), &payload);
        payload.truncate(at);
        decode_all(Some(&header(CELL).encode()), &payload);
    }

    #[test]
    fn a_message_without_this_clock_and_version_is_never_accepted(
        payload in vec(any::<u8>(), 0..40),
        clock in any::<u64>().prop_filter("foreign", |c| *c != CELL.0),
    ) {
        let foreign = header(ClockId(clock)).encode();
        for attachment in [None, Some(&foreign[..])] {
            prop_assert!(decode_all(attachment, &payload).iter().all(Option::is_some));
        }
    }
}
