//! Straightening the pictures of a lens. What a lens is, and its file, are `tactus-calibration`'s.

use tactus_calibration::Lens;

use crate::CameraError;
use crate::picture::Picture;

/// Straightens pictures of one lens.
///
/// Every pixel of the straight picture is the mean of the four that surround the place where the lens put it, by distance;
/// black where the lens did not see all four.
pub struct Straightener {
    size: (u32, u32),
    /// For each pixel: the first byte of its upper left source, and the weights of the four, which sum up to 256.
    sources: Vec<Option<(u32, [u16; 4])>>,
}

impl Straightener {
    /// Works out where each pixel comes from, once.
    pub fn new(lens: &Lens) -> Self {
        let (width, height) = lens.size;
        let source = |u: u32, v: u32| {
            let [x, y] = lens.seen([f64::from(u), f64::from(v)]);
            // Also sorts out what is no number.
            let inside =
                x >= 0.0 && y >= 0.0 && x <= f64::from(width - 1) && y <= f64::from(height - 1);
            if !inside || width < 2 || height < 2 {
                return None;
            }
            let (left, top) = ((x as u32).min(width - 2), (y as u32).min(height - 2));
            let part = |value: f64, from: u32| ((value - f64::from(from)) * 16.0).round() as u16;
            let (fx, fy) = (part(x, left), part(y, top));
            let weights = [
                (16 - fx) * (16 - fy),
                fx * (16 - fy),
                (16 - fx) * fy,
                fx * fy,
            ];
            Some(((top * width + left) * 3, weights))
        };
        Self {
            size: lens.size,
            sources: (0..height)
                .flat_map(|v| (0..width).map(move |u| (u, v)))
                .map(|(u, v)| source(u, v))
                .collect(),
        }
    }

    /// `picture`, straightened.
    ///
    /// # Errors
    /// [`CameraError::Image`] when it is not of the lens' size.
    pub fn straighten(&self, picture: &Picture) -> Result<Picture, CameraError> {
        if (picture.width, picture.height) != self.size {
            let (w, h) = self.size;
            return Err(CameraError::Image {
                reason: format!("expected {w}x{h}, got {}x{}", picture.width, picture.height),
            });
        }
        let row = picture.width as usize * 3;
        let mut rgb = vec![0; picture.rgb.len()];
        for (to, source) in rgb.chunks_exact_mut(3).zip(&self.sources) {
            let Some((at, [a, b, c, d])) = source else {
                continue;
            };
            let at = *at as usize;
            let (upper, lower) = (
                &picture.rgb[at..at + 6],
                &picture.rgb[at + row..at + row + 6],
            );
            for k in 0..3 {
                let sum = u32::from(upper[k]) * u32::from(*a)
                    + u32::from(upper[k + 3]) * u32::from(*b)
                    + u32::from(lower[k]) * u32::from(*c)
                    + u32::from(lower[k + 3]) * u32::from(*d);
                to[k] = ((sum + 128) >> 8) as u8;
            }
        }
        Ok(Picture { rgb, ..*picture })
    }
}
