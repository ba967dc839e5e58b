use tactus_types::Generation;

use super::*;

const DEADLINE: Duration = Duration::from_millis(100);

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn state(epoch: u64, q: f64) -> JointState {
    JointState {
        captured_at: Time::ZERO,
        seq: 0,
        epoch,
        q: JointVec::from_fn(2, |_| q),
        dq: JointVec::zeros(2),
        opening: 1.01,
        torque: true,
    }
}

fn command(epoch: u64, tick: u64, q: f64) -> DeviceCommand {
    DeviceCommand {
        epoch,
        tick,
        q: JointVec::from_fn(2, |_| q),
        dq: JointVec::from_fn(2, |_| 0.1),
        opening: 0.5,
        generation: Generation::default(),
        torque: Torque::Keep,
    }
}

fn gate() -> CommandGate {
    let mut gate = CommandGate::new(2, false, DEADLINE);
    gate.measured(&state(7, 0.3));
    gate
}

fn goal_q(gate: &CommandGate, now: Time) -> f64 {
    gate.goal(now).expect("a goal").q[0]
}

#[test]
fn before_any_command_it_holds_the_pose_first_measured() {
    assert_eq!(CommandGate::new(2, false, DEADLINE).goal(at(0)), None);
    let mut gate = gate();
    gate.measured(&state(7, 0.2));
    assert!(gate.holds(at(1)));
    let goal = gate.goal(at(1)).expect("a goal");
    assert_eq!((goal.q[0], goal.opening), (0.3, 1.0));
}

#[test]
fn without_commands_it_keeps_the_last_goal_at_rest() {
    let mut gate = gate();
    assert_eq!(
        gate.offer(&command(7, 1, 1.0), at(10), at(10)),
        Ok(Torque::Keep)
    );
    assert!(!gate.holds(at(110)) && gate.holds(at(111)));
    assert_eq!(gate.goal(at(110)).map(|g| g.dq[0]), Some(0.1));
    assert_eq!(
        gate.goal(at(111)).map(|g| (g.q[0], g.dq[0], g.opening)),
        Some((1.0, 0.0, 1.0))
    );
}

#[test]
fn a_new_epoch_voids_what_was_commanded() {
    let mut gate = gate();
    assert_eq!(
        gate.offer(&command(7, 5, 1.0), at(10), at(10)),
        Ok(Torque::Keep)
    );
    gate.measured(&state(8, -0.4));
    assert_eq!(goal_q(&gate, at(11)), -0.4);
    assert!(gate.holds(at(11)));
    let refused = gate.offer(&command(7, 6, 1.0), at(12), at(12));
    assert_eq!(
        refused,
        Err(Refused::Epoch {
            expected: 8,
            actual: 7
        })
    );
    assert_eq!(goal_q(&gate, at(12)), -0.4);
    assert_eq!(
        gate.offer(&command(8, 1, 0.0), at(13), at(13)),
        Ok(Torque::Keep)
    );
}

#[test]
fn hostile_commands_change_nothing_and_are_counted() {
    let mut gate = gate();
    assert_eq!(
        gate.offer(&command(7, 5, 1.0), at(10), at(10)),
        Ok(Torque::Keep)
    );
    let mut nan = command(7, 6, 0.0);
    nan.q[1] = f64::NAN;
    let mut infinite = command(7, 6, 0.0);
    infinite.dq[0] = f64::INFINITY;
    let long = DeviceCommand {
        q: JointVec::zeros(3),
        ..command(7, 6, 0.0)
    };
    let wide = DeviceCommand {
        opening: 1.1,
        ..command(7, 6, 0.0)
    };
    let limp = DeviceCommand {
        torque: Torque::Off,
        ..command(7, 6, 0.0)
    };
    for hostile in [
        nan,
        infinite,
        long,
        wide,
        limp,
        command(7, 5, 0.0),
        command(6, 9, 0.0),
    ] {
        assert!(gate.offer(&hostile, at(11), at(11)).is_err());
    }
    assert!(gate.offer(&command(7, 6, 0.0), at(10), at(111)).is_err());
    let expected = Refusals {
        epoch: 1,
        joints: 1,
        numbers: 3,
        limits: 0,
        order: 1,
        torque: 1,
        late: 1,
        wire: 0,
        overflow: 0,
    };
    assert_eq!(gate.refusals(), expected);
    assert_eq!(expected.total(), 8);
    assert_eq!(goal_q(&gate, at(11)), 1.0);
}

#[test]
fn a_restarted_controller_counts_from_one_once_the_device_holds() {
    let mut gate = gate();
    assert_eq!(
        gate.offer(&command(7, 1000, 1.0), at(10), at(10)),
        Ok(Torque::Keep)
    );
    assert!(gate.offer(&command(7, 1, 0.0), at(50), at(50)).is_err());
    assert_eq!(
        gate.offer(&command(7, 1, 0.0), at(120), at(120)),
        Ok(Torque::Keep)
    );
}

#[test]
fn the_goal_follows_a_limp_arm_so_that_torque_finds_it_where_it_is() {
    let mut gate = CommandGate::new(2, true, DEADLINE);
    gate.measured(&state(7, 0.3));
    let off = DeviceCommand {
        torque: Torque::Off,
        ..command(7, 1, 1.0)
    };
    assert_eq!(gate.offer(&off, at(10), at(10)), Ok(Torque::Off));
    let limp = JointState {
        torque: false,
        ..state(7, -0.8)
    };
    gate.measured(&limp);
    assert_eq!(goal_q(&gate, at(11)), -0.8);
    assert!(gate.offer(&command(7, 2, 1.0), at(12), at(12)).is_ok());
    assert_eq!(goal_q(&gate, at(12)), -0.8);
}

#[test]
fn a_goal_outside_the_declared_limits_does_not_count() {
    let limit = JointLimits {
        lower: -1.0,
        upper: 1.0,
        velocity: 1.0,
        acceleration: 1.0,
        jerk: 1.0,
    };
    let mut gate = CommandGate::new(2, false, DEADLINE).within(&[limit; 2]);
    gate.measured(&state(1, 0.2));
    gate.offer(&command(1, 1, 1.0), at(10), at(10))
        .expect("at the limit");
    let refused = gate.offer(&command(1, 2, 1.01), at(20), at(20));
    assert!(
        matches!(refused, Err(Refused::Limits { joint: 0, .. })),
        "{refused:?}"
    );
    assert_eq!(gate.refusals().limits, 1);
    assert_eq!(
        gate.goal(at(20)).map(|g| g.q[0]),
        Some(1.0),
        "what counted stands"
    );
}

fn opening(gate: &CommandGate, now: Time) -> f64 {
    gate.goal(now).expect("a goal").opening
}

/// Offers a command at `millis` that wants `opening`, of the arm host with this boot; what the fingers are told then.
fn told(gate: &mut CommandGate, (boot, tick): (u64, u64), millis: u64, wanted: f64) -> f64 {
    let command = DeviceCommand {
        opening: wanted,
        generation: Generation { boot, count: 0 },
        ..command(7, tick, 0.3)
    };
    gate.offer(&command, at(millis), at(millis))
        .expect("counts");
    opening(gate, at(millis))
}

#[test]
fn a_restarted_commander_leaves_the_grip_as_it_is_until_it_asks_for_another() {
    let mut gate = gate();
    told(&mut gate, (1, 1000), 10, 1.0);
    assert_eq!(told(&mut gate, (1, 1001), 20, 0.0), 0.0);
    // Its fingers met an object at 0.25, which is what the next arm host measures and begins with.
    for (tick, millis) in [(1, 200), (2, 210), (3, 220)] {
        assert_eq!(told(&mut gate, (2, tick), millis, 0.25), 0.0);
    }
    assert_eq!(told(&mut gate, (2, 4), 230, 0.2), 0.2);
    assert_eq!(told(&mut gate, (2, 5), 240, 0.25), 0.25, "it is in command");
    // The same one, after the network was down for a while, goes on; one with the ticks of its predecessor does not.
    assert_eq!(told(&mut gate, (2, 6), 500, 0.3), 0.3);
    assert_eq!(told(&mut gate, (3, 7), 800, 0.28), 0.3);
    // Nor one that does not say who it is.
    assert_eq!(told(&mut gate, (3, 2), 1000, 0.27), 0.3);
    // The joints it does command.
    assert_eq!(goal_q(&gate, at(1000)), 0.3);
}

#[test]
fn enabling_leaves_the_fingers_where_torque_finds_them_whatever_the_rates_and_the_noise() {
    // The device measures every 2 ms, the arm host commands every 10 ms and was told of the fingers some time ago.
    let noisy = |millis: u64| 0.4 + 0.003 * ((millis * 7) % 5) as f64 / 4.0;
    let mut gate = CommandGate::new(2, true, DEADLINE);
    let mut held = None;
    for millis in (0..1000).step_by(2) {
        if millis % 10 == 4 {
            let torque = match millis {
                ..500 => Torque::On,
                _ => Torque::Keep,
            };
            let command = DeviceCommand {
                torque,
                // The pose is taken once for enabling, and once more after it.
                opening: noisy(if millis < 520 { 0 } else { 518 }),
                ..command(7, millis, 0.3)
            };
            gate.offer(&command, at(millis), at(millis))
                .expect("counts");
        }
        let state = JointState {
            torque: millis >= 300,
            opening: noisy(millis),
            ..state(7, 0.3)
        };
        gate.measured(&state);
        if state.torque {
            let now = opening(&gate, at(millis));
            assert_eq!(*held.get_or_insert(now), now, "{millis} ms");
        }
    }
    let wish = DeviceCommand {
        opening: 0.6,
        ..command(7, 1001, 0.3)
    };
    gate.offer(&wish, at(1001), at(1001)).expect("counts");
    assert_eq!(opening(&gate, at(1001)), 0.6);
    // An arm that has torque and is enabled once more keeps its grip.
    let again = |tick, torque| DeviceCommand {
        opening: 0.52,
        torque,
        ..command(7, tick, 0.3)
    };
    for (tick, torque) in [
        (1002, Torque::On),
        (1003, Torque::Keep),
        (1004, Torque::Keep),
    ] {
        let now = at(tick);
        gate.offer(&again(tick, torque), now, now).expect("counts");
        assert_eq!(opening(&gate, now), 0.6);
    }
}
