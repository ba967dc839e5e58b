//! Which key of an observation is which camera, and which number is which joint: defaults, and files that say otherwise.
//!
//! Decides what a legal mapping for an arm and its cameras is, or refuses the file with the field, what was expected and what
//! was there. The same file describes a client that we serve and a server that we ask. A `.` in a key is a dictionary inside
//! another (`images.scene`); a `/` is part of the key (`observation/image`), as openpi writes its keys.

use std::time::Duration;

use serde::Deserialize;

use crate::columns::{ActionColumns, Column, Columns, GripperSense, Representation, Unit};

/// Word for the gripper's column.
const GRIPPER: &str = "gripper";
/// Word for a column that is nothing.
const UNUSED: &str = "-";
/// Sides of pictures, pixels.
const MAX_SIDE: usize = 4096;

/// A mapping file, or the same inside a cell file. Everything has a default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingFile {
    /// Key of the instruction; `prompt`.
    pub prompt: Option<String>,
    /// Instruction of clients that send none. Without it they are refused.
    pub default_prompt: Option<String>,
    /// Unit of joints, in states and actions.
    #[serde(default)]
    pub unit: Unit,
    /// Sense of the gripper, in states and actions; open is 1, closed is 0.
    pub gripper: Option<GripperSense>,
    /// Cameras, in order.
    #[serde(default)]
    pub image: Vec<ImageEntry>,
    /// Vectors that make up the state, in order.
    #[serde(default)]
    pub state: Vec<StateEntry>,
    /// What actions are.
    #[serde(default)]
    pub actions: ActionEntry,
    /// Added to the metadata that clients get, for example `reset_pose`.
    #[serde(default)]
    pub metadata: toml::Table,
}

/// Where a camera's picture is.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// Name of the camera.
    pub camera: String,
    /// Its key.
    pub key: String,
    /// Order of its dimensions. Without it either is taken of a client, and `hwc` is sent to a server.
    pub layout: Option<Layout>,
    /// Width and height sent to a server; the picture is resized and padded, as openpi-client's `resize_with_pad` does.
    pub size: Option<[usize; 2]>,
}

/// Order of a picture's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Height, width, colour.
    Hwc,
    /// Colour, height, width.
    Chw,
}

/// A vector that is part of the state.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateEntry {
    /// Its key.
    pub key: String,
    /// Each number: a joint's name, `gripper`, or `-` for nothing.
    pub columns: Vec<String>,
}

/// What actions are.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionEntry {
    /// Each number: a joint's name, `gripper`, or `-` for nothing. Joints in the arm's order, then the gripper, if not said.
    pub columns: Option<Vec<String>>,
    /// What joint numbers are.
    #[serde(default)]
    pub representation: Representation,
    /// Sense of the gripper where it is another than the state's.
    pub gripper: Option<GripperSense>,
}

/// A camera, as a mapping needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CameraShape {
    /// Its name.
    pub name: String,
    /// Width and height of its pictures, pixels; `None` where they may have any.
    pub size: Option<(usize, usize)>,
}

/// What a mapping is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Clients of ours: a key that is not said may be one of several.
    Server,
    /// A server that we ask.
    Client,
}

/// What a mapping is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Reads {
    /// The cameras, in the order of observations; those of a client's mapping may be fewer.
    pub cameras: Vec<CameraShape>,
    /// The arm's joints, in the order of joint vectors.
    pub joints: Vec<String>,
    /// Whether there is a gripper.
    pub gripper: bool,
    /// Time between actions.
    pub period: Duration,
}

/// Where one camera's picture is.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageKey {
    /// Name of the camera.
    pub camera: String,
    /// Keys, of which the first that is there counts.
    pub keys: Vec<String>,
    /// Order of dimensions, where only one is taken.
    pub layout: Option<Layout>,
    /// Width and height; to a server, `None` is the size that the camera takes them in.
    pub size: Option<(usize, usize)>,
}

/// One vector of the state.
#[derive(Debug, Clone, PartialEq)]
pub struct StateKey {
    /// Keys, of which the first that is there counts.
    pub keys: Vec<String>,
    /// Its numbers.
    pub columns: Columns,
}

/// A legal mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping {
    /// Key of the instruction.
    pub prompt: String,
    /// Instruction of clients that send none.
    pub default_prompt: Option<String>,
    /// Pictures, in the order of observations.
    pub images: Vec<ImageKey>,
    /// Vectors of the state.
    pub state: Vec<StateKey>,
    /// Rows of actions.
    pub actions: ActionColumns,
    /// Added to the metadata that clients get.
    pub metadata: toml::Table,
}

/// Why a mapping cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: expected {expected}, got {actual}")]
pub struct MappingError {
    /// Field of the file.
    pub field: String,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub actual: String,
}

fn wrong(field: &str, expected: impl Into<String>, actual: impl Into<String>) -> MappingError {
    MappingError {
        field: field.into(),
        expected: expected.into(),
        actual: actual.into(),
    }
}

impl MappingFile {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong and in which line, as the TOML reader says it.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The mapping of `reads` for `side`.
    ///
    /// # Errors
    /// [`MappingError`] with the field that does not fit the cameras or the arm.
    pub fn resolve(&self, side: Side, reads: &Reads) -> Result<Mapping, MappingError> {
        let sense = self.gripper.unwrap_or_default();
        check_sense("gripper", sense)?;
        let action_sense = self.actions.gripper.unwrap_or(sense);
        check_sense("actions.gripper", action_sense)?;
        let names: Vec<String> = reads
            .joints
            .iter()
            .cloned()
            .chain(reads.gripper.then(|| GRIPPER.to_owned()))
            .collect();
        let columns = |field: &str, words: &[String], gripper| {
            Ok(Columns {
                columns: parse_columns(field, words, reads)?,
                unit: self.unit,
                gripper,
            })
        };
        let state = if self.state.is_empty() {
            let keys: &[&str] = match side {
                Side::Server => &["observation/state", "state"],
                Side::Client => &["observation/state"],
            };
            vec![StateKey {
                keys: keys.iter().map(ToString::to_string).collect(),
                columns: columns("state", &names, sense)?,
            }]
        } else {
            let entry = |entry: &StateEntry| {
                Ok(StateKey {
                    keys: vec![key("state.key", &entry.key)?],
                    columns: columns("state.columns", &entry.columns, sense)?,
                })
            };
            self.state.iter().map(entry).collect::<Result<_, _>>()?
        };
        let all = state.iter().flat_map(|s| &s.columns.columns);
        // A server that we ask gets what it wants; what a policy of ours is to see has to be there.
        complete("state.columns", all.copied(), reads, side == Side::Server)?;
        let words = self.actions.columns.as_ref().unwrap_or(&names);
        let actions = ActionColumns {
            columns: columns("actions.columns", words, action_sense)?,
            representation: self.actions.representation,
            period: reads.period,
        };
        let columns = actions.columns.columns.iter().copied();
        complete("actions.columns", columns, reads, true)?;
        Ok(Mapping {
            prompt: key("prompt", self.prompt.as_deref().unwrap_or("prompt"))?,
            default_prompt: self.default_prompt.clone(),
            images: self.images(side, reads)?,
            state,
            actions,
            metadata: self.metadata.clone(),
        })
    }

    fn images(&self, side: Side, reads: &Reads) -> Result<Vec<ImageKey>, MappingError> {
        let known: Vec<&str> = reads.cameras.iter().map(|c| c.name.as_str()).collect();
        let size_of = |camera: &CameraShape, entry: Option<&ImageEntry>| match entry
            .and_then(|entry| entry.size)
        {
            None if side == Side::Server => Ok(camera.size),
            None => Ok(None),
            Some(_) if side == Side::Server => Err(wrong(
                "image.size",
                "nothing: clients send pictures of the bundle's size",
                "a size",
            )),
            Some([width, height])
                if (1..=MAX_SIDE).contains(&width) && (1..=MAX_SIDE).contains(&height) =>
            {
                Ok(Some((width, height)))
            }
            Some(size) => Err(wrong(
                "image.size",
                format!("width and height of 1 to {MAX_SIDE}"),
                format!("{size:?}"),
            )),
        };
        for (i, entry) in self.image.iter().enumerate() {
            if !known.contains(&entry.camera.as_str()) {
                return Err(wrong(
                    "image.camera",
                    known.join(" or "),
                    format!("`{}`", entry.camera),
                ));
            }
            if self.image.iter().take(i).any(|e| e.camera == entry.camera) {
                return Err(wrong(
                    "image.camera",
                    "each camera once",
                    format!("`{}` twice", entry.camera),
                ));
            }
        }
        let mut images = Vec::new();
        for camera in &reads.cameras {
            let name = &camera.name;
            let entry = self.image.iter().find(|entry| entry.camera == *name);
            let keys = match (entry, side) {
                (Some(entry), _) => vec![key("image.key", &entry.key)?],
                (None, _) if !self.image.is_empty() && side == Side::Client => continue,
                (None, Side::Server) => vec![
                    format!("observation/image/{name}"),
                    format!("images.{name}"),
                ],
                (None, Side::Client) => vec![format!("observation/image/{name}")],
            };
            images.push(ImageKey {
                camera: name.clone(),
                keys,
                layout: entry.and_then(|entry| entry.layout),
                size: size_of(camera, entry)?,
            });
        }
        Ok(images)
    }
}

fn key(field: &str, key: &str) -> Result<String, MappingError> {
    match key {
        "" => Err(wrong(field, "a key", "nothing")),
        key => Ok(key.into()),
    }
}

fn check_sense(field: &str, sense: GripperSense) -> Result<(), MappingError> {
    let GripperSense { open, closed } = sense;
    if open.is_finite() && closed.is_finite() && (open - closed).abs() > 1e-9 {
        return Ok(());
    }
    Err(wrong(
        field,
        "two different numbers `open` and `closed`",
        format!("{open} and {closed}"),
    ))
}

fn parse_columns(
    field: &str,
    words: &[String],
    reads: &Reads,
) -> Result<Vec<Column>, MappingError> {
    let column = |word: &String| match word.as_str() {
        UNUSED => Ok(Column::Unused),
        GRIPPER if reads.gripper => Ok(Column::Gripper),
        name => match reads.joints.iter().position(|joint| joint == name) {
            Some(i) => Ok(Column::Joint(i)),
            None => {
                let known = reads.joints.join(", ");
                let gripper = if reads.gripper { ", gripper" } else { "" };
                Err(wrong(
                    field,
                    format!("one of {known}{gripper}, -"),
                    format!("`{name}`"),
                ))
            }
        },
    };
    words.iter().map(column).collect()
}

/// Whether each joint is there once, and the gripper too.
fn complete(
    field: &str,
    columns: impl Iterator<Item = Column> + Clone,
    reads: &Reads,
    all: bool,
) -> Result<(), MappingError> {
    let named = reads.joints.iter().enumerate();
    let named = named.map(|(i, name)| (Column::Joint(i), name.as_str()));
    for (wanted, name) in named.chain(reads.gripper.then_some((Column::Gripper, GRIPPER))) {
        match columns.clone().filter(|column| *column == wanted).count() {
            1 => {}
            0 if !all || wanted == Column::Gripper && field.starts_with("actions") => {}
            n => return Err(wrong(field, format!("`{name}` once"), format!("{n} times"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads() -> Reads {
        let camera = |name: &str| CameraShape {
            name: name.into(),
            size: Some((224, 224)),
        };
        Reads {
            cameras: vec![camera("scene"), camera("wrist")],
            joints: vec!["a".into(), "b".into()],
            gripper: true,
            period: Duration::from_millis(50),
        }
    }

    fn resolved(side: Side, text: &str) -> Result<Mapping, String> {
        let file = MappingFile::parse(text).map_err(|e| e.to_string())?;
        file.resolve(side, &reads()).map_err(|e| e.to_string())
    }

    #[test]
    fn without_a_file_keys_are_openpis_own_and_numbers_the_arms() {
        let mapping = resolved(Side::Server, "").expect("legal");
        assert_eq!(
            mapping.images[1].keys,
            ["observation/image/wrist", "images.wrist"]
        );
        assert_eq!(mapping.state[0].keys, ["observation/state", "state"]);
        let columns = [Column::Joint(0), Column::Joint(1), Column::Gripper];
        assert_eq!(mapping.actions.columns.columns, columns);
        assert_eq!(mapping.state[0].columns.columns, columns);
    }

    #[test]
    fn a_mapping_that_does_not_fit_is_refused_by_its_field() {
        for (side, text, says) in [
            (
                Side::Server,
                "[[image]]\ncamera = \"front\"\nkey = \"x\"",
                "field `image.camera`: expected scene or wrist, got `front`",
            ),
            (
                Side::Server,
                "[[state]]\nkey = \"s\"\ncolumns = [\"a\", \"b\"]",
                "field `state.columns`: expected `gripper` once, got 0 times",
            ),
            (
                Side::Server,
                "[actions]\ncolumns = [\"a\", \"a\", \"gripper\"]",
                "field `actions.columns`: expected `a` once, got 2 times",
            ),
            (
                Side::Client,
                "[actions]\ncolumns = [\"a\", \"gripper\"]",
                "field `actions.columns`: expected `b` once, got 0 times",
            ),
            (
                Side::Client,
                "gripper = { open = 1.0, closed = 1.0 }",
                "field `gripper`: expected two different numbers `open` and `closed`, got 1 and 1",
            ),
            (
                Side::Server,
                "[[image]]\ncamera = \"scene\"\nkey = \"\"",
                "field `image.key`: expected a key, got nothing",
            ),
            (
                Side::Client,
                "[[image]]\ncamera = \"scene\"\nkey = \"x\"\nsize = [0, 224]",
                "field `image.size`: expected width and height of 1 to 4096, got [0, 224]",
            ),
        ] {
            assert_eq!(resolved(side, text), Err(says.into()), "{text}");
        }
        let unknown = resolved(Side::Server, "promt = \"x\"").expect_err("unknown");
        assert!(unknown.contains("unknown field `promt`"), "{unknown}");
    }

    #[test]
    fn a_server_that_is_asked_may_want_fewer_cameras_and_no_gripper() {
        let text = "[[image]]\ncamera = \"wrist\"\nkey = \"images.cam\"\nsize = [64, 48]\n\
                    [[state]]\nkey = \"state\"\ncolumns = [\"b\", \"-\"]\n\
                    [actions]\ncolumns = [\"a\", \"b\"]";
        let mapping = resolved(Side::Client, text).expect("legal");
        assert_eq!(mapping.images.len(), 1);
        assert_eq!(mapping.images[0].size, Some((64, 48)));
        assert_eq!(mapping.actions.columns.len(), 2);
    }
}
