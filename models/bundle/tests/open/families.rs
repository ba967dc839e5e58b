//! Of what only some families have: a decoder, an action expert.

use tactus_bundle::{Bundle, Graph, Letterbox, Scaling, StateWords};

use crate::{STATS, refusal, refusal_with, write};

/// The manifest with a decoder of `table`, whose graph is the backbone's file.
fn with_decoder(manifest: &str, table: &str) -> String {
    let graph = "decoder = { file = \"graphs/backbone.onnx\", precision = \"fp32\" }\n";
    let manifest = manifest.replacen("[graphs]", &format!("{table}\n[graphs]"), 1);
    manifest.replacen("\n[golden]", &format!("{graph}\n[golden]"), 1)
}

#[test]
fn a_decoder_is_read_and_a_bundle_without_one_opens_as_before() {
    let dir = write(|m| m, STATS);
    let bundle = Bundle::open(dir.path()).expect("a good bundle");
    assert_eq!(bundle.manifest().decoder, None);
    assert_eq!(bundle.manifest().graph(Graph::Decoder), None);
    let table = "[decoder]\nmax_length = 512\nvocabulary = 300\neos = [\"<end>\"]\nthink = [\"<a>\", \"</a>\"]\n\
                 [decoder.fast]\ntokenizer = \"tokenizer.json\"\nconfig = \"stats.json\"\nmarks = [\"<b>\", \"</b>\"]\n\
                 token = \"<action_{n}>\"\n";
    let dir = write(|m| with_decoder(&m, table), STATS);
    let bundle = Bundle::open(dir.path()).expect("a good bundle");
    let decoder = bundle.manifest().decoder.as_ref().expect("a decoder");
    assert_eq!((decoder.max_length, decoder.vocabulary), (512, 300));
    assert_eq!(decoder.think, Some(["<a>".into(), "</a>".into()]));
    assert_eq!(decoder.answer, None);
    let fast = decoder.fast.as_ref().expect("action tokens");
    assert_eq!((&*fast.token, &*fast.marks[1]), ("<action_{n}>", "</b>"));
    let last = bundle.manifest().graphs().last().map(|(graph, _)| graph);
    assert_eq!(last, Some(Graph::Decoder));
}

#[test]
fn decoders_that_cannot_be_are_named() {
    let good = "[decoder]\nmax_length = 512\nvocabulary = 300\neos = [\"<end>\"]\n";
    let fast = |token: &str, config: &str| {
        format!(
            "{good}[decoder.fast]\ntokenizer = \"tokenizer.json\"\nconfig = \"{config}\"\nmarks = [\"<b>\", \"</b>\"]\n\
             token = \"{token}\"\n"
        )
    };
    for (table, says) in [
        (good.replace("512", "1"), "`decoder.max_length`"),
        (good.replace("300", "0"), "`decoder.vocabulary`"),
        (
            good.replace("[\"<end>\"]", "[]"),
            "`decoder.eos`: expected at least one token",
        ),
        (good.replace("<end>", ""), "`decoder.eos`"),
        (format!("{good}think = [\"<a>\"]\n"), "line "),
        (format!("{good}seed = 1\n"), "unknown field `seed`"),
        (
            fast("<action>", "stats.json"),
            "`decoder.fast.token`: expected `{n}` exactly once",
        ),
        (
            fast("<{n}>", "fast.json"),
            "`decoder.fast.config`: expected a file listed",
        ),
        (
            String::new(),
            "`graphs.decoder`: expected none without a table",
        ),
    ] {
        let dir = write(|m| with_decoder(&m, &table), STATS);
        let refusal = refusal(dir.path());
        assert!(refusal.contains(says), "expected `{says}` in: {refusal}");
    }
    let alone = format!("{good}\n[graphs]");
    assert!(refusal_with("[graphs]", &alone).contains("expected a graph, since there is a table"));
}

/// The manifest as one of pi0.5.
fn with_an_expert(text: String) -> String {
    [
        ("qwen2_5_vl+gr00t_n1_5", "paligemma+pi0_5"),
        ("hidden = 128", "hidden = 128\nfeatures = 36"),
        ("mrope_chunked", "sequential"),
        ("temporal_patch = 2", "temporal_patch = 1"),
        ("merge = 2", "merge = 1"),
        ("window = 112", "window = 0"),
        ("min_pixels = 3136", "min_pixels = 12544"),
        ("bicubic", "bilinear"),
        (
            "processor = \"pil\"",
            "processor = \"letterbox_centre\"\nbars = -3.0",
        ),
        (
            "{instruction}{images}",
            "{images}{instruction}, State: {state}",
        ),
        (
            "strip_punctuation = true",
            "strip_punctuation = true\nblanks = true\nstate = { bins = 256, columns = 8 }",
        ),
        ("buckets = 1000", "buckets = 0"),
    ]
    .into_iter()
    .fold(text, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    })
}

#[test]
fn a_policy_with_an_expert_opens() {
    let dir = write(with_an_expert, STATS);
    let bundle = Bundle::open(dir.path()).expect("it opens");
    let manifest = bundle.manifest();
    assert!(manifest.family.has_expert());
    assert!(manifest.prompt.blanks);
    assert_eq!(
        (manifest.backbone.hidden, manifest.backbone.features),
        (128, 36)
    );
    assert_eq!(
        manifest.vision.scaling,
        Scaling::Letterbox {
            place: Letterbox::Centre,
            bars: -3.0
        }
    );
    let said = StateWords {
        bins: 256,
        columns: 8,
    };
    assert_eq!(manifest.prompt.state, Some(said));
}

#[test]
fn what_only_an_expert_s_policy_has_is_named_where_it_is_missing_and_where_it_is_too_much() {
    for (from, to, says) in [
        (
            "features = 36\n",
            "",
            "`backbone.features`: expected the width of all layers' keys and values, got nothing",
        ),
        (
            "features = 36",
            "features = 0",
            "`backbone.features`: expected an integer in 1..=1048576, got 0",
        ),
        (
            "bars = -3.0\n",
            "",
            "`vision.bars`: expected the value of bars beside a picture, got nothing",
        ),
        (
            "bars = -3.0",
            "bars = inf",
            "`vision.bars`: expected a number in -100..=100, got inf",
        ),
        (
            "letterbox_centre",
            "pil",
            "`vision.processor`: expected `letterbox_centre` or `letterbox_corner`, got `pil`",
        ),
        (
            "bilinear",
            "bicubic",
            "`vision.resample`: expected `bilinear`, got `bicubic`",
        ),
        (
            "max_pixels = 12544",
            "max_pixels = 12545",
            "`vision.max_pixels`: expected as `vision.min_pixels` the square of a multiple of patch * merge, got 12545",
        ),
        (
            "merge = 1",
            "merge = 3",
            "`vision.max_pixels`: expected as `vision.min_pixels` the square",
        ),
        (
            "merge = 1",
            "merge = 9223372036854775807",
            "`vision.max_pixels`: expected as `vision.min_pixels` the square",
        ),
        (
            "temporal_patch = 1",
            "temporal_patch = 2",
            "`vision.temporal_patch`: expected `1`, got `2`",
        ),
        (
            "window = 0",
            "window = 112",
            "`vision.window`: expected 0 (paligemma+pi0_5 has none), got 112",
        ),
        (
            "sequential",
            "mrope_chunked",
            "`backbone.position_ids`: expected `sequential`, got `mrope_chunked`",
        ),
        (
            "state = { bins = 256, columns = 8 }",
            "",
            "`prompt.state`: expected how the prompt says the state, got nothing",
        ),
        (
            "columns = 8",
            "columns = 2",
            "`prompt.state.columns`: expected at least the 3 of the state, got 2",
        ),
        (
            "bins = 256",
            "bins = 1",
            "`prompt.state.bins`: expected an integer in 2..=65536, got 1",
        ),
        (
            ", State: {state}",
            "",
            "`prompt.template`: expected `{state}` exactly once, got 0 times",
        ),
        (
            "paligemma+pi0_5",
            "paligemma+pi0",
            "`prompt.state`: expected none (paligemma+pi0 does not say the state), got a table",
        ),
        (
            "buckets = 0",
            "buckets = 1000",
            "`denoise.buckets`: expected 0 (paligemma+pi0_5 has none), got 1000",
        ),
        (
            "max_prefix = 6",
            "max_prefix = 6\nmax_feature_age_s = 0.2",
            "`action.max_feature_age_s`: expected none, since the state is in the prompt, got 0.2",
        ),
        (
            "padding = \"none\"\npadded_length = 0",
            "padding = \"left\"\npadded_length = 99",
            "`backbone.padding`: expected `none`",
        ),
    ] {
        let dir = write(
            |text| {
                let text = with_an_expert(text);
                assert!(text.contains(from), "{from}");
                text.replacen(from, to, 1)
            },
            STATS,
        );
        let error = Bundle::open(dir.path())
            .expect_err("it is refused")
            .to_string();
        let says = format!("bundle.toml: field {says}");
        assert!(error.starts_with(&says), "{error}\n{says}");
    }
    for (from, to, says) in [
        (
            "hidden = 128",
            "hidden = 128\nfeatures = 128",
            "`backbone.features`: expected none, since features are as wide",
        ),
        (
            "processor = \"pil\"",
            "processor = \"pil\"\nbars = -1.0",
            "`vision.bars`: expected none (qwen2_5_vl+gr00t_n1_5 has none), got -1",
        ),
        (
            "{images}",
            "{images}{state}",
            "`prompt.template`: expected no `{state}`, got 1 times",
        ),
    ] {
        let error = refusal_with(from, to);
        assert!(
            error.starts_with(&format!("bundle.toml: field {says}")),
            "{error}"
        );
    }
}
