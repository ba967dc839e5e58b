//! Messages of one key as they came, and what every stream has to keep: its rate, its time stamps, its numbers.
//!
//! Pure but for [`Heard::listen`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tactus_types::Time;
use tactus_wire::{Delivery, Key, Message, Session, SessionError, Subscriber};

/// Messages may be this old at the median when they come, on one host.
const AGE: Duration = Duration::from_millis(20);
/// A rate may differ from the declared one by this share.
const RATE_SHARE: f64 = 0.1;

/// What came on a key.
#[derive(Debug)]
pub struct Stream<M> {
    /// Messages that passed the checks of the wire.
    pub messages: Vec<Delivery<M>>,
    /// What was wrong with the first of the others, and how many there were.
    pub refused: Option<(String, usize)>,
}

impl<M> Default for Stream<M> {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            refused: None,
        }
    }
}

/// Listens to a key.
pub struct Heard<M> {
    stream: Arc<Mutex<Stream<M>>>,
    _subscriber: Subscriber,
}

impl<M: Message> Heard<M> {
    /// Listens to `key` from now on.
    ///
    /// # Errors
    /// [`SessionError`].
    pub fn listen(session: &Session, key: &Key) -> Result<Self, SessionError> {
        let stream = Arc::<Mutex<Stream<M>>>::default();
        let to = stream.clone();
        let subscriber = session.subscribe(key, move |message| {
            let mut stream = to.lock().unwrap_or_else(PoisonError::into_inner);
            match message {
                Ok(delivery) => stream.messages.push(delivery),
                Err(e) => {
                    let (_, count) = stream.refused.get_or_insert_with(|| (e.to_string(), 0));
                    *count += 1;
                }
            }
        })?;
        Ok(Self {
            stream,
            _subscriber: subscriber,
        })
    }

    /// What came since this was last asked.
    pub fn take(&self) -> Stream<M> {
        std::mem::take(&mut *self.stream.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether every message was what its schema says.
pub fn sound<M>(stream: &Stream<M>) -> Result<String, String> {
    match &stream.refused {
        None if stream.messages.is_empty() => Err("nothing came".into()),
        None => Ok(format!("{} messages, all sound", stream.messages.len())),
        Some((first, count)) => Err(format!("{count} refused; the first: {first}")),
    }
}

/// Whether the stream keeps the declared rate, by the times of its captures.
pub fn rate(captured: &[Time], declared_hz: f64) -> Result<String, String> {
    let (Some(first), Some(last)) = (captured.first(), captured.last()) else {
        return Err("nothing came".into());
    };
    let span = last.since(*first).as_secs_f64();
    if captured.len() < 3 || span <= 0.0 {
        return Err(format!("{} messages", captured.len()));
    }
    let hz = (captured.len() - 1) as f64 / span;
    let gaps = captured.iter().zip(captured.iter().skip(1));
    let longest = gaps.map(|(a, b)| b.since(*a)).max().unwrap_or_default();
    let seen = format!("{hz:.1} Hz of {declared_hz:.1} declared, longest gap {longest:.1?}");
    if (hz / declared_hz - 1.0).abs() <= RATE_SHARE {
        Ok(seen)
    } else {
        Err(seen)
    }
}

/// A message's times and number.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub captured: Time,
    pub published: Time,
    pub received: Time,
    pub seq: u64,
}

impl<M> From<&Delivery<M>> for Stamp {
    fn from(delivery: &Delivery<M>) -> Self {
        Self {
            captured: delivery.header.captured_at,
            published: delivery.header.published_at,
            received: delivery.received_at,
            seq: delivery.header.seq,
        }
    }
}

/// Whether times grow, none lies in the future, and messages are fresh when they come.
pub fn times(stamps: &[Stamp]) -> Result<String, String> {
    let pairs = || stamps.iter().zip(stamps.iter().skip(1));
    if let Some((a, b)) = pairs().find(|(a, b)| b.captured <= a.captured) {
        return Err(format!(
            "message {} was captured no later than message {}",
            b.seq, a.seq
        ));
    }
    if let Some(s) = stamps.iter().find(|s| s.captured > s.published) {
        return Err(format!(
            "message {} was published before it was captured",
            s.seq
        ));
    }
    if let Some(s) = stamps.iter().find(|s| s.published > s.received) {
        let ahead = s.published.since(s.received);
        return Err(format!("message {} is {ahead:.1?} from the future", s.seq));
    }
    let mut ages: Vec<Duration> = stamps
        .iter()
        .map(|s| s.received.since(s.captured))
        .collect();
    ages.sort_unstable();
    let median = ages.get(ages.len() / 2).copied().unwrap_or_default();
    let most = ages.last().copied().unwrap_or_default();
    let seen = format!("age on arrival {median:.1?} at the median, {most:.1?} at most");
    if median <= AGE {
        Ok(seen)
    } else {
        Err(format!("{seen}; at most {AGE:?} at the median"))
    }
}

/// Whether the counter grows by one from message to message.
pub fn numbers(stamps: &[Stamp]) -> Result<String, String> {
    let pairs = || stamps.iter().zip(stamps.iter().skip(1));
    if let Some((a, b)) = pairs().find(|(a, b)| b.seq <= a.seq) {
        return Err(format!("{} after {}", b.seq, a.seq));
    }
    let lost: u64 = pairs().map(|(a, b)| b.seq - a.seq - 1).sum();
    let of = stamps.len();
    if lost as usize * 20 <= of {
        Ok(format!("{lost} lost on the way, {of} came"))
    } else {
        Err(format!(
            "{lost} lost, {of} came: does it count every message once?"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(n: u64) -> Vec<Stamp> {
        (0..n)
            .map(|k| Stamp {
                captured: Time::from_millis(1000 + 10 * k),
                published: Time::from_millis(1001 + 10 * k),
                received: Time::from_millis(1002 + 10 * k),
                seq: k,
            })
            .collect()
    }

    #[test]
    fn a_stream_keeps_its_rate_its_times_and_its_numbers() {
        let good = stamps(50);
        let captured: Vec<Time> = good.iter().map(|s| s.captured).collect();
        assert!(rate(&captured, 100.0).is_ok() && rate(&captured, 92.0).is_ok());
        assert!(rate(&captured, 120.0).is_err() && rate(&captured[..2], 100.0).is_err());
        assert!(rate(&[], 100.0).is_err());
        assert!(times(&good).is_ok() && numbers(&good).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_stream_is_said() {
        let edited = |edit: fn(&mut Vec<Stamp>)| {
            let mut stamps = stamps(50);
            edit(&mut stamps);
            stamps
        };
        let same = edited(|s| s[7].captured = s[6].captured);
        assert!(
            times(&same)
                .expect_err("repeats")
                .contains("captured no later")
        );
        let early = edited(|s| s[7].published = s[6].captured);
        assert!(
            times(&early)
                .expect_err("early")
                .contains("before it was captured")
        );
        let ahead = edited(|s| s[7].received = s[7].captured);
        assert!(
            times(&ahead)
                .expect_err("ahead")
                .contains("from the future")
        );
        let old = edited(|s| {
            s.iter_mut()
                .for_each(|s| s.received = s.captured + Duration::from_millis(30));
        });
        assert!(times(&old).expect_err("old").contains("at the median"));
        let twice = edited(|s| s[7].seq = 6);
        assert_eq!(numbers(&twice), Err("6 after 6".into()));
        let holes = edited(|s| s.iter_mut().for_each(|s| s.seq *= 2));
        assert!(numbers(&holes).is_err());
    }
}
