//! The list `budgets:`, and LiteLLM's settings that mean one. The list is ours alone, so a key of an
//! entry that it does not know is a problem.

use std::time::Duration;

use domain::budget::{Budget, BudgetDuration, BudgetScope};

use crate::config::section::{Field, Section, Unknown, listed};

/// US dollars: more than anybody spends.
const USD_MAX: f64 = 1_000_000_000.0;
/// Percent of a limit at which an event tells, unless a budget says otherwise.
const THRESHOLDS: [f64; 4] = [50.0, 80.0, 95.0, 100.0];
/// The highest threshold: spending may overshoot by what is in flight.
const THRESHOLD_MAX: u32 = 1_000;
/// The longest period.
const PERIOD_SECS_MAX: u64 = 10 * 366 * 86_400;

/// Reads `budgets` and what `litellm_settings` says, in this order.
pub(crate) fn read(list: Option<&Field<'_>>, litellm: Option<&Section<'_>>) -> Vec<Budget> {
    let mut budgets = Vec::new();
    let items = list.and_then(Field::items).unwrap_or_default();
    for item in items {
        let Some(budget) = item.section().and_then(read_budget) else { continue };
        add(&mut budgets, budget, &item);
    }
    if let Some(litellm) = litellm {
        read_litellm(litellm, &mut budgets);
    }
    budgets
}

/// Adds a budget, unless an earlier one counts the same spending over the same periods.
fn add(budgets: &mut Vec<Budget>, budget: Budget, field: &Field<'_>) {
    let is_same = |earlier: &&Budget| {
        (earlier.scope, &earlier.matches, earlier.duration)
            == (budget.scope, &budget.matches, budget.duration)
    };
    if budgets.iter().find(is_same).is_some() {
        field.problem("limits the same spending over the same period as an earlier budget");
        return;
    }
    budgets.push(budget);
}

/// `max_budget` with `budget_duration`, and `max_end_user_budget`, which never begins anew.
fn read_litellm(litellm: &Section<'_>, budgets: &mut Vec<Budget>) {
    let duration = litellm.get("budget_duration");
    let chosen = duration.as_ref().and_then(read_duration);
    let budget = |scope, matches: &str, max_budget, duration| Budget {
        scope,
        matches: matches.to_owned(),
        max_budget,
        duration,
        thresholds: THRESHOLDS.to_vec(),
    };
    match (litellm.get("max_budget"), duration) {
        (Some(field), _) => {
            if let Some(usd) = usd(&field) {
                add(budgets, budget(BudgetScope::Gateway, "", usd, chosen), &field);
            }
        }
        (None, Some(field)) => field.warning("has no effect without max_budget beside it"),
        (None, None) => {}
    }
    if let Some(field) = litellm.get("max_end_user_budget")
        && let Some(usd) = usd(&field)
    {
        add(budgets, budget(BudgetScope::EndUser, "*", usd, None), &field);
    }
}

fn read_budget(section: Section<'_>) -> Option<Budget> {
    const SCOPES: [BudgetScope; 4] =
        [BudgetScope::Gateway, BudgetScope::Key, BudgetScope::EndUser, BudgetScope::Tag];
    let missing = |what: &str| section.report.problem(section.at, &section.path, what);
    let scope = section.get("scope");
    if scope.is_none() {
        let names = listed(&SCOPES.map(BudgetScope::as_str));
        missing(&format!("scope is missing: whose spending? There are {names}"));
    }
    let scope = scope.and_then(|field| field.choice(&SCOPES.map(|scope| (scope.as_str(), scope))));
    let matches = section.get("match");
    if let (Some(field), Some(BudgetScope::Gateway)) = (&matches, scope) {
        field.warning("has no effect: the gateway's budget is one for all calls");
    }
    let matches = matches
        .and_then(|field| field.text())
        .filter(|_| scope.is_some_and(|scope| scope != BudgetScope::Gateway));
    let max_budget = section.get("max_budget");
    if max_budget.is_none() {
        missing("max_budget is missing: how many US dollars?");
    }
    let max_budget = max_budget.as_ref().and_then(usd);
    let duration = section.get("budget_duration");
    let chosen = duration.as_ref().map(read_duration);
    let thresholds = section.get("thresholds").map(|field| read_thresholds(&field));
    section.finish(Unknown::Refuse, &[]);
    let scope = scope?;
    Some(Budget {
        scope,
        matches: matches.unwrap_or_else(|| match scope {
            BudgetScope::Gateway => String::new(),
            _ => "*".to_owned(),
        }),
        max_budget: max_budget?,
        duration: chosen.unwrap_or_default(),
        thresholds: thresholds.unwrap_or_else(|| THRESHOLDS.to_vec()),
    })
}

fn usd(field: &Field<'_>) -> Option<f64> {
    field.number(0.0..=USD_MAX)
}

/// Percentages, rising, each once. They are whole: an event's id holds its threshold, and ids hold
/// no point (Standard Webhooks).
fn read_thresholds(field: &Field<'_>) -> Vec<f64> {
    let items = field.item_or_items();
    let mut percents: Vec<u32> =
        items.iter().filter_map(|item| item.whole(1..=THRESHOLD_MAX)).collect();
    percents.sort_unstable();
    percents.dedup();
    percents.into_iter().map(f64::from).collect()
}

/// `30s`, `15m`, `12h`, `30d`, `2w`, `1mo`: LiteLLM's form.
fn read_duration(field: &Field<'_>) -> Option<BudgetDuration> {
    let text = field.text()?;
    let duration = parse_duration(text.trim());
    if duration.is_none() {
        field.problem(
            "must be a whole number and a unit (s, m, h, d, w), such as 12h or 30d, or 1mo for \
             months of the calendar",
        );
    }
    duration
}

/// A day is a day of the calendar however it is written, and so are weeks and LiteLLM's `30d`.
fn parse_duration(text: &str) -> Option<BudgetDuration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    let unit_secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "mo" if number == 1 => return Some(BudgetDuration::Month),
        _ => return None,
    };
    let secs = number.checked_mul(unit_secs).filter(|secs| *secs <= PERIOD_SECS_MAX)?;
    Some(match (number, unit) {
        (1, "d") | (24, "h") => BudgetDuration::Day,
        (7, "d") | (1, "w") => BudgetDuration::Week,
        (30, "d") => BudgetDuration::Month,
        _ => BudgetDuration::Every(Duration::from_secs(secs)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_litellm_writes_them() {
        let every = |secs| Some(BudgetDuration::Every(Duration::from_secs(secs)));
        for (text, expected) in [
            ("30s", every(30)),
            ("15m", every(900)),
            ("12h", every(43_200)),
            ("24h", Some(BudgetDuration::Day)),
            ("1d", Some(BudgetDuration::Day)),
            ("2d", every(172_800)),
            ("7d", Some(BudgetDuration::Week)),
            ("1w", Some(BudgetDuration::Week)),
            ("30d", Some(BudgetDuration::Month)),
            ("1mo", Some(BudgetDuration::Month)),
            ("", None),
            ("0d", None),
            ("d", None),
            ("30", None),
            ("-1d", None),
            ("1.5d", None),
            ("2mo", None),
            ("1y", None),
            ("99999999999999999999d", None),
            ("99999999999999w", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }
}
