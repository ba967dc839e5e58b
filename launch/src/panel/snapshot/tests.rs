use super::*;
use std::time::Duration;
use tactus_types::{FaultKind, Generation, JointLimits, LeaseHolder, Rank, StageTimes};
use tactus_wire::{Counters, SlackNanos};

pub fn facts() -> Facts {
    let mut stages = StageTimes::default();
    stages.set(Stage::Backbone, Duration::from_millis(20));
    Facts {
        cell: "demo".into(),
        rate_hz: 500.0,
        budget: Budget::new(stages, Duration::from_millis(5)),
        roles: vec![("arm", "arm".into()), ("engine", "engine".into())],
        cameras: vec!["scene".into(), "wrist".into()],
        resumes: false,
    }
}

fn report(mode: ModeWord) -> ModeReport {
    ModeReport {
        mode,
        reason: "camera `wrist` has stopped".into(),
        fault: (mode == ModeWord::Hold).then_some(FaultKind::StreamStale),
        generation: Generation::default(),
        since: Time::from_millis(500),
        instruction: "pick up the red cube".into(),
        counters: Counters::default(),
        lease: Some(LeaseHolder {
            holder: "panel-7".into(),
            rank: Rank::Policy,
            expires: Time::from_millis(3000),
        }),
    }
}

/// In a hold, with one chunk so far.
pub fn lately() -> Lately {
    let now = Time::from_millis(1000);
    let mut lately = Lately::default();
    lately.mode(report(ModeWord::Hold), now);
    let mut stages = StageTimes::default();
    stages.set(Stage::Backbone, Duration::from_millis(30));
    let telemetry = Telemetry {
        request_id: 3,
        stages,
        ..Telemetry::default()
    };
    lately.telemetry = Some((telemetry, now));
    lately.present.insert(("arm", "arm".into()), true);
    let service = Service {
        arms: 2,
        admitted_arms: 1,
        share: 0.3,
        cost: Duration::from_millis(30),
        admitted: false,
        refused_for: "it is busy".into(),
        answered: 0,
        late: 0,
        rejected: 4,
        slack: Some(SlackNanos {
            last: 5,
            least: -1_500_000,
            median: 2,
        }),
    };
    lately.service = Some((service, now));
    lately
}

fn shown(lately: &Lately, millis: u64) -> Value {
    let text = lately.json(
        &facts(),
        &[(7, Some(0.051)), (0, None)],
        Time::from_millis(millis),
    );
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_hold_says_why_and_which_rung_and_how_long_ago_it_was_heard() {
    let shown = shown(&lately(), 2000);
    let mode = &shown["mode"];
    assert_eq!(mode["word"], "hold");
    assert_eq!(mode["fault"]["name"], "stream-stale");
    assert_eq!(mode["fault"]["rung"], "tail, then hold");
    assert_eq!((&mode["for_s"], &mode["age_s"]), (&json!(1.5), &json!(1.0)));
    assert_eq!(mode["lease"]["holder"], "panel-7");
    assert_eq!(shown["roles"][0]["here"], true);
    assert_eq!(shown["roles"][1]["here"], false);
    assert_eq!(
        shown["cameras"][0],
        json!({ "name": "scene", "n": 7, "age_s": 0.05 })
    );
    assert_eq!(shown["cameras"][1]["age_s"], Value::Null);
}

#[test]
fn a_stage_over_its_budget_is_named() {
    let shown = shown(&lately(), 1000);
    let latency = &shown["latency"];
    assert_eq!(latency["guilty"], "backbone");
    assert_eq!(
        (&latency["sum_ms"], &latency["budget_ms"]),
        (&json!(30.0), &json!(25.0))
    );
    let stage = latency["stages"].as_array().expect("stages");
    let stage = stage
        .iter()
        .find(|s| s["name"] == "backbone")
        .expect("there");
    assert_eq!(
        (&stage["ms"], &stage["budget_ms"]),
        (&json!(30.0), &json!(20.0))
    );
}

#[test]
fn before_anything_was_heard_nothing_is_made_up() {
    let shown = shown(&Lately::default(), 1000);
    for part in ["mode", "latency", "arm", "eval", "hand", "episode"] {
        assert_eq!(shown[part], Value::Null, "{part}");
    }
}

#[test]
fn what_is_remembered_does_not_grow() {
    let mut lately = lately();
    for k in 0..10_000_u64 {
        let mode = if k % 2 == 0 {
            ModeWord::Policy
        } else {
            ModeWord::Hold
        };
        lately.mode(report(mode), Time::from_millis(k));
        let phase = EpisodePhase::Stopped {
            success: k % 3 == 0,
            reason: String::new(),
            excluded: false,
        };
        lately.episode(&EpisodeEvent { episode: k, phase }, Time::from_millis(k));
    }
    let text = lately.json(&facts(), &[], Time::from_millis(10_000));
    assert!(text.len() < 8 << 10, "{} bytes", text.len());
    assert_eq!(lately.tally.successes + lately.tally.failures, 10_000);
    let news = shown(&lately, 10_000);
    assert_eq!(news["news"].as_array().map(Vec::len), Some(NEWS));
}

#[test]
fn an_episode_that_nobody_scored_is_no_failure() {
    let mut lately = Lately::default();
    for (reason, excluded) in [(NOT_SCORED, false), ("a cable came off", true)] {
        let phase = EpisodePhase::Stopped {
            success: false,
            reason: reason.into(),
            excluded,
        };
        lately.episode(&EpisodeEvent { episode: 1, phase }, Time::ZERO);
    }
    assert_eq!(lately.tally.failures, 0);
}

#[test]
fn an_evaluation_that_fell_silent_is_not_shown_and_one_that_ended_is() {
    let mut lately = Lately::default();
    let mut report = EvalReport {
        name: "B against A".into(),
        phase: EvalPhase::Setup,
        trial: 0,
        trials: 4,
        scored: 0,
        attempt: 1,
        blind: true,
        label: "B".into(),
        task: "pick".into(),
        condition: "seed 1".into(),
        instruction: "pick up the red cube".into(),
        milestones: vec![],
        secs: 0.0,
        limit_secs: 6.0,
        picture: false,
        note: String::new(),
    };
    lately.eval = Some((report.clone(), Time::from_millis(1000)));
    assert_eq!(shown(&lately, 1500)["eval"]["label"], "B");
    // Words tell policies apart: a trial has none.
    lately.reasoning = Some((said(), Time::from_millis(1000)));
    assert!(shown(&lately, 1500)["reasoning"].is_null());
    assert!(shown(&lately, 5000)["reasoning"].is_object());
    assert_eq!(shown(&lately, 5000)["eval"], Value::Null);
    report.phase = EvalPhase::Done;
    lately.eval = Some((report, Time::from_millis(1000)));
    assert_eq!(shown(&lately, 5000)["eval"]["phase"], "done");
}

#[test]
fn joints_come_with_their_limits_and_numbers_that_are_none_are_null() {
    let mut lately = Lately::default();
    let limits = JointLimits {
        lower: -1.0,
        upper: 1.5,
        velocity: 1.0,
        acceleration: 5.0,
        jerk: 50.0,
    };
    lately.arm = Some(Arc::new(Arm::new(ArmInfo {
        model: "two".into(),
        joints: vec!["a".into(), "b".into()],
        limits: vec![limits; 2],
        gripper: true,
        state_rate_hz: 500.0,
        brakes: true,
        torque_switch: false,
        command_deadline_secs: 0.1,
        geometry: None,
    })));
    let state = JointState {
        captured_at: Time::ZERO,
        seq: 1,
        epoch: 1,
        q: JointVec::from_fn(2, |i| if i == 0 { 0.12345 } else { f64::NAN }),
        dq: JointVec::from_fn(2, |_| 0.0),
        opening: 0.5,
        torque: true,
    };
    lately.state = Some((state, Time::ZERO));
    let shown = shown(&lately, 100);
    let arm = &shown["arm"];
    assert_eq!(arm["joints"][0]["q"], json!(0.123));
    assert_eq!(arm["joints"][1]["q"], Value::Null);
    assert_eq!(arm["joints"][0]["upper"], json!(1.5));
    assert_eq!(arm["points"], Value::Null);
    assert_eq!(arm["gripper"], json!(0.5));
}

#[test]
fn the_simulated_arm_is_drawn_from_its_geometry() {
    let info = tactus_sim::arm_info();
    let joints = info.joints.len();
    let arm = Arm::new(info);
    let points = arm
        .points(&JointVec::from_fn(joints, |_| 0.1))
        .expect("a geometry");
    assert_eq!(points.len(), joints + 2);
    assert_eq!(points[0], [0.0; 3]);
    assert!(points.iter().flatten().all(|v| v.abs() < 3.0));
    assert_eq!(arm.points(&JointVec::from_fn(2, |_| 0.1)), None);
}

fn said() -> Reasoning {
    Reasoning {
        talk: 2,
        observed_at: Time::from_millis(900),
        instruction: "pick up the red cube".into(),
        text: "<think>the red cube is at 3 4</think>".into(),
        tokens: 9,
        finish: Some("text".into()),
        elapsed: Duration::from_millis(40),
    }
}

#[test]
fn words_are_shown_with_their_age() {
    let mut lately = lately();
    assert!(shown(&lately, 10_000)["reasoning"].is_null());
    lately.reasoning = Some((said(), Time::from_millis(9_500)));
    let words = &shown(&lately, 10_000)["reasoning"];
    assert_eq!(words["text"], "<think>the red cube is at 3 4</think>");
    assert_eq!(
        (&words["finish"], &words["age_s"]),
        (&json!("text"), &json!(0.5))
    );
}
