//! `tactus sim`: the simulated device as a role, and what else the simulator is good for.

use std::process::ExitCode;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tactus_sim::record::{Outcome, RecordOptions, record, run_expert};
use tactus_sim::{Renderer, Scenario, StartPoses, World};

use crate::cell;
use crate::cli::{RoleArgs, SimArgs, SimVerb};
use crate::result;
use crate::roles::{self, Joined};
use crate::summary::wilson;

/// Share of clean episodes in which the expert must lift the named cube.
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
            };
            let report = record(&options, &mut |done, _| bar.set_position(done as u64))?;
            bar.finish_and_clear();
            result::line(serde_json::to_string_pretty(&report)?)?;
            Ok(ExitCode::SUCCESS)
        }
        (Some(SimVerb::Expert { episodes, seed }), _) => expert(*episodes, *seed),
        (Some(SimVerb::Portrait { out, seed }), _) => {
            let mut world = World::new()?;
            world.reset(&Scenario::sample(*seed, StartPoses::Narrow));
            let mut renderer = Renderer::for_portraits(1280, 720)?;
            renderer.show(&world.snapshot())?;
            let jpeg = renderer.jpeg("portrait")?;
            std::fs::write(out, jpeg).with_context(|| format!("picture {}", out.display()))?;
            Ok(ExitCode::SUCCESS)
        }
        (None, Some(role)) => device(role).map(|()| ExitCode::SUCCESS),
        (None, None) => {
            anyhow::bail!("give --cell FILE to run the device, or a verb; see `tactus sim --help`")
        }
    }
}

fn bar(episodes: u64) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} episodes, {eta} left")?;
    Ok(ProgressBar::new(episodes).with_style(style))
}

/// Clean episodes of the expert; exit code 3 when it falls short of [`EXPERT_RATE`].
fn expert(episodes: u64, seed: u64) -> anyhow::Result<ExitCode> {
    let mut world = World::new()?;
    let bar = bar(episodes)?;
    let mut periods = Vec::new();
    for k in 0..episodes {
        let scenario = Scenario::sample(seed.wrapping_add(k), StartPoses::Narrow);
        let outcome = run_expert(&mut world, &scenario, |goal| *goal, |_, _| Ok(()))?;
        if let Outcome::Lifted { periods: p } = outcome {
            periods.push(p);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    periods.sort_unstable();
    let successes = periods.len() as u64;
    let (low, high) = wilson(successes, episodes);
    result::line(format_args!(
        "expert: {successes} of {episodes} ({:.0} to {:.0} %), median {} policy periods of 50 ms",
        100.0 * low,
        100.0 * high,
        periods.get(periods.len() / 2).copied().unwrap_or(0)
    ))?;
    let enough = successes as f64 >= EXPERT_RATE * episodes as f64;
    Ok(if enough {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// The simulated device.
fn device(args: &RoleArgs) -> anyhow::Result<()> {
    let cell = cell::load(&args.cell)?;
    let Joined {
        session,
        clock,
        stop,
    } = roles::join(args, &format!("device/{}", cell.device))?;
    let options = tactus_sim::SimOptions {
        cell: cell.wire.clone(),
        device: cell.device.clone(),
        seed: cell.sim_seed.unwrap_or(0),
    };
    tactus_sim::run_sim(&options, &session, clock.as_ref(), &stop)?;
    Ok(())
}
