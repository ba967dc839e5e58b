//! `tactus panel`: a web page beside the robot, for whoever watches it and whoever is in charge of it.
//!
//! ```text
//!   wire --subscriptions, one set for all--> hear -> Lately --10 Hz--> snapshot (JSON) --newest only--> each /live
//!                                                `-> Pictures --as many a second as there are for all--> /camera/NAME
//!   page --POST /act, keys over /live--> gate -> desk --orders, lease, setpoints--> arm host
//! ```
//! Decides who is let in and what a page may ask for. Whether an order is carried out is the arm host's decision, as with
//! `tactus order` and `tactus teleop`, whose ways orders go from here. The panel is one more peer of the cell: it runs at a
//! low priority, remembers only the newest of everything, and a reader that is slow skips. Nothing waits for it, and its
//! death ends what it commanded by hand in a hold, and nothing else.
//!
//! - [`gate`]: who may see, who may act. Pure.
//! - [`snapshot`]: what the wire said lately, as one small JSON. Pure. [`hear`] feeds it.
//! - [`pictures`]: the newest frame of each camera.
//! - [`ask`]: what an operator may ask. Pure. [`desk`] carries it out; [`hand`]: taking over with the page's keys.
//! - [`metrics`]: the same figures as text for Prometheus. Pure.
//! - [`trace`]: chunks as traces. Pure. [`otlp`]: to a collector, if there is to be one.
//! - [`serve`]: the routes, over all of these.

mod ask;
mod desk;
mod gate;
mod hand;
mod hear;
mod metrics;
mod otlp;
mod pictures;
mod serve;
mod snapshot;
mod trace;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;

use crate::cli::{PanelArgs, RoleArgs};
use crate::{cell, result, roles};

use desk::Desk;
pub use gate::{Asking, Gate, Tokens};
pub use otlp::Collector;
use otlp::Exporting;
use pictures::Pictures;
use serve::Panel;
use snapshot::{Facts, Lately};

/// Niceness of the process: after the cell's processes, but not so far that a human's setpoints are late on a busy machine.
const NICE: i32 = 10;
/// Added for the threads that serve pages, which may be many.
const NICER: i32 = 9;
/// Threads that serve pages.
const THREADS: usize = 2;
/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// Serves the panel until it is told to end.
pub fn panel(args: &PanelArgs) -> anyhow::Result<()> {
    let cell = Arc::new(cell::load(&args.cell)?);
    let listener = TcpListener::bind(args.listen)
        .with_context(|| format!("--listen {}: cannot listen", args.listen))?;
    let address = listener.local_addr()?;
    let tokens = match address.ip().is_loopback() && !args.token {
        true => None,
        false => Some(Tokens::draw()?),
    };
    // Inherited by every thread that is started from here on, Zenoh's too.
    if let Err(e) = rustix::process::nice(NICE) {
        tracing::warn!("the panel runs at the usual priority: {e}");
    }
    let role = RoleArgs {
        cell: args.cell.clone(),
        connect: args.connect.clone(),
        listen: vec![],
        host: None,
        supervised: args.supervised,
    };
    let joined = roles::join(&role, "panel")?;
    let lately = Arc::new(Mutex::new(Lately::default()));
    let pictures = Arc::new(Pictures::new(
        cell.cameras.iter().map(|c| c.name.as_str().to_owned()),
    ));
    let _heard = hear::follow(&joined.session, &cell, &lately, &pictures)?;
    let otlp = args.otlp.clone();
    let _exported = otlp
        .map(|to| Exporting::start(&cell, &joined, to))
        .transpose()?;
    let desk = Desk::new(&cell, &joined, lately.clone())?;
    let panel = Arc::new(Panel::new(
        Gate::new(tokens.clone(), address.port(), args.view_only),
        Facts::of(&cell),
        lately.clone(),
        pictures,
        desk.clone(),
        joined.clock.clone(),
    ));
    announce(address, tokens.as_ref(), args.view_only)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(32)
        .thread_name("panel-serve")
        .on_thread_start(|| _ = rustix::process::nice(NICER))
        .enable_all()
        .build()
        .context("threads that serve pages")?;
    runtime.spawn(serve::tick(panel.clone()));
    let serving = runtime.spawn(serve::serve(panel, listener));
    let asking = hear::ask_for_the_arm(&joined, &cell, &lately)?;
    while !joined.stop.load(Ordering::Relaxed) && !serving.is_finished() {
        desk.look();
        std::thread::sleep(LOOK);
    }
    let ended = serving.is_finished();
    joined.stop.store(true, Ordering::Relaxed);
    // Whoever is in command lets go first.
    desk.leave();
    runtime.shutdown_timeout(Duration::from_millis(500));
    let _ = asking.join();
    anyhow::ensure!(!ended, "the pages are not served any more");
    Ok(())
}

/// Says where the page is; the only time that the tokens are shown.
fn announce(address: SocketAddr, tokens: Option<&Tokens>, view_only: bool) -> anyhow::Result<()> {
    let at = match address.ip().is_unspecified() {
        true => format!("THIS-HOST:{}", address.port()),
        false => address.to_string(),
    };
    let Some(tokens) = tokens else {
        return result::line(format_args!("panel: http://{at}/"));
    };
    result::line(format_args!(
        "panel, to watch: http://{at}/?token={}",
        tokens.see
    ))?;
    if !view_only {
        result::line(format_args!(
            "panel, to act:   http://{at}/?token={}",
            tokens.act
        ))?;
    }
    result::line(
        "The tokens are not shown again. The page is not encrypted: on a network that others use, go through ssh -L.",
    )
}
