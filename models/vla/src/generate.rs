//! The decoder graph over a cache: a prompt in pieces, then token by token, scores after each.
//!
//! Decides what is bound to what and where in the cache a token goes. Does not choose tokens, and does not stop: whoever
//! drives it may leave off between any two runs. All buffers are made when it is opened, or when a prompt has another
//! length than the one before.
//!
//! Image tokens stay where the vision graph made them. A run takes only those of its own piece: the others are sent to the
//! row after its last, which the graph throws away. The last piece of a prompt overlaps the one before, so that all have
//! one length: what is computed twice is written twice, the same.

use tactus_bundle::{Graph, Manifest};
use tactus_onnx::{
    Binding, Buffer, Cache,
    Dim::{Any, Is},
    Element::{F32, I64},
    OnnxError, Place, Session, Side, TensorSpec, check_tensors,
};

use crate::sequence::fill;

/// Prefix of the cache's tensors as inputs.
const PAST: &str = "past.";
/// And as outputs.
const PRESENT: &str = "present.";

/// Buffers of runs over this many tokens.
struct Piece {
    tokens: usize,
    input_ids: Buffer<i64>,
    image_rows: Buffer<i64>,
    position_ids: Buffer<i64>,
    start: Buffer<i64>,
    binding: Binding,
}

/// Where image tokens lie.
#[derive(Debug)]
pub(crate) struct ImageTokens<'a> {
    /// `[N, hidden]`.
    pub embeds: &'a mut Buffer<f32>,
    /// `[D, N, hidden]`, where there are levels.
    pub levels: Option<&'a mut Buffer<f32>>,
    /// N.
    pub count: usize,
}

/// A prompt that is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// Token ids, `[S]`, at least one.
    pub ids: Vec<i64>,
    /// Position in the prompt of every image token, `[N]`.
    pub image_rows: Vec<i64>,
    /// `[3, 1, S]`.
    pub position_ids: Vec<i64>,
}

/// The decoder graph, its cache, and where it is.
pub(crate) struct Decoder {
    session: Session,
    caches: Vec<(String, Cache)>,
    logits: Buffer<f32>,
    capacity: usize,
    most: usize,
    hidden: usize,
    levels: usize,
    one: Option<Piece>,
    many: Option<Piece>,
    script: Script,
    /// Tokens in the cache.
    length: usize,
    /// Position id of the token after them.
    following: i64,
}

impl Decoder {
    /// Binds `session` for at most `capacity` tokens; prompts are read in pieces of at most `most` tokens.
    ///
    /// # Errors
    /// [`OnnxError`] when the graph is not what the bundle says, or memory is not to be had.
    pub fn new(
        session: Session,
        manifest: &Manifest,
        vocabulary: usize,
        (capacity, most): (usize, usize),
    ) -> Result<Self, OnnxError> {
        let (hidden, levels) = (manifest.backbone.hidden, manifest.vision.deepstack);
        check(&session, hidden, levels, vocabulary)?;
        let mut out = Self {
            caches: Vec::new(),
            logits: session.buffer("logits", Place::Host, &[1, vocabulary])?,
            capacity,
            most: most.max(1),
            hidden,
            levels,
            one: None,
            many: None,
            script: Script {
                ids: Vec::new(),
                image_rows: Vec::new(),
                position_ids: Vec::new(),
            },
            length: 0,
            following: 0,
            session,
        };
        out.forget()?;
        Ok(out)
    }

    /// Makes the cache anew. After a run whose numbers were not finite: what is not seen is multiplied by zero, and zero
    /// times NaN is NaN.
    pub fn forget(&mut self) -> Result<(), OnnxError> {
        let mut caches = Vec::new();
        for input in self.session.inputs() {
            let Some(name) = input.name.strip_prefix(PAST) else {
                continue;
            };
            let dim = |i: usize| match input.dims.get(i) {
                Some(Is(n)) => *n,
                Some(Any) | None => self.capacity,
            };
            let shape = [dim(0), self.capacity, dim(2)];
            let cache = self.session.cache(&input.name, &input.element, &shape)?;
            caches.push((name.to_owned(), cache));
        }
        self.caches = caches;
        (self.one, self.many, self.length) = (None, None, 0);
        Ok(())
    }

    /// Bytes of the cache.
    pub fn cache_bytes(&self) -> usize {
        let of = |input: &TensorSpec| {
            let size = match input.element {
                F32 => 4,
                _ => 2,
            };
            let dim = |i: usize| match input.dims.get(i) {
                Some(Is(n)) => *n,
                _ => self.capacity,
            };
            size * dim(0) * self.capacity * dim(2)
        };
        let inputs = self.session.inputs().iter();
        inputs
            .filter(|input| input.name.starts_with(PAST))
            .map(of)
            .sum()
    }

    /// Begins a new prompt; what was in the cache is overwritten as it is read.
    ///
    /// # Errors
    /// [`OnnxError::Run`] when it does not fit, with a token to follow.
    pub fn begin(&mut self, script: Script) -> Result<(), OnnxError> {
        let length = script.ids.len();
        if length == 0 || length >= self.capacity {
            return Err(OnnxError::Run {
                graph: Graph::Decoder.name(),
                reason: format!(
                    "prompt: expected 1..{} tokens (decoder.max_length), got {length}",
                    self.capacity
                ),
            });
        }
        self.following = script.position_ids.iter().max().map_or(0, |most| most + 1);
        self.script = script;
        self.length = 0;
        Ok(())
    }

    /// Reads the next piece of the prompt; true when it was the last. Image tokens must be there by then.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn read(&mut self, images: ImageTokens<'_>) -> Result<bool, OnnxError> {
        let all = self.script.ids.len();
        let tokens = self.most.min(all);
        let same = |piece: &Piece| piece.tokens == tokens;
        let mut piece = match self.many.take() {
            Some(piece) if same(&piece) => piece,
            _ => self.piece(tokens, &images)?,
        };
        let start = self.length.min(all - tokens);
        let script = &self.script;
        fill(&mut piece.input_ids, &script.ids[start..start + tokens])?;
        let rows = piece.image_rows.write()?;
        let nowhere = tokens as i64;
        rows.fill(nowhere);
        for (row, at) in rows.iter_mut().zip(&script.image_rows) {
            let here = at - start as i64;
            *row = if (0..nowhere).contains(&here) {
                here
            } else {
                nowhere
            };
        }
        let ids = piece.position_ids.write()?;
        for (to, from) in ids
            .chunks_exact_mut(tokens)
            .zip(script.position_ids.chunks_exact(all))
        {
            to.copy_from_slice(&from[start..start + tokens]);
        }
        piece.binding.refresh("image_embeds", images.embeds)?;
        if let Some(levels) = images.levels {
            piece.binding.refresh("deepstack", levels)?;
        }
        self.run(&mut piece, start)?;
        self.length = start + tokens;
        self.many = Some(piece);
        Ok(self.length == all)
    }

    /// Adds `token` to what is in the cache.
    ///
    /// # Errors
    /// [`OnnxError`], also when there is no room.
    pub fn push(&mut self, token: i64) -> Result<(), OnnxError> {
        if self.room() == 0 {
            return Err(OnnxError::Run {
                graph: Graph::Decoder.name(),
                reason: format!(
                    "expected at most {} tokens (decoder.max_length)",
                    self.capacity
                ),
            });
        }
        let mut piece = match self.one.take() {
            Some(piece) => piece,
            None => self.single()?,
        };
        fill(&mut piece.input_ids, &[token])?;
        piece.position_ids.write()?.fill(self.following);
        self.run(&mut piece, self.length)?;
        self.length += 1;
        self.following += 1;
        self.one = Some(piece);
        Ok(())
    }

    /// Scores of the token that follows, `[vocabulary]`.
    ///
    /// # Errors
    /// [`OnnxError`].
    pub fn logits(&self) -> Result<&[f32], OnnxError> {
        self.logits.read()
    }

    /// Tokens that still fit.
    pub fn room(&self) -> usize {
        self.capacity - self.length
    }

    fn run(&mut self, piece: &mut Piece, start: usize) -> Result<(), OnnxError> {
        piece.start.write()?.fill(start as i64);
        let Piece {
            input_ids,
            image_rows,
            position_ids,
            start,
            binding,
            ..
        } = piece;
        for (name, buffer) in [
            ("input_ids", input_ids),
            ("image_rows", image_rows),
            ("position_ids", position_ids),
            ("start", start),
        ] {
            binding.refresh(name, buffer)?;
        }
        self.session.run(binding)?;
        self.logits.fetch()
    }

    /// Buffers for single tokens, which are no image's.
    fn single(&mut self) -> Result<Piece, OnnxError> {
        let (hidden, levels) = (self.hidden, self.levels);
        let host = |name, shape: &[usize]| {
            let mut buffer = self.session.buffer::<f32>(name, Place::Host, shape)?;
            buffer.write()?.fill(0.0);
            Ok::<_, OnnxError>(buffer)
        };
        let mut embeds = host("image_embeds", &[1, hidden])?;
        let mut stack = match levels {
            0 => None,
            levels => Some(host("deepstack", &[levels, 1, hidden])?),
        };
        let nothing = ImageTokens {
            embeds: &mut embeds,
            levels: stack.as_mut(),
            count: 1,
        };
        let mut piece = self.piece(1, &nothing)?;
        piece.image_rows.write()?.fill(1);
        piece.binding.refresh("image_embeds", &mut embeds)?;
        if let Some(stack) = &mut stack {
            piece.binding.refresh("deepstack", stack)?;
        }
        Ok(piece)
    }

    fn piece(&mut self, tokens: usize, images: &ImageTokens<'_>) -> Result<Piece, OnnxError> {
        let session = &self.session;
        let host = |name, shape: &[usize]| session.buffer::<i64>(name, Place::Host, shape);
        let input_ids = host("input_ids", &[1, tokens])?;
        let image_rows = host("image_rows", &[images.count])?;
        let position_ids = host("position_ids", &[3, 1, tokens])?;
        let start = host("start", &[1])?;
        let mut binding = session.binding()?;
        binding.input("input_ids", &input_ids)?;
        binding.input("image_rows", &image_rows)?;
        binding.input("position_ids", &position_ids)?;
        binding.input("start", &start)?;
        binding.input("image_embeds", images.embeds)?;
        if let Some(levels) = &images.levels {
            binding.input("deepstack", levels)?;
        }
        binding.output("logits", &mut self.logits)?;
        for (name, cache) in &mut self.caches {
            binding.keep(&format!("{PAST}{name}"), &format!("{PRESENT}{name}"), cache)?;
        }
        Ok(Piece {
            tokens,
            input_ids,
            image_rows,
            position_ids,
            start,
            binding,
        })
    }
}

/// Checks the graph: S tokens, N image tokens, D levels, a cache of any length in any float type, the same in and out.
fn check(
    session: &Session,
    hidden: usize,
    levels: usize,
    vocabulary: usize,
) -> Result<(), OnnxError> {
    let mut inputs = vec![
        TensorSpec::new("input_ids", I64, &[Is(1), Any]),
        TensorSpec::new("image_embeds", F32, &[Any, Is(hidden)]),
        TensorSpec::new("image_rows", I64, &[Any]),
        TensorSpec::new("position_ids", I64, &[Is(3), Is(1), Any]),
        TensorSpec::new("start", I64, &[Is(1)]),
    ];
    if levels > 0 {
        inputs.push(TensorSpec::new(
            "deepstack",
            F32,
            &[Is(levels), Any, Is(hidden)],
        ));
    }
    let mut outputs = vec![TensorSpec::new("logits", F32, &[Is(1), Is(vocabulary)])];
    for input in session.inputs() {
        let Some(name) = input.name.strip_prefix(PAST) else {
            continue;
        };
        let dims: Vec<_> = match input.dims[..] {
            [Is(heads), _, Is(width)] => vec![Is(heads), Any, Is(width)],
            // Refused below: a cache has heads and a width.
            _ => vec![Is(0), Any, Is(0)],
        };
        inputs.push(TensorSpec::new(
            input.name.as_str(),
            input.element.clone(),
            &dims,
        ));
        outputs.push(TensorSpec::new(
            format!("{PRESENT}{name}"),
            input.element.clone(),
            &dims,
        ));
    }
    let graph = session.graph().name();
    check_tensors(graph, Side::Input, session.inputs(), &inputs)?;
    check_tensors(graph, Side::Output, session.outputs(), &outputs)
}
