//! The edge to the kernel: one method a request. [`Kernel`] hands them on; [`super::recorded`] answers from memory.
//!
//! No machine without a camera can test [`Kernel`] itself, so it decides nothing.
#![allow(
    unsafe_code,
    reason = "requests to the kernel, and memory that is shared with it"
)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::table::*;

/// A video device, request by request. Structures go in and come back as the kernel's documentation says.
#[allow(missing_docs, reason = "each is the request of its name")]
pub trait Node: Send {
    fn querycap(&mut self) -> io::Result<Capability>;
    fn enum_fmt(&mut self, value: &mut FmtDesc) -> io::Result<()>;
    fn enum_framesizes(&mut self, value: &mut FrmSizeEnum) -> io::Result<()>;
    fn s_fmt(&mut self, value: &mut Format) -> io::Result<()>;
    fn s_parm(&mut self, value: &mut StreamParm) -> io::Result<()>;
    fn queryctrl(&mut self, value: &mut QueryCtrl) -> io::Result<()>;
    fn g_ctrl(&mut self, value: &mut Control) -> io::Result<()>;
    fn s_ctrl(&mut self, value: &mut Control) -> io::Result<()>;
    fn reqbufs(&mut self, value: &mut RequestBuffers) -> io::Result<()>;
    fn querybuf(&mut self, value: &mut Buffer) -> io::Result<()>;
    fn qbuf(&mut self, value: &mut Buffer) -> io::Result<()>;
    fn dqbuf(&mut self, value: &mut Buffer) -> io::Result<()>;
    fn streamon(&mut self) -> io::Result<()>;
    fn streamoff(&mut self) -> io::Result<()>;
    /// Maps the memory of a buffer that `querybuf` described.
    fn map(&mut self, buffer: &Buffer) -> io::Result<()>;
    /// A copy of the bytes of a buffer that `dqbuf` delivered.
    fn copy(&self, buffer: &Buffer) -> Vec<u8>;
    /// Waits no longer than `within` for a buffer to be there.
    fn wait(&mut self, within: Duration) -> io::Result<bool>;
}

/// A video device of this machine.
pub struct Kernel {
    file: File,
    mapped: Vec<Mapped>,
}

struct Mapped {
    at: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory belongs to this value alone, wherever it is.
unsafe impl Send for Mapped {}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: `at` and `length` are those that `mmap` gave, and nothing refers to the memory: `copy` copies.
        if let Err(e) = unsafe { munmap(self.at.as_ptr().cast(), self.length) } {
            tracing::debug!("a buffer cannot be unmapped: {e}");
        }
    }
}

impl Kernel {
    /// The device behind `file`, which was opened for reading and writing, and not to block.
    pub fn new(file: File) -> Self {
        Self {
            file,
            mapped: Vec::new(),
        }
    }

    fn update<const REQUEST: Opcode, T>(&self, value: &mut T) -> io::Result<()> {
        // SAFETY: `REQUEST` and `T` are a pair of the table, which is held against the kernel's header.
        retry_on_intr(|| unsafe { ioctl(self.file.as_fd(), Updater::<REQUEST, T>::new(value)) })?;
        Ok(())
    }

    fn stream<const REQUEST: Opcode>(&self) -> io::Result<()> {
        let kind = BUF_TYPE_VIDEO_CAPTURE as i32;
        // SAFETY: both requests take a pointer to the type of buffer and write nothing.
        retry_on_intr(|| unsafe { ioctl(self.file.as_fd(), Setter::<REQUEST, i32>::new(kind)) })?;
        Ok(())
    }
}

impl Node for Kernel {
    fn querycap(&mut self) -> io::Result<Capability> {
        let mut value = Capability::default();
        self.update::<QUERYCAP, _>(&mut value)?;
        Ok(value)
    }

    fn enum_fmt(&mut self, value: &mut FmtDesc) -> io::Result<()> {
        self.update::<ENUM_FMT, _>(value)
    }

    fn enum_framesizes(&mut self, value: &mut FrmSizeEnum) -> io::Result<()> {
        self.update::<ENUM_FRAMESIZES, _>(value)
    }

    fn s_fmt(&mut self, value: &mut Format) -> io::Result<()> {
        self.update::<S_FMT, _>(value)
    }

    fn s_parm(&mut self, value: &mut StreamParm) -> io::Result<()> {
        self.update::<S_PARM, _>(value)
    }

    fn queryctrl(&mut self, value: &mut QueryCtrl) -> io::Result<()> {
        self.update::<QUERYCTRL, _>(value)
    }

    fn g_ctrl(&mut self, value: &mut Control) -> io::Result<()> {
        self.update::<G_CTRL, _>(value)
    }

    fn s_ctrl(&mut self, value: &mut Control) -> io::Result<()> {
        self.update::<S_CTRL, _>(value)
    }

    fn reqbufs(&mut self, value: &mut RequestBuffers) -> io::Result<()> {
        self.update::<REQBUFS, _>(value)
    }

    fn querybuf(&mut self, value: &mut Buffer) -> io::Result<()> {
        self.update::<QUERYBUF, _>(value)
    }

    fn qbuf(&mut self, value: &mut Buffer) -> io::Result<()> {
        self.update::<QBUF, _>(value)
    }

    fn dqbuf(&mut self, value: &mut Buffer) -> io::Result<()> {
        self.update::<DQBUF, _>(value)
    }

    fn streamon(&mut self) -> io::Result<()> {
        self.stream::<STREAMON>()
    }

    fn streamoff(&mut self) -> io::Result<()> {
        self.stream::<STREAMOFF>()
    }

    fn map(&mut self, buffer: &Buffer) -> io::Result<()> {
        let length = buffer.length as usize;
        let (offset, file) = (u64::from(buffer.offset), self.file.as_fd());
        let (read, shared) = (ProtFlags::READ, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let at = unsafe { mmap(ptr::null_mut(), length, read, shared, file, offset) }?;
        let at = NonNull::new(at.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        self.mapped.push(Mapped { at, length });
        Ok(())
    }

    fn copy(&self, buffer: &Buffer) -> Vec<u8> {
        let Some(mapped) = self.mapped.get(buffer.index as usize) else {
            return Vec::new();
        };
        let length = mapped.length.min(buffer.bytesused as usize);
        let mut bytes = Vec::with_capacity(length);
        // SAFETY: `length` bytes are mapped there, as many are reserved here, and until the buffer is queued again the
        // kernel does not write into it. They do not overlap, and every bit pattern is a byte.
        unsafe {
            ptr::copy_nonoverlapping(mapped.at.as_ptr(), bytes.as_mut_ptr(), length);
            bytes.set_len(length);
        }
        bytes
    }

    fn wait(&mut self, within: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: within.as_secs() as _,
            tv_nsec: within.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => Ok(false),
            Ok(_) if fds[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) => {
                Err(io::Error::other("the device is gone"))
            }
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}
