//! FAST action tokens (Pertsch et al., arXiv 2501.09747): a chunk of actions as a short list of ids, and back.
//!
//! Decides which ids a chunk is spelt with, which chunk ids spell, that ids which spell no chunk are a fault and never an
//! action, where in an answer `<think>...</think><answer>...</answer>` the action tokens stand, and how well an answer
//! agrees with a target. Does not decide what the numbers of a row mean for an arm, and runs no model.
//!
//! Read in data order:
//! - [`spec`]: shape, ranges and scale, from the files that come with a tokenizer.
//! - [`transform`] (private): the discrete cosine transform along time.
//! - [`codec`]: [`FastCodec`], rows to ids and back.
//! - [`answer`]: the action tokens of an answer.
//! - [`reward`]: the longest matching prefix.
#![forbid(unsafe_code)]

pub mod answer;
pub mod codec;
pub mod reward;
pub mod spec;
mod transform;

pub use answer::{Answer, AnswerTokens, NoAnswer, read_answer};
pub use codec::{FastCodec, Malformed, Unencodable};
pub use reward::{Reward, reward};
pub use spec::{FastError, FastSpec};
