//! What an operator says of a trial, and whether it fits what is waited for. Pure.

use tactus_eval::trial::{Abort, Figures};
use tactus_wire::{EvalAnswer, EvalPhase, EvalReport, EvalSaid};

/// How an operator's trial went.
#[derive(Debug, Default)]
pub struct Judged {
    /// Whether it succeeded.
    pub success: bool,
    /// 0 to 100.
    pub progress: f64,
    /// Those that were reached.
    pub milestones: Vec<String>,
    /// Free text.
    pub note: String,
    /// Why it ended without success.
    pub abort: Option<Abort>,
    /// How long the policy was in command, s.
    pub secs: f64,
    /// What was measured.
    pub figures: Figures,
}

/// What is waited for, and what was said.
#[derive(Debug)]
pub struct State {
    /// How the trial stands.
    pub report: EvalReport,
    /// File that its scene is set up by; may be empty.
    pub picture: Vec<u8>,
    /// What the operator said last, until it is acted on.
    pub said: Option<EvalSaid>,
    /// `ready` was said of this attempt: the arm is enabled and told, which takes a while in which the phase is still `Setup`.
    pub begun: bool,
}

impl State {
    /// Takes what the operator says, where it fits.
    ///
    /// # Errors
    /// Why it does not, in words for the operator.
    pub fn take(&mut self, answer: EvalAnswer) -> Result<(), String> {
        let report = &self.report;
        if (answer.trial, answer.attempt) != (report.trial, report.attempt) {
            return Err(format!(
                "trial {} is being run, in its attempt {}",
                report.trial + 1,
                report.attempt
            ));
        }
        let fits = match answer.said {
            // A second one, at another panel or of an impatient finger, must not reach the running trial.
            EvalSaid::Ready if report.phase == EvalPhase::Setup && self.begun => {
                return Err("the trial begins already".into());
            }
            EvalSaid::Ready => report.phase == EvalPhase::Setup,
            EvalSaid::End => report.phase == EvalPhase::Running,
            EvalSaid::Score { .. } => {
                matches!(report.phase, EvalPhase::Running | EvalPhase::Scoring)
            }
            EvalSaid::Exclude { .. } => {
                !matches!(report.phase, EvalPhase::Preparing | EvalPhase::Done)
            }
        };
        if !fits {
            return Err(format!("not while the trial is {}", report.phase.word()));
        }
        if let EvalSaid::Score { milestones, .. } = &answer.said
            && let Some(unknown) = milestones.iter().find(|m| !report.milestones.contains(m))
        {
            return Err(format!("the task has no milestone `{unknown}`"));
        }
        if self.said.is_some() {
            return Err("something was said already".into());
        }
        self.begun |= answer.said == EvalSaid::Ready;
        self.said = Some(answer.said);
        Ok(())
    }
}

/// The evaluation was stopped.
pub fn interrupted(judged: Judged) -> Judged {
    Judged {
        success: false,
        abort: Some(Abort::Interrupted),
        note: "Ctrl-C".into(),
        ..judged
    }
}

/// It does not count.
pub fn excluded(judged: Judged, hardware: bool, note: String) -> Judged {
    let abort = match hardware {
        true => Abort::HardwareFault,
        false => Abort::SetupError,
    };
    Judged {
        success: false,
        abort: Some(abort),
        note,
        ..judged
    }
}

/// What a line of words says.
///
/// # Errors
/// Which words there are.
pub fn word(line: &str) -> Result<EvalSaid, String> {
    let (word, rest) = match line.trim().split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (line.trim(), ""),
    };
    match word {
        "ready" => Ok(EvalSaid::Ready),
        "end" => Ok(EvalSaid::End),
        "success" => Ok(EvalSaid::Score {
            success: true,
            progress: 100.0,
            milestones: vec![],
            note: rest.to_owned(),
        }),
        "failure" => {
            let (progress, note) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let progress = progress.parse().ok().filter(|p| (0.0..=100.0).contains(p));
            let progress = progress.ok_or("expected its progress, 0 to 100, after `failure`")?;
            Ok(EvalSaid::Score {
                success: false,
                progress,
                milestones: vec![],
                note: note.trim().to_owned(),
            })
        }
        "setup" | "hardware" => Ok(EvalSaid::Exclude {
            hardware: word == "hardware",
            note: rest.to_owned(),
        }),
        _ => Err("expected ready, end, success, failure, setup or hardware".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(phase: EvalPhase) -> State {
        State {
            report: EvalReport {
                name: "B against A".into(),
                phase,
                trial: 3,
                trials: 8,
                scored: 3,
                attempt: 2,
                blind: true,
                label: "A".into(),
                task: "pick".into(),
                condition: "seed 1".into(),
                instruction: "pick up the red cube".into(),
                milestones: vec!["lifted".into()],
                secs: 0.0,
                limit_secs: 6.0,
                picture: false,
                note: String::new(),
            },
            picture: vec![],
            said: None,
            begun: false,
        }
    }

    fn answer(said: EvalSaid) -> EvalAnswer {
        EvalAnswer {
            trial: 3,
            attempt: 2,
            said,
        }
    }

    #[test]
    fn an_answer_counts_where_it_is_waited_for_and_only_once() {
        use EvalPhase::{Done, Preparing, Running, Scoring, Setup};
        let score = || word("failure 40 dropped it").expect("a score");
        let exclude = || word("hardware a cable").expect("an exclusion");
        for (said, fits) in [
            (EvalSaid::Ready, vec![Setup]),
            (EvalSaid::End, vec![Running]),
            (score(), vec![Running, Scoring]),
            (exclude(), vec![Setup, Running, Scoring]),
        ] {
            for phase in [Preparing, Setup, Running, Scoring, Done] {
                let mut state = state(phase);
                let taken = state.take(answer(said.clone()));
                assert_eq!(taken.is_ok(), fits.contains(&phase), "{said:?} {phase:?}");
                if taken.is_ok() {
                    assert!(state.take(answer(said.clone())).is_err(), "a second time");
                }
            }
        }
    }

    #[test]
    fn a_second_ready_does_not_reach_the_trial_that_begins() {
        let mut state = state(EvalPhase::Setup);
        assert_eq!(state.take(answer(EvalSaid::Ready)), Ok(()));
        // It is acted on: the arm is being enabled, and nobody has said that the policy runs.
        assert_eq!(state.said.take(), Some(EvalSaid::Ready));
        for refused in [EvalSaid::Ready, EvalSaid::End] {
            assert!(state.take(answer(refused)).is_err());
        }
        let excluded = word("hardware a cable").expect("an exclusion");
        assert_eq!(state.take(answer(excluded)), Ok(()));
    }

    #[test]
    fn an_answer_to_another_trial_or_attempt_is_refused() {
        for (trial, attempt) in [(2, 2), (4, 2), (3, 1), (3, 3)] {
            let late = EvalAnswer {
                trial,
                attempt,
                said: EvalSaid::Ready,
            };
            let why = state(EvalPhase::Setup).take(late).expect_err("another");
            assert!(why.contains("trial 4 is being run"), "{why}");
        }
        let unknown = EvalSaid::Score {
            success: true,
            progress: 100.0,
            milestones: vec!["flew".into()],
            note: String::new(),
        };
        let why = state(EvalPhase::Scoring).take(answer(unknown));
        assert!(why.expect_err("unknown").contains("`flew`"));
    }

    #[test]
    fn words_say_what_they_say() {
        assert_eq!(word(" ready "), Ok(EvalSaid::Ready));
        let Ok(EvalSaid::Score {
            success,
            progress,
            note,
            ..
        }) = word("failure 40 dropped it")
        else {
            panic!("no score");
        };
        assert_eq!(
            (success, progress, note.as_str()),
            (false, 40.0, "dropped it")
        );
        for wrong in ["", "failure", "failure 101", "failure much", "yes"] {
            assert!(word(wrong).is_err(), "{wrong}");
        }
    }
}
