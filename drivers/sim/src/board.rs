//! A calibration board in the simulated cell: on the table for the camera in the hand, or in the hand for the one beside the arm.
//!
//! Decides where it is and how it is drawn: as flat boxes of two colours, so that its edges are as sharp as the renderer makes
//! them. It is only looked at: nothing collides with it, and the cell weighs what it weighed. Off unless a cell file asks for it.

use tactus_calibration::Board;

use crate::scenario::{CubeStart, Scenario};
use crate::scene::CELL_XML;

/// Width and height of pictures of a cell with a board, pixels: what webcams take.
pub const PICTURE_SIZE: (u16, u16) = (640, 480);
/// The middle of a board on the table, base frame, m.
const ON_TABLE_M: [f64; 3] = [0.31, 0.0, 0.004];
/// The middle of a board in the hand, frame of the hand, m: before the closed fingers.
const IN_HAND_M: [f64; 3] = [0.0, 0.0, 0.158];
/// White around the pattern, m.
const MARGIN_M: f64 = 0.01;
/// Half the thickness of what is drawn, m: parallax of some hundredths of a millimetre.
const INK_M: f64 = 2e-5;

/// Where the board is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoardPlace {
    /// Lying on the table, its upper side away from the arm.
    Table,
    /// Held by the hand, facing where the fingers point.
    Hand,
}

impl BoardPlace {
    /// The board that is there: nearly as large as A4 on the table, half as large in the hand.
    pub fn board(self) -> Board {
        let table = Board::default();
        match self {
            Self::Table => table,
            Self::Hand => Board {
                square_m: 0.020,
                marker_m: 0.015,
                ..table
            },
        }
    }

    /// The scene in MuJoCo's XML format, with the board.
    pub fn scene(self) -> String {
        let body = self.body(&self.board());
        let before = match self {
            Self::Table => "    <body name=\"bowl\"",
            Self::Hand => "                  <body name=\"finger_left\"",
        };
        CELL_XML.replacen(before, &format!("{body}{before}"), 1)
    }

    /// The board as a body, whose frame is the board's: x right, y down, z away from who looks at it.
    fn body(self, board: &Board) -> String {
        let [width, height] = board.size_m();
        // The board's x and y in the frame around it.
        let ([x, y, z], right, down) = match self {
            Self::Table => (ON_TABLE_M, [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]),
            Self::Hand => (IN_HAND_M, [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]),
        };
        let corner = |k: usize| [x, y, z][k] - right[k] * width / 2.0 - down[k] * height / 2.0;
        let text = |v: [f64; 3]| format!("{} {} {}", v[0], v[1], v[2]);
        let mut body = format!(
            "<body name=\"board\" pos=\"{}\" xyaxes=\"{} {}\">\n",
            text([corner(0), corner(1), corner(2)]),
            text(right),
            text(down)
        );
        let mut plate = |middle: [f64; 3], half: [f64; 3], white: bool| {
            let level = if white { 0.74 } else { 0.04 };
            body += &format!(
                "<geom type=\"box\" pos=\"{}\" size=\"{}\" mass=\"0\" rgba=\"{level} {level} {level} 1\"/>\n",
                text(middle),
                text(half)
            );
        };
        let half = [width / 2.0 + MARGIN_M, height / 2.0 + MARGIN_M, 0.002];
        plate([width / 2.0, height / 2.0, 0.002], half, true);
        for patch in board.patches() {
            let middle = [patch.x + patch.width / 2.0, patch.y + patch.height / 2.0];
            // White lies upon black, and both towards who looks.
            let up = if patch.white { -2.0 * INK_M } else { -INK_M };
            let half = [patch.width / 2.0, patch.height / 2.0, INK_M];
            plate([middle[0], middle[1], up], half, patch.white);
        }
        body + "</body>\n"
    }

    /// Takes the cubes off the board.
    pub fn clear(self, scenario: &mut Scenario) {
        if self == Self::Table {
            for (k, cube) in scenario.cubes.iter_mut().enumerate() {
                *cube = CubeStart {
                    x_m: 0.12 + 0.12 * k as f64,
                    y_m: 0.39,
                    yaw_rad: 0.0,
                };
            }
        }
    }
}
