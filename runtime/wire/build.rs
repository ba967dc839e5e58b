//! Compiles the protobuf files in pure Rust: no `protoc` on the machine.

use std::{error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "foxglove/CompressedImage.proto",
        "tactus/v1/arm.proto",
        "tactus/v1/camera.proto",
        "tactus/v1/device.proto",
        "tactus/v1/episode.proto",
        "tactus/v1/header.proto",
        "tactus/v1/infer.proto",
        "tactus/v1/sim.proto",
    ];
    let descriptors = protox::compile(files, [Path::new("proto")])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
