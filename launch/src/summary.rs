//! The demo's result: one row per episode, figures over the run, as JSON and as tables.

use std::time::Duration;

use comfy_table::{Table, presets};
use serde::Serialize;
use tactus_eval::{Interval, Tally};
use tactus_host::account::{Durations, Quantiles};
use tactus_sim::{Task, TaskKind};
use tactus_types::{HostLoad, Misses, MotionQuality, Stage};

/// One episode.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Number of the episode, from 0.
    pub episode: u64,
    /// Seed of its world and of the policy's noise.
    pub seed: u64,
    /// What the arm was told.
    pub instruction: String,
    /// `pick` or `place`, if the instruction names a task.
    pub task: Option<&'static str>,
    /// Cube that the instruction names, if it names one.
    pub target: Option<&'static str>,
    /// Cube that was lifted first.
    pub lifted: Option<&'static str>,
    /// Cube that was placed in the bowl first.
    pub in_bowl: Option<&'static str>,
    /// What the instruction says was done, with the cube that it names.
    pub success: bool,
    /// Duration, seconds of the cell's clock.
    pub secs: f64,
    /// Holds during the episode.
    pub holds: u64,
    /// Chunks that entered during the episode.
    pub chunks: u64,
    /// How smooth the commanded motion was; `null` when nothing moved.
    pub motion: Option<Motion>,
    /// SHA-256 over every command of the episode, in lock-step: equal means the same trajectory bit for bit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commands_sha256: Option<String>,
    /// Why it ended early, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aborted: Option<String>,
}

impl Row {
    /// An episode that has just begun.
    pub fn new(episode: u64, seed: u64, instruction: String, task: Option<Task>) -> Self {
        Self {
            episode,
            seed,
            instruction,
            task: task.map(|task| task.kind().name()),
            target: task.map(|task| task.cube().name()),
            lifted: None,
            in_bowl: None,
            success: false,
            secs: 0.0,
            holds: 0,
            chunks: 0,
            motion: None,
            commands_sha256: None,
            aborted: None,
        }
    }
}

/// How smooth the commanded motion of one episode was; see `tactus-host`'s `motion`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Motion {
    /// Hand-overs from one chunk to the next.
    pub seams: u64,
    /// Mean distance between what old plan and new chunk want at the hand-over, rad.
    pub seam_jump_mean_rad: f64,
    /// The largest.
    pub seam_jump_max_rad: f64,
    /// Mean cosine of the angle between their joint velocities.
    pub seam_cosine_mean: f64,
    /// Largest acceleration of the commands, rad/s^2.
    pub acceleration_max: f64,
    /// Largest jerk of the commands, rad/s^3.
    pub jerk_max: f64,
    /// Spectral arc length of the joint speed; nearer to 0 is smoother.
    pub sparc: f64,
}

impl Motion {
    /// Of measured figures; `None` when nothing moved.
    pub fn of(quality: &MotionQuality) -> Option<Self> {
        let MotionQuality {
            seams,
            seam_jump_mean,
            seam_jump_max,
            seam_cosine_mean,
            acceleration_max,
            jerk_max,
            sparc,
        } = *quality;
        (acceleration_max > 0.0).then(|| Self {
            seams,
            seam_jump_mean_rad: round(seam_jump_mean),
            seam_jump_max_rad: round(seam_jump_max),
            seam_cosine_mean: round(seam_cosine_mean),
            acceleration_max: round(acceleration_max),
            jerk_max: round(jerk_max),
            sparc: round(sparc),
        })
    }
}

/// Median and 99th percentile, milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Millis {
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
}

impl Millis {
    /// Of counted durations.
    pub fn of(durations: &Durations) -> Self {
        let Quantiles { p50, p99, .. } = durations.quantiles();
        let millis = |d: Duration| round(d.as_secs_f64() * 1e3);
        Self {
            p50: millis(p50),
            p99: millis(p99),
        }
    }
}

/// Lateness of control ticks, microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Lateness {
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// Largest.
    pub max: f64,
}

/// The control loop.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct ControlFigures {
    /// Control rate.
    pub rate_hz: f64,
    /// Ticks since the arm was enabled.
    pub ticks: u64,
    /// Ticks whose deadline passed before the thread asked for it.
    pub overruns: u64,
    /// Lateness.
    pub lateness_us: Lateness,
}

/// Everything the demo reports.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// `realtime` or `lockstep`.
    pub mode: &'static str,
    /// Episodes run.
    pub episodes: u64,
    /// Episodes in which the task was done with the named cube.
    pub successes: u64,
    /// Their share.
    pub success_rate: f64,
    /// SHA-256 of the bundle's manifest.
    pub bundle_id: String,
    /// What ran the graphs.
    pub provider: String,
    /// The control loop; `null` in lock-step, where time is not real.
    pub control: Option<ControlFigures>,
    /// Age of the observation behind each policy command when it was applied.
    pub age_at_actuation_ms: Option<Millis>,
    /// Inside ONNX Runtime.
    pub inference_ms: Millis,
    /// From the later of newest frame received and engine free, to chunk accepted, less inference.
    pub overhead_ms: Option<Millis>,
    /// Frame received to engine free.
    pub queue_ms: Option<Millis>,
    /// Each stage.
    pub stages_ms: serde_json::Map<String, serde_json::Value>,
    /// Ticks of an episode, after its first chunk, without an action that was due.
    pub starved_ticks: u64,
    /// Times a fault led to a hold.
    pub holds: u64,
    /// Ticks whose setpoint a limit changed.
    pub limited_ticks: u64,
    /// Deadlines missed, by what missed them, and the host's load around the last; `null` in lock-step.
    pub misses: Option<MissFigures>,
    /// One per episode.
    pub rows: Vec<Row>,
}

/// Names of the cubes, in the order of the confusion table.
const CUBES: [&str; 3] = ["red", "green", "blue"];

fn round(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The load of a host.
pub fn host_json(load: HostLoad) -> serde_json::Value {
    let HostLoad {
        steal,
        busy,
        runnable,
        cores,
        pressure,
        mhz,
        throttles,
    } = load;
    serde_json::json!({
        "steal": round(steal),
        "busy": round(busy),
        "runnable": runnable,
        "cores": cores,
        "pressure": pressure.map(round),
        "mhz": mhz,
        "throttles": throttles,
    })
}

/// Deadlines missed, by what missed them, and the host's load around the last.
#[derive(Debug, Clone, Copy)]
pub struct MissFigures {
    /// How many.
    pub misses: Misses,
    /// The load; `None` before the first.
    pub at_miss: Option<HostLoad>,
}

impl Serialize for MissFigures {
    /// `host` (control ticks), `unanswered`, and each stage that missed any.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { misses, at_miss } = self;
        let counted = Stage::ALL.into_iter().filter(|s| misses.of(*s) > 0);
        let stages = counted.map(|s| (s.name().to_owned(), misses.of(s).into()));
        let value = serde_json::json!({
            "stages": stages.collect::<serde_json::Map<_, _>>(),
            "host": misses.host,
            "unanswered": misses.unanswered,
            "host_at_last_miss": at_miss.map(host_json),
        });
        value.serialize(serializer)
    }
}

/// Quantiles of each stage, by name.
pub fn stages(durations: &[Durations]) -> serde_json::Map<String, serde_json::Value> {
    Stage::ALL
        .iter()
        .zip(durations)
        .map(|(stage, d)| {
            let Millis { p50, p99 } = Millis::of(d);
            (
                stage.name().to_owned(),
                serde_json::json!({ "p50": p50, "p99": p99 }),
            )
        })
        .collect()
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tally = Tally {
            successes: self.successes,
            trials: self.episodes,
        };
        let Interval { low, high } = tally.wilson(0.95);
        writeln!(
            f,
            "\n{} of {} episodes: done as told ({:.0} %, 95 % interval {:.0} to {:.0} %)",
            self.successes,
            self.episodes,
            100.0 * self.success_rate,
            100.0 * low,
            100.0 * high
        )?;
        for kind in TaskKind::ALL {
            if let Some(table) = confusion(&self.rows, kind) {
                writeln!(f, "{table}")?;
            }
        }
        let mut table = Table::new();
        table
            .load_preset(presets::UTF8_FULL_CONDENSED)
            .set_header(["", "p50", "p99", "p99.9", "max"]);
        let cell = |v: f64| format!("{v:.2}");
        if let Some(c) = &self.control {
            let Lateness {
                p50,
                p99,
                p999,
                max,
            } = c.lateness_us;
            let name = format!("control lateness at {} Hz, us", c.rate_hz);
            table.add_row([name, cell(p50), cell(p99), cell(p999), cell(max)]);
        }
        for (name, millis) in [
            ("age at actuation, ms", self.age_at_actuation_ms),
            ("inference, ms", Some(self.inference_ms)),
            ("overhead, ms", self.overhead_ms),
            ("queue, ms", self.queue_ms),
        ] {
            if let Some(Millis { p50, p99 }) = millis {
                table.add_row([
                    name.to_owned(),
                    cell(p50),
                    cell(p99),
                    String::new(),
                    String::new(),
                ]);
            }
        }
        for stage in Stage::ALL {
            let name = stage.name();
            let value = self.stages_ms.get(name);
            let at = |q: &str| {
                value
                    .and_then(|v| v.get(q)?.as_f64())
                    .map_or(String::new(), cell)
            };
            table.add_row([
                format!("  {name}, ms"),
                at("p50"),
                at("p99"),
                String::new(),
                String::new(),
            ]);
        }
        writeln!(f, "{table}")?;
        let moved: Vec<&Motion> = self.rows.iter().filter_map(|r| r.motion.as_ref()).collect();
        if !moved.is_empty() {
            let mean = |of: fn(&Motion) -> f64| {
                moved.iter().map(|m| of(m)).sum::<f64>() / moved.len() as f64
            };
            let max = |of: fn(&Motion) -> f64| moved.iter().map(|m| of(m)).fold(0.0, f64::max);
            writeln!(
                f,
                "motion: seams jump {:.1} mrad on average ({:.0} at most), cosine {:.2}; at most {:.0} rad/s^2 and \
                 {:.0} rad/s^3; SPARC {:.2}",
                1e3 * mean(|m| m.seam_jump_mean_rad),
                1e3 * max(|m| m.seam_jump_max_rad),
                mean(|m| m.seam_cosine_mean),
                max(|m| m.acceleration_max),
                max(|m| m.jerk_max),
                mean(|m| m.sparc),
            )?;
        }
        if let Some(MissFigures { misses, at_miss }) = &self.misses {
            write!(f, "deadlines missed: {misses}")?;
            match at_miss {
                Some(load) => writeln!(f, "; host around the last: {load}")?,
                None => writeln!(f)?,
            }
        }
        let ticks = self.control.map_or(String::new(), |c| {
            format!("{} ticks, {} overruns, ", c.ticks, c.overruns)
        });
        let Self {
            holds,
            starved_ticks,
            limited_ticks,
            provider,
            bundle_id,
            ..
        } = self;
        let bundle: String = bundle_id.chars().take(12).collect();
        write!(
            f,
            "{ticks}{holds} holds, {starved_ticks} starved ticks, {limited_ticks} limited ticks; \
             provider {provider}, bundle {bundle}"
        )
    }
}

/// Rows: cube named; columns: cube lifted first, or in the bowl first. `None` where no episode asked for the task.
fn confusion(rows: &[Row], kind: TaskKind) -> Option<Table> {
    let rows: Vec<&Row> = rows
        .iter()
        .filter(|r| r.task == Some(kind.name()))
        .collect();
    if rows.is_empty() {
        return None;
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    let corner = format!("named \\ {}", kind.done_word());
    table.set_header([&corner, "red", "green", "blue", "none"]);
    for target in CUBES {
        let first = |row: &Row| match kind {
            TaskKind::Pick => row.lifted,
            TaskKind::Place => row.in_bowl,
        };
        let count = |cube: Option<&str>| {
            rows.iter()
                .filter(|r| r.target == Some(target) && first(r) == cube)
                .count()
                .to_string()
        };
        let mut cells = vec![target.to_owned()];
        cells.extend(CUBES.map(|c| count(Some(c))));
        cells.push(count(None));
        table.add_row(cells);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_cube_in_the_bowl_stands_beside_the_named_one() {
        let mut row = Row::new(
            0,
            1,
            "put the red cube in the bowl".into(),
            Task::named("red bowl"),
        );
        row.in_bowl = Some("blue");
        row.lifted = Some("blue");
        let rows = [row];
        assert!(confusion(&rows, TaskKind::Pick).is_none());
        let table = confusion(&rows, TaskKind::Place)
            .expect("an episode")
            .to_string();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .filter(|line| line.contains('┆'))
            .map(|line| line.split(['│', '┆']).map(str::trim).collect())
            .collect();
        assert_eq!(
            lines[0][1..6],
            ["named \\ in bowl", "red", "green", "blue", "none"]
        );
        assert_eq!(lines[1][1..6], ["red", "0", "0", "1", "0"]);
    }
}
