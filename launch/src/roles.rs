//! The roles of a cell, each the `main` of its own process: open everything, say what is missing, run until stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tactus_bundle::{AnyBundle, Bundle};
use tactus_control::Demand;
use tactus_drivers_api::WireDriver;
use tactus_drivers_api::wire_driver::ask_info;
use tactus_host::realtime::{LOCK_ADVICE, lock_refused};
use tactus_host::{ArmOptions, EngineArm, EngineOptions, Explaining, Second, run_arm, run_engine};
use tactus_policies::{Options, Probe, Served, Source};
use tactus_types::{ArmInfo, Clock, Conditioning, StageTimes};
use tactus_vla::{Explainer, ReasonerOptions};
use tactus_wire::security::LOOPBACK as LOOPBACK_ENCRYPTED;
use tactus_wire::{CellClock, MonotonicClock, Session, SessionOptions, Topic, no_shared_memory};

use crate::cell::{self, Cell, Links, Vouched};
use crate::cli::{ControlWord, EngineArgs, PolicyArgs, RoleArgs};
use crate::lost::{LOST_FOR, Lost};
use crate::{hello, holds, log, openpi, others, pairs, trust};

/// How long a role waits for the others it cannot do without.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How long an arm host waits for its device's description.
const DEVICE_WITHIN: Duration = Duration::from_secs(15);

/// Chunks that a starting engine probes its stages with ..
pub const PROBE_CHUNKS: usize = 20;
/// .. unless they take longer than this.
pub const PROBE_WITHIN: Duration = Duration::from_secs(3);

/// A process that takes part in a cell.
pub struct Joined {
    /// The network.
    pub session: Session,
    /// The clock of every message: cell time.
    pub clock: Arc<CellClock>,
    /// Set by Ctrl-C, SIGTERM, or the death of the parent when supervised.
    pub stop: Arc<AtomicBool>,
}

/// Opens the network for `source` and listens to signals.
pub fn join(args: &RoleArgs, source: &str) -> anyhow::Result<Joined> {
    let stop = stop_flag(args.supervised)?;
    let (session, clock) = open(args, source)?;
    // Whoever measures clocks can ask this process for its own.
    let name = Topic::Clock(session.who().clone());
    session.answer_pings(&cell::load_any(&args.cell)?.wire.key(&name))?;
    Ok(Joined {
        session,
        clock,
        stop,
    })
}

/// Opens the network for `source`.
pub fn session(args: &RoleArgs, source: &str) -> anyhow::Result<Session> {
    Ok(open(args, source)?.0)
}

/// Whether this process may do what sharing memory takes; if not, what is long goes to it, and from it, through a socket.
fn may_share(source: &str) -> bool {
    let lock = lock_refused().map(|why| format!("it may not lock any: {why}; {LOCK_ADVICE}"));
    let refused = lock.or_else(no_shared_memory);
    if let Some(why) = &refused {
        tracing::warn!(
            "{source} shares no memory, so that long messages go through a socket: {why}"
        );
    }
    refused.is_none()
}

/// Opens the network for `source`, and its clock.
pub fn open(args: &RoleArgs, source: &str) -> anyhow::Result<(Session, Arc<CellClock>)> {
    let own = Arc::new(MonotonicClock::new()?);
    let mut options = SessionOptions {
        connect: args.connect.clone(),
        connect_timeout: CONNECT_WITHIN,
        ..SessionOptions::default()
    };
    let cell = cell::load_any(&args.cell)?;
    options.plain_network = trust::get().plain_network;
    options.security = trust::security(&cell, source)?;
    if options.security.is_some() {
        trust::take_turns();
        options.listen = vec![LOOPBACK_ENCRYPTED.into()];
    }
    options.shared_memory = cell.shared_memory && may_share(source);
    options.through_router = trust::get().router && !args.connect.is_empty();
    let mut leaves = !args.connect.iter().all(|end| hello::is_loopback(end));
    if !args.listen.is_empty() {
        options.listen = args.listen.clone();
    } else if args.connect.is_empty() && !cell.hosts.is_empty() {
        let Links { listen, connect } = cell.links(args.host.as_ref(), source)?;
        if !listen.is_empty() {
            options.listen = listen;
        }
        options.connect = connect;
        options.named_links = true;
        let here = args.host.as_ref().map(|host| cell.host(host)).transpose()?;
        leaves = !here.is_some_and(cell::CellHost::has_arm);
    }
    let clock = Arc::new(match leaves {
        true => CellClock::elsewhere(own),
        false => CellClock::here(own),
    });
    let mut session = Session::open(&options, source, clock.clone())?;
    if leaves {
        hello::hello(&mut session, &cell, &clock)?;
    }
    Ok((session, clock))
}

/// A process that was told to end, and waits for somebody who never answers, ends after this.
const END_WITHIN: Duration = Duration::from_secs(60);

/// A flag that Ctrl-C and SIGTERM set; with `supervised`, the parent's death too. Who has not ended [`END_WITHIN`] later is
/// ended.
pub fn stop_flag(supervised: bool) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let told = move || {
        if flag.swap(true, Ordering::Relaxed) {
            return;
        }
        let late = || {
            std::thread::sleep(END_WITHIN);
            let secs = END_WITHIN.as_secs();
            tracing::error!("told to end {secs} s ago, and something still waits: ends now");
            std::process::exit(1);
        };
        let watched = std::thread::Builder::new().name("end".into()).spawn(late);
        if let Err(e) = watched {
            tracing::error!("nobody watches whether this process ends: {e}");
        }
    };
    ctrlc::set_handler(told).context("signal handler")?;
    if supervised {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .context("parent death signal")?;
    }
    Ok(stop)
}

/// A limit on the size of files (`ulimit -f`) is to this process what a full disk is, an error of whoever writes, and does
/// not kill it: an arm host has nothing to write that is worth that.
pub fn outlive_full_disks() {
    let limit = signal_hook::consts::SIGXFSZ;
    if let Err(e) = signal_hook::flag::register(limit, Arc::default()) {
        tracing::debug!("SIGXFSZ: {e}");
    }
}

/// Sets a stop flag when it is dropped: on return, error and panic alike.
pub struct Stopping<'a>(pub &'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Opens the policy of a cell for an arm with these joints; `arm` is that arm's info, which tool poses need.
pub fn open_policy(
    cell: &Cell,
    args: &PolicyArgs,
    joints: &[String],
    arm: Option<&ArmInfo>,
) -> anyhow::Result<Box<dyn Served>> {
    let conditioning = cell.schedule.strategy.conditioning();
    open_policy_for(cell, args, (joints, arm), conditioning, None)
}

/// As [`open_policy`], for requests whose deadlines are times of `clock`.
pub fn open_live_policy(
    cell: &Cell,
    args: &PolicyArgs,
    arm: &ArmInfo,
    clock: &Arc<CellClock>,
) -> anyhow::Result<Box<dyn Served>> {
    let conditioning = cell.schedule.strategy.conditioning();
    let clock = Arc::clone(clock) as Arc<dyn Clock>;
    open_within(
        cell,
        args,
        (&arm.joints, Some(arm)),
        conditioning,
        Some(clock),
        Some(chunk_budget(cell)),
    )
}

/// Refuses a bundle that the cell does not let act, before anything is started; opens it only where the cell says which do.
pub fn let_act(cell: &Cell, args: &PolicyArgs) -> anyhow::Result<()> {
    if cell.vouched == Vouched::default() {
        return Ok(());
    }
    let dir = cell.bundle_dir(args.bundle.as_deref())?;
    Ok(cell.vouched.let_act(dir, AnyBundle::open(dir)?.id())?)
}

/// As [`open_policy`], for requests of another conditioning than the cell's.
pub fn open_policy_for(
    cell: &Cell,
    args: &PolicyArgs,
    (joints, arm): (&[String], Option<&ArmInfo>),
    conditioning: Conditioning,
    clock: Option<Arc<dyn Clock>>,
) -> anyhow::Result<Box<dyn Served>> {
    open_within(cell, args, (joints, arm), conditioning, clock, None)
}

/// As [`open_policy_for`]; a policy that decides itself how long a chunk takes has `within` for it.
fn open_within(
    cell: &Cell,
    args: &PolicyArgs,
    (joints, arm): (&[String], Option<&ArmInfo>),
    conditioning: Conditioning,
    clock: Option<Arc<dyn Clock>>,
    within: Option<Duration>,
) -> anyhow::Result<Box<dyn Served>> {
    let options = Options {
        ort_library: args.onnxruntime.clone(),
        intra_threads: cell.intra_threads,
        require_provider: args.require_cuda,
        provider: args.provider(cell.provider),
        joints,
        arm,
        conditioning,
        denoise_steps: cell.denoise_steps,
        features_every: cell.features_every,
    };
    let source = match (
        args.control.unwrap_or(cell.control),
        &args.bundle,
        &cell.openpi,
    ) {
        (ControlWord::Fast, named, _) => Source::Fast {
            bundle: cell.bundle_dir(named.as_deref())?,
            within,
        },
        (ControlWord::Head, Some(bundle), _) => Source::Bundle(bundle),
        (ControlWord::Head, None, Some(declared)) => Source::Openpi(declared, clock),
        (ControlWord::Head, None, None) => Source::Bundle(&cell.bundle),
    };
    Ok(tactus_policies::open(source, options)?)
}

/// What the budget declares for a chunk, from its observation on, with the margin that belongs to no stage.
fn chunk_budget(cell: &Cell) -> Duration {
    let stages = tactus_vla::measure::STAGES.into_iter();
    stages.map(|stage| cell.budget.get(stage)).sum::<Duration>() + cell.budget.margin
}

/// What explains beside the policy, if anything shall.
fn explaining(cell: &Cell, args: &PolicyArgs) -> anyhow::Result<Option<Explaining>> {
    let Some(hz) = args.explain.or(cell.explain_hz) else {
        return Ok(None);
    };
    let bundle = Bundle::open(args.bundle.as_ref().unwrap_or(&cell.bundle))?;
    let explainer = Explainer::open(
        &bundle,
        ReasonerOptions {
            ort_library: args.onnxruntime.clone(),
            // On its own thread, which gives way: a thread of ONNX Runtime's would not.
            intra_threads: 1,
            provider: args.provider(cell.provider),
            require_provider: args.require_cuda,
            ..ReasonerOptions::default()
        },
    )?;
    tracing::info!(hz, "explanations beside the policy");
    Ok(Some(Explaining {
        explainer: Box::new(explainer),
        every: Duration::try_from_secs_f64(1.0 / hz).context("engine.explain_hz")?,
    }))
}

/// Probes the policy's stages and refuses cells whose times cannot work with them; the others ask for the same conditioning.
fn enforce_budget(cell: &Cell, others: &[&Cell], policy: &mut dyn Served) -> anyhow::Result<Probe> {
    // What cannot work as declared needs no probe.
    let outline = policy.outline();
    let cells = || std::iter::once(cell).chain(others.iter().copied());
    for cell in cells() {
        cell.check_sizes(&outline)?;
        holds::judge(cell, &outline, None).enforce(cell, |_| ())?;
    }
    let conditioning = cell.schedule.strategy.conditioning();
    let probe = policy.probe(conditioning, PROBE_CHUNKS, PROBE_WITHIN)?;
    let warn = |caution: String| tracing::warn!("{caution}");
    for cell in cells() {
        holds::judge(cell, &outline, Some(&probe)).enforce(cell, warn)?;
    }
    let steps = outline.steps;
    if policy.steps() < steps {
        tracing::warn!(
            "{} denoising steps instead of the bundle's {steps}, as the cell asks: quicker, and less exact",
            policy.steps()
        );
    }
    Ok(probe)
}

/// `tactus engine`.
pub fn engine(args: &EngineArgs) -> anyhow::Result<()> {
    let Some(role) = &args.role else {
        return openpi::serve(args);
    };
    let (cell, second) = pairs::of_engine(&role.cell)?;
    if second.is_some() && !args.also.is_empty() {
        bail!("--also: expected none where the engine moves two arms by one policy, got some");
    }
    if second.is_some() && args.policy.control == Some(ControlWord::Fast) {
        bail!("--control: expected `head` for two arms, got `fast`");
    }
    let others = others::load(&cell, role, &args.also)?;
    let Joined {
        session,
        clock,
        stop,
    } = join(role, &format!("engine/{}", cell.engine))?;
    let wire = cell.wire.clone();
    // The arm's joint names decide which column of the policy is which joint, its links what a tool pose is.
    let info = ask_info(&session, &wire, &cell.device, DEVICE_WITHIN)?;
    cell.check_places(&info)?;
    let pair = match &second {
        None => None,
        Some(second) => {
            let dir = cell.bundle_dir(args.policy.bundle.as_deref())?;
            let outline = AnyBundle::open(dir)?.outline();
            let other = ask_info(&session, &wire, &second.device, DEVICE_WITHIN)?;
            Some(pairs::fit([&cell, second], [&info, &other], &outline)?)
        }
    };
    let mut policy = match &pair {
        None => open_live_policy(&cell, &args.policy, &info, &clock)?,
        Some(pair) => open_policy(&cell, &args.policy, pair.columns(), None)?,
    };
    let others = others::join(others, &info, policy.as_ref())?;
    let cells: Vec<&Cell> = others.iter().map(|o| &o.cell).chain(&second).collect();
    if args.policy.bundle.is_some() || cell.openpi.is_none() {
        // What was opened counts, not what lies there by now.
        let dir = cell.bundle_dir(args.policy.bundle.as_deref())?;
        for cell in cells.iter().copied().chain([&cell]) {
            cell.vouched.let_act(dir, policy.bundle_id())?;
        }
    }
    let probe = enforce_budget(&cell, &cells, policy.as_mut())?;
    let options = EngineOptions {
        probed: probe.stages.iter().map(|(_, cost)| cost.p99).sum(),
        at_least: Duration::from_millis(args.at_least_ms.into()),
    };
    let explaining = match (&cells[..], explaining(&cell, &args.policy)?) {
        ([_, ..], Some(_)) => bail!("explanations: expected one arm on the engine, got more"),
        (_, explaining) => explaining,
    };
    let mut arms = vec![engine_arm(&cell, policy.as_ref(), &session)?];
    if let (Some(arm), Some(pair), Some(second)) = (arms.first_mut(), pair, &second) {
        arm.second = Some(Second {
            arm: second.arm.clone(),
            pair,
        });
    }
    for other in &others {
        arms.push(engine_arm(&other.cell, policy.as_ref(), &other.session)?);
    }
    let lost = match role.host {
        Some(_) => Some(Lost::watch(&session, &cell.wire, &stop)?),
        None => None,
    };
    run_engine(policy, explaining, &arms, &options, clock.as_ref(), &stop)?;
    if lost.is_some_and(|lost| lost.is()) {
        bail!(
            "a process of the arm's host has been gone for {} s: started again, this one links anew",
            LOST_FOR.as_secs()
        );
    }
    Ok(())
}

/// The arm of `cell`, as the engine of `policy` serves it over `session`.
fn engine_arm<'a>(
    cell: &Cell,
    policy: &dyn Served,
    session: &'a Session,
) -> anyhow::Result<EngineArm<'a>> {
    Ok(EngineArm {
        cell: cell.wire.clone(),
        engine: cell.engine.clone(),
        arm: cell.arm.clone(),
        second: None,
        assembly: cell.assembly(policy.cameras())?,
        demand: Demand::of(&cell.timing(&policy.outline(), StageTimes::default())),
        session,
    })
}

/// `tactus arm` without a verb: the arm host.
pub fn arm(args: &RoleArgs) -> anyhow::Result<()> {
    let cell = cell::load_arm(&args.cell)?;
    let Joined {
        session,
        clock,
        stop,
    } = join(args, &format!("arm/{}", cell.arm))?;
    let wire = cell.wire.clone();
    let driver = WireDriver::connect(&session, &wire, &cell.device, DEVICE_WITHIN)?;
    let info = driver.info().clone();
    info.check()?;
    cell.poses.check(&cell.file, &info)?;
    let options = ArmOptions {
        cell: wire,
        arm: cell.arm.clone(),
        engine: cell.engine.clone(),
        cameras: cell.cameras.iter().map(|c| c.name.clone()).collect(),
        partner: cell.pair.as_ref().map(|pair| pair.partner.clone()),
        // Two starts of an arm host never share a generation.
        spec: cell.arm_spec(
            clock.now().as_nanos() ^ (u64::from(std::process::id()) << 40),
            &info,
        )?,
        budget: cell.budget,
        realtime: cell.realtime,
        members: cell.members(),
        denied: log::count_denials(),
    };
    if options.spec.guard.is_none() {
        tracing::warn!(
            model = info.model,
            "no workspace and no self-collision limit: nothing describes the arm's links, or the cell file asks for none"
        );
    }
    tracing::info!(
        model = info.model,
        rate_hz = cell.control_rate_hz,
        "arm host in boot"
    );
    let account = run_arm(Box::new(driver), info, &options, &session, clock, &stop)?;
    let late = account.lateness.quantiles();
    tracing::info!(ticks = account.ticks, p50 = ?late.p50, p99 = ?late.p99, max = ?late.max, "stopped");
    Ok(())
}
