//! A video device that plays recorded buffers: what tests and `tactus bench cameras` have instead of a kernel with a
//! camera. Answers requests as a UVC driver does: it does the nearest thing and says so.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tactus_types::{Clock, Time};

use super::node::Node;
use super::table::*;

/// A buffer as the driver hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// When it is there, from the start of the stream.
    pub at: Duration,
    /// The driver's time stamp, from the start of the stream; before `at`.
    pub stamp: Duration,
    /// The driver's counter.
    pub sequence: u32,
    /// `BUF_FLAG_*`.
    pub flags: u32,
    /// The bytes.
    pub data: Arc<[u8]>,
}

/// A video device that plays recorded buffers.
#[derive(Clone)]
pub struct RecordedNode {
    /// What it calls itself.
    pub card: &'static str,
    /// What it can do.
    pub capabilities: u32,
    /// Formats, each with its sizes.
    pub formats: Vec<(u32, Vec<(u32, u32)>)>,
    /// Rate that it takes for every other, Hz; `None`: it takes the one asked for.
    pub only_rate_hz: Option<u32>,
    /// Controls: id to (minimum, maximum, default, value).
    pub controls: BTreeMap<u32, (i32, i32, i32, i32)>,
    /// What is left to play.
    pub buffers: VecDeque<Recorded>,
    /// What `dqbuf` fails with when everything was played; `None`: silence.
    pub then: Option<io::ErrorKind>,
    clock: Arc<dyn Clock>,
    started: Option<Time>,
    free: VecDeque<u32>,
    out: BTreeMap<u32, Arc<[u8]>>,
}

/// Longest sleep of `wait`, so that a test's clock of its own is seen to move.
const NAP: Duration = Duration::from_millis(2);

impl RecordedNode {
    /// A webcam of one format, size and rate, with the usual controls, that plays `buffers`.
    pub fn webcam(
        format: u32,
        size: (u32, u32),
        buffers: Vec<Recorded>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            card: "Recorded Camera",
            capabilities: CAP_VIDEO_CAPTURE | CAP_STREAMING,
            formats: vec![(format, vec![size])],
            only_rate_hz: None,
            controls: [
                (CID_AUTO_WHITE_BALANCE, (0, 1, 1, 1)),
                (CID_WHITE_BALANCE_TEMPERATURE, (2800, 6500, 4600, 4600)),
                (CID_GAIN, (0, 100, 0, 0)),
                (CID_EXPOSURE_AUTO, (0, 3, 3, 3)),
                (CID_EXPOSURE_ABSOLUTE, (3, 2047, 250, 250)),
                (CID_EXPOSURE_AUTO_PRIORITY, (0, 1, 0, 1)),
            ]
            .into(),
            buffers: buffers.into(),
            then: None,
            clock,
            started: None,
            free: VecDeque::new(),
            out: BTreeMap::new(),
        }
    }

    fn due(&self) -> Option<Time> {
        Some(self.started? + self.buffers.front()?.at)
    }
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidInput.into()
}

impl Node for RecordedNode {
    fn querycap(&mut self) -> io::Result<Capability> {
        let mut capability = Capability {
            capabilities: CAP_DEVICE_CAPS | self.capabilities,
            device_caps: self.capabilities,
            ..Capability::default()
        };
        capability.card[..self.card.len()].copy_from_slice(self.card.as_bytes());
        Ok(capability)
    }

    fn enum_fmt(&mut self, value: &mut FmtDesc) -> io::Result<()> {
        let (format, _) = self.formats.get(value.index as usize).ok_or_else(invalid)?;
        value.pixelformat = *format;
        Ok(())
    }

    fn enum_framesizes(&mut self, value: &mut FrmSizeEnum) -> io::Result<()> {
        let sizes = self.formats.iter().find(|(f, _)| *f == value.pixel_format);
        let size = sizes.and_then(|(_, sizes)| sizes.get(value.index as usize));
        let (w, h) = size.ok_or_else(invalid)?;
        value.type_ = FRMSIZE_TYPE_DISCRETE;
        value.size = [*w, *h, 0, 0, 0, 0];
        Ok(())
    }

    fn s_fmt(&mut self, value: &mut Format) -> io::Result<()> {
        let pix = &mut value.pix;
        let known = self.formats.iter().find(|(f, _)| *f == pix.pixelformat);
        let (format, sizes) = known.or(self.formats.first()).ok_or_else(invalid)?;
        let off = |(w, h): &(u32, u32)| w.abs_diff(pix.width) + h.abs_diff(pix.height);
        let (w, h) = *sizes
            .iter()
            .min_by_key(|size| off(size))
            .ok_or_else(invalid)?;
        (pix.width, pix.height, pix.pixelformat) = (w, h, *format);
        pix.bytesperline = if *format == PIX_FMT_YUYV { w * 2 } else { 0 };
        pix.sizeimage = w * h * 2;
        Ok(())
    }

    fn s_parm(&mut self, value: &mut StreamParm) -> io::Result<()> {
        if let Some(rate) = self.only_rate_hz {
            value.timeperframe = [1, rate];
        }
        Ok(())
    }

    fn queryctrl(&mut self, value: &mut QueryCtrl) -> io::Result<()> {
        let (low, high, default, _) = *self.controls.get(&value.id).ok_or_else(invalid)?;
        (
            value.minimum,
            value.maximum,
            value.step,
            value.default_value,
        ) = (low, high, 1, default);
        Ok(())
    }

    fn g_ctrl(&mut self, value: &mut Control) -> io::Result<()> {
        value.value = self.controls.get(&value.id).ok_or_else(invalid)?.3;
        Ok(())
    }

    fn s_ctrl(&mut self, value: &mut Control) -> io::Result<()> {
        let control = self.controls.get_mut(&value.id).ok_or_else(invalid)?;
        control.3 = value.value.clamp(control.0, control.1);
        Ok(())
    }

    fn reqbufs(&mut self, value: &mut RequestBuffers) -> io::Result<()> {
        value.count = value.count.min(4);
        Ok(())
    }

    fn querybuf(&mut self, value: &mut Buffer) -> io::Result<()> {
        value.length = 1 << 20;
        value.offset = value.index << 20;
        Ok(())
    }

    fn qbuf(&mut self, value: &mut Buffer) -> io::Result<()> {
        self.out.remove(&value.index);
        self.free.push_back(value.index);
        Ok(())
    }

    fn dqbuf(&mut self, value: &mut Buffer) -> io::Result<()> {
        if self.buffers.is_empty()
            && let Some(kind) = self.then
        {
            return Err(kind.into());
        }
        let started = self.started.ok_or_else(invalid)?;
        let now = self.clock.now();
        if self.due().is_none_or(|due| due > now) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // A driver without a free buffer drops what comes.
        let (Some(recorded), Some(index)) = (self.buffers.pop_front(), self.free.pop_front())
        else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let stamp = (started + recorded.stamp).as_nanos() / 1000;
        value.index = index;
        value.bytesused = recorded.data.len() as u32;
        value.flags = recorded.flags;
        value.sequence = recorded.sequence;
        value.timestamp_sec = (stamp / 1_000_000) as i64;
        value.timestamp_usec = (stamp % 1_000_000) as i64;
        self.out.insert(index, recorded.data);
        Ok(())
    }

    fn streamon(&mut self) -> io::Result<()> {
        self.started = Some(self.clock.now());
        Ok(())
    }

    fn streamoff(&mut self) -> io::Result<()> {
        self.started = None;
        Ok(())
    }

    fn map(&mut self, _: &Buffer) -> io::Result<()> {
        Ok(())
    }

    fn copy(&self, buffer: &Buffer) -> Vec<u8> {
        self.out
            .get(&buffer.index)
            .map(|data| data.to_vec())
            .unwrap_or_default()
    }

    fn wait(&mut self, within: Duration) -> io::Result<bool> {
        let until = self.clock.now() + within;
        loop {
            let now = self.clock.now();
            match self.due() {
                Some(due) if due <= now => return Ok(true),
                None if self.then.is_some() => return Ok(true),
                _ if now >= until => return Ok(false),
                Some(due) => std::thread::sleep(due.min(until).since(now)),
                None => std::thread::sleep(until.since(now).min(NAP)),
            }
        }
    }
}
