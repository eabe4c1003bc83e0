//! `docs/guarantees.md` names tests; this finds those that do not exist.

use std::collections::BTreeSet;

/// What is named like a test: fewer words are a setting or a header.
const WORDS_MIN: usize = 5;

/// Names in backticks that read like tests and are no functions of these.
pub(crate) fn missing<'d>(document: &'d str, functions: &BTreeSet<String>) -> Vec<&'d str> {
    let quoted = document.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_test = |name: &&str| {
        let is_name =
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        is_name && name.split('_').count() >= WORDS_MIN
    };
    quoted.filter(is_test).filter(|name| !functions.contains(*name)).collect()
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
}
