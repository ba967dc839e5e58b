//! The driver on emulated servos: rate, spoilt replies, servos and adapters that leave.

mod bench;
mod emulator;

use std::time::{Duration, Instant};

use bench::{Clocked, goal, goal_of, koch, servos};
use emulator::{Servo, ServoBus};
use tactus_drivers_api::Device;
use tactus_drivers_api::servo::Part;
use tactus_dynamixel::Model;

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
