//! Running a plan: the next trial, its outcome onto the disk, and so on until the plan is done.
//!
//! Decides nothing about which trial comes next or when it is over (`tactus-eval`'s `progress`). What an evaluation began
//! with is checked again whenever it goes on: plan, order, cell, bundles.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tactus_eval::journal::Journal;
use tactus_eval::order::{Slot, fingerprint};
use tactus_eval::plan::{Condition, Judge, Plan, sha256_hex};
use tactus_eval::progress::{Next, Progress};
use tactus_eval::trial::{Abort, Ended, Entry, Figures, Finish, Unblinded};
use tactus_record::date;
use tactus_sim::{Cube, Task, TaskKind};

use super::operator::{Operator, judged};
use super::setting::{MILESTONES, Setting, kinds};
use super::stage::{Run, Stage};
use super::store::Store;
use super::table;
use crate::cli::EvalRunArgs;
use crate::{result, roles};

/// Copy of the plan in the evaluation's folder.
const PLAN: &str = "plan.toml";

/// `tactus eval run`.
pub fn run(args: &EvalRunArgs) -> anyhow::Result<ExitCode> {
    let text = std::fs::read_to_string(&args.plan)
        .with_context(|| format!("plan {}", args.plan.display()))?;
    let plan = parse(&args.plan, &text)?;
    let file = std::path::absolute(&args.plan)?;
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    let setting = Setting::open(&plan, &folder)?;
    let mode = match (plan.score, args.lockstep) {
        (Judge::Simulator, true) => "lockstep",
        (Judge::Simulator, false) => "real_time",
        (Judge::Operator, false) => "operator",
        (Judge::Operator, true) => {
            bail!(
                "--lockstep has a clock that no operator watches: leave it out, or score = \"simulator\""
            )
        }
    };
    std::fs::create_dir_all(&args.dir).with_context(|| format!("folder {}", args.dir.display()))?;
    let mut journal = Journal::open(&args.dir)?;
    if !journal.entries().is_empty() {
        bail!(
            "{} holds an evaluation already: go on with it by `tactus eval resume {}`, or choose another folder",
            args.dir.display(),
            args.dir.display()
        );
    }
    let copy = args.dir.join(PLAN);
    store(&copy, &text).with_context(|| format!("plan {}", copy.display()))?;
    let begun = setting.begun(&plan, &text, &folder, mode, args.record);
    journal.append(Entry::Begun(begun))?;
    let asked = (args.listen.as_deref(), args.despite_preflight);
    go_on(&plan, &setting, journal, &args.dir, asked)
}

/// `tactus eval resume`.
pub fn resume(
    dir: &Path,
    listen: Option<&str>,
    despite_preflight: bool,
) -> anyhow::Result<ExitCode> {
    let file = dir.join(PLAN);
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("no evaluation here: plan {}", file.display()))?;
    let journal = Journal::open(dir)?;
    let Some(Entry::Begun(begun)) = journal.entries().first().cloned() else {
        bail!(
            "{}: no trial has begun; start it with `tactus eval run`",
            dir.display()
        );
    };
    if begun.plan_sha256 != sha256_hex(text.as_bytes()) {
        bail!("{} was changed since the evaluation began", file.display());
    }
    let plan = parse(&file, &text)?;
    if begun.order_sha256 != fingerprint(&plan) {
        bail!(
            "the order of trials is not that of tactus {}, which began this evaluation; go on with that version",
            begun.tactus
        );
    }
    let setting = Setting::open(&plan, Path::new(&begun.plan_folder))?;
    setting.same_as(&begun, &plan)?;
    if journal.was_torn() {
        eprintln!("the last line had been cut off by a crash; what it belonged to is run again");
    }
    go_on(&plan, &setting, journal, dir, (listen, despite_preflight))
}

fn parse(file: &Path, text: &str) -> anyhow::Result<Plan> {
    Plan::parse(text).with_context(|| format!("plan {}", file.display()))
}

/// Writes a file so that it is whole, and on the disk, before anything relies on it.
fn store(file: &Path, text: &str) -> std::io::Result<()> {
    let mut open = File::create(file)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()
}

/// UTC.
pub fn now() -> String {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    date::readable(Duration::new(
        at.tv_sec.max(0) as u64,
        at.tv_nsec.clamp(0, 999_999_999) as u32,
    ))
}

fn go_on(
    plan: &Plan,
    setting: &Setting,
    mut journal: Journal,
    dir: &Path,
    (listen, despite_preflight): (Option<&str>, bool),
) -> anyhow::Result<ExitCode> {
    let stop = roles::stop_flag(false)?;
    let (mode, recorded) = match journal.entries().first() {
        Some(Entry::Begun(begun)) => (begun.mode.clone(), begun.recorded),
        _ => bail!(
            "{}: its first line does not say what it began with",
            journal.file().display()
        ),
    };
    let store = Store::open(dir, recorded)?;
    let mut stage = match mode.as_str() {
        "operator" => Stage::Operator(Box::new(Operator::new(
            &setting.cell,
            &plan.name,
            listen,
            despite_preflight,
        )?)),
        mode => Stage::new(mode, setting)?,
    };
    let slots = plan.slots();
    loop {
        let progress = Progress::of(plan, &journal)?;
        if let Some((trial, attempt)) = progress.open {
            eprintln!(
                "trial {} of {slots} was cut off in its attempt {attempt}; it is run again",
                trial + 1
            );
            let slot = progress.order[trial as usize];
            let ended = Described::of(plan, slot, progress.labels[slot.policy])
                .ended(attempt, Abort::Interrupted);
            journal.append(Entry::Ended(Box::new(ended)))?;
            continue;
        }
        match progress.next() {
            Next::Trial(slot, attempt) => {
                if stop.load(Ordering::Relaxed) {
                    eprintln!(
                        "stopped with {} trials left: go on with `tactus eval resume {}`",
                        progress.left(),
                        dir.display()
                    );
                    return Ok(ExitCode::from(3));
                }
                let label = progress.labels[slot.policy];
                let shown = if plan.blind {
                    label
                } else {
                    progress.name(slot.policy)
                }
                .to_owned();
                let scored = plan.slots() - progress.left() as u64;
                match &mut stage {
                    Stage::Operator(operator) => judged(
                        plan,
                        setting,
                        &mut journal,
                        (operator, &store),
                        (slot, attempt),
                        (label, &shown, scored),
                        &stop,
                    )?,
                    stage => trial(
                        plan,
                        setting,
                        &mut journal,
                        (stage, &store),
                        (slot, attempt),
                        label,
                        &shown,
                        &stop,
                    )?,
                }
            }
            Next::Finish(reason) => {
                let policies = plan
                    .policies
                    .iter()
                    .zip(&progress.labels)
                    .zip(&setting.bundles);
                let policies = policies.map(|((policy, label), (_, id))| Unblinded {
                    label: (*label).into(),
                    name: policy.name.clone(),
                    bundle_id: id.clone(),
                });
                let entry = Entry::Finished {
                    reason,
                    at: now(),
                    policies: policies.collect(),
                };
                journal.append(entry)?;
            }
            Next::Nothing => {
                let why = match progress.finished {
                    Some(Finish::Decided) => "the sequential test has named the better policy",
                    _ => "all trials were run",
                };
                let excluded = progress.excluded.len();
                eprintln!(
                    "{why}; {excluded} attempts excluded; last hash {}",
                    journal.last_hash()
                );
                result::line(table::tables(&progress.analysis()))?;
                let report = super::write_report(dir)?;
                if let Stage::Operator(operator) = &mut stage {
                    operator.finish(
                        plan.slots() - progress.left() as u64,
                        &format!("{why}. {report}"),
                    );
                }
                result::line(report)?;
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

/// Runs one trial and stores what came of it.
#[allow(clippy::too_many_arguments)]
fn trial(
    plan: &Plan,
    setting: &Setting,
    journal: &mut Journal,
    (stage, store): (&mut Stage, &Store),
    (slot, attempt): (Slot, u32),
    label: &'static str,
    shown: &str,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let described = Described::of(plan, slot, label);
    let Described {
        seed,
        instruction,
        task,
        ..
    } = &described;
    let (dir, id) = &setting.bundles[slot.policy];
    journal.append(Entry::Started {
        trial: slot.trial,
        attempt,
        at: now(),
    })?;
    let limit_secs = plan.tasks[slot.task].time_limit_s;
    let run = stage.run(&Run {
        cell: &setting.cell,
        bundle: (slot.policy, dir, id),
        seed: *seed,
        instruction: instruction.clone(),
        task: *task,
        limit_secs,
        boot: slot.trial + 1,
        files: &store.of(slot.trial, attempt),
        stop,
    });
    let (row, figures) = match run {
        Ok(done) => done,
        Err(e) => {
            // A cell that cannot be brought up is nobody's failure but the set-up's.
            let mut ended = described.ended(attempt, Abort::SetupError);
            ended.note = format!("{e:#}");
            journal.append(Entry::Ended(Box::new(ended)))?;
            return Err(e.context(format!(
                "trial {} is excluded, and run again by `tactus eval resume`",
                slot.trial + 1
            )));
        }
    };
    let mut ended = described.ended(attempt, Abort::Timeout);
    ended.secs = row.secs;
    ended.figures = figures;
    let named = task.map(|t| t.cube().name());
    let reached = [(MILESTONES[0], row.lifted), (MILESTONES[1], row.in_bowl)];
    let reached = reached
        .iter()
        .filter(|(_, cube)| cube.is_some() && *cube == named)
        .map(|(name, _)| *name);
    let planned = &plan.tasks[slot.task].milestones;
    ended.milestones = reached
        .filter(|name| planned.iter().any(|m| m == name))
        .map(str::to_owned)
        .collect();
    if row.success {
        (ended.success, ended.abort, ended.progress) = (true, None, 100.0);
    } else if stop.load(Ordering::Relaxed) {
        ended.abort = Some(Abort::Interrupted);
        ended.note = "Ctrl-C".into();
    } else if let Some(reason) = row.aborted {
        ended.abort = Some(Abort::HardwareFault);
        ended.note = reason;
    }
    if !row.success {
        ended.progress = 100.0 * ended.milestones.len() as f64 / (planned.len() + 1) as f64;
    }
    say(plan, &ended, shown);
    journal.append(Entry::Ended(Box::new(ended)))?;
    Ok(())
}

/// One trial as a line of text.
pub fn say(plan: &Plan, ended: &Ended, shown: &str) {
    let verdict = match ended.abort {
        None => format!("ok   {:5.1} s", ended.secs),
        Some(abort) => format!("MISS {:5.1} s  {}", ended.secs, abort.words()),
    };
    eprintln!(
        "trial {:3} of {}  {shown:8}  {:10}  {:12}  {verdict}",
        ended.trial + 1,
        plan.slots(),
        ended.task,
        ended.condition
    );
}

/// What a trial is about.
pub struct Described {
    /// Place in the order.
    pub trial: u64,
    /// What the policy is called.
    pub label: &'static str,
    /// Of the plan.
    pub task_name: String,
    /// Start condition, in words.
    pub condition: String,
    /// Of the world and of the policy's noise.
    pub seed: u64,
    /// What the arm is told.
    pub instruction: String,
    /// What counts as done, where the simulator can tell.
    pub task: Option<Task>,
}

impl Described {
    pub fn of(plan: &Plan, slot: Slot, label: &'static str) -> Self {
        let planned = &plan.tasks[slot.task];
        let condition = planned.condition(slot.condition);
        let seed = match condition {
            Some(Condition::Seed(seed)) => seed,
            // Nobody sets a simulated scene up by a picture or words: each is a world of its own.
            _ => slot.condition,
        };
        let (instruction, task) = match &planned.instruction {
            Some(words) => (words.clone(), Task::named(words)),
            None => {
                // As the demo: task, cube and phrasing vary independently.
                let kinds = kinds(planned.kind.as_deref()).unwrap_or(&TaskKind::ALL);
                let task = Task::new(
                    TaskKind::of_seed(kinds, seed),
                    Cube::ALL[(seed % 3) as usize],
                );
                (task.instruction((seed / 3) as usize), Some(task))
            }
        };
        Self {
            trial: slot.trial,
            label,
            task_name: planned.name.clone(),
            condition: condition.map_or(String::new(), |c| c.to_string()),
            seed,
            instruction,
            task,
        }
    }

    /// A failure at its very beginning.
    pub fn ended(&self, attempt: u32, abort: Abort) -> Ended {
        Ended {
            trial: self.trial,
            attempt,
            at: now(),
            label: self.label.into(),
            task: self.task_name.clone(),
            condition: self.condition.clone(),
            instruction: self.instruction.clone(),
            success: false,
            judge: "simulator".into(),
            progress: 0.0,
            milestones: vec![],
            secs: 0.0,
            abort: Some(abort),
            note: String::new(),
            figures: Figures::default(),
        }
    }
}
