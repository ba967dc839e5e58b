//! Motion quality: how smooth the commanded motion of an episode was, and how well chunks met at their seams.
//!
//! Measures commands as the device gets them, one position per tick, and derives the rest by differences: what a plan
//! intended does not count. Takes numbers; reads no clock and decides nothing.
//!
//! | figure | meaning | source |
//! |---|---|---|
//! | seam jump | distance, on the joint where it is largest, between where the old plan and where the new chunk want the arm at the hand-over, rad | - |
//! | seam cosine | cosine of the angle between the joint velocities of the two: 1 goes on, -1 turns back | - |
//! | acceleration, jerk | largest absolute second and third difference of the commands over all joints, rad/s^2 and rad/s^3 | - |
//! | SPARC | spectral arc length of the joint speed: 0 is smoothest, a minimum-jerk reach has about -1.4 | Balasubramanian et al., J NeuroEng Rehabil 12:112 (2015) |

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;
use tactus_control::Seam;
use tactus_types::{JointVec, MotionQuality};

/// Cut-off of the spectrum, Hz, and share of its peak below which it does not count: the values of the paper.
const CUT_OFF_HZ: f64 = 10.0;
const CUT_OFF_SHARE: f64 = 0.05;
/// Zero padding: this many doublings beyond the length.
const PADDING: u32 = 4;

/// Most commands whose speed is kept, and transformed at the end: two minutes at 500 Hz, then some tens of milliseconds.
const MOST_SPEEDS: usize = 1 << 16;

/// Collects one episode.
#[derive(Debug, Clone)]
pub struct MotionMeter {
    period_secs: f64,
    /// The last command, and its first and second difference quotients.
    last: [Option<JointVec>; 3],
    /// Of every command; `None` once they are too many.
    speed: Option<Vec<f64>>,
    acceleration_max: f64,
    jerk_max: f64,
    jumps: (u64, f64, f64),
    cosines: (u64, f64),
}

impl MotionMeter {
    /// A meter for commands every `period_secs`.
    pub fn new(period_secs: f64) -> Self {
        Self {
            period_secs,
            last: [None; 3],
            speed: Some(Vec::new()),
            acceleration_max: 0.0,
            jerk_max: 0.0,
            jumps: (0, 0.0, 0.0),
            cosines: (0, 0.0),
        }
    }

    /// Takes the command of the next tick, joint positions in rad.
    pub fn command(&mut self, q: &JointVec) {
        let h = self.period_secs;
        let quotient = |now: JointVec, before: Option<JointVec>| {
            before
                .filter(|b| b.len() == now.len())
                .map(|b| now.zip(&b, |x, y| (x - y) / h))
        };
        let [q0, v0, a0] = self.last;
        let v = quotient(*q, q0);
        let a = v.and_then(|v| quotient(v, v0));
        let j = a.and_then(|a| quotient(a, a0));
        self.speed.take_if(|speed| speed.len() == MOST_SPEEDS);
        if let (Some(v), Some(speed)) = (v, &mut self.speed) {
            speed.push(v.iter().map(|x| x * x).sum::<f64>().sqrt());
        }
        self.acceleration_max = self.acceleration_max.max(a.map_or(0.0, |a| a.max_abs()));
        self.jerk_max = self.jerk_max.max(j.map_or(0.0, |j| j.max_abs()));
        self.last = [Some(*q), v, a];
    }

    /// Takes a hand-over from one chunk to the next.
    pub fn seam(&mut self, seam: &Seam) {
        let (count, sum, max) = &mut self.jumps;
        (*count, *sum, *max) = (*count + 1, *sum + seam.jump_rad, max.max(seam.jump_rad));
        if let Some(cosine) = seam.cosine {
            self.cosines = (self.cosines.0 + 1, self.cosines.1 + cosine);
        }
    }

    /// All figures. Takes a Fourier transform of the whole episode: milliseconds. One of more than 65,536 commands has no
    /// [`MotionQuality::sparc`]: it stays 0.
    pub fn quality(&self) -> MotionQuality {
        let speed = self.speed.as_deref().unwrap_or_default();
        MotionQuality {
            sparc: sparc(speed, self.period_secs),
            ..self.so_far()
        }
    }

    /// The figures that cost nothing: all but [`MotionQuality::sparc`].
    pub fn so_far(&self) -> MotionQuality {
        let mean = |(n, sum): (u64, f64)| if n == 0 { 0.0 } else { sum / n as f64 };
        let (seams, sum, max) = self.jumps;
        MotionQuality {
            seams,
            seam_jump_mean: mean((seams, sum)),
            seam_jump_max: max,
            seam_cosine_mean: mean(self.cosines),
            acceleration_max: self.acceleration_max,
            jerk_max: self.jerk_max,
            sparc: 0.0,
        }
    }
}

/// Spectral arc length of a speed profile sampled every `period_secs` (the paper's equations 7 and 8, with its adaptive
/// cut-off); 0 for a profile that is shorter than four samples or never moves.
pub fn sparc(speed: &[f64], period_secs: f64) -> f64 {
    if speed.len() < 4 {
        return 0.0;
    }
    let n = speed.len().next_power_of_two() << PADDING;
    let mut spectrum: Vec<Complex<f64>> = speed.iter().map(|v| Complex::new(*v, 0.0)).collect();
    spectrum.resize(n, Complex::default());
    FftPlanner::new().plan_fft_forward(n).process(&mut spectrum);
    let step_hz = 1.0 / (n as f64 * period_secs);
    let kept = ((CUT_OFF_HZ / step_hz).floor() as usize + 1).min(n / 2);
    let magnitude: Vec<f64> = spectrum.iter().take(kept).map(|c| c.norm()).collect();
    let peak = magnitude.iter().copied().fold(0.0, f64::max);
    if peak <= 0.0 {
        return 0.0;
    }
    let normalised: Vec<f64> = magnitude.iter().map(|m| m / peak).collect();
    let counts = |m: &f64| *m >= CUT_OFF_SHARE;
    let (Some(first), Some(last)) = (
        normalised.iter().position(counts),
        normalised.iter().rposition(counts),
    ) else {
        return 0.0;
    };
    let Some(arc) = normalised.get(first..=last).filter(|arc| arc.len() > 1) else {
        return 0.0;
    };
    let along = 1.0 / (arc.len() - 1) as f64;
    -arc.windows(2)
        .map(|w| match w {
            [a, b] => along.hypot(b - a),
            _ => 0.0,
        })
        .sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Speed of a minimum-jerk reach of one second.
    fn reach(samples: usize) -> Vec<f64> {
        let v = |t: f64| 30.0 * t * t * (1.0 - t) * (1.0 - t);
        (0..samples).map(|i| v(i as f64 / samples as f64)).collect()
    }

    /// The reference implementation that its authors publish (github.com/siva82kb/SPARC, `sparc(v, fs=500)`), run in
    /// numpy on the same profiles.
    #[test]
    fn spectral_arc_lengths_are_those_of_the_authors() {
        let smooth = sparc(&reach(500), 0.002);
        assert!((smooth - SMOOTH).abs() < 1e-6, "{smooth}");
        let mut shaken = reach(500);
        for (i, v) in shaken.iter_mut().enumerate() {
            *v += 0.3 * (2.0 * std::f64::consts::PI * 7.0 * i as f64 * 0.002).sin();
        }
        let rough = sparc(&shaken, 0.002);
        assert!((rough - ROUGH).abs() < 1e-6, "{rough}");
    }
    const SMOOTH: f64 = -1.402_426_062_975_235_2;
    const ROUGH: f64 = -1.966_185_681_325_32;

    #[test]
    fn peaks_are_those_of_the_differences() {
        let mut meter = MotionMeter::new(0.01);
        // q = t^3: acceleration 6 t, jerk 6.
        for i in 0..100 {
            let t = f64::from(i) * 0.01;
            meter.command(&JointVec::from_fn(2, |_| t * t * t));
        }
        let q = meter.quality();
        assert!((q.jerk_max - 6.0).abs() < 1e-6, "{q:?}");
        assert!((q.acceleration_max - 6.0 * 0.98).abs() < 1e-6, "{q:?}");
    }

    #[test]
    fn an_episode_of_hours_keeps_no_more_than_a_short_one() {
        let mut meter = MotionMeter::new(0.002);
        let at = |i: usize| JointVec::from_fn(2, |_| (i as f64 * 0.002).sin());
        (0..MOST_SPEEDS).for_each(|i| meter.command(&at(i)));
        assert!(meter.quality().sparc < 0.0);
        (MOST_SPEEDS..MOST_SPEEDS + 4).for_each(|i| meter.command(&at(i)));
        let q = meter.quality();
        assert!(meter.speed.is_none() && q.sparc == 0.0);
        assert!((q.acceleration_max - 1.0).abs() < 1e-3);
    }

    #[test]
    fn seams_are_averaged_and_a_motion_without_any_says_so() {
        let mut meter = MotionMeter::new(0.002);
        assert_eq!(meter.quality(), MotionQuality::default());
        for (jump_rad, cosine) in [(0.01, Some(1.0)), (0.03, None), (0.02, Some(0.0))] {
            meter.seam(&Seam { jump_rad, cosine });
        }
        let q = meter.quality();
        assert_eq!(
            (q.seams, q.seam_jump_max, q.seam_cosine_mean),
            (3, 0.03, 0.5)
        );
        assert!((q.seam_jump_mean - 0.02).abs() < 1e-12);
    }
}
