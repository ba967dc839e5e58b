//! Who this process is in its cell, and whether it may listen in the clear.
//!
//! Decides which member of a cell with keys a command runs as: a role as itself, what starts cells as `launch`, and everything
//! that a person types as that operator. Holds what was said on the command line about it, once.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::bail;
use tactus_wire::{Member, Members, Name, Security};

use crate::cell::Cell;

/// What the command line says.
#[derive(Debug, Default)]
pub struct Trust {
    /// Which operator this is.
    pub operator: Option<String>,
    /// Listen in the clear beyond this host.
    pub plain_network: bool,
    /// What is connected to is a router.
    pub router: bool,
}

static TRUST: OnceLock<Trust> = OnceLock::new();
static NONE: Trust = Trust {
    operator: None,
    plain_network: false,
    router: false,
};

/// Keeps what the command line says.
pub fn set(operator: Option<String>, plain_network: bool, router: bool) {
    let _ = TRUST.set(Trust {
        operator,
        plain_network,
        router,
    });
}

/// What it said.
pub fn get() -> &'static Trust {
    TRUST.get().unwrap_or(&NONE)
}

/// What of it the roles that this process starts have to be told.
pub fn passed_on() -> Vec<String> {
    let plain = get().plain_network.then(|| "--plain-network".to_owned());
    plain.into_iter().collect()
}

/// What this process brings along to `cell`; `source` is what it calls itself in messages.
///
/// # Errors
/// Where the cell has keys, and it is not clear which of them are this process's.
pub fn security(cell: &Cell, source: &str) -> anyhow::Result<Option<Security>> {
    let (Some(members), Some(security)) = (cell.members(), &cell.security) else {
        if get().operator.is_some() {
            bail!(
                "--operator: expected a cell with keys, and {} has no [security]",
                cell.file.display()
            );
        }
        return Ok(None);
    };
    let member = match source.split('/').next() {
        Some("arm") => Member::Arm,
        Some("device") => Member::Device,
        Some("engine") => Member::Engine,
        Some("camera") => Member::Camera,
        Some("record") => Member::Record,
        Some("ros") => Member::Ros,
        Some("run" | "demo" | "eval" | "drill" | "bench") => Member::Launch,
        _ => operator(&members, &security.keys, get().operator.as_deref())?,
    };
    Ok(Some(Security {
        member,
        members,
        keys: security.keys.clone(),
    }))
}

/// The operator called `asked`, or the only one whose key is in `keys`.
fn operator(members: &Members, keys: &Path, asked: Option<&str>) -> anyhow::Result<Member> {
    let list = |names: &[&Name]| {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        names.join(", ")
    };
    let all: Vec<&Name> = members.operators.iter().collect();
    if let Some(asked) = asked {
        return match all.iter().find(|name| name.as_str() == asked) {
            Some(name) => Ok(Member::Operator((*name).clone())),
            None => bail!(
                "--operator: expected one of the cell's ({}), got `{asked}`",
                list(&all)
            ),
        };
    }
    let here = |name: &&&Name| {
        let member = Member::Operator((**name).clone());
        Security::key(keys, &members.who(&member)).exists()
    };
    let here: Vec<&Name> = all.iter().filter(here).copied().collect();
    match here.as_slice() {
        [one] => Ok(Member::Operator((*one).clone())),
        [] => bail!(
            "{}: no key of an operator of this cell ({}) is here",
            keys.display(),
            list(&all)
        ),
        several => bail!(
            "--operator: say who you are: the keys of {} are here",
            list(several)
        ),
    }
}

/// Lets Zenoh read from and write to encrypted links on one thread; to be called before the first session is opened.
///
/// Its TLS link hands one connection to a task that reads and one that writes, unguarded (zenoh-link-tls 1.10.2,
/// `LinkUnicastTls::get_mut_socket`), and each has a thread of its own by default: under load the connection breaks with
/// "handshake not complete", and peers that lost each other do not meet again. Tasks of one thread take turns.
pub fn take_turns() {
    static TAKEN: std::sync::Once = std::sync::Once::new();
    TAKEN.call_once(take_turns_once);
}

fn take_turns_once() {
    // SAFETY: besides this thread there is at most the one that waits for signals, and it reads no environment.
    unsafe {
        std::env::set_var(
            "ZENOH_RUNTIME",
            "(rx: (handover: app), tx: (handover: app))",
        )
    };
}

#[cfg(test)]
mod tests {
    use tactus_wire::Cell as WireCell;

    use super::*;

    fn members(operators: &[&str]) -> Members {
        let name = |text: &str| Name::new(text).expect("legal");
        Members {
            cell: WireCell::new("lab").expect("legal"),
            arm: name("a"),
            device: name("d"),
            engine: name("e"),
            cameras: vec![],
            operators: operators.iter().map(|text| name(text)).collect(),
        }
    }

    #[test]
    fn who_has_the_only_key_need_not_say_who_it_is() {
        let keys = tempfile::tempdir().expect("a folder");
        let members = members(&["anna", "ben"]);
        let as_whom = |asked| {
            let member = operator(&members, keys.path(), asked);
            member
                .map(|m| members.who(&m))
                .map_err(|e| format!("{e:#}"))
        };
        let none = as_whom(None).expect_err("no key");
        assert!(none.contains("no key of an operator"), "{none}");
        std::fs::write(keys.path().join("operator-ben.key"), "").expect("written");
        assert_eq!(as_whom(None), Ok("operator-ben".into()));
        std::fs::write(keys.path().join("operator-anna.key"), "").expect("written");
        let two = as_whom(None).expect_err("which one");
        assert!(two.contains("anna, ben"), "{two}");
        assert_eq!(as_whom(Some("anna")), Ok("operator-anna".into()));
        let eve = as_whom(Some("eve")).expect_err("not of this cell");
        assert!(eve.contains("got `eve`"), "{eve}");
    }
}
