use domain::destination::{CloudEventsMode, LogFormat};
use serde_json::{Value, json};

use super::*;
use crate::{
    policy::tests::policy,
    spec::{describe::describe, read_fields},
};

const ROOT: &str = include_str!("../../../../delivery/tests/data/other-root.pem");
const CHAIN: &str = include_str!("../../../../delivery/tests/data/client.pem");
const KEY: &str = include_str!("../../../../delivery/tests/data/client.key.pem");
const OTHER_KEY: &str = include_str!("../../../../delivery/tests/data/own.key.pem");

fn spec(more: &Value) -> DestinationSpec {
    let mut given = json!({"name": "audit", "url": "https://receiver.example/hooks"});
    for (key, value) in more.as_object().cloned().unwrap_or_default() {
        given[key] = value;
    }
    let Value::Object(given) = given else { unreachable!("it is one") };
    read_fields(&given).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn checked(more: &Value) -> Result<Destination, Vec<String>> {
    let secret = [Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
    check(&spec(more), &secret, &policy())
        .map_err(|problems| problems.iter().map(|p| format!("{} {}", p.field, p.message)).collect())
}

#[test]
fn what_is_described_stands_for_the_same_destination() {
    let rules = json!({"groups": [
        {"logic": "or", "rules": [{"field": "model", "operator": "regex", "value": "^gpt"},
                                   {"field": "total_cost", "operator": "gt", "value": 0.5}]},
        {"rules": [{"field": "session_id", "operator": "exists"}]},
    ]});
    let filters = json!({
        "completion": {"models": ["gpt-*"], "min_tokens": 5, "keys": ["app"],
                       "properties": {"Env": "prod"}},
        "error": {"severity": ["critical"], "tags": ["a", "b"], "end_users": ["x"]},
    });
    for more in [
        json!({}),
        json!({"format": "generic_api", "log_format": "ndjson", "batch_size": 5,
               "flush_interval": 2.5}),
        json!({"format": "otlp", "profile": "genai", "integers": "number", "method": "PUT",
               "rules": rules, "sample_rate": 0.25}),
        json!({"format": "otlp", "generation_metadata": ["cost", "request_context"]}),
        json!({"format": "helicone", "include_data": false, "bodies": "string",
               "compat": "document"}),
        json!({"format": "cloudevents", "mode": "batch", "compression": "gzip",
               "event_types": ["streaming", "destination.disabled", "completion"]}),
        json!({"format": "litellm_alert", "rate_limit": 7, "timeout_ms": 900}),
        json!({"tls": {"ca": ROOT}}),
        json!({"tls": {"client_certificate": CHAIN, "client_key": KEY}}),
        json!({"filters": filters, "privacy": true, "strict_order": true,
               "signed_content": "body"}),
    ] {
        let destination = checked(&more).unwrap();
        let mut described = DestinationSpec { secret: None, ..describe(&destination) };
        if let Some(key) = described.tls.as_mut().and_then(|tls| tls.client_key.as_mut()) {
            assert_eq!(*key, "***", "of a key nothing is shown");
            KEY.clone_into(key);
        }
        let secrets = destination.signing.clone().map(|signing| signing.secrets);
        let again = check(&described, &secrets.unwrap_or_default(), &policy());
        assert_eq!(again, Ok(destination), "{more}");
    }
}

#[test]
fn rules_are_described_with_the_values_that_they_were_given() {
    let values = [
        json!({"field": "total_tokens", "operator": "gt", "value": 5}),
        json!({"field": "total_cost", "operator": "lte", "value": 0.001}),
        json!({"field": "total_tokens", "operator": "contains", "value": "5 of"}),
        json!({"field": "user_id", "operator": "equals", "value": "5"}),
        json!({"field": "user_id", "operator": "exists"}),
    ];
    let rules = json!({"enabled": true, "groups": [{"logic": "and", "rules": values}]});
    let destination = checked(&json!({"rules": rules})).unwrap();
    assert_eq!(json!(describe(&destination))["rules"], rules);
}

#[test]
fn each_format_has_its_types_and_batches_by_default() {
    let outcomes = [EventType::Completion, EventType::Error];
    let all = [outcomes.as_slice(), &[EventType::Budget, EventType::RateLimit]].concat();
    for (format, is, types, events_max) in [
        ("event", Format::Event, all.as_slice(), 1),
        ("generic_api", Format::GenericApi(LogFormat::JsonArray), &outcomes, 100),
        ("otlp", Format::Otlp(Otlp::default()), &outcomes, 1),
        ("cloudevents", Format::CloudEvents(CloudEventsMode::Structured), &all, 1),
        ("litellm_alert", Format::LitellmAlert, &[EventType::Budget], 1),
    ] {
        let destination = checked(&json!({"format": format})).unwrap();
        assert_eq!((destination.format, &destination.event_types[..]), (is, types), "{format}");
        assert_eq!(destination.batch.events_max, events_max, "{format}");
        assert!(!destination.allow_private, "{format}");
    }
}

#[test]
fn rules_that_are_off_hold_nothing_back_but_must_be_right() {
    let rules = |value: &str| {
        json!({"rules": {"enabled": false, "groups": [
            {"rules": [{"field": "model", "operator": "regex", "value": value}]},
        ]}})
    };
    assert_eq!(checked(&rules("a")).unwrap().rules, None);
    let problems = checked(&rules("(")).unwrap_err();
    assert!(problems[0].starts_with("rules.groups[0].rules[0].value is"), "{problems:?}");
}

#[test]
fn a_mistake_in_one_rule_hides_none_in_another() {
    let rule =
        |operator, value: Value| json!({"field": "model", "operator": operator, "value": value});
    let bad = [rule("regex", "(".into()), rule("gt", "many".into()), rule("equals", Value::Null)];
    let problems = checked(&json!({"rules": {"groups": [{"rules": bad}]}})).unwrap_err();
    let paths: Vec<_> = problems.iter().filter_map(|p| p.split(' ').next()).collect();
    let expected = [0, 1, 2].map(|index| format!("rules.groups[0].rules[{index}].value"));
    assert_eq!(paths, expected, "{problems:?}");
}

#[test]
fn a_masked_value_is_taken_for_no_secret() {
    let secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "Bearer of a long token", "short"];
    for masked in secrets.map(crate::spec::describe::mask) {
        let problems = checked(&json!({"headers": {"X-Token": masked}})).unwrap_err();
        assert_eq!(problems, [format!("headers.X-Token {IS_MASK}")], "{masked}");
        let problems = check(&spec(&json!({})), &[Secret::new(&masked)], &policy()).unwrap_err();
        assert_eq!(problems, [FieldProblem::new("secret", IS_MASK)], "{masked}");
    }
    for value in ["a...b", "Bearer ...", "****", "1.2.3", "wait..."] {
        assert!(checked(&json!({"headers": {"X-Token": value}})).is_ok(), "{value}");
    }
}

#[test]
fn bounds_keep_a_destination_small() {
    let headers: serde_json::Map<_, _> = (0..51).map(|n| (format!("X-{n}"), "v".into())).collect();
    let rules = vec![json!({"field": "model", "operator": "exists"}); 201];
    for (more, field) in [
        (json!({"headers": headers}), "headers"),
        (json!({"headers": {"X-A": "v".repeat(8_193)}}), "headers.X-A"),
        (json!({"headers": {"X-A": "1", "x-a": "2"}}), "headers.x-a"),
        (json!({"filters": {"error": {"tags": vec!["t"; 201]}}}), "filters.error.tags"),
        (json!({"rules": {"groups": [{"rules": rules}]}}), "rules"),
        (json!({"url": format!("https://receiver.example/{}", "a".repeat(4_096))}), "url"),
        (json!({"url": " https://receiver.example/"}), "url"),
        (json!({"url": "https://receiver.example/a\nb"}), "url"),
        (json!({"name": "a".repeat(101)}), "name"),
        (json!({"name": ".."}), "name"),
    ] {
        let problems = checked(&more).unwrap_err();
        assert!(problems[0].starts_with(&format!("{field} ")), "{problems:?}");
    }
}

#[test]
fn credentials_in_a_url_become_the_header_that_means_the_same() {
    let mut with = spec(&json!({"url": "https://me:p%40ss@receiver.example/hooks"}));
    take_credentials(&mut with);
    assert_eq!(with.url.as_deref(), Some("https://receiver.example/hooks"));
    let headers = with.headers.unwrap_or_default();
    assert_eq!(headers["Authorization"], format!("Basic {}", BASE64_STANDARD.encode("me:p@ss")));
    let more = json!({"url": "https://me@receiver.example/", "headers": {"authorization": "mine"}});
    let mut with = spec(&more);
    take_credentials(&mut with);
    assert_eq!(with.headers.unwrap_or_default().len(), 1, "the given one stays");
}

#[test]
fn a_key_may_be_named_by_its_hash() {
    let hash = "ab".repeat(32);
    let key_names = [(hash.clone(), "app".to_owned())].into();
    let policy = Policy { key_names, ..policy() };
    let more = json!({"filters": {"error": {"keys": [hash, "other"]}}});
    let destination = check(&spec(&more), &[], &policy).unwrap();
    assert_eq!(destination.filters[0].1.keys, ["app", "other"]);
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_told_apart() {
    let broken = "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    let long = "x".repeat(100_000);
    for (tls, expected) in [
        (json!({"ca": "nothing"}), &["tls.ca holds"][..]),
        (json!({"ca": broken}), &["tls.ca holds"]),
        (json!({"ca": KEY}), &["tls.ca holds"]),
        (json!({"ca": long}), &["tls.ca must have", "tls.ca holds"]),
        (json!({"client_certificate": CHAIN}), &["tls.client_key is missing"]),
        (json!({"client_key": KEY}), &["tls.client_certificate is missing"]),
        (
            json!({"client_certificate": CHAIN, "client_key": OTHER_KEY}),
            &["tls.client_key holds a key that does not fit"],
        ),
        (
            json!({"ca": "", "client_certificate": "", "client_key": KEY}),
            &["tls.ca holds", "tls.client_certificate holds"],
        ),
        (
            json!({"client_certificate": CHAIN, "client_key": "secret"}),
            &["tls.client_key holds no private key"],
        ),
        (
            json!({"client_certificate": CHAIN, "client_key": "***"}),
            &["tls.client_key is a masked value"],
        ),
    ] {
        let problems = checked(&json!({"tls": tls})).unwrap_err();
        let fit = problems.len() == expected.len()
            && problems.iter().zip(expected).all(|(problem, start)| problem.starts_with(start));
        assert!(fit, "{problems:?} should be {expected:?}");
    }
    let plain = json!({"url": "http://receiver.example/", "tls": {"ca": ROOT}});
    let problems = checked(&plain).unwrap_err();
    assert!(
        problems.iter().any(|problem| problem.starts_with("tls has no effect")),
        "{problems:?}"
    );
    assert_eq!(checked(&json!({"tls": {}})).unwrap().tls, None);
}

#[test]
fn a_port_that_the_operator_did_not_open_is_refused() {
    let problems = |url: &str| checked(&json!({"url": url})).err().unwrap_or_default();
    for url in [
        "https://receiver.example/",
        "https://receiver.example:443/",
        "https://receiver.example:8443/",
    ] {
        assert_eq!(problems(url), [""; 0], "{url}");
    }
    for (url, port) in [
        ("https://receiver.example:22/", 22),
        ("https://receiver.example:80/", 80),
        ("https://receiver.example:6379/", 6379),
        ("https://receiver.example:0/", 0),
    ] {
        let expected = format!("url has port {port}; security.allowed_ports allows 443, 8000-8999");
        assert_eq!(problems(url), [expected], "{url}");
    }
}

#[test]
fn a_header_that_the_gateway_writes_itself_is_refused_and_one_that_it_does_not_passes() {
    let with = |name: &str, more: Value| {
        let mut spec = json!({"headers": {name: "x"}});
        for (key, value) in more.as_object().cloned().unwrap_or_default() {
            spec[key] = value;
        }
        checked(&spec).map(drop).unwrap_err()
    };
    let written = |name: &str| {
        [format!("headers.{name} is a header that the gateway writes here, to sign or to pack")]
    };
    assert_eq!(with("x-webhook-signature", json!({})), written("x-webhook-signature"));
    assert_eq!(with("X-Webhook-Timestamp", json!({})), written("X-Webhook-Timestamp"));
    let gzip = json!({"compression": "gzip"});
    assert_eq!(with("Content-Encoding", gzip), written("Content-Encoding"));
    let helicone = json!({"format": "helicone"});
    assert_eq!(with("Helicone-Signature", helicone), written("Helicone-Signature"));
    let others = json!({"headers": {"Helicone-Signature": "x", "Content-Encoding": "identity"}});
    assert!(checked(&others).is_ok());
}
