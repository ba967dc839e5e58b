//! The eight ways to lay a picture: four turns, each of them also mirrored.

use crate::look::{SHAPE, SIDE};

/// What is done to a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    None,
    /// Left and right change places.
    LeftRight,
    /// Above and below change places.
    UpDown,
    /// Half a turn.
    Half,
    /// A quarter turn against the clock.
    Left,
    /// A quarter turn with the clock.
    Right,
    /// Rows become columns.
    Transpose,
    /// Rows become columns, from the other end.
    AntiTranspose,
}

impl Turn {
    /// All of them, nothing first.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::LeftRight,
        Self::UpDown,
        Self::Half,
        Self::Left,
        Self::Right,
        Self::Transpose,
        Self::AntiTranspose,
    ];

    /// What undoes it.
    pub fn undo(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
            other => other,
        }
    }

    /// What a picture is to which this was done.
    pub fn words(self) -> &'static str {
        match self {
            Self::None => "as it should be",
            Self::LeftRight => "mirrored, left and right",
            Self::UpDown => "mirrored, above and below",
            Self::Half => "upside down, by half a turn",
            Self::Left => "turned against the clock by a quarter",
            Self::Right => "turned with the clock by a quarter",
            Self::Transpose => "mirrored and turned with the clock by a quarter",
            Self::AntiTranspose => "mirrored and turned against the clock by a quarter",
        }
    }

    /// Row and column that the cell at `row`, `column` of the result comes from.
    fn source(self, row: usize, column: usize) -> (usize, usize) {
        let (r, c) = (SIDE - 1 - row, SIDE - 1 - column);
        match self {
            Self::None => (row, column),
            Self::LeftRight => (row, c),
            Self::UpDown => (r, column),
            Self::Half => (r, c),
            Self::Left => (column, r),
            Self::Right => (c, row),
            Self::Transpose => (column, row),
            Self::AntiTranspose => (c, r),
        }
    }

    /// Of each number of a turned shape, the index of the number that it is.
    pub fn indices(self) -> Vec<usize> {
        (0..SHAPE)
            .map(|i| {
                let (row, column) = self.source(i / 3 / SIDE, i / 3 % SIDE);
                (row * SIDE + column) * 3 + i % 3
            })
            .collect()
    }

    /// Does it to a shape of [`SHAPE`] numbers.
    pub fn apply(self, shape: &[f64]) -> Vec<f64> {
        let number = |i: usize| shape.get(i).copied().unwrap_or(0.0);
        self.indices().into_iter().map(number).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_undone_is_as_before() {
        let shape: Vec<f64> = (0..SHAPE).map(|i| i as f64).collect();
        for turn in Turn::ALL {
            let turned = turn.apply(&shape);
            assert_eq!(turned == shape, turn == Turn::None, "{turn:?}");
            assert_eq!(turn.undo().apply(&turned), shape, "{turn:?}");
        }
    }

    #[test]
    fn a_quarter_turn_against_the_clock_brings_the_upper_right_corner_to_the_upper_left() {
        let mut shape = vec![0.0; SHAPE];
        shape[(SIDE - 1) * 3] = 1.0;
        assert_eq!(Turn::Left.apply(&shape)[0], 1.0);
        assert_eq!(Turn::LeftRight.apply(&shape)[0], 1.0);
        assert_eq!(Turn::Right.apply(&shape)[(SIDE * SIDE - 1) * 3], 1.0);
    }
}
