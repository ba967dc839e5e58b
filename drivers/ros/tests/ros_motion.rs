//! What ROS 2 commands, as motions: which count, and where the arm is to be. And the other way: what a ROS 2 arm is told, and
//! which of its states count. All pure; times are made up.

use std::time::Duration as Span;

use proptest::prelude::*;
use tactus_drivers_api::Goal;
use tactus_ros::device::{NotCounted, sample, trajectory};
use tactus_ros::messages::{
    Dimension, Duration, Float64MultiArray, JointState, JointTrajectory, Layout, Time as Stamp,
    TrajectoryPoint,
};
use tactus_ros::{NotTaken, Plan, Spec, Target, show};
use tactus_types::{JointLimits, JointVec, Time};

const UNIX: u64 = 1_700_000_000_000_000_000;

fn limits() -> JointLimits {
    JointLimits {
        lower: -2.0,
        upper: 2.0,
        velocity: 1.5,
        acceleration: 5.0,
        jerk: 100.0,
    }
}

fn spec() -> Spec {
    Spec {
        joints: vec!["a".into(), "b".into()],
        limits: vec![limits(); 2],
        reach: 0.3,
        silent_after: Span::from_millis(200),
    }
}

fn at(millis: u64) -> Time {
    Time::from_nanos(5_000_000_000 + millis * 1_000_000)
}

fn home() -> Target {
    Target {
        q: JointVec::zeros(2),
        opening: 0.5,
    }
}

fn millis(span: u64) -> Duration {
    Duration::from_std(Span::from_millis(span))
}

fn point(positions: &[f64], at: u64) -> TrajectoryPoint {
    TrajectoryPoint {
        positions: positions.to_vec(),
        time_from_start: millis(at),
        ..TrajectoryPoint::default()
    }
}

fn message(names: &[&str], points: Vec<TrajectoryPoint>) -> JointTrajectory {
    JointTrajectory {
        joint_names: names.iter().map(|n| (*n).to_owned()).collect(),
        points,
        ..JointTrajectory::default()
    }
}

fn take(message: &JointTrajectory) -> Result<Plan, NotTaken> {
    spec().trajectory(message, home(), (at(0), UNIX))
}

fn q(plan: &Plan, millis: u64) -> Option<[f64; 2]> {
    let target = plan.at(at(millis))?;
    Some([target.q[0], target.q[1]])
}

#[test]
fn a_trajectory_is_played_from_where_the_arm_is_to_its_end_and_then_it_is_silent() {
    // In another order than the arm's.
    let plan = take(&message(
        &["b", "a"],
        vec![point(&[0.4, -0.2], 1000), point(&[0.4, 0.6], 2000)],
    ));
    let plan = plan.expect("taken");
    assert_eq!(q(&plan, 0), Some([0.0, 0.0]));
    assert_eq!(q(&plan, 500), Some([-0.1, 0.2]));
    assert_eq!(q(&plan, 1000), Some([-0.2, 0.4]));
    let middle = q(&plan, 1500).expect("playing");
    assert!((middle[0] - 0.2).abs() < 1e-12 && middle[1] == 0.4);
    assert_eq!(q(&plan, 2000), Some([0.6, 0.4]));
    assert_eq!(q(&plan, 2200), Some([0.6, 0.4]));
    assert_eq!(q(&plan, 2201), None);
    let mut late = plan.clone();
    late.delay(Span::from_millis(300));
    assert_eq!(q(&late, 800), q(&plan, 500));
    assert_eq!(q(&late, 0), Some([0.0, 0.0]));
}

#[test]
fn with_velocities_it_is_smooth() {
    let with = |positions: &[f64], speed: f64, at| TrajectoryPoint {
        velocities: vec![speed, 0.0],
        ..point(positions, at)
    };
    let points = vec![
        with(&[0.0, 0.0], 0.0, 100),
        with(&[0.5, 0.0], 0.8, 1000),
        with(&[1.0, 0.0], 0.0, 2000),
    ];
    let plan = take(&message(&["a", "b"], points)).expect("taken");
    let speeds: Vec<f64> = (100..2000)
        .map(|ms| {
            let [a, b] = [q(&plan, ms), q(&plan, ms + 1)].map(|q| q.expect("playing")[0]);
            (b - a) / 0.001
        })
        .collect();
    let jumps = speeds.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    assert!(jumps.fold(0.0, f64::max) < 0.01, "the speed jumps nowhere");
    assert!((speeds[900] - 0.8).abs() < 0.01);
}

#[test]
fn stamps_say_when_and_what_has_passed_is_left_out() {
    let mut asked = message(
        &["a", "b"],
        vec![point(&[0.1, 0.0], 500), point(&[0.2, 0.0], 1000)],
    );
    asked.header.stamp = Stamp::from_unix_nanos(UNIX + 300_000_000);
    let plan = take(&asked).expect("in the future");
    assert_eq!(q(&plan, 300), Some([0.0, 0.0]));
    assert_eq!(q(&plan, 800), Some([0.1, 0.0]));
    asked.header.stamp = Stamp::from_unix_nanos(UNIX - 600_000_000);
    let plan = take(&asked).expect("half of it has passed");
    assert_eq!(q(&plan, 400), Some([0.2, 0.0]));
    assert_eq!(q(&plan, 200), Some([0.1, 0.0]));
    asked.header.stamp = Stamp::from_unix_nanos(UNIX - 1_000_000_000);
    assert!(matches!(take(&asked), Err(NotTaken::Points { .. })));
    asked.header.stamp = Stamp::from_unix_nanos(UNIX + 61_000_000_000);
    assert!(matches!(take(&asked), Err(NotTaken::Points { .. })));
}

#[test]
fn what_is_not_for_this_arm_or_too_much_for_it_is_refused() {
    let good = [0.1, 0.1];
    let one = |names: &[&str], p: TrajectoryPoint| take(&message(names, vec![p]));
    assert!(one(&["a", "b"], point(&good, 500)).is_ok());
    for names in [
        &["a"][..],
        &["a", "c"],
        &["a", "a"],
        &["a", "b", "c"],
        &["a", "b", "b"],
        &[],
    ] {
        let positions = vec![0.1; names.len()];
        assert!(
            matches!(
                one(names, point(&positions, 500)),
                Err(NotTaken::Joints { .. })
            ),
            "{names:?}"
        );
    }
    let ab = |p| one(&["a", "b"], p);
    assert!(matches!(
        ab(point(&[0.1], 500)),
        Err(NotTaken::Length { .. })
    ));
    assert!(matches!(
        ab(point(&[0.1, f64::NAN], 500)),
        Err(NotTaken::NotFinite { .. })
    ));
    assert!(matches!(
        ab(point(&[0.1, f64::INFINITY], 500)),
        Err(NotTaken::NotFinite { .. })
    ));
    assert!(matches!(
        ab(point(&[0.1, 2.1], 5000)),
        Err(NotTaken::Limits { .. })
    ));
    // 0.9 rad in half a second, where 1.5 rad/s is the limit; and at once.
    assert!(matches!(
        ab(point(&[0.1, 0.9], 500)),
        Err(NotTaken::Speed { .. })
    ));
    assert!(ab(point(&[0.1, 0.0], 0)).is_err());
    let fast = TrajectoryPoint {
        velocities: vec![0.0, -1.6],
        ..point(&good, 500)
    };
    assert!(matches!(ab(fast), Err(NotTaken::Speed { .. })));
    let short = TrajectoryPoint {
        velocities: vec![0.0],
        ..point(&good, 500)
    };
    assert!(matches!(
        ab(short),
        Err(NotTaken::Length {
            field: "velocities",
            ..
        })
    ));
    let negative = TrajectoryPoint {
        time_from_start: Duration {
            sec: -1,
            nanosec: 0,
        },
        ..point(&good, 0)
    };
    assert!(matches!(ab(negative), Err(NotTaken::Points { .. })));
    let back = vec![point(&good, 500), point(&good, 500)];
    assert!(matches!(
        take(&message(&["a", "b"], back)),
        Err(NotTaken::Points { .. })
    ));
    assert!(matches!(
        take(&message(&["a", "b"], vec![])),
        Err(NotTaken::Points { .. })
    ));
    let many = (1..=10_001).map(|i| point(&good, i)).collect();
    assert!(matches!(
        take(&message(&["a", "b"], many)),
        Err(NotTaken::Points { .. })
    ));
}

#[test]
fn the_gripper_goes_with_the_joints() {
    let asked = message(&["a", "gripper", "b"], vec![point(&[0.0, 1.0, 0.0], 1000)]);
    let plan = take(&asked).expect("taken");
    assert_eq!(plan.at(at(500)).map(|t| t.opening), Some(0.75));
    let wide = message(&["a", "gripper", "b"], vec![point(&[0.0, 1.1, 0.0], 1000)]);
    assert!(matches!(take(&wide), Err(NotTaken::Limits { .. })));
    // Without it, it stays.
    let plan = take(&message(&["a", "b"], vec![point(&[0.0, 0.0], 1000)])).expect("taken");
    assert_eq!(plan.at(at(500)).map(|t| t.opening), Some(0.5));
}

#[test]
fn positions_count_for_a_moment_and_near_the_arm_alone() {
    let list = |data: &[f64]| Float64MultiArray {
        data: data.to_vec(),
        ..Float64MultiArray::default()
    };
    let take = |message: &Float64MultiArray| spec().positions(message, home(), at(0));
    let plan = take(&list(&[0.1, -0.2])).expect("near");
    assert_eq!(q(&plan, 0), Some([0.1, -0.2]));
    assert_eq!(q(&plan, 200), Some([0.1, -0.2]));
    assert_eq!(q(&plan, 201), None);
    let plan = take(&list(&[0.1, -0.2, 1.0])).expect("with the gripper");
    assert_eq!(plan.at(at(0)).map(|t| t.opening), Some(1.0));
    assert!(matches!(
        take(&list(&[0.1, 0.31])),
        Err(NotTaken::Far { .. })
    ));
    assert!(matches!(
        take(&list(&[0.1, f64::NAN])),
        Err(NotTaken::NotFinite { .. })
    ));
    for wrong in [&[][..], &[0.0], &[0.0; 4]] {
        assert!(
            matches!(take(&list(wrong)), Err(NotTaken::Length { .. })),
            "{wrong:?}"
        );
    }
    let dim = Dimension::default();
    let odd = Float64MultiArray {
        layout: Layout {
            dim: vec![dim.clone(), dim],
            data_offset: 0,
        },
        data: vec![0.0, 0.0],
    };
    assert!(matches!(take(&odd), Err(NotTaken::Layout)));
}

proptest! {
    #[test]
    fn whatever_comes_an_arm_is_told_finite_numbers_within_its_limits(
        points in prop::collection::vec((prop::collection::vec(-3.0..3.0f64, 1..4), prop::bool::ANY, 0u64..5000), 0..6),
        stamp in prop::option::of(UNIX - 5_000_000_000..UNIX + 5_000_000_000),
        odd in prop::sample::select(vec![0.0, f64::NAN, f64::INFINITY, -1e300, 1e-300]),
        spoil in prop::bool::ANY,
        looks in prop::collection::vec(0u64..20_000, 8),
    ) {
        let mut points: Vec<TrajectoryPoint> = points.iter().map(|(positions, fast, at)| TrajectoryPoint {
            velocities: if *fast { positions.iter().map(|p| p / 2.5).collect() } else { vec![] },
            ..point(positions, *at)
        }).collect();
        points.sort_by_key(|p| (p.time_from_start.sec, p.time_from_start.nanosec));
        if spoil && let Some(first) = points.first_mut() {
            first.positions[0] = odd;
        }
        let mut asked = message(&["a", "b"], points);
        asked.header.stamp = stamp.map_or(Stamp::default(), Stamp::from_unix_nanos);
        if let Ok(plan) = take(&asked) {
            for look in looks {
                if let Some(target) = plan.at(at(look)) {
                    prop_assert!(target.q.is_finite() && (0.0..=1.0).contains(&target.opening));
                    // A cubic may lie outside its ends by less than what its speeds can carry it; what is behind limits again.
                    prop_assert!(target.q.max_abs() < 2.0 + 1.5 * 5.0, "{:?}", target.q);
                }
            }
        }
    }
}

fn goal(q: [f64; 2], dq: [f64; 2]) -> Goal {
    let vec = |of: [f64; 2]| JointVec::from_slice(&of).expect("two");
    Goal {
        q: vec(q),
        dq: vec(dq),
        opening: 0.0,
    }
}

#[test]
fn what_a_ros_2_arm_is_told_always_ends_at_rest_and_inside() {
    let joints = ["a".to_owned(), "b".to_owned()];
    let lead = Span::from_millis(20);
    let told = trajectory(
        &joints,
        &[limits(); 2],
        &goal([0.5, 1.99], [1.0, 1.0]),
        lead,
    );
    assert!(told.header.stamp.is_zero(), "from now on");
    assert_eq!(told.joint_names, joints);
    let [first, rest] = told.points.as_slice() else {
        panic!("{told:?}")
    };
    assert!(
        (first.positions[0] - 0.52).abs() < 1e-12 && first.positions[1] == 2.0,
        "{first:?}"
    );
    assert_eq!(first.velocities, [1.0, 1.0]);
    assert_eq!(first.time_from_start.to_std(), Some(lead));
    // 1 rad/s at 5 rad/s^2: 0.2 s, 0.1 rad.
    assert!((rest.positions[0] - 0.62).abs() < 1e-12);
    assert_eq!(rest.positions[1], 2.0);
    assert_eq!(rest.velocities, [0.0, 0.0]);
    assert_eq!(rest.time_from_start.to_std(), Some(Span::from_millis(220)));
    // It is a trajectory that we would take ourselves.
    let from = Target {
        q: JointVec::from_slice(&[0.5, 1.98]).expect("two"),
        opening: 0.0,
    };
    assert!(spec().trajectory(&told, from, (at(0), UNIX)).is_ok());
}

#[test]
fn states_count_that_name_each_joint_once_and_move_on() {
    let joints = ["a".to_owned(), "b".to_owned()];
    let said = |names: &[&str], position: &[f64]| JointState {
        header: show::header(UNIX, "base"),
        name: names.iter().map(|n| (*n).to_owned()).collect(),
        position: position.to_vec(),
        ..JointState::default()
    };
    let good = said(&["b", "other", "a"], &[1.0, 9.0, 2.0]);
    let read = sample(&good, &joints, None).expect("counts");
    assert_eq!(read.q.as_slice(), [2.0, 1.0]);
    assert_eq!(read.dq.as_slice(), [0.0, 0.0]);
    assert_eq!(read.stamp, UNIX);
    let fast = JointState {
        velocity: vec![0.1, 0.0, 0.2],
        ..good.clone()
    };
    assert_eq!(
        sample(&fast, &joints, Some(UNIX - 1))
            .expect("counts")
            .dq
            .as_slice(),
        [0.2, 0.1]
    );
    assert_eq!(sample(&good, &joints, Some(UNIX)), Err(NotCounted::Frozen));
    assert_eq!(
        sample(&good, &joints, Some(UNIX + 1)),
        Err(NotCounted::Frozen)
    );
    assert!(
        sample(&good, &joints, Some(UNIX + 2_000_000_000)).is_ok(),
        "a clock was set back"
    );
    for names in [&["a", "c"][..], &["a", "a"], &["b", "b"]] {
        assert!(matches!(
            sample(&said(names, &[0.0, 0.0]), &joints, None),
            Err(NotCounted::Joint(_))
        ));
    }
    assert!(matches!(
        sample(&said(&["a", "b"], &[0.0]), &joints, None),
        Err(NotCounted::Length { .. })
    ));
    let nan = said(&["a", "b"], &[0.0, f64::NAN]);
    assert_eq!(sample(&nan, &joints, None), Err(NotCounted::NotFinite));
}
