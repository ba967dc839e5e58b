//! One role and the process that runs it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use super::Ended;

/// How long a role may take to end.
const END_WITHIN: Duration = Duration::from_secs(2);

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
        use std::os::unix::process::CommandExt;
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("log {}", self.log.display()))?;
        let exe = std::env::current_exe().context("where this program lies")?;
        // A group of its own: Ctrl-C at the terminal reaches only us, and we end the roles in order.
        let child = Command::new(exe)
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
