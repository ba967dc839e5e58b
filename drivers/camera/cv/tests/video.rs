//! What OpenCV does for us: video files and RTSP, through `tactus-cv`; and what it says of our straightening. The files are
//! OpenCV's own; the RTSP server is ours, and speaks RFC 2326 and RFC 2435 to FFmpeg, which knows nothing of us.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use opencv::core::{Mat, Scalar, Size, Vec3b};
use opencv::prelude::*;
use opencv::videoio::VideoWriter;
use opencv::{calib3d, core, imgproc};
use tactus_calibration::{Lens, LensModel};
use tactus_camera::lens::Straightener;
use tactus_camera::picture::Picture;
use tactus_camera::source::Pixels;
use tactus_camera::spec::PlaybackSpec;
use tactus_camera::video::{Stream, play};
use tactus_camera::{CameraError, Source};
use tactus_drivers_api::wire::{CaptureClock, MonotonicClock};
use tactus_types::Clock;

fn clock() -> Arc<dyn Clock> {
    Arc::new(MonotonicClock::new().expect("boot id"))
}

/// Grey of frame `k`.
fn grey(k: u8) -> u8 {
    20 + 20 * k
}

/// A video of ten frames, each of one colour: grey, and red above it.
fn write_video(file: &Path) {
    let fourcc = VideoWriter::fourcc('M', 'J', 'P', 'G').expect("a format");
    let size = Size::new(64, 48);
    let mut writer =
        VideoWriter::new(file.to_str().expect("text"), fourcc, 25.0, size, true).expect("a writer");
    assert!(writer.is_opened().expect("opened"));
    for k in 0..10 {
        let grey = f64::from(grey(k));
        // Blue, green, red.
        let colour = Scalar::new(grey, grey, 255.0, 0.0);
        let frame = Mat::new_size_with_default(size, core::CV_8UC3, colour).expect("a frame");
        writer.write(&frame).expect("written");
    }
    writer.release().expect("closed");
}

#[test]
fn a_video_file_plays_ends_and_repeats_with_red_first() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("v.avi");
    write_video(&file);
    let spec = |repeat| PlaybackSpec {
        path: file.clone(),
        repeat,
        stepped: true,
    };
    let mut once = play(&spec(false), 25.0, clock()).unwrap_or_else(|e| panic!("{e}"));
    for k in 0..10 {
        let shot = once.next(Duration::ZERO).expect("read").expect("a frame");
        assert_eq!(
            (shot.size, shot.pixels, shot.clock),
            ((64, 48), Pixels::Rgb8, CaptureClock::Playback)
        );
        for (byte, wanted) in shot.data.iter().zip([255, grey(k), grey(k)].iter().cycle()) {
            assert!(
                byte.abs_diff(*wanted) < 16,
                "frame {k}: {byte}, not {wanted}"
            );
        }
    }
    let ended = once.next(Duration::ZERO).expect_err("the end");
    assert!(matches!(ended, CameraError::Ended { .. }), "{ended}");
    let mut forever = play(&spec(true), 25.0, clock()).unwrap_or_else(|e| panic!("{e}"));
    let first: Vec<u8> = (0..25)
        .map(|_| {
            forever
                .next(Duration::ZERO)
                .expect("read")
                .expect("a frame")
                .data[1]
        })
        .collect();
    assert!(
        first[0].abs_diff(first[10]) < 4
            && first[9].abs_diff(first[19]) < 4
            && first[0] + 50 < first[9],
        "{first:?}"
    );
}

#[test]
fn what_is_no_video_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("v.mp4");
    let refused = |path: &Path| {
        let spec = PlaybackSpec {
            path: path.into(),
            repeat: false,
            stepped: false,
        };
        match play(&spec, 25.0, clock()) {
            Ok(_) => panic!("played"),
            Err(e) => e,
        }
    };
    let missing = refused(&file);
    assert!(
        missing.is_wrong() && missing.to_string().contains("No such file"),
        "{missing}"
    );
    std::fs::write(&file, "no video").expect("written");
    let broken = refused(&file);
    assert!(
        broken.is_wrong()
            && broken
                .to_string()
                .contains("expected a video that FFmpeg can read"),
        "{broken}"
    );
}

fn lens(model: LensModel, distortion: &[f64]) -> Lens {
    Lens {
        size: (320, 240),
        camera: [210.0, 205.0, 158.5, 121.25],
        model,
        distortion: distortion.into(),
        straight: [190.0, 188.0, 160.0, 120.0],
    }
}

const LENSES: [(LensModel, &[f64]); 3] = [
    (LensModel::PlumbBob, &[-0.31, 0.09, 0.002, -0.003, -0.01]),
    (
        LensModel::RationalPolynomial,
        &[0.4, -0.2, 0.001, 0.002, 0.05, 0.6, -0.1, 0.03],
    ),
    (LensModel::Equidistant, &[-0.03, 0.01, -0.004, 0.001]),
];

/// OpenCV's map of where each straight pixel is seen, and what it makes of `picture` with it.
fn opencv_straightens(lens: &Lens, picture: &Picture) -> (Vec<[f32; 2]>, Vec<u8>) {
    let straightened = || -> opencv::Result<(Vec<[f32; 2]>, Vec<u8>)> {
        let matrix = |[fx, fy, cx, cy]: [f64; 4]| {
            Mat::from_slice_2d(&[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        };
        let (camera, straight) = (matrix(lens.camera)?, matrix(lens.straight)?);
        let distortion = Mat::from_slice(&lens.distortion)?;
        let turn = Mat::eye(3, 3, core::CV_64F)?.to_mat()?;
        let size = Size::new(lens.size.0 as i32, lens.size.1 as i32);
        let (mut x, mut y) = (Mat::default(), Mat::default());
        match lens.model {
            LensModel::Equidistant => calib3d::fisheye_init_undistort_rectify_map(
                &camera,
                &distortion,
                &turn,
                &straight,
                size,
                core::CV_32FC1,
                &mut x,
                &mut y,
            )?,
            _ => calib3d::init_undistort_rectify_map(
                &camera,
                &distortion,
                &turn,
                &straight,
                size,
                core::CV_32FC1,
                &mut x,
                &mut y,
            )?,
        }
        let from = Mat::new_rows_cols_with_bytes::<Vec3b>(size.height, size.width, &picture.rgb)?;
        let mut to = Mat::default();
        let black = Scalar::default();
        imgproc::remap(
            &from,
            &mut to,
            &x,
            &y,
            imgproc::INTER_LINEAR,
            core::BORDER_CONSTANT,
            black,
        )?;
        let xs = x.data_typed::<f32>()?;
        let map = xs.iter().zip(y.data_typed::<f32>()?).map(|(x, y)| [*x, *y]);
        Ok((map.collect(), to.data_bytes()?.to_vec()))
    };
    straightened().unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn pictures_are_straightened_as_opencv_does_it() {
    let (w, h) = (320_u32, 240_u32);
    let rgb = (0..h).flat_map(|y| {
        (0..w).flat_map(move |x| {
            let wave = |a: f64| {
                (127.0 + 120.0 * (f64::from(x) * a).sin() * (f64::from(y) * a * 0.8).cos()) as u8
            };
            [wave(0.05), wave(0.09), wave(0.13)]
        })
    });
    let picture = Picture {
        width: w,
        height: h,
        rgb: rgb.collect(),
    };
    for (model, distortion) in LENSES {
        let lens = lens(model, distortion);
        lens.check().expect("a lens");
        let (map, wanted) = opencv_straightens(&lens, &picture);
        let moved = map.iter().zip(0..).map(|([x, y], k)| {
            let (u, v) = (f64::from(k % w), f64::from(k / w));
            let [a, b] = lens.seen([u, v]);
            assert!(
                (a - f64::from(*x)).abs() < 1e-3 && (b - f64::from(*y)).abs() < 1e-3,
                "{model:?} {u},{v}: {a},{b}, not {x},{y}"
            );
            (a - u).hypot(b - v)
        });
        assert!(
            moved.fold(0.0, f64::max) > 5.0,
            "{model:?}: nothing to straighten"
        );
        let straight = Straightener::new(&lens)
            .straighten(&picture)
            .unwrap_or_else(|e| panic!("{e}"));
        let mut compared = 0;
        for (k, (is, wanted)) in straight.rgb.iter().zip(&wanted).enumerate() {
            let [x, y] = map[k / 3];
            // At the edge OpenCV blends with black, and this is black.
            if x >= 0.0 && y >= 0.0 && x <= w as f32 - 1.0 && y <= h as f32 - 1.0 {
                assert!(
                    is.abs_diff(*wanted) <= 3,
                    "{model:?} {}: {is}, not {wanted}",
                    k / 3
                );
                compared += 1;
            } else {
                assert_eq!(*is, 0);
            }
        }
        assert!(compared > 100_000, "{compared}");
    }
    let other = Picture {
        width: 8,
        height: 8,
        rgb: vec![0; 192],
    };
    let refused = Straightener::new(&lens(LensModel::PlumbBob, &[0.0; 5])).straighten(&other);
    assert!(
        refused
            .expect_err("another size")
            .to_string()
            .contains("expected 320x240, got 8x8")
    );
}

/// A JPEG in the shape that RFC 2435 carries: 4:2:0, baseline, standard Huffman tables.
fn jpeg(k: u8) -> Vec<u8> {
    let rgb = [255, grey(k), grey(k)].repeat(64 * 48);
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 80);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder
        .encode(&rgb, 64, 48, ColorType::Rgb)
        .expect("encoded");
    file
}

/// Quantisation tables and the scan of a JPEG file.
fn taken_apart(file: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut tables, mut at) = (Vec::new(), 2);
    loop {
        let length = usize::from(file[at + 2]) << 8 | usize::from(file[at + 3]);
        let segment = &file[at + 4..at + 2 + length];
        match file[at + 1] {
            0xdb => segment
                .chunks(65)
                .for_each(|table| tables.extend(&table[1..])),
            0xda => return (tables, file[at + 2 + length..file.len() - 2].to_vec()),
            _ => {}
        }
        at += 2 + length;
    }
}

/// The RTP packets of frame `k`, without their framing. RFC 2435, sections 3.1 and 3.1.8.
fn packets(k: u32, sequence: &mut u16) -> Vec<Vec<u8>> {
    let (tables, scan) = taken_apart(&jpeg((k % 10) as u8));
    assert_eq!(tables.len(), 128);
    let (mut packets, mut offset) = (Vec::new(), 0);
    for part in scan.chunks(1000) {
        let last = offset + part.len() == scan.len();
        let mut packet = vec![0x80, 26 | if last { 0x80 } else { 0 }];
        packet.extend(sequence.to_be_bytes());
        *sequence = sequence.wrapping_add(1);
        packet.extend((k * 3600).to_be_bytes());
        packet.extend([0, 0, 0, 7]);
        packet.extend([0, (offset >> 16) as u8, (offset >> 8) as u8, offset as u8]);
        // 4:2:0, tables in band, size in eights.
        packet.extend([1, 255, 64 / 8, 48 / 8]);
        if offset == 0 {
            packet.extend([0, 0, 0, 128]);
            packet.extend(&tables);
        }
        packet.extend(part);
        offset += part.len();
        packets.push(packet);
    }
    packets
}

/// Serves one client after the other: so many frames each, 25 a second, then the line is cut.
fn rtsp_server(frames: u32) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::Builder::new()
        .name("rtsp".into())
        .spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let _ = serve(&stream, address, frames);
            }
        })
        .expect("a thread");
    address
}

fn serve(mut stream: &TcpStream, address: SocketAddr, frames: u32) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    loop {
        let mut request = Vec::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.is_empty() {
                break;
            }
            request.push(line);
        }
        let Some(first) = request.first() else {
            return Ok(());
        };
        let number = request
            .iter()
            .find_map(|l| l.strip_prefix("CSeq: "))
            .unwrap_or("0")
            .to_owned();
        let verb = first.split(' ').next().unwrap_or_default();
        let (fields, body) = match verb {
            "OPTIONS" => (
                "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n".to_owned(),
                String::new(),
            ),
            "DESCRIBE" => {
                let body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=framerate:25\r\na=control:track\r\n";
                let fields = format!(
                    "Content-Base: rtsp://{address}/\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n",
                    body.len()
                );
                (fields, body.to_owned())
            }
            "SETUP" => (
                "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7\r\n".to_owned(),
                String::new(),
            ),
            _ => ("Session: 7\r\n".to_owned(), String::new()),
        };
        stream.write_all(
            format!("RTSP/1.0 200 OK\r\nCSeq: {number}\r\n{fields}\r\n{body}").as_bytes(),
        )?;
        if verb == "PLAY" {
            let mut sequence = 0;
            for k in 0..frames {
                for packet in packets(k, &mut sequence) {
                    stream.write_all(&[b'$', 0])?;
                    stream.write_all(&(packet.len() as u16).to_be_bytes())?;
                    stream.write_all(&packet)?;
                }
                std::thread::sleep(Duration::from_millis(40));
            }
            return Ok(());
        }
        if verb == "TEARDOWN" {
            return Ok(());
        }
    }
}

#[test]
fn an_rtsp_stream_is_received_and_its_end_is_noticed_and_it_can_be_opened_again() {
    let url = format!("rtsp://lab:secret@{}/live", rtsp_server(12));
    for visit in 0..2 {
        let clock = clock();
        let mut stream =
            Stream::connect(&url, clock.clone()).unwrap_or_else(|e| panic!("visit {visit}: {e}"));
        let mut frames = 0;
        let begun = Instant::now();
        let ended = loop {
            match stream.next(Duration::from_millis(100)) {
                Ok(Some(shot)) => {
                    assert_eq!((shot.size, shot.clock), ((64, 48), CaptureClock::Arrival));
                    assert!(shot.data[0] > 230, "red comes first: {:?}", &shot.data[..3]);
                    assert!(clock.now().since(shot.captured_at) < Duration::from_secs(1));
                    frames += 1 + shot.passed_over;
                }
                Ok(None) => {}
                Err(e) => break e,
            }
        };
        assert!(frames >= 9, "visit {visit}: {frames}");
        assert!(begun.elapsed() < Duration::from_secs(8));
        assert!(!ended.is_wrong(), "{ended}");
        assert!(!ended.to_string().contains("secret"), "{ended}");
    }
}

#[test]
fn a_reader_that_is_slower_than_an_rtsp_stream_gets_the_newest_pictures() {
    let url = format!("rtsp://{}/live", rtsp_server(60));
    let mut stream = Stream::connect(&url, clock()).unwrap_or_else(|e| panic!("{e}"));
    let (mut came, mut passed_over) = (0, 0);
    while let Ok(shot) = stream.next(Duration::from_millis(100)) {
        came += u32::from(shot.is_some());
        passed_over += shot.map_or(0, |shot| shot.passed_over);
        // Four pictures come in this time.
        std::thread::sleep(Duration::from_millis(160));
    }
    assert!(came > 3 && came < 30, "{came}, not one in four");
    assert!(
        passed_over > came && came + passed_over <= 60,
        "{came}, {passed_over}"
    );
}

#[test]
fn a_server_that_is_not_there_is_lost_and_not_wrong() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port");
    let lost = match Stream::connect(&format!("rtsp://{closed}/live"), clock()) {
        Ok(_) => panic!("connected"),
        Err(e) => e,
    };
    assert!(
        !lost.is_wrong()
            && lost
                .to_string()
                .contains("expected a video that FFmpeg can read"),
        "{lost}"
    );
}
