//! Reading values out of the located tree: each reader returns the value, or notes the problem and
//! returns `None`.
//!
//! It knows kinds of values, not what any key means. Invariant: text that came from a variable, or
//! that stands under a key of a secret, is never repeated in a message.

use std::{cell::RefCell, fmt::Display, ops::RangeInclusive, time::Duration};

use super::{
    located::{Entry, Node, Text, Value},
    report::{At, Report, did_you_mean},
};

/// The longest excerpt of a value in a message.
const EXCERPT_CHARS_MAX: usize = 40;

/// What becomes of keys that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// The section is shared with other systems, whose files must load.
    Warn,
    /// The section is ours alone.
    Refuse,
}

/// `parent.key`, or the key alone at the top.
pub(crate) fn join(parent: &str, key: &str) -> String {
    match parent {
        "" => key.to_owned(),
        parent => format!("{parent}.{key}"),
    }
}

/// A map of the configuration, and which of its keys were asked for.
pub(crate) struct Section<'a> {
    pub(crate) path: String,
    pub(crate) at: &'a At,
    pub(crate) report: &'a Report,
    entries: &'a [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The map that a node is; an absent value is an empty one.
    pub(crate) fn open(path: &str, node: &'a Node, report: &'a Report) -> Option<Self> {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                let what = format!("must be a map of keys to values, not {}", found(path, node));
                report.problem(&node.at, path, what);
                return None;
            }
        };
        let known = RefCell::default();
        Some(Self { path: path.to_owned(), at: &node.at, report, entries, known })
    }

    /// A key's value, if it is there and not null. The key counts as known from now on.
    pub(crate) fn get(&self, key: &'static str) -> Option<Field<'a>> {
        self.get_even_null(key).filter(|field| field.node.value != Value::Null)
    }

    /// A key's value, if it is there.
    pub(crate) fn get_even_null(&self, key: &'static str) -> Option<Field<'a>> {
        self.known.borrow_mut().push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(self.field(entry))
    }

    /// A map in this map.
    pub(crate) fn section(&self, key: &'static str) -> Option<Section<'a>> {
        self.get(key)?.section()
    }

    /// All keys and values, for maps whose keys are names; every key counts as known.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'a Entry, Field<'a>)> + '_ {
        self.entries.iter().map(|entry| (entry, self.field(entry)))
    }

    /// Takes note of the keys that were not asked for. `passed_over` are those that LiteLLM
    /// has and that the gateway does not act on.
    pub(crate) fn finish(self, unknown: Unknown, passed_over: &[&str]) {
        #[cfg(test)]
        super::tests::note_known(&self.path, &self.known.borrow());
        let known = self.known.borrow();
        for entry in self.entries {
            let key = entry.key.as_str();
            if known.contains(&key) {
                continue;
            }
            let path = join(&self.path, key);
            if passed_over.contains(&key) {
                self.report.warning(
                    &entry.at,
                    &path,
                    "LiteLLM has this setting; hookgate does not act on it",
                );
                continue;
            }
            let near = did_you_mean(key, known.iter().chain(passed_over).copied());
            match unknown {
                Unknown::Warn => {
                    self.report.warning(&entry.at, &path, format!("unknown key, ignored{near}"));
                }
                Unknown::Refuse if near.is_empty() => {
                    let what = format!("unknown key; known here are {}", listed(&known));
                    self.report.problem(&entry.at, &path, what);
                }
                Unknown::Refuse => {
                    self.report.problem(&entry.at, &path, format!("unknown key{near}"));
                }
            }
        }
    }

    fn field(&self, entry: &'a Entry) -> Field<'a> {
        Field { path: join(&self.path, &entry.key), node: &entry.node, report: self.report }
    }
}

/// `a, b and c`, each name once.
pub(crate) fn listed(names: &[&str]) -> String {
    let mut once: Vec<&str> = Vec::new();
    for name in names {
        if !once.contains(name) {
            once.push(name);
        }
    }
    match once.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => once.concat(),
    }
}

/// A value and the path that leads to it.
pub(crate) struct Field<'a> {
    pub(crate) path: String,
    pub(crate) node: &'a Node,
    pub(crate) report: &'a Report,
}

impl<'a> Field<'a> {
    /// Notes a problem here.
    pub(crate) fn problem(&self, what: impl AsRef<str>) {
        self.report.problem(&self.node.at, &self.path, what);
    }

    /// Notes a warning here.
    pub(crate) fn warning(&self, what: impl AsRef<str>) {
        self.report.warning(&self.node.at, &self.path, what);
    }

    /// As a map.
    pub(crate) fn section(&self) -> Option<Section<'a>> {
        Section::open(&self.path, self.node, self.report)
    }

    /// As a list.
    pub(crate) fn items(&self) -> Option<Vec<Field<'a>>> {
        let Value::List(items) = &self.node.value else {
            self.problem(format!("must be a list, not {}", self.found()));
            return None;
        };
        let item = |(index, node)| {
            let path = format!("{}[{index}]", self.path);
            Field { path, node, report: self.report }
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// As a list; anything else is a list of itself.
    pub(crate) fn item_or_items(&self) -> Vec<Field<'a>> {
        match &self.node.value {
            Value::List(_) => self.items().unwrap_or_default(),
            _ => {
                vec![Field { path: self.path.clone(), node: self.node, report: self.report }]
            }
        }
    }

    /// As text with its variables, set or not. A number or a boolean is taken as it is spelt.
    pub(crate) fn raw_text(&self) -> Option<Text> {
        match (&self.node.value, &self.node.spelt) {
            (Value::Text(text), _) => Some(text.clone()),
            (_, Some(spelt)) => Some(Text { content: spelt.clone(), ..Text::default() }),
            _ => {
                self.problem(format!("must be text, not {}", self.found()));
                None
            }
        }
    }

    /// As text whose variables are all set, and that is not empty.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.raw_text()?;
        if !text.missing.is_empty() {
            self.problem(not_set(&text.missing));
            return None;
        }
        if text.content.is_empty() {
            self.problem("is empty");
            return None;
        }
        Some(text.content)
    }

    /// As a list of texts; one text is a list of one.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.item_or_items().iter().filter_map(Field::text).collect()
    }

    /// As a boolean.
    pub(crate) fn flag(&self) -> Option<bool> {
        if let Some(Value::Bool(value)) = self.scalar() {
            return Some(value);
        }
        self.problem(format!("must be true or false, not {}", self.found()));
        None
    }

    /// As a whole number within a range.
    pub(crate) fn whole<T>(&self, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let number = match self.scalar() {
            Some(Value::Integer(value)) => T::try_from(value).ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (from, to) = (range.start(), range.end());
            let what = format!("must be a whole number from {from} to {to}, not {}", self.found());
            self.problem(what);
        }
        number
    }

    /// As a number within a range.
    pub(crate) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.scalar() {
            Some(Value::Integer(value)) => Some(value as f64),
            Some(Value::Float(value)) => Some(value),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (from, to) = (range.start(), range.end());
            self.problem(format!("must be a number from {from} to {to}, not {}", self.found()));
        }
        number
    }

    /// As seconds, with or without a fraction, within a range.
    pub(crate) fn seconds(&self, range: RangeInclusive<f64>) -> Option<Duration> {
        self.number(range).map(Duration::from_secs_f64)
    }

    /// As whole milliseconds within a range.
    pub(crate) fn millis(&self, range: RangeInclusive<u64>) -> Option<Duration> {
        self.whole(range).map(Duration::from_millis)
    }

    /// As one of some names.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let chosen = choices.iter().find(|(name, _)| *name == text);
        if chosen.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let near = did_you_mean(&text, names.iter().copied());
            let what = match names.as_slice() {
                [only] => format!("must be {only}"),
                _ => format!("must be one of {}", names.join(", ")),
            };
            self.problem(format!("{what}, not {}{near}", self.found()));
        }
        chosen.map(|(_, value)| *value)
    }

    /// What stands here, for a message.
    pub(crate) fn found(&self) -> String {
        found(&self.path, self.node)
    }

    /// The value; one that a variable brought is read as YAML reads a bare word.
    fn scalar(&self) -> Option<Value> {
        let Value::Text(text) = &self.node.value else {
            return Some(self.node.value.clone());
        };
        if !text.is_substituted || !text.missing.is_empty() {
            return None;
        }
        let bare = text.content.trim();
        match bare {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => bare
                .parse()
                .map(Value::Integer)
                .or_else(|_| bare.parse().map(Value::Float))
                .ok()
                .filter(|value| !matches!(value, Value::Float(number) if !number.is_finite())),
        }
    }
}

/// The message about variables that are not set.
pub(crate) fn not_set(missing: &[String]) -> String {
    let names: Vec<_> = missing.iter().map(String::as_str).collect();
    match names.as_slice() {
        [one] => format!("environment variable {one} is not set"),
        _ => format!("environment variables {} are not set", listed(&names)),
    }
}

fn found(path: &str, node: &Node) -> String {
    let key = path.rsplit('.').next().unwrap_or_default().to_lowercase();
    let is_secret =
        ["key", "secret", "password", "token", "auth"].iter().any(|word| key.contains(word))
            || path.contains("headers");
    match (&node.value, &node.spelt) {
        (Value::Null, _) => "nothing".to_owned(),
        (Value::List(_), _) => "a list".to_owned(),
        (Value::Map(_), _) => "a map".to_owned(),
        (Value::Text(text), _) if !text.missing.is_empty() => {
            format!("text in which {}", not_set(&text.missing))
        }
        (Value::Text(text), _) if text.is_substituted => {
            "the text that a variable holds".to_owned()
        }
        (Value::Text(_), _) if is_secret => "this text".to_owned(),
        (Value::Text(text), _) => format!("\"{}\"", excerpt(&text.content)),
        // Where a secret is wanted any number will do, so one that is wrong is none.
        (_, Some(spelt)) => excerpt(spelt),
        _ => "this".to_owned(),
    }
}

fn excerpt(text: &str) -> String {
    let mut chars = text.chars();
    let mut start: String =
        chars.by_ref().take(EXCERPT_CHARS_MAX).flat_map(char::escape_debug).collect();
    if chars.next().is_some() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{located, report::SourceFile, variable::Variables};

    /// What a reader makes of the value of `key`, and what it reports.
    fn read<T>(text: &str, reader: impl Fn(&Field<'_>) -> T) -> (T, Vec<String>) {
        let report = Report::default();
        let file = Arc::new(SourceFile { order: 0, name: "f".into() });
        let mut tree = located::parse(text, &file, &report).unwrap();
        let environment = [("FIVE", "5"), ("TRUE", "true"), ("WORD", "five")];
        let environment = environment.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Variables::new(&environment, None, &report).fill(&mut tree);
        let Value::Map(entries) = &tree.value else { panic!("a map") };
        let field = Field { path: entries[0].key.clone(), node: &entries[0].node, report: &report };
        let value = reader(&field);
        (value, report.into_findings().0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn wrong_values_are_answered_with_what_is_right() {
        for (text, expected) in [
            ("n: five", "f:1:4: n: must be a whole number from 1 to 9, not \"five\""),
            ("n: '5'", "f:1:4: n: must be a whole number from 1 to 9, not \"5\""),
            ("n: 5.5", "f:1:4: n: must be a whole number from 1 to 9, not 5.5"),
            ("n: 0x10", "f:1:4: n: must be a whole number from 1 to 9, not 0x10"),
            ("n: [1]", "f:1:4: n: must be a whole number from 1 to 9, not a list"),
            (
                "n: ${WORD}",
                "f:1:4: n: must be a whole number from 1 to 9, not the text that a variable holds",
            ),
            (
                "n: ${NONE}",
                "f:1:4: n: must be a whole number from 1 to 9, not text in which environment \
                 variable NONE is not set",
            ),
            ("token: tell", "f:1:8: token: must be a whole number from 1 to 9, not this text"),
        ] {
            let (value, found) = read(text, |field| field.whole(1..=9u32));
            assert_eq!((value, found.as_slice()), (None, [expected.to_owned()].as_slice()));
        }
    }

    #[test]
    fn numbers_and_flags_may_come_from_variables() {
        assert_eq!(read("n: os.environ/FIVE", |field| field.whole(1..=9u32)).0, Some(5));
        assert_eq!(read("n: ${FIVE}", |field| field.number(0.0..=9.0)).0, Some(5.0));
        let flag = |field: &Field<'_>| field.flag();
        assert_eq!(read("n: ${TRUE}", flag).0, Some(true));
    }

    #[test]
    fn a_wrong_choice_names_the_right_ones_and_the_nearest() {
        let choices = [("sha256", 1), ("sha512", 2)];
        let (value, found) = read("a: sha265", |field| field.choice(&choices));
        assert_eq!(value, None);
        let expected = "f:1:4: a: must be one of sha256, sha512, not \"sha265\"; did you mean \
                        `sha256`?";
        assert_eq!(found, [expected]);
    }

    #[test]
    fn text_takes_numbers_as_they_are_spelt_and_names_what_is_not_set() {
        let text = |field: &Field<'_>| field.text();
        assert_eq!(read("a: 0123", text).0.as_deref(), Some("0123"));
        let (value, found) = read("a: 'x ${NONE} ${GONE}'", text);
        assert_eq!(value, None);
        assert_eq!(found, ["f:1:4: a: environment variables NONE and GONE are not set"]);
    }
}
