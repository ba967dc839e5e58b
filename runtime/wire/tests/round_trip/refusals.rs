//! What is refused, and how that reads.

use std::time::Duration;

use tactus_types::{
    Action, ActionChunk, Applied, CameraFrame, ClampedBy, Command, Encoding, Generation, JointVec,
    Setpoint, Source, StageTimes, Time, Torque,
};
use tactus_wire::{
    AppliedBatch, CaptureClock, ChunkReply, ClockedFrame, DeviceCommand, EngineStatus,
    EpisodeEvent, EpisodePhase, EvalAnswer, EvalPhase, EvalPicture, EvalReply, EvalReport,
    EvalSaid, Header, MAX_REASONING_BYTES, Message, Raw, Reasoning, Service, SimWorld, decode,
};

use crate::{CELL, KEY, RECEIVED, decode_all, frame, travel};

#[test]
fn a_share_that_is_none_is_refused() {
    for share in [-0.1, f64::NAN, f64::INFINITY] {
        let service = Service {
            arms: 2,
            admitted_arms: 1,
            share,
            cost: Duration::ZERO,
            admitted: false,
            refused_for: "".into(),
            answered: 0,
            late: 0,
            rejected: 0,
            slack: None,
        };
        let status = EngineStatus {
            provider: "cpu".into(),
            bundle_id: "a".into(),
            service: Some(service),
        };
        let refused = travel(&status).expect_err("no share").to_string();
        assert!(refused.contains("service.share"), "{refused}");
    }
}

/// The text of the refusal of `message`; panics when it is accepted.
fn refused<M: Message + std::fmt::Debug>(message: &M) -> String {
    travel(message).expect_err("must be refused").to_string()
}

#[test]
fn refusals_name_key_field_expected_and_actual() {
    let q = JointVec::from_fn(6, |_| 0.5);
    let command = DeviceCommand {
        epoch: 1,
        tick: 1,
        q,
        dq: q,
        opening: 0.5,
        generation: Generation::default(),
        torque: Torque::Keep,
    };
    assert!(travel(&command).is_ok());
    let mut nan = command;
    nan.q[2] = f64::NAN;
    assert_eq!(
        refused(&nan),
        format!("message on `{KEY}`: field `q`: expected finite numbers, got NaN")
    );
    let short = DeviceCommand {
        dq: JointVec::zeros(5),
        ..command
    };
    assert!(refused(&short).contains("field `dq`: expected 6 numbers, got 5"));
    let wide = DeviceCommand {
        opening: 1.5,
        ..command
    };
    assert!(refused(&wide).contains("field `opening`: expected 0.0 to 1.0, got 1.5"));
}

#[test]
fn a_chunk_of_absurd_size_is_refused_and_one_that_may_not_be_executed_arrives_to_become_a_fault() {
    let chunk = |count: usize, period: Duration| {
        ChunkReply::Chunk(ActionChunk {
            request_id: 1,
            generation: Generation::default(),
            observed_at: Time::ZERO,
            first_due: Time::ZERO,
            period,
            actions: vec![
                Action {
                    q: JointVec::zeros(6),
                    opening: 0.0
                };
                count
            ],
            bundle_id: "b".into(),
            states: None,
            frames: Vec::new(),
            stages: StageTimes::default(),
        })
    };
    let period = Duration::from_millis(50);
    assert!(travel(&chunk(1024, period)).is_ok());
    assert!(refused(&chunk(1025, period)).contains("field `actions`"));
    assert!(travel(&chunk(0, period)).is_ok());
    assert!(travel(&chunk(4, Duration::ZERO)).is_ok());
    let ChunkReply::Chunk(mut poisoned) = chunk(4, period) else {
        unreachable!()
    };
    poisoned.actions[2].q[3] = f64::NAN;
    let Ok(ChunkReply::Chunk(arrived)) = travel(&ChunkReply::Chunk(poisoned)) else {
        panic!("arrives")
    };
    assert!(arrived.actions[2].q[3].is_nan() && arrived.actions[1].q.is_finite());
}

#[test]
fn a_bad_setpoint_is_still_recorded() {
    let q = JointVec::zeros(2);
    let mut applied = Applied {
        command: Command {
            tick: 1,
            epoch: 1,
            q,
            dq: q,
            ddq: q,
            opening: 0.0,
            setpoint: Setpoint {
                source: Source::Policy,
                q: JointVec::from_fn(2, |_| f64::NAN),
                dq: q,
                ddq: q,
                opening: f64::INFINITY,
                request_id: 1,
                action_index: 0,
                observed_at: None,
            },
            clamped_by: ClampedBy::default(),
            clamped_rad: 0.0,
            generation: Generation::default(),
            torque: Torque::Keep,
        },
        at: Time::ZERO,
    };
    let batch = |applied| AppliedBatch {
        applied: vec![applied],
    };
    assert!(travel(&batch(applied)).is_ok());
    applied.command.q = JointVec::from_fn(2, |_| f64::NAN);
    assert!(refused(&batch(applied)).contains("field `applied.q`"));
}

#[test]
fn what_is_not_a_jpeg_of_sane_size_is_no_frame() {
    let not_a_jpeg = CameraFrame {
        data: vec![1; 100].into(),
        ..frame(8, 8)
    };
    assert!(refused(&not_a_jpeg).contains("expected a JPEG file"));
    let raw = CameraFrame {
        encoding: Encoding::Rgb8,
        ..frame(8, 8)
    };
    assert!(refused(&raw).contains("field `data`: expected 192 bytes"));
    let none = CameraFrame {
        width: 0,
        data: vec![].into(),
        ..raw.clone()
    };
    assert!(refused(&none).contains("field `width`: expected 1 to 16384 pixels"));
    let whole = CameraFrame {
        data: vec![7; 192].into(),
        ..raw
    };
    let arrived = travel(&whole).expect("raw frames travel");
    assert_eq!(
        (arrived.data, arrived.encoding),
        (whole.data, Encoding::Rgb8)
    );
    let huge = CameraFrame {
        data: vec![0xff; (16 << 20) + 1].into(),
        ..frame(8, 8)
    };
    assert!(refused(&huge).contains("at most 16777216"));
}

#[test]
fn worlds_that_contradict_themselves_are_refused() {
    let world = |placed: Vec<bool>, first_placed| SimWorld {
        captured_at: Time::from_nanos(1),
        epoch: 1,
        sim_time_secs: 0.0,
        qpos: vec![0.0],
        lifted: vec![false; 3],
        first_lifted: None,
        cube_heights: vec![0.02; 3],
        placed,
        first_placed,
        variation: Some(u64::MAX),
    };
    assert!(travel(&world(vec![], None)).is_ok(), "knows no bowl");
    assert!(
        refused(&world(vec![true; 64], None))
            .contains("field `placed`: expected 3, as `lifted`, or none, got 64")
    );
    assert!(
        refused(&world(vec![true; 3], Some(3)))
            .contains("field `first_placed`: expected less than 3, got 3")
    );
    assert!(refused(&world(vec![], Some(0))).contains("field `first_placed`"));
}

#[test]
fn long_texts_and_large_payloads_are_refused() {
    let event = |reason: String| EpisodeEvent {
        episode: 1,
        phase: EpisodePhase::Stopped {
            success: false,
            reason,
            excluded: false,
        },
    };
    assert!(travel(&event("x".repeat(64 << 10))).is_ok());
    assert!(refused(&event("x".repeat((64 << 10) + 1))).contains("at most 65536 bytes"));
    assert!(refused(&event("x".repeat(2 << 20))).contains("field `(payload)`"));
}

#[test]
fn words_have_a_length_and_a_talk_has_an_age() {
    let said = |length: usize| Reasoning {
        talk: 1,
        observed_at: Time::from_nanos(5),
        instruction: "lift it".into(),
        text: "x".repeat(length).into(),
        tokens: 3,
        finish: None,
        elapsed: Duration::ZERO,
    };
    assert!(travel(&said(MAX_REASONING_BYTES)).is_ok());
    let refusal = refused(&said(MAX_REASONING_BYTES + 1));
    assert!(
        refusal.contains("field `text`: expected at most 8192 bytes"),
        "{refusal}"
    );
    assert!(refused(&said(1 << 20)).contains("field `(payload)`"));
}

#[test]
fn trials_that_an_operator_judges_arrive_as_they_were_sent_and_scores_have_bounds() {
    for phase in [
        EvalPhase::Preparing,
        EvalPhase::Setup,
        EvalPhase::Running,
        EvalPhase::Scoring,
        EvalPhase::Done,
    ] {
        let report = EvalReport {
            name: "B against A".into(),
            phase,
            trial: 3,
            trials: 50,
            scored: 2,
            attempt: 1,
            blind: true,
            label: "A".into(),
            task: "pick".into(),
            condition: "picture 3.jpg".into(),
            instruction: "pick up the red cube".into(),
            milestones: vec!["lifted".into()],
            secs: 1.5,
            limit_secs: 30.0,
            picture: true,
            note: String::new(),
        };
        assert_eq!(travel(&report), Ok(report.clone()));
        let endless = EvalReport {
            secs: f64::NAN,
            ..report
        };
        assert!(refused(&endless).contains("field `secs`"));
    }
    let score = |progress| EvalSaid::Score {
        success: false,
        progress,
        milestones: vec!["lifted".into()],
        note: "dropped it".into(),
    };
    let answer = |said| EvalAnswer {
        trial: 3,
        attempt: 1,
        said,
    };
    for said in [
        EvalSaid::Ready,
        EvalSaid::End,
        score(0.0),
        score(100.0),
        EvalSaid::Exclude {
            hardware: true,
            note: "a cable".into(),
        },
    ] {
        assert_eq!(travel(&answer(said.clone())), Ok(answer(said)));
    }
    for progress in [-1.0, 100.5, f64::NAN] {
        assert!(refused(&answer(score(progress))).contains("field `score.progress`"));
    }
    let reply = EvalReply {
        accepted: false,
        message: "trial 4 runs".into(),
    };
    assert_eq!(travel(&reply), Ok(reply.clone()));
    let picture = EvalPicture {
        trial: 3,
        data: vec![0xff, 0xd8],
    };
    assert_eq!(travel(&picture), Ok(picture.clone()));
}

#[test]
fn another_schema_version_is_refused_by_name() {
    // Field 1 (schema_version) = 2, nothing else.
    let errors = decode_all(Some(&[0x08, 0x02]), &[]);
    for error in errors {
        let error = error.expect("refused").to_string();
        assert!(
            error.contains("`schema_version`: expected 1, got 2"),
            "{error}"
        );
    }
}

#[test]
fn how_a_capture_time_was_read_travels_with_the_image_and_harms_nobody_who_does_not_know_it() {
    for clock in CaptureClock::ALL {
        let sent = ClockedFrame {
            frame: frame(64, 48),
            clock,
        };
        assert_eq!(travel(&sent), Ok(sent.clone()));
        let header = Header {
            clock: CELL,
            captured_at: sent.frame.captured_at,
            published_at: sent.frame.captured_at,
            seq: 9,
            source: "camera/scene".into(),
            followed: None,
        };
        let raw = |payload: Vec<u8>| Raw {
            key: KEY,
            attachment: Some(header.encode().into()),
            payload: payload.into(),
            received_at: RECEIVED,
        };
        let bare = decode::<CameraFrame>(&raw(sent.encode()), CELL).expect("a frame");
        assert_eq!(bare.message, sent.frame);
        let silent = decode::<ClockedFrame>(&raw(sent.frame.encode()), CELL).expect("a frame");
        assert_eq!(silent.message.clock, CaptureClock::Unsaid);
        assert_eq!(CaptureClock::of_word(clock.word()), clock);
    }
    assert_eq!(CaptureClock::of_word("sundial"), CaptureClock::Unsaid);
}
