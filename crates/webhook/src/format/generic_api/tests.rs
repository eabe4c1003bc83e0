//! Rules of single fields, from LiteLLM's list of them; whole payloads stand in `tests/golden`.

use std::sync::Arc;

use domain::{
    call::{Call, Caller, Endpoint, Logging},
    deployment::Dialect,
    destination::{Destination, Format},
    event::{Detail, Event, Report},
    exchange::{Exchange, Facts, Outcome, Payload, ProviderAttempt},
    failure::{Failure, FailureKind, LimitKind, LimitReached},
    id::EventId,
    record::Sequence,
    sample,
};
use serde_json::{Value, json};

use super::*;

fn call(endpoint: Endpoint) -> Call {
    Call { endpoint, ..sample::call() }
}

fn report(facts: Facts, request: &Value, response: Option<&Value>) -> Report {
    let request = Payload::whole(request.to_string().into());
    let exchange = Exchange { facts, request, response: Payload::default() };
    Report {
        exchange: Arc::new(exchange),
        response: response.map(|json| json.to_string().into()),
        ..sample::report(sample::facts(sample::call()))
    }
}

fn posts_to(report: Report, destination: &Destination) -> Vec<(String, Value)> {
    let facts = &report.exchange.facts;
    let kind = match facts.outcome {
        Outcome::Completed => EventType::Completion,
        Outcome::Failed(_) => EventType::Error,
    };
    let id = EventId::of_outcome(facts.call.id, kind);
    let report = Arc::new(report);
    let detail = match kind {
        EventType::Completion => Detail::Completion(report),
        _ => Detail::Error(report),
    };
    let event = Event { id, sequence: Sequence(1), occurred_at: sample::NOW, detail };
    let items = items(&event, destination);
    let read =
        |item: Item| (item.id.as_str().to_owned(), serde_json::from_slice(&item.bytes).unwrap());
    items.into_iter().map(read).collect()
}

fn destination() -> Destination {
    Destination { format: Format::GenericApi(LogFormat::JsonArray), ..sample::destination() }
}

/// The only post of a report.
fn post(report: Report) -> Value {
    let mut posts = posts_to(report, &destination());
    assert_eq!(posts.len(), 1);
    posts.remove(0).1
}

fn failed(call: Call, failure: Failure, attempts: Vec<ProviderAttempt>) -> Facts {
    Facts { attempts, outcome: Outcome::Failed(failure), ..sample::facts(call) }
}

#[test]
fn the_trace_is_the_first_that_litellm_would_find() {
    let body = json!({
        "litellm_session_id": "a session", "litellm_trace_id": "a trace",
        "metadata": {"session_id": 7, "trace_id": "its trace"},
    });
    let without = |keys: &[&str]| {
        let mut body = body.clone();
        for key in keys {
            *body.pointer_mut(key).unwrap() = Value::Null;
        }
        body
    };
    let header = |name: &str| vec![(name.to_owned(), format!("by {name}"))];
    let (trace, session) = ("x-litellm-trace-id", "x-litellm-session-id");
    let both = [header(session), header(trace)].concat();
    let ids = ["/litellm_session_id", "/litellm_trace_id"];
    let all = [&ids[..], &["/metadata/session_id", "/metadata/trace_id"]].concat();
    for (headers, body, expected) in [
        (both, body.clone(), "by x-litellm-trace-id"),
        (header(session), body.clone(), "by x-litellm-session-id"),
        (vec![], body.clone(), "a session"),
        (vec![], without(&ids[..1]), "a trace"),
        (vec![], without(&ids), "7"),
        (vec![], without(&all[..3]), "its trace"),
        (vec![], without(&all), "another system's"),
    ] {
        let session_id = Some("another system's".to_owned());
        let call = Call { headers, session_id, ..sample::call() };
        assert_eq!(post(report(sample::facts(call), &body, None))["trace_id"], expected);
    }
    let own = post(report(sample::facts(sample::call()), &json!({}), None));
    assert_eq!(own["trace_id"], own["litellm_call_id"]);
}

#[test]
fn what_was_asked_is_told_as_messages() {
    let user = |content: Value| json!({"role": "user", "content": content});
    let turns = json!([{"role": "user", "content": "hi"}]);
    for (endpoint, body, expected) in [
        (Endpoint::ChatCompletions, json!({"messages": turns}), turns.clone()),
        (Endpoint::ChatCompletions, json!({"prompt": "hi"}), Value::Null),
        (Endpoint::TextCompletions, json!({"prompt": "a\"b"}), json!([user(json!("a\"b"))])),
        (
            Endpoint::TextCompletions,
            json!({"prompt": ["a", "b"]}),
            json!([user(json!("a")), user(json!("b"))]),
        ),
        (Endpoint::Embeddings, json!({"input": "a"}), json!([user(json!("a"))])),
        (Endpoint::Embeddings, json!({"input": [1, 2]}), json!([1, 2])),
        (Endpoint::Embeddings, json!({"input": []}), json!([])),
        (Endpoint::Responses, json!({"input": "a"}), json!([user(json!("a"))])),
        (Endpoint::Responses, json!({"input": turns}), turns.clone()),
        (Endpoint::Messages, json!({"messages": turns}), turns.clone()),
        (
            Endpoint::Messages,
            json!({"messages": turns, "system": "be brief"}),
            json!([{"role": "system", "content": "be brief"}, turns[0]]),
        ),
        (
            Endpoint::Messages,
            json!({"messages": [], "system": "be brief"}),
            json!([{"role": "system", "content": "be brief"}]),
        ),
        (Endpoint::Messages, json!({"messages": turns, "system": [{}]}), turns.clone()),
    ] {
        let facts = sample::facts(call(endpoint));
        assert_eq!(post(report(facts, &body, None))["messages"], expected, "{body}");
    }
}

#[test]
fn parameters_are_those_that_the_api_knows() {
    let body = json!({
        "model": "m", "messages": [], "prompt": "p", "input": "i", "system": "s", "user": "u",
        "metadata": {}, "api_key": "k", "extra_headers": {}, "made_up": 1,
        "temperature": 0.5, "suffix": "s", "dimensions": 3, "instructions": "x", "top_k": 4,
        "reasoning_effort": "low", "stream_options": {"x": 1},
    });
    let chat = json!({"temperature": 0.5, "user": "u", "reasoning_effort": "low"});
    let text = json!({"temperature": 0.5, "user": "u", "suffix": "s"});
    let responses = json!({"temperature": 0.5, "user": "u", "instructions": "x",
        "stream_options": {"x": 1}});
    let asked = json!({"x": 1, "include_usage": true});
    let with = |parameters: &Value, stream: Value, options: &Value| {
        let mut parameters = parameters.clone();
        parameters["stream"] = stream;
        if options.is_object() {
            parameters["stream_options"] = options.clone();
        }
        parameters
    };
    let mut text_alone = text.clone();
    text_alone["stream_options"] = json!({"x": 1});
    for (endpoint, stream, expected) in [
        (Endpoint::ChatCompletions, false, with(&chat, json!(false), &Value::Null)),
        (Endpoint::ChatCompletions, true, with(&chat, json!(true), &asked)),
        (Endpoint::TextCompletions, false, text_alone),
        (Endpoint::TextCompletions, true, with(&text, json!(true), &asked)),
        (Endpoint::Embeddings, false, json!({"dimensions": 3, "user": "u"})),
        (Endpoint::Responses, true, with(&responses, json!(true), &Value::Null)),
        (Endpoint::Messages, true, json!({"temperature": 0.5, "top_k": 4, "stream": true})),
    ] {
        let mut body = body.clone();
        if stream {
            body["stream"] = json!(true);
        }
        let facts = sample::facts(Call { stream, ..call(endpoint) });
        let told = &post(report(facts, &body, None))["model_parameters"];
        assert_eq!(told, &expected, "{endpoint:?}, {stream}");
    }
}

#[test]
fn a_call_that_went_nowhere_shows_its_parameters_as_they_were_sent() {
    let failure = Failure::new(FailureKind::UnknownModel, 400, "no such model".into());
    let body = json!({"model": "m", "messages": [], "temperature": 1, "user": "u"});
    let told = post(report(failed(sample::call(), failure, vec![]), &body, None));
    assert_eq!(told["model_parameters"], json!({"temperature": 1}));
    assert_eq!(
        told["model_map_information"],
        json!({"model_map_key": "", "model_map_value": null})
    );
    assert_eq!((&told["model"], &told["model_id"]), (&json!("smart"), &json!("")));
}

#[test]
fn each_api_has_its_call_type_and_two_are_told_apart() {
    let answer = json!({"id": "its-own", "model": "gpt-4o"});
    let told_of = |endpoint, dialect, request: &Value| {
        let mut facts = sample::facts(call(endpoint));
        for attempt in &mut facts.attempts {
            Arc::make_mut(&mut attempt.deployment).dialect = dialect;
        }
        let response_id = Some("its-own".to_owned());
        post(Report { response_id, ..report(facts, request, Some(&answer)) })
    };
    let own = json!({"metadata": {"user_id": "u"}});
    for (endpoint, call_type, provider, is_apart) in [
        (Endpoint::ChatCompletions, "acompletion", "openai", false),
        (Endpoint::TextCompletions, "atext_completion", "text-completion-openai", false),
        (Endpoint::Embeddings, "aembedding", "openai", false),
        (Endpoint::Responses, "aresponses", "openai", true),
        (Endpoint::Messages, "anthropic_messages", "openai", true),
    ] {
        let told = told_of(endpoint, Dialect::OpenAi, &own);
        assert_eq!(told["call_type"], call_type);
        assert_eq!(told["custom_llm_provider"], provider, "{call_type}");
        let metadata = &told["metadata"]["requester_metadata"];
        assert_eq!(metadata == &own["metadata"], is_apart, "{call_type}: nothing is added");
        let without = told_of(endpoint, Dialect::OpenAi, &json!({}));
        let metadata = &without["metadata"]["requester_metadata"];
        assert_eq!(metadata.is_null(), is_apart, "{call_type}");
        let is_routed = endpoint != Endpoint::Messages;
        for key in ["model_id", "api_base", "litellm_model_name"] {
            assert_eq!(told["hidden_params"][key].is_string(), is_routed, "{call_type}: {key}");
        }
        let mocked = told_of(endpoint, Dialect::Mock, &own);
        assert_eq!(mocked["custom_llm_provider"].is_null(), is_apart, "{call_type}");
        assert_eq!(told["response"]["model"], "smart", "{call_type}");
        let own_id = if endpoint == Endpoint::Embeddings {
            &told["litellm_call_id"]
        } else {
            &json!("its-own")
        };
        assert_eq!(&told["id"], own_id, "{call_type}");
    }
}

#[test]
fn usage_has_the_names_of_chat_and_embeddings_complete_nothing() {
    let answered = |endpoint, usage: Value| {
        let response = json!({"usage": {"input_tokens": 1}});
        let report = report(sample::facts(call(endpoint)), &json!({}), Some(&response));
        let told = post(Report { usage_json: Some(usage.to_string()), ..report });
        (told["response"]["usage"].clone(), told["metadata"]["usage_object"].clone())
    };
    let nulls = json!({"completion_tokens_details": null, "prompt_tokens_details": null});
    let merged = |mut usage: Value| {
        usage.as_object_mut().unwrap().extend(nulls.as_object().unwrap().clone());
        usage
    };
    let chats = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3});
    let expected = merged(chats.clone());
    assert_eq!(answered(Endpoint::Responses, chats), (expected.clone(), expected));
    let (_, told) = answered(Endpoint::Embeddings, json!({"prompt_tokens": 1, "total_tokens": 1}));
    assert_eq!(
        told,
        merged(json!({"prompt_tokens": 1, "total_tokens": 1, "completion_tokens": 0}))
    );
}

#[test]
fn anthropics_messages_are_told_as_a_chat_completion() {
    let message = json!({"id": "msg_1", "type": "message", "content": [], "model": "claude"});
    let calls =
        json!([{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    let told = post(Report {
        response_id: Some("msg_1".into()),
        text: Some("Hello".into()),
        reasoning: Some("Hm".into()),
        tool_calls: Some(calls.to_string()),
        finish_reason: Some("tool_calls".into()),
        ..report(sample::facts(call(Endpoint::Messages)), &json!({}), Some(&message))
    });
    let message = json!({"role": "assistant", "content": "Hello", "tool_calls": calls,
        "function_call": null, "reasoning_content": "Hm",
        "provider_specific_fields": {"citations": null, "thinking_blocks": null}});
    let choice = json!({"finish_reason": "tool_calls", "index": 0, "message": message});
    let expected = json!({"id": "msg_1", "created": sample::NOW.as_secs(), "model": "smart",
        "object": "chat.completion", "choices": [choice]});
    assert_eq!(told["response"], expected);
}

#[test]
fn thoughts_are_told_with_their_signatures() {
    let thought = json!({"type": "thinking", "thinking": "Hm", "signature": "s"});
    let message = json!({"content": [thought, {"type": "text", "text": "Hello"}]});
    let told = |logging| {
        let call = Call { logging, ..call(Endpoint::Messages) };
        let told = post(report(sample::facts(call), &json!({}), Some(&message)));
        told["response"]["choices"][0]["message"]["thinking_blocks"].clone()
    };
    assert_eq!(told(Logging::Full), json!([thought]));
    assert_eq!(told(Logging::Redacted), Value::Null);
}

#[test]
fn what_was_redacted_has_litellms_shape() {
    let mark = json!("redacted-by-litellm");
    let redacted = |endpoint, body: &Value, answer: &Value| {
        let call = Call { logging: Logging::Redacted, ..call(endpoint) };
        post(report(sample::facts(call), body, Some(answer)))
    };
    let one = json!([{"role": "user", "content": mark}]);
    let body = json!({"system": mark, "messages": one});
    assert_eq!(redacted(Endpoint::Messages, &body, &json!({}))["messages"], one);
    let vectors = json!({"data": [{"index": 0, "embedding": []}], "object": "list"});
    let told = redacted(Endpoint::Embeddings, &json!({"input": mark}), &vectors);
    assert_eq!(told["response"], json!({"data": [], "object": "list"}));
    let answer = json!({"id": "r", "reasoning": {"effort": "low", "summary": null}});
    let told = redacted(Endpoint::Responses, &json!({"input": mark}), &answer);
    assert_eq!(told["response"], json!({"id": "r", "reasoning": null}));
}

#[test]
fn a_limit_of_our_own_says_whose_it_is_and_of_what() {
    let limited = |kind, scope: &str, limit: LimitKind, call: Call, attempts| {
        let (scope, matched) = (scope.into(), "spender".into());
        let reached = LimitReached { scope, matched, kind: limit, limit: 10.0, remaining: -0.5 };
        let failure =
            Failure { limit: Some(reached.into()), ..Failure::new(kind, 429, "no".into()) };
        let told = post(report(failed(call, failure, attempts), &json!({}), None));
        let information = told["error_information"].as_object().unwrap();
        let names = [
            "rate_limit_category",
            "rate_limit_type",
            "budget_entity_type",
            "budget_entity_id",
            "budget_limit",
            "budget_spend",
        ];
        let known = names.map(|name| information[&format!("error_{name}")].clone());
        Value::Array(known.to_vec())
    };
    let ours = "litellm_rate_limit";
    for (kind, expected) in [
        (LimitKind::Rpm, "requests"),
        (LimitKind::Tpm, "tokens"),
        (LimitKind::Parallel, "concurrent_requests"),
    ] {
        let told = limited(FailureKind::RateLimit, "key", kind, sample::call(), vec![]);
        assert_eq!(told, json!([ours, expected, null, null, null, null]));
    }
    let after = vec![sample::attempt()];
    let told = limited(FailureKind::RateLimit, "deployment", LimitKind::Rpm, sample::call(), after);
    assert_eq!(told[0], ours, "whatever was tried before");

    let named = Caller::Key { name: "alice".into(), hash: "abc".into() };
    let caller = Call {
        caller: named,
        tags: vec!["t".into()],
        end_user: Some("u".into()),
        ..sample::call()
    };
    for (scope, entity, id) in [
        ("gateway", "proxy", Value::Null),
        ("key", "key", json!("abc")),
        ("end_user", "end_user", json!("spender")),
        ("tag", "tag", json!("spender")),
    ] {
        let budget = LimitKind::Budget;
        let told = limited(FailureKind::BudgetExceeded, scope, budget, caller.clone(), vec![]);
        assert_eq!(told, json!([ours, "budget", entity, id, 10.0, 10.5]));
    }
}

#[test]
fn a_providers_limit_is_the_vendors() {
    let failure = Failure::new(FailureKind::RateLimit, 429, "slow down".into());
    let told =
        post(report(failed(sample::call(), failure, vec![sample::attempt()]), &json!({}), None));
    let information = &told["error_information"];
    assert_eq!(information["error_rate_limit_category"], "vendor_rate_limit");
    assert_eq!(information["error_rate_limit_type"], Value::Null);
}

/// As LiteLLM 1.109.1 tells of the same answers of a provider.
#[test]
fn a_provider_s_error_is_told_in_litellm_s_words_and_codes() {
    use FailureKind::{
        Authentication, BadRequest, Connection, ContentFilter, ContextWindowExceeded, NotFound,
        ProviderError, StreamCut, Timeout,
    };
    let cases = [
        (
            Authentication,
            401,
            "litellm.AuthenticationError: AuthenticationError: OpenAIException - no",
            "401_AUTHENTICATION_FAILED",
        ),
        (BadRequest, 400, "litellm.BadRequestError: OpenAIException - no", "400_INVALID_REQUEST"),
        (
            ContextWindowExceeded,
            400,
            "litellm.ContextWindowExceededError: litellm.BadRequestError: \
             ContextWindowExceededError: OpenAIException - no",
            "400_CONTEXT_WINDOW_EXCEEDED",
        ),
        (
            ContentFilter,
            400,
            "litellm.BadRequestError: litellm.ContentPolicyViolationError: \
             ContentPolicyViolationError: OpenAIException - no",
            "400_CONTENT_POLICY_VIOLATION",
        ),
        (
            NotFound,
            404,
            "litellm.NotFoundError: NotFoundError: OpenAIException - no",
            "404_RESOURCE_NOT_FOUND",
        ),
        (Timeout, 408, "litellm.Timeout: no", "408_UPSTREAM_TIMEOUT"),
        (
            ProviderError,
            500,
            "litellm.InternalServerError: InternalServerError: OpenAIException - no",
            "500_PROVIDER_INTERNAL_ERROR",
        ),
        (
            ProviderError,
            503,
            "litellm.ServiceUnavailableError: ServiceUnavailableError: OpenAIException - no",
            "503_PROVIDER_OVERLOADED",
        ),
        (
            Connection,
            502,
            "litellm.InternalServerError: InternalServerError: OpenAIException - no",
            "500_PROVIDER_CONNECTION_ERROR",
        ),
        (StreamCut, 502, "litellm.APIError: no", "500_PROVIDER_CONNECTION_ERROR"),
    ];
    for (kind, status, message, code) in cases {
        let information = error_of(kind, status, "no", sample::attempt());
        assert_eq!(information["error_message"], message);
        assert_eq!(information["normalized_error"], code, "{message}");
    }
}

/// What is told of the error of a call that was tried once.
fn error_of(kind: FailureKind, status: u16, text: &str, attempt: ProviderAttempt) -> Value {
    let failure = Failure::new(kind, status, text.to_owned());
    let told = post(report(failed(sample::call(), failure, vec![attempt]), &json!({}), None));
    assert_eq!(told["error_str"], told["error_information"]["error_message"]);
    told["error_information"].clone()
}

#[test]
fn words_of_an_error_count_more_than_its_class() {
    for (text, code) in [
        ("The model is currently overloaded", "503_PROVIDER_OVERLOADED"),
        ("the prompt is too long: 9 tokens", "400_CONTEXT_WINDOW_EXCEEDED"),
        ("Missing required parameter: 'model'", "400_MISSING_REQUIRED_PARAMETER"),
        ("it timed out", "408_UPSTREAM_TIMEOUT"),
    ] {
        let information = error_of(FailureKind::BadRequest, 400, text, sample::attempt());
        assert_eq!(information["normalized_error"], code, "{text}");
    }
    let mut attempt = sample::attempt();
    let deployment = Arc::make_mut(&mut attempt.deployment);
    (deployment.provider, deployment.dialect) = ("anthropic".into(), Dialect::Anthropic);
    let information = error_of(FailureKind::ProviderError, 529, "Overloaded", attempt);
    assert_eq!(
        json!([information["error_code"], information["error_message"]]),
        json!(["500", "litellm.InternalServerError: AnthropicException - Overloaded"])
    );
    assert_eq!(information["normalized_error"], "503_PROVIDER_OVERLOADED");
}

#[test]
fn what_a_provider_did_not_count_apart_is_null() {
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details": null});
    let told = |endpoint, stream| {
        let facts = sample::facts(Call { stream, ..call(endpoint) });
        let response = json!({"choices": [{"index": 0, "text": "so"}], "usage": usage});
        let report = report(facts, &json!({}), Some(&response));
        post(Report { usage_json: Some(usage.to_string()), ..report })
    };
    let nulls = json!({"cached_tokens": 1, "audio_tokens": null, "text_tokens": null,
        "image_tokens": null, "video_tokens": null, "initial_prompt_tokens": null});
    for (endpoint, stream, is_whole) in [
        (Endpoint::ChatCompletions, false, false),
        (Endpoint::ChatCompletions, true, true),
        (Endpoint::TextCompletions, true, true),
        (Endpoint::Responses, false, true),
    ] {
        let told = told(endpoint, stream);
        let object = &told["metadata"]["usage_object"];
        assert_eq!(object["prompt_tokens_details"], nulls);
        assert_eq!(object["completion_tokens_details"], Value::Null);
        let details = &told["response"]["usage"]["prompt_tokens_details"];
        assert_eq!(details == &nulls, is_whole, "{endpoint:?}, {stream}: {details}");
    }
}

#[test]
fn anthropic_s_usage_is_told_by_what_its_cache_did() {
    let told = |usage: Value, reasoning: Option<&str>| {
        let mut facts = sample::facts(call(Endpoint::Messages));
        for attempt in &mut facts.attempts {
            Arc::make_mut(&mut attempt.deployment).dialect = Dialect::Anthropic;
        }
        let report = report(facts, &json!({}), Some(&json!({})));
        let reasoning = reasoning.map(Into::into);
        let told = post(Report { usage_json: Some(usage.to_string()), reasoning, ..report });
        let usage = told["metadata"]["usage_object"].clone();
        assert_eq!(told["response"]["usage"], usage);
        usage
    };
    let usage = json!({"prompt_tokens": 325, "completion_tokens": 60, "total_tokens": 385,
        "cache_creation_input_tokens": 100, "cache_read_input_tokens": 200,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0}});
    let cached = told(usage, Some("hm"));
    let details = json!({"audio_tokens": null, "cache_write_tokens": 100, "cached_tokens": 200,
        "text_tokens": 25, "image_tokens": null, "video_tokens": null, "initial_prompt_tokens": null,
        "cache_creation_tokens": 100, "cache_creation_token_details": {
            "ephemeral_5m_input_tokens": 100, "ephemeral_30m_input_tokens": null,
            "ephemeral_1h_input_tokens": 0, "ephemeral_12h_input_tokens": null}});
    assert_eq!(cached["prompt_tokens_details"], details);
    let details = &cached["completion_tokens_details"];
    assert_eq!(json!([details["reasoning_tokens"], details["text_tokens"]]), json!([null, null]));

    let plain = told(json!({"prompt_tokens": 12, "completion_tokens": 9}), None);
    let details = &plain["prompt_tokens_details"];
    let counts = ["cache_write_tokens", "cached_tokens", "text_tokens", "cache_creation_tokens"];
    assert_eq!(json!(counts.map(|name| &details[name])), json!([0, 0, 12, 0]));
    let details = &plain["completion_tokens_details"];
    assert_eq!(json!([details["reasoning_tokens"], details["text_tokens"]]), json!([0, 9]));
    assert_eq!(plain["cache_read_input_tokens"], 0);
    assert_eq!((plain.get("speed"), plain.as_object().unwrap().len()), (Some(&Value::Null), 10));
}

#[test]
fn what_anthropic_alone_says_has_a_room_of_its_own() {
    let block = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
    let message = json!({"role": "assistant", "content": "so", "thinking_blocks": [block]});
    let chat = json!({"choices": [{"index": 0, "message": message}]});
    let native = json!({"content": [block, {"type": "text", "text": "so"}]});
    let told = |endpoint, answer: &Value, logging| {
        let mut facts = sample::facts(Call { logging, ..call(endpoint) });
        for attempt in &mut facts.attempts {
            Arc::make_mut(&mut attempt.deployment).dialect = Dialect::Anthropic;
        }
        let told = post(report(facts, &json!({}), Some(answer)));
        told["response"]["choices"][0]["message"]["provider_specific_fields"].clone()
    };
    for (endpoint, answer) in [(Endpoint::ChatCompletions, &chat), (Endpoint::Messages, &native)] {
        let room = |blocks: Value| json!({"citations": null, "thinking_blocks": blocks});
        assert_eq!(told(endpoint, answer, Logging::Full), room(json!([block])));
        assert_eq!(told(endpoint, answer, Logging::Redacted), room(Value::Null));
    }
}

#[test]
fn headers_name_session_and_trace_in_the_callers_metadata_too() {
    let told = |headers: &[(&str, &str)], metadata: Value| {
        let headers = headers.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned()));
        let call = Call { headers: headers.collect(), tags: vec!["t".into()], ..sample::call() };
        let told = post(report(sample::facts(call), &json!({"metadata": metadata}), None));
        let told = &told["metadata"]["requester_metadata"];
        json!(["trace_id", "session_id", "tags"].map(|name| told.get(name)))
    };
    let own = json!({"trace_id": "a", "session_id": "b", "tags": ["x"]});
    let (session, trace) = (("x-litellm-session-id", "s"), ("x-litellm-trace-id", "t"));
    for (headers, metadata, expected) in [
        (&[session][..], json!({}), json!(["s", "s", null])),
        (&[session, trace], own.clone(), json!(["t", "t", ["x"]])),
        (&[("x-litellm-tags", "t")], own.clone(), json!(["a", "b", ["t"]])),
        (&[("x-litellm-tags", "t")], json!({}), json!([null, null, null])),
        (&[], own.clone(), json!(["a", "b", ["x"]])),
    ] {
        assert_eq!(told(headers, metadata), expected, "{headers:?}");
    }
}

#[test]
fn a_stream_of_text_is_told_as_chat_with_its_text_beside() {
    let response = json!({"object": "text_completion",
        "choices": [{"index": 0, "text": "so", "finish_reason": "stop"}]});
    let told = |stream| {
        let facts = sample::facts(Call { stream, ..call(Endpoint::TextCompletions) });
        post(report(facts, &json!({"prompt": "and"}), Some(&response)))["response"].clone()
    };
    assert_eq!(told(false), response);
    let message =
        json!({"content": "so", "role": "assistant", "tool_calls": null, "function_call": null});
    let choice = json!({"index": 0, "text": "so", "message": message, "finish_reason": "stop"});
    assert_eq!(
        told(true),
        json!({"object": "chat.completion", "choices": [choice], "system_fingerprint": null})
    );
}

#[test]
fn codes_are_litellms_where_our_caller_got_another() {
    for (kind, status, code, class) in [
        (FailureKind::Connection, 502, "500", "InternalServerError"),
        (FailureKind::BadResponse, 502, "500", "APIError"),
        (FailureKind::StreamCut, 502, "500", "APIError"),
        (FailureKind::Timeout, 504, "408", "Timeout"),
        (FailureKind::ProviderError, 503, "503", "ServiceUnavailableError"),
        (FailureKind::BudgetExceeded, 422, "422", "BudgetExceededError"),
        (FailureKind::Unauthorized, 401, "401", "ProxyException"),
    ] {
        let failure = Failure::new(kind, status, "no".into());
        let told = post(report(failed(sample::call(), failure, vec![]), &json!({}), None));
        let information = &told["error_information"];
        assert_eq!(information["error_code"], code);
        assert_eq!(information["error_class"], class);
    }
}

#[test]
fn of_a_refused_caller_nothing_is_told_but_what_it_asked_for() {
    let failure = Failure::new(FailureKind::Unauthorized, 401, "wrong key".into());
    let refused = Call {
        caller: Caller::Refused,
        client_ip: Some([10, 0, 0, 1].into()),
        headers: vec![("user-agent".into(), "spy/1".into())],
        ..sample::call()
    };
    let body = json!({"messages": [], "metadata": {"team": "x"}});
    let told = post(report(failed(refused, failure, vec![]), &body, None));
    for path in ["", "/metadata"] {
        assert_eq!(told.pointer(&format!("{path}/requester_ip_address")), Some(&Value::Null));
        assert_eq!(told.pointer(&format!("{path}/user_agent")), Some(&Value::Null));
    }
    assert_eq!(told["metadata"]["requester_metadata"], Value::Null);
    assert_eq!(told["metadata"]["user_api_key_hash"], Value::Null);
    assert_eq!(told["request_tags"], json!([]));
    assert_eq!((&told["messages"], &told["model"]), (&json!([]), &json!("smart")));
}

#[test]
fn attempts_on_a_model_are_one_post_but_each_broken_stream_is_its_own() {
    use FailureKind::{RateLimit, StreamCut, StreamError, Timeout};
    let attempt = |(model, kind): (&str, Option<FailureKind>)| ProviderAttempt {
        deployment: Arc::new(domain::deployment::DeploymentFacts {
            model_name: model.into(),
            ..sample::deployment()
        }),
        failure: kind.map(|kind| Failure::new(kind, 500, "no".into())),
        ..sample::attempt()
    };
    let kinds = |attempts: &[(&str, Option<FailureKind>)]| -> Vec<String> {
        let attempts: Vec<_> = attempts.iter().copied().map(attempt).collect();
        let last = attempts.last().unwrap().failure.clone();
        let outcome = last.map_or(Outcome::Completed, Outcome::Failed);
        let facts = Facts { attempts, outcome, ..sample::facts(sample::call()) };
        let posts = posts_to(report(facts, &json!({}), None), &destination());
        posts.iter().map(|(id, _)| id[36..].to_owned()).collect()
    };
    let (limited, cut) = (Some(RateLimit), Some(StreamCut));
    assert_eq!(kinds(&[("a", limited), ("a", Some(Timeout)), ("a", limited)]), ["_error"]);
    assert_eq!(kinds(&[("a", limited), ("a", limited), ("a", None)]), ["_error_1", "_completion"]);
    assert_eq!(
        kinds(&[("a", limited), ("a", limited), ("b", limited), ("b", limited)]),
        ["_error_1", "_error"]
    );
    assert_eq!(
        kinds(&[("a", Some(StreamError)), ("a", cut), ("a", cut)]),
        ["_error_1", "_error_2", "_error"]
    );
    assert_eq!(
        kinds(&[("a", limited), ("a", limited), ("a", cut), ("a", None)]),
        ["_error_1", "_error_2", "_completion"]
    );
}

#[test]
fn without_texts_no_api_tells_any() {
    let secret = json!("SECRET");
    let item = json!({"id": "i", "type": "message", "role": "assistant",
        "content": [{"type": "output_text", "text": secret}], "summary": [{"text": secret}],
        "name": "f", "arguments": secret, "encrypted_content": secret});
    let message = json!({"role": "assistant", "content": secret, "refusal": secret,
        "reasoning_content": secret, "thinking_blocks": [{"thinking": secret}],
        "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": secret}}],
        "function_call": {"name": "f", "arguments": secret}, "audio": {"transcript": secret}});
    let answers = [
        (Endpoint::ChatCompletions, json!({"choices": [{"index": 0, "message": message}]})),
        (
            Endpoint::TextCompletions,
            json!({"choices": [{"index": 0, "text": secret, "logprobs": {"tokens": [secret]}}]}),
        ),
        (Endpoint::Embeddings, json!({"data": [{"embedding": ["SECRET"]}]})),
        (
            Endpoint::Responses,
            json!({"id": "r", "output": [item], "instructions": secret, "output_text": secret,
                "reasoning": {"summary": secret}, "tools": [{"description": secret}],
                "metadata": {"k": secret}, "text": {"format": secret}}),
        ),
        (Endpoint::Messages, json!({"content": [{"type": "text", "text": secret}]})),
    ];
    let body = json!({"messages": [{"content": secret}], "prompt": secret, "input": [secret],
        "system": secret, "instructions": secret, "tools": [{"description": secret}],
        "suffix": secret, "stop": secret, "text": {"format": secret}, "output_config": secret,
        "web_search_options": {"user_location": secret}, "mcp_servers": [secret]});
    let private = Destination { privacy: true, ..destination() };
    for (endpoint, answer) in answers {
        let report = || Report {
            text: Some("SECRET".into()),
            reasoning: Some("SECRET".into()),
            tool_calls: Some(json!([{"function": {"arguments": secret}}]).to_string()),
            ..report(sample::facts(call(endpoint)), &body, Some(&answer))
        };
        let [(_, told)] = &posts_to(report(), &private)[..] else { panic!("one post") };
        assert!(!told.to_string().contains("SECRET"), "{endpoint:?}: {told}");
        assert!(post(report()).to_string().contains("SECRET"), "{endpoint:?} has texts");
        let redacted = json!([{"role": "user", "content": "redacted-by-litellm"}]);
        assert_eq!(told["messages"], redacted);
    }
}

#[test]
fn built_in_tools_are_told_unless_texts_are_hidden() {
    let search = json!({"type": "web_search_preview", "search_context_size": "low"});
    let files = json!({"type": "file_search", "vector_store_ids": ["v"]});
    let tools = json!({"tools": [{"type": "function"}, files, search]});
    let options = json!({"web_search_options": {"search_context_size": "high"}});
    let told = |body: &Value, logging| {
        let call = Call { logging, ..call(Endpoint::Responses) };
        post(report(sample::facts(call), body, None))["standard_built_in_tools_params"].clone()
    };
    let both =
        |search: &Value, files: &Value| json!({"web_search_options": search, "file_search": files});
    assert_eq!(told(&tools, Logging::Full), both(&search, &files));
    assert_eq!(told(&options, Logging::Full), both(&options["web_search_options"], &Value::Null));
    assert_eq!(told(&tools, Logging::Redacted), both(&Value::Null, &Value::Null));
}

#[test]
fn spend_logs_metadata_come_from_the_header_first() {
    let body = json!({"metadata": {"spend_logs_metadata": {"by": "body"}, "own": 1}});
    let told = |header: Option<&str>, body: &Value| {
        let headers =
            header.map(|text| ("x-litellm-spend-logs-metadata".to_owned(), text.to_owned()));
        let call = Call { headers: headers.into_iter().collect(), ..sample::call() };
        post(report(sample::facts(call), body, None))["metadata"].clone()
    };
    let both = told(Some(r#"{"by":"header"}"#), &body);
    assert_eq!(both["spend_logs_metadata"], json!({"by": "header"}));
    assert_eq!(both["requester_metadata"]["spend_logs_metadata"], json!({"by": "header"}));
    assert_eq!(both["requester_metadata"]["own"], 1);
    assert_eq!(told(Some("no JSON"), &body)["spend_logs_metadata"], json!({"by": "body"}));
    let apart = json!({"litellm_metadata": {"spend_logs_metadata": {"by": "litellm"}}});
    assert_eq!(told(None, &apart)["spend_logs_metadata"], json!({"by": "litellm"}));
    assert_eq!(told(None, &json!({}))["spend_logs_metadata"], Value::Null);
}
