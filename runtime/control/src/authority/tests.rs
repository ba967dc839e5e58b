//! Laws of the lease, against a model that remembers everything.

use proptest::prelude::*;

use super::*;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn under(lease: LeaseId, sequence: u64) -> Option<Under> {
    Some(Under {
        lease,
        sequence,
        bound: false,
    })
}

fn acquire(a: &mut Authority, who: &str, rank: Rank, now: Time) -> Result<Grant, LeaseRefused> {
    a.acquire(&who.into(), rank, MS(1000), now).map(|(g, _)| g)
}

#[test]
fn an_equal_rank_is_told_who_holds_it_and_for_how_long() {
    let mut a = Authority::new(7);
    let grant = acquire(&mut a, "one", Rank::Policy, at(0)).expect("free");
    assert_eq!(grant.expires, at(1000));
    let refused = acquire(&mut a, "two", Rank::Policy, at(400)).expect_err("held");
    let said = refused.to_string();
    assert!(said.contains("`one`") && said.contains("600 ms"), "{said}");
    a.renew(grant.lease, at(900)).expect("in force");
    assert!(acquire(&mut a, "two", Rank::Policy, at(1899)).is_err());
    assert!(acquire(&mut a, "two", Rank::Policy, at(1900)).is_ok());
    let late = a.renew(grant.lease, at(1901));
    assert_eq!(late, Err(LeaseRefused::Ended(LeaseEnd::Expired)));
}

#[test]
fn a_higher_rank_takes_over_and_the_lower_one_is_told_by_whom() {
    let mut a = Authority::new(7);
    let policy = acquire(&mut a, "demo", Rank::Policy, at(0)).expect("free");
    let (human, taken) = a
        .acquire(&"hand".into(), Rank::Teleop, MS(1000), at(10))
        .expect("outranks");
    let by = LeaseEnd::TakenOver { by: "hand".into() };
    assert_eq!(
        taken.map(|e| (e.lease, e.how)),
        Some((policy.lease, by.clone()))
    );
    for refused in [
        a.renew(policy.lease, at(20)).map(drop),
        a.command(under(policy.lease, 9), at(20)).map(drop),
        a.release(policy.lease, at(20)).map(drop),
    ] {
        assert_eq!(refused, Err(LeaseRefused::Ended(by.clone())));
    }
    assert!(acquire(&mut a, "demo", Rank::Policy, at(30)).is_err());
    assert_eq!(a.command(under(human.lease, 1), at(30)), Ok(Rank::Teleop));
}

#[test]
fn a_used_sequence_a_stolen_number_and_no_lease_are_refused() {
    let mut a = Authority::new(7);
    assert_eq!(a.command(None, at(0)), Err(LeaseRefused::None));
    let grant = acquire(&mut a, "one", Rank::Policy, at(0)).expect("free");
    assert!(a.command(under(grant.lease, 3), at(1)).is_ok());
    for old in [0, 2, 3] {
        let refused = a.command(under(grant.lease, old), at(2));
        let last = 3;
        assert_eq!(refused, Err(LeaseRefused::Sequence { last, actual: old }));
    }
    let guess = LeaseId(grant.lease.0 ^ 1);
    assert_eq!(
        a.command(under(guess, 4), at(2)),
        Err(LeaseRefused::Unknown)
    );
    let ended = a.expire(at(1000)).expect("ran out");
    assert_eq!((ended.lease, ended.how), (grant.lease, LeaseEnd::Expired));
    assert_eq!(a.expire(at(1001)), None, "once");
    assert!(a.command(under(grant.lease, 4), at(1001)).is_err());
}

#[test]
fn impossible_wishes_are_refused_with_the_field() {
    let mut a = Authority::new(7);
    let long = "x".repeat(65);
    for holder in ["", "two\nlines", long.as_str()] {
        let refused = acquire(&mut a, holder, Rank::Policy, at(0)).expect_err(holder);
        assert!(refused.to_string().starts_with("holder"), "{refused}");
    }
    for ttl in [MS(0), MS(99), MS(60_001)] {
        let refused = a.acquire(&"one".into(), Rank::Policy, ttl, at(0));
        assert!(refused.is_err(), "{ttl:?}");
    }
    assert_eq!(a.holder(at(0)), None);
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Acquire(usize, Rank, u64),
    Renew(usize),
    Release(usize),
    Command(usize, u64),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let rank = prop::sample::select(vec![Rank::Policy, Rank::Outside, Rank::Teleop]);
    prop_oneof![
        (0..700u64).prop_map(Step::Wait),
        (0..4usize, rank, 100..1000u64).prop_map(|(who, rank, ttl)| Step::Acquire(who, rank, ttl)),
        (0..6usize).prop_map(Step::Renew),
        (0..6usize).prop_map(Step::Release),
        (0..6usize, 0..20u64).prop_map(|(lease, sequence)| Step::Command(lease, sequence)),
        Just(Step::Expire),
    ]
}

/// What the model knows of a lease.
struct Known {
    lease: LeaseId,
    rank: Rank,
    ttl: u64,
    until: u64,
    over: bool,
    last: u64,
}

proptest! {
    /// At most one lease is in force at any time; only its commands are taken, each with a larger sequence than the
    /// last; it ends at its time, or by a higher rank, or by release, and never comes back.
    #[test]
    fn one_holder_at_a_time_and_only_its_new_commands_count(steps in prop::collection::vec(step(), 0..120)) {
        let mut a = Authority::new(11);
        let mut now = 0;
        let mut known: Vec<Known> = Vec::new();
        for step in steps {
            let in_force = known.iter().position(|k| !k.over && now < k.until);
            prop_assert_eq!(a.holder(at(now)).is_some(), in_force.is_some());
            // The newest few are the interesting ones; one out of range stands for a number nobody was given.
            let pick = |i: usize| known.len().checked_sub(i + 1);
            let id = |i: usize| pick(i).map_or(LeaseId(3), |at| known[at].lease);
            match step {
                Step::Wait(millis) => now += millis,
                Step::Acquire(who, rank, ttl) => {
                    let free = in_force.is_none_or(|at| known[at].rank < rank);
                    let result = a.acquire(&format!("p{who}").into(), rank, MS(ttl), at(now));
                    prop_assert_eq!(result.is_ok(), free);
                    if let Ok((grant, _)) = result {
                        prop_assert!(known.iter().all(|k| k.lease != grant.lease), "a new number");
                        if let Some(at) = in_force {
                            known[at].over = true;
                        }
                        let until = now + ttl;
                        known.push(Known { lease: grant.lease, rank, ttl, until, over: false, last: 0 });
                    }
                }
                Step::Renew(i) => {
                    let ours = pick(i).filter(|at| Some(*at) == in_force);
                    prop_assert_eq!(a.renew(id(i), at(now)).is_ok(), ours.is_some());
                    if let Some(at) = ours {
                        known[at].until = now + known[at].ttl;
                    }
                }
                Step::Release(i) => {
                    let ours = pick(i).filter(|at| Some(*at) == in_force);
                    prop_assert_eq!(a.release(id(i), at(now)).is_ok(), ours.is_some());
                    if let Some(at) = ours {
                        known[at].over = true;
                    }
                }
                Step::Command(i, sequence) => {
                    let ours = pick(i).filter(|at| Some(*at) == in_force && sequence > known[*at].last);
                    let taken = a.command(under(id(i), sequence), at(now));
                    prop_assert_eq!(taken.is_ok(), ours.is_some(), "{:?}", taken);
                    if let Some(at) = ours {
                        known[at].last = sequence;
                    }
                }
                Step::Expire => {
                    let ended = a.expire(at(now));
                    prop_assert!(ended.is_none() || in_force.is_none());
                }
            }
        }
    }
}
