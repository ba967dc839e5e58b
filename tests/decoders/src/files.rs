//! What lies in files that somebody else wrote: bundles, calibrations, recordings, plans and results.
//!
//! They are read as they are by the program, from a file; it lies in memory where the system has such a place.

use std::path::Path;

use tactus_bundle::{AnyBundle, GoldenCase};
use tactus_calibration::{ArmLatency, CameraInfo, HandEye, camera_info, seal};
use tactus_drivers_api::servo::Calibration;
use tactus_fast::FastSpec;
use tempfile::TempDir;

/// A folder in memory, where there is one.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = match memory.is_dir() {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("a folder to put bytes into")
}

fn put(dir: &TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
    let file = dir.path().join(name);
    std::fs::write(&file, bytes).expect("a file to put bytes into");
    file
}

/// Files of a bundle. The first byte says which.
pub fn bundle(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else {
        return false;
    };
    let dir = folder();
    match which % 5 {
        0 => {
            put(&dir, "bundle.toml", bytes);
            // Its other files are not there: at the latest then it is refused.
            let refused = AnyBundle::open(dir.path()).map(drop);
            let refused = refused.expect_err("a bundle without its files").to_string();
            refused.contains("is missing")
        }
        1 => GoldenCase::parse("golden/0.safetensors", bytes).is_ok(),
        2 => {
            let file = put(&dir, "fast_config.json", bytes);
            FastSpec::read(&file).is_ok()
        }
        3 => {
            let reference = tactus_preflight::Reference::from_bytes(bytes);
            reference.is_ok_and(|reference| reference.to_bytes().is_ok())
        }
        _ => {
            let text = std::str::from_utf8(bytes);
            text.is_ok_and(|text| tactus_openpi::MappingFile::parse(text).is_ok())
        }
    }
}

/// Under a seal that fits: what was edited is refused before it is read.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let body = String::from_utf8_lossy(bytes);
    seal::sealed(&body, 1_800_000_000, "by the fuzzer").into_bytes()
}

/// Calibrations. The first byte says of what.
pub fn calibration(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else {
        return false;
    };
    let dir = folder();
    match which % 4 {
        0 => {
            let file = put(&dir, "camera.yaml", bytes);
            let info = CameraInfo::read(&file);
            if let Ok(info) = &info {
                let _ = info.check_camera(&file, "scene");
                let _ = camera_info::kalibr(&info.lens, "/camera");
            }
            info.is_ok()
        }
        1 => {
            let file = put(&dir, "hand_eye.toml", &sealed(bytes));
            let found = HandEye::read(&file);
            found.is_ok_and(|(found, _)| found.pose().is_some())
        }
        2 => {
            let file = put(&dir, "latency.toml", &sealed(bytes));
            ArmLatency::read(&file, "arm").is_ok()
        }
        _ => {
            let file = put(&dir, "follower.json", bytes);
            let motors = ["shoulder_pan", "shoulder_lift", "gripper"];
            Calibration::read(&file, &motors, 2047).is_ok()
        }
    }
}

/// A recording.
pub fn mcap(data: &[u8]) -> bool {
    let dir = folder();
    let file = put(&dir, "a.mcap", data);
    let inspected = tactus_record::inspect(&file).is_ok();
    let read = tactus_record::read(&file, |told| {
        if let tactus_record::Told::Message(message) = told {
            let _ = message.decode::<tactus_wire::ChunkReply>();
            let _ = message.decode::<tactus_wire::TickBatch>();
        }
        true
    });
    inspected && read.is_ok_and(|cut| cut.is_none())
}

/// A plan of an evaluation, and a table of results from elsewhere. The first byte says which.
pub fn plan(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else {
        return false;
    };
    if which % 2 == 0 {
        let text = std::str::from_utf8(bytes);
        text.is_ok_and(|text| tactus_eval::plan::Plan::parse(text).is_ok())
    } else {
        let dir = folder();
        tactus_eval::table::read(&put(&dir, "results.csv", bytes)).is_ok()
    }
}
