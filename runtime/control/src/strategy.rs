//! What becomes of a chunk that arrives while another is being executed.
//!
//! Decides the actions that the new plan is made of, out of the new chunk and those before it. All strategies go by due
//! times; [`Strategy::Naive`] does not, and exists to be compared with. Where a strategy needs something of the policy
//! (a committed prefix, guidance), the request says so ([`Strategy::conditioning`]).
//!
//! | strategy | the new plan | source |
//! |---|---|---|
//! | `align` | the new chunk, by due time | Chi et al., Universal Manipulation Interface, RSS 2024, section III-B2 |
//! | `blend` | the old plan fading into the new chunk over a given time | - |
//! | `ensemble` | at every due time the weighted mean of all chunks that cover it | Zhao et al., ACT, RSS 2023, Algorithm 2 |
//! | `rtc-prefix` | as `align`; the policy was given the actions that play meanwhile | arXiv 2512.05964, section 3 |
//! | `rtc-guided` | as `align`; the policy was guided towards the old plan | arXiv 2506.07339, equations 2 to 5 |
//! | `naive` | action 0 as soon as the chunk is there, whatever its age | - |

use std::time::Duration;

use tactus_types::{Action, Conditioning, Jacobian, Time};

use crate::plan::{Grid, Plan};

/// Chunks whose actions an ensemble takes into account, the newest included.
pub const ENSEMBLE: usize = 16;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strategy {
    /// By due time.
    Align,
    /// The old plan fades into the new one.
    Blend {
        /// For how long after the new chunk is there.
        over: Duration,
    },
    /// The mean of all chunks that cover a due time, weight `exp(-decay i)`, `i = 0` the oldest (ACT's `m`).
    Ensemble {
        /// 0 weighs all alike; the larger, the more the oldest counts.
        decay: f64,
    },
    /// Training-time real-time chunking.
    RtcPrefix,
    /// Inference-time real-time chunking.
    RtcGuided {
        /// Largest weight of the guidance (the paper's beta).
        beta: f64,
        /// How the correction of the estimate is carried back to the sample.
        jacobian: Jacobian,
    },
    /// Action 0 now: wrong by the age of the observation. For comparison only; no cell file may ask for it.
    Naive,
}

impl Strategy {
    /// Its name in cell files and reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Align => "align",
            Self::Blend { .. } => "blend",
            Self::Ensemble { .. } => "ensemble",
            Self::RtcPrefix => "rtc-prefix",
            Self::RtcGuided { .. } => "rtc-guided",
            Self::Naive => "naive",
        }
    }

    /// Whether a request may be sent while others are out; see [`crate::RequestSpec::overlap`].
    pub fn overlaps(&self) -> bool {
        self.conditioning() == Conditioning::None
    }

    /// What a request has to ask of the policy.
    pub fn conditioning(&self) -> Conditioning {
        match *self {
            Self::Align | Self::Blend { .. } | Self::Ensemble { .. } | Self::Naive => {
                Conditioning::None
            }
            Self::RtcPrefix => Conditioning::Prefix,
            Self::RtcGuided { beta, jacobian } => Conditioning::Guided { beta, jacobian },
        }
    }
}

/// Weight of the new chunk `since` the hand-over: 0 at once, 1 after `over`, with a level start and end (the cubic
/// `3 t^2 - 2 t^3`).
pub fn blend_weight(since_secs: f64, over: Duration) -> f64 {
    let over = over.as_secs_f64();
    if over <= 0.0 {
        return 1.0;
    }
    let t = (since_secs / over).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// `new` faded in over `old` at `due`, for a hand-over at `now`; all of `new` where the old plan has ended.
pub(crate) fn blended(new: &Action, old: &Plan, due: Time, now: Time, over: Duration) -> Action {
    let Some((old, _)) = old.at(due) else {
        return *new;
    };
    let w = blend_weight(due.secs_from(now), over);
    Action {
        q: old.q.lerp(&new.q, w),
        opening: old.opening + w * (new.opening - old.opening),
    }
}

/// A chunk as it came.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub grid: Grid,
    pub actions: [Action; crate::plan::MAX_HORIZON],
}

impl Past {
    /// What it says for `due`, between two actions their linear interpolation; `None` outside it.
    fn at(&self, due: Time) -> Option<Action> {
        let place = self.grid.place(due);
        let last = self.grid.len as f64 - 1.0;
        if place < -1e-9 || place > last + 1e-9 {
            return None;
        }
        let i = (place.max(0.0) as usize).min(self.grid.len.saturating_sub(1));
        let k = (i + 1).min(self.grid.len.saturating_sub(1));
        let (from, to) = (self.actions.get(i)?, self.actions.get(k)?);
        let t = (place - i as f64).clamp(0.0, 1.0);
        Some(Action {
            q: from.q.lerp(&to.q, t),
            opening: from.opening + t * (to.opening - from.opening),
        })
    }
}

/// The ensemble's action for `due` out of `past`, oldest first, of which the last is the newest chunk.
///
/// The joints are averaged; the gripper is the newest chunk's, since the mean of open and closed is neither.
pub(crate) fn ensembled<'a>(
    past: impl Iterator<Item = &'a Past>,
    newest: &Action,
    due: Time,
    decay: f64,
) -> Action {
    let (mut sum, mut weights, mut i) = (newest.q.lerp(&newest.q, 0.0), 0.0, 0);
    for action in past.filter_map(|p| p.at(due)) {
        let w = (-decay * f64::from(i)).exp();
        weights += w;
        // A running weighted mean: no sum of many large numbers.
        sum = sum.lerp(&action.q, w / weights);
        i += 1;
    }
    Action {
        q: sum,
        opening: newest.opening,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tactus_types::JointVec;

    fn past(first_millis: u64, values: &[f64]) -> Past {
        let mut actions = [Action {
            q: JointVec::zeros(1),
            opening: 0.0,
        }; crate::plan::MAX_HORIZON];
        for (slot, v) in actions.iter_mut().zip(values) {
            slot.q = JointVec::from_fn(1, |_| *v);
        }
        let grid = Grid {
            first_due: Time::from_millis(first_millis),
            period: Duration::from_millis(50),
            len: values.len(),
        };
        Past { grid, actions }
    }

    /// numpy: `np.average([1.0, 2.5, 4.0], weights=np.exp(-0.3 * np.arange(3)))`: oldest first, as in ACT.
    #[test]
    fn an_ensemble_weighs_the_oldest_most() {
        let chunks = [
            past(0, &[0.0, 1.0]),
            past(0, &[0.0, 2.5]),
            past(50, &[4.0, 4.0]),
        ];
        let newest = chunks[2].actions[0];
        let mean = ensembled(chunks.iter(), &newest, Time::from_millis(50), 0.3);
        assert!((mean.q[0] - ENSEMBLE_GOLDEN).abs() < 1e-12, "{}", mean.q[0]);
    }
    const ENSEMBLE_GOLDEN: f64 = 2.2044139934425884;

    proptest! {
        /// A weight of the blend lies in [0, 1], grows with time, and is 0 at the hand-over and 1 at the end.
        #[test]
        fn blend_weights_are_shares_that_grow(a in -1.0f64..2.0, b in -1.0f64..2.0, over_millis in 1u64..1000) {
            let over = Duration::from_millis(over_millis);
            let (a, b) = (a.min(b), a.max(b));
            let (wa, wb) = (blend_weight(a, over), blend_weight(b, over));
            prop_assert!((0.0..=1.0).contains(&wa) && wa <= wb + 1e-12);
            prop_assert_eq!(blend_weight(0.0, over), 0.0);
            prop_assert_eq!(blend_weight(over.as_secs_f64(), over), 1.0);
        }

        /// An ensemble never leaves the span of the chunks it is made of.
        #[test]
        fn an_ensemble_stays_within_its_chunks(values in prop::collection::vec(-2.0f64..2.0, 1..12), decay in 0.0f64..2.0) {
            let chunks: Vec<Past> = values.iter().map(|v| past(0, &[*v, *v])).collect();
            let newest = chunks[chunks.len() - 1].actions[0];
            let mean = ensembled(chunks.iter(), &newest, Time::from_millis(25), decay).q[0];
            let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
            prop_assert!(mean >= low - 1e-12 && mean <= high + 1e-12);
        }
    }
}
