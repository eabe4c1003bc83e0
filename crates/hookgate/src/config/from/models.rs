//! LiteLLM's `model_list`: what calls may be sent to.
//!
//! Invariant: a deployment's id is unique, never holds a secret, and stays the same as long as its
//! entry and those before it do.

use std::{fmt::Write, sync::Arc};

use domain::{
    deployment::{CustomPrices, DeploymentFacts, Dialect},
    glob,
    secret::Secret,
};
use provider::vendor::{Vendor, vendor, vendors};
use proxy::config::{Credential, Deployment};
use sha2::{Digest, Sha256};
use url::Url;

use crate::config::{
    known,
    located::{self, Node},
    report::{At, Report, did_you_mean},
    section::{Field, Section, Unknown, listed, not_set},
    variable::Variables,
};

/// A cost in US dollars per token that is surely a mistake.
const COST_MAX: f64 = 1.0;
/// What weights are multiplied by when some of them are fractions.
const WEIGHT_SCALE: f64 = 1_000.0;
/// The longest time-out of a provider, in seconds.
pub(crate) const TIMEOUT_SECS_MAX: f64 = 86_400.0;

/// Fields of a request that an entry may set for callers who leave them out.
const DEFAULTS: [&str; 16] = [
    "frequency_penalty",
    "logit_bias",
    "max_completion_tokens",
    "max_tokens",
    "n",
    "parallel_tool_calls",
    "presence_penalty",
    "reasoning_effort",
    "response_format",
    "seed",
    "service_tier",
    "stop",
    "temperature",
    "thinking",
    "top_p",
    "verbosity",
];

/// The most attempts after the first.
pub(crate) const RETRIES_MAX: u32 = 100;

/// The most that a limit a minute, or of calls at once, may be.
pub(crate) const LIMIT_MAX: u32 = 1_000_000_000;

/// Why a key cannot be used.
pub(crate) const UNSENDABLE: &str =
    "holds a character that no header can carry, such as a line break at its end";

/// Whether a key fits into a header.
pub(crate) fn is_sendable(key: &str) -> bool {
    key.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Reads `model_list`.
pub(crate) fn read(list: &Field<'_>, variables: &Variables, report: &Report) -> Vec<Deployment> {
    let mut weights = Vec::new();
    let mut deployments: Vec<Deployment> = Vec::new();
    for item in list.items().unwrap_or_default() {
        let Some(section) = item.section() else { continue };
        for (mut deployment, weight) in read_model(section, variables, report) {
            make_id(&mut deployment, &deployments, &item);
            deployments.push(deployment);
            weights.push(weight);
        }
    }
    weigh(&mut deployments, &weights);
    deployments
}

/// How often each is picked among those of its name: by `weight`; where none has one, by `rpm`, or
/// else by `tpm`, if all have it (LiteLLM's simple-shuffle); else alike.
fn weigh(deployments: &mut [Deployment], given: &[Option<f64>]) {
    let scale = if given.iter().flatten().all(|w| w.fract() == 0.0) { 1.0 } else { WEIGHT_SCALE };
    let weight = |index: usize| {
        let name = &deployments[index].facts.model_name;
        let group: Vec<usize> = (0..deployments.len())
            .filter(|other| deployments[*other].facts.model_name == *name)
            .collect();
        if group.len() == 1 || group.iter().any(|other| given[*other].is_some()) {
            return (given[index].unwrap_or(1.0) * scale).round() as u32;
        }
        let by = |limit: fn(&Deployment) -> Option<u32>| {
            let has_all = group.iter().all(|other| limit(&deployments[*other]).is_some());
            limit(&deployments[index]).filter(|_| has_all)
        };
        by(|deployment| deployment.rpm).or_else(|| by(|deployment| deployment.tpm)).unwrap_or(1)
    };
    let weights: Vec<u32> = (0..deployments.len()).map(weight).collect();
    for (deployment, weight) in deployments.iter_mut().zip(weights) {
        deployment.weight = weight;
    }
}

fn read_model(
    section: Section<'_>,
    variables: &Variables,
    report: &Report,
) -> Vec<(Deployment, Option<f64>)> {
    let at = section.at;
    let path = section.path.clone();
    let name = section.get("model_name");
    if name.is_none() {
        report.problem(at, &path, "model_name is missing: what do callers call it?");
    }
    let name = name.and_then(|field| field.text());
    let params = section.get("litellm_params");
    if params.is_none() {
        report.problem(at, &path, "litellm_params is missing: which provider and model is it?");
    }
    let params = params.and_then(|field| field.section());
    // The rest of `model_info` is the user's own to fill.
    let info = section.section("model_info");
    section.finish(Unknown::Warn, known::MODEL);
    let (Some(name), Some(params)) = (name, params) else { return Vec::new() };
    Entry { name, params, info, variables, report }.read()
}

/// One entry of `model_list` on its way to a deployment.
struct Entry<'a> {
    name: String,
    params: Section<'a>,
    info: Option<Section<'a>>,
    variables: &'a Variables,
    report: &'a Report,
}

/// A provider, and the model's name there.
struct Target {
    prefix: String,
    model: String,
    base_url: String,
    api_base: String,
    dialect: Dialect,
    vendor: Option<&'static Vendor>,
}

impl Entry<'_> {
    fn read(self) -> Vec<(Deployment, Option<f64>)> {
        let mock_response = self.params.get("mock_response").map(|f| located::to_json(f.node));
        let targets = self.targets(mock_response.is_some());
        let prices = self.prices();
        let id = self.info.as_ref().and_then(|info| info.get("id")).and_then(|f| f.text());
        self.check_mode();
        let seconds =
            |key| self.params.get(key).and_then(|field| field.seconds(0.001..=TIMEOUT_SECS_MAX));
        let (timeout, stream_timeout) = (seconds("timeout"), seconds("stream_timeout"));
        let weight = self.params.get("weight").and_then(|f| f.number(0.0..=1_000_000.0));
        let limit = |key| {
            let field: Option<Field<'_>> = self.params.get(key);
            field.and_then(|field| field.whole(0..=LIMIT_MAX))
        };
        let (rpm, tpm) = (limit("rpm"), limit("tpm"));
        let max_parallel_requests = limit("max_parallel_requests");
        let include_usage = self.params.get("include_usage").and_then(|field| field.flag());
        let num_retries = self.params.get("num_retries").and_then(|f| f.whole(0..=RETRIES_MAX));
        let order =
            |section: &Section<'_>| section.get("order").and_then(|f| f.whole(0..=LIMIT_MAX));
        let order = order(&self.params).or_else(|| order(self.info.as_ref()?));
        let extra_headers = self.extra_headers();
        let defaults = self.defaults();
        // Read for its problems even where the target has one.
        let key = self.params.get("api_key");
        let deployment = |(model_name, target): (String, Target)| {
            let credential = match mock_response {
                Some(_) => Credential::None,
                None => self.credential(key.as_ref(), &target),
            };
            let facts = DeploymentFacts {
                id: id.clone().unwrap_or_default(),
                model_name,
                provider: target.prefix,
                model: target.model,
                api_base: target.api_base,
                dialect: target.dialect,
                prices,
            };
            let deployment = Deployment {
                facts: Arc::new(facts),
                base_url: target.base_url,
                credential,
                extra_headers: extra_headers.clone(),
                defaults: defaults.clone(),
                timeout,
                stream_timeout,
                num_retries,
                order,
                weight: 1,
                include_usage: include_usage.unwrap_or(true),
                mock_response: mock_response.clone(),
                rpm,
                tpm,
                max_parallel_requests,
            };
            (deployment, weight)
        };
        let deployments = targets.into_iter().map(deployment).collect();
        self.params.finish(Unknown::Warn, known::MODEL_PARAMS);
        deployments
    }

    /// What the entry leads to, by the name that callers use: one model, or with `model: "*"` every
    /// model of each provider whose key is there.
    fn targets(&self, is_mock: bool) -> Vec<(String, Target)> {
        let model = self.params.get("model");
        let has_other = ["api_base", "base_url", "custom_llm_provider"]
            .into_iter()
            .any(|key| self.params.get(key).is_some());
        let Some(field) = model.filter(|field| {
            !is_mock && !has_other && field.text().is_some_and(|model| model == "*")
        }) else {
            return self
                .target(is_mock)
                .map(|target| (self.name.clone(), target))
                .into_iter()
                .collect();
        };
        if !self.name.contains('*') {
            field.problem("`*` stands for what the `*` in model_name does, and that has none");
            return Vec::new();
        }
        let targets: Vec<_> = vendors().flat_map(|vendor| self.all_of(vendor)).collect();
        if targets.is_empty() {
            field.warning("serves no model: no provider's key is in the environment");
        }
        targets
    }

    /// Every model of a provider, by its names with the provider's prefix, and by those that tell
    /// the provider without it; nothing if its key is not in the environment.
    fn all_of(&self, vendor: &'static Vendor) -> Vec<(String, Target)> {
        let variables = vendor.key_variable.iter().chain(vendor.key_aliases);
        let has_key = variables.into_iter().any(|name| self.variables.get(name).is_some());
        let Some(base_url) = vendor.base_url.filter(|_| has_key) else { return Vec::new() };
        let bare: &[&str] = match vendor.prefix {
            "openai" => OPENAI_MODELS,
            "anthropic" => &["claude-*"],
            _ => &[],
        };
        let names = std::iter::once((format!("{}/*", vendor.prefix), "*"));
        let names = names.chain(bare.iter().map(|name| ((*name).to_owned(), *name)));
        let target = |(name, model): (String, &str)| {
            let target = Target {
                prefix: vendor.prefix.to_owned(),
                model: model.to_owned(),
                base_url: base_url.to_owned(),
                api_base: String::new(),
                dialect: vendor.dialect,
                vendor: Some(vendor),
            };
            (self.name.replacen('*', &name, 1), target)
        };
        names.map(target).collect()
    }

    fn target(&self, is_mock: bool) -> Option<Target> {
        let api_base = self.params.get("api_base");
        let base_url = self.params.get("base_url");
        let base = api_base.or(base_url);
        let given = self.params.get("custom_llm_provider").and_then(|field| field.text());
        let Some(field) = self.params.get("model") else {
            let what = "model is missing; write provider/model, such as openai/gpt-4o";
            self.report.problem(self.params.at, &self.params.path, what);
            return None;
        };
        let text = field.text()?;
        let (prefix, model) = match given {
            Some(provider) => {
                let model = text.strip_prefix(&format!("{provider}/")).unwrap_or(&text).to_owned();
                (provider, model)
            }
            None => split_model(&text, base.is_some() || is_mock, &field)?,
        };
        let Some(vendor) = vendor(&prefix) else {
            if is_mock {
                return Some(mocked(prefix, model));
            }
            field.problem(unknown_provider(&prefix, &text));
            return None;
        };
        let own = match &base {
            Some(field) => Some(base_address(field, vendor)?),
            None => None,
        };
        if is_mock {
            return Some(Target { api_base: own.unwrap_or_default(), ..mocked(prefix, model) });
        }
        let Some(base_url) = own.as_deref().or(vendor.base_url) else {
            let what = format!("api_base is missing: `{prefix}` has no address of its own");
            self.report.problem(self.params.at, &self.params.path, what);
            return None;
        };
        let base_url = base_url.trim_end_matches('/').to_owned();
        Some(Target {
            prefix,
            model,
            base_url,
            api_base: own.unwrap_or_default(),
            dialect: vendor.dialect,
            vendor: Some(vendor),
        })
    }

    fn credential(&self, key: Option<&Field<'_>>, target: &Target) -> Credential {
        if let Some(field) = key {
            let Some(text) = field.raw_text() else { return Credential::None };
            if let Some(variable) = text.missing.first() {
                field.warning(format!(
                    "{}; calls to `{}` will be answered with an error that says so",
                    not_set(&text.missing),
                    self.name
                ));
                return Credential::Missing { variable: variable.clone() };
            }
            return match text.content.as_str() {
                "" => Credential::None,
                text => {
                    if !is_sendable(text) {
                        field.problem(UNSENDABLE);
                    }
                    Credential::Key(Secret::new(text))
                }
            };
        }
        let Some(vendor) = target.vendor else { return Credential::None };
        let Some(variable) = vendor.key_variable else { return Credential::None };
        let names = std::iter::once(variable).chain(vendor.key_aliases.iter().copied());
        match names.into_iter().find_map(|name| self.variables.get(name)) {
            Some(text) => {
                if !is_sendable(text) {
                    let what = format!("the key in {variable} {UNSENDABLE}");
                    self.report.problem(self.params.at, &self.params.path, what);
                }
                Credential::Key(Secret::new(text))
            }
            None if !target.api_base.is_empty() => Credential::None,
            None => {
                let what = format!(
                    "has no api_key, and environment variable {variable} is not set; calls to \
                     `{}` will be answered with an error that says so",
                    self.name
                );
                self.report.warning(self.params.at, &self.params.path, what);
                Credential::Missing { variable: variable.to_owned() }
            }
        }
    }

    /// The user's own prices; those in `litellm_params` win, as with LiteLLM.
    fn prices(&self) -> Option<CustomPrices> {
        let price = |key| {
            let field = self.params.get(key);
            let info = self.info.as_ref().and_then(|info| info.get(key));
            field.or(info).and_then(|field| field.number(0.0..=COST_MAX))
        };
        let prices = CustomPrices {
            input_cost_per_token: price("input_cost_per_token"),
            output_cost_per_token: price("output_cost_per_token"),
            cache_read_input_token_cost: price("cache_read_input_token_cost"),
            cache_creation_input_token_cost: price("cache_creation_input_token_cost"),
        };
        (prices != CustomPrices::default()).then_some(prices)
    }

    fn check_mode(&self) {
        let Some(field) = self.info.as_ref().and_then(|info| info.get("mode")) else { return };
        let served = ["chat", "completion", "embedding", "responses"];
        if let Some(mode) = field.text().filter(|mode| !served.contains(&mode.as_str())) {
            let served = listed(&served);
            field.warning(format!("hookgate serves models of mode {served}, not `{mode}`"));
        }
    }

    /// What requests get that the caller leaves out: parameters of the API, and `extra_body`.
    fn defaults(&self) -> Vec<(String, String)> {
        let json = |field: &Field<'_>| located::to_json(field.node).to_string();
        let named = DEFAULTS.into_iter().filter_map(|key| {
            let field = self.params.get(key)?;
            Some((key.to_owned(), json(&field)))
        });
        let mut all: Vec<_> = named.collect();
        if let Some(section) = self.params.section("extra_body") {
            all.extend(section.fields().map(|(entry, field)| (entry.key.clone(), json(&field))));
        }
        all
    }

    /// What the user adds to requests: `extra_headers`, which LiteLLM also takes as `headers`, and
    /// OpenAI's `organization`.
    fn extra_headers(&self) -> Vec<(String, Secret)> {
        let mut all = Vec::new();
        for key in ["headers", "extra_headers"] {
            let Some(section) = self.params.section(key) else { continue };
            all.extend(section.fields().filter_map(|(entry, field)| header(&entry.key, &field)));
        }
        if let Some(field) = self.params.get("organization") {
            all.extend(header("OpenAI-Organization", &field));
        }
        all
    }
}

fn header(name: &str, field: &Field<'_>) -> Option<(String, Secret)> {
    let text = field.text()?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        field.problem(format!("`{}` is no name of a header", name.escape_debug()));
        return None;
    }
    if text.chars().any(|c| c.is_control() && c != '\t') {
        field.problem("has a control character, which no header may have");
        return None;
    }
    Some((name.to_owned(), Secret::new(&text)))
}

fn mocked(prefix: String, model: String) -> Target {
    Target {
        prefix,
        model,
        base_url: String::new(),
        api_base: String::new(),
        dialect: Dialect::Mock,
        vendor: None,
    }
}

/// The provider and the model's name there. A name without a prefix tells by what it begins with;
/// at an address of the user's own it is taken for an OpenAI-compatible server's.
fn split_model(text: &str, has_address: bool, field: &Field<'_>) -> Option<(String, String)> {
    if let Some((prefix, model)) = text.split_once('/') {
        if vendor(prefix).is_some() || known::PROVIDERS.contains(&prefix) {
            return Some((prefix.to_owned(), model.to_owned()));
        }
        if has_address {
            return Some(("openai".to_owned(), text.to_owned()));
        }
        field.problem(unknown_provider(prefix, text));
        return None;
    }
    let provider = if text.starts_with("claude-") {
        "anthropic"
    } else if has_address || is_openai_model(text) {
        "openai"
    } else {
        field.problem(format!(
            "`{text}` does not say which provider it is at; write provider/{text}, where provider \
             is one of {}",
            provider_names().join(", ")
        ));
        return None;
    };
    Some((provider.to_owned(), text.to_owned()))
}

/// OpenAI's models, as far as their names alone tell that they are.
const OPENAI_MODELS: &[&str] =
    &["gpt-*", "chatgpt-*", "ft:gpt-*", "text-embedding-*", "o1*", "o3*", "o4*", "o5*"];

fn is_openai_model(text: &str) -> bool {
    OPENAI_MODELS.iter().any(|models| glob::matches(models, text))
}

fn unknown_provider(prefix: &str, model: &str) -> String {
    let names = provider_names();
    let near = did_you_mean(prefix, names.iter().copied());
    if known::PROVIDERS.contains(&prefix) {
        format!("hookgate does not speak to `{prefix}` yet; it speaks to {}", names.join(", "))
    } else if near.is_empty() {
        format!(
            "`{model}` begins with no known provider; for an OpenAI-compatible server write \
             openai/… and its api_base; known are {}",
            names.join(", ")
        )
    } else {
        format!("`{model}` begins with no known provider{near}")
    }
}

fn provider_names() -> Vec<&'static str> {
    vendors().map(|vendor| vendor.prefix).collect()
}

/// A base URL as the user wrote it, less what the gateway appends itself.
fn base_address(field: &Field<'_>, vendor: &Vendor) -> Option<String> {
    let text = field.text()?;
    let shape = "must be a whole URL such as https://api.example.com/v1";
    let Some(url) = Url::parse(text.trim())
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    else {
        field.problem(shape);
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        field.problem("must not hold a user name or password; use api_key or extra_headers");
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        field.problem(format!("{shape}, without a query"));
        return None;
    }
    Some(vendor.base_url_of(url.as_str()).into_owned())
}

/// Gives a deployment its id: the user's, or a SHA-256 of what defines it. Keys are left out of it,
/// so entries that differ in their keys alone are told apart by their order.
fn make_id(deployment: &mut Deployment, earlier: &[Deployment], item: &Field<'_>) {
    let is_taken = |id: &str| earlier.iter().any(|other| other.facts.id == id);
    if !deployment.facts.id.is_empty() {
        if is_taken(&deployment.facts.id) {
            item.problem(format!(
                "model_info.id `{}` is taken by an earlier entry",
                deployment.facts.id
            ));
        }
        return;
    }
    for number in 0_usize.. {
        let id = hash_facts(&deployment.facts, number);
        if !is_taken(&id) {
            Arc::make_mut(&mut deployment.facts).id = id;
            return;
        }
    }
}

fn hash_facts(facts: &DeploymentFacts, number: usize) -> String {
    let number = number.to_string();
    let mut hash = Sha256::new();
    for part in [&facts.model_name, &facts.provider, &facts.model, &facts.api_base, &number] {
        hash.update(part);
        hash.update([0]);
    }
    hexadecimal(&hash.finalize())
}

/// Bytes as lower-case digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The public names of models, for checks of what refers to them.
pub(crate) fn model_names(deployments: &[Deployment]) -> Vec<&str> {
    let mut names: Vec<_> = deployments.iter().map(|d| d.facts.model_name.as_str()).collect();
    names.dedup();
    names
}

/// Warns that a reference to a model leads nowhere.
pub(crate) fn check_reference(name: &str, known: &[&str], at: &At, path: &str, report: &Report) {
    if !known
        .iter()
        .any(|known| *known == name || (known.contains('*') && glob::matches(known, name)))
    {
        let near = did_you_mean(name, known.iter().copied());
        report.warning(at, path, format!("no model of model_list is named `{name}`{near}"));
    }
}

/// Warns of an empty `model_list`, or of none.
pub(crate) fn warn_empty(node: Option<&Node>, report: &Report) {
    let so = "so every call is answered with an error";
    match node {
        Some(node) => report.warning(&node.at, "model_list", format!("is empty, {so}")),
        None => report.warning_outside(format!("there is no model_list, {so}")),
    }
}
