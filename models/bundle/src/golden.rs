//! Golden cases: what the reference implementation saw and computed at every boundary of the path.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};

use crate::error::BundleError;

/// Values of a golden tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum GoldenData {
    /// Bytes: encoded files and pixels.
    U8(Vec<u8>),
    /// Single precision.
    F32(Vec<f32>),
    /// Indices and ids.
    I64(Vec<i64>),
}

/// One tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenTensor {
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Values, as many as the dimensions' product.
    pub data: GoldenData,
}

/// One golden case.
#[derive(Debug, Clone, PartialEq)]
pub struct GoldenCase {
    /// File, relative to the bundle.
    pub file: String,
    /// The instruction as a user would type it.
    pub instruction: String,
    tensors: BTreeMap<String, GoldenTensor>,
}

impl GoldenCase {
    /// Reads a case from the bytes of a safetensors file with the metadata `{"instruction": text}`.
    ///
    /// # Errors
    /// [`BundleError::Syntax`] or [`BundleError::Golden`] naming `file`.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, BundleError> {
        let syntax = |reason: String| BundleError::Syntax {
            file: file.into(),
            reason,
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| syntax(e.to_string()))?;
        let instruction = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get("instruction"))
            .ok_or_else(|| syntax("metadata `instruction`: expected a text, got none".into()))?
            .clone();
        let views = SafeTensors::deserialize(bytes).map_err(|e| syntax(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in views.iter() {
            let bytes = view.data();
            let data = match view.dtype() {
                Dtype::U8 => GoldenData::U8(bytes.to_vec()),
                Dtype::F32 => GoldenData::F32(
                    bytes
                        .as_chunks()
                        .0
                        .iter()
                        .map(|b| f32::from_le_bytes(*b))
                        .collect(),
                ),
                Dtype::I64 => GoldenData::I64(
                    bytes
                        .as_chunks()
                        .0
                        .iter()
                        .map(|b| i64::from_le_bytes(*b))
                        .collect(),
                ),
                other => {
                    return Err(BundleError::Golden {
                        file: file.into(),
                        tensor: name.into(),
                        expected: "type u8, f32 or i64".into(),
                        actual: format!("{other:?}"),
                    });
                }
            };
            tensors.insert(
                name.into(),
                GoldenTensor {
                    shape: view.shape().to_vec(),
                    data,
                },
            );
        }
        Ok(Self {
            file: file.into(),
            instruction,
            tensors,
        })
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor `name` with its shape and type, or `None`.
    pub fn get(&self, name: &str) -> Option<&GoldenTensor> {
        self.tensors.get(name)
    }

    /// Values of the u8 tensor `name`.
    ///
    /// # Errors
    /// [`BundleError::Golden`] when it is not there or of another type; likewise below.
    pub fn u8(&self, name: &str) -> Result<&[u8], BundleError> {
        match self.tensors.get(name).map(|t| &t.data) {
            Some(GoldenData::U8(values)) => Ok(values),
            _ => Err(self.mismatch(name, "type u8")),
        }
    }

    /// Values of the f32 tensor `name`, every one of which must be finite: a golden NaN would let anything pass.
    ///
    /// # Errors
    /// [`BundleError::Golden`].
    pub fn f32(&self, name: &str) -> Result<&[f32], BundleError> {
        match self.tensors.get(name).map(|t| &t.data) {
            Some(GoldenData::F32(values)) if values.iter().all(|v| v.is_finite()) => Ok(values),
            Some(GoldenData::F32(_)) => Err(BundleError::Golden {
                file: self.file.clone(),
                tensor: name.into(),
                expected: "finite numbers".into(),
                actual: "NaN or infinity".into(),
            }),
            _ => Err(self.mismatch(name, "type f32")),
        }
    }

    /// Values of the i64 tensor `name`.
    ///
    /// # Errors
    /// [`BundleError::Golden`].
    pub fn i64(&self, name: &str) -> Result<&[i64], BundleError> {
        match self.tensors.get(name).map(|t| &t.data) {
            Some(GoldenData::I64(values)) => Ok(values),
            _ => Err(self.mismatch(name, "type i64")),
        }
    }

    fn mismatch(&self, name: &str, expected: &str) -> BundleError {
        let actual = match self.tensors.get(name).map(|t| &t.data) {
            None => "no such tensor",
            Some(GoldenData::U8(_)) => "type u8",
            Some(GoldenData::F32(_)) => "type f32",
            Some(GoldenData::I64(_)) => "type i64",
        };
        BundleError::Golden {
            file: self.file.clone(),
            tensor: name.into(),
            expected: expected.into(),
            actual: actual.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::TensorView;

    use super::*;

    fn case(value: f32) -> Result<GoldenCase, BundleError> {
        let values = value.to_le_bytes();
        let view = TensorView::new(Dtype::F32, vec![1, 1], &values).expect("one number");
        let metadata = HashMap::from([("instruction".to_owned(), "Lift it!".to_owned())]);
        let bytes = safetensors::serialize([("x", view)], Some(metadata)).expect("serialises");
        GoldenCase::parse("golden/x.safetensors", &bytes)
    }

    #[test]
    fn values_and_instruction_come_back() {
        let case = case(-1.5).expect("well formed");
        assert_eq!(case.instruction, "Lift it!");
        assert_eq!(case.f32("x").expect("there"), [-1.5]);
        assert_eq!(case.get("x").map(|t| t.shape.clone()), Some(vec![1, 1]));
    }

    #[test]
    fn a_wrong_type_a_missing_tensor_and_nan_are_errors_that_name_it() {
        let nan = case(f32::NAN).expect("well formed");
        for (error, says) in [
            (
                nan.f32("x").err(),
                "tensor `x`: expected finite numbers, got NaN or infinity",
            ),
            (
                nan.i64("x").err(),
                "tensor `x`: expected type i64, got type f32",
            ),
            (
                nan.f32("y").err(),
                "tensor `y`: expected type f32, got no such tensor",
            ),
        ] {
            let error = error.expect("refused").to_string();
            assert_eq!(error, format!("golden/x.safetensors: {says}"));
        }
    }

    #[test]
    fn rubbish_is_refused() {
        for bytes in [&b""[..], b"1234567", &[0xff; 64], b"\x02\0\0\0\0\0\0\0{}"] {
            assert!(GoldenCase::parse("golden/x", bytes).is_err(), "{bytes:?}");
        }
    }
}
