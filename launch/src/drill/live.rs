//! Drills in real time: a running cell, whose processes are killed and stopped and whose links are broken.
//!
//! The processes are those of `tactus run`, with the code that they always run; links are broken by a bridge between
//! their two ends ([`bridge`]). Judged is what the cell says over the wire ([`judge`]), against the ladder's table. Decides
//! which faults run in which order: those that need the same links, in one bring-up of the cell.

mod bridge;
mod faults;
mod flood;
mod human;
mod judge;
mod observe;
mod recover;
mod stage;
mod trial;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tactus_bundle::AnyBundle;
use tactus_types::FaultKind;

pub use self::faults::{Judged, LIVE, LiveWish};
use self::stage::{Needs, Stage};
use self::trial::{LiveTrial, Told};
use super::trial::In;
use super::{bar, instruction, report};
use crate::cell::Cell;
use crate::cli::{DrillArgs, DrillSet};
use crate::result;

/// Repetitions of `all` and of a fault of one's own.
const REPETITIONS: u64 = 3;
/// Modes that a fault in real time can meet.
const MODES: [In; 6] = In::ALL;

/// A repetition, as it stands in the JSON.
#[derive(Serialize)]
struct Trial<'a> {
    fault: &'a str,
    mode: &'static str,
    seed: u64,
    reason: Option<&'static str>,
    hold_after_ms: Option<f64>,
    bound_ms: Option<f64>,
    noise_ms: f64,
    host_noise_ms: f64,
    ending_ms: Option<f64>,
    largest_step_mrad: f64,
    largest_lead_mrad: f64,
    peak_jerk: f64,
    unheard_ticks: u64,
    recovered: bool,
    enabled: bool,
    began_again: u64,
    short: &'a [String],
}

/// What `--json` holds.
#[derive(Serialize)]
struct Document<'a> {
    seed: u64,
    repetitions: u64,
    bundle_id: String,
    /// 1-minute load average of the machine before and after, and its cores.
    load: [f64; 2],
    cores: usize,
    rows: &'a [report::Row],
    trials: Vec<Trial<'a>>,
}

/// `tactus drill --real-time`. Exit code 3 when anything fell short.
///
/// # Errors
/// When the cell does not come up or cannot be brought into a mode, or the drill is interrupted; its processes are ended.
pub fn drill(args: &DrillArgs, cell: &Cell) -> anyhow::Result<ExitCode> {
    if args.list {
        result::line(report::live_list(&cell.ladder))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(set @ (DrillSet::Soak | DrillSet::Takeover)) = args.set {
        let set = if set == DrillSet::Soak {
            "soak"
        } else {
            "takeover"
        };
        bail!("{set}: expected a drill in lock-step, got --real-time");
    }
    let real = cell.sim.is_none();
    let file = cell.file.display();
    if real && !args.arm_is_clear {
        bail!(
            "cell file {file}: a drill moves the real arm and breaks what controls it; when nobody and nothing is within its reach, \
             confirm with --arm-is-clear"
        );
    }
    if real && args.instruction.is_none() {
        bail!("cell file {file}: say with --instruction what the policy of a real cell is told");
    }
    let keys = cell.security.is_some();
    let scenes = scenes(args, real, keys)?;
    let quick = args.set == Some(DrillSet::Quick);
    if keys && args.mode.contains(&In::Teleop) {
        bail!(
            "cell file {file}: --mode teleop: expected a cell without keys: with them only an operator takes over, which a drill is not"
        );
    }
    let modes = match args.mode.as_slice() {
        [] if quick => vec![In::Policy],
        [] if keys => MODES.into_iter().filter(|m| *m != In::Teleop).collect(),
        [] => MODES.to_vec(),
        modes => modes.to_vec(),
    };
    let repetitions = args
        .repetitions
        .unwrap_or(if quick { 1 } else { REPETITIONS });
    let jobs: Vec<(usize, In, u64)> = (0..scenes.len())
        .flat_map(|scene| modes.iter().map(move |mode| (scene, *mode)))
        .flat_map(|(scene, mode)| (0..repetitions).map(move |k| (scene, mode, k)))
        .collect();

    let bundle = cell.bundle_dir(args.policy.bundle.as_deref())?;
    let bundle_id = AnyBundle::open(bundle)?.id().to_string();
    let folder = Folder::new()?;
    let other_bundle = other_bundle(bundle, &folder.0)?;
    let load = [load_average(), 0.0];
    let told = run(args, cell, &scenes, &jobs, &folder.0, &other_bundle)?;
    let load = [load[0], load_average()];

    let findings = told.iter().map(|told| report::Finding {
        outcome: &told.outcome,
        reason: reason(told),
        noise: Some(told.noise),
    });
    let rows = report::rows(&scenes, &jobs, findings);
    result::line(report::matrix(&rows))?;
    result::line(report::summary(&rows))?;
    result::line(noise_line(&told, load))?;
    if let Some(file) = &args.json {
        let trials = jobs.iter().zip(&told);
        let trials = trials.map(|(job, told)| trial(&scenes, args.seed, job, told));
        let text = serde_json::to_string_pretty(&Document {
            seed: args.seed,
            repetitions,
            bundle_id,
            load,
            cores: cores(),
            rows: &rows,
            trials: trials.collect(),
        })?;
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    if let Some(file) = &args.svg {
        report::picture(&rows, file)?;
    }
    Ok(if rows.iter().all(report::Row::passed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

/// What is drilled: each fault by itself, or those of the command line together; of a `real` arm, and of a cell with `keys`, those
/// that are possible there.
fn scenes(
    args: &DrillArgs,
    real: bool,
    keys: bool,
) -> anyhow::Result<Vec<(String, Vec<LiveWish>)>> {
    let wishes = args
        .fault
        .iter()
        .map(|text| text.parse::<LiveWish>())
        .collect::<Result<Vec<_>, _>>()?;
    for wish in &wishes {
        if let Some(why) = impossible(wish, real, keys) {
            bail!("fault `{}`: {why}", wish.fault.name);
        }
    }
    if !wishes.is_empty() {
        return Ok(vec![(args.fault.join(" "), wishes)]);
    }
    if args.set.is_none() {
        bail!("say what to drill: `all`, `quick` or --fault; --real-time --list names the faults");
    }
    let all = LIVE.iter().map(|fault| LiveWish::plain(*fault));
    let possible = all.filter(|wish| impossible(wish, real, keys).is_none());
    Ok(possible
        .map(|wish| (wish.fault.name.to_owned(), vec![wish]))
        .collect())
}

/// Why a fault cannot be injected into a cell with a `real` arm, or with `keys`.
fn impossible(wish: &LiveWish, real: bool, keys: bool) -> Option<&'static str> {
    // A real arm that loses its device may fall, and the device keeps its own name, so that no bridge can stand before it.
    if real && (wish.role() == Some("sim") || wish.far_device()) {
        return Some("the device of a real cell is not broken: expected a simulated one");
    }
    (keys && wish.needs_keys()).then_some(
        "expected a cell without keys: with them nobody says what another process would, and a drill is no operator",
    )
}

fn needs(wishes: &[LiveWish]) -> Needs {
    Needs {
        far_engine: wishes.iter().any(LiveWish::far_engine),
        far_device: wishes.iter().any(LiveWish::far_device),
        recorder: wishes.iter().any(LiveWish::recorder),
    }
}

/// Runs all trials; what followed, in the order of `jobs`.
fn run(
    args: &DrillArgs,
    cell: &Cell,
    scenes: &[(String, Vec<LiveWish>)],
    jobs: &[(usize, In, u64)],
    folder: &Path,
    other_bundle: &Path,
) -> anyhow::Result<Vec<Told>> {
    let stop = stage::stop_flag()?;
    let bar = bar(jobs.len() as u64, "trials in real time")?;
    let mut told: Vec<(usize, Told)> = Vec::new();
    let needed = |(scene, ..): &(usize, In, u64)| {
        scenes
            .get(*scene)
            .map_or_else(|| needs(&[]), |(_, w)| needs(w))
    };
    let mut setups: Vec<Needs> = jobs.iter().map(needed).collect();
    setups.sort_unstable();
    setups.dedup();
    for setup in setups {
        let mut stage = Stage::open(cell, setup, args, folder, &stop)?;
        bar.println(format!("logs: {}", stage.logs().display()));
        for (at, job) in jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| needed(job) == setup)
        {
            let (scene, mode, k) = *job;
            let (name, wishes) = scenes.get(scene).context("a scene")?;
            let seed = args.seed.wrapping_add(k);
            let said = args
                .instruction
                .clone()
                .unwrap_or_else(|| instruction(seed));
            let trial = LiveTrial {
                instruction: &said,
                seed,
                mode,
                wishes,
                cell,
                other_bundle,
            };
            let outcome = trial
                .run(&mut stage)
                .with_context(|| format!("{name} in {}, seed {seed}", mode.word()))?;
            if let Some(short) = outcome.outcome.short.first() {
                bar.println(format!("{name} in {}, seed {seed}: {short}", mode.word()));
            }
            told.push((at, outcome));
            bar.inc(1);
        }
        stage.close();
    }
    bar.finish_and_clear();
    told.sort_by_key(|(at, _)| *at);
    Ok(told.into_iter().map(|(_, told)| told).collect())
}

/// Why the arm held, if it did.
fn reason(told: &Told) -> Option<&'static str> {
    if told.by_device {
        return told.outcome.hold_after.map(|_| "device-deadline");
    }
    told.outcome.reason.map(FaultKind::name)
}

fn trial<'a>(
    scenes: &'a [(String, Vec<LiveWish>)],
    seed: u64,
    (scene, mode, k): &(usize, In, u64),
    told: &'a Told,
) -> Trial<'a> {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let outcome = &told.outcome;
    Trial {
        fault: scenes.get(*scene).map_or("", |(name, _)| name.as_str()),
        mode: mode.word(),
        seed: seed.wrapping_add(*k),
        reason: reason(told),
        hold_after_ms: outcome.hold_after.map(ms),
        bound_ms: outcome.bound.map(ms),
        noise_ms: ms(told.noise),
        host_noise_ms: ms(told.host_noise),
        ending_ms: told.ending.map(ms),
        largest_step_mrad: outcome.largest_step * 1e3,
        largest_lead_mrad: outcome.largest_lead * 1e3,
        peak_jerk: outcome.peak_jerk,
        unheard_ticks: told.quality.unheard,
        recovered: outcome.recovered,
        enabled: told.enabled,
        began_again: told.again,
        short: &outcome.short,
    }
}

/// How quiet the machine was, in a sentence.
fn noise_line(told: &[Told], load: [f64; 2]) -> String {
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let most = |of: fn(&Told) -> Duration| told.iter().map(of).max().map_or(0.0, ms);
    format!(
        "noise: the control thread was at most {:.1} ms late in what was judged, this process {:.1} ms; load average {:.1} before, {:.1} \
         after, {} cores; a killed \
         process took at most {:.0} ms to end; {} times a trial began again, because the machine held the arm before the fault did",
        most(|t| t.noise),
        most(|t| t.host_noise),
        load[0],
        load[1],
        cores(),
        told.iter().filter_map(|t| t.ending).max().map_or(0.0, ms),
        told.iter().map(|t| t.again).sum::<u64>()
    )
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The 1-minute load average, where the system tells it.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// A folder of the drill's own, removed with everything in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("tactus-drill-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{} stays: {e}", self.0.display());
        }
    }
}

/// The same bundle under another id: its files, and a manifest with one more comment.
fn other_bundle(bundle: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let other = folder.join("other-bundle");
    copy(bundle, &other)?;
    let manifest = other.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest)?;
    // Removed first: it may be the same file as the bundle's own.
    std::fs::remove_file(&manifest)?;
    std::fs::write(&manifest, text + "\n# another\n")?;
    AnyBundle::open(&other).context("a bundle under another id")?;
    Ok(other)
}

/// Makes `to` the same folder as `from`, by links where the file system has them.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else if std::fs::hard_link(&from, &to).is_err() {
            std::fs::copy(&from, &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::faults::Doing;
    use super::*;

    #[test]
    fn faults_that_need_the_same_links_share_a_cell() {
        let wish = |name: &str| name.parse::<LiveWish>().expect("legal");
        let far = needs(&[wish("net:cut"), wish("engine:kill")]);
        assert!(far.far_engine && !far.far_device && !far.recorder);
        assert!(needs(&[wish("state:stop")]).far_device);
        assert!(needs(&[wish("record:kill")]).recorder);
        let all: Vec<Needs> = LIVE.iter().map(|f| needs(&[LiveWish::plain(*f)])).collect();
        let mut setups = all.clone();
        setups.sort_unstable();
        setups.dedup();
        assert_eq!(setups.len(), 4);
        let plain = |f: &&faults::LiveFault| !matches!(f.doing, Doing::Link(_));
        assert_eq!(LIVE.iter().filter(plain).count(), 13);
    }

    #[test]
    fn a_real_arm_keeps_its_device_and_a_cell_with_keys_its_links() {
        for (name, real, keys) in [
            ("device:kill", false, true),
            ("state:stop", false, false),
            ("net:cut", true, false),
            ("panel:flood", true, false),
            ("operator:silent", true, false),
            ("engine:kill", true, true),
            ("camera:stop", true, true),
            ("disk:full", true, true),
        ] {
            let wish = name.parse::<LiveWish>().expect("legal");
            assert_eq!(impossible(&wish, true, false).is_none(), real, "{name}");
            assert_eq!(impossible(&wish, false, true).is_none(), keys, "{name}");
            assert!(impossible(&wish, false, false).is_none(), "{name}");
        }
    }
}
