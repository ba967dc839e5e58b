//! A terminal's keys as jog steps: a column of keys per axis, the upper row forward, the row below it back.
//!
//! ```text
//!   q w e r t y u   o      +   forward, left, up, roll, pitch, yaw, (seventh joint); gripper opens
//!   a s d f g h j   l      -   joint by joint: the arm's joints in their order
//! ```
//! A terminal says when a key is pressed and never when it is released. So a press is a step: its axis moves for [`STEP`] and
//! stops by itself; a key that is held moves on as long as the terminal repeats it. There is no dead man's switch: the step is
//! what bounds the motion.
//!
//! Decides what a key moves and for how long. Reads no terminal: whoever does tells [`Keys`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tactus_types::Time;

use crate::{AXES, Deflection, Motion, Reading, Source, TeleopError};

/// How long one press moves its axis.
pub const STEP: Duration = Duration::from_millis(120);

/// Keys of each axis, then of the gripper: positive, negative.
const COLUMNS: [(char, char); AXES + 1] = [
    ('q', 'a'),
    ('w', 's'),
    ('e', 'd'),
    ('r', 'f'),
    ('t', 'g'),
    ('y', 'h'),
    ('u', 'j'),
    ('o', 'l'),
];

/// The last press on each axis: which way, and when.
type Steps = [Option<(f64, Time)>; AXES + 1];

/// Where presses are told.
#[derive(Debug, Clone, Default)]
pub struct Keys(Arc<Mutex<Steps>>);

impl Keys {
    /// `key` was pressed at `now`. False when it moves nothing.
    pub fn press(&self, key: char, now: Time) -> bool {
        let step = COLUMNS.iter().enumerate().find_map(|(axis, keys)| {
            let sign = if key == keys.0 { 1.0 } else { -1.0 };
            (key == keys.0 || key == keys.1).then_some((axis, sign))
        });
        let Some((axis, sign)) = step else {
            return false;
        };
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps[axis] = Some((sign, now));
        true
    }
}

/// The keys as a source.
#[derive(Debug)]
pub struct Keyboard(Keys);

impl Keyboard {
    /// What is told to `keys`.
    pub fn new(keys: &Keys) -> Self {
        Self(keys.clone())
    }
}

impl Source for Keyboard {
    fn name(&self) -> &str {
        "keyboard"
    }

    fn read(&mut self, now: Time) -> Result<Reading, TeleopError> {
        let steps = *self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let moves = steps.map(|step| match step {
            Some((sign, at)) if now.since(at) < STEP => sign,
            _ => 0.0,
        });
        let mut axes = [0.0; AXES];
        axes.copy_from_slice(&moves[..AXES]);
        Ok(Reading {
            captured_at: now,
            motion: Motion::Deflection(Deflection {
                axes,
                opening: moves[AXES],
            }),
            engaged: true,
            wish: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axes(keyboard: &mut Keyboard, millis: u64) -> ([f64; AXES], f64) {
        let reading = keyboard.read(Time::from_millis(millis)).expect("always");
        match reading.motion {
            Motion::Deflection(Deflection { axes, opening }) => (axes, opening),
            Motion::Joints { .. } => panic!("keys have no joints"),
        }
    }

    #[test]
    fn a_press_is_a_step_that_ends_by_itself_and_repeats_join_up() {
        let keys = Keys::default();
        let mut keyboard = Keyboard::new(&keys);
        assert!(keys.press('w', Time::from_millis(1000)));
        assert_eq!(axes(&mut keyboard, 1119).0[1], 1.0);
        assert_eq!(axes(&mut keyboard, 1120), ([0.0; AXES], 0.0));
        for millis in (2000..3000).step_by(33) {
            keys.press('s', Time::from_millis(millis));
            assert_eq!(axes(&mut keyboard, millis + 32).0[1], -1.0);
        }
        assert_eq!(axes(&mut keyboard, 3200).0[1], 0.0);
    }

    #[test]
    fn every_key_moves_one_axis_and_no_other_key_moves_any() {
        for (axis, (up, down)) in COLUMNS.into_iter().enumerate() {
            for (key, sign) in [(up, 1.0), (down, -1.0)] {
                let keys = Keys::default();
                assert!(keys.press(key, Time::ZERO));
                let (axes, opening) = axes(&mut Keyboard::new(&keys), 1);
                let mut all = axes.to_vec();
                all.push(opening);
                assert_eq!(all.iter().filter(|v| **v != 0.0).count(), 1);
                assert_eq!(all[axis], sign);
            }
        }
        assert!(!Keys::default().press('x', Time::ZERO));
    }
}
