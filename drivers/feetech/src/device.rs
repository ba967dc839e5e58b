//! The arm in service: every tick one instruction that sets all goals and one that reads all servos.
//!
//! When the service ends is decided by [`Service`], what is worth asking by this module. Goals are written only while torque
//! is on (some firmware switches torque on when a goal is written). Torque goes on in this order: read where the arm is, make
//! that the goal, read the goal back, switch on, read torque back. It never goes off unless [`Device::set_torque`] says so:
//! not on an error, and not when the process ends.

use std::time::{Duration, Instant};

use tactus_drivers_api::servo::service::OUTSIDE;
use tactus_drivers_api::servo::{
    ArmError, Bench, Bus, BusError, Counts, InService, Part, Reading, Register, Replies, Service,
};
use tactus_drivers_api::{Device, DeviceError, Goal};
use tactus_types::{ArmInfo, JointState, Time};

use crate::arm::{self, Model};
use crate::packet::alarms;
use crate::registers as reg;

/// Every so many ticks the servos are asked for their torque too.
const TORQUE_EVERY: u64 = 10;
/// Times that a switch is tried.
const ATTEMPTS: usize = 3;
/// Acceleration of a servo's own ramp: as steep as it goes, since commands are smooth already.
const RAMP: u8 = 254;
/// From position to temperature.
const MEASURED: (u16, u8) = (56, 8);
/// From torque to temperature.
const WITH_TORQUE: (u16, u8) = (40, 24);

/// An arm in service.
#[derive(Debug)]
pub struct ServoArm {
    bus: Bus,
    service: Service,
    /// Largest torque that each servo is set to, 0.1 %.
    max_torque: Vec<i32>,
    replies: Replies,
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
        part: Part,
        rate_hz: f64,
        now: Time,
    ) -> Result<Self, ArmError> {
        bench.check()?;
        if part == Part::Leader {
            bench.refuse_torque("a leader is moved by hand")?;
        }
        let (mut servos, mut max_torque) = (Vec::new(), Vec::new());
        for (index, servo) in bench.servos.clone().into_iter().enumerate() {
            let report = bench.report(index)?;
            max_torque.push(bench.read(&servo, reg::MAX_TORQUE)?);
            servos.push(InService::new(
                servo,
                report.position,
                report.torque,
                report.alarms,
                now,
            ));
        }
        let info = arm::info(model, part, &bench.servos, rate_hz);
        Ok(Self {
            service: Service::new(model.name(), bench.port(), info, part, servos, now),
            bus: bench.bus,
            max_torque,
            replies: Replies::default(),
            ticks: 0,
            began: None,
        })
    }

    /// What came of instructions so far.
    pub fn counts(&self) -> Counts {
        self.bus.counts()
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
        let ids = self.service.ids();
        let read = self.bus.sync_read(address, count, ids, &mut self.replies);
        read.map_err(|e| self.service.line_error(&e))?;
        // The servos measured somewhere between question and answer.
        let heard_at = now + before + asked.elapsed() / 2;
        for index in 0..self.service.servos.len() {
            let Some((data, error)) = self.replies.get(index) else {
                continue;
            };
            let get = |register: Register| register.get(data, address).unwrap_or(0);
            let velocity = f64::from(get(reg::PRESENT_VELOCITY));
            self.service
                .heard(index, get(reg::PRESENT_POSITION), velocity, heard_at);
            if wide {
                self.service.holds(index, get(reg::TORQUE_ENABLE) != 0);
            }
            let reading = Reading {
                load: f64::from(get(reg::PRESENT_LOAD)) / 1000.0,
                voltage_v: f64::from(get(reg::PRESENT_VOLTAGE)) / 10.0,
                temperature_c: f64::from(get(reg::PRESENT_TEMPERATURE)),
                alarms: alarms(error),
            };
            self.service.watch(index, &reading);
        }
        self.service.judge(now)
    }

    /// Reads everything that can be read at once of every servo, into `replies`.
    fn look(&mut self) -> Result<(), DeviceError> {
        let (address, count) = WITH_TORQUE;
        let ids = self.service.ids();
        let read = self.bus.sync_read(address, count, ids, &mut self.replies);
        read.map_err(|e| self.service.line_error(&e))?;
        let silent = (0..self.service.servos.len()).find(|i| self.replies.get(*i).is_none());
        match silent {
            Some(index) => Err(self.service.servo_error(index, &BusError::Silent)),
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
        for index in 0..self.service.servos.len() {
            if let Some(position) = self.seen(index, reg::PRESENT_POSITION) {
                self.service.servos[index].position = position;
            }
        }
        self.service.inside()?;
        for _ in 0..ATTEMPTS {
            let servos = self.service.servos.iter().zip(&self.max_torque);
            let settings = servos.map(|(s, max_torque)| {
                let goal = reg::GOAL_POSITION.bytes_of(s.position).unwrap_or_default();
                let limit = reg::TORQUE_LIMIT.bytes_of(*max_torque).unwrap_or_default();
                // From the ramp's acceleration on: goal, no time and no speed of its own, torque limit.
                let data = [RAMP, goal[0], goal[1], 0, 0, 0, 0, limit[0], limit[1]];
                (s.servo.id(), data)
            });
            let sent = self.bus.sync_write(reg::ACCELERATION.address, settings);
            sent.map_err(|e| self.service.line_error(&e))?;
            self.look()?;
            let kept = (0..self.service.servos.len()).all(|index| {
                let goal = self.seen(index, reg::GOAL_POSITION);
                let ramp = self.seen(index, reg::ACCELERATION);
                // The servo keeps its goal inside its limits.
                goal.is_some_and(|goal| {
                    (goal - self.service.servos[index].position).abs() <= OUTSIDE
                }) && ramp == Some(i32::from(RAMP))
            });
            if kept {
                return Ok(());
            }
        }
        Err(self
            .service
            .error("the servos do not take where they are as their goal: no torque".into()))
    }

    /// Switches the torque of every servo. Returns once all of them say so.
    fn switch(&mut self, on: bool) -> Result<(), DeviceError> {
        for _ in 0..ATTEMPTS {
            let each = self
                .service
                .servos
                .iter()
                .map(|s| (s.servo.id(), [u8::from(on)]));
            let sent = self.bus.sync_write(reg::TORQUE_ENABLE.address, each);
            sent.map_err(|e| self.service.line_error(&e))?;
            self.look()?;
            let done = |i: &usize| self.seen(*i, reg::TORQUE_ENABLE) == Some(i32::from(on));
            if (0..self.service.servos.len()).all(|i| done(&i)) {
                return Ok(());
            }
        }
        let stubborn = (0..self.service.servos.len())
            .find(|i| self.seen(*i, reg::TORQUE_ENABLE) != Some(i32::from(on)));
        let word = if on { "on" } else { "off" };
        Err(self.service.error(match stubborn {
            Some(index) => format!(
                "{} does not switch its torque {word}",
                self.service.servos[index].servo
            ),
            None => format!("torque does not go {word}"),
        }))
    }
}

impl Device for ServoArm {
    fn info(&self) -> ArmInfo {
        self.service.info().clone()
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        self.measure(now)?;
        self.ticks += 1;
        Ok(self.service.state())
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        self.began = Some(Instant::now());
        if !self.service.torque || self.service.part() == Part::Leader {
            return Ok(());
        }
        let goals = self.service.goals(goal);
        let goals = self.service.servos.iter().zip(goals).map(|(s, goal)| {
            let [low, high, ..] = reg::GOAL_POSITION.bytes_of(goal).unwrap_or_default();
            (s.servo.id(), [low, high])
        });
        let sent = self.bus.sync_write(reg::GOAL_POSITION.address, goals);
        sent.map_err(|e| self.service.line_error(&e))
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        if self.service.part() == Part::Leader {
            return Err(self.service.error("a leader has no torque".into()));
        }
        if on {
            self.stay()?;
        }
        self.switch(on)?;
        self.service.switched(on);
        Ok(())
    }

    fn step(&mut self, _now: Time) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Drop for ServoArm {
    fn drop(&mut self) {
        tracing::info!(counts = ?self.counts(), "bus");
    }
}
