//! The screen as a function of what is shown: which panel lies where, the head lines, the news.
//!
//! From 80x24 on, every panel but the pictures has its place; pictures take what is left beside or below, if that is
//! enough to see something. On a smaller terminal panels are cut, the last ones first.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};
use tactus_wire::ModeWord;

use super::pictures::Pictures;
use super::{Mark, Shown, figures, stages};

/// Rows of the head.
const HEAD: u16 = 3;
/// Fewest columns of the stages.
const STAGES_COLUMNS: u16 = 46;
/// Fewest columns and rows of everything but head and pictures.
const COLUMNS: u16 = STAGES_COLUMNS + figures::COLUMNS;
const ROWS: u16 = figures::ROWS;
/// Fewest rows of news across the screen, with their title; with fewer left they stand below the stages.
const NEWS: u16 = 5;
/// Fewest columns of a picture.
const PICTURE: u16 = 16;
/// Episodes whose results are shown at most.
const MARKS: usize = 20;

/// Draws everything.
pub fn draw(frame: &mut Frame, shown: &Shown, pictures: &Pictures) {
    let panels = Panels::within(frame.area(), pictures.len(), pictures.aspect());
    head(frame, panels.head, shown);
    stages::render(frame, panels.stages, shown);
    figures::render(frame, panels.figures, shown);
    news(frame, panels.news, &shown.news);
    for (picture, area) in pictures.iter().zip(panels.pictures) {
        picture.render(frame, area);
    }
}

/// A panel: a line with its title on it.
pub fn panel(title: &str) -> Block<'static> {
    let title = Line::from(format!(" {title} ").bold());
    Block::new()
        .borders(Borders::TOP)
        .border_style(Modifier::DIM)
        .title_top(title)
}

/// Milliseconds with two digits behind the point; from a second on, with none.
pub fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    if millis < 999.995 {
        format!("{millis:.2}")
    } else {
        format!("{millis:.0}")
    }
}

/// Where everything lies.
#[derive(Debug, PartialEq, Eq)]
struct Panels {
    head: Rect,
    stages: Rect,
    figures: Rect,
    news: Rect,
    /// One per camera; empty when there is no room for any.
    pictures: Vec<Rect>,
}

impl Panels {
    fn within(area: Rect, cameras: usize, aspect: f64) -> Self {
        let [head, body] =
            Layout::vertical([Constraint::Length(HEAD), Constraint::Min(0)]).areas(area);
        let (rest, pictures) = split_pictures(body, cameras, aspect);
        // News across the screen, if there are rows for them; else below the stages, which leave some.
        let across = rest.height >= ROWS + NEWS;
        let tables = if across { ROWS } else { rest.height };
        let [tables, below] =
            Layout::vertical([Constraint::Length(tables), Constraint::Min(0)]).areas(rest);
        let figures = figures::COLUMNS.min(tables.width.saturating_sub(STAGES_COLUMNS));
        let [left, figures] =
            Layout::horizontal([Constraint::Min(0), Constraint::Length(figures)]).areas(tables);
        let left = shrunk(left, u16::from(figures.width > 0));
        let [stages, beside] =
            Layout::vertical([Constraint::Length(stages::ROWS), Constraint::Min(0)]).areas(left);
        Self {
            head,
            stages,
            figures,
            news: if across { below } else { beside },
            pictures,
        }
    }
}

/// `area` without its last `columns`.
fn shrunk(area: Rect, columns: u16) -> Rect {
    Rect {
        width: area.width.saturating_sub(columns),
        ..area
    }
}

/// What is left of `body`, and a place for each picture where they are largest: to the right, one below the other or
/// side by side, or at the bottom, side by side.
fn split_pictures(body: Rect, cameras: usize, aspect: f64) -> (Rect, Vec<Rect>) {
    let Some(n) = u16::try_from(cameras).ok().filter(|n| *n > 0) else {
        return (body, vec![]);
    };
    let right = body.width.saturating_sub(COLUMNS);
    let bottom = body.height.saturating_sub(ROWS + NEWS);
    // Columns of one picture, when each may take so many columns, of which one is a gap, and rows, of which one is its
    // title. A cell is half as wide as it is high.
    let columns = |columns: u16, rows: u16| {
        let by_rows = 2.0 * f64::from(rows.saturating_sub(1)) * aspect;
        columns.saturating_sub(1).min(by_rows as u16)
    };
    let rows = |columns: u16| (f64::from(columns) / aspect / 2.0).ceil() as u16 + 1;
    let stacked = columns(right, body.height / n);
    let beside = columns(right / n, body.height);
    let below = columns(body.width / n, bottom);
    let largest = stacked.max(beside).max(below);
    if largest < PICTURE {
        return (body, vec![]);
    }
    let equal = |size: u16| vec![Constraint::Length(size); cameras];
    if below == largest && below > stacked && below > beside {
        let [rest, places] =
            Layout::vertical([Constraint::Min(0), Constraint::Length(rows(below))]).areas(body);
        return (
            rest,
            Layout::horizontal(equal(below + 1)).split(places).to_vec(),
        );
    }
    let (width, direction) = if stacked >= beside {
        (stacked, Layout::vertical(equal(rows(stacked))))
    } else {
        (n * (beside + 1) - 1, Layout::horizontal(equal(beside + 1)))
    };
    let [rest, places] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(body);
    (shrunk(rest, 1), direction.split(places).to_vec())
}

fn head(frame: &mut Frame, area: Rect, shown: &Shown) {
    let [first, second, third] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    let name = Line::from(vec![
        "tactus demo".bold(),
        format!("  cell {}", shown.cell).into(),
    ]);
    let room = usize::from(first.width).saturating_sub(name.width() + 2);
    ends(frame, first, name, score(shown, room));
    ends(frame, second, mode(shown), Line::from("q: end".dim()));
    let instruction = match shown.instruction.as_str() {
        "" => Line::from("no instruction yet".dim()),
        words => Line::from(format!("\"{words}\"").bold()),
    };
    let mut third_line = instruction;
    if let Some(said) = &shown.reasoning {
        third_line.push_span(format!("  {said}").cyan());
    }
    frame.render_widget(third_line, third);
}

/// `left` and `right` at the ends of one row; `right` gives way.
fn ends(frame: &mut Frame, area: Rect, left: Line, right: Line) {
    let room = area.width.saturating_sub(left.width() as u16);
    frame.render_widget(left, area);
    if room > right.width() as u16 {
        frame.render_widget(right.alignment(Alignment::Right), area);
    }
}

fn mode(shown: &Shown) -> Line<'static> {
    let Some(report) = &shown.mode else {
        return Line::from(vec![
            " STARTING ".reversed(),
            "  waiting for the arm host".dim(),
        ]);
    };
    let colour = match report.mode {
        ModeWord::Boot => Color::Blue,
        ModeWord::Ready => Color::Cyan,
        ModeWord::Policy => Color::Green,
        ModeWord::Goto => Color::Magenta,
        ModeWord::Align | ModeWord::Teleop => Color::LightBlue,
        ModeWord::Hold => Color::Yellow,
        ModeWord::Stopped => Color::Red,
    };
    let word = format!(" {} ", report.mode).to_uppercase();
    Line::from(vec![
        Span::styled(word, Style::new().fg(colour).bold().reversed()),
        Span::styled(format!("  {}", report.reason), colour),
    ])
}

/// Episode, tally, and as many of the newest results as fit into `room` columns.
fn score(shown: &Shown, room: usize) -> Line<'static> {
    let mut text = match (shown.episode, shown.episodes) {
        (None, _) => return Line::from("no episode yet".dim()),
        (Some((k, age)), Some(n)) => format!("episode {k} of {n}, {:.1} s", age.as_secs_f64()),
        (Some((k, age)), None) => format!("episode {k}, {:.1} s", age.as_secs_f64()),
    };
    if !shown.marks.is_empty() {
        let successes = shown.marks.iter().filter(|m| **m == Mark::Success).count();
        text += &format!("   {successes}/{} done ", shown.marks.len());
    }
    let marks = shown
        .marks
        .len()
        .min(MARKS)
        .min(room.saturating_sub(text.len()));
    let newest = shown.marks.iter().skip(shown.marks.len() - marks);
    let marks = newest.map(|mark| match mark {
        Mark::Success => "✓".green(),
        Mark::Miss => "✗".red(),
        Mark::Aborted => "!".yellow(),
    });
    let mut spans = vec![Span::raw(text)];
    spans.extend(marks);
    Line::from(spans)
}

/// The newest news that fit, newest at the bottom.
fn news(frame: &mut Frame, area: Rect, news: &[(Duration, String)]) {
    let block = panel("news");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let rows = usize::from(inner.height);
    let mut lines: Vec<Line> = Vec::new();
    for (at, text) in news.iter().rev() {
        if lines.len() >= rows {
            break;
        }
        let time = format!("{:>7.1} s  ", at.as_secs_f64());
        let indent = " ".repeat(time.len());
        let wrapped = wrap(text, usize::from(inner.width).saturating_sub(time.len()));
        let item = wrapped.into_iter().enumerate().rev();
        lines.extend(item.map(|(i, words)| {
            Line::from(vec![
                if i == 0 { time.clone() } else { indent.clone() }.dim(),
                words.into(),
            ])
        }));
    }
    lines.truncate(rows);
    lines.reverse();
    frame.render_widget(Paragraph::new(lines), inner);
}

/// `text` in lines of at most `width` columns, broken between words where that is possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let length = Span::raw(word).width();
        if used > 0 && used + 1 + length <= width {
            used += 1;
            if let Some(line) = lines.last_mut() {
                line.push(' ');
            }
        } else if used > 0 {
            lines.push(String::new());
            used = 0;
        }
        for letter in word.chars() {
            let length = Span::raw(letter.to_string()).width();
            if used > 0 && used + length > width {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(letter);
            }
            used += length;
        }
    }
    lines
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod screen_tests;
