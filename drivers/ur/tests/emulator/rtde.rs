//! The RTDE server: recipes, one writer per input variable, states to every client that started.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::World;

/// Types of output variables that are not registers.
const OUTPUTS: &[(&str, &str)] = &[
    ("timestamp", "DOUBLE"),
    ("target_q", "VECTOR6D"),
    ("target_qd", "VECTOR6D"),
    ("target_qdd", "VECTOR6D"),
    ("target_current", "VECTOR6D"),
    ("target_moment", "VECTOR6D"),
    ("actual_q", "VECTOR6D"),
    ("actual_qd", "VECTOR6D"),
    ("actual_current", "VECTOR6D"),
    ("actual_current_window", "VECTOR6D"),
    ("joint_control_output", "VECTOR6D"),
    ("actual_TCP_pose", "VECTOR6D"),
    ("actual_TCP_speed", "VECTOR6D"),
    ("actual_TCP_force", "VECTOR6D"),
    ("target_TCP_pose", "VECTOR6D"),
    ("target_TCP_speed", "VECTOR6D"),
    ("actual_digital_input_bits", "UINT64"),
    ("joint_temperatures", "VECTOR6D"),
    ("actual_execution_time", "DOUBLE"),
    ("robot_mode", "INT32"),
    ("joint_mode", "VECTOR6INT32"),
    ("safety_mode", "INT32"),
    ("safety_status", "INT32"),
    ("actual_tool_accelerometer", "VECTOR3D"),
    ("speed_scaling", "DOUBLE"),
    ("target_speed_fraction", "DOUBLE"),
    ("actual_momentum", "DOUBLE"),
    ("actual_main_voltage", "DOUBLE"),
    ("actual_robot_voltage", "DOUBLE"),
    ("actual_robot_current", "DOUBLE"),
    ("actual_joint_voltage", "VECTOR6D"),
    ("actual_digital_output_bits", "UINT64"),
    ("runtime_state", "UINT32"),
    ("standard_analog_input0", "DOUBLE"),
    ("standard_analog_input1", "DOUBLE"),
    ("standard_analog_output0", "DOUBLE"),
    ("standard_analog_output1", "DOUBLE"),
    ("robot_status_bits", "UINT32"),
    ("safety_status_bits", "UINT32"),
    ("payload", "DOUBLE"),
    ("payload_cog", "VECTOR3D"),
    ("payload_inertia", "VECTOR6D"),
    ("ft_raw_wrench", "VECTOR6D"),
    ("tcp_offset", "VECTOR6D"),
];

/// Types of input variables that are not registers.
const INPUTS: &[(&str, &str)] = &[
    ("speed_slider_mask", "UINT32"),
    ("speed_slider_fraction", "DOUBLE"),
    ("standard_digital_output_mask", "UINT8"),
    ("standard_digital_output", "UINT8"),
    ("configurable_digital_output_mask", "UINT8"),
    ("configurable_digital_output", "UINT8"),
    ("tool_digital_output_mask", "UINT8"),
    ("tool_digital_output", "UINT8"),
    ("standard_analog_output_mask", "UINT8"),
    ("standard_analog_output_type", "UINT8"),
    ("standard_analog_output_0", "DOUBLE"),
    ("standard_analog_output_1", "DOUBLE"),
    ("external_force_torque", "VECTOR6D"),
];

fn bytes_of(word: &str) -> usize {
    match word {
        "BOOL" | "UINT8" => 1,
        "UINT64" | "DOUBLE" => 8,
        "VECTOR3D" | "VECTOR6INT32" => 24,
        "VECTOR6D" => 48,
        _ => 4,
    }
}

/// The number of register `name`, if it is one of `kind` below 48.
fn register(name: &str, kind: &str) -> Option<usize> {
    let number: usize = name.strip_prefix(kind)?.parse().ok()?;
    (number < 48).then_some(number)
}

fn kind_of(name: &str, input: bool) -> Option<&'static str> {
    let (table, int, double) = match input {
        true => (INPUTS, "input_int_register_", "input_double_register_"),
        false => (OUTPUTS, "output_int_register_", "output_double_register_"),
    };
    if register(name, int).is_some() {
        return Some("INT32");
    }
    if register(name, double).is_some() {
        return Some("DOUBLE");
    }
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, word)| *word)
}

struct Client {
    number: u64,
    stream: TcpStream,
    bytes: Vec<u8>,
    /// Names and types that go with every state.
    outputs: Vec<(String, &'static str)>,
    inputs: Vec<Vec<(String, &'static str)>>,
    every: u64,
    started: bool,
}

/// All clients.
#[derive(Default)]
pub struct Server {
    clients: Vec<Client>,
    last: u64,
}

impl Server {
    /// Takes what clients sent since the last period.
    pub fn hear(&mut self, listener: &TcpListener, world: &mut World) {
        while let Ok((stream, _)) = listener.accept() {
            if !world.network {
                continue;
            }
            stream.set_nonblocking(true).expect("set");
            stream.set_nodelay(true).expect("set");
            self.last += 1;
            self.clients.push(Client {
                number: self.last,
                stream,
                bytes: Vec::new(),
                outputs: Vec::new(),
                inputs: Vec::new(),
                every: 1,
                started: false,
            });
        }
        self.clients.retain_mut(|client| {
            let stays = world.network && client.hear(world);
            if !stays {
                world.owners.retain(|_, owner| *owner != client.number);
            }
            stays
        });
    }

    /// Sends a state to every client whose turn it is.
    pub fn tell(&mut self, world: &mut World) {
        let mut dropped = Vec::new();
        self.clients.retain_mut(|client| {
            let due = client.started && !world.silent && world.cycles.is_multiple_of(client.every);
            let stays = !due || client.state(world);
            if !stays {
                dropped.push(client.number);
            }
            stays
        });
        for number in dropped {
            world.dropped += 1;
            world.owners.retain(|_, owner| *owner != number);
        }
    }
}

impl Client {
    fn hear(&mut self, world: &mut World) -> bool {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(n) => self.bytes.extend_from_slice(&chunk[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        while let [a, b, kind, ..] = self.bytes[..] {
            let size = usize::from(u16::from_be_bytes([a, b]));
            if size < 3 {
                return false;
            }
            if self.bytes.len() < size {
                break;
            }
            let payload: Vec<u8> = self.bytes.drain(..size).skip(3).collect();
            let answer = match kind {
                b'V' => vec![u8::from(payload == [0, 2])],
                b'v' => world
                    .options
                    .version
                    .iter()
                    .flat_map(|word| word.to_be_bytes())
                    .collect(),
                b'O' => self.set_up_outputs(&payload, world),
                b'I' => self.set_up_inputs(&payload, world),
                b'S' | b'P' => {
                    self.started = kind == b'S' && !self.outputs.is_empty();
                    vec![u8::from(kind == b'P' || self.started)]
                }
                b'U' => {
                    if self.input(&payload, world).is_none() {
                        return false;
                    }
                    continue;
                }
                _ => return false,
            };
            if !self.send(kind, &answer) {
                return false;
            }
        }
        true
    }

    fn set_up_outputs(&mut self, payload: &[u8], world: &World) -> Vec<u8> {
        let (rate, names) = payload.split_at(payload.len().min(8));
        let rate = f64::from_be_bytes(rate.try_into().unwrap_or_default());
        let full = f64::from(world.options.rate_hz);
        if !(1.0..=full).contains(&rate) {
            return vec![0];
        }
        self.every = (full / rate).round() as u64;
        let (answer, outputs) = types(names, |name| match kind_of(name, false) {
            Some(word) if !world.options.lacks.contains(name) => Ok(word),
            _ => Err("NOT_FOUND"),
        });
        let id = u8::from(outputs.is_some());
        self.outputs = outputs.unwrap_or_default();
        [&[id], answer.as_bytes()].concat()
    }

    fn set_up_inputs(&mut self, payload: &[u8], world: &mut World) -> Vec<u8> {
        let me = self.number;
        let (answer, inputs) = types(payload, |name| match kind_of(name, true) {
            Some(_) if world.options.lacks.contains(name) => Err("NOT_FOUND"),
            Some(_) if world.owners.get(name).is_some_and(|owner| *owner != me) => Err("IN_USE"),
            Some(word) => Ok(word),
            None => Err("NOT_FOUND"),
        });
        let Some(inputs) = inputs else {
            return [&[0], answer.as_bytes()].concat();
        };
        for (name, _) in &inputs {
            world.owners.insert(name.clone(), me);
        }
        self.inputs.push(inputs);
        [&[self.inputs.len() as u8], answer.as_bytes()].concat()
    }

    /// Takes the values of an input recipe.
    fn input(&mut self, payload: &[u8], world: &mut World) -> Option<()> {
        let (id, mut rest) = payload.split_first()?;
        let recipe = self.inputs.get(usize::from(*id).checked_sub(1)?)?;
        let mut masks = [0u64; 2];
        for (name, word) in recipe {
            let (value, more) = rest.split_at_checked(bytes_of(word))?;
            rest = more;
            let int = || Some(i32::from_be_bytes(value.try_into().ok()?));
            let double = || Some(f64::from_be_bytes(value.try_into().ok()?));
            if let Some(at) = register(name, "input_int_register_") {
                world.ints_in[at] = int()?;
            } else if let Some(at) = register(name, "input_double_register_") {
                world.doubles_in[at] = double()?;
            } else {
                match name.as_str() {
                    "speed_slider_mask" => masks[0] = int()? as u64,
                    "speed_slider_fraction" if masks[0] == 1 => {
                        world.speed = double()?.clamp(0.0, 1.0)
                    }
                    "standard_digital_output_mask" => masks[1] = u64::from(value[0]),
                    "standard_digital_output" => {
                        world.digital_out =
                            world.digital_out & !masks[1] | u64::from(value[0]) & masks[1];
                    }
                    _ => {}
                }
            }
        }
        world.commands += 1;
        rest.is_empty().then_some(())
    }

    /// Sends a state. False when it does not read what it was sent.
    fn state(&mut self, world: &World) -> bool {
        let mut payload = vec![1];
        for (name, word) in &self.outputs {
            value(name, word, world, &mut payload);
        }
        self.send(b'U', &payload)
    }

    fn send(&mut self, kind: u8, payload: &[u8]) -> bool {
        let size = (payload.len() + 3) as u16;
        let frame = [&size.to_be_bytes(), &[kind][..], payload].concat();
        matches!(self.stream.write(&frame), Ok(n) if n == frame.len())
    }
}

/// The answer to a list of names, and the recipe, where every name has a type.
fn types(
    names: &[u8],
    kind: impl Fn(&str) -> Result<&'static str, &'static str>,
) -> (String, Option<Vec<(String, &'static str)>>) {
    let names = String::from_utf8_lossy(names).into_owned();
    let names: Vec<&str> = names
        .split(',')
        .map(str::trim)
        .filter(|n| !n.is_empty())
        .collect();
    let kinds: Vec<_> = names.iter().map(|name| kind(name)).collect();
    let answer: Vec<&str> = kinds.iter().map(|k| k.unwrap_or_else(|e| e)).collect();
    let recipe: Option<Vec<_>> = names
        .iter()
        .zip(&kinds)
        .map(|(name, kind)| Some(((*name).to_owned(), (*kind).ok()?)))
        .collect();
    (answer.join(","), recipe)
}

fn value(name: &str, word: &str, world: &World, out: &mut Vec<u8>) {
    let mut double = |v: f64| out.extend_from_slice(&v.to_be_bytes());
    let able = world.safety_bits & !0b11 == 0;
    match name {
        "timestamp" => double(world.cycles as f64 * world.period()),
        "actual_q" => world.q.into_iter().for_each(double),
        "target_q" => world.target().into_iter().for_each(double),
        "actual_qd" | "target_qd" => world.qd.into_iter().for_each(double),
        "speed_scaling" | "target_speed_fraction" => double(world.speed),
        "actual_main_voltage" | "actual_robot_voltage" => double(48.0),
        "actual_digital_output_bits" => out.extend_from_slice(&world.digital_out.to_be_bytes()),
        "robot_mode" => out.extend_from_slice(&world.robot_mode.to_be_bytes()),
        "safety_status_bits" => out.extend_from_slice(&world.safety_bits.to_be_bytes()),
        "safety_mode" | "safety_status" => {
            let mode: i32 = match world.safety_bits {
                bits if bits & (1 << 6) != 0 => 7,
                bits if bits & (1 << 2) != 0 => 3,
                bits if bits & (1 << 4) != 0 => 5,
                _ => 1,
            };
            out.extend_from_slice(&mode.to_be_bytes());
        }
        "runtime_state" => out.extend_from_slice(&world.runtime.to_be_bytes()),
        "robot_status_bits" => {
            let on = u32::from(world.robot_mode >= 4);
            let running = u32::from(world.runtime == super::PLAYING && able);
            out.extend_from_slice(&(on | running << 1).to_be_bytes());
        }
        _ => {
            if let Some(at) = register(name, "output_int_register_") {
                out.extend_from_slice(&world.ints_out[at].to_be_bytes());
            } else if let Some(at) = register(name, "output_double_register_") {
                out.extend_from_slice(&world.doubles_out[at].to_be_bytes());
            } else {
                out.resize(out.len() + bytes_of(word), 0);
            }
        }
    }
}
