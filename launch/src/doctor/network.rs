//! What lies between the processes of a running cell: their versions, their clocks, and how long a word takes.
//!
//! Decides by questions that every role answers (`clock/<name>`). A role that does not, as a driver in another language need
//! not, is left out. What is a failure: another version, and a clock of another host whose process does not know cell time
//! well, since every role refuses its times.

use std::time::Duration;

use serde_json::{Value, json};
use tactus_types::{ClockId, Stamp, Time};
use tactus_wire::{Answered, Name, OffsetTracker, Session, Topic};

use super::{Finding, Report};
use crate::calibrate::clocks;
use crate::cell::Cell;
use crate::hello;

/// Questions to each process, and the pause between two.
const QUESTIONS: usize = 25;
const PAUSE: Duration = Duration::from_millis(4);
/// How long an answer may take.
const WITHIN: Duration = Duration::from_millis(300);
/// A process that has not answered so many questions does not.
const SILENT: usize = 2;
/// Half of all answers should be there by then; a transport stage of a few milliseconds is part of every budget.
const ROUND_TRIP: Duration = Duration::from_millis(5);
/// The program's own version.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// What lies between this machine and the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Nothing.
    Loopback,
    /// A network, and keys.
    Encrypted,
    /// A network.
    Plain,
}

/// What a process answered.
struct Process {
    name: Name,
    answers: Vec<Answered>,
    lost: usize,
}

/// Asks the processes of `cell`, and adds what it finds.
pub fn look(report: &mut Report, session: &Session, cell: &Cell, way: Way) -> anyhow::Result<()> {
    let names = clocks::names(cell)?;
    let asked = names.into_iter().map(|name| ask(session, cell, name));
    let heard: Vec<Process> = asked.filter(|p| !p.answers.is_empty()).collect();
    if heard.is_empty() {
        return Ok(());
    }
    report.add(versions(&heard))?;
    let clock = session.clock();
    report.add(clocks_of(clock.host_now(), clock.id(), &heard))?;
    report.add(trips(&heard, way).doubtful())?;
    let rows: Vec<Value> = heard.iter().map(row).collect();
    report.figures.insert("processes".into(), rows.into());
    Ok(())
}

fn ask(session: &Session, cell: &Cell, name: Name) -> Process {
    let key = cell.wire.key(&Topic::Clock(name.clone()));
    let mut process = Process {
        name,
        answers: vec![],
        lost: 0,
    };
    for _ in 0..QUESTIONS {
        match session.ping(&key, WITHIN) {
            Ok(answer) => process.answers.push(answer),
            Err(e) => {
                tracing::debug!("{}: {e}", process.name);
                process.lost += 1;
            }
        }
        if process.answers.is_empty() && process.lost >= SILENT {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    process
}

fn listed(of: &[&Process]) -> String {
    let names: Vec<&str> = of.iter().map(|p| p.name.as_str()).collect();
    names.join(", ")
}

fn versions(heard: &[Process]) -> Finding {
    let other: Vec<String> = heard
        .iter()
        .filter_map(|p| hello::skew(p.name.as_str(), p.answers.last()?))
        .collect();
    if other.is_empty() {
        let all: Vec<&Process> = heard.iter().collect();
        return Finding::pass("versions", format!("{OWN}: {}", listed(&all)));
    }
    let mend = "build again, and restart what still runs from before: one version everywhere";
    Finding::fail("versions", other.join("; "), mend).expecting(format!("{OWN}, as this program"))
}

/// How far the clock of `process` is ahead of this host's, as its answers say.
fn ahead(process: &Process, now: Time) -> String {
    let mut tracker = OffsetTracker::default();
    for answer in &process.answers {
        if let Err(e) = tracker.add(answer.exchange) {
            tracing::debug!("{}: {e}", process.name);
        }
    }
    tracker.offset(now).map_or(String::new(), |o| {
        let (ms, bound) = (1e3 * o.secs, 1e3 * o.bound_secs);
        format!(", {ms:.3} +- {bound:.3} ms ahead")
    })
}

/// `host` is this host's own clock; `cell` is whose time this process takes.
fn clocks_of(host: Stamp, cell: ClockId, heard: &[Process]) -> Finding {
    let now = Time::from_nanos(host.nanos);
    let (mut lost, mut followers) = (Vec::new(), Vec::new());
    for process in heard {
        let Some(answer) = process.answers.last() else {
            continue;
        };
        match answer.follows {
            Some((of, followed)) if of == cell => followers.push(format!(
                "{} to +- {:.3} ms",
                process.name,
                followed.bound.as_secs_f64() * 1e3
            )),
            _ if answer.clock == cell => {}
            _ => lost.push(format!(
                "{} has another{}",
                process.name,
                ahead(process, now)
            )),
        }
    }
    if lost.is_empty() {
        let all: Vec<&Process> = heard.iter().collect();
        let found = match followers.is_empty() {
            true => format!("one clock: {}", listed(&all)),
            false => format!(
                "cell time is the arm's host's, kept current by {}",
                followers.join(", ")
            ),
        };
        return Finding::pass("clocks", found);
    }
    let mend = "name the hosts in the cell file ([[host]]) and start roles with --host: times of another clock are refused unless \
                its distance from the arm's host's is known";
    Finding::fail("clocks", lost.join("; "), mend).expecting("cell time, the arm's host's")
}

/// Median and longest round trip of a process.
fn round_trips(process: &Process) -> (Duration, Duration) {
    let trip = |a: &Answered| a.exchange.returned.since(a.exchange.sent);
    let mut trips: Vec<Duration> = process.answers.iter().map(trip).collect();
    trips.sort_unstable();
    let at = |i: usize| trips.get(i).copied().unwrap_or_default();
    (at(trips.len() / 2), at(trips.len().saturating_sub(1)))
}

fn trips(heard: &[Process], way: Way) -> Finding {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let slowest = heard.iter().max_by_key(|p| round_trips(p).0);
    let (median, longest) = slowest.map_or_else(Default::default, round_trips);
    let lost: usize = heard.iter().map(|p| p.lost).sum();
    let questions = heard
        .iter()
        .map(|p| p.lost + p.answers.len())
        .sum::<usize>();
    let name = slowest.map_or("", |p| p.name.as_str());
    let where_to = match way {
        Way::Loopback => "loopback",
        Way::Encrypted => "over a network, encrypted",
        Way::Plain => "over a network, not encrypted",
    };
    let found = format!(
        "{where_to}; slowest {name}: {:.2} ms there and back, at most {:.1} ms; {lost} of {questions} questions unanswered",
        ms(median),
        ms(longest)
    );
    let expected = format!("answers within {} ms, none lost", ROUND_TRIP.as_millis());
    if median > ROUND_TRIP || lost > 0 {
        let mend = "a wired network of the cell's own, or a quieter machine; stage `transport` of [budget] has to hold it";
        Finding::warn("network", found, mend).expecting(expected)
    } else if way == Way::Plain {
        let mend = "whoever reaches this network can command the arm: a network of the cell's own";
        Finding::warn("network", found, mend)
    } else {
        Finding::pass("network", found)
    }
}

fn row(process: &Process) -> Value {
    let (median, longest) = round_trips(process);
    json!({
        "name": process.name.as_str(),
        "version": process.answers.last().map(|a| a.version.clone()),
        "follows_to_ms": process.answers.last().and_then(|a| a.follows).map(|(_, f)| f.bound.as_secs_f64() * 1e3),
        "round_trip_ms": { "p50": median.as_secs_f64() * 1e3, "max": longest.as_secs_f64() * 1e3 },
        "answered": process.answers.len(),
        "unanswered": process.lost,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use tactus_types::Followed;
    use tactus_wire::Exchange;

    fn process(version: &str, trip_millis: u64, lost: usize) -> Process {
        let at = Time::from_millis;
        let answer = Answered {
            clock: ClockId(1),
            exchange: Exchange {
                sent: at(100),
                received: at(100),
                answered: at(100),
                returned: at(100 + trip_millis),
            },
            version: version.into(),
            schema_version: tactus_wire::SCHEMA_VERSION,
            follows: None,
        };
        Process {
            name: Name::new("arm-arm").expect("legal"),
            answers: vec![answer; 5],
            lost,
        }
    }

    #[test]
    fn another_version_fails_and_says_whose() {
        let finding = versions(&[process(OWN, 1, 0), process("0.0.9", 1, 0)]);
        assert_eq!(finding.verdict, Verdict::Fail);
        assert!(
            finding.found.contains("arm-arm` is tactus 0.0.9"),
            "{finding:?}"
        );
        assert_eq!(versions(&[process(OWN, 1, 0)]).verdict, Verdict::Pass);
        let old = versions(&[process("", 1, 0)]);
        assert!(old.verdict == Verdict::Fail && old.found.contains("does not say"));
    }

    #[test]
    fn another_hosts_clock_fails_unless_its_process_follows_the_cells() {
        let (cell, here) = (ClockId(5), ClockId(9).stamp(Time::from_millis(200)));
        let mut far = process(OWN, 1, 0);
        let alone = clocks_of(here, cell, std::slice::from_ref(&far));
        assert_eq!(alone.verdict, Verdict::Fail);
        assert!(alone.found.contains("ms ahead"), "{alone:?}");
        for answer in &mut far.answers {
            let followed = Followed {
                host: ClockId(1),
                ahead_nanos: 5,
                bound: Duration::from_micros(3200),
            };
            answer.follows = Some((cell, followed));
        }
        let known = clocks_of(here, cell, std::slice::from_ref(&far));
        assert_eq!(known.verdict, Verdict::Pass);
        assert!(known.found.contains("arm-arm to +- 3.200 ms"), "{known:?}");
    }

    #[test]
    fn a_slow_or_lossy_way_and_one_that_leaves_the_machine_are_said() {
        assert_eq!(
            trips(&[process(OWN, 1, 0)], Way::Loopback).verdict,
            Verdict::Pass
        );
        assert_eq!(
            trips(&[process(OWN, 9, 0)], Way::Loopback).verdict,
            Verdict::Warn
        );
        assert_eq!(
            trips(&[process(OWN, 1, 2)], Way::Loopback).verdict,
            Verdict::Warn
        );
        let far = trips(&[process(OWN, 1, 0)], Way::Plain);
        assert!(far.verdict == Verdict::Warn && far.found.contains("not encrypted"));
        let keys = trips(&[process(OWN, 1, 0)], Way::Encrypted);
        assert_eq!(keys.verdict, Verdict::Pass);
    }
}
