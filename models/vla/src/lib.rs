//! A RoboAlign-style vision-language-action policy: camera frames, joint state and an instruction in, a chunk of
//! absolute actions out.
//!
//! Decides how pixels, words and joints become tensors exactly as the exporter's reference made them, in which order
//! the graphs run, and what their numbers mean as actions. Does not decide when to infer, which frames to use,
//! or whether an action may be executed.
//!
//! The modules read as the path:
//! - [`resize`]: the size the policy sees an image at.
//! - `tactus-pixels`: JPEG to pixels, and those to that size; [`letterbox`]: into a square with bars.
//! - [`patch`]: pixels to normalised patches in 2x2-merge order.
//! - [`images`]: all of that, for all cameras of a bundle.
//! - [`prompt`]: instruction to token ids.
//! - [`position`]: positions of tokens and patches, attention windows.
//! - [`joints`]: the bundle's joints found, by name, in the arm's.
//! - [`represent`]: what the numbers of an action mean: joints, steps, velocities, tool poses.
//! - [`normalise`]: joint state and actions to normalised columns and back.
//! - [`gripper`]: one that is only ever open or closed.
//! - [`leftover`]: what is still planned, at the rows of a chunk; [`guide`]: how a chunk is drawn towards it.
//! - [`graphs`]: what the four graphs must look like.
//! - [`sequence`]: the graphs over bound buffers, and the Euler steps.
//!   [`tower`] (private) is the part of the vision graph, [`trajectory`] (private) that of the steps, and [`device_time`] (private)
//!   knows when each graph began on a device.
//! - [`policy`]: [`VlaPolicy`], all of it together.
//! - [`generate`] (private): the decoder graph over its cache; [`sample`]: scores to tokens; [`detokenise`]: tokens to text.
//! - [`reason`]: [`Reasoner`], the language model as one that speaks.
//! - [`fast`]: [`FastPolicy`], the language model that acts in FAST tokens; [`explain`]: [`Explainer`], one that thinks
//!   aloud beside a policy.
//! - [`golden`] (private): golden cases as observations and requests.
//! - [`verify`]: the same path against the bundle's golden tensors.
//!   [`verify_decoder`] (private) does the part of the decoder.
//! - [`report`]: what that found.
//! - [`measure`]: what a chunk costs here; [`probe`]: what it costs an engine that is about to start.
//! - [`error`]: every way opening or inferring can fail.
#![forbid(unsafe_code)]

pub mod detokenise;
mod device_time;
pub mod dual_rate;
pub mod error;
pub mod explain;
pub mod fast;
mod generate;
mod golden;
pub mod graphs;
pub mod gripper;
pub mod guide;
pub mod images;
pub mod joints;
pub mod leftover;
pub mod letterbox;
pub mod measure;
pub mod normalise;
pub mod patch;
pub mod policy;
pub mod position;
pub mod probe;
pub mod prompt;
pub mod reason;
pub mod report;
pub mod represent;
pub mod resize;
pub mod sample;
pub mod sequence;
mod tower;
mod trajectory;
pub mod verify;
mod verify_decoder;

pub use error::{InferError, VlaError};
pub use explain::Explainer;
pub use fast::{Agreement, FastPolicy, TokenBudget};
pub use measure::{CostReport, StageCost, TokenCost, measure};
pub use policy::{VlaOptions, VlaPolicy};
pub use probe::Probe;
pub use reason::{Finish, Reasoner, ReasonerOptions, Step, Stop, Talk};
pub use report::{VerifyReport, VerifyRow};
pub use tactus_onnx::Provider;
pub use verify::{RunOptions, verify};
pub use verify_decoder::{Greedy, greedy_tokens};
