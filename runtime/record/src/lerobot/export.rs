//! Recordings to a set, episode by episode.
//!
//! Every episode is written whole and then noted in the journal, a line each; what the journal does not have is made
//! again. So an interrupted export goes on where it was, and a set can be added to.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::episodes::{Content, Episode, episodes};
use super::rows::{Row, Rows, rows};
use super::stats::{SAMPLES, Sums};
use super::table::{self, Column, Values};
use super::{Codec, ExportError, meta, video};

/// Name of the journal in a set's folder.
const JOURNAL: &str = "tactus-export.jsonl";

/// How an export is configured.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// Folder of the set; made when it is not there.
    pub folder: PathBuf,
    /// Rows per second that the set says; `None`: the reference camera's rate.
    pub fps: Option<u32>,
    /// How pictures are encoded.
    pub codec: Codec,
    /// Camera whose frames are the rows; `None`: the first by name.
    pub reference: Option<String>,
}

/// What all episodes of a set have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Form {
    /// Rows per second.
    pub fps: u32,
    /// Name of the codec.
    pub codec: &'static str,
    /// Camera whose frames are the rows.
    pub reference: String,
    /// The arm's model.
    pub robot: String,
    /// Joints and the gripper.
    pub columns: Vec<String>,
    /// Cameras and the width and height of their frames.
    pub cameras: BTreeMap<String, (u32, u32)>,
}

/// An episode that is in the set.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// Name of its recording, and its size, bytes.
    pub recording: String,
    /// Its number there.
    pub number: u64,
    /// When it began there, nanoseconds.
    pub from: u64,
    /// Its rows.
    pub length: usize,
    /// The task in words.
    pub task: String,
    /// Whether the task was done.
    pub success: Option<bool>,
    /// What its numbers are like.
    pub sums: BTreeMap<String, Sums>,
}

/// What an export did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Episodes in the set.
    pub episodes: usize,
    /// Of those, the ones that were there before.
    pub before: usize,
    /// Rows in the set.
    pub frames: usize,
    /// Episodes without an end, which were left out.
    pub open: usize,
}

/// Adds every episode of `files` to the set in `options.folder`. `on_progress` is told how many episodes are done, and of
/// how many.
///
/// # Errors
/// [`ExportError`]; the episodes before it are in the set, and the same call goes on after them.
pub fn export(
    files: &[PathBuf],
    options: &ExportOptions,
    mut on_progress: impl FnMut(usize, usize),
) -> Result<Exported, ExportError> {
    let folder = &options.folder;
    let contents = files.iter().map(|file| episodes(file));
    let contents: Vec<Content> = contents.collect::<Result<_, _>>()?;
    // Only now: whoever gets an encoder for a recording that cannot be exported has got it for nothing.
    video::check(options.codec)?;
    let all = contents.iter().map(|c| c.episodes.len()).sum();
    let mut exported = Exported {
        open: contents.iter().map(|c| c.open).sum(),
        ..Exported::default()
    };
    for path in ["meta", "data"] {
        meta::make(&folder.join(path))?;
    }
    let (mut form, mut done) = journal(folder)?;
    let mut so_far = 0;
    for content in &contents {
        for episode in &content.episodes {
            let (recording, from) = (name(&episode.file), episode.from.as_nanos());
            let known = done
                .iter()
                .any(|d| d.recording == recording && d.from == from);
            if known {
                exported.before += 1;
            } else {
                let table = rows(episode, content, &reference(content, options))?;
                let this = form_of(content, options, &table, &episode.file)?;
                if let Some(form) = &form {
                    same(folder, form, &this)?;
                } else {
                    note(folder, &form_words(&this))?;
                    form = Some(this.clone());
                }
                let new = write(folder, &this, episode, &table, &done)?;
                note(folder, &done_words(&new))?;
                done.push(new);
            }
            so_far += 1;
            on_progress(so_far, all);
        }
    }
    let Some(form) = form else {
        return Err(ExportError::Lacks {
            file: files.first().cloned().unwrap_or_default(),
            what: "no episode with a beginning and an end is in it".into(),
        });
    };
    meta::write(folder, &form, &done)?;
    exported.episodes = done.len();
    exported.frames = done.iter().map(|d| d.length).sum();
    Ok(exported)
}

/// What an episode's recording is called in a set: its name and size.
fn name(file: &Path) -> String {
    let size = std::fs::metadata(file).map_or(0, |m| m.len());
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    format!("{name}:{size}")
}

fn reference(content: &Content, options: &ExportOptions) -> String {
    let first = || content.cameras.keys().next().cloned();
    options.reference.clone().or_else(first).unwrap_or_default()
}

fn form_of(
    content: &Content,
    options: &ExportOptions,
    rows: &Rows,
    file: &Path,
) -> Result<Form, ExportError> {
    let lacks = |what: String| ExportError::Lacks {
        file: file.into(),
        what,
    };
    let mut cameras = BTreeMap::new();
    for (camera, frames) in content.cameras.keys().zip(&rows.frames) {
        let first = frames.first();
        let first = first.ok_or_else(|| lacks(format!("no frame of camera `{camera}`")))?;
        cameras.insert(camera.clone(), (first.width, first.height));
    }
    let span = rows.rows.last().map_or(0.0, |row| row.captured_at);
    let measured = (rows.rows.len().saturating_sub(1)) as f64 / span;
    let fps = match options.fps {
        Some(fps) => fps,
        None if measured.is_finite() && measured >= 0.5 => measured.round() as u32,
        None => {
            return Err(lacks(
                "its rate cannot be told from one frame: say --fps".into(),
            ));
        }
    };
    let gripper = std::iter::once("gripper".to_owned());
    Ok(Form {
        fps,
        codec: options.codec.word(),
        reference: reference(content, options),
        robot: content.info.model.clone(),
        columns: content.info.joints.iter().cloned().chain(gripper).collect(),
        cameras,
    })
}

/// Whether an episode belongs into the set.
fn same(folder: &Path, set: &Form, this: &Form) -> Result<(), ExportError> {
    let (set, this) = (form_words(set), form_words(this));
    for field in ["fps", "codec", "reference", "robot", "columns", "cameras"] {
        if set["form"][field] != this["form"][field] {
            return Err(ExportError::Differs {
                folder: folder.into(),
                field,
                expected: set["form"][field].to_string(),
                actual: this["form"][field].to_string(),
            });
        }
    }
    Ok(())
}

/// Writes an episode's pictures, then its table.
fn write(
    folder: &Path,
    form: &Form,
    episode: &Episode,
    table: &Rows,
    done: &[Done],
) -> Result<Done, ExportError> {
    let number = done.len();
    let of = |ending: &str| {
        let (chunk, file) = (number / meta::CHUNK, number % meta::CHUNK);
        format!("chunk-{chunk:03}/file-{file:03}.{ending}")
    };
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    for (camera, frames) in form.cameras.keys().zip(&table.frames) {
        let key = format!("observation.images.{camera}");
        let file = folder.join("videos").join(&key).join(of("mp4"));
        let partial = file.with_extension("partial");
        meta::make(file.parent().unwrap_or(folder))?;
        video::encode(frames, form.fps, Codec::of(form.codec), &partial)?;
        meta::rename(&partial, &file)?;
        let every = frames.len().div_ceil(SAMPLES).max(1);
        let of_camera = sums.entry(key).or_default();
        frames
            .iter()
            .step_by(every)
            .for_each(|f| of_camera.picture(f));
    }
    let start: usize = done.iter().map(|d| d.length).sum();
    let numbers = Numbers {
        episode: number as i64,
        start: start as i64,
        task: meta::task_index(done, &episode.task),
        success: episode.success == Some(true),
    };
    let columns = columns(form, &table.rows, &numbers);
    for (name, values) in &columns {
        sums.insert(name.clone(), sums_of(values));
    }
    let file = folder.join("data").join(of("parquet"));
    let partial = file.with_extension("partial");
    meta::make(file.parent().unwrap_or(folder))?;
    table::write(&partial, table.rows.len(), &columns, &[])?;
    meta::rename(&partial, &file)?;
    Ok(Done {
        recording: name(&episode.file),
        number: episode.number,
        from: episode.from.as_nanos(),
        length: table.rows.len(),
        task: episode.task.clone(),
        success: episode.success,
        sums,
    })
}

/// What every row of an episode has in common.
struct Numbers {
    episode: i64,
    start: i64,
    task: i64,
    success: bool,
}

fn columns(form: &Form, rows: &[Row], numbers: &Numbers) -> Vec<Column> {
    let ints = |of: &dyn Fn(usize) -> i64| Values::Int((0..rows.len()).map(of).collect());
    let bools = |of: fn(&Row) -> bool| Values::Bool(rows.iter().map(of).collect());
    let lists =
        |of: fn(&Row) -> &Vec<f32>| Values::Floats(rows.iter().map(|r| of(r).clone()).collect());
    let mut columns: Vec<Column> = vec![
        ("observation.state".into(), lists(|r| &r.state)),
        ("action".into(), lists(|r| &r.action)),
    ];
    for (i, camera) in form.cameras.keys().enumerate() {
        let times = rows
            .iter()
            .map(|r| r.cameras.get(i).copied().unwrap_or(f64::NAN));
        columns.push((
            format!("captured_at.{camera}"),
            Values::Double(times.collect()),
        ));
    }
    let nominal = (0..rows.len()).map(|i| (i as f64 / f64::from(form.fps)) as f32);
    columns.extend([
        (
            "source".into(),
            Values::Int(rows.iter().map(|r| r.source).collect()),
        ),
        ("intervention".into(), bools(|r| r.intervention)),
        ("held".into(), bools(|r| r.held)),
        ("starved".into(), bools(|r| r.starved)),
        ("clamped".into(), bools(|r| r.clamped)),
        (
            "success".into(),
            Values::Bool(vec![numbers.success; rows.len()]),
        ),
        (
            "captured_at".into(),
            Values::Double(rows.iter().map(|r| r.captured_at).collect()),
        ),
        ("timestamp".into(), Values::Float(nominal.collect())),
        ("frame_index".into(), ints(&|i| i as i64)),
        ("episode_index".into(), ints(&|_| numbers.episode)),
        ("index".into(), ints(&|i| numbers.start + i as i64)),
        ("task_index".into(), ints(&|_| numbers.task)),
    ]);
    columns
}

fn sums_of(values: &Values) -> Sums {
    let mut sums = Sums::default();
    match values {
        Values::Float(v) => v.iter().for_each(|v| sums.take([f64::from(*v)])),
        Values::Double(v) => v.iter().for_each(|v| sums.take([*v])),
        Values::Int(v) => v.iter().for_each(|v| sums.take([*v as f64])),
        Values::Bool(v) => v.iter().for_each(|v| sums.take([f64::from(u8::from(*v))])),
        Values::Floats(v) => v
            .iter()
            .for_each(|v| sums.take(v.iter().map(|v| f64::from(*v)))),
        Values::Text(_) | Values::Texts(_) => {}
    }
    sums
}

fn form_words(form: &Form) -> Value {
    json!({ "form": {
        "fps": form.fps,
        "codec": form.codec,
        "reference": form.reference,
        "robot": form.robot,
        "columns": form.columns,
        "cameras": form.cameras,
    } })
}

fn done_words(done: &Done) -> Value {
    let sums: BTreeMap<&String, Value> = done.sums.iter().map(|(k, s)| (k, s.kept())).collect();
    json!({ "episode": {
        "recording": done.recording,
        "number": done.number,
        "from_nanos": done.from,
        "length": done.length,
        "task": done.task,
        "success": done.success,
        "sums": sums,
    } })
}

/// Adds a line to the journal, and sees to it that it is on the disk.
fn note(folder: &Path, words: &Value) -> Result<(), ExportError> {
    let file = folder.join(JOURNAL);
    let refused = |reason| ExportError::File {
        file: file.clone(),
        action: "write it",
        reason,
    };
    let journal = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file);
    let mut journal = journal.map_err(refused)?;
    writeln!(journal, "{words}").map_err(refused)?;
    journal.sync_all().map_err(refused)
}

/// What the journal says; a last line that was cut off is as if it had never been.
fn journal(folder: &Path) -> Result<(Option<Form>, Vec<Done>), ExportError> {
    let file = folder.join(JOURNAL);
    let refused = |action| {
        let file = file.clone();
        move |reason| ExportError::File {
            file,
            action,
            reason,
        }
    };
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if folder.join("meta/info.json").exists() {
                return Err(ExportError::Differs {
                    folder: folder.into(),
                    field: "origin",
                    expected: "an empty folder, or a set of this program's".into(),
                    actual: "another set".into(),
                });
            }
            return Ok((None, Vec::new()));
        }
        Err(e) => return Err(refused("read it")(e)),
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    if whole < text.len() {
        std::fs::write(&file, &text[..whole]).map_err(refused("mend it"))?;
    }
    let (mut form, mut done) = (None, Vec::new());
    for line in text[..whole].lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        form = form.or_else(|| form_from(&line["form"]));
        done.extend(done_from(&line["episode"]));
    }
    Ok((form, done))
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let texts = value.as_array()?.iter();
    texts.map(|t| Some(t.as_str()?.to_owned())).collect()
}

fn form_from(form: &Value) -> Option<Form> {
    let cameras = form["cameras"].as_object()?.iter().map(|(name, size)| {
        let pixels = |i: usize| u32::try_from(size.get(i)?.as_u64()?).ok();
        Some((name.clone(), (pixels(0)?, pixels(1)?)))
    });
    Some(Form {
        fps: u32::try_from(form["fps"].as_u64()?).ok()?,
        codec: Codec::of(form["codec"].as_str()?).word(),
        reference: form["reference"].as_str()?.into(),
        robot: form["robot"].as_str()?.into(),
        columns: texts(&form["columns"])?,
        cameras: cameras.collect::<Option<_>>()?,
    })
}

fn done_from(done: &Value) -> Option<Done> {
    let sums = done["sums"].as_object()?.iter();
    let sums = sums.map(|(name, kept)| Some((name.clone(), Sums::of(kept)?)));
    Some(Done {
        recording: done["recording"].as_str()?.into(),
        number: done["number"].as_u64()?,
        from: done["from_nanos"].as_u64()?,
        length: usize::try_from(done["length"].as_u64()?).ok()?,
        task: done["task"].as_str()?.into(),
        success: done["success"].as_bool(),
        sums: sums.collect::<Option<_>>()?,
    })
}
