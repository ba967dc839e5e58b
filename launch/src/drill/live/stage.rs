//! The cell that is being drilled: its processes, its links, its lease; and the ways of an operator with it.
//!
//! Brings the cell into a mode, breaks it and mends it, on order. Decides nothing about what should follow.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tactus_types::{ArmInfo, JointVec, Rank, Reference, Source, Time};
use tactus_wire::{
    Authority, Cell as WireCell, EngineStatus, ModeOrder, ModeWord, Nothing, Session,
    SessionOptions, SimReset, SimResetReply, Topic,
};

use super::bridge::{self, Bridge, Sides};
use super::faults::Link;
use super::flood::Flood;
use super::human::LiveHuman;
use super::observe::Observer;
use crate::cell::Cell;
use crate::children::{self, Children};
use crate::cli::DrillArgs;
use crate::{order, roles};

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

/// The cell file of each side, in `folder`: the same cell under another name, its paths absolute.
fn cell_file(cell: &Cell, folder: &Path, name: &str, record: bool) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(&cell.file)?;
    let mut table: toml::Table = text.parse()?;
    table.insert("name".into(), name.into());
    let bundle = std::path::absolute(&cell.bundle)?;
    table.insert("bundle".into(), bundle.display().to_string().into());
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
        let recorded = crate::cell::load(&near)?;

        let endpoint = match &args.listen {
            Some(endpoint) => endpoint.clone(),
            None => children::free_endpoint(cell)?,
        };
        let clock = Arc::new(tactus_wire::MonotonicClock::new()?);
        let options = SessionOptions {
            listen: vec![endpoint.clone()],
            ..SessionOptions::default()
        };
        let session = Session::open(&options, "drill", clock)?;
        let device_side = sides.device.as_ref().unwrap_or(&sides.near).clone();
        let observer = Observer::new(&session, cell, &sides.near, &device_side)?;
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
            &[],
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

    /// Gives an order under the lease, which is taken for it when it is not held.
    ///
    /// # Errors
    /// When nobody answers, or the arm host refuses.
    pub fn order(&mut self, order: &ModeOrder) -> anyhow::Result<()> {
        if self.authority.as_ref().is_some_and(|a| a.lost().is_some()) {
            self.authority = None;
        }
        if self.authority.is_none() {
            let rank = order::rank(false);
            self.authority = Some(order::authority(&self.session, self.cell, "drill", rank)?);
        }
        let Some(authority) = &self.authority else {
            bail!("no lease");
        };
        let given = order::under(authority, self.cell, order, true);
        if given.is_err() {
            // Perhaps the arm host was restarted, and knows nothing of it.
            self.authority = None;
        }
        given.map(drop)
    }

    /// Gives an order until it is carried out.
    ///
    /// # Errors
    /// With the last refusal.
    pub fn insist(&mut self, order: &ModeOrder) -> anyhow::Result<()> {
        let until = Instant::now() + STEP_WITHIN;
        loop {
            match self.order(order) {
                Ok(()) => return Ok(()),
                Err(e) if Instant::now() > until => return Err(e),
                Err(_) => {}
            }
            for _ in 0..10 {
                self.go_on(until + STEP_WITHIN, "an order is carried out")?;
            }
        }
    }

    /// The order that starts an episode.
    pub fn start_order(&mut self, instruction: &str, seed: u64) -> ModeOrder {
        self.episodes += 1;
        ModeOrder::StartEpisode {
            episode: self.episodes,
            instruction: instruction.to_owned(),
            seed,
        }
    }

    /// Brakes; holds until an operator enables.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn hold(&self) -> anyhow::Result<()> {
        let key = self.session.order_key(&self.sides.near, &self.cell.arm);
        order::send(&self.session, &key, &ModeOrder::Hold).map(drop)
    }

    /// A motion of the first joint by `by` rad towards the middle of its range, at a share of the limits.
    ///
    /// # Errors
    /// When the arm has not been heard of.
    pub fn pose(&self, by: f64, speed: f64) -> anyhow::Result<ModeOrder> {
        let state = self.observer.state().context("no joint state")?;
        let to = |i: usize| match state.q[i] {
            q if i == 0 && q > 0.0 => q - by,
            q if i == 0 => q + by,
            q => q,
        };
        Ok(ModeOrder::Goto {
            q: self.info.clamp(&JointVec::from_fn(state.q.len(), to)),
            opening: None,
            speed,
        })
    }

    /// A human takes the lease, sends setpoints, and takes over.
    ///
    /// # Errors
    /// When that is refused.
    pub fn take_over(&mut self) -> anyhow::Result<()> {
        self.human_leaves();
        let lease = order::authority(&self.session, self.cell, "human", Rank::Teleop)?;
        let state = self.observer.state().context("no joint state")?;
        let key = self.session.setpoint_key(&self.sides.near, &self.cell.arm);
        let human = LiveHuman::start(&self.session, &key, lease.lease(), &state)?;
        self.authority = Some(lease);
        self.human = Some(human);
        let over = ModeOrder::TakeOver {
            reference: Reference::Clutch,
        };
        let until = Instant::now() + STEP_WITHIN;
        loop {
            let authority = self.authority.as_ref().context("the human's lease")?;
            match order::under(authority, self.cell, &over, true) {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() > until => return Err(e),
                // Not heard of yet.
                Err(_) => self.go_on(until + STEP_WITHIN, "a human takes over")?,
            }
        }
    }

    /// The human, if there is one, falls silent, or sends again.
    pub fn silence(&self, silent: bool) {
        if let Some(human) = &self.human {
            human.silence(silent);
        }
    }

    /// The human, if there is one, goes away and gives the lease back.
    pub fn human_leaves(&mut self) {
        if self.human.take().is_some() {
            self.authority = None;
        }
    }

    /// Floods the cell.
    ///
    /// # Errors
    /// When a key cannot be declared or a thread cannot be started.
    pub fn flood(&self) -> anyhow::Result<Flood> {
        let Cell { arm, engine, .. } = self.cell;
        Flood::start(&self.session, &self.sides.near, arm, engine)
    }

    /// No process of the cell can write to a file any more, or all can again.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn fill_disk(&self, full: bool) -> anyhow::Result<()> {
        self.children.limit_files(full.then_some(0))
    }

    /// Ends an episode, if there is one.
    ///
    /// # Errors
    /// When nobody answers.
    pub fn end_episode(&self) -> anyhow::Result<()> {
        let mode = self.observer.mode().map(|m| m.mode);
        let moves = matches!(mode, Some(ModeWord::Goto));
        if moves {
            self.hold()?;
        }
        if moves
            || matches!(
                mode,
                Some(ModeWord::Policy | ModeWord::Align | ModeWord::Teleop | ModeWord::Hold)
            )
        {
            let key = self.session.order_key(&self.sides.near, &self.cell.arm);
            order::send(&self.session, &key, &ModeOrder::StopEpisode).map(drop)?;
            let ready = |o: &Observer| {
                o.mode()
                    .is_some_and(|m| matches!(m.mode, ModeWord::Ready | ModeWord::Boot))
            };
            self.wait("the episode has ended", STEP_WITHIN, ready)?;
        }
        Ok(())
    }

    /// Resets the simulated world, where there is one.
    ///
    /// # Errors
    /// When the simulator does not answer.
    pub fn reset(&self, seed: u64) -> anyhow::Result<()> {
        if self.cell.sim.is_none() {
            return Ok(());
        }
        let side = self.sides.device.as_ref().unwrap_or(&self.sides.near);
        let reset = SimReset {
            seed,
            variation: self.cell.sim.is_some_and(|sim| sim.variation),
        };
        let key = side.key(&Topic::SimReset);
        let reply = self
            .session
            .query::<SimReset, SimResetReply>(&key, &reset, STEP_WITHIN)
            .context("the simulator does not answer")?;
        let epoch = reply.message.epoch;
        self.wait("the new world is seen", STEP_WITHIN, |o| {
            let commanded = o.applied().is_some_and(|a| a.command.epoch == epoch);
            commanded && o.state().is_some_and(|s| s.epoch == epoch)
        })
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
