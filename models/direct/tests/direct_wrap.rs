//! From an ONNX file to a policy that makes chunks: the tiny ACT of `example/`, as `torch.onnx.export` wrote it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tactus_bundle::{AnyBundle, DirectBundle};
use tactus_direct::wrap::{
    Contents, FeatureStats, Known, Map, Mapping, Package, Resolved, Scan, WrapError, infer,
    map::merge, write,
};
use tactus_direct::{DirectPolicy, measure, verify};
use tactus_types::{
    Action, ActionChunk, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest,
    JointState, JointVec, Observation, Policy, PolicyError, Time, TimedAction,
};
use tactus_vla::{RunOptions, VlaOptions};
use tempfile::TempDir;

const JOINTS: [&str; 6] = [
    "base_yaw",
    "shoulder_pitch",
    "elbow_pitch",
    "forearm_roll",
    "wrist_pitch",
    "wrist_roll",
];

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("example")
        .join(file)
}

fn joints() -> Vec<String> {
    JOINTS.map(str::to_owned).to_vec()
}

/// Wraps the example with more lines of a map.
fn wrapped_with(
    lines: &str,
    stats: Option<FeatureStats>,
    out: &Path,
) -> Result<DirectBundle, WrapError> {
    wrapped_as(
        lines,
        (stats, &joints()),
        &example("golden.safetensors"),
        out,
    )
}

/// The same with another golden case, for an arm of `arm`.
fn wrapped_as(
    lines: &str,
    (stats, arm): (Option<FeatureStats>, &[String]),
    golden: &Path,
    out: &Path,
) -> Result<DirectBundle, WrapError> {
    let mut table: toml::Table = std::fs::read_to_string(example("map.toml"))
        .expect("the map")
        .parse()
        .expect("TOML");
    merge(&mut table, lines.parse().expect("TOML"));
    let (file, options) = (example("act.onnx"), RunOptions::default());
    let scan = Scan::of(&file)?;
    let session = write::look(&file, &options)?;
    let cameras = ["scene", "wrist"].map(|name| (name.to_owned(), Some([224, 224])));
    let known = Known {
        inputs: session.inputs(),
        outputs: session.outputs(),
        stats: stats.as_ref(),
        cameras: &cameras,
        joints: arm,
        package: None,
        stem: "act",
    };
    let mapping: Mapping = match infer(&known, &Map::of(&table)?)? {
        Resolved::Mapping(mapping) => *mapping,
        Resolved::Questions(questions) => panic!("asks {questions:?}"),
    };
    let contents = Contents {
        graph: &file,
        scan: &scan,
        golden: &[golden.to_path_buf()],
        out,
    };
    write(mapping, &contents, session, &options)
}

fn stats() -> FeatureStats {
    FeatureStats::read(&example("stats.json")).expect("statistics")
}

fn wrapped() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("bundle");
    wrapped_with("", Some(stats()), &out).expect("wraps");
    (folder, out)
}

fn options(joints: &[String]) -> VlaOptions<'_> {
    RunOptions::default().policy(joints)
}

fn frame(camera: &str, seq: u64, millis: u64, grey: u8) -> CameraFrame {
    CameraFrame {
        camera: camera.into(),
        captured_at: Time::from_millis(millis),
        received_at: Time::from_millis(millis),
        seq,
        width: 224,
        height: 224,
        encoding: Encoding::Rgb8,
        data: vec![grey; 224 * 224 * 3].into(),
    }
}

fn observation(millis: u64) -> Observation {
    let q = JointVec::from_slice(&[0.0, -0.13, 1.83, 0.0, 1.44, 0.0]).expect("six");
    Observation {
        observed_at: Time::from_millis(millis),
        frames: vec![
            frame("scene", millis, millis, 90),
            frame("wrist", millis, millis, 120),
        ],
        state: JointState {
            captured_at: Time::from_millis(millis),
            seq: 0,
            epoch: 0,
            q,
            dq: JointVec::zeros(6),
            opening: 1.0,
            torque: true,
        },
    }
}

fn asked(
    policy: &mut DirectPolicy,
    observation: &Observation,
    instruction: &str,
) -> Result<ActionChunk, PolicyError> {
    let rest = TimedAction {
        due: observation.observed_at,
        action: Action {
            q: observation.state.q,
            opening: 1.0,
        },
    };
    let request = InferenceRequest {
        id: 7,
        generation: Generation { boot: 1, count: 2 },
        instruction: instruction.into(),
        observe_after: Time::ZERO,
        deadline: Time::from_millis(9_000),
        expected_delay: Duration::ZERO,
        leftover: [rest].into_iter().collect(),
        conditioning: Conditioning::None,
        seed: 3,
    };
    policy.infer(observation, &request)
}

#[test]
fn a_file_of_torch_onnx_export_becomes_a_bundle_that_computes_what_pytorch_did() {
    let (_folder, out) = wrapped();
    let report = verify(&out, &RunOptions::default()).expect("runs");
    assert!(report.passed(), "{report}");
    assert!(report.rows.len() >= 3, "{report}");
    let AnyBundle::Direct(bundle) = AnyBundle::open(&out).expect("opens") else {
        panic!("another family");
    };
    let outline = bundle.outline();
    assert_eq!(outline.action.joints, joints());
    assert_eq!(outline.action.horizon, 16);
    assert_eq!(
        bundle.manifest().source[1].split(' ').next(),
        Some("pytorch")
    );
    let cost = measure(&out, &RunOptions::default(), 3, || ()).expect("measures");
    assert_eq!(cost.chunks, 3);
}

#[test]
fn chunks_have_due_times_sane_joints_and_know_their_frames() {
    let (_folder, out) = wrapped();
    let bundle = DirectBundle::open(&out).expect("opens");
    let joints = joints();
    let mut policy = DirectPolicy::open(bundle, options(&joints)).expect("opens");
    let observation = observation(1000);
    let chunk = asked(&mut policy, &observation, "Please raise the red cube!").expect("a chunk");
    assert_eq!(chunk.actions.len(), 16);
    assert_eq!(chunk.first_due, Time::from_millis(1050));
    assert_eq!((chunk.request_id, chunk.generation.count), (7, 2));
    assert_eq!(chunk.frames.len(), 2);
    for action in &chunk.actions {
        assert!(
            action.q.max_abs() < 4.0 && (0.0..=1.0).contains(&action.opening),
            "{action:?}"
        );
    }
    let again = asked(&mut policy, &observation, "pick up the red cube").expect("a chunk");
    assert_eq!(chunk.actions, again.actions, "the same of the same");
}

#[test]
fn a_picture_that_was_seen_ahead_is_not_taken_for_the_observation_s() {
    let (_folder, out) = wrapped();
    let joints = joints();
    let bundle = DirectBundle::open(&out).expect("opens");
    let mut policy = DirectPolicy::open(bundle, options(&joints)).expect("opens");
    let (older, newer) = (observation(1000), frame("scene", 1050, 1050, 250));
    let plain = asked(&mut policy, &older, "pick up the red cube").expect("a chunk");
    policy.prepare(&newer);
    let ahead = asked(&mut policy, &older, "pick up the red cube").expect("a chunk");
    assert_eq!(plain.actions, ahead.actions);
    let mut seen = observation(1050);
    seen.frames[0] = newer;
    let other = asked(&mut policy, &seen, "pick up the red cube").expect("a chunk");
    assert_ne!(plain.actions, other.actions);
}

#[test]
fn joints_are_found_by_name() {
    let (_folder, out) = wrapped();
    let bundle = DirectBundle::open(&out).expect("opens");
    let (joints, mut turned) = (joints(), joints());
    turned.reverse();
    let mut straight = DirectPolicy::open(bundle.clone(), options(&joints)).expect("opens");
    let mut reversed = DirectPolicy::open(bundle.clone(), options(&turned)).expect("opens");
    let mut seen = observation(1000);
    let a = asked(&mut straight, &seen, "pick up the red cube").expect("a chunk");
    let q: Vec<f64> = seen.state.q.as_slice().iter().rev().copied().collect();
    seen.state.q = JointVec::from_slice(&q).expect("six");
    let b = asked(&mut reversed, &seen, "pick up the red cube").expect("a chunk");
    for (a, b) in a.actions.iter().zip(&b.actions) {
        let mut back = b.q.as_slice().to_vec();
        back.reverse();
        assert_eq!(a.q.as_slice(), back);
    }
    let mut other = joints.clone();
    other[0] = "waist".into();
    let error = DirectPolicy::open(bundle, options(&other))
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("`base_yaw`, which the arm does not have"),
        "{error}"
    );
}

#[test]
fn what_one_graph_has_not_is_refused_when_it_is_opened() {
    let (_folder, out) = wrapped();
    let bundle = DirectBundle::open(&out).expect("opens");
    let joints = joints();
    let refused = |options: VlaOptions<'_>| {
        let error = DirectPolicy::open(bundle.clone(), options).err();
        error.expect("refused").to_string()
    };
    let mut prefix = options(&joints);
    prefix.conditioning = Conditioning::Prefix;
    assert!(
        refused(prefix).contains("conditioning `rtc-prefix` needs a policy with denoising steps")
    );
    let mut steps = options(&joints);
    steps.denoise_steps = Some(2);
    assert!(refused(steps).contains("expected 1 to 1 denoising steps"));
    let mut features = options(&joints);
    features.features_every = Duration::from_millis(100);
    assert!(refused(features).contains("features no older than 0 ms"));
}

#[test]
fn another_task_is_refused_or_noted_as_the_bundle_says() {
    let (_folder, out) = wrapped();
    let joints = joints();
    let mut policy = DirectPolicy::open(DirectBundle::open(&out).expect("opens"), options(&joints))
        .expect("opens");
    let error =
        asked(&mut policy, &observation(1000), "pick up the blue cube").expect_err("refused");
    assert_eq!(error.stage, "preprocess");
    assert!(error.reason.contains("expected the one task of this policy, `pick up the red cube`, got `pick up the blue cube`"), "{error}");
    let folder = tempfile::tempdir().expect("a folder");
    let noting = folder.path().join("noting");
    wrapped_with("others = \"note\"", Some(stats()), &noting).expect("wraps");
    let mut policy = DirectPolicy::open(
        DirectBundle::open(&noting).expect("opens"),
        options(&joints),
    )
    .expect("opens");
    asked(&mut policy, &observation(1000), "pick up the blue cube").expect("its own task");
}

#[test]
fn bad_observations_are_errors_and_no_chunks() {
    let (_folder, out) = wrapped();
    let joints = joints();
    let mut policy = DirectPolicy::open(DirectBundle::open(&out).expect("opens"), options(&joints))
        .expect("opens");
    let mut spoilt = |spoil: &dyn Fn(&mut Observation)| {
        let mut observation = observation(1000);
        spoil(&mut observation);
        asked(&mut policy, &observation, "pick up the red cube")
            .expect_err("refused")
            .to_string()
    };
    assert!(spoilt(&|o| o.frames.swap(0, 1)).contains("expected scene, wrist, got wrist, scene"));
    assert!(spoilt(&|o| o.state.q = JointVec::zeros(5)).contains("expected 6 joints, got 5"));
    assert!(spoilt(&|o| o.state.opening = f64::NAN).contains("finite numbers"));
    assert!(
        spoilt(&|o| o.frames[0].data = Arc::from(&[0_u8; 9][..])).contains("bytes of a raw frame")
    );
    assert!(
        spoilt(&|o| o.frames[0].width = 640).contains("frame size: expected 224x224, got 640x224")
    );
}

/// The example's golden case in `folder`, each tensor with another name or none, and other numbers.
fn golden(
    folder: &Path,
    name: impl Fn(&str) -> Option<&str>,
    change: impl Fn(&str, &mut [f32]),
) -> PathBuf {
    let bytes = std::fs::read(example("golden.safetensors")).expect("the case");
    let case = tactus_bundle::GoldenCase::parse("golden", &bytes).expect("a case");
    let mut tensors = Vec::new();
    for (old, new) in case.names().filter_map(|old| Some((old, name(old)?))) {
        let tensor = case.get(old).expect("there");
        let (kind, bytes) = match &tensor.data {
            tactus_bundle::GoldenData::U8(bytes) => (safetensors::Dtype::U8, bytes.clone()),
            tactus_bundle::GoldenData::F32(values) => {
                let mut values = values.clone();
                change(old, &mut values);
                let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
                (safetensors::Dtype::F32, bytes)
            }
            tactus_bundle::GoldenData::I64(_) => panic!("`{old}`: no such type here"),
        };
        tensors.push((new.to_owned(), kind, tensor.shape.clone(), bytes));
    }
    let views = tensors.iter().map(|(name, kind, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(*kind, shape.clone(), bytes);
        (name, view.expect("a tensor"))
    });
    let said = [("instruction".to_owned(), case.instruction.clone())];
    let bytes = safetensors::serialize(views, Some(said.into())).expect("bytes");
    let file = folder.join("case.safetensors");
    std::fs::write(&file, bytes).expect("written");
    file
}

#[test]
fn a_case_that_compares_no_chunk_or_has_a_tensor_nobody_reads_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |rename: fn(&str) -> Option<&str>, out: &str| {
        let file = golden(folder.path(), rename, |_, _| ());
        let out = folder.path().join(out);
        wrapped_as("", (Some(stats()), &joints()), &file, &out).expect("wraps");
        let report = verify(&out, &RunOptions::default());
        report.expect_err("refused").to_string()
    };
    let error = refused(
        |name| (!["output", "actions"].contains(&name)).then_some(name),
        "neither",
    );
    let expected =
        "tensor `output`: expected it, or `actions`: what the framework made, got neither";
    assert!(error.contains(expected), "{error}");
    let error = refused(
        |name| Some(if name == "output" { "outputs" } else { name }),
        "misspelt",
    );
    assert!(
        error.contains("tensor `outputs`: expected rgb.scene, "),
        "{error}"
    );
    assert!(
        error.ends_with("got a tensor that nothing reads"),
        "{error}"
    );
}

#[test]
fn a_gripper_among_the_joints_of_two_arms_is_verified_by_its_own_ends() {
    // The example's seven columns as a pair's, in degrees and hundredths.
    let folder = tempfile::tempdir().expect("a folder");
    let scale = |column: usize| {
        if column == 6 {
            100.0
        } else {
            180.0 / std::f64::consts::PI
        }
    };
    let mut pair = stats();
    for feature in ["observation.state", "action"] {
        for values in pair.0.get_mut(feature).expect("there").values_mut() {
            values
                .iter_mut()
                .enumerate()
                .for_each(|(i, v)| *v *= scale(i));
        }
    }
    let file = golden(
        folder.path(),
        |name| Some(name),
        |name, values| {
            if name == "state_raw" {
                let scaled = |(i, v): (usize, &mut f32)| *v = (f64::from(*v) * scale(i)) as f32;
                values.iter_mut().enumerate().for_each(scaled);
            }
        },
    );
    let mut arm = joints();
    arm.push("left_gripper".into());
    let lines = "units = \"deg\"\ngripper = [0.0, 100.0]\nrepresentation = \"absolute_joints\"";
    let out = folder.path().join("bundle");
    wrapped_as(lines, (Some(pair), &arm), &file, &out).expect("wraps");
    let report = verify(&out, &RunOptions::default()).expect("runs");
    assert!(report.passed(), "{report}");
}

#[test]
fn nothing_is_left_behind_where_it_fails() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("bundle");
    let mut zero = stats();
    if let Some(std) = zero.0.get_mut("action").and_then(|s| s.get_mut("std")) {
        std[2] = 0.0;
    }
    let error = wrapped_with("representation = \"absolute_joints\"", Some(zero), &out)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("stats.json: field `action.std[2]`: expected a finite number > 0, got 0"),
        "{error}"
    );
    let error = wrapped_with("period_s = 50.0", Some(stats()), &out)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("action.period_s"), "{error}");
    let error = wrapped_with("first_row = 10\nhorizon = 10", Some(stats()), &out)
        .expect_err("refused")
        .to_string();
    assert!(error.contains("chunk.first_row"), "{error}");
    assert_eq!(
        std::fs::read_dir(folder.path()).expect("a folder").count(),
        0,
        "nothing is left"
    );
    wrapped_with("", Some(stats()), &out).expect("wraps");
    let error = wrapped_with("", Some(stats()), &out)
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("a folder that does not exist yet"),
        "{error}"
    );
}

#[test]
fn a_changed_bundle_is_refused() {
    let (_folder, out) = wrapped();
    let manifest = out.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).expect("text");
    for (from, to, says) in [
        ("layout = \"bchw\"", "layout = \"bcwh\"", "camera[0].layout"),
        ("max_prefix = 0", "max_prefix = 3", "action.max_prefix"),
        ("top = 1.0", "top = -1.0", "camera[0].top"),
        (
            "input = \"observation.state\"",
            "input = \"observation.images.scene\"",
            "proprio.input",
        ),
        ("others = \"refuse\"", "others = \"obey\"", "task.others"),
        ("schema = 1", "schema = 2", "newer than this runtime"),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&manifest, text.replacen(from, to, 1)).expect("written");
        let error = AnyBundle::open(&out).expect_err("refused").to_string();
        assert!(error.contains(says), "{error}");
    }
    std::fs::write(
        &manifest,
        text.replacen(
            "input = \"observation.images.scene\"",
            "input = \"scene\"",
            1,
        ),
    )
    .expect("written");
    let joints = joints();
    let bundle = DirectBundle::open(&out).expect("well formed");
    let error = DirectPolicy::open(bundle, options(&joints))
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("input `scene`: expected f32 [1, 3, 224, 224], got no such input"),
        "{error}"
    );
}

#[test]
fn a_policy_package_is_wrapped_by_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let package = folder.path().join("package");
    std::fs::create_dir(&package).expect("made");
    std::fs::copy(example("act.onnx"), package.join("act.onnx")).expect("copied");
    let mut tensors = Vec::new();
    for (feature, of) in &stats().0 {
        for (name, values) in of {
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|v| (*v as f32).to_le_bytes())
                .collect();
            tensors.push((format!("{feature}/{name}"), values.len(), bytes));
        }
    }
    let views = tensors.iter().map(|(name, n, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![*n], bytes);
        (name.as_str(), view.expect("numbers"))
    });
    let bytes = safetensors::serialize(views, None).expect("bytes");
    std::fs::write(package.join("stats.safetensors"), bytes).expect("written");
    let manifest = serde_json::json!({
        "format": "policy_package", "version": "1.0", "policy": {"name": "act"},
        "model": {
            "runner": {"type": "action_chunking", "chunk_size": 16},
            "artifacts": {"onnx": "act.onnx"},
            "preprocessors": [{"type": "normalize", "mode": "mean_std", "artifact": "stats.safetensors", "features": ["observation.state"]}],
            "postprocessors": [
                {"type": "denormalize", "mode": "mean_std", "artifact": "stats.safetensors", "features": ["action"]},
                {"type": "action_chunk_trimmer", "n_action_steps": 12}]},
        "hardware": {"robots": [{"name": "main", "state": {"shape": [7], "order": JOINTS}}]}});
    std::fs::write(package.join("manifest.json"), manifest.to_string()).expect("written");
    let read = Package::read(&package).expect("understood");
    let mut table = read.says.clone();
    merge(
        &mut table,
        "task = \"pick up the red cube\"\nperiod_s = 0.05"
            .parse()
            .expect("TOML"),
    );
    let options = RunOptions::default();
    let session = write::look(&read.graph, &options).expect("opens");
    let stats = FeatureStats::read(read.stats.as_ref().expect("statistics")).expect("read");
    let known = Known {
        inputs: session.inputs(),
        outputs: session.outputs(),
        stats: Some(&stats),
        cameras: &[],
        joints: &[],
        package: Some(&read),
        stem: "package",
    };
    let Resolved::Mapping(mapping) = infer(&known, &Map::of(&table).expect("a map")).expect("fits")
    else {
        panic!("it asks");
    };
    let out = folder.path().join("bundle");
    let scan = Scan::of(&read.graph).expect("scanned");
    let contents = Contents {
        graph: &read.graph,
        scan: &scan,
        golden: &[],
        out: &out,
    };
    let bundle = write(*mapping, &contents, session, &options).expect("wraps");
    assert_eq!(bundle.outline().action.horizon, 12);
    assert_eq!(bundle.manifest().variant, "act");
    let cameras: Vec<&str> = bundle
        .outline()
        .cameras
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(cameras, ["scene", "wrist"]);
}
