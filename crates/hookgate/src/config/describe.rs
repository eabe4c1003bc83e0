//! The effective configuration in plain words. Secrets, paths of URLs and values of headers, any of
//! which may hold a credential, are left out.

mod destination;

use std::{
    fmt::{self, Write},
    time::Duration,
};

use domain::{
    budget::{Budget, BudgetDuration, BudgetScope},
    outbound::Outbound,
};
use proxy::config::{Credential, Deployment, Key, Routing};
use store::sqlite::Durability;
use url::Url;

use super::{
    ENCRYPTION_KEY_VARIABLE, PREVIOUS_KEY_VARIABLE, Settings, policy::Policy, report::count,
};

/// Says what the settings mean.
pub(crate) fn describe(settings: &Settings) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = describe_to(settings, &mut text);
    text
}

fn describe_to(settings: &Settings, out: &mut String) -> fmt::Result {
    let proxy = &settings.proxy;
    let who = match (&proxy.master_key, proxy.keys.len()) {
        (Some(_), 0) => "callers show the master key".to_owned(),
        (Some(_), 1) => "callers show the master key or a key of their own".to_owned(),
        (Some(_), number) => format!("callers show the master key or one of {number} others"),
        (None, _) => "without a master key, so anybody on this machine may call".to_owned(),
    };
    writeln!(out, "Listens on http://{}, {who}.", proxy.listen)?;
    if let Some(most) = proxy.global_max_parallel_requests {
        writeln!(out, "Answers {} at once, more with 429.", count(most as usize, "call"))?;
    }
    let survives = match settings.store.durability {
        Durability::Process => "kill -9",
        Durability::Power => "loss of power",
    };
    let (dir, retention) = (settings.store.data_dir.display(), Span(settings.store.retention));
    writeln!(out, "Keeps records in {dir} for {retention}; they survive {survives}.")?;
    if settings.store.encryption_key.is_some() {
        writeln!(out, "Seals stored secrets with the key in {ENCRYPTION_KEY_VARIABLE}.")?;
    }
    if settings.store.previous_key.is_some() {
        writeln!(out, "Seals anew, at its start, what was sealed with {PREVIOUS_KEY_VARIABLE}.")?;
    }
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
    describe_outbound(&proxy.outbound, "", out)?;
    if !proxy.keys.is_empty() {
        writeln!(out, "\nKeys")?;
        proxy.keys.iter().try_for_each(|key| writeln!(out, "  {}", describe_key(key)))?;
    }
    if !settings.budgets.is_empty() {
        writeln!(out, "\nBudgets of {}", settings.org_id)?;
        let mut budgets = settings.budgets.iter();
        budgets.try_for_each(|budget| writeln!(out, "  {}", describe_budget(budget)))?;
    }
    writeln!(out, "\nDestinations")?;
    for destination in &settings.destinations {
        destination::describe(destination, out)?;
    }
    if settings.destinations.is_empty() {
        writeln!(out, "  none")?;
    }
    describe_delivery(settings, out)
}

/// What holds for every destination, also for those made while the gateway runs.
fn describe_delivery(settings: &Settings, out: &mut String) -> fmt::Result {
    match settings.delivery.disable_after {
        Some(after) => writeln!(out, "  One that fails for {} is disabled.", Span(after))?,
        None => writeln!(out, "  None is disabled, however long it fails.")?,
    }
    let vetted = ", which gets addresses that were resolved and vetted here";
    describe_outbound(&settings.egress.outbound, vetted, out)?;
    let ports = &settings.egress.doors_allowed_ports;
    if *ports != Policy::default().allowed_ports {
        writeln!(out, "  Those made through an API may have the ports {ports}.")?;
    }
    let networks = &settings.egress.allow_private_destinations;
    if !networks.is_empty() {
        let names: Vec<_> = networks.iter().map(ToString::to_string).collect();
        writeln!(out, "  Any may be in the private networks {}.", names.join(", "))?;
    }
    Ok(())
}

/// How the ones above are reached, where that is not straight; `more` is said of a proxy.
fn describe_outbound(outbound: &Outbound, more: &str, out: &mut String) -> fmt::Result {
    if let Some(proxy) = &outbound.proxy {
        let url = Url::parse(proxy.url.expose()).ok();
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default();
        let port = url.as_ref().and_then(Url::port_or_known_default).unwrap_or_default();
        write!(out, "  Reached through the proxy http://{host}:{port}{more}")?;
        if !proxy.except.is_empty() {
            write!(out, "; without it: {}", proxy.except.join(", "))?;
        }
        writeln!(out, ".")?;
    }
    if !outbound.extra_roots.is_empty() {
        let roots = count(outbound.extra_roots.len(), "root certificate");
        writeln!(out, "  {roots} of your own trusted beside the bundled ones.")?;
    }
    Ok(())
}

fn describe_key(key: &Key) -> String {
    let mut parts = vec![match key.models.as_slice() {
        [] => "all models".to_owned(),
        models => format!("models {}", models.join(", ")),
    }];
    parts.extend(limits(key.rpm, key.tpm, key.max_parallel_requests));
    format!("{}  {}", key.name, parts.join(", "))
}

fn limits(
    rpm: Option<u32>,
    tpm: Option<u32>,
    parallel: Option<u32>,
) -> impl Iterator<Item = String> {
    [
        rpm.map(|most| format!("{} a minute", count(most as usize, "call"))),
        tpm.map(|most| format!("{} a minute", count(most as usize, "token"))),
        parallel.map(|most| format!("{} at once", count(most as usize, "call"))),
    ]
    .into_iter()
    .flatten()
}

fn describe_budget(budget: &Budget) -> String {
    let whose = match budget.scope {
        BudgetScope::Gateway => "all calls".to_owned(),
        BudgetScope::Key => format!("each key {}", budget.matches),
        BudgetScope::EndUser => format!("each end user {}", budget.matches),
        BudgetScope::Tag => format!("each tag {}", budget.matches),
    };
    let period = match budget.duration {
        None => "in all".to_owned(),
        Some(BudgetDuration::Day) => "a day".to_owned(),
        Some(BudgetDuration::Week) => "a week".to_owned(),
        Some(BudgetDuration::Month) => "a month".to_owned(),
        Some(BudgetDuration::Every(span)) => format!("every {}", Span(span)),
    };
    let told = match budget.thresholds.as_slice() {
        [] => "untold".to_owned(),
        percents => {
            let percents: Vec<_> = percents.iter().map(ToString::to_string).collect();
            format!("told at {} %", percents.join(", "))
        }
    };
    format!("{whose}: ${} {period}, {told}", budget.max_budget)
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
    if let Some(order) = deployment.order {
        let _ = write!(text, ", order {order}");
    }
    if let Some(retries) = deployment.num_retries {
        let _ = write!(text, ", tried up to {retries} times more");
    }
    if deployment.weight != 1 {
        let _ = write!(text, ", weight {}", deployment.weight);
    }
    for limit in limits(deployment.rpm, deployment.tpm, deployment.max_parallel_requests) {
        let _ = write!(text, ", {limit}");
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
    for (after, fallbacks) in [
        ("a prompt that was too long", &routing.context_window_fallbacks),
        ("a refusal by a content policy", &routing.content_policy_fallbacks),
    ] {
        let mut fallbacks: Vec<_> = fallbacks.iter().collect();
        fallbacks.sort();
        for (model, others) in fallbacks {
            let others = others.join(", then ");
            writeln!(out, "  After {after}, {model} falls back to {others}.")?;
        }
    }
    if !routing.default_fallbacks.is_empty() {
        writeln!(out, "  Any other falls back to {}.", routing.default_fallbacks.join(", then "))?;
    }
    Ok(())
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
