//! Without a view: a line on stdout per change of mode, notes on stderr, and words on stdin as keys.

use std::io::BufRead;
use std::sync::atomic::{AtomicBool, Ordering};

use super::seen::Seen;
use super::{Ask, LOOK, feed};
use crate::result;

/// Says what happens until `stop` or until the commander has ended.
pub fn show(seen: &Seen, ask: &Ask, stop: &AtomicBool) -> anyhow::Result<()> {
    listen(ask.clone())?;
    result::line(format_args!(
        "{}: take-over, hand-back, hold, stop, clutch or quit",
        seen.source
    ))?;
    let (mut last, mut told) = (None, 0);
    while !(stop.load(Ordering::Relaxed) || seen.ended.load(Ordering::Relaxed)) {
        std::thread::sleep(LOOK);
        let (mode, notes) = {
            let now = seen.lock();
            let mode = now.mode.as_ref().map(|(report, _)| {
                let holder = report.lease.as_ref().map(|by| by.holder.to_string());
                (report.mode, report.reason.clone(), holder)
            });
            let new = usize::try_from(now.noted - told).unwrap_or(usize::MAX);
            let skip = now.notes.len().saturating_sub(new);
            let notes: Vec<String> = now.notes.iter().skip(skip).cloned().collect();
            told = now.noted;
            (mode, notes)
        };
        for note in notes {
            tracing::info!("{note}");
        }
        if mode != last
            && let Some((mode, reason, holder)) = &mode
        {
            let holder = holder.as_deref().unwrap_or("nobody");
            let because = if reason.is_empty() { "" } else { ": " };
            result::line(format_args!(
                "mode: {mode}{because}{reason} (lease: {holder})"
            ))?;
        }
        last = mode;
    }
    Ok(())
}

/// Takes words from stdin for as long as there are any. The end of stdin is not the end of the operator.
fn listen(ask: Ask) -> anyhow::Result<()> {
    let listen = move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.trim() {
                "" => {}
                "quit" => ask.leave(),
                word => match feed::wish(word) {
                    Some(wish) => ask.wish(wish),
                    None => tracing::warn!(
                        "`{word}` is none of take-over, hand-back, hold, stop, clutch, quit"
                    ),
                },
            }
        }
    };
    // Not joined: a read of stdin cannot be called off.
    std::thread::Builder::new()
        .name("teleop-words".into())
        .spawn(listen)?;
    Ok(())
}
