//! How soon episodes were done, strategy by strategy, and pair by pair beside naive indexing.
//!
//! An episode that failed counts as one that never ends: it is slower than any that was done, and lies above every
//! quantile. Two strategies meet in pairs of the same seed and latency; which of the two was quicker is counted, and pairs
//! in which neither was are left out, as in a sign test.

use std::collections::BTreeMap;

use super::latency::Trial;

/// Strategy that the others are compared with.
pub const BESIDE: &str = "naive";

/// Seconds to success; infinite without one.
fn pace(trial: &Trial) -> f64 {
    match trial.success {
        true => trial.secs,
        false => f64::INFINITY,
    }
}

/// First quartile, median and third quartile of the seconds to success, nearest rank, of each strategy at each latency.
pub fn quartiles(trials: &[Trial]) -> BTreeMap<(&str, u64), [f64; 3]> {
    let mut paces: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    for t in trials {
        let key = (t.strategy.as_str(), t.latency_ms);
        paces.entry(key).or_default().push(pace(t));
    }
    let quartiles = |mut paces: Vec<f64>| {
        paces.sort_unstable_by(f64::total_cmp);
        [1, 2, 3].map(|k| {
            let rank = (k * paces.len()).div_ceil(4);
            let at = rank.saturating_sub(1);
            paces.get(at).copied().unwrap_or(f64::INFINITY)
        })
    };
    paces
        .into_iter()
        .map(|(key, paces)| (key, quartiles(paces)))
        .collect()
}

/// Pairs in which `strategy` was quicker than [`BESIDE`] at `latency_ms`, and those in which either was.
pub fn quicker(trials: &[Trial], strategy: &str, latency_ms: u64) -> (u64, u64) {
    let of = |name: &str| -> BTreeMap<u64, f64> {
        let mine = |t: &&Trial| t.strategy == name && t.latency_ms == latency_ms;
        let each = trials.iter().filter(mine);
        each.map(|t| (t.seed, pace(t))).collect()
    };
    let (ours, theirs) = (of(strategy), of(BESIDE));
    let pairs = ours
        .iter()
        .filter_map(|(seed, ours)| Some((*ours, *theirs.get(seed)?)));
    pairs
        .filter(|(ours, theirs)| ours != theirs)
        .fold((0, 0), |(won, all), (ours, theirs)| {
            (won + u64::from(ours < theirs), all + 1)
        })
}

#[cfg(test)]
mod tests {
    use super::super::latency::tests::trial;
    use super::*;

    #[test]
    fn a_failed_episode_is_slower_than_any_that_was_done_and_ties_do_not_count() {
        let secs = |strategy: &str, seed, success, secs| Trial {
            secs,
            ..trial(strategy, seed, success)
        };
        let trials = [
            secs("naive", 1, true, 5.0),
            secs("align", 1, true, 4.0),
            secs("naive", 2, false, 2.0),
            secs("align", 2, true, 14.0),
            secs("naive", 3, true, 3.0),
            secs("align", 3, true, 3.0),
            secs("naive", 4, true, 3.0),
            secs("align", 4, false, 1.0),
            secs("align", 5, true, 1.0),
        ];
        assert_eq!(quicker(&trials, "align", 100), (2, 3));
        assert_eq!(quicker(&trials, "align", 200), (0, 0));
        assert_eq!(quicker(&trials, "naive", 100), (0, 0));
        let quartiles = quartiles(&trials);
        assert_eq!(quartiles[&("align", 100)], [3.0, 4.0, 14.0]);
        assert_eq!(quartiles[&("naive", 100)], [3.0, 3.0, 5.0]);
    }

    #[test]
    fn where_most_failed_there_is_no_median() {
        let trials = [
            trial("align", 1, true),
            trial("align", 2, false),
            trial("align", 3, false),
        ];
        let [first, median, _] = quartiles(&trials)[&("align", 100)];
        assert_eq!((first, median), (3.0, f64::INFINITY));
    }
}
