//! The content of messages: text and parts to blocks.

use domain::failure::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Object, array, refuse};
use crate::scan::text;

#[derive(Deserialize)]
struct Part<'a> {
    r#type: String,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    image_url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    file: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_control: Option<&'a RawValue>,
}

/// The blocks of a message's content. Empty texts are left out: Anthropic refuses them. Parts of
/// kinds that are not `OpenAI`'s are Anthropic's own, and pass.
pub(super) fn blocks(content: &RawValue, param: &str) -> Result<Vec<String>, Failure> {
    let raw = content.get();
    if raw.starts_with('"') {
        return Ok(text_block(raw, None).into_iter().collect());
    }
    let parts: Vec<&RawValue> = serde_json::from_str(raw)
        .map_err(|_| refuse(param, "it must be text or a list of parts"))?;
    let mut blocks = Vec::with_capacity(parts.len());
    for (index, raw) in parts.iter().enumerate() {
        blocks.extend(block(raw, &format!("{param}[{index}]"))?);
    }
    Ok(blocks)
}

/// A text block, unless its text is empty. `raw` is a JSON string.
pub(super) fn text_block(raw: &str, cache_control: Option<&RawValue>) -> Option<String> {
    if raw == "\"\"" {
        return None;
    }
    let mut out = Object::new();
    out.add_text("type", "text");
    out.add("text", raw);
    out.add_some("cache_control", cache_control);
    Some(out.end())
}

/// A tool's result. Its content may be text or blocks.
pub(super) fn tool_result(
    id: &str,
    content: Option<&RawValue>,
    cache_control: Option<&RawValue>,
    param: &str,
) -> Result<String, Failure> {
    let mut out = Object::new();
    out.add_text("type", "tool_result");
    out.add_text("tool_use_id", id);
    match content {
        Some(content) if content.get().starts_with('"') => out.add("content", content.get()),
        Some(content) => out.add("content", &array(&blocks(content, param)?)),
        None => {}
    }
    out.add_some("cache_control", cache_control);
    Ok(out.end())
}

fn block(raw: &RawValue, param: &str) -> Result<Option<String>, Failure> {
    let part: Part<'_> = serde_json::from_str(raw.get()).map_err(|error| refuse(param, error))?;
    let block = match &*part.r#type {
        "text" | "refusal" => {
            let text = part.text.or(part.refusal).map(RawValue::get);
            let text = text.filter(|text| text.starts_with('"'));
            let text = text.ok_or_else(|| refuse(param, "its text is missing"))?;
            return Ok(text_block(text, part.cache_control));
        }
        "image_url" => {
            let url = part.image_url.and_then(url_of);
            source_block(&url.ok_or_else(|| refuse(param, "`image_url.url` is missing"))?, param)?
        }
        "file" => file_block(part.file, param)?,
        "input_audio" | "audio" | "video_url" => {
            return Err(refuse(param, format!("it takes no `{}`", part.r#type)));
        }
        _ => return Ok(Some(raw.get().to_owned())),
    };
    Ok(Some(with_cache_control(block, part.cache_control)))
}

fn with_cache_control(mut block: Object, cache_control: Option<&RawValue>) -> String {
    block.add_some("cache_control", cache_control);
    block.end()
}

/// `image_url` is an object with a `url`, or, by an old habit, the URL itself.
fn url_of(image_url: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct ImageUrl {
        url: String,
    }
    if let Some(url) = text(image_url.get().as_bytes()) {
        return Some(url.into_owned());
    }
    serde_json::from_str::<ImageUrl>(image_url.get()).ok().map(|image| image.url)
}

/// An image or a document by its URL, or with its bytes in a data URL.
fn source_block(url: &str, param: &str) -> Result<Object, Failure> {
    let mut source = Object::new();
    let mut kind = "image";
    if let Some(data) = url.strip_prefix("data:") {
        let (media_type, data) = data
            .split_once(";base64,")
            .ok_or_else(|| refuse(param, "a data URL must be base64"))?;
        let media_type = media_type.split(';').next().unwrap_or_default();
        if media_type == "application/pdf" {
            kind = "document";
        }
        source.add_text("type", "base64");
        source.add_text("media_type", media_type);
        source.add_text("data", data);
    } else if url.starts_with("https://") || url.starts_with("http://") {
        source.add_text("type", "url");
        source.add_text("url", url);
    } else {
        return Err(refuse(param, "its URL is neither http nor data"));
    }
    let mut block = Object::new();
    block.add_text("type", kind);
    block.add("source", &source.end());
    Ok(block)
}

fn file_block(file: Option<&RawValue>, param: &str) -> Result<Object, Failure> {
    #[derive(Deserialize)]
    #[expect(clippy::struct_field_names, reason = "the names are the format's")]
    struct File {
        #[serde(default)]
        file_data: Option<String>,
        #[serde(default)]
        file_id: Option<String>,
        #[serde(default)]
        filename: Option<String>,
    }
    let file = file.and_then(|raw| serde_json::from_str::<File>(raw.get()).ok());
    let file = file.ok_or_else(|| refuse(param, "`file` is missing"))?;
    let mut block = match (&file.file_data, &file.file_id) {
        (Some(data), _) => source_block(data, param)?,
        (None, Some(id)) => {
            let mut source = Object::new();
            source.add_text("type", "file");
            source.add_text("file_id", id);
            let mut block = Object::new();
            block.add_text("type", "document");
            block.add("source", &source.end());
            block
        }
        (None, None) => return Err(refuse(param, "it has neither `file_data` nor `file_id`")),
    };
    if let Some(name) = file.filename {
        block.add_text("title", &name);
    }
    Ok(block)
}
