//! Records a data set of the scripted expert: `cargo run --example record -- --out DIR --episodes 1600 --workers 2`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use tactus_sim::SimError;
use tactus_sim::record::{RecordOptions, record};
use tactus_sim::scenario::StartPoses;

#[derive(Parser)]
struct Args {
    /// New directory for the data set.
    #[arg(long)]
    out: PathBuf,
    /// Episodes to run.
    #[arg(long, default_value_t = 1600)]
    episodes: usize,
    /// Seed of the first episode.
    #[arg(long, default_value_t = 100_000)]
    seed: u64,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

fn main() -> Result<(), SimError> {
    let args = Args::parse();
    let started = Instant::now();
    let options = RecordOptions {
        directory: args.out,
        first_seed: args.seed,
        episodes: args.episodes,
        workers: args.workers,
        starts: StartPoses::Wide,
        disturb: true,
    };
    let report = record(&options, &mut |done, total| {
        if done % 50 == 0 || done == total {
            eprintln!(
                "{done} of {total} episodes, {:.0} s",
                started.elapsed().as_secs_f64()
            );
        }
    })?;
    println!("{report:#?} in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
