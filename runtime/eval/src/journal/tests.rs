use super::*;
use proptest::prelude::*;
use tempfile::TempDir;

fn started(trial: u64) -> Entry {
    Entry::Started {
        trial,
        attempt: 1,
        at: "2026-11-21 10:00:00.000 UTC".into(),
    }
}

/// A folder with this many lines.
fn folder(lines: u64) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(dir.path()).expect("a journal");
    for trial in 0..lines {
        journal.append(started(trial)).expect("a line");
    }
    dir
}

fn text(dir: &TempDir) -> String {
    std::fs::read_to_string(dir.path().join(RESULTS)).expect("results")
}

fn put(dir: &TempDir, text: impl AsRef<[u8]>) {
    std::fs::write(dir.path().join(RESULTS), text).expect("written");
}

fn refused(dir: &TempDir) -> String {
    Journal::read(dir.path())
        .expect_err("not as it was written")
        .to_string()
}

#[test]
fn lines_come_back_and_more_can_follow() {
    let dir = folder(3);
    let mut journal = Journal::open(dir.path()).expect("a journal");
    assert_eq!(journal.entries(), [started(0), started(1), started(2)]);
    journal.append(started(3)).expect("a line");
    let last = journal.last_hash().to_owned();
    drop(journal);
    let journal = Journal::read(dir.path()).expect("a journal");
    assert_eq!(
        (journal.entries().len(), journal.last_hash()),
        (4, last.as_str())
    );
}

#[test]
fn one_process_at_a_time() {
    let dir = folder(1);
    let _first = Journal::open(dir.path()).expect("a journal");
    let error = Journal::open(dir.path()).expect_err("busy");
    assert!(error.to_string().contains("another process"), "{error}");
    Journal::read(dir.path()).expect("reading does no harm");
}

#[test]
fn an_edited_line_is_found() {
    let dir = folder(4);
    let whole = text(&dir);
    put(&dir, whole.replacen("\"trial\":2", "\"trial\":9", 1));
    let error = refused(&dir);
    assert!(error.contains("line 3 was edited: its hash"), "{error}");
}

#[test]
fn a_line_taken_out_or_moved_is_found() {
    let dir = folder(4);
    let whole = text(&dir);
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    put(&dir, [lines[0], lines[2], lines[3]].concat());
    assert!(refused(&dir).contains("line 2 was edited: it does not follow"));
    put(&dir, [lines[1], lines[0], lines[2], lines[3]].concat());
    assert!(refused(&dir).contains("line 1 was edited"));
    put(&dir, lines[..2].concat());
    assert!(refused(&dir).contains("2 lines, but 4 were written"));
}

#[test]
fn lines_that_someone_else_added_are_found() {
    let (dir, longer) = (folder(2), folder(4));
    put(&dir, text(&longer));
    assert!(refused(&dir).contains("trials.head says 2 lines"));
    std::fs::remove_file(dir.path().join(HEAD)).expect("removed");
    assert!(refused(&dir).contains("trials.head is missing"));
}

#[test]
fn a_disk_that_is_full_costs_nothing_that_was_there() {
    let dir = folder(3);
    let mut journal = Journal::open(dir.path()).expect("a journal");
    let before = text(&dir);
    // A file that can only be read stands for a disk that takes nothing.
    journal.open = Some(File::open(dir.path().join(RESULTS)).expect("opened"));
    let error = journal.append(started(3)).expect_err("no room");
    assert!(error.to_string().contains("trials.jsonl"), "{error}");
    assert_eq!((text(&dir), journal.entries().len()), (before, 3));
    drop(journal);
    let mut journal = Journal::open(dir.path()).expect("a journal");
    journal.append(started(3)).expect("room again");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Killed anywhere in the middle of a line: the lines before it are all there, and the next one follows them.
    #[test]
    fn a_line_without_its_end_is_taken_off(lines in 1_u64..5, keep in 0.0..1.0_f64) {
        let dir = folder(lines + 1);
        let whole = text(&dir);
        let last = whole.trim_end().rfind('\n').map_or(0, |at| at + 1);
        let keep = last + ((whole.len() - last) as f64 * keep) as usize;
        put(&dir, &whole[..keep]);
        // The head of the line that was never finished was never written.
        let hash = whole.lines().nth(lines as usize - 1).expect("a line")[BEFORE_HASH.len()..][..HASH].to_owned();
        let head = Head { lines: lines as usize, hash };
        head.write(&dir.path().join(HEAD)).expect("written");
        let mut journal = Journal::open(dir.path()).expect("a journal");
        prop_assert_eq!(journal.entries().len() as u64, lines);
        prop_assert_eq!(journal.was_torn(), keep > last);
        journal.append(started(77)).expect("a line");
        drop(journal);
        prop_assert_eq!(Journal::read(dir.path()).expect("a journal").entries().len() as u64, lines + 1);
    }

    /// Any changed byte of any whole line is found.
    #[test]
    fn any_changed_byte_is_found(at in 0.0..1.0_f64, to in any::<u8>()) {
        let dir = folder(3);
        let mut bytes = text(&dir).into_bytes();
        let at = (at * bytes.len() as f64) as usize;
        // The end of the last line is what makes it one.
        prop_assume!(bytes[at] != to && at + 1 < bytes.len());
        bytes[at] = to;
        put(&dir, &bytes);
        prop_assert!(Journal::read(dir.path()).is_err());
    }
}
