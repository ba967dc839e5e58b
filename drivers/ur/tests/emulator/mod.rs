//! A controller of Universal Robots, as far as drivers see it: RTDE (30004), secondary and real-time interface (30002, 30003; only
//! as takers of programs), dashboard server (29999), an arm that `servoj` leads, stops and speed scaling. Written from the maker's documents and `ur_rtde`'s sources;
//! shares no code with the driver.
//!
//! It listens on a loopback address of its own, on the ports that every controller has. Programs that are sent to it run
//! as they are written ([`script`]), except `ur_rtde`'s, of which it does the few commands that its clients use.
//!
//! Not modelled: forces, tools, payloads, what a real safety system looks at, and the network. The arm is a first-order lag:
//! under `servoj` each joint's speed is its distance to the target over the lookahead time (shorter with a higher gain), up
//! to its top speed.
#![allow(dead_code, reason = "each test file uses its own part")]

mod controller;
mod pendant;
mod rtde;
mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub use controller::Controller;
use script::{Call, Program, Robot, Value};

pub const RUNNING: i32 = 7;
pub const STOPPED: u32 = 1;
pub const PLAYING: u32 = 2;
pub const PAUSED: u32 = 4;
/// Periods from a stop of the safety system until the program that it stopped is paused.
const PAUSES_AFTER: u32 = 5;

/// What kind of controller.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens, where that must be somewhere in particular.
    pub ip: Option<Ipv4Addr>,
    pub version: [u32; 4],
    /// What it answers to `get robot model`.
    pub model: String,
    pub serial: String,
    /// Periods per second.
    pub rate_hz: u32,
    /// Joints' top speed, rad/s.
    pub top_speed: f64,
    /// Variables that it does not know.
    pub lacks: BTreeSet<String>,
    /// How long a protective stop cannot be unlocked.
    pub locked_for: Duration,
    /// PolyScope X has none.
    pub dashboard: bool,
    /// How long it takes from a program's last byte to its first line.
    pub load: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ip: None,
            version: [5, 12, 0, 1101319],
            model: "UR5".into(),
            serial: String::new(),
            rate_hz: 500,
            top_speed: std::f64::consts::PI,
            lacks: BTreeSet::new(),
            locked_for: Duration::from_secs(5),
            dashboard: true,
            load: Duration::from_millis(100),
        }
    }
}

/// What leads the arm.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Motion {
    None,
    Servo {
        target: [f64; 6],
        lag: f64,
    },
    /// Brakes; the program waits for it.
    Stop {
        brake: f64,
    },
    /// Goes there at a speed; the program waits for it.
    Move {
        target: [f64; 6],
        speed: f64,
    },
}

enum Running {
    Written(Program),
    UrRtde(UrRtde),
}

/// `ur_rtde`'s control script: commands in integer register 0, counted from `offset`.
struct UrRtde {
    offset: usize,
    executing: bool,
}

/// Everything that is so at the moment.
pub struct World {
    pub options: Options,
    pub q: [f64; 6],
    pub qd: [f64; 6],
    pub robot_mode: i32,
    pub safety_bits: u32,
    pub runtime: u32,
    /// The speed slider.
    pub speed: f64,
    pub remote: bool,
    pub ints_in: [i32; 48],
    pub doubles_in: [f64; 48],
    pub ints_out: [i32; 48],
    pub doubles_out: [f64; 48],
    pub bits_in: [bool; 128],
    pub digital_out: u64,
    /// The network: `false` cuts what there is, and refuses what comes.
    pub network: bool,
    /// RTDE falls silent without a word.
    pub silent: bool,
    pub commands: u64,
    /// Programs that were begun.
    pub programs: u64,
    /// Programs that came in local control, where they are ignored.
    pub ignored: u64,
    /// What was wrong with the last one.
    pub program_error: Option<String>,
    pub cycles: u64,
    /// Cycles that this process could not begin in time: its clock stood still meanwhile.
    pub slips: u64,
    /// Largest change of `servoj`'s target from one period to the next, rad.
    pub leap: f64,
    /// RTDE clients that were dropped because they did not read.
    pub dropped: u64,
    /// Joint speeds above this did not happen.
    pub fastest: f64,
    running: Option<Running>,
    pending: Option<(String, Instant)>,
    motion: Motion,
    wait: f64,
    /// Periods until the program is paused.
    pausing: Option<u32>,
    stopped_at: Option<Instant>,
    owners: BTreeMap<String, u64>,
    started: Instant,
}

impl World {
    fn new(options: Options) -> Self {
        Self {
            options,
            q: [0.0, -1.57, 1.57, -1.57, -1.57, 0.0],
            qd: [0.0; 6],
            robot_mode: RUNNING,
            safety_bits: 1,
            runtime: STOPPED,
            speed: 1.0,
            remote: true,
            ints_in: [0; 48],
            doubles_in: [0.0; 48],
            ints_out: [0; 48],
            doubles_out: [0.0; 48],
            bits_in: [false; 128],
            digital_out: 0,
            network: true,
            silent: false,
            commands: 0,
            programs: 0,
            ignored: 0,
            program_error: None,
            cycles: 0,
            slips: 0,
            leap: 0.0,
            dropped: 0,
            fastest: 0.0,
            running: None,
            pending: None,
            motion: Motion::None,
            wait: 0.0,
            pausing: None,
            stopped_at: None,
            owners: BTreeMap::new(),
            started: Instant::now(),
        }
    }

    pub fn period(&self) -> f64 {
        1.0 / f64::from(self.options.rate_hz)
    }

    /// What `servoj` is led to, or where the arm is.
    pub fn target(&self) -> [f64; 6] {
        match self.motion {
            Motion::Servo { target, .. } | Motion::Move { target, .. } => target,
            _ => self.q,
        }
    }

    /// Whether nothing keeps a program from moving the arm.
    fn able(&self) -> bool {
        self.robot_mode == RUNNING && self.safety_bits & !0b11 == 0
    }

    /// The arm stops where it is, the program is paused a little later, until somebody unlocks and presses play.
    pub fn protective_stop(&mut self) {
        self.safety_bits = 1 << 2 | 1 << 10;
        self.stopped_at = Some(Instant::now());
        self.pausing = Some(PAUSES_AFTER);
    }

    pub fn emergency_stop(&mut self) {
        self.safety_bits = 1 << 6 | 1 << 7 | 1 << 10;
        self.robot_mode = 3;
        self.stop();
    }

    /// A safeguard pauses, and its end lets the program go on.
    pub fn safeguard(&mut self, stop: bool) {
        if stop {
            self.safety_bits = 1 << 4 | 1 << 10;
            self.pausing = Some(PAUSES_AFTER);
        } else {
            self.safety_bits = 1;
            self.pausing = None;
            self.resume();
        }
    }

    pub fn pause(&mut self) {
        if self.running.is_some() {
            self.runtime = PAUSED;
        }
    }

    /// Somebody presses play.
    pub fn resume(&mut self) {
        if self.running.is_some() {
            self.runtime = PLAYING;
        }
    }

    fn unlock(&mut self) -> bool {
        let elapsed = self.stopped_at.map(|at| at.elapsed());
        if elapsed.is_some_and(|e| e < self.options.locked_for) {
            return false;
        }
        if self.safety_bits & (1 << 2) != 0 {
            self.safety_bits = 1;
            self.stopped_at = None;
        }
        true
    }

    /// Ends the program, wherever it is.
    pub fn stop(&mut self) {
        self.running = None;
        self.runtime = STOPPED;
        self.motion = Motion::None;
    }

    /// Begins a program in place of the one that runs.
    pub fn begin(&mut self, text: &str) {
        self.stop();
        self.program_error = None;
        self.leap = 0.0;
        self.wait = 0.0;
        self.programs += 1;
        let control =
            text.contains("def rtde_control") || text.contains("RTDE Control Script Loaded");
        let running = if control {
            let upper = text.contains("# int register offset\n24");
            Ok(Running::UrRtde(UrRtde {
                offset: if upper { 24 } else { 0 },
                executing: false,
            }))
        } else {
            Program::parse(text).map(Running::Written)
        };
        match running {
            Ok(running) if self.able() => {
                self.running = Some(running);
                self.runtime = PLAYING;
            }
            Ok(_) => self.program_error = Some("the robot is not able to run a program".into()),
            Err(e) => self.program_error = Some(e),
        }
    }

    /// One period of the controller.
    fn cycle(&mut self) {
        self.cycles += 1;
        if !self.able() {
            self.motion = Motion::None;
            if self.robot_mode != RUNNING {
                self.stop();
            }
        }
        if let Some(left) = self.pausing {
            self.pausing = left.checked_sub(1);
            if left == 0 {
                self.pause();
            }
        }
        if self
            .pending
            .as_ref()
            .is_some_and(|(_, at)| at.elapsed() >= self.options.load)
            && let Some((text, _)) = self.pending.take()
        {
            self.begin(&text);
        }
        if self.runtime == PLAYING && self.able() {
            self.run();
        }
        self.go();
    }

    /// Lets the program go on where it may.
    fn run(&mut self) {
        // Speed scaling stretches what takes time.
        self.wait -= self.speed.max(0.01);
        let waits = match self.motion {
            Motion::Stop { .. } => self.qd.iter().any(|v| v.abs() > 1e-9),
            Motion::Move { target, .. } => self
                .q
                .iter()
                .zip(target)
                .any(|(q, to)| (q - to).abs() > 1e-9),
            Motion::None | Motion::Servo { .. } => self.wait > 1e-9,
        };
        if waits {
            return;
        }
        if matches!(self.motion, Motion::Stop { .. } | Motion::Move { .. }) {
            self.motion = Motion::None;
        }
        let Some(mut running) = self.running.take() else {
            return;
        };
        let on = match &mut running {
            Running::Written(program) => program.run(self),
            Running::UrRtde(script) => Ok(self.ur_rtde(script)),
        };
        match on {
            Ok(true) => self.running = Some(running),
            Ok(false) => self.stop(),
            Err(e) => {
                self.stop();
                self.program_error = Some(e);
            }
        }
    }

    fn servo(
        &mut self,
        target: [f64; 6],
        secs: f64,
        lookahead: f64,
        gain: f64,
    ) -> Result<(), String> {
        if !(0.03..=0.2).contains(&lookahead) || !(100.0..=2000.0).contains(&gain) {
            return Err(format!("servoj: lookahead_time {lookahead}, gain {gain}"));
        }
        let before = self.target();
        let leaps = target.iter().zip(before).map(|(a, b)| (a - b).abs());
        self.leap = leaps.fold(self.leap, f64::max);
        let lag = lookahead * (300.0 / gain).sqrt().min(1.0);
        self.motion = Motion::Servo { target, lag };
        self.wait = (secs / self.period()).round().max(1.0);
        Ok(())
    }

    fn ur_rtde(&mut self, script: &mut UrRtde) -> bool {
        const READY: i32 = 1;
        const DONE: i32 = 2;
        let at = script.offset;
        let joints: [f64; 6] = std::array::from_fn(|i| self.doubles_in[at + i]);
        self.wait = 1.0;
        match self.ints_in[at] {
            0 => {
                // A move or a stop has ended.
                script.executing = false;
                self.ints_out[at] = READY;
            }
            11 => {
                let [secs, lookahead, gain] = std::array::from_fn(|i| self.doubles_in[at + 8 + i]);
                if self.servo(joints, secs, lookahead, gain).is_err() {
                    return false;
                }
                self.wait = 1.0;
                self.ints_out[at] = READY;
            }
            26 => {
                self.doubles_out[at] = self.period();
                self.ints_out[at] = READY;
            }
            255 => return false,
            command if script.executing => {
                if matches!(self.motion, Motion::None) || !matches!(command, 1 | 16 | 34) {
                    self.ints_out[at] = DONE;
                }
            }
            command => {
                script.executing = true;
                match command {
                    1 => {
                        let speed = self.doubles_in[at + 6];
                        self.motion = Motion::Move {
                            target: joints,
                            speed,
                        };
                    }
                    16 | 34 => {
                        let brake = self.doubles_in[at].max(0.1);
                        self.motion = Motion::Stop { brake };
                    }
                    _ => self.ints_out[at] = DONE,
                }
            }
        }
        true
    }

    /// Moves the arm by a period.
    fn go(&mut self) {
        let (dt, top) = (self.period(), self.options.top_speed);
        let moving = self.runtime == PLAYING;
        for i in 0..6 {
            let to = match self.motion {
                _ if !moving => 0.0,
                Motion::Servo { target, lag } => {
                    ((target[i] - self.q[i]) / lag).clamp(-top, top) * self.speed
                }
                Motion::Move { target, speed } => {
                    let speed = speed.min(top) * self.speed;
                    ((target[i] - self.q[i]) / dt).clamp(-speed, speed)
                }
                Motion::Stop { brake } => {
                    self.qd[i].signum() * (self.qd[i].abs() - brake * dt).max(0.0)
                }
                Motion::None => 0.0,
            };
            self.qd[i] = to;
            self.q[i] += to * dt;
            self.fastest = self.fastest.max(to.abs());
        }
    }
}

impl Robot for World {
    fn call(&mut self, call: &Call) -> Result<(Value, bool), String> {
        let register = |call: &Call| -> Result<usize, String> {
            let at = call.arg(0, "address")?.num()? as usize;
            (at < 48).then_some(at).ok_or(format!("no register {at}"))
        };
        let now = |value| Ok((value, false));
        match call.name.as_str() {
            "read_input_integer_register" => {
                now(Value::Num(f64::from(self.ints_in[register(call)?])))
            }
            "read_input_float_register" => now(Value::Num(self.doubles_in[register(call)?])),
            "write_output_integer_register" => {
                self.ints_out[register(call)?] = call.arg(1, "value")?.num()? as i32;
                now(Value::None)
            }
            "write_output_float_register" => {
                self.doubles_out[register(call)?] = call.arg(1, "value")?.num()?;
                now(Value::None)
            }
            "get_actual_joint_positions" | "get_target_joint_positions" => {
                now(Value::List(self.q.to_vec()))
            }
            "get_steptime" => now(Value::Num(self.period())),
            "norm" => match call.arg(0, "a")? {
                Value::List(list) => {
                    now(Value::Num(list.iter().map(|x| x * x).sum::<f64>().sqrt()))
                }
                other => now(Value::Num(other.num()?.abs())),
            },
            "textmsg" => now(Value::None),
            "sync" => {
                self.wait = 1.0;
                Ok((Value::None, true))
            }
            "servoj" => {
                let target = call.arg(0, "q")?.joints()?;
                let number = |name, at, default| match call.arg(at, name) {
                    Ok(value) => value.num(),
                    Err(_) => Ok(default),
                };
                let secs = number("t", 3, self.period())?;
                self.servo(
                    target,
                    secs,
                    number("lookahead_time", 4, 0.1)?,
                    number("gain", 5, 300.0)?,
                )?;
                Ok((Value::None, true))
            }
            "stopj" => {
                let brake = call.arg(0, "a")?.num()?;
                self.motion = Motion::Stop { brake };
                Ok((Value::None, true))
            }
            other => Err(format!("no function `{other}`")),
        }
    }
}
