//! How the policy's command of an operator's trial ends: told until the arm host has done it.
//!
//! Decides from the arm host's answers whether the policy is out of command: the arm host has ended the episode, or has none to
//! end, or a human has the arm and the lease. An answer that is lost says nothing.

use tactus_wire::ModeWord;

use crate::order::Refuses;

/// Gives the order to end the episode by `tell`, again and again while there is `time`.
///
/// # Errors
/// With the last answer, when the policy may still be in command.
pub fn insist(
    mut tell: impl FnMut() -> anyhow::Result<()>,
    mut time: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    loop {
        let Err(e) = tell() else { return Ok(()) };
        let mode = e.downcast_ref::<Refuses>().map(|refuses| refuses.mode);
        if mode.is_some_and(|mode| mode != ModeWord::Policy) {
            return Ok(());
        }
        if !time() {
            return Err(e);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use anyhow::{anyhow, bail};

    use super::*;

    fn refused(mode: ModeWord) -> anyhow::Error {
        let message = "not now".into();
        Refuses { message, mode }.into()
    }

    #[test]
    fn an_order_that_is_lost_is_given_again() {
        for last in [Ok(()), Err(ModeWord::Ready), Err(ModeWord::Teleop)] {
            let told = Cell::new(0);
            let tell = || {
                told.set(told.get() + 1);
                match told.get() {
                    1 | 2 => bail!("the arm host does not answer"),
                    _ => last.map_err(refused),
                }
            };
            insist(tell, || true).expect("it is over");
            assert_eq!(told.get(), 3);
        }
    }

    #[test]
    fn a_policy_that_stays_in_command_is_an_error() {
        for mode in [None, Some(ModeWord::Policy)] {
            let left = Cell::new(3);
            let time = || {
                left.set(left.get() - 1);
                left.get() > 0
            };
            let tell = || Err(mode.map_or_else(|| anyhow!("no answer"), refused));
            assert!(insist(tell, time).is_err(), "{mode:?}");
            assert_eq!(left.get(), 0);
        }
    }
}
