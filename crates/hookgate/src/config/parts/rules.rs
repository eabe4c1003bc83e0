//! `rules`: `OpenRouter`'s `filter_rules`, as its API writes them.

use domain::destination::{FilterRules, Rule, RuleField, RuleGroup, RuleOperator};
use webhook::matching::{RuleError, check_rules};

use crate::config::section::{Field, Section, Unknown};

const FIELDS: [(&str, RuleField); 12] = [
    ("model", RuleField::Model),
    ("provider", RuleField::Provider),
    ("session_id", RuleField::SessionId),
    ("user_id", RuleField::UserId),
    ("api_key_name", RuleField::ApiKeyName),
    ("finish_reason", RuleField::FinishReason),
    ("input", RuleField::Input),
    ("output", RuleField::Output),
    ("total_cost", RuleField::TotalCost),
    ("total_tokens", RuleField::TotalTokens),
    ("prompt_tokens", RuleField::PromptTokens),
    ("completion_tokens", RuleField::CompletionTokens),
];

const OPERATORS: [(&str, RuleOperator); 13] = [
    ("equals", RuleOperator::Equals),
    ("not_equals", RuleOperator::NotEquals),
    ("contains", RuleOperator::Contains),
    ("not_contains", RuleOperator::NotContains),
    ("regex", RuleOperator::Regex),
    ("starts_with", RuleOperator::StartsWith),
    ("ends_with", RuleOperator::EndsWith),
    ("gt", RuleOperator::Gt),
    ("lt", RuleOperator::Lt),
    ("gte", RuleOperator::Gte),
    ("lte", RuleOperator::Lte),
    ("exists", RuleOperator::Exists),
    ("not_exists", RuleOperator::NotExists),
];

/// Reads `rules`; those that are not enabled are read for their mistakes alone.
pub(crate) fn rules(field: &Field<'_>) -> Option<FilterRules> {
    let section = field.section()?;
    let is_enabled = section.get("enabled").and_then(|field| field.flag()).unwrap_or(true);
    let groups = match section.get("groups") {
        Some(groups) => groups.items().unwrap_or_default().iter().filter_map(group).collect(),
        None => Vec::new(),
    };
    if groups.is_empty() {
        field.warning("has no group, so it narrows nothing");
    }
    section.finish(Unknown::Warn, &[]);
    is_enabled.then_some(FilterRules { groups })
}

fn group(field: &Field<'_>) -> Option<RuleGroup> {
    let section = field.section()?;
    let logics = [("and", false), ("or", true)];
    let any = section.get("logic").and_then(|field| field.choice(&logics)).unwrap_or(false);
    let rules = match section.get("rules") {
        Some(rules) => {
            let items = rules.items().unwrap_or_default();
            items.iter().filter_map(Field::section).filter_map(rule).collect()
        }
        None => Vec::new(),
    };
    section.finish(Unknown::Warn, &[]);
    Some(RuleGroup { any, rules })
}

fn rule(section: Section<'_>) -> Option<Rule> {
    let needed = |key| {
        let field = section.get(key);
        if field.is_none() {
            section.report.problem(section.at, &section.path, format!("{key} is missing"));
        }
        field
    };
    let field = needed("field").and_then(|field| field.choice(&FIELDS));
    let operator = needed("operator").and_then(|field| field.choice(&OPERATORS));
    let value = section.get("value");
    let text = value.as_ref().and_then(Field::text);
    let (path, at, report) = (section.path.clone(), section.at, section.report);
    section.finish(Unknown::Warn, &[]);
    let (field, operator) = (field?, operator?);
    let takes_none = matches!(operator, RuleOperator::Exists | RuleOperator::NotExists);
    match &value {
        Some(value) if takes_none => value.warning("has no effect on exists and not_exists"),
        None if !takes_none => {
            report.problem(at, &path, "value is missing: what is it compared with?");
            return None;
        }
        _ => {}
    }
    let rule = Rule { field, operator, value: text.filter(|_| !takes_none).unwrap_or_default() };
    let alone = FilterRules { groups: vec![RuleGroup { any: false, rules: vec![rule.clone()] }] };
    if let (Some(value), Err(error)) = (value, check_rules(&alone)) {
        value.problem(match error {
            RuleError::Regex { .. } => "is not a regular expression, or too large a one",
            RuleError::Number { .. } => "must be a number, as its operator compares numbers",
        });
    }
    Some(rule)
}
