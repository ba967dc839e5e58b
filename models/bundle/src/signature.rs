//! Who vouches for a bundle: an Ed25519 signature (RFC 8032) over its id, in a file beside its manifest.
//!
//! Decides whether a signature is there, is of this bundle, and is by one of the keys that a cell trusts. The id is the hash of
//! the manifest and the manifest holds the hash of every other file, so that the signature covers all bytes of the bundle.
//! Does not decide which keys are trusted, and keeps no private key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// File of the signature, which the manifest does not list: it is made after it.
pub const SIGNATURE: &str = "bundle.sig";

/// Schema of the file.
const SCHEMA: u32 = 1;

/// What is signed begins with this, so that a signature of something else is none of a bundle.
const PURPOSE: &[u8] = b"tactus bundle 1\n";

/// A longer file is no signature.
const MAX_BYTES: u64 = 4096;

/// Why a bundle is not vouched for.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature.
    #[error("{}: the bundle is not signed: expected a signature by one of the cell's `bundle_signers`", file.display())]
    Unsigned {
        /// File that is not there.
        file: PathBuf,
    },
    /// The file cannot be read, or is not a signature.
    #[error("{}: {reason}", file.display())]
    File {
        /// File.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is another bundle's.
    #[error("{}: it signs another bundle: expected {expected}, got {actual}", file.display())]
    Bundle {
        /// File.
        file: PathBuf,
        /// Id of this bundle.
        expected: String,
        /// Id in the file.
        actual: String,
    },
    /// Nobody trusts its key.
    #[error("{}: it is signed by {actual}, which is none of the cell's `bundle_signers`", file.display())]
    Stranger {
        /// File.
        file: PathBuf,
        /// Key in the file.
        actual: Signer,
    },
    /// The key did not make it.
    #[error("{}: the signature does not belong to its key {signer}", file.display())]
    Forged {
        /// File.
        file: PathBuf,
        /// Key in the file.
        signer: Signer,
    },
    /// The private key is none.
    #[error("expected an Ed25519 private key in PKCS#8: {reason}")]
    Key {
        /// What is wrong with it.
        reason: String,
    },
}

/// A public Ed25519 key; 64 hexadecimal digits as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signer([u8; 32]);

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NoSigner;

impl FromStr for Signer {
    type Err = NoSigner;

    fn from_str(text: &str) -> Result<Self, NoSigner> {
        let bytes = unhex(text).ok_or(NoSigner)?;
        bytes.try_into().map(Self).map_err(|_| NoSigner)
    }
}

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    schema: u32,
    bundle: String,
    signer: String,
    signature: String,
}

/// Signs the bundle of `id` with a private key (PKCS#8, DER); returns the text of [`SIGNATURE`] and who signed.
///
/// # Errors
/// [`SignatureError::Key`].
pub fn sign(id: &str, private_key: &[u8]) -> Result<(String, Signer), SignatureError> {
    let key = |reason: String| SignatureError::Key { reason };
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(private_key);
    let pair = pair.map_err(|e| key(e.to_string()))?;
    let public: [u8; 32] = pair
        .public_key()
        .as_ref()
        .try_into()
        .map_err(|_| key("a public key of 32 bytes".into()))?;
    let signer = Signer(public);
    let text = toml::to_string(&Signature {
        schema: SCHEMA,
        bundle: id.into(),
        signer: signer.to_string(),
        signature: hex(pair.sign(&said(id)).as_ref()),
    });
    Ok((text.map_err(|e| key(e.to_string()))?, signer))
}

/// Who of `trusted` vouches for the bundle of `id` in `dir`.
///
/// # Errors
/// [`SignatureError`] saying why nobody does.
pub fn vouched(dir: &Path, id: &str, trusted: &[Signer]) -> Result<Signer, SignatureError> {
    let file = dir.join(SIGNATURE);
    let wrong = |reason: String| SignatureError::File {
        file: file.clone(),
        reason,
    };
    match std::fs::metadata(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(SignatureError::Unsigned { file });
        }
        Err(e) => return Err(wrong(e.to_string())),
        Ok(about) if about.len() > MAX_BYTES => {
            return Err(wrong(format!(
                "expected at most {MAX_BYTES} bytes, got {}",
                about.len()
            )));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(&file).map_err(|e| wrong(e.to_string()))?;
    let read: Signature = toml::from_str(&text).map_err(|e| wrong(e.message().to_owned()))?;
    if read.schema != SCHEMA {
        return Err(wrong(format!(
            "field `schema`: expected {SCHEMA}, got {}",
            read.schema
        )));
    }
    let signer: Signer = read
        .signer
        .parse()
        .map_err(|e| wrong(format!("field `signer`: {e}")))?;
    let signature = unhex(&read.signature)
        .ok_or_else(|| wrong("field `signature`: expected hexadecimal digits".into()))?;
    if read.bundle != id {
        return Err(SignatureError::Bundle {
            file,
            expected: id.into(),
            actual: read.bundle,
        });
    }
    if !trusted.contains(&signer) {
        return Err(SignatureError::Stranger {
            file,
            actual: signer,
        });
    }
    match UnparsedPublicKey::new(&ED25519, signer.0).verify(&said(id), &signature) {
        Ok(()) => Ok(signer),
        Err(_) => Err(SignatureError::Forged { file, signer }),
    }
}

fn said(id: &str) -> Vec<u8> {
    [PURPOSE, id.as_bytes()].concat()
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes everything.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || digits.len() > 1024 {
        return None;
    }
    let value = |digit: u8| (digit as char).to_digit(16);
    let bytes = digits.chunks_exact(2).map(|pair| {
        let byte = value(pair[0])? << 4 | value(pair[1])?;
        u8::try_from(byte).ok()
    });
    bytes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "7c517854e8ec1790147a201c2d08decd2d2f3d49ef12ae4a901fa8fc95f55006";

    fn key() -> Vec<u8> {
        let random = ring::rand::SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        document.as_ref().to_vec()
    }

    fn signed(id: &str, key: &[u8]) -> (tempfile::TempDir, Signer) {
        let dir = tempfile::tempdir().expect("a folder");
        let (text, signer) = sign(id, key).expect("signed");
        std::fs::write(dir.path().join(SIGNATURE), text).expect("written");
        (dir, signer)
    }

    /// RFC 8032, section 7.1, test 3: the key signs as the standard says.
    #[test]
    fn the_signature_is_the_standard_s() {
        let seed = unhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7");
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed.expect("hex")).expect("a key");
        assert_eq!(
            hex(pair.public_key().as_ref()),
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
        );
        assert_eq!(
            hex(pair.sign(&[0xAF, 0x82]).as_ref()),
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        );
    }

    #[test]
    fn a_signature_counts_for_its_bundle_and_from_who_is_trusted() {
        let (dir, signer) = signed(ID, &key());
        assert_eq!(vouched(dir.path(), ID, &[signer]).expect("vouched"), signer);
        let other = ID.replace('7', "8");
        let error = vouched(dir.path(), &other, &[signer]).expect_err("another bundle");
        assert!(matches!(error, SignatureError::Bundle { .. }), "{error}");
        let (_, stranger) = signed(ID, &key());
        for trusted in [&[stranger][..], &[]] {
            let error = vouched(dir.path(), ID, trusted).expect_err("a stranger");
            assert!(matches!(error, SignatureError::Stranger { .. }), "{error}");
        }
        let empty = tempfile::tempdir().expect("a folder");
        let error = vouched(empty.path(), ID, &[signer]).expect_err("none");
        assert!(matches!(error, SignatureError::Unsigned { .. }), "{error}");
    }

    #[test]
    fn what_was_changed_does_not_count() {
        let (dir, signer) = signed(ID, &key());
        let file = dir.path().join(SIGNATURE);
        let text = std::fs::read_to_string(&file).expect("text");
        let (_, stranger) = signed(ID, &key());
        // The id and the key of somebody else, under the old signature.
        let other = ID.replace('7', "8");
        std::fs::write(&file, text.replace(ID, &other)).expect("written");
        let error = vouched(dir.path(), &other, &[signer]).expect_err("forged");
        assert!(matches!(error, SignatureError::Forged { .. }), "{error}");
        let swapped = text.replace(&signer.to_string(), &stranger.to_string());
        std::fs::write(&file, swapped).expect("written");
        let error = vouched(dir.path(), ID, &[stranger]).expect_err("forged");
        assert!(matches!(error, SignatureError::Forged { .. }), "{error}");
        for broken in [
            "",
            "schema = 1",
            "\u{0}",
            &text.replace("schema = 1", "schema = 2"),
            &text[..text.len() / 2],
        ] {
            std::fs::write(&file, broken).expect("written");
            let error = vouched(dir.path(), ID, &[signer]).expect_err("no signature");
            assert!(matches!(error, SignatureError::File { .. }), "{error}");
        }
        std::fs::write(&file, vec![b'#'; 5000]).expect("written");
        let error = vouched(dir.path(), ID, &[signer]).expect_err("too long");
        assert!(error.to_string().contains("at most 4096"), "{error}");
    }

    #[test]
    fn text_is_a_key_or_none() {
        let (_, signer) = signed(ID, &key());
        assert_eq!(signer.to_string().parse(), Ok(signer));
        for text in ["", "ab", &"g".repeat(64), &"a".repeat(66), "é"] {
            assert_eq!(text.parse::<Signer>(), Err(NoSigner), "{text}");
        }
        assert!(sign(ID, b"no key").is_err());
    }
}
