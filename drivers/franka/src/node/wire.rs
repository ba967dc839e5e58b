//! The bytes of `franka-node` 0.4: little-endian, packed, version 1; requests and replies in JSON. Pure.
//!
//! Decides whether bytes are a state, and how a joint target looks. The layout is the node's (`tests/wire.json` of its crate,
//! whose samples are the golden bytes here).

use franka::RobotMode;
use serde_json::{Value, json};

use super::Joints;
use crate::model::JOINTS;

/// First byte of every message.
pub const VERSION: u8 = 1;
/// Bytes of a target.
pub const TARGET_BYTES: usize = 80;
/// Bytes of a state.
pub const STATE_BYTES: usize = 474;
/// A target whose data are joint positions.
const KIND_JOINTS: u8 = 2;
/// Longest reason that is repeated.
const REASON_CHARS: usize = 200;

/// Where the node's own state machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// No session.
    Idle,
    /// No session; somebody holds the lease.
    Acquired,
    /// A session runs.
    Active,
    /// It is being stopped.
    Stopping,
    /// A session ended with an error.
    Faulted,
    /// The arm goes to the node's ready pose.
    Homing,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Acquired => "acquired",
            Self::Active => "active",
            Self::Stopping => "stopping",
            Self::Faulted => "faulted",
            Self::Homing => "homing",
        })
    }
}

/// A state, as much of it as anybody here looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    /// The node's phase.
    pub phase: Phase,
    /// The robot's mode.
    pub mode: RobotMode,
    /// The robot has errors; which, the node does not say.
    pub has_errors: bool,
    /// The session runs, and no target was accepted for the node's `hold_after_ms`.
    pub holding: bool,
    /// A joints session (or a homing) runs, and `target` is joint positions.
    pub joints: bool,
    /// Who has the lease; 0 for nobody.
    pub holder: u32,
    /// The robot's clock, ms.
    pub robot_millis: u64,
    /// Measured joint positions, rad.
    pub q: Joints,
    /// Measured joint velocities, rad/s.
    pub dq: Joints,
    /// The last accepted target; joint positions where `joints` says so, rad.
    pub target: Joints,
    /// Targets accepted since the session began.
    pub accepted: u64,
    /// Targets refused since then.
    pub refused: u64,
}

/// Bytes that are no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoState {
    /// Another length.
    #[error("a state of {actual} bytes, expected {STATE_BYTES}")]
    Length {
        /// What came.
        actual: usize,
    },
    /// Another version.
    #[error("a state of version {actual}, expected {VERSION}: another franka-node")]
    Version {
        /// What came.
        actual: u8,
    },
    /// A code that has no meaning.
    #[error("a state whose {field} is {actual}")]
    Code {
        /// Which.
        field: &'static str,
        /// What came.
        actual: u8,
    },
    /// Positions or velocities that are no numbers.
    #[error("a state whose {field} are no numbers")]
    NotFinite {
        /// Which.
        field: &'static str,
    },
}

/// Reads a state.
///
/// # Errors
/// [`NoState`].
pub fn state(bytes: &[u8]) -> Result<State, NoState> {
    let bytes: &[u8; STATE_BYTES] = bytes.try_into().map_err(|_| NoState::Length {
        actual: bytes.len(),
    })?;
    if bytes[0] != VERSION {
        return Err(NoState::Version { actual: bytes[0] });
    }
    let code = |field, actual| NoState::Code { field, actual };
    let phase = match bytes[1] {
        0 => Phase::Idle,
        1 => Phase::Acquired,
        2 => Phase::Active,
        3 => Phase::Stopping,
        4 => Phase::Faulted,
        5 => Phase::Homing,
        other => return Err(code("phase", other)),
    };
    let mode = match bytes[2] {
        0 => RobotMode::Other,
        1 => RobotMode::Idle,
        2 => RobotMode::Move,
        3 => RobotMode::Guiding,
        4 => RobotMode::Reflex,
        5 => RobotMode::UserStopped,
        6 => RobotMode::AutomaticErrorRecovery,
        other => return Err(code("robot mode", other)),
    };
    let joints = |field: &'static str, at: usize| {
        let values: Joints = std::array::from_fn(|i| f64::from_le_bytes(part(bytes, at + 8 * i)));
        match values.iter().all(|x| x.is_finite()) {
            true => Ok(values),
            false => Err(NoState::NotFinite { field }),
        }
    };
    let number = |at| u64::from_le_bytes(part(bytes, at));
    let flags = u16::from_le_bytes(part(bytes, 4));
    Ok(State {
        phase,
        mode,
        has_errors: bytes[3] != 0,
        holding: flags & 1 != 0,
        joints: flags & 2 != 0,
        holder: u32::from_le_bytes(part(bytes, 6)),
        robot_millis: number(34),
        q: joints("positions", 50)?,
        dq: joints("velocities", 106)?,
        target: joints("targets", 394)?,
        accepted: number(450),
        refused: number(458),
    })
}

/// `N` bytes from `at` on, which lie inside: every offset here is a constant.
fn part<const N: usize>(bytes: &[u8; STATE_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes[at + i])
}

/// Joint positions as a target of `client`, the `seq`-th; `sent_nanos` is echoed and never interpreted.
pub fn joint_target(client: u32, seq: u64, sent_nanos: u64, q: &Joints) -> [u8; TARGET_BYTES] {
    let mut bytes = [0; TARGET_BYTES];
    (bytes[0], bytes[1]) = (VERSION, KIND_JOINTS);
    bytes[4..8].copy_from_slice(&client.to_le_bytes());
    bytes[8..16].copy_from_slice(&seq.to_le_bytes());
    bytes[16..24].copy_from_slice(&sent_nanos.to_le_bytes());
    for (i, value) in q.iter().enumerate().take(JOINTS) {
        bytes[24 + 8 * i..32 + 8 * i].copy_from_slice(&value.to_le_bytes());
    }
    bytes
}

/// What is asked of the node, `franka/<arm>/cmd/<word>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// The lease.
    Acquire,
    /// The lease back.
    Release,
    /// A joints session.
    Enable,
    /// Its end, at rest.
    Stop,
    /// FCI's automatic error recovery.
    Recover,
}

impl Verb {
    /// The last part of its key.
    pub fn word(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Enable => "enable",
            Self::Stop => "stop",
            Self::Recover => "recover",
        }
    }

    /// What `client` asks.
    pub fn request(self, client: u32) -> String {
        match self {
            Self::Enable => json!({ "client_id": client, "mode": "joints" }),
            _ => json!({ "client_id": client }),
        }
        .to_string()
    }
}

/// What the node answered: done, or its reason why not.
///
/// # Errors
/// Its reason, or that its answer is none.
pub fn reply(bytes: &[u8]) -> Result<(), String> {
    let answer: Value =
        serde_json::from_slice(bytes).map_err(|e| format!("an answer that is no JSON: {e}"))?;
    match (answer["ok"].as_bool(), answer["error"].as_str()) {
        (Some(true), _) => Ok(()),
        (Some(false), reason) => Err(printable(reason.unwrap_or("no reason given"))),
        (None, _) => Err("an answer that says neither yes nor no".into()),
    }
}

/// Somebody else's words, as far as they may be repeated in a log.
fn printable(words: &str) -> String {
    let plain = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(REASON_CHARS).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Samples of `tests/wire.json`, franka-node 0.4.0.
    const STATE: &str = "0105040103000d0c0b0a0807060504030201181716151413121128272625242322213837363534333231000000000000ee3f000000000000f03f000000000000f13f000000000000f23f000000000000f33f000000000000f43f000000000000f53f000000000000f63f000000000000004000000000008000400000000000000140000000000080014000000000000002400000000000800240000000000000034000000000000008400000000000800840000000000000094000000000008009400000000000000a400000000000800a400000000000000b400000000000001040000000000040104000000000008010400000000000c010400000000000001140000000000040114000000000008011400000000000c011400000000000001240000000000040124000000000008012400000000000c012400000000000001340000000000040134000000000008013400000000000c013400000000000001840000000000040184000000000008018400000000000c01840000000000000194000000000004019400000000000001c400000000000401c400000000000801c400000000000c01c400000000000001d400000000000401d400000000000801d40484746454443424158575655545352516867666564636261";
    const TARGET: &str = "010201000d0c0b0a08070605040302011817161514131211000000000000e03f000000000000f4bf0000000000000640000000000000c03f000000000000d8bf000000000000e43f000000000000ec3f";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks_exact(2);
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).expect("hex");
            u8::from_str_radix(text, 16).expect("hex")
        };
        digits.map(byte).collect()
    }

    fn from(first: f64) -> Joints {
        std::array::from_fn(|i| first + 0.0625 * i as f64)
    }

    #[test]
    fn the_node_s_own_sample_is_read_field_by_field() {
        let read = state(&bytes(STATE)).expect("a state");
        let expected = State {
            phase: Phase::Homing,
            mode: RobotMode::Reflex,
            has_errors: true,
            holding: true,
            joints: true,
            holder: 168_496_141,
            robot_millis: 3_544_952_156_018_063_160,
            q: from(1.0),
            dq: from(2.0),
            target: from(7.0),
            accepted: 4_702_394_921_427_289_928,
            refused: 5_859_837_686_836_516_696,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn a_target_is_the_node_s_own_sample_without_the_flag_that_joints_have_no_use_for() {
        let q = [0.5, -1.25, 2.75, 0.125, -0.375, 0.625, 0.875];
        let (seq, sent) = (72_623_859_790_382_856, 1_230_066_625_199_609_624);
        let mut golden = bytes(TARGET);
        golden[2] = 0;
        assert_eq!(joint_target(168_496_141, seq, sent, &q)[..], golden[..]);
    }

    #[test]
    fn what_is_no_state_is_refused_by_name() {
        let good = bytes(STATE);
        for length in [0, 1, STATE_BYTES - 1, STATE_BYTES + 1, 10_000] {
            let mut other = good.clone();
            other.resize(length, 0);
            assert_eq!(state(&other), Err(NoState::Length { actual: length }));
        }
        let with = |at: usize, value: &[u8]| {
            let mut other = good.clone();
            other[at..at + value.len()].copy_from_slice(value);
            state(&other).expect_err("refused").to_string()
        };
        assert!(with(0, &[2]).contains("version 2, expected 1"));
        assert!(with(1, &[6]).contains("phase is 6"));
        assert!(with(2, &[7]).contains("robot mode is 7"));
        let nan = f64::NAN.to_le_bytes();
        assert!(with(50, &nan).contains("positions are no numbers"));
        assert!(with(154, &f64::INFINITY.to_le_bytes()).contains("velocities"));
        assert!(with(442, &nan).contains("targets"));
        // What nobody here looks at may be what it likes: torques, poses, forces.
        let mut other = good.clone();
        other[162..170].copy_from_slice(&nan);
        assert!(state(&other).is_ok());
    }

    #[test]
    fn requests_are_as_the_node_documents_them_and_replies_are_read() {
        let request = |verb: Verb| Verb::request(verb, 7);
        assert_eq!(request(Verb::Acquire), r#"{"client_id":7}"#);
        assert_eq!(request(Verb::Enable), r#"{"client_id":7,"mode":"joints"}"#);
        assert_eq!(Verb::Recover.word(), "recover");
        assert_eq!(reply(br#"{"ok":true}"#), Ok(()));
        let refused = reply(br#"{"ok":false,"error":"held by 7"}"#);
        assert_eq!(refused, Err("held by 7".into()));
        assert_eq!(
            reply(br#"{"ok":false,"error":"a\nb\u001b[2J"}"#),
            Err("a b [2J".into())
        );
        for nonsense in [&b""[..], b"{", b"[]", b"{\"ok\":1}", b"\xff"] {
            assert!(reply(nonsense).is_err());
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_a_state_or_none(noise in proptest::collection::vec(0u8.., 0..600)) {
            let _ = state(&noise);
            let mut sized = noise;
            sized.resize(STATE_BYTES, 0);
            sized[0] = VERSION;
            let _ = state(&sized);
        }
    }
}
