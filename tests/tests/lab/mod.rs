//! Hosts of a cell as network namespaces, each behind a TUN device, with a router of our own between them that makes packets
//! late, loses some, and can be cut.
//!
//! The router keeps the order of the packets of one way, as a cable does: jitter delays, it does not shuffle. Hosts share this
//! machine's processors and kernel; a host may be given a clock of another origin and another boot's identity.
#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// What a way between two hosts does to packets.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// Least delay plus half of what it varies by.
    pub delay: Duration,
    /// It varies by as much either way, evenly.
    pub jitter: Duration,
    /// Share of packets that are lost.
    pub loss: f64,
}

/// 5 ms +- 2 ms, one packet in a hundred lost.
pub const WAY: Way = Way {
    delay: Duration::from_millis(5),
    jitter: Duration::from_millis(2),
    loss: 0.01,
};

/// Why no lab can be made here; `None` where it can.
pub fn missing() -> Option<String> {
    // Once: tests side by side would make, and find, each other's namespace.
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    MISSING.get_or_init(look).clone()
}

fn look() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".into());
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("no /dev/net/tun".into());
    }
    let probe = format!("tactus-{}-probe", std::process::id());
    let made = ip(&["netns", "add", &probe]);
    let works = made
        .as_ref()
        .is_ok_and(|_| ip(&["netns", "exec", &probe, "true"]).is_ok());
    let _ = ip(&["netns", "del", &probe]);
    (!works).then(|| format!("`ip netns` does not work here: {made:?}"))
}

fn ip(args: &[&str]) -> Result<(), String> {
    let out = Command::new("ip").args(args).output();
    match out {
        Ok(out) if out.status.success() => Ok(()),
        Ok(out) => Err(format!(
            "ip {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&out.stderr).trim()
        )),
        Err(e) => Err(format!("ip: {e}")),
    }
}

/// A packet on its way.
struct Packet {
    due: Instant,
    bytes: Vec<u8>,
}

/// One way, from one host to another.
#[derive(Default)]
struct Lane {
    waiting: Mutex<VecDeque<Packet>>,
    came: Condvar,
}

/// What was done to packets.
#[derive(Debug, Default)]
pub struct Figures {
    pub passed: AtomicU64,
    pub lost: AtomicU64,
    pub cut: AtomicU64,
}

struct Shared {
    lanes: Vec<Lane>,
    hosts: usize,
    is_cut: Vec<AtomicBool>,
    ended: AtomicBool,
    figures: Figures,
}

impl Shared {
    fn lane(&self, from: usize, to: usize) -> &Lane {
        &self.lanes[from * self.hosts + to]
    }
}

/// A host of the lab.
pub struct Host {
    pub name: &'static str,
    namespace: String,
    /// Its clock's origin is so much earlier, and it has another boot's identity.
    ahead_secs: u64,
    boot_id: PathBuf,
}

/// Hosts, and what lies between them.
pub struct Lab {
    pub hosts: Vec<Host>,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

/// Drawn numbers: SplitMix64, so that a seed always loses the same packets of a way.
struct Draw(u64);

impl Draw {
    /// 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// `struct ifreq` as `TUNSETIFF` takes it.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// A TUN device called `name`, in this process's namespace.
fn tun(name: &str) -> File {
    const TUNSETIFF: rustix::ioctl::Opcode = 0x4004_54ca;
    const IFF_TUN: u16 = 1;
    const IFF_NO_PI: u16 = 0x1000;
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .expect("/dev/net/tun opens");
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TUN | IFF_NO_PI,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF takes a pointer to a struct ifreq, which this is.
    let made = unsafe {
        let set = rustix::ioctl::Setter::<TUNSETIFF, InterfaceRequest>::new(request);
        rustix::ioctl::ioctl(&file, set)
    };
    made.expect("a TUN device");
    file
}

impl Lab {
    /// Hosts of these names, each with how many seconds its clock is ahead of this machine's, on the addresses 10.77.0.1 and
    /// on; `seed` decides which packets are lost, and how late each is.
    pub fn new(names: &[(&'static str, u64)], way: Way, seed: u64) -> Self {
        // One at a time: namespaces and addresses have the same names in each.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = tempfile::tempdir().expect("a folder");
        let n = names.len();
        let shared = Arc::new(Shared {
            lanes: (0..n * n).map(|_| Lane::default()).collect(),
            hosts: n,
            is_cut: (0..n * n).map(|_| AtomicBool::new(false)).collect(),
            ended: AtomicBool::new(false),
            figures: Figures::default(),
        });
        let mut lab = Self {
            hosts: Vec::new(),
            shared: shared.clone(),
            threads: Vec::new(),
            _dir: dir,
            _alone: alone,
        };
        let mut devices = Vec::new();
        for (i, (name, ahead_secs)) in names.iter().enumerate() {
            let namespace = format!("tactus-{}-{name}", std::process::id());
            let device = format!("tt{}h{i}", std::process::id() % 1_000_000);
            ip(&["netns", "add", &namespace]).expect("a namespace");
            let boot_id = lab._dir.path().join(format!("boot-{name}"));
            let id = format!("{:08x}-0000-4000-8000-{:012x}\n", i + 1, seed);
            std::fs::write(&boot_id, id).expect("written");
            lab.hosts.push(Host {
                name,
                namespace: namespace.clone(),
                ahead_secs: *ahead_secs,
                boot_id,
            });
            let file = tun(&device);
            let address = format!("{}/24", address(i));
            for args in [
                &["link", "set", &device, "netns", &namespace][..],
                &["-n", &namespace, "addr", "add", &address, "dev", &device],
                &["-n", &namespace, "link", "set", &device, "mtu", "1500"],
                &["-n", &namespace, "link", "set", &device, "up"],
                &["-n", &namespace, "link", "set", "lo", "up"],
            ] {
                ip(args).expect("a link");
            }
            devices.push(Arc::new(file));
        }
        for (i, device) in devices.iter().enumerate() {
            let (device, shared) = (device.clone(), shared.clone());
            let draw = (0..n).map(|j| Draw(seed ^ ((i * n + j) as u64) << 32));
            let draws = draw.collect();
            lab.thread(&format!("from-{i}"), move || {
                take_in(&device, i, &shared, way, draws);
            });
        }
        for (to, device) in devices.iter().enumerate() {
            for from in (0..n).filter(|from| *from != to) {
                let (device, shared) = (device.clone(), shared.clone());
                lab.thread(&format!("{from}-{to}"), move || {
                    give_out(&device, shared.lane(from, to), &shared);
                });
            }
        }
        lab
    }

    fn thread(&mut self, name: &str, run: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .expect("a thread");
        self.threads.push(thread);
    }

    fn index(&self, name: &str) -> usize {
        let at = self.hosts.iter().position(|host| host.name == name);
        at.unwrap_or_else(|| panic!("no host {name}"))
    }

    /// Pulls the cable between two hosts, or puts it back in. What is on it is lost.
    pub fn cut(&self, one: &str, other: &str, is_cut: bool) {
        let (one, other) = (self.index(one), self.index(other));
        for (from, to) in [(one, other), (other, one)] {
            let at = from * self.shared.hosts + to;
            self.shared.is_cut[at].store(is_cut, Ordering::SeqCst);
        }
    }

    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// `program args` on `host`, with its clock.
    pub fn command(&self, host: &str, program: &Path) -> Command {
        let host = &self.hosts[self.index(host)];
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &host.namespace]);
        if host.ahead_secs > 0 {
            let ahead = host.ahead_secs.to_string();
            let script = format!(
                "mount --bind {} /proc/sys/kernel/random/boot_id && exec \"$@\"",
                host.boot_id.display()
            );
            command.args(["unshare", "--time", "--monotonic", &ahead, "--mount"]);
            command.args(["sh", "-c", &script, "sh"]);
        }
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, host: &str, program: &Path, args: &[&str]) -> Output {
        let mut command = self.command(host, program);
        command.args(args).output().expect("starts")
    }

    /// Starts it; it ends as a service does, by SIGTERM, when this is dropped.
    pub fn start(&self, host: &str, program: &Path, args: &[&str], log: &Path) -> Service {
        let log = File::options().create(true).append(true).open(log);
        let log = log.expect("a log");
        let mut command = self.command(host, program);
        let out = log.try_clone().expect("a log");
        let child = command.args(args).stdout(out).stderr(log).spawn();
        Service(child.expect("starts"))
    }
}

/// Address of the host of this number.
pub fn address(i: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, u8::try_from(i + 1).expect("few hosts"))
}

fn take_in(mut device: &File, from: usize, shared: &Shared, way: Way, mut draws: Vec<Draw>) {
    let mut bytes = [0; 2048];
    let mut last: Vec<Instant> = vec![Instant::now(); shared.hosts];
    while !shared.ended.load(Ordering::Relaxed) {
        let mut fds = [PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN)];
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 50_000_000,
        };
        if !matches!(poll(&mut fds, Some(&pause)), Ok(1..)) {
            continue;
        }
        let Ok(n) = device.read(&mut bytes) else {
            continue;
        };
        // IPv4 only; the last part of the destination is the host's number.
        let Some(packet) = bytes.get(..n).filter(|p| p.len() >= 20 && p[0] >> 4 == 4) else {
            continue;
        };
        let to = usize::from(packet[19]).wrapping_sub(1);
        if packet[16..19] != [10, 77, 0] || to >= shared.hosts || to == from {
            continue;
        }
        let (lost, late) = (draws[to].next() < way.loss, draws[to].next());
        if shared.is_cut[from * shared.hosts + to].load(Ordering::SeqCst) {
            shared.figures.cut.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if lost {
            shared.figures.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let delay = (way.delay + way.jitter.mul_f64(2.0 * late)).saturating_sub(way.jitter);
        // In order, as on a cable.
        let due = (Instant::now() + delay).max(last[to]);
        last[to] = due;
        let lane = shared.lane(from, to);
        let packet = Packet {
            due,
            bytes: packet.to_vec(),
        };
        lane.waiting.lock().expect("unpoisoned").push_back(packet);
        lane.came.notify_one();
    }
}

fn give_out(mut device: &File, lane: &Lane, shared: &Shared) {
    let mut waiting = lane.waiting.lock().expect("unpoisoned");
    while !shared.ended.load(Ordering::Relaxed) {
        let now = Instant::now();
        let due = waiting.front().map(|packet| packet.due);
        match due {
            Some(due) if due <= now => {
                let packet = waiting.pop_front().expect("there is one");
                drop(waiting);
                // A namespace on its way out takes nothing.
                if device.write_all(&packet.bytes).is_ok() {
                    shared.figures.passed.fetch_add(1, Ordering::Relaxed);
                }
                waiting = lane.waiting.lock().expect("unpoisoned");
            }
            _ => {
                let pause = due.map_or(Duration::from_millis(50), |due| due - now);
                waiting = lane
                    .came
                    .wait_timeout(waiting, pause)
                    .expect("unpoisoned")
                    .0;
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for host in &self.hosts {
            let _ = ip(&["netns", "del", &host.namespace]);
        }
    }
}

/// A running process of a host.
pub struct Service(Child);

impl Service {
    /// Whether it runs still.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Ends it, and waits until it has ended.
    pub fn end(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if pid.is_some_and(|pid| kill_process(pid, Signal::TERM).is_ok()) {
            let until = Instant::now() + Duration::from_secs(15);
            while Instant::now() < until && self.runs() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if self.runs() && self.0.kill().is_ok() {
            let _ = self.0.wait();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}
