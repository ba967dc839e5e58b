//! The thread that leads a node's arm: it keeps the lease, starts and ends sessions as it is told, and sends one target per
//! tick of the device. What a state means is [`super::watch`]'s, how far a target goes [`super::pace`]'s.
//!
//! It does not speak for a device that does not run any more: without its ticks no target goes out, and after [`SILENT`] it ends
//! the session. Questions to the node are asked on this thread and take their time; targets wait for none of them, since none
//! is asked while a session runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tactus_drivers_api::lock::OwnedName;
use tactus_types::{Clock, Time};

use super::NodeSpec;
use super::bench::{own, refused};
use super::inbox::{Counts, Inbox, Shared};
use super::network::Network;
use super::pace::{Gates, Pace};
use super::watch::{Sample, Seen, Watch};
use super::wire::{self, Phase, Verb};
use crate::device::{Arm, Exchange, Kept, Sampled};
use crate::error::FrankaError;
use crate::link::SILENT;
use crate::model;
use crate::modes::Ended;
use crate::stream::Wanted;

/// A node that has said nothing for so long is gone, until it says something again.
const GONE: Duration = Duration::from_secs(1);
/// The lease is asked for again, where it was lost, so often.
const LEASE_EVERY: Duration = Duration::from_millis(500);
/// The lease, given or refused, within ..
const LEASED_WITHIN: Duration = Duration::from_secs(1);
/// .. and at the start within this: the node has to see the token first.
const FIRST_LEASE: Duration = Duration::from_secs(3);
/// A session is started within ..
const ENABLED_WITHIN: Duration = Duration::from_secs(3);
/// .. and seen in a state within; stopping settles the arm, for up to 5 s.
const SEEN_WITHIN: Duration = Duration::from_secs(1);
const STOPPED_WITHIN: Duration = Duration::from_secs(7);
/// Longest wait for a tick of the device.
const TICK: Duration = Duration::from_millis(20);
const PIECE: Duration = Duration::from_millis(5);
/// A refusal of targets is logged again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// What passes between this client and a node.
pub trait Wire: Send {
    /// Publishes a target.
    ///
    /// # Errors
    /// The network's words.
    fn put(&self, target: &[u8]) -> Result<(), String>;

    /// Asks the node, and waits for its answer.
    ///
    /// # Errors
    /// The network's words, where there is none within `within`.
    fn ask(&self, verb: Verb, request: &str, within: Duration) -> Result<Vec<u8>, String>;
}

/// An arm that is led through a node.
pub struct Link {
    inbox: Inbox,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A Franka Research 3 behind a node.
pub type NodeArm = Arm<Link>;

impl Arm<Link> {
    /// Puts the arm of `spec` into service: acquires it, moves nothing, starts nothing.
    ///
    /// # Errors
    /// [`FrankaError`].
    pub fn start(spec: &NodeSpec, clock: Arc<dyn Clock>) -> Result<Self, FrankaError> {
        let own = own(spec)?;
        let inbox = Inbox::new(clock);
        let network = Network::open(spec, &inbox, true)?;
        Self::over(spec, Box::new(network), inbox, own)
    }

    /// The same, over a network that is there, which has brought a state to `inbox`.
    ///
    /// # Errors
    /// [`FrankaError`].
    pub fn over(
        spec: &NodeSpec,
        network: Box<dyn Wire>,
        inbox: Inbox,
        own: OwnedName,
    ) -> Result<Self, FrankaError> {
        acquire(spec, &*network, inbox.client())?;
        let first = inbox.newest().ok_or_else(|| FrankaError::NodeSilent {
            endpoint: spec.endpoint.clone(),
            arm: spec.arm.clone(),
            secs: 0,
            heard: inbox.complaint(),
        })?;
        if let Some(reason) = first.0.unfit() {
            tracing::warn!("the arm cannot be enabled as it is: {reason}");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            network,
            inbox: inbox.clone(),
            gates: spec.gates,
            stop: stop.clone(),
            followed: 0,
            seq: 0,
            ticks: 0,
            said: String::new(),
        };
        let thread = std::thread::Builder::new()
            .name("franka-node".into())
            .spawn(move || keeper.keep())
            .map_err(|reason| FrankaError::Thread {
                thread: "franka-node",
                reason,
            })?;
        let clock = inbox.clock.clone();
        let link = Link {
            inbox,
            stop,
            thread: Some(thread),
        };
        let name = format!(
            "{} `{}` of franka-node at {}",
            model::MODEL,
            spec.arm,
            spec.endpoint
        );
        let info = model::info(spec.rate_hz, spec.gates.budget);
        Ok(Self::kept(name, info, link, first, own, clock))
    }

    /// What passed so far.
    pub fn counts(&self) -> Counts {
        self.link().inbox.lock().counts
    }
}

/// Takes the lease. A faulted node gives none: then it is asked for again later.
fn acquire(spec: &NodeSpec, network: &dyn Wire, client: u32) -> Result<(), FrankaError> {
    let until = Instant::now() + FIRST_LEASE;
    loop {
        match ask(network, Verb::Acquire, client, LEASED_WITHIN) {
            Ok(()) => return Ok(()),
            // The node has not seen the token yet.
            Err(reason) if reason == "no lease" && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(reason) if reason == "not allowed in faulted" => {
                tracing::warn!(
                    "franka-node is faulted and gives no lease: `tactus device recover`"
                );
                return Ok(());
            }
            Err(reason) => return Err(refused(spec, Verb::Acquire, reason)),
        }
    }
}

fn ask(network: &dyn Wire, verb: Verb, client: u32, within: Duration) -> Result<(), String> {
    let answer = network.ask(verb, &verb.request(client), within)?;
    wire::reply(&answer)
}

impl Kept for Link {
    type Sample = Sample;

    fn look(&self) -> Exchange<Sample> {
        self.inbox.lock().exchange
    }

    fn why(&self) -> Option<Ended> {
        self.inbox.lock().why.take()
    }

    fn want(&self, session: u64, wanted: Wanted) {
        let mut shared = self.inbox.lock();
        shared.session = session;
        shared.wanted = Some(wanted);
        shared.ticks += 1;
        drop(shared);
        self.inbox.room.ticked.notify_one();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread `franka-node` panicked");
        }
    }
}

/// What the thread sees at a time.
#[derive(Clone, Copy)]
struct Now {
    up: bool,
    sample: Sample,
    heard: Time,
    session: u64,
    wanted: Option<Wanted>,
}

struct Keeper {
    network: Box<dyn Wire>,
    inbox: Inbox,
    gates: Gates,
    stop: Arc<AtomicBool>,
    /// The last session that was begun.
    followed: u64,
    /// Of the last target: it grows for as long as this client lives.
    seq: u64,
    /// Of the device, when it was last looked at.
    ticks: u64,
    said: String,
}

impl Keeper {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn keep(mut self) {
        let mut lease_at = self.inbox.clock.now();
        while !self.stopped() {
            let Some(seen) = self.wait() else {
                continue;
            };
            let now = self.inbox.clock.now();
            if seen.up && now.since(seen.heard) > GONE {
                self.inbox.lock().exchange.up = false;
                let secs = GONE.as_secs();
                tracing::error!("nothing of franka-node for {secs} s; waiting until it is back");
            }
            if !seen.up {
                continue;
            }
            if !seen.sample.is_ours() && now >= lease_at {
                lease_at = now + LEASE_EVERY;
                self.take_lease(&seen.sample);
            }
            if seen.session != 0 && seen.session != self.followed {
                self.followed = seen.session;
                let result = self.follow(&seen);
                let mut shared = self.inbox.lock();
                (shared.exchange.following, shared.exchange.ended) = (0, seen.session);
                shared.why = result.err();
            }
        }
        self.leave();
    }

    /// Waits for a tick of the device, not longer than [`TICK`].
    fn wait(&mut self) -> Option<Now> {
        let shared = self.inbox.lock();
        let before = self.ticks;
        let unchanged = |shared: &mut Shared| shared.ticks == before;
        let waited = self
            .inbox
            .room
            .ticked
            .wait_timeout_while(shared, TICK, unchanged);
        let (shared, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.ticks = shared.ticks;
        look(&shared)
    }

    fn ask(&self, verb: Verb, within: Duration) -> Result<(), String> {
        let request = verb.request(self.inbox.client());
        let answer = self.network.ask(verb, &request, within)?;
        // While the node sees to it, it publishes nothing; an answer, a no too, is as good.
        self.inbox.lock().heard = self.inbox.clock.now();
        wire::reply(&answer)
    }

    /// Says it unless it was the last that was said.
    fn say(&mut self, words: String) {
        if words != self.said {
            tracing::warn!("{words}");
            self.said = words;
        }
    }

    /// The lease was lost, or never given.
    fn take_lease(&mut self, sample: &Sample) {
        let fits = matches!(sample.state.phase, Phase::Idle | Phase::Acquired);
        match sample.state.holder {
            0 if fits => match self.ask(Verb::Acquire, LEASED_WITHIN) {
                Ok(()) => {
                    self.said.clear();
                    tracing::info!("franka-node has given the arm to this client");
                }
                Err(reason) => self.say(format!("franka-node does not give the arm: {reason}")),
            },
            0 => self.say(format!(
                "franka-node is {} and gives the arm to nobody",
                sample.state.phase
            )),
            other => self.say(format!("franka-node has given the arm to client {other}")),
        }
    }

    /// Follows the session of `seen` until it is over. It ends where the arm is, unless the node ends it.
    fn follow(&mut self, seen: &Now) -> Result<(), Ended> {
        let session = seen.session;
        if let Some(reason) = seen.sample.refusal() {
            return Err(Ended::Refused(reason));
        }
        if let Err(reason) = self.ask(Verb::Enable, ENABLED_WITHIN) {
            // It may have been enabled all the same, where no answer came.
            self.ask_to_stop(STOPPED_WITHIN);
            return Err(Ended::Refused(format!("franka-node: enable: {reason}")));
        }
        let until = Instant::now() + SEEN_WITHIN;
        let first = loop {
            match self.inbox.newest() {
                Some((sample, _)) if sample.follows() => break sample,
                _ if Instant::now() > until => {
                    self.ask_to_stop(STOPPED_WITHIN);
                    let words = "franka-node: enabled, but no joints session is seen";
                    return Err(Ended::Refused(words.into()));
                }
                _ => std::thread::sleep(PIECE),
            }
        };
        let mut pace = Pace::new(self.gates, first.state.target, self.inbox.clock.now());
        let mut watch = Watch::new(&first);
        self.inbox.lock().exchange.following = session;
        let result = self.stream(session, &mut pace, &mut watch);
        let newest = self.inbox.newest();
        let runs = newest.is_some_and(|(s, _)| s.is_ours() && s.state.phase == Phase::Active);
        match &result {
            // Who is silent is not waited for.
            Err(Ended::Lost(_)) => self.ask_to_stop(LEASED_WITHIN),
            _ if runs => self.ask_to_stop(STOPPED_WITHIN),
            _ => {}
        }
        result
    }

    /// Sends targets, one for each tick of the device, until the session is over.
    fn stream(&mut self, session: u64, pace: &mut Pace, watch: &mut Watch) -> Result<(), Ended> {
        let mut warned: Option<Time> = None;
        let mut beyond = None;
        loop {
            let ticks = self.ticks;
            let Some(seen) = self.wait() else {
                continue;
            };
            let now = self.inbox.clock.now();
            if self.stopped() || seen.session != session {
                return Ok(());
            }
            match watch.look(&seen.sample, seen.heard, now) {
                Seen::Well => {}
                Seen::Over(why) => return Err(why),
                Seen::Refused(more) => {
                    self.inbox.lock().counts.refused += more;
                    pace.resume(seen.sample.state.target);
                    if warned.is_none_or(|at| now.since(at) > AGAIN) {
                        warned = Some(now);
                        let all = seen.sample.state.refused;
                        tracing::warn!("franka-node has refused {all} targets of this session");
                    }
                }
            }
            let Some(wanted) = seen.wanted else {
                continue;
            };
            if now.since(wanted.said) > SILENT {
                return Err(Ended::Silent);
            }
            if self.ticks == ticks {
                continue;
            }
            let q = pace.next(&wanted.q, now);
            if pace.beyond() != beyond {
                beyond = pace.beyond();
                if let Some(joint) = beyond {
                    let joint = model::JOINT_NAMES[joint];
                    tracing::warn!(
                        "{joint} is to go further than this session permits (device.max_deviation_rad): it stops there"
                    );
                }
            }
            self.seq += 1;
            let target = wire::joint_target(self.inbox.client(), self.seq, now.as_nanos(), &q);
            match self.network.put(&target) {
                Ok(()) => self.inbox.lock().counts.targets += 1,
                Err(e) => return Err(Ended::Lost(e)),
            }
        }
    }

    /// Ends the session where the arm is; that none runs is as good.
    fn ask_to_stop(&self, within: Duration) {
        match self.ask(Verb::Stop, within) {
            Ok(()) => {}
            Err(reason) if reason.starts_with("not allowed in ") => {}
            Err(reason) => tracing::error!(
                "franka-node: stop: {reason}: it ends the session itself, where it hears no targets for its stop_after_ms"
            ),
        }
    }

    /// Gives the arm back.
    fn leave(&self) {
        let ours = self.inbox.newest().is_some_and(|(s, _)| s.is_ours());
        if ours && let Err(reason) = self.ask(Verb::Release, LEASED_WITHIN) {
            tracing::warn!(
                "franka-node: release: {reason}: the arm is freed with this client's token"
            );
        }
    }
}

fn look(shared: &Shared) -> Option<Now> {
    let (sample, _) = shared.exchange.newest?;
    Some(Now {
        up: shared.exchange.up,
        sample,
        heard: shared.heard,
        session: shared.session,
        wanted: shared.wanted,
    })
}
