//! The key grammar: every key is `tactus/<cell>/<topic>`.
//!
//! ```text
//! camera/<name>/{image,info}
//! device/<name>/{state,command,info}
//! arm/<name>/{state,info,request,chunk,applied,mode,stop,telemetry,ticks}
//! arm/<name>/{lease,order,setpoint}/<who>
//! engine/<name>/{status,reasoning}
//! episode
//! eval, eval/picture
//! sim/{world,reset}
//! clock/<name>
//! alive/<role>/<name>
//! ```
//! `who` is whoever asks or sends, in the name it has in the cell: where the cell has keys, its certificate's, and nobody
//! else can write there. A name is 1 to 64 characters of `a-z`, `0-9`, `_` and `-`, so that no name can hold a wildcard or a separator.

use std::{fmt, sync::Arc};

/// Longest name, bytes.
const MAX_NAME_BYTES: usize = 64;

/// Name of a cell, camera, device, arm or engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// A name or key that the grammar does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a name.
    #[error("name `{actual}`: expected 1 to 64 characters of a-z, 0-9, _ and -")]
    Name {
        /// What was there.
        actual: String,
    },
    /// Not a key of this cell.
    #[error("key `{actual}`: expected `tactus/{cell}/<topic>` with a topic of the key grammar")]
    Key {
        /// The cell.
        cell: Name,
        /// What was there.
        actual: String,
    },
}

impl Name {
    /// `name`, checked.
    ///
    /// # Errors
    /// [`KeyError::Name`] for anything but 1 to 64 characters of `[a-z0-9_-]`.
    pub fn new(name: &str) -> Result<Self, KeyError> {
        let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-';
        if !name.is_empty() && name.len() <= MAX_NAME_BYTES && name.bytes().all(legal) {
            Ok(Self(name.into()))
        } else {
            Err(KeyError::Name {
                actual: name.chars().take(2 * MAX_NAME_BYTES).collect(),
            })
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    pub fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Name {
    type Err = KeyError;
    fn from_str(s: &str) -> Result<Self, KeyError> {
        Self::new(s)
    }
}

/// What a process is in a cell, for its liveliness token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Controls an arm.
    Arm,
    /// Publishes a camera's images.
    Camera,
    /// Moves joints: a robot driver or the simulator.
    Device,
    /// Runs the policy.
    Engine,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Arm, Self::Camera, Self::Device, Self::Engine];

    /// Word in keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Arm => "arm",
            Self::Camera => "camera",
            Self::Device => "device",
            Self::Engine => "engine",
        }
    }
}

/// What is said to an arm host by somebody in particular.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Said {
    /// [`Topic::ArmSetpoint`].
    Setpoint,
    /// [`Topic::ArmOrder`].
    Order,
    /// [`Topic::ArmLease`].
    Lease,
}

impl Said {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Setpoint, Self::Order, Self::Lease];

    /// Word in keys.
    pub fn word(self) -> &'static str {
        match self {
            Self::Setpoint => "setpoint",
            Self::Order => "order",
            Self::Lease => "lease",
        }
    }
}

/// Who wrote on `key`, the last chunk of it; `None` where that is no name.
pub fn who_of(key: &str) -> Option<Name> {
    Name::new(key.rsplit('/').next()?).ok()
}

/// What a key is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `foxglove.CompressedImage` of a camera.
    CameraImage(Name),
    /// [`crate::CameraInfo`], published and queryable.
    CameraInfo(Name),
    /// [`crate::CameraStatus`], published once a second by cameras that count.
    CameraStatus(Name),
    /// A question that makes a stepped camera publish its next frame; the answer is its [`crate::CameraStatus`].
    CameraStep(Name),
    /// [`tactus_types::JointState`] as the device measures it.
    DeviceState(Name),
    /// [`crate::DeviceCommand`].
    DeviceCommand(Name),
    /// [`tactus_types::ArmInfo`] of the device, published and queryable.
    DeviceInfo(Name),
    /// [`tactus_types::JointState`] as the arm host uses it.
    ArmState(Name),
    /// [`tactus_types::ArmInfo`] of the arm, published and queryable.
    ArmInfo(Name),
    /// [`tactus_types::InferenceRequest`].
    ArmRequest(Name),
    /// [`crate::ChunkReply`].
    ArmChunk(Name),
    /// [`crate::AppliedBatch`].
    ArmApplied(Name),
    /// [`tactus_types::OperatorSetpoint`] of a human, by whoever sends it.
    ArmSetpoint(Name, Name),
    /// [`crate::ModeReport`].
    ArmMode(Name),
    /// [`crate::LeasedOrder`] as a query, by whoever asks.
    ArmOrder(Name, Name),
    /// [`crate::LeaseRequest`] as a query, by whoever asks.
    ArmLease(Name, Name),
    /// Controlled stop: any query, whatever its payload.
    ArmStop(Name),
    /// [`crate::Telemetry`].
    ArmTelemetry(Name),
    /// [`crate::TickBatch`], published; queryable for the first ticks of the arm host.
    ArmTicks(Name),
    /// [`crate::EngineStatus`], queryable, and published every 50 ms as a sign of life.
    EngineStatus(Name),
    /// [`crate::Reasoning`].
    EngineReasoning(Name),
    /// [`crate::EpisodeEvent`].
    Episode,
    /// [`crate::EvalReport`], published; [`crate::EvalAnswer`] as a query.
    Eval,
    /// [`crate::EvalPicture`], queryable.
    EvalPicture,
    /// [`crate::SimWorld`].
    SimWorld,
    /// [`crate::SimReset`] as a query.
    SimReset,
    /// Readings of a process's clock, queryable ([`crate::Session::answer_pings`]).
    Clock(Name),
    /// Liveliness token.
    Alive(Role, Name),
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CameraImage(name) => write!(f, "camera/{name}/image"),
            Self::CameraInfo(name) => write!(f, "camera/{name}/info"),
            Self::CameraStatus(name) => write!(f, "camera/{name}/status"),
            Self::CameraStep(name) => write!(f, "camera/{name}/step"),
            Self::DeviceState(name) => write!(f, "device/{name}/state"),
            Self::DeviceCommand(name) => write!(f, "device/{name}/command"),
            Self::DeviceInfo(name) => write!(f, "device/{name}/info"),
            Self::ArmState(name) => write!(f, "arm/{name}/state"),
            Self::ArmInfo(name) => write!(f, "arm/{name}/info"),
            Self::ArmRequest(name) => write!(f, "arm/{name}/request"),
            Self::ArmChunk(name) => write!(f, "arm/{name}/chunk"),
            Self::ArmApplied(name) => write!(f, "arm/{name}/applied"),
            Self::ArmSetpoint(name, who) => write!(f, "arm/{name}/setpoint/{who}"),
            Self::ArmMode(name) => write!(f, "arm/{name}/mode"),
            Self::ArmOrder(name, who) => write!(f, "arm/{name}/order/{who}"),
            Self::ArmLease(name, who) => write!(f, "arm/{name}/lease/{who}"),
            Self::ArmStop(name) => write!(f, "arm/{name}/stop"),
            Self::ArmTelemetry(name) => write!(f, "arm/{name}/telemetry"),
            Self::ArmTicks(name) => write!(f, "arm/{name}/ticks"),
            Self::EngineStatus(name) => write!(f, "engine/{name}/status"),
            Self::EngineReasoning(name) => write!(f, "engine/{name}/reasoning"),
            Self::Episode => write!(f, "episode"),
            Self::Eval => write!(f, "eval"),
            Self::EvalPicture => write!(f, "eval/picture"),
            Self::SimWorld => write!(f, "sim/world"),
            Self::SimReset => write!(f, "sim/reset"),
            Self::Clock(name) => write!(f, "clock/{name}"),
            Self::Alive(role, name) => write!(f, "alive/{}/{name}", role.word()),
        }
    }
}

impl Topic {
    /// Inverse of the `Display` form.
    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let named = |name: &str, topic: fn(Name) -> Self| Name::new(name).ok().map(topic);
        let by = |name: &str, who: &str, topic: fn(Name, Name) -> Self| {
            Some(topic(Name::new(name).ok()?, Name::new(who).ok()?))
        };
        match parts.as_slice() {
            ["camera", name, "image"] => named(name, Self::CameraImage),
            ["camera", name, "info"] => named(name, Self::CameraInfo),
            ["camera", name, "status"] => named(name, Self::CameraStatus),
            ["camera", name, "step"] => named(name, Self::CameraStep),
            ["device", name, "state"] => named(name, Self::DeviceState),
            ["device", name, "command"] => named(name, Self::DeviceCommand),
            ["device", name, "info"] => named(name, Self::DeviceInfo),
            ["arm", name, "state"] => named(name, Self::ArmState),
            ["arm", name, "info"] => named(name, Self::ArmInfo),
            ["arm", name, "request"] => named(name, Self::ArmRequest),
            ["arm", name, "chunk"] => named(name, Self::ArmChunk),
            ["arm", name, "applied"] => named(name, Self::ArmApplied),
            ["arm", name, "setpoint", who] => by(name, who, Self::ArmSetpoint),
            ["arm", name, "mode"] => named(name, Self::ArmMode),
            ["arm", name, "order", who] => by(name, who, Self::ArmOrder),
            ["arm", name, "lease", who] => by(name, who, Self::ArmLease),
            ["arm", name, "stop"] => named(name, Self::ArmStop),
            ["arm", name, "telemetry"] => named(name, Self::ArmTelemetry),
            ["arm", name, "ticks"] => named(name, Self::ArmTicks),
            ["engine", name, "status"] => named(name, Self::EngineStatus),
            ["engine", name, "reasoning"] => named(name, Self::EngineReasoning),
            ["episode"] => Some(Self::Episode),
            ["eval"] => Some(Self::Eval),
            ["eval", "picture"] => Some(Self::EvalPicture),
            ["sim", "world"] => Some(Self::SimWorld),
            ["sim", "reset"] => Some(Self::SimReset),
            ["clock", name] => named(name, Self::Clock),
            ["alive", role, name] => {
                let role = Role::ALL.into_iter().find(|r| r.word() == *role)?;
                Some(Self::Alive(role, Name::new(name).ok()?))
            }
            _ => None,
        }
    }
}

/// A key expression of one cell: a topic's key, or a pattern over keys or liveliness tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// The whole key, `tactus/<cell>/...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One cell: the namespace of its keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cell(Name);

impl Cell {
    /// The cell called `name`.
    ///
    /// # Errors
    /// [`KeyError::Name`].
    pub fn new(name: &str) -> Result<Self, KeyError> {
        Name::new(name).map(Self)
    }

    /// Name of the cell.
    pub fn name(&self) -> &Name {
        &self.0
    }

    /// Key of `topic` in this cell.
    pub fn key(&self, topic: &Topic) -> Key {
        Key(format!("tactus/{}/{topic}", self.0).into())
    }

    /// Key expression of everything that is published in this cell.
    pub fn all(&self) -> Key {
        Key(format!("tactus/{}/**", self.0).into())
    }

    /// Key expression of every liveliness token of this cell.
    pub fn all_alive(&self) -> Key {
        Key(format!("tactus/{}/alive/**", self.0).into())
    }

    /// Key expression of what everyone says to arm `arm` of one kind: `setpoint`, `order` or `lease`.
    pub fn said_to(&self, arm: &Name, kind: Said) -> Key {
        Key(format!("tactus/{}/arm/{arm}/{}/*", self.0, kind.word()).into())
    }

    /// Topic of `key` in this cell.
    ///
    /// # Errors
    /// [`KeyError::Key`] when it is of another cell or not in the grammar.
    pub fn topic(&self, key: &str) -> Result<Topic, KeyError> {
        key.strip_prefix("tactus/")
            .and_then(|rest| rest.strip_prefix(self.0.as_str()))
            .and_then(|rest| rest.strip_prefix('/'))
            .and_then(Topic::parse)
            .ok_or_else(|| KeyError::Key {
                cell: self.0.clone(),
                actual: key.chars().take(256).collect(),
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = Name> {
        "[a-z0-9_-]{1,64}".prop_map(|s| Name::new(&s).expect("a legal name"))
    }

    fn topic() -> impl Strategy<Value = Topic> {
        let named: [fn(Name) -> Topic; 19] = [
            Topic::Clock,
            Topic::CameraImage,
            Topic::CameraInfo,
            Topic::CameraStatus,
            Topic::CameraStep,
            Topic::DeviceState,
            Topic::DeviceCommand,
            Topic::DeviceInfo,
            Topic::ArmState,
            Topic::ArmInfo,
            Topic::ArmRequest,
            Topic::ArmChunk,
            Topic::ArmApplied,
            Topic::ArmMode,
            Topic::ArmStop,
            Topic::ArmTelemetry,
            Topic::ArmTicks,
            Topic::EngineStatus,
            Topic::EngineReasoning,
        ];
        let said: [fn(Name, Name) -> Topic; 3] =
            [Topic::ArmSetpoint, Topic::ArmOrder, Topic::ArmLease];
        prop_oneof![
            (prop::sample::select(said.to_vec()), name(), name())
                .prop_map(|(topic, arm, who)| topic(arm, who)),
            (prop::sample::select(named.to_vec()), name()).prop_map(|(topic, name)| topic(name)),
            Just(Topic::Episode),
            Just(Topic::Eval),
            Just(Topic::EvalPicture),
            Just(Topic::SimWorld),
            Just(Topic::SimReset),
            (prop::sample::select(Role::ALL.to_vec()), name())
                .prop_map(|(role, name)| Topic::Alive(role, name)),
        ]
    }

    proptest! {
        #[test]
        fn a_key_says_which_topic_it_is(cell in name(), topic in topic()) {
            let cell = Cell(cell);
            let key = cell.key(&topic);
            prop_assert_eq!(cell.topic(key.as_str()), Ok(topic));
        }

        #[test]
        fn what_is_said_says_by_whom(cell in name(), arm in name(), who in name(), kind in 0..3usize) {
            let cell = Cell(cell);
            let topic = match Said::ALL[kind] {
                Said::Setpoint => Topic::ArmSetpoint(arm.clone(), who.clone()),
                Said::Order => Topic::ArmOrder(arm.clone(), who.clone()),
                Said::Lease => Topic::ArmLease(arm.clone(), who.clone()),
            };
            let key = cell.key(&topic);
            prop_assert_eq!(who_of(key.as_str()), Some(who));
            let everyone = cell.said_to(&arm, Said::ALL[kind]);
            let expression = |key: &Key| zenoh::key_expr::KeyExpr::try_from(key.as_str().to_owned());
            let (one, all) = (expression(&key).expect("a key"), expression(&everyone).expect("a pattern"));
            prop_assert!(all.includes(&one));
            // Whoever asks everyone at once is nobody.
            prop_assert_eq!(who_of(everyone.as_str()), None);
        }

        #[test]
        fn every_key_is_one_that_zenoh_takes_as_it_is(cell in name(), topic in topic()) {
            let key = Cell(cell).key(&topic);
            let expression = zenoh::key_expr::KeyExpr::try_from(key.as_str().to_owned());
            prop_assert_eq!(expression.map(|e| e.as_str() == key.as_str()).ok(), Some(true));
        }

        #[test]
        fn any_text_is_a_legal_name_or_refused(text in ".{0,70}") {
            let legal = (1..=64).contains(&text.len())
                && text.chars().all(|c| "abcdefghijklmnopqrstuvwxyz0123456789_-".contains(c));
            prop_assert_eq!(Name::new(&text).is_ok(), legal);
        }
    }

    #[test]
    fn keys_of_other_cells_and_wildcards_are_refused() {
        let cell = Cell::new("demo").expect("name");
        for key in [
            "tactus/demo2/episode",
            "tactus/demo",
            "tactus/demo/",
            "tactus/demo/camera/*/image",
            "tactus/demo/alive/**",
            "tactus/demo/alive/robot/a",
            "tactus/demo/camera/scene/image/x",
            "demo/episode",
        ] {
            assert!(cell.topic(key).is_err(), "{key}");
        }
        assert_eq!(cell.topic("tactus/demo/episode"), Ok(Topic::Episode));
    }
}
