//! The Franka Hand as a [`Gripper`]: the gripper beside the arm, with a server of its own in the same controller.
//!
//! Decides which command an opening is. The Hand's commands block until its fingers rest and are not replaced by the next
//! one, so they have a thread of their own ([`Hand::exchange`] never waits for fingers), which takes the newest goal when the
//! last command is done. An opening below [`SHUT`] is a grasp, with force and without an opinion on how wide an object is; a
//! wider one is a move. Activation is homing: the Hand knows its width only afterwards. `stop` is not used.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tactus_drivers_api::lock::{self, OwnedName};
use tactus_drivers_api::{DeviceError, Gripper, GripperState};

use crate::error::FrankaError;
use crate::modes::sentence;
use crate::session::{Host, WITHIN};

/// The Hand's port.
pub const PORT: u16 = 1338;
/// Its fingers' speed at a share of 1, m/s each.
const SPEED: f64 = 0.1;
/// Its force at a share of 1, N: what it may hold for ever.
const FORCE: f64 = 70.0;
/// Slower than this nothing arrives, m/s.
const SLOWEST: f64 = 0.01;
/// A Hand that says less of its largest width was not homed, m.
const HOMED: f64 = 0.01;
/// Goals that differ by less are the same, m.
const STEP: f64 = 1e-3;
/// A goal below this share of the opening is a grip.
pub const SHUT: f64 = 0.2;

/// How its fingers move.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HandSettings {
    /// Share of its speed, 0 to 1.
    pub speed: f64,
    /// Share of its force, 0 to 1.
    pub force: f64,
}

impl Default for HandSettings {
    fn default() -> Self {
        Self {
            speed: 0.5,
            force: 0.3,
        }
    }
}

/// What its fingers are told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Home,
    Grasp,
    Move { width: f64 },
}

/// What the thread with the orders says.
#[derive(Debug, Default)]
struct Doing {
    busy: bool,
    /// Why the last order came to nothing.
    failed: Option<String>,
}

/// A Hand in service.
pub struct Hand {
    name: String,
    hand: Arc<franka::Gripper>,
    orders: SyncSender<Order>,
    doing: Arc<Mutex<Doing>>,
    /// What it was told last.
    told: Option<Order>,
    _own: OwnedName,
}

impl Hand {
    /// Connects to the Hand of the controller at `host`. Moves nothing.
    ///
    /// # Errors
    /// [`FrankaError`].
    pub fn open(host: &Host, settings: HandSettings) -> Result<Self, FrankaError> {
        let own = lock::own_name(&host.key()).map_err(|holder| FrankaError::Busy {
            host: host.name().to_owned(),
            holder,
        })?;
        let hand = Arc::new(connect(host)?);
        let doing = Arc::<Mutex<Doing>>::default();
        let (orders, ordered) = sync_channel::<Order>(1);
        let (worked, does) = (hand.clone(), doing.clone());
        // It ends when nobody orders any more, after the last order.
        let work = move || {
            while let Ok(order) = ordered.recv() {
                let done = carry_out(&worked, order, settings);
                let mut doing = does.lock().unwrap_or_else(PoisonError::into_inner);
                doing.busy = false;
                doing.failed = done.err().map(|e| sentence(&e.to_string()));
            }
        };
        std::thread::Builder::new()
            .name("franka-hand".into())
            .spawn(work)
            .map_err(|reason| FrankaError::Thread {
                thread: "franka-hand",
                reason,
            })?;
        Ok(Self {
            name: format!("Franka Hand at {}", host.name()),
            hand,
            orders,
            doing,
            told: None,
            _own: own,
        })
    }

    fn error(&self, reason: impl Into<String>) -> DeviceError {
        DeviceError {
            device: self.name.clone(),
            reason: reason.into(),
        }
    }

    fn doing(&self) -> std::sync::MutexGuard<'_, Doing> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False while the last order is under way.
    fn order(&mut self, order: Order) -> Result<bool, DeviceError> {
        let mut doing = self.doing();
        if doing.busy {
            return Ok(false);
        }
        match self.orders.try_send(order) {
            Ok(()) => {
                (doing.busy, doing.failed) = (true, None);
                Ok(true)
            }
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => {
                drop(doing);
                Err(self.error("the thread `franka-hand` ended"))
            }
        }
    }
}

/// A Hand that accepts and says nothing is waited for no longer than an arm that does.
fn connect(host: &Host) -> Result<franka::Gripper, FrankaError> {
    let (done, result) = sync_channel(1);
    let address = host.address();
    let connect = move || {
        let _ = done.send(franka::Gripper::new(&address));
    };
    std::thread::Builder::new()
        .name("franka-connect".into())
        .spawn(connect)
        .map_err(|reason| FrankaError::Thread {
            thread: "franka-connect",
            reason,
        })?;
    match result.recv_timeout(WITHIN) {
        Ok(Ok(hand)) => Ok(hand),
        Ok(Err(e)) => Err(FrankaError::Hand {
            host: host.name().to_owned(),
            reason: sentence(&e.to_string()),
        }),
        Err(_) => Err(FrankaError::Occupied {
            host: host.name().to_owned(),
            secs: WITHIN.as_secs(),
        }),
    }
}

/// Blocks until the fingers rest. A grasp that meets nothing, and a move that meets something, did what they could.
fn carry_out(
    hand: &franka::Gripper,
    order: Order,
    settings: HandSettings,
) -> franka::FrankaResult<bool> {
    let speed = (SPEED * settings.speed.clamp(0.0, 1.0)).max(SLOWEST);
    match order {
        Order::Home => hand.homing(),
        // Any width is an object's.
        Order::Grasp => {
            let force = FORCE * settings.force.clamp(0.0, 1.0);
            hand.grasp(0.0, speed, force, 1.0, 1.0)
        }
        Order::Move { width } => hand.move_gripper(width, speed),
    }
}

/// What an opening of 0 to 1 is for a Hand that opens to `widest`, m.
fn order_for(opening: f64, widest: f64) -> Order {
    match opening < SHUT {
        true => Order::Grasp,
        false => Order::Move {
            width: opening.min(1.0) * widest,
        },
    }
}

/// Whether it need not be told again.
fn same(a: Order, b: Order) -> bool {
    match (a, b) {
        (Order::Move { width: a }, Order::Move { width: b }) => (a - b).abs() < STEP,
        (a, b) => a == b,
    }
}

impl Gripper for Hand {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn exchange(&mut self, opening: Option<f64>) -> Result<GripperState, DeviceError> {
        let state = self
            .hand
            .read_once()
            .map_err(|e| self.error(sentence(&e.to_string())))?;
        if !(state.width.is_finite() && state.max_width.is_finite()) {
            return Err(self.error("widths that are no numbers"));
        }
        let active = state.max_width > HOMED;
        let (busy, failed) = {
            let doing = self.doing();
            (doing.busy, doing.failed.clone())
        };
        if let Some(opening) = opening.filter(|x| x.is_finite() && active && !busy) {
            let order = order_for(opening, state.max_width);
            if !self.told.is_some_and(|told| same(told, order)) && self.order(order)? {
                self.told = Some(order);
            }
        }
        Ok(GripperState {
            opening: match active {
                true => (state.width / state.max_width).clamp(0.0, 1.0),
                false => 0.0,
            },
            active: active && !(busy && self.told == Some(Order::Home)),
            object: state.is_grasped,
            fault: failed,
        })
    }

    fn activate(&mut self) -> Result<(), DeviceError> {
        match self.order(Order::Home)? {
            true => {
                self.told = Some(Order::Home);
                Ok(())
            }
            false => Err(self.error("it is busy")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_are_moves_and_what_is_nearly_shut_is_a_grip() {
        let order = |opening| order_for(opening, 0.08);
        assert_eq!(order(0.5), Order::Move { width: 0.04 });
        assert_eq!(order(1.2), Order::Move { width: 0.08 });
        assert_eq!((order(0.1), order(-1.0)), (Order::Grasp, Order::Grasp));
        assert!(same(order(0.5), order(0.505)) && !same(order(0.5), order(0.52)));
        assert!(same(order(0.0), order(0.1)) && !same(order(0.1), order(0.3)));
    }
}
