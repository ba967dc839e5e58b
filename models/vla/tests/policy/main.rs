//! The policy on the demo bundle: what a chunk owes its request, and how each bad input reads.

mod refusals;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tactus_bundle::Bundle;
use tactus_types::{
    Action, ActionChunk, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest,
    Jacobian, JointState, JointVec, Leftover, Observation, Policy, Stage, Time, TimedAction,
};
use tactus_vla::{Provider, VlaOptions, VlaPolicy};

use refusals::edited;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn demo() -> PathBuf {
    root().join("models/demo/bundle")
}

fn joints() -> Vec<String> {
    Bundle::open(demo())
        .expect("the demo bundle")
        .manifest()
        .action
        .joints
        .clone()
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
        features_every: std::time::Duration::ZERO,
    }
}

fn open(joints: &[String]) -> VlaPolicy {
    VlaPolicy::open(demo(), options(joints)).expect("the demo bundle opens")
}

/// The first golden case as an observation of an arm with these joints.
fn observation(joints: &[String]) -> Observation {
    let bundle = Bundle::open(demo()).expect("the demo bundle");
    let case = bundle.golden().expect("golden cases").swap_remove(0);
    let raw = case.f32("state_raw").expect("state");
    let column = |joint: &String| {
        bundle
            .manifest()
            .state
            .joints
            .iter()
            .position(|name| name == joint)
            .expect("joint")
    };
    let q: Vec<f64> = joints
        .iter()
        .map(|joint| f64::from(raw[column(joint)]))
        .collect();
    let q = JointVec::from_slice(&q).expect("few joints");
    let frame = |(i, camera): (usize, &tactus_bundle::CameraSpec)| CameraFrame {
        camera: camera.name.as_str().into(),
        captured_at: Time::from_millis(990),
        received_at: Time::from_millis(995),
        seq: 40 + i as u64,
        width: camera.width as u32,
        height: camera.height as u32,
        encoding: Encoding::Jpeg,
        data: case
            .u8(&format!("jpeg.{}", camera.name))
            .expect("jpeg")
            .into(),
    };
    Observation {
        observed_at: Time::from_millis(990),
        frames: bundle
            .manifest()
            .cameras
            .iter()
            .enumerate()
            .map(frame)
            .collect(),
        state: JointState {
            captured_at: Time::from_millis(990),
            seq: 7,
            epoch: 1,
            q,
            dq: JointVec::zeros(q.len()),
            opening: f64::from(raw[joints.len()]),
            torque: true,
        },
    }
}

fn request(instruction: &str, seed: u64) -> InferenceRequest {
    InferenceRequest {
        id: 17,
        generation: Generation { boot: 3, count: 5 },
        instruction: instruction.into(),
        observe_after: Time::ZERO,
        deadline: Time::from_millis(2000),
        expected_delay: Duration::from_millis(100),
        leftover: Leftover::none(),
        conditioning: Conditioning::None,
        seed,
    }
}

fn infer(
    policy: &mut VlaPolicy,
    observation: &Observation,
    request: &InferenceRequest,
) -> ActionChunk {
    policy.infer(observation, request).expect("a chunk")
}

fn distance(a: &Action, b: &Action) -> f64 {
    a.q.zip(&b.q, |a, b| a - b)
        .max_abs()
        .max((a.opening - b.opening).abs())
}

#[test]
fn a_chunk_echoes_its_request_and_says_when_its_actions_are_due() {
    let joints = joints();
    let mut policy = open(&joints);
    let observation = observation(&joints);
    let chunk = infer(
        &mut policy,
        &observation,
        &request("Pick up the red cube.", 1),
    );
    assert_eq!(chunk.request_id, 17);
    assert_eq!(chunk.generation, Generation { boot: 3, count: 5 });
    assert_eq!(chunk.observed_at, Time::from_millis(990));
    assert_eq!(chunk.due(0), Time::from_millis(1040));
    assert_eq!(chunk.last_due(), Time::from_millis(1040 + 15 * 50));
    assert_eq!(chunk.actions.len(), 16);
    assert_eq!(*chunk.bundle_id, **policy.bundle().id());
    let seqs: Vec<_> = chunk
        .frames
        .iter()
        .map(|f| (f.camera.to_string(), f.seq))
        .collect();
    assert_eq!(seqs, [("scene".into(), 40), ("wrist".into(), 41)]);
    let compute = [
        Stage::Decode,
        Stage::Preprocess,
        Stage::Vision,
        Stage::Backbone,
        Stage::Context,
        Stage::Denoise,
    ];
    for stage in Stage::ALL {
        assert_eq!(
            compute.contains(&stage),
            !chunk.stages.get(stage).is_zero(),
            "{stage:?}"
        );
    }
    assert_eq!(policy.provider(), "cpu");
}

#[test]
fn the_seed_decides_the_noise_and_nothing_else_is_random() {
    let joints = joints();
    let (mut policy, observation) = (open(&joints), observation(&joints));
    let first = infer(&mut policy, &observation, &request("lift the blue cube", 1));
    let other = infer(&mut policy, &observation, &request("lift the blue cube", 2));
    let again = infer(&mut policy, &observation, &request("lift the blue cube", 1));
    assert_eq!(first.actions, again.actions);
    assert_ne!(first.actions, other.actions);
    let fresh = infer(
        &mut open(&joints),
        &observation,
        &request("lift the blue cube", 1),
    );
    assert_eq!(first.actions, fresh.actions);
}

#[test]
fn an_instruction_counts_and_its_prompt_is_not_left_over() {
    let joints = joints();
    let (mut policy, observation) = (open(&joints), observation(&joints));
    let mut actions =
        |instruction| infer(&mut policy, &observation, &request(instruction, 1)).actions;
    let red = actions("pick up the red cube");
    let green = actions("pick up the green cube");
    // A prompt of another length, so that other buffers are used in between.
    let long = actions("would you please, if you can, pick up the green block that is over there");
    assert_ne!(red, green);
    assert_ne!(green, long);
    assert_eq!(actions("pick up the red cube"), red);
    assert_eq!(actions("Pick up the RED cube!"), red);
}

#[test]
fn joints_are_found_by_name_whatever_their_order() {
    let joints = joints();
    let straight = infer(
        &mut open(&joints),
        &observation(&joints),
        &request("lift it", 1),
    );
    let mut backwards = joints.clone();
    backwards.reverse();
    let swapped = infer(
        &mut open(&backwards),
        &observation(&backwards),
        &request("lift it", 1),
    );
    for (a, b) in straight.actions.iter().zip(&swapped.actions) {
        let b = Action {
            q: JointVec::from_fn(b.q.len(), |i| b.q[b.q.len() - 1 - i]),
            ..*b
        };
        assert_eq!(*a, b);
    }
}

#[test]
fn a_committed_prefix_comes_back_and_changes_what_follows() {
    let joints = joints();
    let (mut policy, observation) = (open(&joints), observation(&joints));
    let free = infer(&mut policy, &observation, &request("lift it", 1));
    let mut with_prefix = request("lift it", 1);
    let planned = |millis: u64| Action {
        q: JointVec::from_fn(6, |j| {
            observation.state.q[j] + 2e-4 * (millis - 1000) as f64
        }),
        opening: 0.25,
    };
    with_prefix.conditioning = Conditioning::Prefix;
    // Planned by an older chunk on another grid of due times; the rows of the new one lie in between.
    with_prefix.leftover = (1000..1600)
        .step_by(30)
        .map(|millis| TimedAction {
            due: Time::from_millis(millis),
            action: planned(millis),
        })
        .collect();
    with_prefix.expected_delay = Duration::from_millis(160);
    let committed = infer(&mut policy, &observation, &with_prefix);
    let due = |i: usize| committed.due(i).as_nanos() / 1_000_000;
    let hand_over = observation.observed_at + with_prefix.expected_delay;
    let decided = (0..16)
        .take_while(|i| committed.due(*i) <= hand_over)
        .count();
    assert_eq!(decided, 3);
    for (i, action) in committed.actions.iter().take(decided).enumerate() {
        assert!(distance(action, &planned(due(i))) < 1e-6, "{i}: {action:?}");
    }
    assert!(distance(&committed.actions[3], &free.actions[3]) > 1e-6);
    assert!(
        distance(&committed.actions[3], &planned(due(3))) > 1e-3,
        "free to differ"
    );
    // The next request without one is free again.
    assert_eq!(
        infer(&mut policy, &observation, &request("lift it", 1)).actions,
        free.actions
    );
}

/// Either way to guide brings the chunk closer to the old plan where that counts in full.
#[test]
fn guidance_draws_a_chunk_towards_the_plan_in_force() {
    let joints = joints();
    let observation = observation(&joints);
    for jacobian in [Jacobian::Exact, Jacobian::Identity] {
        let conditioning = Conditioning::Guided {
            beta: 5.0,
            jacobian,
        };
        let opened = VlaOptions {
            conditioning,
            ..options(&joints)
        };
        let mut policy = VlaPolicy::open(demo(), opened).expect("opens");
        let free = infer(&mut policy, &observation, &request("lift it", 1));
        let mut guided = request("lift it", 1);
        guided.conditioning = conditioning;
        guided.expected_delay = Duration::from_millis(210);
        let off = |i: usize| Action {
            q: JointVec::from_fn(6, |j| free.actions[i].q[j] + 0.05),
            opening: free.actions[i].opening,
        };
        guided.leftover = (0..12)
            .map(|i| TimedAction {
                due: free.due(i),
                action: off(i),
            })
            .collect();
        let drawn = infer(&mut policy, &observation, &guided);
        let off_the_plan = |chunk: &ActionChunk| -> f64 {
            let rows = chunk.actions.iter().enumerate().take(4);
            let missed =
                rows.flat_map(|(i, a)| off(i).q.zip(&a.q, |x, y| x - y).as_slice().to_vec());
            (missed.map(|e| e * e).sum::<f64>() / 24.0).sqrt()
        };
        let (before, after) = (off_the_plan(&free), off_the_plan(&drawn));
        assert!((before - 0.05).abs() < 1e-6, "{before}");
        // The head's own derivative lets only such chunks come about as it holds possible: it is drawn less.
        assert!(
            after < 0.7 * before,
            "{jacobian:?}: {after} rad off the plan, {before} when free"
        );
    }
}

#[test]
fn a_conditioning_that_the_policy_was_not_opened_for_is_refused() {
    let joints = joints();
    let (mut policy, observation) = (open(&joints), observation(&joints));
    let mut guided = request("lift it", 1);
    guided.conditioning = Conditioning::Guided {
        beta: 5.0,
        jacobian: Jacobian::Exact,
    };
    guided.leftover = (0..12)
        .map(|i| TimedAction {
            due: Time::from_millis(1000 + 60 * i),
            action: Action {
                q: observation.state.q,
                opening: 0.5,
            },
        })
        .collect();
    let error = policy.infer(&observation, &guided).expect_err("refused");
    assert!(error.reason.contains("field `conditioning`"), "{error}");
}

#[test]
fn a_raw_frame_is_as_good_as_the_jpeg_it_came_from() {
    let joints = joints();
    let (mut policy, observation) = (open(&joints), observation(&joints));
    let bundle = Bundle::open(demo()).expect("the demo bundle");
    let case = bundle.golden().expect("golden cases").swap_remove(0);
    let mut raw = observation.clone();
    for frame in &mut raw.frames {
        frame.encoding = Encoding::Rgb8;
        frame.data = case
            .u8(&format!("rgb.{}", frame.camera))
            .expect("pixels")
            .into();
    }
    let jpeg = infer(&mut policy, &observation, &request("lift it", 1));
    let raw = infer(&mut policy, &raw, &request("lift it", 1));
    // Another JPEG decoder made the raw pixels.
    for (a, b) in jpeg.actions.iter().zip(&raw.actions) {
        assert!(distance(a, b) < 1e-2, "{a:?} {b:?}");
    }
}

#[test]
fn an_unusable_observation_or_request_is_refused_with_its_stage() {
    let joints = joints();
    let (mut policy, good) = (open(&joints), observation(&joints));
    let mut refusal = |spoil: &dyn Fn(&mut Observation), instruction: &str| {
        let mut observation = good.clone();
        spoil(&mut observation);
        let refused = policy.infer(&observation, &request(instruction, 1));
        refused.expect_err("unusable").to_string()
    };
    let swap: &dyn Fn(&mut Observation) = &|o| o.frames.swap(0, 1);
    let nan: &dyn Fn(&mut Observation) = &|o| o.state.q[2] = f64::NAN;
    let cut: &dyn Fn(&mut Observation) = &|o| {
        let data = &o.frames[1].data;
        o.frames[1].data = data[..data.len() / 2].into();
    };
    let short: &dyn Fn(&mut Observation) = &|o| o.state.q = JointVec::zeros(5);
    let nothing: &dyn Fn(&mut Observation) = &|_| {};
    let long = "x ".repeat(600);
    for (spoil, instruction, says) in [
        (
            swap,
            "lift it",
            "policy stage `assemble`: observation: field `frames`: expected scene, wrist, got wrist, scene",
        ),
        (
            short,
            "lift it",
            "policy stage `assemble`: observation: field `state.q`: expected 6 joints, got 5",
        ),
        (
            nan,
            "lift it",
            "policy stage `assemble`: observation: field `state`: expected finite numbers, got [",
        ),
        (
            cut,
            "lift it",
            "policy stage `decode`: camera `wrist`: JPEG: ",
        ),
        (
            nothing,
            "?!",
            "policy stage `preprocess`: instruction: expected words, got `?!`",
        ),
        (
            nothing,
            &long,
            "policy stage `preprocess`: instruction: expected at most 1024 bytes, got 1200",
        ),
    ] {
        let error = refusal(spoil, instruction);
        assert!(
            error.starts_with(says),
            "expected: {says}\n     got: {error}"
        );
    }
    // None of which spoils the policy.
    assert!(policy.infer(&good, &request("lift it", 1)).is_ok());
}

/// Fewer steps are another, quicker way through the same head; more than the bundle was made for are refused.
#[test]
fn a_cell_may_ask_for_fewer_denoising_steps_but_not_for_more() {
    let joints = joints();
    let with = |denoise_steps| VlaOptions {
        denoise_steps,
        ..options(&joints)
    };
    let observation = observation(&joints);
    let mut chunks = Vec::new();
    for steps in [None, Some(4), Some(2)] {
        let mut policy = VlaPolicy::open(demo(), with(steps)).expect("opens");
        assert_eq!(policy.steps(), steps.unwrap_or(4));
        chunks.push(infer(&mut policy, &observation, &request("lift it", 1)).actions);
    }
    assert_eq!(chunks[0], chunks[1], "four is the bundle's own number");
    let apart = |i: usize| (chunks[0][i].q[0] - chunks[2][i].q[0]).abs();
    let most = (0..chunks[0].len()).map(apart).fold(0.0, f64::max);
    assert!(most > 1e-6 && most < 0.2, "{most}");
    for steps in [0, 5] {
        let error = VlaPolicy::open(demo(), with(Some(steps))).err();
        let error = error.expect("refused").to_string();
        let wanted = format!("expected 1 to 4 denoising steps (engine.denoise_steps), got {steps}");
        assert!(error.contains(&wanted), "{error}");
    }
}

/// Between two looks only the head runs, on the newest state; a new generation or instruction looks anew, and so does what
/// is older than the cell says. A bundle that does not permit it is refused.
#[test]
fn features_may_serve_several_chunks_where_the_bundle_permits_it() {
    let joints = joints();
    let every = Duration::from_millis(200);
    let dual = VlaOptions {
        features_every: every,
        ..options(&joints)
    };
    let error = VlaPolicy::open(demo(), dual.clone()).err();
    let error = error.expect("refused").to_string();
    assert!(
        error.contains("expected features no older than 0 ms") && error.contains("= 200"),
        "{error}"
    );
    let permits = edited("max_prefix = ", "max_feature_age_s = 0.25\nmax_prefix = ");
    let mut policy = VlaPolicy::open(permits.path(), dual).expect("opens");
    let mut plain = VlaPolicy::open(demo(), options(&joints)).expect("opens");

    let first = observation(&joints);
    let later = |millis: u64, seq: u64| {
        let mut later = first.clone();
        later.observed_at = first.observed_at + Duration::from_millis(millis);
        later.state.q[0] += 0.05;
        for frame in &mut later.frames {
            frame.seq += seq;
        }
        later
    };
    let looked = |chunk: &ActionChunk| !chunk.stages.get(Stage::Backbone).is_zero();
    let seen = |chunk: &ActionChunk| chunk.frames[0].seq - first.frames[0].seq;
    let ask = request("lift it", 1);
    let a = infer(&mut policy, &first, &ask);
    assert!(looked(&a) && seen(&a) == 0);
    let b = infer(&mut policy, &later(150, 3), &ask);
    assert!(!looked(&b) && seen(&b) == 0, "the pictures of the first");
    assert!(b.stages.get(Stage::Vision).is_zero() && b.stages.get(Stage::Decode).is_zero());
    assert_eq!(
        b.observed_at,
        later(150, 3).observed_at,
        "with the newest state"
    );
    // The same pictures: what the head makes of them is what it makes when all is run.
    let all = infer(&mut plain, &later(150, 3), &ask);
    assert_eq!(b.actions, all.actions);
    assert_ne!(a.actions, b.actions);
    let c = infer(&mut policy, &later(200, 4), &ask);
    assert!(looked(&c) && seen(&c) == 4, "too old");
    let mut resumed = ask.clone();
    resumed.generation.count += 1;
    assert!(looked(&infer(&mut policy, &later(210, 5), &resumed)));
    assert!(!looked(&infer(&mut policy, &later(220, 6), &resumed)));
    let mut other = request("drop it", 1);
    other.generation = resumed.generation;
    assert!(looked(&infer(&mut policy, &later(230, 7), &other)));
}

/// The probe counts every stage of the policy, and guidance where the cell guides.
#[test]
fn a_probe_says_what_each_stage_takes() {
    let joints = joints();
    let guided = Conditioning::Guided {
        beta: 5.0,
        jacobian: Jacobian::Exact,
    };
    let mut denoise = Vec::new();
    for conditioning in [Conditioning::None, guided] {
        let opened = VlaOptions {
            conditioning,
            ..options(&joints)
        };
        let mut policy = VlaPolicy::open(demo(), opened).expect("opens");
        let mut counted = 0;
        let within = Duration::from_secs(60);
        let probe = policy.probe(conditioning, 9, within, || counted += 1);
        let probe = probe.expect("probed");
        assert_eq!((probe.chunks, counted), (9, 9));
        for (stage, cost) in &probe.stages {
            assert!(cost.p50 > Duration::ZERO, "{stage:?}");
            assert!(cost.p50 <= cost.p99 && cost.p99 <= cost.max, "{stage:?}");
        }
        denoise.push(probe.stages.last().expect("denoise").1.p50);
    }
    assert!(denoise[1] > denoise[0].mul_f64(1.3), "{denoise:?}");
}
