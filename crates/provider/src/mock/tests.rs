use domain::{
    call::Call,
    deployment::{DeploymentFacts, Dialect},
    exchange::{Exchange, Payload},
    sample,
    time::Timestamp,
};
use serde_json::json;

use super::*;
use crate::answer::Answer;

fn request(stream: bool) -> MockRequest<'static> {
    MockRequest {
        endpoint: Endpoint::ChatCompletions,
        model: "gpt-4o",
        stream,
        include_usage: true,
        id: CallId::new(Timestamp::from_millis(1_795_227_718_000), [7; 10]),
        created: 1_795_227_718,
        mock_tool_calls: None,
    }
}

fn asked(mock: &Value, stream: bool, tool_calls: Option<&Value>) -> MockAnswer {
    answer(mock, &MockRequest { mock_tool_calls: tool_calls, ..request(stream) })
}

fn whole(mock: &Value, tool_calls: Option<&Value>) -> String {
    match asked(mock, false, tool_calls) {
        MockAnswer::Whole(body) => String::from_utf8(body.to_vec()).unwrap(),
        other => panic!("expected a whole answer, got {other:?}"),
    }
}

fn streamed(mock: &Value, tool_calls: Option<&Value>) -> String {
    match asked(mock, true, tool_calls) {
        MockAnswer::Stream(chunks) => String::from_utf8(chunks.concat()).unwrap(),
        other => panic!("expected a stream, got {other:?}"),
    }
}

#[test]
fn a_text_answers_as_litellm_does() {
    // LiteLLM 1.109.1's answer to the same mock, but for the id.
    let expected = [
        r#"{"id":"chatcmpl-01a1fbe9-1170-7707-8707-070707070707","created":1795227718,"#,
        r#""model":"gpt-4o","object":"chat.completion","choices":[{"finish_reason":"stop","#,
        r#""index":0,"message":{"content":"hey!","role":"assistant"}}],"#,
        r#""usage":{"completion_tokens":20,"prompt_tokens":10,"total_tokens":30}}"#,
    ];
    assert_eq!(whole(&json!("hey!"), None), expected.concat());
}

#[test]
fn a_text_streams_three_characters_a_chunk() {
    insta::assert_snapshot!(streamed(&json!("héy!"), None));
}

#[test]
fn the_usage_chunk_is_for_those_who_asked() {
    let asked = MockRequest { include_usage: false, ..request(true) };
    let MockAnswer::Stream(chunks) = answer(&json!("hey!"), &asked) else {
        panic!("expected a stream");
    };
    assert!(!String::from_utf8_lossy(&chunks.concat()).contains("usage"));
}

#[test]
fn tool_calls_are_answered_whole_and_streamed() {
    let calls = json!([{"id": "call_1", "type": "function",
        "function": {"name": "weather", "arguments": "{}"}}]);
    let answer = whole(&json!(""), Some(&calls));
    insta::assert_snapshot!(format!("{answer}\n\n{}", streamed(&json!(""), Some(&calls))));
}

#[test]
fn an_object_is_the_answer() {
    let mock = json!({"id": "own", "choices": [
        {"message": {"content": "abcd"}, "finish_reason": "length"},
        {"index": 1, "message": {"content": null, "tool_calls": [{"id": "x"}]}},
    ], "usage": {"total_tokens": 1}});
    let answer = whole(&mock, None);
    insta::assert_snapshot!(format!("{answer}\n\n{}", streamed(&mock, None)));
}

#[test]
fn error_strings_fail_as_their_names_say() {
    let cases = [
        ("litellm.RateLimitError", FailureKind::RateLimit, 429),
        ("litellm.ContextWindowExceededError", FailureKind::ContextWindowExceeded, 400),
        ("litellm.InternalServerError", FailureKind::ProviderError, 500),
        ("Exception: content_filter_policy of ours", FailureKind::ContentFilter, 400),
        ("Exception: mock_streaming_error", FailureKind::StreamError, 529),
    ];
    for (mock, kind, status) in cases {
        for stream in [false, true] {
            let MockAnswer::Failure(failure) = asked(&json!(mock), stream, None) else {
                panic!("{mock} did not fail");
            };
            assert_eq!((failure.kind, failure.status), (kind, status), "{mock}");
        }
    }
    let answer = asked(&json!([0.1]), false, None);
    assert!(matches!(answer, MockAnswer::Failure(f) if f.kind == FailureKind::BadRequest));
}

#[test]
fn a_text_after_the_streaming_error_comes_before_it() {
    let mock = json!("Exception: mock_streaming_error hello");
    let MockAnswer::StreamThenFailure(chunks, failure) = asked(&mock, true, None) else {
        panic!("expected a stream that fails");
    };
    assert_eq!((chunks.len(), failure.status), (2, 529));
    assert!(String::from_utf8_lossy(&chunks[1]).contains(r#""content":"lo""#));
}

/// The answer that a mock's bytes are, as events will tell it.
fn read(endpoint: Endpoint, mock: &Value, stream: bool, calls: Option<&Value>) -> Answer {
    let request = MockRequest { endpoint, mock_tool_calls: calls, ..request(stream) };
    let bytes = match answer(mock, &request) {
        MockAnswer::Whole(body) => body,
        MockAnswer::Stream(events) => passed(endpoint, &events),
        other => panic!("{endpoint:?} expected an answer, got {other:?}"),
    };
    let mut facts = sample::facts(Call { endpoint, ..sample::call() });
    let deployment = DeploymentFacts { dialect: Dialect::Mock, ..sample::deployment() };
    facts.attempts[0].deployment = deployment.into();
    facts.response_is_stream = stream && endpoint != Endpoint::Embeddings;
    let (request, response) = (Payload::default(), Payload::whole(bytes));
    crate::answer::answer(&Exchange { facts, request, response })
}

/// What the caller gets of a stream: all of it, and its end.
fn passed(endpoint: Endpoint, events: &[Bytes]) -> Bytes {
    let mut stream = crate::stream::passthrough(endpoint, false, false, 1 << 16);
    let sent = Bytes::from(events.concat());
    let mut out = Vec::new();
    stream.push(sent.clone(), &mut out).unwrap();
    assert!(stream.is_complete(), "{endpoint:?} has no end");
    assert_eq!(out.concat(), sent);
    sent
}

const WITH_TEXT: [Endpoint; 4] =
    [Endpoint::ChatCompletions, Endpoint::TextCompletions, Endpoint::Responses, Endpoint::Messages];

#[test]
fn a_text_is_answered_by_every_api_in_its_own_form_whole_and_streamed() {
    for endpoint in WITH_TEXT {
        for stream in [false, true] {
            let read = read(endpoint, &json!("héy \"you\"!"), stream, None);
            assert_eq!(read.text.as_deref(), Some("héy \"you\"!"), "{endpoint:?} {stream}");
            assert_eq!(read.finish_reason.as_deref(), Some("stop"), "{endpoint:?} {stream}");
            let usage = read.usage.unwrap();
            let counts = (usage.input_tokens, usage.output_tokens, usage.total_tokens);
            assert_eq!(counts, (Some(10), Some(20), Some(30)), "{endpoint:?} {stream}");
            assert!(read.id.is_some() && read.response.is_some());
        }
    }
}

#[test]
fn tool_calls_are_answered_by_every_api_that_has_them() {
    let calls = json!([{"id": "call_1", "type": "function",
        "function": {"name": "weather", "arguments": "{\"city\":\"Köln\"}"}}]);
    for endpoint in [Endpoint::ChatCompletions, Endpoint::Responses, Endpoint::Messages] {
        for stream in [false, true] {
            let read = read(endpoint, &json!(""), stream, Some(&calls));
            assert_eq!(read.finish_reason.as_deref(), Some("tool_calls"), "{endpoint:?}");
            let told: Value = serde_json::from_str(&read.tool_calls.unwrap()).unwrap();
            let called = &told[0]["function"];
            assert_eq!((&told[0]["id"], &called["name"]), (&json!("call_1"), &json!("weather")));
            let arguments = called["arguments"].as_str().unwrap();
            let arguments: Value = serde_json::from_str(arguments).unwrap();
            assert_eq!(arguments, json!({"city": "Köln"}), "{endpoint:?} {stream}");
        }
    }
}

#[test]
fn an_object_is_the_answer_of_every_api_whole_and_streamed() {
    let cases = [
        (
            Endpoint::TextCompletions,
            json!({"id": "own", "choices": [{"text": "abcd", "index": 0, "finish_reason": "length"}]}),
        ),
        (
            Endpoint::Responses,
            json!({"id": "own", "status": "incomplete",
                "incomplete_details": {"reason": "max_output_tokens"},
                "output": [{"type": "message", "content": [{"type": "output_text", "text": "abcd"}]}]}),
        ),
        (
            Endpoint::Messages,
            json!({"id": "own", "content": [{"type": "text", "text": "abcd"}],
                "stop_reason": "max_tokens"}),
        ),
    ];
    for (endpoint, mock) in cases {
        for stream in [false, true] {
            let read = read(endpoint, &mock, stream, None);
            assert_eq!(read.id.as_deref(), Some("own"), "{endpoint:?} {stream}");
            assert_eq!(read.text.as_deref(), Some("abcd"), "{endpoint:?} {stream}");
            assert_eq!(read.finish_reason.as_deref(), Some("length"), "{endpoint:?} {stream}");
        }
    }
}

#[test]
fn a_list_of_numbers_is_an_embedding_as_litellm_answers_it() {
    let request = MockRequest {
        endpoint: Endpoint::Embeddings,
        model: "text-embedding-3-small",
        ..request(false)
    };
    let MockAnswer::Whole(body) = answer(&json!([0.1, 0.2, 0.3]), &request) else {
        panic!("expected an answer");
    };
    // Capture `h_embeddings` of LiteLLM 1.109.1.
    let expected = concat!(
        r#"{"model":"text-embedding-3-small","data":[{"embedding":[0.1,0.2,0.3],"index":0,"#,
        r#""object":"embedding"}],"object":"list","usage":{"completion_tokens":0,"#,
        r#""completion_tokens_details":null,"prompt_tokens":10,"prompt_tokens_details":null,"#,
        r#""total_tokens":0}}"#,
    );
    assert_eq!(body, expected.as_bytes());
    let MockAnswer::Whole(body) = answer(&json!([[1], [2]]), &request) else {
        panic!("expected an answer");
    };
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&body["data"][1]["embedding"], &body["data"][1]["index"]),
        (&json!([2]), &json!(1))
    );
    for mock in [json!("text"), json!(["a"]), json!([[1], "a"])] {
        assert!(matches!(
            answer(&mock, &request),
            MockAnswer::Failure(f) if f.status == 400 && f.message.contains("list of numbers")
        ));
    }
}

#[test]
fn a_stream_that_is_to_fail_tells_its_text_before_and_no_end() {
    let mock = json!("Exception: mock_streaming_error hello");
    for endpoint in WITH_TEXT {
        let request = MockRequest { endpoint, ..request(true) };
        let MockAnswer::StreamThenFailure(events, failure) = answer(&mock, &request) else {
            panic!("{endpoint:?} expected a stream that fails");
        };
        assert_eq!(failure.kind, FailureKind::StreamError);
        let mut stream = crate::stream::passthrough(endpoint, true, true, 1 << 16);
        stream.push(events.concat().into(), &mut Vec::new()).unwrap();
        let told: String = stream.take_deltas().into_iter().map(|delta| delta.content).collect();
        assert_eq!(told, "hello", "{endpoint:?}");
        assert_eq!(stream.finish(&mut Vec::new()).unwrap_err().kind, FailureKind::StreamCut);
    }
}
