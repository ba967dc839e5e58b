//! `tactus calibrate latency camera`: how much later than the light a picture says it was captured.
//!
//! The terminal that this runs in turns white and black at irregular times, before the camera; the pictures show it some
//! time later. Decides when the light changes, and which cells of the picture see it: those that change most. The terminal
//! and the screen take their own time, which is part of what is measured: `--screen-ms` takes it off.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::crossterm::style::{Color, ResetColor, SetBackgroundColor};
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::crossterm::{cursor, execute};
use serde_json::json;
use tactus_latency::{Sampled, edges};
use tactus_types::{CameraFrame, Clock, Time};
use tactus_wire::Topic;

use super::args::CameraLatencyArgs;
use super::pictures::decoded;
use crate::conformance::heard::Heard;
use crate::roles;
use crate::{camera, cell, result};

/// Shortest and longest time between two changes, milliseconds.
const PAUSE_MS: (u64, u64) = (400, 800);
/// Longest latency that is looked for, seconds: less than the shortest pause.
const LONGEST: f64 = 0.39;
/// Side of the grid that a picture is reduced to.
const GRID: usize = 16;
/// Share of its cells that count: the screen need not fill the picture.
const CELLS: f64 = 0.05;

/// Flashes, measures and prints.
pub fn camera(args: &CameraLatencyArgs) -> anyhow::Result<()> {
    let cell = cell::load(&args.role.cell)?;
    let of = camera::one(&cell, &args.camera)?;
    if !std::io::stdout().is_terminal() {
        bail!("the light is the terminal itself: run this in one, on a screen before the camera");
    }
    let joined = roles::join(&args.role, "latency")?;
    let key = cell.wire.key(&Topic::CameraImage(of.name.clone()));
    let frames = Heard::<CameraFrame>::listen(&joined.session, &key)?;
    let changes = {
        let mut screen = Screen::take()?;
        screen.show(false)?;
        std::thread::sleep(Duration::from_secs(1));
        let mut changes: Vec<(Time, bool)> = Vec::new();
        let chance = RandomState::new();
        for i in 0..args.changes {
            if joined.stop.load(Ordering::Relaxed) {
                break;
            }
            let on = i % 2 == 0;
            screen.show(on)?;
            changes.push((joined.clock.now(), on));
            let span = PAUSE_MS.1 - PAUSE_MS.0;
            let pause = PAUSE_MS.0 + chance.hash_one(i) % span;
            std::thread::sleep(Duration::from_millis(pause));
        }
        changes
    };
    let frames = frames.take();
    let origin = frames.messages.first();
    let origin = origin.with_context(|| format!("camera `{}` published nothing", of.name))?;
    let origin = origin.message.captured_at;
    let mut pictures = Vec::with_capacity(frames.messages.len());
    for delivery in &frames.messages {
        let frame = &delivery.message;
        pictures.push((frame.captured_at.secs_from(origin), reduced(frame)?));
    }
    let series = watched(&pictures);
    let changes: Vec<(f64, bool)> = changes
        .iter()
        .map(|(at, on)| (at.secs_from(origin), *on))
        .collect();
    let found =
        edges(&changes, &series, LONGEST).with_context(|| format!("camera `{}`", of.name))?;
    let secs = found.secs - args.screen_ms * 1e-3;
    result::line(format_args!(
        "camera `{}`: a picture shows what was {:.1} +- {:.1} ms before its capture time; {} changes, {} left out",
        of.name,
        1e3 * secs,
        1e3 * found.bound_secs,
        found.changes,
        found.strays
    ))?;
    if let Some(file) = &args.json {
        let value = json!({
            "camera": of.name.as_str(),
            "photon_to_capture_ms": 1e3 * secs,
            "bound_ms": 1e3 * found.bound_secs,
            "screen_ms": args.screen_ms,
            "changes": found.changes,
            "strays": found.strays,
        });
        super::write_json(file, &value)?;
    }
    Ok(())
}

/// The terminal as a light; as it was, once dropped.
struct Screen;

impl Screen {
    fn take() -> anyhow::Result<Self> {
        execute!(std::io::stdout(), EnterAlternateScreen, cursor::Hide).context("the terminal")?;
        Ok(Self)
    }

    /// All of it white, or black.
    fn show(&mut self, on: bool) -> anyhow::Result<()> {
        let colour = match on {
            true => Color::Rgb {
                r: 255,
                g: 255,
                b: 255,
            },
            false => Color::Rgb { r: 0, g: 0, b: 0 },
        };
        let mut out = std::io::stdout();
        execute!(out, SetBackgroundColor(colour), Clear(ClearType::All)).context("the terminal")?;
        out.flush().context("the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to do about a terminal that is gone.
        let _ = execute!(
            std::io::stdout(),
            ResetColor,
            cursor::Show,
            LeaveAlternateScreen
        );
    }
}

/// Mean level of each cell of a grid, 0 to 1.
fn reduced(frame: &CameraFrame) -> anyhow::Result<Vec<f64>> {
    let picture = decoded(frame)?;
    let (width, height) = (picture.width as usize, picture.height as usize);
    if width < GRID || height < GRID {
        bail!(
            "camera `{}`: a frame of {width}x{height} is too small",
            frame.camera
        );
    }
    let mut cells = vec![(0.0, 0.0); GRID * GRID];
    for (i, pixel) in picture.rgb.chunks_exact(3).enumerate() {
        let (row, column) = ((i / width) * GRID / height, (i % width) * GRID / width);
        if let Some((sum, count)) = cells.get_mut(row * GRID + column) {
            *sum += pixel.iter().map(|v| f64::from(*v)).sum::<f64>() / 765.0;
            *count += 1.0;
        }
    }
    Ok(cells.into_iter().map(|(sum, count)| sum / count).collect())
}

/// How bright the cells are that change most.
fn watched(pictures: &[(f64, Vec<f64>)]) -> Vec<Sampled> {
    let range = |cell: usize| {
        let values = || {
            pictures
                .iter()
                .filter_map(|(_, cells)| cells.get(cell).copied())
        };
        values().fold(f64::NEG_INFINITY, f64::max) - values().fold(f64::INFINITY, f64::min)
    };
    let mut order: Vec<(f64, usize)> = (0..GRID * GRID).map(|cell| (range(cell), cell)).collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    order.truncate((CELLS * (GRID * GRID) as f64).ceil() as usize);
    let mut series: Vec<Sampled> = pictures
        .iter()
        .map(|(at, cells)| {
            let sum: f64 = order.iter().filter_map(|(_, cell)| cells.get(*cell)).sum();
            Sampled {
                at: *at,
                value: sum / order.len() as f64,
            }
        })
        .collect();
    series.sort_by(|a, b| a.at.total_cmp(&b.at));
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cells_that_see_the_screen_count() {
        let picture = |at: f64, on: bool| {
            let mut cells = vec![0.4; GRID * GRID];
            for cell in cells.iter_mut().take(13) {
                *cell = f64::from(u8::from(on));
            }
            // Something else moves a little.
            cells[200] = 0.5 + 0.1 * at;
            (at, cells)
        };
        let series = watched(&[picture(0.0, false), picture(1.0, true), picture(2.0, false)]);
        let values: Vec<f64> = series.iter().map(|s| s.value).collect();
        assert_eq!(values, [0.0, 1.0, 0.0]);
    }
}
