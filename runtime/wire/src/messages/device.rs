//! Between a device process and the arm host: states, commands, infos.

use prost::Message as _;
use tactus_types::{
    ArmGeometry, ArmInfo, Command, Generation, JointLimits, JointState, JointVec, MAX_JOINTS, Time,
    Torque,
};

use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

pub(crate) fn generation_to(generation: Generation) -> Option<pb::Generation> {
    Some(pb::Generation {
        boot: generation.boot,
        count: generation.count,
    })
}

pub(crate) fn generation_from(
    generation: Option<pb::Generation>,
    envelope: &Envelope<'_>,
) -> Result<Generation, WireError> {
    let pb::Generation { boot, count } = envelope.present("generation", generation)?;
    Ok(Generation { boot, count })
}

pub(crate) fn torque_to(torque: Torque) -> i32 {
    match torque {
        Torque::Keep => pb::Torque::Keep,
        Torque::On => pb::Torque::On,
        Torque::Off => pb::Torque::Off,
    }
    .into()
}

pub(crate) fn torque_from(torque: i32, envelope: &Envelope<'_>) -> Result<Torque, WireError> {
    match pb::Torque::try_from(torque) {
        Ok(pb::Torque::Keep) => Ok(Torque::Keep),
        Ok(pb::Torque::On) => Ok(Torque::On),
        Ok(pb::Torque::Off) => Ok(Torque::Off),
        Err(_) => Err(envelope.wrong("torque", "0 to 2", torque)),
    }
}

impl Message for JointState {
    const SCHEMA: &'static str = "tactus.v1.JointState";
    const QOS: Qos = Qos::RealTime;

    fn captured_at(&self) -> Option<Time> {
        Some(self.captured_at)
    }

    fn seq(&self) -> Option<u64> {
        Some(self.seq)
    }

    fn encode(&self) -> Vec<u8> {
        pb::JointState {
            epoch: self.epoch,
            q: self.q.as_slice().to_vec(),
            dq: self.dq.as_slice().to_vec(),
            opening: self.opening,
            torque: Some(self.torque),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let state: pb::JointState = parse(Self::SCHEMA, payload, envelope)?;
        let q = envelope.joints("q", &state.q)?;
        Ok(Self {
            captured_at: envelope.header.captured_at,
            seq: envelope.header.seq,
            epoch: state.epoch,
            dq: envelope.joints_like("dq", &state.dq, &q)?,
            opening: envelope.finite("opening", state.opening)?,
            torque: state.torque.unwrap_or(true),
            q,
        })
    }
}

/// A position goal for a device: the part of a [`Command`] that the device needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceCommand {
    /// Device epoch that it is for; the device refuses any other.
    pub epoch: u64,
    /// Tick of the control loop; grows within an epoch.
    pub tick: u64,
    /// Joint positions, rad.
    pub q: JointVec,
    /// Joint velocities, rad/s.
    pub dq: JointVec,
    /// Gripper opening, 0..1.
    pub opening: f64,
    /// Generation in force. By its boot a device knows a restarted commander; the count is for the record.
    pub generation: Generation,
    /// What becomes of the motors' torque.
    pub torque: Torque,
}

impl From<&Command> for DeviceCommand {
    fn from(command: &Command) -> Self {
        Self {
            epoch: command.epoch,
            tick: command.tick,
            q: command.q,
            dq: command.dq,
            opening: command.opening,
            generation: command.generation,
            torque: command.torque,
        }
    }
}

impl Message for DeviceCommand {
    const SCHEMA: &'static str = "tactus.v1.DeviceCommand";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        pb::DeviceCommand {
            epoch: self.epoch,
            tick: self.tick,
            q: self.q.as_slice().to_vec(),
            dq: self.dq.as_slice().to_vec(),
            opening: self.opening,
            generation: generation_to(self.generation),
            torque: torque_to(self.torque),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let command: pb::DeviceCommand = parse(Self::SCHEMA, payload, envelope)?;
        let q = envelope.joints("q", &command.q)?;
        Ok(Self {
            epoch: command.epoch,
            tick: command.tick,
            dq: envelope.joints_like("dq", &command.dq, &q)?,
            opening: envelope.fraction("opening", command.opening)?,
            generation: generation_from(command.generation, envelope)?,
            torque: torque_from(command.torque, envelope)?,
            q,
        })
    }
}

fn geometry_to(geometry: &ArmGeometry) -> pb::ArmGeometry {
    let corner = |i: usize| {
        geometry
            .workspace
            .map_or(vec![], |corners| corners[i].to_vec())
    };
    pb::ArmGeometry {
        urdf: geometry.urdf.clone(),
        base_link: geometry.base_link.clone(),
        tool_link: geometry.tool_link.clone(),
        workspace_min: corner(0),
        workspace_max: corner(1),
    }
}

/// The size of the URDF and the corners' numbers are left to [`ArmInfo::check`].
fn geometry_from(
    geometry: pb::ArmGeometry,
    envelope: &Envelope<'_>,
) -> Result<ArmGeometry, WireError> {
    let pb::ArmGeometry {
        urdf,
        base_link,
        tool_link,
        workspace_min: min,
        workspace_max: max,
    } = geometry;
    let workspace = match (<[f64; 3]>::try_from(&*min), <[f64; 3]>::try_from(&*max)) {
        (Ok(min), Ok(max)) => Some([min, max]),
        _ if min.is_empty() && max.is_empty() => None,
        _ => {
            let actual = format!("{} and {}", min.len(), max.len());
            return Err(envelope.wrong("geometry.workspace", "3 numbers each, or none", actual));
        }
    };
    Ok(ArmGeometry {
        urdf,
        base_link: envelope.text("geometry.base_link", base_link)?,
        tool_link: envelope.text("geometry.tool_link", tool_link)?,
        workspace,
    })
}

impl Message for ArmInfo {
    const SCHEMA: &'static str = "tactus.v1.ArmInfo";
    const QOS: Qos = Qos::Data;

    fn encode(&self) -> Vec<u8> {
        pb::ArmInfo {
            model: self.model.clone(),
            joints: self.joints.clone(),
            limits: self
                .limits
                .iter()
                .map(|l| pb::JointLimits {
                    lower: l.lower,
                    upper: l.upper,
                    velocity: l.velocity,
                    acceleration: l.acceleration,
                    jerk: l.jerk,
                })
                .collect(),
            gripper: self.gripper,
            state_rate_hz: self.state_rate_hz,
            brakes: self.brakes,
            command_deadline_secs: self.command_deadline_secs,
            geometry: self.geometry.as_ref().map(geometry_to),
            torque_switch: self.torque_switch,
        }
        .encode_to_vec()
    }

    /// Holds what [`ArmInfo::check`] demands.
    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let info: pb::ArmInfo = parse(Self::SCHEMA, payload, envelope)?;
        envelope.at_most("joints", &info.joints, MAX_JOINTS)?;
        for name in &info.joints {
            envelope.text("joints", name.clone())?;
        }
        let info = Self {
            model: envelope.text("model", info.model)?,
            joints: info.joints,
            limits: info
                .limits
                .iter()
                .map(|l| JointLimits {
                    lower: l.lower,
                    upper: l.upper,
                    velocity: l.velocity,
                    acceleration: l.acceleration,
                    jerk: l.jerk,
                })
                .collect(),
            gripper: info.gripper,
            state_rate_hz: info.state_rate_hz,
            brakes: info.brakes,
            command_deadline_secs: info.command_deadline_secs,
            geometry: info
                .geometry
                .map(|geometry| geometry_from(geometry, envelope))
                .transpose()?,
            torque_switch: info.torque_switch,
        };
        info.check()
            .map_err(|e| envelope.wrong(e.field, e.expected, e.actual))?;
        Ok(info)
    }
}
