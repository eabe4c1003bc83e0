//! Budgets: how much may be spent, by whom, in which period.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A limit on spending. Built and checked by `hookgate::config`; every value is final.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Whose spending it limits.
    pub scope: BudgetScope,
    /// A glob over the key's name, the end user or the tag; each value that it matches has a budget of
    /// its own. Of no meaning for the gateway's.
    pub matches: String,
    /// US dollars in a period.
    pub max_budget: f64,
    /// How long a period is; `None` never begins anew.
    pub duration: Option<BudgetDuration>,
    /// Percentages of `max_budget` at which an event tells, rising.
    pub thresholds: Vec<f64>,
}

/// Whose spending a budget limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScope {
    /// All calls.
    Gateway,
    /// The calls of a key, by its name.
    Key,
    /// The calls for an end user.
    EndUser,
    /// The calls with a tag.
    Tag,
}

impl BudgetScope {
    /// The text form, as configurations and events write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Key => "key",
            Self::EndUser => "end_user",
            Self::Tag => "tag",
        }
    }
}

/// How long a budget's period is. Periods are aligned in UTC: days begin at midnight, weeks on
/// Mondays, months on the first; any other length is counted from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetDuration {
    /// `1d`.
    Day,
    /// `7d`, `1w`.
    Week,
    /// `30d`, `1mo`.
    Month,
    /// Any other.
    Every(Duration),
}

/// Spending reached a threshold of a budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetReached {
    /// Whose budget.
    pub scope: BudgetScope,
    /// The key's name, the end user or the tag; empty for the gateway's.
    pub matched: String,
    /// The organisation, from the configuration (`org_id`).
    pub org_id: String,
    /// The threshold, in percent of the limit.
    pub threshold: f64,
    /// Spent in this period so far, in US dollars.
    pub spent: f64,
    /// The limit, in US dollars.
    pub max_budget: f64,
    /// The period in one word: `daily`, `weekly`, `monthly`, `total`, or its length (`12h`).
    pub limit_type: String,
    /// When the period began.
    pub period_started_at: crate::time::Timestamp,
    /// When the next one begins, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<crate::time::Timestamp>,
}
