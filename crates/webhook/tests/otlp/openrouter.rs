//! What the profile `openrouter` writes, held against captured deliveries of 2026-09-28.

use super::*;

/// Keys of a captured root span, in the captured order; ours among them stand in the same order.
const CAPTURED: [&str; 53] = [
    "trace.name",
    "user.id",
    "session.id",
    "trace.metadata.team",
    "trace.metadata.provider_responses",
    "trace.input",
    "trace.output",
    "span.type",
    "span.level",
    "span.status_message",
    "span.metadata.team",
    "span.metadata.provider_responses",
    "span.input",
    "span.output",
    "gen_ai.operation.name",
    "gen_ai.system",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.response.id",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.total_tokens",
    "gen_ai.usage.input_cost",
    "gen_ai.usage.output_cost",
    "gen_ai.usage.total_cost",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.input_tokens.cache_write",
    "gen_ai.usage.input_tokens.cache_write_5m",
    "gen_ai.usage.input_tokens.cache_write_1h",
    "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.finish_reason",
    "trace.metadata.openrouter.source",
    "trace.metadata.openrouter.api_key_name",
    "trace.metadata.openrouter.entity_id",
    "trace.metadata.openrouter.user_id",
    "trace.metadata.openrouter.creator_user_id",
    "trace.metadata.openrouter.router_latency_ms",
    "trace.metadata.openrouter.provider_request_ms",
    "trace.metadata.openrouter.provider_headers_ms",
    "trace.metadata.openrouter.first_token_ms",
    "trace.metadata.openrouter.provider_body_end_ms",
    "trace.metadata.openrouter.provider_time_to_first_token_ms",
    "trace.metadata.openrouter.inter_token_latency_ms",
    "trace.metadata.openrouter.provider_name",
    "trace.metadata.openrouter.provider_slug",
    "trace.metadata.openrouter.finish_reason",
    "trace.metadata.openrouter.input_unit_price",
    "trace.metadata.openrouter.output_unit_price",
    "trace.metadata.hookgate.call_id",
];

/// What no gateway but `OpenRouter` can know, and what tells of a failure.
const NOT_OURS: [&str; 5] = [
    "span.status_message",
    "trace.metadata.openrouter.entity_id",
    "trace.metadata.openrouter.user_id",
    "trace.metadata.openrouter.creator_user_id",
    "trace.metadata.openrouter.provider_headers_ms",
];

fn traced(trace: &Value) -> Entry {
    let request = json!({
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Hello!"}],
        "trace": trace,
    });
    with_request("success", &request)
}

#[test]
fn the_attributes_stand_in_the_captured_order() {
    let mut entry = entry("messages_tools_and_cache");
    let Record::Sealed(exchange) = &mut entry.record else { unreachable!("it is an outcome") };
    let exchange = Arc::make_mut(exchange);
    let mut request: Value = serde_json::from_slice(&exchange.request.bytes).unwrap();
    request["trace"] = json!({"team": "search"});
    exchange.request = Payload::whole(request.to_string().into());
    exchange.facts.response_is_stream = true;
    let call = Arc::make_mut(&mut exchange.facts.call);
    call.end_user = Some("u-1".to_owned());
    call.session_id = Some("s-1".to_owned());
    // A stream of Anthropic's would be read as one; only its times and kinds of tokens count here.
    let stream = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",",
        "\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5\",\"content\":[],",
        "\"stop_reason\":null,\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":300,",
        "\"cache_read_input_tokens\":2000,\"cache_creation\":{\"ephemeral_5m_input_tokens\":200,",
        "\"ephemeral_1h_input_tokens\":100},\"output_tokens\":1}}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":",
        "\"tool_use\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":90,",
        "\"output_tokens_details\":{\"thinking_tokens\":5}}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    exchange.response = Payload::whole(Bytes::from_static(stream.as_bytes()));
    let root = root(&entry, &openrouter());
    let without_reasoning = !root.has("gen_ai.usage.output_tokens.reasoning");
    let expected: Vec<_> = CAPTURED
        .into_iter()
        .filter(|key| !NOT_OURS.contains(key))
        .filter(|key| !(without_reasoning && key.ends_with(".reasoning")))
        .collect();
    assert_eq!(root.keys(), expected);
    assert_eq!(root.get("gen_ai.usage.input_tokens.cache_write_5m"), Some(&json!(200)));
    assert_eq!(root.get("gen_ai.usage.input_tokens.cache_write_1h"), Some(&json!(100)));
    assert_eq!(root.text("gen_ai.response.finish_reason"), Some("tool_calls"));
    assert_eq!(root.text("trace.metadata.openrouter.finish_reason"), Some("tool_use"));
}

#[test]
fn further_facts_of_a_generation_are_told_where_they_are_asked_for() {
    let entry = with_call("client_disconnect_stream", |call| {
        call.end_user = Some("u-1".to_owned());
        call.headers.push(("x-title".to_owned(), "notes".to_owned()));
    });
    let told = |cost, identity, request_context| {
        let generation_metadata = GenerationMetadata { cost, identity, request_context };
        let otlp = Otlp { generation_metadata, ..Otlp::default() };
        let root = root(&entry, &destinations::of(Format::Otlp(otlp)));
        let of = |what: &str| -> Vec<(String, Value)> {
            let prefix = format!("{what}.metadata.openrouter_generation.");
            let keys = root.keys().into_iter().filter_map(|key| key.strip_prefix(&prefix));
            keys.map(|key| {
                let value = root.get(&format!("{prefix}{key}")).cloned().unwrap_or_default();
                (key.to_owned(), value)
            })
            .collect()
        };
        assert_eq!(of("trace"), of("span"));
        of("trace")
    };
    assert_eq!(told(false, false, false), []);
    let keys =
        |told: &[(String, Value)]| told.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let (cost, identity) = (told(true, false, false), told(false, true, false));
    let context = told(false, false, true);
    let value = |told: &[(String, Value)], key: &str| {
        told.iter().find(|(own, _)| own == key).map(|(_, value)| value.clone())
    };
    assert_eq!(value(&cost, "is_byok"), Some(json!(false)));
    assert_eq!(value(&identity, "external_user"), Some(json!("u-1")));
    assert_eq!(value(&identity, "app.title"), Some(json!("notes")));
    assert_eq!(value(&context, "streamed"), Some(json!(true)));
    assert_eq!(value(&context, "cancelled"), Some(json!(true)));
    let all = [keys(&cost), keys(&identity), keys(&context)].concat();
    assert_eq!(keys(&told(true, true, true)), all);

    let otlp = Otlp {
        generation_metadata: GenerationMetadata { cost: true, ..GenerationMetadata::default() },
        ..Otlp::default()
    };
    let root = root(&super::entry("success"), &destinations::of(Format::Otlp(otlp)));
    let told = |name: &str| root.get(&format!("trace.metadata.openrouter_generation.{name}"));
    assert_eq!(
        (told("tokens_prompt"), told("tokens_completion")),
        (Some(&json!(9)), Some(&json!(4)))
    );
    assert_eq!(told("usage"), Some(&json!(0.000_062_5)));
    let raw = root.text("trace.metadata.openrouter_generation.upstream_raw_response_usage");
    assert!(raw.is_some_and(|raw| raw.contains("\"prompt_tokens\":9")), "{raw:?}");
}

#[test]
fn the_time_line_is_the_captured_one() {
    let entry = changed("stream", |exchange| {
        let facts = &mut exchange.facts;
        let start = Timestamp::from_millis(1_790_606_294_318);
        let at = |millis| start.plus(std::time::Duration::from_millis(millis));
        Arc::make_mut(&mut facts.call).arrived_at = start;
        facts.attempts[0].started_at = at(51);
        facts.attempts[0].finished_at = at(3_719);
        facts.first_byte_at = Some(at(996));
        facts.finished_at = at(3_719);
        let body = String::from_utf8(exchange.response.bytes.to_vec()).unwrap();
        let body = body.replace("\"completion_tokens\":3", "\"completion_tokens\":569");
        let body = body.replace("\"completion_tokens\": 3", "\"completion_tokens\": 569");
        exchange.response = Payload::whole(body.into());
    });
    let spans = spans(&entry, &openrouter());
    let number = |name: &str| {
        let key = format!("trace.metadata.openrouter.{name}");
        spans[0].get(&key).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {key}"))
    };
    assert_eq!(spans[0].get("gen_ai.usage.output_tokens"), Some(&json!(569)));
    let captured = [
        ("router_latency_ms", 51.0),
        ("provider_request_ms", 51.0),
        ("first_token_ms", 996.0),
        ("provider_body_end_ms", 3_719.0),
        ("provider_time_to_first_token_ms", 945.0),
        ("inter_token_latency_ms", 4.794_014_084_507_042),
    ];
    for (name, expected) in captured {
        assert!((number(name) - expected).abs() < 1e-9, "{name}: {}", number(name));
    }
    let start = 1_790_606_294_318;
    let times: Vec<_> = spans.iter().map(|span| span.millis.map(|at| at - start)).collect();
    assert_eq!(times, [[0, 3_719], [51, 996], [996, 3_719]]);
    let kinds: Vec<_> = spans.iter().map(|span| (span.name.as_str(), span.kind)).collect();
    let expected = [("LLM Generation", 3), ("provider attempt 1: OpenAI", 2), ("generation", 2)];
    assert_eq!(kinds, expected);
}

#[test]
fn a_span_never_ends_before_it_began() {
    for destination in [openrouter(), genai()] {
        let entry = changed("stream", |exchange| {
            exchange.facts.finished_at = Timestamp::from_millis(1_000);
            exchange.facts.attempts[0].started_at = Timestamp::from_millis(-5);
        });
        // The protocol's judge looks.
        assert!(!spans(&entry, &destination).is_empty());
    }
}

#[test]
fn trace_names_groups_and_describes() {
    let root = root(
        &traced(&json!({
            "trace_id": "workflow-12345",
            "trace_name": "Document Processing",
            "generation_name": "Summarize Document",
            "parent_span_id": "00f067aa0ba902b7",
            "span_name": "Nothing",
            "environment": "production",
            "count": 7,
            "share": 0.5,
            "negative": -1e-3,
            "on": true,
            "none": null,
            "list": ["a", 1],
            "object": {"b": [2]},
            "quote\"": "q",
            "openrouter.source": "mine",
            "provider_responses": "mine",
        })),
        &openrouter(),
    );
    assert_eq!(root.name, "Summarize Document");
    assert_eq!(root.text("trace.name"), Some("Document Processing"));
    // sha256("workflow-12345")
    assert_eq!(root.trace_id, "1beba26f6d1d6ffc3c148c59a6d83578");
    assert_eq!(root.parent_id, "00f067aa0ba902b7");
    for place in ["trace", "span"] {
        let get = |name: &str| root.get(&format!("{place}.metadata.{name}")).cloned();
        assert_eq!(get("environment"), Some(json!("production")));
        assert_eq!(get("count"), Some(json!(7)));
        assert_eq!(get("share"), Some(json!(0.5)));
        assert_eq!(get("negative"), Some(json!(-0.001)));
        assert_eq!(get("on"), Some(json!(true)));
        assert_eq!(get("list"), Some(json!(r#"["a",1]"#)));
        assert_eq!(get("object"), Some(json!(r#"{"b":[2]}"#)));
        assert_eq!(get("quote\""), Some(json!("q")));
        for none in ["none", "trace_id", "trace_name", "span_name", "parent_span_id"] {
            assert_eq!(get(none), None, "{none}");
        }
        assert!(get("provider_responses").unwrap().as_str().unwrap().starts_with("[{"));
    }
    assert_eq!(root.text("trace.metadata.openrouter.source"), Some("openrouter"));
}

#[test]
fn of_a_key_that_stands_twice_the_last_value_counts() {
    let body = r#"{"trace":{"a":1,"b":2,"a":3},"messages":[]}"#;
    let entry = changed("success", |exchange| exchange.request = Payload::whole(body.into()));
    let root = root(&entry, &openrouter());
    assert_eq!(root.get("trace.metadata.a"), Some(&json!(3)));
}

#[test]
fn a_trace_id_groups_calls_and_one_of_the_right_form_stays() {
    let ids = |trace: &Value| {
        let root = root(&traced(trace), &openrouter());
        (root.trace_id, root.id, root.parent_id)
    };
    let (own, span, parent) = ids(&json!({}));
    assert!(own.starts_with(&span) && parent.is_empty());
    let given = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(ids(&json!({"trace_id": given})), (given.to_owned(), span.clone(), String::new()));
    // Other than a hash, these would make a receiver refuse the whole body.
    for odd in ["abc", "", "zzzz67aa0902b711", "00f067aa0902b7a11"] {
        let (_, _, parent) = ids(&json!({"parent_span_id": odd}));
        assert_eq!(parent.len(), if odd.is_empty() { 0 } else { 16 }, "{odd}");
    }
    let (_, _, earlier) = ids(&json!({"parent_span_id": "gen-1795227718-70008000000000000001"}));
    assert_eq!(earlier, span, "the root of the generation that it names");
    let named = with_call("success", |call| call.trace_id = Some(given.to_owned()));
    assert_eq!(root(&named, &openrouter()).trace_id, given);
}

#[test]
fn documented_traces_have_the_documented_names_beside_the_real_ones() {
    let destination = Destination { compat: Compat::Document, ..openrouter() };
    let plain = root(&traced(&json!({})), &destination);
    assert_eq!(plain.name, "chat");
    assert_eq!(plain.get("gen_ai.usage.prompt_tokens"), Some(&json!(9)));
    assert_eq!(plain.get("gen_ai.usage.completion_tokens"), Some(&json!(4)));
    assert_eq!(plain.get("gen_ai.usage.input_tokens"), Some(&json!(9)));
    let named = |trace: &Value| root(&traced(trace), &destination).name;
    assert_eq!(named(&json!({"trace_name": "t"})), "t");
    assert_eq!(named(&json!({"trace_name": "t", "generation_name": "g"})), "g");
    let real = root(&traced(&json!({"trace_name": "t"})), &openrouter());
    assert_eq!(real.name, "LLM Generation");
    assert!(!real.has("gen_ai.usage.prompt_tokens"));
}

#[test]
fn a_failed_call_says_why_and_what_was_seen() {
    let left = spans(&entry("client_disconnect_stream"), &openrouter());
    let [root, attempt, generation] = left.as_slice() else { panic!("a stream was left") };
    assert_eq!((root.status, root.events), (2, 1));
    assert_eq!(root.message, "The client has disconnected");
    assert_eq!(root.text("span.level"), Some("ERROR"));
    assert_eq!(root.text("span.status_message"), Some("The client has disconnected"));
    assert_eq!(root.json("gen_ai.completion")["completion"], "Once upon a time");
    for key in ["gen_ai.usage.input_tokens", "gen_ai.response.finish_reason"] {
        assert!(!root.has(key), "nobody knows {key}");
    }
    assert_eq!((attempt.status, attempt.events, generation.status), (2, 0, 2));
    // Before any provider was asked there is a root alone.
    let refused = spans(&entry("unknown_model"), &openrouter());
    assert_eq!((refused.len(), refused[0].status, refused[0].events), (1, 2, 1));
    assert!(!refused[0].has("trace.metadata.provider_responses"));
    // A call that failed at all of its attempts.
    let failed = spans(&entry("retries_and_fallback_all_failed"), &openrouter());
    assert!(failed.len() > 3 && failed.iter().all(|span| span.status == 2));
    // One that another attempt saved is no failure.
    let saved = spans(&entry("fallback"), &openrouter());
    let states: Vec<_> = saved.iter().map(|span| span.status).collect();
    assert_eq!(states, [1, 2, 1]);
    let responses = saved[0].json("trace.metadata.provider_responses");
    let statuses: Vec<_> =
        responses.as_array().unwrap().iter().map(|r| r["status"].clone()).collect();
    assert_eq!(statuses, [500, 200]);
}

#[test]
fn texts_stand_under_six_keys_as_the_same_json() {
    let root = root(&entry("stream_tools"), &openrouter());
    let (prompt, completion) = (root.json("gen_ai.prompt"), root.json("gen_ai.completion"));
    for place in ["trace", "span"] {
        assert_eq!(root.json(&format!("{place}.input")), prompt);
        assert_eq!(root.json(&format!("{place}.output")), completion);
    }
    let calls = completion["toolCalls"].as_array().unwrap();
    for (index, call) in calls.iter().enumerate() {
        assert_eq!(call["index"], json!(index));
        assert!(call["function"]["name"].is_string());
    }
    assert_eq!(completion["rawRequest"]["_skin"], "chat-completions");
}

#[test]
fn what_is_too_large_for_three_copies_stands_once() {
    let text = "\u{fc}\"".repeat(1 << 20);
    let request =
        json!({"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "seed": 1});
    let root = root(&with_request("success", &request), &openrouter());
    assert_eq!(root.json("gen_ai.prompt")["messages"][0]["content"], json!(text));
    let completion = root.json("gen_ai.completion");
    assert_eq!(completion["completion"], "Hello there!");
    assert!(completion.get("rawRequest").is_none());
    for key in ["trace.input", "trace.output", "span.input", "span.output"] {
        assert!(!root.has(key), "{key}");
    }
}

#[test]
fn images_sounds_and_files_are_left_out() {
    let request = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,SECRETPIXELS"}},
        {"type": "input_audio", "input_audio": {"data": "SECRETSOUND", "format": "wav"}},
        {"type": "file", "file": {"file_data": "SECRETFILE"}},
    ]}]});
    for destination in [openrouter(), genai()] {
        let item = rendered(&with_request("success", &request), &destination).remove(0);
        let text = std::str::from_utf8(&item.bytes).unwrap();
        assert!(text.contains("What is it?") && !text.contains("SECRET"), "{text}");
    }
}
