//! What followed from a fault, by what was heard of the cell: when it held and why, how smoothly, and what fell short.
//!
//! Pure functions of a [`Trace`]. A bound is the ladder's and is not widened for a busy machine: by how much the control
//! thread was late in that stretch is measured and stands beside it.

use std::time::Duration;

use tactus_control::{LadderSpec, rule};
use tactus_host::Invariants;
use tactus_types::{
    Applied, ArmInfo, Fault, FaultKind, HoldReason, JointState, Mode, Source, Time,
};
use tactus_wire::{ModeReport, ModeWord};

use super::observe::Trace;

/// A command that is seeded again lies this near to where the arm is, rad.
const SEEDED_RAD: f64 = 0.05;
/// An arm below this speed rests, rad/s.
const REST_RAD_PER_SEC: f64 = 0.06;
/// A joint that keeps its goal rests this long after the goal stopped moving: it was behind it.
const SETTLE: Duration = Duration::from_millis(150);
/// A command of an arm that holds may creep this far while it comes to rest, rad.
const STILL_RAD: f64 = 1e-6;
/// Most sentences about what fell short.
const MOST_SHORT: usize = 4;

/// What cannot be told from a trace.
pub struct About<'a> {
    /// The arm.
    pub info: &'a ArmInfo,
    /// Control period, seconds.
    pub period_secs: f64,
    /// Largest lead of a command over the measured arm, rad.
    pub max_lead: f64,
}

/// The first hold after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstHold {
    /// Its reason.
    pub kind: FaultKind,
    /// Its first command.
    pub at: Time,
}

/// How the commands were.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Quality {
    /// Largest change of a joint's command in one tick, rad.
    pub largest_step: f64,
    /// Largest distance of a command from the arm, rad.
    pub largest_lead: f64,
    /// Largest jerk, rad/s^3.
    pub peak_jerk: f64,
    /// Ticks whose command was not heard.
    pub unheard: u64,
}

/// The report that was in force at `at`.
fn mode_at(modes: &[ModeReport], at: Time) -> Option<&ModeReport> {
    modes.iter().rev().find(|report| report.since <= at)
}

fn mode_of(report: &ModeReport) -> Mode {
    match report.mode {
        ModeWord::Boot => Mode::Boot,
        ModeWord::Ready => Mode::Ready,
        ModeWord::Policy => Mode::Policy,
        ModeWord::Goto => Mode::Goto,
        ModeWord::Align => Mode::Align,
        ModeWord::Teleop => Mode::Teleop,
        // Only that it is a hold matters.
        ModeWord::Hold => Mode::Hold(HoldReason(Fault::Held)),
        ModeWord::Stopped => Mode::Stopped,
    }
}

/// Where the arm was at `at`.
fn measured(states: &[JointState], at: Time) -> Option<&JointState> {
    let after = states.partition_point(|s| s.captured_at <= at);
    states.get(after.checked_sub(1)?)
}

/// Follows every command against the laws that hold whatever happens.
pub fn commands(trace: &Trace, about: &About<'_>, short: &mut Vec<String>) -> Quality {
    let mut invariants = Invariants::new(about.info.clone(), about.period_secs);
    let mut quality = Quality::default();
    let mut say = |said: String| {
        if short.len() < MOST_SHORT {
            short.push(said);
        }
    };
    let mut last: Option<(&Applied, f64)> = None;
    for applied in &trace.applied {
        let command = &applied.command;
        let state = measured(&trace.states, applied.at);
        let lead = state
            .filter(|s| s.epoch == command.epoch)
            .map_or(0.0, |s| command.q.zip(&s.q, |c, m| c - m).max_abs());
        quality.largest_lead = quality.largest_lead.max(lead);
        let Some(report) = mode_at(&trace.modes, applied.at) else {
            continue;
        };
        if let Some((before, before_lead)) = last {
            let host = before.command.generation.boot == command.generation.boot;
            let heard = host && before.command.tick + 1 == command.tick;
            if host && !heard {
                quality.unheard += command.tick.saturating_sub(before.command.tick + 1);
            }
            // Seeded again from the measured arm: another host or device, or a command that had lost the arm.
            let holds = command.setpoint.source == Source::Hold;
            let lost = holds && before_lead > about.max_lead && lead < SEEDED_RAD;
            if !heard || lost || before.command.epoch != command.epoch {
                invariants.reseeded();
            }
        }
        if let Err(violation) = invariants.check(command, &mode_of(report)) {
            say(violation.to_string());
        }
        last = Some((applied, lead));
    }
    quality.largest_step = invariants.largest_step;
    quality.peak_jerk = invariants.peak_jerk;
    quality
}

/// The first hold that began after `since`, and its first command.
pub fn first_hold(trace: &Trace, since: Time) -> Option<FirstHold> {
    let report = trace.modes.iter().find(|report| {
        report.mode == ModeWord::Hold && report.since > since && report.fault.is_some()
    })?;
    let command = trace
        .applied
        .iter()
        .find(|a| a.at >= report.since && a.command.setpoint.source == Source::Hold);
    Some(FirstHold {
        kind: report.fault?,
        at: command.map_or(report.since, |a| a.at),
    })
}

/// Since when, up to `until`, commands of a motion were further than `limit` rad from the arm without a break.
pub fn leading_since(trace: &Trace, until: Time, limit: f64) -> Option<Time> {
    let mut since = None;
    for applied in trace.applied.iter().filter(|a| a.at < until) {
        let command = &applied.command;
        if command.setpoint.source == Source::Hold {
            continue;
        }
        let state = measured(&trace.states, applied.at);
        let lead = state.map_or(0.0, |s| command.q.zip(&s.q, |c, m| c - m).max_abs());
        since = if lead > limit {
            since.or(Some(applied.at))
        } else {
            None
        };
    }
    since
}

/// By how much the control thread was late at most from `from` to `to`: the longest time between two ticks, less the
/// period.
pub fn noise(applied: &[Applied], from: Time, to: Time, period_secs: f64) -> Duration {
    let pairs = applied.iter().zip(applied.iter().skip(1));
    pairs
        .filter(|(before, after)| after.at > from && before.at < to)
        .filter(|(before, after)| after.command.tick > before.command.tick)
        .map(|(before, after)| {
            let ticks = after.command.tick - before.command.tick;
            let planned = Duration::try_from_secs_f64(ticks as f64 * period_secs);
            after
                .at
                .since(before.at)
                .saturating_sub(planned.unwrap_or_default())
        })
        .max()
        .unwrap_or_default()
}

/// For how long the device's states stayed away at most from `from` to `to`, where they were measured or on their way to us.
pub fn device_pause(trace: &Trace, from: Time, to: Time) -> Duration {
    let measured: Vec<Time> = trace.states.iter().map(|s| s.captured_at).collect();
    let longest = |instants: &[Time]| {
        let pairs = instants.iter().zip(instants.iter().skip(1));
        let within = pairs.filter(|(before, after)| **after > from && **before < to);
        within.map(|(before, after)| after.since(*before)).max()
    };
    let pauses = [longest(&measured), longest(&trace.states_at)];
    pauses.into_iter().flatten().max().unwrap_or_default()
}

/// By how much this process was late at most from `from` to `to`.
pub fn host_noise(naps: &[(Time, Duration)], from: Time, to: Time) -> Duration {
    let within = naps.iter().filter(|(at, _)| *at >= from && *at <= to);
    within.map(|(_, late)| *late).max().unwrap_or_default()
}

/// Whether a hold for `kind` came in time: `noise` is what the control thread was late by meanwhile.
pub fn in_time(
    after: Duration,
    kind: FaultKind,
    noise: Duration,
    ladder: &LadderSpec,
) -> Result<Duration, String> {
    let bound = rule(kind).hold_within(ladder);
    if after <= bound + noise {
        Ok(bound)
    } else {
        let name = kind.name();
        Err(format!(
            "hold ({name}) after {after:.1?}, bound {bound:?}, control thread late by {noise:.1?}"
        ))
    }
}

/// When the device's arm came to rest after `since`, and by when it has to: its goal stays where it is once nobody is in
/// command, and an arm that was behind it comes to rest there.
pub fn device_rests(
    states: &[JointState],
    since: Time,
    until: Time,
    info: &ArmInfo,
) -> (Option<Duration>, Duration) {
    let within = |s: &&JointState| s.captured_at > since && s.captured_at <= until;
    let moving = |s: &JointState| s.dq.max_abs() >= REST_RAD_PER_SEC;
    let last = states.iter().filter(within).rfind(|s| moving(s));
    let heard = states.iter().rfind(within);
    let deadline = Duration::try_from_secs_f64(info.command_deadline_secs).unwrap_or_default();
    let rested = match (last, heard) {
        (Some(last), Some(heard)) if last.seq == heard.seq => None,
        (Some(last), Some(_)) => Some(last.captured_at.since(since)),
        (None, Some(_)) => Some(Duration::ZERO),
        (_, None) => None,
    };
    (rested, deadline + SETTLE)
}

/// Judges an arm that was not to move, from `from` to `until`, in a mode that was not to change.
pub fn rests(trace: &Trace, from: Time, until: Time, before: &ModeReport, short: &mut Vec<String>) {
    let same_host = |r: &&ModeReport| r.generation.boot == before.generation.boot;
    let changed = trace
        .modes
        .iter()
        .filter(same_host)
        .find(|r| r.since > from && r.since <= until && r.mode != before.mode);
    if let Some(report) = changed {
        short.push(format!(
            "mode `{}` became `{}` {}",
            before.mode, report.mode, report.reason
        ));
    }
    let mut rest: Option<&Applied> = None;
    for applied in trace
        .applied
        .iter()
        .filter(|a| a.at > from && a.at <= until)
    {
        let host = |a: &Applied| (a.command.generation.boot, a.command.epoch);
        match rest {
            Some(first) if host(first) == host(applied) => {
                let moved = applied.command.q.zip(&first.command.q, |a, b| a - b);
                if moved.max_abs() > STILL_RAD {
                    short.push(format!("the arm moved {:.6} rad", moved.max_abs()));
                    return;
                }
            }
            _ => rest = Some(applied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_types::{ClampedBy, Command, Generation, JointVec, Setpoint, Torque};
    use tactus_wire::Counters;

    const PERIOD: f64 = 0.002;

    fn ladder() -> LadderSpec {
        let ms = Duration::from_millis;
        LadderSpec {
            period: ms(2),
            tail: ms(150),
            proprio_limit: ms(20),
            settle: ms(200),
            frame_limit: ms(150),
            answer_within: ms(250),
            link_limit: ms(150),
            track_rad: 0.15,
            track_limit: ms(100),
            storm_rad: 0.3,
            storm_limit: ms(200),
            operator_limit: ms(100),
        }
    }

    fn applied(tick: u64, at: u64, q: f64, source: Source) -> Applied {
        let joints = JointVec::from_fn(6, |_| q);
        let rest = JointVec::zeros(6);
        Applied {
            at: Time::from_millis(at),
            command: Command {
                tick,
                epoch: 1,
                q: joints,
                dq: rest,
                ddq: rest,
                opening: 0.5,
                setpoint: Setpoint {
                    source,
                    q: joints,
                    dq: rest,
                    ddq: rest,
                    opening: 0.5,
                    request_id: 1,
                    action_index: 0,
                    observed_at: None,
                },
                clamped_by: ClampedBy::default(),
                clamped_rad: 0.0,
                generation: Generation { boot: 1, count: 1 },
                torque: Torque::Keep,
            },
        }
    }

    fn report(mode: ModeWord, since: u64, fault: Option<FaultKind>) -> ModeReport {
        ModeReport {
            mode,
            reason: String::new(),
            fault,
            generation: Generation { boot: 1, count: 1 },
            since: Time::from_millis(since),
            instruction: String::new(),
            counters: Counters::default(),
            lease: None,
        }
    }

    /// A policy that is held from 200 ms on; the tick before that is 30 ms late.
    fn held() -> Trace {
        let at = |tick: u64| 2 * tick + if tick >= 85 { 30 } else { 0 };
        let source = |tick| {
            if tick < 85 {
                Source::Policy
            } else {
                Source::Hold
            }
        };
        Trace {
            applied: (0..150)
                .map(|t| applied(t, at(t), 0.2, source(t)))
                .collect(),
            modes: vec![
                report(ModeWord::Policy, 0, None),
                report(ModeWord::Hold, 200, Some(FaultKind::EngineDead)),
            ],
            ..Trace::default()
        }
    }

    fn judged(trace: &Trace, short: &mut Vec<String>) -> Quality {
        let info = tactus_sim::arm_info();
        let about = About {
            info: &info,
            period_secs: PERIOD,
            max_lead: 0.5,
        };
        commands(trace, &about, short)
    }

    #[test]
    fn the_first_hold_has_a_reason_an_instant_and_the_lateness_before_it() {
        let trace = held();
        let hold = first_hold(&trace, Time::from_millis(100)).expect("a hold");
        assert_eq!(hold.kind, FaultKind::EngineDead);
        assert_eq!(hold.at, Time::from_millis(200));
        let late = noise(&trace.applied, Time::from_millis(100), hold.at, PERIOD);
        assert_eq!(late, Duration::from_millis(30));
        assert_eq!(first_hold(&trace, Time::from_millis(200)), None);
    }

    #[test]
    fn a_hold_is_in_time_or_is_not_and_lateness_is_no_wider_bound_than_it_was() {
        let ms = Duration::from_millis;
        let judge = |after, noise| in_time(ms(after), FaultKind::EngineDead, ms(noise), &ladder());
        // 50 ms to notice, 150 ms of tail, a tick.
        assert_eq!(judge(202, 0), Ok(ms(202)));
        assert!(judge(203, 0).is_err());
        assert_eq!(judge(232, 30), Ok(ms(202)), "the bound itself stays");
        assert!(judge(233, 30).is_err());
    }

    #[test]
    fn a_command_of_a_policy_in_a_hold_falls_short() {
        let mut short = Vec::new();
        judged(&held(), &mut short);
        assert!(short.is_empty(), "{short:?}");
        let mut trace = held();
        trace.applied[120].command.setpoint.source = Source::Policy;
        judged(&trace, &mut short);
        assert!(
            short[0].contains("Policy moved the arm in mode `hold`"),
            "{short:?}"
        );
    }

    #[test]
    fn a_jump_falls_short_unless_the_command_had_lost_the_arm_and_is_seeded_from_it() {
        let mut trace = held();
        for applied in &mut trace.applied[100..] {
            applied.command.q = JointVec::from_fn(6, |_| 0.9);
        }
        let mut short = Vec::new();
        judged(&trace, &mut short);
        assert!(short[0].contains("velocity"), "{short:?}");
        // The arm stood 0.7 rad from the command all the while, and the hold goes to where it is.
        trace.states = (0..200)
            .map(|n| JointState {
                captured_at: Time::from_millis(2 * n),
                seq: n,
                epoch: 1,
                q: JointVec::from_fn(6, |_| 0.9),
                dq: JointVec::zeros(6),
                opening: 0.5,
                torque: true,
            })
            .collect();
        short.clear();
        let quality = judged(&trace, &mut short);
        assert!(short.is_empty(), "{short:?}");
        assert!((quality.largest_lead - 0.7).abs() < 1e-9);
    }

    #[test]
    fn the_lead_of_a_command_is_counted_from_where_it_grew_too_large_for_good() {
        let mut trace = held();
        trace.states = (0..200)
            .map(|n| JointState {
                captured_at: Time::from_millis(2 * n),
                seq: n,
                epoch: 1,
                q: JointVec::from_fn(6, |_| if !(20..40).contains(&n) { -0.1 } else { 0.2 }),
                dq: JointVec::zeros(6),
                opening: 0.5,
                torque: true,
            })
            .collect();
        let since = |limit| leading_since(&trace, Time::from_millis(200), limit);
        assert_eq!(since(0.15), Some(Time::from_millis(80)));
        assert_eq!(since(0.5), None);
    }

    #[test]
    fn a_device_that_was_not_run_is_seen_by_what_it_measured_or_by_what_came() {
        let at = Time::from_millis;
        let state = |millis: u64| JointState {
            captured_at: at(millis),
            seq: millis,
            epoch: 1,
            q: JointVec::zeros(6),
            dq: JointVec::zeros(6),
            opening: 0.5,
            torque: true,
        };
        let pause = |measured: &[u64], came: &[u64]| {
            let trace = Trace {
                states: measured.iter().map(|ms| state(*ms)).collect(),
                states_at: came.iter().map(|ms| at(*ms)).collect(),
                ..Trace::default()
            };
            device_pause(&trace, at(10), at(60))
        };
        let ms = Duration::from_millis;
        assert_eq!(pause(&[8, 10, 12, 14], &[9, 11, 13, 15]), ms(2));
        assert_eq!(pause(&[8, 10, 40, 42], &[9, 11, 41, 43]), ms(30));
        assert_eq!(pause(&[8, 10, 12, 14], &[9, 11, 41, 42]), ms(30));
        assert_eq!(pause(&[8, 10, 12, 14, 90, 120], &[9, 70, 90, 160]), ms(76));
    }

    #[test]
    fn commands_that_were_not_heard_are_counted_and_not_judged() {
        let mut trace = held();
        trace.applied.drain(100..110);
        for applied in &mut trace.applied[100..] {
            applied.command.q = JointVec::from_fn(6, |_| 0.21);
        }
        let mut short = Vec::new();
        assert_eq!(judged(&trace, &mut short).unheard, 10);
        assert!(short.is_empty(), "{short:?}");
    }

    #[test]
    fn an_arm_that_should_rest_and_moves_falls_short() {
        let trace = Trace {
            modes: vec![report(ModeWord::Ready, 0, None)],
            applied: (0..100)
                .map(|t| applied(t, 2 * t, if t < 50 { 0.2 } else { 0.2001 }, Source::Hold))
                .collect(),
            ..Trace::default()
        };
        let before = report(ModeWord::Ready, 0, None);
        let mut short = Vec::new();
        rests(
            &trace,
            Time::from_millis(1),
            Time::from_millis(90),
            &before,
            &mut short,
        );
        assert!(short.is_empty(), "{short:?}");
        rests(
            &trace,
            Time::from_millis(1),
            Time::from_millis(190),
            &before,
            &mut short,
        );
        assert!(short[0].contains("the arm moved"), "{short:?}");
    }

    #[test]
    fn a_device_rests_when_it_moves_no_more() {
        let info = tactus_sim::arm_info();
        let state = |n: u64, speed: f64| JointState {
            captured_at: Time::from_millis(2 * n),
            seq: n,
            epoch: 1,
            q: JointVec::zeros(6),
            dq: JointVec::from_fn(6, |_| speed),
            opening: 0.5,
            torque: true,
        };
        let slows: Vec<_> = (0..300)
            .map(|n| state(n, if n < 80 { 0.5 } else { 0.01 }))
            .collect();
        let at = Time::from_millis;
        let (rested, bound) = device_rests(&slows, at(100), at(600), &info);
        assert_eq!(rested, Some(Duration::from_millis(58)));
        assert_eq!(bound, Duration::from_millis(250));
        let moves: Vec<_> = (0..300).map(|n| state(n, 0.5)).collect();
        assert_eq!(device_rests(&moves, at(100), at(600), &info).0, None);
    }
}
