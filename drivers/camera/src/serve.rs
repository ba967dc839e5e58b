//! The process: each camera on a thread of its own, so that one that fails does not stop the others.
//!
//! What has to be changed by somebody (a format that the camera does not have, a missing permission) ends the process as
//! long as that camera has not delivered, and so does a panic; whatever else happens later is said, and tried again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tactus_drivers_api::CameraPort;
use tactus_drivers_api::wire::{
    CameraStatus, Cell, ClockedFrame, Delivery, Name, Nothing, Queryable, Responder, Session,
    SessionError, Topic,
};
use tactus_types::{CameraFrame, Clock, Encoding, Time};

use crate::CameraError;
use crate::develop::Develop;
use crate::source::{Open, Shot, Source, opener};
use crate::spec::CameraSpec;
use crate::watch::{Health, Seen, Verdict};

/// How often a thread that waits looks whether it should stop.
const LOOK: Duration = Duration::from_millis(50);
/// How often a camera says how it is.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long threads that are busy connecting are waited for when the process ends.
const END_WITHIN: Duration = Duration::from_millis(1500);
/// Steps that wait for their turn.
const STEPS: usize = 8;

/// A camera and how its source is opened.
pub struct Served {
    /// What the cell says of it.
    pub spec: CameraSpec,
    /// Opens its source, again after it was lost.
    pub open: Open,
}

impl Served {
    /// The camera of `spec`.
    pub fn new(spec: CameraSpec, clock: Arc<dyn Clock>) -> Self {
        Self {
            open: opener(spec.clone(), clock),
            spec,
        }
    }
}

/// Why cameras are not served, or not any longer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The network cannot be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A thread cannot be started.
    #[error("camera `{camera}`: cannot start its thread: {reason}")]
    Thread {
        /// The camera.
        camera: Name,
        /// What the system said.
        reason: std::io::Error,
    },
    /// Its thread panicked: a defect of ours, and the process is to be started again.
    #[error("camera `{camera}`: its thread panicked")]
    Panicked {
        /// The camera.
        camera: Name,
    },
    /// A camera cannot be served as the cell asks.
    #[error("camera `{camera}`: {reason}")]
    Camera {
        /// The camera.
        camera: Name,
        /// Why.
        reason: CameraError,
    },
}

/// Serves `cameras` until `stop` is set, or every one of them has played its last image.
///
/// # Errors
/// [`RunError`] when the network fails, a camera cannot work as the cell asks, or a thread panics; `stop` is then set.
pub fn run_cameras(
    cameras: Vec<Served>,
    cell: &Cell,
    session: &Session,
    clock: &Arc<dyn Clock>,
    stop: &Arc<AtomicBool>,
) -> Result<(), RunError> {
    let (ended, ends) = sync_channel(cameras.len().max(1));
    let mut left = 0;
    for Served { spec, open } in cameras {
        let name = spec.name.clone();
        let camera = name.clone();
        let mut runner = Runner::new(spec, open, cell, session, clock.clone(), stop.clone())?;
        let ended = ended.clone();
        std::thread::Builder::new()
            .name(format!("camera-{name}"))
            .spawn(move || {
                let end = catch_unwind(AssertUnwindSafe(move || runner.run()));
                let end = end.unwrap_or(Err(RunError::Panicked { camera }));
                ended.send(end).unwrap_or(());
            })
            .map_err(|reason| RunError::Thread {
                camera: name,
                reason,
            })?;
        left += 1;
    }
    drop(ended);
    let mut until: Option<Instant> = None;
    let mut result = Ok(());
    // Not joined: opening a stream may keep a thread for seconds, and the process is to end.
    while left > 0 && until.is_none_or(|until| Instant::now() < until) {
        match ends.recv_timeout(LOOK) {
            Ok(end) => {
                left -= 1;
                if let Err(e) = end {
                    stop.store(true, Ordering::Relaxed);
                    result = result.and(Err(e));
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if until.is_none() && stop.load(Ordering::Relaxed) {
            until = Some(Instant::now() + END_WITHIN);
        }
    }
    result
}

/// One camera.
struct Runner {
    spec: CameraSpec,
    open: Open,
    port: CameraPort,
    clock: Arc<dyn Clock>,
    stop: Arc<AtomicBool>,
    health: Health,
    steps: Option<(Receiver<Responder<CameraStatus>>, Queryable)>,
    published: u64,
    reported_at: Option<Time>,
    is_frozen: bool,
}

/// Why a source is served no longer.
enum End {
    Stopped,
    /// The camera is to be opened again, if it was not wrong from the start.
    Failed(CameraError),
    /// The network is gone.
    Network(SessionError),
}

impl From<CameraError> for End {
    fn from(e: CameraError) -> Self {
        Self::Failed(e)
    }
}

impl From<SessionError> for End {
    fn from(e: SessionError) -> Self {
        Self::Network(e)
    }
}

impl Runner {
    fn new(
        spec: CameraSpec,
        open: Open,
        cell: &Cell,
        session: &Session,
        clock: Arc<dyn Clock>,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, RunError> {
        let period = Duration::try_from_secs_f64(1.0 / spec.rate_hz).unwrap_or(Duration::MAX);
        Ok(Self {
            port: CameraPort::open(session, cell, &spec.name, spec.info())?,
            steps: match spec.stepped() {
                true => Some(steps(cell, session, &spec.name)?),
                false => None,
            },
            health: Health::new(period, spec.silence(), spec.frozen_after, spec.live()),
            spec,
            open,
            clock,
            stop,
            published: 0,
            reported_at: None,
            is_frozen: false,
        })
    }

    fn run(&mut self) -> Result<(), RunError> {
        let camera = self.spec.name.clone();
        let wrong = |reason| RunError::Camera {
            camera: camera.clone(),
            reason,
        };
        let develop = Develop::new(&self.spec);
        while !self.stop.load(Ordering::Relaxed) {
            self.report()?;
            let wait = self.health.wait(self.clock.now());
            if !wait.is_zero() {
                std::thread::sleep(wait.min(LOOK));
                continue;
            }
            let end = match (self.open)() {
                Ok(source) => self.serve(source, &develop),
                Err(e) => Err(End::Failed(e)),
            };
            let reason = match end {
                Ok(()) | Err(End::Stopped) => return Ok(()),
                Err(End::Network(e)) => return Err(e.into()),
                Err(End::Failed(e)) => e,
            };
            if reason.is_wrong() && self.published == 0 {
                return Err(wrong(reason));
            }
            let ended = matches!(reason, CameraError::Ended { .. });
            match (ended, self.health.is_up()) {
                (true, _) => tracing::info!(%camera, "{reason}"),
                (false, true) => tracing::warn!(%camera, "lost: {reason}"),
                (false, false) => tracing::warn!(%camera, "{reason}"),
            }
            self.health.failed(reason.to_string(), self.clock.now());
            if ended {
                self.port.report(self.health.status(self.clock.now()))?;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Serves what `source` delivers for as long as it does.
    fn serve(&mut self, mut source: Box<dyn Source>, develop: &Develop) -> Result<(), End> {
        self.health.opened(self.clock.now());
        while !self.stop.load(Ordering::Relaxed) {
            self.report()?;
            let step = match &self.steps {
                None => None,
                Some((steps, _)) => match steps.recv_timeout(LOOK) {
                    Ok(step) => Some(step),
                    Err(_) => continue,
                },
            };
            match source.next(LOOK) {
                Ok(Some(shot)) => self.take(shot, develop)?,
                Ok(None) if self.health.is_silent(self.clock.now()) => {
                    let silent = self.spec.silence().as_secs_f64();
                    return Err(End::Failed(CameraError::Lost {
                        what: "its source".into(),
                        reason: format!("no frame for {silent:.1} s"),
                    }));
                }
                Ok(None) => {}
                Err(e) => {
                    if let Some(step) = step {
                        step.refuse(&e.to_string());
                    }
                    return Err(e.into());
                }
            }
            if let Some(step) = step {
                step.answer(self.health.status(self.clock.now()));
            }
        }
        Err(End::Stopped)
    }

    /// Publishes `shot` if it is worth it.
    fn take(&mut self, mut shot: Shot, develop: &Develop) -> Result<(), End> {
        let camera = &self.spec.name;
        let now = self.clock.now();
        let seen = Seen {
            number: shot.number,
            passed_over: shot.passed_over,
            captured_at: shot.captured_at,
            clock: shot.clock,
            image: develop.check(&mut shot)?,
        };
        let was_up = self.health.is_up();
        let verdict = self.health.judge(&seen, now);
        let was_frozen = std::mem::replace(
            &mut self.is_frozen,
            matches!(verdict, Verdict::Frozen | Verdict::Reopen),
        );
        let data = match (verdict, &seen.image) {
            (Verdict::Publish, Ok(data)) => data,
            (_, Err(reason)) => {
                tracing::debug!(%camera, "frame left out: {reason}");
                return Ok(());
            }
            (Verdict::Reopen, _) => {
                return Err(End::Failed(CameraError::Lost {
                    what: "its source".into(),
                    reason: "the picture stands still".into(),
                }));
            }
            (Verdict::Frozen | Verdict::Corrupt, Ok(_)) => {
                if !was_frozen {
                    tracing::warn!(%camera, "the picture stands still: frames are left out");
                }
                return Ok(());
            }
        };
        if !was_up {
            tracing::info!(%camera, clock = shot.clock.word(), "frames come in");
        }
        let file = match develop.finish(&shot, data) {
            Ok(file) => file,
            Err(e) => {
                tracing::debug!(%camera, "frame left out: {e}");
                self.health.spoilt();
                return Ok(());
            }
        };
        let (width, height) = self.spec.published_size();
        self.port.publish_clocked(&ClockedFrame {
            frame: CameraFrame {
                camera: camera.shared(),
                captured_at: shot.captured_at.before(self.spec.latency),
                received_at: now,
                seq: self.published,
                width,
                height,
                encoding: Encoding::Jpeg,
                data: file,
            },
            clock: shot.clock,
        })?;
        self.published += 1;
        self.health.published();
        Ok(())
    }

    fn report(&mut self) -> Result<(), SessionError> {
        let now = self.clock.now();
        if self
            .reported_at
            .is_some_and(|at| now.since(at) < REPORT_EVERY)
        {
            return Ok(());
        }
        self.reported_at = Some(now);
        self.port.report(self.health.status(now))
    }
}

type Steps = (Receiver<Responder<CameraStatus>>, Queryable);

/// Steps that others ask for.
fn steps(cell: &Cell, session: &Session, name: &Name) -> Result<Steps, SessionError> {
    let (asked, steps) = sync_channel::<Responder<CameraStatus>>(STEPS);
    let key = cell.key(&Topic::CameraStep(name.clone()));
    let queryable = session.queryable(&key, move |_: Delivery<Nothing>, responder| match asked
        .try_send(responder)
    {
        Ok(()) => {}
        Err(TrySendError::Full(responder) | TrySendError::Disconnected(responder)) => {
            responder.refuse("too many steps wait already");
        }
    })?;
    Ok((steps, queryable))
}

/// A picture of a camera: as it was taken, and as it is published.
#[derive(Debug, Clone)]
pub struct Snap {
    /// JPEG file as the camera took it.
    pub taken: Arc<[u8]>,
    /// JPEG file as a policy gets it.
    pub published: Arc<[u8]>,
    /// The last shot, without its bytes: when, by which clock.
    pub shot: Shot,
}

/// Opens a camera, lets it settle for `settle`, and takes a picture within `within` of that.
///
/// # Errors
/// [`CameraError`].
pub fn snap(
    camera: &mut Served,
    clock: &dyn Clock,
    settle: Duration,
    within: Duration,
) -> Result<Snap, CameraError> {
    let develop = Develop::new(&camera.spec);
    let mut source = (camera.open)()?;
    let begun = clock.now();
    let mut what = String::from("no frame came");
    loop {
        let since = clock.now().since(begun);
        if since > settle + within {
            return Err(CameraError::Lost {
                what: "its source".into(),
                reason: what,
            });
        }
        let Some(mut shot) = source.next(LOOK)? else {
            continue;
        };
        match develop.check(&mut shot)? {
            Ok(data) if since >= settle => {
                return Ok(Snap {
                    taken: develop.as_taken(&shot, &data)?,
                    published: develop.finish(&shot, &data)?,
                    shot,
                });
            }
            Ok(_) => {}
            Err(reason) => what = reason,
        }
    }
}
