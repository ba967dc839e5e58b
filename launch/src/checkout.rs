//! Where the files of this checkout are, seen from the running program.

use std::path::PathBuf;

use anyhow::Context;

/// The built-in cell's file, found beside the program: `launch/cells/demo.toml` in an ancestor of the executable.
///
/// # Errors
/// When the program does not lie in a checkout.
pub fn demo_cell() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("where this program lies")?;
    exe.ancestors()
        .map(|dir| dir.join("launch/cells/demo.toml"))
        .find(|file| file.is_file())
        .with_context(|| {
            format!(
                "launch/cells/demo.toml is not in any folder above {}: give --cell FILE",
                exe.display()
            )
        })
}
