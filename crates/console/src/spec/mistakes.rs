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
    let whole = Value::Object(given.clone());
    let error = match serde_json::from_value(whole.clone()) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let mut finder = Finder { is_valid: &|value| parse::<T>(value), problems: Vec::new() };
    finder.look(&whole, "", &|value| value, 0);
    if finder.problems.is_empty() {
        finder.problems.push(FieldProblem::new("", reworded(&error.to_string())));
    }
    Err(finder.problems)
}

/// Reads what can be read of an object, and everything that is wrong with it: each key with a mistake
/// in it has its default.
pub(crate) fn read_rest<T: DeserializeOwned + Default>(
    given: &Map<String, Value>,
) -> (T, Vec<FieldProblem>) {
    let problems = match read(given) {
        Ok(value) => return (value, Vec::new()),
        Err(problems) => problems,
    };
    let sound = given.iter().filter(|(key, _)| !problems.iter().any(|p| p.is_in(key)));
    let sound = sound.map(|(key, value)| (key.clone(), value.clone())).collect();
    (read(&sound).unwrap_or_default(), problems)
}

fn parse<T: DeserializeOwned>(value: Value) -> Result<(), String> {
    serde_json::from_value::<T>(value).map(|_| ()).map_err(|error| error.to_string())
}

struct Finder<'a> {
    is_valid: &'a dyn Fn(Value) -> Result<(), String>,
    problems: Vec<FieldProblem>,
}

impl Finder<'_> {
    /// Notes what is wrong in `part`, which `wrap` puts back into its place.
    fn look(&mut self, part: &Value, path: &str, wrap: &dyn Fn(Value) -> Value, depth: usize) {
        let Err(error) = (self.is_valid)(wrap(part.clone())) else { return };
        let before = self.problems.len();
        // What must not be a list or an object at all has no parts.
        let may_hold_parts = match part {
            Value::Object(_) => (self.is_valid)(wrap(Value::Object(Map::new()))).is_ok(),
            Value::Array(_) => (self.is_valid)(wrap(Value::Array(Vec::new()))).is_ok(),
            _ => false,
        };
        if may_hold_parts && depth < DEPTH_MAX {
            match part {
                Value::Object(parts) => self.look_into_object(parts, path, wrap, depth),
                Value::Array(parts) => {
                    for (index, part) in parts.iter().enumerate() {
                        let wrap = |value| wrap(Value::Array(vec![value]));
                        self.look(part, &format!("{path}[{index}]"), &wrap, depth + 1);
                    }
                }
                _ => {}
            }
        }
        if self.problems.len() == before && before < PROBLEMS_MAX {
            let is_secret =
                path == "secret" || path.starts_with("headers.") || path.starts_with("tls.");
            let message = if is_secret { "must be text".to_owned() } else { reworded(&error) };
            self.problems.push(FieldProblem::new(path, message));
        }
    }

    fn look_into_object(
        &mut self,
        parts: &Map<String, Value>,
        path: &str,
        wrap: &dyn Fn(Value) -> Value,
        depth: usize,
    ) {
        for (key, part) in parts {
            let wrap = |value| wrap(Value::Object(Map::from_iter([(key.clone(), value)])));
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            // An unknown key is one, whatever its value.
            match (self.is_valid)(wrap(Value::Null)) {
                Err(error) if is_about_key(&error, key) => {
                    if self.problems.len() < PROBLEMS_MAX {
                        self.problems.push(FieldProblem::new(path, reworded(&error)));
                    }
                }
                _ => self.look(part, &path, &wrap, depth + 1),
            }
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
            ]},
        }));
        insta::assert_snapshot!(found.join("\n"));
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
