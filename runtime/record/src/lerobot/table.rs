//! Columns to Parquet: one row group, one plain page per column, nothing compressed; every value is there.
//!
//! Format: <https://github.com/apache/parquet-format>, version 2.11: `README.md`, `Encodings.md`, `parquet.thrift`; its
//! metadata are Thrift's compact protocol. Written here because it is this little of the format: the `parquet` crate would
//! bring the feature flags with which all of Zenoh is compiled once more. Read back by pyarrow in the tests.

use std::path::Path;

use super::ExportError;

const MAGIC: &[u8; 4] = b"PAR1";

/// The values of a column, one per row.
#[derive(Debug, Clone)]
pub enum Values {
    /// 32-bit floats.
    Float(Vec<f32>),
    /// 64-bit floats.
    Double(Vec<f64>),
    /// 64-bit integers.
    Int(Vec<i64>),
    /// Yes or no.
    Bool(Vec<bool>),
    /// Text.
    Text(Vec<String>),
    /// Lists of 32-bit floats, none empty.
    Floats(Vec<Vec<f32>>),
    /// Lists of texts, none empty.
    Texts(Vec<Vec<String>>),
}

/// A column and its name.
pub type Column = (String, Values);

/// Writes a table of `columns`, all of `rows` values, to `file`, with `words` as its metadata; and syncs it.
///
/// # Errors
/// [`ExportError`].
pub fn write(
    file: &Path,
    rows: usize,
    columns: &[Column],
    words: &[(&str, String)],
) -> Result<(), ExportError> {
    let refused = |reason| ExportError::File {
        file: file.into(),
        action: "write it",
        reason,
    };
    let bytes = bytes(rows, columns, words);
    std::fs::write(file, bytes).map_err(refused)?;
    let written = std::fs::File::open(file).map_err(refused)?;
    written.sync_all().map_err(refused)
}

/// Where the page of a column lies.
struct Chunk {
    at: usize,
    len: usize,
    values: usize,
}

fn bytes(rows: usize, columns: &[Column], words: &[(&str, String)]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let mut chunks = Vec::new();
    for (_, values) in columns {
        let page = values.page();
        let mut header = Thrift::default();
        header.int(1, 0); // a data page
        header.int(2, page.len() as i64);
        header.int(3, page.len() as i64);
        header.open(5);
        header.int(1, values.count() as i64);
        header.int(2, 0); // plain
        header.int(3, 3); // levels: run-length
        header.int(4, 3);
        header.close();
        let header = header.end();
        chunks.push(Chunk {
            at: out.len(),
            len: header.len() + page.len(),
            values: values.count(),
        });
        out.extend(header);
        out.extend(page);
    }
    let footer = footer(rows, columns, &chunks, words);
    let length = (footer.len() as u32).to_le_bytes();
    out.extend(footer);
    out.extend(length);
    out.extend(MAGIC);
    out
}

/// `FileMetaData`.
fn footer(rows: usize, columns: &[Column], chunks: &[Chunk], words: &[(&str, String)]) -> Vec<u8> {
    let mut meta = Thrift::default();
    meta.int(1, 1);
    let elements = columns.iter().map(|(_, v)| if v.is_list() { 3 } else { 1 });
    meta.structs(2, 1 + elements.sum::<usize>());
    meta.begin();
    meta.text(4, "schema");
    meta.int(5, columns.len() as i64);
    meta.close();
    for (name, values) in columns {
        values.schema(name, &mut meta);
    }
    meta.long(3, rows as i64);
    meta.structs(4, 1);
    meta.begin();
    meta.structs(1, columns.len());
    for ((name, values), chunk) in columns.iter().zip(chunks) {
        meta.begin();
        meta.long(2, chunk.at as i64);
        meta.open(3);
        meta.int(1, values.kind());
        meta.ints(2, &[0, 3]);
        match values.is_list() {
            true => meta.texts(3, &[name, "list", "element"]),
            false => meta.texts(3, &[name]),
        }
        meta.int(4, 0); // not compressed
        meta.long(5, chunk.values as i64);
        meta.long(6, chunk.len as i64);
        meta.long(7, chunk.len as i64);
        meta.long(9, chunk.at as i64);
        meta.close();
        meta.close();
    }
    meta.long(2, chunks.iter().map(|chunk| chunk.len as i64).sum());
    meta.long(3, rows as i64);
    meta.close();
    if !words.is_empty() {
        meta.structs(5, words.len());
        for (key, value) in words {
            meta.begin();
            meta.text(1, key);
            meta.text(2, value);
            meta.close();
        }
    }
    meta.text(6, concat!("tactus version ", env!("CARGO_PKG_VERSION")));
    meta.end()
}

impl Values {
    fn is_list(&self) -> bool {
        matches!(self, Self::Floats(_) | Self::Texts(_))
    }

    /// `Type`.
    fn kind(&self) -> i64 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) => 2,
            Self::Float(_) | Self::Floats(_) => 4,
            Self::Double(_) => 5,
            Self::Text(_) | Self::Texts(_) => 6,
        }
    }

    /// Values, those in lists each for itself.
    fn count(&self) -> usize {
        match self {
            Self::Float(v) => v.len(),
            Self::Double(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::Bool(v) => v.len(),
            Self::Text(v) => v.len(),
            Self::Floats(v) => v.iter().map(Vec::len).sum(),
            Self::Texts(v) => v.iter().map(Vec::len).sum(),
        }
    }

    /// `SchemaElement`s: a column, or `name (LIST) > repeated list > element`.
    fn schema(&self, name: &str, meta: &mut Thrift) {
        let leaf = |meta: &mut Thrift, name: &str| {
            meta.begin();
            meta.int(1, self.kind());
            meta.int(3, 0); // required
            meta.text(4, name);
            if self.kind() == 6 {
                meta.int(6, 0); // UTF-8
            }
            meta.close();
        };
        if !self.is_list() {
            return leaf(meta, name);
        }
        for (name, repetition, list) in [(name, 0, true), ("list", 2, false)] {
            meta.begin();
            meta.int(3, repetition);
            meta.text(4, name);
            meta.int(5, 1);
            if list {
                meta.int(6, 3);
            }
            meta.close();
        }
        leaf(meta, "element");
    }

    fn page(&self) -> Vec<u8> {
        let mut page = Vec::new();
        match self {
            Self::Float(v) => v.iter().for_each(|v| page.extend(v.to_le_bytes())),
            Self::Double(v) => v.iter().for_each(|v| page.extend(v.to_le_bytes())),
            Self::Int(v) => v.iter().for_each(|v| page.extend(v.to_le_bytes())),
            Self::Bool(v) => page.extend(v.chunks(8).map(|eight| {
                let bit = |(i, set): (usize, &bool)| u8::from(*set) << i;
                eight.iter().enumerate().map(bit).sum::<u8>()
            })),
            Self::Text(v) => v.iter().for_each(|text| put_text(&mut page, text)),
            Self::Floats(v) => {
                levels(&mut page, v);
                v.iter()
                    .flatten()
                    .for_each(|v| page.extend(v.to_le_bytes()));
            }
            Self::Texts(v) => {
                levels(&mut page, v);
                v.iter()
                    .flatten()
                    .for_each(|text| put_text(&mut page, text));
            }
        }
        page
    }
}

fn put_text(page: &mut Vec<u8>, text: &str) {
    page.extend((text.len() as u32).to_le_bytes());
    page.extend(text.as_bytes());
}

/// Repetition levels (0 where a list begins, else 1), then definition levels (1: all of it is there), as runs.
fn levels<T>(page: &mut Vec<u8>, lists: &[Vec<T>]) {
    let mut run = |runs: &[(usize, u8)]| {
        let mut bytes = Vec::new();
        for (length, value) in runs.iter().filter(|(length, _)| *length > 0) {
            varint(&mut bytes, (*length as u64) << 1);
            bytes.push(*value);
        }
        page.extend((bytes.len() as u32).to_le_bytes());
        page.extend(bytes);
    };
    let repetition = lists.iter().flat_map(|list| [(1, 0), (list.len() - 1, 1)]);
    run(&repetition.collect::<Vec<_>>());
    run(&[(lists.iter().map(Vec::len).sum(), 1)]);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Thrift's compact protocol, as far as it is needed. Fields come in the order of their numbers.
#[derive(Default)]
struct Thrift {
    bytes: Vec<u8>,
    /// Number of the field before, in each structure that is open.
    before: Vec<i16>,
    last: i16,
}

impl Thrift {
    const I32: u8 = 5;
    const I64: u8 = 6;
    const BINARY: u8 = 8;
    const LIST: u8 = 9;
    const STRUCT: u8 = 12;

    /// A field's number, below 16 more than the one before, and type.
    fn field(&mut self, number: i16, kind: u8) {
        self.bytes.push(((number - self.last) as u8) << 4 | kind);
        self.last = number;
    }

    fn zigzag(&mut self, value: i64) {
        varint(&mut self.bytes, ((value << 1) ^ (value >> 63)) as u64);
    }

    fn int(&mut self, number: i16, value: i64) {
        self.field(number, Self::I32);
        self.zigzag(value);
    }

    fn long(&mut self, number: i16, value: i64) {
        self.field(number, Self::I64);
        self.zigzag(value);
    }

    fn binary(&mut self, text: &str) {
        varint(&mut self.bytes, text.len() as u64);
        self.bytes.extend(text.as_bytes());
    }

    fn text(&mut self, number: i16, text: &str) {
        self.field(number, Self::BINARY);
        self.binary(text);
    }

    fn list(&mut self, number: i16, of: u8, len: usize) {
        self.field(number, Self::LIST);
        if len < 15 {
            self.bytes.push((len as u8) << 4 | of);
        } else {
            self.bytes.push(0xf0 | of);
            varint(&mut self.bytes, len as u64);
        }
    }

    fn ints(&mut self, number: i16, values: &[i64]) {
        self.list(number, Self::I32, values.len());
        values.iter().for_each(|value| self.zigzag(*value));
    }

    fn texts(&mut self, number: i16, values: &[&str]) {
        self.list(number, Self::BINARY, values.len());
        values.iter().for_each(|value| self.binary(value));
    }

    /// A list of so many structures, each to be begun and closed.
    fn structs(&mut self, number: i16, len: usize) {
        self.list(number, Self::STRUCT, len);
    }

    fn begin(&mut self) {
        self.before.push(std::mem::take(&mut self.last));
    }

    /// A field that is a structure.
    fn open(&mut self, number: i16) {
        self.field(number, Self::STRUCT);
        self.begin();
    }

    fn close(&mut self) {
        self.bytes.push(0);
        self.last = self.before.pop().unwrap_or_default();
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}
