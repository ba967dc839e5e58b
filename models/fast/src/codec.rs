//! Rows of actions to token ids and back.
//!
//! To ids: each column's range to -1..1, clamped where the tokenizer says so; the cosine transform along time; times the
//! scale, rounded half to even; row by row, so the lowest frequencies first; one character for each coefficient; byte-pair
//! encoding of that text. Back: the reverse. The published decoder takes a chunk of zero coefficients where ids do not
//! spell one, which is the middle of every range: for absolute actions a pose that nobody asked for. Here that is
//! [`Malformed`], a fault.
//!
//! Rounding costs at most 0.5 / scale in each coefficient, and the transform keeps the 2-norm: the root mean square error
//! of a column is at most 0.5 / scale of half its range.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::spec::{FastError, FastSpec};
use crate::transform::Cosines;

/// Why ids are no chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// An id that is none of the tokenizer's.
    #[error("action token {id}: expected 0..{size}")]
    Unknown {
        /// The id.
        id: u32,
        /// Ids of the tokenizer.
        size: usize,
    },
    /// More or fewer coefficients than a chunk has.
    #[error("action tokens: expected {expected} coefficients, got {actual}")]
    Count {
        /// Of a chunk, `horizon * dims`.
        expected: usize,
        /// Spelt.
        actual: usize,
    },
    /// A character that is no coefficient.
    #[error(
        "action tokens: coefficient {index}: expected a character that spells one, got U+{character:04X}"
    )]
    Character {
        /// Which coefficient, from 0.
        index: usize,
        /// Its character.
        character: u32,
    },
    /// The tokenizer failed.
    #[error("action tokenizer: {reason}")]
    Tokenizer {
        /// What it said.
        reason: String,
    },
}

/// Why rows have no ids.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unencodable {
    /// Not the tokenizer's shape.
    #[error("chunk: expected {expected} values, got {actual}")]
    Shape {
        /// `horizon * dims`.
        expected: usize,
        /// Given.
        actual: usize,
    },
    /// A value that is not finite.
    #[error("chunk: row {row}, column {column}: expected a finite number, got {actual}")]
    Value {
        /// Row.
        row: usize,
        /// Column.
        column: usize,
        /// The value.
        actual: f64,
    },
    /// The tokenizer has no ids for the text.
    #[error("action tokenizer: {reason}")]
    Tokenizer {
        /// What it said.
        reason: String,
    },
}

/// A FAST tokenizer for chunks of one shape. Nothing in it changes: no call depends on the one before.
#[derive(Debug, Clone)]
pub struct FastCodec {
    spec: FastSpec,
    bpe: Tokenizer,
    cosines: Cosines,
}

impl FastCodec {
    /// Opens the BPE model in `tokenizer` (a `tokenizer.json`), for chunks as `spec` says.
    ///
    /// # Errors
    /// [`FastError::File`] where it cannot be read.
    pub fn open(tokenizer: &Path, spec: FastSpec) -> Result<Self, FastError> {
        let bpe = Tokenizer::from_file(tokenizer).map_err(|e| FastError::File {
            file: tokenizer.display().to_string(),
            reason: e.to_string(),
        })?;
        Ok(Self {
            cosines: Cosines::new(spec.horizon),
            spec,
            bpe,
        })
    }

    /// Shape, ranges and scale.
    pub fn spec(&self) -> &FastSpec {
        &self.spec
    }

    /// Ids are below this.
    pub fn vocabulary(&self) -> usize {
        self.bpe.get_vocab_size(true)
    }

    /// The ids of a chunk, `[horizon, dims]` row by row, in the unit of each column.
    ///
    /// # Errors
    /// [`Unencodable`] for another shape or a value that is not finite.
    pub fn encode(&self, rows: &[f64]) -> Result<Vec<u32>, Unencodable> {
        let text = self.spell(&self.coefficients(rows)?);
        let encoding = self.bpe.encode(text, false);
        encoding
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|e| Unencodable::Tokenizer {
                reason: e.to_string(),
            })
    }

    /// The chunk that `ids` spell, `[horizon, dims]` row by row, in the unit of each column.
    ///
    /// # Errors
    /// [`Malformed`] where they do not spell exactly one.
    pub fn decode(&self, ids: &[u32]) -> Result<Vec<f64>, Malformed> {
        let (spec, dims) = (&self.spec, self.spec.dims);
        let coefficients = self.read(ids)?;
        let scaled: Vec<f64> = coefficients
            .iter()
            .map(|&c| f64::from(c) / spec.scale)
            .collect();
        let mut rows = self.cosines.inverse(&scaled, dims);
        for (i, value) in rows.iter_mut().enumerate() {
            let (low, high) = (spec.low[i % dims], spec.high[i % dims]);
            *value = low + (*value + 1.0) / 2.0 * (high - low);
        }
        Ok(rows)
    }

    /// Rounded coefficients of a chunk, lowest frequency first, `[horizon, dims]`.
    fn coefficients(&self, rows: &[f64]) -> Result<Vec<i32>, Unencodable> {
        let (spec, dims) = (&self.spec, self.spec.dims);
        if rows.len() != spec.values() {
            return Err(Unencodable::Shape {
                expected: spec.values(),
                actual: rows.len(),
            });
        }
        let mut normalised = Vec::with_capacity(rows.len());
        for (i, &value) in rows.iter().enumerate() {
            let (row, column) = (i / dims, i % dims);
            if !value.is_finite() {
                return Err(Unencodable::Value {
                    row,
                    column,
                    actual: value,
                });
            }
            let (low, high) = (spec.low[column], spec.high[column]);
            let value = (value - low) / (high - low) * 2.0 - 1.0;
            normalised.push(spec.clamp.map_or(value, |most| value.clamp(-most, most)));
        }
        let round = |c: f64| {
            // A cast saturates, so what is out of any range becomes the end of it.
            let c = (c * spec.scale).round_ties_even() as i32;
            c.clamp(spec.lowest, spec.highest.unwrap_or(i32::MAX))
        };
        let coefficients = self.cosines.forward(&normalised, dims);
        Ok(coefficients.into_iter().map(round).collect())
    }

    fn spell(&self, coefficients: &[i32]) -> String {
        let character = |&c: &i32| {
            let above = i64::from(c) - i64::from(self.spec.lowest);
            let code = above + i64::from(self.spec.first_character);
            let code = u32::try_from(code).unwrap_or(u32::MAX);
            // What has no character of its own is as unknown to the tokenizer as this one.
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        };
        coefficients.iter().map(character).collect()
    }

    fn read(&self, ids: &[u32]) -> Result<Vec<i32>, Malformed> {
        let (spec, size) = (&self.spec, self.vocabulary());
        let expected = spec.values();
        if let Some(&id) = ids.iter().find(|&&id| self.bpe.id_to_token(id).is_none()) {
            return Err(Malformed::Unknown { id, size });
        }
        // Each id spells something, so more ids than coefficients spell too many; and their text need not be made.
        if ids.len() > expected {
            return Err(Malformed::Count {
                expected,
                actual: ids.len(),
            });
        }
        let text = match self.bpe.get_decoder() {
            Some(_) => self
                .bpe
                .decode(ids, false)
                .map_err(|e| Malformed::Tokenizer {
                    reason: e.to_string(),
                })?,
            // Without one, tokens are their own text, and nothing stands between them.
            None => ids
                .iter()
                .filter_map(|&id| self.bpe.id_to_token(id))
                .collect(),
        };
        let actual = text.chars().count();
        if actual != expected {
            return Err(Malformed::Count { expected, actual });
        }
        let coefficient = |(index, character): (usize, char)| {
            let code = u32::from(character);
            let above = i64::from(code) - i64::from(spec.first_character);
            let c = above + i64::from(spec.lowest);
            let spells = above >= 0
                && character != char::REPLACEMENT_CHARACTER
                && spec.highest.is_none_or(|most| c <= i64::from(most));
            let c = i32::try_from(c).ok().filter(|_| spells);
            c.ok_or(Malformed::Character {
                index,
                character: code,
            })
        };
        text.chars().enumerate().map(coefficient).collect()
    }
}
