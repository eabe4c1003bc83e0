//! Pages that promise something name the tests that show it; this finds tests that do not exist, and
//! promises that name none.

use std::collections::BTreeSet;

/// What is named like a test: fewer words are a setting or a header.
const WORDS_MIN: usize = 5;

/// Names in backticks that read like tests and are no functions of these.
pub(crate) fn missing<'d>(document: &'d str, functions: &BTreeSet<String>) -> Vec<&'d str> {
    document.lines().flat_map(tests).filter(|name| !functions.contains(*name)).collect()
}

/// First cells of the rows of tables that name no test; a row that ends in a sentence in place of one
/// says why there is none.
pub(crate) fn unshown(document: &str) -> Vec<&str> {
    let mut unshown = Vec::new();
    let mut is_below_head = false;
    for line in document.lines() {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let is_row = line.starts_with("| ");
        let says_why = cells.last().is_some_and(|cell| cell.ends_with('.'));
        if is_row && is_below_head && !says_why && tests(line).next().is_none() {
            unshown.push(cells[0]);
        }
        is_below_head = line.starts_with("|---") || (is_row && is_below_head);
    }
    unshown
}

/// Names in backticks that read like tests.
fn tests(line: &str) -> impl Iterator<Item = &str> {
    let is_test = |name: &&str| {
        let is_name =
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        is_name && name.split('_').count() >= WORDS_MIN
    };
    line.split('`').skip(1).step_by(2).filter(is_test)
}

/// Names of the functions that a Rust file defines.
pub(crate) fn functions(text: &str) -> impl Iterator<Item = String> {
    text.lines().filter_map(|line| {
        let line = line.trim_start().trim_start_matches("async ");
        let (name, _) = line.strip_prefix("fn ")?.split_once('(')?;
        Some(name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_do_not_exist_are_named_and_settings_are_not() {
        let code = "fn a_test_that_is_there() {}\n    async fn another_one_that_is_there() {\n";
        let functions: BTreeSet<_> = functions(code).collect();
        let document = "`a_test_that_is_there` `another_one_that_is_there`\n\
                        `timeout_ms` `webhook-id` a_test_without_any_quotes `a_test_that_is_gone`";
        assert_eq!(missing(document, &functions), ["a_test_that_is_gone"]);
    }

    #[test]
    fn a_row_names_a_test_or_says_why_there_is_none() {
        let document = "| promise | shown by |\n|---|---|\n| a | `a_test_that_is_there` |\n\
                        | b | `timeout_ms` |\n| c | there is no tenant. |\n\n| no table | |\n";
        assert_eq!(unshown(document), ["b"]);
    }
}
