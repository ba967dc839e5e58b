//! The Rust path against the bundle's golden tensors, boundary by boundary.
//!
//! Each boundary gets its own golden input, so that an error is found where it is made and not where it is noticed;
//! then everything runs end to end, from the golden pixels and from the golden JPEG files to actions. A row passes when its largest error is
//! within the tolerance, relative to the scale of what is compared:
//!
//! | boundary | scale | tolerance |
//! |---|---|---|
//! | `decode/<camera>` | one grey level, mean over pixels | 1: decoders round, and enlarge colours, differently |
//! | `resize/<camera>` | one grey level | 1 |
//! | `resize mean/<camera>` | one grey level, mean over pixels | 1e-3 |
//! | ids and indices | 1 | 0: equal |
//! | `pixel_values` of a letterbox, from golden pixels | largest magnitude of the golden tensor | 1e-4 |
//! | `pixel_values`, `interp_weight`, `state` | largest magnitude of the golden tensor | 1e-4 |
//! | every graph output | largest magnitude of the golden tensor | fp32: 1e-4; fp16: 1e-2; bf16: 5e-2 |
//! | `decoder` | largest magnitude of the golden scores, over all steps | as a graph's output |
//! | `decoder tokens` | 1 | 0: every step's best is the golden one |
//! | `actions` | range of the column | 1e-4 |
//! | `pixels to actions` | range of the column | fp32: 1e-3; fp16: 1e-2; bf16: 5e-2 |
//! | `JPEG to actions` | range of the column | 1e-2: the JPEG decoder is another one; bf16: 5e-2 |
//!
//! The range of an action column is that of the training targets (four standard deviations, or lowest to highest), of
//! the gripper its stroke; of joint steps and velocities it is that times the rows that add up. Tool poses are compared as the numbers that they are: a bundle is verified without an arm. For
//! the same reason a golden case of tool poses with committed rows has no row from pixels or from JPEG files.

mod rows;

use std::path::{Path, PathBuf};

use tactus_bundle::{Bundle, GoldenCase, Graph, Manifest, Scaling};
use tactus_onnx::{OnnxRuntime, Place, Provider, Session, SessionOptions, open_all};
use tactus_pixels::{Resample, Size, decode};
use tactus_types::{Action, Conditioning, Encoding};

use self::rows::{BOUNDARY, mean_error};
use crate::{
    error::{InferError, VlaError},
    golden::GoldenInput,
    gripper::is_open,
    images::patches_of,
    normalise::ActionColumns,
    patch::Patcher,
    policy::{Noise, Parts, VlaOptions, VlaPolicy},
    position::{VisionIndex, position_ids},
    report::{VerifyReport, VerifyRow, largest},
    sequence::PromptTensors,
    verify_decoder::{self, Compared},
};

/// Tolerance of the mean over an image's pixels, in grey levels. The standard leaves decoders free in how they round and
/// in how they enlarge the colour planes; what that does to actions is what counts, and is a row of its own.
const DECODE: f64 = 1.0;
/// Tolerance of the mean error of resized pixels, in grey levels.
const RESIZE_MEAN: f64 = 1e-3;

/// How a bundle is run for its own sake, without an arm: to be verified or measured.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// `libonnxruntime.so`; `None` looks for the checkout's.
    pub ort_library: Option<PathBuf>,
    /// Threads of one operator, 1 or more.
    pub intra_threads: usize,
    /// Provider to try first.
    pub provider: Provider,
    /// Whether another provider than that is an error, and not a warning.
    pub require_provider: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            ort_library: None,
            intra_threads: 1,
            provider: Provider::Cpu,
            require_provider: false,
        }
    }
}

impl RunOptions {
    /// The same for a policy whose arm has just the bundle's joints.
    pub fn policy<'a>(&self, joints: &'a [String]) -> VlaOptions<'a> {
        VlaOptions {
            ort_library: self.ort_library.clone(),
            intra_threads: self.intra_threads,
            provider: self.provider,
            require_provider: self.require_provider,
            joints,
            arm: None,
            conditioning: Conditioning::None,
            denoise_steps: None,
            features_every: std::time::Duration::ZERO,
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
    options: &RunOptions,
) -> Result<VerifyReport, VlaError> {
    let bundle = Bundle::open(bundle_dir)?;
    let joints = bundle.manifest().action.joints.clone();
    let cases = bundle.golden()?;
    verify_decoder::has_case(&bundle, &cases)?;
    let mut policy = VlaPolicy::of_bundle(bundle.clone(), options.policy(&joints), Place::Host)?;
    let mut guided = guided_step(&bundle, options)?;
    let mut rows = Vec::new();
    for case in &cases {
        Case {
            case,
            manifest: bundle.manifest(),
            rows: &mut rows,
        }
        .run(&mut policy, guided.as_mut())?;
        Case {
            case,
            manifest: bundle.manifest(),
            rows: &mut rows,
        }
        .decoder(&bundle, options)?;
    }
    Ok(VerifyReport {
        name: bundle.manifest().name.clone(),
        bundle_id: bundle.id().to_string(),
        provider: policy.parts().sequence.provider().name(),
        rows,
    })
}

/// The session of the guided step, if the bundle has one. It is run by itself: its buffers are not part of the path.
fn guided_step(bundle: &Bundle, options: &RunOptions) -> Result<Option<Session>, VlaError> {
    let mut files = bundle.graph_paths();
    files.retain(|(graph, _)| *graph == Graph::DenoiseVjp);
    let runtime = OnnxRuntime::load(options.ort_library.as_deref(), options.provider)?;
    let options = SessionOptions {
        provider: options.provider,
        required: options.require_provider,
        intra_threads: options.intra_threads,
    };
    Ok(open_all(&runtime, &files, options)?.sessions.pop())
}

/// One golden case being replayed.
struct Case<'a> {
    case: &'a GoldenCase,
    manifest: &'a Manifest,
    rows: &'a mut Vec<VerifyRow>,
}

impl Case<'_> {
    fn run(
        &mut self,
        policy: &mut VlaPolicy,
        guided: Option<&mut Session>,
    ) -> Result<(), VlaError> {
        self.pixels(policy)?;
        self.indices(policy)?;
        self.graphs(policy)?;
        if let Some(session) = guided {
            self.guided(session)?;
        }
        self.actions(policy)?;
        // Decided tool poses are no actions without an arm, and the golden chunk was made with them.
        if self.manifest.action.tool.is_some() && self.input().committed()? > 0 {
            return Ok(());
        }
        self.end_to_end(policy, "pixels to actions", Encoding::Rgb8)?;
        self.end_to_end(policy, "JPEG to actions", Encoding::Jpeg)
    }

    /// JPEG -> RGB -> resized -> patches, each from its own golden input.
    fn pixels(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        let Parts { grids, .. } = policy.parts();
        let vision = &self.manifest.vision;
        let mut patches = Vec::new();
        for (camera, grid) in self.manifest.cameras.iter().zip(grids) {
            let name = &camera.name;
            let rgb = self.case.u8(&format!("rgb.{name}"))?;
            let frame = self.input().frame(camera, Encoding::Jpeg)?;
            let mut scratch = vec![0; camera.width * camera.height * 3];
            let decoded = decode(&frame, camera, &mut scratch)
                .map_err(|e| InferError::from(e).at("decode"))?;
            let mean = mean_error(decoded, rgb);
            self.push(format!("decode/{name}"), mean, 1.0, DECODE);

            let from = Size {
                width: camera.width,
                height: camera.height,
            };
            let to = Size {
                width: grid.columns * vision.patch,
                height: grid.rows * vision.patch,
            };
            let processor = match vision.scaling {
                Scaling::Bicubic(processor) => processor,
                Scaling::Letterbox { .. } => {
                    // Its pixels are no bytes on the way. Nothing for a picture of another size, which fails.
                    patches.extend(patches_of(rgb, from, to, vision).unwrap_or_default());
                    continue;
                }
            };
            let golden = self.case.u8(&format!("resized.{name}"))?;
            let mut resized = vec![0; to.rgb_len()];
            if rgb.len() == from.rgb_len() {
                Resample::bicubic(from, to, processor).run(rgb, &mut resized);
            }
            let error = largest(&resized, golden);
            self.push(format!("resize/{name}"), error, 1.0, 1.0);
            let mean = mean_error(&resized, golden);
            self.push(format!("resize mean/{name}"), mean, 1.0, RESIZE_MEAN);

            let mut rows = vec![f32::NAN; grid.patches() * vision.row_len()];
            // An image of another length leaves NaN behind, which fails.
            let _ = Patcher::new(vision).run(golden, *grid, &mut rows);
            patches.extend(rows);
        }
        self.push_tensor("pixel_values", &patches, BOUNDARY)
    }

    /// Everything that is integers: equal or wrong.
    fn indices(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        let state = self.input().state()?;
        let Parts {
            grids,
            prompter,
            state_columns,
            ..
        } = policy.parts();
        let vision = &self.manifest.vision;
        let index = VisionIndex::new(grids, vision);
        let mut normalised = vec![0.0; self.manifest.state.columns()];
        state_columns.normalise(&state, &mut normalised);
        let said = prompter.state_words(&normalised).unwrap_or_default();
        let tokens = prompter
            .encode(&self.case.instruction, &said)
            .map_err(|e| InferError::from(e).at("preprocess"))?;
        let position_ids = position_ids(
            self.manifest.backbone.position_ids,
            &tokens.ids,
            &tokens.attention_mask,
            prompter.image_token(),
            grids,
            vision.merge,
        );
        let mut integers: Vec<(&str, &[i64])> = index
            .integers()
            .into_iter()
            .map(|(name, _, values)| (name, values))
            .collect();
        integers.extend([
            ("input_ids", &tokens.ids[..]),
            ("image_rows", &tokens.image_rows),
            ("position_ids", &position_ids),
        ]);
        if self.manifest.backbone.padding.is_some() {
            integers.push(("attention_mask", &tokens.attention_mask));
        }
        for (name, ours) in integers {
            let error = largest(ours, self.case.i64(name)?);
            self.push(name.into(), error, 1.0, 0.0);
        }
        match &index.table {
            Some(table) => self.push_tensor("interp_weight", &table.weight, BOUNDARY),
            None => Ok(()),
        }
    }

    /// Each graph from golden inputs.
    fn graphs(&mut self, policy: &mut VlaPolicy) -> Result<(), VlaError> {
        let case = self.case;
        let Parts {
            state_columns,
            sequence,
            ..
        } = policy.parts();
        let anchor = self.input().state()?;
        state_columns.normalise(&anchor, sequence.state()?);
        self.push_tensor("state", sequence.state()?, BOUNDARY)?;

        self.load("pixel_values", sequence.pixel_values()?)?;
        sequence.run_vision()?;
        self.push_tensor(
            "image_embeds",
            sequence.image_embeds()?,
            self.tolerance(Graph::Vision),
        )?;
        if let Some(levels) = sequence.deepstack()? {
            self.push_tensor("deepstack", levels, self.tolerance(Graph::Vision))?;
        }

        sequence.set_prompt(PromptTensors {
            input_ids: case.i64("input_ids")?,
            image_rows: case.i64("image_rows")?,
            position_ids: case.i64("position_ids")?,
            attention_mask: match self.manifest.backbone.padding {
                Some(_) => case.i64("attention_mask")?,
                None => &[],
            },
        })?;
        self.load("image_embeds", sequence.image_embeds()?)?;
        if let Some(levels) = sequence.deepstack()? {
            self.load("deepstack", levels)?;
        }
        sequence.run_backbone()?;
        self.push_tensor(
            "features",
            sequence.features()?,
            self.tolerance(Graph::Backbone),
        )?;

        self.load("features", sequence.features()?)?;
        self.load("state", sequence.state()?)?;
        sequence.run_context()?;
        for name in sequence.context_names() {
            let tolerance = self.tolerance(Graph::Context);
            self.push_tensor(&name, sequence.context_value(&name)?, tolerance)?;
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
            let tolerance = self.tolerance(Graph::Denoise);
            self.push_tensor(&format!("x.{}", step + 1), sequence.x(step + 1)?, tolerance)?;
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
        let anchor = self.input().state()?;
        let last = self.case.f32(&format!("x.{}", sequence.steps()))?;
        let rows = last.chunks_exact(self.manifest.action.width);
        let open = is_open(anchor.opening);
        let ours = match self.manifest.action.tool {
            Some(_) => action_columns.said(rows, open),
            None => {
                let anchor = Action {
                    q: anchor.q,
                    opening: anchor.opening,
                };
                let actions = action_columns.actions(rows, &anchor, open);
                flat(
                    &actions.map_err(|e| e.at("golden actions"))?,
                    action_columns,
                )
            }
        };
        let ranges = action_columns.ranges(self.manifest.action.horizon);
        self.push_actions("actions", &ours, &ranges, BOUNDARY)
    }

    /// One guided step from golden inputs: those named `vjp.*`, and the case's own for the rest.
    fn guided(&mut self, session: &mut Session) -> Result<(), VlaError> {
        let case = self.case;
        let dt = [(1.0 / self.manifest.denoise.steps as f64) as f32];
        let mut binding = session.binding()?;
        let names: Vec<String> = session.inputs().iter().map(|i| i.name.clone()).collect();
        let mut buffers = Vec::with_capacity(names.len());
        for name in &names {
            let own = format!("vjp.{name}");
            let golden = case.get(&own).map_or(name, |_| &own);
            let shape = case.get(golden).map_or(vec![1], |t| t.shape.clone());
            let mut buffer = session.buffer::<f32>(name, Place::Host, &shape)?;
            match name.as_str() {
                "dt" => buffer.write()?.copy_from_slice(&dt),
                _ => self.load(golden, buffer.write()?)?,
            }
            binding.input(name, &buffer)?;
            binding.refresh(name, &mut buffer)?;
            buffers.push(buffer);
        }
        let action = &self.manifest.action;
        let shape = [1, action.horizon, action.width];
        let mut x_next = session.buffer("x_next", Place::Host, &shape)?;
        binding.output("x_next", &mut x_next)?;
        session.run(&binding)?;
        x_next.fetch()?;
        let tolerance = self.tolerance(Graph::DenoiseVjp);
        self.push_tensor("vjp.x_next", x_next.read()?, tolerance)
    }

    /// Golden prompt and image tokens to scores, step by step.
    fn decoder(&mut self, bundle: &Bundle, options: &RunOptions) -> Result<(), VlaError> {
        let tolerance = self.tolerance(Graph::Decoder);
        let compared = verify_decoder::decoder(bundle, self.case, options, tolerance)?;
        if let Some(Compared {
            error,
            scale,
            differing,
            ..
        }) = compared
        {
            self.push("decoder".into(), error, scale, tolerance);
            self.push("decoder tokens".into(), differing as f64, 1.0, 0.0);
        }
        Ok(())
    }

    /// Golden images, instruction, state, noise and prefix to actions.
    fn end_to_end(
        &mut self,
        policy: &mut VlaPolicy,
        boundary: &str,
        encoding: Encoding,
    ) -> Result<(), VlaError> {
        let tolerance = self.end_to_end_tolerance(encoding);
        let observation = self.input().observation(encoding)?;
        let Parts { action_columns, .. } = policy.parts();
        let ranges = action_columns.ranges(self.manifest.action.horizon);
        let request = self.input().request(action_columns)?;
        let noise = Noise::Given(self.case.f32("noise")?);
        // The prompt in the sequence is the golden one; the path makes its own.
        policy.forget_instruction();
        let made = match self.manifest.action.tool {
            None => policy
                .infer_from(&observation, &request, noise)
                .map(|chunk| flat(&chunk.actions, policy.parts().action_columns)),
            // Without an arm, tool poses are compared as they are.
            Some(_) => match policy.denoised(&observation, &request, noise) {
                Ok(_) => {
                    let Parts {
                        action_columns,
                        sequence,
                        ..
                    } = policy.parts();
                    let rows = sequence.x(sequence.steps())?;
                    let rows = rows.chunks_exact(self.manifest.action.width);
                    Ok(action_columns.said(rows, is_open(observation.state.opening)))
                }
                Err(error) => Err(error),
            },
        };
        let Ok(ours) = made else {
            // NaN and infinity are a failed comparison.
            self.push(boundary.into(), f64::NAN, 1.0, tolerance);
            return Ok(());
        };
        self.push_actions(boundary, &ours, &ranges, tolerance)
    }

    fn input(&self) -> GoldenInput<'_> {
        GoldenInput {
            case: self.case,
            manifest: self.manifest,
        }
    }
}

/// The columns of `actions`, one after the other: joints in the bundle's order, the opening.
fn flat(actions: &[Action], columns: &ActionColumns) -> Vec<f64> {
    let of = |action: &Action| {
        let values = action.q.iter().copied().chain([action.opening]);
        values.take(columns.len()).collect::<Vec<_>>()
    };
    actions.iter().flat_map(of).collect()
}
