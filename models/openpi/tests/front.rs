//! The front: what clients send becomes what a policy sees, and what is wrong with it is said in one sentence.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tactus_openpi::pack::Packer;
use tactus_openpi::value::{Value, read};
use tactus_openpi::{CameraShape, Front, FrontSpec, MappingFile, Reads, Side};
use tactus_types::{
    Action, ActionChunk, InferenceRequest, JointVec, Observation, Policy, PolicyError, StageTimes,
    Time,
};

const W: usize = 4;
const H: usize = 2;

/// Remembers what it saw; its actions are where the arm is, one row further each.
struct Seeing {
    cameras: Vec<Arc<str>>,
    id: Arc<str>,
    seen: Arc<Mutex<Vec<(Observation, InferenceRequest)>>>,
}

impl Policy for Seeing {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        let mut seen = self.seen.lock().expect("unpoisoned");
        seen.push((observation.clone(), request.clone()));
        if &*request.instruction == "fail" {
            return Err(PolicyError {
                stage: "denoise",
                reason: "no".into(),
            });
        }
        let bad = &*request.instruction == "nan";
        let action = |i: usize| Action {
            q: JointVec::from_fn(2, |j| {
                if bad {
                    f64::NAN
                } else {
                    observation.state.q[j] + i as f64
                }
            }),
            opening: observation.state.opening,
        };
        Ok(ActionChunk {
            request_id: request.id,
            generation: request.generation,
            observed_at: observation.observed_at,
            first_due: observation.observed_at,
            period: Duration::from_millis(50),
            actions: (0..3).map(action).collect(),
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
        "test"
    }
}

type Seen = Arc<Mutex<Vec<(Observation, InferenceRequest)>>>;

fn front(file: &str) -> (Front, Seen) {
    let camera = |name: &str| CameraShape {
        name: name.into(),
        size: Some((W, H)),
    };
    let reads = Reads {
        cameras: vec![camera("scene"), camera("wrist")],
        joints: vec!["a".into(), "b".into()],
        gripper: true,
        period: Duration::from_millis(50),
    };
    let file = MappingFile::parse(file).expect("a mapping");
    let seen = Seen::default();
    let policy = Seeing {
        cameras: vec!["scene".into(), "wrist".into()],
        id: "ab".into(),
        seen: Arc::clone(&seen),
    };
    let spec = FrontSpec {
        name: "test".into(),
        mapping: file.resolve(Side::Server, &reads).expect("legal"),
        reads,
        horizon: 3,
        first_action_offset: Duration::ZERO,
    };
    (Front::new(Box::new(policy), spec), seen)
}

fn picture(from: u8) -> Vec<u8> {
    (0..(W * H * 3) as u8).map(|i| i + from).collect()
}

/// An observation; `edit` writes one more entry in place of what it names.
fn observation(leave_out: &str, more: usize, edit: impl FnOnce(&mut Packer)) -> Vec<u8> {
    let mut packer = Packer::default();
    let keys = [
        "observation/image/scene",
        "observation/image/wrist",
        "observation/state",
        "prompt",
    ];
    packer.map(keys.iter().filter(|key| **key != leave_out).count() + more);
    for key in keys.into_iter().filter(|key| *key != leave_out) {
        packer.text(key);
        match key {
            "prompt" => packer.text("pick"),
            "observation/state" => packer.float_array(&[3], &[0.5, -0.5, 1.0]),
            "observation/image/scene" => packer.bytes_array(&[H, W, 3], &picture(0)),
            _ => packer.bytes_array(&[H, W, 3], &picture(100)),
        };
    }
    edit(&mut packer);
    packer.into_bytes()
}

fn now() -> Time {
    Time::from_millis(1000)
}

fn complaint(front: &mut Front, message: &[u8]) -> String {
    let answer = front.answer(message, now(), None);
    answer.expect_err("refused").to_string()
}

#[test]
fn an_observation_becomes_a_chunk_with_openpis_timing() {
    let (mut front, seen) = front("");
    let message = observation("", 1, |p| {
        // Clients send more than a policy looks at.
        p.text("observation/image/left")
            .bytes_array(&[1, 1, 3], &[1, 2, 3]);
    });
    let reply = front
        .answer(&message, now(), Some(Duration::from_millis(2)))
        .expect("answers");
    let reply = read(&reply).expect("legal");
    let Some(Value::Array(actions)) = reply.get("actions") else {
        panic!("{reply:?}");
    };
    assert_eq!(actions.describe(), "float64 [3, 3]");
    let rows = [0.5, -0.5, 1.0, 1.5, 0.5, 1.0, 2.5, 1.5, 1.0];
    assert_eq!(actions.numbers(), Some(rows.to_vec()));
    assert_eq!(
        reply.get("server_timing.prev_total_ms"),
        Some(&Value::Float(2.0))
    );
    for key in ["server_timing.infer_ms", "policy_timing.infer_ms"] {
        assert!(
            matches!(reply.get(key), Some(Value::Float(ms)) if *ms >= 0.0),
            "{key}"
        );
    }
    let seen = seen.lock().expect("unpoisoned");
    let (observation, request) = &seen[0];
    assert_eq!(&*request.instruction, "pick");
    assert_eq!(observation.state.q.as_slice(), [0.5, -0.5]);
    assert_eq!(observation.state.opening, 1.0);
    let frames = &observation.frames;
    assert_eq!(frames[0].data[..], picture(0));
    assert_eq!(
        (frames[1].camera.as_ref(), frames[1].data.to_vec()),
        ("wrist", picture(100))
    );
    assert_eq!(
        request.leftover.as_slice().len(),
        1,
        "the command, for actions that count from it"
    );
}

#[test]
fn an_aloha_client_sends_planes_and_a_droid_client_two_vectors() {
    let map = "prompt = \"task\"\ndefault_prompt = \"pick it\"\nunit = \"deg\"\n\
               gripper = { open = 0.0, closed = 1.0 }\n\
               [[image]]\ncamera = \"scene\"\nkey = \"images.cam_high\"\n\
               [[image]]\ncamera = \"wrist\"\nkey = \"observation/wrist_image_left\"\n\
               [[state]]\nkey = \"observation/joint_position\"\ncolumns = [\"b\", \"-\", \"a\"]\n\
               [[state]]\nkey = \"observation/gripper_position\"\ncolumns = [\"gripper\"]\n\
               [actions]\ncolumns = [\"a\", \"b\", \"gripper\"]\nrepresentation = \"relative_joints\"\n\
               [metadata]\nreset_pose = [0.5, 1]\n";
    let (mut front, seen) = front(map);
    let mut packer = Packer::default();
    packer.map(4).text("images").map(1).text("cam_high");
    let planes: Vec<u8> = (0..3)
        .flat_map(|c| (0..W * H).map(move |i| (i * 3 + c) as u8))
        .collect();
    packer.bytes_array(&[3, H, W], &planes);
    packer
        .text("observation/wrist_image_left")
        .bytes_array(&[H, W, 3], &picture(7));
    packer
        .text("observation/joint_position")
        .float_array(&[3], &[180.0, 9.0, 90.0]);
    // One number need not be a vector.
    packer.text("observation/gripper_position").float(1.0);
    let reply = front
        .answer(&packer.into_bytes(), now(), None)
        .expect("answers");
    let reply = read(&reply).expect("legal");
    let actions = reply.get("actions").cloned();
    let Some(Value::Array(actions)) = actions else {
        panic!("{reply:?}");
    };
    let degrees = actions.numbers().expect("numbers");
    let radian = 1.0_f64.to_degrees();
    let expected = [
        0.0,
        0.0,
        1.0,
        radian,
        radian,
        1.0,
        2.0 * radian,
        2.0 * radian,
        1.0,
    ];
    assert!(
        degrees
            .iter()
            .zip(expected)
            .all(|(a, b)| (a - b).abs() < 1e-9),
        "{degrees:?}"
    );
    let seen = seen.lock().expect("unpoisoned");
    let (observation, request) = &seen[0];
    assert_eq!(&*request.instruction, "pick it");
    assert_eq!(
        observation.frames[0].data[..],
        picture(0),
        "planes side by side"
    );
    let q = observation.state.q;
    assert!(
        (q[0] - std::f64::consts::FRAC_PI_2).abs() < 1e-12
            && (q[1] - std::f64::consts::PI).abs() < 1e-12
    );
    assert_eq!(observation.state.opening, 0.0);
    let metadata = front.metadata();
    let metadata = read(&metadata).expect("legal");
    assert_eq!(
        metadata.get("reset_pose").and_then(Value::numbers),
        Some(vec![0.5, 1.0])
    );
    assert_eq!(metadata.get("tactus.horizon"), Some(&Value::Int(3)));
    assert_eq!(
        metadata.get("tactus.actions.representation"),
        Some(&Value::Text("relative_joints"))
    );
    for gripper in ["tactus.actions.gripper", "tactus.state_gripper"] {
        let number = |end: &str| metadata.get(&format!("{gripper}.{end}")).cloned();
        let ends = [number("open"), number("closed")];
        assert_eq!(
            ends,
            [0.0, 1.0].map(|end| Some(Value::Float(end))),
            "{gripper}"
        );
    }
}

#[test]
fn what_is_wrong_is_said_with_its_key_and_the_next_is_answered() {
    let (mut front, seen) = front("");
    let scene = "observation/image/scene";
    let state = "observation/state";
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            observation(scene, 0, |_| ()),
            "observation, key `observation/image/scene` or `images.scene`: expected it to be there, got the keys \
             observation/image/wrist, observation/state, prompt",
        ),
        (
            observation(scene, 1, |p| {
                p.text(scene).bytes_array(&[W, H, 3], &picture(0));
            }),
            "observation, key `observation/image/scene` or `images.scene`: expected uint8 [2, 4, 3] or [3, 2, 4], got \
             uint8 [4, 2, 3]",
        ),
        (
            observation(scene, 1, |p| {
                p.text(scene).float_array(&[H, W, 3], &[0.5; W * H * 3]);
            }),
            "observation, key `observation/image/scene` or `images.scene`: expected uint8 [2, 4, 3] or [3, 2, 4], got \
             float64 [2, 4, 3]",
        ),
        (
            observation(scene, 1, |p| {
                p.text(scene).text("a picture");
            }),
            "observation, key `observation/image/scene` or `images.scene`: expected uint8 [2, 4, 3] or [3, 2, 4], got text",
        ),
        (
            observation(state, 1, |p| {
                p.text(state).float_array(&[7], &[0.0; 7]);
            }),
            "observation, key `observation/state` or `state`: expected 3 numbers, got float64 [7]",
        ),
        (
            observation(state, 1, |p| {
                p.text(state).float_array(&[3], &[0.0, f64::NAN, 0.0]);
            }),
            "observation, key `observation/state` or `state`: expected finite numbers, got NaN at index 1",
        ),
        (
            observation(state, 1, |p| {
                p.text(state).float_array(&[1, 3], &[0.0; 3]);
            }),
            "observation, key `observation/state` or `state`: expected 3 numbers, got float64 [1, 3]",
        ),
        (
            observation("prompt", 0, |_| ()),
            "observation, key `prompt`: expected it to be there, got the keys observation/image/scene, \
             observation/image/wrist, observation/state",
        ),
        (
            observation("prompt", 1, |p| {
                p.text("prompt").int(3);
            }),
            "observation, key `prompt`: expected text, got a number",
        ),
        (
            observation("prompt", 1, |p| {
                p.text("prompt").text(&"x".repeat(20_000));
            }),
            "observation, key `prompt`: expected at most 16384 bytes of text, got 20000",
        ),
        (
            vec![0xc0],
            "observation, key ``: expected a dictionary, got None",
        ),
        (
            vec![0x81],
            "observation: msgpack, byte 1: expected a complete message, got its end",
        ),
    ];
    for (message, says) in cases {
        assert_eq!(complaint(&mut front, &message), says);
    }
    assert!(
        seen.lock().expect("unpoisoned").is_empty(),
        "the policy saw none of them"
    );
    let prompt = |text: &'static str| {
        observation("prompt", 1, move |p| {
            p.text("prompt").text(text);
        })
    };
    assert_eq!(
        complaint(&mut front, &prompt("fail")),
        "policy stage `denoise`: no"
    );
    let says = "the policy's actions are not finite numbers";
    assert_eq!(complaint(&mut front, &prompt("nan")), says);
    front
        .answer(&observation("", 0, |_| ()), now(), None)
        .expect("answers");
}

#[test]
fn pictures_that_the_policy_still_holds_are_never_written_over() {
    let (mut front, seen) = front("");
    for i in 0..6 {
        let message = observation("observation/image/scene", 1, |p| {
            p.text("images")
                .map(1)
                .text("scene")
                .bytes_array(&[H, W, 3], &picture(i));
        });
        front.answer(&message, now(), None).expect("answers");
        let mut seen = seen.lock().expect("unpoisoned");
        // It lets go of all but the last two.
        let let_go = seen.len().saturating_sub(2);
        seen.drain(..let_go);
        let first = i.saturating_sub(1);
        for (held, (observation, _)) in (first..).zip(seen.iter()) {
            assert_eq!(
                observation.frames[0].data[..],
                picture(held),
                "frame {held} of {i}"
            );
        }
    }
}
