use super::*;
use crate::schedule::tests::info;
use proptest::prelude::*;
use tactus_types::Source;

const H: f64 = 0.002;

fn limiter(max_lead: f64) -> Limiter {
    let spec = LimitSpec {
        max_lead,
        max_step: 1.0,
        scale: 1.0,
    };
    Limiter::new(spec, info(1), JointVec::zeros(1), 0.5)
}

fn setpoint(q: f64, dq: f64) -> Setpoint {
    Setpoint {
        source: Source::Policy,
        q: JointVec::from_fn(1, |_| q),
        dq: JointVec::from_fn(1, |_| dq),
        ddq: JointVec::zeros(1),
        opening: 0.5,
        request_id: 0,
        action_index: 0,
        observed_at: None,
    }
}

#[test]
fn a_step_is_reached_without_overshoot_and_says_what_clamped_it_and_how_much() {
    let mut l = limiter(10.0);
    let mut highest = 0.0f64;
    let first = l.limit(&setpoint(1.0, 0.0), &l.q(), H);
    assert!(first.clamped_by.velocity && !first.clamped_by.position);
    assert!((first.clamped_rad - 1.0).abs() < 1e-3, "{first:?}");
    for _ in 0..500 {
        highest = highest.max(l.limit(&setpoint(1.0, 0.0), &l.q(), H).q[0]);
    }
    assert!((l.q()[0] - 1.0).abs() < 1e-6, "{}", l.q()[0]);
    assert!(highest <= 1.0 + 1e-6, "{highest}");
    let last = l.limit(&setpoint(1.0, 0.0), &l.q(), H);
    assert!(!last.clamped_by.any() && last.clamped_rad == 0.0);
}

#[test]
fn a_ramp_inside_the_limits_is_met_exactly_once_it_is_caught() {
    let mut l = limiter(10.0);
    for k in 1..=400 {
        let limited = l.limit(&setpoint(0.5 * k as f64 * H, 0.5), &l.q(), H);
        if k > 100 {
            let behind = 0.5 * k as f64 * H - limited.q[0];
            assert!(behind.abs() < 1e-8, "tick {k}: {behind} rad behind");
            assert!(!limited.clamped_by.any());
        }
    }
}

#[test]
fn a_hold_decelerates_along_the_commanded_motion() {
    let mut l = limiter(10.0);
    for k in 1..=200 {
        l.limit(&setpoint(1.5 * k as f64 * H, 1.5), &l.q(), H);
    }
    let (stop, v0) = (l.stopping_point(H)[0], l.dq()[0]);
    let mut ticks = 0;
    while l.dq()[0].abs() > 0.01 {
        let before = l.dq()[0];
        l.limit(&setpoint(stop, 0.0), &l.q(), H);
        assert!(l.dq()[0] <= before + 1e-9, "a hold never speeds up");
        ticks += 1;
    }
    // Velocity over acceleration, and acceleration over jerk to build it up and take it back.
    let fastest = v0 / 30.0 + 30.0 / 1500.0;
    assert!(
        f64::from(ticks) * H < fastest + 0.01,
        "{ticks} ticks from {v0} rad/s"
    );
}

#[test]
fn not_finite_brakes_and_keeps_the_gripper() {
    let mut l = limiter(10.0);
    for k in 1..=200 {
        l.limit(&setpoint(1.5 * k as f64 * H, 1.5), &l.q(), H);
    }
    let stop = l.stopping_point(H)[0];
    for _ in 0..100 {
        let limited = l.limit(&setpoint(f64::NAN, 0.0), &l.q(), H);
        assert!(limited.clamped_by.not_finite);
        assert_eq!(limited.opening, 0.5, "the gripper keeps its last target");
    }
    assert!((l.q()[0] - stop).abs() < 1e-6 && l.dq()[0] == 0.0);
}

#[test]
fn the_command_never_runs_away_from_a_blocked_arm() {
    let mut l = limiter(0.1);
    let blocked = JointVec::zeros(1);
    for _ in 0..1000 {
        let limited = l.limit(&setpoint(1.5, 0.0), &blocked, H);
        assert!(limited.clamped_by.lead);
    }
    assert!(l.q()[0] <= 0.1 + 1e-6, "{}", l.q()[0]);
}

#[test]
fn the_largest_step_bounds_every_tick() {
    let mut l = limiter(10.0);
    l.spec.max_step = 0.0005;
    let mut last = 0.0;
    for _ in 0..300 {
        let q = l.limit(&setpoint(1.0, 0.0), &l.q(), H).q[0];
        assert!((q - last).abs() <= 0.0005 + 1e-9);
        last = q;
    }
    assert!(last > 0.1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// Whatever the setpoints, even NaN and jumps: the commands as a device sees them, one position per tick, keep
    /// position, velocity, acceleration and jerk limits.
    #[test]
    fn no_command_outside_any_limit(
        points in prop::collection::vec(
            (-4.0f64..4.0, -9.0f64..9.0, 1usize..60, prop::bool::weighted(0.05)), 1..40)
    ) {
        let mut l = limiter(10.0);
        let (mut q, mut v, mut a) = (0.0, 0.0, 0.0);
        for (s, s_dot, ticks, poison) in points {
            for k in 0..ticks {
                let s = if poison { f64::NAN } else { s + s_dot * k as f64 * H };
                let out = l.limit(&setpoint(s, s_dot), &l.q(), H);
                let (q1, v1) = (out.q[0], (out.q[0] - q) / H);
                let a1 = (v1 - v) / H;
                prop_assert!(q1.abs() <= 2.0 + 1e-8, "position {}", q1);
                prop_assert!(v1.abs() <= 3.0 + 1e-6, "velocity {}", v1);
                prop_assert!(a1.abs() <= 30.0 + 1e-3, "acceleration {}", a1);
                prop_assert!((a1 - a).abs() <= 1500.0 * H * (1.0 + 1e-3) + 1e-3, "jerk {}", (a1 - a) / H);
                (q, v, a) = (q1, v1, a1);
            }
        }
    }
}
