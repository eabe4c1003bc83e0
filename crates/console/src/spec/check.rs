//! What a spec means: the one destination that it stands for, or everything that it cannot mean.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::{
    destination::{
        Batch, Destination, EventFilter, FilterRules, Format, GenerationMetadata, Helicone, Otlp,
        OtlpProfile, Rule, RuleGroup, RuleOperator, Signing,
    },
    event::EventType,
    id::DestinationName,
    secret::Secret,
};
use url::{Host, Url};
use webhook::{
    format::events_per_body_max,
    matching::{RuleError, check_rules},
    request::{is_written, validate_header},
    sign::check_secret,
};

use super::{
    DestinationSpec, FilterSpec, FormatName, GenerationGroupName, LogicName, RuleSpec, RuleValue,
    RulesSpec, describe::is_mask,
};
use crate::{policy::Policy, problem::FieldProblem, request::unescaped};

/// The longest name of a destination, in characters.
const NAME_CHARS_MAX: usize = 100;
/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 4_096;
/// Headers of the user's own, at most.
const HEADERS_MAX: usize = 50;
/// Bytes of a header's value, at most.
const HEADER_BYTES_MAX: usize = 8_192;
/// Bytes of a secret, at most.
const SECRET_BYTES_MAX: usize = 1_024;
/// Values in a list of a filter, at most.
const LIST_MAX: usize = 200;
/// What is said of a masked value where a secret should be.
const IS_MASK: &str = "is a masked value, as it is shown; write the value itself";
/// Rules over all groups, at most.
const RULES_MAX: usize = 200;

/// The destination that a spec stands for, signed with `secrets` (the newest first); or everything
/// that is wrong with it.
pub(crate) fn check(
    spec: &DestinationSpec,
    secrets: &[Secret],
    policy: &Policy,
) -> Result<Destination, Vec<FieldProblem>> {
    let mut checker = Checker { spec, policy, problems: Vec::new() };
    let destination = checker.destination(secrets);
    if checker.problems.is_empty() { Ok(destination) } else { Err(checker.problems) }
}

/// Moves `user:password@` out of the URL into the header that means the same (RFC 7617): a secret
/// must not stand where secrets are not looked for.
pub(crate) fn take_credentials(spec: &mut DestinationSpec) {
    let Some(Ok(mut url)) = spec.url.as_deref().map(Url::parse) else { return };
    if url.username().is_empty() && url.password().is_none() {
        return;
    }
    let mut pair = unescaped(url.username());
    pair.push(b':');
    pair.extend(unescaped(url.password().unwrap_or_default()));
    // Both setters fail only for URLs without a host, which have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    spec.url = Some(url.into());
    let headers = spec.headers.get_or_insert_default();
    if !headers.keys().any(|name| name.eq_ignore_ascii_case("authorization")) {
        headers
            .insert("Authorization".to_owned(), format!("Basic {}", BASE64_STANDARD.encode(pair)));
    }
}

/// The format that a spec names, with its options.
pub(crate) fn format_of(spec: &DestinationSpec) -> Format {
    match spec.format.unwrap_or(FormatName::Event) {
        FormatName::Event => Format::Event,
        FormatName::GenericApi => {
            Format::GenericApi(spec.log_format.map(Into::into).unwrap_or_default())
        }
        FormatName::Otlp => Format::Otlp(Otlp {
            profile: spec.profile.map(Into::into).unwrap_or_default(),
            integers: spec.integers.map(Into::into).unwrap_or_default(),
            generation_metadata: generation_metadata(spec),
        }),
        FormatName::Helicone => Format::Helicone(Helicone {
            include_data: spec.include_data.unwrap_or(true),
            bodies: spec.bodies.map(Into::into).unwrap_or_default(),
        }),
        FormatName::CloudEvents => {
            Format::CloudEvents(spec.mode.map(Into::into).unwrap_or_default())
        }
        FormatName::LitellmAlert => Format::LitellmAlert,
    }
}

fn generation_metadata(spec: &DestinationSpec) -> GenerationMetadata {
    let asks_for =
        |group| spec.generation_metadata.as_ref().is_some_and(|all| all.contains(&group));
    GenerationMetadata {
        cost: asks_for(GenerationGroupName::Cost),
        identity: asks_for(GenerationGroupName::Identity),
        request_context: asks_for(GenerationGroupName::RequestContext),
    }
}

/// Options that would have no effect: of another format than the one that is named, say.
pub(crate) fn misplaced_options(spec: &DestinationSpec) -> Vec<FieldProblem> {
    let name = spec.format.unwrap_or(FormatName::Event);
    let options = [
        ("log_format", spec.log_format.is_some(), FormatName::GenericApi),
        ("profile", spec.profile.is_some(), FormatName::Otlp),
        ("integers", spec.integers.is_some(), FormatName::Otlp),
        ("generation_metadata", spec.generation_metadata.is_some(), FormatName::Otlp),
        ("include_data", spec.include_data.is_some(), FormatName::Helicone),
        ("bodies", spec.bodies.is_some(), FormatName::Helicone),
        ("mode", spec.mode.is_some(), FormatName::CloudEvents),
    ];
    let misplaced = options.into_iter().filter(|(_, is_given, of)| *is_given && *of != name);
    let message = |of: FormatName| format!("is an option of `format: {}` only", of.as_str());
    let mut problems: Vec<_> =
        misplaced.map(|(option, _, of)| FieldProblem::new(option, message(of))).collect();
    if let Format::Otlp(Otlp { profile: OtlpProfile::GenAi, generation_metadata, .. }) =
        format_of(spec)
        && generation_metadata != GenerationMetadata::default()
    {
        let message = "is told with `profile: openrouter` only";
        problems.push(FieldProblem::new("generation_metadata", message));
    }
    problems
}

/// What a filter's spec stands for.
pub(crate) fn filter_of(filter: &FilterSpec, policy: &Policy) -> EventFilter {
    EventFilter {
        models: filter.models.clone(),
        min_tokens: filter.min_tokens,
        severity: filter.severity.iter().map(|name| (*name).into()).collect(),
        keys: filter.keys.iter().map(|key| policy.key_name(key)).collect(),
        end_users: filter.end_users.clone(),
        tags: filter.tags.clone(),
        properties: filter.properties.clone().into_iter().collect(),
    }
}

struct Checker<'a> {
    spec: &'a DestinationSpec,
    policy: &'a Policy,
    problems: Vec<FieldProblem>,
}

impl Checker<'_> {
    fn problem(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(FieldProblem::new(field, message));
    }

    /// The destination; of use only if no problem was noted.
    fn destination(&mut self, secrets: &[Secret]) -> Destination {
        let (spec, defaults) = (self.spec, &self.policy.defaults);
        let format = self.format();
        let signing = self.signing(secrets);
        let destination = Destination {
            name: DestinationName::new(&self.name()),
            url: self.url(),
            method: spec.method.map(Into::into).unwrap_or_default(),
            headers: self.headers(),
            format,
            compat: spec.compat.map(Into::into).unwrap_or_default(),
            event_types: self.event_types(format),
            filters: self.filters(format),
            rules: self.rules(),
            sample_rate: self.number("sample_rate", spec.sample_rate, 0.0..=1.0).unwrap_or(1.0),
            batch: self.batch(format),
            retry: defaults.retry.clone(),
            timeout: self
                .number("timeout_ms", spec.timeout_ms, 1..=600_000)
                .map_or(defaults.timeout, |ms| Duration::from_millis(ms.into())),
            concurrent_deliveries: defaults.concurrent_deliveries,
            queue_size: defaults.queue_size,
            rate_limit: self.number("rate_limit", spec.rate_limit, 1..=1_000_000),
            privacy: spec.privacy.unwrap_or(false),
            compression: spec.compression.map(Into::into).unwrap_or_default(),
            signing,
            // The client opens what the operator opened, whoever made the destination.
            allow_private: false,
            tls: self.tls(),
            strict_order: spec.strict_order.unwrap_or(false),
            backup: None,
        };
        for (name, _) in &destination.headers {
            if is_written(name, &destination) {
                let field = format!("headers.{}", name.escape_debug());
                self.problem(field, "is a header that the gateway writes here, to sign or to pack");
            }
        }
        destination
    }

    fn number<T: PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        field: &str,
        value: Option<T>,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let value = value?;
        if !range.contains(&value) {
            let message = format!("must be from {} to {}", range.start(), range.end());
            self.problem(field, message);
        }
        Some(value)
    }

    fn name(&mut self) -> String {
        let Some(name) = &self.spec.name else {
            self.problem("name", "is missing");
            return String::new();
        };
        let is_long = name.chars().count() > NAME_CHARS_MAX;
        if name.trim().is_empty() || is_long || name.chars().any(char::is_control) {
            let message = format!("must have 1 to {NAME_CHARS_MAX} printable characters");
            self.problem("name", message);
        } else if matches!(name.as_str(), "." | "..") {
            self.problem("name", "could not stand in a path");
        }
        name.clone()
    }

    fn url(&mut self) -> String {
        const SHAPE: &str = "must be a whole URL such as https://receiver.example/hooks";
        let Some(text) = &self.spec.url else {
            self.problem("url", "is missing: where should events go?");
            return String::new();
        };
        // The parser would pass over blanks and line ends.
        let has_blanks = text.chars().any(|c| c.is_whitespace() || c.is_control());
        let parsed = Url::parse(text).ok().filter(|_| !has_blanks);
        let parsed =
            parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(mut url) = parsed.filter(|_| text.len() <= URL_BYTES_MAX) else {
            self.problem("url", SHAPE);
            return String::new();
        };
        url.set_fragment(None);
        if url.scheme() == "http" && self.policy.require_https {
            let message =
                "must begin with https://; security.require_https: false would allow http";
            self.problem("url", message);
        }
        let port = url.port_or_known_default().unwrap_or_default();
        if !self.policy.ports.contains(port) {
            let ports = &self.policy.ports;
            let message = format!("has port {port}; security.allowed_ports allows {ports}");
            self.problem("url", message);
        }
        if let Some(Err(message)) = literal(&url).map(|ip| self.policy.check_address(ip)) {
            self.problem("url", message);
        }
        url.into()
    }

    fn headers(&mut self) -> Vec<(String, Secret)> {
        let Some(headers) = &self.spec.headers else { return Vec::new() };
        if headers.len() > HEADERS_MAX {
            self.problem("headers", format!("must be {HEADERS_MAX} at most"));
        }
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in headers {
            let field = format!("headers.{}", name.escape_debug());
            if let Err(error) = validate_header(name, value) {
                self.problem(&field, error.to_string());
            }
            if is_mask(value) {
                self.problem(&field, IS_MASK);
            }
            if value.len() > HEADER_BYTES_MAX {
                self.problem(&field, format!("must have {HEADER_BYTES_MAX} bytes at most"));
            }
            let lower = name.to_ascii_lowercase();
            if seen.contains(&lower) {
                self.problem(&field, "is given twice, in different case");
            }
            seen.push(lower);
        }
        headers.iter().map(|(name, value)| (name.clone(), Secret::new(value))).collect()
    }

    fn signing(&mut self, secrets: &[Secret]) -> Option<Signing> {
        for secret in secrets {
            if is_mask(secret.expose()) {
                self.problem("secret", IS_MASK);
            } else if let Err(error) = check_secret(secret.expose()) {
                self.problem("secret", error.to_string());
            }
            if secret.expose().len() > SECRET_BYTES_MAX {
                self.problem("secret", format!("must have {SECRET_BYTES_MAX} bytes at most"));
            }
        }
        let defaults = &self.policy.defaults;
        (!secrets.is_empty()).then(|| Signing {
            secrets: secrets.to_vec(),
            algorithm: defaults.signature_algorithm,
            header: defaults.signature_header.clone(),
            signed_content: self.spec.signed_content.map(Into::into).unwrap_or_default(),
        })
    }

    /// The format and its options; an option of another format would have no effect, so it is wrong.
    fn format(&mut self) -> Format {
        self.problems.extend(misplaced_options(self.spec));
        format_of(self.spec)
    }

    fn event_types(&mut self, format: Format) -> Vec<EventType> {
        let known = format.event_types();
        let Some(given) = &self.spec.event_types else {
            let by_itself =
                |kind: &EventType| *kind != EventType::Streaming && !kind.is_operational();
            return known.iter().copied().filter(by_itself).collect();
        };
        if given.is_empty() {
            self.problem("event_types", "must name a type, or nothing is ever sent");
        }
        let given: Vec<EventType> = given.iter().map(|name| (*name).into()).collect();
        for (index, kind) in given.iter().enumerate() {
            if !known.contains(kind) {
                let name = self.spec.format.unwrap_or(FormatName::Event).as_str();
                let message = format!("`format: {name}` has no form for {} events", kind.as_str());
                self.problem(format!("event_types[{index}]"), message);
            }
        }
        EventType::ALL.into_iter().filter(|kind| given.contains(kind)).collect()
    }

    fn filters(&mut self, format: Format) -> Vec<(EventType, EventFilter)> {
        let Some(filters) = &self.spec.filters else { return Vec::new() };
        let mut checked = Vec::new();
        for (name, filter) in filters {
            let kind = EventType::from(*name);
            let field = format!("filters.{}", kind.as_str());
            if !format.event_types().contains(&kind) {
                self.problem(&field, "narrows events that the format has no form for");
            }
            self.filter(&field, kind, filter);
            checked.push((kind, filter_of(filter, self.policy)));
        }
        checked
    }

    fn filter(&mut self, field: &str, kind: EventType, filter: &FilterSpec) {
        if filter.min_tokens.is_some() && kind != EventType::Completion {
            self.problem(format!("{field}.min_tokens"), "narrows completion events only");
        }
        if !filter.severity.is_empty() && kind != EventType::Error {
            self.problem(format!("{field}.severity"), "narrows error events only");
        }
        let lists = [
            ("models", &filter.models),
            ("keys", &filter.keys),
            ("end_users", &filter.end_users),
            ("tags", &filter.tags),
        ];
        for (name, list) in lists {
            if list.len() > LIST_MAX {
                self.problem(format!("{field}.{name}"), format!("must be {LIST_MAX} at most"));
            }
        }
        if filter.properties.len() > LIST_MAX {
            self.problem(format!("{field}.properties"), format!("must be {LIST_MAX} at most"));
        }
    }

    fn rules(&mut self) -> Option<FilterRules> {
        let given = self.spec.rules.as_ref()?;
        let rules = self.rules_of(given);
        given.enabled.unwrap_or(true).then_some(rules)
    }

    fn rules_of(&mut self, given: &RulesSpec) -> FilterRules {
        let count: usize = given.groups.iter().map(|group| group.rules.len()).sum();
        if count > RULES_MAX || given.groups.len() > RULES_MAX {
            self.problem("rules", format!("must be {RULES_MAX} at most, over all groups"));
        }
        let mut groups = Vec::new();
        for (group_index, group) in given.groups.iter().enumerate() {
            let mut rules = Vec::new();
            for (index, rule) in group.rules.iter().enumerate() {
                let field = format!("rules.groups[{group_index}].rules[{index}]");
                rules.extend(self.rule(&field, rule));
            }
            groups.push(RuleGroup { any: group.logic == Some(LogicName::Or), rules });
        }
        FilterRules { groups }
    }

    fn rule(&mut self, path: &str, given: &RuleSpec) -> Option<Rule> {
        if given.field.is_none() {
            self.problem(format!("{path}.field"), "is missing");
        }
        let Some(operator) = given.operator.map(RuleOperator::from) else {
            self.problem(format!("{path}.operator"), "is missing");
            return None;
        };
        let needs_value = !matches!(operator, RuleOperator::Exists | RuleOperator::NotExists);
        if needs_value && given.value.is_none() {
            self.problem(format!("{path}.value"), "is missing: this operator compares with it");
        }
        let value = match &given.value {
            Some(RuleValue::Text(text)) => text.clone(),
            Some(RuleValue::Number(number)) => number.to_string(),
            None => String::new(),
        };
        let rule = Rule { field: given.field?.into(), operator, value };
        // Alone, so that one mistake does not hide another.
        let alone = RuleGroup { any: false, rules: vec![rule.clone()] };
        if let (Some(_), Err(error)) =
            (&given.value, check_rules(&FilterRules { groups: vec![alone] }))
        {
            let message = match error {
                RuleError::Regex { .. } => "is not a regular expression, or too large a one",
                RuleError::Number { .. } => "must be a number: this operator compares numbers",
            };
            self.problem(format!("{path}.value"), message);
        }
        Some(rule)
    }

    fn batch(&mut self, format: Format) -> Batch {
        let spec = self.spec;
        let (size, interval) = format.default_batch();
        let given = self.number("batch_size", spec.batch_size, 1..=10_000);
        let wait = self.number("flush_interval", spec.flush_interval, 0.001..=86_400.0);
        if events_per_body_max(format) == 1 {
            let message = "has no effect: this format sends each event on its own";
            if given.is_some_and(|size| size != 1) {
                self.problem("batch_size", message);
            }
            if wait.is_some() {
                self.problem("flush_interval", message);
            }
        }
        Batch {
            events_max: given.map_or(size, |size| size as usize),
            bytes_max: self.policy.defaults.batch_bytes_max,
            flush_interval: wait
                .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
                .unwrap_or(interval),
        }
    }
}

/// The address that a URL names by itself, without a name to resolve.
pub(crate) fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

mod tls;

#[cfg(test)]
mod tests;
