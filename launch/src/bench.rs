//! `tactus bench`: what the runtime does to success and timing, measured.

mod beat;
mod cameras;
mod contenders;
mod explain;
mod fleet;
mod fleet_plot;
mod fleet_run;
mod keys;
mod latency;
mod latency_pace;
mod latency_plot;
mod openpi;
mod panel;
mod record;

use crate::cli::{BenchArgs, BenchVerb};

/// Dispatches.
pub fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.verb {
        BenchVerb::Latency(args) => latency::latency(args),
        BenchVerb::Beat(args) => beat::beat(args),
        BenchVerb::Cameras(args) => cameras::cameras(args),
        BenchVerb::Record(args) => record::record_bench(args),
        BenchVerb::Keys(args) => keys::keys_bench(args),
        BenchVerb::Fleet(args) => fleet::fleet(args),
        BenchVerb::Explain(args) => explain::explain_bench(args),
        BenchVerb::Panel(args) => panel::panel_bench(args),
        BenchVerb::Openpi(args) => openpi::openpi(args),
    }
}
