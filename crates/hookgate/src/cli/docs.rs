//! `hookgate docs`: a page for each pre-configured callback, from the `docs` of the registry.
//!
//! The same registry gives the same bytes. Invariant: no file is changed or removed that this command
//! did not write.

mod page;

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;

use crate::{
    cli::EXIT_BAD_CONFIGURATION,
    config::{self, count},
};

/// `hookgate docs`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The directory of the pages
    #[arg(long, value_name = "DIR", default_value = "docs/integrations")]
    pub out: PathBuf,
    /// A registry of callbacks beside the built-in one, as `generic_api_compatible_callbacks.json`
    #[arg(long, value_name = "FILE")]
    pub callbacks: Option<PathBuf>,
    /// Write nothing; say which pages are not as they would be written
    #[arg(long)]
    pub check: bool,
}

/// Writes the pages, or compares them. Exits with 1 if `--check` finds a difference, with 78 for a
/// bad registry.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (integrations, warnings) = config::integrations(args.callbacks.as_deref());
    let integrations = match integrations {
        Ok(integrations) => integrations,
        Err(problems) => {
            problems.iter().try_for_each(|problem| writeln!(out, "error: {problem}"))?;
            return Ok(ExitCode::from(EXIT_BAD_CONFIGURATION));
        }
    };
    warnings.iter().try_for_each(|warning| writeln!(out, "warning: {warning}"))?;
    let pages = page::pages(&integrations);
    let changes = changes(&args.out, &pages)?;
    if args.check {
        changes.iter().try_for_each(|change| writeln!(out, "{}", change.sentence(&args.out)))?;
        if changes.is_empty() {
            writeln!(out, "{} as they should be.", count(pages.len(), "page"))?;
            return Ok(ExitCode::SUCCESS);
        }
        writeln!(out, "Write them anew with `hookgate docs`.")?;
        return Ok(ExitCode::FAILURE);
    }
    apply(&args.out, &changes, &pages)?;
    let pages = count(pages.len(), "page");
    writeln!(out, "{pages} in {}, {} changed.", args.out.display(), changes.len())?;
    Ok(ExitCode::SUCCESS)
}

/// What has to be done to a file.
enum Change {
    Write(String),
    Replace(String),
    /// A page of an entry that is gone.
    Remove(String),
}

impl Change {
    fn sentence(&self, dir: &Path) -> String {
        let (name, what) = match self {
            Self::Write(name) => (name, "is missing"),
            Self::Replace(name) => (name, "is not what the registry says"),
            Self::Remove(name) => (name, "is of no entry of the registry"),
        };
        format!("{} {what}", dir.join(name).display())
    }
}

fn changes(dir: &Path, pages: &BTreeMap<String, String>) -> anyhow::Result<Vec<Change>> {
    let written = written(dir).with_context(|| format!("could not read {}", dir.display()))?;
    let mut changes = Vec::new();
    for (name, text) in pages {
        match written.get(name) {
            None => changes.push(Change::Write(name.clone())),
            Some(there) if there != text => changes.push(Change::Replace(name.clone())),
            Some(_) => {}
        }
    }
    let is_stale =
        |name: &&String| !pages.contains_key(*name) && written[*name].starts_with(page::MARK);
    changes.extend(written.keys().filter(is_stale).map(|name| Change::Remove(name.clone())));
    Ok(changes)
}

/// The Markdown files of a directory that are text, by name.
fn written(dir: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        let is_page = path.extension().is_some_and(|extension| extension == "md");
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| is_page) else { continue };
        if let Ok(text) = fs::read_to_string(&path) {
            found.insert(name.to_owned(), text);
        }
    }
    Ok(found)
}

fn apply(dir: &Path, changes: &[Change], pages: &BTreeMap<String, String>) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("could not make {}", dir.display()))?;
    for change in changes {
        let (Change::Write(name) | Change::Replace(name) | Change::Remove(name)) = change;
        let path = dir.join(name);
        match pages.get(name) {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        }
        .with_context(|| format!("could not write {}", path.display()))?;
    }
    Ok(())
}
