//! RTDE, the controller's real-time data exchange, version 2 of its protocol: frames and what is in them.
//!
//! Every frame is `u16 size (with these three bytes), u8 type, payload`, big-endian. A *recipe* is a list of variables;
//! the controller answers one with the variables' types, then data frames carry their values back to back. Pure; whatever
//! comes in is foreign until it is checked.

/// Port of every controller.
pub const PORT: u16 = 30004;
/// Version of the protocol.
pub const PROTOCOL: u16 = 2;
/// Bytes before a payload.
pub const HEADER: usize = 3;

/// Types of frames; the maker picked letters.
pub mod kind {
    /// Asks for a protocol version; answered with 1 or 0.
    pub const PROTOCOL_VERSION: u8 = b'V';
    /// Asks for the version of the controller's software.
    pub const CONTROLLER_VERSION: u8 = b'v';
    /// The controller says something.
    pub const TEXT: u8 = b'M';
    /// Values of a recipe, either way.
    pub const DATA: u8 = b'U';
    /// A recipe of what is to be received.
    pub const SETUP_OUTPUTS: u8 = b'O';
    /// A recipe of what is to be sent.
    pub const SETUP_INPUTS: u8 = b'I';
    /// Data is to flow.
    pub const START: u8 = b'S';
    /// Data is to stop.
    pub const PAUSE: u8 = b'P';
}

/// What does not belong in RTDE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RtdeError {
    /// No frame is as small as this.
    #[error("a frame of {0} bytes: this is no RTDE server")]
    Size(u16),
    /// It was cut off.
    #[error("a frame of type `{}` with {actual} bytes of payload, expected {expected}", char::from(*kind))]
    Payload {
        /// Type of the frame.
        kind: u8,
        /// Bytes it should have.
        expected: usize,
        /// Bytes it has.
        actual: usize,
    },
    /// The answer is to something else.
    #[error("a frame of type `{}`, expected `{}`", char::from(*actual), char::from(*expected))]
    Kind {
        /// What should have come.
        expected: u8,
        /// What came.
        actual: u8,
    },
    /// The controller speaks another version.
    #[error(
        "the controller does not speak version {PROTOCOL} of RTDE: its software is older than 3.4"
    )]
    Protocol,
    /// It does not know a variable.
    #[error("the controller does not know the variable `{0}`: its software is too old")]
    Unknown(String),
    /// Somebody else writes a variable.
    #[error(
        "another RTDE client writes `{0}`: a second driver, or a fieldbus (EtherNet/IP, PROFINET, Modbus) on the controller"
    )]
    InUse(String),
    /// A variable is of another type.
    #[error("variable `{name}` is a {actual}, expected {expected}")]
    Type {
        /// Its name.
        name: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
    /// The controller does not want to start.
    #[error("the controller refuses to start sending")]
    Refused,
    /// Numbers that are none.
    #[error("values that are not finite")]
    Numbers,
}

/// Appends a frame of `kind` around `payload` to `out`. Payloads here are far below the 65532 bytes that fit.
pub fn frame(kind: u8, payload: &[u8], out: &mut Vec<u8>) {
    let size = u16::try_from(HEADER + payload.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&size.to_be_bytes());
    out.push(kind);
    out.extend_from_slice(&payload[..usize::from(size) - HEADER]);
}

/// A frame: its type, its payload, and how many bytes it took.
pub type Frame<'a> = (u8, &'a [u8], usize);

/// Cuts the first whole frame off `bytes`; `None` while it is not all there.
///
/// # Errors
/// [`RtdeError::Size`].
pub fn cut(bytes: &[u8]) -> Result<Option<Frame<'_>>, RtdeError> {
    let [a, b, kind, ..] = bytes else {
        return Ok(None);
    };
    let size = u16::from_be_bytes([*a, *b]);
    let len = usize::from(size);
    if len < HEADER {
        return Err(RtdeError::Size(size));
    }
    Ok(bytes.get(HEADER..len).map(|payload| (*kind, payload, len)))
}

/// Exactly `N` bytes of payload.
///
/// # Errors
/// [`RtdeError::Payload`].
pub fn exact<const N: usize>(kind: u8, payload: &[u8]) -> Result<[u8; N], RtdeError> {
    payload.try_into().map_err(|_| RtdeError::Payload {
        kind,
        expected: N,
        actual: payload.len(),
    })
}

/// Version of a controller's software.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControllerVersion {
    /// 3 for CB3, 5 for e-Series, 10 for PolyScope X.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Bug-fix release.
    pub bugfix: u32,
    /// Build.
    pub build: u32,
}

impl ControllerVersion {
    /// From the payload of the answer.
    ///
    /// # Errors
    /// [`RtdeError::Payload`].
    pub fn read(payload: &[u8]) -> Result<Self, RtdeError> {
        let bytes: [u8; 16] = exact(kind::CONTROLLER_VERSION, payload)?;
        let mut words = bytes.chunks_exact(4).map(|word| {
            word.iter()
                .fold(0u32, |sum, byte| sum << 8 | u32::from(*byte))
        });
        let mut word = || words.next().unwrap_or(0);
        Ok(Self {
            major: word(),
            minor: word(),
            bugfix: word(),
            build: word(),
        })
    }
}

impl std::fmt::Display for ControllerVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            major,
            minor,
            bugfix,
            build,
        } = self;
        write!(f, "{major}.{minor}.{bugfix}.{build}")
    }
}

/// A variable and its type, in the maker's words.
pub type Variable = (&'static str, &'static str);

/// The payload that asks for `recipe`; outputs come `rate_hz` times per second.
pub fn setup(recipe: &[Variable], rate_hz: Option<f64>) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Some(rate) = rate_hz {
        payload.extend_from_slice(&rate.to_be_bytes());
    }
    let names: Vec<&str> = recipe.iter().map(|(name, _)| *name).collect();
    payload.extend_from_slice(names.join(",").as_bytes());
    payload
}

/// The recipe's id, from the payload of the answer to [`setup`].
///
/// # Errors
/// [`RtdeError`] naming the first variable that cannot be had.
pub fn accepted(kind: u8, recipe: &[Variable], payload: &[u8]) -> Result<u8, RtdeError> {
    let Some((id, types)) = payload.split_first() else {
        return Err(RtdeError::Payload {
            kind,
            expected: 1,
            actual: 0,
        });
    };
    let types = String::from_utf8_lossy(types);
    let mut types = types.split(',').map(str::trim);
    for (name, expected) in recipe {
        let name = (*name).to_owned();
        match types.next().unwrap_or("") {
            actual if actual == *expected => {}
            "NOT_FOUND" => return Err(RtdeError::Unknown(name)),
            "IN_USE" => return Err(RtdeError::InUse(name)),
            actual => {
                return Err(RtdeError::Type {
                    name,
                    expected,
                    actual: actual.chars().take(32).collect(),
                });
            }
        }
    }
    match id {
        0 => Err(RtdeError::Refused),
        id => Ok(*id),
    }
}

/// What the controller says in a text frame: its level is the last byte, 0 for an exception to 3 for information.
pub fn text(payload: &[u8]) -> (u8, String) {
    let message = payload
        .split_first()
        .and_then(|(len, rest)| rest.get(..usize::from(*len)));
    let level = payload.last().copied().unwrap_or(3);
    (
        level,
        String::from_utf8_lossy(message.unwrap_or(payload)).into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RECIPE: [Variable; 2] = [("actual_q", "VECTOR6D"), ("robot_mode", "INT32")];

    #[test]
    fn frames_are_the_guide_s() {
        let mut out = Vec::new();
        frame(kind::PROTOCOL_VERSION, &PROTOCOL.to_be_bytes(), &mut out);
        assert_eq!(out, [0, 5, 86, 0, 2]);
        frame(kind::START, &[], &mut out);
        assert_eq!(out[5..], [0, 3, 83]);
        let (kind, payload, len) = cut(&out).expect("legal").expect("whole");
        assert_eq!((kind, payload, len), (86, &[0u8, 2][..], 5));
        assert_eq!(cut(&out[..4]), Ok(None));
        assert_eq!(cut(&[0, 2, 86]), Err(RtdeError::Size(2)));
    }

    #[test]
    fn a_recipe_is_names_after_a_rate_and_its_answer_is_types() {
        let asked = setup(&RECIPE, Some(500.0));
        assert_eq!(asked[..8], 500f64.to_be_bytes());
        assert_eq!(&asked[8..], b"actual_q,robot_mode");
        let answer = |text: &str| accepted(kind::SETUP_OUTPUTS, &RECIPE, text.as_bytes());
        assert_eq!(answer("\x07VECTOR6D,INT32"), Ok(7));
        assert_eq!(
            answer("\x00VECTOR6D,NOT_FOUND"),
            Err(RtdeError::Unknown("robot_mode".into()))
        );
        assert_eq!(
            answer("\x00IN_USE,INT32"),
            Err(RtdeError::InUse("actual_q".into()))
        );
        let other = answer("\x01DOUBLE,INT32").expect_err("another type");
        assert_eq!(
            other.to_string(),
            "variable `actual_q` is a DOUBLE, expected VECTOR6D"
        );
        assert!(
            answer("\x01VECTOR6D").is_err()
                && answer("").is_err()
                && answer("\x00VECTOR6D,INT32").is_err()
        );
    }

    #[test]
    fn versions_and_texts_are_read() {
        let mut payload = Vec::new();
        for word in [5u32, 12, 0, 1101319] {
            payload.extend_from_slice(&word.to_be_bytes());
        }
        let version = ControllerVersion::read(&payload).expect("legal");
        assert_eq!(version.to_string(), "5.12.0.1101319");
        assert!(ControllerVersion::read(&payload[1..]).is_err());
        assert_eq!(text(b"\x05hello\x04RTDE\x02"), (2, "hello".to_owned()));
        assert_eq!(text(b"").1, "");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((_, payload, len))) = cut(&bytes) {
                prop_assert!(len <= bytes.len() && payload.len() + HEADER == len);
            }
            let _ = accepted(kind::SETUP_INPUTS, &RECIPE, &bytes);
            let _ = (text(&bytes), ControllerVersion::read(&bytes));
        }
    }
}
