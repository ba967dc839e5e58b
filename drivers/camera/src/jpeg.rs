//! What is a whole JPEG file. The picture's own bytes are never touched: what a device appended after the end is cut off,
//! and the Huffman tables that MJPEG leaves out (ITU-T T.81, tables K.3 to K.6, which then hold) are put in.

/// Largest file, bytes: the wire's.
const MAX_BYTES: usize = 16 << 20;

/// The standard Huffman tables as one DHT segment: `marker length`, then for each table its class and id, how many codes
/// there are of each length, and the values. Source: ITU-T T.81, annex K.3.3.
#[rustfmt::skip]
const STANDARD_TABLES: [u8; 420] = [
    0xff, 0xc4, 0x01, 0xa2,
    // K.3: luminance, DC
    0x00, 0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0,
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    // K.5: luminance, AC
    0x10, 0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7d,
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
    0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
    0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
    0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
    0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
    0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
    0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
    0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
    0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
    0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
    // K.4: chrominance, DC
    0x01, 0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0,
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
    // K.6: chrominance, AC
    0x11, 0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 0x77,
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
    0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
    0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
    0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
    0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
    0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
    0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
    0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
    0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
    0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
    0xf9, 0xfa,
];

/// Why bytes are no whole JPEG file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoJpeg {
    /// More than the wire carries.
    #[error("a JPEG of {actual} bytes, expected at most {MAX_BYTES}")]
    Large {
        /// Bytes.
        actual: usize,
    },
    /// It does not begin as one.
    #[error("no JPEG: it does not begin with ff d8")]
    Start,
    /// Its segments make no sense.
    #[error("a broken JPEG: {what}")]
    Segments {
        /// What is wrong with them.
        what: &'static str,
    },
    /// It has no end.
    #[error("a JPEG cut short: no ff d9 after its picture")]
    End,
}

/// Checks that `file` holds a whole JPEG file and makes it that and nothing else. Returns its width and height, pixels.
///
/// # Errors
/// [`NoJpeg`]; `file` is then unchanged.
pub fn complete(file: &mut Vec<u8>) -> Result<(u32, u32), NoJpeg> {
    if file.len() > MAX_BYTES {
        return Err(NoJpeg::Large { actual: file.len() });
    }
    let Header {
        size,
        has_tables,
        scan,
    } = header(file)?;
    let end = file
        .get(scan..)
        .and_then(|picture| picture.windows(2).rposition(|pair| pair == [0xff, 0xd9]))
        .ok_or(NoJpeg::End)?;
    file.truncate(scan + end + 2);
    if !has_tables {
        file.splice(scan..scan, STANDARD_TABLES);
    }
    Ok(size)
}

struct Header {
    size: (u32, u32),
    has_tables: bool,
    /// Where its first scan begins.
    scan: usize,
}

/// Walks the segments up to the first scan.
fn header(file: &[u8]) -> Result<Header, NoJpeg> {
    if !file.starts_with(&[0xff, 0xd8]) {
        return Err(NoJpeg::Start);
    }
    let broken = |what| NoJpeg::Segments { what };
    let (mut at, mut size, mut has_tables) = (2, None, false);
    loop {
        let Some([0xff, marker]) = file
            .get(at..at + 2)
            .and_then(|m| <[u8; 2]>::try_from(m).ok())
        else {
            return Err(broken("a marker is missing"));
        };
        if marker == 0xff {
            at += 1; // A fill byte.
            continue;
        }
        let length = file
            .get(at + 2..at + 4)
            .map(|l| usize::from(l[0]) << 8 | usize::from(l[1]));
        let length = length
            .filter(|l| *l >= 2)
            .ok_or(broken("a segment has no length"))?;
        let segment = file
            .get(at + 4..at + 2 + length)
            .ok_or(broken("a segment is cut short"))?;
        match marker {
            // Baseline, extended, progressive.
            0xc0..=0xc2 => match segment {
                [8, h1, h0, w1, w0, ..] => {
                    let side = |high: u8, low: u8| u32::from(high) << 8 | u32::from(low);
                    size = Some((side(*w1, *w0), side(*h1, *h0)));
                }
                _ => return Err(broken("its samples do not have eight bits")),
            },
            0xc4 => has_tables = true,
            0xda => {
                let size = size.filter(|(w, h)| *w > 0 && *h > 0);
                return Ok(Header {
                    size: size.ok_or(broken("it does not say its size"))?,
                    has_tables,
                    scan: at,
                });
            }
            0xd8 | 0xd9 => return Err(broken("it ends before its picture")),
            _ => {}
        }
        at += 2 + length;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::picture::{self, Picture};

    /// A picture of `width` x `height` with a pattern, as a JPEG.
    pub(crate) fn sample(width: u32, height: u32, seed: u8) -> Vec<u8> {
        picture::encode(&pattern(width, height, seed), 90).expect("encoded")
    }

    /// A picture with a pattern.
    pub(crate) fn pattern(width: u32, height: u32, seed: u8) -> Picture {
        let mut rgb = Vec::new();
        for y in 0..height {
            for x in 0..width {
                rgb.extend([(x * 3) as u8 ^ seed, (y * 5) as u8, (x + y) as u8 ^ seed]);
            }
        }
        Picture { width, height, rgb }
    }

    /// The position of the only DHT segments: (start, end) of each, last first.
    fn without_tables(mut file: Vec<u8>) -> Vec<u8> {
        let mut at = 2;
        while file[at + 1] != 0xda {
            let length = 2 + (usize::from(file[at + 2]) << 8 | usize::from(file[at + 3]));
            match file[at + 1] {
                0xc4 => drop(file.drain(at..at + length)),
                _ => at += length,
            }
        }
        file
    }

    #[test]
    fn a_whole_file_is_not_touched() {
        let file = sample(64, 48, 1);
        let mut same = file.clone();
        assert_eq!(complete(&mut same), Ok((64, 48)));
        assert_eq!(same, file);
    }

    #[test]
    fn what_a_device_appends_is_cut_off() {
        let file = sample(64, 48, 1);
        let mut padded = file.clone();
        padded.extend([0; 1000]);
        assert_eq!(complete(&mut padded), Ok((64, 48)));
        assert_eq!(padded, file);
    }

    #[test]
    fn the_tables_that_mjpeg_leaves_out_are_put_in_and_the_picture_is_the_same() {
        let file = sample(64, 48, 1);
        let mut bare = without_tables(file.clone());
        assert!(bare.len() + 400 < file.len());
        assert!(
            picture::decode(&bare).is_err(),
            "else there is nothing to put in"
        );
        assert_eq!(complete(&mut bare), Ok((64, 48)));
        assert_eq!(
            picture::decode(&bare).expect("decoded"),
            picture::decode(&file).expect("decoded")
        );
    }

    #[test]
    fn what_is_no_whole_file_is_refused_in_words() {
        let file = sample(64, 48, 1);
        for (cut, wanted) in [
            (0, "does not begin"),
            (1, "does not begin"),
            (2, "a marker is missing"),
            (5, "no length"),
            (10, "cut short"),
            (file.len() - 2, "cut short: no ff d9"),
        ] {
            let error = complete(&mut file[..cut].to_vec())
                .expect_err("cut")
                .to_string();
            assert!(error.contains(wanted), "{cut}: {error}");
        }
        assert_eq!(complete(&mut b"<html>".to_vec()), Err(NoJpeg::Start));
        let large = NoJpeg::Large {
            actual: MAX_BYTES + 1,
        };
        assert_eq!(complete(&mut vec![0xff; MAX_BYTES + 1]), Err(large));
        let ended = complete(&mut vec![0xff, 0xd8, 0xff, 0xd9, 0, 2]);
        assert!(ended.is_err(), "{ended:?}");
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_refused_or_a_file_and_never_a_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in 0usize..400,
            byte in any::<u8>(),
        ) {
            let _ = complete(&mut bytes.clone());
            bytes.splice(0..0, [0xff, 0xd8, 0xff]);
            let _ = complete(&mut bytes);
            let mut file = sample(16, 16, 1);
            if let Some(b) = file.get_mut(at) {
                *b = byte;
            }
            let _ = complete(&mut file);
        }
    }
}
