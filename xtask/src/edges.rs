//! Which crate may use which: the table in ARCHITECTURE.md against what Cargo says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A crate's name, and the crates of ours that it uses outside tests.
pub(crate) type Edges = BTreeMap<String, BTreeSet<String>>;

const START: &str = "<!-- edges -->";
const END: &str = "<!-- /edges -->";

/// Reads the table between the markers: rows such as `| proxy | domain, store |`, a dash for none.
/// `None` if the markers are missing.
pub(crate) fn documented(text: &str) -> Option<Edges> {
    let (_, rest) = text.split_once(START)?;
    let (table, _) = rest.split_once(END)?;
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.trim().strip_prefix('|')?.split('|').map(names);
        let crates: Vec<String> = cells.next()?.into_iter().collect();
        let [name] = crates.as_slice() else { return None };
        Some((name.clone(), cells.next()?))
    });
    // The heading and the rule under it are rows too, of Markdown if not of ours.
    Some(rows.filter(|(name, _)| name != "crate").collect())
}

/// The names in a cell, without Markdown's marks.
fn names(cell: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    cell.split(|c: char| !is_part(c))
        .filter(|name| name.chars().any(|c| c.is_ascii_alphanumeric()))
        .map(str::to_owned)
        .collect()
}

/// Reads the edges from `cargo metadata --no-deps`.
pub(crate) fn actual(metadata: &Value) -> Edges {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let used = |package: &Value| {
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        let normal = dependencies.iter().filter(|d| d["kind"].is_null() && d["path"].is_string());
        normal.map(name).filter(|used| ours.contains(used)).collect()
    };
    packages.iter().map(|package| (name(package), used(package))).collect()
}

/// What differs, a sentence each. A crate that uses none of ours needs no row.
pub(crate) fn compare(documented: &Edges, actual: &Edges) -> Vec<String> {
    let mut findings = Vec::new();
    let none = BTreeSet::new();
    let crates: BTreeSet<&String> = documented.keys().chain(actual.keys()).collect();
    for name in crates {
        let Some(used) = actual.get(name) else {
            findings.push(format!("the table names `{name}`, which is no crate"));
            continue;
        };
        let allowed = documented.get(name).unwrap_or(&none);
        for extra in used.difference(allowed) {
            findings.push(format!("`{name}` uses `{extra}`, which the table does not allow"));
        }
        for unused in allowed.difference(used) {
            findings.push(format!("the table lets `{name}` use `{unused}`, but it does not"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TABLE: &str = "before\n<!-- edges -->\n| crate | uses |\n|---|---|\n| `domain` | – |\n\
        | proxy | domain, `store` |\n| store | domain |\n<!-- /edges -->\nafter | x | y |";

    fn metadata(proxy: &[(&str, Value)]) -> Edges {
        let path = |name: &str, kind: &Value| json!({"name": name, "kind": kind, "path": "/x"});
        let proxy: Vec<Value> = proxy.iter().map(|(name, kind)| path(name, kind)).collect();
        actual(&json!({"packages": [
            {"name": "domain", "dependencies": [{"name": "serde", "kind": null, "path": null}]},
            {"name": "store", "dependencies": [path("domain", &Value::Null)]},
            {"name": "proxy", "dependencies": proxy},
            {"name": "testkit", "dependencies": []},
        ]}))
    }

    #[test]
    fn a_table_that_says_what_cargo_says_is_fine() {
        let documented = documented(TABLE).expect("both markers are there");
        let edges =
            metadata(&[("domain", Value::Null), ("store", Value::Null), ("testkit", json!("dev"))]);
        assert_eq!(compare(&documented, &edges), Vec::<String>::new());
    }

    #[test]
    fn an_edge_too_many_and_one_too_few_are_both_named() {
        let documented = documented(&TABLE.replace("| store | domain |", "| gone | – |"));
        let documented = documented.expect("both markers are there");
        let findings = compare(&documented, &metadata(&[("domain", Value::Null)]));
        assert_eq!(
            findings,
            [
                "the table names `gone`, which is no crate",
                "the table lets `proxy` use `store`, but it does not",
                "`store` uses `domain`, which the table does not allow",
            ]
        );
    }

    #[test]
    fn a_document_without_markers_has_no_table() {
        assert_eq!(documented("| proxy | domain |"), None);
    }
}
