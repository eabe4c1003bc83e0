//! Model name to deployments, in the order in which they are tried.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{
    call::{Call, Endpoint},
    failure::{Failure, FailureKind},
    time::Timestamp,
};
use provider::protocol::{Pair, pair, unsupported};

use crate::{
    config::{Deployment, Routing},
    gateway::Gateway,
    quota::{Allowed, Exhausted, Place, Quota},
    upstream::failure,
    wishes::Wishes,
};

/// The first wait before a deployment is asked again, and the longest.
const RETRY_DELAY_FIRST: Duration = Duration::from_millis(500);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(8);

/// The deployments of one model name that have the same `order`.
pub(crate) struct Group {
    name: String,
    members: Vec<Member>,
}

struct Member {
    deployment: Arc<Deployment>,
    /// Of no deployment without limits.
    quota: Option<Arc<Quota>>,
}

impl Group {
    pub(crate) fn new(name: &str, deployments: &[&Deployment]) -> Self {
        let member = |deployment: &&Deployment| {
            let Deployment { rpm, tpm, max_parallel_requests, .. } = **deployment;
            let allowed = Allowed { rpm, tpm, parallel: max_parallel_requests };
            let quota = Quota::new("deployment", allowed);
            Member { deployment: Arc::new((*deployment).clone()), quota }
        };
        Self { name: name.to_owned(), members: deployments.iter().map(member).collect() }
    }

    /// The same deployments under a name of their own, asked for the model that `model` makes of
    /// theirs. Their limits are one with those that they have here.
    pub(crate) fn named(&self, name: &str, model: impl Fn(&str) -> String) -> Self {
        let member = |member: &Member| {
            let mut deployment = Arc::clone(&member.deployment);
            let facts = Arc::make_mut(&mut Arc::make_mut(&mut deployment).facts);
            facts.model = model(&facts.model);
            name.clone_into(&mut facts.model_name);
            Member { deployment, quota: member.quota.clone() }
        };
        Self { name: name.to_owned(), members: self.members.iter().map(member).collect() }
    }
}

/// Where a call may go: the deployments of its model, then those of each fallback model.
pub(crate) struct Route {
    /// Those of its model by their order; there is one at least.
    first: Vec<Arc<Group>>,
    fallbacks: Vec<Arc<Group>>,
    /// In place of `fallbacks` after a prompt that was too long.
    after_long_prompt: Option<Vec<Arc<Group>>>,
    /// In place of `fallbacks` after a refusal by a provider's content policy.
    after_refusal: Option<Vec<Arc<Group>>>,
    endpoint: Endpoint,
    /// Whether the caller brings the answer, so that any deployment can give it.
    pub(crate) is_mocked: bool,
    /// What the caller asks of its routing.
    pub(crate) wishes: Wishes,
}

/// How long an attempt may take.
pub(crate) struct Timeouts {
    /// At a whole answer; the longest silence within a stream.
    pub(crate) whole: Duration,
    /// At the first events of a stream.
    pub(crate) first_byte: Duration,
}

impl Route {
    /// The way of a call; a failure if nothing has its model's name, or if no deployment of that
    /// name can serve the API.
    pub(crate) fn find(
        gateway: &Gateway,
        call: &Call,
        is_mocked: bool,
        wishes: Wishes,
    ) -> Result<Self, Failure> {
        let routing = &gateway.config.routing;
        let name = resolve(routing, &call.model);
        let first = gateway.models.find(name);
        if first.is_empty() {
            return Err(unknown_model(&call.path, &call.model));
        }
        let groups = |names: &[String]| {
            let mut known = vec![name];
            for name in names {
                let name = resolve(routing, name);
                if !known.contains(&name) {
                    known.push(name);
                }
            }
            known[1..].iter().flat_map(|name| gateway.models.find(name)).collect::<Vec<_>>()
        };
        let listed = |wish: &Option<Vec<String>>, all: &HashMap<String, Vec<String>>| {
            Some(groups(wish.as_ref().or_else(|| all.get(name))?))
        };
        let route = Self {
            fallbacks: listed(&wishes.fallbacks, &routing.fallbacks)
                .unwrap_or_else(|| groups(&routing.default_fallbacks)),
            after_long_prompt: listed(
                &wishes.context_window_fallbacks,
                &routing.context_window_fallbacks,
            ),
            after_refusal: listed(
                &wishes.content_policy_fallbacks,
                &routing.content_policy_fallbacks,
            ),
            first,
            endpoint: call.endpoint,
            is_mocked,
            wishes,
        };
        let members = || route.first.iter().chain(&route.fallbacks).flat_map(|g| &g.members);
        if members().any(|member| route.is_served_by(&member.deployment)) {
            return Ok(route);
        }
        Err(match members().next() {
            Some(member) => unsupported(call.endpoint, &member.deployment.facts),
            None => unknown_model(&call.path, &call.model),
        })
    }

    /// How long an attempt at a deployment may take: the caller's wish, else the deployment's own,
    /// else everyone's.
    pub(crate) fn timeouts(&self, deployment: &Deployment, routing: &Routing) -> Timeouts {
        let Wishes { timeout, stream_timeout, .. } = self.wishes;
        let whole = timeout.or(deployment.timeout).unwrap_or(routing.timeout);
        let first_byte = stream_timeout.or(deployment.stream_timeout);
        Timeouts { whole, first_byte: first_byte.unwrap_or(routing.stream_timeout).min(whole) }
    }

    /// The fallbacks after a failure, and whether they are those for failures of its kind.
    fn after(&self, failure: Option<&Failure>) -> (&[Arc<Group>], bool) {
        let own = match failure.map(|failure| failure.kind) {
            Some(FailureKind::ContextWindowExceeded) => &self.after_long_prompt,
            Some(FailureKind::ContentFilter) => &self.after_refusal,
            _ => &None,
        };
        own.as_deref().map_or((&self.fallbacks, false), |own| (own, true))
    }

    fn is_served_by(&self, deployment: &Deployment) -> bool {
        self.is_mocked
            || pair(self.endpoint, deployment.facts.dialect) != Pair::Unsupported
            || deployment.mock_response.is_some()
    }
}

fn unknown_model(path: &str, model: &str) -> Failure {
    let message = format!(
        "{path}: Invalid model name passed in model={model}. Call `/v1/models` to view available \
         models for your key."
    );
    failure(FailureKind::UnknownModel, 400, message)
}

/// Which deployments a call is sent to: by simple-shuffle among those of its model name, again after
/// a failure that another attempt may mend, then those of the fallback models. One that is at its
/// limit is passed over.
pub(crate) struct Plan<'a> {
    route: &'a Route,
    routing: &'a Routing,
    /// What is asked now: the tiers of the model that was asked for, then its fallbacks.
    groups: &'a [Arc<Group>],
    group: usize,
    is_in_fallbacks: bool,
    attempts_in_group: u32,
    /// What the deployment that was asked last says of retries.
    own_retries: Option<u32>,
    /// Members of the running group.
    tried: Vec<usize>,
    /// Of those that were passed over, the one that has room first.
    exhausted: Option<Exhausted>,
}

/// One deployment to ask.
pub(crate) struct Step {
    pub(crate) deployment: Arc<Deployment>,
    /// Its place there, if it has limits.
    pub(crate) place: Option<Place>,
    /// How long to wait before.
    pub(crate) wait: Duration,
    /// Whether it is one of a fallback model.
    pub(crate) is_fallback: bool,
    /// Whether it follows a failure on the same model name.
    pub(crate) is_retry: bool,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(route: &'a Route, routing: &'a Routing) -> Self {
        Self {
            route,
            routing,
            groups: &route.first,
            group: 0,
            is_in_fallbacks: false,
            attempts_in_group: 0,
            own_retries: None,
            tried: Vec::new(),
            exhausted: None,
        }
    }

    /// The next deployment after `failure` (`None` at first), or `None` when no more is to be tried.
    pub(crate) fn next(&mut self, failure: Option<&Failure>, now: Timestamp) -> Option<Step> {
        if let Some(failure) = failure {
            if failure.kind == FailureKind::Overloaded {
                // It is the gateway that has no room: another answer would not fit either.
                return None;
            }
            if !self.may_stay_in_group(failure) {
                self.next_group(Some(failure));
            }
        }
        loop {
            let group = self.groups.get(self.group)?;
            let is_retry = self.attempts_in_group > 0;
            let again = failure.filter(|failure| {
                is_retry && may_mend(failure.kind, false) && is_worth_waiting(failure)
            });
            let fresh = self.pick(group, true, now).map(|picked| (picked, Duration::ZERO));
            let picked = fresh.or_else(|| {
                let wait = retry_delay(self.attempts_in_group, again?);
                Some((self.pick(group, false, now)?, wait))
            });
            if let Some(((deployment, place), wait)) = picked {
                self.attempts_in_group += 1;
                self.own_retries = deployment.num_retries;
                let is_fallback = self.is_in_fallbacks || self.group > 0;
                return Some(Step { deployment, place, wait, is_fallback, is_retry });
            }
            self.next_group(None);
        }
    }

    /// Why no deployment could be asked at all.
    pub(crate) fn nobody(self) -> Failure {
        let model = self.route.first.first().map_or("", |group| group.name.as_str());
        if let Some(exhausted) = self.exhausted {
            return exhausted.failure(&format!("a deployment of model `{model}`"));
        }
        let message = format!("no deployment of model `{model}` is there to ask");
        failure(FailureKind::Internal, 500, message)
    }

    fn may_stay_in_group(&self, failure: &Failure) -> bool {
        let has_untried = self.has_untried();
        let num_retries = self.route.wishes.num_retries.or(self.own_retries);
        self.attempts_in_group <= num_retries.unwrap_or(self.routing.num_retries)
            && may_mend(failure.kind, has_untried)
            && (has_untried || is_worth_waiting(failure))
    }

    /// Goes on to the next tier, or to the fallbacks after this failure. Those of its own kind come
    /// before other tiers, which would refuse the same prompt.
    fn next_group(&mut self, failure: Option<&Failure>) {
        self.group += 1;
        let (fallbacks, are_of_kind) = self.route.after(failure);
        if !self.is_in_fallbacks && (are_of_kind || self.group >= self.groups.len()) {
            (self.groups, self.group, self.is_in_fallbacks) = (fallbacks, 0, true);
        }
        self.attempts_in_group = 0;
        self.tried.clear();
    }

    fn has_untried(&self) -> bool {
        let members = self.groups.get(self.group).map_or(&[][..], |group| &group.members);
        let mut members = members.iter().enumerate();
        members.any(|(at, member)| {
            !self.tried.contains(&at) && self.route.is_served_by(&member.deployment)
        })
    }

    /// One of those that were not tried yet (`fresh`), or of those that were, if it has room.
    fn pick(
        &mut self,
        group: &Group,
        fresh: bool,
        now: Timestamp,
    ) -> Option<(Arc<Deployment>, Option<Place>)> {
        let members = &group.members;
        let is_candidate = |at: &usize| {
            self.tried.contains(at) != fresh && self.route.is_served_by(&members[*at].deployment)
        };
        let mut candidates: Vec<usize> = (0..members.len()).filter(is_candidate).collect();
        while let Some(position) = shuffle(members, &candidates) {
            let at = candidates.swap_remove(position);
            let Member { deployment, quota } = &members[at];
            match quota.as_ref().map(|quota| quota.enter(now)).transpose() {
                Ok(place) => {
                    if fresh {
                        self.tried.push(at);
                    }
                    return Some((Arc::clone(deployment), place));
                }
                Err(exhausted) => self.pass_over(exhausted),
            }
        }
        None
    }

    fn pass_over(&mut self, exhausted: Exhausted) {
        let first = self.exhausted.as_ref().map(|known| known.retry_after_secs);
        if first.is_none_or(|first| exhausted.retry_after_secs < first) {
            self.exhausted = Some(exhausted);
        }
    }
}

fn resolve<'a>(routing: &'a Routing, model: &'a str) -> &'a str {
    routing.aliases.get(model).map_or(model, String::as_str)
}

/// The position of one of the candidates, picked by weight.
fn shuffle(members: &[Member], candidates: &[usize]) -> Option<usize> {
    if candidates.len() <= 1 {
        return candidates.first().map(|_| 0);
    }
    let weight = |at: &usize| u64::from(members[*at].deployment.weight);
    let total: u64 = candidates.iter().map(weight).sum();
    let mut dice = if total == 0 { 0 } else { fastrand::u64(0..total) };
    for (position, at) in candidates.iter().enumerate() {
        let weight = weight(at);
        if dice < weight {
            return Some(position);
        }
        dice -= weight;
    }
    Some(candidates.len() - 1)
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
