//! The secondary interface, which takes programs, and the dashboard server, which takes words.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{RUNNING, World, script};

const LOOK: Duration = Duration::from_millis(5);
const LOCAL: &str = "Command is not allowed due to safety reasons, please switch robot to Remote Control mode and reconnect to port 29999";

struct Talk {
    stream: TcpStream,
    heard: String,
    said_at: Instant,
}

/// Serves connections one period of [`LOOK`] after another; `serve` says whether one goes on.
fn talks(
    world: &Mutex<World>,
    stop: &AtomicBool,
    listener: &TcpListener,
    greeting: &str,
    mut serve: impl FnMut(&mut Talk, &mut World) -> bool,
) {
    let mut talks: Vec<Talk> = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut world = world.lock().expect("unpoisoned");
        while let Ok((mut stream, _)) = listener.accept() {
            stream.set_nonblocking(true).expect("set");
            if world.network && stream.write_all(greeting.as_bytes()).is_ok() {
                talks.push(Talk {
                    stream,
                    heard: String::new(),
                    said_at: Instant::now(),
                });
            }
        }
        talks.retain_mut(|talk| {
            let mut chunk = [0; 16384];
            let open = loop {
                match talk.stream.read(&mut chunk) {
                    Ok(0) => break false,
                    Ok(n) => talk.heard.push_str(&String::from_utf8_lossy(&chunk[..n])),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break true,
                    Err(_) => break false,
                }
            };
            // What came before the other side closed counts.
            world.network && serve(talk, &mut world) && open
        });
        drop(world);
        std::thread::sleep(LOOK);
    }
}

/// Takes programs; says ten times per second how the robot is, in a message of the right frame with nothing in it.
pub fn secondary(world: &Mutex<World>, stop: &AtomicBool, listener: &TcpListener) {
    talks(world, stop, listener, "", |talk, world| {
        if script::whole(&talk.heard) {
            let text = std::mem::take(&mut talk.heard);
            // Programs over the network are for remote control; elsewhere nothing happens.
            if world.remote {
                world.pending = Some((text, Instant::now()));
            } else {
                world.ignored += 1;
            }
        }
        if talk.said_at.elapsed() >= Duration::from_millis(100) {
            talk.said_at = Instant::now();
            return talk.stream.write_all(&[0, 0, 0, 5, 16]).is_ok();
        }
        true
    });
}

/// Takes words.
pub fn dashboard(world: &Mutex<World>, stop: &AtomicBool, listener: &TcpListener) {
    let greeting = "Connected: Universal Robots Dashboard Server\n";
    talks(world, stop, listener, greeting, |talk, world| {
        while let Some(end) = talk.heard.find('\n') {
            let line: String = talk.heard.drain(..=end).collect();
            let answer = answer(line.trim(), world);
            if talk
                .stream
                .write_all(format!("{answer}\n").as_bytes())
                .is_err()
            {
                return false;
            }
        }
        true
    });
}

fn answer(line: &str, world: &mut World) -> String {
    let [major, minor, bugfix, build] = world.options.version;
    let newer = major >= 5 && minor >= 6;
    match line {
        "PolyscopeVersion" => format!("URSoftware {major}.{minor}.{bugfix}.{build} (Mar 22 2022)"),
        "get robot model" => world.options.model.clone(),
        "get serial number" if newer => world.options.serial.clone(),
        "is in remote control" if newer => world.remote.to_string(),
        "robotmode" => match world.robot_mode {
            RUNNING => "Robotmode: RUNNING".into(),
            3 => "Robotmode: POWER_OFF".into(),
            _ => "Robotmode: IDLE".into(),
        },
        "safetystatus" | "safetymode" => match world.safety_bits {
            bits if bits & (1 << 2) != 0 => "Safetystatus: PROTECTIVE_STOP".into(),
            1 => "Safetystatus: NORMAL".into(),
            _ => "Safetystatus: ROBOT_EMERGENCY_STOP".into(),
        },
        "running" => format!("Program running: {}", world.runtime == super::PLAYING),
        "quit" => "Disconnected".into(),
        "power on" | "power off" | "brake release" | "stop" | "play" | "unlock protective stop"
        | "close safety popup"
            if !world.remote =>
        {
            LOCAL.into()
        }
        "power on" => {
            world.robot_mode = world.robot_mode.max(5);
            "Powering on".into()
        }
        "power off" => {
            world.robot_mode = 3;
            world.stop();
            "Powering off".into()
        }
        "brake release" => {
            world.robot_mode = RUNNING;
            "Brake releasing".into()
        }
        "stop" => {
            world.stop();
            "Stopped".into()
        }
        "play" => match world.running {
            Some(_) => {
                world.resume();
                "Starting program".into()
            }
            None => "Failed to execute: play".into(),
        },
        "close safety popup" => "closing safety popup".into(),
        "unlock protective stop" => match world.unlock() {
            true => "Protective stop releasing".into(),
            false => "Cannot unlock protective stop until 5s after occurrence. Always inspect cause of protective stop before unlocking".into(),
        },
        other => format!("could not understand: '{other}'"),
    }
}
