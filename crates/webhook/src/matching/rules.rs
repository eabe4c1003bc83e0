//! `OpenRouter`'s filter rules over the facts of a call.
//!
//! Its documentation leaves open how groups combine: here every group must pass.

use std::{
    borrow::Cow,
    cell::OnceCell,
    collections::HashMap,
    sync::{LazyLock, PoisonError, RwLock},
};

use domain::{
    call::{Call, Logging},
    destination::{FilterRules, Rule, RuleField, RuleOperator},
    event::Report,
};
use regex::{Regex, RegexBuilder};

use super::{
    facts::{key_name, model_names, prompt, total_tokens},
    properties::user_id,
};
use crate::javascript;

/// Memory that one compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Expressions that are kept in their compiled form.
const COMPILED_MAX: usize = 256;

/// Why a rule cannot be applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// Its value is no regular expression, or one that takes too much memory.
    #[error("rule {rule} of group {group}: `{value}` is not a regular expression")]
    Regex {
        /// The group, counted from 1.
        group: usize,
        /// The rule in it, counted from 1.
        rule: usize,
        /// The value.
        value: String,
        /// What is wrong with it.
        #[source]
        cause: regex::Error,
    },
    /// Its operator compares numbers, and its value is none.
    #[error("rule {rule} of group {group}: `{value}` is not a number")]
    Number {
        /// The group, counted from 1.
        group: usize,
        /// The rule in it, counted from 1.
        rule: usize,
        /// The value.
        value: String,
    },
}

/// Passes rules that can be applied: for the configuration's check.
pub fn check_rules(rules: &FilterRules) -> Result<(), RuleError> {
    for (group, rules) in (1..).zip(&rules.groups) {
        for (rule, checked) in (1..).zip(&rules.rules) {
            let value = checked.value.clone();
            match checked.operator {
                RuleOperator::Regex => {
                    compile(&value).map_err(|cause| RuleError::Regex {
                        group,
                        rule,
                        value,
                        cause,
                    })?;
                }
                RuleOperator::Gt | RuleOperator::Lt | RuleOperator::Gte | RuleOperator::Lte
                    if number(&value).is_none() =>
                {
                    return Err(RuleError::Number { group, rule, value });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether a call passes every group. A group without rules passes.
///
/// A fact that is missing, or an empty text, passes `not_exists`, `not_equals` and `not_contains`
/// alone. The texts of a call that may not be told are missing.
pub(super) fn pass(rules: &FilterRules, call: &Call, report: Option<&Report>) -> bool {
    let looked_at = LookedAt { call, report, prompt: OnceCell::new() };
    rules.groups.iter().all(|group| {
        let mut rules = group.rules.iter();
        let holds = |rule| looked_at.holds(rule);
        if group.any { group.rules.is_empty() || rules.any(holds) } else { rules.all(holds) }
    })
}

/// What a rule compares.
enum Fact<'a> {
    /// A name or a text, or all names of a thing that has several: one is enough.
    Texts(Vec<Cow<'a, str>>),
    Number(f64),
}

/// A call and its report while rules look at them.
struct LookedAt<'a> {
    call: &'a Call,
    report: Option<&'a Report>,
    /// Read once, if a rule asks.
    prompt: OnceCell<String>,
}

impl LookedAt<'_> {
    fn holds(&self, rule: &Rule) -> bool {
        let fact = self.fact(rule.field);
        let is = |operator| fact.as_ref().is_some_and(|fact| compare(fact, operator, &rule.value));
        match rule.operator {
            RuleOperator::Exists => fact.is_some(),
            RuleOperator::NotExists => fact.is_none(),
            RuleOperator::NotEquals => !is(RuleOperator::Equals),
            RuleOperator::NotContains => !is(RuleOperator::Contains),
            operator => is(operator),
        }
    }

    fn fact(&self, field: RuleField) -> Option<Fact<'_>> {
        let report = self.report;
        let usage = || report.and_then(|report| report.usage);
        let number = |number: Option<f64>| number.map(Fact::Number);
        let count = |count: Option<u64>| number(count.map(|count| count as f64));
        let is_told = self.call.logging == Logging::Full;
        match field {
            RuleField::Model => texts(model_names(self.call, report)),
            RuleField::Provider => {
                text(report?.exchange.facts.attempts.last()?.deployment.provider.as_str())
            }
            RuleField::SessionId => text(self.call.session_id.as_deref()?),
            RuleField::UserId => text(user_id(self.call)?),
            RuleField::ApiKeyName => text(key_name(self.call)?),
            RuleField::FinishReason => text(report?.finish_reason.as_deref()?),
            RuleField::Input if is_told && !self.call.omit_request => {
                let request = &report?.exchange.request.bytes;
                text(self.prompt.get_or_init(|| prompt(request)))
            }
            RuleField::Output if is_told && !self.call.omit_response => {
                text(report?.text.as_deref()?)
            }
            RuleField::Input | RuleField::Output => None,
            RuleField::TotalCost => number(report?.cost.map(|cost| cost.total)),
            RuleField::TotalTokens => count(usage().as_ref().and_then(total_tokens)),
            RuleField::PromptTokens => count(usage().and_then(|usage| usage.input_tokens)),
            RuleField::CompletionTokens => count(usage().and_then(|usage| usage.output_tokens)),
        }
    }
}

fn text(text: &str) -> Option<Fact<'_>> {
    texts(std::iter::once(text.into()))
}

fn texts<'a>(texts: impl Iterator<Item = Cow<'a, str>>) -> Option<Fact<'a>> {
    let texts: Vec<_> = texts.filter(|text| !text.is_empty()).collect();
    (!texts.is_empty()).then_some(Fact::Texts(texts))
}

/// What a positive operator says of a fact. Numbers are compared as numbers where both are, texts
/// with regard to case.
fn compare(fact: &Fact<'_>, operator: RuleOperator, value: &str) -> bool {
    let wanted = number(value);
    let ordered = |fact: f64, wanted: f64| match operator {
        RuleOperator::Gt => fact > wanted,
        RuleOperator::Lt => fact < wanted,
        RuleOperator::Gte => fact >= wanted,
        RuleOperator::Lte => fact <= wanted,
        _ => false,
    };
    let of_text = |text: &str| match operator {
        RuleOperator::Equals => text == value,
        RuleOperator::Contains => text.contains(value),
        RuleOperator::StartsWith => text.starts_with(value),
        RuleOperator::EndsWith => text.ends_with(value),
        RuleOperator::Regex => matches_regex(value, text),
        _ => number(text).zip(wanted).is_some_and(|(fact, wanted)| ordered(fact, wanted)),
    };
    match fact {
        Fact::Texts(texts) => texts.iter().any(|text| of_text(text)),
        Fact::Number(fact) => match (operator, wanted) {
            (RuleOperator::Equals, Some(wanted)) => fact.total_cmp(&wanted).is_eq(),
            _ => of_text(&javascript::number(*fact)),
        },
    }
}

/// Expressions that were compiled, by their text.
static COMPILED: LazyLock<RwLock<HashMap<String, Option<Regex>>>> = LazyLock::new(RwLock::default);

/// Whether an expression matches some part of a text. One that cannot be compiled matches nothing;
/// [`check_rules`] refuses it before.
fn matches_regex(expression: &str, text: &str) -> bool {
    let known = COMPILED.read().unwrap_or_else(PoisonError::into_inner).get(expression).cloned();
    let regex = known.unwrap_or_else(|| {
        let regex = compile(expression).ok();
        let mut compiled = COMPILED.write().unwrap_or_else(PoisonError::into_inner);
        // Rules are few. More than this many means that they changed over and over.
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        compiled.insert(expression.to_owned(), regex.clone());
        regex
    });
    regex.is_some_and(|regex| regex.is_match(text))
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build()
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests;
