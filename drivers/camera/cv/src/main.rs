//! `tactus-cv`: receives and decodes one video file or RTSP stream with OpenCV, for the camera process that started it.
//! What travels through its pipes is described in `tactus_camera::video`.

use std::io::{BufRead, stdin, stdout};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use opencv::core::{Mat, Size, Vector};
use opencv::imgproc::{COLOR_BGR2RGB, cvt_color_def};
use opencv::prelude::*;
use opencv::videoio::{
    CAP_FFMPEG, CAP_PROP_OPEN_TIMEOUT_MSEC, CAP_PROP_POS_FRAMES, CAP_PROP_READ_TIMEOUT_MSEC,
    VideoCapture,
};
use tactus_camera::video::Record;
use tactus_drivers_api::wire::MonotonicClock;
use tactus_types::Clock;

/// How long a stream may take to open, and to bring its next frame, milliseconds.
const OPEN_MS: i32 = 5000;
const READ_MS: i32 = 2000;

fn main() -> ExitCode {
    let mut orders = stdin().lock().lines();
    let Some(Ok(order)) = orders.next() else {
        eprintln!(
            "tactus-cv: started by `tactus camera`, for video files and RTSP; there is nothing to do by hand"
        );
        return ExitCode::FAILURE;
    };
    let done = match order.split_once(' ') {
        Some(("play", path)) => open(path, &[]).and_then(|capture| play(capture, orders)),
        Some(("stream", url)) => {
            let limits = [
                CAP_PROP_OPEN_TIMEOUT_MSEC,
                OPEN_MS,
                CAP_PROP_READ_TIMEOUT_MSEC,
                READ_MS,
            ];
            open(url, &limits).and_then(stream)
        }
        _ => Err(format!("unknown order `{order}`")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Nobody may be left to hear it.
            say(&Record::Failed(reason)).unwrap_or(());
            ExitCode::FAILURE
        }
    }
}

fn say(record: &Record) -> Result<(), String> {
    record
        .write(&mut stdout().lock())
        .map_err(|e| e.to_string())
}

fn message(e: opencv::Error) -> String {
    format!("OpenCV: {}", e.message)
}

fn open(place: &str, limits: &[i32]) -> Result<VideoCapture, String> {
    let limits = Vector::from_slice(limits);
    let capture =
        VideoCapture::from_file_with_params(place, CAP_FFMPEG, &limits).map_err(message)?;
    match capture.is_opened() {
        Ok(true) => Ok(capture),
        _ => Err("expected a video that FFmpeg can read".into()),
    }
}

/// A picture for every line that comes.
fn play(
    mut capture: VideoCapture,
    orders: impl Iterator<Item = std::io::Result<String>>,
) -> Result<(), String> {
    say(&Record::Ready)?;
    let clock = MonotonicClock::new().map_err(|e| e.to_string())?;
    let mut frame = Mat::default();
    for order in orders {
        if order.map_err(|e| e.to_string())? == "rewind" {
            capture.set(CAP_PROP_POS_FRAMES, 0.0).map_err(message)?;
        }
        match capture.read(&mut frame).map_err(message)? {
            true => say(&record(&frame, &clock)?)?,
            false => say(&Record::End)?,
        }
    }
    Ok(())
}

/// Pictures as they come. One thread receives, whatever the reader of the pipe does, so that no picture waits where nobody
/// sees its age; another writes the newest.
fn stream(mut capture: VideoCapture) -> Result<(), String> {
    say(&Record::Ready)?;
    let clock = MonotonicClock::new().map_err(|e| e.to_string())?;
    let newest = Arc::new(Newest::default());
    let writer = {
        let newest = newest.clone();
        let write = move || {
            while let Some(record) = newest.take() {
                if say(&record).is_err() {
                    // Nobody reads any more.
                    newest.end();
                }
            }
        };
        let named = std::thread::Builder::new().name("write".into());
        named.spawn(write).map_err(|e| e.to_string())?
    };
    let received = receive(&mut capture, &clock, &newest);
    newest.end();
    if writer.join().is_err() {
        return Err("the thread that writes panicked".into());
    }
    received.and_then(|()| say(&Record::End))
}

/// Puts every picture into `newest`, until there is none any more or nobody takes them.
fn receive(capture: &mut VideoCapture, clock: &dyn Clock, newest: &Newest) -> Result<(), String> {
    let mut frame = Mat::default();
    while capture.grab().map_err(message)? {
        let received = clock.now().as_nanos();
        if !capture.retrieve_def(&mut frame).map_err(message)? {
            return Err("an image cannot be decoded".into());
        }
        let mut record = record(&frame, clock)?;
        if let Record::Frame { at_nanos, .. } = &mut record {
            *at_nanos = received;
        }
        if !newest.put(record) {
            break;
        }
    }
    Ok(())
}

/// The newest picture on its way from the thread that receives to the one that writes.
#[derive(Default)]
struct Newest {
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Default)]
struct Slot {
    record: Option<Record>,
    ended: bool,
}

impl Newest {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a picture in, which counts the one that it replaces. False when nobody takes it.
    fn put(&self, mut record: Record) -> bool {
        let mut slot = self.slot();
        if let (
            Some(Record::Frame { passed_over, .. }),
            Record::Frame {
                passed_over: now, ..
            },
        ) = (&slot.record, &mut record)
        {
            *now = passed_over.saturating_add(1);
        }
        slot.record = Some(record);
        self.changed.notify_one();
        !slot.ended
    }

    /// Waits for a picture; `None` once it is ended and the last was taken.
    fn take(&self) -> Option<Record> {
        let waits = |slot: &mut Slot| slot.record.is_none() && !slot.ended;
        let slot = self.changed.wait_while(self.slot(), waits);
        slot.unwrap_or_else(PoisonError::into_inner).record.take()
    }

    fn end(&self) {
        self.slot().ended = true;
        self.changed.notify_one();
    }
}

/// The picture in `frame`, red first; OpenCV has blue first.
fn record(frame: &Mat, clock: &dyn Clock) -> Result<Record, String> {
    let mut rgb = Mat::default();
    cvt_color_def(frame, &mut rgb, COLOR_BGR2RGB).map_err(message)?;
    let Size { width, height } = rgb.size().map_err(message)?;
    Ok(Record::Frame {
        width: width as u32,
        height: height as u32,
        at_nanos: clock.now().as_nanos(),
        passed_over: 0,
        rgb: rgb.data_bytes().map_err(message)?.to_vec(),
    })
}
