//! LiteLLM's callbacks: the names in `litellm_settings`, and what stands behind each.
//!
//! A name is looked up in `callback_settings`, then in the registries (the user's before the
//! built-in one), then among LiteLLM's own. Invariant: a name that resolves to nothing is never
//! passed over in silence.

use std::time::Duration;

use domain::{
    destination::{Destination, Format, RetryPolicy},
    event::EventType,
};

use crate::config::{
    known,
    located::{Node, Value},
    parts::{self, Address, Entry, Headers, Rest},
    policy::Policy,
    report::{At, Report, did_you_mean},
    section::{Field, Section, Unknown, not_set},
    standby::{Draft, FailoverFor},
    variable::Variables,
};

use super::{
    registry::{self, Registry, names},
    webhooks::check_name,
};

/// LiteLLM's keys of an entry, beside those of its registry.
pub(crate) const KEYS: [&str; 4] = ["callback_type", "max_retries", "retry_delay", "timeout"];
/// What LiteLLM's callbacks can be sent.
pub(crate) const OUTCOMES: [EventType; 2] = [EventType::Completion, EventType::Error];
/// The longest wait of a callback with `max_retries` of its own, which LiteLLM lets grow for ever.
const RETRY_DELAY_MAX: Duration = Duration::from_hours(1);

/// A name in one or more of the lists, where it stands first, and the types that the lists narrow
/// it to.
struct Asked<'a> {
    name: String,
    field: Field<'a>,
    event_types: Vec<EventType>,
}

/// Reads LiteLLM's callbacks.
pub(crate) struct Reader<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) variables: &'a Variables,
    pub(crate) registry: &'a Registry,
    pub(crate) report: &'a Report,
}

impl Reader<'_> {
    /// Every destination that `litellm_settings` names.
    pub(crate) fn read(
        &self,
        litellm: Option<&Section<'_>>,
        callback_settings: Option<&Field<'_>>,
    ) -> Vec<Draft> {
        let asked = litellm.map(asked).unwrap_or_default();
        let settings = callback_settings.map(|field| field.node);
        let shared = self.shared_headers(litellm, !asked.is_empty());
        let drafts =
            asked.iter().filter_map(|asked| self.resolve(asked, settings, &shared)).collect();
        if let Some(section) = callback_settings.and_then(Field::section) {
            self.report_unused(&section, &asked);
        }
        drafts
    }

    /// The headers of every `generic_api` instance, weakest first.
    fn shared_headers(&self, litellm: Option<&Section<'_>>, are_needed: bool) -> Headers {
        let mut headers = Headers::default();
        if let Some(text) = self.variables.get("GENERIC_LOGGER_HEADERS").filter(|_| are_needed) {
            headers.read_variable(text, self.report);
        }
        if let Some(field) = litellm.and_then(|section| section.get("generic_logger_headers")) {
            headers.read(&field);
        }
        headers
    }

    fn resolve(
        &self,
        asked: &Asked<'_>,
        settings: Option<&Node>,
        shared: &Headers,
    ) -> Option<Draft> {
        let name = asked.name.as_str();
        check_name(name, &asked.field.node.at, &asked.field);
        if let Some(node) = settings.and_then(|settings| settings.get(name)) {
            let path = format!("callback_settings.{name}");
            let section = Section::open(&path, node, self.report)?;
            if is_generic_api(&section, name) {
                return Some(self.read_entry(asked, section, shared));
            }
            return None;
        }
        if let Some(node) = self.registry.find(name) {
            let section = Section::open(name, node, self.report)?;
            return self.read_registered(asked, section, shared);
        }
        if name == "generic_api" {
            return self.read_bare(asked, shared);
        }
        self.report_unknown(asked, settings);
        None
    }

    /// Configured by `GENERIC_LOGGER_ENDPOINT` alone.
    fn read_bare(&self, asked: &Asked<'_>, shared: &Headers) -> Option<Draft> {
        let address = self.endpoint_variable(asked)?;
        let nothing = Node::nothing(&asked.field.node.at.file);
        let section = Section::open("generic_api", &nothing, self.report)?;
        Some(self.draft(asked, section, Some(address), shared))
    }

    /// The address that `GENERIC_LOGGER_ENDPOINT` holds.
    fn endpoint_variable(&self, asked: &Asked<'_>) -> Option<Address> {
        const VARIABLE: &str = "GENERIC_LOGGER_ENDPOINT";
        let name = &asked.name;
        let Some(text) = self.variables.get(VARIABLE) else {
            asked.field.problem(format!(
                "`{name}` has no endpoint: set environment variable {VARIABLE}, or give it one in \
                 callback_settings"
            ));
            return None;
        };
        match parts::check_address(text, self.policy, !self.policy.block_private) {
            Ok((address, warning)) => {
                if let Some(warning) = warning {
                    asked.field.warning(format!("the URL in {VARIABLE} {warning}"));
                }
                Some(address)
            }
            Err(what) => {
                asked.field.problem(format!("the URL in {VARIABLE} {what}"));
                None
            }
        }
    }

    /// An entry of a registry. What its variables lack is told where the name is used, as the
    /// registry's own lines need no mending.
    fn read_registered(
        &self,
        asked: &Asked<'_>,
        section: Section<'_>,
        shared: &Headers,
    ) -> Option<Draft> {
        let mut missing = Vec::new();
        for key in ["endpoint", "headers"] {
            if let Some(field) = section.get(key) {
                collect_missing(field.node, &mut missing);
            }
        }
        let names = registry::variables(&section);
        let lacking = names.iter().filter_map(|name| self.variables.lacking(name));
        missing.extend(lacking.map(str::to_owned));
        missing.sort();
        missing.dedup();
        if !missing.is_empty() {
            let name = &asked.name;
            let it = if missing.len() == 1 { "it" } else { "them" };
            let what = not_set(&missing);
            // The built-in registry is no file of the user's to look into.
            let asking = match section.at.file.order {
                usize::MAX => String::new(),
                _ => format!(" ({} asks for {it})", section.at),
            };
            asked.field.problem(format!(
                "`{name}` cannot be used: {what}{asking}; set {it} where the gateway runs, or in \
                 environment_variables"
            ));
            return None;
        }
        let address = match section.get("endpoint") {
            Some(field) => parts::read_address(&field, self.policy, !self.policy.block_private),
            None => self.endpoint_variable(asked),
        };
        registry::check_docs(&section);
        Some(self.draft(asked, section, address, shared))
    }

    /// An entry of `callback_settings`.
    fn read_entry(&self, asked: &Asked<'_>, section: Section<'_>, shared: &Headers) -> Draft {
        if section.get("enabled").and_then(|field| field.flag()) == Some(false) {
            return named(asked, &section, None);
        }
        let allow_private = section.get("allow_private").and_then(|field| field.flag());
        let field = section.get("endpoint");
        if field.is_none() {
            let what = "endpoint is missing: where should events go?";
            self.report.problem(section.at, &section.path, what);
        }
        let allow_private = allow_private.unwrap_or(true) && !self.policy.block_private;
        let address = field.and_then(|f| parts::read_address(&f, self.policy, allow_private));
        self.draft(asked, section, address, shared)
    }

    /// What all three kinds have in common. Without an address the problem is noted already, and
    /// the rest is read for its own problems.
    fn draft(
        &self,
        asked: &Asked<'_>,
        section: Section<'_>,
        address: Option<Address>,
        shared: &Headers,
    ) -> Draft {
        let entry = Entry::read(&section, self.policy);
        let log_format =
            section.get("log_format").and_then(|f| f.choice(&parts::format::LOG_FORMATS));
        let rest = Rest {
            name: &asked.name,
            address,
            headers: shared.clone(),
            format: Format::GenericApi(log_format.unwrap_or_default()),
            event_types: read_event_types(asked, &section),
            filters: Vec::new(),
            retry: self.read_retry(&section),
            timeout: section.get("timeout").and_then(|field| field.seconds(0.001..=600.0)),
        };
        let enabled = entry.enabled;
        let destination = entry.into_destination(rest, &section, self.policy);
        let draft = named(asked, &section, Some(destination).filter(|_| enabled));
        section.get("callback_type");
        section.finish(Unknown::Warn, &[]);
        draft
    }

    /// LiteLLM's `max_retries` counts attempts after the first, with waits of `retry_delay` × 2^n.
    fn read_retry(&self, section: &Section<'_>) -> RetryPolicy {
        let mut retry = self.policy.defaults.retry.clone();
        let delay = section.get("retry_delay").and_then(|field| field.seconds(0.0..=86_400.0));
        if let Some(delay) = delay {
            retry.initial_delay = delay;
            retry.max_delay = retry.max_delay.max(delay);
        }
        let retries: Option<u32> = section.get("max_retries").and_then(|f| f.whole(0..=1_000));
        if let Some(retries) = retries {
            retry.max_attempts = retries + 1;
            retry.multiplier = 2.0;
            retry.max_delay = retry.max_delay.max(RETRY_DELAY_MAX);
        }
        retry
    }

    fn report_unknown(&self, asked: &Asked<'_>, settings: Option<&Node>) {
        if self.registry.is_broken {
            return;
        }
        let name = asked.name.as_str();
        if known::CALLBACKS.contains(&name) {
            asked.field.warning(format!(
                "`{name}` is one of LiteLLM's own callbacks, which hookgate lacks; nothing is sent \
                 to it"
            ));
        } else if name.contains('.') {
            asked.field.warning(format!(
                "`{name}` looks like a Python object; hookgate runs no Python, so it has no effect"
            ));
        } else {
            let configured = settings.into_iter().flat_map(names);
            let mut ours: Vec<&str> = configured.chain(self.registry.names()).collect();
            ours.push("generic_api");
            let near = did_you_mean(name, ours.iter().chain(known::CALLBACKS).copied());
            ours.retain(|name| !known::CALLBACKS.contains(name));
            ours.sort_unstable();
            ours.dedup();
            let what = format!("there is no callback `{name}`");
            if near.is_empty() {
                let ours = ours.join(", ");
                let or = format!("add callback_settings.{name}, or use one of {ours}");
                asked.field.problem(format!("{what}; {or}"));
            } else {
                asked.field.problem(format!("{what}{near}"));
            }
        }
    }

    /// LiteLLM starts only what its lists name, and so do we; but a forgotten name is told.
    fn report_unused(&self, section: &Section<'_>, asked: &[Asked<'_>]) {
        for (entry, field) in section.fields() {
            if asked.iter().any(|asked| asked.name == entry.key) {
                continue;
            }
            let is_generic_api = field.node.get("callback_type").is_some_and(
                |node| matches!(&node.value, Value::Text(text) if text.content == "generic_api"),
            );
            let what = if is_generic_api {
                "is in none of litellm_settings.callbacks, success_callback and failure_callback, \
                 so nothing is sent to it"
            } else {
                "LiteLLM has this setting; hookgate does not act on it"
            };
            self.report.warning(&entry.at, &field.path, what);
        }
    }
}

/// The names in the three lists, in the order of the file's lists, each once.
fn asked<'a>(litellm: &Section<'a>) -> Vec<Asked<'a>> {
    let lists = [
        ("callbacks", &OUTCOMES[..]),
        ("success_callback", &OUTCOMES[..1]),
        ("failure_callback", &OUTCOMES[1..]),
    ];
    let mut all: Vec<Asked<'a>> = Vec::new();
    for (list, event_types) in lists {
        let Some(list) = litellm.get(list) else { continue };
        for field in list.item_or_items() {
            let Some(name) = field.text() else { continue };
            match all.iter_mut().find(|earlier| earlier.name == name) {
                Some(earlier) => earlier.event_types.extend(event_types),
                None => all.push(Asked { name, field, event_types: event_types.to_vec() }),
            }
        }
    }
    all
}

/// The types that an entry asks for, of those that LiteLLM's payload has.
pub(crate) fn own_event_types(field: &Field<'_>) -> Vec<EventType> {
    let own = parts::events::event_types(field);
    if own.iter().any(|kind| !OUTCOMES.contains(kind)) {
        field.warning("`generic_api` has a form for llm_api_success and llm_api_failure only");
    }
    own
}

/// What both the lists and the entry ask for.
fn read_event_types(asked: &Asked<'_>, section: &Section<'_>) -> Vec<EventType> {
    let field = section.get("event_types");
    let own = field.as_ref().map_or_else(|| OUTCOMES.to_vec(), own_event_types);
    let both: Vec<_> = OUTCOMES
        .into_iter()
        .filter(|kind| own.contains(kind) && asked.event_types.contains(kind))
        .collect();
    if let Some(field) = field.filter(|_| both.is_empty() && !own.is_empty()) {
        field.warning(format!(
            "leaves nothing to send: `{}` is named in a list of other events",
            asked.name
        ));
    }
    both
}

/// Whether an entry of `callback_settings` is ours to act on; says so if not.
fn is_generic_api(section: &Section<'_>, name: &str) -> bool {
    match section.get("callback_type") {
        Some(field) => match field.text().as_deref() {
            Some("generic_api") => true,
            Some(kind) => {
                let near = did_you_mean(kind, ["generic_api"]);
                let what = format!("hookgate has no callbacks of type `{kind}`{near}");
                if near.is_empty() {
                    field.warning(format!("{what}; nothing is sent to `{name}`"));
                } else {
                    field.problem(what);
                }
                false
            }
            None => false,
        },
        None if known::CALLBACKS.contains(&name) => {
            section.report.warning(
                section.at,
                &section.path,
                "belongs to one of LiteLLM's own callbacks, which hookgate lacks",
            );
            false
        }
        None => {
            let what = "callback_type is missing; write `callback_type: generic_api`";
            section.report.problem(section.at, &section.path, what);
            false
        }
    }
}

fn named(asked: &Asked<'_>, section: &Section<'_>, destination: Option<Destination>) -> Draft {
    let at: &At = if section.at.line == 0 || section.at.file.order == usize::MAX {
        &asked.field.node.at
    } else {
        section.at
    };
    Draft {
        name: asked.name.clone(),
        at: at.clone(),
        path: section.path.clone(),
        destination,
        failover_for: FailoverFor::Nobody,
    }
}

fn collect_missing(node: &Node, missing: &mut Vec<String>) {
    match &node.value {
        Value::Text(text) => missing.extend(text.missing.iter().cloned()),
        Value::Map(entries) => {
            for entry in entries {
                collect_missing(&entry.node, missing);
            }
        }
        Value::List(items) => {
            for item in items {
                collect_missing(item, missing);
            }
        }
        _ => {}
    }
}
