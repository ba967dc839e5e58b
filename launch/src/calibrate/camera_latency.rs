//! `tactus calibrate latency camera`: how much later than the light a picture says it was captured.
//!
//! The terminal that this runs in turns white and black at irregular times, before the camera; the pictures show it some
//! time later. Decides when the light changes, and which cells of the picture see it: those that change most. The terminal
//! and the screen take their own time, which is part of what is measured: `--screen-ms` takes it off. What the cell file takes
//! off capture times already (`camera.latency_ms`) is put back first, so that the result is what belongs into the cell file,
//! however often it is measured.

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
use tactus_latency::{EdgeError, Edges, Sampled, edges};
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
    if frames.messages.is_empty() {
        bail!("camera `{}` published nothing", of.name);
    }
    let mut pictures = Vec::with_capacity(frames.messages.len());
    for delivery in &frames.messages {
        let frame = &delivery.message;
        pictures.push((frame.captured_at, reduced(frame)?));
    }
    let in_force = of.real.as_ref().map_or(Duration::ZERO, |real| real.latency);
    let found = in_all(&changes, pictures, in_force);
    let found = found.with_context(|| format!("camera `{}`", of.name))?;
    let secs = found.secs - args.screen_ms * 1e-3;
    result::line(format_args!(
        "camera `{}`: in all {:.1} +- {:.1} ms from the light to the capture time; the cell file says {:.1} ms (camera.latency_ms); {} changes, {} left out",
        of.name,
        1e3 * secs,
        1e3 * found.bound_secs,
        1e3 * in_force.as_secs_f64(),
        found.changes,
        found.strays
    ))?;
    if let Some(file) = &args.json {
        let value = json!({
            "camera": of.name.as_str(),
            "photon_to_capture_ms": 1e3 * secs,
            "bound_ms": 1e3 * found.bound_secs,
            "in_force_ms": 1e3 * in_force.as_secs_f64(),
            "screen_ms": args.screen_ms,
            "changes": found.changes,
            "strays": found.strays,
        });
        super::write_json(file, &value)?;
    }
    Ok(())
}

/// How long after `changes` of the light `pictures` show it, by their capture times before `in_force` was taken off them.
fn in_all(
    changes: &[(Time, bool)],
    pictures: Vec<(Time, Vec<f64>)>,
    in_force: Duration,
) -> Result<Edges, EdgeError> {
    let origin = pictures.first().map_or(Time::ZERO, |(at, _)| *at);
    let said = |at: Time| at.secs_from(origin) + in_force.as_secs_f64();
    let pictures: Vec<(f64, Vec<f64>)> = pictures
        .into_iter()
        .map(|(at, cells)| (said(at), cells))
        .collect();
    let changes: Vec<(f64, bool)> = changes
        .iter()
        .map(|(at, on)| (at.secs_from(origin), *on))
        .collect();
    edges(&changes, &watched(&pictures), LONGEST)
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

    #[test]
    fn the_latency_in_force_is_part_of_the_result() {
        let millis = |at: u64| Time::ZERO + Duration::from_millis(at);
        // Every 0.4 to 0.7 s, pictures every 33 ms, and 79 ms from the light to the time that their source says.
        let mut at = 1000;
        let changes: Vec<(Time, bool)> = (0..40_u64)
            .map(|i| {
                at += 400 + (i * 197) % 300;
                (millis(at), i % 2 == 0)
            })
            .collect();
        let picture = |i: u64, in_force: u64| {
            let said = millis(500 + i * 33);
            let seen = said.before(Duration::from_millis(79));
            let on = changes.iter().rev().find(|(at, _)| *at <= seen);
            let level = f64::from(u8::from(on.is_some_and(|(_, on)| *on)));
            let captured = said.before(Duration::from_millis(in_force));
            (captured, vec![level; GRID * GRID])
        };
        // Not corrected, corrected, and corrected by too much.
        for in_force in [0, 78, 95] {
            let pictures = (0..800).map(|i| picture(i, in_force)).collect();
            let found = in_all(&changes, pictures, Duration::from_millis(in_force));
            let found = found.expect("seen");
            assert!((found.secs - 0.079).abs() < 2e-3, "{in_force}: {found:?}");
        }
    }
}
