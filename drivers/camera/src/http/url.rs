//! Addresses of streams: `http://[user:password@]host[:port]/path`.

use std::fmt;

/// An address of a stream. Shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// Name or address of the host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Path and query, from the slash on.
    path: String,
    /// `user:password`.
    login: Option<String>,
}

/// Why a text is no address of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expected}")]
pub struct NoUrl {
    /// What it should be.
    pub expected: &'static str,
}

impl Url {
    /// The address in `text`.
    ///
    /// # Errors
    /// [`NoUrl`] with what was expected.
    pub fn parse(text: &str) -> Result<Self, NoUrl> {
        let no = |expected| NoUrl { expected };
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(no(
                "http://HOST[:PORT]/PATH (not https: streams are not decrypted here)",
            ));
        };
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(no(
                "an address without spaces or special characters (write them as %20 and so on)",
            ));
        }
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('?') => (&rest[..at], format!("/{}", &rest[at..])),
            Some(at) => (&rest[..at], rest[at..].to_owned()),
            None => (rest, "/".to_owned()),
        };
        let path = path.split('#').next().unwrap_or("/").to_owned();
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login.to_owned()), place),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(v6) => {
                let (host, rest) = v6.split_once(']').ok_or(no("a ] after the address"))?;
                (host, rest.strip_prefix(':'))
            }
            None => match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            },
        };
        if host.is_empty() {
            return Err(no("http://HOST[:PORT]/PATH with a host"));
        }
        let port = match port {
            None => 80,
            Some(port) => port
                .parse()
                .ok()
                .filter(|p| *p > 0)
                .ok_or(no("a port from 1 to 65535"))?,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            path,
            login,
        })
    }

    /// What is sent to the server.
    pub(super) fn request(&self) -> String {
        let login = match &self.login {
            Some(login) => format!("Authorization: Basic {}\r\n", base64(login.as_bytes())),
            None => String::new(),
        };
        format!(
            "GET {} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: tactus\r\nAccept: multipart/x-mixed-replace\r\nConnection: close\r\n{login}\r\n",
            self.path, self.host, self.port
        )
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.path)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 4648, section 4: what Basic authentication needs.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            match digit <= three.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * digit)) as usize & 63].into()),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_without_the_password() {
        let url = Url::parse("http://lab:se:cr@et@cam.local:8080/video?a=b#top").expect("legal");
        assert_eq!((url.host.as_str(), url.port), ("cam.local", 8080));
        assert_eq!(
            format!("{url} {url:?}"),
            "http://cam.local:8080/video?a=b http://cam.local:8080/video?a=b"
        );
        let request = url.request();
        assert!(
            request.starts_with("GET /video?a=b HTTP/1.1\r\nHost: cam.local:8080\r\n"),
            "{request}"
        );
        // `printf lab:se:cr@et | base64`
        assert!(
            request.contains("\r\nAuthorization: Basic bGFiOnNlOmNyQGV0\r\n"),
            "{request}"
        );
        assert!(request.ends_with("\r\n\r\n"));
        let plain = Url::parse("http://10.0.0.7?action=stream").expect("legal");
        assert_eq!((plain.port, plain.path.as_str()), (80, "/?action=stream"));
        assert!(!plain.request().contains("Authorization"));
        let v6 = Url::parse("http://[::1]:81/").expect("legal");
        assert_eq!((v6.host.as_str(), v6.port), ("::1", 81));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (text, wanted) in [
            ("https://cam/", "not https"),
            ("cam/video", "http://HOST"),
            ("http:///video", "with a host"),
            ("http://cam:0/", "a port"),
            ("http://cam:99999/", "a port"),
            ("http://cam/a b", "without spaces"),
            ("http://cam/\r\nX: y", "without spaces"),
            ("http://[::1/", "a ]"),
        ] {
            let error = Url::parse(text).expect_err(text);
            assert!(error.expected.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
