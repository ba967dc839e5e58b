//! The whole screen, drawn into memory.

use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use tactus_sim::{Cube, Task};
use tactus_types::{Generation, JointState, JointVec, Stage, StageTimes, Time};
use tactus_wire::{Counters, Lateness, ModeReport, ModeWord, Telemetry};

use super::*;
use crate::cell::{self, Cell};
use crate::live::Live;
use crate::summary::Row;
use crate::view::copy;
use crate::view::pictures::tests::frame;

fn demo_cell() -> Cell {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("cells/demo.toml");
    cell::load(&file).expect("the demo cell is legal")
}

/// A demo in its third episode, with one stage over its budget.
fn busy(cell: &Cell) -> Live {
    let mut stages = StageTimes::default();
    for stage in Stage::ALL {
        stages.set(stage, cell.budget.get(stage) / 2);
    }
    stages.set(
        Stage::Denoise,
        cell.budget.get(Stage::Denoise) + Duration::from_micros(3210),
    );
    let row = |episode, success, aborted: Option<&str>| Row {
        success,
        secs: 4.2,
        chunks: 40,
        aborted: aborted.map(str::to_owned),
        ..Row::new(
            episode,
            7001,
            "pick up the red cube".into(),
            Some(Task::Pick(Cube::Red)),
        )
    };
    let mut live = Live {
        mode: Some(ModeReport {
            mode: ModeWord::Policy,
            reason: String::new(),
            fault: None,
            generation: Generation::default(),
            since: Time::ZERO,
            instruction: "grab the blue block".into(),
            counters: Counters {
                ticks: 61_234,
                overruns: 2,
                starved_ticks: 17,
                holds: 1,
                limited_ticks: 345,
                chunks_accepted: 1204,
                chunks_discarded: 3,
                orders_refused: 0,
                setpoints_refused: 0,
                turned_away: 0,
                denied: 0,
            },
            lease: None,
        }),
        telemetry: Some(Telemetry {
            request_id: 9,
            ticks: 61_234,
            lateness: Lateness {
                p50_micros: 61.0,
                p99_micros: 212.4,
                p999_micros: 830.0,
                max_micros: 143_211.0,
            },
            age_p50_millis: 96.25,
            age_p99_millis: 141.5,
            stages,
            overhead_millis: 6.5,
            inference_millis: 31.75,
            queue_millis: 1.25,
            ..Telemetry::default()
        }),
        state: Some(JointState {
            captured_at: Time::ZERO,
            seq: 1,
            epoch: 1,
            q: JointVec::from_fn(6, |i| i as f64 * std::f64::consts::FRAC_PI_6 - 1.0),
            dq: JointVec::from_fn(6, |i| 0.1 * i as f64),
            opening: 0.83,
            torque: true,
        }),
        instruction: "grab the blue block".into(),
        episode: Some((3, Instant::now())),
        episodes: Some(20),
        rows: vec![
            row(0, true, None),
            row(1, false, Some("the simulated world was restarted")),
        ],
        budget: Some(cell.budget),
        frames: vec![Some(frame(1, 224, 224)), None],
        ..Live::default()
    };
    live.chunks.inference.record(Duration::from_millis(33));
    for i in 0..40 {
        let text = format!("message number {i} with a file /tmp/engine.log and more");
        live.news.push_back((Duration::from_millis(1500 * i), text));
    }
    live
}

fn drawn(live: &Live, cell: &Cell, (width, height): (u16, u16)) -> Buffer {
    let now = Instant::now();
    let (shown, frames) = copy(live, cell, now);
    let mut pictures = Pictures::new(cell.cameras.iter().map(|c| c.name.as_str()));
    pictures.refresh(&frames, now);
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal
        .draw(|frame| draw(frame, &shown, &pictures))
        .expect("memory");
    terminal.backend().buffer().clone()
}

fn rows(buffer: &Buffer) -> Vec<String> {
    let row = |y| {
        (0..buffer.area.width)
            .map(|x| buffer[(x, y)].symbol())
            .collect()
    };
    (0..buffer.area.height).map(row).collect()
}

fn text(buffer: &Buffer) -> String {
    rows(buffer)
        .iter()
        .map(|row| format!("{}\n", row.trim_end()))
        .collect()
}

#[test]
fn everything_but_pictures_is_on_80x24_and_pictures_too_from_120x40() {
    let cell = demo_cell();
    for size in [(80, 24), (120, 40), (160, 48), (80, 60)] {
        let buffer = drawn(&busy(&cell), &cell, size);
        let text = text(&buffer);
        let mut wanted = vec![
            "cell demo",
            "POLICY",
            "\"grab the blue block\"",
            "episode 3 of 20",
            "1/2 done ✓!",
            "500 Hz",
            "61234 ticks",
            "2 overruns",
            "61   212   830 143ms",
            "96.25  141.50",
            "33.0",
            "31.75",
            "6.50",
            "1204",
            "345",
            "j1",
            "j6",
            "gripper",
            "0.83",
            "message number 39",
            "denoise",
            "19.21 /  16.00",
            "denoise 3.21 over",
            "and margin",
            "/  94.00",
        ];
        wanted.extend(Stage::ALL.map(Stage::name));
        let pictures = ["scene", "wrist", "▀", "no picture yet"];
        if size == (80, 24) {
            assert!(!text.contains('▀'), "no room for pictures:\n{text}");
        } else {
            wanted.extend(pictures);
        }
        for wanted in wanted {
            assert!(
                text.contains(wanted),
                "`{wanted}` is missing at {size:?}:\n{text}"
            );
        }
    }
}

#[test]
fn only_the_stage_over_its_budget_is_red() {
    let cell = demo_cell();
    let buffer = drawn(&busy(&cell), &cell, (120, 40));
    let red = |stage: Stage| {
        let y = rows(&buffer)
            .iter()
            .position(|row| row.starts_with(stage.name()));
        let y = y.expect("every stage has a row") as u16;
        (0..40).any(|x| buffer[(x, y)].fg == Color::Red)
    };
    let over: Vec<Stage> = Stage::ALL.into_iter().filter(|s| red(*s)).collect();
    assert_eq!(over, [Stage::Denoise]);
}

#[test]
fn a_hold_says_why_in_the_first_lines() {
    let cell = demo_cell();
    let mut live = busy(&cell);
    if let Some(report) = &mut live.mode {
        report.mode = ModeWord::Hold;
        report.reason = "the engine is gone".into();
    }
    let buffer = drawn(&live, &cell, (80, 24));
    assert!(
        rows(&buffer)[1].starts_with(" HOLD   the engine is gone"),
        "{}",
        text(&buffer)
    );
    assert_eq!(buffer[(1, 1)].fg, Color::Yellow);
}

#[test]
fn the_newest_message_is_the_last_and_is_broken_between_words() {
    let cell = demo_cell();
    for size in [(80, 24), (120, 40)] {
        let buffer = drawn(&busy(&cell), &cell, size);
        let rows = rows(&buffer);
        let at = |n: u32| {
            rows.iter()
                .position(|row| row.contains(&format!("message number {n} ")))
        };
        assert!(at(38) < at(39) && at(38).is_some(), "{}", text(&buffer));
        let last = rows.last().map(String::as_str).unwrap_or_default();
        assert!(last.contains("and more"), "{}", text(&buffer));
    }
}

#[test]
fn nothing_known_and_no_room_are_drawn_too() {
    let cell = demo_cell();
    for live in [Live::default(), busy(&cell)] {
        for width in [1, 2, 20, 46, 47, 60, 79, 80, 81, 97, 120, 160, 250] {
            for height in [1, 2, 3, 4, 10, 20, 24, 25, 40, 48, 90] {
                drawn(&live, &cell, (width, height));
            }
        }
    }
    let text = text(&drawn(&Live::default(), &cell, (80, 24)));
    for wanted in [
        "STARTING",
        "no episode yet",
        "none yet",
        "no joint state yet",
    ] {
        assert!(text.contains(wanted), "`{wanted}` is missing:\n{text}");
    }
}

#[test]
fn panels_never_overlap_and_never_leave_the_screen() {
    for (width, height) in [
        (80, 24),
        (100, 30),
        (120, 40),
        (160, 48),
        (80, 70),
        (300, 24),
        (40, 12),
    ] {
        for (cameras, aspect) in [(0, 1.0), (1, 1.0), (2, 1.0), (3, 16.0 / 9.0), (2, 0.5)] {
            let area = Rect::new(0, 0, width, height);
            let panels = Panels::within(area, cameras, aspect);
            let mut all = vec![panels.head, panels.stages, panels.figures, panels.news];
            all.extend(&panels.pictures);
            all.retain(|r| !r.is_empty());
            for (i, a) in all.iter().enumerate() {
                assert_eq!(a.intersection(area), *a, "{panels:?}");
                assert!(
                    all.iter().skip(i + 1).all(|b| !a.intersects(*b)),
                    "{panels:?}"
                );
            }
            assert!(panels.pictures.is_empty() || panels.pictures.len() == cameras);
        }
    }
}

#[test]
fn words_are_kept_whole_unless_they_are_wider_than_the_line() {
    assert_eq!(
        wrap("one two  three\nfour", 9),
        ["one two", "three", "four"]
    );
    assert_eq!(
        wrap("a /very/long/path b", 6),
        ["a", "/very/", "long/p", "ath b"]
    );
    assert_eq!(wrap("", 5), [""]);
    assert!(wrap("some text", 0).iter().all(|line| line.len() <= 1));
}
