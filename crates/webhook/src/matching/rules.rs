//! `OpenRouter`'s filter rules over the facts of a call.

use domain::destination::{FilterRules, RuleOperator};
use regex::{Regex, RegexBuilder};

/// Memory that one compiled expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

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
                RuleOperator::Gt | RuleOperator::Lt | RuleOperator::Gte | RuleOperator::Lte => {
                    if number(&value).is_none() {
                        return Err(RuleError::Number { group, rule, value });
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build()
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}
