//! Someone on the network who asks, orders and sends without end: what a panel that runs wild does to a cell.
//!
//! Everything that comes in is refused or answered by the arm host as it would be from anyone: orders without a lease, a
//! lease in the rank that is held already, setpoints and joint states that are random bytes, questions about the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tactus_host::Random;
use tactus_types::Rank;
use tactus_wire::{
    Cell as WireCell, EngineStatus, LeaseReply, LeaseRequest, ModeOrder, ModeOrderReply, Name,
    Nothing, Qos, Session, Topic,
};

/// Messages of each kind from one burst to the next; a burst every millisecond.
const BURST: usize = 4;
/// A question is given up after this: whoever floods does not wait.
const PATIENCE: Duration = Duration::from_millis(500);

/// A flood, until this is dropped.
pub struct Flood {
    done: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    /// Floods the arm host `arm` and the engine `engine` of `cell`.
    ///
    /// # Errors
    /// When a key cannot be declared or a thread cannot be started.
    pub fn start(
        session: &Session,
        cell: &WireCell,
        arm: &Name,
        engine: &Name,
    ) -> anyhow::Result<Self> {
        let done = Arc::<AtomicBool>::default();
        let key = |topic: fn(Name) -> Topic| cell.key(&topic(arm.clone()));
        let publishers = [
            session.setpoint_key(cell, arm),
            key(Topic::ArmChunk),
            key(Topic::ArmMode),
        ]
        .map(|key| session.publisher_raw(&key, Qos::RealTime));
        let mut sends = Vec::new();
        for publisher in publishers {
            sends.push(publisher?);
        }
        let over = done.clone();
        let mut random = Random(1);
        let send = move || {
            while !over.load(Ordering::Relaxed) {
                for publisher in &sends {
                    for _ in 0..BURST {
                        let bytes = random.bits().to_le_bytes();
                        // A link that is congested drops it.
                        let _ = publisher.put(Some(&bytes), &bytes);
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        let mut threads = vec![
            std::thread::Builder::new()
                .name("flood".into())
                .spawn(send)?,
        ];
        let order_key = session.order_key(cell, arm);
        let lease = session.lease_key(cell, arm);
        let status = cell.key(&Topic::EngineStatus(engine.clone()));
        let orders = [
            ModeOrder::Enable,
            ModeOrder::HandBack,
            ModeOrder::StartEpisode {
                episode: 0,
                instruction: "flood".into(),
                seed: 0,
            },
        ];
        let (session, over) = (session.clone(), done.clone());
        let ask = move || {
            let mut turns = orders.iter().cycle();
            while !over.load(Ordering::Relaxed) {
                if let Some(order) = turns.next() {
                    let _ = session.query::<_, ModeOrderReply>(&order_key, order, PATIENCE);
                }
                let question = LeaseRequest::Acquire {
                    holder: "flood".into(),
                    rank: Rank::Policy,
                    ttl: Duration::from_secs(1),
                };
                let _ = session.query::<_, LeaseReply>(&lease, &question, PATIENCE);
                let _ = session.query::<_, EngineStatus>(&status, &Nothing, PATIENCE);
            }
        };
        threads.push(
            std::thread::Builder::new()
                .name("flood-ask".into())
                .spawn(ask)?,
        );
        Ok(Self { done, threads })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the flood panicked");
            }
        }
    }
}
