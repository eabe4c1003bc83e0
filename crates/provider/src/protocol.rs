//! Which API of callers goes to which provider, and how: a table.
//!
//! Whether a deployment is asked at all, and where its base URL points, is not decided here.

use domain::{
    call::Endpoint,
    deployment::{DeploymentFacts, Dialect},
    failure::{Failure, FailureKind},
};

/// What the gateway can do for calls of an API at a provider of a dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pair {
    /// The provider speaks the same protocol: the caller's bytes go there, the provider's come back.
    Passthrough,
    /// Both ways are translated. The provider's path is that of its own API.
    Translate,
    /// It can do nothing: see [`unsupported`].
    Unsupported,
}

/// How calls of `endpoint` go to a provider of `dialect`. A mock answers in every protocol.
pub const fn pair(endpoint: Endpoint, dialect: Dialect) -> Pair {
    match (endpoint, dialect) {
        (_, Dialect::Mock) | (Endpoint::Messages, Dialect::Anthropic) => Pair::Passthrough,
        (Endpoint::ChatCompletions, Dialect::Anthropic) => Pair::Translate,
        (_, Dialect::Anthropic) | (Endpoint::Messages, Dialect::OpenAi) => Pair::Unsupported,
        (_, Dialect::OpenAi) => Pair::Passthrough,
    }
}

/// The path of an API behind a provider's base URL, as `vendor` writes base URLs: those of
/// `OpenAI`'s dialect end with the version, Anthropic's do not. A translated chat call goes to the
/// path of [`Endpoint::Messages`].
pub const fn path(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions => "/chat/completions",
        Endpoint::TextCompletions => "/completions",
        Endpoint::Embeddings => "/embeddings",
        Endpoint::Responses => "/responses",
        Endpoint::Messages => "/v1/messages",
    }
}

/// The path at which callers find an API, for messages.
pub const fn public_path(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ChatCompletions => "/v1/chat/completions",
        Endpoint::TextCompletions => "/v1/completions",
        Endpoint::Embeddings => "/v1/embeddings",
        Endpoint::Responses => "/v1/responses",
        Endpoint::Messages => "/v1/messages",
    }
}

/// The failure of a call whose pair is [`Pair::Unsupported`]: a 400 that names the API, the model
/// and the provider.
pub fn unsupported(endpoint: Endpoint, deployment: &DeploymentFacts) -> Failure {
    let DeploymentFacts { model_name, provider, .. } = deployment;
    let path = public_path(endpoint);
    let instead = match deployment.dialect {
        Dialect::Anthropic => "/v1/messages or /v1/chat/completions",
        Dialect::OpenAi | Dialect::Mock => "/v1/chat/completions",
    };
    let message = format!(
        "{path} cannot be used with model `{model_name}`: its provider `{provider}` speaks another \
         protocol. Call {instead} instead."
    );
    Failure::new(FailureKind::InvalidRequest, 400, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINTS: [Endpoint; 5] = [
        Endpoint::ChatCompletions,
        Endpoint::TextCompletions,
        Endpoint::Embeddings,
        Endpoint::Responses,
        Endpoint::Messages,
    ];

    #[test]
    fn every_pair_has_its_way() {
        use Pair::{Passthrough, Translate, Unsupported};
        let table = [
            (Dialect::OpenAi, [Passthrough, Passthrough, Passthrough, Passthrough, Unsupported]),
            (Dialect::Anthropic, [Translate, Unsupported, Unsupported, Unsupported, Passthrough]),
            (Dialect::Mock, [Passthrough; 5]),
        ];
        for (dialect, expected) in table {
            assert_eq!(ENDPOINTS.map(|endpoint| pair(endpoint, dialect)), expected, "{dialect:?}");
        }
    }

    #[test]
    fn a_pair_that_cannot_be_is_refused_by_name_and_told_what_can() {
        let deployment = DeploymentFacts {
            provider: "anthropic".to_owned(),
            dialect: Dialect::Anthropic,
            ..domain::sample::deployment()
        };
        let failure = unsupported(Endpoint::Embeddings, &deployment);
        assert_eq!((failure.kind, failure.status), (FailureKind::InvalidRequest, 400));
        assert_eq!(
            failure.message,
            "/v1/embeddings cannot be used with model `smart`: its provider `anthropic` speaks \
             another protocol. Call /v1/messages or /v1/chat/completions instead."
        );
    }
}
