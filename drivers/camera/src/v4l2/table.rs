//! Numbers and structures of the kernel's interface to video devices, `linux/videodev2.h`, for 64-bit little-endian hosts.
//! Only capture in one plane, with buffers that are mapped. Names are the header's without their prefix.

use rustix::ioctl::{Opcode, opcode};

// Requests.
pub const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
pub const ENUM_FMT: Opcode = opcode::read_write::<FmtDesc>(b'V', 2);
pub const S_FMT: Opcode = opcode::read_write::<Format>(b'V', 5);
pub const REQBUFS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
pub const QUERYBUF: Opcode = opcode::read_write::<Buffer>(b'V', 9);
pub const QBUF: Opcode = opcode::read_write::<Buffer>(b'V', 15);
pub const DQBUF: Opcode = opcode::read_write::<Buffer>(b'V', 17);
pub const STREAMON: Opcode = opcode::write::<i32>(b'V', 18);
pub const STREAMOFF: Opcode = opcode::write::<i32>(b'V', 19);
pub const S_PARM: Opcode = opcode::read_write::<StreamParm>(b'V', 22);
pub const G_CTRL: Opcode = opcode::read_write::<Control>(b'V', 27);
pub const S_CTRL: Opcode = opcode::read_write::<Control>(b'V', 28);
pub const QUERYCTRL: Opcode = opcode::read_write::<QueryCtrl>(b'V', 36);
pub const ENUM_FRAMESIZES: Opcode = opcode::read_write::<FrmSizeEnum>(b'V', 74);

// What a device can do.
pub const CAP_VIDEO_CAPTURE: u32 = 0x0000_0001;
pub const CAP_STREAMING: u32 = 0x0400_0000;
pub const CAP_DEVICE_CAPS: u32 = 0x8000_0000;

pub const BUF_TYPE_VIDEO_CAPTURE: u32 = 1;
pub const MEMORY_MMAP: u32 = 1;
pub const FIELD_NONE: u32 = 1;
pub const FRMSIZE_TYPE_DISCRETE: u32 = 1;

// Flags of a buffer.
pub const BUF_FLAG_ERROR: u32 = 0x0000_0040;
pub const BUF_FLAG_TIMESTAMP_MASK: u32 = 0x0000_e000;
pub const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;
pub const BUF_FLAG_TSTAMP_SRC_MASK: u32 = 0x0007_0000;
pub const BUF_FLAG_TSTAMP_SRC_SOE: u32 = 0x0001_0000;

// Controls.
pub const CID_AUTO_WHITE_BALANCE: u32 = 0x0098_090c;
pub const CID_AUTOGAIN: u32 = 0x0098_0912;
pub const CID_GAIN: u32 = 0x0098_0913;
pub const CID_WHITE_BALANCE_TEMPERATURE: u32 = 0x0098_091a;
pub const CID_EXPOSURE_AUTO: u32 = 0x009a_0901;
/// In 100 us.
pub const CID_EXPOSURE_ABSOLUTE: u32 = 0x009a_0902;
/// Whether automatic exposure may lengthen the frame period.
pub const CID_EXPOSURE_AUTO_PRIORITY: u32 = 0x009a_0903;
pub const EXPOSURE_MANUAL: i32 = 1;
pub const CTRL_FLAG_DISABLED: u32 = 0x0001;
pub const CTRL_FLAG_READ_ONLY: u32 = 0x0004;

/// Four characters that name a pixel format.
pub const fn fourcc(name: &[u8; 4]) -> u32 {
    u32::from_le_bytes(*name)
}
pub const PIX_FMT_MJPEG: u32 = fourcc(b"MJPG");
pub const PIX_FMT_JPEG: u32 = fourcc(b"JPEG");
pub const PIX_FMT_YUYV: u32 = fourcc(b"YUYV");

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Capability {
    pub driver: [u8; 16],
    pub card: [u8; 32],
    pub bus_info: [u8; 32],
    pub version: u32,
    pub capabilities: u32,
    pub device_caps: u32,
    pub reserved: [u32; 3],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct FmtDesc {
    pub index: u32,
    pub type_: u32,
    pub flags: u32,
    pub description: [u8; 32],
    pub pixelformat: u32,
    pub mbus_code: u32,
    pub reserved: [u32; 3],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct FrmSizeEnum {
    pub index: u32,
    pub pixel_format: u32,
    pub type_: u32,
    /// Discrete: width, height. Else: minimum, maximum and step of the width, and of the height.
    pub size: [u32; 6],
    pub reserved: [u32; 2],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Format {
    pub type_: u32,
    /// The union that follows holds pointers.
    pub padding: u32,
    pub pix: PixFormat,
    pub rest: [u64; 19],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct PixFormat {
    pub width: u32,
    pub height: u32,
    pub pixelformat: u32,
    pub field: u32,
    pub bytesperline: u32,
    pub sizeimage: u32,
    pub colorspace: u32,
    pub priv_: u32,
    pub flags: u32,
    pub ycbcr_enc: u32,
    pub quantization: u32,
    pub xfer_func: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamParm {
    pub type_: u32,
    pub capability: u32,
    pub capturemode: u32,
    /// Seconds per frame: numerator, denominator.
    pub timeperframe: [u32; 2],
    pub extendedmode: u32,
    pub readbuffers: u32,
    pub reserved: [u32; 4],
    pub rest: [[u32; 20]; 2],
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestBuffers {
    pub count: u32,
    pub type_: u32,
    pub memory: u32,
    pub capabilities: u32,
    pub flags: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Buffer {
    pub index: u32,
    pub type_: u32,
    pub bytesused: u32,
    pub flags: u32,
    pub field: u32,
    pub padding: u32,
    pub timestamp_sec: i64,
    pub timestamp_usec: i64,
    pub timecode: [u32; 4],
    pub sequence: u32,
    pub memory: u32,
    /// Where it is mapped from; the lower half of a union.
    pub offset: u32,
    pub offset_upper: u32,
    pub length: u32,
    pub reserved2: u32,
    pub request_fd: u32,
    pub padding2: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Control {
    pub id: u32,
    pub value: i32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct QueryCtrl {
    pub id: u32,
    pub type_: u32,
    pub name: [u8; 32],
    pub minimum: i32,
    pub maximum: i32,
    pub step: i32,
    pub default_value: i32,
    pub flags: u32,
    pub reserved: [u32; 2],
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// Number of each request and offsets of fields as a C program over the kernel's header printed them (x86-64,
    /// linux-libc-dev of Debian 12). A request's number holds its direction and the size of its structure.
    #[test]
    fn requests_and_structures_are_the_kernel_s() {
        for (name, ours, kernel) in [
            ("QUERYCAP", QUERYCAP, 0x8068_5600),
            ("ENUM_FMT", ENUM_FMT, 0xc040_5602),
            ("S_FMT", S_FMT, 0xc0d0_5605),
            ("REQBUFS", REQBUFS, 0xc014_5608),
            ("QUERYBUF", QUERYBUF, 0xc058_5609),
            ("QBUF", QBUF, 0xc058_560f),
            ("DQBUF", DQBUF, 0xc058_5611),
            ("STREAMON", STREAMON, 0x4004_5612),
            ("STREAMOFF", STREAMOFF, 0x4004_5613),
            ("S_PARM", S_PARM, 0xc0cc_5616),
            ("G_CTRL", G_CTRL, 0xc008_561b),
            ("S_CTRL", S_CTRL, 0xc008_561c),
            ("QUERYCTRL", QUERYCTRL, 0xc044_5624),
            ("ENUM_FRAMESIZES", ENUM_FRAMESIZES, 0xc02c_564a),
        ] {
            assert_eq!(ours, kernel, "{name}: {ours:#010x}");
        }
        assert_eq!(
            [
                offset_of!(Buffer, timestamp_sec),
                offset_of!(Buffer, sequence),
                offset_of!(Buffer, offset),
                offset_of!(Buffer, length),
                offset_of!(Format, pix),
                offset_of!(StreamParm, capability),
                offset_of!(Capability, device_caps),
                offset_of!(QueryCtrl, minimum),
                offset_of!(FmtDesc, pixelformat),
                offset_of!(FrmSizeEnum, size),
            ],
            [24, 56, 64, 72, 8, 4, 88, 40, 44, 12]
        );
    }

    /// The header of this machine, where it has one, says the same of every request and flag.
    #[test]
    fn this_machine_s_header_agrees() {
        let Ok(header) = std::fs::read_to_string("/usr/include/linux/videodev2.h") else {
            return;
        };
        let defined = |name: &str| -> String {
            let line = header.lines().find(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some("#define") && words.next() == Some(name)
            });
            let line = line.unwrap_or_else(|| panic!("{name} is not in the header"));
            line.split_whitespace()
                .skip(2)
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (name, request) in [
            ("QUERYCAP", QUERYCAP),
            ("ENUM_FMT", ENUM_FMT),
            ("S_FMT", S_FMT),
            ("REQBUFS", REQBUFS),
            ("QUERYBUF", QUERYBUF),
            ("QBUF", QBUF),
            ("DQBUF", DQBUF),
            ("STREAMON", STREAMON),
            ("STREAMOFF", STREAMOFF),
            ("S_PARM", S_PARM),
            ("G_CTRL", G_CTRL),
            ("S_CTRL", S_CTRL),
            ("QUERYCTRL", QUERYCTRL),
            ("ENUM_FRAMESIZES", ENUM_FRAMESIZES),
        ] {
            let macro_ = defined(&format!("VIDIOC_{name}"));
            let direction = match request >> 30 {
                1 => "_IOW(",
                2 => "_IOR(",
                _ => "_IOWR(",
            };
            assert!(macro_.starts_with(direction), "{name}: {macro_}");
            let number = macro_.split(',').nth(1).and_then(|n| n.trim().parse().ok());
            assert_eq!(number, Some(request & 0xff), "{name}: {macro_}");
        }
        for (name, value) in [
            ("V4L2_CAP_VIDEO_CAPTURE", CAP_VIDEO_CAPTURE),
            ("V4L2_CAP_STREAMING", CAP_STREAMING),
            ("V4L2_CAP_DEVICE_CAPS", CAP_DEVICE_CAPS),
            ("V4L2_BUF_FLAG_ERROR", BUF_FLAG_ERROR),
            ("V4L2_BUF_FLAG_TIMESTAMP_MASK", BUF_FLAG_TIMESTAMP_MASK),
            (
                "V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC",
                BUF_FLAG_TIMESTAMP_MONOTONIC,
            ),
            ("V4L2_BUF_FLAG_TSTAMP_SRC_MASK", BUF_FLAG_TSTAMP_SRC_MASK),
            ("V4L2_BUF_FLAG_TSTAMP_SRC_SOE", BUF_FLAG_TSTAMP_SRC_SOE),
            ("V4L2_CTRL_FLAG_DISABLED", CTRL_FLAG_DISABLED),
            ("V4L2_CTRL_FLAG_READ_ONLY", CTRL_FLAG_READ_ONLY),
        ] {
            let text = defined(name);
            let hex = text
                .split_whitespace()
                .next()
                .and_then(|t| t.strip_prefix("0x"));
            let defined = hex.and_then(|t| u32::from_str_radix(t, 16).ok());
            assert_eq!(defined, Some(value), "{name}: {text}");
        }
    }
}
