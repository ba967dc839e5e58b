//! The lens, from rendered boards with a known truth.

mod scene;

use scene::{Spoilt, Studio, USUAL, lens, truth};
use tactus_calibration::exchange::{Answer, View};
use tactus_calibration::{Board, Lens, LensModel, camera_info};
use tactus_fit::{find, gauge, intrinsics};

fn views(
    studio: &mut Studio,
    board: &Board,
    count: usize,
    tilt_deg: f64,
    spoilt: Spoilt,
) -> Vec<View> {
    let mut views = Vec::new();
    for k in 0..count * 3 {
        let pose = studio.pose(tilt_deg);
        let picture = studio.shot(&pose, spoilt);
        if let Ok(view) = find::board(board, &picture, &format!("view {k}")) {
            for corner in &view.corners {
                let [u, v] = truth(board, &studio.lens, &pose, corner.id);
                let off = (corner.pixel[0] - u).hypot(corner.pixel[1] - v);
                assert!(
                    off < 1.5,
                    "{}: corner {} is off by {off} px",
                    view.name,
                    corner.id
                );
            }
            views.push(view);
        }
        if views.len() == count {
            return views;
        }
    }
    panic!("{} of {count} views", views.len());
}

fn fitted(answer: Result<Answer, String>) -> (Lens, tactus_calibration::IntrinsicsQuality) {
    match answer.unwrap_or_else(|e| panic!("{e}")) {
        Answer::Intrinsics { lens, quality, .. } => (lens, quality),
        other => panic!("{other:?}"),
    }
}

/// Focal lengths within 0.3 %, centre within 2 px, held-out error below 0.3 px, and deviations that tell the truth.
fn holds(wanted: &Lens, got: &Lens, quality: &tactus_calibration::IntrinsicsQuality) {
    println!(
        "{:?} {:?}\n{:?}\n{quality:?}",
        got.model, got.camera, got.distortion
    );
    for i in 0..2 {
        let off = (got.camera[i] / wanted.camera[i] - 1.0).abs();
        assert!(off < 0.003, "focal length off by {} %", off * 100.0);
        let off = (got.camera[i + 2] - wanted.camera[i + 2]).abs();
        assert!(off < 2.0, "centre off by {off} px");
    }
    assert!(quality.held_out_rms_px < 0.3, "{quality:?}");
    for i in 0..4 {
        let (off, std) = ((got.camera[i] - wanted.camera[i]).abs(), quality.std_px[i]);
        assert!(
            off < 5.0 * std + 0.2 && std < 3.0,
            "{i}: off by {off}, said {std}"
        );
    }
}

#[test]
fn a_lens_is_found_from_25_rendered_views() {
    let board = Board::default();
    for (seed, model) in LensModel::ALL.into_iter().enumerate() {
        let wanted = lens(model);
        let mut studio = Studio::new(board, wanted.clone(), seed as u64);
        let views = views(&mut studio, &board, 25, 42.0, USUAL);
        let (got, quality) = fitted(intrinsics::fit(&board, model, &views, None));
        holds(&wanted, &got, &quality);
        // From a known lens on, and verified by it.
        let (again, _) = fitted(intrinsics::fit(&board, model, &views, Some(&got)));
        assert!((again.camera[0] - got.camera[0]).abs() < 0.05);
        let Ok(Answer::Verified { rms_px, .. }) = intrinsics::verify(&board, &wanted, &views)
        else {
            panic!("not verified");
        };
        assert!(rms_px < 0.3, "{rms_px}");
        assert!(camera_info::write("front", &got, &quality).contains(model.word()));
    }
}

#[test]
fn a_chessboard_will_do() {
    let board: Board = "chessboard:9x6:25".parse().expect("legal");
    let wanted = lens(LensModel::PlumbBob);
    let mut studio = Studio::new(board, wanted.clone(), 11);
    let mut seen = Vec::new();
    for k in 0..80 {
        let pose = studio.pose(42.0);
        let picture = studio.shot(&pose, USUAL);
        let Ok(view) = find::board(&board, &picture, &format!("view {k}")) else {
            continue;
        };
        for corner in &view.corners {
            let [u, v] = truth(&board, &wanted, &pose, corner.id);
            assert!(
                (corner.pixel[0] - u).hypot(corner.pixel[1] - v) < 1.0,
                "the right way up"
            );
        }
        seen.push(view);
        if seen.len() == 25 {
            break;
        }
    }
    let (got, quality) = fitted(intrinsics::fit(&board, wanted.model, &seen, None));
    holds(&wanted, &got, &quality);
}

#[test]
fn a_view_that_does_not_belong_is_left_out() {
    let board = Board::default();
    let wanted = lens(LensModel::PlumbBob);
    let mut studio = Studio::new(board, wanted.clone(), 5);
    let mut views = views(&mut studio, &board, 25, 42.0, USUAL);
    // The board moved while the picture was read out.
    for corner in &mut views[7].corners {
        corner.pixel[0] += corner.pixel[1] * corner.pixel[1] * 1e-4;
    }
    let answer = intrinsics::fit(&board, wanted.model, &views, None);
    let Ok(Answer::Intrinsics { errors_px, .. }) = &answer else {
        panic!("{answer:?}");
    };
    assert_eq!(errors_px[7], None);
    let (got, quality) = fitted(answer);
    assert_eq!((quality.views, quality.rejected), (24, 1));
    holds(&wanted, &got, &quality);
}

#[test]
fn what_cannot_be_used_is_refused_with_the_reason() {
    let board = Board::default();
    let wanted = lens(LensModel::PlumbBob);
    let mut studio = Studio::new(board, wanted.clone(), 3);
    let good = views(&mut studio, &board, 16, 42.0, USUAL);
    let refused = |views: &[View]| {
        let answer = intrinsics::fit(&board, wanted.model, views, None);
        answer.expect_err("refused")
    };
    let said = refused(&good[..9]);
    assert!(
        said.contains("too few views: expected at least 12 with the board, got 9"),
        "{said}"
    );
    assert!(refused(&[]).contains("got none"));
    let mut other = good.clone();
    other[3].size = (320, 240);
    let said = refused(&other);
    assert!(
        said.contains("expected 640x480 as view") && said.contains("got 320x240"),
        "{said}"
    );
    // Flat views do not say how long the lens is.
    let flat = views(&mut studio, &board, 14, 2.0, USUAL);
    let said = refused(&flat);
    assert!(
        said.contains("focal length") || said.contains("no lens is like this"),
        "{said}"
    );

    let pose = studio.pose(20.0);
    let mut shot = |spoilt: Spoilt, board: &Board| {
        let picture = studio.shot(&pose, spoilt);
        let view = find::board(board, &picture, "f.png")?;
        let seen = gauge::seen(board, &picture, &view)?;
        println!("{seen:?}");
        match seen.refusal("f.png") {
            Some(reason) => Err(reason),
            None => Ok(view),
        }
    };
    assert!(shot(USUAL, &board).expect("good").corners.len() > 20);
    for (blur_px, white, wanted) in [
        (3.5, 215.0, "blurred"),
        (9.0, 215.0, "f.png: "),
        (0.7, 330.0, "overexposed"),
        (0.7, 55.0, "f.png: "),
    ] {
        let spoilt = Spoilt {
            blur_px,
            white,
            noise: 1.0,
        };
        let said = shot(spoilt, &board).expect_err(wanted);
        assert!(said.contains(wanted), "{said}");
    }
    for other in [
        "charuco:5x7:35:26",
        "charuco:9x7:35:26",
        "charuco:7x5:35:18",
        "chessboard:9x6:25",
    ] {
        let said = shot(USUAL, &other.parse().expect("legal")).expect_err(other);
        println!("{other}: {said}");
        assert!(said.contains("of other dimensions"), "{said}");
    }
}

/// The dictionary and the layout are OpenCV's: its own picture of a board (`CharucoBoard::generateImage` of 5.0) is found, and is
/// bit for bit what is drawn here.
#[test]
fn boards_are_those_of_opencv() {
    let bytes = include_bytes!("opencv-charuco-7x5.png");
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().expect("a PNG");
    let mut grey = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut grey).expect("whole");
    assert_eq!(
        (info.width, info.height, info.color_type),
        (560, 400, png::ColorType::Grayscale)
    );
    let board: Board = "charuco:7x5:40:30".parse().expect("legal");
    let (width, height, drawn) = tactus_calibration::drawing::raster(&board, 2000.0, 0);
    assert_eq!((width, height), (560, 400));
    let differ = grey.iter().zip(&drawn).filter(|(a, b)| a != b).count();
    assert_eq!(differ, 0, "pixels");
    let picture = find::Grey::new((560, 400), grey).expect("a picture");
    let view = find::board(&board, &picture, "OpenCV's").expect("found");
    assert_eq!(view.corners.len(), 24);
    for corner in view.corners {
        let [x, y] = board.corner_m(corner.id).map(|m| m * 2000.0 - 0.5);
        assert!(
            (corner.pixel[0] - x).hypot(corner.pixel[1] - y) < 0.1,
            "{corner:?}"
        );
    }
}
