//! What the gripper is told and what it says: six bytes each way, in three registers of two bytes, high byte first.
//!
//! | byte | out, from register 03E8 | in, from register 07D0 |
//! |---|---|---|
//! | 0 | bit 0 rACT: be active; bit 3 rGTO: go to the position | bit 0 gACT, bit 3 gGTO: echoes; 4-5 gSTA; 6-7 gOBJ |
//! | 1 | - | - |
//! | 2 | - | gFLT: fault |
//! | 3 | rPR: position, 0 open to 255 closed | gPR: its echo |
//! | 4 | rSP: speed, 0 to 255 | gPO: position |
//! | 5 | rFR: force, 0 to 255 | gCU: current, 10 mA each |
//!
//! Positions are 0 open and 255 closed; openings here are 1 open and 0 closed. The fingers themselves stop a little before
//! both ends (3 and 230 or so), so a fully open gripper says an opening of 0.99 or less.
//!
//! Source: Robotiq, "2F-85 & 2F-140 Instruction Manual", chapter 4.

/// First register out.
pub const OUT: u16 = 0x03E8;
/// First register in.
pub const IN: u16 = 0x07D0;
/// Registers each way.
pub const COUNT: u16 = 3;

const ACTIVE: u16 = 0x01;
const GO_TO: u16 = 0x08;

/// What the fingers met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    /// They are on their way.
    Moving,
    /// Something, while opening.
    Opening,
    /// Something, while closing: usually what was to be gripped.
    Closing,
    /// They are where they were told to be: nothing, or what was gripped is lost.
    Nothing,
}

impl Object {
    /// Whether they met something.
    pub fn is_met(self) -> bool {
        matches!(self, Self::Opening | Self::Closing)
    }
}

impl std::fmt::Display for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Moving => "on their way",
            Self::Opening => "stopped by something while opening",
            Self::Closing => "stopped by something while closing",
            Self::Nothing => "where they were told to be",
        })
    }
}

/// What the gripper says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// gACT: it was told to be active.
    pub told_active: bool,
    /// gGTO: it follows positions.
    pub following: bool,
    /// gSTA: 0 reset, 1 activation in progress, 3 active.
    pub stage: u8,
    /// gOBJ; means nothing unless it follows.
    pub object: Object,
    /// gFLT.
    pub fault: u8,
    /// gPR, 0 open to 255 closed.
    pub requested: u8,
    /// gPO, 0 open to 255 closed.
    pub position: u8,
    /// gCU, mA.
    pub current_ma: u16,
}

impl Status {
    /// The status that three registers from [`IN`] on say.
    pub fn of(registers: [u16; 3]) -> Self {
        let [[first, _], [fault, requested], [position, current]] = registers.map(u16::to_be_bytes);
        Self {
            told_active: first & 1 != 0,
            following: first >> 3 & 1 != 0,
            stage: first >> 4 & 3,
            object: match first >> 6 {
                0 => Object::Moving,
                1 => Object::Opening,
                2 => Object::Closing,
                _ => Object::Nothing,
            },
            fault,
            requested,
            position,
            current_ma: 10 * u16::from(current),
        }
    }

    /// Whether its activation is complete.
    pub fn active(&self) -> bool {
        self.told_active && self.stage == 3
    }

    /// Where the fingers are, 0 closed to 1 open.
    pub fn opening(&self) -> f64 {
        opening_of(self.position)
    }

    /// Why it does not do what it is told, in the manual's words; `None` when it does. That it was not activated, and that it
    /// heard nothing for a second, are no faults here: the next exchange sees to both.
    pub fn fault(&self) -> Option<String> {
        let text = match self.fault {
            0x00 | 0x05 | 0x07 | 0x09 => return None,
            0x08 => "it is too hot: wait until it cooled down",
            0x0A => "its supply is too low; it has to be activated again",
            0x0B => "automatic release in progress",
            0x0C => "internal fault: ask Robotiq",
            0x0D => {
                "its activation failed: is something in the way of its fingers? It has to be activated again"
            }
            0x0E => "too much current; it has to be activated again",
            0x0F => "automatic release is done; it has to be activated again",
            other => return Some(format!("fault {other:#04x}")),
        };
        Some(text.into())
    }
}

/// The opening of a position.
pub fn opening_of(position: u8) -> f64 {
    1.0 - f64::from(position) / 255.0
}

/// The position of an opening; one that is not finite is half open, and none gets this far.
pub fn position_of(opening: f64) -> u8 {
    let opening = if opening.is_finite() { opening } else { 0.5 };
    ((1.0 - opening.clamp(0.0, 1.0)) * 255.0).round() as u8
}

/// Registers that take every order back: reset, which also clears faults.
pub const RESET: [u16; 3] = [0; 3];
/// Registers that begin the activation.
pub const ACTIVATE: [u16; 3] = [ACTIVE << 8, 0, 0];

/// Registers that send the fingers to `position` with this speed and force.
pub fn go_to(position: u8, speed: u8, force: u8) -> [u16; 3] {
    [
        (ACTIVE | GO_TO) << 8,
        u16::from(position),
        u16::from_be_bytes([speed, force]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_the_manual_s_examples_are_understood() {
        // Opening is completed.
        let open = Status::of([0xF900, 0x0000, 0x0D00]);
        assert!(open.active() && open.following && open.fault().is_none());
        assert_eq!((open.object, open.position), (Object::Nothing, 13));
        // The grip is completed.
        let gripped = Status::of([0xB900, 0x00FF, 0xBD00]);
        assert_eq!((gripped.object, gripped.requested), (Object::Closing, 255));
        assert!(gripped.object.is_met());
        // The grip is not completed.
        let moving = Status::of([0x3900, 0x00FF, 0x0E0A]);
        assert_eq!((moving.object, moving.current_ma), (Object::Moving, 100));
        // Activation is not completed, and completed.
        assert!(!Status::of([0x1100, 0, 0]).active());
        assert!(Status::of([0x3100, 0, 0]).active());
        assert!(!Status::of([0, 0, 0]).active());
    }

    #[test]
    fn positions_are_openings_upside_down() {
        assert_eq!((position_of(1.0), position_of(0.0)), (0, 255));
        assert_eq!((position_of(7.0), position_of(-1.0)), (0, 255));
        assert_eq!(position_of(f64::NAN), 128);
        for position in 0..=255 {
            assert_eq!(position_of(opening_of(position)), position);
        }
    }

    #[test]
    fn faults_have_words_and_not_being_active_is_none() {
        let fault = |code: u16| Status::of([0, code << 8, 0]).fault();
        assert_eq!(
            (fault(0), fault(5), fault(7), fault(9)),
            (None, None, None, None)
        );
        assert!(fault(0x0E).is_some_and(|f| f.contains("current")));
        assert!(fault(0x42).is_some_and(|f| f.contains("0x42")));
    }
}
