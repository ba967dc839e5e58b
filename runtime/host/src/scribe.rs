//! A lock-step run as a recording: the same messages on the same keys as a cell in real time, with times that are counted.
//!
//! Decides nothing. What stages took in the real time that lock-step does not count is left out, so that the same seed
//! gives the same bytes.

use std::path::Path;

use tactus_control::TickOutput;
use tactus_record::{Entry, McapFile, RecordError};
use tactus_types::{Applied, ArmInfo, CameraFrame, ClockId, JointState, StageTimes, Time};
use tactus_wire::{
    AppliedBatch, Cell, ChunkReply, EngineStatus, EpisodeEvent, Message, Name, ReplyRef, TickBatch,
    TickNote, Topic,
};

/// Ticks of a batch, as in real time.
const BATCH: usize = 10;

/// The sink of a recording.
pub type Sink = Box<dyn std::io::Write + Send>;

/// What a cell is called.
#[derive(Debug, Clone)]
pub struct Named {
    /// The cell.
    pub cell: Cell,
    /// Its arm.
    pub arm: Name,
    /// Its engine.
    pub engine: Name,
}

/// Writes a lock-step run down. The first thing that cannot be written ends the writing, and is said at the end.
pub struct Scribe {
    named: Named,
    mcap: McapFile<Sink>,
    batch: TickBatch,
    applied: AppliedBatch,
    replies: u64,
    requests: u64,
    batches: u64,
    events: u64,
    now: Time,
    failed: Option<RecordError>,
}

impl Scribe {
    /// Begins to write to `mcap`, for a loop of `boot` whose configuration has the digest `spec`.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn new(
        named: Named,
        mcap: McapFile<Sink>,
        (boot, spec): (u64, u64),
        info: &ArmInfo,
        engine: &EngineStatus,
    ) -> Result<Self, RecordError> {
        let batch = TickBatch {
            boot,
            spec,
            ..TickBatch::default()
        };
        let mut scribe = Self {
            named,
            mcap,
            batch,
            applied: AppliedBatch::default(),
            replies: 0,
            requests: 0,
            batches: 0,
            events: 0,
            now: Time::ZERO,
            failed: None,
        };
        let Named {
            arm, engine: of, ..
        } = scribe.named.clone();
        scribe.put(&Topic::ArmInfo(arm), info, Time::ZERO, 0);
        scribe.put(&Topic::EngineStatus(of), engine, Time::ZERO, 0);
        Ok(scribe)
    }

    /// A file in `sink` that `file` names in errors, of a clock that is counted.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn begin(
        sink: Sink,
        file: &Path,
        version: &str,
        about: tactus_record::write::Words,
    ) -> Result<McapFile<Sink>, RecordError> {
        McapFile::begin(sink, file, ClockId(0), version, about)
    }

    fn put<M: Message>(&mut self, topic: &Topic, message: &M, at: Time, seq: u64) {
        if self.failed.is_some() {
            return;
        }
        let key = self.named.cell.key(topic);
        let entry = Entry::of(key.as_str(), message, at, seq, "lockstep");
        self.failed = self.mcap.write(&entry).err();
    }

    /// A frame that was captured.
    pub fn frame(&mut self, frame: &CameraFrame) {
        if let Ok(name) = Name::new(&frame.camera) {
            let topic = Topic::CameraImage(name);
            self.put(&topic, frame, frame.captured_at, frame.seq);
        }
    }

    /// A joint state that the engine takes.
    pub fn state(&mut self, state: &JointState) {
        let topic = Topic::ArmState(self.named.arm.clone());
        self.put(&topic, state, state.captured_at, state.seq);
    }

    /// A reply that a tick takes at `now`.
    pub fn reply(&mut self, mut reply: ChunkReply, now: Time) -> ReplyRef {
        if let ChunkReply::Chunk(chunk) = &mut reply {
            chunk.stages = StageTimes::default();
        }
        let seq = self.replies;
        self.replies += 1;
        let topic = Topic::ArmChunk(self.named.arm.clone());
        self.put(&topic, &reply, now, seq);
        ReplyRef {
            published_at: now,
            seq,
        }
    }

    /// A tick and what it decided.
    pub fn tick(&mut self, note: TickNote, output: &TickOutput) {
        let now = note.now;
        self.now = now;
        if let Some(request) = &output.request {
            let (topic, seq) = (Topic::ArmRequest(self.named.arm.clone()), self.requests);
            self.requests += 1;
            self.put(&topic, request, now, seq);
        }
        if let Some(command) = output.command {
            self.applied.applied.push(Applied { command, at: now });
        }
        self.batch.ticks.push(note);
        if self.batch.ticks.len() == BATCH {
            self.batches();
        }
    }

    fn batches(&mut self) {
        let (now, seq, arm) = (self.now, self.batches, self.named.arm.clone());
        self.batches += 1;
        let empty = TickBatch {
            ticks: Vec::new(),
            ..self.batch
        };
        let batch = std::mem::replace(&mut self.batch, empty);
        self.put(&Topic::ArmTicks(arm.clone()), &batch, now, seq);
        let applied = std::mem::take(&mut self.applied);
        self.put(&Topic::ArmApplied(arm), &applied, now, seq);
    }

    /// Beginning or end of an episode, at `now`.
    pub fn episode(&mut self, event: &EpisodeEvent, now: Time) {
        let seq = self.events;
        self.events += 1;
        self.put(&Topic::Episode, event, now, seq);
    }

    /// Ends the file; returns how many messages it has, and the sink.
    ///
    /// # Errors
    /// [`RecordError`], also of what could not be written before.
    pub fn finish(mut self) -> Result<(u64, Sink), RecordError> {
        self.batches();
        match self.failed {
            Some(e) => Err(e),
            None => {
                let messages = self.mcap.messages();
                Ok((messages, self.mcap.finish()?))
            }
        }
    }
}
