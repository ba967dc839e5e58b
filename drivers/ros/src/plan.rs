//! What ROS 2 commands an arm to do, as a motion over time. Pure: decides which commands count and where the arm is to be at a
//! time; who may command, how fast the arm really goes and where it must not, is decided behind it, as for every other source.
//!
//! | message | means |
//! |---|---|
//! | `JointTrajectory` | through the points at their times, from where the arm is commanded to be; linear between positions, cubic where both ends say velocities; a new one takes the place of the one that plays |
//! | `Float64MultiArray` | there, now; again before [`Spec::silent_after`] is over, or the arm holds |
//!
//! A header's stamp of zero, or in the past, begins now for a stamp of zero; points whose time has passed are left out, and a
//! trajectory of none but such is refused. After its last point a trajectory stays there for [`Spec::silent_after`]; then
//! nobody commands any more, and the arm holds. Joints are all of the arm's, by name, in any order.

use std::time::Duration;

use tactus_types::{JointLimits, JointVec, Time};

use crate::messages::{Float64MultiArray, JointTrajectory};

/// Most points of a trajectory.
const MAX_POINTS: usize = 10_000;
/// Longest trajectory.
const MAX_SPAN: Duration = Duration::from_secs(600);
/// How far in the future a trajectory may begin.
const MAX_AHEAD: Duration = Duration::from_secs(60);
/// Name of the gripper beside the joints: 0 closed, 1 open.
pub const GRIPPER: &str = "gripper";

/// The arm that is commanded.
#[derive(Debug, Clone, PartialEq)]
pub struct Spec {
    /// Names of joints, in the arm's order.
    pub joints: Vec<String>,
    /// Limits, one per joint.
    pub limits: Vec<JointLimits>,
    /// Largest distance between the command and a position that is to be taken at once, rad.
    pub reach: f64,
    /// Without a command for this long nobody commands.
    pub silent_after: Duration,
}

/// Where an arm is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// rad, in the arm's order.
    pub q: JointVec,
    /// 0 closed .. 1 open.
    pub opening: f64,
}

/// Why a command does not count.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotTaken {
    /// Joints are missing, foreign or named twice.
    #[error("joints: expected {expected}, each once, got {actual}")]
    Joints {
        /// The arm's.
        expected: String,
        /// The message's.
        actual: String,
    },
    /// A list is not as long as the joints are many.
    #[error("{field}: expected {expected} numbers, got {actual}")]
    Length {
        /// Which list.
        field: &'static str,
        /// How long it should be.
        expected: usize,
        /// How long it is.
        actual: usize,
    },
    /// NaN or infinity.
    #[error("{field}: a number that is not finite")]
    NotFinite {
        /// Which list.
        field: &'static str,
    },
    /// A joint outside its limits, or the gripper outside 0..1.
    #[error("{joint}: expected {lower} to {upper}, got {actual}")]
    Limits {
        /// Which.
        joint: String,
        /// Lowest.
        lower: f64,
        /// Highest.
        upper: f64,
        /// What is asked.
        actual: f64,
    },
    /// A speed above the joint's limit, between two points or said.
    #[error("{joint}: {actual:.3} rad/s asked, its limit is {limit:.3}")]
    Speed {
        /// Which joint.
        joint: String,
        /// Its limit, rad/s.
        limit: f64,
        /// What is asked, rad/s.
        actual: f64,
    },
    /// Times of points do not grow, or are too many or too far.
    #[error("points: {reason}")]
    Points {
        /// What is wrong.
        reason: &'static str,
    },
    /// A position that is too far to be taken at once.
    #[error("{joint}: {actual:.3} rad from the command, at most {limit:.3}: send a trajectory")]
    Far {
        /// Which joint.
        joint: String,
        /// At most, rad.
        limit: f64,
        /// How far, rad.
        actual: f64,
    },
    /// A layout other than a plain list.
    #[error("layout: expected one dimension and no offset")]
    Layout,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    at: Time,
    q: JointVec,
    dq: Option<JointVec>,
    opening: f64,
}

/// A motion that counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    points: Vec<Point>,
    until: Time,
}

impl Plan {
    /// Where to be at `now`; `None` once nobody commands any more.
    pub fn at(&self, now: Time) -> Option<Target> {
        if now > self.until {
            return None;
        }
        let after = self.points.partition_point(|p| p.at <= now);
        let last = self.points.last()?;
        let (Some(from), Some(to)) = (
            after.checked_sub(1).and_then(|i| self.points.get(i)),
            self.points.get(after),
        ) else {
            // Before the first point, where the arm is commanded to be anyway, or behind the last.
            let stay = if after == 0 {
                self.points.first()?
            } else {
                last
            };
            return Some(stay.target());
        };
        let span = to.at.since(from.at).as_secs_f64();
        let t = now.since(from.at).as_secs_f64() / span;
        let q = match (from.dq, to.dq) {
            (Some(v0), Some(v1)) => JointVec::from_fn(from.q.len(), |i| {
                hermite(t, span, [from.q[i], to.q[i]], [v0[i], v1[i]])
            }),
            _ => from.q.lerp(&to.q, t),
        };
        Some(Target {
            q,
            opening: from.opening + t * (to.opening - from.opening),
        })
    }

    /// When nobody commands any more.
    pub fn until(&self) -> Time {
        self.until
    }

    /// All of it later by `by`: an arm that comes to follow only now does so from the motion's beginning.
    pub fn delay(&mut self, by: Duration) {
        for point in &mut self.points {
            point.at = point.at + by;
        }
        self.until = self.until + by;
    }
}

impl Point {
    fn target(&self) -> Target {
        Target {
            q: self.q,
            opening: self.opening,
        }
    }
}

/// Cubic through two positions with their velocities; `t` in 0..1 of `span` seconds.
fn hermite(t: f64, span: f64, [q0, q1]: [f64; 2], [v0, v1]: [f64; 2]) -> f64 {
    let (t2, t3) = (t * t, t * t * t);
    (2.0 * t3 - 3.0 * t2 + 1.0) * q0
        + (t3 - 2.0 * t2 + t) * span * v0
        + (3.0 * t2 - 2.0 * t3) * q1
        + (t3 - t2) * span * v1
}

impl Spec {
    /// Where each of the arm's joints is in `names`, and the gripper, if it is there.
    fn order(&self, names: &[String]) -> Result<(Vec<usize>, Option<usize>), NotTaken> {
        let at = |joint: &str| {
            let mut found = (0..names.len()).filter(|i| names[*i] == joint);
            found.next().filter(|_| found.next().is_none())
        };
        let gripper = at(GRIPPER);
        let order: Option<Vec<usize>> = self.joints.iter().map(|joint| at(joint)).collect();
        let expected = self.joints.len() + usize::from(gripper.is_some());
        match order {
            Some(order) if names.len() == expected => Ok((order, gripper)),
            _ => Err(NotTaken::Joints {
                expected: self.joints.join(", "),
                // As much as a log may hold.
                actual: names.join(", ").chars().take(200).collect(),
            }),
        }
    }

    fn checked(&self, q: &[f64], opening: f64) -> Result<(), NotTaken> {
        if q.iter().chain([&opening]).any(|x| !x.is_finite()) {
            return Err(NotTaken::NotFinite { field: "positions" });
        }
        let gripper = (GRIPPER, 0.0, 1.0, opening);
        let joints = self.joints.iter().zip(&self.limits).zip(q);
        let joints = joints.map(|((name, l), q)| (name.as_str(), l.lower, l.upper, *q));
        match joints
            .chain([gripper])
            .find(|(_, low, high, x)| !(*low..=*high).contains(x))
        {
            None => Ok(()),
            Some((joint, lower, upper, actual)) => Err(NotTaken::Limits {
                joint: joint.into(),
                lower,
                upper,
                actual,
            }),
        }
    }

    fn speed(&self, i: usize, actual: f64) -> Result<(), NotTaken> {
        let limit = self.limits.get(i).map_or(0.0, |l| l.velocity);
        // Rounding apart.
        if actual.abs() <= limit * 1.001 + 1e-9 {
            return Ok(());
        }
        Err(NotTaken::Speed {
            joint: self.joints.get(i).cloned().unwrap_or_default(),
            limit,
            actual: actual.abs(),
        })
    }

    /// The motion that `message`, which came at `now` (and `unix_nanos` since 1970), asks of an arm that is commanded to be at
    /// `from`.
    ///
    /// # Errors
    /// [`NotTaken`]; what played before plays on.
    pub fn trajectory(
        &self,
        message: &JointTrajectory,
        from: Target,
        (now, unix_nanos): (Time, u64),
    ) -> Result<Plan, NotTaken> {
        let (order, gripper) = self.order(&message.joint_names)?;
        let wrong = |reason| NotTaken::Points { reason };
        if message.points.is_empty() || message.points.len() > MAX_POINTS {
            return Err(wrong("expected 1 to 10000"));
        }
        let stamp = message.header.stamp;
        let (ahead, passed) = match stamp.is_zero() {
            true => (Duration::ZERO, Duration::ZERO),
            false => {
                let begin = stamp.unix_nanos();
                (
                    Duration::from_nanos(begin.saturating_sub(unix_nanos)),
                    Duration::from_nanos(unix_nanos.saturating_sub(begin)),
                )
            }
        };
        if ahead > MAX_AHEAD {
            return Err(wrong("begins more than a minute from now"));
        }
        let names = message.joint_names.len();
        let mut points = vec![Point {
            at: now + ahead,
            q: from.q,
            dq: None,
            opening: from.opening,
        }];
        let mut last = None;
        for point in &message.points {
            for (field, list) in [
                ("positions", &point.positions),
                ("velocities", &point.velocities),
                ("accelerations", &point.accelerations),
            ] {
                let may_be_empty = field != "positions" && list.is_empty();
                if list.len() != names && !may_be_empty {
                    return Err(NotTaken::Length {
                        field,
                        expected: names,
                        actual: list.len(),
                    });
                }
                if list.iter().any(|x| !x.is_finite()) {
                    return Err(NotTaken::NotFinite { field });
                }
            }
            let span = point.time_from_start.to_std();
            let span = span.ok_or(wrong("a negative time"))?;
            if span > MAX_SPAN || last.is_some_and(|last| span <= last) {
                return Err(wrong("expected times that grow, within ten minutes"));
            }
            last = Some(span);
            let ordered = |list: &[f64]| JointVec::from_fn(order.len(), |i| list[order[i]]);
            let q = ordered(&point.positions);
            let opening = gripper.map_or(from.opening, |at| point.positions[at]);
            self.checked(q.as_slice(), opening)?;
            let dq = (!point.velocities.is_empty()).then(|| ordered(&point.velocities));
            for (i, v) in dq.iter().flat_map(JointVec::iter).enumerate() {
                self.speed(i, *v)?;
            }
            // What has passed is left out, and the arm goes to the next from where it is.
            let Some(ahead_of_now) = (ahead + span).checked_sub(passed).filter(|d| !d.is_zero())
            else {
                continue;
            };
            let at = now + ahead_of_now;
            points.push(Point { at, q, dq, opening });
        }
        if points.len() == 1 {
            return Err(wrong("all of them have passed"));
        }
        for pair in points.windows(2) {
            let [from, to] = pair else { continue };
            let span = to.at.since(from.at).as_secs_f64();
            for i in 0..to.q.len() {
                self.speed(i, (to.q[i] - from.q[i]) / span)?;
            }
        }
        let until = points.last().map_or(now, |p| p.at) + self.silent_after;
        Ok(Plan { points, until })
    }

    /// The same for a list of positions, in the arm's order, with the gripper's opening behind them or without.
    ///
    /// # Errors
    /// [`NotTaken`]; what played before plays on.
    pub fn positions(
        &self,
        message: &Float64MultiArray,
        from: Target,
        now: Time,
    ) -> Result<Plan, NotTaken> {
        if message.layout.dim.len() > 1 || message.layout.data_offset != 0 {
            return Err(NotTaken::Layout);
        }
        let n = self.joints.len();
        let length = |actual| NotTaken::Length {
            field: "data",
            expected: n,
            actual,
        };
        let (q, opening) = match message.data.split_at_checked(n) {
            Some((q, [])) => (q, from.opening),
            Some((q, [opening])) => (q, *opening),
            _ => return Err(length(message.data.len())),
        };
        self.checked(q, opening)?;
        let q = JointVec::from_slice(q).ok_or_else(|| length(q.len()))?;
        let far = q.zip(&from.q, |a, b| (a - b).abs());
        if let Some((i, actual)) = far
            .iter()
            .copied()
            .enumerate()
            .find(|(_, d)| *d > self.reach)
        {
            return Err(NotTaken::Far {
                joint: self.joints.get(i).cloned().unwrap_or_default(),
                limit: self.reach,
                actual,
            });
        }
        let dq = None;
        Ok(Plan {
            points: vec![Point {
                at: now,
                q,
                dq,
                opening,
            }],
            until: now + self.silent_after,
        })
    }
}
