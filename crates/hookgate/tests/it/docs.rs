//! What the pages say, held against the binary.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use testkit::gateway::Setup;

use crate::support::BINARY;

/// A place in the repository.
fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Every page under `docs/`, by its path.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    let mut directories = vec![repository("docs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("the repository has docs") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(&path).expect("a page is text");
                pages.insert(path, text);
            }
        }
    }
    pages
}

/// The fenced blocks of a page in one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in page.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(name)) => open = Some((name == language, String::new())),
            (Some(_), Some(_)) => {
                blocks.extend(open.take().filter(|(wanted, _)| *wanted).map(|(_, text)| text));
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// Runs a command of the binary; its exit code and what it printed.
async fn run(setup: &Setup, args: &[&str]) -> (Option<i32>, String) {
    let output = setup.command(args).output().await.expect("the binary was built for this test");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[tokio::test]
async fn the_integration_pages_are_those_of_the_registry() {
    let pages = repository("docs/integrations");
    let pages = pages.to_str().expect("its name is text");
    let (code, said) = run(&Setup::new(BINARY, ""), &["docs", "--check", "--out", pages]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn pages_are_written_once_checked_and_removed_and_others_left_alone() {
    let entry = |name: &str| {
        format!(r#"{{"{name}": {{"docs": {{"show_in_docs": true, "description": "Takes."}}}}}}"#)
    };
    let setup = Setup::new(BINARY, "").file("own.json", &entry("own"));
    let args = ["docs", "--out", "pages", "--callbacks", "own.json"];
    let checked = [&args[..], &["--check"]].concat();
    let (code, said) = run(&setup, &checked).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("pages/own.md is missing"), "{said}");
    assert!(!setup.directory().join("pages").exists(), "--check writes nothing");

    let (code, said) = run(&setup, &args).await;
    assert_eq!((code, said.as_str()), (Some(0), "6 pages in pages, 6 changed.\n"));
    setup.write_file("pages/mine.md", "# Mine\n");
    let (code, said) = run(&setup, &args).await;
    assert_eq!((code, said.as_str()), (Some(0), "6 pages in pages, 0 changed.\n"));
    let (code, said) = run(&setup, &checked).await;
    assert_eq!((code, said.as_str()), (Some(0), "6 pages as they should be.\n"));

    setup.write_file("own.json", &entry("other"));
    setup.write_file("pages/rubrik.md", "# Rubrik\n");
    let (code, said) = run(&setup, &checked).await;
    assert_eq!(code, Some(1), "{said}");
    for expected in [
        "pages/other.md is missing",
        "pages/own.md is of no entry of the registry",
        "pages/rubrik.md is not what the registry says",
        "pages/index.md is not what the registry says",
    ] {
        assert!(said.contains(expected), "`{expected}` is not in:\n{said}");
    }
    assert_eq!(run(&setup, &args).await.0, Some(0));
    let page = |name: &str| setup.directory().join("pages").join(name).exists();
    assert!(page("other.md") && page("mine.md") && !page("own.md"));

    setup.write_file("own.json", r#"{"own": {"docs": {"show_in_docs": "yes"}}, "x": 5}"#);
    let (code, said) = run(&setup, &args).await;
    assert_eq!(code, Some(78), "{said}");
    assert_eq!(said.matches("error: own.json:1:").count(), 2, "{said}");
}

#[tokio::test]
async fn every_configuration_in_the_pages_loads_without_a_warning_of_its_own() {
    const VARIABLES: [&str; 12] = [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "LITELLM_MASTER_KEY",
        "WEBHOOK_SECRET",
        "BACKUP_WEBHOOK_SECRET",
        "HELICONE_HMAC_KEY",
        "TRACES_TOKEN",
        "AUDIT_KEY",
        "APP_KEY",
        "RUBRIK_API_KEY",
        "SUMOLOGIC_WEBHOOK_URL",
        "WEBHOOK_URL",
    ];
    let mut seen = 0;
    for (path, page) in pages() {
        for block in blocks(&page, "yaml") {
            seen += 1;
            let mut setup = Setup::new(BINARY, &block);
            for name in VARIABLES {
                let is_url = name.ends_with("URL");
                let value =
                    if is_url { "https://x.example/in".to_owned() } else { format!("sk-{name}") };
                setup = setup.env(name, &value);
            }
            let (code, said) = run(&setup, &["check", "config.yaml"]).await;
            let path = path.display();
            assert_eq!(code, Some(0), "{path}:\n{block}\n{said}");
            let own = said.lines().find(|line| line.starts_with("warning: config.yaml"));
            assert_eq!(own, None, "{path}:\n{block}");
        }
    }
    assert!(seen > 10, "{seen} configurations");
}

#[test]
fn every_link_in_the_pages_leads_somewhere() {
    for (path, page) in pages() {
        let links = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().expect("a page is in a directory").join(file),
            };
            let text = std::fs::read_to_string(&target);
            let text = text.unwrap_or_else(|_| panic!("{}: {link}", path.display()));
            let has = |line: &str| line.starts_with('#') && slug(line) == anchor;
            assert!(anchor.is_empty() || text.lines().any(has), "{}: {link}", path.display());
        }
    }
}

/// A heading's anchor, as GitHub makes it.
fn slug(heading: &str) -> String {
    let keep = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    heading.trim_start_matches('#').trim().chars().filter_map(keep).collect()
}

#[test]
fn every_example_body_is_one_that_a_golden_file_holds() {
    let page = std::fs::read_to_string(repository("docs/formats.md")).expect("it is there");
    let mut examples = 0;
    for part in page.split("<!-- golden: ").skip(1) {
        let (name, rest) = part.split_once(" -->").expect("the mark is closed");
        let shown = blocks(rest, "json").into_iter().next().expect("an example follows its mark");
        let path = repository(&format!("crates/webhook/tests/golden/{name}.snap"));
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("no {name}"));
        let whole = golden.lines().map(str::trim).collect::<Vec<_>>().join("\n");
        // Long examples are cut where a line says so; each part must stand in the golden file.
        for part in shown.split("…\n") {
            let part = part.lines().map(str::trim).collect::<Vec<_>>().join("\n");
            assert!(whole.contains(&part), "{name} does not hold:\n{part}\nbut:\n{golden}");
        }
        examples += 1;
    }
    assert_eq!(examples, 7, "an example for each format, and one for budgets");
}
