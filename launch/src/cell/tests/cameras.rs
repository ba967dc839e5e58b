//! Cameras, likewise.

use super::*;
use tactus_calibration::{Lens, LensModel};

#[test]
fn cameras_are_described_or_refused() {
    const SO101: &str = include_str!("../../../cells/so101.toml");
    let cell = parsed(SO101).expect("legal");
    let spec = cell.cameras[0].real.as_ref().expect("real");
    assert_eq!(spec.published_size(), (640, 480));
    assert_eq!(spec.frozen_after, Some(Duration::from_millis(500)));
    assert!(
        parsed(DEMO)
            .expect("legal")
            .cameras
            .iter()
            .all(|c| c.real.is_none())
    );
    let with = |lines: &str| {
        let (head, rest) = DEMO.split_once("[[camera]]").expect("cameras");
        let (_, tail) = rest.split_once("[sim]").expect("the simulator");
        parsed(&format!(
            "{head}[[camera]]\nname = \"front\"\nrate_hz = 30\n{lines}\n[sim]{tail}"
        ))
    };
    let sized = |lines: &str| with(&format!("width = 640\nheight = 480\n{lines}"));
    let real = |lines: &str| sized(lines).map(|cell| cell.cameras[0].real.clone().expect("real"));

    let v4l2 = "source = \"v4l2\"\ndevice = \"/dev/video0\"\n";
    let spec = real(&format!("{v4l2}format = \"yuyv\"\nexposure_us = 8000\nwhite_balance_k = 4500\ngain = 3\nlatency_ms = 35\ncrop = [80, 0, 480, 480]\nrotate = 270\nfrozen_ms = 0"))
        .expect("legal");
    let tactus_camera::SourceSpec::V4l2(device) = &spec.source else {
        panic!("{spec:?}");
    };
    assert_eq!(
        (device.exposure_us, device.white_balance_k, device.gain),
        (Some(8000), Some(4500), Some(3))
    );
    assert_eq!(
        (spec.published_size(), spec.frozen_after, spec.latency),
        ((480, 480), None, Duration::from_millis(35))
    );
    let spec =
        real("source = \"video\"\npath = \"v.mp4\"\nrepeat = true\nstepped = true").expect("legal");
    assert!(spec.stepped() && spec.frozen_after.is_none());
    let tactus_camera::SourceSpec::Video(playback) = &spec.source else {
        panic!("{spec:?}");
    };
    assert_eq!(playback.path, Path::new("cells/v.mp4"));
    let lens = "undistort = { fx = 500, fy = 501, cx = 320, cy = 240, k1 = -0.3, k2 = 0.1, p1 = 0, p2 = 0.001 }";
    let spec = real(&format!(
        "source = \"rtsp\"\nurl = \"rtsp://cam/live\"\n{lens}"
    ))
    .expect("legal");
    assert_eq!(
        spec.undistort.expect("a lens").distortion,
        [-0.3, 0.1, 0.0, 0.001, 0.0]
    );
    assert!(sized("source = \"http\"\nurl = \"http://u:p@cam:81/s?x=1\"").is_ok());

    for (lines, wanted) in [
        (String::from("source = \"usb\""), "unknown variant `usb`"),
        (format!("{v4l2}format = \"h264\""), "unknown variant `h264`"),
        (format!("{v4l2}fps = 30"), "unknown field `fps`"),
        (
            String::from("source = \"v4l2\""),
            "`camera.device`: expected a video device, since the source of `front` is v4l2, got nothing",
        ),
        (
            String::from("source = \"http\""),
            "`camera.url`: expected an address",
        ),
        (
            String::from("source = \"folder\""),
            "`camera.path`: expected a path",
        ),
        (
            String::from("source = \"sim\""),
            "`camera.width`: expected it only where camera.source is v4l2, http, rtsp, video, folder, got it for `front`, whose source is sim",
        ),
        (
            format!("{v4l2}url = \"http://cam/\""),
            "`camera.url`: expected it only where camera.source is http, rtsp",
        ),
        (
            String::from("source = \"folder\"\npath = \"x\"\nexposure_us = 100"),
            "`camera.exposure_us`: expected it only where",
        ),
        (
            String::from("source = \"http\"\nurl = \"https://cam/\""),
            "`camera.url`: expected http://HOST",
        ),
        (
            String::from("source = \"rtsp\"\nurl = \"http://cam/\""),
            "`camera.url`: expected rtsp://HOST",
        ),
        (
            format!("{v4l2}exposure_us = 5"),
            "`camera.exposure_us`: expected 100 to 1000000 us, got 5",
        ),
        (
            format!("{v4l2}white_balance_k = 100"),
            "`camera.white_balance_k`: expected 1000 to 20000 K, got 100",
        ),
        (
            format!("{v4l2}rotate = 45"),
            "`camera.rotate`: expected 0, 90, 180 or 270 degrees, clockwise, got 45",
        ),
        (
            format!("{v4l2}crop = [600, 0, 64, 48]"),
            "`camera.crop`: expected [x, y, width, height] inside 640x480, got [600, 0, 64, 48]",
        ),
        (
            format!("{v4l2}crop = [0, 0, 0, 48]"),
            "`camera.crop`: expected [x, y, width, height] inside 640x480",
        ),
        (
            format!("{v4l2}crop = [4294967295, 0, 2, 48]"),
            "`camera.crop`: expected",
        ),
        (
            format!("{v4l2}quality = 0"),
            "`camera.quality`: expected 1 to 100, got 0",
        ),
        (
            format!("{v4l2}latency_ms = 1001"),
            "`camera.latency_ms`: expected 0 to 1000 ms, got 1001",
        ),
        (
            format!("{v4l2}frozen_ms = 1"),
            "`camera.frozen_ms`: expected 20 to 60000 ms, got 1",
        ),
        (
            format!("{v4l2}undistort = \"none.yaml\""),
            "`camera.undistort`: expected a ROS camera_info file, got cells/none.yaml",
        ),
        (
            format!("{v4l2}undistort = 7"),
            "a camera_info file, or { fx",
        ),
        (
            format!("{v4l2}{}", lens.replace("500", "nan")),
            "`camera.undistort`: expected finite numbers, focal lengths > 0",
        ),
    ] {
        let error = sized(&lines).expect_err(&lines);
        assert!(
            error.contains(wanted) && error.contains("cells/x.toml"),
            "{error}"
        );
    }
    let unsized_ = with(v4l2).expect_err("no size");
    assert!(
        unsized_.contains("`camera.width`: expected pixels, since the source of `front` is v4l2"),
        "{unsized_}"
    );
    let huge = with(&format!("width = 640\nheight = 99999\n{v4l2}")).expect_err("too large");
    assert!(
        huge.contains("`camera.height`: expected 1 to 16384 pixels, got 99999"),
        "{huge}"
    );
}

#[test]
fn a_camera_has_to_take_pictures_of_the_size_that_the_bundle_wants() {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/bundle");
    let bundle = tactus_bundle::AnyBundle::open(&bundle).expect("the demo's bundle");
    let (head, rest) = DEMO.split_once("[[camera]]").expect("cameras");
    let (_, tail) = rest.split_once("[sim]").expect("the simulator");
    let with = |size: u32, more: &str| {
        let lines = format!(
            "rate_hz = 20\nsource = \"folder\"\npath = \"x\"\nwidth = {size}\nheight = 240\n{more}"
        );
        let cameras =
            ["scene", "wrist"].map(|name| format!("[[camera]]\nname = \"{name}\"\n{lines}\n"));
        let cell = parsed(&format!("{head}{}[sim]{tail}", cameras.concat())).expect("legal");
        cell.check_sizes(&bundle.outline())
            .map_err(|e| e.to_string())
    };
    assert_eq!(with(320, "crop = [48, 8, 224, 224]"), Ok(()));
    let error = with(320, "").expect_err("too large");
    assert!(
        error.contains("to take 224x224 after crop and rotate, as the bundle wants, got 320x240"),
        "{error}"
    );
    let demo = parsed(DEMO).expect("legal");
    assert!(
        demo.check_sizes(&bundle.outline()).is_ok(),
        "the simulator draws what is wanted"
    );
}

#[test]
fn a_lens_holds_for_pictures_as_they_are_published() {
    let parsed = parsed(include_str!("../../../cells/so101.toml")).expect("legal");
    let camera = parsed.cameras[0].clone();
    let lens = Lens {
        size: (640, 480),
        camera: [520.0, 521.0, 318.0, 242.0],
        model: LensModel::PlumbBob,
        distortion: vec![-0.3, 0.1, 0.001, -0.002, 0.0],
        straight: [500.0, 501.0, 320.0, 240.0],
    };
    let changed = |change: &dyn Fn(&mut tactus_camera::CameraSpec)| {
        let mut camera = camera.clone();
        change(camera.real.as_mut().expect("real"));
        camera.published_lens(&lens).map_err(|e| e.to_string())
    };
    assert_eq!(changed(&|_| ()), Ok(lens.clone()));
    let undistort = changed(&|c| c.undistort = Some(lens.clone()));
    assert_eq!(undistort, Ok(lens.straightened()));
    // How the straight picture is laid out is not the sensor's.
    let laid_out = Lens {
        straight: lens.camera,
        ..lens.clone()
    };
    let undistort = changed(&|c| c.undistort = Some(laid_out.clone()));
    assert_eq!(undistort, Ok(laid_out.straightened()));
    let other = Lens {
        camera: [540.0, 541.0, 318.0, 242.0],
        ..lens.clone()
    };
    type Change<'a> = &'a dyn Fn(&mut tactus_camera::CameraSpec);
    let refusals: [(&str, Change<'_>); 4] = [
        ("camera.undistort: expected the same lens", &|c| {
            c.undistort = Some(other.clone());
        }),
        ("camera.crop, camera.rotate: expected pictures as", &|c| {
            c.rotate = tactus_camera::Rotation::Half;
        }),
        ("camera.crop, camera.rotate: expected pictures as", &|c| {
            c.crop = Some(tactus_camera::Crop {
                x: 0,
                y: 0,
                width: 320,
                height: 240,
            });
        }),
        ("expected the 640x480 of its lens, got 320x240", &|c| {
            (c.width, c.height) = (320, 240);
        }),
    ];
    for (wanted, change) in refusals {
        let said = changed(change).expect_err(wanted);
        assert!(said.contains(wanted), "{said}");
    }
    let mut simulated = camera.clone();
    simulated.real = None;
    assert_eq!(simulated.published_lens(&lens), Ok(lens));
}
