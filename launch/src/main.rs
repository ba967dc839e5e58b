//! The `tactus` program: roles of a cell, each a process; cells of them; the demo.
//!
//! `main` parses, runs, and turns the outcome into an exit code: 0 done, 1 failed, 2 wrong usage, 3 finished, but short
//! of what was asked for (a golden tensor off, an arm that needed an operator). Results go to stdout, talk to stderr.

mod cell;
mod checkout;
mod children;
mod cli;
mod conductor;
mod live;
mod lockstep;
mod order;
mod roles;
mod run;
mod sim_tools;
mod summary;
mod verify;
mod view;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use cli::{Cli, Verb};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = EnvFilter::new(format!("{},zenoh=warn,ort=warn", cli.log));
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    match dispatch(cli.verb) {
        Ok(code) => code,
        Err(e) => {
            // One sentence: the chain of causes on one line.
            eprintln!("tactus: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Demo(args) => conductor::demo(&args),
        Verb::Run(args) => run::run(&args).map(|()| ExitCode::SUCCESS),
        Verb::Engine(args) => roles::engine(&args).map(|()| ExitCode::SUCCESS),
        Verb::Arm(args) => roles::arm(&args).map(|()| ExitCode::SUCCESS),
        Verb::Camera(args) => roles::camera(&args).map(|()| ExitCode::SUCCESS),
        Verb::Sim(args) => sim_tools::sim(&args),
        Verb::Order(args) => order::order(&args).map(|()| ExitCode::SUCCESS),
        Verb::Bundle(args) => verify::bundle(&args),
    }
}
