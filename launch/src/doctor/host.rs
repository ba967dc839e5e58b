//! The machine: what it permits, what it does besides, and how late it wakes a thread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tactus_host::account::Quantiles;
use tactus_host::realtime::{FIFO_ADVICE, Grant, LOCK_ADVICE, lock_refused};
use tactus_host::{LoadMeter, RealtimeSpec, beat};
use tactus_types::{Clock, HostLoad};
use tactus_wire::MonotonicClock;

use super::{Finding, Report, busy};
use crate::cell::{Cell, period};
use crate::{record, summary};

/// How long ticks are measured, seconds.
const SECS: f64 = 2.0;
/// A median tick later than this is worth a word, sleeping ..
const SLEEPING: Duration = Duration::from_micros(50);
/// .. and spinning.
const SPINNING: Duration = Duration::from_micros(5);
/// Space that a black box should find: some hundred files.
const SPACE: u64 = 1 << 30;
/// Space without which it writes nothing.
const NO_SPACE: u64 = 100 << 20;
const GOVERNOR: &str = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";

/// Adds what it finds, for `cell` where there is a legal one.
pub fn look(report: &mut Report, cell: Option<&Cell>) -> anyhow::Result<()> {
    report.add(cores(cell))?;
    report.add(governor(std::fs::read_to_string(GOVERNOR).ok().as_deref()))?;
    let clock = MonotonicClock::new()?;
    let spec = cell.map_or(
        RealtimeSpec {
            priority: 80,
            cpu: None,
            spin: Duration::ZERO,
        },
        |cell| cell.realtime,
    );
    let rate_hz = cell.map_or(1000.0, |cell| cell.control_rate_hz);
    let tick = period(rate_hz);
    let lock = lock_refused();
    let mut meter = LoadMeter::new();
    meter.since_last(clock.now());
    let bar = busy("measuring how late ticks are");
    let (beat, granted) = beat::measure(&spec, tick, SECS, &clock)?;
    let load = meter.since_last(clock.now());
    bar.finish_and_clear();
    report.add(match &granted.fifo {
        Grant::Granted => Finding::pass(
            "real-time scheduling",
            format!("SCHED_FIFO {} granted", spec.priority),
        ),
        Grant::NotAsked => Finding::pass("real-time scheduling", "not asked for"),
        Grant::Refused(why) => Finding::warn(
            "real-time scheduling",
            format!("SCHED_FIFO {}: {why}; ticks will be later", spec.priority),
            FIFO_ADVICE,
        ),
    })?;
    report.add(match lock {
        None => Finding::pass("locked memory", "permitted"),
        Some(why) => Finding::warn("locked memory", format!("refused: {why}"), LOCK_ADVICE),
    })?;
    if let (Some(cpu), Grant::Refused(why)) = (spec.cpu, &granted.pinned) {
        report.add(Finding::fail(
            "core of the control thread",
            format!("arm.cpu = {cpu}: {why}"),
            "name a core of this machine, or leave arm.cpu out",
        ))?;
    }
    report.add(lateness(&beat, rate_hz, &spec))?;
    if let Some(load) = load {
        report.add(host_load(&load))?;
        report
            .figures
            .insert("host".into(), summary::host_json(load));
    }
    let Quantiles {
        p50,
        p99,
        p999,
        max,
    } = beat.lateness.quantiles();
    let micros = |d: Duration| (d.as_secs_f64() * 1e9).round() / 1e3;
    let figures = json!({
        "rate_hz": rate_hz,
        "ticks": beat.ticks,
        "missed": beat.missed,
        "p50": micros(p50),
        "p99": micros(p99),
        "p999": micros(p999),
        "max": micros(max),
    });
    report.figures.insert("lateness_us".into(), figures);
    if let Some(cell) = cell {
        report.add(space(cell))?;
    }
    Ok(())
}

fn cores(cell: Option<&Cell>) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cell.map_or(1, |cell| cell.intra_threads);
    let found = format!("{cores} cores, {threads} for the engine (engine.intra_threads)");
    if threads < cores {
        Finding::pass("cores", found)
    } else {
        Finding::warn(
            "cores",
            found,
            "leave a core to the control thread: fewer engine.intra_threads, or the engine on another machine",
        )
    }
}

/// `setting` is the first core's governor; `None` where the machine has none.
fn governor(setting: Option<&str>) -> Finding {
    match setting.map(str::trim) {
        Some("performance") => Finding::pass("clock", "governor `performance`"),
        Some(other) => Finding::warn(
            "clock",
            format!("governor `{other}`: cores slow down while they wait"),
            "sudo cpupower frequency-set -g performance",
        ),
        None => Finding::pass("clock", "not governed here (a virtual machine, or fixed)"),
    }
}

fn host_load(load: &HostLoad) -> Finding {
    let found = load.to_string();
    if load.steal > 0.05 {
        let mend =
            "other guests of this machine take its time: a machine of its own keeps better time";
        Finding::warn("load now", found, mend)
    } else if load.pressure.is_some_and(|pressure| pressure > 0.2) {
        let mend = "something else runs here; end it, or keep arm.cpu free of it";
        Finding::warn("load now", found, mend)
    } else {
        Finding::pass("load now", found)
    }
}

fn lateness(beat: &beat::Beat, rate_hz: f64, spec: &RealtimeSpec) -> Finding {
    let Quantiles { p50, p99, max, .. } = beat.lateness.quantiles();
    let micros = |d: Duration| format!("{:.0} us", d.as_secs_f64() * 1e6);
    let found = format!(
        "at {rate_hz} Hz p50 {}, p99 {}, max {}; {} of {} missed",
        micros(p50),
        micros(p99),
        micros(max),
        beat.missed,
        beat.ticks + beat.missed
    );
    let tick = period(rate_hz);
    let wanted = match spec.spin.is_zero() {
        true => SLEEPING,
        false => SPINNING,
    };
    if p50 > tick {
        let mend = "the control thread cannot keep this rate: a lower arm.control_rate_hz, or a quieter machine";
        Finding::fail("lateness", found, mend)
    } else if p50 > wanted {
        let mend = "real-time scheduling, a quieter machine, or arm.spin_us (launch/cells/README.md says what it costs)";
        Finding::warn("lateness", found, mend)
    } else if beat.missed > 0 || p99 > tick / 2 {
        let mend = "something keeps the thread from running now and then; `tactus bench beat --engine` looks longer";
        Finding::warn("lateness", found, mend)
    } else {
        Finding::pass("lateness", found)
    }
}

/// Where the black box writes.
fn space(cell: &Cell) -> Finding {
    let folder = record::folder(cell);
    let wanted = cell.record.as_ref().is_some_and(|record| record.black_box);
    let there: PathBuf = folder
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("/"))
        .into();
    let bytes = rustix::fs::statvfs(&there).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let kept = match wanted {
        true => "black box",
        false => "no black box ([record])",
    };
    match bytes {
        Err(e) => Finding::warn(
            "disk",
            format!("{}: {e}", there.display()),
            "name another record.folder",
        ),
        Ok(bytes) => {
            let found = format!(
                "{:.1} GB free in {}; {kept}",
                bytes as f64 * 1e-9,
                there.display()
            );
            let mend = "free some, or name another record.folder";
            match bytes {
                ..NO_SPACE if wanted => Finding::fail("disk", found, mend),
                ..SPACE => Finding::warn("disk", found, mend),
                _ => Finding::pass("disk", found),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_governor_that_saves_power_is_a_warning_with_the_way_out() {
        assert_eq!(governor(None).verdict, Verdict::Pass);
        assert_eq!(governor(Some("performance\n")).verdict, Verdict::Pass);
        let slow = governor(Some("powersave\n"));
        assert_eq!(slow.verdict, Verdict::Warn);
        assert!(slow.mend.is_some_and(|mend| mend.contains("cpupower")));
    }

    #[test]
    fn a_rate_that_the_machine_cannot_keep_fails() {
        let spec = RealtimeSpec {
            priority: 0,
            cpu: None,
            spin: Duration::ZERO,
        };
        let with = |micros: u64, missed| {
            let mut beat = beat::Beat {
                ticks: 100,
                missed,
                ..beat::Beat::default()
            };
            (0..100).for_each(|_| beat.lateness.record(Duration::from_micros(micros)));
            lateness(&beat, 1000.0, &spec).verdict
        };
        assert_eq!(with(30, 0), Verdict::Pass);
        assert_eq!(with(30, 1), Verdict::Warn);
        assert_eq!(with(80, 0), Verdict::Warn);
        assert_eq!(with(1100, 0), Verdict::Fail);
    }
}
