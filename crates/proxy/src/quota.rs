//! Limits by the minute and at once: of a key, of a deployment, of the gateway.
//!
//! Requests are counted when they enter, tokens once their call's usage is known, so tokens may
//! overshoot by what was under way. Which limit a call falls under is not decided here, nor what a
//! caller is told.
//!
//! Invariant: what is refused is not counted, and a place is given back when it is dropped.

mod window;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{
    failure::{Failure, FailureKind, LimitKind, LimitReached},
    time::Timestamp,
};

use self::window::Window;

/// What a quota allows; `None` is no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Allowed {
    pub(crate) rpm: Option<u32>,
    pub(crate) tpm: Option<u32>,
    pub(crate) parallel: Option<u32>,
}

/// One limited thing: what it allows, and what was used of it.
#[derive(Debug)]
pub(crate) struct Quota {
    /// Whose, as events name it: `key`, `deployment`, `gateway`.
    scope: &'static str,
    allowed: Allowed,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    requests: Window,
    tokens: Window,
    running: u32,
}

/// A running call's place in a quota; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Quota>);

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exhausted {
    pub(crate) limit: LimitReached,
    /// Seconds until there may be room again.
    pub(crate) retry_after_secs: u64,
}

/// How much is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) limit: u32,
    pub(crate) remaining: u64,
}

/// A call that waits for another to end has no better time to come back.
const RETRY_PARALLEL_SECS: u64 = 1;

impl Quota {
    /// `None` if nothing is limited.
    pub(crate) fn new(scope: &'static str, allowed: Allowed) -> Option<Arc<Self>> {
        let is_limited =
            allowed.rpm.is_some() || allowed.tpm.is_some() || allowed.parallel.is_some();
        is_limited.then(|| Arc::new(Self { scope, allowed, used: Mutex::default() }))
    }

    /// Takes a place and counts the request, or says which limit was reached.
    pub(crate) fn enter(self: &Arc<Self>, now: Timestamp) -> Result<Place, Exhausted> {
        let mut used = self.used(now);
        if let Some(exhausted) = self.exhausted(&used) {
            return Err(exhausted);
        }
        used.requests.add(1);
        used.running += 1;
        drop(used);
        Ok(Place(Arc::clone(self)))
    }

    fn exhausted(&self, used: &Used) -> Option<Exhausted> {
        let reached = |kind, limit: u32, retry_after_secs| {
            let (limit, remaining) = (f64::from(limit), 0.0);
            let (scope, matched) = (self.scope.to_owned(), String::new());
            let limit = LimitReached { scope, matched, kind, limit, remaining };
            Exhausted { limit, retry_after_secs }
        };
        let Allowed { rpm, tpm, parallel } = self.allowed;
        if let Some(limit) = parallel.filter(|limit| used.running >= *limit) {
            return Some(reached(LimitKind::Parallel, limit, RETRY_PARALLEL_SECS));
        }
        if let Some(limit) = rpm.filter(|limit| used.requests.sum() >= u64::from(*limit)) {
            let wait = used.requests.secs_until_below(u64::from(limit));
            return Some(reached(LimitKind::Rpm, limit, wait));
        }
        if let Some(limit) = tpm.filter(|limit| used.tokens.sum() >= u64::from(*limit)) {
            let wait = used.tokens.secs_until_below(u64::from(limit));
            return Some(reached(LimitKind::Tpm, limit, wait));
        }
        None
    }

    /// What is left of the requests and of the tokens a minute, where they are limited.
    pub(crate) fn left(&self, now: Timestamp) -> (Option<Left>, Option<Left>) {
        let used = self.used(now);
        let left = |limit: Option<u32>, sum: u64| {
            limit.map(|limit| Left { limit, remaining: u64::from(limit).saturating_sub(sum) })
        };
        (left(self.allowed.rpm, used.requests.sum()), left(self.allowed.tpm, used.tokens.sum()))
    }

    /// What was used until now.
    fn used(&self, now: Timestamp) -> MutexGuard<'_, Used> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.requests.advance(now);
        used.tokens.advance(now);
        used
    }
}

impl Place {
    /// Where the place is.
    pub(crate) fn quota(&self) -> &Quota {
        &self.0
    }

    /// Whether tokens are to be counted here.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.0.allowed.tpm.is_some()
    }

    /// Counts tokens of the call that has the place.
    pub(crate) fn count_tokens(&self, now: Timestamp, tokens: u64) {
        self.0.used(now).tokens.add(tokens);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.running = used.running.saturating_sub(1);
    }
}

/// The code and the type of LiteLLM's answers at a limit.
const LIMIT_CODE: &str = "429";
const LIMIT_TYPE: &str = "throttling_error";

impl Exhausted {
    /// The failure of a call that ran into the limit; `whose` is the beginning of its message.
    pub(crate) fn failure(self, whose: &str) -> Failure {
        let Self { limit, retry_after_secs } = self;
        let (unit, when) = match limit.kind {
            LimitKind::Rpm => ("request", " a minute"),
            LimitKind::Tpm => ("token", " a minute"),
            LimitKind::Parallel => ("request", " at once"),
            LimitKind::Provider => ("request", " of the provider's"),
            LimitKind::Budget => ("US dollar", ""),
        };
        let allowed = limit.limit;
        let plural = if (allowed - 1.0).abs() < f64::EPSILON { "" } else { "s" };
        let message = format!(
            "rate limit reached: {whose} may have {allowed} {unit}{plural}{when}; try again in \
             {retry_after_secs} s"
        );
        Failure {
            code: Some(LIMIT_CODE.to_owned()),
            provider_type: Some(LIMIT_TYPE.to_owned()),
            retry_after_secs: Some(retry_after_secs),
            limit: Some(Box::new(limit)),
            ..Failure::new(FailureKind::RateLimit, 429, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(NOW + millis)
    }

    fn quota(allowed: Allowed) -> Arc<Quota> {
        Quota::new("key", allowed).expect("something is limited")
    }

    fn reached(entered: Result<Place, Exhausted>) -> (LimitKind, f64, u64) {
        let Exhausted { limit, retry_after_secs } = entered.expect_err("the limit is reached");
        (limit.kind, limit.limit, retry_after_secs)
    }

    #[test]
    fn what_has_no_limit_has_no_quota() {
        assert!(Quota::new("key", Allowed::default()).is_none());
    }

    #[test]
    fn requests_have_room_again_a_minute_after_they_were_made() {
        let quota = quota(Allowed { rpm: Some(2), ..Allowed::default() });
        for millis in [0, 30_000] {
            quota.enter(at(millis)).expect("there is room");
        }
        assert_eq!(reached(quota.enter(at(30_000))), (LimitKind::Rpm, 2.0, 31));
        // A refused one counts for nothing.
        assert_eq!(reached(quota.enter(at(60_999))), (LimitKind::Rpm, 2.0, 1));
        quota.enter(at(61_000)).expect("the first is over a minute old");
        assert_eq!(reached(quota.enter(at(61_000))), (LimitKind::Rpm, 2.0, 30));
    }

    #[test]
    fn tokens_count_once_they_are_known_and_then_shut_the_door() {
        let quota = quota(Allowed { tpm: Some(100), ..Allowed::default() });
        let first = quota.enter(at(0)).expect("nothing was used");
        let second = quota.enter(at(1_000)).expect("nothing is known to be used");
        assert!(first.counts_tokens());
        first.count_tokens(at(2_000), 90);
        assert_eq!(quota.left(at(2_000)).1, Some(Left { limit: 100, remaining: 10 }));
        quota.enter(at(2_000)).expect("10 are left");
        second.count_tokens(at(3_000), 40);
        assert_eq!(reached(quota.enter(at(3_000))), (LimitKind::Tpm, 100.0, 60));
        assert_eq!(quota.left(at(3_000)).1, Some(Left { limit: 100, remaining: 0 }));
        quota.enter(at(63_000)).expect("the 90 are over a minute old");
    }

    #[test]
    fn a_place_is_free_again_when_its_call_ends() {
        let quota = quota(Allowed { parallel: Some(1), ..Allowed::default() });
        let place = quota.enter(at(0)).expect("nobody runs");
        assert_eq!(reached(quota.enter(at(500_000))), (LimitKind::Parallel, 1.0, 1));
        drop(place);
        quota.enter(at(0)).expect("nobody runs any more");
    }

    #[test]
    fn a_refusal_counts_in_words_as_one_does() {
        for (allowed, text) in [
            (1, "key `app` may have 1 request a minute; try again in 61 s"),
            (2, "key `app` may have 2 requests a minute; try again in 61 s"),
        ] {
            let quota = quota(Allowed { rpm: Some(allowed), ..Allowed::default() });
            let mut tries = (0..=allowed).map(|_| quota.enter(at(0)));
            let exhausted = tries.find_map(Result::err).expect("one too many");
            let message = exhausted.failure("key `app`").message;
            assert!(message.ends_with(text), "{message}");
        }
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_pass() {
        for allowed in [
            Allowed { rpm: Some(0), ..Allowed::default() },
            Allowed { tpm: Some(0), ..Allowed::default() },
            Allowed { parallel: Some(0), ..Allowed::default() },
        ] {
            quota(allowed).enter(at(0)).expect_err("there is no room");
        }
    }
}
