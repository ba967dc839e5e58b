//! The way from `bundle.toml` as written to the validated [`Manifest`]: the first thing wrong is the error.

mod network;
mod robot;

use std::collections::BTreeMap;

use self::network::{backbone, decoder, denoise, prompt, vision};
pub(crate) use self::robot::{action, state};
use crate::{
    bounds,
    bundle::{MANIFEST, STATS},
    error::BundleError,
    expert,
    manifest::{
        CameraSpec, Cost, Family, GraphFile, Manifest, OrtVersion, Precision, SCHEMA, Source,
        Variant,
    },
    raw::{RawCamera, RawFamily, RawGraph, RawManifest, RawSchema},
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
