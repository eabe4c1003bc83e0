//! YAML text to a tree whose every key and value knows its file, line and column. The only user of
//! the YAML library.
//!
//! It decides nothing about meaning, but for two things: anchors and merge keys are resolved, and a
//! key that is given twice is a problem. JSON is read by the same way, being YAML.
//!
//! Invariant: size, depth and the work of anchors are bounded, whatever the text.

use std::{fmt, io::Read, path::Path, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{DuplicateKeyPolicy, Location, Options, Spanned, options::NonFiniteFloatPolicy};

use super::report::{At, Report, SourceFile};

/// The largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Maps and lists within each other, at most.
const DEPTH_MAX: usize = 48;
/// Keys and values of one file, at most, also after anchors were filled in.
const NODES_MAX: usize = 100_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
    /// How a boolean or a number was spelt.
    pub(crate) spelt: Option<String>,
}

/// A value of YAML.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Text),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// Text, and what `variable` did to it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Text {
    pub(crate) content: String,
    /// Whether a variable's value is in it.
    pub(crate) is_substituted: bool,
    /// The variables that it names and that are not set.
    pub(crate) missing: Vec<String>,
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) at: At,
    pub(crate) key: String,
    pub(crate) node: Node,
}

impl Node {
    /// The whole of a file that says nothing.
    pub(crate) fn nothing(file: &Arc<SourceFile>) -> Self {
        Self { at: At { file: file.clone(), line: 0, column: 0 }, value: Value::Null, spelt: None }
    }

    /// The value of a key, if this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|e| &e.node),
            _ => None,
        }
    }
}

/// Reads a file; says in the report why it could not.
pub(crate) fn read(path: &Path, order: usize, report: &Report) -> Option<Node> {
    let file = Arc::new(SourceFile { order, name: path.display().to_string() });
    let whole = At { file: file.clone(), line: 0, column: 0 };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|opened| opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        report.problem(&whole, "", format!("could not be read: {error}"));
        return None;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        report.problem(&whole, "", format!("is larger than {} MiB", FILE_BYTES_MAX >> 20));
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &file, report),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line =
                1 + String::from_utf8_lossy(&error.as_bytes()[..valid]).matches('\n').count();
            let at = At { line: line as u32, column: 1, ..whole };
            report.problem(&at, "", "is not UTF-8 text; save it as UTF-8");
            None
        }
    }
}

/// Reads text; says in the report why it could not.
pub(crate) fn parse(text: &str, file: &Arc<SourceFile>, report: &Report) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
    if text.lines().all(blank) {
        return Some(Node::nothing(file));
    }
    match parse_with(text, file, DuplicateKeyPolicy::Error) {
        Ok(node) => Some(node),
        Err(error @ serde_saphyr::Error::DuplicateMappingKey { .. }) => {
            // Under this policy both values of a key come through, with their places.
            let node = parse_with(text, file, DuplicateKeyPolicy::LastWins)
                .inspect_err(|error| report_syntax(error, text, file, report))
                .ok()?;
            if !report_duplicates(&node, "", report) {
                report_syntax(&error, text, file, report);
            }
            Some(node)
        }
        Err(error) => {
            report_syntax(&error, text, file, report);
            None
        }
    }
}

/// Reports every key that its map has twice; whether there is any.
fn report_duplicates(node: &Node, path: &str, report: &Report) -> bool {
    let mut found = false;
    match &node.value {
        Value::Map(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                let path = super::section::join(path, &entry.key);
                if let Some(first) = entries[..index].iter().find(|first| first.key == entry.key) {
                    let line = first.at.line;
                    let what = format!("is given twice, first in line {line}; keep one of the two");
                    report.problem(&entry.at, &path, what);
                    found = true;
                }
                found |= report_duplicates(&entry.node, &path, report);
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                found |= report_duplicates(item, &format!("{path}[{index}]"), report);
            }
        }
        _ => {}
    }
    found
}

fn report_syntax(error: &serde_saphyr::Error, text: &str, file: &Arc<SourceFile>, report: &Report) {
    let at = place(error.location().unwrap_or(Location::UNKNOWN), file);
    let what = error.without_snippet().to_string();
    // The library names the place in its text too, at its end or in a second line.
    let what = what.lines().next().unwrap_or_default();
    let what = what.split(" at line ").next().unwrap_or(what);
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let line = (at.line as usize).checked_sub(1).and_then(|above| text.lines().nth(above));
    let has_reference = line.is_some_and(|line| line.contains("${") || line.contains("{{"));
    let hint =
        if has_reference { "; put values with ${…} or {{…}} in quotes here" } else { "" };
    let is_json = Path::new(&file.name).extension().is_some_and(|ext| ext == "json");
    let kind = if is_json { "JSON" } else { "YAML" };
    report.problem(&at, "", format!("is not the {kind} that it should be: {what}{hint}"));
}

fn place(location: Location, file: &Arc<SourceFile>) -> At {
    At { file: file.clone(), line: location.line() as u32, column: location.column() as u32 }
}

fn parse_with(
    text: &str,
    file: &Arc<SourceFile>,
    duplicate_keys: DuplicateKeyPolicy,
) -> Result<Node, serde_saphyr::Error> {
    let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options(duplicate_keys))?;
    Ok(Reader { text, file }.node(raw))
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 3 * NODES_MAX,
            max_documents: 1,
            max_aliases: 5_000,
            max_recorded_anchor_events: NODES_MAX,
            max_merge_keys: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: NODES_MAX,
            max_replay_stack_depth: 16,
        },
        duplicate_keys: duplicate_keys,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// What the YAML library hands over, before it is placed.
enum Raw {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(i64::try_from(value).map_or(Raw::Float(value as f64), Raw::Integer))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Float(value as f64))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Float(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Raw, E> {
        Ok(Raw::Text(String::from_utf8_lossy(value).into_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Raw::Map(map))
    }
}

struct Reader<'a> {
    text: &'a str,
    file: &'a Arc<SourceFile>,
}

impl Reader<'_> {
    /// Problems are mended where a value is defined, so that is its place, not its alias.
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let at = place(raw.defined, self.file);
        let mut spelt = None;
        let value = match raw.value {
            Raw::Null => Value::Null,
            Raw::Bool(value) => {
                spelt = self.source(raw.defined);
                Value::Bool(value)
            }
            Raw::Integer(value) => {
                spelt = self.source(raw.defined);
                Value::Integer(value)
            }
            Raw::Float(value) => {
                spelt = self.source(raw.defined);
                Value::Float(value)
            }
            Raw::Text(text) => Value::Text(Text { content: text, ..Text::default() }),
            Raw::List(items) => {
                Value::List(items.into_iter().map(|item| self.node(item)).collect())
            }
            Raw::Map(entries) => {
                let entry = |(key, raw): (Spanned<String>, _)| Entry {
                    at: place(key.defined, self.file),
                    key: key.value,
                    node: self.node(raw),
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { at, value, spelt }
    }

    fn source(&self, location: Location) -> Option<String> {
        let start = usize::try_from(location.span().byte_offset()?).ok()?;
        let length = usize::try_from(location.span().byte_len()?).ok()?;
        let text = self.text.get(start..start.checked_add(length)?)?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// The tree as JSON, with the spelling of numbers lost: for values that are only handed on.
pub(crate) fn to_json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Integer(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::Text(text) => Json::from(text.content.as_str()),
        Value::List(items) => items.iter().map(to_json).collect(),
        Value::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), to_json(&entry.node))).collect()
        }
    }
}

#[cfg(test)]
#[path = "located/tests.rs"]
mod tests;
