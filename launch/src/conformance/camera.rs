//! What a camera driver has to keep.

use std::time::Duration;

use tactus_types::{CameraFrame, Time};
use tactus_wire::{CameraInfo, Cell, Name, Nothing, Role, Session, Topic};

use super::Report;
use super::heard::{Heard, Stamp, numbers, rate, sound, times};

/// How long is listened.
const LISTEN: Duration = Duration::from_secs(3);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);

/// Checks camera `name` of `cell`.
///
/// # Errors
/// When the network cannot be used.
pub fn check(
    session: &Session,
    cell: &Cell,
    name: &Name,
    report: &mut Report,
) -> anyhow::Result<()> {
    let key = cell.key(&Topic::CameraInfo(name.clone()));
    let info = match session.query::<Nothing, CameraInfo>(&key, &Nothing, ANSWER) {
        Ok(answer) => answer.message,
        Err(e) => return report.check("info", Err(e.to_string())),
    };
    let (width, height, rate_hz) = (info.width, info.height, info.rate_hz);
    let said = format!("{width}x{height} at {rate_hz} Hz");
    report.check("info", Ok(said))?;
    report.check(
        "alive token",
        super::arm::alive(session, cell, Role::Camera, name)?,
    )?;
    let heard =
        Heard::<CameraFrame>::listen(session, &cell.key(&Topic::CameraImage(name.clone())))?;
    std::thread::sleep(LISTEN);
    let stream = heard.take();
    report.check("images", sound(&stream))?;
    if stream.messages.is_empty() {
        return Ok(());
    }
    let stamps: Vec<Stamp> = stream.messages.iter().map(Stamp::from).collect();
    let captured: Vec<Time> = stamps.iter().map(|s| s.captured).collect();
    report.check("rate", rate(&captured, rate_hz))?;
    report.check("time stamps", times(&stamps))?;
    report.check("counter", numbers(&stamps))?;
    let other = stream
        .messages
        .iter()
        .map(|d| (d.message.width, d.message.height))
        .find(|size| *size != (width, height));
    report.check(
        "size",
        match other {
            None => Ok(format!("every image is {width}x{height}")),
            Some((w, h)) => Err(format!("an image of {w}x{h}, {width}x{height} declared")),
        },
    )?;
    let same = stream
        .messages
        .iter()
        .zip(stream.messages.iter().skip(1))
        .filter(|(a, b)| a.message.data == b.message.data)
        .count();
    // The simulated cameras do, of a cell at rest; what an engine makes of it is its bound for frozen cameras.
    let of = stream.messages.len();
    report.add(
        "fresh images",
        "note",
        format!("{same} of {of} repeat the one before, which a real sensor does not"),
    )
}
