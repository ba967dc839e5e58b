//! A copy of a bundle with other bytes in some of its files: a bundle of its own, whose manifest has their hashes and is as it was
//! otherwise, in its order.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use tactus_eval::plan::sha256_hex;
use toml_edit::{DocumentMut, Item, Table, value};

/// Writes the bundle in `from` to `to`, which must not exist, with `changed`, bytes by file, which may be new ones; `edit` changes its manifest.
pub fn copy(
    from: &Path,
    to: &Path,
    changed: &BTreeMap<String, Vec<u8>>,
    edit: impl FnOnce(&mut Table),
) -> anyhow::Result<()> {
    if to.exists() {
        bail!("{} exists already", to.display());
    }
    let file = from.join("bundle.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let mut manifest: DocumentMut = text
        .parse()
        .with_context(|| format!("{}", file.display()))?;
    edit(&mut manifest);
    let files = manifest.get_mut("files").and_then(Item::as_table_mut);
    let files = files.with_context(|| format!("{}: no [files]", file.display()))?;
    for (name, bytes) in changed {
        files.insert(name, value(sha256_hex(bytes)));
    }
    files.sort_values();
    for (name, _) in files.iter() {
        let to = to.join(name);
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        }
        match changed.get(name) {
            Some(bytes) => std::fs::write(&to, bytes),
            None => std::fs::copy(from.join(name), &to).map(drop),
        }
        .with_context(|| format!("{}", to.display()))?;
    }
    let to = to.join("bundle.toml");
    std::fs::write(&to, manifest.to_string()).with_context(|| format!("{}", to.display()))
}
