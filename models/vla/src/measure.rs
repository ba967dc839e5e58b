//! What a chunk costs here: the whole path, again and again, on the bundle's own golden images.
//!
//! Decides what is measured and what it is held against. Every repetition is a new request with new frames, so nothing
//! that a live engine would do is left out; what a live engine does ahead of a request (decoding frames as they come)
//! is here part of the chunk.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tactus_bundle::{Bundle, Graph, Precision};
use tactus_onnx::{Ceiling, OnnxRuntime, Place};
use tactus_types::{CameraFrame, Encoding, Stage};

use crate::{
    error::{InferError, VlaError},
    golden::GoldenInput,
    policy::VlaPolicy,
    reason::{Reasoner, ReasonerOptions, Step, Stop},
    sample::Choice,
    verify::RunOptions,
};

/// Chunks before the first that counts: ONNX Runtime allocates in the first runs.
pub const WARM_UP: usize = 5;

/// Tokens of a talk that is measured.
const TOKENS: usize = 64;

/// The stages of a chunk that happen inside the policy.
pub const STAGES: [Stage; 6] = [
    Stage::Decode,
    Stage::Preprocess,
    Stage::Vision,
    Stage::Backbone,
    Stage::Context,
    Stage::Denoise,
];

/// Quantiles of one stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StageCost {
    /// Median.
    pub p50: Duration,
    /// 99 %.
    pub p99: Duration,
    /// Largest.
    pub max: Duration,
    /// Shortest time that the machine's arithmetic and memory allow, where it is known.
    pub floor: Option<Duration>,
}

/// What the words of a bundle's language model cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenCost {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Vision, and the prompt read at once.
    pub read: Duration,
    /// One token after it; the floor is the time to read every weight once.
    pub token: StageCost,
    /// Bytes of the cache of keys and values, whatever is in it.
    pub cache_bytes: usize,
}

/// What a bundle costs.
#[derive(Debug, Clone, PartialEq)]
pub struct CostReport {
    /// Name of the bundle.
    pub name: String,
    /// Id of the bundle.
    pub bundle_id: String,
    /// Provider that ran the graphs.
    pub provider: &'static str,
    /// Threads of one operator.
    pub intra_threads: usize,
    /// Chunks that were measured.
    pub chunks: usize,
    /// Time to open the bundle, hashes included.
    pub opened_in: Duration,
    /// Each of [`STAGES`].
    pub stages: Vec<(Stage, StageCost)>,
    /// Inside ONNX Runtime, all graphs of a chunk.
    pub inference: StageCost,
    /// Everything but ONNX Runtime and the decoding of JPEG files.
    pub rest: StageCost,
    /// A whole chunk.
    pub chunk: StageCost,
    /// What a token of the language model costs, where the bundle has a decoder.
    pub decoder: Option<TokenCost>,
    /// Bytes of the device's memory that were taken after the last chunk, by whomever; `None` on the CPU.
    pub device_memory_bytes: Option<u64>,
    /// What the machine does at best; not measured for graphs that nobody counted the operations of.
    pub ceiling: Option<Ceiling>,
}

/// Measures `chunks` chunks of the bundle in `bundle_dir`; `on_chunk` is called after each. Joints for tool poses are not
/// sought: a bundle is measured without an arm.
///
/// # Errors
/// [`VlaError`] when the bundle cannot be opened, has no golden case, or an inference fails.
pub fn measure(
    bundle_dir: impl AsRef<Path>,
    options: &RunOptions,
    chunks: usize,
    mut on_chunk: impl FnMut(),
) -> Result<CostReport, VlaError> {
    let started = Instant::now();
    let bundle = Bundle::open(bundle_dir)?;
    let joints = bundle.manifest().action.joints.clone();
    let mut policy = VlaPolicy::of_bundle(bundle.clone(), options.policy(&joints), Place::Device)?;
    let opened_in = started.elapsed();
    let provider = policy.parts().sequence.provider();
    let runtime = OnnxRuntime::load(options.ort_library.as_deref(), options.provider)?;
    let threads = options.intra_threads;
    let backbone = bundle.manifest().graph(Graph::Backbone);
    let precision = backbone.map_or(Precision::Fp32, |graph| graph.precision);
    let ceiling = Some(Ceiling::measure(&runtime, provider, threads, precision)?);
    let cases = bundle.golden()?;
    // A manifest without a case is refused when it is read.
    let case = cases.first().ok_or(VlaError::NoGoldenCase)?;
    let input = GoldenInput {
        case,
        manifest: bundle.manifest(),
    };
    let mut observation = input.observation(Encoding::Jpeg)?;
    let mut request = input.request(policy.parts().action_columns)?;
    let mut stages: [Vec<Duration>; STAGES.len()] = Default::default();
    let (mut inference, mut rest, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..WARM_UP + chunks {
        request.seed += 1;
        observation
            .frames
            .iter_mut()
            .for_each(|frame| frame.seq += 1);
        let started = Instant::now();
        let made = policy.infer_anyway(&observation, &request)?.stages;
        let took = started.elapsed();
        if i < WARM_UP {
            continue;
        }
        for (times, stage) in stages.iter_mut().zip(STAGES) {
            times.push(made.get(stage));
        }
        let decode = made.get(Stage::Decode);
        inference.push(made.inference());
        rest.push(took.saturating_sub(made.inference() + decode));
        whole.push(took);
        on_chunk();
    }
    let device_memory_bytes = policy.parts().sequence.device_memory_used();
    let decoder = token_cost(
        &bundle,
        options,
        &observation.frames,
        &case.instruction,
        ceiling,
    )?;
    let floor = |stage: Stage| Some(floor_of(&bundle, stage)?(ceiling?));
    let floors: Vec<Option<Duration>> = STAGES.into_iter().map(floor).collect();
    let all: Option<Duration> = floors[2..].iter().copied().sum();
    let costs = stages.into_iter().zip(&floors);
    Ok(CostReport {
        name: bundle.manifest().name.clone(),
        bundle_id: bundle.id().to_string(),
        provider: provider.name(),
        intra_threads: options.intra_threads,
        chunks,
        opened_in,
        stages: STAGES
            .into_iter()
            .zip(costs.map(|(times, floor)| cost(times, *floor)))
            .collect(),
        inference: cost(inference, all),
        rest: cost(rest, None),
        chunk: cost(whole, all),
        decoder,
        device_memory_bytes,
        ceiling,
    })
}

/// What a token costs: three talks of [`TOKENS`] tokens, the first of which warms up.
fn token_cost(
    bundle: &Bundle,
    options: &RunOptions,
    frames: &[CameraFrame],
    instruction: &str,
    ceiling: Option<Ceiling>,
) -> Result<Option<TokenCost>, VlaError> {
    if bundle.manifest().decoder.is_none() {
        return Ok(None);
    }
    let mut reasoner = Reasoner::open(
        bundle,
        &ReasonerOptions {
            ort_library: options.ort_library.clone(),
            intra_threads: options.intra_threads,
            provider: options.provider,
            require_provider: options.require_provider,
            ..ReasonerOptions::default()
        },
    )?;
    reasoner.endless();
    let (mut reads, mut tokens, mut prompt) = (Vec::new(), Vec::new(), 0);
    for talk in 0..3 {
        let stop = Stop {
            texts: Vec::new(),
            tokens: TOKENS,
            within: None,
        };
        let failed = |e: InferError| e.at("decoder");
        let mut talked = reasoner
            .begin(frames, instruction, Choice::Greedy, stop)
            .map_err(failed)?;
        prompt = talked.prompt_tokens();
        let mut read = Duration::ZERO;
        let mut said = 0;
        loop {
            let started = Instant::now();
            let step = talked.step(Duration::ZERO).map_err(failed)?;
            match (step, talk) {
                (Step::Done(_), _) => break,
                (Step::Read, _) => read += started.elapsed(),
                (Step::Said { .. }, 0) => {}
                // The first is only chosen: the prompt scored it.
                (Step::Said { .. }, _) if said == 0 => said = 1,
                (Step::Said { .. }, _) => tokens.push(started.elapsed()),
            }
        }
        if talk > 0 {
            reads.push(read);
        }
    }
    let one = bundle.manifest().graph(Graph::Decoder).and_then(|g| g.cost);
    let floor = ceiling
        .zip(one)
        .map(|(ceiling, cost)| ceiling.floor(cost.operations as f64, cost.weight_bytes as f64));
    Ok(Some(TokenCost {
        prompt,
        read: cost(reads, None).p50,
        token: cost(tokens, floor),
        cache_bytes: reasoner.cache_bytes(),
    }))
}

/// The floor of a stage that is graphs, as a function of the ceiling; `None` where the bundle does not say what its
/// graphs cost.
fn floor_of(bundle: &Bundle, stage: Stage) -> Option<impl Fn(Ceiling) -> Duration> {
    let manifest = bundle.manifest();
    let (graph, runs) = match stage {
        Stage::Vision => (Graph::Vision, 1),
        Stage::Backbone => (Graph::Backbone, 1),
        Stage::Context => (Graph::Context, 1),
        Stage::Denoise => (Graph::Denoise, manifest.denoise.steps),
        _ => return None,
    };
    let cost = manifest.graph(graph)?.cost?;
    let runs = u32::try_from(runs).unwrap_or(u32::MAX);
    Some(move |ceiling: Ceiling| {
        ceiling.floor(cost.operations as f64, cost.weight_bytes as f64) * runs
    })
}

/// Quantiles of `times`.
pub fn cost(mut times: Vec<Duration>, floor: Option<Duration>) -> StageCost {
    times.sort_unstable();
    let at = |share: f64| {
        let index = (share * times.len() as f64) as usize;
        times
            .get(index.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    StageCost {
        p50: at(0.5),
        p99: at(0.99),
        max: at(1.0),
        floor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        let StageCost { p50, p99, max, .. } = cost(times, None);
        assert_eq!(
            (p50.as_millis(), p99.as_millis(), max.as_millis()),
            (51, 100, 100)
        );
        assert_eq!(cost(vec![], None).max, Duration::ZERO);
    }
}
