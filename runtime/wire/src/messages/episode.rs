//! Where episodes begin and end.

use prost::Message as _;

use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// Beginning or end of an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpisodeEvent {
    /// Number of the episode.
    pub episode: u64,
    /// Which of the two.
    pub phase: EpisodePhase,
}

/// What happened to an episode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EpisodePhase {
    /// It began.
    Started {
        /// The task in words.
        instruction: String,
        /// Seed of the scene.
        seed: u64,
    },
    /// It ended.
    Stopped {
        /// Whether the task was done.
        success: bool,
        /// What ended it.
        reason: String,
        /// It says nothing of the policy: a set-up that was wrong, hardware that failed.
        excluded: bool,
    },
}

impl Message for EpisodeEvent {
    const SCHEMA: &'static str = "tactus.v1.EpisodeEvent";
    const QOS: Qos = Qos::Data;

    fn encode(&self) -> Vec<u8> {
        use pb::episode_event::{Event, Started, Stopped};
        let event = match self.phase.clone() {
            EpisodePhase::Started { instruction, seed } => {
                Event::Started(Started { instruction, seed })
            }
            EpisodePhase::Stopped {
                success,
                reason,
                excluded,
            } => Event::Stopped(Stopped {
                success,
                reason,
                excluded,
            }),
        };
        pb::EpisodeEvent {
            episode: self.episode,
            event: Some(event),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        use pb::episode_event::Event;
        let event: pb::EpisodeEvent = parse(Self::SCHEMA, payload, envelope)?;
        let phase = match envelope.present("event", event.event)? {
            Event::Started(started) => EpisodePhase::Started {
                instruction: envelope.text("started.instruction", started.instruction)?,
                seed: started.seed,
            },
            Event::Stopped(stopped) => EpisodePhase::Stopped {
                success: stopped.success,
                reason: envelope.text("stopped.reason", stopped.reason)?,
                excluded: stopped.excluded,
            },
        };
        Ok(Self {
            episode: event.episode,
            phase,
        })
    }
}
