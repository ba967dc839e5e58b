//! `tactus install`, judged by systemd itself where it is there.

use std::path::Path;
use std::process::Command;

mod cell;
use cell::{cell_file, tactus};

fn on_hosts(text: String) -> String {
    text + r#"
[[host]]
name = "bench"
address = "192.168.7.10"
roles = ["device", "arm", "camera"]

[[host]]
name = "rack"
address = "192.168.7.20"
roles = ["engine"]
"#
}

fn installs(cell: &Path, more: &[&str]) -> (bool, String) {
    let file = cell.display().to_string();
    let mut args = vec!["install", "--cell", &file];
    args.extend(more);
    let out = tactus(&args);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    (
        out.status.success(),
        text + &String::from_utf8_lossy(&out.stderr),
    )
}

#[test]
fn units_say_what_a_role_needs_and_systemd_takes_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = cell_file(dir.path(), on_hosts);
    let out = dir.path().join("units");
    std::fs::create_dir(&out).expect("a folder");
    let to = out.display().to_string();
    let bench = ["--host", "bench", "--user", "root", "--out", &to];
    let roles = [
        "--role", "device", "--role", "arm", "--role", "camera", "--role", "run",
    ];
    let (done, said) = installs(&file, &[&bench[..], &roles[..]].concat());
    assert!(done, "{said}");
    let (done, said) = installs(&file, &["--role", "engine", "--host", "rack", "--out", &to]);
    assert!(done, "{said}");
    assert!(
        said.contains("systemctl enable --now tactus-demo-engine.service"),
        "{said}"
    );
    let read = |role: &str| {
        std::fs::read_to_string(out.join(format!("tactus-demo-{role}.service"))).expect(role)
    };
    let arm = read("arm");
    for line in [
        "LimitRTPRIO=98",
        "LimitMEMLOCK=infinity",
        "Restart=on-failure",
        "User=root",
        "After=network-online.target tactus-demo-device.service",
        "\"--host\" \"bench\"",
    ] {
        assert!(arm.contains(line), "{line}: {arm}");
    }
    let engine = read("engine");
    assert!(
        !engine.contains("LimitRTPRIO") && !engine.contains("User="),
        "{engine}"
    );
    // The simulator is this cell's device.
    assert!(read("device").contains("\"sim\" \"--cell\""));
    match Command::new("systemd-analyze").arg("--version").output() {
        Err(e) => eprintln!("systemd-analyze: {e}: nobody but this test has read the units"),
        Ok(_) => {
            let mut verify = Command::new("systemd-analyze");
            verify.args(["verify", "--man=no", "--recursive-errors=no"]);
            for role in ["device", "arm", "camera", "run", "engine"] {
                verify.arg(out.join(format!("tactus-demo-{role}.service")));
            }
            let verified = verify.output().expect("starts");
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(
                verified.status.success() && !said.contains("tactus-demo"),
                "{said}"
            );
        }
    }
}

#[test]
fn what_would_not_run_is_not_installed() {
    let dir = tempfile::tempdir().expect("a folder");
    let alone = cell_file(dir.path(), |text| text);
    let (done, said) = installs(&alone, &["--role", "arm", "--dry-run"]);
    assert!(!done && said.contains("--role run installs"), "{said}");
    let (done, said) = installs(&alone, &["--role", "run", "--dry-run"]);
    assert!(
        done && said.contains("ExecStart=") && !said.contains("--host"),
        "{said}"
    );
    let file = cell_file(dir.path(), on_hosts);
    for (args, why) in [
        (
            &["--role", "engine", "--host", "bench"][..],
            "a role of host `bench`",
        ),
        (&["--role", "arm"], "expected one of the hosts"),
        (&["--role", "arm", "--host", "moon"], "bench, rack"),
        (
            &["--role", "run", "--host", "bench", "--user", "a b"],
            "the name of a user",
        ),
    ] {
        let (done, said) = installs(&file, args);
        assert!(!done && said.contains(why), "{args:?}: {said}");
    }
}
