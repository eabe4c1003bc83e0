//! LiteLLM's alert webhook: what it posts to `WEBHOOK_URL` when a budget is reached (1.109.1).
//!
//! Budget events only, with LiteLLM's 18 keys in its order. LiteLLM tells when 15 % and 5 % of a
//! budget are left and when it is crossed; our thresholds are free, so one below 85 % is told as a
//! soft budget of that many dollars, which is what such a threshold is there.

use domain::{
    budget::{BudgetReached, BudgetScope},
    destination::Destination,
    event::{Detail, Event},
    note::News,
};

use super::{Item, Shape, event::usage_percent, json::Json};
use crate::matching::matches;

/// From this share of a budget on, in percent, LiteLLM warns that little is left.
const LITTLE_LEFT: f64 = 85.0;

/// The share at which a budget is crossed.
const CROSSED: f64 = 100.0;

/// The alert of a budget event, if the destination wants it.
pub(super) fn items(event: &Event, destination: &Destination) -> Vec<Item> {
    let Detail::Noted(note) = &event.detail else { return Vec::new() };
    let News::BudgetReached(reached) = &note.news else { return Vec::new() };
    if !matches(event.kind(), event, destination) {
        return Vec::new();
    }
    let bytes = render(reached).into();
    vec![Item { id: event.id.clone(), sequence: event.sequence, bytes }]
}

/// One alert a body.
pub(super) fn shape() -> Shape {
    Shape::single("application/json")
}

fn render(reached: &BudgetReached) -> Vec<u8> {
    let alert = Alert::of(reached.threshold);
    let soft_budget = reached.max_budget * reached.threshold / 100.0;
    let matched = |scope| (reached.scope == scope).then_some(reached.matched.as_str());
    let mut json = Json::with_capacity(640);
    json.open();
    json.field("spend", reached.spent);
    json.field("max_budget", reached.max_budget);
    json.field("soft_budget", (alert == Alert::Soft).then_some(soft_budget));
    json.nulls(&["token"]);
    json.field("customer_id", matched(BudgetScope::EndUser));
    json.nulls(&["user_id", "team_id", "team_alias"]);
    json.nulls(&["organization_id", "user_email"]);
    json.field("key_alias", matched(BudgetScope::Key));
    json.nulls(&["projected_exceeded_date", "projected_spend"]);
    json.field("event_group", event_group(reached.scope));
    json.nulls(&["alert_emails", "max_budget_alert_emails"]);
    json.field("event", alert.event());
    json.field("event_message", message(reached, alert).as_str());
    json.close();
    json.into_bytes()
}

/// What LiteLLM calls whose budget it is.
const fn event_group(scope: BudgetScope) -> &'static str {
    match scope {
        BudgetScope::Gateway => "proxy",
        BudgetScope::Key => "key",
        BudgetScope::EndUser => "end_user",
        BudgetScope::Tag => "tag",
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alert {
    Soft,
    LittleLeft,
    Crossed,
}

impl Alert {
    fn of(threshold: f64) -> Self {
        if CROSSED <= threshold {
            Self::Crossed
        } else if LITTLE_LEFT <= threshold {
            Self::LittleLeft
        } else {
            Self::Soft
        }
    }

    const fn event(self) -> &'static str {
        match self {
            Self::Soft => "soft_budget_crossed",
            Self::LittleLeft => "threshold_crossed",
            Self::Crossed => "budget_crossed",
        }
    }
}

/// A head and the numbers in back quotes, as LiteLLM's messages are made.
fn message(reached: &BudgetReached, alert: Alert) -> String {
    let BudgetReached { matched, spent, max_budget, limit_type, .. } = reached;
    let whose = match reached.scope {
        BudgetScope::Gateway => "Proxy Budget".to_owned(),
        BudgetScope::Key => format!("Key Budget of `{matched}`"),
        BudgetScope::EndUser => format!("End User Budget of `{matched}`"),
        BudgetScope::Tag => format!("Tag Budget of `{matched}`"),
    };
    // One call may cross several thresholds at once: told is what is spent, not which was crossed.
    let percent = usage_percent(reached);
    let what = match alert {
        _ if max_budget <= spent => "nothing is left".to_owned(),
        Alert::Soft => format!("{percent}% are spent"),
        Alert::LittleLeft | Alert::Crossed => {
            let left = ((100.0 - percent) * 1e2).round() / 1e2;
            format!("{percent}% are spent, {left}% are left")
        }
    };
    format!("{whose}: {what}\n Spent:`{spent:?}` Budget ({limit_type}):`{max_budget:?}`")
}
