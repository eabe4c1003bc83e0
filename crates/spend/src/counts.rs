//! What was spent, in memory: rows, thresholds, refusals. No I/O.
//!
//! Invariant: a threshold that was told of a row is not told of it again.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Write,
};

use domain::{
    budget::{Budget, BudgetReached, BudgetScope},
    call::{Call, Caller},
    failure::{Failure, FailureKind, LimitKind, LimitReached},
    glob,
    id::EventId,
    note::{News, Note},
    time::Timestamp,
};
use sha2::{Digest, Sha256};
use store::state::{SpentKey, SpentRow};

use crate::period;

/// Values of end users and tags that are counted at most, over all budgets: callers make them up.
const VALUES_MAX: usize = 100_000;
/// A longer value is counted under its beginning and a hash.
const VALUE_BYTES_MAX: usize = 200;
/// A row is kept for so long after its period, for outcomes that come late.
const GRACE: std::time::Duration = std::time::Duration::from_hours(1);
const NANODOLLARS: f64 = 1e9;
/// LiteLLM's status for calls whose budget is spent, which is its code, too.
const REFUSED_STATUS: u16 = 422;
const REFUSED_CODE: &str = "422";

/// All rows, and what changed since `take_changes`.
#[derive(Debug)]
pub(crate) struct Counts {
    budgets: Vec<Budget>,
    org_id: String,
    rows: HashMap<SpentKey, Row>,
    /// How many rows are of end users and tags.
    values: usize,
    /// Whether it was said that there are too many.
    said_full: bool,
    changed: HashSet<SpentKey>,
    forgotten: HashSet<SpentKey>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Row {
    spent_nanodollars: i64,
    told: Vec<f64>,
}

impl Counts {
    /// Counts that begin at nothing. Of budgets that differ in their limit alone, the first counts.
    pub(crate) fn new(budgets: Vec<Budget>, org_id: String) -> Self {
        let mut counts = Self {
            budgets: Vec::new(),
            org_id,
            rows: HashMap::new(),
            values: 0,
            said_full: false,
            changed: HashSet::new(),
            forgotten: HashSet::new(),
        };
        for budget in budgets {
            let same = |other: &Budget| {
                (other.scope, other.pattern(), other.duration)
                    == (budget.scope, budget.pattern(), budget.duration)
            };
            if counts.budgets.iter().any(same) {
                tracing::warn!(
                    scope = budget.scope.as_str(),
                    matches = budget.matches,
                    "A budget is named twice with the same period; the first one counts.",
                );
            } else {
                counts.budgets.push(budget);
            }
        }
        counts
    }

    /// Whether there is anything to count.
    pub(crate) fn is_idle(&self) -> bool {
        self.budgets.is_empty()
    }

    /// Takes over a stored row.
    pub(crate) fn insert(&mut self, row: SpentRow) {
        self.values += usize::from(is_made_up(row.key.scope));
        let SpentRow { key, spent_nanodollars, told } = row;
        self.rows.insert(key, Row { spent_nanodollars, told });
    }

    /// Counts what a call cost at the time of its outcome. Returns what is to be told.
    pub(crate) fn count(&mut self, call: &Call, dollars: f64, at: Timestamp) -> Vec<Note> {
        let nanodollars = (dollars * NANODOLLARS).round() as i64;
        if nanodollars <= 0 {
            return Vec::new();
        }
        let mut notes = Vec::new();
        for index in 0..self.budgets.len() {
            let keys: Vec<_> = self.budgets[index].keys(call, at).collect();
            for key in keys {
                if self.add(&key, nanodollars) {
                    notes.extend(self.reached(index, &key, at));
                    self.changed.insert(key);
                }
            }
        }
        notes
    }

    /// Adds to a row, unless there is none and no room for it.
    fn add(&mut self, key: &SpentKey, nanodollars: i64) -> bool {
        if !self.rows.contains_key(key) {
            if is_made_up(key.scope) {
                if self.values >= VALUES_MAX {
                    if !std::mem::replace(&mut self.said_full, true) {
                        tracing::warn!(
                            values = self.values,
                            "Too many end users and tags have budgets; new ones are not counted.",
                        );
                    }
                    return false;
                }
                self.values += 1;
            }
            self.forgotten.remove(key);
        }
        let row = self.rows.entry(key.clone()).or_default();
        row.spent_nanodollars = row.spent_nanodollars.saturating_add(nanodollars);
        true
    }

    /// The thresholds that a row has reached and that were not told.
    fn reached(&mut self, index: usize, key: &SpentKey, at: Timestamp) -> Vec<Note> {
        let budget = &self.budgets[index];
        let Some(row) = self.rows.get_mut(key) else { return Vec::new() };
        let mut notes = Vec::new();
        for &threshold in &budget.thresholds {
            let reached = row.spent_nanodollars >= budget.nanodollars(threshold);
            // Both are the configuration's number, so equal ones have equal bits.
            if !reached || row.told.iter().any(|told| told.to_bits() == threshold.to_bits()) {
                continue;
            }
            row.told.push(threshold);
            let news = News::BudgetReached(BudgetReached {
                scope: key.scope,
                matched: key.matched.clone(),
                org_id: self.org_id.clone(),
                threshold,
                spent: row.spent_nanodollars as f64 / NANODOLLARS,
                max_budget: budget.max_budget,
                limit_type: key.duration.clone(),
                period_started_at: key.period_started_at,
                resets_at: period::ends_at(budget.duration, key.period_started_at),
            });
            notes.push(Note { id: event_id(key, threshold), at, news });
        }
        notes
    }

    /// Why a call is refused now, if it is: a budget that it counts against is spent.
    pub(crate) fn refusal(&self, call: &Call) -> Option<Failure> {
        self.budgets.iter().find_map(|budget| {
            let spent = budget.keys(call, call.arrived_at).find_map(|key| {
                let spent = self.rows.get(&key).map_or(0, |row| row.spent_nanodollars);
                (spent >= budget.nanodollars(100.0)).then_some((key, spent))
            });
            let (key, spent) = spent?;
            Some(refusal(budget, &key, spent as f64 / NANODOLLARS, call.arrived_at))
        })
    }

    /// Drops rows whose periods are over for a while at `horizon`.
    pub(crate) fn forget_before(&mut self, horizon: Timestamp) {
        let Self { rows, forgotten, changed, values, .. } = self;
        rows.retain(|key, _| {
            let duration = period::from_word(&key.duration);
            let end = period::ends_at(duration, key.period_started_at);
            let is_over = end.is_some_and(|end| end.plus(GRACE) <= horizon);
            if is_over {
                *values -= usize::from(is_made_up(key.scope));
                changed.remove(key);
                forgotten.insert(key.clone());
            }
            !is_over
        });
        self.said_full &= self.values >= VALUES_MAX;
    }

    /// What changed since the last `keep`: rows, and keys of rows that are gone.
    pub(crate) fn changes(&self) -> (Vec<SpentRow>, Vec<SpentKey>) {
        let row = |key: &SpentKey| {
            let Row { spent_nanodollars, told } = self.rows.get(key)?.clone();
            Some(SpentRow { key: key.clone(), spent_nanodollars, told })
        };
        let rows = self.changed.iter().filter_map(row).collect();
        (rows, self.forgotten.iter().cloned().collect())
    }

    /// The changes are stored.
    pub(crate) fn keep(&mut self) {
        self.changed.clear();
        self.forgotten.clear();
    }
}

/// Budgets, as this module looks at them.
trait BudgetExt {
    fn pattern(&self) -> &str;
    fn keys(&self, call: &Call, at: Timestamp) -> impl Iterator<Item = SpentKey>;
    fn nanodollars(&self, percent: f64) -> i64;
}

impl BudgetExt for Budget {
    /// What tells it apart from others of its scope and duration.
    fn pattern(&self) -> &str {
        if self.scope == BudgetScope::Gateway { "" } else { &self.matches }
    }

    /// The rows that a call counts in.
    fn keys(&self, call: &Call, at: Timestamp) -> impl Iterator<Item = SpentKey> {
        let values: BTreeSet<&str> = match self.scope {
            BudgetScope::Gateway => BTreeSet::from([""]),
            BudgetScope::Key => match &call.caller {
                Caller::Key { name, .. } => BTreeSet::from([name.as_str()]),
                Caller::Anonymous | Caller::Master | Caller::Refused => BTreeSet::new(),
            },
            BudgetScope::EndUser => call.end_user.as_deref().into_iter().collect(),
            BudgetScope::Tag => call.tags.iter().map(String::as_str).collect(),
        };
        values
            .into_iter()
            .filter(|value| {
                self.scope == BudgetScope::Gateway || glob::matches(&self.matches, value)
            })
            .map(move |value| SpentKey {
                scope: self.scope,
                pattern: self.pattern().to_owned(),
                matched: shortened(value),
                duration: period::word(self.duration),
                period_started_at: period::started_at(self.duration, at),
            })
    }

    /// So much of the limit.
    fn nanodollars(&self, percent: f64) -> i64 {
        (self.max_budget * NANODOLLARS * percent / 100.0).round() as i64
    }
}

/// Whether callers make the values up.
const fn is_made_up(scope: BudgetScope) -> bool {
    matches!(scope, BudgetScope::EndUser | BudgetScope::Tag)
}

fn shortened(value: &str) -> String {
    if value.len() <= VALUE_BYTES_MAX {
        return value.to_owned();
    }
    let beginning = &value[..value.floor_char_boundary(VALUE_BYTES_MAX)];
    format!("{beginning}… ({})", &hex(&Sha256::digest(value))[..16])
}

/// The same for the same budget, value, period and threshold. It holds no `.`.
fn event_id(key: &SpentKey, threshold: f64) -> EventId {
    let mut hash = Sha256::new();
    for part in [key.scope.as_str(), &key.pattern, &key.matched, &key.duration] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(key.period_started_at.as_nanos().to_le_bytes());
    let hash = hex(&hash.finalize());
    let threshold = threshold.to_string().replace('.', "-");
    EventId::from_stored(&format!("evt_budget_{}_{threshold}", &hash[..32]))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The refusal of a call whose budget is spent, in LiteLLM's words: its callers look for them.
fn refusal(budget: &Budget, key: &SpentKey, spent: f64, now: Timestamp) -> Failure {
    let (matched, max) = (&key.matched, budget.max_budget);
    let (whose, mut message) = match key.scope {
        BudgetScope::Gateway => ("the gateway".to_owned(), exceeded("", spent, max)),
        BudgetScope::Key => {
            (format!("key `{matched}`"), exceeded(&format!("Key={matched} "), spent, max))
        }
        BudgetScope::Tag => {
            (format!("tag `{matched}`"), exceeded(&format!("Tag={matched} "), spent, max))
        }
        BudgetScope::EndUser => {
            let message = format!(
                "ExceededBudget: End User={matched} over budget. Spend={spent:?}, Budget={max:?}"
            );
            (format!("end user `{matched}`"), message)
        }
    };
    let _ = write!(message, " ({} budget of {whose}", key.duration);
    let reset = period::ends_at(budget.duration, key.period_started_at);
    if let Some(reset) = reset {
        let _ = write!(message, ", which begins anew at {reset}");
    }
    message.push(')');
    Failure {
        code: Some(REFUSED_CODE.to_owned()),
        retry_after_secs: reset.map(|reset| reset.since(now).as_secs() + 1),
        limit: Some(Box::new(LimitReached {
            scope: key.scope.as_str().to_owned(),
            matched: matched.clone(),
            kind: LimitKind::Budget,
            limit: max,
            remaining: max - spent,
        })),
        ..Failure::new(FailureKind::BudgetExceeded, REFUSED_STATUS, message)
    }
}

/// LiteLLM's sentence; `whose` ends with a space or is empty.
fn exceeded(whose: &str, spent: f64, max: f64) -> String {
    format!("Budget has been exceeded! {whose}Current cost: {spent:?}, Max budget: {max:?}")
}

#[cfg(test)]
mod tests {
    use domain::sample::{NOW, call};

    use super::*;

    fn budget(scope: BudgetScope) -> Budget {
        Budget {
            scope,
            matches: "*".to_owned(),
            max_budget: 1.0,
            duration: None,
            thresholds: vec![80.0],
        }
    }

    fn of_user(name: &str) -> Call {
        Call { end_user: Some(name.to_owned()), ..call() }
    }

    #[test]
    fn made_up_values_are_bounded_and_take_no_room_from_the_others() {
        let budgets = vec![budget(BudgetScope::EndUser), budget(BudgetScope::Gateway)];
        let mut counts = Counts::new(budgets, String::new());
        for number in 0..VALUES_MAX {
            counts.count(&of_user(&number.to_string()), 1e-9, NOW);
        }
        assert_eq!(counts.rows.len(), VALUES_MAX + 1);
        assert_eq!(counts.count(&of_user("one more"), 2.0, NOW).len(), 1, "the gateway's");
        assert_eq!(counts.rows.len(), VALUES_MAX + 1);
        // One that was there before still counts.
        let notes = counts.count(&of_user("7"), 2.0, NOW);
        assert_eq!(notes.len(), 1);
        assert!(counts.said_full);
    }

    #[test]
    fn a_long_value_is_counted_by_its_beginning_and_a_hash() {
        let mut counts = Counts::new(vec![budget(BudgetScope::EndUser)], String::new());
        let (one, other) = ("ü".repeat(50_000) + "1", "ü".repeat(50_000) + "2");
        counts.count(&of_user(&one), 2.0, NOW);
        assert!(counts.refusal(&of_user(&one)).is_some());
        assert_eq!(counts.refusal(&of_user(&other)), None);
        assert!(counts.rows.keys().all(|key| key.matched.len() < 250));
    }

    #[test]
    fn an_outcome_that_comes_late_counts_in_the_period_that_it_ended_in() {
        let daily = Budget {
            duration: Some(domain::budget::BudgetDuration::Day),
            ..budget(BudgetScope::Gateway)
        };
        let day = std::time::Duration::from_hours(24);
        let mut counts = Counts::new(vec![daily], String::new());
        counts.count(&call(), 0.7, NOW);
        let midnight = period::started_at(counts.budgets[0].duration, NOW).plus(day);
        counts.count(&call(), 0.5, midnight);
        counts.forget_before(midnight);
        assert_eq!(counts.count(&call(), 0.2, NOW).len(), 1, "0.9 of yesterday's");
        counts.forget_before(midnight.plus(GRACE));
        assert_eq!(counts.rows.len(), 1);
        assert_eq!(counts.changes().1.len(), 1);
        let today = Call { arrived_at: midnight, ..call() };
        assert_eq!(counts.refusal(&today), None);
        counts.count(&call(), 0.5, midnight);
        assert!(counts.refusal(&today).is_some());
    }

    #[test]
    fn of_two_budgets_that_differ_in_their_limit_the_first_counts() {
        let larger = Budget { max_budget: 5.0, ..budget(BudgetScope::Gateway) };
        let mut counts = Counts::new(vec![budget(BudgetScope::Gateway), larger], String::new());
        counts.count(&call(), 1.0, NOW);
        assert_eq!(
            counts.rows.values().next().map(|row| row.spent_nanodollars),
            Some(1_000_000_000)
        );
        assert!(counts.refusal(&call()).is_some());
    }

    #[test]
    fn a_budget_of_nothing_lets_nobody_in() {
        let none = Budget { max_budget: 0.0, ..budget(BudgetScope::Gateway) };
        assert!(Counts::new(vec![none], String::new()).refusal(&call()).is_some());
    }
}
