//! Bundles that a cell lets act: by id, and by who signed them. An unsigned or swapped one starts nothing.

mod cell;

use std::path::{Path, PathBuf};
use std::process::Output;

use cell::{cell_file, checkout, diagnosis, tactus};

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn done(args: &[&str]) -> String {
    let output = tactus(args);
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    said(&output)
}

fn refused(args: &[&str], why: &str) {
    let output = tactus(args);
    let said = said(&output);
    assert!(!output.status.success(), "{args:?}: {said}");
    assert!(said.contains(why), "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}

/// The cell of the bundle in `bundle`, which says `vouched` about bundles.
fn cell_of(dir: &Path, bundle: &Path, vouched: &str) -> String {
    let demo = checkout().join("models/demo/bundle").display().to_string();
    let own = bundle.display().to_string();
    let file = cell_file(dir, |text| {
        text.replace(&demo, &own)
            .replacen("resume =", &format!("{vouched}\nresume ="), 1)
    });
    file.display().to_string()
}

/// The hexadecimal digits of a key in what `tactus keys signer` says.
fn signer(said: &str) -> String {
    let (_, rest) = said.split_once("[\"").expect("a list");
    rest.split_once('"').expect("a list").0.to_owned()
}

#[test]
fn a_bundle_acts_where_a_trusted_key_signed_it_and_nowhere_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let bundle: PathBuf = dir.path().join("bundle");
    copy(&checkout().join("models/demo/bundle"), &bundle);
    let own = bundle.display().to_string();
    let key = signer(&done(&["keys", "signer", &path("maker.key")]));
    let stranger = signer(&done(&["keys", "signer", &path("stranger.key")]));
    assert!(key.len() == 64 && key != stranger);
    refused(&["keys", "signer", &path("maker.key")], "File exists");
    let cell = cell_of(
        dir.path(),
        &bundle,
        &format!("bundle_signers = [\"{key}\"]"),
    );
    let act = |cell: &str| -> Vec<String> {
        let words = [
            "demo",
            "--headless",
            "--lockstep",
            "--episodes",
            "1",
            "--seed",
            "9001",
        ];
        words
            .iter()
            .map(|w| (*w).to_owned())
            .chain(["--cell".into(), cell.into()])
            .collect()
    };
    let act = act(&cell);
    let act: Vec<&str> = act.iter().map(String::as_str).collect();

    refused(&act, "the bundle is not signed");
    refused(&["run", &cell], "the bundle is not signed");
    assert!(diagnosis(&cell, "who vouches").contains("not signed"));
    assert!(done(&["bundle", "inspect", &own]).contains("signed by nobody"));
    done(&["bundle", "sign", &own, "--key", &path("stranger.key")]);
    refused(&act, &format!("it is signed by {stranger}"));
    done(&["bundle", "sign", &own, "--key", &path("maker.key")]);
    assert!(done(&["bundle", "inspect", &own]).contains(&format!("signed by {key}")));
    assert!(done(&act).contains("bundle"));
    assert!(diagnosis(&cell, "who vouches").contains("signed by a key that it trusts"));

    // Another bundle under its signature: every byte is what its own manifest says, and it is still not the one that was signed.
    let swapped = path("swapped");
    done(&[
        "bundle", "degrade", &own, "--noise", "0.01", "--out", &swapped,
    ]);
    let signature = std::fs::read(bundle.join("bundle.sig")).expect("a signature");
    std::fs::write(dir.path().join("swapped/bundle.sig"), signature).expect("written");
    let with: Vec<&str> = act.iter().copied().chain(["--bundle", &swapped]).collect();
    refused(&with, "it signs another bundle");
    refused(&["bundle", "sign", &own, "--key", &cell], "private key");
}

#[test]
fn a_cell_that_names_its_bundle_lets_no_other_act() {
    let dir = tempfile::tempdir().expect("a folder");
    let bundle = checkout().join("models/demo/bundle");
    let inspected = done(&["bundle", "inspect", &bundle.display().to_string()]);
    let words = inspected.split(|c: char| !c.is_ascii_hexdigit());
    let id = words
        .into_iter()
        .find(|word| word.len() == 64)
        .expect("an id");
    let cell = cell_of(dir.path(), &bundle, &format!("bundle_id = \"{id}\""));
    done(&[
        "demo",
        "--headless",
        "--lockstep",
        "--episodes",
        "1",
        "--seed",
        "9001",
        "--cell",
        &cell,
    ]);
    assert!(diagnosis(&cell, "who vouches").contains("the one that the cell names"));
    let other = id.chars().rev().collect::<String>();
    let cell = cell_of(dir.path(), &bundle, &format!("bundle_id = \"{other}\""));
    refused(
        &["demo", "--headless", "--cell", &cell],
        "it is not the cell's bundle",
    );
    refused(&["run", &cell], "it is not the cell's bundle");
    for (wrong, why) in [
        ("bundle_id = \"7c51\"", "64 hexadecimal digits"),
        ("bundle_signers = [\"anna\"]", "64 hexadecimal digits"),
    ] {
        let cell = cell_of(dir.path(), &bundle, wrong);
        refused(&["demo", "--headless", "--cell", &cell], why);
    }
}
