//! Which headers pass, in each direction, and which are kept.

use std::borrow::Cow;

use bytes::Bytes;
use domain::{call::Endpoint, deployment::Dialect};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use provider::protocol::{Pair, pair};

use crate::config::{Credential, Deployment};

/// Headers kept of one message, at most, and bytes of one value.
const KEPT_HEADERS_MAX: usize = 64;
const KEPT_VALUE_BYTES_MAX: usize = 1024;

/// Meaningful for one connection only (RFC 9110, section 7.6.1), or made anew on each side.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "content-length"
            | "host"
            | "expect"
    )
}

/// What a message's `Connection` header says is for this connection only (RFC 9110, section 7.6.1).
fn named_by_connection(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let names = values.flat_map(|value| value.split(',').map(str::trim));
    names.filter(|name| !matches!(*name, "close" | "keep-alive")).collect()
}

/// Carries, or may carry, something that lets its holder in.
fn is_credential(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "proxy-authorization"
            | "proxy-authenticate"
            | "x-api-key"
            | "api-key"
            | "x-litellm-api-key"
            | "x-goog-api-key"
            | "x-amz-security-token"
            | "helicone-auth"
            | "cookie"
            | "set-cookie"
    )
}

/// Parts of names of headers that nobody has listed, and that carry a credential all the same.
const TELLING: [&str; 8] =
    ["token", "secret", "api-key", "apikey", "api_key", "authorization", "password", "credential"];

/// What begins headers that are there to be told, so that a part of a name says nothing: how many
/// tokens are left is no secret, and Helicone's callers name their properties as they like.
const TOLD: [&str; 3] = ["x-ratelimit-", "anthropic-ratelimit-", "helicone-property-"];

/// Not to be kept: a credential by its name or by a part of it. More than what is not passed on,
/// because what is kept is told to receivers.
fn is_secret(name: &HeaderName) -> bool {
    let text = name.as_str();
    let is_told = TOLD.iter().any(|prefix| text.starts_with(prefix));
    // One pass, and a comparison only where a part may begin: each call's headers go through here.
    let is_telling = |(at, first): (usize, u8)| {
        matches!(first, b't' | b's' | b'a' | b'p' | b'c')
            && TELLING.iter().any(|part| text.as_bytes()[at..].starts_with(part.as_bytes()))
    };
    is_credential(name) || (!is_told && text.bytes().enumerate().any(is_telling))
}

/// Addressed to the gateway, or about the caller's place in its own network.
fn stays_here(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-litellm-")
        || name.starts_with("helicone-")
        || name.starts_with("x-hookgate-")
        || name.starts_with("x-forwarded-")
        || matches!(
            name,
            "forwarded"
                | "x-real-ip"
                | "via"
                | "origin"
                | "referer"
                | "x-session-id"
                | "accept-encoding"
                | "openai-organization"
                | "openai-project"
        )
}

/// The headers of a request to a provider: the caller's own but for credentials and what is
/// addressed to the gateway, then the deployment's.
pub(crate) fn to_provider(
    caller: &HeaderMap,
    deployment: &Deployment,
    endpoint: Endpoint,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(caller.len() + 4);
    let hop = named_by_connection(caller);
    let is_of_hop =
        |name: &HeaderName| hop.iter().any(|hop| hop.eq_ignore_ascii_case(name.as_str()));
    if pair(endpoint, deployment.facts.dialect) == Pair::Translate {
        let passes = [header::USER_AGENT, HeaderName::from_static("anthropic-beta")];
        for name in passes {
            if let Some(value) = caller.get(&name) {
                headers.insert(name, value.clone());
            }
        }
    } else {
        for (name, value) in caller {
            if !is_hop_by_hop(name) && !is_of_hop(name) && !is_credential(name) && !stays_here(name)
            {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    if deployment.facts.dialect == Dialect::Anthropic {
        let version = HeaderValue::from_static(provider::anthropic::VERSION);
        headers.entry("anthropic-version").or_insert(version);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Credential::Key(key) = &deployment.credential {
        let (name, text) = match deployment.facts.dialect {
            Dialect::Anthropic => (HeaderName::from_static("x-api-key"), key.expose().to_owned()),
            Dialect::OpenAi | Dialect::Mock => {
                (header::AUTHORIZATION, format!("Bearer {}", key.expose()))
            }
        };
        if let Some(value) = secret_value(text) {
            headers.insert(name, value);
        }
    }
    for (name, value) in &deployment.extra_headers {
        let name = HeaderName::try_from(name.as_str());
        if let (Ok(name), Some(value)) = (name, secret_value(value.expose().to_owned())) {
            headers.insert(name, value);
        }
    }
    headers
}

fn secret_value(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What a provider says of its own site, or of how it packed the body. It was asked not to pack it,
/// and nothing is unpacked here: a body that is packed all the same does not read as JSON or events,
/// so the caller gets the gateway's own error instead of it.
fn is_of_site(name: &HeaderName) -> bool {
    let name = name.as_str();
    // Which web pages may read an answer is the gateway's to say, and it lets none.
    name.starts_with("access-control-")
        || matches!(name, "alt-svc" | "strict-transport-security" | "date" | "content-encoding")
}

/// The provider's headers that the caller gets: all but those of the connection, cookies, and what
/// the provider says of its own site.
pub(crate) fn to_caller(provider: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(provider.len() + 8);
    let hop = named_by_connection(provider);
    for (name, value) in provider {
        let is_of_hop = hop.iter().any(|hop| hop.eq_ignore_ascii_case(name.as_str()));
        if !is_hop_by_hop(name) && !is_of_hop && !is_credential(name) && !is_of_site(name) {
            headers.append(name.clone(), value.clone());
        }
    }
    headers
}

/// A header's value as text: UTF-8, or Latin-1 as older clients write it (RFC 9110, section 5.5).
pub(crate) fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value.as_bytes().iter().copied().map(char::from).collect(),
    }
}

/// Headers as a record keeps them: without credentials, within bounds.
pub(crate) fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|(name, _)| !is_secret(name))
        .filter(|(_, value)| value.len() <= KEPT_VALUE_BYTES_MAX)
        .map(|(name, value)| (name.as_str().to_owned(), text(value).into_owned()))
        .take(KEPT_HEADERS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_may_let_its_holder_in_is_not_kept() {
        let secrets = [
            "authorization",
            "x-upstream-authorization",
            "cookie",
            "x-auth-token",
            "x-vault-token",
            "token",
            "x-client-secret",
            "my-api-key",
            "x-myapikey",
            "x-api_key-2",
            "x-password",
            "x-credentials",
        ];
        let others = [
            "user-agent",
            "x-request-id",
            "x-stainless-package-version",
            "x-ratelimit-remaining-tokens",
            "anthropic-ratelimit-input-tokens-remaining",
            "retry-after",
            "helicone-property-max-tokens",
            "x-toke",
        ];
        let mut headers = HeaderMap::new();
        for name in secrets.iter().chain(&others) {
            headers.insert(*name, HeaderValue::from_static("1"));
        }
        let kept: Vec<_> = kept(&headers).into_iter().map(|(name, _)| name).collect();
        assert_eq!(kept, others);
    }

    #[test]
    fn a_value_beyond_ascii_is_kept_whichever_way_it_is_written() {
        for bytes in [&b"K\xc3\xb6ln"[..], b"K\xf6ln"] {
            let value = HeaderValue::from_bytes(bytes).unwrap();
            let headers = HeaderMap::from_iter([(HeaderName::from_static("x-city"), value)]);
            assert_eq!(kept(&headers), [("x-city".to_owned(), "Köln".to_owned())]);
        }
    }
}
