//! `tactus drill soak`: a long time in lock-step with random faults, one upon the other, and an operator who goes on.
//!
//! Decides which fault comes when and what the operator says, by the seed alone. Judges no single hold (faults overlap):
//! the laws that hold for every command must hold throughout, the arm must really move, and memory must stay flat.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::ProgressBar;
use serde::Serialize;
use tactus_control::{Order, Pose, Resume};
use tactus_host::{Act, Injection, Invariants, Lockstep, LockstepSpec, Plant as _, Random, Tamper};
use tactus_types::{ArmInfo, HoldReason, JointVec, Mode, Reference, Source, Time};

use super::catalogue::CATALOGUE;
use super::recorded::Recorded;
use super::trial::Playback;
use super::watch::Running;
use crate::lockstep::SimPlant;

/// Mean time from one fault to the next.
const BETWEEN_FAULTS: f64 = 1.2;
/// Longest that a fault acts, seconds.
const LONGEST: f64 = 1.5;
/// Mean time from one order of the operator to the next, seconds.
const BETWEEN_ORDERS: f64 = 0.4;
/// A new world comes this often.
const NEW_WORLD: Duration = Duration::from_secs(60);
/// Memory may have grown by this much since a tenth of the time had passed, bytes: an allocator's noise.
const GROWTH: u64 = 4 << 20;
/// The policy must have moved the arm in this share of the time, or little was tested.
const LEAST_MOVING: f64 = 0.1;

/// What a soak found.
#[derive(Debug, Serialize)]
pub struct Soaked {
    /// Its seed.
    pub seed: u64,
    /// Simulated time, seconds.
    pub simulated_s: f64,
    /// How long that took, seconds.
    pub wall_s: f64,
    /// Commands that were looked at.
    pub ticks: u64,
    /// Of these, commanded by a policy, by a motion to a pose.
    pub policy_share: f64,
    /// Of these, commanded by a motion to a pose.
    pub goto_share: f64,
    /// Share of the commands that came from a human, or went to meet them.
    pub teleop_share: f64,
    /// Faults that acted.
    pub faults: BTreeMap<&'static str, u64>,
    /// Holds, by reason.
    pub holds: BTreeMap<&'static str, u64>,
    /// Orders that were obeyed.
    pub orders: u64,
    /// Orders that were refused.
    pub orders_refused: u64,
    /// Laws broken.
    pub violations: u64,
    /// Largest change of a joint's command in one tick, mrad.
    pub largest_step_mrad: f64,
    /// Largest jerk of the commands, rad/s^3.
    pub peak_jerk: f64,
    /// Memory when a tenth of the time had passed, and the most after that, MiB.
    pub memory_mib: [f64; 2],
    /// What fell short.
    pub short: Vec<String>,
}

/// Exponentially distributed around `mean` seconds, at most ten times as long.
fn after(random: &mut Random, mean: f64) -> Duration {
    secs(-mean * (1.0 - random.share()).ln().max(-10.0))
}

fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> Option<&'a T> {
    from.get((random.share() * from.len() as f64) as usize)
}

/// `secs`, which is finite and not negative.
fn secs(secs: f64) -> Duration {
    Duration::from_nanos((secs * 1e9) as u64)
}

/// A fault from the catalogue with a strength of its own.
fn fault(
    random: &mut Random,
    cameras: &[std::sync::Arc<str>],
    now: Time,
) -> Option<(&'static str, Injection)> {
    let entry = pick(random, CATALOGUE)?;
    let strength = random.share();
    let act = match entry.act {
        Act::LinkDelay(..) => Act::LinkDelay(secs(0.15 * strength), secs(0.1 * strength)),
        Act::ChunkDelay(_) => Act::ChunkDelay(secs(0.8 * strength)),
        Act::CameraDelay(_) => Act::CameraDelay(secs(0.3 * strength)),
        Act::CameraClock(_) => Act::CameraClock(secs(2.0 * strength)),
        Act::StateDelay(_) => Act::StateDelay(secs(0.06 * strength)),
        Act::StateClock(_) => Act::StateClock(secs(2.0 * strength)),
        Act::OperatorOld(_) => Act::OperatorOld(secs(0.3 * strength)),
        act => act,
    };
    let one = random.share() < 0.5;
    let injection = Injection {
        act,
        camera: one.then(|| pick(random, cameras).cloned()).flatten(),
        from: now,
        until: now + secs(0.02 + (LONGEST - 0.02) * random.share()),
    };
    Some((entry.name, injection))
}

/// What someone does who wants to get on with it, and sometimes something else.
fn order(mode: &Mode, random: &mut Random, arm: &JointVec, info: &ArmInfo) -> Option<Order> {
    let chance = random.share();
    match mode {
        Mode::Boot => Some(Order::Enable),
        Mode::Ready | Mode::Policy | Mode::Hold(_) if chance > 0.93 => {
            let which = (random.share() * Reference::ALL.len() as f64) as usize;
            let reference = *Reference::ALL.get(which)?;
            Some(Order::TakeOver { reference })
        }
        Mode::Align | Mode::Teleop if chance < 0.15 => Some(Order::HandBack),
        Mode::Align | Mode::Teleop if chance < 0.2 => Some(Order::EndEpisode),
        Mode::Ready if chance < 0.25 => {
            let mut joint = |i: usize| arm[i] + 0.6 * (random.share() - 0.5);
            let q = info.clamp(&JointVec::from_fn(arm.len(), &mut joint));
            let opening = (random.share() < 0.3).then(|| random.share());
            Some(Order::Goto {
                pose: Pose { q, opening },
                speed: 0.05 + 0.95 * random.share(),
            })
        }
        Mode::Ready => Some(Order::Start {
            instruction: "put the red cube in the bowl".into(),
            seed: (random.share() * 1e6) as u64,
        }),
        Mode::Hold(_) if chance < 0.4 => Some(Order::Enable),
        Mode::Hold(_) if chance < 0.5 => Some(Order::EndEpisode),
        Mode::Policy if chance < 0.02 => Some(Order::EndEpisode),
        Mode::Policy | Mode::Goto if chance < 0.04 => Some(Order::Hold),
        Mode::Hold(_) | Mode::Policy | Mode::Goto | Mode::Align | Mode::Teleop | Mode::Stopped => {
            None
        }
    }
}

/// Memory of this process that is in RAM, bytes.
fn memory() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kib.context("VmRSS in /proc/self/status")? << 10)
}

/// Soaks the cell of `spec` for `span` of simulated time.
///
/// # Errors
/// When the simulated cell itself fails.
pub fn soak(
    spec: &LockstepSpec,
    playback: &Playback,
    seed: u64,
    span: Duration,
    bar: &ProgressBar,
) -> anyhow::Result<Soaked> {
    let info = tactus_sim::arm_info();
    let mut spec = spec.clone();
    spec.arm.resume = Resume::Auto;
    let laws = Invariants::new(info.clone(), spec.arm.period_secs);
    let plant = SimPlant::new(seed, false, playback.cameras.clone())?.unseen();
    let policy = Recorded {
        chunks: playback.episodes.first().context("an episode")?.clone(),
        cameras: playback.cameras.clone(),
        bundle_id: playback.bundle_id.clone(),
    };
    let mut running = Running::new(Lockstep::new(spec, plant, Box::new(policy)), laws);
    running.lockstep.tamper = Some(Tamper::new(Vec::new(), info.clone(), seed));
    let mut random = Random(seed);
    let mut found = Soaked {
        seed,
        simulated_s: span.as_secs_f64(),
        wall_s: 0.0,
        ticks: 0,
        policy_share: 0.0,
        goto_share: 0.0,
        teleop_share: 0.0,
        faults: BTreeMap::new(),
        holds: BTreeMap::new(),
        orders: 0,
        orders_refused: 0,
        violations: 0,
        largest_step_mrad: 0.0,
        peak_jerk: 0.0,
        memory_mib: [0.0; 2],
        short: Vec::new(),
    };
    let (begun, start) = (Instant::now(), running.lockstep.now());
    let (mut next_fault, mut next_order) = (start + secs(1.0), start + secs(0.1));
    let (mut next_world, mut next_look) = (start + NEW_WORLD, start + span / 10);
    let (mut by_policy, mut by_goto, mut by_teleop) = (0u64, 0u64, 0u64);
    let mut memory_then = None;
    let mut memory_most = 0;
    while running.lockstep.now() < start + span {
        let now = running.lockstep.now();
        if now >= next_fault {
            next_fault = now + after(&mut random, BETWEEN_FAULTS);
            if let Some((name, injection)) = fault(&mut random, &playback.cameras, now) {
                *found.faults.entry(name).or_default() += 1;
                running.orders.push((now, injection.act));
                if let Some(tamper) = &mut running.lockstep.tamper {
                    tamper.inject(injection, now);
                }
            }
        }
        if now >= next_order {
            next_order = now + after(&mut random, BETWEEN_ORDERS);
            let arm = running.lockstep.plant.state(now).q;
            if let Some(order) = order(running.mode(), &mut random, &arm, &info) {
                let apart = 1.2 * (random.share() - 0.5);
                let given = match order {
                    Order::TakeOver { reference } => running.take_over(reference, apart),
                    order => running.order(&order),
                };
                match given {
                    Ok(()) => found.orders += 1,
                    Err(_) => found.orders_refused += 1,
                }
            }
        }
        if now >= next_world {
            next_world = next_world + NEW_WORLD;
            running.lockstep.plant.reset((random.share() * 1e9) as u64);
        }
        let (output, _) = running.tick()?;
        running.heard.clear();
        found.ticks += 1;
        let source = output.command.as_ref().map(|c| c.setpoint.source);
        by_policy += u64::from(source == Some(Source::Policy));
        by_goto += u64::from(source == Some(Source::Goto));
        by_teleop += u64::from(matches!(source, Some(Source::Teleop | Source::Align)));
        if output.mode_changed
            && let Mode::Hold(HoldReason(reason)) = running.mode()
        {
            *found.holds.entry(reason.kind().name()).or_default() += 1;
        }
        if now >= next_look {
            next_look = next_look + span / 50;
            let memory = memory()?;
            memory_then.get_or_insert(memory);
            memory_most = memory_most.max(memory);
            bar.set_position(now.since(start).as_secs());
        }
    }
    let then = memory_then.unwrap_or(memory_most);
    if memory_most > then + GROWTH {
        let grown = (memory_most - then) >> 10;
        running.say(format!("memory grew by {grown} KiB"));
    }
    found.policy_share = by_policy as f64 / found.ticks.max(1) as f64;
    found.goto_share = by_goto as f64 / found.ticks.max(1) as f64;
    found.teleop_share = by_teleop as f64 / found.ticks.max(1) as f64;
    if found.policy_share < LEAST_MOVING {
        let share = 100.0 * found.policy_share;
        running.say(format!(
            "the policy moved the arm in {share:.1} % of the time only"
        ));
    }
    found.wall_s = begun.elapsed().as_secs_f64();
    found.violations = running.violations;
    found.largest_step_mrad = running.invariants.largest_step * 1e3;
    found.peak_jerk = running.invariants.peak_jerk;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    found.memory_mib = [mib(then), mib(memory_most)];
    found.short = running.short;
    Ok(found)
}

impl std::fmt::Display for Soaked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sum = |of: &BTreeMap<&str, u64>| of.values().sum::<u64>();
        let words = |of: &BTreeMap<&str, u64>| {
            let each = of.iter().map(|(name, n)| format!("{name} {n}"));
            each.collect::<Vec<_>>().join(", ")
        };
        writeln!(
            f,
            "{:.0} s simulated in {:.0} s, seed {}: {} commands, {:.0} % by the policy, {:.0} % to poses, {:.0} % by a human",
            self.simulated_s,
            self.wall_s,
            self.seed,
            self.ticks,
            100.0 * self.policy_share,
            100.0 * self.goto_share,
            100.0 * self.teleop_share,
        )?;
        writeln!(f, "{} faults: {}", sum(&self.faults), words(&self.faults))?;
        writeln!(f, "{} holds: {}", sum(&self.holds), words(&self.holds))?;
        writeln!(
            f,
            "{} orders obeyed, {} refused",
            self.orders, self.orders_refused
        )?;
        writeln!(
            f,
            "largest step {:.2} mrad, peak jerk {:.0} rad/s^3, memory {:.1} MiB, at most {:.1} after",
            self.largest_step_mrad, self.peak_jerk, self.memory_mib[0], self.memory_mib[1],
        )?;
        write!(f, "{} laws broken", self.violations)?;
        self.short
            .iter()
            .try_for_each(|short| write!(f, "\n  {short}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_gets_an_arm_going_again_whatever_it_was_doing() {
        let info = tactus_sim::arm_info();
        let arm = JointVec::zeros(6);
        let mut random = Random(1);
        let mut said = |mode: &Mode| -> Vec<Order> {
            let each = (0..200).filter_map(|_| order(mode, &mut random, &arm, &info));
            each.collect()
        };
        assert!(said(&Mode::Boot).iter().all(|o| *o == Order::Enable));
        let ready = said(&Mode::Ready);
        let starts = ready.iter().filter(|o| matches!(o, Order::Start { .. }));
        assert!((100..200).contains(&starts.count()));
        assert!(ready.iter().any(|o| matches!(o, Order::Goto { .. })));
        let hold = Mode::Hold(HoldReason(tactus_types::Fault::EngineDead));
        assert!(said(&hold).contains(&Order::Enable));
        assert!(said(&Mode::Stopped).is_empty());
    }

    #[test]
    fn times_between_faults_have_the_mean_that_they_are_said_to_have() {
        let mut random = Random(3);
        let sum: f64 = (0..10_000)
            .map(|_| after(&mut random, 1.2).as_secs_f64())
            .sum();
        assert!((sum / 10_000.0 - 1.2).abs() < 0.05, "{}", sum / 10_000.0);
    }
}
