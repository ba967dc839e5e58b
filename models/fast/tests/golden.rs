//! The codec against what scipy and tokenizers make (`golden.py`), on the demo policy's tokenizer and on one of the
//! published kind.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Deserialize;
use tactus_fast::{FastCodec, FastSpec, Malformed, Unencodable};

#[derive(Deserialize)]
struct Case {
    rows: Vec<f64>,
    ids: Vec<u32>,
    decoded: Vec<f64>,
}

#[derive(Deserialize)]
struct Golden {
    demo: Vec<Case>,
    published: Vec<Case>,
    low: Vec<f64>,
    high: Vec<f64>,
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn checkpoint() -> PathBuf {
    here().join("../../demo/checkpoint")
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(here().join("golden.json")).expect("golden.json");
    serde_json::from_str(&text).expect("golden values")
}

fn demo() -> FastCodec {
    let spec = FastSpec::read(&checkpoint().join("fast_config.json")).expect("spec");
    FastCodec::open(&checkpoint().join("fast_tokenizer.json"), spec).expect("tokenizer")
}

fn published(golden: &Golden) -> FastCodec {
    let dir = here().join("published");
    let (low, high) = (golden.low.clone(), golden.high.clone());
    let spec = FastSpec::published(&dir.join("processor_config.json"), 10, low, high);
    FastCodec::open(&dir.join("tokenizer.json"), spec.expect("spec")).expect("tokenizer")
}

fn agree(codec: &FastCodec, cases: &[Case]) {
    assert!(cases.len() > 60);
    for (i, case) in cases.iter().enumerate() {
        assert_eq!(codec.encode(&case.rows).expect("ids"), case.ids, "case {i}");
        let decoded = codec.decode(&case.ids).expect("rows");
        for (ours, theirs) in decoded.iter().zip(&case.decoded) {
            assert!((ours - theirs).abs() < 1e-12, "case {i}: {ours} {theirs}");
        }
    }
}

#[test]
fn ids_are_the_references_to_the_bit_and_rows_to_the_last_place() {
    let golden = golden();
    agree(&demo(), &golden.demo);
    agree(&published(&golden), &golden.published);
}

#[test]
fn ids_that_spell_no_chunk_are_a_fault() {
    let golden = golden();
    for (codec, cases) in [
        (demo(), &golden.demo),
        (published(&golden), &golden.published),
    ] {
        let ids = &cases[0].ids;
        let values = codec.spec().values();
        let count = |ids: &[u32]| match codec.decode(ids) {
            Err(Malformed::Count { expected, actual }) => {
                assert_eq!(expected, values);
                actual
            }
            other => panic!("{other:?}"),
        };
        assert!(count(&ids[1..]) < values);
        assert!(count(&[ids.as_slice(), &ids[..1]].concat()) > values);
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&vec![ids[0]; 1 << 20]), 1 << 20);
        let unknown = [&[codec.vocabulary() as u32], &ids[1..]].concat();
        assert!(matches!(
            codec.decode(&unknown),
            Err(Malformed::Unknown { .. })
        ));
    }
}

#[test]
fn what_is_no_chunk_has_no_ids() {
    let codec = demo();
    let mut rows = golden().demo[0].rows.clone();
    let shape = codec.encode(&rows[1..]);
    assert!(matches!(
        shape,
        Err(Unencodable::Shape {
            expected: 112,
            actual: 111
        })
    ));
    rows[9] = f64::NAN;
    let value = codec.encode(&rows);
    assert!(matches!(
        value,
        Err(Unencodable::Value {
            row: 1,
            column: 2,
            ..
        })
    ));
}

#[test]
fn files_that_do_not_fit_are_named() {
    let dir = here().join("published");
    let file = dir.join("processor_config.json");
    let of = |horizon, low: Vec<f64>, high: Vec<f64>| {
        let refused = FastSpec::published(&file, horizon, low, high).expect_err("refused");
        refused
            .to_string()
            .rsplit_once("json: ")
            .map(|(_, why)| why.to_owned())
    };
    let said = |why: &str| Some(why.to_owned());
    assert_eq!(
        of(0, vec![0.0], vec![1.0]),
        said("horizon: expected 1..=8192, got 0")
    );
    assert_eq!(
        of(9, vec![], vec![]),
        said("dims: expected 1..=8192, got 0")
    );
    assert_eq!(
        of(9, vec![0.0], vec![0.0]),
        said("high: expected more than low, 0, got 0")
    );
    assert_eq!(
        of(9, vec![0.0], vec![]),
        said("high: expected 1 numbers, got 0")
    );
    assert_eq!(
        of(9, vec![f64::NAN], vec![1.0]),
        said("low: expected finite numbers, got NaN")
    );
    let missing = FastSpec::read(&dir.join("none.json")).expect_err("no such file");
    assert!(missing.to_string().contains("none.json"));
    let other = FastSpec::read(&file).expect_err("of another kind");
    assert!(
        other.to_string().contains("processor_config.json"),
        "{other}"
    );
    let spec = FastSpec::read(&checkpoint().join("fast_config.json")).expect("spec");
    let model = FastCodec::open(&file, spec).expect_err("no tokenizer");
    assert!(
        model.to_string().contains("processor_config.json"),
        "{model}"
    );
}

proptest! {
    #[test]
    fn a_chunk_inside_its_ranges_comes_back_within_the_rounding(
        values in prop::collection::vec(-1.0..1.0f64, 112),
    ) {
        let codec = demo();
        let (low, high) = (&codec.spec().low, &codec.spec().high);
        let half = |i: usize| (high[i % 7] - low[i % 7]) / 2.0;
        // Column sums of a few coefficients may pass the alphabet's ends only at the very ends of all rows together.
        let rows: Vec<f64> = values.iter().enumerate().map(|(i, v)| low[i % 7] + half(i) * (v + 1.0)).collect();
        let back = codec.decode(&codec.encode(&rows).expect("ids")).expect("rows");
        for column in 0..7 {
            let square: f64 = (0..16).map(|row| {
                let i = row * 7 + column;
                ((back[i] - rows[i]) / half(i)).powi(2)
            }).sum();
            prop_assert!((square / 16.0).sqrt() <= 0.05 + 1e-9);
        }
    }

    #[test]
    fn any_ids_are_a_chunk_of_finite_numbers_or_a_fault(ids in prop::collection::vec(0u32..2100, 0..200)) {
        if let Ok(rows) = demo().decode(&ids) {
            prop_assert_eq!(rows.len(), 112);
            prop_assert!(rows.iter().all(|value| value.is_finite()));
        }
    }
}
