//! An emulated controller for programs that are not ours: prints its address, obeys a few words on stdin.
//!
//! One command a line: `protective-stop`, `local`, `remote`, `cut`, `restore`, `speed SHARE`, `show` (six joint
//! positions), `slider`, `digital`, `int N` and `double N` (input registers), `program` (programs begun, and what is
//! wrong with the last); ends with stdin.

#[path = "../tests/emulator/mod.rs"]
mod emulator;

use std::io::{BufRead, Write};

use emulator::{Controller, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let controller = Controller::start(Options::default());
    let mut out = std::io::stdout();
    writeln!(out, "{}", controller.host())?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (command, value) = line.split_once(' ').unwrap_or((&line, ""));
        let mut world = controller.world();
        let mut answer = "ok".to_owned();
        match command {
            "protective-stop" => world.protective_stop(),
            "local" => world.remote = false,
            "remote" => world.remote = true,
            "cut" => world.network = false,
            "restore" => world.network = true,
            "speed" => world.speed = value.parse()?,
            "show" => answer = world.q.map(|q| q.to_string()).join(" "),
            "slider" => answer = world.speed.to_string(),
            "digital" => answer = world.digital_out.to_string(),
            "int" => answer = world.ints_in[value.parse::<usize>()?].to_string(),
            "double" => answer = world.doubles_in[value.parse::<usize>()?].to_string(),
            "program" => answer = format!("{} {:?}", world.programs, world.program_error),
            other => return Err(format!("unknown command `{other}`").into()),
        }
        drop(world);
        writeln!(out, "{answer}")?;
    }
    Ok(())
}
