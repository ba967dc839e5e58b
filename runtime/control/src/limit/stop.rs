//! The fastest way to rest of one joint under an acceleration and a jerk limit.
//!
//! Decides nothing about when to stop. Two things stand on it: a hold, which brakes along the commanded motion, and the
//! law that the limiter keeps: from every commanded motion the stop that begins now stays inside the position limits.
//!
//! Terms: *motion* is position, velocity and acceleration of one joint at one instant; *bound* its limits.

/// Position, velocity and acceleration of one joint at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Motion {
    /// rad
    pub q: f64,
    /// rad/s
    pub v: f64,
    /// rad/s^2
    pub a: f64,
}

impl Motion {
    /// The motion `secs` later under constant `jerk`, rad/s^3.
    pub(crate) fn after(self, secs: f64, jerk: f64) -> Self {
        let Self { q, v, a } = self;
        Self {
            q: q + secs * (v + secs * (a / 2.0 + secs * jerk / 6.0)),
            v: v + secs * (a + secs * jerk / 2.0),
            a: a + secs * jerk,
        }
    }
}

/// Limits of one joint's motion.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Bound {
    /// rad/s
    pub velocity: f64,
    /// rad/s^2
    pub acceleration: f64,
    /// rad/s^3
    pub jerk: f64,
}

/// Three phases of constant jerk that end at rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stop {
    from: Motion,
    jerk: [f64; 3],
    secs: [f64; 3],
}

impl Stop {
    /// The fastest stop from `from`.
    ///
    /// With `w = v + a |a| / (2 j)`, the velocity that is left when the acceleration alone is taken back, the joint has to
    /// be pulled against the sign of `w`: to `-p`, held there, and back to zero. `p = sqrt(|w| j + a^2 / 2)` needs no
    /// holding (both seen from the side on which `w > 0`); above the acceleration limit it is held at the limit for the
    /// velocity that remains.
    pub(crate) fn of(from: Motion, bound: &Bound) -> Self {
        let j = bound.jerk;
        let left = from.v + from.a * from.a.abs() / (2.0 * j);
        let side = if left < 0.0 { -1.0 } else { 1.0 };
        let (v, a) = (side * from.v, side * from.a);
        let peak = (v * j + a * a / 2.0).max(0.0).sqrt();
        let held = peak.min(bound.acceleration).max(-a);
        let secs_held = if held > 0.0 {
            ((v + (a * a / 2.0 - held * held) / j) / held).max(0.0)
        } else {
            0.0
        };
        Self {
            from,
            jerk: [-side * j, 0.0, side * j],
            secs: [((a + held) / j).max(0.0), secs_held, held / j],
        }
    }

    /// The motion `secs` after the stop began; at rest after its end.
    pub(crate) fn at(&self, secs: f64) -> Motion {
        let mut motion = self.from;
        let mut left = secs;
        for (jerk, phase) in self.jerk.iter().zip(self.secs) {
            if left <= phase {
                return motion.after(left, *jerk);
            }
            motion = motion.after(phase, *jerk);
            left -= phase;
        }
        Motion {
            q: motion.q,
            ..Motion::default()
        }
    }

    /// How long it takes, s.
    pub(crate) fn secs(&self) -> f64 {
        self.secs.iter().sum()
    }

    /// Lowest and highest position from now to its end, rad.
    pub(crate) fn range(&self) -> (f64, f64) {
        let mut motion = self.from;
        let (mut low, mut high) = (motion.q, motion.q);
        let mut see = |q: f64| (low, high) = (low.min(q), high.max(q));
        for (jerk, secs) in self.jerk.iter().zip(self.secs) {
            for turn in turns(&motion, *jerk) {
                if turn > 0.0 && turn < secs {
                    see(motion.after(turn, *jerk).q);
                }
            }
            motion = motion.after(secs, *jerk);
            see(motion.q);
        }
        (low, high)
    }
}

/// When the velocity is zero under constant `jerk`: up to two instants, s, NaN for one that does not exist.
fn turns(motion: &Motion, jerk: f64) -> [f64; 2] {
    let Motion { v, a, .. } = *motion;
    if jerk == 0.0 {
        return [-v / a, f64::NAN];
    }
    let root = (a * a - 2.0 * jerk * v).sqrt();
    [(-a - root) / jerk, (-a + root) / jerk]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUND: Bound = Bound {
        velocity: 3.0,
        acceleration: 30.0,
        jerk: 1500.0,
    };

    proptest! {
        /// Whatever the motion: the stop ends at rest, keeps acceleration and jerk, and stays inside the range it names.
        #[test]
        fn a_stop_ends_at_rest_inside_its_range(v in -3.0f64..3.0, a in -30.0f64..30.0) {
            let from = Motion { q: 0.0, v, a };
            let stop = Stop::of(from, &BOUND);
            let (low, high) = stop.range();
            let steps = 400;
            let h = stop.secs() / f64::from(steps);
            let mut before = from;
            for k in 1..=steps {
                let now = stop.at(f64::from(k) * h);
                prop_assert!(now.a.abs() <= BOUND.acceleration + 1e-9);
                prop_assert!((now.a - before.a).abs() <= BOUND.jerk * h + 1e-9);
                prop_assert!((now.v - before.v).abs() <= BOUND.acceleration * h + 1e-9);
                prop_assert!(now.q >= low - 1e-9 && now.q <= high + 1e-9);
                before = now;
            }
            let last = stop.at(stop.secs());
            prop_assert!(last.v.abs() < 1e-9 && last.a.abs() < 1e-6, "{last:?}");
            prop_assert!((stop.at(f64::INFINITY).q - last.q).abs() < 1e-9);
        }

        /// Going on with the stop of a later instant is going on with the first: a hold may be planned anew every tick.
        #[test]
        fn a_stop_of_a_stop_is_the_same_stop(v in -3.0f64..3.0, a in -30.0f64..30.0, part in 0.0f64..1.0) {
            let stop = Stop::of(Motion { q: 0.0, v, a }, &BOUND);
            let again = Stop::of(stop.at(part * stop.secs()), &BOUND);
            prop_assert!((again.at(f64::INFINITY).q - stop.at(f64::INFINITY).q).abs() < 1e-7, "{} {}", again.at(f64::INFINITY).q, stop.at(f64::INFINITY).q);
        }
    }

    #[test]
    fn nothing_stops_faster_than_three_phases_of_full_jerk_and_acceleration() {
        // 3 rad/s at rest of acceleration: 20 ms to -30, held 80 ms, 20 ms back.
        let stop = Stop::of(
            Motion {
                q: 0.0,
                v: 3.0,
                a: 0.0,
            },
            &BOUND,
        );
        assert!((stop.secs() - 0.12).abs() < 1e-12, "{stop:?}");
        assert!(
            (stop.at(f64::INFINITY).q - 0.18).abs() < 1e-12,
            "{}",
            stop.at(f64::INFINITY).q
        );
    }
}
