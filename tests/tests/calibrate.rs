//! Calibration of the simulated cell, as an operator does it: real processes over loopback, the arm under its own limits, and
//! pictures that MuJoCo rendered. The truth is the model's.
//!
//! Where OpenCV is not there, and so `tactus-fit` was not built, only that is said.

mod cell;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cell::{cell_file, program, tactus};
use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion, Vector3};
use serde_json::Value;
use tactus_calibration::{CameraInfo, HandEye, Mount, Pose};

/// Focal length of a camera of 640x480 that sees so many degrees from top to bottom, pixels.
fn focal(fovy_deg: f64) -> f64 {
    240.0 / (fovy_deg / 2.0).to_radians().tan()
}

/// A file of the lens as a data sheet might have it: the focal length is `share` of the true one.
fn nominal(file: &Path, camera: &str, fovy_deg: f64, share: f64) {
    let f = focal(fovy_deg) * share;
    let text = format!(
        "image_width: 640\nimage_height: 480\ncamera_name: {camera}\ncamera_matrix:\n  rows: 3\n  cols: 3\n  data: [{f}, 0, 319.5, 0, {f}, 239.5, 0, 0, 1]\n\
         distortion_model: plumb_bob\ndistortion_coefficients:\n  rows: 1\n  cols: 5\n  data: [0, 0, 0, 0, 0]\n"
    );
    std::fs::write(file, text).expect("written");
}

/// A camera of the model, from MuJoCo's `pos` and `xyaxes` (x right, y up), as OpenCV has it.
fn camera(pos: [f64; 3], right: [f64; 3], up: [f64; 3]) -> Isometry3<f64> {
    let (right, down) = (
        Vector3::from(right).normalize(),
        -Vector3::from(up).normalize(),
    );
    let axes = Matrix3::from_columns(&[right, down, right.cross(&down)]);
    Isometry3::from_parts(
        Translation3::from(pos),
        UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(axes)),
    )
}

/// mm and degrees.
fn off(a: &Isometry3<f64>, b: &Isometry3<f64>) -> (f64, f64) {
    let way = a.translation.vector - b.translation.vector;
    (
        way.norm() * 1e3,
        a.rotation.angle_to(&b.rotation).to_degrees(),
    )
}

fn is_built() -> bool {
    let built = program().with_file_name("tactus-fit").is_file();
    if !built {
        let said = tactus(&[
            "calibrate",
            "intrinsics",
            "--camera",
            "c",
            "--folder",
            "/none",
            "--out",
            "/none/f",
        ]);
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        assert!(said.contains("./launch/setup --cv"), "{said}");
        eprintln!("no OpenCV on this machine: nothing else is tested");
    }
    built
}

/// The roles that calibration needs of the simulated cell, with a board in it: no policy, so that a busy machine need not be quick
/// enough for one.
struct Bench {
    roles: Vec<Child>,
    file: String,
    endpoint: String,
    dir: tempfile::TempDir,
}

impl Bench {
    /// Brings them up and enables the arm.
    fn start(board: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let file = cell_file(dir.path(), |text| {
            text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
                .replace("track_limit_ms = 100 ", "track_limit_ms = 1000 ")
                .replace("rate_hz = 20", "rate_hz = 8")
                .replace(
                    "variation = true ",
                    &format!("board = \"{board}\"\nvariation = false "),
                )
        });
        let listener = std::net::TcpListener::bind("127.0.0.1:0");
        let port = listener
            .and_then(|l| l.local_addr())
            .expect("a port")
            .port();
        let mut bench = Self {
            roles: Vec::new(),
            file: file.display().to_string(),
            endpoint: format!("tcp/127.0.0.1:{port}"),
            dir,
        };
        bench.role("sim", "--listen");
        let until = Instant::now() + WITHIN;
        // The others give up where nobody listens yet.
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "the simulator does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        bench.role("arm", "--connect");
        bench.role("camera", "--connect");
        while !bench.verb(&["order"], &["enable"]).0 {
            assert!(Instant::now() < until, "the arm cannot be enabled");
            std::thread::sleep(Duration::from_millis(200));
        }
        bench
    }

    fn role(&mut self, role: &str, way: &str) {
        let role = Command::new(program())
            .args([role, "--cell", &self.file, way, &self.endpoint])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.roles.push(role.expect("starts"));
    }

    /// `tactus VERB .. WORDS` for this cell: whether it succeeded, and what it said.
    fn verb(&self, verb: &[&str], words: &[&str]) -> (bool, String) {
        let common = ["--cell", &self.file, "--connect", &self.endpoint];
        said(&[verb, &common, words].concat())
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for role in self.roles.iter_mut().rev() {
            role.kill().and_then(|()| role.wait()).expect("ended");
        }
    }
}

/// `tactus VERB COMMON WORDS`: whether it succeeded, and what it said.
fn tactus_said(verb: &[&str], common: &[&str], words: &[&str]) -> (bool, String) {
    said(&[verb, common, words].concat())
}

/// Runs `tactus WORDS`: whether it succeeded, and what it said.
fn said(words: &[&str]) -> (bool, String) {
    let output = tactus(words);
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{}{}", said[0], said[1]);
    (output.status.success(), said.concat())
}

/// How long the roles may take to come up.
const WITHIN: Duration = Duration::from_secs(30);

fn hand_eye(words: &[&str]) -> (bool, String) {
    said(&[&["calibrate", "hand-eye"], words].concat())
}

/// A pseudo-random number of mean 0 and deviation 1, near enough to normal: the sum of twelve.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        let mut sum = -6.0;
        for _ in 0..12 {
            // Knuth's MMIX.
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += (self.0 >> 11) as f64 / (1u64 << 53) as f64;
        }
        sum
    }

    fn vector(&mut self, size: f64) -> Vector3<f64> {
        Vector3::from_fn(|_, _| self.next()) * (size / 3f64.sqrt())
    }
}

/// The poses of `file` as an arm would say them that is exact to `mm` and `deg`, in `to`.
fn shaken(file: &Path, to: &Path, (mm, deg): (f64, f64), seed: u64) {
    let mut noise = Noise(seed);
    let mut poses: Value =
        serde_json::from_slice(&std::fs::read(file).expect("there")).expect("JSON");
    for sample in poses["samples"].as_array_mut().expect("samples") {
        let x: Pose = serde_json::from_value(sample["x_be"].clone()).expect("a pose");
        let by = Isometry3::from_parts(
            Translation3::from(noise.vector(mm / 1e3)),
            UnitQuaternion::from_scaled_axis(noise.vector(deg.to_radians())),
        );
        let x: Pose = (x.isometry() * by).into();
        sample["x_be"] = serde_json::to_value(x).expect("a value");
    }
    std::fs::write(to, poses.to_string()).expect("written");
}

/// How far the place in `file` is from `truth`, mm and degrees.
fn error_of(file: &Path, truth: &Isometry3<f64>) -> (f64, f64) {
    let (place, _) = HandEye::read(file).expect("a place");
    off(&place.pose().expect("a pose").isometry(), truth)
}

/// Errors with the noise of an industrial and of a hobby arm, over some draws: within the bounds.
fn holds_with_noise(bench: &Bench, camera: &str, truth: &Isometry3<f64>) {
    let [poses, to, out] =
        ["poses.json", "shaken.json", "shaken.toml"].map(|name| bench.dir.path().join(name));
    let mut hobby = Vec::new();
    for seed in 1..=5 {
        let words = |noise: (f64, f64)| {
            shaken(&poses, &to, noise, seed);
            let (mm, deg) = (noise.0.to_string(), noise.1.to_string());
            let files = [to.display().to_string(), out.display().to_string()];
            let (done, said) = hand_eye(&[
                "--camera",
                camera,
                "--poses",
                &files[0],
                "--out",
                &files[1],
                "--arm-mm",
                &mm,
                "--arm-deg",
                &deg,
            ]);
            assert!(done, "{said}");
            error_of(&out, truth)
        };
        let (mm, deg) = words((0.2, 0.03));
        assert!(
            mm <= 1.5 && deg <= 0.15,
            "industrial, draw {seed}: {mm} mm, {deg} degrees"
        );
        hobby.push(words((2.0, 0.5)).0);
    }
    hobby.sort_by(f64::total_cmp);
    println!("hobby: {hobby:.2?} mm");
    assert!(hobby[2] <= 3.0, "median of {hobby:?} mm");
}

#[test]
#[ignore = "some minutes; ./tests/run --long"]
fn long_the_wrist_camera_is_measured_from_its_lens_to_its_place() {
    if !is_built() {
        return;
    }
    let bench = Bench::start("table");
    let path = |name: &str| bench.path(name);
    nominal(path("nominal.yaml").as_ref(), "wrist", 80.0, 1.03);
    let common = [
        "--camera",
        "wrist",
        "--cell",
        &bench.file,
        "--connect",
        &bench.endpoint,
    ];

    // The lens, the arm moving through views for it, from a data sheet that is 3 % off.
    let words = [
        "--arm-moves",
        "--start",
        &path("nominal.yaml"),
        "--out",
        &path("wrist.yaml"),
        "--kalibr",
        &path("chain.yaml"),
        "--picture",
        &path("guide.svg"),
        "--views",
        "36",
        "--speed",
        "0.4",
    ];
    let (done, said) = tactus_said(&["calibrate", "intrinsics"], &common, &words);
    assert!(done, "{said}");
    let moves = ["--eye-in-hand", "--speed", "0.4"];
    let lens_file = path("wrist.yaml");
    let info = CameraInfo::read(lens_file.as_ref()).expect("a lens");
    let f = focal(80.0);
    let [fx, fy, cx, cy] = info.lens.camera;
    println!("focal lengths {fx:.2} {fy:.2} of {f:.2}, centre {cx:.2} {cy:.2}");
    for focal in [fx, fy] {
        assert!(
            (focal / f - 1.0).abs() < 0.003,
            "{:?}, not {f}",
            info.lens.camera
        );
    }
    assert!(
        (cx - 319.5).abs() < 2.0 && (cy - 239.5).abs() < 2.0,
        "{:?}",
        info.lens.camera
    );
    assert!(info.seal.is_some());
    for file in ["guide.svg", "chain.yaml"] {
        assert!(Path::new(&path(file)).is_file(), "{file}");
    }

    // Its place.
    let place = path("place.toml");
    let exact = [
        "--intrinsics",
        &lens_file,
        "--out",
        &place,
        "--save-poses",
        &path("poses.json"),
    ];
    let (done, said) = hand_eye(&[&common[..], &moves, &exact].concat());
    assert!(
        done && said.contains("X_EC, camera `wrist` in link `tip`"),
        "{said}"
    );
    let in_hand = camera(
        [-0.082, 0.0, 0.052],
        [0.0, -1.0, 0.0],
        [-0.8321, 0.0, 0.5547],
    );
    let truth = Translation3::new(0.0, 0.0, -0.15) * in_hand;
    let (mm, deg) = error_of(place.as_ref(), &truth);
    println!("exact arm: {mm:.3} mm, {deg:.4} degrees");
    assert!(mm < 1.0 && deg < 0.1, "{mm} mm, {deg} degrees");
    let (read, _) = HandEye::read(place.as_ref()).expect("a place");
    let quality = &read.quality;
    assert!(read.mount == Mount::EyeInHand && quality.span_deg >= 60.0 && quality.poses == 20);
    assert_eq!(read.lens_sha256, info.sha256);
    holds_with_noise(&bench, "wrist", &truth);

    // What says too little is refused, and the old file stays.
    let before = std::fs::read(&place).expect("there");
    let poses = std::fs::read(path("poses.json")).expect("there");
    let poses: Value = serde_json::from_slice(&poses).expect("JSON");
    let (mut few, mut still) = (poses.clone(), poses.clone());
    few["samples"].as_array_mut().expect("samples").truncate(10);
    for sample in still["samples"].as_array_mut().expect("samples") {
        *sample = poses["samples"][0].clone();
    }
    for (poses, wanted) in [
        (few.to_string(), "too few poses: expected at least 15"),
        (
            still.to_string(),
            "the hand turns too little: expected 60 degrees",
        ),
        ("{".into(), "no file of poses"),
    ] {
        std::fs::write(path("bad.json"), poses).expect("written");
        let (done, said) = hand_eye(&[
            "--camera",
            "wrist",
            "--poses",
            &path("bad.json"),
            "--out",
            &place,
        ]);
        assert!(!done && said.contains(wanted), "{said}");
        assert_eq!(std::fs::read(&place).expect("there"), before, "untouched");
    }
    let kalibr = ["--intrinsics", &path("chain.yaml"), "--out", &place];
    let (done, said) = hand_eye(&[&common[..], &moves, &kalibr].concat());
    assert!(!done && said.contains("field `image_width`"), "{said}");
    assert_eq!(std::fs::read(&place).expect("there"), before, "untouched");
}

#[test]
fn the_camera_beside_the_arm_is_placed_by_a_board_in_the_hand() {
    if !is_built() {
        return;
    }
    let bench = Bench::start("hand");
    let path = |name: &str| bench.path(name);
    nominal(path("scene.yaml").as_ref(), "scene", 37.0, 1.0);
    // To where the camera sees the board.
    let before_the_camera = ["arm", "goto", "0,0.93,1.02,0,-1.2,0"];
    assert!(bench.verb(&before_the_camera, &["--speed", "0.5"]).0);
    let words = [
        "--camera",
        "scene",
        "--eye-to-hand",
        "--speed",
        "0.5",
        "--board",
        "charuco:7x5:20:15",
    ];
    let files = [
        "--intrinsics",
        &path("scene.yaml"),
        "--out",
        &path("place.toml"),
        "--save-poses",
        &path("poses.json"),
    ];
    let (done, said) = bench.verb(&["calibrate", "hand-eye"], &[&words[..], &files].concat());
    assert!(
        done && said.contains("X_BC, camera `scene` in link `base`"),
        "{said}"
    );
    let truth = camera([0.76, 0.0, 0.62], [0.0, 1.0, 0.0], [-0.7385, 0.0, 0.6743]);
    let (mm, deg) = error_of(path("place.toml").as_ref(), &truth);
    println!("exact arm: {mm:.3} mm, {deg:.4} degrees");
    assert!(mm < 1.5 && deg < 0.1, "{mm} mm, {deg} degrees");
    holds_with_noise(&bench, "scene", &truth);
    assert!(
        !std::path::Path::new(&path("place.poses.json")).exists(),
        "a run that gets through leaves nothing"
    );
    guided_by_hand(&bench, &words);
}

/// An operator moves the arm, to where it was before, and presses Enter; after a break it goes on with what it has.
fn guided_by_hand(bench: &Bench, words: &[&str]) {
    let poses = std::fs::read(bench.path("poses.json")).expect("there");
    let poses: Value = serde_json::from_slice(&poses).expect("JSON");
    let pose = |k: usize| {
        let q = poses["samples"][k]["q"].as_array().expect("joints");
        let q: Vec<String> = q.iter().map(Value::to_string).collect();
        q.join(",")
    };
    let (lens, out) = (bench.path("scene.yaml"), bench.path("hand.toml"));
    let guided = |more: &[&str], visits: &[usize]| {
        let common = ["--cell", &bench.file, "--connect", &bench.endpoint];
        let files = ["--hand-guided", "--intrinsics", &lens, "--out", &out];
        let mut child = Command::new(program())
            .args(["calibrate", "hand-eye"])
            .args([&common[..], words, &files, more].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        let mut stdin = child.stdin.take().expect("piped");
        for (n, k) in visits.iter().enumerate() {
            let moved = bench.verb(&["arm", "goto", &pose(*k)], &["--speed", "0.5"]);
            assert!(moved.0, "{}", moved.1);
            stdin.write_all(b"\n").expect("typed");
            // The arm stays until the pose was taken; after the last the command ends by itself.
            let before = if more.contains(&"--resume") { 4 } else { 0 };
            let is_taken = || {
                let text = std::fs::read(bench.path("hand.poses.json")).unwrap_or_default();
                let have: Value = serde_json::from_slice(&text).unwrap_or_default();
                have["samples"].as_array().map_or(0, Vec::len) > n + before
            };
            let until = Instant::now() + WITHIN;
            while !is_taken() {
                assert!(Instant::now() < until, "the pose is not taken");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let output = child.wait_with_output().expect("ended");
        let said = [output.stdout, output.stderr];
        let said = said.map(|b| String::from_utf8_lossy(&b).into_owned());
        println!("{}{}", said[0], said[1]);
        (output.status.success(), said.concat())
    };
    // One after the other, so that the arm moves on when a pose was taken; too few for a result, and they are kept.
    let (done, said) = guided(&["--count", "4"], &[0, 7, 11, 3]);
    assert!(!done && said.contains("too few poses"), "{said}");
    let kept = std::fs::read(bench.path("hand.poses.json")).expect("kept");
    let kept: Value = serde_json::from_slice(&kept).expect("JSON");
    assert_eq!(kept["samples"].as_array().map(Vec::len), Some(4));
    let (done, said) = guided(&["--count", "5", "--resume"], &[14]);
    assert!(
        !done && said.contains("4 poses are there") && said.contains("pose 5 of 5"),
        "{said}"
    );
    let other = ["--count", "5", "--resume", "--board", "charuco:7x5:21:15"];
    let words: Vec<&str> = words
        .iter()
        .copied()
        .filter(|w| !w.contains("board") && !w.contains("charuco"))
        .collect();
    let common = ["--hand-guided", "--intrinsics", &lens, "--out", &out];
    let (done, said) = bench.verb(
        &["calibrate", "hand-eye"],
        &[&words[..], &common, &other].concat(),
    );
    assert!(!done && said.contains("of another board"), "{said}");
}

#[test]
fn pictures_that_say_too_little_are_refused_and_the_old_lens_stays() {
    if !is_built() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (folder, lens) = (path("views"), path("front.yaml"));
    std::fs::create_dir(&folder).expect("made");
    let (done, said_of_it) = said(&["calibrate", "board", "--png", &path("views/1.png")]);
    assert!(
        done && said_of_it.contains("charuco:7x5:35:26"),
        "{said_of_it}"
    );
    nominal(lens.as_ref(), "front", 60.0, 1.0);
    let before = std::fs::read(&lens).expect("there");
    let intrinsics = |words: &[&str]| {
        let common = [
            "calibrate",
            "intrinsics",
            "--camera",
            "front",
            "--folder",
            &folder,
        ];
        said(&[&common, words].concat())
    };
    let out = ["--out", &lens];
    let refused = |words: &[&str], wanted: &str| {
        let (done, said) = intrinsics(&[&out, words].concat());
        assert!(!done && said.contains(wanted), "{said}");
        assert_eq!(std::fs::read(&lens).expect("there"), before, "untouched");
    };
    // What is drawn is white beyond measure.
    refused(&[], "overexposed");
    refused(&["--board", "charuco:7x5:35:20"], "of other dimensions");
    refused(&["--board", "charuco:5x7:35:26"], "of other dimensions");
    refused(&["--board", "chessboard:9x6:25"], "of other dimensions");
    std::fs::write(path("bad.yaml"), "image_width: [").expect("written");
    refused(&["--start", &path("bad.yaml")], "bad.yaml");
    let none = path("none.yaml");
    let (done, said_of_it) = intrinsics(&["--verify", &none]);
    assert!(!done && said_of_it.contains("No such file"), "{said_of_it}");
    std::fs::write(path("views/2.jpg"), "no picture").expect("written");
    refused(&[], "2.jpg");
}
