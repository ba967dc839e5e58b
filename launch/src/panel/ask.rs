//! What a page may ask for, as JSON, checked: words of bounded length without control characters, numbers within their ranges.
//! Pure. What cannot be asked cannot be done here: torque-off, for one.

use serde::Deserialize;

/// Longest instruction, characters.
const INSTRUCTION: usize = 500;
/// Longest note, characters.
const NOTE: usize = 2000;

/// What may be asked, as JSON with the field `ask`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Verify the arm and let it be commanded.
    Enable {},
    /// Begin an episode.
    Start {
        /// What the arm is told.
        instruction: String,
        /// Seed of the policy's noise.
        #[serde(default)]
        seed: u64,
    },
    /// End it.
    End {},
    /// Brake and stay.
    Hold {},
    /// Controlled stop, which only a restart of the arm host leaves.
    Stop {},
    /// Command the arm with this page's keys.
    TakeOver {
        /// Number of the page's connection.
        page: u64,
        /// Share of the arm's limits, above 0 to 1.
        #[serde(default = "quarter")]
        speed: f64,
    },
    /// Give it back to the policy.
    HandBack {},
    /// Open or close the clutch.
    Clutch {},
    /// How the episode went that was started here.
    Score(Score),
    /// What is said of a trial of an evaluation.
    Trial {
        /// Which.
        trial: u64,
        /// The so-manieth time.
        attempt: u32,
        /// What.
        said: Said,
    },
}

/// A score.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Whether it succeeded.
    pub success: bool,
    /// How far it came, 0 to 100.
    pub progress: f64,
    /// What was reached on the way.
    #[serde(default)]
    pub milestones: Vec<String>,
    /// Free text.
    #[serde(default)]
    pub note: String,
}

/// See [`Ask::Trial`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Said {
    /// The scene is set up.
    Ready {},
    /// It is over.
    End {},
    /// How it went.
    Score(Score),
    /// It does not count.
    Exclude {
        /// Because of the arm, a camera or a cable; else the set-up.
        hardware: bool,
        /// What it was.
        #[serde(default)]
        note: String,
    },
}

fn quarter() -> f64 {
    0.25
}

impl Ask {
    /// What `text` asks for, checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut ask: Self = serde_json::from_slice(text).map_err(|e| e.to_string())?;
        let score = |score: &mut Score| -> Result<(), String> {
            if !(0.0..=100.0).contains(&score.progress) {
                return Err(format!(
                    "progress: expected 0 to 100, got {}",
                    score.progress
                ));
            }
            words("note", &mut score.note, NOTE)
        };
        match &mut ask {
            Self::Start { instruction, .. } => {
                words("instruction", instruction, INSTRUCTION)?;
                if instruction.is_empty() {
                    return Err("instruction: expected a sentence, got nothing".into());
                }
            }
            Self::TakeOver { speed, .. } if !(*speed > 0.0 && *speed <= 1.0) => {
                return Err(format!("speed: expected above 0 to 1, got {speed}"));
            }
            Self::Score(s) => score(s)?,
            Self::Trial { said, .. } => match said {
                Said::Score(s) => score(s)?,
                Said::Exclude { note, .. } => words("note", note, NOTE)?,
                Said::Ready {} | Said::End {} => {}
            },
            _ => {}
        }
        Ok(ask)
    }
}

/// Trims `text`; it may have `most` characters, and no control characters.
fn words(field: &str, text: &mut String, most: usize) -> Result<(), String> {
    let trimmed = text.trim().replace(['\n', '\r', '\t'], " ");
    if trimmed.chars().count() > most || trimmed.chars().any(char::is_control) {
        return Err(format!(
            "{field}: expected at most {most} characters of text"
        ));
    }
    *text = trimmed;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Ask, String> {
        Ask::parse(text.as_bytes())
    }

    #[test]
    fn every_ask_has_its_words_and_nothing_else_is_one() {
        assert_eq!(parse(r#"{"ask":"hold"}"#), Ok(Ask::Hold {}));
        let start = parse(r#"{"ask":"start","instruction":"  pick up\nthe cube "}"#);
        let instruction = "pick up the cube".to_owned();
        assert_eq!(
            start,
            Ok(Ask::Start {
                instruction,
                seed: 0
            })
        );
        let trial = parse(
            r#"{"ask":"trial","trial":3,"attempt":1,"said":{"score":{"success":true,"progress":100}}}"#,
        );
        assert!(matches!(
            trial,
            Ok(Ask::Trial {
                trial: 3,
                attempt: 1,
                said: Said::Score(Score { success: true, .. })
            })
        ));
        for wrong in [
            "",
            "[]",
            "{}",
            r#"{"ask":"torque_off"}"#,
            r#"{"ask":"hold","now":true}"#,
            r#"{"ask":"start"}"#,
            r#"{"ask":"start","instruction":"   "}"#,
            r#"{"ask":"start","instruction":"a\u0000b"}"#,
            r#"{"ask":"take_over","page":1,"speed":0}"#,
            r#"{"ask":"take_over","page":1,"speed":1.5}"#,
            r#"{"ask":"score","success":true,"progress":101}"#,
            r#"{"ask":"score","success":true,"progress":null}"#,
            r#"{"ask":"trial","trial":3,"attempt":1,"said":{"forget":{}}}"#,
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let long = format!(r#"{{"ask":"start","instruction":"{}"}}"#, "x".repeat(501));
        assert!(parse(&long).is_err());
    }
}
