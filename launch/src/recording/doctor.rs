//! `tactus recording doctor`: what of a recording is lost, one line each; and all that can be read as a new file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use tactus_record::{Report, Told, inspect, read};
use tactus_types::Time;
use tactus_wire::TickBatch;

use super::{part_words, printable};
use crate::result;

/// Names of counts that mean a loss.
const LOSSES: [&str; 6] = [
    "dropped_before_the_file",
    "dropped_before_the_ring",
    "crowded_out_of_the_ring",
    "on_keys_beyond_the_limit",
    "refused",
    "missing",
];

/// Examines `file`, and mends it into `repair`.
pub fn doctor(file: &Path, repair: Option<&Path>) -> anyhow::Result<ExitCode> {
    let report = inspect(file)?;
    let mut lost = losses(&report);
    let ticks = Ticks::of(file)?;
    lost.extend(ticks.losses());
    for line in &lost {
        result::line(format_args!("lost: {line}"))?;
    }
    if lost.is_empty() {
        result::line(format_args!(
            "{}: nothing is lost; {} messages",
            file.display(),
            report.messages()
        ))?;
    }
    result::line(ticks.words())?;
    if let Some(out) = repair {
        let part = tactus_record::cut(file, Time::ZERO, Time::from_nanos(u64::MAX), out)?;
        result::line(part_words(out, &part))?;
    }
    Ok(if lost.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

fn losses(report: &Report) -> Vec<String> {
    let mut lost = Vec::new();
    if let Some(why) = &report.cut {
        lost.push(format!(
            "the end of the file: {why}; {} messages before it are whole",
            report.messages()
        ));
    }
    let counts = report.metadata.iter().filter(|(n, _)| n == "tactus.counts");
    let mut said = false;
    for (_, words) in counts {
        said = true;
        for name in LOSSES {
            let count = words.get(name).and_then(|n| n.parse::<u64>().ok());
            if let Some(count) = count.filter(|count| *count > 0) {
                lost.push(format!("{name}: {count} messages, says the recorder"));
            }
        }
        if let Some(why) = words.get("ended_because") {
            lost.push(format!("what came after the end: {}", printable(why)));
        }
    }
    if !said && report.cut.is_none() {
        lost.push("what the recorder counted: the file does not say".into());
    }
    for channel in &report.channels {
        let Some(continuity) = &channel.continuity else {
            continue;
        };
        if continuity.missing > 0 {
            lost.push(format!(
                "{}: {} messages in {} gaps",
                printable(&channel.topic),
                continuity.missing,
                continuity.gaps
            ));
        }
    }
    lost
}

/// The notes of a control loop, per boot of an arm host.
#[derive(Default)]
struct Ticks {
    /// Topic and boot -> ticks noted: the lowest, the highest, and stretches of them.
    boots: BTreeMap<(String, u64), Noted>,
}

#[derive(Default)]
struct Noted {
    /// Stretches of consecutive ticks: first -> last.
    stretches: BTreeMap<u64, u64>,
    lost: u64,
}

impl Noted {
    /// Adds `first..=last`, which may overlap what is there. One that ends before it begins, which no arm host writes, is none.
    fn add(&mut self, first: u64, last: u64) {
        if last < first {
            return;
        }
        let (mut first, mut last) = (first, last);
        let before = self.stretches.range(..=first).next_back();
        if let Some((from, to)) = before.map(|(from, to)| (*from, *to))
            && to.saturating_add(1) >= first
        {
            first = from;
            last = last.max(to);
        }
        while let Some((from, to)) = self
            .stretches
            .range(first..=last.saturating_add(1))
            .next()
            .map(|(from, to)| (*from, *to))
        {
            self.stretches.remove(&from);
            last = last.max(to);
        }
        self.stretches.insert(first, last);
    }
}

impl Ticks {
    fn of(file: &Path) -> anyhow::Result<Self> {
        let mut ticks = Self::default();
        read(file, |told| {
            if let Told::Message(message) = told
                && message.topic.ends_with("/ticks")
                && let Ok(delivery) = message.decode::<TickBatch>()
            {
                let batch = delivery.message;
                let noted = ticks.boots.entry((message.topic.into(), batch.boot));
                let noted = noted.or_default();
                noted.lost = noted.lost.max(batch.lost);
                if let (Some(first), Some(last)) = (batch.ticks.first(), batch.ticks.last()) {
                    noted.add(first.tick, last.tick);
                }
            }
            true
        })?;
        Ok(ticks)
    }

    fn losses(&self) -> Vec<String> {
        let mut lost = Vec::new();
        for ((topic, _), noted) in &self.boots {
            let topic = printable(topic);
            for pair in noted.stretches.iter().collect::<Vec<_>>().windows(2) {
                let (from, until) = (pair[0].1 + 1, pair[1].0 - 1);
                lost.push(format!("{topic}: ticks {from} to {until}"));
            }
            if noted.lost > 0 {
                let count = noted.lost;
                lost.push(format!("{topic}: {count} notes, says the arm host"));
            }
        }
        lost
    }

    fn words(&self) -> String {
        if self.boots.is_empty() {
            return "control loop: no ticks are in the file; it cannot be replayed".into();
        }
        let lines = self.boots.iter().map(|((topic, boot), noted)| {
            let topic = printable(topic);
            match noted.stretches.first_key_value() {
                Some((1, last)) => format!("control loop: {topic}: can be replayed up to tick {last} of boot {boot:016x}"),
                Some((first, _)) => format!(
                    "control loop: {topic}: cannot be replayed, the first {} ticks of boot {boot:016x} are not in the file",
                    first.saturating_sub(1)
                ),
                None => format!("control loop: {topic}: no ticks"),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_join_whatever_the_order_and_gaps_stay() {
        let mut noted = Noted::default();
        for (first, last) in [(11, 20), (1, 5), (31, 40), (6, 12), (35, 50), (3, 4)] {
            noted.add(first, last);
        }
        let stretches: Vec<(u64, u64)> = noted.stretches.into_iter().collect();
        assert_eq!(stretches, [(1, 20), (31, 50)]);
    }

    #[test]
    fn ticks_of_a_forged_file_are_no_panic() {
        let mut ticks = Ticks::default();
        let noted = ticks.boots.entry(("t".into(), 1)).or_default();
        for (first, last) in [(9, 3), (u64::MAX, 0), (0, 0), (u64::MAX, u64::MAX)] {
            noted.add(first, last);
        }
        assert_eq!(noted.stretches.len(), 2);
        assert_eq!(ticks.losses().len(), 1);
        assert!(ticks.words().contains("cannot be replayed"));
    }
}
