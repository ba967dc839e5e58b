//! `tactus conformance`: whether a driver, in whatever language, keeps the protocol of its key; what it violates, line by
//! line. The protocol is that of `drivers/api`.
//!
//! A driver is listened to; an arm is moved only when nobody and nothing is within its reach (`--arm-is-clear`), by
//! hundredths of a radian. Decides nothing about how well an arm follows beyond that it does.

mod arm;
mod camera;
pub mod heard;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use tactus_wire::{Cell, MonotonicClock, Name, Session, SessionOptions, Topic};

use crate::cli::{ConformanceArgs, ConformanceOf};
use crate::result;

/// How long a driver may take to be found.
const FOUND_WITHIN: Duration = Duration::from_secs(5);

/// One requirement, and whether it was kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Check {
    /// What is required, in a word or two.
    name: &'static str,
    /// `pass`, `FAIL` or `skipped`.
    verdict: &'static str,
    /// What was seen.
    seen: String,
}

/// The checks so far; each is printed when it is made.
#[derive(Default)]
struct Report {
    checks: Vec<Check>,
}

impl Report {
    fn add(
        &mut self,
        name: &'static str,
        verdict: &'static str,
        seen: String,
    ) -> anyhow::Result<()> {
        result::line(format_args!("{verdict:7}  {name:14}  {seen}"))?;
        self.checks.push(Check {
            name,
            verdict,
            seen,
        });
        Ok(())
    }

    /// A requirement that was kept, or else what was seen instead.
    fn check(&mut self, name: &'static str, kept: Result<String, String>) -> anyhow::Result<()> {
        match kept {
            Ok(seen) => self.add(name, "pass", seen),
            Err(seen) => self.add(name, "FAIL", seen),
        }
    }

    fn skip(&mut self, name: &'static str, why: &str) -> anyhow::Result<()> {
        self.add(name, "skipped", why.to_owned())
    }
}

/// The cell and the name in `tactus/<cell>/<place>/<name>`.
fn address(key: &str, place: &str) -> anyhow::Result<(Cell, Name)> {
    let parts: Vec<&str> = key.trim_end_matches('/').split('/').collect();
    match parts.as_slice() {
        ["tactus", cell, found, name] if *found == place => {
            Ok((Cell::new(cell)?, Name::new(name)?))
        }
        _ => bail!("key: expected tactus/<cell>/{place}/<name>, got {key}"),
    }
}

/// `tactus conformance`. Exit code 3 when anything is violated.
///
/// # Errors
/// When the driver cannot be reached.
pub fn conformance(args: &ConformanceArgs) -> anyhow::Result<ExitCode> {
    let open = || -> anyhow::Result<Session> {
        let options = SessionOptions {
            connect: vec![args.connect.clone()],
            ..SessionOptions::default()
        };
        Session::open(&options, "conformance", Arc::new(MonotonicClock::new()?)).context("session")
    };
    let session = open()?;
    let mut report = Report::default();
    match args.of {
        ConformanceOf::Arm => {
            let (cell, name) = address(&args.key, "device")?;
            let key = cell.key(&Topic::DeviceInfo(name.clone()));
            session.wait_for_answerer(&key, FOUND_WITHIN)?;
            arm::check(session, open, &cell, &name, args.arm_is_clear, &mut report)?;
        }
        ConformanceOf::Camera => {
            let (cell, name) = address(&args.key, "camera")?;
            let key = cell.key(&Topic::CameraInfo(name.clone()));
            session.wait_for_answerer(&key, FOUND_WITHIN)?;
            camera::check(&session, &cell, &name, &mut report)?;
        }
    }
    let of = |verdict: &str| {
        report
            .checks
            .iter()
            .filter(|c| c.verdict == verdict)
            .count()
    };
    let (passed, failed, skipped) = (of("pass"), of("FAIL"), of("skipped"));
    result::line(format_args!(
        "{passed} kept, {failed} violated, {skipped} skipped"
    ))?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report.checks)?;
        std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_a_cell_and_a_driver() {
        let (cell, name) = address("tactus/lab/device/left", "device").expect("legal");
        assert_eq!((cell.name().as_str(), name.as_str()), ("lab", "left"));
        for wrong in [
            "tactus/lab/camera/left",
            "lab/device/left",
            "tactus/lab/device/left/state",
        ] {
            let said = address(wrong, "device").expect_err(wrong).to_string();
            assert!(
                said.contains("expected tactus/<cell>/device/<name>"),
                "{said}"
            );
        }
    }
}
