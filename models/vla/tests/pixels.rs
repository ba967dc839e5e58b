//! Images of real cameras' sizes through the runtime's preprocessing, held against what transformers' processors made of
//! them (`models/export/tactus_export/pixels.py`, which keeps every so many-th number).

use std::path::{Path, PathBuf};

use safetensors::{SafeTensors, tensor::TensorView};
use tactus_bundle::{Bundle, CameraSpec, Processor, Scaling, Vision};
use tactus_pixels::{Resample, Size};
use tactus_types::{CameraFrame, Encoding, Time};
use tactus_vla::{
    images::Images,
    patch::{Grid, Patcher},
    resize::smart_resize,
};

/// Distances between kept numbers.
const RESIZED: usize = 997;
const PIXEL_VALUES: usize = 3989;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../export/tests/bundles/pixels.safetensors")
}

/// The real checkpoints' settings.
fn processor_of(word: &str) -> Processor {
    match word {
        "pil" => Processor::Pil,
        "torchvision" => Processor::Torchvision,
        other => panic!("processor {other}"),
    }
}

fn vision(family: &str, processor: &str) -> Vision {
    let processor = processor_of(processor);
    let qwen2_5 = Vision {
        patch: 14,
        temporal_patch: 2,
        merge: 2,
        window: 112,
        position_table: 0,
        deepstack: 0,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
        std: [0.268_629_54, 0.261_302_58, 0.275_777_11],
        min_pixels: 3136,
        max_pixels: 12_845_056,
        scaling: Scaling::Bicubic(processor),
    };
    match family {
        "qwen2_5_vl" => qwen2_5,
        "qwen3_vl" => Vision {
            patch: 16,
            mean: [0.5; 3],
            std: [0.5; 3],
            min_pixels: 65_536,
            max_pixels: 16_777_216,
            ..qwen2_5
        },
        other => panic!("family {other}"),
    }
}

/// The image of the same name in `pixels.py`.
fn image(size: Size) -> Vec<u8> {
    let mut out = Vec::with_capacity(size.rgb_len());
    for y in 0..size.height as u32 {
        for x in 0..size.width as u32 {
            for c in 0..3_u32 {
                let noise = x.wrapping_mul(0x9E37_79B1)
                    ^ y.wrapping_mul(0x85EB_CA77)
                    ^ c.wrapping_mul(0xC2B2_AE3D);
                let noise = noise ^ (noise >> 15);
                out.push(((3 * x + 5 * y) / 4 % 192 + (noise >> 8) % 64) as u8);
            }
        }
    }
    out
}

fn numbers<const N: usize, T>(tensor: &TensorView<'_>, read: fn([u8; N]) -> T) -> Vec<T> {
    let bytes = tensor.data().as_chunks().0;
    bytes.iter().copied().map(read).collect()
}

#[test]
fn of_real_cameras_are_the_processors_own() {
    let bytes = std::fs::read(file()).expect("golden pixels");
    let golden = SafeTensors::deserialize(&bytes).expect("golden pixels");
    let names = golden.names();
    let cases: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_suffix(".grid"))
        .collect();
    assert_eq!(cases.len(), 16, "{cases:?}");
    let (mut off, mut kept) = (0_u64, 0);
    for case in cases {
        let tensor = |name: &str| golden.tensor(&format!("{case}.{name}")).expect("a tensor");
        let [family, processor, camera] = case.split('.').collect::<Vec<_>>()[..] else {
            panic!("{case}");
        };
        let (width, height) = camera.split_once('x').expect("a size");
        let from = Size {
            width: width.parse().expect("pixels"),
            height: height.parse().expect("pixels"),
        };
        let vision = vision(family, processor);
        let to = smart_resize(from, &vision).expect("a size");
        let grid = Grid::of(to, &vision);
        let expected = numbers(&tensor("grid"), i64::from_le_bytes);
        assert_eq!(
            [grid.rows as i64, grid.columns as i64],
            expected[..],
            "{case}"
        );

        let mut resized = vec![0; to.rgb_len()];
        Resample::bicubic(from, to, processor_of(processor)).run(&image(from), &mut resized);
        let ours = resized.iter().step_by(RESIZED);
        let view = tensor("resized");
        assert_eq!(ours.len(), view.data().len(), "{case}");
        for (at, (ours, theirs)) in ours.zip(view.data()).enumerate() {
            let level = ours.abs_diff(*theirs);
            assert!(
                level <= 1,
                "{case}: byte {}: {ours} for {theirs}",
                at * RESIZED
            );
            off += u64::from(level);
            kept += 1;
        }

        let mut patches = vec![f32::NAN; grid.patches() * vision.row_len()];
        assert!(Patcher::new(&vision).run(&resized, grid, &mut patches));
        let theirs = numbers(&tensor("pixel_values"), f32::from_le_bytes);
        let ours = patches.iter().step_by(PIXEL_VALUES);
        assert_eq!(ours.len(), theirs.len(), "{case}");
        // One grey level where the resized byte is another, and nearly nothing elsewhere.
        let level = 1.0 / (255.0 * vision.std.iter().fold(f64::INFINITY, |a, b| a.min(*b)));
        let errors = ours.zip(&theirs).map(|(a, b)| f64::from((a - b).abs()));
        let errors: Vec<f64> = errors.map(|error| error / level).collect();
        assert!(errors.iter().all(|error| *error <= 1.01), "{case}");
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!(mean <= 1e-3, "{case}: {mean} grey levels off on average");
    }
    let mean = off as f64 / f64::from(kept);
    assert!(mean <= 1e-3, "{off} of {kept} bytes are a grey level off");
    println!("{off} of {kept} bytes are a grey level off");
}

/// Pictures of these sizes and encodings, each another, for the demo's policy at Qwen2.5-VL's usual sizes.
fn several(frames: &[(usize, usize, Encoding)], threads: usize) -> (Images, Vec<CameraFrame>) {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/bundle");
    let bundle = Bundle::open(bundle).expect("the demo bundle");
    let mut manifest = bundle.manifest().clone();
    manifest.vision.max_pixels = 12_845_056;
    manifest.cameras.clear();
    let mut out = Vec::new();
    for (i, (width, height, encoding)) in frames.iter().enumerate() {
        let name = format!("camera {i}");
        let value = |at: usize| (at * (7 + i) % 251) as u8;
        let rgb: Vec<u8> = (0..width * height * 3).map(value).collect();
        let mut data = Vec::new();
        match encoding {
            Encoding::Rgb8 => data = rgb,
            Encoding::Jpeg => jpeg_encoder::Encoder::new(&mut data, 90)
                .encode(
                    &rgb,
                    *width as u16,
                    *height as u16,
                    jpeg_encoder::ColorType::Rgb,
                )
                .expect("encodes"),
        }
        out.push(CameraFrame {
            camera: name.as_str().into(),
            captured_at: Time::ZERO,
            received_at: Time::ZERO,
            seq: 0,
            width: *width as u32,
            height: *height as u32,
            encoding: *encoding,
            data: data.into(),
        });
        manifest.cameras.push(CameraSpec {
            name,
            width: *width,
            height: *height,
        });
    }
    (Images::new(&manifest, threads).expect("sizes"), out)
}

const FOUR: [(usize, usize, Encoding); 4] = [
    (640, 480, Encoding::Rgb8),
    (224, 224, Encoding::Jpeg),
    (640, 480, Encoding::Jpeg),
    (848, 480, Encoding::Rgb8),
];

#[test]
fn pictures_side_by_side_are_those_made_in_turn() {
    let patches = |threads: usize, ahead: Option<usize>| {
        let (mut images, frames) = several(&FOUR, threads);
        let mut out = vec![f32::NAN; images.pixel_values_len()];
        if let Some(camera) = ahead {
            images.prepare(&frames[camera]);
        }
        let times = images.run(&frames, &mut out).expect("frames");
        assert!(
            !times.decode.is_zero() && !times.patch.is_zero(),
            "{times:?}"
        );
        out
    };
    let in_turn = patches(1, None);
    assert!(in_turn.iter().all(|v| v.is_finite()));
    for threads in 2..=5 {
        for ahead in [None, Some(0), Some(1)] {
            // Not `assert_eq`, which would print both.
            assert!(patches(threads, ahead) == in_turn, "{threads}, {ahead:?}");
        }
    }
}

#[test]
fn a_frame_that_is_cut_off_is_refused_on_whichever_thread() {
    for threads in 1..=4 {
        for (broken, camera) in [(0, "camera 0"), (2, "camera 2"), (3, "camera 3")] {
            let (mut images, mut frames) = several(&FOUR, threads);
            let half = frames[broken].data.len() / 2;
            frames[broken].data = frames[broken].data[..half].into();
            let mut out = vec![0.0; images.pixel_values_len()];
            let refused = images.run(&frames, &mut out).expect_err("half a picture");
            assert!(refused.to_string().contains(camera), "{threads}: {refused}");
        }
    }
}
