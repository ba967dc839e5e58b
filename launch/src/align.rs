//! `tactus align`: what the language model of a bundle would have done, beside what the head did, over recorded episodes.
//!
//! Decides what is said of many chunks: shares, means, and how they go over the time of an episode. How an answer is compared
//! with a chunk is decided in `tactus-vla`, what was observed in `tactus-host`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use plotters::prelude::*;
use serde_json::{Value, json};
use tactus_bundle::Bundle;
use tactus_eval::{Interval, Tally};
use tactus_host::replay::Observed;
use tactus_record::{Told, read};
use tactus_types::{Conditioning, Generation, Policy, Time};
use tactus_vla::{Agreement, FastPolicy, Provider, VlaOptions};

use crate::cli::AlignArgs;
use crate::{replay, result};

/// How long a stretch of an episode is that has a row of its own, s.
const STRETCH: f64 = 1.0;
const SIZE: (u32, u32) = (900, 480);
/// Colours that stay apart for colour-blind readers (Wong 2011, Nature Methods 8:441).
const PREFIX: RGBColor = RGBColor(0, 114, 178);
const FORMAT: RGBColor = RGBColor(213, 94, 0);

/// One chunk, and what the language model answered.
struct Answered {
    file: usize,
    request_id: u64,
    /// Since the first chunk of its generation: of its episode, unless something interrupted it.
    secs: f64,
    found: Agreement,
}

/// What all files gave.
#[derive(Default)]
struct Found {
    answered: Vec<Answered>,
    left_out: BTreeMap<String, u64>,
    bundle: String,
}

/// Lets the language model answer, and says how it agrees.
pub fn align(args: &AlignArgs) -> anyhow::Result<ExitCode> {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg}").context("progress line")?);
    bar.enable_steady_tick(Duration::from_millis(200));
    let mut found = Found::default();
    for (place, file) in args.files.iter().enumerate() {
        one(args, place, file, &mut found, &bar)?;
    }
    bar.finish_and_clear();
    if found.answered.is_empty() {
        let why = found.left_out.keys().next();
        let why = why.map_or("no chunk is in it".to_owned(), Clone::clone);
        bail!("{}: nothing to compare: {why}", args.files[0].display());
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&found.json(args)).context("figures as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("figures {}", file.display()))?;
    }
    if let Some(file) = &args.plot {
        found
            .draw(file)
            .with_context(|| format!("plot {}", file.display()))?;
    }
    found.print()?;
    Ok(ExitCode::SUCCESS)
}

fn one(
    args: &AlignArgs,
    place: usize,
    file: &Path,
    found: &mut Found,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let inside = replay::inside(file)?;
    let cell = replay::cell_of(file, args.cell.as_deref(), &inside)?;
    let info = inside.arm(file, &cell)?;
    let options = VlaOptions {
        ort_library: args.onnxruntime.clone(),
        intra_threads: cell.intra_threads,
        provider: Provider::Cpu,
        require_provider: false,
        joints: &info.joints,
        arm: Some(info),
        // What the head was conditioned on, action tokens know nothing of.
        conditioning: Conditioning::None,
        denoise_steps: None,
        features_every: Duration::ZERO,
    };
    let bundle = Bundle::open(cell.bundle_dir(args.bundle.as_deref())?)?;
    let mut policy = FastPolicy::open(bundle, &options, None)?;
    found.bundle = policy.bundle_id().to_string();
    let mut observed = Observed::new(policy.cameras());
    let mut begun: Option<(Generation, Time)> = None;
    let mut chunks = 0_u32;
    let mut failed = None;
    let cut = read(file, |told| {
        let Told::Message(message) = told else {
            return true;
        };
        let Ok(topic) = cell.wire.topic(message.topic) else {
            return true;
        };
        if !replay::is_of(&topic, &cell) {
            return true;
        }
        let Some((chunk, behind)) = observed.take(&topic, &message) else {
            return true;
        };
        let since = match begun {
            Some((generation, at)) if generation == chunk.generation => at,
            _ => chunk.observed_at,
        };
        begun = Some((chunk.generation, since));
        chunks += 1;
        if !(chunks - 1).is_multiple_of(args.every) {
            return true;
        }
        let (observation, request) = match behind {
            Ok(behind) => behind,
            Err(why) => {
                *found.left_out.entry(why).or_default() += 1;
                return true;
            }
        };
        match policy.agree(&observation, &request, &chunk) {
            Ok(agreement) => found.answered.push(Answered {
                file: place,
                request_id: chunk.request_id,
                secs: chunk.observed_at.secs_from(since),
                found: agreement,
            }),
            Err(e) => failed = Some(format!("{}: {}", e.stage, e.reason)),
        }
        bar.set_message(format!(
            "{}: {} chunks",
            file.display(),
            found.answered.len()
        ));
        failed.is_none()
    })?;
    if let Some(why) = cut {
        tracing::warn!(
            "{}: cut short: {why}; what is before that is compared",
            file.display()
        );
    }
    match failed {
        Some(why) => bail!("{}: {why}", file.display()),
        None => Ok(()),
    }
}

/// What is said of several chunks.
struct Figures {
    chunks: usize,
    format: Tally,
    spelled: Tally,
    prefix: f64,
    reward: f64,
    /// Means over those that spell a chunk.
    apart: Option<(f64, f64)>,
}

impl Figures {
    fn of<'a>(answered: impl Iterator<Item = &'a Answered>) -> Self {
        let all: Vec<&Agreement> = answered.map(|a| &a.found).collect();
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            let (sum, count) = values.fold((0.0, 0_u32), |(s, n), v| (s + v, n + 1));
            (count > 0).then(|| sum / f64::from(count))
        };
        let share = |of: &dyn Fn(&Agreement) -> bool| Tally {
            successes: all.iter().filter(|a| of(a)).count() as u64,
            trials: all.len() as u64,
        };
        let joints = mean(&mut all.iter().filter_map(|a| a.apart.map(|(j, _)| j)));
        let openings = mean(&mut all.iter().filter_map(|a| a.apart.map(|(_, o)| o)));
        Self {
            chunks: all.len(),
            format: share(&|a| a.reward.format > 0.0),
            spelled: share(&|a| a.apart.is_some()),
            prefix: mean(&mut all.iter().map(|a| a.reward.prefix)).unwrap_or(0.0),
            reward: mean(&mut all.iter().map(|a| a.reward.total())).unwrap_or(0.0),
            apart: joints.zip(openings),
        }
    }

    fn json(&self) -> Value {
        let share = |tally: Tally| {
            let Interval { low, high } = tally.wilson(0.95);
            json!({ "of": tally.trials, "are": tally.successes, "low": low, "high": high })
        };
        json!({
            "chunks": self.chunks,
            "format": share(self.format),
            "spell_a_chunk": share(self.spelled),
            "prefix": self.prefix,
            "reward": self.reward,
            "joint_rad": self.apart.map(|(joints, _)| joints),
            "opening": self.apart.map(|(_, openings)| openings),
        })
    }

    fn row(&self, name: String) -> Vec<String> {
        let share = |tally: Tally| format!("{} of {}", tally.successes, tally.trials);
        let (joints, openings) = match self.apart {
            Some((joints, openings)) => (format!("{:.1}", joints * 1e3), format!("{openings:.3}")),
            None => ("-".into(), "-".into()),
        };
        vec![
            name,
            share(self.format),
            format!("{:.3}", self.prefix),
            format!("{:.3}", self.reward),
            share(self.spelled),
            joints,
            openings,
        ]
    }
}

impl Found {
    /// Figures of each stretch of an episode, and when it begins, s.
    fn stretches(&self) -> Vec<(f64, Figures)> {
        let last = self.answered.iter().map(|a| a.secs).fold(0.0, f64::max);
        let count = (last / STRETCH) as usize + 1;
        let of = |i: usize| {
            let from = i as f64 * STRETCH;
            let inside = |a: &&Answered| a.secs >= from && a.secs < from + STRETCH;
            (from, Figures::of(self.answered.iter().filter(inside)))
        };
        (0..count).map(of).filter(|(_, f)| f.chunks > 0).collect()
    }

    fn print(&self) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
            "time in the episode",
            "form",
            "prefix",
            "reward",
            "spell a chunk",
            "joints apart, mrad",
            "opening apart",
        ]);
        for (from, figures) in self.stretches() {
            table.add_row(figures.row(format!("{from:.0} to {:.0} s", from + STRETCH)));
        }
        let all = Figures::of(self.answered.iter());
        table.add_row(all.row("all".into()));
        result::line(table)?;
        let mut took: Vec<Duration> = self.answered.iter().map(|a| a.found.took).collect();
        took.sort();
        let Interval { low, high } = all.format.wilson(0.95);
        result::line(format_args!(
            "{} chunks; the right form in {:.0} to {:.0} % (Wilson 95 %); an answer took {:.1} ms (p50), {:.1} ms at most",
            all.chunks,
            1e2 * low,
            1e2 * high,
            1e3 * took[took.len() / 2].as_secs_f64(),
            1e3 * took[took.len() - 1].as_secs_f64()
        ))?;
        for (why, count) in &self.left_out {
            result::line(format_args!("  {count} chunks left out: {why}"))?;
        }
        Ok(())
    }

    fn json(&self, args: &AlignArgs) -> Value {
        let chunks = self.answered.iter().map(|a| {
            json!({
                "file": a.file,
                "request_id": a.request_id,
                "secs": a.secs,
                "format": a.found.reward.format,
                "prefix": a.found.reward.prefix,
                "reward": a.found.reward.total(),
                "tokens": a.found.tokens.0,
                "target_tokens": a.found.tokens.1,
                "joint_rad": a.found.apart.map(|(joints, _)| joints),
                "opening": a.found.apart.map(|(_, opening)| opening),
                "took_ms": 1e3 * a.found.took.as_secs_f64(),
            })
        });
        let stretches = self.stretches().into_iter().map(|(from, figures)| {
            json!({ "from_secs": from, "secs": STRETCH, "figures": figures.json() })
        });
        json!({
            "bundle": self.bundle,
            "files": args.files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>(),
            "all": Figures::of(self.answered.iter()).json(),
            "over_time": stretches.collect::<Vec<_>>(),
            "left_out": self.left_out,
            "chunks": chunks.collect::<Vec<_>>(),
        })
    }

    fn draw(&self, file: &Path) -> anyhow::Result<()> {
        let stretches = self.stretches();
        let last = stretches.last().map_or(0.0, |(from, _)| *from) + STRETCH;
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(wrong)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(
                "Action tokens of the language model against chunks of the head",
                ("sans-serif", 20),
            )
            .margin(16)
            .x_label_area_size(48)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..last, 0.0..1.02)
            .map_err(wrong)?;
        chart
            .configure_mesh()
            .x_desc("time in the episode, s")
            .y_desc("share")
            .light_line_style(WHITE)
            .label_style(("sans-serif", 15))
            .draw()
            .map_err(wrong)?;
        let points = self
            .answered
            .iter()
            .map(|a| (a.secs, a.found.reward.prefix));
        chart
            .draw_series(points.map(|at| Circle::new(at, 2, PREFIX.mix(0.25).filled())))
            .map_err(wrong)?;
        type Of = fn(&Figures) -> f64;
        let lines: [(&str, RGBColor, Of); 2] = [
            ("the right form", FORMAT, |f| {
                f.format.successes as f64 / f.format.trials.max(1) as f64
            }),
            (
                "matching tokens of the chunk, mean (dots: one answer)",
                PREFIX,
                |f| f.prefix,
            ),
        ];
        for (name, colour, of) in lines {
            let line = stretches
                .iter()
                .map(|(from, f)| (from + STRETCH / 2.0, of(f)));
            chart
                .draw_series(LineSeries::new(line, colour.stroke_width(3)).point_size(4))
                .map_err(wrong)?
                .label(name)
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3))
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::MiddleRight)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 15))
            .draw()
            .map_err(wrong)?;
        area.present().map_err(wrong)
    }
}

fn wrong(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{e}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_fast::Reward;

    fn answered(secs: f64, format: f64, prefix: f64, apart: Option<(f64, f64)>) -> Answered {
        Answered {
            file: 0,
            request_id: 1,
            secs,
            found: Agreement {
                reward: Reward { format, prefix },
                tokens: (20, 9),
                apart,
                took: Duration::from_millis(12),
            },
        }
    }

    #[test]
    fn figures_are_means_of_each_stretch_and_an_answer_without_form_counts_as_nothing() {
        let found = Found {
            answered: vec![
                answered(0.1, 1.0, 0.5, Some((0.01, 0.1))),
                answered(0.9, 0.0, 0.0, None),
                answered(2.5, 1.0, 1.0, Some((0.03, 0.0))),
            ],
            ..Found::default()
        };
        let stretches = found.stretches();
        assert_eq!(stretches.len(), 2, "the second second is empty");
        let (from, first) = &stretches[0];
        assert_eq!((*from, first.chunks, first.format.successes), (0.0, 2, 1));
        assert!((first.prefix - 0.25).abs() < 1e-12 && (first.reward - 0.375).abs() < 1e-12);
        assert_eq!(first.apart, Some((0.01, 0.1)), "of what spells a chunk");
        let all = Figures::of(found.answered.iter());
        assert_eq!((all.spelled.successes, all.spelled.trials), (2, 3));
        assert!((all.reward - 1.75 / 3.0).abs() < 1e-12);
    }
}
