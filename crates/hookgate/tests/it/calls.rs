//! A call goes through, and its webhook arrives.

use serde_json::json;
use testkit::Answer;

use crate::support::all;

#[tokio::test]
async fn a_plain_call_passes_unchanged_and_arrives_as_a_completion() {
    let (upstream, receiver, gateway) = all().await;
    let body = json!({
        "model": "echo",
        "messages": [{"role": "user", "content": "héllo \u{1F600}"}],
        "temperature": 0.25,
        "some_new_parameter": {"kept": [1.0, null]},
    });
    let seen = gateway.client().post("/v1/chat/completions", &body).await;
    assert_eq!(seen.code(), 200, "{}", seen.text());
    assert_eq!(seen.content(), "héllo \u{1F600}");
    let mut wanted = body.clone();
    wanted["model"] = json!("echo-1");
    let requests = upstream.requests();
    assert_eq!(requests[0].json(), wanted);
    assert_eq!(requests[0].header("authorization"), Some("Bearer sk-upstream"));

    let arrivals = receiver.wait_for(1).await;
    let event = arrivals[0].json();
    assert_eq!(event["event"], "completion");
    assert_eq!(event["content"], "héllo \u{1F600}");
    assert_eq!(event["request_id"].as_str(), seen.header("x-hookgate-request-id"));
}

#[tokio::test]
async fn the_provider_s_answer_reaches_the_caller_byte_for_byte() {
    let (upstream, _receiver, gateway) = all().await;
    let odd = "{ \"id\" : \"x\",\n \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\
               \"content\":\"hi\",\"extra\":1e2}}],\"unknown\":{\"a\":[]} }";
    upstream.push(Answer::body(200, "application/json", odd));
    let seen = gateway.client().chat("echo", "hi").await;
    assert_eq!(seen.text(), odd);
}
