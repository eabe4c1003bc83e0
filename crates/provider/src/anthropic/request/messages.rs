//! Messages: roles and turns.
//!
//! What `system` and `developer` say goes into `system`, in order, from wherever it stands.
//! Neighbours of one role become one turn, so that the results of parallel tool calls stand
//! together in the turn after the calls, as Anthropic wants them. `thinking_blocks`, as answers
//! carry them, come first in an assistant's turn.

use domain::failure::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Fields, Object, array, parts, refuse};
use crate::request::quoted;

#[derive(Deserialize)]
struct Message<'a> {
    role: String,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking_blocks: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<&'a RawValue>,
    #[serde(default)]
    tool_call_id: Option<String>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Called>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Called {
    name: String,
    #[serde(default)]
    arguments: Option<String>,
}

/// A turn of one side.
struct Turn {
    role: &'static str,
    blocks: Vec<String>,
}

/// Writes `system` and `messages`.
pub(super) fn write(fields: &Fields<'_>, out: &mut Object) -> Result<(), Failure> {
    let raw = fields.get("messages").ok_or_else(|| refuse("messages", "it is missing"))?;
    let raw: Vec<&RawValue> =
        serde_json::from_str(raw).map_err(|_| refuse("messages", "it must be a list"))?;
    let mut system = own_system(fields)?;
    let mut turns: Vec<Turn> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.iter().enumerate() {
        let param = format!("messages[{index}]");
        let message: Message<'_> =
            serde_json::from_str(raw.get()).map_err(|error| refuse(&param, error))?;
        let (role, blocks) = match &*message.role {
            "system" | "developer" => {
                system.extend(content(&message, &param)?);
                continue;
            }
            "user" => ("user", content(&message, &param)?),
            "assistant" => ("assistant", assistant(&message, &param)?),
            "tool" => ("user", vec![result(&message, &param)?]),
            "function" => return Err(refuse(&param, "use a `tool` message instead of `function`")),
            other => return Err(refuse(&param, format!("it knows no role `{other}`"))),
        };
        match turns.last_mut().filter(|turn| turn.role == role) {
            Some(turn) => turn.blocks.extend(blocks),
            None => turns.push(Turn { role, blocks }),
        }
    }
    if !system.is_empty() {
        out.add("system", &array(&system));
    }
    // A turn without any content cannot be said, and says nothing.
    let turns = turns.iter().filter(|turn| !turn.blocks.is_empty());
    let turns: Vec<_> = turns
        .map(|turn| format!(r#"{{"role":"{}","content":{}}}"#, turn.role, array(&turn.blocks)))
        .collect();
    out.add("messages", &array(&turns));
    Ok(())
}

/// Anthropic's own `system` field, which comes before what messages say.
fn own_system(fields: &Fields<'_>) -> Result<Vec<String>, Failure> {
    let Some(raw) = fields.get("system") else {
        return Ok(Vec::new());
    };
    if raw.starts_with('"') {
        return Ok(parts::text_block(raw, None).into_iter().collect());
    }
    let blocks: Vec<&RawValue> = serde_json::from_str(raw)
        .map_err(|_| refuse("system", "it must be text or a list of blocks"))?;
    Ok(blocks.iter().map(|block| block.get().to_owned()).collect())
}

fn content(message: &Message<'_>, param: &str) -> Result<Vec<String>, Failure> {
    let Some(content) = message.content else {
        return Ok(Vec::new());
    };
    if content.get().starts_with('"') {
        return Ok(parts::text_block(content.get(), message.cache_control).into_iter().collect());
    }
    parts::blocks(content, &format!("{param}.content"))
}

fn assistant(message: &Message<'_>, param: &str) -> Result<Vec<String>, Failure> {
    if message.function_call.is_some() {
        return Err(refuse(&format!("{param}.function_call"), "use `tool_calls`"));
    }
    let thinking = message.thinking_blocks.iter().flatten();
    let mut blocks: Vec<String> = thinking.map(|block| block.get().to_owned()).collect();
    blocks.extend(content(message, param)?);
    blocks.extend(message.refusal.and_then(|raw| parts::text_block(raw.get(), None)));
    for (index, call) in message.tool_calls.iter().flatten().enumerate() {
        blocks.push(tool_use(call, &format!("{param}.tool_calls[{index}]"))?);
    }
    Ok(blocks)
}

fn tool_use(call: &ToolCall<'_>, param: &str) -> Result<String, Failure> {
    let id = call.id.as_deref().ok_or_else(|| refuse(param, "its `id` is missing"))?;
    let function = call.function.as_ref();
    let function = function.ok_or_else(|| refuse(param, "its `function` is missing"))?;
    let arguments = function.arguments.as_deref().unwrap_or_default().trim();
    let input = if arguments.is_empty() { "{}" } else { arguments };
    if !crate::json::is_object(input.as_bytes()) {
        let param = format!("{param}.function.arguments");
        return Err(refuse(&param, "it must be a JSON object, as text"));
    }
    let mut out = Object::new();
    out.add_text("type", "tool_use");
    out.add_text("id", id);
    out.add("name", &quoted(&function.name));
    out.add("input", input);
    out.add_some("cache_control", call.cache_control);
    Ok(out.end())
}

fn result(message: &Message<'_>, param: &str) -> Result<String, Failure> {
    let id = message.tool_call_id.as_deref();
    let id = id.ok_or_else(|| refuse(param, "its `tool_call_id` is missing"))?;
    parts::tool_result(id, message.content, message.cache_control, &format!("{param}.content"))
}
