//! A mapping to a bundle: written beside where it shall lie, opened, run once, and only then put there.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use tactus_bundle::{DirectBundle, Graph};
use tactus_onnx::{
    Dim, Element, OnnxRuntime, Place, Provider, Session, SessionOptions, TensorSpec, open_all,
};
use tactus_vla::{RunOptions, VlaError};

use super::{Mapping, Scan, WrapError};
use crate::{DirectPolicy, graph, probe};

/// What goes into a bundle beside the mapping.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// The ONNX file.
    pub graph: &'a Path,
    /// What it says of itself.
    pub scan: &'a Scan,
    /// Golden cases.
    pub golden: &'a [PathBuf],
    /// Where the bundle goes; must not exist.
    pub out: &'a Path,
}

/// A folder that is removed again unless it is kept.
struct Partial(Option<PathBuf>);

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take() {
            // What cannot be removed has a name that says what it is.
            drop(std::fs::remove_dir_all(folder));
        }
    }
}

/// Opens the graph of `file` to see its tensors.
///
/// # Errors
/// [`WrapError::Onnx`] when ONNX Runtime does not take it.
pub fn look(file: &Path, options: &RunOptions) -> Result<Session, WrapError> {
    let runtime = OnnxRuntime::load(options.ort_library.as_deref(), Provider::Cpu)?;
    let session_options = SessionOptions {
        intra_threads: options.intra_threads,
        ..SessionOptions::default()
    };
    let opened = open_all(&runtime, &[(Graph::Policy, file.into())], session_options)?;
    let mut sessions = opened.sessions;
    sessions
        .pop()
        .ok_or_else(|| WrapError::field("graph", "one", "none"))
}

/// Writes the bundle, having made a chunk with it. Nothing is left where that fails.
///
/// # Errors
/// [`WrapError`] for the first thing that is wrong.
pub fn write(
    mut mapping: Mapping,
    contents: &Contents<'_>,
    session: Session,
    options: &RunOptions,
) -> Result<DirectBundle, WrapError> {
    let out = contents.out;
    let exists =
        |actual: &str| WrapError::field("--out", "a folder that does not exist yet", actual);
    let Some(name) = out.file_name().filter(|_| !out.exists()) else {
        return Err(exists(&format!("`{}`, which does", out.display())));
    };
    let partial = out.with_file_name(format!(
        "{}.partial-{}",
        name.to_string_lossy(),
        std::process::id()
    ));
    let mut held = Partial(Some(partial.clone()));
    if mapping.manifest["chunk"]["rows"].as_integer() == Some(-1) {
        rows_of_a_run(&mut mapping, session)?;
    }
    fill(&partial, mapping, contents)?;
    let bundle = DirectBundle::open(&partial).map_err(VlaError::from)?;
    let joints = bundle.outline().action.joints.clone();
    let mut policy = DirectPolicy::of_bundle(bundle, options.policy(&joints))?;
    probe::try_out(&mut policy)?;
    drop(policy);
    std::fs::rename(&partial, out).map_err(|source| WrapError::File {
        file: out.into(),
        source,
    })?;
    held.0 = None;
    Ok(DirectBundle::open(out).map_err(VlaError::from)?)
}

/// Learns how many rows the graph makes by running it.
fn rows_of_a_run(mapping: &mut Mapping, mut session: Session) -> Result<(), WrapError> {
    let mut binding = session.binding()?;
    let of = |input: &TensorSpec| -> Vec<usize> {
        // Dynamic axes as the mapping has them.
        let cameras = mapping
            .manifest
            .get("camera")
            .and_then(toml::Value::as_array);
        let picture = cameras
            .into_iter()
            .flatten()
            .find(|c| c["input"].as_str() == Some(&input.name));
        let layout = picture.and_then(|c| c["layout"].as_str()).unwrap_or("");
        let side = |i: usize| -> usize {
            let size = picture.map(|c| &c["size"]);
            let value = match (layout.chars().nth(i), size) {
                (Some('w'), Some(size)) => size[0].as_integer(),
                (Some('h'), Some(size)) => size[1].as_integer(),
                _ => Some(1),
            };
            value.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)
        };
        let dims = input.dims.iter().enumerate();
        dims.map(|(i, dim)| match dim {
            Dim::Is(n) => *n,
            Dim::Any => side(i),
        })
        .collect()
    };
    let inputs = session.inputs().to_vec();
    let (mut floats, mut bytes) = (Vec::new(), Vec::new());
    for input in &inputs {
        if input.element == Element::U8 {
            let buffer = session.buffer::<u8>(&input.name, Place::Host, &of(input))?;
            binding.input(&input.name, &buffer)?;
            bytes.push(buffer);
        } else {
            let buffer = session.buffer::<f32>(&input.name, Place::Host, &of(input))?;
            binding.input(&input.name, &buffer)?;
            floats.push(buffer);
        }
    }
    let shapes = session.output_shapes(&mut binding)?;
    let name = mapping.manifest["chunk"]["output"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let place = session.outputs().iter().position(|o| o.name == name);
    let shape = place
        .and_then(|i| shapes.get(i))
        .cloned()
        .unwrap_or_default();
    let [_, rows, _] = shape[..] else {
        return Err(WrapError::field(
            format!("output `{name}`"),
            "[B, H, D]",
            format!("{shape:?} from a run"),
        ));
    };
    let rows = rows as i64;
    let first = mapping.manifest["chunk"]["first_row"]
        .as_integer()
        .unwrap_or(0);
    let set = |table: &mut toml::Table, of: &str, key: &str, value: i64| {
        if let Some(table) = table.get_mut(of).and_then(toml::Value::as_table_mut) {
            table.insert(key.into(), value.into());
        }
    };
    set(&mut mapping.manifest, "chunk", "rows", rows);
    let horizon = mapping.manifest["action"]["horizon"]
        .as_integer()
        .unwrap_or(-1);
    if horizon <= 0 {
        set(&mut mapping.manifest, "action", "horizon", rows - first);
    }
    mapping.notes.push([format!("{rows} rows"), "a run".into()]);
    Ok(())
}

/// Writes every file of the bundle into `folder`.
fn fill(folder: &Path, mapping: Mapping, contents: &Contents<'_>) -> Result<(), WrapError> {
    let failed = |file: &Path| {
        let file = file.to_path_buf();
        move |source| WrapError::File { file, source }
    };
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    let mut put = |name: String, bytes: &[u8]| -> Result<(), WrapError> {
        let to = folder.join(&name);
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        std::fs::write(&to, bytes).map_err(failed(&to))?;
        let digest = Sha256::digest(bytes);
        files.insert(
            name,
            digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        );
        Ok(())
    };
    let read = |file: &Path| std::fs::read(file).map_err(failed(file));
    let own = |file: &Path| {
        file.file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned())
    };
    let graph = format!("graphs/{}", own(contents.graph));
    put(graph.clone(), &read(contents.graph)?)?;
    for (name, file) in contents
        .scan
        .external
        .iter()
        .zip(contents.scan.beside(contents.graph))
    {
        put(format!("graphs/{name}"), &read(&file)?)?;
    }
    let mut cases = Vec::new();
    for (i, file) in contents.golden.iter().enumerate() {
        let name = format!("golden/case-{i}.safetensors");
        put(name.clone(), &read(file)?)?;
        cases.push(toml::Value::from(name));
    }
    let stats = serde_json::to_string_pretty(&mapping.stats).unwrap_or_default() + "\n";
    put("stats.json".into(), stats.as_bytes())?;

    let mut manifest = mapping.manifest;
    let table = |entries: Vec<(&str, toml::Value)>| -> toml::Value {
        let entries = entries.into_iter().map(|(k, v)| (k.to_owned(), v));
        toml::Value::Table(entries.collect())
    };
    let source = vec![
        ("file", own(contents.graph).into()),
        ("made_by", contents.scan.made_by.as_str().into()),
    ];
    manifest.insert("source".into(), table(source));
    let graph = vec![
        ("file", graph.into()),
        ("precision", contents.scan.precision.into()),
    ];
    manifest.insert("graph".into(), table(graph));
    manifest.insert("golden".into(), table(vec![("cases", cases.into())]));
    let files = files.into_iter().map(|(k, v)| (k, v.into()));
    manifest.insert("files".into(), toml::Value::Table(files.collect()));
    let text = toml::to_string(&manifest).map_err(|e| WrapError::field("manifest", "TOML", e))?;
    let to = folder.join("bundle.toml");
    std::fs::write(&to, text).map_err(failed(&to))
}

/// The inputs and the output of a bundle, for tables.
pub fn tensors(bundle: &DirectBundle) -> Vec<TensorSpec> {
    let inputs = graph::inputs(bundle.manifest())
        .into_iter()
        .map(|(spec, _)| spec);
    inputs.chain([graph::output(bundle.manifest()).0]).collect()
}
