//! Holds the shape of the workspace: which room may depend on which, and which outside library lives in which room.
//!
//! It reads the manifests through `cargo metadata`, so it sees every declared dependency: normal, build and
//! development ones, optional ones and those of other targets. All of them follow the same table; what only whole-system
//! tests need belongs to the `tests` crate. It says nothing about what the code inside a room does.
//!
//! A *room* is the folder of a crate relative to the workspace root, such as `runtime/wire`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{Metadata, MetadataCommand, Package};

/// The rooms that `room` may depend on; `None` when the design has no such room.
fn allowed(room: &str) -> Option<&'static [&'static str]> {
    Some(match room {
        "runtime/types" => &[],
        "runtime/kinematics" => &["runtime/types"],
        "runtime/control" => &["runtime/types", "runtime/kinematics"],
        "runtime/wire" => &["runtime/types"],
        "runtime/record" => &["runtime/types", "runtime/wire"],
        "runtime/host" => &[
            "runtime/types",
            "runtime/control",
            "runtime/wire",
            "runtime/record",
        ],
        "runtime/eval" => &["runtime/types", "runtime/wire", "runtime/record"],
        "drivers/api" => &["runtime/types", "runtime/wire"],
        // Kinematics: what a stick moves is a tool point, and an arm is told joints.
        "drivers/teleop" => &[
            "drivers/api",
            "drivers/feetech",
            "drivers/dynamixel",
            "runtime/types",
            "runtime/kinematics",
        ],
        "models/bundle" => &["runtime/types"],
        "models/onnx" => &["runtime/types", "models/bundle"],
        // Pictures are decoded and resized the same way for every family.
        "models/pixels" => &["runtime/types", "models/bundle"],
        "models/vla" => &[
            "runtime/types",
            "runtime/kinematics",
            "models/bundle",
            "models/fast",
            "models/onnx",
            "models/pixels",
        ],
        // Columns and what actions mean are the same for both families.
        "models/direct" => &[
            "runtime/types",
            "models/bundle",
            "models/onnx",
            "models/pixels",
            "models/vla",
        ],
        // Where the families meet.
        "models/policies" => &[
            "runtime/types",
            "models/bundle",
            "models/vla",
            "models/direct",
            "models/openpi",
        ],
        "models/fast" | "models/preflight" => &[],
        "models/openpi" => &["runtime/types", "models/bundle", "models/pixels"],
        "calibration/latency" | "calibration/drift" => &[],
        "calibration/data" => &["runtime/types"],
        "calibration/joints" => &["runtime/types", "runtime/kinematics", "calibration/data"],
        "calibration/fit" => &["runtime/types", "runtime/kinematics", "calibration/data"],
        "drivers/camera/cv" => &[
            "drivers/camera",
            "drivers/api",
            "runtime/types",
            "calibration/data",
        ],
        // A device driver: a new one is a new folder, and needs no line here.
        _ if room.starts_with("drivers/") => &[
            "drivers/api",
            "runtime/types",
            "runtime/kinematics",
            "calibration/data",
        ],
        "launch" | "tests" | "tests/decoders" => &["*"],
        _ => return None,
    })
}

/// May a crate in `from` depend on the crate in `to`?
fn may_depend(from: &str, to: &str) -> bool {
    // The binary is a leaf: whoever needs it, the whole-system tests included, runs it as a process.
    to != "launch" && allowed(from).is_some_and(|rooms| rooms.contains(&to) || rooms == ["*"])
}

/// Outside libraries that only the rooms beside them may use.
const CONFINED: [(&str, &[&str]); 6] = [
    ("anyhow", &["launch"]),
    ("mujoco-rs", &["drivers/sim"]),
    ("opencv", &["drivers/camera/cv", "calibration/fit"]),
    ("ort", &["models/onnx", "models/vla"]),
    ("serial2", &["drivers/api"]),
    ("zenoh", &["runtime/wire"]),
];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = [
    "utils", "util", "common", "helper", "helpers", "manager", "core",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests room has a parent")
        .into()
}

fn workspace() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo metadata reads the workspace")
}

/// Every crate of the workspace with its room.
fn rooms(metadata: &Metadata) -> BTreeMap<String, &Package> {
    let rooms: BTreeMap<_, _> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let folder = package
                .manifest_path
                .parent()
                .expect("a manifest lies in a folder");
            let room = folder
                .strip_prefix(&metadata.workspace_root)
                .expect("members are inside");
            (room.to_string(), package)
        })
        .collect();
    assert!(
        rooms.len() >= 11,
        "cargo metadata shows only {:?}",
        rooms.keys()
    );
    rooms
}

fn assert_none(violations: &[String]) {
    assert!(violations.is_empty(), "\n  {}\n", violations.join("\n  "));
}

#[test]
fn every_crate_has_a_room_and_a_name_that_says_something() {
    let metadata = workspace();
    let mut violations = Vec::new();
    for (room, package) in rooms(&metadata) {
        if allowed(&room).is_none() {
            violations.push(format!("{room}: no such room in the table of {}", file!()));
        }
        let named_for_its_room = match room.as_str() {
            "launch" => package.name.as_str() == "tactus",
            _ => package.name.starts_with("tactus-"),
        };
        if !named_for_its_room {
            violations.push(format!("{room}: its crate is called {}", package.name));
        }
        let mut words = package.name.split('-').chain(room.split('/'));
        if let Some(word) = words.find(|word| EMPTY_NAMES.contains(word)) {
            violations.push(format!("{room} ({}): `{word}` names nothing", package.name));
        }
    }
    assert_none(&violations);
}

#[test]
fn dependencies_between_rooms_follow_the_table() {
    let metadata = workspace();
    let rooms = rooms(&metadata);
    let mut arrows = 0;
    let mut violations = Vec::new();
    for (from, package) in &rooms {
        for dependency in &package.dependencies {
            let Some(path) = &dependency.path else {
                continue;
            };
            let to = path
                .strip_prefix(&metadata.workspace_root)
                .map_or(path.as_str(), |p| p.as_str());
            arrows += 1;
            if !may_depend(from, to) {
                let kind = dependency.kind;
                violations.push(format!("{from} -> {to} ({kind}): not in the table"));
            }
        }
    }
    assert!(
        arrows >= 10,
        "only {arrows} dependencies between our crates: are they read at all?"
    );
    assert_none(&violations);
}

#[test]
fn confined_libraries_stay_in_their_rooms() {
    let metadata = workspace();
    let mut violations = Vec::new();
    for (room, package) in rooms(&metadata) {
        for dependency in &package.dependencies {
            let confined = CONFINED.iter().find(|(name, _)| *name == dependency.name);
            if let Some((name, homes)) = confined
                && !homes.contains(&room.as_str())
            {
                let kind = dependency.kind;
                violations.push(format!(
                    "{room} -> {name} ({kind}): only for {}",
                    homes.join(", ")
                ));
            }
        }
    }
    assert_none(&violations);
}

#[test]
fn every_crate_carries_the_workspace_lints() {
    let metadata = workspace();
    let mut violations = Vec::new();
    for (room, package) in rooms(&metadata) {
        let manifest = fs::read_to_string(&package.manifest_path).expect("a manifest can be read");
        let mut lines = manifest
            .lines()
            .map(str::trim)
            .skip_while(|line| *line != "[lints]");
        let inherits = lines.nth(1).is_some_and(|line| line == "workspace = true");
        if !inherits {
            violations.push(format!(
                "{room}/Cargo.toml: lacks `[lints]` with `workspace = true`"
            ));
        }
    }
    assert_none(&violations);
}

/// The sentences of the design that the table stands for, so that a careless line in it shows.
#[test]
fn the_table_keeps_io_wire_and_models_apart() {
    for outside in [
        "runtime/wire",
        "runtime/host",
        "runtime/record",
        "drivers/sim",
    ] {
        assert!(
            !may_depend("runtime/control", outside),
            "control does no IO, yet sees {outside}"
        );
    }
    for model in [
        "models/bundle",
        "models/onnx",
        "models/vla",
        "models/openpi",
    ] {
        assert!(
            !may_depend(model, "runtime/wire"),
            "{model} must never see the wire"
        );
        assert!(
            !may_depend("runtime/host", model),
            "host must never see {model}, nor so ort"
        );
        for driver in [
            "drivers/api",
            "drivers/sim",
            "drivers/teleop",
            "drivers/one-more",
        ] {
            assert!(
                !may_depend(driver, model),
                "{driver} must never see {model}"
            );
            assert!(
                !may_depend(driver, "runtime/host"),
                "{driver} must never see the host"
            );
        }
    }
    for room in ["tests", "runtime/host", "drivers/sim"] {
        assert!(
            !may_depend(room, "launch"),
            "{room} must run the binary, not link it"
        );
    }
}
