//! The services: what ends motion is done at once, on a thread that nothing else can keep busy; what begins it one after the
//! other, and only with `--commands`.
//!
//! | service | type | does |
//! |---|---|---|
//! | `hold` | Trigger | the arm brakes and holds; needs no lease |
//! | `stop` | Trigger | as the arm host's stop: only its restart leaves it |
//! | `end` | Trigger | ends the episode |
//! | `enable` | Trigger | enables the arm, under the lease |
//! | `start` | Trigger | starts the policy with the sentence of `--instruction` or of the topic `instruction`; it goes on unattended |
//! | `command` | SetBool | true: takes over, so that the topics command; false: lets go, and the arm holds |
//! | `hand_back` | Trigger | gives the arm back to the policy |

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use tactus_ros::messages::{Bool, Outcome, RosService, SetBool, Text, Trigger};
use tactus_ros::node::Answer;
use tactus_ros::{Attachment, Qos};
use tactus_types::{Rank, Reference};
use tactus_wire::{ModeOrder, ModeOrderReply, Nothing, Topic};

use super::command::{self, Commands};
use super::{Bridge, Kept, thread};
use crate::cli::RosArgs;
use crate::order;
use crate::teleop::{Held, Manner};

/// Questions that may wait for their thread.
const WAITING: usize = 8;
/// How often the threads look whether the arm is still ours, and whether they are to end.
const LOOK: Duration = Duration::from_millis(50);
/// An arm that has not been ours for this many looks is let go.
const LOST_LOOKS: u32 = 10;
/// Longest instruction, bytes.
const INSTRUCTION_BYTES: usize = 4096;

/// What ends motion.
#[derive(Debug, Clone, Copy)]
enum Ends {
    Hold,
    Stop,
    Episode,
}

/// What begins it.
#[derive(Debug, Clone, Copy)]
enum Begins {
    Enable,
    Start,
    Command(bool),
    HandBack,
}

/// How the outcome comes back.
type Reply = Box<dyn FnOnce(Outcome) + Send>;

/// What both threads know.
struct Desk {
    bridge: Arc<Bridge>,
    /// Motion was ended: whoever commands from here lets go.
    let_go: AtomicBool,
    instruction: Mutex<Option<String>>,
    commands: Arc<Commands>,
}

/// Declares the services, and with `--commands` the topics.
pub fn start(bridge: &Arc<Bridge>, args: &RosArgs) -> anyhow::Result<Kept> {
    let mut kept = Kept::new(bridge);
    let desk = Arc::new(Desk {
        bridge: bridge.clone(),
        let_go: AtomicBool::new(false),
        instruction: Mutex::new(args.instruction.clone()),
        commands: Arc::new(Commands::new(bridge)),
    });
    let (ending, ends) = sync_channel(WAITING);
    for (name, what) in [
        ("hold", Ends::Hold),
        ("stop", Ends::Stop),
        ("end", Ends::Episode),
    ] {
        offer::<Trigger, _>(bridge, &mut kept, name, &ending, move |_| what)?;
    }
    let at = desk.clone();
    kept.threads
        .push(thread("ros-stop", move || at.end_motion(&ends))?);
    if !args.commands {
        return Ok(kept);
    }
    let (beginning, begins) = sync_channel(WAITING);
    for (name, what) in [
        ("enable", Begins::Enable),
        ("start", Begins::Start),
        ("hand_back", Begins::HandBack),
    ] {
        offer::<Trigger, _>(bridge, &mut kept, name, &beginning, move |_| what)?;
    }
    let on = |asked: Bool| Begins::Command(asked.data);
    offer::<SetBool, _>(bridge, &mut kept, "command", &beginning, on)?;
    let at = desk.clone();
    let name = bridge.name("instruction")?;
    let heard = move |text: Text, _: &Attachment| {
        if text.data.len() <= INSTRUCTION_BYTES {
            *at.instruction
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(text.data);
        }
    };
    kept.topics
        .push(bridge.node.subscribe(&name, Qos::USUAL, heard)?);
    command::listen(bridge, &desk.commands, &mut kept)?;
    kept.threads
        .push(thread("ros-order", move || desk.begin_motion(&begins))?);
    Ok(kept)
}

/// Offers service `name`: what is asked goes to a thread; where too much waits there, the answer is no.
fn offer<S, T>(
    bridge: &Bridge,
    kept: &mut Kept,
    name: &str,
    to: &SyncSender<(T, Reply)>,
    what: impl Fn(S::Request) -> T + Send + Sync + 'static,
) -> anyhow::Result<()>
where
    S: RosService<Response = Outcome> + 'static,
    T: Send + 'static,
{
    let to = to.clone();
    let asked = move |request: S::Request, answer: Answer<S>| {
        let reply: Reply = Box::new(move |outcome| answer.answer(&outcome));
        if let Err(e) = to.try_send((what(request), reply)) {
            let (_, reply) = match e {
                std::sync::mpsc::TrySendError::Full(back)
                | std::sync::mpsc::TrySendError::Disconnected(back) => back,
            };
            reply(outcome(Err(anyhow!("too many orders at once"))));
        }
    };
    let server = bridge.node.service::<S>(&bridge.name(name)?, asked)?;
    kept.services.push(server);
    Ok(())
}

fn outcome(result: anyhow::Result<String>) -> Outcome {
    match result {
        Ok(message) => Outcome {
            success: true,
            message,
        },
        Err(e) => Outcome {
            success: false,
            message: format!("{e:#}"),
        },
    }
}

fn mode(reply: ModeOrderReply) -> String {
    reply.mode.to_string()
}

impl Desk {
    fn end_motion(&self, asked: &Receiver<(Ends, Reply)>) {
        while !self.bridge.is_done() {
            let (what, reply) = match asked.recv_timeout(LOOK) {
                Ok(asked) => asked,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            tracing::info!(?what, "asked by ROS 2");
            if matches!(what, Ends::Hold | Ends::Stop) {
                self.let_go.store(true, Ordering::Relaxed);
            }
            reply(outcome(self.end(what).map(mode)));
        }
    }

    fn end(&self, what: Ends) -> anyhow::Result<ModeOrderReply> {
        let Bridge { cell, joined, .. } = self.bridge.as_ref();
        let session = &joined.session;
        let key = session.order_key(&cell.wire, &cell.arm);
        match what {
            Ends::Hold => order::send(session, &key, &ModeOrder::Hold),
            Ends::Episode => order::send(session, &key, &ModeOrder::StopEpisode),
            Ends::Stop => {
                let key = cell.wire.key(&Topic::ArmStop(cell.arm.clone()));
                let reply =
                    session.query::<Nothing, ModeOrderReply>(&key, &Nothing, order::ANSWER_WITHIN);
                Ok(reply.context("the arm host does not answer")?.message)
            }
        }
    }

    fn begin_motion(&self, asked: &Receiver<(Begins, Reply)>) {
        let mut held: Option<Held> = None;
        let mut lost = 0;
        while !self.bridge.is_done() {
            if self.let_go.swap(false, Ordering::Relaxed) {
                self.release(&mut held);
            }
            lost = match held.as_ref().is_some_and(|held| !held.in_command()) {
                true => lost + 1,
                false => 0,
            };
            if lost >= LOST_LOOKS {
                let said = held.as_ref().map(Held::said).unwrap_or_default();
                tracing::warn!("ROS 2 does not command any more: {said}");
                self.release(&mut held);
            }
            match asked.recv_timeout(LOOK) {
                Ok((what, reply)) => {
                    tracing::info!(?what, "asked by ROS 2");
                    reply(outcome(self.begin(what, &mut held)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.release(&mut held);
    }

    /// Lets go, where we have it: the arm holds.
    fn release(&self, held: &mut Option<Held>) {
        self.commands.release();
        *held = None;
    }

    fn begin(&self, what: Begins, held: &mut Option<Held>) -> anyhow::Result<String> {
        match what {
            Begins::Enable => self.under_lease(&ModeOrder::Enable).map(mode),
            Begins::Start => {
                let said = {
                    let said = self.instruction.lock();
                    said.unwrap_or_else(PoisonError::into_inner).clone()
                };
                let instruction = said.context(
                    "no instruction: say one on the topic `instruction`, or with --instruction",
                )?;
                let order = ModeOrder::StartEpisode {
                    episode: 0,
                    instruction,
                    seed: 0,
                };
                self.under_lease(&order).map(mode)
            }
            Begins::Command(true) => {
                if held.as_ref().is_some_and(Held::in_command) {
                    return Ok("in command already".into());
                }
                self.release(held);
                *held = Some(self.take_over()?);
                Ok("in command: the topics under `command` move the arm".into())
            }
            Begins::Command(false) => {
                self.release(held);
                Ok("let go: the arm holds until it is enabled".into())
            }
            Begins::HandBack => {
                let held_now = held.as_ref().context("the arm is not ours to hand back")?;
                held_now.hand_back()?;
                self.release(held);
                Ok("handed back".into())
            }
        }
    }

    /// Gives an order under the policy's rank: no program of ROS 2 takes an arm from a human, or from another, by these.
    fn under_lease(&self, what: &ModeOrder) -> anyhow::Result<ModeOrderReply> {
        let Bridge { cell, joined, .. } = self.bridge.as_ref();
        let authority = order::authority(&joined.session, cell, "ros", Rank::Policy)?;
        order::under(&authority, cell, what, false)
    }

    fn take_over(&self) -> anyhow::Result<Held> {
        let bridge = &self.bridge;
        let manner = Manner {
            reference: Reference::Leader,
            rank: Rank::Outside,
            speed: 1.0,
        };
        let network = (&bridge.joined.session, bridge.clock());
        Held::take_over(
            (&bridge.cell, &bridge.info),
            network,
            manner,
            command::SOURCE,
            |seen| self.commands.begin(seen),
        )
    }
}
