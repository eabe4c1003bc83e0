//! An `OpenAI` chat request as a Messages request.

mod messages;
mod parts;
mod tools;

use std::borrow::Cow;

use bytes::Bytes;
use domain::failure::{Failure, FailureKind};
use serde_json::value::RawValue;

use crate::{
    request::is_for_gateway,
    scan::{Scan, key_text, scan, text},
    splice::{Edit, splice},
};

/// `max_tokens` for a caller who names none; Anthropic wants one. LiteLLM's default, too.
const MAX_TOKENS: u64 = 4096;

/// Translates an `OpenAI` chat request into a Messages request for a model.
///
/// - `messages` become `system` and `messages`; the modules `messages` and `parts` say how.
/// - `max_completion_tokens` or `max_tokens` becomes `max_tokens`, 4096 if both are absent.
/// - `stop` becomes `stop_sequences`.
/// - `tools`, `tool_choice`, `parallel_tool_calls` become `tools` and `tool_choice`.
/// - `metadata.user_id` or `user` becomes `metadata.user_id`, unless it is an e-mail address or a
///   telephone number, which Anthropic refuses; the rest of `metadata` stays with the gateway.
/// - `response_format: json_schema` becomes `output_config.format`; `text` needs nothing.
/// - `reasoning_effort` becomes `thinking` with LiteLLM's budgets: 1024, 2048, 4096 tokens for low,
///   medium, high; `none` and `minimal` leave it off, and so does a `thinking` of the caller's own.
/// - `service_tier: auto` stays, `default` becomes `standard_only`.
///
/// Dropped, because nothing of the answer's meaning hangs on them: null values, what is addressed
/// to the gateway, `n: 1`, `logprobs: false`, penalties of 0, an empty `logit_bias`,
/// `modalities: ["text"]`, `stream_options`, `seed`, `store`, `prediction`, `verbosity`,
/// `prompt_cache_key`, `prompt_cache_retention`, `safety_identifier`, any other `service_tier`.
///
/// Refused, with the field's name: other values of these, `functions`, `function_call`, `audio`,
/// `web_search_options`, `response_format: json_object`, and what `messages` and `tools` cannot
/// carry. Everything else passes as it is: `temperature`, `top_p`, `top_k`, `stream`, `thinking`, …
pub fn request(body: &[u8], model: &str) -> Result<Bytes, Failure> {
    let fields = scan(body).map_err(|error| {
        let message = format!("the request body is not usable JSON: {error}");
        Failure::new(FailureKind::BadRequest, 400, message)
    })?;
    let fields = Fields { body, scan: fields };
    let mut out = Object::new();
    out.add_text("model", model);
    let effort = effort_budget(&fields)?;
    out.add("max_tokens", &max_tokens(&fields, effort)?.to_string());
    messages::write(&fields, &mut out)?;
    tools::write(&fields, &mut out)?;
    write_stop(&fields, &mut out)?;
    write_user(&fields, &mut out);
    write_output_config(&fields, &mut out)?;
    if let Some(budget) = effort {
        out.add("thinking", &format!(r#"{{"type":"enabled","budget_tokens":{budget}}}"#));
    }
    match fields.get("service_tier") {
        Some("\"auto\"") => out.add_text("service_tier", "auto"),
        Some("\"default\"") => out.add_text("service_tier", "standard_only"),
        _ => {}
    }
    for member in &fields.scan.members {
        let key = key_text(body, member);
        let value = fields.raw(member.value.clone());
        if value != "null" && !is_handled(&key, value)? {
            out.add(&key, value);
        }
    }
    Ok(out.end().into())
}

/// The caller's top-level fields.
struct Fields<'a> {
    body: &'a [u8],
    scan: Scan,
}

impl<'a> Fields<'a> {
    /// A field's raw JSON; `None` if it is absent or null.
    fn get(&self, key: &str) -> Option<&'a str> {
        let member = self.scan.member(self.body, key)?;
        Some(self.raw(member.value.clone())).filter(|raw| *raw != "null")
    }

    /// The scan has checked that the body is UTF-8.
    fn raw(&self, span: std::ops::Range<usize>) -> &'a str {
        std::str::from_utf8(&self.body[span]).unwrap_or_default()
    }
}

/// A JSON object being written.
struct Object(String);

impl Object {
    fn new() -> Self {
        Self("{".to_owned())
    }

    /// Adds a member of raw JSON.
    fn add(&mut self, key: &str, raw: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&crate::request::quoted(key));
        self.0.push(':');
        self.0.push_str(raw);
    }

    fn add_text(&mut self, key: &str, text: &str) {
        self.add(key, &crate::request::quoted(text));
    }

    /// Adds a member that may be absent.
    fn add_some(&mut self, key: &str, raw: Option<&RawValue>) {
        if let Some(raw) = raw {
            self.add(key, raw.get());
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// An array of raw JSON values.
fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

/// The failure of a request that cannot be said in Anthropic's dialect.
fn refuse(param: &str, why: impl std::fmt::Display) -> Failure {
    let message = format!("`{param}` cannot be sent to an Anthropic model: {why}");
    Failure { param: Some(param.to_owned()), ..Failure::new(FailureKind::BadRequest, 400, message) }
}

/// Whether a field was translated, or may be dropped; a failure if it can be neither.
fn is_handled(key: &str, value: &str) -> Result<bool, Failure> {
    let may_drop = |harmless: bool, why: &str| {
        if harmless { Ok(true) } else { Err(refuse(key, why)) }
    };
    let is_zero = value.parse::<f64>().is_ok_and(|number| number == 0.0);
    match key {
        "model"
        | "messages"
        | "max_tokens"
        | "max_completion_tokens"
        | "stop"
        | "tools"
        | "tool_choice"
        | "parallel_tool_calls"
        | "user"
        | "metadata"
        | "response_format"
        | "reasoning_effort"
        | "service_tier"
        | "stream_options"
        | "seed"
        | "store"
        | "prediction"
        | "verbosity"
        | "prompt_cache_key"
        | "prompt_cache_retention"
        | "safety_identifier"
        | "system"
        | "output_config"
        | "stop_sequences" => Ok(true),
        "n" => may_drop(value == "1", "it gives one answer to a call"),
        "logprobs" => may_drop(value == "false", "it tells no probabilities"),
        "top_logprobs" => may_drop(is_zero, "it tells no probabilities"),
        "presence_penalty" | "frequency_penalty" => {
            may_drop(is_zero, "it knows no penalties; use `temperature`, `top_p` or `top_k`")
        }
        "logit_bias" => may_drop(value.len() == 2, "it takes no bias"),
        "modalities" => may_drop(!value.contains("\"audio\""), "it answers in text only"),
        "audio" => Err(refuse(key, "it answers in text only")),
        "functions" | "function_call" => Err(refuse(key, "use `tools` and `tool_choice`")),
        "web_search_options" => Err(refuse(key, "add Anthropic's own web search tool to `tools`")),
        _ => Ok(is_for_gateway(key)),
    }
}

fn max_tokens(fields: &Fields<'_>, effort: Option<u64>) -> Result<u64, Failure> {
    for key in ["max_completion_tokens", "max_tokens"] {
        if let Some(raw) = fields.get(key) {
            return raw.parse().map_err(|_| refuse(key, "it must be a whole number"));
        }
    }
    Ok(MAX_TOKENS + effort.unwrap_or_default())
}

/// LiteLLM's budgets for `OpenAI`'s words. An explicit `thinking` wins.
fn effort_budget(fields: &Fields<'_>) -> Result<Option<u64>, Failure> {
    let Some(effort) = fields.get("reasoning_effort") else {
        return Ok(None);
    };
    let budget = match effort {
        "\"none\"" | "\"minimal\"" => return Ok(None),
        "\"low\"" => 1024,
        "\"medium\"" => 2048,
        "\"high\"" => 4096,
        _ => {
            return Err(refuse(
                "reasoning_effort",
                "it must be none, minimal, low, medium or high",
            ));
        }
    };
    Ok(fields.get("thinking").is_none().then_some(budget))
}

fn write_stop(fields: &Fields<'_>, out: &mut Object) -> Result<(), Failure> {
    match fields.get("stop").or_else(|| fields.get("stop_sequences")) {
        None => {}
        Some(raw) if raw.starts_with('"') => out.add("stop_sequences", &format!("[{raw}]")),
        Some(raw) if raw.starts_with('[') => out.add("stop_sequences", raw),
        Some(_) => return Err(refuse("stop", "it must be text or a list of texts")),
    }
    Ok(())
}

fn write_user(fields: &Fields<'_>, out: &mut Object) {
    let metadata = fields.get("metadata").and_then(|raw| {
        let scan = scan(raw.as_bytes()).ok()?;
        scan.str(raw.as_bytes(), "user_id").map(Cow::into_owned)
    });
    let user = fields.get("user").and_then(|raw| text(raw.as_bytes()));
    let id = metadata.or_else(|| user.map(Cow::into_owned));
    if let Some(id) = id.filter(|id| is_opaque(id)) {
        let mut metadata = Object::new();
        metadata.add_text("user_id", &id);
        out.add("metadata", &metadata.end());
    }
}

/// Whether an id of a user is neither an e-mail address nor a telephone number: with either,
/// Anthropic answers 400.
fn is_opaque(id: &str) -> bool {
    let is_address = id.split_once('@').is_some_and(|(_, domain)| domain.contains('.'));
    let is_of_phone = |c: char| c.is_ascii_digit() || " ()-+".contains(c);
    let is_phone = id.len() >= 7 && id.chars().all(is_of_phone);
    !id.is_empty() && !is_address && !is_phone
}

/// `response_format` goes into the caller's own `output_config`, if it has one.
fn write_output_config(fields: &Fields<'_>, out: &mut Object) -> Result<(), Failure> {
    let own = fields.get("output_config");
    let Some(format) = format_of(fields)? else {
        if let Some(own) = own {
            out.add("output_config", own);
        }
        return Ok(());
    };
    let own = Bytes::copy_from_slice(own.unwrap_or("{}").as_bytes());
    let fields = scan(&own).map_err(|error| refuse("output_config", error))?;
    let config = splice(&own, &fields, &[Edit::Set { key: "format", value: &format }]);
    out.add("output_config", std::str::from_utf8(&config).unwrap_or("{}"));
    Ok(())
}

fn format_of(fields: &Fields<'_>) -> Result<Option<String>, Failure> {
    #[derive(serde::Deserialize)]
    struct Format<'a> {
        r#type: String,
        #[serde(borrow, default)]
        json_schema: Option<Schema<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct Schema<'a> {
        #[serde(borrow, default)]
        schema: Option<&'a RawValue>,
    }
    let Some(raw) = fields.get("response_format") else {
        return Ok(None);
    };
    let param = "response_format";
    let format: Format<'_> = serde_json::from_str(raw)
        .map_err(|_| refuse(param, "it must be an object with a `type`"))?;
    match &*format.r#type {
        "text" => Ok(None),
        "json_schema" => {
            let schema = format.json_schema.and_then(|format| format.schema);
            let schema = schema.ok_or_else(|| refuse(param, "`json_schema.schema` is missing"))?;
            Ok(Some(format!(r#"{{"type":"json_schema","schema":{}}}"#, schema.get())))
        }
        "json_object" => Err(refuse(param, "it has no free JSON mode; use `json_schema`")),
        other => Err(refuse(param, format!("it knows no `{other}`"))),
    }
}
