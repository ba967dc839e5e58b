//! `tactus run`: a cell's processes, supervised until Ctrl-C. Starts no episode: that is an operator's `tactus order`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tactus_wire::Session;

use crate::cell;
use crate::children::{self, Children};
use crate::cli::{RoleArgs, RunArgs};
use crate::live::Shared;
use crate::{record, roles};

/// Brings the cell up and says what happens to it.
pub fn run(args: &RunArgs) -> anyhow::Result<()> {
    let cell = cell::load(&args.cell)?;
    let stop = roles::stop_flag(false)?;
    let endpoint = match &args.listen {
        Some(endpoint) => endpoint.clone(),
        None => children::free_endpoint()?,
    };
    let role = RoleArgs {
        cell: args.cell.clone(),
        connect: vec![],
        listen: vec![endpoint.clone()],
        supervised: false,
    };
    let session: Session = roles::session(&role, "run")?;
    let to = args.record.as_deref();
    record::check_target(to)?;
    let mut children = Children::start(&cell, &endpoint, &args.policy, "info", to)?;
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
    Ok(())
}
