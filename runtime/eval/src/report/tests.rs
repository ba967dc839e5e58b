use super::*;
use crate::journal::Journal;
use crate::order::{fingerprint, labels, order};
use crate::plan::tests::example;
use crate::trial::{Abort, Figures};
use tempfile::TempDir;

fn kept(file: &str, bytes: &[u8]) -> Kept {
    Kept {
        file: file.into(),
        sha256: sha256_hex(bytes),
    }
}

/// An evaluation of the example plan, of this many trials, and its end if that is all of them. `demo` succeeds always,
/// `noisy` at every fourth condition; the first attempt of the first trial met a fault.
fn evaluation(text: &str, trials: usize) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join("plan.toml"), text).expect("written");
    std::fs::create_dir(dir.path().join("trials")).expect("a folder");
    for (name, bytes) in [("first", &b"a picture"[..]), ("last", b"another")] {
        let file = dir.path().join(format!("trials/{name}.jpg"));
        std::fs::write(file, bytes).expect("written");
    }
    let plan = Plan::parse(text).expect("a plan");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    let mut add = |entry| journal.append(entry).expect("a line");
    add(Entry::Begun(Begun {
        at: "2026-11-21 10:00:00.000 UTC".into(),
        tactus: "0.1.0".into(),
        mode: "lockstep".into(),
        plan_folder: "/plans".into(),
        plan_sha256: sha256_hex(text.as_bytes()),
        order_sha256: fingerprint(&plan),
        cell: "demo".into(),
        cell_file: "/cells/demo.toml".into(),
        cell_sha256: "c".repeat(64),
        bundles: vec!["1".repeat(64), "2".repeat(64)],
        recorded: true,
        facts: [("machine".to_owned(), "<bench & co>".to_owned())].into(),
    }));
    for slot in order(&plan).into_iter().take(trials) {
        let attempts: &[Option<Abort>] = match slot.trial {
            0 => &[Some(Abort::HardwareFault), None],
            _ => &[None],
        };
        for (attempt, fault) in (1..).zip(attempts.iter().copied()) {
            add(Entry::Started {
                trial: slot.trial,
                attempt,
                at: String::new(),
            });
            let success = fault.is_none() && (slot.policy == 0 || slot.condition == 0);
            let task = &plan.tasks[slot.task];
            let mut figures = Figures {
                ticks: 1000,
                held_ticks: 20,
                stages_ms: [
                    ("vision".into(), [8.0, 12.0]),
                    ("denoise".into(), [4.0, 6.0]),
                ]
                .into(),
                inference_ms: Some([12.0, 18.0]),
                first: Some(kept("trials/first.jpg", b"a picture")),
                last: Some(kept("trials/last.jpg", b"another")),
                recording: Some(kept("trials/0001.1.mcap", b"")),
                lateness_us: Some([30.0, 200.0, 900.0, 4000.0]),
                ..Figures::default()
            };
            figures.count_age(93);
            add(Entry::Ended(Box::new(Ended {
                trial: slot.trial,
                attempt,
                at: "2026-11-21 10:00:05.000 UTC".into(),
                label: labels(&plan)[slot.policy].into(),
                task: task.name.clone(),
                condition: task
                    .condition(slot.condition)
                    .expect("a condition")
                    .to_string(),
                instruction: "do, \"it\"".into(),
                success,
                judge: "simulator".into(),
                progress: if success { 100.0 } else { 0.0 },
                milestones: if success {
                    task.milestones.clone()
                } else {
                    vec![]
                },
                secs: 4.0 + slot.trial as f64 / 8.0,
                abort: fault.or((!success).then_some(Abort::Timeout)),
                note: if fault.is_some() {
                    "<b>cable</b>".into()
                } else {
                    String::new()
                },
                figures,
            })));
        }
    }
    if trials >= plan.slots() as usize {
        let unblinded = |(policy, label): (&crate::plan::PolicyPlan, &&str)| Unblinded {
            label: (*label).into(),
            name: policy.name.clone(),
            bundle_id: "1".repeat(64),
        };
        add(Entry::Finished {
            reason: Finish::Complete,
            at: "2026-11-21 11:00:00.000 UTC".into(),
            policies: plan
                .policies
                .iter()
                .zip(&labels(&plan))
                .map(unblinded)
                .collect(),
        });
    }
    dir
}

#[test]
fn a_page_that_is_over_has_everything() {
    let dir = evaluation(&example(), 16);
    let report = Report::read(dir.path()).expect("a report");
    let page = report.html();
    for wanted in [
        "demo",
        "noisy",
        "8 of 8",
        "2 of 8",
        "Barnard",
        "Kaplan-Meier",
        "vision",
        "Excluded attempts",
        "hardware fault",
        "&lt;b&gt;cable",
        "&lt;bench &amp; co&gt;",
        "Lateness of control ticks, trial by trial",
        &report.last_hash,
        "first_seed = 8001",
        "data:image/jpeg;base64,YSBwaWN0dXJl\"",
        "data:image/jpeg;base64,YW5vdGhlcg==\"",
        "<a href=\"trials/0001.1.mcap\">",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert!(page.matches("<svg").count() >= 7);
    for none in ["NaN", "inf,", "<script", "http://", "https://", "<b>cable"] {
        let links = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!links.contains(none), "{none}");
    }
    // Every element is closed.
    for element in [
        "svg", "table", "tr", "td", "text", "h2", "p", "small", "code", "div",
    ] {
        let opened = page.matches(&format!("<{element}>")).count()
            + page.matches(&format!("<{element} ")).count();
        assert_eq!(
            opened,
            page.matches(&format!("</{element}>")).count(),
            "{element}"
        );
    }
}

#[test]
fn a_picture_that_was_changed_or_lies_elsewhere_is_not_shown() {
    let dir = evaluation(&example(), 16);
    std::fs::write(dir.path().join("trials/last.jpg"), "retouched").expect("written");
    let page = Report::read(dir.path()).expect("a report").html();
    assert!(page.contains("trials/last.jpg is gone or was changed"));
    assert!(!page.contains("trials/first.jpg is gone"));
    std::fs::write(dir.path().join("elsewhere"), "x").expect("written");
    for file in ["trials/../elsewhere", "/etc/hostname", ""] {
        assert_eq!(as_it_was(dir.path(), &kept(file, b"x")), None, "{file}");
    }
    assert!(as_it_was(dir.path(), &kept("elsewhere", b"x")).is_some());
}

#[test]
fn before_the_end_nobody_is_named() {
    let dir = evaluation(&example(), 9);
    let report = Report::read(dir.path()).expect("a report");
    assert_eq!(report.left, 7);
    for text in [report.html(), report.json().expect("JSON"), report.csv()] {
        // The plan's own name says both.
        let text = text
            .replace("demo against noise", "")
            .replace("/cells/demo.toml", "")
            .replace("\"cell\": \"demo\"", "");
        assert!(
            !text.contains("noisy") && !text.contains(">demo<") && !text.contains("\"demo\""),
            "{text}"
        );
    }
    let open = example().replace("seed = 7", "seed = 7\nblind = false");
    let dir = evaluation(&open, 9);
    assert!(
        Report::read(dir.path())
            .expect("a report")
            .html()
            .contains("noisy")
    );
}

#[test]
fn the_csv_says_what_the_report_says() {
    let plain = example();
    // What a spreadsheet takes for a remark, and a scene that is set up again and again.
    let odd = plain
        .replace("name = \"demo\"", "name = \"#3\"")
        .replace("\"left, turned\", \"right, turned\"", "\"left\", \"left\"");
    assert!(odd.contains("[\"left\", \"right\", \"left\", \"left\"]"));
    for text in [plain, odd] {
        let dir = evaluation(&text, 16);
        let report = Report::read(dir.path()).expect("a report");
        let file = dir.path().join("report.csv");
        std::fs::write(&file, report.csv()).expect("written");
        let outcomes = crate::table::read(&file).expect("results");
        assert_eq!(outcomes.len(), 16);
        let again = Analysis::new(&outcomes, report.analysis.settings);
        assert_eq!(again.overall_pairs().count(), 1);
        for (one, other) in report.analysis.overall_pairs().zip(again.overall_pairs()) {
            assert_eq!(one.barnard_p, other.barnard_p);
            assert_eq!(one.pairs, other.pairs);
            assert_eq!(one.log_rank_p, other.log_rank_p);
        }
    }
}

#[test]
fn what_is_not_an_evaluation_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let error = Report::read(dir.path()).expect_err("empty").to_string();
    assert!(error.contains("no evaluation here"), "{error}");
    let dir = evaluation(&example(), 3);
    let changed = example().replace("seed = 7", "seed = 7 # mine");
    std::fs::write(dir.path().join("plan.toml"), changed).expect("written");
    let error = Report::read(dir.path()).expect_err("changed").to_string();
    assert!(error.contains("was changed since"), "{error}");
}
