//! `tactus recording info`: what a file holds, as a table on stdout.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{Table, presets};
use tactus_record::{ChannelReport, Report, inspect};
use tactus_types::Time;

use crate::cli::{RecordingArgs, RecordingVerb};
use crate::result;

/// Carries the verb out.
pub fn recording(args: &RecordingArgs) -> anyhow::Result<ExitCode> {
    let RecordingVerb::Info { file } = &args.verb;
    info(file)
}

fn info(file: &Path) -> anyhow::Result<ExitCode> {
    let report = inspect(file)?;
    result::line(words(&report))?;
    let Some(why) = &report.cut else {
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!(
        "tactus: {}: cut short: {why}; what is listed is whole",
        file.display()
    );
    Ok(ExitCode::from(3))
}

fn words(report: &Report) -> String {
    let mut text = String::new();
    for (name, words) in &report.metadata {
        line(&mut text, format_args!("[{}]", printable(name)));
        for (what, value) in words {
            line(
                &mut text,
                format_args!("  {} = {}", printable(what), printable(value)),
            );
        }
    }
    let span = match report.times() {
        Some((first, last)) => {
            let date = |at: Time| {
                report.unix_offset().map_or_else(
                    || format!("{} ns", at.as_nanos()),
                    |o| tactus_record::date::readable(o + at.since(Time::ZERO)),
                )
            };
            format!(
                "{:.3} s, {} to {}",
                last.since(first).as_secs_f64(),
                date(first),
                date(last)
            )
        }
        None => "nothing".into(),
    };
    line(
        &mut text,
        format_args!(
            "{} messages: {span}; written by {}",
            report.messages(),
            printable(&report.library)
        ),
    );
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "channel",
        "schema",
        "messages",
        "per s",
        "kB",
        "longest pause, ms",
        "missing",
        "gaps",
        "restarts",
    ]);
    for channel in &report.channels {
        table.add_row(row(channel));
    }
    text + &table.to_string()
}

fn row(channel: &ChannelReport) -> [String; 9] {
    let ChannelReport {
        topic,
        schema,
        messages,
        bytes,
        times,
        longest_pause,
        continuity,
    } = channel;
    let secs = times.map_or(0.0, |(first, last)| last.since(first).as_secs_f64());
    let rate = if *messages > 1 && secs > 0.0 {
        format!("{:.1}", (*messages - 1) as f64 / secs)
    } else {
        String::new()
    };
    let count = |of: fn(&tactus_record::continuity::Continuity) -> u64| {
        continuity
            .as_ref()
            .map_or("-".into(), |c| of(c).to_string())
    };
    [
        printable(topic),
        printable(schema),
        messages.to_string(),
        rate,
        format!("{:.1}", *bytes as f64 / 1e3),
        millis(*longest_pause),
        count(|c| c.missing),
        count(|c| c.gaps),
        count(|c| c.restarts),
    ]
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1e3)
}

/// A file of any origin says what it likes; a terminal is not to obey it.
fn printable(text: &str) -> String {
    let short = text.chars().take(400);
    short
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let written = writeln!(text, "{words}");
    debug_assert!(written.is_ok());
}
