//! The periodic loops that people write otherwise: a tokio interval, and a Python loop around `time.sleep`.
//!
//! Both keep absolute deadlines and skip those that passed, as ours does, and do nothing else in a tick: the better
//! version of each. Decides nothing.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tactus_host::beat::Beat;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Deadlines on `time.monotonic_ns`; prints what it missed, and every lateness in nanoseconds.
const LOOP: &str = "
import sys, time
period, ticks = int(sys.argv[1]), int(sys.argv[2])
now, late, missed = time.monotonic_ns, [], 0
due = now() + period
while len(late) + missed < ticks:
    t = now()
    if t > due:
        k = (t - due) // period + 1
        missed += k
        due += k * period
    time.sleep(max(0, due - now()) * 1e-9)
    late.append(max(0, now() - due))
    due += period
print(missed)
print(*late)
";

/// Whether `python3` runs here.
pub fn python_is_here() -> bool {
    let asked = Command::new("python3")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

/// A Python loop, `ticks` deadlines long.
pub fn python(period: Duration, ticks: u64) -> anyhow::Result<Beat> {
    let output = Command::new("python3")
        .args(["-c", LOOP])
        .args([period.as_nanos().to_string(), ticks.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("python3")?;
    if !output.status.success() {
        bail!(
            "python3: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    parsed(&String::from_utf8_lossy(&output.stdout))
}

/// What the Python loop printed.
fn parsed(text: &str) -> anyhow::Result<Beat> {
    let mut beat = Beat::default();
    let (missed, late) = text.split_once('\n').unwrap_or((text, ""));
    beat.missed = missed.trim().parse().context("python3: missed ticks")?;
    for nanos in late.split_whitespace() {
        let nanos = nanos.parse().context("python3: lateness")?;
        beat.lateness.record(Duration::from_nanos(nanos));
        beat.ticks += 1;
    }
    Ok(beat)
}

/// A tokio interval on a worker thread of its own, `ticks` deadlines long.
pub fn tokio(period: Duration, ticks: u64) -> anyhow::Result<Beat> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .context("tokio")?;
    let beats = runtime.spawn(async move {
        let mut beat = Beat::default();
        let mut due = Instant::now() + period;
        let mut interval = interval_at(due, period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        while beat.ticks + beat.missed < ticks {
            let scheduled = interval.tick().await;
            beat.lateness.record(scheduled.elapsed());
            let skipped = scheduled.saturating_duration_since(due).as_nanos();
            beat.missed += u64::try_from(skipped / period.as_nanos().max(1)).unwrap_or(0);
            beat.ticks += 1;
            due = scheduled + period;
        }
        beat
    });
    runtime.block_on(beats).context("tokio")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_prints_is_counted() {
        let beat = parsed("2\n60000 80000 1000000\n").expect("read");
        assert_eq!((beat.ticks, beat.missed), (3, 2));
        let max = beat.lateness.quantiles().max;
        assert!(max.abs_diff(Duration::from_millis(1)) < Duration::from_micros(2));
        assert!(parsed("Traceback").is_err());
    }

    #[test]
    fn every_deadline_of_a_tokio_interval_is_counted_or_missed() {
        let beat = tokio(Duration::from_millis(1), 50).expect("runs");
        assert_eq!(beat.lateness.count(), beat.ticks);
        assert!((50..60).contains(&(beat.ticks + beat.missed)), "{beat:?}");
    }
}
