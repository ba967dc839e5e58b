//! Assembling an observation: which frames and which joint state belong together at one instant.
//!
//! Decides which instant an observation has (`observed_at`: the capture time of the oldest of the newest frames),
//! interpolates proprioception to it, and says which stream is missing or stale. Does not decide when an observation
//! is wanted (`dispatch`) nor read any clock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tactus_types::{CameraFrame, JointState, Observation, RefusalReason, Time};

/// Joint states kept for interpolation: half a second at 1 kHz.
const STATE_HISTORY: usize = 512;

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

/// Keeps the newest frame per camera and recent joint states.
#[derive(Debug)]
pub struct Assembler {
    spec: AssemblySpec,
    frames: Vec<Option<CameraFrame>>,
    states: VecDeque<JointState>,
}

impl Assembler {
    /// An assembler that has received nothing yet.
    pub fn new(spec: AssemblySpec) -> Self {
        let frames = vec![None; spec.cameras.len()];
        Self {
            spec,
            frames,
            states: VecDeque::with_capacity(STATE_HISTORY),
        }
    }

    /// Takes a frame; frames of cameras the policy does not use, and frames older than the newest, are dropped.
    pub fn frame(&mut self, frame: CameraFrame) {
        let Some(i) = self.spec.cameras.iter().position(|c| *c == frame.camera) else {
            return;
        };
        if let Some(slot) = self.frames.get_mut(i)
            && slot
                .as_ref()
                .is_none_or(|old| old.captured_at < frame.captured_at)
        {
            *slot = Some(frame);
        }
    }

    /// Takes a joint state; states older than the newest are dropped. A new device epoch forgets the old one's states.
    pub fn state(&mut self, state: JointState) {
        if let Some(last) = self.states.back() {
            if last.epoch != state.epoch {
                self.states.clear();
            } else if last.captured_at >= state.captured_at {
                return;
            }
        }
        if self.states.len() == STATE_HISTORY {
            self.states.pop_front();
        }
        self.states.push_back(state);
    }

    /// The observation captured at or after `observe_after`, if there is one.
    pub fn assemble(&self, now: Time, observe_after: Time) -> Assembled {
        let mut newest: Vec<&CameraFrame> = Vec::with_capacity(self.frames.len());
        for (camera, frame) in self.spec.cameras.iter().zip(&self.frames) {
            let stream = || format!("camera/{camera}");
            let Some(frame) = frame else {
                return Assembled::Unfit(RefusalReason::Missing { stream: stream() });
            };
            let age = now.since(frame.captured_at);
            if age > self.spec.frame_limit {
                return Assembled::Unfit(stale(stream(), age, self.spec.frame_limit));
            }
            newest.push(frame);
        }
        let Some(latest_state) = self.states.back() else {
            return Assembled::Unfit(RefusalReason::Missing {
                stream: "proprioception".into(),
            });
        };
        let age = now.since(latest_state.captured_at);
        if age > self.spec.proprio_limit {
            return Assembled::Unfit(stale("proprioception".into(), age, self.spec.proprio_limit));
        }
        let oldest = newest
            .iter()
            .map(|f| f.captured_at)
            .min()
            .unwrap_or(latest_state.captured_at);
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

    /// Proprioception at `at`: interpolated between its neighbours; the newest state when `at` is at most the
    /// staleness bound ahead of it (states travel on another stream than frames); `None` before the oldest kept.
    fn state_at(&self, at: Time) -> Option<JointState> {
        let after = self.states.partition_point(|s| s.captured_at < at);
        match (
            after.checked_sub(1).and_then(|i| self.states.get(i)),
            self.states.get(after),
        ) {
            (_, Some(b)) if b.captured_at == at => Some(*b),
            (Some(a), Some(b)) => {
                let span = b.captured_at.secs_from(a.captured_at);
                let t = at.secs_from(a.captured_at) / span;
                let opening = a.opening + t * (b.opening - a.opening);
                Some(JointState {
                    captured_at: at,
                    q: a.q.lerp(&b.q, t),
                    dq: a.dq.lerp(&b.dq, t),
                    opening,
                    ..*a
                })
            }
            (Some(a), None) => (at.since(a.captured_at) <= self.spec.proprio_limit).then_some(*a),
            (None, _) => None,
        }
    }
}

fn stale(stream: String, age: Duration, limit: Duration) -> RefusalReason {
    let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    RefusalReason::Stale {
        stream,
        age_millis: millis(age),
        limit_millis: millis(limit),
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
                    (stream.as_str(), age_millis, limit_millis),
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
            matches!(missing(&a), Assembled::Unfit(RefusalReason::Missing { stream }) if stream == "camera/scene")
        );
        a.frame(frame("scene", 5));
        a.frame(frame("wrist", 5));
        assert!(
            matches!(missing(&a), Assembled::Unfit(RefusalReason::Missing { stream }) if stream == "proprioception")
        );
        a.state(state(5, 0.0, 0));
        assert!(matches!(
            a.assemble(Time::from_millis(26), Time::ZERO),
            Assembled::Unfit(RefusalReason::Stale { .. })
        ));
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
}
