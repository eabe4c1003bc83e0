//! A destination as a spec: every setting as it is in force, and no secret.

use domain::{
    destination::{
        Destination, EventFilter, FilterRules, Format, GenerationMetadata, Rule, RuleField,
        RuleOperator, Tls,
    },
    event::EventType,
};
use webhook::format::events_per_body_max;

use super::{
    DestinationSpec, FilterSpec, FormatName, GenerationGroupName, LogicName, RuleGroupSpec,
    RuleSpec, RuleValue, RulesSpec, TlsSpec,
};

/// A secret of which nothing is shown.
pub(crate) const MASK: &str = "***";

/// Texts shorter than this show nothing of themselves.
const SHOWN_CHARS_MIN: usize = 24;

/// A secret as it may be shown: its first and last four characters if that leaves enough in the dark
/// (`Bear...oken`, as `OpenRouter` shows them), else `***`. What begins `whsec_` or `whsk_` shows that.
pub(crate) fn mask(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    if chars.len() < SHOWN_CHARS_MIN {
        return MASK.to_owned();
    }
    let prefix = ["whsec_", "whsk_"].into_iter().find(|prefix| secret.starts_with(prefix));
    let start = prefix.map_or_else(|| chars[..4].iter().collect(), str::to_owned);
    let end: String = chars[chars.len() - 4..].iter().collect();
    format!("{start}...{end}")
}

/// Whether a text looks like what [`mask`] makes: nobody means it as a secret.
pub(crate) fn is_mask(text: &str) -> bool {
    let has_ends = |(start, end): (&str, &str)| {
        let is_start = matches!(start, "whsec_" | "whsk_") || start.chars().count() == 4;
        is_start && end.chars().count() == 4
    };
    text == MASK || text.split_once("...").is_some_and(has_ends)
}

/// Every setting of a destination, as it is in force; secrets are masked.
pub(crate) fn describe(destination: &Destination) -> DestinationSpec {
    let signing = destination.signing.as_ref();
    let secret = signing.and_then(|signing| signing.secrets.first());
    let headers = destination.headers.iter();
    let batch = Some(&destination.batch).filter(|_| events_per_body_max(destination.format) > 1);
    let spec = DestinationSpec {
        name: Some(destination.name.as_str().to_owned()),
        url: Some(destination.url.clone()),
        method: Some(destination.method.into()),
        headers: Some(headers.map(|(n, value)| (n.clone(), mask(value.expose()))).collect()),
        secret: secret.map(|secret| mask(secret.expose())),
        signed_content: signing.map(|signing| signing.signed_content.into()),
        compat: Some(destination.compat.into()),
        event_types: Some(destination.event_types.iter().map(|kind| (*kind).into()).collect()),
        filters: Some(
            destination
                .filters
                .iter()
                .map(|(kind, filter)| ((*kind).into(), describe_filter(*kind, filter)))
                .collect(),
        ),
        rules: destination.rules.as_ref().map(describe_rules),
        sample_rate: Some(destination.sample_rate),
        batch_size: batch.and_then(|batch| u32::try_from(batch.events_max).ok()),
        flush_interval: batch.map(|batch| batch.flush_interval.as_secs_f64()),
        rate_limit: destination.rate_limit,
        timeout_ms: u32::try_from(destination.timeout.as_millis()).ok(),
        privacy: Some(destination.privacy),
        compression: Some(destination.compression.into()),
        tls: destination.tls.as_ref().map(describe_tls),
        strict_order: Some(destination.strict_order),
        ..DestinationSpec::default()
    };
    with_format(spec, destination.format)
}

/// A spec that stands for no destination, with its secrets masked.
pub(crate) fn masked(spec: &DestinationSpec) -> DestinationSpec {
    let mut spec = spec.clone();
    for value in spec.headers.iter_mut().flatten().map(|(_, value)| value) {
        *value = mask(value);
    }
    spec.secret = spec.secret.as_deref().map(mask);
    if let Some(key) = spec.tls.as_mut().and_then(|tls| tls.client_key.as_mut()) {
        MASK.clone_into(key);
    }
    spec
}

/// Certificates are public; of a key nothing is shown.
fn describe_tls(tls: &Tls) -> TlsSpec {
    let client = tls.client.as_ref();
    TlsSpec {
        ca: tls.roots.clone(),
        client_certificate: client.map(|client| client.chain.clone()),
        client_key: client.map(|_| MASK.to_owned()),
    }
}

fn with_format(spec: DestinationSpec, format: Format) -> DestinationSpec {
    match format {
        Format::Event => DestinationSpec { format: Some(FormatName::Event), ..spec },
        Format::GenericApi(log_format) => DestinationSpec {
            format: Some(FormatName::GenericApi),
            log_format: Some(log_format.into()),
            ..spec
        },
        Format::Otlp(otlp) => DestinationSpec {
            format: Some(FormatName::Otlp),
            profile: Some(otlp.profile.into()),
            integers: Some(otlp.integers.into()),
            generation_metadata: Some(generation_groups(otlp.generation_metadata)),
            ..spec
        },
        Format::Helicone(helicone) => DestinationSpec {
            format: Some(FormatName::Helicone),
            include_data: Some(helicone.include_data),
            bodies: Some(helicone.bodies.into()),
            ..spec
        },
        Format::CloudEvents(mode) => DestinationSpec {
            format: Some(FormatName::CloudEvents),
            mode: Some(mode.into()),
            ..spec
        },
        Format::LitellmAlert => DestinationSpec { format: Some(FormatName::LitellmAlert), ..spec },
    }
}

fn generation_groups(metadata: GenerationMetadata) -> Vec<GenerationGroupName> {
    let groups = [
        (metadata.cost, GenerationGroupName::Cost),
        (metadata.identity, GenerationGroupName::Identity),
        (metadata.request_context, GenerationGroupName::RequestContext),
    ];
    groups.into_iter().filter(|(is_told, _)| *is_told).map(|(_, group)| group).collect()
}

fn describe_filter(kind: EventType, filter: &EventFilter) -> FilterSpec {
    let severity = filter.severity.iter().map(|severity| (*severity).into());
    FilterSpec {
        models: filter.models.clone(),
        min_tokens: filter.min_tokens.filter(|_| kind == EventType::Completion),
        severity: severity.collect(),
        keys: filter.keys.clone(),
        end_users: filter.end_users.clone(),
        tags: filter.tags.clone(),
        properties: filter.properties.iter().cloned().collect(),
    }
}

fn describe_rules(rules: &FilterRules) -> RulesSpec {
    let groups = rules.groups.iter().map(|group| RuleGroupSpec {
        logic: Some(if group.any { LogicName::Or } else { LogicName::And }),
        rules: group
            .rules
            .iter()
            .map(|rule| RuleSpec {
                field: Some(rule.field.into()),
                operator: Some(rule.operator.into()),
                value: rule_value(rule),
            })
            .collect(),
    });
    RulesSpec { enabled: Some(true), groups: groups.collect() }
}

/// What a rule compares with: a number where the field is one.
fn rule_value(rule: &Rule) -> Option<RuleValue> {
    if matches!(rule.operator, RuleOperator::Exists | RuleOperator::NotExists) {
        return None;
    }
    let is_number = matches!(
        rule.field,
        RuleField::TotalCost
            | RuleField::TotalTokens
            | RuleField::PromptTokens
            | RuleField::CompletionTokens
    );
    let number = rule.value.parse().ok().filter(|number: &f64| number.to_string() == rule.value);
    Some(match number.filter(|_| is_number) {
        Some(number) => RuleValue::Number(number),
        None => RuleValue::Text(rule.value.clone()),
    })
}
