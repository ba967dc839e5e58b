//! A cell's processes as supervised children: one per role, so that a crash in one cannot take the others with it.
//!
//! Decides what happens when one ends: before the cell was up that is fatal, and its last words are the error; after
//! that it is started again, with a pause that grows. Ends them in an order in which the arm is never left alone with a
//! live policy: engine and cameras first, then the arm host, which brakes, and the device last. The black box
//! ends before all of them, so that an orderly end is no reason to write it.

mod running;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use self::running::Running;
use crate::cell::{Cell, CellHost};
use crate::cli::{ControlWord, PolicyArgs};
use crate::trust;

/// First pause before a role is started again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause before a role is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A role that ran this long starts with the first pause again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The processes of a cell.
pub struct Children {
    running: Vec<Running>,
    /// Where each role's stderr goes.
    pub logs: PathBuf,
}

/// Something that happened to a role.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The role.
    pub role: &'static str,
    /// What it is called: the role, and of two arms which one's.
    pub label: String,
    /// How it ended.
    pub how: String,
    /// The last line it wrote.
    pub last_words: String,
}

impl Children {
    /// Starts every role of `cell`, which meet at `endpoint`. With `record_to`, a file or a folder, everything is recorded
    /// there, and no black box is kept.
    ///
    /// # Errors
    /// When a process or its log cannot be created; what was started is ended again.
    pub fn start(
        cell: &Cell,
        endpoint: &str,
        policy: &PolicyArgs,
        log: &str,
        record_to: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let file = |_: &str| cell.file.clone();
        Self::start_each(cell, endpoint, policy, log, record_to, file, &[])
    }

    /// As [`Children::start_without`], but only the roles that `cell` places on `host`.
    ///
    /// # Errors
    /// As [`Children::start`].
    pub fn start_placed(
        later: &str,
        cell: &Cell,
        host: &CellHost,
        policy: &PolicyArgs,
        record_to: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let file = |_: &str| cell.file.clone();
        let reach = ["--host", host.name.as_str()];
        let here = |role: &str| {
            let word = if role == "sim" { "device" } else { role };
            host.roles.iter().any(|place| place.word() == word)
        };
        Self::start_all(
            cell,
            &reach,
            policy,
            "info",
            record_to,
            file,
            &[later],
            here,
        )
    }

    /// As [`Children::start`], but for `later`, which [`Children::start_again`] starts.
    ///
    /// # Errors
    /// As [`Children::start`].
    pub fn start_without(
        later: &str,
        cell: &Cell,
        endpoint: &str,
        policy: &PolicyArgs,
        record_to: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let file = |_: &str| cell.file.clone();
        Self::start_each(cell, endpoint, policy, "info", record_to, file, &[later])
    }

    /// As [`Children::start`], with a cell file for each role, and without the roles of `later`.
    ///
    /// # Errors
    /// As [`Children::start`].
    pub fn start_each(
        cell: &Cell,
        endpoint: &str,
        policy: &PolicyArgs,
        log: &str,
        record_to: Option<&Path>,
        file_of: impl Fn(&str) -> PathBuf,
        later: &[&str],
    ) -> anyhow::Result<Self> {
        let reach = ["--connect", endpoint];
        let all = |_: &str| true;
        Self::start_all(cell, &reach, policy, log, record_to, file_of, later, all)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "private; the public ones name what they give"
    )]
    fn start_all(
        cell: &Cell,
        reach: &[&str],
        policy: &PolicyArgs,
        log: &str,
        record_to: Option<&Path>,
        file_of: impl Fn(&str) -> PathBuf,
        later: &[&str],
        here: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Self> {
        let mut children = Self::nobody(cell)?;
        for (role, extra) in roles_of(cell, policy, record_to) {
            if here(role) {
                let file = file_of(role);
                children.add((role, role.into()), reach, log, &file, extra, later)?;
            }
        }
        Ok(children)
    }

    /// As [`Children::start_without`], of a cell of two arms: device, simulator and arm host of each, and one of all others.
    ///
    /// # Errors
    /// As [`Children::start`].
    pub fn start_pair(
        later: &str,
        cells: [&Cell; 2],
        endpoint: &str,
        policy: &PolicyArgs,
        record_to: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let mut children = Self::nobody(cells[0])?;
        for (which, cell) in cells.into_iter().enumerate() {
            for (role, extra) in roles_of(cell, policy, record_to) {
                let own = ["sim", "device", "arm"].contains(&role);
                let (label, file) = match own {
                    true => (format!("{role}-{}", cell.arm), cell.reference()),
                    false => (role.to_owned(), cell.file.clone()),
                };
                if own || which == 0 {
                    let reach = ["--connect", endpoint];
                    children.add((role, label), &reach, "info", &file, extra, &[later])?;
                }
            }
        }
        Ok(children)
    }

    fn nobody(cell: &Cell) -> anyhow::Result<Self> {
        let logs =
            std::env::temp_dir().join(format!("tactus-{}-{}", cell.name, std::process::id()));
        std::fs::create_dir_all(&logs).with_context(|| format!("log folder {}", logs.display()))?;
        Ok(Self {
            running: Vec::new(),
            logs,
        })
    }

    /// Adds a role of the cell of `file`, and starts it unless it is one of `later`.
    fn add(
        &mut self,
        (role, label): (&'static str, String),
        reach: &[&str],
        log: &str,
        file: &Path,
        extra: Vec<String>,
        later: &[&str],
    ) -> anyhow::Result<()> {
        let file = file.display().to_string();
        let own = ["--log", log, role, "--cell", &file, "--supervised"];
        let args = own.iter().chain(reach).map(|&arg| arg.to_owned());
        let mut running = Running {
            role,
            args: args.chain(trust::passed_on()).collect(),
            extra,
            log: self.logs.join(format!("{label}.log")),
            label,
            child: None,
            started: Instant::now(),
            pause: FIRST_PAUSE,
            restart_at: None,
        };
        if !later.contains(&role) {
            running.start()?;
        }
        self.running.push(running);
        Ok(())
    }

    /// Nobody, where others have started the cell.
    ///
    /// # Errors
    /// When the folder for logs cannot be created.
    pub fn none(cell: &Cell) -> anyhow::Result<Self> {
        let file = |_: &str| cell.file.clone();
        let policy = PolicyArgs::default();
        Self::start_all(cell, &[], &policy, "info", None, file, &[], |_| false)
    }

    /// Fails with the last words of a role that has ended.
    ///
    /// # Errors
    /// When any role has ended.
    pub fn check_all_run(&mut self) -> anyhow::Result<()> {
        for running in &mut self.running {
            if let Some(Ended {
                label: role,
                how,
                last_words,
                ..
            }) = running.ended()
            {
                if last_words.is_empty() {
                    bail!(
                        "role `{role}` ended at start: {how}; see {}",
                        running.log.display()
                    );
                }
                bail!(
                    "role `{role}`: {}",
                    last_words.trim_start_matches("tactus: ")
                );
            }
        }
        Ok(())
    }

    /// Notices roles that have ended and starts them again when their pause is over.
    pub fn supervise(&mut self) -> Vec<Ended> {
        let mut ended = Vec::new();
        for running in &mut self.running {
            if let Some(e) = running.ended() {
                running.pause = if running.started.elapsed() > HEALTHY_AFTER {
                    FIRST_PAUSE
                } else {
                    (running.pause * 2).min(LONGEST_PAUSE)
                };
                running.restart_at = Some(Instant::now() + running.pause);
                running.child = None;
                ended.push(e);
            }
            if running.restart_at.is_some_and(|at| Instant::now() >= at) {
                running.restart_at = None;
                if let Err(e) = running.start() {
                    tracing::error!("{e:#}");
                    running.pause = (running.pause * 2).min(LONGEST_PAUSE);
                    running.restart_at = Some(Instant::now() + running.pause);
                }
            }
        }
        ended
    }

    /// Sends `signal` to `role`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, role: &str, signal: Signal) -> anyhow::Result<()> {
        let pid = self
            .running
            .iter()
            .find(|r| r.role == role)
            .and_then(Running::pid);
        let pid = pid.with_context(|| format!("role `{role}` does not run"))?;
        kill_process(pid, signal).with_context(|| format!("signal to role `{role}`"))
    }

    /// Lets no running role write files beyond `bytes`; `None`: as large as it may by itself.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        for running in &self.running {
            let Some(pid) = running.pid() else { continue };
            let maximum = getrlimit(Resource::Fsize).maximum;
            let current = bytes.or(maximum);
            prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum })
                .with_context(|| format!("limit files of role `{}`", running.role))?;
        }
        Ok(())
    }

    /// Waits until `role`, which was told to end, has ended.
    pub fn wait(&mut self, role: &str) {
        if let Some(running) = self.running.iter_mut().find(|r| r.role == role) {
            running.wait();
        }
    }

    /// Starts `role` if it does not run, of two arms that of both, without the pause of [`Children::supervise`].
    ///
    /// # Errors
    /// When a process cannot be created.
    pub fn start_again(&mut self, role: &str) -> anyhow::Result<()> {
        let mut down = self.running.iter_mut().filter(|r| r.role == role);
        down.try_for_each(|running| match running.child {
            None => running.start(),
            Some(_) => Ok(()),
        })
    }

    /// Gives `role` other arguments of its own from its next start on; returns those that it had.
    pub fn give_extra(&mut self, role: &str, extra: Vec<String>) -> Vec<String> {
        match self.running.iter_mut().find(|r| r.role == role) {
            Some(running) => std::mem::replace(&mut running.extra, extra),
            None => extra,
        }
    }

    /// The roles that have ended by themselves since they were last asked for; they stay down.
    pub fn gone(&mut self) -> Vec<Ended> {
        let ended = self.running.iter_mut().filter_map(|running| {
            let ended = running.ended()?;
            running.child = None;
            Some(ended)
        });
        ended.collect()
    }

    /// Ends all roles in order and waits for them.
    pub fn end(&mut self) {
        for stage in [
            &["record"][..],
            &["engine", "camera"],
            &["arm"],
            &["sim", "device"],
        ] {
            let mut these: Vec<&mut Running> = self
                .running
                .iter_mut()
                .filter(|r| stage.contains(&r.role))
                .collect();
            for running in &mut these {
                running.restart_at = None;
                running.signal();
            }
            for running in these {
                running.wait();
            }
        }
    }
}

/// The roles of `cell`, in the order in which they are started, and what arguments each has of its own.
fn roles_of(
    cell: &Cell,
    policy: &PolicyArgs,
    record_to: Option<&Path>,
) -> Vec<(&'static str, Vec<String>)> {
    let mut roles: Vec<(&'static str, Vec<String>)> = Vec::new();
    if cell.sim.is_some() {
        roles.push(("sim", vec![]));
    }
    if cell.hardware.is_some() {
        roles.push(("device", vec![]));
    }
    roles.push(("camera", vec![]));
    let mut engine = Vec::new();
    if let Some(bundle) = &policy.bundle {
        engine.extend(["--bundle".to_owned(), bundle.display().to_string()]);
    }
    if policy.require_cuda {
        engine.push("--require-cuda".to_owned());
    }
    if let Some(library) = &policy.onnxruntime {
        engine.extend(["--onnxruntime".to_owned(), library.display().to_string()]);
    }
    if let Some(control) = policy.control {
        let word = match control {
            ControlWord::Head => "head",
            ControlWord::Fast => "fast",
        };
        engine.extend(["--control".to_owned(), word.to_owned()]);
    }
    if let Some(hz) = policy.explain {
        engine.extend(["--explain".to_owned(), hz.to_string()]);
    }
    if !cell.shared_engine {
        roles.push(("engine", engine));
    }
    roles.push(("arm", vec![]));
    if let Some(to) = record_to {
        roles.insert(0, ("record", vec!["--to".into(), to.display().to_string()]));
    } else if cell.record.as_ref().is_some_and(|record| record.black_box) {
        roles.push(("record", vec![]));
    }
    roles
}

impl Drop for Children {
    fn drop(&mut self) {
        self.end();
    }
}

/// A loopback address that nothing listens on at the moment.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("a free loopback port")?;
    Ok(listener.local_addr()?)
}

/// A loopback endpoint that nothing listens on at the moment; encrypted where the cell has keys.
pub fn free_endpoint(cell: &Cell) -> anyhow::Result<String> {
    let protocol = match cell.security {
        Some(_) => "tls",
        None => "tcp",
    };
    Ok(format!("{protocol}/{}", free_address()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_cannot_be_started_is_started_later() {
        let dir = tempfile::tempdir().expect("a folder");
        let logs = dir.path().join("logs");
        let role = Running {
            role: "camera",
            label: "camera".into(),
            // Whatever this test's own program makes of it.
            args: vec!["--list".into()],
            extra: vec![],
            log: logs.join("camera.log"),
            child: None,
            started: Instant::now(),
            pause: FIRST_PAUSE,
            restart_at: Some(Instant::now()),
        };
        let mut children = Children {
            running: vec![role],
            logs: logs.clone(),
        };
        assert!(children.supervise().is_empty());
        let role = &mut children.running[0];
        assert!(role.child.is_none(), "there is nowhere to log to");
        assert_eq!(role.pause, FIRST_PAUSE * 2);
        assert!(role.restart_at.is_some(), "it is tried again");
        role.restart_at = Some(Instant::now());
        std::fs::create_dir(logs).expect("a folder");
        children.supervise();
        assert!(children.running[0].child.is_some());
    }
}
