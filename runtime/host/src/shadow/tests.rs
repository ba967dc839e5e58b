use super::*;
use tactus_types::{
    Action, Conditioning, Generation, JointState, JointVec, Leftover, PolicyError, StageTimes,
};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

/// Actions of 50 ms from `first_due` on, two joints at `values` and at twice these, the gripper at a tenth.
fn chunk(request_id: u64, first_due: u64, values: &[f64]) -> ActionChunk {
    let action = |v: &f64| Action {
        q: JointVec::from_slice(&[*v, 2.0 * v]).expect("fits"),
        opening: v / 10.0,
    };
    ActionChunk {
        request_id,
        generation: Generation { boot: 1, count: 1 },
        observed_at: at(first_due),
        first_due: at(first_due),
        period: ms(50),
        actions: values.iter().map(action).collect(),
        bundle_id: "b".into(),
        states: None,
        frames: vec![],
        stages: StageTimes::default(),
    }
}

#[test]
fn the_same_chunk_agrees_and_a_shifted_line_does_so_where_both_speak() {
    let one = chunk(1, 0, &[0.0, 1.0, 2.0, 3.0]);
    let same = Disagreement::of(&one, &one).expect("in common");
    assert_eq!((same.actions, same.rms, same.most.0), (4, 0.0, 0.0));
    // The same line, told from 75 ms on: its actions lie between those of the first.
    let shifted = Disagreement::of(&one, &chunk(1, 75, &[1.5, 2.5, 3.5])).expect("in common");
    assert_eq!((shifted.actions, shifted.rms), (2, 0.0));
    assert_eq!(Disagreement::of(&one, &chunk(1, 151, &[0.0])), None);
}

#[test]
fn what_is_apart_is_measured_and_the_joint_named() {
    let other = chunk(1, 0, &[0.0, 1.1]);
    let d = Disagreement::of(&chunk(1, 0, &[0.0, 1.0]), &other).expect("in common");
    // 0.1 and 0.2 at one of two instants: sqrt((0.01 + 0.04) / 4).
    assert!((d.rms - 0.0125_f64.sqrt()).abs() < 1e-12, "{d:?}");
    assert!((d.most.0 - 0.2).abs() < 1e-12 && d.most.1 == 1, "{d:?}");
    assert!((d.opening - 0.01).abs() < 1e-12, "{d:?}");
}

#[test]
fn it_is_the_candidate_s_turn_between_answer_and_next_request_only_if_it_fits() {
    let mut turn = Turn::new(false);
    turn.request(at(0));
    assert_eq!(turn.next(at(30), true), Next::Skip, "no beat known yet");
    turn.request(at(100));
    assert_eq!(turn.next(at(120), false), Next::Wait);
    assert_eq!(turn.next(at(130), true), Next::Infer);
    turn.took(ms(60));
    assert_eq!(turn.next(at(140), true), Next::Infer);
    assert_eq!(turn.next(at(141), true), Next::Skip);
    for _ in 0..LAST {
        turn.took(ms(10));
    }
    assert_eq!(
        turn.next(at(190), true),
        Next::Infer,
        "the long one is forgotten"
    );
    turn.took(ms(200));
    let skipped = (0..).take_while(|_| turn.next(at(110), true) == Next::Skip);
    assert_eq!(skipped.count(), LAST, "then it is tried again");
    assert_eq!(Turn::new(true).next(at(0), false), Next::Infer);
}

/// Answers every request with a chunk of this value, as the bundle of this id.
struct Fixed(f64, Arc<str>);

impl Policy for Fixed {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        let first = observation.observed_at.as_nanos() / 1_000_000;
        Ok(chunk(request.id, first, &[self.0, self.0]))
    }

    fn cameras(&self) -> &[Arc<str>] {
        &[]
    }

    fn bundle_id(&self) -> &Arc<str> {
        &self.1
    }

    fn provider(&self) -> &str {
        "test"
    }
}

/// A clock that stands where it is put.
struct At(std::sync::Mutex<Time>);

impl Clock for At {
    fn id(&self) -> tactus_types::ClockId {
        tactus_types::ClockId(1)
    }

    fn now(&self) -> Time {
        *self.0.lock().expect("unpoisoned")
    }
}

struct Bench {
    shadow: Shadow,
    clock: At,
}

impl Bench {
    fn new() -> Self {
        let options = ShadowOptions {
            cell: Cell::new("cell").expect("a name"),
            arm: Name::new("arm").expect("a name"),
            assembly: AssemblySpec {
                cameras: vec![],
                frame_limit: ms(150),
                proprio_limit: ms(20),
                max_skew: ms(25),
            },
            overlap: false,
        };
        Self {
            shadow: Shadow::new(&options),
            clock: At(std::sync::Mutex::new(Time::ZERO)),
        }
    }

    /// At `millis` after start: a joint state, then `message`, then the candidate's turn. What became known.
    fn at(&mut self, millis: u64, message: Inbound) -> Vec<Shadowed> {
        *self.clock.0.lock().expect("unpoisoned") = at(millis);
        let state = JointState {
            captured_at: at(millis),
            seq: millis,
            epoch: 0,
            q: JointVec::zeros(2),
            dq: JointVec::zeros(2),
            opening: 0.0,
            torque: true,
        };
        self.shadow.take(Inbound::State(state), at(millis));
        self.shadow.take(message, at(millis));
        if let Some((job, took, made)) = self.shadow.turn(&mut Fixed(0.25, "b".into()), &self.clock)
        {
            self.shadow.made(job, took, made);
        }
        self.shadow.news.drain(..).collect()
    }
}

fn request(id: u64, millis: u64) -> Inbound {
    Inbound::Request(InferenceRequest {
        id,
        generation: Generation { boot: 1, count: 1 },
        instruction: "pick up the red cube".into(),
        observe_after: at(millis),
        deadline: at(millis + 250),
        expected_delay: Duration::ZERO,
        leftover: Leftover::none(),
        conditioning: Conditioning::None,
        seed: 0,
    })
}

fn answer(id: u64, first_due: u64) -> Inbound {
    Inbound::Answer(ChunkReply::Chunk(chunk(id, first_due, &[0.0, 0.0])))
}

#[test]
fn the_candidate_infers_after_the_engine_answered_and_is_compared_with_that_answer() {
    let mut b = Bench::new();
    assert_eq!(b.at(0, request(1, 0)), []);
    assert_eq!(b.at(30, answer(1, 0)), [Shadowed::Skipped(Skip::NoTime)]);
    assert_eq!(b.at(100, request(2, 100)), [], "the engine comes first");
    let news = b.at(130, answer(2, 100));
    let [Shadowed::Chunk(comparison)] = &news[..] else {
        panic!("{news:?}");
    };
    assert_eq!((comparison.request_id, comparison.late), (2, false));
    assert!(comparison.same_frames && comparison.engine.is_some());
    let apart = comparison.disagreement.expect("in common");
    assert_eq!((apart.actions, apart.most), (2, (0.5, 1)));
}

#[test]
fn a_request_that_the_engine_never_answers_costs_a_turn_and_nothing_else() {
    let mut b = Bench::new();
    b.at(0, request(1, 0));
    b.at(30, answer(1, 0));
    assert_eq!(b.at(100, request(2, 100)), []);
    assert_eq!(
        b.at(200, request(3, 200)),
        [Shadowed::Skipped(Skip::Unanswered)]
    );
    assert!(matches!(
        b.at(230, answer(3, 200))[..],
        [Shadowed::Chunk(_)]
    ));
}
