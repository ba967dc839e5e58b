//! An engine's two arms that one policy moves: their requests go in together, and each gets its own columns of the chunk.
//!
//! Moves values only: which requests belong together and whose a column is is decided in `tactus-control`.

use tactus_control::{Assembler, Pair, Rendezvous, Together};
use tactus_types::{ActionChunk, InferenceRequest, Refusal, RefusalReason, Time};
use tactus_wire::{ChunkReply, Name};

/// The other arm that the policy moves, beside an engine's arm.
#[derive(Debug, Clone)]
pub struct Second {
    /// Its name.
    pub arm: Name,
    /// The two as one.
    pub pair: Pair,
}

/// The two arms of a pair.
pub(crate) struct Pairing {
    pair: Pair,
    rendezvous: Rendezvous,
}

impl Pairing {
    pub(crate) fn new(pair: Pair) -> Self {
        Self {
            rendezvous: Rendezvous::new(pair.names()),
            pair,
        }
    }

    pub(crate) fn request(
        &mut self,
        which: usize,
        request: InferenceRequest,
        now: Time,
    ) -> Together {
        self.rendezvous.request(which, request, now)
    }

    pub(crate) fn gone(&mut self, which: usize) {
        self.rendezvous.gone(which);
    }

    /// What each arm is told where `reply` answers the request of both; nothing where newer requests have taken its place.
    pub(crate) fn share(&mut self, reply: ChunkReply, assembler: &Assembler) -> Vec<ChunkReply> {
        let id = match &reply {
            ChunkReply::Chunk(chunk) => chunk.request_id,
            ChunkReply::Refusal(refusal) => refusal.request_id,
        };
        let Some(joined) = self.rendezvous.answered(id) else {
            return vec![];
        };
        let chunk = match reply {
            ChunkReply::Refusal(Refusal { reason, .. }) => {
                return joined.refused(&reason).map(ChunkReply::Refusal).into();
            }
            ChunkReply::Chunk(chunk) => chunk,
        };
        let shares = [0, 1].map(|which| self.of(which, &chunk, assembler));
        let [Some(first), Some(second)] = shares else {
            // Neither gets what only one could play.
            let columns = chunk.actions.first().map_or(0, |action| action.q.len());
            let message = format!(
                "a chunk of {columns} columns for a pair of {}",
                self.pair.columns().len()
            );
            let reason = RefusalReason::Policy {
                message: message.into(),
            };
            return joined.refused(&reason).map(ChunkReply::Refusal).into();
        };
        let shares = [first, second].into_iter().zip(joined.of);
        let echo = |(share, (request_id, generation))| {
            ChunkReply::Chunk(ActionChunk {
                request_id,
                generation,
                ..share
            })
        };
        shares.map(echo).collect()
    }

    /// What arm `which` plays of `chunk`.
    fn of(&self, which: usize, chunk: &ActionChunk, assembler: &Assembler) -> Option<ActionChunk> {
        let measured = assembler.measured(which, chunk.observed_at)?;
        let mut share = self.pair.share(which, chunk, measured.opening)?;
        share.states = assembler.states_behind_of(which, chunk.observed_at);
        Some(share)
    }
}
