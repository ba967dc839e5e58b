//! `tactus install`: systemd units for the roles of a host, so that they are there when the machine is.
//!
//! Decides what a unit says: that its role is started again when it fails, that what commands or moves the arm may run on
//! real-time threads with its memory locked, and that the network is up before. Starts nothing and enables nothing; torque is an
//! operator's decision in any case, since an arm host that was started is in boot.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use tactus_wire::Name;

use crate::cell::{self, Cell};
use crate::result;

/// Where units are that an administrator adds.
const UNITS: &str = "/etc/systemd/system";

/// `tactus install`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// Cell file, as it lies on this host.
    #[arg(long, value_name = "FILE")]
    pub cell: PathBuf,
    /// What gets a unit; several are named one by one. `run` is `tactus run`, which starts and watches all roles of this host, and
    /// compares the cell with its bundle before it starts the arm host.
    #[arg(long, value_enum, value_name = "ROLE", required = true)]
    pub role: Vec<RoleWord>,
    /// Which of the cell file's hosts this is. Not needed for `run` of a cell on one host.
    #[arg(long, value_name = "NAME")]
    pub host: Option<Name>,
    /// User that the roles run as; it has to be able to read the cell's keys. Default: root.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// Folder that the units are written to.
    #[arg(long, value_name = "DIR", default_value = UNITS)]
    pub out: PathBuf,
    /// Print them instead.
    #[arg(long)]
    pub dry_run: bool,
}

/// What a unit starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleWord {
    /// The device process of a real arm, or the simulator.
    Device,
    /// The arm host.
    Arm,
    /// The cameras.
    Camera,
    /// The engine.
    Engine,
    /// The recorder.
    Record,
    /// All roles of this host.
    Run,
}

impl RoleWord {
    fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Arm => "arm",
            Self::Camera => "camera",
            Self::Engine => "engine",
            Self::Record => "record",
            Self::Run => "run",
        }
    }

    /// Whether its threads are real-time ones.
    fn is_punctual(self) -> bool {
        matches!(self, Self::Device | Self::Arm | Self::Run)
    }
}

/// Writes them, or prints them.
pub fn install(args: &InstallArgs) -> anyhow::Result<ExitCode> {
    let file = args.cell.canonicalize();
    let file = file.with_context(|| format!("cell file {}", args.cell.display()))?;
    let cell = cell::load(&file)?;
    let program = std::env::current_exe().context("where this program lies")?;
    if let Some(user) = &args.user {
        check_user(user)?;
    }
    let mut written = Vec::new();
    for role in &args.role {
        check_role(&cell, *role, args.host.as_ref())?;
        let name = unit_name(&cell, *role);
        let text = unit(
            &cell,
            *role,
            args.host.as_ref(),
            args.user.as_deref(),
            &program,
        )?;
        if args.dry_run {
            result::line(format_args!("# {name}\n{text}"))?;
            continue;
        }
        let to = args.out.join(&name);
        std::fs::write(&to, text).with_context(|| format!("unit {}", to.display()))?;
        result::line(format_args!("unit: {}", to.display()))?;
        written.push(name);
    }
    if !written.is_empty() {
        eprintln!(
            "nothing was started. As root: systemctl daemon-reload && systemctl enable --now {}",
            written.join(" ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn unit_name(cell: &Cell, role: RoleWord) -> String {
    format!("tactus-{}-{}.service", cell.name, role.word())
}

fn check_user(user: &str) -> anyhow::Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
    if user.is_empty() || user.starts_with('-') || !user.chars().all(legal) {
        bail!("--user: expected the name of a user, got `{user}`");
    }
    Ok(())
}

/// Whether `role` runs on `host`.
fn check_role(cell: &Cell, role: RoleWord, host: Option<&Name>) -> anyhow::Result<()> {
    match (host, role) {
        (None, RoleWord::Run) if cell.hosts.is_empty() => Ok(()),
        (None, role) if cell.hosts.is_empty() => bail!(
            "--role {}: expected a cell whose file says where its roles run ([[host]]), and {} does not: its roles meet at `tactus \
             run`, which --role run installs",
            role.word(),
            cell.file.display()
        ),
        (None, _) => bail!(
            "--host: expected one of the hosts of {}, since its roles run on several",
            cell.file.display()
        ),
        (Some(host), role) => {
            let here = &cell.host(host)?.roles;
            let word = role.word();
            if role != RoleWord::Run && !here.iter().any(|place| place.word() == word) {
                let words: Vec<&str> = here.iter().map(|place| place.word()).collect();
                bail!(
                    "--role {word}: expected a role of host `{host}` ({})",
                    words.join(", ")
                );
            }
            Ok(())
        }
    }
}

/// The verb and arguments that run `role`.
fn arguments(cell: &Cell, role: RoleWord, host: Option<&Name>) -> anyhow::Result<Vec<String>> {
    let file = path(&cell.file)?;
    let mut all = match role {
        RoleWord::Run => vec!["run".to_owned(), file],
        RoleWord::Device if cell.sim.is_some() => vec!["sim".into(), "--cell".into(), file],
        role => vec![role.word().into(), "--cell".into(), file],
    };
    if let Some(host) = host {
        all.extend(["--host".into(), host.to_string()]);
    }
    Ok(all)
}

fn path(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.filter(|text| !text.contains(char::is_control))
        .with_context(|| {
            format!(
                "{}: expected a path that a unit can hold: UTF-8, in one line",
                path.display()
            )
        })
}

/// A word of a command line, as systemd reads it.
fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '%' | '$' => text.extend([c, c]),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

fn unit(
    cell: &Cell,
    role: RoleWord,
    host: Option<&Name>,
    user: Option<&str>,
    program: &Path,
) -> anyhow::Result<String> {
    let mut command = vec![quoted(&path(program)?)];
    command.extend(arguments(cell, role, host)?.iter().map(|word| quoted(word)));
    let after = match role {
        // It asks its device what the arm is.
        RoleWord::Arm => format!(" {}", unit_name(cell, RoleWord::Device)),
        _ => String::new(),
    };
    let user = user.map_or(String::new(), |user| format!("User={user}\n"));
    let punctual = match role.is_punctual() {
        true => {
            "# Threads that tick: SCHED_FIFO, and no page that has to be fetched first.\nLimitRTPRIO=98\nLimitMEMLOCK=infinity\nOOMScoreAdjust=-500\n"
        }
        false => "",
    };
    Ok(format!(
        "# Made by `tactus install`.\n\
         [Unit]\n\
         Description=Tactus cell {name}: {word}\n\
         Wants=network-online.target\n\
         After=network-online.target{after}\n\
         # However often it fails: whoever waits for it holds meanwhile.\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={command}\n\
         Restart=on-failure\n\
         RestartSec=1\n\
         # The arm brakes first.\n\
         TimeoutStopSec=10\n\
         NoNewPrivileges=yes\n\
         {user}{punctual}\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        name = cell.name,
        word = role.word(),
        command = command.join(" "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_program_as_they_are() {
        assert_eq!(quoted("/a b/100%"), "\"/a b/100%%\"");
        assert_eq!(quoted("a\"b\\c$d"), "\"a\\\"b\\\\c$$d\"");
        assert!(check_user("lab-1").is_ok());
        for wrong in ["", "-u", "a b", "a\nExecStartPre=x"] {
            assert!(check_user(wrong).is_err(), "{wrong:?}");
        }
    }
}
