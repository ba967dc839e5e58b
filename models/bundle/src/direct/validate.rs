//! From `bundle.toml` as written to the validated [`DirectManifest`]: the first thing wrong is the error.

use std::time::Duration;

use super::{
    manifest::{
        AngleUnit, Axis, ChunkOutput, Colours, DirectManifest, Filter, Fit, History, Kind, Layout,
        NoiseInput, Others, Picture, PictureElement, StateInput, Task, Units,
    },
    raw::{RawChunk, RawDirect, RawHistory, RawNoise, RawPicture, RawStateInput, RawUnits},
};
use crate::{
    bounds,
    bundle::STATS,
    error::BundleError,
    manifest::{GraphFile, OrtVersion, Precision, State},
    outline::Outline,
    raw::RawCamera,
    validate::{self, FileTable, non_empty},
};

/// Parses and validates the text of `bundle.toml`.
///
/// # Errors
/// As of the other families.
pub(crate) fn manifest(text: &str) -> Result<DirectManifest, BundleError> {
    validate::only("family", &validate::family(text)?, super::FAMILY)?;
    let raw: RawDirect = validate::parse(text)?;
    let files = FileTable::new(raw.files)?;
    files.listed("files", STATS.into())?;
    let cameras = raw.camera.iter().map(|raw| RawCamera {
        name: raw.name.clone(),
        width: raw.width,
        height: raw.height,
    });
    let cameras = validate::cameras(cameras.collect())?;
    let history = history(raw.history)?;
    let pictures = raw
        .camera
        .into_iter()
        .enumerate()
        .map(|(i, raw)| picture(i, raw, history))
        .collect::<Result<Vec<_>, _>>()?;
    stacked(&pictures)?;
    let state = validate::state(raw.state)?;
    let action = validate::action(raw.action)?;
    if action.max_prefix > 0 || !action.max_feature_age.is_zero() {
        let field = "action.max_prefix";
        let expected = "0, and no max_feature_age_s: one graph has neither prefix nor features";
        return Err(BundleError::manifest(field, expected, action.max_prefix));
    }
    let chunk = chunk(raw.chunk, action.horizon)?;
    let units = units(raw.units, &state, &action.joints)?;
    let proprio = raw
        .proprio
        .map(|raw| proprio(raw, history, &pictures))
        .transpose()?;
    let golden = raw.golden.cases.into_iter().enumerate();
    let golden = golden
        .map(|(i, file)| files.listed(&format!("golden.cases[{i}]"), file))
        .collect::<Result<_, _>>()?;
    let reference = raw
        .reference
        .map(|raw| files.listed("reference.file", raw.file));
    Ok(DirectManifest {
        outline: Outline {
            name: non_empty("name", raw.name)?,
            cameras,
            state,
            action,
            steps: 1,
        },
        variant: non_empty("variant", raw.variant)?,
        min_ort: OrtVersion::parse(&raw.min_ort).ok_or_else(|| {
            BundleError::manifest(
                "min_ort",
                "a version such as `1.24`",
                format!("`{}`", raw.min_ort),
            )
        })?,
        source: [raw.source.file, raw.source.made_by],
        graph: GraphFile {
            file: files.listed("graph.file", raw.graph.file)?,
            precision: Precision::parse("graph.precision", &raw.graph.precision)?,
            cost: None,
        },
        pictures,
        proprio,
        chunk,
        history,
        noise: raw.noise.map(noise).transpose()?,
        units,
        task: Task {
            instruction: non_empty("task.instruction", raw.task.instruction)?,
            also: raw.task.also,
            others: Others::parse("task.others", &raw.task.others)?,
        },
        golden,
        reference: reference.transpose()?,
        files: files.into_table(),
    })
}

fn history(raw: Option<RawHistory>) -> Result<History, BundleError> {
    let Some(raw) = raw else {
        return Ok(History {
            steps: 1,
            period: Duration::ZERO,
        });
    };
    let secs = bounds::HISTORY_PERIOD_SECS.real(raw.period_s)?;
    Ok(History {
        steps: bounds::HISTORY_STEPS.count(raw.steps)?,
        period: Duration::from_nanos((secs * 1e9).round() as u64),
    })
}

fn picture(i: usize, raw: RawPicture, history: History) -> Result<Picture, BundleError> {
    let at = |field: &str| format!("camera[{i}].{field}");
    let layout = Layout::parse(&at("layout"), &raw.layout, Kind::Picture)?;
    if history.steps > 1 && !layout.has(Axis::Time) {
        let expected = format!("an axis `t` for {} observations", history.steps);
        return Err(BundleError::manifest(
            at("layout"),
            expected,
            format!("`{}`", raw.layout),
        ));
    }
    let element = PictureElement::parse(&at("element"), &raw.element)?;
    for (field, values, bound) in [
        ("mean", raw.mean, bounds::PICTURE_MEAN),
        ("std", raw.std, bounds::PICTURE_STD),
    ] {
        for value in values {
            bound.real_at(&at(field), value)?;
        }
    }
    let top = bounds::PICTURE_TOP.real_at(&at("top"), raw.top)?;
    let plain = top == 255.0 && raw.mean == [0.0; 3] && raw.std == [1.0; 3];
    if element == PictureElement::U8 && !plain {
        let expected = "255, mean 0 and std 1, as bytes are";
        return Err(BundleError::manifest(at("top"), expected, raw.top));
    }
    let [width, height] = raw.size;
    let (field, bound) = (at("size"), bounds::CAMERA_SIDE);
    let (width, height) = (
        bound.count_at(&field, width)?,
        bound.count_at(&field, height)?,
    );
    let fit = Fit::parse(&at("fit"), &raw.fit)?;
    let taken = (raw.width, raw.height);
    if fit == Fit::Exact && taken != (width as i64, height as i64) {
        let expected = format!(
            "`stretch`, `pad` or `crop`, as {}x{} becomes {width}x{height}",
            raw.width, raw.height
        );
        return Err(BundleError::manifest(at("fit"), expected, "`exact`"));
    }
    Ok(Picture {
        input: non_empty(&at("input"), raw.input)?,
        layout,
        element,
        width,
        height,
        fit,
        filter: Filter::parse(&at("filter"), &raw.filter)?,
        colours: Colours::parse(&at("colours"), &raw.colours)?,
        top,
        mean: raw.mean,
        std: raw.std,
    })
}

/// Cameras that share an input are one beside the other in it, and alike.
fn stacked(pictures: &[Picture]) -> Result<(), BundleError> {
    for (i, picture) in pictures.iter().enumerate() {
        let first = pictures.iter().find(|p| p.input == picture.input);
        let alike = first.is_some_and(|p| {
            (p.width, p.height, p.element, &p.layout)
                == (
                    picture.width,
                    picture.height,
                    picture.element,
                    &picture.layout,
                )
        });
        let count = pictures.iter().filter(|p| p.input == picture.input).count();
        let field = format!("camera[{i}].layout");
        if !alike {
            let expected = format!(
                "size, element and layout of the others in `{}`",
                picture.input
            );
            return Err(BundleError::manifest(field, expected, "others"));
        }
        if count > 1 && !picture.layout.has(Axis::Cameras) {
            let expected = format!("an axis `n`, as {count} cameras share `{}`", picture.input);
            return Err(BundleError::manifest(field, expected, "none"));
        }
    }
    Ok(())
}

fn proprio(
    raw: RawStateInput,
    history: History,
    pictures: &[Picture],
) -> Result<StateInput, BundleError> {
    let input = non_empty("proprio.input", raw.input)?;
    if pictures.iter().any(|p| p.input == input) {
        let expected = "an input that no camera has";
        return Err(BundleError::manifest(
            "proprio.input",
            expected,
            format!("`{input}`"),
        ));
    }
    let layout = Layout::parse("proprio.layout", &raw.layout, Kind::State)?;
    if history.steps > 1 && !layout.has(Axis::Time) {
        let expected = format!("an axis `t` for {} observations", history.steps);
        return Err(BundleError::manifest(
            "proprio.layout",
            expected,
            format!("`{}`", raw.layout),
        ));
    }
    Ok(StateInput { input, layout })
}

fn chunk(raw: RawChunk, horizon: usize) -> Result<ChunkOutput, BundleError> {
    let rows = bounds::HORIZON.count_at("chunk.rows", raw.rows)?;
    let first_row = usize::try_from(raw.first_row).ok();
    let first_row = first_row.filter(|first| first + horizon <= rows);
    Ok(ChunkOutput {
        output: non_empty("chunk.output", raw.output)?,
        layout: Layout::parse("chunk.layout", &raw.layout, Kind::Chunk)?,
        rows,
        first_row: first_row.ok_or_else(|| {
            let expected =
                format!("at least 0, with {horizon} actions from there on in {rows} rows");
            BundleError::manifest("chunk.first_row", expected, raw.first_row)
        })?,
    })
}

fn noise(raw: RawNoise) -> Result<NoiseInput, BundleError> {
    let shape = raw.shape.iter();
    let shape: Vec<usize> = shape
        .map(|n| bounds::NOISE_SIDE.count(*n))
        .collect::<Result<_, _>>()?;
    if shape.is_empty() || shape.len() > 4 {
        return Err(BundleError::manifest(
            "noise.shape",
            "1 to 4 axes",
            shape.len(),
        ));
    }
    Ok(NoiseInput {
        input: non_empty("noise.input", raw.input)?,
        shape,
    })
}

fn units(raw: RawUnits, state: &State, action: &[String]) -> Result<Units, BundleError> {
    let [closed, open] = raw.gripper;
    if !(closed.is_finite() && open.is_finite() && (open - closed).abs() >= 1e-6) {
        let expected = "two finite numbers that differ: closed, open";
        let actual = format!("{closed} and {open}");
        return Err(BundleError::manifest("units.gripper", expected, actual));
    }
    let known = |name: &String| state.joints.contains(name) || action.contains(name);
    let named = raw.inverted.iter().chain(raw.zero.keys());
    if let Some(name) = named.into_iter().find(|name| !known(name)) {
        let expected = "joints of the state or the action";
        return Err(BundleError::manifest(
            "units",
            expected,
            format!("`{name}`"),
        ));
    }
    for (name, value) in &raw.zero {
        bounds::JOINT_ZERO.real_at(&format!("units.zero.{name}"), *value)?;
    }
    Ok(Units {
        joints: AngleUnit::parse("units.joints", &raw.joints)?,
        gripper: raw.gripper,
        inverted: raw.inverted,
        zero: raw.zero,
    })
}
