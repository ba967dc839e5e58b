//! `tactus run`: a cell's processes, supervised until Ctrl-C; of a cell on several hosts, those of this host. Starts no episode:
//! that is an operator's `tactus order`. A cell of two arms is brought up whole: device and arm host of each.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use tactus_bundle::AnyBundle;
use tactus_wire::Session;

use crate::cell::{self, Cell, CellHost, Place};
use crate::children::{self, Children};
use crate::cli::{RoleArgs, RunArgs};
use crate::live::Shared;
use crate::{doctor, pairs, record, roles};

/// Brings the cell up and says what happens to it; exit code 3 when it does not fit its bundle.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let mut cells = cell::load_arms(&args.cell)?;
    if let [first, second] = &cells[..] {
        return of_pair(args, [first, second]);
    }
    let Some(cell) = cells.pop().filter(|cell| cell.pair.is_none()) else {
        bail!(
            "{}: expected the whole cell file: its two arms run together",
            args.cell.display()
        );
    };
    let stop = roles::stop_flag(false)?;
    let host = args.host.as_ref().map(|host| cell.host(host)).transpose()?;
    let to = args.record.as_deref();
    record::check_target(to)?;
    if let Some(host) = host.filter(|host| !host.has_arm()) {
        return without_arm(args, &cell, host, &stop);
    }
    let endpoint = match (&args.listen, host) {
        (Some(endpoint), _) => Some(endpoint.clone()),
        (None, None) => Some(children::free_endpoint(&cell)?),
        (None, Some(_)) => None,
    };
    let role = RoleArgs {
        cell: args.cell.clone(),
        connect: vec![],
        listen: endpoint.iter().cloned().collect(),
        host: args.host.clone(),
        supervised: false,
    };
    // Elsewhere the engine says it by itself, where the bundle is.
    if host.is_none_or(|host| host.roles.iter().any(|role| role.word() == "engine")) {
        roles::let_act(&cell, &args.policy)?;
    }
    let session: Session = roles::session(&role, "run")?;
    // Without an arm host nobody can switch torque on: it starts once the cell is known to fit its bundle.
    let mut children = match (&endpoint, host) {
        (Some(endpoint), _) => Children::start_without("arm", &cell, endpoint, &args.policy, to)?,
        (None, Some(host)) => Children::start_placed("arm", &cell, host, &args.policy, to)?,
        (None, None) => bail!("--listen: expected an endpoint"),
    };
    let bundle = cell.bundle_dir(args.policy.bundle.as_deref());
    let bundle = bundle.map_err(anyhow::Error::new);
    let bundle = bundle.and_then(|dir| Ok(AnyBundle::open(dir)?));
    if !doctor::may_start(&session, &cell, bundle, args.despite_preflight) {
        children.end();
        return Ok(ExitCode::from(3));
    }
    if stop.load(Ordering::Relaxed) {
        children.end();
        return Ok(ExitCode::SUCCESS);
    }
    children.start_again("arm")?;
    let shared = Shared::new(&cell, None, true);
    let _subscriptions = shared.follow(&session, &cell.wire, &cell, false)?;
    let (at, connect) = match (&endpoint, host) {
        (Some(endpoint), _) => (endpoint.clone(), format!(" --connect {endpoint}")),
        (None, host) => (host.map_or(String::new(), named), String::new()),
    };
    eprintln!(
        "cell `{}` at {at}; logs: {}",
        cell.name,
        children.logs.display()
    );
    if let Some(to) = to {
        eprintln!("recording everything to {}", to.display());
    } else if cell.record.as_ref().is_some_and(|record| record.black_box) {
        eprintln!("black box: {}", record::folder(&cell).display());
    }
    if cell.shared_engine {
        eprintln!(
            "its engine is shared: `tactus engine --cell {}{connect} --also ...` serves it",
            args.cell.display()
        );
    }
    eprintln!(
        "the arm is in boot: `tactus order --cell {}{connect} enable`, then `start \"...\"`",
        args.cell.display()
    );
    supervise(&mut children, &shared, &stop);
    eprintln!("stopping: the arm brakes and holds");
    children.end();
    Ok(ExitCode::SUCCESS)
}

/// A cell of two arms that one policy moves.
fn of_pair(args: &RunArgs, cells: [&Cell; 2]) -> anyhow::Result<ExitCode> {
    let [cell, second] = cells;
    if let Some(host) = &args.host {
        bail!("--host: expected none, since both arms are on one host, got `{host}`");
    }
    let stop = roles::stop_flag(false)?;
    let to = args.record.as_deref();
    record::check_target(to)?;
    let endpoint = match &args.listen {
        Some(endpoint) => endpoint.clone(),
        None => children::free_endpoint(cell)?,
    };
    let role = RoleArgs {
        cell: args.cell.clone(),
        connect: vec![],
        listen: vec![endpoint.clone()],
        host: None,
        supervised: false,
    };
    roles::let_act(cell, &args.policy)?;
    let bundle = AnyBundle::open(cell.bundle_dir(args.policy.bundle.as_deref())?)?;
    let session: Session = roles::session(&role, "run")?;
    let mut children = Children::start_pair("arm", cells, &endpoint, &args.policy, to)?;
    // Of two arms only joints are compared; no switch goes on despite columns that are nobody's.
    if let Err(e) = pairs::preflight(&session, cells, &bundle) {
        eprintln!("preflight: refused: {e:#}");
        eprintln!("the arm hosts were not started");
        children.end();
        return Ok(ExitCode::from(3));
    }
    if stop.load(Ordering::Relaxed) {
        children.end();
        return Ok(ExitCode::SUCCESS);
    }
    children.start_again("arm")?;
    let mut subscriptions = Vec::new();
    let shared = cells.map(|cell| Shared::new(cell, None, true).called(cell.arm.as_str()));
    for (shared, cell) in shared.iter().zip(cells) {
        subscriptions.extend(shared.follow(&session, &cell.wire, cell, false)?);
    }
    eprintln!(
        "cell `{}` of arms `{}` and `{}` at {endpoint}; logs: {}",
        cell.name,
        cell.arm,
        second.arm,
        children.logs.display()
    );
    if let Some(to) = to {
        eprintln!("recording everything to {}", to.display());
    }
    eprintln!(
        "both arms are in boot: `tactus order --cell {} --connect {endpoint} enable`, then `start \"...\"`; one of them: `--cell {}`",
        args.cell.display(),
        cell.reference().display()
    );
    let [shared, _] = &shared;
    supervise(&mut children, shared, &stop);
    eprintln!("stopping: both arms brake and hold");
    children.end();
    Ok(ExitCode::SUCCESS)
}

/// The roles of a host that has no arm: they wait for the arm's host by themselves.
fn without_arm(
    args: &RunArgs,
    cell: &Cell,
    host: &CellHost,
    stop: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    if host.roles.is_empty() {
        bail!(
            "cell file {}: host `{}` has no roles: nothing to run here; operators need no `tactus run`",
            cell.file.display(),
            host.name
        );
    }
    let to = args.record.as_deref();
    if to.is_some() && !host.roles.contains(&Place::Record) {
        bail!(
            "--record: expected the host on which `record` is placed (the arm's unless the cell file says otherwise), got `{}`",
            host.name
        );
    }
    let mut children = Children::start_placed("", cell, host, &args.policy, to)?;
    let shared = Shared::new(cell, None, true);
    eprintln!(
        "{} of cell `{}`; logs: {}",
        named(host),
        cell.name,
        children.logs.display()
    );
    supervise(&mut children, &shared, stop);
    eprintln!("stopping: what needs these roles holds");
    children.end();
    Ok(ExitCode::SUCCESS)
}

fn named(host: &CellHost) -> String {
    let roles: Vec<&str> = host.roles.iter().map(|role| role.word()).collect();
    let CellHost {
        name,
        address,
        port,
        ..
    } = host;
    format!("host `{name}` ({address}:{port}: {})", roles.join(", "))
}

/// Until `stop` is set: says what ended, and lets it be started again.
fn supervise(children: &mut Children, shared: &Shared, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for ended in children.supervise() {
            shared.news(format!(
                "role `{}` ended ({}): {}",
                ended.label, ended.how, ended.last_words
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
