//! The Rust path against the bundle's golden tensors, boundary by boundary.
//!
//! Each boundary gets its own golden input, so that an error is found where it is made and not where it is noticed;
//! then everything runs end to end, from the golden JPEG files to actions. A row passes when its largest error is
//! within the tolerance, relative to the scale of what is compared:
//!
//! | boundary | scale | tolerance |
//! |---|---|---|
//! | `decode/<camera>` | one grey level, mean over pixels | 0.1: decoders may round differently |
//! | `resize/<camera>` | one grey level | 1 |
//! | ids and indices | 1 | 0: equal |
//! | `pixel_values`, `state`, every graph output | largest magnitude of the golden tensor | 1e-4 |
//! | `actions` | range of the column | 1e-4 |
//! | `end to end` | range of the column | 1e-2: the JPEG decoder is another one |
//!
//! The range of an action column is four standard deviations of the training targets, of the gripper its stroke.

use std::{path::Path, path::PathBuf, time::Duration};

use tactus_bundle::{Bundle, BundleError, CameraSpec, GoldenCase, Manifest};
use tactus_onnx::{Place, Provider};
use tactus_types::{
    Action, CameraFrame, Encoding, Generation, InferenceRequest, JointState, JointVec, Observation,
    PolicyError, Time, TimedAction,
};

use crate::{
    decode::decode,
    error::{InferError, VlaError},
    patch::Patcher,
    policy::{Noise, Parts, VlaOptions, VlaPolicy},
    position::{VisionIndex, mrope},
    resize::{Resize, Size},
    sequence::PromptTensors,
};

/// Tolerance of a boundary that has its own golden input.
const BOUNDARY: f64 = 1e-4;
/// Tolerance of the mean over an image's pixels, in grey levels: decoders may round differently here and there.
const DECODE: f64 = 0.1;
/// Tolerance of the whole path, in ranges of the action's columns.
const END_TO_END: f64 = 1e-2;

/// How a bundle is verified.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// `libonnxruntime.so`; `None` looks for the checkout's.
    pub ort_library: Option<PathBuf>,
    /// Threads of one operator, 1 or more.
    pub intra_threads: usize,
    /// Provider to try first.
    pub provider: Provider,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            ort_library: None,
            intra_threads: 1,
            provider: Provider::Cpu,
        }
    }
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyRow {
    /// Golden case.
    pub case: String,
    /// What was compared.
    pub boundary: String,
    /// Largest error, in the unit of what was compared.
    pub max_abs: f64,
    /// What an error is measured against.
    pub scale: f64,
    /// Largest error over scale.
    pub max_rel_to_scale: f64,
    /// Largest `max_rel_to_scale` that passes.
    pub tolerance: f64,
    /// Whether it passed. An error that is not a number does not.
    pub passed: bool,
}

/// All comparisons of a bundle.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifyReport {
    /// Name of the bundle.
    pub name: String,
    /// Id of the bundle.
    pub bundle_id: String,
    /// Provider that ran the graphs.
    pub provider: &'static str,
    /// The comparisons, case by case in path order.
    pub rows: Vec<VerifyRow>,
}

impl VerifyReport {
    /// Whether every comparison passed, and there was one.
    pub fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.passed)
    }
}

impl std::fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            bundle_id,
            provider,
            rows,
        } = self;
        writeln!(
            f,
            "bundle    {name}\nid        {bundle_id}\nprovider  {provider}\n"
        )?;
        let longest = |text: fn(&VerifyRow) -> &str, title: &str| {
            rows.iter()
                .map(|row| text(row).len())
                .chain([title.len()])
                .max()
                .unwrap_or(0)
        };
        let case = longest(|row| &row.case, "case");
        let boundary = longest(|row| &row.boundary, "boundary");
        writeln!(
            f,
            "{:case$}  {:boundary$}  {:>9}  {:>9}  {:>9}  {:>9}",
            "case", "boundary", "max error", "scale", "relative", "allowed"
        )?;
        for row in rows {
            let VerifyRow {
                case: of,
                boundary: at,
                max_abs,
                scale,
                max_rel_to_scale,
                tolerance,
                passed,
            } = row;
            let verdict = if *passed { "ok" } else { "FAILED" };
            writeln!(
                f,
                "{of:case$}  {at:boundary$}  {max_abs:>9.2e}  {scale:>9.2e}  {max_rel_to_scale:>9.2e}  {tolerance:>9.0e}  {verdict}",
            )?;
        }
        let failed = rows.iter().filter(|row| !row.passed).count();
        match failed {
            0 => write!(f, "\n{} comparisons, all within tolerance", rows.len()),
            failed => write!(f, "\n{failed} of {} comparisons FAILED", rows.len()),
        }
    }
}

/// Replays every golden case of the bundle in `bundle_dir`.
///
/// # Errors
/// [`VlaError`] when the bundle or ONNX Runtime cannot be used at all, or a golden tensor is missing or malformed.
/// A comparison out of tolerance is not an error but a row of the report.
pub fn verify(
    bundle_dir: impl AsRef<Path>,
    options: &VerifyOptions,
) -> Result<VerifyReport, VlaError> {
    let bundle = Bundle::open(bundle_dir)?;
    let VerifyOptions {
        ort_library,
        intra_threads,
        provider,
    } = options.clone();
    let joints = bundle.manifest().action.joints.clone();
    let vla_options = VlaOptions {
        ort_library,
        intra_threads,
        provider,
        joints: &joints,
    };
    let cases = bundle.golden()?;
    let mut policy = VlaPolicy::of_bundle(bundle.clone(), vla_options, Place::Host)?;
    let mut rows = Vec::new();
    for case in &cases {
        Case {
            case,
            manifest: bundle.manifest(),
            rows: &mut rows,
        }
        .run(&mut policy)?;
    }
    Ok(VerifyReport {
        name: bundle.manifest().name.clone(),
        bundle_id: bundle.id().to_string(),
        provider: policy.parts().sequence.provider().name(),
        rows,
    })
}

/// One golden case being replayed.
struct Case<'a> {
    case: &'a GoldenCase,
    manifest: &'a Manifest,
    rows: &'a mut Vec<VerifyRow>,
}

impl Case<'_> {
    fn run(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        self.pixels(policy)?;
        self.indices(policy)?;
        self.graphs(policy)?;
        self.actions(policy)?;
        self.end_to_end(policy)
    }

    /// JPEG -> RGB -> resized -> patches, each from its own golden input.
    fn pixels(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        let Parts { grids, .. } = policy.parts();
        let vision = &self.manifest.vision;
        let mut patches = Vec::new();
        for (camera, grid) in self.manifest.cameras.iter().zip(grids) {
            let name = &camera.name;
            let rgb = self.case.u8(&format!("rgb.{name}"))?;
            let frame = self.frame(camera)?;
            let mut scratch = vec![0; camera.width * camera.height * 3];
            let decoded = decode(&frame, camera, &mut scratch)
                .map_err(|e| InferError::from(e).at("decode"))?;
            let total: u32 = decoded
                .iter()
                .zip(rgb)
                .map(|(a, b)| u32::from(a.abs_diff(*b)))
                .sum();
            let mean = f64::from(total) / decoded.len().max(1) as f64;
            self.push(
                format!("decode/{name}"),
                equal_len(decoded, rgb, mean),
                1.0,
                DECODE,
            );

            let from = Size {
                width: camera.width,
                height: camera.height,
            };
            let to = Size {
                width: grid.columns * vision.patch,
                height: grid.rows * vision.patch,
            };
            let golden = self.case.u8(&format!("resized.{name}"))?;
            let mut resized = vec![0; to.rgb_len()];
            let done = Resize::new(from, to).run(rgb, &mut resized);
            let error = if done {
                largest(&resized, golden)
            } else {
                f64::NAN
            };
            self.push(format!("resize/{name}"), error, 1.0, 1.0);

            let mut rows = vec![f32::NAN; grid.patches() * vision.row_len()];
            // An image of another length leaves NaN behind, which fails.
            let _ = Patcher::new(vision).run(golden, *grid, &mut rows);
            patches.extend(rows);
        }
        self.push_tensor("pixel_values", &patches, BOUNDARY)
    }

    /// Everything that is integers: equal or wrong.
    fn indices(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        let Parts {
            grids, prompter, ..
        } = policy.parts();
        let vision = &self.manifest.vision;
        let index = VisionIndex::new(grids, vision.merge, vision.window / vision.factor());
        let tokens = prompter
            .encode(&self.case.instruction)
            .map_err(|e| InferError::from(e).at("preprocess"))?;
        let position_ids = mrope(&tokens.ids, prompter.image_token(), grids, vision.merge);
        for (name, ours) in [
            ("pos_ids", &index.pos_ids),
            ("window_index", &index.window_index),
            ("seg_full", &index.seg_full),
            ("seg_window", &index.seg_window),
            ("input_ids", &tokens.ids),
            ("image_rows", &tokens.image_rows),
            ("position_ids", &position_ids),
        ] {
            let error = largest(ours, self.case.i64(name)?);
            self.push(name.into(), error, 1.0, 0.0);
        }
        Ok(())
    }

    /// Each graph from golden inputs.
    fn graphs(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        let case = self.case;
        let Parts {
            state_columns,
            sequence,
            ..
        } = policy.parts();
        let anchor = self.anchor()?;
        state_columns.normalise(&anchor, sequence.state()?);
        self.push_tensor("state", sequence.state()?, BOUNDARY)?;

        self.load("pixel_values", sequence.pixel_values()?)?;
        sequence.run_vision()?;
        self.push_tensor("image_embeds", sequence.image_embeds()?, BOUNDARY)?;

        sequence.set_prompt(PromptTensors {
            input_ids: case.i64("input_ids")?,
            image_rows: case.i64("image_rows")?,
            position_ids: case.i64("position_ids")?,
        })?;
        self.load("image_embeds", sequence.image_embeds()?)?;
        sequence.run_backbone()?;
        self.push_tensor("features", sequence.features()?, BOUNDARY)?;

        self.load("features", sequence.features()?)?;
        self.load("state", sequence.state()?)?;
        sequence.run_context()?;
        for name in sequence.context_names() {
            self.push_tensor(&name, sequence.context_value(&name)?, BOUNDARY)?;
        }

        let (prefix, mask) = sequence.prefix()?;
        self.load("prefix", prefix)?;
        self.load("prefix_mask", mask)?;
        for step in 0..sequence.steps() {
            for name in sequence.context_names() {
                self.load(&name, sequence.context_value(&name)?)?;
            }
            let before = if step == 0 {
                "noise".into()
            } else {
                format!("x.{step}")
            };
            self.load(&before, sequence.x(step)?)?;
            sequence.run_denoise(step)?;
            self.push_tensor(&format!("x.{}", step + 1), sequence.x(step + 1)?, BOUNDARY)?;
        }
        Ok(())
    }

    /// The last golden `x` to actions.
    fn actions(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        let Parts {
            action_columns,
            sequence,
            ..
        } = policy.parts();
        let anchor = self.anchor()?;
        let last = self.case.f32(&format!("x.{}", sequence.steps()))?;
        let rows = last.chunks_exact(action_columns.len());
        let ours: Vec<Action> = rows
            .map(|row| action_columns.action(row, &anchor))
            .collect();
        let ranges = action_columns.ranges();
        self.push_actions("actions", &ours, &ranges, BOUNDARY)
    }

    /// Golden JPEG files, instruction, state, noise and prefix to actions.
    fn end_to_end(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        let action = &self.manifest.action;
        let state = self.anchor()?;
        let frames: Result<_, VlaError> = self
            .manifest
            .cameras
            .iter()
            .map(|camera| self.frame(camera))
            .collect();
        let observed_at = Time::from_millis(1_000);
        let observation = Observation {
            observed_at,
            frames: frames?,
            state,
        };
        let Parts { action_columns, .. } = policy.parts();
        let ranges = action_columns.ranges();
        let committed = self
            .case
            .f32("prefix_mask")?
            .iter()
            .filter(|mask| **mask == 1.0)
            .count();
        let prefix = self
            .case
            .f32("prefix")?
            .chunks_exact(action_columns.len())
            .take(committed);
        let due = |row| observed_at + action.first_action_offset + action.period * row;
        let prefix = (0..).zip(prefix).map(|(row, normalised)| TimedAction {
            due: due(row),
            action: action_columns.action(normalised, &state),
        });
        let request = InferenceRequest {
            id: 0,
            generation: Generation::default(),
            instruction: self.case.instruction.as_str().into(),
            observe_after: Time::ZERO,
            deadline: Time::ZERO,
            expected_delay: Duration::ZERO,
            prefix: prefix.collect(),
            seed: 0,
        };
        let noise = Noise::Given(self.case.f32("noise")?);
        // The prompt in the sequence is the golden one; the path makes its own.
        policy.forget_instruction();
        match policy.infer_from(&observation, &request, noise) {
            Ok(chunk) => self.push_actions("end to end", &chunk.actions, &ranges, END_TO_END),
            // NaN and infinity are a failed comparison.
            Err(PolicyError { .. }) => {
                self.push("end to end".into(), f64::NAN, 1.0, END_TO_END);
                Ok(())
            }
        }
    }

    fn frame(&self, camera: &CameraSpec) -> Result<CameraFrame, VlaError> {
        Ok(CameraFrame {
            camera: camera.name.as_str().into(),
            captured_at: Time::ZERO,
            received_at: Time::ZERO,
            seq: 0,
            width: camera.width as u32,
            height: camera.height as u32,
            encoding: Encoding::Jpeg,
            data: self.case.u8(&format!("jpeg.{}", camera.name))?.into(),
        })
    }

    /// The golden joint state. Its joints are in the order of the bundle's state, the policy's in that of its action.
    fn anchor(&self) -> Result<JointState, VlaError> {
        let Manifest { state, action, .. } = self.manifest;
        let raw = self.case.f32("state_raw")?;
        let column = |joint: &String| state.joints.iter().position(|name| name == joint);
        let value = |joint| {
            column(joint)
                .and_then(|i| raw.get(i))
                .map(|v| f64::from(*v))
        };
        let q: Option<Vec<f64>> = action.joints.iter().map(value).collect();
        let q = q.and_then(|q| JointVec::from_slice(&q));
        match q {
            Some(q) if raw.len() == state.columns() => Ok(JointState {
                captured_at: Time::ZERO,
                seq: 0,
                epoch: 0,
                q,
                dq: JointVec::zeros(q.len()),
                opening: raw.get(state.joints.len()).map_or(0.0, |v| f64::from(*v)),
            }),
            _ => Err(self.shape("state_raw", state.columns(), raw.len())),
        }
    }

    /// Copies the golden tensor `name` into a graph's input.
    fn load(&self, name: &str, into: &mut [f32]) -> Result<(), VlaError> {
        let golden = self.case.f32(name)?;
        if golden.len() != into.len() {
            return Err(self.shape(name, into.len(), golden.len()));
        }
        into.copy_from_slice(golden);
        Ok(())
    }

    fn shape(&self, tensor: &str, expected: usize, actual: usize) -> VlaError {
        VlaError::Bundle(BundleError::Golden {
            file: self.case.file.clone(),
            tensor: tensor.into(),
            expected: format!("{expected} numbers"),
            actual: actual.to_string(),
        })
    }

    fn push_tensor(&mut self, name: &str, ours: &[f32], tolerance: f64) -> Result<(), VlaError> {
        let golden = self.case.f32(name)?;
        let scale = golden
            .iter()
            .fold(0.0, |m: f64, v| m.max(f64::from(v.abs())));
        // A golden tensor of zeros is compared absolutely.
        let scale = if scale == 0.0 { 1.0 } else { scale };
        self.push(name.into(), largest(ours, golden), scale, tolerance);
        Ok(())
    }

    fn push_actions(
        &mut self,
        boundary: &str,
        ours: &[Action],
        ranges: &[f64],
        tolerance: f64,
    ) -> Result<(), VlaError> {
        let golden = self.case.f32("actions")?;
        if golden.len() != ours.len() * ranges.len() {
            return Err(self.shape("actions", ours.len() * ranges.len(), golden.len()));
        }
        let values = ours.iter().flat_map(|action| {
            action
                .q
                .iter()
                .copied()
                .chain([action.opening])
                .take(ranges.len())
                .collect::<Vec<_>>()
        });
        // The column with the largest error relative to its own range is the row's.
        let worst = values
            .zip(golden)
            .zip(ranges.iter().cycle())
            .map(|((ours, golden), range)| ((ours - f64::from(*golden)).abs(), *range))
            .max_by(|(a, of_a), (b, of_b)| (a / of_a).total_cmp(&(b / of_b)));
        let (error, range) = worst.unwrap_or((f64::NAN, 1.0));
        self.push(boundary.into(), error, range, tolerance);
        Ok(())
    }

    fn push(&mut self, boundary: String, max_abs: f64, scale: f64, tolerance: f64) {
        let max_rel_to_scale = max_abs / scale;
        self.rows.push(VerifyRow {
            case: Path::new(&self.case.file)
                .file_stem()
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            boundary,
            max_abs,
            scale,
            max_rel_to_scale,
            tolerance,
            passed: max_rel_to_scale <= tolerance,
        });
    }
}

/// Largest difference of two slices; NaN when their lengths differ or any difference is not a number.
fn largest<T: Copy + Into<Comparable>>(ours: &[T], golden: &[T]) -> f64 {
    if ours.len() != golden.len() {
        return f64::NAN;
    }
    let value = |v: &T| (*v).into().0;
    ours.iter().zip(golden).fold(0.0, |most: f64, (a, b)| {
        let error = (value(a) - value(b)).abs();
        // `f64::max` would drop a NaN.
        if error.is_nan() || most.is_nan() {
            f64::NAN
        } else {
            most.max(error)
        }
    })
}

/// A value as f64; ids are far below 2^53.
struct Comparable(f64);

impl From<u8> for Comparable {
    fn from(value: u8) -> Self {
        Self(f64::from(value))
    }
}

impl From<f32> for Comparable {
    fn from(value: f32) -> Self {
        Self(f64::from(value))
    }
}

impl From<i64> for Comparable {
    fn from(value: i64) -> Self {
        Self(value as f64)
    }
}

fn equal_len(ours: &[u8], golden: &[u8], error: f64) -> f64 {
    if ours.len() == golden.len() {
        error
    } else {
        f64::NAN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_not_a_number_is_never_small() {
        assert_eq!(largest(&[1.0_f32, 2.0], &[1.5, 2.0]), 0.5);
        assert_eq!(largest(&[3_i64], &[3]), 0.0);
        assert!(largest(&[f32::NAN, 0.0], &[0.0, 5.0]).is_nan());
        assert!(largest(&[0.0_f32, f32::NAN, 0.0], &[5.0, 0.0, 0.0]).is_nan());
        assert!(largest(&[0.0_f32], &[0.0, 0.0]).is_nan());
        assert!(largest(&[f32::INFINITY], &[0.0]) > 1e300);
    }

    #[test]
    fn the_table_says_what_failed() {
        let row = |boundary: &str, passed| VerifyRow {
            case: "case-0".into(),
            boundary: boundary.into(),
            max_abs: 1.5e-5,
            scale: 3.0,
            max_rel_to_scale: 5e-6,
            tolerance: 1e-4,
            passed,
        };
        let mut report = VerifyReport {
            name: "test".into(),
            bundle_id: "0123".into(),
            provider: "cpu",
            rows: vec![row("features", true), row("x.1", false)],
        };
        assert!(!report.passed());
        let expected = "\
bundle    test
id        0123
provider  cpu

case    boundary  max error      scale   relative    allowed
case-0  features    1.50e-5     3.00e0    5.00e-6       1e-4  ok
case-0  x.1         1.50e-5     3.00e0    5.00e-6       1e-4  FAILED

1 of 2 comparisons FAILED";
        assert_eq!(report.to_string(), expected);
        report.rows.pop();
        assert!(report.passed());
        report.rows.clear();
        assert!(!report.passed(), "nothing compared is nothing verified");
    }
}
