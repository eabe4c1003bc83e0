//! Comparing two JSON values, and the order of an object's keys.

use serde_json::Value;

/// Whether a path is that of a value or of something in it.
pub(crate) fn is_within(path: &str, whole: &str) -> bool {
    path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Paths at which two values differ, each with both values.
pub(crate) fn differences(theirs: &Value, ours: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    compare("", theirs, ours, &mut found);
    found
}

fn compare(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<(String, String)>) {
    match (theirs, ours) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                let path = format!("{path}/{key}");
                match right.get(key) {
                    Some(other) => compare(&path, value, other, found),
                    None => found.push((path, format!("is missing; there it is {value}"))),
                }
            }
            for (key, value) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
                found.push((format!("{path}/{key}"), format!("is not there; here it is {value}")));
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (at, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{path}/{at}"), left, right, found);
            }
        }
        // A float stays a float, whatever its value: receivers in typed languages see the kind.
        (Value::Number(left), Value::Number(right)) if left.is_f64() == right.is_f64() => {
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            let is_time = left > 1e9;
            if (left - right).abs() > if is_time { 1e-6 } else { 1e-15 } {
                found.push((path.to_owned(), format!("is {right}; there it is {left}")));
            }
        }
        _ if theirs == ours => {}
        _ => found.push((path.to_owned(), format!("is {ours}; there it is {theirs}"))),
    }
}

/// The names of an object's members, in order.
pub(crate) fn ordered_keys(json: &[u8]) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Object;
            impl<'de> serde::de::Visitor<'de> for Object {
                type Value = Keys;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, _)) = map.next_entry::<_, serde::de::IgnoredAny>()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            deserializer.deserialize_map(Object)
        }
    }
    serde_json::from_slice::<Keys>(json).unwrap().0
}
