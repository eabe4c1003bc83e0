//! What the answer says beside its first choice: the other choices, and the provider's own words.

use domain::{call::Endpoint, deployment::Dialect, event::Report};

use crate::format::json::{Members, elements, text_of};

/// The choices of an answer of `OpenAI`'s completions, by their index; none of any other answer.
pub(super) fn choices(report: &Report) -> Vec<Members<'_>> {
    let is_completion = matches!(
        report.exchange.facts.call.endpoint,
        Endpoint::ChatCompletions | Endpoint::TextCompletions
    );
    let response = report.response.as_deref().filter(|_| is_completion);
    let choices = response.map(Members::of).and_then(|answer| answer.get("choices"));
    let choices = choices.map(elements).unwrap_or_default();
    let mut choices: Vec<_> = choices.iter().map(|raw| Members::of(raw.get())).collect();
    choices.sort_by_key(|choice| choice.get("index").and_then(|index| index.parse::<u32>().ok()));
    choices
}

/// Why each choice ended, as JSON strings in `OpenAI`'s words; only those that did.
pub(super) fn finish_reasons(report: &Report) -> Vec<String> {
    let choices = choices(report);
    if choices.len() < 2 {
        let quoted = |reason: &String| serde_json::Value::from(reason.as_str()).to_string();
        return report.finish_reason.iter().map(quoted).collect();
    }
    let reasons = choices.iter().filter_map(|choice| choice.get("finish_reason"));
    reasons.filter(|reason| reason.starts_with('"')).map(ToOwned::to_owned).collect()
}

/// Why the first choice ended, in the provider's own word where the answer still has it.
pub(super) fn native_finish_reason(report: &Report) -> Option<String> {
    let facts = &report.exchange.facts;
    let is_anthropics =
        facts.attempts.last().is_some_and(|last| last.deployment.dialect == Dialect::Anthropic);
    if !is_anthropics && facts.call.endpoint != Endpoint::Messages {
        return report.finish_reason.clone();
    }
    let own = match &report.response {
        Some(answer) if facts.call.endpoint == Endpoint::Messages => {
            Members::of(answer).get("stop_reason").and_then(text_of).map(Into::into)
        }
        // A chat's answer was translated; the provider's bytes are not.
        _ => last_stop_reason(&report.exchange.response.bytes),
    };
    own.or_else(|| report.finish_reason.clone())
}

/// The last `stop_reason` in an answer of Anthropic's, whole or streamed. The name cannot be part of
/// a text: its quotes would be escaped there.
fn last_stop_reason(answer: &[u8]) -> Option<String> {
    const NAME: &[u8] = br#""stop_reason""#;
    let mut end = answer.len();
    while let Some(at) = memchr::memmem::rfind(&answer[..end], NAME) {
        end = at;
        let rest = answer[at + NAME.len()..].trim_ascii_start();
        let value = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        let text = value.and_then(|value| value.strip_prefix(b"\""));
        let length = text.and_then(|text| memchr::memchr(b'"', text));
        if let (Some(text), Some(length)) = (text, length) {
            return String::from_utf8(text[..length].to_vec()).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stop_reason_that_is_one_counts() {
        let stream = br#"data: {"message":{"stop_reason":null}}
data: {"delta":{"text":"\"stop_reason\":\"no\""}}
data: {"delta":{"stop_reason": "tool_use","stop_sequence":null}}
data: {"x":{"stop_reason":null}}"#;
        assert_eq!(last_stop_reason(stream).as_deref(), Some("tool_use"));
        assert_eq!(last_stop_reason(br#"{"stop_reason":"#), None);
        assert_eq!(last_stop_reason(br#"{"stop_reason":"cut"#), None);
        assert_eq!(last_stop_reason(b""), None);
    }
}
