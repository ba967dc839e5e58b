//! What this host is doing: processor time, stolen time, waiting threads, clock and heat, as Linux tells it.
//!
//! Reads counters and turns two readings into the load between them. What a machine does not tell (a container without
//! pressure information, a virtual one without a clock) stays unknown. GPUs are not looked at.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tactus_types::{HostLoad, Time};

/// Cores that are asked for clock and heat; each costs a file to read.
const MOST_CORES: usize = 32;

/// One reading of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Reading {
    at: Time,
    times: CpuTimes,
    /// Microseconds in which some thread waited for a core.
    waited_micros: Option<u64>,
    mhz: Option<f64>,
    throttles: Option<u64>,
}

/// `/proc/stat`, in ticks since boot, all cores together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct CpuTimes {
    busy: u64,
    idle: u64,
    steal: u64,
    runnable: u32,
    cores: u32,
}

/// Reads the counters, again and again.
#[derive(Debug)]
pub struct LoadMeter {
    clocks: Vec<PathBuf>,
    heats: Vec<PathBuf>,
    last: Option<Reading>,
}

impl Default for LoadMeter {
    fn default() -> Self {
        Self::new()
    }
}

impl LoadMeter {
    /// A meter that has read nothing.
    pub fn new() -> Self {
        let files = |file: &str| {
            let path = |core| PathBuf::from(format!("/sys/devices/system/cpu/cpu{core}/{file}"));
            let paths = (0..MOST_CORES).map(path);
            paths.filter(|path| path.exists()).collect()
        };
        Self {
            clocks: files("cpufreq/scaling_cur_freq"),
            heats: files("thermal_throttle/core_throttle_count"),
            last: None,
        }
    }

    /// The load since the last call; `None` on the first, and where `/proc` is not what Linux makes it.
    pub fn since_last(&mut self, now: Time) -> Option<HostLoad> {
        let reading = self.read(now)?;
        let last = self.last.replace(reading)?;
        Some(between(&last, &reading))
    }

    fn read(&self, at: Time) -> Option<Reading> {
        let text = |path: &Path| std::fs::read_to_string(path).ok();
        let number = |path: &PathBuf| text(path)?.trim().parse::<u64>().ok();
        let khz = self.clocks.iter().filter_map(number).min();
        let throttles = self.heats.iter().filter_map(number);
        Some(Reading {
            at,
            times: cpu_times(&text(Path::new("/proc/stat"))?)?,
            waited_micros: text(Path::new("/proc/pressure/cpu")).and_then(|t| waited_micros(&t)),
            mhz: khz.map(|khz| khz as f64 * 1e-3),
            throttles: (!self.heats.is_empty()).then(|| throttles.sum()),
        })
    }
}

/// The sums of `/proc/stat`; see proc_stat(5). Guests are counted in `user` already.
fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let mut lines = stat.lines();
    let all = lines.next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = all
        .split_whitespace()
        .map_while(|t| t.parse().ok())
        .collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else {
        return None;
    };
    let of_core = |line: &&str| line.starts_with("cpu");
    let cores = stat.lines().skip(1).take_while(of_core).count();
    let running = lines.find_map(|line| line.strip_prefix("procs_running "));
    Some(CpuTimes {
        busy: user + nice + system + irq + softirq,
        idle: idle + iowait,
        steal,
        runnable: running?.trim().parse().ok()?,
        cores: u32::try_from(cores).ok()?,
    })
}

/// `total` of the line `some` of `/proc/pressure/cpu`.
fn waited_micros(pressure: &str) -> Option<u64> {
    let some = pressure
        .lines()
        .find_map(|line| line.strip_prefix("some "))?;
    let total = some
        .split_whitespace()
        .find_map(|w| w.strip_prefix("total="))?;
    total.parse().ok()
}

/// The load between two readings. Counters of a virtual machine may go back by a tick; that counts as none.
fn between(from: &Reading, to: &Reading) -> HostLoad {
    let grown = |of: fn(&CpuTimes) -> u64| of(&to.times).saturating_sub(of(&from.times)) as f64;
    let (busy, idle, steal) = (grown(|t| t.busy), grown(|t| t.idle), grown(|t| t.steal));
    let all = (busy + idle + steal).max(1.0);
    let elapsed = to.at.since(from.at).max(Duration::from_micros(1));
    let both = |a: Option<u64>, b: Option<u64>| Some(b?.saturating_sub(a?));
    let waited = both(from.waited_micros, to.waited_micros);
    HostLoad {
        steal: steal / all,
        busy: busy / all,
        runnable: to.times.runnable,
        cores: to.times.cores,
        pressure: waited.map(|us| (us as f64 * 1e-6 / elapsed.as_secs_f64()).min(1.0)),
        mhz: to.mhz,
        throttles: both(from.throttles, to.throttles),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 20 30 400 50 1 9 40 7 0\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 1 2\nctxt 5\n\
                        procs_running 3\nprocs_blocked 0\n";

    #[test]
    fn shares_are_of_the_time_between_two_readings() {
        let first = cpu_times(STAT).expect("read");
        assert_eq!((first.busy, first.idle, first.steal), (160, 450, 40));
        assert_eq!((first.runnable, first.cores), (3, 2));
        let later = STAT.replace(
            "cpu  100 20 30 400 50 1 9 40",
            "cpu  130 20 40 440 50 1 9 60",
        );
        let from = Reading {
            at: Time::from_millis(1000),
            times: first,
            waited_micros: waited_micros("some avg10=1.5 avg60=0.0 total=500000\nfull total=9\n"),
            mhz: None,
            throttles: None,
        };
        let to = Reading {
            at: Time::from_millis(2000),
            times: cpu_times(&later).expect("read"),
            waited_micros: Some(750_000),
            mhz: Some(2800.0),
            throttles: Some(3),
        };
        let load = between(&from, &to);
        assert!((load.steal - 0.2).abs() < 1e-12 && (load.busy - 0.4).abs() < 1e-12);
        assert_eq!(load.pressure, Some(0.25));
        assert_eq!((load.mhz, load.throttles), (Some(2800.0), None));
        assert_eq!(between(&to, &from).steal, 0.0, "counters that went back");
    }

    #[test]
    fn what_is_not_there_is_unknown_and_nothing_is_made_up() {
        assert_eq!(cpu_times(""), None);
        assert_eq!(cpu_times("cpu  1 2 3\n"), None);
        assert_eq!(waited_micros("full avg10=0.00 total=3"), None);
        let mut meter = LoadMeter::new();
        assert_eq!(meter.since_last(Time::ZERO), None, "one reading is no load");
        let load = meter.since_last(Time::from_millis(10)).expect("Linux");
        assert!(
            load.cores > 0 && (0.0..=1.0).contains(&load.busy),
            "{load:?}"
        );
    }
}
