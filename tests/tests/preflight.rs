//! What a live cell shows against what its bundle was trained on: a healthy cell is accepted in every world, and each of many
//! misconfigurations is refused by its name. A device and cameras are shown on the wire by the test, from what the simulated ones
//! showed, changed as the misconfiguration would.

mod cell;
mod preflight_stage;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cell::{cell_file, program};
use preflight_stage::*;
use tactus_types::JointVec;

type Change = Box<dyn Fn(&mut Shown)>;

/// What is planted, and what the doctor must say of it.
fn planted() -> Vec<(&'static str, Change)> {
    fn joints(change: impl Fn(&mut [f64]) + 'static) -> Change {
        Box::new(move |shown| {
            let mut q: Vec<f64> = shown.state.q.as_slice().to_vec();
            change(&mut q);
            shown.state.q = JointVec::from_fn(q.len(), |i| q[i]);
        })
    }
    fn picture(
        camera: &'static str,
        from: impl Fn(usize, usize) -> (usize, usize) + Copy + 'static,
        colour: impl Fn([u8; 3]) -> [u8; 3] + Copy + 'static,
    ) -> Change {
        Box::new(move |shown| {
            let jpeg = repainted(&shown.pictures[camera], from, colour);
            shown.pictures.insert(camera.into(), jpeg);
        })
    }
    const LAST: usize = SIDE - 1;
    let stays = |r: usize, c: usize| (r, c);
    let same = |rgb: [u8; 3]| rgb;
    let gain = |by: f64| move |rgb: [u8; 3]| rgb.map(|v| (f64::from(v) * by).min(255.0) as u8);
    vec![
        (
            "as in training: scene: mirrored, left and right",
            picture("scene", |r, c| (r, LAST - c), same),
        ),
        (
            "as in training: scene: mirrored, above and below",
            picture("scene", |r, c| (LAST - r, c), same),
        ),
        (
            "as in training: scene: upside down",
            picture("scene", |r, c| (LAST - r, LAST - c), same),
        ),
        (
            "as in training: scene: turned with the clock",
            picture("scene", |r, c| (LAST - c, r), same),
        ),
        (
            "as in training: scene: turned against the clock",
            picture("scene", |r, c| (c, LAST - r), same),
        ),
        (
            "as in training: wrist: upside down",
            picture("wrist", |r, c| (LAST - r, LAST - c), same),
        ),
        (
            "as in training: wrist: mirrored, above and below",
            picture("wrist", |r, c| (LAST - r, c), same),
        ),
        (
            "as in training: wrist: turned with the clock",
            picture("wrist", |r, c| (LAST - c, r), same),
        ),
        (
            "as in training: scene: 99 %: overexposed",
            picture("scene", stays, gain(9.0)),
        ),
        ("too dark", picture("scene", stays, gain(0.15))),
        (
            "as in training: wrist: 0 %: too dark",
            picture("wrist", stays, gain(0.0)),
        ),
        (
            "another white balance",
            picture("scene", stays, |[r, g, b]| [r, g, b / 4]),
        ),
        (
            "those of scene and wrist have changed places",
            Box::new(|shown| {
                let scene = shown.pictures["scene"].clone();
                let wrist = shown.pictures.insert("wrist".into(), scene);
                shown.pictures.insert("scene".into(), wrist.expect("there"));
            }),
        ),
        (
            "joints shoulder_pitch and elbow_pitch have changed places",
            joints(|q| q.swap(1, 2)),
        ),
        (
            "joint elbow_pitch has the wrong sign",
            joints(|q| q[2] = -q[2]),
        ),
        (
            "joint wrist_pitch has the wrong sign",
            joints(|q| q[4] = -q[4]),
        ),
        (
            "joint elbow_pitch was converted to rad twice",
            joints(|q| q[2] = q[2].to_radians()),
        ),
        (
            "the joints were converted to rad twice",
            joints(|q| q.iter_mut().for_each(|q| *q = q.to_radians())),
        ),
        (
            "joint range: elbow_pitch at 75",
            joints(|q| q[2] = q[2].to_degrees()),
        ),
        ("joints: joint elbow_pitch at", joints(|q| q[2] = 0.6)),
        (
            "gripper: the opposite",
            Box::new(|shown| shown.state.opening = 1.0 - shown.state.opening),
        ),
        (
            "gripper: a hundredth",
            Box::new(|shown| shown.state.opening /= 100.0),
        ),
        (
            "state.joints: expected joints of the arm",
            Box::new(|shown| shown.info.joints[2] = "elbow".into()),
        ),
        (
            "joint names: no gripper",
            Box::new(|shown| shown.info.gripper = false),
        ),
        (
            "joint states: joint states of sim: ",
            Box::new(|shown| shown.state_hz = STATE_HZ / 2.0),
        ),
        (
            "pictures: camera scene: ",
            Box::new(|shown| shown.picture_hz = 10.0),
        ),
        (
            "pictures: camera scene: ",
            Box::new(|shown| shown.age = Duration::from_millis(400)),
        ),
        (
            "pictures: camera wrist: nothing came",
            Box::new(|shown| {
                shown.pictures.remove("wrist");
            }),
        ),
        (
            "frame size: expected 224x224, got 112x112",
            Box::new(|shown| {
                let small = encoded(&[90; 112 * 112 * 3], 112);
                shown.pictures.insert("wrist".into(), small);
            }),
        ),
    ]
}

/// `asked` in groups of [`AT_ONCE`].
fn at_once<T: Sync, R: Send>(asked: &[T], ask: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let mut all = Vec::new();
    for (group, these) in asked.chunks(AT_ONCE).enumerate() {
        std::thread::scope(|scope| {
            let ask = &ask;
            let asking: Vec<_> = these
                .iter()
                .enumerate()
                .map(|(i, t)| scope.spawn(move || ask(group * AT_ONCE + i, t)))
                .collect();
            all.extend(asking.into_iter().map(|a| a.join().expect("no panic")));
        });
    }
    all
}

#[test]
fn fifty_healthy_worlds_are_accepted() {
    let sim = Sim::start();
    let worlds: Vec<(u64, Shown)> = (7001..7051).map(|seed| (seed, sim.world(seed))).collect();
    let said = at_once(&worlds, |i, (seed, shown)| {
        (
            *seed,
            sim.doctor(&format!("well-{i}"), shown.clone(), |text| text),
        )
    });
    let refused: Vec<_> = said
        .iter()
        .filter(|(_, (code, _))| *code != Some(0))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn each_planted_mistake_is_refused_by_its_name() {
    let sim = Sim::start();
    let healthy = sim.world(7003);
    let planted: Vec<(&str, Shown)> = planted()
        .into_iter()
        .map(|(says, change)| {
            let mut shown = healthy.clone();
            change(&mut shown);
            (says, shown)
        })
        .collect();
    let said = at_once(&planted, |i, (says, shown)| {
        let (code, failures) = sim.doctor(&format!("ill-{i}"), shown.clone(), |text| text);
        (*says, code, failures)
    });
    let missed: Vec<_> = said
        .iter()
        .filter(|(says, code, failures)| {
            *code != Some(3) || !failures.iter().any(|f| f.contains(says))
        })
        .collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn a_bundle_of_other_cameras_is_refused() {
    let sim = Sim::start();
    let healthy = sim.world(7003);
    let (code, failures) = sim.doctor("other", healthy, |text| {
        text.replacen("name = \"wrist\"", "name = \"hand\"", 1)
    });
    assert_eq!(code, Some(3));
    let says = "a [[camera]] named wrist, which the bundle wants";
    assert!(failures.iter().any(|f| f.contains(says)), "{failures:?}");
}

/// A camera that was knocked by a little looks as in training still; only the picture that was kept of the scene tells.
#[test]
fn a_camera_that_has_moved_since_is_named() {
    let sim = Sim::start();
    let healthy = sim.world(7003);
    let kept = sim.dir.path().join("kept.jpg");
    std::fs::write(&kept, &healthy.pictures["scene"]).expect("written");
    let with_scene = |text: String| {
        let scene = format!("name = \"scene\"\nscene = \"{}\"", kept.display());
        text.replacen("name = \"scene\"", &scene, 1)
    };
    let (code, failures) = sim.doctor("stands", healthy.clone(), with_scene);
    assert_eq!((code, failures), (Some(0), vec![]));
    let mut knocked = healthy;
    let shifted = |r: usize, c: usize| ((r + 5).min(SIDE - 1), (c + 6).min(SIDE - 1));
    let picture = repainted(&knocked.pictures["scene"], shifted, |rgb| rgb);
    knocked.pictures.insert("scene".into(), picture);
    let (code, failures) = sim.doctor("knocked", knocked, with_scene);
    assert_eq!(code, Some(3));
    let says = "scene: camera scene: moved by 7.8 px at most (middle -6.0, -5.0";
    assert!(failures.iter().any(|f| f.starts_with(says)), "{failures:?}");
}

/// The bundle of the demo cell without a reference is a bundle still: what cannot be compared is said, and no failure.
#[test]
fn a_bundle_without_a_reference_is_warned_of() {
    let sim = Sim::start();
    let healthy = sim.world(7003);
    let plain = sim.dir.path().join("plain");
    let bundle = cell::checkout().join("models/demo/bundle");
    copy_without_reference(&bundle, &plain);
    let (code, failures) = sim.doctor("plain-cell", healthy, |text| {
        text.replacen(
            &bundle.display().to_string(),
            &plain.display().to_string(),
            1,
        )
    });
    assert_eq!((code, failures), (Some(0), vec![]));
}

/// `tactus run` compares before there is an arm host, and so before there can be torque.
#[test]
fn a_cell_that_does_not_fit_is_not_brought_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let other = dir.path().join("other");
    let bundle = cell::checkout().join("models/demo/bundle");
    copy_without_reference(&bundle, &other);
    // What was learnt of each camera is the other's: as if they had changed places.
    let learnt = std::fs::read(bundle.join("reference.safetensors")).expect("read");
    let exchanged: Vec<u8> = exchange(&learnt, b"\"camera.0.", b"\"camera.1.");
    std::fs::write(other.join("reference.safetensors"), exchanged).expect("written");
    let digest = Command::new("sha256sum")
        .arg(other.join("reference.safetensors"))
        .output();
    let digest = String::from_utf8(digest.expect("runs").stdout).expect("text");
    let text = std::fs::read_to_string(other.join("bundle.toml")).expect("text");
    let text = text.replacen(
        "[files]",
        &format!(
            "[reference]\nfile = \"reference.safetensors\"\n\n[files]\n\"reference.safetensors\" = \"{}\"",
            &digest[..64]
        ),
        1,
    );
    std::fs::write(other.join("bundle.toml"), text).expect("written");
    let file = cell_file(dir.path(), |text| {
        text.replacen(
            &bundle.display().to_string(),
            &other.display().to_string(),
            1,
        )
    });
    let run = Command::new(program())
        .arg("run")
        .arg(&file)
        .env("TMPDIR", dir.path())
        .stdin(Stdio::null())
        .output()
        .expect("starts");
    let said = String::from_utf8(run.stderr).expect("text");
    assert_eq!(run.status.code(), Some(3), "{said}");
    assert!(said.contains("have changed places"), "{said}");
    let logs = std::fs::read_dir(dir.path()).expect("a folder").flatten();
    let logs: Vec<PathBuf> = logs
        .map(|e| e.path())
        .filter(|p| p.join("sim.log").exists())
        .collect();
    assert_eq!(logs.len(), 1, "{said}");
    assert!(!logs[0].join("arm.log").exists(), "an arm host was started");
}

/// A camera that sees something else than it did is said, and may be what the cell is brought up to mend.
#[test]
fn a_camera_that_has_moved_does_not_keep_a_cell_down() {
    let kept = cell::checkout().join("models/demo/golden/0-wrist.jpg");
    let _up = cell::Cell::start(|text| {
        let scene = format!("name = \"scene\"\nscene = \"{}\"", kept.display());
        text.replacen("name = \"scene\"", &scene, 1)
    });
}

/// `bytes` with each `a` where `b` was, and the other way round.
fn exchange(bytes: &[u8], a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for i in 0..bytes.len().saturating_sub(a.len()) {
        let here = &bytes[i..i + a.len()];
        if here == a || here == b {
            out[i..i + a.len()].copy_from_slice(if here == a { b } else { a });
        }
    }
    out
}

fn copy_without_reference(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_without_reference(&from, &to);
            continue;
        }
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        if entry.file_name() == "bundle.toml" {
            let text = std::fs::read_to_string(&from).expect("text");
            let kept = |line: &&str| !line.contains("reference");
            let text: String = text
                .lines()
                .filter(kept)
                .map(|l| format!("{l}\n"))
                .collect();
            std::fs::write(to, text).expect("written");
        } else if entry.file_name() != "reference.safetensors" {
            std::fs::copy(&from, &to).expect("copied");
        }
    }
}
