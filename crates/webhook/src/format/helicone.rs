//! Helicone's webhook payload: one call a body.
//!
//! `Compat::Real` writes what Helicone's code sends, in its order, keys without a value left out.
//! What differs, and why:
//!
//! - `request_response_url` is left out: there is no bucket that it could point into.
//! - `metadata.cost` is left out where it is not known; Helicone says 0 then. So are token counts.
//! - A body over 1 MiB, or of which the journal kept only a part, is replaced by the text that
//!   Helicone's documentation has for bodies over 10 KiB; there it replaces text only, and bodies
//!   are none. `bodies: string` follows the documentation.
//! - A streamed answer is put together by the index of each choice; the choices have their `index`
//!   and `finish_reason` beside `delta` and `message`. Over the limit, `streamed_data` goes first.
//! - An answer that the gateway made, not a provider, is its error object; Helicone has `{}`.
//! - A call whose texts may not be told, or a destination that may not see any, gets bodies as
//!   `Helicone-Omit-Request` and `-Response` make them.
//!
//! `Compat::Document` writes what seed 004 shows instead: `request_id`, `model`, `created_at`,
//! `properties`, `request`, `response`.
//!
//! Invariant: a payload is what `JSON.stringify` makes of it once it was parsed. Helicone's own
//! samples check the signature over that.

mod body;
mod stream;

use bytes::Bytes;
use domain::{
    call::{Call, Logging},
    destination::{Compat, Destination, Helicone},
    event::{Detail, Event, Report},
    time::Timestamp,
};
use serde::Deserialize;

use super::{
    Item, Shape,
    json::{Json, Raw},
};
use crate::{
    javascript,
    matching::{answered_model, matches, properties, user_id},
};

/// The header that says which model's name to tell.
const MODEL_OVERRIDE: &str = "helicone-model-override";

/// The payload of an outcome, if the destination wants it.
pub(super) fn items(event: &Event, helicone: Helicone, destination: &Destination) -> Vec<Item> {
    // A piece of a stream, a limit and a note are nothing that Helicone tells of.
    let (Detail::Completion(report) | Detail::Error(report)) = &event.detail else {
        return Vec::new();
    };
    if !matches(event.kind(), event, destination) {
        return Vec::new();
    }
    let payload = Payload { report, helicone, privacy: destination.privacy };
    let bytes = match destination.compat {
        Compat::Real => payload.real(),
        Compat::Document => payload.document(),
    };
    vec![Item { id: event.id.clone(), sequence: event.sequence, bytes }]
}

/// One payload a body.
pub(super) fn shape() -> Shape {
    Shape::single("application/json")
}

/// One call as it is written for one destination.
struct Payload<'a> {
    report: &'a Report,
    helicone: Helicone,
    privacy: bool,
}

impl Payload<'_> {
    fn call(&self) -> &Call {
        &self.report.exchange.facts.call
    }

    fn real(&self) -> Bytes {
        let call = self.call();
        let mut json = self.begun();
        json.field("request_body", Raw(&self.request()));
        json.field("response_body", Raw(&self.response(true)));
        if let Some(user_id) = user_id(call) {
            json.field("user_id", user_id);
        }
        if self.helicone.include_data {
            let model = self.model();
            if !model.is_empty() {
                json.field("model", model.as_str());
            }
            if let Some(provider) = self.provider() {
                json.field("provider", provider);
            }
            if !model.is_empty() {
                self.metadata(&mut json);
            }
        }
        json.close();
        json.into_bytes().into()
    }

    fn document(&self) -> Bytes {
        let call = self.call();
        let mut json = self.begun();
        json.field("model", call.model.as_str());
        json.field("created_at", moment(call.arrived_at).as_str());
        json.field("properties", Raw(&self.properties()));
        if self.helicone.include_data {
            json.field("request", Raw(&self.request()));
            json.field("response", Raw(&self.response(false)));
        }
        json.close();
        json.into_bytes().into()
    }

    fn begun(&self) -> Json {
        let exchange = &self.report.exchange;
        let bodies = exchange.request.bytes.len() + exchange.response.bytes.len();
        let mut json = Json::with_capacity(bodies + 1_024);
        json.open();
        let call = self.call();
        match &call.own_id {
            Some(id) => json.field("request_id", id.as_str()),
            None => json.field("request_id", call.id.to_string().as_str()),
        }
        json
    }

    /// Whether texts are left out of both bodies.
    fn hides_texts(&self) -> bool {
        self.privacy || self.call().logging != Logging::Full
    }

    fn request(&self) -> String {
        let call = self.call();
        if call.omit_request || self.hides_texts() {
            return body::omitted(&call.model, self.helicone.bodies);
        }
        body::request(&self.report.exchange.request, self.helicone.bodies)
    }

    fn response(&self, as_stream: bool) -> String {
        if self.call().omit_response || self.hides_texts() {
            return body::omitted(&self.answered_model(), self.helicone.bodies);
        }
        body::response(self.report, self.helicone.bodies, as_stream)
    }

    /// The model that answered, or was asked last.
    fn answered_model(&self) -> String {
        let asked = || self.report.exchange.facts.attempts.last();
        answered_model(self.report)
            .or_else(|| asked().map(|attempt| attempt.deployment.model.clone()))
            .unwrap_or_else(|| self.call().model.clone())
    }

    /// The caller's override, else what the answer says, else what the request says.
    fn model(&self) -> String {
        let named = self.call().header(MODEL_OVERRIDE).filter(|model| !model.is_empty());
        match named {
            Some(model) => model.to_owned(),
            None => answered_model(self.report).unwrap_or_else(|| self.call().model.clone()),
        }
    }

    fn provider(&self) -> Option<&'static str> {
        let attempt = self.report.exchange.facts.attempts.last()?;
        Some(provider(&attempt.deployment.provider))
    }

    /// Cost in US dollars and tokens as Helicone counts them: the prompt without what came from or
    /// went to a cache and without audio, the answer without reasoning.
    fn metadata(&self, json: &mut Json) {
        let facts = &self.report.exchange.facts;
        let usage = self.report.usage.unwrap_or_default();
        let audio = self.report.usage_json.as_deref().map_or(0, audio_tokens);
        let prompt = usage.input_tokens.map(|all| {
            let cached =
                usage.cache_read_tokens.unwrap_or(0) + usage.cache_write_tokens.unwrap_or(0);
            all.saturating_sub(cached).saturating_sub(audio)
        });
        let completion = usage
            .output_tokens
            .map(|all| all.saturating_sub(usage.reasoning_tokens.unwrap_or_default()));
        let total = match (prompt, completion) {
            (None, None) => None,
            (prompt, completion) => Some(prompt.unwrap_or(0) + completion.unwrap_or(0)),
        };
        let latency = facts.finished_at.since(facts.call.arrived_at).as_millis();
        json.name("metadata");
        json.open();
        if let Some(cost) = self.report.cost {
            json.field("cost", Raw(&javascript::number(cost.total)));
        }
        let counts =
            [("promptTokens", prompt), ("completionTokens", completion), ("totalTokens", total)];
        for (name, count) in counts {
            if let Some(count) = count {
                // A provider may claim more than JavaScript can count.
                json.field(name, Raw(&javascript::number(count as f64)));
            }
        }
        json.field("latencyMs", u64::try_from(latency).unwrap_or(u64::MAX));
        json.close();
    }

    /// The caller's properties, with its user among them.
    fn properties(&self) -> String {
        let properties = properties(self.call());
        let mut json = Json::with_capacity(256);
        json.open();
        let named = properties.iter().any(|(name, _)| name == "user_id");
        if let Some(user_id) = user_id(self.call()).filter(|_| !named) {
            json.field("user_id", user_id);
        }
        for (name, value) in &properties {
            json.field_named(name, value.as_ref());
        }
        json.close();
        body::normalised(&json.into_bytes()).expect("an object of texts is JSON")
    }
}

fn audio_tokens(usage: &str) -> u64 {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Usage {
        prompt_tokens_details: Option<Details>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Details {
        audio_tokens: Option<u64>,
    }
    let usage: Usage = serde_json::from_str(usage).unwrap_or_default();
    usage.prompt_tokens_details.and_then(|details| details.audio_tokens).unwrap_or(0)
}

/// RFC 3339 in UTC, in whole seconds, as seed 004 shows it.
fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_second(at.as_secs())
        .map_or_else(|_| at.to_string(), |at| format!("{at:.0}"))
}

/// Helicone's name of a provider, by LiteLLM's prefix.
fn provider(prefix: &str) -> &'static str {
    match prefix {
        "openai" => "OPENAI",
        "anthropic" => "ANTHROPIC",
        "azure" => "AZURE",
        "gemini" => "GOOGLE",
        "groq" => "GROQ",
        "mistral" | "codestral" => "MISTRAL",
        "deepseek" => "DEEPSEEK",
        "together_ai" => "TOGETHER",
        "openrouter" => "OPENROUTER",
        "xai" => "X",
        "fireworks_ai" => "FIREWORKS",
        "perplexity" => "PERPLEXITY",
        "deepinfra" => "DEEPINFRA",
        "cerebras" => "CEREBRAS",
        "nvidia_nim" => "NVIDIA",
        "ollama" | "ollama_chat" | "lm_studio" | "llamafile" => "LOCAL",
        _ => "CUSTOM",
    }
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
