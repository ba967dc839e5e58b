//! The driver on emulated servos: rate, spoilt replies, servos that leave, torque, and every refusal.

mod emulator;

use std::path::Path;
use std::time::{Duration, Instant};

use emulator::{Servo, ServoBus};
use tactus_drivers_api::servo::{
    ArmError, Bench, Bus, Calibration, Part, Replies, ServoCalibration,
};
use tactus_drivers_api::{Device, Goal, Line};
use tactus_feetech::arm::{FAMILY, MOTORS, servos as named};
use tactus_feetech::{Model, ServoArm};
use tactus_types::{JointState, JointVec, Time};

const BAUD: u32 = 1_000_000;

fn calibration() -> Calibration {
    let servo = |id: u8| ServoCalibration {
        id,
        drive_mode: 0,
        homing_offset: 40 - 10 * i32::from(id),
        range_min: 1000,
        range_max: 3000,
    };
    let servos = MOTORS.iter().zip(1..);
    Calibration {
        servos: servos.map(|(m, id)| ((*m).to_owned(), servo(id))).collect(),
    }
}

/// Servos that hold the calibration and LeRobot's configuration.
fn servos() -> Vec<Servo> {
    let servo = |id: u8| Servo::new(id).calibrated(40 - 10 * i32::from(id), 1000, 3000);
    let mut servos: Vec<Servo> = (1..=6).map(servo).collect();
    let gripper = servos.remove(5);
    // Maximum torque 500, protection current 250, overload torque 25.
    servos.push(
        gripper
            .with(16, 0xF4)
            .with(17, 1)
            .with(28, 250)
            .with(29, 0)
            .with(36, 25),
    );
    servos
}

fn open(bus: &ServoBus) -> Result<Bench, ArmError> {
    opened(bus.path(), Part::Follower)
}

fn opened(path: &Path, part: Part) -> Result<Bench, ArmError> {
    Bench::open(&FAMILY, path, BAUD, named(&calibration(), part))
}

struct Clocked {
    arm: ServoArm,
    zero: Instant,
}

impl Clocked {
    fn start(bus: &ServoBus) -> Self {
        let bench = open(bus).expect("servos");
        let arm = ServoArm::start(
            bench,
            Model::So101,
            Part::Follower,
            100.0,
            Time::from_millis(1000),
        );
        Self {
            arm: arm.expect("an arm"),
            zero: Instant::now() - Duration::from_millis(1000),
        }
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.zero.elapsed().as_nanos() as u64)
    }

    /// One tick of a device shell.
    fn tick(&mut self, goal: &Goal) -> Result<JointState, String> {
        let now = self.now();
        self.arm.apply(goal).map_err(|e| e.to_string())?;
        self.arm.step(now).map_err(|e| e.to_string())?;
        self.arm.state(now).map_err(|e| e.to_string())
    }
}

fn goal(rad: f64, opening: f64) -> Goal {
    Goal {
        q: JointVec::from_fn(5, |_| rad),
        dq: JointVec::zeros(5),
        opening,
    }
}

fn refusal(servos: Vec<Servo>) -> String {
    let bus = ServoBus::start(servos);
    let now = Time::from_millis(1);
    let served =
        open(&bus).and_then(|b| ServoArm::start(b, Model::So101, Part::Follower, 100.0, now));
    let refused = served.expect_err("refused").to_string();
    assert!(
        refused.contains(&bus.path().display().to_string()),
        "{refused}"
    );
    assert!(!refused.contains('\n'), "{refused}");
    assert!(bus.world().servos.iter().all(|s| !s.torque()), "no torque");
    refused
}

#[test]
fn six_servos_are_written_and_read_a_hundred_times_a_second() {
    let bus = ServoBus::start(servos());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    let mut lengths = Vec::new();
    let began = Instant::now();
    const CYCLES: usize = 400;
    for k in 0..CYCLES {
        let at = Instant::now();
        let to = goal(0.3 * (k as f64 * 0.01).sin(), 0.5);
        arm.tick(&to).expect("served");
        lengths.push(at.elapsed());
    }
    let rate = CYCLES as f64 / began.elapsed().as_secs_f64();
    lengths.sort();
    let [p50, p99] = [50, 99].map(|p| lengths[CYCLES * p / 100]);
    // What most cycles take: a machine that stands still for a while says nothing of the line.
    let usual = 1.0 / p50.as_secs_f64();
    println!(
        "six servos written and read: {rate:.0} Hz, p50 {p50:?}, p99 {p99:?}, {:?}",
        bus.world().seen
    );
    assert!(usual >= 100.0, "{usual} Hz");
    let seen = bus.world().seen;
    assert!(seen.sync_reads >= CYCLES as u64 && seen.sync_writes >= CYCLES as u64);
}

#[test]
fn goals_are_reached_in_rad_and_opening() {
    let bus = ServoBus::start(servos());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    let mut state = None;
    for _ in 0..100 {
        state = arm.tick(&goal(-0.5, 0.25)).ok();
    }
    let state = state.expect("a state");
    for q in state.q.iter() {
        assert!((q + 0.5).abs() < 0.001, "{q}");
    }
    assert!((state.opening - 0.25).abs() < 0.001);
    // -0.5 rad is 326 ticks below the middle; the shaft is at that position plus the homing offset.
    let shaft = bus.world().servo(1).encoder;
    assert_eq!(shaft, 2000.0 - 326.0 + 30.0);
}

#[test]
fn spoilt_replies_are_survived() {
    let bus = ServoBus::start(servos());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    for (corrupt, cut, lost, echo) in [
        (0.05, 0.0, 0.0, 0.0),
        (0.0, 0.05, 0.0, 0.0),
        (0.0, 0.0, 0.05, 0.0),
        (0.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, 0.0, 0.3),
        (0.02, 0.02, 0.02, 0.3),
    ] {
        {
            let mut world = bus.world();
            world.faults.corrupt = corrupt;
            world.faults.cut = cut;
            world.faults.lost = lost;
            world.faults.echo = echo;
        }
        let before = bus.world().seen.spoilt;
        let mut oldest = Duration::ZERO;
        for k in 0..150 {
            let rad = 0.2 * (f64::from(k) * 0.02).sin();
            let state = arm
                .tick(&goal(rad, 0.5))
                .unwrap_or_else(|e| panic!("{corrupt} {cut} {lost} {echo}: {e}"));
            oldest = oldest.max(arm.now().since(state.captured_at));
            for q in state.q.iter() {
                assert!(q.abs() < 0.25, "a spoilt reply became a position: {q}");
            }
        }
        let spoilt = bus.world().seen.spoilt - before;
        println!(
            "corrupt {corrupt} cut {cut} lost {lost} echo {echo}: {spoilt} spoilt, oldest state {oldest:?}"
        );
        assert!(spoilt > 10, "{spoilt}");
    }
    println!("{:?}", arm.arm.counts());
}

#[test]
fn an_adapter_that_sends_everything_back_is_no_obstacle() {
    let bus = ServoBus::start(servos());
    bus.world().faults.echo = 1.0;
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    for _ in 0..30 {
        let state = arm.tick(&goal(0.1, 0.5)).expect("served");
        assert!(state.q.iter().all(|q| q.abs() < 0.11));
    }
    assert!(arm.arm.counts().echoes > 30);
}

#[test]
fn a_servo_unplugged_in_motion_ends_the_service_with_its_name_and_the_others_hold() {
    for chain_breaks in [false, true] {
        let bus = ServoBus::start(servos());
        bus.world().faults.chain_breaks = chain_breaks;
        let mut arm = Clocked::start(&bus);
        arm.arm.set_torque(true).expect("torque");
        for k in 0..50 {
            arm.tick(&goal(0.01 * f64::from(k), 0.5)).expect("served");
        }
        bus.world().unplug(3);
        let left = Instant::now();
        let error = loop {
            match arm.tick(&goal(0.5, 0.5)) {
                Ok(state) => {
                    assert!(arm.now().since(state.captured_at) < Duration::from_millis(400))
                }
                Err(e) => break e,
            }
        };
        let took = left.elapsed();
        println!("chain breaks: {chain_breaks}: {took:?}: {error}");
        assert!(
            error.contains("servo 3 (`elbow_flex`) has not answered"),
            "{error}"
        );
        assert!(!error.contains("more"), "{error}");
        assert!(took < Duration::from_millis(400), "{took:?}");
        drop(arm);
        assert!(
            bus.world()
                .servos
                .iter()
                .filter(|s| s.id() != 3)
                .all(Servo::torque)
        );
    }
}

#[test]
fn an_adapter_that_is_unplugged_ends_the_service() {
    let bus = ServoBus::start(servos());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    arm.tick(&goal(0.0, 0.5)).expect("served");
    let path = bus.path().display().to_string();
    drop(bus);
    let error = (0..100).find_map(|_| arm.tick(&goal(0.0, 0.5)).err());
    let error = error.expect("noticed");
    println!("{error}");
    assert!(
        error.contains("the port failed") && error.contains(&path),
        "{error}"
    );
}

#[test]
fn a_servo_that_lost_its_power_for_a_moment_is_named() {
    let bus = ServoBus::start(servos());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    arm.tick(&goal(0.0, 0.5)).expect("served");
    bus.world().plug(2);
    bus.world().servo(2).memory[40] = 0;
    let mut outcome = Ok(());
    for _ in 0..40 {
        // A goal would switch torque on in this emulator: the host holds still.
        let now = arm.now();
        outcome = arm.arm.state(now).map(drop).map_err(|e| e.to_string());
        if outcome.is_err() {
            break;
        }
    }
    let error = outcome.expect_err("noticed");
    assert!(
        error.contains("servo 2 (`shoulder_lift`) has lost its torque"),
        "{error}"
    );
}

#[test]
fn a_servo_that_protects_itself_is_named() {
    let bus = ServoBus::start(servos());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    bus.world().servo(4).alarms = 0x20;
    let mut outcome = Ok(());
    for _ in 0..10 {
        outcome = arm.tick(&goal(0.0, 0.5)).map(drop);
        if outcome.is_err() {
            break;
        }
    }
    let error = outcome.expect_err("noticed");
    assert!(
        error.contains("servo 4 (`wrist_flex`) protects itself (overload)"),
        "{error}"
    );
    drop(arm);
    assert!(
        bus.world().servos.iter().all(Servo::torque),
        "torque is never dropped by itself"
    );
}

#[test]
fn torque_finds_the_arm_where_it_is_and_nothing_moves() {
    let bus = ServoBus::start(servos());
    for (servo, shift) in bus
        .world()
        .servos
        .iter_mut()
        .zip([-300.0, 200.0, 0.0, 500.0, -700.0, 100.0])
    {
        servo.encoder += shift;
        // A goal left over from before.
        servo.set(42, 2900);
    }
    let mut arm = Clocked::start(&bus);
    let before: Vec<f64> = bus.world().servos.iter().map(|s| s.encoder).collect();
    // Without torque no goal is written, whatever is asked for.
    for _ in 0..5 {
        let state = arm.tick(&goal(1.0, 1.0)).expect("served");
        assert!(!state.torque);
    }
    assert!(
        bus.world()
            .servos
            .iter()
            .all(|s| !s.torque() && s.word(42) == 2900)
    );
    let began = Instant::now();
    arm.arm.set_torque(true).expect("torque");
    println!("torque on within {:?}", began.elapsed());
    for _ in 0..20 {
        let now = arm.now();
        assert!(arm.arm.state(now).expect("served").torque);
    }
    let after: Vec<f64> = bus.world().servos.iter().map(|s| s.encoder).collect();
    assert_eq!(before, after);
    assert!(
        bus.world()
            .servos
            .iter()
            .all(|s| s.torque() && s.memory[41] == 254)
    );
    drop(arm);
    assert!(
        bus.world().servos.iter().all(Servo::torque),
        "the end of the process changes nothing"
    );
}

#[test]
fn an_arm_that_lies_outside_its_range_gets_no_torque() {
    let bus = ServoBus::start(servos());
    bus.world().servo(2).encoder = 700.0;
    let mut arm = Clocked::start(&bus);
    let error = arm.arm.set_torque(true).expect_err("refused").to_string();
    assert!(
        error.contains(
            "servo 2 (`shoulder_lift`) is at 680, outside its calibrated range 1000 to 3000"
        ),
        "{error}"
    );
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

#[test]
fn an_arm_with_torque_is_taken_over_as_it_is_and_let_go_when_asked() {
    let bus = ServoBus::start(servos());
    let mut first = Clocked::start(&bus);
    first.arm.set_torque(true).expect("torque");
    drop(first);
    let mut second = Clocked::start(&bus);
    assert!(second.tick(&goal(0.0, 0.5)).expect("served").torque);
    second.arm.set_torque(false).expect("off");
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
    assert!(!second.tick(&goal(0.0, 0.5)).expect("served").torque);
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

#[test]
fn a_leader_never_has_torque() {
    let bus = ServoBus::start(servos());
    let leader = || opened(bus.path(), Part::Leader).expect("servos");
    let start = |bench| {
        ServoArm::start(
            bench,
            Model::So101,
            Part::Leader,
            100.0,
            Time::from_millis(1),
        )
    };
    bus.world().servo(5).memory[40] = 1;
    let refused = start(leader()).expect_err("torque").to_string();
    assert!(
        refused.contains("servo 5 (`wrist_roll`) has torque on, and a leader is moved by hand"),
        "{refused}"
    );
    leader().torque_off().expect("released");
    let mut arm = start(leader()).expect("a leader");
    assert!(!arm.info().torque_switch && arm.set_torque(true).is_err());
    arm.apply(&goal(1.0, 1.0)).expect("ignored");
    bus.world().servo(1).encoder += 100.0;
    let state = arm.state(Time::from_millis(2)).expect("served");
    assert!(!state.torque && state.q[0] > 0.15);
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

#[test]
fn the_calibration_of_another_arm_is_refused_by_register_and_set_up_mends_it() {
    let mut other = servos();
    other[1] = Servo::new(2).calibrated(123, 900, 3100);
    let refused = refusal(other.clone());
    assert!(
        refused.contains("servo 2 (`shoulder_lift`): register HOMING_OFFSET holds 123, expected 20 (and 2 more differ)"),
        "{refused}"
    );
    let bus = ServoBus::start(other);
    let mut bench = open(&bus).expect("servos");
    bus.world().servo(6).memory[40] = 1;
    let refused = bench.set_up().expect_err("torque").to_string();
    assert!(
        refused.contains("servo 6 (`gripper`) has torque on"),
        "{refused}"
    );
    assert_eq!(
        bus.world().servo(2).homing_offset(),
        123,
        "nothing was written"
    );
    bus.world().servo(6).memory[40] = 0;
    let changed = bench.set_up().expect("set up");
    assert_eq!(changed.len(), 3, "{changed:?}");
    assert_eq!(bench.mismatches().expect("read"), []);
    assert_eq!(bench.calibration().expect("read"), calibration());
    bus.world().unplug(2);
    bus.world().plug(2);
    assert_eq!(
        bus.world().servo(2).homing_offset(),
        20,
        "it survives power-off"
    );
    assert!(
        ServoArm::start(
            bench,
            Model::So101,
            Part::Follower,
            100.0,
            Time::from_millis(1)
        )
        .is_ok()
    );
}

#[test]
fn a_servo_in_another_mode_or_counting_turns_is_refused() {
    let mut wheel = servos();
    wheel[2] = wheel[2].clone().with(33, 1);
    assert!(
        refusal(wheel)
            .contains("servo 3 (`elbow_flex`): register OPERATING_MODE holds 1, expected 0")
    );
    let mut turns = servos();
    turns[0] = turns[0].clone().with(18, 0x1C);
    assert!(
        refusal(turns).contains("servo 1 (`shoulder_pan`): register PHASE holds 28, expected 0")
    );
}

#[test]
fn wrong_baud_wrong_model_missing_and_doubled_servos_are_named() {
    let slow = servos().into_iter().map(|s| s.with(6, 4)).collect();
    let refused = refusal(slow);
    assert!(
        refused.contains("no servo answers at 1000000 baud, but servo 1 (`shoulder_pan`) does at 115200: set device.baud = 115200"),
        "{refused}"
    );
    let refused = refusal(vec![]);
    assert!(
        refused.contains("no servo answers at 1000000 baud or any other"),
        "{refused}"
    );
    let mut wrong = servos();
    wrong[4] = wrong[4].clone().with(3, 0x09).with(4, 0x0B);
    let refused = refusal(wrong);
    assert!(
        refused.contains("servo 5 (`wrist_roll`) has model number 2825, expected 777"),
        "{refused}"
    );
    let mut missing = servos();
    missing.remove(3);
    let refused = refusal(missing);
    assert!(
        refused.contains("servo 4 (`wrist_flex`): no answer"),
        "{refused}"
    );
    for in_turn in [false, true] {
        let mut twins = servos();
        let mut twin = twins[2].clone();
        twin.encoder += 333.0;
        twins.push(twin);
        let bus = ServoBus::start(twins);
        bus.world().faults.in_turn = in_turn;
        let refused = open(&bus).expect_err("two").to_string();
        assert!(
            refused.contains("servo 3 (`elbow_flex`)") && refused.contains("two servos"),
            "{refused}"
        );
    }
}

#[test]
fn an_arm_has_one_owner_whatever_the_port_is_called() {
    let bus = ServoBus::start(servos());
    let dir = tempfile::tempdir().expect("a folder");
    let name = dir.path().join("by-id");
    std::os::unix::fs::symlink(bus.path(), &name).expect("a link");
    let first = open(&bus).expect("servos");
    let second = |path: &Path| opened(path, Part::Follower);
    let refused = second(&name).expect_err("taken").to_string();
    assert!(refused.contains("in use by process"), "{refused}");
    drop(first);
    assert!(second(&name).is_ok());
}

/// A line on which something always comes.
struct Babble;

impl Line for Babble {
    fn discard(&mut self) -> std::io::Result<()> {
        Ok(())
    }
    fn send(&mut self, _: &[u8]) -> std::io::Result<()> {
        Ok(())
    }
    fn receive(&mut self, into: &mut [u8], _: Duration) -> std::io::Result<usize> {
        into[0] = 0x55;
        Ok(1)
    }
    fn set_baud(&mut self, _: u32) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_line_that_never_falls_silent_is_given_up_and_its_servos_are_missing() {
    let (done, result) = std::sync::mpsc::sync_channel(1);
    let ask = move || {
        let mut bus = Bus::new(&FAMILY, Box::new(Babble), BAUD);
        let mut replies = Replies::default();
        let register = FAMILY.present_position;
        let ids = [1, 2, 3, 4, 5, 6];
        let read = bus.sync_read(register.address, register.bytes, &ids, &mut replies);
        let there = (0..ids.len()).filter(|i| replies.get(*i).is_some()).count();
        let one = bus.read(1, register).map_err(|e| e.to_string());
        let _ = done.send((read.is_ok(), there, one, bus.counts().missing));
    };
    let thread = std::thread::Builder::new().spawn(ask);
    thread.expect("a thread");
    let outcome = result.recv_timeout(Duration::from_secs(10));
    let (read, there, one, missing) = outcome.expect("given up");
    assert!(read && there == 0 && one.is_err(), "{there} {one:?}");
    // All six, each of them once more, and one by itself, three times.
    assert_eq!(missing, 6 + 6 + 3);
}
