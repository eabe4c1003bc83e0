//! What a request tells a provider so that it may reach a caller's own servers: `OpenAI`'s tools of
//! type `mcp` (`authorization`, `headers`) and Anthropic's `mcp_servers` (`authorization_token`).

use memchr::memmem;

use super::{rewrite_elements, rewrite_members};
use crate::scan::Scan;

/// Members of a tool or server that let their holder in.
const CREDENTIALS: [&str; 4] = ["authorization", "authorization_token", "headers", "api_key"];

/// The fields of a request that hold a credential for a server, each with its value as the journal
/// may keep it: null stands where the credential was. None for most requests.
///
/// `scan` is the body's own. Credentials in top-level fields are not looked for.
pub fn without_server_credentials(body: &[u8], scan: &Scan) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for field in ["tools", "mcp_servers"] {
        let Some(member) = scan.member(body, field) else { continue };
        let list = member.value.clone();
        let has = |text: &str| memmem::find(&body[list.clone()], text.as_bytes()).is_some();
        // An escaped name is another spelling of the same.
        let may_hold_some = CREDENTIALS.into_iter().any(has) || has("\\u");
        if body[list.start] != b'[' || !may_hold_some {
            continue;
        }
        let mut out = Vec::with_capacity(list.len());
        rewrite_elements(body, list.start, &mut out, &mut |value, out| {
            if body[value.start] != b'{' {
                return out.extend_from_slice(&body[value]);
            }
            rewrite_members(body, value.start, out, &mut |key, value, out| {
                let is_credential = CREDENTIALS.contains(&key);
                out.extend_from_slice(if is_credential { b"null" } else { &body[value] });
            });
        });
        if out != body[list] {
            found.extend(String::from_utf8(out).ok().map(|kept| (field, kept)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;

    #[test]
    fn a_servers_credentials_go_and_everything_else_stays() {
        let body =
            br#"{"tools":[{"type":"mcp","server_url":"https://a.example","authorization":"S",
            "headers": {"x":"S"}},{"type":"function","name":"headers","parameters":
            {"properties":{"authorization":{"type":"string"}}}},7],
            "mcp_servers":[{"name":"n","\u0061uthorization_token":"S"}]}"#;
        let found = without_server_credentials(body, &scan(body).unwrap());
        let expected = [
            (
                "tools",
                r#"[{"type":"mcp","server_url":"https://a.example","authorization":null,
            "headers": null},{"type":"function","name":"headers","parameters":
            {"properties":{"authorization":{"type":"string"}}}},7]"#
                    .to_owned(),
            ),
            ("mcp_servers", r#"[{"name":"n","\u0061uthorization_token":null}]"#.to_owned()),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_body_without_such_servers_is_left_alone() {
        for body in [
            &br#"{"model":"m","messages":[]}"#[..],
            br#"{"tools":"authorization"}"#,
            br#"{"tools":[{"type":"function","function":{"name":"headers","x":"\u00e9"}}]}"#,
        ] {
            assert!(without_server_credentials(body, &scan(body).unwrap()).is_empty());
        }
    }
}
