//! Chunks as traces of OpenTelemetry: the span `chunk`, with its stages as children. Pure.
//!
//! A trace is made of what the engine answered and of what the arm host says of it afterwards. What is measured of a stage is
//! how long it took: the stages up to `denoise` are laid end to end from the instant of the observation on, `deliver`, `limit`
//! and `actuate` from when the chunk was published. A chunk that was not taken, and a refusal, are traces with an error. Of the
//! bundle a trace tells nothing, so that a blinded evaluation stays blinded.

use std::collections::VecDeque;
use std::time::Duration;

use tactus_types::{ActionChunk, Budget, Generation, Misses, Stage, Time};
use tactus_wire::{ChunkReply, Delivery, Telemetry};

/// Of a chunk that the arm host has not spoken of for this long nothing more will come.
const NOT_TAKEN_AFTER: Duration = Duration::from_secs(2);
/// Chunks that wait for the arm host's word at most; it takes them one by one.
const WAITING: usize = 16;

/// What is said of a span.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A word.
    Text(String),
    /// A count.
    Count(u64),
    /// A measure.
    Number(f64),
    /// Whether.
    Flag(bool),
}

/// A stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What happened.
    pub name: &'static str,
    /// Never zero.
    pub id: u64,
    /// Span that it is part of; `None`: the whole.
    pub parent: Option<u64>,
    /// When it began.
    pub begin: Time,
    /// When it was over.
    pub end: Time,
    /// What is said of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong.
    pub error: Option<String>,
}

/// One chunk; the first of its spans is the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// The arm host's boot and the number of its request.
    pub id: [u8; 16],
    /// The whole and its parts.
    pub spans: Vec<Span>,
}

/// Makes traces of what is heard.
#[derive(Debug)]
pub struct Tracer {
    budget: Budget,
    waiting: VecDeque<(ActionChunk, Time)>,
    /// What was missed up to the last trace.
    misses: Option<Misses>,
}

impl Tracer {
    /// Nothing was heard yet; stages are held against `budget`.
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            waiting: VecDeque::new(),
            misses: None,
        }
    }

    /// Takes what an engine answered; a refusal is a trace at once.
    pub fn reply(&mut self, delivery: Delivery<ChunkReply>) -> Option<Trace> {
        let at = delivery.header.published_at;
        match delivery.message {
            ChunkReply::Chunk(chunk) => {
                self.waiting.push_back((chunk, at));
                let full = self.waiting.len() > WAITING;
                let (chunk, at) = self.waiting.pop_front_if(|_| full)?;
                Some(self.not_taken(&chunk, at))
            }
            ChunkReply::Refusal(refusal) => {
                let whole = Span {
                    error: Some(format!("refused: {:?}", refusal.reason)),
                    ..whole(refusal.generation, refusal.request_id, at, at)
                };
                Some(trace(refusal.generation, refusal.request_id, vec![whole]))
            }
        }
    }

    /// Takes what the arm host says of the last chunk that it took: a trace where that one waited for it.
    pub fn telemetry(&mut self, telemetry: &Telemetry) -> Option<Trace> {
        let before = *self.misses.get_or_insert(telemetry.misses);
        let of = |(chunk, _): &(ActionChunk, Time)| chunk.request_id == telemetry.request_id;
        let at = self.waiting.iter().position(of)?;
        let (chunk, published_at) = self.waiting.remove(at)?;
        self.misses = Some(telemetry.misses);
        let stages = &telemetry.stages;
        let mut spans = self.before_publishing(&chunk, |stage| stages.get(stage));
        let mut at = published_at;
        for stage in [Stage::Deliver, Stage::Limit, Stage::Actuate] {
            self.stage(&mut spans, &chunk, stage, at, stages.get(stage));
            at = at + stages.get(stage);
        }
        let accepted = published_at + stages.get(Stage::Deliver);
        let end = spans.iter().map(|s| s.end).fold(at, Time::max);
        let missed = missed(&before, &telemetry.misses);
        let mut whole = self.whole(&chunk, end);
        let age = accepted.since(chunk.observed_at);
        whole.attributes.extend([
            ("tactus.age_ms", Value::Number(age.as_secs_f64() * 1e3)),
            (
                "tactus.inference_ms",
                Value::Number(telemetry.inference_millis),
            ),
            (
                "tactus.overhead_ms",
                Value::Number(telemetry.overhead_millis),
            ),
            (
                "tactus.misses",
                Value::Count(missed.iter().map(|(_, n)| n).sum()),
            ),
        ]);
        if let Some((stage, _)) = stages.guilty(&self.budget) {
            let name = Value::Text(stage.name().into());
            whole.attributes.push(("tactus.over_budget", name));
        }
        if !missed.is_empty() {
            let by: Vec<&str> = missed.iter().map(|(by, _)| *by).collect();
            let by = Value::Text(by.join(","));
            whole.attributes.push(("tactus.missed_by", by));
        }
        spans.insert(0, whole);
        Some(trace(chunk.generation, chunk.request_id, spans))
    }

    /// The next chunk of which nothing more will come at `now`.
    pub fn expired(&mut self, now: Time) -> Option<Trace> {
        let old = |(_, at): &mut (ActionChunk, Time)| now.since(*at) > NOT_TAKEN_AFTER;
        let (chunk, at) = self.waiting.pop_front_if(old)?;
        Some(self.not_taken(&chunk, at))
    }

    fn not_taken(&self, chunk: &ActionChunk, published_at: Time) -> Trace {
        let mut spans = self.before_publishing(chunk, |stage| chunk.stages.get(stage));
        let end = spans.iter().map(|s| s.end).fold(published_at, Time::max);
        let why = "not taken: late, of another generation, or not what the arm can do";
        let whole = Span {
            error: Some(why.into()),
            ..self.whole(chunk, end)
        };
        spans.insert(0, whole);
        trace(chunk.generation, chunk.request_id, spans)
    }

    fn before_publishing(
        &self,
        chunk: &ActionChunk,
        took: impl Fn(Stage) -> Duration,
    ) -> Vec<Span> {
        let (mut spans, mut at) = (Vec::new(), chunk.observed_at);
        for stage in Stage::ALL {
            if stage < Stage::Deliver {
                self.stage(&mut spans, chunk, stage, at, took(stage));
                at = at + took(stage);
            }
        }
        spans
    }

    /// A stage that was not measured is none.
    fn stage(
        &self,
        spans: &mut Vec<Span>,
        chunk: &ActionChunk,
        stage: Stage,
        begin: Time,
        took: Duration,
    ) {
        if took.is_zero() {
            return;
        }
        let budget = self.budget.get(stage);
        let millis = Value::Number(budget.as_secs_f64() * 1e3);
        spans.push(Span {
            name: stage.name(),
            id: span_id(chunk.generation, chunk.request_id, stage as u64 + 1),
            parent: Some(span_id(chunk.generation, chunk.request_id, 0)),
            begin,
            end: begin + took,
            attributes: vec![
                ("tactus.budget_ms", millis),
                ("tactus.over_budget", Value::Flag(took > budget)),
            ],
            error: None,
        });
    }

    fn whole(&self, chunk: &ActionChunk, end: Time) -> Span {
        let mut span = whole(chunk.generation, chunk.request_id, chunk.observed_at, end);
        let frames = chunk.frames.iter();
        let frames: Vec<String> = frames.map(|f| format!("{}#{}", f.camera, f.seq)).collect();
        span.attributes.extend([
            ("tactus.actions", Value::Count(chunk.actions.len() as u64)),
            ("tactus.frames", Value::Text(frames.join(" "))),
        ]);
        span
    }
}

fn whole(generation: Generation, request_id: u64, begin: Time, end: Time) -> Span {
    Span {
        name: "chunk",
        id: span_id(generation, request_id, 0),
        parent: None,
        begin,
        end,
        attributes: vec![
            ("tactus.request_id", Value::Count(request_id)),
            ("tactus.generation", Value::Count(generation.count)),
            (
                "tactus.boot",
                Value::Text(format!("{:016x}", generation.boot)),
            ),
        ],
        error: None,
    }
}

fn trace(generation: Generation, request_id: u64, spans: Vec<Span>) -> Trace {
    let id = u128::from(generation.boot) << 64 | u128::from(request_id);
    Trace {
        id: id.max(1).to_be_bytes(),
        spans,
    }
}

/// Numbers of spans look random to a collector, but are the same whoever exports the chunk (the finaliser of SplitMix64).
fn span_id(generation: Generation, request_id: u64, part: u64) -> u64 {
    let mut x = generation.boot ^ request_id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ part << 56;
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31).max(1)
}

/// Who missed deadlines since `before`, and how many.
fn missed(before: &Misses, after: &Misses) -> Vec<(&'static str, u64)> {
    let stages = Stage::ALL.map(|s| (s.name(), before.of(s), after.of(s)));
    let others = [
        ("host", before.host, after.host),
        ("unanswered", before.unanswered, after.unanswered),
    ];
    let all = stages.into_iter().chain(others);
    // An arm host that was restarted, or enabled again, counts from nothing.
    let new = all.map(|(by, before, after)| (by, after.saturating_sub(before)));
    new.filter(|(_, n)| *n > 0).collect()
}

#[cfg(test)]
pub mod tests {
    use tactus_types::{ClockId, Refusal, RefusalReason, StageTimes};
    use tactus_wire::Header;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn times(of: &[(Stage, u64)]) -> StageTimes {
        let mut stages = StageTimes::default();
        of.iter()
            .for_each(|(stage, ms)| stages.set(*stage, MS(*ms)));
        stages
    }

    fn tracer() -> Tracer {
        let budget = times(&[(Stage::Capture, 15), (Stage::Vision, 12)]);
        Tracer::new(Budget::new(budget, MS(20)))
    }

    const MADE: [(Stage, u64); 3] = [
        (Stage::Capture, 5),
        (Stage::Vision, 20),
        (Stage::Denoise, 10),
    ];

    fn delivered(message: ChunkReply, published: u64) -> Delivery<ChunkReply> {
        let at = Time::from_millis(published);
        Delivery {
            header: Header {
                clock: ClockId(1),
                captured_at: at,
                published_at: at,
                seq: 0,
                source: "engine".into(),
                followed: None,
            },
            message,
            received_at: at,
        }
    }

    /// Observed at 1000 ms, published at 1040.
    fn chunk(request_id: u64) -> Delivery<ChunkReply> {
        let observed_at = Time::from_millis(1000);
        let chunk = ActionChunk {
            request_id,
            generation: Generation { boot: 7, count: 3 },
            observed_at,
            first_due: observed_at,
            period: MS(50),
            actions: vec![],
            bundle_id: "secret".into(),
            states: None,
            frames: vec![],
            stages: times(&MADE),
        };
        delivered(ChunkReply::Chunk(chunk), 1040)
    }

    fn telemetry(request_id: u64, host: u64) -> Telemetry {
        let mut stages = times(&MADE);
        stages.set(Stage::Deliver, MS(2));
        stages.set(Stage::Limit, MS(1));
        Telemetry {
            request_id,
            stages,
            misses: Misses {
                host,
                ..Misses::default()
            },
            ..Telemetry::default()
        }
    }

    fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a Value> {
        let found = span.attributes.iter().find(|(n, _)| *n == name);
        found.map(|(_, value)| value)
    }

    #[test]
    fn a_chunk_that_was_taken_is_a_whole_with_its_stages_in_it() {
        let mut tracer = tracer();
        assert_eq!(
            tracer.telemetry(&telemetry(4, 2)),
            None,
            "of none that came"
        );
        assert_eq!(tracer.reply(chunk(5)), None, "the arm host has not spoken");
        let trace = tracer.telemetry(&telemetry(5, 3)).expect("a trace");
        assert_eq!(tracer.telemetry(&telemetry(5, 3)), None, "only once");
        assert_eq!(trace.id[7..9], [7, 0]);
        let spans: Vec<_> = trace
            .spans
            .iter()
            .map(|s| (s.name, s.begin, s.end))
            .collect();
        let at = Time::from_millis;
        assert_eq!(
            spans,
            [
                ("chunk", at(1000), at(1043)),
                ("capture", at(1000), at(1005)),
                ("vision", at(1005), at(1025)),
                ("denoise", at(1025), at(1035)),
                ("deliver", at(1040), at(1042)),
                ("limit", at(1042), at(1043)),
            ]
        );
        let whole = &trace.spans[0];
        assert!(whole.parent.is_none() && whole.error.is_none());
        assert!(trace.spans[1..].iter().all(|s| s.parent == Some(whole.id)));
        let ids: std::collections::BTreeSet<u64> = trace.spans.iter().map(|s| s.id).collect();
        assert_eq!(ids.len(), trace.spans.len(), "every span has its own");
        for (name, value) in [
            ("tactus.request_id", Value::Count(5)),
            ("tactus.generation", Value::Count(3)),
            ("tactus.age_ms", Value::Number(42.0)),
            ("tactus.misses", Value::Count(1)),
            ("tactus.missed_by", Value::Text("host".into())),
            ("tactus.over_budget", Value::Text("denoise".into())),
        ] {
            assert_eq!(attribute(whole, name), Some(&value), "{name}");
        }
        let over = |i: usize| attribute(&trace.spans[i], "tactus.over_budget").cloned();
        assert_eq!(
            (over(1), over(2)),
            (Some(Value::Flag(false)), Some(Value::Flag(true)))
        );
        assert!(
            !format!("{trace:?}").contains("secret"),
            "which policy it was stays blinded"
        );
    }

    #[test]
    fn what_was_not_taken_or_refused_is_told_and_nothing_waits_for_ever() {
        let mut tracer = tracer();
        tracer.reply(chunk(5));
        assert_eq!(tracer.expired(Time::from_millis(2000)), None);
        let lost = tracer.expired(Time::from_millis(3100)).expect("a trace");
        assert!(
            lost.spans[0]
                .error
                .as_deref()
                .is_some_and(|e| e.contains("not taken"))
        );
        assert_eq!(lost.spans.len(), 4);
        for id in 0..100 {
            let early = tracer.reply(chunk(id));
            assert_eq!(early.is_some(), id >= WAITING as u64, "{id}");
        }
        let refusal = Refusal {
            request_id: 9,
            generation: Generation { boot: 7, count: 3 },
            reason: RefusalReason::Missing {
                stream: "camera/wrist".into(),
            },
        };
        let told = tracer.reply(delivered(ChunkReply::Refusal(refusal), 1500));
        let error = told.and_then(|t| t.spans[0].error.clone());
        assert!(error.is_some_and(|e| e.contains("camera/wrist")));
    }
}
