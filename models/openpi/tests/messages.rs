//! Messages: what openpi-client packs is read, and nothing else does harm.

use proptest::prelude::*;
use tactus_openpi::pack::Packer;
use tactus_openpi::value::{MAX_DEPTH, MAX_VALUES, Value, read};

/// What `openpi_client.msgpack_numpy.packb` makes of
/// `{"image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "state": np.array([0.5, -1.0]), "f": np.float32(1.5),
/// "i": np.int64(-3), "prompt": "pick", "n": {"t": (1, True, None)}}`, in hexadecimal.
const FROM_PYTHON: &str = "86a5696d61676584c40b5f5f6e6461727261795f5fc3c40464617461c40c000102030405060708090a0bc4056474797065a37c7531c405\
     736861706593020203a5737461746584c40b5f5f6e6461727261795f5fc3c40464617461c410000000000000e03f000000000000f0bfc405647479\
     7065a33c6638c40573686170659102a16683c40d5f5f6e7067656e657269635f5fc3c40464617461cb3ff8000000000000c4056474797065a33c66\
     34a16983c40d5f5f6e7067656e657269635f5fc3c40464617461fdc4056474797065a33c6938a670726f6d7074a47069636ba16e81a1749301c3c0";

fn from_python() -> Vec<u8> {
    let digits: Vec<u8> = FROM_PYTHON.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
    digits
        .chunks(2)
        .map(|pair| byte(pair).expect("hexadecimal"))
        .collect()
}

#[test]
fn what_openpi_client_packs_is_read_where_it_lies() {
    let message = from_python();
    let value = read(&message).expect("legal");
    let Some(Value::Array(image)) = value.get("image") else {
        panic!("{value:?}");
    };
    assert_eq!(image.shape, [2, 2, 3]);
    let pixels = image.bytes().expect("uint8");
    assert_eq!(pixels, (0..12).collect::<Vec<u8>>());
    assert!(
        message.as_ptr_range().contains(&pixels.as_ptr()),
        "not a copy"
    );
    let state = value.get("state").and_then(Value::numbers);
    assert_eq!(state, Some(vec![0.5, -1.0]));
    assert_eq!(value.get("f"), Some(&Value::Float(1.5)));
    assert_eq!(value.get("i"), Some(&Value::Int(-3)));
    assert_eq!(value.get("prompt"), Some(&Value::Text("pick")));
    let tuple = vec![Value::Int(1), Value::Bool(true), Value::Nil];
    assert_eq!(value.get("n.t"), Some(&Value::List(tuple)));
    assert_eq!(value.keys(), ["image", "state", "f", "i", "prompt", "n.t"]);
}

#[test]
fn a_message_that_is_cut_off_anywhere_or_goes_on_is_refused() {
    let message = from_python();
    for length in 0..message.len() {
        let error = read(&message[..length]).expect_err("cut off").to_string();
        assert!(
            error.contains("expected a complete message"),
            "{length}: {error}"
        );
    }
    let mut longer = message;
    longer.push(0);
    let error = read(&longer).expect_err("goes on").to_string();
    assert!(
        error.ends_with("expected the end, got 1 more bytes"),
        "{error}"
    );
}

/// An array's fields as they might come.
fn array(data: &[u8], dtype: &str, shape: impl FnOnce(&mut Packer)) -> Vec<u8> {
    // 0x84: a map of four; keys of bytes, as openpi-client has them.
    let mut out = vec![0x84];
    let mut bytes = |bytes: &[u8]| {
        out.extend([0xc4, bytes.len() as u8]);
        out.extend(bytes);
    };
    bytes(b"__ndarray__");
    bytes(b"x");
    bytes(b"data");
    bytes(data);
    bytes(b"dtype");
    out.push(0xa0 | dtype.len() as u8);
    out.extend(dtype.as_bytes());
    out.extend([0xc4, 5]);
    out.extend(b"shape");
    let mut packer = Packer::default();
    shape(&mut packer);
    out.extend(packer.into_bytes());
    out
}

#[test]
fn what_could_cost_more_than_its_bytes_is_refused() {
    let nested = |depth: usize| [vec![0x91; depth], vec![0xc0]].concat();
    assert!(read(&nested(MAX_DEPTH)).is_ok());
    for (message, says) in [
        (nested(MAX_DEPTH + 1), "expected at most 8 levels, got more"),
        (nested(100_000), "expected at most 8 levels, got more"),
        // Lists, maps and bytes of four thousand million entries that are not there.
        (
            vec![0xdd, 0xff, 0xff, 0xff, 0xff],
            "expected a complete message, got its end",
        ),
        (
            vec![0xdf, 0xff, 0xff, 0xff, 0xff],
            "expected a complete message, got its end",
        ),
        (
            vec![0xc6, 0xff, 0xff, 0xff, 0xff, 0],
            "expected a complete message, got its end",
        ),
        (
            vec![0xdb, 0xff, 0xff, 0xff, 0xff, 0],
            "expected a complete message, got its end",
        ),
        // A list as long as it says, of nothing.
        (
            [vec![0xdd, 0, 0, 0x20, 0], vec![0xc0; 0x2000]].concat(),
            "expected at most 4096 values, got more",
        ),
        // An extension type, a key that is a number, text that is none.
        (
            vec![0xd4, 1, 0],
            "expected a number, text, bytes, list or map, got FixExt1",
        ),
        (
            vec![0x81, 0x01, 0xc0],
            "expected a key of text or bytes, got FixPos(1)",
        ),
        (vec![0xa1, 0xff], "expected text in UTF-8, got other bytes"),
        (
            array(&[0; 8], "<f8", |p| {
                p.list(2).int(1 << 40).int(1 << 40);
            }),
            "8 bytes for float64 [1099511627776, 1099511627776]",
        ),
        (
            array(&[0; 8], "<f8", |p| {
                p.list(1).int(2);
            }),
            "8 bytes for float64 [2]",
        ),
        (
            array(&[0; 8], "<f8", |p| {
                p.list(1).int(-1);
            }),
            "expected lengths of 0 or more as an array's `shape`",
        ),
        (
            array(&[], "|u1", |p| {
                p.list(9);
                (0..9).for_each(|_| {
                    p.int(0);
                });
            }),
            "expected at most 8 lengths as an array's `shape`, got a list of 9",
        ),
    ] {
        let error = read(&message).expect_err(says).to_string();
        assert!(error.contains(says), "{error}, not {says}");
    }
    const { assert!(MAX_VALUES == 4096 && MAX_DEPTH == 8) };
}

#[test]
fn an_element_type_that_nobody_reads_does_no_harm_until_somebody_does() {
    let message = array(&[0; 4], ">f4", |p| {
        p.list(1).int(1);
    });
    let Ok(Value::Array(array)) = read(&message) else {
        panic!("an array");
    };
    assert_eq!((array.numbers(), array.bytes()), (None, None));
    assert_eq!(array.describe(), "dtype \">f4\" [1]");
}

/// A value of any kind and shape, written.
fn any_value() -> impl Strategy<Value = toml::Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(toml::Value::Integer),
        any::<f64>().prop_map(toml::Value::Float),
        any::<bool>().prop_map(toml::Value::Boolean),
        ".{0,40}".prop_map(toml::Value::String),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(toml::Value::Array),
            prop::collection::btree_map("[^.]{1,20}", inner, 0..8)
                .prop_map(|map| toml::Value::Table(map.into_iter().collect())),
        ]
    })
}

fn same(value: &Value<'_>, toml: &toml::Value) -> bool {
    match (value, toml) {
        (Value::Int(a), toml::Value::Integer(b)) => a == b,
        (Value::Float(a), toml::Value::Float(b)) => {
            a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
        }
        (Value::Bool(a), toml::Value::Boolean(b)) => a == b,
        (Value::Text(a), toml::Value::String(b)) => a == b,
        (Value::List(a), toml::Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Map(a), toml::Value::Table(b)) => {
            let entry =
                |(key, value): &(&str, Value<'_>)| b.get(*key).is_some_and(|b| same(value, b));
            a.len() == b.len() && a.iter().all(entry)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in any_value()) {
        let mut packer = Packer::default();
        packer.toml(&value);
        let message = packer.into_bytes();
        let back = read(&message).expect("legal");
        prop_assert!(same(&back, &value), "{back:?} is not {value:?}");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        drop(read(&bytes));
    }

    /// Nearly right is worse than wrong: one byte of a real message changed, at every place.
    #[test]
    fn a_changed_byte_is_read_or_refused(at in 0..4096_usize, to: u8) {
        let mut message = from_python();
        let at = at % message.len();
        message[at] = to;
        if let Ok(value) = read(&message) {
            for key in value.keys() {
                let value = value.get(&key);
                if let Some(value) = value {
                    drop((value.numbers(), value.describe()));
                }
            }
        }
    }
}
