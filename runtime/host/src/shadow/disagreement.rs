//! How far two chunks are apart where both say something: at the due times of the first that lie within the second.

use tactus_types::{Action, ActionChunk, Time};

/// How far two chunks are apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disagreement {
    /// Due times compared, at least one.
    pub actions: usize,
    /// Root mean square over joints and due times, rad (m for a joint that slides).
    pub rms: f64,
    /// The largest of one joint, rad, and which joint of the arm it was.
    pub most: (f64, usize),
    /// The largest of the gripper's opening, 0 to 1.
    pub opening: f64,
}

impl Disagreement {
    /// Of `other` from `one`; `None` when no due time of `one` lies within `other`, or they are of different arms.
    pub fn of(one: &ActionChunk, other: &ActionChunk) -> Option<Self> {
        let (mut actions, mut squares, mut values) = (0, 0.0, 0);
        let (mut most, mut opening) = ((0.0, 0), 0.0_f64);
        for (i, action) in one.actions.iter().enumerate() {
            let Some(there) = at(other, one.due(i)) else {
                continue;
            };
            if there.q.len() != action.q.len() {
                return None;
            }
            actions += 1;
            opening = opening.max((there.opening - action.opening).abs());
            for (joint, (a, b)) in action.q.iter().zip(there.q.iter()).enumerate() {
                let apart = (a - b).abs();
                squares += apart * apart;
                values += 1;
                if apart > most.0 {
                    most = (apart, joint);
                }
            }
        }
        (actions > 0).then(|| Self {
            actions,
            rms: (squares / f64::from(values.max(1))).sqrt(),
            most,
            opening,
        })
    }
}

/// The action of `chunk` at `due`, between two of its actions on the line through them.
fn at(chunk: &ActionChunk, due: Time) -> Option<Action> {
    if due < chunk.first_due || due > chunk.last_due() {
        return None;
    }
    // In whole nanoseconds: at the same due times the same actions must not differ by rounding.
    let (since, period) = (
        due.since(chunk.first_due).as_nanos(),
        chunk.period.as_nanos(),
    );
    let before = usize::try_from(since.checked_div(period)?).ok()?;
    let share = (since % period) as f64 / period as f64;
    let from = chunk.actions.get(before)?;
    let to = chunk.actions.get(before + 1).unwrap_or(from);
    Some(Action {
        q: from.q.lerp(&to.q, share),
        opening: from.opening + share * (to.opening - from.opening),
    })
}
