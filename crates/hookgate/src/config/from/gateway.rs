//! LiteLLM's `litellm_settings`, `router_settings` and `general_settings`, as far as callers feel
//! them.

use std::{collections::HashMap, time::Duration};

use domain::secret::Secret;
use proxy::config::{Deployment, Routing};

use crate::config::{
    known,
    policy::set,
    report::Report,
    section::{Field, Section, Unknown},
    variable::Variables,
};

use super::models::{
    LIMIT_MAX, RETRIES_MAX, TIMEOUT_SECS_MAX, UNSENDABLE, check_reference, is_sendable, model_names,
};

/// Attempts on the same model name after the first, by default: LiteLLM's router's.
const NUM_RETRIES: u32 = 2;
/// One attempt, by default: that of the SDKs behind LiteLLM.
const TIMEOUT: Duration = Duration::from_mins(10);
/// LiteLLM reads it where `general_settings.master_key` is absent.
const MASTER_KEY_VARIABLE: &str = "LITELLM_MASTER_KEY";

/// How a deployment is chosen, and what follows a failure.
pub(crate) fn read_routing(
    litellm: Option<&Section<'_>>,
    router: Option<&Section<'_>>,
    deployments: &[Deployment],
) -> Routing {
    let names = model_names(deployments);
    let mut routing = Routing {
        num_retries: NUM_RETRIES,
        timeout: TIMEOUT,
        stream_timeout: TIMEOUT,
        fallbacks: HashMap::new(),
        default_fallbacks: Vec::new(),
        context_window_fallbacks: HashMap::new(),
        content_policy_fallbacks: HashMap::new(),
        aliases: HashMap::new(),
    };
    let seconds = |field: Field<'_>| field.seconds(0.001..=TIMEOUT_SECS_MAX);
    let mut stream_timeout = None;
    if let Some(field) = router.and_then(|section| section.get("model_group_alias")) {
        read_aliases(&field, &names, &mut routing);
    }
    let aliases: Vec<String> = routing.aliases.keys().cloned().collect();
    let known: Vec<&str> =
        names.iter().copied().chain(aliases.iter().map(String::as_str)).collect();
    // The router's settings win, so they come last.
    for (section, timeout) in [(litellm, "request_timeout"), (router, "timeout")] {
        let Some(section) = section else { continue };
        set(
            &mut routing.num_retries,
            section.get("num_retries").and_then(|f| f.whole(0..=RETRIES_MAX)),
        );
        set(&mut routing.timeout, section.get(timeout).and_then(seconds));
        stream_timeout = section.get("stream_timeout").and_then(seconds).or(stream_timeout);
        if let Some(field) = section.get("fallbacks") {
            let of_any = read_fallbacks(&field, &known, &mut routing.fallbacks);
            set(&mut routing.default_fallbacks, of_any);
        }
        for (key, of_kind) in [
            ("context_window_fallbacks", &mut routing.context_window_fallbacks),
            ("content_policy_fallbacks", &mut routing.content_policy_fallbacks),
        ] {
            let Some(field) = section.get(key) else { continue };
            if read_fallbacks(&field, &known, of_kind).is_some() {
                field.warning("`*` has no effect here: name the models");
            }
        }
        if let Some(field) = section.get("default_fallbacks") {
            routing.default_fallbacks = field.texts();
            for item in field.item_or_items() {
                check_name(&item, &known);
            }
        }
    }
    routing.stream_timeout = stream_timeout.unwrap_or(routing.timeout);
    if let Some(field) = router.and_then(|section| section.get("routing_strategy"))
        && let Some(strategy) = field.text().filter(|strategy| strategy != "simple-shuffle")
    {
        field.warning(format!("hookgate has no `{strategy}` yet; simple-shuffle takes its place"));
    }
    routing
}

/// `[{model: [other, …]}, …]`. Returns those of the model `*`, which stands for every other.
fn read_fallbacks(
    field: &Field<'_>,
    known: &[&str],
    fallbacks: &mut HashMap<String, Vec<String>>,
) -> Option<Vec<String>> {
    let mut of_any = None;
    for item in field.items().unwrap_or_default() {
        let Some(section) = item.section() else { continue };
        for (entry, field) in section.fields() {
            for item in field.item_or_items() {
                check_name(&item, known);
            }
            let names = field.texts();
            if entry.key == "*" {
                of_any = Some(names);
                continue;
            }
            check_reference(&entry.key, known, &entry.at, &field.path, field.report);
            fallbacks.insert(entry.key.clone(), names);
        }
    }
    of_any
}

fn check_name(item: &Field<'_>, known: &[&str]) {
    if let crate::config::located::Value::Text(text) = &item.node.value {
        check_reference(&text.content, known, &item.node.at, &item.path, item.report);
    }
}

/// `alias: model`, or `alias: {model: …, hidden: …}`.
fn read_aliases(field: &Field<'_>, names: &[&str], routing: &mut Routing) {
    let Some(section) = field.section() else { return };
    for (entry, field) in section.fields() {
        let target = if matches!(field.node.value, crate::config::located::Value::Map(_)) {
            let Some(section) = field.section() else { continue };
            let target = section.get("model");
            if let Some(hidden) = section.get("hidden")
                && hidden.flag() == Some(true)
            {
                hidden.warning("hookgate lists no aliases, so this has no effect");
            }
            section.finish(Unknown::Warn, &[]);
            target
        } else {
            Some(field)
        };
        let Some(target) = target else { continue };
        let Some(model) = target.text() else { continue };
        check_reference(&model, names, &target.node.at, &target.path, target.report);
        routing.aliases.insert(entry.key.clone(), model);
    }
}

/// What `general_settings` says.
pub(crate) struct General {
    pub(crate) master_key: Option<Secret>,
    pub(crate) allow_client_mock_response: bool,
    /// Calls that a deployment is asked at once, unless its entry says otherwise.
    pub(crate) max_parallel_requests: Option<u32>,
    pub(crate) global_max_parallel_requests: Option<u32>,
}

/// Reads `general_settings`, but for `alerting`.
pub(crate) fn read_general(
    section: Option<&Section<'_>>,
    variables: &Variables,
    report: &Report,
) -> General {
    let from_variable = || {
        let key = variables.get(MASTER_KEY_VARIABLE)?;
        if !is_sendable(key) {
            report.problem_outside(format!("{MASTER_KEY_VARIABLE}: {UNSENDABLE}"));
        }
        if let Some(what) = weakness(key) {
            report.warning_outside(format!("{MASTER_KEY_VARIABLE}: {what}"));
        }
        Some(Secret::new(key))
    };
    let Some(section) = section else {
        return General {
            master_key: from_variable(),
            allow_client_mock_response: true,
            max_parallel_requests: None,
            global_max_parallel_requests: None,
        };
    };
    let flag = |key| section.get(key).and_then(|field| field.flag());
    let allow_client_mock_response = flag("allow_client_mock_response").unwrap_or(true);
    let permit_weak = flag("dangerously_permit_weak_or_unset_master_key").unwrap_or(false);
    let field = section.get("master_key");
    let master_key = match &field {
        Some(field) => field.text().map(|text| Secret::new(&text)),
        None => from_variable(),
    };
    if let (Some(field), Some(key)) = (&field, &master_key)
        && !is_sendable(key.expose())
    {
        field.problem(UNSENDABLE);
    }
    if let Some(field) = field.filter(|_| !permit_weak)
        && let Some(what) = master_key.as_ref().and_then(|key| weakness(key.expose()))
    {
        field.warning(what);
    }
    let limit = |key| section.get(key).and_then(|field: Field<'_>| field.whole(1..=LIMIT_MAX));
    General {
        master_key,
        allow_client_mock_response,
        max_parallel_requests: limit("max_parallel_requests"),
        global_max_parallel_requests: limit("global_max_parallel_requests"),
    }
}

/// What speaks against a master key, if anything does.
fn weakness(key: &str) -> Option<&'static str> {
    if known::WEAK_MASTER_KEYS.contains(&key) || key.len() < 8 {
        Some(
            "is a key that anybody would try first; make one with: echo sk-$(openssl rand -hex 24)",
        )
    } else if key.starts_with("sk-") {
        None
    } else {
        Some("does not begin with sk-, as LiteLLM wants it; it works here all the same")
    }
}
