//! Events that follow from no exchange: budgets, and news of deliveries.

use domain::{
    budget::{BudgetReached, BudgetScope},
    event::{Detail, Event},
    id::{DeliveryId, DestinationName, EventId},
    note::{News, Note},
    record::Sequence,
    time::Timestamp,
};

/// 2024-01-15T10:45:00Z, when the seed's budget event happened.
const AT: Timestamp = Timestamp::from_millis(1_705_315_500_000);

/// 2024-01-01T00:00:00Z.
const MONTH: Timestamp = Timestamp::from_millis(1_704_067_200_000);

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Event)> {
    let mut events = budgets();
    events.extend(operational());
    events
}

/// Budgets at a threshold each.
pub(crate) fn budgets() -> Vec<(&'static str, Event)> {
    let seed = BudgetReached {
        scope: BudgetScope::Gateway,
        matched: String::new(),
        org_id: "org_123".into(),
        threshold: 80.0,
        spent: 8_500.0,
        max_budget: 10_000.0,
        limit_type: "monthly".into(),
        period_started_at: MONTH,
        resets_at: Some(Timestamp::from_millis(1_706_745_600_000)),
    };
    let key = BudgetReached {
        scope: BudgetScope::Key,
        matched: "alice".into(),
        threshold: 100.0,
        spent: 10.000_042,
        max_budget: 10.0,
        limit_type: "total".into(),
        resets_at: None,
        ..seed.clone()
    };
    let end_user = BudgetReached {
        scope: BudgetScope::EndUser,
        matched: "cust-1".into(),
        threshold: 95.0,
        spent: 4.76,
        max_budget: 5.0,
        limit_type: "daily".into(),
        ..seed.clone()
    };
    let tag = BudgetReached {
        scope: BudgetScope::Tag,
        matched: "team-\"a\"".into(),
        threshold: 12.5,
        spent: 0.125,
        max_budget: 1.0,
        limit_type: "12h".into(),
        ..seed.clone()
    };
    let of_nothing =
        BudgetReached { threshold: 100.0, spent: 0.0, max_budget: 0.0, ..seed.clone() };
    [
        ("budget", seed),
        ("budget_of_a_key", key),
        ("budget_of_an_end_user", end_user),
        ("budget_of_a_tag", tag),
        ("budget_of_nothing", of_nothing),
    ]
    .map(|(name, reached)| (name, event(News::BudgetReached(reached))))
    .into()
}

/// News of deliveries.
fn operational() -> Vec<(&'static str, Event)> {
    let destination = || DestinationName::new("primary");
    let disabled = News::DestinationDisabled {
        destination: destination(),
        reason: "it answered 410 Gone".into(),
    };
    let recovered = News::DestinationRecovered { destination: destination(), failing_since: MONTH };
    let exhausted = News::DeliveryExhausted {
        destination: destination(),
        delivery: DeliveryId::new("bat_1"),
        attempts: 5,
        reason: "500: \"no\"".into(),
    };
    [
        ("destination_disabled", disabled),
        ("destination_recovered", recovered),
        ("delivery_exhausted", exhausted),
    ]
    .map(|(name, news)| (name, event(news)))
    .into()
}

fn event(news: News) -> Event {
    let id = EventId::from_stored("evt_note_1");
    let note = Note { id: id.clone(), at: AT, news };
    Event { id, sequence: Sequence(9), occurred_at: AT, detail: Detail::Noted(note.into()) }
}
