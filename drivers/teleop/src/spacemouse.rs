//! A SpaceMouse (3Dconnexion): a cap that is pushed and twisted along six axes, and two buttons.
//!
//! The device's axes are right, towards the user, down, and the turns about them; here they become forward, left, up. The cap
//! springs back, so letting go of it is zero, and there is no other dead man's switch. Left button: closes the gripper while
//! held; right button: opens it; both together: hold. Taking over and handing back are asked for at the terminal.
//!
//! Some kernels report the cap as absolute axes, some as relative ones. A relative axis never reports a zero (the input core
//! drops it), but the device reports again and again while the cap is pushed: one that is silent for [`SPRINGS_BACK`] is zero.
//! An absolute one stays where it is, and so does a button; but a wireless device out of reach keeps them too, and its USB receiver
//! stays: after [`SIGN_OF_LIFE`] without any event everything counts as let go, until it says otherwise.

use std::path::Path;
use std::time::Duration;

use tactus_types::Time;

use crate::events::{Evdev, Event, Events, Kind, SIGN_OF_LIFE};
use crate::{AXES, Deflection, Motion, Reading, Source, TeleopError, Wish};

/// A relative axis without news for longer is in its middle.
pub const SPRINGS_BACK: Duration = Duration::from_millis(80);
/// A cap pushed all the way, where the kernel does not say.
const FULL: i32 = 350;
/// The two buttons: `BTN_0`, `BTN_1`.
const LEFT: u16 = 0x100;
const RIGHT: u16 = 0x101;
/// Highest code of the six axes: x, y, z, and the turns about them, alike in `ABS_*` and `REL_*`.
const LAST_AXIS: u16 = 5;

/// What tells a SpaceMouse, and what it is told by.
const KIND: (&str, &str) = ("SpaceMouse", "six axes of a cap and button BTN_0");

/// A SpaceMouse under someone's hand.
#[derive(Debug)]
pub struct SpaceMouse<E> {
    events: E,
    name: String,
    /// -1..1, as the device has its axes.
    cap: [f64; 6],
    /// When a relative axis was last heard.
    heard: [Option<Time>; 6],
    buttons: [bool; 2],
    /// When anything was reported.
    spoke: Time,
}

impl SpaceMouse<Evdev> {
    /// Opens the SpaceMouse at `device`, or the first that is plugged in.
    ///
    /// # Errors
    /// [`TeleopError`].
    pub fn open(device: Option<&Path>) -> Result<Self, TeleopError> {
        let is = |e: &dyn Events| {
            let six = |kind| (0..=LAST_AXIS).all(|axis| e.has(kind, axis));
            e.has(Kind::Key, LEFT) && (six(Kind::Absolute) || six(Kind::Relative))
        };
        let events = Evdev::find(device, Path::new("/dev/input"), KIND, is)?;
        Ok(Self::new(events))
    }
}

impl<E: Events> SpaceMouse<E> {
    /// A SpaceMouse that reports `events`.
    pub fn new(events: E) -> Self {
        Self {
            name: format!("SpaceMouse {}", events.name()),
            events,
            cap: [0.0; 6],
            heard: [None; 6],
            buttons: [false; 2],
            spoke: Time::ZERO,
        }
    }
}

impl<E: Events> Source for SpaceMouse<E> {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self, now: Time) -> Result<Reading, TeleopError> {
        let mut news: Vec<Event> = Vec::new();
        self.events.poll(&mut |event| news.push(event))?;
        let mut wish = None;
        if !news.is_empty() {
            self.spoke = now;
        }
        for Event { kind, code, value } in news {
            match (kind, code) {
                (Kind::Absolute | Kind::Relative, axis @ 0..=LAST_AXIS) => {
                    let range = self.events.range(axis).unwrap_or([-FULL, FULL]);
                    let full = f64::from(range[1].max(-range[0]).max(1));
                    let i = usize::from(axis);
                    self.cap[i] = (f64::from(value) / full).clamp(-1.0, 1.0);
                    self.heard[i] = (kind == Kind::Relative).then_some(now);
                }
                (Kind::Key, LEFT | RIGHT) => {
                    self.buttons[usize::from(code - LEFT)] = value != 0;
                    if value == 1 && self.buttons == [true; 2] {
                        wish = Some(Wish::Hold);
                    }
                }
                _ => {}
            }
        }
        for (cap, heard) in self.cap.iter_mut().zip(&mut self.heard) {
            if heard.is_some_and(|at| now.since(at) > SPRINGS_BACK) {
                (*cap, *heard) = (0.0, None);
            }
        }
        if now.since(self.spoke) > SIGN_OF_LIFE {
            (self.cap, self.buttons) = ([0.0; 6], [false; 2]);
        }
        let [x, y, z, rx, ry, rz] = self.cap;
        let mut axes = [0.0; AXES];
        axes[..6].copy_from_slice(&[-y, -x, -z, -ry, -rx, -rz]);
        let held = |i: usize| f64::from(u8::from(self.buttons[i]));
        Ok(Reading {
            captured_at: now,
            motion: Motion::Deflection(Deflection {
                axes,
                opening: held(1) - held(0),
            }),
            engaged: true,
            wish,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::recorded::Recorded;

    fn deflection(mouse: &mut SpaceMouse<Recorded>, millis: u64) -> Deflection {
        let reading = mouse.read(Time::from_millis(millis)).expect("there");
        match reading.motion {
            Motion::Deflection(deflection) => deflection,
            Motion::Joints { .. } => panic!("a SpaceMouse has no joints"),
        }
    }

    /// As `xinput` and `evtest` show a SpaceNavigator on kernels with absolute axes.
    fn absolute() -> SpaceMouse<Recorded> {
        SpaceMouse::new(Recorded {
            keys: vec![LEFT, RIGHT],
            absolute: (0..=LAST_AXIS).map(|axis| (axis, [-350, 350])).collect(),
            ..Recorded::default()
        })
    }

    #[test]
    fn the_cap_moves_forward_left_and_up() {
        // Towards the user is positive, so away from them, forward, is negative; right and down are positive.
        for (axis, at) in [(1u16, 0usize), (0, 1), (2, 2), (4, 3), (3, 4), (5, 5)] {
            let mut mouse = absolute();
            mouse.events.report(Kind::Absolute, axis, -350);
            let d = deflection(&mut mouse, 1);
            for (i, value) in d.axes.iter().enumerate() {
                let wanted = f64::from(u8::from(i == at));
                assert!((value - wanted).abs() < 1e-12, "axis {axis}: {d:?}");
            }
            // An absolute axis stays where it is until it says otherwise.
            assert_eq!(deflection(&mut mouse, 1001), d);
            mouse.events.report(Kind::Absolute, axis, 0);
            assert_eq!(deflection(&mut mouse, 1002).axes, [0.0; AXES]);
        }
    }

    #[test]
    fn a_device_that_falls_silent_has_been_let_go() {
        let mut mouse = absolute();
        mouse.events.report(Kind::Absolute, 1, -350);
        mouse.events.report(Kind::Key, RIGHT, 1);
        let pushed = deflection(&mut mouse, 5000);
        assert_eq!((pushed.axes[0], pushed.opening), (1.0, 1.0));
        assert_eq!(deflection(&mut mouse, 6000), pushed);
        assert_eq!(deflection(&mut mouse, 6001), Deflection::default());
        // It speaks again: of what it says only.
        mouse.events.report(Kind::Absolute, 0, -35);
        let d = deflection(&mut mouse, 6100);
        assert!((d.axes[1] - 0.1).abs() < 1e-12 && d.axes[0] == 0.0 && d.opening == 0.0);
    }

    #[test]
    fn a_relative_axis_that_falls_silent_has_sprung_back() {
        let mut mouse = SpaceMouse::new(Recorded {
            keys: vec![LEFT, RIGHT],
            relative: (0..=LAST_AXIS).collect(),
            ..Recorded::default()
        });
        for millis in [0, 16, 32, 48] {
            mouse.events.report(Kind::Relative, 1, -175);
            assert!((deflection(&mut mouse, millis).axes[0] - 0.5).abs() < 1e-12);
        }
        assert!((deflection(&mut mouse, 48 + 80).axes[0] - 0.5).abs() < 1e-12);
        assert_eq!(deflection(&mut mouse, 48 + 81).axes[0], 0.0);
    }

    #[test]
    fn buttons_move_the_gripper_and_both_together_hold() {
        let mut mouse = absolute();
        mouse.events.report(Kind::Key, LEFT, 1);
        assert_eq!(deflection(&mut mouse, 1).opening, -1.0);
        mouse.events.report(Kind::Key, RIGHT, 1);
        let both = mouse.read(Time::from_millis(2)).expect("there");
        assert_eq!(both.wish, Some(Wish::Hold));
        mouse.events.report(Kind::Key, LEFT, 0);
        assert_eq!(deflection(&mut mouse, 3).opening, 1.0);
    }
}
