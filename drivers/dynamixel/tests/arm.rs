//! The driver on emulated servos: rate, spoilt replies, servos that leave, torque, watchdogs, shadows, and every refusal.

mod emulator;

use std::path::Path;
use std::time::{Duration, Instant};

use emulator::{Servo, ServoBus};
use tactus_drivers_api::servo::{ArmError, Bench, Calibration, Part};
use tactus_drivers_api::{Device, Goal};
use tactus_dynamixel::arm::{FAMILY, servos as named};
use tactus_dynamixel::device::Options;
use tactus_dynamixel::{DynamixelArm, Model};
use tactus_types::{JointState, JointVec, Time};

const BAUD: u32 = 1_000_000;
const OPTIONS: Options = Options {
    rate_hz: 100.0,
    watchdog_millis: 200,
    gripper_current_ma: 500.0,
};

/// Each servo has its own offset; shadows are turned around.
fn calibration(model: Model) -> Calibration {
    let mut calibration = Calibration::unknown(&model.motors());
    for (name, servo) in &mut calibration.servos {
        (servo.range_min, servo.range_max) = (1000, 3000);
        servo.homing_offset = 40 - 10 * i32::from(servo.id);
        servo.drive_mode = u8::from(name.ends_with("_shadow"));
    }
    calibration
}

/// Servos that hold that calibration and the configuration, as `tactus device setup` leaves them.
fn servos(model: Model, part: Part) -> Vec<Servo> {
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

fn koch() -> Vec<Servo> {
    servos(Model::Koch, Part::Follower)
}

fn opened(path: &Path, model: Model, part: Part) -> Result<Bench, ArmError> {
    let servos = named(model, part, &calibration(model), OPTIONS.gripper_current_ma);
    Bench::open(&FAMILY, path, BAUD, servos)
}

fn open(bus: &ServoBus) -> Result<Bench, ArmError> {
    opened(bus.path(), Model::Koch, Part::Follower)
}

struct Clocked {
    arm: DynamixelArm,
    zero: Instant,
}

impl Clocked {
    fn start_of(bus: &ServoBus, model: Model) -> Self {
        let bench = opened(bus.path(), model, Part::Follower).expect("servos");
        let zero = Instant::now() - Duration::from_millis(1000);
        let now = Time::from_millis(1000);
        let arm = DynamixelArm::start(bench, model, Part::Follower, OPTIONS, now);
        Self {
            arm: arm.expect("an arm"),
            zero,
        }
    }

    fn start(bus: &ServoBus) -> Self {
        Self::start_of(bus, Model::Koch)
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

    /// Ticks until it fails; the error.
    fn until_it_ends(&mut self, goal: &Goal) -> String {
        (0..200)
            .find_map(|_| self.tick(goal).err())
            .expect("noticed")
    }
}

fn goal(rad: f64, opening: f64) -> Goal {
    goal_of(5, rad, opening)
}

fn goal_of(joints: usize, rad: f64, opening: f64) -> Goal {
    Goal {
        q: JointVec::from_fn(joints, |_| rad),
        dq: JointVec::zeros(joints),
        opening,
    }
}

fn refusal(model: Model, servos: Vec<Servo>) -> String {
    let bus = ServoBus::start(servos);
    let now = Time::from_millis(1);
    let served = opened(bus.path(), model, Part::Follower)
        .and_then(|b| DynamixelArm::start(b, model, Part::Follower, OPTIONS, now));
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
fn six_and_nine_servos_are_written_and_read_a_hundred_times_a_second() {
    for (model, joints) in [(Model::Koch, 5), (Model::ViperX, 6)] {
        let bus = ServoBus::start(servos(model, Part::Follower));
        let mut arm = Clocked::start_of(&bus, model);
        arm.arm.set_torque(true).expect("torque");
        let mut lengths = Vec::new();
        let began = Instant::now();
        const CYCLES: usize = 400;
        for k in 0..CYCLES {
            let at = Instant::now();
            let to = goal_of(joints, 0.3 * (k as f64 * 0.01).sin(), 0.5);
            arm.tick(&to).expect("served");
            lengths.push(at.elapsed());
        }
        let rate = CYCLES as f64 / began.elapsed().as_secs_f64();
        lengths.sort();
        let [p50, p99] = [50, 99].map(|p| lengths[CYCLES * p / 100]);
        // What most cycles take: a machine that stands still for a while says nothing of the line.
        let usual = 1.0 / p50.as_secs_f64();
        let seen = bus.world().seen;
        println!(
            "{}: {} servos written and read: {rate:.0} Hz, p50 {p50:?}, p99 {p99:?}, {seen:?}",
            model.name(),
            model.motors().len(),
        );
        assert!(usual >= 100.0, "{usual} Hz");
        assert!(seen.sync_reads >= CYCLES as u64 && seen.sync_writes >= CYCLES as u64);
    }
}

#[test]
fn goals_are_reached_in_rad_and_opening() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    let mut state = None;
    for _ in 0..150 {
        state = arm.tick(&goal(-0.5, 0.25)).ok();
    }
    let state = state.expect("a state");
    for q in state.q.iter() {
        assert!((q + 0.5).abs() < 0.001, "{q}");
    }
    assert!((state.opening - 0.25).abs() < 0.001);
    // -0.5 rad is 326 ticks below the middle; the shaft is there minus the homing offset.
    assert_eq!(bus.world().servo(1).shaft, 2000.0 - 326.0 - 30.0);
}

#[test]
fn spoilt_replies_are_survived() {
    let bus = ServoBus::start(koch());
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
            assert!(state.torque, "{corrupt} {cut} {lost} {echo}");
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
    let bus = ServoBus::start(koch());
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
    for (model, id, name, chain_breaks) in [
        (Model::Koch, 3, "elbow_flex", false),
        (Model::Koch, 3, "elbow_flex", true),
        (Model::ViperX, 5, "elbow_shadow", false),
    ] {
        let joints = if model == Model::Koch { 5 } else { 6 };
        let bus = ServoBus::start(servos(model, Part::Follower));
        bus.world().faults.chain_breaks = chain_breaks;
        let mut arm = Clocked::start_of(&bus, model);
        arm.arm.set_torque(true).expect("torque");
        for k in 0..50 {
            arm.tick(&goal_of(joints, 0.01 * f64::from(k), 0.5))
                .expect("served");
        }
        bus.world().unplug(id);
        let left = Instant::now();
        let error = arm.until_it_ends(&goal_of(joints, 0.5, 0.5));
        let took = left.elapsed();
        println!("chain breaks: {chain_breaks}: {took:?}: {error}");
        let wanted = format!("servo {id} (`{name}`) has not answered");
        assert!(
            error.contains(&wanted) && !error.contains("more"),
            "{error}"
        );
        assert!(took < Duration::from_millis(600), "{took:?}");
        drop(arm);
        let mut others = bus.world().servos.clone();
        others.retain(|s| s.id() != id);
        assert!(others.iter().all(Servo::torque));
    }
}

#[test]
fn a_machine_that_stood_still_for_one_cycle_is_no_departure_of_servos() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.tick(&goal(0.0, 0.5)).expect("served");
    bus.world().faults.lost = 1.0;
    arm.zero -= Duration::from_millis(300);
    arm.tick(&goal(0.0, 0.5))
        .expect("one cycle without answers");
    bus.world().faults.lost = 0.0;
    arm.tick(&goal(0.0, 0.5)).expect("served again");
    bus.world().faults.lost = 1.0;
    let error = arm.until_it_ends(&goal(0.0, 0.5));
    assert!(error.contains("neither does any other"), "{error}");
}

#[test]
fn an_adapter_that_is_unplugged_ends_the_service() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    arm.tick(&goal(0.0, 0.5)).expect("served");
    let path = bus.path().display().to_string();
    drop(bus);
    let error = arm.until_it_ends(&goal(0.0, 0.5));
    assert!(
        error.contains("the port failed") && error.contains(&path),
        "{error}"
    );
}

#[test]
fn a_servo_that_lost_its_power_for_a_moment_is_named() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    arm.tick(&goal(0.0, 0.5)).expect("served");
    bus.world().plug(2);
    let error = arm.until_it_ends(&goal(0.0, 0.5));
    assert!(
        error.contains("servo 2 (`shoulder_lift`) has lost its torque"),
        "{error}"
    );
}

#[test]
fn a_servo_that_protects_itself_is_named_and_gets_no_torque_until_its_power_was_off() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    arm.tick(&goal(0.0, 0.5)).expect("served");
    bus.world().servo(4).fail(0x20);
    let error = arm.until_it_ends(&goal(0.0, 0.5));
    assert!(
        error.contains("servo 4 (`wrist_flex`) protects itself (overload)"),
        "{error}"
    );
    drop(arm);
    let others = bus.world().servos.clone();
    assert!(others.iter().filter(|s| s.id() != 4).all(Servo::torque));
    let mut again = Clocked::start(&bus);
    let refused = again.arm.set_torque(true).expect_err("refused").to_string();
    assert!(
        refused
            .contains("servo 4 (`wrist_flex`) protects itself (overload) until its power was off"),
        "{refused}"
    );
    bus.world().plug(4);
    again.arm.set_torque(true).expect("torque");
}

#[test]
fn torque_finds_the_arm_where_it_is_and_nothing_moves() {
    let bus = ServoBus::start(koch());
    for (servo, shift) in bus
        .world()
        .servos
        .iter_mut()
        .zip([-300, 200, 0, 500, -700, 100])
    {
        servo.go_to(2000 + shift);
        // A goal left over from before.
        servo.set(116, 4, 2900);
    }
    let mut arm = Clocked::start(&bus);
    let before: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    // Without torque no goal is written, whatever is asked for.
    for _ in 0..5 {
        let state = arm.tick(&goal(1.0, 1.0)).expect("served");
        assert!(!state.torque);
    }
    let limp = |s: &Servo| !s.torque() && s.goal() == 2900 && s.memory[98] == 0;
    assert!(bus.world().servos.iter().all(limp));
    let began = Instant::now();
    arm.arm.set_torque(true).expect("torque");
    println!("torque on within {:?}", began.elapsed());
    for _ in 0..20 {
        let now = arm.now();
        assert!(arm.arm.state(now).expect("served").torque);
    }
    let after: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    assert_eq!(before, after);
    let world = bus.world();
    // 200 ms in units of 20; no ramp of their own.
    let set = |s: &Servo| s.memory[98] == 10 && s.get(108, 4) == 0 && s.get(112, 4) == 0;
    assert!(world.servos.iter().all(|s| s.torque() && set(s)));
    let gains = |s: &Servo| (s.get(80, 2), s.get(82, 2), s.get(84, 2));
    assert_eq!(gains(&world.servos[2]), (600, 0, 1500));
    assert_eq!(gains(&world.servos[1]), (0, 0, 800));
    assert_eq!(world.servos[5].get(102, 2), 500, "current of the gripper");
    drop(world);
    drop(arm);
    assert!(
        bus.world().servos.iter().all(Servo::torque),
        "the end of the process changes nothing"
    );
}

#[test]
fn a_bus_watchdog_that_tripped_is_reported_and_only_enabling_clears_it() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    for servo in &mut bus.world().servos {
        servo.speed = 500.0;
    }
    for _ in 0..20 {
        assert!(arm.tick(&goal(1.2, 0.5)).expect("served").torque);
    }
    // The process is stopped in motion: nothing is on the bus.
    std::thread::sleep(Duration::from_millis(260));
    let mut state = arm.tick(&goal(0.8, 0.5)).expect("served");
    let stopped: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    for _ in 0..10 {
        state = arm.tick(&goal(0.8, 0.5)).expect("served");
    }
    assert!(!state.torque, "as without torque");
    let tripped = |s: &Servo| s.memory[98] == 0xFF && s.torque();
    assert!(bus.world().servos.iter().all(tripped), "and they hold");
    for _ in 0..50 {
        assert!(!arm.tick(&goal(0.8, 0.5)).expect("served").torque);
    }
    let held: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    assert_eq!(held, stopped, "nothing moves, and nothing clears it");
    drop(arm);

    // The next process finds them so.
    let mut again = Clocked::start(&bus);
    assert!(!again.tick(&goal(0.8, 0.5)).expect("served").torque);
    again.arm.set_torque(true).expect("torque");
    let after: Vec<f64> = bus.world().servos.iter().map(|s| s.shaft).collect();
    for (held, after) in held.iter().zip(&after) {
        assert!(
            (held - after).abs() <= 12.0,
            "{held} {after}: towards the old goal"
        );
    }
    let here = again.arm.state(again.now()).expect("served").q[0];
    for _ in 0..60 {
        assert!(again.tick(&goal(here, 0.5)).expect("served").torque);
    }
    assert!(bus.world().servos.iter().all(|s| s.memory[98] == 10));
}

#[test]
fn letting_go_also_puts_the_watchdogs_away() {
    let bus = ServoBus::start(koch());
    let mut arm = Clocked::start(&bus);
    arm.arm.set_torque(true).expect("torque");
    arm.tick(&goal(0.0, 0.5)).expect("served");
    arm.arm.set_torque(false).expect("off");
    let limp = |s: &Servo| !s.torque() && s.memory[98] == 0;
    assert!(bus.world().servos.iter().all(limp));
    assert!(!arm.tick(&goal(0.3, 0.5)).expect("served").torque);
}

#[test]
fn an_arm_that_lies_outside_its_range_gets_no_torque() {
    let bus = ServoBus::start(koch());
    bus.world().servo(2).go_to(680);
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
fn a_servo_that_counts_another_turn_is_where_it_is() {
    let bus = ServoBus::start(koch());
    {
        let mut world = bus.world();
        // Powered up beyond the end of its encoder: the same place, a turn away.
        world.servo(3).go_to(1500 + 4096);
        world.servo(4).go_to(2500 - 4096);
    }
    let mut arm = Clocked::start(&bus);
    let before = bus.world().servo(3).shaft;
    arm.arm.set_torque(true).expect("torque");
    let state = arm.arm.state(arm.now()).expect("served");
    assert!((state.q[2] + 0.767).abs() < 0.002, "{:?}", state.q);
    assert!((state.q[3] - 0.767).abs() < 0.002, "{:?}", state.q);
    assert_eq!(bus.world().servo(3).shaft, before);
    for _ in 0..150 {
        arm.tick(&goal(0.0, 0.5)).expect("served");
    }
    assert_eq!(bus.world().servo(3).present(), 2000 + 4096);
    assert_eq!(bus.world().servo(4).present(), 2000 - 4096);
}

#[test]
fn both_motors_of_a_joint_go_together_or_not_at_all() {
    let bus = ServoBus::start(servos(Model::ViperX, Part::Follower));
    let mut arm = Clocked::start_of(&bus, Model::ViperX);
    arm.arm.set_torque(true).expect("torque");
    for _ in 0..150 {
        arm.tick(&goal_of(6, 0.3, 0.5)).expect("served");
    }
    {
        let mut world = bus.world();
        for (main, shadow) in [(2, 3), (4, 5)] {
            let at = world.servo(main).present();
            assert_eq!(at, 2196);
            assert!(world.servo(shadow).torque());
            assert_eq!(world.servo(shadow).present(), at);
        }
        assert_eq!(world.servo(9).get(102, 2), 186, "500 mA of 2.69");
    }
    arm.arm.set_torque(false).expect("off");
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
    // One of the two counts another turn.
    bus.world().servo(3).go_to(2196 + 4096);
    let error = arm.arm.set_torque(true).expect_err("refused").to_string();
    assert!(
        error.contains("servo 3 (`shoulder_shadow`) is at 6292 and servo 2 (`shoulder`), of the same joint, at 2196"),
        "{error}"
    );
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

#[test]
fn a_shadow_that_shadows_nobody_or_another_is_refused() {
    for (id, secondary, name) in [(3, 255, "shoulder_shadow"), (5, 2, "elbow_shadow")] {
        let mut viperx = servos(Model::ViperX, Part::Follower);
        let index = usize::from(id as u8) - 1;
        viperx[index] = viperx[index].clone().with(12, 1, secondary);
        let refused = refusal(Model::ViperX, viperx);
        let wanted = format!(
            "servo {id} (`{name}`): register SECONDARY_ID holds {secondary}, expected {}",
            id - 1
        );
        assert!(refused.contains(&wanted), "{refused}");
    }
    // A servo that is nobody's second motor, and obeys another.
    let mut strayed = koch();
    strayed[3] = strayed[3].clone().with(12, 1, 1);
    let refused = refusal(Model::Koch, strayed);
    assert!(
        refused.contains("servo 4 (`wrist_flex`): register SECONDARY_ID holds 1, expected 255"),
        "{refused}"
    );
}

#[test]
fn an_arm_with_torque_is_taken_over_as_it_is_and_let_go_when_asked() {
    let bus = ServoBus::start(koch());
    let mut first = Clocked::start(&bus);
    first.arm.set_torque(true).expect("torque");
    drop(first);
    let mut second = Clocked::start(&bus);
    assert!(second.tick(&goal(0.0, 0.5)).expect("served").torque);
    second.arm.set_torque(false).expect("off");
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
    drop(second);
    // Somebody else's torque, with nothing to stop the servos when this process dies.
    for servo in &mut bus.world().servos {
        servo.memory[64] = 1;
    }
    let mut third = Clocked::start(&bus);
    assert!(!third.tick(&goal(0.3, 0.5)).expect("served").torque);
    assert!(bus.world().servos.iter().all(|s| s.present() == 2000));
    third.arm.set_torque(true).expect("torque");
    assert!(bus.world().servos.iter().all(|s| s.memory[98] == 10));
}

#[test]
fn a_leader_never_has_torque() {
    let bus = ServoBus::start(servos(Model::Koch, Part::Leader));
    let leader = || opened(bus.path(), Model::Koch, Part::Leader).expect("servos");
    let start = |bench| {
        DynamixelArm::start(
            bench,
            Model::Koch,
            Part::Leader,
            OPTIONS,
            Time::from_millis(1),
        )
    };
    bus.world().servo(5).memory[64] = 1;
    let refused = start(leader()).expect_err("torque").to_string();
    assert!(
        refused.contains("servo 5 (`wrist_roll`) has torque on, and a leader is moved by hand"),
        "{refused}"
    );
    leader().torque_off().expect("released");
    let mut arm = start(leader()).expect("a leader");
    assert!(!arm.info().torque_switch && arm.set_torque(true).is_err());
    arm.apply(&goal(1.0, 1.0)).expect("ignored");
    bus.world().servo(1).go_to(2100);
    let state = arm.state(Time::from_millis(2)).expect("served");
    assert!(!state.torque && state.q[0] > 0.15);
    assert!(bus.world().servos.iter().all(|s| !s.torque()));
}

#[test]
fn the_calibration_of_another_arm_is_refused_by_register_and_set_up_mends_it() {
    let mut other = koch();
    other[1] = Servo::new(2, 1060).calibrated(123, 900, 3100);
    let refused = refusal(Model::Koch, other.clone());
    assert!(
        refused.contains("servo 2 (`shoulder_lift`): register HOMING_OFFSET holds 123, expected 20 (and 2 more differ)"),
        "{refused}"
    );
    let bus = ServoBus::start(other);
    let mut bench = open(&bus).expect("servos");
    bus.world().servo(6).memory[64] = 1;
    let refused = bench.set_up().expect_err("torque").to_string();
    assert!(
        refused.contains("servo 6 (`gripper`) has torque on"),
        "{refused}"
    );
    assert_eq!(bus.world().servo(2).get(20, 4), 123, "nothing was written");
    bus.world().servo(6).memory[64] = 0;
    let changed = bench.set_up().expect("set up");
    assert_eq!(changed.len(), 3, "{changed:?}");
    assert_eq!(bench.mismatches().expect("read"), []);
    assert_eq!(bench.calibration().expect("read"), calibration(Model::Koch));
    bus.world().plug(2);
    assert_eq!(bus.world().servo(2).get(20, 4), 20, "it survives power-off");
    let now = Time::from_millis(1);
    assert!(DynamixelArm::start(bench, Model::Koch, Part::Follower, OPTIONS, now).is_ok());
}

#[test]
fn set_up_of_a_joint_with_two_motors_leaves_each_with_its_own() {
    // From the factory but for ids and rate; the shadows obey already.
    let numbers = Model::ViperX.numbers(Part::Follower);
    let fresh = (1..).zip(numbers).map(|(id, number)| {
        let servo = Servo::new(id, number);
        match id {
            3 | 5 => servo.with(12, 1, i32::from(id) - 1),
            _ => servo,
        }
    });
    let bus = ServoBus::start(fresh.collect());
    let mut bench = opened(bus.path(), Model::ViperX, Part::Follower).expect("servos");
    bench.set_up().expect("set up");
    assert_eq!(bench.mismatches().expect("read"), []);
    assert_eq!(
        bench.calibration().expect("read"),
        calibration(Model::ViperX)
    );
}

#[test]
fn a_servo_in_another_mode_or_that_gets_torque_by_a_goal_is_refused() {
    let mut wheel = koch();
    wheel[2] = wheel[2].clone().with(11, 1, 1);
    let refused = refusal(Model::Koch, wheel);
    assert!(
        refused.contains("servo 3 (`elbow_flex`): register OPERATING_MODE holds 1, expected 4"),
        "{refused}"
    );
    let mut eager = koch();
    eager[0] = eager[0].clone().with(10, 1, 8);
    let refused = refusal(Model::Koch, eager);
    assert!(
        refused.contains("servo 1 (`shoulder_pan`): register DRIVE_MODE holds 8, expected 0"),
        "{refused}"
    );
}

#[test]
fn wrong_baud_wrong_model_missing_and_doubled_servos_are_named() {
    let slow = koch().into_iter().map(|s| s.with(8, 1, 1)).collect();
    let refused = refusal(Model::Koch, slow);
    assert!(
        refused.contains("no servo answers at 1000000 baud, but servo 1 (`shoulder_pan`) does at 57600: set device.baud = 57600"),
        "{refused}"
    );
    let refused = refusal(Model::Koch, vec![]);
    assert!(
        refused.contains("no servo answers at 1000000 baud or any other"),
        "{refused}"
    );
    let refused = refusal(Model::Koch, servos(Model::Koch, Part::Leader));
    assert!(
        refused
            .contains("servo 1 (`shoulder_pan`) has model number 1190, expected 1060 (XL430-W250)"),
        "{refused}"
    );
    let mut missing = koch();
    missing.remove(3);
    let refused = refusal(Model::Koch, missing);
    assert!(
        refused.contains("servo 4 (`wrist_flex`): no answer"),
        "{refused}"
    );
    for in_turn in [false, true] {
        let mut twins = koch();
        let mut twin = twins[2].clone();
        twin.go_to(2333);
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
    let bus = ServoBus::start(koch());
    let dir = tempfile::tempdir().expect("a folder");
    let name = dir.path().join("by-id");
    std::os::unix::fs::symlink(bus.path(), &name).expect("a link");
    let first = open(&bus).expect("servos");
    let second = || opened(&name, Model::Koch, Part::Follower);
    let refused = second().expect_err("taken").to_string();
    assert!(refused.contains("in use by process"), "{refused}");
    drop(first);
    assert!(second().is_ok());
}
