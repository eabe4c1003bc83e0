//! What the profile `genai` writes, held against the conventions.

use super::*;

fn asked(name: &str, request: &Value) -> strict::Span {
    root(&with_request(name, request), &genai())
}

#[test]
fn what_was_asked_for_has_the_conventions_names() {
    let span = asked(
        "success",
        &json!({
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "Hello!"}],
            "n": 2, "seed": -5, "max_tokens": 10, "temperature": 0.5, "top_p": 1, "top_k": 3,
            "frequency_penalty": 0.1, "presence_penalty": -0.1, "stop": ["a", "b"],
            "response_format": {"type": "json_schema"}, "service_tier": "flex",
        }),
    );
    let expected = [
        ("gen_ai.output.type", json!("json")),
        ("gen_ai.request.choice.count", json!(2)),
        ("gen_ai.request.seed", json!(-5)),
        ("gen_ai.request.max_tokens", json!(10)),
        ("gen_ai.request.temperature", json!(0.5)),
        ("gen_ai.request.top_p", json!(1.0)),
        ("gen_ai.request.top_k", json!(3.0)),
        ("gen_ai.request.frequency_penalty", json!(0.1)),
        ("gen_ai.request.presence_penalty", json!(-0.1)),
        ("gen_ai.request.stop_sequences", json!(["a", "b"])),
        ("openai.request.service_tier", json!("flex")),
        ("openai.api.type", json!("chat_completions")),
    ];
    for (key, value) in expected {
        assert_eq!(span.get(key), Some(&value), "{key}");
    }
    let plain = asked("success", &json!({"model": "gpt-4o", "messages": [], "n": 1, "stop": "x"}));
    assert!(!plain.has("gen_ai.request.choice.count") && !plain.has("gen_ai.request.stream"));
    assert_eq!(plain.get("gen_ai.request.stop_sequences"), Some(&json!(["x"])));
    for deprecated in ["gen_ai.system", "gen_ai.prompt", "gen_ai.usage.prompt_tokens"] {
        assert!(!plain.has(deprecated), "{deprecated}");
    }
}

#[test]
fn every_call_has_what_the_conventions_require() {
    for case in all_cases() {
        for item in rendered(&case.entry, &genai()) {
            let span = &strict::check(&join(&genai(), &[item]).to_bytes())[0];
            let operation = span.text("gen_ai.operation.name").unwrap();
            let model =
                span.text("gen_ai.request.model").map_or(String::new(), |m| format!(" {m}"));
            assert_eq!(span.name, format!("{operation}{model}"), "{}", case.name);
            assert_eq!((span.kind, span.events), (3, 0));
            assert_eq!(span.status == 2, span.has("error.type"), "{}", case.name);
            let Record::Sealed(exchange) = &case.entry.record else { panic!("an outcome") };
            let is_asked = !exchange.facts.attempts.is_empty();
            assert_eq!(span.has("gen_ai.provider.name"), is_asked, "{}", case.name);
        }
    }
}

#[test]
fn only_the_root_counts_tokens() {
    let spans = spans(&entry("rate_limits_then_fallback"), &genai());
    assert_eq!(spans.len(), 4);
    assert!(spans[0].has("gen_ai.usage.input_tokens"));
    for (index, attempt) in spans[1..].iter().enumerate() {
        assert!(!attempt.has("gen_ai.operation.name"), "{attempt:#?}");
        assert!(!attempt.keys().iter().any(|key| key.starts_with("gen_ai.usage.")));
        let resent = attempt.get("http.request.resend_count");
        assert_eq!(resent, (index > 0).then(|| json!(index)).as_ref());
    }
}

#[test]
fn the_providers_address_is_told_where_it_is_known() {
    let cases = [
        ("https://eu.api.example/v1", Some(("eu.api.example", 443))),
        ("http://127.0.0.1:8080/v1", Some(("127.0.0.1", 8080))),
        ("http://[::1]/v1", Some(("::1", 80))),
        ("http://[::1]:9?x", Some(("::1", 9))),
        ("", None),
        ("odd", None),
    ];
    for (base, expected) in cases {
        let entry = changed("success", |exchange| {
            let attempt = &mut exchange.facts.attempts[0];
            Arc::make_mut(&mut attempt.deployment).api_base = base.to_owned();
        });
        let span = root(&entry, &genai());
        let port = span.get("server.port").and_then(Value::as_u64);
        assert_eq!(span.text("server.address").zip(port), expected, "{base}");
    }
}

#[test]
fn messages_have_roles_and_typed_parts() {
    let span = asked(
        "success",
        &json!({"model": "gpt-4o", "messages": [
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Weather?"}]},
            {"role": "assistant", "content": null, "reasoning_content": "Hm.", "tool_calls": [
                {"id": "c1", "type": "function",
                 "function": {"name": "get", "arguments": "{\"city\": \"Kiel\"}"}},
                {"id": "c2", "type": "function", "function": {"name": "odd", "arguments": "x"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
            {"role": "assistant", "function_call": {"name": "old", "arguments": "{}"}},
        ]}),
    );
    let expected = json!([
        {"role": "system", "parts": [{"type": "text", "content": "Be kind."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Weather?"}], "name": "ann"},
        {"role": "assistant", "parts": [
            {"type": "reasoning", "content": "Hm."},
            {"type": "tool_call", "id": "c1", "name": "get", "arguments": {"city": "Kiel"}},
            {"type": "tool_call", "id": "c2", "name": "odd", "arguments": "x"},
        ]},
        {"role": "tool", "parts": [
            {"type": "tool_call_response", "id": "c1", "response": "rain"},
        ]},
        {"role": "assistant", "parts": [
            {"type": "tool_call", "name": "old", "arguments": {}},
        ]},
    ]);
    assert_eq!(span.json("gen_ai.input.messages"), expected);
    let output = span.json("gen_ai.output.messages");
    let expected = json!([{
        "role": "assistant",
        "parts": [{"type": "text", "content": "Hello there!"}],
        "finish_reason": "stop",
    }]);
    assert_eq!(output, expected);
}

#[test]
fn every_choice_is_a_message_in_the_order_of_its_index() {
    let span = root(&entry("several_choices"), &genai());
    let output = span.json("gen_ai.output.messages");
    let reasons: Vec<_> =
        output.as_array().unwrap().iter().map(|choice| choice["finish_reason"].clone()).collect();
    assert_eq!(reasons, ["stop", "length"]);
    assert_eq!(span.get("gen_ai.response.finish_reasons"), Some(&json!(["stop", "length"])));
}

#[test]
fn sessions_users_and_metadata_are_told() {
    let entry = with_call("success", |call| {
        call.session_id = Some("s-1".to_owned());
        call.end_user = Some("u-1".to_owned());
    });
    let span = root(&entry, &genai());
    assert_eq!(span.text("gen_ai.conversation.id"), Some("s-1"));
    assert_eq!(span.text("user.id"), Some("u-1"));
    let span = asked("success", &json!({"messages": [], "trace": {"team": "x", "trace_id": "t"}}));
    assert_eq!(span.text("trace.metadata.team"), Some("x"));
    assert!(!span.has("span.metadata.team"));
    assert_ne!(span.trace_id, root(&self::entry("success"), &genai()).trace_id);
}
