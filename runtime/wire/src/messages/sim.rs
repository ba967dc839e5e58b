//! The simulated world: what cameras render and what success is judged by. A policy never sees it.

use prost::Message as _;
use tactus_types::Time;

use crate::{
    Message, Qos, WireError,
    check::{MAX_OBJECTS, MAX_QPOS},
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// One instant of the simulated world.
#[derive(Debug, Clone, PartialEq)]
pub struct SimWorld {
    /// When the world was that; capture time of the images rendered from it. Travels in the header.
    pub captured_at: Time,
    /// Epoch of the world: raised by every reset.
    pub epoch: u64,
    /// Simulated time since the reset, seconds.
    pub sim_time_secs: f64,
    /// MuJoCo's generalised positions, as many as the model has.
    pub qpos: Vec<f64>,
    /// Per cube, whether it is lifted; in the scene's cube order.
    pub lifted: Vec<bool>,
    /// Index of the cube that was lifted first in this epoch.
    pub first_lifted: Option<u32>,
    /// Heights of the cubes' centres in the base frame, m; in the scene's cube order.
    pub cube_heights: Vec<f64>,
    /// Per cube, whether it is placed in the bowl; as many as `lifted`, or none from a simulator that knows no bowl.
    pub placed: Vec<bool>,
    /// Index of the cube that was placed first in this epoch.
    pub first_placed: Option<u32>,
    /// Seed of how the cell looks; `None`: as the scene file says. Any number names looks within their bounds, so none
    /// is refused.
    pub variation: Option<u64>,
}

impl Message for SimWorld {
    const SCHEMA: &'static str = "tactus.v1.SimWorld";
    const QOS: Qos = Qos::RealTime;

    fn captured_at(&self) -> Option<Time> {
        Some(self.captured_at)
    }

    fn encode(&self) -> Vec<u8> {
        pb::SimWorld {
            epoch: self.epoch,
            sim_time_secs: self.sim_time_secs,
            qpos: self.qpos.clone(),
            lifted: self.lifted.clone(),
            first_lifted: self.first_lifted,
            cube_heights: self.cube_heights.clone(),
            placed: self.placed.clone(),
            first_placed: self.first_placed,
            variation: self.variation,
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let world: pb::SimWorld = parse(Self::SCHEMA, payload, envelope)?;
        envelope.at_most("qpos", &world.qpos, MAX_QPOS)?;
        envelope.at_most("lifted", &world.lifted, MAX_OBJECTS)?;
        if world.cube_heights.len() != world.lifted.len() {
            let expected = format!("{}, as `lifted`", world.lifted.len());
            return Err(envelope.wrong("cube_heights", expected, world.cube_heights.len()));
        }
        if !world.placed.is_empty() && world.placed.len() != world.lifted.len() {
            let expected = format!("{}, as `lifted`, or none", world.lifted.len());
            return Err(envelope.wrong("placed", expected, world.placed.len()));
        }
        for (field, first, cubes) in [
            ("first_lifted", world.first_lifted, world.lifted.len()),
            ("first_placed", world.first_placed, world.placed.len()),
        ] {
            if let Some(first) = first
                && first as usize >= cubes
            {
                return Err(envelope.wrong(field, format!("less than {cubes}"), first));
            }
        }
        for (field, values) in [("qpos", &world.qpos), ("cube_heights", &world.cube_heights)] {
            for value in values {
                envelope.finite(field, *value)?;
            }
        }
        Ok(Self {
            captured_at: envelope.header.captured_at,
            epoch: world.epoch,
            sim_time_secs: envelope.finite("sim_time_secs", world.sim_time_secs)?,
            qpos: world.qpos,
            lifted: world.lifted,
            first_lifted: world.first_lifted,
            cube_heights: world.cube_heights,
            placed: world.placed,
            first_placed: world.first_placed,
            variation: world.variation,
        })
    }
}

/// Order to begin anew with the scene of `seed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimReset {
    /// Decides where everything lies.
    pub seed: u64,
    /// Its looks are drawn from the seed too.
    pub variation: bool,
}

impl Message for SimReset {
    const SCHEMA: &'static str = "tactus.v1.SimReset";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        pb::SimReset {
            seed: self.seed,
            variation: self.variation,
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let pb::SimReset { seed, variation } = parse(Self::SCHEMA, payload, envelope)?;
        Ok(Self { seed, variation })
    }
}

/// The answer to a [`SimReset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimResetReply {
    /// Epoch of the new world; commands of any other are refused.
    pub epoch: u64,
}

impl Message for SimResetReply {
    const SCHEMA: &'static str = "tactus.v1.SimResetReply";
    const QOS: Qos = Qos::RealTime;

    fn encode(&self) -> Vec<u8> {
        pb::SimResetReply { epoch: self.epoch }.encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let pb::SimResetReply { epoch } = parse(Self::SCHEMA, payload, envelope)?;
        Ok(Self { epoch })
    }
}
