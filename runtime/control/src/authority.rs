//! Who may begin motion: one lease per arm.
//!
//! ```text
//!             acquire              expiry, release
//!   free --------------> held -----------------------> free
//!                        |  ^
//!                        +--+ acquire by a higher rank: the lower one has lost it and is told so
//! ```
//!
//! A lease ends unless its holder renews it, so a holder that dies gives way by itself. An equal or lower rank is refused
//! while it stands. Every command under it says its number and a sequence that grows strictly; a command with an old
//! sequence, or under a lease that is not in force, is refused with its reason and counted.
//!
//! Decides nothing about the arm: what needs a lease, and what becomes of a motion whose lease ends, is the cycle's.
//! Whoever stops or holds the arm needs no lease and never comes here. Whose a lease is is [`crate::bearer`]'s,
//! and who may ask for which rank is decided where a question comes in.

use std::sync::Arc;
use std::time::Duration;

use tactus_types::{LeaseEnd, LeaseHolder, LeaseId, Rank, Time, Under};

/// Range of the time that a lease may be asked for.
pub const TTL: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// Longest name of a holder, bytes.
pub const MAX_HOLDER_BYTES: usize = 64;

/// Leases that ended whose end is still known, to tell their holders.
const REMEMBERED: usize = 8;

/// A lease that was granted or renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub lease: LeaseId,
    /// When it ends unless it is renewed.
    pub expires: Time,
}

/// Why a lease was not granted or renewed, or a command under one not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRefused {
    /// Another holds it, and not in a lower rank.
    #[error("the lease is held by `{holder}` (rank {}) for {left_millis} ms more", rank.word())]
    Held {
        /// Who.
        holder: Arc<str>,
        /// What for.
        rank: Rank,
        /// How long until it ends unless it is renewed, milliseconds.
        left_millis: u64,
    },
    /// The order needs a lease and named none.
    #[error("this order needs the arm's lease")]
    None,
    /// The lease has ended.
    #[error("the lease {0}")]
    Ended(LeaseEnd),
    /// No such lease, or one that ended long ago.
    #[error("no such lease")]
    Unknown,
    /// The command is not newer than the last one under this lease.
    #[error("command of sequence {actual} after {last}")]
    Sequence {
        /// Of the last command that was taken.
        last: u64,
        /// Of this one.
        actual: u64,
    },
    /// A lease was asked for in a way that is not possible.
    #[error("{field}: expected {expected}, got {actual}")]
    Field {
        /// `holder` or `ttl`.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
}

#[derive(Debug)]
struct Held {
    lease: LeaseId,
    by: LeaseHolder,
    ttl: Duration,
    last: u64,
    /// Its end by time was said. It stays here until the next lease is granted: a tick frees nothing.
    told: bool,
}

/// A lease that has just ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its number.
    pub lease: LeaseId,
    /// Who held it.
    pub holder: Arc<str>,
    /// How it ended.
    pub how: LeaseEnd,
}

/// Keeps the lease of one arm.
#[derive(Debug)]
pub struct Authority {
    seed: u64,
    granted: u64,
    held: Option<Held>,
    ended: [Option<Ended>; REMEMBERED],
    next_ended: usize,
}

impl Authority {
    /// Nobody holds the lease. `boot` is the arm host's: leases of different boots differ.
    pub fn new(boot: u64) -> Self {
        Self {
            seed: boot,
            granted: 0,
            held: None,
            ended: [const { None }; REMEMBERED],
            next_ended: 0,
        }
    }

    /// Who holds the lease at `now`.
    pub fn holder(&self, now: Time) -> Option<&LeaseHolder> {
        let held = self.held.as_ref().filter(|held| now < held.by.expires)?;
        Some(&held.by)
    }

    /// Grants the lease to `holder` for `ttl`. Returns the lease that was taken over too, if one was.
    ///
    /// # Errors
    /// [`LeaseRefused::Held`] while an equal or higher rank holds it, [`LeaseRefused::Field`] for an impossible wish.
    pub fn acquire(
        &mut self,
        holder: &Arc<str>,
        rank: Rank,
        ttl: Duration,
        now: Time,
    ) -> Result<(Grant, Option<Ended>), LeaseRefused> {
        let named = !holder.is_empty() && holder.len() <= MAX_HOLDER_BYTES;
        if !named || holder.chars().any(char::is_control) {
            return Err(LeaseRefused::Field {
                field: "holder",
                expected: "1 to 64 bytes of text on one line",
                actual: format!("{:?}", holder.chars().take(64).collect::<String>()),
            });
        }
        if !TTL.contains(&ttl) {
            return Err(LeaseRefused::Field {
                field: "ttl",
                expected: "100 ms to 60 s",
                actual: format!("{} ms", ttl.as_millis()),
            });
        }
        if let Some(by) = self.holder(now).filter(|by| by.rank >= rank) {
            return Err(LeaseRefused::Held {
                holder: by.holder.clone(),
                rank: by.rank,
                left_millis: by.expires.since(now).as_millis() as u64,
            });
        }
        let taken = self.held.take().map(|held| {
            let how = if now < held.by.expires {
                LeaseEnd::TakenOver { by: holder.clone() }
            } else {
                LeaseEnd::Expired
            };
            self.end(held, how)
        });
        self.granted += 1;
        let lease = LeaseId(number(self.seed, self.granted));
        let expires = now + ttl;
        self.held = Some(Held {
            lease,
            by: LeaseHolder {
                holder: holder.clone(),
                rank,
                expires,
            },
            ttl,
            last: 0,
            told: false,
        });
        Ok((Grant { lease, expires }, taken))
    }

    /// Lets `lease` stand for another of its times to live.
    ///
    /// # Errors
    /// [`LeaseRefused`] saying how it ended.
    pub fn renew(&mut self, lease: LeaseId, now: Time) -> Result<Grant, LeaseRefused> {
        let held = self.in_force(lease, now)?;
        held.by.expires = now + held.ttl;
        Ok(Grant {
            lease,
            expires: held.by.expires,
        })
    }

    /// Gives `lease` back.
    ///
    /// # Errors
    /// [`LeaseRefused`] when it is not in force.
    pub fn release(&mut self, lease: LeaseId, now: Time) -> Result<Ended, LeaseRefused> {
        self.in_force(lease, now)?;
        let held = self.held.take().ok_or(LeaseRefused::Unknown)?;
        Ok(self.end(held, LeaseEnd::Released))
    }

    /// Takes a command under a lease, or under none.
    ///
    /// # Errors
    /// [`LeaseRefused`]; the command does not count then.
    pub fn command(&mut self, under: Option<Under>, now: Time) -> Result<Rank, LeaseRefused> {
        let Some(Under {
            lease, sequence, ..
        }) = under
        else {
            return Err(LeaseRefused::None);
        };
        let held = self.in_force(lease, now)?;
        if sequence <= held.last {
            return Err(LeaseRefused::Sequence {
                last: held.last,
                actual: sequence,
            });
        }
        held.last = sequence;
        Ok(held.by.rank)
    }

    /// The rank that `lease` gives, for what travels under it without a sequence here.
    ///
    /// # Errors
    /// [`LeaseRefused`] when it is not in force.
    pub fn rank(&mut self, lease: LeaseId, now: Time) -> Result<Rank, LeaseRefused> {
        Ok(self.in_force(lease, now)?.by.rank)
    }

    /// The lease that has run out by `now`, once.
    pub fn expire(&mut self, now: Time) -> Option<Ended> {
        let held = self.held.as_mut()?;
        if now < held.by.expires || std::mem::replace(&mut held.told, true) {
            return None;
        }
        Some(Ended {
            lease: held.lease,
            holder: held.by.holder.clone(),
            how: LeaseEnd::Expired,
        })
    }

    fn in_force(&mut self, lease: LeaseId, now: Time) -> Result<&mut Held, LeaseRefused> {
        let known = self.ended.iter().flatten().find(|e| e.lease == lease);
        let ended = known.map(|e| LeaseRefused::Ended(e.how.clone()));
        match self.held.as_mut().filter(|held| held.lease == lease) {
            Some(held) if now < held.by.expires => Ok(held),
            Some(_) => Err(LeaseRefused::Ended(LeaseEnd::Expired)),
            None => Err(ended.unwrap_or(LeaseRefused::Unknown)),
        }
    }

    fn end(&mut self, held: Held, how: LeaseEnd) -> Ended {
        let ended = Ended {
            lease: held.lease,
            holder: held.by.holder,
            how,
        };
        if let Some(slot) = self.ended.get_mut(self.next_ended) {
            *slot = Some(ended.clone());
        }
        self.next_ended = (self.next_ended + 1) % REMEMBERED;
        ended
    }
}

/// The number of the `count`th lease of a boot: a bijection of their mix (the finaliser of SplitMix64: Steele, Lea and
/// Flood, OOPSLA 2014), so that no two leases of a boot share one. 0 means "none" on the wire.
fn number(boot: u64, count: u64) -> u64 {
    let mut z = boot.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).max(1)
}

#[cfg(test)]
mod tests;
