//! Camera frames as coloured half-blocks: each cell of the terminal shows two pixels, one above the other.
//!
//! A frame is decoded once, by the decoder that the policy reads with; a picture that stopped changing says so.

use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Wrap};
use tactus_bundle::CameraSpec;
use tactus_pixels::decode;
use tactus_types::{CameraFrame, Time};

use super::draw::panel;

/// Larger images are not decoded for a thumbnail.
const MAX_PIXELS: usize = 1 << 24;
/// A picture that did not change for this long is marked.
const STILL: Duration = Duration::from_millis(500);

/// The newest picture of each camera.
pub struct Pictures(Vec<Picture>);

/// The newest picture of one camera.
pub struct Picture {
    name: String,
    /// Frame that `image` was made of.
    made_of: Option<(u64, Time)>,
    image: Result<Image, String>,
    changed: Instant,
    still: Duration,
    scratch: Vec<u8>,
}

/// Pixels, row-major, red first.
struct Image {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Pictures {
    /// No picture yet of each of the `cameras`.
    pub fn new<'a>(cameras: impl Iterator<Item = &'a str>) -> Self {
        let picture = |name: &str| Picture {
            name: name.to_owned(),
            made_of: None,
            image: Err("no picture yet".to_owned()),
            changed: Instant::now(),
            still: Duration::ZERO,
            scratch: Vec::new(),
        };
        Self(cameras.map(picture).collect())
    }

    /// Decodes the `frames`, one per camera, that are not the ones shown already.
    pub fn refresh(&mut self, frames: &[Option<CameraFrame>], now: Instant) {
        for (picture, frame) in self.0.iter_mut().zip(frames) {
            let Some(frame) = frame else { continue };
            if picture.made_of != Some((frame.seq, frame.captured_at)) {
                picture.made_of = Some((frame.seq, frame.captured_at));
                picture.image = image(frame, &mut picture.scratch);
                picture.changed = now;
            }
            picture.still = now.saturating_duration_since(picture.changed);
        }
    }

    /// Number of cameras.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Width over height of the widest picture; 1 before the first.
    pub fn aspect(&self) -> f64 {
        let images = self.0.iter().filter_map(|p| p.image.as_ref().ok());
        images
            .map(|i| i.width as f64 / i.height.max(1) as f64)
            .reduce(f64::max)
            .unwrap_or(1.0)
    }

    /// Every picture, in the cell's order.
    pub fn iter(&self) -> impl Iterator<Item = &Picture> {
        self.0.iter()
    }
}

/// Pixels of `frame`, or why there are none.
fn image(frame: &CameraFrame, scratch: &mut Vec<u8>) -> Result<Image, String> {
    let (width, height) = (frame.width as usize, frame.height as usize);
    if width.saturating_mul(height) > MAX_PIXELS {
        return Err(format!("{width}x{height}: too large to show"));
    }
    scratch.resize(width * height * 3, 0);
    let spec = CameraSpec {
        name: frame.camera.to_string(),
        width,
        height,
    };
    match decode(frame, &spec, scratch) {
        Ok(rgb) => Ok(Image {
            width,
            height,
            rgb: rgb.to_vec(),
        }),
        Err(e) => Err(e.to_string()),
    }
}

impl Picture {
    /// Draws name and picture into `area`, as large as it fits without distortion.
    pub fn render(&self, frame: &mut Frame, area: Rect) {
        let mut block = panel(&self.name);
        if self.still > STILL {
            let text = format!(" still for {:.1} s ", self.still.as_secs_f64());
            block = block.title_top(Line::from(text.yellow()).right_aligned());
        }
        let inner = block.inner(area);
        frame.render_widget(block, area);
        match &self.image {
            Ok(image) => image.render(inner, frame.buffer_mut()),
            Err(why) => {
                let text = Paragraph::new(why.as_str().dim()).wrap(Wrap { trim: true });
                frame.render_widget(text, inner);
            }
        }
    }
}

impl Image {
    fn render(&self, area: Rect, buffer: &mut Buffer) {
        let (width, height) = self.fit(usize::from(area.width), 2 * usize::from(area.height));
        let left = area.x + (area.width - width as u16) / 2;
        for row in 0..height / 2 {
            for column in 0..width {
                let colour = |y| {
                    let [r, g, b] = self.mean((column, width), (y, height));
                    Color::Rgb(r, g, b)
                };
                let at = (left + column as u16, area.y + row as u16);
                if let Some(cell) = buffer.cell_mut(at) {
                    cell.set_char('▀')
                        .set_fg(colour(2 * row))
                        .set_bg(colour(2 * row + 1));
                }
            }
        }
    }

    /// Largest size within `width` and `height` of the picture's proportions; the height is even.
    fn fit(&self, width: usize, height: usize) -> (usize, usize) {
        let (w, h) = (self.width.max(1), self.height.max(1));
        let fitted = (height * w / h).min(width);
        (fitted, (fitted * h / w).min(height) & !1)
    }

    /// Mean colour of column `x` of `columns` and row `y` of `rows` of the picture cut into equal parts.
    fn mean(&self, (x, columns): (usize, usize), (y, rows): (usize, usize)) -> [u8; 3] {
        let part = |i: usize, n: usize, size: usize| {
            let first = i * size / n;
            first..((i + 1) * size / n).max(first + 1)
        };
        let (mut sum, mut count) = ([0_u64; 3], 0);
        for row in part(y, rows, self.height) {
            for column in part(x, columns, self.width) {
                let at = 3 * (row * self.width + column);
                if let Some(pixel) = self.rgb.get(at..at + 3) {
                    sum.iter_mut()
                        .zip(pixel)
                        .for_each(|(s, v)| *s += u64::from(*v));
                    count += 1;
                }
            }
        }
        // A mean of bytes is a byte.
        sum.map(|s| (s / count.max(1)) as u8)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use tactus_types::Encoding;

    /// A raw frame, red on its left half and blue on its right.
    pub fn frame(seq: u64, width: u32, height: u32) -> CameraFrame {
        let pixel = |i: u32| {
            if i % width < width / 2 {
                [200, 0, 0]
            } else {
                [0, 0, 100]
            }
        };
        CameraFrame {
            camera: "scene".into(),
            captured_at: Time::from_nanos(seq),
            received_at: Time::from_nanos(seq),
            seq,
            width,
            height,
            encoding: Encoding::Rgb8,
            data: (0..width * height)
                .flat_map(pixel)
                .collect::<Vec<u8>>()
                .into(),
        }
    }

    fn drawn(frame: &CameraFrame, width: u16, height: u16) -> Buffer {
        let image = image(frame, &mut Vec::new()).expect("raw frames need no decoder");
        let area = Rect::new(0, 0, width, height);
        let mut buffer = Buffer::empty(area);
        image.render(area, &mut buffer);
        buffer
    }

    #[test]
    fn a_picture_keeps_its_proportions_colours_and_sides() {
        let buffer = drawn(&frame(1, 64, 64), 30, 10);
        // 20 pixels high, so 20 wide, with 5 columns free on each side.
        assert_eq!(buffer[(4, 0)].symbol(), " ");
        for y in 0..10 {
            assert_eq!(buffer[(5, y)].symbol(), "▀");
            assert_eq!(
                (buffer[(5, y)].fg, buffer[(5, y)].bg),
                (Color::Rgb(200, 0, 0), Color::Rgb(200, 0, 0))
            );
            assert_eq!(buffer[(24, y)].bg, Color::Rgb(0, 0, 100));
        }
        assert_eq!(buffer[(25, 0)].symbol(), " ");
    }

    #[test]
    fn no_size_of_area_or_image_is_too_small() {
        for (width, height) in [(1, 1), (3, 200), (200, 3), (64, 64)] {
            for (columns, rows) in [(0, 0), (1, 1), (0, 9), (9, 0), (300, 2), (2, 90)] {
                drawn(&frame(1, width, height), columns, rows);
            }
        }
    }

    #[test]
    fn a_frame_is_decoded_once_and_a_picture_that_stays_says_how_long() {
        let mut pictures = Pictures::new(["scene", "wrist"].into_iter());
        let start = Instant::now();
        pictures.refresh(&[Some(frame(1, 8, 4)), None], start);
        assert!((pictures.aspect() - 2.0).abs() < 1e-9);
        // The same number with other bytes: not looked at again.
        let same = CameraFrame {
            width: 4,
            ..frame(1, 8, 4)
        };
        pictures.refresh(&[Some(same), None], start + Duration::from_secs(2));
        assert_eq!(pictures.0[0].still, Duration::from_secs(2));
        assert!(pictures.0[0].image.is_ok());
        pictures.refresh(
            &[Some(frame(2, 4, 4)), None],
            start + Duration::from_secs(3),
        );
        assert_eq!(pictures.0[0].still, Duration::ZERO);
        assert!((pictures.aspect() - 1.0).abs() < 1e-9);
        assert!(pictures.0[1].image.is_err());
    }

    #[test]
    fn bytes_that_are_no_picture_are_said_not_shown() {
        let broken = CameraFrame {
            encoding: Encoding::Jpeg,
            ..frame(1, 8, 8)
        };
        let huge = CameraFrame {
            width: 1 << 14,
            height: 1 << 14,
            ..frame(1, 8, 8)
        };
        let why = |frame| image(&frame, &mut Vec::new()).err().expect("refused");
        assert!(why(broken).contains("JPEG"));
        assert!(why(huge).contains("16384x16384"));
    }
}
