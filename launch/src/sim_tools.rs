//! `tactus sim`: the simulated device as a role, and what else the simulator is good for.

use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tactus_eval::{Interval, Tally};
use tactus_sim::record::{Outcome, RecordOptions, record, run_expert};
use tactus_sim::{Renderer, Scenario, StartPoses, TaskKind, World};

use crate::cell;
use crate::cli::{RoleArgs, SimArgs, SimVerb};
use crate::{device, result, roles};

/// Share of clean episodes in which the expert must do what it is told.
const EXPERT_RATE: f64 = 0.95;

/// Dispatches; without a verb the device role runs.
pub fn sim(args: &SimArgs) -> anyhow::Result<ExitCode> {
    match (&args.verb, &args.role) {
        (
            Some(SimVerb::Record {
                episodes,
                seed,
                out,
                workers,
                task,
                variation,
            }),
            _,
        ) => {
            let bar = bar(*episodes)?;
            let options = RecordOptions {
                directory: out.clone(),
                episodes: usize::try_from(*episodes)?,
                first_seed: *seed,
                workers: *workers,
                starts: StartPoses::Wide,
                disturb: true,
                tasks: task.kinds().to_vec(),
                variation: *variation,
            };
            let report = record(&options, &mut |done, _| bar.set_position(done as u64))?;
            bar.finish_and_clear();
            result::line(serde_json::to_string_pretty(&report)?)?;
            Ok(ExitCode::SUCCESS)
        }
        (
            Some(SimVerb::Expert {
                episodes,
                seed,
                task,
                variation,
            }),
            _,
        ) => {
            let mut enough = true;
            for kind in task.kinds() {
                enough &= expert(*kind, *episodes, *seed, *variation)?;
            }
            Ok(if enough {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(3)
            })
        }
        (
            Some(SimVerb::Portrait {
                out,
                seed,
                variation,
                camera,
            }),
            _,
        ) => {
            let mut world = World::new()?;
            world.reset(&Scenario::sample(*seed, StartPoses::Narrow).looking(*variation));
            let mut renderer = match camera {
                Some(_) => Renderer::new()?,
                None => Renderer::for_portraits(1280, 720)?,
            };
            renderer.show(&world.snapshot())?;
            let jpeg = renderer.jpeg(camera.as_deref().unwrap_or("portrait"))?;
            std::fs::write(out, jpeg).with_context(|| format!("picture {}", out.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(role)) => serve(role).map(|()| ExitCode::SUCCESS),
        (None, None) => {
            anyhow::bail!("give --cell FILE to run the device, or a verb; see `tactus sim --help`")
        }
    }
}

fn bar(episodes: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {eta} left")?;
    Ok(ProgressBar::new(episodes).with_style(style))
}

/// Clean episodes of the expert; whether it reached [`EXPERT_RATE`].
fn expert(kind: TaskKind, episodes: u64, seed: u64, variation: bool) -> anyhow::Result<bool> {
    let mut world = World::new()?;
    let bar = bar(episodes)?;
    let mut periods = Vec::new();
    for k in 0..episodes {
        let scenario =
            Scenario::sample(seed.wrapping_add(k), StartPoses::Narrow).looking(variation);
        let outcome = run_expert(&mut world, &scenario, kind, |goal| *goal, |_, _| Ok(()))?;
        if let Outcome::Done { periods: p } = outcome {
            periods.push(p);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    periods.sort_unstable();
    let successes = periods.len() as u64;
    let Interval { low, high } = Tally {
        successes,
        trials: episodes,
    }
    .wilson(0.95);
    result::line(format_args!(
        "expert, {}: {successes} of {episodes} ({:.0} to {:.0} %), median {} policy periods of 50 ms",
        kind.name(),
        100.0 * low,
        100.0 * high,
        periods.get(periods.len() / 2).copied().unwrap_or(0)
    ))?;
    Ok(successes as f64 >= EXPERT_RATE * episodes as f64)
}

/// The simulated device.
fn serve(args: &RoleArgs) -> anyhow::Result<()> {
    let cell = cell::load_arm(&args.cell)?;
    let joined = roles::join(args, &format!("device/{}", cell.device))?;
    let options = tactus_sim::SimOptions {
        cell: cell.wire.clone(),
        device: cell.device.clone(),
        seed: cell.sim.map_or(0, |sim| sim.seed),
        variation: cell.sim.is_some_and(|sim| sim.variation),
        brakes: cell.sim.is_none_or(|sim| sim.brakes),
        board: cell.sim.and_then(|sim| sim.board),
        shown: cell.pair.as_ref().is_none_or(|pair| pair.is_first),
    };
    device::hurry(&cell);
    device::leave_last(args, &cell, &joined, |end| {
        tactus_sim::run_sim(&options, &joined.session, joined.clock.as_ref(), end)?;
        Ok(())
    })
}
