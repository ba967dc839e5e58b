//! The action tokens of an answer.
//!
//! A policy that reasons answers `<think>...</think><answer><ACTION_START>...<ACTION_END></answer>` (RoboAlign,
//! arXiv 2603.21341). Decides whether ids have that form, and which of them are action tokens. The tags are single tokens of
//! the language model's vocabulary, and action tokens one run of it.

/// Ids of the tags, and the run of action tokens, in the language model's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTokens {
    /// `<think>`, `</think>`.
    pub think: (u32, u32),
    /// `<answer>`, `</answer>`.
    pub answer: (u32, u32),
    /// `<ACTION_START>`, `<ACTION_END>`.
    pub action: (u32, u32),
    /// Action token 0.
    pub first: u32,
    /// Action tokens.
    pub count: u32,
}

/// An answer of the right form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// What stands between `<think>` and `</think>`, in the language model's vocabulary; empty where neither is there.
    pub thought: &'a [u32],
    /// The action tokens, counted from the first: what [`crate::FastCodec::decode`] takes.
    pub actions: Vec<u32>,
}

/// Why ids are no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// A tag is missing, or something else stands in its place.
    #[error("answer: expected `{expected}` at token {at}")]
    Tag {
        /// The tag.
        expected: &'static str,
        /// Position, from 0.
        at: usize,
    },
    /// Something among the action tokens is none.
    #[error("answer: expected action tokens, got token {id} at {at}")]
    Token {
        /// Its id.
        id: u32,
        /// Position, from 0.
        at: usize,
    },
    /// There is something after the answer.
    #[error("answer: expected nothing after it, got {count} tokens")]
    More {
        /// How many.
        count: usize,
    },
}

/// Reads an answer from the ids that a language model made after its prompt, without the token that ends a turn. The
/// reasoning may be missing as a whole, since a prompt may ask for the answer alone.
///
/// # Errors
/// [`NoAnswer`] at the first token that does not fit.
pub fn read_answer<'a>(ids: &'a [u32], tokens: &AnswerTokens) -> Result<Answer<'a>, NoAnswer> {
    let mut at = 0;
    let mut thought: &[u32] = &[];
    if ids.first() == Some(&tokens.think.0) {
        let end = ids.iter().position(|&id| id == tokens.think.1);
        let end = end.ok_or(NoAnswer::Tag {
            expected: "</think>",
            at: ids.len(),
        })?;
        thought = &ids[1..end];
        at = end + 1;
    }
    let tag = |at: &mut usize, id: u32, expected: &'static str| {
        if ids.get(*at) != Some(&id) {
            return Err(NoAnswer::Tag { expected, at: *at });
        }
        *at += 1;
        Ok(())
    };
    tag(&mut at, tokens.answer.0, "<answer>")?;
    tag(&mut at, tokens.action.0, "<ACTION_START>")?;
    let mut actions = Vec::new();
    while let Some(&id) = ids.get(at) {
        if id == tokens.action.1 {
            break;
        }
        let action = id.checked_sub(tokens.first);
        match action.filter(|&action| action < tokens.count) {
            Some(action) => actions.push(action),
            None => return Err(NoAnswer::Token { id, at }),
        }
        at += 1;
    }
    tag(&mut at, tokens.action.1, "<ACTION_END>")?;
    tag(&mut at, tokens.answer.1, "</answer>")?;
    match ids.len() - at {
        0 => Ok(Answer { thought, actions }),
        count => Err(NoAnswer::More { count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: AnswerTokens = AnswerTokens {
        think: (1, 2),
        answer: (3, 4),
        action: (5, 6),
        first: 100,
        count: 8,
    };

    #[test]
    fn action_tokens_are_counted_from_the_first() {
        let read = read_answer(&[1, 50, 51, 2, 3, 5, 100, 107, 6, 4], &TOKENS);
        let read = read.expect("an answer");
        assert_eq!(read.thought, [50, 51]);
        assert_eq!(read.actions, [0, 7]);
        let read = read_answer(&[3, 5, 6, 4], &TOKENS).expect("an answer without thought");
        assert!(read.thought.is_empty() && read.actions.is_empty());
    }

    #[test]
    fn each_missing_tag_and_each_token_too_many_is_named() {
        let whole = [1, 50, 2, 3, 5, 100, 6, 4];
        for end in 0..whole.len() {
            read_answer(&whole[..end], &TOKENS).expect_err("cut off");
        }
        let tag = |expected, at| NoAnswer::Tag { expected, at };
        for (ids, expected) in [
            (vec![], tag("<answer>", 0)),
            (vec![1, 50, 3, 5, 100, 6, 4], tag("</think>", 7)),
            (vec![1, 50, 2, 5, 100, 6, 4], tag("<answer>", 3)),
            (vec![3, 100, 6, 4], tag("<ACTION_START>", 1)),
            (vec![3, 5, 100, 4], NoAnswer::Token { id: 4, at: 3 }),
            (vec![3, 5, 108, 6, 4], NoAnswer::Token { id: 108, at: 2 }),
            (vec![3, 5, 99, 6, 4], NoAnswer::Token { id: 99, at: 2 }),
            (vec![3, 5, 100, 6], tag("</answer>", 4)),
            (vec![3, 5, 100, 6, 4, 4], NoAnswer::More { count: 1 }),
        ] {
            assert_eq!(read_answer(&ids, &TOKENS), Err(expected), "{ids:?}");
        }
    }
}
