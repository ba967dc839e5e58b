//! The control loop again: every tick from the notes of what it was decided from.
//!
//! A tick is a function of the ticks before it, so a replay begins with the first tick of an arm host's boot and ends where
//! a note or a reply is missing; it says which. Commands and requests are held against the recorded ones bit for bit.

use std::collections::BTreeMap;

use tactus_control::{ArmCycle, ArmSpec, TickInput, TickOutput};
use tactus_record::read::Recorded;
use tactus_types::{Applied, ArmInfo, Command, InferenceRequest, Time};
use tactus_wire::{AppliedBatch, Asked, ChunkReply, Message, ReplyRef, TickBatch, TickNote, Topic};

use crate::arm::digest;
use crate::orders::{lease, order_of};
use tactus_control::Order;

/// Ticks after a missing one that are waited for: batches and answers overtake each other by less.
const PATIENCE: usize = 4096;
/// Replies that are kept for a tick that takes them.
const REPLIES: usize = 256;

/// What a control loop would be configured with, for an arm and a boot.
pub type SpecOf<'a> = dyn Fn(&ArmInfo, u64) -> Result<Vec<ArmSpec>, String> + 'a;

/// What the replay of one boot of an arm host found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ControlReport {
    /// The boot.
    pub boot: u64,
    /// Whether the configuration is the recorded one.
    pub same_configuration: bool,
    /// Ticks that were decided again.
    pub ticks: u64,
    /// Their commands that are in the file, and of those the ones that are equal bit for bit.
    pub commands: u64,
    /// Equal bit for bit.
    pub equal_commands: u64,
    /// Requests that were made again, of those that are in the file.
    pub requests: u64,
    /// Equal bit for bit.
    pub equal_requests: u64,
    /// Recorded commands and requests of the ticks that were decided again which were not made again.
    pub missing: u64,
    /// The first command or request that differs: its tick and both.
    pub first_difference: Option<(u64, String)>,
    /// Why the replay ended before the recorded loop did.
    pub ended: Option<String>,
}

impl ControlReport {
    /// Whether everything that could be compared is equal, and nothing kept it from being compared.
    pub fn is_equal(&self) -> bool {
        self.ended.is_none()
            && self.ticks > 0
            && self.commands == self.equal_commands
            && self.requests == self.equal_requests
            && self.missing == 0
    }
}

/// Takes the messages of one arm in a file's order.
pub struct Control<'a> {
    spec_of: &'a SpecOf<'a>,
    info: Option<ArmInfo>,
    boots: BTreeMap<u64, Boot>,
    replies: Replies,
    commands: Vec<Command>,
}

/// Replies by their headers.
#[derive(Default)]
struct Replies {
    by_header: BTreeMap<ReplyRef, ChunkReply>,
}

impl Replies {
    fn push(&mut self, of: ReplyRef, reply: ChunkReply) {
        if self.by_header.len() >= REPLIES {
            self.by_header.pop_first();
        }
        self.by_header.insert(of, reply);
    }
}

/// One boot of the arm host.
#[derive(Default)]
struct Boot {
    cycle: Option<ArmCycle>,
    report: ControlReport,
    spec: u64,
    lost: u64,
    /// Number of the tick that comes next.
    next: u64,
    /// When the last one was decided.
    now: Time,
    waiting: BTreeMap<u64, TickNote>,
    /// Recorded and decided commands that wait for the other: by tick.
    theirs: BTreeMap<u64, Command>,
    ours: BTreeMap<u64, Command>,
    /// The same for requests, encoded: by id; with the deadline of theirs and the tick of ours.
    their_requests: BTreeMap<u64, (Time, Vec<u8>)>,
    our_requests: BTreeMap<u64, (u64, Vec<u8>)>,
}

impl<'a> Control<'a> {
    /// Nothing has been taken yet. `spec_of` gives the configurations to choose from: the recorded one, if it is among them,
    /// else the first.
    pub fn new(spec_of: &'a SpecOf<'a>) -> Self {
        Self {
            spec_of,
            info: None,
            boots: BTreeMap::new(),
            replies: Replies::default(),
            commands: Vec::new(),
        }
    }

    /// Takes a message on `topic` of the cell; what is not about the arm's loop is left alone.
    pub fn take(&mut self, topic: &Topic, message: &Recorded<'_>) {
        match topic {
            Topic::ArmInfo(_) => {
                if let Ok(delivery) = message.decode::<ArmInfo>() {
                    self.info.get_or_insert(delivery.message);
                }
            }
            Topic::ArmChunk(_) => {
                if let Ok(delivery) = message.decode::<ChunkReply>() {
                    let of = ReplyRef {
                        published_at: message.published_at,
                        seq: message.sequence.into(),
                    };
                    self.replies.push(of, delivery.message);
                }
            }
            Topic::ArmApplied(_) => {
                if let Ok(delivery) = message.decode::<AppliedBatch>() {
                    self.commands
                        .extend(delivery.message.applied.iter().map(|a| a.command));
                }
            }
            Topic::ArmRequest(_) => {
                if let Ok(delivery) = message.decode::<InferenceRequest>() {
                    let request = delivery.message;
                    let boot = self.boots.entry(request.generation.boot).or_default();
                    let theirs = (request.deadline, message.data.to_vec());
                    boot.their_requests.insert(request.id, theirs);
                }
            }
            Topic::ArmTicks(_) => {
                if let Ok(delivery) = message.decode::<TickBatch>() {
                    self.batch(delivery.message);
                }
            }
            _ => return,
        }
        for command in self.commands.drain(..) {
            let boot = self.boots.entry(command.generation.boot).or_default();
            boot.theirs.insert(command.tick, command);
        }
        if let Some(info) = &self.info {
            for (id, boot) in &mut self.boots {
                boot.go_on(*id, info, self.spec_of, &self.replies, false);
            }
        }
    }

    fn batch(&mut self, batch: TickBatch) {
        let boot = self.boots.entry(batch.boot).or_default();
        boot.spec = batch.spec;
        boot.lost = boot.lost.max(batch.lost);
        for note in batch.ticks {
            if note.tick >= boot.next.max(1) {
                boot.waiting.insert(note.tick, note);
            }
        }
    }

    /// What was found, boot by boot.
    pub fn finish(mut self) -> Vec<ControlReport> {
        for (id, boot) in &mut self.boots {
            if let Some(info) = &self.info {
                boot.go_on(*id, info, self.spec_of, &self.replies, true);
                boot.count_missing();
            } else if !boot.waiting.is_empty() {
                boot.end("the file does not describe the arm".into());
            }
        }
        let boots = self.boots.into_iter();
        // A boot that has left neither a tick nor a command is one whose requests were still on their way.
        let heard = boots.filter(|(_, b)| b.spec != 0 || b.report.ended.is_some());
        heard
            .map(|(id, boot)| ControlReport {
                boot: id,
                ..boot.report
            })
            .collect()
    }
}

impl Boot {
    fn end(&mut self, why: String) {
        self.report.ended.get_or_insert(why);
        self.waiting.clear();
    }

    /// Decides every tick whose note and reply are there. At the `last` call nothing more will come.
    fn go_on(
        &mut self,
        id: u64,
        info: &ArmInfo,
        spec_of: &SpecOf<'_>,
        replies: &Replies,
        last: bool,
    ) {
        if self.report.ended.is_none() && !self.waiting.is_empty() && self.cycle.is_none() {
            match self.begin(id, info, spec_of) {
                Ok(cycle) => self.cycle = Some(cycle),
                Err(why) => self.end(why),
            }
        }
        while self.report.ended.is_none() {
            let Some((&tick, note)) = self.waiting.first_key_value() else {
                break;
            };
            if tick != self.next {
                if last || self.waiting.len() > PATIENCE {
                    let (from, until) = (self.next, tick - 1);
                    self.end(match from {
                        1 => format!("the first {until} ticks of the arm host are not in the file: record from its start on"),
                        _ => format!("ticks {from} to {until} are not in the file"),
                    });
                }
                break;
            }
            if self.lost > 0 {
                let lost = self.lost;
                self.end(format!("the arm host lost {lost} of its notes"));
                break;
            }
            let reply = match note.reply {
                None => None,
                Some(of) => match replies.by_header.get(&short(of)) {
                    Some(reply) => Some(reply),
                    // It may have been overtaken by the notes.
                    None if !last && self.waiting.len() <= PATIENCE => break,
                    None => {
                        self.end(format!(
                            "the chunk that tick {tick} took is not in the file"
                        ));
                        break;
                    }
                },
            };
            let note = note.clone();
            self.decide(&note, reply);
            self.waiting.pop_first();
        }
        self.compare();
    }

    fn begin(
        &mut self,
        boot: u64,
        info: &ArmInfo,
        spec_of: &SpecOf<'_>,
    ) -> Result<ArmCycle, String> {
        let specs = spec_of(info, boot)?;
        let same = specs.iter().find(|spec| digest(spec) == self.spec);
        self.report.same_configuration = same.is_some();
        let spec = same.or(specs.first()).ok_or("no configuration")?;
        self.next = 1;
        Ok(ArmCycle::new(spec.clone(), info.clone()))
    }

    fn decide(&mut self, note: &TickNote, reply: Option<&ChunkReply>) {
        let Some(cycle) = &mut self.cycle else { return };
        let input = TickInput {
            state: note.state.as_ref(),
            chunk: match reply {
                Some(ChunkReply::Chunk(chunk)) => Some(chunk),
                _ => None,
            },
            refusal: match reply {
                Some(ChunkReply::Refusal(refusal)) => Some(refusal),
                _ => None,
            },
            operator: note.operator.as_ref(),
            engine_alive: note.engine_alive,
            engine_silent: note.engine_silent,
            dead_camera: note.dead_camera.as_ref(),
            driver_error: note.driver_error.as_ref(),
            // A recording of a pair is not replayed: what an arm saw of the other is not in it.
            partner: None,
        };
        for asked in &note.asked {
            // How it was answered follows from the same state as before.
            let _ = match asked {
                Asked::Stop => cycle.order(&Order::Stop, &input, note.now),
                Asked::Own(order) => cycle.order(&order_of(order), &input, note.now),
                Asked::Order(leased) => {
                    cycle.order_under(&order_of(&leased.order), leased.under, &input, note.now)
                }
                Asked::Lease(request) => {
                    lease(cycle, request, note.now);
                    Ok(())
                }
            };
        }
        let TickOutput {
            command, request, ..
        } = cycle.tick(&input, note.now);
        self.report.ticks += 1;
        (self.next, self.now) = (note.tick + 1, note.now);
        if let Some(command) = command {
            self.ours.insert(note.tick, command);
        }
        if let Some(request) = request {
            self.our_requests
                .insert(request.id, (note.tick, request.encode()));
        }
    }

    /// What the recorded loop did in the ticks that were decided again, and this one did not. A request is of one of those ticks
    /// where even its deadline was past.
    fn count_missing(&mut self) {
        let commands = self.theirs.range(..self.next);
        let past = |deadline: &Time| *deadline < self.now;
        let requests = self.their_requests.iter().filter(|(_, (d, _))| past(d));
        let first = commands.clone().next().map(|(tick, _)| *tick);
        let missing = commands.count() + requests.clone().count();
        self.report.missing = missing as u64;
        let words = first
            .map(|tick| (tick, "command: decided none".to_owned()))
            .or_else(|| {
                let (id, _) = requests.clone().next()?;
                Some((self.next - 1, format!("request {id}: not made until then")))
            });
        if let Some(words) = words {
            self.report.first_difference.get_or_insert(words);
        }
    }

    /// Holds against each other what is there of both, and forgets it.
    fn compare(&mut self) {
        let ours = std::mem::take(&mut self.ours);
        for (tick, ours) in ours {
            let Some(theirs) = self.theirs.remove(&tick) else {
                // A command that the driver refused is in no file; one of this tick may still come.
                if tick + (PATIENCE as u64) > self.next {
                    self.ours.insert(tick, ours);
                }
                continue;
            };
            self.report.commands += 1;
            if bits(&ours) == bits(&theirs) {
                self.report.equal_commands += 1;
            } else {
                self.report.first_difference.get_or_insert_with(|| {
                    (
                        tick,
                        format!("command: recorded {theirs:?}; decided {ours:?}"),
                    )
                });
            }
        }
        let ours = std::mem::take(&mut self.our_requests);
        for (id, (tick, ours)) in ours {
            let Some((_, theirs)) = self.their_requests.remove(&id) else {
                if tick + (PATIENCE as u64) > self.next {
                    self.our_requests.insert(id, (tick, ours));
                }
                continue;
            };
            self.report.requests += 1;
            if ours == theirs {
                self.report.equal_requests += 1;
            } else {
                let words = || (tick, format!("request {id}"));
                self.report.first_difference.get_or_insert_with(words);
            }
        }
    }
}

/// Files keep the low 32 bits of a number.
fn short(of: ReplyRef) -> ReplyRef {
    ReplyRef {
        seq: of.seq & u64::from(u32::MAX),
        ..of
    }
}

/// Every bit of a command: numbers that are equal but not the same differ, and those that are not numbers do not.
fn bits(command: &Command) -> Vec<u8> {
    let applied = vec![Applied {
        command: *command,
        at: Time::ZERO,
    }];
    AppliedBatch { applied }.encode()
}
