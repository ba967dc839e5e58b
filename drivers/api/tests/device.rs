//! Laws between a device process and the arm host's driver, over real sessions on the loopback interface.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tactus_drivers_api::{
    ConnectError, Device, DeviceError, DeviceOptions, DeviceReport, Goal, WireDriver,
    device::first_epoch, serve_device,
};
use tactus_types::{
    ArmGeometry, ArmInfo, ClampedBy, Clock, Command, Driver, Generation, JointLimits, JointState,
    JointVec, Setpoint, Source, Time, Torque,
};
use tactus_wire::{
    Cell, DeviceCommand, Message, MonotonicClock, Name, Session, SessionOptions, Topic,
};

const JOINTS: usize = 2;
const WAIT: Duration = Duration::from_secs(5);
const COMMAND_DEADLINE: Duration = Duration::from_millis(100);

/// A device that is at once where it is told to be, and writes down what it was told.
struct Ideal {
    epoch: u64,
    at: Goal,
    told: Arc<Mutex<Vec<(Time, Goal)>>>,
    torque: bool,
}

impl Device for Ideal {
    fn info(&self) -> ArmInfo {
        let limits = JointLimits {
            lower: -3.0,
            upper: 3.0,
            velocity: 1.0,
            acceleration: 1.0,
            jerk: 1.0,
        };
        ArmInfo {
            model: "ideal".into(),
            joints: vec!["a".into(), "b".into()],
            limits: vec![limits; JOINTS],
            gripper: true,
            state_rate_hz: 500.0,
            brakes: false,
            torque_switch: true,
            command_deadline_secs: COMMAND_DEADLINE.as_secs_f64(),
            geometry: None,
        }
    }

    fn state(&mut self, now: Time) -> Result<JointState, DeviceError> {
        Ok(JointState {
            captured_at: now,
            seq: 0,
            epoch: self.epoch,
            q: self.at.q,
            dq: self.at.dq,
            opening: self.at.opening,
            torque: self.torque,
        })
    }

    fn apply(&mut self, goal: &Goal) -> Result<(), DeviceError> {
        self.at = *goal;
        Ok(())
    }

    fn set_torque(&mut self, on: bool) -> Result<(), DeviceError> {
        self.torque = on;
        Ok(())
    }

    fn step(&mut self, now: Time) -> Result<(), DeviceError> {
        self.told.lock().expect("not poisoned").push((now, self.at));
        Ok(())
    }
}

/// A device process, as far as a thread can be one.
struct Served {
    told: Arc<Mutex<Vec<(Time, Goal)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<DeviceReport>>,
    session: Session,
}

impl Served {
    fn start(connect: &[String]) -> Self {
        Self::described(connect, None)
    }

    fn described(connect: &[String], geometry: Option<ArmGeometry>) -> Self {
        let session = open("device/test", connect);
        let told = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut device = Ideal {
            epoch: first_epoch(session.clock().now()),
            at: Goal {
                q: JointVec::from_fn(JOINTS, |_| 0.25),
                dq: JointVec::zeros(JOINTS),
                opening: 1.0,
            },
            told: told.clone(),
            torque: true,
        };
        let options = DeviceOptions {
            cell: cell(),
            name: name(),
            geometry,
        };
        let (thread_session, thread_stop) = (session.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name("device".into())
            .spawn(move || {
                serve_device(&mut device, &options, &thread_session, &thread_stop).expect("served")
            })
            .expect("a thread");
        Self {
            told,
            stop,
            thread: Some(thread),
            session,
        }
    }

    fn last_goal(&self) -> Option<Goal> {
        self.told
            .lock()
            .expect("not poisoned")
            .last()
            .map(|(_, goal)| *goal)
    }

    fn stop(mut self) -> DeviceReport {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("running");
        let report = thread.join().expect("no panic");
        self.session.close();
        report
    }
}

fn cell() -> Cell {
    Cell::new("test").expect("name")
}

fn name() -> Name {
    Name::new("ideal").expect("name")
}

fn open(source: &str, connect: &[String]) -> Session {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new().expect("boot id"));
    let options = SessionOptions {
        connect: connect.to_vec(),
        ..SessionOptions::default()
    };
    Session::open(&options, source, clock).expect("session")
}

fn connect(session: &Session) -> WireDriver {
    WireDriver::connect(session, &cell(), &name(), WAIT).expect("connected")
}

fn command(epoch: u64, tick: u64, q: f64) -> Command {
    let q = JointVec::from_fn(JOINTS, |_| q);
    let dq = JointVec::from_fn(JOINTS, |_| 0.5);
    Command {
        tick,
        epoch,
        q,
        dq,
        ddq: JointVec::zeros(JOINTS),
        opening: 0.5,
        setpoint: Setpoint {
            source: Source::Hold,
            q,
            dq,
            ddq: JointVec::zeros(JOINTS),
            opening: 0.5,
            request_id: 0,
            action_index: 0,
            observed_at: None,
        },
        clamped_by: ClampedBy::default(),
        clamped_rad: 0.0,
        generation: Generation::default(),
        torque: Torque::Keep,
    }
}

fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < WAIT {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn first_state(driver: &mut WireDriver) -> JointState {
    let mut state = None;
    assert!(eventually(|| {
        state = driver.state();
        state.is_some()
    }));
    state.expect("a state")
}

#[test]
fn a_device_that_does_not_describe_its_links_is_served_with_what_does() {
    let geometry = ArmGeometry {
        urdf: "<robot name='ideal'/>".into(),
        base_link: "base".into(),
        tool_link: "tool".into(),
        workspace: None,
    };
    let hub = open("run", &[]);
    let device = Served::described(&hub.endpoints(), Some(geometry.clone()));
    let driver = connect(&hub);
    assert_eq!(driver.info().geometry, Some(geometry));
    device.stop();
    hub.close();
}

#[test]
fn a_device_follows_commands_and_holds_without_them() {
    let hub = open("run", &[]);
    let device = Served::start(&hub.endpoints());
    let session = open("arm/a", &hub.endpoints());
    let mut driver = connect(&session);
    assert_eq!(driver.info().model, "ideal");
    let epoch = first_state(&mut driver).epoch;

    // Before any command: the measured pose.
    let goal = device.last_goal().expect("a goal");
    assert_eq!((goal.q[0], goal.dq[0], goal.opening), (0.25, 0.0, 1.0));

    // Followed, and seen in the state. The gripper is, once another opening is asked for.
    let mut tick = 0;
    assert!(eventually(|| {
        tick += 1;
        let begun = driver.state().is_some_and(|state| state.q[0] == 1.0);
        let command = Command {
            opening: if begun { 0.5 } else { 0.9 },
            ..command(epoch, tick, 1.0)
        };
        driver.apply(&command).expect("applied");
        driver.state().is_some_and(|state| state.opening == 0.5)
    }));
    let told = device.told.lock().expect("not poisoned").clone();
    assert!(told.iter().all(|(_, goal)| goal.opening != 0.9));
    let moving = device.last_goal().expect("a goal");
    assert_eq!((moving.q[0], moving.dq[0], moving.opening), (1.0, 0.5, 0.5));

    // Silence: the last goal, at rest, after the deadline and not before.
    assert!(eventually(|| device
        .last_goal()
        .is_some_and(|goal| goal.dq[0] == 0.0)));
    let told = device.told.lock().expect("not poisoned").clone();
    let followed = |(_, goal): &&(Time, Goal)| goal.dq[0] == 0.5;
    let first = told.iter().find(followed).expect("followed").0;
    let (held_at, held) = told
        .iter()
        .find(|(at, goal)| *at > first && goal.dq[0] == 0.0)
        .expect("held");
    let last = told.iter().rev().find(followed).expect("followed").0;
    assert!(*held_at > last && held_at.since(first) > COMMAND_DEADLINE);
    assert_eq!((held.q[0], held.opening), (1.0, 0.5));

    let report = device.stop();
    assert_eq!(report.holds, 1, "{report:?}");
    assert!(
        report.accepted >= 1 && report.refusals.total() == 0,
        "{report:?}"
    );
}

#[test]
fn torque_is_switched_by_commands_that_say_so_and_comes_back_at_the_present_pose() {
    let device = Served::start(&[]);
    let session = open("arm/a", &device.session.endpoints());
    let mut driver = connect(&session);
    assert!(driver.info().torque_switch);
    let epoch = first_state(&mut driver).epoch;
    let mut tick = 0;
    let mut until = |driver: &mut WireDriver, torque, q, done: fn(&JointState) -> bool| {
        eventually(|| {
            tick += 1;
            let command = Command {
                torque,
                ..command(epoch, tick, q)
            };
            driver.apply(&command).expect("applied");
            driver.state().is_some_and(|state| done(&state))
        })
    };
    assert!(until(&mut driver, Torque::Keep, 1.0, |s| s.torque
        && s.q[0] == 1.0));
    assert!(until(&mut driver, Torque::Off, 1.0, |s| !s.torque));
    // Silence and ordinary commands switch nothing.
    std::thread::sleep(2 * COMMAND_DEADLINE);
    assert!(driver.state().is_some_and(|s| !s.torque));
    assert!(until(&mut driver, Torque::Keep, 2.0, |s| !s.torque));
    assert!(until(&mut driver, Torque::On, 1.0, |s| s.torque));
    std::thread::sleep(2 * COMMAND_DEADLINE);
    assert!(driver.state().is_some_and(|s| s.torque));
    let told = device.told.lock().expect("not poisoned").clone();
    assert!(told.iter().all(|(_, goal)| goal.q[0] != 2.0));
    device.stop();
}

#[test]
fn states_come_at_the_device_s_rate_in_order() {
    let device = Served::start(&[]);
    let session = open("arm/a", &device.session.endpoints());
    let mut driver = connect(&session);
    let first = first_state(&mut driver);
    let mut last = first;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        if let Some(state) = driver.state() {
            assert!(state.seq >= last.seq && state.captured_at >= last.captured_at);
            last = state;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // Behind by at most what is still caught up, never ahead by more than a tick.
    let expected = 500.0 * last.captured_at.secs_from(first.captured_at);
    let ahead = (last.seq - first.seq) as f64 - expected;
    assert!(
        (-30.0..30.0).contains(&ahead),
        "{ahead} ticks ahead of {expected}"
    );
    assert_eq!(driver.link().states_refused(), 0);
    device.stop();
}

#[test]
fn hostile_commands_and_other_epochs_move_nothing() {
    let device = Served::start(&[]);
    let session = open("arm/a", &device.session.endpoints());
    let mut driver = connect(&session);
    let epoch = first_state(&mut driver).epoch;
    let mut tick = 0;
    assert!(eventually(|| {
        tick += 1;
        driver.apply(&command(epoch, tick, 0.5)).expect("applied");
        device.last_goal().is_some_and(|goal| goal.q[0] == 0.5)
    }));

    // Past the driver, straight onto the key, as any process on the network could.
    let key = cell().key(&Topic::DeviceCommand(name()));
    let hostile = session.publisher::<DeviceCommand>(&key).expect("publisher");
    let good = DeviceCommand::from(&command(epoch, 1000, 2.0));
    let mut nan = good;
    nan.q[1] = f64::NAN;
    let mut infinite = good;
    infinite.dq[0] = f64::NEG_INFINITY;
    let long = DeviceCommand {
        q: JointVec::zeros(3),
        dq: JointVec::zeros(3),
        ..good
    };
    let wide = DeviceCommand {
        opening: 2.0,
        ..good
    };
    let other_epoch = DeviceCommand {
        epoch: epoch + 1,
        ..good
    };
    for bad in [nan, infinite, long, wide, other_epoch] {
        hostile.put(&bad).expect("put");
    }
    junk(&session, key.as_str());
    // What comes after them is taken, so they were looked at by then.
    let last = DeviceCommand::from(&command(epoch, 2000, -0.5));
    assert!(eventually(|| {
        hostile.put(&last).expect("put");
        device.last_goal().is_some_and(|goal| goal.q[0] == -0.5)
    }));
    let told = device.told.lock().expect("not poisoned").clone();
    let moved = |(_, goal): &(Time, Goal)| ![0.25, 0.5, -0.5].contains(&goal.q[0]);
    assert!(!told.iter().any(moved));

    let report = device.stop();
    let refusals = report.refusals;
    assert_eq!(
        (refusals.wire, refusals.joints, refusals.epoch),
        (4, 1, 1),
        "{refusals:?}"
    );
}

/// A state where a command should be.
fn junk(session: &Session, key: &str) {
    struct Junk;
    impl Message for Junk {
        const SCHEMA: &'static str = "junk";
        const QOS: tactus_wire::Qos = tactus_wire::Qos::RealTime;
        fn encode(&self) -> Vec<u8> {
            vec![0xff; 40]
        }
        fn decode(
            _: &[u8],
            _: &tactus_wire::message::Envelope<'_>,
        ) -> Result<Self, tactus_wire::WireError> {
            Ok(Self)
        }
    }
    let topic = cell().topic(key).expect("a topic");
    let publisher = session
        .publisher::<Junk>(&cell().key(&topic))
        .expect("publisher");
    publisher.put(&Junk).expect("put");
}

#[test]
fn a_restarted_device_is_found_again_in_a_new_epoch_and_refuses_the_old_one() {
    let hub = open("run", &[]);
    let device = Served::start(&hub.endpoints());
    let session = open("arm/a", &hub.endpoints());
    let mut driver = connect(&session);
    let old = first_state(&mut driver).epoch;
    let link = driver.link();
    assert!(eventually(|| link.alive()));

    device.stop();
    assert!(eventually(|| !link.alive()));
    driver
        .apply(&command(old, 1, 1.0))
        .expect("a dead device is no error of the queue");

    let device = Served::start(&hub.endpoints());
    assert!(eventually(|| link.alive()));
    assert!(eventually(|| driver
        .state()
        .is_some_and(|state| state.epoch > old)));
    let new = driver.state().expect("a state").epoch;
    let mut tick = 1;
    let mut send = |epoch, q| {
        tick += 1;
        driver.apply(&command(epoch, tick, q)).expect("applied");
        std::thread::sleep(Duration::from_millis(2));
    };
    for _ in 0..100 {
        send(old, 1.0);
    }
    assert_eq!(device.last_goal().map(|goal| goal.q[0]), Some(0.25));
    assert!(eventually(|| {
        send(new, -1.0);
        device.last_goal().is_some_and(|goal| goal.q[0] == -1.0)
    }));
    let report = device.stop();
    assert!(report.refusals.epoch >= 1, "{report:?}");
}

#[test]
fn a_device_that_is_not_there_is_named_in_time() {
    let session = open("arm/a", &[]);
    let start = Instant::now();
    let timeout = Duration::from_millis(200);
    let error = WireDriver::connect(&session, &cell(), &name(), timeout)
        .err()
        .expect("an error");
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(
        matches!(
            error,
            ConnectError::NoInfo {
                timeout_millis: 200,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("device `ideal`"), "{error}");
}

#[test]
fn a_full_queue_is_an_error_and_not_a_wait() {
    let device = Served::start(&[]);
    let session = open("arm/a", &device.session.endpoints());
    let mut driver = connect(&session);
    let epoch = first_state(&mut driver).epoch;
    let start = Instant::now();
    let refused = (0..1_000_000).find(|tick| driver.apply(&command(epoch, *tick, 0.0)).is_err());
    assert!(refused.is_some() || driver.link().commands_superseded() > 0);
    assert!(start.elapsed() < WAIT);
    device.stop();
}
