//! How smooth a commanded motion was: the figures, whoever measured them.

/// Figures of one episode so far; how they are measured is `tactus-host`'s `motion`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MotionQuality {
    /// Hand-overs from one chunk to the next.
    pub seams: u64,
    /// Mean over the seams of the distance, on the joint where it is largest, between where the old plan and where the
    /// new chunk want the arm at the hand-over, rad.
    pub seam_jump_mean: f64,
    /// The largest of them, rad.
    pub seam_jump_max: f64,
    /// Mean cosine of the angle between the joint velocities of old plan and new chunk, -1..1; 0 without seams in motion.
    pub seam_cosine_mean: f64,
    /// Largest acceleration of the commands, rad/s^2.
    pub acceleration_max: f64,
    /// Largest jerk of the commands, rad/s^3.
    pub jerk_max: f64,
    /// Spectral arc length of the joint speed, at most 0; 0 for a motion too short or too long to have one. Known when the episode
    /// has ended.
    pub sparc: f64,
}
