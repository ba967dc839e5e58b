//! One owner per physical device, whatever name a cell gives it.
//!
//! The lock is `flock` on the device's own node, so every name of it (`/dev/ttyACM0`, `/dev/serial/by-id/...`) is the same
//! lock, nothing is left behind by a process that died, and other programs that lock ports in this way (pySerial's
//! `exclusive`, picocom, minicom) are kept out and keep us out. A device without a node, on the network, is locked by a name
//! of its own (a serial number): then the lock is on a file of this machine, and keeps out whoever asks for the same name
//! here. Decides who may have a device; opens no device.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock, fstat, major, minor};
use rustix::io::Errno;

/// Somebody else has the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holder {
    /// Its process, where the kernel says.
    pub pid: Option<u32>,
    /// Name of its program.
    pub program: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.pid, &self.program) {
            (Some(pid), Some(program)) => write!(f, "process {pid} (`{program}`)"),
            (Some(pid), None) => write!(f, "process {pid}"),
            (None, _) => write!(f, "another process"),
        }
    }
}

/// Takes the device whose node `node` is, for as long as `node` is open: it ends with the process, however that ends.
///
/// # Errors
/// The [`Holder`], if it is taken. A file system without locks counts as free, with a warning.
pub fn own(node: impl AsFd) -> Result<(), Holder> {
    match flock(&node, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(holder(&node)),
        Err(e) => {
            tracing::warn!("the device cannot be locked, another process might use it too: {e}");
            Ok(())
        }
    }
}

/// Folders that everybody on this machine may lock in, the better one first.
const FOLDERS: [&str; 2] = ["/run/lock", "/tmp"];

/// A name that this process owns, until it is dropped or the process ends, however that ends.
#[derive(Debug)]
pub struct OwnedName {
    _file: Option<File>,
}

/// Takes the device called `name`, whose characters other than letters, digits, `-` and `_` count as `-`.
///
/// # Errors
/// The [`Holder`], if it is taken. A machine where nothing can be locked counts as free, with a warning.
pub fn own_name(name: &str) -> Result<OwnedName, Holder> {
    own_name_in(&FOLDERS.map(Path::new), name)
}

/// Where there is a file of this name in any of `folders`, that is the lock: whoever made it may not have been able to write
/// in a better one, or somebody else may not be able to now.
fn own_name_in(folders: &[&Path], name: &str) -> Result<OwnedName, Holder> {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c
        } else {
            '-'
        }
    };
    let file = format!(
        "tactus-{}.lock",
        name.chars().map(plain).collect::<String>()
    );
    let paths = || folders.iter().map(|folder| folder.join(&file));
    let mut opened = None;
    for path in paths() {
        opened = found(&path)?;
        if opened.is_some() {
            break;
        }
    }
    if opened.is_none() {
        for path in paths() {
            opened = match make(&path) {
                Ok(file) => Some(file),
                // Somebody was quicker.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => found(&path)?,
                Err(_) => None,
            };
            if opened.is_some() {
                break;
            }
        }
    }
    match &opened {
        Some(file) => own(file)?,
        None => tracing::warn!("`{name}` cannot be locked, another process might use it too"),
    }
    Ok(OwnedName { _file: opened })
}

/// The file at `path`, where there is one: only read, which is enough to lock it. One that may not be read is somebody else's.
fn found(path: &Path) -> Result<Option<File>, Holder> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::PermissionDenied && fs::symlink_metadata(path).is_ok() => {
            tracing::warn!(
                "{} may not be read: another user has the device, or has left the file behind",
                path.display()
            );
            Err(Holder::default())
        }
        Err(_) => Ok(None),
    }
}

/// A file at `path` that everybody may read, and so lock, whatever the umask.
fn make(path: &Path) -> io::Result<File> {
    let file = File::options().write(true).create_new(true).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    Ok(file)
}

fn holder(node: &impl AsFd) -> Holder {
    let Ok(stat) = fstat(node) else {
        return Holder::default();
    };
    let device = format!("{:02x}:{:02x}", major(stat.st_dev), minor(stat.st_dev));
    let pid = fs::read_to_string("/proc/locks")
        .ok()
        .and_then(|locks| pid_in(&locks, &device, stat.st_ino));
    let program = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
    Holder {
        pid,
        program: program.map(|name| name.trim().to_owned()),
    }
}

/// Who holds inode `inode` of file system `device` (`major:minor`, hexadecimal), by the text of `/proc/locks`.
fn pid_in(locks: &str, device: &str, inode: u64) -> Option<u32> {
    let node = format!("{device}:{inode}");
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let flock = words.next()? == "FLOCK";
        let mut words = words.skip(2);
        let pid = words.next()?.parse().ok()?;
        (flock && words.next()? == node).then_some(pid)
    })
}

/// Name of the group that owns the node at `path`, where it may open it: whom to ask for access.
pub fn group_of(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let gid = fs::metadata(path).ok()?.gid();
    group_in(&fs::read_to_string("/etc/group").ok()?, gid)
}

/// What to do about a device that may not be opened, by the name of its group ([`group_of`]).
pub fn remedy(group: Option<&str>) -> String {
    match group {
        Some("root") | None => {
            "its group may not use it either: add a udev rule that gives it to a group of yours"
                .into()
        }
        Some(group) => {
            format!("join its group `{group}` (sudo usermod -aG {group} $USER) and log in again")
        }
    }
}

/// Name of group `gid`, by the text of `/etc/group`.
fn group_in(groups: &str, gid: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_told_who_has_it_until_the_first_lets_go() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("node");
        let first = File::create(&path).expect("a file");
        let other_name = dir.path().join("by-id");
        std::os::unix::fs::symlink(&path, &other_name).expect("a link");
        let second = File::open(&other_name).expect("the same file");
        assert_eq!(own(&first), Ok(()));
        let holder = own(&second).expect_err("taken");
        assert_eq!(holder.pid, Some(std::process::id()));
        assert!(holder.to_string().contains("process"), "{holder}");
        drop(first);
        assert_eq!(own(&second), Ok(()));
    }

    #[test]
    fn a_name_has_one_owner_however_it_is_spelt_and_is_free_again_after_it() {
        let name = format!("test lock/{}", std::process::id());
        let first = own_name(&name).expect("free");
        let holder = own_name(&name.replace('/', " ")).expect_err("taken");
        assert_eq!(holder.pid, Some(std::process::id()));
        assert!(own_name(&format!("{name}0")).is_ok());
        drop(first);
        assert!(own_name(&name).is_ok());
    }

    #[test]
    fn a_name_is_looked_for_everywhere_before_it_is_made_anywhere() {
        let [better, other] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let own = |folders: &[&Path]| own_name_in(folders, "robot");
        // Whoever could write only in the second folder.
        let first = own(&[other.path()]).expect("free");
        let both = [better.path(), other.path()];
        let holder = own(&both).expect_err("taken");
        assert_eq!(holder.pid, Some(std::process::id()));
        drop(first);
        let _again = own(&both).expect("free");
        assert!(own(&[other.path()]).is_err(), "the same lock");
    }

    #[test]
    fn a_name_that_may_not_be_looked_at_is_somebody_else_s() {
        let [folder, other] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let file = folder.path().join("tactus-robot.lock");
        File::create(&file).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("set");
        // Root may read everything.
        if File::open(&file).is_err() {
            let folders = [folder.path(), other.path()];
            let holder = own_name_in(&folders, "robot").expect_err("somebody's");
            assert_eq!(holder.to_string(), "another process");
        }
    }

    #[test]
    fn what_is_made_can_be_locked_by_everybody_whatever_the_umask() {
        const FOLDER: &str = "TACTUS_TEST_LOCK_FOLDER";
        // The umask is the whole process's, so this is one of its own.
        if let Some(folder) = std::env::var_os(FOLDER) {
            own_name_in(&[Path::new(&folder)], "robot").expect("free");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let test = "lock::tests::what_is_made_can_be_locked_by_everybody_whatever_the_umask";
        let run = std::process::Command::new("sh")
            .args(["-c", "umask 077; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().expect("this program"))
            .arg(test)
            .env(FOLDER, folder.path())
            .output();
        assert!(run.expect("run").status.success());
        let made = fs::metadata(folder.path().join("tactus-robot.lock")).expect("made");
        assert_eq!(made.permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn the_kernel_s_table_of_locks_names_the_process() {
        let locks = "1: POSIX  ADVISORY  WRITE 17 00:05:12 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 00:05:12 0 EOF\n";
        assert_eq!(pid_in(locks, "00:05", 12), Some(4711));
        assert_eq!(pid_in(locks, "00:05", 13), None);
        assert_eq!(pid_in("nonsense\n", "00:05", 12), None);
    }

    #[test]
    fn groups_are_named() {
        let groups = "root:x:0:\ndialout:x:20:lab\n";
        assert_eq!(group_in(groups, 20).as_deref(), Some("dialout"));
        assert_eq!(group_in(groups, 21), None);
    }
}
