//! How well an answer agrees with the tokens of the action that was wanted.
//!
//! RoboAlign's reward (arXiv 2603.21341): `r = (r_f + r_a) / 2`, where `r_f` is 1 for an answer of the right form and else
//! 0, and `r_a` the longest prefix of the target that the answer's tokens match, over the target's length. What the paper
//! leaves open is decided here: an answer that ends early matches as far as it goes; tokens beyond the target cost
//! nothing, since the form does not know the length; without the form there are no tokens, so both are 0; an
//! empty target is matched by every answer of the right form.

/// The reward of one answer, and its parts; each 0..=1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reward {
    /// 1 where the answer had the right form.
    pub format: f64,
    /// Longest matching prefix over the target's length.
    pub prefix: f64,
}

impl Reward {
    /// Half of both together.
    pub fn total(self) -> f64 {
        (self.format + self.prefix) / 2.0
    }
}

/// Rewards the action tokens of an answer, `None` where it had not the form, for the `target`'s.
pub fn reward(answer: Option<&[u32]>, target: &[u32]) -> Reward {
    let Some(tokens) = answer else {
        return Reward {
            format: 0.0,
            prefix: 0.0,
        };
    };
    let same = tokens.iter().zip(target).take_while(|(a, b)| a == b);
    let prefix = match target.len() {
        0 => 1.0,
        len => same.count() as f64 / len as f64,
    };
    Reward {
        format: 1.0,
        prefix,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_counts_to_the_first_difference() {
        let of = |answer: Option<&[u32]>| reward(answer, &[4, 5, 6, 7]).total();
        assert_eq!(of(None), 0.0);
        assert_eq!(of(Some(&[])), 0.5);
        assert_eq!(of(Some(&[4, 5])), 0.75);
        assert_eq!(of(Some(&[4, 0, 6, 7])), 0.625);
        assert_eq!(of(Some(&[4, 5, 6, 7])), 1.0);
        assert_eq!(of(Some(&[4, 5, 6, 7, 8])), 1.0);
        assert_eq!(reward(Some(&[1]), &[]).total(), 1.0);
    }
}
