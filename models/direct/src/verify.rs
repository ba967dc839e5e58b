//! The path against golden tensors, boundary by boundary, as far as a golden case has them.
//!
//! | tensor | row | scale | tolerance |
//! |---|---|---|---|
//! | `rgb.<camera>` u8, `input.<name>` f32 | `input <name>`, of pictures | largest magnitude | 1e-2: one grey level |
//! | `state_raw` f32 in the training data's units, `input.<name>` | `input <name>`, of the state | the same | 1e-4 |
//! | `noise` f32, `output` f32, as the framework has them | `pixels to output` | the same | fp32: 1e-3, otherwise 1e-2 |
//! | `actions` f32 in SI, of the rows that are the chunk | `pixels to actions` | range of the column | the same |
//!
//! A case with `rgb.*`, `state_raw` and one of `output` and `actions` is enough; one with neither of them, or with a tensor of
//! another name, is refused. Graphs that take past observations are given
//! the same one as often as they take.

use std::path::Path;

use tactus_bundle::{BundleError, DirectBundle, GoldenCase, Precision};
use tactus_types::{
    Action, CameraFrame, Conditioning, Encoding, Generation, InferenceRequest, JointState,
    JointVec, Observation, Time, TimedAction,
};
use tactus_vla::{
    RunOptions, VerifyReport, VerifyRow, VlaError,
    gripper::is_open,
    report::{cosine, largest},
};

use crate::{graph::Numbers, policy::DirectPolicy};

/// When golden cases were observed. Any time would do.
const OBSERVED_AT: Time = Time::from_millis(1_000_000);
/// What the framework made, of which a case has one at least.
const CHUNK: [&str; 2] = ["output", "actions"];
/// Tolerance of pictures, of their scale: resampling rounds to a byte.
const PICTURE: f64 = 1e-2;
/// Tolerance of a state.
const STATE: f64 = 1e-4;
/// Tolerance of everything together in single precision.
const WHOLE: f64 = 1e-3;
/// The same in half precision.
const HALF: f64 = 1e-2;

/// Replays every golden case of the bundle in `dir`.
///
/// # Errors
/// [`VlaError`] when the bundle cannot be used at all, has no golden case, or one is malformed. A comparison out of tolerance
/// is a row of the report.
pub fn verify(dir: impl AsRef<Path>, options: &RunOptions) -> Result<VerifyReport, VlaError> {
    let bundle = DirectBundle::open(dir)?;
    let cases = bundle.golden()?;
    if cases.is_empty() {
        return Err(VlaError::NoGoldenCase);
    }
    let joints = bundle.outline().action.joints.clone();
    let mut policy = DirectPolicy::of_bundle(bundle.clone(), options.policy(&joints))?;
    let mut rows = Vec::new();
    for case in &cases {
        Case {
            case,
            bundle: &bundle,
            rows: &mut rows,
        }
        .run(&mut policy)?;
    }
    Ok(VerifyReport {
        name: bundle.outline().name.clone(),
        bundle_id: bundle.id().to_string(),
        provider: policy.parts().2.provider().name(),
        rows,
    })
}

struct Case<'a> {
    case: &'a GoldenCase,
    bundle: &'a DirectBundle,
    rows: &'a mut Vec<VerifyRow>,
}

impl Case<'_> {
    fn run(&mut self, policy: &mut DirectPolicy) -> Result<(), VlaError> {
        self.known()?;
        let observation = self.observation()?;
        let anchor = Action {
            q: observation.state.q,
            opening: observation.state.opening,
        };
        let rest = TimedAction {
            due: OBSERVED_AT,
            action: anchor,
        };
        let request = InferenceRequest {
            id: 0,
            generation: Generation::default(),
            // The policy's task, whatever the case was made with.
            instruction: self.bundle.manifest().task.instruction.as_str().into(),
            observe_after: Time::ZERO,
            deadline: Time::ZERO,
            expected_delay: std::time::Duration::ZERO,
            leftover: [rest].into_iter().collect(),
            conditioning: Conditioning::None,
            seed: 0,
        };
        let noise = match self.case.get("noise") {
            Some(_) => Some(self.case.f32("noise")?),
            None => None,
        };
        policy.forget();
        policy.infer_from(&observation, &request, (noise, true))?;
        self.inputs(policy)?;
        let manifest = self.bundle.manifest();
        let whole = match manifest.graph.precision {
            Precision::Fp32 => WHOLE,
            Precision::Fp16 | Precision::Bf16 => HALF,
        };
        let (_, columns, graph) = policy.parts();
        let made = graph.chunk()?;
        if self.case.get("output").is_some() {
            let golden = self.case.f32("output")?;
            self.push_tensor("pixels to output", made, golden, whole);
        }
        let outline = self.bundle.outline();
        if self.case.get("actions").is_some() {
            let rows = made.chunks_exact(outline.action.width);
            let rows = rows
                .skip(manifest.chunk.first_row)
                .take(outline.action.horizon);
            let ours: Vec<f64> = match outline.action.tool {
                // Without an arm, tool poses are compared as they are.
                Some(_) => columns.said(rows, is_open(anchor.opening)),
                None => {
                    let made = columns.actions(rows, &anchor, is_open(anchor.opening));
                    let flat = |a: &Action| {
                        let values = a.q.iter().copied().chain([a.opening]);
                        values.take(columns.len()).collect::<Vec<_>>()
                    };
                    made.map_err(|e| e.at("golden actions"))?
                        .iter()
                        .flat_map(flat)
                        .collect()
                }
            };
            let ranges = columns.ranges(outline.action.horizon);
            let golden = self.case.f32("actions")?;
            if golden.len() != ours.len() {
                return Err(self.shape("actions", ours.len(), golden.len()));
            }
            let off = ours.iter().zip(golden).zip(&ranges);
            let off = off.map(|((a, b), range)| ((a - f64::from(*b)).abs(), range.abs()));
            let worst = off.max_by(|(a, x), (b, y)| (a / x).total_cmp(&(b / y)));
            let (error, range) = worst.unwrap_or((f64::NAN, 1.0));
            self.push("pixels to actions", (error, range), whole, None);
        }
        policy.forget();
        Ok(())
    }

    /// The inputs that the case has.
    fn inputs(&mut self, policy: &mut DirectPolicy) -> Result<(), VlaError> {
        let (_, _, graph) = policy.parts();
        for (name, numbers) in &graph.pictures {
            let of = format!("input.{name}");
            if self.case.get(&of).is_none() {
                continue;
            }
            match numbers {
                Numbers::F32(buffer) => {
                    let golden = self.case.f32(&of)?;
                    self.push_tensor(&format!("input {name}"), buffer.read()?, golden, PICTURE);
                }
                Numbers::U8(buffer) => {
                    let error = largest(buffer.read()?, self.case.u8(&of)?);
                    self.push(&format!("input {name}"), (error, 255.0), PICTURE, None);
                }
            }
        }
        if let Some((name, buffer)) = &graph.state {
            let of = format!("input.{name}");
            if self.case.get(&of).is_some() {
                let golden = self.case.f32(&of)?;
                self.push_tensor(&format!("input {name}"), buffer.read()?, golden, STATE);
            }
        }
        Ok(())
    }

    /// Whether there is something to compare, and no tensor that nothing would be compared with.
    fn known(&self) -> Result<(), VlaError> {
        let manifest = self.bundle.manifest();
        let cameras = manifest.outline.cameras.iter();
        let mut known: Vec<String> = cameras.map(|c| format!("rgb.{}", c.name)).collect();
        let own = ["state_raw", "noise", CHUNK[0], CHUNK[1]];
        known.extend(own.map(str::to_owned));
        let state = manifest.proprio.iter().map(|state| &state.input);
        let inputs = manifest.pictures.iter().map(|p| &p.input).chain(state);
        known.extend(inputs.map(|name| format!("input.{name}")));
        let other = self
            .case
            .names()
            .find(|name| !known.iter().any(|k| k == name));
        if let Some(name) = other {
            return Err(self.wrong(name, known.join(", "), "a tensor that nothing reads"));
        }
        match CHUNK.iter().any(|name| self.case.get(name).is_some()) {
            true => Ok(()),
            false => {
                let expected = "it, or `actions`: what the framework made";
                Err(self.wrong(CHUNK[0], expected, "neither"))
            }
        }
    }

    fn observation(&self) -> Result<Observation, VlaError> {
        let outline = self.bundle.outline();
        let mut frames = Vec::new();
        for camera in &outline.cameras {
            let rgb = self.case.u8(&format!("rgb.{}", camera.name))?;
            frames.push(CameraFrame {
                camera: camera.name.as_str().into(),
                captured_at: OBSERVED_AT,
                received_at: OBSERVED_AT,
                seq: 0,
                width: camera.width as u32,
                height: camera.height as u32,
                encoding: Encoding::Rgb8,
                data: rgb.into(),
            });
        }
        let state = &outline.state;
        let raw = self.case.f32("state_raw")?;
        if raw.len() != state.columns() {
            return Err(self.shape("state_raw", state.columns(), raw.len()));
        }
        let si = self.bundle.manifest().state_in_si(raw);
        let column = |joint: &String| state.joints.iter().position(|name| name == joint);
        // Any place would do for a joint that the policy does not see.
        let value = |joint: &String| column(joint).and_then(|i| si.get(i).copied());
        let joints = &outline.action.joints;
        let q: Vec<f64> = joints.iter().map(|j| value(j).unwrap_or(0.0)).collect();
        let q = JointVec::from_slice(&q)
            .ok_or_else(|| self.shape("state_raw", state.columns(), raw.len()))?;
        let opening = match state.gripper {
            true => si.last().copied().unwrap_or(0.0),
            false => 0.0,
        };
        Ok(Observation {
            observed_at: OBSERVED_AT,
            frames,
            state: JointState {
                captured_at: OBSERVED_AT,
                seq: 0,
                epoch: 0,
                q,
                dq: JointVec::zeros(q.len()),
                opening,
                torque: true,
            },
        })
    }

    fn shape(&self, tensor: &str, expected: usize, actual: usize) -> VlaError {
        self.wrong(tensor, format!("{expected} numbers"), actual.to_string())
    }

    fn wrong(
        &self,
        tensor: &str,
        expected: impl Into<String>,
        actual: impl Into<String>,
    ) -> VlaError {
        VlaError::Bundle(BundleError::Golden {
            file: self.case.file.clone(),
            tensor: tensor.into(),
            expected: expected.into(),
            actual: actual.into(),
        })
    }

    fn push_tensor(&mut self, boundary: &str, ours: &[f32], golden: &[f32], tolerance: f64) {
        let scale = golden
            .iter()
            .fold(0.0, |m: f64, v| m.max(f64::from(v.abs())));
        let scale = if scale == 0.0 { 1.0 } else { scale };
        let error = largest(ours, golden);
        self.push(boundary, (error, scale), tolerance, cosine(ours, golden));
    }

    fn push(
        &mut self,
        boundary: &str,
        (max_abs, scale): (f64, f64),
        tolerance: f64,
        cosine: Option<f64>,
    ) {
        let max_rel_to_scale = max_abs / scale;
        let stem = Path::new(&self.case.file).file_stem();
        self.rows.push(VerifyRow {
            case: stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            boundary: boundary.into(),
            max_abs,
            scale,
            max_rel_to_scale,
            cosine,
            tolerance,
            passed: max_rel_to_scale <= tolerance,
        });
    }
}
