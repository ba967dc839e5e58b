//! Several arms on one engine or more, on a virtual clock: the requests of real arm hosts, the real scheduler, and inferences
//! that take as long as a list says.
//!
//! Decides when messages arrive: a frame after its camera's period, capture and transport, a request and a chunk after their
//! way, everything once more by a router's hop where there is one. Who is asked when, served, admitted and rejected decides
//! `tactus-control`, by the code that runs in the engine and in the arm host. Each arm asks the first engine; one that is not
//! admitted there asks the next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use tactus_control::{Assembler, AssemblySpec, Demand, Fleet, Job, RequestSpec, Requester};
use tactus_host::Random;
use tactus_types::{Generation, InferenceRequest, JointState, JointVec, RefusalReason, Time};

/// An engine never looks for work that it is not told of; a request that can only be late is noticed this soon.
const LOOK: Duration = Duration::from_millis(5);

/// What is simulated.
#[derive(Debug, Clone)]
pub struct FleetSpec<'a> {
    /// Arms that ask.
    pub arms: usize,
    /// Engines.
    pub engines: usize,
    /// How each arm asks.
    pub request: RequestSpec,
    /// What it asks of an engine by that.
    pub demand: Demand,
    /// Time between control ticks.
    pub tick: Duration,
    /// Time between frames.
    pub frame_period: Duration,
    /// From a frame's exposure to the engine.
    pub frame_way: Duration,
    /// From an arm host to the engine, or back.
    pub way: Duration,
    /// What a router adds to every way.
    pub hop: Duration,
    /// What inferences take: one after the other, round again, each engine from elsewhere in the list.
    pub took: &'a [Duration],
    /// Time that is simulated.
    pub span: Duration,
    /// Seed of when cameras and arms begin.
    pub seed: u64,
}

/// What became of an arm.
#[derive(Debug, Clone, Default)]
pub struct ArmResult {
    /// It was admitted by some engine.
    pub admitted: bool,
    /// Chunks that it got.
    pub chunks: u64,
    /// Deadlines of requests that passed without an answer, or were rejected although it is admitted.
    pub missed: u64,
    /// What was left of the requests' time when the chunks came, ns.
    pub slack: Vec<i64>,
    /// Age of the observations then, ns.
    pub age: Vec<i64>,
}

/// What became of all.
#[derive(Debug, Clone)]
pub struct FleetResult {
    /// Per arm.
    pub arms: Vec<ArmResult>,
    /// Share of their time that the engines that serve anybody computed.
    pub busy: f64,
}

impl FleetResult {
    /// Arms that were served.
    pub fn served(&self) -> usize {
        self.arms.iter().filter(|arm| arm.admitted).count()
    }

    /// Deadlines that they missed.
    pub fn missed(&self) -> u64 {
        self.arms.iter().map(|arm| arm.missed).sum()
    }

    /// Of `of` over all arms that were served: its share `share` of the way from the least to the most, ms.
    pub fn quantile(&self, of: fn(&ArmResult) -> &[i64], share: f64) -> Option<f64> {
        let mut all: Vec<i64> = self.arms.iter().flat_map(of).copied().collect();
        all.sort_unstable();
        let last = all.len().checked_sub(1)?;
        let nanos = *all.get((share * last as f64).round() as usize)?;
        Some(nanos as f64 * 1e-6)
    }
}

#[derive(Debug)]
enum Event {
    Tick(usize),
    Frame(usize),
    Seen(usize, Time),
    Asked(usize, Box<InferenceRequest>),
    Look(usize),
    Done(usize),
    Answered(usize, Box<Answer>),
}

#[derive(Debug)]
struct Answer {
    request: InferenceRequest,
    /// When its observation was made; why there is none.
    observed_at: Result<Time, RefusalReason>,
    engine: usize,
}

struct ArmSide {
    requester: Requester,
    engine: usize,
    given_up: bool,
    frames: u64,
    result: ArmResult,
}

struct EngineSide {
    fleet: Fleet,
    assemblers: Vec<Assembler>,
    running: Option<(usize, Box<InferenceRequest>, Time, Time)>,
    next: usize,
    computed: Duration,
}

/// Events by time, and by number where that is the same.
#[derive(Default)]
struct Queue {
    heap: BinaryHeap<Reverse<(Time, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    number: u64,
}

impl Queue {
    fn push(&mut self, at: Time, event: Event) {
        self.number += 1;
        self.heap.push(Reverse((at, self.number)));
        self.events.insert(self.number, event);
    }

    fn pop(&mut self) -> Option<(Time, Event)> {
        let Reverse((at, number)) = self.heap.pop()?;
        Some((at, self.events.remove(&number)?))
    }
}

/// Runs it.
pub fn run(spec: &FleetSpec<'_>) -> FleetResult {
    let mut world = World::new(spec);
    let end = Time::ZERO + spec.span;
    while let Some((now, event)) = world.queue.pop() {
        if now > end {
            break;
        }
        world.take(event, now);
    }
    let used = |engine: &&EngineSide| !engine.computed.is_zero();
    let engines = world.engines.iter().filter(used).count().max(1);
    let computed: Duration = world.engines.iter().map(|engine| engine.computed).sum();
    FleetResult {
        arms: world.arms.into_iter().map(|arm| arm.result).collect(),
        busy: computed.as_secs_f64() / (spec.span.as_secs_f64() * engines as f64),
    }
}

struct World<'a> {
    spec: &'a FleetSpec<'a>,
    arms: Vec<ArmSide>,
    engines: Vec<EngineSide>,
    queue: Queue,
    instruction: Arc<str>,
}

impl<'a> World<'a> {
    fn new(spec: &'a FleetSpec<'a>) -> Self {
        let mut random = Random(spec.seed);
        let mut queue = Queue::default();
        let mut arms = Vec::new();
        for arm in 0..spec.arms {
            // One after the other, so that who is served is told by who came first.
            let begins = Time::ZERO + 2 * arm as u32 * spec.frame_period;
            let phase = |share: f64| begins + spec.frame_period.mul_f64(share);
            queue.push(phase(random.share()), Event::Frame(arm));
            queue.push(phase(1.0 + random.share()), Event::Tick(arm));
            let mut requester = Requester::new(spec.request);
            requester.restart(begins + 2 * spec.frame_period, arm as u64);
            arms.push(ArmSide {
                requester,
                engine: 0,
                given_up: false,
                frames: 0,
                result: ArmResult::default(),
            });
        }
        // What a probe before the start would have measured.
        let mut sorted = spec.took.to_vec();
        sorted.sort_unstable();
        let rank = (sorted.len() * 99).div_ceil(100).max(1) - 1;
        let probed = sorted.get(rank).copied().unwrap_or_default();
        // A router takes its hops from the time that an engine has.
        let demand = Demand {
            within: spec.demand.within.saturating_sub(2 * spec.hop),
            deliver: spec.demand.deliver + spec.hop,
            ..spec.demand
        };
        let engine = |n: usize| EngineSide {
            fleet: Fleet::new((0..spec.arms).map(|_| demand), probed),
            assemblers: (0..spec.arms).map(|_| assembler()).collect(),
            running: None,
            next: n * spec.took.len() / spec.engines.max(1),
            computed: Duration::ZERO,
        };
        let engines: Vec<EngineSide> = (0..spec.engines).map(engine).collect();
        for n in 0..engines.len() {
            queue.push(Time::ZERO, Event::Look(n));
        }
        Self {
            spec,
            arms,
            engines,
            queue,
            instruction: "pick up the red cube".into(),
        }
    }

    fn take(&mut self, event: Event, now: Time) {
        let spec = self.spec;
        let way = spec.way + spec.hop;
        match event {
            Event::Tick(arm) => self.tick(arm, now),
            Event::Frame(arm) => {
                self.queue
                    .push(now + spec.frame_way + spec.hop, Event::Seen(arm, now));
                self.queue.push(now + spec.frame_period, Event::Frame(arm));
            }
            Event::Seen(arm, captured_at) => {
                self.arms[arm].frames += 1;
                let (engine, seq) = (self.arms[arm].engine, self.arms[arm].frames);
                let state = state(captured_at, seq);
                self.engines[engine].assemblers[arm].state(state);
                self.work(engine, now);
            }
            Event::Asked(arm, request) => {
                let engine = self.arms[arm].engine;
                let refused = self.engines[engine].fleet.request(arm, (*request).clone());
                match refused {
                    Some(refusal) => {
                        let answer = Answer {
                            request: *request,
                            observed_at: Err(refusal.reason),
                            engine,
                        };
                        self.queue
                            .push(now + way, Event::Answered(arm, Box::new(answer)));
                    }
                    None => self.work(engine, now),
                }
            }
            Event::Look(engine) => {
                self.work(engine, now);
                self.queue.push(now + LOOK, Event::Look(engine));
            }
            Event::Done(engine) => {
                let side = &mut self.engines[engine];
                if let Some((arm, request, observed_at, started)) = side.running.take() {
                    side.fleet.served(arm, &request, (started, now));
                    side.computed += now.since(started);
                    let answer = Answer {
                        request: *request,
                        observed_at: Ok(observed_at),
                        engine,
                    };
                    self.queue
                        .push(now + way, Event::Answered(arm, Box::new(answer)));
                }
                self.work(engine, now);
            }
            Event::Answered(arm, answer) => self.answered(arm, &answer, now),
        }
    }

    fn tick(&mut self, arm: usize, now: Time) {
        let spec = self.spec;
        let side = &mut self.arms[arm];
        if let Some((id, _)) = side.requester.overdue(now) {
            side.requester.failed(id, now);
            side.result.missed += u64::from(side.result.admitted);
        }
        let generation = Generation {
            boot: arm as u64,
            count: 1,
        };
        // Nothing lasts: who asks by what is left asks whenever it may.
        let request = side
            .requester
            .poll(generation, &self.instruction, Duration::ZERO, now);
        if let Some(request) = request {
            let at = now + spec.way + spec.hop;
            self.queue.push(at, Event::Asked(arm, Box::new(request)));
        }
        if !side.given_up {
            self.queue.push(now + spec.tick, Event::Tick(arm));
        }
    }

    fn answered(&mut self, arm: usize, answer: &Answer, now: Time) {
        let side = &mut self.arms[arm];
        let request = &answer.request;
        match &answer.observed_at {
            Ok(observed_at) => {
                side.requester.answered(request.id, *observed_at, now);
                side.result.admitted = true;
                side.result.chunks += 1;
                let left = i128::from(request.deadline.as_nanos()) - i128::from(now.as_nanos());
                side.result.missed += u64::from(left < 0);
                side.result.slack.push(left as i64);
                side.result
                    .age
                    .push(now.since(*observed_at).as_nanos() as i64);
            }
            Err(_) => {
                side.requester.failed(request.id, now);
                if side.result.admitted {
                    side.result.missed += 1;
                } else if answer.engine + 1 < self.engines.len() {
                    side.engine = answer.engine + 1;
                } else {
                    side.given_up = true;
                }
            }
        }
    }

    /// Gives a free engine what there is to do.
    fn work(&mut self, engine: usize, now: Time) {
        let way = self.spec.way + self.spec.hop;
        let side = &mut self.engines[engine];
        while side.running.is_none() {
            let Some((arm, job)) = side.fleet.poll(&side.assemblers, now) else {
                return;
            };
            match job {
                Job::Refuse(refusal) => {
                    let request = InferenceRequest {
                        id: refusal.request_id,
                        ..blank(&self.instruction)
                    };
                    let answer = Answer {
                        request,
                        observed_at: Err(refusal.reason),
                        engine,
                    };
                    self.queue
                        .push(now + way, Event::Answered(arm, Box::new(answer)));
                }
                Job::Infer {
                    request,
                    observation,
                    ..
                } => {
                    let took = self.spec.took[side.next % self.spec.took.len()];
                    side.next += 1;
                    let observed_at = observation.observed_at;
                    side.running = Some((arm, Box::new(request), observed_at, now));
                    self.queue.push(now + took, Event::Done(engine));
                }
            }
        }
    }
}

fn blank(instruction: &Arc<str>) -> InferenceRequest {
    InferenceRequest {
        id: 0,
        generation: Generation::default(),
        instruction: instruction.clone(),
        observe_after: Time::ZERO,
        deadline: Time::ZERO,
        expected_delay: Duration::ZERO,
        leftover: tactus_types::Leftover::none(),
        conditioning: tactus_types::Conditioning::None,
        seed: 0,
    }
}

/// What is seen is when it was seen: joint states stand for frames.
fn assembler() -> Assembler {
    let never = Duration::from_secs(3600);
    Assembler::new(AssemblySpec {
        cameras: vec![],
        frame_limit: never,
        proprio_limit: never,
        max_skew: never,
    })
}

fn state(captured_at: Time, seq: u64) -> JointState {
    JointState {
        captured_at,
        seq,
        epoch: 0,
        q: JointVec::zeros(1),
        dq: JointVec::zeros(1),
        opening: 0.0,
        torque: true,
    }
}

#[cfg(test)]
mod tests {
    use tactus_control::Trigger;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn spec(arms: usize, engines: usize, took: &[Duration]) -> FleetSpec<'_> {
        FleetSpec {
            arms,
            engines,
            request: RequestSpec {
                trigger: Trigger::Rate { every: MS(100) },
                answer_within: MS(250),
                retry_after: MS(100),
                overlap: true,
            },
            demand: Demand {
                every: MS(100),
                one_at_a_time: false,
                within: MS(177),
                deliver: MS(5),
            },
            tick: MS(2),
            frame_period: MS(50),
            frame_way: MS(18),
            way: MS(5),
            hop: Duration::ZERO,
            took,
            span: MS(20_000),
            seed: 1,
        }
    }

    #[test]
    fn as_many_are_served_as_there_is_time_for_and_none_of_them_misses() {
        // With the margin 33 ms each of every 100.
        let took = [MS(30); 7];
        for arms in 1..=5 {
            let result = run(&spec(arms, 1, &took));
            assert_eq!(
                (result.served(), result.missed()),
                (arms.min(3), 0),
                "{arms} arms"
            );
            assert!(result.arms[0].chunks > 150);
        }
        let result = run(&spec(8, 2, &took));
        assert_eq!((result.served(), result.missed()), (6, 0));
        assert!((0.8..0.95).contains(&result.busy), "{}", result.busy);
    }

    #[test]
    fn the_same_seed_gives_the_same_and_a_hop_makes_chunks_older() {
        let took = [MS(20), MS(25), MS(22)];
        let age = |result: &FleetResult| result.quantile(|arm| &arm.age, 0.5);
        let (one, again) = (run(&spec(4, 1, &took)), run(&spec(4, 1, &took)));
        assert_eq!(age(&one), age(&again));
        let far = run(&FleetSpec {
            hop: MS(3),
            ..spec(4, 1, &took)
        });
        assert!(age(&far) > age(&one), "{:?} {:?}", age(&far), age(&one));
        assert_eq!(far.missed(), 0);
    }
}
