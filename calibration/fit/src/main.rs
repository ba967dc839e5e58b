//! `tactus-fit`: answers the questions of the `tactus calibrate` that started it, a line of JSON each way
//! (`tactus_calibration::exchange`), until its input ends.

use std::io::{BufRead, Write, stdin, stdout};
use std::process::ExitCode;

use tactus_calibration::exchange::Answer;

fn main() -> ExitCode {
    for line in stdin().lock().lines() {
        let Ok(line) = line else {
            return ExitCode::FAILURE;
        };
        let answer = match serde_json::from_str(&line) {
            Ok(ask) => tactus_fit::answer(ask),
            Err(e) => Answer::Refused {
                reason: format!(
                    "not a question: {e}; `tactus-fit` is started by `tactus calibrate`, there is nothing to do by hand"
                ),
            },
        };
        let said = serde_json::to_string(&answer).map_err(|e| e.to_string());
        let written = said.and_then(|said| {
            let mut out = stdout().lock();
            writeln!(out, "{said}")
                .and_then(|()| out.flush())
                .map_err(|e| e.to_string())
        });
        if written.is_err() {
            // Nobody is left to hear it.
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
