//! Several deployments, retries and fallbacks.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::{Answer, Upstream, client::Seen};

use crate::world::{World, deployment, models, openai_error};

fn counts(seen: &Seen) -> [Option<&str>; 2] {
    ["x-litellm-attempted-retries", "x-litellm-attempted-fallbacks"].map(|name| seen.header(name))
}

/// Two deployments of `echo` at one provider, so that its script says how the first attempt goes,
/// whichever is asked first.
fn twins(upstream: &Upstream, retries: u32) -> String {
    let twin = |model| deployment("echo", model, &upstream.openai_url(), ", timeout: 0.3");
    models(&[twin("openai/echo-1"), twin("openai/echo-2")])
        .replace("num_retries: 0", &format!("num_retries: {retries}"))
}

#[tokio::test]
async fn calls_spread_over_deployments_by_weight() {
    let others = [Upstream::start().await, Upstream::start().await];
    let world = World::build(|first| {
        models(&[
            deployment("echo", "openai/echo-1", &first.openai_url(), ", weight: 3"),
            deployment("echo", "openai/echo-2", &others[0].openai_url(), ", weight: 2"),
            deployment("echo", "openai/echo-3", &others[1].openai_url(), ", weight: 0"),
        ])
    })
    .await;
    let mut ids = BTreeSet::new();
    for _ in 0..60 {
        let seen = world.gateway.client().chat("echo", "hi").await;
        assert_eq!((seen.code(), counts(&seen)), (200, [Some("0"); 2]));
        ids.insert(seen.header("x-litellm-model-id").map(str::to_owned));
    }
    let asked = [&world.upstream, &others[0], &others[1]].map(|u| u.requests().len());
    assert!(asked[0] > 0 && asked[1] > 0, "{asked:?}");
    assert_eq!((asked[2], asked.iter().sum::<usize>(), ids.len()), (0, 60, 2));
    assert!(world.upstream.requests().iter().all(|request| request.json()["model"] == "echo-1"));
    world.end(60).await;
}

#[tokio::test]
async fn what_another_attempt_may_mend_is_tried_again_and_nothing_else_is() {
    let world = World::build(|upstream| twins(upstream, 2)).await;
    let garbage = "data: nonsense\n\n";
    let said = "data: {\"error\":{\"message\":\"too busy\",\"code\":503}}\n\n";
    let cases = [
        ("429", Answer::error(429, "slow down"), true),
        ("500", Answer::error(500, "oh no"), true),
        ("503", Answer::error(503, "busy"), true),
        ("time-out", Answer::stall(), true),
        ("no HTTP", Answer::garbage("SSH-2.0\r\n"), true),
        ("broken JSON", Answer::body(200, "application/json", "{"), true),
        ("cut", Answer::json(200, &json!({"id": "x"})).in_chunks_of(4).cut_after(1), true),
        ("garbage in a stream", Answer::sse([garbage]), true),
        ("error before a stream", Answer::sse([said]), true),
        // The other deployment may have a key that works, and know the model.
        ("401", Answer::error(401, "wrong key"), true),
        ("404", Answer::error(404, "no such model"), true),
        ("400", Answer::error(400, "bad request"), false),
        ("422", Answer::error(422, "bad field"), false),
    ];
    let calls = cases.len() * 2;
    for (case, answer, is_mended) in cases {
        for stream in [false, true] {
            let before = world.upstream.requests().len();
            world.upstream.push(answer.clone());
            let seen = world.ask("echo", "hi there", stream).await;
            let event = world.outcome(&seen).await;
            let asked = &world.upstream.requests()[before..];
            if is_mended {
                assert_eq!((seen.code(), counts(&seen)), (200, [Some("1"), Some("0")]), "{case}");
                assert_eq!(seen.content(), "hi there", "{case}: nothing of the first attempt");
                let told =
                    ["event", "content", "retries", "fallbacks"].map(|key| event[key].clone());
                assert_eq!(json!(told), json!(["completion", "hi there", 1, 0]), "{case}");
                let names: BTreeSet<_> =
                    asked.iter().map(|request| request.json()["model"].to_string()).collect();
                assert_eq!((asked.len(), names.len()), (2, 2), "{case}: each deployment once");
            } else {
                assert_eq!((seen.is_whole, counts(&seen)), (true, [Some("0"); 2]), "{case}");
                openai_error(&seen);
                assert_eq!((asked.len(), &event["error_type"]), (1, &json!("bad_request")));
            }
        }
    }
    world.end(calls).await;
}

#[tokio::test]
async fn when_every_attempt_failed_the_last_one_is_the_answer_and_all_are_told() {
    let world = World::build(|upstream| twins(upstream, 2)).await;
    world.upstream.push(Answer::error(500, "first"));
    world.upstream.push(Answer::error(429, "second"));
    world.upstream.push(Answer::error(503, "third"));
    let seen = world.gateway.client().chat("echo", "hi").await;
    assert_eq!((seen.code(), counts(&seen)), (503, [Some("2"), Some("0")]));
    assert_eq!(openai_error(&seen)["message"], "third");
    let event = world.outcome(&seen).await;
    assert_eq!(
        (&event["error_type"], &event["error_message"]),
        (&json!("provider_error"), &json!("third"))
    );
    let attempts = event["attempts"].as_array().cloned().unwrap_or_default();
    let told: Vec<_> = attempts.iter().map(|a| json!([a["status"], a["error_type"]])).collect();
    let wanted = json!([[500, "provider_error"], [429, "rate_limit"], [503, "provider_error"]]);
    assert_eq!(json!(told), wanted);
    world.call_works().await;
    world.end(2).await;
}

#[tokio::test]
async fn fallbacks_follow_the_model_that_failed_and_default_ones_any_other() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        let models = models(&[
            deployment("echo", "openai/echo-1", &base, ""),
            deployment("backup", "openai/backup-1", &base, ""),
            deployment("other", "openai/other-1", &base, ""),
            deployment("last", "openai/last-1", &base, ""),
        ]);
        format!("{models}  fallbacks: [{{echo: [backup, other]}}]\n  default_fallbacks: [last]\n")
    })
    .await;
    let failures = |count| (0..count).map(|n| Answer::error(500, &format!("failure {n}")));
    // The model that is asked for, how many attempts fail, and who is asked.
    let cases: [(&str, usize, &[&str]); 6] = [
        ("echo", 0, &["echo"]),
        ("echo", 1, &["echo", "backup"]),
        ("echo", 2, &["echo", "backup", "other"]),
        ("echo", 3, &["echo", "backup", "other"]),
        ("other", 1, &["other", "last"]),
        ("last", 1, &["last"]),
    ];
    let calls = cases.len();
    for (model, failed, asked) in cases {
        let before = world.upstream.requests().len();
        failures(failed).for_each(|answer| world.upstream.push(answer));
        let seen = world.gateway.client().chat(model, "hi").await;
        let names: Vec<_> = world.upstream.requests()[before..]
            .iter()
            .map(|request| request.json()["model"].as_str().unwrap_or_default().replace("-1", ""))
            .collect();
        assert_eq!(names, asked, "{model}, {failed}");
        let fallbacks = (asked.len() - 1).to_string();
        assert_eq!(counts(&seen), [Some("0"), Some(&*fallbacks)], "{model}, {failed}");
        let event = world.outcome(&seen).await;
        assert_eq!(event["model"], model, "the name that the caller used");
        if failed < asked.len() {
            assert_eq!(seen.code(), 200, "{}", seen.text());
            assert_eq!(seen.header("x-litellm-model-group"), asked.last().copied());
            let answered = format!("{}-1", asked[failed]);
            assert_eq!(
                (&event["event"], &event["provider_model"]),
                (&json!("completion"), &json!(answered))
            );
            assert_eq!(event["fallbacks"], asked.len() - 1);
        } else {
            assert_eq!(seen.code(), 500);
            let message = format!("failure {}", failed - 1);
            assert_eq!(openai_error(&seen)["message"], message);
            assert_eq!(
                (&event["event"], &event["error_message"]),
                (&json!("error"), &json!(message))
            );
            assert_eq!(event["attempts"].as_array().map(Vec::len), Some(asked.len()));
        }
    }
    // A name that nobody has is no failure that a fallback could mend.
    let seen = world.gateway.client().chat("ehco", "hi").await;
    assert_eq!((seen.code(), openai_error(&seen)["code"].clone()), (400, json!("unknown_model")));
    world.end(calls + 1).await;
}

#[tokio::test]
async fn an_alias_is_another_name_of_a_model() {
    let world = World::with("", "router_settings:\n  model_group_alias: {gpt-4: echo}\n").await;
    let seen = world.gateway.client().chat("gpt-4", "hi").await;
    assert_eq!((seen.code(), seen.content().as_str()), (200, "hi"), "{}", seen.text());
    assert_eq!(world.upstream.requests()[0].json()["model"], "echo-1");
    let event = world.outcome(&seen).await;
    assert_eq!((&event["model"], &event["event"]), (&json!("gpt-4"), &json!("completion")));
    world.end(1).await;
}

#[tokio::test]
async fn each_attempt_has_its_own_time() {
    let config = "router_settings: {timeout: 0.4}\n";
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        let own = deployment("own", "openai/own-1", &base, ", timeout: 0.2, stream_timeout: 0.1");
        models(&[deployment("echo", "openai/echo-1", &base, ""), own]) + config
    })
    .await;
    let cases = [
        ("echo", false, "no answer within 400ms"),
        ("echo", true, "no first token within 400ms"),
        ("own", false, "no answer within 200ms"),
        ("own", true, "no first token within 100ms"),
    ];
    for (number, (model, stream, message)) in cases.into_iter().enumerate() {
        world.upstream.push(Answer::stall());
        let seen = world.ask(model, "hi", stream).await;
        assert_eq!(seen.code(), 408, "{}", seen.text());
        let error = openai_error(&seen);
        assert!(error["message"].as_str().is_some_and(|text| text.contains(message)), "{error}");
        let event = world.outcome(&seen).await;
        assert_eq!((&event["error_type"], &event["content"]), (&json!("timeout"), &Value::Null));
        // The provider is not left computing for nobody.
        world.upstream.wait_for_caller_gone(number).await;
    }
    world.call_works().await;
    world.end(cases.len() + 1).await;
}

#[tokio::test]
async fn comments_before_the_first_event_begin_no_stream() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        models(&[
            deployment("slow", "openai/slow-1", &base, ", stream_timeout: 0.3"),
            deployment("echo", "openai/echo-1", &base, ""),
        ]) + "  fallbacks: [{slow: [echo]}]\n"
    })
    .await;
    let comment = ": still thinking\n\n";
    world.upstream.push(Answer::sse([comment, comment]).stall_after(2));
    let seen = world.gateway.client().chat_stream("slow", "two words").await;
    assert_eq!((seen.code(), seen.content().as_str()), (200, "two words"), "{}", seen.text());
    assert!(seen.is_whole && !seen.text().contains("thinking"), "{}", seen.text());
    let event = world.outcome(&seen).await;
    assert_eq!((&event["provider_model"], &event["fallbacks"]), (&"echo-1".into(), &1.into()));

    // Where events follow, they pass with them.
    let begin = "data: {\"choices\":[{\"delta\":{\"content\":\"at last\"}}]}\n\n";
    world.upstream.push(Answer::sse([comment, begin, "data: [DONE]\n\n"]));
    let seen = world.gateway.client().chat_stream("slow", "hi").await;
    assert_eq!(seen.text(), format!("{comment}{begin}data: [DONE]\n\n"));
    world.end(2).await;
}
