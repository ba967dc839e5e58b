//! Laws of the simulated device and cameras as processes of a cell, over real sessions on the loopback interface.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tactus_drivers_api::{
    WireDriver,
    wire::{
        Cell, Key, Message, MonotonicClock, Name, Session, SessionOptions, SimReset, SimResetReply,
        SimWorld, Subscriber, Topic,
    },
};
use tactus_sim::{
    CameraOptions, Renderer, Scenario, SimOptions, StartPoses, WorldSnapshot, run_cameras, run_sim,
};
use tactus_types::{
    CameraFrame, ClampedBy, Clock, Command, Driver, Generation, JointState, JointVec, Setpoint,
    Source, Torque,
};

const WAIT: Duration = Duration::from_secs(10);
/// How long a role may take to stop.
const STOP: Duration = Duration::from_millis(100);

fn clock() -> Arc<dyn Clock> {
    Arc::new(MonotonicClock::new().unwrap())
}

fn open(source: &str, connect: &[String]) -> Session {
    let options = SessionOptions {
        connect: connect.to_vec(),
        ..SessionOptions::default()
    };
    Session::open(&options, source, clock()).unwrap()
}

fn cell() -> Cell {
    Cell::new("test").unwrap()
}

fn arm() -> Name {
    Name::new("arm").unwrap()
}

/// A role on a thread of its own.
struct Role {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Role {
    fn start(run: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::Builder::new().spawn(move || run(&seen));
        Self {
            stop,
            thread: Some(thread.unwrap()),
        }
    }

    /// Stops it and returns how long that took.
    fn stop(mut self) -> Duration {
        let start = Instant::now();
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        start.elapsed()
    }
}

fn sim(hub: &Session, seed: u64) -> Role {
    let session = open("device/arm", &hub.endpoints());
    Role::start(move |stop| {
        let options = SimOptions {
            cell: cell(),
            device: arm(),
            seed,
            variation: false,
            brakes: true,
            board: None,
            shown: true,
        };
        run_sim(&options, &session, session.clock().as_ref(), stop).unwrap();
    })
}

fn cameras(hub: &Session) -> Role {
    let session = open("camera/all", &hub.endpoints());
    Role::start(move |stop| {
        let options = CameraOptions {
            cell: cell(),
            cameras: ["scene", "wrist"]
                .map(|name| Name::new(name).unwrap())
                .to_vec(),
            rate_hz: 20.0,
            board: None,
        };
        run_cameras(&options, &session, session.clock().as_ref(), stop).unwrap();
    })
}

fn listen<M: Message>(session: &Session, key: &Key) -> (Subscriber, Receiver<M>) {
    let (sender, receiver) = sync_channel(4096);
    let subscriber = session
        .subscribe::<M>(key, move |delivery| {
            sender.try_send(delivery.unwrap().message).unwrap_or(());
        })
        .unwrap();
    (subscriber, receiver)
}

fn reset(hub: &Session, seed: u64) -> u64 {
    let key = cell().key(&Topic::SimReset);
    let start = Instant::now();
    loop {
        match hub.query::<_, SimResetReply>(
            &key,
            &SimReset {
                seed,
                variation: false,
            },
            WAIT,
        ) {
            Ok(reply) => return reply.message.epoch,
            Err(e) => assert!(start.elapsed() < WAIT, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn command(state: &JointState, epoch: u64, tick: u64, base_yaw: f64) -> Command {
    let mut q = state.q;
    q[0] = base_yaw;
    let dq = JointVec::zeros(q.len());
    Command {
        tick,
        epoch,
        q,
        dq,
        ddq: dq,
        opening: 0.5,
        setpoint: Setpoint {
            source: Source::Hold,
            q,
            dq,
            ddq: dq,
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

/// The first state that `condition` accepts.
fn state_when(driver: &mut WireDriver, condition: impl Fn(&JointState) -> bool) -> JointState {
    let start = Instant::now();
    loop {
        if let Some(state) = driver.state().filter(&condition) {
            return state;
        }
        assert!(start.elapsed() < WAIT, "never: {:?}", driver.state());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_reset_voids_what_was_commanded_and_the_arm_holds_the_new_pose() {
    let hub = open("run", &[]);
    let sim = sim(&hub, 1);
    let mut driver = WireDriver::connect(&hub, &cell(), &arm(), WAIT).unwrap();
    assert_eq!(driver.info().joints.len(), 6);
    let first = state_when(&mut driver, |_| true);

    let follow = |driver: &mut WireDriver, epoch: u64, ticks: std::ops::Range<u64>, to: f64| {
        let state = driver.state().unwrap();
        for tick in ticks {
            driver.apply(&command(&state, epoch, tick, to)).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    follow(&mut driver, first.epoch, 0..500, 0.6);
    state_when(&mut driver, |state| (state.q[0] - 0.6).abs() < 0.02);

    let epoch = reset(&hub, 7);
    assert!(epoch > first.epoch);
    let start = Scenario::sample(7, StartPoses::Narrow);
    let begun = state_when(&mut driver, |state| state.epoch == epoch);
    let off = |state: &JointState| {
        let off = |(q, start): (&f64, &f64)| (q - start).abs();
        state
            .q
            .iter()
            .zip(&start.q_rad)
            .map(off)
            .fold(0.0, f64::max)
    };
    assert!(off(&begun) < 0.01, "{begun:?} after {start:?}");

    // What still comes for the old world moves nothing; what comes for the new one does.
    follow(&mut driver, first.epoch, 500..700, 0.6);
    let held = state_when(&mut driver, |_| true);
    assert!(off(&held) < 0.01, "{held:?} after {start:?}");
    follow(&mut driver, epoch, 700..1200, -0.6);
    state_when(&mut driver, |state| (state.q[0] + 0.6).abs() < 0.02);

    let took = sim.stop();
    assert!(took < STOP, "{took:?}");
}

#[test]
fn the_world_runs_in_real_time() {
    let hub = open("run", &[]);
    let (_worlds, worlds) = listen::<SimWorld>(&hub, &cell().key(&Topic::SimWorld));
    let sim = sim(&hub, 1);
    let first = worlds.recv_timeout(WAIT).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let last = worlds.try_iter().last().unwrap();
    let real = last.captured_at.secs_from(first.captured_at);
    let simulated = last.sim_time_secs - first.sim_time_secs;
    // A stalled machine may hold one world back, but never by much: the simulator catches up.
    assert!((real - simulated).abs() < 0.3, "{simulated} s in {real} s");
    assert_eq!(
        (first.qpos.len(), first.lifted.len(), first.first_lifted),
        (29, 3, None)
    );
    assert_eq!(first.epoch, last.epoch);
    sim.stop();
}

#[test]
fn both_cameras_show_the_same_world_at_its_time() {
    let hub = open("run", &[]);
    let (_worlds, worlds) = listen::<SimWorld>(&hub, &cell().key(&Topic::SimWorld));
    let image = |name: &str| cell().key(&Topic::CameraImage(Name::new(name).unwrap()));
    let (_scene, scene) = listen::<CameraFrame>(&hub, &image("scene"));
    let (_wrist, wrist) = listen::<CameraFrame>(&hub, &image("wrist"));
    let sim = sim(&hub, 1);
    let cameras = cameras(&hub);

    let first = scene.recv_timeout(WAIT).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let took = cameras.stop();
    assert!(took < STOP, "{took:?}");
    sim.stop();
    std::thread::sleep(Duration::from_millis(100));

    let worlds: Vec<_> = worlds.try_iter().map(|world| world.captured_at).collect();
    let scene: Vec<_> = std::iter::once(first).chain(scene.try_iter()).collect();
    let wrist: Vec<_> = wrist.try_iter().collect();
    let rounds = scene.len();
    assert!((20..=45).contains(&rounds), "{rounds} rounds in 2 s");
    assert!(rounds.abs_diff(wrist.len()) <= 1);
    for frame in &scene {
        assert!(worlds.contains(&frame.captured_at));
        assert_eq!((frame.width, frame.height), (224, 224));
    }
    for pair in &wrist {
        let twin = scene.iter().find(|frame| frame.seq == pair.seq);
        if let Some(twin) = twin {
            assert_eq!(twin.captured_at, pair.captured_at);
            assert_ne!(twin.data, pair.data);
        }
    }
    for two in scene.windows(2) {
        assert!(two[1].seq > two[0].seq && two[1].captured_at > two[0].captured_at);
    }
}

/// The camera process draws the looks that the world names, byte for byte as anyone else who is given that world.
#[test]
fn a_varied_world_looks_the_same_in_every_process() {
    let hub = open("run", &[]);
    let (_worlds, worlds) = listen::<SimWorld>(&hub, &cell().key(&Topic::SimWorld));
    let image = cell().key(&Topic::CameraImage(Name::new("wrist").unwrap()));
    let (_wrist, wrist) = listen::<CameraFrame>(&hub, &image);
    let sim = sim(&hub, 1);
    let cameras = cameras(&hub);
    wrist.recv_timeout(WAIT).unwrap();
    let order = SimReset {
        seed: 7,
        variation: true,
    };
    let key = cell().key(&Topic::SimReset);
    let epoch = hub
        .query::<_, SimResetReply>(&key, &order, WAIT)
        .unwrap()
        .message
        .epoch;
    std::thread::sleep(Duration::from_millis(500));
    cameras.stop();
    sim.stop();

    let worlds: Vec<SimWorld> = worlds.try_iter().collect();
    for world in &worlds {
        assert_eq!(world.variation, (world.epoch == epoch).then_some(7));
        assert_eq!(world.placed, [false; 3]);
    }
    let mut renderer = Renderer::new().unwrap();
    let mut compared = 0;
    for frame in wrist.try_iter() {
        let world = worlds
            .iter()
            .find(|world| world.captured_at == frame.captured_at)
            .unwrap();
        if world.epoch != epoch {
            continue;
        }
        let snapshot = WorldSnapshot {
            time_s: world.sim_time_secs,
            qpos: world.qpos.clone(),
            variation: Some(7),
        };
        renderer.show(&snapshot).unwrap();
        assert!(
            renderer.jpeg("wrist").unwrap() == *frame.data,
            "at {} s",
            world.sim_time_secs
        );
        compared += 1;
    }
    assert!(compared > 2, "{compared} pictures");
}

#[test]
fn an_unknown_camera_is_named() {
    let hub = open("run", &[]);
    let options = CameraOptions {
        cell: cell(),
        cameras: vec![Name::new("ceiling").unwrap()],
        rate_hz: 20.0,
        board: None,
    };
    let stop = AtomicBool::new(false);
    let error = run_cameras(&options, &hub, hub.clock().as_ref(), &stop).unwrap_err();
    assert!(error.to_string().contains("\"ceiling\""), "{error}");
}
