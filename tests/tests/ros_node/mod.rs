//! A node of ROS 2, made by hand: a plain Zenoh session that speaks rmw_zenoh's bytes, keys and attachments written out.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tactus_ros::messages::{Nothing, Outcome, RosMessage, RosService, Trigger};
use tactus_ros::{RosType, cdr};
use tactus_wire::{Guest, Mesh, RawPublisher, Subscriber};

/// Of the services' answers.
const ANSWER: Duration = Duration::from_secs(10);
/// A gid that some client of ROS 2 may have.
const GID: [u8; 16] = *b"a client's gid..";

/// 33 bytes, as rmw_zenoh writes them.
pub fn attachment(sequence: i64) -> Vec<u8> {
    let at: i64 = 1_700_000_000_000_000_000;
    let mut bytes = Vec::new();
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.push(16);
    bytes.extend(GID);
    bytes
}

fn key(domain: u8, name: &str, ty: RosType) -> String {
    format!("{domain}/{name}/{}/{}", ty.dds, ty.hash)
}

/// Everything that came on a topic: attachment and payload.
pub type Came = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

/// A node of ROS 2, made by hand.
pub struct Node {
    pub guest: Guest,
    pub domain: u8,
    sequence: AtomicI64,
}

impl Node {
    pub fn connect(endpoint: &str, domain: u8) -> Self {
        let guest = Guest::join(&Mesh {
            connect: vec![endpoint.into()],
            listen: vec![],
            network: false,
        });
        Self {
            guest: guest.expect("joins"),
            domain,
            sequence: AtomicI64::new(0),
        }
    }

    pub fn listening(at: &str, domain: u8) -> Self {
        let guest = Guest::join(&Mesh {
            connect: vec![],
            listen: vec![at.into()],
            network: false,
        });
        Self {
            guest: guest.expect("listens"),
            domain,
            sequence: AtomicI64::new(0),
        }
    }

    pub fn next(&self) -> Vec<u8> {
        attachment(self.sequence.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub fn listen<M: RosMessage>(&self, topic: &str) -> (Subscriber, Came) {
        let came = Came::default();
        let to = came.clone();
        let heard = move |heard: tactus_wire::Heard<'_>| {
            let attachment = heard.attachment.unwrap_or_default().to_vec();
            let mut came = to.lock().expect("unpoisoned");
            came.push((attachment, heard.payload.to_vec()));
        };
        let listening = self.guest.listen(&key(self.domain, topic, M::TYPE), heard);
        (listening.expect("subscribed"), came)
    }

    pub fn publisher<M: RosMessage>(&self, topic: &str) -> RawPublisher {
        let publisher = self.guest.publisher(&key(self.domain, topic, M::TYPE));
        publisher.expect("declared")
    }

    pub fn put<M: RosMessage>(&self, to: &RawPublisher, message: &M) {
        let payload = cdr::encode(message).expect("encoded");
        to.put(Some(&self.next()), &payload).expect("sent");
    }

    pub fn ask<S: RosService>(
        &self,
        name: &str,
        request: &S::Request,
        attachment: Option<&[u8]>,
        within: Duration,
    ) -> Result<(S::Response, Vec<u8>), String> {
        let payload = cdr::encode(request).expect("encoded");
        let key = key(self.domain, name, S::TYPE);
        let asked = self.guest.ask_with(&key, attachment, &payload, within);
        let (payload, attachment) = asked.map_err(|e| e.to_string())?;
        let answer = cdr::decode(&payload).map_err(|e| e.to_string())?;
        Ok((answer, attachment.unwrap_or_default()))
    }

    pub fn call<S: RosService<Response = Outcome>>(
        &self,
        name: &str,
        request: &S::Request,
    ) -> Outcome {
        let mine = self.next();
        let (outcome, theirs) = self
            .ask::<S>(name, request, Some(&mine), ANSWER)
            .expect("an answer");
        // The same question, by sequence and gid; another time.
        assert_eq!(theirs.len(), 33);
        assert_eq!((&theirs[..8], &theirs[16..]), (&mine[..8], &mine[16..]));
        outcome
    }

    pub fn trigger(&self, name: &str) -> Outcome {
        self.call::<Trigger>(name, &Nothing::default())
    }
}

/// Waits until `done`.
pub fn until(what: &str, within: Duration, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < within, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn last<M: RosMessage>(came: &Came) -> Option<M> {
    let came = came.lock().expect("unpoisoned");
    let (attachment, payload) = came.last()?;
    assert_eq!(attachment.len(), 33, "rmw_zenoh aborts on another");
    Some(cdr::decode(payload).expect("a message"))
}
