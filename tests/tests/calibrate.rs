//! Calibration of the simulated cell, as an operator does it: real processes over loopback, the arm under its own limits, and
//! pictures that MuJoCo rendered. The truth is the model's.
//!
//! Where OpenCV is not there, and so `tactus-fit` was not built, only that is said.

mod cell;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cell::{Cell, program, tactus};
use nalgebra::{Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion, Vector3};
use serde_json::Value;
use tactus_calibration::{CameraInfo, HandEye, Lens, LensModel, Mount, Pose};
use tactus_wire::ModeOrder;

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

fn cell(board: &str) -> Cell {
    Cell::start(|text| {
        text.replace("proprio_limit_ms = 20 ", "proprio_limit_ms = 400 ")
            .replace("frame_limit_ms = 150 ", "frame_limit_ms = 2000 ")
            .replace("answer_within_ms = 250 ", "answer_within_ms = 2000 ")
            .replace("rate_hz = 20", "rate_hz = 10")
            .replace(
                "variation = true ",
                &format!("board = \"{board}\"\nvariation = false "),
            )
    })
}

/// `tactus calibrate hand-eye` of `words`, which succeeds; what it said.
fn hand_eye(words: &[&str]) -> (bool, String) {
    let output = tactus(&[&["calibrate", "hand-eye"], words].concat());
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{}{}", said[0], said[1]);
    (output.status.success(), said.concat())
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
fn holds_with_noise(dir: &Path, poses: &Path, camera: &str, truth: &Isometry3<f64>) {
    let (to, out) = (dir.join("shaken.json"), dir.join("shaken.toml"));
    let mut hobby = Vec::new();
    for seed in 1..=5 {
        let words = |noise: (f64, f64)| {
            shaken(poses, &to, noise, seed);
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
fn the_wrist_camera_is_measured_from_its_lens_to_its_place() {
    if !is_built() {
        return;
    }
    let cell = cell("table");
    assert!(cell.order(&ModeOrder::Enable).accepted);
    cell.release();
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    nominal(&dir.path().join("nominal.yaml"), "wrist", 80.0, 1.03);
    let file = cell.file.display().to_string();
    let common = [
        "--camera",
        "wrist",
        "--cell",
        &file,
        "--connect",
        &cell.endpoint,
    ];

    // The lens, while the arm goes through the poses of a hand-eye calibration with a rough one.
    let intrinsics = Command::new(program())
        .args(["calibrate", "intrinsics"])
        .args(common)
        .args([
            "--out",
            &path("wrist.yaml"),
            "--kalibr",
            &path("chain.yaml"),
            "--picture",
            &path("guide.svg"),
        ])
        .args(["--views", "25", "--within", "150"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let moves = ["--eye-in-hand", "--speed", "0.4"];
    let rough = [
        "--intrinsics",
        &path("nominal.yaml"),
        "--out",
        &path("rough.toml"),
        "--count",
        "30",
    ];
    hand_eye(&[&common[..], &moves, &rough].concat());
    let output = intrinsics.wait_with_output().expect("ended");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    let lens_file = dir.path().join("wrist.yaml");
    let CameraInfo { lens, seal, .. } = CameraInfo::read(&lens_file).expect("a lens");
    let f = focal(80.0);
    let wanted = Lens {
        size: (640, 480),
        camera: [f, f, 319.5, 239.5],
        model: LensModel::PlumbBob,
        ..lens.clone()
    };
    for i in 0..2 {
        let share = (lens.camera[i] / wanted.camera[i] - 1.0).abs();
        assert!(share < 0.003, "focal length {:?}", lens.camera);
        assert!(
            (lens.camera[i + 2] - wanted.camera[i + 2]).abs() < 2.0,
            "centre {:?}",
            lens.camera
        );
    }
    assert!(
        seal.is_some()
            && dir.path().join("guide.svg").is_file()
            && dir.path().join("chain.yaml").is_file()
    );

    // Its place.
    let exact = [
        "--intrinsics",
        &path("wrist.yaml"),
        "--out",
        &path("place.toml"),
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
    let place = dir.path().join("place.toml");
    let (mm, deg) = error_of(&place, &truth);
    println!("exact arm: {mm:.3} mm, {deg:.4} degrees");
    assert!(mm < 1.0 && deg < 0.1, "{mm} mm, {deg} degrees");
    let (read, _) = HandEye::read(&place).expect("a place");
    assert!(
        read.mount == Mount::EyeInHand && read.quality.span_deg >= 60.0 && read.quality.poses == 20
    );
    assert_eq!(
        read.lens_sha256,
        CameraInfo::read(&lens_file).expect("a lens").sha256
    );
    holds_with_noise(dir.path(), &dir.path().join("poses.json"), "wrist", &truth);

    // What says too little is refused, and the old file stays.
    let before = std::fs::read(&place).expect("there");
    let poses: Value =
        serde_json::from_slice(&std::fs::read(path("poses.json")).expect("there")).expect("JSON");
    let (mut few, mut still) = (poses.clone(), poses.clone());
    few["samples"].as_array_mut().expect("samples").truncate(10);
    let first = poses["samples"][0].clone();
    for sample in still["samples"].as_array_mut().expect("samples") {
        *sample = first.clone();
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
            &path("place.toml"),
        ]);
        assert!(!done && said.contains(wanted), "{said}");
        assert_eq!(std::fs::read(&place).expect("there"), before, "untouched");
    }
    let (done, said) = hand_eye(
        &[
            &common[..],
            &moves,
            &[
                "--intrinsics",
                &path("chain.yaml"),
                "--out",
                &path("place.toml"),
            ],
        ]
        .concat(),
    );
    assert!(!done && said.contains("field `image_width`"), "{said}");
    assert_eq!(std::fs::read(&place).expect("there"), before, "untouched");
}

#[test]
fn the_camera_beside_the_arm_is_placed_by_a_board_in_the_hand() {
    if !is_built() {
        return;
    }
    let cell = cell("hand");
    assert!(cell.order(&ModeOrder::Enable).accepted);
    cell.release();
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    nominal(&dir.path().join("scene.yaml"), "scene", 37.0, 1.0);
    let file = cell.file.display().to_string();
    // To where the camera sees the board.
    let turned = tactus(&[
        "arm",
        "goto",
        "0,0.2,1.3,0,-0.5,0",
        "--cell",
        &file,
        "--connect",
        &cell.endpoint,
        "--speed",
        "0.4",
    ]);
    assert!(
        turned.status.success(),
        "{}",
        String::from_utf8_lossy(&turned.stderr)
    );
    cell.wait("the arm rests", Duration::from_secs(5), || true);
    let (done, said) = hand_eye(&[
        "--camera",
        "scene",
        "--cell",
        &file,
        "--connect",
        &cell.endpoint,
        "--eye-to-hand",
        "--speed",
        "0.4",
        "--intrinsics",
        &path("scene.yaml"),
        "--out",
        &path("place.toml"),
        "--save-poses",
        &path("poses.json"),
    ]);
    assert!(
        done && said.contains("X_BC, camera `scene` in link `base`"),
        "{said}"
    );
    let truth = camera([0.76, 0.0, 0.62], [0.0, 1.0, 0.0], [-0.7385, 0.0, 0.6743]);
    let (mm, deg) = error_of(&dir.path().join("place.toml"), &truth);
    println!("exact arm: {mm:.3} mm, {deg:.4} degrees");
    assert!(mm < 1.5 && deg < 0.1, "{mm} mm, {deg} degrees");
    holds_with_noise(dir.path(), &dir.path().join("poses.json"), "scene", &truth);
}
