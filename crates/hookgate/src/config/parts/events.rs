//! Which events a destination gets: types, and filters by type.

use domain::{destination::EventFilter, event::EventType, failure::Severity};

use crate::config::{
    report::did_you_mean,
    section::{Field, Section, Unknown, listed},
};

/// Names of event types: the seeds' own, LiteLLM's, and those of the gateway's own deliveries.
const EVENT_TYPES: [(&str, EventType); 10] = [
    ("completion", EventType::Completion),
    ("error", EventType::Error),
    ("streaming", EventType::Streaming),
    ("budget", EventType::Budget),
    ("rate_limit", EventType::RateLimit),
    ("destination.disabled", EventType::DestinationDisabled),
    ("destination.recovered", EventType::DestinationRecovered),
    ("delivery.exhausted", EventType::DeliveryExhausted),
    ("llm_api_success", EventType::Completion),
    ("llm_api_failure", EventType::Error),
];

/// Reads a list of event types, each once, in the order of `EventType::ALL`.
pub(crate) fn event_types(field: &Field<'_>) -> Vec<EventType> {
    let asked: Vec<_> =
        field.item_or_items().iter().filter_map(|item| item.choice(&EVENT_TYPES)).collect();
    EventType::ALL.into_iter().filter(|kind| asked.contains(kind)).collect()
}

/// `completion and error`.
pub(crate) fn names(kinds: &[EventType]) -> String {
    let names: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
    listed(&names)
}

/// Reads filters by event type.
pub(crate) fn filters(field: &Field<'_>) -> Vec<(EventType, EventFilter)> {
    let mut filters: Vec<(EventType, EventFilter)> = Vec::new();
    let Some(section) = field.section() else { return filters };
    for (entry, field) in section.fields() {
        let Some((_, kind)) = EVENT_TYPES.iter().find(|(name, _)| *name == entry.key) else {
            let near = did_you_mean(&entry.key, EVENT_TYPES.map(|(name, _)| name));
            let what = format!("is no event type; there are {}{near}", names(&EventType::ALL));
            field.report.problem(&entry.at, &field.path, what);
            continue;
        };
        let Some(filter) = field.section() else { continue };
        let read = event_filter(filter, *kind);
        if filters.iter().any(|(earlier, _)| earlier == kind) {
            field.problem(format!("filters {} events, which another key does too", kind.as_str()));
        }
        filters.push((*kind, read));
    }
    filters
}

fn event_filter(section: Section<'_>, kind: EventType) -> EventFilter {
    let severities = [Severity::Warning, Severity::Error, Severity::Critical];
    let severities = severities.map(|severity| (severity.as_str(), severity));
    let is_of_no_call = kind == EventType::Budget || kind.is_operational();
    let get = |key, only: Option<EventType>| {
        let field = section.get(key)?;
        let kind_name = kind.as_str();
        match only.filter(|only| *only != kind) {
            Some(only) => {
                let only = only.as_str();
                let what =
                    format!("narrows {only} events only, so it has no effect on {kind_name}");
                field.warning(what);
            }
            None if is_of_no_call => {
                field.warning(format!("has no effect: {kind_name} events are of no single call"));
            }
            None => {}
        }
        Some(field)
    };
    let texts = |key| get(key, None).map(|field| field.texts()).unwrap_or_default();
    let filter = EventFilter {
        models: texts("models"),
        min_tokens: get("min_tokens", Some(EventType::Completion))
            .and_then(|field| field.whole(0..=1_000_000_000)),
        severity: get("severity", Some(EventType::Error))
            .map(|field| field.item_or_items())
            .unwrap_or_default()
            .iter()
            .filter_map(|item| item.choice(&severities))
            .collect(),
        keys: texts("keys"),
        end_users: texts("end_users"),
        tags: texts("tags"),
        properties: get("properties", None).map(|field| properties(&field)).unwrap_or_default(),
    };
    section.finish(Unknown::Warn, &[]);
    filter
}

/// Names to values; a name that is given twice but for its case could never match.
fn properties(field: &Field<'_>) -> Vec<(String, String)> {
    let Some(section) = field.section() else { return Vec::new() };
    let mut properties: Vec<(String, String)> = Vec::new();
    for (entry, field) in section.fields() {
        if let Some((first, _)) =
            properties.iter().find(|(name, _)| name.eq_ignore_ascii_case(&entry.key))
        {
            field.problem(format!("is `{first}` once more: names of properties have no case"));
        }
        properties.extend(field.text().map(|value| (entry.key.clone(), value)));
    }
    properties
}
