//! `tactus drill takeover`: a human takes over at random moments of an episode and hands back, in lock-step.
//!
//! Decides when, from how far away and by which reference, by seed; one in four finds a policy that has stalled. Judges
//! that the policy is silent from the tick after the trigger on, that nothing of it is applied later, that every command
//! is inside the limits and labelled with who asked for it, and that the policy goes on after the hand-back.

use std::time::Duration;

use anyhow::Context;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use indicatif::ProgressBar;
use serde::Serialize;
use tactus_control::{Order, Resume};
use tactus_host::{Act, Injection, Invariants, Lockstep, LockstepSpec, Random, Tamper};
use tactus_types::{FaultKind, HoldReason, Mode, Reference, Source, Time};

use super::instruction;
use super::recorded::Recorded;
use super::trial::Playback;
use super::watch::Running;
use crate::lockstep::SimPlant;

/// Episodes whose chunks are recorded and used in turn.
pub const EPISODES: u64 = 12;
/// How long a cell is given for the policy to go on.
const BACK_WITHIN: Duration = Duration::from_millis(1500);
/// How long a human is given to meet the arm.
const MEET_WITHIN: Duration = Duration::from_secs(4);

/// One takeover.
#[derive(Debug, Clone, Serialize)]
pub struct Takeover {
    /// Seed of the world, of the moment and of the distance.
    pub seed: u64,
    /// `leader`, `slide` or `clutch`.
    pub reference: &'static str,
    /// The policy had stalled.
    pub stalled: bool,
    /// From the start of the episode, ms.
    pub at_ms: f64,
    /// How far the leader was from the arm, rad.
    pub apart_rad: f64,
    /// From the trigger to the last command of the policy, control periods.
    pub silent_after_periods: f64,
    /// Commands of the policy from then to the hand-back.
    pub late_policy_commands: u64,
    /// From the trigger to the first command of the human, ms.
    pub drives_after_ms: Option<f64>,
    /// From the hand-back to the first command of the policy, ms.
    pub back_after_ms: Option<f64>,
    /// Largest change of a joint's command in one tick, mrad.
    pub largest_step_mrad: f64,
    /// Largest jerk of the commands, rad/s^3.
    pub peak_jerk: f64,
    /// What fell short; empty when nothing did.
    pub short: Vec<String>,
}

fn secs(secs: f64) -> Duration {
    Duration::from_nanos((secs * 1e9) as u64)
}

fn millis(of: Duration) -> f64 {
    of.as_secs_f64() * 1e3
}

/// Lets a human take over `count` times.
///
/// # Errors
/// When the simulated cell itself fails.
pub fn takeovers(
    spec: &LockstepSpec,
    playback: &Playback,
    seed: u64,
    count: u64,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<Takeover>> {
    let mut plant = SimPlant::new(seed, false, playback.cameras.clone())?.unseen();
    let mut all = Vec::new();
    for k in 0..count {
        let done;
        (plant, done) = one(spec, playback, seed, k, plant)?;
        all.push(done);
        bar.inc(1);
    }
    Ok(all)
}

fn one(
    spec: &LockstepSpec,
    playback: &Playback,
    first_seed: u64,
    k: u64,
    mut plant: SimPlant,
) -> anyhow::Result<(SimPlant, Takeover)> {
    let world = first_seed.wrapping_add(k % EPISODES);
    let mut random = Random(first_seed.wrapping_add(k));
    let reference = Reference::ALL[(k % 3) as usize];
    let stalled = k % 4 == 3;
    let at = secs(0.3 + 2.5 * random.share());
    let reach = if reference == Reference::Leader {
        0.08
    } else {
        0.6
    };
    let apart = reach * (2.0 * random.share() - 1.0);
    let drives = secs(0.3 + 1.2 * random.share());

    plant.reset(world);
    let mut spec = spec.clone();
    spec.arm.resume = Resume::Operator;
    let info = tactus_sim::arm_info();
    let laws = Invariants::new(info.clone(), spec.arm.period_secs);
    let chunks = playback.episodes.get((k % EPISODES) as usize);
    let policy = Recorded {
        chunks: chunks.context("an episode")?.clone(),
        cameras: playback.cameras.clone(),
        bundle_id: playback.bundle_id.clone(),
    };
    let mut running = Running::new(Lockstep::new(spec, plant, Box::new(policy)), laws);
    let begin = running.lockstep.now() + secs(0.03) + at;
    let stall = stalled.then(|| Injection {
        act: Act::EngineKill,
        camera: None,
        from: begin.before(secs(0.25)),
        until: begin + secs(0.25),
    });
    running.lockstep.tamper = Some(Tamper::new(stall.into_iter().collect(), info, world));
    running.until(running.lockstep.now() + secs(0.02))?;
    running.order(&Order::Enable)?;
    running.tick()?;
    running.order(&Order::Start {
        instruction: instruction(world).as_str().into(),
        seed: world,
    })?;
    running.until(begin)?;

    let trigger = running.lockstep.now();
    running.heard.clear();
    running.take_over(reference, apart)?;
    let until = running.lockstep.now() + MEET_WITHIN;
    while *running.mode() != Mode::Teleop && running.lockstep.now() < until {
        running.tick()?;
    }
    running.until(running.lockstep.now() + drives)?;
    let human = std::mem::take(&mut running.heard);
    let handed = running.lockstep.now();
    let generation = running.lockstep.cycle.generation();
    running.order(&Order::HandBack)?;
    running.until(handed + BACK_WITHIN)?;
    let back = std::mem::take(&mut running.heard);

    let period = running.lockstep.period();
    let by_policy = |(_, source, _): &&(Time, Source, _)| *source == Source::Policy;
    let last = human.iter().filter(by_policy).map(|(at, ..)| *at).max();
    // The tick at the trigger is the first that may not be the policy's.
    let silent_after = last.map_or(0.0, |at| millis(at.since(trigger)) / millis(period) + 1.0);
    let late = human.iter().filter(by_policy).count() as u64;
    let drove = human
        .iter()
        .find(|(_, source, _)| *source == Source::Teleop);
    let returned = back.iter().find(|(_, source, _)| *source == Source::Policy);
    let mut short = std::mem::take(&mut running.short);
    if silent_after > 1.0 || late > 1 {
        short.push(format!("{late} commands of the policy after the takeover"));
    }
    if drove.is_none() {
        short.push("the human never commanded".into());
    }
    match returned {
        None => short.push("the policy did not go on".into()),
        Some((.., of)) if *of <= generation.count => {
            short.push("a chunk from before the hand-back was applied".into());
        }
        Some(_) => {}
    }
    // What was recorded wants the arm where it was: a human may have taken it further away than the limits let it leap.
    if let (Some(_), Mode::Hold(HoldReason(fault))) = (returned, running.mode())
        && !matches!(fault.kind(), FaultKind::LimitStorm | FaultKind::Tracking)
    {
        short.push(format!("the policy did not keep the arm: {fault}"));
    }
    let takeover = Takeover {
        seed: first_seed.wrapping_add(k),
        reference: reference.word(),
        stalled,
        at_ms: millis(at),
        apart_rad: apart,
        silent_after_periods: silent_after,
        late_policy_commands: late,
        drives_after_ms: drove.map(|(at, ..)| millis(at.since(trigger))),
        back_after_ms: returned.map(|(at, ..)| millis(at.since(handed))),
        largest_step_mrad: running.invariants.largest_step * 1e3,
        peak_jerk: running.invariants.peak_jerk,
        short,
    };
    let (plant, _) = running.lockstep.into_parts();
    Ok((plant, takeover))
}

/// Median and largest, as text.
fn spread(mut of: Vec<f64>) -> String {
    of.sort_by(f64::total_cmp);
    match (of.get(of.len() / 2), of.last()) {
        (Some(median), Some(most)) => format!("{median:.0}, {most:.0}"),
        _ => "-".into(),
    }
}

/// A row per reference, with and without a policy that had stalled.
pub fn table(all: &[Takeover]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header([
        "reference",
        "policy",
        "takeovers",
        "silent after, periods",
        "human commands after, ms (median, most)",
        "policy back after, ms (median, most)",
        "largest step, mrad",
        "peak jerk, rad/s^3",
        "passed",
    ]);
    let most = |of: &mut dyn Iterator<Item = f64>| of.fold(0.0, f64::max);
    for (reference, stalled) in Reference::ALL
        .iter()
        .flat_map(|reference| [(reference.word(), false), (reference.word(), true)])
    {
        let of: Vec<&Takeover> = all
            .iter()
            .filter(|t| t.reference == reference && t.stalled == stalled)
            .collect();
        if of.is_empty() {
            continue;
        }
        table.add_row([
            reference.to_owned(),
            if stalled { "stalled" } else { "runs" }.to_owned(),
            of.len().to_string(),
            format!(
                "{:.0}",
                most(&mut of.iter().map(|t| t.silent_after_periods))
            ),
            spread(of.iter().filter_map(|t| t.drives_after_ms).collect()),
            spread(of.iter().filter_map(|t| t.back_after_ms).collect()),
            format!("{:.2}", most(&mut of.iter().map(|t| t.largest_step_mrad))),
            format!("{:.0}", most(&mut of.iter().map(|t| t.peak_jerk))),
            format!("{}", of.iter().filter(|t| t.short.is_empty()).count()),
        ]);
    }
    table
}
