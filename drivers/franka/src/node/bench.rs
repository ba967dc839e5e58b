//! A node's arm at rest: how it stands, and its recovery from a reflex. Takes no lease and sends no target.

use std::sync::Arc;
use std::time::Duration;

use tactus_drivers_api::lock;
use tactus_types::Clock;

use super::NodeSpec;
use super::inbox::Inbox;
use super::link::Wire;
use super::network::Network;
use super::watch::Sample;
use super::wire::{self, Verb};
use crate::error::FrankaError;

/// A recovery moves joints apart that press against each other.
const RECOVERED_WITHIN: Duration = Duration::from_secs(15);

/// A node that answered.
pub struct NodeBench {
    spec: NodeSpec,
    inbox: Inbox,
    network: Network,
}

impl NodeBench {
    /// Reaches the arm of `spec`, whoever leads it.
    ///
    /// # Errors
    /// [`FrankaError`].
    pub fn open(spec: &NodeSpec, clock: Arc<dyn Clock>) -> Result<Self, FrankaError> {
        let inbox = Inbox::new(clock);
        let network = Network::open(spec, &inbox, false)?;
        Ok(Self {
            spec: spec.clone(),
            inbox,
            network,
        })
    }

    /// A state.
    ///
    /// # Errors
    /// [`FrankaError::NodeSilent`].
    pub fn look(&self) -> Result<Sample, FrankaError> {
        let newest = self.inbox.newest();
        newest
            .map(|(sample, _)| sample)
            .ok_or_else(|| FrankaError::NodeSilent {
                endpoint: self.spec.endpoint.clone(),
                arm: self.spec.arm.clone(),
                secs: 0,
                heard: None,
            })
    }

    /// Recovers the arm from a reflex, also while a process serves it. Nothing moves, but for joints that press against
    /// something; what was enabled is not any more. Returns what it recovered from.
    ///
    /// # Errors
    /// [`FrankaError::NodeRefused`] with the node's words.
    pub fn recover(&self) -> Result<String, FrankaError> {
        let sample = self.look()?;
        if sample.unfit().is_none() {
            let reason = "the robot has no error: there is nothing to recover from";
            return Err(refused(&self.spec, Verb::Recover, reason.into()));
        }
        let request = Verb::Recover.request(sample.client);
        let answer = self.network.ask(Verb::Recover, &request, RECOVERED_WITHIN);
        let done = answer.and_then(|bytes| wire::reply(&bytes));
        done.map_err(|reason| refused(&self.spec, Verb::Recover, reason))?;
        Ok(format!(
            "recovered: franka-node was {}, the robot in mode {}",
            sample.state.phase,
            sample.word()
        ))
    }
}

/// Why the node did not do what it was asked.
pub(crate) fn refused(spec: &NodeSpec, verb: Verb, reason: String) -> FrankaError {
    FrankaError::NodeRefused {
        endpoint: spec.endpoint.clone(),
        arm: spec.arm.clone(),
        verb: verb.word(),
        reason,
    }
}

/// Takes the arm for this process, of those of this machine; the node's lease keeps out those of others.
///
/// # Errors
/// [`FrankaError::Busy`].
pub fn own(spec: &NodeSpec) -> Result<lock::OwnedName, FrankaError> {
    let name = format!("franka-node-{}-{}", spec.endpoint, spec.arm);
    lock::own_name(&name).map_err(|holder| FrankaError::Busy {
        host: format!("{} of franka-node at {}", spec.arm, spec.endpoint),
        holder,
    })
}
