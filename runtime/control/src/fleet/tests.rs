use proptest::prelude::*;
use tactus_types::{Conditioning, Generation, JointState, JointVec, Leftover};

use super::*;
use crate::assemble::AssemblySpec;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn demand(every: u64, within: u64) -> Demand {
    Demand {
        every: MS(every),
        one_at_a_time: false,
        within: MS(within),
        deliver: MS(5),
    }
}

/// A request that can be answered from `now` on, and whose answer has to leave within `within` ms.
fn request(id: u64, now: u64, within: u64) -> InferenceRequest {
    InferenceRequest {
        id,
        generation: Generation { boot: 1, count: 1 },
        instruction: "pick up the red cube".into(),
        observe_after: at(now),
        deadline: at(now + within + 5),
        expected_delay: Duration::ZERO,
        leftover: Leftover::none(),
        conditioning: Conditioning::None,
        seed: 0,
    }
}

/// Assemblers without cameras, whose joint states are of `now`.
fn assemblers(arms: usize, now: u64) -> Vec<Assembler> {
    let mut all = Vec::new();
    for _ in 0..arms {
        let mut assembler = Assembler::new(AssemblySpec {
            cameras: vec![],
            frame_limit: MS(150),
            proprio_limit: MS(1_000_000),
            max_skew: MS(25),
        });
        assembler.state(JointState {
            captured_at: at(now),
            seq: 0,
            epoch: 0,
            q: JointVec::zeros(1),
            dq: JointVec::zeros(1),
            opening: 0.0,
            torque: true,
        });
        all.push(assembler);
    }
    all
}

/// What an engine did for each arm, whose answers take `cost` ms, from the requests `(at, arm)`.
struct Ran {
    started: Vec<u64>,
    late: Vec<u64>,
    rejected: Vec<u64>,
    fleet: Fleet,
}

fn run(arms: &[(u64, u64)], cost: u64, requests: &[(u64, usize)]) -> Ran {
    let demands = arms.iter().map(|(every, within)| demand(*every, *within));
    // Just so long that the margin of a tenth makes it the cost.
    let mut fleet = Fleet::new(demands, MS(cost) * 10 / 11);
    let (mut started, mut late) = (vec![0; arms.len()], vec![0; arms.len()]);
    let mut rejected = vec![0; arms.len()];
    let mut free_at = 0;
    let end = requests.last().map_or(0, |(at, _)| *at) + 2000;
    for now in 0..end {
        for (_, arm) in requests.iter().filter(|(at, _)| *at == now) {
            let asked = request(now, now, arms[*arm].1);
            rejected[*arm] += u64::from(fleet.request(*arm, asked).is_some());
        }
        while free_at <= now
            && let Some((arm, job)) = fleet.poll(&assemblers(arms.len(), now), at(now))
        {
            match job {
                Job::Refuse(_) => rejected[arm] += 1,
                Job::Infer { request, .. } => {
                    started[arm] += 1;
                    free_at = now + cost;
                    let leaves = at(free_at) + MS(5);
                    late[arm] += u64::from(leaves > request.deadline);
                    fleet.served(arm, &request, (at(now), at(free_at)));
                }
            }
        }
    }
    Ran {
        started,
        late,
        rejected,
        fleet,
    }
}

/// Requests of each arm, at least its period apart.
fn requests(arms: &[(u64, u64)], first: &[u64], late: &[u64], until: u64) -> Vec<(u64, usize)> {
    let mut all = Vec::new();
    let mut late = late.iter().cycle();
    for (arm, ((every, _), first)) in arms.iter().zip(first).enumerate() {
        let mut at = *first;
        while at < until {
            all.push((at, arm));
            at += every + late.next().unwrap_or(&0) / 3;
        }
    }
    all.sort_unstable();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn who_is_admitted_is_never_late_nor_rejected_and_who_is_not_never_starts(
        arms in prop::collection::vec((15..120u64, 20..200u64), 2..6),
        cost in 5..40u64,
        first in prop::collection::vec(0..60u64, 6),
        late in prop::collection::vec(0..30u64, 40),
    ) {
        // A lone arm is not judged here, so each has to be one that can be served alone.
        let arms: Vec<_> = arms.iter().map(|(t, d)| ((*t).max(cost + 1), (*d).max(cost))).collect();
        let ran = run(&arms, cost, &requests(&arms, &first, &late, 1500));
        for arm in 0..arms.len() {
            let standing = ran.fleet.standing(arm).expect("a seat");
            match standing.admitted {
                true => prop_assert_eq!((ran.late[arm], ran.rejected[arm], standing.late), (0, 0, 0)),
                false => prop_assert_eq!((ran.started[arm], ran.late[arm]), (0, 0)),
            }
            prop_assert_eq!(standing.answered, ran.started[arm]);
            prop_assert_eq!(standing.rejected, ran.rejected[arm]);
            prop_assert!(standing.slack.is_none_or(|slack| slack.least >= 0));
        }
    }
}

#[test]
fn at_60_percent_both_are_served_and_at_130_the_second_is_not() {
    let arms = [(100, 177); 2];
    let asked = requests(&arms, &[0, 10], &[0], 60_000);
    let both = run(&arms, 30, &asked);
    assert_eq!(both.started, [600, 600]);
    assert_eq!(
        (&both.late[..], &both.rejected[..]),
        (&[0, 0][..], &[0, 0][..])
    );
    let one = run(&arms, 65, &asked);
    assert_eq!(
        (&one.started[..], &one.rejected[..]),
        (&[600, 0][..], &[0, 600][..])
    );
    let standing = one.fleet.standing(1).expect("a seat");
    let why = standing.refused_for.expect("a reason");
    // With the margin.
    assert!(why.contains("143 % of its time"), "{why}");
    assert_eq!(standing.admitted_arms, 1);
}

#[test]
fn the_earliest_deadline_is_next_whoever_asked_first() {
    let mut fleet = Fleet::new([demand(100, 90), demand(100, 50), demand(100, 70)], MS(5));
    for (arm, within) in [(0, 90), (1, 50), (2, 70)] {
        assert_eq!(fleet.request(arm, request(1, 10, within)), None);
    }
    let ready = assemblers(3, 10);
    let order: Vec<usize> = std::iter::from_fn(|| fleet.poll(&ready, at(11)))
        .map(|(arm, _)| arm)
        .collect();
    assert_eq!(order, [1, 2, 0]);
    assert!(!fleet.is_pending());
}

#[test]
fn what_can_only_be_late_is_rejected_at_once_and_a_lone_arm_is_not() {
    let mut fleet = Fleet::new([demand(100, 90), demand(100, 90)], MS(20));
    fleet.request(0, request(1, 0, 90));
    let late = fleet.poll(&assemblers(2, 80), at(80));
    assert!(matches!(late, Some((0, Job::Infer { .. }))), "{late:?}");
    fleet.request(1, request(1, 0, 90));
    fleet.request(0, request(2, 50, 90));
    // 22 ms from 80 on are over after 90; the other's are not.
    let Some((1, Job::Refuse(refusal))) = fleet.poll(&assemblers(2, 80), at(80)) else {
        panic!("not rejected");
    };
    let message = "its answer would leave 12 ms after its time".into();
    assert_eq!(refusal.reason, RefusalReason::Overloaded { message });
    let next = fleet.poll(&assemblers(2, 80), at(80));
    assert!(matches!(next, Some((0, Job::Infer { .. }))), "{next:?}");
}

#[test]
fn a_place_is_kept_until_the_arm_host_is_gone() {
    let mut fleet = Fleet::new([demand(100, 90); 2], MS(60));
    assert_eq!(fleet.request(0, request(1, 0, 90)), None);
    assert!(fleet.request(1, request(1, 0, 90)).is_some());
    assert!(
        fleet.request(1, request(2, 5000, 90)).is_some(),
        "however long it asks nothing"
    );
    fleet.gone(0);
    assert_eq!(fleet.request(1, request(3, 5001, 90)), None);
    assert!(fleet.request(0, request(2, 5002, 90)).is_some());
    let standing = fleet.standing(1).expect("a seat");
    assert_eq!(
        (standing.admitted, standing.rejected, standing.refused_for),
        (true, 2, None)
    );
}

#[test]
fn where_answers_become_slower_for_good_who_came_last_is_put_off() {
    let mut fleet = Fleet::new([demand(100, 170); 3], MS(20));
    for arm in [2, 0, 1] {
        assert_eq!(fleet.request(arm, request(1, 0, 170)), None);
    }
    let asked = request(1, 0, 170);
    let serve = |fleet: &mut Fleet, times, took: u64| {
        for _ in 0..times {
            fleet.served(2, &asked, (at(0), at(took)));
        }
    };
    let admitted =
        |fleet: &Fleet| [0, 1, 2].map(|arm| fleet.standing(arm).is_some_and(|s| s.admitted));
    serve(&mut fleet, 100, 20);
    // Now and then a slow one is chance.
    serve(&mut fleet, 20, 90);
    assert_eq!(admitted(&fleet), [true; 3]);
    serve(&mut fleet, 120, 45);
    assert_eq!(admitted(&fleet), [true, false, true]);
    // What it asked is rejected, by what it costs now.
    let Some((1, Job::Refuse(refusal))) = fleet.poll(&assemblers(3, 1), at(1)) else {
        panic!("still waits");
    };
    let RefusalReason::Overloaded { message } = refusal.reason else {
        panic!("another reason");
    };
    assert!(message.contains("slower"), "{message}");
    serve(&mut fleet, 600, 150);
    assert_eq!(
        admitted(&fleet),
        [false, false, true],
        "one is always served"
    );
}
