//! Instruction to token ids.
//!
//! The instruction is cleaned as the bundle says, set into the bundle's
//! template with one run of image tokens per camera, and tokenised by the bundle's tokenizer. Nothing is added; where
//! the policy was trained on prompts of one length, they are filled up to it. Some prompts say the state, too.

use std::path::Path;

use tactus_bundle::{Padding, PaddingSide, Prompt, StateWords};
use tokenizers::Tokenizer;

use crate::error::VlaError;

/// Longest instruction, bytes. The language model's cost grows with the square of the prompt, and an instruction
/// comes over the network.
pub const MAX_INSTRUCTION_BYTES: usize = 1024;

/// Why an instruction makes no prompt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// Nothing is left of it: a policy without a task must not move.
    #[error("instruction: expected words, got `{actual}`")]
    Empty {
        /// The instruction.
        actual: String,
    },
    /// It is too long.
    #[error("instruction: expected at most {MAX_INSTRUCTION_BYTES} bytes, got {actual}")]
    TooLong {
        /// Its length, bytes.
        actual: usize,
    },
    /// It spells image tokens of its own.
    #[error(
        "prompt: expected {expected} image tokens, got {actual}: the instruction must not hold any"
    )]
    ImageTokens {
        /// Tokens of all images.
        expected: usize,
        /// Tokens in the prompt.
        actual: usize,
    },
    /// It does not fit into the length that the policy was trained with.
    #[error("prompt: expected at most {expected} tokens, got {actual}: say it in fewer words")]
    Length {
        /// The fixed length.
        expected: usize,
        /// Tokens of the prompt.
        actual: usize,
    },
    /// The tokenizer failed.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// What it said.
        reason: String,
    },
}

/// A tokenised prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, `[S]`.
    pub ids: Vec<i64>,
    /// Positions in the prompt of the image tokens of all images, in prompt order, `[N]`.
    pub image_rows: Vec<i64>,
    /// 1 for tokens and 0 for filling, `[S]`.
    pub attention_mask: Vec<i64>,
}

impl Tokens {
    /// The prompt filled up with `id`.
    fn filled(mut self, padding: &Padding, id: i64) -> Result<Self, PromptError> {
        let Some(missing) = padding.length.checked_sub(self.ids.len()) else {
            return Err(PromptError::Length {
                expected: padding.length,
                actual: self.ids.len(),
            });
        };
        let at = match padding.side {
            PaddingSide::Left => {
                self.image_rows
                    .iter_mut()
                    .for_each(|row| *row += missing as i64);
                0
            }
            PaddingSide::Right => self.ids.len(),
        };
        self.ids.splice(at..at, std::iter::repeat_n(id, missing));
        self.attention_mask
            .splice(at..at, std::iter::repeat_n(0, missing));
        Ok(self)
    }
}

/// Makes prompts.
#[derive(Debug)]
pub struct Prompter {
    prompt: Prompt,
    tokenizer: Tokenizer,
    image_token: i64,
    image_tokens: usize,
    padding: Option<(Padding, i64)>,
    /// The image part of the prompt: all cameras.
    images: String,
}

impl Prompter {
    /// A prompter with the tokenizer in `file`. `tokens_per_image` has one entry per camera, in prompt order.
    ///
    /// # Errors
    /// [`VlaError::Tokenizer`] when the file is not a tokenizer or does not know the image token, the one that fills, or
    /// a marker of the template (`<|...|>`) as one token: it is not the one the policy was trained with.
    pub fn open(
        file: &Path,
        prompt: &Prompt,
        padding: Option<&Padding>,
        tokens_per_image: &[usize],
    ) -> Result<Self, VlaError> {
        let error = |expected: &str, actual: String| VlaError::Tokenizer {
            file: file.to_path_buf(),
            expected: expected.into(),
            actual,
        };
        let mut tokenizer = Tokenizer::from_file(file)
            .map_err(|e| error("a Hugging Face tokenizer", e.to_string()))?;
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|e| error("a tokenizer that does not truncate", e.to_string()))?;
        let id_of = |field: &str, token: &str| match tokenizer.token_to_id(token) {
            Some(id) => Ok(i64::from(id)),
            None => {
                let expected = format!("the token `{token}` ({field})");
                Err(error(&expected, "no such token".into()))
            }
        };
        let image_token = id_of("prompt.image_token", &prompt.image_token)?;
        for (field, text) in [
            ("prompt.template", &prompt.template),
            ("prompt.image", &prompt.image),
        ] {
            for marker in markers(text) {
                id_of(field, marker)?;
            }
        }
        let padding = padding
            .map(|padding| {
                let id = id_of("prompt.pad_token", &padding.token)?;
                Ok::<_, VlaError>((padding.clone(), id))
            })
            .transpose()?;
        let image = |tokens: &usize| {
            prompt
                .image
                .replacen("{pads}", &prompt.image_token.repeat(*tokens), 1)
        };
        Ok(Self {
            image_token,
            padding,
            image_tokens: tokens_per_image.iter().sum(),
            images: tokens_per_image.iter().map(image).collect(),
            prompt: prompt.clone(),
            tokenizer,
        })
    }

    /// The id of `text` as one token. `file` is the tokenizer's, `field` what asks.
    ///
    /// # Errors
    /// [`VlaError::Tokenizer`] when it is none.
    pub fn token(&self, file: &Path, field: &str, text: &str) -> Result<i64, VlaError> {
        let id = self.tokenizer.token_to_id(text).map(i64::from);
        id.ok_or_else(|| VlaError::Tokenizer {
            file: file.to_path_buf(),
            expected: format!("the token `{text}` ({field})"),
            actual: "no such token".into(),
        })
    }

    /// Id of the image token.
    pub fn image_token(&self) -> i64 {
        self.image_token
    }

    /// The normalised state in the words in which prompts say it; `None` where they do not.
    pub fn state_words(&self, normalised: &[f32]) -> Option<String> {
        let words = self.prompt.state.as_ref()?;
        Some(said(words, normalised))
    }

    /// Token ids of the prompt for `instruction`, and for a state in [`Prompter::state_words`] where prompts say it.
    ///
    /// # Errors
    /// [`PromptError`].
    pub fn encode(&self, instruction: &str, state: &str) -> Result<Tokens, PromptError> {
        if instruction.len() > MAX_INSTRUCTION_BYTES {
            return Err(PromptError::TooLong {
                actual: instruction.len(),
            });
        }
        let text = render(&self.prompt, &self.images, instruction, state)?;
        let encoding =
            self.tokenizer
                .encode_fast(text, false)
                .map_err(|error| PromptError::Tokenizer {
                    reason: error.to_string(),
                })?;
        let ids: Vec<i64> = encoding.get_ids().iter().map(|id| i64::from(*id)).collect();
        let image_rows: Vec<i64> = (0..)
            .zip(&ids)
            .filter(|(_, id)| **id == self.image_token)
            .map(|(position, _)| position)
            .collect();
        if image_rows.len() != self.image_tokens {
            let (expected, actual) = (self.image_tokens, image_rows.len());
            return Err(PromptError::ImageTokens { expected, actual });
        }
        let tokens = Tokens {
            attention_mask: vec![1; ids.len()],
            ids,
            image_rows,
        };
        match &self.padding {
            Some((padding, id)) => tokens.filled(padding, *id),
            None => Ok(tokens),
        }
    }
}

/// What is spelled `<|...|>`. Such text is always one token; cut into several, it would mean nothing to the policy.
fn markers(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("<|").filter_map(|(at, _)| {
        let (name, _) = text[at + 2..].split_once("|>")?;
        let word = !name.contains(|c: char| c.is_whitespace() || c == '<');
        word.then(|| &text[at..at + name.len() + 4])
    })
}

/// The instruction as the policy was trained to read it.
///
/// Source: GR00T's `formalize_language`, `re.sub(r"[^\w\s]", "", text.lower())`; LeRobot's pi0.5 and openpi,
/// `text.strip().replace("_", " ").replace("\n", " ")`. DIFFERENCE: vowel signs that combine with letters (of Indic scripts)
/// are letters here, and not in Python.
fn clean(prompt: &Prompt, instruction: &str) -> String {
    let mut text = match prompt.lowercase {
        true => instruction.to_lowercase(),
        false => instruction.into(),
    };
    if prompt.strip_punctuation {
        text.retain(|c| c.is_alphanumeric() || c == '_' || c.is_whitespace());
    }
    match prompt.blanks {
        true => text.trim().replace(['_', '\n'], " "),
        false => text,
    }
}

/// Numbers of the bins that the columns are in, -1 below the first; columns that there are not are 0.
fn said(words: &StateWords, normalised: &[f32]) -> String {
    let width = 2.0 / words.bins as f64;
    let bin = |x: f64| {
        let edges = (0..words.bins).take_while(|i| -1.0 + *i as f64 * width <= x);
        (edges.count() as i64 - 1).to_string()
    };
    let columns = normalised.iter().map(|x| f64::from(*x));
    let columns = columns.chain(std::iter::repeat(0.0)).take(words.columns);
    columns.map(bin).collect::<Vec<_>>().join(" ")
}

/// The whole prompt.
fn render(
    prompt: &Prompt,
    images: &str,
    instruction: &str,
    state: &str,
) -> Result<String, PromptError> {
    let cleaned = clean(prompt, instruction);
    if cleaned.trim().is_empty() {
        return Err(PromptError::Empty {
            actual: instruction.into(),
        });
    }
    // Images first: what an instruction spells is never taken for a placeholder.
    let (before, after) = prompt
        .template
        .split_once("{instruction}")
        .unwrap_or_default();
    let fill = |part: &str| {
        let part = part.replacen("{images}", images, 1);
        match prompt.state {
            Some(_) => part.replacen("{state}", state, 1),
            None => part,
        }
    };
    Ok([fill(before), cleaned, fill(after)].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(strip_punctuation: bool) -> Prompt {
        Prompt {
            tokenizer: "tokenizer.json".into(),
            template: "<s>{instruction}|{images}</s>".into(),
            state: None,
            image: "[{pads}]".into(),
            image_token: "*".into(),
            lowercase: true,
            strip_punctuation,
            blanks: false,
        }
    }

    #[test]
    fn an_instruction_is_lower_cased_and_loses_its_punctuation_but_not_its_spaces() {
        for (said, heard) in [
            ("Pick up the RED cube!", "pick up the red cube"),
            ("lift, the \"blue\" block...", "lift the blue block"),
            ("don't (really)  stop", "dont really  stop"),
            ("Héb den Würfel – bitte.", "héb den würfel  bitte"),
            ("don’t take “it” … 拿起 4 ½", "dont take it  拿起 4 ½"),
            ("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~x", "_x"),
        ] {
            assert_eq!(clean(&prompt(true), said), heard);
        }
        assert_eq!(clean(&prompt(false), "Stop!"), "stop!");
    }

    #[test]
    fn underscores_and_line_ends_become_blanks_where_the_bundle_says_so() {
        let said = "  Pick_up\nthe “RED” cube. \n";
        let blanks = Prompt {
            lowercase: false,
            blanks: true,
            ..prompt(false)
        };
        assert_eq!(clean(&blanks, said), "Pick up the “RED” cube.");
        let as_it_is = Prompt {
            blanks: false,
            ..blanks
        };
        assert_eq!(clean(&as_it_is, said), said);
    }

    #[test]
    fn markers_are_found_between_other_text() {
        let found = |text| markers(text).collect::<Vec<_>>();
        assert_eq!(
            found("<|im_start|>user\n{images}<|im_end|>x"),
            ["<|im_start|>", "<|im_end|>"]
        );
        assert_eq!(found("a <| b |> <|open <|c|> |>"), ["<|c|>"]);
        assert!(found("<s>{instruction}</s>").is_empty());
    }

    #[test]
    fn the_template_is_filled_once() {
        let text = render(&prompt(true), "[**][*]", "Lift it.", "");
        assert_eq!(text.as_deref(), Ok("<s>lift it|[**][*]</s>"));
        // Placeholders in the instruction stay text.
        let text = render(&prompt(false), "[**]", "{images} {instruction}", "");
        assert_eq!(text.as_deref(), Ok("<s>{images} {instruction}|[**]</s>"));
    }

    #[test]
    fn a_state_is_said_in_bins() {
        let words = StateWords {
            bins: 256,
            columns: 6,
        };
        // numpy.digitize(x, numpy.linspace(-1, 1, 257)[:-1]) - 1; the last column is none of the state's.
        let state = [-1.0, -1.001, 1.0, 7.0, -1e-9];
        assert_eq!(said(&words, &state), "0 -1 255 255 127 128");
        let prompt = Prompt {
            template: "{images}Task: {instruction}, State: {state};".into(),
            state: Some(words),
            ..prompt(false)
        };
        let text = render(&prompt, "*", "say {state}", "1 2");
        assert_eq!(text.as_deref(), Ok("*Task: say {state}, State: 1 2;"));
    }

    #[test]
    fn filling_goes_to_its_side_and_never_cuts() {
        let tokens = || Tokens {
            ids: vec![5, 9, 9, 6],
            image_rows: vec![1, 2],
            attention_mask: vec![1; 4],
        };
        let padding = |side, length| Padding {
            side,
            length,
            token: "<pad>".into(),
        };
        let left = tokens().filled(&padding(PaddingSide::Left, 6), 0);
        let expected = Tokens {
            ids: vec![0, 0, 5, 9, 9, 6],
            image_rows: vec![3, 4],
            attention_mask: vec![0, 0, 1, 1, 1, 1],
        };
        assert_eq!(left, Ok(expected));
        let right = tokens().filled(&padding(PaddingSide::Right, 5), 0);
        let expected = Tokens {
            ids: vec![5, 9, 9, 6, 0],
            image_rows: vec![1, 2],
            attention_mask: vec![1, 1, 1, 1, 0],
        };
        assert_eq!(right, Ok(expected));
        let (expected, actual) = (3, 4);
        assert_eq!(
            tokens().filled(&padding(PaddingSide::Left, 3), 0),
            Err(PromptError::Length { expected, actual })
        );
    }

    #[test]
    fn an_instruction_without_words_is_refused() {
        for said in ["", "  \n", "?!...", "- -"] {
            let refused = render(&prompt(true), "", said, "");
            assert_eq!(
                refused,
                Err(PromptError::Empty {
                    actual: said.into()
                })
            );
        }
    }
}
