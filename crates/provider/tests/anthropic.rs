//! What Anthropic's dialect is translated to and from, case by case: add a folder, not code.
//!
//! A folder of `golden/anthropic` holds `request.json`, an `OpenAI` request; `response.json`, a
//! Message; or `stream.sse`, a Messages stream. The snapshot beside it holds what became of it.

#![expect(clippy::unwrap_used, reason = "a test says no more by handling it")]

use std::path::Path;

use bytes::Bytes;
use domain::failure::Failure;
use proptest::prelude::*;
use provider::{anthropic, json, stream::CallerStream};

const CREATED: i64 = 1_795_227_718;

#[test]
fn every_case_is_translated_as_its_snapshot_says() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/anthropic");
    let mut folders: Vec<_> =
        std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "the cases are gone");
    for folder in folders {
        let read = |name: &str| std::fs::read(folder.join(name)).ok();
        let shown = if let Some(body) = read("request.json") {
            shown(anthropic::request(&body, "claude-sonnet-4-5"))
        } else if let Some(body) = read("response.json") {
            shown(anthropic::response(&body, CREATED))
        } else {
            let (text, ended) = translated(&[&read("stream.sse").unwrap()], true);
            format!("{text}-- {ended}")
        };
        insta::with_settings!({
            snapshot_path => &folder,
            prepend_module_to_snapshot => false,
            omit_expression => true,
            description => folder.file_name().unwrap().to_str().unwrap(),
        }, { insta::assert_snapshot!("translated", shown) });
    }
}

/// A body over several lines, its members in the order in which they stand, or the failure.
fn shown(translated: Result<Bytes, Failure>) -> String {
    match translated {
        Ok(body) => {
            assert!(json::is_object(&body));
            let mut out = String::new();
            pretty(&body, 0, 0, &mut out);
            out
        }
        Err(failure) => named(&failure),
    }
}

fn named(failure: &Failure) -> String {
    let Failure { kind, status, message, provider_type, param, .. } = failure;
    let kind = kind.as_str();
    format!("failure: {kind} {status} type {provider_type:?} param {param:?}: {message}")
}

fn pretty(bytes: &[u8], start: usize, depth: usize, out: &mut String) {
    let end = json::skip_value(bytes, start).unwrap();
    let raw = str::from_utf8(&bytes[start..end]).unwrap();
    let is_nested = raw.len() > 60 && raw.starts_with(['{', '[']);
    if !is_nested {
        return out.push_str(raw);
    }
    let line = |out: &mut String, key: &str, value: usize| {
        out.push_str(if out.ends_with(['{', '[']) { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(depth + 1));
        out.push_str(key);
        pretty(bytes, value, depth + 1, out);
    };
    out.push_str(&raw[..1]);
    if raw.starts_with('{') {
        for member in json::members(bytes, start) {
            let json::Member { key, value } = member.unwrap();
            let key = format!("{}: ", str::from_utf8(&bytes[key]).unwrap());
            line(out, &key, value.start);
        }
    } else {
        json::elements(bytes, start).for_each(|element| line(out, "", element.unwrap().start));
    }
    out.push('\n');
    out.push_str(&"  ".repeat(depth));
    out.push_str(&raw[raw.len() - 1..]);
}

/// What the caller got of a stream, and how it ended.
fn translated(reads: &[&[u8]], include_usage: bool) -> (String, String) {
    let mut translator = anthropic::Translator::new(CREATED, include_usage, false, 1 << 16);
    let mut out = Vec::new();
    let pushed =
        reads.iter().try_for_each(|r| translator.push(Bytes::copy_from_slice(r), &mut out));
    let ended = pushed.and_then(|()| translator.finish(&mut out));
    let ended = ended.map_or_else(|failure| named(&failure), |()| "a clean end".to_owned());
    (String::from_utf8(out.concat()).unwrap(), ended)
}

#[test]
fn what_cannot_be_said_is_refused_by_the_field_s_name() {
    let message = r#""messages":[{"role":"user","content":"Hi"}]"#;
    let with = |field: &str| format!("{{{message},{field}}}");
    let said = |message: &str| format!(r#"{{"messages":[{message}]}}"#);
    let image = |url: &str| {
        let part = format!(r#"{{"type":"image_url","image_url":{{"url":"{url}"}}}}"#);
        format!(r#"{{"role":"user","content":[{part}]}}"#)
    };
    let call = r#"{"role":"assistant","tool_calls":[
        {"id":"a","function":{"name":"f","arguments":"{"}}]}"#;
    let cases = [
        ("n", with(r#""n":2"#)),
        ("logprobs", with(r#""logprobs":true"#)),
        ("top_logprobs", with(r#""top_logprobs":3"#)),
        ("frequency_penalty", with(r#""frequency_penalty":0.5"#)),
        ("logit_bias", with(r#""logit_bias":{"1":1}"#)),
        ("modalities", with(r#""modalities":["text","audio"]"#)),
        ("audio", with(r#""audio":{"voice":"x"}"#)),
        ("functions", with(r#""functions":[]"#)),
        ("web_search_options", with(r#""web_search_options":{}"#)),
        ("response_format", with(r#""response_format":{"type":"json_object"}"#)),
        ("response_format", with(r#""response_format":{"type":"json_schema"}"#)),
        ("reasoning_effort", with(r#""reasoning_effort":"xhigh""#)),
        ("max_tokens", with(r#""max_tokens":"many""#)),
        ("stop", with(r#""stop":7"#)),
        ("tools", with(r#""tools":{}"#)),
        ("tools[1]", with(r#""tools":[{"name":"own"},{"type":"function"}]"#)),
        ("tools[0]", with(r#""tools":[{"type":"custom","custom":{"name":"x"}}]"#)),
        ("tool_choice", with(r#""tools":[{"name":"own"}],"tool_choice":"all""#)),
        ("tool_choice", with(r#""tools":[{"name":"own"}],"tool_choice":{"type":"allowed_tools"}"#)),
        ("messages", r#"{"model":"a"}"#.to_owned()),
        ("messages", r#"{"messages":"Hi"}"#.to_owned()),
        ("messages[0]", said(r#"{"content":"no role"}"#)),
        ("messages[0]", said(r#"{"role":"narrator","content":""}"#)),
        ("messages[0]", said(r#"{"role":"function","name":"f","content":""}"#)),
        ("messages[0]", said(r#"{"role":"tool","content":""}"#)),
        ("messages[0].function_call", said(r#"{"role":"assistant","function_call":{}}"#)),
        ("messages[0].content", said(r#"{"role":"user","content":7}"#)),
        (
            "messages[0].content[1]",
            said(
                r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"input_audio"}]}"#,
            ),
        ),
        ("messages[0].content[0]", said(&image("c:\\\\a"))),
        ("messages[0].content[0]", said(&image("data:image/png,x"))),
        ("messages[0].tool_calls[0].function.arguments", said(call)),
    ];
    for (param, body) in cases {
        let failure = anthropic::request(body.as_bytes(), "claude").unwrap_err();
        assert_eq!(failure.param.as_deref(), Some(param), "{body}: {}", failure.message);
        assert_eq!((failure.status, failure.kind.as_str()), (400, "bad_request"));
        assert!(failure.message.contains(&format!("`{param}`")), "{}", failure.message);
    }
}

#[test]
fn a_user_s_id_goes_along_unless_anthropic_would_refuse_it() {
    let cases = [
        ("user-1", true),
        ("a@b", true),
        ("123", true),
        ("", false),
        ("someone@example.com", false),
        ("+49 (30) 123-456", false),
    ];
    for (user, goes) in cases {
        let body = format!(r#"{{"messages":[],"user":"{user}"}}"#);
        let body = anthropic::request(body.as_bytes(), "claude").unwrap();
        let metadata = format!(r#""metadata":{{"user_id":"{user}"}}"#);
        assert_eq!(String::from_utf8_lossy(&body).contains(&metadata), goes, "{user}");
    }
}

#[test]
fn the_usage_chunk_is_for_those_who_asked() {
    let stream = include_bytes!("golden/anthropic/stream_text/stream.sse");
    let (with, _) = translated(&[stream], true);
    let (without, _) = translated(&[stream], false);
    assert!(with.contains(r#""choices":[],"usage":{"prompt_tokens":37,"completion_tokens":15"#));
    assert!(!without.contains("usage") && without.ends_with("data: [DONE]\n\n"));
}

#[test]
fn the_end_is_seen_at_message_stop_and_a_stream_that_is_none_at_once() {
    let stream = include_bytes!("golden/anthropic/stream_text/stream.sse");
    let mut translator = anthropic::Translator::new(CREATED, true, true, 1 << 16);
    let mut out = Vec::new();
    translator.push(Bytes::from_static(stream), &mut out).unwrap();
    assert!(translator.is_complete());
    assert_eq!(out.len(), 1, "what one read brings goes out as one piece");
    let deltas: Vec<_> = translator
        .take_deltas()
        .into_iter()
        .map(|delta| (delta.token_index, delta.content, delta.finish_reason))
        .collect();
    let expected = [
        (0, "Héllo".to_owned(), None),
        (1, " \"you\"\n".to_owned(), None),
        (2, String::new(), Some("stop".to_owned())),
    ];
    assert_eq!(deltas, expected);
    let (text, ended) = translated(&[b"<html>502"], true);
    assert_eq!(text, "");
    assert!(ended.starts_with("failure: bad_response 502"), "{ended}");
}

#[test]
fn a_stream_that_was_cut_still_tells_the_usage_that_it_reported() {
    let stream = include_bytes!("golden/anthropic/stream_cut/stream.sse");
    let mut translator = anthropic::Translator::new(CREATED, true, false, 1 << 16);
    assert_eq!(translator.usage_event(), None);
    translator.push(Bytes::from_static(stream), &mut Vec::new()).unwrap();
    translator.finish(&mut Vec::new()).unwrap_err();
    let event = translator.usage_event().unwrap();
    let event = String::from_utf8_lossy(&event).into_owned();
    assert!(event.contains(r#""choices":[],"usage":{"prompt_tokens":9,"#), "{event}");
}

proptest! {
    #[test]
    fn law_a_stream_cut_anywhere_is_translated_alike(
        which in 0_usize..5,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let streams: [&[u8]; 5] = [
            include_bytes!("golden/anthropic/stream_tools/stream.sse"),
            include_bytes!("golden/anthropic/stream_thinking/stream.sse"),
            include_bytes!("golden/anthropic/stream_error/stream.sse"),
            include_bytes!("golden/anthropic/stream_cut/stream.sse"),
            include_bytes!("golden/anthropic/stream_without_stop/stream.sse"),
        ];
        let bytes = streams[which];
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let reads: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(translated(&reads, true), translated(&[bytes], true));
    }

    #[test]
    fn law_no_body_makes_a_translation_panic(body in "\\PC*") {
        let _ = anthropic::request(body.as_bytes(), "claude");
        let _ = anthropic::response(body.as_bytes(), CREATED);
        let nearly = format!("{{\"messages\":[{{\"role\":\"user\",\"content\":{body}}}]}}");
        let _ = anthropic::request(nearly.as_bytes(), "claude");
    }
}
