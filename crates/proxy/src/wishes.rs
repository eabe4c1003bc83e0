//! What a caller asks of the routing of its own call: LiteLLM's fields in the body, and its headers.
//!
//! A header wins over the body's field, and both over the configuration, as with LiteLLM. Which
//! deployments are asked is not decided here, nor whether the caller may use the models it names.

use std::time::Duration;

use domain::failure::{Failure, FailureKind};
use http::HeaderMap;
use provider::scan::Scan;
use serde_json::Value;

use crate::upstream::failure;

/// The most attempts after the first that a call may ask for, as in the configuration.
const NUM_RETRIES_MAX: u64 = 100;
/// The longest time-out that a call may ask for, as in the configuration.
const TIMEOUT_SECS_MAX: f64 = 86_400.0;
/// Models that one list of fallbacks may name.
const FALLBACKS_MAX: usize = 16;

/// What a caller asks of the routing of its own call; what is `None`, the configuration says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wishes {
    /// Attempts on the same model name after the first.
    pub(crate) num_retries: Option<u32>,
    /// One attempt at a whole answer.
    pub(crate) timeout: Option<Duration>,
    /// One attempt at a stream, up to its first events.
    pub(crate) stream_timeout: Option<Duration>,
    /// Model names to try next; none of them if it is empty.
    pub(crate) fallbacks: Option<Vec<String>>,
    /// Those after a prompt that was too long.
    pub(crate) context_window_fallbacks: Option<Vec<String>>,
    /// Those after a refusal by a provider's content policy.
    pub(crate) content_policy_fallbacks: Option<Vec<String>>,
}

impl Wishes {
    /// Reads them for a call of that model; a failure names the first that makes no sense.
    pub(crate) fn read(
        headers: &HeaderMap,
        body: &[u8],
        scan: &Scan,
        model: &str,
    ) -> Result<Self, Failure> {
        let source = Source { headers, body, scan };
        if source.field("disable_fallbacks") == Some(Value::Bool(true)) {
            let none = || Some(Vec::new());
            return Ok(Self {
                fallbacks: none(),
                context_window_fallbacks: none(),
                content_policy_fallbacks: none(),
                ..source.numbers()?
            });
        }
        let chain = |key| source.field(key).map(|value| chain(key, &value, model)).transpose();
        Ok(Self {
            fallbacks: chain("fallbacks")?,
            context_window_fallbacks: chain("context_window_fallbacks")?,
            content_policy_fallbacks: chain("content_policy_fallbacks")?,
            ..source.numbers()?
        })
    }

    /// The models that the caller names itself.
    pub(crate) fn models(&self) -> impl Iterator<Item = &str> {
        let lists =
            [&self.fallbacks, &self.context_window_fallbacks, &self.content_policy_fallbacks];
        lists.into_iter().flatten().flatten().map(String::as_str)
    }
}

/// Where wishes stand.
struct Source<'a> {
    headers: &'a HeaderMap,
    body: &'a [u8],
    scan: &'a Scan,
}

impl Source<'_> {
    fn numbers(&self) -> Result<Wishes, Failure> {
        let retries = self.number("x-litellm-num-retries", &["num_retries"])?;
        let num_retries = retries.map(|(name, number)| whole(name, number)).transpose()?;
        let seconds = |header, fields: &[&'static str]| {
            let number = self.number(header, fields)?;
            // LiteLLM takes 0 for no wish.
            let number = number.filter(|(_, number)| *number != 0.0);
            number.map(|(name, number)| duration(name, number)).transpose()
        };
        Ok(Wishes {
            num_retries,
            timeout: seconds("x-litellm-timeout", &["timeout", "request_timeout"])?,
            stream_timeout: seconds("x-litellm-stream-timeout", &["stream_timeout"])?,
            ..Wishes::default()
        })
    }

    /// A member of the body; `None` if it is absent or null.
    fn field(&self, key: &str) -> Option<Value> {
        let value = serde_json::from_slice(self.scan.raw(self.body, key)?).ok()?;
        Some(value).filter(|value: &Value| !value.is_null())
    }

    /// The number that a header or one of the fields holds, and which of them does.
    fn number(
        &self,
        header: &'static str,
        fields: &[&'static str],
    ) -> Result<Option<(&'static str, f64)>, Failure> {
        if let Some(value) = self.headers.get(header) {
            let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            let number = number.ok_or_else(|| senseless(header, "must be a number"))?;
            return Ok(Some((header, number)));
        }
        for &key in fields {
            if let Some(value) = self.field(key) {
                let number = value.as_f64().ok_or_else(|| senseless(key, "must be a number"))?;
                return Ok(Some((key, number)));
            }
        }
        Ok(None)
    }
}

fn whole(name: &str, number: f64) -> Result<u32, Failure> {
    if number.fract() == 0.0 && (0.0..=NUM_RETRIES_MAX as f64).contains(&number) {
        Ok(number as u32)
    } else {
        Err(senseless(name, &format!("must be a whole number from 0 to {NUM_RETRIES_MAX}")))
    }
}

fn duration(name: &str, seconds: f64) -> Result<Duration, Failure> {
    let duration = Duration::try_from_secs_f64(seconds).ok();
    duration.filter(|_| seconds <= TIMEOUT_SECS_MAX).ok_or_else(|| {
        senseless(name, &format!("must be a number of seconds up to {TIMEOUT_SECS_MAX}"))
    })
}

/// A list of fallbacks in any of LiteLLM's forms: names, `{"model": name}`, or what the configuration
/// has, `{asked: [name, …]}` with `*` for any other model.
fn chain(key: &str, value: &Value, model: &str) -> Result<Vec<String>, Failure> {
    const FORMS: &str = "must be a list of model names";
    let items = value.as_array().ok_or_else(|| senseless(key, FORMS))?;
    let (mut named, mut of_any, mut of_model) = (Vec::new(), None, None);
    for item in items {
        match item {
            Value::String(name) => named.push(name.clone()),
            Value::Object(members) => match members.get("model") {
                Some(Value::String(name)) if members.len() == 1 => named.push(name.clone()),
                Some(Value::String(_)) => {
                    let what = "can change the model only, nothing else of the request";
                    return Err(senseless(key, what));
                }
                _ => {
                    of_model = of_model.or(members.get(model));
                    of_any = of_any.or(members.get("*"));
                }
            },
            _ => return Err(senseless(key, FORMS)),
        }
    }
    if let Some(listed) = of_model.or(of_any) {
        let listed = listed.as_array().ok_or_else(|| senseless(key, FORMS))?;
        for name in listed {
            named.push(name.as_str().ok_or_else(|| senseless(key, FORMS))?.to_owned());
        }
    }
    if named.len() > FALLBACKS_MAX {
        return Err(senseless(key, &format!("may name {FALLBACKS_MAX} models at most")));
    }
    Ok(named)
}

fn senseless(name: &str, what: &str) -> Failure {
    failure(FailureKind::InvalidRequest, 400, format!("`{name}` {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Headers<'a> = &'a [(&'static str, &'a str)];

    fn read(headers: Headers<'_>, body: &str) -> Result<Wishes, String> {
        let scan = provider::scan::scan(body.as_bytes()).expect("it is JSON");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().expect("it is a header's value"));
        }
        let wishes = Wishes::read(&map, body.as_bytes(), &scan, "m");
        wishes.map_err(|failure| failure.message)
    }

    #[test]
    fn fields_and_headers_say_how_the_call_is_routed_and_headers_win() {
        let secs = |secs| Some(Duration::from_secs_f64(secs));
        let none = Wishes::default();
        let cases: &[(Headers<'_>, &str, Wishes)] = &[
            (&[], "{}", none.clone()),
            (&[], r#"{"num_retries":null,"timeout":0,"fallbacks":null}"#, none.clone()),
            (&[], r#"{"num_retries":0}"#, Wishes { num_retries: Some(0), ..none.clone() }),
            (&[], r#"{"timeout":0.5}"#, Wishes { timeout: secs(0.5), ..none.clone() }),
            (&[], r#"{"request_timeout":7}"#, Wishes { timeout: secs(7.0), ..none.clone() }),
            (&[], r#"{"stream_timeout":2}"#, Wishes { stream_timeout: secs(2.0), ..none.clone() }),
            (
                &[
                    ("x-litellm-num-retries", "3"),
                    ("x-litellm-timeout", "1.5"),
                    ("x-litellm-stream-timeout", "2"),
                ],
                r#"{"num_retries":1,"timeout":9,"stream_timeout":9}"#,
                Wishes {
                    num_retries: Some(3),
                    timeout: secs(1.5),
                    stream_timeout: secs(2.0),
                    ..none.clone()
                },
            ),
        ];
        for (headers, body, expected) in cases {
            assert_eq!(read(headers, body).as_ref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn fallbacks_come_in_each_of_litellm_s_forms() {
        let cases: &[(&str, &[&str])] = &[
            ("[]", &[]),
            (r#"["a","b"]"#, &["a", "b"]),
            (r#"[{"model":"a"},"b"]"#, &["a", "b"]),
            (r#"[{"x":["a"]},{"m":["b","c"]}]"#, &["b", "c"]),
            (r#"[{"*":["a"]},{"x":["b"]}]"#, &["a"]),
            (r#"[{"x":["a"]}]"#, &[]),
        ];
        for (list, expected) in cases {
            let wishes = read(&[], &format!(r#"{{"fallbacks":{list}}}"#)).expect("it makes sense");
            assert_eq!(wishes.fallbacks.as_deref().expect("it has a list"), *expected, "{list}");
            assert_eq!(wishes.models().collect::<Vec<_>>(), *expected);
        }
        let wishes = read(&[], r#"{"fallbacks":["a"],"disable_fallbacks":true}"#);
        assert_eq!(wishes.expect("it makes sense").fallbacks, Some(Vec::new()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let many = format!(r#"{{"fallbacks":[{}"a"]}}"#, r#""a","#.repeat(16));
        for (headers, body, expected) in [
            (None, r#"{"num_retries":-1}"#, "`num_retries` must be a whole number from 0 to 100"),
            (None, r#"{"num_retries":1.5}"#, "`num_retries` must be a whole number from 0 to 100"),
            (None, r#"{"num_retries":"2"}"#, "`num_retries` must be a number"),
            (None, r#"{"timeout":-1}"#, "`timeout` must be a number of seconds up to 86400"),
            (None, r#"{"timeout":1e300}"#, "`timeout` must be a number of seconds up to 86400"),
            (None, r#"{"fallbacks":"a"}"#, "`fallbacks` must be a list of model names"),
            (None, r#"{"fallbacks":[7]}"#, "`fallbacks` must be a list of model names"),
            (None, r#"{"fallbacks":[{"m":"a"}]}"#, "`fallbacks` must be a list of model names"),
            (
                None,
                r#"{"fallbacks":[{"model":"a","messages":[]}]}"#,
                "`fallbacks` can change the model only, nothing else of the request",
            ),
            (None, &many, "`fallbacks` may name 16 models at most"),
            (
                Some(("x-litellm-timeout", "soon")),
                r#"{"timeout":1}"#,
                "`x-litellm-timeout` must be a number",
            ),
        ] {
            let headers: Vec<_> = headers.into_iter().collect();
            assert_eq!(read(&headers, body), Err(expected.to_owned()), "{body}");
        }
    }
}
