use super::*;
use crate::plan::tests::example;
use crate::trial::{Abort, Figures};

fn begun() -> Entry {
    Entry::Begun(Begun {
        at: String::new(),
        tactus: String::new(),
        mode: "lockstep".into(),
        plan_folder: String::new(),
        recorded: false,
        plan_sha256: String::new(),
        order_sha256: String::new(),
        cell: String::new(),
        cell_file: String::new(),
        cell_sha256: String::new(),
        bundles: vec![],
        facts: Default::default(),
    })
}

fn started(slot: Slot, attempt: u32) -> Entry {
    Entry::Started {
        trial: slot.trial,
        attempt,
        at: String::new(),
    }
}

fn ended(plan: &Plan, slot: Slot, attempt: u32, abort: Option<Abort>) -> Ended {
    Ended {
        trial: slot.trial,
        attempt,
        at: String::new(),
        label: labels(plan)[slot.policy].into(),
        task: plan.tasks[slot.task].name.clone(),
        condition: String::new(),
        instruction: String::new(),
        success: abort.is_none(),
        judge: "simulator".into(),
        progress: 0.0,
        milestones: vec![],
        secs: 1.5,
        abort,
        note: String::new(),
        figures: Figures::default(),
    }
}

fn journal(entries: Vec<Entry>) -> (tempfile::TempDir, Journal) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    for entry in entries {
        journal.append(entry).expect("a line");
    }
    (dir, journal)
}

/// Runs the plan to its end: policy 0 succeeds always, policy 1 never; returns the number of trials.
fn run(plan: &Plan) -> (usize, Finish) {
    let (_dir, mut journal) = journal(vec![begun()]);
    loop {
        let next = Progress::of(plan, &journal).expect("a story").next();
        match next {
            Next::Trial(slot, attempt) => {
                // Every trial fails once by the hardware's fault.
                let abort = match (attempt, slot.policy) {
                    (1, _) => Some(Abort::HardwareFault),
                    (_, 0) => None,
                    _ => Some(Abort::Timeout),
                };
                journal.append(started(slot, attempt)).expect("a line");
                let end = ended(plan, slot, attempt, abort);
                journal.append(Entry::Ended(Box::new(end))).expect("a line");
            }
            Next::Finish(reason) => {
                let entry = Entry::Finished {
                    reason,
                    at: String::new(),
                    policies: vec![],
                };
                journal.append(entry).expect("a line");
            }
            Next::Nothing => {
                let progress = Progress::of(plan, &journal).expect("a story");
                let done = progress.ended.iter().flatten().count();
                assert_eq!(progress.excluded.len(), done, "each was tried twice");
                assert_eq!(progress.outcomes().len(), done);
                return (done, progress.finished.expect("it is over"));
            }
        }
    }
}

#[test]
fn every_trial_gets_one_outcome() {
    let plan = Plan::parse(&example()).expect("a plan");
    assert_eq!(run(&plan), (16, Finish::Complete));
}

#[test]
fn a_sequential_rule_ends_it_between_blocks() {
    let text = example()
        .replace("rule = \"fixed\"", "rule = \"sequential\"\nalpha = 0.05")
        .replace("trials = 4", "trials = 20")
        .replace("scenes = [", "scenes = [\"0\", \"1\", \"2\", \"3\", \"4\", \"5\", \"6\", \"7\", \"8\", \"9\", \"a\", \"b\", \"c\", \"d\", \"e\", \"f\", ");
    let plan = Plan::parse(&text).expect("a plan");
    let (done, reason) = run(&plan);
    assert_eq!(reason, Finish::Decided);
    assert!(done.is_multiple_of(2) && (8..30).contains(&done), "{done}");
}

#[test]
fn blinded_policies_are_called_by_their_labels_until_the_end() {
    let plan = Plan::parse(&example()).expect("a plan");
    let (_dir, journal) = journal(vec![begun()]);
    let progress = Progress::of(&plan, &journal).expect("a story");
    assert!(["A", "B"].contains(&progress.name(0)));
    let open = Plan {
        blind: false,
        ..plan.clone()
    };
    assert_eq!(
        Progress::of(&open, &journal).expect("a story").name(0),
        "demo"
    );
}

#[test]
fn what_cannot_be_is_found() {
    let plan = Plan::parse(&example()).expect("a plan");
    let slots = order(&plan);
    let end = |slot, abort| Entry::Ended(Box::new(ended(&plan, slot, 1, abort)));
    let odd = |change: fn(&mut Ended)| {
        let mut end = ended(&plan, slots[0], 1, None);
        change(&mut end);
        vec![begun(), started(slots[0], 1), Entry::Ended(Box::new(end))]
    };
    let finished = Entry::Finished {
        reason: Finish::Complete,
        at: String::new(),
        policies: vec![],
    };
    for (entries, wanted) in [
        (vec![started(slots[0], 1)], "the first line"),
        (vec![begun(), begun()], "a second time"),
        (vec![begun(), end(slots[0], None)], "without having begun"),
        (
            vec![begun(), started(slots[0], 1), started(slots[1], 1)],
            "before trial 0 has ended",
        ),
        (
            vec![
                begun(),
                started(slots[0], 1),
                end(slots[0], None),
                started(slots[0], 2),
            ],
            "begins for the time 2",
        ),
        (
            vec![
                begun(),
                started(slots[0], 1),
                end(slots[0], None),
                end(slots[0], None),
            ],
            "a second time",
        ),
        (
            vec![
                begun(),
                started(
                    Slot {
                        trial: 99,
                        ..slots[0]
                    },
                    1,
                ),
            ],
            "the plan has 16",
        ),
        (vec![begun(), finished.clone()], "16 trials are left"),
        (odd(|e| e.success = false), "neither"),
        (odd(|e| e.label = "Z".into()), "not Z"),
        (odd(|e| e.progress = 101.0), "progress 101"),
        (odd(|e| e.secs = f64::NAN), "null"),
        (odd(|e| e.milestones = vec!["won".into()]), "milestones"),
    ] {
        let (dir, journal) = journal(entries);
        // What JSON cannot hold does not even come back.
        let error = match Progress::of(&plan, &journal) {
            Err(error) if wanted != "null" => error,
            _ => Journal::read(dir.path()).expect_err(wanted),
        };
        assert!(error.to_string().contains(wanted), "{wanted}: {error}");
    }
}
