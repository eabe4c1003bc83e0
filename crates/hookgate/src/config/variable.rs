//! Variables in text: `os.environ/NAME` (the whole text), `${NAME}` and
//! `{{environment_variables.NAME}}` (anywhere in it).
//!
//! Invariant: keys are never touched, and what a variable brings is not searched again.

use std::collections::HashMap;

use super::{
    located::{Node, Text, Value},
    report::Report,
    section,
};

const WHOLE: &str = "os.environ/";
const OPENINGS: [(&str, &str); 2] = [("${", "}"), ("{{environment_variables.", "}}")];

/// Whether a text is, or holds, a variable.
pub(crate) fn is_in(text: &str) -> bool {
    text.starts_with(WHOLE) || OPENINGS.iter().any(|(opening, _)| text.contains(opening))
}

/// The environment, and what the `environment_variables:` block adds to it.
#[derive(Clone)]
pub(crate) struct Variables {
    values: HashMap<String, String>,
    /// Names that the block defines by another variable that is not set: that one's name.
    broken: HashMap<String, String>,
}

impl Variables {
    /// The environment and a file's block; the block wins, as with LiteLLM.
    pub(crate) fn new(
        environment: &HashMap<String, String>,
        block: Option<&Node>,
        report: &Report,
    ) -> Self {
        let mut variables = Self { values: environment.clone(), broken: HashMap::new() };
        let Some(block) = block.filter(|block| block.value != Value::Null) else {
            return variables;
        };
        let outside = variables.clone();
        let Value::Map(entries) = &block.value else {
            report.problem(&block.at, "environment_variables", "must be a map of names to values");
            return variables;
        };
        for entry in entries {
            let text = match (&entry.node.value, &entry.node.spelt) {
                (Value::Null, _) => continue,
                (Value::Text(text), _) => outside.substitute(&text.content),
                (_, Some(spelt)) => Text { content: spelt.clone(), ..Text::default() },
                _ => {
                    let path = section::join("environment_variables", &entry.key);
                    report.problem(&entry.node.at, &path, "must be text");
                    continue;
                }
            };
            match text.missing.into_iter().next() {
                None => {
                    variables.values.insert(entry.key.clone(), text.content);
                }
                Some(missing) => {
                    variables.values.remove(&entry.key);
                    variables.broken.insert(entry.key.clone(), missing);
                }
            }
        }
        variables
    }

    /// A variable's value. An empty one counts as not set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The variable to set so that this one has a value, if it has none: itself, or the one that
    /// the block defines it by.
    pub(crate) fn lacking<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        match self.get(name) {
            Some(_) => None,
            None => Some(self.broken.get(name).map_or(name, String::as_str)),
        }
    }

    /// Replaces the variables in every text of a tree.
    pub(crate) fn fill(&self, node: &mut Node) {
        match &mut node.value {
            Value::Text(text) => *text = self.substitute(&text.content),
            Value::List(items) => items.iter_mut().for_each(|item| self.fill(item)),
            Value::Map(entries) => entries.iter_mut().for_each(|entry| self.fill(&mut entry.node)),
            _ => {}
        }
    }

    fn substitute(&self, text: &str) -> Text {
        let mut made = Text::default();
        if let Some(name) = text.strip_prefix(WHOLE).filter(|name| is_name(name)) {
            self.append(name, &mut made);
            return made;
        }
        let mut rest = text;
        while let Some((before, name, after)) = next_reference(rest) {
            made.content.push_str(before);
            self.append(name, &mut made);
            rest = after;
        }
        made.content.push_str(rest);
        made
    }

    fn append(&self, name: &str, made: &mut Text) {
        made.is_substituted = true;
        made.missing.extend(self.lacking(name).map(str::to_owned));
        made.content.push_str(self.get(name).unwrap_or_default());
    }
}

/// The text before the first reference, the name in it, and the text after it.
fn next_reference(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let (start, opening, closing) = OPENINGS
            .iter()
            .filter_map(|(opening, closing)| {
                text[from..].find(opening).map(|start| (from + start, *opening, *closing))
            })
            .min()?;
        let inside = &text[start + opening.len()..];
        let name = inside.find(closing).map(|end| &inside[..end]);
        if let Some(name) = name.filter(|name| is_name(name)) {
            return Some((&text[..start], name, &inside[name.len() + closing.len()..]));
        }
        from = start + opening.len();
    }
}

fn is_name(name: &str) -> bool {
    let first =
        name.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{located, report::SourceFile};

    fn tree(text: &str) -> Node {
        let file = Arc::new(SourceFile { order: 0, name: "config.yaml".into() });
        located::parse(text, &file, &Report::default()).unwrap()
    }

    fn variables(block: &str) -> Variables {
        let environment = [("KEY", "k-1"), ("URL2", "https://x"), ("EMPTY", "")];
        let environment =
            environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Variables::new(&environment, Some(&tree(block)), &Report::default())
    }

    #[test]
    fn variables_are_replaced_in_the_three_spellings_and_nowhere_else() {
        for (text, expected) in [
            ("os.environ/KEY", "k-1"),
            ("${KEY}", "k-1"),
            ("Bearer ${KEY}!", "Bearer k-1!"),
            ("{{environment_variables.URL2}}/a/${KEY}", "https://x/a/k-1"),
            ("${KEY}${KEY}", "k-1k-1"),
            ("Bearer os.environ/KEY", "Bearer os.environ/KEY"),
            ("$KEY {KEY} ${} ${a b} ${KEY", "$KEY {KEY} ${} ${a b} ${KEY"),
            ("${a ${KEY}", "${a k-1"),
            ("{{environment_variables.}} é", "{{environment_variables.}} é"),
        ] {
            let made = variables("").substitute(text);
            assert_eq!((made.content.as_str(), made.missing.len()), (expected, 0), "{text}");
            assert_eq!(made.is_substituted, text != expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_set_is_named() {
        for text in ["os.environ/NONE", "a ${NONE} b", "{{environment_variables.NONE}}"] {
            assert_eq!(variables("").substitute(text).missing, ["NONE"], "{text}");
        }
        assert_eq!(variables("").substitute("${EMPTY}").missing, ["EMPTY"]);
    }

    #[test]
    fn the_block_adds_variables_and_wins_over_the_environment() {
        let block = "KEY: other\nNEW: os.environ/URL2\nPORT: 0123\nLOST: ${GONE}\n";
        let variables = variables(block);
        assert_eq!(variables.get("KEY"), Some("other"));
        assert_eq!(variables.get("NEW"), Some("https://x"));
        assert_eq!(variables.get("PORT"), Some("0123"));
        assert_eq!(variables.substitute("${LOST}").missing, ["GONE"]);
    }

    #[test]
    fn a_value_that_looks_like_a_reference_is_left_as_it_is() {
        let variables = variables("SNEAKY: 'x'\nTWICE: '{{environment_variables.SNEAKY}}${KEY}'\n");
        // The block's values see the environment only, so nothing can go in circles.
        assert_eq!(variables.substitute("${TWICE}").missing, ["SNEAKY"]);
        let mut node = tree("${KEY}: ['${KEY}', 5]");
        variables.fill(&mut node);
        let Value::Map(entries) = &node.value else { panic!("a map") };
        assert_eq!(entries[0].key, "${KEY}");
        assert_eq!(located::to_json(&entries[0].node), serde_json::json!(["k-1", 5]));
    }
}
