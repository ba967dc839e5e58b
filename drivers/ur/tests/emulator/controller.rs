//! A controller that runs: its heartbeat, its ports, and the world that tests reach into.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Options, World, pendant, rtde};

/// A controller that runs, until it is dropped.
pub struct Controller {
    world: Arc<Mutex<World>>,
    ip: Ipv4Addr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Numbers of controllers in this process.
static NUMBER: AtomicU32 = AtomicU32::new(1);

impl Controller {
    /// Starts one.
    pub fn start(mut options: Options) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let bytes = pid.to_be_bytes();
        let ip = options.ip.unwrap_or(Ipv4Addr::new(
            127,
            64 + (bytes[2] & 63),
            bytes[3],
            number as u8,
        ));
        if options.serial.is_empty() {
            options.serial = format!("2019{:06}{number:02}", pid % 1_000_000);
        }
        let listen = |port| {
            let listener = TcpListener::bind((ip, port)).expect("a port of its own");
            listener.set_nonblocking(true).expect("set");
            listener
        };
        let rtde = listen(30004);
        let dashboard = options.dashboard.then(|| listen(29999));
        let world = Arc::new(Mutex::new(World::new(options)));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let builder = std::thread::Builder::new().name(name.into());
            builder.spawn(run).expect("a thread")
        };
        let mut threads = Vec::new();
        let (w, s) = (world.clone(), stop.clone());
        threads.push(thread("ur-cycle", Box::new(move || cycles(&w, &s, &rtde))));
        for secondary in [listen(30002), listen(30003)] {
            let (w, s) = (world.clone(), stop.clone());
            let serve = move || pendant::secondary(&w, &s, &secondary);
            threads.push(thread("ur-secondary", Box::new(serve)));
        }
        if let Some(dashboard) = dashboard {
            let (w, s) = (world.clone(), stop.clone());
            threads.push(thread(
                "ur-dashboard",
                Box::new(move || pendant::dashboard(&w, &s, &dashboard)),
            ));
        }
        Self {
            world,
            ip,
            stop,
            threads,
        }
    }

    /// Where it is.
    pub fn host(&self) -> String {
        IpAddr::V4(self.ip).to_string()
    }

    /// Everything that is so at the moment; the controller stands still meanwhile.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("unpoisoned")
    }

    /// Waits until `done`, which must be within `within`.
    pub fn wait(&self, what: &str, within: Duration, done: impl Fn(&World) -> bool) {
        let until = Instant::now() + within;
        while !done(&self.world()) {
            assert!(Instant::now() < until, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Later than this counts as late.
const PUNCTUAL: Duration = Duration::from_micros(200);

/// The controller's heartbeat. A controller is never late; this process may be: then the emulated clock stands still, rather
/// than to make up for it by periods that no client had time for.
fn cycles(world: &Mutex<World>, stop: &AtomicBool, listener: &TcpListener) {
    let period = Duration::from_nanos(
        1_000_000_000 / u64::from(world.lock().expect("unpoisoned").options.rate_hz),
    );
    let mut server = rtde::Server::default();
    let mut next = Instant::now() + period;
    while !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        if now < next {
            std::thread::sleep(next - now);
            continue;
        }
        let mut world = world.lock().expect("unpoisoned");
        if now > next + PUNCTUAL {
            world.slips += 1;
            next = now;
        }
        next += period;
        server.hear(listener, &mut world);
        world.cycle();
        server.tell(&mut world);
    }
}
