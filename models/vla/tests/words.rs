//! The language model as one that speaks, on the demo bundle: what it says, when it stops, that it can be left at any time,
//! and that its memory does not grow.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tactus_bundle::{Bundle, GoldenCase};
use tactus_types::{CameraFrame, Encoding, Time};
use tactus_vla::{
    Finish, Reasoner, ReasonerOptions, Step, Stop,
    sample::{Choice, Sampling},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn bundle() -> Bundle {
    Bundle::open(root().join("models/demo/bundle")).expect("the demo bundle")
}

fn reasoner(piece: usize) -> Reasoner {
    let options = ReasonerOptions {
        ort_library: Some(root().join("third_party/onnxruntime/libonnxruntime.so")),
        piece,
        ..ReasonerOptions::default()
    };
    Reasoner::open(&bundle(), &options).expect("it opens")
}

fn case() -> GoldenCase {
    bundle().golden().expect("cases").swap_remove(0)
}

fn frames(case: &GoldenCase) -> Vec<CameraFrame> {
    let cameras = bundle().manifest().cameras.clone();
    let frame = |camera: &tactus_bundle::CameraSpec| CameraFrame {
        camera: camera.name.as_str().into(),
        captured_at: Time::ZERO,
        received_at: Time::ZERO,
        seq: 0,
        width: camera.width as u32,
        height: camera.height as u32,
        encoding: Encoding::Rgb8,
        data: Arc::from(case.u8(&format!("rgb.{}", camera.name)).expect("pixels")),
    };
    cameras.iter().map(frame).collect()
}

fn until(tokens: usize) -> Stop {
    Stop {
        texts: Vec::new(),
        tokens,
        within: None,
    }
}

/// Tokens, text, and why it stopped.
fn said(reasoner: &mut Reasoner, choice: Choice, stop: Stop) -> (Vec<i64>, String, Finish) {
    let case = case();
    let mut talk = reasoner
        .begin(&frames(&case), &case.instruction, choice, stop)
        .expect("begins");
    let mut pieces = String::new();
    let finish = talk.finish(|| Duration::ZERO, |text| pieces.push_str(text));
    assert_eq!(pieces, talk.text(), "pieces add up to the text");
    (talk.tokens().to_vec(), pieces, finish.expect("it speaks"))
}

#[test]
fn it_says_where_the_cube_is_and_ends_where_it_should() {
    let mut reasoner = reasoner(512);
    let golden = case().i64("decoder.tokens").expect("tokens").to_vec();
    let (tokens, text, finish) = said(&mut reasoner, Choice::Greedy, until(400));
    assert_eq!(finish, Finish::Ended);
    let both = golden.len().min(tokens.len());
    assert_eq!(tokens[..both], golden[..both]);
    assert!(text.starts_with("<think>the red cube is at "), "{text}");
    assert!(
        text.contains("</think><answer><ACTION_START><action_"),
        "{text}"
    );
    let stop = Stop {
        texts: vec!["</think>".into()],
        ..until(400)
    };
    let (thought, text, finish) = said(&mut reasoner, Choice::Greedy, stop);
    assert_eq!(finish, Finish::Text);
    assert!(
        text.ends_with("</think>") && tokens.starts_with(&thought),
        "{text}"
    );
    let (three, _, finish) = said(&mut reasoner, Choice::Greedy, until(3));
    assert_eq!((finish, &three[..]), (Finish::Tokens, &tokens[..3]));
}

#[test]
fn pieces_of_the_prompt_change_nothing() {
    let whole = said(&mut reasoner(512), Choice::Greedy, until(40));
    for piece in [1, 7, 16] {
        assert_eq!(
            said(&mut reasoner(piece), Choice::Greedy, until(40)),
            whole,
            "{piece}"
        );
    }
}

#[test]
fn a_talk_that_was_left_does_not_reach_into_the_next() {
    let mut reasoner = reasoner(16);
    let whole = said(&mut reasoner, Choice::Greedy, until(30));
    let case = case();
    for steps in [1, 3, 5, 12] {
        let mut talk = reasoner
            .begin(
                &frames(&case),
                "grab the green block",
                Choice::Greedy,
                until(30),
            )
            .expect("begins");
        for _ in 0..steps {
            talk.step(Duration::ZERO).expect("a step");
        }
        assert_eq!(
            said(&mut reasoner, Choice::Greedy, until(30)),
            whole,
            "after {steps} steps"
        );
    }
}

#[test]
fn time_that_is_up_stops_it_between_two_runs() {
    let mut reasoner = reasoner(512);
    let case = case();
    let stop = Stop {
        within: Some(Duration::from_millis(100)),
        ..until(400)
    };
    let mut talk = reasoner
        .begin(&frames(&case), &case.instruction, Choice::Greedy, stop)
        .expect("begins");
    for millis in [0, 10, 20, 99] {
        let step = talk.step(Duration::from_millis(millis)).expect("a step");
        assert!(!matches!(step, Step::Done(_)), "{step:?}");
    }
    for millis in [100, 0] {
        let step = talk.step(Duration::from_millis(millis)).expect("a step");
        assert_eq!(step, Step::Done(Finish::Time));
    }
}

#[test]
fn a_seed_repeats_what_is_drawn() {
    let mut reasoner = reasoner(512);
    let drawn = |seed| {
        Choice::Sampled(Sampling {
            temperature: 2.0,
            top_k: 50,
            top_p: 0.95,
            seed,
        })
    };
    let mut say = |seed| said(&mut reasoner, drawn(seed), until(24)).0;
    let one = say(1);
    assert_eq!(say(1), one);
    assert_ne!(say(2), one);
}

#[test]
fn the_cache_is_filled_to_its_end_and_memory_does_not_grow() {
    let mut reasoner = reasoner(512);
    let bytes = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("status");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse().ok())
            .expect("a number")
    };
    let anything = |seed| {
        Choice::Sampled(Sampling {
            temperature: 50.0,
            top_k: usize::MAX,
            top_p: 1.0,
            seed,
        })
    };
    let mut full = || {
        // Nearly uniform: it may end by chance, but then not with every seed.
        let talks = (0..6).map(|seed| said(&mut reasoner, anything(seed), until(10_000)));
        talks.collect::<Vec<_>>()
    };
    full();
    let before = bytes();
    let talks = full();
    let grown = bytes().saturating_sub(before);
    assert!(grown < 4096, "grew by {grown} KiB");
    let room = talks
        .iter()
        .filter(|(_, _, finish)| *finish == Finish::Room)
        .count();
    let prompt = case().i64("decoder.input_ids").expect("ids").len();
    assert!(
        room > 0,
        "{:?}",
        talks.iter().map(|t| (t.0.len(), t.2)).collect::<Vec<_>>()
    );
    for (tokens, _, finish) in talks {
        if finish == Finish::Room {
            // The last token needs no place: nothing is scored after it.
            assert_eq!(prompt + tokens.len(), 512 + 1);
        }
    }
}

#[test]
fn bad_input_is_named_and_the_next_talk_is_as_ever() {
    let mut reasoner = reasoner(512);
    let case = case();
    let frames = frames(&case);
    let mut refused = |frames: &[CameraFrame], words: &str| {
        let begun = reasoner.begin(frames, words, Choice::Greedy, until(1));
        begun.err().map(|error| error.to_string()).expect("refused")
    };
    assert!(refused(&frames[..1], "lift it").contains("frames"));
    assert!(refused(&frames, "...").contains("expected words"));
    assert!(refused(&frames, &"lift ".repeat(300)).contains("1024 bytes"));
    let long = "a1b2 ".repeat(200);
    assert!(
        refused(&frames, &long).contains("decoder.max_length"),
        "512 tokens"
    );
    assert_eq!(said(&mut reasoner, Choice::Greedy, until(5)).0.len(), 5);
}
