//! What an inference costs, part by part: `cargo bench -p tactus-vla`. One intra-op thread.
//!
//! `preprocess` is what this crate does to two 224x224 JPEG files, with `decode`, `resize` and `patch` of one by
//! themselves, and `preprocess_raw` all of it without the decoding; `inference` is a whole chunk, from frames that were
//! not prepared ahead; `graph_*` are the graphs. Results depend on `./launch/setup` having placed ONNX Runtime.

use std::path::{Path, PathBuf};

use divan::Bencher;
use tactus_bundle::{Bundle, CameraSpec, GoldenCase, Processor};
use tactus_onnx::{OnnxRuntime, Place, Provider, SessionOptions};
use tactus_pixels::{Resample, Size, decode};
use tactus_types::{
    CameraFrame, Conditioning, Encoding, Generation, InferenceRequest, JointState, JointVec,
    Leftover, Observation, Policy, Time,
};
use tactus_vla::{
    VlaOptions, VlaPolicy,
    images::Images,
    patch::{Grid, Patcher},
    position::{VisionIndex, mrope},
    prompt::Prompter,
    resize::smart_resize,
    sequence::{PromptTensors, Sequence, SequenceSpec},
};

fn main() {
    divan::main();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn library() -> PathBuf {
    root().join("third_party/onnxruntime/libonnxruntime.so")
}

fn demo() -> (Bundle, GoldenCase) {
    let bundle = Bundle::open(root().join("models/demo/bundle")).expect("the demo bundle");
    let case = bundle.golden().expect("golden cases").swap_remove(0);
    (bundle, case)
}

fn frames(bundle: &Bundle, case: &GoldenCase) -> Vec<CameraFrame> {
    let frame = |camera: &CameraSpec| CameraFrame {
        camera: camera.name.as_str().into(),
        captured_at: Time::ZERO,
        received_at: Time::ZERO,
        seq: 0,
        width: camera.width as u32,
        height: camera.height as u32,
        encoding: Encoding::Jpeg,
        data: case
            .u8(&format!("jpeg.{}", camera.name))
            .expect("jpeg")
            .into(),
    };
    bundle.manifest().cameras.iter().map(frame).collect()
}

/// Both cameras: JPEG files to `pixel_values`, on so many threads.
#[divan::bench(args = [1, 2])]
fn preprocess(bencher: Bencher, threads: usize) {
    let (bundle, case) = demo();
    let mut frames = frames(&bundle, &case);
    let mut images = Images::new(bundle.manifest(), threads).expect("sizes");
    let mut pixel_values = vec![0.0; images.pixel_values_len()];
    bencher.bench_local(|| {
        // New frames: the same ones would not be decoded again.
        frames.iter_mut().for_each(|frame| frame.seq += 1);
        images.run(&frames, &mut pixel_values).expect("frames")
    });
}

/// Two cameras of this size with raw images, for a policy that sees them at Qwen2.5-VL's usual sizes: 640x480 becomes
/// 644x476, and 224x224 stays. The last number is that of threads.
#[divan::bench(name = "preprocess_raw", args = [(224, 224, 1), (640, 480, 1), (640, 480, 2)])]
fn raw(bencher: Bencher, (width, height, threads): (usize, usize, usize)) {
    let (bundle, _) = demo();
    let mut manifest = bundle.manifest().clone();
    manifest.vision.max_pixels = 12_845_056;
    for camera in &mut manifest.cameras {
        (camera.width, camera.height) = (width, height);
    }
    let pixels: Vec<u8> = (0..width * height * 3)
        .map(|i| (i * 7 % 251) as u8)
        .collect();
    let frame = |camera: &CameraSpec| CameraFrame {
        camera: camera.name.as_str().into(),
        captured_at: Time::ZERO,
        received_at: Time::ZERO,
        seq: 0,
        width: width as u32,
        height: height as u32,
        encoding: Encoding::Rgb8,
        data: pixels.clone().into(),
    };
    let mut frames: Vec<CameraFrame> = manifest.cameras.iter().map(frame).collect();
    let mut images = Images::new(&manifest, threads).expect("sizes");
    let mut pixel_values = vec![0.0; images.pixel_values_len()];
    bencher.bench_local(|| {
        frames.iter_mut().for_each(|frame| frame.seq += 1);
        images.run(&frames, &mut pixel_values).expect("frames")
    });
}

/// One camera.
#[divan::bench(name = "preprocess_decode")]
fn decode_one(bencher: Bencher) {
    let (bundle, case) = demo();
    let frames = frames(&bundle, &case);
    let camera = &bundle.manifest().cameras[0];
    let mut scratch = vec![0; camera.width * camera.height * 3];
    bencher.bench_local(|| {
        decode(&frames[0], camera, &mut scratch)
            .expect("a JPEG")
            .len()
    });
}

fn sizes(bundle: &Bundle) -> (Size, Size) {
    let camera = &bundle.manifest().cameras[0];
    let from = Size {
        width: camera.width,
        height: camera.height,
    };
    (
        from,
        smart_resize(from, &bundle.manifest().vision).expect("a size"),
    )
}

/// One camera.
#[divan::bench(name = "preprocess_resize")]
fn resize_one(bencher: Bencher) {
    let (bundle, case) = demo();
    let (from, to) = sizes(&bundle);
    let rgb = case.u8("rgb.scene").expect("pixels");
    let mut resample = Resample::bicubic(from, to, Processor::Pil);
    let mut out = vec![0; to.rgb_len()];
    bencher.bench_local(|| resample.run(rgb, &mut out));
}

/// One camera of 640x480 for a policy that sees it at Qwen2.5-VL's usual size.
#[divan::bench(name = "preprocess_resize_640x480")]
fn resize_vga(bencher: Bencher) {
    let (from, to) = (
        Size {
            width: 640,
            height: 480,
        },
        Size {
            width: 644,
            height: 476,
        },
    );
    let rgb: Vec<u8> = (0..from.rgb_len()).map(|i| (i * 7 % 251) as u8).collect();
    let mut resample = Resample::bicubic(from, to, Processor::Pil);
    let mut out = vec![0; to.rgb_len()];
    bencher.bench_local(|| resample.run(&rgb, &mut out));
}

/// The same.
#[divan::bench(name = "preprocess_patch_640x480")]
fn patch_vga(bencher: Bencher) {
    let (bundle, _) = demo();
    let vision = &bundle.manifest().vision;
    let to = Size {
        width: 644,
        height: 476,
    };
    let grid = Grid::of(to, vision);
    let rgb: Vec<u8> = (0..to.rgb_len()).map(|i| (i * 7 % 251) as u8).collect();
    let patcher = Patcher::new(vision);
    let mut out = vec![0.0; grid.patches() * vision.row_len()];
    bencher.bench_local(|| assert!(patcher.run(&rgb, grid, &mut out)));
}

/// One camera.
#[divan::bench(name = "preprocess_patch")]
fn patch_one(bencher: Bencher) {
    let (bundle, case) = demo();
    let (_, to) = sizes(&bundle);
    let vision = &bundle.manifest().vision;
    let grid = Grid::of(to, vision);
    let rgb = case.u8("resized.scene").expect("pixels");
    let patcher = Patcher::new(vision);
    let mut out = vec![0.0; grid.patches() * vision.row_len()];
    bencher.bench_local(|| assert!(patcher.run(rgb, grid, &mut out)));
}

/// What a new instruction costs before the graphs run.
#[divan::bench]
fn prompt(bencher: Bencher) {
    let (bundle, _) = demo();
    let (prompter, grids) = prompter(&bundle);
    let merge = bundle.manifest().vision.merge;
    bencher.bench_local(|| {
        let tokens = prompter
            .encode("Pick up the red cube.", "")
            .expect("a prompt");
        mrope(
            &tokens.ids,
            &tokens.attention_mask,
            prompter.image_token(),
            &grids,
            merge,
        )
        .len()
    });
}

/// Observation and request to chunk.
#[divan::bench]
fn inference(bencher: Bencher) {
    let (bundle, case) = demo();
    let joints = bundle.manifest().action.joints.clone();
    let options = VlaOptions {
        ort_library: Some(library()),
        intra_threads: 1,
        provider: Provider::Cpu,
        require_provider: false,
        joints: &joints,
        arm: None,
        conditioning: Conditioning::None,
        denoise_steps: None,
        features_every: std::time::Duration::ZERO,
    };
    let mut policy = VlaPolicy::open(bundle.dir(), options).expect("opens");
    let q = JointVec::zeros(joints.len());
    let state = JointState {
        captured_at: Time::ZERO,
        seq: 0,
        epoch: 0,
        q,
        dq: q,
        opening: 0.5,
        torque: true,
    };
    let mut observation = Observation {
        observed_at: Time::ZERO,
        frames: frames(&bundle, &case),
        state,
    };
    let mut request = InferenceRequest {
        id: 0,
        generation: Generation::default(),
        instruction: "Pick up the red cube.".into(),
        observe_after: Time::ZERO,
        deadline: Time::ZERO,
        expected_delay: std::time::Duration::ZERO,
        leftover: Leftover::none(),
        conditioning: Conditioning::None,
        seed: 0,
    };
    bencher.bench_local(|| {
        request.seed += 1;
        observation
            .frames
            .iter_mut()
            .for_each(|frame| frame.seq += 1);
        policy
            .infer(&observation, &request)
            .expect("a chunk")
            .stages
    });
}

fn prompter(bundle: &Bundle) -> (Prompter, Vec<Grid>) {
    let manifest = bundle.manifest();
    let grids = Images::new(manifest, 1).expect("sizes").grids();
    let units = manifest.vision.merge * manifest.vision.merge;
    let tokens: Vec<usize> = grids.iter().map(|grid| grid.patches() / units).collect();
    let prompter = Prompter::open(&bundle.tokenizer_path(), &manifest.prompt, None, &tokens);
    (prompter.expect("a tokenizer"), grids)
}

/// The graphs with a prompt set and everything run once.
fn sequence() -> Sequence {
    let (bundle, case) = demo();
    let (_, grids) = prompter(&bundle);
    let vision = &bundle.manifest().vision;
    let index = VisionIndex::new(&grids, vision);
    let runtime =
        OnnxRuntime::load(Some(&library()), Provider::Cpu).expect("./launch/setup places it");
    let options = SessionOptions::default();
    let spec = SequenceSpec {
        links: Place::Device,
        steps_in: Place::Device,
        guided: false,
        steps: bundle.manifest().denoise.steps,
    };
    let mut sequence = Sequence::open(&bundle, &runtime, options, &index, spec).expect("opens");
    sequence
        .set_prompt(PromptTensors {
            input_ids: case.i64("input_ids").expect("ids"),
            image_rows: case.i64("image_rows").expect("rows"),
            position_ids: case.i64("position_ids").expect("positions"),
            attention_mask: &[],
        })
        .expect("a prompt");
    let pixel_values = case.f32("pixel_values").expect("patches");
    sequence
        .pixel_values()
        .expect("host memory")
        .copy_from_slice(pixel_values);
    sequence
        .state()
        .expect("host memory")
        .copy_from_slice(case.f32("state").expect("state"));
    sequence
        .noise()
        .expect("host memory")
        .copy_from_slice(case.f32("noise").expect("noise"));
    sequence.run_vision().expect("runs");
    sequence.run_backbone().expect("runs");
    sequence.run_context().expect("runs");
    sequence
}

#[divan::bench(name = "graph_vision")]
fn vision(bencher: Bencher) {
    let mut sequence = sequence();
    bencher.bench_local(|| sequence.run_vision().expect("runs"));
}

#[divan::bench(name = "graph_backbone")]
fn backbone(bencher: Bencher) {
    let mut sequence = sequence();
    bencher.bench_local(|| sequence.run_backbone().expect("runs"));
}

#[divan::bench(name = "graph_context")]
fn context(bencher: Bencher) {
    let mut sequence = sequence();
    bencher.bench_local(|| sequence.run_context().expect("runs"));
}

#[divan::bench(name = "graph_denoise_step")]
fn denoise(bencher: Bencher) {
    let mut sequence = sequence();
    bencher.bench_local(|| sequence.run_denoise(0).expect("runs"));
}
