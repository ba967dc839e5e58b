//! Instructions and replies over a half-duplex line.
//!
//! Decides how long a reply may take, what counts as one, and when to ask again: a corrupt, cut or missing reply is asked for
//! again, an echo of what was sent (many half-duplex adapters send it back) is recognised and dropped. A servo that stays
//! silent is the caller's to judge. Nothing here allocates.

use std::io;
use std::time::{Duration, Instant};

use super::arm::Family;
use super::packet::{MAX_DATA, MAX_SERVOS, Packet, Protocol, Scan};
use super::register::Register;
use crate::Line;

/// What a reply may take beyond its time on the line: USB both ways, the servo, the scheduler of this machine. In service ..
const TURNAROUND: Duration = Duration::from_millis(5);
/// .. while nothing waits for it ..
const PATIENCE: Duration = Duration::from_millis(100);
/// .. and while whole ranges of ids are asked.
const PING: Duration = Duration::from_millis(15);
/// Longest pause that a servo can be set to make before it replies.
const RETURN_DELAY: Duration = Duration::from_micros(510);
/// After a failure the line has to be quiet for this long before the next instruction, so that no late reply is taken for ..
const QUIET: Duration = Duration::from_millis(2);
/// .. another, but is waited for no longer than this. So long after their time replies are given up too, on a line that never
/// falls silent.
const QUIET_WITHIN: Duration = Duration::from_millis(20);
/// Times that a single register is asked for.
const ATTEMPTS: usize = 3;
/// Bytes that may wait: echo and replies of a whole sync read.
const INCOMING: usize = 1024;

/// What came of instructions so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Instructions sent.
    pub sent: u64,
    /// Replies that were whole.
    pub replies: u64,
    /// Frames with a wrong checksum or length.
    pub corrupt: u64,
    /// Replies that nobody had asked for.
    pub stray: u64,
    /// Replies that did not come in time.
    pub missing: u64,
    /// Instructions that came back.
    pub echoes: u64,
}

/// Why a servo cannot be talked to.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The port failed: unplugged, for example.
    #[error("the port failed: {reason}")]
    Line {
        /// What the system said.
        reason: io::Error,
    },
    /// Nothing came.
    #[error("no answer")]
    Silent,
    /// Something came, and none of it was a whole reply.
    #[error("only garbled answers: two servos have this id, or the cable is bad")]
    Garbled,
    /// Two answered for one.
    #[error("two answers to one question: two servos have this id")]
    Twice,
    /// The servo understood and would not.
    #[error("it refused: {what}")]
    Refused {
        /// Why, in the manual's words.
        what: &'static str,
    },
    /// A value does not fit into its register.
    #[error("{value} does not fit into register {register}")]
    Value {
        /// Name of the register.
        register: &'static str,
        /// The value.
        value: i32,
    },
}

impl From<io::Error> for BusError {
    fn from(reason: io::Error) -> Self {
        Self::Line { reason }
    }
}

/// Replies to one instruction, in the order in which servos were asked.
#[derive(Debug, Clone)]
pub struct Replies {
    data: [[u8; MAX_DATA]; MAX_SERVOS],
    errors: [u8; MAX_SERVOS],
    there: [bool; MAX_SERVOS],
    count: usize,
    garbled: bool,
    twice: bool,
    refused: Option<&'static str>,
}

impl Default for Replies {
    fn default() -> Self {
        Self {
            data: [[0; MAX_DATA]; MAX_SERVOS],
            errors: [0; MAX_SERVOS],
            there: [false; MAX_SERVOS],
            count: 0,
            garbled: false,
            twice: false,
            refused: None,
        }
    }
}

impl Replies {
    fn begin(&mut self, count: usize) {
        self.there = [false; MAX_SERVOS];
        self.count = count.min(MAX_DATA);
        self.garbled = false;
        self.twice = false;
        self.refused = None;
    }

    /// What servo `index` of those asked said, and its error byte; `None` when it did not.
    pub fn get(&self, index: usize) -> Option<(&[u8], u8)> {
        let there = *self.there.get(index)?;
        there.then(|| (&self.data[index][..self.count], self.errors[index]))
    }
}

/// Servos on a line.
pub struct Bus {
    family: &'static Family,
    protocol: &'static Protocol,
    line: Box<dyn Line>,
    baud: u32,
    incoming: [u8; INCOMING],
    unsettled: bool,
    turnaround: Duration,
    counts: Counts,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus")
            .field("baud", &self.baud)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

impl Bus {
    /// A bus of servos of `family` on `line`, which runs at `baud` bits per second.
    pub fn new(family: &'static Family, line: Box<dyn Line>, baud: u32) -> Self {
        Self {
            family,
            protocol: family.protocol,
            line,
            baud: baud.max(1),
            incoming: [0; INCOMING],
            unsettled: true,
            turnaround: PATIENCE,
            counts: Counts::default(),
        }
    }

    /// What hangs on it.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// What came of instructions so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bits per second from now on.
    ///
    /// # Errors
    /// [`BusError::Line`].
    pub fn set_baud(&mut self, baud: u32) -> Result<(), BusError> {
        self.line.set_baud(baud)?;
        self.baud = baud.max(1);
        self.unsettled = true;
        Ok(())
    }

    /// Whether servo `id` is there, asked once.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn ping(&mut self, id: u8) -> Result<(), BusError> {
        // With Feetech an echoed ping is, byte for byte, the reply of a servo that complains of its voltage; an echoed read
        // of one byte is no reply at all. So a ping is one.
        let register = self.family.id;
        let packet = self.protocol.read(id, register.address, register.bytes);
        self.turnaround = PING;
        let replies = self.ask(&packet, id, usize::from(register.bytes), 1);
        self.turnaround = PATIENCE;
        replies.map(drop)
    }

    /// The value of `register` of servo `id`.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn read(&mut self, id: u8, register: Register) -> Result<i32, BusError> {
        let (data, _) = self.read_bytes(id, register.address, register.bytes)?;
        register
            .get(&data, register.address)
            .ok_or(BusError::Garbled)
    }

    /// `count` bytes of servo `id` from `address` on, and its error byte.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn read_bytes(
        &mut self,
        id: u8,
        address: u16,
        count: u8,
    ) -> Result<([u8; MAX_DATA], u8), BusError> {
        let packet = self.protocol.read(id, address, count);
        let replies = self.ask(&packet, id, usize::from(count), ATTEMPTS)?;
        Ok((replies.data[0], replies.errors[0]))
    }

    /// Sets `register` of servo `id`, which confirms that it understood.
    ///
    /// # Errors
    /// [`BusError`].
    pub fn write(&mut self, id: u8, register: Register, value: i32) -> Result<(), BusError> {
        let packet = self.protocol.set(id, register, value);
        let packet = packet.ok_or(BusError::Value {
            register: register.name,
            value,
        })?;
        self.ask(&packet, id, 0, ATTEMPTS).map(drop)
    }

    /// Sets `N` bytes from `address` on in many servos at once. No servo confirms.
    ///
    /// # Errors
    /// [`BusError::Line`].
    pub fn sync_write<const N: usize>(
        &mut self,
        address: u16,
        servos: impl IntoIterator<Item = (u8, [u8; N])>,
    ) -> Result<(), BusError> {
        let packet = self.protocol.sync_write(address, servos);
        self.settle()?;
        self.counts.sent += 1;
        self.line.send(packet.bytes())?;
        Ok(())
    }

    /// Asks all of `ids` for `count` bytes from `address` on, in one instruction; those who do not answer are asked once more,
    /// each by itself. Whoever is missing then is missing in `replies`.
    ///
    /// # Errors
    /// [`BusError::Line`].
    pub fn sync_read(
        &mut self,
        address: u16,
        count: u8,
        ids: &[u8],
        replies: &mut Replies,
    ) -> Result<(), BusError> {
        let ids = &ids[..ids.len().min(MAX_SERVOS)];
        replies.begin(usize::from(count));
        self.turnaround = TURNAROUND;
        let packet = self.protocol.sync_read(address, count, ids);
        let mut outcome = self.exchange(&packet, ids, ids.len(), Duration::ZERO, replies);
        for (index, id) in ids.iter().enumerate() {
            if outcome.is_ok() && !replies.there[index] {
                let packet = self.protocol.read(*id, address, count);
                outcome = self.exchange(&packet, ids, 1, Duration::ZERO, replies);
            }
        }
        self.turnaround = PATIENCE;
        outcome
    }

    /// Whether servo `id` is there, and no other has its id: asks, and goes on listening.
    ///
    /// # Errors
    /// [`BusError`]; [`BusError::Twice`] when two answer each time: once may be a late reply to the question before.
    pub fn alone(&mut self, id: u8) -> Result<(), BusError> {
        let (mut garbled, mut twice) = (false, false);
        for _ in 0..ATTEMPTS {
            let mut replies = Replies::default();
            let register = self.family.present_position;
            replies.begin(usize::from(register.bytes));
            let packet = self.protocol.read(id, register.address, register.bytes);
            self.exchange(&packet, &[id], 1, QUIET, &mut replies)?;
            if replies.there[0] && !replies.twice && !replies.garbled {
                return Ok(());
            }
            garbled |= replies.garbled;
            twice |= replies.twice;
        }
        Err(match (twice, garbled) {
            (true, _) => BusError::Twice,
            (false, true) => BusError::Garbled,
            (false, false) => BusError::Silent,
        })
    }

    /// Asks one servo up to `attempts` times for `count` bytes.
    fn ask(
        &mut self,
        packet: &Packet,
        id: u8,
        count: usize,
        attempts: usize,
    ) -> Result<Replies, BusError> {
        let (mut garbled, mut refused) = (false, None);
        for _ in 0..attempts {
            let mut replies = Replies::default();
            replies.begin(count);
            self.exchange(packet, &[id], 1, Duration::ZERO, &mut replies)?;
            if replies.there[0] {
                return Ok(replies);
            }
            refused = replies.refused.or(refused);
            garbled |= replies.garbled;
        }
        Err(match (refused, garbled) {
            (Some(what), _) => BusError::Refused { what },
            (None, true) => BusError::Garbled,
            (None, false) => BusError::Silent,
        })
    }

    /// Sends `packet` and takes `asked` replies of `ids` until all of them are there or their time is over; then listens for
    /// `longer`.
    fn exchange(
        &mut self,
        packet: &Packet,
        ids: &[u8],
        asked: usize,
        longer: Duration,
        replies: &mut Replies,
    ) -> Result<(), BusError> {
        self.settle()?;
        self.counts.sent += 1;
        let sent = packet.bytes();
        self.line.send(sent)?;
        let frame = replies.count + self.protocol.frame;
        let bytes = sent.len() * 2 + asked * frame;
        let until = Instant::now()
            + line_time(bytes, self.baud)
            + RETURN_DELAY * asked as u32
            + self.turnaround;
        let (mut have, mut echo_possible, mut came) = (0, true, 0);
        let mut over = false;
        loop {
            let all = came >= asked;
            if over || (all && longer.is_zero()) {
                break;
            }
            // What is there counts, however late this thread was woken: the time is over when nothing is there, or when it was
            // over long before the last look.
            over = Instant::now() >= until + QUIET_WITHIN;
            let left = if all {
                longer
            } else {
                until.saturating_duration_since(Instant::now())
            };
            let n = self.line.receive(&mut self.incoming[have..], left)?;
            if n == 0 && (all || Instant::now() >= until) {
                break;
            }
            have += n;
            let mut rest = &self.incoming[..have];
            if echo_possible {
                let same = rest.len().min(sent.len());
                echo_possible = rest[..same] == sent[..same];
                if echo_possible {
                    if rest.len() < sent.len() {
                        continue;
                    }
                    self.counts.echoes += 1;
                    echo_possible = false;
                    rest = &rest[sent.len()..];
                }
            }
            loop {
                rest = match (self.protocol.scan)(rest, replies.count) {
                    Scan::More => break,
                    Scan::Noise(n) => &rest[n..],
                    Scan::Corrupt(n) => {
                        self.counts.corrupt += 1;
                        replies.garbled = true;
                        &rest[n..]
                    }
                    Scan::Status(status, n) => {
                        let index = ids.iter().position(|id| *id == status.id);
                        let refusal = (self.protocol.refusal)(status.error);
                        let parameters = status.parameters();
                        match index.filter(|_| parameters.len() == replies.count) {
                            _ if index.is_some() && refusal.is_some() => {
                                replies.refused = refusal;
                                came += 1;
                            }
                            Some(index) if !replies.there[index] => {
                                replies.there[index] = true;
                                replies.errors[index] = status.error;
                                replies.data[index][..replies.count].copy_from_slice(parameters);
                                self.counts.replies += 1;
                                came += 1;
                            }
                            Some(_) => replies.twice = true,
                            None => self.counts.stray += 1,
                        }
                        &rest[n..]
                    }
                };
            }
            let used = have - rest.len();
            self.incoming.copy_within(used..have, 0);
            have -= used;
            // A frame that never ends fills no more than this.
            if have == INCOMING {
                have = 0;
            }
        }
        // A cut reply was a reply.
        replies.garbled |= have > 0;
        self.unsettled = came < asked || have > 0 || replies.twice;
        self.counts.missing += asked.saturating_sub(came) as u64;
        Ok(())
    }

    /// After a failure, waits until nothing comes any more.
    fn settle(&mut self) -> Result<(), BusError> {
        if self.unsettled {
            let until = Instant::now() + QUIET_WITHIN;
            while self.line.receive(&mut self.incoming, QUIET)? > 0 && Instant::now() < until {}
            self.unsettled = false;
        }
        self.line.discard()?;
        Ok(())
    }
}

/// Time of `bytes` on a line of `baud` bits per second: ten bits each.
pub fn line_time(bytes: usize, baud: u32) -> Duration {
    Duration::from_nanos(10_000_000_000 * bytes as u64 / u64::from(baud.max(1)))
}
