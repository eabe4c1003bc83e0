//! Pre-configured callbacks by name, in the schema of LiteLLM's
//! `generic_api_compatible_callbacks.json`: the built-in registry, and a user's in front of it.
//!
//! A user's registry is checked as a whole, whether its names are used or not; only what its
//! variables lack is left to the place that names a callback. Invariant: the built-in registry is
//! without fault (a test says so).

use std::{path::Path, sync::Arc};

use domain::{destination::LogFormat, event::EventType};

use crate::config::{
    located::{self, Node, Value},
    parts,
    report::{Report, SourceFile},
    section::{Field, Section, Unknown},
    variable::{self, Variables},
};

/// The registry that comes with the gateway.
const BUILT_IN: &str = include_str!("../../../../../config/generic_api_compatible_callbacks.json");
/// A user's registry, beside the main file.
pub(crate) const REGISTRY_FILE: &str = "generic_api_compatible_callbacks.json";

/// Pre-configured callbacks by name.
pub(crate) struct Registry {
    user: Node,
    built_in: Node,
    /// Whether nobody knows which names the user's registry holds.
    pub(crate) is_broken: bool,
}

impl Registry {
    /// The built-in registry, and the user's if there is one, with variables filled in.
    pub(crate) fn read(user: Option<&Path>, variables: &Variables, report: &Report) -> Self {
        let mut registry = Self::open(user, report);
        variables.fill(&mut registry.built_in);
        variables.fill(&mut registry.user);
        registry
    }

    /// Both registries as they are written.
    pub(crate) fn open(user: Option<&Path>, report: &Report) -> Self {
        let file = SourceFile { order: usize::MAX, name: format!("{REGISTRY_FILE} (built in)") };
        let file = Arc::new(file);
        let nothing = || Node::nothing(&file);
        let built_in = located::parse(BUILT_IN, &file, report).unwrap_or_else(nothing);
        let read = user.map(|path| located::read(path, 2, report));
        let is_broken = matches!(&read, Some(None | Some(Node { value: Value::List(_), .. })));
        let user = read.flatten().unwrap_or_else(nothing);
        check(&user, report);
        Self { user, built_in, is_broken }
    }

    /// The entry of a name: the user's, if both have one.
    pub(crate) fn find(&self, name: &str) -> Option<&Node> {
        self.user.get(name).or_else(|| self.built_in.get(name))
    }

    /// All names, the user's first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        [&self.user, &self.built_in].into_iter().flat_map(names)
    }
}

/// The keys of a map.
pub(crate) fn names(node: &Node) -> impl Iterator<Item = &str> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|entry| entry.key.as_str())
}

/// An entry as its page shows it: with its variables by name, not by value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Integration {
    /// What callers write into `callbacks`.
    pub(crate) name: String,
    pub(crate) display_name: String,
    pub(crate) description: String,
    pub(crate) website: Option<String>,
    pub(crate) additional_notes: Option<String>,
    pub(crate) event_types: Vec<EventType>,
    pub(crate) log_format: LogFormat,
    pub(crate) endpoint: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) variables: Vec<String>,
}

impl Registry {
    /// The entries that ask for a page (`docs.show_in_docs`), by name. Names that no file can have
    /// are problems.
    pub(crate) fn integrations(&self, report: &Report) -> Vec<Integration> {
        let mut shown: Vec<Integration> = Vec::new();
        for name in self.names() {
            if shown.iter().any(|earlier| earlier.name == name) {
                continue;
            }
            let entry = self.find(name).and_then(|node| Section::open(name, node, report));
            shown.extend(entry.and_then(|entry| integration(name, &entry)));
        }
        shown.sort_by(|a, b| a.name.cmp(&b.name));
        shown
    }
}

fn integration(name: &str, entry: &Section<'_>) -> Option<Integration> {
    let text = |section: Option<&Section<'_>>, key| Some(section?.get(key)?.raw_text()?.content);
    let docs = entry.section("docs");
    let docs = docs.as_ref();
    if docs.and_then(|docs| docs.get("show_in_docs")?.flag()) != Some(true) {
        return None;
    }
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name == "index" || name.starts_with('.') || !name.chars().all(is_safe) {
        let what = "a page is named so: letters, digits, _, - and . only, and not `index`";
        entry.report.problem(entry.at, &entry.path, what);
        return None;
    }
    let headers = entry.section("headers").map(|section| {
        let pair = |(entry, field): (&located::Entry, Field<'_>)| {
            Some((entry.key.clone(), field.raw_text()?.content))
        };
        section.fields().filter_map(pair).collect()
    });
    let display_name = text(docs, "display_name").unwrap_or_else(|| title(name));
    let event_types =
        entry.get("event_types").map(|field| super::callbacks::own_event_types(&field));
    let log_format = entry.get("log_format").and_then(|f| f.choice(&parts::format::LOG_FORMATS));
    Some(Integration {
        name: name.to_owned(),
        description: text(docs, "description")
            .unwrap_or_else(|| format!("Sends the outcomes of calls to {display_name}.")),
        display_name,
        website: text(docs, "website"),
        additional_notes: text(docs, "additional_notes"),
        event_types: event_types.unwrap_or_else(|| super::callbacks::OUTCOMES.to_vec()),
        log_format: log_format.unwrap_or_default(),
        endpoint: text(Some(entry), "endpoint"),
        headers: headers.unwrap_or_default(),
        variables: variables(entry),
    })
}

/// `your_service` as `Your Service`.
fn title(name: &str) -> String {
    let capital = |word: &str| {
        let mut chars = word.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    name.split(['_', '-']).map(capital).collect::<Vec<_>>().join(" ")
}

/// Checks what an entry says for its page.
pub(crate) fn check_docs(entry: &Section<'_>) {
    let Some(docs) = entry.section("docs") else { return };
    if let Some(field) = docs.get("show_in_docs") {
        field.flag();
    }
    for key in ["display_name", "description", "website", "additional_notes"] {
        if let Some(field) = docs.get(key) {
            field.raw_text();
        }
    }
    docs.finish(Unknown::Warn, &[]);
}

/// Notes every mistake of a registry. Values whose variables are not set cannot be judged.
fn check(registry: &Node, report: &Report) {
    let Some(registry) = Section::open("", registry, report) else { return };
    for (entry, field) in registry.fields() {
        super::webhooks::check_name(&entry.key, &entry.at, &field);
        if let Some(section) = field.section() {
            check_entry(section);
        }
    }
}

fn check_entry(section: Section<'_>) {
    if let Some(field) = section.get("endpoint")
        && let Some(text) = field.raw_text().filter(|text| !variable::is_in(&text.content))
        && let Err(what) = parts::parse_address(&text.content)
    {
        field.problem(what);
    }
    if let Some(headers) = section.section("headers") {
        for (entry, field) in headers.fields() {
            let Some(text) = field.raw_text() else { continue };
            let value = if text.missing.is_empty() { text.content.as_str() } else { "unset" };
            if let Err(error) = webhook::request::validate_header(&entry.key, value) {
                field.problem(error.to_string());
            }
        }
    }
    if let Some(field) = section.get("event_types") {
        super::callbacks::own_event_types(&field);
    }
    if let Some(field) = section.get("log_format") {
        field.choice(&parts::format::LOG_FORMATS);
    }
    if let Some(field) = section.get("environment_variables") {
        field.items().unwrap_or_default().iter().for_each(|item| drop(item.raw_text()));
    }
    check_docs(&section);
    for key in parts::entry::KEYS.into_iter().chain(super::callbacks::KEYS) {
        section.get(key);
    }
    section.finish(Unknown::Warn, &[]);
}

/// The variables that an entry names in its list.
pub(crate) fn variables(section: &Section<'_>) -> Vec<String> {
    let field: Option<Field<'_>> = section.get("environment_variables");
    field
        .and_then(|field| field.items())
        .unwrap_or_default()
        .iter()
        .filter_map(Field::text)
        .collect()
}
