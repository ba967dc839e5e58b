//! A policy whose actions are tool poses, on the simulated arm: a tiny bundle of random weights, declared anew.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};
use sha2::{Digest, Sha256};
use tactus_bundle::Bundle;
use tactus_kinematics::Chain;
use tactus_types::{
    Action, ActionChunk, ArmGeometry, ArmInfo, CameraFrame, Conditioning, Encoding, Generation,
    InferenceRequest, JointLimits, JointState, JointVec, Observation, Policy, PolicyError, Time,
    TimedAction,
};
use tactus_vla::{Provider, RunOptions, VlaOptions, VlaPolicy, measure, verify};

const ARM: [f64; 6] = [0.4, 0.35, 1.5, 0.6, 0.9, -0.7];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn library() -> Option<PathBuf> {
    Some(root().join("third_party/onnxruntime/libonnxruntime.so"))
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("directory") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&target).expect("directory");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("file");
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(bytes) {
        write!(out, "{byte:02x}").expect("a string takes everything");
    }
    out
}

/// The tiny Qwen3-VL whose nine columns before the gripper's are a tool pose with a six-number rotation: normalised -1..1 is
/// `place` about 0, m, and the rotation's numbers off the first two columns of the unit matrix by up to `turn`.
fn bundle(representation: &str, anchor: &str, place: f64, turn: f64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("temporary directory");
    let from = root().join("models/export/tests/bundles/qwen3_vl");
    copy(&from, dir.path());
    let old = std::fs::read(dir.path().join("stats.json")).expect("statistics");
    let state = {
        let raw: serde_json::Value = serde_json::from_slice(&old).expect("JSON");
        raw["state"].to_string()
    };
    let middle = [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5];
    let half = |i: usize| match i {
        0..3 => place,
        3..9 => turn,
        _ => 0.5,
    };
    let bound = |sign: f64| -> Vec<f64> {
        let of = |(i, middle): (usize, &f64)| middle + sign * half(i);
        middle.iter().enumerate().map(of).collect()
    };
    let (low, high) = (bound(-1.0), bound(1.0));
    let stats =
        format!("{{\"state\": {state}, \"action\": {{\"q01\": {low:?}, \"q99\": {high:?}}}}}");
    std::fs::write(dir.path().join("stats.json"), &stats).expect("written");
    let manifest = dir.path().join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).expect("manifest");
    let from = "representation = \"absolute_joints\"";
    assert!(text.contains(from) && text.contains(&sha256(&old)));
    let tool =
        "[action.tool]\nbase_link = \"base\"\ntool_link = \"tip\"\nrotation = \"six_columns\"";
    let frame = match representation {
        "tool_poses" => "",
        _ => "frame = \"tool\"",
    };
    let text = text
        .replace(
            from,
            &format!("representation = \"{representation}\"\n{anchor}"),
        )
        .replace("[denoise]", &format!("{tool}\n{frame}\n\n[denoise]"))
        .replace(&sha256(&old), &sha256(stats.as_bytes()));
    std::fs::write(manifest, text).expect("written");
    dir
}

fn info() -> ArmInfo {
    let ranges = [2.6, 2.0, 2.75, 2.8, 2.0, 2.8];
    let names = [
        "base_yaw",
        "shoulder_pitch",
        "elbow_pitch",
        "forearm_roll",
        "wrist_pitch",
        "wrist_roll",
    ];
    let limits = ranges.map(|range| JointLimits {
        lower: -range,
        upper: range,
        velocity: 4.0,
        acceleration: 20.0,
        jerk: 400.0,
    });
    ArmInfo {
        model: "tactus-sim-6".into(),
        joints: names.map(str::to_owned).to_vec(),
        limits: limits.to_vec(),
        gripper: true,
        state_rate_hz: 500.0,
        brakes: true,
        torque_switch: false,
        command_deadline_secs: 0.1,
        geometry: Some(ArmGeometry {
            urdf: std::fs::read_to_string(root().join("drivers/sim/assets/arm.urdf"))
                .expect("the arm's URDF"),
            base_link: "base".into(),
            tool_link: "tip".into(),
            workspace: None,
        }),
    }
}

/// The policy for the simulated arm.
fn open(dir: &Path) -> VlaPolicy {
    let info = info();
    let options = VlaOptions {
        ort_library: library(),
        intra_threads: 1,
        provider: Provider::Cpu,
        require_provider: false,
        joints: &info.joints,
        arm: Some(&info),
        conditioning: Conditioning::None,
        denoise_steps: None,
        features_every: std::time::Duration::ZERO,
    };
    VlaPolicy::open(dir, options).expect("it opens, wherever its poses lead")
}

/// The first chunk of the policy for the arm at [`ARM`], commanded `off` rad from there.
fn chunk(dir: &Path, off: f64) -> Result<ActionChunk, PolicyError> {
    let mut policy = open(dir);
    let bundle = Bundle::open(dir).expect("a bundle");
    let frame = |camera: &tactus_bundle::CameraSpec| CameraFrame {
        camera: camera.name.as_str().into(),
        captured_at: Time::from_millis(990),
        received_at: Time::from_millis(995),
        seq: 1,
        width: camera.width as u32,
        height: camera.height as u32,
        encoding: Encoding::Rgb8,
        data: vec![90; camera.width * camera.height * 3].into(),
    };
    let q = JointVec::from_slice(&ARM).expect("six joints");
    let observation = Observation {
        observed_at: Time::from_millis(990),
        frames: bundle.manifest().cameras.iter().map(frame).collect(),
        state: JointState {
            captured_at: Time::from_millis(990),
            seq: 7,
            epoch: 1,
            q,
            dq: JointVec::zeros(6),
            opening: 0.5,
            torque: true,
        },
    };
    let commanded = Action {
        q: JointVec::from_fn(6, |i| q[i] + off),
        opening: 0.0,
    };
    let request = InferenceRequest {
        id: 17,
        generation: Generation { boot: 3, count: 5 },
        instruction: "lift it".into(),
        observe_after: Time::ZERO,
        deadline: Time::from_millis(2000),
        expected_delay: Duration::from_millis(100),
        leftover: [TimedAction {
            due: Time::from_millis(980),
            action: commanded,
        }]
        .into_iter()
        .collect(),
        conditioning: Conditioning::None,
        seed: 1,
    };
    policy.infer(&observation, &request)
}

/// How far the tip is, m and rad, from where it is at [`ARM`].
fn way(action: &Action) -> (f64, f64) {
    let info = info();
    let names: Vec<&str> = info.joints.iter().map(String::as_str).collect();
    let urdf = &info.geometry.as_ref().expect("geometry").urdf;
    let chain = Chain::from_urdf(urdf, "base", "tip", &names).expect("a chain");
    let at = |q: &JointVec| chain.forward(q);
    let (a, b) = (at(&JointVec::from_slice(&ARM).expect("six")), at(&action.q));
    let place = (a.translation.vector - b.translation.vector).norm();
    (place, a.rotation.angle_to(&b.rotation))
}

#[test]
fn small_ways_of_the_tool_are_joints_near_the_anchor() {
    let dir = bundle("relative_tool_poses", "", 0.01, 0.02);
    let chunk = chunk(dir.path(), 0.3).expect("a chunk");
    assert_eq!(chunk.actions.len(), 8);
    for action in &chunk.actions {
        // Random weights say up to a few times the statistics' range.
        let (place, turn) = way(action);
        assert!(1e-4 < place && place < 0.1, "{place} m");
        assert!(turn < 0.2, "{turn} rad");
    }
}

#[test]
fn ways_from_the_command_begin_where_the_arm_is_commanded() {
    let measured = bundle("relative_tool_poses", "anchor = \"measured\"", 0.01, 0.02);
    let commanded = bundle("relative_tool_poses", "anchor = \"command\"", 0.01, 0.02);
    let of = |dir: &tempfile::TempDir, off| chunk(dir.path(), off).expect("a chunk").actions;
    let (a, b) = (of(&measured, 0.3), of(&commanded, 0.0));
    for (a, b) in a.iter().zip(&b) {
        assert!(
            a.q.zip(&b.q, |a, b| a - b).max_abs() < 1e-6,
            "commanded where it is"
        );
    }
    let far = of(&commanded, 0.05);
    for (a, b) in far.iter().zip(&b) {
        let apart = a.q.zip(&b.q, |a, b| a - b).max_abs();
        assert!((0.02..0.1).contains(&apart), "{apart} rad");
    }
}

#[test]
fn poses_out_of_reach_make_no_chunk() {
    let dir = bundle("tool_poses", "", 5.0, 0.02);
    let error = chunk(dir.path(), 0.0).expect_err("metres away");
    assert!(
        error.reason.starts_with(
            "action 0: expected a tool pose within 0.005 m and 0.05 rad of one that the arm reaches"
        ),
        "{error}"
    );
}

#[test]
fn what_a_policy_takes_is_measured_wherever_its_poses_lead() {
    for representation in ["tool_poses", "relative_tool_poses"] {
        let anchor = match representation {
            "tool_poses" => "",
            _ => "anchor = \"command\"",
        };
        let dir = bundle(representation, anchor, 5.0, 0.02);
        let probe = open(dir.path()).probe(Conditioning::None, 2, Duration::from_secs(10), || ());
        assert_eq!(probe.expect("measured").chunks, 2, "{representation}");
        let options = RunOptions {
            ort_library: library(),
            ..RunOptions::default()
        };
        let cost = measure(dir.path(), &options, 2, || ()).expect("measured without an arm");
        assert_eq!(cost.chunks, 2);
    }
}

/// Makes the golden actions of both cases the tool poses that their last `x` says, all off by a share of the range; the
/// first three columns are about 0, the rotation's about that of the unit matrix, the gripper's opening about a half.
fn make_golden_actions(dir: &Path, off: f32) {
    let manifest = dir.join("bundle.toml");
    let mut text = std::fs::read_to_string(&manifest).expect("manifest");
    for case in ["golden/case-0.safetensors", "golden/case-1.safetensors"] {
        let bytes = std::fs::read(dir.join(case)).expect("case");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
        let tensors = SafeTensors::deserialize(&bytes).expect("tensors");
        let last = tensors.tensor("x.4").expect("the last x");
        let mut actions = Vec::new();
        for row in last.data().chunks_exact(4 * 32) {
            for (i, number) in row.as_chunks::<4>().0.iter().take(10).enumerate() {
                let (middle, half) = match i {
                    3 | 7 => (1.0, 0.02),
                    0..3 => (0.0, 0.01),
                    9 => (0.5, 0.5),
                    _ => (0.0, 0.02),
                };
                let value = middle + half * (f32::from_le_bytes(*number) + 2.0 * off);
                let value = if i == 9 { value.clamp(0.0, 1.0) } else { value };
                actions.extend(value.to_le_bytes());
            }
        }
        let view = TensorView::new(Dtype::F32, vec![8, 10], &actions).expect("80 numbers");
        let others = tensors.iter().filter(|(name, _)| *name != "actions");
        let all: Vec<(&str, TensorView<'_>)> = others.chain([("actions", view)]).collect();
        let made = serialize(all, metadata.metadata().clone()).expect("a file");
        text = text.replace(&sha256(&bytes), &sha256(&made));
        std::fs::write(dir.join(case), made).expect("written");
    }
    std::fs::write(manifest, text).expect("written");
}

#[test]
fn golden_tool_poses_are_compared_as_they_are() {
    let options = RunOptions {
        ort_library: library(),
        ..RunOptions::default()
    };
    let report = |off| {
        let dir = bundle("relative_tool_poses", "", 0.01, 0.02);
        make_golden_actions(dir.path(), off);
        verify(dir.path(), &options).expect("it can be run")
    };
    let good = report(0.0);
    assert!(good.passed(), "{good}");
    let of = |case: &str| {
        let rows = good.rows.iter().filter(|row| row.case == case);
        rows.filter(|row| row.boundary.contains("actions")).count()
    };
    // The second case has committed rows.
    assert_eq!((of("case-0"), of("case-1")), (3, 1), "{good}");
    let bad = report(0.05);
    let failed = bad.rows.iter().filter(|row| !row.passed);
    assert_eq!(failed.count(), 4, "{bad}");
}
