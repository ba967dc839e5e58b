//! What lies between the processes of a running cell: their versions, their clocks, and how long a word takes.
//!
//! Decides by questions that every role answers (`clock/<name>`). A role that does not, as a driver in another language need
//! not, is left out. What is a failure: another version, and a clock of another host, whose times every role refuses.

use std::time::Duration;

use serde_json::{Value, json};
use tactus_wire::{Answered, Name, OffsetTracker, Session, Topic};

use super::{Finding, Report};
use crate::calibrate::clocks;
use crate::cell::Cell;

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

/// What a process answered.
struct Process {
    name: Name,
    answers: Vec<Answered>,
    lost: usize,
}

/// Asks the processes of `cell`, which is reached at `endpoint`, and adds what it finds.
pub fn look(
    report: &mut Report,
    session: &Session,
    cell: &Cell,
    endpoint: &str,
) -> anyhow::Result<()> {
    let names = clocks::names(cell)?;
    let asked = names.into_iter().map(|name| ask(session, cell, name));
    let heard: Vec<Process> = asked.filter(|p| !p.answers.is_empty()).collect();
    if heard.is_empty() {
        return Ok(());
    }
    report.add(versions(&heard))?;
    report.add(clocks_of(session, &heard))?;
    report.add(trips(&heard, is_loopback(endpoint)).doubtful())?;
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

/// Whether `endpoint` does not leave this machine.
fn is_loopback(endpoint: &str) -> bool {
    let address = endpoint.rsplit('/').next().unwrap_or(endpoint);
    ["127.", "localhost:", "[::1]"]
        .iter()
        .any(|own| address.starts_with(own))
        || endpoint.starts_with("unixsock")
}

fn listed(of: &[&Process]) -> String {
    let names: Vec<&str> = of.iter().map(|p| p.name.as_str()).collect();
    names.join(", ")
}

fn versions(heard: &[Process]) -> Finding {
    let version = |p: &Process| {
        p.answers
            .last()
            .map_or(String::new(), |a| a.version.clone())
    };
    let other: Vec<String> = heard
        .iter()
        .filter(|p| version(p) != OWN)
        .map(|p| match version(p).as_str() {
            "" => format!("{} says none", p.name),
            other => format!("{} is {other}", p.name),
        })
        .collect();
    if other.is_empty() {
        let all: Vec<&Process> = heard.iter().collect();
        return Finding::pass("versions", format!("{OWN}: {}", listed(&all)));
    }
    let mend = "build again, and restart what still runs from before: one version everywhere";
    Finding::fail("versions", other.join(", "), mend).expecting(format!("{OWN}, as this program"))
}

fn clocks_of(session: &Session, heard: &[Process]) -> Finding {
    let (own, now) = (session.clock().id(), session.clock().now());
    let others: Vec<String> = heard
        .iter()
        .filter(|p| p.answers.iter().any(|a| a.clock != own))
        .map(|p| {
            let mut tracker = OffsetTracker::default();
            for answer in &p.answers {
                if let Err(e) = tracker.add(answer.exchange) {
                    tracing::debug!("{}: {e}", p.name);
                }
            }
            let ahead = tracker.offset(now).map_or(String::new(), |o| {
                let (ms, bound) = (1e3 * o.secs, 1e3 * o.bound_secs);
                format!(", {ms:.3} +- {bound:.3} ms ahead")
            });
            format!("{} has another{ahead}", p.name)
        })
        .collect();
    if others.is_empty() {
        let all: Vec<&Process> = heard.iter().collect();
        return Finding::pass("clocks", format!("one clock: {}", listed(&all)));
    }
    let mend = "run all processes of a cell on one host: times of another clock are refused";
    Finding::fail("clocks", others.join("; "), mend).expecting("this host's clock")
}

/// Median and longest round trip of a process.
fn round_trips(process: &Process) -> (Duration, Duration) {
    let trip = |a: &Answered| a.exchange.returned.since(a.exchange.sent);
    let mut trips: Vec<Duration> = process.answers.iter().map(trip).collect();
    trips.sort_unstable();
    let at = |i: usize| trips.get(i).copied().unwrap_or_default();
    (at(trips.len() / 2), at(trips.len().saturating_sub(1)))
}

fn trips(heard: &[Process], loopback: bool) -> Finding {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let slowest = heard.iter().max_by_key(|p| round_trips(p).0);
    let (median, longest) = slowest.map_or_else(Default::default, round_trips);
    let lost: usize = heard.iter().map(|p| p.lost).sum();
    let questions = heard
        .iter()
        .map(|p| p.lost + p.answers.len())
        .sum::<usize>();
    let name = slowest.map_or("", |p| p.name.as_str());
    let where_to = if loopback {
        "loopback"
    } else {
        "over a network, not encrypted"
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
    } else if !loopback {
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
        "round_trip_ms": { "p50": median.as_secs_f64() * 1e3, "max": longest.as_secs_f64() * 1e3 },
        "answered": process.answers.len(),
        "unanswered": process.lost,
    })
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use tactus_types::{ClockId, Time};
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
        assert!(finding.found.contains("arm-arm is 0.0.9"), "{finding:?}");
        assert_eq!(versions(&[process(OWN, 1, 0)]).verdict, Verdict::Pass);
        let old = versions(&[process("", 1, 0)]);
        assert!(old.verdict == Verdict::Fail && old.found.contains("says none"));
    }

    #[test]
    fn a_slow_or_lossy_way_and_one_that_leaves_the_machine_are_said() {
        assert_eq!(trips(&[process(OWN, 1, 0)], true).verdict, Verdict::Pass);
        assert_eq!(trips(&[process(OWN, 9, 0)], true).verdict, Verdict::Warn);
        assert_eq!(trips(&[process(OWN, 1, 2)], true).verdict, Verdict::Warn);
        let far = trips(&[process(OWN, 1, 0)], false);
        assert!(far.verdict == Verdict::Warn && far.found.contains("not encrypted"));
        for (endpoint, own) in [
            ("tcp/127.0.0.1:7447", true),
            ("tcp/localhost:7447", true),
            ("tcp/[::1]:7447", true),
            ("tcp/192.168.1.7:7447", false),
        ] {
            assert_eq!(is_loopback(endpoint), own, "{endpoint}");
        }
    }
}
