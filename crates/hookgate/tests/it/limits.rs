//! Keys, and the limits of keys, deployments and the whole gateway.

use serde_json::{Value, json};
use testkit::{Answer, Client, Gate, Receiver, Upstream, client::Seen, gateway::Setup};

use crate::{
    support::BINARY,
    world::{World, deployment, models, openai_error},
};

const MASTER: &str = "sk-the-master-key";
const TEAM: &str = "sk-team-0123456789";

/// `echo` and `other`, with these `litellm_params` for the first (comma first), this entry of
/// `keys:` for the team, and `rate_limit` events.
async fn world(params: &str, key: &str, general: &str) -> World {
    World::build(|upstream| {
        let base = upstream.openai_url();
        let models = models(&[
            deployment("echo", "openai/echo-1", &base, params),
            deployment("other", "openai/other-1", &base, ""),
        ]);
        format!(
            "{models}general_settings: {{master_key: {MASTER}{general}}}
keys:
- {{name: team, key: {TEAM}{key}}}
"
        )
    })
    .await
}

fn team(world: &World) -> Client {
    world.gateway.client().with_key(TEAM)
}

/// What an answer at a limit says: the status, the type, the code, and after how many seconds to
/// come back.
fn refusal(seen: &Seen) -> (u16, Value, Value, u64) {
    let error = openai_error(seen);
    let retry = seen.header("retry-after").and_then(|value| value.parse().ok());
    (seen.code(), error["type"].clone(), error["code"].clone(), retry.unwrap_or_default())
}

fn assert_limited(seen: &Seen, retry: std::ops::RangeInclusive<u64>) {
    let (status, kind, code, after) = refusal(seen);
    assert_eq!((status, &kind, &code), (429, &json!("throttling_error"), &json!("429")));
    assert!(retry.contains(&after), "come back after {after} s: {}", seen.text());
}

#[tokio::test]
async fn a_named_key_lets_in_and_is_told_and_others_are_not() {
    let world = world("", "", "").await;
    let seen = team(&world).chat("echo", "hi").await;
    assert_eq!((seen.code(), seen.content().as_str()), (200, "hi"), "{}", seen.text());
    assert_eq!(world.outcome(&seen).await["key_name"], "team");
    assert_eq!(seen.header("x-ratelimit-limit-requests"), None, "it has no limit");
    let received = world.upstream.requests().pop().expect("it was asked");
    assert!(!format!("{:?}", received.headers).contains(TEAM));
    let seen = world.gateway.client().with_key("sk-team-0123456780").chat("echo", "hi").await;
    assert_eq!(seen.code(), 401);
    world.end(2).await;
}

#[tokio::test]
async fn a_key_may_use_its_models_only_and_sees_no_other() {
    let world = world("", ", models: [oth*]", "").await;
    let seen = team(&world).chat("other", "hi").await;
    assert_eq!(seen.code(), 200, "{}", seen.text());
    for model in ["echo", "nobody"] {
        let seen = team(&world).chat(model, "hi").await;
        assert_eq!(
            (seen.code(), openai_error(&seen)["type"].as_str()),
            (403, Some("key_model_access_denied"))
        );
        assert_eq!(world.outcome(&seen).await["error_type"], "model_denied");
    }
    let ids = |seen: Seen| -> Vec<Value> {
        let list = seen.json()["data"].as_array().cloned().unwrap_or_default();
        list.iter().map(|model| model["id"].clone()).collect()
    };
    assert_eq!(ids(team(&world).get("/v1/models").await), ["other"]);
    let master = world.gateway.client().with_key(MASTER);
    assert_eq!(ids(master.get("/v1/models").await), ["echo", "other"]);
    world.end(3).await;
}

#[tokio::test]
async fn a_key_s_requests_a_minute_are_counted_and_then_refused() {
    let world = world("", ", rpm: 2", "").await;
    for left in ["1", "0"] {
        world.upstream.push(Answer::echo().header("x-ratelimit-limit-requests", "9999"));
        let seen = team(&world).chat("echo", "hi").await;
        assert_eq!(seen.code(), 200, "{}", seen.text());
        let limits = ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"];
        assert_eq!(limits.map(|name| seen.header(name)), [Some("2"), Some(left)]);
    }
    let seen = team(&world).chat("echo", "hi").await;
    assert_limited(&seen, 1..=61);
    assert_eq!(seen.header("x-ratelimit-remaining-requests"), Some("0"));
    let event = world.outcome(&seen).await;
    assert_eq!((&event["error_type"], &event["model"]), (&json!("rate_limit"), &json!("echo")));
    // Others are not held up.
    assert_eq!(world.gateway.client().with_key(MASTER).chat("echo", "hi").await.code(), 200);
    assert_eq!(world.upstream.requests().len(), 3);
    world.end(4).await;
}

#[tokio::test]
async fn a_key_s_tokens_are_counted_by_what_the_provider_reports() {
    for stream in [false, true] {
        let world = world("", ", tpm: 5", "").await;
        // Two words asked, two answered.
        let ask = |text: &'static str| {
            let client = team(&world);
            async move {
                if stream {
                    client.chat_stream("echo", text).await
                } else {
                    client.chat("echo", text).await
                }
            }
        };
        let seen = ask("two words").await;
        assert_eq!((seen.code(), seen.header("x-ratelimit-limit-tokens")), (200, Some("5")));
        let event = world.outcome(&seen).await;
        assert_eq!(event["tokens_used"], 4, "{event}");
        assert_eq!(ask("two more").await.code(), 200, "one is left");
        let seen = ask("too many").await;
        assert_limited(&seen, 1..=61);
        assert_eq!(seen.header("x-ratelimit-remaining-tokens"), Some("0"));
        world.end(3).await;
    }
}

#[tokio::test]
async fn calls_at_once_are_bounded_for_a_key_and_for_all() {
    for (key, general) in
        [(", max_parallel_requests: 1", ""), ("", ", global_max_parallel_requests: 1")]
    {
        let world = world("", key, general).await;
        let gate = Gate::new();
        world.upstream.push(Answer::text("first answer").pause_after(1, &gate));
        let open = team(&world).open_stream("echo", "first").await.expect("it begins");
        assert_eq!(open.status, 200);
        let seen = team(&world).chat("echo", "second").await;
        assert_limited(&seen, 1..=1);
        let master = world.gateway.client().with_key(MASTER).chat("echo", "hi").await;
        assert_eq!(master.code() == 200, general.is_empty(), "{}", master.text());
        gate.open();
        assert!(open.finish().await.is_whole);
        assert_eq!(team(&world).chat("echo", "third").await.code(), 200);
        world.end(4).await;
    }
}

#[tokio::test]
async fn a_deployment_at_its_limit_is_passed_over_until_none_is_left() {
    let world = World::build(|upstream| {
        let base = upstream.openai_url();
        models(&[
            deployment("echo", "openai/first", &base, ", rpm: 1"),
            deployment("echo", "openai/second", &base, ", max_parallel_requests: 1"),
            deployment("spare", "openai/third", &base, ", rpm: 1"),
        ]) + "  fallbacks: [{echo: [spare]}]\n"
    })
    .await;
    let gate = Gate::new();
    // Both of its name get one each, in either order; one of them keeps its place.
    let mut models = Vec::new();
    world.upstream.set_default(Answer::text("held").pause_after(1, &gate));
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(world.gateway.client().open_stream("echo", "hi").await.expect("it begins"));
        let received = world.upstream.requests().pop().expect("it was asked");
        models.push(received.json()["model"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(models[2], "third", "the fallback, once both are at their limits: {models:?}");
    models.sort();
    assert_eq!(models, ["first", "second", "third"]);
    let seen = world.gateway.client().chat("echo", "hi").await;
    assert_limited(&seen, 1..=61);
    let event = world.outcome(&seen).await;
    assert_eq!(
        (&event["error_type"], &event["attempts"]),
        (&json!("rate_limit"), &json!([])),
        "{event}"
    );
    gate.open();
    for open in open {
        assert!(open.finish().await.is_whole);
    }
    world.end(4).await;
}

#[tokio::test]
async fn what_is_refused_at_a_limit_is_told_as_a_rate_limit_too() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    upstream.push(Answer::error(429, "slow down").header("x-ratelimit-limit-requests", "60"));
    let events = crate::support::events(&receiver);
    let events = events.replace("[completion, error]", "[error, rate_limit]");
    let config = format!(
        "{}general_settings: {{master_key: {MASTER}}}
keys:
- {{name: team, key: {TEAM}, rpm: 1}}
{events}",
        crate::support::model(&upstream)
    );
    let gateway = Setup::new(BINARY, &config).start().await;
    let team = gateway.client().with_key(TEAM);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let seen = team.chat("echo", "hi").await;
        assert_eq!(seen.code(), 429, "{}", seen.text());
        ids.push(seen.header("x-hookgate-request-id").map(str::to_owned).expect("it is named"));
    }
    let [of_provider, of_key] = &ids[..] else { panic!("two calls were made") };
    let told = |items: &[Value], id: &str| -> Vec<Value> {
        let kinds = ["event", "scope", "limit_type", "limit"];
        let mine = items.iter().filter(|item| item["request_id"] == id);
        mine.map(|item| kinds.iter().map(|kind| item[kind].clone()).collect()).collect()
    };
    receiver
        .wait_until("four events", |seen| testkit::receiver::accepted_items(seen).len() >= 4)
        .await;
    let items = receiver.items();
    let expected = [
        (of_provider, json!(["rate_limit", "provider", "provider", 60])),
        (of_key, json!(["rate_limit", "key", "rpm", 1])),
    ];
    for (id, limit) in expected {
        let told = told(&items, id);
        assert!(told.contains(&limit) && told.len() == 2, "{told:?}");
        assert!(told.iter().any(|event| event[0] == "error"), "{told:?}");
    }
    assert!(gateway.terminate().await.status.success());
}
