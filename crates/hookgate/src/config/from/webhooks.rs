//! Seed 002's `webhooks` and `events`: destinations by name, and what they get.
//!
//! `events` governs the entries of `webhooks` only. Which destination stands by for which is noted
//! here and decided in `standby`, once all destinations are known.

use std::time::Duration;

use domain::{
    destination::{Batch, Compression, Destination, EventFilter, Format, LogFormat},
    event::EventType,
    id::DestinationName,
};

use crate::config::{
    parts::{self, Headers, Own},
    policy::Policy,
    report::At,
    section::{Field, Section, Unknown},
    standby::{Draft, FailoverFor},
};

/// The longest name of a destination.
const NAME_CHARS_MAX: usize = 100;

/// What `events` says for every entry of `webhooks`.
pub(crate) struct Subscription {
    event_types: Vec<EventType>,
    filters: Vec<(EventType, EventFilter)>,
}

impl Default for Subscription {
    /// Everything but streaming, which makes a record for each piece of each stream.
    fn default() -> Self {
        let event_types = EventType::ALL
            .into_iter()
            .filter(|kind| *kind != EventType::Streaming && !kind.is_operational());
        Self { event_types: event_types.collect(), filters: Vec::new() }
    }
}

impl Subscription {
    /// Takes what `events` says.
    pub(crate) fn read(&mut self, section: Section<'_>) {
        if let Some(field) = section.get("subscribe") {
            self.event_types = parts::event_types(&field);
            if field.item_or_items().is_empty() {
                field.warning("names no event type, so webhooks without event_types get nothing");
            }
        }
        if let Some(field) = section.get("filters") {
            self.filters = parts::filters(&field);
        }
        section.finish(Unknown::Warn, &[]);
    }
}

/// Reads the entries of `webhooks`. Those that are not enabled come along as names.
pub(crate) fn read(
    webhooks: &Section<'_>,
    subscription: &Subscription,
    policy: &Policy,
) -> Vec<Draft> {
    webhooks
        .fields()
        .filter_map(|(entry, field)| {
            check_name(&entry.key, &entry.at, &field);
            let section = field.section()?;
            Some(read_entry(&entry.key, &entry.at, section, subscription, policy))
        })
        .collect()
}

/// Notes a problem if a destination cannot have this name.
pub(crate) fn check_name(name: &str, at: &At, field: &Field<'_>) {
    let is_long = name.chars().count() > NAME_CHARS_MAX;
    if name.trim().is_empty() || is_long || name.chars().any(char::is_control) {
        let what = format!("a destination's name has 1 to {NAME_CHARS_MAX} printable characters");
        field.report.problem(at, &field.path, what);
    }
}

fn read_entry(
    name: &str,
    at: &At,
    section: Section<'_>,
    subscription: &Subscription,
    policy: &Policy,
) -> Draft {
    let path = section.path.clone();
    let draft = |destination, failover_for| Draft {
        name: name.to_owned(),
        at: at.clone(),
        path: path.clone(),
        destination,
        failover_for,
    };
    // The secrets of a disabled entry need not be set.
    if section.get("enabled").and_then(|field| field.flag()) == Some(false) {
        return draft(None, FailoverFor::Nobody);
    }
    let own = Own::read(&section, policy);
    let field = section.get("url");
    if field.is_none() {
        section.report.problem(at, &path, "url is missing: where should events go?");
    }
    let address = field.and_then(|field| parts::address(&field, policy, own.allow_private));
    let mut headers = Headers::default();
    if let Some(authorization) = address.as_ref().and_then(|a| a.authorization.clone()) {
        headers.put("Authorization", authorization);
    }
    if let Some(field) = section.get("headers") {
        headers.read(&field);
    }
    let format = read_format(&section);
    let batch = read_batch(&section, format, &own, policy);
    let event_types = read_event_types(&section, format, subscription);
    let timeout = section.get("timeout_ms").and_then(|field| field.millis(1..=600_000));
    let failover_for = read_failover(&section);
    section.finish(Unknown::Warn, &[]);
    let destination = Destination {
        name: DestinationName::new(name),
        // Without an address there is a problem already, and no settings come of it.
        url: address.map(|address| address.url).unwrap_or_default(),
        method: own.method,
        headers: headers.into_vec(),
        format,
        compat: own.compat,
        event_types,
        filters: own.filters.unwrap_or_else(|| subscription.filters.clone()),
        sample_rate: own.sample_rate,
        batch,
        retry: policy.defaults.retry.clone(),
        timeout: timeout.unwrap_or(policy.defaults.timeout),
        concurrent_deliveries: policy.defaults.concurrent_deliveries,
        queue_size: policy.defaults.queue_size,
        rate_limit: own.rate_limit,
        rules: None,
        compression: Compression::None,
        privacy: own.privacy,
        signing: own.signing,
        allow_private: own.allow_private,
        tls: None,
        strict_order: false,
        backup: None,
    };
    draft(Some(destination), failover_for)
}

#[derive(Clone, Copy)]
enum FormatName {
    Event,
    GenericApi,
}

fn read_format(section: &Section<'_>) -> Format {
    let names = [("event", FormatName::Event), ("generic_api", FormatName::GenericApi)];
    let name = section.get("format").and_then(|field| field.choice(&names));
    let log_format = section.get("log_format");
    match name.unwrap_or(FormatName::Event) {
        FormatName::Event => {
            if let Some(field) = log_format {
                field.warning("has no effect: only `format: generic_api` has it");
            }
            Format::Event
        }
        FormatName::GenericApi => {
            let chosen = log_format.and_then(|field| field.choice(&parts::LOG_FORMATS));
            Format::GenericApi(chosen.unwrap_or_default())
        }
    }
}

fn read_batch(section: &Section<'_>, format: Format, own: &Own, policy: &Policy) -> Batch {
    let single = match format {
        Format::Event => Some("`format: event`"),
        Format::GenericApi(LogFormat::Single) => Some("`log_format: single`"),
        _ => None,
    };
    if let Some(format) = single {
        parts::warn_unbatched(section, format);
        let flush_interval = Duration::ZERO;
        return Batch { events_max: 1, bytes_max: policy.defaults.batch_bytes_max, flush_interval };
    }
    Batch {
        events_max: own.batch_size.unwrap_or(parts::BATCH_SIZE),
        bytes_max: policy.defaults.batch_bytes_max,
        flush_interval: own.flush_interval.unwrap_or(parts::FLUSH_INTERVAL),
    }
}

/// An entry's own types, or those of `events`; `generic_api` has a form for outcomes only.
fn read_event_types(
    section: &Section<'_>,
    format: Format,
    subscription: &Subscription,
) -> Vec<EventType> {
    let field = section.get("event_types");
    let mut event_types =
        field.as_ref().map_or_else(|| subscription.event_types.clone(), parts::event_types);
    if matches!(format, Format::GenericApi(_)) {
        let is_outcome =
            |kind: &EventType| matches!(kind, EventType::Completion | EventType::Error);
        if let Some(field) = field.filter(|_| !event_types.iter().all(is_outcome)) {
            field.warning("`format: generic_api` has a form for completion and error events only");
        }
        event_types.retain(is_outcome);
    }
    event_types
}

fn read_failover(section: &Section<'_>) -> FailoverFor {
    let Some(given) = section.get_even_null("failover_for") else {
        return FailoverFor::AsNamed;
    };
    if given.node.value == crate::config::located::Value::Null {
        return FailoverFor::Nobody;
    }
    match given.text() {
        Some(name) => {
            FailoverFor::Destination { name, at: given.node.at.clone(), path: given.path }
        }
        None => FailoverFor::Nobody,
    }
}
