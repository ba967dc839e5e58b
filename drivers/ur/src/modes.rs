//! What a controller says of itself, in words: robot mode, safety status, what its program does.
//!
//! Numbers and names are those of the maker's RTDE guide.

/// `robot_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RobotMode(pub i32);

impl RobotMode {
    /// Powered, brakes released: it can move.
    pub const RUNNING: Self = Self(7);

    /// The maker's word.
    pub fn word(self) -> &'static str {
        match self.0 {
            -1 => "NO_CONTROLLER",
            0 => "DISCONNECTED",
            1 => "CONFIRM_SAFETY",
            2 => "BOOTING",
            3 => "POWER_OFF",
            4 => "POWER_ON",
            5 => "IDLE",
            6 => "BACKDRIVE",
            7 => "RUNNING",
            8 => "UPDATING_FIRMWARE",
            _ => "unknown",
        }
    }

    /// What the operator does about it, where a verb of ours does.
    pub fn remedy(self) -> &'static str {
        match self.0 {
            3 => ": `tactus device power-on`, then `tactus device brake-release`",
            4 | 5 => ": `tactus device brake-release`",
            _ => "",
        }
    }
}

impl std::fmt::Display for RobotMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// `safety_status_bits`: several may be set; the worst counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Safety(pub u32);

/// Bits, worst first, with what they are called here.
const SAFETY: [(u32, &str); 10] = [
    (9, "fault"),
    (8, "violation"),
    (6, "emergency stop of the robot"),
    (5, "emergency stop of the system"),
    (7, "emergency stop"),
    (2, "protective stop"),
    (4, "safeguard stop"),
    (3, "recovery mode"),
    (10, "stopped due to safety"),
    (1, "reduced mode"),
];

/// Bits 2 to 10; those above are no stops.
const STOPS: u32 = 0x7FC;

impl Safety {
    /// Nothing wrong.
    pub const NORMAL: Self = Self(1);
    /// Protective stop.
    pub const PROTECTIVE_STOP: Self = Self(1 << 2 | 1 << 10);

    /// Whether it lets a program move the arm: normal or reduced mode (slower), and none of the stops.
    pub fn permits_motion(self) -> bool {
        self.0 & 0b11 != 0 && self.0 & STOPS == 0
    }

    /// Whether the arm is in protective stop.
    pub fn protective_stop(self) -> bool {
        self.0 & (1 << 2) != 0
    }

    /// The worst of it, in words.
    pub fn word(self) -> &'static str {
        match SAFETY.iter().find(|(bit, _)| self.0 & (1 << bit) != 0) {
            Some((_, word)) => word,
            None if self.permits_motion() => "normal",
            None => "not normal",
        }
    }

    /// What the operator does about it.
    pub fn remedy(self) -> &'static str {
        if self.protective_stop() && self.0 & (0b11_1110_0000) == 0 {
            ": see why it stopped, then `tactus device unlock-protective-stop`"
        } else if self.permits_motion() {
            ""
        } else {
            ": see to it at the robot"
        }
    }
}

impl std::fmt::Display for Safety {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// `runtime_state`: what the controller's program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runtime(pub u32);

impl Runtime {
    /// No program.
    pub const STOPPED: Self = Self(1);
    /// A program runs.
    pub const PLAYING: Self = Self(2);
    /// A program waits to be resumed.
    pub const PAUSED: Self = Self(4);

    /// Whether there is a program that could go on by somebody's press of a button.
    pub fn resumable(self) -> bool {
        (3..=5).contains(&self.0)
    }

    /// The maker's word.
    pub fn word(self) -> &'static str {
        match self.0 {
            0 => "STOPPING",
            1 => "STOPPED",
            2 => "PLAYING",
            3 => "PAUSING",
            4 => "PAUSED",
            5 => "RESUMING",
            _ => "unknown",
        }
    }
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_the_safety_bits_has_the_word() {
        assert_eq!(Safety::NORMAL.word(), "normal");
        assert!(Safety::NORMAL.permits_motion() && Safety(0b10).permits_motion());
        assert_eq!(Safety(0b10).word(), "reduced mode");
        assert_eq!(Safety::PROTECTIVE_STOP.word(), "protective stop");
        assert!(!Safety::PROTECTIVE_STOP.permits_motion());
        assert!(
            Safety::PROTECTIVE_STOP
                .remedy()
                .contains("unlock-protective-stop")
        );
        let emergency = Safety(1 << 6 | 1 << 7 | 1 << 2);
        assert_eq!(emergency.word(), "emergency stop of the robot");
        assert!(!emergency.remedy().contains("unlock"));
        assert!(!Safety(0).permits_motion() && Safety(0).word() == "not normal");
        assert!(Safety(1 | 1 << 11).permits_motion());
        for bit in 2..11 {
            assert!(!Safety(1 << bit).permits_motion(), "bit {bit}");
            assert_ne!(Safety(1 << bit).word(), "normal");
        }
    }

    #[test]
    fn modes_have_the_maker_s_words() {
        assert_eq!(RobotMode(3).to_string(), "POWER_OFF");
        assert!(RobotMode(5).remedy().contains("brake-release"));
        assert_eq!(RobotMode::RUNNING.remedy(), "");
        assert_eq!(Runtime::PAUSED.to_string(), "PAUSED");
        assert!(
            Runtime::PAUSED.resumable()
                && !Runtime::PLAYING.resumable()
                && !Runtime::STOPPED.resumable()
        );
    }
}
