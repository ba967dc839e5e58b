//! What a bundle of the `direct` family is, on one page.

use comfy_table::{Table, presets};
use tactus_bundle::DirectBundle;
use tactus_bundle::direct::manifest::Picture;
use tactus_direct::wrap::write::tensors;

use super::inspect::{columns, meaning};

/// The page.
pub fn page(bundle: &DirectBundle) -> String {
    let manifest = bundle.manifest();
    let (state, action) = (&manifest.outline.state, &manifest.outline.action);
    let [file, made_by] = &manifest.source;
    let [closed, open] = manifest.units.gripper;
    let noise = match &manifest.noise {
        None => "none".to_owned(),
        Some(noise) => format!("`{}`, standard normal, of the request's seed", noise.input),
    };
    let facts = [
        ("name", manifest.outline.name.clone()),
        ("id", bundle.id().to_string()),
        ("family", format!("direct, {}", manifest.variant)),
        ("made of", format!("{file}, written by {made_by}")),
        (
            "needs",
            format!("ONNX Runtime {} or newer", manifest.min_ort),
        ),
        (
            "task",
            format!(
                "{}; {} any other",
                manifest.task.instruction,
                manifest.task.others.word()
            ),
        ),
        (
            "state",
            format!(
                "{} ({})",
                columns(&state.joints, state.gripper),
                state.normalisation.word()
            ),
        ),
        (
            "action",
            format!(
                "{} ({})",
                columns(&action.joints, action.gripper),
                action.normalisation.word()
            ),
        ),
        ("actions are", meaning(action)),
        (
            "training data",
            format!(
                "joints in {}, gripper closed at {closed}, open at {open}",
                manifest.units.joints.word()
            ),
        ),
        (
            "chunk",
            format!(
                "{} actions every {:?}, the first {:?} after the observation, from row {} of {}",
                action.horizon,
                action.period,
                action.first_action_offset,
                manifest.chunk.first_row,
                manifest.chunk.rows
            ),
        ),
        (
            "observations",
            format!(
                "{}, {:?} apart",
                manifest.history.steps, manifest.history.period
            ),
        ),
        ("noise", noise),
        ("golden cases", manifest.golden.len().to_string()),
    ];
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for (name, value) in facts {
        table.add_row([name, &value]);
    }
    let mut cameras = Table::new();
    cameras
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header(["camera", "pixels", "input", "seen as", "colours"]);
    for (camera, picture) in manifest.outline.cameras.iter().zip(&manifest.pictures) {
        let Picture {
            input,
            width,
            height,
            fit,
            filter,
            ..
        } = picture;
        cameras.add_row([
            camera.name.clone(),
            format!("{}x{}", camera.width, camera.height),
            input.clone(),
            format!("{width}x{height}, {} ({})", fit.word(), filter.word()),
            format!(
                "{}, 0 to {}, mean {:?}, std {:?}",
                picture.colours.word(),
                picture.top,
                picture.mean,
                picture.std
            ),
        ]);
    }
    let mut graph = Table::new();
    graph
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header(["tensor", "shape"]);
    for tensor in tensors(bundle) {
        graph.add_row([tensor.name.clone(), tensor.shape()]);
    }
    format!("{table}\n\n{cameras}\n\n{graph}")
}
