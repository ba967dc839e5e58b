//! Which camera an input takes, how its pictures lie in it, and in which range.

use tactus_onnx::{Dim, Element, TensorSpec};
use toml::Value;

use super::{Draft, Known, input_key, says, table};
use crate::wrap::{Map, WrapError, map::InputMap};

/// What ImageNet's pictures are like, as torchvision's models want them.
const IMAGENET: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// The cameras of a manifest, one table each; `None` where something is asked.
pub(super) fn pictures<'a>(
    known: &Known<'_>,
    map: &Map,
    inputs: impl Iterator<Item = &'a TensorSpec>,
    steps: i64,
    draft: &mut Draft,
) -> Result<Option<Vec<Value>>, WrapError> {
    let inputs: Vec<&TensorSpec> = inputs.collect();
    if inputs.is_empty() {
        return Err(WrapError::field(
            "inputs",
            "one that takes pictures",
            "none",
        ));
    }
    let (mut tables, mut asked) = (Vec::new(), false);
    for input in &inputs {
        let said = map.input(&input.name);
        let Some(layout) = layout(input, &said, steps, draft)? else {
            asked = true;
            continue;
        };
        let sharing = match layout.find('n') {
            Some(axis) => match input.dims.get(axis) {
                Some(Dim::Is(n)) => *n,
                _ => said.cameras.as_ref().map_or(1, Vec::len),
            },
            None => 1,
        };
        let Some(cameras) = names(known, input, &said, (sharing, inputs.len()), draft)? else {
            asked = true;
            continue;
        };
        let Some(size) = size(known, input, &said, &layout, draft)? else {
            asked = true;
            continue;
        };
        let Some([top, mean, std]) = range(known, input, &said, draft)? else {
            asked = true;
            continue;
        };
        for camera in cameras {
            let from = camera_size(known, &camera, &said, size);
            let (fit, filter) = match fit(known, input, &said, (from, size)) {
                Some(both) => both,
                None => {
                    let ask = format!(
                        "camera `{camera}` takes {}x{}, input `{}` wants {}x{}: is a picture stretched, padded or cropped (`stretch`, `pad`, `crop`)?",
                        from[0], from[1], input.name, size[0], size[1]
                    );
                    draft.ask(input_key(&input.name, "fit"), ask, "\"stretch\"");
                    asked = true;
                    continue;
                }
            };
            let element = if input.element == Element::U8 {
                "u8"
            } else {
                "f32"
            };
            let colours = said.colours.clone().unwrap_or_else(|| "rgb".into());
            let [width, height] = from.map(Value::from);
            let size: Vec<Value> = size.map(Value::from).to_vec();
            let numbers = |values: &[f64]| -> Value {
                values
                    .iter()
                    .map(|v| Value::from(*v))
                    .collect::<Vec<_>>()
                    .into()
            };
            draft.note(
                format!(
                    "input `{}` {} is camera `{camera}`: {layout}, {colours}, 0 to {}, mean {mean:?}, std {std:?}, {fit} ({filter})",
                    input.name, input.shape(), top[0]
                ),
                match said.range.is_some() || said.camera.is_some() {
                    true => "its name and shape, and what was said",
                    false => "its name and shape",
                },
            );
            tables.push(table([
                ("name", camera.as_str().into()),
                ("width", width),
                ("height", height),
                ("input", input.name.as_str().into()),
                ("layout", layout.as_str().into()),
                ("element", element.into()),
                ("size", size.into()),
                ("fit", fit.into()),
                ("filter", filter.into()),
                ("colours", colours.into()),
                ("top", top[0].into()),
                ("mean", numbers(&mean)),
                ("std", numbers(&std)),
            ]));
        }
    }
    Ok((!asked).then_some(tables))
}

/// Axes of `input`.
fn layout(
    input: &TensorSpec,
    said: &InputMap,
    steps: i64,
    draft: &mut Draft,
) -> Result<Option<String>, WrapError> {
    let rank = input.dims.len();
    if let Some(said) = &said.layout {
        if said.len() != rank {
            let field = input_key(&input.name, "layout");
            return Err(WrapError::field(
                field,
                format!("{rank} axes, as {}", input.shape()),
                format!("`{said}`"),
            ));
        }
        return Ok(Some(said.clone()));
    }
    let three = |dim: Option<&Dim>| dim == Some(&Dim::Is(3));
    let (first, last) = (rank.checked_sub(3), rank.checked_sub(1));
    let [first, last] = [first, last].map(|i| i.and_then(|i| input.dims.get(i)));
    let tail = match (three(first), three(last)) {
        (true, _) => "chw",
        (false, true) => "hwc",
        _ => {
            let expected = "three colours in the last axis or the third from the end: [B, 3, H, W] or [B, H, W, 3]";
            return Err(WrapError::field(
                format!("input `{}`", input.name),
                expected,
                input.shape(),
            ));
        }
    };
    let head = match (rank, steps > 1) {
        (3, false) => "",
        (4, false) => "b",
        (5, true) => "bt",
        (6, true) => "btn",
        (5, false) if said.cameras.is_some() => "bn",
        (5, false) => {
            let ask = format!(
                "what is the second axis of input `{}`, {}: cameras (`bn{tail}`), or observations (`bt{tail}`, with `history`)?",
                input.name,
                input.shape()
            );
            draft.ask(
                input_key(&input.name, "layout"),
                ask,
                format!("\"bn{tail}\""),
            );
            return Ok(None);
        }
        _ => {
            let expected = "a rank of 3 to 6: [B, 3, H, W], with axes for observations and cameras";
            return Err(WrapError::field(
                format!("input `{}`", input.name),
                expected,
                input.shape(),
            ));
        }
    };
    Ok(Some(format!("{head}{tail}")))
}

/// Cameras of `input`, in order.
fn names(
    known: &Known<'_>,
    input: &TensorSpec,
    said: &InputMap,
    (sharing, inputs): (usize, usize),
    draft: &mut Draft,
) -> Result<Option<Vec<String>>, WrapError> {
    let said = said
        .cameras
        .clone()
        .or(said.camera.clone().map(|name| vec![name]));
    let in_cell =
        |name: &str| known.cameras.is_empty() || known.cameras.iter().any(|(n, _)| n == name);
    let cell = || -> Vec<&str> { known.cameras.iter().map(|(n, _)| n.as_str()).collect() };
    if let Some(names) = said {
        if let Some(name) = names.iter().find(|name| !in_cell(name)) {
            let field = input_key(&input.name, "camera");
            return Err(WrapError::field(
                field,
                format!("a camera of the cell: {}", cell().join(", ")),
                format!("`{name}`"),
            ));
        }
        if names.len() != sharing {
            let field = input_key(&input.name, "cameras");
            return Err(WrapError::field(
                field,
                format!("{sharing} of them, as {}", input.shape()),
                names.len(),
            ));
        }
        return Ok(Some(names));
    }
    if sharing == 1 {
        // observation.images.top, images.top, observation/image/top, top_image
        let separators: &[char] = &['.', '/'];
        let last = input.name.rsplit(separators).next().unwrap_or(&input.name);
        let bare = last
            .trim_end_matches("_image")
            .trim_end_matches("_rgb")
            .trim_start_matches("image_");
        let generic = says(bare, &["image", "input", "pixel", "rgb"]);
        if let Some(name) = [last, bare]
            .into_iter()
            .find(|name| !generic && !name.is_empty() && in_cell(name))
        {
            return Ok(Some(vec![name.to_owned()]));
        }
        if let ([(only, _)], 1) = (known.cameras, inputs) {
            return Ok(Some(vec![only.clone()]));
        }
    }
    let there = match cell()[..] {
        [] => String::new(),
        ref names => format!(" (of {})", names.join(", ")),
    };
    let example = cell().first().copied().unwrap_or("top").to_owned();
    if sharing == 1 {
        draft.ask(
            input_key(&input.name, "camera"),
            format!("which camera{there} is input `{}`?", input.name),
            format!("\"{example}\""),
        );
    } else {
        draft.ask(
            input_key(&input.name, "cameras"),
            format!(
                "which {sharing} cameras{there} are in input `{}`, in their order?",
                input.name
            ),
            format!("[\"{example}\", ..]"),
        );
    }
    Ok(None)
}

/// Width and height of the pictures that `input` takes.
fn size(
    known: &Known<'_>,
    input: &TensorSpec,
    said: &InputMap,
    layout: &str,
    draft: &mut Draft,
) -> Result<Option<[i64; 2]>, WrapError> {
    let side = |axis: char| match layout.find(axis).and_then(|i| input.dims.get(i)) {
        Some(Dim::Is(n)) => Some(*n as i64),
        _ => None,
    };
    let fixed = [side('w'), side('h')];
    let told = said.size.or(known.package.and_then(|p| Some(p.resize?.0)));
    for (fixed, told) in fixed.into_iter().zip(told.unwrap_or_default()) {
        if said.size.is_some() && fixed.is_some_and(|n| n != told) {
            let field = input_key(&input.name, "size");
            return Err(WrapError::field(
                field,
                format!("that of the input, {}", input.shape()),
                format!("{:?}", said.size),
            ));
        }
    }
    match (fixed, told) {
        ([Some(width), Some(height)], _) => Ok(Some([width, height])),
        (_, Some(told)) => Ok(Some(told)),
        _ => {
            let ask = format!(
                "input `{}`, {}, takes pictures of any size: of which were those in training (width, height)?",
                input.name,
                input.shape()
            );
            draft.ask(input_key(&input.name, "size"), ask, "[640, 480]");
            Ok(None)
        }
    }
}

/// Width and height of the pictures that `camera` takes: as the cell, or else the package has them, or else as the graph takes
/// them.
fn camera_size(known: &Known<'_>, camera: &str, said: &InputMap, size: [i64; 2]) -> [i64; 2] {
    let cell = known.cameras.iter().find(|(name, _)| name == camera);
    let cell = cell
        .and_then(|(_, size)| *size)
        .map(|s| s.map(|n| n as i64));
    let package = known.package.iter().flat_map(|p| &p.cameras);
    let package = package.filter(|(name, _)| name == camera);
    let package = package.filter_map(|(_, size)| *size).next();
    said.camera_size.or(cell).or(package).unwrap_or(size)
}

/// How a picture of size `from` becomes one of size `to`, and how pixels in between are made; `None` where nobody has said.
fn fit(
    known: &Known<'_>,
    _: &TensorSpec,
    said: &InputMap,
    (from, to): ([i64; 2], [i64; 2]),
) -> Option<(String, String)> {
    let filter = said.filter.clone().unwrap_or_else(|| "bilinear".into());
    let package = known
        .package
        .and_then(|p| p.resize)
        .map(|(_, fit)| fit.to_owned());
    match said.fit.clone().or(package) {
        _ if from == to => Some(("exact".into(), filter)),
        Some(fit) => Some((fit, filter)),
        None => None,
    }
}

/// Top of the range, mean and std of the colours.
fn range(
    known: &Known<'_>,
    input: &TensorSpec,
    said: &InputMap,
    draft: &mut Draft,
) -> Result<Option<[[f64; 3]; 3]>, WrapError> {
    let plain = |top: f64| [[top; 3], [0.0; 3], [1.0; 3]];
    if input.element == Element::U8 {
        return Ok(Some(plain(255.0)));
    }
    let of_stats = |why: &str| {
        let names = [input.name.as_str()];
        let stats = known.stats.and_then(|stats| stats.of(&names));
        let three = |key: &str| {
            let values = stats?.get(key)?;
            <[f64; 3]>::try_from(&values[..]).ok()
        };
        match (three("mean"), three("std")) {
            (Some(mean), Some(std)) => Ok(Some([[1.0; 3], mean, std])),
            _ => {
                let field = format!("statistics of `{}`", input.name);
                Err(WrapError::field(
                    field,
                    format!("mean and std of three colours, {why}"),
                    "none",
                ))
            }
        }
    };
    if let (Some(mean), Some(std)) = (said.mean, said.std) {
        return Ok(Some([[1.0; 3], mean, std]));
    }
    let package = known.package;
    let package = package.map(|p| p.normalises(&input.name, known.stats));
    let package = package.transpose()?;
    let lerobot = input.name.starts_with("observation.image");
    match (said.range.as_deref(), package) {
        (Some("unit"), _) => Ok(Some(plain(1.0))),
        (Some("bytes"), _) => Ok(Some(plain(255.0))),
        (Some("signed"), _) => Ok(Some([[1.0; 3], [0.5; 3], [0.5; 3]])),
        (Some("imagenet"), _) => Ok(Some([[1.0; 3], IMAGENET[0], IMAGENET[1]])),
        (Some("mean_std"), _) => of_stats("as `range` says"),
        (Some(other), _) => {
            let expected = "`unit`, `bytes`, `signed`, `imagenet` or `mean_std`";
            Err(WrapError::field(
                input_key(&input.name, "range"),
                expected,
                format!("`{other}`"),
            ))
        }
        (None, Some("mean_std")) => of_stats("as the package normalises it"),
        // LeRobot's graphs take 0..1, unless its processor's normalisation was left outside; then there are statistics.
        (None, Some("as_is")) => Ok(Some(plain(1.0))),
        (None, Some(word)) => Err(WrapError::field(
            format!("pictures of `{}`", input.name),
            "`mean_std` of a package that normalises them",
            format!("`{word}`"),
        )),
        (None, None) => {
            let more = if lerobot {
                " (LeRobot's policies: unit, or mean_std or imagenet where normalisation is not in the graph)"
            } else {
                ""
            };
            let ask = format!(
                "in which range does input `{}` take colours: unit (0..1), bytes (0..255), signed (-1..1), imagenet, mean_std{more}?",
                input.name
            );
            draft.ask(input_key(&input.name, "range"), ask, "\"unit\"");
            Ok(None)
        }
    }
}
