//! A reference as bytes: a safetensors file of 64-bit tensors, its names in the metadata. Every shape and number is checked.

use std::collections::HashMap;

use nalgebra::{DMatrix, DVector};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};

use crate::gauss::Gauss;
use crate::look::{Light, SHAPE};
use crate::picture::{DIRECTIONS, Pictures};
use crate::reference::{Pair, Reference};
use crate::state::{Region, States};
use crate::turn::Turn;

/// The only version of the file that is read.
const VERSION: u64 = 1;
/// Key of the metadata.
const ABOUT: &str = "reference";

/// Why bytes are not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Not a safetensors file.
    #[error("not a safetensors file: {0}")]
    Syntax(String),
    /// Something in it is missing or cannot be used.
    #[error("{field}: expected {expected}, got {actual}")]
    Field {
        /// Tensor, or field of the metadata.
        field: String,
        /// What it may be.
        expected: String,
        /// What it is.
        actual: String,
    },
}

fn wrong(field: &str, expected: impl Into<String>, actual: impl ToString) -> FileError {
    FileError::Field {
        field: field.into(),
        expected: expected.into(),
        actual: actual.to_string(),
    }
}

/// Tensors to be written: name, shape, values row by row.
type Tensors = Vec<(String, Vec<usize>, Vec<f64>)>;

fn put_vector(to: &mut Tensors, name: String, values: &[f64]) {
    to.push((name, vec![values.len()], values.to_vec()));
}

fn put_matrix(to: &mut Tensors, name: String, matrix: &DMatrix<f64>) {
    let shape = vec![matrix.nrows(), matrix.ncols()];
    // nalgebra lies column by column.
    to.push((name, shape, matrix.transpose().as_slice().to_vec()));
}

fn put_gauss(to: &mut Tensors, name: &str, gauss: &Gauss) {
    put_vector(to, format!("{name}.mean"), gauss.mean.as_slice());
    put_matrix(to, format!("{name}.precision"), &gauss.precision);
}

impl Reference {
    /// The bytes of its file.
    ///
    /// # Errors
    /// [`FileError::Syntax`] when it cannot be written so; it always can.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FileError> {
        let mut tensors = Tensors::new();
        for (name, region) in [("start", &self.states.start), ("all", &self.states.all)] {
            put_gauss(&mut tensors, &format!("state.{name}"), &region.gauss);
            put_vector(
                &mut tensors,
                format!("state.{name}.low"),
                region.low.as_slice(),
            );
            put_vector(
                &mut tensors,
                format!("state.{name}.high"),
                region.high.as_slice(),
            );
            put_vector(
                &mut tensors,
                format!("state.{name}.furthest"),
                &[region.furthest],
            );
        }
        let (low, high) = self.states.grip;
        put_vector(&mut tensors, "state.grip".into(), &[low, high]);
        put_vector(&mut tensors, "scale.mean".into(), self.scale.0.as_slice());
        put_vector(
            &mut tensors,
            "scale.deviation".into(),
            self.scale.1.as_slice(),
        );
        for (k, (_, p)) in self.cameras.iter().enumerate() {
            let name = |what: &str| format!("camera.{k}.{what}");
            put_vector(&mut tensors, name("middle"), p.middle.as_slice());
            put_matrix(&mut tensors, name("directions"), &p.directions);
            put_matrix(&mut tensors, name("prediction"), &p.prediction);
            put_gauss(&mut tensors, &name("rest"), &p.rest);
            put_vector(&mut tensors, name("furthest"), &[p.furthest]);
            put_vector(&mut tensors, name("chance"), &p.chance);
            put_vector(&mut tensors, name("noticed"), &p.noticed);
            let light: Vec<f64> = p.light.iter().flat_map(|(l, h)| [*l, *h]).collect();
            put_vector(&mut tensors, name("light"), &light);
        }
        let pairs: Vec<f64> = self
            .pairs
            .iter()
            .flat_map(|p| [p.chance, p.noticed])
            .collect();
        put_vector(&mut tensors, "pairs".into(), &pairs);
        let about = json!({
            "version": VERSION,
            "columns": self.states.columns,
            "gripper": self.states.gripper,
            "cameras": self.cameras.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            "episodes": self.counts.0,
            "samples": self.counts.1,
        });
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let mut views = Vec::with_capacity(tensors.len());
        for ((name, shape, _), bytes) in tensors.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F64, shape.clone(), bytes);
            views.push((
                name.as_str(),
                view.map_err(|e| FileError::Syntax(e.to_string()))?,
            ));
        }
        let metadata = HashMap::from([(ABOUT.to_owned(), about.to_string())]);
        safetensors::serialize(views, Some(metadata)).map_err(|e| FileError::Syntax(e.to_string()))
    }

    /// Reads what [`Reference::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`FileError`] with the first thing that cannot be used.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FileError> {
        let syntax = |e: safetensors::SafeTensorError| FileError::Syntax(e.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(syntax)?;
        let about = header.metadata().as_ref().and_then(|m| m.get(ABOUT));
        let about = about.ok_or_else(|| wrong(ABOUT, "metadata of this name", "none"))?;
        let about: Value = serde_json::from_str(about).map_err(|e| wrong(ABOUT, "JSON", e))?;
        if about["version"] != VERSION {
            return Err(wrong("version", VERSION.to_string(), &about["version"]));
        }
        let names = |field: &str| -> Result<Vec<String>, FileError> {
            let list = about[field].as_array();
            let list = list.and_then(|l| l.iter().map(|v| v.as_str().map(String::from)).collect());
            list.ok_or_else(|| wrong(field, "a list of names", &about[field]))
        };
        let count = |field: &str| {
            let number = about[field].as_u64().and_then(|n| usize::try_from(n).ok());
            number.ok_or_else(|| wrong(field, "a number", &about[field]))
        };
        let (columns, cameras) = (names("columns")?, names("cameras")?);
        let gripper = about["gripper"].as_bool();
        let gripper =
            gripper.ok_or_else(|| wrong("gripper", "true or false", &about["gripper"]))?;
        let from = From {
            tensors: SafeTensors::deserialize(bytes).map_err(syntax)?,
        };
        let joints = columns
            .len()
            .checked_sub(usize::from(gripper))
            .filter(|n| *n > 0);
        let joints = joints.ok_or_else(|| wrong("columns", "at least one joint", columns.len()))?;
        let region = |name: &str| -> Result<Region, FileError> {
            let name = |what: &str| format!("state.{name}{what}");
            Ok(Region {
                gauss: from.gauss(&name(""), joints)?,
                low: from.vector(&name(".low"), joints)?,
                high: from.vector(&name(".high"), joints)?,
                furthest: from.vector(&name(".furthest"), 1)?[0],
            })
        };
        let grip = from.vector("state.grip", 2)?;
        let states = States {
            start: region("start")?,
            all: region("all")?,
            grip: (grip[0], grip[1]),
            gripper,
            columns,
        };
        let width = states.columns.len();
        let deviation = from.vector("scale.deviation", width)?;
        if deviation.iter().any(|d| *d <= 0.0) {
            return Err(wrong("scale.deviation", "numbers above 0", deviation));
        }
        let mut pairs = Vec::new();
        let many = cameras.len() * cameras.len().saturating_sub(1) / 2;
        let numbers = from.vector("pairs", 2 * many)?;
        for a in 0..cameras.len() {
            for b in a + 1..cameras.len() {
                let i = 2 * pairs.len();
                pairs.push(Pair {
                    cameras: (a, b),
                    chance: numbers[i],
                    noticed: numbers[i + 1],
                });
            }
        }
        let read = |(k, name): (usize, String)| Ok((name, from.pictures(k, width)?));
        let cameras = cameras.into_iter().enumerate().map(read);
        Ok(Self {
            cameras: cameras.collect::<Result<_, FileError>>()?,
            pairs,
            counts: (count("episodes")?, count("samples")?),
            scale: (from.vector("scale.mean", width)?, deviation),
            states,
        })
    }
}

struct From<'a> {
    tensors: SafeTensors<'a>,
}

impl From<'_> {
    /// Values of the tensor `name` and its shape.
    fn values(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>), FileError> {
        let view = self.tensors.tensor(name);
        let view = view.map_err(|_| wrong(name, "a tensor of this name", "none"))?;
        if view.dtype() != Dtype::F64 {
            return Err(wrong(name, "type f64", format!("{:?}", view.dtype())));
        }
        let values = view.data().as_chunks().0.iter();
        let values: Vec<f64> = values.map(|b| f64::from_le_bytes(*b)).collect();
        match values.iter().find(|v| !v.is_finite()) {
            Some(bad) => Err(wrong(name, "finite numbers", bad)),
            None => Ok((view.shape().to_vec(), values)),
        }
    }

    fn vector(&self, name: &str, length: usize) -> Result<DVector<f64>, FileError> {
        match self.values(name)? {
            (shape, values) if shape == [length] => Ok(DVector::from_vec(values)),
            (shape, _) => Err(wrong(
                name,
                format!("shape [{length}]"),
                format!("{shape:?}"),
            )),
        }
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<DMatrix<f64>, FileError> {
        match self.values(name)? {
            (shape, values) if shape == [rows, columns] => {
                Ok(DMatrix::from_row_slice(rows, columns, &values))
            }
            (shape, _) => {
                let expected = format!("shape [{rows}, {columns}]");
                Err(wrong(name, expected, format!("{shape:?}")))
            }
        }
    }

    fn gauss(&self, name: &str, width: usize) -> Result<Gauss, FileError> {
        Ok(Gauss {
            mean: self.vector(&format!("{name}.mean"), width)?,
            precision: self.matrix(&format!("{name}.precision"), width, width)?,
        })
    }

    fn pictures(&self, k: usize, columns: usize) -> Result<Pictures, FileError> {
        let name = |what: &str| format!("camera.{k}.{what}");
        let ways = Turn::ALL.len();
        let prediction = name("prediction");
        let plain = 1 + columns;
        let rows = match self.values(&prediction)?.0.first() {
            Some(rows) if *rows == plain => plain,
            _ => plain + columns * plain / 2,
        };
        let light = self.vector(&name("light"), 2 * Light::NAMES.len())?;
        let vec = |v: DVector<f64>| v.as_slice().to_vec();
        Ok(Pictures {
            middle: self.vector(&name("middle"), SHAPE)?,
            directions: self.matrix(&name("directions"), DIRECTIONS, SHAPE)?,
            prediction: self.matrix(&prediction, rows, DIRECTIONS)?,
            rest: self.gauss(&name("rest"), DIRECTIONS)?,
            furthest: self.vector(&name("furthest"), 1)?[0],
            chance: vec(self.vector(&name("chance"), ways)?),
            noticed: vec(self.vector(&name("noticed"), ways)?),
            light: light
                .as_slice()
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[l, h]| (*l, *h))
                .collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::judge::{Live, judge};
    use crate::look::{Look, SIDE};
    use crate::reference::{LearnError, Sample, learn};

    /// A bright spot whose place the first joint says, in two cameras of unlike ground.
    fn look(joint: f64, camera: usize, rng: &mut ChaCha8Rng) -> Look {
        let side = 2 * SIDE;
        let at = (side as f64 * (0.3 + 0.4 * joint)) as usize;
        let mut rgb = Vec::new();
        for row in 0..side {
            for column in 0..side {
                let spot = row.abs_diff(6) < 3 && column.abs_diff(at) < 3;
                let ground = if camera == 0 { 3 * row } else { 2 * column };
                let value = if spot { 220 } else { 30 + ground } + rng.random_range(0..10);
                rgb.extend([value.min(255) as u8; 3]);
            }
        }
        Look::of(&rgb, side, side).expect("large enough")
    }

    fn samples() -> Vec<Sample> {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let sample = |i: usize| {
            let joint = (i % 5) as f64 / 5.0 + 0.02 * (i % 7) as f64;
            Sample {
                state: vec![joint, 1.0 - joint],
                looks: (0..2).map(|k| look(joint, k, &mut rng)).collect(),
                episode: i / 5,
                first: i.is_multiple_of(5),
            }
        };
        (0..200).map(sample).collect()
    }

    fn names(text: &str) -> Vec<String> {
        text.split(' ').map(String::from).collect()
    }

    fn learnt() -> Reference {
        learn(&names("pan lift"), false, &names("top side"), &samples()).expect("enough")
    }

    #[test]
    fn what_is_read_is_what_was_written_and_judges_alike() {
        let learnt = learnt();
        let read = Reference::from_bytes(&learnt.to_bytes().expect("bytes")).expect("sound");
        assert_eq!(read, learnt);
        let mut rng = ChaCha8Rng::seed_from_u64(12);
        let live = |mirrored: bool| Live {
            state: vec![0.02, 0.98],
            looks: (0..2)
                .map(|k| {
                    let mut look = look(0.02, k, &mut rng);
                    if mirrored && k == 0 {
                        look.shape = Turn::LeftRight.apply(&look.shape);
                    }
                    look
                })
                .collect(),
        };
        let mut live = live;
        assert_eq!(judge(&read, &live(false)).expect("fits").misfits, []);
        let misfits = judge(&read, &live(true)).expect("fits").misfits;
        assert_eq!(misfits.len(), 1, "{misfits:?}");
        assert_eq!((misfits[0].about.as_str(), misfits[0].sure), ("top", true));
        assert_eq!(misfits[0].actual, Turn::LeftRight.words());
    }

    #[test]
    fn too_few_episodes_are_refused() {
        let few = learn(
            &names("pan lift"),
            false,
            &names("top side"),
            &samples()[..90],
        );
        let what = LearnError::Few {
            what: "episodes",
            expected: 20,
            actual: 18,
        };
        assert_eq!(few, Err(what));
    }

    #[test]
    fn a_number_that_is_not_finite_is_refused_with_its_tensor() {
        let mut learnt = learnt();
        learnt.cameras[1].1.furthest = f64::NAN;
        let error = Reference::from_bytes(&learnt.to_bytes().expect("bytes")).expect_err("NaN");
        assert_eq!(
            error.to_string(),
            "camera.1.furthest: expected finite numbers, got NaN"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            at in any::<prop::sample::Index>(),
            byte: u8,
            cut in any::<prop::sample::Index>(),
        ) {
            static BYTES: std::sync::LazyLock<Vec<u8>> =
                std::sync::LazyLock::new(|| learnt().to_bytes().expect("bytes"));
            let mut bytes = BYTES.clone();
            let i = at.index(4096);
            bytes[i] = byte;
            drop(Reference::from_bytes(&bytes));
            bytes.truncate(cut.index(BYTES.len()));
            prop_assert!(Reference::from_bytes(&bytes).is_err());
        }
    }
}
