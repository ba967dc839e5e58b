//! `tactus bundle sign`, and what `inspect` says of a signature.
//!
//! Decides nothing about trust: a signature is only said to be whole, and whose.

use std::path::Path;

use anyhow::Context;
use rcgen::KeyPair;
use tactus_bundle::{AnyBundle, SIGNATURE, SignatureError, signature};

/// Signs the bundle in `dir` with the key in the file `key`; what was done, in one line.
pub fn sign(dir: &Path, key: &Path) -> anyhow::Result<String> {
    let bundle = AnyBundle::open(dir)?;
    let what = || format!("private key {}", key.display());
    let pem = std::fs::read_to_string(key).with_context(what)?;
    let pair = KeyPair::from_pem(&pem).with_context(what)?;
    let (text, signer) = signature::sign(bundle.id(), &pair.serialize_der()).with_context(what)?;
    // As a whole or not at all.
    let (part, file) = (dir.join("bundle.sig.part"), dir.join(SIGNATURE));
    let written = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, &file));
    written.with_context(|| format!("signature {}", file.display()))?;
    Ok(format!(
        "{}: bundle {} signed by {signer}",
        file.display(),
        bundle.id()
    ))
}

/// Who signed the bundle of `id` in `dir`.
pub fn line(dir: &Path, id: &str) -> String {
    // Nobody is trusted here, so that a whole signature is a stranger's.
    match signature::vouched(dir, id, &[]) {
        Err(SignatureError::Unsigned { .. }) => "signed by nobody".into(),
        Err(SignatureError::Stranger { actual, .. }) => {
            match signature::vouched(dir, id, &[actual]) {
                Ok(signer) => format!("signed by {signer}"),
                Err(e) => format!("signature: {e}"),
            }
        }
        Err(e) => format!("signature: {e}"),
        Ok(signer) => format!("signed by {signer}"),
    }
}
