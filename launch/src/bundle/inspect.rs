//! What a bundle is, on one page.

use comfy_table::{CellAlignment, Table, presets};
use tactus_bundle::{Action, Anchor, BinaryGripper, Bundle, Manifest, Scaling, Vision};
use tactus_pixels::Size;
use tactus_vla::resize::seen_size;

/// The page.
pub fn page(bundle: &Bundle) -> String {
    let manifest = bundle.manifest();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    for (name, value) in facts(bundle, manifest) {
        table.add_row([name, &value]);
    }
    format!("{table}\n\n{}\n\n{}", cameras(manifest), graphs(bundle))
}

fn facts(bundle: &Bundle, manifest: &Manifest) -> Vec<(&'static str, String)> {
    let Manifest {
        source,
        backbone,
        prompt,
        state,
        action,
        denoise,
        ..
    } = manifest;
    let padding = match &backbone.padding {
        None => "prompts are not filled up".to_owned(),
        Some(padding) => format!(
            "prompts are filled up to {} tokens on the {}",
            padding.length,
            padding.side.word()
        ),
    };
    vec![
        ("name", manifest.name.clone()),
        ("id", bundle.id().to_string()),
        (
            "family",
            format!("{}, {}", manifest.family.word(), manifest.variant.word()),
        ),
        (
            "backbone",
            format!("{}, revision {}", source.backbone, source.revision),
        ),
        (
            "exported by",
            format!(
                "{}, torch {}, transformers {}",
                source.exporter, source.torch, source.transformers
            ),
        ),
        (
            "needs",
            format!("ONNX Runtime {} or newer", manifest.min_ort),
        ),
        (
            "features",
            match manifest.family.has_expert() {
                true => format!(
                    "keys and values of {} layers, {} wide in all; {padding}",
                    backbone.layers, backbone.features
                ),
                false => format!(
                    "after layer {}, {}-norm, {} wide; {padding}",
                    backbone.layers,
                    backbone.norm.word(),
                    backbone.features
                ),
            },
        ),
        ("prompt", format!("{:?}", prompt.template)),
        ("instruction", {
            let rules = [
                (prompt.lowercase, "lower case"),
                (prompt.strip_punctuation, "without punctuation"),
                (prompt.blanks, "`_` and line ends as blanks"),
            ];
            let said = rules
                .iter()
                .filter(|(rule, _)| *rule)
                .map(|(_, word)| *word);
            let said = said.collect::<Vec<_>>().join(", ");
            if said.is_empty() {
                "as it is said".to_owned()
            } else {
                said
            }
        }),
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
                "{} ({}), {} columns padded to {}",
                columns(&action.joints, action.gripper),
                action.normalisation.word(),
                action.columns(),
                action.width
            ),
        ),
        ("actions are", meaning(action)),
        (
            "chunk",
            format!(
                "{} actions every {:?}, the first {:?} after the observation; up to {} committed",
                action.horizon, action.period, action.first_action_offset, action.max_prefix
            ),
        ),
        (
            "denoising",
            match denoise.buckets {
                0 => format!("{} Euler steps", denoise.steps),
                buckets => format!("{} Euler steps, {buckets} time buckets", denoise.steps),
            },
        ),
        ("golden cases", manifest.golden.len().to_string()),
    ]
}

/// Names of columns.
pub fn columns(joints: &[String], gripper: bool) -> String {
    let gripper = gripper.then_some("gripper");
    let names = joints.iter().map(String::as_str).chain(gripper);
    names.collect::<Vec<_>>().join(", ")
}

/// What the columns of an action mean.
pub fn meaning(action: &Action) -> String {
    let mut parts = vec![action.representation.word().to_owned()];
    if let Some(tool) = &action.tool {
        let (tip, base) = (&tool.tool_link, &tool.base_link);
        parts.push(format!("of `{tip}` in `{base}`, {}", tool.rotation.word()));
        if action.representation.is_anchored() {
            parts.push(format!("in the {} frame", tool.frame.word()));
        }
    }
    if action.representation.is_anchored() {
        parts.push(match action.anchor {
            Anchor::Measured => "from where the arm is measured".to_owned(),
            Anchor::Command => "from where the arm is commanded".to_owned(),
        });
    }
    if let Some(BinaryGripper {
        open_above,
        close_below,
    }) = action.binary_gripper
    {
        parts.push(format!(
            "gripper open above {open_above}, closed below {close_below}"
        ));
    }
    parts.join(", ")
}

fn cameras(manifest: &Manifest) -> Table {
    let Manifest { vision, .. } = manifest;
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_header(["camera", "pixels", "seen as", "tokens"]);
    for camera in &manifest.cameras {
        let from = Size {
            width: camera.width,
            height: camera.height,
        };
        let seen = seen_size(from, vision);
        table.add_row([
            camera.name.clone(),
            from.to_string(),
            seen.map(|size| match vision.scaling {
                Scaling::Bicubic(_) => size.to_string(),
                Scaling::Letterbox { place, .. } => format!("{size}, {}", place.word()),
            })
            .unwrap_or_default(),
            seen.map(|size| tokens(size, vision).to_string())
                .unwrap_or_default(),
        ]);
    }
    table
}

fn tokens(size: Size, vision: &Vision) -> usize {
    size.width * size.height / (vision.factor() * vision.factor())
}

fn graphs(bundle: &Bundle) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_header([
        "graph",
        "precision",
        "weights, MB",
        "Mop per run",
        "file",
    ]);
    for (graph, file) in bundle.manifest().graphs() {
        let of = |figure: fn(&tactus_bundle::Cost) -> u64| {
            let figure = file.cost.as_ref().map(figure);
            figure
                .map(|n| format!("{:.1}", n as f64 / 1e6))
                .unwrap_or_default()
        };
        table.add_row([
            graph.name().to_owned(),
            file.precision.word().to_owned(),
            of(|cost| cost.weight_bytes),
            of(|cost| cost.operations),
            file.file.clone(),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
