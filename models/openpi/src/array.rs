//! A numpy array in a message: its element type, its shape, and its bytes where they lie.
//!
//! Decides that an array's bytes are as many as its shape says. Elements are little-endian, as every machine that runs numpy
//! today writes them; others are refused when they are read.

use crate::value::Value;

/// Most dimensions.
const MAX_DIMENSIONS: usize = 8;

/// A numpy array, in C order.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<'a> {
    /// numpy's `dtype.str`, for example `|u1` or `<f4`.
    pub dtype: &'a str,
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// The elements.
    pub data: &'a [u8],
}

/// The element types that carry numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Element {
    fn of(dtype: &str) -> Option<Self> {
        Some(match dtype {
            "|u1" => Self::U8,
            "|i1" => Self::I8,
            "<u2" => Self::U16,
            "<i2" => Self::I16,
            "<u4" => Self::U32,
            "<i4" => Self::I32,
            "<u8" => Self::U64,
            "<i8" => Self::I64,
            "<f4" => Self::F32,
            "<f8" => Self::F64,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

impl<'a> Array<'a> {
    /// The array that a map's fields describe.
    pub(crate) fn of(
        data: Option<Value<'a>>,
        dtype: Option<Value<'a>>,
        shape: Option<Value<'a>>,
    ) -> Result<Self, (&'static str, String)> {
        let said = |value: Option<Value<'_>>| value.map_or("nothing".into(), |v| v.describe());
        let data = match data {
            Some(Value::Bytes(data)) => data,
            other => return Err(("bytes as an array's `data`", said(other))),
        };
        let dtype = match dtype {
            Some(Value::Text(dtype)) => dtype,
            other => return Err(("text as an array's `dtype`", said(other))),
        };
        let shape = match shape {
            Some(Value::List(shape)) if shape.len() <= MAX_DIMENSIONS => shape,
            other => {
                return Err(("at most 8 lengths as an array's `shape`", said(other)));
            }
        };
        let length = |value: &Value<'_>| match value {
            Value::Int(length) => usize::try_from(*length).ok(),
            _ => None,
        };
        let Some(shape) = shape.iter().map(length).collect::<Option<Vec<usize>>>() else {
            return Err((
                "lengths of 0 or more as an array's `shape`",
                "something else".into(),
            ));
        };
        if let Some(element) = Element::of(dtype) {
            let bytes = shape
                .iter()
                .try_fold(element.size(), |product, n| product.checked_mul(*n));
            if bytes != Some(data.len()) {
                let actual = format!("{} bytes for {} {shape:?}", data.len(), element.name());
                return Err(("as many bytes as an array's `shape` says", actual));
            }
        }
        Ok(Self { dtype, shape, data })
    }

    /// Its element type and shape, for example `uint8 [224, 224, 3]`.
    pub fn describe(&self) -> String {
        match Element::of(self.dtype) {
            Some(element) => format!("{} {:?}", element.name(), self.shape),
            None => format!("dtype {:?} {:?}", self.dtype, self.shape),
        }
    }

    /// The elements of a `uint8` array.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        (Element::of(self.dtype) == Some(Element::U8)).then_some(self.data)
    }

    /// The elements of an array of floating-point numbers; `None` of another.
    pub fn floats(&self) -> Option<Vec<f64>> {
        match Element::of(self.dtype)? {
            Element::F32 | Element::F64 => self.numbers(),
            _ => None,
        }
    }

    /// The elements as numbers; `None` of element types that are none.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            let (elements, _) = data.as_chunks::<N>();
            elements.iter().map(|bytes| number(*bytes)).collect()
        }
        let data = self.data;
        Some(match Element::of(self.dtype)? {
            Element::U8 => each(data, |b: [u8; 1]| f64::from(u8::from_le_bytes(b))),
            Element::I8 => each(data, |b: [u8; 1]| f64::from(i8::from_le_bytes(b))),
            Element::U16 => each(data, |b| f64::from(u16::from_le_bytes(b))),
            Element::I16 => each(data, |b| f64::from(i16::from_le_bytes(b))),
            Element::U32 => each(data, |b| f64::from(u32::from_le_bytes(b))),
            Element::I32 => each(data, |b| f64::from(i32::from_le_bytes(b))),
            Element::U64 => each(data, |b| u64::from_le_bytes(b) as f64),
            Element::I64 => each(data, |b| i64::from_le_bytes(b) as f64),
            Element::F32 => each(data, |b| f64::from(f32::from_le_bytes(b))),
            Element::F64 => each(data, f64::from_le_bytes),
        })
    }
}
