//! The same through Zenoh: frames, state and request to the engine's own loop in another process, a chunk back.

use std::sync::mpsc;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_control::{AssemblySpec, Demand};
use tactus_host::{EngineArm, EngineOptions, run_engine};
use tactus_types::{
    CameraFrame, Clock, Conditioning, Encoding, Generation, InferenceRequest, JointState, JointVec,
    Leftover, Policy,
};
use tactus_wire::{
    Cell, ChunkReply, Delivery, EngineStatus, MonotonicClock, Name, Nothing, Session,
    SessionOptions, Topic,
};

use super::{Behind, pictures, still};
use crate::{children, result, roles};

/// Everything is live for this long: what is measured is the way, not staleness.
const LIMIT: Duration = Duration::from_secs(5);
/// The engine has to be there within this.
const UP_WITHIN: Duration = Duration::from_secs(20);

fn cell() -> anyhow::Result<Cell> {
    Ok(Cell::new("bench")?)
}

fn name(word: &str) -> anyhow::Result<Name> {
    Ok(Name::new(word)?)
}

/// Runs the engine's loop with the policy that costs nothing; `shared`: long messages come in shared memory.
pub(super) fn serve(endpoint: &str, shared: bool) -> anyhow::Result<()> {
    let stop: Arc<AtomicBool> = roles::stop_flag(true)?;
    let clock = Arc::new(MonotonicClock::new()?);
    let options = SessionOptions {
        connect: vec![endpoint.into()],
        connect_timeout: UP_WITHIN,
        shared_memory: shared,
        ..SessionOptions::default()
    };
    let session = Session::open(&options, "engine/bench", clock.clone())?;
    let policy = still::Still::new();
    let arm = EngineArm {
        cell: cell()?,
        engine: name("engine")?,
        arm: name("arm")?,
        second: None,
        assembly: AssemblySpec {
            cameras: policy.cameras().to_vec(),
            frame_limit: LIMIT,
            proprio_limit: LIMIT,
            max_skew: LIMIT,
        },
        // One arm is always admitted.
        demand: Demand {
            every: LIMIT,
            one_at_a_time: true,
            within: LIMIT,
            deliver: Duration::ZERO,
        },
        session: &session,
    };
    result::line("engine")?;
    run_engine(
        Box::new(policy),
        None,
        &[arm],
        &EngineOptions::default(),
        clock.as_ref(),
        &stop,
    )?;
    Ok(())
}

/// Round trips of `requests` requests with pictures of this size, which may be `shared`.
pub(super) fn measure(
    requests: u32,
    warm_up: u32,
    (width, height): (usize, usize),
    shared: bool,
) -> anyhow::Result<Vec<Duration>> {
    let endpoint = format!("tcp/{}", children::free_address()?);
    let clock = Arc::new(MonotonicClock::new()?);
    let options = SessionOptions {
        listen: vec![endpoint.clone()],
        shared_memory: shared,
        ..SessionOptions::default()
    };
    let session = Session::open(&options, "bench", clock.clone())?;
    let cell = cell()?;
    let _engine = Behind::start(
        if shared { "shared" } else { "zenoh" },
        (width, height),
        &endpoint,
    )?;
    let (to, answers) = mpsc::sync_channel(64);
    let answered = move |reply: Result<Delivery<ChunkReply>, _>| {
        // Nobody listens when it is over.
        drop(to.send(reply));
    };
    let _answers = session.subscribe(&cell.key(&Topic::ArmChunk(name("arm")?)), answered)?;
    let mut cameras = Vec::new();
    for camera in still::NAMES {
        cameras
            .push(session.publisher::<CameraFrame>(&cell.key(&Topic::CameraImage(name(camera)?)))?);
    }
    let states = session.publisher::<JointState>(&cell.key(&Topic::ArmState(name("arm")?)))?;
    let asking =
        session.publisher::<InferenceRequest>(&cell.key(&Topic::ArmRequest(name("arm")?)))?;
    let status = cell.key(&Topic::EngineStatus(name("engine")?));
    let until = Instant::now() + UP_WITHIN;
    while session
        .query::<Nothing, EngineStatus>(&status, &Nothing, Duration::from_millis(200))
        .is_err()
    {
        if Instant::now() > until {
            bail!("the engine did not answer within {UP_WITHIN:?}");
        }
    }
    // Its subscriptions have to be known here too.
    std::thread::sleep(Duration::from_millis(300));
    let pictures: Vec<Arc<[u8]>> = pictures((width, height))
        .into_iter()
        .map(Into::into)
        .collect();
    let mut times = Vec::new();
    for n in 0..warm_up + requests {
        let now = clock.now();
        let frame = |i: usize, data: &Arc<[u8]>| CameraFrame {
            camera: still::NAMES.get(i).copied().unwrap_or_default().into(),
            captured_at: now,
            received_at: now,
            seq: u64::from(n),
            width: width as u32,
            height: height as u32,
            encoding: Encoding::Rgb8,
            data: Arc::clone(data),
        };
        let frames: Vec<CameraFrame> = pictures
            .iter()
            .enumerate()
            .map(|(i, data)| frame(i, data))
            .collect();
        let state = JointState {
            captured_at: now,
            seq: u64::from(n),
            epoch: 1,
            q: JointVec::from_fn(still::JOINTS, |_| f64::from(n) * 1e-6),
            dq: JointVec::zeros(still::JOINTS),
            opening: 1.0,
            torque: true,
        };
        let request = InferenceRequest {
            id: u64::from(n) + 1,
            generation: Generation { boot: 1, count: 1 },
            instruction: "pick up the red cube".into(),
            observe_after: now,
            deadline: now + LIMIT,
            expected_delay: Duration::ZERO,
            leftover: Leftover::none(),
            conditioning: Conditioning::None,
            seed: u64::from(n),
        };
        let begun = Instant::now();
        states.put(&state)?;
        asking.put(&request)?;
        for (camera, frame) in cameras.iter().zip(&frames) {
            camera.put(frame)?;
        }
        let reply = answers
            .recv_timeout(LIMIT)
            .context("no answer from the engine")??;
        let took = begun.elapsed();
        match reply.message {
            ChunkReply::Chunk(chunk) if chunk.request_id == request.id => {}
            other => bail!(
                "expected the chunk of request {}, got {other:?}",
                request.id
            ),
        }
        if n >= warm_up {
            times.push(took);
        }
    }
    Ok(times)
}
