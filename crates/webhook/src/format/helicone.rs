//! Helicone's webhook payload (seed 004).

use bytes::Bytes;
use domain::{
    destination::{Destination, Helicone},
    event::Event,
};

use super::{
    Item, Shape,
    json::{Json, Raw},
};

/// The payload of an outcome, if the destination wants it.
pub(super) fn items(_event: &Event, _helicone: Helicone, _destination: &Destination) -> Vec<Item> {
    Vec::new()
}

/// One payload a body.
pub(super) fn shape() -> Shape {
    Shape::single("application/json")
}

/// The body of Helicone's test event, about a call of this id that never was: the fields, models
/// and numbers of the test that `POST /v1/webhooks/{id}/test` makes there. Both bodies are text.
pub fn test_payload(request_id: &str) -> Bytes {
    const MODEL: &str = "gpt-4o-2024-08-06";
    const REQUEST: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"Is anybody there? This is a test."}]}"#;
    const RESPONSE: &str = r#"{"id":"chatcmpl-test","object":"chat.completion","created":1700000000,"model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"Somebody is. This is the answer to a test of a webhook."},"finish_reason":"stop"}],"usage":{"prompt_tokens":13,"completion_tokens":17,"total_tokens":30}}"#;
    let mut json = Json::with_capacity(1_024);
    json.open();
    json.field("request_id", request_id);
    json.field("request_body", REQUEST);
    json.field("response_body", RESPONSE);
    let url = format!("https://example.com/requests/{request_id}/request_response_body");
    json.field("request_response_url", url.as_str());
    json.field("model", MODEL);
    json.field("provider", "OPENAI");
    let metadata = r#"{"cost":0.00020250000000000002,"promptTokens":13,"completionTokens":17,"totalTokens":30,"latencyMs":930}"#;
    json.field("metadata", Raw(metadata));
    json.close();
    json.into_bytes().into()
}
