//! Who may call: the master key, and what keeps web pages out when there is none.

use domain::call::{Caller, Refusal};
use http::{HeaderMap, Uri, header};
use subtle::ConstantTimeEq;

use crate::config::Config;

/// Says who calls, or why they may not.
pub(crate) fn authorize(
    config: &Config,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Caller, Refusal> {
    let Some(master_key) = &config.master_key else {
        return keep_web_pages_out(headers, uri).map(|()| Caller::Anonymous);
    };
    let Some(shown) = shown_key(headers) else {
        return Err(Refusal::NoKey(
            "no API key was given: send `Authorization: Bearer <key>` (or `x-api-key`)",
        ));
    };
    if bool::from(shown.as_bytes().ct_eq(master_key.expose().as_bytes())) {
        Ok(Caller::Master)
    } else {
        Err(Refusal::WrongKey("the API key is not valid for this gateway"))
    }
}

/// The key in any of the headers that LiteLLM takes one from.
fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = text("x-litellm-api-key") {
        return Some(key.strip_prefix("Bearer ").unwrap_or(key));
    }
    if let Some(value) = text(header::AUTHORIZATION.as_str()) {
        let (scheme, key) = value.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    text("x-api-key").or_else(|| text("api-key"))
}

/// A web page that a browser on this machine shows could post to a loopback address. It cannot
/// forge `Host` or `Origin`, so both must be of this machine.
fn keep_web_pages_out(headers: &HeaderMap, uri: &Uri) -> Result<(), Refusal> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let host = host.or_else(|| uri.authority().map(http::uri::Authority::as_str));
    if host.is_some_and(|host| !is_loopback(host)) {
        return Err(Refusal::Foreign(
            "without a master key the gateway answers only to the host names localhost, 127.0.0.1 \
             and [::1]",
        ));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    if authority.is_some_and(|(_, authority)| is_loopback(authority)) {
        return Ok(());
    }
    Err(Refusal::Foreign("without a master key the gateway answers no foreign web page"))
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_pass_without_a_master_key() {
        for (host, origin, passes) in [
            ("localhost:4000", None, true),
            ("127.0.0.1:4000", Some("http://localhost:3000"), true),
            ("[::1]:4000", None, true),
            ("evil.example", None, false),
            ("127.0.0.1.evil.example:4000", None, false),
            ("localhost:4000", Some("https://evil.example"), false),
            ("localhost:4000", Some("null"), false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            let uri = Uri::from_static("/v1/models");
            let outcome = keep_web_pages_out(&headers, &uri);
            assert_eq!(outcome.is_ok(), passes, "{host} {origin:?}");
        }
    }
}
