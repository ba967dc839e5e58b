//! The control thread: one tick after another, each from what has arrived until then.
//!
//! It takes no lock, makes no Zenoh call and waits for nobody but its own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rtrb::{Consumer, Producer};
use tactus_control::enable::REST_RAD_PER_SEC;
use tactus_control::{ArmCycle, Order, TickInput};
use tactus_types::{Clock, Driver, InferenceRequest, Time};
use tactus_wire::{Asked, ChunkReply, Delivery, ModeWord};

use super::alive::Alive;
use super::{Event, TickRecord};
use crate::orders::Orders;
use crate::realtime::{Grant, Realtime, RealtimeSpec};
use crate::tick::{Tick, Ticker};

/// A stopping arm host gives up braking after this.
const STOP_WITHIN: Duration = Duration::from_millis(500);

/// The control thread's own state.
pub(super) struct Control {
    pub(super) cycle: ArmCycle,
    pub(super) driver: Box<dyn Driver>,
    pub(super) inbound: Consumer<Box<Delivery<ChunkReply>>>,
    pub(super) orders: Orders,
    pub(super) events: Producer<Event>,
    pub(super) requests: Producer<InferenceRequest>,
    pub(super) period: Duration,
    pub(super) dropped_events: u64,
    pub(super) messenger: std::thread::Thread,
    pub(super) alive: Arc<Alive>,
    pub(super) cameras: Vec<Arc<str>>,
    pub(super) partner: Option<Arc<str>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) driver_error: Option<Arc<str>>,
    /// The measured arm rests too, as of the last tick; so does one that reports nothing.
    pub(super) arm_rests: bool,
}

impl Control {
    /// Ticks until `stop` is set and the arm rests, or [`STOP_WITHIN`] has passed.
    pub(super) fn run(&mut self, granted: &Realtime, realtime: &RealtimeSpec, stop: &AtomicBool) {
        let RealtimeSpec { cpu, spin, .. } = *realtime;
        tracing::info!(
            fifo = granted.fifo == Grant::Granted,
            memory_locked = granted.locked == Grant::Granted,
            ?cpu,
            ?spin,
            "control thread"
        );
        for missing in granted.missing() {
            tracing::warn!("control thread: expect more lateness without {missing}");
        }
        let mut ticker = Ticker::new(self.period, self.clock.now()).spinning(spin);
        let mut stopping_since = None;
        loop {
            let tick = ticker.wait(self.clock.as_ref());
            if stop.load(Ordering::Relaxed) && stopping_since.is_none() {
                stopping_since = Some(tick.woke);
                // Stop is accepted in every mode.
                let _ = self
                    .cycle
                    .order(&Order::Stop, &TickInput::default(), tick.woke);
                self.tell(Event::Asked(Asked::Stop));
            }
            self.tick(tick);
            if let Some(since) = stopping_since
                && ((self.cycle.at_rest() && self.arm_rests)
                    || tick.woke.since(since) > STOP_WITHIN)
            {
                break;
            }
        }
    }

    fn tick(&mut self, tick: Tick) {
        let now = tick.instant(self.period);
        let state = self.driver.state();
        self.arm_rests = state.is_none_or(|s| s.dq.max_abs() < REST_RAD_PER_SEC);
        let reply = self.inbound.pop().ok();
        let seen = self.alive.cameras.load(Ordering::Relaxed);
        let dead_camera = self
            .cameras
            .iter()
            .enumerate()
            .find(|(i, _)| seen >> i & 1 == 0)
            .map(|(_, name)| name);
        let driver_error = self.driver_error.take();
        let setpoint = self.orders.setpoint();
        let input = TickInput {
            state: state.as_ref(),
            chunk: match reply.as_deref() {
                Some(Delivery {
                    message: ChunkReply::Chunk(chunk),
                    ..
                }) => Some(chunk),
                _ => None,
            },
            refusal: match reply.as_deref() {
                Some(Delivery {
                    message: ChunkReply::Refusal(refusal),
                    ..
                }) => Some(refusal),
                _ => None,
            },
            operator: setpoint.as_ref(),
            engine_alive: self.alive.engine.load(Ordering::Relaxed),
            engine_silent: now.since(Time::from_nanos(self.alive.heard.load(Ordering::Relaxed))),
            dead_camera,
            driver_error: driver_error.as_ref(),
            partner: self
                .partner
                .as_ref()
                .map(|name| self.alive.partner.seen(name, now)),
        };
        let (answered, asked) = self.orders.take(&mut self.cycle, &input, now);
        let output = self.cycle.tick(&input, now);
        let switched = output.switched.and_then(|s| self.orders.switched(s));
        let decided_at = self.clock.now();
        let mut record = TickRecord {
            tick,
            state,
            command: output.command,
            applied_at: decided_at,
            decided_in: decided_at.since(tick.woke),
            applied_in: Duration::ZERO,
            mode: self.cycle.mode().clone(),
            mode_changed: output.mode_changed,
            seam: output.seam,
            generation: self.cycle.generation(),
            instruction: self.cycle.instruction().clone(),
            counters: self.cycle.counters,
            lease: self.cycle.lease_holder(now).cloned(),
            now,
            operator: setpoint,
            engine_alive: input.engine_alive,
            engine_silent: input.engine_silent,
            dead_camera: dead_camera.cloned(),
            driver_error: driver_error.clone(),
            lost: self.dropped_events,
        };
        for asked in asked.into_iter().flatten() {
            self.tell(Event::Asked(asked));
        }
        if let Some(command) = &output.command {
            if let Err(e) = self.driver.apply(command) {
                self.driver_error = Some(e.to_string().into());
                record.command = None;
            }
            record.applied_at = self.clock.now();
            record.applied_in = record.applied_at.since(decided_at);
        }
        let mut urgent = output.request.is_some() || reply.is_some();
        for answered in answered.into_iter().chain([switched]).flatten() {
            urgent = true;
            let mode = ModeWord::from(self.cycle.mode());
            self.tell(Event::Answer(answered.in_mode(mode)));
        }
        if let Some(request) = output.request {
            // Of one that the messenger does not take, the requester finds out by the deadline.
            let _ = self.requests.push(request);
        }
        if let Some(delivery) = reply {
            self.tell(Event::Reply {
                delivery,
                accepted: output.accepted,
                taken_at: tick.woke,
                decided_in: record.decided_in,
                applied_in: record.applied_in,
            });
        }
        self.tell(Event::Tick(record));
        if urgent {
            self.messenger.unpark();
        }
    }

    /// Hands `event` to the messenger; one that has fallen four seconds behind loses events, and they are counted.
    fn tell(&mut self, event: Event) {
        if self.events.push(event).is_err() {
            self.dropped_events += 1;
        }
    }
}
