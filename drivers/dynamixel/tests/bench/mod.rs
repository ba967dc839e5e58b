//! Arms of emulated servos, and a device shell without a wire: ticks an arm as `serve_device` does.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;
use std::time::{Duration, Instant};

use tactus_drivers_api::servo::{ArmError, Bench, Calibration, Part};
use tactus_drivers_api::{Device, Goal};
use tactus_dynamixel::arm::{FAMILY, servos as named};
use tactus_dynamixel::device::Options;
use tactus_dynamixel::{DynamixelArm, Model};
use tactus_types::{JointState, JointVec, Time};

use crate::emulator::{Servo, ServoBus};

pub const BAUD: u32 = 1_000_000;
pub const OPTIONS: Options = Options {
    rate_hz: 100.0,
    watchdog_millis: 200,
    gripper_current_ma: 500.0,
};

/// Each servo has its own offset; shadows are turned around.
pub fn calibration(model: Model) -> Calibration {
    let mut calibration = Calibration::unknown(&model.motors());
    for (name, servo) in &mut calibration.servos {
        (servo.range_min, servo.range_max) = (1000, 3000);
        servo.homing_offset = 40 - 10 * i32::from(servo.id);
        servo.drive_mode = u8::from(name.ends_with("_shadow"));
    }
    calibration
}

/// Servos that hold that calibration and the configuration, as `tactus device setup` leaves them.
pub fn servos(model: Model, part: Part) -> Vec<Servo> {
    let calibration = calibration(model);
    let numbers = model.numbers(part);
    let motors = model.motors();
    let mut servos = Vec::new();
    for (name, number) in motors.iter().zip(numbers) {
        let held = calibration.servos[*name];
        let mode = if *name == "gripper" { 5 } else { 4 };
        let mut servo = Servo::new(held.id, number)
            .with(10, 1, held.drive_mode.into())
            .with(11, 1, mode)
            .calibrated(held.homing_offset, held.range_min, held.range_max);
        if held.drive_mode == 1 {
            servo = servo.with(12, 1, i32::from(held.id) - 1);
        }
        if *name == "gripper" {
            let limit = if number == 1020 { 186 } else { 500 };
            servo = servo.with(38, 2, limit).with(102, 2, limit);
        }
        servos.push(servo);
    }
    servos
}

pub fn koch() -> Vec<Servo> {
    servos(Model::Koch, Part::Follower)
}

pub fn opened(path: &Path, model: Model, part: Part) -> Result<Bench, ArmError> {
    let servos = named(model, part, &calibration(model), OPTIONS.gripper_current_ma);
    Bench::open(&FAMILY, path, BAUD, servos)
}

pub fn open(bus: &ServoBus) -> Result<Bench, ArmError> {
    opened(bus.path(), Model::Koch, Part::Follower)
}

pub struct Clocked {
    pub arm: DynamixelArm,
    pub zero: Instant,
}

impl Clocked {
    pub fn start_of(bus: &ServoBus, model: Model) -> Self {
        Self::of(
            opened(bus.path(), model, Part::Follower).expect("servos"),
            model,
        )
    }

    pub fn of(bench: Bench, model: Model) -> Self {
        let zero = Instant::now() - Duration::from_millis(1000);
        let now = Time::from_millis(1000);
        let arm = DynamixelArm::start(bench, model, Part::Follower, OPTIONS, now);
        Self {
            arm: arm.expect("an arm"),
            zero,
        }
    }

    pub fn start(bus: &ServoBus) -> Self {
        Self::start_of(bus, Model::Koch)
    }

    pub fn now(&self) -> Time {
        Time::from_nanos(self.zero.elapsed().as_nanos() as u64)
    }

    /// One tick of a device shell.
    pub fn tick(&mut self, goal: &Goal) -> Result<JointState, String> {
        let now = self.now();
        self.arm.apply(goal).map_err(|e| e.to_string())?;
        self.arm.step(now).map_err(|e| e.to_string())?;
        self.arm.state(now).map_err(|e| e.to_string())
    }

    /// Ticks until it fails; the error.
    pub fn until_it_ends(&mut self, goal: &Goal) -> String {
        (0..200)
            .find_map(|_| self.tick(goal).err())
            .expect("noticed")
    }
}

pub fn goal(rad: f64, opening: f64) -> Goal {
    goal_of(5, rad, opening)
}

pub fn goal_of(joints: usize, rad: f64, opening: f64) -> Goal {
    Goal {
        q: JointVec::from_fn(joints, |_| rad),
        dq: JointVec::zeros(joints),
        opening,
    }
}
