//! Who may call: the master key, named keys, and what keeps web pages out when there is none.

use domain::call::{Caller, Refusal};
use http::{HeaderMap, Uri, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::config::{Config, Key};

/// Says who calls, or why they may not.
pub(crate) fn authorize(
    config: &Config,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<Caller, Refusal> {
    if config.master_key.is_none() && config.keys.is_empty() {
        return keep_web_pages_out(headers, uri).map(|()| Caller::Anonymous);
    }
    // Helicone's callers send the gateway's key beside a provider's in `Authorization`.
    let helicone = helicone_token(headers);
    let shown = [shown_key(headers), bearer(headers, "helicone-auth"), helicone.as_deref()];
    if shown == [None; 3] {
        return Err(Refusal::NoKey(
            "no API key was given: send `Authorization: Bearer <key>` (or `x-api-key`)",
        ));
    }
    let known = shown.into_iter().flatten().flat_map(keys_in).find_map(|key| known(config, key));
    known.ok_or(Refusal::WrongKey("the API key is not valid for this gateway"))
}

/// What was shown, and its two halves: Helicone's callers may send a provider's key and the gateway's
/// in one header, with a comma between.
fn keys_in(shown: &str) -> impl Iterator<Item = &str> {
    let halves = shown.split_once(',').map(|(first, second)| [first, second]);
    let halves = halves.into_iter().flatten().map(str::trim);
    std::iter::once(shown).chain(halves.map(|half| half.strip_prefix("Bearer ").unwrap_or(half)))
}

/// Whose key it is.
fn known(config: &Config, shown: &str) -> Option<Caller> {
    let is_master = config.master_key.as_ref().is_some_and(|master_key| {
        bool::from(shown.as_bytes().ct_eq(master_key.expose().as_bytes()))
    });
    if is_master {
        return Some(Caller::Master);
    }
    let Key { name, hash, .. } = named_key(&config.keys, shown)?;
    Some(Caller::Key { name: name.clone(), hash: hash.clone() })
}

/// The key that was shown, by its hash. All are compared, each in full: how long it takes tells
/// nothing of any.
fn named_key<'a>(keys: &'a [Key], shown: &str) -> Option<&'a Key> {
    if keys.is_empty() {
        return None;
    }
    let hash = hex(&Sha256::digest(shown.as_bytes()));
    keys.iter().fold(None, |found, key| {
        let is_it: Choice = key.hash.as_bytes().ct_eq(&hash);
        if bool::from(is_it) { Some(key) } else { found }
    })
}

/// Lower-case hexadecimal digits.
fn hex(hash: &[u8]) -> Vec<u8> {
    let digit = |half: u8| b"0123456789abcdef"[usize::from(half)];
    hash.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn bearer<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ").unwrap_or(value).trim())
}

fn is_bearer(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("bearer")
}

/// The key in Helicone's other way to show one: JSON of `_type`, `token` and `orgId`.
fn helicone_token(headers: &HeaderMap) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Shown {
        token: String,
    }
    let value = headers.get("helicone-authorization")?;
    let Shown { token } = serde_json::from_slice(value.as_bytes()).ok()?;
    Some(token.strip_prefix("Bearer ").unwrap_or(&token).trim().to_owned())
}

/// The key in any of the headers that LiteLLM or Helicone takes one from.
fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = bearer(headers, "x-litellm-api-key") {
        return Some(key);
    }
    if let Some(value) = text(header::AUTHORIZATION.as_str()) {
        let Some((scheme, key)) = value.split_once(' ') else {
            // As Helicone takes it: the key alone.
            return (!value.is_empty() && !is_bearer(value)).then_some(value);
        };
        return is_bearer(scheme).then(|| key.trim());
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

    fn key(name: &str, text: &str) -> Key {
        let hash = String::from_utf8(hex(&Sha256::digest(text))).expect("digits are text");
        let (name, models) = (name.to_owned(), Vec::new());
        Key { name, hash, models, rpm: None, tpm: None, max_parallel_requests: None }
    }

    #[test]
    fn a_key_is_known_by_its_hash() {
        let keys = [key("a", "sk-a"), key("b", "sk-b")];
        assert_eq!(
            keys[0].hash,
            // printf sk-a | sha256sum
            "a4a6d307ad00fa67176e1099fdbc4f4a09bb527a7f24718a5030f2f173d11f7f"
        );
        for (shown, name) in [("sk-a", Some("a")), ("sk-b", Some("b")), ("sk-c", None), ("", None)]
        {
            let found = named_key(&keys, shown).map(|key| key.name.as_str());
            assert_eq!(found, name, "{shown:?}");
        }
    }

    #[test]
    fn a_key_is_taken_from_the_first_header_that_may_hold_one() {
        let cases = [
            ("authorization: Bearer a", Some("a")),
            ("authorization: bearer  a ", Some("a")),
            ("authorization: a", Some("a")),
            ("authorization: Bearer", None),
            ("authorization: ", None),
            ("authorization: Basic a\nx-api-key: b", None),
            ("authorization: Bearer a\nx-litellm-api-key: Bearer c", Some("c")),
            ("x-api-key: b\nx-litellm-api-key: c ", Some("c")),
            ("x-api-key: b\napi-key: c", Some("b")),
            ("api-key: c", Some("c")),
            ("", None),
        ];
        for (given, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in given.lines().filter_map(|line| line.split_once(": ")) {
                headers.insert(name, value.parse().unwrap());
            }
            assert_eq!(shown_key(&headers), expected, "{given}");
        }
    }

    #[test]
    fn one_header_may_carry_a_provider_s_key_and_the_gateway_s() {
        for (shown, expected) in [
            ("a", vec!["a"]),
            ("a, Bearer b", vec!["a, Bearer b", "a", "b"]),
            ("a,b,c", vec!["a,b,c", "a", "b,c"]),
            (",", vec![",", "", ""]),
        ] {
            assert_eq!(keys_in(shown).collect::<Vec<_>>(), expected, "{shown}");
        }
    }

    #[test]
    fn helicone_s_json_shows_a_key() {
        for (value, expected) in [
            (r#"{"_type":"bearer","token":"a","orgId":"o"}"#, Some("a")),
            (r#"{"_type":"bearer","token":"Bearer a"}"#, Some("a")),
            (r#"{"_type":"bearer"}"#, None),
            ("a", None),
        ] {
            let value = value.parse().unwrap();
            let headers =
                HeaderMap::from_iter([("helicone-authorization".parse().unwrap(), value)]);
            assert_eq!(helicone_token(&headers).as_deref(), expected, "{headers:?}");
        }
    }

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
