//! A copy of a bundle with other bytes in some of its files: a bundle of its own, whose manifest has their hashes.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use tactus_eval::plan::sha256_hex;

/// Writes the bundle in `from` to `to`, which must not exist, with `changed`, bytes by file, which may be new ones; `edit` changes its manifest.
pub fn copy(
    from: &Path,
    to: &Path,
    changed: &BTreeMap<String, Vec<u8>>,
    edit: impl FnOnce(&mut toml::Table),
) -> anyhow::Result<()> {
    if to.exists() {
        bail!("{} exists already", to.display());
    }
    let file = from.join("bundle.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let mut table: toml::Table = text
        .parse()
        .with_context(|| format!("{}", file.display()))?;
    edit(&mut table);
    let files = table.get_mut("files").and_then(toml::Value::as_table_mut);
    let files = files.with_context(|| format!("{}: no [files]", file.display()))?;
    for (name, bytes) in changed {
        files.insert(name.clone(), sha256_hex(bytes).into());
    }
    for name in files.keys() {
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
    std::fs::write(&to, toml::to_string(&table)?).with_context(|| format!("{}", to.display()))
}
