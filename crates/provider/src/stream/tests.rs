use domain::failure::FailureKind;
use proptest::prelude::*;

use super::*;

/// What the caller got of a stream, its deltas, and how it ended: at the protocol's end or not.
type Passed = (Vec<u8>, Vec<Said>, Result<bool, Failure>);

/// A delta's text and finish reason.
type Said = (String, Option<String>);

fn passed(endpoint: Endpoint, reads: &[&[u8]]) -> Passed {
    let mut stream = passthrough(endpoint, true, true, 1 << 16);
    let mut out = Vec::new();
    let pushed =
        reads.iter().try_for_each(|read| stream.push(Bytes::copy_from_slice(read), &mut out));
    let ended = pushed.and_then(|()| stream.finish(&mut out)).map(|()| stream.is_complete());
    let deltas = stream.take_deltas();
    for choice in 0..2 {
        let of_choice = deltas.iter().filter(|delta| delta.choice_index == choice);
        assert!(of_choice.map(|delta| delta.token_index).enumerate().all(|(n, i)| n == i as usize));
    }
    let deltas = deltas.into_iter().map(|delta| (delta.content, delta.finish_reason)).collect();
    (out.concat(), deltas, ended)
}

const RESPONSES: &[u8] = include_bytes!("../../tests/golden/derive/responses_stream/response.sse");
const RESPONSES_FAILED: &[u8] =
    include_bytes!("../../tests/golden/derive/responses_stream_failed/response.sse");
const RESPONSES_ODD: &[u8] =
    include_bytes!("../../tests/golden/derive/responses_stream_odd/response.sse");
const MESSAGES: &[u8] = include_bytes!("../../tests/golden/derive/messages_stream/response.sse");
const MESSAGES_ERROR: &[u8] =
    include_bytes!("../../tests/golden/derive/messages_stream_error/response.sse");
const MESSAGES_ODD: &[u8] =
    include_bytes!("../../tests/golden/derive/messages_stream_odd/response.sse");

fn said(text: &str) -> Said {
    (text.to_owned(), None)
}

fn ended(reason: &str) -> Said {
    (String::new(), Some(reason.to_owned()))
}

#[test]
fn a_stream_of_responses_passes_unchanged_up_to_its_last_event() {
    let more = [RESPONSES, b"data: [DONE]\n\n"].concat();
    let (out, deltas, end) = passed(Endpoint::Responses, &[&more, b"data: {}\n\n"]);
    assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8_lossy(RESPONSES));
    assert_eq!(deltas, [said("Grüß"), said(" Gott!"), ended("stop")]);
    assert_eq!(end, Ok(true));
}

#[test]
fn a_stream_of_messages_passes_unchanged_up_to_its_last_event() {
    let more = [MESSAGES, b"event: ping\ndata: {\"type\":\"ping\"}\n\n"].concat();
    let (out, deltas, end) = passed(Endpoint::Messages, &[&more]);
    assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8_lossy(MESSAGES));
    assert_eq!(deltas, [said("Let me "), said("see."), ended("tool_calls")]);
    assert_eq!(end, Ok(true));
}

#[test]
fn odd_framing_passes_as_it_came_and_a_last_event_gets_its_blank_line() {
    let (out, _, end) = passed(Endpoint::Responses, &[RESPONSES_ODD]);
    // Only the line feed of the last blank line is missing, which ends the event all the same.
    assert!(out.starts_with(RESPONSES_ODD));
    assert_eq!(end, Ok(true));
    let (out, deltas, end) = passed(Endpoint::Messages, &[MESSAGES_ODD]);
    assert!(out.starts_with(MESSAGES_ODD));
    // Without `message_stop` the end of the bytes is the end, once there is a stop reason.
    assert_eq!(end, Ok(false));
    assert_eq!(deltas, [said("Gr"), said("üß"), said("lost"), ended("stop")]);
}

#[test]
fn an_error_event_passes_and_is_the_providers_failure() {
    let flat = b"data: {\"type\":\"error\",\"code\":\"rate_limit_exceeded\",\"message\":\"slow\",\
        \"param\":null,\"sequence_number\":1}\n\n";
    let nested = b"event: error\ndata: {\"type\":\"error\",\"sequence_number\":2,\"error\":\
        {\"type\":\"too_many_requests\",\"code\":\"429\",\"message\":\"slow\",\"param\":null}}\n\n";
    let nameless = b"data: {\"error\":{\"message\":\"slow\",\"code\":\"429\"}}\n\n";
    let server = "The server had an error";
    let cases: [(_, &[u8], _, _, _); 6] = [
        (Endpoint::Responses, RESPONSES_FAILED, 500, server, Some("server_error")),
        (Endpoint::Responses, flat, 500, "slow", Some("rate_limit_exceeded")),
        (Endpoint::Responses, nested, 429, "slow", Some("429")),
        (Endpoint::Responses, nameless, 429, "slow", Some("429")),
        (Endpoint::Messages, MESSAGES_ERROR, 529, "Overloaded", None),
        (Endpoint::Messages, nameless, 429, "slow", Some("429")),
    ];
    for (endpoint, stream, status, message, code) in cases {
        let (out, _, end) = passed(endpoint, &[stream, b"data: {\"type\":\"message_stop\"}\n\n"]);
        let failure = end.unwrap_err();
        assert_eq!(out, stream, "{message}");
        assert_eq!((failure.kind, failure.status), (FailureKind::StreamError, status), "{message}");
        assert_eq!((&*failure.message, failure.code.as_deref()), (message, code));
    }
}

#[test]
fn an_end_before_the_end_is_a_cut_and_garbage_does_not_pass() {
    for (endpoint, stream) in [(Endpoint::Responses, RESPONSES), (Endpoint::Messages, MESSAGES)] {
        let part = &stream[..stream.len() / 2];
        let (_, _, end) = passed(endpoint, &[part]);
        let failure = end.unwrap_err();
        assert_eq!(failure.kind, FailureKind::StreamCut);
        assert_eq!(failure.message, "the provider's stream ended before its end");
        assert_eq!(passed(endpoint, &[]).2.unwrap_err().kind, FailureKind::StreamCut);
        let good = b"data: {\"type\":\"ping\"}\n\n";
        for bad in [&b"data: hello\n\n"[..], b"data: {\"cut\":\n\n"] {
            let (out, _, end) = passed(endpoint, &[&[&good[..], bad].concat()]);
            assert_eq!(out, good);
            assert_eq!(end.unwrap_err().kind, FailureKind::BadResponse);
        }
        let (out, _, end) = passed(endpoint, &[b"<html><body>502"]);
        assert_eq!((out.len(), end.unwrap_err().kind), (0, FailureKind::BadResponse));
    }
}

#[test]
fn a_read_of_whole_events_passes_as_one_piece_and_without_a_copy() {
    for (endpoint, stream) in [(Endpoint::Responses, RESPONSES), (Endpoint::Messages, MESSAGES)] {
        let mut out = Vec::new();
        let mut passing = passthrough(endpoint, false, false, 1 << 16);
        passing.push(Bytes::from_static(stream), &mut out).unwrap();
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].as_ptr(), out[0].len()), (stream.as_ptr(), stream.len()));
        assert!(passing.take_deltas().is_empty());
    }
}

#[test]
fn a_text_completions_usage_chunk_is_hidden_like_a_chats() {
    let stream = include_bytes!("../../tests/golden/derive/text_completion_stream/response.sse");
    let (out, _, end) = passed(Endpoint::TextCompletions, &[stream]);
    let out = String::from_utf8(out).unwrap();
    assert!(end.is_ok() && !out.contains("usage") && out.ends_with("data: [DONE]\n\n"));
}

#[test]
fn a_failed_stream_says_so_in_its_own_protocol() {
    let failure = Failure::new(FailureKind::StreamCut, 502, "it \"broke\"".to_owned());
    let openai =
        r#"{"code":"stream_cut","message":"it \"broke\"","param":null,"type":"api_error"}"#;
    let cases = [
        (Endpoint::ChatCompletions, format!("data: {{\"error\":{openai}}}\n\n")),
        (Endpoint::TextCompletions, format!("data: {{\"error\":{openai}}}\n\n")),
        (
            Endpoint::Responses,
            format!(
                "event: error\ndata: {{\"type\":\"error\",\"sequence_number\":0,\
                 \"code\":\"stream_cut\",\"message\":\"it \\\"broke\\\"\",\"param\":null,\
                 \"error\":{openai}}}\n\n"
            ),
        ),
        (
            Endpoint::Messages,
            "event: error\ndata: {\"error\":{\"message\":\"it \\\"broke\\\"\",\
             \"type\":\"api_error\"},\"type\":\"error\"}\n\n"
                .to_owned(),
        ),
    ];
    for (endpoint, expected) in cases {
        let event = error_event(endpoint, &failure);
        assert_eq!(String::from_utf8_lossy(&event), expected);
        // Whoever reads it as a stream of that protocol sees a failure, too.
        let (_, _, end) = passed(endpoint, &[&event]);
        assert_eq!(end.unwrap_err().message, "it \"broke\"");
    }
}

/// Frames of a stream, of which only the last may end it.
fn frames() -> impl Strategy<Value = Vec<&'static str>> {
    let frame = prop::sample::select(vec![
        ": comment\n\n",
        "event: ping\r\ndata: {\"type\": \"ping\"}\r\n\r\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\
         \"text\":\"héllo\"}}\n\n",
        "data: {\"type\":\"response.output_text.delta\",\"delta\":\"héllo\"}\r\r",
        "data: {\"no\":\"type\",\"error\":null}\n\n",
        "id: 1\ndata: {\"a\":\ndata: \"message_stop error response.completed\"}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n",
        "data: {\"type\":7}\n\n",
        "data: [DONE]\n\n",
        "\n",
    ]);
    prop::collection::vec(frame, 1..8)
}

/// The bytes, cut into reads.
fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}

proptest! {
    #[test]
    fn law_the_caller_gets_exactly_the_providers_bytes_however_they_are_cut(
        frames in frames(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        is_messages: bool,
    ) {
        let (endpoint, end) = if is_messages {
            (Endpoint::Messages, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
        } else {
            (
                Endpoint::Responses,
                "event: response.completed\ndata: {\"type\":\"response.completed\",\
                 \"response\":{\"status\":\"completed\"}}\n\n",
            )
        };
        // A stream begins with a field: a blank line alone could be anything.
        let bytes = format!(": hello\n\n{}{end}", frames.concat()).into_bytes();
        let (out, deltas, ended) = passed(endpoint, &cut(&bytes, &cuts));
        prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&bytes));
        prop_assert_eq!(ended, Ok(true));
        prop_assert_eq!(deltas, passed(endpoint, &[&bytes]).1);
    }

    #[test]
    fn law_a_failed_stream_ends_alike_however_it_is_cut(
        which in 0_usize..4,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (endpoint, bytes) = [
            (Endpoint::Responses, RESPONSES_FAILED),
            (Endpoint::Messages, MESSAGES_ERROR),
            (Endpoint::Messages, &MESSAGES[..MESSAGES.len() / 3]),
            (Endpoint::Responses, &RESPONSES[..RESPONSES.len() / 3]),
        ][which];
        prop_assert_eq!(passed(endpoint, &cut(bytes, &cuts)), passed(endpoint, &[bytes]));
    }

    #[test]
    fn law_no_bytes_make_a_stream_panic(text in "(data: )?\\{\"type\":\\PC{0,40}\n\n\\PC{0,40}") {
        for endpoint in [Endpoint::Responses, Endpoint::Messages] {
            let _ = passed(endpoint, &[text.as_bytes()]);
        }
    }
}
