//! A destination's URL: what may be sent to, and the header that its user name becomes.

use std::net::IpAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::secret::Secret;
use url::{Host, Url};

use crate::config::{policy::Policy, section::Field};

/// A checked URL, and the header that its user name and password became.
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) authorization: Option<Secret>,
}

/// Reads a destination's URL.
pub(crate) fn read_address(
    field: &Field<'_>,
    policy: &Policy,
    allow_private: bool,
) -> Option<Address> {
    let text = field.text()?;
    match check_address(&text, policy, allow_private) {
        Ok((address, warning)) => {
            if let Some(warning) = warning {
                field.warning(warning);
            }
            Some(address)
        }
        Err(what) => {
            field.problem(what);
            None
        }
    }
}

/// Checks a URL that events are sent to: the address and a warning, or what is wrong with it.
pub(crate) fn check_address(
    text: &str,
    policy: &Policy,
    allow_private: bool,
) -> Result<(Address, Option<&'static str>), String> {
    let mut url = parse(text)?;
    if let Some(ip) = literal(&url) {
        let may_be_private =
            allow_private || policy.allow_private_destinations.iter().any(|n| n.contains(ip));
        webhook::address::check(ip, may_be_private)
            .map_err(|refusal| format!("must not be sent to: {refusal}"))?;
    }
    let is_plain = url.scheme() == "http";
    if is_plain && policy.require_https == Some(true) {
        return Err("must begin with https://, as security.require_https is true".to_owned());
    }
    let warning = (is_plain && !is_loopback(&url))
        .then_some("sends events unencrypted over the network; write https:// if it can");
    let authorization = take_credentials(&mut url);
    url.set_fragment(None);
    Ok((Address { url: url.into(), authorization }, warning))
}

/// A URL that events could be sent to, wherever it leads.
pub(crate) fn parse(text: &str) -> Result<Url, &'static str> {
    const SHAPE: &str = "must be a whole URL such as https://example.com/hooks";
    let url = Url::parse(text.trim()).map_err(|_| SHAPE)?;
    let is_whole = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_whole { Ok(url) } else { Err(SHAPE) }
}

fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(ip) => Some(ip.into()),
        Host::Ipv6(ip) => Some(ip.into()),
        Host::Domain(_) => None,
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Takes `user:password@` out of a URL, as the header that means the same (RFC 7617).
fn take_credentials(url: &mut Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let mut pair = unescape(url.username());
    pair.push(b':');
    pair.extend(unescape(url.password().unwrap_or_default()));
    // Both setters fail only for URLs without a host.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(Secret::new(&format!("Basic {}", BASE64_STANDARD.encode(pair))))
}

fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let escaped = (*byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    plain
}
