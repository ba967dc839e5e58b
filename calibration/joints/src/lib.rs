//! Whether an arm's joints are what it says: their signs, their scale, their zeros.
//!
//! Decides what small motions that something else than the arm's encoders saw say of a joint ([`signs`]), and which zero
//! offsets make the arm's description agree with what was seen or touched at poses ([`zeros`]), with how sure that is. Moves
//! nothing and opens nothing.

#[cfg(test)]
mod arm;
pub mod signs;
mod squares;
pub mod zeros;
