//! What a deflection goes through before it is a speed: dead zone, curve, smoothing. All pure; in this order.

/// How deflections are shaped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shaping {
    /// Deflections up to this count as none, 0..1; what is beyond is stretched to begin at 0, so that nothing leaps.
    pub dead_zone: f64,
    /// Share of the cubic in the curve, 0 (straight) to 1: calm near the centre, full speed at the end.
    pub expo: f64,
    /// Time constant of the smoothing, seconds; 0 leaves it out.
    pub smooth_secs: f64,
}

impl Default for Shaping {
    /// Chosen: sticks rest within a tenth of their centre; half a cubic; 50 ms.
    fn default() -> Self {
        Self {
            dead_zone: 0.1,
            expo: 0.5,
            smooth_secs: 0.05,
        }
    }
}

impl Shaping {
    /// None at all: for keys, which are pressed or not.
    pub const NONE: Self = Self {
        dead_zone: 0.0,
        expo: 0.0,
        smooth_secs: 0.0,
    };

    /// Dead zone and curve of one axis. Odd, monotonic, -1..1; what is not a number counts as none.
    pub fn shape(&self, deflection: f64) -> f64 {
        curve(dead_zone(deflection, self.dead_zone), self.expo)
    }

    /// Share of the way from the last value to the new one after `secs`: the exact step of a first-order lag.
    pub fn share(&self, secs: f64) -> f64 {
        if self.smooth_secs <= 0.0 {
            return 1.0;
        }
        1.0 - (-secs.max(0.0) / self.smooth_secs).exp()
    }
}

/// `x` without its dead zone, stretched to reach 1 at 1.
fn dead_zone(x: f64, zone: f64) -> f64 {
    let x = if x.is_finite() {
        x.clamp(-1.0, 1.0)
    } else {
        0.0
    };
    let beyond = (x.abs() - zone).max(0.0) / (1.0 - zone).max(1e-9);
    beyond.min(1.0).copysign(x)
}

/// `(1 - expo) x + expo x^3`.
fn curve(x: f64, expo: f64) -> f64 {
    (1.0 - expo) * x + expo * x * x * x
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn shaping_is_odd_monotonic_bounded_and_reaches_the_end(
            a in -1.5f64..1.5, b in -1.5f64..1.5, dead_zone in 0.0f64..0.5, expo in 0.0f64..1.0
        ) {
            let shaping = Shaping { dead_zone, expo, smooth_secs: 0.0 };
            let (at_a, at_b) = (shaping.shape(a), shaping.shape(b));
            prop_assert!(at_a.abs() <= 1.0);
            prop_assert!((shaping.shape(-a) + at_a).abs() < 1e-12);
            prop_assert!(a > b || at_a <= at_b + 1e-12);
            prop_assert!(a.abs() > dead_zone || at_a == 0.0);
            prop_assert!((shaping.shape(1.0) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn the_dead_zone_ends_without_a_leap_and_no_number_is_none() {
        let shaping = Shaping::default();
        assert!(shaping.shape(0.1 + 1e-6) < 1e-5);
        // (0.55 - 0.1) / 0.9 = 0.5; 0.5 * 0.5 + 0.5 * 0.125.
        assert!((shaping.shape(0.55) - 0.3125).abs() < 1e-12);
        assert_eq!(shaping.shape(f64::NAN), 0.0);
        assert_eq!(shaping.shape(f64::INFINITY), 0.0);
    }

    #[test]
    fn smoothing_is_the_exact_step_of_a_first_order_lag() {
        let shaping = Shaping::default();
        assert!((shaping.share(0.05) - (1.0 - 1.0 / std::f64::consts::E)).abs() < 1e-12);
        // Twice half a step is one step.
        let half = shaping.share(0.01);
        assert!((1.0 - (1.0 - half) * (1.0 - half) - shaping.share(0.02)).abs() < 1e-12);
        assert_eq!(Shaping::NONE.share(0.005), 1.0);
    }
}
