//! Joints that are not what the arm says are found: the simulated arm behind a relay that turns a joint around, or shifts zeros;
//! signs and zeros as an operator checks them, by real processes over loopback.
//!
//! Where OpenCV is not there, and so `tactus-fit` was not built, only what needs no camera is tested.

mod cell;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cell::{cell_file, program, tactus};
use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion, Vector3};
use serde_json::Value;
use tactus_calibration::{HandEye, HandEyeQuality, Mount, hand_eye::Belongs, seal};
use tactus_types::{ArmInfo, JointState, JointVec};
use tactus_wire::{
    AliveToken, Cell as WireCell, Delivery, DeviceCommand, MonotonicClock, Name, Nothing,
    Queryable, Responder, Role, Session, SessionOptions, Subscriber, Topic,
};

const WITHIN: Duration = Duration::from_secs(60);

fn name(text: &str) -> Name {
    Name::new(text).expect("legal")
}

/// What the relay does to each joint: it says `sign * q + shift`.
type Planted = Vec<(f64, f64)>;

fn sound() -> Planted {
    vec![(1.0, 0.0); 6]
}

fn said(planted: &Planted, q: &JointVec, speed: bool) -> JointVec {
    JointVec::from_fn(q.len(), |i| {
        let (sign, shift) = planted[i];
        sign * q[i] + if speed { 0.0 } else { shift }
    })
}

fn meant(planted: &Planted, q: &JointVec, speed: bool) -> JointVec {
    JointVec::from_fn(q.len(), |i| {
        let (sign, shift) = planted[i];
        sign * (q[i] - if speed { 0.0 } else { shift })
    })
}

/// The simulated cell with a board on the table; its arm is reached through a relay.
struct Bench {
    roles: Vec<Child>,
    arm: Option<Child>,
    session: Session,
    wire: WireCell,
    planted: Arc<Mutex<Planted>>,
    file: String,
    endpoint: String,
    dir: tempfile::TempDir,
    _relay: (Vec<Subscriber>, Queryable, AliveToken),
}

impl Bench {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let edited = |text: String| {
            text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
                .replace("track_limit_ms = 100 ", "track_limit_ms = 1000 ")
                .replace("rate_hz = 20", "rate_hz = 8")
                .replace("variation = true ", "board = \"table\"\nvariation = false ")
        };
        let sim = cell_file(dir.path(), edited).display().to_string();
        let told = dir.path().join("told");
        std::fs::create_dir(&told).expect("made");
        let camera = "[[camera]]\nname = \"wrist\"";
        let file = cell_file(&told, |text| {
            let text = edited(text).replacen("device = \"sim\"", "device = \"relay\"", 1);
            assert!(
                text.contains(camera) && text.contains("device = \"relay\""),
                "{text}"
            );
            text.replacen(
                camera,
                &format!("{camera}\nintrinsics = \"wrist.yaml\"\nhand_eye = \"wrist.toml\""),
                1,
            )
        });
        known(&told);
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let endpoint = format!("tcp/{}", port.expect("a port"));
        let options = SessionOptions {
            listen: vec![endpoint.clone()],
            ..SessionOptions::default()
        };
        let clock = Arc::new(MonotonicClock::new().expect("a clock"));
        let session = Session::open(&options, "test", clock).expect("listens");
        let wire = WireCell::new("demo").expect("legal");
        let mut bench = Self {
            roles: vec![],
            arm: None,
            _relay: relay(&session, &wire, &Arc::default()),
            planted: Arc::default(),
            session,
            wire,
            file: file.display().to_string(),
            endpoint,
            dir,
        };
        bench.roles = vec![bench.role("sim", &sim), bench.role("camera", &sim)];
        bench.planted = Arc::new(Mutex::new(sound()));
        bench._relay = relay(&bench.session, &bench.wire, &bench.planted);
        bench
    }

    fn role(&self, role: &str, file: &str) -> Child {
        Command::new(program())
            .args([role, "--cell", file, "--connect", &self.endpoint])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts")
    }

    /// An arm host that is told what `planted` makes of the arm, enabled.
    fn plant(&mut self, planted: Planted) {
        self.stop();
        *self.planted.lock().expect("unpoisoned") = planted;
        self.arm = Some(self.role("arm", &self.file));
        let until = Instant::now() + WITHIN;
        while !self.verb(&["order"], &["enable"]).0 {
            assert!(Instant::now() < until, "the arm cannot be enabled");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn stop(&mut self) {
        if let Some(mut arm) = self.arm.take() {
            arm.kill().and_then(|()| arm.wait()).expect("reaped");
        }
    }

    fn words<'a>(&'a self, verb: &[&'a str], words: &[&'a str]) -> Vec<&'a str> {
        let common = ["--cell", &self.file, "--connect", &self.endpoint];
        [verb, &common, words].concat()
    }

    fn verb(&self, verb: &[&str], words: &[&str]) -> (bool, Option<i32>, String) {
        let output = tactus(&self.words(verb, words));
        let said = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
        println!("{}{}", said[0], said[1]);
        (output.status.success(), output.status.code(), said.concat())
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop();
        for role in &mut self.roles {
            role.kill().and_then(|()| role.wait()).expect("reaped");
        }
    }
}

/// Passes commands on to the simulated device and states back, as `planted` changes them.
fn relay(
    session: &Session,
    wire: &WireCell,
    planted: &Arc<Mutex<Planted>>,
) -> (Vec<Subscriber>, Queryable, AliveToken) {
    let key = |topic: Topic| wire.key(&topic);
    let states = session
        .publisher::<JointState>(&key(Topic::DeviceState(name("relay"))))
        .expect("publishes");
    let commands = session
        .publisher::<DeviceCommand>(&key(Topic::DeviceCommand(name("sim"))))
        .expect("publishes");
    let by = planted.clone();
    let states = Mutex::new(states);
    let back = move |m: Result<Delivery<JointState>, _>| {
        let by = by.lock().expect("unpoisoned").clone();
        if let (Ok(delivery), 6) = (m, by.len()) {
            let mut state: JointState = delivery.message;
            (state.q, state.dq) = (said(&by, &state.q, false), said(&by, &state.dq, true));
            states
                .lock()
                .expect("unpoisoned")
                .put(&state)
                .expect("published");
        }
    };
    let by = planted.clone();
    let commands = Mutex::new(commands);
    let forth = move |m: Result<Delivery<DeviceCommand>, _>| {
        let by = by.lock().expect("unpoisoned").clone();
        if let (Ok(delivery), 6) = (m, by.len()) {
            let mut command: DeviceCommand = delivery.message;
            (command.q, command.dq) =
                (meant(&by, &command.q, false), meant(&by, &command.dq, true));
            commands
                .lock()
                .expect("unpoisoned")
                .put(&command)
                .expect("published");
        }
    };
    let subscribed = vec![
        session
            .subscribe(&key(Topic::DeviceState(name("sim"))), back)
            .expect("subscribed"),
        session
            .subscribe(&key(Topic::DeviceCommand(name("relay"))), forth)
            .expect("subscribed"),
    ];
    let info: ArmInfo = tactus_sim::arm_info();
    let answer = move |_: Delivery<Nothing>, to: Responder<ArmInfo>| to.answer(&info);
    let answers = session
        .queryable(&key(Topic::DeviceInfo(name("relay"))), answer)
        .expect("answers");
    let alive = session
        .alive(wire, Role::Device, &name("relay"))
        .expect("declared");
    (subscribed, answers, alive)
}

/// The true lens and place of the wrist camera, as files of the cell.
fn known(dir: &std::path::Path) {
    let f = 240.0 / 40f64.to_radians().tan();
    let lens = format!(
        "image_width: 640\nimage_height: 480\ncamera_name: wrist\ncamera_matrix:\n  rows: 3\n  cols: 3\n  data: [{f}, 0, 319.5, 0, {f}, 239.5, 0, 0, 1]\n\
         distortion_model: plumb_bob\ndistortion_coefficients:\n  rows: 1\n  cols: 5\n  data: [0, 0, 0, 0, 0]\n"
    );
    std::fs::write(dir.join("wrist.yaml"), &lens).expect("written");
    // MuJoCo's `pos` and `xyaxes`, as OpenCV has a camera: x right, y down.
    let (right, down) = (
        Vector3::new(0.0, -1.0, 0.0),
        -Vector3::new(-0.8321, 0.0, 0.5547).normalize(),
    );
    let axes = Matrix3::from_columns(&[right, down, right.cross(&down)]);
    let x = Isometry3::from_parts(
        Translation3::new(-0.082, 0.0, 0.052 - 0.15),
        UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(axes)),
    );
    let belongs = Belongs {
        camera: "wrist".into(),
        link: "tip".into(),
        arm_sha256: seal::sha256(tactus_sim::ARM_URDF.as_bytes()),
        lens_sha256: seal::sha256(lens.as_bytes()),
    };
    let quality = HandEyeQuality {
        poses: 20,
        span_deg: 60.0,
        agreement_mm: 0.1,
        agreement_deg: 0.1,
        held_out_mm: 0.1,
        std_mm: 0.1,
        std_deg: 0.1,
    };
    let place = HandEye::new(belongs, Mount::EyeInHand, x.into(), quality);
    let text = seal::sealed(&place.write().expect("written"), 1, "then");
    std::fs::write(dir.join("wrist.toml"), text).expect("written");
}

fn json(file: &str) -> Value {
    let text = std::fs::read(file).expect("figures");
    serde_json::from_slice(&text).expect("JSON")
}

/// By joint, what is wrong with it.
fn wrong(figures: &Value) -> Vec<Option<String>> {
    let joints = figures["joints"].as_array().expect("a list").iter();
    joints
        .map(|j| j["wrong"].as_str().map(String::from))
        .collect()
}

#[test]
fn a_joint_that_turns_the_other_way_and_shifted_zeros_are_found_by_what_the_camera_sees() {
    if !program().with_file_name("tactus-fit").is_file() {
        eprintln!("no OpenCV on this machine");
        return;
    }
    let mut bench = Bench::start();
    let figures = bench.path("signs.json");
    let signs = |bench: &Bench, words: &[&str]| {
        let common = [
            "--arm-is-clear",
            "--camera",
            "wrist",
            "--speed",
            "0.3",
            "--json",
            &figures,
        ];
        bench.verb(
            &["calibrate", "joints", "signs"],
            &[&common, words].concat(),
        )
    };
    let (done, _, said) = bench.verb(&["calibrate", "joints", "signs"], &["--camera", "wrist"]);
    assert!(!done && said.contains("--arm-is-clear"), "{said}");

    bench.plant(sound());
    let (done, _, said) = signs(&bench, &[]);
    assert!(done && said.contains("6 joints are as they say"), "{said}");

    let mut turned = sound();
    turned[3].0 = -1.0;
    bench.plant(turned);
    let (_, code, said) = signs(&bench, &[]);
    assert_eq!(code, Some(3), "{said}");
    for (joint, wrong) in wrong(&json(&figures)).iter().enumerate() {
        match joint {
            3 => assert!(
                wrong.as_ref().is_some_and(|w| w.contains("sign is wrong")),
                "{wrong:?}"
            ),
            _ => assert_eq!(*wrong, None, "{joint}"),
        }
    }

    // Zeros: the elbow says 2 degrees too much, the wrist 1.5 too little.
    let mut shifted = sound();
    shifted[2].1 = 0.035;
    shifted[4].1 = -0.026;
    bench.plant(shifted);
    let figures = bench.path("zeros.json");
    let words = [
        "--camera", "wrist", "--count", "14", "--speed", "0.3", "--json", &figures,
    ];
    let (_, code, said) = bench.verb(&["calibrate", "joints", "zeros"], &words);
    assert_eq!(code, Some(3), "{said}");
    let found = json(&figures);
    for (joint, (_, shift)) in [
        (1, (1.0, 0.0)),
        (2, (1.0, 0.035)),
        (3, (1.0, 0.0)),
        (4, (1.0, -0.026)),
    ] {
        let row = &found["joints"][joint];
        let off = row["off_deg"].as_f64().expect("a number").to_radians();
        let std = row["std_deg"].as_f64().expect("a number").to_radians();
        assert!(
            row["told"] == true && (off + shift).abs() < (4.0 * std).max(2e-3),
            "{row}"
        );
        assert_eq!(row["wrong"], shift != 0.0, "{row}");
    }
    // The first joint's zero turns all that is seen with it.
    assert_eq!(
        (&found["joints"][0]["told"], &found["joints"][5]["told"]),
        (&false.into(), &false.into())
    );
    let mm = |field: &str| found["residual_mm"][field].as_f64().expect("a number");
    assert!(mm("as_it_says") > 2.0 * mm("with_offsets"), "{found}");
}

#[test]
fn without_a_camera_the_operator_says_which_way_each_joint_went() {
    let mut bench = Bench::start();
    bench.plant(sound());
    let figures = bench.path("signs.json");
    let words = [
        "--arm-is-clear",
        "--speed",
        "0.4",
        "--by-deg",
        "2",
        "--json",
        &figures,
    ];
    let mut child = Command::new(program())
        .args(bench.words(&["calibrate", "joints", "signs"], &words))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    // Joint by joint: look; the answer. The third goes the other way; the fourth is looked at again.
    let answers = ["", "y", "", "y", "", "o", "", "r", "y", "", "y", "", "y"];
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all((answers.join("\n") + "\n").as_bytes())
        .expect("typed");
    let output = child.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("turns by") && said.contains("of the base"),
        "{said}"
    );
    let wrong = wrong(&json(&figures));
    for (joint, wrong) in wrong.iter().enumerate() {
        assert_eq!(wrong.is_some(), joint == 2, "{wrong:?}");
    }
}
