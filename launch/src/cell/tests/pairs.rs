//! Two arms that one policy moves.

use super::*;

const PAIR: &str = include_str!("../../../cells/so101-pair.toml");

fn both(text: &str) -> Result<Vec<Cell>, String> {
    parse_arms(text, Path::new("cells/x.toml")).map_err(|e| e.to_string())
}

#[test]
fn a_cell_of_two_arms_is_the_cell_of_each() {
    let cells = both(PAIR).expect("legal");
    let [left, right] = &cells[..] else {
        panic!("{} cells", cells.len())
    };
    assert_eq!((left.arm.as_str(), right.arm.as_str()), ("left", "right"));
    assert_eq!(left.device.as_str(), "so101-left");
    assert_eq!(left.wire, right.wire);
    assert_eq!(left.ladder, right.ladder);
    let pair = right.pair.as_ref().expect("one of two");
    assert_eq!((pair.prefix.as_str(), pair.is_first), ("right_", false));
    assert_eq!(pair.partner, left.arm);
    assert_eq!(right.reference(), Path::new("cells/x.toml#right"));
    let port = |cell: &Cell| match &cell.hardware {
        Some(CellDevice::Servos(servos)) => format!("{:?}", servos.port),
        other => panic!("{other:?}"),
    };
    assert!(port(left).contains("LEFT") && port(right).contains("RIGHT"));
    // What each says for itself is its own.
    let text = PAIR.replacen(
        "prefix = \"right_\"",
        "prefix = \"right_\"\ntail_ms = 100",
        1,
    );
    let cells = both(&text).expect("legal");
    assert_eq!(cells[0].ladder.tail, Duration::from_millis(150));
    assert_eq!(cells[1].ladder.tail, Duration::from_millis(100));
}

#[test]
fn what_knows_one_arm_refuses_a_cell_of_two() {
    let refused = parsed(PAIR).expect_err("two");
    assert!(
        refused.contains("field `pair`: expected a cell with one arm"),
        "{refused}"
    );
    let file = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/cells/so101-pair.toml"
    ));
    let named = |arm: &str| PathBuf::from(format!("{}#{arm}", file.display()));
    assert_eq!(
        load_arm(&named("right")).expect("one").arm.as_str(),
        "right"
    );
    assert!(load(&named("right")).is_err());
    let refused = load_arm(file).expect_err("which?").to_string();
    assert!(refused.contains("so101-pair.toml#left` or `"), "{refused}");
    let refused = load_arm(&named("middle")).expect_err("none").to_string();
    assert!(
        refused.contains("left, right") && refused.contains("middle"),
        "{refused}"
    );
    assert_eq!(load_any(file).expect("the first").arm.as_str(), "left");
}

#[test]
fn what_two_arms_do_not_have_is_refused_with_the_field() {
    let first = PAIR.find("[[pair]]").expect("a pair");
    let with = |section: &str| format!("{}{section}\n{}", &PAIR[..first], &PAIR[first..]);
    for (text, says) in [
        (with("[sim]\nseed = 0\nvariation = false"), "field `sim`"),
        (
            with("[record]\nblack_box = true\nseconds = 5"),
            "field `record`",
        ),
        (with("[security]\noperators = []"), "field `security`"),
        (with("[[host]]\nname = \"a\""), "field `host`"),
        (
            format!("pair = [1, 2]\n{}", &PAIR[..first]),
            "field `pair`: expected two tables [[pair]], got integer",
        ),
        (
            PAIR.replace("provider = \"cuda\"", "provider = \"cuda\"\nshared = true"),
            "field `engine.shared`",
        ),
        (
            PAIR.replace("name = \"align\"", "name = \"rtc-prefix\""),
            "field `schedule.strategy`",
        ),
        (
            PAIR.replace("prefix = \"right_\"", "prefix = \"left_\""),
            "another for each arm, got `left_` twice",
        ),
        (
            PAIR.replace("prefix = \"right_\"", "prefix = \"left_r_\""),
            "does not begin with `left_`",
        ),
        (
            PAIR.replace("prefix = \"right_\"", ""),
            "field `pair.prefix`: expected a word, got nothing",
        ),
        (
            PAIR.replace("name = \"right\"", "name = \"left\""),
            "field `pair.name`",
        ),
        (
            PAIR.replace("device = \"so101-right\"", "device = \"so101-left\""),
            "field `pair.device`",
        ),
        (
            PAIR.replacen("tail_ms = 150", "tail_ms = 150\nname = \"both\"", 1),
            "field `arm.name`",
        ),
        (
            PAIR.replacen("tail_ms = 150", "", 1),
            "arm `left` of the pair: missing field `tail_ms`",
        ),
        (
            PAIR.replace("device = \"so101-right\"", "device = \"r\"\nspeed = 1"),
            "arm `right` of the pair: unknown field `speed`",
        ),
        (
            format!("{PAIR}\n[[pair]]\nname = \"third\"\n"),
            "two tables [[pair]], an arm each, got 3",
        ),
    ] {
        let refused = both(&text).expect_err(says);
        assert!(refused.contains(says), "{refused}");
    }
}
