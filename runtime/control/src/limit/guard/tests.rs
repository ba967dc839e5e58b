use super::*;
use crate::limit::{LimitSpec, Limiter};
use proptest::prelude::*;
use tactus_types::{ArmGeometry, JointLimits, Setpoint, Source};

const H: f64 = 0.002;
const JOINTS: usize = 7;
const HOME: [f64; JOINTS] = [0.0, -0.4, 0.0, -2.0, 0.0, 1.6, 0.7];
/// Around home (tool point at 0.47, 0, 0.48 m), with faces that the arm reaches in every direction.
const BOX: [[f64; 3]; 2] = [[0.2, -0.3, 0.1], [0.65, 0.4, 0.7]];
const CLEARANCE_M: f64 = 0.02;

/// An arm of the size of a Franka Panda, with its joint ranges.
fn info() -> ArmInfo {
    let range = [
        [-2.8973, 2.8973],
        [-1.7628, 1.7628],
        [-2.8973, 2.8973],
        [-3.0718, -0.0698],
        [-2.8973, 2.8973],
        [-0.0175, 3.7525],
        [-2.8973, 2.8973],
    ];
    let limits = range.map(|[lower, upper]| JointLimits {
        lower,
        upper,
        velocity: 2.5,
        acceleration: 15.0,
        jerk: 1500.0,
    });
    ArmInfo {
        model: "seven".into(),
        joints: (1..=JOINTS).map(|i| format!("j{i}")).collect(),
        limits: limits.to_vec(),
        gripper: true,
        state_rate_hz: 500.0,
        brakes: true,
        torque_switch: true,
        command_deadline_secs: 0.1,
        geometry: Some(ArmGeometry {
            urdf: include_str!("../../../../kinematics/tests/data/seven_arm.urdf").into(),
            base_link: "base".into(),
            tool_link: "tip".into(),
            workspace: None,
        }),
    }
}

fn guard(workspace: Option<[[f64; 3]; 2]>, clearance_m: Option<f64>) -> Guard {
    let spec = GuardSpec {
        workspace,
        clearance_m,
        leave_out: vec![],
    };
    Guard::new(&info(), &spec).unwrap().unwrap()
}

fn room(guard: &Guard, q: &JointVec) -> Room<f64> {
    let mut look = Watch::new(guard.clone()).look;
    guard.look(*q, &mut Default::default(), &mut look);
    guard.room(&look)
}

fn limiter(guard: &Guard, q: [f64; JOINTS]) -> Limiter {
    let spec = LimitSpec {
        max_lead: 10.0,
        max_step: 1.0,
        scale: 1.0,
    };
    Limiter::new(spec, info(), vec7(q), 0.5).guarded(Some(guard.clone()))
}

fn vec7(q: [f64; JOINTS]) -> JointVec {
    JointVec::from_slice(&q).unwrap()
}

fn setpoint(q: JointVec) -> Setpoint {
    let still = JointVec::zeros(q.len());
    Setpoint {
        source: Source::Policy,
        q,
        dq: still,
        ddq: still,
        opening: 0.5,
        request_id: 0,
        action_index: 0,
        observed_at: None,
    }
}

/// The stop that begins now, 40 configurations of it and its end.
fn stop_of(l: &Limiter) -> impl Iterator<Item = JointVec> + use<> {
    let stops: Vec<Stop> = (0..JOINTS)
        .map(|i| Stop::of(l.motion[i], &l.bound(&l.info.limits[i], H)))
        .collect();
    let end = stops.iter().fold(0.0, |end: f64, s| end.max(s.secs()));
    (0..=40).map(move |k| {
        let secs = end * f64::from(k) / 40.0;
        JointVec::from_fn(JOINTS, |i| stops[i].at(secs).q)
    })
}

fn law(l: &Limiter, guard: &Guard, allowed: f64) -> Result<f64, TestCaseError> {
    let (mut least, mut last) = (f64::INFINITY, f64::INFINITY);
    for q in stop_of(l) {
        let room = room(guard, &q);
        last = room.workspace.min(room.collision);
        least = least.min(last);
    }
    prop_assert!(
        least >= -allowed - BETWEEN_M,
        "the stop passes {least} m outside"
    );
    prop_assert!(
        last >= -allowed - 2.0 * ROUNDING_M,
        "the stop ends {last} m outside"
    );
    Ok(least)
}

fn anywhere() -> impl Strategy<Value = [f64; JOINTS]> {
    prop::array::uniform7(-3.8f64..3.8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]
    /// Whatever the setpoints, even NaN and jumps: from every commanded motion the stop that begins there ends inside both
    /// limits in space, and passes inside; and the other limits hold as they do without.
    #[test]
    fn every_stop_stays_inside(
        points in prop::collection::vec((anywhere(), -4.0f64..4.0, 1usize..100, prop::bool::weighted(0.05)), 1..12)
    ) {
        let guard = guard(Some(BOX), Some(CLEARANCE_M));
        let mut l = limiter(&guard, HOME);
        let (mut v, mut a) = (JointVec::zeros(JOINTS), JointVec::zeros(JOINTS));
        for (q, dq, ticks, poison) in points {
            for k in 0..ticks {
                let mut to = setpoint(vec7(q));
                to.q = to.q.zip(&to.q, |q, _| q + dq * k as f64 * H);
                to.dq = JointVec::from_fn(JOINTS, |_| dq);
                to.q[k % JOINTS] = if poison { f64::NAN } else { to.q[k % JOINTS] };
                let before = l.q();
                let out = l.limit(&to, &l.q(), H);
                law(&l, &guard, 0.0)?;
                let v1 = out.q.zip(&before, |q1, q| (q1 - q) / H);
                let a1 = v1.zip(&v, |v1, v| (v1 - v) / H);
                prop_assert!(v1.max_abs() <= 2.5 + 1e-6 && a1.max_abs() <= 15.0 + 1e-3);
                prop_assert!(a1.zip(&a, |a1, a| a1 - a).max_abs() <= 1500.0 * H * (1.0 + 1e-3) + 1e-3);
                (v, a) = (v1, a1);
            }
        }
    }

    /// An arm that starts outside never goes further out than it is.
    #[test]
    fn outside_is_never_left_outwards(from in anywhere(), to in anywhere(), ticks in 1usize..300) {
        let guard = guard(Some(BOX), Some(CLEARANCE_M));
        let q = info().clamp(&vec7(from));
        let mut l = limiter(&guard, [0, 1, 2, 3, 4, 5, 6].map(|i| q[i]));
        let start = room(&guard, &q);
        let mut inside = (false, false);
        for _ in 0..ticks {
            l.limit(&setpoint(vec7(to)), &l.q(), H);
            for q in stop_of(&l) {
                let room = room(&guard, &q);
                prop_assert!(room.workspace >= start.workspace.min(0.0) - BETWEEN_M, "{room:?} {start:?}");
                prop_assert!(room.collision >= start.collision.min(0.0) - BETWEEN_M, "{room:?} {start:?}");
            }
            // Once all of a stop is inside a limit, always.
            let rooms: Vec<_> = stop_of(&l).map(|q| room(&guard, &q)).collect();
            let least = |of: fn(&Room<f64>) -> f64| rooms.iter().map(of).fold(f64::INFINITY, f64::min);
            let (workspace, collision) = (least(|r| r.workspace), least(|r| r.collision));
            prop_assert!(!inside.0 || workspace > -BETWEEN_M);
            prop_assert!(!inside.1 || collision > -BETWEEN_M);
            inside = (inside.0 || workspace >= 0.0, inside.1 || collision >= 0.0);
        }
    }
}

/// How a setpoint that runs into a limit of `guard` at 0.5 rad/s on one joint is met: one brake, then rest until it comes
/// back. Returns the room at rest.
fn runs_into(guard: &Guard, joint: usize, rad_per_sec: f64, of: fn(&Room<f64>) -> f64) -> f64 {
    let mut l = limiter(guard, HOME);
    let at = |secs: f64| {
        let mut q = vec7(HOME);
        q[joint] += rad_per_sec * secs;
        Setpoint {
            dq: JointVec::from_fn(JOINTS, |i| if i == joint { rad_per_sec } else { 0.0 }),
            ..setpoint(q)
        }
    };
    let mut braked = None;
    for k in 1..=1500 {
        let out = l.limit(&at(f64::from(k) * H), &l.q(), H);
        let forbidden = out.clamped_by.workspace || out.clamped_by.collision;
        if forbidden && braked.is_none() {
            braked = Some(k);
        }
        if let Some(first) = braked {
            // 0.5 rad/s at 15 rad/s^2 and 1500 rad/s^3 takes 43 ms; the setpoint itself leaves some ticks after the first.
            let late = k > first + 40;
            assert!(forbidden || !late, "tick {k}: it goes on");
            assert!(out.dq.max_abs() < 1e-12 || !late, "tick {k}: {:?}", out.dq);
            assert!(out.clamped_rad > 0.0 || !late, "how much is said");
        }
    }
    assert!(braked.is_some(), "it never braked");
    let rest = of(&room(guard, &l.q()));
    for _ in 0..600 {
        l.limit(&setpoint(vec7(HOME)), &l.q(), H);
    }
    assert!(
        l.q().zip(&vec7(HOME), |a, b| a - b).max_abs() < 1e-6,
        "it comes back"
    );
    rest
}

#[test]
fn a_setpoint_that_leaves_the_box_is_met_by_one_brake_just_inside() {
    for (joint, rad_per_sec) in [(0, 0.5), (0, -0.5), (1, 0.5), (3, -0.5)] {
        let room = runs_into(&guard(Some(BOX), None), joint, rad_per_sec, |r| r.workspace);
        assert!((-ROUNDING_M..0.003).contains(&room), "{joint}: {room} m");
    }
}

#[test]
fn an_arm_that_folds_onto_itself_is_stopped_at_the_clearance() {
    // The elbow: the hand comes down on the base.
    let guard = guard(None, Some(CLEARANCE_M));
    let room = runs_into(&guard, 3, -0.5, |r| r.collision);
    assert!((-ROUNDING_M..0.003).contains(&room), "{room} m");
}

#[test]
fn an_arm_outside_the_box_comes_in_when_it_is_told_to_and_no_further_out() {
    let guard = guard(Some([[0.2, -0.3, 0.1], [0.37, 0.4, 0.7]]), None);
    let mut l = limiter(&guard, HOME);
    let start = room(&guard, &l.q()).workspace;
    assert!(start < -0.05, "{start} m");
    let mut out = HOME;
    out[1] += 0.3;
    for _ in 0..100 {
        let limited = l.limit(&setpoint(vec7(out)), &l.q(), H);
        assert!(limited.clamped_by.workspace);
    }
    assert!(room(&guard, &l.q()).workspace >= start - ROUNDING_M);
    let mut inside = HOME;
    inside[1] -= 0.2;
    inside[3] -= 0.3;
    assert!(room(&guard, &vec7(inside)).workspace > 0.0);
    for _ in 0..1000 {
        l.limit(&setpoint(vec7(inside)), &l.q(), H);
    }
    assert!(room(&guard, &l.q()).workspace > 0.0, "{:?}", l.q());
    assert!(!l.limit(&setpoint(vec7(inside)), &l.q(), H).clamped_by.any());
}

#[test]
fn a_motion_that_keeps_every_limit_is_the_same_with_and_without() {
    let guard = guard(Some(BOX), Some(CLEARANCE_M));
    let mut with = limiter(&guard, HOME);
    let mut without = limiter(&guard, HOME).guarded(None);
    for k in 0..3000 {
        let swing = 0.15 * (3.0 * f64::from(k) * H).sin();
        let to = setpoint(JointVec::from_fn(JOINTS, |i| HOME[i] + swing));
        let (one, other) = (
            with.limit(&to, &with.q(), H),
            without.limit(&to, &without.q(), H),
        );
        assert_eq!(one, other, "tick {k}");
    }
}

#[test]
fn limits_that_need_an_arm_s_links_are_refused_without_them() {
    let spec = GuardSpec {
        workspace: Some(BOX),
        clearance_m: None,
        leave_out: vec![],
    };
    let mut bare = info();
    bare.geometry = None;
    let error = Guard::new(&bare, &spec).expect_err("no links").to_string();
    assert!(
        error.contains("`seven`") && error.contains("URDF"),
        "{error}"
    );
    let none = GuardSpec {
        workspace: None,
        ..spec
    };
    assert_eq!(Guard::new(&bare, &none), Ok(None));
}
