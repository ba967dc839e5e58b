//! A node's keys on Zenoh: the lease's token, targets out, states in, questions. Decides nothing.

use std::time::{Duration, Instant};

use tactus_drivers_api::wire::{AliveToken, Guest, RawPublisher, SessionError, Subscriber};

use super::NodeSpec;
use super::inbox::Inbox;
use super::link::Wire;
use super::wire::Verb;
use crate::error::FrankaError;

/// Reaching the endpoint takes no longer ..
const WITHIN: Duration = Duration::from_secs(3);
/// .. and the first state of the arm comes within this.
pub const FIRST_STATE: Duration = Duration::from_secs(3);
/// Without a sign of life for so long the node frees the arm, and this side knows that the link is gone. The node's own default.
const LEASE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// A node's arm on the network.
pub struct Network {
    guest: Guest,
    arm: String,
    targets: RawPublisher,
    _token: Option<AliveToken>,
    _states: Subscriber,
}

impl Network {
    /// Connects to the node of `spec` and listens to its arm's states, for `inbox`; where it is to be led, with the token of
    /// the inbox's client.
    ///
    /// # Errors
    /// [`FrankaError::NodeUnreachable`]; [`FrankaError::NodeSilent`] where no state comes.
    pub fn open(spec: &NodeSpec, inbox: &Inbox, lead: bool) -> Result<Self, FrankaError> {
        let unreachable = |e: SessionError| FrankaError::NodeUnreachable {
            endpoint: spec.endpoint.clone(),
            reason: e.to_string(),
        };
        let guest = Guest::open(&spec.endpoint, WITHIN, LEASE).map_err(unreachable)?;
        let arm = &spec.arm;
        let key = |suffix: &str| format!("franka/{arm}/{suffix}");
        let token = match lead {
            true => Some(
                guest
                    .token(&key(&format!("lease/{}", inbox.client())))
                    .map_err(unreachable)?,
            ),
            false => None,
        };
        let heard = inbox.clone();
        let states = guest.subscribe(&key("state"), move |bytes| heard.hear(bytes));
        let network = Self {
            targets: guest.publisher(&key("target")).map_err(unreachable)?,
            arm: arm.clone(),
            _token: token,
            _states: states.map_err(unreachable)?,
            guest,
        };
        let until = Instant::now() + FIRST_STATE;
        while inbox.newest().is_none() {
            if Instant::now() > until {
                return Err(FrankaError::NodeSilent {
                    endpoint: spec.endpoint.clone(),
                    arm: spec.arm.clone(),
                    secs: FIRST_STATE.as_secs(),
                    heard: inbox.complaint(),
                });
            }
            std::thread::sleep(LOOK);
        }
        Ok(network)
    }
}

impl Wire for Network {
    fn put(&self, target: &[u8]) -> Result<(), String> {
        self.targets.put(None, target).map_err(|e| e.to_string())
    }

    fn ask(&self, verb: Verb, request: &str, within: Duration) -> Result<Vec<u8>, String> {
        let key = format!("franka/{}/cmd/{}", self.arm, verb.word());
        let answer = self.guest.ask(&key, request.as_bytes(), within);
        answer.map_err(|e| e.to_string())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.guest.close();
    }
}
