//! The newest frame of each camera, as a JPEG file, for as many pages as ask, within as many pictures a second as there are
//! for all of them together.
//!
//! A page asks for a picture newer than the last it had, and gets the newest there is: a slow page skips, and nothing is
//! kept for it. JPEG frames are handed on as they came; raw ones are encoded once, and only if somebody asks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tactus_types::{CameraFrame, Encoding};
use tokio::sync::watch;

/// Pictures a second, over all pages and cameras.
const PER_SEC: f64 = 80.0;
/// As many may go at once.
const AT_ONCE: f64 = 16.0;
/// Quality of raw frames that are encoded here, 1 to 100.
const QUALITY: u8 = 75;

/// A frame, and its file once somebody asked for it.
#[derive(Debug)]
pub struct Picture {
    /// Counts the frames of this camera that came here, from 1.
    pub n: u64,
    /// When it came.
    pub came: Instant,
    frame: CameraFrame,
    file: Mutex<Option<Bytes>>,
}

impl Picture {
    /// The JPEG file; encodes a raw frame the first time, which takes milliseconds.
    ///
    /// # Errors
    /// What is wrong with the frame.
    pub fn file(&self) -> Result<Bytes, String> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &*file {
            return Ok(file.clone());
        }
        let made = match self.frame.encoding {
            Encoding::Jpeg => Bytes::from_owner(self.frame.data.clone()),
            Encoding::Rgb8 => encode(&self.frame)?,
        };
        *file = Some(made.clone());
        Ok(made)
    }
}

fn encode(frame: &CameraFrame) -> Result<Bytes, String> {
    let size = |v: u32| u16::try_from(v).map_err(|_| format!("{v} pixels: too large to show"));
    let (width, height) = (size(frame.width)?, size(frame.height)?);
    let expected = usize::from(width) * usize::from(height) * 3;
    if frame.data.len() != expected {
        return Err(format!("{} bytes, expected {expected}", frame.data.len()));
    }
    let mut file = Vec::new();
    jpeg_encoder::Encoder::new(&mut file, QUALITY)
        .encode(&frame.data, width, height, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| e.to_string())?;
    Ok(file.into())
}

/// The newest picture of each camera.
#[derive(Debug)]
pub struct Pictures {
    cameras: Vec<(String, watch::Sender<Option<Arc<Picture>>>)>,
    /// Whoever asks stands in line, so that nobody who asks often keeps others from their turn.
    allowance: tokio::sync::Mutex<Allowance>,
}

impl Pictures {
    /// None yet of each of `cameras`.
    pub fn new(cameras: impl Iterator<Item = String>) -> Self {
        Self {
            cameras: cameras
                .map(|name| (name, watch::Sender::new(None)))
                .collect(),
            allowance: tokio::sync::Mutex::new(Allowance::new(Instant::now())),
        }
    }

    /// The newest frame of camera number `i`.
    pub fn take(&self, i: usize, frame: CameraFrame) {
        let Some((_, newest)) = self.cameras.get(i) else {
            return;
        };
        newest.send_modify(|newest| {
            *newest = Some(Arc::new(Picture {
                n: newest.as_ref().map_or(1, |p| p.n + 1),
                came: Instant::now(),
                frame,
                file: Mutex::new(None),
            }));
        });
    }

    /// Per camera: how many came, and how old the newest is, s.
    pub fn ages(&self, now: Instant) -> Vec<(u64, Option<f64>)> {
        let each = self.cameras.iter().map(|(_, newest)| {
            let newest = newest.borrow();
            let age = |p: &Arc<Picture>| now.saturating_duration_since(p.came).as_secs_f64();
            (newest.as_ref().map_or(0, |p| p.n), newest.as_ref().map(age))
        });
        each.collect()
    }

    /// The newest picture of `camera` that is not number `after`, as soon as there is one and it is its turn; `None` for
    /// a camera that is not there.
    pub async fn newer(&self, camera: &str, after: u64) -> Option<Arc<Picture>> {
        let (_, newest) = self.cameras.iter().find(|(name, _)| name == camera)?;
        let mut newest = newest.subscribe();
        let is_newer = |p: &Option<Arc<Picture>>| p.as_ref().is_some_and(|p| p.n != after);
        newest.wait_for(is_newer).await.ok()?;
        let mut allowance = self.allowance.lock().await;
        while let Some(wait) = allowance.ask(Instant::now()) {
            tokio::time::sleep(wait).await;
        }
        drop(allowance);
        newest.borrow().clone()
    }
}

/// How many pictures may go now: a bucket that fills with time.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self {
            left: AT_ONCE,
            at: now,
        }
    }

    /// Takes one, or says how long it takes until there is one.
    fn ask(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * PER_SEC).min(AT_ONCE);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return None;
        }
        let wait = Duration::try_from_secs_f64((1.0 - self.left) / PER_SEC);
        Some(wait.unwrap_or(Duration::from_millis(10)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tactus_types::Time;

    fn frame(encoding: Encoding, data: Vec<u8>) -> CameraFrame {
        CameraFrame {
            camera: "scene".into(),
            captured_at: Time::ZERO,
            received_at: Time::ZERO,
            seq: 1,
            width: 16,
            height: 8,
            encoding,
            data: data.into(),
        }
    }

    #[test]
    fn no_more_pictures_a_second_than_there_are_whoever_asks_and_however_often() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let mut went = 0;
        // A thousand pages, each asking every ten milliseconds for ten seconds.
        for ms in (0..10_000).step_by(10) {
            for _ in 0..1000 {
                let now = start + Duration::from_millis(ms);
                went += u32::from(allowance.ask(now).is_none());
            }
        }
        let most = (10.0 * PER_SEC + AT_ONCE) as u32;
        assert!((most - 5..=most).contains(&went), "{went} of {most}");
    }

    #[test]
    fn jpeg_frames_go_as_they_came_raw_ones_become_jpeg_and_nonsense_is_refused() {
        let pictures = Pictures::new(["scene".to_owned()].into_iter());
        let newest = |pictures: &Pictures| pictures.cameras[0].1.borrow().clone().expect("one");
        pictures.take(0, frame(Encoding::Jpeg, vec![1, 2, 3]));
        assert_eq!(&newest(&pictures).file().expect("as it is")[..], [1, 2, 3]);
        pictures.take(0, frame(Encoding::Rgb8, vec![200; 16 * 8 * 3]));
        let picture = newest(&pictures);
        let file = picture.file().expect("encoded");
        assert_eq!((picture.n, &file[..2]), (2, &[0xff, 0xd8][..]));
        pictures.take(0, frame(Encoding::Rgb8, vec![200; 5]));
        assert!(newest(&pictures).file().is_err());
        pictures.take(7, frame(Encoding::Rgb8, vec![]));
        assert_eq!(pictures.ages(Instant::now())[0].0, 3);
    }

    #[test]
    fn whoever_asks_late_gets_the_newest_and_never_one_that_they_had() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let pictures = Pictures::new(["scene".to_owned()].into_iter());
            for k in 0..50 {
                pictures.take(0, frame(Encoding::Jpeg, vec![k]));
            }
            let newest = pictures.newer("scene", 0).await.expect("one");
            assert_eq!((newest.n, newest.file()), (50, Ok(Bytes::from(vec![49]))));
            let soon = Duration::from_millis(50);
            let none = tokio::time::timeout(soon, pictures.newer("scene", 50)).await;
            assert!(none.is_err(), "it had that one");
            assert!(pictures.newer("kitchen", 0).await.is_none());
        });
    }
}
