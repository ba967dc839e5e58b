//! Every way a policy can fail to open, or to infer.

use std::path::PathBuf;

use tactus_bundle::BundleError;
use tactus_kinematics::KinematicsError;
use tactus_onnx::OnnxError;
use tactus_pixels::DecodeError;
use tactus_types::PolicyError;

use crate::{prompt::PromptError, represent::RepresentError, sample::SampleError};

/// Why a bundle cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum VlaError {
    /// The bundle is unusable.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// ONNX Runtime is missing or does not take the graphs.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The tokenizer cannot be used.
    #[error("{}: expected {expected}, got {actual}", file.display())]
    Tokenizer {
        /// Tokenizer file.
        file: PathBuf,
        /// What it should be or hold.
        expected: String,
        /// What it is or holds.
        actual: String,
    },
    /// A camera's images cannot be brought to a size the policy takes.
    #[error("bundle.toml: field `camera.{camera}`: expected {expected}, got {actual}")]
    ImageSize {
        /// Name of the camera.
        camera: String,
        /// What the size may be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// The bundle's joints are not the arm's.
    #[error("bundle.toml: field `{field}`: expected {expected}, got {actual}")]
    Joints {
        /// Field of the manifest.
        field: &'static str,
        /// What it should hold.
        expected: String,
        /// What it holds.
        actual: String,
    },
    /// Actions are tool poses, and the arm does not say where its links are.
    #[error(
        "bundle.toml: field `action.representation`: `{representation}` needs an arm whose info describes its links (URDF), \
         got none"
    )]
    NoGeometry {
        /// The representation.
        representation: &'static str,
    },
    /// The arm's description does not have the frames that the bundle's tool poses are between.
    #[error("bundle.toml: field `action.tool`: {0}")]
    Kinematics(KinematicsError),
    /// There is nothing to measure a bundle with.
    #[error("bundle.toml: field `golden.cases`: expected at least one file, got none")]
    NoGoldenCase,
    /// The bundle has no language model that speaks.
    #[error("bundle {}: expected the graph `decoder`, got none: it was exported without (`decoder.max_length`)", bundle.display())]
    NoDecoder {
        /// Bundle directory.
        bundle: PathBuf,
    },
    /// The bundle's language model does not spell actions, or not such as the policy's.
    #[error("bundle {}: --control fast: expected {expected}, got {actual}", bundle.display())]
    Fast {
        /// Bundle directory.
        bundle: PathBuf,
        /// What it should have.
        expected: String,
        /// What it has.
        actual: String,
    },
    /// The bundle cannot do what requests will ask of it.
    #[error("bundle {}: conditioning `{asked}` needs {expected}, which it does not offer", bundle.display())]
    Conditioning {
        /// Bundle directory.
        bundle: std::path::PathBuf,
        /// What is asked for.
        asked: &'static str,
        /// What that takes.
        expected: &'static str,
    },
    /// The bundle's head was not trained with features as old.
    #[error(
        "bundle {}: expected features no older than {} ms, as its action.max_feature_age_s says, got \
         engine.features_every_ms = {}",
        bundle.display(), most.as_millis(), actual.as_millis()
    )]
    FeatureAge {
        /// Bundle directory.
        bundle: std::path::PathBuf,
        /// What the bundle permits.
        most: std::time::Duration,
        /// What was asked for.
        actual: std::time::Duration,
    },
    /// The bundle cannot be run with so many denoising steps.
    #[error(
        "bundle {}: expected 1 to {most} denoising steps (engine.denoise_steps), got {actual}",
        bundle.display()
    )]
    Steps {
        /// Bundle directory.
        bundle: std::path::PathBuf,
        /// What the policy was made for.
        most: usize,
        /// What is asked for.
        actual: usize,
    },
    /// A run of the opened policy failed that should not.
    #[error("the policy cannot infer: {0}")]
    Inference(#[from] PolicyError),
}

/// Why an inference made no chunk.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The observation is not one this policy can use.
    #[error("observation: field `{field}`: expected {expected}, got {actual}")]
    Observation {
        /// Which part.
        field: String,
        /// What it should be.
        expected: String,
        /// What it is.
        actual: String,
    },
    /// An image cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The instruction does not make a prompt.
    #[error(transparent)]
    Prompt(#[from] PromptError),
    /// A graph failed.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// The language model's scores are no numbers.
    #[error(transparent)]
    Scores(#[from] SampleError),
    /// What it said is no chunk of actions.
    #[error("after {tokens} tokens ({finish}): {reason}")]
    Answer {
        /// Tokens it said.
        tokens: usize,
        /// Why it stopped.
        finish: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// The request asks for a conditioning that this policy was not opened for.
    #[error("request: field `conditioning`: expected {expected}, got {actual}")]
    Conditioning {
        /// What it can do.
        expected: &'static str,
        /// What was asked.
        actual: String,
    },
    /// The request does not say where the command was at the observation, which the actions count from.
    #[error(
        "request: field `leftover`: expected the command at the observation, which `action.anchor = \"command\"` counts \
         from, got nothing"
    )]
    NoCommand,
    /// An action leads nowhere.
    #[error("action {index}: {error}")]
    Action {
        /// Index in the chunk.
        index: usize,
        /// Why.
        error: RepresentError,
    },
    /// An action is not a finite number.
    #[error("action {index}: expected finite numbers, got {actual}")]
    NotFinite {
        /// Index in the chunk.
        index: usize,
        /// The action.
        actual: String,
    },
}

impl InferError {
    /// The error as the [`Policy`](tactus_types::Policy) trait reports it, for the stage it happened in.
    pub fn at(self, stage: &'static str) -> PolicyError {
        PolicyError {
            stage,
            reason: self.to_string(),
        }
    }
}
