//! One event and one destination, changed one field at a time.

use std::sync::Arc;

use domain::{
    call::Caller,
    deployment::{DeploymentFacts, Dialect},
    destination::{FilterRules, Rule, RuleField, RuleGroup, RuleOperator},
    event::{Detail, Piece},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    failure::{Failure, FailureKind, Severity},
    id::{CallId, DestinationName, EventId},
    note::{News, Note},
    record::Sequence,
    sample::{NOW, call},
    usage::Usage,
};

use super::*;

fn attempt(model_name: &str, provider: &str, model: &str) -> ProviderAttempt {
    ProviderAttempt {
        deployment: Arc::new(DeploymentFacts {
            id: "d".to_owned(),
            model_name: model_name.to_owned(),
            provider: provider.to_owned(),
            model: model.to_owned(),
            api_base: String::new(),
            dialect: Dialect::OpenAi,
            prices: None,
        }),
        started_at: NOW,
        finished_at: NOW,
        status: Some(200),
        headers: Vec::new(),
        failure: None,
    }
}

/// The outcome of a call that asked for `smart`, failed at `gpt-4o` and went on to a fallback.
fn report(call: Call, outcome: Outcome, usage: Option<Usage>) -> Arc<Report> {
    let facts = Facts {
        call: Arc::new(call),
        attempts: vec![
            attempt("smart", "openai", "gpt-4o"),
            attempt("spare", "anthropic", "claude-sonnet-4"),
        ],
        outcome,
        first_byte_at: None,
        finished_at: NOW,
        response_is_stream: false,
        retries: 0,
        fallbacks: 1,
    };
    let exchange = Exchange { facts, request: Payload::default(), response: Payload::default() };
    Arc::new(Report {
        exchange: Arc::new(exchange),
        response: None,
        response_id: None,
        text: None,
        reasoning: None,
        tool_calls: None,
        finish_reason: None,
        usage,
        usage_json: None,
        cost: None,
        prices: Vec::new(),
    })
}

fn event(detail: Detail) -> Event {
    let id = EventId::from_stored("evt_1");
    Event { id, sequence: Sequence(1), occurred_at: NOW, detail }
}

fn completion_of(call: Call) -> Event {
    event(Detail::Completion(report(call, Outcome::Completed, None)))
}

fn completion_with(usage: Usage) -> Event {
    event(Detail::Completion(report(call(), Outcome::Completed, Some(usage))))
}

fn error(kind: FailureKind) -> Event {
    let failure = Failure::new(kind, 500, "no".to_owned());
    event(Detail::Error(report(call(), Outcome::Failed(failure), None)))
}

fn streaming() -> Event {
    event(Detail::Streaming(Piece {
        call: Arc::new(call()),
        choice_index: 0,
        token_index_first: 0,
        token_index: 0,
        content: "a".to_owned(),
        finish_reason: None,
    }))
}

fn destination(event_types: &[EventType]) -> Destination {
    Destination { event_types: event_types.to_vec(), ..domain::sample::destination() }
}

fn filtered(kind: EventType, filter: EventFilter) -> Destination {
    Destination { filters: vec![(kind, filter)], ..destination(&EventType::ALL) }
}

fn models(globs: &[&str]) -> EventFilter {
    let models = globs.iter().map(|glob| (*glob).to_owned()).collect();
    EventFilter { models, ..EventFilter::default() }
}

fn gets(destination: &Destination, event: &Event) -> bool {
    matches(event.kind(), event, destination)
}

#[test]
fn a_destination_gets_the_types_it_asked_for() {
    let errors = destination(&[EventType::Error]);
    assert!(gets(&errors, &error(FailureKind::Timeout)));
    assert!(!gets(&errors, &completion_of(call())));
    assert!(!gets(&errors, &streaming()));
    assert!(!gets(&destination(&[]), &error(FailureKind::Timeout)));
}

#[test]
fn a_call_without_logging_makes_events_for_nobody() {
    let all = destination(&EventType::ALL);
    let with = |logging| gets(&all, &completion_of(Call { logging, ..call() }));
    assert_eq!([Logging::Full, Logging::Redacted, Logging::Off].map(with), [true, true, false]);
}

#[test]
fn models_match_the_public_name_and_that_of_the_deployment_that_answered() {
    let cases: &[(&[&str], bool)] = &[
        (&[], true),
        (&["smart"], true),
        (&["spare"], true),
        (&["claude-sonnet-4"], true),
        (&["claude-*"], true),
        (&["anthropic/claude-*"], true),
        (&["nothing", "s?art"], true),
        (&["gpt-4o"], false),
        (&["smar"], false),
        (&["Smart"], false),
    ];
    for (globs, expected) in cases {
        let destination = filtered(EventType::Completion, models(globs));
        assert_eq!(gets(&destination, &completion_of(call())), *expected, "{globs:?}");
    }
}

#[test]
fn a_filter_narrows_its_own_type_only() {
    let destination = filtered(EventType::Completion, models(&["none"]));
    assert!(!gets(&destination, &completion_of(call())));
    assert!(gets(&destination, &error(FailureKind::Timeout)));
    assert!(gets(&destination, &streaming()));
    assert!(gets(&filtered(EventType::Streaming, models(&["smart"])), &streaming()));
    assert!(!gets(&filtered(EventType::Streaming, models(&["gpt*"])), &streaming()));
}

#[test]
fn a_missing_token_count_passes_and_a_zero_does_not() {
    let filter = EventFilter { min_tokens: Some(100), ..EventFilter::default() };
    let destination = filtered(EventType::Completion, filter);
    let usage = |input_tokens, output_tokens, total_tokens| Usage {
        input_tokens,
        output_tokens,
        total_tokens,
        ..Usage::default()
    };
    let cases = [
        (usage(None, None, Some(100)), true),
        (usage(None, None, Some(99)), false),
        (usage(None, None, Some(0)), false),
        (usage(Some(60), Some(40), None), true),
        (usage(Some(60), Some(39), None), false),
        (usage(Some(5), None, None), true),
        (usage(None, None, None), true),
    ];
    for (usage, expected) in cases {
        assert_eq!(gets(&destination, &completion_with(usage)), expected, "{usage:?}");
    }
    assert!(gets(&destination, &completion_of(call())));
}

#[test]
fn severity_narrows_errors() {
    let severity = vec![Severity::Error, Severity::Critical];
    let filter = EventFilter { severity, ..EventFilter::default() };
    let destination = filtered(EventType::Error, filter.clone());
    assert!(gets(&destination, &error(FailureKind::Timeout)));
    assert!(gets(&destination, &error(FailureKind::Internal)));
    assert!(!gets(&destination, &error(FailureKind::RateLimit)));
    assert!(gets(&filtered(EventType::Completion, filter), &completion_of(call())));
}

/// What of a thousand calls a destination with this sample rate gets.
fn sample(rate: f64) -> Vec<CallId> {
    let destination = Destination { sample_rate: rate, ..destination(&EventType::ALL) };
    let ids = (0..1_000_u32).map(|n| {
        let [a, b, c, d] = n.to_be_bytes();
        CallId::new(NOW, [0, 0, 0, 0, 0, 0, a, b, c, d])
    });
    ids.filter(|id| gets(&destination, &completion_of(Call { id: *id, ..call() }))).collect()
}

#[test]
fn a_sample_is_about_its_share_and_a_smaller_one_lies_within_it() {
    let (none, tenth, half, all) = (sample(0.0), sample(0.1), sample(0.5), sample(1.0));
    assert_eq!((none.len(), all.len()), (0, 1_000));
    assert!((70..130).contains(&tenth.len()), "{}", tenth.len());
    assert!((450..550).contains(&half.len()), "{}", half.len());
    assert!(tenth.iter().all(|id| half.contains(id)));
    assert_eq!(half, sample(0.5));
}

#[test]
fn all_events_of_a_call_are_in_or_out_of_a_sample_together() {
    for random in 0..20 {
        let call = Call { id: CallId::new(NOW, [random; 10]), ..call() };
        let mut piece = streaming();
        let Detail::Streaming(detail) = &mut piece.detail else { unreachable!() };
        detail.call = Arc::new(call.clone());
        let destination = Destination { sample_rate: 0.5, ..destination(&EventType::ALL) };
        assert_eq!(gets(&destination, &completion_of(call)), gets(&destination, &piece));
    }
}

#[test]
fn calls_of_one_session_share_its_fate() {
    let destination = Destination { sample_rate: 0.5, ..destination(&EventType::ALL) };
    let fates = |session: &str| {
        let of = |random| Call {
            id: CallId::new(NOW, [random; 10]),
            session_id: Some(session.to_owned()),
            ..call()
        };
        let mut fates: Vec<_> =
            (0..20).map(|random| gets(&destination, &completion_of(of(random)))).collect();
        fates.dedup();
        fates
    };
    let all: Vec<_> = (0..20).map(|n| fates(&format!("session {n}"))).collect();
    assert!(all.iter().all(|fates| fates.len() == 1));
    assert!(all.contains(&vec![true]) && all.contains(&vec![false]));
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn keys_end_users_and_tags_narrow_by_who_called() {
    let key = |name: &str| Caller::Key { name: name.to_owned(), hash: String::new() };
    let anonymous = call();
    let named = Call {
        caller: key("team-a"),
        end_user: Some("u-1".to_owned()),
        tags: strings(&["prod", "batch"]),
        ..call()
    };
    let master = Call { caller: Caller::Master, ..call() };
    let headed = Call { headers: pairs(&[("helicone-user-id", "u-2")]), ..named.clone() };
    let keys = |globs| EventFilter { keys: strings(globs), ..EventFilter::default() };
    let users = |globs| EventFilter { end_users: strings(globs), ..EventFilter::default() };
    let tags = |globs| EventFilter { tags: strings(globs), ..EventFilter::default() };
    let cases = [
        (keys(&[]), &anonymous, true),
        (keys(&["*"]), &anonymous, false),
        (keys(&["team-?"]), &named, true),
        (keys(&["other", "team-*"]), &named, true),
        (keys(&["team"]), &named, false),
        (keys(&["master"]), &master, true),
        (users(&["*"]), &anonymous, false),
        (users(&["u-*"]), &named, true),
        (users(&["u-1"]), &headed, false),
        (users(&["u-2"]), &headed, true),
        (tags(&["*"]), &anonymous, false),
        (tags(&["pro?"]), &named, true),
        (tags(&["Prod", "nothing"]), &named, false),
        (EventFilter { keys: strings(&["team-a"]), ..tags(&["dev"]) }, &named, false),
    ];
    for (filter, call, expected) in cases {
        let destination = filtered(EventType::Completion, filter.clone());
        assert_eq!(gets(&destination, &completion_of(call.clone())), expected, "{filter:?}");
    }
}

type Wanted<'a> = &'a [(&'a str, &'a str)];

#[test]
fn properties_must_all_be_there_with_their_values() {
    let with = |headers: &[(&str, &str)]| Call {
        headers: pairs(headers),
        end_user: Some("u-1".to_owned()),
        ..call()
    };
    let plain =
        with(&[("helicone-property-environment", "Production"), ("helicone-session-id", "s")]);
    let overridden = with(&[("helicone-property-model", "mine"), ("helicone-user-id", "u-2")]);
    let cases: &[(Wanted<'_>, &Call, bool)] = &[
        (&[], &plain, true),
        (&[("environment", "Production")], &plain, true),
        (&[("Environment", "Production")], &plain, true),
        (&[("environment", "production")], &plain, false),
        (&[("environment", "Prod*")], &plain, false),
        (&[("helicone-session-id", "s")], &plain, true),
        (&[("Helicone-Session-Id", "s"), ("environment", "Production")], &plain, true),
        (&[("Helicone-Session-Id", "s"), ("environment", "dev")], &plain, false),
        (&[("unknown", "")], &plain, false),
        // What the call was not given falls back to what it is.
        (&[("user_id", "u-1")], &plain, true),
        (&[("User_Id", "u-2")], &plain, false),
        (&[("user_id", "u-2")], &overridden, true),
        (&[("model", "smart")], &plain, true),
        (&[("Model", "claude-sonnet-4")], &plain, true),
        (&[("model", "anthropic/claude-sonnet-4")], &plain, true),
        (&[("model", "claude-sonnet-4-20250514")], &plain, true),
        (&[("model", "gpt-4o")], &plain, false),
        (&[("model", "claude-*")], &plain, false),
        (&[("model", "mine")], &overridden, true),
        (&[("model", "smart")], &overridden, false),
    ];
    for (wanted, call, expected) in cases {
        let filter = EventFilter { properties: pairs(wanted), ..EventFilter::default() };
        let mut report = Arc::unwrap_or_clone(report((*call).clone(), Outcome::Completed, None));
        report.response = Some(r#"{"model":"claude-sonnet-4-20250514"}"#.into());
        let event = event(Detail::Completion(Arc::new(report)));
        let destination = filtered(EventType::Completion, filter);
        assert_eq!(gets(&destination, &event), *expected, "{wanted:?}");
    }
}

#[test]
fn a_destination_that_the_caller_disabled_gets_nothing_of_the_call() {
    let cases = [
        ("primary", false),
        ("PRIMARY", false),
        ("other, primary ,", false),
        ("other", true),
        ("primary2", true),
        ("", true),
    ];
    for (names, expected) in cases {
        let call = Call { headers: pairs(&[("x-litellm-disable-callbacks", names)]), ..call() };
        let primary = destination(&EventType::ALL);
        assert_eq!(gets(&primary, &completion_of(call)), expected, "{names:?}");
    }
}

#[test]
fn news_of_no_call_reaches_whoever_wants_its_type_whatever_narrows_calls() {
    let note = event(Detail::Noted(Arc::new(Note {
        id: EventId::from_stored("note"),
        at: NOW,
        news: News::DestinationDisabled {
            destination: DestinationName::new("other"),
            reason: "gone".to_owned(),
        },
    })));
    let group = RuleGroup {
        any: false,
        rules: vec![Rule {
            field: RuleField::Model,
            operator: RuleOperator::Equals,
            value: "none".to_owned(),
        }],
    };
    let filter = EventFilter { keys: strings(&["none"]), ..models(&["none"]) };
    let narrow = Destination {
        filters: vec![(EventType::DestinationDisabled, filter)],
        rules: Some(FilterRules { groups: vec![group] }),
        sample_rate: 0.0,
        ..destination(&[EventType::DestinationDisabled])
    };
    assert!(gets(&narrow, &note));
    assert!(!gets(&destination(&[EventType::Completion]), &note));
}

#[test]
fn rules_narrow_calls_whatever_the_events_type() {
    let rule = |value: &str| {
        let value = value.to_owned();
        let rules = vec![Rule { field: RuleField::Model, operator: RuleOperator::Equals, value }];
        let rules = FilterRules { groups: vec![RuleGroup { any: false, rules }] };
        Destination { rules: Some(rules), ..destination(&EventType::ALL) }
    };
    for event in [completion_of(call()), error(FailureKind::Timeout), streaming()] {
        assert!(gets(&rule("smart"), &event));
        assert!(!gets(&rule("dull"), &event));
    }
}
