//! What the four graphs must look like for a bundle: names, types and dimensions of every input and output.
//!
//! P patches and N image tokens of all cameras, S tokens of the prompt, H actions of A columns:
//!
//! | graph | inputs | outputs |
//! |---|---|---|
//! | vision | `pixel_values` [P, row], `pos_ids` [P, 2], `seg_full` [P]; with windows `window_index` [N], `seg_window` [P]; with a position table `interp_index` [P, 4], `interp_weight` [P, 4] | `image_embeds` [N, hidden]; with DeepStack of D levels `deepstack` [D, N, hidden] |
//! | backbone | `input_ids` [1, S], `image_embeds`, `image_rows` [N], `position_ids` [3, 1, S]; `deepstack` where vision makes it; with padding `attention_mask` [1, S] | `features` [1, S, F] |
//! | context | `features`, `state` [1, columns] | any number of `ctx.*` |
//! | denoise | `x` [1, H, A], `time` [1, H], `dt` [1], `prefix` [1, H, A], `prefix_mask` [1, H], every `ctx.*` | `x_next` [1, H, A] |
//!
//! The guided step, `denoise_vjp`, is as `denoise` with `target` [1, H, A], `weight` [1, H] and `guidance` [1] besides.
//!
//! F is the width of the language model, or of the keys and values of all its layers where an expert reads them; then the three
//! rows of `position_ids` are the same, and `context` may make keys and values of S tokens or of one more, the state.
//!
//! A is the width that the head was padded to, at least the declared columns.

use tactus_bundle::Manifest;
use tactus_onnx::{
    Dim::{Any, Is},
    Element::{F32, I64},
    OnnxError, Session, Side, TensorSpec, check_tensors,
};

/// Names of what the context graph hands to the denoise graph start with this.
pub const CONTEXT_PREFIX: &str = "ctx.";

/// Dimensions that a bundle fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    /// P: patches of all images.
    pub patches: usize,
    /// Numbers in a patch.
    pub row_len: usize,
    /// N: image tokens of all images.
    pub image_tokens: usize,
    /// Width of the language model and of image tokens.
    pub hidden: usize,
    /// F: width of the features.
    pub features: usize,
    /// Columns of the state.
    pub state: usize,
    /// H: actions in a chunk.
    pub horizon: usize,
    /// A: columns of the denoised tensor.
    pub action: usize,
    /// Whether the tower has attention windows.
    pub windows: bool,
    /// Whether the tower has a learned position table.
    pub table: bool,
    /// D: levels of DeepStack; 0 for none.
    pub deepstack: usize,
    /// Whether prompts are filled up.
    pub padded: bool,
}

impl Dims {
    /// The dimensions of a bundle whose images have `patches` patches in all.
    pub fn new(manifest: &Manifest, patches: usize) -> Self {
        Self {
            patches,
            row_len: manifest.vision.row_len(),
            image_tokens: patches / (manifest.vision.merge * manifest.vision.merge),
            hidden: manifest.backbone.hidden,
            features: manifest.backbone.features,
            state: manifest.state.columns(),
            horizon: manifest.action.horizon,
            action: manifest.action.width,
            windows: manifest.vision.window > 0,
            table: manifest.vision.position_table > 0,
            deepstack: manifest.vision.deepstack,
            padded: manifest.backbone.padding.is_some(),
        }
    }
}

/// Checks the four sessions, in running order, and the guided step's, against the bundle's dimensions.
///
/// # Errors
/// [`OnnxError::Tensor`] for the first tensor that is not as the table above says.
pub fn check(
    sessions: &[Session; 4],
    guided: Option<&Session>,
    dims: Dims,
) -> Result<(), OnnxError> {
    let [vision, backbone, context, denoise] = sessions;
    let Dims {
        image_tokens,
        features,
        state,
        horizon,
        action,
        padded,
        ..
    } = dims;
    let features = TensorSpec::new("features", F32, &[Is(1), Any, Is(features)]);
    let x = |name| TensorSpec::new(name, F32, &[Is(1), Is(horizon), Is(action)]);
    let from_vision = check_vision(vision, dims)?;
    let mut read = vec![
        TensorSpec::new("input_ids", I64, &[Is(1), Any]),
        TensorSpec::new("image_rows", I64, &[Is(image_tokens)]),
        TensorSpec::new("position_ids", I64, &[Is(3), Is(1), Any]),
    ];
    read.extend(from_vision);
    if padded {
        read.push(TensorSpec::new("attention_mask", I64, &[Is(1), Any]));
    }
    check_session(backbone, &read, std::slice::from_ref(&features))?;
    // Whatever the context graph makes must be single precision, be named so, and be taken by the denoise graph.
    let made: Vec<TensorSpec> = context
        .outputs()
        .iter()
        .filter(|output| output.name.starts_with(CONTEXT_PREFIX))
        .map(|output| TensorSpec::new(output.name.as_str(), F32, &output.dims))
        .collect();
    check_session(
        context,
        &[features, TensorSpec::new("state", F32, &[Is(1), Is(state)])],
        &made,
    )?;
    let mut inputs = vec![
        x("x"),
        TensorSpec::new("time", F32, &[Is(1), Is(horizon)]),
        TensorSpec::new("dt", F32, &[Is(1)]),
        x("prefix"),
        TensorSpec::new("prefix_mask", F32, &[Is(1), Is(horizon)]),
    ];
    inputs.extend(made);
    check_session(denoise, &inputs, &[x("x_next")])?;
    if let Some(session) = guided {
        inputs.extend([
            x("target"),
            TensorSpec::new("weight", F32, &[Is(1), Is(horizon)]),
            TensorSpec::new("guidance", F32, &[Is(1)]),
        ]);
        check_session(session, &inputs, &[x("x_next")])?;
    }
    Ok(())
}

/// Checks the vision session; what it makes, for whoever reads it.
///
/// # Errors
/// [`OnnxError::Tensor`] as [`check`].
pub(crate) fn check_vision(vision: &Session, dims: Dims) -> Result<Vec<TensorSpec>, OnnxError> {
    let Dims {
        patches,
        row_len,
        image_tokens,
        hidden,
        windows,
        table,
        deepstack,
        ..
    } = dims;
    let image_embeds = TensorSpec::new("image_embeds", F32, &[Is(image_tokens), Is(hidden)]);
    let levels = TensorSpec::new(
        "deepstack",
        F32,
        &[Is(deepstack), Is(image_tokens), Is(hidden)],
    );
    let mut from_vision = vec![image_embeds];
    let mut seen = vec![
        TensorSpec::new("pixel_values", F32, &[Is(patches), Is(row_len)]),
        TensorSpec::new("pos_ids", I64, &[Is(patches), Is(2)]),
        TensorSpec::new("seg_full", I64, &[Is(patches)]),
    ];
    if windows {
        seen.push(TensorSpec::new("window_index", I64, &[Is(image_tokens)]));
        seen.push(TensorSpec::new("seg_window", I64, &[Is(patches)]));
    }
    if table {
        seen.push(TensorSpec::new("interp_index", I64, &[Is(patches), Is(4)]));
        seen.push(TensorSpec::new("interp_weight", F32, &[Is(patches), Is(4)]));
    }
    if deepstack > 0 {
        from_vision.push(levels);
    }
    check_session(vision, &seen, &from_vision)?;
    Ok(from_vision)
}

fn check_session(
    session: &Session,
    inputs: &[TensorSpec],
    outputs: &[TensorSpec],
) -> Result<(), OnnxError> {
    let graph = session.graph().name();
    check_tensors(graph, Side::Input, session.inputs(), inputs)?;
    check_tensors(graph, Side::Output, session.outputs(), outputs)
}
