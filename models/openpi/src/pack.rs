//! Messages as openpi-client reads them: MessagePack, numpy arrays as maps with the key `b"__ndarray__"`.

use rmp::encode::{self, ByteBuf};

/// Writes one message. Whoever opens a map or list of `n` writes `n` entries.
#[derive(Debug, Default)]
pub struct Packer {
    out: ByteBuf,
}

/// Writing to memory does not fail; lengths beyond 32 bits are not written.
fn sure<T, E>(_: Result<T, E>) {}

fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Packer {
    /// A message, with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            out: ByteBuf::with_capacity(capacity),
        }
    }

    /// The message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out.into_vec()
    }

    /// A map of `entries` keys with a value each.
    pub fn map(&mut self, entries: usize) -> &mut Self {
        sure(encode::write_map_len(&mut self.out, short(entries)));
        self
    }

    /// A list of `values`.
    pub fn list(&mut self, values: usize) -> &mut Self {
        sure(encode::write_array_len(&mut self.out, short(values)));
        self
    }

    /// Text, as a key or a value.
    pub fn text(&mut self, text: &str) -> &mut Self {
        sure(encode::write_str(&mut self.out, text));
        self
    }

    /// A number.
    pub fn float(&mut self, number: f64) -> &mut Self {
        sure(encode::write_f64(&mut self.out, number));
        self
    }

    /// A whole number.
    pub fn int(&mut self, number: i64) -> &mut Self {
        sure(encode::write_sint(&mut self.out, number));
        self
    }

    /// A truth value.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        sure(encode::write_bool(&mut self.out, value));
        self
    }

    /// A `uint8` array.
    pub fn bytes_array(&mut self, shape: &[usize], data: &[u8]) -> &mut Self {
        self.array("|u1", data.len());
        self.out.as_mut_vec().extend_from_slice(data);
        self.shape(shape)
    }

    /// A `float64` array.
    pub fn float_array(&mut self, shape: &[usize], numbers: &[f64]) -> &mut Self {
        self.array("<f8", numbers.len() * 8);
        let out = self.out.as_mut_vec();
        numbers
            .iter()
            .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        self.shape(shape)
    }

    /// Up to where the elements begin.
    fn array(&mut self, dtype: &str, length: usize) {
        let out = &mut self.out;
        sure(encode::write_map_len(out, 4));
        sure(encode::write_bin(out, b"__ndarray__"));
        sure(encode::write_bool(out, true));
        sure(encode::write_bin(out, b"dtype"));
        sure(encode::write_str(out, dtype));
        sure(encode::write_bin(out, b"data"));
        sure(encode::write_bin_len(out, short(length)));
    }

    fn shape(&mut self, shape: &[usize]) -> &mut Self {
        sure(encode::write_bin(&mut self.out, b"shape"));
        self.list(shape.len());
        for length in shape {
            sure(encode::write_uint(&mut self.out, *length as u64));
        }
        self
    }

    /// A TOML table or value.
    pub fn toml(&mut self, value: &toml::Value) -> &mut Self {
        match value {
            toml::Value::String(text) => self.text(text),
            toml::Value::Integer(number) => self.int(*number),
            toml::Value::Float(number) => self.float(*number),
            toml::Value::Boolean(value) => self.bool(*value),
            toml::Value::Datetime(date) => self.text(&date.to_string()),
            toml::Value::Array(list) => {
                self.list(list.len());
                list.iter().for_each(|value| {
                    self.toml(value);
                });
                self
            }
            toml::Value::Table(table) => {
                self.map(table.len());
                table.iter().for_each(|(key, value)| {
                    self.text(key).toml(value);
                });
                self
            }
        }
    }
}
