//! The `tactus` program: roles of a cell, each a process; cells of them; the demo.
//!
//! `main` parses, runs, and turns the outcome into an exit code: 0 done, 1 failed, 2 wrong usage, 3 finished, but short
//! of what was asked for (a golden tensor off, a machine or cell that `doctor` finds unfit, an arm that needed an operator, a recording with holes). Results go to stdout, talk to stderr.

mod align;
mod arm_tools;
mod ask;
mod bench;
mod bundle;
mod calibrate;
mod camera;
mod cell;
mod checkout;
mod children;
mod cli;
mod conductor;
mod conformance;
mod device;
mod doctor;
mod drill;
mod eval;
mod foxglove;
mod hello;
mod holds;
mod install;
mod keys;
mod live;
mod lockstep;
mod log;
mod lost;
mod openpi;
mod order;
mod others;
mod pairs;
mod panel;
mod probe;
mod record;
mod recording;
mod replay;
mod result;
mod roles;
mod ros;
mod run;
mod shadow;
mod sim_tools;
mod summary;
mod teleop;
mod trust;
mod view;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(&cli.log);
    tactus_host::realtime::keep_memory();
    trust::set(cli.operator, cli.plain_network, cli.router);
    roles::outlive_full_disks();
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
        Verb::Keys(args) => keys::keys(&args).map(|()| ExitCode::SUCCESS),
        Verb::Run(args) => run::run(&args),
        Verb::Install(args) => install::install(&args),
        Verb::Engine(args) => roles::engine(&args).map(|()| ExitCode::SUCCESS),
        Verb::Arm(args) => arm_tools::arm(&args).map(|()| ExitCode::SUCCESS),
        Verb::Camera(args) => camera::camera(&args).map(|()| ExitCode::SUCCESS),
        Verb::Sim(args) => sim_tools::sim(&args),
        Verb::Conformance(args) => conformance::conformance(&args),
        Verb::Device(args) => device::device(&args).map(|()| ExitCode::SUCCESS),
        Verb::Record(args) => record::record(&args),
        Verb::Recording(args) => recording::recording(&args),
        Verb::Replay(args) => replay::replay(&args),
        Verb::Align(args) => align::align(&args),
        Verb::Order(args) => order::order(&args).map(|()| ExitCode::SUCCESS),
        Verb::Teleop(args) => teleop::teleop(&args).map(|()| ExitCode::SUCCESS),
        Verb::Panel(args) => panel::panel(&args).map(|()| ExitCode::SUCCESS),
        Verb::Foxglove(args) => foxglove::foxglove(&args).map(|()| ExitCode::SUCCESS),
        Verb::Ros(args) => ros::ros(&args).map(|()| ExitCode::SUCCESS),
        Verb::Shadow(args) => shadow::shadow(&args),
        Verb::Drill(args) => drill::drill(&args),
        Verb::Doctor(args) => doctor::doctor(&args),
        Verb::Bench(args) => bench::bench(&args).map(|()| ExitCode::SUCCESS),
        Verb::Calibrate(args) => calibrate::calibrate(&args),
        Verb::Bundle(args) => bundle::bundle(&args),
        Verb::Ask(args) => ask::ask(&args),
        Verb::Eval(args) => eval::eval(&args),
        Verb::Report(args) => eval::report(&args),
    }
}
