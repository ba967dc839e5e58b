//! The decoder against its golden case: the prompt in pieces, then one token after the other.
//!
//! Scores of every step are compared, by the largest magnitude of all golden scores; and how many steps prefer another
//! token. What is fed are the golden tokens, so one that differs does not hide what comes after it. A step whose golden
//! choice is a near tie is not counted: another order of adding up may break it.

use std::path::Path;

use tactus_bundle::{Bundle, BundleError, GoldenCase, Graph};
use tactus_onnx::{OnnxRuntime, Place, SessionOptions, open_all};

use crate::{
    error::{InferError, VlaError},
    generate::{Decoder, ImageTokens, Script},
    sample::{Choice, Sampler},
    verify::RunOptions,
};

/// Tokens of the prompt in one run: few enough that golden prompts take several.
const PIECE: usize = 32;

/// Which tensor a case of the decoder has.
const TOKENS: &str = "decoder.tokens";

/// How the decoder did on a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Compared {
    /// Largest error of a score.
    pub error: f64,
    /// Largest golden score.
    pub scale: f64,
    /// Steps that prefer another token than the golden one.
    pub differing: usize,
    /// Bytes of the cache, which is all that grows with its length.
    pub cache_bytes: usize,
}

/// Whether a bundle with a decoder has a case of it.
pub(crate) fn has_case(bundle: &Bundle, cases: &[GoldenCase]) -> Result<(), VlaError> {
    let has = |case: &GoldenCase| case.get(TOKENS).is_some();
    if bundle.manifest().decoder.is_none() || cases.iter().any(has) {
        return Ok(());
    }
    Err(VlaError::Bundle(BundleError::Golden {
        file: cases.first().map_or("golden", |case| &case.file).into(),
        tensor: TOKENS.into(),
        expected: "it in one case at least, as the bundle has a decoder".into(),
        actual: "none".into(),
    }))
}

/// Replays `case`, if it is one of the decoder; `tolerance` says what a near tie is.
pub(crate) fn decoder(
    bundle: &Bundle,
    case: &GoldenCase,
    options: &RunOptions,
    tolerance: f64,
) -> Result<Option<Compared>, VlaError> {
    let manifest = bundle.manifest();
    let (Some(spec), Some(_)) = (&manifest.decoder, case.get(TOKENS)) else {
        return Ok(None);
    };
    let runtime = OnnxRuntime::load(options.ort_library.as_deref(), options.provider)?;
    let mut files = bundle.graph_paths();
    files.retain(|(graph, _)| *graph == Graph::Decoder);
    let session_options = SessionOptions {
        provider: options.provider,
        required: options.require_provider,
        intra_threads: options.intra_threads,
    };
    let mut opened = open_all(&runtime, &files, session_options)?.sessions;
    let Some(session) = opened.pop() else {
        return Ok(None);
    };
    let ids = case.i64("decoder.input_ids")?;
    let tokens = case.i64(TOKENS)?;
    let columns = case.i64("decoder.columns")?;
    let golden = case.f32("decoder.logits")?;
    let scale = case.f32("decoder.scale")?.first().copied().unwrap_or(1.0);
    let wrong = |tensor: &str, expected: usize, actual: usize| {
        VlaError::Bundle(BundleError::Golden {
            file: case.file.clone(),
            tensor: tensor.into(),
            expected: format!("{expected} numbers"),
            actual: actual.to_string(),
        })
    };
    let expected = tokens.len() * columns.len();
    if golden.len() != expected {
        return Err(wrong("decoder.logits", expected, golden.len()));
    }
    let positions = case.i64("decoder.position_ids")?;
    if positions.len() != 3 * ids.len() {
        return Err(wrong(
            "decoder.position_ids",
            3 * ids.len(),
            positions.len(),
        ));
    }
    let embeds = case.f32("image_embeds")?;
    let (hidden, levels) = (manifest.backbone.hidden, manifest.vision.deepstack);
    let count = embeds.len() / hidden;
    let mut image_embeds = session.buffer("image_embeds", Place::Host, &[count, hidden])?;
    image_embeds.write()?.copy_from_slice(embeds);
    let mut stack = None;
    if levels > 0 {
        let golden = case.f32("deepstack")?;
        let mut buffer = session.buffer("deepstack", Place::Host, &[levels, count, hidden])?;
        if golden.len() != embeds.len() * levels {
            return Err(wrong("deepstack", embeds.len() * levels, golden.len()));
        }
        buffer.write()?.copy_from_slice(golden);
        stack = Some(buffer);
    }
    let lengths = (spec.max_length, PIECE);
    let mut decoder = Decoder::new(session, manifest, spec.vocabulary, lengths)?;
    decoder.begin(Script {
        ids: ids.to_vec(),
        image_rows: case.i64("decoder.image_rows")?.to_vec(),
        position_ids: positions.to_vec(),
    })?;
    let mut read = || {
        decoder.read(ImageTokens {
            embeds: &mut image_embeds,
            levels: stack.as_mut(),
            count,
        })
    };
    while !read()? {}
    let mut compared = Compared {
        error: 0.0,
        scale: f64::from(scale),
        differing: 0,
        cache_bytes: decoder.cache_bytes(),
    };
    let mut greedy = Sampler::new(Choice::Greedy);
    let near = 2.0 * tolerance * compared.scale;
    for (step, (token, golden)) in tokens
        .iter()
        .zip(golden.chunks_exact(columns.len()))
        .enumerate()
    {
        let scores = decoder.logits()?;
        for (column, golden) in columns.iter().zip(golden) {
            let ours = usize::try_from(*column).ok().and_then(|i| scores.get(i));
            let error = ours.map_or(f64::NAN, |ours| f64::from((ours - golden).abs()));
            // NaN stays: nothing is above it.
            if error.is_nan() || error > compared.error {
                compared.error = error;
            }
        }
        let [mut best, mut second] = [f32::NEG_INFINITY; 2];
        for score in golden {
            if *score > best {
                (best, second) = (*score, best);
            } else if *score > second {
                second = *score;
            }
        }
        let ours = greedy
            .pick(scores)
            .map_err(|e| InferError::from(e).at("decoder"))?;
        let clear = f64::from(best - second) > near;
        compared.differing += usize::from(clear && ours != *token);
        if step + 1 < tokens.len() {
            decoder.push(*token)?;
        }
    }
    Ok(Some(compared))
}

/// Greedy tokens of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greedy {
    /// Those of the reference.
    pub golden: Vec<i64>,
    /// Those of the decoder here.
    pub said: Vec<i64>,
}

/// Golden tokens and those that the decoder of the bundle in `bundle_dir` says by itself: for each case of a decoder.
///
/// # Errors
/// [`VlaError`] as [`crate::verify()`].
pub fn greedy_tokens(
    bundle_dir: impl AsRef<Path>,
    options: &RunOptions,
) -> Result<Vec<Greedy>, VlaError> {
    let bundle = Bundle::open(bundle_dir)?;
    let reasoner = crate::reason::ReasonerOptions {
        ort_library: options.ort_library.clone(),
        intra_threads: options.intra_threads,
        provider: options.provider,
        require_provider: options.require_provider,
        ..Default::default()
    };
    let mut reasoner = crate::reason::Reasoner::open(&bundle, &reasoner)?;
    // Whatever it is that it would end with: golden cases go on.
    reasoner.endless();
    let mut out = Vec::new();
    for case in bundle.golden()? {
        if case.get(TOKENS).is_none() {
            continue;
        }
        let golden = case.i64(TOKENS)?.to_vec();
        let input = crate::golden::GoldenInput {
            case: &case,
            manifest: bundle.manifest(),
        };
        let frames = input.observation(tactus_types::Encoding::Rgb8)?.frames;
        let stop = crate::reason::Stop {
            texts: Vec::new(),
            tokens: golden.len(),
            within: None,
        };
        let error = |e: InferError| e.at("decoder");
        let mut talk = reasoner
            .begin(&frames, &case.instruction, Choice::Greedy, stop)
            .map_err(error)?;
        talk.finish(|| std::time::Duration::ZERO, |_| ())
            .map_err(error)?;
        let said = talk.tokens().to_vec();
        out.push(Greedy { golden, said });
    }
    Ok(out)
}
