//! The language model of a bundle as one that speaks: pictures and a sentence in, words out, one run of a graph at a time.
//!
//! ```text
//! begin --> look (vision) --> read (the prompt, in pieces) --> say, say, .. --> done
//! ```
//!
//! Decides what the prompt is, in which order graphs run, and when to stop: at a token that ends, at a text, after so many
//! tokens, after so long, or when there is no more room. Every [`Talk::step`] is one run at most, and whoever takes the steps
//! may leave off between any two. Does not run the action head; that is [`crate::policy`].

use std::{path::PathBuf, sync::Arc, time::Duration};

use tactus_bundle::{Bundle, CameraSpec, Decoder as DecoderSpec, Graph, Manifest, Precision};
use tactus_onnx::{OnnxError, OnnxRuntime, Place, Provider, Session, SessionOptions, open_all};
use tactus_types::CameraFrame;

use crate::{
    detokenise::{Detokeniser, Spelling},
    error::{InferError, VlaError},
    generate::{Decoder, ImageTokens, Script},
    graphs::{self, Dims},
    images::Images,
    patch::Grid,
    position::{VisionIndex, mrope},
    prompt::Prompter,
    sample::{Choice, Sampler},
    tower::Tower,
};

/// How a reasoner is opened.
#[derive(Debug, Clone)]
pub struct ReasonerOptions {
    /// `libonnxruntime.so`; `None` looks for the checkout's.
    pub ort_library: Option<PathBuf>,
    /// Threads of one operator, 1 or more.
    pub intra_threads: usize,
    /// Provider to try first.
    pub provider: Provider,
    /// Whether another provider than that is an error, and not a warning.
    pub require_provider: bool,
    /// Tokens of a prompt that are read in one run: small where others wait for the machine.
    pub piece: usize,
    /// Pictures of other sizes than the bundle's cameras, or of another number; `None` for the cameras.
    pub pictures: Option<Vec<CameraSpec>>,
    /// Whether the sentence is cleaned as the policy's instructions are (lower case, no punctuation).
    pub cleaned: bool,
}

impl Default for ReasonerOptions {
    fn default() -> Self {
        Self {
            ort_library: None,
            intra_threads: 1,
            provider: Provider::Cpu,
            require_provider: false,
            piece: 512,
            pictures: None,
            cleaned: true,
        }
    }
}

/// When to stop, besides at the end that the model says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// Texts after which nothing more is wanted; they are said.
    pub texts: Vec<String>,
    /// Most tokens.
    pub tokens: usize,
    /// Longest time since the talk began.
    pub within: Option<Duration>,
}

/// Why it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model said that it has ended.
    Ended,
    /// One of the texts was said.
    Text,
    /// As many tokens as were wanted.
    Tokens,
    /// As long as was wanted.
    Time,
    /// The cache is full.
    Room,
}

impl Finish {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Text => "text",
            Self::Tokens => "tokens",
            Self::Time => "time",
            Self::Room => "room",
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Looked, or read a piece of the prompt.
    Read,
    /// Said a token.
    Said {
        /// Its id.
        token: i64,
        /// The characters that are whole with it.
        text: String,
    },
    /// Nothing: it is over.
    Done(Finish),
}

/// Graphs, buffers and words of one bundle.
pub struct Reasoner {
    manifest: Manifest,
    bundle_id: Arc<str>,
    spec: DecoderSpec,
    eos: Vec<i64>,
    images: Images,
    grids: Vec<Grid>,
    prompter: Prompter,
    spelling: Arc<Spelling>,
    vision: Session,
    tower: Tower,
    image_tokens: usize,
    provider: Provider,
    decoder: Decoder,
}

impl Reasoner {
    /// Opens the language model of `bundle`.
    ///
    /// # Errors
    /// [`VlaError::NoDecoder`] when it has none; [`VlaError`] for the first thing that is wrong.
    pub fn open(bundle: &Bundle, options: &ReasonerOptions) -> Result<Self, VlaError> {
        let mut manifest = bundle.manifest().clone();
        let no_decoder = || VlaError::NoDecoder {
            bundle: bundle.dir().to_path_buf(),
        };
        let spec = manifest.decoder.clone().ok_or_else(no_decoder)?;
        if let Some(pictures) = &options.pictures {
            manifest.cameras.clone_from(pictures);
        }
        manifest.backbone.padding = None;
        if !options.cleaned {
            manifest.prompt.lowercase = false;
            manifest.prompt.strip_punctuation = false;
            manifest.prompt.blanks = false;
        }
        let runtime = OnnxRuntime::load(options.ort_library.as_deref(), options.provider)?;
        runtime.at_least(manifest.min_ort)?;
        let images = Images::new(&manifest, options.intra_threads)?;
        let grids = images.grids();
        let merge = manifest.vision.merge;
        let tokens: Vec<usize> = grids
            .iter()
            .map(|grid| grid.patches() / (merge * merge))
            .collect();
        let tokenizer = bundle.tokenizer_path();
        let prompter = Prompter::open(&tokenizer, &manifest.prompt, None, &tokens)?;
        let eos = spec.eos.iter();
        let eos = eos
            .map(|token| prompter.token(&tokenizer, "decoder.eos", token))
            .collect::<Result<_, _>>()?;
        let mut files = bundle.graph_paths();
        files.retain(|(graph, _)| [Graph::Vision, Graph::Decoder].contains(graph));
        let brain_float = |(graph, _): &(Graph, PathBuf)| {
            let file = manifest.graph(*graph);
            file.is_some_and(|file| file.precision == Precision::Bf16)
        };
        let mut session_options = SessionOptions {
            provider: options.provider,
            required: options.require_provider,
            intra_threads: options.intra_threads,
        };
        if let Some((graph, _)) = files.iter().find(|file| brain_float(file)) {
            let graph = graph.name();
            match options.provider {
                Provider::Cpu => return Err(OnnxError::Precision { graph }.into()),
                // There is nothing to fall back to.
                Provider::Cuda | Provider::TensorRt => session_options.required = true,
            }
        }
        let opened = open_all(&runtime, &files, session_options)?;
        let provider = opened.provider;
        let missing = |_| OnnxError::Run {
            graph: Graph::Decoder.name(),
            reason: "expected two graphs".into(),
        };
        let [vision, decoder]: [Session; 2] = opened.sessions.try_into().map_err(missing)?;
        let index = VisionIndex::new(&grids, &manifest.vision);
        let mut dims = Dims::new(&manifest, index.patches());
        let image_tokens = dims.image_tokens;
        graphs::check_vision(&vision, dims)?;
        // Without pictures the graph still reads one token, into nowhere.
        dims.image_tokens = image_tokens.max(1);
        let tower = Tower::bind(&vision, &index, dims, Place::Device)?;
        let lengths = (spec.max_length, options.piece);
        let decoder = Decoder::new(decoder, &manifest, spec.vocabulary, lengths)?;
        Ok(Self {
            bundle_id: Arc::clone(bundle.id()),
            spelling: Arc::new(Spelling::open(&tokenizer)?),
            manifest,
            spec,
            eos,
            images,
            grids,
            prompter,
            vision,
            tower,
            image_tokens,
            provider,
            decoder,
        })
    }

    /// Provider that really runs the graphs.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Id of the bundle.
    pub fn bundle_id(&self) -> &Arc<str> {
        &self.bundle_id
    }

    /// What it says its words with.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// Bytes of the cache of keys and values.
    pub fn cache_bytes(&self) -> usize {
        self.decoder.cache_bytes()
    }

    /// Pictures that a talk is about, by name, in prompt order.
    pub fn cameras(&self) -> &[CameraSpec] {
        &self.manifest.cameras
    }

    /// Never ends by itself.
    pub(crate) fn endless(&mut self) {
        self.eos.clear();
    }

    /// The id of `text` as one token.
    ///
    /// # Errors
    /// [`VlaError::Tokenizer`] when it is none; `field` says what for.
    pub fn token(&self, bundle: &Bundle, field: &str, text: &str) -> Result<i64, VlaError> {
        self.prompter.token(&bundle.tokenizer_path(), field, text)
    }

    /// Begins to talk about `frames`, one for each camera in its order, as `sentence` asks. Pixels and prompt are made here,
    /// on the host; no graph runs.
    ///
    /// # Errors
    /// [`InferError`] for a frame or a sentence that cannot be used.
    pub fn begin(
        &mut self,
        frames: &[CameraFrame],
        sentence: &str,
        choice: Choice,
        stop: Stop,
    ) -> Result<Talk<'_>, InferError> {
        let state = self.prepare(frames, sentence, choice, stop)?;
        Ok(Talk {
            reasoner: self,
            state,
        })
    }

    /// As [`Reasoner::begin`], for whoever keeps both apart.
    pub(crate) fn prepare(
        &mut self,
        frames: &[CameraFrame],
        sentence: &str,
        choice: Choice,
        stop: Stop,
    ) -> Result<TalkState, InferError> {
        let expected = self.manifest.cameras.len();
        if frames.len() != expected {
            return Err(InferError::Observation {
                field: "frames".into(),
                expected: expected.to_string(),
                actual: frames.len().to_string(),
            });
        }
        let tokens = self.prompter.encode(sentence, "")?;
        self.images.run(frames, self.tower.pixel_values.write()?)?;
        let merge = self.manifest.vision.merge;
        let position_ids = mrope(
            &tokens.ids,
            &tokens.attention_mask,
            self.prompter.image_token(),
            &self.grids,
            merge,
        );
        let prompt = tokens.ids.len();
        self.decoder.begin(Script {
            ids: tokens.ids,
            image_rows: tokens.image_rows,
            position_ids,
        })?;
        Ok(TalkState {
            phase: if self.image_tokens > 0 {
                Phase::Look
            } else {
                Phase::Read
            },
            sampler: Sampler::new(choice),
            detokeniser: Detokeniser::new(Arc::clone(&self.spelling)),
            stop,
            prompt,
            tokens: Vec::new(),
            text: String::new(),
        })
    }

    /// One step of a talk that [`Reasoner::prepare`] began.
    pub(crate) fn step(
        &mut self,
        state: &mut TalkState,
        elapsed: Duration,
    ) -> Result<Step, InferError> {
        if let Phase::Done(finish) = state.phase {
            return Ok(Step::Done(finish));
        }
        if state.stop.within.is_some_and(|within| elapsed >= within) {
            return Ok(state.end(Finish::Time));
        }
        match state.phase {
            Phase::Look => {
                self.tower.run(&mut self.vision)?;
                state.phase = Phase::Read;
                Ok(Step::Read)
            }
            Phase::Read => {
                let images = ImageTokens {
                    embeds: &mut self.tower.image_embeds,
                    levels: self.tower.deepstack.as_mut(),
                    count: self.image_tokens.max(1),
                };
                if self.decoder.read(images)? {
                    state.phase = Phase::Say;
                }
                Ok(Step::Read)
            }
            Phase::Say => {
                if let Some(before) = state.tokens.last() {
                    if state.tokens.len() >= state.stop.tokens {
                        return Ok(state.end(Finish::Tokens));
                    }
                    if self.decoder.room() == 0 {
                        return Ok(state.end(Finish::Room));
                    }
                    self.decoder.push(*before)?;
                }
                let token = match state.sampler.pick(self.decoder.logits()?) {
                    Ok(token) => token,
                    Err(error) => {
                        self.decoder.forget()?;
                        return Err(error.into());
                    }
                };
                if self.eos.contains(&token) {
                    return Ok(state.end(Finish::Ended));
                }
                state.tokens.push(token);
                let text = state.detokeniser.push(token);
                state.say(&text);
                Ok(Step::Said { token, text })
            }
            Phase::Done(finish) => Ok(Step::Done(finish)),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Look,
    Read,
    Say,
    Done(Finish),
}

/// Where a talk is.
#[derive(Debug)]
pub(crate) struct TalkState {
    phase: Phase,
    sampler: Sampler,
    detokeniser: Detokeniser,
    stop: Stop,
    prompt: usize,
    tokens: Vec<i64>,
    text: String,
}

impl TalkState {
    fn end(&mut self, finish: Finish) -> Step {
        self.phase = Phase::Done(finish);
        let left = self.detokeniser.finish();
        self.text.push_str(&left);
        Step::Done(finish)
    }

    /// Takes `text` in, and looks whether it completes one to stop at.
    fn say(&mut self, text: &str) {
        let before = self.text.len();
        self.text.push_str(text);
        let completes = |stop: &String| {
            let mut from = before.saturating_sub(stop.len());
            while !self.text.is_char_boundary(from) {
                from -= 1;
            }
            !stop.is_empty() && self.text[from..].contains(stop.as_str())
        };
        if self.stop.texts.iter().any(completes) {
            self.phase = Phase::Done(Finish::Text);
        }
    }
}

/// A talk that goes on as long as steps are taken.
pub struct Talk<'a> {
    reasoner: &'a mut Reasoner,
    state: TalkState,
}

impl Talk<'_> {
    /// Takes one step; `elapsed` is the time since the talk began, by the caller's clock.
    ///
    /// # Errors
    /// [`InferError`]; the talk is over then.
    pub fn step(&mut self, elapsed: Duration) -> Result<Step, InferError> {
        self.reasoner.step(&mut self.state, elapsed)
    }

    /// Takes steps to the end; `on_text` gets every piece of text, `now` tells the time since the talk began.
    ///
    /// # Errors
    /// [`InferError`].
    pub fn finish(
        &mut self,
        now: impl Fn() -> Duration,
        mut on_text: impl FnMut(&str),
    ) -> Result<Finish, InferError> {
        loop {
            let said = self.state.text.len();
            match self.step(now())? {
                Step::Read => {}
                Step::Said { text, .. } => on_text(&text),
                Step::Done(finish) => {
                    on_text(self.state.text.get(said..).unwrap_or_default());
                    return Ok(finish);
                }
            }
        }
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.state.prompt
    }

    /// Tokens said so far, without the one that ended it.
    pub fn tokens(&self) -> &[i64] {
        &self.state.tokens
    }

    /// Text said so far.
    pub fn text(&self) -> &str {
        &self.state.text
    }
}
