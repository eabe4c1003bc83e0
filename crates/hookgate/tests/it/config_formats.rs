//! Every format and what an entry may ask of it, from the file to the receiver's door.

use std::io::Read;

use serde_json::Value;
use testkit::{Gateway, Receiver, Upstream, gateway::Setup, receiver::Arrival};

use crate::{
    delivery_world::{calls, config, of, webhook, webhooks},
    support::BINARY,
    world::{deployment, models},
};

/// What came for each of `names` once two calls were made and the gateway ended.
async fn after_two_calls(entries: &[(&str, &str)]) -> Vec<Vec<Arrival>> {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let entries: Vec<_> =
        entries.iter().map(|(name, more)| (name, webhook(name, &receiver, more))).collect();
    let texts: Vec<_> = entries.iter().map(|(_, text)| text.clone()).collect();
    let gateway = Gateway::start(BINARY, &config(&upstream, &webhooks(&texts))).await;
    calls(&gateway, 2).await;
    let stopped = gateway.terminate().await;
    assert!(stopped.status.success(), "{:#?}", stopped.log());
    let arrivals = receiver.arrivals();
    entries.iter().map(|(name, _)| of(&arrivals, name)).collect()
}

fn unpacked(arrival: &Arrival) -> Value {
    assert_eq!(arrival.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&arrival.body[..])
        .read_to_string(&mut text)
        .expect("the body is what its header says");
    serde_json::from_str(&text).expect("the body is JSON")
}

#[tokio::test]
async fn every_format_arrives_as_its_options_say() {
    let found = after_two_calls(&[
        ("helicone", ", format: helicone, secret: abc, include_data: false"),
        ("cloud", ", format: cloudevents"),
        ("clouds", ", format: cloudevents, mode: batch, batch_size: 2, flush_interval: 60"),
        ("lines", ", format: generic_api, log_format: ndjson, batch_size: 2, flush_interval: 60"),
        ("alerts", ", format: litellm_alert"),
    ])
    .await;
    let [helicone, cloud, clouds, lines, alerts] = found.as_slice() else {
        panic!("as many as were asked for")
    };
    assert_eq!(helicone.len(), 2);
    for arrival in helicone {
        let payload = arrival.json();
        assert!(payload["request_body"].is_object() && payload.get("metadata").is_none());
        let signature = arrival.header("helicone-signature");
        assert!(signature.is_some_and(|text| text.len() == 64));
        assert_eq!(signature, arrival.header("x-helicone-signature"));
    }
    assert_eq!(cloud.len(), 2);
    assert!(cloud.iter().all(|arrival| arrival.json()["type"] == "ai.hookgate.completion"));
    assert_eq!(clouds.len(), 1);
    assert_eq!(clouds[0].json().as_array().map(Vec::len), Some(2));
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].items().len(), 2);
    assert_eq!(alerts.len(), 0, "no budget was reached");
}

#[tokio::test]
async fn bodies_are_packed_where_an_entry_asks_for_it() {
    let found = after_two_calls(&[
        ("one", ", compression: gzip, method: PUT"),
        ("many", ", format: generic_api, batch_size: 2, compression: gzip"),
    ])
    .await;
    assert_eq!(found[0].len(), 2);
    assert!(found[0].iter().all(|arrival| arrival.method == "PUT"));
    assert!(found[0].iter().all(|arrival| unpacked(arrival)["event"] == "completion"));
    assert_eq!(found[1].len(), 1);
    assert_eq!(unpacked(&found[1][0]).as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn rules_filters_and_samples_narrow_what_arrives() {
    let rule = |rule: &str| format!(", rules: {{groups: [{{rules: [{{{rule}}}]}}]}}");
    let found = after_two_calls(&[
        ("all", &rule("field: model, operator: contains, value: echo")),
        ("none", &rule("field: model, operator: equals, value: other")),
        ("one", &rule("field: input, operator: contains, value: call 1")),
        ("off", ", rules: {enabled: false, groups: [{rules: []}]}"),
        ("master", ", filters: {completion: {keys: [master]}}"),
        ("anonymous", ", filters: {completion: {end_users: ['*']}}"),
        ("sampled", ", sample_rate: 0"),
    ])
    .await;
    let counts: Vec<_> = found.iter().map(Vec::len).collect();
    assert_eq!(counts, [2, 0, 1, 2, 0, 0, 0]);
}

#[tokio::test]
async fn alerting_by_webhook_tells_of_litellm_s_budget_and_the_limit_holds() {
    let (upstream, receiver) = (Upstream::start().await, Receiver::start().await);
    let priced = ", input_cost_per_token: 0.001, output_cost_per_token: 0.001";
    let echo = deployment("echo", "openai/echo-1", &upstream.openai_url(), priced);
    let config = format!(
        "{}  max_budget: 0.001\n  budget_duration: 1d\ngeneral_settings: {{alerting: [webhook]}}\n\
         hookgate: {{ballast_bytes: 0}}\n",
        models(&[echo])
    );
    let gateway = Setup::new(BINARY, &config).env("WEBHOOK_URL", &receiver.url()).start().await;
    assert_eq!(gateway.client().chat("echo", "hi").await.code(), 200);
    let alerts = receiver.wait_for(4).await;
    let mut events: Vec<_> =
        alerts.iter().map(|alert| alert.json()["event"].as_str().map(str::to_owned)).collect();
    events.sort();
    let expected =
        ["budget_crossed", "soft_budget_crossed", "soft_budget_crossed", "threshold_crossed"];
    assert_eq!(events, expected.map(|event| Some(event.to_owned())));
    assert!(alerts.iter().all(|alert| alert.json()["event_group"] == "proxy"));
    let refused = gateway.client().chat("echo", "hi").await;
    assert_eq!(refused.code(), 422, "{}", refused.text());
    assert_eq!(refused.json()["error"]["type"], "budget_exceeded");
}

#[tokio::test]
async fn traces_arrive_one_by_one_or_gathered() {
    let found = after_two_calls(&[
        ("traces", ", format: otlp, compression: gzip, method: PUT"),
        ("batched", ", format: otlp, profile: genai, batch_size: 2, flush_interval: 60"),
    ])
    .await;
    let spans = |body: &Value| body["resourceSpans"].as_array().map_or(0, Vec::len);
    assert_eq!(found[0].len(), 2, "each request's trace at once");
    assert!(found[0].iter().all(|arrival| spans(&unpacked(arrival)) > 0));
    assert_eq!(found[1].len(), 1);
    assert!(spans(&found[1][0].json()) >= 2);
}
