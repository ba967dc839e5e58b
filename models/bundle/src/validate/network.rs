//! The tables that say what the graphs are: backbone, vision, prompt, denoising, decoder.

use super::{non_empty, none_of, only};
use crate::{
    bounds,
    error::BundleError,
    expert,
    manifest::{
        Backbone, Decoder, Denoise, Family, Fast, NormPlace, Padding, PaddingSide, PositionIds,
        Prompt, Vision,
    },
    raw::{RawBackbone, RawDecoder, RawDenoise, RawFast, RawPrompt, RawVision},
};

pub(super) fn backbone(
    raw: RawBackbone,
    family: Family,
    token: &str,
) -> Result<Backbone, BundleError> {
    let position_ids = PositionIds::parse("backbone.position_ids", &raw.position_ids)?;
    let expected = match family {
        Family::Qwen25VlGrootN15 => PositionIds::Chunked,
        Family::Qwen3VlGrootN15 | Family::Qwen3VlGrootN17 => PositionIds::Interleaved,
        Family::Pi0 | Family::Pi05 | Family::SmolVla => PositionIds::Sequential,
    };
    only(
        "backbone.position_ids",
        position_ids.word(),
        expected.word(),
    )?;
    only("backbone.encoder_mask", &raw.encoder_mask, "none")?;
    let padding = match raw.padding.as_str() {
        "none" => {
            none_of("backbone.padded_length", raw.padded_length, "this bundle")?;
            None
        }
        side => Some(Padding {
            side: match PaddingSide::parse("backbone.padding", side) {
                Ok(side) => side,
                Err(_) => {
                    let expected = "`none` or `left` or `right`";
                    let actual = format!("`{side}`");
                    return Err(BundleError::manifest("backbone.padding", expected, actual));
                }
            },
            length: bounds::PADDED_LENGTH.count(raw.padded_length)?,
            token: non_empty("prompt.pad_token", token.into())?,
        }),
    };
    if (family == Family::Qwen3VlGrootN17 || family.has_expert()) && padding.is_some() {
        let expected = "`none` (its head reads tokens only, and no filling)";
        return Err(BundleError::manifest(
            "backbone.padding",
            expected,
            format!("`{}`", raw.padding),
        ));
    }
    let hidden = bounds::HIDDEN.count(raw.hidden)?;
    let features = expert::features(raw.features, family, hidden)?;
    Ok(Backbone {
        layers: bounds::LAYERS.count(raw.layers)?,
        norm: NormPlace::parse("backbone.norm", &raw.norm)?,
        hidden,
        features,
        position_ids,
        padding,
    })
}

pub(super) fn vision(raw: RawVision, family: Family) -> Result<Vision, BundleError> {
    let scaling = expert::scaling(&raw, family)?;
    // Each family has its own way of knowing where a patch is; what belongs to the other is 0.
    let (window, position_table, deepstack) = match family {
        Family::Qwen25VlGrootN15 => {
            none_of("vision.position_table", raw.position_table, family.word())?;
            none_of("vision.deepstack", raw.deepstack, family.word())?;
            (bounds::WINDOW.count(raw.window)?, 0, 0)
        }
        Family::Qwen3VlGrootN15 | Family::Qwen3VlGrootN17 => {
            none_of("vision.window", raw.window, family.word())?;
            let table = bounds::POSITION_TABLE.count(raw.position_table)?;
            (0, table, bounds::DEEPSTACK.count(raw.deepstack)?)
        }
        Family::Pi0 | Family::Pi05 | Family::SmolVla => {
            for (field, value) in [
                ("vision.window", raw.window),
                ("vision.position_table", raw.position_table),
                ("vision.deepstack", raw.deepstack),
            ] {
                none_of(field, value, family.word())?;
            }
            only(
                "vision.temporal_patch",
                &raw.temporal_patch.to_string(),
                "1",
            )?;
            (0, 0, 0)
        }
    };
    for value in raw.mean {
        bounds::MEAN.real(value)?;
    }
    for value in raw.std {
        bounds::STD.real(value)?;
    }
    let out = Vision {
        patch: bounds::PATCH.count(raw.patch)?,
        temporal_patch: bounds::TEMPORAL_PATCH.count(raw.temporal_patch)?,
        merge: bounds::MERGE.count(raw.merge)?,
        window,
        position_table,
        deepstack,
        mean: raw.mean,
        std: raw.std,
        min_pixels: bounds::PIXELS.count_at("vision.min_pixels", raw.min_pixels)?,
        max_pixels: bounds::PIXELS.count_at("vision.max_pixels", raw.max_pixels)?,
        scaling,
    };
    if !out.window.is_multiple_of(out.factor()) {
        let expected = format!("a multiple of patch * merge = {}", out.factor());
        return Err(BundleError::manifest("vision.window", expected, out.window));
    }
    if out.max_pixels < out.min_pixels || out.max_pixels < out.factor() * out.factor() {
        let expected = format!(
            "at least min_pixels = {} and one merge unit = {}",
            out.min_pixels,
            out.factor() * out.factor()
        );
        return Err(BundleError::manifest(
            "vision.max_pixels",
            expected,
            out.max_pixels,
        ));
    }
    Ok(out)
}

pub(super) fn prompt(
    tokenizer: String,
    raw: RawPrompt,
    family: Family,
    columns: usize,
) -> Result<Prompt, BundleError> {
    let state = expert::state_words(raw.state, &raw.template, family, columns)?;
    for (field, text, placeholder) in [
        ("prompt.template", &raw.template, "{instruction}"),
        ("prompt.template", &raw.template, "{images}"),
        ("prompt.image", &raw.image, "{pads}"),
    ] {
        let found = text.matches(placeholder).count();
        if found != 1 {
            let expected = format!("`{placeholder}` exactly once");
            return Err(BundleError::manifest(
                field,
                expected,
                format!("{found} times"),
            ));
        }
    }
    Ok(Prompt {
        tokenizer,
        template: raw.template,
        state,
        image: raw.image,
        image_token: non_empty("prompt.image_token", raw.image_token)?,
        lowercase: raw.lowercase,
        strip_punctuation: raw.strip_punctuation,
        blanks: raw.blanks,
    })
}

pub(super) fn denoise(raw: RawDenoise, family: Family) -> Result<Denoise, BundleError> {
    only("denoise.noise", &raw.noise, "normal")?;
    for (field, value, expected) in [
        ("denoise.time_from", raw.time_from, 0.0),
        ("denoise.time_to", raw.time_to, 1.0),
    ] {
        if value != expected {
            let expected = format!("{expected:.1} (time runs from noise at 0 to action at 1)");
            return Err(BundleError::manifest(field, expected, value));
        }
    }
    Ok(Denoise {
        steps: bounds::STEPS.count(raw.steps)?,
        buckets: match family.has_expert() {
            true => {
                none_of("denoise.buckets", raw.buckets, family.word())?;
                0
            }
            false => bounds::BUCKETS.count(raw.buckets)?,
        },
    })
}

pub(super) fn decoder(
    raw: RawDecoder,
    listed: &impl Fn(&str, String) -> Result<String, BundleError>,
) -> Result<Decoder, BundleError> {
    if raw.eos.is_empty() {
        return Err(BundleError::manifest(
            "decoder.eos",
            "at least one token",
            "none",
        ));
    }
    let pair = |field: &str, texts: Option<[String; 2]>| match texts {
        None => Ok(None),
        Some([begin, end]) => {
            Ok::<_, BundleError>(Some([non_empty(field, begin)?, non_empty(field, end)?]))
        }
    };
    let fast = |raw: RawFast| {
        let found = raw.token.matches("{n}").count();
        if found != 1 {
            let actual = format!("{found} times");
            return Err(BundleError::manifest(
                "decoder.fast.token",
                "`{n}` exactly once",
                actual,
            ));
        }
        let [begin, end] = raw.marks;
        Ok(Fast {
            tokenizer: listed("decoder.fast.tokenizer", raw.tokenizer)?,
            config: listed("decoder.fast.config", raw.config)?,
            marks: [
                non_empty("decoder.fast.marks", begin)?,
                non_empty("decoder.fast.marks", end)?,
            ],
            token: raw.token,
        })
    };
    let eos = raw.eos.into_iter();
    Ok(Decoder {
        max_length: bounds::DECODER_LENGTH.count(raw.max_length)?,
        vocabulary: bounds::VOCABULARY.count(raw.vocabulary)?,
        eos: eos
            .map(|token| non_empty("decoder.eos", token))
            .collect::<Result<_, _>>()?,
        think: pair("decoder.think", raw.think)?,
        answer: pair("decoder.answer", raw.answer)?,
        fast: raw.fast.map(fast).transpose()?,
    })
}
