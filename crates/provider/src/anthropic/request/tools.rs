//! Tools and how they are chosen.

use domain::failure::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Fields, Object, array, refuse};
use crate::{
    scan::scan,
    splice::{Edit, splice},
};

const NO_PARAMETERS: &str = r#"{"type":"object","properties":{}}"#;

#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(borrow, default)]
    function: Option<Function<'a>>,
    #[serde(borrow, default)]
    custom: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: String,
    #[serde(borrow, default)]
    description: Option<&'a RawValue>,
    #[serde(borrow, default)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

/// Writes `tools` and `tool_choice`. Tools that are no functions are Anthropic's own, and pass.
pub(super) fn write(fields: &Fields<'_>, out: &mut Object) -> Result<(), Failure> {
    let Some(tools) = fields.get("tools") else {
        return Ok(());
    };
    let tools: Vec<&RawValue> =
        serde_json::from_str(tools).map_err(|_| refuse("tools", "it must be a list"))?;
    let tools: Vec<String> = tools
        .iter()
        .enumerate()
        .map(|(index, raw)| tool(raw, &format!("tools[{index}]")))
        .collect::<Result<_, _>>()?;
    if tools.is_empty() {
        return Ok(());
    }
    out.add("tools", &array(&tools));
    if let Some(choice) = choice(fields)? {
        out.add("tool_choice", &choice);
    }
    Ok(())
}

fn tool(raw: &RawValue, param: &str) -> Result<String, Failure> {
    let tool: Tool<'_> = serde_json::from_str(raw.get()).map_err(|error| refuse(param, error))?;
    let Some(function) = tool.function else {
        let kind = tool.r#type.as_deref();
        if kind == Some("function") {
            return Err(refuse(param, "`function` is missing"));
        }
        if tool.custom.is_some() {
            return Err(refuse(param, "it knows no custom tools; use a function"));
        }
        return Ok(raw.get().to_owned());
    };
    let mut out = Object::new();
    out.add_text("name", &function.name);
    out.add_some("description", function.description);
    out.add("input_schema", &schema(function.parameters, param)?);
    out.add_some("cache_control", tool.cache_control.or(function.cache_control));
    Ok(out.end())
}

/// A function's parameters as they are, but for the `type` that Anthropic insists on.
fn schema(parameters: Option<&RawValue>, param: &str) -> Result<String, Failure> {
    let Some(parameters) = parameters else {
        return Ok(NO_PARAMETERS.to_owned());
    };
    let raw = bytes::Bytes::copy_from_slice(parameters.get().as_bytes());
    let fields = scan(&raw).map_err(|error| refuse(param, format!("`parameters`: {error}")))?;
    if fields.members.is_empty() {
        return Ok(NO_PARAMETERS.to_owned());
    }
    if fields.raw(&raw, "type").is_some() {
        return Ok(parameters.get().to_owned());
    }
    let typed = splice(&raw, &fields, &[Edit::Set { key: "type", value: "\"object\"" }]);
    Ok(String::from_utf8_lossy(&typed).into_owned())
}

fn choice(fields: &Fields<'_>) -> Result<Option<String>, Failure> {
    let one_at_a_time = fields.get("parallel_tool_calls") == Some("false");
    let kind = match fields.get("tool_choice") {
        None if one_at_a_time => "auto",
        None => return Ok(None),
        Some("\"auto\"") => "auto",
        Some("\"required\"") => "any",
        Some("\"none\"") => return Ok(Some(r#"{"type":"none"}"#.to_owned())),
        Some(raw) if raw.starts_with('{') => return named_choice(raw, one_at_a_time).map(Some),
        Some(_) => {
            return Err(refuse("tool_choice", "it must be auto, required, none or an object"));
        }
    };
    Ok(Some(written_choice(kind, None, one_at_a_time)))
}

fn named_choice(raw: &str, one_at_a_time: bool) -> Result<String, Failure> {
    #[derive(Deserialize)]
    struct Choice {
        r#type: String,
        #[serde(default)]
        function: Option<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let param = "tool_choice";
    let choice: Choice = serde_json::from_str(raw).map_err(|error| refuse(param, error))?;
    match (&*choice.r#type, choice.function) {
        ("function", Some(function)) => {
            Ok(written_choice("tool", Some(&function.name), one_at_a_time))
        }
        ("auto" | "any" | "tool" | "none", _) => Ok(raw.to_owned()),
        (other, _) => Err(refuse(param, format!("it knows no choice of type `{other}`"))),
    }
}

fn written_choice(kind: &str, name: Option<&str>, one_at_a_time: bool) -> String {
    let mut out = Object::new();
    out.add_text("type", kind);
    if let Some(name) = name {
        out.add_text("name", name);
    }
    if one_at_a_time {
        out.add("disable_parallel_tool_use", "true");
    }
    out.end()
}
