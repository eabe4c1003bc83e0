//! One destination in plain words.

use std::fmt::{self, Write};

use domain::{
    destination::{
        CloudEventsMode, Compat, Compression, Destination, EventFilter, FilterRules, Format,
        HeliconeBodies, LogFormat, Method, Otlp, OtlpIntegers, OtlpProfile, SignatureAlgorithm,
        SignedContent, Signing, Tls,
    },
    event::EventType,
    secret::Secret,
};

use super::{Span, site};
use crate::config::report::count;

/// Says what a destination gets, how, and how hard it is tried.
pub(super) fn describe(destination: &Destination, out: &mut String) -> fmt::Result {
    let method = match destination.method {
        Method::Post => "POST",
        Method::Put => "PUT",
    };
    writeln!(out, "  {} → {method} {}", destination.name, site(&destination.url))?;
    let compat = match destination.compat {
        Compat::Real => "",
        Compat::Document => ", as its document shows it",
    };
    let packed = match destination.compression {
        Compression::None => "",
        Compression::Gzip => ", packed with gzip",
    };
    writeln!(out, "    format     {}{compat}{packed}", format_name(destination.format))?;
    writeln!(out, "    events     {}", events(destination))?;
    if let Some(rules) = &destination.rules {
        writeln!(out, "    rules      {}", rules_in_words(rules))?;
    }
    writeln!(out, "    batches    {}", batches(destination))?;
    let retry = &destination.retry;
    let attempts = count(retry.max_attempts as usize, "attempt");
    let (first, most, factor) =
        (Span(retry.initial_delay), Span(retry.max_delay), retry.multiplier);
    let waits = format!("waiting up to {first}, then × {factor}, up to {most}");
    let waits = if retry.max_attempts == 1 { "no more".to_owned() } else { waits };
    let timeout = Span(destination.timeout);
    writeln!(out, "    attempts   {attempts}, {waits}; time-out {timeout}")?;
    writeln!(out, "    signature  {}", signature(destination))?;
    if !destination.headers.is_empty() {
        let names: Vec<_> = destination.headers.iter().map(|(name, _)| name.as_str()).collect();
        writeln!(out, "    headers    {} (values hidden)", names.join(", "))?;
    }
    if destination.privacy {
        writeln!(out, "    privacy    message texts are left out")?;
    }
    if !destination.allow_private {
        writeln!(out, "    address    refused if it is in a private network")?;
    }
    if let Some(tls) = &destination.tls {
        writeln!(out, "    TLS        {}", tls_in_words(tls))?;
    }
    if let Some(limit) = destination.rate_limit {
        writeln!(out, "    rate       at most {} a second", count(limit as usize, "delivery"))?;
    }
    if destination.strict_order {
        writeln!(out, "    order      strict: one that fails holds up the rest")?;
    }
    if let Some(backup) = &destination.backup {
        writeln!(out, "    standby    {} → {}", backup.name, site(&backup.url))?;
    }
    Ok(())
}

fn format_name(format: Format) -> String {
    let single = "one JSON object a body";
    match format {
        Format::Event => format!("event, {single}"),
        Format::GenericApi(LogFormat::JsonArray) => "generic_api, a JSON array a body".to_owned(),
        Format::GenericApi(LogFormat::Ndjson) => "generic_api, one JSON object a line".to_owned(),
        Format::GenericApi(LogFormat::Single) => format!("generic_api, {single}"),
        Format::Otlp(Otlp { profile, integers, generation_metadata }) => {
            let profile = match profile {
                OtlpProfile::OpenRouter => "OpenRouter's attributes",
                OtlpProfile::GenAi => "OpenTelemetry's GenAI attributes",
            };
            let integers = match integers {
                OtlpIntegers::String => "text",
                OtlpIntegers::Number => "numbers",
            };
            let groups = [
                (generation_metadata.cost, ", generation's cost"),
                (generation_metadata.identity, ", generation's identity"),
                (generation_metadata.request_context, ", generation's request context"),
            ];
            let told = groups.iter().filter(|(is_told, _)| *is_told);
            let told: String = told.map(|(_, group)| *group).collect();
            format!("otlp, {profile}, integers as {integers}{told}")
        }
        Format::Helicone(helicone) => {
            let bodies = match helicone.bodies {
                HeliconeBodies::Object => "objects",
                HeliconeBodies::String => "text",
            };
            let data = if helicone.include_data { "" } else { ", without model and metadata" };
            format!("helicone, {single}, bodies as {bodies}{data}")
        }
        Format::CloudEvents(CloudEventsMode::Structured) => {
            "cloudevents, one event a body".to_owned()
        }
        Format::CloudEvents(CloudEventsMode::Batch) => {
            "cloudevents, a JSON array a body".to_owned()
        }
        Format::LitellmAlert => format!("litellm_alert, {single}"),
    }
}

fn events(destination: &Destination) -> String {
    let one = |kind: &EventType| {
        let name = kind.as_str();
        match destination.filter(*kind).map(filter).filter(|text| !text.is_empty()) {
            Some(filter) => format!("{name} ({filter})"),
            None => name.to_owned(),
        }
    };
    let mut text = destination.event_types.iter().map(one).collect::<Vec<_>>().join(", ");
    if text.is_empty() {
        "none".clone_into(&mut text);
    }
    if destination.sample_rate < 1.0 {
        let percent = destination.sample_rate * 100.0;
        let _ = write!(text, "; {percent} % of calls");
    }
    text
}

fn filter(filter: &EventFilter) -> String {
    let mut parts = Vec::new();
    for (what, globs) in [
        ("models", &filter.models),
        ("keys", &filter.keys),
        ("end users", &filter.end_users),
        ("tags", &filter.tags),
    ] {
        if !globs.is_empty() {
            parts.push(format!("{what} {}", globs.join(", ")));
        }
    }
    if let Some(least) = filter.min_tokens {
        parts.push(format!("from {least} tokens"));
    }
    if !filter.severity.is_empty() {
        let names: Vec<_> = filter.severity.iter().map(|severity| severity.as_str()).collect();
        parts.push(names.join(", "));
    }
    parts.extend(filter.properties.iter().map(|(name, value)| format!("{name} = {value}")));
    parts.join("; ")
}

fn rules_in_words(rules: &FilterRules) -> String {
    let group = |group: &domain::destination::RuleGroup| {
        let number = count(group.rules.len(), "rule");
        match (group.rules.len(), group.any) {
            (0 | 1, _) => number,
            (_, true) => format!("one of {number}"),
            (_, false) => format!("all of {number}"),
        }
    };
    match rules.groups.as_slice() {
        [] => "none".to_owned(),
        groups => groups.iter().map(group).collect::<Vec<_>>().join(", and "),
    }
}

fn batches(destination: &Destination) -> String {
    match destination.batch.events_max {
        1 => "none: each event is sent at once".to_owned(),
        most => format!("up to {most} events, or every {}", Span(destination.batch.flush_interval)),
    }
}

fn signature(destination: &Destination) -> String {
    let Some(signing) = &destination.signing else { return "none".to_owned() };
    let secrets = count(signing.secrets.len(), "secret");
    let mut headers = Vec::new();
    if signing.secrets.iter().any(|secret| !is_asymmetric(secret)) {
        if matches!(destination.format, Format::Helicone(_)) {
            headers.push("Helicone-Signature".to_owned());
        }
        headers.push(gateway_signature(signing));
    }
    headers.push("webhook-signature".to_owned());
    format!("{}; {secrets}", headers.join(", "))
}

fn gateway_signature(signing: &Signing) -> String {
    let algorithm = match signing.algorithm {
        SignatureAlgorithm::Sha256 => "sha256",
        SignatureAlgorithm::Sha512 => "sha512",
    };
    let content = match signing.signed_content {
        SignedContent::TimestampAndBody => "timestamp.body",
        SignedContent::Body => "the body",
    };
    format!("{} with {algorithm} of {content}", signing.header)
}

/// Whether a secret is an ed25519 key of Standard Webhooks.
fn is_asymmetric(secret: &Secret) -> bool {
    secret.expose().starts_with("whsk_")
}

fn tls_in_words(tls: &Tls) -> String {
    let roots = tls.roots.as_ref().map(|_| "trusts its own roots only");
    let client = tls.client.as_ref().map(|_| "shows a client certificate");
    [roots, client].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
