//! What only a policy has whose expert reads a language model's keys and values: the square it sees pictures in, features of
//! another width, a state that is said in words.
//!
//! Decides which of these fields a family has to declare, and which it must not.

use crate::{
    bounds,
    error::BundleError,
    manifest::{Action, Family, Letterbox, Processor, Scaling, StateWords},
    raw::{RawStateWords, RawVision},
    validate::only,
};

/// Width of the features.
pub(crate) fn features(
    given: Option<i64>,
    family: Family,
    hidden: usize,
) -> Result<usize, BundleError> {
    match (given, family.has_expert()) {
        (None, false) => Ok(hidden),
        (Some(features), true) => bounds::FEATURES.count(features),
        (features, needed) => {
            let expected = match needed {
                true => "the width of all layers' keys and values",
                false => "none, since features are as wide as `backbone.hidden`",
            };
            let actual = features.map_or("nothing".into(), |n| n.to_string());
            Err(BundleError::manifest("backbone.features", expected, actual))
        }
    }
}

/// How pictures come to the size that the policy sees; a square's side is a multiple of a merge unit.
pub(crate) fn scaling(raw: &RawVision, family: Family) -> Result<Scaling, BundleError> {
    let field = "vision.bars";
    if !family.has_expert() {
        only("vision.resample", &raw.resample, "bicubic")?;
        if let Some(bars) = raw.bars {
            let expected = format!("none ({} has none)", family.word());
            return Err(BundleError::manifest(field, expected, bars));
        }
        let processor = Processor::parse("vision.processor", &raw.processor)?;
        return Ok(Scaling::Bicubic(processor));
    }
    only("vision.resample", &raw.resample, "bilinear")?;
    let place = Letterbox::parse("vision.processor", &raw.processor)?;
    let Some(bars) = raw.bars else {
        let expected = "the value of bars beside a picture";
        return Err(BundleError::manifest(field, expected, "nothing"));
    };
    let (side, unit) = (
        raw.max_pixels.max(0).isqrt(),
        raw.patch.checked_mul(raw.merge),
    );
    let whole = unit.is_some_and(|unit| unit > 0 && side % unit == 0);
    if side * side != raw.max_pixels || raw.min_pixels != raw.max_pixels || !whole {
        let expected = "as `vision.min_pixels` the square of a multiple of patch * merge";
        let actual = raw.max_pixels;
        return Err(BundleError::manifest("vision.max_pixels", expected, actual));
    }
    Ok(Scaling::Letterbox {
        place,
        bars: bounds::BARS.real(bars)?,
    })
}

/// How the prompt says the state, of `columns` columns.
pub(crate) fn state_words(
    given: Option<RawStateWords>,
    template: &str,
    family: Family,
    columns: usize,
) -> Result<Option<StateWords>, BundleError> {
    let state = match (given, family) {
        (Some(words), Family::Pi05) => Some(StateWords {
            bins: bounds::STATE_BINS.count(words.bins)?,
            columns: bounds::STATE_COLUMNS.count(words.columns)?,
        }),
        (None, Family::Pi05) => {
            let expected = "how the prompt says the state";
            return Err(BundleError::manifest("prompt.state", expected, "nothing"));
        }
        (Some(_), _) => {
            let expected = format!("none ({} does not say the state)", family.word());
            return Err(BundleError::manifest("prompt.state", expected, "a table"));
        }
        (None, _) => None,
    };
    if let Some(words) = state.filter(|words| words.columns < columns) {
        let expected = format!("at least the {columns} of the state");
        let actual = words.columns;
        return Err(BundleError::manifest(
            "prompt.state.columns",
            expected,
            actual,
        ));
    }
    let said = template.matches("{state}").count();
    if said != usize::from(state.is_some()) {
        let expected = match state {
            Some(_) => "`{state}` exactly once",
            None => "no `{state}`",
        };
        let actual = format!("{said} times");
        return Err(BundleError::manifest("prompt.template", expected, actual));
    }
    Ok(state)
}

/// Features that hold the state are none for a later one.
pub(crate) fn said_once(action: Action, family: Family) -> Result<Action, BundleError> {
    if family == Family::Pi05 && !action.max_feature_age.is_zero() {
        let expected = "none, since the state is in the prompt";
        let actual = action.max_feature_age.as_secs_f64();
        return Err(BundleError::manifest(
            "action.max_feature_age_s",
            expected,
            actual,
        ));
    }
    Ok(action)
}
