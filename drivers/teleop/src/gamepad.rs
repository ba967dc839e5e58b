//! A gamepad, by the layout that all of them have in Linux (`Documentation/input/gamepad.rst`).
//!
//! ```text
//!   right shoulder button, held   the dead man's switch: without it nothing moves
//!   left stick                    forward and back, left and right       (joints 1, 2)
//!   right stick                   up and down; turn about up             (joints 3, 6)
//!   directional pad               tilt: about left, about forward        (joints 5, 4)
//!   left, right trigger           open, close the gripper
//!   start / select                take over / hand back
//!   right action button           hold;   upper or left one: stop (pads and drivers disagree which of the two is which)
//! ```
//! Some pads lack the axes `RX` and `RY` (Xbox pads over Bluetooth under the kernel's plain HID driver, many for Android): their
//! right stick is `Z` and `RZ`, which are the triggers of all others, and their triggers are `BRAKE` and `GAS`.
//!
//! A pad over Bluetooth whose link is lost keeps its last deflection until the kernel notices. So where nothing was heard of a
//! pushed one for [`SIGN_OF_LIFE`], its switch counts as released, and has to be pressed again.
//!
//! Decides what each button and stick means. How fast that is, is decided in [`jog`](crate::jog).

use std::path::Path;

use tactus_types::Time;

use crate::events::{Evdev, Event, Events, Kind, SIGN_OF_LIFE};
use crate::filter::Shaping;
use crate::{AXES, Deflection, Motion, Reading, Source, TeleopError, Wish};

/// Codes of `linux/input-event-codes.h`.
mod code {
    pub const SOUTH: u16 = 0x130;
    pub const EAST: u16 = 0x131;
    pub const NORTH: u16 = 0x133;
    pub const WEST: u16 = 0x134;
    pub const TR: u16 = 0x137;
    pub const TL2: u16 = 0x138;
    pub const TR2: u16 = 0x139;
    pub const SELECT: u16 = 0x13a;
    pub const START: u16 = 0x13b;
    pub const DPAD_UP: u16 = 0x220;
    pub const DPAD_DOWN: u16 = 0x221;
    pub const DPAD_LEFT: u16 = 0x222;
    pub const DPAD_RIGHT: u16 = 0x223;
    pub const X: u16 = 0x00;
    pub const Y: u16 = 0x01;
    pub const Z: u16 = 0x02;
    pub const RX: u16 = 0x03;
    pub const RY: u16 = 0x04;
    pub const RZ: u16 = 0x05;
    pub const GAS: u16 = 0x09;
    pub const BRAKE: u16 = 0x0a;
    pub const HAT0X: u16 = 0x10;
    pub const HAT0Y: u16 = 0x11;
    pub const HAT2X: u16 = 0x14;
    pub const HAT2Y: u16 = 0x15;
}

/// What tells a gamepad, and what it is told by.
const KIND: (&str, &str) = ("gamepad", "button BTN_SOUTH and stick ABS_X");

/// A gamepad in someone's hands.
#[derive(Debug)]
pub struct Gamepad<E> {
    events: E,
    name: String,
    /// Sticks and pad, -1..1, right and down positive: left x, left y, right x, right y, pad x, pad y.
    sticks: [f64; 6],
    /// Left and right trigger, 0..1.
    triggers: [f64; 2],
    held: bool,
    /// `Z` and `RZ` are the right stick.
    z_is_stick: bool,
    /// When anything was reported.
    heard: Time,
}

impl Gamepad<Evdev> {
    /// Opens the gamepad at `device`, or the first that is plugged in.
    ///
    /// # Errors
    /// [`TeleopError`].
    pub fn open(device: Option<&Path>) -> Result<Self, TeleopError> {
        let is = |e: &dyn Events| e.has(Kind::Key, code::SOUTH) && e.has(Kind::Absolute, code::X);
        let events = Evdev::find(device, Path::new("/dev/input"), KIND, is)?;
        Ok(Self::new(events))
    }
}

impl<E: Events> Gamepad<E> {
    /// A gamepad that reports `events`. Sticks and triggers begin where the kernel says that they are; a button that is held
    /// already counts once it is pressed again.
    pub fn new(events: E) -> Self {
        let has = |axis| events.has(Kind::Absolute, axis);
        let z_is_stick = !(has(code::RX) && has(code::RY));
        let triggers = [code::HAT2X, code::GAS].map(has).contains(&true)
            || (!z_is_stick && has(code::RZ))
            || events.has(Kind::Key, code::TR2);
        let without = match triggers {
            true => "",
            false => ", without triggers: it moves no gripper",
        };
        let mut pad = Self {
            name: format!("gamepad {}{without}", events.name()),
            events,
            sticks: [0.0; 6],
            triggers: [0.0; 2],
            held: false,
            z_is_stick,
            heard: Time::ZERO,
        };
        for axis in 0..=code::HAT2Y {
            // An axis that has not reported yet says 0, which may be one end of it.
            if let Some(value) = pad.events.value(axis).filter(|value| *value != 0) {
                pad.moved(axis, value);
            }
        }
        pad
    }

    /// The absolute axis `axis` is at `value`.
    fn moved(&mut self, axis: u16, value: i32) {
        let range = self.events.range(axis);
        let share = |pressed| share(value, range, pressed);
        match axis {
            code::X => self.sticks[0] = share(false),
            code::Y => self.sticks[1] = share(false),
            code::RX => self.sticks[2] = share(false),
            code::RY => self.sticks[3] = share(false),
            code::Z if self.z_is_stick => self.sticks[2] = share(false),
            code::RZ if self.z_is_stick => self.sticks[3] = share(false),
            code::HAT0X => self.sticks[4] = share(false),
            code::HAT0Y => self.sticks[5] = share(false),
            // Most drivers report the triggers as Z and RZ, not as the document says.
            code::Z | code::HAT2Y | code::BRAKE => self.triggers[0] = share(true),
            code::RZ | code::HAT2X | code::GAS => self.triggers[1] = share(true),
            _ => {}
        }
    }

    /// Whether anything is pushed that could move the arm.
    fn pushed(&self) -> bool {
        let beyond = |share: &f64| share.abs() > Shaping::default().dead_zone;
        self.sticks.iter().chain(&self.triggers).any(beyond)
    }
}

/// `value` within `range` as -1..1, or 0..1 for what is `pressed` from its lowest value on.
fn share(value: i32, range: Option<[i32; 2]>, pressed: bool) -> f64 {
    let [low, high] = range.unwrap_or([-1, 1]).map(f64::from);
    let share = (f64::from(value) - low) / (high - low).max(1.0);
    let share = if pressed { share } else { 2.0 * share - 1.0 };
    share.clamp(-1.0, 1.0)
}

impl<E: Events> Source for Gamepad<E> {
    fn name(&self) -> &str {
        &self.name
    }

    fn read(&mut self, now: Time) -> Result<Reading, TeleopError> {
        let mut news: Vec<Event> = Vec::new();
        self.events.poll(&mut |event| news.push(event))?;
        let mut wish = None;
        if !news.is_empty() {
            self.heard = now;
        }
        for Event { kind, code, value } in news {
            let down = f64::from(value.clamp(0, 1));
            match (kind, code) {
                (Kind::Absolute, axis) => self.moved(axis, value),
                (Kind::Key, code::DPAD_LEFT) => self.sticks[4] = -down,
                (Kind::Key, code::DPAD_RIGHT) => self.sticks[4] = down,
                (Kind::Key, code::DPAD_UP) => self.sticks[5] = -down,
                (Kind::Key, code::DPAD_DOWN) => self.sticks[5] = down,
                (Kind::Key, code::TL2) => self.triggers[0] = down,
                (Kind::Key, code::TR2) => self.triggers[1] = down,
                (Kind::Key, code::TR) => self.held = value != 0,
                (Kind::Key, code::START) if value == 1 => wish = Some(Wish::TakeOver),
                (Kind::Key, code::SELECT) if value == 1 => wish = Some(Wish::HandBack),
                (Kind::Key, code::EAST) if value == 1 => wish = Some(Wish::Hold),
                (Kind::Key, code::NORTH | code::WEST) if value == 1 => wish = Some(Wish::Stop),
                _ => {}
            }
        }
        let silent = now.since(self.heard) > SIGN_OF_LIFE;
        if self.events.wireless() && silent && self.pushed() {
            self.held = false;
        }
        let [left_x, left_y, right_x, right_y, pad_x, pad_y] = self.sticks;
        let mut axes = [0.0; AXES];
        axes[..6].copy_from_slice(&[-left_y, -left_x, -right_y, pad_x, -pad_y, -right_x]);
        let opening = self.triggers[0] - self.triggers[1];
        let deflection = match self.held {
            true => Deflection { axes, opening },
            false => Deflection::default(),
        };
        Ok(Reading {
            captured_at: now,
            motion: Motion::Deflection(deflection),
            engaged: self.held,
            wish,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::recorded::Recorded;

    /// The layout of an Xbox pad under the kernel's `xpad` driver: signed sticks, triggers 0..1023, pad as a hat.
    fn xbox() -> Gamepad<Recorded> {
        let stick = [-32768, 32767];
        let axes = [code::X, code::Y, code::RX, code::RY];
        let mut absolute: Vec<_> = axes.map(|axis| (axis, stick)).to_vec();
        absolute.extend([code::Z, code::RZ].map(|axis| (axis, [0, 1023])));
        absolute.extend([code::HAT0X, code::HAT0Y].map(|axis| (axis, [-1, 1])));
        Gamepad::new(Recorded {
            keys: vec![
                code::SOUTH,
                code::EAST,
                code::NORTH,
                code::WEST,
                code::TR,
                code::SELECT,
                code::START,
            ],
            absolute,
            ..Recorded::default()
        })
    }

    fn deflection(reading: &Reading) -> Deflection {
        match reading.motion {
            Motion::Deflection(deflection) => deflection,
            Motion::Joints { .. } => panic!("a gamepad has no joints"),
        }
    }

    fn read(pad: &mut Gamepad<Recorded>, events: &[(Kind, u16, i32)]) -> Reading {
        for (kind, code, value) in events {
            pad.events.report(*kind, *code, *value);
        }
        pad.read(Time::from_millis(1)).expect("there")
    }

    #[test]
    fn nothing_moves_unless_the_switch_is_held_and_letting_go_zeroes_at_once() {
        let mut pad = xbox();
        let pushed = read(&mut pad, &[(Kind::Absolute, code::Y, -32768)]);
        assert!(!pushed.engaged && deflection(&pushed) == Deflection::default());
        let held = read(&mut pad, &[(Kind::Key, code::TR, 1)]);
        assert!(held.engaged && (deflection(&held).axes[0] - 1.0).abs() < 1e-4);
        // The stick is still where it was: no event says so again.
        assert_eq!(deflection(&read(&mut pad, &[])).axes[0], 1.0);
        let released = read(&mut pad, &[(Kind::Key, code::TR, 0)]);
        assert!(!released.engaged && deflection(&released) == Deflection::default());
    }

    #[test]
    fn every_stick_pad_and_trigger_moves_its_own_axis_in_its_own_sense() {
        let full = |code, value, axis: usize, expected: f64| {
            let mut pad = xbox();
            let events = [(Kind::Key, code::TR, 1), (Kind::Absolute, code, value)];
            let d = deflection(&read(&mut pad, &events));
            let mut all = d.axes.to_vec();
            all.push(d.opening);
            for (i, value) in all.into_iter().enumerate() {
                let wanted = if i == axis { expected } else { 0.0 };
                assert!((value - wanted).abs() < 1e-4, "code {code:#x} axis {i}");
            }
        };
        full(code::Y, -32768, 0, 1.0);
        full(code::X, -32768, 1, 1.0);
        full(code::RY, -32768, 2, 1.0);
        full(code::HAT0X, 1, 3, 1.0);
        full(code::HAT0Y, -1, 4, 1.0);
        full(code::RX, 32767, 5, -1.0);
        full(code::Z, 1023, AXES, 1.0);
        full(code::RZ, 512, AXES, -512.0 / 1023.0);
    }

    #[test]
    fn a_pad_with_unsigned_sticks_and_digital_buttons_is_read_alike() {
        let mut pad = Gamepad::new(Recorded {
            keys: vec![code::SOUTH, code::TR, code::TR2, code::DPAD_UP],
            absolute: vec![(code::X, [0, 255]), (code::Y, [0, 255])],
            ..Recorded::default()
        });
        let d = deflection(&read(
            &mut pad,
            &[
                (Kind::Key, code::TR, 1),
                (Kind::Absolute, code::Y, 255),
                (Kind::Absolute, code::X, 128),
                (Kind::Key, code::DPAD_UP, 1),
                (Kind::Key, code::TR2, 1),
            ],
        ));
        assert!((d.axes[0] + 1.0).abs() < 1e-9 && d.axes[1].abs() < 0.01);
        assert!((d.axes[4] - 1.0).abs() < 1e-9 && (d.opening + 1.0).abs() < 1e-9);
    }

    /// The layout of an Xbox One S pad over Bluetooth under the kernel's plain HID driver.
    fn bluetooth() -> Recorded {
        let sticks = [code::X, code::Y, code::Z, code::RZ].map(|axis| (axis, [0, 65535]));
        let triggers = [code::GAS, code::BRAKE].map(|axis| (axis, [0, 1023]));
        let hats = [code::HAT0X, code::HAT0Y].map(|axis| (axis, [-1, 1]));
        Recorded {
            keys: vec![code::SOUTH, code::TR, code::SELECT, code::START],
            absolute: [&sticks[..], &triggers, &hats].concat(),
            wireless: true,
            ..Recorded::default()
        }
    }

    #[test]
    fn a_pad_without_rx_and_ry_has_its_right_stick_on_z_and_rz() {
        for (code, value, axis, expected) in [
            (code::RZ, 0, 2, 1.0),
            (code::Z, 65535, 5, -1.0),
            (code::BRAKE, 1023, AXES, 1.0),
            (code::GAS, 1023, AXES, -1.0),
        ] {
            let mut pad = Gamepad::new(bluetooth());
            let events = [(Kind::Key, code::TR, 1), (Kind::Absolute, code, value)];
            let d = deflection(&read(&mut pad, &events));
            let mut all = d.axes.to_vec();
            all.push(d.opening);
            for (i, value) in all.into_iter().enumerate() {
                let wanted = if i == axis { expected } else { 0.0 };
                assert!(
                    (value - wanted).abs() < 1e-4,
                    "code {code:#x} axis {i}: {value}"
                );
            }
        }
        assert_eq!(Gamepad::new(bluetooth()).name(), "gamepad Recorded");
        let mut bare = bluetooth();
        let triggers = [code::GAS, code::BRAKE];
        bare.absolute.retain(|(axis, _)| !triggers.contains(axis));
        assert!(Gamepad::new(bare).name().contains("without triggers"));
        // At rest, one axis of two reported: nothing moves, the gripper least of all.
        let mut pad = Gamepad::new(bluetooth());
        let events = [(Kind::Key, code::TR, 1), (Kind::Absolute, code::Z, 32768)];
        let d = deflection(&read(&mut pad, &events));
        assert!(
            d.opening == 0.0 && d.axes.iter().all(|v| v.abs() < 1e-4),
            "{d:?}"
        );
    }

    #[test]
    fn axes_begin_where_the_kernel_says_that_they_are() {
        let mut pad = Gamepad::new(Recorded {
            values: vec![(code::Y, 65535), (code::Z, 32768), (code::BRAKE, 1023)],
            ..bluetooth()
        });
        let d = deflection(&read(&mut pad, &[(Kind::Key, code::TR, 1)]));
        assert!((d.axes[0] + 1.0).abs() < 1e-4 && d.opening == 1.0, "{d:?}");
        assert!(d.axes[1] == 0.0 && d.axes[5].abs() < 1e-4, "{d:?}");
    }

    #[test]
    fn a_pushed_pad_over_bluetooth_that_falls_silent_is_released_until_a_fresh_press() {
        let at = |pad: &mut Gamepad<Recorded>, millis, events: &[(Kind, u16, i32)]| {
            for (kind, code, value) in events {
                pad.events.report(*kind, *code, *value);
            }
            pad.read(Time::from_millis(millis)).expect("there").engaged
        };
        let press = (Kind::Key, code::TR, 1);
        let push = |value| (Kind::Absolute, code::Y, value);
        let mut pad = Gamepad::new(bluetooth());
        // In the middle nothing moves, and nothing has to be heard.
        assert!(at(&mut pad, 1000, &[press, push(32768)]));
        assert!(at(&mut pad, 9000, &[]));
        assert!(at(&mut pad, 9500, &[push(0)]));
        assert!(at(&mut pad, 10_500, &[]));
        assert!(!at(&mut pad, 10_501, &[]));
        // The link is back, and the switch still where it was.
        assert!(!at(&mut pad, 10_600, &[push(20)]));
        assert!(at(&mut pad, 10_700, &[(Kind::Key, code::TR, 0), press]));
        // A wire says so when it is pulled.
        let mut pad = Gamepad::new(Recorded {
            wireless: false,
            ..bluetooth()
        });
        assert!(at(&mut pad, 1000, &[press, push(0)]));
        assert!(at(&mut pad, 60_000, &[]));
    }

    #[test]
    fn buttons_ask_once_per_press_and_a_pad_that_is_gone_is_an_error() {
        let mut pad = xbox();
        let mut wish = |code| {
            let pressed = read(&mut pad, &[(Kind::Key, code, 1)]).wish;
            assert_eq!(read(&mut pad, &[(Kind::Key, code, 2)]).wish, None);
            assert_eq!(read(&mut pad, &[(Kind::Key, code, 0)]).wish, None);
            pressed
        };
        assert_eq!(wish(code::START), Some(Wish::TakeOver));
        assert_eq!(wish(code::SELECT), Some(Wish::HandBack));
        assert_eq!(wish(code::EAST), Some(Wish::Hold));
        assert_eq!(wish(code::NORTH), Some(Wish::Stop));
        assert_eq!(wish(code::WEST), Some(Wish::Stop));
        assert_eq!(wish(code::SOUTH), None);
        pad.events.gone = true;
        let gone = pad.read(Time::ZERO).err().map(|e| e.to_string());
        assert!(
            gone.is_some_and(|e| e.contains("/dev/input/event7") && e.contains("No such device"))
        );
    }
}
