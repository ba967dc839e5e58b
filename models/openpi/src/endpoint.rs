//! Where a remote OpenPI server is: `openpi://host:port`.

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The word before an endpoint.
pub const SCHEME: &str = "openpi://";

impl Endpoint {
    /// Reads `openpi://host:port`; `None` when it is something else. An IPv6 address stands in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.strip_prefix(SCHEME)?.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port > 0)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let legal = |c: char| {
            c.is_ascii_alphanumeric() || "-._".contains(c) || bracketed && "[]:".contains(c)
        };
        (!host.is_empty() && host.chars().all(legal)).then(|| Self {
            host: host.into(),
            port,
        })
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SCHEME}{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let parsed = |text: &str| Endpoint::parse(text).map(|e| (e.host, e.port));
        assert_eq!(
            parsed("openpi://127.0.0.1:8000"),
            Some(("127.0.0.1".into(), 8000))
        );
        assert_eq!(
            parsed("openpi://gpu-3.lab:80"),
            Some(("gpu-3.lab".into(), 80))
        );
        assert_eq!(parsed("openpi://[::1]:80"), Some(("[::1]".into(), 80)));
        for text in [
            "models/demo/bundle",
            "openpi://host",
            "openpi://:80",
            "openpi://host:0",
            "openpi://host:99999",
            "openpi://host/path:80",
            "openpi://user@host:80",
            "ws://host:80",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
