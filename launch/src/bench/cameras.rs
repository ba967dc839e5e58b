//! `tactus bench cameras`: what cameras cost, and how long a frame takes from its capture to another process.
//!
//! The cameras are a process of their own, as in a cell, and everything in it is the driver's code but the kernel, in whose
//! place recorded buffers play: JPEG files of random pictures, stamped when they are there. This process listens.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tactus_camera::picture::{self, Picture};
use tactus_camera::v4l2::recorded::{Recorded, RecordedNode};
use tactus_camera::v4l2::{Capture, table};
use tactus_camera::{
    CameraSpec, PixelFormat, Rotation, Served, Source, SourceSpec, V4l2Spec, run_cameras,
};
use tactus_host::account::Durations;
use tactus_types::{Clock, Time};
use tactus_wire::{
    Cell, ClockedFrame, Delivery, MonotonicClock, Name, Session, SessionOptions, Topic,
};

use crate::cli::CamerasArgs;
use crate::result;

/// Not measured: sessions meet, buffers warm up.
const WARM_UP: Duration = Duration::from_secs(1);
/// Different pictures of each camera.
const PICTURES: u32 = 20;
/// How much later each camera takes its pictures than the one before it.
const OFFSET: Duration = Duration::from_millis(4);

/// A frame as it arrived.
#[derive(Debug, Clone, Copy)]
struct Arrived {
    seq: u64,
    captured_at: Time,
    published_at: Time,
    received_at: Time,
    bytes: usize,
}

/// Runs the benchmark, or the cameras of it.
pub fn cameras(args: &CamerasArgs) -> anyhow::Result<()> {
    if let Some(endpoint) = &args.be_cameras {
        return be_cameras(args, endpoint);
    }
    let clock = Arc::new(MonotonicClock::new()?);
    let session = Session::open(&SessionOptions::default(), "bench", clock)?;
    let endpoint = session
        .endpoints()
        .first()
        .cloned()
        .context("no endpoint")?;
    let arrived: Vec<Arc<Mutex<Vec<Arrived>>>> =
        (0..args.cameras).map(|_| Arc::default()).collect();
    let mut subscriptions = Vec::new();
    for (k, to) in arrived.iter().enumerate() {
        let to = to.clone();
        let key = cell()?.key(&Topic::CameraImage(name(k)?));
        subscriptions.push(session.subscribe(
            &key,
            move |frame: Result<Delivery<ClockedFrame>, _>| {
                let Ok(delivery) = frame else { return };
                let arrived = Arrived {
                    seq: delivery.header.seq,
                    captured_at: delivery.header.captured_at,
                    published_at: delivery.header.published_at,
                    received_at: delivery.received_at,
                    bytes: delivery.message.frame.data.len(),
                };
                to.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(arrived);
            },
        )?);
    }
    let figures = child(args, &endpoint)?;
    drop(subscriptions);
    let cameras: Vec<Vec<Arrived>> = arrived
        .iter()
        .map(|frames| {
            frames
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
        .collect();
    let report = report(args, &cameras, &figures)?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report).context("figures as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("figures {}", file.display()))?;
    }
    print(args, &report)
}

fn cell() -> anyhow::Result<Cell> {
    Ok(Cell::new("bench")?)
}

fn name(camera: usize) -> anyhow::Result<Name> {
    Ok(Name::new(&format!("camera{camera}"))?)
}

/// The cameras' process; returns what it says of itself.
fn child(args: &CamerasArgs, endpoint: &str) -> anyhow::Result<Value> {
    let exe = std::env::current_exe().context("where this program lies")?;
    let numbers = [
        ("--cameras", args.cameras),
        ("--rate-hz", args.rate_hz),
        ("--width", args.width),
        ("--height", args.height),
        ("--secs", args.secs),
    ];
    let mut command = Command::new(exe);
    command.args([
        "--log",
        "warn",
        "bench",
        "cameras",
        "--be-cameras",
        endpoint,
    ]);
    for (flag, number) in numbers {
        command.args([flag, &number.to_string()]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.context("the cameras' process")?;
    let mut text = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout
            .read_to_string(&mut text)
            .context("the cameras' figures")?;
    }
    let status = child.wait().context("the cameras' process")?;
    if !status.success() {
        bail!("the cameras' process ended with {status}");
    }
    serde_json::from_str(&text).context("the cameras' figures")
}

/// Is the cameras: serves for a while, and says what that took.
fn be_cameras(args: &CamerasArgs, endpoint: &str) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new()?);
    let options = SessionOptions {
        connect: vec![endpoint.to_owned()],
        connect_timeout: Duration::from_secs(5),
        ..SessionOptions::default()
    };
    let session = Session::open(&options, "camera", Arc::new(MonotonicClock::new()?))?;
    let mut served = Vec::new();
    for k in 0..usize::from(args.cameras) {
        served.push(recorded(args, k, clock.clone())?);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (secs, stopping) = (Duration::from_secs(args.secs.into()), stop.clone());
    let watch = std::thread::Builder::new()
        .name("watch".into())
        .spawn(move || {
            std::thread::sleep(WARM_UP);
            let (cpu, begun) = (cpu_time(), std::time::Instant::now());
            std::thread::sleep(secs);
            let used = cpu_time().saturating_sub(cpu);
            let share = used.as_secs_f64() / begun.elapsed().as_secs_f64();
            stopping.store(true, Ordering::Relaxed);
            share
        })
        .context("a thread")?;
    run_cameras(served, &cell()?, &session, &clock, &stop)?;
    let Ok(share) = watch.join() else {
        bail!("the watching thread panicked");
    };
    result::line(json!({ "cpu_share": share }))
}

/// CPU time of all threads of this process, user and system.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Camera `k`: recorded buffers behind the V4L2 driver.
fn recorded(args: &CamerasArgs, k: usize, clock: Arc<dyn Clock>) -> anyhow::Result<Served> {
    let (width, height) = (u32::from(args.width), u32::from(args.height));
    let device = V4l2Spec {
        device: format!("recorded-{k}").into(),
        format: PixelFormat::Mjpeg,
        exposure_us: Some(10_000),
        gain: None,
        white_balance_k: Some(4600),
    };
    let spec = CameraSpec {
        name: name(k)?,
        source: SourceSpec::V4l2(device.clone()),
        width,
        height,
        rate_hz: args.rate_hz.into(),
        undistort: None,
        crop: None,
        rotate: Rotation::None,
        quality: 90,
        frozen_after: Some(Duration::from_millis(500)),
        latency: Duration::ZERO,
    };
    let pictures: Vec<Arc<[u8]>> = (0..PICTURES)
        .map(|seed| Ok(picture::encode(&scene(width, height, seed + 100 * k as u32), 90)?.into()))
        .collect::<anyhow::Result<_>>()?;
    let length = WARM_UP + Duration::from_secs(u64::from(args.secs) + 5);
    let period = Duration::from_secs(1) / u32::from(args.rate_hz);
    let frames = (length.as_secs_f64() / period.as_secs_f64()) as u32;
    let buffers = (0..frames).map(|n| {
        let at = OFFSET * k as u32 + period * n;
        Recorded {
            at,
            stamp: at,
            sequence: n,
            flags: table::BUF_FLAG_TIMESTAMP_MONOTONIC | table::BUF_FLAG_TSTAMP_SRC_SOE,
            data: pictures[(n % PICTURES) as usize].clone(),
        }
    });
    let format = table::PIX_FMT_MJPEG;
    let node = RecordedNode::webcam(format, (width, height), buffers.collect(), clock.clone());
    let of = spec.clone();
    Ok(Served {
        spec,
        open: Box::new(move || {
            let capture = Capture::start(node.clone(), &of, &device, clock.clone())?;
            Ok(Box::new(capture) as Box<dyn Source>)
        }),
    })
}

/// A picture that compresses about as a room does: shapes with a sensor's noise on them.
pub fn scene(width: u32, height: u32, seed: u32) -> Picture {
    let mut random = seed.wrapping_mul(2_654_435_761) | 1;
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    for y in 0..height {
        for x in 0..width {
            // xorshift32
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let noise = random & 0x0f;
            let block = ((x + seed) / 37 * 53 + y / 41 * 97) & 0x7f;
            rgb.extend(
                [
                    block + noise,
                    ((x / 4) & 0x7f) + noise,
                    60 + ((y / 4) & 0x3f) + noise,
                ]
                .map(|v| v as u8),
            );
        }
    }
    Picture { width, height, rgb }
}

fn quantiles(durations: &Durations) -> Value {
    let q = durations.quantiles();
    let millis = |d: Duration| (d.as_secs_f64() * 1e6).round() / 1e3;
    json!({ "p50": millis(q.p50), "p99": millis(q.p99), "max": millis(q.max) })
}

fn report(args: &CamerasArgs, cameras: &[Vec<Arrived>], figures: &Value) -> anyhow::Result<Value> {
    let first = cameras.iter().flatten().map(|f| f.captured_at).min();
    let from = first.context("no frame arrived")? + WARM_UP;
    let until = from + Duration::from_secs(args.secs.into());
    let measured: Vec<Vec<Arrived>> = cameras
        .iter()
        .map(|frames| {
            frames
                .iter()
                .filter(|f| (from..until).contains(&f.captured_at))
                .copied()
                .collect()
        })
        .collect();
    let (mut handed, mut received) = (Durations::default(), Durations::default());
    let (mut frames, mut missed, mut bytes) = (0_u64, 0_u64, 0_usize);
    for camera in &measured {
        for frame in camera {
            handed.record(frame.published_at.since(frame.captured_at));
            received.record(frame.received_at.since(frame.captured_at));
            frames += 1;
            bytes += frame.bytes;
        }
        missed += camera
            .windows(2)
            .map(|f| f[1].seq.saturating_sub(f[0].seq + 1))
            .sum::<u64>();
    }
    Ok(json!({
        "cameras": args.cameras,
        "rate_hz": args.rate_hz,
        "width": args.width,
        "height": args.height,
        "secs": args.secs,
        "frames": frames,
        "missed": missed,
        "mean_bytes": bytes as u64 / frames.max(1),
        "cpu_share_of_one_core": figures["cpu_share"],
        "capture_to_publish_ms": quantiles(&handed),
        "capture_to_received_ms": quantiles(&received),
        "skew_ms": quantiles(&skew(&measured)),
    }))
}

/// For every frame of the first camera: how far apart it and the nearest frame of each other camera were captured.
fn skew(cameras: &[Vec<Arrived>]) -> Durations {
    let mut skew = Durations::default();
    let Some((first, others)) = cameras.split_first() else {
        return skew;
    };
    let apart = |a: Time, b: Time| a.since(b).max(b.since(a));
    for frame in first {
        let at = frame.captured_at;
        let nearest = |camera: &Vec<Arrived>| {
            camera
                .iter()
                .map(|f| f.captured_at)
                .min_by_key(|t| apart(*t, at))
        };
        let nearest: Vec<Time> = others.iter().filter_map(nearest).chain([at]).collect();
        if let (Some(newest), Some(oldest)) = (nearest.iter().max(), nearest.iter().min()) {
            skew.record(newest.since(*oldest));
        }
    }
    skew
}

fn print(args: &CamerasArgs, report: &Value) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "milliseconds",
        "p50",
        "p99",
        "max",
    ]);
    for (row, field) in [
        ("capture to publish", "capture_to_publish_ms"),
        ("capture to received", "capture_to_received_ms"),
        ("skew between cameras", "skew_ms"),
    ] {
        let cell = |q: &str| format!("{:.3}", report[field][q].as_f64().unwrap_or(f64::NAN));
        table.add_row([row.to_owned(), cell("p50"), cell("p99"), cell("max")]);
    }
    result::line(table)?;
    result::line(format_args!(
        "{} cameras, {}x{} MJPEG at {} Hz, {} kB a frame: {} frames in {} s, {} missed; the cameras' process took {:.1} % of one core",
        args.cameras,
        args.width,
        args.height,
        args.rate_hz,
        report["mean_bytes"].as_u64().unwrap_or(0) / 1000,
        report["frames"],
        args.secs,
        report["missed"],
        report["cpu_share_of_one_core"].as_f64().unwrap_or(f64::NAN) * 100.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera(millis: &[u64]) -> Vec<Arrived> {
        let arrived = |(k, t): (usize, &u64)| Arrived {
            seq: k as u64,
            captured_at: Time::from_millis(*t),
            published_at: Time::from_millis(t + 1),
            received_at: Time::from_millis(t + 2),
            bytes: 10,
        };
        millis.iter().enumerate().map(arrived).collect()
    }

    #[test]
    fn skew_is_between_the_nearest_frames_of_all_cameras() {
        let cameras = [camera(&[100, 200]), camera(&[95, 205]), camera(&[110, 190])];
        let q = skew(&cameras).quantiles();
        let near = |a: Duration, millis: f64| (a.as_secs_f64() * 1e3 - millis).abs() < 0.1;
        assert!(near(q.max, 15.0) && near(q.p50, 15.0), "{q:?}");
        assert!(near(skew(&cameras[..1]).quantiles().max, 0.0));
    }
}
