//! `[security]`: the cell's keys, and who may command beside its own processes.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tactus_wire::Name;

use super::{CellError, Check};

/// Longest name of an operator, bytes: it stands in keys and certificates behind a word.
const MAX_OPERATOR_BYTES: usize = 40;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSecurity {
    keys: PathBuf,
    #[serde(default)]
    operators: Vec<String>,
}

/// The keys of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellSecurity {
    /// Folder of `tactus keys init`, or the part of it that this host needs.
    pub keys: PathBuf,
    /// Who may command.
    pub operators: Vec<Name>,
}

impl RawSecurity {
    /// `directory` is what its paths are relative to.
    pub(super) fn read(
        self,
        check: &Check<'_>,
        directory: &Path,
    ) -> Result<CellSecurity, CellError> {
        let mut operators: Vec<Name> = Vec::new();
        for name in &self.operators {
            let name = check.name("security.operators", name)?;
            let field = "security.operators";
            if name.as_str().len() > MAX_OPERATOR_BYTES {
                let expected = format!("names of at most {MAX_OPERATOR_BYTES} characters");
                return Err(check.error(field, &expected, name));
            }
            if operators.contains(&name) {
                return Err(check.error(field, "each name once", format!("`{name}` twice")));
            }
            operators.push(name);
        }
        Ok(CellSecurity {
            keys: directory.join(self.keys),
            operators,
        })
    }
}
