//! Emulated STS3215 servos on a pseudo-terminal, for programs that are not ours: prints the port, obeys a few words on stdin.
//!
//! `servo_bus [ID..]` (default 1 to 6), then one command a line: `unplug ID`, `plug ID`, `corrupt SHARE`, `cut SHARE`,
//! `lost SHARE`, `echo SHARE`, `show ID` (position, torque, homing offset); ends with stdin.

#[path = "../tests/emulator/mod.rs"]
mod emulator;

use std::io::{BufRead, Write};

use emulator::{Servo, ServoBus};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ids = Vec::new();
    for arg in std::env::args().skip(1) {
        ids.push(arg.parse()?);
    }
    if ids.is_empty() {
        ids.extend(1..=6);
    }
    let bus = ServoBus::start(ids.into_iter().map(Servo::new).collect());
    let mut out = std::io::stdout();
    writeln!(out, "{}", bus.path().display())?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (command, value) = line.split_once(' ').unwrap_or((&line, ""));
        let mut world = bus.world();
        match command {
            "unplug" => world.unplug(value.parse()?),
            "plug" => world.plug(value.parse()?),
            "corrupt" => world.faults.corrupt = value.parse()?,
            "cut" => world.faults.cut = value.parse()?,
            "lost" => world.faults.lost = value.parse()?,
            "echo" => world.faults.echo = value.parse()?,
            "show" => {
                let servo = world.servo(value.parse()?);
                let (position, torque) = (servo.present(), u8::from(servo.torque()));
                writeln!(out, "{position} {torque} {}", servo.homing_offset())?;
                continue;
            }
            other => return Err(format!("unknown command `{other}`").into()),
        }
        writeln!(out, "ok")?;
    }
    Ok(())
}
