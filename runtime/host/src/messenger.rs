//! The arm host's messenger: talks on behalf of the control thread, and accounts for what it did.
//!
//! Publishes requests at once, joint states and applied commands decimated, the mode on every change and ten times a
//! second (twenty times, where another arm waits for it), telemetry per chunk. Answers orders. Drops what the control thread received. Decides nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtrb::Consumer;
use tactus_control::{Counters, Discard};
use tactus_types::{
    Applied, ArmInfo, Budget, Clock, Culprit, Fault, InferenceRequest, JointState, Mode,
    MotionQuality, Source, Stage, StageTimes, Time,
};
use tactus_wire::{
    AppliedBatch, Asked, Cell, ChunkReply, Delivery, Lateness, ModeReport, ModeWord, Name, Nothing,
    Publisher, Queryable, ReplyRef, Responder, Session, SessionError, Telemetry, TickBatch,
    TickNote, Topic,
};

use crate::account::{Account, ChunkTimes};
use crate::arm::{Event, TickRecord};
use crate::motion::MotionMeter;
use crate::orders::Door;
use crate::witness::{Miss, Teller, Testimony};

/// Longest sleep between two looks at the ring: a joint state reaches the engine this much later at most.
const NAP: Duration = Duration::from_millis(1);
/// Notes of the first ticks that are kept for a recorder that comes later.
const FIRST: Duration = Duration::from_secs(30);
/// And at most so many; what a batch can hold.
const MOST_FIRST: usize = 32_000;
/// Joint states are published every so many ticks.
const STATE_EVERY: u64 = 2;
/// Applied commands are kept every so many ticks: all of them, so that a recording is the whole truth ..
const APPLIED_EVERY: u64 = 1;
/// .. and published in batches of so many.
const APPLIED_BATCH: usize = 10;
/// Time between periodic reports.
const REPORT_PERIOD: Duration = Duration::from_millis(100);
/// And of the mode, where another arm waits for it: as often as an engine gives its sign of life.
const PAIR_PERIOD: Duration = Duration::from_millis(50);

/// How the messenger is configured.
pub(crate) struct MessengerOptions {
    pub cell: Cell,
    pub arm: Name,
    pub info: ArmInfo,
    pub budget: Budget,
    /// Control period, seconds.
    pub period_secs: f64,
    /// The loop's boot and the digest of its configuration.
    pub boot: u64,
    pub spec: u64,
    pub teller: Teller,
    pub door: Door,
    pub denied: Arc<AtomicU64>,
    /// Another arm holds when this one falls silent.
    pub paired: bool,
}

/// Publishers and what was counted.
pub(crate) struct Messenger {
    clock: Arc<dyn Clock>,
    budget: Budget,
    requests: Publisher<InferenceRequest>,
    states: Publisher<JointState>,
    applied: Publisher<AppliedBatch>,
    modes: Publisher<ModeReport>,
    telemetry: Publisher<Telemetry>,
    ticks: Publisher<TickBatch>,
    _info: Queryable,
    _first: Queryable,
    /// Notes since the last batch; of those of the tick to come, what was asked and which reply it takes.
    notes: TickBatch,
    asked: Vec<Asked>,
    replied: Option<ReplyRef>,
    /// The first notes, and from where on they are not kept any more.
    first: Arc<Mutex<TickBatch>>,
    first_until: Time,
    account: Account,
    batch: Vec<Applied>,
    newest: Option<TickRecord>,
    last_chunk: Option<ChunkTimes>,
    mode_since: Time,
    enabled: bool,
    report_at: Time,
    /// When the mode is said again, where another arm waits for it.
    beat_at: Option<Time>,
    put_errors: u64,
    period_secs: f64,
    teller: Teller,
    door: Door,
    denied: Arc<AtomicU64>,
    /// Of the episode that is under way.
    motion: Option<MotionMeter>,
    /// Of it so far, or of the last one.
    quality: MotionQuality,
}

impl Messenger {
    pub(crate) fn new(
        options: &MessengerOptions,
        session: &Session,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SessionError> {
        let MessengerOptions {
            cell,
            arm,
            info,
            budget,
            period_secs,
            boot,
            spec,
            teller,
            door,
            denied,
            paired,
        } = options;
        let notes = TickBatch {
            boot: *boot,
            spec: *spec,
            ..TickBatch::default()
        };
        let first = Arc::new(Mutex::new(notes.clone()));
        let kept = first.clone();
        let answer_first = move |_: Delivery<Nothing>, responder: Responder<TickBatch>| {
            let first = kept.lock().unwrap_or_else(PoisonError::into_inner);
            responder.answer(&first);
        };
        let key = |topic: fn(Name) -> Topic| cell.key(&topic(arm.clone()));
        let info = info.clone();
        let answer =
            move |_: Delivery<Nothing>, responder: Responder<ArmInfo>| responder.answer(&info);
        Ok(Self {
            requests: session.publisher(&key(Topic::ArmRequest))?,
            states: session.publisher(&key(Topic::ArmState))?,
            applied: session.publisher(&key(Topic::ArmApplied))?,
            modes: session.publisher(&key(Topic::ArmMode))?,
            telemetry: session.publisher(&key(Topic::ArmTelemetry))?,
            ticks: session.publisher(&key(Topic::ArmTicks))?,
            _first: session.queryable(&key(Topic::ArmTicks), answer_first)?,
            notes,
            asked: Vec::new(),
            replied: None,
            first,
            first_until: clock.now() + FIRST,
            _info: session.queryable(&key(Topic::ArmInfo), answer)?,
            budget: *budget,
            account: Account::default(),
            batch: Vec::with_capacity(APPLIED_BATCH),
            newest: None,
            last_chunk: None,
            mode_since: clock.now(),
            enabled: false,
            report_at: clock.now(),
            beat_at: paired.then(|| clock.now()),
            put_errors: 0,
            period_secs: *period_secs,
            teller: teller.clone(),
            door: door.clone(),
            denied: denied.clone(),
            motion: None,
            quality: MotionQuality::default(),
            clock,
        })
    }

    /// Serves the ring until `done` is set and the ring is empty.
    pub(crate) fn run(
        mut self,
        mut events: Consumer<Event>,
        mut requests: Consumer<InferenceRequest>,
        done: &AtomicBool,
    ) -> Account {
        loop {
            let finishing = done.load(Ordering::Acquire);
            while let Ok(request) = requests.pop() {
                let sent = self.requests.put(&request);
                self.sent(sent);
            }
            while let Ok(event) = events.pop() {
                self.take(event);
            }
            if finishing {
                self.publish_batch();
                self.publish_notes();
                self.report_mode();
                return self.account;
            }
            let now = self.clock.now();
            if now >= self.report_at {
                self.report_at = now + REPORT_PERIOD;
                self.report_mode();
                self.report_telemetry();
                self.beat_at = self.beat_at.map(|_| now + PAIR_PERIOD);
            } else if self.beat_at.is_some_and(|at| now >= at) {
                self.beat_at = Some(now + PAIR_PERIOD);
                self.report_mode();
            }
            std::thread::park_timeout(NAP);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Tick(record) => self.tick(record),
            Event::Reply {
                delivery,
                accepted,
                taken_at,
                decided_in,
                applied_in,
            } => {
                let published_at = delivery.header.published_at;
                self.replied = Some(ReplyRef {
                    published_at,
                    seq: delivery.header.seq,
                });
                if let (ChunkReply::Chunk(chunk), Some(Ok(()))) = (&delivery.message, accepted) {
                    let mut times = ChunkTimes::new(chunk, published_at, taken_at, decided_in);
                    times.stages.set(Stage::Actuate, applied_in);
                    self.chunk(times);
                } else {
                    said_of_unused(&delivery.message, accepted);
                }
            }
            Event::Answer(answer) => answer.send(&self.door),
            Event::Asked(asked) => self.asked.push(asked),
        }
    }

    /// Notes what a tick was decided from.
    fn note(&mut self, record: &TickRecord) {
        self.notes.lost = record.lost;
        self.notes.ticks.push(TickNote {
            tick: record.counters.ticks,
            now: record.now,
            state: record.state,
            reply: self.replied.take(),
            operator: record.operator,
            engine_alive: record.engine_alive,
            engine_silent: record.engine_silent,
            dead_camera: record.dead_camera.clone(),
            driver_error: record.driver_error.clone(),
            asked: std::mem::take(&mut self.asked),
        });
        if self.notes.ticks.len() >= APPLIED_BATCH {
            self.publish_notes();
        }
    }

    fn publish_notes(&mut self) {
        let sent = self.ticks.put(&self.notes);
        self.sent(sent);
        let now = self.notes.ticks.last().map(|note| note.now);
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let room = first.ticks.len() + self.notes.ticks.len() <= MOST_FIRST;
        if room && now.is_some_and(|now| now < self.first_until) {
            first.lost = self.notes.lost;
            first.ticks.append(&mut self.notes.ticks);
        } else {
            self.notes.ticks.clear();
        }
    }

    /// Follows the motion of an episode: from the first tick in policy mode, through holds, to its end.
    fn follow_motion(&mut self, record: &TickRecord) {
        match &record.mode {
            Mode::Policy => {
                self.motion
                    .get_or_insert_with(|| MotionMeter::new(self.period_secs));
            }
            Mode::Hold(_) | Mode::Align | Mode::Teleop => {}
            Mode::Boot | Mode::Ready | Mode::Goto | Mode::Stopped => {
                if let Some(meter) = self.motion.take() {
                    self.quality = meter.quality();
                }
            }
        }
        let Some(meter) = &mut self.motion else {
            return;
        };
        if let Some(command) = &record.command {
            meter.command(&command.q);
        }
        if let Some(seam) = &record.seam {
            meter.seam(seam);
        }
    }

    /// Deadlines that had passed when the thread asked for this tick's were missed by the tick before.
    fn tell_of_missed_ticks(&self, record: &TickRecord) {
        let Some(before) = &self.newest else { return };
        if record.tick.overruns == 0 || !self.enabled {
            return;
        }
        let mut work = StageTimes::default();
        work.set(Stage::Limit, before.decided_in);
        work.set(Stage::Actuate, before.applied_in);
        let late = before.tick.lateness();
        let period = Duration::from_nanos((self.period_secs * 1e9) as u64);
        self.teller.tell(Miss::Tick {
            deadlines: record.tick.overruns,
            culprit: Culprit::of_tick(&work, late, period),
            late,
            work: before.decided_in + before.applied_in,
        });
    }

    /// An engine that did not answer missed a deadline too.
    fn tell_of_silence(&self, fault: &Fault) {
        if let Fault::EngineLate { waited } = fault {
            let longest = |chunk: &ChunkTimes| {
                let longest = Stage::ALL
                    .into_iter()
                    .max_by_key(|s| chunk.stages.get(*s))?;
                Some((longest, chunk.stages.get(longest)))
            };
            self.teller.tell(Miss::Unanswered {
                waited: *waited,
                last: self.last_chunk.as_ref().and_then(longest),
            });
        }
    }

    fn tick(&mut self, record: TickRecord) {
        self.note(&record);
        self.follow_motion(&record);
        // Statistics begin when an operator enables the arm: start-up of the other processes is not the loop's.
        if !self.enabled && record.mode != Mode::Boot {
            self.enabled = true;
            self.account = Account::default();
            self.teller.forget();
        }
        self.tell_of_missed_ticks(&record);
        self.account.ticks += 1;
        self.account.overruns += record.tick.overruns;
        self.account.lateness.record(record.tick.lateness());
        if let Some(state) = record
            .state
            .filter(|_| record.counters.ticks.is_multiple_of(STATE_EVERY))
        {
            let sent = self.states.put(&state);
            self.sent(sent);
        }
        if let Some(command) = record.command {
            let applied = Applied {
                command,
                at: record.applied_at,
            };
            // What a human commands has an age too, which is not the policy's.
            let by_policy = command.setpoint.source == Source::Policy;
            if let Some(age) = applied.age().filter(|_| by_policy) {
                self.account.age.record(age);
            }
            if record.counters.ticks.is_multiple_of(APPLIED_EVERY) {
                self.batch.push(applied);
            }
            if self.batch.len() == APPLIED_BATCH {
                self.publish_batch();
            }
        }
        if record.mode_changed {
            self.mode_since = record.applied_at;
            match &record.mode {
                Mode::Hold(reason) => {
                    tracing::warn!("hold: {reason}");
                    self.tell_of_silence(&reason.0);
                }
                mode => tracing::info!("mode: {}", mode.word()),
            }
        }
        let changed = record.mode_changed;
        self.newest = Some(record);
        if changed {
            self.report_mode();
            self.report_telemetry();
        }
    }

    fn publish_batch(&mut self) {
        let batch = AppliedBatch {
            applied: std::mem::take(&mut self.batch),
        };
        let sent = self.applied.put(&batch);
        self.sent(sent);
    }

    /// Accounts for a chunk that is executed from now on.
    fn chunk(&mut self, times: ChunkTimes) {
        if let Some((stage, over)) = self.account.chunk(&times, &self.budget) {
            self.teller.tell(Miss::Chunk {
                request_id: times.request_id,
                stage,
                took: times.stages.get(stage),
                declared: times.stages.get(stage).saturating_sub(over),
            });
        }
        self.last_chunk = Some(times);
        self.report_telemetry();
    }

    fn report_mode(&mut self) {
        let Some(record) = &self.newest else { return };
        let Counters {
            ticks,
            starved_ticks,
            holds,
            limited_ticks,
            chunks_accepted,
            chunks_foreign,
            chunks_late,
            chunks_flawed,
            orders_refused,
            setpoints_refused,
            ..
        } = record.counters;
        let report = ModeReport {
            mode: ModeWord::from(&record.mode),
            reason: match &record.mode {
                Mode::Hold(reason) => reason.to_string(),
                _ => String::new(),
            },
            fault: match &record.mode {
                Mode::Hold(reason) => Some(reason.0.kind()),
                _ => None,
            },
            generation: record.generation,
            since: self.mode_since,
            instruction: record.instruction.to_string(),
            counters: tactus_wire::Counters {
                ticks,
                overruns: self.account.overruns,
                starved_ticks,
                holds,
                limited_ticks,
                chunks_accepted,
                chunks_discarded: chunks_foreign + chunks_late + chunks_flawed,
                orders_refused,
                setpoints_refused,
                turned_away: self.door.turned_away(),
                denied: self.denied.load(Ordering::Relaxed),
            },
            lease: record.lease.clone(),
        };
        let sent = self.modes.put(&report);
        self.sent(sent);
    }

    fn report_telemetry(&mut self) {
        let lateness = self.account.lateness.quantiles();
        let age = self.account.age.quantiles();
        let micros = |d: Duration| d.as_secs_f64() * 1e6;
        let millis = |d: Duration| d.as_secs_f64() * 1e3;
        let Testimony {
            host,
            at_miss,
            misses,
        } = self.teller.testimony();
        let report = Telemetry {
            request_id: self.last_chunk.map_or(0, |c| c.request_id),
            ticks: self.account.ticks,
            lateness: Lateness {
                p50_micros: micros(lateness.p50),
                p99_micros: micros(lateness.p99),
                p999_micros: micros(lateness.p999),
                max_micros: micros(lateness.max),
            },
            age_p50_millis: millis(age.p50),
            age_p99_millis: millis(age.p99),
            stages: self.last_chunk.map_or_else(Default::default, |c| c.stages),
            overhead_millis: self.last_chunk.map_or(0.0, |c| millis(c.overhead)),
            inference_millis: self.last_chunk.map_or(0.0, |c| millis(c.inference)),
            queue_millis: self.last_chunk.map_or(0.0, |c| millis(c.queue)),
            motion: match &self.motion {
                Some(meter) => meter.so_far(),
                None => self.quality,
            },
            host,
            host_at_miss: at_miss,
            misses,
        };
        let sent = self.telemetry.put(&report);
        self.sent(sent);
    }

    /// Counts a message that could not be sent; says so once, since a closed session would say it a thousand times.
    fn sent(&mut self, sent: Result<(), SessionError>) {
        if let Err(e) = sent {
            self.put_errors += 1;
            if self.put_errors == 1 {
                tracing::error!("message not sent: {e}");
            }
        }
    }
}

/// Logs why a reply is not executed.
fn said_of_unused(reply: &ChunkReply, accepted: Option<Result<(), Discard>>) {
    match (reply, accepted) {
        (ChunkReply::Chunk(chunk), Some(Err(why))) => {
            tracing::debug!(chunk = chunk.request_id, ?why, "chunk discarded");
        }
        (ChunkReply::Refusal(refusal), _) => {
            tracing::warn!(request = refusal.request_id, reason = ?refusal.reason, "engine refused");
        }
        (ChunkReply::Chunk(_), _) => {}
    }
}
