//! `tactus bundle wrap`: from an ONNX file that anybody exported to a bundle.
//!
//! Decides from where things are known (the package, the map, `--set`, the cell) and asks at a terminal for what is not; what
//! can be inferred is `tactus-direct`'s to say.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use tactus_direct::wrap::{
    Contents, FeatureStats, Known, Map, Mapping, Package, Question, Resolved, Scan, infer,
    map::merge, write,
};
use tactus_sim::scene::PICTURE_SIZE;
use tactus_vla::RunOptions;

use crate::cell;
use crate::cli::WrapArgs;

/// Wraps; says what was taken and where the bundle is.
pub fn wrap(args: &WrapArgs, options: &RunOptions) -> anyhow::Result<String> {
    let package = match args.file.is_dir() {
        false => None,
        true if Package::is(&args.file) => Some(Package::read(&args.file)?),
        true => bail!(
            "{}: expected an ONNX file, or the folder of a `policy_package` with a manifest.json",
            args.file.display()
        ),
    };
    let file = package
        .as_ref()
        .map_or(&args.file, |package| &package.graph);
    let scan = Scan::of(file)?;
    for beside in scan.beside(file) {
        if !beside.is_file() {
            bail!(
                "{}: its weights are in {}, which is not there",
                file.display(),
                beside.display()
            );
        }
    }
    let session = write::look(file, options)?;
    let stats = args
        .stats
        .as_ref()
        .or(package.as_ref().and_then(|p| p.stats.as_ref()));
    let stats = stats.map(|file| FeatureStats::read(file)).transpose()?;
    let (cameras, joints) = match &args.cell {
        Some(file) => of_cell(file)?,
        None => (vec![], vec![]),
    };
    let stem = args
        .file
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned());
    let known = Known {
        inputs: session.inputs(),
        outputs: session.outputs(),
        stats: stats.as_ref(),
        cameras: &cameras,
        joints: &joints,
        package: package.as_ref(),
        stem: stem.as_deref().unwrap_or("policy"),
    };
    let mut says = package.as_ref().map(|p| p.says.clone()).unwrap_or_default();
    if let Some(file) = &args.map {
        let text = std::fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        let table = text
            .parse()
            .with_context(|| format!("{}", file.display()))?;
        merge(&mut says, table);
    }
    for text in &args.set {
        let line = line(text).with_context(|| {
            format!("--set {text:?}: expected a line of a map, as `period_s = 0.05`")
        })?;
        merge(&mut says, line);
    }
    let mapping = resolved(&known, says)?;
    let mut page = String::from("what was taken:\n");
    let contents = Contents {
        graph: file,
        scan: &scan,
        golden: &args.golden,
        out: &args.out,
    };
    for [what, why] in &mapping.notes {
        page += &format!("  {what}  ({why})\n");
    }
    let bundle = write(mapping, &contents, session, options)?;
    page += &format!(
        "{}: bundle {}, opened and run once",
        args.out.display(),
        bundle.id()
    );
    Ok(page)
}

type OfCell = (Vec<(String, Option<[usize; 2]>)>, Vec<String>);

/// Cameras of the cell with the size of their pictures, and the joints of its arm where the file alone says them; of two arms the
/// joints and grippers of both, as a policy of them calls them.
fn of_cell(file: &Path) -> anyhow::Result<OfCell> {
    let cells = cell::load_arms(file)?;
    let cell = cell::load_any(file)?;
    let camera = |camera: &cell::CellCamera| {
        let real = camera.real.as_ref().map(|real| {
            let (width, height) = real.published_size();
            [width as usize, height as usize]
        });
        let simulated = cell.sim.map(|_| [PICTURE_SIZE; 2]);
        (camera.name.to_string(), real.or(simulated))
    };
    let mut joints = Vec::new();
    for cell in cells.iter().filter(|cell| cell.sim.is_some()) {
        let info = tactus_sim::arm_info();
        let prefix = cell.pair.as_ref().map_or("", |pair| pair.prefix.as_str());
        joints.extend(info.joints.iter().map(|joint| format!("{prefix}{joint}")));
        joints.extend(cell.pair.is_some().then(|| format!("{prefix}gripper")));
    }
    Ok((cell.cameras.iter().map(camera).collect(), joints))
}

/// What is known and said, to a mapping; what is not is asked at a terminal, and elsewhere the error.
fn resolved(known: &Known<'_>, mut says: toml::Table) -> anyhow::Result<Mapping> {
    loop {
        let questions = match infer(known, &Map::of(&says)?)? {
            Resolved::Mapping(mapping) => return Ok(*mapping),
            Resolved::Questions(questions) => questions,
        };
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            let lines: Vec<String> = questions
                .iter()
                .map(|q| format!("  {}\n    --set '{} = {}'", q.ask, q.key, q.example))
                .collect();
            bail!(
                "this cannot be inferred; say it with --set or in a --map FILE:\n{}",
                lines.join("\n")
            );
        }
        for question in &questions {
            merge(&mut says, ask(question)?);
        }
    }
}

/// Asks until there is an answer.
fn ask(question: &Question) -> anyhow::Result<toml::Table> {
    let mut stderr = std::io::stderr();
    loop {
        writeln!(stderr, "{}", question.ask)?;
        write!(stderr, "  {} = (as {}) ", question.key, question.example)?;
        stderr.flush()?;
        let mut answer = String::new();
        if std::io::stdin().lock().read_line(&mut answer)? == 0 {
            bail!("no answer");
        }
        let answer = answer.trim();
        if answer.is_empty() {
            continue;
        }
        match line(&format!("{} = {answer}", question.key)) {
            Some(line) => return Ok(line),
            None => writeln!(stderr, "expected something as {}", question.example)?,
        }
    }
}

/// A line of a map; words need no quotation marks.
fn line(text: &str) -> Option<toml::Table> {
    let quoted = || {
        // The key may be quoted and hold `=` itself.
        let from = text.rfind('"').filter(|_| text.starts_with("input.\""));
        let at = from.unwrap_or(0) + text.get(from.unwrap_or(0)..)?.find('=')?;
        let (key, value) = text.split_at(at);
        let value = toml::Value::from(value.trim_start_matches('=').trim());
        format!("{key} = {value}").parse().ok()
    };
    text.parse().ok().or_else(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_toml_and_a_word_needs_no_quotation_marks() {
        for (text, expected) in [
            ("period_s = 0.05", "period_s = 0.05"),
            ("task = pick up the cube", "task = \"pick up the cube\""),
            ("task=\"a = b\"", "task = \"a = b\""),
            (
                "input.\"a=b\".range = unit",
                "input.\"a=b\".range = \"unit\"",
            ),
            ("joints = [\"a\", \"b\"]", "joints = [\"a\", \"b\"]"),
        ] {
            assert_eq!(line(text), expected.parse().ok(), "{text}");
        }
        assert_eq!(line("period_s"), None);
        assert_eq!(line(""), Some(toml::Table::new()));
    }
}
