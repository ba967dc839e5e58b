//! Names, types and shapes of a graph's inputs and outputs, and their check against what a bundle promises.

use ort::value::{Outlet, TensorElementType, ValueType};

use crate::error::OnnxError;

/// Element type of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// Single precision.
    F32,
    /// Half precision; only caches have it, likewise below.
    F16,
    /// bfloat16.
    Bf16,
    /// Indices and ids.
    I64,
    /// Bytes: pixels of graphs that scale them by themselves.
    U8,
    /// Anything else; no Tactus tensor has it.
    Other(String),
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::F32 => f.write_str("f32"),
            Self::F16 => f.write_str("f16"),
            Self::Bf16 => f.write_str("bf16"),
            Self::I64 => f.write_str("i64"),
            Self::U8 => f.write_str("u8"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// One dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// This many.
    Is(usize),
    /// In a graph: dynamic. In an expectation: not known before a prompt is.
    Any,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the graph.
    pub name: String,
    /// Element type.
    pub element: Element,
    /// Dimensions.
    pub dims: Vec<Dim>,
}

impl TensorSpec {
    /// A spec of `name` with these dimensions.
    pub fn new(name: impl Into<String>, element: Element, dims: &[Dim]) -> Self {
        Self {
            name: name.into(),
            element,
            dims: dims.to_vec(),
        }
    }

    pub(crate) fn of(outlet: &Outlet) -> Self {
        let name = outlet.name().to_owned();
        match outlet.dtype() {
            ValueType::Tensor { ty, shape, .. } => Self {
                name,
                element: match ty {
                    TensorElementType::Float32 => Element::F32,
                    TensorElementType::Float16 => Element::F16,
                    TensorElementType::Bfloat16 => Element::Bf16,
                    TensorElementType::Int64 => Element::I64,
                    TensorElementType::Uint8 => Element::U8,
                    other => Element::Other(other.to_string()),
                },
                dims: shape
                    .iter()
                    .map(|d| usize::try_from(*d).map_or(Dim::Any, Dim::Is))
                    .collect(),
            },
            other => Self {
                name,
                element: Element::Other(other.to_string()),
                dims: Vec::new(),
            },
        }
    }

    /// Whether a graph with this tensor takes or makes what `expected` describes.
    fn fits(&self, expected: &Self) -> bool {
        let dim = |(actual, expected): (&Dim, &Dim)| match (actual, expected) {
            (Dim::Is(a), Dim::Is(e)) => a == e,
            (Dim::Any, _) | (_, Dim::Any) => true,
        };
        self.element == expected.element
            && self.dims.len() == expected.dims.len()
            && self.dims.iter().zip(&expected.dims).all(dim)
    }

    /// Type and shape, for example `f32 [1, ?, 128]`.
    pub fn shape(&self) -> String {
        let dims: Vec<String> = self
            .dims
            .iter()
            .map(|dim| match dim {
                Dim::Is(n) => n.to_string(),
                Dim::Any => "?".into(),
            })
            .collect();
        format!("{} [{}]", self.element, dims.join(", "))
    }
}

/// Which tensors of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Inputs.
    Input,
    /// Outputs.
    Output,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// Checks that `actual`, the tensors of a graph, are exactly `expected`: the same names, types, ranks and, where both
/// sides know them, dimensions. Order does not matter: everything is bound by name.
///
/// # Errors
/// [`OnnxError::Tensor`] for the first difference.
pub fn check_tensors(
    graph: &'static str,
    side: Side,
    actual: &[TensorSpec],
    expected: &[TensorSpec],
) -> Result<(), OnnxError> {
    let error = |tensor: &str, expected: String, actual: String| OnnxError::Tensor {
        graph,
        side: side.word(),
        tensor: tensor.into(),
        expected,
        actual,
    };
    for expected in expected {
        match actual.iter().find(|tensor| tensor.name == expected.name) {
            None => {
                let names: Vec<&str> = actual.iter().map(|tensor| tensor.name.as_str()).collect();
                let actual = format!("no such {}; there are: {}", side.word(), names.join(", "));
                return Err(error(&expected.name, expected.shape(), actual));
            }
            Some(actual) if !actual.fits(expected) => {
                return Err(error(&expected.name, expected.shape(), actual.shape()));
            }
            Some(_) => {}
        }
    }
    for actual in actual {
        if !expected.iter().any(|tensor| tensor.name == actual.name) {
            return Err(error(
                &actual.name,
                format!("no such {}", side.word()),
                actual.shape(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Dim::*, Element::*, *};

    fn says(actual: &[TensorSpec], expected: &[TensorSpec]) -> String {
        match check_tensors("denoise", Side::Input, actual, expected) {
            Ok(()) => "fits".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_graph_fits_where_both_sides_know_a_dimension_and_agree() {
        let expected = [TensorSpec::new("x", F32, &[Is(1), Is(16), Any])];
        for dims in [[Is(1), Is(16), Is(7)], [Any, Any, Any], [Is(1), Any, Any]] {
            assert_eq!(says(&[TensorSpec::new("x", F32, &dims)], &expected), "fits");
        }
    }

    #[test]
    fn every_difference_is_named() {
        let expected = [TensorSpec::new("x", F32, &[Is(1), Is(16)])];
        let x = |element, dims: &[Dim]| TensorSpec::new("x", element, dims);
        for (actual, what) in [
            (
                vec![x(F32, &[Is(1), Is(17)])],
                "`x`: expected f32 [1, 16], got f32 [1, 17]",
            ),
            (
                vec![x(F32, &[Is(1)])],
                "`x`: expected f32 [1, 16], got f32 [1]",
            ),
            (
                vec![x(I64, &[Is(1), Is(16)])],
                "`x`: expected f32 [1, 16], got i64 [1, 16]",
            ),
            (
                vec![TensorSpec::new("y", F32, &[Any])],
                "`x`: expected f32 [1, 16], got no such input; there are: y",
            ),
            (
                vec![x(F32, &[Any, Any]), TensorSpec::new("y", F32, &[Any])],
                "`y`: expected no such input, got f32 [?]",
            ),
        ] {
            assert_eq!(
                says(&actual, &expected),
                format!("graph `denoise`: input {what}")
            );
        }
    }
}
