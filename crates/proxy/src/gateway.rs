//! What all calls share: configuration, journal, client, bounds.

use std::{collections::HashMap, sync::Arc};

use domain::{call::Call, failure::Failure, time::Clock};
use store::journal::Journal;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Deployment},
    limit::InFlight,
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
    pub(crate) deployments: HashMap<String, Vec<Arc<Deployment>>>,
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
        let mut deployments: HashMap<String, Vec<Arc<Deployment>>> = HashMap::new();
        for deployment in &config.deployments {
            deployments
                .entry(deployment.facts.model_name.clone())
                .or_default()
                .push(Arc::new(deployment.clone()));
        }
        let in_flight = InFlight::new(&config.limits);
        Self {
            upstream: Upstream::new(),
            config,
            deployments,
            journal,
            clock,
            in_flight,
            wants_pieces,
            budgets,
            cut: CancellationToken::new(),
            draining: CancellationToken::new(),
        }
    }

    /// The model names that callers may use: deployments' names in the file's order, then aliases.
    pub(crate) fn model_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        let listed = self.config.deployments.iter().map(|d| d.facts.model_name.as_str());
        let mut aliases: Vec<&str> =
            self.config.routing.aliases.keys().map(String::as_str).collect();
        aliases.sort_unstable();
        for name in listed.chain(aliases) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
