//! Helicone's checks of ids and destinations, with its texts and in its order.

use url::{Host, Url};

use crate::{policy::Policy, spec::check::literal};

/// What Helicone says of an address that it does not send to.
const PRIVATE: &str = "Destination cannot point to private or internal networks";

/// Names that Helicone takes for private.
const PRIVATE_NAMES: &[&str] =
    &["localhost", "ip6-localhost", "ip6-loopback", "metadata.google.internal"];
/// Endings of names that it takes for private.
const PRIVATE_SUFFIXES: &[&str] = &[".localhost", ".local", ".internal", ".corp", ".lan"];

/// What Postgres says of an id that is no `bigint`.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let digits = id.trim().strip_prefix(['-', '+']).unwrap_or(id.trim());
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("invalid input syntax for type bigint: \"{id}\""));
    }
    match id.trim().parse::<i64>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("value \"{id}\" is out of range for type bigint")),
    }
}

/// What Helicone says of a destination that it does not send to. Where the operator allows plain
/// `http` or private networks, so does this.
pub(super) fn check_destination(text: &str, policy: &Policy) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("Invalid destination URL");
    }
    let is_plain = text.starts_with("http://");
    if !(text.starts_with("https://") || is_plain && !policy.require_https) {
        return Err("Destination must use HTTPS");
    }
    let Ok(url) = Url::parse(text) else { return Err("Invalid destination URL format") };
    let is_private = match (literal(&url), url.host()) {
        (Some(ip), _) => policy.check_address(ip).is_err(),
        (None, Some(Host::Domain(name))) => {
            // What the name resolves to is judged when it is dialled.
            policy.private_networks.is_empty() && is_private_name(name)
        }
        _ => true,
    };
    if is_private { Err(PRIVATE) } else { Ok(()) }
}

fn is_private_name(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    PRIVATE_NAMES.contains(&name) || PRIVATE_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::policy;

    #[test]
    fn destinations_are_judged_in_helicone_s_order() {
        for (url, expected) in [
            ("", Err("Invalid destination URL")),
            ("http://a.example", Err("Destination must use HTTPS")),
            ("HTTPS://a.example", Err("Destination must use HTTPS")),
            ("https://", Err("Invalid destination URL format")),
            ("https://localhost/x", Err(PRIVATE)),
            ("https://db.internal", Err(PRIVATE)),
            ("https://0x7f.1/", Err(PRIVATE)),
            ("https://[::ffff:10.0.0.1]/", Err(PRIVATE)),
            ("https://169.254.169.254/", Err(PRIVATE)),
            ("https://receiver.example/hooks", Ok(())),
        ] {
            assert_eq!(check_destination(url, &policy()), expected, "{url}");
        }
        let open = Policy {
            require_https: false,
            private_networks: vec!["127.0.0.0/8".parse().unwrap()],
            ..policy()
        };
        for (url, expected) in [
            ("http://localhost:9/x", Ok(())),
            ("http://127.0.0.1:9/x", Ok(())),
            ("https://10.0.0.1/", Err(PRIVATE)),
            ("ftp://a.example", Err("Destination must use HTTPS")),
        ] {
            assert_eq!(check_destination(url, &open), expected, "{url}");
        }
    }

    #[test]
    fn ids_are_judged_as_postgres_judges_them() {
        assert_eq!(check_id("42"), Ok(()));
        assert_eq!(check_id("x").unwrap_err(), "invalid input syntax for type bigint: \"x\"");
        let large = "9223372036854775808";
        assert!(check_id(large).unwrap_err().ends_with("is out of range for type bigint"));
    }
}
