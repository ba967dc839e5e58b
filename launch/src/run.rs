//! `tactus run`: a cell's processes, supervised until Ctrl-C. Starts no episode: that is an operator's `tactus order`.

use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tactus_bundle::AnyBundle;
use tactus_wire::Session;

use crate::cell;
use crate::children::{self, Children};
use crate::cli::{RoleArgs, RunArgs};
use crate::live::Shared;
use crate::{doctor, record, roles};

/// Brings the cell up and says what happens to it; exit code 3 when it does not fit its bundle.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let cell = cell::load(&args.cell)?;
    let stop = roles::stop_flag(false)?;
    let endpoint = match &args.listen {
        Some(endpoint) => endpoint.clone(),
        None => children::free_endpoint(&cell)?,
    };
    let role = RoleArgs {
        cell: args.cell.clone(),
        connect: vec![],
        listen: vec![endpoint.clone()],
        supervised: false,
    };
    roles::let_act(&cell, &args.policy)?;
    let session: Session = roles::session(&role, "run")?;
    let to = args.record.as_deref();
    record::check_target(to)?;
    // Without an arm host nobody can switch torque on: it starts once the cell is known to fit its bundle.
    let mut children = Children::start_without("arm", &cell, &endpoint, &args.policy, to)?;
    let bundle = cell.bundle_dir(args.policy.bundle.as_deref());
    let bundle = bundle.map_err(anyhow::Error::new);
    let fits = match bundle.and_then(|dir| Ok(AnyBundle::open(dir)?)) {
        Ok(bundle) => doctor::preflight(&session, &cell, &bundle),
        // A human can command an arm without any policy; the engine says the same.
        Err(e) => Err(e.context("nothing is compared")),
    };
    match fits {
        Ok(true) => {}
        Ok(false) if args.despite_preflight => {
            eprintln!("preflight: goes on despite that, as asked (--despite-preflight)");
        }
        Ok(false) => {
            eprintln!(
                "the arm host was not started; --despite-preflight goes on where you know better"
            );
            children.end();
            return Ok(ExitCode::from(3));
        }
        // Without an answer the arm host says by itself what it lacks.
        Err(e) => eprintln!("preflight: warning: {e:#}"),
    }
    if stop.load(Ordering::Relaxed) {
        children.end();
        return Ok(ExitCode::SUCCESS);
    }
    children.start_again("arm")?;
    let shared = Shared::new(&cell, None, true);
    let _subscriptions = shared.follow(&session, &cell.wire, &cell, false)?;
    eprintln!(
        "cell `{}` at {endpoint}; logs: {}",
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
            "its engine is shared: `tactus engine --cell {} --connect {endpoint} --also ...` serves it",
            args.cell.display()
        );
    }
    eprintln!(
        "the arm is in boot: `tactus order --cell {} --connect {endpoint} enable`, then `start \"...\"`",
        args.cell.display()
    );
    while !stop.load(Ordering::Relaxed) {
        for ended in children.supervise() {
            shared.news(format!(
                "role `{}` ended ({}): {}",
                ended.role, ended.how, ended.last_words
            ));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    eprintln!("stopping: the arm brakes and holds");
    children.end();
    Ok(ExitCode::SUCCESS)
}
