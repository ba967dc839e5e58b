//! Assembling an observation: which frames and which joint state belong together at one instant.
//!
//! Decides which instant an observation has (`observed_at`: the capture time of the oldest of the newest frames),
//! interpolates proprioception to it, and says which stream is missing, stale, frozen or from the future. Does not
//! decide when an observation is wanted (`dispatch`) nor read any clock.
//!
//! A camera counts as *frozen* when it has sent the same bytes for as long as a frame may be old, while a joint moved so
//! far that the picture cannot be the same ([`MOVED_RAD`]); from then on until its picture changes. A camera that looks
//! at an arm at rest may send the same picture for ever: simulated ones do, real ones have noise.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{CameraFrame, JointState, Observation, RefusalReason, Time};

use crate::pair::Pair;

mod proprio;

use proprio::Proprio;

/// A message captured this much later than now is from a clock that is not the cell's. Above what a tick that decides
/// for its deadline may lag behind the newest state, below any staleness bound.
pub const CLOCK_TOLERANCE: Duration = Duration::from_millis(10);

/// A picture of an arm that moved this far is another picture, rad.
const MOVED_RAD: f64 = 0.03;

/// Bounds of an observation.
#[derive(Debug, Clone, PartialEq)]
pub struct AssemblySpec {
    /// Cameras that the policy needs, in its order.
    pub cameras: Vec<Arc<str>>,
    /// A newest frame older than this is stale.
    pub frame_limit: Duration,
    /// A newest joint state older than this is stale.
    pub proprio_limit: Duration,
    /// Frames of one observation may be captured at most this far apart.
    pub max_skew: Duration,
}

/// What could be assembled at `now`.
#[derive(Debug, Clone, PartialEq)]
pub enum Assembled {
    /// An observation and when its newest frame was received.
    Ready {
        /// The observation.
        observation: Observation,
        /// When the newest of its frames reached this process.
        received_at: Time,
    },
    /// All streams live, but their newest frames are older than asked for or do not belong together yet.
    NotYet,
    /// A stream has never delivered, or its newest message is older than its bound.
    Unfit(RefusalReason),
}

/// What is known of one camera.
#[derive(Debug, Default)]
struct Seen {
    newest: Option<CameraFrame>,
    /// When the first of the frames that all look like the newest was captured.
    still_since: Time,
    /// Where the arm was then, and how far from there it was in any of the frames since.
    still_at: Option<JointState>,
    moved: f64,
    frozen: bool,
    /// The last frame came from the future, by this much; it was dropped.
    ahead: Option<Duration>,
}

/// Keeps the newest frame per camera and recent joint states.
#[derive(Debug)]
pub struct Assembler {
    spec: AssemblySpec,
    streams: Vec<Arc<str>>,
    seen: Vec<Seen>,
    /// One per arm.
    proprio: Vec<Proprio>,
    /// Where there are two.
    pair: Option<Pair>,
}

impl Assembler {
    /// An assembler that has received nothing yet.
    pub fn new(spec: AssemblySpec) -> Self {
        let stream = |camera: &Arc<str>| format!("camera/{camera}").into();
        Self {
            streams: spec.cameras.iter().map(stream).collect(),
            seen: spec.cameras.iter().map(|_| Seen::default()).collect(),
            proprio: vec![Proprio::new("proprioception".into())],
            pair: None,
            spec,
        }
    }

    /// An assembler of observations of two arms as one: both at the same instant.
    pub fn of_pair(spec: AssemblySpec, pair: Pair) -> Self {
        let of = |name: Arc<str>| Proprio::new(format!("proprioception of `{name}`").into());
        Self {
            proprio: pair.names().into_iter().map(of).collect(),
            pair: Some(pair),
            ..Self::new(spec)
        }
    }

    /// Takes a frame; frames of cameras the policy does not use, older than the newest, or captured after they were
    /// received are dropped; the last are remembered.
    pub fn frame(&mut self, frame: CameraFrame) {
        let Some(i) = self.spec.cameras.iter().position(|c| *c == frame.camera) else {
            return;
        };
        let arm = self.state_at(frame.captured_at);
        let Some(seen) = self.seen.get_mut(i) else {
            return;
        };
        let ahead = frame.captured_at.since(frame.received_at);
        seen.ahead = (ahead > CLOCK_TOLERANCE).then_some(ahead);
        let newest = seen.newest.as_ref();
        if seen.ahead.is_some() || newest.is_some_and(|old| old.captured_at >= frame.captured_at) {
            return;
        }
        let same = newest.is_some_and(|old| old.data == frame.data);
        match (&seen.still_at, arm) {
            (Some(from), Some(arm)) if same && from.epoch == arm.epoch => {
                let still = frame.captured_at.since(seen.still_since);
                seen.moved = seen.moved.max(distance(from, &arm));
                seen.frozen |= seen.moved > MOVED_RAD && still >= self.spec.frame_limit;
            }
            // Nothing can be said of a picture from before the device was reset, or without joint states.
            (_, arm) => {
                seen.still_since = frame.captured_at;
                (seen.still_at, seen.moved) = (arm, 0.0);
                seen.frozen &= same;
            }
        }
        seen.newest = Some(frame);
    }

    /// Takes a joint state that [supersedes](JointState::supersedes) the newest. A new device epoch, or a clock that was
    /// set back, forgets the states before.
    pub fn state(&mut self, state: JointState) {
        self.state_of(0, state);
    }

    /// As [`Assembler::state`], of arm `which` of a pair; one that cannot be that arm's is dropped.
    pub fn state_of(&mut self, which: usize, state: JointState) {
        if self
            .pair
            .as_ref()
            .is_some_and(|pair| !pair.is_of(which, &state))
        {
            return;
        }
        if let Some(proprio) = self.proprio.get_mut(which) {
            proprio.take(state);
        }
    }

    /// The observation captured at or after `observe_after`, if there is one.
    pub fn assemble(&self, now: Time, observe_after: Time) -> Assembled {
        let mut newest: Vec<&CameraFrame> = Vec::with_capacity(self.seen.len());
        for (stream, seen) in self.streams.iter().zip(&self.seen) {
            let stream = || stream.clone();
            if let Some(ahead) = seen.ahead {
                return Assembled::Unfit(from_the_future(stream(), ahead));
            }
            let Some(frame) = &seen.newest else {
                return Assembled::Unfit(RefusalReason::Missing { stream: stream() });
            };
            let age = now.since(frame.captured_at);
            if age > self.spec.frame_limit {
                return Assembled::Unfit(stale(stream(), age, self.spec.frame_limit));
            }
            if seen.frozen {
                return Assembled::Unfit(RefusalReason::Frozen {
                    stream: stream(),
                    still_millis: millis(frame.captured_at.since(seen.still_since)),
                });
            }
            newest.push(frame);
        }
        let mut oldest = newest.iter().map(|f| f.captured_at).min();
        for proprio in &self.proprio {
            let stream = || proprio.stream.clone();
            let Some(latest) = proprio.newest() else {
                return Assembled::Unfit(RefusalReason::Missing { stream: stream() });
            };
            let ahead = latest.captured_at.since(now);
            if ahead > CLOCK_TOLERANCE {
                return Assembled::Unfit(from_the_future(stream(), ahead));
            }
            let age = now.since(latest.captured_at);
            if age > self.spec.proprio_limit {
                return Assembled::Unfit(stale(stream(), age, self.spec.proprio_limit));
            }
            if newest.is_empty() {
                // Without cameras an observation is of the newest states, as of when all are known.
                oldest = Some(oldest.map_or(latest.captured_at, |t| t.min(latest.captured_at)));
            }
        }
        let oldest = oldest.unwrap_or(now);
        let youngest = newest.iter().map(|f| f.captured_at).max().unwrap_or(oldest);
        if oldest < observe_after || youngest.since(oldest) > self.spec.max_skew {
            return Assembled::NotYet;
        }
        let Some(state) = self.state_at(oldest) else {
            return Assembled::NotYet;
        };
        let received_at = newest.iter().map(|f| f.received_at).max().unwrap_or(now);
        let frames = newest.into_iter().cloned().collect();
        let observation = Observation {
            observed_at: oldest,
            frames,
            state,
        };
        Assembled::Ready {
            observation,
            received_at,
        }
    }

    /// Proprioception at `at`, of two arms as of one.
    fn state_at(&self, at: Time) -> Option<JointState> {
        let limit = self.spec.proprio_limit;
        match (&self.pair, &self.proprio[..]) {
            (None, [only]) => only.at(at, limit),
            (Some(pair), [first, second]) => {
                let (first, second) = (first.at(at, limit)?, second.at(at, limit)?);
                pair.state([&first, &second])
            }
            _ => None,
        }
    }

    /// Proprioception of arm `which` at `at`, as an observation of that instant has it.
    pub fn measured(&self, which: usize, at: Time) -> Option<JointState> {
        self.proprio.get(which)?.at(at, self.spec.proprio_limit)
    }

    /// When the joint states were captured that an observation at `at` has its proprioception from: the two that it is
    /// interpolated between, or one, twice.
    pub fn states_behind(&self, at: Time) -> Option<[Time; 2]> {
        self.states_behind_of(0, at)
    }

    /// As [`Assembler::states_behind`], of arm `which` of a pair.
    pub fn states_behind_of(&self, which: usize, at: Time) -> Option<[Time; 2]> {
        self.proprio.get(which)?.behind(at)
    }
}

/// How far apart two states are on the joint where that is most, rad; the gripper's whole way counts as 0.25 rad.
fn distance(a: &JointState, b: &JointState) -> f64 {
    let joints = if a.q.len() == b.q.len() {
        a.q.zip(&b.q, |a, b| a - b).max_abs()
    } else {
        0.0
    };
    joints.max((a.opening - b.opening).abs() / 4.0)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn stale(stream: Arc<str>, age: Duration, limit: Duration) -> RefusalReason {
    RefusalReason::Stale {
        stream,
        age_millis: millis(age),
        limit_millis: millis(limit),
    }
}

fn from_the_future(stream: Arc<str>, ahead: Duration) -> RefusalReason {
    RefusalReason::Ahead {
        stream,
        ahead_millis: millis(ahead),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_types::{Encoding, JointVec};

    fn spec() -> AssemblySpec {
        AssemblySpec {
            cameras: vec!["scene".into(), "wrist".into()],
            frame_limit: Duration::from_millis(150),
            proprio_limit: Duration::from_millis(20),
            max_skew: Duration::from_millis(25),
        }
    }

    fn frame(camera: &str, millis: u64) -> CameraFrame {
        CameraFrame {
            camera: camera.into(),
            captured_at: Time::from_millis(millis),
            received_at: Time::from_millis(millis + 3),
            seq: millis,
            width: 1,
            height: 1,
            encoding: Encoding::Rgb8,
            data: Arc::from([0u8; 3]),
        }
    }

    fn state(millis: u64, q: f64, epoch: u64) -> JointState {
        JointState {
            captured_at: Time::from_millis(millis),
            seq: millis,
            epoch,
            q: JointVec::from_fn(1, |_| q),
            dq: JointVec::zeros(1),
            opening: 0.5,
            torque: true,
        }
    }

    #[test]
    fn proprioception_is_interpolated_to_the_oldest_frame() {
        let mut a = Assembler::new(spec());
        a.frame(frame("scene", 101));
        a.frame(frame("wrist", 103));
        a.state(state(100, 1.0, 0));
        a.state(state(102, 3.0, 0));
        let Assembled::Ready {
            observation,
            received_at,
        } = a.assemble(Time::from_millis(110), Time::ZERO)
        else {
            panic!("not ready")
        };
        assert_eq!(observation.observed_at, Time::from_millis(101));
        assert!((observation.state.q[0] - 2.0).abs() < 1e-12);
        let behind = |millis| {
            let times = a.states_behind(Time::from_millis(millis));
            times.map(|both| both.map(|t| t.as_nanos() / 1_000_000))
        };
        assert_eq!(behind(101), Some([100, 102]));
        assert_eq!(behind(102), Some([102, 102]), "as it is");
        assert_eq!(behind(103), Some([102, 102]), "nothing newer was there");
        assert_eq!(received_at, Time::from_millis(106));
        assert_eq!(observation.frames[0].camera.as_ref(), "scene");
    }

    #[test]
    fn frames_older_than_asked_for_are_waited_out_not_used() {
        let mut a = Assembler::new(spec());
        a.frame(frame("scene", 100));
        a.frame(frame("wrist", 100));
        a.state(state(100, 0.0, 0));
        let now = Time::from_millis(105);
        assert_eq!(a.assemble(now, Time::from_millis(101)), Assembled::NotYet);
        assert!(matches!(
            a.assemble(now, Time::from_millis(100)),
            Assembled::Ready { .. }
        ));
    }

    #[test]
    fn one_late_camera_makes_the_pair_wait_then_stale_and_named() {
        let mut a = Assembler::new(spec());
        a.frame(frame("scene", 200));
        a.frame(frame("wrist", 100));
        a.state(state(200, 0.0, 0));
        assert_eq!(
            a.assemble(Time::from_millis(205), Time::ZERO),
            Assembled::NotYet
        );
        a.state(state(250, 0.0, 0));
        match a.assemble(Time::from_millis(251), Time::ZERO) {
            Assembled::Unfit(RefusalReason::Stale {
                stream,
                age_millis,
                limit_millis,
            }) => {
                assert_eq!(
                    (stream.as_ref(), age_millis, limit_millis),
                    ("camera/wrist", 151, 150)
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn missing_and_stale_proprioception_are_named() {
        let mut a = Assembler::new(spec());
        let missing = |a: &Assembler| a.assemble(Time::from_millis(10), Time::ZERO);
        assert!(
            matches!(missing(&a), Assembled::Unfit(RefusalReason::Missing { stream }) if &*stream == "camera/scene")
        );
        a.frame(frame("scene", 5));
        a.frame(frame("wrist", 5));
        assert!(
            matches!(missing(&a), Assembled::Unfit(RefusalReason::Missing { stream }) if &*stream == "proprioception")
        );
        a.state(state(5, 0.0, 0));
        assert!(matches!(
            a.assemble(Time::from_millis(26), Time::ZERO),
            Assembled::Unfit(RefusalReason::Stale { .. })
        ));
    }

    #[test]
    fn two_arms_are_observed_at_one_instant_and_the_one_that_is_stale_is_named() {
        let arm = |name: &str| crate::pair::PairArm {
            name: name.into(),
            prefix: format!("{name}_"),
            joints: vec!["a".into()],
            gripper: false,
        };
        let joints = ["left_a", "right_a"].map(str::to_owned);
        let pair = Pair::new(&[arm("left"), arm("right")], &joints, &joints).expect("fits");
        let mut a = Assembler::of_pair(spec(), pair);
        a.frame(frame("scene", 101));
        a.frame(frame("wrist", 103));
        a.state_of(0, state(100, 1.0, 0));
        a.state_of(0, state(102, 3.0, 0));
        let Assembled::Unfit(RefusalReason::Missing { stream }) =
            a.assemble(Time::from_millis(104), Time::ZERO)
        else {
            panic!("of one arm alone")
        };
        assert_eq!(&*stream, "proprioception of `right`");
        // What cannot be this arm's is no state of it.
        let mut other = state(103, 9.0, 0);
        other.q = JointVec::zeros(2);
        a.state_of(1, other);
        a.state_of(1, state(99, 10.0, 4));
        a.state_of(1, state(103, 14.0, 4));
        let Assembled::Ready { observation, .. } = a.assemble(Time::from_millis(105), Time::ZERO)
        else {
            panic!("not ready")
        };
        assert_eq!(observation.observed_at, Time::from_millis(101));
        assert!((observation.state.q[0] - 2.0).abs() < 1e-12);
        assert!((observation.state.q[1] - 12.0).abs() < 1e-12);
        let at = Time::from_millis(101);
        let behind = [0, 1].map(|which| a.states_behind_of(which, at));
        let pairs = [[100, 102], [99, 103]].map(|of| Some(of.map(Time::from_millis)));
        assert_eq!(behind, pairs);
        a.state_of(0, state(123, 3.0, 0));
        let Assembled::Unfit(RefusalReason::Stale { stream, .. }) =
            a.assemble(Time::from_millis(124), Time::ZERO)
        else {
            panic!("the right arm's is 21 ms old")
        };
        assert_eq!(&*stream, "proprioception of `right`");
    }

    #[test]
    fn a_new_epoch_forgets_the_old_states() {
        let mut a = Assembler::new(spec());
        a.frame(frame("scene", 101));
        a.frame(frame("wrist", 101));
        a.state(state(100, 1.0, 0));
        a.state(state(102, 9.0, 1));
        // The instant 101 lies before the first state of the new epoch: nothing may be interpolated across a reset.
        assert_eq!(
            a.assemble(Time::from_millis(103), Time::ZERO),
            Assembled::NotYet
        );
    }

    #[test]
    fn reordered_messages_never_go_back_in_time() {
        let mut a = Assembler::new(spec());
        a.frame(frame("scene", 100));
        a.frame(frame("scene", 50));
        a.frame(frame("wrist", 100));
        a.state(state(100, 1.0, 0));
        a.state(state(90, 5.0, 0));
        let Assembled::Ready { observation, .. } = a.assemble(Time::from_millis(101), Time::ZERO)
        else {
            panic!("not ready")
        };
        assert_eq!(observation.observed_at, Time::from_millis(100));
        assert_eq!(observation.state.q[0], 1.0);
    }

    /// A picture of its own content every 50 ms, while joint 0 moves at `speed` rad/s.
    fn watch(a: &mut Assembler, from: u64, to: u64, speed: f64, same: bool) {
        for millis in from..to {
            a.state(state(millis, speed * millis as f64 * 1e-3, 0));
            if millis % 50 == 0 {
                for camera in ["scene", "wrist"] {
                    let mut frame = frame(camera, millis);
                    if !(same && camera == "wrist") {
                        frame.data = Arc::from(millis.to_le_bytes());
                    }
                    a.frame(frame);
                }
            }
        }
    }

    fn reason(a: &Assembler, millis: u64) -> Option<RefusalReason> {
        match a.assemble(Time::from_millis(millis), Time::ZERO) {
            Assembled::Unfit(reason) => Some(reason),
            Assembled::NotYet | Assembled::Ready { .. } => None,
        }
    }

    #[test]
    fn a_camera_that_repeats_itself_while_the_arm_moves_is_frozen_until_its_picture_changes() {
        let mut a = Assembler::new(spec());
        watch(&mut a, 100, 201, 1.0, false);
        // The picture of 250 is repeated: at 400 it is 150 ms old.
        watch(&mut a, 201, 400, 1.0, true);
        assert_eq!(reason(&a, 399), None, "three periods are not over");
        watch(&mut a, 400, 401, 1.0, true);
        let frozen = RefusalReason::Frozen {
            stream: "camera/wrist".into(),
            still_millis: 150,
        };
        assert_eq!(reason(&a, 402), Some(frozen));
        watch(&mut a, 401, 551, 0.0, true);
        assert!(reason(&a, 552).is_some(), "an arm at rest proves nothing");
        watch(&mut a, 551, 601, 0.0, false);
        assert_eq!(reason(&a, 602), None);
    }

    #[test]
    fn a_camera_that_looks_at_an_arm_at_rest_is_not_frozen() {
        let mut a = Assembler::new(spec());
        watch(&mut a, 100, 2000, 0.0, true);
        assert_eq!(reason(&a, 2000), None);
    }

    #[test]
    fn what_is_from_the_future_is_refused_and_forgotten() {
        let mut a = Assembler::new(spec());
        watch(&mut a, 100, 201, 1.0, false);
        let mut ahead = frame("scene", 1200);
        ahead.received_at = Time::from_millis(205);
        a.frame(ahead);
        let refusal = RefusalReason::Ahead {
            stream: "camera/scene".into(),
            ahead_millis: 995,
        };
        assert_eq!(reason(&a, 206), Some(refusal));
        watch(&mut a, 201, 251, 1.0, false);
        assert_eq!(reason(&a, 252), None, "a clock that is right again counts");
        a.state(state(1250, 0.0, 0));
        assert!(matches!(reason(&a, 253), Some(RefusalReason::Ahead { .. })));
        a.state(state(254, 0.0, 0));
        assert_eq!(reason(&a, 255), None);
    }
}
