//! The way from `bundle.toml` as written to the validated [`Manifest`]: the first thing wrong is the error.

use std::{collections::BTreeMap, time::Duration};

use tactus_types::MAX_JOINTS;

use crate::{
    bounds,
    bundle::{MANIFEST, STATS},
    error::BundleError,
    expert,
    manifest::{
        Action, Alignment, Anchor, Backbone, BinaryGripper, CameraSpec, Cost, Decoder, Denoise,
        Family, Fast, GraphFile, Manifest, NormPlace, Normalisation, OrtVersion, Padding,
        PaddingSide, PositionIds, Precision, Prompt, Representation, Rotation, SCHEMA, Source,
        State, Tool, Variant, Vision, WayFrame,
    },
    raw::{
        RawAction, RawBackbone, RawBinaryGripper, RawCamera, RawDecoder, RawDenoise, RawFamily,
        RawFast, RawGraph, RawManifest, RawPrompt, RawSchema, RawState, RawTool, RawVision,
    },
};

/// Parses and validates the text of `bundle.toml`.
///
/// # Errors
/// [`BundleError::Syntax`] for what is not TOML or has unknown, missing or mistyped fields; [`BundleError::Field`]
/// for a value out of range. A schema other than [`SCHEMA`] is said before anything else about the file.
pub(crate) fn manifest(text: &str) -> Result<Manifest, BundleError> {
    if family(text)? == crate::direct::FAMILY {
        let expected = "one of a language model and a head";
        return Err(BundleError::manifest("family", expected, "`direct`"));
    }
    let raw: RawManifest = parse(text)?;
    let files = FileTable::new(raw.files)?;
    let listed = |field: &str, file: String| files.listed(field, file);
    listed("files", STATS.into())?;
    let graph = |name: &str, raw: RawGraph| {
        let RawGraph {
            file,
            precision,
            cost,
        } = raw;
        Ok(GraphFile {
            cost: cost.map(|raw| Cost {
                weight_bytes: raw.weight_bytes,
                operations: raw.operations,
            }),
            file: listed(&format!("graphs.{name}.file"), file)?,
            precision: Precision::parse(&format!("graphs.{name}.precision"), &precision)?,
        })
    };
    let graphs = [
        graph("vision", raw.graphs.vision)?,
        graph("backbone", raw.graphs.backbone)?,
        graph("context", raw.graphs.context)?,
        graph("denoise", raw.graphs.denoise)?,
    ];
    let denoise_vjp = raw.graphs.denoise_vjp;
    let denoise_vjp = denoise_vjp
        .map(|raw| graph("denoise_vjp", raw))
        .transpose()?;
    let decoder_graph = raw.graphs.decoder;
    let decoder_graph = decoder_graph.map(|raw| graph("decoder", raw)).transpose()?;
    let decoder = raw.decoder.map(|raw| decoder(raw, &listed)).transpose()?;
    if decoder.is_some() != decoder_graph.is_some() {
        let field = "graphs.decoder";
        let (expected, actual) = match decoder {
            Some(_) => ("a graph, since there is a table `decoder`", "none"),
            None => ("none without a table `decoder`", "a graph"),
        };
        return Err(BundleError::manifest(field, expected, actual));
    }
    let family = Family::parse("family", &raw.family)?;
    if raw.golden.cases.is_empty() {
        return Err(BundleError::manifest(
            "golden.cases",
            "at least one file",
            "none",
        ));
    }
    let golden = raw
        .golden
        .cases
        .into_iter()
        .enumerate()
        .map(|(i, file)| listed(&format!("golden.cases[{i}]"), file))
        .collect::<Result<_, _>>()?;
    let reference = raw.reference.map(|raw| listed("reference.file", raw.file));
    let reference = reference.transpose()?;
    let state = state(raw.state)?;
    let tokenizer = listed("prompt.tokenizer", raw.prompt.tokenizer.clone())?;
    Ok(Manifest {
        name: non_empty("name", raw.name)?,
        family,
        variant: Variant::parse("variant", &raw.variant)?,
        min_ort: OrtVersion::parse(&raw.min_ort).ok_or_else(|| {
            BundleError::manifest(
                "min_ort",
                "a version such as `1.24`",
                format!("`{}`", raw.min_ort),
            )
        })?,
        source: Source {
            backbone: raw.source.backbone,
            revision: raw.source.revision,
            exporter: raw.source.exporter,
            torch: raw.source.torch,
            transformers: raw.source.transformers,
        },
        backbone: backbone(raw.backbone, family, &raw.prompt.pad_token)?,
        vision: vision(raw.vision, family)?,
        cameras: cameras(raw.camera)?,
        prompt: prompt(tokenizer, raw.prompt, family, state.columns())?,
        state,
        action: expert::said_once(action(raw.action)?, family)?,
        denoise: denoise(raw.denoise, family)?,
        graphs,
        denoise_vjp,
        decoder,
        decoder_graph,
        golden,
        reference,
        files: files.into_table(),
    })
}

/// The family that the text of a `bundle.toml` of this schema names.
pub(crate) fn family(text: &str) -> Result<String, BundleError> {
    let RawFamily { family } = parse(text)?;
    Ok(family)
}

/// Parses the text of a `bundle.toml`; a schema other than [`SCHEMA`] is said before anything else about the file.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, BundleError> {
    let syntax = |error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let line = 1 + text
            .bytes()
            .take(start)
            .filter(|byte| *byte == b'\n')
            .count();
        let reason = format!("line {line}: {}", error.message());
        BundleError::Syntax {
            file: MANIFEST.into(),
            reason,
        }
    };
    let RawSchema { schema } = toml::from_str(text).map_err(syntax)?;
    if schema != SCHEMA {
        let expected = match schema > SCHEMA {
            true => format!("{SCHEMA} (the bundle is newer than this runtime)"),
            false => SCHEMA.to_string(),
        };
        return Err(BundleError::manifest("schema", expected, schema));
    }
    toml::from_str(text).map_err(syntax)
}

/// The files of a bundle, each inside it.
pub(crate) struct FileTable(BTreeMap<String, String>);

impl FileTable {
    /// Checks the table `files`.
    pub(crate) fn new(files: BTreeMap<String, String>) -> Result<Self, BundleError> {
        for (file, digest) in &files {
            let field = format!("files.\"{file}\"");
            relative("files", file)?;
            if digest.len() != 64
                || !digest
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            {
                let expected = "64 lower-case hexadecimal digits";
                return Err(BundleError::manifest(
                    field,
                    expected,
                    format!("`{digest}`"),
                ));
            }
        }
        Ok(Self(files))
    }

    /// `file`, which `field` names and which has to be in the table.
    pub(crate) fn listed(&self, field: &str, file: String) -> Result<String, BundleError> {
        relative(field, &file)?;
        match self.0.contains_key(&file) {
            true => Ok(file),
            false => Err(BundleError::manifest(
                field,
                "a file listed in `files`",
                format!("`{file}`"),
            )),
        }
    }

    /// The table.
    pub(crate) fn into_table(self) -> BTreeMap<String, String> {
        self.0
    }
}

fn backbone(raw: RawBackbone, family: Family, token: &str) -> Result<Backbone, BundleError> {
    let position_ids = PositionIds::parse("backbone.position_ids", &raw.position_ids)?;
    let expected = match family {
        Family::Qwen25VlGrootN15 => PositionIds::Chunked,
        Family::Qwen3VlGrootN15 | Family::Qwen3VlGrootN17 => PositionIds::Interleaved,
        Family::Pi0 | Family::Pi05 | Family::SmolVla => PositionIds::Sequential,
    };
    only(
        "backbone.position_ids",
        position_ids.word(),
        expected.word(),
    )?;
    only("backbone.encoder_mask", &raw.encoder_mask, "none")?;
    let padding = match raw.padding.as_str() {
        "none" => {
            none_of("backbone.padded_length", raw.padded_length, "this bundle")?;
            None
        }
        side => Some(Padding {
            side: match PaddingSide::parse("backbone.padding", side) {
                Ok(side) => side,
                Err(_) => {
                    let expected = "`none` or `left` or `right`";
                    let actual = format!("`{side}`");
                    return Err(BundleError::manifest("backbone.padding", expected, actual));
                }
            },
            length: bounds::PADDED_LENGTH.count(raw.padded_length)?,
            token: non_empty("prompt.pad_token", token.into())?,
        }),
    };
    if (family == Family::Qwen3VlGrootN17 || family.has_expert()) && padding.is_some() {
        let expected = "`none` (its head reads tokens only, and no filling)";
        return Err(BundleError::manifest(
            "backbone.padding",
            expected,
            format!("`{}`", raw.padding),
        ));
    }
    let hidden = bounds::HIDDEN.count(raw.hidden)?;
    let features = expert::features(raw.features, family, hidden)?;
    Ok(Backbone {
        layers: bounds::LAYERS.count(raw.layers)?,
        norm: NormPlace::parse("backbone.norm", &raw.norm)?,
        hidden,
        features,
        position_ids,
        padding,
    })
}

fn vision(raw: RawVision, family: Family) -> Result<Vision, BundleError> {
    let scaling = expert::scaling(&raw, family)?;
    // Each family has its own way of knowing where a patch is; what belongs to the other is 0.
    let (window, position_table, deepstack) = match family {
        Family::Qwen25VlGrootN15 => {
            none_of("vision.position_table", raw.position_table, family.word())?;
            none_of("vision.deepstack", raw.deepstack, family.word())?;
            (bounds::WINDOW.count(raw.window)?, 0, 0)
        }
        Family::Qwen3VlGrootN15 | Family::Qwen3VlGrootN17 => {
            none_of("vision.window", raw.window, family.word())?;
            let table = bounds::POSITION_TABLE.count(raw.position_table)?;
            (0, table, bounds::DEEPSTACK.count(raw.deepstack)?)
        }
        Family::Pi0 | Family::Pi05 | Family::SmolVla => {
            for (field, value) in [
                ("vision.window", raw.window),
                ("vision.position_table", raw.position_table),
                ("vision.deepstack", raw.deepstack),
            ] {
                none_of(field, value, family.word())?;
            }
            only(
                "vision.temporal_patch",
                &raw.temporal_patch.to_string(),
                "1",
            )?;
            (0, 0, 0)
        }
    };
    for value in raw.mean {
        bounds::MEAN.real(value)?;
    }
    for value in raw.std {
        bounds::STD.real(value)?;
    }
    let out = Vision {
        patch: bounds::PATCH.count(raw.patch)?,
        temporal_patch: bounds::TEMPORAL_PATCH.count(raw.temporal_patch)?,
        merge: bounds::MERGE.count(raw.merge)?,
        window,
        position_table,
        deepstack,
        mean: raw.mean,
        std: raw.std,
        min_pixels: bounds::PIXELS.count_at("vision.min_pixels", raw.min_pixels)?,
        max_pixels: bounds::PIXELS.count_at("vision.max_pixels", raw.max_pixels)?,
        scaling,
    };
    if !out.window.is_multiple_of(out.factor()) {
        let expected = format!("a multiple of patch * merge = {}", out.factor());
        return Err(BundleError::manifest("vision.window", expected, out.window));
    }
    if out.max_pixels < out.min_pixels || out.max_pixels < out.factor() * out.factor() {
        let expected = format!(
            "at least min_pixels = {} and one merge unit = {}",
            out.min_pixels,
            out.factor() * out.factor()
        );
        return Err(BundleError::manifest(
            "vision.max_pixels",
            expected,
            out.max_pixels,
        ));
    }
    Ok(out)
}

pub(crate) fn cameras(raw: Vec<RawCamera>) -> Result<Vec<CameraSpec>, BundleError> {
    bounds::CAMERAS.count(i64::try_from(raw.len()).unwrap_or(i64::MAX))?;
    let mut out: Vec<CameraSpec> = Vec::with_capacity(raw.len());
    for (
        i,
        RawCamera {
            name,
            width,
            height,
        },
    ) in raw.into_iter().enumerate()
    {
        let field = format!("camera[{i}].name");
        let name = non_empty(&field, name)?;
        if out.iter().any(|camera| camera.name == name) {
            return Err(BundleError::manifest(
                field,
                "a name used once",
                format!("`{name}`"),
            ));
        }
        out.push(CameraSpec {
            name,
            width: bounds::CAMERA_SIDE.count_at(&format!("camera[{i}].width"), width)?,
            height: bounds::CAMERA_SIDE.count_at(&format!("camera[{i}].height"), height)?,
        });
    }
    Ok(out)
}

fn prompt(
    tokenizer: String,
    raw: RawPrompt,
    family: Family,
    columns: usize,
) -> Result<Prompt, BundleError> {
    let state = expert::state_words(raw.state, &raw.template, family, columns)?;
    for (field, text, placeholder) in [
        ("prompt.template", &raw.template, "{instruction}"),
        ("prompt.template", &raw.template, "{images}"),
        ("prompt.image", &raw.image, "{pads}"),
    ] {
        let found = text.matches(placeholder).count();
        if found != 1 {
            let expected = format!("`{placeholder}` exactly once");
            return Err(BundleError::manifest(
                field,
                expected,
                format!("{found} times"),
            ));
        }
    }
    Ok(Prompt {
        tokenizer,
        template: raw.template,
        state,
        image: raw.image,
        image_token: non_empty("prompt.image_token", raw.image_token)?,
        lowercase: raw.lowercase,
        strip_punctuation: raw.strip_punctuation,
    })
}

pub(crate) fn state(raw: RawState) -> Result<State, BundleError> {
    Ok(State {
        joints: joints("state.joints", raw.joints)?,
        gripper: raw.gripper,
        normalisation: Normalisation::parse("state.normalisation", &raw.normalisation)?,
    })
}

pub(crate) fn action(raw: RawAction) -> Result<Action, BundleError> {
    let horizon = bounds::HORIZON.count(raw.horizon)?;
    let max_prefix = match usize::try_from(raw.max_prefix) {
        Ok(max_prefix) if max_prefix < horizon => max_prefix,
        _ => {
            let expected = format!("an integer in 0..{horizon} (less than the horizon)");
            return Err(BundleError::manifest(
                "action.max_prefix",
                expected,
                raw.max_prefix,
            ));
        }
    };
    let representation = Representation::parse("action.representation", &raw.representation)?;
    let width = bounds::ACTION_WIDTH.count(raw.width)?;
    // The bounds make both durations representable.
    let secs = |value: f64| Duration::from_nanos((value * 1e9).round() as u64);
    let action = Action {
        joints: joints("action.joints", raw.joints)?,
        gripper: raw.gripper,
        binary_gripper: binary_gripper(raw.binary_gripper, raw.gripper)?,
        anchor: anchor(raw.anchor, representation)?,
        tool: tool(raw.tool, representation)?,
        representation,
        normalisation: Normalisation::parse("action.normalisation", &raw.normalisation)?,
        horizon,
        period: secs(bounds::PERIOD_SECS.real(raw.period_s)?),
        first_action_offset: secs(
            bounds::FIRST_ACTION_OFFSET_SECS.real(raw.first_action_offset_s)?,
        ),
        alignment: Alignment::parse("action.alignment", &raw.alignment)?,
        max_prefix,
        max_feature_age: match raw.max_feature_age_s {
            None => Duration::ZERO,
            Some(age) => secs(bounds::FEATURE_AGE_SECS.real(age)?),
        },
        width,
    };
    let columns = action.columns();
    if width < columns {
        let expected = format!("at least the {columns} declared columns");
        return Err(BundleError::manifest("action.width", expected, width));
    }
    Ok(action)
}

/// What actions count from: measured joints, unless the manifest says otherwise.
fn anchor(raw: Option<String>, representation: Representation) -> Result<Anchor, BundleError> {
    match raw {
        None => Ok(Anchor::Measured),
        Some(word) if representation.is_anchored() => Anchor::parse("action.anchor", &word),
        Some(word) => Err(BundleError::manifest(
            "action.anchor",
            format!(
                "none, since `{}` counts from nothing",
                representation.word()
            ),
            format!("`{word}`"),
        )),
    }
}

fn tool(raw: Option<RawTool>, representation: Representation) -> Result<Option<Tool>, BundleError> {
    let word = representation.word();
    let (raw, field) = match (raw, representation.is_tool()) {
        (None, false) => return Ok(None),
        (Some(raw), true) => (raw, "action.tool.frame"),
        (raw, _) => {
            let (expected, actual) = match raw {
                Some(_) => ("none, since no tool is in", "a table"),
                None => ("base_link, tool_link and rotation of", "nothing"),
            };
            let expected = format!("{expected} `{word}`");
            return Err(BundleError::manifest("action.tool", expected, actual));
        }
    };
    let frame = match (raw.frame, representation.is_anchored()) {
        (Some(word), true) => WayFrame::parse(field, &word)?,
        (None, false) => WayFrame::Base,
        (frame, anchored) => {
            let expected = match anchored {
                true => format!("`base` or `tool`, in whose axes `{word}` go"),
                false => format!("none, since `{word}` are in the base frame"),
            };
            let actual = frame.map_or("nothing".into(), |word| format!("`{word}`"));
            return Err(BundleError::manifest(field, expected, actual));
        }
    };
    Ok(Some(Tool {
        base_link: non_empty("action.tool.base_link", raw.base_link)?,
        tool_link: non_empty("action.tool.tool_link", raw.tool_link)?,
        rotation: Rotation::parse("action.tool.rotation", &raw.rotation)?,
        frame,
    }))
}

fn binary_gripper(
    raw: Option<RawBinaryGripper>,
    gripper: bool,
) -> Result<Option<BinaryGripper>, BundleError> {
    let Some(RawBinaryGripper {
        open_above,
        close_below,
    }) = raw
    else {
        return Ok(None);
    };
    let field = "action.binary_gripper";
    if !gripper {
        let expected = "none, since `action.gripper` is false";
        return Err(BundleError::manifest(field, expected, "a table"));
    }
    if !(0.0 <= close_below && close_below < open_above && open_above <= 1.0) {
        let expected = "0 <= close_below < open_above <= 1";
        let actual = format!("{close_below} and {open_above}");
        return Err(BundleError::manifest(field, expected, actual));
    }
    Ok(Some(BinaryGripper {
        open_above,
        close_below,
    }))
}

fn denoise(raw: RawDenoise, family: Family) -> Result<Denoise, BundleError> {
    only("denoise.noise", &raw.noise, "normal")?;
    for (field, value, expected) in [
        ("denoise.time_from", raw.time_from, 0.0),
        ("denoise.time_to", raw.time_to, 1.0),
    ] {
        if value != expected {
            let expected = format!("{expected:.1} (time runs from noise at 0 to action at 1)");
            return Err(BundleError::manifest(field, expected, value));
        }
    }
    Ok(Denoise {
        steps: bounds::STEPS.count(raw.steps)?,
        buckets: match family.has_expert() {
            true => {
                none_of("denoise.buckets", raw.buckets, family.word())?;
                0
            }
            false => bounds::BUCKETS.count(raw.buckets)?,
        },
    })
}

fn decoder(
    raw: RawDecoder,
    listed: &impl Fn(&str, String) -> Result<String, BundleError>,
) -> Result<Decoder, BundleError> {
    if raw.eos.is_empty() {
        return Err(BundleError::manifest(
            "decoder.eos",
            "at least one token",
            "none",
        ));
    }
    let pair = |field: &str, texts: Option<[String; 2]>| match texts {
        None => Ok(None),
        Some([begin, end]) => {
            Ok::<_, BundleError>(Some([non_empty(field, begin)?, non_empty(field, end)?]))
        }
    };
    let fast = |raw: RawFast| {
        let found = raw.token.matches("{n}").count();
        if found != 1 {
            let actual = format!("{found} times");
            return Err(BundleError::manifest(
                "decoder.fast.token",
                "`{n}` exactly once",
                actual,
            ));
        }
        let [begin, end] = raw.marks;
        Ok(Fast {
            tokenizer: listed("decoder.fast.tokenizer", raw.tokenizer)?,
            config: listed("decoder.fast.config", raw.config)?,
            marks: [
                non_empty("decoder.fast.marks", begin)?,
                non_empty("decoder.fast.marks", end)?,
            ],
            token: raw.token,
        })
    };
    let eos = raw.eos.into_iter();
    Ok(Decoder {
        max_length: bounds::DECODER_LENGTH.count(raw.max_length)?,
        vocabulary: bounds::VOCABULARY.count(raw.vocabulary)?,
        eos: eos
            .map(|token| non_empty("decoder.eos", token))
            .collect::<Result<_, _>>()?,
        think: pair("decoder.think", raw.think)?,
        answer: pair("decoder.answer", raw.answer)?,
        fast: raw.fast.map(fast).transpose()?,
    })
}

fn joints(field: &str, names: Vec<String>) -> Result<Vec<String>, BundleError> {
    if names.is_empty() || names.len() > MAX_JOINTS {
        let expected = format!("1 to {MAX_JOINTS} names");
        return Err(BundleError::manifest(field, expected, names.len()));
    }
    for (i, name) in names.iter().enumerate() {
        if name.is_empty() || names[..i].contains(name) {
            let expected = "names that are not empty and used once";
            return Err(BundleError::manifest(field, expected, format!("`{name}`")));
        }
    }
    Ok(names)
}

/// A choice of which this runtime implements one.
pub(crate) fn only(field: &str, actual: &str, expected: &str) -> Result<(), BundleError> {
    match actual == expected {
        true => Ok(()),
        false => Err(BundleError::manifest(
            field,
            format!("`{expected}`"),
            format!("`{actual}`"),
        )),
    }
}

/// A number that means nothing for this bundle must be 0.
pub(crate) fn none_of(field: &str, actual: i64, why: &str) -> Result<(), BundleError> {
    match actual {
        0 => Ok(()),
        actual => Err(BundleError::manifest(
            field,
            format!("0 ({why} has none)"),
            actual,
        )),
    }
}

pub(crate) fn non_empty(field: &str, text: String) -> Result<String, BundleError> {
    match text.is_empty() {
        false => Ok(text),
        true => Err(BundleError::manifest(field, "a name", "an empty text")),
    }
}

/// A bundle names only files inside itself.
fn relative(field: &str, file: &str) -> Result<(), BundleError> {
    let plain =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
    if file.split('/').all(plain) && file != MANIFEST {
        return Ok(());
    }
    let expected = "a path inside the bundle such as `graphs/vision.onnx`";
    Err(BundleError::manifest(field, expected, format!("`{file}`")))
}
