//! Numbers and times as words of the command line: their ranges and units.

use std::time::Duration;

/// A rate of explanations, Hz.
pub(super) fn explain_rate(text: &str) -> Result<f64, String> {
    let hz = text
        .parse::<f64>()
        .ok()
        .filter(|hz| (0.01..=20.0).contains(hz));
    hz.ok_or_else(|| "expected 0.01 to 20".into())
}

pub(super) fn temperature(text: &str) -> Result<f32, String> {
    let value = text
        .parse::<f32>()
        .ok()
        .filter(|t| (0.001..=100.0).contains(t));
    value.ok_or_else(|| "expected 0.001 to 100".into())
}

pub(super) fn share(text: &str) -> Result<f32, String> {
    let value = text.parse::<f32>().ok().filter(|p| *p > 0.0 && *p <= 1.0);
    value.ok_or_else(|| "expected above 0 to 1".into())
}

/// What a router adds, ms.
pub(super) fn hop(text: &str) -> Result<f64, String> {
    number_within(text, 0.0, 50.0, "ms")
}

/// What an inference takes, ms.
pub(super) fn inference(text: &str) -> Result<f64, String> {
    number_within(text, 0.1, 5000.0, "ms")
}

fn number_within(text: &str, least: f64, most: f64, unit: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (least..=most).contains(&value) => Ok(value),
        _ => Err(format!("expected {least} to {most} {unit}")),
    }
}

/// A time such as `90s`, `5m` or `1h`: 10 s to a day.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let secs = [("h", 3600), ("m", 60), ("s", 1)]
        .into_iter()
        .find_map(|(unit, secs)| Some(text.strip_suffix(unit)?.parse::<u64>().ok()? * secs));
    match secs {
        Some(secs @ 10..=86_400) => Ok(Duration::from_secs(secs)),
        _ => Err("expected a time such as 90s, 5m or 1h, 10s to 24h".into()),
    }
}
