//! Laws of a human's setpoints: nothing leaps at the transfer, the leader is met before it leads, an open hand drops
//! nothing.

use proptest::prelude::*;
use tactus_types::{JointLimits, LeaseId};

use super::*;

const H: f64 = 0.002;
const USABLE: fn(usize) -> [f64; 3] = |_| [3.0, 30.0, 1500.0];

fn info() -> ArmInfo {
    ArmInfo {
        model: "two".into(),
        joints: vec!["a".into(), "b".into()],
        limits: vec![
            JointLimits {
                lower: -2.0,
                upper: 2.0,
                velocity: 3.0,
                acceleration: 30.0,
                jerk: 1500.0,
            };
            2
        ],
        gripper: true,
        state_rate_hz: 500.0,
        brakes: true,
        torque_switch: false,
        command_deadline_secs: 0.1,
        geometry: None,
    }
}

fn human(q: [f64; 2], opening: f64, engaged: bool) -> OperatorSetpoint {
    OperatorSetpoint {
        lease: LeaseId(1),
        sequence: 1,
        captured_at: Time::ZERO,
        q: JointVec::from_slice(&q).expect("two"),
        opening,
        engaged,
    }
}

fn at_rest(q: [f64; 2], opening: f64) -> State {
    State::at_rest(JointVec::from_slice(&q).expect("two"), opening)
}

/// Follows the setpoints exactly, from `from` on, while the human does what `leader` says at each tick.
fn played(
    reference: Reference,
    from: State,
    ticks: usize,
    leader: impl Fn(usize) -> OperatorSetpoint,
) -> (Vec<Option<Setpoint>>, State) {
    let (info, spec) = (info(), TeleopSpec::default());
    let mut teleop = Teleop::new(reference);
    let mut commanded = from;
    let mut path = vec![];
    for tick in 0..ticks {
        let asked = teleop.setpoint(&leader(tick), &commanded, &info, &spec, USABLE, H);
        assert_eq!(
            teleop.driving(),
            asked.is_some_and(|s| s.source == Source::Teleop)
        );
        if let Some(s) = &asked {
            commanded = State {
                q: s.q,
                dq: s.dq,
                ddq: s.ddq,
                opening: s.opening,
            };
        } else {
            commanded = State::at_rest(commanded.q, commanded.opening);
        }
        path.push(asked);
    }
    (path, commanded)
}

proptest! {
    /// Whatever the reference, where the leader is and how it moves: from one tick to the next the setpoint never moves
    /// faster than a bound that no leap can meet, and it ends where the human is.
    #[test]
    fn nothing_leaps_and_the_arm_ends_with_the_human(
        start in prop::array::uniform2(-1.0..1.0f64),
        apart in prop::array::uniform2(-0.09..0.09f64),
        speed in prop::array::uniform2(-0.8..0.8f64),
        every in 1usize..16,
        which in 0usize..3,
    ) {
        let reference = Reference::ALL[which];
        let moved = |tick: usize| {
            // The device is read every so many ticks, and rests after a second.
            let t = (tick.min(500) / every * every) as f64 * H;
            [0, 1].map(|i| start[i] + apart[i] + speed[i] * t)
        };
        let (path, end) = played(reference, at_rest(start, 0.5), 1000, |tick| human(moved(tick), 0.5, true));
        let mut before = JointVec::from_slice(&start).expect("two");
        for setpoint in path.iter().flatten() {
            let step = setpoint.q.zip(&before, |a, b| a - b).max_abs();
            prop_assert!(step < 3.0 * H, "{} rad in a tick", step);
            before = setpoint.q;
        }
        let still = if reference == Reference::Clutch { apart } else { [0.0; 2] };
        for (i, still) in still.into_iter().enumerate() {
            let wanted = (moved(1000)[i] - still).clamp(-2.0, 2.0);
            prop_assert!((end.q[i] - wanted).abs() < 1e-3, "{} {}", end.q[i], wanted);
        }
    }

    /// The smoothing is the exact solution of its equation: a ramp is followed with a lag of twice the time constant.
    #[test]
    fn a_steady_motion_lags_by_twice_the_time_constant(speed in -1.0..1.0f64) {
        let (_, end) = played(Reference::Clutch, at_rest([0.0; 2], 0.5), 500, |tick| {
            human([speed * H * tick as f64, 0.0], 0.5, true)
        });
        // The target of a tick is the one at its beginning.
        let lag = speed * H * 499.0 - end.q[0];
        prop_assert!((lag - speed * (2.0 * 0.02 - H)).abs() < 0.02 * speed.abs() + 1e-9, "{}", lag);
        // Within a tick the target stands still, which the velocity at its end shows.
        prop_assert!((end.dq[0] - speed).abs() < 0.01 * speed.abs());
    }
}

#[test]
fn a_leader_that_is_far_away_is_waited_for_or_met_and_only_then_leads() {
    let far = human([0.7, 0.0], 0.5, true);
    let (path, _) = played(Reference::Leader, at_rest([0.0; 2], 0.5), 2000, |_| far);
    assert!(path.iter().all(Option::is_none), "waits");
    let (path, end) = played(Reference::Slide, at_rest([0.0; 2], 0.5), 2000, |_| far);
    let sources: Vec<_> = path.iter().map(|s| s.expect("moves").source).collect();
    let first = sources
        .iter()
        .position(|s| *s == Source::Teleop)
        .expect("met");
    assert!(first > 100 && sources[..first].iter().all(|s| *s == Source::Align));
    assert!((end.q[0] - 0.7).abs() < 1e-6);
    let beyond = human([0.9, 0.0], 0.5, true);
    let (path, _) = played(Reference::Slide, at_rest([0.0; 2], 0.5), 500, |_| beyond);
    assert!(path.iter().all(Option::is_none), "too far to be met");
}

#[test]
fn releasing_holds_and_engaging_again_counts_from_there() {
    let (path, end) = played(Reference::Clutch, at_rest([0.0; 2], 0.5), 1500, |tick| {
        // Moves, lets go, moves on, engages again and moves on.
        let q = [0.001 * tick as f64, 0.0];
        human(q, 0.5, !(200..1000).contains(&tick))
    });
    assert!(path[200..1000].iter().all(Option::is_none));
    // At 0.5 rad/s the arm was 20 mrad behind when it was let go, and is so at the end.
    let moved = 0.001 * (199.0 + 499.0) - 2.0 * 0.02;
    assert!((end.q[0] - moved).abs() < 0.003, "{}", end.q[0]);
}

#[test]
fn a_leap_of_the_human_releases_the_arm() {
    let (path, end) = played(Reference::Leader, at_rest([0.0; 2], 0.5), 1000, |tick| {
        human([if tick < 500 { 0.05 } else { 1.0 }, 0.0], 0.5, true)
    });
    assert!(path[499].is_some() && path[500..].iter().all(Option::is_none));
    assert!((end.q[0] - 0.05).abs() < 1e-3);
}

#[test]
fn the_gripper_is_picked_up() {
    let opening_at = |openings: &'static [f64], ticks: usize| {
        let (path, end) = played(Reference::Clutch, at_rest([0.0; 2], 0.2), ticks, |tick| {
            human(
                [0.0; 2],
                openings[tick * openings.len() / ticks.max(1)],
                true,
            )
        });
        assert_eq!(
            path[0].expect("drives").opening,
            if openings[0] == 0.2 {
                0.2
            } else {
                path[0].expect("drives").opening
            }
        );
        end.opening
    };
    assert_eq!(
        opening_at(&[1.0, 0.9, 0.6], 30),
        0.2,
        "an open hand drops nothing"
    );
    assert_eq!(opening_at(&[1.0, 0.5, 0.1, 0.8], 40), 0.8, "crossed");
    assert_eq!(opening_at(&[0.22, 0.7], 20), 0.7, "met");
    assert_eq!(
        opening_at(&[0.0, 0.1], 20),
        0.2,
        "nor does a closed one squeeze"
    );
}

#[test]
fn what_a_human_sends_counts_only_if_it_is_theirs_now_and_a_position() {
    let (info, limit) = (info(), Duration::from_millis(100));
    let now = Time::from_millis(1000);
    let good = OperatorSetpoint {
        sequence: 5,
        captured_at: Time::from_millis(950),
        ..human([0.1, 0.2], 0.5, true)
    };
    let mut ear = Ear::default();
    assert_eq!(ear.silent(now), None);
    assert_eq!(ear.hear(&good, &info, limit, now), Ok(()));
    type Is = fn(&SetpointRefused) -> bool;
    let refused: [(OperatorSetpoint, Is); 7] = [
        (good, |r| {
            matches!(r, SetpointRefused::Sequence { last: 5, actual: 5 })
        }),
        (
            OperatorSetpoint {
                sequence: 6,
                q: JointVec::zeros(3),
                ..good
            },
            |r| matches!(r, SetpointRefused::Joints { .. }),
        ),
        (
            OperatorSetpoint {
                sequence: 6,
                q: JointVec::from_fn(2, |_| f64::NAN),
                ..good
            },
            |r| *r == SetpointRefused::NotFinite,
        ),
        (
            OperatorSetpoint {
                sequence: 6,
                opening: 1.5,
                ..good
            },
            |r| *r == SetpointRefused::NotFinite,
        ),
        (
            OperatorSetpoint {
                sequence: 6,
                opening: f64::NAN,
                ..good
            },
            |r| *r == SetpointRefused::NotFinite,
        ),
        (
            OperatorSetpoint {
                sequence: 6,
                captured_at: Time::from_millis(899),
                ..good
            },
            |r| *r == SetpointRefused::Age,
        ),
        (
            OperatorSetpoint {
                sequence: 6,
                captured_at: Time::from_millis(1100),
                ..good
            },
            |r| *r == SetpointRefused::Age,
        ),
    ];
    for (setpoint, why) in refused {
        let result = ear.hear(&setpoint, &info, limit, now);
        assert!(result.as_ref().is_err_and(why), "{result:?}");
        assert_eq!(ear.newest(), Some(&good));
    }
    let other = OperatorSetpoint {
        lease: LeaseId(2),
        sequence: 1,
        ..good
    };
    assert_eq!(
        ear.hear(&other, &info, limit, now),
        Ok(()),
        "a new lease counts anew"
    );
    assert_eq!(
        ear.silent(Time::from_millis(1150)),
        Some(Duration::from_millis(150))
    );
}
