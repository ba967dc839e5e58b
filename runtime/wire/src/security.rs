//! A session whose both ends show certificates, and that takes from each other process only what it may say.
//!
//! Decides how certificates and the table of [`crate::members`] become Zenoh's configuration: TLS in both directions, no
//! other link, nothing by default, and per certificate the acts of its member. Access is judged where something comes *in*,
//! in every process by itself, so that no router and no peer has to be trusted with it. The name of the machine behind an
//! address is not checked: a cell's members are known by the names in their certificates, wherever they run.
//!
//! Zenoh's TLS link (1.10.2) lets two threads use one connection unguarded, and breaks under load: a program that opens such a
//! session first has it read and write on one (`ZENOH_RUNTIME="(rx: (handover: app), tx: (handover: app))"`; `tactus` does).
//!
//! Reads no file: Zenoh does. Whether they are there, and readable by nobody else, is asked before.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{Act, Member, Members, Name, SessionError};

/// The endpoint that a process with a certificate listens on unless it is told otherwise.
pub const LOOPBACK: &str = "tls/127.0.0.1:0";

/// What a process of a cell with keys brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Security {
    /// What it is.
    pub member: Member,
    /// Who belongs to the cell.
    pub members: Members,
    /// Folder with `ca.pem`, and `<who>.pem` and `<who>.key` of this member.
    pub keys: PathBuf,
}

impl Security {
    /// Certificate of the cell's authority in `keys`.
    pub fn authority(keys: &Path) -> PathBuf {
        keys.join("ca.pem")
    }

    /// Certificate of `who` in `keys`.
    pub fn certificate(keys: &Path, who: &str) -> PathBuf {
        keys.join(format!("{who}.pem"))
    }

    /// Private key of `who` in `keys`.
    pub fn key(keys: &Path, who: &str) -> PathBuf {
        keys.join(format!("{who}.key"))
    }

    /// Who this process is on the wire.
    ///
    /// # Errors
    /// [`SessionError::Option`] for a name that keys cannot hold.
    pub fn who(&self) -> Result<Name, SessionError> {
        let who = self.members.who(&self.member);
        Name::new(&who).map_err(|e| SessionError::Option {
            field: "security",
            expected: "a name of a member that fits into a key".into(),
            actual: e.to_string(),
        })
    }

    /// Whether files that this member needs are there, and its private key is for its owner only.
    ///
    /// # Errors
    /// [`SessionError::Option`] naming the file.
    pub fn check(&self) -> Result<(), SessionError> {
        use std::os::unix::fs::PermissionsExt;
        let who = self.members.who(&self.member);
        let key = Self::key(&self.keys, &who);
        let wrong = |expected: &str, actual: String| SessionError::Option {
            field: "security.keys",
            expected: expected.into(),
            actual,
        };
        let certificate = Self::certificate(&self.keys, &who);
        for file in [&Self::authority(&self.keys), &certificate, &key] {
            if let Err(e) = std::fs::File::open(file) {
                let actual = format!("{}: {e}", file.display());
                return Err(wrong("files of `tactus keys init`", actual));
            }
        }
        let mode = std::fs::metadata(&key).map_or(0, |m| m.permissions().mode());
        if mode & 0o077 != 0 {
            let actual = format!("{}: mode {:o}", key.display(), mode & 0o777);
            return Err(wrong(
                "a private key that only its owner can read (600)",
                actual,
            ));
        }
        Ok(())
    }

    /// Zenoh's `transport.link`, besides its queues.
    pub(crate) fn link(&self) -> Value {
        let who = self.members.who(&self.member);
        let certificate = Self::certificate(&self.keys, &who);
        let key = Self::key(&self.keys, &who);
        json!({
            "root_ca_certificate": Self::authority(&self.keys),
            "listen_certificate": certificate,
            "listen_private_key": key,
            "connect_certificate": certificate,
            "connect_private_key": key,
            "enable_mtls": true,
            "verify_name_on_connect": false,
            "close_link_on_expiration": true,
        })
    }

    /// Zenoh's `access_control`.
    pub(crate) fn access(&self) -> Value {
        let everyone = self.members.all();
        let mut rules = vec![json!({
            "id": "out",
            "permission": "allow",
            "flows": ["egress"],
            "messages": Act::ALL.iter().flat_map(|act| words(*act)).collect::<Vec<_>>(),
            "key_exprs": ["**"],
        })];
        let mut subjects = Vec::new();
        let mut policies = Vec::new();
        for member in &everyone {
            let who = self.members.who(member);
            let mut own = vec!["out".to_owned()];
            for act in Act::ALL {
                let keys = self.members.may(member, act);
                if keys.is_empty() {
                    continue;
                }
                let id = format!("{who} {act:?}");
                rules.push(json!({
                    "id": id,
                    "permission": "allow",
                    "flows": ["ingress"],
                    "messages": words(act),
                    "key_exprs": keys.iter().map(|key| key.as_str()).collect::<Vec<_>>(),
                }));
                own.push(id);
            }
            subjects.push(json!({
                "id": who,
                "cert_common_names": [self.members.common_name(member)],
            }));
            policies.push(json!({ "rules": own, "subjects": [who] }));
        }
        json!({
            "enabled": true,
            "default_permission": "deny",
            "rules": rules,
            "subjects": subjects,
            "policies": policies,
        })
    }
}

/// Zenoh's words for an act.
fn words(act: Act) -> &'static [&'static str] {
    match act {
        Act::Put => &["put", "delete"],
        Act::Query => &["query"],
        Act::Answer => &["declare_queryable", "reply"],
        Act::Live => &["liveliness_token"],
        Act::Listen => &[
            "declare_subscriber",
            "liveliness_query",
            "declare_liveliness_subscriber",
        ],
    }
}
