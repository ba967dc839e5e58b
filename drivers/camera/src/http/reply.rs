//! What a server replies, byte by byte: a head, a body that may come in chunks, and in it one image after the other.
//!
//! Sources: RFC 9112 (head, chunks), RFC 2046 section 5.1 (multipart). Servers are lenient with dashes of the boundary and
//! with lengths, so this is too; sizes are limited.

use tactus_types::Time;

/// Longest head of the reply or of a part, bytes.
const MAX_HEAD: usize = 16 << 10;
/// Largest image, bytes: the wire's.
const MAX_IMAGE: usize = 16 << 20;

/// Why a reply is no stream of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {actual}")]
pub struct NoStream {
    /// What it should be.
    pub expected: &'static str,
    /// What it is.
    pub actual: String,
    /// Asking again cannot help.
    pub wrong: bool,
}

fn no(expected: &'static str, actual: impl Into<String>, wrong: bool) -> NoStream {
    NoStream {
        expected,
        actual: actual.into(),
        wrong,
    }
}

/// A reply as far as it has come.
#[derive(Debug, Clone)]
pub struct Reply {
    framing: Framing,
    /// Of the reply: its head, then what is left of its chunks.
    raw: Vec<u8>,
    /// Of the body: what was not taken out yet.
    body: Vec<u8>,
    boundary: Vec<u8>,
    part: Part,
    /// When the last bytes came.
    now: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Head,
    Plain,
    /// So many bytes of the present chunk are to come, with the end of its line.
    Chunked {
        left: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before a boundary.
    Boundary,
    /// Its head.
    Head,
    /// Its image, whose first byte came then.
    Image {
        length: Option<usize>,
        since: Option<Time>,
        /// So far no boundary was found.
        searched: usize,
    },
}

impl Default for Reply {
    fn default() -> Self {
        Self::new()
    }
}

impl Reply {
    /// Nothing has come.
    pub fn new() -> Self {
        Self {
            framing: Framing::Head,
            raw: Vec::new(),
            body: Vec::new(),
            boundary: Vec::new(),
            part: Part::Boundary,
            now: Time::ZERO,
        }
    }

    /// `bytes` came at `now`.
    ///
    /// # Errors
    /// [`NoStream`] when this is no stream of images.
    pub fn push(&mut self, bytes: &[u8], now: Time) -> Result<(), NoStream> {
        self.now = now;
        if self.framing == Framing::Plain {
            self.body.extend_from_slice(bytes);
        } else {
            self.raw.extend_from_slice(bytes);
            if self.framing == Framing::Head {
                self.head()?;
            }
            self.unchunk()?;
        }
        if self.body.len() > MAX_IMAGE + MAX_HEAD {
            return Err(no("images of at most 16 MiB", "a larger one", true));
        }
        Ok(())
    }

    fn head(&mut self) -> Result<(), NoStream> {
        let Some(end) = find(&self.raw, b"\r\n\r\n") else {
            if self.raw.len() > MAX_HEAD {
                return Err(no("a reply's head of at most 16 KiB", "a longer one", true));
            }
            return Ok(());
        };
        let head = String::from_utf8_lossy(&self.raw[..end]).into_owned();
        self.raw.drain(..end + 4);
        let mut lines = head.lines();
        let status = lines.next().unwrap_or_default();
        let mut words = status.split_whitespace();
        let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
        match words.next() {
            Some("200") if is_http => {}
            Some("401") if is_http => {
                let expected = "the reply 200; user and password go into the URL, and only Basic authentication is spoken";
                return Err(no(expected, status, true));
            }
            // A server of 5xx, or 4xx while it starts, may come round.
            _ => return Err(no("the reply 200", shortened(status), false)),
        }
        let fields: Vec<(&str, &str)> = lines.filter_map(field).collect();
        let value = |name: &str| {
            fields
                .iter()
                .find(|(n, _)| n.eq_ignore_ascii_case(name))
                .map(|(_, v)| *v)
        };
        let kind = value("content-type").unwrap_or_default();
        if !kind.to_ascii_lowercase().starts_with("multipart/") {
            let expected = "a stream of images (multipart/x-mixed-replace)";
            return Err(no(
                expected,
                format!("content type `{}`", shortened(kind)),
                true,
            ));
        }
        let boundary = kind.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("boundary")
                .then(|| value.trim().trim_matches('"'))
        });
        // Some servers count the dashes that lead the boundary to it, some do not.
        let boundary = boundary.unwrap_or_default().trim_start_matches('-');
        if boundary.is_empty() || boundary.len() > 200 {
            let actual = format!("content type `{}`", shortened(kind));
            return Err(no("a boundary between the images", actual, true));
        }
        self.boundary = [b"--", boundary.as_bytes()].concat();
        let chunked = value("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        self.framing = match chunked {
            true => Framing::Chunked { left: 0 },
            false => {
                self.body.append(&mut self.raw);
                Framing::Plain
            }
        };
        Ok(())
    }

    /// Takes whole chunks, and what has come of the last one, out of `raw`.
    fn unchunk(&mut self) -> Result<(), NoStream> {
        let mut at = 0;
        while let Framing::Chunked { left } = &mut self.framing {
            if *left > 0 {
                // The last two bytes are the end of the line.
                let there = self.raw.len() - at;
                let take = (*left).min(there);
                let data = take.min(left.saturating_sub(2));
                self.body.extend_from_slice(&self.raw[at..at + data]);
                at += take;
                *left -= take;
                if *left > 0 {
                    break;
                }
            }
            let Some(line) = find(&self.raw[at..], b"\r\n") else {
                if self.raw.len() - at > 1024 {
                    return Err(no("a chunk's length", "something else", false));
                }
                break;
            };
            let text = String::from_utf8_lossy(&self.raw[at..at + line]).into_owned();
            let digits = text.split(';').next().unwrap_or_default().trim();
            match usize::from_str_radix(digits, 16) {
                Ok(0) => return Err(no("a further image", "the end of the stream", false)),
                Ok(length) if length <= MAX_IMAGE => *left = length + 2,
                _ => return Err(no("a chunk's length", shortened(&text), false)),
            }
            at += line + 2;
        }
        if !matches!(self.framing, Framing::Head) {
            self.raw.drain(..at);
        }
        Ok(())
    }

    /// The next image that is there as a whole, and when its first byte came.
    ///
    /// # Errors
    /// [`NoStream`] when this is no stream of images.
    pub fn image(&mut self) -> Result<Option<(Vec<u8>, Time)>, NoStream> {
        if self.boundary.is_empty() {
            return Ok(None);
        }
        loop {
            match self.part {
                Part::Boundary => {
                    let Some(at) = find(&self.body, &self.boundary) else {
                        // Keep what may be the beginning of one.
                        let keep = self.body.len().saturating_sub(self.boundary.len());
                        self.body.drain(..keep);
                        return Ok(None);
                    };
                    self.body.drain(..at + self.boundary.len());
                    self.part = Part::Head;
                }
                Part::Head => {
                    let Some(end) = find(&self.body, b"\r\n\r\n") else {
                        if self.body.len() > MAX_HEAD {
                            return Err(no(
                                "an image's head of at most 16 KiB",
                                "a longer one",
                                false,
                            ));
                        }
                        return Ok(None);
                    };
                    let head = String::from_utf8_lossy(&self.body[..end]).into_owned();
                    let length = head
                        .lines()
                        .filter_map(field)
                        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
                        .and_then(|(_, value)| value.parse().ok());
                    if length.is_some_and(|l| l > MAX_IMAGE) {
                        return Err(no("images of at most 16 MiB", "a larger one", true));
                    }
                    self.body.drain(..end + 4);
                    self.part = Part::Image {
                        length,
                        since: None,
                        searched: 0,
                    };
                }
                Part::Image {
                    length,
                    since,
                    searched,
                } => {
                    if self.body.is_empty() {
                        return Ok(None);
                    }
                    let since = since.unwrap_or(self.now);
                    let end = match length {
                        Some(length) => (self.body.len() >= length).then_some(length),
                        None => {
                            find(&self.body[searched..], &self.boundary).map(|at| searched + at)
                        }
                    };
                    let Some(end) = end else {
                        self.part = Part::Image {
                            length,
                            since: Some(since),
                            searched: self.body.len().saturating_sub(self.boundary.len()),
                        };
                        return Ok(None);
                    };
                    let rest = self.body.split_off(end);
                    let mut image = std::mem::replace(&mut self.body, rest);
                    self.part = Part::Boundary;
                    if length.is_none() && image.ends_with(b"\r\n") {
                        image.truncate(image.len() - 2);
                    }
                    return Ok(Some((image, since)));
                }
            }
        }
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let first = *what.first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|b| *b == first)?;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
}

fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    Some((name.trim(), value.trim()))
}

fn shortened(text: &str) -> String {
    match text.is_empty() {
        true => "nothing".into(),
        false => text.chars().filter(|c| !c.is_control()).take(80).collect(),
    }
}
