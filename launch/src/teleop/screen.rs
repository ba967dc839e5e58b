//! The terminal's view of a human in command, and its keys. Decides what is shown and what a key asks for.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tactus_teleop::Wish;
use tactus_teleop::keyboard::Keys;
use tactus_types::{Clock, JointVec, Reference, Source};
use tactus_wire::{ModeWord, MonotonicClock};

use super::seen::{Seen, median_and_most};
use super::{Ask, LOOK};
use crate::log;
use crate::roles::Stopping;

/// An arm host that does not report for this long is gone.
const SILENT: Duration = Duration::from_secs(2);

/// Shows what happens on the whole terminal until `stop`, until the operator leaves, or until the commander has ended. What this
/// process logs goes to `file` meanwhile.
///
/// # Errors
/// When the terminal cannot be used.
pub fn show(
    seen: &Seen,
    ask: &Ask,
    stop: &AtomicBool,
    keys: Option<&Keys>,
    file: &Path,
) -> anyhow::Result<()> {
    let _stopping = Stopping(stop);
    let _aside = log::aside(file)?;
    let _restoring = Restoring;
    let clock = MonotonicClock::new()?;
    let mut terminal = ratatui::try_init().context("switching the terminal to full screen")?;
    while !(stop.load(Ordering::Relaxed) || seen.ended.load(Ordering::Relaxed)) {
        let shown = Shown::of(seen, keys.is_some());
        terminal
            .draw(|frame| draw(frame, &shown))
            .context("drawing")?;
        let until = Instant::now() + LOOK;
        while event::poll(until.saturating_duration_since(Instant::now()))? {
            let Event::Key(key) = event::read()? else {
                continue;
            };
            match asked(key) {
                Some(Key::Leave) => return Ok(()),
                Some(Key::Wish(wish)) => ask.wish(wish),
                Some(Key::Jog(key)) => {
                    if let Some(keys) = keys {
                        keys.press(key, clock.now());
                    }
                }
                None => {}
            }
        }
    }
    Ok(())
}

/// Gives the terminal back, on return, error and panic alike.
struct Restoring;

impl Drop for Restoring {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Leave,
    Wish(Wish),
    /// One that may move an axis of the keyboard source.
    Jog(char),
}

/// What a key asks for. None of them is a key of the keyboard source.
fn asked(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let wish = match key.code {
        KeyCode::Char('c') if control => return Some(Key::Leave),
        KeyCode::Esc => return Some(Key::Leave),
        KeyCode::Char(_) if control => return None,
        KeyCode::Char(' ') => Wish::Hold,
        // A key that repeats asks once; a step of the keyboard goes on.
        _ if key.kind == KeyEventKind::Repeat && !matches!(key.code, KeyCode::Char(_)) => {
            return None;
        }
        KeyCode::Enter => Wish::TakeOver,
        KeyCode::Backspace => Wish::HandBack,
        KeyCode::Char('x') => Wish::Stop,
        KeyCode::Char('c') => Wish::Clutch,
        KeyCode::Char(other) => return Some(Key::Jog(other)),
        _ => return None,
    };
    Some(Key::Wish(wish))
}

/// Everything on the screen: a copy, so that nobody waits for a terminal.
#[derive(Debug, Clone, Default)]
struct Shown {
    source: String,
    mode: Option<ModeWord>,
    reason: String,
    holder: Option<String>,
    ours: bool,
    silent: bool,
    closed: bool,
    engaged: bool,
    asks: Option<Source>,
    /// Per joint: its name, where the device is and where the arm is commanded to be, rad.
    joints: Vec<(String, f64, f64)>,
    tolerance_rad: f64,
    /// The device has joints, which have to meet the arm's.
    meets: bool,
    opening: Option<(f64, f64)>,
    age: Option<(Duration, Duration)>,
    put: Duration,
    notes: Vec<String>,
    jogs: bool,
}

impl Shown {
    fn of(seen: &Seen, jogs: bool) -> Self {
        let (ours, closed) = (seen.lease().is_some(), seen.closed.load(Ordering::Relaxed));
        let mut now = seen.lock();
        let wanted = now.wanted;
        let report = now.mode.as_ref().map(|(report, _)| report);
        let at = |q: Option<JointVec>, i: usize| {
            let of = q.and_then(|q| q.as_slice().get(i).copied());
            of.unwrap_or(f64::NAN)
        };
        let commanded = now.command.map(|(q, ..)| q);
        let joints = seen.joints.iter().enumerate().map(|(i, name)| {
            let (device, arm) = (at(wanted.map(|w| w.q), i), at(commanded, i));
            (name.clone(), device, arm)
        });
        Self {
            source: seen.source.clone(),
            mode: report.map(|r| r.mode),
            reason: report.map_or(String::new(), |r| r.reason.clone()),
            holder: report.and_then(|r| Some(r.lease.as_ref()?.holder.to_string())),
            ours,
            silent: now
                .mode
                .as_ref()
                .is_some_and(|(_, at)| at.elapsed() > SILENT),
            closed,
            engaged: wanted.is_some_and(|w| w.engaged),
            asks: now.command.map(|(_, _, source)| source),
            joints: joints.collect(),
            tolerance_rad: seen.tolerance_rad,
            meets: seen.reference != Reference::Clutch,
            opening: wanted
                .zip(now.command)
                .map(|(w, (_, opening, _))| (w.opening, opening)),
            age: median_and_most(&now.ages),
            put: std::mem::take(&mut now.put),
            notes: now.notes.iter().cloned().collect(),
            jogs,
        }
    }
}

/// Who commands the arm, in one word.
fn commands(source: Option<Source>) -> &'static str {
    match source {
        None => "-",
        Some(Source::Hold) => "nobody: it holds",
        Some(Source::Policy) => "the policy",
        Some(Source::Goto) => "a motion to a pose",
        Some(Source::Align) => "nobody: it goes to meet the leader",
        Some(Source::Teleop) => "a human",
    }
}

fn draw(frame: &mut Frame<'_>, shown: &Shown) {
    frame.render_widget(Paragraph::new(text(shown)), frame.area());
}

fn text(shown: &Shown) -> Vec<Line<'static>> {
    let mode = match (shown.mode, shown.silent) {
        (None, _) => "the arm host has not reported yet".to_owned(),
        (Some(_), true) => "the arm host does not report any more".to_owned(),
        (Some(mode), false) if shown.reason.is_empty() => mode.to_string(),
        (Some(mode), false) => format!("{mode}: {}", shown.reason),
    };
    let holder = match (&shown.holder, shown.ours) {
        (_, true) => "ours".to_owned(),
        (Some(holder), false) => holder.clone(),
        (None, false) => "free".to_owned(),
    };
    let switch = match (shown.closed, shown.engaged) {
        (false, _) => "the clutch is open",
        (true, false) => "the dead man's switch is not held",
        (true, true) => "engaged",
    };
    let field = |name: &'static str, value: String| {
        Line::from(vec![
            Span::raw(format!("{name:<10}")).dim(),
            Span::raw(value),
        ])
    };
    let mut lines = vec![
        Line::from(format!("tactus teleop: {}", shown.source)).bold(),
        field("mode", mode),
        field("commands", commands(shown.asks).to_owned()),
        field("lease", holder),
        field("device", switch.to_owned()),
        field(
            "latency",
            match shown.age {
                None => format!(
                    "read and sent within {:.1} ms",
                    1e3 * shown.put.as_secs_f64()
                ),
                Some((median, most)) => format!(
                    "device to command {:.1} ms (most {:.1}); read and sent within {:.1} ms",
                    1e3 * median.as_secs_f64(),
                    1e3 * most.as_secs_f64(),
                    1e3 * shown.put.as_secs_f64()
                ),
            },
        ),
        Line::default(),
    ];
    for (name, device, arm) in &shown.joints {
        let apart = device - arm;
        let mut spans = vec![Span::raw(format!("{name:<16} {arm:+7.3} rad"))];
        if shown.meets && apart.is_finite() {
            let far = apart.abs() > shown.tolerance_rad;
            let style = Style::new().fg(if far { Color::Yellow } else { Color::Green });
            let what = match far {
                true => format!("   leader {device:+7.3}: move it by {:+.3}", -apart),
                false => format!("   leader {device:+7.3}: together"),
            };
            spans.push(Span::styled(what, style));
        }
        lines.push(Line::from(spans));
    }
    if let Some((device, arm)) = shown.opening {
        lines.push(Line::from(format!(
            "{:<16} {:6.0} %     wanted {:.0} %",
            "gripper",
            100.0 * arm,
            100.0 * device
        )));
    }
    lines.push(Line::default());
    lines.push(
        Line::from(
            "Enter take over   Backspace hand back   Space hold   x stop   c clutch   Esc leave",
        )
        .dim(),
    );
    if shown.jogs {
        lines.push(Line::from("q/a forward, w/s left, e/d up, r/f roll, t/g pitch, y/h yaw, u/j, o/l gripper: a press is a step").dim());
    }
    lines.extend(shown.notes.iter().cloned().map(Line::from));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn no_key_that_orders_is_a_key_that_jogs() {
        let keys = Keys::default();
        let now = tactus_types::Time::ZERO;
        for c in ('a'..='z').chain([' ']) {
            let jogs = keys.press(c, now);
            let asks = asked(plain(KeyCode::Char(c)));
            assert_eq!(jogs, asks == Some(Key::Jog(c)) && jogs, "{c}");
            assert!(
                !(jogs && matches!(asks, Some(Key::Wish(_) | Key::Leave))),
                "{c}"
            );
        }
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(asked(control_c), Some(Key::Leave));
        assert_eq!(asked(plain(KeyCode::Esc)), Some(Key::Leave));
        assert_eq!(
            asked(plain(KeyCode::Enter)),
            Some(Key::Wish(Wish::TakeOver))
        );
        assert_eq!(
            asked(plain(KeyCode::Backspace)),
            Some(Key::Wish(Wish::HandBack))
        );
        assert_eq!(
            asked(plain(KeyCode::Char(' '))),
            Some(Key::Wish(Wish::Hold))
        );
        assert_eq!(
            asked(plain(KeyCode::Char('x'))),
            Some(Key::Wish(Wish::Stop))
        );
    }

    #[test]
    fn the_screen_says_which_joint_to_move_and_by_how_much() {
        let shown = Shown {
            mode: Some(ModeWord::Align),
            asks: Some(Source::Hold),
            closed: true,
            engaged: true,
            joints: vec![("elbow".into(), 0.5, 0.2), ("wrist".into(), 0.21, 0.2)],
            tolerance_rad: 0.1,
            meets: true,
            ..Shown::default()
        };
        let lines: Vec<String> = text(&shown).iter().map(Line::to_string).collect();
        let of = |name: &str| lines.iter().find(|l| l.starts_with(name)).expect("a line");
        assert!(of("elbow").contains("move it by -0.300"), "{lines:?}");
        assert!(of("wrist").contains("together"), "{lines:?}");
        assert!(of("mode").contains("align") && of("commands").contains("nobody"));
    }
}
