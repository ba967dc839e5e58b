//! What each part of a request through the OpenPI front end costs by itself, on the same bytes.

use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tactus_types::{Clock, Time};
use tactus_wire::MonotonicClock;

use super::{Behind, observation, pictures, still};
use crate::result;

/// Each part's name and times.
pub(super) type Parts = Vec<(&'static str, Vec<Duration>)>;

/// Measures the parts, `requests` times each.
pub(super) fn measure(requests: u32, size: (usize, usize)) -> anyhow::Result<Parts> {
    let pictures = pictures(size);
    let message = observation(&pictures, size, 0);
    let mut front = still::front(size)?;
    let now: Time = MonotonicClock::new()?.now();
    let answer = front.answer(&message, now, None)?;
    let each = |f: &mut dyn FnMut(u32)| -> Vec<Duration> {
        let timed = |n: u32| {
            let begun = Instant::now();
            f(n);
            begun.elapsed()
        };
        (0..requests).map(timed).collect()
    };
    let mut framed = Vec::with_capacity(message.len() + 14);
    let mut parts = vec![
        (
            "a: floor: the bytes over loopback, copied once",
            floor(requests, size, &message, answer.len())?,
        ),
        (
            "b: client packs",
            each(&mut |n| drop(black_box(observation(&pictures, size, n)))),
        ),
        (
            "c: client frames and masks",
            each(&mut |n| {
                framed.clear();
                framed.extend_from_slice(&message);
                mask(&mut framed, n);
                black_box(&framed);
            }),
        ),
        (
            "d: server unmasks",
            each(&mut |n| {
                mask(&mut framed, n);
                black_box(&framed);
            }),
        ),
    ];
    let (mut unpack, mut observe, mut pack) = (vec![], vec![], vec![]);
    for _ in 0..requests {
        black_box(front.answer(&message, now, None)?);
        let times = front.times();
        unpack.push(times.unpack);
        observe.push(times.observe);
        pack.push(times.infer + times.pack);
    }
    parts.push(("e: server reads the message", unpack));
    parts.push(("f: server makes the observation", observe));
    parts.push(("g: policy and answer", pack));
    Ok(parts)
}

/// As a websocket masks.
fn mask(bytes: &mut [u8], key: u32) {
    let (words, _) = bytes.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ (key | 1)).to_ne_bytes();
    }
}

/// The other end of the floor: takes messages of one length, copies each once, answers; until the client goes.
pub(super) fn serve(size: (usize, usize)) -> anyhow::Result<()> {
    let message = observation(&pictures(size), size, 0);
    let now: Time = MonotonicClock::new()?.now();
    let answer = still::front(size)?.answer(&message, now, None)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    result::line(listener.local_addr()?)?;
    let (mut tcp, _) = listener.accept()?;
    tcp.set_nodelay(true)?;
    let (mut arrived, mut copy) = (message.clone(), message);
    while tcp.read_exact(&mut arrived).is_ok() {
        copy.copy_from_slice(&arrived);
        black_box(&copy);
        tcp.write_all(&answer)?;
    }
    Ok(())
}

/// There and back through sockets, and one copy.
fn floor(
    requests: u32,
    size: (usize, usize),
    message: &[u8],
    answer: usize,
) -> anyhow::Result<Vec<Duration>> {
    let behind = Behind::start("floor", size, "")?;
    let mut tcp = TcpStream::connect(&behind.said)?;
    tcp.set_nodelay(true)?;
    let mut back = vec![0; answer];
    let mut times = Vec::new();
    for _ in 0..requests {
        let begun = Instant::now();
        tcp.write_all(message)?;
        tcp.read_exact(&mut back)?;
        times.push(begun.elapsed());
    }
    Ok(times)
}
