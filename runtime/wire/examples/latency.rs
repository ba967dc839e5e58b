//! One-way latency between two processes on this machine: joint states at 500 Hz beside two cameras at 20 Hz.
//!
//! `cargo run --example latency [SECONDS]` prints p50, p99 and the largest, in microseconds, and what was lost.

use std::{
    process::Command,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use jpeg_encoder::{ColorType, Encoder};
use tactus_types::{CameraFrame, Clock, Encoding, JointState, JointVec};
use tactus_wire::{
    Cell, Delivery, Message, MonotonicClock, Name, Session, SessionOptions, Subscriber, Topic,
    WireError,
};

type Failure = Box<dyn std::error::Error>;

const STATE_PERIOD: Duration = Duration::from_millis(2);
const STATES_PER_ROUND: u64 = 25;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [publish, endpoint, secs] if publish == "publish" => self::publish(endpoint, secs.parse()?),
        [secs] => measure(secs.parse()?),
        [] => measure(10),
        _ => Err("usage: latency [SECONDS]".into()),
    }
}

fn keys() -> Result<(tactus_wire::Key, Vec<(Name, tactus_wire::Key)>), Failure> {
    let cell = Cell::new("latency")?;
    let mut cameras = Vec::new();
    for camera in ["scene", "wrist"] {
        let name = Name::new(camera)?;
        cameras.push((name.clone(), cell.key(&Topic::CameraImage(name))));
    }
    Ok((cell.key(&Topic::DeviceState(Name::new("arm")?)), cameras))
}

/// The other process.
fn publish(endpoint: &str, secs: u64) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new()?);
    let options = SessionOptions {
        connect: vec![endpoint.into()],
        ..SessionOptions::default()
    };
    let session = Session::open(&options, "device/arm", clock.clone())?;
    let (state_key, cameras) = keys()?;
    let states = session.publisher::<JointState>(&state_key)?;
    let mut ports = Vec::new();
    for (name, key) in cameras {
        ports.push((name.shared(), session.publisher::<CameraFrame>(&key)?));
    }
    let jpeg: Arc<[u8]> = noise_of_about_ten_kilobytes()?.into();
    std::thread::sleep(Duration::from_millis(500));
    let mut next = clock.now();
    for tick in 0..secs * 500 {
        next = next + STATE_PERIOD;
        std::thread::sleep(next.since(clock.now()));
        let now = clock.now();
        states.put(&JointState {
            captured_at: now,
            seq: tick,
            epoch: 1,
            q: JointVec::zeros(6),
            dq: JointVec::zeros(6),
            opening: 0.0,
            torque: true,
        })?;
        if tick % STATES_PER_ROUND != 0 {
            continue;
        }
        for (camera, port) in &ports {
            port.put(&CameraFrame {
                camera: camera.clone(),
                captured_at: now,
                received_at: now,
                seq: tick / STATES_PER_ROUND,
                width: 64,
                height: 64,
                encoding: Encoding::Jpeg,
                data: jpeg.clone(),
            })?;
        }
    }
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}

fn noise_of_about_ten_kilobytes() -> Result<Vec<u8>, Failure> {
    let mut bits = 1u32;
    let pixels: Vec<u8> = std::iter::repeat_with(|| {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (bits >> 24) as u8
    })
    .take(64 * 64 * 3)
    .collect();
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, 88).encode(&pixels, 64, 64, ColorType::Rgb)?;
    Ok(jpeg)
}

/// Latencies of one stream, microseconds.
type Micros = Arc<Mutex<Vec<f64>>>;

fn collect<M: Message>(
    session: &Session,
    key: &tactus_wire::Key,
    micros: &Micros,
    refused: mpsc::SyncSender<WireError>,
) -> Result<Subscriber, Failure> {
    let micros = micros.clone();
    let subscriber =
        session.subscribe::<M>(
            key,
            move |delivery: Result<Delivery<M>, _>| match delivery {
                Ok(delivery) => micros
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(delivery.transport_time().as_secs_f64() * 1e6),
                Err(e) => refused.try_send(e).unwrap_or(()),
            },
        )?;
    Ok(subscriber)
}

fn measure(secs: u64) -> Result<(), Failure> {
    let session = Session::open(
        &SessionOptions::default(),
        "engine/e",
        Arc::new(MonotonicClock::new()?),
    )?;
    let (states, images): (Micros, Micros) = (Arc::default(), Arc::default());
    let (sender, refused) = mpsc::sync_channel(16);
    let (state_key, cameras) = keys()?;
    let mut subscribers = vec![collect::<JointState>(
        &session,
        &state_key,
        &states,
        sender.clone(),
    )?];
    for (_, key) in &cameras {
        subscribers.push(collect::<CameraFrame>(
            &session,
            key,
            &images,
            sender.clone(),
        )?);
    }
    let endpoint = session
        .endpoints()
        .into_iter()
        .next()
        .ok_or("no endpoint")?;
    let status = Command::new(std::env::current_exe()?)
        .args(["publish", &endpoint, &secs.to_string()])
        .status()?;
    if !status.success() {
        return Err("the publishing process failed".into());
    }
    drop(subscribers);
    if let Ok(error) = refused.try_recv() {
        return Err(error.into());
    }
    report("joint state", &states, secs * 500);
    report("image", &images, secs * 40);
    Ok(())
}

fn report(what: &str, micros: &Micros, sent: u64) {
    let mut micros = micros
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * micros.len().saturating_sub(1) as f64).round() as usize;
        micros.get(index).copied().unwrap_or(f64::NAN)
    };
    println!(
        "{what}: p50 {:.0} us, p99 {:.0} us, max {:.0} us, {} of {sent} arrived",
        at(0.5),
        at(0.99),
        at(1.0),
        micros.len(),
    );
}
