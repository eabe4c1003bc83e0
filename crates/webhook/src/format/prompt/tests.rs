use serde_json::{Value, json};

use super::*;

fn asked(endpoint: Endpoint, request: &Value) -> Value {
    let body = request.to_string();
    let messages = messages(endpoint, &Members::of(&body), true).unwrap();
    serde_json::from_str(&messages).unwrap()
}

#[test]
fn a_chats_messages_stay_as_they_are_but_for_media() {
    let request = json!({"messages": [
        {"role": "system", "content": "Be kind.", "name": "s", "odd": [1]},
        {"role": "user", "content": [
            {"type": "text", "text": "an image_url", "cache_control": {"type": "ephemeral"}},
            {"type": "image_url", "image_url": {"url": "x"}},
            {"type": "input_audio", "input_audio": {}},
            {"type": "file", "file": {}},
        ]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}]},
    ]});
    let expected = json!([
        {"role": "system", "content": "Be kind.", "name": "s", "odd": [1]},
        {"role": "user", "content": [
            {"type": "text", "text": "an image_url", "cache_control": {"type": "ephemeral"}},
        ]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "r"}]},
    ]);
    assert_eq!(asked(Endpoint::ChatCompletions, &request), expected);
}

#[test]
fn a_type_in_escapes_is_one_too() {
    let body = r#"{"messages":[{"content":[{"type":"\u0069mage_url","x":1},{"type":"text"}]}]}"#;
    let messages = messages(Endpoint::ChatCompletions, &Members::of(body), true).unwrap();
    assert_eq!(messages, r#"[{"content":[{"type":"text"}]}]"#);
}

#[test]
fn prompts_and_inputs_are_users_messages() {
    let user = |content: Value| json!({"role": "user", "content": content});
    let cases = [
        (Endpoint::TextCompletions, json!({"prompt": "a"}), json!([user(json!("a"))])),
        (
            Endpoint::TextCompletions,
            json!({"prompt": ["a", "b"]}),
            json!([user(json!("a")), user(json!("b"))]),
        ),
        (Endpoint::Embeddings, json!({"input": [1, 2]}), json!([user(json!([1, 2]))])),
        (Endpoint::Responses, json!({"input": "a"}), json!([user(json!("a"))])),
        (
            Endpoint::Responses,
            json!({"input": "a", "instructions": "i"}),
            json!([{"role": "system", "content": "i"}, user(json!("a"))]),
        ),
    ];
    for (endpoint, request, expected) in cases {
        assert_eq!(asked(endpoint, &request), expected, "{request}");
    }
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Embeddings, Endpoint::Messages] {
        assert_eq!(messages(endpoint, &Members::of(r#"{"model":"m"}"#), true), None);
    }
}

#[test]
fn what_a_response_was_given_is_a_chat() {
    let request = json!({"input": [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Weather?"},
            {"type": "input_image", "image_url": "x"},
        ]},
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm."}],
         "encrypted_content": "gA"},
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": "I look."}]},
        {"type": "function_call", "call_id": "c1", "name": "get", "arguments": "{\"a\":1}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "run", "input": "print(1)"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        {"type": "function_call_output", "call_id": "c2", "output": [
            {"type": "input_text", "text": "1"}, {"type": "input_file", "file_data": "x"},
        ]},
        {"type": "web_search_call", "id": "ws"},
        {"type": "image_generation_call", "result": "x"},
    ]});
    let expected = json!([
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}],
         "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get", "arguments": "{\"a\":1}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "print(1)"}},
         ],
         "reasoning_details": [
            {"type": "reasoning.summary", "summary": "Hm."},
            {"type": "reasoning.encrypted", "id": "rs", "data": "gA"},
         ]},
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
        {"role": "tool", "content": [{"type": "text", "text": "1"}], "tool_call_id": "c2"},
        {"role": "assistant", "content": [{"type": "web_search_call", "id": "ws"}]},
    ]);
    assert_eq!(asked(Endpoint::Responses, &request), expected);
}

#[test]
fn anthropics_messages_are_a_chat() {
    let request = json!({
        "system": [{"type": "text", "text": "Be kind."}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "get", "input": {"city": "Kiel"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [
                    {"type": "text", "text": "rain"}, {"type": "image", "source": {}},
                ]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "sun"},
                {"type": "text", "text": "And?"},
                {"type": "document", "source": {}},
            ]},
        ],
    });
    let format = "anthropic-claude-v1";
    let expected = json!([
        {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}],
         "tool_calls": [{"id": "t1", "type": "function",
            "function": {"name": "get", "arguments": "{\"city\":\"Kiel\"}"}}],
         "reasoning_details": [
            {"type": "reasoning.text", "text": "Hm.", "signature": "s", "format": format},
            {"type": "reasoning.encrypted", "data": "d", "format": format},
         ]},
        {"role": "tool", "content": [{"type": "text", "text": "rain"}], "tool_call_id": "t1"},
        {"role": "tool", "content": "sun", "tool_call_id": "t2"},
        {"role": "user", "content": [{"type": "text", "text": "And?"}]},
    ]);
    assert_eq!(asked(Endpoint::Messages, &request), expected);
}

#[test]
fn the_system_prompt_stays_away_if_nobody_asks_for_it() {
    let body = r#"{"system":"s","messages":[{"role":"user","content":"a"}]}"#;
    let request = Members::of(body);
    let messages = messages(Endpoint::Messages, &request, false).unwrap();
    assert_eq!(messages, r#"[{"role":"user","content":"a"}]"#);
    assert_eq!(system(Endpoint::Messages, &request), Some("\"s\""));
    assert_eq!(system(Endpoint::ChatCompletions, &request), None);
}

#[test]
fn media_inside_of_a_part_is_left_out_too() {
    let found = |inner: Value| json!({"type": "found", "content": inner});
    let inside = found(json!([{"type": "image"}, {"type": "text", "text": "t"}]));
    let outside = found(json!([{"type": "text", "text": "t"}]));
    let cases = [
        (Endpoint::ChatCompletions, "messages"),
        (Endpoint::Messages, "messages"),
        (Endpoint::Responses, "input"),
    ];
    for (endpoint, name) in cases {
        let request = json!({name: [{"role": "user", "content": [inside.clone()]}]});
        let expected = json!([{"role": "user", "content": [outside.clone()]}]);
        assert_eq!(asked(endpoint, &request), expected, "{endpoint:?}");
    }
}
