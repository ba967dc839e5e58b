//! What a process learns of the arm's host before it takes part from another one: whose time it is, and whether both speak the
//! same version.
//!
//! Decides who asks: every process that is not on the arm's host by declaration, in a cell whose file places its roles, and one
//! that was told to connect beyond this machine. Its first exchange of clock readings is the hello: another version of the
//! messages is refused, another version of the program said. From then on cell time is kept current in the background.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_wire::{Answered, CellClock, Key, Name, SCHEMA_VERSION, Session, Topic};

use crate::cell::Cell;

/// How long an answer may take, and how long until somebody is asked again.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(20);
/// How long the arm's host may take to answer at all.
const WITHIN: Duration = Duration::from_secs(10);
/// This program's own version.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// Whether `endpoint` does not leave this machine.
pub fn is_loopback(endpoint: &str) -> bool {
    let address = endpoint.rsplit('/').next().unwrap_or(endpoint);
    ["127.", "localhost:", "[::1]"]
        .iter()
        .any(|own| address.starts_with(own))
        || endpoint.starts_with("unixsock")
}

/// Whoever is on the arm's host: its device, and the arm host itself, which may start later; of two arms the other's too, whose
/// host it is as well: who stops an arm may do so while the first is gone.
fn names(cell: &Cell) -> anyhow::Result<Vec<Name>> {
    let other = cell.pair.iter().map(|pair| format!("arm-{}", pair.partner));
    let own = [
        format!("device-{}", cell.device),
        format!("arm-{}", cell.arm),
    ];
    let names = own.into_iter().chain(other);
    Ok(names
        .map(|name| Name::new(&name))
        .collect::<Result<_, _>>()?)
}

/// Exchanges readings with the arm's host until cell time is known, and goes on doing so in the background.
///
/// # Errors
/// When nobody of it answers in time, or it speaks another version of the messages.
pub fn hello(session: &mut Session, cell: &Cell, clock: &Arc<CellClock>) -> anyhow::Result<()> {
    let names = names(cell)?;
    let key = |name: &Name| cell.wire.key(&Topic::Clock(name.clone()));
    let keys: Vec<Key> = names.iter().map(key).collect();
    let until = Instant::now() + WITHIN;
    let mut said = false;
    while !clock.is_known() {
        let answer = names.iter().zip(&keys).find_map(|(name, key)| {
            let answer = session.ping(key, ANSWER_WITHIN).ok()?;
            Some((name, answer))
        });
        if let Some((name, answer)) = answer {
            if let Some(skew) = skew(name.as_str(), &answer) {
                if answer.schema_version != SCHEMA_VERSION {
                    bail!(skew);
                }
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!("{skew}");
                }
            }
            clock.take(answer.clock, answer.exchange);
        } else if Instant::now() > until {
            bail!(
                "cell time: neither {} of cell `{}` answers within {} s: is the arm's host up, and reachable from here?",
                listed(&names),
                cell.name,
                WITHIN.as_secs()
            );
        } else {
            std::thread::sleep(AGAIN);
        }
        if Instant::now() > until + ANSWER_WITHIN {
            bail!(
                "cell time: the way to the arm's host is too long for it to be known to {} ms",
                tactus_wire::MOST_BOUND.as_millis()
            );
        }
    }
    session
        .follow(clock.clone(), keys)
        .context("thread `cell-time`")
}

/// As `a` nor `b`.
fn listed(names: &[Name]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(" nor ")
}

/// What does not fit between this program and that of `name`, in one sentence.
pub fn skew(name: &str, answer: &Answered) -> Option<String> {
    let Answered {
        version,
        schema_version: schema,
        ..
    } = answer;
    let version = match version.as_str() {
        "" => "of a version it does not say",
        version => version,
    };
    if *schema != SCHEMA_VERSION {
        return Some(format!(
            "`{name}` (tactus {version}) speaks version {schema} of the messages, this process (tactus {OWN}) version \
             {SCHEMA_VERSION}, and neither takes the other's: install one version on every host"
        ));
    }
    (version != OWN).then(|| {
        format!(
            "`{name}` is tactus {version}, this process tactus {OWN}; both speak version {SCHEMA_VERSION} of the messages: \
             install one version on every host"
        )
    })
}

#[cfg(test)]
mod tests {
    use tactus_types::{ClockId, Time};
    use tactus_wire::Exchange;

    use super::*;

    #[test]
    fn what_does_not_leave_this_machine_is_known() {
        for (endpoint, own) in [
            ("tcp/127.0.0.1:7447", true),
            ("tcp/localhost:7447", true),
            ("tcp/[::1]:7447", true),
            ("tcp/192.168.1.7:7447", false),
        ] {
            assert_eq!(is_loopback(endpoint), own, "{endpoint}");
        }
    }

    #[test]
    fn another_version_is_said_in_a_sentence_that_names_both() {
        let at = Time::from_millis(1);
        let of = |version: &str, schema_version| Answered {
            clock: ClockId(1),
            exchange: Exchange {
                sent: at,
                received: at,
                answered: at,
                returned: at,
            },
            version: version.into(),
            schema_version,
            follows: None,
        };
        assert_eq!(skew("arm-arm", &of(OWN, SCHEMA_VERSION)), None);
        let other = skew("arm-arm", &of("7.8.9", SCHEMA_VERSION)).expect("said");
        assert!(
            other.contains("7.8.9") && other.contains(OWN) && other.contains("arm-arm"),
            "{other}"
        );
        let schema = skew("arm-arm", &of("7.8.9", 77)).expect("said");
        assert!(
            schema.contains("version 77") && schema.contains("neither takes"),
            "{schema}"
        );
    }
}
