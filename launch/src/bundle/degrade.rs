//! A copy of a bundle whose weights carry noise: a policy known to be worse, to see that an evaluation finds it.
//!
//! Decides which bytes are weights: every number of the graphs' external data that is a normal single-precision one. Each
//! is multiplied by 1 plus noise, so that none changes its sign often, and zeros stay. Small integers among them read as
//! numbers that are not normal, and stay too. Everything else of the bundle is copied; the manifest gets another name and
//! the new file's hash, so that the copy is a bundle of its own.

use std::path::Path;

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use tactus_bundle::{Bundle, Precision};
use tactus_eval::plan::sha256_hex;

/// Where the exporter puts the weights of all graphs.
const WEIGHTS: &str = "graphs/weights.bin";

/// Writes the copy; says its id.
pub fn degrade(bundle: &Path, out: &Path, noise: f64, seed: u64) -> anyhow::Result<String> {
    if !(noise > 0.0 && noise <= 10.0) {
        bail!("--noise is {noise}; expected above 0 to 10");
    }
    if out.exists() {
        bail!("{} exists already", out.display());
    }
    let original = Bundle::open(bundle)?;
    let manifest = original.manifest();
    if manifest
        .graphs()
        .any(|(_, graph)| graph.precision != Precision::Fp32)
    {
        bail!(
            "{}: its graphs are not all of precision fp32; noise is only put on single-precision weights",
            bundle.display()
        );
    }
    let from = bundle.join(WEIGHTS);
    let mut weights = std::fs::read(&from).with_context(|| format!("{}", from.display()))?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for bytes in weights.chunks_exact_mut(4) {
        let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let deviate: f64 = StandardNormal.sample(&mut rng);
        let noisy = (f64::from(value) * (1.0 + noise * deviate)) as f32;
        if value.is_normal() && noisy.is_finite() {
            bytes.copy_from_slice(&noisy.to_le_bytes());
        }
    }
    let file = bundle.join("bundle.toml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let mut table: toml::Table = text
        .parse()
        .with_context(|| format!("{}", file.display()))?;
    let name = format!(
        "{}, weights with noise {noise} of seed {seed}",
        manifest.name
    );
    table.insert("name".into(), name.into());
    let files = table.get_mut("files").and_then(toml::Value::as_table_mut);
    let files = files.with_context(|| format!("{}: no [files]", file.display()))?;
    files.insert(WEIGHTS.into(), sha256_hex(&weights).into());
    let names: Vec<String> = files.keys().cloned().collect();
    for name in names {
        let to = out.join(&name);
        if let Some(folder) = to.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        }
        if name == WEIGHTS {
            std::fs::write(&to, &weights).with_context(|| format!("{}", to.display()))?;
        } else {
            std::fs::copy(bundle.join(&name), &to).with_context(|| format!("{}", to.display()))?;
        }
    }
    let to = out.join("bundle.toml");
    std::fs::write(&to, toml::to_string(&table)?).with_context(|| format!("{}", to.display()))?;
    let copy = Bundle::open(out)?;
    Ok(format!("{}: bundle {}", out.display(), copy.id()))
}
