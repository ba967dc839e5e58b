//! What a chunk costs, as a table and as JSON.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Map, Value, json};
use tactus_vla::{CostReport, StageCost, TokenCost};

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Every row of the report by name: stages, and what they add up to.
fn rows(report: &CostReport) -> Vec<(&'static str, StageCost)> {
    let stages = report
        .stages
        .iter()
        .map(|(stage, cost)| (stage.name(), *cost));
    let sums = [
        ("inference", report.inference),
        ("rest", report.rest),
        ("chunk", report.chunk),
    ];
    stages.chain(sums).collect()
}

/// The table, with a line on the machine below.
pub fn table(report: &CostReport) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "ms",
        "p50",
        "p99",
        "max",
        "floor",
        "p50 / floor",
    ]);
    for (name, cost) in rows(report) {
        let figure = |time| format!("{:.3}", millis(time));
        let ratio = |floor: Duration| cost.p50.as_secs_f64() / floor.as_secs_f64();
        table.add_row([
            name.to_owned(),
            figure(cost.p50),
            figure(cost.p99),
            figure(cost.max),
            cost.floor.map(figure).unwrap_or_default(),
            cost.floor
                .map(|floor| format!("{:.1}", ratio(floor)))
                .unwrap_or_default(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let threads = match report.intra_threads {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    };
    let ceiling = match report.ceiling {
        Some(ceiling) => format!(
            "floor: the slower of operations at {:.0} Gop/s and weights at {:.1} GB/s, both measured just now",
            ceiling.operations_per_s / 1e9,
            ceiling.bytes_per_s / 1e9
        ),
        None => "floor: not counted in this bundle".to_owned(),
    };
    let words = report.decoder.as_ref().map(words).unwrap_or_default();
    format!(
        "{}, {}\n{table}\n{} chunks on provider {}, {threads}; {:.1} chunks/s; opened in {:.2} s{}\n\
         {words}rest: everything but ONNX Runtime and JPEG decoding; {ceiling}",
        report.name,
        report.bundle_id.get(..12).unwrap_or_default(),
        report.chunks,
        report.provider,
        1.0 / report.chunk.p50.as_secs_f64(),
        report.opened_in.as_secs_f64(),
        memory(report),
    )
}

/// What memory it took, as the end of a line.
fn memory(report: &CostReport) -> String {
    let host = peak_memory().map(|mib| format!("; peak memory {mib} MiB"));
    let device = report.device_memory_bytes;
    let device = device.map(|bytes| format!(", {} MiB of the device's taken", bytes >> 20));
    host.into_iter().chain(device).collect()
}

/// What words cost, in one line.
fn words(cost: &TokenCost) -> String {
    let rate = |time: Duration| 1.0 / time.as_secs_f64().max(1e-9);
    let floor = cost.token.floor.map(|floor| {
        let share = floor.as_secs_f64() / cost.token.p50.as_secs_f64().max(1e-9);
        format!(
            ", {:.0} % of the {:.0} that reading every weight once permits",
            100.0 * share,
            rate(floor)
        )
    });
    format!(
        "words: {:.0} tokens/s (p50 {:.3} ms, p99 {:.3}){}; a prompt of {} tokens in {:.1} ms; cache {:.1} MB\n",
        rate(cost.token.p50),
        millis(cost.token.p50),
        millis(cost.token.p99),
        floor.unwrap_or_default(),
        cost.prompt,
        millis(cost.read),
        cost.cache_bytes as f64 / 1e6,
    )
}

/// The same as JSON.
pub fn json(report: &CostReport) -> Value {
    let row = |(name, cost): (&'static str, StageCost)| {
        let figures = json!({
            "p50": millis(cost.p50),
            "p99": millis(cost.p99),
            "max": millis(cost.max),
            "floor": cost.floor.map(millis),
        });
        (name.to_owned(), figures)
    };
    let mut rows: Map<String, Value> = rows(report).into_iter().map(row).collect();
    let mut take = |name: &str| rows.remove(name);
    json!({
        "name": report.name,
        "bundle_id": report.bundle_id,
        "provider": report.provider,
        "intra_threads": report.intra_threads,
        "chunks": report.chunks,
        "opened_s": report.opened_in.as_secs_f64(),
        "chunk_ms": take("chunk"),
        "inference_ms": take("inference"),
        "rest_ms": take("rest"),
        "stages_ms": rows,
        "decoder": report.decoder.as_ref().map(|cost| json!({
            "prompt_tokens": cost.prompt,
            "prompt_ms": millis(cost.read),
            "token_ms": { "p50": millis(cost.token.p50), "p99": millis(cost.token.p99), "floor": cost.token.floor.map(millis) },
            "cache_bytes": cost.cache_bytes,
        })),
        "peak_memory_mib": peak_memory(),
        "device_memory_mib": report.device_memory_bytes.map(|bytes| bytes >> 20),
        "ceiling": report.ceiling.map(|ceiling| json!({
            "operations_per_s": ceiling.operations_per_s,
            "bytes_per_s": ceiling.bytes_per_s,
        })),
    })
}

/// Largest resident size of this process so far, MiB; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
