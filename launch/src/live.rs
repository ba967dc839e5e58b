//! What the demo knows at this moment: written by subscriptions and the conductor, read by the view and the summary.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tactus_host::account::Durations;
use tactus_types::{Applied, Budget, CameraFrame, Followed, JointState, Source, Stage, StageTimes};
use tactus_wire::{
    AppliedBatch, Cell as WireCell, Delivery, EngineStatus, ModeReport, ModeWord, Reasoning,
    Service, Session, SessionError, SimWorld, Subscriber, Telemetry, Topic,
};

use crate::cell::Cell;
use crate::conductor::Pictures;
use crate::summary::Row;

/// Messages that the view shows at most.
const NEWS: usize = 50;

/// The newest of everything.
#[derive(Default)]
pub struct Live {
    /// Mode of the arm host.
    pub mode: Option<ModeReport>,
    /// Statistics of the arm host.
    pub telemetry: Option<Telemetry>,
    /// The simulated world.
    pub world: Option<SimWorld>,
    /// Newest joint state.
    pub state: Option<JointState>,
    /// Newest frame per camera, in the cell's order.
    pub frames: Vec<Option<CameraFrame>>,
    /// Of an evaluation's trial.
    pub pictures: Pictures,
    /// What the arm is told.
    pub instruction: String,
    /// Episode being run, counted from 1, and when it began.
    pub episode: Option<(u64, Instant)>,
    /// Episodes wanted; `None` without end.
    pub episodes: Option<u64>,
    /// Finished episodes.
    pub rows: Vec<Row>,
    /// What happened, newest last, with its time since the start.
    pub news: VecDeque<(Duration, String)>,
    /// Quantiles over all chunks.
    pub chunks: Chunks,
    /// What the engine's language model says.
    pub reasoning: Option<Reasoning>,
    /// How the engine serves this arm.
    pub service: Option<Service>,
    /// Declared budget.
    pub budget: Option<Budget>,
    /// How the engine's host knows cell time, where it is not the arm's.
    pub engine_time: Option<Followed>,
    /// Commands of the episode being run, where they are followed.
    pub commands: Commands,
}

/// What is counted of commands.
#[derive(Default)]
pub struct Commands {
    /// Whether an episode is being run.
    pub counted: bool,
    /// All of them that came over the wire.
    pub all: u64,
    /// Those of a hold.
    pub held: u64,
    /// Ages of the observations behind them.
    pub ages: tactus_eval::trial::Figures,
}

impl Commands {
    fn count(&mut self, applied: &Applied) {
        self.all += 1;
        let source = applied.command.setpoint.source;
        if source == Source::Hold {
            self.held += 1;
        }
        // A human's setpoint knows when the leader was read, which is no observation's age.
        if source == Source::Policy
            && let Some(age) = applied.age()
        {
            self.ages.count_age(age.as_millis() as u64);
        }
    }
}

/// Quantiles over all chunks of a run.
#[derive(Default)]
pub struct Chunks {
    last: u64,
    /// Inside ONNX Runtime.
    pub inference: Durations,
    /// From ready to accepted, less inference.
    pub overhead: Durations,
    /// Received to engine free.
    pub queue: Durations,
    /// Per stage.
    pub stages: [Durations; Stage::ALL.len()],
}

impl Chunks {
    fn take(&mut self, telemetry: &Telemetry) {
        if telemetry.request_id == 0 || telemetry.request_id == self.last {
            return;
        }
        self.last = telemetry.request_id;
        let millis = |ms: f64| Duration::try_from_secs_f64(ms.max(0.0) * 1e-3).unwrap_or_default();
        self.inference.record(millis(telemetry.inference_millis));
        self.overhead.record(millis(telemetry.overhead_millis));
        self.queue.record(millis(telemetry.queue_millis));
        self.stages(&telemetry.stages);
    }

    fn stages(&mut self, stages: &StageTimes) {
        for (durations, stage) in self.stages.iter_mut().zip(Stage::ALL) {
            durations.record(stages.get(stage));
        }
    }
}

/// Shared by all who write and read it.
#[derive(Clone)]
pub struct Shared {
    live: Arc<Mutex<Live>>,
    started: Instant,
    echo: bool,
    /// What news of its arm begin with, where there are two.
    called: Arc<str>,
}

impl Shared {
    /// Nothing known yet. With `echo`, news are also written to stderr.
    pub fn new(cell: &Cell, episodes: Option<u64>, echo: bool) -> Self {
        let live = Live {
            frames: vec![None; cell.cameras.len()],
            budget: Some(cell.budget),
            episodes,
            ..Live::default()
        };
        Self {
            live: Arc::new(Mutex::new(live)),
            started: Instant::now(),
            echo,
            called: "".into(),
        }
    }

    /// Of the arm of this name, where there are two: news of it say which one they are of.
    pub fn called(self, arm: &str) -> Self {
        Self {
            called: format!("{arm}: ").into(),
            ..self
        }
    }

    /// Access. A writer that panicked left at worst one field old.
    pub fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something an operator should read.
    pub fn news(&self, text: impl Into<String>) {
        let text = text.into();
        if self.echo {
            eprintln!("{text}");
        }
        let mut live = self.lock();
        if live.news.len() == NEWS {
            live.news.pop_front();
        }
        live.news.push_back((self.started.elapsed(), text));
    }

    /// Subscribes to everything that is shown; `frames` only where pictures are shown.
    ///
    /// # Errors
    /// [`SessionError`] when a key cannot be subscribed.
    pub fn follow(
        &self,
        session: &Session,
        wire: &WireCell,
        cell: &Cell,
        frames: bool,
    ) -> Result<Vec<Subscriber>, SessionError> {
        let arm = || cell.arm.clone();
        let mut subscriptions = Vec::new();
        let to = self.clone();
        let key = wire.key(&Topic::ArmMode(arm()));
        subscriptions.push(session.subscribe(
            &key,
            move |m: Result<Delivery<ModeReport>, _>| {
                if let Ok(delivery) = m {
                    to.mode(delivery.message);
                }
            },
        )?);
        let to = self.clone();
        let key = wire.key(&Topic::ArmTelemetry(arm()));
        subscriptions.push(
            session.subscribe(&key, move |m: Result<Delivery<Telemetry>, _>| {
                if let Ok(delivery) = m {
                    let mut live = to.lock();
                    live.chunks.take(&delivery.message);
                    live.telemetry = Some(delivery.message);
                }
            })?,
        );
        let to = self.clone();
        let key = wire.key(&Topic::SimWorld);
        subscriptions.push(
            session.subscribe(&key, move |m: Result<Delivery<SimWorld>, _>| {
                if let Ok(delivery) = m {
                    to.lock().world = Some(delivery.message);
                }
            })?,
        );
        let to = self.clone();
        let key = wire.key(&Topic::ArmState(arm()));
        subscriptions.push(session.subscribe(
            &key,
            move |m: Result<Delivery<JointState>, _>| {
                if let Ok(delivery) = m {
                    to.lock().state = Some(delivery.message);
                }
            },
        )?);
        let to = self.clone();
        let key = wire.key(&Topic::EngineStatus(cell.engine.clone()));
        subscriptions.push(session.subscribe(
            &key,
            move |m: Result<Delivery<EngineStatus>, _>| {
                if let Ok(delivery) = m {
                    to.lock().engine_time = delivery.header.followed;
                }
            },
        )?);
        let to = self.clone();
        let key = wire.key(&Topic::EngineReasoning(cell.engine.clone()));
        subscriptions.push(
            session.subscribe(&key, move |m: Result<Delivery<Reasoning>, _>| {
                if let Ok(delivery) = m {
                    to.lock().reasoning = Some(delivery.message);
                }
            })?,
        );
        let to = self.clone();
        let key = wire.key(&Topic::EngineStatus(cell.engine.clone()));
        subscriptions.push(session.subscribe(
            &key,
            move |m: Result<Delivery<EngineStatus>, _>| {
                if let Ok(delivery) = m {
                    to.lock().service = delivery.message.service;
                }
            },
        )?);
        if frames {
            for (i, camera) in cell.cameras.iter().enumerate() {
                let to = self.clone();
                let key = wire.key(&Topic::CameraImage(camera.name.clone()));
                let take = move |m: Result<Delivery<CameraFrame>, _>| {
                    if let Ok(delivery) = m
                        && let Some(slot) = to.lock().frames.get_mut(i)
                    {
                        *slot = Some(delivery.message);
                    }
                };
                subscriptions.push(session.subscribe(&key, take)?);
            }
        }
        Ok(subscriptions)
    }

    /// Subscribes to the commands of the arm, and counts those of episodes.
    ///
    /// # Errors
    /// [`SessionError`] when the key cannot be subscribed.
    pub fn follow_applied(
        &self,
        session: &Session,
        wire: &WireCell,
        cell: &Cell,
    ) -> Result<Subscriber, SessionError> {
        let to = self.clone();
        let key = wire.key(&Topic::ArmApplied(cell.arm.clone()));
        session.subscribe(&key, move |m: Result<Delivery<AppliedBatch>, _>| {
            let Ok(delivery) = m else { return };
            let mut live = to.lock();
            if !live.commands.counted {
                return;
            }
            for applied in &delivery.message.applied {
                live.commands.count(applied);
            }
        })
    }

    /// Takes a mode report; a change into or out of a hold is news.
    fn mode(&self, report: ModeReport) {
        let before = self.lock().mode.as_ref().map(|m| m.mode);
        let text = match (before, report.mode) {
            (Some(old), new) if old == new => None,
            (_, ModeWord::Hold) => Some(format!("hold: {}", report.reason)),
            (Some(ModeWord::Hold), ModeWord::Policy) => {
                Some("resumed: fresh observation, new generation".to_owned())
            }
            _ => None,
        };
        self.lock().mode = Some(report);
        if let Some(text) = text {
            self.news(format!("{}{text}", self.called));
        }
    }
}

#[cfg(test)]
mod tests {
    use tactus_types::{ClampedBy, Command, Generation, JointVec, Setpoint, Time, Torque};

    use super::*;

    fn applied(source: Source, observed_at: Option<Time>) -> Applied {
        let q = JointVec::from_fn(1, |_| 0.0);
        let setpoint = Setpoint {
            source,
            q,
            dq: q,
            ddq: q,
            opening: 0.0,
            request_id: 0,
            action_index: 0,
            observed_at,
        };
        let command = Command {
            tick: 0,
            epoch: 0,
            q,
            dq: q,
            ddq: q,
            opening: 0.0,
            setpoint,
            clamped_by: ClampedBy::default(),
            clamped_rad: 0.0,
            generation: Generation::default(),
            torque: Torque::Keep,
        };
        let at = Time::from_nanos(90_000_000);
        Applied { command, at }
    }

    #[test]
    fn ages_are_of_what_the_policy_observed() {
        let mut commands = Commands::default();
        let at = Some(Time::from_nanos(10_000_000));
        for source in [Source::Policy, Source::Teleop, Source::Hold] {
            commands.count(&applied(source, at));
        }
        commands.count(&applied(Source::Policy, None));
        assert_eq!((commands.all, commands.held), (4, 1));
        assert_eq!(commands.ages.age_histogram.iter().sum::<u64>(), 1);
    }
}
