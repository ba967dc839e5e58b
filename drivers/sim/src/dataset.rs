//! The files of a recorded data set. Decides their layout; [`crate::record`] decides what is in them.
//!
//! ```text
//! DIR/meta.json                 Meta
//! DIR/shard-000/frames.bin      JPEG files end to end: row 0 scene, row 0 wrist, row 1 scene, ...
//! DIR/shard-000/frames.idx      little-endian u64: byte offsets of the pictures, one more than there are pictures
//! DIR/shard-000/rows.bin        little-endian f32 [rows, columns]
//! DIR/shard-000/episodes.json   [EpisodeEntry]
//! ```
//!
//! A row is one policy period k: pictures and measurements of the instant t_k, the expert's goal for t_k + 50 ms (the
//! label) and the goal that was executed instead.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::SimError;
use crate::scene::{CAMERA_NAMES, Cube, JOINT_NAMES, JPEG_QUALITY, PERIOD_S, PICTURE_SIZE};
use crate::task::{Task, TaskKind};
use crate::world::{Goal, WorldState};

/// Numbers per row.
pub const COLUMNS: usize = 49;

/// Names of the columns of a row, in order. Angles rad, velocities rad/s, lengths m in the base frame, openings 0..1,
/// u and v as shares of the scene picture's width (right) and height (down), target 0..2, task 0 (pick) or 1 (place).
pub fn column_names() -> Vec<String> {
    let joints = |prefix: &str| {
        (0..6)
            .map(|joint| format!("{prefix}{joint}"))
            .collect::<Vec<_>>()
    };
    let mut names = joints("q");
    names.push("opening".to_owned());
    names.extend(joints("dq"));
    for prefix in ["a", "c"] {
        names.extend(joints(prefix));
        names.push(format!("{prefix}_opening"));
    }
    for cube in Cube::ALL {
        names.extend(["x", "y", "z"].map(|axis| format!("{}_{axis}", cube.name())));
    }
    names.extend(["tip_x", "tip_y", "tip_z"].map(str::to_owned));
    for cube in Cube::ALL {
        names.extend(["u", "v"].map(|axis| format!("{}_{axis}", cube.name())));
    }
    names.extend(["bowl_u", "bowl_v", "target", "task"].map(str::to_owned));
    names
}

/// `meta.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// 2; schema 1 knew one task and had no columns `bowl_u`, `bowl_v` and `task`.
    pub schema: u32,
    /// Cameras in the order of the pictures of a row.
    pub cameras: Vec<String>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// 1..100.
    pub jpeg_quality: u8,
    /// Time between rows, s.
    pub period_s: f64,
    /// From a row's instant to when its label is due, s.
    pub first_action_offset_s: f64,
    /// Joint order of q, dq, a and c.
    pub joint_names: Vec<String>,
    /// Cube order; `target` counts in it.
    pub cubes: Vec<String>,
    /// Task order; the column `task` counts in it.
    pub tasks: Vec<String>,
    /// Column order of `rows.bin`.
    pub columns: Vec<String>,
}

impl Meta {
    /// The layout that this version writes.
    pub fn current() -> Self {
        Self {
            schema: 2,
            cameras: CAMERA_NAMES.map(str::to_owned).to_vec(),
            width: PICTURE_SIZE,
            height: PICTURE_SIZE,
            jpeg_quality: JPEG_QUALITY,
            period_s: PERIOD_S,
            first_action_offset_s: PERIOD_S,
            joint_names: JOINT_NAMES.map(str::to_owned).to_vec(),
            cubes: Cube::ALL.map(|cube| cube.name().to_owned()).to_vec(),
            tasks: TaskKind::ALL.map(|kind| kind.name().to_owned()).to_vec(),
            columns: column_names(),
        }
    }
}

/// One entry of `episodes.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpisodeEntry {
    /// The seed of the scenario and of the disturbance.
    pub seed: u64,
    /// What was to be done with the named cube.
    pub task: TaskKind,
    /// Index of the named cube.
    pub target: usize,
    /// First row of the episode in its shard.
    pub first_row: usize,
    /// Number of rows.
    pub rows: usize,
    /// Whether the task was done, and with no other cube before the named one.
    pub success: bool,
    /// Standard deviation of the disturbance, rad.
    pub noise_rad: f64,
    /// Whether looks were drawn from the seed (see [`crate::variation`]).
    pub variation: bool,
}

/// One policy period, ready to be written.
#[derive(Debug, Clone)]
pub struct Row {
    /// In the order of [`column_names`].
    pub values: [f32; COLUMNS],
    /// In the order of [`CAMERA_NAMES`].
    pub pictures: [Vec<u8>; 2],
}

/// The parts of a row that come from the world and the expert.
#[derive(Debug)]
pub struct Measured<'a> {
    /// The world at t_k.
    pub state: &'a WorldState,
    /// What the expert wants at t_k + 50 ms.
    pub label: &'a Goal,
    /// What was commanded for t_k + 50 ms.
    pub executed: &'a Goal,
    /// (u, v) of each cube's centre in the scene camera.
    pub cube_uv: [[f64; 2]; 3],
    /// (u, v) of the bowl's middle in the scene camera.
    pub bowl_uv: [f64; 2],
    /// What is to be done, and with which cube.
    pub task: Task,
}

impl Measured<'_> {
    /// The numbers of the row in column order.
    pub fn values(&self) -> [f32; COLUMNS] {
        let state = self.state;
        let mut all: Vec<f64> = Vec::with_capacity(COLUMNS);
        all.extend(state.q_rad);
        all.push(state.opening);
        all.extend(state.dq_rad_per_sec);
        for goal in [self.label, self.executed] {
            all.extend(goal.q_rad);
            all.push(goal.opening);
        }
        all.extend(state.cubes.iter().flat_map(|cube| cube.position_m));
        all.extend(state.tip_m);
        all.extend(self.cube_uv.iter().flatten());
        all.extend(self.bowl_uv);
        all.extend([self.task.cube().index(), self.task.kind().index()].map(|index| index as f64));
        let mut values = [0.0; COLUMNS];
        for (slot, value) in values.iter_mut().zip(&all) {
            *slot = *value as f32;
        }
        values
    }
}

/// Writes one shard.
#[derive(Debug)]
pub struct ShardWriter {
    directory: PathBuf,
    frames: BufWriter<File>,
    index: BufWriter<File>,
    rows: BufWriter<File>,
    episodes: Vec<EpisodeEntry>,
    row_count: usize,
    byte_count: u64,
}

impl ShardWriter {
    /// Creates `shard-NNN` in `directory`, which must exist.
    ///
    /// # Errors
    /// [`SimError::Write`].
    pub fn create(directory: &Path, number: usize) -> Result<Self, SimError> {
        let directory = directory.join(format!("shard-{number:03}"));
        std::fs::create_dir(&directory).map_err(|source| write_error(&directory, source))?;
        let mut index = open(&directory, "frames.idx")?;
        put(&directory, "frames.idx", &mut index, &0u64.to_le_bytes())?;
        Ok(Self {
            frames: open(&directory, "frames.bin")?,
            rows: open(&directory, "rows.bin")?,
            index,
            directory,
            episodes: Vec::new(),
            row_count: 0,
            byte_count: 0,
        })
    }

    /// Appends one episode; `entry.first_row` and `entry.rows` are filled in here.
    ///
    /// # Errors
    /// [`SimError::Write`].
    pub fn append(&mut self, mut entry: EpisodeEntry, rows: &[Row]) -> Result<(), SimError> {
        for row in rows {
            for value in row.values {
                put(
                    &self.directory,
                    "rows.bin",
                    &mut self.rows,
                    &value.to_le_bytes(),
                )?;
            }
            for picture in &row.pictures {
                put(&self.directory, "frames.bin", &mut self.frames, picture)?;
                self.byte_count += picture.len() as u64;
                put(
                    &self.directory,
                    "frames.idx",
                    &mut self.index,
                    &self.byte_count.to_le_bytes(),
                )?;
            }
        }
        entry.first_row = self.row_count;
        entry.rows = rows.len();
        self.row_count += rows.len();
        self.episodes.push(entry);
        Ok(())
    }

    /// Flushes everything and writes `episodes.json`. Returns rows and bytes of pictures.
    ///
    /// # Errors
    /// [`SimError::Write`].
    pub fn finish(mut self) -> Result<(usize, u64), SimError> {
        for (name, file) in [
            ("frames.bin", &mut self.frames),
            ("frames.idx", &mut self.index),
            ("rows.bin", &mut self.rows),
        ] {
            file.flush()
                .map_err(|source| write_error(&self.directory.join(name), source))?;
        }
        write_json(&self.directory.join("episodes.json"), &self.episodes)?;
        Ok((self.row_count, self.byte_count))
    }
}

/// Writes a value as indented JSON.
///
/// # Errors
/// [`SimError::Write`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), SimError> {
    let mut file = BufWriter::new(File::create(path).map_err(|source| write_error(path, source))?);
    serde_json::to_writer_pretty(&mut file, value)
        .map_err(std::io::Error::from)
        .and_then(|()| file.flush())
        .map_err(|source| write_error(path, source))
}

fn open(directory: &Path, name: &str) -> Result<BufWriter<File>, SimError> {
    let path = directory.join(name);
    File::create(&path)
        .map(BufWriter::new)
        .map_err(|source| write_error(&path, source))
}

fn put(directory: &Path, name: &str, file: &mut impl Write, bytes: &[u8]) -> Result<(), SimError> {
    file.write_all(bytes)
        .map_err(|source| write_error(&directory.join(name), source))
}

fn write_error(path: &Path, source: std::io::Error) -> SimError {
    SimError::Write {
        path: path.to_owned(),
        source,
    }
}
