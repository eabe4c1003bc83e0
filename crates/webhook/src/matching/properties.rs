//! A call's properties, as Helicone reads them out of request headers.

use std::borrow::Cow;

use domain::call::Call;

/// What begins the name of a header that sets a property of the caller's own.
const PREFIX: &str = "helicone-property-";

/// Headers that are properties too, under these names.
const KNOWN: [(&str, &str); 11] = [
    ("helicone-session-id", "Helicone-Session-Id"),
    ("helicone-session-path", "Helicone-Session-Path"),
    ("helicone-session-name", "Helicone-Session-Name"),
    ("helicone-prompt-id", "Helicone-Prompt-Id"),
    ("helicone-experiment-id", "Helicone-Experiment-Id"),
    ("helicone-cache-enabled", "Helicone-Cache-Enabled"),
    ("helicone-cache-seed", "Helicone-Cache-Seed"),
    ("helicone-cache-bucket-max-size", "Helicone-Cache-Bucket-Max-Size"),
    ("helicone-cache-control", "Helicone-Cache-Control"),
    ("helicone-sent-to-posthog", "Helicone-Sent-To-Posthog"),
    ("x-stripe-customer-id", "stripe_customer_id"),
];

/// The properties of a call: those of `Helicone-Property-<Name>` under the name in lower case, in
/// order of arrival, then those of Helicone's own headers. Each name stands once; values of a
/// header that came twice are joined, as HTTP joins them.
pub fn properties(call: &Call) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let mut properties: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    let own = call.headers.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(PREFIX).filter(|name| !name.is_empty())?;
        Some((name, value.as_str()))
    });
    let known = KNOWN.iter().flat_map(|(header, name)| {
        let values = call.headers.iter().filter(move |(sent, _)| sent == header);
        values.map(move |(_, value)| (*name, value.as_str()))
    });
    for (name, value) in own.chain(known) {
        match properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, values)) => {
                let values = values.to_mut();
                values.push_str(", ");
                values.push_str(value);
            }
            None => properties.push((name.into(), value.into())),
        }
    }
    properties
}

/// Whom the caller called for: `Helicone-User-Id`, else the end user it named.
pub fn user_id(call: &Call) -> Option<&str> {
    let named = call.header("helicone-user-id").or(call.end_user.as_deref());
    named.filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use domain::sample;

    use super::*;

    fn with_headers(headers: &[(&str, &str)]) -> Call {
        let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Call { headers: owned.collect(), ..sample::call() }
    }

    #[test]
    fn properties_are_the_callers_own_then_helicones() {
        let call = with_headers(&[
            ("helicone-session-path", "/a/b"),
            ("helicone-property-environment", "production"),
            ("user-agent", "x"),
            ("helicone-property-", "nameless"),
            ("helicone-property-1", "one"),
            ("helicone-property-environment", "eu"),
            ("x-stripe-customer-id", "cus_1"),
            ("helicone-session-id", "s"),
            ("helicone-user-id", "u"),
        ]);
        let seen = properties(&call);
        let seen: Vec<(&str, &str)> =
            seen.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        let expected = [
            ("environment", "production, eu"),
            ("1", "one"),
            ("Helicone-Session-Id", "s"),
            ("Helicone-Session-Path", "/a/b"),
            ("stripe_customer_id", "cus_1"),
        ];
        assert_eq!(seen, expected);
        assert!(properties(&sample::call()).is_empty());
    }

    #[test]
    fn helicones_header_names_the_user_before_the_body_does() {
        let end_user = Some("body".to_owned());
        let named = Call { end_user, ..with_headers(&[("helicone-user-id", "header")]) };
        assert_eq!(user_id(&named), Some("header"));
        assert_eq!(user_id(&Call { headers: Vec::new(), ..named }), Some("body"));
        assert_eq!(user_id(&with_headers(&[("helicone-user-id", "")])), None);
        assert_eq!(user_id(&sample::call()), None);
    }
}
