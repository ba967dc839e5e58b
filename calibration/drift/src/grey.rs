//! Pictures as grey levels, no larger than what is needed; and how their light differs.

/// Pictures are made smaller until they are at most this wide, pixels.
pub const WIDEST: usize = 400;

/// Grey levels, rows from above.
#[derive(Debug, Clone, PartialEq)]
pub struct Grey {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Levels, 0 to 1.
    pub levels: Vec<f64>,
    /// Pixels of the picture that one of these is wide.
    pub shrunk: f64,
}

impl Grey {
    /// The picture `rgb`, `height * width * 3` bytes from above, as levels; `None` unless it has that length and 16 pixels each way.
    pub fn of(rgb: &[u8], width: usize, height: usize) -> Option<Self> {
        if width < 16 || height < 16 || rgb.len() != width * height * 3 {
            return None;
        }
        let by = width.div_ceil(WIDEST);
        let (columns, rows) = (width / by, height / by);
        let mut levels = vec![0.0; columns * rows];
        for (i, pixel) in rgb.as_chunks::<3>().0.iter().enumerate() {
            let (row, column) = (i / width / by, i % width / by);
            if row < rows && column < columns {
                // ITU-R BT.601.
                let [r, g, b] = pixel.map(f64::from);
                levels[row * columns + column] += 0.299 * r + 0.587 * g + 0.114 * b;
            }
        }
        let scale = 255.0 * (by * by) as f64;
        levels.iter_mut().for_each(|v| *v /= scale);
        Some(Self {
            width: columns,
            height: rows,
            levels,
            shrunk: by as f64,
        })
    }

    /// The level at a place; the edge's beyond the edge.
    pub(crate) fn at(&self, row: isize, column: isize) -> f64 {
        let clamp = |v: isize, n: usize| usize::try_from(v.max(0)).unwrap_or(0).min(n - 1);
        let (row, column) = (clamp(row, self.height), clamp(column, self.width));
        self.levels
            .get(row * self.width + column)
            .copied()
            .unwrap_or(0.0)
    }
}

/// How the light of one picture differs from another's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LightDrift {
    /// How much brighter it is, octaves.
    pub brighter: f64,
    /// How much more red there is beside green, octaves.
    pub red: f64,
    /// How much more blue there is beside green, octaves.
    pub blue: f64,
}

/// How the light of `now` differs from `then`'s, both RGB bytes: by the medians of each colour, which what moved hardly changes.
pub fn light_drift(then: &[u8], now: &[u8]) -> LightDrift {
    let [a, b] = [then, now].map(|rgb| [0, 1, 2].map(|colour| median(rgb, colour)));
    let octaves = |from: f64, to: f64| ((to + 1.0) / (from + 1.0)).log2();
    let green = octaves(a[1], b[1]);
    LightDrift {
        brighter: green,
        red: octaves(a[0], b[0]) - green,
        blue: octaves(a[2], b[2]) - green,
    }
}

fn median(rgb: &[u8], colour: usize) -> f64 {
    let mut counts = [0usize; 256];
    for pixel in rgb.as_chunks::<3>().0 {
        counts[usize::from(pixel[colour])] += 1;
    }
    let half = rgb.len() / 6;
    let mut seen = 0;
    for (level, count) in counts.iter().enumerate() {
        seen += count;
        if seen > half {
            return level as f64;
        }
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_picture_is_shrunk_by_a_whole_factor() {
        let grey = Grey::of(&[128; 1280 * 720 * 3], 1280, 720).expect("large enough");
        assert_eq!((grey.width, grey.height, grey.shrunk), (320, 180, 4.0));
        assert!(grey.levels.iter().all(|v| (v - 128.0 / 255.0).abs() < 1e-9));
    }

    #[test]
    fn light_is_compared_by_medians() {
        let then: Vec<u8> = [100, 100, 100].repeat(50);
        let now: Vec<u8> = [200, 200, 100].repeat(50);
        let drift = light_drift(&then, &now);
        assert!((drift.brighter - 1.0).abs() < 0.01, "{drift:?}");
        assert!(
            drift.red.abs() < 1e-9 && (drift.blue + 1.0).abs() < 0.01,
            "{drift:?}"
        );
    }
}
