//! Paths of the LLM APIs, as LiteLLM has them.
//!
//! Who may call is not decided here, nor which model can answer.

use std::borrow::Cow;

use domain::call::Endpoint;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) api: Api,
    /// The model, if the path names it; then it counts, and not the body's.
    pub(crate) model: Option<Cow<'a, str>>,
}

/// An API behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    /// One whose calls have outcomes.
    Call(Endpoint),
    /// Anthropic's count of what a request would cost in tokens (`/v1/messages/count_tokens`).
    CountTokens,
}

impl Api {
    /// The API in whose shape errors are told.
    pub(crate) fn endpoint(self) -> Endpoint {
        match self {
            Self::Call(endpoint) => endpoint,
            Self::CountTokens => Endpoint::Messages,
        }
    }
}

/// What a path asks for, or `None` if it is no LLM API's.
pub(crate) fn target(path: &str) -> Option<Target<'_>> {
    let api = match path {
        "/v1/chat/completions" | "/chat/completions" => Api::Call(Endpoint::ChatCompletions),
        "/v1/completions" | "/completions" => Api::Call(Endpoint::TextCompletions),
        "/v1/embeddings" | "/embeddings" => Api::Call(Endpoint::Embeddings),
        "/v1/responses" | "/responses" | "/openai/v1/responses" => Api::Call(Endpoint::Responses),
        "/v1/messages" | "/messages" => Api::Call(Endpoint::Messages),
        "/v1/messages/count_tokens" | "/messages/count_tokens" => Api::CountTokens,
        _ => return with_model(path),
    };
    Some(Target { api, model: None })
}

/// The APIs behind a path that names a model.
const AFTER_MODEL: [(&str, Endpoint); 3] = [
    ("/chat/completions", Endpoint::ChatCompletions),
    ("/completions", Endpoint::TextCompletions),
    ("/embeddings", Endpoint::Embeddings),
];

/// The older paths of `OpenAI`, and those of Azure: the model stands in them, and may hold slashes.
fn with_model(path: &str) -> Option<Target<'_>> {
    let rest =
        path.strip_prefix("/engines/").or_else(|| path.strip_prefix("/openai/deployments/"))?;
    let (model, endpoint) = AFTER_MODEL
        .iter()
        .find_map(|(end, endpoint)| Some((rest.strip_suffix(end)?, *endpoint)))
        .filter(|(model, _)| !model.is_empty())?;
    Some(Target { api: Api::Call(endpoint), model: Some(decoded(model)) })
}

/// A part of a path without its percent encoding (RFC 3986, section 2.1). What is no encoding stays.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digit = |at: usize| bytes.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            plain.push((high * 16 + low) as u8);
            at += 3;
        } else {
            plain.push(*byte);
            at += 1;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&plain).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_asks_for_its_api() {
        let cases = [
            ("/v1/chat/completions", Some((Endpoint::ChatCompletions, None))),
            ("/chat/completions", Some((Endpoint::ChatCompletions, None))),
            ("/v1/completions", Some((Endpoint::TextCompletions, None))),
            ("/embeddings", Some((Endpoint::Embeddings, None))),
            ("/responses", Some((Endpoint::Responses, None))),
            ("/openai/v1/responses", Some((Endpoint::Responses, None))),
            ("/messages", Some((Endpoint::Messages, None))),
            ("/engines/gpt/chat/completions", Some((Endpoint::ChatCompletions, Some("gpt")))),
            ("/engines/a/b/completions", Some((Endpoint::TextCompletions, Some("a/b")))),
            (
                "/openai/deployments/gpt%2D4%20x/embeddings",
                Some((Endpoint::Embeddings, Some("gpt-4 x"))),
            ),
            ("/engines/50%/embeddings", Some((Endpoint::Embeddings, Some("50%")))),
            ("/engines//embeddings", None),
            ("/engines/embeddings", None),
            ("/v1/models", None),
            ("/v1/chat/completions/", None),
            ("/", None),
        ];
        for (path, expected) in cases {
            let found = target(path).map(|target| (target.api.endpoint(), target.model));
            let found = found.as_ref().map(|(endpoint, model)| (*endpoint, model.as_deref()));
            assert_eq!(found, expected, "{path}");
        }
        assert_eq!(target("/v1/messages/count_tokens").map(|t| t.api), Some(Api::CountTokens));
    }
}
