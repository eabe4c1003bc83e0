use proptest::prelude::*;

use super::*;

const STREAM: &str = concat!(
    "data: {\"id\":\"c1\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":",
    "{\"role\":\"assistant\",\"content\":\"Grüße\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\", Welt\",",
    "\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"function\":{\"name\":\"f\",",
    "\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,",
    "\"completion_tokens\":2,\"total_tokens\":3}}\n\n",
    "data: [DONE]\n\n",
);

/// Whatever is said of an answer, its response must be one JSON object.
fn assert_sound(answer: &Answer) {
    if let Some(response) = &answer.response {
        let value: serde_json::Value = serde_json::from_str(response).unwrap();
        assert!(value.is_object(), "{response}");
    }
}

#[test]
fn a_stream_cut_anywhere_keeps_what_came() {
    let whole = of_stream(CHAT, [STREAM.as_bytes()]);
    assert_eq!(whole.text.as_deref(), Some("Grüße, Welt"));
    assert_eq!(whole.usage.unwrap().total_tokens, Some(3));
    for end in 0..STREAM.len() {
        let cut = of_stream(CHAT, [&STREAM.as_bytes()[..end]]);
        assert_sound(&cut);
        let text = cut.text.unwrap_or_default();
        assert!("Grüße, Welt".starts_with(&text), "cut at {end}: {text}");
    }
}

#[test]
fn an_error_body_is_no_answer() {
    let error = br#"{"error":{"message":"no","type":"t","param":null,"code":null}}"#;
    assert_eq!(of_whole(error), Answer::default());
    assert_eq!(
        of_stream(CHAT, [&b"data: {\"error\":{\"message\":\"no\"}}\n\n"[..]]),
        Answer::default()
    );
    assert_eq!(of_whole(b"<html>bad gateway</html>"), Answer::default());
}

#[test]
fn an_answer_with_odd_members_keeps_the_others() {
    let answer =
        of_whole(br#"{"id":7,"choices":[{"message":"x","finish_reason":"stop"}],"usage":[]}"#);
    assert_eq!(answer.finish_reason.as_deref(), Some("stop"));
    assert_eq!((answer.id, answer.text, answer.usage), (None, None, None));
}

#[test]
fn more_choices_than_anyone_may_ask_for_are_not_kept() {
    let chunk = |index| {
        let delta = r#"{"content":"x"}"#;
        format!("data: {{\"id\":\"c\",\"choices\":[{{\"index\":{index},\"delta\":{delta}}}]}}\n\n")
    };
    let stream: String = (0..1_000).map(chunk).collect();
    let response = of_stream(CHAT, [stream.as_bytes()]).response.unwrap();
    let value: serde_json::Value = serde_json::from_str(&response).unwrap();
    assert_eq!(value["choices"].as_array().unwrap().len(), 128);
}

proptest! {
    #[test]
    fn law_any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        assert_sound(&of_whole(&bytes));
        assert_sound(&of_stream(CHAT, [bytes.as_slice()]));
    }

    #[test]
    fn law_a_damaged_stream_is_read_without_a_panic(
        at in 0..STREAM.len(),
        byte in any::<u8>(),
        twice in 0..STREAM.len(),
    ) {
        let mut damaged = STREAM.as_bytes().to_vec();
        damaged[at] = byte;
        let tail = damaged[twice..].to_vec();
        damaged.extend(tail);
        assert_sound(&of_stream(CHAT, [damaged.as_slice()]));
    }
}

#[test]
fn of_an_answer_too_long_to_be_kept_the_usage_is_told_whatever_its_protocol() {
    let openai = r#"{"id":"x","usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let others = r#"{"id":"x","model":"m","usage":{"input_tokens":1,"output_tokens":2}}"#;
    let cases = [
        (Endpoint::ChatCompletions, Dialect::OpenAi, openai),
        (Endpoint::ChatCompletions, Dialect::Anthropic, others),
        (Endpoint::TextCompletions, Dialect::OpenAi, openai),
        (Endpoint::Embeddings, Dialect::OpenAi, openai),
        (Endpoint::Responses, Dialect::OpenAi, others),
        (Endpoint::Messages, Dialect::Anthropic, others),
    ];
    for (endpoint, dialect, essence) in cases {
        let call = domain::call::Call { endpoint, ..domain::sample::call() };
        let mut facts = domain::sample::facts(call);
        let deployment =
            domain::deployment::DeploymentFacts { dialect, ..domain::sample::deployment() };
        facts.attempts[0].deployment = deployment.into();
        let response = domain::exchange::Payload::whole(essence.into());
        let request = domain::exchange::Payload::default();
        let answer = answer(&Exchange { facts, request, response });
        let usage = answer.usage.unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(1), Some(2)), "{endpoint:?}");
        assert_eq!(answer.id.as_deref(), Some("x"), "{endpoint:?} {dialect:?}");
    }
}
