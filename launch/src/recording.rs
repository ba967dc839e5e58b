//! `tactus recording`: what a file holds, as a table on stdout; what it has lost; a part of it.
//!
//! Decides nothing about files: see `tactus-record`.

mod doctor;
mod export;

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::{Table, presets};
use tactus_record::lerobot::{Codec, ExportOptions};
use tactus_record::{ChannelReport, Report, inspect};
use tactus_types::Time;

use anyhow::bail;

use crate::cli::{CodecWord, RecordingArgs, RecordingVerb};
use crate::result;

/// Carries the verb out.
pub fn recording(args: &RecordingArgs) -> anyhow::Result<ExitCode> {
    match &args.verb {
        RecordingVerb::Info { file } => info(file),
        RecordingVerb::Doctor { file, repair } => doctor::doctor(file, repair.as_deref()),
        RecordingVerb::Cut {
            file,
            from,
            until,
            out,
        } => cut_out(file, (*from, *until), out),
        RecordingVerb::Export {
            files,
            lerobot,
            codec,
            reference,
            fps,
        } => {
            let options = ExportOptions {
                folder: lerobot.clone(),
                fps: *fps,
                codec: match codec {
                    CodecWord::H264 => Codec::H264,
                    CodecWord::Av1 => Codec::Av1,
                },
                reference: reference.clone(),
            };
            export::set(files, &options)
        }
    }
}

/// `tactus recording cut`.
fn cut_out(file: &Path, (from, until): (f64, Option<f64>), out: &Path) -> anyhow::Result<ExitCode> {
    let report = inspect(file)?;
    let Some((first, last)) = report.times() else {
        bail!("{}: there is no message in it", file.display());
    };
    let length = last.since(first).as_secs_f64();
    let end = until.unwrap_or(length);
    let ordered = (0.0..=length).contains(&from) && end > from;
    if !ordered {
        bail!("--from {from} --until {end}: expected 0 <= from < until, from at most {length:.3}");
    }
    let at = |secs: f64| Duration::try_from_secs_f64(secs.min(length)).map(|after| first + after);
    // Without an end, or with one behind the last message, that one is in.
    let until = if end < length {
        at(end)?
    } else {
        last + Duration::from_nanos(1)
    };
    let part = tactus_record::cut(file, at(from)?, until, out)?;
    result::line(part_words(out, &part))?;
    Ok(ExitCode::SUCCESS)
}

fn part_words(out: &Path, part: &tactus_record::Part) -> String {
    let mut words = format!(
        "{}: {} messages, {:.1} MB",
        out.display(),
        part.messages,
        part.bytes as f64 / 1e6
    );
    if part.foreign > 0 {
        words += &format!("; {} of schemas unknown here left out", part.foreign);
    }
    words
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
    for (name, bytes) in &report.attachments {
        line(
            &mut text,
            format_args!("file `{}`: {bytes} bytes", printable(name)),
        );
    }
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
