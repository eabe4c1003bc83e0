//! Seed 002's `webhooks` and `events`: destinations by name, and what they get.
//!
//! `events` governs the entries of `webhooks` only. Which destination stands by for which is noted
//! here and decided in `standby`, once all destinations are known.

use domain::{destination::EventFilter, event::EventType};

use crate::config::{
    parts::{self, Entry, Headers, Rest},
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
            self.event_types = parts::events::event_types(&field);
            if field.item_or_items().is_empty() {
                field.warning("names no event type, so webhooks without event_types get nothing");
            }
        }
        if let Some(field) = section.get("filters") {
            self.filters = parts::events::filters(&field);
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
    let entry = Entry::read(&section, policy);
    let field = section.get("url");
    if field.is_none() {
        section.report.problem(at, &path, "url is missing: where should events go?");
    }
    let format = parts::format::format(&section);
    let rest = Rest {
        name,
        address: field.and_then(|f| parts::read_address(&f, policy, entry.allow_private)),
        headers: Headers::default(),
        format,
        event_types: parts::format::event_types(&section, format, &subscription.event_types),
        filters: subscription.filters.clone(),
        retry: policy.defaults.retry.clone(),
        timeout: section.get("timeout_ms").and_then(|field| field.millis(1..=600_000)),
    };
    let failover_for = read_failover(&section);
    let destination = entry.into_destination(rest, &section, policy);
    section.finish(Unknown::Warn, &[]);
    draft(Some(destination), failover_for)
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
