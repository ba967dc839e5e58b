//! A client of an arm's lease: takes it, renews it in the background, gives orders under it, gives it back.
//!
//! Decides nothing about who may command; the arm host does. A lease that is lost (taken over, or not renewed in time
//! because this process stood still) stays lost: orders under it are refused by the arm host with the reason, and asking
//! again is the caller's decision.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use tactus_types::{LeaseId, Rank, Under};

use crate::{
    Cell, Key, LeaseReply, LeaseRequest, LeasedOrder, ModeOrder, ModeOrderReply, Name, QueryError,
    Session,
};

/// How long an arm host may take to answer about a lease.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Why there is no lease.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AuthorityError {
    /// The arm host refused, or did not answer.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// Somebody else has it, or it was asked for in a way that is not possible.
    #[error("{reason}")]
    Refused {
        /// In the arm host's words.
        reason: String,
    },
    /// The arm host answered something else than was asked.
    #[error("the arm host's answer does not fit the question")]
    Answer,
    /// The renewing thread cannot be started.
    #[error("cannot start thread `lease-renew`: {reason}")]
    Thread {
        /// What the system said.
        reason: String,
    },
}

/// Whether the renewing thread goes on, and why the lease was lost, if it was.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    done: bool,
    lost: Option<String>,
}

/// An arm's lease, held. Dropping it gives it back.
pub struct Authority {
    session: Session,
    lease_key: Key,
    order_key: Key,
    lease: LeaseId,
    sequence: AtomicU64,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Authority {
    /// Takes the lease of arm `arm` in the name of `holder` and renews it three times within `ttl`, which is how long it
    /// outlives this process.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn acquire(
        session: &Session,
        cell: &Cell,
        arm: &Name,
        holder: &str,
        rank: Rank,
        ttl: Duration,
    ) -> Result<Self, AuthorityError> {
        let lease_key = session.lease_key(cell, arm);
        let question = LeaseRequest::Acquire {
            holder: holder.into(),
            rank,
            ttl,
        };
        let lease = match ask(session, &lease_key, &question)? {
            LeaseReply::Granted { lease, .. } => lease,
            LeaseReply::Refused { reason, .. } => return Err(AuthorityError::Refused { reason }),
            LeaseReply::Released => return Err(AuthorityError::Answer),
        };
        let shared = Arc::new(Shared::default());
        let mut authority = Self {
            session: session.clone(),
            order_key: session.order_key(cell, arm),
            lease,
            sequence: AtomicU64::new(0),
            shared: shared.clone(),
            thread: None,
            lease_key: lease_key.clone(),
        };
        let session = session.clone();
        let thread = std::thread::Builder::new()
            .name("lease-renew".into())
            .spawn(move || renew(&session, &lease_key, lease, ttl / 3, &shared))
            .map_err(|e| AuthorityError::Thread {
                reason: e.to_string(),
            })?;
        authority.thread = Some(thread);
        Ok(authority)
    }

    /// Gives `order` under the lease, with the next sequence. With `bound`, what it begins ends with the lease.
    ///
    /// # Errors
    /// [`QueryError`]; a refusal by the arm host is an answer.
    pub fn order(
        &self,
        order: &ModeOrder,
        bound: bool,
        timeout: Duration,
    ) -> Result<ModeOrderReply, QueryError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let order = LeasedOrder {
            order: order.clone(),
            under: Some(Under {
                lease: self.lease,
                sequence,
                bound,
            }),
        };
        let answer = self.session.query(&self.order_key, &order, timeout)?;
        Ok(answer.message)
    }

    /// The lease's number.
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Why the lease is not ours any more, if it is not and we know.
    pub fn lost(&self) -> Option<String> {
        lock(&self.shared).lost.clone()
    }
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask(session: &Session, key: &Key, question: &LeaseRequest) -> Result<LeaseReply, QueryError> {
    let answer = session.query(key, question, ANSWER_WITHIN)?;
    Ok(answer.message)
}

/// Renews `lease` every `period` until it is lost or nobody wants it any more.
fn renew(session: &Session, key: &Key, lease: LeaseId, period: Duration, shared: &Shared) {
    let mut state = lock(shared);
    while !state.done && state.lost.is_none() {
        let waited = shared.changed.wait_timeout(state, period);
        let (guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if guard.done || !timeout.timed_out() {
            state = guard;
            continue;
        }
        drop(guard);
        let answer = ask(session, key, &LeaseRequest::Renew { lease });
        state = lock(shared);
        match answer {
            Ok(LeaseReply::Refused { reason, over: true }) => {
                tracing::warn!("{reason}");
                state.lost = Some(reason);
            }
            Ok(LeaseReply::Granted { .. }) => {}
            // The next renewal may be heard; if none is, the lease ends by itself.
            Ok(other) => tracing::warn!("renewing the lease: unexpected {other:?}"),
            Err(e) => tracing::warn!("renewing the lease: {e}"),
        }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let held = {
            let mut state = lock(&self.shared);
            state.done = true;
            state.lost.is_none()
        };
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread `lease-renew` panicked");
        }
        if held {
            let question = LeaseRequest::Release { lease: self.lease };
            if let Err(e) = ask(&self.session, &self.lease_key, &question) {
                tracing::debug!("the lease is not given back and ends by itself: {e}");
            }
        }
    }
}
