//! What a chunk costs here: the whole path, again and again, on the bundle's own golden images.
//!
//! Decides what is measured and what it is held against. Every repetition is a new request with new frames, so nothing
//! that a live engine would do is left out; what a live engine does ahead of a request (decoding frames as they come)
//! is here part of the chunk.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tactus_bundle::{Bundle, Graph};
use tactus_onnx::{Ceiling, OnnxRuntime, Place, Provider};
use tactus_types::{Encoding, Stage};

use crate::{error::VlaError, golden::GoldenInput, policy::VlaPolicy, verify::RunOptions};

/// Chunks before the first that counts: ONNX Runtime allocates in the first runs.
pub(crate) const WARM_UP: usize = 5;

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
    /// What the machine does at best; measured on a CPU, not known of a GPU.
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
    let ceiling = match provider {
        Provider::Cpu => {
            let runtime = OnnxRuntime::load(options.ort_library.as_deref())?;
            Some(Ceiling::measure(&runtime, options.intra_threads)?)
        }
        Provider::Cuda => None,
    };
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
        ceiling,
    })
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
