//! What all calls share: configuration, journal, client, bounds.

use std::{collections::HashMap, sync::Arc};

use domain::{
    call::{Call, Caller},
    failure::Failure,
    glob,
    time::Clock,
};
use store::journal::Journal;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Key},
    limit::InFlight,
    models::Models,
    quota::{Allowed, Quota},
    refusals::Refusals,
    upstream::Upstream,
};

/// Says whether some destination wants the streaming events of a call, so that its pieces are
/// recorded. Asked once per streamed call.
pub type WantsPieces = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

/// Says which calls may not be paid for any more. A closure is one.
pub trait Budgets: Send + Sync + 'static {
    /// Why a call is refused, or `None`. Asked once per call, at its admission; it must not wait.
    fn refusal(&self, call: &Call) -> Option<Failure>;
}

impl<F: Fn(&Call) -> Option<Failure> + Send + Sync + 'static> Budgets for F {
    fn refusal(&self, call: &Call) -> Option<Failure> {
        self(call)
    }
}

/// What all calls share. Cheap to clone behind an `Arc`.
pub struct Gateway {
    pub(crate) config: Config,
    pub(crate) models: Models,
    /// By hash.
    keys: HashMap<String, KnownKey>,
    /// Of all callers together.
    pub(crate) quota: Option<Arc<Quota>>,
    pub(crate) refusals: Refusals,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) upstream: Upstream,
    pub(crate) in_flight: InFlight,
    pub(crate) wants_pieces: WantsPieces,
    pub(crate) budgets: Arc<dyn Budgets>,
    /// Cancelled when the drain is over: calls still running end with an error.
    pub(crate) cut: CancellationToken,
    /// Cancelled when the gateway begins to stop: readiness says so.
    pub(crate) draining: CancellationToken,
}

impl Gateway {
    /// Puts together what all calls share.
    pub fn new(
        config: Config,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        wants_pieces: WantsPieces,
        budgets: Arc<dyn Budgets>,
    ) -> Self {
        let models = Models::new(&config.deployments);
        let keys = config.keys.iter().map(|key| (key.hash.clone(), KnownKey::new(key))).collect();
        let parallel = config.global_max_parallel_requests;
        let quota = Quota::new("gateway", Allowed { parallel, ..Allowed::default() });
        let in_flight = InFlight::new(&config.limits);
        Self {
            upstream: Upstream::new(&config.outbound),
            config,
            models,
            keys,
            quota,
            refusals: Refusals::new(),
            journal,
            clock,
            in_flight,
            wants_pieces,
            budgets,
            cut: CancellationToken::new(),
            draining: CancellationToken::new(),
        }
    }

    /// The caller's key, if it is a named one.
    pub(crate) fn key_of(&self, caller: &Caller) -> Option<&KnownKey> {
        match caller {
            Caller::Key { hash, .. } => self.keys.get(hash),
            _ => None,
        }
    }

    /// Whether a key may use a model, by the name that was asked for or the one that it stands for.
    pub(crate) fn may_use(&self, key: &KnownKey, model: &str) -> bool {
        let is_listed = |name: &str| key.models.iter().any(|listed| glob::matches(listed, name));
        let real = self.config.routing.aliases.get(model);
        key.models.is_empty() || is_listed(model) || real.is_some_and(|real| is_listed(real))
    }

    /// Whether a caller may use a model of that name, and there is one.
    pub(crate) fn has_model(&self, caller: &Caller, name: &str) -> bool {
        let real = self.config.routing.aliases.get(name).map_or(name, String::as_str);
        let may_use = self.key_of(caller).is_none_or(|key| self.may_use(key, name));
        may_use && !self.models.find(real).is_empty()
    }

    /// The model names that a caller may use: deployments' names in the file's order, then aliases.
    pub(crate) fn model_names(&self, caller: &Caller) -> Vec<&str> {
        let key = self.key_of(caller);
        let mut names: Vec<&str> = Vec::new();
        let listed = self.config.deployments.iter().map(|d| d.facts.model_name.as_str());
        let mut aliases: Vec<&str> =
            self.config.routing.aliases.keys().map(String::as_str).collect();
        aliases.sort_unstable();
        for name in listed.chain(aliases) {
            if !names.contains(&name) && key.is_none_or(|key| self.may_use(key, name)) {
                names.push(name);
            }
        }
        names
    }
}

/// A named key, as far as calls are concerned.
#[derive(Debug)]
pub(crate) struct KnownKey {
    pub(crate) name: String,
    pub(crate) models: Vec<String>,
    pub(crate) quota: Option<Arc<Quota>>,
}

impl KnownKey {
    fn new(key: &Key) -> Self {
        let Key { rpm, tpm, max_parallel_requests: parallel, .. } = *key;
        let quota = Quota::new("key", Allowed { rpm, tpm, parallel });
        Self { name: key.name.clone(), models: key.models.clone(), quota }
    }
}
