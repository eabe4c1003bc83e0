//! What destinations have in common, whichever section they come from: URL, headers, secrets,
//! event types, filters, batches.
//!
//! Invariant: every value that leaves here may be used without another check.

use std::{net::IpAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{
    destination::{Compat, EventFilter, LogFormat, Method, SignedContent, Signing},
    event::EventType,
    failure::Severity,
    secret::Secret,
};
use url::{Host, Url};

use super::{
    located::Node,
    policy::Policy,
    report::Report,
    section::{Field, Section, Unknown},
};

/// Names of event types: the seeds' own, and LiteLLM's.
pub(crate) const EVENT_TYPES: [(&str, EventType); 7] = [
    ("completion", EventType::Completion),
    ("error", EventType::Error),
    ("streaming", EventType::Streaming),
    ("budget", EventType::Budget),
    ("rate_limit", EventType::RateLimit),
    ("llm_api_success", EventType::Completion),
    ("llm_api_failure", EventType::Error),
];

/// How `generic_api` separates payloads, by LiteLLM's names.
pub(crate) const LOG_FORMATS: [(&str, LogFormat); 3] = [
    ("json_array", LogFormat::JsonArray),
    ("ndjson", LogFormat::Ndjson),
    ("single", LogFormat::Single),
];

/// LiteLLM's documented batch of `generic_api`.
pub(crate) const BATCH_SIZE: usize = 100;
/// LiteLLM's documented time between batches of `generic_api`.
pub(crate) const FLUSH_INTERVAL: Duration = Duration::from_mins(1);

/// A checked URL, and the header that its user name and password became.
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) authorization: Option<Secret>,
}

/// Reads a destination's URL.
pub(crate) fn address(field: &Field<'_>, policy: &Policy, allow_private: bool) -> Option<Address> {
    let text = field.text()?;
    match check_address(&text, policy, allow_private) {
        Ok((address, warning)) => {
            if let Some(warning) = warning {
                field.warning(warning);
            }
            Some(address)
        }
        Err(what) => {
            field.problem(what);
            None
        }
    }
}

/// Checks a URL that events are sent to: the address and a warning, or what is wrong with it.
pub(crate) fn check_address(
    text: &str,
    policy: &Policy,
    allow_private: bool,
) -> Result<(Address, Option<&'static str>), String> {
    const SHAPE: &str = "must be a whole URL such as https://example.com/hooks";
    let mut url = Url::parse(text.trim()).map_err(|_| SHAPE.to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(SHAPE.to_owned());
    }
    if let Some(ip) = literal(&url) {
        webhook::address::check(ip, allow_private)
            .map_err(|refusal| format!("must not be sent to: {refusal}"))?;
    }
    let is_plain = url.scheme() == "http";
    if is_plain && policy.require_https == Some(true) {
        return Err("must begin with https://, as security.require_https is true".to_owned());
    }
    let warning = (is_plain && !is_loopback(&url))
        .then_some("sends events unencrypted over the network; write https:// if it can");
    let authorization = take_credentials(&mut url);
    url.set_fragment(None);
    Ok((Address { url: url.into(), authorization }, warning))
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Takes `user:password@` out of a URL, as the header that means the same (RFC 7617).
fn take_credentials(url: &mut Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair = unescape(url.username());
    pair.push(b':');
    pair.extend(unescape(url.password().unwrap_or_default()));
    // Both setters fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(Secret::new(&format!("Basic {}", BASE64_STANDARD.encode(pair))))
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    plain
}

/// Headers under construction: a later one replaces an earlier one of the same name, in any case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(Vec<(String, Secret)>);

impl Headers {
    /// Adds a header, or replaces its value.
    pub(crate) fn put(&mut self, name: &str, value: Secret) {
        self.0.retain(|(earlier, _)| !earlier.eq_ignore_ascii_case(name));
        self.0.push((name.to_owned(), value));
    }

    /// Adds the headers of a map of the configuration.
    pub(crate) fn read(&mut self, field: &Field<'_>) {
        let Some(section) = field.section() else { return };
        for (entry, field) in section.fields() {
            let Some(text) = field.text() else { continue };
            if text.contains("os.environ/") {
                field.warning(
                    "os.environ/NAME works only as the whole value, so this is sent as it stands; \
                     write ${NAME}",
                );
            }
            match webhook::request::validate_header(&entry.key, &text) {
                Ok(()) => self.put(&entry.key, Secret::new(&text)),
                Err(error) => field.problem(error.to_string()),
            }
        }
    }

    /// Adds what `GENERIC_LOGGER_HEADERS` holds: `k1=v1,k2=v2` (LiteLLM: split at commas, then at
    /// the first `=`, trimmed; pieces without `=` are passed over).
    pub(crate) fn read_variable(&mut self, text: &str, report: &Report) {
        for piece in text.split(',') {
            let Some((name, value)) = piece.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim());
            match webhook::request::validate_header(name, value) {
                Ok(()) => self.put(name, Secret::new(value)),
                Err(error) => report.problem_outside(format!("GENERIC_LOGGER_HEADERS: {error}")),
            }
        }
    }

    /// The headers, in the order in which they were put.
    pub(crate) fn into_vec(self) -> Vec<(String, Secret)> {
        self.0
    }
}

/// Reads `secret` (one, or a list with the newest first) and `signed_content`.
pub(crate) fn signing(section: &Section<'_>, policy: &Policy) -> Option<Signing> {
    let contents = [("timestamp", SignedContent::TimestampAndBody), ("body", SignedContent::Body)];
    let signed_content = section.get("signed_content").and_then(|f| f.choice(&contents));
    let secrets: Vec<_> =
        section.get("secret")?.item_or_items().iter().filter_map(signing_secret).collect();
    (!secrets.is_empty()).then(|| Signing {
        secrets,
        algorithm: policy.defaults.signature_algorithm,
        header: policy.defaults.signature_header.clone(),
        signed_content: signed_content.unwrap_or_default(),
    })
}

/// Standard Webhooks: what follows `whsec_` is the key in base64; any other text is the key itself.
fn signing_secret(field: &Field<'_>) -> Option<Secret> {
    let text = field.text()?;
    if let Some(encoded) = text.strip_prefix("whsec_")
        && !BASE64_STANDARD.decode(encoded).is_ok_and(|key| !key.is_empty())
    {
        field.problem("begins with whsec_, so the rest must be base64, and it is not");
        return None;
    }
    Some(Secret::new(&text))
}

/// Reads a list of event types, each once, in the order of `EventType::ALL`.
pub(crate) fn event_types(field: &Field<'_>) -> Vec<EventType> {
    let mut asked = Vec::new();
    for item in field.item_or_items() {
        let Some(kind) = item.choice(&EVENT_TYPES) else { continue };
        if matches!(kind, EventType::Budget | EventType::RateLimit) {
            let kind = kind.as_str();
            item.warning(format!("no {kind} events are made yet, so none will come"));
        }
        asked.push(kind);
    }
    EventType::ALL.into_iter().filter(|kind| asked.contains(kind)).collect()
}

/// Reads filters by event type.
pub(crate) fn filters(field: &Field<'_>) -> Vec<(EventType, EventFilter)> {
    let mut filters: Vec<(EventType, EventFilter)> = Vec::new();
    let Some(section) = field.section() else { return filters };
    for (entry, field) in section.fields() {
        let Some((_, kind)) = EVENT_TYPES.iter().find(|(name, _)| *name == entry.key) else {
            let names = EVENT_TYPES.map(|(name, _)| name);
            let near = super::report::did_you_mean(&entry.key, names);
            let what = format!("is no event type; there are {}{near}", names[..5].join(", "));
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
    let warn_of = |field: &Field<'_>, only: EventType| {
        if kind != only {
            let (only, kind) = (only.as_str(), kind.as_str());
            field.warning(format!("narrows {only} events only, so it has no effect on {kind}"));
        }
    };
    let filter = EventFilter {
        models: section.get("models").map(|field| field.texts()).unwrap_or_default(),
        min_tokens: section
            .get("min_tokens")
            .inspect(|field| warn_of(field, EventType::Completion))
            .and_then(|field| field.whole(0..=1_000_000_000)),
        severity: section
            .get("severity")
            .inspect(|field| warn_of(field, EventType::Error))
            .map(|field| field.item_or_items())
            .unwrap_or_default()
            .iter()
            .filter_map(|item| item.choice(&severities))
            .collect(),
        ..EventFilter::default()
    };
    section.finish(Unknown::Warn, &[]);
    filter
}

/// What an entry may say for itself, whichever section it stands in.
pub(crate) struct Own {
    pub(crate) enabled: bool,
    pub(crate) method: Method,
    pub(crate) compat: Compat,
    pub(crate) sample_rate: f64,
    pub(crate) rate_limit: Option<u32>,
    pub(crate) privacy: bool,
    pub(crate) allow_private: bool,
    pub(crate) batch_size: Option<usize>,
    pub(crate) flush_interval: Option<Duration>,
    pub(crate) filters: Option<Vec<(EventType, EventFilter)>>,
    pub(crate) signing: Option<Signing>,
}

impl Own {
    /// Reads an entry's own settings.
    pub(crate) fn read(section: &Section<'_>, policy: &Policy) -> Self {
        let methods = [("POST", Method::Post), ("PUT", Method::Put)];
        let compats = [("real", Compat::Real), ("document", Compat::Document)];
        let flag = |key| section.get(key).and_then(|field| field.flag());
        let batch_size: Option<u32> =
            section.get("batch_size").and_then(|field| field.whole(1..=10_000));
        Self {
            enabled: flag("enabled").unwrap_or(true),
            method: section.get("method").and_then(|f| f.choice(&methods)).unwrap_or_default(),
            compat: section.get("compat").and_then(|f| f.choice(&compats)).unwrap_or_default(),
            sample_rate: section
                .get("sample_rate")
                .and_then(|f| f.number(0.0..=1.0))
                .unwrap_or(1.0),
            rate_limit: section.get("rate_limit").and_then(|f| f.whole(1..=1_000_000)),
            privacy: flag("privacy").unwrap_or(false),
            allow_private: flag("allow_private").unwrap_or(true),
            batch_size: batch_size.map(|size| size as usize),
            flush_interval: section
                .get("flush_interval")
                .and_then(|field| field.seconds(0.001..=86_400.0)),
            filters: section.get("filters").map(|field| filters(&field)),
            signing: signing(section, policy),
        }
    }
}

/// Warns of settings of batches that a format cannot have.
pub(crate) fn warn_unbatched(section: &Section<'_>, format: &str) {
    for key in ["batch_size", "flush_interval"] {
        if let Some(field) = section.get(key)
            && !is_one(field.node)
        {
            field.warning(format!("has no effect: {format} sends each event on its own"));
        }
    }
}

fn is_one(node: &Node) -> bool {
    node.value == super::located::Value::Integer(1)
}
