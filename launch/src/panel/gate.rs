//! Who may see the panel, and who may act on it. Pure: from a request's headers to a verdict.
//!
//! On loopback nobody is asked who they are, but a page of another site must not reach the panel through the operator's
//! browser: the `Host` has to be the loopback's name (a name that was rebound to 127.0.0.1 is refused) and an `Origin`, which
//! browsers send with every websocket and every `POST`, has to be the panel itself. Anywhere else a token is required, one to
//! watch and one to act.

use std::fmt::Write as _;

use anyhow::Context;
use rand::TryRngCore;

/// What a request says of where it comes from and who sends it.
#[derive(Debug, Clone, Default)]
pub struct Asking<'a> {
    /// Header `Host`.
    pub host: Option<&'a str>,
    /// Header `Origin`.
    pub origin: Option<&'a str>,
    /// Header `Authorization`.
    pub authorization: Option<&'a str>,
    /// Header `Cookie`.
    pub cookie: Option<&'a str>,
    /// What follows `?` in the address.
    pub query: Option<&'a str>,
}

/// What whoever asks may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Watch.
    See,
    /// Give orders too.
    Act,
}

/// Why nobody is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address was reached under a name that is not the panel's.
    #[error("this panel is reached as 127.0.0.1, localhost or [::1] only")]
    Host,
    /// Another site's page asks.
    #[error("a page of another origin may not use this panel")]
    Origin,
    /// No token, or a wrong one.
    #[error("a token is required: open the address that `tactus panel` printed")]
    Token,
}

/// What opens the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// To watch.
    pub see: String,
    /// To act.
    pub act: String,
}

impl Tokens {
    /// Two of 128 random bits.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn draw() -> anyhow::Result<Self> {
        let token = || -> anyhow::Result<String> {
            let mut bytes = [0_u8; 16];
            let drawn = rand::rngs::OsRng.try_fill_bytes(&mut bytes);
            drawn.context("random numbers for a token")?;
            Ok(bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }))
        };
        Ok(Self {
            see: token()?,
            act: token()?,
        })
    }
}

/// The rules of one panel.
#[derive(Debug, Clone)]
pub struct Gate {
    tokens: Option<Tokens>,
    cookie: String,
    view_only: bool,
    apps: bool,
}

impl Gate {
    /// Of a panel on `port`; without tokens it is for loopback. With `view_only` nobody may act.
    pub fn new(tokens: Option<Tokens>, port: u16, view_only: bool) -> Self {
        Self {
            tokens,
            // Browsers keep cookies per host, not per port: two panels have two.
            cookie: format!("tactus-panel-{port}"),
            view_only,
            apps: false,
        }
    }

    /// Also lets in what Foxglove's own app sends for an `Origin`, in a browser or on the desktop.
    pub fn and_foxglove(mut self) -> Self {
        self.apps = true;
        self
    }

    /// What whoever sends `asking` may do.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn access(&self, asking: &Asking<'_>) -> Result<Access, Refused> {
        if self.tokens.is_none() && !asking.host.is_some_and(is_loopback) {
            return Err(Refused::Host);
        }
        if let Some(origin) = asking.origin {
            let from = origin.split_once("://").map(|(_, authority)| authority);
            let own = from.is_some() && from == asking.host;
            if !(own || self.apps && is_foxglove(origin)) {
                return Err(Refused::Origin);
            }
        }
        let access = match &self.tokens {
            None => Access::Act,
            Some(tokens) => {
                let given = self.given(asking).ok_or(Refused::Token)?;
                // Both are compared, whichever it is.
                match (same(given, &tokens.act), same(given, &tokens.see)) {
                    (true, _) => Access::Act,
                    (false, true) => Access::See,
                    (false, false) => return Err(Refused::Token),
                }
            }
        };
        Ok(match self.view_only {
            true => Access::See,
            false => access,
        })
    }

    /// The cookie that replaces a token in the address, so that it stays in no history; `None` where none is given there.
    pub fn cookie_for(&self, asking: &Asking<'_>) -> Option<String> {
        self.tokens.as_ref()?;
        let token = query_token(asking.query?)?;
        Some(format!(
            "{}={token}; HttpOnly; SameSite=Strict; Path=/",
            self.cookie
        ))
    }

    fn given<'a>(&self, asking: &Asking<'a>) -> Option<&'a str> {
        let bearer = asking.authorization.and_then(|a| a.strip_prefix("Bearer "));
        let cookie = || {
            let mut pairs = asking.cookie?.split(';').filter_map(|c| c.split_once('='));
            pairs
                .find(|(name, _)| name.trim() == self.cookie)
                .map(|(_, value)| value.trim())
        };
        bearer
            .or_else(|| asking.query.and_then(query_token))
            .or_else(cookie)
    }
}

/// Letters and digits only: it goes into a header.
fn query_token(query: &str) -> Option<&str> {
    let token = query.split('&').find_map(|p| p.strip_prefix("token="))?;
    token
        .bytes()
        .all(|b| b.is_ascii_alphanumeric())
        .then_some(token)
}

/// Foxglove in a browser, or a program that is no web page: a desktop app shows pages of its own.
fn is_foxglove(origin: &str) -> bool {
    match origin.split_once("://") {
        Some(("https", host)) => host.ends_with(".foxglove.dev"),
        Some((scheme, _)) => scheme != "http",
        None => false,
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    matches!(name, "127.0.0.1" | "localhost" | "::1")
}

/// Whether two texts are the same, in a time that does not say how much of them is.
fn same(given: &str, token: &str) -> bool {
    given.len() == token.len()
        && given
            .bytes()
            .zip(token.bytes())
            .fold(0, |differ, (a, b)| differ | (a ^ b))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Tokens {
        Tokens {
            see: "5ee5ee".into(),
            act: "ac7ac7".into(),
        }
    }

    fn at<'a>(host: &'a str) -> Asking<'a> {
        Asking {
            host: Some(host),
            ..Asking::default()
        }
    }

    #[test]
    fn on_loopback_only_the_loopbacks_own_names_are_answered() {
        let gate = Gate::new(None, 7470, false);
        for host in [
            "127.0.0.1:7470",
            "localhost:9000",
            "localhost",
            "[::1]:7470",
        ] {
            assert_eq!(gate.access(&at(host)), Ok(Access::Act), "{host}");
        }
        for host in [
            "evil.example:7470",
            "127.0.0.1.evil.example",
            "10.0.0.2:7470",
            "",
        ] {
            assert_eq!(gate.access(&at(host)), Err(Refused::Host), "{host}");
        }
        assert_eq!(gate.access(&Asking::default()), Err(Refused::Host));
    }

    #[test]
    fn another_sites_page_is_refused_even_with_the_cookie_and_our_own_is_not() {
        let from = |origin| Asking {
            origin: Some(origin),
            cookie: Some("tactus-panel-7470=ac7ac7"),
            ..at("127.0.0.1:7470")
        };
        for gate in [
            Gate::new(None, 7470, false),
            Gate::new(Some(tokens()), 7470, false),
        ] {
            let own = gate.access(&from("http://127.0.0.1:7470"));
            assert_eq!(own, Ok(Access::Act));
            for origin in [
                "http://evil.example",
                "null",
                "http://127.0.0.1:8080",
                "http://127.0.0.1:7470.evil.example",
                "127.0.0.1:7470",
            ] {
                assert_eq!(gate.access(&from(origin)), Err(Refused::Origin), "{origin}");
            }
        }
    }

    #[test]
    fn where_foxglove_is_served_its_app_is_let_in_and_no_other_page() {
        let gate = Gate::new(None, 8765, true).and_foxglove();
        let from = |origin| Asking {
            origin: Some(origin),
            ..at("127.0.0.1:8765")
        };
        for origin in ["https://app.foxglove.dev", "file://", "app://foxglove"] {
            assert_eq!(gate.access(&from(origin)), Ok(Access::See), "{origin}");
            let panel = Gate::new(None, 7470, false);
            assert_eq!(
                panel.access(&from(origin)),
                Err(Refused::Origin),
                "{origin}"
            );
        }
        for origin in [
            "https://evil.example",
            "http://app.foxglove.dev",
            "https://app.foxglove.dev.evil.example",
            "https://evilfoxglove.dev",
            "null",
        ] {
            assert_eq!(gate.access(&from(origin)), Err(Refused::Origin), "{origin}");
        }
    }

    #[test]
    fn a_token_is_taken_from_address_header_or_cookie_and_says_what_one_may() {
        let gate = Gate::new(Some(tokens()), 7470, false);
        let query = |query| Asking {
            query: Some(query),
            ..at("robot:7470")
        };
        let header = |authorization| Asking {
            authorization: Some(authorization),
            ..at("robot:7470")
        };
        let cookie = |cookie| Asking {
            cookie: Some(cookie),
            ..at("robot:7470")
        };
        for (asking, access) in [
            (query("token=ac7ac7"), Ok(Access::Act)),
            (query("a=b&token=5ee5ee"), Ok(Access::See)),
            (header("Bearer ac7ac7"), Ok(Access::Act)),
            (cookie("x=1; tactus-panel-7470=5ee5ee"), Ok(Access::See)),
            (cookie("tactus-panel-7471=ac7ac7"), Err(Refused::Token)),
            (query("token=ac7ac8"), Err(Refused::Token)),
            (query("token="), Err(Refused::Token)),
            (query("token=ac7ac7ac7ac7"), Err(Refused::Token)),
            (header("ac7ac7"), Err(Refused::Token)),
            (at("robot:7470"), Err(Refused::Token)),
        ] {
            assert_eq!(gate.access(&asking), access, "{asking:?}");
        }
        let watching = Gate::new(Some(tokens()), 7470, true);
        assert_eq!(watching.access(&query("token=ac7ac7")), Ok(Access::See));
    }

    #[test]
    fn a_cookie_carries_nothing_that_could_end_a_header() {
        let gate = Gate::new(Some(tokens()), 7470, false);
        let asking = |query| Asking {
            query: Some(query),
            ..Asking::default()
        };
        assert_eq!(gate.cookie_for(&asking("token=a%0d%0aX:1")), None);
        assert_eq!(gate.cookie_for(&asking("token=a;b")), None);
        let cookie = gate.cookie_for(&asking("token=ac7ac7")).expect("one");
        assert!(cookie.starts_with("tactus-panel-7470=ac7ac7; HttpOnly; SameSite=Strict"));
    }

    #[test]
    fn tokens_are_long_and_differ() {
        let (a, b) = (
            Tokens::draw().expect("drawn"),
            Tokens::draw().expect("drawn"),
        );
        assert_eq!((a.see.len(), a.act.len()), (32, 32));
        assert!(a.see != a.act && a.act != b.act);
    }
}
