//! `tactus bench keys`: what encryption and access rules cost on the path of a chunk.
//!
//! One process is the engine: when two frames and a request have come, it answers with a chunk that it need not think about.
//! The other is the arm host and the cameras: it sends the frames, then the request, and waits for the chunk. In turns over
//! links in the clear and over those of a cell with keys, so that both meet the same load.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use tactus_camera::picture;
use tactus_host::account::Durations;
use tactus_types::{
    Action, ActionChunk, CameraFrame, Clock, Conditioning, Encoding, Generation, InferenceRequest,
    JointVec, StageTimes, Time, TimedAction,
};
use tactus_wire::security::LOOPBACK as ENCRYPTED;
use tactus_wire::{
    ChunkReply, Delivery, Member, MonotonicClock, Publisher, Security, Session, SessionOptions,
    Subscriber, Topic,
};

use super::cameras::scene;
use crate::cell::{self, Cell};
use crate::cli::KeysBenchArgs;
use crate::{checkout, keys, result, trust};

/// Between two requests: as often as a policy at 20 Hz is asked.
const EVERY: Duration = Duration::from_millis(50);
/// Not counted: sessions meet, caches warm.
const WARM_UP: u32 = 10;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ROWS: usize = 16;
const JOINTS: usize = 6;

/// Runs the benchmark, or the engine of it.
pub fn keys_bench(args: &KeysBenchArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.be_engine {
        let cell = cell::load(file)?;
        if cell.security.is_some() {
            trust::take_turns();
        }
        return be_engine(&cell);
    }
    trust::take_turns();
    let folder = tempfile()?;
    let measured = turns(args, &folder);
    if let Err(e) = std::fs::remove_dir_all(&folder) {
        tracing::warn!("{}: cannot remove it: {e}", folder.display());
    }
    let report = measured?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report).context("figures as JSON")?;
        std::fs::write(file, text + "\n").with_context(|| format!("figures {}", file.display()))?;
    }
    print(&report)
}

fn tempfile() -> anyhow::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("tactus-bench-keys-{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| format!("folder {}", folder.display()))?;
    Ok(folder)
}

/// The demo's cell, with keys or without, in `folder`.
fn cell_in(folder: &Path, with_keys: bool) -> anyhow::Result<Cell> {
    let mut text = std::fs::read_to_string(checkout::demo_cell()?)?;
    if with_keys {
        text += "\n[security]\nkeys = \"keys\"\n";
    }
    let file = folder.join(if with_keys { "keys.toml" } else { "plain.toml" });
    std::fs::write(&file, text).with_context(|| file.display().to_string())?;
    let cell = cell::load(&file)?;
    if with_keys {
        keys::make(&cell, 1, |_| Ok(()))?;
    }
    Ok(cell)
}

fn session(cell: &Cell, member: Member, connect: Vec<String>) -> anyhow::Result<Session> {
    let mut options = SessionOptions {
        connect,
        ..SessionOptions::default()
    };
    if let (Some(members), Some(security)) = (cell.members(), &cell.security) {
        options.listen = vec![ENCRYPTED.into()];
        options.security = Some(Security {
            member,
            members,
            keys: security.keys.clone(),
        });
    }
    let clock = Arc::new(MonotonicClock::new()?);
    Ok(Session::open(&options, "bench", clock)?)
}

/// Answers every request once the frames before it are there, until its input ends.
fn be_engine(cell: &Cell) -> anyhow::Result<()> {
    let session = session(cell, Member::Engine, vec![])?;
    let wire = &cell.wire;
    let frames = Arc::new(Mutex::new(vec![0_u64; cell.cameras.len()]));
    let mut subscriptions = Vec::new();
    let (told, woken) = sync_channel::<Option<InferenceRequest>>(64);
    for (k, camera) in cell.cameras.iter().enumerate() {
        let (frames, told) = (frames.clone(), told.clone());
        subscriptions.push(session.subscribe(
            &wire.key(&Topic::CameraImage(camera.name.clone())),
            move |frame: Result<Delivery<CameraFrame>, _>| {
                let Ok(frame) = frame else { return };
                frames.lock().unwrap_or_else(PoisonError::into_inner)[k] = frame.message.seq;
                let _ = told.try_send(None);
            },
        )?);
    }
    subscriptions.push(session.subscribe(
        &wire.key(&Topic::ArmRequest(cell.arm.clone())),
        move |request: Result<Delivery<InferenceRequest>, _>| {
            if let Ok(request) = request {
                let _ = told.try_send(Some(request.message));
            }
        },
    )?);
    let replies: Publisher<ChunkReply> =
        session.publisher(&wire.key(&Topic::ArmChunk(cell.arm.clone())))?;
    for endpoint in session.endpoints() {
        result::line(format_args!("{endpoint}"))?;
    }
    let done = std::thread::Builder::new()
        .name("until-closed".into())
        .spawn(|| std::io::stdin().lines().for_each(drop))?;
    let mut pending: Option<InferenceRequest> = None;
    while !done.is_finished() {
        if let Ok(request) = woken.recv_timeout(EVERY) {
            pending = request.or(pending);
        }
        let there = |id: u64| {
            let frames = frames.lock().unwrap_or_else(PoisonError::into_inner);
            frames.iter().all(|seq| *seq >= id)
        };
        if let Some(request) = pending.take_if(|request| there(request.id)) {
            replies.put(&ChunkReply::Chunk(chunk(&request)))?;
        }
    }
    drop(subscriptions);
    Ok(())
}

fn resting() -> Action {
    Action {
        q: JointVec::zeros(JOINTS),
        opening: 1.0,
    }
}

fn chunk(request: &InferenceRequest) -> ActionChunk {
    ActionChunk {
        request_id: request.id,
        generation: request.generation,
        observed_at: request.observe_after,
        first_due: request.observe_after,
        period: EVERY,
        actions: vec![resting(); ROWS],
        bundle_id: "none".into(),
        states: None,
        frames: vec![],
        stages: StageTimes::default(),
    }
}

/// The other end of one engine.
struct Side {
    engine: Child,
    clock: Arc<MonotonicClock>,
    cameras: Vec<(Arc<str>, Publisher<CameraFrame>)>,
    requests: Publisher<InferenceRequest>,
    chunks: Receiver<(u64, Time)>,
    _subscription: Subscriber,
    _sessions: [Session; 2],
    jpeg: Arc<[u8]>,
    next: u64,
}

impl Side {
    fn start(cell: &Cell) -> anyhow::Result<Self> {
        let mut engine = Command::new(std::env::current_exe().context("this program")?)
            .args(["--log", "error", "bench", "keys", "--be-engine"])
            .arg(&cell.file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the engine's process")?;
        let stdout = engine.stdout.take().context("its output")?;
        let mut endpoint = String::new();
        BufReader::new(stdout).read_line(&mut endpoint)?;
        let endpoint = vec![endpoint.trim().to_owned()];
        let arm = session(cell, Member::Arm, endpoint.clone())?;
        let camera = session(cell, Member::Camera, endpoint)?;
        let mut cameras = Vec::new();
        for of in &cell.cameras {
            let key = cell.wire.key(&Topic::CameraImage(of.name.clone()));
            cameras.push((of.name.shared(), camera.publisher(&key)?));
        }
        let clock = Arc::new(MonotonicClock::new()?);
        let (sender, chunks) = sync_channel(8);
        let ears = clock.clone();
        let subscription = arm.subscribe(
            &cell.wire.key(&Topic::ArmChunk(cell.arm.clone())),
            move |reply: Result<Delivery<ChunkReply>, _>| {
                if let Ok(Delivery {
                    message: ChunkReply::Chunk(chunk),
                    ..
                }) = reply
                {
                    let _ = sender.try_send((chunk.request_id, ears.now()));
                }
            },
        )?;
        let requests = arm.publisher(&cell.wire.key(&Topic::ArmRequest(cell.arm.clone())))?;
        Ok(Self {
            engine,
            clock,
            cameras,
            requests,
            chunks,
            _subscription: subscription,
            _sessions: [arm, camera],
            jpeg: picture::encode(&scene(640, 480, 1), 90)?.into(),
            next: 1,
        })
    }

    /// Frames and a request out, a chunk back: how long that took.
    fn once(&mut self) -> anyhow::Result<Duration> {
        let id = self.next;
        self.next += 1;
        let sent = self.clock.now();
        for (camera, to) in &self.cameras {
            to.put(&CameraFrame {
                camera: camera.clone(),
                captured_at: sent,
                received_at: sent,
                seq: id,
                width: 640,
                height: 480,
                encoding: Encoding::Jpeg,
                data: self.jpeg.clone(),
            })?;
        }
        self.requests.put(&InferenceRequest {
            id,
            generation: Generation::default(),
            instruction: "pick up the red cube".into(),
            observe_after: sent,
            deadline: sent + ANSWER_WITHIN,
            expected_delay: EVERY,
            leftover: [TimedAction {
                due: sent,
                action: resting(),
            }]
            .into_iter()
            .collect(),
            conditioning: Conditioning::None,
            seed: id,
        })?;
        loop {
            let (answered, at) = self
                .chunks
                .recv_timeout(ANSWER_WITHIN)
                .context("no chunk came back")?;
            if answered == id {
                return Ok(at.since(sent));
            }
        }
    }

    /// Until sessions have met and the first chunk is back.
    fn meet(&mut self) -> anyhow::Result<()> {
        for _ in 0..20 {
            if self.once().is_ok() {
                return Ok(());
            }
        }
        bail!("the engine's process does not answer");
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        drop(self.engine.stdin.take());
        if let Err(e) = self.engine.wait() {
            tracing::warn!("the engine's process: {e}");
        }
    }
}

fn turns(args: &KeysBenchArgs, folder: &Path) -> anyhow::Result<Value> {
    let mut sides = [
        Side::start(&cell_in(folder, false)?)?,
        Side::start(&cell_in(folder, true)?)?,
    ];
    let bytes = sides[0].jpeg.len();
    for side in &mut sides {
        side.meet()?;
    }
    let mut all = [Durations::default(), Durations::default()];
    let mut medians = [vec![], vec![]];
    for _ in 0..args.turns {
        for (k, side) in sides.iter_mut().enumerate() {
            let mut turn = Durations::default();
            for n in 0..WARM_UP + u32::from(args.chunks) {
                let took = side.once()?;
                if n >= WARM_UP {
                    turn.record(took);
                    all[k].record(took);
                }
                std::thread::sleep(EVERY.saturating_sub(took));
            }
            medians[k].push(micros(turn.quantiles().p50));
        }
    }
    let [plain, encrypted] = all.each_ref().map(|all| {
        let q = all.quantiles();
        json!({ "p50_us": micros(q.p50), "p99_us": micros(q.p99), "max_us": micros(q.max) })
    });
    Ok(json!({
        "chunks": u32::from(args.chunks) * u32::from(args.turns),
        "frames": sides[0].cameras.len(),
        "frame_bytes": bytes,
        "plain": plain, "plain_medians_us": medians[0],
        "keys": encrypted, "keys_medians_us": medians[1],
        "overhead_p50_us": encrypted["p50_us"].as_f64().unwrap_or(0.0) - plain["p50_us"].as_f64().unwrap_or(0.0),
    }))
}

fn micros(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e7).round() / 10.0
}

fn print(report: &Value) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "frames out to chunk back, us",
        "p50",
        "p99",
        "max",
        "p50 of each turn",
    ]);
    for (name, key) in [("in the clear", "plain"), ("with keys", "keys")] {
        let medians = report[format!("{key}_medians_us")].as_array();
        let medians = medians.map_or_else(Vec::new, |all| {
            all.iter().map(|m| format!("{m:.0}")).collect()
        });
        let of = |what: &str| format!("{:.0}", report[key][what].as_f64().unwrap_or(0.0));
        table.add_row([
            name.into(),
            of("p50_us"),
            of("p99_us"),
            of("max_us"),
            medians.join(" "),
        ]);
    }
    result::line(table)?;
    result::line(format_args!(
        "{} chunks of each; {} frames of {} kB before each; keys cost {:.0} us at the median",
        report["chunks"],
        report["frames"],
        report["frame_bytes"].as_u64().unwrap_or(0) / 1000,
        report["overhead_p50_us"].as_f64().unwrap_or(0.0),
    ))
}
