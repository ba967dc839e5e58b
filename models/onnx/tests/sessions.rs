//! Sessions and bound runs, on graphs of one operator that this file writes itself.

use std::path::{Path, PathBuf};

use tactus_bundle::Graph;
use tactus_onnx::{
    Dim, Element, OnnxError, OnnxRuntime, Place, Provider, Session, SessionOptions, TensorSpec,
    open_all,
};
use tempfile::TempDir;

fn runtime() -> OnnxRuntime {
    let library = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../third_party/onnxruntime/libonnxruntime.so");
    OnnxRuntime::load(Some(&library), Provider::Cpu).expect("./launch/setup places it")
}

/// A field of a protobuf message: a length-delimited one, or a varint below 128.
fn bytes(number: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let length = match u8::try_from(value.len()) {
        Ok(short) if short < 128 => vec![short],
        _ => vec![(value.len() % 128) as u8 | 128, (value.len() / 128) as u8],
    };
    [vec![number << 3 | 2], length, value.to_vec()].concat()
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    vec![number << 3, value]
}

/// `name: f32 [1, length]`, with a dynamic length for `None`; the numbers are those of onnx.proto.
fn value_info(name: &str, length: Option<u8>) -> Vec<u8> {
    let last = length.map_or_else(|| bytes(2, "n"), |length| varint(1, length));
    let shape = [bytes(1, varint(1, 1)), bytes(1, last)].concat();
    let tensor = [varint(1, 1), bytes(2, shape)].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

/// An ONNX file of the graph `z = x + y`.
fn add(length: Option<u8>) -> Vec<u8> {
    let node = [bytes(1, "x"), bytes(1, "y"), bytes(2, "z"), bytes(4, "Add")].concat();
    let graph = [
        bytes(1, node),
        bytes(2, "add"),
        bytes(11, value_info("x", length)),
        bytes(11, value_info("y", length)),
        bytes(12, value_info("z", length)),
    ]
    .concat();
    [varint(1, 8), bytes(8, varint(2, 17)), bytes(7, graph)].concat()
}

fn file(content: &[u8]) -> (TempDir, Vec<(Graph, PathBuf)>) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("denoise.onnx");
    std::fs::write(&path, content).expect("file");
    (dir, vec![(Graph::Denoise, path)])
}

fn open(content: &[u8]) -> Session {
    let (_dir, files) = file(content);
    let opened = open_all(&runtime(), &files, SessionOptions::default()).expect("opens");
    opened.sessions.into_iter().next().expect("one graph")
}

#[test]
fn the_signature_is_the_graph_s() {
    let session = open(&add(None));
    let expected = |name| TensorSpec::new(name, Element::F32, &[Dim::Is(1), Dim::Any]);
    assert_eq!(session.inputs(), [expected("x"), expected("y")]);
    assert_eq!(session.outputs(), [expected("z")]);
    let session = open(&add(Some(7)));
    assert_eq!(session.outputs()[0].dims, [Dim::Is(1), Dim::Is(7)]);
}

#[test]
fn two_bindings_that_swap_buffers_accumulate_without_copies() {
    let mut session = open(&add(Some(3)));
    let mut y = session
        .buffer::<f32>("y", Place::Host, &[1, 3])
        .expect("buffer");
    let mut a = session
        .buffer::<f32>("a", Place::Device, &[1, 3])
        .expect("buffer");
    let mut b = session
        .buffer::<f32>("b", Place::Device, &[1, 3])
        .expect("buffer");
    let mut forth = session.binding().expect("binding");
    forth.input("x", &a).expect("bound");
    forth.input("y", &y).expect("bound");
    forth.output("z", &mut b).expect("bound");
    let mut back = session.binding().expect("binding");
    back.input("x", &b).expect("bound");
    back.input("y", &y).expect("bound");
    back.output("z", &mut a).expect("bound");
    // Written after binding: a bound buffer is read when the graph runs, not when it is bound.
    y.write()
        .expect("host memory")
        .copy_from_slice(&[1.0, 2.0, 3.0]);
    for _ in 0..10 {
        session.run(&forth).expect("runs");
        session.run(&back).expect("runs");
    }
    assert_eq!(a.read().expect("host memory"), [20.0, 40.0, 60.0]);
    assert_eq!(b.read().expect("host memory"), [19.0, 38.0, 57.0]);
}

#[test]
fn output_shapes_follow_the_inputs_and_a_wrong_buffer_is_an_error() {
    let mut session = open(&add(None));
    let x = session
        .buffer::<f32>("x", Place::Host, &[1, 5])
        .expect("buffer");
    let mut binding = session.binding().expect("binding");
    binding.input("x", &x).expect("bound");
    binding.input("y", &x).expect("bound");
    assert_eq!(session.output_shapes(&mut binding).expect("runs"), [[1, 5]]);
    let mut z = session
        .buffer::<f32>("z", Place::Device, &[1, 4])
        .expect("buffer");
    binding.output("z", &mut z).expect("bound");
    let error = session
        .run(&binding)
        .expect_err("5 numbers do not fit into 4")
        .to_string();
    assert!(
        error.starts_with("graph `denoise`: run failed: "),
        "{error}"
    );
}

#[test]
fn no_threads_are_refused() {
    let (_dir, files) = file(&add(None));
    let options = SessionOptions {
        intra_threads: 0,
        ..SessionOptions::default()
    };
    let error = open_all(&runtime(), &files, options)
        .expect_err("0 is all cores")
        .to_string();
    assert_eq!(error, "intra-op threads: expected 1 or more, got 0");
}

#[test]
fn a_broken_graph_is_named() {
    let (_dir, files) = file(b"not a graph");
    let error = open_all(&runtime(), &files, SessionOptions::default()).expect_err("broken");
    assert!(
        matches!(&error, OnnxError::Open { graph: "denoise", file, provider: "cpu", .. } if *file == files[0].1),
        "{error}"
    );
}

#[test]
fn without_cuda_everything_runs_on_the_cpu_and_says_so() {
    // The library of third_party/ is built without CUDA.
    let (_dir, files) = file(&add(None));
    let options = SessionOptions {
        provider: Provider::Cuda,
        required: false,
        intra_threads: 1,
    };
    let opened = open_all(&runtime(), &files, options).expect("falls back");
    assert_eq!(opened.provider, Provider::Cpu);
    assert_eq!(opened.sessions[0].provider(), Provider::Cpu);
    let required = SessionOptions {
        required: true,
        ..options
    };
    let error = open_all(&runtime(), &files, required).expect_err("no fallback");
    assert!(
        matches!(
            &error,
            OnnxError::Open {
                provider: "cuda",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn an_operator_that_onnx_runtime_does_not_know_is_named() {
    let mut graph = add(None);
    let at = graph.windows(3).position(|three| three == b"Add");
    let at = at.expect("the operator's name");
    graph[at..at + 3].copy_from_slice(b"Odd");
    let (_dir, files) = file(&graph);
    let error = open_all(&runtime(), &files, SessionOptions::default()).expect_err("refused");
    let said = error.to_string();
    assert!(
        said.starts_with("graph `denoise` (") && said.contains("Odd"),
        "{said}"
    );
}

#[test]
fn a_second_library_in_one_process_is_refused() {
    let first = runtime();
    assert!(OnnxRuntime::load(None, Provider::Cpu).is_ok_and(|again| again.path() == first.path()));
    let error = OnnxRuntime::load(
        Some(Path::new("/elsewhere/libonnxruntime.so")),
        Provider::Cpu,
    );
    assert_eq!(
        error.expect_err("another library").to_string(),
        format!(
            "/elsewhere/libonnxruntime.so: this process has already loaded ONNX Runtime from {}: \
             expected one library per process",
            first.path().display()
        )
    );
}
