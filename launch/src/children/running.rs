//! One role and the process that runs it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::Ended;

/// How long a role may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What lies behind the running program, whatever has become of its file.
const SELF: &str = "/proc/self/exe";

/// The program that runs a role: the very one that this process runs, so that all roles are of one build.
#[derive(Debug, PartialEq)]
struct Program {
    /// What is started.
    run: PathBuf,
    /// What it is called.
    called: PathBuf,
}

impl Program {
    fn own() -> anyhow::Result<Self> {
        let said = std::env::current_exe().context("where this program lies")?;
        let at = |file: &Path| file.metadata().ok().map(|m| (m.dev(), m.ino()));
        Ok(Self::of(said, at(Path::new(SELF)), at))
    }

    /// Of the program that lies at `said`, as the system says, and is file `own`; `at` is the file that lies somewhere now.
    fn of<T: PartialEq>(said: PathBuf, own: Option<T>, at: impl Fn(&Path) -> Option<T>) -> Self {
        // By its path where that still leads to it: the system calls a process after the file that was started.
        if own.is_some() && at(&said) == own {
            let called = said.clone();
            return Self { run: said, called };
        }
        let text = said.to_string_lossy();
        Self {
            run: SELF.into(),
            called: text.strip_suffix(" (deleted)").unwrap_or(&text).into(),
        }
    }
}

/// A role and what runs it.
pub(super) struct Running {
    pub(super) role: &'static str,
    /// What it is called: the role, and of two arms which one's.
    pub(super) label: String,
    pub(super) args: Vec<String>,
    /// What its own arguments are besides those of every role.
    pub(super) extra: Vec<String>,
    pub(super) log: PathBuf,
    pub(super) child: Option<Child>,
    pub(super) started: Instant,
    pub(super) pause: Duration,
    pub(super) restart_at: Option<Instant>,
}

impl Running {
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("log {}", self.log.display()))?;
        let Program { run, called } = Program::own()?;
        // A group of its own: Ctrl-C at the terminal reaches only us, and we end the roles in order.
        let child = Command::new(run)
            .arg0(called)
            .args(&self.args)
            .args(&self.extra)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("role `{}`", self.label))?;
        self.child = Some(child);
        self.started = Instant::now();
        Ok(())
    }

    pub(super) fn ended(&mut self) -> Option<Ended> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        let last_words = std::fs::read_to_string(&self.log)
            .ok()
            .and_then(|text| {
                text.lines()
                    .rev()
                    .find(|l| !l.trim().is_empty())
                    .map(str::to_owned)
            })
            .unwrap_or_default();
        Some(Ended {
            role: self.role,
            label: self.label.clone(),
            how: status.to_string(),
            last_words,
        })
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        let pid = i32::try_from(self.child.as_ref()?.id()).ok()?;
        Pid::from_raw(pid)
    }

    pub(super) fn signal(&self) {
        if let Some(pid) = self.pid()
            && let Err(e) = kill_process(pid, Signal::TERM)
        {
            tracing::debug!("role `{}` is gone already: {e}", self.role);
        }
    }

    pub(super) fn wait(&mut self) {
        let Some(child) = self.child.as_mut() else {
            return;
        };
        let until = Instant::now() + END_WITHIN;
        while Instant::now() < until {
            if !matches!(child.try_wait(), Ok(None)) {
                self.child = None;
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        tracing::warn!(
            "role `{}` did not end within {END_WITHIN:?}: killed",
            self.label
        );
        if let Err(e) = child.kill().and_then(|()| child.wait().map(drop)) {
            tracing::error!("role `{}`: {e}", self.role);
        }
        self.child = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_whose_file_is_replaced_starts_roles_of_its_own_build() {
        let own = |said: &str, now: Option<u64>| Program::of(said.into(), Some(7), |_| now);
        let program = |run: &str, called: &str| Program {
            run: run.into(),
            called: called.into(),
        };
        let same = program("/opt/tactus", "/opt/tactus");
        assert_eq!(own("/opt/tactus", Some(7)), same);
        let replaced = program(SELF, "/opt/tactus");
        assert_eq!(own("/opt/tactus (deleted)", None), replaced);
        // Another build lies there, or the file was moved away under our feet.
        assert_eq!(own("/opt/tactus", Some(8)), replaced);
        assert_eq!(own("/opt/tactus", None), replaced);
    }
}
