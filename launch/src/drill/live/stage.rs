//! The cell that is being drilled: its processes, its links, its lease; and the ways of an operator with it.
//!
//! Brings the cell into a mode, breaks it and mends it, on order. Decides nothing about what should follow.

mod operator;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tactus_bundle::AnyBundle;
use tactus_types::{ArmInfo, Source, Time};
use tactus_wire::{Authority, Cell as WireCell, EngineStatus, ModeWord, Nothing, Session, Topic};

use super::bridge::{self, Bridge, Sides};
use super::faults::Link;
use super::human::LiveHuman;
use super::observe::Observer;
use crate::cell::{self, Cell};
use crate::children::{self, Children};
use crate::cli::{DrillArgs, RoleArgs};
use crate::{doctor, roles};

/// All processes must be up within this time.
const UP_WITHIN: Duration = Duration::from_secs(60);
/// How long a step of an operator may take.
pub const STEP_WITHIN: Duration = Duration::from_secs(15);
/// How often is looked.
const LOOK: Duration = Duration::from_millis(5);
/// How long a device may take to say what it is.
const DEVICE_WITHIN: Duration = Duration::from_secs(15);

/// What a cell must have for a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// The engine behind a bridge.
    pub far_engine: bool,
    /// The device behind a bridge.
    pub far_device: bool,
    /// A recorder.
    pub recorder: bool,
}

/// A running cell.
pub struct Stage<'a> {
    cell: &'a Cell,
    sides: Sides,
    session: Session,
    children: Children,
    bridge: Option<Bridge>,
    authority: Option<Authority>,
    human: Option<LiveHuman>,
    stop: &'a AtomicBool,
    /// What was heard of it.
    pub observer: Observer,
    /// What the device says of itself.
    pub info: ArmInfo,
    episodes: u64,
    /// How much of each log was looked at, bytes.
    read: HashMap<PathBuf, usize>,
}

/// The cell file of each side, in `folder`: the same cell under another name, with paths that lead to where they led.
fn cell_file(cell: &Cell, folder: &Path, name: &str, record: bool) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(&cell.file)?;
    let mut table = cell::movable(&text, &cell.file)
        .with_context(|| format!("cell file {}", cell.file.display()))?;
    table.insert("name".into(), name.into());
    if record {
        let mut section = toml::Table::new();
        section.insert("black_box".into(), true.into());
        section.insert("seconds".into(), 5.0.into());
        let files = folder.join("black-box").display().to_string();
        section.insert("folder".into(), files.into());
        table.insert("record".into(), section.into());
    } else {
        table.remove("record");
    }
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, toml::to_string(&table)?)
        .with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

impl<'a> Stage<'a> {
    /// Brings up the cell with what `needs` asks for, its files in `folder`, and waits until all of it answers.
    ///
    /// # Errors
    /// With the last words of a process that did not come up.
    pub fn open(
        cell: &'a Cell,
        needs: Needs,
        args: &DrillArgs,
        folder: &Path,
        stop: &'a AtomicBool,
    ) -> anyhow::Result<Self> {
        let side = |word: &str, there: bool| -> anyhow::Result<Option<WireCell>> {
            let name = format!("{}-{word}", cell.name);
            there
                .then(|| WireCell::new(&name))
                .transpose()
                .map_err(Into::into)
        };
        let sides = Sides {
            near: cell.wire.clone(),
            engine: side("far", needs.far_engine)?,
            device: side("device", needs.far_device)?,
        };
        let name = |side: &Option<WireCell>| side.as_ref().unwrap_or(&sides.near).name().clone();
        let file =
            |name: &tactus_wire::Name| cell_file(cell, folder, name.as_str(), needs.recorder);
        let near = file(&cell.name)?;
        let engine = file(&name(&sides.engine))?;
        let device = file(&name(&sides.device))?;
        let recorded = cell::load(&near)?;

        let endpoint = match &args.listen {
            Some(endpoint) => endpoint.clone(),
            None => children::free_endpoint(cell)?,
        };
        let role = RoleArgs {
            cell: near.clone(),
            connect: vec![],
            listen: vec![endpoint.clone()],
            supervised: false,
            host: None,
        };
        let session = roles::session(&role, "drill")?;
        let device_side = sides.device.as_ref().unwrap_or(&sides.near).clone();
        let observer = Observer::new(&session, cell, &sides.near, &device_side)?;
        // A simulated arm shows what its bundle was trained on, and holds no torque that could hurt.
        let later = if cell.sim.is_some() { "" } else { "arm" };
        // Paths of bundles and libraries in `args` are relative to where we are, as for every role.
        let mut children = Children::start_each(
            &recorded,
            &endpoint,
            &args.policy,
            "info",
            None,
            |role| match role {
                "engine" => engine.clone(),
                "sim" => device.clone(),
                _ => near.clone(),
            },
            &[later],
        )?;
        let asked = tactus_drivers_api::wire_driver::ask_info(
            &session,
            &device_side,
            &cell.device,
            DEVICE_WITHIN,
        );
        let info = match asked {
            Ok(info) => info,
            Err(e) => {
                children.check_all_run()?;
                return Err(e.into());
            }
        };
        if cell.sim.is_none() {
            let bundle = cell.bundle_dir(args.policy.bundle.as_deref());
            let bundle = bundle.map_err(anyhow::Error::new);
            let bundle = bundle.and_then(|dir| Ok(AnyBundle::open(dir)?));
            if !doctor::may_start(&session, cell, bundle, args.despite_preflight) {
                bail!(
                    "what the arm or its cameras show does not fit the bundle: nothing is drilled"
                );
            }
            children.start_again("arm")?;
        }
        let bridge = match (&sides.engine, &sides.device) {
            (None, None) => None,
            _ => Some(Bridge::new(&session, cell, &sides, &info, args.seed)?),
        };
        let mut stage = Self {
            cell,
            sides,
            session,
            children,
            bridge,
            authority: None,
            human: None,
            stop,
            observer,
            info,
            episodes: 0,
            read: HashMap::new(),
        };
        let until = Instant::now() + UP_WITHIN;
        while stage.observer.mode().is_none() || stage.engine().is_none() {
            stage.children.check_all_run()?;
            stage.go_on(until, "all processes are up")?;
        }
        Ok(stage)
    }

    /// Where the processes log to.
    pub fn logs(&self) -> &Path {
        &self.children.logs
    }

    /// Fails when the drill was interrupted, or when `until` is past; otherwise waits a moment.
    fn go_on(&self, until: Instant, what: &str) -> anyhow::Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        if Instant::now() > until {
            let mode = self.observer.mode();
            let mode =
                mode.map_or_else(String::new, |m| format!("; mode `{}` {}", m.mode, m.reason));
            bail!(
                "waited in vain until {what}{mode}; see {}",
                self.children.logs.display()
            );
        }
        std::thread::sleep(LOOK);
        Ok(())
    }

    /// Waits until `done`.
    ///
    /// # Errors
    /// When that takes longer than `within`, or the drill is interrupted.
    pub fn wait(
        &self,
        what: &str,
        within: Duration,
        done: impl Fn(&Observer) -> bool,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + within;
        while !done(&self.observer) {
            self.go_on(until, what)?;
        }
        Ok(())
    }

    /// Lets `time` pass.
    ///
    /// # Errors
    /// When the drill is interrupted.
    pub fn pass(&self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.go_on(until + STEP_WITHIN, "time has passed")?;
        }
        Ok(())
    }

    /// The cell's clock.
    pub fn now(&self) -> Time {
        bridge::now(&self.session)
    }

    /// What the engine says of itself, if it answers.
    pub fn engine(&self) -> Option<EngineStatus> {
        let side = self.sides.engine.as_ref().unwrap_or(&self.sides.near);
        let key = side.key(&Topic::EngineStatus(self.cell.engine.clone()));
        let answer = self
            .session
            .query(&key, &Nothing, Duration::from_millis(300));
        answer.ok().map(|d| d.message)
    }

    /// Starts the arm host anew: it comes up in boot.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn reboot(&mut self) -> anyhow::Result<()> {
        self.authority = None;
        self.children.signal("arm", Signal::TERM)?;
        self.children.wait("arm");
        self.observer.forget();
        self.mend("arm")
    }

    /// Starts `role` if it does not run, and waits until it is there.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn mend(&mut self, role: &str) -> anyhow::Result<()> {
        self.children.start_again(role)?;
        let until = Instant::now() + UP_WITHIN;
        while !self.is_up(role) {
            if let Some(ended) = self.children.gone().first() {
                bail!("role `{}` ended: {}", ended.role, ended.last_words);
            }
            self.go_on(until, "a role is there again")?;
        }
        Ok(())
    }

    fn is_up(&self, role: &str) -> bool {
        match role {
            "engine" => self.engine().is_some(),
            "arm" => self.observer.mode().is_some(),
            "sim" => self.observer.state().is_some(),
            _ => true,
        }
    }

    /// Kills `role`; returns the instant before, and the one when its process had ended.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, role: &str) -> anyhow::Result<(Time, Time)> {
        let at = self.now();
        self.children.signal(role, Signal::KILL)?;
        self.children.wait(role);
        if role == "arm" {
            self.authority = None;
        }
        Ok((at, self.now()))
    }

    /// Stops `role` where it stands, or lets it go on; returns the instant before.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self, role: &str, frozen: bool) -> anyhow::Result<Time> {
        let at = self.now();
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        self.children.signal(role, signal)?;
        Ok(at)
    }

    /// Starts `role`, which has been killed.
    ///
    /// # Errors
    /// When its process cannot be created.
    pub fn start(&mut self, role: &str) -> anyhow::Result<()> {
        self.children.start_again(role)
    }

    /// Gives the engine another bundle from its next start on; returns the arguments that it had.
    pub fn with_bundle(&mut self, bundle: &Path) -> Vec<String> {
        let given = self.children.give_extra("engine", vec![]);
        let mut extra = given.clone();
        match extra.iter().position(|word| word == "--bundle") {
            Some(at) if at + 1 < extra.len() => extra[at + 1] = bundle.display().to_string(),
            _ => extra.extend(["--bundle".to_owned(), bundle.display().to_string()]),
        }
        self.children.give_extra("engine", extra);
        given
    }

    /// Gives the engine its arguments back.
    pub fn with_extra(&mut self, extra: Vec<String>) {
        self.children.give_extra("engine", extra);
    }

    /// Breaks links; what was broken before is well.
    pub fn set_links(&self, links: Vec<Link>) {
        if let Some(bridge) = &self.bridge {
            bridge.set(links);
        }
    }

    /// When the first message was touched since [`Stage::set_links`].
    pub fn touched(&self) -> Option<Time> {
        self.bridge.as_ref().and_then(Bridge::touched)
    }

    /// The roles that have ended by themselves.
    pub fn gone(&mut self) -> Vec<children::Ended> {
        self.children.gone()
    }

    /// Lines of the processes' logs that tell of a panic, since this was last asked: bad input must be refused, and a
    /// thread that dies of it need not end its process.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn panics(&mut self) -> anyhow::Result<Vec<String>> {
        let mut panics = Vec::new();
        for entry in std::fs::read_dir(&self.children.logs)? {
            let path = entry?.path();
            let text = std::fs::read(&path)?;
            let read = self.read.entry(path).or_default();
            let new = String::from_utf8_lossy(text.get(*read..).unwrap_or_default()).into_owned();
            *read = text.len();
            panics.extend(
                new.lines()
                    .filter(|l| l.contains("panicked at"))
                    .map(str::to_owned),
            );
        }
        Ok(panics)
    }

    /// Whether the policy commands the arm, as last heard.
    pub fn policy_commands(observer: &Observer) -> bool {
        let mode = observer.mode().map(|m| m.mode);
        let source = observer.applied().map(|a| a.command.setpoint.source);
        mode == Some(ModeWord::Policy) && source == Some(Source::Policy)
    }

    /// Ends the cell in order: the lease first, then its processes.
    pub fn close(mut self) {
        self.authority = None;
        self.children.end();
    }
}

/// A flag that ends the drill in order.
pub fn stop_flag() -> anyhow::Result<Arc<AtomicBool>> {
    roles::stop_flag(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SO101: &str = include_str!("../../../cells/so101.toml");

    #[test]
    fn a_copy_leads_to_the_files_of_the_original() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("real.toml");
        let keys = "\n[security]\nkeys = \"keys\"\noperators = [\"anna\"]\n";
        std::fs::write(&file, SO101.to_owned() + keys).expect("written");
        let cell = cell::load(&file).expect("a cell");
        let other = tempfile::tempdir().expect("a folder");
        let copy = cell_file(&cell, other.path(), cell.name.as_str(), true).expect("a copy");
        // What one copy says, the next takes over.
        let copy = cell::load(&copy).expect("a cell");
        let last = tempfile::tempdir().expect("a folder");
        let again = cell_file(&copy, last.path(), "far", false).expect("a copy");
        for copy in [copy, cell::load(&again).expect("a cell")] {
            assert_eq!(copy.bundle, cell.bundle);
            assert_eq!(copy.security, cell.security);
            assert_eq!(
                format!("{:?}", copy.hardware),
                format!("{:?}", cell.hardware)
            );
        }
        assert!(format!("{:?}", cell.hardware).contains(&dir.path().display().to_string()));
    }
}
