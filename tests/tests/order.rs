//! An operator's orders, each given by a process of its own to a running cell.

mod cell;

use cell::{Cell, tactus};

#[test]
fn every_order_is_answered_although_its_process_has_just_met_the_cell() {
    let cell = Cell::start(|text| text);
    let file = cell.file.display().to_string();
    let order = |words: &[&str]| {
        let common = ["order", "--cell", &file, "--connect", &cell.endpoint];
        let output = tactus(&[&common[..], words].concat());
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (
            output.status.code(),
            said(&output.stdout),
            said(&output.stderr),
        )
    };
    for _ in 0..5 {
        let (code, result, said) = order(&["start", "pick up the red cube"]);
        assert_eq!((code, result.as_str()), (Some(1), ""), "{said}");
        let why = "order `start` is not possible in mode `boot`";
        assert!(said.contains(why), "{said}");
    }
    for (words, mode) in [
        (&["enable"][..], "mode: ready"),
        (&["start", "pick up the red cube"], "mode: policy"),
        (&["end"], "mode: ready"),
        (&["stop"], "mode: stopped"),
    ] {
        let (code, result, said) = order(words);
        assert_eq!(
            (code, result.as_str()),
            (Some(0), mode),
            "{words:?}: {said}"
        );
    }
}
