//! Evaluations as a user runs them: blinded trials that survive being killed, and what is said of bad input.

mod cell;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use cell::{checkout, program, tactus};
use serde_json::Value;
use tempfile::TempDir;

/// Noise on the weights of the policy that is to be found worse; fixed on other seeds (2 of 15 from 9001).
const NOISE: &str = "0.3";

/// A folder with a degraded copy of the demo bundle and a plan that compares both.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new(trials: u64, more: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let bench = Self { dir };
        let noisy = bench.path("noisy");
        let bundle = demo_bundle();
        let args = [
            "bundle", "degrade", &bundle, "--noise", NOISE, "--out", &noisy,
        ];
        let output = tactus(&args);
        assert!(output.status.success(), "{}", said(&output));
        let plan = format!(
            "schema = 1\nname = \"demo against noise\"\nseed = 11\ntrials = {trials}\n\
             [stop]\nrule = \"fixed\"\n\
             [[policy]]\nname = \"demo\"\nbundle = \"{bundle}\"\n\
             [[policy]]\nname = \"noisy\"\nbundle = \"noisy\"\n\
             [[task]]\nname = \"pick\"\nkind = \"pick\"\ntime_limit_s = 6\nmilestones = [\"lifted\"]\n\
             start = {{ first_seed = 8001 }}\n{more}"
        );
        std::fs::write(bench.path("plan.toml"), plan).expect("written");
        bench
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn run(&self, dir: &str) -> Output {
        let (plan, dir) = (self.path("plan.toml"), self.path(dir));
        tactus(&[
            "eval",
            "run",
            &plan,
            "--dir",
            &dir,
            "--headless",
            "--lockstep",
            "--record",
        ])
    }

    /// Starts a command, and kills it with SIGKILL once so many trials have ended.
    fn killed(&self, args: &[&str], dir: &str, ended: usize) {
        let mut child = Command::new(program())
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let until = Instant::now() + Duration::from_secs(500);
        while count(&self.path(dir), "\"kind\":\"ended\"") < ended {
            if let Some(status) = child.try_wait().expect("a child") {
                let mut said = String::new();
                child
                    .stderr
                    .take()
                    .expect("piped")
                    .read_to_string(&mut said)
                    .expect("text");
                panic!("ended before it was killed ({status}): {said}");
            }
            assert!(Instant::now() < until, "too slow");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().expect("killed");
        child.wait().expect("dead");
    }

    fn report(&self, dir: &str) -> Value {
        let file = Path::new(&self.path(dir)).join("report.json");
        serde_json::from_str(&std::fs::read_to_string(file).expect("a report")).expect("JSON")
    }
}

fn demo_bundle() -> String {
    checkout().join("models/demo/bundle").display().to_string()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn count(dir: &str, what: &str) -> usize {
    let results = std::fs::read_to_string(Path::new(dir).join("trials.jsonl")).unwrap_or_default();
    results.matches(what).count()
}

/// Which trials there are that count, what came of each, and the hash over all its commands.
fn outcomes(report: &Value) -> Vec<(u64, String, bool, String)> {
    let attempts = report["attempts"].as_array().expect("attempts").iter();
    let mut outcomes: Vec<_> = attempts
        .filter(|a| a["counts"] == true)
        .map(|a| {
            let text = |v: &Value| v.as_str().expect("text").to_owned();
            let success = a["success"].as_bool().expect("a flag");
            (
                a["trial"].as_u64().expect("a number"),
                text(&a["policy"]),
                success,
                text(&a["figures"]["commands_sha256"]),
            )
        })
        .collect();
    outcomes.sort();
    outcomes
}

/// Both policies compared with `trials` each: killed twice, gone on with, nothing lost, nothing repeated.
fn killed_twice(bench: &Bench, trials: usize) -> Value {
    let dir = bench.path("killed");
    let (plan, all) = (bench.path("plan.toml"), 2 * trials);
    let run = [
        "eval",
        "run",
        &plan,
        "--dir",
        &dir,
        "--headless",
        "--lockstep",
    ];
    bench.killed(&run, "killed", all / 4);
    bench.killed(&["eval", "resume", &dir], "killed", all / 2 + 1);
    let output = tactus(&["eval", "resume", &dir]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(
        !said(&output).contains("demo "),
        "blind while it ran: {}",
        said(&output)
    );
    let report = bench.report("killed");
    assert_eq!(report["finished"], "complete");
    assert_eq!(report["left"], 0);
    let outcomes = outcomes(&report);
    let trials_run: Vec<u64> = outcomes.iter().map(|o| o.0).collect();
    assert_eq!(trials_run, (0..all as u64).collect::<Vec<_>>(), "each once");
    let excluded = report["attempts"]
        .as_array()
        .expect("attempts")
        .iter()
        .filter(|a| a["counts"] == false);
    let reasons: Vec<&Value> = excluded.map(|a| &a["abort"]).collect();
    assert!(
        reasons.len() <= 2 && reasons.iter().all(|r| *r == "interrupted"),
        "{reasons:?}"
    );
    let page = std::fs::read_to_string(Path::new(&dir).join("report.html")).expect("a page");
    for wanted in [
        "Success",
        "Time to success",
        "noisy",
        "was called",
        "commands",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    report
}

#[test]
fn killed_twice_an_evaluation_ends_as_if_it_never_had_been() {
    let bench = Bench::new(4, "");
    let report = killed_twice(&bench, 4);
    let output = bench.run("whole");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(
        outcomes(&report),
        outcomes(&bench.report("whole")),
        "bit for bit"
    );
    what_trials_leave(&bench, "whole");
    // The bundle that is there when it goes on must be the one it began with; so must plan and results.
    let dir = bench.path("edited");
    let plan = bench.path("plan.toml");
    bench.killed(
        &[
            "eval",
            "run",
            &plan,
            "--dir",
            &dir,
            "--headless",
            "--lockstep",
        ],
        "edited",
        1,
    );
    refused_at_resume(&bench, &dir);
}

/// Pictures before and after, and a recording that is decided again bit for bit.
fn what_trials_leave(bench: &Bench, dir: &str) {
    let report = bench.report(dir);
    let attempts = report["attempts"].as_array().expect("attempts");
    let kept = |figures: &Value, which: &str| {
        let file = figures[which]["file"].as_str().expect("a file");
        Path::new(&bench.path(dir)).join(file)
    };
    let mut before = std::collections::BTreeMap::new();
    for attempt in attempts {
        let figures = &attempt["figures"];
        let [first, last] = ["first", "last"].map(|which| {
            let bytes = std::fs::read(kept(figures, which)).expect("a picture");
            assert!(bytes.starts_with(&[0xFF, 0xD8]), "JPEG");
            bytes
        });
        assert_ne!(first, last, "the arm moved");
        let condition = attempt["condition"].as_str().expect("text");
        let same = before.entry(condition).or_insert_with(|| first.clone());
        assert_eq!(*same, first, "both policies began with the same scene");
    }
    for policy in ["demo", "noisy"] {
        let of = |a: &&Value| a["policy"] == policy;
        let attempt = attempts.iter().find(of).expect("an attempt");
        let file = kept(&attempt["figures"], "recording").display().to_string();
        let bundle = match policy {
            "demo" => demo_bundle(),
            _ => bench.path("noisy"),
        };
        let output = tactus(&["replay", &file, "--bundle", &bundle]);
        assert!(output.status.success(), "{}", said(&output));
    }
}

fn refused_at_resume(bench: &Bench, dir: &str) {
    let refused = |wanted: &[&str]| {
        let output = tactus(&["eval", "resume", dir]);
        let said = said(&output);
        assert!(!output.status.success(), "{said}");
        for word in wanted {
            assert!(said.contains(word), "expected `{word}` in: {said}");
        }
    };
    let changed = |file: PathBuf, from: &str, to: &str| {
        let text = std::fs::read_to_string(&file).expect("text");
        assert!(text.contains(from), "{from}");
        std::fs::write(&file, text.replacen(from, to, 1)).expect("written");
        (file, text)
    };
    let (file, text) = changed(
        Path::new(dir).join("trials.jsonl"),
        "\"success\":",
        "\"success\": ",
    );
    refused(&["trials.jsonl line 3 was edited"]);
    std::fs::write(file, text).expect("written");
    let (file, text) = changed(Path::new(dir).join("plan.toml"), "seed = 11", "seed = 12");
    refused(&["plan.toml was changed since the evaluation began"]);
    std::fs::write(file, text).expect("written");
    let noisy = bench.path("noisy");
    std::fs::rename(&noisy, bench.path("kept")).expect("moved");
    let other = tactus(&[
        "bundle",
        "degrade",
        &demo_bundle(),
        "--noise",
        "0.01",
        "--seed",
        "2",
        "--out",
        &noisy,
    ]);
    assert!(other.status.success(), "{}", said(&other));
    refused(&[
        "policy `noisy`",
        "none of those that the evaluation began with",
    ]);
    std::fs::remove_dir_all(&noisy).expect("removed");
    std::fs::rename(bench.path("kept"), &noisy).expect("moved");
    // The disk is full in the middle of a line: what was there stays, and it goes on from there.
    let before = count(dir, "\n");
    let size = std::fs::metadata(Path::new(dir).join("trials.jsonl"))
        .expect("results")
        .len();
    let script = format!("ulimit -f {}; exec \"$@\"", size / 1024 + 1);
    let full = Command::new("bash")
        .args(["-c", &script, "bash"])
        .arg(program())
        .args(["eval", "resume", dir])
        .output()
        .expect("runs");
    assert!(!full.status.success());
    assert!(
        said(&full).contains("trials.jsonl: File too large"),
        "{}",
        said(&full)
    );
    let results = std::fs::read_to_string(Path::new(dir).join("trials.jsonl")).expect("results");
    assert!(results.ends_with('\n') && results.lines().count() >= before);
    let output = tactus(&["report", dir]);
    assert!(output.status.success(), "{}", said(&output));
    let again = bench.run("edited");
    assert!(
        said(&again).contains("holds an evaluation already"),
        "{}",
        said(&again)
    );
}

#[test]
#[ignore = "long: 50 trials in lock-step"]
fn long_the_better_of_two_policies_is_found_although_it_was_killed_twice() {
    let bench = Bench::new(25, "");
    let report = killed_twice(&bench, 25);
    let figures = report["analysis"]["figures"].as_array().expect("figures");
    let rate = |policy: &str| {
        let found = figures.iter().find(|f| f["policy"] == policy);
        found.and_then(|f| f["rate"].as_f64()).expect("a rate")
    };
    assert!(rate("noisy") <= 0.4, "degraded enough: {}", rate("noisy"));
    assert!(rate("demo") >= 0.8, "{}", rate("demo"));
    let pair = &report["analysis"]["pairs"][0];
    assert_eq!(pair["first"], "demo");
    assert!(pair["barnard_p"].as_f64().expect("p") < 0.001, "{pair}");
    assert!(
        pair["first_better"].as_f64().expect("a probability") > 0.999,
        "{pair}"
    );
}

/// The plan that ships, but for the number of its trials.
#[test]
fn the_alignment_in_miniature_is_judged_by_its_plan_and_the_bundles_beside_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let there = checkout().join("models/demo/alignment");
    let mut plan = std::fs::read_to_string(there.join("plan.toml")).expect("the plan");
    for (from, to) in [
        ("trials = 400", "trials = 3".to_owned()),
        (
            "\"sft\"\n\n",
            format!("\"{}\"\n\n", there.join("sft").display()),
        ),
        (
            "\"aligned\"\n\n",
            format!("\"{}\"\n\n", there.join("aligned").display()),
        ),
    ] {
        assert!(plan.contains(from), "{from}");
        plan = plan.replace(from, &to);
    }
    std::fs::write(path("plan.toml"), plan).expect("written");
    let (plan, results) = (path("plan.toml"), path("results"));
    let output = tactus(&[
        "eval",
        "run",
        &plan,
        "--dir",
        &results,
        "--headless",
        "--lockstep",
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let shown = said(&output) + &String::from_utf8_lossy(&output.stdout);
    let trials: Vec<&str> = shown.lines().filter(|l| l.starts_with("trial ")).collect();
    assert_eq!(trials.len(), 6, "{shown}");
    let report = std::fs::read_to_string(dir.path().join("results/report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let outcomes = outcomes(&report);
    for policy in ["sft", "aligned"] {
        let own = outcomes.iter().filter(|(_, name, ..)| name == policy);
        let done: Vec<bool> = own.map(|(_, _, success, _)| *success).collect();
        assert!(
            done.len() == 3 && done.contains(&true),
            "{policy}: {done:?}"
        );
        // Until the end nobody was told which is which.
        let told = trials.iter().any(|line| line.contains(policy));
        assert!(!told, "{shown}");
    }
}

#[test]
fn plans_that_cannot_be_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("plan.toml");
    let to = dir.path().join("results").display().to_string();
    let bundle = demo_bundle();
    let good = format!(
        "schema = 1\nname = \"n\"\nseed = 1\ntrials = 2\n[stop]\nrule = \"fixed\"\n[[policy]]\nname = \"a\"\n\
         bundle = \"{bundle}\"\n[[task]]\nname = \"pick\"\nkind = \"pick\"\ntime_limit_s = 6\nstart = {{ first_seed = 1 }}\n"
    );
    for (from, with, wanted) in [
        (
            "trials = 2",
            "trials = 0",
            "`trials` is 0; expected 1 to 1000",
        ),
        ("trials = 2", "trials = 100000", "`trials` is 100000"),
        (
            "{ first_seed = 1 }",
            "{ seeds = [5] }",
            "at least 2 start conditions",
        ),
        (
            "{ first_seed = 1 }",
            "{ scenes = [\"left\", \"right\"] }",
            "starts from seeds",
        ),
        (
            "kind = \"pick\"",
            "kind = \"fold\"",
            "neither pick, place nor both",
        ),
        (
            "kind = \"pick\"",
            "kind = \"pick\"\nmilestones = [\"folded\"]",
            "no milestone `folded`",
        ),
        (
            "kind = \"pick\"",
            "kind = \"pick\"\ninstruction = \"fold the towel\"",
            "cannot judge",
        ),
        (
            "[[task]]",
            "[[policy]]\nname = \"b\"\nbundle = \"/nowhere\"\n[[task]]",
            "policy `b`",
        ),
        (
            "[[task]]",
            &format!("[[policy]]\nname = \"b\"\nbundle = \"{bundle}\"\n[[task]]"),
            "are the same bundle",
        ),
    ] {
        assert!(good.contains(from));
        std::fs::write(&file, good.replacen(from, with, 1)).expect("written");
        let output = tactus(&[
            "eval",
            "run",
            &file.display().to_string(),
            "--dir",
            &to,
            "--headless",
            "--lockstep",
        ]);
        let said = said(&output);
        assert!(
            !output.status.success() && said.contains(wanted),
            "{with}: {said}"
        );
        assert!(!Path::new(&to).exists(), "nothing was begun");
    }
    for args in [
        ["eval", "resume", "/nowhere"].as_slice(),
        &["report", "/nowhere"],
    ] {
        let output = tactus(args);
        assert!(
            !output.status.success() && said(&output).contains("no evaluation here"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn the_worked_example_says_what_its_page_says() {
    let file = checkout()
        .join("runtime/eval/examples/roboalign.csv")
        .display()
        .to_string();
    let output = tactus(&["eval", "analyze", &file]);
    assert!(output.status.success(), "{}", said(&output));
    let shown = String::from_utf8(output.stdout).expect("text");
    let page =
        std::fs::read_to_string(checkout().join("runtime/eval/README.md")).expect("the page");
    for line in shown.lines() {
        assert!(page.contains(line.trim_end()), "the page lacks: {line}");
    }
    let power = tactus(&["eval", "power", "--baseline", "0.5", "--better", "0.8"]);
    let shown = String::from_utf8(power.stdout).expect("text");
    for line in shown.lines() {
        assert!(page.contains(line.trim_end()), "the page lacks: {line}");
    }
    let output = tactus(&["eval", "power", "--baseline", "0.5", "--better", "0.5"]);
    assert!(
        !output.status.success() && said(&output).contains("differs"),
        "{}",
        said(&output)
    );
}
