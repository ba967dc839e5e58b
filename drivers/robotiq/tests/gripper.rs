//! The gripper on an emulated line, alone and beside an arm: activation, motion, objects, faults, spoilt replies.

mod emulator;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use emulator::{Fingers, GripperBus};
use tactus_drivers_api::{Device, DeviceError, Goal, Gripper, WithGripper};
use tactus_robotiq::gripper::GripperError;
use tactus_robotiq::{Object, Settings, TwoFinger};
use tactus_types::{ArmInfo, JointLimits, JointState, JointVec, Time};

fn open(bus: &GripperBus) -> Result<TwoFinger, GripperError> {
    TwoFinger::open(bus.path(), Settings::default())
}

/// Exchanges until `done`.
fn until(gripper: &mut TwoFinger, goal: Option<f64>, done: impl Fn(&TwoFinger) -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !done(gripper) {
        gripper.exchange(goal).expect("said");
        assert!(Instant::now() < end, "in vain");
    }
}

#[test]
fn nothing_moves_before_the_activation_and_an_opening_is_reached_after_it() {
    let bus = GripperBus::start(vec![Fingers::new(9)]);
    let mut gripper = open(&bus).expect("there");
    for _ in 0..10 {
        let state = gripper.exchange(Some(0.0)).expect("said");
        assert!(!state.active && !state.object && state.fault.is_none());
    }
    assert_eq!(bus.world().servos[0].moved, 0.0);
    gripper.activate().expect("begun");
    let began = Instant::now();
    while !gripper.exchange(None).expect("said").active {
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    assert!(bus.world().servos[0].moved > 200.0, "the whole stroke");
    until(&mut gripper, Some(0.5), |_| {
        (bus.world().servos[0].position - 128.0).abs() < 1.0
    });
    let status = gripper.status().expect("said");
    assert_eq!(status.object, Object::Nothing);
    assert!((status.opening() - 0.5).abs() < 0.01);
    // Half of the speed, 0.3 of the force.
    assert_eq!(bus.world().servos[0].out[3..], [128, 128, 77]);
}

/// Passes the line of `bus` on over TCP to the first who connects, as a controller or a serial device server does.
fn passed_on(bus: &GripperBus) -> (String, std::thread::JoinHandle<TcpStream>) {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    let mut options = File::options();
    let line = options.read(true).write(true).open(bus.path());
    let line = line.expect("the host's end");
    let mut settings = tcgetattr(&line).expect("a terminal");
    settings.set_speed(115_200).expect("a rate");
    tcsetattr(&line, OptionalActions::Now, &settings).expect("set");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port").to_string();
    let pump = |mut from: Box<dyn Read + Send>, mut to: Box<dyn Write + Send>| {
        let run = move || {
            let mut bytes = [0; 256];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                if to.write_all(&bytes[..n]).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("bridge".into());
        thread.spawn(run).expect("a thread");
    };
    let serve = move || {
        let (stream, _) = listener.accept().expect("a client");
        let clone = || stream.try_clone().expect("two ends");
        pump(
            Box::new(line.try_clone().expect("two ends")),
            Box::new(clone()),
        );
        pump(Box::new(clone()), Box::new(line));
        stream
    };
    let thread = std::thread::Builder::new().spawn(serve);
    (address, thread.expect("a thread"))
}

#[test]
fn a_line_that_is_passed_on_over_tcp_is_as_good_until_it_breaks() {
    let bus = GripperBus::start(vec![Fingers::new(9).activated()]);
    let (address, bridge) = passed_on(&bus);
    let mut gripper = TwoFinger::reach(&address, Settings::default()).expect("there");
    let stream = bridge.join().expect("connected");
    until(&mut gripper, Some(0.5), |_| {
        (bus.world().servos[0].position - 128.0).abs() < 1.0
    });
    // Spoilt replies are asked for again here too.
    (bus.world().faults.corrupt, bus.world().faults.lost) = (0.1, 0.1);
    let failed = (0..40).filter(|k| {
        let opening = 0.5 + 0.1 * f64::from(k % 2);
        gripper.exchange(Some(opening)).is_err()
    });
    assert!(failed.count() <= 4);
    bus.world().faults = Default::default();
    let second = TwoFinger::reach(&address, Settings::default());
    let text = second.expect_err("one owner").to_string();
    assert!(text.contains("in use by process"), "{text}");

    stream.shutdown(Shutdown::Both).expect("cut");
    let error = gripper.exchange(None).expect_err("cut").to_string();
    assert!(
        error.contains(&format!("robotiq gripper at {address}")) && error.contains("port failed"),
        "{error}"
    );
    drop(gripper);
    let nobody = TwoFinger::reach("127.0.0.1:1", Settings::default());
    let text = nobody.expect_err("nobody").to_string();
    assert!(
        text.contains("line at 127.0.0.1:1: ") && text.contains("pass its line on"),
        "{text}"
    );
}

#[test]
fn an_object_stops_the_fingers_and_is_said() {
    let bus = GripperBus::start(vec![Fingers::new(9).activated()]);
    bus.world().servos[0].object = Some(190.0);
    let mut gripper = open(&bus).expect("there");
    let end = Instant::now() + Duration::from_secs(5);
    while !gripper.exchange(Some(0.0)).expect("said").object {
        assert!(Instant::now() < end);
    }
    let status = gripper.status().expect("said");
    assert_eq!((status.object, status.position), (Object::Closing, 190));
    assert_eq!(status.requested, 255, "it goes on pressing");
}

#[test]
fn spoilt_replies_are_survived_and_silence_and_faults_have_words() {
    let bus = GripperBus::start(vec![Fingers::new(9).activated()]);
    let mut gripper = open(&bus).expect("there");
    {
        let mut world = bus.world();
        (world.faults.corrupt, world.faults.cut) = (0.05, 0.05);
        (world.faults.lost, world.faults.echo) = (0.05, 0.2);
    }
    let mut failed = 0;
    for k in 0..150 {
        let opening = 0.5 + 0.4 * f64::from(k % 3 - 1);
        failed += u32::from(gripper.exchange(Some(opening)).is_err());
    }
    assert!(bus.world().seen.spoilt > 30);
    assert!(failed <= 3, "{failed} exchanges failed in spite of retries");
    bus.world().faults = Default::default();
    bus.world().servos[0].fault = 0x0E;
    let state = gripper.exchange(None).expect("said");
    assert!(state.fault.is_some_and(|f| f.contains("too much current")));
    bus.world().unplug(9);
    let error = gripper.exchange(None).expect_err("silent").to_string();
    assert!(
        error.contains("robotiq gripper at /dev/pts") && error.contains("no answer"),
        "{error}"
    );
    drop(gripper);
    let error = open(&bus).expect_err("silent").to_string();
    assert!(error.contains("gripper 9: no answer"), "{error}");
    bus.world().plug(9);
    let slow = Settings {
        baud: 9600,
        ..Settings::default()
    };
    let error = TwoFinger::open(bus.path(), slow).expect_err("rate");
    assert!(error.to_string().contains("baud rate"), "{error}");
}

/// An arm of one joint without a gripper; its state is as it was told.
struct Arm {
    torque: bool,
    switch: bool,
    gripper: bool,
}

impl Device for Arm {
    fn info(&self) -> ArmInfo {
        ArmInfo {
            model: "one".into(),
            joints: vec!["a".into()],
            limits: vec![JointLimits {
                lower: -1.0,
                upper: 1.0,
                velocity: 1.0,
                acceleration: 1.0,
                jerk: 1.0,
            }],
            gripper: self.gripper,
            state_rate_hz: 500.0,
            brakes: true,
            torque_switch: self.switch,
            command_deadline_secs: 0.1,
            geometry: None,
        }
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        Ok(JointState {
            captured_at: now,
            seq: 0,
            epoch: 1,
            q: JointVec::zeros(1),
            dq: JointVec::zeros(1),
            opening: 0.0,
            torque: self.torque,
        })
    }

    fn apply(&mut self, _: &Goal) -> Result<(), DeviceError> {
        Ok(())
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        self.torque = on;
        Ok(())
    }

    fn step(&mut self, _: Time) -> Result<(), DeviceError> {
        Ok(())
    }
}

const LIMP: Arm = Arm {
    torque: false,
    switch: true,
    gripper: false,
};

struct Ticking {
    device: WithGripper<Arm>,
    ticks: u64,
    opening: f64,
}

impl Ticking {
    fn new(arm: Arm, bus: &GripperBus) -> Self {
        let gripper = open(bus).expect("there");
        let device = WithGripper::start(arm, gripper).expect("both");
        Self {
            device,
            ticks: 0,
            opening: f64::NAN,
        }
    }

    /// Ticks for `millis` with this opening as the goal; the end of the service, where it ends.
    fn run(&mut self, millis: u64, opening: f64) -> Result<(), DeviceError> {
        let until = Instant::now() + Duration::from_millis(millis);
        while Instant::now() < until {
            let goal = Goal {
                q: JointVec::zeros(1),
                dq: JointVec::zeros(1),
                opening,
            };
            self.ticks += 1;
            self.device.apply(&goal)?;
            self.device.step(Time::from_millis(self.ticks))?;
            let state = self.device.state(Time::from_millis(self.ticks))?;
            self.opening = state.opening;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

#[test]
fn an_enabled_arm_activates_its_gripper_and_letting_it_go_leaves_the_grip() {
    let bus = GripperBus::start(vec![Fingers::new(9)]);
    let mut both = Ticking::new(LIMP, &bus);
    assert!(both.device.info().gripper);
    both.run(100, 0.6).expect("served");
    assert_eq!(bus.world().servos[0].moved, 0.0, "starting moves nothing");
    assert!((both.opening - (1.0 - 100.0 / 255.0)).abs() < 1e-9);
    both.device.set_torque(true).expect("enabled");
    both.run(900, 0.6).expect("served");
    assert!(bus.world().servos[0].active, "activated by enabling");
    assert!((both.opening - 1.0).abs() < 0.02, "and left open");
    both.run(1500, 0.2).expect("served");
    assert!((both.opening - 0.2).abs() < 0.02, "{}", both.opening);
    // Letting the arm go leaves the grip.
    both.device.set_torque(false).expect("released");
    both.run(200, 0.9).expect("served");
    assert!((both.opening - 0.2).abs() < 0.02, "{}", both.opening);
}

#[test]
fn a_grip_is_kept_until_another_opening_is_asked_for() {
    let bus = GripperBus::start(vec![Fingers::new(9).activated()]);
    bus.world().servos[0].object = Some(190.0);
    let mut before = open(&bus).expect("there");
    until(&mut before, Some(0.0), |_| {
        bus.world().servos[0].position == 190.0
    });
    drop(before);
    let arm = Arm {
        torque: true,
        switch: false,
        ..LIMP
    };
    let mut both = Ticking::new(arm, &bus);
    // What the arm host asks for first is what it sees: pressing must not stop for that.
    both.run(200, 1.0 - 190.0 / 255.0).expect("served");
    assert_eq!(bus.world().servos[0].out[3], 255);
    both.run(400, 1.0).expect("served");
    assert_eq!(bus.world().servos[0].out[3], 0, "opened when asked");
}

#[test]
fn a_gripper_that_leaves_or_loses_its_activation_ends_the_service_with_its_name() {
    let bus = GripperBus::start(vec![Fingers::new(9).activated()]);
    let mut both = Ticking::new(LIMP, &bus);
    both.device.set_torque(true).expect("enabled");
    both.run(100, 0.5).expect("served");
    both.run(100, 0.4).expect("served");
    bus.world().plug(9);
    let error = both.run(1000, 0.4).expect_err("noticed").to_string();
    assert!(
        error.contains("robotiq gripper") && error.contains("is not active"),
        "{error}"
    );
    let still = bus.world().servos[0].moved;
    drop(both);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(bus.world().servos[0].moved, still, "nobody activated it");
    drop(bus);

    let bus = GripperBus::start(vec![Fingers::new(9).activated()]);
    let mut both = Ticking::new(LIMP, &bus);
    both.run(100, 0.5).expect("served");
    bus.world().unplug(9);
    let left = Instant::now();
    let error = both.run(3000, 0.5).expect_err("noticed").to_string();
    println!("silent gripper: {:?}: {error}", left.elapsed());
    assert!(
        error.contains("robotiq gripper") && error.contains("no answer"),
        "{error}"
    );
    assert!(left.elapsed() < Duration::from_millis(1500));
}

#[test]
fn arms_that_cannot_have_it_are_refused() {
    let start = |arm, bus: &GripperBus| {
        let refused = WithGripper::start(arm, open(bus).expect("there")).err();
        refused.expect("refused").to_string()
    };
    let bus = GripperBus::start(vec![Fingers::new(9)]);
    let own = Arm {
        gripper: true,
        ..LIMP
    };
    assert!(start(own, &bus).contains("the arm `one` has a gripper of its own"));
    let unswitched = Arm {
        torque: true,
        switch: false,
        ..LIMP
    };
    let refused = start(unswitched, &bus);
    assert!(
        refused.contains("not activated") && refused.contains("tactus device gripper activate"),
        "{refused}"
    );
    bus.world().servos[0] = Fingers::new(9).activated();
    bus.world().servos[0].fault = 0x08;
    assert!(start(LIMP, &bus).contains("too hot"));
}
