//! What the configuration says, and what it means.
//!
//! Two stages: `located` reads a file into a tree that knows lines and columns; everything else
//! turns trees into final values, and collects every problem on the way instead of stopping at the
//! first. Nothing here opens a socket or a database.
//!
//! Invariant: a `Settings` needs no further checking, and nobody else reads a configuration file
//! or the environment.

mod describe;
mod encryption;
mod from;
mod known;
mod located;
mod parts;
mod policy;
mod report;
mod section;
mod standby;
mod variable;

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use domain::{
    budget::Budget,
    destination::{Defaults, Destination},
    network::Network,
    outbound::Outbound,
    ports::Ports,
    secret::Secret,
};
use proxy::config::Deployment;
use store::sqlite::{Durability, PreviousKey};

use self::{
    from::{
        alerting, budgets, callbacks,
        gateway::{self, General},
        keys, models, outbound,
        own::{self, Own},
        registry::{self, Registry},
        webhooks::{self, Subscription},
    },
    located::{Node, Value},
    policy::Policy,
    report::Report,
    section::{Field, Section, Unknown},
    standby::Draft,
    variable::Variables,
};

pub use self::encryption::{ENCRYPTION_KEY_VARIABLE, PREVIOUS_KEY_VARIABLE};

pub(crate) use self::{describe::describe, from::registry::Integration, report::count};

/// Every setting of ours with its default, as text for people.
pub const DEFAULTS: &str = include_str!("../../../config/default.yaml");

/// The data directory if nothing names another, within the working directory.
pub const DATA_DIR: &str = "hookgate-data";

/// Everything that the gateway was told. Every value is final.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How callers are answered.
    pub proxy: proxy::config::Config,
    /// Where and how long records are kept.
    pub store: StoreSettings,
    /// Where events go, in the files' order; a standby stands inside its primary.
    pub destinations: Vec<Destination>,
    /// What destinations do unless they say otherwise, also those made through a door.
    pub defaults: Defaults,
    /// What concerns deliveries to all destinations.
    pub delivery: DeliverySettings,
    /// Which addresses deliveries may go to.
    pub egress: EgressSettings,
    /// Limits on spending, in the files' order.
    pub budgets: Vec<Budget>,
    /// Whose gateway it is: what budget events name (`hookgate.org_id`).
    pub org_id: String,
}

/// Where and how long records are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// The directory of the journal and of the lanes' state, as the user wrote it.
    pub data_dir: PathBuf,
    /// What a committed record survives.
    pub durability: Durability,
    /// How long records are kept, delivered or not.
    pub retention: Duration,
    /// Bytes of disk set aside, so that outcomes fit when the disk is full.
    pub ballast_bytes: u64,
    /// What stored secrets are sealed with (the variable `HOOKGATE_ENCRYPTION_KEY`); `None` takes the
    /// key file in the data directory.
    pub encryption_key: Option<Secret>,
    /// What they were sealed with before (the variable `HOOKGATE_ENCRYPTION_KEY_PREVIOUS`).
    pub previous_key: Option<PreviousKey>,
}

/// What concerns deliveries to all destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliverySettings {
    /// How long lanes may go on after SIGTERM to send what they have begun.
    pub settle_timeout: Duration,
    /// The age of a signed delivery beyond which a receiver should refuse it
    /// (`security.timestamp_tolerance_ms`), as `hookgate verify` does.
    pub timestamp_tolerance: Duration,
    /// How long a destination may fail without a success before it is disabled; `None` never.
    pub disable_after: Option<Duration>,
}

/// Which addresses deliveries may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressSettings {
    /// Whether destinations made through a door must have `https` URLs: they must unless
    /// `security.require_https` is false.
    pub doors_require_https: bool,
    /// Private networks that every destination may be in (`security.allow_private_destinations`).
    pub allow_private_destinations: Vec<Network>,
    /// The ports that destinations made through a door may have (`security.allowed_ports`).
    pub doors_allowed_ports: Ports,
    /// How they are reached.
    pub outbound: Outbound,
}

/// The variables of an environment, by name.
pub type Environment = HashMap<String, String>;

/// Where the configuration comes from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The main file (`--config`).
    pub config: Option<PathBuf>,
    /// A file of seed 002's sections (`--webhooks`); wins over `webhook_config:`.
    pub webhooks: Option<PathBuf>,
    /// A user's registry of callbacks (`--callbacks`); wins over the one beside the main file.
    pub callbacks: Option<PathBuf>,
    /// The address to listen on (`--host`); wins over the file.
    pub host: Option<String>,
    /// The port to listen on (`--port`); wins over the file.
    pub port: Option<u16>,
    /// The data directory (`--data-dir`); wins over the file.
    pub data_dir: Option<PathBuf>,
    /// The environment's variables. Only `main` reads the real ones.
    pub environment: Environment,
}

/// Something in a configuration that the gateway can live with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(String);

/// Something in a configuration that keeps the gateway from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads and checks the whole configuration: final values and warnings, or every problem at once,
/// in the order of files and lines.
pub fn load(sources: &Sources) -> Result<(Settings, Vec<Warning>), Vec<Problem>> {
    let (settings, warnings) = load_with_warnings(sources);
    settings.map(|settings| (settings, warnings))
}

/// As `load`, with the warnings in either case.
pub fn load_with_warnings(sources: &Sources) -> (Result<Settings, Vec<Problem>>, Vec<Warning>) {
    let report = Report::default();
    let settings = read(sources, &report);
    let (problems, warnings) = report.into_findings();
    match settings {
        Some(settings) if problems.is_empty() => (Ok(settings), warnings),
        _ => (Err(problems), warnings),
    }
}

/// The pre-configured callbacks that have a page: those of the built-in registry, and of a user's if
/// it is named; or every problem of the user's at once. Warnings come in either case.
pub(crate) fn integrations(
    registry: Option<&Path>,
) -> (Result<Vec<Integration>, Vec<Problem>>, Vec<Warning>) {
    let report = Report::default();
    let integrations = Registry::open(registry, &report).integrations(&report);
    let (problems, warnings) = report.into_findings();
    (if problems.is_empty() { Ok(integrations) } else { Err(problems) }, warnings)
}

/// `None` only where a problem was noted.
fn read(sources: &Sources, report: &Report) -> Option<Settings> {
    if sources.config.is_none() && sources.webhooks.is_none() {
        report.problem_outside(
            "no configuration file is named; write --config config.yaml, or try `hookgate demo`, \
             which needs none",
        );
        return None;
    }
    let main = match &sources.config {
        Some(path) => Some(located::read(path, 0, report)?),
        None => None,
    };
    let block = main.as_ref().and_then(|main| main.get("environment_variables"));
    let variables = Variables::new(&sources.environment, block, report);
    let mut main = main;
    if let Some(main) = &mut main {
        variables.fill(main);
    }
    let beside = sources.config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let webhooks = read_webhook_file(sources, main.as_ref(), beside, &variables, report);
    let registry = sources.callbacks.clone().or_else(|| {
        Some(beside.join(registry::REGISTRY_FILE))
            .filter(|path| sources.config.is_some() && path.exists())
    });
    let registry = Registry::read(registry.as_deref(), &variables, report);
    let sections = Sections::open(main.as_ref(), webhooks.as_ref(), report)?;
    Some(sections.read(sources, &variables, &registry))
}

/// The file of seed 002's sections, if there is one beside the main file.
fn read_webhook_file(
    sources: &Sources,
    main: Option<&Node>,
    beside: &Path,
    variables: &Variables,
    report: &Report,
) -> Option<Node> {
    let named = main.and_then(|main| main.get("webhook_config")).filter(|n| n.value != Value::Null);
    let path = match (&sources.webhooks, named) {
        (Some(path), _) => path.clone(),
        (None, Some(node)) => {
            let field = Field { path: "webhook_config".to_owned(), node, report };
            beside.join(field.text()?)
        }
        (None, None) => return None,
    };
    let mut tree = located::read(&path, 1, report)?;
    variables.fill(&mut tree);
    Some(tree)
}

/// The top of the main file, and of the file of webhooks.
struct Sections<'a> {
    main: Section<'a>,
    webhooks: Option<Section<'a>>,
    report: &'a Report,
}

impl<'a> Sections<'a> {
    fn open(
        main: Option<&'a Node>,
        webhooks: Option<&'a Node>,
        report: &'a Report,
    ) -> Option<Self> {
        let webhooks = match webhooks {
            Some(node) => Some(Section::open("", node, report)?),
            None => None,
        };
        // Without a main file, that of the webhooks stands alone.
        match main {
            Some(node) => Some(Self { main: Section::open("", node, report)?, webhooks, report }),
            None => Some(Self { main: webhooks?, webhooks: None, report }),
        }
    }

    /// A section that may stand in either file, but not in both.
    fn either(&self, key: &'static str) -> Option<Section<'a>> {
        let main = self.main.get(key);
        let other = self.webhooks.as_ref().and_then(|webhooks| webhooks.get(key));
        if let (Some(main), Some(other)) = (&main, &other) {
            other.problem(format!("is also given at {}; keep one of the two", main.node.at));
        }
        other.or(main)?.section()
    }

    fn read(self, sources: &Sources, variables: &Variables, registry: &Registry) -> Settings {
        let report = self.report;
        let policy = self.read_policy();
        let mut own = Own::default();
        if let Some(section) = self.main.section("hookgate") {
            own.read(section);
        }
        let litellm = self.main.section("litellm_settings");
        if let Some(field) = litellm.as_ref().and_then(|section| section.get("ssl_verify")) {
            outbound::read_ssl_verify(&field, &mut own.egress.providers);
        }
        let router = self.main.section("router_settings");
        let settings = self.main.section("general_settings");
        let general = gateway::read_general(settings.as_ref(), variables, report);
        let deployments = self.read_models(&general, router.as_ref(), variables);
        let routing = gateway::read_routing(litellm.as_ref(), router.as_ref(), &deployments);
        let keys = self.main.get("keys");
        let keys = keys.map(|list| keys::read(&list, general.master_key.as_ref()));
        let budgets = budgets::read(self.main.get("budgets").as_ref(), litellm.as_ref());
        let turn_off = litellm.as_ref().and_then(|s| s.get("turn_off_message_logging"));
        let turn_off_message_logging = turn_off.and_then(|field| field.flag()).unwrap_or(false);
        let mut drafts = callbacks::Reader { policy: &policy, variables, registry, report }
            .read(litellm.as_ref(), self.main.get("callback_settings").as_ref());
        drafts.extend(self.read_webhooks(&policy));
        drafts.extend(settings.as_ref().and_then(|settings| {
            alerting::read(settings, variables, &policy, !budgets.is_empty())
        }));
        let destinations = standby::arrange(drafts, report);
        if destinations.is_empty() {
            report.warning_outside("no destination is configured, so no event is sent anywhere");
        }
        for (section, passed_over) in [
            (litellm, known::LITELLM_SETTINGS),
            (router, known::ROUTER_SETTINGS),
            (settings, known::GENERAL_SETTINGS),
        ] {
            if let Some(section) = section {
                section.finish(Unknown::Warn, passed_over);
            }
        }
        self.finish();
        let proxy = proxy::config::Config {
            listen: listen(sources, &own, general.master_key.is_some(), report),
            master_key: general.master_key,
            keys: keys.unwrap_or_default(),
            global_max_parallel_requests: general.global_max_parallel_requests,
            deployments,
            routing,
            outbound: own.egress.providers,
            limits: own.limits,
            allow_client_mock_response: general.allow_client_mock_response,
            turn_off_message_logging,
            drain_timeout: own.drain_timeout,
        };
        let store = StoreSettings {
            data_dir: sources.data_dir.clone().unwrap_or(own.data_dir),
            durability: policy.durability,
            retention: policy.retention,
            ballast_bytes: own.ballast_bytes,
            encryption_key: encryption::read_key(&sources.environment, report),
            previous_key: encryption::read_previous_key(&sources.environment, report),
        };
        let delivery = policy.delivery();
        let egress = policy.egress(own.egress.destinations);
        let (defaults, org_id) = (policy.defaults, own.org_id);
        Settings { proxy, store, destinations, defaults, delivery, egress, budgets, org_id }
    }

    /// `model_list`, with what other sections say for every deployment.
    fn read_models(
        &self,
        general: &General,
        router: Option<&Section<'a>>,
        variables: &Variables,
    ) -> Vec<Deployment> {
        let list = self.main.get("model_list");
        let mut deployments = list
            .as_ref()
            .map(|list| models::read(list, variables, self.report))
            .unwrap_or_default();
        let is_empty =
            |list: &Field<'_>| matches!(&list.node.value, Value::List(l) if l.is_empty());
        if list.as_ref().is_none_or(is_empty) {
            models::warn_empty(list.map(|list| list.node), self.report);
        }
        let parallel = router
            .and_then(|section| section.get("default_max_parallel_requests"))
            .and_then(|field| field.whole(1..=models::LIMIT_MAX))
            .or(general.max_parallel_requests);
        for deployment in &mut deployments {
            deployment.max_parallel_requests = deployment.max_parallel_requests.or(parallel);
        }
        deployments
    }

    fn read_policy(&self) -> Policy {
        let mut policy = Policy::default();
        if let Some(section) = self.either("retry") {
            policy.read_retry(section);
        }
        if let Some(section) = self.either("delivery") {
            policy.read_delivery(section);
        }
        if let Some(section) = self.either("security") {
            policy.read_security(section);
        }
        policy
    }

    /// The entries of both files; a name that both have is a problem that `standby` notes.
    fn read_webhooks(&self, policy: &Policy) -> Vec<Draft> {
        let mut subscription = Subscription::default();
        if let Some(section) = self.either("events") {
            subscription.read(section);
        }
        [Some(&self.main), self.webhooks.as_ref()]
            .into_iter()
            .flatten()
            .filter_map(|top| top.section("webhooks"))
            .flat_map(|section| webhooks::read(&section, &subscription, policy))
            .collect()
    }

    fn finish(self) {
        // Read before the rest, or not at all.
        self.main.get("environment_variables");
        self.main.get("webhook_config");
        self.main.finish(Unknown::Warn, known::TOP);
        if let Some(webhooks) = self.webhooks {
            webhooks.finish(Unknown::Warn, &[]);
        }
    }
}

/// Where the gateway listens: beyond this machine only behind a master key.
fn listen(sources: &Sources, own: &Own, has_master_key: bool, report: &Report) -> SocketAddr {
    let mut host = own.host;
    if let Some(text) = &sources.host {
        match own::parse_host(text) {
            Ok(given) => host = given,
            Err(what) => report.problem_outside(format!("--host: {what}")),
        }
    }
    if !host.is_loopback() && !has_master_key {
        let what = format!(
            "listening on {host} would let anybody who reaches this machine call your models; set \
             general_settings.master_key, or listen on 127.0.0.1"
        );
        match own.host_at.as_ref().filter(|_| sources.host.is_none()) {
            Some(at) => report.problem(at, "hookgate.host", what),
            None => report.problem_outside(format!("--host: {what}")),
        }
    }
    SocketAddr::new(host, sources.port.unwrap_or(own.port))
}

#[cfg(test)]
mod tests;
