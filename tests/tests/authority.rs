//! Who may command an arm: races for its lease, orders without one, lost and stolen ones; real processes over loopback.

mod cell;

use std::time::Duration;

use cell::{Cell, arm, tactus};
use tactus_types::{LeaseId, Rank, Under};
use tactus_wire::{
    Authority, Delivery, LeaseReply, LeaseRequest, LeasedOrder, ModeOrder, ModeOrderReply,
    ModeWord, Nothing, Topic,
};

const WAIT: Duration = Duration::from_secs(5);

/// A cell that only a fault of the arm itself makes hold: machine and policy are not what is tested here.
fn patient() -> Cell {
    Cell::start(|text| {
        text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ")
    })
}

fn raw_order(cell: &Cell, order: ModeOrder, under: Option<Under>) -> ModeOrderReply {
    let key = cell.session.order_key(&cell.wire, &arm());
    let reply = cell
        .session
        .query(&key, &LeasedOrder { order, under }, WAIT);
    reply.expect("the arm host answers").message
}

fn refused(reply: &ModeOrderReply, why: &str) {
    assert!(
        !reply.accepted && reply.message.contains(why),
        "{reply:?} for `{why}`"
    );
}

fn holder(cell: &Cell) -> Option<String> {
    let lease = cell.mode().expect("a mode").lease?;
    Some(lease.holder.to_string())
}

#[test]
fn one_of_two_gets_the_lease_and_only_its_new_orders_count() {
    let cell = patient();
    let race: Vec<Result<Authority, _>> = std::thread::scope(|scope| {
        let cell = &cell;
        let clients =
            ["left", "right"].map(|who| scope.spawn(move || cell.acquire(who, Rank::Policy)));
        clients
            .into_iter()
            .map(|c| c.join().expect("no panic"))
            .collect()
    });
    assert_eq!(race.iter().filter(|r| r.is_ok()).count(), 1, "one holder");
    let refusal = race
        .iter()
        .find_map(|r| r.as_ref().err())
        .expect("a loser")
        .to_string();
    assert!(refusal.contains("the lease is held by `"), "{refusal}");
    let winner = race.into_iter().find_map(Result::ok).expect("a winner");
    cell.wait("the holder is reported", WAIT, || holder(&cell).is_some());

    // Renewed in the background: longer than it lives.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(winner.lost(), None);

    // Neither nobody nor a thief with a guess begins anything; both are counted.
    refused(
        &cell.order_without_lease(&ModeOrder::Enable),
        "needs the arm's lease",
    );
    let under = |lease: u64, sequence| {
        Some(Under {
            lease: LeaseId(lease),
            sequence,
            bound: false,
        })
    };
    refused(
        &raw_order(&cell, ModeOrder::Enable, under(winner.lease().0 ^ 1, 9)),
        "no such lease",
    );
    let enabled = winner
        .order(&ModeOrder::Enable, false, WAIT)
        .expect("an answer");
    assert!(
        enabled.accepted && enabled.mode == ModeWord::Ready,
        "{enabled:?}"
    );
    // A replayed order of the holder's own.
    let start = || ModeOrder::StartEpisode {
        episode: 1,
        instruction: "pick up the red cube".into(),
        seed: 1,
    };
    refused(
        &raw_order(&cell, start(), under(winner.lease().0, 1)),
        "sequence 1 after 1",
    );
    cell.wait("refusals are counted", WAIT, || {
        cell.mode().is_some_and(|m| m.counters.orders_refused == 3)
    });
    assert_eq!(cell.mode().expect("a mode").mode, ModeWord::Ready);

    // An operator's command is refused with the name, and may outrank.
    let file = cell.file.display().to_string();
    let order = |words: &[&str]| {
        let common = ["order", "--cell", &file, "--connect", &cell.endpoint];
        let output = tactus(&[&common[..], words].concat());
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.success(),
            said(&output.stdout),
            said(&output.stderr),
        )
    };
    let (done, _, said) = order(&["start", "pick up the red cube"]);
    assert!(!done && said.contains("the lease is held by `"), "{said}");
    let (done, status, said) = order(&["status"]);
    assert!(
        done && status.contains("mode: ready") && status.contains("rank policy"),
        "{status} {said}"
    );
    let (done, mode, said) = order(&["--take-over", "start", "pick up the red cube"]);
    assert!(done && mode.contains("mode: policy"), "{said}");
    cell.wait("the loser is told", WAIT, || winner.lost().is_some());
    let told = winner.lost().unwrap_or_default();
    assert!(told.contains("was taken over by `order-"), "{told}");
    let late = winner
        .order(&ModeOrder::Enable, false, WAIT)
        .expect("an answer");
    refused(&late, "was taken over by `order-");
    // That episode goes on although its command has ended.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        cell.mode().map(|m| (m.mode, m.lease)),
        Some((ModeWord::Policy, None))
    );
}

#[test]
fn anyone_may_stop_with_whatever_message() {
    let cell = patient();
    cell.start_episode(7101);
    // Held by the test; the stop comes from elsewhere, without a lease and without a word.
    let file = cell.file.display().to_string();
    let hold = tactus(&[
        "order",
        "--cell",
        &file,
        "--connect",
        &cell.endpoint,
        "hold",
    ]);
    assert!(
        hold.status.success(),
        "{}",
        String::from_utf8_lossy(&hold.stderr)
    );
    cell.wait("it holds", WAIT, || {
        cell.mode().is_some_and(|m| m.mode == ModeWord::Hold)
    });
    std::thread::sleep(Duration::from_secs(1));
    let held = cell.mode().expect("a mode");
    assert_eq!(
        held.mode,
        ModeWord::Hold,
        "not even where the cell resumes by itself"
    );
    assert!(held.reason.contains("operator"), "{}", held.reason);
    // The operator resumes it.
    assert!(cell.order(&ModeOrder::Enable).accepted);
    cell.wait("it resumes", WAIT, || {
        cell.mode().is_some_and(|m| m.mode == ModeWord::Policy)
    });

    let key = cell.wire.key(&Topic::ArmStop(arm()));
    let question = LeaseRequest::Renew { lease: LeaseId(1) };
    let reply: Delivery<ModeOrderReply> = cell
        .session
        .query(&key, &question, WAIT)
        .expect("an answer");
    assert!(reply.message.accepted && reply.message.mode == ModeWord::Stopped);
    refused(
        &cell.order(&ModeOrder::Enable),
        "not possible in mode `stopped`",
    );
    let again: Delivery<ModeOrderReply> =
        cell.session.query(&key, &Nothing, WAIT).expect("an answer");
    assert!(again.message.accepted);
}

#[test]
fn a_bound_episode_ends_in_a_hold_when_its_holder_falls_silent() {
    let cell = patient();
    let lease_key = cell.session.lease_key(&cell.wire, &arm());
    let acquire = LeaseRequest::Acquire {
        holder: "mortal".into(),
        rank: Rank::Policy,
        ttl: Duration::from_millis(1500),
    };
    let granted: Delivery<LeaseReply> = cell
        .session
        .query(&lease_key, &acquire, WAIT)
        .expect("an answer");
    let LeaseReply::Granted { lease, .. } = granted.message else {
        panic!("{:?}", granted.message);
    };
    let under = |sequence| {
        Some(Under {
            lease,
            sequence,
            bound: true,
        })
    };
    let enabled = raw_order(&cell, ModeOrder::Enable, under(1));
    assert!(enabled.accepted, "{enabled:?}");
    let start = ModeOrder::StartEpisode {
        episode: 1,
        instruction: "pick up the red cube".into(),
        seed: 1,
    };
    // Engine and cameras may still be on their way.
    let started = (2..100).any(|sequence| {
        std::thread::sleep(Duration::from_millis(10));
        raw_order(&cell, start.clone(), under(sequence)).accepted
    });
    assert!(started, "{:?}", cell.mode());
    cell.wait("it holds", Duration::from_secs(4), || {
        cell.mode().is_some_and(|m| {
            m.mode == ModeWord::Hold && m.reason.contains("the lease of `mortal` expired")
        })
    });
    std::thread::sleep(Duration::from_secs(1));
    let mode = cell.mode().expect("a mode");
    assert_eq!(
        (mode.mode, mode.lease),
        (ModeWord::Hold, None),
        "it waits for someone"
    );
    assert!(
        cell.order(&ModeOrder::Enable).accepted,
        "who takes the lease and resumes"
    );
}
