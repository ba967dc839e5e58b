//! The statistics against scipy, to 1e-9: `golden.json`, made by `golden.py`.

use serde_json::Value;
use tactus_eval::Tally;
use tactus_eval::barnard::barnard;
use tactus_eval::distribution::{chi_squared_above, normal_quantile};
use tactus_eval::paired::Pairs;
use tactus_eval::posterior::{Posterior, Prior};
use tactus_eval::survival::{Curve, Observed, log_rank};

const TOLERANCE: f64 = 1e-9;
const PRIORS: [(&str, Prior); 2] = [("jeffreys", Prior::Jeffreys), ("uniform", Prior::Uniform)];

fn rows(part: &str) -> Vec<Value> {
    let golden: Value = serde_json::from_str(include_str!("golden.json")).expect("JSON");
    let rows = golden[part].as_array().expect("rows").clone();
    assert!(rows.len() >= 4, "{part}");
    rows
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("a number: {value}"))
}

fn tally(successes: &Value, trials: &Value) -> Tally {
    let count = |v: &Value| v.as_u64().expect("a count");
    Tally::new(count(successes), count(trials)).expect("counts")
}

#[track_caller]
fn near(actual: f64, expected: &Value, what: &Value) {
    let expected = number(expected);
    let off = (actual - expected).abs();
    assert!(
        off <= TOLERANCE,
        "{actual} for {expected} (off by {off:e}): {what}"
    );
}

#[test]
fn intervals_and_posteriors() {
    for row in rows("intervals") {
        let (tally, level) = (
            tally(&row["successes"], &row["trials"]),
            number(&row["level"]),
        );
        for (name, interval) in [
            ("exact", tally.clopper_pearson(level)),
            ("wilson", tally.wilson(level)),
        ] {
            near(interval.low, &row[name][0], &row);
            near(interval.high, &row[name][1], &row);
        }
        for (name, prior) in PRIORS {
            let posterior = Posterior::new(prior, tally);
            let credible = posterior.credible(level);
            near(posterior.mean(), &row[name][0], &row);
            near(credible.low, &row[name][1], &row);
            near(credible.high, &row[name][2], &row);
        }
    }
}

#[test]
fn pairs_of_policies() {
    for row in rows("pairs") {
        let [first, second] = ["first", "second"].map(|side| tally(&row[side][0], &row[side][1]));
        let test = barnard(first, second);
        near(test.statistic, &row["statistic"], &row);
        near(test.p_value, &row["barnard"], &row);
        for (name, prior) in PRIORS {
            let [a, b] = [first, second].map(|tally| Posterior::new(prior, tally));
            near(a.above(&b), &row[name], &row);
        }
    }
}

#[test]
fn pairs_of_trials() {
    for row in rows("mc_nemar") {
        let pairs = Pairs {
            only_first: row["only_first"].as_u64().expect("a count"),
            only_second: row["only_second"].as_u64().expect("a count"),
            both: 3,
            neither: 2,
        };
        near(pairs.mc_nemar(), &row["p_value"], &row);
    }
}

#[test]
fn time_to_success() {
    for row in rows("survival") {
        let [first, second] = ["first", "second"].map(|side| {
            let trials = row[side].as_array().expect("trials").iter();
            let observed = |trial: &Value| Observed {
                secs: number(&trial[0]),
                success: trial[1].as_bool().expect("a flag"),
            };
            trials.map(observed).collect::<Vec<_>>()
        });
        let test = log_rank(&first, &second);
        near(test.statistic, &row["statistic"], &row["statistic"]);
        near(test.p_value, &row["p_value"], &row["p_value"]);
        let curve = Curve::new(&first, 0.95);
        let steps = row["curve"].as_array().expect("steps");
        assert_eq!(curve.steps.len(), steps.len());
        for (step, expected) in curve.steps.iter().zip(steps) {
            near(step.secs, &expected[0], expected);
            near(step.survival, &expected[1], expected);
            // Where the estimate is 0 scipy has no band.
            if step.survival > 0.0 {
                near(step.low, &expected[2], expected);
                near(step.high, &expected[3], expected);
            }
        }
    }
}

#[test]
fn distributions() {
    for row in rows("distributions") {
        if row.get("p").is_some() {
            near(normal_quantile(number(&row["p"])), &row["normal"], &row);
        } else {
            let degrees = row["degrees"].as_u64().expect("a count") as u32;
            near(
                chi_squared_above(number(&row["x"]), degrees),
                &row["chi_squared"],
                &row,
            );
        }
    }
}
