//! `[[pair]]`: a cell of two arms that one policy moves.
//!
//! Such a file is read twice, once as the cell of each arm: `[arm]` holds what both have in common, and each `[[pair]]` what is its
//! own, over that; its `hardware` and `sim` are the `[device]` and `[sim]` of that arm. Decides what such a cell may not have: what
//! has not been made for two arms yet is refused here, with the field, and not done by halves.

use std::path::Path;

use tactus_wire::Name;
use toml::{Table, Value};

use super::file::RawCell;
use super::{CellError, Check};

/// How an arm belongs to a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellPair {
    /// What the policy's names of its joints begin with.
    pub prefix: String,
    /// The other arm.
    pub partner: Name,
    /// It is the first of the file.
    pub is_first: bool,
}

/// The cell of each arm, as it would be written alone.
pub(super) type Halves = [(RawCell, CellPair); 2];

/// What a cell of two arms may not have: where, and what stands there instead.
const NOT_YET: [(&[&str], &str); 11] = [
    (&["security"], "none: two arms have no keys yet"),
    (&["host"], "none: the processes of two arms are on one host"),
    (&["policy"], "`bundle`: a remote policy moves one arm"),
    (
        &["record"],
        "none: a black box is of one arm; `tactus run --record` records both",
    ),
    (&["openpi"], "none: a remote policy moves one arm"),
    (
        &["device"],
        "`hardware` in each [[pair]]: two arms have a device each",
    ),
    (
        &["sim"],
        "`sim` in each [[pair]]: two arms have a device each",
    ),
    (
        &["engine", "shared"],
        "none: the engine of two arms is their own",
    ),
    (
        &["engine", "control"],
        "none: the bundle's head moves two arms",
    ),
    (
        &["engine", "explain_hz"],
        "none: explanations belong to one arm",
    ),
    (&["arm", "name"], "`name` in each [[pair]]"),
];

/// The two halves of the file with this text; `None` where it is of one arm.
///
/// # Errors
/// [`CellError`] with the field that is wrong.
pub(super) fn halves(text: &str, check: &Check<'_>) -> Result<Option<Halves>, CellError> {
    // What is no TOML is said where the file is read as of one arm.
    let Ok(mut table) = text.parse::<Table>() else {
        return Ok(None);
    };
    let Some(pair) = table.remove("pair") else {
        return Ok(None);
    };
    refuse(&table, check)?;
    let own = match pair {
        Value::Array(own) => own,
        other => return Err(check.error("pair", "two tables [[pair]]", other.type_str())),
    };
    let one = |own| match own {
        Value::Table(own) => Ok(own),
        other => Err(check.error("pair", "two tables [[pair]]", other.type_str())),
    };
    let own: Vec<Table> = own.into_iter().map(one).collect::<Result<_, _>>()?;
    let [first, second] = &own[..] else {
        let actual = own.len();
        return Err(check.error("pair", "two tables [[pair]], an arm each", actual));
    };
    let text = |own: &Table, field: &str| -> Result<String, CellError> {
        let value = own.get(field).and_then(Value::as_str).unwrap_or_default();
        if value.is_empty() {
            let actual = own.get(field).map_or("nothing".into(), Value::to_string);
            return Err(check.error(&format!("pair.{field}"), "a word", actual));
        }
        Ok(value.into())
    };
    let mut fields = Vec::new();
    for field in ["name", "device", "prefix"] {
        let both = [text(first, field)?, text(second, field)?];
        if both[0] == both[1] {
            let field = format!("pair.{field}");
            return Err(check.error(
                &field,
                "another for each arm",
                format!("`{}` twice", both[0]),
            ));
        }
        fields.push(both);
    }
    let [names, _, prefixes] = &fields[..] else {
        return Err(check.error("pair", "two tables [[pair]]", own.len()));
    };
    for (one, other) in [(0, 1), (1, 0)] {
        if prefixes[one].starts_with(&prefixes[other]) {
            let expected = format!("one that does not begin with `{}`", prefixes[other]);
            return Err(check.error("pair.prefix", &expected, &prefixes[one]));
        }
    }
    let half = |which: usize, own: &Table| -> Result<(RawCell, CellPair), CellError> {
        let of_pair = CellPair {
            prefix: prefixes[which].clone(),
            partner: check.name("pair.name", &names[1 - which])?,
            is_first: which == 0,
        };
        let raw = alone(table.clone(), own.clone());
        let raw = raw
            .try_into::<RawCell>()
            .map_err(|e| CellError::Malformed {
                file: check.file.into(),
                reason: format!("arm `{}` of the pair: {}", names[which], e.message()),
            })?;
        Ok((raw, of_pair))
    };
    Ok(Some([half(0, first)?, half(1, second)?]))
}

/// The file as it would be, were `own` its only arm.
fn alone(mut table: Table, mut own: Table) -> Table {
    own.remove("prefix");
    for (theirs, field) in [("hardware", "device"), ("sim", "sim")] {
        if let Some(device) = own.remove(theirs) {
            table.insert(field.into(), device);
        }
    }
    let arm = table
        .entry("arm")
        .or_insert_with(|| Value::Table(Table::new()));
    if let Value::Table(arm) = arm {
        over(arm, own);
    }
    table
}

/// Lays `own` over `common`, table by table.
fn over(common: &mut Table, own: Table) {
    for (key, value) in own {
        match (common.get_mut(&key), value) {
            (Some(Value::Table(common)), Value::Table(own)) => over(common, own),
            (_, value) => {
                common.insert(key, value);
            }
        }
    }
}

/// Refuses what two arms do not have yet.
fn refuse(table: &Table, check: &Check<'_>) -> Result<(), CellError> {
    for (path, expected) in NOT_YET {
        let mut at = None;
        for key in path {
            let table = at.map_or(Some(table), |at: &Value| at.as_table());
            at = table.and_then(|table| table.get(*key));
            if at.is_none() {
                break;
            }
        }
        if at.is_some() {
            return Err(check.error(&path.join("."), &format!("{expected} (of a pair)"), "it"));
        }
    }
    let strategy = table.get("schedule").and_then(|s| s.get("strategy"));
    let strategy = strategy.and_then(|s| s.get("name")).and_then(Value::as_str);
    if let Some(rtc) = strategy.filter(|name| name.starts_with("rtc-")) {
        let expected =
            "`align`, `blend` or `ensemble`: two arms are not told what plays meanwhile yet";
        return Err(check.error("schedule.strategy", expected, rtc));
    }
    let cameras = table.get("camera").and_then(Value::as_array);
    if cameras
        .into_iter()
        .flatten()
        .any(|c| c.get("hand_eye").is_some())
    {
        let expected = "none: of two arms it would not say which one";
        return Err(check.error("camera.hand_eye", expected, "it"));
    }
    Ok(())
}

/// A cell file, and the arm of it that is meant where it says so: `FILE#ARM`.
pub fn named(file: &Path) -> (&Path, Option<&str>) {
    let split = file.to_str().and_then(|text| text.rsplit_once('#'));
    match split {
        Some((before, arm)) if !file.exists() => (Path::new(before), Some(arm)),
        _ => (file, None),
    }
}
