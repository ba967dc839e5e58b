//! Trials that an operator judges, in real time, with words on stdin; killed on the way and gone on with; and on a cell whose
//! device is somebody else's process, where there is no simulator that could be asked. The same at the panel, in a browser:
//! launch/panel/tests.

mod cell;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cell::{cell_file, checkout, program, tactus};
use serde_json::Value;

/// A cell comes up within this time, even on a busy machine.
const WAIT: Duration = Duration::from_secs(90);

/// One at a time: what watches real time is alone with the machine's cores.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

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

/// The demo cell's file, patient with a busy machine.
fn patient(dir: &Path, edit: impl Fn(String) -> String) -> String {
    let file = cell_file(dir, |text| {
        edit(text)
            .replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ")
    });
    file.display().to_string()
}

fn plan(dir: &Path) -> String {
    let cell = patient(dir, |text| text);
    let plan = format!(
        "schema = 1\nname = \"by eye\"\ncell = \"{}\"\nseed = 1\ntrials = 2\nscore = \"operator\"\n[stop]\nrule = \"fixed\"\n\
         [[policy]]\nname = \"demo\"\nbundle = \"{}\"\n\
         [[task]]\nname = \"pick\"\nkind = \"pick\"\ntime_limit_s = 30\nmilestones = [\"near it\"]\nstart = {{ first_seed = 8001 }}\n",
        cell,
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
    let _alone = alone();
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
    // Enabling takes a while, in which an impatient finger must end nothing.
    std::thread::sleep(Duration::from_millis(50));
    first.say("ready");
    first.wait_for("the trial begins already");
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

/// A process of the cell that is nobody's child but the test's; killed with it.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Other {
    /// The device of a cell whose file does not say what moves its arm.
    fn device(cell: &str, endpoint: &str) -> Self {
        let args = [
            "--log",
            "warn",
            "sim",
            "--cell",
            cell,
            "--connect",
            endpoint,
        ];
        let device = Command::new(program())
            .args(args)
            .stdin(Stdio::null())
            .spawn();
        Self(device.expect("starts"))
    }
}

/// From the cell file's point of view the arm is real: nothing in it says what moves it.
fn real(dir: &Path) -> String {
    patient(dir, |text| {
        text.replace("[sim]\n", "")
            .replace("seed = 0 ", "# ")
            .replace("variation = true", "# ")
    })
}

fn endpoint() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("tcp/{}", listener.local_addr().expect("a port"))
}

#[test]
fn a_bundle_of_another_arm_does_not_move_this_one() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let cell = real(dir.path());
    let demo = checkout().join("models/demo/bundle").display().to_string();
    let other = dir.path().join("other");
    let out = other.display().to_string();
    let made = tactus(&["bundle", "degrade", &demo, "--noise", "0.3", "--out", &out]);
    assert!(made.status.success(), "{made:?}");
    let manifest = other.join("bundle.toml");
    let text = std::fs::read_to_string(&manifest).expect("text");
    assert!(text.contains("elbow_pitch"), "{text}");
    std::fs::write(&manifest, text.replace("elbow_pitch", "elbow_yaw")).expect("written");
    let plan = format!(
        "schema = 1\nname = \"for real\"\ncell = \"{cell}\"\nseed = 1\ntrials = 1\nscore = \"operator\"\n\
         [stop]\nrule = \"fixed\"\n[[policy]]\nname = \"of-another\"\nbundle = \"{out}\"\n\
         [[task]]\nname = \"pick\"\ntime_limit_s = 2\ninstruction = \"pick up the red cube\"\n\
         start = {{ scenes = [\"red cube on the cross\"] }}\n"
    );
    let file = dir.path().join("plan.toml");
    std::fs::write(&file, plan).expect("written");
    let (plan, to) = (file.display().to_string(), dir.path().join("results"));
    let (to, endpoint) = (to.display().to_string(), endpoint());
    let evaluation = Evaluation::start(&["run", &plan, "--dir", &to, "--listen", &endpoint]);
    evaluation.wait_for("panel: ");
    let _device = Other::device(&cell, &endpoint);
    evaluation.wait_for("preflight: refused: joint names");
    evaluation.wait_for("the arm host was not started");
    assert!(!evaluation.end().success());
    let ended = ended(&to);
    assert_eq!(ended[0]["abort"], "setup_error");
    assert!(
        ended[0]["note"]
            .as_str()
            .expect("a note")
            .contains("does not fit")
    );
}

#[test]
fn a_cell_without_a_simulator_is_evaluated_blinded_by_who_sets_its_scenes_up() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("a folder");
    let cell = real(dir.path());
    let demo = checkout().join("models/demo/bundle").display().to_string();
    let worse = dir.path().join("worse").display().to_string();
    let made = tactus(&[
        "bundle", "degrade", &demo, "--noise", "0.3", "--out", &worse,
    ]);
    assert!(made.status.success(), "{made:?}");
    let write = |name: &str, score: &str, task: &str| {
        let text = format!(
            "schema = 1\nname = \"for real\"\ncell = \"{cell}\"\nseed = 1\ntrials = 1\nscore = \"{score}\"\n\
             [stop]\nrule = \"fixed\"\n[[policy]]\nname = \"the-good-one\"\nbundle = \"{demo}\"\n\
             [[policy]]\nname = \"the-bad-one\"\nbundle = \"{worse}\"\n\
             [[task]]\nname = \"pick\"\ntime_limit_s = 2\n{task}"
        );
        let file = dir.path().join(name);
        std::fs::write(&file, text).expect("written");
        file.display().to_string()
    };
    let to = dir.path().join("results").display().to_string();
    let told = "instruction = \"pick up the red cube\"\n";
    let scenes = "start = { scenes = [\"red cube on the cross, gripper open\"] }\n";
    for (score, task, why) in [
        (
            "simulator",
            format!("{told}{scenes}"),
            "score = \"operator\"",
        ),
        ("operator", scenes.to_owned(), "an `instruction`"),
        (
            "operator",
            format!("{told}start = {{ first_seed = 1 }}\n"),
            "start.scenes or start.pictures",
        ),
    ] {
        let plan = write("refused.toml", score, &task);
        let refused = tactus(&["eval", "run", &plan, "--dir", &to]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(why), "{said}");
        assert!(!Path::new(&to).exists(), "nothing was written");
    }

    let plan = write("plan.toml", "operator", &format!("{told}{scenes}"));
    let endpoint = endpoint();
    let mut evaluation = Evaluation::start(&["run", &plan, "--dir", &to, "--listen", &endpoint]);
    evaluation.wait_for("panel: ");
    let _device = Other::device(&cell, &endpoint);
    // The first ends by its time, the second by a word.
    evaluation.wait_for("trial 1 of 2");
    evaluation
        .wait_for("red cube on the cross, gripper open. set the scene up, leave the arm's reach");
    evaluation.say("ready");
    evaluation.wait_for("failure PROGRESS`?");
    evaluation.say("failure 30 beside it");
    evaluation.wait_for("trial 2 of 2  B  pick, start: red cube");
    // Meanwhile who sets the scene up may bring the arm to where trials start.
    let at = ["--cell", &cell, "--connect", &endpoint];
    for verb in [
        [&["order"], &at[..], &["enable"]].concat(),
        [&["arm", "home"], &at[..]].concat(),
    ] {
        let done = tactus(&verb);
        assert!(done.status.success(), "{done:?}");
    }
    evaluation.say("ready");
    evaluation.wait_for("trial 2 of 2  B  pick, start: red cube on the cross, gripper open. runs:");
    std::thread::sleep(Duration::from_millis(500));
    evaluation.say("success");
    let said = evaluation.said.clone();
    assert!(evaluation.end().success());
    let said = said.lock().expect("unpoisoned").clone();
    let blind = said.split("all trials were run").next().expect("a part");
    assert!(
        !blind.contains("the-good-one") && !blind.contains("the-bad-one"),
        "{blind}"
    );

    let ended = ended(&to);
    let of = |name: &str| -> Vec<&Value> { ended.iter().map(|e| &e[name]).collect() };
    assert_eq!(of("abort"), [&Value::from("timeout"), &Value::Null]);
    assert_eq!(of("judge"), ["operator", "operator"]);
    assert_eq!(of("condition"), ["red cube on the cross, gripper open"; 2]);
    for trial in &ended {
        let chunks = trial["figures"]["chunks"].as_u64();
        assert!(
            chunks.is_some_and(|n| n > 0),
            "a policy was in command: {trial}"
        );
    }
    assert!(Path::new(&to).join("report.html").is_file());
}
