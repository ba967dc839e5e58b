//! Asking for command authority over an arm. Who gets it is decided in `tactus-control`.

use std::time::Duration;

use prost::Message as _;
use tactus_types::{LeaseHolder, LeaseId, Rank, Time};

use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// A question on an arm's lease key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseRequest {
    /// To get the lease.
    Acquire {
        /// Who asks, for others to read.
        holder: String,
        /// What for.
        rank: Rank,
        /// How long it stands unless renewed, whole milliseconds.
        ttl: Duration,
    },
    /// To keep it.
    Renew {
        /// Its number.
        lease: LeaseId,
    },
    /// To give it back.
    Release {
        /// Its number.
        lease: LeaseId,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseReply {
    /// The lease is the asker's.
    Granted {
        /// Its number, for every order under it.
        lease: LeaseId,
        /// When it ends unless it is renewed.
        expires: Time,
    },
    /// It was given back.
    Released,
    /// No.
    Refused {
        /// Why, in an operator's words.
        reason: String,
        /// The lease that the question named is over.
        over: bool,
    },
}

fn rank_to(rank: Rank) -> i32 {
    match rank {
        Rank::Policy => pb::Rank::Policy,
        Rank::Outside => pb::Rank::Outside,
        Rank::Teleop => pb::Rank::Teleop,
    }
    .into()
}

fn rank_from(rank: i32, envelope: &Envelope<'_>) -> Result<Rank, WireError> {
    match pb::Rank::try_from(rank) {
        Ok(pb::Rank::Policy) => Ok(Rank::Policy),
        Ok(pb::Rank::Teleop) => Ok(Rank::Teleop),
        Ok(pb::Rank::Outside) => Ok(Rank::Outside),
        Ok(pb::Rank::Unspecified) | Err(_) => Err(envelope.wrong("rank", "1 to 3", rank)),
    }
}

pub(crate) fn holder_to(by: &LeaseHolder) -> pb::LeaseHolder {
    pb::LeaseHolder {
        holder: by.holder.to_string(),
        rank: rank_to(by.rank),
        expires_nanos: by.expires.as_nanos(),
    }
}

pub(crate) fn holder_from(
    by: pb::LeaseHolder,
    envelope: &Envelope<'_>,
) -> Result<LeaseHolder, WireError> {
    Ok(LeaseHolder {
        holder: envelope.shared_text("lease.holder", by.holder)?,
        rank: rank_from(by.rank, envelope)?,
        expires: Time::from_nanos(by.expires_nanos),
    })
}

impl Message for LeaseRequest {
    const SCHEMA: &'static str = "tactus.v1.LeaseRequest";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        request_to(self).encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        request_from(parse(Self::SCHEMA, payload, envelope)?, envelope)
    }
}

pub(crate) fn request_to(request: &LeaseRequest) -> pb::LeaseRequest {
    use pb::lease_request::{Acquire, Release, Renew, Request};
    let request = match request.clone() {
        LeaseRequest::Acquire { holder, rank, ttl } => Request::Acquire(Acquire {
            holder,
            rank: rank_to(rank),
            ttl_millis: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        }),
        LeaseRequest::Renew { lease } => Request::Renew(Renew { lease: lease.0 }),
        LeaseRequest::Release { lease } => Request::Release(Release { lease: lease.0 }),
    };
    let request = Some(request);
    pb::LeaseRequest { request }
}

pub(crate) fn request_from(
    request: pb::LeaseRequest,
    envelope: &Envelope<'_>,
) -> Result<LeaseRequest, WireError> {
    use pb::lease_request::{Release, Renew, Request};
    Ok(match envelope.present("request", request.request)? {
        Request::Acquire(acquire) => LeaseRequest::Acquire {
            holder: envelope.text("acquire.holder", acquire.holder)?,
            rank: rank_from(acquire.rank, envelope)?,
            ttl: Duration::from_millis(acquire.ttl_millis),
        },
        Request::Renew(Renew { lease }) => LeaseRequest::Renew {
            lease: LeaseId(lease),
        },
        Request::Release(Release { lease }) => LeaseRequest::Release {
            lease: LeaseId(lease),
        },
    })
}

impl Message for LeaseReply {
    const SCHEMA: &'static str = "tactus.v1.LeaseReply";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        use pb::lease_reply::{Granted, Refused, Released, Reply};
        let reply = match self.clone() {
            Self::Granted { lease, expires } => Reply::Granted(Granted {
                lease: lease.0,
                expires_nanos: expires.as_nanos(),
            }),
            Self::Released => Reply::Released(Released {}),
            Self::Refused { reason, over } => Reply::Refused(Refused { reason, over }),
        };
        pb::LeaseReply { reply: Some(reply) }.encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        use pb::lease_reply::{Granted, Refused, Released, Reply};
        let reply: pb::LeaseReply = parse(Self::SCHEMA, payload, envelope)?;
        Ok(match envelope.present("reply", reply.reply)? {
            Reply::Granted(Granted {
                lease,
                expires_nanos,
            }) => Self::Granted {
                lease: LeaseId(lease),
                expires: Time::from_nanos(expires_nanos),
            },
            Reply::Released(Released {}) => Self::Released,
            Reply::Refused(Refused { reason, over }) => Self::Refused {
                reason: envelope.text("refused.reason", reason)?,
                over,
            },
        })
    }
}
