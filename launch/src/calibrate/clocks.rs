//! `tactus calibrate clocks`: how far the clock of each process of a cell is from this one's, and how sure that is.
//!
//! Decides whom to ask and how often. What follows from the answers is `tactus_wire`'s [`OffsetTracker`].

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::bail;
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tactus_types::{Clock, ClockId, Time};
use tactus_wire::{Answered, Name, Offset, OffsetTracker, Topic};

use super::args::ClocksArgs;
use crate::cell::{self, Cell};
use crate::roles::{self, Joined};
use crate::{order, result};

/// Between two exchanges with a process.
const EVERY: Duration = Duration::from_millis(100);
/// How long an answer may take.
const WITHIN: Duration = Duration::from_millis(500);

/// One process that was asked.
struct Asked {
    name: Name,
    clock: Option<ClockId>,
    tracker: OffsetTracker,
    exchanges: u64,
    silent: u64,
    quickest: Duration,
}

/// Asks for the span, or until interrupted; prints a table.
pub fn clocks(args: &ClocksArgs) -> anyhow::Result<()> {
    let cell = cell::load(&args.role.cell)?;
    let joined = roles::join(&args.role, "clocks")?;
    let mut asked: Vec<Asked> = names(&cell)?
        .into_iter()
        .map(|name| Asked {
            name,
            clock: None,
            tracker: OffsetTracker::default(),
            exchanges: 0,
            silent: 0,
            quickest: Duration::MAX,
        })
        .collect();
    // A session that has just opened does not know yet who answers.
    let first = cell.wire.key(&Topic::ArmInfo(cell.arm.clone()));
    joined
        .session
        .wait_for_answerer(&first, order::ANSWER_WITHIN)?;
    let bar = ProgressBar::new(args.span_s);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos} of {len} s")?);
    let began = Instant::now();
    let span = Duration::from_secs(args.span_s);
    while began.elapsed() < span && !joined.stop.load(Ordering::Relaxed) {
        for asked in &mut asked {
            ask(&cell, &joined, asked);
        }
        bar.set_position(began.elapsed().as_secs());
        std::thread::sleep(EVERY);
    }
    bar.finish_and_clear();
    if asked.iter().all(|a| a.exchanges == 0) {
        bail!("nobody of the cell answers: is its endpoint right, and of this version?");
    }
    result::line(table(&asked, &joined))?;
    if let Some(file) = &args.json {
        let rows: Vec<Value> = asked.iter().map(|a| row(a, &joined)).collect();
        super::write_json(file, &json!({ "processes": rows }))?;
    }
    Ok(())
}

/// The processes that a cell has, as their clocks are asked for; those of drivers in other languages need not answer.
pub fn names(cell: &Cell) -> anyhow::Result<Vec<Name>> {
    let of = |role: &str, name: &Name| Name::new(&format!("{role}-{name}"));
    Ok(vec![
        of("arm", &cell.arm)?,
        of("engine", &cell.engine)?,
        of("device", &cell.device)?,
        Name::new("camera")?,
    ])
}

fn ask(cell: &Cell, joined: &Joined, asked: &mut Asked) {
    let key = cell.wire.key(&Topic::Clock(asked.name.clone()));
    match joined.session.ping(&key, WITHIN) {
        Ok(Answered {
            clock, exchange, ..
        }) => {
            if asked
                .clock
                .replace(clock)
                .is_some_and(|known| known != clock)
            {
                // Another host, or the same after it was started again.
                asked.tracker = OffsetTracker::default();
            }
            asked.exchanges += 1;
            asked.quickest = asked.quickest.min(exchange.returned.since(exchange.sent));
            if let Err(e) = asked.tracker.add(exchange) {
                tracing::warn!("{}: {e}", asked.name);
            }
        }
        Err(e) => {
            asked.silent += 1;
            tracing::debug!("{}: {e}", asked.name);
        }
    }
}

fn offset(asked: &Asked, joined: &Joined) -> Option<Offset> {
    asked
        .tracker
        .offset(Time::from_nanos(joined.clock.host_now().nanos))
}

fn table(asked: &[Asked], joined: &Joined) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "process",
        "clock",
        "ahead of ours, ms",
        "drift, ppm",
        "quickest way and back, ms",
        "exchanges",
    ]);
    for a in asked {
        let clock = match a.clock {
            None => "does not answer",
            Some(clock) if clock == joined.clock.host_now().clock => "this host's",
            Some(_) => "another",
        };
        let offset = offset(a, joined);
        let plus_minus = |value: f64, bound: f64| format!("{value:.3} +- {bound:.3}");
        table.add_row([
            a.name.to_string(),
            clock.to_owned(),
            offset.map_or(String::new(), |o| {
                plus_minus(1e3 * o.secs, 1e3 * o.bound_secs)
            }),
            offset
                .and_then(|o| o.drift)
                .map_or(String::new(), |(d, bound)| plus_minus(1e6 * d, 1e6 * bound)),
            match a.exchanges {
                0 => String::new(),
                _ => format!("{:.3}", a.quickest.as_secs_f64() * 1e3),
            },
            format!("{} of {}", a.exchanges, a.exchanges + a.silent),
        ]);
    }
    table
}

fn row(asked: &Asked, joined: &Joined) -> Value {
    let offset = offset(asked, joined);
    json!({
        "name": asked.name.as_str(),
        "same_clock": asked.clock.map(|c| c == joined.clock.host_now().clock),
        "offset_ms": offset.map(|o| 1e3 * o.secs),
        "bound_ms": offset.map(|o| 1e3 * o.bound_secs),
        "drift_ppm": offset.and_then(|o| o.drift).map(|(d, _)| 1e6 * d),
        "drift_bound_ppm": offset.and_then(|o| o.drift).map(|(_, b)| 1e6 * b),
        "clock_was_set": asked.tracker.steps(),
        "exchanges": asked.exchanges,
        "unanswered": asked.silent,
    })
}
