//! Rules of this repository that no other tool knows: lengths, file names, crate edges, and no
//! traces of the machine that somebody worked on.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{edges, guarantees};

/// A Rust file; CONTRIBUTING asks for 600.
const RUST_LINES_MAX: usize = 800;
const ARCHITECTURE_LINES_MAX: usize = 250;
const README_LINES_MAX: usize = 150;
/// Each row of its tables is shown by a test.
const SECURITY: &str = "docs/security.md";

/// Checks the repository; the error says how many findings were printed.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut findings = Vec::new();
    let mut functions = BTreeSet::new();
    let machine = machine_paths(root);
    for path in tracked_files(root)? {
        // A file that is deleted but not yet committed, or that is no text, has no lines to check.
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        findings.extend(check_file(&path, &text, &machine));
        if is_rust(&path) {
            functions.extend(guarantees::functions(&text));
        }
    }
    findings.extend(check_guarantees(root, &functions));
    findings.extend(check_edges(root)?);
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(findings.is_empty(), "tidy found {}", findings.len());
    Ok(())
}

/// Paths that must stand in no file: this checkout's and this user's own.
fn machine_paths(root: &Path) -> Vec<String> {
    let home = std::env::home_dir();
    let paths = [Some(root.to_owned()), home].into_iter().flatten();
    // Shorter ones (`/`, in a container) are in every text.
    paths.map(|path| format!("{}/", path.display())).filter(|path| path.len() > 3).collect()
}

/// Checks one file's name and text.
fn check_file(path: &str, text: &str, machine: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_rust = is_rust(path);
    let lines = text.lines().count();
    let lines_max = match path {
        "README.md" => README_LINES_MAX,
        "ARCHITECTURE.md" => ARCHITECTURE_LINES_MAX,
        _ if is_rust => RUST_LINES_MAX,
        _ => usize::MAX,
    };
    if lines > lines_max {
        findings.push(format!("{path}: {lines} lines; at most {lines_max}"));
    }
    if name == "mod.rs" {
        findings.push(format!("{path}: a folder `x/` has its `x.rs` beside it, not inside"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        if is_rust && line.trim_start().starts_with("#[ignore") {
            findings.push(format!("{path}:{number}: a test that is ignored tests nothing"));
        }
        if machine.iter().any(|machine| names_path(line, machine)) {
            findings.push(format!("{path}:{number}: a path of the machine it was written on"));
        }
    }
    findings
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Tests that the guarantees name and nobody runs, and pitfalls that no test shows.
fn check_guarantees(root: &Path, functions: &BTreeSet<String>) -> Vec<String> {
    let read = |page: &str| std::fs::read_to_string(root.join(page)).unwrap_or_default();
    let mut findings = Vec::new();
    for page in ["docs/guarantees.md", SECURITY] {
        let document = read(page);
        let missing = guarantees::missing(&document, functions).into_iter();
        findings.extend(missing.map(|name| format!("{page}: there is no test `{name}`")));
    }
    let document = read(SECURITY);
    let unshown = guarantees::unshown(&document).into_iter();
    findings.extend(unshown.map(|row| format!("{SECURITY}: nothing shows `{row}`")));
    findings
}

/// Whether the line holds `path` as the start of an absolute path, not inside a longer one.
fn names_path(line: &str, path: &str) -> bool {
    let is_start = |(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c: char| c.is_alphanumeric() || "_-.~/}".contains(c))
    };
    line.match_indices(path).any(is_start)
}

fn check_edges(root: &Path) -> Result<Vec<String>> {
    let document = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap_or_default();
    let Some(documented) = edges::documented(&document) else {
        return Ok(vec!["ARCHITECTURE.md: no table between the `edges` markers".to_owned()]);
    };
    let metadata = output(root, "cargo", &["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata writes JSON")?;
    let findings = edges::compare(&documented, &edges::actual(&metadata));
    Ok(findings.into_iter().map(|finding| format!("ARCHITECTURE.md: {finding}")).collect())
}

/// What git has, and what it would take.
fn tracked_files(root: &Path) -> Result<Vec<String>> {
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = output(root, "git", &args)?;
    Ok(listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

fn output(root: &Path, program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(root)
        .output()
        .with_context(|| format!("could not start {program}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {}: {errors}", args.join(" "));
    String::from_utf8(output.stdout).with_context(|| format!("{program} writes UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> usize {
        check_file(path, text, &["/srv/somebody/".to_owned()]).len()
    }

    #[test]
    fn each_rule_finds_its_breach_and_nothing_else() {
        let cases = [
            ("src/long.rs", "\n".repeat(800), 0),
            ("src/long.rs", "\n".repeat(801), 1),
            ("data/long.json", "\n".repeat(2000), 0),
            ("README.md", "\n".repeat(151), 1),
            ("docs/README.md", "\n".repeat(151), 0),
            ("ARCHITECTURE.md", "\n".repeat(251), 1),
            ("src/mod.rs", String::new(), 1),
            ("src/model.rs", String::new(), 0),
            ("src/a.rs", "    #[ignore = \"slow\"]\n".to_owned(), 1),
            ("src/a.rs", "// an #[ignore] in a comment\n".to_owned(), 0),
            ("docs/a.md", "see /srv/somebody/notes\n".to_owned(), 1),
            ("docs/a.md", "see https://example.com/srv/somebody/notes\n".to_owned(), 0),
        ];
        for (path, text, count) in cases {
            let shown: String = text.chars().take(40).collect();
            assert_eq!(findings(path, &text), count, "{path}: {shown:?}");
        }
    }
}
