//! The program that runs on the controller: its text, what is filled into it, and what it says of itself.
//!
//! A program belongs to one *session*: the number is in its text and in every command for it. Commands of another session
//! end it; a new enabling has a new number, so that nothing said to an old program counts for a new one.

use std::time::Duration;

use crate::model::Model;

/// The text, with its registers and its own rules in comments.
const TEXT: &str = include_str!("follow.script");
/// Without a new command for this long the program brakes and ends; until then it stays at the last one, so that a pause of the
/// network costs no motion. The maker's own driver allows as much.
pub const PATIENCE: Duration = Duration::from_millis(200);
/// Deceleration that it brakes with, rad/s^2.
const BRAKE: f64 = 8.0;
/// How far from the arm its first command may be, rad.
const NEAR: f64 = 0.05;
/// A command may go this much faster than the arm's fastest joint before it counts as a leap; with some periods' patience,
/// since it is taken from clocks that beat, and may be [`crate::link::STALE_PERIODS`] old.
const LEEWAY: f64 = 1.5;

/// How `servoj` follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Servo {
    /// Commands per second, a whole part of the controller's rate.
    pub rate_hz: u32,
    /// How far `servoj` looks ahead, s: smoother and later with more.
    pub lookahead_secs: f64,
    /// How hard it pulls.
    pub gain: u32,
}

/// Legal values of [`Servo::lookahead_secs`], by the maker's script manual.
pub const LOOKAHEAD_SECS: [f64; 2] = [0.03, 0.2];
/// Legal values of [`Servo::gain`], by the maker's script manual.
pub const GAIN: [u32; 2] = [100, 2000];

/// What the program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It waits for its first command.
    Waits,
    /// It follows.
    Follows,
    /// No command came within [`PATIENCE`].
    Starved,
    /// A command was further from the one before than joints can go.
    Leapt,
    /// It was told to end.
    Told,
    /// Its first command was not where the arm is.
    Apart,
    /// None of it.
    Unknown(i32),
}

impl From<i32> for Doing {
    fn from(code: i32) -> Self {
        match code {
            1 => Self::Waits,
            2 => Self::Follows,
            3 => Self::Starved,
            4 => Self::Leapt,
            5 => Self::Told,
            6 => Self::Apart,
            other => Self::Unknown(other),
        }
    }
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Waits => f.write_str("it waits for its first command"),
            Self::Follows => f.write_str("it follows"),
            Self::Starved => write!(f, "no command reached it for {} ms", PATIENCE.as_millis()),
            Self::Leapt => f.write_str("a command was further from the last than joints can go"),
            Self::Told => f.write_str("it was told to end"),
            Self::Apart => f.write_str("its first command was not where the arm is"),
            Self::Unknown(code) => write!(f, "it says {code}, which means nothing"),
        }
    }
}

/// The text for `session` on a controller of `model`.
pub fn text(session: i32, model: Model, servo: &Servo) -> String {
    let period = 1.0 / f64::from(servo.rate_hz);
    let patience = (PATIENCE.as_secs_f64() * f64::from(servo.rate_hz)).ceil();
    let fill = [
        ("@SESSION@", session.to_string()),
        ("@PERIOD@", period.to_string()),
        ("@LOOKAHEAD@", servo.lookahead_secs.to_string()),
        ("@GAIN@", servo.gain.to_string()),
        ("@PATIENCE@", patience.to_string()),
        (
            "@LEAP@",
            format!("{:.6}", LEEWAY * model.top_speed() * period),
        ),
        ("@NEAR@", NEAR.to_string()),
        ("@BRAKE@", BRAKE.to_string()),
    ];
    // What explains it stays here: the controller needs none of it.
    let code: Vec<&str> = TEXT
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect();
    let mut text = code.join("\n") + "\n";
    for (name, value) in fill {
        text = text.replace(name, &value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::{INPUTS, OUTPUTS};

    const SERVO: Servo = Servo {
        rate_hz: 500,
        lookahead_secs: 0.1,
        gain: 300,
    };

    #[test]
    fn the_text_is_filled_in_and_whole() {
        let text = text(4711, Model::Ur5e, &SERVO);
        assert!(!text.contains('@') && !text.contains('#'), "{text}");
        for line in [
            "  session = 4711",
            "  period = 0.002",
            "  patience = 100",
            "  gain = 300",
            "  lookahead = 0.1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in {text}");
        }
        assert!(text.starts_with("def tactus_follow():\n") && text.ends_with("\nend\n"));
        let opened = text.lines().filter(|l| l.trim_end().ends_with(':'));
        let opened = opened.filter(|l| !l.trim_start().starts_with("el")).count();
        assert_eq!(opened, text.lines().filter(|l| l.trim() == "end").count());
    }

    #[test]
    fn the_registers_of_the_text_are_those_of_the_recipes() {
        for (name, _) in INPUTS.iter().chain(&OUTPUTS) {
            let Some((kind, number)) = name.split_once("_register_") else {
                continue;
            };
            let call = match kind {
                "input_int" => format!("read_input_integer_register({number})"),
                "input_double" => format!("read_input_float_register({number})"),
                "output_int" => format!("write_output_integer_register({number},"),
                other => panic!("{other}"),
            };
            assert!(TEXT.contains(&call), "{call}");
        }
    }

    #[test]
    fn what_it_does_has_words() {
        for code in 1..=6 {
            assert!(!matches!(Doing::from(code), Doing::Unknown(_)));
        }
        assert_eq!(
            Doing::from(3).to_string(),
            "no command reached it for 200 ms"
        );
        assert_eq!(Doing::from(0), Doing::Unknown(0));
    }
}
