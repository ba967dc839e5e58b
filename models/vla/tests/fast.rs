//! The language model as a policy: a chunk where its answer spells one, and otherwise an error, never anything else.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sha2::{Digest, Sha256};
use tactus_bundle::Bundle;
use tactus_types::{
    CameraFrame, Conditioning, Encoding, Generation, InferenceRequest, JointState, JointVec,
    Leftover, Observation, Policy, Stage, Time,
};
use tactus_vla::{FastPolicy, Provider, VlaError, VlaOptions};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

fn sha256(file: &Path) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(std::fs::read(file).expect("a file")) {
        write!(out, "{byte:02x}").expect("a string takes everything");
    }
    out
}

/// A copy of the demo's bundle whose FAST tokenizer has one token that spells as many coefficients more as the golden answer
/// of case 0 lacks: with it, that answer is a chunk.
fn completed(dir: &Path) -> Bundle {
    let demo = root().join("models/demo/bundle");
    let bundle = Bundle::open(&demo).expect("the demo bundle");
    let ids = answer(&bundle);
    let to = dir.join("completed");
    copy(&demo, &to);
    let file = to.join("fast_tokenizer.json");
    let before = sha256(&file);
    let text = std::fs::read_to_string(&file).expect("a tokenizer");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let vocabulary = json["model"]["vocab"]
        .as_object()
        .expect("a vocabulary")
        .clone();
    let spelt = |id: u32| {
        let found = vocabulary
            .iter()
            .find(|(_, i)| i.as_u64() == Some(id.into()));
        found.expect("an id of it").0.clone()
    };
    let length: usize = ids.iter().map(|id| spelt(*id).chars().count()).sum();
    let wanted = 16 * 7;
    assert!(length < wanted, "it lacks some: {length}");
    let last = *ids.last().expect("tokens");
    assert_eq!(ids.iter().filter(|id| **id == last).count(), 1, "said once");
    // Decoding needs no merges, and those of a token that is not there any more would be refused.
    json["model"]["merges"] = serde_json::json!([]);
    let more = char::from_u32(0x4E00 + 64).expect("the coefficient 0");
    let longer: String = spelt(last)
        .chars()
        .chain(std::iter::repeat_n(more, wanted - length))
        .collect();
    let ids = json["model"]["vocab"]
        .as_object_mut()
        .expect("a vocabulary");
    ids.remove(&spelt(last));
    ids.insert(longer, last.into());
    std::fs::write(&file, json.to_string()).expect("written");
    let manifest = to.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).expect("a manifest");
    std::fs::write(&manifest, text.replace(&before, &sha256(&file))).expect("written");
    Bundle::open(to).expect("a bundle")
}

/// The action tokens that the golden case says, counted from the first.
fn answer(bundle: &Bundle) -> Vec<u32> {
    let file = std::fs::read_to_string(bundle.tokenizer_path()).expect("a tokenizer");
    let json: serde_json::Value = serde_json::from_str(&file).expect("JSON");
    let added = json["added_tokens"].as_array().expect("added tokens");
    let id = |text: &str| {
        let token = added.iter().find(|token| token["content"] == text);
        token
            .and_then(|token| token["id"].as_i64())
            .expect("a token")
    };
    let (first, end) = (id("<action_0>"), id("</answer>"));
    let case = bundle.golden().expect("cases").swap_remove(0);
    let said = case.i64("decoder.tokens").expect("tokens").to_vec();
    let said = said.into_iter().take_while(|token| *token != end);
    said.filter(|token| (first..first + 2048).contains(token))
        .map(|token| u32::try_from(token - first).expect("small"))
        .collect()
}

fn options(joints: &[String]) -> VlaOptions<'_> {
    VlaOptions {
        ort_library: Some(root().join("third_party/onnxruntime/libonnxruntime.so")),
        intra_threads: 1,
        provider: Provider::Cpu,
        require_provider: false,
        joints,
        arm: None,
        conditioning: Conditioning::None,
        denoise_steps: None,
        features_every: Duration::ZERO,
    }
}

fn open(bundle: Bundle, within: Option<Duration>) -> Result<FastPolicy, VlaError> {
    let joints = bundle.manifest().action.joints.clone();
    FastPolicy::open(bundle, &options(&joints), within)
}

fn observation(bundle: &Bundle) -> (Observation, InferenceRequest) {
    let case = bundle.golden().expect("cases").swap_remove(0);
    let frame = |camera: &tactus_bundle::CameraSpec| CameraFrame {
        camera: camera.name.as_str().into(),
        captured_at: Time::from_millis(900),
        received_at: Time::from_millis(910),
        seq: 3,
        width: camera.width as u32,
        height: camera.height as u32,
        encoding: Encoding::Rgb8,
        data: Arc::from(case.u8(&format!("rgb.{}", camera.name)).expect("pixels")),
    };
    let q = JointVec::from_slice(&[0.1, 0.2, -0.3, 0.4, 0.5, -0.6]).expect("six joints");
    let state = JointState {
        captured_at: Time::from_millis(900),
        seq: 1,
        epoch: 1,
        q,
        dq: JointVec::zeros(6),
        opening: 0.5,
        torque: true,
    };
    let observation = Observation {
        observed_at: Time::from_millis(900),
        frames: bundle.manifest().cameras.iter().map(frame).collect(),
        state,
    };
    let request = InferenceRequest {
        id: 7,
        generation: Generation { boot: 1, count: 2 },
        instruction: case.instruction.as_str().into(),
        observe_after: Time::ZERO,
        deadline: Time::ZERO,
        expected_delay: Duration::ZERO,
        leftover: Leftover::none(),
        conditioning: Conditioning::None,
        seed: 0,
    };
    (observation, request)
}

#[test]
fn an_answer_that_spells_a_chunk_is_that_chunk_counted_from_where_the_arm_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = completed(dir.path());
    let spec = tactus_fast::FastSpec::read(&bundle.path("fast_config.json")).expect("ranges");
    let codec =
        tactus_fast::FastCodec::open(&bundle.path("fast_tokenizer.json"), spec).expect("a codec");
    let rows = codec.decode(&answer(&bundle)).expect("a chunk");
    let (observation, request) = observation(&bundle);
    let mut policy = open(bundle, None).expect("it opens");
    let chunk = policy.infer(&observation, &request).expect("a chunk");
    assert_eq!((chunk.request_id, chunk.actions.len()), (7, 16));
    assert_eq!(chunk.first_due, Time::from_millis(950));
    assert_eq!(chunk.frames.len(), 2);
    for (row, action) in rows.chunks_exact(7).zip(&chunk.actions) {
        for (joint, value) in row[..6].iter().enumerate() {
            assert!((action.q[joint] - observation.state.q[joint] - value).abs() < 1e-12);
        }
        assert!((action.opening - row[6].clamp(0.0, 1.0)).abs() < 1e-12);
    }
    for stage in [
        Stage::Vision,
        Stage::Backbone,
        Stage::Context,
        Stage::Denoise,
    ] {
        assert!(!chunk.stages.get(stage).is_zero(), "{stage:?}");
    }
    // A decoder that errs in one token: no chunk, and the next one is as ever.
    policy.tamper(|place, id| if place == 20 { id + 1 } else { id });
    let error = policy.infer(&observation, &request).expect_err("no chunk");
    assert!(
        error.reason.contains("coefficients") || error.reason.contains("answer"),
        "{error}"
    );
    policy.tamper(|_, id| id);
    assert_eq!(
        policy
            .infer(&observation, &request)
            .expect("a chunk")
            .actions,
        chunk.actions
    );
    // Every tag matters.
    for place in 0..3 {
        policy.tamper(match place {
            0 => |place, id| if place == 0 { id + 1 } else { id },
            1 => |place, id| if place == 10 { id + 1 } else { id },
            _ => |_, _| 0,
        });
        policy.infer(&observation, &request).expect_err("no chunk");
    }
}

#[test]
fn an_answer_agrees_with_its_own_chunk_and_is_as_far_from_another_as_that_is() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = completed(dir.path());
    let (observation, request) = observation(&bundle);
    let mut policy = open(bundle, None).expect("it opens");
    let own = policy.infer(&observation, &request).expect("a chunk");
    let found = policy
        .agree(&observation, &request, &own)
        .expect("compared");
    assert_eq!(found.reward.format, 1.0);
    let (joints, openings) = found.apart.expect("it spells a chunk");
    assert!(joints < 1e-12 && openings < 1e-12, "{joints} {openings}");

    let mut other = own.clone();
    for action in &mut other.actions {
        action.q = action.q.zip(&action.q, |q, _| q + 0.25);
    }
    let found = policy
        .agree(&observation, &request, &other)
        .expect("compared");
    let (joints, _) = found.apart.expect("it spells a chunk");
    assert!((joints - 0.25).abs() < 1e-9, "{joints}");
    assert!(found.reward.prefix < 1.0, "another chunk has other tokens");

    // An answer that is none agrees in nothing; a chunk of another shape is an error.
    policy.tamper(|_, _| 0);
    let found = policy
        .agree(&observation, &request, &own)
        .expect("compared");
    assert_eq!((found.reward.total(), found.apart), (0.0, None));
    other.actions.truncate(3);
    let error = policy
        .agree(&observation, &request, &other)
        .expect_err("refused");
    assert!(error.reason.contains("cannot be spelled"), "{error}");
}

#[test]
fn one_that_spells_too_little_is_an_error() {
    let bundle = Bundle::open(root().join("models/demo/bundle")).expect("the demo bundle");
    let (observation, request) = observation(&bundle);
    let mut policy = open(bundle, None).expect("it opens");
    let error = policy
        .infer(&observation, &request)
        .expect_err("no chunk")
        .to_string();
    assert!(
        error.contains("expected 112 coefficients, got 103"),
        "{error}"
    );
    let asked = InferenceRequest {
        conditioning: Conditioning::Prefix,
        ..request
    };
    let error = policy
        .infer(&observation, &asked)
        .expect_err("no chunk")
        .to_string();
    assert!(error.contains("expected none"), "{error}");
}

#[test]
fn a_budget_bounds_the_tokens_and_one_that_is_too_short_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = completed(dir.path());
    let error = open(bundle.clone(), Some(Duration::from_micros(50)))
        .err()
        .expect("refused");
    assert!(error.to_string().contains("time for 6 tokens"), "{error}");
    let policy = open(bundle.clone(), Some(Duration::from_secs(3600))).expect("it opens");
    assert_eq!(policy.budget().tokens, 512, "the cache's length");
    // Long enough for a token or some, not for all: whatever the machine does meanwhile, it is no chunk.
    let (observation, request) = observation(&bundle);
    let mut cut = open(bundle, Some(Duration::from_secs(3600))).expect("it opens");
    cut.limit(8);
    let error = cut
        .infer(&observation, &request)
        .expect_err("no chunk")
        .to_string();
    assert!(
        error.contains("after 8 tokens (tokens): expected an answer that ends within 8 tokens"),
        "{error}"
    );
}

#[test]
fn bundles_that_cannot_are_refused() {
    let tiny = Bundle::open(root().join("models/export/tests/bundles/qwen3_vl")).expect("a bundle");
    let error = open(tiny, None).err().expect("refused").to_string();
    assert!(error.contains("was not taught to act"), "{error}");
    let demo = Bundle::open(root().join("models/demo/bundle")).expect("the demo bundle");
    let joints = demo.manifest().action.joints.clone();
    let asked = VlaOptions {
        conditioning: Conditioning::Prefix,
        ..options(&joints)
    };
    let error = FastPolicy::open(demo, &asked, None)
        .err()
        .expect("refused")
        .to_string();
    assert!(error.contains("a schedule without conditioning"), "{error}");
}
