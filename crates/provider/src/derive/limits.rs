//! The limits that a call ran into: the gateway's own, and providers' in its attempts.

use std::sync::Arc;

use domain::{
    event::{Detail, Event, RateLimited, Report},
    exchange::ProviderAttempt,
    failure::{FailureKind, LimitKind},
    id::EventId,
    record::Sequence,
};

/// One event for the gateway's own refusal, one for each attempt that a provider refused with 429.
/// A spent budget is told by a `budget` event.
pub(super) fn limits(sequence: Sequence, report: &Arc<Report>) -> Vec<Event> {
    let facts = &report.exchange.facts;
    let own = facts.outcome.failure().and_then(|failure| {
        let limit = failure.limit.as_deref().filter(|limit| limit.kind != LimitKind::Budget)?;
        Some(Event {
            id: EventId::of_rate_limit(facts.call.id, 0),
            sequence,
            occurred_at: facts.finished_at,
            detail: Detail::RateLimit(RateLimited {
                report: Arc::clone(report),
                attempt: None,
                scope: limit.scope.clone(),
                kind: limit.kind,
                limit: Some(limit.limit),
                remaining: Some(limit.remaining),
                retry_after_secs: failure.retry_after_secs,
            }),
        })
    });
    let providers = facts.attempts.iter().enumerate().filter_map(|(index, attempt)| {
        let failure = attempt.failure.as_ref()?;
        if failure.kind != FailureKind::RateLimit || failure.limit.is_some() {
            return None;
        }
        let (limit, remaining) = told(attempt);
        Some(Event {
            id: EventId::of_rate_limit(facts.call.id, index + 1),
            sequence,
            occurred_at: attempt.finished_at,
            detail: Detail::RateLimit(RateLimited {
                report: Arc::clone(report),
                attempt: Some(index),
                scope: "provider".to_owned(),
                kind: LimitKind::Provider,
                limit,
                remaining,
                retry_after_secs: failure.retry_after_secs,
            }),
        })
    });
    own.into_iter().chain(providers).collect()
}

/// How much a provider allows and how much of it is left, by names of headers: `OpenAI`'s and of
/// those compatible with it, then Anthropic's.
const HEADERS: [(&str, &str); 6] = [
    ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
    ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"),
    ("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"),
    ("anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining"),
    ("anthropic-ratelimit-input-tokens-limit", "anthropic-ratelimit-input-tokens-remaining"),
    ("anthropic-ratelimit-output-tokens-limit", "anthropic-ratelimit-output-tokens-remaining"),
];

/// The limit of which nothing is left, else the first that the answer tells of; and what is left.
fn told(attempt: &ProviderAttempt) -> (Option<f64>, Option<f64>) {
    let header = |name: &str| {
        let found = attempt.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.trim().parse::<f64>().ok()).filter(|n| n.is_finite())
    };
    let told = HEADERS.map(|(limit, remaining)| (header(limit), header(remaining)));
    let is_spent = |(_, remaining): &&(_, Option<f64>)| remaining.is_some_and(|left| left <= 0.0);
    let is_told =
        |(limit, remaining): &&(Option<f64>, Option<f64>)| limit.is_some() || remaining.is_some();
    told.iter().find(is_spent).or_else(|| told.iter().find(is_told)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use domain::{
        exchange::Outcome,
        failure::{Failure, LimitReached},
        sample,
    };

    use super::*;

    fn limited(limit: Option<LimitKind>) -> Failure {
        let limit = limit.map(|kind| {
            let (scope, matched) = ("key".into(), String::new());
            Box::new(LimitReached { scope, matched, kind, limit: 3.0, remaining: 0.0 })
        });
        let failure = Failure::new(FailureKind::RateLimit, 429, "slow down".into());
        Failure { retry_after_secs: Some(9), limit, ..failure }
    }

    fn of(outcome: Outcome, attempts: Vec<ProviderAttempt>) -> Vec<RateLimited> {
        let facts = sample::facts(sample::call());
        let facts = domain::exchange::Facts { outcome, attempts, ..facts };
        let events = limits(Sequence(1), &Arc::new(sample::report(facts)));
        events
            .into_iter()
            .map(|event| match event.detail {
                Detail::RateLimit(limited) => limited,
                other => panic!("expected a limit, got {other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_gateways_own_refusal_is_told_with_its_numbers_and_a_spent_budget_is_not() {
        let refused = of(Outcome::Failed(limited(Some(LimitKind::Rpm))), Vec::new());
        assert_eq!(refused.len(), 1);
        let RateLimited { attempt, scope, kind, limit, remaining, retry_after_secs, .. } =
            &refused[0];
        assert_eq!((*attempt, &**scope, *kind), (None, "key", LimitKind::Rpm));
        assert_eq!((*limit, *remaining, *retry_after_secs), (Some(3.0), Some(0.0), Some(9)));
        assert!(of(Outcome::Failed(limited(Some(LimitKind::Budget))), Vec::new()).is_empty());
        assert!(of(Outcome::Completed, vec![sample::attempt()]).is_empty());
    }

    #[test]
    fn each_attempt_that_a_provider_limited_is_told_of_even_if_another_succeeded() {
        let limited = ProviderAttempt { failure: Some(limited(None)), ..sample::attempt() };
        let told = of(Outcome::Completed, vec![limited.clone(), limited, sample::attempt()]);
        let told: Vec<_> = told.iter().map(|l| (l.attempt, l.kind, &*l.scope)).collect();
        let provider = |index| (Some(index), LimitKind::Provider, "provider");
        assert_eq!(told, [provider(0), provider(1)]);
    }

    #[test]
    fn the_limit_that_is_spent_is_the_one_that_is_told() {
        let cases: [(&[(&str, &str)], _); 5] = [
            (&[], (None, None)),
            (&[("x-ratelimit-remaining-requests", "0")], (None, Some(0.0))),
            (
                &[
                    ("x-ratelimit-limit-requests", "500"),
                    ("x-ratelimit-remaining-requests", "499"),
                    ("x-ratelimit-limit-tokens", "30000"),
                    ("X-RateLimit-Remaining-Tokens", "0"),
                ],
                (Some(30_000.0), Some(0.0)),
            ),
            (
                &[
                    ("anthropic-ratelimit-requests-limit", "50"),
                    ("anthropic-ratelimit-requests-remaining", "49"),
                    ("anthropic-ratelimit-output-tokens-limit", "8000"),
                    ("anthropic-ratelimit-output-tokens-remaining", "0"),
                ],
                (Some(8_000.0), Some(0.0)),
            ),
            (
                &[
                    ("x-ratelimit-limit-requests", "500"),
                    ("x-ratelimit-remaining-requests", "many"),
                ],
                (Some(500.0), None),
            ),
        ];
        for (headers, expected) in cases {
            let headers: Vec<_> =
                headers.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            assert_eq!(told(&ProviderAttempt { headers, ..sample::attempt() }), expected);
        }
    }
}
