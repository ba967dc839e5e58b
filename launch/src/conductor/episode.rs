//! One episode: the world reset, the policy started, the score kept, the arm left holding.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tactus_sim::{Cube, TaskKind};
use tactus_types::CameraFrame;
use tactus_wire::{
    EpisodeEvent, EpisodePhase, ModeOrder, ModeWord, SimReset, SimResetReply, Topic,
};

use super::{Conductor, Pictures, STEP_WITHIN, most_secs, task_of, variation};
use crate::children::Children;
use crate::live::Live;
use crate::summary::{Motion, Row};

/// The arm host reports the motion of an episode within this time after its end.
const MOTION_WITHIN: Duration = Duration::from_millis(500);
/// How often the conductor looks.
const LOOK: Duration = Duration::from_millis(5);

impl Conductor<'_> {
    /// Runs one episode; `None` when the demo was stopped before it began.
    pub(super) fn episode(
        &mut self,
        children: &mut Children,
        number: u64,
    ) -> anyhow::Result<Option<Row>> {
        let seed = self.args.seed.wrapping_add(number);
        let (instruction, task) = task_of(self.args, seed);
        let epoch = self.reset(seed)?;
        if self.limit_secs.is_some() {
            self.picture(|pictures, frame| pictures.first = Some(frame));
        }
        let (holds, chunks) = self.counters();
        self.start(children, number, &instruction, seed)?;
        {
            let mut live = self.shared.lock();
            live.instruction.clone_from(&instruction);
            live.episode = Some((number + 1, Instant::now()));
            live.commands.counted = true;
        }
        let mut row = Row::new(number, seed, instruction, task);
        while !self.stopping() {
            for ended in children.supervise() {
                let words = format!("{} {}", ended.how, ended.last_words);
                self.shared.news(format!(
                    "role `{}` ended ({}); it is started again",
                    ended.role,
                    words.trim()
                ));
            }
            let live = self.shared.lock();
            let world = live.world.as_ref();
            let boot = live.mode.as_ref().is_some_and(|m| m.mode == ModeWord::Boot);
            if let Some(world) = world.filter(|w| w.epoch == epoch) {
                row.secs = world.sim_time_secs;
                let name = |index: Option<u32>| {
                    let cube = Cube::ALL.get(index? as usize)?;
                    Some(cube.name())
                };
                row.lifted = name(world.first_lifted);
                row.in_bowl = name(world.first_placed);
                row.success = task.is_some_and(|task| {
                    let done = match task.kind() {
                        TaskKind::Pick => &world.lifted,
                        TaskKind::Place => &world.placed,
                    };
                    done.get(task.cube().index()) == Some(&true)
                });
            }
            let lost = world.is_some_and(|w| w.epoch != epoch);
            drop(live);
            if row.success || row.secs >= self.limit_secs.unwrap_or_else(|| most_secs(task)) {
                break;
            }
            if lost {
                row.aborted = Some("the simulated world was restarted".into());
                break;
            }
            if boot {
                row.aborted = Some("the arm host was restarted and stays in boot".into());
                break;
            }
            std::thread::sleep(LOOK);
        }
        self.shared.lock().commands.counted = false;
        let (holds_after, chunks_after) = self.counters();
        row.holds = holds_after.saturating_sub(holds);
        row.chunks = chunks_after.saturating_sub(chunks);
        self.tell(
            number,
            EpisodePhase::Stopped {
                success: row.success,
                reason: row.aborted.clone().unwrap_or_default(),
                excluded: false,
            },
        );
        if let Some(reason) = row.aborted.clone().filter(|r| r.contains("arm host")) {
            self.shared.lock().rows.push(row);
            bail!("{reason}: enabling it again is an operator's decision");
        }
        if !self.stopping() {
            self.order(&ModeOrder::StopEpisode)?;
            if self.limit_secs.is_some() {
                self.picture(|pictures, frame| pictures.last = Some(frame));
            }
            row.motion = self.motion();
        }
        Ok(Some(row))
    }

    /// Waits for a frame of the first camera that is captured from now on, and keeps it.
    fn picture(&self, keep: impl FnOnce(&mut Pictures, CameraFrame)) {
        let from = self.session.clock().now();
        let newer = |live: &Live| {
            let frame = live.frames.first()?.as_ref()?;
            (frame.captured_at >= from).then(|| frame.clone())
        };
        if let Err(e) = self.wait("a picture of the scene came", |live| newer(live).is_some()) {
            // A trial whose camera is silent at its end is a trial all the same.
            tracing::warn!("{e:#}");
            return;
        }
        let mut live = self.shared.lock();
        if let Some(frame) = newer(&live) {
            keep(&mut live.pictures, frame);
        }
    }

    /// Motion quality of the episode that has just ended: in the arm host's next report.
    fn motion(&self) -> Option<Motion> {
        let until = Instant::now() + MOTION_WITHIN;
        loop {
            let motion = self.shared.lock().telemetry.map(|t| t.motion);
            match motion {
                Some(motion) if motion.sparc != 0.0 => return Motion::of(&motion),
                _ if Instant::now() > until => return None,
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    fn tell(&self, episode: u64, phase: EpisodePhase) {
        if let Err(e) = self.events.put(&EpisodeEvent { episode, phase }) {
            tracing::warn!("episode event not sent: {e}");
        }
    }

    fn counters(&self) -> (u64, u64) {
        let live = self.shared.lock();
        live.mode
            .as_ref()
            .map_or((0, 0), |m| (m.counters.holds, m.counters.chunks_accepted))
    }

    /// Resets the world and waits until the arm host works with its new epoch.
    fn reset(&self, seed: u64) -> anyhow::Result<u64> {
        let reply = self
            .session
            .query::<SimReset, SimResetReply>(
                &self.wire.key(&Topic::SimReset),
                &SimReset {
                    seed,
                    variation: variation(self.args.variation, self.cell),
                },
                STEP_WITHIN,
            )
            .context("the simulator does not answer")?;
        let epoch = reply.message.epoch;
        self.wait("the arm host has seen the new world", |live| {
            live.state.is_some_and(|s| s.epoch == epoch)
                && live.world.as_ref().is_some_and(|w| w.epoch == epoch)
        })?;
        Ok(epoch)
    }

    /// Starts the policy; an engine or camera that is just coming back is waited for.
    fn start(
        &self,
        children: &mut Children,
        episode: u64,
        instruction: &str,
        seed: u64,
    ) -> anyhow::Result<()> {
        let order = ModeOrder::StartEpisode {
            episode,
            instruction: instruction.to_owned(),
            seed,
        };
        let until = Instant::now() + STEP_WITHIN;
        loop {
            match self.order(&order) {
                Ok(()) => break,
                Err(e) if Instant::now() > until || self.stopping() => return Err(e),
                Err(_) => {
                    children.supervise();
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        self.tell(
            episode,
            EpisodePhase::Started {
                instruction: instruction.to_owned(),
                seed,
            },
        );
        Ok(())
    }

    /// Waits until `done`, at most [`STEP_WITHIN`].
    fn wait(&self, what: &str, done: impl Fn(&Live) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + STEP_WITHIN;
        while !done(&self.shared.lock()) {
            if Instant::now() > until {
                bail!("waited {} s in vain until {what}", STEP_WITHIN.as_secs());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}
