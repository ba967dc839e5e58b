//! The markers of OpenCV's dictionary `DICT_4X4_50`. Source: OpenCV, `objdetect/aruco/predefined_dictionaries`; a test of
//! `tactus-fit` holds drawn boards against its own detector, and the table was read out of OpenCV 5.0.

/// Bits of a marker's side, without its black border.
pub const SIDE: usize = 4;

/// Markers by id: rows from the top, most significant bit first; 1 is white.
pub const MARKERS: [u16; 50] = [
    0xb532, 0x0f9a, 0x332d, 0x9946, 0x549e, 0x79cd, 0x9e2e, 0xc4f2, 0xfeda, 0xcf56, 0xf991, 0x11a7,
    0x0eb7, 0x2a0f, 0x24b1, 0x263e, 0x4665, 0x6600, 0x6c5e, 0x76af, 0x868b, 0xb02b, 0xccd5, 0xdd82,
    0xfe47, 0x9471, 0xace4, 0xa554, 0x2123, 0x346f, 0x4415, 0x57b2, 0x9ecf, 0xf0cb, 0x08ae, 0x0929,
    0x1875, 0x04ff, 0x0df6, 0x1c5a, 0x1718, 0x2a28, 0x328c, 0x38b2, 0x24e8, 0x2eeb, 0x2d3f, 0x4b64,
    0x502e, 0x5013,
];

/// Whether the cell at (`column`, `row`) of marker `id` is white.
pub fn is_white(id: usize, column: usize, row: usize) -> bool {
    MARKERS[id] >> (SIDE * SIDE - 1 - (row * SIDE + column)) & 1 == 1
}
