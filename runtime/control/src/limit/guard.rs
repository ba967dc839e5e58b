//! Limits in space: the box in which the tool point stays, and the arm's distance from itself.
//!
//! Decides whether the stop that begins with a motion keeps them. One law holds after every tick, as for the position
//! limits: *the stop that begins now stays inside*. A motion that would break it is refused, and the limiter goes on with
//! the stop of the tick before, which by the law of that tick stays inside. An arm that starts outside may come back and
//! may not go further out: what is allowed is how far out it is.
//!
//! *Room* is what is left of a limit at a configuration, m: the way to the nearest face of the box, the arm's distance
//! from itself less the clearance; negative outside. A configuration is looked at only when it might be outside: between
//! two configurations no room shrinks by more than the ways of the joints times how far each can move the tool or a link
//! ([`Chain::reach`], [`SelfCollision::clear_for`]). Along a stop that comes near a limit the looks are so close that it
//! cannot be outside by half a millimetre in between, or [`MAX_LOOKS`] in all if that is fewer: what then lies between two
//! looks is a fraction of a millimetre of a curve. The end of a stop is always looked at.
//!
//! Does not know velocities' limits, nor what a tool or a load adds to the arm.

use tactus_kinematics::{
    Chain, Distances, Frames, KinematicsError, Placed, SelfCollision, WorkspaceBox,
};
use tactus_types::{ArmInfo, ClampedBy, JointVec, MAX_JOINTS};

use super::stop::{Bound, Motion, Stop};

/// Most configurations that are looked at along one stop.
pub const MAX_LOOKS: usize = 8;

/// How far outside a stop may pass between two looks, m, however it moves.
const BETWEEN_M: f64 = 0.5e-3;

/// How far outside counts as inside, m: rounding.
const ROUNDING_M: f64 = 1e-6;

/// Which limits in space an arm has.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardSpec {
    /// Corners of the box for the tool point in the base frame, m.
    pub workspace: Option<[[f64; 3]; 2]>,
    /// How near two links may come to each other, m; `None` does not compare links.
    pub clearance_m: Option<f64>,
    /// Links whose collision shapes are not looked at.
    pub leave_out: Vec<String>,
}

/// The limits in space of one arm. Immutable.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    chain: Chain,
    workspace: Option<WorkspaceBox>,
    collision: Option<(SelfCollision, f64)>,
    reach: JointVec,
}

/// What a look at one configuration has shown.
#[derive(Debug, Clone, Copy)]
struct Look {
    q: JointVec,
    workspace_m: f64,
    distances: Distances,
}

/// Distances are measured exactly up to this much more than the clearance, m: arms are rarely so fast that more matters.
const NEAR_M: f64 = 0.1;

/// One value for the workspace and one for self-collision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Room<T> {
    pub workspace: T,
    pub collision: T,
}

impl<T: Copy> Room<T> {
    fn zip<U: Copy, V>(&self, other: &Room<U>, f: impl Fn(T, U) -> V) -> Room<V> {
        Room {
            workspace: f(self.workspace, other.workspace),
            collision: f(self.collision, other.collision),
        }
    }
}

impl Room<bool> {
    fn any(self) -> bool {
        self.workspace || self.collision
    }

    /// [`Room::any`], written down.
    fn says(self, clamped_by: &mut ClampedBy) -> bool {
        clamped_by.workspace |= self.workspace;
        clamped_by.collision |= self.collision;
        self.any()
    }
}

impl Guard {
    /// The limits of `spec` for the arm of `info`; `None` when it asks for none.
    ///
    /// # Errors
    /// [`KinematicsError`] when the arm does not describe its links, or not so that it can be computed with.
    pub fn new(info: &ArmInfo, spec: &GuardSpec) -> Result<Option<Self>, KinematicsError> {
        if spec.workspace.is_none() && spec.clearance_m.is_none() {
            return Ok(None);
        }
        let chain = chain(info)?;
        let workspace = spec
            .workspace
            .map(|[min, max]| WorkspaceBox::new(min, max))
            .transpose()?;
        let collision = match (spec.clearance_m, &info.geometry) {
            (Some(clearance_m), Some(geometry)) => {
                let leave_out: Vec<&str> = spec.leave_out.iter().map(String::as_str).collect();
                let arm = SelfCollision::from_urdf(&geometry.urdf, chain.clone(), &leave_out)?;
                Some((arm, clearance_m))
            }
            _ => None,
        };
        Ok(Some(Self {
            reach: chain.reach(),
            chain,
            workspace,
            collision,
        }))
    }

    /// Room that is left at `q`, m: to the workspace's nearest face and between the links that are nearest to each other, beyond
    /// the clearance; negative outside. For planning: it allocates.
    ///
    /// # Panics
    /// If `q` has fewer values than the arm has joints.
    pub fn room_m(&self, q: &JointVec) -> f64 {
        let mut scratch = Box::new((Frames::default(), Placed::default()));
        let mut look = Look {
            q: *q,
            workspace_m: f64::NEG_INFINITY,
            distances: Distances::default(),
        };
        self.look(*q, &mut scratch, &mut look);
        let room = self.room(&look);
        room.workspace.min(room.collision)
    }

    /// Looks at `q`, which is finite.
    fn look(&self, q: JointVec, (frames, placed): &mut (Frames, Placed), out: &mut Look) {
        self.chain.frames(&q, frames);
        out.q = q;
        let workspace = self.workspace.as_ref();
        out.workspace_m = workspace.map_or(f64::INFINITY, |room| room.room_m(frames.tip()));
        if let Some((arm, clearance_m)) = &self.collision {
            arm.distances_at(frames, clearance_m + NEAR_M, placed, &mut out.distances);
        }
    }

    /// Room that a look has shown, m; infinite for a limit that there is not.
    fn room(&self, look: &Look) -> Room<f64> {
        let clearance_m = self.collision.as_ref().map_or(0.0, |(_, m)| *m);
        Room {
            workspace: look.workspace_m,
            collision: look.distances.least_m() - clearance_m,
        }
    }

    /// For how long each room cannot be used up and `more_m` besides, s, when no joint is faster than `speeds`. Negative
    /// farther outside than that.
    fn clear_for(&self, look: &Look, speeds: &JointVec, more_m: f64) -> Room<f64> {
        let each = self.reach.iter().zip(speeds.iter());
        let speed: f64 = each.map(|(r, s)| r * s).sum();
        let collision = self.collision.as_ref();
        Room {
            // Not a number on the face of the box where nothing moves.
            workspace: ((look.workspace_m + more_m) / speed).min(f64::INFINITY),
            collision: collision.map_or(f64::INFINITY, |(arm, clearance_m)| {
                arm.clear_for(&look.distances, speeds, clearance_m - more_m)
            }),
        }
    }
}

/// The chain from base to tool of the arm of `info`.
///
/// # Errors
/// [`KinematicsError`] when it does not describe its links, or not so that it can be computed with.
pub fn chain(info: &ArmInfo) -> Result<Chain, KinematicsError> {
    let Some(geometry) = &info.geometry else {
        return Err(KinematicsError::Field {
            field: "geometry",
            expected: "an arm whose info describes its links (URDF)",
            actual: format!("none in the info of `{}`", info.model),
        });
    };
    let joints: Vec<&str> = info.joints.iter().map(String::as_str).collect();
    Chain::from_urdf(
        &geometry.urdf,
        &geometry.base_link,
        &geometry.tool_link,
        &joints,
    )
}

/// When a stop that takes `end` and is looked at after `secs` is looked at next at the latest, s: a share of its way later,
/// [`MAX_LOOKS`] of which are all. At constant deceleration the way that is left goes with the square of the time that is
/// left; shares of the time would be longest where the arm is fastest, and a curve between two looks goes with the square.
fn after_a_share(secs: f64, end: f64) -> f64 {
    let left = 1.0 - secs / end;
    let way_left = (left * left - 1.0 / MAX_LOOKS as f64).max(0.0);
    end * (1.0 - way_left.sqrt())
}

/// A guard and what it knows from the tick before.
#[derive(Debug)]
pub(crate) struct Watch {
    guard: Guard,
    /// What the last look that was needed has shown.
    known: Look,
    /// For others.
    look: Look,
    /// For the one that says what is allowed.
    present: Look,
    /// Room to work in: too large to be made anew for each look.
    scratch: (Frames, Placed),
    /// A limit in space stopped the arm, and the setpoint has not been inside since.
    braking: bool,
}

impl Watch {
    pub(crate) fn new(guard: Guard) -> Self {
        let nothing = Look {
            q: JointVec::zeros(0),
            workspace_m: f64::NEG_INFINITY,
            distances: Distances::default(),
        };
        Self {
            guard,
            known: nothing,
            look: nothing,
            present: nothing,
            scratch: Default::default(),
            braking: false,
        }
    }

    /// Begins again, from wherever the arm is.
    pub(crate) fn restart(&mut self) {
        self.known.q = JointVec::zeros(0);
        self.braking = false;
    }

    /// Whether the stop goes on, from `now`: a limit in space has begun it, and `goal` still lies outside.
    pub(crate) fn keeps_stopping(
        &mut self,
        now: &[Motion],
        goal: &JointVec,
        clamped_by: &mut ClampedBy,
    ) -> bool {
        if self.braking {
            self.guard.look(*goal, &mut self.scratch, &mut self.look);
            let room = self.guard.room(&self.look);
            self.braking = self.outside(room, now).says(clamped_by);
        }
        self.braking
    }

    /// Whether the stop that begins with `next` would break a limit, so that one from `now`, as many joints as it has, has
    /// to begin instead.
    pub(crate) fn forbids(
        &mut self,
        now: &[Motion],
        next: &[Motion],
        bounds: &[Bound; MAX_JOINTS],
        clamped_by: &mut ClampedBy,
    ) -> bool {
        let next = next.get(..now.len()).unwrap_or_default();
        self.braking = self.broken(now, next, bounds).says(clamped_by);
        self.braking
    }

    /// Which limits the stops that begin with `next` break, beyond what an arm at `now` is allowed.
    fn broken(
        &mut self,
        now: &[Motion],
        next: &[Motion],
        bounds: &[Bound; MAX_JOINTS],
    ) -> Room<bool> {
        let n = next.len();
        let mut stops = [Stop::of(Motion::default(), &bounds[0]); MAX_JOINTS];
        let mut ranges = [(0.0, 0.0); MAX_JOINTS];
        let each = stops
            .iter_mut()
            .zip(&mut ranges)
            .zip(next.iter().zip(bounds));
        for ((stop, range), (motion, bound)) in each {
            *stop = Stop::of(*motion, bound);
            *range = stop.range();
        }
        // Whether all of the stop is too near to a look for anything to be used up in between.
        let near = |look: &Look, guard: &Guard| {
            let ways = JointVec::from_fn(n, |i| {
                let (low, high) = ranges[i];
                (high - look.q[i]).abs().max((low - look.q[i]).abs())
            });
            let clear = guard.clear_for(look, &ways, 0.0);
            clear.workspace >= 1.0 && clear.collision >= 1.0
        };
        let inside = Room {
            workspace: false,
            collision: false,
        };
        if self.known.q.len() == n && near(&self.known, &self.guard) {
            return inside;
        }
        let start = JointVec::from_fn(n, |i| next[i].q);
        self.guard.look(start, &mut self.scratch, &mut self.known);
        if near(&self.known, &self.guard) {
            return inside;
        }
        let end = stops
            .iter()
            .take(n)
            .fold(0.0, |end: f64, s| end.max(s.secs()));
        let (mut secs, mut at) = (0.0, [Motion::default(); MAX_JOINTS]);
        at[..n].copy_from_slice(next);
        let mut first = true;
        loop {
            let look = if first { &self.known } else { &self.look };
            let room = self.guard.room(look);
            let outside = self.outside(room, now);
            if outside.any() || secs >= end {
                return outside;
            }
            // No joint becomes faster than when its acceleration has been taken back.
            let fastest = JointVec::from_fn(n, |i| {
                let Motion { v, a, .. } = at[i];
                v.abs() + a * a / (2.0 * bounds[i].jerk)
            });
            let look = if first { &self.known } else { &self.look };
            let clear = self.guard.clear_for(look, &fastest, BETWEEN_M);
            let clear = clear.workspace.min(clear.collision);
            secs = (secs + clear).max(after_a_share(secs, end)).min(end);
            for (at, stop) in at.iter_mut().zip(&stops).take(n) {
                *at = stop.at(secs);
            }
            let q = JointVec::from_fn(n, |i| at[i].q);
            self.guard.look(q, &mut self.scratch, &mut self.look);
            first = false;
        }
    }

    /// Which of `room` is outside, beyond how far outside an arm at `now` is.
    fn outside(&mut self, room: Room<f64>, now: &[Motion]) -> Room<bool> {
        let rounding = Room {
            workspace: ROUNDING_M,
            collision: ROUNDING_M,
        };
        let outside = |room: f64, allowed: f64| -room > allowed || room.is_nan();
        let broken = room.zip(&rounding, outside);
        if !broken.any() {
            return broken;
        }
        let now = JointVec::from_fn(now.len(), |i| now[i].q);
        self.guard.look(now, &mut self.scratch, &mut self.present);
        let allowed = self
            .guard
            .room(&self.present)
            .zip(&rounding, |room, least| least.max(-room));
        room.zip(&allowed, outside)
    }
}

#[cfg(test)]
mod tests;
