//! The effective configuration in plain words. Secrets, paths of URLs and values of headers, any of
//! which may hold a credential, are left out.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use domain::{
    destination::{
        Compat, Destination, EventFilter, Format, LogFormat, Method, SignatureAlgorithm,
        SignedContent, Signing,
    },
    event::EventType,
};
use proxy::config::{Credential, Deployment, Routing};
use store::sqlite::Durability;
use url::Url;

use super::{Settings, report::count};

/// Says what the settings mean.
pub(crate) fn describe(settings: &Settings) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = describe_to(settings, &mut text);
    text
}

fn describe_to(settings: &Settings, out: &mut String) -> fmt::Result {
    let proxy = &settings.proxy;
    let who = match (&proxy.master_key, proxy.listen.ip().is_loopback()) {
        (Some(_), _) => "callers show the master key",
        (None, _) => "without a master key, so anybody on this machine may call",
    };
    writeln!(out, "Listens on http://{}, {who}.", proxy.listen)?;
    let survives = match settings.store.durability {
        Durability::Process => "kill -9",
        Durability::Power => "loss of power",
    };
    let (dir, retention) = (settings.store.data_dir.display(), Span(settings.store.retention));
    writeln!(out, "Keeps records in {dir} for {retention}; they survive {survives}.")?;
    if proxy.turn_off_message_logging {
        writeln!(out, "Message texts are kept nowhere (turn_off_message_logging).")?;
    }
    if !proxy.allow_client_mock_response {
        writeln!(out, "Callers may not send mock_response.")?;
    }
    writeln!(out, "\nModels")?;
    let width = proxy.deployments.iter().map(|d| d.facts.model_name.chars().count()).max();
    for deployment in &proxy.deployments {
        let name = &deployment.facts.model_name;
        let width = width.unwrap_or_default().min(40);
        writeln!(out, "  {name:width$}  {}", describe_deployment(deployment))?;
    }
    if proxy.deployments.is_empty() {
        writeln!(out, "  none")?;
    }
    describe_routing(&proxy.routing, out)?;
    writeln!(out, "\nDestinations")?;
    for destination in &settings.destinations {
        describe_destination(destination, out)?;
    }
    if settings.destinations.is_empty() {
        writeln!(out, "  none")?;
    }
    Ok(())
}

fn describe_deployment(deployment: &Deployment) -> String {
    let facts = &deployment.facts;
    let mut text = format!("{}/{}", facts.provider, facts.model);
    if deployment.mock_response.is_some() {
        return text + ", answered by its mock_response";
    }
    let key = match &deployment.credential {
        Credential::None => "no key".to_owned(),
        Credential::Key(_) => "key set".to_owned(),
        Credential::Missing { variable } => format!("key missing: {variable} is not set"),
    };
    let _ = write!(text, " at {}, {key}", site(&deployment.base_url));
    if let Some(timeout) = deployment.timeout {
        let _ = write!(text, ", time-out {}", Span(timeout));
    }
    if deployment.weight != 1 {
        let _ = write!(text, ", weight {}", deployment.weight);
    }
    if facts.prices.is_some() {
        text += ", own prices";
    }
    text
}

fn describe_routing(routing: &Routing, out: &mut String) -> fmt::Result {
    let retries = match routing.num_retries {
        0 => "Failed calls are not tried again".to_owned(),
        1 => "Failed calls are tried once more".to_owned(),
        number => format!("Failed calls are tried up to {number} times more"),
    };
    let (timeout, stream_timeout) = (Span(routing.timeout), Span(routing.stream_timeout));
    writeln!(
        out,
        "  {retries}; time-out {timeout}, {stream_timeout} to the first byte of a stream."
    )?;
    let mut aliases: Vec<_> = routing.aliases.iter().collect();
    aliases.sort();
    for (alias, model) in aliases {
        writeln!(out, "  {alias} is another name of {model}.")?;
    }
    let mut fallbacks: Vec<_> = routing.fallbacks.iter().collect();
    fallbacks.sort();
    for (model, others) in fallbacks {
        writeln!(out, "  {model} falls back to {}.", others.join(", then "))?;
    }
    if !routing.default_fallbacks.is_empty() {
        writeln!(out, "  Any other falls back to {}.", routing.default_fallbacks.join(", then "))?;
    }
    Ok(())
}

fn describe_destination(destination: &Destination, out: &mut String) -> fmt::Result {
    let method = match destination.method {
        Method::Post => "POST",
        Method::Put => "PUT",
    };
    writeln!(out, "  {} → {method} {}", destination.name, site(&destination.url))?;
    let compat = match destination.compat {
        Compat::Real => "",
        Compat::Document => ", as its document shows it",
    };
    writeln!(out, "    format     {}{compat}", format_name(destination.format))?;
    writeln!(out, "    events     {}", events(destination))?;
    writeln!(out, "    batches    {}", batches(destination))?;
    let retry = &destination.retry;
    let attempts = count(retry.max_attempts as usize, "attempt");
    let (first, most, factor) =
        (Span(retry.initial_delay), Span(retry.max_delay), retry.multiplier);
    let waits = format!("waiting up to {first}, then × {factor}, up to {most}");
    let waits = if retry.max_attempts == 1 { "no more".to_owned() } else { waits };
    let timeout = Span(destination.timeout);
    writeln!(out, "    attempts   {attempts}, {waits}; time-out {timeout}")?;
    writeln!(out, "    signature  {}", signature(destination.signing.as_ref()))?;
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
    if let Some(limit) = destination.rate_limit {
        writeln!(out, "    rate       at most {} a second", count(limit as usize, "delivery"))?;
    }
    if let Some(backup) = &destination.backup {
        writeln!(out, "    standby    {} → {}", backup.name, site(&backup.url))?;
    }
    Ok(())
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Event => "event, one JSON object a body",
        Format::GenericApi(LogFormat::JsonArray) => "generic_api, a JSON array a body",
        Format::GenericApi(LogFormat::Ndjson) => "generic_api, one JSON object a line",
        Format::GenericApi(LogFormat::Single) => "generic_api, one JSON object a body",
        Format::Otlp(_) => "otlp, one export request a body",
        Format::Helicone(_) => "helicone, one JSON object a body",
        Format::CloudEvents(_) => "cloudevents",
        Format::LitellmAlert => "litellm_alert, one JSON object a body",
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
    if !filter.models.is_empty() {
        parts.push(format!("models {}", filter.models.join(", ")));
    }
    if let Some(least) = filter.min_tokens {
        parts.push(format!("from {least} tokens"));
    }
    if !filter.severity.is_empty() {
        let names: Vec<_> = filter.severity.iter().map(|severity| severity.as_str()).collect();
        parts.push(names.join(", "));
    }
    parts.join("; ")
}

fn batches(destination: &Destination) -> String {
    match destination.batch.events_max {
        1 => "none: each event is sent at once".to_owned(),
        most => format!("up to {most} events, or every {}", Span(destination.batch.flush_interval)),
    }
}

fn signature(signing: Option<&Signing>) -> String {
    let Some(signing) = signing else { return "none".to_owned() };
    let algorithm = match signing.algorithm {
        SignatureAlgorithm::Sha256 => "sha256",
        SignatureAlgorithm::Sha512 => "sha512",
    };
    let content = match signing.signed_content {
        SignedContent::TimestampAndBody => "timestamp.body",
        SignedContent::Body => "the body",
    };
    let secrets = count(signing.secrets.len(), "secret");
    format!("{} with {algorithm} of {content}, {secrets}", signing.header)
}

/// Scheme, host and port: what is no secret of a URL.
fn site(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "?".to_owned(), |url| url.origin().ascii_serialization())
}

/// A duration as people write it: `30 s`, `5 min`, `168 h`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0 s"),
            _ if millis.is_multiple_of(3_600_000) => write!(f, "{} h", millis / 3_600_000),
            _ if millis.is_multiple_of(60_000) => write!(f, "{} min", millis / 60_000),
            _ if millis.is_multiple_of(1_000) => write!(f, "{} s", millis / 1_000),
            _ => write!(f, "{millis} ms"),
        }
    }
}
