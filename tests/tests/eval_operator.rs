//! Trials that an operator judges, in real time, with words on stdin; killed on the way and gone on with. The same at the
//! panel, in a browser: launch/panel/tests.

mod cell;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cell::{cell_file, checkout, program, tactus};
use serde_json::Value;

/// A cell comes up within this time, even on a busy machine.
const WAIT: Duration = Duration::from_secs(90);

/// `tactus eval`, its words and what it says.
struct Evaluation {
    process: Child,
    words: Option<ChildStdin>,
    said: Arc<Mutex<String>>,
}

impl Evaluation {
    fn start(args: &[&str]) -> Self {
        let mut process = Command::new(program())
            .arg("eval")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let said = Arc::new(Mutex::new(String::new()));
        let (to, lines) = (said.clone(), process.stderr.take().expect("piped"));
        std::thread::Builder::new()
            .name("said".into())
            .spawn(move || {
                for line in BufReader::new(lines).lines().map_while(Result::ok) {
                    *to.lock().expect("unpoisoned") += &format!("{line}\n");
                }
            })
            .expect("a thread");
        Self {
            words: process.stdin.take(),
            process,
            said,
        }
    }

    fn wait_for(&self, text: &str) {
        let until = Instant::now() + WAIT;
        loop {
            let said = self.said.lock().expect("unpoisoned").clone();
            if said.contains(text) {
                return;
            }
            assert!(Instant::now() < until, "no `{text}` in: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn say(&mut self, words: &str) {
        let stdin = self.words.as_mut().expect("open");
        writeln!(stdin, "{words}").expect("told");
    }

    fn end(mut self) -> ExitStatus {
        let until = Instant::now() + WAIT;
        loop {
            if let Some(status) = self.process.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Evaluation {
    fn drop(&mut self) {
        // It may have ended by itself; its cell ends with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn plan(dir: &Path) -> String {
    let cell = cell_file(dir, |text| {
        text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ")
    });
    let plan = format!(
        "schema = 1\nname = \"by eye\"\ncell = \"{}\"\nseed = 1\ntrials = 2\nscore = \"operator\"\n[stop]\nrule = \"fixed\"\n\
         [[policy]]\nname = \"demo\"\nbundle = \"{}\"\n\
         [[task]]\nname = \"pick\"\nkind = \"pick\"\ntime_limit_s = 30\nmilestones = [\"near it\"]\nstart = {{ first_seed = 8001 }}\n",
        cell.display(),
        checkout().join("models/demo/bundle").display()
    );
    let file = dir.join("plan.toml");
    std::fs::write(&file, plan).expect("written");
    file.display().to_string()
}

fn ended(dir: &str) -> Vec<Value> {
    let file = Path::new(dir).join("trials.jsonl");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(|line| -> Value {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line.get("entry").cloned().unwrap_or(line)
    });
    lines.filter(|entry| entry["kind"] == "ended").collect()
}

#[test]
fn an_operators_words_are_kept_and_a_kill_loses_none_of_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let (plan, to) = (plan(dir.path()), dir.path().join("results"));
    let to = to.display().to_string();
    let refused = tactus(&["eval", "run", &plan, "--dir", &to, "--lockstep"]);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("no operator watches"), "{why}");
    assert!(
        !Path::new(&to).exists(),
        "refused before anything was written"
    );

    let mut first = Evaluation::start(&["run", &plan, "--dir", &to]);
    first.wait_for("set the scene up");
    first.say("success");
    first.wait_for("not while the trial is setup");
    first.say("perhaps");
    first.wait_for("expected ready, end");
    first.say("ready");
    first.wait_for("runs:");
    std::thread::sleep(Duration::from_millis(500));
    first.say("success at once");
    first.wait_for("trial 2 of 2");
    first.wait_for("trial 2 of 2  A  pick, start: seed");
    assert_eq!(ended(&to).len(), 1);
    first.process.kill().expect("killed");
    drop(first);

    let mut second = Evaluation::start(&["resume", &to]);
    second.wait_for("was cut off in its attempt 1");
    second.wait_for("set the scene up");
    second.say("ready");
    second.wait_for("runs:");
    second.say("end");
    second.wait_for("failure PROGRESS`?");
    second.say("failure 40 went past it");
    assert!(second.end().success());

    let ended = ended(&to);
    let of = |name: &str| -> Vec<&Value> { ended.iter().map(|e| &e[name]).collect() };
    assert_eq!(
        of("abort"),
        [&Value::Null, &"interrupted".into(), &"operator_stop".into()]
    );
    assert_eq!(
        (&ended[0]["judge"], &ended[2]["judge"]),
        (&"operator".into(), &"operator".into())
    );
    assert_eq!(
        (&ended[0]["note"], &ended[2]["note"]),
        (&"at once".into(), &"went past it".into())
    );
    assert_eq!(
        (ended[0]["progress"].as_f64(), ended[2]["progress"].as_f64()),
        (Some(100.0), Some(40.0))
    );
    let secs = ended[0]["secs"].as_f64().expect("a time");
    assert!((0.4..30.0).contains(&secs), "{secs} s");
    assert!(Path::new(&to).join("report.html").is_file());
}
