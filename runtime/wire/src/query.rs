//! Questions that get exactly one answer: orders, and infos asked for by whoever comes late.

use std::{
    marker::PhantomData,
    time::{Duration, Instant},
};

use zenoh::{
    Wait,
    bytes::ZBytes,
    handlers::FifoChannel,
    qos::{CongestionControl, Priority},
    query::ConsolidationMode,
};

use crate::{
    Delivery, Key, Message, Name, Session, SessionError, Sparse, WireError, message::decode,
    session::Stamper, subscribe::raw, who_of,
};

/// Time between two looks for somebody who answers.
const LOOK: Duration = Duration::from_millis(5);

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// Nobody answered: nobody is there, or it took too long.
    #[error("no answer on `{key}` within {timeout_millis} ms")]
    NoAnswer {
        /// Key that was asked.
        key: String,
        /// How long it was waited, milliseconds.
        timeout_millis: u128,
    },
    /// The question was refused.
    #[error("`{key}` refused: {reason}")]
    Refused {
        /// Key that was asked.
        key: String,
        /// What the other side said.
        reason: String,
    },
    /// The answer is not what it should be.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The question could not be sent.
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Keeps a queryable; dropping it ends it.
#[must_use = "nobody answers when this is dropped"]
pub struct Queryable {
    pub(crate) _zenoh: zenoh::query::Queryable<()>,
}

/// Answers one question; may be taken to another thread. Dropping it unanswered leaves the asker with
/// [`QueryError::NoAnswer`].
pub struct Responder<A> {
    query: zenoh::query::Query,
    stamper: Stamper,
    answer: PhantomData<fn(A)>,
}

impl<A: Message> Responder<A> {
    /// Who asked, on a key that says so; `None` where that is no name.
    pub fn asker(&self) -> Option<Name> {
        who_of(self.query.key_expr().as_str())
    }

    /// Answers.
    pub fn answer(self, answer: &A) {
        let header = self.stamper.header(answer.captured_at(), answer.seq());
        let reply = self
            .query
            .reply(self.query.key_expr(), answer.encode())
            .attachment(header.encode())
            .wait();
        if let Err(e) = reply {
            tracing::warn!("answer on `{}` not sent: {e}", self.query.key_expr());
        }
    }

    /// Refuses, saying why.
    pub fn refuse(self, reason: &str) {
        if let Err(e) = self.query.reply_err(reason).wait() {
            tracing::warn!("refusal on `{}` not sent: {e}", self.query.key_expr());
        }
    }
}

impl Session {
    /// Calls `on_question` with every question on `key` that passes the checks; any other is refused with its error.
    ///
    /// It is called on a thread of Zenoh's: hand the responder over when the answer takes longer.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn queryable<Q: Message, A: Message>(
        &self,
        key: &Key,
        on_question: impl Fn(Delivery<Q>, Responder<A>) + Send + Sync + 'static,
    ) -> Result<Queryable, SessionError> {
        let stamper = self.stamper.clone();
        let nothing = ZBytes::new();
        let refused = Sparse::default();
        self.zenoh
            .declare_queryable(key.as_str().to_owned())
            .complete(true)
            .callback(move |query| {
                let raw = raw(
                    query.key_expr().as_str(),
                    query.attachment(),
                    query.payload().unwrap_or(&nothing),
                    stamper.now(),
                );
                let question = raw.and_then(|raw| decode(&raw, stamper.clock_id()));
                let responder = Responder {
                    query,
                    stamper: stamper.clone(),
                    answer: PhantomData,
                };
                match question {
                    Ok(question) => on_question(question, responder),
                    Err(e) => {
                        if let Some(times) = refused.told() {
                            tracing::warn!(times, "question refused: {e}");
                        }
                        responder.refuse(&e.to_string());
                    }
                }
            })
            .wait()
            .map(|zenoh| Queryable { _zenoh: zenoh })
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "answer queries",
                reason: e.to_string(),
            })
    }

    /// Calls `on_question` with every question on `key`, whatever it carries: for what has to work for a sender that knows
    /// nothing of us or has another clock. Its answer carries the usual header.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn queryable_unchecked<A: Message>(
        &self,
        key: &Key,
        on_question: impl Fn(Responder<A>) + Send + Sync + 'static,
    ) -> Result<Queryable, SessionError> {
        let stamper = self.stamper.clone();
        self.zenoh
            .declare_queryable(key.as_str().to_owned())
            .complete(true)
            .callback(move |query| {
                on_question(Responder {
                    query,
                    stamper: stamper.clone(),
                    answer: PhantomData,
                });
            })
            .wait()
            .map(|zenoh| Queryable { _zenoh: zenoh })
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "answer queries",
                reason: e.to_string(),
            })
    }

    /// Waits until this session knows of somebody who answers questions on `key`; `false` when nobody came within the
    /// time. A session that has just opened does not know yet who is there, so ask this before the first question.
    ///
    /// # Errors
    /// [`SessionError::Key`].
    pub fn wait_for_answerer(&self, key: &Key, within: Duration) -> Result<bool, SessionError> {
        let error = |e: zenoh::Error| SessionError::Key {
            key: key.to_string(),
            action: "look for who answers",
            reason: e.to_string(),
        };
        let querier = self.zenoh.declare_querier(key.as_str()).wait();
        let querier = querier.map_err(error)?;
        let until = Instant::now() + within;
        loop {
            if querier.matching_status().wait().map_err(error)?.matching() {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Asks `question` on `key` and waits for the answer.
    ///
    /// # Errors
    /// [`QueryError`]; [`QueryError::NoAnswer`] at once when nobody answers questions on `key`.
    pub fn query<Q: Message, A: Message>(
        &self,
        key: &Key,
        question: &Q,
        timeout: Duration,
    ) -> Result<Delivery<A>, QueryError> {
        let header = self
            .stamper
            .header(question.captured_at(), question.seq())
            .encode();
        let replies = self
            .zenoh
            .get(key.as_str())
            .payload(question.encode())
            .attachment(header)
            .congestion_control(CongestionControl::Block)
            .priority(Priority::RealTime)
            .express(true)
            .consolidation(ConsolidationMode::None)
            .timeout(timeout)
            .with(FifoChannel::new(4))
            .wait()
            .map_err(|e| SessionError::Key {
                key: key.to_string(),
                action: "ask",
                reason: e.to_string(),
            })?;
        let no_answer = || QueryError::NoAnswer {
            key: key.to_string(),
            timeout_millis: timeout.as_millis(),
        };
        let reply = replies.recv().map_err(|_| no_answer())?;
        match reply.result() {
            Ok(sample) => {
                let raw = raw(
                    sample.key_expr().as_str(),
                    sample.attachment(),
                    sample.payload(),
                    self.stamper.now(),
                )?;
                Ok(decode(&raw, self.stamper.clock_id())?)
            }
            Err(error) => {
                let reason = String::from_utf8_lossy(&error.payload().to_bytes()).into_owned();
                if reason == "Timeout" {
                    return Err(no_answer());
                }
                Err(QueryError::Refused {
                    key: key.to_string(),
                    reason,
                })
            }
        }
    }
}
