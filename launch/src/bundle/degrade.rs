//! A copy of a bundle whose weights carry noise: a policy known to be worse, to see that an evaluation finds it.
//!
//! Decides which bytes are weights: every number of the graphs' external data that is a normal single-precision one. Each
//! is multiplied by 1 plus noise, so that none changes its sign often, and zeros stay. Small integers among them read as
//! numbers that are not normal, and stay too. The copy has another name, and so is a bundle of its own.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use tactus_bundle::{Bundle, Precision};

use super::copy::copy;

/// Where the exporter puts the weights of all graphs.
const WEIGHTS: &str = "graphs/weights.bin";

/// Writes the copy; says its id.
pub fn degrade(bundle: &Path, out: &Path, noise: f64, seed: u64) -> anyhow::Result<String> {
    if !(noise > 0.0 && noise <= 10.0) {
        bail!("--noise is {noise}; expected above 0 to 10");
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
    let name = format!(
        "{}, weights with noise {noise} of seed {seed}",
        manifest.name
    );
    let changed = BTreeMap::from([(WEIGHTS.to_owned(), weights)]);
    copy(bundle, out, &changed, |manifest| {
        manifest.insert("name", toml_edit::value(name));
    })?;
    let copy = Bundle::open(out)?;
    Ok(format!("{}: bundle {}", out.display(), copy.id()))
}
