//! Reads `usage` objects.

use domain::usage::Usage;
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::answer::loose::LooseCount;

/// Reads a `usage` object in `OpenAI`'s or Anthropic's shape; `None` if it is no object or reports
/// no tokens at all.
///
/// A reported 0 is `Some(0)`, a missing or null count `None`. Anthropic counts the cached parts
/// beside the input, `OpenAI` within it; here they are always within it.
pub fn read(json: &str) -> Option<Usage> {
    let raw: Raw = serde_json::from_str(json).ok()?;
    let is_anthropic = raw.prompt_tokens.0.is_none()
        && raw.prompt_tokens_details.is_none()
        && raw.input_tokens_details.is_none();
    let input_details = raw.prompt_tokens_details.or(raw.input_tokens_details).unwrap_or_default();
    let output_details =
        raw.completion_tokens_details.or(raw.output_tokens_details).unwrap_or_default();

    let cache_read_tokens = input_details
        .cached_tokens
        .0
        .or(raw.cache_read_input_tokens.0)
        .or(raw.prompt_cache_hit_tokens.0);
    let cache_write_tokens =
        raw.cache_creation_input_tokens.0.or(input_details.cache_creation_tokens.0);
    let beside = if is_anthropic {
        cache_read_tokens.unwrap_or_default().saturating_add(cache_write_tokens.unwrap_or_default())
    } else {
        0
    };
    let input_tokens =
        raw.prompt_tokens.0.or(raw.input_tokens.0).map(|count| count.saturating_add(beside));
    let output_tokens = raw.completion_tokens.0.or(raw.output_tokens.0);
    let sum = || input_tokens?.checked_add(output_tokens?);
    let total_tokens = raw.total_tokens.0.or_else(sum);
    if input_tokens.is_none() && output_tokens.is_none() && total_tokens.is_none() {
        return None;
    }
    Some(Usage {
        input_tokens,
        output_tokens,
        total_tokens,
        cache_read_tokens,
        cache_write_tokens,
        cache_write_1h_tokens: raw.cache_creation.and_then(|by| by.ephemeral_1h_input_tokens.0),
        reasoning_tokens: output_details.reasoning_tokens.0,
        estimated: false,
    })
}

/// A response's `usage` object in chat's shape, as JSON; `None` if it is no object or reports no
/// tokens at all. The details stay as they are: their members have the same names.
pub(crate) fn of_response_as_chat(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Reported<'a> {
        #[serde(borrow, default)]
        input_tokens_details: Option<&'a RawValue>,
        #[serde(borrow, default)]
        output_tokens_details: Option<&'a RawValue>,
    }
    #[derive(Serialize)]
    struct Chat<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_tokens: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        completion_tokens: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        total_tokens: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_tokens_details: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        completion_tokens_details: Option<&'a RawValue>,
    }
    let usage = read(json)?;
    let reported: Reported<'_> = serde_json::from_str(json).ok()?;
    let chat = Chat {
        prompt_tokens: usage.input_tokens,
        completion_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens,
        prompt_tokens_details: reported.input_tokens_details,
        completion_tokens_details: reported.output_tokens_details,
    };
    serde_json::to_string(&chat).ok()
}

/// The counts of all shapes: `OpenAI` chat, `OpenAI` responses, Anthropic, `DeepSeek`.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    prompt_tokens: LooseCount,
    completion_tokens: LooseCount,
    total_tokens: LooseCount,
    #[serde(deserialize_with = "if_readable")]
    prompt_tokens_details: Option<InputDetails>,
    #[serde(deserialize_with = "if_readable")]
    completion_tokens_details: Option<OutputDetails>,
    input_tokens: LooseCount,
    output_tokens: LooseCount,
    #[serde(deserialize_with = "if_readable")]
    input_tokens_details: Option<InputDetails>,
    #[serde(deserialize_with = "if_readable")]
    output_tokens_details: Option<OutputDetails>,
    cache_read_input_tokens: LooseCount,
    cache_creation_input_tokens: LooseCount,
    #[serde(deserialize_with = "if_readable")]
    cache_creation: Option<CacheCreation>,
    prompt_cache_hit_tokens: LooseCount,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct InputDetails {
    cached_tokens: LooseCount,
    cache_creation_tokens: LooseCount,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: LooseCount,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CacheCreation {
    ephemeral_1h_input_tokens: LooseCount,
}

/// A value of that type, or `None` for any other: an odd detail must not cost the counts beside it.
fn if_readable<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_counts_the_cached_part_within_the_prompt() {
        let json = r#"{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,
            "prompt_tokens_details":{"cached_tokens":8,"audio_tokens":0},
            "completion_tokens_details":{"reasoning_tokens":3}}"#;
        let wanted = Usage {
            input_tokens: Some(19),
            output_tokens: Some(10),
            total_tokens: Some(29),
            cache_read_tokens: Some(8),
            reasoning_tokens: Some(3),
            ..Usage::default()
        };
        assert_eq!(read(json), Some(wanted));
    }

    #[test]
    fn anthropic_counts_the_cached_parts_beside_the_input() {
        let json = r#"{"input_tokens":10,"output_tokens":5,"cache_read_input_tokens":100,
            "cache_creation_input_tokens":30,
            "cache_creation":{"ephemeral_5m_input_tokens":20,"ephemeral_1h_input_tokens":10}}"#;
        let wanted = Usage {
            input_tokens: Some(140),
            output_tokens: Some(5),
            total_tokens: Some(145),
            cache_read_tokens: Some(100),
            cache_write_tokens: Some(30),
            cache_write_1h_tokens: Some(10),
            ..Usage::default()
        };
        assert_eq!(read(json), Some(wanted));
    }

    #[test]
    fn anthropics_parts_in_openais_shape_are_within_the_prompt() {
        let json = r#"{"prompt_tokens":140,"completion_tokens":5,"total_tokens":145,
            "prompt_tokens_details":{"cached_tokens":100},
            "cache_read_input_tokens":100,"cache_creation_input_tokens":30}"#;
        let usage = read(json).unwrap();
        assert_eq!(usage.input_tokens, Some(140));
        assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (Some(100), Some(30)));
    }

    #[test]
    fn a_reported_zero_differs_from_a_missing_count() {
        let usage = read(r#"{"prompt_tokens":0,"completion_tokens":null}"#).unwrap();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(0), None));
        assert_eq!(usage.total_tokens, None);
        assert_eq!(usage.cache_read_tokens, None);
    }

    #[test]
    fn an_odd_detail_does_not_cost_the_counts_beside_it() {
        let usage = read(r#"{"prompt_tokens":1,"prompt_tokens_details":"none"}"#).unwrap();
        assert_eq!((usage.input_tokens, usage.cache_read_tokens), (Some(1), None));
    }

    #[test]
    fn an_object_without_counts_reports_nothing() {
        for json in ["{}", "null", "7", "[]", r#"{"prompt_tokens":"19"}"#, "{"] {
            assert_eq!(read(json), None, "{json}");
        }
    }
}
