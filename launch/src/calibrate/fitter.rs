//! The program `tactus-fit` as a child: a question, an answer.
//!
//! Decides nothing of what is asked. The child ends with its pipes; Ctrl-C is not its business, since the views it was asked
//! about may still be used after it.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tactus_calibration::Board;
use tactus_calibration::exchange::{Answer, Ask, PROGRAM, Seen, View};
use tactus_camera::video::program;

use super::pictures::Grey;

/// The child.
pub struct Fitter {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Fitter {
    /// Starts it.
    ///
    /// # Errors
    /// When it was not built, with what to do.
    pub fn start() -> anyhow::Result<Self> {
        let program = program(PROGRAM)?;
        let child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn();
        let mut child = match child {
            Err(e) if e.kind() == ErrorKind::NotFound => bail!(
                "calibrating needs the program {}, which is not there: `./launch/setup --cv` gets OpenCV, with which it is built",
                program.display()
            ),
            other => other.with_context(|| program.display().to_string())?,
        };
        let questions = child.stdin.take().context("a pipe to tactus-fit")?;
        let answers = child.stdout.take().context("a pipe from tactus-fit")?;
        Ok(Self {
            child,
            questions,
            answers: BufReader::new(answers),
        })
    }

    /// Asks. A refusal is an answer.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn ask(&mut self, ask: &Ask) -> anyhow::Result<Answer> {
        let mut line = serde_json::to_string(ask).context("a question to tactus-fit")?;
        line.push('\n');
        let asked = self.questions.write_all(line.as_bytes());
        let mut said = String::new();
        let heard = asked.and_then(|()| self.answers.read_line(&mut said));
        match heard {
            Ok(1..) => serde_json::from_str(&said).context("an answer of tactus-fit"),
            _ => {
                let end = self.child.try_wait().ok().flatten();
                bail!(
                    "{PROGRAM} is gone{}",
                    end.map_or(String::new(), |end| format!(": {end}"))
                )
            }
        }
    }

    /// The board in a picture; the inner error is why there is none.
    ///
    /// # Errors
    /// When the child is gone.
    pub fn find(
        &mut self,
        name: &str,
        board: &Board,
        picture: &Grey,
    ) -> anyhow::Result<Result<(View, Seen), String>> {
        let ask = Ask::Find {
            name: name.into(),
            board: *board,
            size: picture.size,
            grey: STANDARD.encode(&picture.levels),
        };
        match self.ask(&ask)? {
            Answer::Found { view, seen } => Ok(Ok((view, seen))),
            Answer::Refused { reason } => Ok(Err(reason)),
            _ => bail!("{PROGRAM} answers something else"),
        }
    }
}

impl Drop for Fitter {
    fn drop(&mut self) {
        // It would end with its pipes; a fit under way need not be waited for.
        if let Err(e) = self.child.kill().and_then(|()| self.child.wait()) {
            tracing::debug!("{PROGRAM}: {e}");
        }
    }
}
