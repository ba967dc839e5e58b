//! Who belongs to a cell, and what each may say there.
//!
//! Decides, as one table, which keys a member may publish on, answer on and ask on. Every process of a cell that has keys
//! holds it against whatever another sends it, by the name in that one's certificate ([`crate::security`]); what is not in the
//! table is dropped before anything of ours sees it. Everyone in the cell may listen. Decides nothing about who commands the
//! arm among those that may ask for it: that is the arm host's lease.

use tactus_types::Rank;

use crate::{Cell, Key, Name, Role, Said, Topic};

/// What somebody is in a cell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Member {
    /// The arm host.
    Arm,
    /// The process that moves joints; the simulator too.
    Device,
    /// The process of the cameras.
    Camera,
    /// The process that runs the policy.
    Engine,
    /// The recorder.
    Record,
    /// The bridge to ROS 2.
    Ros,
    /// What starts a cell and runs episodes in it: `run`, `demo`, `eval`, `drill`.
    Launch,
    /// A person, or a program that commands for one.
    Operator(Name),
}

/// The members of one cell, and the names that its keys use for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// The cell.
    pub cell: Cell,
    /// The arm host.
    pub arm: Name,
    /// The device that it commands.
    pub device: Name,
    /// The engine that it asks.
    pub engine: Name,
    /// Cameras.
    pub cameras: Vec<Name>,
    /// Operators.
    pub operators: Vec<Name>,
}

/// What passes between two processes, as an access rule calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Publishes.
    Put,
    /// Asks.
    Query,
    /// Offers answers, and answers.
    Answer,
    /// Says that it lives.
    Live,
    /// Listens.
    Listen,
}

impl Act {
    /// Every act.
    pub const ALL: [Self; 5] = [
        Self::Put,
        Self::Query,
        Self::Answer,
        Self::Live,
        Self::Listen,
    ];
}

impl Members {
    /// Everyone.
    pub fn all(&self) -> Vec<Member> {
        let roles = [
            Member::Arm,
            Member::Device,
            Member::Camera,
            Member::Engine,
            Member::Record,
            Member::Ros,
            Member::Launch,
        ];
        let operators = self.operators.iter().cloned().map(Member::Operator);
        roles.into_iter().chain(operators).collect()
    }

    /// The name that a member goes by on the wire, as `who` of keys, and with the cell's after a dot in its certificate.
    pub fn who(&self, member: &Member) -> String {
        match member {
            Member::Arm => format!("arm-{}", self.arm),
            Member::Device => format!("device-{}", self.device),
            Member::Camera => "camera".into(),
            Member::Engine => format!("engine-{}", self.engine),
            Member::Record => "record".into(),
            Member::Ros => "ros".into(),
            Member::Launch => "launch".into(),
            Member::Operator(name) => format!("operator-{name}"),
        }
    }

    /// The common name of a member's certificate: no certificate of one cell is one of another.
    pub fn common_name(&self, member: &Member) -> String {
        format!("{}.{}", self.who(member), self.cell.name())
    }

    /// Key expressions on which `member` may do `act`.
    pub fn may(&self, member: &Member, act: Act) -> Vec<Key> {
        let key = |topic: Topic| self.cell.key(&topic);
        // Certificates are made for names that are short enough.
        let who = Name::new(&self.who(member)).ok();
        let clock = who.iter().map(|who| key(Topic::Clock(who.clone())));
        match act {
            Act::Listen => vec![self.cell.all()],
            Act::Query => self.asks(member, who.as_ref()),
            Act::Live => match member {
                Member::Arm => vec![key(Topic::Alive(Role::Arm, self.arm.clone()))],
                Member::Device => vec![key(Topic::Alive(Role::Device, self.device.clone()))],
                Member::Engine => vec![key(Topic::Alive(Role::Engine, self.engine.clone()))],
                Member::Camera => {
                    let alive = |name: &Name| key(Topic::Alive(Role::Camera, name.clone()));
                    self.cameras.iter().map(alive).collect()
                }
                Member::Record | Member::Ros | Member::Launch | Member::Operator(_) => vec![],
            },
            Act::Answer => self.answers(member).into_iter().chain(clock).collect(),
            Act::Put => self.puts(member, who),
        }
    }

    fn puts(&self, member: &Member, who: Option<Name>) -> Vec<Key> {
        let key = |topic: Topic| self.cell.key(&topic);
        let arm = || self.arm.clone();
        match member {
            Member::Arm => vec![
                key(Topic::ArmState(arm())),
                key(Topic::ArmInfo(arm())),
                key(Topic::ArmRequest(arm())),
                key(Topic::ArmApplied(arm())),
                key(Topic::ArmMode(arm())),
                key(Topic::ArmTelemetry(arm())),
                key(Topic::ArmTicks(arm())),
                key(Topic::DeviceCommand(self.device.clone())),
            ],
            Member::Device => vec![
                key(Topic::DeviceState(self.device.clone())),
                key(Topic::DeviceInfo(self.device.clone())),
                key(Topic::SimWorld),
            ],
            Member::Camera => {
                let topics = [Topic::CameraImage, Topic::CameraInfo, Topic::CameraStatus];
                let of = |name: &Name| topics.map(|topic| key(topic(name.clone())));
                self.cameras.iter().flat_map(of).collect()
            }
            Member::Engine => vec![
                key(Topic::ArmChunk(arm())),
                key(Topic::EngineStatus(self.engine.clone())),
                key(Topic::EngineReasoning(self.engine.clone())),
            ],
            Member::Record => vec![],
            // What it forwards counts under a lease alone, and below an operator's.
            Member::Ros => who
                .map(|who| key(Topic::ArmSetpoint(arm(), who)))
                .into_iter()
                .collect(),
            Member::Launch => vec![key(Topic::Episode), key(Topic::Eval)],
            Member::Operator(_) => {
                let hand = who.map(|who| key(Topic::ArmSetpoint(arm(), who)));
                hand.into_iter().chain([key(Topic::Episode)]).collect()
            }
        }
    }

    fn answers(&self, member: &Member) -> Vec<Key> {
        let key = |topic: Topic| self.cell.key(&topic);
        let arm = || self.arm.clone();
        match member {
            Member::Arm => vec![
                key(Topic::ArmInfo(arm())),
                key(Topic::ArmTicks(arm())),
                key(Topic::ArmStop(arm())),
                self.cell.said_to(&self.arm, Said::Order),
                self.cell.said_to(&self.arm, Said::Lease),
            ],
            Member::Device => vec![
                key(Topic::DeviceInfo(self.device.clone())),
                key(Topic::SimReset),
            ],
            Member::Camera => {
                let topics = [Topic::CameraInfo, Topic::CameraStep];
                let of = |name: &Name| topics.map(|topic| key(topic(name.clone())));
                self.cameras.iter().flat_map(of).collect()
            }
            Member::Engine => vec![key(Topic::EngineStatus(self.engine.clone()))],
            Member::Launch => vec![key(Topic::Eval), key(Topic::EvalPicture)],
            Member::Record | Member::Ros | Member::Operator(_) => vec![],
        }
    }

    fn asks(&self, member: &Member, who: Option<&Name>) -> Vec<Key> {
        let key = |topic: Topic| self.cell.key(&topic);
        let arm = || self.arm.clone();
        // What only describes, and the stop: everyone in the cell may stop the arm.
        let mut keys = vec![
            key(Topic::ArmInfo(arm())),
            key(Topic::ArmTicks(arm())),
            key(Topic::ArmStop(arm())),
            key(Topic::DeviceInfo(self.device.clone())),
            key(Topic::EngineStatus(self.engine.clone())),
        ];
        keys.extend(
            self.cameras
                .iter()
                .map(|c| key(Topic::CameraInfo(c.clone()))),
        );
        for other in self.all() {
            let name = Name::new(&self.who(&other)).ok();
            keys.extend(name.map(|name| key(Topic::Clock(name))));
        }
        if let (Member::Launch | Member::Operator(_) | Member::Ros, Some(who)) = (member, who) {
            keys.extend([
                key(Topic::ArmOrder(arm(), who.clone())),
                key(Topic::ArmLease(arm(), who.clone())),
            ]);
        }
        if matches!(member, Member::Launch | Member::Operator(_)) {
            keys.extend([
                key(Topic::SimReset),
                key(Topic::Eval),
                key(Topic::EvalPicture),
            ]);
            keys.extend(
                self.cameras
                    .iter()
                    .map(|c| key(Topic::CameraStep(c.clone()))),
            );
        }
        keys
    }

    /// The highest rank that whoever goes by `who` may ask a lease for; `None` where it may not ask at all.
    pub fn rank(&self, who: &Name) -> Option<Rank> {
        let member = self.all().into_iter();
        let mut of = member.filter(|member| self.who(member) == who.as_str());
        match of.next()? {
            Member::Operator(_) => Some(Rank::Teleop),
            Member::Launch => Some(Rank::Policy),
            Member::Ros => Some(Rank::Outside),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use zenoh::key_expr::KeyExpr;

    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("legal")
    }

    fn members() -> Members {
        Members {
            cell: Cell::new("lab").expect("legal"),
            arm: name("a"),
            device: name("d"),
            engine: name("e"),
            cameras: vec![name("scene"), name("wrist")],
            operators: vec![name("anna"), name("ben")],
        }
    }

    fn includes(keys: &[Key], topic: &Topic) -> bool {
        let cell = members().cell;
        let one = KeyExpr::try_from(cell.key(topic).as_str().to_owned()).expect("a key");
        keys.iter().any(|key| {
            let key = KeyExpr::try_from(key.as_str().to_owned()).expect("a pattern");
            key.includes(&one)
        })
    }

    fn who_may(act: Act, topic: &Topic) -> Vec<String> {
        let members = members();
        let may = |member: &Member| includes(&members.may(member, act), topic);
        let all = members.all().into_iter().filter(may);
        all.map(|member| members.who(&member)).collect()
    }

    #[test]
    fn each_key_that_moves_the_arm_has_one_writer() {
        let by = |who: &str| name(who);
        for (act, topic, writers) in [
            (Act::Put, Topic::DeviceCommand(name("d")), vec!["arm-a"]),
            (Act::Put, Topic::ArmChunk(name("a")), vec!["engine-e"]),
            (Act::Put, Topic::ArmRequest(name("a")), vec!["arm-a"]),
            (Act::Put, Topic::DeviceState(name("d")), vec!["device-d"]),
            (Act::Put, Topic::CameraImage(name("wrist")), vec!["camera"]),
            (
                Act::Put,
                Topic::ArmSetpoint(name("a"), by("operator-anna")),
                vec!["operator-anna"],
            ),
            (
                Act::Put,
                Topic::ArmSetpoint(name("a"), by("ros")),
                vec!["ros"],
            ),
            (
                Act::Query,
                Topic::ArmLease(name("a"), by("operator-ben")),
                vec!["operator-ben"],
            ),
            (
                Act::Query,
                Topic::ArmOrder(name("a"), by("launch")),
                vec!["launch"],
            ),
            (
                Act::Answer,
                Topic::ArmLease(name("a"), by("launch")),
                vec!["arm-a"],
            ),
            (
                Act::Live,
                Topic::Alive(Role::Engine, name("e")),
                vec!["engine-e"],
            ),
            (Act::Answer, Topic::Clock(by("engine-e")), vec!["engine-e"]),
            // Of another arm, engine or camera nobody may say anything.
            (Act::Put, Topic::DeviceCommand(name("other")), vec![]),
            (Act::Put, Topic::ArmChunk(name("other")), vec![]),
            (Act::Put, Topic::CameraImage(name("other")), vec![]),
        ] {
            assert_eq!(who_may(act, &topic), writers, "{act:?} {topic}");
        }
    }

    #[test]
    fn everyone_may_stop_the_arm_and_listen() {
        let everyone = members().all().len();
        let stop = who_may(Act::Query, &Topic::ArmStop(name("a")));
        assert_eq!(stop.len(), everyone);
        let mode = who_may(Act::Listen, &Topic::ArmMode(name("a")));
        assert_eq!(mode.len(), everyone);
    }

    #[test]
    fn what_somebody_is_decides_the_rank_that_it_may_ask_for() {
        let rank = |who: &str| members().rank(&name(who));
        assert_eq!(rank("operator-anna"), Some(Rank::Teleop));
        assert_eq!(rank("launch"), Some(Rank::Policy));
        assert_eq!(rank("ros"), Some(Rank::Outside));
        for nobody in ["engine-e", "operator-eve", "anna", "camera"] {
            assert_eq!(rank(nobody), None, "{nobody}");
        }
    }

    #[test]
    fn every_member_has_a_name_and_no_two_the_same() {
        let members = members();
        let mut names: Vec<_> = members
            .all()
            .iter()
            .map(|m| members.common_name(m))
            .collect();
        assert_eq!(names.len(), 9);
        assert!(names.iter().all(|name| name.ends_with(".lab")));
        names.dedup();
        assert_eq!(names.len(), 9);
    }
}
