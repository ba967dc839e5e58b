//! The flat target that is held before a camera: a ChArUco board or a chessboard, of a true size.
//!
//! Decides its layout, which is OpenCV's (since 4.6; ChArUco: the upper left square is black, markers lie in the white ones,
//! numbered row by row), and how it is named in text. Draws nothing ([`crate::drawing`]) and finds nothing (`tactus-fit`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::CalibrationError;
use crate::dictionary::{self, MARKERS, SIDE};

/// What is drawn in the squares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// A marker of `DICT_4X4_50` in every white square: a part of the board is enough to know where one is.
    Charuco,
    /// Nothing. The whole board has to be seen; one with an even and an odd number of squares has one way up only.
    Chessboard,
}

/// A board.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// What is drawn.
    pub pattern: Pattern,
    /// Squares in a row.
    pub columns: usize,
    /// Squares in a column.
    pub rows: usize,
    /// Side of a square, m.
    pub square_m: f64,
    /// Side of a marker with its black border, m; of a chessboard 0.
    pub marker_m: f64,
}

/// A rectangle of one colour, m, in the board's frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patch {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    /// White upon black; else black.
    pub white: bool,
}

const EXPECTED: &str = "charuco:COLUMNSxROWS:SQUARE[:MARKER] or chessboard:COLUMNSxROWS:SQUARE, squares counted, sizes in mm, \
                        for example charuco:7x5:30:22; 3 to 20 squares each way, squares of 1 to 500 mm, a marker half to nine \
                        tenths of its square, at most 50 markers";

impl Default for Board {
    /// `charuco:7x5:35:26`: 245 x 175 mm, fits on A4 and Letter.
    fn default() -> Self {
        Self {
            pattern: Pattern::Charuco,
            columns: 7,
            rows: 5,
            square_m: 0.035,
            marker_m: 0.026,
        }
    }
}

impl FromStr for Board {
    type Err = CalibrationError;

    fn from_str(text: &str) -> Result<Self, CalibrationError> {
        let parse = || {
            let parts: Vec<&str> = text.split(':').collect();
            let (columns, rows) = parts.get(1)?.split_once('x')?;
            let (columns, rows) = (columns.parse().ok()?, rows.parse().ok()?);
            let square_m = parts.get(2)?.parse::<f64>().ok()? / 1e3;
            let (pattern, marker_m) = match (parts[0], parts.get(3), parts.len()) {
                ("charuco", None, 3) => (Pattern::Charuco, 0.75 * square_m),
                ("charuco", Some(mm), 4) => (Pattern::Charuco, mm.parse::<f64>().ok()? / 1e3),
                ("chessboard", None, 3) => (Pattern::Chessboard, 0.0),
                _ => return None,
            };
            let board = Self {
                pattern,
                columns,
                rows,
                square_m,
                marker_m,
            };
            board.is_legal().then_some(board)
        };
        parse().ok_or_else(|| CalibrationError::Board {
            text: text.into(),
            expected: EXPECTED,
        })
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (columns, rows, square) = (self.columns, self.rows, mm(self.square_m));
        match self.pattern {
            Pattern::Charuco => {
                let marker = mm(self.marker_m);
                write!(f, "charuco:{columns}x{rows}:{square}:{marker}")
            }
            Pattern::Chessboard => write!(f, "chessboard:{columns}x{rows}:{square}"),
        }
    }
}

/// Millimetres without the noise of the last bits.
fn mm(m: f64) -> f64 {
    (m * 1e6).round() / 1e3
}

impl Board {
    /// Whether there can be such a board.
    pub fn is_legal(&self) -> bool {
        let share = self.marker_m / self.square_m;
        (3..=20).contains(&self.columns)
            && (3..=20).contains(&self.rows)
            && (0.001..=0.5).contains(&self.square_m)
            && match self.pattern {
                Pattern::Charuco => {
                    (0.5..=0.9).contains(&share) && self.columns * self.rows / 2 <= MARKERS.len()
                }
                Pattern::Chessboard => true,
            }
    }

    /// Width and height, m.
    pub fn size_m(&self) -> [f64; 2] {
        [
            self.columns as f64 * self.square_m,
            self.rows as f64 * self.square_m,
        ]
    }

    /// How many inner corners a row has.
    pub fn corners_across(&self) -> usize {
        self.columns - 1
    }

    /// How many inner corners it has: their ids are below.
    pub fn corners(&self) -> usize {
        (self.columns - 1) * (self.rows - 1)
    }

    /// Where the inner corner `id` is, m, z = 0.
    pub fn corner_m(&self, id: usize) -> [f64; 2] {
        let (column, row) = (id % self.corners_across(), id / self.corners_across());
        [
            (column + 1) as f64 * self.square_m,
            (row + 1) as f64 * self.square_m,
        ]
    }

    /// Which markers there are, by id: the column and row of the square that each lies in.
    pub fn markers(&self) -> Vec<(usize, usize)> {
        match self.pattern {
            Pattern::Chessboard => Vec::new(),
            Pattern::Charuco => (0..self.rows)
                .flat_map(|row| (0..self.columns).map(move |column| (column, row)))
                .filter(|(column, row)| (column + row) % 2 == 1)
                .collect(),
        }
    }

    /// The four corners of the marker in the square at (`column`, `row`), m: clockwise from the upper left.
    pub fn marker_corners_m(&self, (column, row): (usize, usize)) -> [[f64; 2]; 4] {
        let margin = (self.square_m - self.marker_m) / 2.0;
        let (x, y) = (
            column as f64 * self.square_m + margin,
            row as f64 * self.square_m + margin,
        );
        let (right, low) = (x + self.marker_m, y + self.marker_m);
        [[x, y], [right, y], [right, low], [x, low]]
    }

    /// The rectangles to draw upon white, in this order.
    pub fn patches(&self) -> Vec<Patch> {
        let s = self.square_m;
        let mut patches = Vec::new();
        for row in 0..self.rows {
            for column in (0..self.columns).filter(|column| (column + row) % 2 == 0) {
                patches.push(Patch {
                    x: column as f64 * s,
                    y: row as f64 * s,
                    width: s,
                    height: s,
                    white: false,
                });
            }
        }
        let cell = self.marker_m / (SIDE + 2) as f64;
        for (id, square) in self.markers().into_iter().enumerate() {
            let [[x, y], ..] = self.marker_corners_m(square);
            patches.push(Patch {
                x,
                y,
                width: self.marker_m,
                height: self.marker_m,
                white: false,
            });
            for row in 0..SIDE {
                // Neighbours in a row are one rectangle, so that no seam shows between them.
                let mut column = 0;
                while column < SIDE {
                    let from = column;
                    while column < SIDE && dictionary::is_white(id, column, row) {
                        column += 1;
                    }
                    if column > from {
                        patches.push(Patch {
                            x: x + (from + 1) as f64 * cell,
                            y: y + (row + 1) as f64 * cell,
                            width: (column - from) as f64 * cell,
                            height: cell,
                            white: true,
                        });
                    }
                    column += 1;
                }
            }
        }
        patches
    }

    /// The marker whose inner bits are `bits` (rows from the top, most significant first, 1 white) as seen turned: its id and by
    /// how many quarters clockwise it is turned. Up to one wrong bit is forgiven, which the dictionary's distance of 4 permits.
    pub fn marker_of(&self, bits: u16) -> Option<(usize, usize)> {
        let known = self.columns * self.rows / 2;
        let mut turned = bits;
        for quarter in 0..4 {
            let near = |code: &&u16| (**code ^ turned).count_ones() <= 1;
            if let Some(id) = MARKERS.iter().take(known).position(|code| near(&code)) {
                return Some((id, quarter));
            }
            turned = turned_back(turned);
        }
        None
    }
}

/// The bits turned by a quarter counterclockwise.
fn turned_back(bits: u16) -> u16 {
    let at = |column: usize, row: usize| bits >> (SIDE * SIDE - 1 - (row * SIDE + column)) & 1;
    let mut turned = 0;
    for row in 0..SIDE {
        for column in 0..SIDE {
            turned = turned << 1 | at(SIDE - 1 - row, column);
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_are_named_in_text() {
        for text in [
            "charuco:7x5:30:22",
            "chessboard:9x6:25",
            "charuco:5x7:12.5:9",
        ] {
            let board: Board = text.parse().expect(text);
            assert_eq!(board.to_string(), text);
        }
        let default: Board = "charuco:7x5:35:26".parse().expect("legal");
        assert_eq!(default, Board::default());
        for bad in [
            "",
            "charuco",
            "charuco:7x5",
            "charuco:7:30",
            "charuco:7x5:30:40",
            "charuco:7x5:0",
            "charuco:2x5:30",
            "charuco:20x20:10",
            "chessboard:9x6:25:20",
            "chessboard:9x6:nan",
            "aruco:7x5:30",
        ] {
            let error = bad.parse::<Board>().expect_err(bad).to_string();
            assert!(error.contains("charuco:7x5:30:22"), "{error}");
        }
    }

    /// Numbers of OpenCV's `CharucoBoard((7, 5), 0.04, 0.03)`.
    #[test]
    fn the_layout_is_that_of_opencv() {
        let board: Board = "charuco:7x5:40:30".parse().expect("legal");
        assert_eq!(board.markers().len(), 17);
        let close = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]) < 1e-12;
        let [a, b, c, d] = board.marker_corners_m(board.markers()[0]);
        assert!(close(a, [0.045, 0.005]) && close(b, [0.075, 0.005]));
        assert!(close(c, [0.075, 0.035]) && close(d, [0.045, 0.035]));
        assert!(close(board.corner_m(0), [0.04, 0.04]) && close(board.corner_m(7), [0.08, 0.08]));
        assert_eq!(board.corners(), 24);
    }

    #[test]
    fn markers_are_known_whichever_way_they_are_turned() {
        let board: Board = "charuco:10x10:30".parse().expect("legal");
        for (id, code) in MARKERS.iter().enumerate() {
            let mut seen = *code;
            for quarters in [0, 3, 2, 1] {
                assert_eq!(board.marker_of(seen), Some((id, quarters)), "{id}");
                let (_, way) = board.marker_of(seen ^ 0x0040).expect("one bit is forgiven");
                assert_eq!(way, quarters);
                seen = turned_back(seen);
            }
        }
        assert_eq!(board.marker_of(0), None);
        assert_eq!(board.marker_of(0xffff), None);
    }
}
