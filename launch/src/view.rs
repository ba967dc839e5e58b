//! The live terminal view of the demo: mode, score, latency against its budget, control loop, joints, news, cameras.
//!
//! Copies what it shows out of [`Live`] under the lock, then decodes and draws without it. Decides only what is shown
//! and when the operator wants to end; changes nothing that moves the arm.
//!
//! - [`draw`]: the screen as a function of what is shown, for any size of terminal.
//! - [`stages`]: bars of the latency stages.
//! - [`figures`]: control loop, ages, counters, joints.
//! - [`pictures`]: camera frames as coloured half-blocks.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tactus_host::account::Quantiles;
use tactus_types::{Budget, CameraFrame, Followed, JointState};
use tactus_wire::{ModeReport, Service, Telemetry};

use crate::cell::Cell;
use crate::live::{Live, Shared};
use crate::log;
use crate::roles::Stopping;
use crate::summary::Row;

mod draw;
mod figures;
mod pictures;
mod stages;

use draw::draw;
use pictures::Pictures;

/// Time between two redraws: 10 Hz.
const PERIOD: Duration = Duration::from_millis(100);

/// Shows `shared` on the whole terminal until `stop` is set. `q`, Esc and Ctrl-C set it; so does a failure of the view,
/// because a demo that nobody can watch or end has no purpose. The terminal is restored however this ends. What this
/// process logs goes to the file `log` meanwhile.
///
/// # Errors
/// When the terminal cannot be switched to full screen, read or written, or `log` cannot be opened.
pub fn show(shared: &Shared, cell: &Cell, log: &Path, stop: &AtomicBool) -> anyhow::Result<()> {
    // Declared before the terminal, so that they are dropped after it.
    let _stopping = Stopping(stop);
    let _aside = log::aside(log)?;
    let _restoring = Restoring;
    let mut terminal = ratatui::try_init().context("switching the terminal to full screen")?;
    let mut pictures = Pictures::new(cell.cameras.iter().map(|c| c.name.as_str()));
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let (shown, frames) = copy(&shared.lock(), cell, now);
        pictures.refresh(&frames, now);
        terminal
            .draw(|frame| draw(frame, &shown, &pictures))
            .context("drawing")?;
        react(&mut terminal, stop, now + PERIOD).context("reading the keyboard")?;
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

/// Reacts to keys until the next redraw is due.
fn react(terminal: &mut DefaultTerminal, stop: &AtomicBool, until: Instant) -> std::io::Result<()> {
    while event::poll(until.saturating_duration_since(Instant::now()))? {
        match event::read()? {
            Event::Key(key) => match asked(key) {
                Some(Wish::End) => {
                    stop.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                // Removes what another writer left on the screen.
                Some(Wish::Repaint) => return terminal.clear(),
                None => {}
            },
            Event::Resize(..) => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    End,
    Repaint,
}

fn asked(key: KeyEvent) -> Option<Wish> {
    if key.kind != KeyEventKind::Press {
        return None;
    }
    match (key.code, key.modifiers.contains(KeyModifiers::CONTROL)) {
        (KeyCode::Char('q') | KeyCode::Esc, _) | (KeyCode::Char('c'), true) => Some(Wish::End),
        (KeyCode::Char('l'), true) => Some(Wish::Repaint),
        _ => None,
    }
}

/// How an episode ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Done as told.
    Success,
    /// It was not, in the time there was.
    Miss,
    /// It was cut short.
    Aborted,
}

impl From<&Row> for Mark {
    fn from(row: &Row) -> Self {
        match (row.success, &row.aborted) {
            (true, _) => Self::Success,
            (false, None) => Self::Miss,
            (false, Some(_)) => Self::Aborted,
        }
    }
}

/// Everything on the screen but the pictures: a copy, so that nobody waits for a terminal.
#[derive(Debug, Clone, Default)]
struct Shown {
    /// Name of the cell.
    cell: String,
    /// Declared rate of the control loop, Hz.
    rate_hz: f64,
    mode: Option<ModeReport>,
    telemetry: Option<Telemetry>,
    state: Option<JointState>,
    budget: Option<Budget>,
    engine_time: Option<Followed>,
    instruction: String,
    /// What the language model says about it, in one line.
    reasoning: Option<String>,
    /// How the engine serves this arm.
    service: Option<Service>,
    /// Episode being run, counted from 1, and its age.
    episode: Option<(u64, Duration)>,
    /// Episodes wanted.
    episodes: Option<u64>,
    /// Finished episodes, oldest first.
    marks: Vec<Mark>,
    /// What happened, newest last, with its time since the start.
    news: Vec<(Duration, String)>,
    /// Over all chunks: inside ONNX Runtime.
    inference: Quantiles,
    /// Over all chunks: ready to accepted, less inference.
    overhead: Quantiles,
    /// Over all chunks: received to engine free.
    queue: Quantiles,
}

/// `text` without breaks and without what could move the cursor.
fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).collect()
}

/// What is shown of `live`, and the newest frame per camera; the frames' bytes are shared, not copied.
fn copy(live: &Live, cell: &Cell, now: Instant) -> (Shown, Vec<Option<CameraFrame>>) {
    let shown = Shown {
        cell: cell.name.to_string(),
        rate_hz: cell.control_rate_hz,
        mode: live.mode.clone(),
        telemetry: live.telemetry,
        state: live.state,
        budget: live.budget,
        engine_time: live.engine_time,
        instruction: live.instruction.clone(),
        service: live.service.clone(),
        reasoning: live.reasoning.as_ref().map(|said| one_line(&said.text)),
        episode: live
            .episode
            .map(|(k, began)| (k, now.saturating_duration_since(began))),
        episodes: live.episodes,
        marks: live.rows.iter().map(Mark::from).collect(),
        news: live.news.iter().cloned().collect(),
        inference: live.chunks.inference.quantiles(),
        overhead: live.chunks.overhead.quantiles(),
        queue: live.chunks.queue.quantiles(),
    };
    (shown, live.frames.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_control_c_end_and_c_alone_does_not() {
        let plain = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        for key in [plain(KeyCode::Char('q')), plain(KeyCode::Esc), control('c')] {
            assert_eq!(asked(key), Some(Wish::End), "{key:?}");
        }
        assert_eq!(asked(plain(KeyCode::Char('c'))), None);
        assert_eq!(asked(control('l')), Some(Wish::Repaint));
    }

    #[test]
    fn an_episode_cut_short_is_not_a_miss_unless_it_succeeded_before() {
        let row = |success, aborted: Option<&str>| Row {
            success,
            aborted: aborted.map(str::to_owned),
            ..Row::new(0, 0, String::new(), None)
        };
        assert_eq!(Mark::from(&row(true, None)), Mark::Success);
        assert_eq!(Mark::from(&row(true, Some("late"))), Mark::Success);
        assert_eq!(Mark::from(&row(false, None)), Mark::Miss);
        assert_eq!(Mark::from(&row(false, Some("late"))), Mark::Aborted);
    }
}
