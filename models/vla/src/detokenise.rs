//! Token ids to text, one by one.
//!
//! A byte-level tokenizer spells bytes, and a character of several bytes may be split between tokens. Text is given out as
//! soon as its characters are whole, and never half a character; bytes that are no UTF-8 become U+FFFD once they cannot
//! become any.

use std::{path::Path, sync::Arc};

use tokenizers::{DecoderWrapper, Tokenizer};

use crate::error::VlaError;

/// What each token spells.
#[derive(Debug)]
pub struct Spelling {
    tokens: Vec<Box<[u8]>>,
}

impl Spelling {
    /// The spelling of the tokenizer in `file`.
    ///
    /// # Errors
    /// [`VlaError::Tokenizer`] when it is none, or not a byte-level one.
    pub fn open(file: &Path) -> Result<Self, VlaError> {
        let error = |expected: &str, actual: String| VlaError::Tokenizer {
            file: file.to_path_buf(),
            expected: expected.into(),
            actual,
        };
        let tokenizer = Tokenizer::from_file(file)
            .map_err(|e| error("a Hugging Face tokenizer", e.to_string()))?;
        match tokenizer.get_decoder() {
            Some(DecoderWrapper::ByteLevel(_)) => {}
            other => {
                let actual = format!("{other:?}").chars().take(80).collect();
                return Err(error("a byte-level decoder", actual));
            }
        }
        let added = tokenizer.get_added_tokens_decoder();
        let vocabulary = tokenizer.get_vocab(true);
        let length = vocabulary.values().max().map_or(0, |id| *id as usize + 1);
        let mut tokens = vec![Box::default(); length];
        for (text, id) in vocabulary {
            let bytes = match added.get(&id) {
                // Tokens that were added stand for their text as it is.
                Some(token) => token.content.as_bytes().to_vec(),
                None => text.chars().filter_map(byte_of).collect(),
            };
            if let Some(token) = tokens.get_mut(id as usize) {
                *token = bytes.into();
            }
        }
        Ok(Self { tokens })
    }

    /// Bytes of token `id`; none for an id that the tokenizer does not have, which a model may well score.
    pub fn bytes(&self, id: i64) -> &[u8] {
        let id = usize::try_from(id).unwrap_or(usize::MAX);
        self.tokens.get(id).map_or(&[], |bytes| bytes)
    }
}

/// The byte that a character of a byte-level tokenizer stands for (GPT-2's `bytes_to_unicode`): printable ones for
/// themselves, the others from U+0100 on, in order.
fn byte_of(character: char) -> Option<u8> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(character);
    match u8::try_from(code) {
        Ok(byte) => Some(byte).filter(printable),
        Err(_) => (0..=u8::MAX)
            .filter(|byte| !printable(byte))
            .nth(code.checked_sub(0x100)? as usize),
    }
}

/// Text that is becoming.
#[derive(Debug)]
pub struct Detokeniser {
    spelling: Arc<Spelling>,
    /// The beginning of a character, at most three bytes.
    begun: Vec<u8>,
}

impl Detokeniser {
    /// At the beginning of a text.
    pub fn new(spelling: Arc<Spelling>) -> Self {
        Self {
            spelling,
            begun: Vec::new(),
        }
    }

    /// The characters that are whole with token `id`; often all of it, sometimes none.
    pub fn push(&mut self, id: i64) -> String {
        self.begun.extend_from_slice(self.spelling.bytes(id));
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.begun) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.begun.clear();
                    return text;
                }
                Err(error) => {
                    let (whole, rest) = self.begun.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(whole));
                    let Some(bad) = error.error_len() else {
                        self.begun = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.begun = rest.get(bad..).unwrap_or_default().to_vec();
                }
            }
        }
    }

    /// What is left at the end: U+FFFD for a character that was begun, nothing otherwise.
    pub fn finish(&mut self) -> String {
        let left = std::mem::take(&mut self.begun);
        String::from_utf8_lossy(&left).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One token for each byte.
    fn bytes() -> Arc<Spelling> {
        Arc::new(Spelling {
            tokens: (0..=u8::MAX).map(|byte| Box::from([byte])).collect(),
        })
    }

    fn pieces(text: &[u8]) -> Vec<String> {
        let mut detokeniser = Detokeniser::new(bytes());
        let mut out: Vec<String> = text
            .iter()
            .map(|byte| detokeniser.push(i64::from(*byte)))
            .collect();
        out.push(detokeniser.finish());
        out
    }

    #[test]
    fn a_character_comes_whole_or_not_yet() {
        assert_eq!(
            pieces("aß€😀".as_bytes()),
            ["a", "", "ß", "", "", "€", "", "", "", "😀", ""]
        );
        assert_eq!(pieces(&[0xe2, 0x82]), ["", "", "\u{fffd}"]);
        assert_eq!(pieces(&[0xe2, b'x']), ["", "\u{fffd}x", ""]);
    }

    #[test]
    fn ids_that_no_tokenizer_has_spell_nothing() {
        let mut detokeniser = Detokeniser::new(bytes());
        assert_eq!(detokeniser.push(256) + &detokeniser.push(-1), "");
    }

    #[test]
    fn every_byte_has_a_character() {
        let printable = |byte: u8| byte_of(char::from(byte));
        assert_eq!(printable(b'a'), Some(b'a'));
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        let all: std::collections::BTreeSet<u8> = (0x21..0x200)
            .filter_map(char::from_u32)
            .filter_map(byte_of)
            .collect();
        assert_eq!(all.len(), 256);
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_text(text in ".{0,40}") {
            prop_assert_eq!(pieces(text.as_bytes()).concat(), text);
        }

        #[test]
        fn any_bytes_are_what_the_whole_would_be(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(pieces(&text).concat(), String::from_utf8_lossy(&text));
        }
    }
}
