//! Unix time as a date in UTC, for file names and reports.

use std::time::Duration;

/// `20261121T093501.250Z`: sorts as it was written, and is a legal file name everywhere.
pub fn compact(unix: Duration) -> String {
    let (y, mo, d, h, mi, s) = split(unix);
    let millis = unix.subsec_millis();
    format!("{y:04}{mo:02}{d:02}T{h:02}{mi:02}{s:02}.{millis:03}Z")
}

/// `2026-11-21 09:35:01.250 UTC`.
pub fn readable(unix: Duration) -> String {
    let (y, mo, d, h, mi, s) = split(unix);
    let millis = unix.subsec_millis();
    format!("{y:04}-{mo:02}-{d:02} {h:02}:{mi:02}:{s:02}.{millis:03} UTC")
}

/// Whether `text` has the shape of [`compact`].
pub fn is_compact(text: &str) -> bool {
    let shape = "dddddddd T dddddd . ddd Z".replace(' ', "");
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(c, s)| match s {
            'd' => c.is_ascii_digit(),
            mark => c == mark,
        })
}

/// Year, month, day, hour, minute, second. Days to dates: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms",
/// `civil_from_days`, for days after 1970 only.
fn split(unix: Duration) -> (u64, u64, u64, u64, u64, u64) {
    let secs = unix.as_secs();
    let days = secs / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let of_day = secs % 86_400;
    (
        year,
        month,
        day,
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_those_of_date_1() {
        for (secs, wanted) in [
            (0, "1970-01-01 00:00:00.007 UTC"),
            (951_782_399, "2000-02-28 23:59:59.007 UTC"),
            (951_782_400, "2000-02-29 00:00:00.007 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59.007 UTC"),
            (1_795_253_701, "2026-11-21 09:35:01.007 UTC"),
            (4_102_444_800, "2100-01-01 00:00:00.007 UTC"),
        ] {
            assert_eq!(readable(Duration::new(secs, 7_999_999)), wanted);
        }
        let compact = compact(Duration::new(1_795_253_701, 250_000_000));
        assert_eq!(compact, "20261121T093501.250Z");
        assert!(is_compact(&compact));
        for other in [
            "",
            "20261121T093501.250",
            "2026-1121T09350.250Z",
            "20261121T093501.250ZZ",
        ] {
            assert!(!is_compact(other), "{other}");
        }
    }
}
