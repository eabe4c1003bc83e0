//! Model name to deployments, in the order in which they are tried.

use std::{collections::HashSet, sync::Arc, time::Duration};

use domain::failure::{Failure, FailureKind};

use crate::{
    config::{Deployment, Routing},
    gateway::Gateway,
};

/// The first wait before a deployment is asked again, and the longest.
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(500);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(8);

/// Which deployments a call is sent to: by simple-shuffle among those of its model name, again after
/// a failure that another attempt may mend, then those of the fallback models.
pub(crate) struct Plan<'a> {
    gateway: &'a Gateway,
    groups: Vec<String>,
    group: usize,
    attempts_in_group: u32,
    tried: HashSet<String>,
}

/// One deployment to ask.
pub(crate) struct Step {
    pub(crate) deployment: Arc<Deployment>,
    /// How long to wait before.
    pub(crate) wait: Duration,
    /// Whether it is one of a fallback model.
    pub(crate) is_fallback: bool,
    /// Whether it follows a failure on the same model name.
    pub(crate) is_retry: bool,
}

impl<'a> Plan<'a> {
    /// Plans for a model name; `None` if nothing has that name.
    pub(crate) fn new(gateway: &'a Gateway, model: &str) -> Option<Self> {
        let routing = &gateway.config.routing;
        let model = resolve(routing, model);
        gateway.deployments.get(model)?;
        let fallbacks = routing.fallbacks.get(model).unwrap_or(&routing.default_fallbacks);
        let mut groups = vec![model.to_owned()];
        for name in fallbacks {
            let name = resolve(routing, name);
            if gateway.deployments.contains_key(name) && !groups.iter().any(|group| group == name) {
                groups.push(name.to_owned());
            }
        }
        Some(Self { gateway, groups, group: 0, attempts_in_group: 0, tried: HashSet::new() })
    }

    /// The next deployment after `failure` (`None` at first), or `None` when no more is to be tried.
    pub(crate) fn next(&mut self, failure: Option<&Failure>) -> Option<Step> {
        if let Some(failure) = failure {
            if failure.kind == FailureKind::Overloaded {
                // It is the gateway that has no room: another answer would not fit either.
                return None;
            }
            let again = self.attempts_in_group <= self.gateway.config.routing.num_retries
                && may_mend(failure.kind, self.untried() > 0)
                && (self.untried() > 0 || is_worth_waiting(failure));
            if !again {
                self.group += 1;
                self.attempts_in_group = 0;
            }
        }
        let name = self.groups.get(self.group)?;
        let deployments = self.gateway.deployments.get(name)?;
        let fresh: Vec<_> =
            deployments.iter().filter(|d| !self.tried.contains(&d.facts.id)).collect();
        let is_retry = self.attempts_in_group > 0;
        let wait = match failure {
            Some(failure) if is_retry && fresh.is_empty() => {
                retry_delay(self.attempts_in_group, failure)
            }
            _ => Duration::ZERO,
        };
        let deployment = if fresh.is_empty() {
            shuffle(deployments.iter())
        } else {
            shuffle(fresh.into_iter())
        }?;
        self.tried.insert(deployment.facts.id.clone());
        self.attempts_in_group += 1;
        Some(Step { deployment, wait, is_fallback: self.group > 0, is_retry })
    }

    fn untried(&self) -> usize {
        let name = self.groups.get(self.group);
        let deployments = name.and_then(|name| self.gateway.deployments.get(name));
        deployments
            .map_or(0, |all| all.iter().filter(|d| !self.tried.contains(&d.facts.id)).count())
    }
}

fn resolve<'a>(routing: &'a Routing, model: &'a str) -> &'a str {
    routing.aliases.get(model).map_or(model, String::as_str)
}

/// Picks one by weight.
fn shuffle<'a>(deployments: impl Iterator<Item = &'a Arc<Deployment>>) -> Option<Arc<Deployment>> {
    let deployments: Vec<_> = deployments.collect();
    if let [only] = deployments[..] {
        return Some(Arc::clone(only));
    }
    let total: u64 = deployments.iter().map(|d| u64::from(d.weight)).sum();
    let mut dice = if total == 0 { 0 } else { fastrand::u64(0..total) };
    for deployment in &deployments {
        let weight = u64::from(deployment.weight);
        if dice < weight {
            return Some(Arc::clone(deployment));
        }
        dice -= weight;
    }
    deployments.last().map(|last| Arc::clone(last))
}

/// Whether another attempt on the same model may succeed where one failed.
fn may_mend(kind: FailureKind, has_other_deployment: bool) -> bool {
    match kind {
        FailureKind::RateLimit
        | FailureKind::Timeout
        | FailureKind::Connection
        | FailureKind::ProviderError
        | FailureKind::BadResponse
        | FailureKind::StreamCut
        | FailureKind::StreamError => true,
        // The fault is one deployment's: its key, or its model's name.
        FailureKind::Authentication | FailureKind::NotFound => has_other_deployment,
        _ => false,
    }
}

/// A provider that asks for a longer pause than a caller is made to wait is not asked again.
fn is_worth_waiting(failure: &Failure) -> bool {
    failure.retry_after_secs.is_none_or(|asked| Duration::from_secs(asked) <= RETRY_DELAY_MAX)
}

/// Exponential with jitter in its second half, or what the provider asked for if that is longer.
fn retry_delay(attempts: u32, failure: &Failure) -> Duration {
    let grown = RETRY_DELAY_FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(10));
    let ceiling = grown.min(RETRY_DELAY_MAX);
    let asked = failure.retry_after_secs.map(Duration::from_secs).unwrap_or_default();
    ceiling.mul_f64(0.5 + fastrand::f64() / 2.0).max(asked)
}
