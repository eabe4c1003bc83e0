//! A webhook in Helicone's words: read from a request, and shown as it is in force.

use std::collections::BTreeMap;

use domain::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};

use crate::{
    api::moment,
    record::Record,
    spec::{CompatName, DestinationSpec, EventTypeName, FilterSpec, FormatName},
};

/// The version of the payload that Helicone gives new webhooks.
const VERSION: &str = "2024-10-22";

/// What a webhook tells of.
const TYPES: [EventTypeName; 2] = [EventTypeName::Completion, EventTypeName::Error];

/// A webhook as the list shows it.
#[derive(Serialize)]
pub(super) struct Webhook<'a> {
    id: &'a str,
    created_at: String,
    destination: &'a str,
    version: &'static str,
    config: Config,
    hmac_key: Option<&'a str>,
}

/// What Helicone keeps as a webhook's `config`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Config {
    sample_rate: Number,
    property_filters: Vec<PropertyFilter>,
    include_data: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct PropertyFilter {
    key: String,
    value: String,
}

/// What the door keeps with a destination: the caller's own words.
#[derive(Serialize, Deserialize)]
pub(super) struct Own {
    config: Config,
}

impl<'a> Webhook<'a> {
    /// The webhook that a destination is.
    pub(super) fn of(record: &'a Record) -> Self {
        Self {
            id: &record.id,
            created_at: moment(record.created_at),
            destination: record.spec.url.as_deref().unwrap_or_default(),
            version: VERSION,
            config: Config::of(record),
            hmac_key: record.secret.as_ref().map(Secret::expose),
        }
    }
}

impl Config {
    /// As the caller wrote it, unless another door changed it since: then what is in force, as far as
    /// there are words for it here.
    fn of(record: &Record) -> Self {
        let spec = &record.spec;
        let is_in_force = |own: &Own| {
            let asked = own.config.spec();
            let asked = (asked.sample_rate, asked.filters, asked.include_data);
            asked == (spec.sample_rate, spec.filters.clone(), spec.include_data)
        };
        let own = Own::deserialize(&record.own).ok().filter(is_in_force);
        own.map_or_else(|| Self::from_spec(spec), |own| own.config)
    }

    fn from_spec(spec: &DestinationSpec) -> Self {
        let filters = spec.filters.iter().flatten().map(|(_, filter)| &filter.properties);
        let properties = filters.flatten().collect::<BTreeMap<_, _>>().into_iter();
        let filter = |(key, value): (&String, &String)| PropertyFilter {
            key: key.clone(),
            value: value.clone(),
        };
        Self {
            sample_rate: percent(spec.sample_rate.unwrap_or(1.0)),
            property_filters: properties.map(filter).collect(),
            include_data: spec.include_data.unwrap_or(true),
        }
    }

    /// The settings that these words stand for.
    fn spec(&self) -> DestinationSpec {
        let mut properties = BTreeMap::new();
        let mut is_contradiction = false;
        for filter in &self.property_filters {
            let before = properties.insert(filter.key.to_lowercase(), filter.value.clone());
            is_contradiction |= before.is_some_and(|before| before != filter.value);
        }
        let percent = self.sample_rate.as_f64().unwrap_or(100.0);
        let filter = FilterSpec { properties, ..FilterSpec::default() };
        DestinationSpec {
            format: Some(FormatName::Helicone),
            compat: Some(CompatName::Real),
            include_data: Some(self.include_data),
            event_types: Some(TYPES.to_vec()),
            filters: (!self.property_filters.is_empty())
                .then(|| TYPES.map(|kind| (kind, filter.clone())).into()),
            // Two values of one property: nothing has both.
            sample_rate: Some(if is_contradiction { 0.0 } else { percent / 100.0 }),
            ..DestinationSpec::default()
        }
    }
}

/// A share in percent, as JavaScript writes it: 50, not 50.0. What division leaves behind the eighth
/// digit is cut off.
fn percent(rate: f64) -> Number {
    let percent = (rate * 1e10).round() / 1e8;
    if percent.fract() == 0.0 {
        return Number::from(percent as u64);
    }
    Number::from_f64(percent).unwrap_or_else(|| 100.into())
}

/// A request body of the right form.
pub(super) struct Asked {
    destination: String,
    config: Map<String, Value>,
    include_data: bool,
}

/// Checks the form of a body as Helicone's framework (tsoa) does: missing, mistyped and unknown keys,
/// all at once.
pub(super) fn read(given: Value) -> Result<Asked, Map<String, Value>> {
    let mut details = Map::new();
    let mut note = |field: &str, message: &str, value: Option<&Value>| {
        let key = if field.is_empty() {
            "webhookData".to_owned()
        } else {
            format!("webhookData.{field}")
        };
        let mut detail = json!({"message": message});
        if let Some(value) = value {
            detail["value"] = value.clone();
        }
        details.insert(key, detail);
    };
    let Value::Object(given) = given else {
        note("", "invalid object", Some(&given));
        return Err(details);
    };
    let destination = match given.get("destination") {
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => {
            note("destination", "invalid string value", Some(other));
            None
        }
        None => {
            note("destination", "'destination' is required", None);
            None
        }
    };
    let config = match given.get("config") {
        Some(Value::Object(config)) => Some(config.clone()),
        Some(other) => {
            note("config", "invalid object", Some(other));
            None
        }
        None => {
            note("config", "'config' is required", None);
            None
        }
    };
    let include_data = match given.get("includeData").map(|value| (value, flag(value))) {
        None => Some(true),
        Some((_, Some(flag))) => Some(flag),
        Some((other, None)) => {
            note("includeData", "invalid boolean value", Some(other));
            None
        }
    };
    for key in given.keys() {
        if !["destination", "config", "includeData"].contains(&key.as_str()) {
            let message = format!("\"{key}\" is an excess property and therefore is not allowed");
            note(key, &message, Some(&Value::from(key.as_str())));
        }
    }
    match (destination, config, include_data) {
        (Some(destination), Some(config), Some(include_data)) if details.is_empty() => {
            Ok(Asked { destination, config, include_data })
        }
        _ => Err(details),
    }
}

/// What that framework takes for a boolean: its name as text too, and null for false.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Null => Some(false),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

impl Asked {
    /// Checks the values in Helicone's order; the first mistake is told. Returns the destination that
    /// the webhook is, and what the door keeps with it.
    pub(super) fn check(self) -> Result<(DestinationSpec, Own), &'static str> {
        let rate = self.config.get("sampleRate").filter(|rate| !rate.is_null());
        let sample_rate = match rate {
            None => 100.into(),
            Some(Value::Number(n)) if n.as_f64().is_some_and(|n| (0.0..=100.0).contains(&n)) => {
                n.clone()
            }
            Some(_) => return Err("Sample rate must be between 0 and 100"),
        };
        let filters = self.config.get("propertyFilters").filter(|filters| !filters.is_null());
        let filters = match filters {
            None => &Vec::new(),
            Some(Value::Array(filters)) => filters,
            Some(_) => return Err("Property filters must be an array"),
        };
        let text = |filter: &Value, key: &str| filter.get(key)?.as_str().map(str::to_owned);
        let filter = |filter: &Value| {
            Some(PropertyFilter { key: text(filter, "key")?, value: text(filter, "value")? })
        };
        let property_filters: Option<Vec<_>> = filters.iter().map(filter).collect();
        let property_filters = property_filters
            .ok_or("Property filters must be an array of objects with key and value properties")?;
        let config = Config { sample_rate, property_filters, include_data: self.include_data };
        let spec = DestinationSpec { url: Some(self.destination), ..config.spec() };
        Ok((spec, Own { config }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(given: Value) -> String {
        match read(given) {
            Err(details) => serde_json::to_string(&details).unwrap(),
            Ok(asked) => match asked.check() {
                Err(text) => text.to_owned(),
                Ok((_, own)) => serde_json::to_string(&own.config).unwrap(),
            },
        }
    }

    #[test]
    fn bodies_are_judged_as_helicone_judges_them() {
        let whole = |config: Value| answer(json!({"destination": "x", "config": config}));
        let filters = "Property filters must be an array of objects with key and value properties";
        for (config, expected) in [
            (json!({}), r#"{"sampleRate":100,"propertyFilters":[],"includeData":true}"#),
            (
                json!({"sampleRate": 12.5, "propertyFilters": [{"key": "a", "value": "b", "c": 1}],
                       "includeData": false, "x": 1}),
                r#"{"sampleRate":12.5,"propertyFilters":[{"key":"a","value":"b"}],"includeData":true}"#,
            ),
            (
                json!({"sampleRate": null, "propertyFilters": null}),
                r#"{"sampleRate":100,"propertyFilters":[],"includeData":true}"#,
            ),
            (
                json!({"sampleRate": 0}),
                r#"{"sampleRate":0,"propertyFilters":[],"includeData":true}"#,
            ),
            (json!({"sampleRate": "50"}), "Sample rate must be between 0 and 100"),
            (json!({"sampleRate": 100.1}), "Sample rate must be between 0 and 100"),
            (
                json!({"sampleRate": -1, "propertyFilters": 1}),
                "Sample rate must be between 0 and 100",
            ),
            (json!({"propertyFilters": {}}), "Property filters must be an array"),
            (json!({"propertyFilters": [null]}), filters),
            (json!({"propertyFilters": [{"key": "a"}]}), filters),
            (json!({"propertyFilters": [{"key": "a", "value": 1}]}), filters),
        ] {
            assert_eq!(whole(config.clone()), expected, "{config}");
        }
    }

    #[test]
    fn mistakes_of_form_are_told_all_at_once() {
        let given = json!({"destination": 5, "includeData": "yes", "url": "https://a.example"});
        let expected = json!({
            "webhookData.destination": {"message": "invalid string value", "value": 5},
            "webhookData.config": {"message": "'config' is required"},
            "webhookData.includeData": {"message": "invalid boolean value", "value": "yes"},
            "webhookData.url": {
                "message": "\"url\" is an excess property and therefore is not allowed",
                "value": "url",
            },
        });
        assert_eq!(answer(given), expected.to_string());
        let expected = json!({"webhookData": {"message": "invalid object", "value": []}});
        assert_eq!(answer(json!([])), expected.to_string());
    }

    #[test]
    fn a_boolean_may_be_text_or_null_as_there() {
        for (given, expected) in [
            (json!(true), Some(true)),
            (json!(false), Some(false)),
            (json!("True"), Some(true)),
            (json!("false"), Some(false)),
            (json!(null), Some(false)),
            (json!("yes"), None),
            (json!(1), None),
            (json!([]), None),
        ] {
            let body = json!({"destination": "x", "config": {}, "includeData": given});
            let asked = read(body).ok().map(|asked| asked.include_data);
            assert_eq!(asked, expected, "{given}");
        }
    }

    #[test]
    fn two_values_of_one_property_match_nothing() {
        let spec = |values: [&str; 2]| {
            let filter = |(key, value): (&str, &str)| json!({"key": key, "value": value});
            let filters = ["Env", "env"].into_iter().zip(values).map(filter);
            let config = json!({"sampleRate": 50, "propertyFilters": filters.collect::<Vec<_>>()});
            let asked = read(json!({"destination": "https://a.example", "config": config}));
            asked.ok().and_then(|asked| asked.check().ok()).unwrap().0
        };
        assert_eq!(spec(["a", "b"]).sample_rate, Some(0.0));
        assert_eq!(spec(["a", "a"]).sample_rate, Some(0.5));
    }

    #[test]
    fn shares_are_shown_as_percents_without_what_division_leaves() {
        for percents in [0.0, 0.1, 1.0, 12.5, 33.3, 50.0, 99.99, 100.0] {
            let shown = percent(percents / 100.0).to_string();
            assert_eq!(shown, percents.to_string());
        }
    }
}
