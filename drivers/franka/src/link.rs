//! The thread that keeps a session: it reads every state, answers each with a position while the arm follows, and when the
//! connection breaks makes a new one, for as long as it takes.
//!
//! It has nothing but the millisecond: what it shares is copied under a lock that nobody holds for longer than that takes, and
//! what a state means is decided by whoever looks ([`crate::device`]). It begins a motion when it is told to follow a session
//! that it has not followed yet, and ends it at rest. It does not speak for a device that does not run any more: then it
//! brakes, and ends the motion after [`SILENT`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use franka::{JointPositions, MoveControllerMode, Robot, RobotState, motion_finished};
use tactus_types::Clock;

use crate::device::{Exchange, Kept};
use crate::error::FrankaError;
use crate::modes::{Ended, Sample, refusal, sentence};
use crate::operator::Recover;
use crate::session::{self, Attempt, Host};
use crate::stream::{Echo, Stream, Wanted};

/// Without a word from the device for this long its motion is ended.
pub const SILENT: Duration = Duration::from_millis(200);
/// Pause between two tries to connect, slept in small pieces.
const PAUSE: Duration = Duration::from_millis(500);
const PIECE: Duration = Duration::from_millis(10);

/// What went over the connection, and how punctually.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// States that came.
    pub states: u64,
    /// Of them, those that were answered.
    pub answered: u64,
    /// Positions that did not reach the controller in time.
    pub lost: u64,
    /// States that wanted the arm elsewhere than both sides had said.
    pub elsewhere: u64,
    /// Smallest share of 100 commands that reached the controller in time, by its own word; 1 where none was worse.
    pub worst_rate: f64,
    /// Connections after the first.
    pub reconnections: u64,
}

#[derive(Debug, Default)]
struct Shared {
    exchange: Exchange<Sample>,
    counts: Counts,
    /// Why the last session ended, where it was not told to.
    why: Option<Ended>,
    /// Which session is to be followed (0 for none), and its goal.
    session: u64,
    wanted: Option<Wanted>,
}

/// A session that is kept.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Keeps `robot`, and what `host` is reconnected as, answering `wishes` of operators.
    ///
    /// # Errors
    /// [`FrankaError::Thread`].
    pub fn start(
        host: Host,
        robot: Robot,
        wishes: Receiver<Recover>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, FrankaError> {
        let shared = Arc::new(Mutex::new(Shared {
            counts: Counts {
                worst_rate: 1.0,
                ..Counts::default()
            },
            ..Shared::default()
        }));
        let stop = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            host,
            shared: shared.clone(),
            stop: stop.clone(),
            clock,
            wishes,
            followed: 0,
        };
        let thread = std::thread::Builder::new()
            .name("franka-link".into())
            .spawn(move || keeper.keep(robot))
            .map_err(|reason| FrankaError::Thread {
                thread: "franka-link",
                reason,
            })?;
        Ok(Self {
            shared,
            stop,
            thread: Some(thread),
        })
    }

    /// What went over the connection so far.
    pub fn counts(&self) -> Counts {
        lock(&self.shared).counts
    }
}

impl Kept for Link {
    type Sample = Sample;

    fn look(&self) -> Exchange<Sample> {
        lock(&self.shared).exchange
    }

    fn why(&self) -> Option<Ended> {
        lock(&self.shared).why.take()
    }

    fn want(&self, session: u64, wanted: Wanted) {
        let mut shared = lock(&self.shared);
        shared.session = session;
        shared.wanted = Some(wanted);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread `franka-link` panicked");
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeper {
    host: Host,
    shared: Arc<Mutex<Shared>>,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    wishes: Receiver<Recover>,
    /// The last session that was begun.
    followed: u64,
}

impl Keeper {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn keep(mut self, first: Robot) {
        let mut robot = Some(first);
        let mut attempt = None;
        let mut said = String::new();
        while !self.stopped() {
            if let Some(kept) = robot.take() {
                let Err(ended) = self.serve(&kept) else {
                    return;
                };
                let mut shared = lock(&self.shared);
                shared.exchange.up = false;
                drop(shared);
                tracing::error!("{ended}; connecting again until it works");
            } else {
                match self.connect(&mut attempt) {
                    Ok(made) => {
                        let mut shared = lock(&self.shared);
                        // What was wanted before is void: nobody knows what happened in between.
                        (shared.session, shared.wanted) = (0, None);
                        let exchange = &mut shared.exchange;
                        (exchange.newest, exchange.up) = (None, true);
                        exchange.connection += 1;
                        shared.counts.reconnections += 1;
                        drop(shared);
                        tracing::info!(host = self.host.name(), "connected again");
                        robot = Some(made);
                        continue;
                    }
                    Err(e) => {
                        let text = e.to_string();
                        if text != said {
                            tracing::warn!("not connected yet: {text}");
                            said = text;
                        }
                    }
                }
            }
            self.answer_all(&Err("the connection to the controller is lost".into()));
            self.pause();
        }
    }

    fn pause(&self) {
        let mut slept = Duration::ZERO;
        while slept < PAUSE && !self.stopped() {
            std::thread::sleep(PIECE);
            slept += PIECE;
        }
    }

    /// A new connection, to an arm of the same kind. One attempt that somebody else's client keeps waiting is enough.
    fn connect(&self, attempt: &mut Option<Attempt>) -> Result<Robot, FrankaError> {
        let begun = match attempt.take() {
            Some(begun) => begun,
            None => Attempt::begin(&self.host)?,
        };
        let Some(robot) = begun.wait(PAUSE) else {
            *attempt = Some(begun);
            return Err(FrankaError::Occupied {
                host: self.host.name().to_owned(),
                secs: session::WITHIN.as_secs(),
            });
        };
        let robot = robot?;
        if let Err(e) = session::check(&self.host, &robot) {
            lock(&self.shared).exchange.other = true;
            return Err(e);
        }
        Ok(robot)
    }

    /// Reads states, and follows when it is told to, until this thread is to stop or the connection breaks.
    fn serve(&mut self, robot: &Robot) -> Result<(), Ended> {
        while !self.stopped() {
            let state = robot.read_once()?;
            let sample = Sample::from(&state);
            let session = self.share(&sample).0;
            if let Ok(wish) = self.wishes.try_recv() {
                let answer = recover(robot, &sample);
                // Whoever asked may have given up.
                let _ = wish.answer.send(answer);
            }
            if session != 0 && session != self.followed {
                self.followed = session;
                let result = match refusal(&sample) {
                    Some(reason) => Err(Ended::Refused(reason)),
                    None => self.follow(robot, session),
                };
                let lost = match &result {
                    Err(ended @ Ended::Lost(_)) => Err(ended.clone()),
                    _ => Ok(()),
                };
                let mut shared = lock(&self.shared);
                (shared.exchange.following, shared.exchange.ended) = (0, session);
                shared.why = result.err();
                drop(shared);
                lost?;
            }
        }
        Ok(())
    }

    /// Says that a state came; what is to be followed.
    fn share(&self, sample: &Sample) -> (u64, Option<Wanted>) {
        let now = self.clock.now();
        let mut shared = lock(&self.shared);
        if sample.is_finite() {
            shared.exchange.newest = Some((*sample, now));
        }
        shared.counts.states += 1;
        (shared.session, shared.wanted)
    }

    /// Follows `session` until it is over. It ends at rest, unless the controller ends it.
    fn follow(&self, robot: &Robot, session: u64) -> Result<(), Ended> {
        let mut control = robot.start_joint_position_control(MoveControllerMode::JointImpedance)?;
        let mut stream: Option<Stream> = None;
        let mut cycles_before = None;
        let mut silent = false;
        loop {
            let (state, _) = control.read_once()?;
            let sample = Sample::from(&state);
            let (wished, wanted) = self.share(&sample);
            let now = self.clock.now();
            let clock = state.time.as_millis();
            let cycles = cycles_before
                .replace(clock)
                .map(|before| clock.saturating_sub(before));
            let told = !self.stopped() && wished == session;
            // One that comes back is not taken up again in the middle of braking.
            silent |= wanted.is_none_or(|w| now.since(w.said) > SILENT);
            let goal = wanted.filter(|_| told && !silent).and_then(|w| w.at(now));
            let (stream, echo) = match &mut stream {
                // A motion begins where the controller wants the arm, at rest.
                None => (stream.insert(Stream::at(state.q_d)), Echo::Heard),
                Some(stream) => {
                    let echo = hear(stream, &state, cycles.unwrap_or(1));
                    stream.step(goal);
                    (stream, echo)
                }
            };
            let q = stream.position();
            self.count(session, &sample, echo);
            if let Ok(wish) = self.wishes.try_recv() {
                let _ = wish.answer.send(Err(
                    "the arm follows: there is nothing to recover from".into()
                ));
            }
            if (!told || silent) && stream.rests() {
                control.write_once(&motion_finished(JointPositions::new(q)), None)?;
                return match told {
                    true => Err(Ended::Silent),
                    false => Ok(()),
                };
            }
            control.write_once(&JointPositions::new(q), None)?;
        }
    }

    fn count(&self, session: u64, sample: &Sample, echo: Echo) {
        let mut shared = lock(&self.shared);
        shared.exchange.following = session;
        let counts = &mut shared.counts;
        counts.answered += 1;
        match echo {
            Echo::Heard => {}
            Echo::Lost(n) => counts.lost += u64::from(n),
            Echo::Elsewhere => counts.elsewhere += 1,
        }
        // It counts from the first answer on.
        if sample.success_rate > 0.0 {
            counts.worst_rate = counts.worst_rate.min(sample.success_rate);
        }
    }

    fn answer_all(&self, answer: &Result<String, String>) {
        loop {
            match self.wishes.try_recv() {
                Ok(wish) => drop(wish.answer.send(answer.clone())),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }
}

fn hear(stream: &mut Stream, state: &RobotState, cycles: u64) -> Echo {
    let cycles = u32::try_from(cycles).unwrap_or(u32::MAX);
    stream.echoed(&state.q_d, &state.dq_d, &state.ddq_d, cycles)
}

/// Automatic error recovery, where there is an error.
pub fn recover(robot: &Robot, sample: &Sample) -> Result<String, String> {
    if sample.mode == franka::RobotMode::Idle && !sample.errors.any() {
        return Err("the robot has no error: there is nothing to recover from".into());
    }
    match robot.automatic_error_recovery() {
        Ok(()) => Ok(format!("recovered from {}", sample.word())),
        Err(e) => Err(sentence(&e.to_string())),
    }
}
