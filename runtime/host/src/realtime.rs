//! What the control thread asks of the operating system, what it was granted, and how to be granted the rest.
//!
//! Asks for four things, each on its own: `SCHED_FIFO`, memory that is never paged out, a core, and timers that are not
//! slackened. None is needed to be safe; each makes ticks less late. What was refused is said with the way to get it.

use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Bit of `CAP_IPC_LOCK` in a capability mask (`linux/capability.h`).
const CAP_IPC_LOCK: u32 = 14;

/// How to be granted `SCHED_FIFO`.
pub const FIFO_ADVICE: &str = "give yourself rtprio: `echo '@realtime - rtprio 98' | sudo tee -a \
     /etc/security/limits.d/99-realtime.conf; sudo groupadd -f realtime; sudo usermod -aG realtime $USER`, then log in \
     again (systemd: LimitRTPRIO=98; docker: --cap-add SYS_NICE --ulimit rtprio=98)";
/// How to be granted locked memory.
pub const LOCK_ADVICE: &str = "give yourself memlock: `echo '@realtime - memlock unlimited' | sudo tee -a \
     /etc/security/limits.d/99-realtime.conf; sudo groupadd -f realtime; sudo usermod -aG realtime $USER`, then log in \
     again (systemd: LimitMEMLOCK=infinity; docker: --cap-add IPC_LOCK --ulimit memlock=-1)";

/// Freed memory at the top of a heap goes back to the system only beyond this, bytes.
const KEPT_BYTES: libc::c_int = 64 << 20;
/// Larger pieces are mapped each by itself, bytes: the most that glibc takes (`malloc.c`, `HEAP_MAX_SIZE / 2`).
const MAPPED_FROM_BYTES: libc::c_int = 32 << 20;

/// Lets the whole process keep the memory that it frees, up to 64 MiB per heap.
///
/// glibc gives the memory of a picture back as soon as it is freed, and the next picture costs a page fault per 4 KiB: with two raw
/// pictures of 640x480, more than all the copying. Call it first of all; nothing else is different.
pub fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets two numbers of the allocator; it has no other effect, and no pointer is involved.
    let taken = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES) == 1
            && libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES) == 1
    };
    #[cfg(not(target_env = "gnu"))]
    let taken = false;
    if !taken {
        tracing::debug!("this allocator has no such setting: memory is given back as it likes");
    }
}

/// How a control thread wants to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RealtimeSpec {
    /// `SCHED_FIFO` priority, 1..=98; 0 asks for nothing, and the thread stays an ordinary one.
    pub priority: i32,
    /// The core that it stays on; `None` leaves that to the kernel.
    pub cpu: Option<usize>,
    /// How long before each deadline it spins instead of sleeping; zero is never.
    pub spin: Duration,
}

/// What became of one thing that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// It is so.
    Granted,
    /// Nobody asked.
    NotAsked,
    /// It is not, for this reason.
    Refused(String),
}

impl Grant {
    /// Of a call's outcome.
    fn of<E: std::fmt::Display>(outcome: Result<(), E>) -> Self {
        match outcome {
            Ok(()) => Self::Granted,
            Err(e) => Self::Refused(e.to_string()),
        }
    }
}

/// What the operating system granted the calling thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realtime {
    /// Scheduled first in, first out, above every ordinary thread.
    pub fifo: Grant,
    /// All memory of the process is locked, so that a tick never waits for a page.
    pub locked: Grant,
    /// It stays on its core.
    pub pinned: Grant,
}

impl Realtime {
    /// Asks for everything in `spec`, for the calling thread; memory is locked for the whole process.
    pub fn request(spec: &RealtimeSpec) -> Self {
        let RealtimeSpec { priority, cpu, .. } = *spec;
        // An ordinary thread's timers may fire 50 us late to save power; this needs no permission. A kernel without it
        // fires as it did.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        Self {
            fifo: match priority {
                0 => Grant::NotAsked,
                _ => Grant::of(schedule_fifo(priority)),
            },
            locked: match priority {
                0 => Grant::NotAsked,
                _ => lock_memory(),
            },
            pinned: match cpu {
                None => Grant::NotAsked,
                Some(cpu) => Grant::of(pin(cpu)),
            },
        }
    }

    /// What was asked for and refused, each with the way to get it.
    pub fn missing(&self) -> Vec<String> {
        let [fifo, locked, pinned] = [
            (&self.fifo, "SCHED_FIFO", FIFO_ADVICE),
            (&self.locked, "locking memory", LOCK_ADVICE),
            (
                &self.pinned,
                "staying on the core of `arm.cpu`",
                "name a core of this machine that this process may use",
            ),
        ]
        .map(|(grant, what, advice)| match grant {
            Grant::Refused(why) => Some(format!("{what}: {why}; {advice}")),
            Grant::Granted | Grant::NotAsked => None,
        });
        [fifo, locked, pinned].into_iter().flatten().collect()
    }
}

/// The calling thread, and those that it starts, run from now on only when nobody else wants to (`SCHED_IDLE`).
///
/// # Errors
/// The operating system's, when it does not permit that.
pub fn give_way() -> std::io::Result<()> {
    schedule(libc::SCHED_IDLE, 0)
}

/// `SCHED_FIFO` at `priority` for the calling thread.
fn schedule_fifo(priority: i32) -> std::io::Result<()> {
    schedule(libc::SCHED_FIFO, priority)
}

fn schedule(policy: libc::c_int, priority: i32) -> std::io::Result<()> {
    // SAFETY: `sched_param` is plain data; pid 0 names the calling thread; the call only reads the struct.
    let outcome = unsafe {
        let param = libc::sched_param {
            sched_priority: priority,
        };
        libc::sched_setscheduler(0, policy, &param)
    };
    match outcome {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Why memory of this process may not be locked, if it may not.
///
/// A limit is as good as no permission: locking may succeed below it, and any later allocation beyond it fails.
pub fn lock_refused() -> Option<String> {
    let limit = getrlimit(Resource::Memlock).current?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    (!has_capability(&status, CAP_IPC_LOCK))
        .then(|| format!("the limit is {} KiB (ulimit -l)", limit / 1024))
}

/// Whether the effective capabilities in `status` (`/proc/<pid>/status`) hold `bit`.
fn has_capability(status: &str, bit: u32) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}

fn lock_memory() -> Grant {
    if let Some(why) = lock_refused() {
        return Grant::Refused(why);
    }
    // SAFETY: takes flags only. MCL_ONFAULT locks pages as they are touched instead of touching every one.
    let outcome =
        unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    match outcome {
        0 => Grant::Granted,
        _ => Grant::Refused(std::io::Error::last_os_error().to_string()),
    }
}

fn pin(cpu: usize) -> Result<(), String> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(format!("there is no core {cpu}"));
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|e| format!("core {cpu}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_bits_of_the_effective_mask() {
        let status = "Name:\ttactus\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000004000\n";
        assert!(has_capability(status, CAP_IPC_LOCK));
        assert!(!has_capability(status, 13) && !has_capability(status, 15));
        assert!(!has_capability("CapEff:\tx", CAP_IPC_LOCK) && !has_capability("", 0));
    }

    #[test]
    fn what_was_refused_is_said_with_the_way_to_get_it() {
        let all = Realtime {
            fifo: Grant::Refused("Operation not permitted".into()),
            locked: Grant::Granted,
            pinned: Grant::NotAsked,
        };
        let missing = all.missing();
        assert_eq!(missing.len(), 1);
        assert!(missing[0].contains("not permitted; give yourself rtprio"));
    }

    #[test]
    fn an_ordinary_thread_stays_one_and_a_core_that_is_not_there_is_refused() {
        let cpu = Some(CpuSet::MAX_CPU);
        let spec = RealtimeSpec {
            priority: 0,
            cpu,
            spin: Duration::ZERO,
        };
        let granted = Realtime::request(&spec);
        assert_eq!(
            (&granted.fifo, &granted.locked),
            (&Grant::NotAsked, &Grant::NotAsked)
        );
        assert!(matches!(granted.pinned, Grant::Refused(_)), "{granted:?}");
    }
}
