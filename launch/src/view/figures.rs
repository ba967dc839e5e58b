//! Tables of numbers: control loop, ages and times of chunks, counters, joints.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tactus_host::account::Quantiles;
use tactus_wire::{Service, Telemetry};

use super::Shown;
use super::draw::{millis, panel};

/// Columns that the tables need.
pub const COLUMNS: u16 = 34;
/// Rows of the three upper tables.
const CONTROL: u16 = 4;
const TIMES: u16 = 6;
const COUNTERS: u16 = 3;
/// Rows of an arm of six joints with its gripper.
const JOINTS: u16 = 1 + 6 + 1;
/// Rows of the whole column.
pub const ROWS: u16 = CONTROL + TIMES + COUNTERS + JOINTS;

/// Draws the column, the joints last; what does not fit is cut.
pub fn render(frame: &mut Frame, area: Rect, shown: &Shown) {
    let rows = [CONTROL, TIMES, COUNTERS]
        .map(Constraint::Length)
        .into_iter();
    let [control_area, times_area, counters_area, joints_area] =
        Layout::vertical(rows.chain([Constraint::Min(0)])).areas(area);
    control(frame, control_area, shown);
    times(frame, times_area, shown);
    counters(frame, counters_area, shown);
    joints(frame, joints_area, shown);
}

fn table(frame: &mut Frame, area: Rect, title: &str, lines: Vec<Line>) {
    let block = panel(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(Paragraph::new(lines), inner);
}

/// A number that calls for attention unless it is zero.
fn noted(text: String, count: u64) -> Span<'static> {
    let style = if count > 0 {
        Style::new().yellow().bold()
    } else {
        Style::new()
    };
    Span::styled(text, style)
}

fn control(frame: &mut Frame, area: Rect, shown: &Shown) {
    let telemetry = shown.telemetry.unwrap_or_default();
    let overruns = shown.mode.as_ref().map_or(0, |m| m.counters.overruns);
    let late = telemetry.lateness;
    let columns = [
        late.p50_micros,
        late.p99_micros,
        late.p999_micros,
        late.max_micros,
    ];
    let values: String = columns
        .iter()
        .map(|v| format!("{:>6}", micros(*v)))
        .collect();
    let lines = vec![
        Line::from(vec![
            format!("{} ticks, ", telemetry.ticks).into(),
            noted(format!("{overruns} overruns"), overruns),
        ]),
        Line::from("            p50   p99 p99.9   max".dim()),
        Line::from(format!("late, us {values}")),
    ];
    table(
        frame,
        area,
        &format!("control loop, {} Hz", shown.rate_hz),
        lines,
    );
}

/// Microseconds in at most five columns: from 100 ms on, milliseconds.
fn micros(micros: f64) -> String {
    if micros < 99_999.5 {
        format!("{micros:.0}")
    } else {
        format!("{:.0}ms", micros * 1e-3)
    }
}

fn times(frame: &mut Frame, area: Rect, shown: &Shown) {
    let Telemetry {
        age_p50_millis,
        age_p99_millis,
        inference_millis,
        overhead_millis,
        queue_millis,
        ..
    } = shown.telemetry.unwrap_or_default();
    let row = |name: &str, Quantiles { p50, p99, .. }: &Quantiles, last: f64| {
        Line::from(format!(
            "{name:<9}{:>8}{:>8}{last:>8.2}",
            millis(*p50),
            millis(*p99)
        ))
    };
    let lines = vec![
        Line::from("              p50     p99    last".dim()),
        Line::from(format!(
            "age      {age_p50_millis:>8.2}{age_p99_millis:>8.2}"
        )),
        row("inference", &shown.inference, inference_millis),
        row("overhead", &shown.overhead, overhead_millis),
        row("queue", &shown.queue, queue_millis),
    ];
    let title = match &shown.service {
        Some(service) if service.arms > 1 => beside_others(service),
        _ => "age at actuation, chunks, ms".into(),
    };
    table(frame, area, &title, lines);
}

/// An engine that serves several arms: what is left of this arm's time, and how many are served.
fn beside_others(service: &Service) -> String {
    let of = format!("{} of {} arms", service.admitted_arms, service.arms);
    match service.slack {
        _ if !service.admitted => format!("chunks, ms; not one of {of}"),
        Some(slack) => format!("chunks, ms; slack {}, {of}", slack.least / 1_000_000),
        None => format!("chunks, ms; {of}"),
    }
}

fn counters(frame: &mut Frame, area: Rect, shown: &Shown) {
    let counters = shown.mode.as_ref().map(|m| m.counters).unwrap_or_default();
    let lines = vec![
        Line::from(" chunks   holds  starved  limited".dim()),
        Line::from(vec![
            format!("{:>7}", counters.chunks_accepted).into(),
            noted(format!("{:>8}", counters.holds), counters.holds),
            noted(
                format!("{:>9}", counters.starved_ticks),
                counters.starved_ticks,
            ),
            format!("{:>9}", counters.limited_ticks).into(),
        ]),
    ];
    // Of an engine on another host: how well it knows the arm's host's time.
    let title = shown
        .engine_time
        .map_or("chunks, holds, ticks".to_owned(), |time| {
            format!(
                "chunks; engine's time +-{:.1} ms",
                time.bound.as_secs_f64() * 1e3
            )
        });
    table(frame, area, &title, lines);
}

/// Joints by number; degrees are for display only.
fn joints(frame: &mut Frame, area: Rect, shown: &Shown) {
    let mut lines = Vec::new();
    if let Some(state) = &shown.state {
        let rows = state.q.iter().zip(state.dq.iter()).zip(1..);
        lines.extend(rows.map(|((q, dq), number)| {
            let name = format!("j{number}");
            let (q, dq) = (q.to_degrees(), dq.to_degrees());
            Line::from(format!("{name:<8}{q:>9.1} deg{dq:>7.1} deg/s"))
        }));
        lines.push(Line::from(format!(
            "{:<8}{:>9.2} open",
            "gripper", state.opening
        )));
    } else {
        lines.push(Line::styled("no joint state yet", Modifier::DIM));
    }
    table(frame, area, "joints", lines);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lateness_keeps_to_its_columns_and_its_unit() {
        for (value, text) in [
            (0.4, "0"),
            (99_999.4, "99999"),
            (99_999.6, "100ms"),
            (5e6, "5000ms"),
        ] {
            assert_eq!(micros(value), text);
        }
    }

    #[test]
    fn milliseconds_keep_to_their_columns() {
        for (value, text) in [
            (4_u64, "0.00"),
            (9_994_000, "9.99"),
            (999_990_000, "999.99"),
        ] {
            assert_eq!(millis(Duration::from_nanos(value)), text);
        }
        assert_eq!(millis(Duration::from_secs(3600)), "3600000");
    }
}
