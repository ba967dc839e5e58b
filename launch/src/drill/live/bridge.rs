//! A bridge between the two ends of a link: each end is on keys of its own, and what passes is delayed, lost, doubled,
//! reordered or spoilt on the way.
//!
//! ```text
//!   cell X (arm host, cameras) <--> X-far (engine)         requests, joint states, frames, chunks, signs of life
//!   X (arm host)               <--> X-device (simulator)   joint states, commands, the simulated world
//! ```
//! The processes run the code that they always run; only the name of their cell differs. Passes on encoded bytes with
//! their headers as they are; decides what becomes of each by the faults in force, the seed and the message.

use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tactus_host::Random;
use tactus_types::{ArmInfo, Clock, Time};
use tactus_wire::{
    AliveToken, AliveWatch, Cell as WireCell, Delivery, Name, Nothing, Qos, Queryable,
    RawPublisher, Responder, Role, Session, SessionError, Subscriber, Topic,
};

use super::faults::{How, Link, Traffic};
use crate::cell::Cell;

/// Most messages that wait: more are lost, as on any link.
const MOST_WAITING: usize = 20_000;

/// Which ends are on keys of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sides {
    /// The arm host's, and the cameras'.
    pub near: WireCell,
    /// The engine's, where that is another.
    pub engine: Option<WireCell>,
    /// The device's, where that is another.
    pub device: Option<WireCell>,
}

/// A message on its way.
struct Parcel {
    due: Instant,
    order: u64,
    lane: usize,
    attachment: Option<Vec<u8>>,
    payload: Vec<u8>,
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.order) == (other.due, other.order)
    }
}

impl Eq for Parcel {}

impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parcel {
    /// The next one that is due is the greatest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (other.due, other.order).cmp(&(self.due, self.order))
    }
}

/// A token that came or went on the other side.
type Token = (Role, Name, bool);

#[derive(Default)]
struct State {
    faults: Vec<Link>,
    waiting: BinaryHeap<Parcel>,
    tokens: Vec<Token>,
    order: u64,
    random: Random,
    /// When the first message was touched since the faults changed.
    touched: Option<Time>,
    passed: u64,
    done: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

impl Shared {
    /// A thread that panicked while it held the lock left at worst a message out.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a message that arrived at `now`, and what becomes of it.
    fn take(&mut self, lane: usize, traffic: Traffic, came: Came, now: Instant) {
        self.passed += 1;
        let mut copies = vec![Duration::ZERO];
        let mut payload = came.payload;
        let faults = self.faults.clone();
        for Link { how, .. } in faults.iter().filter(|f| f.traffic.covers(traffic)) {
            let touched = match *how {
                How::Cut => {
                    copies.clear();
                    true
                }
                How::Delay(mean, spread) => {
                    let by =
                        (mean + spread.mul_f64(2.0 * self.random.share())).saturating_sub(spread);
                    copies.iter_mut().for_each(|delay| *delay += by);
                    true
                }
                How::Drop(share) => {
                    let lost = self.random.share() < share;
                    if lost {
                        copies.clear();
                    }
                    lost
                }
                How::Duplicate => {
                    copies.extend(copies.clone());
                    true
                }
                How::Reorder(by) => {
                    let late = self.passed.is_multiple_of(2);
                    if late {
                        copies.iter_mut().for_each(|delay| *delay += by);
                    }
                    late
                }
                How::Corrupt => {
                    self.spoil(&mut payload);
                    true
                }
            };
            if touched {
                self.touched.get_or_insert(came.at);
            }
        }
        for delay in copies {
            if self.waiting.len() >= MOST_WAITING {
                break;
            }
            self.order += 1;
            self.waiting.push(Parcel {
                due: now + delay,
                order: self.order,
                lane,
                attachment: came.attachment.clone(),
                payload: payload.clone(),
            });
        }
    }

    /// Random bytes, as many as there were or fewer. They begin with a protobuf tag of a wire type that does not exist:
    /// a few random bytes alone may by chance be a message.
    fn spoil(&mut self, payload: &mut Vec<u8>) {
        let length = payload.len().max(2);
        let kept = match self.random.share() {
            c if c < 0.5 => length,
            c => ((c - 0.5) * 2.0 * length as f64) as usize + 1,
        };
        payload.resize(kept, 0);
        for byte in payload.iter_mut() {
            *byte = self.random.bits() as u8;
        }
        if let Some(first) = payload.first_mut() {
            *first = 0x07;
        }
    }
}

/// A message as it came.
struct Came {
    attachment: Option<Vec<u8>>,
    payload: Vec<u8>,
    at: Time,
}

/// The bridge; dropping it parts the ends.
pub struct Bridge {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
    _subscribers: Vec<Subscriber>,
    _watches: Vec<AliveWatch>,
    _infos: Vec<Queryable>,
}

/// A lane: from, to, what passes on it, and how it travels.
type Lane = (WireCell, WireCell, Topic, Traffic, Qos);

fn lanes(cell: &Cell, sides: &Sides) -> Vec<Lane> {
    let mut lanes = Vec::new();
    let near = &sides.near;
    let arm = || cell.arm.clone();
    if let Some(far) = &sides.engine {
        let mut out =
            |topic, traffic, qos| lanes.push((near.clone(), far.clone(), topic, traffic, qos));
        for camera in &cell.cameras {
            let topic = Topic::CameraImage(camera.name.clone());
            out(topic, Traffic::Frames, Qos::Data);
        }
        out(Topic::ArmState(arm()), Traffic::ArmStates, Qos::RealTime);
        out(Topic::ArmRequest(arm()), Traffic::Requests, Qos::RealTime);
        let mut back =
            |topic, traffic, qos| lanes.push((far.clone(), near.clone(), topic, traffic, qos));
        back(Topic::ArmChunk(arm()), Traffic::Chunks, Qos::RealTime);
        let status = Topic::EngineStatus(cell.engine.clone());
        back(status, Traffic::Status, Qos::Data);
    }
    if let Some(far) = &sides.device {
        let device = || cell.device.clone();
        let mut back =
            |topic, traffic| lanes.push((far.clone(), near.clone(), topic, traffic, Qos::RealTime));
        back(Topic::DeviceState(device()), Traffic::States);
        back(Topic::SimWorld, Traffic::Spared);
        lanes.push((
            near.clone(),
            far.clone(),
            Topic::DeviceCommand(device()),
            Traffic::Commands,
            Qos::RealTime,
        ));
    }
    lanes
}

impl Bridge {
    /// Joins the ends of `sides`; `info` is what the device says of itself.
    ///
    /// # Errors
    /// [`SessionError`] when a key cannot be declared; an I/O error when the thread cannot be started.
    pub fn new(
        session: &Session,
        cell: &Cell,
        sides: &Sides,
        info: &ArmInfo,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.lock().random = Random(seed);
        let mut subscribers = Vec::new();
        let mut publishers = Vec::new();
        for (lane, (from, to, topic, traffic, qos)) in lanes(cell, sides).into_iter().enumerate() {
            publishers.push(session.publisher_raw(&to.key(&topic), qos)?);
            let to = shared.clone();
            subscribers.push(session.subscribe_raw(&from.key(&topic), move |raw| {
                let came = Came {
                    attachment: raw.attachment.map(|a| a.into_owned()),
                    payload: raw.payload.into_owned(),
                    at: raw.received_at,
                };
                to.lock().take(lane, traffic, came, Instant::now());
                to.news.notify_one();
            })?);
        }
        let mut watches = Vec::new();
        let mut infos = Vec::new();
        for (far, role) in [(&sides.engine, Role::Engine), (&sides.device, Role::Device)] {
            let Some(far) = far else { continue };
            let to = shared.clone();
            watches.push(session.watch_alive(far, move |whose, name, alive| {
                if whose == role {
                    to.lock().tokens.push((whose, name.clone(), alive));
                    to.news.notify_one();
                }
            })?);
        }
        // Whoever asks what the device is finds it on another side.
        let asking = match &sides.device {
            Some(_) => vec![Some(&sides.near), sides.engine.as_ref()],
            None => vec![sides.engine.as_ref()],
        };
        for side in asking.into_iter().flatten() {
            let key = side.key(&Topic::DeviceInfo(cell.device.clone()));
            let info = info.clone();
            infos.push(session.queryable(
                &key,
                move |_: Delivery<Nothing>, answer: Responder<ArmInfo>| answer.answer(&info),
            )?);
        }
        let (session, near, to) = (session.clone(), sides.near.clone(), shared.clone());
        let thread = std::thread::Builder::new()
            .name("bridge".into())
            .spawn(move || pass_on(&session, &near, &to, &publishers))?;
        Ok(Self {
            shared,
            thread: Some(thread),
            _subscribers: subscribers,
            _watches: watches,
            _infos: infos,
        })
    }

    /// From now on these faults are in force. What is on its way arrives.
    pub fn set(&self, faults: Vec<Link>) {
        let mut state = self.shared.lock();
        state.faults = faults;
        state.touched = None;
    }

    /// When the first message was touched since the last change.
    pub fn touched(&self) -> Option<Time> {
        self.shared.lock().touched
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shared.lock().done = true;
        self.shared.news.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the bridge panicked");
        }
    }
}

/// Passes on what is due, until the bridge is gone.
fn pass_on(session: &Session, near: &WireCell, shared: &Shared, publishers: &[RawPublisher]) {
    let mut tokens: Vec<(Role, Name, AliveToken)> = Vec::new();
    let mut state = shared.lock();
    while !state.done {
        let now = Instant::now();
        if let Some((role, name, alive)) = state.tokens.pop() {
            let (mut changes, newest) = (std::mem::take(&mut state.tokens), (role, name, alive));
            drop(state);
            changes.push(newest);
            for change in changes {
                follow(session, near, change, &mut tokens);
            }
            state = shared.lock();
            continue;
        }
        let due = state.waiting.peek().map(|parcel| parcel.due);
        if due.is_some_and(|due| due <= now) {
            let parcel = state.waiting.pop();
            drop(state);
            if let Some(parcel) = parcel
                && let Some(publisher) = publishers.get(parcel.lane)
                && let Err(e) = publisher.put(parcel.attachment.as_deref(), &parcel.payload)
            {
                tracing::debug!("not passed on: {e}");
            }
            state = shared.lock();
            continue;
        }
        state = match due {
            Some(due) => {
                let waited = shared.news.wait_timeout(state, due - now);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = shared.news.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
    }
}

/// Holds the same tokens on the near side as there are on the other.
fn follow(
    session: &Session,
    near: &WireCell,
    (role, name, alive): Token,
    tokens: &mut Vec<(Role, Name, AliveToken)>,
) {
    tokens.retain(|(r, n, _)| (*r, n) != (role, &name));
    if !alive {
        return;
    }
    let declared: Result<AliveToken, SessionError> = session.alive(near, role, &name);
    match declared {
        Ok(token) => tokens.push((role, name, token)),
        Err(e) => tracing::warn!("token not passed on: {e}"),
    }
}

/// The clock of a session, read now.
pub fn now(session: &Session) -> Time {
    let clock: &dyn Clock = session.clock().as_ref();
    clock.now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(n: u8) -> Came {
        Came {
            attachment: None,
            payload: vec![n; 8],
            at: Time::from_millis(u64::from(n)),
        }
    }

    /// What arrives of ten messages, in order, a millisecond apart.
    fn passes(how: How) -> (Vec<Vec<u8>>, Option<Time>) {
        let mut state = State {
            faults: vec![Link {
                traffic: Traffic::Net,
                how,
            }],
            ..State::default()
        };
        let start = Instant::now();
        for n in 0..10 {
            let now = start + Duration::from_millis(n.into());
            state.take(0, Traffic::Chunks, came(n), now);
        }
        let touched = state.touched;
        state.take(1, Traffic::States, came(99), start);
        let out: Vec<_> = std::iter::from_fn(|| state.waiting.pop())
            .filter(|parcel| parcel.lane == 0)
            .map(|parcel| parcel.payload)
            .collect();
        (out, touched)
    }

    fn firsts(out: &[Vec<u8>]) -> Vec<u8> {
        out.iter().map(|payload| payload[0]).collect()
    }

    #[test]
    fn a_link_does_what_it_is_told_to_what_it_is_about() {
        assert!(passes(How::Cut).0.is_empty());
        assert_eq!(passes(How::Duplicate).0.len(), 20);
        let lost = passes(How::Drop(0.5)).0.len();
        assert!((1..10).contains(&lost), "{lost}");
        let (out, touched) = passes(How::Reorder(Duration::from_micros(1500)));
        assert_eq!(firsts(&out), [0, 2, 1, 4, 3, 6, 5, 8, 7, 9]);
        assert_eq!(touched, Some(Time::from_millis(1)), "the first is in time");
        let (out, _) = passes(How::Delay(Duration::from_millis(3), Duration::ZERO));
        assert_eq!(firsts(&out), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn spoilt_bytes_are_no_message() {
        let (out, touched) = passes(How::Corrupt);
        assert_eq!((out.len(), touched), (10, Some(Time::ZERO)));
        assert!(out.iter().all(|payload| payload[0] & 7 == 7));
        assert!(
            out.iter().any(|payload| payload.len() < 8),
            "some are cut off"
        );
        assert_ne!(out[0], out[1]);
    }
}
