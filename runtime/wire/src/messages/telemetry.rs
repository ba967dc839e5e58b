//! Statistics of an arm host, for a live view. Nothing is decided by them.

use prost::Message as _;
use tactus_types::{HostLoad, Misses, MotionQuality, Stage, StageTimes};

use super::infer::{stage_to, stages_from, stages_to};
use crate::{
    Message, Qos, WireError,
    message::{Envelope, parse},
    proto::tactus as pb,
};

/// Lateness of control ticks against their absolute deadlines, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lateness {
    /// Median.
    pub p50_micros: f64,
    /// 99th percentile.
    pub p99_micros: f64,
    /// 99.9th percentile.
    pub p999_micros: f64,
    /// Largest.
    pub max_micros: f64,
}

/// Statistics of an arm host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Telemetry {
    /// Request behind the last accepted chunk; 0 before the first.
    pub request_id: u64,
    /// Control ticks counted since the arm was enabled.
    pub ticks: u64,
    /// Of the control loop.
    pub lateness: Lateness,
    /// Median age of the observation behind a command when it was applied, milliseconds.
    pub age_p50_millis: f64,
    /// 99th percentile of that age, milliseconds.
    pub age_p99_millis: f64,
    /// Stage times of the last accepted chunk.
    pub stages: StageTimes,
    /// Of the last accepted chunk: from the later of newest frame received and engine free, to accepted by the
    /// scheduler, less the time inside ONNX Runtime; milliseconds.
    pub overhead_millis: f64,
    /// Of the last accepted chunk: time inside ONNX Runtime, milliseconds.
    pub inference_millis: f64,
    /// Of the last accepted chunk: frame received to engine free, milliseconds.
    pub queue_millis: f64,
    /// How smooth the commanded motion of the episode is so far.
    pub motion: MotionQuality,
    /// Load of the arm host just now.
    pub host: HostLoad,
    /// The same around the last deadline that was missed; `None` before the first.
    pub host_at_miss: Option<HostLoad>,
    /// Deadlines missed since the arm was enabled.
    pub misses: Misses,
}

impl Message for Telemetry {
    const SCHEMA: &'static str = "tactus.v1.Telemetry";
    const QOS: Qos = Qos::Data;

    fn encode(&self) -> Vec<u8> {
        let Lateness {
            p50_micros,
            p99_micros,
            p999_micros,
            max_micros,
        } = self.lateness;
        pb::Telemetry {
            lateness: Some(pb::telemetry::Lateness {
                p50_micros,
                p99_micros,
                p999_micros,
                max_micros,
            }),
            age_p50_millis: self.age_p50_millis,
            age_p99_millis: self.age_p99_millis,
            stages: stages_to(&self.stages),
            overhead_millis: self.overhead_millis,
            inference_millis: self.inference_millis,
            queue_millis: self.queue_millis,
            request_id: self.request_id,
            ticks: self.ticks,
            motion: Some(motion_to(&self.motion)),
            host: Some(host_to(&self.host)),
            host_at_miss: self.host_at_miss.as_ref().map(host_to),
            misses: Some(misses_to(&self.misses)),
        }
        .encode_to_vec()
    }

    fn decode(payload: &[u8], envelope: &Envelope<'_>) -> Result<Self, WireError> {
        let telemetry: pb::Telemetry = parse(Self::SCHEMA, payload, envelope)?;
        let late = envelope.present("lateness", telemetry.lateness)?;
        let number = |field: &str, value| envelope.not_negative(field, value);
        Ok(Self {
            lateness: Lateness {
                p50_micros: number("lateness.p50_micros", late.p50_micros)?,
                p99_micros: number("lateness.p99_micros", late.p99_micros)?,
                p999_micros: number("lateness.p999_micros", late.p999_micros)?,
                max_micros: number("lateness.max_micros", late.max_micros)?,
            },
            age_p50_millis: number("age_p50_millis", telemetry.age_p50_millis)?,
            age_p99_millis: number("age_p99_millis", telemetry.age_p99_millis)?,
            stages: stages_from(&telemetry.stages, envelope)?,
            overhead_millis: envelope.finite("overhead_millis", telemetry.overhead_millis)?,
            inference_millis: number("inference_millis", telemetry.inference_millis)?,
            queue_millis: number("queue_millis", telemetry.queue_millis)?,
            request_id: telemetry.request_id,
            ticks: telemetry.ticks,
            motion: motion_from(&envelope.present("motion", telemetry.motion)?, envelope)?,
            host: host_from(&envelope.present("host", telemetry.host)?, envelope)?,
            host_at_miss: telemetry
                .host_at_miss
                .map(|host| host_from(&host, envelope))
                .transpose()?,
            misses: misses_from(&envelope.present("misses", telemetry.misses)?, envelope)?,
        })
    }
}

fn motion_to(motion: &MotionQuality) -> pb::telemetry::Motion {
    let MotionQuality {
        seams,
        seam_jump_mean,
        seam_jump_max,
        seam_cosine_mean,
        acceleration_max,
        jerk_max,
        sparc,
    } = *motion;
    pb::telemetry::Motion {
        seams,
        seam_jump_mean_rad: seam_jump_mean,
        seam_jump_max_rad: seam_jump_max,
        seam_cosine_mean,
        acceleration_max,
        jerk_max,
        sparc,
    }
}

fn motion_from(
    motion: &pb::telemetry::Motion,
    envelope: &Envelope<'_>,
) -> Result<MotionQuality, WireError> {
    let number = |field: &str, value| envelope.not_negative(field, value);
    Ok(MotionQuality {
        seams: motion.seams,
        seam_jump_mean: number("motion.seam_jump_mean_rad", motion.seam_jump_mean_rad)?,
        seam_jump_max: number("motion.seam_jump_max_rad", motion.seam_jump_max_rad)?,
        seam_cosine_mean: envelope.finite("motion.seam_cosine_mean", motion.seam_cosine_mean)?,
        acceleration_max: number("motion.acceleration_max", motion.acceleration_max)?,
        jerk_max: number("motion.jerk_max", motion.jerk_max)?,
        sparc: envelope.finite("motion.sparc", motion.sparc)?,
    })
}

fn host_to(host: &HostLoad) -> pb::telemetry::HostLoad {
    let HostLoad {
        steal,
        busy,
        runnable,
        cores,
        pressure,
        mhz,
        throttles,
    } = *host;
    pb::telemetry::HostLoad {
        steal,
        busy,
        runnable,
        cores,
        pressure,
        mhz,
        throttles,
    }
}

fn host_from(
    host: &pb::telemetry::HostLoad,
    envelope: &Envelope<'_>,
) -> Result<HostLoad, WireError> {
    let pressure = host.pressure.map(|p| envelope.fraction("host.pressure", p));
    let mhz = host.mhz.map(|v| envelope.not_negative("host.mhz", v));
    Ok(HostLoad {
        steal: envelope.fraction("host.steal", host.steal)?,
        busy: envelope.fraction("host.busy", host.busy)?,
        runnable: host.runnable,
        cores: host.cores,
        pressure: pressure.transpose()?,
        mhz: mhz.transpose()?,
        throttles: host.throttles,
    })
}

fn misses_to(misses: &Misses) -> pb::telemetry::Misses {
    let counted = |stage: &Stage| misses.of(*stage) > 0;
    let of_stage = |stage: Stage| pb::telemetry::misses::OfStage {
        stage: stage_to(stage).into(),
        count: misses.of(stage),
    };
    pb::telemetry::Misses {
        stages: Stage::ALL
            .into_iter()
            .filter(counted)
            .map(of_stage)
            .collect(),
        host: misses.host,
        unanswered: misses.unanswered,
    }
}

fn misses_from(
    misses: &pb::telemetry::Misses,
    envelope: &Envelope<'_>,
) -> Result<Misses, WireError> {
    envelope.at_most("misses.stages", &misses.stages, Stage::ALL.len())?;
    let mut counted = Misses {
        host: misses.host,
        unanswered: misses.unanswered,
        ..Misses::default()
    };
    for of in &misses.stages {
        let stage = Stage::ALL
            .into_iter()
            .find(|stage| i32::from(stage_to(*stage)) == of.stage)
            .ok_or_else(|| envelope.wrong("misses.stages.stage", "a known stage", of.stage))?;
        counted.stages[stage as usize] = of.count;
    }
    Ok(counted)
}
