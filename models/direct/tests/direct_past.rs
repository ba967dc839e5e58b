//! Past observations, bytes, noise, units and sizes, on a graph whose output shows what came in (`data/make.py`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tactus_bundle::DirectBundle;
use tactus_direct::DirectPolicy;
use tactus_direct::wrap::{Contents, Known, Map, Resolved, Scan, infer, write};
use tactus_types::{
    Action, ActionChunk, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest,
    JointState, JointVec, Observation, Policy, Time, TimedAction,
};
use tactus_vla::RunOptions;
use tempfile::TempDir;

const SAID: &str = r#"
task = "show"
period_s = 0.1
joints = ["a", "b"]
normalisation = "as_is"
representation = "absolute_joints"
units = "deg"
gripper = [100.0, 0.0]
inverted = ["b"]
zero = { a = 90.0 }
input."observation.images.top".size = [8, 6]
"#;

const STRETCH: &str = "input.\"observation.images.top\".fit = \"stretch\"";

fn graph() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/past.onnx")
}

/// Wraps the graph for a camera of 16x12, with more lines of a map.
fn wrapped(lines: &str) -> (TempDir, DirectBundle) {
    wrapped_as(&format!("{SAID}{lines}"))
}

fn wrapped_as(said: &str) -> (TempDir, DirectBundle) {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, options) = (graph(), RunOptions::default());
    let scan = Scan::of(&file).expect("scanned");
    let session = write::look(&file, &options).expect("opens");
    let known = Known {
        inputs: session.inputs(),
        outputs: session.outputs(),
        stats: None,
        cameras: &[("top".to_owned(), Some([16, 12]))],
        joints: &[],
        package: None,
        stem: "past",
    };
    let map = Map::of(&said.parse().expect("TOML")).expect("a map");
    let mapping = match infer(&known, &map).expect("fits") {
        Resolved::Mapping(mapping) => *mapping,
        Resolved::Questions(questions) => panic!("asks {questions:?}"),
    };
    let contents = Contents {
        graph: &file,
        scan: &scan,
        golden: &[],
        out: &folder.path().join("bundle"),
    };
    let bundle = write(mapping, &contents, session, &options).expect("wraps");
    (folder, bundle)
}

fn policy(bundle: DirectBundle) -> DirectPolicy {
    let joints = ["a", "b"].map(str::to_owned);
    DirectPolicy::open(bundle, RunOptions::default().policy(&joints)).expect("opens")
}

/// Red of this value, from the left half on green as well.
fn frame(millis: u64, red: u8) -> CameraFrame {
    let pixel = |i: usize| [red, if i % 16 < 8 { 200 } else { 0 }, 0];
    CameraFrame {
        camera: "top".into(),
        captured_at: Time::from_millis(millis),
        received_at: Time::from_millis(millis),
        seq: millis,
        width: 16,
        height: 12,
        encoding: Encoding::Rgb8,
        data: (0..16 * 12).flat_map(pixel).collect(),
    }
}

/// Observed at this time, with joints and opening in SI.
fn observed(millis: u64, red: u8, (q, opening): ([f64; 2], f64)) -> Observation {
    let q = JointVec::from_slice(&q).expect("two");
    Observation {
        observed_at: Time::from_millis(millis),
        frames: vec![frame(millis, red)],
        state: JointState {
            captured_at: Time::from_millis(millis),
            seq: 0,
            epoch: 0,
            q,
            dq: q,
            opening,
            torque: true,
        },
    }
}

fn chunk(
    policy: &mut DirectPolicy,
    observation: &Observation,
    (count, seed): (u64, u64),
) -> ActionChunk {
    let request = request((count, seed));
    policy.infer(observation, &request).expect("a chunk")
}

fn request((count, seed): (u64, u64)) -> InferenceRequest {
    InferenceRequest {
        id: 0,
        generation: Generation { boot: 1, count },
        instruction: "show".into(),
        observe_after: Time::ZERO,
        deadline: Time::from_millis(99_000),
        expected_delay: Duration::ZERO,
        leftover: std::iter::empty().collect(),
        conditioning: Conditioning::None,
        seed,
    }
}

#[test]
fn a_policy_without_a_gripper_leaves_it_as_it_was_commanded() {
    let said = SAID.replace("[\"a\", \"b\"]", "[\"a\", \"b\", \"c\"]");
    let (_folder, bundle) = wrapped_as(&format!("{said}{STRETCH}"));
    let joints = ["a", "b", "c"].map(str::to_owned);
    let mut policy =
        DirectPolicy::open(bundle, RunOptions::default().policy(&joints)).expect("opens");
    let mut observation = observed(1000, 51, ([0.0; 2], 0.4));
    let q = JointVec::zeros(3);
    (observation.state.q, observation.state.dq) = (q, q);
    let mut request = request((1, 0));
    // Around something: commanded closed, measured half open.
    request.leftover = std::iter::once(TimedAction {
        due: Time::from_millis(900),
        action: Action { q, opening: 0.0 },
    })
    .collect();
    let mut opening = |request: &InferenceRequest| {
        let made = policy.infer(&observation, request).expect("a chunk");
        made.actions[0].opening
    };
    assert_eq!(opening(&request), 0.0);
    request.leftover = std::iter::empty().collect();
    assert_eq!(opening(&request), 0.4, "nothing is commanded");
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-5
}

#[test]
fn dimensions_that_are_dynamic_are_learnt_from_a_run() {
    let (_folder, bundle) = wrapped(STRETCH);
    let manifest = bundle.manifest();
    assert_eq!(
        (manifest.chunk.rows, bundle.outline().action.horizon),
        (8, 8)
    );
    assert_eq!(
        (manifest.history.steps, manifest.history.period),
        (2, Duration::from_millis(100))
    );
    assert_eq!(
        (manifest.pictures[0].width, manifest.pictures[0].height),
        (8, 6)
    );
}

#[test]
fn units_signs_zeros_and_the_gripper_come_back_as_they_went_in() {
    let (_folder, bundle) = wrapped(STRETCH);
    let mut policy = policy(bundle);
    let made = chunk(
        &mut policy,
        &observed(1000, 51, ([0.5, -0.25], 0.75)),
        (1, 0),
    );
    // Rows 0 and 1 are the state; there is no past yet, so it repeats.
    for action in &made.actions[..2] {
        assert!(
            near(action.q[0], 0.5) && near(action.q[1], -0.25) && near(action.opening, 0.75),
            "{action:?}"
        );
    }
    // Mean colours of the picture, read as degrees: a counts from 90, b backwards, the gripper from 100 down to 0.
    let [red, green] = [51.0 / 255.0, 100.0 / 255.0];
    for action in &made.actions[2..4] {
        assert!(
            near(action.q[0], (red - 90.0_f64).to_radians()),
            "{action:?}"
        );
        assert!(
            (action.q[1] + green.to_radians()).abs() < 1e-3,
            "{action:?}"
        );
        assert!(near(action.opening, 1.0), "{action:?}");
    }
}

#[test]
fn the_past_is_that_of_the_generation_and_of_a_period_ago() {
    let (_folder, bundle) = wrapped(STRETCH);
    let mut policy = policy(bundle);
    let red = |made: &ActionChunk, row: usize| (made.actions[row].q[0].to_degrees() + 90.0) * 255.0;
    chunk(&mut policy, &observed(1000, 10, ([0.0, 0.0], 0.0)), (1, 0));
    // Pictures in between are seen as they come.
    for (millis, value) in [(1050, 20), (1100, 30), (1150, 40)] {
        policy.prepare(&frame(millis, value));
    }
    let made = chunk(&mut policy, &observed(1200, 50, ([0.2, 0.4], 1.0)), (1, 0));
    assert!(
        (red(&made, 2) - 30.0).abs() < 0.1 && (red(&made, 3) - 50.0).abs() < 0.1,
        "{made:?}"
    );
    // Joints of 1100 ms lie half-way between those of 1000 and 1200.
    let older = made.actions[0];
    assert!(
        near(older.q[0], 0.1) && near(older.q[1], 0.2) && near(older.opening, 0.5),
        "{older:?}"
    );
    // Another generation has no past.
    let made = chunk(&mut policy, &observed(1300, 60, ([0.3, 0.3], 1.0)), (2, 0));
    assert!(
        (red(&made, 2) - 60.0).abs() < 0.1 && near(made.actions[0].q[0], 0.3),
        "{made:?}"
    );
}

#[test]
fn noise_is_of_the_request_s_seed() {
    let (_folder, bundle) = wrapped(STRETCH);
    let mut policy = policy(bundle);
    let seen = observed(1000, 10, ([0.0, 0.0], 0.0));
    let mut drawn = |seed| chunk(&mut policy, &seen, (1, seed)).actions[4..].to_vec();
    let (first, other, again) = (drawn(1), drawn(2), drawn(1));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn pictures_are_padded_cropped_and_stretched_as_declared() {
    let red = |[width, height]: [u32; 2], lines: &str| {
        let said = SAID.replace("[8, 6]", &format!("[{width}, {height}]"));
        let (_folder, bundle) = wrapped_as(&format!("{said}{lines}"));
        let made = chunk(
            &mut policy(bundle),
            &observed(1000, 90, ([0.0, 0.0], 0.0)),
            (1, 0),
        );
        (made.actions[3].q[0].to_degrees() + 90.0) * 255.0
    };
    let key = "input.\"observation.images.top\"";
    // 16x12 as 8x8: stretched, a quarter black above and below, or cut off at the sides.
    for (fit, expected) in [("stretch", 90.0), ("pad", 67.5), ("crop", 90.0)] {
        let found = red([8, 8], &format!("{key}.fit = \"{fit}\""));
        assert!((found - expected).abs() < 0.1, "{fit}: {found}");
    }
}
