//! What comes over lines that are not Zenoh: serial buses, a controller's sockets, a camera's.

use std::io;
use std::time::Duration;

use tactus_camera::http::reply::Reply;
use tactus_drivers_api::line::Line;
use tactus_drivers_api::servo::{Protocol, Scan};
use tactus_robotiq::modbus::Modbus;
use tactus_types::Time;
use tactus_ur::recipe::{OUTPUTS, Sample};
use tactus_ur::rtde::{self, ControllerVersion};

/// Packets of servos and frames of a gripper. The first byte says whose.
pub fn serial(data: &[u8]) -> bool {
    let Some((whose, bytes)) = data.split_first() else {
        return false;
    };
    match whose % 3 {
        0 => servo(&tactus_feetech::packet::PROTOCOL, bytes),
        1 => servo(&tactus_dynamixel::packet::PROTOCOL, bytes),
        _ => gripper(bytes),
    }
}

/// Goes through all of `bytes` as a bus does.
fn servo(protocol: &Protocol, bytes: &[u8]) -> bool {
    let (mut left, mut found) = (bytes, false);
    while !left.is_empty() {
        let done = match (protocol.scan)(left, 32) {
            Scan::Status(status, done) => {
                assert!(status.parameters().len() <= 32, "more than was allowed");
                found = true;
                done
            }
            Scan::Noise(done) | Scan::Corrupt(done) => done,
            Scan::More => break,
        };
        assert!(done > 0 && done <= left.len(), "{done} of {}", left.len());
        left = &left[done..];
    }
    found
}

fn gripper(bytes: &[u8]) -> bool {
    let line = Box::new(Said(bytes.to_vec()));
    let mut modbus = Modbus::new(line, 115_200, 9);
    let read = modbus.read(0x07D0).is_ok();
    let line = Box::new(Said(bytes.to_vec()));
    read | Modbus::new(line, 115_200, 9).write(0x03E8, [0; 3]).is_ok()
}

/// A line on which this is said, whatever is sent, and which then breaks.
struct Said(Vec<u8>);

impl Line for Said {
    fn discard(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn send(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8], _: Duration) -> io::Result<usize> {
        let n = into.len().min(self.0.len());
        into[..n].copy_from_slice(&self.0[..n]);
        self.0.drain(..n);
        match n {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => Ok(n),
        }
    }

    fn set_baud(&mut self, _: u32) -> io::Result<()> {
        Ok(())
    }
}

/// Frames of a UR controller's real-time interface, of its answers, and of `franka-node`'s wire. The first byte says which.
pub fn rtde(data: &[u8]) -> bool {
    let Some((which, bytes)) = data.split_first() else {
        return false;
    };
    if which % 4 == 3 {
        let state = tactus_franka::node::wire::state(bytes).is_ok();
        return state | tactus_franka::node::wire::reply(bytes).is_ok();
    }
    let (mut left, mut found) = (bytes, false);
    while let Ok(Some((kind, payload, taken))) = rtde::cut(left) {
        found |= Sample::read(payload).is_ok();
        let _ = ControllerVersion::read(payload);
        let _ = rtde::accepted(kind, &OUTPUTS, payload);
        let _ = rtde::exact::<1>(kind, payload);
        let _ = rtde::text(payload);
        assert!(taken > 0 && taken <= left.len());
        left = &left[taken..];
    }
    found
}

/// A camera's stream of images over HTTP, and the head of a picture. The first byte says in pieces of what size it comes.
pub fn camera(data: &[u8]) -> bool {
    let Some((piece, bytes)) = data.split_first() else {
        return false;
    };
    let (mut reply, mut found) = (Reply::new(), false);
    for (at, bytes) in bytes.chunks(usize::from(*piece).max(1)).enumerate() {
        if reply.push(bytes, Time::from_millis(at as u64)).is_err() {
            break;
        }
        // As many as there are, and an error ends it.
        while let Ok(Some((mut image, _))) = reply.image() {
            let _ = tactus_camera::jpeg::complete(&mut image);
            found = true;
        }
    }
    found | tactus_camera::jpeg::complete(&mut bytes.to_vec()).is_ok()
}
