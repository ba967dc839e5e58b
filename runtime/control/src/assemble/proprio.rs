//! Recent joint states of one arm, and what they say of an instant between them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tactus_types::{JointState, Time};

/// Joint states kept for interpolation: half a second at 1 kHz.
const HISTORY: usize = 512;

/// Recent joint states, oldest first.
#[derive(Debug)]
pub(super) struct Proprio {
    /// What it is called where it is at fault.
    pub(super) stream: Arc<str>,
    states: VecDeque<JointState>,
}

impl Proprio {
    pub(super) fn new(stream: Arc<str>) -> Self {
        Self {
            stream,
            states: VecDeque::with_capacity(HISTORY),
        }
    }

    pub(super) fn newest(&self) -> Option<&JointState> {
        self.states.back()
    }

    /// Takes a state that supersedes the newest. A new device epoch, or a clock that was set back, forgets those before.
    pub(super) fn take(&mut self, state: JointState) {
        if let Some(last) = self.states.back() {
            if !state.supersedes(last) {
                return;
            }
            if last.epoch != state.epoch || last.captured_at > state.captured_at {
                self.states.clear();
            }
        }
        if self.states.len() == HISTORY {
            self.states.pop_front();
        }
        self.states.push_back(state);
    }

    /// Interpolated between the neighbours of `at`; the newest state when `at` is at most `limit` ahead of it (states
    /// travel on another stream than frames); `None` before the oldest kept.
    pub(super) fn at(&self, at: Time, limit: Duration) -> Option<JointState> {
        match self.around(at) {
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
            (Some(a), None) => (at.since(a.captured_at) <= limit).then_some(*a),
            (None, _) => None,
        }
    }

    /// The newest state before `at`, and the oldest that is not.
    fn around(&self, at: Time) -> (Option<&JointState>, Option<&JointState>) {
        let after = self.states.partition_point(|s| s.captured_at < at);
        let before = after.checked_sub(1).and_then(|i| self.states.get(i));
        (before, self.states.get(after))
    }

    /// When the states were captured that [`Proprio::at`] is made of.
    pub(super) fn behind(&self, at: Time) -> Option<[Time; 2]> {
        let (before, after) = self.around(at);
        let after = after.map(|s| s.captured_at);
        let before = before.map(|s| s.captured_at).or(after)?;
        Some(match after {
            Some(after) if after == at => [after; 2],
            Some(after) => [before, after],
            None => [before; 2],
        })
    }
}
