//! Whose a lease is: a lease's number is no secret on the wire, so it is worth something only from whoever it was given to.
//!
//! Decides whether somebody may say something under a lease, by the name that the wire vouches for (where a cell has keys, the
//! one in a certificate). A lease that nobody here was given is not judged: the arm's [`crate::Authority`] refuses it.
//! Judged where messages come in, before the control thread: what is refused here was never said.

use std::sync::Arc;

use tactus_types::LeaseId;

/// Leases whose bearer is still known: as many as the arm host tells apart, and some.
const REMEMBERED: usize = 16;

/// Somebody spoke under a lease that is another's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the lease is `{bearer}`'s, not `{who}`'s")]
pub struct Stolen {
    /// Whom it was given to.
    pub bearer: Arc<str>,
    /// Who spoke.
    pub who: Arc<str>,
}

/// Who was given which lease.
#[derive(Debug, Default)]
pub struct Bearers {
    given: [Option<(LeaseId, Arc<str>)>; REMEMBERED],
    next: usize,
}

impl Bearers {
    /// `lease` was given to `who`; renewed, it stays what it was.
    pub fn given(&mut self, lease: LeaseId, who: &str) {
        if self
            .given
            .iter()
            .flatten()
            .any(|(known, _)| *known == lease)
        {
            return;
        }
        self.given[self.next] = Some((lease, who.into()));
        self.next = (self.next + 1) % REMEMBERED;
    }

    /// Whether `who` may speak under `lease`.
    ///
    /// # Errors
    /// [`Stolen`] where it was given to another.
    pub fn judge(&self, lease: LeaseId, who: &str) -> Result<(), Stolen> {
        let known = self
            .given
            .iter()
            .flatten()
            .find(|(known, _)| *known == lease);
        match known {
            Some((_, bearer)) if **bearer != *who => Err(Stolen {
                bearer: bearer.clone(),
                who: who.into(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_worth_something_only_from_its_bearer() {
        let mut bearers = Bearers::default();
        bearers.given(LeaseId(7), "anna");
        assert_eq!(bearers.judge(LeaseId(7), "anna"), Ok(()));
        let stolen = bearers.judge(LeaseId(7), "ben").expect_err("another's");
        assert_eq!(stolen.to_string(), "the lease is `anna`'s, not `ben`'s");
        // It cannot be given again, and one that nobody has is not judged here.
        bearers.given(LeaseId(7), "ben");
        assert!(bearers.judge(LeaseId(7), "ben").is_err());
        assert_eq!(bearers.judge(LeaseId(8), "ben"), Ok(()));
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let mut bearers = Bearers::default();
        for n in 0..=REMEMBERED as u64 {
            bearers.given(LeaseId(n), "anna");
        }
        assert_eq!(bearers.judge(LeaseId(0), "ben"), Ok(()), "forgotten");
        assert!(bearers.judge(LeaseId(1), "ben").is_err());
        assert!(bearers.judge(LeaseId(REMEMBERED as u64), "ben").is_err());
    }
}
