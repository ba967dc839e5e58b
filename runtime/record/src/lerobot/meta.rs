//! What describes a set: `info.json`, `stats.json`, tasks and episodes as tables. Written anew after every run.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::ExportError;
use super::export::{Done, Form};
use super::stats::Sums;
use super::table::{self, Column, Values};

/// Files of a folder, as the format says.
pub const CHUNK: usize = 1000;

/// Names of the columns beside state and action, their types and what they mean.
const FLAGS: [(&str, &str); 6] = [
    ("source", "int64"),
    ("intervention", "bool"),
    ("held", "bool"),
    ("starved", "bool"),
    ("clamped", "bool"),
    ("success", "bool"),
];

/// Writes everything that describes the set of `done` in `folder`.
///
/// # Errors
/// [`ExportError`].
pub fn write(folder: &Path, form: &Form, done: &[Done]) -> Result<(), ExportError> {
    let mut tasks: Vec<&str> = Vec::new();
    for episode in done {
        if !tasks.contains(&episode.task.as_str()) {
            tasks.push(&episode.task);
        }
    }
    let frames: usize = done.iter().map(|d| d.length).sum();
    let info = json!({
        "codebase_version": "v3.0",
        "robot_type": form.robot,
        "total_episodes": done.len(),
        "total_frames": frames,
        "total_tasks": tasks.len(),
        "chunks_size": CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": form.fps,
        "splits": { "train": format!("0:{}", done.len()) },
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features(form),
    });
    text(&folder.join("meta/info.json"), &info)?;
    let mut sums: BTreeMap<&str, Sums> = BTreeMap::new();
    for (name, of) in done.iter().flat_map(|d| &d.sums) {
        sums.entry(name).or_default().add(of);
    }
    let words = sums.iter();
    let words = words.map(|(name, of)| ((*name).to_owned(), of.words(name.contains("images"))));
    text(
        &folder.join("meta/stats.json"),
        &Value::Object(words.collect()),
    )?;
    let number = (0..tasks.len() as i64).collect();
    let columns: Vec<Column> = vec![
        ("task_index".into(), Values::Int(number)),
        (
            "task".into(),
            Values::Text(tasks.iter().map(|t| (*t).to_owned()).collect()),
        ),
    ];
    let words = [("pandas", pandas())];
    replace(
        &folder.join("meta/tasks.parquet"),
        tasks.len(),
        &columns,
        &words,
    )?;
    let path = folder.join("meta/episodes/chunk-000");
    make(&path)?;
    let file = path.join("file-000.parquet");
    replace(&file, done.len(), &episodes(form, done), &[])
}

/// Makes a folder and all above it.
pub fn make(path: &Path) -> Result<(), ExportError> {
    std::fs::create_dir_all(path).map_err(|reason| ExportError::File {
        file: path.into(),
        action: "make the folder",
        reason,
    })
}

/// Index and name of the task of every episode.
pub fn task_index(done: &[Done], task: &str) -> i64 {
    let mut tasks: Vec<&str> = Vec::new();
    for episode in done {
        if !tasks.contains(&episode.task.as_str()) {
            tasks.push(&episode.task);
        }
    }
    let at = tasks.iter().position(|t| *t == task);
    at.unwrap_or(tasks.len()) as i64
}

fn features(form: &Form) -> Map<String, Value> {
    let mut features = Map::new();
    let joints =
        json!({ "dtype": "float32", "shape": [form.columns.len()], "names": form.columns });
    features.insert("observation.state".into(), joints.clone());
    features.insert("action".into(), joints);
    for (camera, (width, height)) in &form.cameras {
        features.insert(
            format!("observation.images.{camera}"),
            json!({
                "dtype": "video",
                "shape": [height, width, 3],
                "names": ["height", "width", "channels"],
                "info": {
                    "video.height": height,
                    "video.width": width,
                    "video.codec": form.codec,
                    "video.pix_fmt": "yuv420p",
                    "video.is_depth_map": false,
                    "video.fps": form.fps,
                    "video.channels": 3,
                    "has_audio": false,
                },
            }),
        );
        features.insert(
            format!("captured_at.{camera}"),
            json!({ "dtype": "float64", "shape": [1], "names": null }),
        );
    }
    for (name, dtype) in FLAGS {
        let feature = json!({ "dtype": dtype, "shape": [1], "names": null });
        features.insert(name.into(), feature);
    }
    for (name, dtype) in [
        ("captured_at", "float64"),
        ("timestamp", "float32"),
        ("frame_index", "int64"),
        ("episode_index", "int64"),
        ("index", "int64"),
        ("task_index", "int64"),
    ] {
        let feature = json!({ "dtype": dtype, "shape": [1], "names": null });
        features.insert(name.into(), feature);
    }
    features
}

fn episodes(form: &Form, done: &[Done]) -> Vec<Column> {
    let ints = |of: &dyn Fn(usize, &Done) -> usize| {
        let values = done.iter().enumerate().map(|(i, d)| of(i, d) as i64);
        Values::Int(values.collect())
    };
    let starts: Vec<usize> = done
        .iter()
        .scan(0, |at, d| {
            let start = *at;
            *at += d.length;
            Some(start)
        })
        .collect();
    let mut columns: Vec<Column> = vec![
        ("episode_index".into(), ints(&|i, _| i)),
        (
            "tasks".into(),
            Values::Texts(done.iter().map(|d| vec![d.task.clone()]).collect()),
        ),
        ("length".into(), ints(&|_, d| d.length)),
        ("data/chunk_index".into(), ints(&|i, _| i / CHUNK)),
        ("data/file_index".into(), ints(&|i, _| i % CHUNK)),
        ("dataset_from_index".into(), ints(&|i, _| starts[i])),
        (
            "dataset_to_index".into(),
            ints(&|i, d| starts[i] + d.length),
        ),
    ];
    for camera in form.cameras.keys() {
        let key = format!("videos/observation.images.{camera}");
        columns.push((format!("{key}/chunk_index"), ints(&|i, _| i / CHUNK)));
        columns.push((format!("{key}/file_index"), ints(&|i, _| i % CHUNK)));
        let zeros = vec![0.0; done.len()];
        columns.push((format!("{key}/from_timestamp"), Values::Double(zeros)));
        let ends = done.iter().map(|d| d.length as f64 / f64::from(form.fps));
        columns.push((
            format!("{key}/to_timestamp"),
            Values::Double(ends.collect()),
        ));
    }
    columns.push(("meta/episodes/chunk_index".into(), ints(&|_, _| 0)));
    columns.push(("meta/episodes/file_index".into(), ints(&|_, _| 0)));
    columns.push((
        "recording".into(),
        Values::Text(done.iter().map(|d| d.recording.clone()).collect()),
    ));
    columns.push((
        "success".into(),
        Values::Bool(done.iter().map(|d| d.success == Some(true)).collect()),
    ));
    columns
}

/// What makes pandas take the column `task` for the index; without it readers see numbers in place of tasks.
fn pandas() -> String {
    let column = |name: &str, kind: &str, numpy: &str| {
        json!({
            "name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": null,
        })
    };
    json!({
        "index_columns": ["task"],
        "column_indexes": [{
            "name": null, "field_name": null, "pandas_type": "unicode", "numpy_type": "object",
            "metadata": { "encoding": "UTF-8" },
        }],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": { "library": "tactus", "version": env!("CARGO_PKG_VERSION") },
        "pandas_version": "2.0.0",
    })
    .to_string()
}

/// Writes beside and renames: a reader sees the old file or the new one.
fn replace(
    file: &Path,
    rows: usize,
    columns: &[Column],
    words: &[(&str, String)],
) -> Result<(), ExportError> {
    let partial = file.with_extension("partial");
    table::write(&partial, rows, columns, words)?;
    rename(&partial, file)
}

fn text(file: &Path, value: &Value) -> Result<(), ExportError> {
    let partial = file.with_extension("partial");
    let refused = |action| {
        let file = partial.clone();
        move |reason| ExportError::File {
            file,
            action,
            reason,
        }
    };
    std::fs::write(&partial, format!("{value:#}\n")).map_err(refused("write it"))?;
    rename(&partial, file)
}

/// Gives a file that is whole its name.
pub fn rename(partial: &Path, file: &Path) -> Result<(), ExportError> {
    std::fs::rename(partial, file).map_err(|reason| ExportError::File {
        file: partial.into(),
        action: "rename it",
        reason,
    })
}
