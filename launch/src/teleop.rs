//! `tactus teleop`: a human's device as the source of an arm's setpoints, with take-over and hand-back.
//!
//! ```text
//!   device -> feed: read, pilot, publish under the lease, at its own rate --setpoint--> arm host
//!                \ buttons                                                              | mode, applied
//!   keys, words --> commander: lease, take over, hand back, hold, stop, leave <-- seen <+
//! ```
//! Decides what a key means and that leaving is orderly: whoever leaves in command lets go first, and the arm holds. Whether
//! and how the arm follows is decided in the arm host, where a human is in command through the wire alone; so any program
//! may do what this one does (launch/OPERATING.md has the messages).
//!
//! - [`open`]: the device named on the command line, and how its readings become joints.
//! - [`seen`]: what the arm host says, and what was sent; shared by all threads.
//! - [`feed`]: the thread that reads and publishes. It decides nothing else, and nothing else keeps it waiting.
//! - [`commander`]: the lease and the orders. [`held`]: both, for a source that has no terminal.
//! - [`screen`]: the terminal's view and keys; [`lines`]: plain lines and words instead.

mod commander;
mod feed;
mod held;
mod lines;
mod open;
mod screen;
mod seen;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use tactus_teleop::Wish;
use tactus_types::{ArmInfo, Reference};
use tactus_wire::{Nothing, Topic};

use crate::cell::{self, period};
use crate::cli::{SourceWord, TeleopArgs};
use crate::{order, roles};

// The panel and the bridge to ROS 2 command with the same parts, in the terminal's place.
pub use held::{Held, Manner};
pub use seen::Seen;

use commander::Commander;
use feed::Feed;

use open::Opened;

/// What is asked of the commander.
#[derive(Debug)]
pub enum Asked {
    /// By a button, a key or a word.
    Wish(Wish),
    /// Leave: let go first.
    Leave,
    /// The device is gone, and why.
    Failed(String),
}

/// Runs until the operator leaves.
pub fn teleop(args: &TeleopArgs) -> anyhow::Result<()> {
    let cell = cell::load_arm(&args.role.cell)?;
    if !(args.speed > 0.0 && args.speed <= 1.0) {
        bail!("--speed: expected above 0 to 1, got {}", args.speed);
    }
    let terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if !args.headless && !terminal {
        bail!("there is no terminal for the view: use --headless, with words on stdin as keys");
    }
    if args.headless && args.source == SourceWord::Keyboard {
        bail!("--source keyboard needs the terminal: leave --headless out");
    }
    let joined = roles::join(&args.role, "teleop")?;
    let session = &joined.session;
    let key = cell.wire.key(&Topic::ArmInfo(cell.arm.clone()));
    session.wait_for_answerer(&key, order::ANSWER_WITHIN)?;
    let info: ArmInfo = session
        .query(&key, &Nothing, order::ANSWER_WITHIN)
        .context("the arm host does not answer")?
        .message;
    info.check()?;
    let Opened {
        source,
        pilot,
        keys,
        rate_hz,
        reference,
    } = open::open(args, &info, joined.clock.as_ref())?;
    let reference = args.reference.map_or(reference, Reference::from);
    let seen = Arc::new(Seen::new(&info, source.name(), reference, &cell));
    let _subscriptions = seen.follow(&cell, session)?;
    let publisher = session.publisher(&session.setpoint_key(&cell.wire, &cell.arm))?;

    let (asked_of, asked) = sync_channel(WAITING);
    let ask = Ask::new(seen.clone(), asked_of);
    let feed = Feed {
        source,
        pilot,
        publisher,
        seen: seen.clone(),
        clock: joined.clock.clone(),
        period: period(rate_hz),
        ask: ask.clone(),
    };
    let mut commander = Commander::new(&cell, session, seen.clone(), reference);
    std::thread::scope(|scope| {
        let done = roles::Stopping(&seen.done);
        std::thread::Builder::new()
            .name("teleop-feed".into())
            .spawn_scoped(scope, || feed.run())
            .context("thread `teleop-feed`")?;
        let (commander, end) = (&mut commander, &seen.ended);
        let commanding = std::thread::Builder::new()
            .name("teleop-order".into())
            .spawn_scoped(scope, move || {
                let result = commander.serve(&asked);
                end.store(true, Ordering::Relaxed);
                result
            })
            .context("thread `teleop-order`")?;
        let shown = match args.headless {
            true => lines::show(&seen, &ask, &joined.stop),
            false => {
                let file = std::env::temp_dir().join(format!("tactus-teleop-{}.log", cell.name));
                screen::show(&seen, &ask, &joined.stop, keys.as_ref(), &file)
            }
        };
        // Whatever ended the view: let go, then end.
        ask.leave();
        let ended = match commanding.join() {
            Ok(ended) => ended,
            Err(_) => bail!("the thread `teleop-order` panicked"),
        };
        drop(done);
        shown?;
        let said = ended?;
        crate::result::line(said)
    })
}

/// How often the views look.
pub const LOOK: Duration = Duration::from_millis(50);
/// Wishes that may wait for the commander; a flood of keys is not remembered.
pub const WAITING: usize = 16;

/// Where buttons, keys and words go.
#[derive(Clone)]
pub struct Ask {
    seen: Arc<Seen>,
    to: SyncSender<Asked>,
}

impl Ask {
    /// To the commander that listens at the other end of `to`.
    pub fn new(seen: Arc<Seen>, to: SyncSender<Asked>) -> Self {
        Self { seen, to }
    }

    /// Asks for `wish` without waiting. What ends motion lets go in the same moment, whatever the commander is busy with.
    pub fn wish(&self, wish: Wish) {
        if matches!(wish, Wish::Hold | Wish::Stop) {
            self.seen.closed.store(false, Ordering::Relaxed);
        }
        // Nobody listens any more when the commander has ended.
        if let Err(TrySendError::Full(_)) = self.to.try_send(Asked::Wish(wish)) {
            self.seen
                .note(format!("{}: too many orders at once", wish.word()));
        }
    }

    /// Tells why the device is gone.
    pub fn failed(&self, why: String) {
        let _ = self.to.send(Asked::Failed(why));
    }

    /// The operator leaves.
    pub fn leave(&self) {
        let _ = self.to.send(Asked::Leave);
    }
}
