//! One call, and rules of every field and operator.

use std::sync::Arc;

use domain::{
    call::Caller,
    deployment::DeploymentFacts,
    destination::RuleGroup,
    exchange::{Exchange, Payload, ProviderAttempt},
    sample,
    usage::{Cost, Usage},
};

use super::*;
use RuleField::{
    ApiKeyName, CompletionTokens, FinishReason, Input, Model, Output, PromptTokens, Provider,
    SessionId, TotalCost, TotalTokens, UserId,
};
use RuleOperator::{
    Contains, EndsWith, Equals, Exists, Gt, Gte, Lt, Lte, NotContains, NotEquals, NotExists,
    StartsWith,
};

fn rule(field: RuleField, operator: RuleOperator, value: &str) -> Rule {
    Rule { field, operator, value: value.to_owned() }
}

fn all(rules: Vec<Rule>) -> FilterRules {
    FilterRules { groups: vec![RuleGroup { any: false, rules }] }
}

/// A call of which everything is known.
fn told() -> Report {
    let call = Call {
        caller: Caller::Key { name: "team-a".to_owned(), hash: String::new() },
        end_user: Some("u-1".to_owned()),
        session_id: Some("s-1".to_owned()),
        ..sample::call()
    };
    let deployment = DeploymentFacts {
        model_name: "spare".to_owned(),
        provider: "anthropic".to_owned(),
        model: "claude-sonnet-4".to_owned(),
        ..sample::deployment()
    };
    let attempt = ProviderAttempt { deployment: Arc::new(deployment), ..sample::attempt() };
    let mut facts = sample::facts(call);
    facts.attempts.push(attempt);
    let request = br#"{"messages":[{"role":"user","content":"Where is Kiel?"}]}"#;
    let exchange = Exchange {
        facts,
        request: Payload::whole(request.as_slice().into()),
        response: Payload::default(),
    };
    let usage = Usage {
        input_tokens: Some(90),
        output_tokens: Some(10),
        total_tokens: Some(100),
        ..Usage::default()
    };
    Report {
        text: Some("By the sea.\nIn the north.".to_owned()),
        finish_reason: Some("stop".to_owned()),
        usage: Some(usage),
        cost: Some(Cost { total: 0.002, ..Cost::default() }),
        exchange: Arc::new(exchange),
        ..sample::report(sample::facts(sample::call()))
    }
}

fn passes(report: &Report, rules: &FilterRules) -> bool {
    pass(rules, &report.exchange.facts.call, Some(report))
}

#[test]
fn each_field_is_compared_by_each_operator() {
    let cases = [
        (Model, Equals, "smart", true),
        (Model, Equals, "spare", true),
        (Model, Equals, "claude-sonnet-4", true),
        (Model, Equals, "anthropic/claude-sonnet-4", true),
        (Model, Equals, "gpt-4o", false),
        (Model, Equals, "Smart", false),
        (Model, NotEquals, "spare", false),
        (Model, NotEquals, "gpt-4o", true),
        (Model, NotContains, "sonnet", false),
        (Model, RuleOperator::Regex, "^claude-.*-[0-9]$", true),
        (Model, RuleOperator::Regex, "(?i)SMART", true),
        (Model, RuleOperator::Regex, "^sonnet", false),
        (Model, Exists, "", true),
        (Provider, Equals, "anthropic", true),
        (Provider, StartsWith, "anth", true),
        (Provider, EndsWith, "anth", false),
        (SessionId, Equals, "s-1", true),
        (SessionId, NotExists, "", false),
        (UserId, Contains, "-", true),
        (ApiKeyName, EndsWith, "-a", true),
        (ApiKeyName, StartsWith, "team", true),
        (FinishReason, Equals, "stop", true),
        (FinishReason, NotEquals, "stop", false),
        (Input, Contains, "Kiel", true),
        (Input, Contains, "role", false),
        (Input, RuleOperator::Regex, "is K.*\\?$", true),
        (Output, StartsWith, "By the sea.\n", true),
        (Output, NotContains, "sea", false),
        (TotalCost, Gt, "0.001", true),
        (TotalCost, Gt, "0.002", false),
        (TotalCost, Gte, "2e-3", true),
        (TotalCost, Lt, "0.002", false),
        (TotalCost, Lte, "0.002", true),
        (TotalCost, Equals, "0.0020", true),
        (TotalTokens, Equals, "100.0", true),
        (TotalTokens, NotEquals, "100", false),
        (TotalTokens, NotEquals, "101", true),
        (TotalTokens, Equals, "many", false),
        (TotalTokens, StartsWith, "10", true),
        (TotalTokens, RuleOperator::Regex, "^[0-9]{3}$", true),
        (PromptTokens, Lt, "91", true),
        (PromptTokens, Lt, "90", false),
        (CompletionTokens, Gte, "10", true),
        (CompletionTokens, Exists, "", true),
        (CompletionTokens, Gt, "no number", false),
        // A text is compared as the number that it is.
        (SessionId, Gt, "0", false),
    ];
    for (field, operator, value, expected) in cases {
        let rules = all(vec![rule(field, operator, value)]);
        assert_eq!(passes(&told(), &rules), expected, "{field:?} {operator:?} {value:?}");
    }
}

#[test]
fn a_missing_fact_passes_only_what_says_not() {
    // An attempt that knows no more than who was asked, and a piece of a stream without a report.
    let bare = Call { model: String::new(), session_id: Some(String::new()), ..sample::call() };
    let fields = [
        Model,
        Provider,
        SessionId,
        UserId,
        ApiKeyName,
        FinishReason,
        Input,
        Output,
        TotalCost,
        TotalTokens,
        PromptTokens,
        CompletionTokens,
    ];
    let cases = [
        (Equals, "", false),
        (NotEquals, "1", true),
        (Contains, "", false),
        (NotContains, "1", true),
        (RuleOperator::Regex, "", false),
        (StartsWith, "", false),
        (EndsWith, "", false),
        (Gt, "-1", false),
        (Lt, "1", false),
        (Gte, "0", false),
        (Lte, "0", false),
        (Exists, "", false),
        (NotExists, "", true),
    ];
    for field in fields {
        for (operator, value, expected) in cases {
            let rules = all(vec![rule(field, operator, value)]);
            assert_eq!(pass(&rules, &bare, None), expected, "{field:?} {operator:?}");
        }
    }
}

#[test]
fn texts_that_may_not_be_told_are_missing() {
    let with = |change: &dyn Fn(&mut Call)| {
        let mut report = told();
        let mut exchange = report.exchange.as_ref().clone();
        change(Arc::make_mut(&mut exchange.facts.call));
        report.exchange = Arc::new(exchange);
        [Input, Output].map(|field| passes(&report, &all(vec![rule(field, Exists, "")])))
    };
    assert_eq!(with(&|_| {}), [true, true]);
    assert_eq!(with(&|call| call.logging = Logging::Redacted), [false, false]);
    assert_eq!(with(&|call| call.omit_request = true), [false, true]);
    assert_eq!(with(&|call| call.omit_response = true), [true, false]);
}

#[test]
fn groups_must_all_pass_and_each_says_whether_one_rule_is_enough() {
    let yes = || rule(Model, Equals, "smart");
    let no = || rule(Model, Equals, "dull");
    let cases = [
        (vec![], true),
        (vec![(false, vec![])], true),
        (vec![(true, vec![])], true),
        (vec![(false, vec![yes(), no()])], false),
        (vec![(true, vec![no(), yes()])], true),
        (vec![(true, vec![no(), no()])], false),
        (vec![(true, vec![no(), yes()]), (false, vec![yes()])], true),
        (vec![(true, vec![no(), yes()]), (false, vec![no()])], false),
    ];
    for (groups, expected) in cases {
        let groups: Vec<_> =
            groups.into_iter().map(|(any, rules)| RuleGroup { any, rules }).collect();
        let rules = FilterRules { groups };
        assert_eq!(passes(&told(), &rules), expected, "{rules:?}");
    }
}

#[test]
fn rules_that_cannot_be_applied_are_refused() {
    let checked = |bad: Rule| {
        let good = RuleGroup { any: false, rules: vec![rule(Model, Equals, "(")] };
        let second = RuleGroup { any: false, rules: vec![rule(TotalCost, Gt, " 1e-3 "), bad] };
        check_rules(&FilterRules { groups: vec![good, second] }).map_err(|error| error.to_string())
    };
    let regex =
        |text: &str| Err(format!("rule 2 of group 2: `{text}` is not a regular expression"));
    let number = |text: &str| Err(format!("rule 2 of group 2: `{text}` is not a number"));
    let cases = [
        (rule(Model, RuleOperator::Regex, "^a|b$"), Ok(())),
        (rule(Model, RuleOperator::Regex, "a("), regex("a(")),
        (rule(Model, RuleOperator::Regex, "(?=a)"), regex("(?=a)")),
        (rule(Model, RuleOperator::Regex, "[a-z]{20}"), Ok(())),
        (rule(Model, RuleOperator::Regex, r"\w{80}"), regex(r"\w{80}")),
        (rule(Model, RuleOperator::Regex, r"\w{1000}{1000}"), regex(r"\w{1000}{1000}")),
        (rule(TotalTokens, Gte, "many"), number("many")),
        (rule(TotalTokens, Lt, ""), number("")),
        (rule(TotalTokens, Lt, "inf"), number("inf")),
        (rule(TotalTokens, Equals, "many"), Ok(())),
        (rule(TotalTokens, Exists, ""), Ok(())),
    ];
    for (bad, expected) in cases {
        assert_eq!(checked(bad.clone()), expected, "{bad:?}");
    }
}

#[test]
fn more_expressions_than_are_kept_compiled_still_match() {
    for round in 0..2 {
        for n in 0..2 * COMPILED_MAX {
            assert!(matches_regex(&format!("^x{n}$"), &format!("x{n}")), "{round}");
        }
    }
    assert!(COMPILED.read().unwrap().len() <= COMPILED_MAX);
    assert!(!matches_regex("(", "("));
}
