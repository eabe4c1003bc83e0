//! One entry as a whole: what it may say whichever section it stands in, and the destination that
//! comes of it.

use std::time::Duration;

use domain::{
    destination::{
        Compat, Compression, Destination, EventFilter, FilterRules, Format, Method, RetryPolicy,
        Signing, Tls,
    },
    event::EventType,
    id::DestinationName,
};

use crate::config::{
    policy::Policy,
    section::{Field, Section},
};

use super::{Address, Headers, events, format, rules, signing};

/// The keys that an entry may have, whichever section it stands in. A test compares them with what
/// is read.
pub(crate) const KEYS: [&str; 17] = [
    "enabled",
    "allow_private",
    "method",
    "headers",
    "compat",
    "sample_rate",
    "rate_limit",
    "privacy",
    "compression",
    "strict_order",
    "filters",
    "rules",
    "signed_content",
    "secret",
    "tls",
    "batch_size",
    "flush_interval",
];

/// What an entry may say for itself, whichever section it stands in.
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of the file")]
pub(crate) struct Entry {
    pub(crate) enabled: bool,
    pub(crate) allow_private: bool,
    method: Method,
    compat: Compat,
    sample_rate: f64,
    rate_limit: Option<u32>,
    privacy: bool,
    compression: Compression,
    strict_order: bool,
    filters: Option<Vec<(EventType, EventFilter)>>,
    rules: Option<FilterRules>,
    signing: Option<Signing>,
    tls: Option<Tls>,
}

/// What depends on the section: names differ there, or defaults do.
pub(crate) struct Rest<'a> {
    pub(crate) name: &'a str,
    /// `None` where a problem was noted: then no settings come of it.
    pub(crate) address: Option<Address>,
    /// Headers that this entry's own win over.
    pub(crate) headers: Headers,
    pub(crate) format: Format,
    pub(crate) event_types: Vec<EventType>,
    /// The filters of an entry that has none of its own.
    pub(crate) filters: Vec<(EventType, EventFilter)>,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
}

impl Entry {
    /// Reads an entry's own settings.
    pub(crate) fn read(section: &Section<'_>, policy: &Policy) -> Self {
        let methods = [("POST", Method::Post), ("PUT", Method::Put)];
        let compats = [("real", Compat::Real), ("document", Compat::Document)];
        let compressions = [("none", Compression::None), ("gzip", Compression::Gzip)];
        let flag = |key| section.get(key).and_then(|field| field.flag());
        Self {
            enabled: flag("enabled").unwrap_or(true),
            allow_private: allow_private(section, policy),
            method: section.get("method").and_then(|f| f.choice(&methods)).unwrap_or_default(),
            compat: section.get("compat").and_then(|f| f.choice(&compats)).unwrap_or_default(),
            sample_rate: section
                .get("sample_rate")
                .and_then(|f| f.number(0.0..=1.0))
                .unwrap_or(1.0),
            rate_limit: section.get("rate_limit").and_then(|f| f.whole(1..=1_000_000)),
            privacy: flag("privacy").unwrap_or(false),
            compression: section
                .get("compression")
                .and_then(|f| f.choice(&compressions))
                .unwrap_or_default(),
            strict_order: flag("strict_order").unwrap_or(false),
            filters: section.get("filters").map(|field| events::filters(&field)),
            rules: section.get("rules").and_then(|field| rules::rules(&field)),
            signing: signing::signing(section, policy),
            tls: signing::tls(section),
        }
    }

    /// The destination that an entry means.
    pub(crate) fn into_destination(
        self,
        rest: Rest<'_>,
        section: &Section<'_>,
        policy: &Policy,
    ) -> Destination {
        let defaults = &policy.defaults;
        let mut headers = rest.headers;
        if let Some(authorization) = rest.address.as_ref().and_then(|a| a.authorization.clone()) {
            headers.put("Authorization", authorization);
        }
        if let Some(field) = section.get("headers") {
            headers.read(&field);
        }
        format::warn_without_effect(section, rest.format, self.compat);
        signing::warn_unverifiable(section, rest.format, self.signing.as_ref());
        let destination = Destination {
            name: DestinationName::new(rest.name),
            url: rest.address.map(|address| address.url).unwrap_or_default(),
            method: self.method,
            headers: headers.into_vec(),
            format: rest.format,
            compat: self.compat,
            event_types: rest.event_types,
            filters: self.filters.unwrap_or(rest.filters),
            rules: self.rules,
            sample_rate: self.sample_rate,
            batch: format::batch(section, rest.format, policy),
            retry: rest.retry,
            timeout: rest.timeout.unwrap_or(defaults.timeout),
            concurrent_deliveries: defaults.concurrent_deliveries,
            queue_size: defaults.queue_size,
            rate_limit: self.rate_limit,
            privacy: self.privacy,
            compression: self.compression,
            signing: self.signing,
            allow_private: self.allow_private,
            tls: self.tls,
            strict_order: self.strict_order,
            backup: None,
        };
        warn_replaced_headers(section, &destination);
        destination
    }
}

/// Warns of headers in whose place the gateway writes its own.
fn warn_replaced_headers(section: &Section<'_>, destination: &Destination) {
    let Some(own) = section.section("headers") else { return };
    for (entry, field) in own.fields() {
        if webhook::request::is_written(&entry.key, destination) {
            field.warning("has no effect: the gateway writes this header itself");
        }
    }
}

/// Whether an entry's address may be private: it may, unless the entry or `security.block_private`
/// says otherwise.
fn allow_private(section: &Section<'_>, policy: &Policy) -> bool {
    let field = section.get("allow_private");
    let own = field.as_ref().and_then(Field::flag);
    if let Some(field) = field.filter(|_| own == Some(true) && policy.block_private) {
        field.problem(
            "contradicts security.block_private; name the network in \
             security.allow_private_destinations instead",
        );
    }
    own.unwrap_or(true) && !policy.block_private
}
