//! What a chunk costs: for an engine that is about to start, and for `tactus bundle bench`.
//!
//! Decides what is looked at: the first golden case where there is one, otherwise pictures of coloured blocks, in either case as
//! JPEG, and an arm at rest.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tactus_bundle::{CameraSpec, DirectBundle};
use tactus_types::{
    Action, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest, JointState,
    JointVec, Observation, PolicyError, Stage, StageTimes, Time, TimedAction,
};
use tactus_vla::{
    CostReport, Probe, RunOptions, VlaError,
    measure::{STAGES, WARM_UP, cost},
};

use crate::policy::DirectPolicy;

/// When the pictures that are looked at were taken; any time would do.
const OBSERVED_AT: Time = Time::from_millis(100_000);
/// Side of a block, pixels.
const BLOCK: usize = 16;

/// A picture of coloured blocks, which costs a decoder as much as one of a room.
fn blocks(camera: &CameraSpec) -> Vec<u8> {
    let colour = |x: usize, y: usize, c: usize| {
        let block = (x / BLOCK + 1) * 37 + (y / BLOCK + 1) * 101 + c * 59;
        (block * block / 7 % 256) as u8
    };
    let pixel = |i: usize| {
        let (x, y) = (i % camera.width, i / camera.width);
        [0, 1, 2].map(|c| colour(x, y, c))
    };
    (0..camera.width * camera.height).flat_map(pixel).collect()
}

/// `rgb` as a frame of `camera`; raw where no JPEG can be made of it.
fn frame(camera: &CameraSpec, rgb: Vec<u8>) -> CameraFrame {
    let mut jpeg = Vec::new();
    let side = |side: usize| u16::try_from(side).unwrap_or(u16::MAX);
    let (width, height) = (side(camera.width), side(camera.height));
    let made = jpeg_encoder::Encoder::new(&mut jpeg, 90).encode(
        &rgb,
        width,
        height,
        jpeg_encoder::ColorType::Rgb,
    );
    let (encoding, data) = match made {
        Ok(()) => (Encoding::Jpeg, jpeg),
        Err(_) => (Encoding::Rgb8, rgb),
    };
    CameraFrame {
        camera: camera.name.as_str().into(),
        captured_at: OBSERVED_AT,
        received_at: OBSERVED_AT,
        seq: 0,
        width: camera.width as u32,
        height: camera.height as u32,
        encoding,
        data: data.into(),
    }
}

/// An arm at rest under the pictures that are looked at, and a request for the policy's task.
fn at_rest(
    bundle: &DirectBundle,
    joints: usize,
) -> Result<(Observation, InferenceRequest), VlaError> {
    let case = bundle.golden()?.into_iter().next();
    let picture = |camera: &CameraSpec| {
        let golden = case.as_ref().and_then(|case| {
            let rgb = case.u8(&format!("rgb.{}", camera.name)).ok()?;
            (rgb.len() == camera.width * camera.height * 3).then(|| rgb.to_vec())
        });
        frame(camera, golden.unwrap_or_else(|| blocks(camera)))
    };
    let q = JointVec::zeros(joints);
    let rest = TimedAction {
        due: OBSERVED_AT,
        action: Action { q, opening: 0.0 },
    };
    let observation = Observation {
        observed_at: OBSERVED_AT,
        frames: bundle.outline().cameras.iter().map(picture).collect(),
        state: JointState {
            captured_at: OBSERVED_AT,
            seq: 0,
            epoch: 0,
            q,
            dq: q,
            opening: 0.0,
            torque: true,
        },
    };
    let request = InferenceRequest {
        id: 0,
        generation: Generation::default(),
        instruction: bundle.manifest().task.instruction.as_str().into(),
        observe_after: Time::ZERO,
        deadline: Time::ZERO,
        expected_delay: Duration::ZERO,
        leftover: [rest].into_iter().collect(),
        conditioning: Conditioning::None,
        seed: 0,
    };
    Ok((observation, request))
}

/// Makes a chunk of an arm at rest, and looks at what it says: `bundle wrap` leaves no bundle whose first chunk is none.
///
/// # Errors
/// [`VlaError`] when it cannot be made; actions that are no finite numbers are none.
pub fn try_out(policy: &mut DirectPolicy) -> Result<(), VlaError> {
    let (observation, request) = at_rest(policy.bundle(), policy.arm_joints())?;
    policy.infer_from(&observation, &request, (None, true))?;
    policy.forget();
    Ok(())
}

impl DirectPolicy {
    /// Makes a chunk of an arm at rest and returns what each stage took.
    ///
    /// # Errors
    /// [`VlaError`] when it cannot be made.
    pub fn warm_up(&mut self) -> Result<StageTimes, VlaError> {
        let (observation, request) = at_rest(self.bundle(), self.arm_joints())?;
        Ok(self.at_rest_again(&observation, &request)?)
    }

    /// A chunk that counts for nothing: what it saw is forgotten, so that nothing of it is anybody's past.
    fn at_rest_again(
        &mut self,
        observation: &Observation,
        request: &InferenceRequest,
    ) -> Result<StageTimes, PolicyError> {
        let chunk = self.infer_from(observation, request, (None, true));
        self.forget();
        Ok(chunk?.stages)
    }

    /// Measures at most `chunks` chunks, and ends after `within` with at least one; `on_chunk` is called after each.
    ///
    /// # Errors
    /// [`VlaError`] when a chunk cannot be made.
    pub fn probe(
        &mut self,
        chunks: usize,
        within: Duration,
        mut on_chunk: impl FnMut(Duration),
    ) -> Result<Probe, VlaError> {
        let (observation, mut request) = at_rest(self.bundle(), self.arm_joints())?;
        let mut stages: [Vec<Duration>; STAGES.len()] = Default::default();
        let begun = Instant::now();
        for i in 0..WARM_UP + chunks {
            request.seed += 1;
            let started = Instant::now();
            let made = self.at_rest_again(&observation, &request)?;
            let took = started.elapsed();
            // Where a chunk takes seconds, the first of opening has to do.
            if i < WARM_UP && begun.elapsed() < within / 4 {
                continue;
            }
            for (times, stage) in stages.iter_mut().zip(STAGES) {
                times.push(made.get(stage));
            }
            on_chunk(took);
            if begun.elapsed() > within {
                break;
            }
        }
        let chunks = stages.first().map_or(0, Vec::len);
        let costs = stages.into_iter().map(|times| cost(times, None));
        Ok(Probe {
            stages: STAGES.into_iter().zip(costs).collect(),
            chunks,
        })
    }
}

/// Measures `chunks` chunks of `bundle`; `on_chunk` is called after each. There is no floor: what its graph costs at least
/// nobody has counted.
///
/// # Errors
/// [`VlaError`] when the bundle cannot be opened or a chunk not be made.
pub fn measure(
    dir: impl AsRef<Path>,
    options: &RunOptions,
    chunks: usize,
    mut on_chunk: impl FnMut(),
) -> Result<CostReport, VlaError> {
    let started = Instant::now();
    let bundle = DirectBundle::open(dir)?;
    let joints = bundle.outline().action.joints.clone();
    let mut policy = DirectPolicy::of_bundle(bundle.clone(), options.policy(&joints))?;
    let opened_in = started.elapsed();
    let mut whole = Vec::new();
    let probe = policy.probe(chunks, Duration::from_secs(3600), |took| {
        whole.push(took);
        on_chunk();
    })?;
    let of = |stage: Stage| {
        probe
            .stages
            .iter()
            .find(|(s, _)| *s == stage)
            .map(|(_, c)| *c)
    };
    let none = cost(Vec::new(), None);
    let (inference, decode) = (of(crate::policy::STAGE), of(Stage::Decode));
    let [inference, decode] = [inference, decode].map(|cost| cost.unwrap_or(none));
    let rest = whole
        .iter()
        .map(|took| took.saturating_sub(inference.p50 + decode.p50))
        .collect();
    Ok(CostReport {
        decoder: None,
        name: bundle.outline().name.clone(),
        bundle_id: bundle.id().to_string(),
        provider: policy.parts().2.provider().name(),
        intra_threads: options.intra_threads,
        chunks: probe.chunks,
        opened_in,
        stages: probe.stages,
        inference,
        rest: cost(rest, None),
        chunk: cost(whole, None),
        device_memory_bytes: None,
        ceiling: None,
    })
}
