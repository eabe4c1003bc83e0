//! What callers ask of the routing of a call of their own, and which models a configuration serves:
//! wildcards, orders, fallbacks by kind.

use serde_json::{Value, json};
use testkit::{Answer, Client, client::Seen};

use crate::world::{World, deployment, models, openai_error};

fn body(model: &str, wishes: &Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    let members = wishes.as_object().expect("wishes are an object").clone();
    body.as_object_mut().expect("it is an object").extend(members);
    body
}

async fn chat(client: &Client, model: &str, wishes: &Value) -> Seen {
    client.post("/v1/chat/completions", &body(model, wishes)).await
}

/// Who was asked since there were so many requests, by the provider's names.
fn asked_since(world: &World, before: usize) -> Vec<String> {
    let requests = world.upstream.requests();
    let name =
        |asked: &testkit::upstream::Received| asked.json()["model"].as_str().map(str::to_owned);
    requests[before..].iter().filter_map(name).collect()
}

fn too_long() -> Answer {
    let error = json!({"message": "too long", "type": "invalid_request_error", "param": "messages",
        "code": "context_length_exceeded"});
    Answer::json(400, &json!({"error": error}))
}

fn refused() -> Answer {
    let error = json!({"message": "rejected", "type": "invalid_request_error", "param": null,
        "code": "content_policy_violation"});
    Answer::json(400, &json!({"error": error}))
}

#[tokio::test]
async fn a_caller_says_how_often_and_where_its_call_is_tried_again() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        models(&[
            deployment("echo", "openai/echo-1", &base, ""),
            deployment("stubborn", "openai/stubborn-1", &base, ", num_retries: 1"),
            deployment("backup", "openai/backup-1", &base, ""),
        ]) + "  fallbacks: [{echo: [backup]}]\n"
    })
    .await;
    // The model, a header, the body's wishes, and who is asked, of whom the first fails.
    let cases: [(&str, Option<&str>, Value, &[&str]); 11] = [
        ("echo", None, json!({}), &["echo-1", "backup-1"]),
        ("echo", None, json!({"num_retries": 1}), &["echo-1", "echo-1"]),
        ("echo", Some("1"), json!({"num_retries": 0}), &["echo-1", "echo-1"]),
        ("stubborn", None, json!({}), &["stubborn-1", "stubborn-1"]),
        ("stubborn", None, json!({"num_retries": 0}), &["stubborn-1"]),
        ("echo", None, json!({"disable_fallbacks": true}), &["echo-1"]),
        ("echo", None, json!({"fallbacks": []}), &["echo-1"]),
        ("backup", None, json!({"fallbacks": ["echo"]}), &["backup-1", "echo-1"]),
        ("backup", None, json!({"fallbacks": [{"model": "echo"}]}), &["backup-1", "echo-1"]),
        ("backup", None, json!({"fallbacks": [{"backup": ["echo"]}]}), &["backup-1", "echo-1"]),
        // As in the file, what nothing has is passed over.
        ("backup", None, json!({"fallbacks": ["ehco", "echo"]}), &["backup-1", "echo-1"]),
    ];
    for (model, header, wishes, asked) in &cases {
        let before = world.upstream.requests().len();
        world.upstream.push(Answer::error(500, "oh no"));
        let mut client = world.gateway.client();
        if let Some(retries) = header {
            client = client.with_header("x-litellm-num-retries", retries);
        }
        let seen = chat(&client, model, wishes).await;
        assert_eq!(asked_since(&world, before), *asked, "{model} {wishes}");
        let status = if asked.len() > 1 { 200 } else { 500 };
        assert_eq!(seen.code(), status, "{model} {wishes}: {}", seen.text());
        let received = world.upstream.requests().pop().expect("it was asked");
        assert_eq!(received.json(), body(asked.last().expect("one was"), &json!({})), "{wishes}");
        assert_eq!(received.header("x-litellm-num-retries"), None);
    }
    world.end(cases.len()).await;
}

#[tokio::test]
async fn a_caller_says_how_long_it_waits() {
    let world = World::with(", timeout: 60", "").await;
    let cases = [
        (None, json!({"timeout": 0.2}), "no answer within 200ms"),
        (None, json!({"request_timeout": 0.2}), "no answer within 200ms"),
        (Some(("x-litellm-timeout", "0.1")), json!({"timeout": 60}), "no answer within 100ms"),
        (None, json!({"stream": true, "timeout": 0.2}), "no first token within 200ms"),
        (
            None,
            json!({"stream": true, "timeout": 60, "stream_timeout": 0.1}),
            "no first token within 100ms",
        ),
        (
            Some(("x-litellm-stream-timeout", "0.1")),
            json!({"stream": true}),
            "no first token within 100ms",
        ),
    ];
    for (header, wishes, message) in &cases {
        world.upstream.push(Answer::stall());
        let mut client = world.gateway.client();
        if let Some((name, value)) = header {
            client = client.with_header(name, value);
        }
        let seen = chat(&client, "echo", wishes).await;
        assert_eq!(seen.code(), 408, "{wishes}: {}", seen.text());
        let error = openai_error(&seen);
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{error}");
        let received = world.upstream.requests().pop().expect("it was asked");
        for field in ["timeout", "request_timeout", "stream_timeout"] {
            assert_eq!(received.json().get(field), None, "{wishes}");
        }
    }
    world.end(cases.len()).await;
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_refused_by_its_name() {
    let world = World::new().await;
    let cases = [
        (json!({"num_retries": "many"}), "`num_retries` must be a number"),
        (json!({"timeout": -1}), "`timeout` must be a number of seconds"),
        (json!({"fallbacks": "backup"}), "`fallbacks` must be a list of model names"),
    ];
    for (wishes, message) in &cases {
        let seen = chat(&world.gateway.client(), "echo", wishes).await;
        assert_eq!(seen.code(), 400, "{wishes}: {}", seen.text());
        let error = openai_error(&seen);
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{error}");
    }
    assert_eq!(world.upstream.requests().len(), 0);
    world.end(cases.len()).await;
}

#[tokio::test]
async fn a_key_s_own_fallbacks_lead_to_no_model_that_it_may_not_use() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        let models = models(&[
            deployment("echo", "openai/echo-1", &base, ""),
            deployment("dear", "openai/dear-1", &base, ""),
        ]);
        let keys = "keys: [{name: team, key: sk-team-0123456789, models: [echo]}]\n";
        format!("{models}general_settings: {{master_key: sk-the-master-key}}\n{keys}")
    })
    .await;
    let team = world.gateway.client().with_key("sk-team-0123456789");
    let seen = chat(&team, "echo", &json!({"fallbacks": ["dear"]})).await;
    assert_eq!(seen.code(), 403, "{}", seen.text());
    let message = openai_error(&seen)["message"].clone();
    assert_eq!(message, "key `team` may not use model `dear`; it may use: echo");
    assert_eq!(world.upstream.requests().len(), 0);
    world.end(1).await;
}

#[tokio::test]
async fn a_failure_that_has_fallbacks_of_its_own_goes_there() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        models(&[
            deployment("small", "openai/small-1", &base, ", order: 1"),
            deployment("small", "openai/small-2", &base, ", order: 2"),
            deployment("large", "openai/large-1", &base, ""),
            deployment("lenient", "openai/lenient-1", &base, ""),
            deployment("other", "openai/other-1", &base, ""),
        ]) + "  fallbacks: [{small: [other]}]
  context_window_fallbacks: [{small: [large]}]
  content_policy_fallbacks: [{small: [lenient]}]
"
    })
    .await;
    let oh_no = || Answer::error(500, "oh no");
    let cases: [(Answer, Value, &[&str]); 5] = [
        (oh_no(), json!({}), &["small-1", "small-2"]),
        // Another deployment of the same model would refuse it too.
        (too_long(), json!({}), &["small-1", "large-1"]),
        (refused(), json!({}), &["small-1", "lenient-1"]),
        (
            too_long(),
            json!({"context_window_fallbacks": [{"small": ["other"]}]}),
            &["small-1", "other-1"],
        ),
        (refused(), json!({"disable_fallbacks": true}), &["small-1"]),
    ];
    for (answer, wishes, asked) in &cases {
        let before = world.upstream.requests().len();
        world.upstream.push(answer.clone());
        let seen = chat(&world.gateway.client(), "small", wishes).await;
        assert_eq!(asked_since(&world, before), *asked, "{wishes}");
        assert_eq!(seen.code(), if asked.len() > 1 { 200 } else { 400 }, "{}", seen.text());
    }
    world.end(cases.len()).await;
}

#[tokio::test]
async fn deployments_are_asked_in_their_order() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        models(&[
            deployment("echo", "openai/last", &base, ""),
            deployment("echo", "openai/second", &base, ", order: 2"),
            deployment("echo", "openai/first", &base, ", order: 1, weight: 0"),
        ])
    })
    .await;
    for failed in 0..3 {
        let before = world.upstream.requests().len();
        (0..failed).for_each(|_| world.upstream.push(Answer::error(500, "oh no")));
        let seen = chat(&world.gateway.client(), "echo", &json!({})).await;
        assert_eq!(seen.code(), 200, "{}", seen.text());
        assert_eq!(asked_since(&world, before), ["first", "second", "last"][..=failed]);
    }
    world.end(3).await;
}

#[tokio::test]
async fn a_deployment_fills_in_what_its_callers_leave_out() {
    let world = World::build(|upstream| {
        let own = ", temperature: 0.2, max_tokens: 7, extra_body: {top_k: 3, stop: null}";
        models(&[
            deployment("echo", "openai/echo-1", &upstream.openai_url(), own),
            deployment("claude", "anthropic/claude-1", &upstream.url(), ", max_tokens: 7"),
        ])
    })
    .await;
    let filled = json!({"temperature": 0.2, "max_tokens": 7, "top_k": 3, "stop": null});
    for (wishes, expected) in [
        (json!({}), filled),
        (
            json!({"temperature": 1, "max_completion_tokens": 5, "stop": "x"}),
            json!({"temperature": 1, "max_completion_tokens": 5, "stop": "x", "top_k": 3}),
        ),
    ] {
        let seen = chat(&world.gateway.client(), "echo", &wishes).await;
        assert_eq!(seen.code(), 200, "{}", seen.text());
        let received = world.upstream.requests().pop().expect("it was asked");
        assert_eq!(received.json(), body("echo-1", &expected));
    }
    // A translated request has them too.
    chat(&world.gateway.client(), "claude", &json!({})).await;
    let received = world.upstream.requests().pop().expect("it was asked");
    assert_eq!(received.json()["max_tokens"], 7);
    world.end(3).await;
}

#[tokio::test]
async fn a_wildcard_serves_every_model_of_its_kind() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        let models = models(&[
            deployment("'acme/*'", "'openai/*'", &base, ", rpm: 3, organization: org-1"),
            deployment("'acme/gpt-*'", "'openai/great-*'", &base, ""),
            deployment("acme/gpt-4o", "openai/exact", &base, ""),
            deployment("'claude-*'", "openai/instead", &base, ""),
        ]);
        let keys = "keys: [{name: team, key: sk-team-0123456789, models: ['acme/gpt-*']}]\n";
        format!("{models}general_settings: {{master_key: sk-the-master-key}}\n{keys}")
    })
    .await;
    let master = || world.gateway.client().with_key("sk-the-master-key");
    for (model, asked) in [
        ("acme/a/b", "a/b"),
        ("acme/gpt-4o", "exact"),
        ("acme/gpt-4o-mini", "great-4o-mini"),
        ("claude-haiku", "instead"),
    ] {
        let seen = master().chat(model, "hi").await;
        assert_eq!((seen.code(), seen.header("x-litellm-model-group")), (200, Some(model)));
        let received = world.upstream.requests().pop().expect("it was asked");
        assert_eq!(received.json()["model"], asked);
        let event = world.outcome(&seen).await;
        assert_eq!((&event["model"], &event["provider_model"]), (&json!(model), &json!(asked)));
        let organization = if model == "acme/a/b" { Some("org-1") } else { None };
        assert_eq!(received.header("openai-organization"), organization);
    }
    // Its limits are one for all the models that it stands for.
    for (model, status) in [("acme/b", 200), ("acme/c", 200), ("acme/d", 429)] {
        assert_eq!(master().chat(model, "hi").await.code(), status, "{model}");
    }
    let team = world.gateway.client().with_key("sk-team-0123456789");
    assert_eq!(team.chat("acme/gpt-5", "hi").await.code(), 200);
    assert_eq!(team.chat("acme/x", "hi").await.code(), 403);
    for (model, status) in [("acme/gpt-5", 200), ("acme/gpt-4o", 200), ("acme/x", 404)] {
        let seen = team.get(&format!("/v1/models/{model}")).await;
        assert_eq!(seen.code(), status, "{model}: {}", seen.text());
    }
    let seen = master().chat("gpt-4o", "hi").await;
    assert_eq!((seen.code(), openai_error(&seen)["code"].clone()), (400, json!("unknown_model")));
    world.end(10).await;
}

#[tokio::test]
async fn one_entry_serves_the_models_of_every_provider_whose_key_is_there() {
    let world = World::build(|upstream| {
        let models = models(&[deployment("echo", "openai/echo-1", &upstream.openai_url(), "")]);
        let all = "\n- {model_name: '*', litellm_params: {model: '*'}}\n";
        let models = models.replace("\nlitellm_settings", &format!("{all}litellm_settings"));
        format!("environment_variables: {{OPENAI_API_KEY: sk-openai-0001}}\n{models}")
    })
    .await;
    for (model, status) in [
        ("echo", 200),
        ("gpt-4o", 200),
        ("openai/gpt-4o", 200),
        ("o3-mini", 200),
        ("text-embedding-3-small", 200),
        // Its key is not there.
        ("anthropic/claude-haiku", 404),
        ("unheard-of", 404),
    ] {
        let seen = world.gateway.client().get(&format!("/v1/models/{model}")).await;
        assert_eq!(seen.code(), status, "{model}: {}", seen.text());
    }
    world.end(0).await;
}

#[tokio::test]
async fn a_model_is_told_by_its_name() {
    let world = World::with("", "router_settings:\n  model_group_alias: {gpt/4: echo}\n").await;
    for path in ["/v1/models/echo", "/models/echo", "/v1/models/gpt/4", "/v1/models/gpt%2F4"] {
        let seen = world.gateway.client().get(path).await;
        assert_eq!((seen.code(), seen.header("content-type")), (200, Some("application/json")));
        let model = seen.json();
        let id = if path.ends_with("echo") { "echo" } else { "gpt/4" };
        assert_eq!((&model["id"], &model["object"]), (&json!(id), &json!("model")), "{path}");
        assert!(model["created"].is_number() && model["owned_by"].is_string(), "{model}");
    }
    let seen = world.gateway.client().get("/v1/models/ehco").await;
    let error = openai_error(&seen);
    assert_eq!((seen.code(), &error["code"]), (404, &json!("model_not_found")), "{error}");
    assert_eq!(error["type"], "invalid_request_error");
    world.end(0).await;
}
