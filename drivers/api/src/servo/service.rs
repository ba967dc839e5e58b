//! An arm in service, as far as makers share it: what its servos said last, what follows for the arm, and when its service
//! ends. Which registers say it is the driver's. No IO.
//!
//! A silent servo keeps its last state, with the time it was measured at, so that whoever looks sees it age; after
//! [`SILENCE`] and some cycles the service ends with the servo's name. So it does when a servo lost its torque or protects itself.

use std::path::Path;
use std::time::Duration;

use tactus_types::{ArmInfo, JointState, JointVec, Time};

use super::arm::{GRIPPER, Part, Servo};
use super::bus::BusError;
use super::calibration::RAD_PER_TICK;
use super::packet::MAX_SERVOS;
use super::watch::{Alarms, Finding, Reading, Watch};
use crate::device::first_epoch;
use crate::{DeviceError, Goal};

/// A servo that is silent for longer has left.
pub const SILENCE: Duration = Duration::from_millis(100);
/// Cycles in a row without an answer that it takes besides: where this machine stood still, one late reply is no departure.
const UNANSWERED: u32 = 3;
/// How far outside its calibrated range a servo may be when torque goes on, ticks: it moves inside at once.
pub const OUTSIDE: i32 = 10;
/// Times in a row that torque has to be found off where it should be on.
const LOST: u32 = 2;

/// One servo in service.
#[derive(Debug)]
pub struct InService {
    /// The servo.
    pub servo: Servo,
    /// Where it is, ticks of its calibration.
    pub position: i32,
    /// Ticks per second.
    pub velocity: f64,
    /// Whether it holds.
    pub torque: bool,
    /// When that was measured.
    pub heard_at: Time,
    unanswered: u32,
    lost: u32,
    watch: Watch,
}

impl InService {
    /// A servo that was found at `position` with these complaints.
    pub fn new(servo: Servo, position: i32, torque: bool, alarms: Alarms, now: Time) -> Self {
        if !alarms.is_none() {
            tracing::warn!("{servo} complains at start: {alarms}");
        }
        Self {
            servo,
            position,
            velocity: 0.0,
            torque,
            heard_at: now,
            unanswered: 0,
            lost: 0,
            watch: Watch::new(alarms),
        }
    }
}

/// An arm in service.
#[derive(Debug)]
pub struct Service {
    /// Its servos, in the order of the bench.
    pub servos: Vec<InService>,
    /// Whether all of them hold, as far as they were told.
    pub torque: bool,
    name: String,
    info: ArmInfo,
    part: Part,
    epoch: u64,
    ids: [u8; MAX_SERVOS],
    ending: Option<(usize, Finding)>,
}

impl Service {
    /// The arm `model` at `port`, which says `info` of itself.
    pub fn new(
        model: &str,
        port: &Path,
        info: ArmInfo,
        part: Part,
        servos: Vec<InService>,
        now: Time,
    ) -> Self {
        let torque = servos.iter().all(|s| s.torque);
        if !torque && servos.iter().any(|s| s.torque) {
            tracing::warn!("only some of the servos have torque: `enable` gives it to all of them");
        }
        let mut ids = [0; MAX_SERVOS];
        for (id, s) in ids.iter_mut().zip(&servos) {
            *id = s.servo.id();
        }
        Self {
            servos,
            torque,
            name: format!("{model} at {}", port.display()),
            info,
            part,
            epoch: first_epoch(now),
            ids,
            ending: None,
        }
    }

    /// What the arm says of itself.
    pub fn info(&self) -> &ArmInfo {
        &self.info
    }

    /// What the arm is for.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Ids of its servos.
    pub fn ids(&self) -> &[u8] {
        &self.ids[..self.servos.len().min(MAX_SERVOS)]
    }

    /// The service fails, because `reason`.
    pub fn error(&self, reason: String) -> DeviceError {
        DeviceError {
            device: self.name.clone(),
            reason,
        }
    }

    /// The service fails at servo `index`.
    pub fn servo_error(&self, index: usize, reason: &BusError) -> DeviceError {
        self.error(format!("{}: {reason}", self.servos[index].servo))
    }

    /// The service fails at the line.
    pub fn line_error(&self, reason: &BusError) -> DeviceError {
        self.error(reason.to_string())
    }

    /// Servo `index` said where it is, at `heard_at`.
    pub fn heard(&mut self, index: usize, position: i32, velocity: f64, heard_at: Time) {
        let s = &mut self.servos[index];
        s.position = position;
        s.velocity = velocity;
        s.heard_at = heard_at;
        s.unanswered = 0;
    }

    /// Servo `index` said whether it holds.
    pub fn holds(&mut self, index: usize, torque: bool) {
        let s = &mut self.servos[index];
        s.torque = torque;
        s.lost = if self.torque && !torque {
            s.lost + 1
        } else {
            0
        };
    }

    /// Servo `index` said how it is, once a period.
    pub fn watch(&mut self, index: usize, reading: &Reading) {
        let s = &mut self.servos[index];
        match s.watch.judge(reading, 1.0 / self.info.state_rate_hz) {
            Some(finding) if finding.ends() => self.ending = Some((index, finding)),
            Some(finding) => tracing::warn!("{} {finding}", s.servo),
            None => {}
        }
    }

    /// All of them were told whether to hold, and said so.
    pub fn switched(&mut self, on: bool) {
        self.torque = on;
        for s in &mut self.servos {
            s.torque = on;
            s.lost = 0;
        }
    }

    /// Whether the service goes on; once a cycle, after all servos were asked.
    ///
    /// # Errors
    /// Why not, with the servo's name.
    pub fn judge(&mut self, now: Time) -> Result<(), DeviceError> {
        if let Some((index, finding)) = self.ending.take() {
            return Err(self.error(format!("{} {finding}", self.servos[index].servo)));
        }
        // Who was heard in this cycle stands at one.
        for s in &mut self.servos {
            s.unanswered = s.unanswered.saturating_add(1);
        }
        let silent = |s: &&InService| now.since(s.heard_at) > SILENCE && s.unanswered > UNANSWERED;
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
        if let Some(s) = self.servos.iter().find(|s| s.lost >= LOST) {
            return Err(self.error(format!(
                "{} has lost its torque: was its power interrupted?",
                s.servo
            )));
        }
        Ok(())
    }

    /// Refuses torque where a servo lies outside its calibrated range.
    ///
    /// # Errors
    /// With the servo's name.
    pub fn inside(&self) -> Result<(), DeviceError> {
        for s in &self.servos {
            let (min, max) = (s.servo.calibration.range_min, s.servo.calibration.range_max);
            if !(min - OUTSIDE..=max + OUTSIDE).contains(&s.position) {
                let reason = format!(
                    "{} is at {}, outside its calibrated range {min} to {max}: move it inside by hand before torque",
                    s.servo, s.position
                );
                return Err(self.error(reason));
            }
        }
        Ok(())
    }

    /// Where each servo has to go for `goal`, ticks of its calibration, in the order of the servos. A servo that shadows
    /// another has that one's goal.
    pub fn goals(&self, goal: &Goal) -> [i32; MAX_SERVOS] {
        let mut q = goal.q.iter();
        let mut goals = [0; MAX_SERVOS];
        for (index, s) in self.servos.iter().enumerate().take(MAX_SERVOS) {
            let calibration = &s.servo.calibration;
            goals[index] = match (s.servo.shadow_of, s.servo.name) {
                (Some(first), _) => {
                    let first = self.servos.iter().position(|s| s.servo.id() == first);
                    first.map_or(s.position, |first| goals[first.min(index)])
                }
                (None, GRIPPER) => calibration.opening_ticks(goal.opening),
                (None, _) => calibration.ticks(*q.next().unwrap_or(&f64::NAN)),
            };
        }
        goals
    }

    /// What is known of the arm: as old as the servo that was heard longest ago.
    pub fn state(&self) -> JointState {
        let joints = || self.servos.iter().filter(|s| s.servo.is_joint());
        let vec = |value: &dyn Fn(&InService) -> f64| {
            let mut values = joints().map(value);
            JointVec::from_fn(self.info.joints.len(), |_| values.next().unwrap_or(0.0))
        };
        let gripper = self.servos.iter().find(|s| s.servo.name == GRIPPER);
        let heard = self.servos.iter().map(|s| s.heard_at);
        JointState {
            captured_at: heard.min().unwrap_or(Time::ZERO),
            seq: 0,
            epoch: self.epoch,
            q: vec(&|s| s.servo.calibration.rad(s.position)),
            dq: vec(&|s| s.velocity * RAD_PER_TICK),
            opening: gripper.map_or(0.0, |s| s.servo.calibration.opening(s.position)),
            torque: self.torque,
        }
    }
}
