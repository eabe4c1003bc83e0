//! Every mistake of form in a JSON object at once, each with its path.
//!
//! serde stops at the first mistake. So what fails as a whole is tried part by part, which needs
//! types whose every field has a default: then a part alone is as good as the whole.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::problem::FieldProblem;

/// How deep parts are taken apart.
const DEPTH_MAX: usize = 8;
/// How like a known name an unknown one must be to be taken for a slip.
const LIKENESS_MIN: f64 = 0.85;
/// Mistakes that are told at once.
const PROBLEMS_MAX: usize = 50;

/// Reads an object as a `T` whose every field has a default.
pub(crate) fn read<T: DeserializeOwned>(
    given: &Map<String, Value>,
) -> Result<T, Vec<FieldProblem>> {
    let (_, problems) = look_at::<T>(given);
    if !problems.is_empty() {
        return Err(problems);
    }
    serde_json::from_value(Value::Object(given.clone()))
        .map_err(|error| vec![FieldProblem::new("", reworded(&error.to_string()))])
}

/// Reads what can be read of an object, and everything that is wrong with it: what has a mistake in it
/// is left out.
pub(crate) fn read_rest<T: DeserializeOwned + Default>(
    given: &Map<String, Value>,
) -> (T, Vec<FieldProblem>) {
    let (sound, mut problems) = look_at::<T>(given);
    let read = serde_json::from_value(sound.unwrap_or_else(|| Value::Object(Map::new())));
    let value = read.unwrap_or_else(|error: serde_json::Error| {
        if problems.is_empty() {
            problems.push(FieldProblem::new("", reworded(&error.to_string())));
        }
        T::default()
    });
    (value, problems)
}

/// What is sound of an object, and what is wrong with it.
fn look_at<T: DeserializeOwned>(given: &Map<String, Value>) -> (Option<Value>, Vec<FieldProblem>) {
    let mut finder = Finder { is_valid: &|value| parse::<T>(value), problems: Vec::new() };
    let sound = finder.look(&Value::Object(given.clone()), "", &|value| value, 0);
    (sound, finder.problems)
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<(), String> {
    serde_json::from_value::<T>(value).map(|_| ()).map_err(|error| error.to_string())
}

struct Finder<'a> {
    is_valid: &'a dyn Fn(Value) -> Result<(), String>,
    problems: Vec<FieldProblem>,
}

impl Finder<'_> {
    /// Notes what is wrong in `part`, which `wrap` puts back into its place, and returns what is sound
    /// of it.
    fn look(
        &mut self,
        part: &Value,
        path: &str,
        wrap: &dyn Fn(Value) -> Value,
        depth: usize,
    ) -> Option<Value> {
        let is_valid = |value: Value| (self.is_valid)(wrap(value));
        let verdict = is_valid(part.clone());
        let takes_object = || is_valid(Value::Object(Map::new())).is_ok();
        let before = self.problems.len();
        let sound = match part {
            Value::Object(parts) if depth < DEPTH_MAX && takes_object() => {
                Some(self.look_into_object(parts, path, wrap, depth))
            }
            // serde takes a list for an object, its fields by their order.
            Value::Array(_) if takes_object() => {
                self.problem(path, "must be an object, not a list");
                None
            }
            Value::Array(parts) if depth < DEPTH_MAX && is_valid(Value::Array(vec![])).is_ok() => {
                self.look_into_list(parts, path, wrap, depth)
            }
            _ => verdict.is_ok().then(|| part.clone()),
        };
        match verdict {
            Err(error) if self.problems.len() == before => {
                let is_secret = path == "secret" || path.starts_with("headers.");
                let message = if is_secret { "must be text".to_owned() } else { reworded(&error) };
                self.problem(path, message);
                None
            }
            _ => sound,
        }
    }

    fn look_into_object(
        &mut self,
        parts: &Map<String, Value>,
        path: &str,
        wrap: &dyn Fn(Value) -> Value,
        depth: usize,
    ) -> Value {
        let mut sound = Map::new();
        for (key, part) in parts {
            let wrap = |value| wrap(Value::Object(Map::from_iter([(key.clone(), value)])));
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            // An unknown key is one, whatever its value.
            match (self.is_valid)(wrap(Value::Null)) {
                Err(error) if is_about_key(&error, key) => self.problem(&path, reworded(&error)),
                _ => {
                    let part = self.look(part, &path, &wrap, depth + 1);
                    sound.extend(part.map(|part| (key.clone(), part)));
                }
            }
        }
        Value::Object(sound)
    }

    /// A list is sound if each element is one, so that none changes its place.
    fn look_into_list(
        &mut self,
        parts: &[Value],
        path: &str,
        wrap: &dyn Fn(Value) -> Value,
        depth: usize,
    ) -> Option<Value> {
        let mut sound = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let wrap = |value| wrap(Value::Array(vec![value]));
            sound.push(self.look(part, &format!("{path}[{index}]"), &wrap, depth + 1));
        }
        sound.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
    }

    fn problem(&mut self, path: &str, message: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(FieldProblem::new(path, message));
        }
    }
}

fn is_about_key(error: &str, key: &str) -> bool {
    error.starts_with(&format!("unknown field `{key}`"))
        || error.starts_with(&format!("unknown variant `{key}`"))
}

/// serde's text, in words for people who do not know serde.
fn reworded(error: &str) -> String {
    let (found, expected) = error.split_once(", expected ").unwrap_or((error, ""));
    let names = expected.strip_prefix("one of ").unwrap_or(expected).replace('`', "");
    // serde writes two names as `a` or `b`.
    let names = names.replace(" or ", ", ");
    if found.starts_with("unknown field") {
        let unknown = found.split('`').nth(1).unwrap_or_default();
        let lower = unknown.to_lowercase();
        let likeness = |name: &str| strsim::jaro_winkler(name, &lower);
        let near = names.split(", ").max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let near = near.filter(|near| likeness(near) >= LIKENESS_MIN);
        return match near {
            Some(near) => format!("is not known here; did you mean {near}?"),
            None => format!("is not known here; known are {names}"),
        };
    }
    if found.starts_with("unknown variant") {
        return format!("must be one of {names}");
    }
    if error.starts_with("data did not match any variant") {
        return "must be text or a number".to_owned();
    }
    let Some((_, found)) = found.split_once(": ") else { return error.to_owned() };
    let expected = match expected {
        "u32" | "u64" => "a whole number of 0 or more",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "string or map" => "text",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    };
    // What was found may be long, or a secret in the wrong place.
    let kind = found.split_once(' ').map_or(found, |(kind, _)| kind);
    let kind = match kind {
        "string" => "text",
        "integer" | "floating" if expected.contains("number") => expected,
        "integer" | "floating" => "a number",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "an object",
        other => other,
    };
    if kind == expected {
        format!("must be {expected}")
    } else {
        format!("must be {expected}, not {kind}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::spec::DestinationSpec;

    fn mistakes(given: Value) -> Vec<String> {
        let Value::Object(given) = given else { unreachable!("tests give objects") };
        let problems = read::<DestinationSpec>(&given).err().unwrap_or_default();
        problems.iter().map(|p| format!("{}: {}", p.field, p.message)).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_path() {
        let found = mistakes(json!({
            "name": 5,
            "urll": {"a": 1},
            "Format": "event",
            "method": "GET",
            "headers": {"X-A": "fine", "X-B": 7},
            "secret": ["a"],
            "timeout_ms": {"a": [1]},
            "sample_rate": "half",
            "batch_size": -1,
            "privacy": "yes",
            "event_types": ["completion", "nonsense", 3],
            "filters": {
                "completion": {"models": "gpt", "model": ["x"], "min_tokens": 1.5},
                "nothing": {},
                "error": {"severity": ["error", "worst"]},
            },
            "rules": {"groups": [
                {"logic": "xor", "rules": [{"field": "model", "operator": "is", "value": true}]},
                {"rules": [{"field": "model", "operator": "equals", "value": "x"}]},
                [],
            ]},
        }));
        insta::assert_snapshot!(found.join("\n"));
    }

    #[test]
    fn of_what_holds_a_mistake_the_rest_is_read() {
        let given = json!({
            "name": "a", "url": 5, "event_types": ["completion", "nonsense"],
            "filters": {"completion": {"model": 1, "models": ["x"]}, "error": {"min_tokens": 5}},
            "rules": {"groups": [{"logic": "xor", "rules": [{"field": "x", "operator": "exists"}]}]},
        });
        let Value::Object(given) = given else { unreachable!("it is one") };
        let (rest, problems) = read_rest::<DestinationSpec>(&given);
        assert_eq!(problems.len(), 5);
        let expected = json!({
            "name": "a",
            "filters": {"completion": {"models": ["x"]}, "error": {"min_tokens": 5}},
            "rules": {"groups": [{"rules": [{"operator": "exists"}]}]},
        });
        assert_eq!(serde_json::to_value(rest).unwrap(), expected);
    }

    #[test]
    fn what_is_right_is_read() {
        let given = json!({
            "name": "a", "url": "https://a.example/", "sample_rate": 1, "format": "otlp",
            "rules": {"groups": [{"rules": [{"field": "model", "operator": "exists"}]}]},
            "rate_limit": null,
        });
        assert_eq!(mistakes(given), Vec::<String>::new());
    }
}
