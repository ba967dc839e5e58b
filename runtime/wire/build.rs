//! Compiles the protobuf files in pure Rust: no `protoc` on the machine. Their descriptors are kept beside the code, for
//! whoever writes messages to a file that has to explain itself.

use std::{env, error::Error, fs, path::Path};

use protox::prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "foxglove/CompressedImage.proto",
        "tactus/v1/arm.proto",
        "tactus/v1/camera.proto",
        "tactus/v1/clock.proto",
        "tactus/v1/device.proto",
        "tactus/v1/episode.proto",
        "tactus/v1/eval.proto",
        "tactus/v1/header.proto",
        "tactus/v1/infer.proto",
        "tactus/v1/sim.proto",
        "tactus/v1/ticks.proto",
    ];
    let descriptors = protox::compile(files, [Path::new("proto")])?;
    let kept = Path::new(&env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(kept, descriptors.encode_to_vec())?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
