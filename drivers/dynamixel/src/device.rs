//! The arm in service: every tick one instruction that sets all goals and one that reads all servos.
//!
//! When the service ends is decided by [`Service`], what is worth asking by this module: measured values every tick; torque
//! and hardware errors every tenth, and at once after a reply with an alert; bus watchdogs every tenth, half way between.
//!
//! **Bus watchdog.** A servo with torque that hears no instruction for [`Options::watchdog_millis`] stops where it is, keeps
//! its torque, and refuses goals until its watchdog is cleared: what the device does when the link to the arm host is silent,
//! the servo does when the device is. A trip is reported as lost torque: goals are no longer sent, the arm host holds, and
//! only an operator's `enable` clears it. So it is also after every end of this process with torque on.
//!
//! **Torque** goes on in this order: clear the watchdogs; read where the arm is and make that the goal; read the goals back;
//! switch on; read torque back; arm the watchdogs. It never goes off unless [`Device::set_torque`] says so: not on an error,
//! and not when the process ends. While it is off, whole turns are counted anew every tick: where a follower is said to be is
//! where torque finds it, however it was turned by hand. A leader never gets torque, and whoever follows it follows it past the
//! end of a turn.
//!
//! **Shadows** are read like all servos and told nothing: they obey what their first motors are told. They count turns for
//! themselves, so a pair that counts differently gets no torque: one of the two would turn around once.

use std::time::{Duration, Instant};

use tactus_drivers_api::servo::packet::MAX_SERVOS;
use tactus_drivers_api::servo::{
    Alarms, ArmError, Bench, Bus, BusError, Counts, GRIPPER, InService, Part, Reading, Register,
    Replies, Service,
};
use tactus_drivers_api::{Device, DeviceError, Goal};
use tactus_types::{ArmInfo, JointState, Time};

use crate::arm::{self, Model};
use crate::packet::{ALERT, alarms};
use crate::registers as reg;

/// Torque and watchdogs are asked for every so many ticks.
const EVERY: u64 = 10;
/// Times that a switch is tried.
const ATTEMPTS: usize = 3;
/// How far the two motors of a joint may be apart when torque goes on, ticks (5 degrees).
const APART: i32 = 60;
/// From current to temperature.
const MEASURED: (u16, u8) = (126, 21);
/// From torque to hardware errors.
const HEALTH: (u16, u8) = (64, 7);
/// From bus watchdog to goal.
const ORDERS: (u16, u8) = (98, 22);

/// How an arm is to be served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Ticks per second.
    pub rate_hz: f64,
    /// A servo with torque stops when it heard nothing for so long; 20 to 2540, in steps of 20.
    pub watchdog_millis: u32,
    /// Current that the gripper may use, mA.
    pub gripper_current_ma: f64,
}

impl Options {
    /// What a bus watchdog is set to.
    fn watchdog(&self) -> u8 {
        (self.watchdog_millis.div_ceil(reg::WATCHDOG_MILLIS)).clamp(1, 127) as u8
    }
}

/// What this driver knows of a servo beyond what all makes share.
#[derive(Debug, Clone, Copy)]
struct Also {
    /// Whole turns that its position counts, ticks.
    turns: i32,
    /// What its present current is at most.
    full_load: f64,
    alarms: Alarms,
    /// Its bus watchdog has stopped it.
    tripped: bool,
}

/// An arm in service.
#[derive(Debug)]
pub struct DynamixelArm {
    bus: Bus,
    service: Service,
    model: Model,
    options: Options,
    also: Vec<Also>,
    replies: Replies,
    ticks: u64,
    /// A reply said that something is wrong.
    alert: bool,
    /// When the tick in progress began.
    began: Option<Instant>,
}

impl DynamixelArm {
    /// Puts the arm on `bench` into service, where its servos are set as they have to be. Moves nothing and switches
    /// nothing.
    ///
    /// # Errors
    /// [`ArmError`].
    pub fn start(
        mut bench: Bench,
        model: Model,
        part: Part,
        options: Options,
        now: Time,
    ) -> Result<Self, ArmError> {
        bench.check()?;
        if part == Part::Leader {
            bench.refuse_torque("a leader is moved by hand")?;
        }
        let (mut servos, mut also, mut unguarded) = (Vec::new(), Vec::new(), false);
        for (index, servo) in bench.servos.clone().into_iter().enumerate() {
            let report = bench.report(index)?;
            let raw = bench.read(&servo, reg::PRESENT_POSITION)?;
            let watchdog = bench.read(&servo, reg::BUS_WATCHDOG)?;
            unguarded |= report.torque && watchdog == 0;
            also.push(Also {
                turns: arm::within_turn(&servo.calibration, raw).1,
                full_load: arm::full_load(&mut bench, &servo)?,
                alarms: report.alarms,
                tripped: report.torque && watchdog < 0,
            });
            let (position, torque) = (report.position, report.torque);
            servos.push(InService::new(servo, position, torque, report.alarms, now));
        }
        let info = arm::info(model, part, &bench.servos, options.rate_hz);
        let mut arm = Self {
            service: Service::new(model.name(), bench.port(), info, part, servos, now),
            bus: bench.bus,
            model,
            options,
            also,
            replies: Replies::default(),
            ticks: 0,
            alert: false,
            began: None,
        };
        arm.report_trips();
        if arm.service.torque && unguarded {
            tracing::warn!(
                "torque was left on without bus watchdogs: nothing is followed until `enable` arms them"
            );
            arm.service.torque = false;
        }
        Ok(arm)
    }

    /// What came of instructions so far.
    pub fn counts(&self) -> Counts {
        self.bus.counts()
    }

    /// Servos whose bus watchdogs have stopped them hold, and follow nothing: as without torque until it comes again.
    fn report_trips(&mut self) {
        let tripped = |(_, also): &(&InService, &Also)| also.tripped;
        let mut tripped = self.service.servos.iter().zip(&self.also).filter(tripped);
        if self.service.torque
            && let Some((first, _)) = tripped.next()
        {
            tracing::error!(
                "{} and {} more heard nothing for {} ms: their bus watchdogs stopped them. They hold where they are and \
                 follow nothing until `enable`",
                first.servo,
                tripped.count(),
                self.options.watchdog_millis
            );
            self.service.torque = false;
        }
    }

    /// Reads `range` of every servo into `replies`.
    fn ask(&mut self, (address, count): (u16, u8)) -> Result<(), DeviceError> {
        let ids = self.service.ids();
        let read = self.bus.sync_read(address, count, ids, &mut self.replies);
        read.map_err(|e| self.service.line_error(&e))
    }

    /// As `ask`, for all of them or not at all.
    fn look(&mut self, range: (u16, u8)) -> Result<(), DeviceError> {
        self.ask(range)?;
        match (0..self.service.servos.len()).find(|i| self.replies.get(*i).is_none()) {
            Some(index) => Err(self.service.servo_error(index, &BusError::Silent)),
            None => Ok(()),
        }
    }

    /// `register` of servo `index` when it was last looked at, from `range` on.
    fn seen(&self, index: usize, register: Register, range: (u16, u8)) -> Option<i32> {
        let (data, _) = self.replies.get(index)?;
        register.get(data, range.0)
    }

    /// Reads every servo. Those that are silent stay as they were.
    fn measure(&mut self, now: Time) -> Result<(), DeviceError> {
        let asked = Instant::now();
        let before = self
            .began
            .take()
            .map_or(Duration::ZERO, |began| asked - began);
        self.ask(MEASURED)?;
        // The servos measured somewhere between question and answer.
        let heard_at = now + before + asked.elapsed() / 2;
        let limp = !self.service.torque && self.service.part() == Part::Follower;
        for index in 0..self.service.servos.len() {
            let Some((data, error)) = self.replies.get(index) else {
                continue;
            };
            let get = |register: Register| register.get(data, MEASURED.0).unwrap_or(0);
            let velocity = f64::from(get(reg::PRESENT_VELOCITY)) * reg::VELOCITY_TICKS_PER_SEC;
            let raw = get(reg::PRESENT_POSITION);
            if limp {
                let calibration = &self.service.servos[index].servo.calibration;
                self.also[index].turns = arm::within_turn(calibration, raw).1;
            }
            let also = self.also[index];
            let position = raw.saturating_sub(also.turns);
            self.service.heard(index, position, velocity, heard_at);
            let reading = Reading {
                load: f64::from(get(reg::PRESENT_CURRENT)) / also.full_load,
                voltage_v: f64::from(get(reg::PRESENT_VOLTAGE)) / 10.0,
                temperature_c: f64::from(get(reg::PRESENT_TEMPERATURE)),
                alarms: also.alarms,
            };
            self.service.watch(index, &reading);
            self.alert |= error & ALERT != 0 && also.alarms.is_none();
        }
        if std::mem::take(&mut self.alert) || self.ticks.is_multiple_of(EVERY) {
            self.ask(HEALTH)?;
            for index in 0..self.service.servos.len() {
                let at = |register| self.seen(index, register, HEALTH);
                if let Some((torque, errors)) =
                    at(reg::TORQUE_ENABLE).zip(at(reg::HARDWARE_ERROR_STATUS))
                {
                    self.service.holds(index, torque != 0);
                    self.also[index].alarms = alarms(errors);
                }
            }
        } else if self.ticks % EVERY == EVERY / 2 {
            self.ask((reg::BUS_WATCHDOG.address, reg::BUS_WATCHDOG.bytes))?;
            for index in 0..self.service.servos.len() {
                let range = (reg::BUS_WATCHDOG.address, reg::BUS_WATCHDOG.bytes);
                if let Some(watchdog) = self.seen(index, reg::BUS_WATCHDOG, range) {
                    self.also[index].tripped = watchdog < 0;
                }
            }
            self.report_trips();
        }
        self.service.judge(now)
    }

    /// Tells every servo but shadows.
    fn tell<const N: usize>(
        &mut self,
        register: Register,
        data: impl Fn(usize) -> [u8; N],
    ) -> Result<(), DeviceError> {
        let servos = self.service.servos.iter().enumerate();
        let told = servos.filter(|(_, s)| s.servo.shadow_of.is_none());
        let each = told.map(|(index, s)| (s.servo.id(), data(index)));
        let sent = self.bus.sync_write(register.address, each);
        sent.map_err(|e| self.service.line_error(&e))
    }

    /// Sets a register of one servo, which has to hold it then.
    fn set(&mut self, index: usize, register: Register, value: i32) -> Result<(), DeviceError> {
        let id = self.service.servos[index].servo.id();
        let written = self.bus.write(id, register, value);
        let held = written.and_then(|()| self.bus.read(id, register));
        match held {
            Ok(held) if held == value => Ok(()),
            Ok(held) => Err(self.service.error(format!(
                "{}: register {} was set to {value} and holds {held}: no torque",
                self.service.servos[index].servo, register.name
            ))),
            Err(e) => Err(self.service.servo_error(index, &e)),
        }
    }

    /// Sets all bus watchdogs, and reads them back.
    fn set_watchdogs(&mut self, to: u8) -> Result<(), DeviceError> {
        for _ in 0..ATTEMPTS {
            self.tell(reg::BUS_WATCHDOG, |_| [to])?;
            self.look(ORDERS)?;
            let kept = |i| self.seen(i, reg::BUS_WATCHDOG, ORDERS) == Some(i32::from(to));
            if (0..self.service.servos.len()).all(kept) {
                for also in &mut self.also {
                    also.tripped = false;
                }
                return Ok(());
            }
        }
        Err(self
            .service
            .error("the servos do not take their bus watchdogs".into()))
    }

    /// What gets in the way of torque.
    fn refuse_torque(&mut self) -> Result<(), DeviceError> {
        self.look(HEALTH)?;
        for index in 0..self.service.servos.len() {
            let errors = self.seen(index, reg::HARDWARE_ERROR_STATUS, HEALTH);
            let errors = alarms(errors.unwrap_or(0));
            self.also[index].alarms = errors;
            if !errors.is_none() {
                let servo = &self.service.servos[index].servo;
                return Err(self.service.error(format!(
                    "{servo} protects itself ({errors}) until its power was off: no torque"
                )));
            }
        }
        self.look(MEASURED)?;
        let mut raw = [0; MAX_SERVOS];
        for (index, raw) in raw.iter_mut().enumerate().take(self.service.servos.len()) {
            *raw = self
                .seen(index, reg::PRESENT_POSITION, MEASURED)
                .unwrap_or(0);
            // A joint stays in the turn that the arm host saw it in: by another one its command would be a whole turn away.
            let s = &mut self.service.servos[index];
            if s.servo.shadow_of.is_some() {
                self.also[index].turns = arm::within_turn(&s.servo.calibration, *raw).1;
            }
            s.position = raw.saturating_sub(self.also[index].turns);
        }
        self.service.inside()?;
        for (index, s) in self.service.servos.iter().enumerate() {
            let Some(first) = s.servo.shadow_of else {
                continue;
            };
            let servos = &self.service.servos;
            let Some(main) = servos.iter().position(|s| s.servo.id() == first) else {
                continue;
            };
            if (raw[index] - raw[main]).abs() > APART {
                return Err(self.service.error(format!(
                    "{} is at {} and {}, of the same joint, at {}: with torque they would work against each other; \
                     switch the servos' power off and on, or calibrate them",
                    s.servo, raw[index], servos[main].servo, raw[main]
                )));
            }
        }
        Ok(())
    }

    /// The servo whose goal servo `index` has: itself, but for shadows.
    fn first_of(&self, index: usize) -> usize {
        let servos = &self.service.servos;
        let first = servos[index].servo.shadow_of;
        let first = first.and_then(|id| servos.iter().position(|s| s.servo.id() == id));
        first.unwrap_or(index)
    }

    /// Makes where the arm is the goal of every servo, and tells it again what it forgets with its power: ramp, gains, and
    /// what current the gripper may use. Returns once all of them say so.
    fn stay(&mut self) -> Result<(), DeviceError> {
        self.refuse_torque()?;
        let mut goals = [0; MAX_SERVOS];
        for (index, goal) in goals.iter_mut().enumerate().take(self.also.len()) {
            let first = self.first_of(index);
            *goal = self.service.servos[first].position + self.also[first].turns;
        }
        let mut kept = false;
        for _ in 0..ATTEMPTS {
            // A goal is not taken after a watchdog; and once that is cleared, the old goal may count again. So the new one
            // comes right behind.
            self.tell(reg::BUS_WATCHDOG, |_| [0])?;
            self.tell(reg::PROFILE_ACCELERATION, |index| {
                // No ramp of its own, no speed of its own, the goal.
                let mut data = [0; 12];
                data[8..].copy_from_slice(&goals[index].to_le_bytes());
                data
            })?;
            self.look(ORDERS)?;
            kept = (0..self.service.servos.len()).all(|index| {
                let at = |register| self.seen(index, register, ORDERS);
                at(reg::BUS_WATCHDOG) == Some(0)
                    && at(reg::GOAL_POSITION) == Some(goals[index])
                    && at(reg::PROFILE_ACCELERATION) == Some(0)
                    && at(reg::PROFILE_VELOCITY) == Some(0)
            });
            if kept {
                break;
            }
        }
        if !kept {
            return Err(self
                .service
                .error("the servos do not take where they are as their goal: no torque".into()));
        }
        for index in 0..self.service.servos.len() {
            self.also[index].tripped = false;
            let servo = &self.service.servos[index].servo;
            let (name, model) = (servo.name, servo.model);
            if let Some([d, i, p]) = arm::gains(self.model, name) {
                self.set(index, reg::POSITION_D_GAIN, d)?;
                self.set(index, reg::POSITION_I_GAIN, i)?;
                self.set(index, reg::POSITION_P_GAIN, p)?;
            }
            if name == GRIPPER
                && let Some(current) = arm::current_raw(model, self.options.gripper_current_ma)
            {
                // No servo takes more than its own limit.
                let current = current.min(self.also[index].full_load as i32);
                self.set(index, reg::GOAL_CURRENT, current)?;
            }
        }
        Ok(())
    }

    /// Switches the torque of every servo. Returns once all of them say so.
    fn switch(&mut self, on: bool) -> Result<(), DeviceError> {
        for _ in 0..ATTEMPTS {
            self.tell(reg::TORQUE_ENABLE, |_| [u8::from(on)])?;
            self.look(HEALTH)?;
            let done = |i| self.seen(i, reg::TORQUE_ENABLE, HEALTH) == Some(i32::from(on));
            if (0..self.service.servos.len()).all(done) {
                return Ok(());
            }
        }
        let stubborn = (0..self.service.servos.len())
            .find(|i| self.seen(*i, reg::TORQUE_ENABLE, HEALTH) != Some(i32::from(on)));
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

impl Device for DynamixelArm {
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
        let mut raw = [0; MAX_SERVOS];
        for ((raw, goal), also) in raw.iter_mut().zip(goals).zip(&self.also) {
            *raw = goal + also.turns;
        }
        self.tell(reg::GOAL_POSITION, |index| raw[index].to_le_bytes())
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        if self.service.part() == Part::Leader {
            return Err(self.service.error("a leader has no torque".into()));
        }
        if on {
            self.stay()?;
            self.switch(true)?;
            self.set_watchdogs(self.options.watchdog())?;
        } else {
            self.switch(false)?;
            self.set_watchdogs(0)?;
        }
        self.service.switched(on);
        Ok(())
    }

    fn step(&mut self, _now: Time) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Drop for DynamixelArm {
    fn drop(&mut self) {
        tracing::info!(counts = ?self.counts(), "bus");
    }
}
