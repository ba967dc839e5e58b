//! `[[host]]`: which roles of a cell run on which host, and where each of them is reached.
//!
//! Decides addresses, and who dials whom: of two processes the one that comes later in [`Place`] dials, so that there is one
//! link between any two, and it is known which of them makes it again. Processes of one host meet on its loopback, so
//! that a cable in nobody's hands cuts only what it joins. The arm host and its device are on one host: their clock is the
//! cell's, and no cable lies between a command and its motor.

use serde::Deserialize;
use tactus_wire::Name;

use super::{CellError, Check};

/// First port of a host whose address names none.
const PORT: u16 = 7447;

/// What runs somewhere; each has the port of its host plus its place in this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The device process or the simulator.
    Device,
    /// The arm host.
    Arm,
    /// The cameras.
    Camera,
    /// The engine.
    Engine,
    /// The recorder.
    Record,
    /// `tactus run`.
    Launch,
}

impl Place {
    /// Every one, in the order of their ports.
    pub const ALL: [Self; 6] = [
        Self::Device,
        Self::Arm,
        Self::Camera,
        Self::Engine,
        Self::Record,
        Self::Launch,
    ];

    /// What a process that calls itself `source` in messages is; `None` for whoever comes and goes.
    pub fn of_source(source: &str) -> Option<Self> {
        Some(match source.split('/').next()? {
            "device" => Self::Device,
            "arm" => Self::Arm,
            "camera" => Self::Camera,
            "engine" => Self::Engine,
            "record" => Self::Record,
            "run" => Self::Launch,
            _ => return None,
        })
    }

    /// As `tactus` and cell files call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Arm => "arm",
            Self::Camera => "camera",
            Self::Engine => "engine",
            Self::Record => "record",
            Self::Launch => "run",
        }
    }

    fn port(self, first: u16) -> u16 {
        let at = Self::ALL.iter().position(|place| *place == self);
        first.saturating_add(u16::try_from(at.unwrap_or(0)).unwrap_or(0))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHost {
    name: String,
    address: String,
    roles: Vec<RawPlace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawPlace {
    Device,
    Arm,
    Camera,
    Engine,
    Record,
}

impl From<RawPlace> for Place {
    fn from(raw: RawPlace) -> Self {
        match raw {
            RawPlace::Device => Self::Device,
            RawPlace::Arm => Self::Arm,
            RawPlace::Camera => Self::Camera,
            RawPlace::Engine => Self::Engine,
            RawPlace::Record => Self::Record,
        }
    }
}

/// A host of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellHost {
    /// Its name in the cell file.
    pub name: Name,
    /// Where other hosts reach it: an address, or a name that they all know.
    pub address: String,
    /// First of its ports.
    pub port: u16,
    /// What runs there, `tactus run` left out.
    pub roles: Vec<Place>,
}

impl CellHost {
    fn is_loopback(&self) -> bool {
        let ip = self.address.trim_start_matches('[').trim_end_matches(']');
        ip == "localhost"
            || ip
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    }

    /// Where others reach `place` here.
    fn endpoint(&self, place: Place, protocol: &str) -> String {
        let (address, port) = (&self.address, place.port(self.port));
        format!("{protocol}/{address}:{port}")
    }

    /// Where its neighbours on this host do.
    fn beside(&self, place: Place, protocol: &str) -> String {
        match self.is_loopback() {
            true => self.endpoint(place, protocol),
            false => format!("{protocol}/127.0.0.1:{}", place.port(self.port)),
        }
    }

    /// Whether the arm is here.
    pub fn has_arm(&self) -> bool {
        self.roles.contains(&Place::Arm)
    }
}

/// The hosts of `raw`; a recorder is on the arm's host unless it is placed.
pub(super) fn read(raw: Vec<RawHost>, check: &Check<'_>) -> Result<Vec<CellHost>, CellError> {
    let mut hosts: Vec<CellHost> = Vec::new();
    for RawHost {
        name,
        address,
        roles,
    } in raw
    {
        let name = check.name("host.name", &name)?;
        let (address, port) = address_of(&address, check)?;
        let (first, last) = (port, Place::Launch.port(port));
        for other in &hosts {
            if other.name == name {
                return Err(check.error("host.name", "each name once", format!("`{name}` twice")));
            }
            let taken = Place::Launch.port(other.port);
            if other.address == address && first <= taken && last >= other.port {
                let expected = format!(
                    "{} ports of its own from its address on; `{}` has {} to {taken} there",
                    Place::ALL.len(),
                    other.name,
                    other.port
                );
                return Err(check.error("host.address", &expected, format!("{address}:{port}")));
            }
        }
        hosts.push(CellHost {
            name,
            address,
            port,
            roles: roles.into_iter().map(Place::from).collect(),
        });
    }
    if hosts.is_empty() {
        return Ok(hosts);
    }
    for place in Place::ALL.into_iter().filter(|p| *p != Place::Launch) {
        let on = |host: &CellHost| host.roles.iter().filter(|role| **role == place).count();
        let times: usize = hosts.iter().map(on).sum();
        match (place, times) {
            (_, 1) => {}
            (Place::Record, 0) => {
                if let Some(host) = hosts.iter_mut().find(|host| host.has_arm()) {
                    host.roles.push(Place::Record);
                }
            }
            _ => {
                let expected = format!("`{}` on one host", place.word());
                return Err(check.error("host.roles", &expected, format!("{times} times")));
            }
        }
    }
    if !hosts
        .iter()
        .any(|host| host.has_arm() && host.roles.contains(&Place::Device))
    {
        let expected = "`arm` and `device` on one host: no cable may lie between a command and its motor, and their clock is the cell's";
        return Err(check.error("host.roles", expected, "two hosts"));
    }
    Ok(hosts)
}

/// `address` and its first port.
fn address_of(text: &str, check: &Check<'_>) -> Result<(String, u16), CellError> {
    let wrong = || {
        check.error(
            "host.address",
            "an address of the host that the others reach, such as `192.168.1.10` or `192.168.1.10:7447`; [..] around one of IPv6",
            text,
        )
    };
    let (address, port) = match text.rsplit_once(':') {
        Some((address, port)) if !address.contains(':') || address.ends_with(']') => {
            (address, port.parse().map_err(|_| wrong())?)
        }
        _ => (text, PORT),
    };
    let v6 = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let legal = match v6 {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
            !address.is_empty() && address.chars().all(of_a_name)
        }
    };
    let last = u16::try_from(Place::ALL.len()).unwrap_or(0);
    let anywhere = address
        .parse::<std::net::IpAddr>()
        .is_ok_and(|ip| ip.is_unspecified());
    if !legal || anywhere || port == 0 || port > u16::MAX - last {
        return Err(wrong());
    }
    Ok((address.to_owned(), port))
}

/// What a process listens on and dials.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// Endpoints to listen on.
    pub listen: Vec<String>,
    /// Endpoints to dial.
    pub connect: Vec<String>,
}

/// What `place` on `here` listens on and dials; whoever comes and goes (`None`) dials everyone and is dialled by nobody.
pub fn links(
    hosts: &[CellHost],
    here: Option<&Name>,
    place: Option<Place>,
    protocol: &str,
) -> Links {
    let mut links = Links::default();
    for host in hosts {
        let is_here = Some(&host.name) == here;
        for role in Place::ALL {
            // Where there is no arm, `tactus run` only starts roles, and takes no part itself.
            let there = match role {
                Place::Launch => host.has_arm(),
                role => host.roles.contains(&role),
            };
            if !there {
                continue;
            }
            if is_here && place == Some(role) {
                links.listen.push(host.endpoint(role, protocol));
                if !host.is_loopback() {
                    links.listen.push(host.beside(role, protocol));
                }
            } else if place.is_none_or(|place| role < place) {
                links.connect.push(match is_here {
                    true => host.beside(role, protocol),
                    false => host.endpoint(role, protocol),
                });
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Result<Vec<CellHost>, String> {
        #[derive(Deserialize)]
        struct File {
            host: Vec<RawHost>,
        }
        let file: File = toml::from_str(text).expect("TOML");
        let check = Check {
            file: std::path::Path::new("a.toml"),
        };
        read(file.host, &check).map_err(|e| e.to_string())
    }

    const TWO: &str = r#"
        [[host]]
        name = "bench"
        address = "10.0.0.1"
        roles = ["device", "arm", "camera"]
        [[host]]
        name = "rack"
        address = "10.0.0.2:7500"
        roles = ["engine"]
    "#;

    fn name(text: &str) -> Name {
        Name::new(text).expect("legal")
    }

    #[test]
    fn of_any_two_processes_exactly_one_dials_the_other() {
        let hosts = hosts(TWO).expect("legal");
        assert!(
            hosts[0].roles.contains(&Place::Record),
            "it is beside the arm"
        );
        let mut placed = Vec::new();
        for host in &hosts {
            for place in &host.roles {
                let of = links(&hosts, Some(&host.name), Some(*place), "tls");
                placed.push((host.name.clone(), *place, of));
            }
        }
        assert_eq!(placed.len(), 5);
        for (i, (_, place, one)) in placed.iter().enumerate() {
            for (_, other, two) in &placed[i + 1..] {
                let dials =
                    |a: &Links, b: &Links| b.listen.iter().any(|end| a.connect.contains(end));
                assert!(dials(one, two) != dials(two, one), "{place:?} {other:?}");
            }
        }
        let engine = links(&hosts, Some(&name("rack")), Some(Place::Engine), "tls");
        assert_eq!(engine.listen[0], "tls/10.0.0.2:7503");
        assert_eq!(
            engine.connect,
            [
                "tls/10.0.0.1:7447",
                "tls/10.0.0.1:7448",
                "tls/10.0.0.1:7449"
            ]
        );
        // Beside each other they need no cable.
        let arm = links(&hosts, Some(&name("bench")), Some(Place::Arm), "tls");
        assert_eq!(arm.connect, ["tls/127.0.0.1:7447"]);
        assert_eq!(arm.listen, ["tls/10.0.0.1:7448", "tls/127.0.0.1:7448"]);
        // An operator dials everyone: five processes and the `tactus run` beside the arm.
        let operator = links(&hosts, None, None, "tls");
        assert_eq!((operator.connect.len(), operator.listen.len()), (6, 0));
    }

    #[test]
    fn hosts_that_cannot_work_are_refused_with_why() {
        let refused = |from: &str, to: &str| {
            let text = TWO.replace(from, to);
            assert_ne!(text, TWO, "{from}");
            hosts(&text).expect_err(to)
        };
        for (from, to, why) in [
            (r#""engine""#, "", "`engine` on one host, got 0 times"),
            (
                r#""camera"]"#,
                r#""camera", "engine"]"#,
                "`engine` on one host, got 2 times",
            ),
            (r#""rack""#, r#""bench""#, "`bench` twice"),
            (
                "10.0.0.2:7500",
                "10.0.0.1:7450",
                "`bench` has 7447 to 7452 there",
            ),
            ("10.0.0.2:7500", "10.0.0.2:0", "such as `192.168.1.10`"),
            ("10.0.0.2:7500", "0.0.0.0", "that the others reach"),
            (
                "10.0.0.2:7500",
                "tcp/10.0.0.2:7447",
                "such as `192.168.1.10`",
            ),
        ] {
            let said = refused(from, to);
            assert!(said.contains(why), "{said}");
        }
        let apart = TWO
            .replace(r#""device", "#, "")
            .replace(r#""engine""#, r#""engine", "device""#);
        let said = hosts(&apart).expect_err("apart");
        assert!(said.contains("no cable may lie between"), "{said}");
        for (text, parsed) in [
            ("[fd00::1]:7500", Some(("[fd00::1]", 7500))),
            ("rack.lab", Some(("rack.lab", 7447))),
            ("fd00::1", None),
        ] {
            let check = Check {
                file: std::path::Path::new("a.toml"),
            };
            let of = address_of(text, &check).ok();
            assert_eq!(of.as_ref().map(|(a, p)| (a.as_str(), *p)), parsed, "{text}");
        }
    }
}
