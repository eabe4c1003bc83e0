//! What filters and rules look at, read out of a call and its report.

use std::borrow::Cow;

use domain::{
    call::{Call, Caller},
    event::Report,
    usage::Usage,
};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

/// The names of a call's model: the one that the caller used, and those of the deployment that made
/// the outcome: its public one, the provider's, and the provider's behind its prefix. Without a
/// report, the caller's alone.
pub(super) fn model_names<'a>(
    call: &'a Call,
    report: Option<&'a Report>,
) -> impl Iterator<Item = Cow<'a, str>> {
    let attempt = report.and_then(|report| report.exchange.facts.attempts.last());
    let of_deployment = attempt.into_iter().flat_map(|attempt| {
        let deployment = &attempt.deployment;
        [
            deployment.model_name.as_str().into(),
            deployment.model.as_str().into(),
            format!("{}/{}", deployment.provider, deployment.model).into(),
        ]
    });
    std::iter::once(call.model.as_str().into()).chain(of_deployment)
}

/// The model that the provider says it answered with.
pub(crate) fn answered_model(report: &Report) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        model: Cow<'a, str>,
    }
    let answer: Answer<'_> = serde_json::from_str(report.response.as_deref()?).ok()?;
    Some(answer.model.into_owned()).filter(|model| !model.is_empty())
}

/// The name of the key that the caller showed.
pub(super) fn key_name(call: &Call) -> Option<&str> {
    match &call.caller {
        Caller::Key { name, .. } => Some(name),
        Caller::Master => Some("master"),
        Caller::Anonymous | Caller::Refused => None,
    }
}

/// All tokens, as reported or added up.
pub(super) fn total_tokens(usage: &Usage) -> Option<u64> {
    usage.total_tokens.or_else(|| Some(usage.input_tokens?.saturating_add(usage.output_tokens?)))
}

/// The texts of a request's prompt, whatever its API, one a line; nothing of its tools, images and
/// settings.
pub(super) fn prompt(request: &[u8]) -> String {
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Request<'a> {
        #[serde(borrow)]
        system: Option<&'a RawValue>,
        #[serde(borrow)]
        instructions: Option<&'a RawValue>,
        #[serde(borrow)]
        messages: Option<&'a RawValue>,
        #[serde(borrow)]
        prompt: Option<&'a RawValue>,
        #[serde(borrow)]
        input: Option<&'a RawValue>,
    }
    let request: Request<'_> = serde_json::from_slice(request).unwrap_or_default();
    let parts =
        [request.system, request.instructions, request.messages, request.prompt, request.input];
    let mut prompt = String::new();
    for part in parts.into_iter().flatten() {
        if let Ok(value) = serde_json::from_str(part.get()) {
            push_texts(&value, &mut prompt);
        }
    }
    prompt
}

fn push_texts(value: &Value, prompt: &mut String) {
    match value {
        Value::String(text) => {
            if !prompt.is_empty() {
                prompt.push('\n');
            }
            prompt.push_str(text);
        }
        Value::Array(parts) => parts.iter().for_each(|part| push_texts(part, prompt)),
        Value::Object(members) => {
            for name in ["text", "content"] {
                if let Some(part) = members.get(name) {
                    push_texts(part, prompt);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_the_texts_of_any_api() {
        let cases = [
            (
                r#"{"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":[
                    {"type":"text","text":"Who\n?"},{"type":"image_url","image_url":{"url":"x"}}]},
                    {"role":"assistant","content":null,"tool_calls":[{"id":"y"}]}],"tools":["z"]}"#,
                "Be kind.\nWho\n?",
            ),
            (
                r#"{"system":[{"type":"text","text":"S"}],"messages":[{"role":"user","content":
                    [{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"R"}]}]}]}"#,
                "S\nR",
            ),
            (r#"{"prompt":["a","b"]}"#, "a\nb"),
            (r#"{"prompt":[[1,2]]}"#, ""),
            (r#"{"input":"a","instructions":"i"}"#, "i\na"),
            (
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"a"}]},
                    {"type":"function_call_output","output":"o"}]}"#,
                "a",
            ),
            (r#"{"messages":"odd"}"#, "odd"),
            ("[1]", ""),
            ("{\"messages\":[{\"content\":\"cut", ""),
            ("", ""),
        ];
        for (request, expected) in cases {
            assert_eq!(prompt(request.as_bytes()), expected, "{request}");
        }
    }
}
