//! How events are written for a destination: the format's name, its own options, and what of an
//! entry has no effect on it.

use std::time::Duration;

use domain::{
    destination::{
        Batch, CloudEventsMode, Compat, Format, GenerationMetadata, Helicone, HeliconeBodies,
        LogFormat, Otlp, OtlpIntegers, OtlpProfile,
    },
    event::EventType,
};

use crate::config::{
    located::Value,
    policy::Policy,
    section::{Field, Section},
};

use super::events;

/// How `generic_api` separates payloads, by LiteLLM's names.
pub(crate) const LOG_FORMATS: [(&str, LogFormat); 3] = [
    ("json_array", LogFormat::JsonArray),
    ("ndjson", LogFormat::Ndjson),
    ("single", LogFormat::Single),
];

/// Formats with the options that they have before any is chosen.
const FORMATS: [(&str, Format); 6] = [
    ("event", Format::Event),
    ("generic_api", Format::GenericApi(LogFormat::JsonArray)),
    (
        "otlp",
        Format::Otlp(Otlp {
            profile: OtlpProfile::OpenRouter,
            integers: OtlpIntegers::String,
            generation_metadata: GenerationMetadata {
                cost: false,
                identity: false,
                request_context: false,
            },
        }),
    ),
    ("helicone", Format::Helicone(Helicone { include_data: true, bodies: HeliconeBodies::Object })),
    ("cloudevents", Format::CloudEvents(CloudEventsMode::Structured)),
    ("litellm_alert", Format::LitellmAlert),
];

/// Options of single formats, and whose they are.
const OPTIONS: [(&str, &str); 7] = [
    ("log_format", "generic_api"),
    ("profile", "otlp"),
    ("integers", "otlp"),
    ("generation_metadata", "otlp"),
    ("include_data", "helicone"),
    ("bodies", "helicone"),
    ("mode", "cloudevents"),
];

/// A format's name in configurations.
pub(crate) fn name(format: Format) -> &'static str {
    match format {
        Format::Event => "event",
        Format::GenericApi(_) => "generic_api",
        Format::Otlp(_) => "otlp",
        Format::Helicone(_) => "helicone",
        Format::CloudEvents(_) => "cloudevents",
        Format::LitellmAlert => "litellm_alert",
    }
}

/// Reads `format` and its options.
pub(crate) fn format(section: &Section<'_>) -> Format {
    let chosen = section.get("format").and_then(|field| field.choice(&FORMATS));
    let mut format = chosen.unwrap_or(Format::Event);
    for (option, owner) in OPTIONS {
        if owner != name(format)
            && let Some(field) = section.get(option)
        {
            field.warning(format!("has no effect: only `format: {owner}` has it"));
        }
    }
    match &mut format {
        Format::GenericApi(log_format) => {
            read_choice(section, "log_format", &LOG_FORMATS, log_format);
        }
        Format::Otlp(otlp) => {
            let profiles = [("openrouter", OtlpProfile::OpenRouter), ("genai", OtlpProfile::GenAi)];
            let integers = [("string", OtlpIntegers::String), ("number", OtlpIntegers::Number)];
            read_choice(section, "profile", &profiles, &mut otlp.profile);
            read_choice(section, "integers", &integers, &mut otlp.integers);
            otlp.generation_metadata = generation_metadata(section, otlp.profile);
        }
        Format::Helicone(helicone) => {
            let bodies = [("object", HeliconeBodies::Object), ("string", HeliconeBodies::String)];
            let include_data = section.get("include_data").and_then(|field| field.flag());
            helicone.include_data = include_data.unwrap_or(helicone.include_data);
            read_choice(section, "bodies", &bodies, &mut helicone.bodies);
        }
        Format::CloudEvents(mode) => {
            let modes =
                [("structured", CloudEventsMode::Structured), ("batch", CloudEventsMode::Batch)];
            read_choice(section, "mode", &modes, mode);
        }
        Format::Event | Format::LitellmAlert => {}
    }
    format
}

/// Which groups of further facts of a generation an entry asks for.
fn generation_metadata(section: &Section<'_>, profile: OtlpProfile) -> GenerationMetadata {
    let mut metadata = GenerationMetadata::default();
    let Some(field) = section.get("generation_metadata") else { return metadata };
    if profile == OtlpProfile::GenAi {
        field.warning("has no effect: only `profile: openrouter` has it");
    }
    let groups = ["cost", "identity", "request_context"].map(|name| (name, name));
    for item in field.items().unwrap_or_default() {
        match item.choice(&groups) {
            Some("cost") => metadata.cost = true,
            Some("identity") => metadata.identity = true,
            Some(_) => metadata.request_context = true,
            None => {}
        }
    }
    metadata
}

fn read_choice<T: Copy>(
    section: &Section<'_>,
    key: &'static str,
    choices: &[(&str, T)],
    place: &mut T,
) {
    if let Some(chosen) = section.get(key).and_then(|field| field.choice(choices)) {
        *place = chosen;
    }
}

/// How events gather: as the entry says, as the format does otherwise. Formats that send each event
/// on its own take no settings of batches.
pub(crate) fn batch(section: &Section<'_>, format: Format, policy: &Policy) -> Batch {
    let bytes_max = policy.defaults.batch_bytes_max;
    let size = section.get("batch_size");
    let interval = section.get("flush_interval");
    let chosen_size: Option<u32> = size.as_ref().and_then(|field| field.whole(1..=10_000));
    let chosen_interval = interval.as_ref().and_then(|f| f.seconds(0.001..=86_400.0));
    if webhook::format::events_per_body_max(format) == 1 {
        for field in [size, interval].into_iter().flatten().filter(|field| !is_one(field)) {
            field.warning(format!("has no effect: {} sends each event on its own", spelt(format)));
        }
        return Batch { events_max: 1, bytes_max, flush_interval: Duration::ZERO };
    }
    let (default_size, default_interval) = format.default_batch();
    let events_max = chosen_size.map_or(default_size, |size| size as usize);
    if let Some(field) = interval.filter(|_| events_max == 1) {
        field.warning("has no effect without a batch_size above 1: each event is sent at once");
    }
    let flush_interval = match events_max {
        1 => Duration::ZERO,
        _ => chosen_interval.unwrap_or(default_interval),
    };
    Batch { events_max, bytes_max, flush_interval }
}

fn is_one(field: &Field<'_>) -> bool {
    field.node.value == Value::Integer(1)
}

/// What of an entry makes a format send single events.
fn spelt(format: Format) -> String {
    match format {
        Format::GenericApi(_) => "`log_format: single`".to_owned(),
        Format::CloudEvents(_) => "`mode: structured`".to_owned(),
        other => format!("`format: {}`", name(other)),
    }
}

/// An entry's own types, or those of `events`, as far as the format has a form for them.
pub(crate) fn event_types(
    section: &Section<'_>,
    format: Format,
    subscribed: &[EventType],
) -> Vec<EventType> {
    let field = section.get("event_types");
    let asked = field.as_ref().map_or_else(|| subscribed.to_vec(), events::event_types);
    let forms = format.event_types();
    let formed: Vec<_> = asked.iter().copied().filter(|kind| forms.contains(kind)).collect();
    match field {
        Some(field) if formed.len() < asked.len() => {
            let (name, forms) = (name(format), events::names(forms));
            field.warning(format!("`format: {name}` has a form for {forms} events only"));
        }
        None if formed.is_empty() && !asked.is_empty() => {
            let (name, forms) = (name(format), events::names(forms));
            section.report.warning(
                section.at,
                &section.path,
                format!(
                    "gets nothing: `format: {name}` has a form for {forms} events only, and \
                     events.subscribe names none of them"
                ),
            );
        }
        _ => {}
    }
    formed
}

/// Warns of settings that change nothing in what this format sends.
pub(crate) fn warn_without_effect(section: &Section<'_>, format: Format, compat: Compat) {
    let warn = |key, why: &str| {
        if let Some(field) = section.get(key) {
            field.warning(format!("has no effect: {why}"));
        }
    };
    let has_document = match format {
        Format::GenericApi(_) | Format::Helicone(_) => true,
        Format::Otlp(otlp) => otlp.profile == OtlpProfile::OpenRouter,
        Format::Event | Format::CloudEvents(_) | Format::LitellmAlert => false,
    };
    if compat == Compat::Document && !has_document {
        let what = match format {
            Format::Otlp(_) => "`profile: genai`".to_owned(),
            _ => format!("`format: {}`", name(format)),
        };
        warn("compat", &format!("{what} is written in one way only"));
    }
    if format == Format::LitellmAlert {
        for key in ["filters", "rules", "sample_rate", "privacy"] {
            warn(key, "`format: litellm_alert` is about budgets, not about calls");
        }
    }
}
