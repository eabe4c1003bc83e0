//! Who gets which events: types, filters, samples, privacy.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use testkit::{
    Answer, Gateway, Receiver, Upstream, client::chat_body, gateway::Setup,
    receiver::accepted_items,
};

use crate::{
    delivery_world::{OUTCOMES, callbacks, calls, of, request_id, start, told, webhook, webhooks},
    support::BINARY,
    world::{deployment, models},
};

/// The texts of what each destination was told of, sorted.
fn texts(receiver: &Receiver, names: &[&str]) -> BTreeMap<String, Vec<String>> {
    let arrivals = receiver.arrivals();
    let text = |item: &Value| {
        let text = item["content"].as_str().or(item["error_type"].as_str());
        text.unwrap_or_default().to_owned()
    };
    let sorted = |name: &&str| {
        let mut texts: Vec<_> = accepted_items(&of(&arrivals, name)).iter().map(text).collect();
        texts.sort();
        ((*name).to_owned(), texts)
    };
    names.iter().map(sorted).collect()
}

#[tokio::test]
async fn filters_choose_by_model_tokens_and_severity() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let filtered = |name: &str, kind: &str, filter: &str| {
        let more = format!(", event_types: [{kind}], filters: {{{kind}: {{{filter}}}}}");
        webhook(name, &receiver, &more)
    };
    let cases: [(&str, &str, &str, &[&str]); 10] = [
        ("provider-name", "completion", "models: ['gpt-4*']", &["a b c", "fast"]),
        ("public-name", "completion", "models: ['s?ow']", &["slow"]),
        ("prefixed", "completion", "models: ['openai/*']", &["a b c", "fast", "slow"]),
        ("several", "completion", "models: [slow, gpt-4o-mini]", &["a b c", "fast", "slow"]),
        ("cased", "completion", "models: ['GPT-4*', 'gpt-4']", &[]),
        ("long", "completion", "min_tokens: 6", &["a b c"]),
        ("both", "completion", "min_tokens: 2, models: ['s*']", &["slow"]),
        ("warnings", "error", "severity: [warning]", &["bad_request"]),
        ("worse", "error", "severity: [error, critical]", &["authentication", "provider_error"]),
        // The filter of another type, from the section for all.
        ("rest", "error", "", &["authentication", "bad_request", "provider_error"]),
    ];
    let mut entries: Vec<_> =
        cases.iter().map(|(name, kind, filter, _)| filtered(name, kind, filter)).collect();
    entries.push(webhook("shared", &receiver, ""));
    let shared = "events:\n  subscribe: [completion, error]\n  filters:\n    \
                  completion: {models: [slow]}\n    error: {severity: [critical]}\n";
    let deployments = [
        deployment("fast", "openai/gpt-4o-mini", &upstream.openai_url(), ""),
        deployment("slow", "openai/o1", &upstream.openai_url(), ""),
    ];
    let config = format!("{}{}{shared}", models(&deployments), webhooks(&entries));
    let gateway = Gateway::start(BINARY, &config).await;
    let client = gateway.client();
    for (model, text) in [("fast", "fast"), ("fast", "a b c"), ("slow", "slow")] {
        assert_eq!(client.chat(model, text).await.code(), 200);
    }
    for status in [400, 401, 500] {
        upstream.push(Answer::error(status, "no"));
        assert_ne!(client.chat("fast", "failing").await.code(), 200);
    }
    gateway.terminate().await;
    let names: Vec<_> = cases.iter().map(|(name, ..)| *name).chain(["shared"]).collect();
    let seen = texts(&receiver, &names);
    for (name, _, _, expected) in cases {
        assert_eq!(seen[name], expected, "{name}");
    }
    assert_eq!(seen["shared"], ["authentication", "slow"]);
}

#[tokio::test]
async fn types_come_from_the_entry_else_from_the_subscription() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let url = receiver.url();
    let sections = format!(
        "  callbacks: [both, successes]
  success_callback: [wins]
  failure_callback: [losses]
callback_settings:
  both: {{callback_type: generic_api, endpoint: '{url}?both'}}
  successes: {{callback_type: generic_api, endpoint: '{url}?successes', \
             event_types: [llm_api_success]}}
  wins: {{callback_type: generic_api, endpoint: '{url}?wins'}}
  losses: {{callback_type: generic_api, endpoint: '{url}?losses'}}
  unnamed: {{callback_type: generic_api, endpoint: '{url}?unnamed'}}
{}events: {{subscribe: [error]}}\n",
        webhooks(&[
            webhook("subscribed", &receiver, ""),
            webhook("own", &receiver, ", event_types: [completion]"),
            webhook("off", &receiver, ", enabled: false, secret: '${IS_NOT_SET}'"),
        ]),
    );
    let gateway = start(&upstream, &sections).await;
    let client = gateway.client();
    assert_eq!(client.chat("echo", "fine").await.code(), 200);
    upstream.push(Answer::error(500, "no"));
    assert_ne!(client.chat("echo", "failing").await.code(), 200);
    gateway.terminate().await;
    let arrivals = receiver.arrivals();
    for (name, expected) in [
        ("both", "success failure"),
        ("successes", "success"),
        ("wins", "success"),
        ("losses", "failure"),
        ("unnamed", ""),
        ("subscribed", "error"),
        ("own", "completion"),
        ("off", ""),
    ] {
        let items = accepted_items(&of(&arrivals, name));
        let kind = |item: &Value| {
            item["event"].as_str().or(item["status"].as_str()).unwrap_or_default().to_owned()
        };
        let kinds: Vec<_> = items.iter().map(kind).collect();
        assert_eq!(kinds.join(" "), expected, "{name}");
    }
}

#[tokio::test]
async fn callbacks_take_filters_samples_and_secrets_beside_litellm_s_keys() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let settings = [
        ("all", ", secret: a plain secret"),
        ("sampled", ", sample_rate: 0"),
        ("filtered", ", filters: {completion: {models: [other]}}"),
        ("private", ", privacy: true"),
    ];
    let gateway = start(&upstream, &callbacks(&receiver, &settings)).await;
    let ids = calls(&gateway, 1).await;
    gateway.terminate().await;
    let arrivals = receiver.arrivals();
    for (name, count) in [("all", 1), ("sampled", 0), ("filtered", 0), ("private", 1)] {
        assert_eq!(told(&arrivals, name).len(), count, "{name}");
    }
    let all = of(&arrivals, "all").remove(0);
    assert!(all.header("x-webhook-signature").is_some_and(|value| value.starts_with("sha256=")));
    assert!(ids.contains(&request_id(&all.items()[0])));
    assert!(all.items()[0].to_string().contains("call 0"));
    assert!(!of(&arrivals, "private")[0].items()[0].to_string().contains("call 0"));
}

#[tokio::test]
async fn a_sample_is_the_same_calls_for_every_destination_and_whole_sessions() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let names = [("none", "0"), ("all", "1"), ("half", "0.5"), ("other", "0.5"), ("few", "0.1")];
    let entries: Vec<_> = names
        .iter()
        .map(|(name, rate)| webhook(name, &receiver, &format!(", sample_rate: {rate}")))
        .collect();
    let gateway = start(&upstream, &format!("{}{OUTCOMES}", webhooks(&entries))).await;
    let ids = calls(&gateway, 200).await;
    let mut sessions = Vec::new();
    for number in 0..12 {
        let mut of_session = BTreeSet::new();
        for _ in 0..4 {
            let mut body = chat_body("echo", "hi");
            body["session_id"] = json!(format!("session {number}"));
            let seen = gateway.client().post("/v1/chat/completions", &body).await;
            assert_eq!(seen.code(), 200);
            let id = seen.header("x-hookgate-request-id").expect("it is named");
            of_session.insert(id.to_owned());
        }
        sessions.push(of_session);
    }
    gateway.terminate().await;
    let arrivals = receiver.arrivals();
    let told: BTreeMap<_, BTreeSet<_>> =
        names.map(|(name, _)| (name, told(&arrivals, name).into_iter().collect())).into();
    let everything: BTreeSet<_> = ids.iter().chain(sessions.iter().flatten()).cloned().collect();
    assert_eq!(told["none"], BTreeSet::new());
    assert_eq!(told["all"], everything);
    assert_eq!(told["half"], told["other"]);
    assert!(told["few"].is_subset(&told["half"]), "a smaller sample is a part of a larger one");
    // 200 throws of a coin: fewer than 60 heads once in 10^8 runs.
    let half = told["half"].intersection(&ids).count();
    assert!((60..=140).contains(&half), "{half} of 200");
    for of_session in &sessions {
        let count = told["half"].intersection(of_session).count();
        assert!(count == 0 || count == of_session.len(), "a session is told whole or not at all");
    }
}

#[tokio::test]
async fn privacy_leaves_out_texts_for_one_destination_alone() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entries = [
        webhook("open", &receiver, ""),
        webhook("private", &receiver, ", privacy: true"),
        webhook("private-posts", &receiver, ", privacy: true, format: generic_api, batch_size: 1"),
    ];
    let gateway = start(&upstream, &format!("{}{OUTCOMES}", webhooks(&entries))).await;
    let seen = gateway.client().chat("echo", "canary one two").await;
    assert_eq!(seen.code(), 200);
    gateway.terminate().await;
    let arrivals = receiver.arrivals();
    for (name, is_open) in [("open", true), ("private", false), ("private-posts", false)] {
        let item = accepted_items(&of(&arrivals, name)).remove(0);
        assert_eq!(item.to_string().contains("canary"), is_open, "{name}: {item}");
        let tokens = if item["tokens_used"].is_null() { "total_tokens" } else { "tokens_used" };
        assert_eq!(item[tokens], 6, "{name} has the counts");
        assert_eq!(Some(request_id(&item).as_str()), seen.header("x-hookgate-request-id"));
    }
}

#[tokio::test]
async fn a_file_of_webhooks_alone_is_enough_beside_the_models() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let file = format!(
        "webhooks:\n  primary:\n    url: \"${{RECEIVER}}\"\n    secret: \"${{WEBHOOK_SECRET}}\"\n    \
         enabled: true\n{OUTCOMES}"
    );
    let config = models(&[deployment("echo", "openai/echo-1", &upstream.openai_url(), "")]);
    let setup = Setup::new(BINARY, &config).file("webhook_config.yaml", &file);
    let path = setup.directory().join("webhook_config.yaml");
    let gateway = setup
        .arg("--webhooks")
        .arg(path.to_str().expect("its name is text"))
        .env("RECEIVER", &format!("{}?primary", receiver.url()))
        .env("WEBHOOK_SECRET", "secret")
        .start()
        .await;
    let ids = calls(&gateway, 1).await;
    gateway.terminate().await;
    crate::delivery_world::expect_told_once(&receiver, "primary", &ids);
    assert!(receiver.arrivals()[0].header("x-webhook-signature").is_some());
}
