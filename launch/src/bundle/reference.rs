//! A bundle with a reference: what joint states and pictures were like in recorded episodes, for a live cell to be compared with.
//!
//! Decides which instants of the recordings count: the first of every episode, and some spread over the rest of it. Their
//! columns and cameras are the bundle's, found by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use tactus_bundle::{AnyBundle, CameraSpec};
use tactus_pixels::decode;
use tactus_preflight::{Look, Reference, Sample, learn};
use tactus_record::lerobot::episodes::{Content, Episode, episodes};
use tactus_record::lerobot::rows::{Rows, rows};
use tactus_types::CameraFrame;
use tactus_vla::joints::find;

use super::copy::copy;

/// File of the copy that holds it.
const FILE: &str = "reference.safetensors";

/// Learns from `recordings`, `each` instants of an episode, and writes the copy to `out`; says what was learnt.
pub fn reference(
    bundle: &Path,
    recordings: &[PathBuf],
    out: &Path,
    each: usize,
) -> anyhow::Result<String> {
    if out.exists() {
        bail!("{} exists already", out.display());
    }
    let original = AnyBundle::open(bundle)?;
    let contents: Vec<Content> = recordings
        .iter()
        .map(|file| episodes(file))
        .collect::<Result<_, _>>()?;
    let count: usize = contents.iter().map(|c| c.episodes.len()).sum();
    let bar = ProgressBar::new(count as u64);
    let template = "{bar:30} {pos}/{len} episodes read, {eta} left";
    bar.set_style(indicatif::ProgressStyle::with_template(template)?);
    let mut samples = Vec::new();
    let mut number = 0;
    for content in &contents {
        for episode in &content.episodes {
            let of = instants(&original, content, episode, number, each);
            let of = of.with_context(|| format!("{}", episode.file.display()))?;
            samples.extend(of);
            number += 1;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let outline = original.outline();
    let cameras: Vec<String> = outline.cameras.iter().map(|c| c.name.clone()).collect();
    let mut columns = outline.state.joints.clone();
    if outline.state.gripper {
        columns.push("gripper".into());
    }
    let bar = ProgressBar::new_spinner().with_message("learning");
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let learnt = learn(&columns, outline.state.gripper, &cameras, &samples)?;
    bar.finish_and_clear();
    let changed = BTreeMap::from([(FILE.to_owned(), learnt.to_bytes()?)]);
    copy(bundle, out, &changed, |manifest| {
        let section = toml_edit::Table::from_iter([("file", FILE)]);
        manifest.insert("reference", section.into());
    })?;
    let copy = AnyBundle::open(out)?;
    Ok(format!(
        "{}\n{}: bundle {}",
        page(&learnt),
        out.display(),
        copy.id()
    ))
}

/// The first instant of `episode` and others, as the bundle's columns and cameras.
fn instants(
    bundle: &AnyBundle,
    content: &Content,
    episode: &Episode,
    number: usize,
    each: usize,
) -> anyhow::Result<Vec<Sample>> {
    let outline = bundle.outline();
    let first = outline.cameras.first().map(|c| c.name.as_str());
    let Rows { rows, frames } = rows(episode, content, first.unwrap_or_default())?;
    let joints = find("state.joints", &outline.state.joints, &content.info.joints)?;
    let arm = content.info.joints.len();
    let mut cameras: Vec<(&CameraSpec, &[CameraFrame])> = Vec::new();
    for spec in &outline.cameras {
        let place = content.cameras.keys().position(|name| *name == spec.name);
        let frames = place.and_then(|k| frames.get(k));
        cameras.push((
            spec,
            frames.with_context(|| format!("no camera `{}`, which the bundle wants", spec.name))?,
        ));
    }
    let mut samples = Vec::new();
    let mut pixels = Vec::new();
    let step = (rows.len() / each.max(1)).max(1);
    for k in (0..rows.len()).step_by(step).take(each) {
        let mut state: Vec<f64> = joints
            .iter()
            .map(|j| f64::from(rows[k].state[*j]))
            .collect();
        if outline.state.gripper {
            state.push(f64::from(rows[k].state[arm]));
        }
        let mut looks = Vec::with_capacity(cameras.len());
        for (spec, frames) in &cameras {
            let frame = frames
                .get(k)
                .context("a camera has fewer pictures than rows")?;
            looks.push(look(frame, spec, &mut pixels)?);
        }
        samples.push(Sample {
            state,
            looks,
            episode: number,
            first: k == 0,
        });
    }
    Ok(samples)
}

/// `frame` of the camera `spec`, decoded and reduced.
pub fn look(frame: &CameraFrame, spec: &CameraSpec, pixels: &mut Vec<u8>) -> anyhow::Result<Look> {
    pixels.resize(spec.width * spec.height * 3, 0);
    let rgb = decode(frame, spec, pixels)?;
    let look = Look::of(rgb, spec.width, spec.height);
    look.with_context(|| {
        format!(
            "camera `{}`: its pictures are too small to be compared",
            spec.name
        )
    })
}

/// What was learnt, and what of it would be noticed.
fn page(learnt: &Reference) -> String {
    let (episodes, samples) = learnt.counts;
    let mut page = format!(
        "learnt from {samples} instants of {episodes} episodes; would be noticed at the share of instants:"
    );
    for (mistake, share) in learnt.would_notice() {
        page += &format!("\n  {:3.0} %  {mistake}", 100.0 * share);
    }
    page
}
