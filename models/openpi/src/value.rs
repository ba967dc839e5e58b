//! MessagePack as openpi-client packs it, read where it lies: text and bytes borrow from the message.
//!
//! Decides how deep a message may nest and of how many values it may be made, so that a hostile one costs no more than its
//! own bytes. numpy arrays (maps with the key `b"__ndarray__"`) become [`Array`]s, numpy scalars (`b"__npgeneric__"`) the value
//! they hold. Says nothing about which keys there should be.

use rmp::{Marker, decode};

use crate::array::Array;

/// Deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 8;
/// Most values in one message. Pictures are arrays, each of which is one; a picture as a list of numbers is none.
pub const MAX_VALUES: usize = 4096;

/// A value in a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    Nil,
    /// A truth value.
    Bool(bool),
    /// An integer within 64 bits.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list or tuple.
    List(Vec<Value<'a>>),
    /// A dictionary, in the order of the message.
    Map(Vec<(&'a str, Value<'a>)>),
    /// A numpy array.
    Array(Array<'a>),
}

/// Why bytes are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("msgpack, byte {at}: expected {expected}, got {actual}")]
pub struct Malformed {
    /// Offset in the message.
    pub at: usize,
    /// What should be there.
    pub expected: &'static str,
    /// What is there.
    pub actual: String,
}

/// Reads one message.
///
/// # Errors
/// [`Malformed`] where the bytes are cut off, go on behind the value, nest too deep, hold too much, or are of a kind that
/// openpi-client does not send.
pub fn read(message: &[u8]) -> Result<Value<'_>, Malformed> {
    let mut reader = Reader {
        whole: message.len(),
        rest: message,
        values: 0,
    };
    let value = reader.value(0)?;
    match reader.rest.len() {
        0 => Ok(value),
        more => Err(reader.wrong("the end", format!("{more} more bytes"))),
    }
}

struct Reader<'a> {
    whole: usize,
    rest: &'a [u8],
    values: usize,
}

enum Key<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    fn at(&self) -> usize {
        self.whole - self.rest.len()
    }

    fn wrong(&self, expected: &'static str, actual: impl Into<String>) -> Malformed {
        Malformed {
            at: self.at(),
            expected,
            actual: actual.into(),
        }
    }

    fn cut_off(&self) -> Malformed {
        self.wrong("a complete message", "its end")
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.cut_off())?;
        self.rest = rest;
        Ok(taken)
    }

    /// Lets `read` read; what fails there ran out of bytes, since the marker was looked at.
    fn via<T, E>(
        &mut self,
        read: impl FnOnce(&mut &'a [u8]) -> Result<T, E>,
    ) -> Result<T, Malformed> {
        let mut rest = self.rest;
        let value = read(&mut rest).map_err(|_| self.cut_off())?;
        self.rest = rest;
        Ok(value)
    }

    fn marker(&self) -> Result<Marker, Malformed> {
        let first = self.rest.first().ok_or_else(|| self.cut_off())?;
        Ok(Marker::from_u8(*first))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.via(decode::read_str_len)?;
        let bytes = self.take(length as usize)?;
        std::str::from_utf8(bytes).map_err(|_| self.wrong("text in UTF-8", "other bytes"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.via(decode::read_bin_len)?;
        self.take(length as usize)
    }

    /// How many values of at least one byte each follow.
    fn count(&mut self, length: u32, each: usize) -> Result<usize, Malformed> {
        let count = length as usize;
        if count.saturating_mul(each) > self.rest.len() {
            return Err(self.cut_off());
        }
        if self.values + count > MAX_VALUES {
            return Err(self.wrong("at most 4096 values", "more"));
        }
        Ok(count)
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, Malformed> {
        if depth > MAX_DEPTH {
            return Err(self.wrong("at most 8 levels", "more"));
        }
        self.values += 1;
        Ok(match self.marker()? {
            Marker::Null => {
                self.via(decode::read_nil)?;
                Value::Nil
            }
            Marker::True | Marker::False => Value::Bool(self.via(decode::read_bool)?),
            Marker::F32 => Value::Float(self.via(decode::read_f32)?.into()),
            Marker::F64 => Value::Float(self.via(decode::read_f64)?),
            Marker::FixPos(_)
            | Marker::FixNeg(_)
            | Marker::U8
            | Marker::U16
            | Marker::U32
            | Marker::U64
            | Marker::I8
            | Marker::I16
            | Marker::I32
            | Marker::I64 => {
                let number: i128 = self.via(decode::read_int)?;
                // Beyond i64 only the largest u64, which nobody counts with.
                i64::try_from(number).map_or(Value::Float(number as f64), Value::Int)
            }
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                Value::Text(self.text()?)
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Value::Bytes(self.bytes()?),
            Marker::FixArray(_) | Marker::Array16 | Marker::Array32 => {
                let length = self.via(decode::read_array_len)?;
                let count = self.count(length, 1)?;
                let mut list = Vec::with_capacity(count);
                for _ in 0..count {
                    list.push(self.value(depth + 1)?);
                }
                Value::List(list)
            }
            Marker::FixMap(_) | Marker::Map16 | Marker::Map32 => {
                let length = self.via(decode::read_map_len)?;
                let count = self.count(length, 2)?;
                let mut entries = Vec::with_capacity(count);
                for _ in 0..count {
                    let key = self.key()?;
                    entries.push((key, self.value(depth + 1)?));
                }
                self.numpy_or_map(entries)?
            }
            other => {
                let actual = format!("{other:?}");
                return Err(self.wrong("a number, text, bytes, list or map", actual));
            }
        })
    }

    fn key(&mut self) -> Result<Key<'a>, Malformed> {
        match self.marker()? {
            Marker::FixStr(_) | Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                Ok(Key::Text(self.text()?))
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => Ok(Key::Bytes(self.bytes()?)),
            other => Err(self.wrong("a key of text or bytes", format!("{other:?}"))),
        }
    }

    /// A map, or the numpy value that it stands for.
    fn numpy_or_map(&self, mut entries: Vec<(Key<'a>, Value<'a>)>) -> Result<Value<'a>, Malformed> {
        let mut field = |name: &str| {
            let named =
                |(key, _): &(Key<'_>, _)| matches!(key, Key::Bytes(k) if *k == name.as_bytes());
            let i = entries.iter().position(named)?;
            Some(entries.swap_remove(i).1)
        };
        if field("__ndarray__").is_some() {
            let (data, dtype, shape) = (field("data"), field("dtype"), field("shape"));
            let array = Array::of(data, dtype, shape);
            return array
                .map(Value::Array)
                .map_err(|(expected, actual)| self.wrong(expected, actual));
        }
        if field("__npgeneric__").is_some() {
            return match field("data") {
                Some(
                    value @ (Value::Bool(_)
                    | Value::Int(_)
                    | Value::Float(_)
                    | Value::Text(_)
                    | Value::Bytes(_)),
                ) => Ok(value),
                _ => Err(self.wrong("a numpy scalar with `data`", "none")),
            };
        }
        let text = |(key, value)| match key {
            Key::Text(text) => Ok((text, value)),
            Key::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Ok((text, value)),
                Err(_) => Err(self.wrong("a key in UTF-8", "other bytes")),
            },
        };
        Ok(Value::Map(
            entries.into_iter().map(text).collect::<Result<_, _>>()?,
        ))
    }
}

impl<'a> Value<'a> {
    /// The value at `key`: that of the same name, or, where the key has a `.`, that of the rest in the map before it
    /// (`images.scene` is `{"images": {"scene": ..}}`).
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let Value::Map(entries) = self else {
            return None;
        };
        let named = |name: &str| entries.iter().find(|(k, _)| *k == name).map(|(_, v)| v);
        named(key).or_else(|| {
            let (head, tail) = key.split_once('.')?;
            named(head)?.get(tail)
        })
    }

    /// The keys of the message, those of inner maps behind a `.`; for what is said of a key that is missing.
    pub fn keys(&self) -> Vec<String> {
        let Value::Map(entries) = self else {
            return vec![];
        };
        let below = |(key, value): &(&str, Value<'_>)| match value.keys() {
            inner if inner.is_empty() => vec![(*key).to_owned()],
            inner => inner.iter().map(|k| format!("{key}.{k}")).collect(),
        };
        entries.iter().flat_map(below).collect()
    }

    /// What it is, in the words of numpy and Python.
    pub fn describe(&self) -> String {
        match self {
            Value::Nil => "None".into(),
            Value::Bool(_) => "a bool".into(),
            Value::Int(_) | Value::Float(_) => "a number".into(),
            Value::Text(_) => "text".into(),
            Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Value::List(list) => format!("a list of {}", list.len()),
            Value::Map(_) => "a dictionary".into(),
            Value::Array(array) => array.describe(),
        }
    }

    /// Its numbers: of a vector, a list of numbers, or one number.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let number = |value: &Value<'_>| match value {
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        };
        match self {
            Value::List(list) => list.iter().map(number).collect(),
            Value::Array(array) if array.shape.len() <= 1 => array.numbers(),
            other => Some(vec![number(other)?]),
        }
    }
}
