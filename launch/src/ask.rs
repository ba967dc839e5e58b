//! `tactus ask`: the language model of a bundle alone. Pictures and a question in, words out as they come.
//!
//! Decides nothing: words go to stdout, what they took to stderr.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use tactus_bundle::{Bundle, CameraSpec};
use tactus_pixels::jpeg_size;
use tactus_types::{CameraFrame, Encoding, Time};
use tactus_vla::sample::{Choice, Sampling};
use tactus_vla::{Finish, Reasoner, ReasonerOptions, Stop};

use crate::cli::AskArgs;

/// Most pictures of one question.
const MAX_PICTURES: usize = 8;

/// Asks; exit code 3 when the answer did not end by itself.
pub fn ask(args: &AskArgs) -> anyhow::Result<ExitCode> {
    let bundle = Bundle::open(&args.bundle)?;
    if args.image.is_empty() || args.image.len() > MAX_PICTURES {
        bail!(
            "--image: expected 1 to {MAX_PICTURES} JPEG files, got {}",
            args.image.len()
        );
    }
    let frames: Vec<CameraFrame> = (0..)
        .zip(&args.image)
        .map(picture)
        .collect::<Result<_, _>>()?;
    let size = |frame: &CameraFrame| CameraSpec {
        name: frame.camera.to_string(),
        width: frame.width as usize,
        height: frame.height as usize,
    };
    let mut reasoner = Reasoner::open(
        &bundle,
        &ReasonerOptions {
            ort_library: args.run.onnxruntime.clone(),
            intra_threads: usize::from(args.run.threads),
            provider: args.run.provider(),
            require_provider: args.run.require_cuda,
            pictures: Some(frames.iter().map(size).collect()),
            // As it is asked: only a policy's instructions are cleaned.
            cleaned: false,
            ..ReasonerOptions::default()
        },
    )?;
    let choice = match args.sample {
        false => Choice::Greedy,
        true => Choice::Sampled(Sampling {
            temperature: args.temperature,
            top_k: usize::try_from(args.top_k).unwrap_or(usize::MAX),
            top_p: args.top_p,
            seed: args.seed,
        }),
    };
    let stop = Stop {
        texts: args.stop.clone(),
        tokens: args.max_tokens as usize,
        within: None,
    };
    let started = Instant::now();
    let mut talk = reasoner.begin(&frames, &args.question, choice, stop)?;
    let mut first = None;
    let mut closed = false;
    let mut out = std::io::stdout().lock();
    let finish = talk.finish(
        || started.elapsed(),
        |text| {
            first.get_or_insert_with(|| started.elapsed());
            // Whoever read has gone; what is left is said to nobody.
            closed |= out
                .write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .is_err();
        },
    )?;
    if !closed {
        // The same.
        let _ = writeln!(out);
    }
    let (tokens, whole) = (talk.tokens().len(), started.elapsed());
    let first = first.unwrap_or(whole);
    let rate = tokens.saturating_sub(1) as f64 / (whole - first).as_secs_f64().max(1e-9);
    eprintln!(
        "prompt of {} tokens in {:.0?}, then {tokens} tokens at {rate:.0} tokens/s; {}",
        talk.prompt_tokens(),
        first,
        finish.name()
    );
    Ok(match finish {
        Finish::Ended | Finish::Text => ExitCode::SUCCESS,
        Finish::Tokens | Finish::Time | Finish::Room => ExitCode::from(3),
    })
}

/// The JPEG file as a frame of a camera that is named by its place.
fn picture((i, file): (u64, &PathBuf)) -> anyhow::Result<CameraFrame> {
    let what = || format!("picture {}", Path::new(file).display());
    let bytes = std::fs::read(file).with_context(what)?;
    let (width, height) = jpeg_size(&bytes).with_context(what)?;
    Ok(CameraFrame {
        camera: Arc::from(format!("{}: {}", i + 1, file.display())),
        captured_at: Time::ZERO,
        received_at: Time::ZERO,
        seq: i,
        width: u32::try_from(width).with_context(what)?,
        height: u32::try_from(height).with_context(what)?,
        encoding: Encoding::Jpeg,
        data: bytes.into(),
    })
}
