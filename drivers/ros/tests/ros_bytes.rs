//! Bytes, hashes, keys and tokens against programs that are not ours: `rosbags` and `xxhash` (`goldens.json`, made again by
//! `oracle.py`), and `hiroz-protocol` 0.2.1 (`hiroz.json`, made by the program in `hiroz/`).

use proptest::prelude::*;
use serde::Serialize;
use serde_json::Value;
use tactus_ros::attachment::{AttachmentError, BYTES};
use tactus_ros::messages::{
    Bytes, CameraInfo, CompressedImage, Dimension, Duration, Float64MultiArray, Header, JointState,
    JointTrajectory, Layout, RosMessage, RosService, SetBool, Text, Time, TrajectoryPoint, Trigger,
};
use tactus_ros::{
    Attachment, Endpoint, Gid, Kind, NodeName, Qos, RosError, RosName, RosType, cdr, keys,
};

fn goldens() -> Value {
    serde_json::from_str(include_str!("goldens.json")).expect("JSON")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn same<M>(name: &str, message: &M)
where
    M: Serialize + for<'de> serde::Deserialize<'de> + PartialEq + std::fmt::Debug,
{
    let goldens = goldens();
    let golden = goldens["cdr"][name].as_str().expect("a golden");
    assert_eq!(
        hex(&cdr::encode(message).expect("encoded")),
        golden,
        "{name}"
    );
    let back: M = cdr::decode(&unhex(golden)).expect("decoded");
    assert_eq!(&back, message, "{name}");
}

fn stamp() -> Header {
    Header {
        stamp: Time { sec: 1, nanosec: 2 },
        frame_id: "base".into(),
    }
}

fn text(data: &str) -> Text {
    Text { data: data.into() }
}

fn trajectory() -> JointTrajectory {
    JointTrajectory {
        header: Header::default(),
        joint_names: vec!["a".into(), "bb".into()],
        points: vec![
            TrajectoryPoint {
                positions: vec![0.5, 1.0],
                time_from_start: Duration {
                    sec: 0,
                    nanosec: 20_000_000,
                },
                ..TrajectoryPoint::default()
            },
            TrajectoryPoint {
                positions: vec![0.75, 1.0],
                velocities: vec![0.0, 0.0],
                time_from_start: Duration { sec: 1, nanosec: 5 },
                ..TrajectoryPoint::default()
            },
        ],
    }
}

#[test]
fn messages_are_the_bytes_that_rosbags_writes_and_reads() {
    same("text", &text("hold: wrist"));
    same("text_empty", &text(""));
    let joints = JointState {
        header: stamp(),
        name: vec!["a".into(), "bb".into()],
        position: vec![1.0, 2.0],
        ..JointState::default()
    };
    same("joints", &joints);
    let joints = JointState {
        header: Header {
            stamp: Time {
                sec: 1_700_000_000,
                nanosec: 999_999_999,
            },
            frame_id: "tool0".into(),
        },
        name: vec!["shoulder_pan_joint".into(), "elbow".into()],
        position: vec![-1.5, 0.25],
        velocity: vec![0.125, -3.0],
        effort: vec![1e-9, 1e300],
    };
    same("joints_full", &joints);
    let picture = CompressedImage {
        header: stamp(),
        format: "jpeg".into(),
        data: Bytes(vec![0xff, 0xd8, 1, 2, 3]),
    };
    same("picture", &picture);
    let camera = CameraInfo {
        header: stamp(),
        height: 480,
        width: 640,
        distortion_model: "plumb_bob".into(),
        d: vec![0.1, -0.2, 0.0, 0.0, 0.05],
        k: [600.0, 0.0, 320.0, 0.0, 601.0, 240.0, 0.0, 0.0, 1.0],
        r: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: [
            600.0, 0.0, 320.0, 0.0, 0.0, 601.0, 240.0, 0.0, 0.0, 0.0, 1.0, 0.0,
        ],
        ..CameraInfo::default()
    };
    same("camera", &camera);
    same("trajectory", &trajectory());
    let array = Float64MultiArray {
        layout: Layout::default(),
        data: vec![0.5, -0.5],
    };
    same("array", &array);
    let described = Float64MultiArray {
        layout: Layout {
            dim: vec![Dimension {
                label: "joints".into(),
                size: 2,
                stride: 2,
            }],
            data_offset: 0,
        },
        ..array
    };
    same("array_described", &described);
}

#[test]
fn hashes_are_those_that_rosbags_computes() {
    let goldens = goldens();
    let is = |name: &str, ty: RosType| {
        assert_eq!(goldens["hashes"][name], ty.hash, "{name}");
        // `sensor_msgs/msg/JointState` on the wire.
        let (scope, last) = name.rsplit_once('/').expect("parts");
        assert_eq!(
            ty.dds,
            format!("{}::dds_::{last}_", scope.replace('/', "::"))
        );
    };
    is("std_msgs/msg/String", Text::TYPE);
    is("sensor_msgs/msg/JointState", JointState::TYPE);
    is("sensor_msgs/msg/CompressedImage", CompressedImage::TYPE);
    is("sensor_msgs/msg/CameraInfo", CameraInfo::TYPE);
    is("trajectory_msgs/msg/JointTrajectory", JointTrajectory::TYPE);
    is("std_msgs/msg/Float64MultiArray", Float64MultiArray::TYPE);
    is("std_srvs/srv/Trigger", Trigger::TYPE);
    is("std_srvs/srv/SetBool", SetBool::TYPE);
    // The way to a service's hash is right: this one is in rmw_zenoh's own documentation.
    assert_eq!(
        goldens["hashes"]["example_interfaces/srv/AddTwoInts"],
        "RIHS01_e118de6bf5eeb66a2491b5bda11202e7b68f198d6f67922cf30364858239c81a"
    );
}

#[test]
fn a_gid_is_what_xxhash_says() {
    for (token, golden) in goldens()["gids"].as_object().expect("gids") {
        assert_eq!(&hex(&Gid::of(token).bytes()), golden, "{token}");
    }
}

#[test]
fn what_is_not_wholly_a_message_is_refused() {
    let whole = cdr::encode(&trajectory()).expect("encoded");
    for cut in 0..whole.len() {
        assert!(
            cdr::decode::<JointTrajectory>(&whole[..cut]).is_err(),
            "{cut}"
        );
    }
    let more = [whole.clone(), vec![0; 4]].concat();
    assert!(cdr::decode::<JointTrajectory>(&more).is_err());
    // Big-endian, XCDR2, no header at all.
    for encoding in [[0, 0], [0, 7], [1, 0]] {
        let other = [&encoding[..], &whole[2..]].concat();
        assert!(
            cdr::decode::<JointTrajectory>(&other).is_err(),
            "{encoding:?}"
        );
    }
    // A sequence that claims more than memory has.
    let claims = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
    assert!(cdr::decode::<Float64MultiArray>(&claims).is_err());
    let long = vec![0; cdr::MAX_BYTES + 1];
    assert!(cdr::decode::<Text>(&long).is_err());
}

proptest! {
    #[test]
    fn what_is_sent_is_always_what_rmw_zenoh_reads(sequence in any::<u64>(), at in any::<u64>(), token in ".{0,200}") {
        let gid = Gid::of(&token);
        let sent = Attachment::new(sequence, at, gid);
        for sent in [sent, sent.answer(at / 2)] {
            let bytes = sent.encode();
            // As rmw_zenoh reads it: two numbers, a length in groups of seven bits, as many bytes, and no more.
            prop_assert_eq!(bytes.len(), BYTES);
            let sequence = i64::from_le_bytes(bytes[..8].try_into().expect("eight"));
            prop_assert!(sequence >= 1);
            prop_assert!(i64::from_le_bytes(bytes[8..16].try_into().expect("eight")) >= 0);
            prop_assert_eq!(bytes[16], 16);
            prop_assert_eq!(&bytes[17..], &gid.bytes()[..]);
            prop_assert_eq!(Attachment::decode(Some(&bytes)), Ok(sent));
        }
    }

    #[test]
    fn bytes_are_an_attachment_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80), whole in any::<bool>()) {
        let mut bytes = bytes;
        if whole {
            bytes.resize(BYTES, 16);
            bytes[16] = 16;
        }
        match Attachment::decode(Some(&bytes)) {
            Ok(read) => prop_assert_eq!(&read.encode()[..], &bytes[..]),
            Err(_) => prop_assert!(
                bytes.len() != BYTES || bytes[16] != 16 || i64::from_le_bytes(bytes[..8].try_into().expect("eight")) < 0
            ),
        }
        prop_assert_eq!(Attachment::decode(None), Err(AttachmentError::None));
    }

    #[test]
    fn any_bytes_are_a_message_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = [vec![0, 1, 0, 0], bytes].concat();
        if let Ok(read) = cdr::decode::<JointTrajectory>(&bytes) {
            let again: JointTrajectory = cdr::decode(&cdr::encode(&read).expect("encoded")).expect("read again");
            // NaN is not equal to itself.
            prop_assert_eq!(format!("{again:?}"), format!("{read:?}"));
        }
        let _ = cdr::decode::<CompressedImage>(&bytes);
        let _ = cdr::decode::<JointState>(&bytes);
        let _ = cdr::decode::<Float64MultiArray>(&bytes);
    }
}

#[test]
fn names_are_those_that_ros_2_takes() {
    for legal in ["/a", "/tactus/arm/joint_states", "/A1/_b"] {
        assert!(RosName::new(legal).is_ok(), "{legal}");
    }
    for wrong in [
        "", "/", "a", "/a/", "/a//b", "/1a", "/a__b", "/a-b", "/a*", "/a/**", "/ä", "/a b",
    ] {
        assert!(
            matches!(RosName::new(wrong), Err(RosError::Name { .. })),
            "{wrong}"
        );
    }
    for (name, part) in [
        ("scene", "scene"),
        ("left-arm", "left_arm"),
        ("a--_b", "a_b"),
        ("3d", "n3d"),
    ] {
        assert_eq!(keys::part(name), part);
        assert!(RosName::new(&format!("/{}", keys::part(name))).is_ok());
    }
}

#[test]
fn keys_and_tokens_are_those_of_hiroz() {
    let rows: Value = serde_json::from_str(include_str!("hiroz.json")).expect("JSON");
    let rows = rows.as_array().expect("rows");
    assert_eq!(rows.len(), 3 * 9);
    for row in rows {
        let text = |field: &str| row[field].as_str().expect("text");
        let number = |field: &str| row[field].as_u64().expect("a number");
        let node = NodeName {
            domain: number("domain") as u8,
            session: text("session").into(),
            namespace: match text("namespace") {
                "/" => None,
                name => Some(RosName::new(name).expect("legal")),
            },
            name: text("node").into(),
        };
        if row.get("kind").is_none() {
            assert_eq!(node.token(), text("token"));
            continue;
        }
        let kinds = [
            Kind::Publisher,
            Kind::Subscriber,
            Kind::Service,
            Kind::Client,
        ];
        let types = [JointState::TYPE, Trigger::TYPE];
        let endpoint = Endpoint {
            id: number("id") as u32,
            kind: *kinds
                .iter()
                .find(|k| k.word() == text("kind"))
                .expect("known"),
            name: RosName::new(text("name")).expect("legal"),
            ty: *types
                .iter()
                .find(|ty| ty.dds == text("type"))
                .expect("known"),
            qos: Qos {
                reliable: row["reliable"] == true,
                depth: number("depth") as u16,
            },
        };
        assert_eq!(endpoint.token(&node), text("token"));
        assert_eq!(endpoint.key(&node), text("key"));
        assert_eq!(endpoint.ty.hash, text("hash"));
        assert_eq!(
            keys::data_key(node.domain, &endpoint.name, endpoint.ty),
            text("key")
        );
    }
}
