//! LiteLLM's captured calls as exchanges of ours.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use domain::{
    call::{Call, Caller, Endpoint, Logging},
    deployment::{DeploymentFacts, Dialect},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    failure::{Failure, FailureKind},
    record::{Entry, Record, Sequence},
    time::Timestamp,
};
use serde_json::{Value, json};

/// The folder of captures.
pub(crate) fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// A capture by its name.
pub(crate) fn capture(name: &str) -> Value {
    let path = folder().join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// One call of a capture, with what the gateway would have made of it where that is another thing
/// than what LiteLLM did.
pub(crate) fn entry_of(call: &Value, failure: Option<Failure>) -> Entry {
    let posts = call["posts"].as_array().unwrap();
    let post = posts.last().unwrap();
    let body = request_of(call, post);
    let failure = failure.or_else(|| failure_of(post));
    let stream = body["stream"] == true;
    let response = match &failure {
        Some(_) => String::new(),
        None => answer_of(call, post, stream),
    };
    let attempts = posts.iter().filter_map(|told| {
        Some(ProviderAttempt {
            headers: provider_headers(told),
            deployment: Arc::new(deployment_of(told)?),
            started_at: time(told, "/startTime"),
            finished_at: time(told, "/endTime"),
            status: None,
            failure: failure.clone(),
        })
    });
    let facts = Facts {
        call: Arc::new(call_of(call, post, &body)),
        attempts: attempts.collect(),
        first_byte_at: stream.then(|| time(post, "/completionStartTime")),
        finished_at: time(post, "/endTime"),
        response_is_stream: stream,
        retries: 0,
        fallbacks: 0,
        outcome: failure.map_or(Outcome::Completed, Outcome::Failed),
    };
    let exchange = Exchange {
        facts,
        request: Payload::whole(serde_json::to_vec(&body).unwrap().into()),
        response: Payload::whole(Bytes::from(response)),
    };
    let exchange = redacted(exchange);
    Entry { sequence: Sequence(1), record: Record::Sealed(Arc::new(exchange)) }
}

fn text<'a>(post: &'a Value, path: &str) -> &'a str {
    post.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn time(post: &Value, path: &str) -> Timestamp {
    let seconds = post.pointer(path).and_then(Value::as_f64).unwrap();
    Timestamp::from_nanos((seconds * 1e6).round() as i64 * 1_000)
}

/// What the client sent; told by the post where the capture has no request.
fn request_of(call: &Value, post: &Value) -> Value {
    if call["request"].is_object() {
        return call["request"]["body"].clone();
    }
    let mut body = post["model_parameters"].clone();
    body["model"] = post["model_group"].clone();
    body["messages"] = post["messages"].clone();
    body
}

fn call_of(call: &Value, post: &Value, body: &Value) -> Call {
    let headers = strings(&post["metadata"]["requester_metadata"]["headers"]);
    let is_redacted = headers.iter().any(|(name, _)| name == "x-litellm-enable-message-redaction");
    let path = text(post, "/metadata/user_api_key_request_route");
    if call["request"].is_object() {
        assert_eq!(call["request"]["path"], path);
    }
    Call {
        id: serde_json::from_value(post["litellm_call_id"].clone()).unwrap(),
        arrived_at: time(post, "/startTime"),
        endpoint: match path.trim_start_matches("/v1") {
            "/chat/completions" => Endpoint::ChatCompletions,
            "/embeddings" => Endpoint::Embeddings,
            other => panic!("no capture has {other}"),
        },
        path: path.into(),
        model: body["model"].as_str().unwrap().into(),
        stream: body["stream"] == true,
        caller: Caller::Master,
        client_ip: text(post, "/requester_ip_address").parse().ok(),
        end_user: body["user"].as_str().map(Into::into),
        tags: caller_tags(post),
        trace_id: body["metadata"]["trace_id"].as_str().map(Into::into),
        session_id: body["metadata"]["session_id"].as_str().map(Into::into),
        logging: match (body["no-log"] == true, is_redacted) {
            (true, _) => Logging::Off,
            (false, true) => Logging::Redacted,
            (false, false) => Logging::Full,
        },
        headers,
        ..domain::sample::call()
    }
}

/// As the gateway keeps a call whose texts must not be kept.
fn redacted(exchange: Exchange) -> Exchange {
    if exchange.facts.call.logging != Logging::Redacted {
        return exchange;
    }
    let mark = |bytes: &Bytes| {
        let mut json: Value = serde_json::from_slice(bytes).unwrap();
        if json.get("messages").is_some() {
            json["messages"] = json!([{"role": "user", "content": "redacted-by-litellm"}]);
        }
        if let Some(content) = json.pointer_mut("/choices/0/message/content") {
            *content = json!("redacted-by-litellm");
        }
        Payload::whole(serde_json::to_vec(&json).unwrap().into())
    };
    let (request, response) = (mark(&exchange.request.bytes), mark(&exchange.response.bytes));
    Exchange { request, response, ..exchange }
}

/// What failed, as the gateway would name it: by LiteLLM's class.
fn failure_of(post: &Value) -> Option<Failure> {
    if post["status"] == "success" {
        return None;
    }
    let code = text(post, "/error_information/error_code");
    let (kind, status) = match text(post, "/error_information/error_class") {
        "RateLimitError" => (FailureKind::RateLimit, 429),
        "BadRequestError" if text(post, "/error_str").contains("content_filter") => {
            (FailureKind::ContentFilter, 400)
        }
        "BadRequestError" => (FailureKind::BadRequest, 400),
        "Timeout" => (FailureKind::Timeout, 408),
        // Nobody answered: ours is a 502.
        "InternalServerError" => (FailureKind::Connection, 502),
        "ProxyModelNotFoundError" => (FailureKind::UnknownModel, 400),
        "MockException" => (FailureKind::StreamError, 529),
        other => panic!("no capture has {other}"),
    };
    // What a provider said, without what LiteLLM puts before it.
    let said = text(post, "/error_str");
    let own = match kind {
        FailureKind::UnknownModel => "unknown model `does-not-exist`",
        _ => said.split_once("OpenAIException - ").map_or(said, |(_, own)| own),
    };
    let is_own_code = code.parse::<u16>().is_err();
    Some(Failure {
        code: is_own_code.then(|| code.to_owned()),
        ..Failure::new(kind, status, own.to_owned())
    })
}

/// The answer's bytes as the provider would have sent them.
fn answer_of(call: &Value, post: &Value, stream: bool) -> String {
    let answered = call["response"]["body"].as_str().map(str::to_owned);
    let answered = answered.unwrap_or_else(|| post["response"].to_string());
    if stream { with_usage_chunk(&answered, post) } else { answered }
}

fn deployment_of(post: &Value) -> Option<DeploymentFacts> {
    let (provider, model) = post["model"].as_str().unwrap().split_once('/')?;
    let is_mock =
        post["api_base"] == "" && post["error_information"]["error_class"] != "InternalServerError";
    Some(DeploymentFacts {
        id: post["model_id"].as_str().unwrap().into(),
        model_name: post["model_group"].as_str().unwrap().into(),
        provider: provider.into(),
        model: model.into(),
        api_base: post["api_base"].as_str().unwrap().into(),
        dialect: if is_mock { Dialect::Mock } else { Dialect::OpenAi },
        prices: None,
    })
}

/// LiteLLM counts the tokens of a mocked stream by itself; a provider sends this chunk.
fn with_usage_chunk(stream: &str, post: &Value) -> String {
    if stream.contains("\"usage\"") {
        return stream.to_owned();
    }
    let usage = json!({
        "prompt_tokens": post["prompt_tokens"],
        "completion_tokens": post["completion_tokens"],
        "total_tokens": post["total_tokens"],
    });
    let chunk = json!({"id": post["id"], "choices": [], "usage": usage});
    stream.replace("data: [DONE]", &format!("data: {chunk}\n\ndata: [DONE]"))
}

/// The headers that the upstream sent, as far as LiteLLM tells of them.
fn provider_headers(post: &Value) -> Vec<(String, String)> {
    let told = strings(&post["hidden_params"]["additional_headers"]);
    let is_failure = post["status"] == "failure";
    let mut headers: Vec<_> = told
        .iter()
        .filter_map(|(name, value)| match name.strip_prefix("llm_provider-") {
            Some(name) => Some((name.to_owned(), value.clone())),
            None if name.starts_with("x_ratelimit_") && is_failure => {
                Some((name.replace('_', "-"), value.clone()))
            }
            None if is_failure => Some((name.clone(), value.clone())),
            None => None,
        })
        .collect();
    headers.sort();
    headers
}

fn caller_tags(post: &Value) -> Vec<String> {
    let tags = post["request_tags"].as_array().unwrap().iter().filter_map(Value::as_str);
    tags.filter(|tag| !tag.starts_with("User-Agent: ")).map(Into::into).collect()
}

fn strings(object: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), Into::into);
    let members = object.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), text(value))).collect()
}
