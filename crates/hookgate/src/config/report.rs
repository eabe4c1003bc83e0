//! Problems and warnings, gathered while a configuration is checked.
//!
//! Invariant: what is handed out is ordered by file, line and column, and holds nothing twice.

use std::{cell::RefCell, fmt, sync::Arc};

use super::{Problem, Warning};

/// A file of the configuration, as messages name it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceFile {
    /// Its place among the files that were read; messages come in this order.
    pub(crate) order: usize,
    /// Its path as the user wrote it.
    pub(crate) name: String,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) file: Arc<SourceFile>,
    /// Counted from 1; 0 stands for the file as a whole.
    pub(crate) line: u32,
    /// Counted from 1, in characters.
    pub(crate) column: u32,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file.name),
            line => write!(f, "{}:{line}:{}", self.file.name, self.column),
        }
    }
}

type Finding = (Option<At>, String);

/// What was found so far. Shared by all readers of one configuration.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
}

impl Report {
    /// Notes what keeps the gateway from starting.
    pub(crate) fn problem(&self, at: &At, path: &str, what: impl AsRef<str>) {
        let text = phrase(at, path, what.as_ref());
        self.problems.borrow_mut().push((Some(at.clone()), text));
    }

    /// Notes what the gateway can live with.
    pub(crate) fn warning(&self, at: &At, path: &str, what: impl AsRef<str>) {
        let text = phrase(at, path, what.as_ref());
        self.warnings.borrow_mut().push((Some(at.clone()), text));
    }

    /// Notes a problem that stands in no file.
    pub(crate) fn problem_outside(&self, what: impl Into<String>) {
        self.problems.borrow_mut().push((None, what.into()));
    }

    /// Notes a warning about something that stands in no file.
    pub(crate) fn warning_outside(&self, what: impl Into<String>) {
        self.warnings.borrow_mut().push((None, what.into()));
    }

    /// Everything found, in order.
    pub(crate) fn into_findings(self) -> (Vec<Problem>, Vec<Warning>) {
        let problems = in_order(self.problems.into_inner());
        let warnings = in_order(self.warnings.into_inner());
        (problems.into_iter().map(Problem).collect(), warnings.into_iter().map(Warning).collect())
    }
}

fn phrase(at: &At, path: &str, what: &str) -> String {
    match path {
        "" => format!("{at}: {what}"),
        path => format!("{at}: {path}: {what}"),
    }
}

/// Those without a place come last.
fn in_order(mut findings: Vec<Finding>) -> Vec<String> {
    findings.sort_by(|(a, _), (b, _)| (a.is_none(), a).cmp(&(b.is_none(), b)));
    let mut texts: Vec<String> = Vec::with_capacity(findings.len());
    for (_, text) in findings {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

/// The known name that `name` was probably meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let mistakes_max = (name.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_lowercase()), candidate))
        .filter(|(mistakes, _)| *mistakes <= mistakes_max)
        .min_by_key(|(mistakes, _)| *mistakes)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean …?`, or nothing.
pub(crate) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

/// `1 error`, `2 errors`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ if noun.ends_with('y') => format!("{number} {}ies", noun.trim_end_matches('y')),
        _ => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_finds_its_neighbour_and_a_strange_one_finds_none() {
        let known = ["max_attempts", "initial_delay_ms"];
        assert_eq!(nearest("max_atempts", known), Some("max_attempts"));
        assert_eq!(nearest("Max_Attempts", known), Some("max_attempts"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("xy", ["ab"]), None);
    }

    #[test]
    fn findings_come_in_the_order_of_files_and_lines_and_once() {
        let file = |order| Arc::new(SourceFile { order, name: format!("{order}.yaml") });
        let at = |order, line| At { file: file(order), line, column: 1 };
        let report = Report::default();
        report.problem_outside("last");
        report.problem(&at(1, 1), "x", "third");
        report.problem(&at(0, 9), "x", "second");
        report.problem(&at(0, 2), "x", "first");
        report.problem(&at(0, 9), "x", "second");
        let texts: Vec<_> =
            report.into_findings().0.into_iter().map(|problem| problem.to_string()).collect();
        let expected = ["0.yaml:2:1: x: first", "0.yaml:9:1: x: second", "1.yaml:1:1: x: third"];
        assert_eq!(texts[..3], expected);
        assert_eq!(texts[3..], ["last"]);
    }
}
