//! Emulated Dynamixel servos on a pseudo-terminal, for programs that are not ours: prints the port, obeys a few words on
//! stdin.
//!
//! `dynamixel_bus [ID:MODEL..]` (default 1 to 6 of a Koch follower), then one command a line: `unplug ID`, `plug ID`,
//! `corrupt SHARE`, `cut SHARE`, `lost SHARE`, `echo SHARE`, `fail ID ERRORS`, `show ID` (position, torque, goal, bus
//! watchdog); ends with stdin.

#[path = "../tests/emulator/mod.rs"]
mod emulator;

use std::io::{BufRead, Write};

use emulator::{Servo, ServoBus};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut servos = Vec::new();
    for arg in std::env::args().skip(1) {
        let (id, model) = arg.split_once(':').unwrap_or((&arg, "1200"));
        servos.push(Servo::new(id.parse()?, model.parse()?));
    }
    if servos.is_empty() {
        let models = (1..).zip([1060, 1060, 1200, 1200, 1200, 1200]);
        servos.extend(models.map(|(id, model)| Servo::new(id, model)));
    }
    let bus = ServoBus::start(servos);
    let mut out = std::io::stdout();
    writeln!(out, "{}", bus.path().display())?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut world = bus.world();
        match words[..] {
            ["unplug", id] => world.unplug(id.parse()?),
            ["plug", id] => world.plug(id.parse()?),
            ["corrupt", share] => world.faults.corrupt = share.parse()?,
            ["cut", share] => world.faults.cut = share.parse()?,
            ["lost", share] => world.faults.lost = share.parse()?,
            ["echo", share] => world.faults.echo = share.parse()?,
            ["fail", id, errors] => world.servo(id.parse()?).fail(errors.parse()?),
            ["show", id] => {
                let servo = world.servo(id.parse()?);
                let (position, torque) = (servo.present(), u8::from(servo.torque()));
                let watchdog = servo.memory[98] as i8;
                writeln!(out, "{position} {torque} {} {watchdog}", servo.goal())?;
                continue;
            }
            _ => return Err(format!("unknown command `{line}`").into()),
        }
        writeln!(out, "ok")?;
    }
    Ok(())
}
