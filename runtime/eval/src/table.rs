//! Results from elsewhere: a CSV file with one trial per row, or with counts of trials.
//!
//! Columns, in any order; others are ignored:
//!
//! | column | of | meaning |
//! |---|---|---|
//! | `policy` | both | who tried; required |
//! | `task` | both | what; without the column there is one task |
//! | `success` | one trial | `1`, `true`, `yes` or `0`, `false`, `no`; required unless there are counts |
//! | `condition` | one trial | start condition; equal ones of one task are compared as pairs |
//! | `progress` | one trial | 0 to 100 |
//! | `seconds` | one trial | time of success, or until which success had not come |
//! | `successes`, `trials` | counts | required unless there is `success` |

use std::collections::BTreeSet;
use std::path::Path;

use crate::analysis::Outcome;
use crate::error::TableError;
use crate::tally::Tally;

/// No table of results has more trials than this; a file that does is a mistake.
const MOST_TRIALS: u64 = 100_000;

/// Reads a file of results.
///
/// # Errors
/// [`TableError`] with file, line, column, what was expected and what is there.
pub fn read(file: &Path) -> Result<Vec<Outcome>, TableError> {
    let fail = |source| TableError::Read {
        file: file.into(),
        source,
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_path(file)
        .map_err(fail)?;
    let header = reader.headers().map_err(fail)?.clone();
    let position = |column: &str| {
        // What spreadsheets write before the first name.
        let named = |h: &str| {
            h.trim_start_matches('\u{feff}')
                .eq_ignore_ascii_case(column)
        };
        header.iter().position(named)
    };
    let required = |column: &'static str| {
        position(column).ok_or_else(|| TableError::Column {
            file: file.into(),
            column,
            header: header.iter().collect::<Vec<_>>().join(", "),
        })
    };
    let policy = required("policy")?;
    let task = position("task");
    let mut outcomes = Vec::new();
    let mut seen = BTreeSet::new();
    let counts = match (position("success"), position("trials")) {
        (None, Some(trials)) => Some((required("successes")?, trials)),
        _ => None,
    };
    let success = match counts {
        None => Some(required("success")?),
        Some(_) => None,
    };
    let [condition, progress, seconds] = ["condition", "progress", "seconds"].map(position);
    let mut total = 0;
    for record in reader.records() {
        let record = record.map_err(fail)?;
        let row = Row {
            file,
            line: record.position().map_or(0, csv::Position::line),
            record: &record,
        };
        let name = row.required("policy", policy)?;
        let task = match task {
            Some(at) => row.required("task", at)?,
            None => "all trials".to_owned(),
        };
        if let Some((successes, trials)) = counts {
            let tally = Tally::new(
                row.count("successes", successes)?,
                row.count("trials", trials)?,
            )
            .map_err(|source| TableError::Counts {
                file: file.into(),
                line: row.line,
                source,
            })?;
            total += tally.trials;
            if total > MOST_TRIALS {
                return Err(row.wrong("trials", trials, "at most 100000 in all"));
            }
            outcomes.extend((0..tally.trials).map(|k| Outcome {
                policy: name.clone(),
                task: task.clone(),
                condition: None,
                success: k < tally.successes,
                progress: None,
                secs: None,
            }));
            continue;
        }
        let Some(success) = success else { continue };
        let condition = condition.and_then(|at| row.optional(at)).map(str::to_owned);
        if let Some(condition) = &condition
            && !seen.insert((name.clone(), task.clone(), condition.clone()))
        {
            return Err(TableError::Repeated {
                file: file.into(),
                line: row.line,
                policy: name,
                task,
                condition: condition.clone(),
            });
        }
        outcomes.push(Outcome {
            success: row.flag("success", success)?,
            progress: row.number("progress", progress, "0 to 100", |v| v <= 100.0)?,
            secs: row.number("seconds", seconds, "a time in seconds", |_| true)?,
            policy: name,
            task,
            condition,
        });
    }
    if outcomes.is_empty() {
        return Err(TableError::Empty { file: file.into() });
    }
    Ok(outcomes)
}

/// One line.
struct Row<'a> {
    file: &'a Path,
    line: u64,
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    fn optional(&self, at: usize) -> Option<&str> {
        self.record.get(at).filter(|field| !field.is_empty())
    }

    fn wrong(&self, column: &'static str, at: usize, expected: &'static str) -> TableError {
        TableError::Field {
            file: self.file.into(),
            line: self.line,
            column,
            expected,
            actual: self.record.get(at).unwrap_or_default().to_owned(),
        }
    }

    fn required(&self, column: &'static str, at: usize) -> Result<String, TableError> {
        let field = self.optional(at).map(str::to_owned);
        field.ok_or_else(|| self.wrong(column, at, "a name"))
    }

    fn count(&self, column: &'static str, at: usize) -> Result<u64, TableError> {
        let count = self.optional(at).and_then(|field| field.parse().ok());
        count.ok_or_else(|| self.wrong(column, at, "a count"))
    }

    fn flag(&self, column: &'static str, at: usize) -> Result<bool, TableError> {
        match self.optional(at).map(str::to_lowercase).as_deref() {
            Some("1" | "1.0" | "true" | "yes" | "y") => Ok(true),
            Some("0" | "0.0" | "false" | "no" | "n") => Ok(false),
            _ => Err(self.wrong(column, at, "1, true, yes, 0, false or no")),
        }
    }

    fn number(
        &self,
        column: &'static str,
        at: Option<usize>,
        expected: &'static str,
        allowed: impl Fn(f64) -> bool,
    ) -> Result<Option<f64>, TableError> {
        let Some((at, field)) = at.and_then(|at| Some((at, self.optional(at)?))) else {
            return Ok(None);
        };
        let value = field.parse().ok();
        let fits = value.filter(|v: &f64| v.is_finite() && *v >= 0.0 && allowed(*v));
        fits.map(Some)
            .ok_or_else(|| self.wrong(column, at, expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Outcome>, TableError> {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("results.csv");
        std::fs::write(&file, text).expect("written");
        read(&file)
    }

    #[test]
    fn one_trial_per_row() {
        let outcomes = parse("\u{feff}Task,policy,success,seconds,extra,condition,progress\npick,a,yes,2.5,?,7,\npick,a,0,,,8,40\n")
            .expect("results");
        assert_eq!(outcomes.len(), 2);
        assert_eq!(outcomes[0].secs, Some(2.5));
        assert_eq!(outcomes[0].condition.as_deref(), Some("7"));
        assert!(outcomes[0].success && !outcomes[1].success);
        assert_eq!((outcomes[1].secs, outcomes[1].progress), (None, Some(40.0)));
    }

    #[test]
    fn counts_of_trials() {
        let outcomes = parse("policy,successes,trials\n# a remark\nraw,4,24\n").expect("results");
        assert_eq!(outcomes.len(), 24);
        assert_eq!(outcomes.iter().filter(|o| o.success).count(), 4);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, wanted) in [
            ("task,success\npick,1\n", "no column `policy`"),
            ("policy,task\na,pick\n", "no column `success`"),
            ("policy,trials\na,3\n", "no column `successes`"),
            ("policy,success\na,maybe\n", "line 2: `success` is `maybe`"),
            (
                "policy,success,progress\na,1,101\n",
                "`progress` is `101`; expected 0 to 100",
            ),
            ("policy,success,seconds\na,1,NaN\n", "`seconds` is `NaN`"),
            (
                "policy,successes,trials\na,1,2\nb,25,24\n",
                "line 3: 25 successes in 24 trials",
            ),
            ("policy,successes,trials\na,-1,24\n", "`successes` is `-1`"),
            ("policy,successes,trials\na,1,99999999\n", "at most 100000"),
            ("policy,success\n", "no row"),
            ("policy,success\n,1\n", "`policy` is ``"),
            ("policy,condition,success\na,1,1\na,1,0\n", "a second time"),
            ("policy,success\na,1,1\n", "results.csv"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }
}
