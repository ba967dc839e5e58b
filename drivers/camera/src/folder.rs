//! A folder of images: JPEG files, passed through, and PNG files, encoded here; in the order of their names, numbers in
//! them by value (`frame_9` before `frame_10`).

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use png::{ColorType, Transformations};
use tactus_types::Clock;

use crate::CameraError;
use crate::picture::{self, Picture};
use crate::playback::{Image, Images, Playback, unusable};
use crate::source::Pixels;
use crate::spec::PlaybackSpec;

/// Plays the folder of `spec`.
///
/// # Errors
/// [`CameraError::File`] when it cannot be read or holds no image.
pub fn open(
    spec: &PlaybackSpec,
    rate_hz: f64,
    clock: Arc<dyn Clock>,
) -> Result<Playback<Folder>, CameraError> {
    let folder = Folder::open(&spec.path)?;
    Ok(Playback::new(folder, spec, rate_hz, clock))
}

/// The images of a folder.
pub struct Folder {
    files: Vec<PathBuf>,
    next: usize,
}

/// The images in `path`, in the order in which they are played.
///
/// # Errors
/// [`CameraError::File`] when it cannot be read or holds no image.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, CameraError> {
    let entries = fs::read_dir(path).map_err(|e| unusable(path, e))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| kind(file).is_some())
        .collect();
    if files.is_empty() {
        return Err(unusable(
            path,
            "expected .jpg, .jpeg or .png files, got none",
        ));
    }
    files.sort_by(|a, b| by_name(&name(a), &name(b)));
    Ok(files)
}

/// The picture in a JPEG or PNG file.
///
/// # Errors
/// [`CameraError::File`] when it cannot be read as one.
pub fn picture(file: &Path) -> Result<Picture, CameraError> {
    match kind(file) {
        Some(Kind::Png) => {
            let Image { data, size, .. } = png(file)?;
            let (width, height) = size;
            Ok(Picture {
                width,
                height,
                rgb: data,
            })
        }
        Some(Kind::Jpeg) | None => {
            let bytes = fs::read(file).map_err(|e| unusable(file, e))?;
            picture::decode(&bytes).map_err(|e| unusable(file, e))
        }
    }
}

impl Folder {
    /// The images in `path`.
    ///
    /// # Errors
    /// As [`files`].
    pub fn open(path: &Path) -> Result<Self, CameraError> {
        let files = files(path)?;
        Ok(Self { files, next: 0 })
    }
}

impl Images for Folder {
    fn read(&mut self) -> Result<Option<Image>, CameraError> {
        let Some(file) = self.files.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        match kind(file) {
            Some(Kind::Png) => png(file).map(Some),
            Some(Kind::Jpeg) | None => Ok(Some(Image {
                data: fs::read(file).map_err(|e| unusable(file, e))?,
                pixels: Pixels::Jpeg,
                size: (0, 0),
            })),
        }
    }

    fn rewind(&mut self) -> Result<(), CameraError> {
        self.next = 0;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Jpeg,
    Png,
}

fn kind(file: &Path) -> Option<Kind> {
    let extension = file.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "jpg" | "jpeg" => Some(Kind::Jpeg),
        "png" => Some(Kind::Png),
        _ => None,
    }
}

fn name(file: &Path) -> String {
    file.file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn png(file: &Path) -> Result<Image, CameraError> {
    let opened = File::open(file).map_err(|e| unusable(file, e))?;
    let mut decoder = png::Decoder::new(BufReader::new(opened));
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    let mut reader = decoder.read_info().map_err(|e| unusable(file, e))?;
    let length = reader
        .output_buffer_size()
        .ok_or_else(|| unusable(file, "too large"))?;
    let mut data = vec![0; length];
    let info = reader
        .next_frame(&mut data)
        .map_err(|e| unusable(file, e))?;
    data.truncate(info.buffer_size());
    let rgb = match info.color_type {
        ColorType::Rgb => data,
        ColorType::Rgba => data
            .chunks_exact(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
        ColorType::Grayscale => data.iter().flat_map(|g| [*g; 3]).collect(),
        ColorType::GrayscaleAlpha => data.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        ColorType::Indexed => return Err(unusable(file, "expected colours, got their indices")),
    };
    Ok(Image {
        data: rgb,
        pixels: Pixels::Rgb8,
        size: (info.width, info.height),
    })
}

/// Order of names: runs of digits by value, everything else by character.
fn by_name(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.chars().peekable(), b.chars().peekable());
    let number = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        let mut value = 0_u128;
        while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
            value = value.saturating_mul(10).saturating_add(digit.into());
            chars.next();
        }
        value
    };
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => return Ordering::Equal,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                number(&mut a).cmp(&number(&mut b))
            }
            (x, y) => {
                let order = x.cmp(&y);
                a.next();
                b.next();
                order
            }
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpeg::tests::{pattern, sample};
    use crate::source::Source;
    use std::time::Duration;
    use tactus_drivers_api::wire::MonotonicClock;
    use tactus_types::Time;

    fn write_png(file: &Path) {
        let picture = pattern(8, 4, 0);
        let mut encoder = png::Encoder::new(File::create(file).expect("a file"), 8, 4);
        encoder.set_color(ColorType::Rgb);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&picture.rgb).expect("written");
    }

    #[test]
    fn images_come_in_the_order_of_their_numbers_as_they_are() {
        let dir = tempfile::tempdir().expect("a folder");
        let jpegs: Vec<Vec<u8>> = (0..3).map(|k| sample(8, 4, k)).collect();
        for (name, data) in [
            ("f10.jpg", &jpegs[2]),
            ("f2.JPEG", &jpegs[0]),
            ("f9.jpg", &jpegs[1]),
        ] {
            fs::write(dir.path().join(name), data).expect("written");
        }
        fs::write(dir.path().join("notes.txt"), "no image").expect("written");
        write_png(&dir.path().join("g.png"));
        let mut folder = Folder::open(dir.path()).expect("images");
        for jpeg in &jpegs {
            let image = folder.read().expect("read").expect("an image");
            assert_eq!((&image.data, image.pixels), (jpeg, Pixels::Jpeg));
        }
        let image = folder.read().expect("read").expect("an image");
        let wanted = Image {
            data: pattern(8, 4, 0).rgb,
            pixels: Pixels::Rgb8,
            size: (8, 4),
        };
        assert_eq!(image, wanted);
        assert_eq!(folder.read().expect("read"), None);
        folder.rewind().expect("again");
        assert!(folder.read().expect("read").is_some());
    }

    #[test]
    fn a_folder_without_images_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = Folder::open(dir.path()).err().expect("empty");
        assert!(
            error.is_wrong()
                && error
                    .to_string()
                    .contains("expected .jpg, .jpeg or .png files, got none"),
            "{error}"
        );
        let error = Folder::open(&dir.path().join("none"))
            .err()
            .expect("missing");
        assert!(error.to_string().contains("No such file"), "{error}");
        fs::write(dir.path().join("a.png"), "no png").expect("written");
        let error = Folder::open(dir.path())
            .expect("a name")
            .read()
            .expect_err("no png");
        assert!(error.to_string().contains("a.png"), "{error}");
    }

    #[test]
    fn playback_is_paced_ends_repeats_and_steps() {
        let dir = tempfile::tempdir().expect("a folder");
        for k in 0..3 {
            fs::write(dir.path().join(format!("{k}.jpg")), sample(8, 4, k)).expect("written");
        }
        let clock: Arc<dyn Clock> = Arc::new(MonotonicClock::new().expect("a clock"));
        let spec = |repeat, stepped| PlaybackSpec {
            path: dir.path().into(),
            repeat,
            stepped,
        };
        let mut times: Vec<Time> = Vec::new();
        let mut once = open(&spec(false, false), 50.0, clock.clone()).expect("images");
        let ended = loop {
            match once.next(Duration::from_millis(100)) {
                Ok(Some(shot)) => times.push(shot.captured_at),
                Ok(None) => {}
                Err(e) => break e,
            }
        };
        assert!(matches!(ended, CameraError::Ended { .. }), "{ended}");
        let gaps: Vec<u128> = times
            .windows(2)
            .map(|t| t[1].since(t[0]).as_millis())
            .collect();
        assert_eq!(gaps, [20, 20], "exactly: the times are those that were due");
        let mut forever = open(&spec(true, true), 1.0, clock).expect("images");
        let begun = std::time::Instant::now();
        assert!((0..7).all(|_| forever.next(Duration::ZERO).expect("more").is_some()));
        assert!(
            begun.elapsed() < Duration::from_secs(1),
            "stepped images wait for nothing"
        );
    }

    #[test]
    fn names_are_ordered_by_their_numbers() {
        let mut names = ["b1", "a10", "a9", "a", "a09x", "10", "9"];
        names.sort_by(|a, b| by_name(a, b));
        assert_eq!(names, ["9", "10", "a", "a9", "a09x", "a10", "b1"]);
    }
}
