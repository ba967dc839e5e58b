//! The arm in service: every tick one instruction that sets all goals and one that reads all servos.
//!
//! Decides what is told when a servo is silent: its last state, with the time it was measured at, so that whoever looks sees
//! it age; after [`SILENCE`] the service ends with the servo's name. Goals are written only while torque is on (some firmware
//! switches torque on when a goal is written). Torque goes on in this order: read where the arm is, make that the goal,
//! read the goal back, switch on, read torque back. It never goes off unless [`Device::set_torque`] says so: not on an
//! error, and not when the process ends.

use std::path::Path;
use std::time::{Duration, Instant};

use tactus_drivers_api::device::first_epoch;
use tactus_drivers_api::{Device, DeviceError, Goal};
use tactus_types::{ArmInfo, JointState, JointVec, Time};

use crate::ArmError;
use crate::arm::{self, GRIPPER, Model, Part, Servo};
use crate::bench::Bench;
use crate::bus::{Bus, BusError, Replies};
use crate::calibration::RAD_PER_TICK;
use crate::packet::MAX_SERVOS;
use crate::registers::{self as reg, Register};
use crate::watch::{Finding, Reading, Watch};

/// A servo that is silent for longer has left.
pub const SILENCE: Duration = Duration::from_millis(100);
/// Every so many ticks the servos are asked for their torque too.
const TORQUE_EVERY: u64 = 10;
/// How far outside its calibrated range a servo may be when torque goes on, ticks: it moves inside at once.
const OUTSIDE: i32 = 10;
/// Times that a switch is tried.
const ATTEMPTS: usize = 3;
/// Acceleration of a servo's own ramp: as steep as it goes, since commands are smooth already.
const RAMP: u8 = 254;
/// From position to temperature.
const MEASURED: (u8, u8) = (56, 8);
/// From torque to temperature.
const WITH_TORQUE: (u8, u8) = (40, 24);

/// One servo in service.
#[derive(Debug)]
struct InService {
    servo: Servo,
    position: i32,
    velocity: i32,
    torque: bool,
    max_torque: i32,
    /// Times in a row that torque was found off where it should be on.
    lost: u32,
    heard_at: Time,
    watch: Watch,
}

/// An arm in service.
#[derive(Debug)]
pub struct ServoArm {
    bus: Bus,
    name: String,
    info: ArmInfo,
    part: Part,
    ids: [u8; MAX_SERVOS],
    servos: Vec<InService>,
    replies: Replies,
    torque: bool,
    epoch: u64,
    ticks: u64,
    /// When the tick in progress began.
    began: Option<Instant>,
}

impl ServoArm {
    /// Puts the arm on `bench` into service at `rate_hz` ticks per second, where its servos are set as they have to be.
    /// Moves nothing and switches nothing.
    ///
    /// # Errors
    /// [`ArmError`].
    pub fn start(
        mut bench: Bench,
        model: Model,
        rate_hz: f64,
        now: Time,
    ) -> Result<Self, ArmError> {
        bench.check()?;
        let part = bench.part();
        if part == Part::Leader {
            bench.refuse_torque("a leader is moved by hand")?;
        }
        let mut servos = Vec::new();
        for (index, servo) in bench.servos.clone().into_iter().enumerate() {
            let report = bench.report(index)?;
            if !report.alarms.is_none() {
                tracing::warn!("{servo} complains at start: {}", report.alarms);
            }
            servos.push(InService {
                position: report.position,
                velocity: 0,
                torque: report.torque,
                max_torque: report.max_torque,
                lost: 0,
                heard_at: now,
                watch: Watch::new(report.alarms),
                servo,
            });
        }
        let torque = servos.iter().all(|s| s.torque);
        if !torque && servos.iter().any(|s| s.torque) {
            tracing::warn!("only some of the servos have torque: `enable` gives it to all of them");
        }
        let mut ids = [0; MAX_SERVOS];
        for (id, s) in ids.iter_mut().zip(&servos) {
            *id = s.servo.calibration.id;
        }
        Ok(Self {
            name: name(model, bench.port()),
            info: arm::info(model, part, &bench.servos, rate_hz),
            bus: bench.bus,
            part,
            ids,
            servos,
            replies: Replies::default(),
            torque,
            epoch: first_epoch(now),
            ticks: 0,
            began: None,
        })
    }

    /// What came of instructions so far.
    pub fn counts(&self) -> crate::bus::Counts {
        self.bus.counts()
    }

    fn error(&self, reason: String) -> DeviceError {
        DeviceError {
            device: self.name.clone(),
            reason,
        }
    }

    fn servo_error(&self, index: usize, reason: &BusError) -> DeviceError {
        self.error(format!("{}: {reason}", self.servos[index].servo))
    }

    fn line_error(&self, reason: &BusError) -> DeviceError {
        self.error(reason.to_string())
    }

    /// Reads every servo. Those that are silent stay as they were.
    fn measure(&mut self, now: Time) -> Result<(), DeviceError> {
        let wide = self.ticks.is_multiple_of(TORQUE_EVERY);
        let (address, count) = if wide { WITH_TORQUE } else { MEASURED };
        let asked = Instant::now();
        let before = self
            .began
            .take()
            .map_or(Duration::ZERO, |began| asked - began);
        let ids = &self.ids[..self.servos.len()];
        if let Err(e) = self.bus.sync_read(address, count, ids, &mut self.replies) {
            return Err(self.line_error(&e));
        }
        // The servos measured somewhere between question and answer.
        let heard_at = now + before + asked.elapsed() / 2;
        let period_secs = 1.0 / self.info.state_rate_hz;
        let mut ending = None;
        for (index, s) in self.servos.iter_mut().enumerate() {
            let Some((data, alarms)) = self.replies.get(index) else {
                continue;
            };
            let get = |register: Register| register.get(data, address).unwrap_or(0);
            s.position = get(reg::PRESENT_POSITION);
            s.velocity = get(reg::PRESENT_VELOCITY);
            s.heard_at = heard_at;
            if wide {
                s.torque = get(reg::TORQUE_ENABLE) != 0;
                s.lost = if self.torque && !s.torque {
                    s.lost + 1
                } else {
                    0
                };
            }
            let reading = Reading {
                load: f64::from(get(reg::PRESENT_LOAD)) / 1000.0,
                voltage_v: f64::from(get(reg::PRESENT_VOLTAGE)) / 10.0,
                temperature_c: f64::from(get(reg::PRESENT_TEMPERATURE)),
                alarms,
            };
            match s.watch.judge(&reading, period_secs) {
                Some(finding) if finding.ends() => ending = Some((index, finding)),
                Some(finding) => tracing::warn!("{} {finding}", s.servo),
                None => {}
            }
        }
        self.judge(now, ending)
    }

    /// Whether the service ends.
    fn judge(&self, now: Time, ending: Option<(usize, Finding)>) -> Result<(), DeviceError> {
        if let Some((index, finding)) = ending {
            return Err(self.error(format!("{} {finding}", self.servos[index].servo)));
        }
        let silent = |s: &&InService| now.since(s.heard_at) > SILENCE;
        let mut silent_ones = self.servos.iter().filter(silent);
        if let Some(first) = silent_ones.next() {
            let millis = now.since(first.heard_at).as_millis();
            let others = match silent_ones.count() {
                0 => String::new(),
                n if n + 1 == self.servos.len() => " and neither does any other".to_owned(),
                n => format!(" and {n} more do not"),
            };
            return Err(self.error(format!(
                "{} has not answered for {millis} ms{others}: is its cable in, and its power on?",
                first.servo
            )));
        }
        if let Some(s) = self.servos.iter().find(|s| s.lost >= 2) {
            return Err(self.error(format!(
                "{} has lost its torque: was its power interrupted?",
                s.servo
            )));
        }
        Ok(())
    }

    fn state_now(&self) -> JointState {
        let joints = || self.servos.iter().filter(|s| s.servo.name != GRIPPER);
        let vec = |value: &dyn Fn(&InService) -> f64| {
            let mut values = joints().map(value);
            JointVec::from_fn(self.info.joints.len(), |_| values.next().unwrap_or(0.0))
        };
        let gripper = self.servos.iter().find(|s| s.servo.name == GRIPPER);
        JointState {
            captured_at: self
                .servos
                .iter()
                .map(|s| s.heard_at)
                .min()
                .unwrap_or(Time::ZERO),
            seq: 0,
            epoch: self.epoch,
            q: vec(&|s| s.servo.calibration.rad(s.position)),
            dq: vec(&|s| f64::from(s.velocity) * RAD_PER_TICK),
            opening: gripper.map_or(0.0, |s| s.servo.calibration.opening(s.position)),
            torque: self.torque,
        }
    }

    /// Reads everything that can be read at once of every servo, into `replies`.
    fn look(&mut self) -> Result<(), DeviceError> {
        let (address, count) = WITH_TORQUE;
        let ids = &self.ids[..self.servos.len()];
        let read = self.bus.sync_read(address, count, ids, &mut self.replies);
        read.map_err(|e| self.line_error(&e))?;
        let silent = (0..self.servos.len()).find(|i| self.replies.get(*i).is_none());
        match silent {
            Some(index) => Err(self.servo_error(index, &BusError::Silent)),
            None => Ok(()),
        }
    }

    /// `register` of servo `index` when it was last looked at.
    fn seen(&self, index: usize, register: Register) -> Option<i32> {
        let (data, _) = self.replies.get(index)?;
        register.get(data, WITH_TORQUE.0)
    }

    /// Makes where the arm is the goal of every servo, and tells it again what it forgets with its power: ramp and torque
    /// limit. Returns once all of them say so.
    fn stay(&mut self) -> Result<(), DeviceError> {
        self.look()?;
        for index in 0..self.servos.len() {
            let position = self.seen(index, reg::PRESENT_POSITION);
            let s = &mut self.servos[index];
            s.position = position.unwrap_or(s.position);
            let (min, max) = (s.servo.calibration.range_min, s.servo.calibration.range_max);
            if !(min - OUTSIDE..=max + OUTSIDE).contains(&s.position) {
                let reason = format!(
                    "{} is at {}, outside its calibrated range {min} to {max}: move it inside by hand before torque",
                    s.servo, s.position
                );
                return Err(self.error(reason));
            }
        }
        for _ in 0..ATTEMPTS {
            let settings = self.servos.iter().map(|s| {
                let goal = reg::GOAL_POSITION.bytes_of(s.position).unwrap_or_default();
                let limit = reg::TORQUE_LIMIT.bytes_of(s.max_torque).unwrap_or_default();
                // From the ramp's acceleration on: goal, no time and no speed of its own, torque limit.
                let data = [RAMP, goal[0], goal[1], 0, 0, 0, 0, limit[0], limit[1]];
                (s.servo.calibration.id, data)
            });
            let sent = self.bus.sync_write(reg::ACCELERATION.address, settings);
            sent.map_err(|e| self.line_error(&e))?;
            self.look()?;
            let kept = (0..self.servos.len()).all(|index| {
                let goal = self.seen(index, reg::GOAL_POSITION);
                let ramp = self.seen(index, reg::ACCELERATION);
                // The servo keeps its goal inside its limits.
                goal.is_some_and(|goal| (goal - self.servos[index].position).abs() <= OUTSIDE)
                    && ramp == Some(i32::from(RAMP))
            });
            if kept {
                return Ok(());
            }
        }
        Err(self.error("the servos do not take where they are as their goal: no torque".into()))
    }

    /// Switches the torque of every servo. Returns once all of them say so.
    fn switch(&mut self, on: bool) -> Result<(), DeviceError> {
        for _ in 0..ATTEMPTS {
            let each = self
                .servos
                .iter()
                .map(|s| (s.servo.calibration.id, [u8::from(on)]));
            let sent = self.bus.sync_write(reg::TORQUE_ENABLE.address, each);
            sent.map_err(|e| self.line_error(&e))?;
            self.look()?;
            let done = |i: &usize| self.seen(*i, reg::TORQUE_ENABLE) == Some(i32::from(on));
            if (0..self.servos.len()).all(|i| done(&i)) {
                return Ok(());
            }
        }
        let stubborn = (0..self.servos.len())
            .find(|i| self.seen(*i, reg::TORQUE_ENABLE) != Some(i32::from(on)));
        let word = if on { "on" } else { "off" };
        Err(self.error(match stubborn {
            Some(index) => format!(
                "{} does not switch its torque {word}",
                self.servos[index].servo
            ),
            None => format!("torque does not go {word}"),
        }))
    }
}

fn name(model: Model, port: &Path) -> String {
    format!("{} at {}", model.name(), port.display())
}

impl Device for ServoArm {
    fn info(&self) -> ArmInfo {
        self.info.clone()
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        self.measure(now)?;
        self.ticks += 1;
        Ok(self.state_now())
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        self.began = Some(Instant::now());
        if !self.torque || self.part == Part::Leader {
            return Ok(());
        }
        let mut q = goal.q.iter();
        let mut goals = [0; MAX_SERVOS];
        for (to, s) in goals.iter_mut().zip(&self.servos) {
            *to = match s.servo.name {
                GRIPPER => s.servo.calibration.opening_ticks(goal.opening),
                _ => s.servo.calibration.ticks(*q.next().unwrap_or(&f64::NAN)),
            };
        }
        let mut goals = goals.iter();
        let goals = self.servos.iter().map(|s| {
            let bytes = reg::GOAL_POSITION.bytes_of(*goals.next().unwrap_or(&s.position));
            (s.servo.calibration.id, bytes.unwrap_or_default())
        });
        let sent = self.bus.sync_write(reg::GOAL_POSITION.address, goals);
        sent.map_err(|e| self.line_error(&e))
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        if self.part == Part::Leader {
            return Err(self.error("a leader has no torque".into()));
        }
        if on {
            self.stay()?;
        }
        self.switch(on)?;
        for s in &mut self.servos {
            s.torque = on;
            s.lost = 0;
        }
        self.torque = on;
        Ok(())
    }

    fn step(&mut self, _now: Time) -> Result<(), DeviceError> {
        Ok(())
    }
}
