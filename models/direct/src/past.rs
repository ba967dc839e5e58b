//! Observations before the present one, for graphs that take several.
//!
//! Decides which picture and which joints count as those of some periods ago: of the pictures that came since, the one that was
//! captured nearest to then; of the joints, what lies between those seen around then. What was before the first that is
//! known repeats it, as the policies' own frameworks do at the beginning of an episode. A new generation begins anew.

use std::{collections::VecDeque, time::Duration};

use tactus_types::{Action, Generation, JointState, Time};

/// Pictures of one camera, of the graph's size, oldest first.
#[derive(Debug, Default)]
pub struct Pictures {
    kept: VecDeque<(Time, u64, Vec<u8>)>,
}

impl Pictures {
    /// Whether the picture `seq` that was captured at `at` is there.
    pub fn has(&self, at: Time, seq: u64) -> bool {
        self.kept.iter().any(|(t, s, _)| (*t, *s) == (at, seq))
    }

    /// Adds a picture and forgets those that nothing within `span` before the newest needs; a buffer that is free comes back.
    pub fn add(&mut self, at: Time, seq: u64, picture: Vec<u8>, span: Duration) -> Vec<u8> {
        let place = self.kept.partition_point(|(t, _, _)| *t <= at);
        self.kept.insert(place, (at, seq, picture));
        let newest = self.kept.back().map_or(at, |(t, _, _)| *t);
        let mut free = Vec::new();
        // One that is older stays: it may be the nearest to the end of the span.
        let spare = |kept: &VecDeque<(Time, u64, Vec<u8>)>| {
            let second = kept.get(1).map(|(t, _, _)| *t);
            second.is_some_and(|t| t + span < newest || span.is_zero())
        };
        while spare(&self.kept) {
            free = self.kept.pop_front().map(|(_, _, p)| p).unwrap_or_default();
        }
        free
    }

    /// Forgets what was captured before `at`.
    pub fn forget_before(&mut self, at: Time) {
        self.kept.retain(|(t, _, _)| *t >= at);
    }

    /// Forgets what was captured after `at`: seen ahead, and not part of this observation.
    pub fn forget_after(&mut self, at: Time) {
        self.kept.retain(|(t, _, _)| *t <= at);
    }

    /// The picture that was captured nearest to `at`.
    pub fn near(&self, at: Time) -> Option<&[u8]> {
        let apart = |t: &Time| t.secs_from(at).abs();
        let nearest = self
            .kept
            .iter()
            .min_by(|(a, _, _), (b, _, _)| apart(a).total_cmp(&apart(b)));
        nearest.map(|(_, _, picture)| picture.as_slice())
    }
}

/// Joints, oldest first.
#[derive(Debug, Default)]
pub struct States {
    generation: Option<Generation>,
    kept: VecDeque<(Time, Action)>,
}

impl States {
    /// Adds the state that was observed at `at` in `generation`; whether that is a new one.
    pub fn add(
        &mut self,
        at: Time,
        generation: Generation,
        state: &JointState,
        span: Duration,
    ) -> bool {
        let new = self.generation != Some(generation);
        if new {
            self.generation = Some(generation);
            self.kept.clear();
        }
        // Time does not go back within a generation; what does is not the past of it.
        self.kept.retain(|(t, _)| *t < at);
        let (q, opening) = (state.q, state.opening);
        self.kept.push_back((at, Action { q, opening }));
        while self.kept.get(1).is_some_and(|(t, _)| *t + span < at) {
            self.kept.pop_front();
        }
        new
    }

    /// The joints at `at`, as far as they are known; `None` before the first is added.
    pub fn at(&self, at: Time) -> Option<Action> {
        let after = self.kept.partition_point(|(t, _)| *t < at);
        let before = after.checked_sub(1).and_then(|i| self.kept.get(i));
        match (before, self.kept.get(after)) {
            (Some((t0, a)), Some((t1, b))) => {
                let t = at.secs_from(*t0) / t1.secs_from(*t0);
                Some(Action {
                    q: a.q.lerp(&b.q, t),
                    opening: a.opening + t * (b.opening - a.opening),
                })
            }
            (Some((_, only)), None) | (None, Some((_, only))) => Some(*only),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tactus_types::JointVec;

    use super::*;

    const SPAN: Duration = Duration::from_millis(200);

    fn state(q: f64) -> JointState {
        let q = JointVec::from_slice(&[q]).expect("one joint");
        JointState {
            captured_at: Time::ZERO,
            seq: 0,
            epoch: 0,
            q,
            dq: q,
            opening: 0.5,
            torque: true,
        }
    }

    #[test]
    fn the_nearest_picture_counts_and_old_ones_go() {
        let mut pictures = Pictures::default();
        assert!(pictures.near(Time::ZERO).is_none());
        for i in 0..20_u64 {
            pictures.add(Time::from_millis(1000 + 50 * i), i, vec![i as u8], SPAN);
        }
        let newest = 1950;
        for (before, expected) in [
            (0, 19),
            (20, 19),
            (30, 18),
            (100, 17),
            (200, 15),
            (1900, 14),
        ] {
            let at = Time::from_millis(newest - before);
            assert_eq!(pictures.near(at), Some(&[expected][..]), "{before} ms");
        }
        assert!(pictures.has(Time::from_millis(newest), 19));
        pictures.forget_before(Time::from_millis(1900));
        assert_eq!(pictures.near(Time::ZERO), Some(&[18][..]));
        pictures.forget_after(Time::from_millis(1900));
        assert_eq!(pictures.near(Time::from_millis(1950)), Some(&[18][..]));
        pictures.add(Time::from_millis(2000), 20, vec![20], Duration::ZERO);
        let only = pictures.near(Time::ZERO);
        assert_eq!(
            only,
            Some(&[20][..]),
            "no past is kept where none is wanted"
        );
    }

    #[test]
    fn joints_are_interpolated_repeated_before_the_first_and_forgotten_with_their_generation() {
        let first = Generation { boot: 1, count: 1 };
        let mut states = States::default();
        assert!(states.at(Time::ZERO).is_none());
        let at = Time::from_millis;
        assert!(states.add(at(1000), first, &state(0.0), SPAN));
        assert!(!states.add(at(1100), first, &state(1.0), SPAN));
        let q = |states: &States, millis| states.at(at(millis)).map(|a| a.q[0]);
        for (millis, expected) in [
            (900, 0.0),
            (1000, 0.0),
            (1050, 0.5),
            (1100, 1.0),
            (1200, 1.0),
        ] {
            assert_eq!(q(&states, millis), Some(expected), "{millis}");
        }
        let second = Generation { boot: 1, count: 2 };
        assert!(states.add(at(1200), second, &state(3.0), SPAN));
        assert_eq!(q(&states, 1000), Some(3.0));
    }
}
