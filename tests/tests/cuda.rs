//! The engine on ONNX Runtime's own CUDA provider, over a double of CUDA that computes nothing and writes down what reaches the
//! device (`tests/cuda/double.rs`). Numbers and speed are a GPU's to show; what is shown here is everything else: that a
//! chunk is what it should be, that nothing returns to the host between steps, and what happens where there is no device.
//!
//! They need the provider's library: `./tests/run --cuda` gets it and runs them.

mod cell;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use cell::{cell_file, checkout, program};
use serde_json::Value;
use tempfile::TempDir;

/// CUDA's libraries by the names that the provider asks for.
const CUDA: [&str; 5] = [
    "libcuda.so.1",
    "libcudart.so.13",
    "libcublas.so.13",
    "libcublasLt.so.13",
    "libcurand.so.10",
];

/// ONNX Runtime for CUDA in a folder without CUDA's libraries, the double under their names in another, and what it writes down.
struct Double {
    dir: TempDir,
}

impl Double {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let double = program().with_file_name("examples/libcuda_double.so");
        assert!(
            double.is_file(),
            "{}: cargo builds it with all targets",
            double.display()
        );
        for (folder, file, names) in [
            ("cuda", &double, &CUDA[..]),
            (
                "onnxruntime",
                &provider("libonnxruntime.so"),
                &["libonnxruntime.so"],
            ),
            (
                "onnxruntime",
                &provider("libonnxruntime_providers_cuda.so"),
                &["libonnxruntime_providers_cuda.so"],
            ),
            (
                "onnxruntime",
                &provider("libonnxruntime_providers_shared.so"),
                &["libonnxruntime_providers_shared.so"],
            ),
        ] {
            let folder = dir.path().join(folder);
            std::fs::create_dir_all(&folder).expect("a folder");
            for name in names {
                std::os::unix::fs::symlink(file, folder.join(name)).expect("a link");
            }
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `tactus ARGS` on the double.
    fn command(&self, args: &[&str]) -> Command {
        let library = self.path("onnxruntime/libonnxruntime.so");
        let before = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
        let cuda = self.path("cuda");
        let mut command = Command::new(program());
        command
            .args(args)
            .arg("--onnxruntime")
            .arg(library)
            .env("LD_LIBRARY_PATH", format!("{}:{before}", cuda.display()))
            .env("CUDA_DOUBLE_LOG", self.path("log"))
            .stdin(Stdio::null());
        command
    }

    fn tactus(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("starts")
    }

    /// What reached the device, in order.
    fn log(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log")).expect("the double's log");
        text.lines().map(str::to_owned).collect()
    }
}

/// A library of the provider, as `./launch/setup --cuda-provider` places it.
fn provider(name: &str) -> PathBuf {
    let file = checkout().join("third_party/onnxruntime-gpu").join(name);
    assert!(
        file.is_file(),
        "{}: ./tests/run --cuda gets it",
        file.display()
    );
    file.canonicalize().expect("a file")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn demo_bundle() -> String {
    let bundle = checkout().join("models/demo/bundle");
    bundle.display().to_string()
}

/// What lies between two waits, without points of time and without the numbers of captures.
fn chunks(log: &[String]) -> Vec<Vec<String>> {
    let mut chunks = vec![vec![]];
    for line in log {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            [_, "event"] => {}
            [_, "wait"] => chunks.push(vec![]),
            [stream, "launch", _, operations] => {
                assert!(operations.parse::<usize>().is_ok_and(|n| n > 10), "{line}");
                chunks
                    .last_mut()
                    .expect("one")
                    .push(format!("{stream} launch"));
            }
            _ => chunks.last_mut().expect("one").push(line.clone()),
        }
    }
    chunks
}

#[test]
#[ignore = "needs ONNX Runtime for CUDA: ./tests/run --cuda"]
fn cuda_a_chunk_is_uploads_captures_one_download_and_one_wait() {
    let double = Double::new();
    let report = double.path("figures.json");
    let bundle = demo_bundle();
    let output = double.tactus(&[
        "bundle",
        "bench",
        &bundle,
        "--chunks",
        "6",
        "--require-cuda",
        "--json",
        &report.display().to_string(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let figures = std::fs::read_to_string(&report).expect("figures");
    let figures: Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(figures["provider"], "cuda", "{figures}");

    let log = double.log();
    let refused: Vec<_> = log.iter().filter(|l| l.starts_with("refused")).collect();
    assert!(refused.is_empty(), "forbidden in a capture: {refused:?}");
    let chunks = chunks(&log);
    // Two pictures of 112x112 in patches; state; noise, prefix and its mask; a step is a capture of its own.
    let expected = [
        "1 upload 301056",
        "1 launch",
        "1 launch",
        "1 upload 28",
        "1 launch",
        "1 upload 448",
        "1 upload 448",
        "1 upload 64",
        "1 launch",
        "1 launch",
        "1 launch",
        "1 launch",
        "1 download 448",
    ];
    let alike = |chunk: &&Vec<String>| {
        let mut chunk = (*chunk).clone();
        let mut expected = expected.map(str::to_owned);
        // The host may put what it wrote for the first step there in any order.
        chunk.get_mut(5..8).map(<[String]>::sort);
        expected[5..8].sort();
        chunk == expected
    };
    // Warm-up is 5, of which the first is captured; 6 were asked for.
    let found = chunks.iter().filter(alike).count();
    assert!(found >= 10, "{found} of {chunks:#?}");
    // A word: its token, position and place; one capture; its scores; one wait. In a stream of its own, since explanations are
    // made beside the policy.
    let word = |chunk: &&Vec<String>| {
        let lines = chunk.iter().map(|line| line.split(' '));
        let mut words = lines.map(|mut words| (words.next(), words.next()));
        let stream = chunk.first().and_then(|line| line.split(' ').next());
        let what = ["upload", "upload", "upload", "launch", "download"];
        chunk.len() == what.len()
            && stream != Some("1")
            && what
                .iter()
                .all(|what| words.next() == Some((stream, Some(*what))))
    };
    let words = chunks.iter().filter(word).count();
    assert!(words > 100, "{words} words of 3 x 64");
}

#[test]
#[ignore = "needs ONNX Runtime for CUDA: ./tests/run --cuda"]
fn cuda_without_a_device_one_warning_and_the_cpu_or_an_error() {
    let double = Double::new();
    let bundle = demo_bundle();
    let bench = ["bundle", "bench", &bundle, "--chunks", "1"];
    let run = |last: &[&str]| {
        let mut command = double.command(&[&bench[..], last].concat());
        command.env("CUDA_DOUBLE_DEVICES", "0");
        command.output().expect("starts")
    };
    let reason = "no CUDA-capable device is detected";
    let output = run(&["--provider", "cuda"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("on provider cpu"), "{text}");
    assert_eq!(text.matches("WARN").count(), 1, "one warning: {text}");
    assert!(text.contains(reason), "{text}");

    let output = run(&["--provider", "tensorrt"]);
    let text = said(&output);
    assert!(text.contains("on provider cpu"), "{text}");
    let says = "tensorrt cannot be used, all graphs run on cpu instead: a stream: CUDA error 100";
    assert!(text.contains(says), "{text}");

    let output = run(&["--require-cuda"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(reason), "{text}");
    assert!(!text.contains("provider cpu"), "{text}");
}

#[test]
#[ignore = "needs ONNX Runtime for CUDA: ./tests/run --cuda"]
fn cuda_without_a_library_or_the_driver_the_reason_names_it_and_what_to_do() {
    for (gone, advice) in [
        ("libcudart.so.13", "./launch/setup --cuda"),
        ("libcuda.so.1", "the NVIDIA driver's"),
    ] {
        let double = Double::new();
        std::fs::remove_file(double.path("cuda").join(gone)).expect("removed");
        let output = double.tactus(&["bundle", "bench", &demo_bundle(), "--require-cuda"]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for word in [gone, advice] {
            assert!(text.contains(word), "{text}");
        }
    }
}

#[test]
#[ignore = "needs ONNX Runtime for CUDA: ./tests/run --cuda"]
fn cuda_every_graph_of_every_family_is_captured() {
    for family in [
        "qwen2_5_vl",
        "qwen3_vl",
        "qwen3_vl_n1_7",
        "pi0",
        "pi05",
        "smolvla",
    ] {
        let double = Double::new();
        let bundle = checkout().join("models/export/tests/bundles").join(family);
        let bundle = bundle.display().to_string();
        // Opens every graph, the guided step and the decoder too. That the numbers are wrong is how a double computes.
        let output = double.tactus(&["bundle", "verify", &bundle, "--require-cuda"]);
        let text = said(&output);
        assert!(text.contains("comparisons FAILED"), "{family}: {text}");
        assert!(!text.contains("node by node"), "{family}: {text}");
        let log = double.log();
        let captures = log.iter().filter(|l| l.contains(" begin ")).count();
        assert!(captures >= 5, "{family}: {captures} captures");
        assert!(!log.iter().any(|l| l.starts_with("refused")), "{family}");
        // A captured copy reads the same memory of the host in every later run, and ONNX Runtime gives its own back after the
        // first.
        let host = |line: &&String| {
            let mut words = line.split(' ').skip(1);
            let captured = words.next() == Some("captured");
            captured && matches!(words.nth(1), Some("upload" | "download" | "host"))
        };
        let copies: Vec<_> = log.iter().filter(host).collect();
        assert!(copies.is_empty(), "{family}: {copies:?}");
    }
}

/// What reaches the device in a cell that runs with this strategy, until it has made chunks enough.
fn live(strategy: &str, end: impl Fn(&[String]) -> bool) -> Vec<String> {
    let double = Double::new();
    let dir = tempfile::tempdir().expect("a folder");
    let edit = |text: String| {
        let plain = "strategy = { name = \"align\" }";
        assert!(text.contains(plain));
        let text = text.replace("provider = \"cpu\"", "provider = \"cuda\"");
        text.replace(plain, &format!("strategy = {strategy}"))
    };
    let file = cell_file(dir.path(), edit);
    let file = file.display().to_string();
    let args = ["run", &file, "--require-cuda", "--log", "warn"];
    let mut child = double
        .command(&args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    let ended = std::time::Instant::now() + Duration::from_secs(60);
    let made = loop {
        std::thread::sleep(Duration::from_millis(100));
        let log = match double.path("log").exists() {
            true => double.log(),
            false => vec![],
        };
        if end(&log) || std::time::Instant::now() > ended {
            break log;
        }
    };
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("signalled");
    child.wait().expect("ends");
    assert!(end(&made), "not within a minute: {made:#?}");
    made
}

#[test]
#[ignore = "needs ONNX Runtime for CUDA: ./tests/run --cuda"]
fn cuda_in_a_cell_every_buffer_is_captured_once() {
    let downloads = |log: &[String]| log.iter().filter(|l| l.contains(" download ")).count();
    let log = live("{ name = \"rtc-prefix\" }", |log| downloads(log) > 20);
    // Warm-up's prompt and the instruction's: the instruction is as long for every chunk of the episode.
    let captures = log.iter().filter(|l| l.contains(" begin ")).count();
    assert!((7..=13).contains(&captures), "{captures} captures");
    assert!(!log.iter().any(|l| l.starts_with("refused")));
}

#[test]
#[ignore = "needs ONNX Runtime for CUDA: ./tests/run --cuda"]
fn cuda_guidance_by_the_host_sees_every_step_and_no_other_strategy_does() {
    let downloads = |chunk: &&Vec<String>| {
        let is = |l: &&String| l.contains(" download ");
        chunk.iter().filter(is).count()
    };
    let strategy = "{ name = \"rtc-guided\", beta = 5.0, jacobian = \"identity\" }";
    let log = live(strategy, |log| {
        let chunks = chunks(log);
        chunks.iter().filter(|c| downloads(c) == 1).count() > 40
    });
    // Each step ends in a wait of its own, with what it made.
    let steps = chunks(&log);
    let step = |c: &&Vec<String>| c.len() <= 6 && downloads(c) == 1;
    assert!(steps.iter().filter(step).count() > 30, "{steps:#?}");
}

#[test]
#[ignore = "needs ONNX Runtime for CUDA: ./tests/run --cuda"]
fn cuda_on_a_device_too_old_for_the_kernels_one_warning_and_the_cpu() {
    let double = Double::new();
    let bundle = demo_bundle();
    let bench = ["bundle", "bench", &bundle, "--chunks", "1"];
    let run = |last: &str| {
        let mut command = double.command(&[&bench[..], &[last]].concat());
        command.env("CUDA_DOUBLE_KERNELS", "0");
        command.output().expect("starts")
    };
    let reason = "no kernel image is available";
    let output = run("--provider=cuda");
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("on provider cpu"), "{text}");
    assert_eq!(text.matches("WARN").count(), 1, "one warning: {text}");
    assert!(text.contains(reason), "{text}");

    let output = run("--require-cuda");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(reason), "{text}");
}

#[test]
#[ignore = "needs ONNX Runtime for CUDA: ./tests/run --cuda"]
fn cuda_without_cudnn_a_graph_with_convolutions_runs_on_the_cpu_or_is_an_error() {
    let double = Double::new();
    let example = checkout().join("models/direct/example");
    let cell = example.join("cell.toml").display().to_string();
    let (bundle, file) = (double.path("act"), |name: &str| {
        example.join(name).display().to_string()
    });
    let output = cell::tactus(&[
        "bundle",
        "wrap",
        &file("act.onnx"),
        "--stats",
        &file("stats.json"),
        "--cell",
        &cell,
        "--map",
        &file("map.toml"),
        "--out",
        &bundle.display().to_string(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let bundle = bundle.display().to_string();
    let bench = ["bundle", "bench", &bundle, "--chunks", "5"];
    // The double has no cuDNN.
    let reason = "cuDNN is unavailable";
    let output = double.tactus(&[&bench[..], &["--provider", "cuda"]].concat());
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("on provider cpu"), "{text}");
    assert_eq!(text.matches("WARN").count(), 1, "one warning: {text}");
    assert!(text.contains(reason), "{text}");

    let output = double.tactus(&[&bench[..], &["--require-cuda"]].concat());
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(reason), "{text}");
}
