//! [`FastPolicy`]: the language model alone as a policy. It reasons, answers in FAST action tokens, and those are the chunk.
//!
//! Decides how many tokens an answer may have, and what becomes of it: exactly one chunk of the bundle's shape, or an error,
//! which is a fault to whoever asked and climbs the ladder. Never a chunk of zeros, never a part of one. Does not decide what
//! a token spells (`tactus-fast`), nor what the numbers mean for the arm ([`crate::represent`]).
//!
//! The budget is a time, what a cell declares for inference. When it is opened, the policy measures what the prompt takes
//! and what a token takes, and from then on asks for as many tokens as fit; the time itself is looked at before each one
//! too. Where time is not real there is no budget but the cache's length.
//!
//! A chunk's stages: `context` is the reasoning and `denoise` the action tokens; there is no head. Such a policy was trained
//! without actions that are already decided, so it cannot be asked for a conditioning.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tactus_bundle::{Anchor, Bundle};
use tactus_fast::{AnswerTokens, FastCodec, FastSpec, read_answer};
use tactus_types::{
    Action, ActionChunk, CameraFrame, Conditioning, Encoding, FrameRef, InferenceRequest,
    Observation, Policy, PolicyError, Stage, StageTimes,
};

use crate::{
    error::{InferError, VlaError},
    golden::GoldenInput,
    gripper::open_before,
    leftover::commanded_at,
    measure::{STAGES, cost},
    normalise::ActionColumns,
    policy::{VlaOptions, check_observation},
    probe::Probe,
    reason::{Finish, Reasoner, ReasonerOptions, Step, Stop},
    sample::Choice,
};

mod agree;

pub use agree::Agreement;

/// What an answer needs at least: its tags and a token.
const FEWEST_TOKENS: usize = 6;
/// Talks that measure what a token takes.
const REHEARSALS: usize = 3;

/// How many tokens an answer may have, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenBudget {
    /// Tokens.
    pub tokens: usize,
    /// Time from the observation's arrival to the chunk; `None` without one.
    pub within: Option<Duration>,
}

/// A bundle whose language model acts.
pub struct FastPolicy {
    bundle: Bundle,
    cameras: Vec<Arc<str>>,
    arm_joints: usize,
    reasoner: Reasoner,
    codec: FastCodec,
    tags: AnswerTokens,
    end: String,
    columns: ActionColumns,
    budget: TokenBudget,
    /// What becomes of each token, for tests: a faulty decoder.
    tamper: Option<fn(usize, u32) -> u32>,
}

impl FastPolicy {
    /// Opens `bundle` for an arm as `options` say (denoising steps and features are none of this policy's); `within` is the
    /// time that a chunk may take from its observation on.
    ///
    /// # Errors
    /// [`VlaError::Fast`] when the bundle's language model does not spell such chunks, or the time is too short for any
    /// answer; [`VlaError`] as for any policy.
    pub fn open(
        bundle: Bundle,
        options: &VlaOptions<'_>,
        within: Option<Duration>,
    ) -> Result<Self, VlaError> {
        let wrong = |expected: String, actual: String| VlaError::Fast {
            bundle: bundle.dir().to_path_buf(),
            expected,
            actual,
        };
        if options.conditioning != Conditioning::None {
            return Err(wrong(
                "a schedule without conditioning: action tokens know nothing of what is decided"
                    .into(),
                format!("{:?}", options.conditioning),
            ));
        }
        let manifest = bundle.manifest();
        let reasoner = Reasoner::open(
            &bundle,
            &ReasonerOptions {
                ort_library: options.ort_library.clone(),
                intra_threads: options.intra_threads,
                provider: options.provider,
                require_provider: options.require_provider,
                ..ReasonerOptions::default()
            },
        )?;
        let spec = reasoner.spec().clone();
        let (Some(fast), Some(think), Some(answer)) = (&spec.fast, &spec.think, &spec.answer)
        else {
            return Err(wrong(
                "`think`, `answer` and `fast` in the manifest's `decoder`".into(),
                "a language model that was not taught to act".into(),
            ));
        };
        let file = |e: tactus_fast::FastError| wrong("a FAST tokenizer".into(), e.to_string());
        let shape = FastSpec::read(&bundle.path(&fast.config)).map_err(file)?;
        let codec = FastCodec::open(&bundle.path(&fast.tokenizer), shape).map_err(file)?;
        let columns = ActionColumns::new(&bundle, options.joints, options.arm)?;
        let (horizon, dims) = (codec.spec().horizon, codec.spec().dims);
        if (horizon, dims) != (manifest.action.horizon, columns.len()) {
            let expected = format!("chunks of {}x{}", manifest.action.horizon, columns.len());
            return Err(wrong(expected, format!("{horizon}x{dims}")));
        }
        let id = |field: &str, text: &str| {
            let id = reasoner.token(&bundle, field, text)?;
            u32::try_from(id).map_err(|_| wrong("token ids below 2^32".into(), id.to_string()))
        };
        let pair = |field: &str, [begin, end]: &[String; 2]| {
            Ok::<_, VlaError>((id(field, begin)?, id(field, end)?))
        };
        let count = u32::try_from(codec.vocabulary()).unwrap_or(u32::MAX);
        let token = |n: u32| fast.token.replace("{n}", &n.to_string());
        let first = id("decoder.fast.token", &token(0))?;
        let last = id("decoder.fast.token", &token(count.saturating_sub(1)))?;
        if last != first + count.saturating_sub(1) {
            let expected = format!(
                "action tokens one after the other, the last at {}",
                first + count - 1
            );
            return Err(wrong(expected, last.to_string()));
        }
        let tags = AnswerTokens {
            think: pair("decoder.think", think)?,
            answer: pair("decoder.answer", answer)?,
            action: pair("decoder.fast.marks", &fast.marks)?,
            first,
            count,
        };
        let names = manifest.cameras.iter();
        let mut policy = Self {
            cameras: names.map(|camera| camera.name.as_str().into()).collect(),
            arm_joints: options.joints.len(),
            end: answer[1].clone(),
            budget: TokenBudget {
                tokens: spec.max_length,
                within,
            },
            tamper: None,
            bundle,
            reasoner,
            codec,
            tags,
            columns,
        };
        if let Some(within) = within {
            policy.rehearse(within)?;
        }
        Ok(policy)
    }

    /// Measures prompt and tokens on the first golden case, and from that how many tokens fit.
    fn rehearse(&mut self, within: Duration) -> Result<(), VlaError> {
        let bundle = self.bundle.clone();
        let case = bundle
            .golden()?
            .into_iter()
            .next()
            .ok_or(VlaError::NoGoldenCase)?;
        let input = GoldenInput {
            case: &case,
            manifest: bundle.manifest(),
        };
        let frames = input.observation(Encoding::Jpeg)?.frames;
        let instruction: Arc<str> = case.instruction.as_str().into();
        self.budget.within = None;
        let (mut prompt, mut token) = (Duration::MAX, Duration::MAX);
        for rehearsal in 0..=REHEARSALS {
            let said = self
                .say(&frames, &instruction, Instant::now())
                .map_err(|e| e.at("decoder"))?;
            // The first allocates. The best of the others: what is slower now and then, the time itself catches.
            if rehearsal > 0 && !said.ids.is_empty() {
                let count = u32::try_from(said.ids.len()).unwrap_or(u32::MAX);
                prompt = prompt.min(said.decode + said.vision + said.read);
                token = token.min((said.thought + said.answer) / count);
            }
        }
        let left = within.saturating_sub(prompt).as_secs_f64();
        let tokens = (left / token.as_secs_f64().max(1e-9)) as usize;
        if tokens < FEWEST_TOKENS {
            return Err(VlaError::Fast {
                bundle: bundle.dir().to_path_buf(),
                expected: format!(
                    "a latency budget with time for {FEWEST_TOKENS} tokens of {token:.1?} after a prompt of {prompt:.1?}"
                ),
                actual: format!("{within:.1?} for all of it"),
            });
        }
        self.budget = TokenBudget {
            tokens: tokens.min(self.reasoner.spec().max_length),
            within: Some(within),
        };
        Ok(())
    }

    /// How many tokens an answer may have, and how long it may take.
    pub fn budget(&self) -> TokenBudget {
        self.budget
    }

    /// Answers may have at most `tokens` tokens from now on, fewer than were measured to fit.
    pub fn limit(&mut self, tokens: usize) {
        self.budget.tokens = self.budget.tokens.min(tokens);
    }

    /// The bundle behind the policy.
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Changes every token of an answer before it is read, given its place: what a broken decoder would do. For tests and
    /// drills.
    pub fn tamper(&mut self, with: fn(usize, u32) -> u32) {
        self.tamper = Some(with);
    }

    /// Makes a chunk of the first golden case and returns what each stage took; an answer that is none is as good.
    ///
    /// # Errors
    /// [`PolicyError`] when a graph fails.
    pub fn warm_up(&mut self) -> Result<StageTimes, PolicyError> {
        let failed = |e: VlaError| PolicyError {
            stage: "decoder",
            reason: e.to_string(),
        };
        let (frames, instruction) = self.example().map_err(failed)?;
        let said = self.say(&frames, &instruction, Instant::now());
        said.map(|said| said.stages()).map_err(|e| e.at("decoder"))
    }

    /// As [`crate::VlaPolicy::probe`], without conditioning.
    ///
    /// # Errors
    /// [`VlaError`] when a graph fails.
    pub fn probe(&mut self, chunks: usize, within: Duration) -> Result<Probe, VlaError> {
        let (frames, instruction) = self.example()?;
        let mut stages: [Vec<Duration>; STAGES.len()] = Default::default();
        let begun = Instant::now();
        for _ in 0..chunks.max(1) {
            let said = self.say(&frames, &instruction, Instant::now());
            let took = said.map_err(|e| e.at("decoder"))?.stages();
            for (times, stage) in stages.iter_mut().zip(STAGES) {
                times.push(took.get(stage));
            }
            if begun.elapsed() > within {
                break;
            }
        }
        Ok(Probe {
            chunks: stages.first().map_or(0, Vec::len),
            stages: STAGES
                .into_iter()
                .zip(stages.into_iter().map(|times| cost(times, None)))
                .collect(),
        })
    }

    fn example(&self) -> Result<(Vec<CameraFrame>, Arc<str>), VlaError> {
        let cases = self.bundle.golden()?;
        let case = cases.first().ok_or(VlaError::NoGoldenCase)?;
        let input = GoldenInput {
            case,
            manifest: self.bundle.manifest(),
        };
        let frames = input.observation(Encoding::Jpeg)?.frames;
        Ok((frames, case.instruction.as_str().into()))
    }

    /// What the model says to `frames`, from `started` on.
    fn say(
        &mut self,
        frames: &[CameraFrame],
        instruction: &Arc<str>,
        started: Instant,
    ) -> Result<Said, InferError> {
        let stop = Stop {
            texts: vec![self.end.clone()],
            tokens: self.budget.tokens,
            within: self.budget.within,
        };
        let mut said = Said::default();
        let begun = Instant::now();
        let mut talk = self
            .reasoner
            .begin(frames, instruction, Choice::Greedy, stop)?;
        said.decode = begun.elapsed();
        let answer = i64::from(self.tags.answer.0);
        let (mut looked, mut answers) = (false, false);
        loop {
            let begun = Instant::now();
            let step = talk.step(started.elapsed())?;
            let took = begun.elapsed();
            match step {
                Step::Read if looked => said.read += took,
                Step::Read => {
                    looked = true;
                    said.vision += took;
                }
                Step::Said { token, .. } => {
                    answers |= token == answer;
                    match answers {
                        true => said.answer += took,
                        false => said.thought += took,
                    }
                }
                Step::Done(finish) => {
                    let ids = talk.tokens().iter();
                    said.ids = ids
                        .map(|id| u32::try_from(*id).unwrap_or(u32::MAX))
                        .collect();
                    if let Some(tamper) = self.tamper {
                        for (place, id) in said.ids.iter_mut().enumerate() {
                            *id = tamper(place, *id);
                        }
                    }
                    said.finish = Some(finish);
                    return Ok(said);
                }
            }
        }
    }

    /// The rows that `said` spells.
    fn rows(&self, said: &Said) -> Result<Vec<f64>, InferError> {
        let finish = said.finish.map_or("", Finish::name);
        let error = |reason: String| InferError::Answer {
            tokens: said.ids.len(),
            finish,
            reason,
        };
        if said.finish != Some(Finish::Text) {
            let TokenBudget { tokens, within } = self.budget;
            let time = within.map_or(String::new(), |within| format!(" and {within:.0?}"));
            return Err(error(format!(
                "expected an answer that ends within {tokens} tokens{time}"
            )));
        }
        let answer = read_answer(&said.ids, &self.tags).map_err(|e| error(e.to_string()))?;
        self.codec
            .decode(&answer.actions)
            .map_err(|e| error(e.to_string()))
    }

    fn anchor(
        &self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<Action, InferError> {
        let (q, opening) = (observation.state.q, observation.state.opening);
        match self.bundle.manifest().action.anchor {
            Anchor::Measured => Ok(Action { q, opening }),
            Anchor::Command => commanded_at(request.leftover.as_slice(), observation.observed_at)
                .filter(|command| command.q.len() == q.len())
                .ok_or(InferError::NoCommand),
        }
    }

    fn chunk(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, InferError> {
        let started = Instant::now();
        check_observation(&self.cameras, self.arm_joints, observation)?;
        if request.conditioning != Conditioning::None {
            return Err(InferError::Conditioning {
                expected: "none: action tokens are not conditioned on what is decided",
                actual: format!("{:?}", request.conditioning),
            });
        }
        let said = self.say(&observation.frames, &request.instruction, started)?;
        let decoding = Instant::now();
        let rows = self.rows(&said)?;
        let action = &self.bundle.manifest().action;
        let first_due = observation.observed_at + action.first_action_offset;
        let anchor = self.anchor(observation, request)?;
        let measured = observation.state.opening;
        let open = open_before(request.leftover.as_slice(), first_due, measured);
        let rows = rows.chunks_exact(self.columns.len()).map(<[f64]>::to_vec);
        let actions = self.columns.actions_of(rows, &anchor, open)?;
        let mut stages = said.stages();
        stages.set(Stage::Preprocess, decoding.elapsed());
        let frames = observation.frames.iter();
        Ok(ActionChunk {
            request_id: request.id,
            generation: request.generation,
            observed_at: observation.observed_at,
            first_due,
            period: action.period,
            actions,
            bundle_id: Arc::clone(self.bundle.id()),
            states: None,
            frames: frames
                .map(|frame| FrameRef {
                    camera: frame.camera.clone(),
                    captured_at: frame.captured_at,
                    seq: frame.seq,
                })
                .collect(),
            stages,
        })
    }
}

/// An answer, and what its parts took.
#[derive(Debug, Default)]
struct Said {
    ids: Vec<u32>,
    finish: Option<Finish>,
    decode: Duration,
    vision: Duration,
    read: Duration,
    thought: Duration,
    answer: Duration,
}

impl Said {
    fn stages(&self) -> StageTimes {
        let mut stages = StageTimes::default();
        stages.set(Stage::Decode, self.decode);
        stages.set(Stage::Vision, self.vision);
        stages.set(Stage::Backbone, self.read);
        stages.set(Stage::Context, self.thought);
        stages.set(Stage::Denoise, self.answer);
        stages
    }
}

impl Policy for FastPolicy {
    fn infer(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<ActionChunk, PolicyError> {
        self.chunk(observation, request)
            .map_err(|e| e.at("decoder"))
    }

    fn cameras(&self) -> &[Arc<str>] {
        &self.cameras
    }

    fn bundle_id(&self) -> &Arc<str> {
        self.bundle.id()
    }

    fn provider(&self) -> &str {
        self.reasoner.provider().name()
    }
}
