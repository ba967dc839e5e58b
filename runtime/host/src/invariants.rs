//! What holds for every command, whatever happens: the laws that drills and soaks check from outside.
//!
//! Looks only at commands as the device gets them and at the arm's description; shares no code with the limiter. Decides
//! nothing about what to do when a law is broken.

use tactus_types::{ArmInfo, Command, Mode, Source};

/// Rounding that a limit may be exceeded by: its share.
const SHARE: f64 = 1e-6;
/// Rounding that a position may lie outside its limits by, rad.
const ROUNDING_RAD: f64 = 1e-6;

/// A law that a command broke.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Violation {
    /// A number is not finite.
    #[error("tick {tick}: a number is not finite")]
    NotFinite {
        /// The tick.
        tick: u64,
    },
    /// A joint is commanded outside a limit.
    #[error("tick {tick}, joint {joint}: {what} {actual:.6}, limit {limit:.6}")]
    Limit {
        /// The tick.
        tick: u64,
        /// The joint.
        joint: usize,
        /// `position`, `velocity`, `acceleration` or `jerk`.
        what: &'static str,
        /// What was commanded, SI.
        actual: f64,
        /// The limit, SI.
        limit: f64,
    },
    /// A fault moved the gripper.
    #[error("tick {tick}: the gripper moved from {from:.3} to {to:.3} in a hold")]
    Gripper {
        /// The tick.
        tick: u64,
        /// Opening before.
        from: f64,
        /// Opening commanded.
        to: f64,
    },
    /// A setpoint counted in a mode that is not that of whoever asked for it.
    #[error("tick {tick}: {who:?} moved the arm in mode `{mode}`")]
    Mode {
        /// The tick.
        tick: u64,
        /// Who.
        who: Source,
        /// The mode.
        mode: &'static str,
    },
}

/// Follows the commands of an arm.
#[derive(Debug, Clone)]
pub struct Invariants {
    info: ArmInfo,
    period_secs: f64,
    last: Option<Command>,
    /// Largest change of a joint from one command to the next, rad.
    pub largest_step: f64,
    /// Largest jerk, rad/s^3.
    pub peak_jerk: f64,
}

impl Invariants {
    /// For commands every `period_secs` to the arm of `info`.
    pub fn new(info: ArmInfo, period_secs: f64) -> Self {
        Self {
            info,
            period_secs,
            last: None,
            largest_step: 0.0,
            peak_jerk: 0.0,
        }
    }

    /// The command was seeded from the measured arm: what was commanded before no longer counts.
    pub fn reseeded(&mut self) {
        self.last = None;
    }

    /// Looks at the command of a tick.
    ///
    /// # Errors
    /// The first law that it breaks.
    pub fn check(&mut self, command: &Command, mode: &Mode) -> Result<(), Violation> {
        let tick = command.tick;
        let finite = command.q.is_finite() && command.dq.is_finite() && command.ddq.is_finite();
        if !finite || !command.opening.is_finite() {
            return Err(Violation::NotFinite { tick });
        }
        let last = self.last.replace(*command);
        let h = self.period_secs;
        for (joint, l) in self.info.limits.iter().enumerate() {
            let Some(q) = command.q.iter().nth(joint).copied() else {
                return Err(Violation::NotFinite { tick });
            };
            let inside = (l.lower - ROUNDING_RAD..=l.upper + ROUNDING_RAD).contains(&q);
            let at_most = |what, actual: f64, limit: f64| {
                if actual.abs() <= limit * (1.0 + SHARE) + ROUNDING_RAD {
                    Ok(())
                } else {
                    Err(Violation::Limit {
                        tick,
                        joint,
                        what,
                        actual,
                        limit,
                    })
                }
            };
            if !inside {
                let limit = if q < l.lower { l.lower } else { l.upper };
                return Err(Violation::Limit {
                    tick,
                    joint,
                    what: "position",
                    actual: q,
                    limit,
                });
            }
            at_most("velocity", command.dq[joint], l.velocity)?;
            at_most("acceleration", command.ddq[joint], l.acceleration)?;
            if let Some(last) = &last {
                let step = q - last.q[joint];
                self.largest_step = self.largest_step.max(step.abs());
                at_most("velocity", step / h, l.velocity)?;
                let jerk = (command.ddq[joint] - last.ddq[joint]) / h;
                self.peak_jerk = self.peak_jerk.max(jerk.abs());
                at_most("jerk", jerk, l.jerk)?;
            }
        }
        let source = command.setpoint.source;
        // Whoever has no command may always hold.
        let theirs = match source {
            Source::Hold => true,
            Source::Policy => *mode == Mode::Policy,
            Source::Goto => matches!(mode, Mode::Goto | Mode::Ready),
            Source::Align => *mode == Mode::Align,
            Source::Teleop => *mode == Mode::Teleop,
        };
        if !theirs {
            return Err(Violation::Mode {
                tick,
                who: source,
                mode: mode.word(),
            });
        }
        if let Some(last) = last
            && matches!(mode, Mode::Hold(_))
            && last.opening != command.opening
        {
            return Err(Violation::Gripper {
                tick,
                from: last.opening,
                to: command.opening,
            });
        }
        Ok(())
    }
}
